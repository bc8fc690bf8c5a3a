"""Wide edits of series that are switched off, ended, or changed at their edges: nothing is lost without a word."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from helpers import MONDAY, Site

from flask_rollingslots.errors import SlotNotFound

ONE: dict[str, Any] = {"every": None, "until_time": None}


def add(site: Site, rrule: str = "FREQ=DAILY", first: datetime = datetime(2026, 1, 5, 10), days: int = 7) -> Any:
    """Add a template with one start a day, and store some days."""
    template = site.add(rrule=rrule, dtstart=first, **ONE)
    site.slots.generate(days=days)
    return template


def key(day: int, hour: int = 10) -> str:
    return f"1@202601{day:02}T{hour:02}00"


def stored(site: Site) -> list[str]:
    """Return day and time of all rows, in the order of their keys."""
    site.session.expire_all()
    return [f"{row.local_start:%d %H:%M}" for row in site.rows()]


def walls(site: Site, n: int) -> list[str]:
    return [f"{slot.local_start:%m-%d %H:%M}" for slot in site.slots.upcoming(1, n=n)]


@pytest.mark.parametrize("scope", ["all", "this_and_future"])
def test_rows_of_an_inactive_series_follow_an_edit(site: Site, scope: str) -> None:
    """Switched off is not taken away: rows move, booked ones are kept and told, and all are there when it is on again."""
    add(site)
    site.slots.book(key(7))
    site.slots.edit(key(8), "this", data={"x": 1})
    site.slots.deactivate(template=1)
    site.session.commit()
    plan = site.slots.edit(key(5), scope, start=time(12)).to_dict()
    site.session.commit()
    assert (plan["removed"], plan["created"], plan["kept_booked"]) == ([], [], [key(7)])
    expected = ["05 12:00", "06 12:00", "07 10:00", "08 12:00", "09 12:00", "10 12:00", "11 12:00"]
    assert stored(site) == expected
    site.slots.activate(template=1)
    site.session.commit()
    report = site.slots.generate()
    assert (report.created, report.updated, report.removed) == (0, 0, 0)
    assert stored(site) == expected


def test_booked_rows_of_an_inactive_series_are_moved_on_request(site: Site) -> None:
    """With move_booked the booked slot goes where the others go."""
    add(site)
    site.slots.book(key(7))
    site.slots.deactivate(template=1)
    site.slots.edit(key(6), "all", start=time(12), move_booked=True)
    site.session.commit()
    assert stored(site) == [f"{day:02} 12:00" for day in range(5, 12)]


def test_a_virtual_key_of_an_inactive_series_finds_its_segment(site: Site) -> None:
    """Wide changes take any key that the rule has; one slot for itself is not there while the series is off."""
    add(site)
    site.slots.deactivate(template=1)
    site.session.commit()
    with pytest.raises(SlotNotFound):
        site.slots.edit("1@20260406T1000", "this", capacity=3)
    with pytest.raises(SlotNotFound):
        site.slots.edit("1@20260406T1100", "all", capacity=3)
    site.slots.edit("1@20260406T1000", "this_and_future", start=time(13))
    site.slots.edit("1@20260406T1000", "all", capacity=3)
    site.slots.activate(template=1)
    site.session.commit()
    assert [site.slots.get(f"1@202604{day}T1000").local_start.hour for day in ("05", "06")] == [10, 13]
    assert {slot.capacity for slot in site.slots.upcoming(1, n=100)} == {3}


def test_an_inactive_series_ends_and_comes_back(site: Site) -> None:
    """Cancelling and restoring work while it is off, and what comes back is where the series is by then."""
    add(site)
    site.slots.deactivate(template=1)
    site.slots.cancel("1@20260109T1000", "this_and_future")
    site.slots.edit(key(6), "all", start=time(12))
    site.slots.restore(key(10))
    site.slots.restore_series(1)
    site.session.commit()
    assert stored(site) == [f"{day:02} 12:00" for day in range(5, 12)]


@pytest.mark.parametrize("move_booked", [False, True])
def test_what_stayed_of_an_ended_series_follows_it(site: Site, move_booked: bool) -> None:
    """A slot restored for itself moves with its series; a booked one that outlived it moves too, or is told."""
    add(site)
    site.slots.book(key(11))
    site.slots.delete(key(8), "this_and_future")
    site.slots.restore(key(10))
    site.session.commit()
    plan = site.slots.edit(key(6), "all", start=time(12), move_booked=move_booked).to_dict()
    site.session.commit()
    assert (plan["kept_booked"], plan["kept_changed"]) == ([] if move_booked else [key(11)], [])
    assert [site.slots.get(key(day)).local_start.hour for day in (10, 11)] == [12, 12 if move_booked else 10]
    report = site.slots.generate()
    assert (report.updated, report.removed, stored(site)[5]) == (0, 0, "10 12:00")
