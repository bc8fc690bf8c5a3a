"""A site with a terminal."""

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
