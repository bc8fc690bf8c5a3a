"""Fixtures that several folders share: sites on each database, inside their app contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site on each database."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        yield site


@pytest.fixture
def sqlite_site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site on a SQLite file, where the database makes no difference."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        yield site
