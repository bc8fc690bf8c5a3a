"""Booking: places are taken by one conditional UPDATE, so that neither capacity nor a resource is ever oversold.

Everything joins the caller's transaction and commits nothing. All transactions lock in the same order: the exclusive
resource, then the slots by id, then their bookings.
"""

from .resources import check_free
from .taking import book, hold
from .turning import confirm, live_bookings, move, release

__all__ = ["book", "check_free", "confirm", "hold", "live_bookings", "move", "release"]
