"""What a slot counts: the places that are booked and held in it, and who waits; its holds that have expired."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select, update

from ..context import Work
from ..errors import LostRace
from ..models import SlotMixin, forget_busy, table_of
from ..statements import MARIADB
from ..values import BookingStatus, Hold, from_us, to_us

#: Said of a queue that nobody changes.
UNCHANGED: Any = object()
#: What these statements change of a slot behind the ORM's back.
COUNTED = ["booked", "holds", "hold_until", "queue", "waits_for"]


def read_again(work: Work, cls: type[Any], number: int, names: list[str] | None = None) -> Any:
    """Let an instance that the session holds be read again when it is used; return it, if there is one."""
    held = work.session.identity_map.get(work.session.identity_key(cls, number))
    if held is not None:
        work.session.expire(held, names)
    return held


def lock_slots(work: Work, *slot_ids: int) -> dict[int, SlotMixin]:
    """Keep others from changing some slots, and return them as they are now, by id.

    :raises LostRace: if one was removed meanwhile.
    """
    cls, table = work.models.Slot, table_of(work.models.Slot)
    ids = sorted(set(slot_ids))
    if work.dialect == "sqlite":  # knows no locked rows: any write waits for the others to end
        work.session.execute(update(table).where(table.c.id.in_(ids)).values(booked=table.c.booked))
    query: Any = select(cls).where(cls.id.in_(ids)).order_by(cls.id).with_for_update()
    rows = work.session.scalars(query, execution_options={"populate_existing": True})
    found = {row.id: row for row in rows}
    if len(found) < len(ids):
        raise LostRace
    if work.dialect in MARIADB and any(row.template is None for row in found.values()):
        raise LostRace  # cut off since this transaction began to read
    return found


def lock_again(work: Work, slot: SlotMixin) -> SlotMixin:
    """Keep others from changing a slot that was looked at, and return it as it is now, with what was seen around it."""
    busy, near = slot.rolling_busy, slot.rolling_neighbours
    slot = lock_slots(work, slot.id)[slot.id]
    slot.rolling_busy, slot.rolling_neighbours = busy, near
    return slot


def sweep(work: Work, slot: SlotMixin) -> int:
    """Release the expired holds of a locked slot; return how many places that freed."""
    moment = to_us(work.now)
    over = [hold for hold in slot.holds or () if hold[1] <= moment]
    freed = 0
    for booking_id, until, party in over:
        gone = {"status": BookingStatus.EXPIRED.value, "released_at": from_us(until)}
        if end_booking(work, booking_id, (BookingStatus.HELD,), **gone):
            freed += party
    if over:
        change_slot(work, slot, -freed, [hold for hold in slot.holds or () if hold not in over])
    return freed


def release_expired(work: Work, slot_ids: Iterable[int]) -> None:
    """Release the expired holds of some slots that are to be moved: nobody confirms one afterwards.

    The slots are locked, so that whoever is confirming comes first and keeps the place, or comes later and is told.
    """
    for slot in lock_slots(work, *slot_ids).values():
        sweep(work, slot)


def end_booking(work: Work, booking_id: int, allowed: tuple[BookingStatus, ...], **values: Any) -> bool:
    """End a live booking with one conditional UPDATE; return whether it was live."""
    table = table_of(work.models.Booking)
    live = table.c.status.in_([status.value for status in allowed])
    statement = update(table).where(table.c.id == booking_id, live).values(active_key=None, **values)
    ended = bool(work.session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]
    read_again(work, work.models.Booking, booking_id)
    return ended


def change_slot(
    work: Work,
    slot: SlotMixin,
    places: int,
    holds: list[Hold] | None,
    queue: list[list[int]] | None = UNCHANGED,
) -> None:
    """Add places to what is booked in a locked slot, and write down the holds that it has now, and who waits.

    :param queue: who waits for it, in order: booking id and places.
    """
    table = table_of(work.models.Slot)
    until = from_us(min(hold[1] for hold in holds)) if holds else None
    values: dict[str, Any] = {"booked": table.c.booked + places, "holds": holds or None, "hold_until": until}
    if queue is not UNCHANGED:
        fewest = min((party for _, party in queue or ()), default=None)
        values |= {"queue": queue or None, "waits_for": fewest}
    work.session.execute(update(table).where(table.c.id == slot.id).values(values))
    forget_busy(work.session)
    work.session.expire(slot, COUNTED)
