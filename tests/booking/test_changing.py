"""A booking that is for more or fewer people by now, and how one became another."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site, meanwhile
from marks import DATABASES, quick_databases, quick_on

from flask_rollingslots import signals
from flask_rollingslots.errors import (
    BookingNotFound,
    IdempotencyConflict,
    InvalidRequest,
    LimitReached,
    SlotClosed,
    SlotFull,
    StatusConflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, OTHER = "1@20260106T1000", "1@20260106T1100"
#: How long somebody who need not wait gets to be first: what comes out is the same if they do not make it.
A_MOMENT = 0.3
START = MONDAY + timedelta(days=1, hours=2)

database_url = quick_databases("sqlite")


def booked(site: Site, party: int = 2, hold: bool = False, **fields: Any) -> Any:
    """Offer five places an hour, and book or hold some."""
    site.add(**{"capacity": 5, **fields})
    site.slots.generate()
    booking = site.slots.hold(KEY, party, "ada") if hold else site.slots.book(KEY, party, "ada")
    site.session.commit()
    return booking


def check(site: Site, key: str = KEY) -> int:
    """A slot counts what its bookings say, and knows of their holds; return how many places are taken."""
    site.session.commit()
    slot, cls = site.slots.get(key), site.slots.Booking
    live = [
        each
        for each in site.session.scalars(site.db.select(cls).where(cls.slot_id == slot.id))
        if each.status in ("confirmed", "held")
    ]
    assert slot.booked == sum(each.party for each in live)
    held = sorted([each.id, each.party] for each in live if each.status == "held")
    assert sorted([number, size] for number, _, size in slot.holds or ()) == held
    return int(slot.booked)


@quick_on(*DATABASES)
@pytest.mark.parametrize("hold", [False, True])
def test_both_ways(site: Site, hold: bool) -> None:
    """More, fewer, the same: the slot counts along, and a signal tells what it was."""
    booking, heard = booked(site, hold=hold), list[Any]()

    def hear(sender: Any, **facts: Any) -> None:
        heard.append((facts["booking"].party, facts["before"], facts["slot"].key, facts["override"]))

    with signals.booking_changed.connected_to(hear):
        for party in (5, 5, 1, 3):
            assert site.slots.change_party(booking.id, party) is booking
            assert (booking.party, booking.status, check(site)) == (
                party,
                "held" if hold else "confirmed",
                party,
            )
    assert heard == [(5, 2, KEY, False), (1, 5, KEY, False), (3, 1, KEY, False)]
    assert booking.override is None
    if hold:
        site.slots.confirm(booking)
        assert check(site) == 3
    site.slots.release(booking)
    assert check(site) == 0


def test_more_than_there_is(site: Site) -> None:
    """It stays as it was; a hold that has expired is not in the way."""
    booking = booked(site)
    held = site.slots.hold(KEY, 2, minutes=10)
    site.session.commit()
    with pytest.raises(SlotFull, match="1 of 5 places left, 2 asked for"):
        site.slots.change_party(booking, 4)
    assert (booking.party, check(site)) == (2, 4)
    site.clock.now = held.expires_at
    site.slots.change_party(booking, 5)
    assert (held.status, check(site)) == ("expired", 5)


def test_more_is_taken_as_a_booking_is(site: Site) -> None:
    """Not when the slot is closed, has begun, was taken away; fewer are given back until ``cancel_before``."""
    booking = booked(site, closes_before=timedelta(hours=1), cancel_before=timedelta(minutes=30))
    site.clock.now = START - timedelta(hours=1)
    with pytest.raises(SlotClosed, match="closed"):
        site.slots.change_party(booking, 3)
    site.session.rollback()
    assert site.slots.change_party(booking, 1).party == 1
    site.session.commit()
    site.clock.now = START - timedelta(minutes=30)
    site.slots.change_party(booking, 2, override=True)
    with pytest.raises(SlotClosed, match="could be given back until"):
        site.slots.change_party(booking, 1)
    site.session.rollback()
    site.clock.now = START + timedelta(hours=3)
    site.slots.change_party(booking, 9, override=True)
    assert (booking.party, booking.override, check(site)) == (9, True, 9)
    site.slots.change_party(booking, 1, override=True)
    assert check(site) == 1


@pytest.mark.parametrize("what", ["cancelled", "completed", "withdrawn"])
def test_in_what_is_not_offered_any_more(site: Site, what: str) -> None:
    """Nobody gets more there, staff neither; fewer may be given back, but of what is completed."""
    booking = booked(site)
    ways: dict[str, Callable[[], Any]] = {
        "cancelled": lambda: site.slots.cancel(KEY),
        "completed": lambda: site.slots.complete(KEY),
        "withdrawn": lambda: site.slots.close(START.date(), template=1),
    }
    ways[what]()
    site.session.commit()
    for override in (False, True):
        with pytest.raises(SlotClosed) as caught:
            site.slots.change_party(booking, 3, override=override)
        assert caught.value.state == what  # type: ignore[attr-defined]
        site.session.rollback()
    if what == "completed":
        with pytest.raises(SlotClosed):
            site.slots.change_party(booking, 1)
    else:
        assert site.slots.change_party(booking, 1).party == 1
        site.session.commit()
        assert site.session.get(site.slots.Slot, booking.slot_id).booked == 1


def test_a_limit_counts_the_new_party(site: Site) -> None:
    """What it was is not counted twice."""
    booking = booked(site, max_per_person_day=4, max_party=3)
    site.slots.book(OTHER, 1, "ada")
    site.session.commit()
    assert site.slots.change_party(booking, 3).party == 3
    with pytest.raises(InvalidRequest, match="party = 4: expected at most 3"):
        site.slots.change_party(booking, 4)
    site.session.rollback()
    site.slots.change_party(booking, 2)
    site.slots.book(OTHER, 1, "ada")
    site.session.commit()
    with pytest.raises(LimitReached) as caught:
        site.slots.change_party(booking, 3)
    assert (caught.value.taken, caught.value.party) == (2, 3)  # type: ignore[attr-defined]
    site.session.rollback()
    assert site.slots.change_party(booking, 3, override=True).override
    assert check(site) == 3


@pytest.mark.parametrize("end", ["released", "expired", "moved"])
def test_what_is_over_is_not_changed(site: Site, end: str) -> None:
    """Neither way, whatever it was for."""
    booking = booked(site, hold=end == "expired")
    if end == "expired":
        site.clock.now = booking.expires_at
    elif end == "moved":
        site.slots.move(booking, OTHER)
    else:
        site.slots.release(booking)
    site.session.commit()
    for party in (1, 2, 3):
        with pytest.raises(StatusConflict, match="expired" if end == "expired" else "released"):
            site.slots.change_party(booking, party)
        site.session.rollback()


def test_what_makes_no_sense(site: Site) -> None:
    """Each refusal names its field."""
    booking = booked(site)
    for party in (0, -1, 1.5, True, "2", None):
        with pytest.raises(InvalidRequest, match="party = "):
            site.slots.change_party(booking, party)  # type: ignore[arg-type]
    with pytest.raises(BookingNotFound):
        site.slots.change_party(4711, 2)
    with pytest.raises(InvalidRequest, match="booking = None"):
        site.slots.change_party(None, 2)  # type: ignore[arg-type]


def test_who_waits_keeps_the_place_with_fewer(site: Site) -> None:
    """The queue follows; with more one would overtake oneself."""
    site.add(capacity=5, waiting=20)
    site.slots.book(KEY, 4, "ada")
    ann, waits, eve = (
        site.slots.wait(KEY, party, who) for who, party in (("ann", 4), ("bob", 3), ("eve", 5))
    )
    site.session.commit()
    site.slots.change_party(waits, 2)
    site.session.commit()
    slot = site.session.get(site.slots.Slot, waits.slot_id)
    assert (slot.queue, slot.waits_for, slot.booked) == ([[ann.id, 4], [waits.id, 2], [eve.id, 5]], 2, 4)
    assert (waits.party, waits.status) == (2, "waiting")
    assert site.slots.change_party(waits, 2) is waits
    with pytest.raises(StatusConflict, match="is waiting: it cannot be for more people"):
        site.slots.change_party(waits, 3)
    site.slots.change_party(waits, 1)
    assert (waits.status, waits.is_offer, slot.queue) == ("held", True, [[ann.id, 4], [eve.id, 5]])


def test_more_places_overtake_nobody(site: Site) -> None:
    """A booking gets larger only by what nobody waits for."""
    site.add(capacity=4, waiting=20)
    booking = site.slots.book(KEY, 2, who="guest")
    site.slots.hold(KEY, 2, who="gone", minutes=5)
    site.slots.wait(KEY, 2, who="first")
    site.session.commit()
    site.clock.turn(minutes=5)
    with pytest.raises(SlotFull):
        site.slots.change_party(booking, 3)
    site.session.rollback()
    site.slots.wait(KEY, 1, who="second")
    site.session.commit()
    with pytest.raises(SlotFull):
        site.slots.change_party(booking, 3)


@pytest.mark.parametrize("hold", [False, True])
def test_the_first_request_again(site: Site, hold: bool) -> None:
    """A form that is sent twice gets its booking as it is by now; another one with its key is none of it."""
    site.add(capacity=5)
    call = site.slots.hold if hold else site.slots.book
    booking = call(KEY, 2, "ada", "form")
    for party in (4, 2, 3):
        site.slots.change_party(booking, party)
        site.session.commit()
        assert call(KEY, 2, "ada", "form") is booking
        assert booking.party == party
    for other in (3, 1):
        with pytest.raises(IdempotencyConflict):
            call(KEY, other, "ada", "form")
    moved = site.slots.move(booking, OTHER)
    site.slots.change_party(moved, 1)
    site.session.commit()
    assert call(KEY, 2, "ada", "form") is moved
    assert (moved.party, check(site, OTHER)) == (1, 1)


def test_the_orm_names_the_call(site: Site) -> None:
    """A party that is changed behind the slot's back is refused."""
    booking = booked(site)
    booking.party = 3
    with pytest.raises(InvalidRequest, match=r"slots\.change_party\(booking, party\)"):
        site.session.commit()
    site.session.rollback()


@quick_on(*DATABASES)
def test_several_at_once(site: Site) -> None:
    """What eight threads change is what the slot counts in the end."""
    booking, outcomes = booked(site, capacity=9), Counter[str]()
    barrier = threading.Barrier(8)

    def change(number: int) -> None:
        with site.app.app_context():
            barrier.wait(60)
            for party in range(1, 9):
                try:
                    site.slots.change_party(booking_id, 1 + (party * number) % 9)
                    site.session.commit()
                    outcomes["done"] += 1
                except Exception as error:
                    site.session.rollback()
                    outcomes[type(error).__name__] += 1

    booking_id = booking.id
    site.session.remove()
    threads = [threading.Thread(target=change, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes["done"] > 8
    assert set(outcomes) <= {"done", "LostRace"}
    assert check(site) == site.session.get(site.slots.Booking, booking_id).party


@pytest.mark.parametrize("party", [1, 5])
@quick_on("postgresql", "mariadb")  # SQLite has one writer
def test_a_release_that_is_under_way(site: Site, party: int) -> None:
    """A change that waits for a release finds nothing to change."""
    booking = booked(site)
    number = booking.id
    site.slots.release(booking)
    thread, outcome = meanwhile(site, lambda: site.slots.change_party(number, party))
    thread.join(A_MOMENT)
    site.session.commit()
    thread.join(60)
    assert type(outcome[0]) is StatusConflict, outcome
    assert check(site) == 0


# --- history -----------------------------------------------------------------------------------------------------


def test_the_history_is_the_same_from_each_end(site: Site) -> None:
    """Oldest first, with one token."""
    first = booked(site)
    second = site.slots.move(first, OTHER)
    site.slots.change_party(second, 3)
    third = site.slots.move(second, KEY)
    lonely = site.slots.book(OTHER)
    site.session.commit()
    for each in (first, second, third.id):
        assert site.slots.history(each) == [first, second, third]
    assert {each.token for each in (first, second, third)} == {first.token}
    assert [each.party for each in site.slots.history(third)] == [2, 3, 3]
    assert site.slots.history(lonely) == [lonely]
    with pytest.raises(BookingNotFound):
        site.slots.history(4711)
