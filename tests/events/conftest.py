"""What an app's functions hear of after the commit: all of it is in `test_events.py`.

The recipes for mail, a record and an outbox are run with `docs/events.md`. Fixtures: a site on each database, inside
its app context.
"""

from __future__ import annotations

from each_database import site, sqlite_site

__all__ = ["site", "sqlite_site"]
