"""What programs are told over HTTP: templates, slots, bookings and top-ups, each in a file of its own.

Who may do what is in `test_access.py`, hostile requests in `test_hostile_requests.py`, the description in
`test_schemathesis.py`; `api_site.py` is the site that they ask. What calendars get is in `feeds/`.
"""

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
