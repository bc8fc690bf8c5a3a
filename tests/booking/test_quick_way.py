"""The short way of booking gives what the long one gives, and leaves to it whatever is not simple."""

from __future__ import annotations

from datetime import time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import meanwhile
from sqlalchemy import inspect, text

from flask_rollingslots.booking import taking
from flask_rollingslots.errors import SlotClosed, SlotFull

if TYPE_CHECKING:
    from helpers import Site

#: How long somebody who need not wait gets to be first: what comes out is the same if they do not make it.
A_MOMENT = 0.5


def facts(booking: Any) -> dict[str, Any]:
    """Return all that a booking knows, its id aside."""
    names = [column.key for column in inspect(type(booking)).column_attrs]
    return {name: getattr(booking, name) for name in names if name not in ("id", "active_key")}


def first_key(site: Site, **fields: Any) -> str:
    """Add a template, store its week, and return its first key."""
    site.add(**fields)
    site.slots.generate()
    site.session.rollback()
    return str(site.week()[0].key)


@pytest.mark.parametrize("capacity", [1, 3])
def test_both_ways_write_the_same(site: Site, capacity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same call on two equal slots gives two equal bookings, by the short and by the long way."""
    first_key(site, capacity=capacity)
    first, second = (slot.key for slot in site.week()[:2])
    options = {"who": "ada", "idempotency_key": "k"}
    quick = site.slots.book(first, capacity, **options)
    assert quick in site.session
    known = facts(quick)
    site.session.commit()
    assert facts(quick) == known  # read again from the database
    monkeypatch.setattr(taking, "book_at_once", lambda *_: None)
    slow = site.slots.book(second, capacity, who="ada", idempotency_key="l")
    site.session.commit()
    differs = ("slot_id", "token", "idempotency_key", "request_key")
    assert {**facts(slow), **{name: known[name] for name in differs}} == known
    assert (quick.active_key == "only") == (slow.active_key == "only") == (capacity == 1)


def test_a_slot_that_is_at_hand_knows_its_new_booking(site: Site) -> None:
    """A slot that was read before, in the same session, shows what is left afterwards."""
    slot = site.slots.get(first_key(site, capacity=3))
    assert slot.left == 3
    booking = site.slots.book(slot.key, 2)
    assert (slot.left, slot.booked, booking.slot) == (1, 2, slot)


def test_what_the_app_changed_and_did_not_flush_counts(site: Site) -> None:
    """A capacity that was just raised can be booked, one that was just lowered cannot."""
    slot = site.slots.get(first_key(site, capacity=1))
    slot.capacity = 5
    site.slots.book(slot, 5)
    other = site.week()[1]
    other.capacity = 0
    with pytest.raises(SlotFull):
        site.slots.book(other)


def test_a_template_that_was_just_switched_off_cannot_be_booked(site: Site) -> None:
    """Another process switches the template off after this one read it: the booking notices."""
    key = first_key(site)
    assert site.slots.get(key).template.active
    with site.db.engine.connect() as other:
        site.session.commit()
        assert site.slots.Template.__table__.name == "rolling_template"
        other.execute(text("UPDATE rolling_template SET active = :no").bindparams(no=False))
        other.commit()
    with pytest.raises(SlotClosed, match="inactive"):
        site.slots.book(key)


def test_a_key_that_forbids_the_booking_gives_the_places_back(site: Site) -> None:
    """A counter that says there is room, and a unique key that knows better: refused, and the counter is as before."""
    key = first_key(site, capacity=1)
    site.slots.book(key)
    site.session.execute(text("UPDATE rolling_slot SET booked = 0"))
    site.session.commit()
    with pytest.raises(SlotFull):
        site.slots.book(key)
    site.session.commit()
    assert site.slots.get(key).booked == 0


def test_expired_holds_make_room(site: Site) -> None:
    """A slot whose places are held is full for the short way; once the hold is over, the long way frees them."""
    key = first_key(site, capacity=1)
    held = site.slots.hold(key, minutes=10)
    site.session.commit()
    with pytest.raises(SlotFull):
        site.slots.book(key, who="bob")
    site.session.rollback()
    site.clock.now += timedelta(minutes=10)
    booked = site.slots.book(key, who="bob")
    site.session.commit()
    assert (held.status, booked.status, site.slots.get(key).booked) == ("expired", "confirmed", 1)


def test_a_virtual_slot_takes_the_long_way(site: Site) -> None:
    """A slot without a row gets one, and its booking."""
    site.add(capacity=2)
    slot = site.week()[0]
    assert slot.is_virtual
    booking = site.slots.book(slot.key)
    site.session.commit()
    assert (booking.slot.key, booking.slot.booked) == (slot.key, 1)


def test_a_slot_beside_its_time_is_a_matter_of_its_own_series(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that a person moved sends bookings near it the long way, and none of another series."""
    site.add()
    moved = first_key(site)
    ours, theirs = (moved.replace("1@", f"{series}@").replace("T10", "T11") for series in (2, 1))
    site.slots.edit(moved, "this", start=time(10, 30))
    site.session.commit()
    monkeypatch.setattr(taking, "take", lambda *_: pytest.fail("the long way"))
    assert site.slots.book(ours).slot_id
    with pytest.raises(pytest.fail.Exception, match="the long way"):
        site.slots.book(theirs)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_two_that_waited_for_a_change_of_the_template(site: Site) -> None:
    """Both bookings are made: neither keeps the template from the other so that both would wait for ever."""
    first, second = (slot.key for slot in (first_key(site, capacity=2), site.week())[1][:2])
    template = site.session.get(site.slots.Template, 1)
    template.capacity = 3
    site.session.flush()
    tries = [meanwhile(site, lambda key=key: site.slots.book(key)) for key in (first, second)]
    for thread, _ in tries:
        thread.join(A_MOMENT)
    site.session.commit()
    for thread, _ in tries:
        thread.join(60)
    assert [type(outcome[0]) for _, outcome in tries] == [site.slots.Booking] * 2
