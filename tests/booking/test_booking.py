"""Booking: places are taken and given back, and never more than there are."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from helpers import MONDAY, Site
from marks import quick_on
from sqlalchemy import func

from flask_rollingslots import signals
from flask_rollingslots.errors import (
    BookingNotFound,
    IdempotencyConflict,
    InvalidRequest,
    SlotClosed,
    SlotFull,
    SlotNotFound,
    StatusConflict,
)

if TYPE_CHECKING:
    pass


def test_a_virtual_slot_becomes_a_row_when_booked(site: Site) -> None:
    """Booking a slot without a row makes the row and takes the place."""
    site.add(capacity=2)
    key = site.week()[0].key
    booking = site.slots.book(key, who="ada")
    site.session.commit()
    slot = site.slots.get(key)
    assert not slot.is_virtual
    assert (slot.booked, slot.left, slot.state) == (1, 1, "open")
    assert (booking.slot.key, booking.who, booking.party) == (key, "ada", 1)


def test_the_last_place_fills_the_slot(site: Site) -> None:
    """With the last place taken the slot is full, and the next visitor is told how many are left."""
    site.add(capacity=3)
    key = site.week()[0].key
    site.slots.book(key, party=2)
    with pytest.raises(SlotFull, match="1 of 3 places left, 2 asked for") as caught:
        site.slots.book(key, party=2)
    assert (caught.value.left, caught.value.party) == (1, 2)  # type: ignore[attr-defined]
    site.slots.book(key)
    assert site.slots.get(key).state == "full"


def test_release_gives_the_places_back_once(site: Site) -> None:
    """Releasing frees the places; releasing again changes nothing."""
    site.add(capacity=2)
    key = site.week()[0].key
    booking = site.slots.book(key, party=2)
    site.slots.release(booking)
    assert site.slots.get(key).left == 2
    site.slots.release(booking.id)
    assert site.slots.get(key).left == 2
    assert booking.status == "released"
    site.slots.book(key, party=2)


def test_release_of_an_unknown_booking(site: Site) -> None:
    """An id that does not exist is told."""
    with pytest.raises(BookingNotFound, match="booking 77"):
        site.slots.release(77)


def test_booking_joins_the_app_transaction(site: Site) -> None:
    """After the app's rollback neither booking nor row exist."""
    site.add()
    site.slots.book(site.week()[0].key)
    site.session.rollback()
    assert site.rows() == []
    assert site.session.query(site.slots.Booking).count() == 0


def test_a_far_future_slot_can_be_booked(site: Site) -> None:
    """The window bounds what is stored in advance, not what can be booked."""
    site.add()
    booking = site.slots.book("1@20310106T1000")
    assert booking.slot.starts_at.year == 2031


def test_unknown_keys_cannot_be_booked(site: Site) -> None:
    """A start that the rule does not have is not found."""
    site.add()
    with pytest.raises(SlotNotFound):
        site.slots.book("1@20260105T1030")


def test_started_slots_are_closed(site: Site) -> None:
    """From its first second on a slot cannot be booked any more."""
    site.add()
    key = site.week()[0].key
    site.clock.now = MONDAY.replace(hour=10) - timedelta(seconds=1)
    site.slots.book(key)
    site.clock.turn(seconds=1)
    site.slots.release(1, override=True)
    with pytest.raises(SlotClosed, match="running"):
        site.slots.book(key)


def test_opening_and_notice_are_enforced(site: Site) -> None:
    """Booking opens and closes on the second, and the error says which of both it was."""
    site.add(opens_before=timedelta(days=2), closes_before=timedelta(hours=3), capacity=10)
    key = "1@20260110T1000"
    start = MONDAY.replace(day=10, hour=10)
    for moment, expected in (
        (start - timedelta(days=2, seconds=1), "upcoming"),
        (start - timedelta(days=2), "open"),
        (start - timedelta(hours=3, seconds=1), "open"),
        (start - timedelta(hours=3), "closed"),
        (start, "running"),
        (start + timedelta(hours=1, seconds=-1), "running"),
    ):
        site.clock.now = moment
        assert site.slots.get(key).state == expected
        if expected == "open":
            site.slots.book(key)
        else:
            with pytest.raises(SlotClosed, match=expected):
                site.slots.book(key)


def test_cancelled_and_inactive_slots_cannot_be_booked(site: Site) -> None:
    """A cancelled slot and a slot of a switched-off template are closed."""
    template = site.add(capacity=2)
    first, second = (slot.key for slot in site.week()[:2])
    site.slots.cancel(first)
    with pytest.raises(SlotClosed, match="cancelled"):
        site.slots.book(first)
    site.slots.materialize(second)
    template.active = False
    site.session.commit()
    with pytest.raises(SlotClosed, match="inactive"):
        site.slots.book(second)


@quick_on("sqlite")  # no database is asked
@pytest.mark.parametrize(
    ("party", "who"), [(0, None), (-1, None), (True, None), ("2", None), (1, ""), (1, "x" * 201)]
)
def test_bad_arguments_are_refused(site: Site, party: object, who: str | None) -> None:
    """A party of nobody, or a name that is too long, is refused by name."""
    site.add(capacity=5)
    with pytest.raises(InvalidRequest, match=r"party|who"):
        site.slots.book(site.week()[0].key, party=party, who=who)  # type: ignore[arg-type]


def test_the_same_request_again_is_the_same_booking(site: Site) -> None:
    """An idempotency key returns the first booking instead of taking a second place."""
    site.add(capacity=5)
    key = site.week()[0].key
    first = site.slots.book(key, who="ada", idempotency_key="k1")
    assert site.slots.book(key, who="ada", idempotency_key="k1").id == first.id
    assert site.slots.get(key).booked == 1
    assert site.slots.book(key, who="bob", idempotency_key="k1").id != first.id
    with pytest.raises(IdempotencyConflict):
        site.slots.book(key, party=2, who="ada", idempotency_key="k1")


@pytest.mark.parametrize("full", [False, True])
def test_a_dead_booking_is_no_answer(site: Site, full: bool) -> None:
    """Who gives a booking back and sends the old form again is told so, not given the dead booking as a new one."""
    site.add(capacity=1 if full else 3)
    key = site.week()[0].key
    site.slots.release(site.slots.book(key, who="ada", idempotency_key="form"))
    hold = site.slots.hold(key, who="ada", idempotency_key="hold", minutes=5)
    site.clock.turn(minutes=5)
    site.session.commit()
    if full:
        site.slots.book(key, who="bob")
    with pytest.raises(
        IdempotencyConflict, match="'form' belongs to booking 1, which is released: book again"
    ):
        site.slots.book(key, who="ada", idempotency_key="form")
    with pytest.raises(IdempotencyConflict, match=f"'hold' belongs to booking {hold.id}, which is expired"):
        site.slots.hold(key, who="ada", idempotency_key="hold", minutes=5)
    assert site.slots.get(key).left == (0 if full else 3)


def test_a_request_finds_where_its_booking_was_moved_to(site: Site) -> None:
    """A key answers with the booking that goes on, however often it was moved, and not once that was given back."""
    site.add(capacity=2)
    first, second, third = (slot.key for slot in site.week()[:3])
    request = {"who": "ada", "idempotency_key": "k"}
    moved = site.slots.book(first, **request)
    for key in (second, third):
        before, moved = moved, site.slots.move(moved, key)
        assert site.slots.book(first, **request) is moved
        assert site.slots.move(before, key) is moved
    site.slots.release(moved)
    with pytest.raises(IdempotencyConflict, match=f"booking {moved.id}, which is released"):
        site.slots.book(first, **request)
    with pytest.raises(StatusConflict, match="released"):
        site.slots.move(before, third)
    assert [slot.left for slot in site.week()[:3]] == [2, 2, 2]


def test_state_filters_and_sorts_in_the_database(site: Site) -> None:
    """The state of every slot in SQL is the state of the slot in Python."""
    site.add(capacity=1, closes_before=timedelta(hours=1), opens_before=timedelta(days=3))
    site.slots.generate()
    week = site.week()
    site.slots.book(week[3].key)
    site.slots.cancel(week[4].key)
    site.slots.materialize(week[5].key).status = "completed"
    site.slots.materialize(week[6].key).status = "deleted"
    site.session.commit()
    cls = site.slots.Slot
    for hours in (0, 2.5, 3, 5, 30):
        site.clock.now = MONDAY + timedelta(hours=hours)
        rows = site.session.execute(site.db.select(cls, cls.state, cls.left)).all()
        assert [(row[0].state, row[0].left) for row in rows] == [(row[1], row[2]) for row in rows]
    open_ones = site.session.scalars(site.db.select(cls).where(cls.state == "open")).all()
    assert open_ones
    assert {slot.state for slot in open_ones} == {"open"}


def test_signals_tell_of_bookings(site: Site) -> None:
    """Booking and releasing send a signal with the app, the booking and its slot."""
    site.add()
    heard = []

    def hear(sender: object, **facts: object) -> None:
        heard.append((sender, sorted(facts)))

    with signals.slot_booked.connected_to(hear), signals.booking_released.connected_to(hear):
        site.slots.release(site.slots.book(site.week()[0].key))
    assert heard == [(site.app, ["booking", "door", "override", "slot", "who"])] * 2


def test_capacity_holds_against_a_crowd(site: Site) -> None:
    """Twelve visitors race for the five places of a virtual slot: five get one, seven are told it is full."""
    site.add(capacity=5)
    key = site.week()[0].key
    site.session.remove()
    gate, outcomes = threading.Barrier(12), []

    def visitor() -> None:
        with site.app.app_context():
            gate.wait(60)
            try:
                site.slots.book(key)
                site.session.commit()
                outcomes.append("booked")
            except SlotFull:
                outcomes.append("full")

    crowd = [threading.Thread(target=visitor) for _ in range(12)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(60)
    assert sorted(outcomes) == ["booked"] * 5 + ["full"] * 7
    assert site.slots.get(key).booked == 5
    assert site.session.query(site.slots.Booking).count() == 5


def test_state_can_be_grouped_and_told_apart(site: Site) -> None:
    """The state is the same expression wherever a statement uses it: GROUP BY and DISTINCT work on each database."""
    site.add(closes_before=timedelta(hours=3))
    site.slots.generate()
    site.slots.book(site.week()[10].key)
    site.session.commit()
    cls = site.slots.Slot
    counts = site.session.execute(site.db.select(cls.state, func.count()).group_by(cls.state)).all()
    assert dict(map(tuple, counts)) == {"open": 53, "full": 1, "closed": 2}
    named = site.session.scalars(site.db.select(cls.state).distinct().order_by(cls.state)).all()
    assert named == ["closed", "full", "open"]


def test_a_deleted_slot_is_found_only_to_be_restored(site: Site) -> None:
    """A deleted slot can be neither read nor made nor booked, but restored."""
    site.add()
    key = site.week()[0].key
    site.slots.materialize(key).status = "deleted"
    site.session.commit()
    for call in (site.slots.get, site.slots.materialize, site.slots.book):
        with pytest.raises(SlotNotFound):
            call(key)
    assert site.slots.restore(key).state == "open"


def test_signals_are_silent_when_nothing_changes(site: Site) -> None:
    """A second release, a second cancellation and a repeated request send no second signal."""
    site.add(capacity=3)
    key, heard = site.week()[0].key, []

    def hear(sender: object, **facts: object) -> None:
        heard.append(sorted(facts))

    with (
        signals.slot_booked.connected_to(hear),
        signals.booking_released.connected_to(hear),
        signals.slot_cancelled.connected_to(hear),
    ):
        for _ in range(2):
            booking = site.slots.book(key, who="ada", idempotency_key="k")
        for _ in range(2):
            site.slots.release(booking)
        for _ in range(2):
            site.slots.cancel(key)
    assert len(heard) == 3


def test_absurd_numbers_are_refused(site: Site) -> None:
    """A party beyond reason, a booking that is none, and text with NUL are refused before the database sees them."""
    site.add()
    key = site.week()[0].key
    with pytest.raises(InvalidRequest, match="party"):
        site.slots.book(key, party=10**30)
    with pytest.raises(InvalidRequest, match="who"):
        site.slots.book(key, who="a\0b")
    with pytest.raises(BookingNotFound):
        site.slots.release("x")  # type: ignore[arg-type]


def test_a_refusal_leaves_no_row_of_a_virtual_slot(site: Site) -> None:
    """Whatever is refused, the app may commit its own work: no slot, no resource, no hold is left behind."""
    site.add(capacity=2, opens_before=timedelta(days=30))
    site.add(resource="court", exclusive=True)
    near, far, court = site.week(template=1)[0].key, "1@20260601T1000", "2@20260105T1000"
    known = site.slots.book(site.week(template=1)[-1].key, who="ada", idempotency_key="k")
    site.session.commit()
    rows, resources = len(site.rows()), site.session.query(site.slots.models.Resource).count()
    refused = [
        (SlotFull, lambda: site.slots.book(near, party=3)),
        (SlotFull, lambda: site.slots.hold(near, party=3)),
        (SlotFull, lambda: site.slots.book(court, party=2)),
        (SlotClosed, lambda: site.slots.book(far)),
        (SlotClosed, lambda: site.slots.hold(far)),
        (SlotClosed, lambda: site.slots.move(known, far)),
        (IdempotencyConflict, lambda: site.slots.book(near, who="ada", idempotency_key="k")),
        (InvalidRequest, lambda: site.slots.cancel(near, reason="x" * 501)),
        (InvalidRequest, lambda: site.slots.cancel(near, reason=5)),  # type: ignore[call-overload]
    ]
    for error, call in refused:
        with pytest.raises(error):
            call()
        site.session.commit()
        assert len(site.rows()) == rows
        assert site.session.query(site.slots.models.Resource).count() == resources
    assert site.slots.get(near).is_virtual
    site.slots.book(near)
    site.session.commit()
    assert (site.slots.get(near).booked, len(site.rows())) == (1, rows + 1)


def test_a_refusal_leaves_the_apps_own_work(site: Site) -> None:
    """What the app wrote in the same transaction before a refusal is committed with what comes after."""
    site.add(capacity=2)
    first, second, third = (slot.key for slot in site.week()[:3])
    site.slots.book(first)
    with pytest.raises(SlotFull):
        site.slots.book(second, party=3)
    site.slots.book(third)
    site.session.commit()
    assert [row.key for row in site.rows()] == [first, third]
