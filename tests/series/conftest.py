"""A site of its own for each test of edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site inside its app context."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        yield site
