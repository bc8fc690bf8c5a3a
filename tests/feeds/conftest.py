"""For other programs: `.ics` and JSON files in and out, calendars to subscribe to, events for widgets.

`test_feed_*.py` ask over HTTP (`feed_site.py`), `test_ics_*.py` and `test_json_*.py` read and write files
(`exchange_site.py`), `test_hostile_files.py` holds what must be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from exchange_site import Desk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(sqlite_url: str, tmp_path: Path) -> Desk:
    """A site with a terminal on SQLite."""
    return Desk(sqlite_url, tmp_path)
