"""The split table: where a series can be cut, what it can be moved to, and that keys survive it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from helpers import MONDAY, Site

from flask_rollingslots.errors import InvalidRequest, InvalidRule, SlotNotFound

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ONE: dict[str, Any] = {"every": None, "until_time": None}


def add(
    site: Site, rrule: str = "FREQ=DAILY", start: datetime = datetime(2026, 1, 5, 10), **fields: Any
) -> Any:
    """Add a template with one start a day, and store two weeks."""
    template = site.add(rrule=rrule, dtstart=start, **{**ONE, **fields})
    site.slots.generate(days=14)
    return template


def walls(site: Site, n: int, template: int = 1) -> list[str]:
    """Return the local starts of the next slots."""
    return [f"{slot.local_start:%m-%d %H:%M}" for slot in site.slots.upcoming(template, n=n)]


def edit(site: Site, key: str, scope: str, **changes: Any) -> Any:
    """Edit, commit, and fill again: nothing that was edited may come back."""
    plan = site.slots.edit(key, scope, **changes)
    site.session.commit()
    report = site.slots.generate(days=14)
    assert (report.updated, report.removed) == (0, 0)
    return plan


def segments(site: Site) -> list[Any]:
    cls = site.slots.Template
    return list(site.session.scalars(site.db.select(cls).order_by(cls.id)))


def test_at_the_first_occurrence_it_edits_in_place(site: Site) -> None:
    """Nothing comes before the first slot, so nothing is cut."""
    add(site)
    plan = edit(site, "1@20260105T1000", "this_and_future", start=time(12))
    assert [segment.cut_at for segment in plan.segments] == [None]
    assert len(segments(site)) == 1
    assert walls(site, 2) == ["01-05 12:00", "01-06 12:00"]


def test_in_the_middle(site: Site) -> None:
    """Two segments with the same rule and anchor, divided by their bounds."""
    add(site)
    edit(site, "1@20260108T1000", "this_and_future", start=time(12), capacity=3)
    assert walls(site, 5) == ["01-05 10:00", "01-06 10:00", "01-07 10:00", "01-08 12:00", "01-09 12:00"]
    first, second = segments(site)
    cut = datetime(2026, 1, 8, 10)
    assert (first.active_until, second.active_from, second.continues_id, second.series_id) == (cut, cut, 1, 1)
    assert (first.rrule, first.dtstart) == (second.rrule, second.dtstart)
    assert {row.template_id for row in site.rows() if row.original_start >= cut} == {second.id}


def test_at_the_last_occurrence(site: Site) -> None:
    """A series of five, cut at its last: four and one."""
    add(site, "FREQ=DAILY;COUNT=5")
    edit(site, "1@20260109T1000", "this_and_future", start=time(12))
    assert walls(site, 9)[3:] == ["01-08 10:00", "01-09 12:00"]


def test_inside_a_day_of_a_grid(site: Site) -> None:
    """The morning stays, the afternoon and all later days move."""
    add(site, every=HOUR, until_time=time(14))
    plan = edit(site, "1@20260106T1200", "this_and_future", start=time(12, 30))
    assert len(plan.changed) == 2 + 12 * 4
    assert [wall for wall in walls(site, 20) if wall.startswith(("01-06", "01-07"))] == [
        "01-06 10:00", "01-06 11:00", "01-06 12:30", "01-06 13:30",
        "01-07 10:30", "01-07 11:30", "01-07 12:30", "01-07 13:30",
    ]  # fmt: skip


def test_a_new_rule_inside_a_day_of_a_grid(site: Site) -> None:
    """The rest of the day keeps its grid, and the new rule counts days."""
    add(site, every=HOUR, until_time=time(13))
    edit(site, "1@20260106T1100", "this_and_future", rrule="FREQ=DAILY;INTERVAL=2;COUNT=2")
    assert walls(site, 20)[3:] == [
        "01-06 10:00", "01-06 11:00", "01-06 12:00", "01-08 10:00", "01-08 11:00", "01-08 12:00",
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["cancelled", "deleted", "moved", "excluded"])
def test_at_an_exception(site: Site, how: str) -> None:
    """A cancelled or moved slot can be where the cut is, and stays as it is; one that is not there cannot."""
    template = add(site)
    key = "1@20260107T1000"
    if how == "moved":
        site.slots.edit(key, "this", start=datetime(2026, 1, 7, 20))
    elif how == "excluded":
        template.exdates.append(date(2026, 1, 7))
        site.session.commit()
        site.slots.generate()
    else:
        getattr(site.slots, {"cancelled": "cancel", "deleted": "delete"}[how])(key)
    site.session.commit()
    if how in ("deleted", "excluded"):
        with pytest.raises(SlotNotFound):
            site.slots.edit(key, "this_and_future", start=datetime(2026, 1, 7, 12))
        return
    edit(site, key, "this_and_future", start=datetime(2026, 1, 7, 12))
    there = "01-07 20:00" if how == "moved" else "01-07 10:00"
    assert walls(site, 4) == ["01-05 10:00", "01-06 10:00", there, "01-08 12:00"]
    assert site.slots.get(key).status == ("cancelled" if how == "cancelled" else "scheduled")


def test_across_a_clock_change(site: Site) -> None:
    """The wall clock is moved, so the shift is right before and after the change to summer time."""
    site.clock.now = datetime(2026, 3, 23, 8, tzinfo=UTC)
    add(site, "FREQ=WEEKLY", datetime(2026, 3, 24, 10), timezone="Europe/Madrid")
    edit(site, "1@20260331T1000", "this_and_future", start=time(12))
    assert walls(site, 3) == ["03-24 10:00", "03-31 12:00", "04-07 12:00"]
    edit(site, "1@20260324T1000", "all", start=time(11))
    found = site.slots.upcoming(1, n=3)
    assert walls(site, 3) == ["03-24 11:00", "03-31 13:00", "04-07 13:00"]
    assert [slot.starts_at.hour for slot in found] == [10, 11, 11]


def test_into_the_hour_that_a_clock_change_leaves_out(site: Site) -> None:
    """A slot moved to a time that does not exist is shown after the gap, and its key stays."""
    site.clock.now = datetime(2026, 3, 23, 8, tzinfo=UTC)
    add(site, "FREQ=DAILY", datetime(2026, 3, 24, 1), timezone="Europe/Madrid", duration=timedelta(hours=2))
    edit(site, "1@20260324T0100", "all", start=time(2, 30))
    found = {slot.key[2:]: f"{slot.local_start:%H:%M}" for slot in site.slots.upcoming(1, n=7)}
    assert (found["20260328T0100"], found["20260329T0100"], found["20260330T0100"]) == (
        "02:30",
        "03:30",
        "02:30",
    )


@pytest.mark.parametrize(
    ("rrule", "cut", "left"),
    [
        ("FREQ=DAILY;COUNT=6", 2, ["01-07 12:00", "01-08 12:00", "01-09 12:00", "01-10 12:00"]),
        ("FREQ=DAILY;UNTIL=20260109", 2, ["01-07 12:00", "01-08 12:00", "01-09 12:00"]),
        ("FREQ=DAILY", 2, ["01-07 12:00", "01-08 12:00", "01-09 12:00", "01-10 12:00", "01-11 12:00"]),
    ],
)
def test_with_count_until_and_forever(site: Site, rrule: str, cut: int, left: list[str]) -> None:
    """The end of the rule stays where it is: a cut neither adds nor loses an occurrence."""
    add(site, rrule, exdates=[date(2026, 1, 12)])
    key = site.slots.upcoming(1, n=cut + 1)[cut].key
    edit(site, key, "this_and_future", start=time(12))
    assert walls(site, 20)[cut : cut + len(left)] == left
    assert len(walls(site, 20)) == (20 if "=" not in rrule[6:] else cut + len(left))


@pytest.mark.parametrize(
    ("rrule", "start", "to", "expected"),
    [
        ("FREQ=DAILY", "01-07 10:00", "01-07 11:30", ["01-06 10:00", "01-07 11:30", "01-08 11:30"]),
        ("FREQ=DAILY", "01-07 10:00", "01-07 08:00", ["01-06 10:00", "01-07 08:00", "01-08 08:00"]),
        ("FREQ=DAILY", "01-07 10:00", "01-08 09:00", ["01-06 10:00", "01-08 09:00", "01-09 09:00"]),
        ("FREQ=WEEKLY", "01-12 10:00", "01-14 12:00", ["01-05 10:00", "01-14 12:00", "01-21 12:00"]),
        ("FREQ=WEEKLY", "01-12 10:00", "01-10 09:00", ["01-05 10:00", "01-10 09:00", "01-17 09:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE", "01-19 10:00", "01-20 10:00",
         ["01-07 10:00", "01-20 10:00", "01-22 10:00", "02-03 10:00"]),
        ("FREQ=MONTHLY", "02-05 10:00", "02-05 12:00", ["01-05 10:00", "02-05 12:00", "03-05 12:00"]),
        ("FREQ=MONTHLY", "02-05 10:00", "02-20 10:00", ["01-05 10:00", "02-20 10:00", "03-20 10:00"]),
        ("FREQ=MONTHLY", "02-05 10:00", "02-02 11:00", ["01-05 10:00", "02-02 11:00", "03-02 11:00"]),
        ("FREQ=MONTHLY;INTERVAL=2", "03-05 10:00", "04-01 10:00", ["01-05 10:00", "04-01 10:00", "06-01 10:00"]),
        ("FREQ=MONTHLY;BYDAY=1MO", "02-02 10:00", "02-10 10:00", ["01-05 10:00", "02-10 10:00", "03-10 10:00"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", "02-27 10:00", "02-26 10:00", ["01-30 10:00", "02-26 10:00", "03-26 10:00"]),
        ("FREQ=MONTHLY;COUNT=3", "02-05 10:00", "02-20 10:00", ["01-05 10:00", "02-20 10:00", "03-20 10:00"]),
    ],
)  # fmt: skip
def test_moved_later_earlier_and_to_another_day(
    site: Site, rrule: str, start: str, to: str, expected: list[str]
) -> None:
    """From the slot on everything is moved; what is before stays."""
    add(site, rrule)
    key = f"1@2026{start.replace('-', '').replace(' ', 'T').replace(':', '')}"
    edit(site, key, "this_and_future", start=datetime.strptime(f"2026-{to}", "%Y-%m-%d %H:%M"))  # noqa: DTZ007
    found = walls(site, 12)
    at = found.index(expected[0])
    assert found[at : at + len(expected)] == expected
    assert ("COUNT" not in rrule) or len(found) == 3


#: A rule and its first slots: at 10 o'clock, days in January unless a month is named.
DAILY, WEEKLY, MONTHLY = "FREQ=DAILY", "FREQ=WEEKLY", "FREQ=MONTHLY"
ENDS = {
    DAILY: (";COUNT=5", ";UNTIL=20260109", ""),
    WEEKLY: (";COUNT=5", ";UNTIL=20260202", ""),
    MONTHLY: (";COUNT=5", ";UNTIL=20260505", ""),
}
FIRST_FIVE = {
    DAILY: ["01-05", "01-06", "01-07", "01-08", "01-09"],
    WEEKLY: ["01-05", "01-12", "01-19", "01-26", "02-02"],
    MONTHLY: ["01-05", "02-05", "03-05", "04-05", "05-05"],
}
#: From the third one on: on the same day later and earlier, on a later and on an earlier day.
MOVED = [
    (DAILY, "01-07 12:30", ["01-07", "01-08", "01-09"]), (DAILY, "01-07 08:00", ["01-07", "01-08", "01-09"]),
    (DAILY, "01-08 10:00", ["01-08", "01-09", "01-10"]), (DAILY, "01-06 23:00", ["01-06", "01-07", "01-08"]),
    (WEEKLY, "01-19 12:30", ["01-19", "01-26", "02-02"]), (WEEKLY, "01-19 08:00", ["01-19", "01-26", "02-02"]),
    (WEEKLY, "01-21 10:00", ["01-21", "01-28", "02-04"]), (WEEKLY, "01-17 10:00", ["01-17", "01-24", "01-31"]),
    (MONTHLY, "03-05 12:30", ["03-05", "04-05", "05-05"]), (MONTHLY, "03-05 08:00", ["03-05", "04-05", "05-05"]),
    (MONTHLY, "03-20 10:00", ["03-20", "04-20", "05-20"]), (MONTHLY, "03-02 10:00", ["03-02", "04-02", "05-02"]),
]  # fmt: skip


def wall(text: str) -> datetime:
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M")  # noqa: DTZ007


@pytest.mark.parametrize("end", [0, 1, 2], ids=["count", "until", "forever"])
@pytest.mark.parametrize(("rrule", "to", "days"), MOVED)
def test_a_cut_in_the_middle_keeps_the_end(
    site: Site, rrule: str, to: str, days: list[str], end: int
) -> None:
    """Two before the cut, three after it, wherever they are moved; a series for ever goes on.

    A monthly rule on a later day loses the one that its UNTIL, a day of the calendar, no longer holds.
    """
    site.add(rrule=rrule + ENDS[rrule][end], dtstart=datetime(2026, 1, 5, 10), **ONE)
    first = FIRST_FIVE[rrule]
    edit(site, f"1@2026{first[2].replace('-', '')}T1000", "this_and_future", start=wall(to))
    beyond = to == "03-20 10:00" and end == 1
    expected = [f"{day} 10:00" for day in first[:2]] + [
        f"{day}{to[5:]}" for day in days[: 2 if beyond else 3]
    ]
    found = walls(site, 8)
    assert found[:5] == expected
    assert len(found) == (8 if end == 2 else len(expected))


@pytest.mark.parametrize("end", [0, 1], ids=["count", "until"])
@pytest.mark.parametrize("rrule", [DAILY, WEEKLY, MONTHLY])
def test_at_the_last_one_of_a_series_that_ends(site: Site, rrule: str, end: int) -> None:
    """Four stay, and the last one moves; after it comes nothing."""
    site.add(rrule=rrule + ENDS[rrule][end], dtstart=datetime(2026, 1, 5, 10), **ONE)
    first = FIRST_FIVE[rrule]
    edit(site, f"1@2026{first[4].replace('-', '')}T1000", "this_and_future", start=time(8))
    assert walls(site, 8) == [f"{day} 10:00" for day in first[:4]] + [f"{first[4]} 08:00"]


@pytest.mark.parametrize(
    ("day", "to", "hours"),
    [("03-29", time(3), [1, 1, 1]), ("03-29", time(1), [1, 0, 23]), ("10-25", time(3), [0, 2, 2]),
     ("10-25", time(1), [0, 23, 0])],
)  # fmt: skip
def test_on_the_very_day_of_a_clock_change(site: Site, day: str, to: time, hours: list[int]) -> None:
    """Cut on the day itself, at 2 o'clock in Berlin: the wall clock is what was asked for, on both sides."""
    cut = wall(f"{day} 02:00")
    site.clock.now = (cut - 2 * DAY).replace(tzinfo=UTC)
    first, length = cut - 2 * DAY + timedelta(minutes=30), timedelta(hours=2)
    add(site, DAILY, first, timezone="Europe/Berlin", duration=length)
    key = f"1@2026{day.replace('-', '')}T0230"
    edit(site, key, "this_and_future", start=to)
    found = site.slots.upcoming(1, n=4)
    assert [f"{slot.local_start:%m-%d %H:%M}" for slot in found] == [
        f"{cut - DAY:%m-%d} 02:30", f"{day} {to:%H:%M}", f"{cut + DAY:%m-%d} {to:%H:%M}",
        f"{cut + 2 * DAY:%m-%d} {to:%H:%M}",
    ]  # fmt: skip
    assert [slot.starts_at.hour for slot in found[:3]] == hours


@pytest.mark.parametrize("to", [time(8), time(16)])
def test_at_an_extra_date(site: Site, to: time) -> None:
    """The extra date belongs to the later part, and moves with it."""
    add(site, WEEKLY, rdates=[datetime(2026, 1, 7, 15)])
    edit(site, "1@20260107T1500", "this_and_future", start=to)
    by = to.hour - 15
    assert walls(site, 3) == ["01-05 10:00", f"01-07 {to:%H:%M}", f"01-12 {10 + by:02}:00"]
    with pytest.raises(InvalidRequest, match="after 2026-01-05 10:00"):
        site.slots.edit("1@20260107T1500", "this_and_future", start=datetime(2026, 1, 5, 9))


@pytest.mark.parametrize(
    "closed",
    [{"holidays": "ES"}, {"blackouts": [(date(2026, 1, 6), date(2026, 1, 6))]}],
    ids=["holiday", "blackout"],
)
def test_on_a_day_that_is_left_out(site: Site, closed: dict[str, Any]) -> None:
    """On a day without slots there is none to cut at; a cut at the next one leaves that day out as before."""
    template = add(site, **closed)
    with pytest.raises(SlotNotFound):
        site.slots.edit("1@20260106T1000", "this_and_future", start=time(12))
    edit(site, "1@20260107T1000", "this_and_future", start=time(9))
    assert walls(site, 3) == ["01-05 10:00", "01-07 09:00", "01-08 09:00"]
    template.holidays, template.blackouts = None, []
    site.session.commit()
    assert walls(site, 3) == ["01-05 10:00", "01-06 10:00", "01-07 09:00"]


def test_inside_a_day_of_a_grid_earlier(site: Site) -> None:
    """The afternoon moves towards the morning, but not onto it; where slots may overlap, onto its last one."""
    template = add(site, every=HOUR, until_time=time(14))
    with pytest.raises(InvalidRequest, match="from 2026-01-06 12:00 on"):
        site.slots.edit("1@20260106T1200", "this_and_future", start=time(11, 30))
    template.overlapping = True
    site.session.commit()
    edit(site, "1@20260106T1200", "this_and_future", start=time(11, 30))
    assert [w for w in walls(site, 20) if w.startswith(("01-06", "01-07"))] == [
        "01-06 10:00", "01-06 11:00", "01-06 11:30", "01-06 12:30",
        "01-07 09:30", "01-07 10:30", "01-07 11:30", "01-07 12:30",
    ]  # fmt: skip
    with pytest.raises(InvalidRequest, match="after 2026-01-06 11:00"):
        site.slots.edit("1@20260106T1200", "this_and_future", start=time(11))


@pytest.mark.parametrize(
    ("rrule", "cuts", "expected"),
    [
        (WEEKLY, ("0112", "0126"), ["01-12 13:00", "01-19 13:00", "01-26 16:00", "02-02 16:00"]),
        (MONTHLY, ("0205", "0405"), ["02-05 13:00", "03-05 13:00", "04-05 16:00", "05-05 16:00"]),
    ],
)
def test_a_second_split_of_weeks_and_months_then_all(
    site: Site, rrule: str, cuts: tuple[str, str], expected: list[str]
) -> None:
    """Three parts keep their differences when all is moved; to another day only a weekly series goes as a whole."""
    add(site, rrule)
    for cut, hour in zip(cuts, (12, 15), strict=True):
        edit(site, f"1@2026{cut}T1000", "this_and_future", start=time(hour))
    edit(site, f"1@2026{cuts[0]}T1000", "all", start=time(13), data={"a": 1})
    assert walls(site, 5) == ["01-05 11:00", *expected]
    assert [slot.data for slot in site.slots.upcoming(1, n=5)] == [{"a": 1}] * 5
    later = wall(expected[1]) + DAY
    second = f"1@2026{cuts[0]}T1000"
    if rrule == MONTHLY:
        with pytest.raises(InvalidRequest, match="expected this_and_future from a slot of the last part"):
            site.slots.edit(second, "all", start=wall(expected[0]) + DAY)
        return
    edit(site, second, "all", start=wall(expected[0]) + DAY)
    assert walls(site, 3)[2] == f"{later:%m-%d %H:%M}"


def test_a_cancelled_end_belongs_to_the_later_part(site: Site) -> None:
    """A cut before the end takes the end along: nothing keeps the first part from being extended again."""
    add(site)
    site.slots.cancel_future(1, date(2026, 1, 10))
    edit(site, "1@20260108T1000", "this_and_future", start=time(12))
    assert [part.cancelled_from for part in segments(site)] == [None, datetime(2026, 1, 10)]
    site.slots.restore("1@20260108T1000", "this_and_future")
    site.session.commit()
    assert [part.cancelled_from for part in segments(site)] == [None, None]
    assert walls(site, 7)[5:] == ["01-10 12:00", "01-11 12:00"]


def test_a_slot_is_made_also_where_a_moved_one_stands(site: Site) -> None:
    """A new rule that puts a slot where a moved one stands has it all the same: it is blocked while that stands."""
    add(site, "FREQ=WEEKLY")
    site.slots.edit("1@20260112T1000", "this", start=datetime(2026, 1, 8, 10))
    site.session.commit()
    plan = edit(site, "1@20260105T1000", "all", rrule="FREQ=DAILY;COUNT=6")
    assert [str(slot.key) for slot in plan.created] == [f"1@202601{day:02}T1000" for day in (6, 7, 8, 9, 10)]


def test_all_of_a_monthly_series_on_another_day(site: Site) -> None:
    """In place the count goes on counting from the first one: twelve stay twelve."""
    add(site, "FREQ=MONTHLY;COUNT=12")
    edit(site, "1@20260205T1000", "all", start=datetime(2026, 2, 3, 9))
    found = walls(site, 20)
    assert (len(found), found[:2]) == (11, ["02-03 09:00", "03-03 09:00"])  # that of January was yesterday


def test_a_yearly_day(site: Site) -> None:
    """The birthday was noted a day too early."""
    add(site, "FREQ=YEARLY", datetime(2026, 6, 30, 10))
    edit(site, "1@20270630T1000", "this_and_future", start=datetime(2027, 7, 1, 10))
    assert walls(site, 3) == ["06-30 10:00", "07-01 10:00", "07-01 10:00"]


@pytest.mark.parametrize(
    ("rrule", "to"),
    [
        ("FREQ=MONTHLY;BYMONTHDAY=5,19", "01-06 10:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=-27", "01-06 10:00"),
        ("FREQ=MONTHLY;BYDAY=MO;BYMONTHDAY=1,2,3,4,5,6,7", "01-06 10:00"),
        ("FREQ=MONTHLY", "01-31 10:00"),
        ("FREQ=MONTHLY;BYDAY=1MO", "01-30 10:00"),
        ("FREQ=DAILY;BYMONTH=1,2", "01-06 10:00"),
    ],
)
def test_what_would_be_a_guess_is_asked_for(site: Site, rrule: str, to: str) -> None:
    """Another day for a rule that does not say what that means is refused with a way out."""
    add(site, rrule)
    with pytest.raises(InvalidRequest, match="rrule="):
        site.slots.edit("1@20260105T1000", "all", start=datetime.strptime(f"2026-{to}", "%Y-%m-%d %H:%M"))  # noqa: DTZ007
    assert walls(site, 1) == ["01-05 10:00"]


@pytest.mark.parametrize("to", [datetime(2026, 1, 6, 10), datetime(2026, 1, 6, 9, 59), datetime(2025, 1, 1)])
def test_not_onto_or_before_what_stays(site: Site, to: datetime) -> None:
    """A part cannot be moved onto or before the last slot of the part that stays."""
    add(site)
    with pytest.raises(InvalidRequest, match="expected a time after 2026-01-06 10:00"):
        site.slots.edit("1@20260107T1000", "this_and_future", start=to)
    site.session.commit()
    assert len(segments(site)) == 1


def test_a_second_split_then_all(site: Site) -> None:
    """Three parts keep their differences when all of the series is moved, and all get the capacity."""
    add(site)
    edit(site, "1@20260107T1000", "this_and_future", start=time(12))
    edit(site, "1@20260109T1000", "this_and_future", start=time(15))
    assert walls(site, 6)[1:] == ["01-06 10:00", "01-07 12:00", "01-08 12:00", "01-09 15:00", "01-10 15:00"]
    edit(site, "1@20260108T1000", "all", start=time(11), capacity=4)
    assert walls(site, 6)[1:] == ["01-06 09:00", "01-07 11:00", "01-08 11:00", "01-09 14:00", "01-10 14:00"]
    assert {slot.capacity for slot in site.slots.upcoming(1, n=40)} == {4}
    assert [s.continues_id for s in segments(site)] == [None, 1, 2]


def test_a_split_before_a_split_moves_the_later_parts_too(site: Site) -> None:
    """This and future reaches through all later parts."""
    add(site)
    edit(site, "1@20260109T1000", "this_and_future", start=time(15))
    edit(site, "1@20260107T1000", "this_and_future", start=time(11), data={"floor": 2})
    assert walls(site, 6)[1:] == ["01-06 10:00", "01-07 11:00", "01-08 11:00", "01-09 16:00", "01-10 16:00"]
    assert [slot.data for slot in site.slots.upcoming(1, n=5)] == [
        {},
        {},
        {"floor": 2},
        {"floor": 2},
        {"floor": 2},
    ]


def test_a_key_taken_before_two_splits_and_a_shift(site: Site) -> None:
    """The key in a visitor's browser goes on naming the same slot, stored or virtual."""
    add(site)
    stored, virtual = "1@20260112T1000", "1@20260312T1000"
    edit(site, "1@20260107T1000", "this_and_future", start=time(12))
    edit(site, "1@20260110T1000", "this_and_future", capacity=2)
    edit(site, "1@20260107T1000", "all", start=datetime(2026, 1, 8, 9))
    assert site.slots.get(stored).starts_at == datetime(2026, 1, 13, 9, tzinfo=UTC)
    assert site.slots.get(virtual).starts_at == datetime(2026, 3, 13, 9, tzinfo=UTC)
    booking = site.slots.book(virtual)
    assert (booking.slot.key, booking.slot.template_id) == (virtual, 3)


@pytest.mark.parametrize("scope", ["this_and_future", "all"])
def test_a_new_rule_for_several_parts_is_refused(site: Site, scope: str) -> None:
    """Each part has its own rule; the sentence says where the last part begins."""
    add(site)
    edit(site, "1@20260109T1000", "this_and_future", start=time(15))
    with pytest.raises(InvalidRequest, match="from 2026-01-09 10:00 on"):
        site.slots.edit("1@20260106T1000", scope, rrule="FREQ=WEEKLY")
    edit(site, "1@20260112T1000", "this_and_future", rrule="FREQ=WEEKLY")
    assert walls(site, 9)[6:] == ["01-11 15:00", "01-12 15:00", "01-19 15:00"]


def test_a_rule_that_is_not_valid_changes_nothing(site: Site) -> None:
    """A refused rule leaves neither a cut nor a changed slot."""
    add(site)
    for wrong in ("FREQ=NEVER", "FREQ=DAILY;COUNT=1;UNTIL=20270101"):
        with pytest.raises(InvalidRule):
            site.slots.edit("1@20260107T1000", "this_and_future", rrule=wrong, capacity=3)
    with pytest.raises(InvalidRequest, match="at least one slot"):
        site.slots.edit("1@20260107T1000", "this_and_future", rrule="FREQ=DAILY;UNTIL=20250101")
    site.session.commit()
    assert (len(segments(site)), {slot.capacity for slot in site.slots.upcoming(1, n=20)}) == (1, {1})


def test_own_columns_of_an_app_are_in_both_parts(site: Site) -> None:
    """Whatever a template holds, the new part holds too."""
    add(
        site,
        group="north",
        closes_before=HOUR,
        blackouts=[(date(2026, 2, 1), date(2026, 2, 3))],
        data={"a": 1},
    )
    edit(site, "1@20260107T1000", "this_and_future", data={"b": 2})
    first, second = segments(site)
    same = ("name", "group", "closes_before", "blackouts", "timezone", "duration", "holidays", "capacity")
    assert [getattr(first, name) for name in same] == [getattr(second, name) for name in same]
    assert (first.data, second.data) == ({"a": 1}, {"a": 1, "b": 2})
    second.blackouts.append((date(2026, 3, 1), date(2026, 3, 1)))
    site.session.commit()
    assert len(first.blackouts) == 1


def test_feeds_speak_of_shown_times(site: Site) -> None:
    """The rule in words says when it happens, not when it once happened."""
    template = add(site, "FREQ=WEEKLY")
    edit(site, "1@20260105T1000", "all", start=datetime(2026, 1, 7, 18))
    assert template.recurrence.describe() == "every week on Wednesday at 18:00"
    assert template.spec().shift == 2 * DAY + 8 * HOUR


def test_times_are_wall_clock_times_of_the_template(site: Site) -> None:
    """Far from Greenwich a new start is a local one."""
    add(site, "FREQ=DAILY", datetime(2026, 1, 6, 9), timezone="Pacific/Kiritimati")
    edit(site, "1@20260108T0900", "this_and_future", start=datetime(2026, 1, 8, 7, 30))
    found = site.slots.get("1@20260108T0900")
    assert found.local_start == datetime(2026, 1, 8, 7, 30, tzinfo=ZoneInfo("Pacific/Kiritimati"))


@pytest.mark.parametrize("call", ["edit", "preview_edit"])
def test_wrong_changes_name_the_field(site: Site, call: str) -> None:
    """A change of the wrong type or out of range is refused by name, and nothing is written."""
    add(site)
    wrong: list[tuple[str, Any]] = [
        ("start", MONDAY), ("start", "10:00"), ("start", time(10, 0, 30)), ("duration", HOUR * 0), ("duration", 60),
        ("capacity", 0), ("capacity", True), ("data", [1]), ("data", {"a": object()}), ("rrule", ""), ("name", 5),
        ("colour", "red"),
    ]  # fmt: skip
    for name, value in wrong:
        with pytest.raises(InvalidRequest, match=name):
            getattr(site.slots, call)("1@20260107T1000", "all", **{name: value})
    with pytest.raises(InvalidRequest, match="nothing to change"):
        getattr(site.slots, call)("1@20260107T1000", "all")
    assert [t.revision for t in segments(site)] == [1]
