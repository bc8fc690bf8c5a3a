"""The statements that booking consists of, each exact under any concurrency."""

from __future__ import annotations

import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, or_, select, update
from sqlalchemy.orm import make_transient_to_detached

from flask_rollingslots.models import forget_busy, from_us, table_of, to_us
from flask_rollingslots.statements import atomic, dialect_of, insert_if_absent, only_if
from flask_rollingslots.values import BookingStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from flask_rollingslots.models import BookingMixin, Hold, Models, SlotMixin

    from .wishes import Wish

#: The active key of a booking in a slot for one.
ONLY = "only"
#: What these statements change of a slot behind the ORM's back.
COUNTED = ["booked", "holds", "hold_until"]


@contextmanager
def whole(session: Session, models: Models) -> Iterator[Callable[[], object]]:
    """Give a function to call before the row of a virtual slot is made: what is refused then leaves no such row.

    Slots that have a row cost no savepoint.
    """
    with ExitStack() as undo:
        yield lambda: undo.enter_context(_undone(session, models))


@contextmanager
def _undone(session: Session, models: Models) -> Iterator[None]:
    before = {id(slot) for slot in _slots(session, models)}
    try:
        with atomic(session):
            yield
    except BaseException:
        for slot in _slots(session, models):
            if id(slot) not in before:  # its row is gone, and another one may get its number
                session.expunge(slot)
        raise


def _slots(session: Session, models: Models) -> list[SlotMixin]:
    return [found for found in session.identity_map.values() if isinstance(found, models.Slot)]


def take_places(session: Session, models: Models, now: datetime, slot: SlotMixin, party: int) -> bool:
    """Take places with one conditional UPDATE; return whether they were there.

    The statement carries all limits itself: capacity, opening, closing, start, status, and the template as it is now.
    """
    table, templates = table_of(models.Slot), table_of(models.Template)
    template = slot.template
    as_read = [templates.c.exclusive.is_(bool(template.exclusive))]
    here = []
    if template.exclusive:
        as_read.append(templates.c.resource == template.resource)
        # where the resource was seen free
        here = [table.c.starts_at == slot.starts_at, table.c.ends_at == slot.ends_at]
    limits = bookable(models, now, party, template=as_read, slot=here)
    statement = update(table).where(table.c.id == slot.id, limits).values(booked=table.c.booked + party)
    return bool(session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]


def bookable(
    models: Models,
    now: Any,
    party: Any,
    template: Iterable[ColumnElement[bool]] = (),
    slot: Iterable[ColumnElement[bool]] = (),
) -> ColumnElement[bool]:
    """Return all limits of a booking as one condition on the slot: capacity, times, status, and its template.

    :param now: a moment (aware), or a parameter for one.
    :param party: how many places, or a parameter.
    :param template: what must be true of the template besides being active.
    :param slot: what else must be true of the slot.
    """
    c, templates = table_of(models.Slot).c, table_of(models.Template)
    mine = select(templates.c.id).where(
        templates.c.id == c.template_id, templates.c.active.is_(True), *template
    )
    return only_if(
        c.status == Status.SCHEDULED.value,
        c.booked + party <= c.capacity,
        c.starts_at > now,
        or_(c.opens_at.is_(None), c.opens_at <= now),
        or_(c.closes_at.is_(None), c.closes_at > now),
        mine.exists(),
        *slot,
    )


def insert_booking(
    session: Session, models: Models, now: datetime, slot: SlotMixin, wish: Wish
) -> BookingMixin | None:
    """Write the booking whose places were taken; ``None`` if a unique constraint forbids it."""
    # At capacity 1 the constant makes a second live booking impossible, whatever happens to the counter.
    active_key = ONLY if slot.capacity == 1 else uuid.uuid4().hex
    statement = insert_if_absent(table_of(models.Booking), dialect_of(session))
    row = wish.row(slot, now, active_key)
    result: Any = session.execute(statement, row)
    if result.rowcount != 1:
        return None
    forget_busy(session)
    made = written(session, models, {"id": result.inserted_primary_key[0], **row})
    if made.expires_at is not None:
        held = session.scalar(select(models.Slot.holds).where(models.Slot.id == slot.id))
        hold = [made.id, to_us(made.expires_at), made.party]
        change_slot(session, models, slot, 0, [*(held or ()), hold])
    session.expire(slot, COUNTED)
    return made


def written(session: Session, models: Models, values: dict[str, Any]) -> BookingMixin:
    """Return the booking that was just written: all of it is known, so that nothing needs to be read.

    Reading would not be safe either: MariaDB's snapshot may still hold somebody else's booking under the same key.
    """
    held: BookingMixin | None = read_again(session, models.Booking, values["id"])
    if held is not None:
        return held
    made: BookingMixin = inspect(models.Booking).class_manager.new_instance()
    made.__dict__.update(values, released_at=None)
    make_transient_to_detached(made)
    session.add(made)
    return made


def read_again(session: Session, cls: type[Any], number: int, names: list[str] | None = None) -> Any:
    """Let an instance that the session holds be read again when it is used; return it, if there is one."""
    held = session.identity_map.get(session.identity_key(cls, number))
    if held is not None:
        session.expire(held, names)
    return held


def lock_slots(session: Session, models: Models, *slot_ids: int) -> dict[int, SlotMixin]:
    """Keep others from changing some slots, and return them as they are now, by id."""
    cls, table = models.Slot, table_of(models.Slot)
    ids = sorted(set(slot_ids))
    if dialect_of(session) == "sqlite":  # knows no locked rows: any write waits for the others to end
        session.execute(update(table).where(table.c.id.in_(ids)).values(booked=table.c.booked))
    query: Any = select(cls).where(cls.id.in_(ids)).order_by(cls.id).with_for_update()
    rows = session.scalars(query, execution_options={"populate_existing": True})
    return {row.id: row for row in rows}


def refresh_booking(session: Session, booking: BookingMixin) -> BookingMixin:
    """Read a booking as it is now; its slot is locked, and whoever changes a booking locks the slot before."""
    session.refresh(booking, with_for_update=True)
    return booking


def sweep(session: Session, models: Models, now: datetime, slot: SlotMixin) -> int:
    """Release the expired holds of a locked slot; return how many places that freed."""
    moment = to_us(now)
    over = [hold for hold in slot.holds or () if hold[1] <= moment]
    freed = 0
    for booking_id, until, party in over:
        gone = {"status": BookingStatus.EXPIRED.value, "released_at": from_us(until)}
        if end_booking(session, models, booking_id, (BookingStatus.HELD,), **gone):
            freed += party
    if over:
        change_slot(session, models, slot, -freed, [hold for hold in slot.holds or () if hold not in over])
    return freed


def release_expired(session: Session, models: Models, now: datetime, slot_ids: Iterable[int]) -> None:
    """Release the expired holds of some slots that are to be moved: nobody confirms one afterwards.

    The slots are locked, so that whoever is confirming comes first and keeps the place, or comes later and is told.
    """
    for slot in lock_slots(session, models, *slot_ids).values():
        sweep(session, models, now, slot)


def end_booking(
    session: Session, models: Models, booking_id: int, allowed: tuple[BookingStatus, ...], **values: Any
) -> bool:
    """End a live booking with one conditional UPDATE; return whether it was live."""
    table = table_of(models.Booking)
    statement = (
        update(table)
        .where(table.c.id == booking_id, table.c.status.in_([status.value for status in allowed]))
        .values(active_key=None, **values)
    )
    ended = bool(session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]
    read_again(session, models.Booking, booking_id)
    return ended


def change_slot(
    session: Session, models: Models, slot: SlotMixin, places: int, holds: list[Hold] | None
) -> None:
    """Add places to what is booked in a locked slot, and write down the holds that it has now."""
    table = table_of(models.Slot)
    left = holds or None
    until = from_us(min(hold[1] for hold in left)) if left else None
    statement = (
        update(table)
        .where(table.c.id == slot.id)
        .values(booked=table.c.booked + places, holds=left, hold_until=until)
    )
    session.execute(statement)
    forget_busy(session)
    session.expire(slot, COUNTED)
