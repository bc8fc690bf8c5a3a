"""The way that nearly all bookings go: two or three statements, for a stored slot that nothing special is about.

Whatever is not that simple (no row yet, no places, a resource that bookings take, expired holds, a refusal) changes
nothing here and is left to the long way, which knows all cases.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Hashable
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Dialect,
    and_,
    bindparam,
    case,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql

from ..context import Work
from ..models import (
    BookingMixin,
    Models,
    displaced_near,
    table_of,
)
from ..statements import (
    MARIADB,
    begin_writing,
    insert_if_absent,
    locked,
    only_if,
    tells_what_it_updated,
    waits_while_it_reads,
    writes_within_a_query,
)
from ..values import SlotKey
from . import limits
from .counting import COUNTED, read_again
from .wanted import ONLY, BookingRequest, bookable, instance_of, open_for

#: The ids of the slot in which places were taken, and of the booking; without the second a unique key forbids it.
_Written = tuple[int | None, int | None]


def book_at_once(work: Work, key: SlotKey, request: BookingRequest) -> BookingMixin | None:
    """Take the places and write the booking; ``None``, with nothing changed, if there is more to it."""
    session, models = work.session, work.models
    bounds = limits.known_limits(work, key)
    if request.minutes is not None or request.override or (bounds is not None and request.who is None):
        return None
    begin_writing(session, table_of(models.Slot))
    if session.autoflush:  # the statements go past the ORM, and must see what the app changed
        session.flush()
    if request.request_key is not None:
        known = models.build_once("booking of a request", _known)
        if session.scalar(known, {"key": request.request_key}) is not None:
            return None
    place = {"series": key.series_id, "original": key.original_start, "party": request.party, "now": work.now}
    if bounds is not None and request.who is not None:
        place |= {**bounds, "who": request.who}
        if limits.lock_known(work, key, request.who):
            return None
    # A statement that waits goes on with what it saw of other rows before: the template is kept as it is first.
    dialect = session.connection().dialect
    keeps = waits_while_it_reads(dialect.name)
    if keeps and session.scalar(_built(work, place, _keep_offer), place) is None:
        return None
    row = {"active_key": uuid.uuid4().hex, **request.values(work.now)}
    # Most columns stay empty: said once more, each would cost as much as one with something in it.
    given = {name: value for name, value in row.items() if value is not None}
    write = _in_one if writes_within_a_query(dialect.name) else _in_two
    given["slot_id"], given["id"] = write(work, dialect, place, given)
    row |= given
    if row["slot_id"] is None:
        return None
    if row["id"] is None:  # a unique key forbids the booking
        back = {"slot": row["slot_id"], "party": request.party}
        session.execute(models.build_once("give back", _give_back), back)
        return None
    read_again(work, models.Slot, row["slot_id"], COUNTED)
    return instance_of(work, row)


def _in_one(work: Work, _dialect: Dialect, place: dict[str, Any], row: dict[str, Any]) -> _Written:
    """Take places and write the booking with one statement."""
    statement = _built(
        work, place, lambda m, limited: _take_and_write(m, limited, list(row)), ("take and write", *row)
    )
    values = {**{f"new_{name}": value for name, value in row.items()}, **place}
    found = work.session.execute(statement, values).one_or_none()
    if found is None:
        return None, None
    if found.capacity == 1:
        row["active_key"] = ONLY
    return found.slot_id, found.id


def _in_two(work: Work, dialect: Dialect, place: dict[str, Any], row: dict[str, Any]) -> _Written:
    """Take places, then write the booking."""
    taken = _take(work, dialect, place)
    if taken is None:
        return None, None
    row["slot_id"], capacity = taken
    if capacity == 1:
        row["active_key"] = ONLY
    name = dialect.name
    statement = work.models.build_once(("write", name), lambda m: insert_if_absent(table_of(m.Booking), name))
    result: Any = work.session.execute(statement, row)
    return row["slot_id"], result.inserted_primary_key[0] if result.rowcount == 1 else None


def _take(work: Work, dialect: Dialect, values: dict[str, Any]) -> tuple[int, int] | None:
    """Take places in a stored slot without an exclusive resource; return its id and capacity."""
    session = work.session
    if tells_what_it_updated(dialect):
        found = session.execute(_built(work, values, _take_by_key), values).one_or_none()
        return (found.id, found.capacity) if found is not None else None
    # MariaDB would lock what its condition then excludes, and the place where a row is missing, and the slot before
    # its template: this locks the template alone.
    found = session.execute(_built(work, values, _slot_to_take), values).one_or_none()
    if found is None:
        return None
    seen = _Seen._make(found)
    statement = work.models.build_once(
        ("take by id", seen.may_overlap), partial(_take_by_id, seen.may_overlap)
    )
    taken: Any = session.execute(statement, {**values, **seen._asdict()})
    return (seen.slot, seen.places) if taken.rowcount == 1 else None


class _Seen(NamedTuple):
    """What is read of a stored slot whose template is locked; who uses it asks again whether it is so."""

    slot: int
    places: int
    starts: datetime
    ends: datetime
    template: int
    may_overlap: bool


# -- the statements for that, built once: with limits for each person, or without


def _built(
    work: Work, values: dict[str, Any], build: Callable[[Models, bool], Any], name: Hashable = None
) -> Any:
    """Return a statement, the one that counts what a person has if the values say who that is."""
    limited = "who" in values
    return work.models.build_once((name or build.__name__, limited), lambda models: build(models, limited))


def _known(models: Models) -> Any:
    c = table_of(models.Booking).c
    return select(c.id).where(c.request_key == bindparam("key"))


def _take_by_key(models: Models, limited: bool) -> Any:
    c, template = table_of(models.Slot).c, table_of(models.Template).c
    bounds = limits.unlimited(template)
    if limited:
        bounds = limits.as_known(models, c, template) + limits.within(template, limits.sums(models, c))
    return _taking(models, *_of_key(models), bounds=bounds).returning(c.id, c.capacity)


def _take_by_id(may_overlap: bool, models: Models) -> Any:
    """Return the UPDATE that follows what keeps the template: what that asked holds, for it is locked."""
    slots = table_of(models.Slot)
    c = slots.c
    now, party = bindparam("now", type_=c.starts_at.type), bindparam("party", type_=c.booked.type)
    place = SimpleNamespace(
        id=bindparam("slot"),
        series_id=bindparam("series"),
        starts_at=bindparam("starts", type_=c.starts_at.type),
        ends_at=bindparam("ends", type_=c.ends_at.type),
    )
    as_seen = [*_of_key(models), c.template_id == bindparam("template"), c.capacity == bindparam("places")]
    as_seen += [c.waits_for.is_(None)]
    if not may_overlap:
        # Where the slot is is known: a subquery that asks nothing of the row itself is planned and run once.
        as_seen += [c.starts_at == place.starts_at, c.ends_at == place.ends_at, c.displaced.is_(None)]
        as_seen += [~displaced_near(models, place, only_if)]
    is_open = only_if(*open_for(c, now, party), *as_seen)
    return update(slots).where(c.id == place.id, is_open).values(booked=c.booked + party)


def _take_and_write(models: Models, limited: bool, names: list[str]) -> Any:
    bookings = table_of(models.Booking)
    taken = _take_by_key(models, limited).cte("taken")
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=bookings.c[name].type) for name in names}
    values["active_key"] = case((taken.c.capacity == 1, ONLY), else_=values["active_key"])
    source = select(taken.c.id, *values.values())
    writing = postgresql.insert(bookings).from_select(["slot_id", *values], source, include_defaults=False)
    made = writing.on_conflict_do_nothing().returning(bookings.c.id).cte("made")
    found = taken.outerjoin(made, true())
    return select(taken.c.id.label("slot_id"), taken.c.capacity, made.c.id.label("id")).select_from(found)


# Whoever changes the template is not waited for but left to the long way, and so is what is not simple: a lock that was
# taken here could not be given back, and there more may be to be locked before it.


def _offered(models: Models, bounds: Callable[[Any, Any], list[ColumnElement[bool]]]) -> Any:
    slots, templates = table_of(models.Slot), table_of(models.Template).alias()
    joined = slots.join(templates, templates.c.id == slots.c.template_id)
    query = select(slots.c.id, slots.c.capacity, slots.c.template_id).select_from(joined)
    return query.where(*_of_key(models), *_simple(models, templates.c, bounds(slots.c, templates.c)))


def _slot_to_take(models: Models, limited: bool) -> Any:
    # With a limit, what it is read from is not locked; neither is what a person has.
    slots, templates = table_of(models.Slot), table_of(models.Template)
    counted = limits.sums(models, slots.c) if limited else {}
    offered = _offered(
        models, partial(limits.as_known, models) if limited else lambda _, t: limits.unlimited(t)
    )
    more = (slots.c.starts_at, slots.c.ends_at, *(taken.label(name) for name, taken in counted.items()))
    slot = offered.add_columns(*more).limit(literal_column("1")).subquery("slot")
    c = templates.c
    columns = (slot.c.id, slot.c.capacity, slot.c.starts_at, slot.c.ends_at, c.id, c.overlapping)
    query = select(*columns).join_from(slot, templates, c.id == slot.c.template_id)
    # What is locked is read as it is by now, what led to it perhaps as it was: so all is asked again.
    bounds = limits.within(c, slot.c) if limited else limits.unlimited(c)
    return locked(query.where(c.active.is_(True), *_ordinary(c, bounds)), MARIADB[0])


def _keep_offer(models: Models, limited: bool) -> Any:
    templates = table_of(models.Template)
    offered = _offered(models, lambda _, template: [] if limited else limits.unlimited(template))
    mine = offered.with_only_columns(table_of(models.Slot).c.template_id).scalar_subquery()
    return locked(select(templates.c.id).where(templates.c.id == mine), "postgresql")


def _of_key(models: Models) -> tuple[Any, Any]:
    c = table_of(models.Slot).c
    return c.series_id == bindparam("series"), c.original_start == bindparam("original")


def _taking(models: Models, *place: Any, bounds: list[Any]) -> Any:
    slots, templates = table_of(models.Slot), table_of(models.Template)
    now, party = bindparam("now", type_=slots.c.starts_at.type), bindparam("party", type_=slots.c.booked.type)
    is_open = bookable(models, now, party, _simple(models, templates.c, bounds))
    return update(slots).where(*place, is_open).values(booked=slots.c.booked + party)


def _simple(models: Models, template: Any, bounds: list[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Return what must be true of a template and its slot so that nothing more is to be looked at.

    Else slots of its series may overlap, or somebody waits.

    :param bounds: what is asked of the limits for each person.
    """
    slot = table_of(models.Slot).c
    apart = and_(slot.displaced.is_(None), ~displaced_near(models, slot))
    return [
        *_ordinary(template, bounds),
        slot.waits_for.is_(None),
        or_(template.overlapping.is_(True), apart),
    ]


def _ordinary(template: Any, bounds: list[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Return what must be true of a template alone for that; unsettled, the marks of its rows may not be true yet."""
    return [
        template.exclusive.is_(False),
        template.pool.is_(None),
        limits.may_be_one_party(template),
        *bounds,
        template.settled_revision == template.revision,
    ]


def _give_back(models: Models) -> Any:
    slots = table_of(models.Slot)
    party = bindparam("party", type_=slots.c.booked.type)
    return update(slots).where(slots.c.id == bindparam("slot")).values(booked=slots.c.booked - party)
