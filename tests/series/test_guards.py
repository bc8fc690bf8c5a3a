"""What an app does to rows through the ORM by itself: what contradicts the bookings is refused, and names the call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site
from sqlalchemy import delete

from flask_rollingslots.errors import (
    InvalidRequest,
    InvalidTemplate,
    RollingSlotsError,
    SlotBooked,
    SlotClosed,
    StatusConflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "1@20260106T1000"


def refused(site: Site, kind: type[RollingSlotsError], words: str) -> RollingSlotsError:
    """Commit, which must be refused; return the error."""
    with pytest.raises(kind, match=words) as caught:
        site.session.commit()
    site.session.rollback()
    return caught.value


@pytest.fixture
def class_of_ten(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A class of ten, with three places booked in a stored slot, on each database."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.add(capacity=10)
        site.slots.book(KEY, party=3, who="ada")
        site.slots.book("1@20260107T1000")
        site.session.commit()
        yield site


@pytest.mark.parametrize(
    ("field", "value", "call"),
    [
        ("party", 6, "slots.change_party"),
        ("slot_id", 2, "slots.move"),
        ("status", "released", "slots.confirm"),
        ("expires_at", datetime(2026, 1, 5, 9, tzinfo=UTC), "slots.release"),
    ],
)
def test_a_booking_is_changed_by_calls_only(class_of_ten: Site, field: str, value: Any, call: str) -> None:
    """A booking that the app changes behind the back of its slot is refused at flush, and nothing of it is stored."""
    site = class_of_ten
    booking = site.slots.get_booking(1)
    setattr(booking, field, value)
    error = refused(site, InvalidRequest, f"^{field} = .*: expected no change through the ORM, but by {call}")
    assert (error.field, error.value) == (field, value)  # type: ignore[attr-defined]
    assert (booking.party, booking.status, booking.slot.key) == (3, "confirmed", KEY)
    booking.who = "bob"  # what nobody counts is the app's
    site.session.commit()
    site.slots.release(booking)
    site.session.commit()
    assert site.slots.get(KEY).left == 10


@pytest.mark.parametrize("field", ["booked", "holds", "hold_until"])
def test_what_a_slot_counts_is_changed_by_calls_only(class_of_ten: Site, field: str) -> None:
    """What a slot counts of its bookings cannot be set past them."""
    site = class_of_ten
    setattr(site.slots.get(KEY), field, {"booked": 0, "holds": [[1, 2, 3]]}.get(field, datetime.now(UTC)))
    refused(site, InvalidRequest, f"^{field} = .*: expected no change through the ORM")
    assert site.slots.get(KEY).booked == 3


def test_a_template_with_slots_is_not_deleted(class_of_ten: Site) -> None:
    """Deleting a template that has slots is refused on every database; one without rows may go."""
    site = class_of_ten
    site.session.delete(site.slots.get_template(1))
    error = refused(site, StatusConflict, r"^template 1 has slots: end it by slots.delete_series\(template\)")
    assert error.template_id == 1  # type: ignore[attr-defined]
    assert [slot.booked for slot in site.rows()] == [3, 1]
    site.session.delete(site.add(name="Mistake"))
    site.session.commit()
    assert [template.id for template in site.slots.templates()] == [1]


def test_no_part_of_a_cut_series_is_deleted(class_of_ten: Site) -> None:
    """A later part without rows stays too: without it the series would end at the cut, and nobody would be told."""
    site = class_of_ten
    site.slots.edit("1@20270105T1000", "this_and_future", capacity=3)
    site.session.commit()
    site.session.delete(site.slots.get_template(2))
    error = refused(
        site, StatusConflict, r"^template 2 is a part of series 1, .* slots.delete_series\(template\)"
    )
    assert error.template_id == 2  # type: ignore[attr-defined]
    assert site.slots.get("1@20270106T1000").capacity == 3


def decide(site: Site, act: Callable[[], Any]) -> None:
    """Decide something and commit it."""
    act()
    site.session.commit()


def test_a_slot_with_bookings_or_a_decision_is_not_deleted(class_of_ten: Site) -> None:
    """A slot that holds bookings, also released ones, or that somebody decided about stays; an untouched one heals."""
    site, slots = class_of_ten, class_of_ten.slots
    site.slots.generate()
    decide(site, lambda: slots.release(1))
    decide(site, lambda: slots.cancel("1@20260108T1000"))
    decide(site, lambda: slots.complete("1@20260109T1000"))
    decide(site, lambda: slots.edit("1@20260110T1000", "this", capacity=4))
    rows = {slot.key: slot for slot in site.rows()}
    for day, kind, words in (
        (6, SlotBooked, "has bookings: hide it by slots.delete"),
        (7, SlotBooked, "has bookings"),
        (8, StatusConflict, "is cancelled, and would come back as its rule says"),
        (9, StatusConflict, "is completed"),
        (10, StatusConflict, "is changed by a person"),
    ):
        key = f"1@202601{day:02}T1000"
        site.session.delete(rows[key])
        error = refused(site, kind, f"^slot {key} {words}")
        assert error.key == key  # type: ignore[attr-defined]
    site.session.delete(rows["1@20260111T1000"])
    site.session.commit()
    assert slots.generate().created == 1


def test_a_live_booking_is_not_deleted(class_of_ten: Site) -> None:
    """A booking that its slot counts is not deleted before it was released; the slot may go with its dead bookings."""
    site = class_of_ten
    site.session.delete(site.slots.get_booking(1))
    refused(
        site, StatusConflict, r"^booking 1 is confirmed: give its places back by slots.release\(booking\)"
    )
    site.slots.release(1)
    site.session.commit()
    slot = site.slots.get(KEY)
    site.session.delete(site.slots.get_booking(1))
    site.session.delete(slot)
    site.session.commit()
    assert (site.slots.get(KEY).is_virtual, site.slots.get(KEY).left) == (True, 10)


def test_the_doctor_finds_orphans(site: Site) -> None:
    """Rows whose parents were deleted past the library, which SQLite does not refuse, are an error that counts them."""
    site.add(capacity=2)
    site.slots.generate()
    site.slots.book(KEY)
    site.session.commit()
    assert "orphans" not in {finding.code for finding in site.slots.doctor()}
    site.session.execute(delete(site.slots.Template))
    site.session.commit()
    (found,) = (finding for finding in site.slots.doctor() if finding.code == "orphans")
    number = len(site.rows())
    assert found.level == "error"
    assert found.sentence == f"{number} rows of rolling_slot belong to no row of rolling_template"
    site.session.execute(delete(site.slots.Slot))
    site.session.commit()
    (found,) = (finding for finding in site.slots.doctor() if finding.code == "orphans")
    assert found.sentence == "1 rows of rolling_booking belong to no row of rolling_slot"


def test_a_booking_is_added_by_calls_only(class_of_ten: Site) -> None:
    """One that takes places which its slot does not count is refused; what is over may be brought along."""
    site, now = class_of_ten, class_of_ten.clock.now
    slot = site.slots.get(KEY)
    values = {"slot_id": slot.id, "party": 8, "created_at": now}
    for status in ("confirmed", "held"):
        site.session.add(site.slots.Booking(**values, status=status, active_key="x"))
        refused(site, InvalidRequest, r"^status = .*slots.book\(key\) or slots.hold\(key\)")
    site.session.add(site.slots.Booking(**values, status="released"))
    site.session.commit()
    assert site.slots.get(KEY).left == 7


@pytest.mark.parametrize("field", ["series_id", "template_id", "original_start"])
def test_a_slot_keeps_its_key(class_of_ten: Site, field: str) -> None:
    """What is booked would be elsewhere, and its place sold again."""
    site = class_of_ten
    setattr(site.slots.get(KEY), field, datetime(2026, 1, 6, 11, 30) if field == "original_start" else 7)
    refused(site, InvalidRequest, f"^{field} = .*slots.move")
    assert site.slots.get(KEY).left == 7


def test_a_booked_slot_is_not_put_on_another_booked_one(database_url: str, tmp_path: Path) -> None:
    """By its times or by its status, it is refused; on a free one it stands, and that one is blocked."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.add(capacity=1)
        site.slots.generate()
        one, two, free = "1@20260106T1000", "1@20260106T1200", "1@20260106T1400"
        for key in (one, two):
            site.slots.book(key)
        site.session.commit()

        def put(key: str, hour: int) -> None:
            slot = site.slots.get(key)
            slot.starts_at = datetime(2026, 1, 6, hour, 30, tzinfo=UTC)
            slot.ends_at = datetime(2026, 1, 6, hour + 1, 30, tzinfo=UTC)

        put(two, 10)
        error = refused(site, SlotClosed, "another slot of its series is booked at that time")
        assert error.state == "blocked"  # type: ignore[attr-defined]
        put(two, 14)
        site.session.commit()
        assert site.slots.get(free).state == "blocked"
        site.slots.cancel(one)
        put(two, 10)
        site.session.commit()
        site.slots.get(one).status = "scheduled"
        refused(site, SlotClosed, "another slot of its series")


def test_segments_that_meet_do_not_overlap(database_url: str, tmp_path: Path) -> None:
    """Where a series was cut, the ORM refuses what an edit refuses: else the same hour would be sold twice."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.add(capacity=1)
        site.slots.generate()
        site.slots.edit("1@20260106T1300", "this_and_future", data={"court": 2})
        site.session.commit()
        earlier, later = (site.session.get(site.slots.Template, number) for number in (1, 2))
        later.shift = timedelta(minutes=-30)
        refused(site, InvalidTemplate, "^shift = .*2026-01-06 12:00 and 2026-01-06 13:00")
        earlier.duration = earlier.every = timedelta(minutes=90)
        earlier.dtstart = datetime(2026, 1, 1, 10, 30)
        refused(site, InvalidTemplate, "^dtstart = .*2026-01-06 12:00 and 2026-01-06 13:00")
        earlier.shift = later.shift = timedelta(minutes=-30)
        site.session.commit()
        later.overlapping, later.shift = True, timedelta(hours=-1)
        site.session.commit()
