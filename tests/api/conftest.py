"""Fixtures for the tests of the HTTP API."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from api_site import ApiSite


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> ApiSite:
    """A site with the API on a SQLite file, outside any app context."""
    return ApiSite(sqlite_url, tmp_path)
