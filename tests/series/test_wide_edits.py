"""Wide edits of series that are switched off, ended, or changed at their edges: nothing is lost without a word."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

import pytest
from helpers import MONDAY, Site

from flask_rollingslots.errors import InvalidRequest, SlotNotFound

ONE: dict[str, Any] = {"every": None, "until_time": None}


def add(
    site: Site, rrule: str = "FREQ=DAILY", first: datetime = datetime(2026, 1, 5, 10), days: int = 7
) -> Any:
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
    """Switched off is not taken away: rows move, booked ones are kept and told, and all are there once it is on."""
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


def test_all_of_a_monthly_series_to_an_earlier_day_after_an_edit_at_its_first(site: Site) -> None:
    """The bound that the first edit left does not swallow the month that the second one begins in."""
    site.clock.now = datetime(2026, 2, 1, 8, tzinfo=MONDAY.tzinfo)
    add(site, "FREQ=MONTHLY;COUNT=4", datetime(2026, 2, 5, 10), days=30)
    site.slots.edit("1@20260205T1000", "this_and_future", start=datetime(2026, 2, 20, 10))
    site.session.commit()
    plan = site.slots.edit("1@20260220T1000", "all", start=datetime(2026, 2, 3, 10)).to_dict()
    site.session.commit()
    assert plan["created"] == ["1@20260203T1000"]
    assert walls(site, 9) == ["02-03 10:00", "03-03 10:00", "04-03 10:00", "05-03 10:00"]


@pytest.mark.parametrize("rule_of_first", ["FREQ=WEEKLY;BYDAY=TH", "FREQ=WEEKLY;BYDAY=TH,FR"])
def test_all_to_an_earlier_weekday_after_an_edit_at_its_first(site: Site, rule_of_first: str) -> None:
    """The new rule begins where it was asked to begin."""
    add(site, "FREQ=DAILY", datetime(2026, 1, 8, 10))
    site.slots.edit(key(8), "this_and_future", rrule=rule_of_first)
    site.session.commit()
    site.slots.edit(key(8), "all", rrule="FREQ=WEEKLY;BYDAY=TU", start=datetime(2026, 1, 6, 10))
    site.session.commit()
    assert walls(site, 3) == ["01-06 10:00", "01-13 10:00", "01-20 10:00"]


@pytest.mark.parametrize(
    ("rrule", "first", "to", "expected"),
    [
        ("FREQ=MONTHLY", datetime(2026, 1, 20, 10), datetime(2026, 1, 12, 10), ["01-12 10:00", "02-12 10:00"]),
        ("FREQ=MONTHLY", datetime(2026, 2, 5, 10), datetime(2026, 1, 28, 10), ["01-28 10:00", "02-28 10:00"]),
        ("FREQ=MONTHLY", datetime(2026, 1, 20, 10), datetime(2026, 2, 12, 10), ["02-12 10:00", "03-12 10:00"]),
        ("FREQ=MONTHLY;INTERVAL=2", datetime(2026, 1, 20, 10), datetime(2026, 1, 12, 8),
         ["01-12 08:00", "03-12 08:00"]),
        ("FREQ=MONTHLY;BYDAY=3TU", datetime(2026, 1, 20, 10), datetime(2026, 1, 14, 10),
         ["01-14 10:00", "02-11 10:00"]),
        ("FREQ=YEARLY", datetime(2026, 6, 30, 10), datetime(2026, 5, 1, 10), ["05-01 10:00", "05-01 10:00"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scope", ["all", "this_and_future"])
def test_a_series_that_was_bounded_is_moved_like_one_that_was_not(
    site: Site, rrule: str, first: datetime, to: datetime, expected: list[str], scope: str
) -> None:
    """A template whose first start is also its bound moves to another day with all of its slots."""
    template = add(site, rrule, first)
    template.active_from = first
    site.session.commit()
    found = site.slots.upcoming(1, n=1)[0].key
    plan = site.slots.edit(found, scope, start=to)
    site.session.commit()
    assert (walls(site, 2), plan.kept_changed) == (expected, ())
    assert site.slots.upcoming(1, n=1)[0].local_start.replace(tzinfo=None) == to
    report = site.slots.generate()
    assert (report.updated, report.removed, walls(site, 2)) == (0, 0, expected)


def test_what_lies_before_the_bound_of_a_series_stays_away(site: Site) -> None:
    """A new rule for all moves the bound with the series: starts that it left out before do not appear."""
    template = add(site, "FREQ=MONTHLY;BYMONTHDAY=20", datetime(2025, 11, 1, 10))
    template.active_from = datetime(2026, 3, 1)
    site.session.commit()
    site.slots.edit("1@20260420T1000", "all", start=datetime(2026, 4, 3, 10))
    site.session.commit()
    assert walls(site, 2) == ["03-03 10:00", "04-03 10:00"]
    site.slots.edit("1@20260403T1000", "all", start=datetime(2026, 5, 6, 10))
    site.session.commit()
    assert walls(site, 2) == ["04-06 10:00", "05-06 10:00"]


def test_this_and_future_leaves_the_slot_before_alone(site: Site) -> None:
    """A new rule that begins later on the day of the slot before gets another key; that slot stays."""
    add(site, days=10)
    booking = site.slots.book(key(6))
    site.session.commit()
    changes: dict[str, Any] = {"rrule": "FREQ=WEEKLY;BYDAY=TU", "start": datetime(2026, 1, 6, 12)}
    plan = site.slots.preview_edit(key(7), "this_and_future", **changes)
    site.slots.apply_edit(plan)
    site.session.commit()
    told = plan.to_dict()
    assert (told["changed"], told["kept_booked"], told["kept_changed"]) == ([], [], [])
    assert (told["created"], told["removed"]) == ([key(6, 12)], [key(day) for day in range(7, 15)])
    report = site.slots.generate()
    assert (report.updated, report.removed) == (0, 0)
    assert walls(site, 4) == ["01-05 10:00", "01-06 10:00", "01-06 12:00", "01-13 12:00"]
    assert (booking.slot.key, booking.slot.template_id) == (key(6), 1)


def test_a_derived_rule_leaves_the_slot_before_alone(site: Site) -> None:
    """A monthly series that moves to later on the day of the month before counts on, and keeps that month's slot."""
    add(site, "FREQ=MONTHLY;COUNT=4", days=40)
    site.slots.edit("1@20260305T1000", "this_and_future", start=datetime(2026, 2, 5, 12))
    site.session.commit()
    assert walls(site, 9) == ["01-05 10:00", "02-05 10:00", "02-05 12:00", "03-05 12:00"]
    assert [row.template_id for row in site.rows()] == [1, 1]


def test_a_new_rule_begins_between_the_slot_before_and_the_slot(site: Site) -> None:
    """With a start before the slot and after the one before, the new rule begins there."""
    add(site, "FREQ=WEEKLY", days=10)
    site.slots.edit(key(12), "this_and_future", rrule="FREQ=WEEKLY;BYDAY=SA", start=datetime(2026, 1, 10, 9))
    site.session.commit()
    assert walls(site, 3) == ["01-05 10:00", "01-10 09:00", "01-17 09:00"]


@pytest.mark.parametrize("start", [datetime(2026, 1, 6, 12), datetime(2026, 1, 6, 14)])
def test_a_grid_cannot_begin_on_a_day_that_stays(site: Site, start: datetime) -> None:
    """Slots of a grid cannot be put between or behind those of a day that stays: refused, and nothing is written."""
    site.add(dtstart=datetime(2026, 1, 5, 10), until_time=time(13))
    site.slots.generate(days=10)
    with pytest.raises(InvalidRequest, match="after 2026-01-06 12:00"):
        site.slots.edit(key(7), "this_and_future", rrule="FREQ=WEEKLY;BYDAY=TU,WE", start=start)
    site.session.commit()
    assert len(stored(site)) == 30


def test_a_slot_that_outlived_its_rule_is_not_in_a_later_part(site: Site) -> None:
    """What was kept before the first slot of the present rule is before an edit from there on, and stays as it is."""
    add(site)
    site.slots.book(key(9))
    site.slots.edit(key(5), "all", rrule="FREQ=WEEKLY;BYDAY=MO", start=datetime(2026, 1, 12, 10))
    site.session.commit()
    changes: dict[str, Any] = {
        "rrule": "FREQ=WEEKLY;BYDAY=FR",
        "start": datetime(2026, 1, 9, 12),
        "capacity": 4,
    }
    plan = site.slots.edit(key(12), "this_and_future", **changes)
    site.session.commit()
    assert (plan.changed, plan.kept_booked) == ((), ())
    assert (site.slots.get(key(9)).capacity, walls(site, 3)) == (
        1,
        ["01-09 10:00", "01-09 12:00", "01-16 12:00"],
    )


def test_a_new_rule_from_a_slot_that_became_too_long_counts_from_its_day(site: Site) -> None:
    """A day grid keeps its first time of day although the slot that was chosen is one that its rule no longer has."""
    site.add(until_time=time(13), overlapping=True)
    site.slots.generate()
    site.slots.edit("1@20260106T1200", "this", capacity=2)
    site.slots.edit("1@20260106T1000", "all", duration=timedelta(minutes=90))
    site.slots.edit("1@20260106T1200", "this_and_future", rrule="FREQ=DAILY;INTERVAL=2")
    site.session.commit()
    days = {slot.local_start.strftime("%d %H:%M") for slot in site.week() if slot.status == "scheduled"}
    assert {"08 10:00", "08 11:00", "10 10:00"} <= days
    assert not {day for day in days if day.startswith(("07", "09"))}
