"""What becomes of a booking: ``confirm``, ``release``, ``move``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select, update

from flask_rollingslots.errors import BookingNotFound, HoldExpired, SlotClosed, StatusConflict
from flask_rollingslots.models import table_of
from flask_rollingslots.statements import dialect_of, newest
from flask_rollingslots.values import BookingStatus, State, Status

from .resources import is_taken, lock_resource, look_around, reach
from .rows import change_slot, end_booking, lock_slots, refresh_booking, whole
from .taking import take
from .wishes import Wish

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import BookingMixin, Models, SlotMixin

LIVE = (BookingStatus.CONFIRMED, BookingStatus.HELD)


def confirm(work: Work, booking: BookingMixin | int) -> tuple[BookingMixin, bool]:
    """Make a hold a booking; return it, and whether this call changed it. A confirmed one stays as it is.

    A hold was taken while the slot was open, so it may be confirmed after booking closed.

    :raises BookingNotFound: if there is no such booking.
    :raises HoldExpired: from ``expires_at`` on: others may have the places.
    :raises SlotClosed: if the slot was cancelled, deleted or completed meanwhile, or its exclusive resource taken.
    :raises StatusConflict: if the booking was released.
    """
    session, models, now = work.session, work.models, work.now
    found, slot = _locked(session, models, booking, with_resource=True)
    status = found.status_at(now)
    if status is BookingStatus.CONFIRMED:
        return found, False
    if status is BookingStatus.EXPIRED:
        raise HoldExpired(
            f"booking {found.id}: the hold expired at {found.expires_at:%Y-%m-%d %H:%M:%S} UTC: book again",
            booking_id=found.id,
            expired_at=found.expires_at,
        )
    if status is BookingStatus.RELEASED:
        raise _conflict(found, slot, status, "confirmed")
    if slot.status != Status.SCHEDULED:
        text = f"slot {slot.key} cannot be booked: it is {slot.status}"
        raise SlotClosed(text, key=slot.key, state=slot.status)
    look_around(session, models, slot)
    if is_taken(slot, now):  # by somebody whose clock is ahead of ours, and said that the hold had expired
        text = (
            f"slot {slot.key}: {slot.template.resource!r} was taken by another booking meanwhile: book again"
        )
        raise SlotClosed(text, key=slot.key, state=State.BLOCKED.value)
    table = table_of(models.Booking)
    statement = update(table).where(table.c.id == found.id, table.c.status == BookingStatus.HELD.value)
    session.execute(statement.values(status=BookingStatus.CONFIRMED.value))
    change_slot(session, models, slot, 0, _without(slot, found))
    session.expire(found)
    return found, True


def release(work: Work, booking: BookingMixin | int) -> tuple[BookingMixin, bool]:
    """Give a booking's places back; return it, and whether this call did so. A second time changes nothing.

    :raises BookingNotFound: if there is no such booking.
    """
    session, models = work.session, work.models
    found, slot = _locked(session, models, booking)
    return found, _end(session, models, work.now, found, slot)


def move(work: Work, booking: BookingMixin | int, key: str | SlotMixin) -> tuple[BookingMixin, bool]:
    """Move a live booking to another slot: the new places are taken before the old ones are given back.

    Returns the booking in the new slot, and whether this call made it: a repeated request returns the same one.
    A hold goes on until the same moment.

    :raises BookingNotFound: if there is no such booking.
    :raises StatusConflict: if it is released or expired, or was moved elsewhere.
    :raises SlotNotFound: if there is no such slot.
    :raises SlotFull: if too few places are left there; the booking stays where it is.
    :raises SlotClosed: if the new slot is not open; the booking stays where it is.
    """
    found = _find(work.session, work.models, booking)
    with whole(work.session, work.models) as making:
        return _move(work, found, reach(work, key, making))


def _move(work: Work, found: BookingMixin, target: SlotMixin) -> tuple[BookingMixin, bool]:
    session, models, now = work.session, work.models, work.now
    rows = lock_slots(session, models, found.slot_id, target.id)
    old, target = rows[found.slot_id], rows[target.id]
    status = refresh_booking(session, found).status_at(now)
    if status not in LIVE:
        follower = _follower(session, models, found)
        if follower is not None and follower.slot_id == target.id:
            return follower, False
        raise _conflict(found, old, status, "moved")
    if old is target:
        return found, False
    look_around(session, models, target, leaving=found)
    wish = Wish(found.party, found.who, expires_at=found.expires_at, replaces_id=found.id)
    if status is BookingStatus.CONFIRMED:
        wish = Wish(found.party, found.who, replaces_id=found.id)
    made = take(work, target, wish)
    _end(session, models, now, found, old)
    target.rolling_busy = None
    return made, True


def live_bookings(
    session: Session, models: Models, now: datetime, slot_ids: Iterable[int]
) -> list[BookingMixin]:
    """Return the bookings and unexpired holds in some slots, by id; the slots are locked, so nobody adds one."""
    cls = models.Booking
    query: Any = select(cls).where(
        cls.slot_id.in_(sorted(slot_ids)),
        or_(
            cls.status == BookingStatus.CONFIRMED.value,
            (cls.status == BookingStatus.HELD.value) & (cls.expires_at > now),
        ),
    )
    return list(session.scalars(newest(query.order_by(cls.id), dialect_of(session))))


def _find(session: Session, models: Models, booking: BookingMixin | int) -> BookingMixin:
    number = getattr(booking, "id", booking)
    is_number = isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**63
    found = session.get(models.Booking, number) if is_number else None
    if found is None:
        raise BookingNotFound(f"booking {str(booking)[:80]}: there is no such booking")
    return found


def _locked(
    session: Session, models: Models, booking: BookingMixin | int, with_resource: bool = False
) -> tuple[BookingMixin, SlotMixin]:
    """Return a booking and its slot as they are now; nobody else can change either.

    :param with_resource: nobody else can take the slot's exclusive resource either.
    """
    found = _find(session, models, booking)
    template = found.slot.template if with_resource and found.slot is not None else None
    if template is not None and template.exclusive:
        lock_resource(session, models, template.resource)
    slots = lock_slots(session, models, found.slot_id)
    if not slots:
        raise BookingNotFound(f"booking {found.id}: its slot was deleted")
    return refresh_booking(session, found), slots[found.slot_id]


def _end(session: Session, models: Models, now: datetime, found: BookingMixin, slot: SlotMixin) -> bool:
    over = found.status_at(now) is BookingStatus.EXPIRED
    values = {
        "status": (BookingStatus.EXPIRED if over else BookingStatus.RELEASED).value,
        "released_at": found.expires_at if over else now,
    }
    holds = _without(slot, found)
    if not end_booking(session, models, found.id, LIVE, **values):
        return False
    change_slot(session, models, slot, -found.party, holds)
    return True


def _without(slot: SlotMixin, booking: BookingMixin) -> list[list[int]]:
    return [hold for hold in slot.holds or () if hold[0] != booking.id]


def _follower(session: Session, models: Models, booking: BookingMixin) -> BookingMixin | None:
    cls = models.Booking
    query: Any = select(cls).where(cls.replaces_id == booking.id)
    return session.scalars(newest(query, dialect_of(session))).one_or_none()


def _conflict(booking: BookingMixin, slot: SlotMixin, status: BookingStatus, verb: str) -> StatusConflict:
    return StatusConflict(
        f"booking {booking.id} is {status.value}: it cannot be {verb}", key=slot.key, status=status.value
    )
