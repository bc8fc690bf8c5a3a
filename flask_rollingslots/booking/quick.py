"""The way that nearly all bookings go: two statements, for a stored slot that nothing special is about.

Whatever is not that simple (no row yet, no places, an exclusive resource, expired holds, a refusal) changes nothing
here and is left to the long way, which knows all cases.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, select, true, update
from sqlalchemy.dialects import postgresql

from flask_rollingslots.models import table_of
from flask_rollingslots.statements import insert_if_absent, tells_what_it_updated, writes_within_a_query

from .places import COUNTED, ONLY, bookable, read_again, written

if TYPE_CHECKING:
    from flask_rollingslots.context import Work
    from flask_rollingslots.models import BookingMixin, Models
    from flask_rollingslots.values import SlotKey

    from .places import Wish

#: The ids of the slot in which places were taken, and of the booking; without the second a unique key forbids it.
_Written = tuple[int | None, int | None]


def book_at_once(work: Work, key: SlotKey, wish: Wish) -> BookingMixin | None:
    """Take the places and write the booking; ``None``, with nothing changed, if there is more to it."""
    session, models = work.session, work.models
    if wish.minutes is not None:
        return None
    if session.autoflush:  # the statements go past the ORM, and must see what the app changed
        session.flush()
    if wish.request_key is not None and session.scalar(_known(models), {"key": wish.request_key}) is not None:
        return None
    place = {"series": key.series_id, "original": key.original_start, "party": wish.party, "now": work.now}
    row = {"active_key": uuid.uuid4().hex, **wish.values(work.now)}
    write = _in_one if writes_within_a_query(work.dialect) else _in_two
    row["slot_id"], row["id"] = write(work, place, row)
    if row["slot_id"] is None:
        return None
    if row["id"] is None:  # a unique key forbids the booking
        back = {"slot": row["slot_id"], "party": wish.party}
        session.execute(models.build_once("give back", _give_back), back)
        return None
    read_again(session, models.Slot, row["slot_id"], COUNTED)
    return written(work, row)


def _in_one(work: Work, place: dict[str, Any], row: dict[str, Any]) -> _Written:
    """Take places and write the booking with one statement."""
    statement = work.models.build_once("take and write", lambda m: _take_and_write(m, list(row)))
    values = {**{f"new_{name}": value for name, value in row.items()}, **place}
    found = work.session.execute(statement, values).one_or_none()
    if found is None:
        return None, None
    row["active_key"] = _active_key(found.capacity, row)
    return found.slot_id, found.id


def _in_two(work: Work, place: dict[str, Any], row: dict[str, Any]) -> _Written:
    """Take places, then write the booking."""
    taken = _take(work, place)
    if taken is None:
        return None, None
    slot_id, capacity = taken
    row.update(slot_id=slot_id, active_key=_active_key(capacity, row))
    dialect = work.dialect
    statement = work.models.build_once(
        ("write", dialect), lambda m: insert_if_absent(table_of(m.Booking), dialect)
    )
    result: Any = work.session.execute(statement, row)
    return slot_id, result.inserted_primary_key[0] if result.rowcount == 1 else None


def _active_key(capacity: int, row: dict[str, Any]) -> str:
    return ONLY if capacity == 1 else row["active_key"]


def _take(work: Work, values: dict[str, Any]) -> tuple[int, int] | None:
    """Take places in a stored slot without an exclusive resource; return its id and capacity."""
    session, models = work.session, work.models
    if tells_what_it_updated(session.connection().dialect):
        found = session.execute(models.build_once("take by key", _take_by_key), values).one_or_none()
        return (found.id, found.capacity) if found is not None else None
    # MariaDB would lock what its condition then excludes, and the place where a row is missing: this locks nothing.
    found = session.execute(models.build_once("slot to take", _slot_to_take), values).one_or_none()
    if found is None or found.exclusive:
        return None
    values["slot"] = found.id
    taken: Any = session.execute(models.build_once("take by id", _take_by_id), values)
    return (found.id, found.capacity) if taken.rowcount == 1 else None


# -- statements, built once


def _known(models: Models) -> Any:
    def build(_: Models) -> Any:
        bookings = table_of(models.Booking)
        return select(bookings.c.id).where(bookings.c.request_key == bindparam("key"))

    return models.build_once("booking of a request", build)


def _take_by_key(models: Models) -> Any:
    slots = table_of(models.Slot)
    return _taking(models, *_of_key(models)).returning(slots.c.id, slots.c.capacity)


def _take_by_id(models: Models) -> Any:
    return _taking(models, table_of(models.Slot).c.id == bindparam("slot"))


def _take_and_write(models: Models, names: list[str]) -> Any:
    bookings = table_of(models.Booking)
    taken = _take_by_key(models).cte("taken")
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=bookings.c[name].type) for name in names}
    values["active_key"] = case((taken.c.capacity == 1, ONLY), else_=values["active_key"])
    source = select(taken.c.id, *values.values())
    writing = postgresql.insert(bookings).from_select(["slot_id", *values], source, include_defaults=False)
    made = writing.on_conflict_do_nothing().returning(bookings.c.id).cte("made")
    found = taken.outerjoin(made, true())
    return select(taken.c.id.label("slot_id"), taken.c.capacity, made.c.id.label("id")).select_from(found)


def _slot_to_take(models: Models) -> Any:
    slots, templates = table_of(models.Slot), table_of(models.Template)
    joined = slots.join(templates, templates.c.id == slots.c.template_id)
    query = select(slots.c.id, slots.c.capacity, templates.c.exclusive).select_from(joined)
    return query.where(*_of_key(models))


def _of_key(models: Models) -> tuple[Any, Any]:
    c = table_of(models.Slot).c
    return c.series_id == bindparam("series"), c.original_start == bindparam("original")


def _taking(models: Models, *place: Any) -> Any:
    slots, templates = table_of(models.Slot), table_of(models.Template)
    now, party = bindparam("now", type_=slots.c.starts_at.type), bindparam("party", type_=slots.c.booked.type)
    limits = bookable(models, now, party, template=[templates.c.exclusive.is_(False)])
    return update(slots).where(*place, limits).values(booked=slots.c.booked + party)


def _give_back(models: Models) -> Any:
    slots = table_of(models.Slot)
    party = bindparam("party", type_=slots.c.booked.type)
    return update(slots).where(slots.c.id == bindparam("slot")).values(booked=slots.c.booked - party)
