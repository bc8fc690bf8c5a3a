"""Counting what is there: by template, group, weekday and hour.

`test_statistics.py` also walks through a day of an operator, from switching on to archiving.
"""

from __future__ import annotations

from each_database import site, sqlite_site

__all__ = ["site", "sqlite_site"]
