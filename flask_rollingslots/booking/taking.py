"""Taking places: ``book`` and ``hold``, and the statements that count places, each exact under any concurrency."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from blinker import NamedSignal
from sqlalchemy import ColumnElement, and_, bindparam, case, func, inspect, or_, select, true, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import make_transient_to_detached

from ..context import Work
from ..errors import (
    IdempotencyConflict,
    LimitReached,
    LostRace,
    RollingSlotsError,
    SlotClosed,
    SlotFull,
    TooManyHolds,
    again_if_lost,
    refusal,
)
from ..models import (
    BookingMixin,
    Models,
    SlotMixin,
    TemplateMixin,
    displaced_near,
    forget_busy,
    keeps_for_waiting,
    table_of,
)
from ..models.kinds import Text
from ..signals import slot_booked, slot_held
from ..statements import (
    MARIADB,
    begin_writing,
    insert_if_absent,
    locked,
    made_here,
    newest,
    only_if,
    tells_what_it_updated,
    waits_while_it_reads,
    writes_within_a_query,
)
from ..values import LIVE, NOBODY, BookingStatus, Hold, Person, SlotKey, State, Status, key_of, to_us
from . import limits
from .counting import COUNTED, change_slot, lock_again, read_again, sweep
from .resources import is_crowded, is_taken, left_in_pool, look_around, slot_to_book

#: The longest hold: a week.
MAX_MINUTES = 7 * 24 * 60
MAX_PARTY = 1_000_000
#: Of the text that links to a booking: nobody guesses so many.
_TOKEN_BYTES = 18
_TEXT = Text(200)
#: What may be said of the person.
_OF_PERSON = {"name": _TEXT, "contact": _TEXT, "note": Text(2000, lines=True)}
#: The active key of a booking in a slot for one: it makes a second live one impossible, whatever the counter says.
ONLY = "only"
#: Instead of the id of the first booking of a person's series: this is the first.
FIRST = 0
#: The ids of the slot in which places were taken, and of the booking; without the second a unique key forbids it.
_Written = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class BookingRequest:
    """Places that somebody wants, for good or for some minutes.

    :param party: how many places.
    :param minutes: how long they are held; ``None``: they are booked.
    :param expires_at: the end of a hold that goes on in another slot, aware.
    :param replaces_id: the booking that moves.
    :param is_person: whether the limits on what a person may hold apply.
    :param override: staff asks: too early, too late and too many do not count.
    :param token: of the booking that moves; by default a new one.
    :param repeats_id: the first booking of the person's series, or ``FIRST``.
    :param waits: not places are wanted now, but one on the waiting list.
    """

    party: int
    who: str | None
    idempotency_key: str | None = None
    minutes: float | None = None
    expires_at: datetime | None = None
    replaces_id: int | None = None
    is_person: bool = False
    person: Person = NOBODY
    override: bool = False
    token: str | None = None
    repeats_id: int | None = None
    waits: bool = False

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises InvalidRequest: names field, value and expectation.
        """
        party: Any = self.party
        if isinstance(party, bool) or not isinstance(party, int) or not 1 <= party <= MAX_PARTY:
            raise refusal("party", party, f"a whole number from 1 to {MAX_PARTY:,}")
        if not isinstance(self.override, bool):
            raise refusal("override", self.override, "True or False")
        for field in ("who", "idempotency_key"):
            value = getattr(self, field)
            if value is not None and not _TEXT.takes(value):
                hint = "" if isinstance(value, str) else "; an id as str(user.id)"
                raise refusal(field, value, f"{_TEXT.expected}, or None{hint}")
        for field, kind in _OF_PERSON.items():
            value = getattr(self.person, field)
            if value is not None and not kind.takes(value):
                raise refusal(field, value, f"{kind.expected}, or None")
        minutes: Any = self.minutes
        is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if minutes is not None and not (is_number and 0 < minutes <= MAX_MINUTES):
            raise refusal("minutes", minutes, f"a number above 0, at most {MAX_MINUTES:,}")

    @property
    def is_beyond(self) -> bool:
        """Whether places are taken that there may not be: staff books. What moves takes what is free."""
        return self.override and self.replaces_id is None

    @property
    def request_key(self) -> str | None:
        """The key under which the database keeps two bookings for one request apart: unique per ``who``."""
        if self.idempotency_key is None:
            return None
        who = self.who or ""
        return hashlib.sha256(f"{len(who)}:{who}{self.idempotency_key}".encode()).hexdigest()

    def values(self, now: datetime) -> dict[str, Any]:
        """Return the column values of the booking that do not depend on the slot."""
        expires_at = self.expires_at
        if self.minutes is not None:
            expires_at = now.astimezone(UTC) + timedelta(minutes=self.minutes)
        status = BookingStatus.CONFIRMED if expires_at is None else BookingStatus.HELD
        if self.waits:
            status = BookingStatus.WAITING
        return {
            "party": self.party,
            "who": self.who,
            **self.person._asdict(),
            "token": self.token or secrets.token_urlsafe(_TOKEN_BYTES),
            "override": self.override or None,
            "repeats_id": self.repeats_id or None,
            "status": status.value,
            "idempotency_key": self.idempotency_key,
            "request_key": self.request_key,
            "replaces_id": self.replaces_id,
            "created_at": now.astimezone(UTC),
            "expires_at": expires_at,
        }

    def is_answered_by(self, booking: BookingMixin, slot: SlotMixin) -> bool:
        """Whether a booking is what an earlier, equal request was given."""
        waited = booking.status == BookingStatus.WAITING or bool(booking.is_offer)
        is_held = booking.expires_at is not None and not waited
        held = booking.expires_at - booking.created_at if is_held and booking.expires_at is not None else None
        wanted = timedelta(minutes=self.minutes) if self.minutes is not None else None
        asked = (slot.id, self.party, wanted, self.waits, self.repeats_id)
        party = booking.asked_party or booking.party
        return (booking.slot_id, party, held, waited, booking.repeats_id) == asked


def book(work: Work, key: str | SlotMixin, request: BookingRequest) -> BookingMixin:
    """Take places in a slot, stored or virtual; see ``RollingSlots.book`` for what is refused."""
    return _reserve(work, key, request, slot_booked)


def hold(work: Work, key: str | SlotMixin, request: BookingRequest) -> BookingMixin:
    """Take places for some minutes; see ``RollingSlots.hold``."""
    return _reserve(work, key, request, slot_held)


def _reserve(work: Work, key: str | SlotMixin, request: BookingRequest, signal: NamedSignal) -> BookingMixin:
    request.check()
    if request.is_person and request.minutes is not None:
        limits.check_length(work, request.minutes)
    made = book_at_once(work, key_of(key), request)
    if made is None:
        holder = request.who if request.is_person else None
        is_old = holder is not None and limits.lock_holds(work, holder)

        def reserve() -> tuple[BookingMixin, bool]:
            with slot_to_book(work, key, lock_first(work, request)) as slot:
                known = find_known(work, request, slot)
                if known is not None:
                    return known, False
                look_around(work, slot)
                try:
                    if holder is not None:
                        limits.check_number(work, holder, is_old)
                    check_limits(work, slot, request)
                    return take(work, slot, request), True
                except (SlotFull, SlotClosed, TooManyHolds, LimitReached):
                    # What is in the way may be our own booking: committed by an earlier try of this very request.
                    known = find_known(work, request, slot, fresh=True)
                    if known is None:
                        raise
                    return known, False

        # Once more if the row of the slot was removed meanwhile: it is made again then.
        made, is_new = again_if_lost(reserve)
        if not is_new:
            return made
    facts = {} if signal is slot_held else {"override": bool(made.override)}
    report(work, signal, made, **facts)
    return made


def lock_first(work: Work, request: BookingRequest) -> Callable[[TemplateMixin], None]:
    """Return what is locked before a template from which somebody wants places: the person, if that has limits."""
    return lambda template: None if request.override else limits.lock_places(work, template, request.who)


def check_limits(work: Work, slot: SlotMixin, request: BookingRequest) -> None:
    """Refuse what is more than the slot's template gives one person; staff is not bound.

    The slot is that of ``slot_to_book``, which was given ``lock_first``. The errors are those of ``check_places``.
    """
    if not request.override:
        limits.check_places(work, slot, request.party, request.who, leaving=request.replaces_id)


def report(work: Work, signal: NamedSignal, booking: BookingMixin, **facts: Any) -> None:
    """Let a signal about a booking be sent once the work is done; its slot is read only for somebody who listens."""
    work.outbox.add(signal, lambda: {"slot": booking.slot}, booking=booking, **facts)


def find_known(
    work: Work, request: BookingRequest, slot: SlotMixin, fresh: bool = False
) -> BookingMixin | None:
    """Return the booking of an earlier request with the same key, or where that was moved to, if there is one.

    :param fresh: see what others committed since this transaction began. Only for what ends in a refusal or has met
        the row already: on MariaDB such a look at a key that is not there would keep others from inserting theirs.
    :raises IdempotencyConflict: if the key was used for something else, or its booking was released or has expired.
    """
    if request.request_key is None:
        return None
    cls = work.models.Booking

    def find(condition: ColumnElement[bool]) -> BookingMixin | None:
        query: Any = select(cls).where(condition)
        found: BookingMixin | None = work.session.scalars(
            newest(query, work.dialect) if fresh else query
        ).one_or_none()
        return found

    known = find(cls.request_key == request.request_key)
    if known is None:
        return None
    fault = None if request.is_answered_by(known, slot) else "was used for another booking"
    while fault is None and known.status == BookingStatus.RELEASED:
        follower = find(cls.replaces_id == known.id)
        if follower is None:
            break
        known = follower
    status = known.status_at(work.now)
    if fault is None and status not in (*LIVE, BookingStatus.WAITING):
        fault = f"belongs to booking {known.id}, which is {status.value}: book again with another key"
    if fault is not None:
        text = f"idempotency_key = {request.idempotency_key!r} {fault}"
        raise IdempotencyConflict(text, booking_id=known.id)
    return known


# -- the way that nearly all bookings go: two statements, for a stored slot that nothing special is about. Whatever is
# -- not that simple (no row yet, no places, a resource that bookings take, expired holds, a refusal) changes nothing
# -- there and is left to the long way, which knows all cases


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
    keeps = waits_while_it_reads(work.dialect)
    if keeps and session.scalar(_built(work, place, _keep_offer), place) is None:
        return None
    row = {"active_key": uuid.uuid4().hex, **request.values(work.now)}
    write = _in_one if writes_within_a_query(work.dialect) else _in_two
    row["slot_id"], row["id"] = write(work, place, row)
    if row["slot_id"] is None:
        return None
    if row["id"] is None:  # a unique key forbids the booking
        back = {"slot": row["slot_id"], "party": request.party}
        session.execute(models.build_once("give back", _give_back), back)
        return None
    read_again(work, models.Slot, row["slot_id"], COUNTED)
    return _instance(work, row)


def _in_one(work: Work, place: dict[str, Any], row: dict[str, Any]) -> _Written:
    """Take places and write the booking with one statement."""
    statement = _built(
        work, place, lambda m, limited: _take_and_write(m, limited, list(row)), "take and write"
    )
    values = {**{f"new_{name}": value for name, value in row.items()}, **place}
    found = work.session.execute(statement, values).one_or_none()
    if found is None:
        return None, None
    if found.capacity == 1:
        row["active_key"] = ONLY
    return found.slot_id, found.id


def _in_two(work: Work, place: dict[str, Any], row: dict[str, Any]) -> _Written:
    """Take places, then write the booking."""
    taken = _take(work, place)
    if taken is None:
        return None, None
    row["slot_id"], capacity = taken
    if capacity == 1:
        row["active_key"] = ONLY
    dialect = work.dialect
    statement = work.models.build_once(
        ("write", dialect), lambda m: insert_if_absent(table_of(m.Booking), dialect)
    )
    result: Any = work.session.execute(statement, row)
    return row["slot_id"], result.inserted_primary_key[0] if result.rowcount == 1 else None


def _take(work: Work, values: dict[str, Any]) -> tuple[int, int] | None:
    """Take places in a stored slot without an exclusive resource; return its id and capacity."""
    session = work.session
    if tells_what_it_updated(session.connection().dialect):
        found = session.execute(_built(work, values, _take_by_key), values).one_or_none()
        return (found.id, found.capacity) if found is not None else None
    # MariaDB would lock what its condition then excludes, and the place where a row is missing, and the slot before
    # its template: this locks the template alone.
    found = session.execute(_built(work, values, _slot_to_take), values).one_or_none()
    if found is None:
        return None
    values["slot"] = found.id
    taken: Any = session.execute(_built(work, values, _take_by_id), values)
    return (found.id, found.capacity) if taken.rowcount == 1 else None


# -- the statements for that, built once: with limits for each person, or without


def _built(
    work: Work, values: dict[str, Any], build: Callable[[Models, bool], Any], name: str | None = None
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


def _take_by_id(models: Models, limited: bool) -> Any:
    slot, template = table_of(models.Slot).c, table_of(models.Template).c
    bounds = [] if limited else limits.unlimited(template)  # what was looked at is locked
    return _taking(models, slot.id == bindparam("slot"), bounds=bounds, joined=only_if)


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
    offered = offered.add_columns(*(taken.label(name) for name, taken in counted.items()))
    slot = offered.limit(1).subquery("slot")
    query = select(slot.c.id, slot.c.capacity).join_from(
        slot, templates, templates.c.id == slot.c.template_id
    )
    return locked(query.where(*limits.within(templates.c, slot.c)) if limited else query, MARIADB[0])


def _keep_offer(models: Models, limited: bool) -> Any:
    templates = table_of(models.Template)
    offered = _offered(models, lambda _, template: [] if limited else limits.unlimited(template))
    mine = offered.with_only_columns(table_of(models.Slot).c.template_id).scalar_subquery()
    return locked(select(templates.c.id).where(templates.c.id == mine), "postgresql")


def _of_key(models: Models) -> tuple[Any, Any]:
    c = table_of(models.Slot).c
    return c.series_id == bindparam("series"), c.original_start == bindparam("original")


def _taking(models: Models, *place: Any, bounds: list[Any], joined: Callable[..., Any] = and_) -> Any:
    slots, templates = table_of(models.Slot), table_of(models.Template)
    now, party = bindparam("now", type_=slots.c.starts_at.type), bindparam("party", type_=slots.c.booked.type)
    bookable = _bookable(models, now, party, _simple(models, templates.c, bounds, joined))
    return update(slots).where(*place, bookable).values(booked=slots.c.booked + party)


def _simple(
    models: Models,
    template: Any,
    bounds: list[ColumnElement[bool]],
    joined: Callable[..., ColumnElement[bool]] = and_,
) -> list[ColumnElement[bool]]:
    """Return what must be true of a template and its slot so that nothing more is to be looked at.

    Else the marks of its rows may not be true yet, or slots of its series may overlap.

    :param bounds: what is asked of the limits for each person.
    :param joined: how to join what is asked of other slots; MariaDB locks all that an index leads it to.
    """
    slot = table_of(models.Slot).c
    apart = and_(slot.displaced.is_(None), ~displaced_near(models, slot, joined))
    is_settled = template.settled_revision == template.revision
    return [
        template.exclusive.is_(False),
        template.pool.is_(None),
        limits.may_be_one_party(template),
        *bounds,
        slot.waits_for.is_(None),
        is_settled,
        or_(template.overlapping.is_(True), apart),
    ]


def _give_back(models: Models) -> Any:
    slots = table_of(models.Slot)
    party = bindparam("party", type_=slots.c.booked.type)
    return update(slots).where(slots.c.id == bindparam("slot")).values(booked=slots.c.booked - party)


# -- the long way ------------------------------------------------------------------------------------------


def take(work: Work, slot: SlotMixin, request: BookingRequest) -> BookingMixin:
    """Take places in a stored slot whose resource is locked and looked at, or raise why that cannot be."""
    in_pool = _check_resource(work, slot, request)
    if not take_places(work, slot, request.party, request.is_beyond, in_pool=in_pool):
        # Only now is it worth a lock to see whether expired holds are in the way.
        slot = lock_again(work, slot)
        may_be_there = not request.is_beyond and (sweep(work, slot) > 0 or slot.waits_for is not None)
        swept: Any = {"is_swept": True, "in_pool": in_pool}
        if not may_be_there or not take_places(work, slot, request.party, **swept):
            raise _refusal(work, slot, request, in_pool=in_pool)
    made = insert_booking(work, slot, request)
    if made is None and slot.capacity == 1:
        # The capacity may have been 1 when this transaction read it.
        slot = lock_again(work, slot)
        made = insert_booking(work, slot, request) if slot.capacity > 1 else None
    if made is None:
        slot = lock_again(work, slot)
        change_slot(work, slot, -request.party, slot.holds)
        raise SlotFull(f"slot {slot.key} is full", key=slot.key, left=slot.left, party=request.party)
    return made


def take_more(work: Work, slot: SlotMixin, request: BookingRequest, holds: Callable[[], list[Hold]]) -> None:
    """Take further places for a booking or a hold that is there, by the rules of ``take``; the slot is locked.

    :param holds: returns the holds that the slot has then.
    """
    in_pool = _check_resource(work, slot, request)
    sweep(work, slot)
    more: Any = {"is_swept": True, "in_pool": in_pool, "holds": holds() or None}
    if not take_places(work, slot, request.party, request.is_beyond, **more):
        raise _refusal(work, slot, request, in_pool=in_pool)
    forget_busy(work.session)
    work.session.expire(slot, COUNTED)


def _check_resource(work: Work, slot: SlotMixin, request: BookingRequest) -> int | None:
    """Refuse places for which the resource has no room, or the series no time; staff has no more of either.

    :return: how many places the pool has, if there is one; it is locked.
    """
    if is_taken(slot, work.now) or is_crowded(work, slot):
        raise _refusal(work, slot, request, is_blocked=True)
    in_pool = left_in_pool(slot, work.now)
    if in_pool is not None and in_pool < request.party:
        raise _refusal(work, slot, request, in_pool=in_pool)
    return in_pool


def _refusal(
    work: Work,
    slot: SlotMixin,
    request: BookingRequest,
    is_blocked: bool = False,
    in_pool: int | None = None,
) -> RollingSlotsError:
    """Say why places could not be taken, by what the slot and its template are now.

    :param is_blocked: something was found in the way, by a lock: MariaDB's snapshot may not know of it.
    :param in_pool: how many places the pool was found to have, if there is one.
    """
    slot, template = lock_again(work, slot), slot.template
    forget_busy(work.session)
    state, left = slot.state_at(work.now), max(0, slot.capacity - slot.booked_at(work.now))
    if request.is_beyond and slot.status == Status.SCHEDULED:
        state = State.WITHDRAWN if slot.is_withdrawn_at(work.now) else State.OPEN
    may_join = state is State.RUNNING and (slot.closes_at or slot.starts_at) > work.now
    is_short = in_pool is not None and in_pool < request.party and (in_pool < left or request.is_beyond)
    is_blocked = is_blocked or (is_short and in_pool == 0)
    if is_blocked and (may_join or state in (State.OPEN, State.FULL)):
        state = State.BLOCKED
    if not template.active or state not in (State.OPEN, State.FULL, State.RUNNING):
        word = state.value if template.active else "inactive"
        shown = State.WITHDRAWN if state in (State.OPEN, State.FULL) else state
        text = f"slot {slot.key} cannot be booked: it is {word}"
        return SlotClosed(text, key=slot.key, state=shown.value)
    is_over = (slot.closes_at or slot.starts_at) <= work.now or slot.is_withdrawn_at(work.now)
    if state is State.RUNNING and is_over:
        return SlotClosed(f"slot {slot.key} cannot be booked: it is running", key=slot.key, state=state.value)
    if is_short:
        text = (
            f"slot {slot.key} has {left} of {slot.capacity} places left, but {template.resource!r} only {in_pool} of "
            f"{template.pool} meanwhile, {request.party} asked for"
        )
        return SlotFull(text, key=slot.key, left=in_pool, party=request.party)
    is_kept = not request.is_beyond and left >= request.party
    has = left if in_pool is None else min(left, in_pool)
    if is_kept and keeps_for_waiting(slot, has, slot.starts_at, work.now):
        text = f"slot {slot.key} has {left} of {slot.capacity} places left, kept for whoever waits for them"
        return SlotFull(text, key=slot.key, left=0, party=request.party)
    if left >= request.party or request.is_beyond:
        return LostRace(f"slot {slot.key}: its template was changed in the meantime: try again")
    text = f"slot {slot.key} has {left} of {slot.capacity} places left, {request.party} asked for"
    return SlotFull(text, key=slot.key, left=left, party=request.party)


def _bookable(
    models: Models,
    now: Any,
    party: Any,
    template: Iterable[ColumnElement[bool]],
    beyond: bool = False,
) -> ColumnElement[bool]:
    """Return all limits of a booking as one condition on the slot: capacity, times, status, and its template.

    :param now: a moment (aware), or a parameter for one.
    :param party: how many places, or a parameter.
    :param template: what must be true of the template besides being active.
    :param beyond: staff books: capacity and times do not count.
    """
    c, templates = table_of(models.Slot).c, table_of(models.Template)
    mine = select(templates.c.id).where(
        templates.c.id == c.template_id, templates.c.active.is_(True), *template
    )
    usual = (
        c.booked + party <= c.capacity,
        c.ends_at > now,
        or_(c.opens_at.is_(None), c.opens_at <= now),
        func.coalesce(c.closes_at, c.starts_at) > now,
    )
    return only_if(
        c.status == Status.SCHEDULED.value,
        c.withdrawn.is_(None),
        *(() if beyond else usual),
        mine.exists(),
    )


def take_places(
    work: Work,
    slot: SlotMixin,
    party: int,
    beyond: bool = False,
    is_swept: bool = False,
    in_pool: int | None = None,
    **more: Any,
) -> bool:
    """Take places with one conditional UPDATE; return whether they were there, and nobody waits who comes first.

    The statement carries all limits itself: capacity, opening, closing, end, status, and the template as it is now.

    :param beyond: staff books: what there is, when, and who waits does not count.
    :param is_swept: the slot is locked and counts no hold that has expired: else whoever waits may come first.
    :param in_pool: how many places the pool has, if there is one: whoever waits for more does not come first.
    :param more: what else changes with it.
    """
    table, templates = table_of(work.models.Slot), table_of(work.models.Template)
    template = slot.template
    as_read: list[ColumnElement[bool]] = [
        templates.c.exclusive.is_(bool(template.exclusive)),
        templates.c.pool.is_not_distinct_from(template.pool),
    ]
    if template.claim is not None:
        as_read += [
            templates.c.resource == template.resource,
            templates.c.group_name.is_not_distinct_from(template.group),
            templates.c.resource_shared.is_(bool(template.resource_shared)),
            templates.c.setup.is_not_distinct_from(template.setup),
            templates.c.cleanup.is_not_distinct_from(template.cleanup),
        ]
    bounds = _bookable(work.models, work.now, party, as_read, beyond)
    if not beyond:
        comes_first = or_(table.c.waits_for.is_(None), table.c.starts_at <= work.now)
        if is_swept:
            comes_first = or_(comes_first, table.c.waits_for > table.c.capacity - table.c.booked)
        if in_pool is not None:
            comes_first = or_(comes_first, table.c.waits_for > in_pool)
        bounds = and_(bounds, only_if(comes_first))
    values = {"booked": table.c.booked + party, **more}
    statement = update(table).where(table.c.id == slot.id, bounds).values(values)
    return bool(work.session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]


def active_key_in(slot: SlotMixin, is_beyond: bool = False) -> str:
    """Return the active key of a new live booking in a slot; of one beyond its capacity none that is the only one."""
    return ONLY if slot.capacity == 1 and not is_beyond else uuid.uuid4().hex


def insert_booking(work: Work, slot: SlotMixin, request: BookingRequest) -> BookingMixin | None:
    """Write the booking whose places were taken, or that waits; ``None`` if a unique constraint forbids it."""
    session, models = work.session, work.models
    active_key = None if request.waits else active_key_in(slot, request.is_beyond)
    row = {"slot_id": slot.id, "active_key": active_key, **request.values(work.now)}
    result: Any = session.execute(insert_if_absent(table_of(models.Booking), work.dialect), row)
    if result.rowcount != 1:
        return None
    forget_busy(session)
    made = _instance(work, {"id": result.inserted_primary_key[0], **row})
    if made.expires_at is not None:
        held = session.scalar(select(models.Slot.holds).where(models.Slot.id == slot.id))
        change_slot(work, slot, 0, [*(held or ()), [made.id, to_us(made.expires_at), made.party]])
    # What was not written is not read again: MariaDB's snapshot may be older than the lock.
    if not request.waits:
        session.expire(slot, COUNTED)
    return made


def _instance(work: Work, values: dict[str, Any]) -> BookingMixin:
    """Return the booking that was just written: all of it is known, so that nothing needs to be read.

    Reading would not be safe either: MariaDB's snapshot may still hold somebody else's booking under the same key.
    """
    held: BookingMixin | None = read_again(work, work.models.Booking, values["id"])
    if held is not None:
        return held
    made: BookingMixin = inspect(work.models.Booking).class_manager.new_instance()
    made.__dict__.update(values, released_at=None, is_offer=None, attendance=None, asked_party=None)
    make_transient_to_detached(made)
    work.session.add(made)
    made_here(work.session, made)
    return made
