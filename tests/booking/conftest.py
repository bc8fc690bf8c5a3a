"""Taking places: `test_booking.py` for one slot, holds, resources that exclude each other, slots that overlap.

`test_lifecycle.py` is about states, `test_giving_back.py` about until when, `test_hold_limits.py` about what one person
may hold, `test_forgetting.py` about a person's data, `test_pools.py` about resources with so many places,
`test_setup_and_cleanup.py` about the time around a slot, `test_waiting.py` and `test_waiting_meets.py` about who waits,
`test_random_court.py` and `test_random_pool.py` about all of that in random order, `test_races.py` (with `racer.py` and
`races.py`) about several at once. Fixtures: a site on each database, inside its app context.
"""

from __future__ import annotations

from each_database import site, sqlite_site

__all__ = ["site", "sqlite_site"]
