"""The waiting list where it meets other things: limits for each person, lists, events, pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from flask_rollingslots.errors import SlotFull, StatusConflict
from flask_rollingslots.signals import EVENTS

if TYPE_CHECKING:
    from helpers import Site

TEN, ELEVEN, NEXT_DAY = "1@20260106T1000", "1@20260106T1100", "1@20260107T1000"


def full(site: Site, *keys: str, capacity: int = 1, **fields: Any) -> list[int]:
    """Let some slots be booked to the last place, and return the ids of the bookings."""
    site.add(**{"capacity": capacity, "waiting": 10, **fields})
    site.slots.generate()
    made = [site.slots.book(key, capacity, who=f"guest {n}").id for n, key in enumerate(keys)]
    site.session.commit()
    return made


def test_who_waited_in_vain_has_no_place(site: Site) -> None:
    """From the start of its slot on a place in a queue counts towards no limit, and stands in no list of those."""
    full(site, TEN, max_per_person_week=1, max_per_person=1)
    waited = site.slots.wait(TEN, who="ada")
    site.session.commit()
    assert site.slots.bookings(who="ada", waiting=True) == [waited]
    site.clock.turn(days=1, hours=2)
    assert site.slots.bookings(who="ada", waiting=True) == []
    assert site.slots.bookings(who="ada", live=False) == [waited]
    for _ in range(2):  # the second time, the process knows of the limits
        booking = site.slots.book(NEXT_DAY, who="ada")
        site.session.commit()
        site.slots.release(booking)
        site.session.commit()


def test_who_waits_for_what_was_cancelled_is_in_no_list(site: Site) -> None:
    """It is when the slot comes back."""
    full(site, TEN)
    waits = site.slots.wait(TEN, who="ada")
    site.slots.cancel(TEN)
    site.session.commit()
    assert site.slots.bookings(who="ada", waiting=True) == []
    site.slots.restore(TEN)
    site.session.commit()
    assert site.slots.bookings(who="ada", waiting=True) == [waits]


def test_an_offer_is_told_after_what_freed_the_places(site: Site) -> None:
    """Whatever it was: a smaller party, a move, a slot that comes back."""
    (booked,) = full(site, TEN, capacity=3)
    for n in range(3):
        site.slots.wait(TEN, who=f"waits {n}")
    site.session.commit()
    found: list[str] = []
    site.slots.on(*EVENTS.values())(lambda event: found.append(event.name))
    site.slots.change_party(booked, 2)
    site.session.commit()
    site.slots.move(booked, ELEVEN)
    site.session.commit()
    assert found == ["party_changed", "offered", "moved", "offered", "offered"]
    site.slots.cancel(ELEVEN)
    site.slots.restore(ELEVEN)
    site.session.commit()
    found.clear()
    held = site.slots.hold(ELEVEN, 1, who="bob")
    site.slots.wait(ELEVEN, who="eve")
    site.slots.cancel(ELEVEN)
    site.slots.release(held)
    site.slots.restore(ELEVEN)
    site.session.commit()
    assert found == ["held", "waiting", "cancelled", "released", "restored", "offered"]


def test_what_was_over_by_the_time_is_not_told_as_given_back(site: Site) -> None:
    """Who releases a hold that has expired, or a place in the queue of what has begun, gives nothing back."""
    full(site, TEN)
    held = site.slots.hold(ELEVEN, who="bob", minutes=5)
    waits = site.slots.wait(TEN, who="ada")
    site.session.commit()
    found: list[str] = []
    site.slots.on("released")(lambda event: found.append(event.name))
    site.clock.turn(days=1, hours=2)
    for booking in (held, waits):
        assert site.slots.release(booking).status == "expired"
    site.session.commit()
    assert found == []


#: Two offers of one hour on the same three machines.
MACHINES: dict[str, Any] = {"every": None, "until_time": None, "resource": "machines", "pool": 3}


def states(site: Site, key: str) -> set[str]:
    """Return what a slot is, in Python and in SQL, and whether it can be booked."""
    site.session.rollback()
    cls, row = site.slots.Slot, site.slots.get(key)
    asked = select(cls.state, cls.is_bookable).where(cls.id == row.id)
    state, is_bookable = site.session.execute(asked).one()
    assert (row.state, row.is_bookable) == (state, is_bookable)
    return {state, "bookable" if is_bookable else "not bookable"}


def test_a_party_for_which_the_pool_has_no_room_is_in_nobodys_way(site: Site) -> None:
    """Where the slot has places for it, but the machines are too few, others book what there is."""
    first, second = full(site, TEN, **MACHINES), site.add(capacity=3, name="Course", **MACHINES)
    assert len(first) == 1
    site.slots.edit(TEN, "this", capacity=2)
    other = site.slots.book(TEN, who="guest 1").id
    site.session.commit()
    waits = site.slots.wait(TEN, 2, who="two").id
    site.session.commit()
    site.slots.release(other)
    elsewhere = site.slots.book(f"{second.id}@20260106T1000", 2, who="course").id
    site.session.commit()
    assert states(site, TEN) == {"blocked", "not bookable"}
    site.slots.release(first[0])
    site.session.commit()
    assert states(site, TEN) == {"open", "bookable"}
    with pytest.raises(StatusConflict, match="has 1 of 2 places left: book them"):
        site.slots.wait(TEN, who="one")
    booking = site.slots.book(TEN, who="one").id
    site.session.commit()
    assert states(site, TEN) == {"blocked", "not bookable"}
    site.slots.release(booking)
    site.slots.release(elsewhere)
    site.session.commit()
    assert states(site, TEN) == {"full", "not bookable"}  # until the next top-up offers them
    with pytest.raises(SlotFull, match="kept for whoever waits"):
        site.slots.book(TEN, who="one")
    with pytest.raises(StatusConflict, match="waits for"):
        site.slots.wait(TEN, who="two")
    site.session.rollback()
    site.slots.generate()
    assert site.slots.get_booking(waits).is_offer
