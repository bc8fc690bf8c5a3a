"""The waiting list: who waits for places in a slot, in order, and who is offered those that get free.

No job is behind it. Whatever frees places offers them in the same transaction, to the first that fits, and goes on
while somebody fits: a hold of OFFER_MINUTES, or a booking where the template says so. What got free by the time alone
is offered by the next call that writes about the slot, and by the next top-up. As long as somebody who fits waits, the
slot is full for others.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, literal_column, select, update

from ..context import Work
from ..errors import IdempotencyConflict, SlotClosed, SlotFull, StatusConflict, again_if_lost, refusal
from ..models import BookingMixin, SlotMixin, is_kept_for_waiting, keeps_for_waiting, table_of
from ..signals import booking_offered, booking_waiting, slot_booked
from ..statements import newest, only_if
from ..values import BookingStatus, State, Status, to_us
from .counting import change_slot, end_booking, lock_again, lock_slots, sweep
from .resources import (
    is_apart,
    is_crowded,
    is_taken,
    left_in_pool,
    lock_at_once,
    lock_offer,
    look_around,
    slot_to_book,
)
from .taking import (
    ONLY,
    BookingRequest,
    active_key_in,
    check_limits,
    find_known,
    insert_booking,
    lock_first,
    report,
)

#: The id of a booking that waits, and how many places it waits for.
_Waiting = list[int]


# -- to wait


def wait(work: Work, key: str | SlotMixin, request: BookingRequest) -> BookingMixin:
    """Take a place on the waiting list of a slot; see ``RollingSlots.wait``."""
    request.check()
    made, is_new = again_if_lost(lambda: _waited(work, key, request))
    if is_new and made.status == BookingStatus.WAITING:
        report(work, booking_waiting, made)
    return made


def _waited(work: Work, key: str | SlotMixin, request: BookingRequest) -> tuple[BookingMixin, bool]:
    """Return the booking that waits, and whether it was made now."""
    with slot_to_book(work, key, lock_first(work, request)) as slot:
        slot = lock_again(work, slot)
        known = find_known(work, request, slot) or _that_waits(work, slot, request)
        if known is not None:
            return known, False
        look_around(work, slot)
        check_limits(work, slot, request)
        _refuse(work, slot, request)
        made = insert_booking(work, slot, request)
        if made is None:  # the key is that of a request that was committed meanwhile
            known = find_known(work, request, slot, fresh=True)
            if known is None:
                text = f"idempotency_key = {request.idempotency_key!r} was used for another booking"
                raise IdempotencyConflict(text)
            return known, False
        change_slot(work, slot, 0, slot.holds, [*(slot.queue or ()), [made.id, made.party]])
        serve(work, slot)
    return made, True


def _that_waits(work: Work, slot: SlotMixin, request: BookingRequest) -> BookingMixin | None:
    """Return the booking with which somebody waits for a locked slot already, or is offered places in it.

    :raises StatusConflict: if it is for another number of places.
    """
    ids = [each[0] for each in (*(slot.queue or ()), *(slot.holds or ()))]
    if request.who is None or not ids:
        return None
    cls = work.models.Booking
    waited = (cls.status == BookingStatus.WAITING.value) | cls.is_offer.is_(True)
    # By their ids alone: MariaDB locks what another index leads it to, and those who come meanwhile.
    mine = (cls.id.in_(ids), only_if(cls.who == request.who, waited))
    query: Any = select(cls).where(*mine).order_by(cls.id)
    found: list[BookingMixin] = list(work.session.scalars(newest(query, work.dialect)))
    known = next((each for each in found if each.status_at(work.now) is not BookingStatus.EXPIRED), None)
    if known is None or known.party == request.party:
        return known
    status = known.status_at(work.now)
    word = "waits for" if status is BookingStatus.WAITING else "is offered"
    text = f"slot {slot.key}: booking {known.id} of this person {word} {known.party} places already: release it first"
    raise StatusConflict(text, key=slot.key, status=status.value)


def _refuse(work: Work, slot: SlotMixin, request: BookingRequest) -> None:
    """Refuse to let somebody wait for a locked slot that was looked around: it is closed, free, or its list is full."""
    template, state = slot.template, slot.state_at(work.now)
    if state in (State.OPEN, State.FULL) and (is_taken(slot, work.now) or is_crowded(work, slot)):
        state = State.BLOCKED
    if not template.active or state not in (State.OPEN, State.FULL):
        word = state.value if template.active else "inactive"
        shown = State.WITHDRAWN if state in (State.OPEN, State.FULL) else state
        text = f"slot {slot.key} cannot be waited for: it is {word}"
        raise SlotClosed(text, key=slot.key, state=shown.value)
    if not template.waiting:
        text = f"slot {slot.key} has no waiting list"
        raise StatusConflict(text, key=slot.key, status=state.value)
    left = _left(work, slot)
    if request.party <= left and not keeps_for_waiting(slot, left, slot.starts_at, work.now):
        text = f"slot {slot.key} has {left} of {slot.capacity} places left: book them, nobody has to wait"
        raise StatusConflict(text, key=slot.key, status=state.value)
    if request.party > slot.capacity:
        raise refusal("party", request.party, f"at most {slot.capacity}, the places of slot {slot.key}")
    left = template.waiting - sum(party for _, party in slot.queue or ())
    if request.party > left:
        text = f"the waiting list of slot {slot.key} has {max(0, left)} of {template.waiting} places left"
        raise SlotFull(
            f"{text}, {request.party} asked for", key=slot.key, left=max(0, left), party=request.party
        )


def leave(work: Work, slot: SlotMixin, booking: BookingMixin) -> bool:
    """Take a booking that waits out of the queue of its locked slot; return whether it did wait."""
    is_over = slot.starts_at <= work.now
    values = {
        "status": (BookingStatus.EXPIRED if is_over else BookingStatus.RELEASED).value,
        "released_at": slot.starts_at if is_over else work.now,
    }
    if not end_booking(work, booking.id, (BookingStatus.WAITING,), **values):
        return False
    change_slot(work, slot, 0, slot.holds, [each for each in slot.queue or () if each[0] != booking.id])
    return True


# -- who is next


def fitting(queue: Iterable[_Waiting], left: int) -> list[_Waiting]:
    """Return who of a queue is offered what is left: always the first that fits, while somebody fits."""
    found: list[_Waiting] = []
    for waiting in queue:
        if waiting[1] <= left:
            found.append(waiting)
            left -= waiting[1]
    return found


def serve(work: Work, slot: SlotMixin) -> list[BookingMixin]:
    """Offer what is free in a slot to those who wait for it; return their bookings.

    The slot is locked, its template is kept from changing, and whoever expects that somebody waits has locked its
    exclusive resource before: one that is not, and that somebody else has, leaves all to the next top-up.
    """
    chosen = fitting(slot.queue, _places_for(work, slot)) if slot.queue else []
    if not chosen:
        return []
    sweep(work, slot)
    if slot.capacity == 1 and _is_held_by_key(work, slot):
        return []
    found = [_offer(work, slot, *waiting) for waiting in chosen]
    offered = [booking for booking in found if booking is not None]
    holds = [[each.id, to_us(each.expires_at), each.party] for each in offered if each.expires_at is not None]
    queue = [waiting for waiting in slot.queue or () if waiting not in chosen]
    change_slot(work, slot, sum(each.party for each in offered), [*(slot.holds or ()), *holds], queue)
    for each in offered:
        report(work, booking_offered if each.expires_at is not None else slot_booked, each, follows=True)
    return offered


def _left(work: Work, slot: SlotMixin) -> int:
    """Return how many places are free in a locked slot that was looked around, and in its pool."""
    left, in_pool = slot.capacity - slot.booked_at(work.now), left_in_pool(slot, work.now)
    return left if in_pool is None else min(left, in_pool)


def _places_for(work: Work, slot: SlotMixin) -> int:
    """Return how many places a locked slot has for those who wait: none unless it is offered as it is stored.

    Of one that does not follow its template yet the next top-up takes care, which lets it follow first.
    """
    left = slot.capacity - slot.booked_at(work.now)
    if slot.status != Status.SCHEDULED or not keeps_for_waiting(slot, left, slot.starts_at, work.now):
        return 0
    template = slot.template
    if not template.active or slot.withdrawn or slot.by_now(work.now):
        return 0
    if template.claim is not None and not lock_at_once(work, template.claim.resource):
        return 0
    # On MariaDB the look at all neighbours would lock the series: those who give back at once would meet there.
    slot.rolling_neighbours = () if is_apart(work, template.id) else None
    look_around(work, slot)
    return 0 if is_taken(slot, work.now) or is_crowded(work, slot) else _left(work, slot)


def _is_held_by_key(work: Work, slot: SlotMixin) -> bool:
    """Whether a slot for one has a live booking that its counter does not know of."""
    table = table_of(work.models.Booking)
    query: Any = select(table.c.id).where(table.c.slot_id == slot.id, table.c.active_key == ONLY)
    return work.session.scalar(newest(query, work.dialect)) is not None


def _offer(work: Work, slot: SlotMixin, booking_id: int, party: int) -> BookingMixin | None:
    """Let a booking that waits have its places: for OFFER_MINUTES, or for good; ``None``: it does not wait."""
    table, until = table_of(work.models.Booking), _offered_until(work, slot)
    status = BookingStatus.CONFIRMED if until is None else BookingStatus.HELD
    waits = (table.c.id == booking_id, table.c.status == BookingStatus.WAITING.value)
    values = {
        "status": status.value,
        "expires_at": until,
        "is_offer": True,
        "active_key": active_key_in(slot),
    }
    done: Any = work.session.execute(update(table).where(*waits).values(**values))
    if done.rowcount != 1:
        return None
    cls = work.models.Booking
    query: Any = newest(select(cls).where(cls.id == booking_id), work.dialect)
    offered: BookingMixin = work.session.scalars(query, execution_options={"populate_existing": True}).one()
    return offered


def _offered_until(work: Work, slot: SlotMixin) -> datetime | None:
    if slot.template.waiting_auto:
        return None
    return min(work.now + timedelta(minutes=work.settings.offer_minutes), slot.starts_at)


# -- where places may have got free


def serve_rows(work: Work, slot_ids: Iterable[int]) -> None:
    """Offer what is free in some slots, whose templates, and resources, are locked."""
    ids = sorted(slot_ids)
    for slot in lock_slots(work, *ids).values() if ids else ():
        serve(work, slot)


def find_due(work: Work, *conditions: ColumnElement[bool]) -> list[int]:
    """Return the ids of the slots with places for somebody who waits, by what is stored; an index finds them.

    :param conditions: on their templates.
    """
    cls, template = work.models.Slot, work.models.Template
    # Nearly always nobody waits; and building the query below takes longer than it does.
    anybody = work.models.build_once(
        "anybody who waits",
        lambda m: select(m.Slot.id).where(m.Slot.waits_for >= literal_column("1")).limit(1),
    )
    if work.session.scalar(anybody) is None:
        return []
    query = select(cls.id).join(template, template.id == cls.template_id)
    query = query.where(
        cls.waits_for >= literal_column("1"),  # written out: what the index is for, without values
        is_kept_for_waiting(work.models, cls, work.now),
        cls.status == Status.SCHEDULED.value,
        cls.withdrawn.is_(None),
        template.active.is_(True),
        *conditions,
    )
    # Not by the database, which would read all slots in this order.
    return sorted(work.session.scalars(query))


def serve_one(work: Work, slot_id: int) -> None:
    """Lock a slot and all that comes before it, and offer what is free there."""
    slot = work.session.get(work.models.Slot, slot_id)
    if slot is not None and slot.template is not None:
        lock_offer(work, slot.template)
        serve_rows(work, [slot_id])


def may_be_served(slot: SlotMixin) -> bool:
    """Whether somebody may wait for a slot, by what was read of it: then more is locked before the slot is."""
    return slot.waits_for is not None or slot.template.waiting > 0
