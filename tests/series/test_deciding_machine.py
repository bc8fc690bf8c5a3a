"""People decide, at random doors and in a random order, and a model says what every door must show and sell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from deciding_machine import Machine
from deciding_steps import ACTS

QUICK_SEEDS, QUICK_DAYS = range(4), 4
#: How many months are played in the slow form, and with which seed they begin.
MONTHS = int(os.environ.get("DECIDING_MONTHS", "400"))
FIRST_SEED = int(os.environ.get("DECIDING_SEED", "1000"))


def play(seed: int, url: str, folder: Path, days: int) -> Machine:
    """Play a run."""
    machine = Machine(seed, url, folder, ACTS)
    try:
        machine.run(days)
    finally:
        machine.doors.close()
    return machine


@pytest.mark.parametrize("seed", QUICK_SEEDS)
def test_some_days(sqlite_url: str, tmp_path: Path, seed: int) -> None:
    """Whatever was decided holds at every door, for some days."""
    play(seed, sqlite_url, tmp_path, QUICK_DAYS)
