"""The soak: a process that lives through days of traffic does not grow, and one that grows is noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak import RESIDENT, Found, growth

ROOT = Path(__file__).resolve().parents[2]


def soaked(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a soak in a process of its own; return its exit code and its figures."""
    command = [sys.executable, "-m", "benchmarks.soak", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout)


def test_growth_is_told_after_the_first_third() -> None:
    """What fills up in the first days is no growth; what comes each day is, also beside one day that stands out."""
    assert growth([10, 40, 70, 70, 70, 70, 70, 70, 70]) == (0, 0)
    assert growth([10, 12, 14, 16, 18, 99, 22, 24, 26]) == (6, 2)
    assert growth([0.0, 1, 2, 3, 4, 5, 6, 7]) == (3, 1)


@pytest.mark.parametrize(
    ("objects", "blocks", "resident", "flat"),
    [(0, 0, 0, True), (900, 0, 0, False), (0, 900, 0, False), (0, 0, 2 * RESIDENT, False)],
)
def test_all_must_be_flat(objects: float, blocks: float, resident: float, flat: bool) -> None:
    """More objects each day are growth, and so are more blocks or more resident memory."""
    assert Found(9, 900, {}, objects, blocks, resident, []).is_flat is flat


@pytest.mark.slow
def test_a_process_does_not_grow_in_days_of_traffic() -> None:
    """Gate, pages, values, feeds and bookings for nine days: every answer is right, and nothing grows."""
    code, found = soaked("--days", "9", "--requests", "240")
    assert (code, found["is_flat"]) == (0, True), found
    assert found["answers"].keys() == {
        "/ 200", "/week 200", "/api/slots 200", "/api/feed.json 200", "/api/feed.ics 200", "/api/health 200", "booked",
    }  # fmt: skip


@pytest.mark.slow
def test_a_process_that_keeps_something_is_noticed() -> None:
    """A kilobyte that each request leaves behind ends the soak with exit code 1."""
    code, found = soaked("--days", "6", "--requests", "240", "--kept", "1000")
    assert (code, found["is_flat"]) == (1, False), found
