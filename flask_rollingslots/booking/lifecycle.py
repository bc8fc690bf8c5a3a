"""What becomes of a booking: ``confirm``, ``release``, ``move``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import inspect, select, update
from sqlalchemy.orm.attributes import set_committed_value

from ..browsing import find_booking
from ..context import Work, segments
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
from ..statements import in_parts, newest, take_write_lock
from ..values import LIVE, BookingStatus, Person, State, Status, key_of
from . import waiting
from .counting import change_slot, end_booking, lock_slots
from .resources import is_overtaken, lock_exclusive, lock_offer, lock_resource, look_around, slot_to_book
from .taking import check_limits, lock_first, report, take
from .wanted import BookingRequest

#: Said instead of a state: the slot has not begun, but the time to cancel is over.
TOO_LATE = "too_late"


def confirm(work: Work, booking: BookingMixin | int) -> BookingMixin:
    """Make a hold a booking; see ``RollingSlots.confirm``.

    A hold was taken while the slot was open, so it may be confirmed after booking closed.
    """
    found, slot = locked_booking(work, booking, with_resource=True)
    status = found.status_at(work.now)
    if status is BookingStatus.CONFIRMED:
        return found
    if status is BookingStatus.EXPIRED and found.expires_at is not None:
        raise HoldExpired(
            f"booking {found.id}: the hold expired at {found.expires_at:%Y-%m-%d %H:%M:%S} UTC: book again",
            booking_id=found.id,
            expired_at=found.expires_at,
        )
    if status is not BookingStatus.HELD:
        raise conflict(found, slot, status, "confirmed")
    if slot.status != Status.SCHEDULED:
        text = f"slot {slot.key} cannot be booked: it is {slot.status}"
        raise SlotClosed(text, key=slot.key, state=slot.status)
    look_around(work, slot)
    if is_overtaken(slot, work.now):
        # By somebody whose clock is ahead of ours, and said that the hold had expired.
        name = slot.template.resource
        text = f"slot {slot.key}: {name!r} was taken by another booking meanwhile: book again"
        raise SlotClosed(text, key=slot.key, state=State.BLOCKED.value)
    table = table_of(work.models.Booking)
    statement = update(table).where(table.c.id == found.id, table.c.status == BookingStatus.HELD.value)
    work.session.execute(statement.values(status=BookingStatus.CONFIRMED.value))
    change_slot(work, slot, 0, _without(slot, found))
    work.session.expire(found)
    report(work, slot_booked, found, override=False)
    waiting.serve(work, slot)
    return found


def release(work: Work, booking: BookingMixin | int, override: bool = False) -> BookingMixin:
    """Give the places of a booking or a hold back; see ``RollingSlots.release``."""
    BookingRequest(1, None, override=override).check()
    found, slot = locked_booking(work, booking)
    if not override:
        check_in_time(work, found, slot)
    is_over = found.status_at(work.now) is BookingStatus.EXPIRED
    if _end(work, found, slot) and not is_over:
        report(work, booking_released, found, override=override)
    waiting.serve(work, slot)
    return found


def release_following(work: Work, booking: BookingMixin | int, override: bool = False) -> list[BookingMixin]:
    """Give back a booking and the later ones of the person's series, all or none; see ``RollingSlots.release``."""
    BookingRequest(1, None, override=override).check()
    take_write_lock(work.session, table_of(work.models.Slot))
    begun = find(work, booking)
    found = _following(work, begun)
    _lock_offers(work, found)
    slots = lock_slots(work, *(each.slot_id for each in found))
    for each in sorted(found, key=lambda one: one.id):
        keep_booking(work, each)
    if {each.id for each in _following(work, begun, newest)} != {each.id for each in found}:
        raise LostRace  # one of them moved meanwhile
    late: list[SlotClosed] = []
    for each in found if not override else ():
        try:
            check_in_time(work, each, slots[each.slot_id])
        except SlotClosed as error:
            late.append(error)
    if late:
        text = f"{len(late)} of {len(found)} bookings of the series stay, so all do: {late[0]}"
        raise SlotClosed(text, **late[0].details, too_late=[error.details["key"] for error in late])
    over = {each.id for each in found if each.status_at(work.now) is BookingStatus.EXPIRED}
    ended = [each for each in found if _end(work, each, slots[each.slot_id])]
    for each in ended:
        if each.id not in over:
            report(work, booking_released, each, override=override)
        waiting.serve(work, slots[each.slot_id])
    return ended


def _lock_offers(work: Work, bookings: Iterable[BookingMixin]) -> None:
    """Keep the templates of some bookings from changing; where somebody may wait, resources are locked before."""
    by_template = sorted(bookings, key=lambda each: _template_of(each).id)
    served = {
        _template_of(each).id: _template_of(each) for each in bookings if waiting.may_be_served(each.slot)
    }
    for template in sorted(served.values(), key=lambda each: each.resource or ""):
        lock_exclusive(work, template)
    for each in by_template:
        template = _template_of(each)
        if template.id in served:
            lock_offer(work, template)
        else:
            _keep_template(work, each)


def _following(
    work: Work, booking: BookingMixin, seen: Callable[[Any, str], Any] = lambda query, dialect: query
) -> list[BookingMixin]:
    """Return a booking and those of the person's series that begin later and take places, by start.

    :param seen: how the query sees what others committed meanwhile.
    """
    cls = work.models.Booking
    if booking.repeats_id is None:
        return [booking]
    places = (BookingStatus.WAITING.value, *(status.value for status in LIVE))
    query: Any = select(cls).where(cls.repeats_id == booking.repeats_id, cls.status.in_(places))
    rows = [each for each in work.session.scalars(seen(query, work.dialect)) if each.slot is not None]
    start = booking.slot.starts_at
    later = [each for each in rows if each is booking or each.slot.starts_at > start]
    return sorted(later, key=lambda each: (each.slot.starts_at, each.id))


def move(
    work: Work, booking: BookingMixin | int, key: str | SlotMixin, override: bool = False
) -> BookingMixin:
    """Move a live booking, and a hold until the same moment, to another slot; see ``RollingSlots.move``."""
    BookingRequest(1, None, override=override).check()
    found = find(work, booking)
    made, is_new = again_if_lost(lambda: _moved(work, found, key, override))
    if is_new:
        report(work, booking_moved, made, replaces_id=found.id, old_slot=found.slot, override=override)
    return made


def _moved(
    work: Work, found: BookingMixin, key: str | SlotMixin, override: bool
) -> tuple[BookingMixin, bool]:
    """Take the new places and give the old ones back; return the booking there, and whether it was made now."""
    request = BookingRequest(found.party, found.who, override=override)
    lock_person = lock_first(work, request)
    _lock_resources(work, found, key, lock_person)
    with slot_to_book(work, key, lock_person) as target:
        _keep_template(work, found)
        near, rows = target.rolling_neighbours, lock_slots(work, found.slot_id, target.id)
        old, target = rows[found.slot_id], rows[target.id]
        target.rolling_neighbours = near
        keep_booking(work, found)
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
            raise conflict(found, old, status, "moved")
        # Elsewhere it would be a hold past the limits on those.
        if found.is_offer and status is BookingStatus.HELD:
            raise conflict(found, old, status, "moved: it is an offer, to be confirmed first")
        if old is target:
            return found, False
        _check_not_over(work, found, old)
        if not override:
            check_in_time(work, found, old)
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
            override=override,
        )
        check_limits(work, target, request)
        made = take(work, target, request)
        _end(work, found, old)
        target.rolling_busy = None
        waiting.serve(work, old)
    return made, True


def _lock_resources(
    work: Work, found: BookingMixin, key: str | SlotMixin, lock_person: Callable[[TemplateMixin], None]
) -> None:
    """Where the places that a booking leaves may be offered: lock the resources of both slots, in the order for all."""
    template = _template_of(found)
    if template.claim is None or not waiting.may_be_served(found.slot):
        return
    take_write_lock(work.session, table_of(work.models.Slot))
    there = segments(work, [key_of(key).series_id])
    for each in there:
        lock_person(each)
    for name in sorted({each.claim.resource for each in (template, *there) if each.claim is not None}):
        lock_resource(work.session, work.models, name)


def change_person(work: Work, booking: BookingMixin | int, said: Mapping[str, str | None]) -> BookingMixin:
    """Change what is kept of whoever booked; see ``RollingSlots.change_person``."""
    unknown = sorted(set(said) - set(Person._fields))
    if unknown:
        raise refusal(unknown[0], said[unknown[0]], f"one of {', '.join(Person._fields)}")
    found, _ = locked_booking(work, booking)
    BookingRequest(found.party, found.who, person=found.person._replace(**said)).check()
    for name, value in said.items():
        setattr(found, name, value)
    work.session.flush()
    return found


def may_be_given_back(slot: SlotMixin, booking: BookingMixin, now: datetime) -> bool:
    """Whether a person may release or move a booking at a moment (aware): before ``slot.cancel_until``.

    Always what takes no place for good (a hold, what was released), and places in a slot that is not offered any more.
    """
    if slot.is_withdrawn_at(now) or booking.status_at(now) is not BookingStatus.CONFIRMED:
        return True
    if slot.status == Status.COMPLETED:
        return False
    return slot.status != Status.SCHEDULED or now < slot.cancel_until


def check_in_time(work: Work, booking: BookingMixin, slot: SlotMixin) -> None:
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
    query: Any = select(cls).where(cls.slot_id.in_(sorted(slot_ids)), cls.live_at(work.now)).order_by(cls.id)
    return list(work.session.scalars(query if work.dry_run else newest(query, work.dialect)))


def bookings_of(work: Work, slot_ids: Iterable[int]) -> list[BookingMixin]:
    """Return the live bookings in some stored slots, by id, each with its slot: whom to tell."""
    cls, found = work.models.Slot, list[BookingMixin]()
    for part in in_parts(sorted(set(slot_ids))):
        here = live_bookings(work, part)
        inside = {booking.slot_id for booking in here}
        query: Any = select(cls).where(cls.id.in_(inside))
        query = query if work.dry_run else newest(query, work.dialect)
        slots = {slot.id: slot for slot in work.session.scalars(query)} if inside else {}
        for booking in here:
            set_committed_value(booking, "slot", slots[booking.slot_id])  # else a query for each
        found += here
    return sorted(found, key=lambda booking: booking.id)


def shown_booking(booking: BookingMixin) -> dict[str, Any]:
    """Return what a report says of a booking as plain data for JSON."""
    slot = booking.slot
    times = {"key": slot.key, "starts_at": slot.starts_at.isoformat()}
    return {"id": booking.id, **times, "who": booking.who, "party": booking.party, "status": booking.status}


def find(work: Work, booking: BookingMixin | int) -> BookingMixin:
    """Return a booking that is given itself or by its id."""
    if booking is None:
        raise refusal("booking", booking, "a booking or its id")
    return find_booking(work, getattr(booking, "id", booking))


def locked_booking(
    work: Work, booking: BookingMixin | int, with_resource: bool = False
) -> tuple[BookingMixin, SlotMixin]:
    """Return a booking, its slot and its template as they are now; nobody else can change them.

    Whoever changes a booking locks its slot before.

    :param with_resource: nobody else can take the slot's resource either.
    :raises BookingNotFound: if there is none, or no slot of it.
    :raises LostRace: if they were pruned meanwhile.
    """
    take_write_lock(work.session, table_of(work.models.Slot))
    found = find(work, booking)
    template = _template_of(found)
    if with_resource or waiting.may_be_served(found.slot):
        lock_offer(work, template)
    else:
        _keep_template(work, found)
    slots = lock_slots(work, found.slot_id)
    keep_booking(work, found)
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


def keep_booking(work: Work, found: BookingMixin) -> None:
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
    if found.status == BookingStatus.WAITING:
        return waiting.leave(work, slot, found)
    holds = _without(slot, found)
    if not end_booking(work, found.id, LIVE, **values):
        return False
    change_slot(work, slot, -found.party, holds)
    return True


def _without(slot: SlotMixin, booking: BookingMixin) -> list[list[int]]:
    return [hold for hold in slot.holds or () if hold[0] != booking.id]


def conflict(booking: BookingMixin, slot: SlotMixin, status: BookingStatus, verb: str) -> StatusConflict:
    """Return (not raise) the error for a booking whose status does not allow it."""
    return StatusConflict(
        f"booking {booking.id} is {status.value}: it cannot be {verb}", key=slot.key, status=status.value
    )
