"""What staff may: book what is closed, over or full, past the limits of a person; and mark whether people came."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site
from marks import DATABASES, quick_databases, quick_on

from flask_rollingslots import signals
from flask_rollingslots.errors import InvalidRequest, SlotClosed, SlotFull, SlotNotFound, StatusConflict

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, OTHER = "1@20260105T1000", "1@20260105T1100"

database_url = quick_databases("sqlite")


def offer(site: Site, **fields: Any) -> None:
    """Offer one place an hour, all of them stored."""
    site.add(**fields)
    site.slots.generate()
    site.session.commit()


def full(site: Site) -> None:
    """Fill it, with a hold that has expired besides."""
    offer(site, capacity=2)
    site.slots.hold(KEY, minutes=5)
    site.slots.book(KEY)
    site.clock.turn(minutes=6)
    site.slots.book(KEY)


def upcoming(site: Site) -> None:
    """Open it later."""
    offer(site, opens_before=timedelta(hours=1))


def closed(site: Site) -> None:
    """Close it, before it begins."""
    offer(site, closes_before=timedelta(hours=5))


def running(site: Site) -> None:
    """Let it have begun."""
    offer(site)
    site.clock.now = MONDAY + timedelta(hours=2, minutes=10)


def ended(site: Site) -> None:
    """Let it be over."""
    offer(site)
    site.clock.now = MONDAY + timedelta(hours=3)


@pytest.mark.parametrize("scene", [full, upcoming, closed, running, ended])
@quick_on(*DATABASES)
def test_staff_books_what_others_cannot(site: Site, scene: Callable[[Site], None]) -> None:
    """It is refused without ``override``, and recorded with it, on the booking and in the signal."""
    scene(site)
    site.session.commit()
    before, heard = site.slots.get(KEY).booked, list[Any]()

    def hear(sender: Any, **facts: Any) -> None:
        heard.append((facts["booking"].id, facts["override"]))

    with pytest.raises((SlotFull, SlotClosed)):
        site.slots.book(KEY)
    site.session.rollback()
    with signals.slot_booked.connected_to(hear):
        booking = site.slots.book(KEY, 2, "ada", override=True)
    site.session.commit()
    slot = site.slots.get(KEY)
    assert (booking.override, booking.status, slot.booked) == (True, "confirmed", before + 2)
    assert heard == [(booking.id, True)]
    assert booking.active_key not in (None, "only")
    site.slots.release(booking, override=True)
    site.session.commit()
    assert site.slots.get(KEY).booked == before


def test_in_a_slot_for_one(site: Site) -> None:
    """The guard of a slot for one is for ordinary bookings; one that staff made takes the place, too."""
    offer(site)
    first = site.slots.book(KEY, who="ada", override=True)
    site.slots.book(KEY, who="bob", override=True)
    with pytest.raises(SlotFull):
        site.slots.book(KEY)
    site.slots.release(first)
    with pytest.raises(SlotFull):
        site.slots.book(KEY)
    site.session.commit()
    assert (site.slots.get(KEY).booked, site.slots.get(KEY).left, site.slots.get(KEY).state) == (1, 0, "full")


@pytest.mark.parametrize("what", ["cancelled", "completed", "deleted", "withdrawn", "inactive"])
def test_what_is_not_offered_stays_so(site: Site, what: str) -> None:
    """Nobody books what was taken away, also after it has begun."""
    offer(site, capacity=2)
    if what != "deleted":
        site.slots.book(KEY)
    ways: dict[str, Callable[[], Any]] = {
        "cancelled": lambda: site.slots.cancel(KEY),
        "completed": lambda: site.slots.complete(KEY),
        "deleted": lambda: site.slots.delete(KEY, "this"),
        "withdrawn": lambda: site.slots.close(MONDAY.date(), template=1),
        "inactive": lambda: site.slots.deactivate(1),
    }
    ways[what]()
    site.session.commit()
    for moment in (MONDAY, MONDAY + timedelta(hours=2, minutes=5)):
        site.clock.now = moment
        with pytest.raises(SlotNotFound if what == "deleted" else SlotClosed) as caught:
            site.slots.book(KEY, override=True)
        state = {"inactive": "withdrawn"}.get(what, what)
        assert getattr(caught.value, "state", what) == state
        site.session.rollback()


@quick_on(*DATABASES)
def test_a_court_is_never_booked_twice(site: Site) -> None:
    """Neither on an exclusive resource, nor beside a slot of its series that stands; whatever the hour."""
    court = {"resource": "court", "exclusive": True, "capacity": 2}
    offer(site, **court)
    site.add(name="Party", duration=timedelta(hours=2), every=timedelta(hours=2), **court)
    site.slots.generate()
    site.slots.book(KEY)
    site.slots.materialize("2@20260105T1000")
    site.session.commit()
    for moment in (MONDAY, MONDAY + timedelta(hours=2, minutes=5), MONDAY + timedelta(days=1)):
        site.clock.now = moment
        with pytest.raises(SlotClosed) as caught:
            site.slots.book("2@20260105T1000", override=True)
        assert caught.value.state == "blocked"  # type: ignore[attr-defined]
        site.session.rollback()


def test_beside_a_slot_that_was_moved(site: Site) -> None:
    """A slot whose time another one of its series has stays blocked."""
    offer(site, capacity=2)
    site.slots.edit(OTHER, "this", start=MONDAY.replace(hour=10, minute=30, tzinfo=None))
    site.slots.book(OTHER)
    site.session.commit()
    with pytest.raises(SlotClosed) as caught:
        site.slots.book(KEY, override=True)
    assert caught.value.state == "blocked"  # type: ignore[attr-defined]


def test_what_has_ended_without_a_row_is_not_there(site: Site) -> None:
    """A virtual slot is there until it ends; a stored one stays."""
    site.add()
    site.clock.now = MONDAY + timedelta(hours=2, minutes=5)
    assert site.slots.book(KEY, override=True).override
    site.clock.now = MONDAY + timedelta(hours=5)
    with pytest.raises(SlotNotFound):
        site.slots.book(OTHER, override=True)


def test_the_same_request_of_staff_again(site: Site) -> None:
    """The key answers, and nothing is booked twice."""
    offer(site)
    first = site.slots.book(KEY, 3, "ada", "k", override=True)
    site.session.commit()
    assert site.slots.book(KEY, 3, "ada", "k", override=True) is first
    assert site.slots.get(KEY).booked == 3


# --- marks -------------------------------------------------------------------------------------------------------


def test_who_came_is_marked(site: Site) -> None:
    """Either mark, another one, none; a signal for each that changed something."""
    offer(site, capacity=3)
    booking, heard = site.slots.book(KEY, 2), list[Any]()

    def hear(sender: Any, **facts: Any) -> None:
        heard.append((facts["booking"].id, facts["slot"].key, facts["attendance"]))

    with signals.booking_marked.connected_to(hear):
        for mark in ("arrived", "arrived", "no_show", None, None):
            assert site.slots.mark(booking, mark).attendance == mark
    site.session.commit()
    assert heard == [(booking.id, KEY, mark) for mark in ("arrived", "no_show", None)]
    assert site.slots.mark(booking.id, "no_show") is booking


def test_only_a_booking_is_marked(site: Site) -> None:
    """Not a hold, nor what was given back; other words are refused by name."""
    offer(site, capacity=3)
    held, booking = site.slots.hold(KEY), site.slots.book(KEY)
    with pytest.raises(InvalidRequest, match=r"attendance = 'late': expected 'arrived', 'no_show', or None"):
        site.slots.mark(booking, "late")
    site.slots.release(booking)
    site.session.commit()
    for each, status in ((held, "held"), (booking, "released")):
        with pytest.raises(StatusConflict, match=f"is {status}") as caught:
            site.slots.mark(each, "arrived")
        assert caught.value.status == status  # type: ignore[attr-defined]
        site.session.rollback()
        assert each.attendance is None


def test_override_is_said_in_so_many_words(site: Site) -> None:
    """A text, which is true whatever it says, makes nobody staff."""
    offer(site, capacity=2)
    booking = site.slots.book(KEY).id
    said: Any = "no"
    calls: list[Callable[[], Any]] = [
        lambda: site.slots.book(OTHER, override=said),
        lambda: site.slots.book_series(OTHER, count=2, override=said),
        lambda: site.slots.change_party(booking, 3, override=said),
        lambda: site.slots.move(booking, OTHER, override=said),
        lambda: site.slots.release(booking, override=said),
        lambda: site.slots.release(booking, override=said, following=True),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest, match="override = 'no': expected True or False"):
            call()
    assert site.slots.get_booking(booking).is_live
