"""What an app may not do through the ORM by itself: refused as it is flushed, with the call that does it right."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from ..errors import InvalidTemplate, SlotBooked, StatusConflict, overlap_refusal, refusal
from ..models import BookingMixin, Models, SlotMixin, TemplateMixin, keep_name, table_of
from ..planning import OF_TIMES
from ..statements import dialect_of, newest, take_write_lock
from ..values import LIVE, BookingStatus, Status
from .storage import DECIDING, in_order, meeting

#: What the times of a segment's slots follow from.
OF_SEGMENTS = (*OF_TIMES, "active_from", "active_until")

#: What a slot counts of its bookings, or knows of their holds: the column, and the calls that write both sides.
_OF_BOOKINGS = {
    "party": "slots.change_party(booking, party)",
    "slot_id": "slots.move(booking, key)",
    "status": "slots.confirm(booking) or slots.release(booking)",
    "expires_at": "slots.release(booking), then slots.hold(key, minutes=…)",
}
_OF_SLOTS = {
    **dict.fromkeys(("booked", "holds", "hold_until"), "slots.book, slots.change_party and slots.release"),
    **dict.fromkeys(("queue", "waits_for"), "slots.wait and slots.release"),
    # By these it is found; who booked it would be elsewhere, and its place sold again.
    **dict.fromkeys(
        ("series_id", "template_id", "original_start"), "slots.edit(key, scope, start=…) or slots.move"
    ),
}


def is_changed(row: Any) -> bool:
    """Whether a column of a row of the session is to get another value; one that was only touched is not written."""
    state = inspect(row)
    touched = state.committed_state.keys() & state.mapper.column_attrs.keys()
    return any(state.attrs[name].history.has_changes() for name in touched)


def keep_names(session: Session, models: Models, template: TemplateMixin, now: datetime) -> None:
    """Before a template with another name is written: let its history keep the name that it had.

    :param now: aware.
    """
    if not inspect(template).attrs.name.history.has_changes():
        return
    session.execute(keep_name(models, template.id, now))
    for slot in list(session.identity_map.values()):
        if not isinstance(slot, models.Slot):
            continue
        state = inspect(slot)
        is_read = state.dict.get("template_id") == template.id and "own_name" in state.dict
        if is_read and not state.attrs.own_name.history.has_changes():
            session.expire(slot, ["own_name"])


def check_neighbours(session: Session, models: Models, template: TemplateMixin) -> None:
    """Before an app writes a segment: refuse times at which its slots overlap those of another where the two meet.

    :raises InvalidTemplate: names the field that changed, and the slots.
    """
    if DECIDING in session.info:
        return
    attributes = inspect(template).attrs
    changed = [name for name in OF_SEGMENTS if attributes[name].history.has_changes()]
    if not changed or template.spec().may_overlap:
        return
    segments = session.scalars(select(models.Template).where(models.Template.series_id == template.series_id))
    for earlier, later in pairwise(in_order(each.spec() for each in segments)):
        pair = meeting(earlier, later) if template.id in (earlier.id, later.id) else None
        if pair is not None:
            raise overlap_refusal(changed[0], getattr(template, changed[0]), [pair], InvalidTemplate)


def check_booking(booking: BookingMixin) -> None:
    """Before a booking is written: refuse a change that its slot would not know of.

    :raises InvalidRequest: names the field, its value, and the call that is right.
    """
    _refuse_changes(booking, _OF_BOOKINGS)


def check_new_booking(booking: BookingMixin) -> None:
    """Before a booking is added: refuse one that takes places which its slot would not count.

    :raises InvalidRequest: names the status and the calls that are right.
    """
    if booking.status in (*LIVE, BookingStatus.WAITING):
        expected = "no booking that is added through the ORM, but by slots.book(key) or slots.hold(key)"
        raise refusal("status", booking.status, expected)


def check_slot(slot: SlotMixin) -> None:
    """Before a slot is written: refuse a change of what it counts, which no booking would know of, and of its key.

    :raises InvalidRequest: names the field, its value, and the calls that are right.
    """
    _refuse_changes(slot, _OF_SLOTS)


def check_booking_gone(session: Session, models: Models, booking: BookingMixin) -> None:
    """Before a booking is deleted: refuse it while its slot counts it.

    :raises StatusConflict: names the call that gives its places back.
    """
    table = table_of(models.Booking)
    take_write_lock(session, table_of(models.Slot))
    query = select(table.c.status).where(table.c.id == booking.id)
    status = session.scalar(newest(query, dialect_of(session)))
    if status in (*LIVE, BookingStatus.WAITING):
        text = f"booking {booking.id} is {status}: give its places back by slots.release(booking), then delete it"
        raise StatusConflict(text, status=status)


def check_slot_gone(session: Session, models: Models, slot: SlotMixin) -> None:
    """Before a slot is deleted: refuse it if there are bookings of it, or somebody decided about it.

    One that only a top-up made may go; it heals.

    :raises SlotBooked: if there are bookings, released ones too.
    :raises StatusConflict: if it was cancelled, completed, deleted or changed.
    """
    table = table_of(models.Slot)
    take_write_lock(session, table_of(models.Slot))
    if _is_pointed_to(session, table_of(models.Booking).c.slot_id, slot.id):
        text = f"slot {slot.key} has bookings: hide it by slots.delete(key), or once it is over by slots.prune(…)"
        raise SlotBooked(text, key=slot.key, booked=slot.booked)
    query = select(table.c.status, table.c.customised).where(table.c.id == slot.id)
    row = session.execute(newest(query, dialect_of(session))).one_or_none()
    if row is not None and (row.status != Status.SCHEDULED or row.customised):
        word = row.status if row.status != Status.SCHEDULED else "changed by a person"
        text = (
            f"slot {slot.key} is {word}, and would come back as its rule says: hide it by slots.delete(key)"
        )
        raise StatusConflict(text, key=slot.key, status=row.status)


def check_template_gone(session: Session, models: Models, template: TemplateMixin) -> None:
    """Before a template is deleted: refuse it while there are slots of it.

    :raises StatusConflict: names the calls that end a series.
    """
    take_write_lock(session, table_of(models.Slot))
    others = table_of(models.Template).c
    query = select(others.id).where(others.series_id == template.series_id, others.id != template.id).limit(1)
    if session.scalar(newest(query, dialect_of(session))) is not None:
        raise StatusConflict(
            f"template {template.id} is a part of series {template.series_id}, which would end or lack its beginning: "
            "end the series by slots.delete_series(template), or switch it off by slots.deactivate(template)",
            template_id=template.id,
        )
    if _is_pointed_to(session, table_of(models.Slot).c.template_id, template.id):
        raise StatusConflict(
            f"template {template.id} has slots: end it by slots.delete_series(template), or switch it off by "
            "slots.deactivate(template); both keep the bookings",
            template_id=template.id,
        )


def _refuse_changes(row: Any, calls: dict[str, str]) -> None:
    attributes = inspect(row).attrs
    for name, call in calls.items():
        if attributes[name].history.has_changes():
            raise refusal(name, getattr(row, name), f"no change through the ORM, but by {call}")


def _is_pointed_to(session: Session, column: Any, number: int) -> bool:
    query = select(column).where(column == number).limit(1)
    return session.scalar(newest(query, dialect_of(session))) is not None
