"""Forgetting what is old: what goes, what stays, and that nothing of it comes back.

All of it is in `test_retention.py`.
"""

from __future__ import annotations

from each_database import site, sqlite_site

__all__ = ["site", "sqlite_site"]
