"""People decide, at random doors and in a random order, and a model says what every door must show and sell.

A run that fails names its seed and its last steps. To play it again, or others::

    DECIDING_SEED=17 DECIDING_MONTHS=1 pytest -m slow tests/series/test_deciding_machine.py -k months
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from deciding_machine import Machine
from deciding_steps import ACTS, SPARSE
from marks import FIXTURES

#: What the quick form plays, and what is played to find the faults of ``tests/faults/mutation_audit.py``.
QUICK_SEEDS, QUICK_DAYS = (3, 9), 4
MANY_SEEDS, MANY_DAYS = range(20), 4
#: How many months the slow form plays, with one seed each, and the first seed.
MONTHS = int(os.environ.get("DECIDING_MONTHS", "400"))
FIRST_SEED = int(os.environ.get("DECIDING_SEED", "1000"))
MONTHS_A_TEST, MONTH = 20, 30


def play(seed: int, url: str, folder: Path, days: int, sparse: bool = False) -> Machine:
    """Play a run."""
    folder.mkdir(exist_ok=True)
    machine = Machine(seed, url, folder, SPARSE if sparse else ACTS)
    try:
        machine.run(days)
    finally:
        machine.doors.close()
    return machine


@pytest.mark.parametrize("seed", QUICK_SEEDS)
def test_some_days(sqlite_url: str, tmp_path: Path, seed: int) -> None:
    """Whatever was decided holds at every door, for some days."""
    play(seed, sqlite_url, tmp_path, QUICK_DAYS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY_SEEDS)
def test_many_days(sqlite_url: str, tmp_path: Path, seed: int) -> None:
    """The same for as many runs as find each of the deliberate faults of ``tests/faults/mutation_audit.py``."""
    play(seed, sqlite_url, tmp_path, MANY_DAYS)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + MONTHS, MONTHS_A_TEST))
def test_months(tmp_path: Path, first: int) -> None:
    """Whatever was decided holds at every door, for months; and each kind of step was done."""
    done: Counter[str] = Counter()
    seeds = range(first, min(first + MONTHS_A_TEST, FIRST_SEED + MONTHS))
    for seed in seeds:
        url = f"sqlite:///{tmp_path / f'{seed}.db'}"
        done += play(seed, url, tmp_path / str(seed), MONTH, sparse=True).done
    if len(seeds) == MONTHS_A_TEST:
        decided = {act.__name__ for act in ACTS} - {"book_nothing", "delete_by_orm", "top_up", "dies", "wait"}
        refused = {"booking_by_orm"}  # by the library, as it may
        assert decided - refused <= done.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FIXTURES))
@pytest.mark.parametrize("seed", range(20, 26))
def test_each_database(request: pytest.FixtureRequest, tmp_path: Path, name: str, seed: int) -> None:
    """Whatever was decided holds on each database."""
    play(seed, request.getfixturevalue(FIXTURES[name]), tmp_path, 6)
