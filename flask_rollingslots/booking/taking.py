"""Taking places: ``book`` and ``hold``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_rollingslots.browsing import key_of
from flask_rollingslots.errors import SlotClosed, SlotFull, StaleEdit
from flask_rollingslots.values import State

from .quick import book_at_once
from .resources import is_taken, look_around, reach
from .rows import change_slot, insert_booking, lock_slots, sweep, take_places, whole
from .wishes import Wish, find_known

if TYPE_CHECKING:
    from flask_rollingslots.context import Work
    from flask_rollingslots.errors import RollingSlotsError
    from flask_rollingslots.models import BookingMixin, SlotMixin


def book(
    work: Work,
    key: str | SlotMixin,
    party: int = 1,
    who: str | None = None,
    idempotency_key: str | None = None,
) -> tuple[BookingMixin, bool]:
    """Take places in a slot, stored or virtual; return the booking, and whether this call made it.

    :param party: how many places, at least 1.
    :param idempotency_key: unique per ``who``: the same request again returns the same booking.
    :raises InvalidRequest: if ``party``, ``who`` or the key is not valid.
    :raises SlotNotFound: if there is no such slot.
    :raises SlotFull: if too few places are left.
    :raises SlotClosed: if the slot is not open: too early, too late, cancelled, its template inactive, or its
        exclusive resource taken.
    :raises IdempotencyConflict: if the key was used for something else.
    """
    return _reserve(work, key, Wish(party, who, idempotency_key))


def hold(
    work: Work,
    key: str | SlotMixin,
    party: int = 1,
    who: str | None = None,
    idempotency_key: str | None = None,
    minutes: float = 10,
) -> tuple[BookingMixin, bool]:
    """Take places for some minutes; refuses what ``book`` refuses."""
    return _reserve(work, key, Wish(party, who, idempotency_key, minutes=minutes))


def _reserve(work: Work, key: str | SlotMixin, wish: Wish) -> tuple[BookingMixin, bool]:
    wish.check()
    at_once = book_at_once(work, key_of(key), wish)
    if at_once is not None:
        return at_once, True
    session, models = work.session, work.models
    with whole(session, models) as making:
        slot = reach(work, key, making)
        known = find_known(session, models, wish, slot)
        if known is not None:
            return known, False
        look_around(session, models, slot)
        try:
            return take(work, slot, wish), True
        except (SlotFull, SlotClosed):
            # What is in the way may be our own booking: committed by an earlier try of this very request.
            known = find_known(session, models, wish, slot, fresh=True)
            if known is None:
                raise
            return known, False


def take(work: Work, slot: SlotMixin, wish: Wish) -> BookingMixin:
    """Take places in a stored slot whose exclusive resource is locked and looked at.

    :raises SlotFull: if too few places are left.
    :raises SlotClosed: if the slot is not open.
    :raises StaleEdit: if its template was changed just now.
    """
    session, models, now = work.session, work.models, work.now
    if is_taken(slot, now):
        raise _refusal(work, slot, wish)
    if not take_places(session, models, now, slot, wish.party):
        # Only now is it worth a lock to see whether expired holds are in the way, or an edit just moved the slot.
        slot, moved = _again(work, slot)
        freed = sweep(session, models, now, slot)
        if not (freed or moved) or not take_places(session, models, now, slot, wish.party):
            raise _refusal(work, slot, wish)
    made = insert_booking(session, models, now, slot, wish)
    if made is None and slot.capacity == 1:
        # The capacity may have been 1 when this transaction read it.
        slot = _locked(work, slot)
        made = insert_booking(session, models, now, slot, wish) if slot.capacity > 1 else None
    if made is None:
        slot = _locked(work, slot)
        change_slot(session, models, slot, -wish.party, slot.holds)
        raise SlotFull(f"slot {slot.key} is full", key=slot.key, left=slot.left, party=wish.party)
    return made


def _again(work: Work, slot: SlotMixin) -> tuple[SlotMixin, bool]:
    """Return a slot locked, as it is now, and whether it moved to where its exclusive resource is free too."""
    seen = (slot.starts_at, slot.ends_at)
    slot = _locked(work, slot)
    if not slot.template.exclusive or seen == (slot.starts_at, slot.ends_at):
        return slot, False
    look_around(work.session, work.models, slot)
    return slot, not is_taken(slot, work.now)


def _locked(work: Work, slot: SlotMixin) -> SlotMixin:
    busy = slot.rolling_busy
    slot = lock_slots(work.session, work.models, slot.id)[slot.id]
    slot.rolling_busy = busy
    return slot


def _refusal(work: Work, slot: SlotMixin, wish: Wish) -> RollingSlotsError:
    """Say why places could not be taken, by what the slot and its template are now."""
    slot, now, template = _locked(work, slot), work.now, slot.template
    work.session.refresh(template, ["active", "exclusive", "resource"])
    state, left = slot.state_at(now), max(0, slot.capacity - slot.booked_at(now))
    if not template.active or state not in (State.OPEN, State.FULL):
        word = state.value if template.active else "inactive"
        return SlotClosed(f"slot {slot.key} cannot be booked: it is {word}", key=slot.key, state=word)
    if left >= wish.party:
        return StaleEdit(f"slot {slot.key}: its template was changed in the meantime: try again")
    text = f"slot {slot.key} has {left} of {slot.capacity} places left, {wish.party} asked for"
    return SlotFull(text, key=slot.key, left=left, party=wish.party)
