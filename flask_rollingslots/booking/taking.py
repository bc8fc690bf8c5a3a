"""Taking places: ``book`` and ``hold``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_rollingslots.browsing import key_of
from flask_rollingslots.errors import SlotClosed, SlotFull, StaleEdit
from flask_rollingslots.signals import slot_booked, slot_held
from flask_rollingslots.values import State

from .places import Wish, change_slot, find_known, insert_booking, lock_slots, report, sweep, take_places
from .quick import book_at_once
from .resources import is_taken, look_around, slot_row

if TYPE_CHECKING:
    from blinker import NamedSignal

    from flask_rollingslots.context import Work
    from flask_rollingslots.errors import RollingSlotsError
    from flask_rollingslots.models import BookingMixin, SlotMixin


def book(
    work: Work,
    key: str | SlotMixin,
    party: int = 1,
    who: str | None = None,
    idempotency_key: str | None = None,
) -> BookingMixin:
    """Take places in a slot, stored or virtual; see ``RollingSlots.book`` for what is refused."""
    return _reserve(work, key, Wish(party, who, idempotency_key), slot_booked)


def hold(
    work: Work,
    key: str | SlotMixin,
    party: int = 1,
    who: str | None = None,
    idempotency_key: str | None = None,
    minutes: float = 10,
) -> BookingMixin:
    """Take places for some minutes; see ``RollingSlots.hold``."""
    return _reserve(work, key, Wish(party, who, idempotency_key, minutes=minutes), slot_held)


def _reserve(work: Work, key: str | SlotMixin, wish: Wish, signal: NamedSignal) -> BookingMixin:
    wish.check()
    made = book_at_once(work, key_of(key), wish)
    if made is None:
        with slot_row(work, key) as slot:
            known = find_known(work, wish, slot)
            if known is not None:
                return known
            look_around(work, slot)
            try:
                made = take(work, slot, wish)
            except (SlotFull, SlotClosed):
                # What is in the way may be our own booking: committed by an earlier try of this very request.
                known = find_known(work, wish, slot, fresh=True)
                if known is None:
                    raise
                return known
    report(work, signal, made)
    return made


def take(work: Work, slot: SlotMixin, wish: Wish) -> BookingMixin:
    """Take places in a stored slot whose exclusive resource is locked and looked at, or raise why that cannot be."""
    if is_taken(slot, work.now):
        raise _refusal(work, slot, wish)
    if not take_places(work, slot, wish.party):
        # Only now is it worth a lock to see whether expired holds are in the way, or an edit just moved the slot.
        slot, moved = _again(work, slot)
        freed = sweep(work, slot)
        if not (freed or moved) or not take_places(work, slot, wish.party):
            raise _refusal(work, slot, wish)
    made = insert_booking(work, slot, wish)
    if made is None and slot.capacity == 1:
        # The capacity may have been 1 when this transaction read it.
        slot = _locked(work, slot)
        made = insert_booking(work, slot, wish) if slot.capacity > 1 else None
    if made is None:
        slot = _locked(work, slot)
        change_slot(work, slot, -wish.party, slot.holds)
        raise SlotFull(f"slot {slot.key} is full", key=slot.key, left=slot.left, party=wish.party)
    return made


def _again(work: Work, slot: SlotMixin) -> tuple[SlotMixin, bool]:
    """Return a slot locked, as it is now, and whether it moved to where its exclusive resource is free too."""
    seen = (slot.starts_at, slot.ends_at)
    slot = _locked(work, slot)
    if not slot.template.exclusive or seen == (slot.starts_at, slot.ends_at):
        return slot, False
    look_around(work, slot)
    return slot, not is_taken(slot, work.now)


def _locked(work: Work, slot: SlotMixin) -> SlotMixin:
    busy = slot.rolling_busy
    slot = lock_slots(work, slot.id)[slot.id]
    slot.rolling_busy = busy
    return slot


def _refusal(work: Work, slot: SlotMixin, wish: Wish) -> RollingSlotsError:
    """Say why places could not be taken, by what the slot and its template are now."""
    slot, template = _locked(work, slot), slot.template
    work.session.refresh(template, ["active", "exclusive", "resource"])
    state, left = slot.state_at(work.now), max(0, slot.capacity - slot.booked_at(work.now))
    if not template.active or state not in (State.OPEN, State.FULL):
        word = state.value if template.active else "inactive"
        return SlotClosed(f"slot {slot.key} cannot be booked: it is {word}", key=slot.key, state=word)
    if left >= wish.party:
        return StaleEdit(f"slot {slot.key}: its template was changed in the meantime: try again")
    text = f"slot {slot.key} has {left} of {slot.capacity} places left, {wish.party} asked for"
    return SlotFull(text, key=slot.key, left=left, party=wish.party)
