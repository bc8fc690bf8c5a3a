"""A class takes one credit, in the transaction of its booking; giving it back returns the credit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from flask_rollingslots import signals

from .models import User, db

if TYPE_CHECKING:
    from flask_rollingslots import BookingMixin


class NoCredits(Exception):
    """The user has no credits left."""


# The signals are sent once for each booking, also if a form arrives twice, and before the commit.


@signals.slot_booked.connect
def take_credit(sender: Any, booking: BookingMixin, **_: Any) -> None:
    """Take a credit, or let the whole booking fail."""
    paid = (
        update(User)
        .where(User.id == int(booking.who or 0), User.credits > 0)
        .values(credits=User.credits - 1)
    )
    if db.session.execute(paid).rowcount != 1:  # type: ignore[attr-defined]
        raise NoCredits


@signals.booking_released.connect
def return_credit(sender: Any, booking: BookingMixin, **_: Any) -> None:
    """Return the credit."""
    back = update(User).where(User.id == int(booking.who or 0)).values(credits=User.credits + 1)
    db.session.execute(back)
