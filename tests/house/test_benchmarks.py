"""The frame of the benchmarks: what it measures, what it refuses to compare, and what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import __main__, deciding, frame, page, peers
from benchmarks.frame import (
    Bench,
    Bound,
    DifferentWork,
    Row,
    Side,
    Skip,
    Taken,
    amount,
    at_least,
    at_most,
    extra_at_most,
    ours_at_most,
)
from benchmarks.table import cells

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench without servers, in whose pauses nobody looks for garbage: here that takes seconds."""
    monkeypatch.setattr(frame, "gc", SimpleNamespace(collect=lambda *_generation: 0))
    return Bench("test", tmp_path, lambda kind: pytest.fail(f"no {kind} here"))


def scripted(name: str, order: list[str], amounts: list[float], value: Any = "the same") -> Side:
    """Return a side that says what it took, and writes down that it ran."""
    left = iter(amounts)

    def run() -> Taken:
        order.append(name)
        return Taken(next(left), value)

    return Side(name, run)


def test_both_sides_take_turns_and_each_begins_as_often(bench: Bench) -> None:
    """After one run of both for the check, pairs follow whose first is by turns ours and the other."""
    order: list[str] = []
    row = bench.compare("x", scripted("a", order, [9.0] * 20), scripted("b", order, [9.0] * 20))
    assert "".join(order) == "ab" + "abba" * 4 + "ab"
    assert row.pairs == 9


def test_the_ratio_is_the_median_of_the_pairs(bench: Bench) -> None:
    """One slow turn of the machine changes neither the ratio nor the difference."""
    ours = scripted("a", [], [0.0, 2, 4, 6, 200, 2, 4, 6, 2, 4])
    other = scripted("b", [], [0.0, 1, 2, 3, 1, 1, 2, 3, 1, 2])
    row = bench.compare("x", ours, other, unit="")
    assert (row.ratio, row.low, row.high, row.ours, row.extra) == (2, 2, 2, 4, 2)


def test_sides_that_did_something_else_are_not_compared(bench: Bench) -> None:
    """A comparison of different work ends the run, and says what both did."""
    with pytest.raises(DifferentWork, match=r"x: a: 84; b: 83"):
        bench.compare("x", scripted("a", [], [1.0], 84), scripted("b", [], [1.0], 83))


@pytest.mark.parametrize(
    ("bound", "good", "bad", "words"),
    [
        (at_most(2), 2.0, 2.1, "ratio ≤ 2"),
        (at_least(0.5), 2.0, 2.1, "speed ≥ 0.5"),
        (extra_at_most(1.0), 2.0, 2.1, "extra ≤ 1 s"),
        (ours_at_most(2.0), 2.0, 2.1, "ours ≤ 2 s"),
    ],
)
def test_bounds(bench: Bench, bound: Bound, good: float, bad: float, words: str) -> None:
    """Each kind of bound holds up to its limit and not beyond, and says so in the table."""
    for ours, holds in ((good, True), (bad, False)):
        row = bench.compare("x", scripted("a", [], [ours] * 10), scripted("b", [], [1.0] * 10), bound)
        assert row.holds is holds
        assert cells(row)[-2:] == (words, "yes" if holds else "NO")


def test_amounts_are_written_with_three_digits() -> None:
    """Seconds and bytes get the unit that fits."""
    given = [(2.5e-7, "s"), (14.9e-6, "s"), (1.234, "s"), (3 << 20, "B"), (0, "s"), (1234, "")]
    assert [amount(*each) for each in given] == ["250 ns", "14.9 µs", "1.23 s", "3 MiB", "0 ns", "1.23e+03"]


def test_the_command_lists_and_refuses() -> None:
    """``--list`` names every benchmark; an unknown name is refused with the known ones."""
    command = [sys.executable, "-m", "benchmarks"]
    listed = subprocess.run([*command, "--list"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert {
        "hook",
        "expansion",
        "filling",
        "rolling",
        "missing",
        "serverless",
        "reading",
        "calendars",
    } <= set(names)
    assert {"peers", "deciding", "booking", "size", "costs"} <= set(names)
    refused = subprocess.run([*command, "hooks"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert all(name in refused.stderr for name in names)


def test_what_takes_long_runs_only_when_it_is_named() -> None:
    """Without names everything runs but ``costs``; with names, what is named."""
    everything = __main__.chosen([])
    assert "costs" not in everything
    assert {"reading", "peers"} <= set(everything)
    assert __main__.chosen(["costs"]) == ["costs"]


def test_packages_that_cannot_be_had_are_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment of the Django packages cannot be made, the last line of what was said is the reason."""
    monkeypatch.setattr(peers, "ENVIRONMENT", tmp_path / "build" / "peers")
    said = SimpleNamespace(returncode=1, stderr="looking\nno network\n")
    monkeypatch.setattr(peers.subprocess, "run", lambda *_command, **_how: said)
    with pytest.raises(Skip, match=r"Django.*cannot be had.*no network"):
        peers.environment()


def test_an_environment_is_made_once_for_the_same_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made by two commands, used again as it is, and made anew when other packages are asked for."""
    commands: list[list[str]] = []

    def run(command: list[str], **_how: Any) -> Any:
        commands.append(command)
        python = tmp_path / "build" / "peers" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(peers, "ENVIRONMENT", tmp_path / "build" / "peers")
    monkeypatch.setattr(peers.subprocess, "run", run)
    assert peers.environment() == peers.environment()
    assert len(commands) == 2
    monkeypatch.setattr(peers, "PACKAGES", ("django-recurrence==2",))
    peers.environment()
    assert len(commands) == 4


def test_calls_are_counted_and_statements_sent_again(bench: Bench) -> None:
    """Calls are counted; a replay of an edit's statements has the effect of the edit, and both are taken back."""
    assert deciding.calls(lambda: [str(number) for number in range(3)]) in (1, 2)
    desk = deciding.Desk(bench, "sqlite")
    with desk.site.app.app_context():
        template = desk.site.slots.Template
        ask = desk.site.db.select(template.capacity).order_by(template.id)
        with desk.recording() as sent:
            assert desk.edit({"capacity": 3}) == 84
        desk.back()
        assert list(desk.site.db.session.scalars(ask)) == [2]
        desk.back()
        desk.replay(sent)
        assert list(desk.site.db.session.scalars(ask)) == [2, 3]
        desk.back()
        assert list(desk.site.db.session.scalars(ask)) == [2]
        desk.back()
    bench.close()


def test_the_page_in_the_docs_is_written_from_the_figures(tmp_path: Path, bench: Bench) -> None:
    """Date, versions and every row are in the page; what stands around the table is left alone."""
    row: Row = bench.compare("x", scripted("a", [], [1.0] * 10), scripted("b", [], [2.0] * 10), at_most(2))
    report = {
        "date": "2026-01-05", "python": "3.11", "sqlite": "3.45", "machine": "2 cores",
        "packages": {"Flask": "3.1"}, "seconds": {"test": 3.0}, "skipped": {"test: y": "no z"},
        "rows": [row.to_dict()],
    }  # fmt: skip
    figures, target = tmp_path / "figures.json", tmp_path / "performance.md"
    figures.write_text(json.dumps(report))
    target.write_text(f"# Before\n\n{page.BEGIN}\nstale figures\n{page.END}\n\nAfter\n")
    page.write(figures, target)
    text = target.read_text()
    assert text.startswith("# Before\n\n")
    assert text.endswith("\n\nAfter\n")
    assert "stale figures" not in text
    assert "| test: x | 1 s | 2 s b | 0.5 | 0.5 to 0.5 | ratio ≤ 2 | yes |" in text
    assert "2026-01-05" in text
    assert "Flask 3.1" in text
    assert "test: y: no z" in text
