"""Slots that were kept at an old time for a booking, and are let go; and lengths that a person gave to a slot."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from helpers import Site

TEN, NOON = "1@20260106T1000", "1@20260106T1200"


@pytest.fixture
def hall(site: Site) -> Site:
    """A filled week."""
    site.add(capacity=2)
    site.slots.generate()
    return site


NOON_LATER, SEVENTEEN = (timedelta(hours=14), timedelta(hours=14, minutes=30)), "1@20260106T1700"


def of_day(site: Site, key: str) -> tuple[timedelta, timedelta]:
    """Return from when to when a slot is shown, as times of the sixth of January."""
    slot, midnight = site.slots.get(key), datetime(2026, 1, 6, tzinfo=UTC)
    return slot.starts_at - midnight, slot.ends_at - midnight


@pytest.mark.parametrize("follows", ["at once", "top-up", "booking"])
def test_a_length_of_its_own_goes_with_the_start(any_site: Site, follows: str) -> None:
    """Half an hour by a person stays half an hour when its slot, kept for a booking, is given back and follows."""
    any_site.add(capacity=2)
    any_site.slots.generate()
    any_site.slots.edit(NOON, "this", duration=timedelta(minutes=30))
    booking = any_site.slots.book(NOON)
    any_site.slots.edit(TEN, "all", start=time(12))
    any_site.session.commit()
    assert of_day(any_site, NOON) == (timedelta(hours=12), timedelta(hours=12, minutes=30))
    any_site.slots.release(booking)
    any_site.session.commit()
    assert of_day(any_site, NOON) == NOON_LATER
    if follows == "booking":
        any_site.slots.book(NOON)
        any_site.session.commit()
    elif follows == "top-up":
        any_site.slots.generate()
        any_site.session.rollback()
    any_site.session.expire_all()
    assert of_day(any_site, NOON) == NOON_LATER


def test_a_length_of_its_own_stays_where_the_app_shifts_the_series(hall: Site) -> None:
    """A template that the app changes takes the starts along, and a slot's own length with its start."""
    hall.slots.edit(NOON, "this", duration=timedelta(minutes=30))
    hall.session.commit()
    hall.session.get(hall.slots.Template, 1).shift = timedelta(hours=2)
    hall.session.commit()
    assert of_day(hall, NOON) == NOON_LATER
    hall.slots.generate()
    hall.session.rollback()
    assert of_day(hall, NOON) == NOON_LATER


def test_what_is_edited_is_the_slot_as_it_is_shown(hall: Site) -> None:
    """A slot that was let go, and whose row no top-up has moved yet, gets its length where it is shown by now."""
    let_go(hall)
    assert of_day(hall, NOON) == (timedelta(hours=14), timedelta(hours=15))
    hall.slots.edit(NOON, "this", duration=timedelta(minutes=30))
    hall.session.commit()
    assert of_day(hall, NOON) == NOON_LATER
    assert hall.slots.generate().updated == 0


def test_a_slot_that_was_let_go_keeps_its_old_time_from_nobody(hall: Site) -> None:
    """Where nobody is booked and nobody was moved to, a person may move another slot, before the top-up too."""
    let_go(hall, time(13))
    hall.slots.edit(SEVENTEEN, "this", start=time(12))
    hall.session.commit()
    assert hall.slots.get(SEVENTEEN).state == "open"


@pytest.mark.parametrize("is_moved", [True, False], ids=["booked and moved", "released"])
def test_what_an_edit_moves_back_is_not_displaced(hall: Site, is_moved: bool) -> None:
    """Also when it changes nothing of the series: a slot at its rule's time stands in nobody's way."""
    if is_moved:
        hall.slots.book(NOON)
        hall.slots.edit(TEN, "all", start=time(12))
        hall.session.commit()
    else:
        let_go(hall)
    hall.slots.edit(TEN, "all", start=time(12), move_booked=is_moved)
    hall.session.commit()
    hall.session.expire_all()
    row = next(row for row in hall.rows() if row.key == NOON)
    assert (row.starts_at.hour, row.displaced) == (14, None)


def let_go(hall: Site, start: time = time(12)) -> None:
    """Book noon, move the series without it, and release it: its row is still at noon."""
    booking = hall.slots.book(NOON)
    hall.slots.edit(TEN, "all", start=start)
    hall.slots.release(booking)
    hall.session.commit()
