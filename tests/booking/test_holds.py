"""Holds: places for some minutes, free again by the time alone; and what becomes of bookings."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site
from marks import DATABASES, quick_databases, quick_on

from flask_rollingslots import signals
from flask_rollingslots.errors import (
    BookingNotFound,
    HoldExpired,
    IdempotencyConflict,
    InvalidRequest,
    SlotClosed,
    SlotFull,
    SlotNotFound,
    StatusConflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

A_SECOND = timedelta(seconds=1)

# That a booking is stored and counted right on the third is shown by test_booking.py and test_races.py.
database_url = quick_databases("sqlite")


def in_sql(site: Site, key: str) -> tuple[str, int]:
    """Return state and free places of a stored slot, as the database sees them."""
    cls, slot = site.slots.Slot, site.slots.get(key)
    found = site.session.execute(site.db.select(cls.state, cls.left).where(cls.id == slot.id)).one()
    return found[0], found[1]


def seen(site: Site, key: str) -> tuple[str, int]:
    """Return state and free places of a slot, alike in Python, in SQL and in a list."""
    slot = site.slots.get(key)
    state = (str(slot.state), slot.left)
    assert in_sql(site, key) == state
    listed = next(s for s in site.slots.between(slot.starts_at, slot.ends_at) if s.key == key)
    assert (str(listed.state), listed.left) == state
    return state


@quick_on(*DATABASES)
def test_a_hold_takes_places_until_its_last_second(site: Site) -> None:
    """Held places are taken one second before the hold expires and free from that moment on, with no job."""
    site.add(capacity=3)
    key = site.week()[0].key
    hold = site.slots.hold(key, party=2, who="ada", minutes=10)
    site.session.commit()
    assert (hold.status, hold.expires_at) == ("held", MONDAY + timedelta(minutes=10))
    site.clock.now = hold.expires_at - A_SECOND
    assert seen(site, key) == ("open", 1)
    assert hold.is_live
    with pytest.raises(SlotFull, match="1 of 3 places left, 2 asked for"):
        site.slots.book(key, party=2)
    site.clock.turn(seconds=1)
    assert seen(site, key) == ("open", 3)
    assert (hold.status, hold.status_at(site.clock.now), hold.is_live) == ("held", "expired", False)
    site.slots.book(key, party=3)
    site.session.commit()
    assert (hold.status, hold.released_at) == ("expired", hold.expires_at)
    assert seen(site, key) == ("full", 0)
    assert site.slots.get(key).booked == 3


def test_holds_of_different_lengths_end_one_by_one(site: Site) -> None:
    """Each of several holds in one slot ends at its own time, and only its places come back."""
    site.add(capacity=6)
    key = site.week()[0].key
    site.slots.book(key)
    holds = [site.slots.hold(key, party=n, minutes=10 * n) for n in (2, 1)]
    site.session.commit()
    expected = {9: 2, 10: 3, 19: 3, 20: 5}
    for minutes, left in expected.items():
        site.clock.now = MONDAY + timedelta(minutes=minutes)
        assert seen(site, key) == ("open", left)
    site.clock.now = MONDAY + timedelta(minutes=15)
    with pytest.raises(SlotFull):
        site.slots.book(key, party=4)
    site.slots.book(key, party=3)
    assert [hold.status for hold in holds] == ["held", "expired"]
    assert seen(site, key) == ("full", 0)
    site.clock.now = MONDAY + timedelta(minutes=20)
    assert seen(site, key) == ("open", 2)


def test_the_only_place_is_held_and_taken_over(site: Site) -> None:
    """At capacity 1 the place of an expired hold goes to the next, whose booking the unique key lets in."""
    site.add()
    key = site.week()[0].key
    hold = site.slots.hold(key)
    assert seen(site, key) == ("full", 0)
    with pytest.raises(SlotFull):
        site.slots.hold(key)
    site.clock.now = hold.expires_at
    booking = site.slots.book(key, who="bob")
    assert [b.status for b in (hold, booking)] == ["expired", "confirmed"]
    with pytest.raises(HoldExpired):
        site.slots.confirm(hold)


def test_confirm_makes_a_hold_last(site: Site) -> None:
    """A confirmed hold is a booking: it does not expire; confirming again changes nothing."""
    site.add(capacity=2)
    key = site.week()[0].key
    hold = site.slots.hold(key, party=2)
    site.clock.now = hold.expires_at - A_SECOND
    assert site.slots.confirm(hold.id) is hold
    assert hold.status == "confirmed"
    site.clock.turn(hours=1)
    assert seen(site, key) == ("full", 0)
    assert site.slots.confirm(hold) is hold
    slot = site.slots.get(key)
    assert (slot.holds, slot.hold_until) == (None, None)


@pytest.mark.parametrize(("seconds", "confirmed"), [(-1, True), (0, False), (1, False)])
def test_confirm_on_both_sides_of_the_expiry(site: Site, seconds: int, confirmed: bool) -> None:
    """A hold can be confirmed one second before it expires, and not from that second on."""
    site.add()
    hold = site.slots.hold(site.week()[0].key)
    site.clock.now = hold.expires_at + timedelta(seconds=seconds)
    if confirmed:
        assert site.slots.confirm(hold).status == "confirmed"
    else:
        with pytest.raises(HoldExpired, match="book again") as caught:
            site.slots.confirm(hold)
        assert caught.value.booking_id == hold.id  # type: ignore[attr-defined]


def test_confirm_after_booking_closed_and_not_after_a_cancellation(site: Site) -> None:
    """A hold taken in time may be confirmed after the notice limit; not once the slot is cancelled."""
    site.add(closes_before=timedelta(minutes=5), capacity=2)
    key = site.week()[0].key
    site.clock.now = site.slots.get(key).closes_at - A_SECOND
    first, second = site.slots.hold(key), site.slots.hold(key)
    site.clock.turn(seconds=2)
    assert site.slots.confirm(first).status == "confirmed"
    cancelled = site.slots.cancel(key)
    assert cancelled.affected_bookings == [first, second]
    with pytest.raises(SlotClosed, match="cancelled"):
        site.slots.confirm(second)
    site.slots.release(second)
    with pytest.raises(StatusConflict, match="released"):
        site.slots.confirm(second)


def test_release_of_holds(site: Site) -> None:
    """A live hold is released, an expired one stays expired; both give their places back once."""
    site.add(capacity=5)
    key = site.week()[0].key
    first, second = site.slots.hold(key, party=2), site.slots.hold(key, party=3, minutes=20)
    site.slots.release(first)
    assert (first.status, seen(site, key)) == ("released", ("open", 2))
    site.clock.now = second.expires_at
    for _ in range(2):
        site.slots.release(second)
        assert (second.status, seen(site, key)) == ("expired", ("open", 5))
    assert site.slots.get(key).booked == 0


@pytest.mark.parametrize("minutes", [0, -1, True, "10", 7 * 24 * 60 + 1])
def test_bad_minutes_are_refused(sqlite_site: Site, minutes: Any) -> None:
    """A hold has a length above nothing, of at most a week."""
    sqlite_site.add()
    with pytest.raises(InvalidRequest, match="minutes"):
        sqlite_site.slots.hold(sqlite_site.week()[0].key, minutes=minutes)


def test_the_key_of_a_hold(site: Site) -> None:
    """The same hold again is the same hold, confirmed or not; with another length or as a booking it is refused."""
    site.add(capacity=5)
    key = site.week()[0].key
    hold = site.slots.hold(key, who="ada", idempotency_key="k")
    site.clock.turn(minutes=1)
    assert site.slots.hold(key, who="ada", idempotency_key="k") is hold
    for other in (
        lambda: site.slots.hold(key, who="ada", idempotency_key="k", minutes=11),
        lambda: site.slots.book(key, who="ada", idempotency_key="k"),
        lambda: site.slots.hold("1@20260107T1000", who="ada", idempotency_key="k"),
    ):
        with pytest.raises(IdempotencyConflict):
            other()
    site.slots.confirm(hold)
    assert site.slots.hold(key, who="ada", idempotency_key="k") is hold
    assert site.slots.get(key).booked == 1


def test_a_retry_finds_its_booking_in_a_full_slot(site: Site) -> None:
    """Whoever took the last place and asks again is given the booking, not told that the slot is full."""
    site.add()
    key = site.week()[0].key
    booking = site.slots.book(key, who="ada", idempotency_key="k")
    site.session.commit()
    assert site.slots.book(key, who="ada", idempotency_key="k").id == booking.id
    site.clock.turn(days=2)  # also long after it ended
    assert site.slots.book(key, who="ada", idempotency_key="k").id == booking.id


def test_a_key_used_for_two_slots_takes_no_second_place(site: Site) -> None:
    """The request that is refused leaves the other slot as free as it was, even with the first not yet seen."""
    site.add(capacity=2)
    first, second = (slot.key for slot in site.week()[:2])
    site.slots.book(first, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        site.slots.book(second, idempotency_key="k")
    site.session.commit()
    assert site.slots.get(second).left == 2


def test_signals_tell_of_holds_and_moves_once(sqlite_site: Site) -> None:
    """Holding, confirming and moving send a signal each; a repeated request sends none."""
    site = sqlite_site
    site.add(capacity=2)
    first, second = (slot.key for slot in site.week()[:2])
    heard: list[str] = []

    def listener(name: str) -> Callable[..., None]:
        return lambda sender, **facts: heard.append(f"{name} {' '.join(sorted(facts))}")

    names = ("slot_held", "slot_booked", "booking_moved", "booking_released")
    listeners = {name: listener(name) for name in names}
    for name, function in listeners.items():
        getattr(signals, name).connect(function)
    for _ in range(2):
        hold = site.slots.hold(first, idempotency_key="k")
    for _ in range(2):
        site.slots.confirm(hold)
    for _ in range(2):
        moved = site.slots.move(hold, second)
    for _ in range(2):
        site.slots.release(moved)
    assert heard == [
        "slot_held booking door slot who",
        "slot_booked booking door override slot who",
        "booking_moved booking door old_slot override replaces_id slot who",
        "booking_released booking door override slot who",
    ]


# --- moving ---------------------------------------------------------------------------------------------------


@quick_on(*DATABASES)
def test_a_booking_moves(site: Site) -> None:
    """The booking in the new slot has the same party and person; the old places are free; a repeat is the same."""
    site.add(capacity=3)
    first, far = site.week()[0].key, "1@20310106T1000"
    booking = site.slots.book(first, party=2, who="ada")
    moved = site.slots.move(booking, far)
    site.session.commit()
    assert (moved.slot.key, moved.party, moved.who, moved.status) == (far, 2, "ada", "confirmed")
    assert (booking.status, moved.replaces_id) == ("released", booking.id)
    assert (seen(site, first), site.slots.get(far).left) == (("open", 3), 1)
    assert site.slots.move(booking.id, far) is moved
    assert site.slots.move(moved, far) is moved
    with pytest.raises(StatusConflict, match="released"):
        site.slots.move(booking, first)


def test_a_refused_move_changes_nothing(site: Site) -> None:
    """If the new slot is full, closed or unknown, the booking stays in the old one."""
    site.add(capacity=2)
    first, second, third = (slot.key for slot in site.week()[:3])
    booking = site.slots.book(first, party=2)
    site.slots.book(second)
    site.slots.cancel(third)
    for key, error in ((second, SlotFull), (third, SlotClosed), ("1@20260106T1015", SlotNotFound)):
        with pytest.raises(error):
            site.slots.move(booking, key)
    site.session.commit()
    assert (booking.status, seen(site, first), seen(site, second)) == ("confirmed", ("full", 0), ("open", 1))
    with pytest.raises(BookingNotFound):
        site.slots.move(77, first)


def test_a_hold_moves_with_its_expiry(site: Site) -> None:
    """A moved hold ends when it would have ended; an expired one does not move."""
    site.add()
    first, second, third = (slot.key for slot in site.week()[:3])
    hold = site.slots.hold(first)
    site.clock.turn(minutes=9)
    moved = site.slots.move(hold, second)
    assert (moved.status, moved.expires_at) == ("held", hold.expires_at)
    assert seen(site, second) == ("full", 0)
    site.clock.turn(minutes=1)
    assert seen(site, second) == ("open", 1)
    with pytest.raises(StatusConflict, match="expired"):
        site.slots.move(moved, third)


def test_everything_joins_the_app_transaction(site: Site) -> None:
    """After the app's rollback a hold, a confirmation and a move have not happened."""
    site.add()
    first, second = (slot.key for slot in site.week()[:2])
    hold = site.slots.hold(first)
    site.session.commit()
    site.slots.move(site.slots.confirm(hold), second)
    site.session.rollback()
    assert (hold.status, seen(site, first)) == ("held", ("full", 0))
    assert site.slots.get(second).is_virtual


# --- cancelling ------------------------------------------------------------------------------------------------


def test_cancelling_reports_the_bookings(site: Site) -> None:
    """The cancelled slot lists its live bookings, which stay; expired holds and released ones are not among them."""
    site.add(capacity=9)
    key = site.week()[0].key
    kept, gone = site.slots.book(key, who="ada"), site.slots.book(key, who="bob")
    site.slots.hold(key, minutes=1)
    held = site.slots.hold(key, minutes=30)
    site.slots.release(gone)
    site.clock.turn(minutes=2)
    heard: list[Any] = []
    with signals.slot_cancelled.connected_to(lambda sender, **facts: heard.append(facts["bookings"])):
        slot = site.slots.cancel(key, reason="rain")
    site.session.commit()
    assert slot.affected_bookings == [kept, held] == heard[0]
    assert kept.status == "confirmed"
    assert seen(site, key)[0] == "cancelled"
    assert list(site.slots.cancel(site.week()[1].key).affected_bookings) == []
