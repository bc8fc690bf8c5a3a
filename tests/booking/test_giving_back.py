"""Giving places back and moving: until when a person may, what may always be given back, and what never moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from marks import DATABASES, quick_databases, quick_on
from sqlalchemy import update

from flask_rollingslots import signals
from flask_rollingslots.errors import SlotClosed, SlotFull
from flask_rollingslots.statements import MARIADB

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers import Site

KEY, LATER = "1@20260106T1000", "1@20260107T1000"
START = datetime(2026, 1, 6, 10, tzinfo=UTC)
TWO_HOURS, A_SECOND = timedelta(hours=2), timedelta(seconds=1)
WAYS: dict[str, Callable[..., Any]] = {
    "release": lambda site, booking, **more: site.slots.release(booking, **more),
    "move": lambda site, booking, **more: site.slots.move(booking, LATER, **more),
}

database_url = quick_databases("sqlite")
by_both_ways = pytest.mark.parametrize("way", WAYS)


def booked(site: Site, key: str = KEY, **fields: Any) -> Any:
    """Offer two places an hour, and return a committed booking."""
    site.add(capacity=2, **fields)
    booking = site.slots.book(key, who="ada")
    site.session.commit()
    return booking


def refusal(site: Site, booking: Any, way: str, **more: Any) -> Any:
    """Return the error that says that it is too late; nothing has changed."""
    with pytest.raises(SlotClosed) as caught:
        WAYS[way](site, booking, **more)
    site.session.commit()
    assert (booking.status, booking.slot.booked) == ("confirmed", 1)
    assert site.slots.get(LATER).is_virtual or site.slots.get(LATER).booked == 0
    return caught.value


@quick_on(*DATABASES)
@by_both_ways
@pytest.mark.parametrize(
    ("before", "until"),
    [(None, START), (TWO_HOURS, START - TWO_HOURS), (timedelta(days=1), START - timedelta(days=1))],
)
def test_a_person_may_until_the_last_second(
    site: Site, way: str, before: timedelta | None, until: datetime
) -> None:
    """One second before ``cancel_before`` is reached it is done; from that moment on only staff may."""
    booking = booked(site, cancel_before=before)
    site.clock.now = until - A_SECOND
    assert booking.slot.cancel_until == until
    WAYS[way](site, booking)
    assert booking.status == "released"
    site.session.rollback()
    site.clock.now = until
    error = refusal(site, booking, way)
    state = "running" if before is None else "too_late"
    assert (error.key, error.state, error.until) == (KEY, state, until)
    assert f"until {until:%Y-%m-%d %H:%M} UTC" in str(error)
    WAYS[way](site, booking, override=True)
    site.session.commit()
    assert (booking.status, site.slots.get(KEY).booked) == ("released", 0)


@by_both_ways
def test_while_it_runs_and_when_it_is_over(site: Site, way: str) -> None:
    """The error names what the slot is by then; staff may still give back what is over, and nobody moves it."""
    booking = booked(site)
    site.clock.now = START + timedelta(minutes=30)
    assert refusal(site, booking, way).state == "running"
    site.clock.now = START + timedelta(days=1, hours=-3)
    assert refusal(site, booking, way).state == "ended"
    if way == "move":
        assert refusal(site, booking, way, override=True).state == "ended"
    else:
        assert WAYS[way](site, booking, override=True).status == "released"


@by_both_ways
def test_what_was_completed_early(site: Site, way: str) -> None:
    """A slot that the owner completed has happened: a person gives nothing back, and nothing moves."""
    booking = booked(site)
    site.slots.complete(KEY)
    assert refusal(site, booking, way).state == "completed"
    if way == "move":
        assert refusal(site, booking, way, override=True).state == "completed"
    else:
        assert WAYS[way](site, booking, override=True).status == "released"


def test_the_sentence_is_by_the_clock_of_the_place(site: Site) -> None:
    """It says until when in the template's zone, and names the booking and the slot."""
    booking = booked(site, timezone="Europe/Madrid", cancel_before=TWO_HOURS)
    site.clock.now = START - TWO_HOURS
    text = str(refusal(site, booking, "release"))
    assert text == (
        f"booking {booking.id}: its places could be given back until 2026-01-06 08:00 CET: slot {KEY} is too near"
    )


@by_both_ways
def test_a_hold_is_always_given_back(site: Site, way: str) -> None:
    """Also after the start, and moved, too; not to or from what is over."""
    site.add(capacity=2, cancel_before=timedelta(days=1))
    site.clock.now = START - timedelta(minutes=5)
    hold = site.slots.hold(KEY, who="ada")
    site.clock.now = START + A_SECOND
    WAYS[way](site, hold)
    assert (hold.status, site.slots.get(KEY).booked) == ("released", 0)


@by_both_ways
@pytest.mark.parametrize(
    "gone", [{"status": "cancelled"}, {"status": "deleted"}, {"withdrawn": True}], ids=str
)
def test_places_in_what_is_not_offered_any_more(site: Site, way: str, gone: dict[str, Any]) -> None:
    """A person may leave a slot that was cancelled, deleted or withdrawn until it is over, and give back later, too."""
    booking = booked(site, cancel_before=timedelta(days=1))
    table: Any = site.slots.Slot.__table__
    site.session.execute(update(table).values(**gone))
    site.session.commit()
    site.clock.now = START + A_SECOND
    WAYS[way](site, booking)
    assert booking.status == "released"
    site.session.rollback()
    site.clock.now = START + timedelta(hours=1)
    if way == "move":
        assert refusal(site, booking, way).state == "ended"
    else:
        assert WAYS[way](site, booking).status == "released"


def test_what_is_released_stays_so_without_a_word(site: Site) -> None:
    """A second release changes nothing, also when it is too late for a first one."""
    booking = booked(site)
    site.slots.release(booking)
    site.session.commit()
    site.clock.now = START + timedelta(days=1)
    assert site.slots.release(booking) is booking
    assert booking.released_at < START


def test_a_repeated_move_answers_with_its_follower(site: Site) -> None:
    """Also when it is too late for a first one, or the old slot is over; moving to where it is changes nothing."""
    booking = booked(site, cancel_before=TWO_HOURS)
    moved = site.slots.move(booking, LATER)
    site.session.commit()
    for now in (START - TWO_HOURS, START + timedelta(hours=2)):
        site.clock.now = now
        assert site.slots.move(booking, LATER) is moved
    site.clock.now = START + timedelta(days=2)
    assert site.slots.move(moved, LATER) is moved


@quick_on(*DATABASES)
@by_both_ways
def test_the_times_are_those_of_the_locked_slot(site: Site, way: str) -> None:
    """Somebody else moved the slot since it was read: its new start counts."""
    booking = booked(site, cancel_before=TWO_HOURS)
    assert booking.slot.starts_at == START
    site.session.commit()
    assert booking.slot.starts_at == START
    table: Any = site.slots.Slot.__table__
    sooner = START - timedelta(days=1) + timedelta(minutes=30)
    with site.db.engine.begin() as other:
        other.execute(update(table).values(starts_at=sooner, ends_at=sooner + timedelta(hours=1)))
    site.clock.now = START - timedelta(days=1)
    assert refusal(site, booking, way).until == sooner - TWO_HOURS


@by_both_ways
def test_a_new_notice_counts_at_once(site: Site, way: str) -> None:
    """The owner changes ``cancel_before`` while a session has read the template: the committed one counts."""
    booking = booked(site, cancel_before=TWO_HOURS)
    assert booking.slot.template.cancel_before == TWO_HOURS
    site.session.rollback()
    table: Any = site.slots.Template.__table__
    site.clock.now = START - timedelta(hours=3)
    assert booking.slot.template.cancel_before == TWO_HOURS
    if site.db.engine.dialect.name in MARIADB:
        site.session.rollback()  # its snapshot is older than what follows, and a decision beside it is no earlier one
    with site.db.engine.begin() as other:
        other.execute(update(table).values(cancel_before=timedelta(days=1)))
    assert refusal(site, booking, way).until == START - timedelta(days=1)


def test_staff_moves_by_the_usual_rules_of_the_new_slot(site: Site) -> None:
    """``override`` is about the old place alone."""
    booking = booked(site, cancel_before=TWO_HOURS)
    site.slots.book(LATER, party=2)
    site.slots.cancel("1@20260107T1100")
    site.session.commit()
    site.clock.now = START + A_SECOND
    for key, error in ((LATER, SlotFull), ("1@20260107T1100", SlotClosed), ("1@20260105T1100", LookupError)):
        with pytest.raises(error):
            site.slots.move(booking, key, override=True)
    assert site.slots.move(booking, "1@20260107T1200", override=True).status == "confirmed"


def test_a_refusal_tells_nobody(sqlite_site: Site) -> None:
    """No signal is sent for what was refused."""
    site = sqlite_site
    booking = booked(site)
    site.clock.now = START
    heard: list[str] = []

    def hear(sender: Any, **facts: Any) -> None:
        heard.append("told")

    with signals.booking_released.connected_to(hear), signals.booking_moved.connected_to(hear):
        for way in WAYS:
            refusal(site, booking, way)
    assert heard == []


def test_the_owner_is_not_bound(site: Site) -> None:
    """A slot is cancelled, and taken back, whenever the owner decides so."""
    booking = booked(site, cancel_before=timedelta(days=30))
    site.clock.now = START + A_SECOND
    assert list(site.slots.cancel(KEY).affected_bookings) == [booking]
