"""Booking: places are taken by one conditional UPDATE, so that neither capacity nor a resource is ever oversold.

Everything joins the caller's transaction and commits nothing. All transactions lock in the same order: the exclusive
resource, then the slots by id, then their bookings.
"""

from .claims import begin_claim, begin_stay, check_claim, check_stay
from .resources import Stay, find_clashes, lock_resource, reach
from .rows import release_expired, whole
from .taking import book, hold
from .turning import confirm, live_bookings, move, release

__all__ = [
    "Stay",
    "begin_claim",
    "begin_stay",
    "book",
    "check_claim",
    "check_stay",
    "confirm",
    "find_clashes",
    "hold",
    "live_bookings",
    "lock_resource",
    "move",
    "reach",
    "release",
    "release_expired",
    "whole",
]
