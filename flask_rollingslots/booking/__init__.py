"""Booking: places are taken by one conditional UPDATE, so that neither capacity nor a resource is ever oversold.

Everything joins the caller's transaction and commits nothing. All transactions lock in the same order: the exclusive
resource, then the slots by id, then their bookings.
"""

from .lifecycle import confirm, live_bookings, move, release
from .resources import (
    Stay,
    begin_claim,
    begin_stay,
    check_claim,
    check_stay,
    find_clashes,
    lock_resource,
    slot_row,
)
from .taking import book, hold, release_expired

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
    "release",
    "release_expired",
    "slot_row",
]
