"""What somebody asks for, checked; and the booking that answered the same request before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from flask_rollingslots.errors import IdempotencyConflict, InvalidRequest
from flask_rollingslots.statements import dialect_of, newest
from flask_rollingslots.values import BookingStatus

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from flask_rollingslots.models import BookingMixin, Models, SlotMixin

#: The longest hold: a week.
MAX_MINUTES = 7 * 24 * 60
MAX_PARTY = 1_000_000


@dataclass(frozen=True, slots=True)
class Wish:
    """Places that somebody wants, for good or for some minutes.

    :param party: how many places.
    :param minutes: how long they are held; ``None``: they are booked.
    :param expires_at: the end of a hold that goes on in another slot, aware.
    :param replaces_id: the booking that moves.
    """

    party: int
    who: str | None
    idempotency_key: str | None = None
    minutes: float | None = None
    expires_at: datetime | None = None
    replaces_id: int | None = None

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises InvalidRequest: names field, value and expectation.
        """
        party: Any = self.party
        if isinstance(party, bool) or not isinstance(party, int) or not 1 <= party <= MAX_PARTY:
            raise _refusal("party", party, f"a whole number from 1 to {MAX_PARTY:,}")
        for field in ("who", "idempotency_key"):
            value = getattr(self, field)
            fits = isinstance(value, str) and 0 < len(value) <= 200 and "\0" not in value
            if value is not None and not fits:
                hint = "" if isinstance(value, str) else "; an id as str(user.id)"
                raise _refusal(field, value, f"a text of 1 to 200 characters without NUL, or None{hint}")
        minutes: Any = self.minutes
        if minutes is not None and (
            isinstance(minutes, bool)
            or not isinstance(minutes, int | float)
            or not 0 < minutes <= MAX_MINUTES
        ):
            raise _refusal("minutes", minutes, f"a number above 0, at most {MAX_MINUTES:,}")

    @property
    def request_key(self) -> str | None:
        """The key under which the database keeps two bookings for one request apart: unique per ``who``."""
        if self.idempotency_key is None:
            return None
        who = self.who or ""
        return hashlib.sha256(f"{len(who)}:{who}{self.idempotency_key}".encode()).hexdigest()

    def row(self, slot: SlotMixin, now: datetime, active_key: str) -> dict[str, Any]:
        """Return the column values of the booking."""
        return {"slot_id": slot.id, "active_key": active_key, **self.values(now)}

    def values(self, now: datetime) -> dict[str, Any]:
        """Return the column values of the booking that do not depend on the slot."""
        expires_at = self.expires_at
        if self.minutes is not None:
            expires_at = now.astimezone(UTC) + timedelta(minutes=self.minutes)
        status = BookingStatus.CONFIRMED if expires_at is None else BookingStatus.HELD
        return {
            "party": self.party,
            "who": self.who,
            "status": status.value,
            "idempotency_key": self.idempotency_key,
            "request_key": self.request_key,
            "replaces_id": self.replaces_id,
            "created_at": now.astimezone(UTC),
            "expires_at": expires_at,
        }

    def is_answered_by(self, booking: BookingMixin, slot: SlotMixin) -> bool:
        """Whether a booking is what an earlier, equal request was given."""
        held = booking.expires_at - booking.created_at if booking.expires_at is not None else None
        wanted = timedelta(minutes=self.minutes) if self.minutes is not None else None
        return (booking.slot_id, booking.party, held) == (slot.id, self.party, wanted)


def find_known(
    session: Session, models: Models, wish: Wish, slot: SlotMixin, fresh: bool = False
) -> BookingMixin | None:
    """Return the booking of an earlier request with the same key, if there is one.

    :param fresh: see what others committed since this transaction began. Only for what ends in a refusal or has met
        the row already: on MariaDB such a look at a key that is not there would keep others from inserting theirs.
    :raises IdempotencyConflict: if the key was used for something else.
    """
    if wish.request_key is None:
        return None
    cls = models.Booking
    query: Any = select(cls).where(cls.request_key == wish.request_key)
    known = session.scalars(newest(query, dialect_of(session)) if fresh else query).one_or_none()
    if known is not None and not wish.is_answered_by(known, slot):
        raise IdempotencyConflict(
            f"idempotency_key = {known.idempotency_key!r} was used for another booking", booking_id=known.id
        )
    return known


def _refusal(field: str, value: Any, expected: str) -> InvalidRequest:
    return InvalidRequest(
        f"{field} = {repr(value)[:80]}: expected {expected}", field=field, value=value, expected=expected
    )
