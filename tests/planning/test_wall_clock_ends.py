"""When slots end, and which have a place at all: by the wall clock, on nights when the clocks change too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from helpers import Clock, Site
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flask_rollingslots import planning
from flask_rollingslots.recurrence.zones import reached_at, steady_until
from flask_rollingslots.values import TemplateSpec, Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: When clocks go forward and back: zone -> the day of the change, and the other one.
CHANGES = {
    "Europe/Madrid": (datetime(2026, 3, 29), datetime(2026, 10, 25)),
    "America/New_York": (datetime(2026, 3, 8), datetime(2026, 11, 1)),
    "Australia/Lord_Howe": (datetime(2026, 10, 4), datetime(2026, 4, 5)),
    "Antarctica/Troll": (datetime(2026, 3, 29), datetime(2026, 10, 25)),
    "Asia/Beirut": (datetime(2026, 3, 29), datetime(2026, 10, 25)),
    "Pacific/Apia": (datetime(2011, 12, 30), datetime(2011, 4, 2)),
}


def spec(**fields: Any) -> TemplateSpec:
    """Return a template as plain data: every day in Madrid, an hour, unless told otherwise."""
    plain: dict[str, Any] = {
        "id": 1,
        "series_id": 1,
        "revision": 1,
        "name": "Hall",
        "group": None,
        "active": True,
        "rrule": "FREQ=DAILY",
        "dtstart": datetime(2026, 1, 1),
        "timezone": "Europe/Madrid",
        "duration": HOUR,
    }
    return TemplateSpec(**{**plain, **fields})


def grid(step: timedelta, **fields: Any) -> TemplateSpec:
    """Return a template that fills the whole day with slots of a length."""
    return spec(duration=step, every=step, until_time=time(0), **fields)


def day_of(template: TemplateSpec, day: datetime) -> list[tuple[str, str]]:
    """Return when the slots of a local day start and end, as clocks show it."""
    zone = ZoneInfo(template.timezone)
    return [
        (f"{slot.starts_at.astimezone(zone):%H:%M}", f"{slot.ends_at.astimezone(zone):%H:%M}")
        for slot in planning.planned(template, Window.local_days(day.date(), day.date() + DAY, zone))
    ]


def reasons(template: TemplateSpec, day: datetime) -> dict[str, str | None]:
    """Return the original starts of a local day, and why they are left out."""
    zone = ZoneInfo(template.timezone)
    found = planning.promised_starts(template, Window.local_days(day.date(), day.date() + DAY, zone))
    return {f"{original_start:%H:%M}": reason for original_start, _, reason in found}


def test_a_night_ends_at_the_same_time_whatever_the_clocks_do() -> None:
    """From 22:00 for 8 hours ends at 06:00: after seven hours in spring, after nine in autumn."""
    night = spec(dtstart=datetime(2026, 1, 1, 22), duration=8 * HOUR)
    lengths = []
    for day in (datetime(2026, 3, 27), datetime(2026, 3, 28), datetime(2026, 10, 24)):
        assert day_of(night, day) == [("22:00", "06:00")]
        slot = planning.planned_at(night, day.replace(hour=22))
        assert slot is not None
        lengths.append(slot.ends_at - slot.starts_at)
    assert lengths == [8 * HOUR, 7 * HOUR, 9 * HOUR]


@pytest.mark.parametrize(("duration", "rule"), [(DAY, "FREQ=DAILY"), (7 * DAY, "FREQ=WEEKLY")])
def test_a_rental_ends_when_the_next_one_begins(duration: timedelta, rule: str) -> None:
    """Whole days and weeks follow each other the whole year, in every zone."""
    for zone in CHANGES:
        rental = spec(timezone=zone, rrule=rule, dtstart=datetime(2026, 1, 3, 10), duration=duration)
        year = Window(datetime(2026, 1, 2, tzinfo=UTC), datetime(2027, 1, 20, tzinfo=UTC))
        slots = planning.planned(rental, year)
        assert all(before.ends_at == after.starts_at for before, after in pairwise(slots))
        assert len(slots) > 50


def test_elapsed_keeps_the_length() -> None:
    """``ends_by="elapsed"``: eight hours are eight hours, and the end is at another time."""
    night = spec(dtstart=datetime(2026, 1, 1, 22), duration=8 * HOUR, ends_by="elapsed")
    assert day_of(night, datetime(2026, 3, 28)) == [("22:00", "07:00")]
    assert day_of(night, datetime(2026, 10, 24)) == [("22:00", "05:00")]


def test_two_hours_in_spring() -> None:
    """Of the slot from 02:00 to 04:00 the last hour is left, and the next begins at 04:00."""
    found = day_of(grid(2 * HOUR), datetime(2026, 3, 29))
    assert found[:3] == [("00:00", "03:00"), ("03:00", "04:00"), ("04:00", "06:00")]


def test_a_slot_of_no_length_does_not_exist() -> None:
    """Hourly, the slot from 02:00 to 03:00 has nothing left; the rest of the day stays as it is."""
    day = datetime(2026, 3, 29)
    assert day_of(grid(HOUR), day)[:3] == [("00:00", "01:00"), ("01:00", "03:00"), ("03:00", "04:00")]
    assert reasons(grid(HOUR), day)["02:00"] == planning.CLOCK_CHANGE
    assert reasons(grid(HOUR), day)["03:00"] is None
    assert len(day_of(grid(HOUR), day)) == 23
    assert planning.planned_at(grid(HOUR), day.replace(hour=2)) is None


def test_elapsed_has_no_place_where_another_slot_is() -> None:
    """Two hours by the stopwatch from 03:00 would lie on the slot of 04:00, so they are left out."""
    day, halls = datetime(2026, 3, 29), grid(2 * HOUR, ends_by="elapsed")
    assert reasons(halls, day)["02:00"] == planning.CLOCK_CHANGE
    alone = spec(dtstart=datetime(2026, 1, 1, 2), duration=2 * HOUR, ends_by="elapsed")
    assert day_of(alone, day) == [("03:00", "05:00")]


@pytest.mark.parametrize("ends_by", ["wall_clock", "elapsed"])
def test_the_window_does_not_matter(ends_by: str) -> None:
    """Whether a shifted slot has a place is the same in a window of one instant: neighbours outside of it count."""
    halls = spec(
        dtstart=datetime(2026, 1, 1, 0, 30),
        duration=HOUR,
        every=HOUR,
        until_time=time(23, 30),
        ends_by=ends_by,
    )
    instant = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    found = list(planning.promised_starts(halls, Window(instant, instant + timedelta(seconds=1))))
    assert found == [
        (datetime(2026, 3, 29, 2, 30), instant, planning.CLOCK_CHANGE),
        (datetime(2026, 3, 29, 3, 30), instant, None),
    ]


def test_who_excludes_the_neighbour_does_not_bring_it_back() -> None:
    """A start that gave way stays away if the slot of 04:00 is excluded, or the series is cut there."""
    day, halls = datetime(2026, 3, 29), grid(2 * HOUR, ends_by="elapsed")
    for changes in ({"exdates": (day.replace(hour=4),)}, {"active_until": day.replace(hour=3)}):
        changed = TemplateSpec(**{**{n: getattr(halls, n) for n in TemplateSpec.__slots__}, **changes})
        assert reasons(changed, day)["02:00"] == planning.CLOCK_CHANGE


def test_autumn_leaves_no_time_unsold() -> None:
    """The hour that comes twice belongs to the slot in which it begins."""
    for step in (HOUR / 2, HOUR, 2 * HOUR):
        for zone, (_, day) in CHANGES.items():
            slots = planning.planned(
                grid(step, timezone=zone, dtstart=datetime(2011, 1, 1)),
                Window.local_days(day.date() - DAY, day.date() + 2 * DAY, ZoneInfo(zone)),
            )
            assert all(before.ends_at == after.starts_at for before, after in pairwise(slots)), zone


def test_a_gap_of_half_an_hour_and_one_of_two_hours() -> None:
    """Lord Howe skips 02:00 to 02:30, Troll 01:00 to 03:00."""
    howe, troll = "Australia/Lord_Howe", "Antarctica/Troll"
    found = day_of(grid(HOUR, timezone=howe), CHANGES[howe][0])
    assert found[:4] == [("00:00", "01:00"), ("01:00", "02:30"), ("02:30", "03:00"), ("03:00", "04:00")]
    found = day_of(grid(HOUR, timezone=troll), CHANGES[troll][0])
    assert found[:2] == [("00:00", "03:00"), ("03:00", "04:00")]


def test_a_day_that_does_not_exist_has_no_slots() -> None:
    """Samoa had no 30 December 2011: the class of that Friday is not shown on Saturday."""
    friday = spec(timezone="Pacific/Apia", dtstart=datetime(2011, 12, 2, 9), rrule="FREQ=WEEKLY")
    assert reasons(friday, datetime(2011, 12, 31)) == {"09:00": planning.CLOCK_CHANGE}
    assert day_of(friday, datetime(2012, 1, 6)) == [("09:00", "10:00")]


def test_when_clocks_reach_a_time() -> None:
    """In a gap it is the instant of the change, of two the first, else the only one; to the second."""
    zone, change = ZoneInfo("Europe/Madrid"), datetime(2026, 3, 29, 1, tzinfo=UTC)
    for minutes in range(-3, 64):
        wall = datetime(2026, 3, 29, 2) + timedelta(minutes=minutes)
        expected = change + timedelta(minutes=minutes if minutes < 0 else max(0, minutes - 60))
        assert reached_at(wall, zone) == expected
    assert reached_at(datetime(2026, 10, 25, 2, 30), zone) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert reached_at(datetime(2011, 12, 30, 15), ZoneInfo("Pacific/Apia")) == datetime(
        2011, 12, 30, 10, tzinfo=UTC
    )


ZONES = st.sampled_from(
    [*CHANGES, "Africa/Casablanca", "America/Santiago", "Europe/Dublin", "Asia/Gaza", "UTC"]
)


@given(ZONES, st.integers(1950, 2040), st.integers(0, 400), st.integers(0, 60))
@settings(max_examples=150)
def test_a_steady_time_is_steady(name: str, year: int, day: int, further: int) -> None:
    """Between a week's begin and what is sure, no look at the offset shows another one."""
    zone, week = ZoneInfo(name), (datetime(year, 1, 1).toordinal() + day) // 7
    begin = datetime.fromordinal(week * 7).replace(tzinfo=UTC) - 2 * DAY
    moment, sure = begin + further * DAY / 2, steady_until(zone, week)
    assume(moment <= sure)
    assert moment.astimezone(zone).utcoffset() == begin.astimezone(zone).utcoffset()


GRIDS = given(
    ZONES,
    st.integers(1970, 2040),
    st.integers(0, 95),
    st.integers(1, 32),
    st.integers(0, 8),
    st.integers(1, 96),
    st.integers(-100, 100),
)


def slots_of_a_year(
    zone: str, year: int, start: int, length: int, pause: int, span: int, shift: int
) -> Iterator[tuple[datetime, datetime]]:
    """Yield start and end of the slots of a random grid, all in quarters of an hour."""
    quarter = timedelta(minutes=15)
    first = datetime(year, 1, 1) + start * quarter
    span = max(span, length)
    template = spec(
        timezone=zone,
        dtstart=first,
        duration=length * quarter,
        every=(length + pause) * quarter,
        until_time=(first + span * quarter).time(),
        shift=shift * quarter,
    )
    # Twice a year is enough to be slow: half a year of each, where clocks change.
    for begin in (datetime(year, 2, 20, tzinfo=UTC), datetime(year, 9, 1, tzinfo=UTC)):
        for slot in planning.planned(template, Window(begin, begin + 80 * DAY)):
            yield slot.starts_at, slot.ends_at


@GRIDS
@settings(max_examples=25, deadline=None)
def test_slots_that_do_not_overlap_never_do(
    zone: str, year: int, start: int, length: int, pause: int, span: int, shift: int
) -> None:
    """Whatever the clocks do, a slot of a random grid in a random zone and year ends before the next one begins."""
    slots = list(slots_of_a_year(zone, year, start, length, pause, span, shift))
    assert all(begin < end for begin, end in slots)
    assert all(before[1] <= after[0] for before, after in pairwise(slots))


@given(
    ZONES,
    st.integers(1970, 2040),
    st.integers(0, 95),
    st.sampled_from([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96]),
)
@settings(max_examples=25, deadline=None)
def test_a_grid_that_fills_the_day_leaves_nothing_unsold(
    zone: str, year: int, start: int, length: int
) -> None:
    """Each slot of such a grid ends when the next one begins; in spring what is left of one may be too short."""
    slots = list(slots_of_a_year(zone, year, start, length, 0, 96, 0))
    for (first, end), (begin, _) in pairwise(slots):
        if end != begin and begin - end < 10 * DAY:  # not between the halves of the year
            offsets = [moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in (first, begin)]
            assert offsets[0] < offsets[1], (first, end, begin)  # type: ignore[operator]
            assert begin - end < length * timedelta(minutes=15)


# -- through the doors


@pytest.fixture
def spring(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site in Madrid two days before the clocks go forward."""
    site = Site(sqlite_url, tmp_path, Clock(datetime(2026, 3, 27, 12, tzinfo=UTC)))
    with site.app.app_context():
        yield site


def madrid(site: Site, **fields: Any) -> Any:
    """Create and commit a template of every day in Madrid, without a grid unless told otherwise."""
    plain = {"timezone": "Europe/Madrid", "rrule": "FREQ=DAILY", "every": None, "until_time": None}
    return site.add(**{**plain, **fields})


def local(slot: Any) -> tuple[str, str]:
    """Return when a slot starts and ends, as clocks show it."""
    zone = ZoneInfo("Europe/Madrid")
    return f"{slot.starts_at.astimezone(zone):%H:%M}", f"{slot.ends_at.astimezone(zone):%H:%M}"


def test_virtual_and_stored_slots_end_alike(spring: Site) -> None:
    """Before and after the top-up a slot has the same times, and the report counts what has no place."""
    madrid(
        spring,
        rrule="FREQ=DAILY",
        duration=2 * HOUR,
        every=2 * HOUR,
        dtstart=datetime(2026, 1, 1),
        until_time=time(0),
    )
    before = [local(slot) for slot in spring.week()]
    report = spring.slots.generate()
    assert [local(slot) for slot in spring.week()] == before
    assert ("03:00", "04:00") in before
    assert report.skipped.get("clock_change") is None
    madrid(spring, every=HOUR, dtstart=datetime(2026, 1, 1), until_time=time(0))
    assert spring.slots.generate().skipped["clock_change"] == 1


def test_explain_says_that_the_clocks_leave_it_out(spring: Site) -> None:
    """The code is clock_change; where another slot really is, that one counts."""
    single = madrid(
        spring,
        rrule="FREQ=DAILY",
        dtstart=datetime(2026, 1, 1, 2, 30),
        duration=HOUR / 2,
    )
    moment = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    found = spring.slots.explain(single.id, moment)
    assert found.code == "clock_change"
    assert "clocks" in found.sentence
    hourly = madrid(spring, every=HOUR, dtstart=datetime(2026, 1, 1), until_time=time(0))
    assert spring.slots.explain(hourly.id, datetime(2026, 3, 29, 1, tzinfo=UTC)).code == "available"


def test_a_moved_slot_ends_by_the_wall_clock(spring: Site) -> None:
    """A slot that a person moves, or makes longer, lasts so long on the wall, also over the change."""
    madrid(spring, dtstart=datetime(2026, 1, 1, 12), duration=8 * HOUR)
    spring.slots.generate()
    edit, key = spring.slots.edit, "1@20260328T1200"
    edit(key, "this", start=datetime(2026, 3, 28, 23))
    assert local(spring.slots.get(key)) == ("23:00", "07:00")
    edit(key, "this", duration=5 * HOUR)
    assert local(spring.slots.get(key)) == ("23:00", "04:00")
    edit(key, "this", start=datetime(2026, 3, 30, 1))
    assert local(spring.slots.get(key)) == ("01:00", "06:00")
    edit(key, "this", start=datetime(2026, 3, 29, 1))
    assert local(spring.slots.get(key)) == ("01:00", "06:00")
    edit("1@20260330T1200", "all", start=time(23), duration=7 * HOUR)
    assert local(spring.slots.get("1@20260327T1200")) == ("23:00", "06:00")
    assert local(spring.slots.get("1@20260328T1200")) == ("01:00", "06:00")


def test_a_slot_that_runs_over_the_change_is_shown_until_its_end(sqlite_url: str, tmp_path: Path) -> None:
    """In autumn the night is an hour longer, also for who asks in its last hour."""
    site = Site(sqlite_url, tmp_path, Clock(datetime(2026, 10, 25, 4, 30, tzinfo=UTC)))
    with site.app.app_context():
        madrid(
            site,
            rrule="FREQ=DAILY",
            dtstart=datetime(2026, 1, 1, 22),
            duration=8 * HOUR,
        )
        assert site.slots.get("1@20261024T2200").state == "running"
        site.clock.now = datetime(2026, 10, 25, 5, tzinfo=UTC)
        assert site.slots.explain(1, datetime(2026, 10, 24, 20, tzinfo=UTC)).code == "in_the_past"


def test_a_longer_night_is_in_what_begins_before_a_span(sqlite_url: str, tmp_path: Path) -> None:
    """``overlapping=True`` at half past five shows the night that ends at six, by nine hours, virtual and stored."""
    site = Site(sqlite_url, tmp_path, Clock(datetime(2026, 10, 24, 12, tzinfo=UTC)))
    span = (datetime(2026, 10, 25, 4, 30, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC))
    with site.app.app_context():
        madrid(site, dtstart=datetime(2026, 1, 1, 22), duration=8 * HOUR)
        for _ in range(2):
            found = site.slots.between(*span, overlapping=True)
            assert [slot.key for slot in found] == ["1@20261024T2200"]
            assert not site.slots.between(span[0] + HOUR / 2, span[1], overlapping=True)
            site.slots.generate()


def test_pruning_waits_for_the_end_on_the_wall(sqlite_url: str, tmp_path: Path) -> None:
    """A week's rental that was moved away is not promised again while its own time lasts an hour longer."""
    site = Site(sqlite_url, tmp_path, Clock(datetime(2026, 10, 10, tzinfo=UTC)))
    with site.app.app_context():
        madrid(site, rrule="FREQ=WEEKLY", dtstart=datetime(2026, 10, 5, 10), duration=7 * DAY)
        site.slots.generate(days=20)
        site.slots.edit("1@20261019T1000", "this", start=datetime(2026, 10, 11, 8), duration=HOUR)
        site.session.commit()
        site.clock.now = datetime(2026, 10, 26, 8, 30, tzinfo=UTC)  # it is 9:30, the week ends at 10:00
        site.slots.prune(7)
        assert "1@20261019T1000" in [slot.key for slot in site.rows()]


def test_an_exact_length_runs_into_nothing() -> None:
    """Of two slots of exact length that would overlap as the clocks go forward, the earlier one stands."""
    hours: dict[str, Any] = {"duration": 2 * HOUR, "every": 2 * HOUR, "until_time": time(23)}
    exact = spec(dtstart=datetime(2026, 3, 1, 1), ends_by="elapsed", **hours)
    zone = ZoneInfo("Europe/Madrid")
    day = Window.local_days(date(2026, 3, 29), date(2026, 3, 30), zone)
    found = {slot.original_start.hour: reason for slot, reason in planning.promised(exact, day)}
    assert found == {1: None, 3: planning.CLOCK_CHANGE} | dict.fromkeys(range(5, 22, 2))
    slots = planning.planned(exact, day)
    assert all(one.ends_at <= other.starts_at for one, other in pairwise(slots))
    overlapping = replace(exact, overlapping=True)
    assert len(planning.planned(overlapping, day)) == len(slots) + 1
