"""What becomes of a booking: ``confirm``, ``release``, ``move``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import inspect, or_, select, update
from sqlalchemy.orm.attributes import set_committed_value

from ..browsing import find_booking
from ..context import Work
from ..errors import (
    BookingNotFound,
    HoldExpired,
    LostRace,
    SlotClosed,
    StatusConflict,
    again_if_lost,
    no_booking,
    refusal,
)
from ..models import BookingMixin, SlotMixin, TemplateMixin, table_of
from ..signals import booking_moved, booking_released, slot_booked
from ..statements import newest, take_write_lock
from ..values import LIVE, BookingStatus, State, Status
from .resources import is_taken, lock_offer, look_around, slot_to_book
from .taking import (
    BookingRequest,
    change_slot,
    end_booking,
    lock_slots,
    report,
    take,
)

#: Said instead of a state: the slot has not begun, but the time to cancel is over.
TOO_LATE = "too_late"


def confirm(work: Work, booking: BookingMixin | int) -> BookingMixin:
    """Make a hold a booking; see ``RollingSlots.confirm``.

    A hold was taken while the slot was open, so it may be confirmed after booking closed.
    """
    found, slot = _locked(work, booking, with_resource=True)
    status = found.status_at(work.now)
    if status is BookingStatus.CONFIRMED:
        return found
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
    look_around(work, slot)
    if is_taken(slot, work.now):
        # By somebody whose clock is ahead of ours, and said that the hold had expired.
        name = slot.template.resource
        text = f"slot {slot.key}: {name!r} was taken by another booking meanwhile: book again"
        raise SlotClosed(text, key=slot.key, state=State.BLOCKED.value)
    table = table_of(work.models.Booking)
    statement = update(table).where(table.c.id == found.id, table.c.status == BookingStatus.HELD.value)
    work.session.execute(statement.values(status=BookingStatus.CONFIRMED.value))
    change_slot(work, slot, 0, _without(slot, found))
    work.session.expire(found)
    report(work, slot_booked, found)
    return found


def release(work: Work, booking: BookingMixin | int, override: bool = False) -> BookingMixin:
    """Give the places of a booking or a hold back; see ``RollingSlots.release``."""
    found, slot = _locked(work, booking)
    if not override:
        _check_in_time(work, found, slot)
    if _end(work, found, slot):
        report(work, booking_released, found)
    return found


def move(
    work: Work, booking: BookingMixin | int, key: str | SlotMixin, override: bool = False
) -> BookingMixin:
    """Move a live booking, and a hold until the same moment, to another slot; see ``RollingSlots.move``."""
    found = _find(work, booking)
    made, is_new = again_if_lost(lambda: _moved(work, found, key, override))
    if is_new:
        report(work, booking_moved, made, replaces_id=found.id)
    return made


def _moved(
    work: Work, found: BookingMixin, key: str | SlotMixin, override: bool
) -> tuple[BookingMixin, bool]:
    """Take the new places and give the old ones back; return the booking there, and whether it was made now."""
    with slot_to_book(work, key) as target:
        _keep_template(work, found)
        near, rows = target.rolling_neighbours, lock_slots(work, found.slot_id, target.id)
        old, target = rows[found.slot_id], rows[target.id]
        target.rolling_neighbours = near
        _lock(work, found)
        status = found.status_at(work.now)
        if status not in LIVE:
            cls = work.models.Booking
            query: Any = select(cls).where(cls.replaces_id == found.id)
            follower: BookingMixin | None = work.session.scalars(newest(query, work.dialect)).one_or_none()
            if (
                follower is not None
                and follower.slot_id == target.id
                and follower.status_at(work.now) in LIVE
            ):
                return follower, False
            raise _conflict(found, old, status, "moved")
        if old is target:
            return found, False
        _check_not_over(work, found, old)
        if not override:
            _check_in_time(work, found, old)
        look_around(work, target, leaving=found)
        expires_at = found.expires_at if status is BookingStatus.HELD else None
        request = BookingRequest(
            found.party,
            found.who,
            expires_at=expires_at,
            replaces_id=found.id,
            person=found.person,
            token=found.token,
            repeats_id=found.repeats_id,
        )
        made = take(work, target, request)
        _end(work, found, old)
        target.rolling_busy = None
    return made, True


def may_be_given_back(slot: SlotMixin, booking: BookingMixin, now: datetime) -> bool:
    """Whether a person may release or move a booking at a moment (aware): before ``slot.cancel_until``.

    Always what takes no place for good (a hold, what was released), and places in a slot that is not offered any more.
    """
    if slot.is_withdrawn_at(now) or booking.status_at(now) is not BookingStatus.CONFIRMED:
        return True
    if slot.status == Status.COMPLETED:
        return False
    return slot.status != Status.SCHEDULED or now < slot.cancel_until


def _check_in_time(work: Work, booking: BookingMixin, slot: SlotMixin) -> None:
    """Refuse what a person may not give back any more; template and slot are locked, so the times are what they are."""
    if may_be_given_back(slot, booking, work.now):
        return
    until, zone = slot.cancel_until, ZoneInfo(slot.template.timezone)
    has_begun = slot.starts_at <= work.now or slot.status == Status.COMPLETED
    state = slot.state_at(work.now).value if has_begun else TOO_LATE
    text = (
        f"booking {booking.id}: its places could be given back until {until.astimezone(zone):%Y-%m-%d %H:%M %Z}: "
        f"slot {slot.key} {f'is {state}' if has_begun else 'is too near'}"
    )
    raise SlotClosed(text, key=slot.key, state=state, until=until)


def _check_not_over(work: Work, booking: BookingMixin, slot: SlotMixin) -> None:
    """Refuse to move what is over: it has happened, and is not exchanged for something else."""
    if slot.ends_at > work.now and slot.status != Status.COMPLETED:
        return
    state = State.COMPLETED if slot.status == Status.COMPLETED else State.ENDED
    text = f"booking {booking.id} cannot be moved: slot {slot.key} is over"
    raise SlotClosed(text, key=slot.key, state=state.value, until=slot.cancel_until)


def live_bookings(work: Work, slot_ids: Iterable[int]) -> list[BookingMixin]:
    """Return the bookings and unexpired holds in some slots, by id; the slots are locked, so nobody adds one.

    A dry run locks neither.
    """
    cls = work.models.Booking
    query: Any = select(cls).where(
        cls.slot_id.in_(sorted(slot_ids)),
        or_(
            cls.status == BookingStatus.CONFIRMED.value,
            (cls.status == BookingStatus.HELD.value) & (cls.expires_at > work.now),
        ),
    )
    query = query.order_by(cls.id)
    return list(work.session.scalars(query if work.dry_run else newest(query, work.dialect)))


def _find(work: Work, booking: BookingMixin | int) -> BookingMixin:
    if booking is None:
        raise refusal("booking", booking, "a booking or its id")
    return find_booking(work, getattr(booking, "id", booking))


def _locked(
    work: Work, booking: BookingMixin | int, with_resource: bool = False
) -> tuple[BookingMixin, SlotMixin]:
    """Return a booking, its slot and its template as they are now; nobody else can change them.

    Whoever changes a booking locks its slot before.

    :param with_resource: nobody else can take the slot's exclusive resource either.
    :raises BookingNotFound: if there is none, or no slot of it.
    :raises LostRace: if they were pruned meanwhile.
    """
    take_write_lock(work.session, table_of(work.models.Slot))
    found = _find(work, booking)
    if with_resource:
        lock_offer(work, _template_of(found))
    else:
        _keep_template(work, found)
    slots = lock_slots(work, found.slot_id)
    _lock(work, found)
    return found, slots[found.slot_id]


def _template_of(booking: BookingMixin) -> TemplateMixin:
    if booking.slot is None:
        raise BookingNotFound(f"booking {booking.id}: its slot was deleted")
    template: TemplateMixin | None = booking.slot.template
    if template is None:  # made since this transaction began to read
        raise LostRace
    return template


def _keep_template(work: Work, booking: BookingMixin) -> None:
    """Keep a booking's template from changing: until when places may be given back is read with it."""
    cls, template = work.models.Template, _template_of(booking)
    query = select(cls.cancel_before).where(cls.id == template.id).with_for_update(read=True)
    before = work.session.scalar(query)
    if not inspect(template).attrs.cancel_before.history.has_changes():
        set_committed_value(template, "cancel_before", before)


def _lock(work: Work, found: BookingMixin) -> None:
    """Keep a booking from being changed, and read it as it is now.

    :raises BookingNotFound: if it was pruned meanwhile.
    """
    cls, number = work.models.Booking, found.id
    query: Any = select(cls).where(cls.id == number).with_for_update()
    if work.session.scalars(query, execution_options={"populate_existing": True}).one_or_none() is None:
        raise no_booking(number)


def _end(work: Work, found: BookingMixin, slot: SlotMixin) -> bool:
    over = found.status_at(work.now) is BookingStatus.EXPIRED
    values = {
        "status": (BookingStatus.EXPIRED if over else BookingStatus.RELEASED).value,
        "released_at": found.expires_at if over else work.now,
    }
    holds = _without(slot, found)
    if not end_booking(work, found.id, LIVE, **values):
        return False
    change_slot(work, slot, -found.party, holds)
    return True


def _without(slot: SlotMixin, booking: BookingMixin) -> list[list[int]]:
    return [hold for hold in slot.holds or () if hold[0] != booking.id]


def _conflict(booking: BookingMixin, slot: SlotMixin, status: BookingStatus, verb: str) -> StatusConflict:
    return StatusConflict(
        f"booking {booking.id} is {status.value}: it cannot be {verb}", key=slot.key, status=status.value
    )
