"""Two calls that meet, at each of their statements: nothing is sold that was taken away, and nobody sees a traceback.

The short form plays the gravest pairs and some that are drawn by lot; the whole one every pair of the main calls, in
both orders, and a part of the others.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from figures import SCALE, SEED, tell
from interleaving import SETTINGS, Stage
from interleaving_calls import CALLS, Scene, build, pairs
from marks import FIXTURES

from flask_rollingslots.booking import limits, resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from interleaving import Trial

#: What the blueprint names, and what each setting plays in `make test`.
QUICK = (
    "sqlite-deferred",
    "sqlite-immediate",
    "postgresql-committed",
    "postgresql-repeatable",
    "mariadb-repeatable",
    "mariadb-repeatable-snapshot",
)
#: Scene and calls with which a site cannot live if they go wrong.
GRAVE = (
    ("virtual", "book", "cancel_future"),
    ("virtual", "hold", "delete_this"),
    ("virtual", "book_series", "cancel_future"),
    ("virtual", "move", "edit_all_capacity"),
    ("stored", "book", "close"),
    ("to_share", "hold", "edit_all_court"),
    ("stored", "cancel_all", "confirm"),
    ("stored", "edit_future_time", "cancel_date"),
    ("limited", "grow", "book_for_guest"),
    ("limited", "book_for_guest", "hold_for_guest"),
    ("queued", "release", "wait"),
    ("queued", "release", "book"),
)
#: In the short form: at how many statements each of these is played, and how many more trials are drawn.
AT, DRAWN = 3, 6
#: How large a part of the pairs that are not of main calls is in the whole form.
OF_OTHERS = 0.1


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scene]:
    """Scenes by name, each prepared once."""
    folder, known = tmp_path_factory.mktemp("scenes"), dict[str, Scene]()

    def scene(name: str) -> Scene:
        if name not in known:
            known[name] = build(name, folder)
        return known[name]

    return scene


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A site where calls follow one another."""
    folder = tmp_path_factory.mktemp("rehearsal")
    made = Stage(SETTINGS["sqlite-driver"], f"sqlite:///{folder / 'rehearsal.db'}", folder)
    yield made
    made.close()


@pytest.fixture(
    params=[pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SETTINGS]
)
def stage(request: pytest.FixtureRequest, tmp_path: Path, rehearsal: Stage) -> Iterator[Stage]:
    """A site in each setting."""
    setting = SETTINGS[request.param]
    made = Stage(setting, request.getfixturevalue(FIXTURES[setting.database]), tmp_path, rehearsal)
    yield made
    made.close()


def by_lot(stage: Stage, scenes: Callable[[str], Scene], seed: int) -> Iterator[Trial]:
    """Play some statements of each grave pair, and one of some others."""
    lot = random.Random(f"{seed} {stage.setting.name}")
    for scene, first, second in (*GRAVE * AT, *lot.sample(list(pairs()), DRAWN)):
        built = scenes(scene)
        trial = stage.play(built, first, second, lot.randrange(stage.length(built, first)))
        if not trial.is_over:  # what a process remembers by then spares it the last statements
            yield trial


def all_of_them(stage: Stage, scenes: Callable[[str], Scene], seed: int) -> Iterator[Trial]:
    """Play every statement of each pair of main calls, as far as the scale goes, and of some others."""
    lot = random.Random(f"{seed} {stage.setting.name}")
    for scene, first, second in pairs():
        is_main = CALLS[first].is_main and CALLS[second].is_main
        if lot.random() < SCALE * (1 if is_main else OF_OTHERS):
            yield from stage.play_all(scenes(scene), first, second)


def test_two_calls_meet(stage: Stage, scenes: Callable[[str], Scene]) -> None:
    """Who commits second has seen the first, or is refused by an error of the library.

    Each line of a failure plays that trial again: ``python tests/faults/interleaving.py <setting> <scene> <first> …``.
    """
    played, wrong = Counter[str](), list[str]()
    for trial in (all_of_them if SCALE else by_lot)(stage, scenes, SEED):
        lost = any(outcome.error == "LostRace" for outcome in trial.outcomes)
        played.update(trials=1, met=trial.met, blocked=bool(trial.blocked), lost=lost)
        wrong += [f"{kind}: {trial.line}: {text}" for kind, text in trial.faults]
    if SCALE:
        tell(f"interleavings [{stage.setting.name}]", **played, wrong=len(wrong))
    assert played["met"] == played["trials"] > 0, played
    assert not wrong, "\n".join([f"seed {SEED}:", *wrong])


@pytest.mark.parametrize("stage", ["postgresql-committed"], indirect=True)
def test_a_lock_that_is_missing_is_found(
    stage: Stage, scenes: Callable[[str], Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that they really meet: without the lock of the template a date is sold that was taken away."""
    monkeypatch.setattr(resources, "_lock_template", lambda *_: True)
    trials = stage.play_all(scenes("virtual"), "book", "cancel_future")
    assert any(kind == "sold" for trial in trials for kind, _ in trial.faults)


@pytest.mark.parametrize("stage", ["postgresql-committed"], indirect=True)
def test_a_person_without_a_lock_is_found(
    stage: Stage, scenes: Callable[[str], Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for limits: two that only count exceed one."""
    monkeypatch.setattr(limits, "_lock_person", lambda *_: False)
    monkeypatch.setattr(limits, "_is_old", lambda *_: False)
    trials = stage.play_all(scenes("limited"), "grow", "book_for_guest")
    assert any(kind == "limit" for trial in trials for kind, _ in trial.faults)
