"""Fixtures of the tests of shared runs: an app whose queue a test holds in its hands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "faults"), str(FOLDER.parent / "loop")]

from queue_site import QueueSite  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[QueueSite]:
    """A site with a queue, on each of the three databases; its context is pushed."""
    made = QueueSite(database_url, tmp_path)
    with made.app.app_context():
        yield made
        made.settle()


@pytest.fixture
def small_site(sqlite_url: str, tmp_path: Path) -> Iterator[QueueSite]:
    """The same on SQLite alone."""
    made = QueueSite(sqlite_url, tmp_path)
    with made.app.app_context():
        yield made
        made.settle()
