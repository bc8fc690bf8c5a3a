"""Taking places: ``book`` and ``hold``, and the statements that count places, each exact under any concurrency."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from blinker import NamedSignal
from sqlalchemy import (
    ColumnElement,
    and_,
    or_,
    select,
    update,
)

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
)
from ..models import (
    BookingMixin,
    SlotMixin,
    TemplateMixin,
    forget_busy,
    keeps_for_waiting,
    table_of,
)
from ..signals import slot_booked, slot_held
from ..statements import (
    insert_if_absent,
    newest,
    only_if,
)
from ..values import LIVE, BookingStatus, Hold, State, Status, key_of, to_us
from . import limits
from .counting import COUNTED, change_slot, lock_again, sweep
from .quick_way import book_at_once
from .resources import is_crowded, is_taken, left_in_pool, look_around, slot_to_book
from .wanted import ONLY, BookingRequest, bookable, instance_of


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
    bounds = bookable(work.models, work.now, party, as_read, beyond)
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
    made = instance_of(work, {"id": result.inserted_primary_key[0], **row})
    if made.expires_at is not None:
        held = session.scalar(select(models.Slot.holds).where(models.Slot.id == slot.id))
        change_slot(work, slot, 0, [*(held or ()), [made.id, to_us(made.expires_at), made.party]])
    # What was not written is not read again: MariaDB's snapshot may be older than the lock.
    if not request.waits:
        session.expire(slot, COUNTED)
    return made
