"""Slots and templates as frozen values: what they say, what they cost, and that no session knows of them.

All of it is in `test_views.py`. The random machine of `series/test_deciding_machine.py` and the random days of
`booking/test_random_pool.py` and `booking/test_random_court.py` compare values with rows, attribute by attribute.
"""

from each_database import site as any_site

__all__ = ["any_site"]
