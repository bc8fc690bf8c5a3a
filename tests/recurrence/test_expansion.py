"""Fast-forward against the slow path: plain python-dateutil from DTSTART, and an oracle where that is wrong."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import islice

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flask_rollingslots.recurrence import Recurrence

from . import oracle
from .strategies import difficult_rules, lengths, rules, starts

# python-dateutil searches sparse rules to the year 9999: starts shortly before keep it quick.
YEARS = {"YEARLY": (9955, 9965), "MONTHLY": (9980, 9988), "WEEKLY": (9988, 9993), "DAILY": (9993, 9996)}
LAST = datetime(9999, 11, 15)
NINE = datetime(2026, 1, 1, 9)
#: Examples of the slow forms.
MANY = 4000


def slow_path(rrule: str, dtstart: datetime) -> list[datetime]:
    """Expand with plain python-dateutil, all of it."""
    try:
        return [moment for moment in rrulestr(rrule, dtstart=dtstart) if moment < LAST]
    except ValueError:  # it refuses some rules that never match, and fails on the last days of 9999
        assume(False)
        raise


@st.composite
def anchored_rules(draw: st.DrawFn) -> tuple[str, datetime]:
    """A rule and a DTSTART that python-dateutil expands in reasonable time."""
    rrule = draw(rules())
    freq = rrule.split(";")[0].removeprefix("FREQ=")
    if freq == "HOURLY":
        return rrule, draw(starts(9999, 9999, 7))
    return rrule, draw(starts(*YEARS[freq]))


def check_windows(anchored: tuple[str, datetime], data: st.DataObject) -> None:
    """Compare any window, COUNT, membership, first and last with python-dateutil walking from DTSTART."""
    rrule, dtstart = anchored
    expected = slow_path(rrule, dtstart)
    recurrence = Recurrence(rrule, dtstart, "UTC")
    assert list(recurrence.originals(datetime(1, 1, 1), LAST)) == expected
    lower = dtstart + data.draw(lengths(max(1, (LAST - dtstart).days)))
    upper = min(LAST, lower + data.draw(lengths(40)))
    assert list(recurrence.originals(lower, upper)) == [each for each in expected if lower <= each < upper]
    if expected:
        check_count(rrule, dtstart, expected, data.draw(st.integers(1, len(expected))))


@given(anchored_rules(), st.data())
@settings(max_examples=60)
def test_windows_equal_the_slow_path(anchored: tuple[str, datetime], data: st.DataObject) -> None:
    """Any window, COUNT, membership, first and last agree with python-dateutil walking from DTSTART."""
    check_windows(anchored, data)


@pytest.mark.slow
@given(anchored_rules(), st.data())
@settings(max_examples=MANY)
def test_very_many_windows_equal_the_slow_path(anchored: tuple[str, datetime], data: st.DataObject) -> None:
    """The same with very many rules."""
    check_windows(anchored, data)


def check_count(rrule: str, dtstart: datetime, expected: list[datetime], count: int) -> None:
    """Check a counted rule as a whole, at its end and just behind it."""
    counted = Recurrence(f"{rrule};COUNT={count}", dtstart, "UTC")
    last = expected[count - 1]
    assert list(counted.originals(last, LAST)) == [last]
    assert list(counted.originals(datetime(1, 1, 1), LAST)) == expected[:count]
    assert counted.contains(last)
    assert not counted.contains(last + timedelta(seconds=1))
    ends = counted.first(), counted.last()
    assert [end and end.original_start for end in ends] == [expected[0], last]


def check_oracle(rrule: str, dtstart: datetime, distance: timedelta, length: timedelta) -> None:
    """Compare with an expansion that looks at every day."""
    end = dtstart + timedelta(days=1300)
    expected = oracle.expand(rrule, dtstart, end)
    recurrence = Recurrence(rrule, dtstart, "UTC")
    assert list(recurrence.originals(datetime(1, 1, 1), end)) == expected
    lower = dtstart + distance
    upper = min(end, lower + length)
    assert list(recurrence.originals(lower, upper)) == [each for each in expected if lower <= each < upper]
    for count in (1, len(expected)):
        if expected:
            counted = Recurrence(f"{rrule};COUNT={count}", dtstart, "UTC")
            assert list(counted.originals(datetime(1, 1, 1), end)) == expected[:count]


@given(difficult_rules(), starts(1990, 2024), lengths(1200), lengths(60))
@settings(max_examples=40)
def test_what_dateutil_gets_wrong_equals_the_oracle(
    rrule: str, dtstart: datetime, distance: timedelta, length: timedelta
) -> None:
    """Mixed weekdays, week numbers and positions in weeks agree with an expansion that looks at every day."""
    check_oracle(rrule, dtstart, distance, length)


@pytest.mark.slow
@given(difficult_rules(), starts(1990, 2024), lengths(1200), lengths(60))
@settings(max_examples=MANY)
def test_much_that_dateutil_gets_wrong_equals_the_oracle(
    rrule: str, dtstart: datetime, distance: timedelta, length: timedelta
) -> None:
    """The same with very many rules."""
    check_oracle(rrule, dtstart, distance, length)


CYCLES = {"YEARLY": 400, "MONTHLY": 4800, "WEEKLY": 20871, "DAILY": 146097, "HOURLY": 146097 * 24}


def check_cycle(rrule: str, dtstart: datetime, distance: timedelta, length: timedelta) -> None:
    """Compare a window with the one 400 years later."""
    parts = dict(part.split("=") for part in rrule.split(";"))
    assume(CYCLES[parts["FREQ"]] % int(parts["INTERVAL"]) == 0)
    recurrence = Recurrence(rrule, dtstart, "UTC")
    cycle = timedelta(days=146097)
    lower = dtstart + distance
    near = list(recurrence.originals(lower, lower + length))
    far = list(recurrence.originals(lower + cycle, lower + cycle + length))
    assert [each - cycle for each in far] == near


@given(st.one_of(rules(), difficult_rules()), starts(1990, 1999), lengths(4000), lengths(60))
@settings(max_examples=60)
def test_four_hundred_years_later_it_is_the_same(
    rrule: str, dtstart: datetime, distance: timedelta, length: timedelta
) -> None:
    """The calendar repeats after 400 years, so a rule whose interval divides them repeats too."""
    check_cycle(rrule, dtstart, distance, length)


@pytest.mark.slow
@given(st.one_of(rules(), difficult_rules()), starts(1990, 1999), lengths(4000), lengths(60))
@settings(max_examples=MANY)
def test_very_many_rules_are_the_same_four_hundred_years_later(
    rrule: str, dtstart: datetime, distance: timedelta, length: timedelta
) -> None:
    """The same with very many rules."""
    check_cycle(rrule, dtstart, distance, length)


@pytest.mark.parametrize(
    ("rrule", "expected"),
    [
        ("FREQ=MONTHLY;BYDAY=3MO,WE,FR", [(1, 2), (1, 7), (1, 9), (1, 14), (1, 16), (1, 19), (1, 21)]),
        ("FREQ=WEEKLY;BYDAY=MO,TU,TH,SA,SU;BYSETPOS=3,2", [(1, 1), (1, 6), (1, 8), (1, 13), (1, 15)]),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=TU;INTERVAL=2", [(5, 12)]),
        ("FREQ=YEARLY;BYWEEKNO=2;BYDAY=MO,WE;BYSETPOS=-1", [(1, 7)]),
        ("FREQ=YEARLY;BYWEEKNO=10", [(3, 5)]),
    ],
)
def test_known_faults_of_dateutil_are_right_here(rrule: str, expected: list[tuple[int, int]]) -> None:
    """The rules that python-dateutil expands wrongly give what the RFC says."""
    recurrence = Recurrence(rrule, datetime(2026, 1, 1, 9), "UTC")
    found = list(recurrence.originals(datetime(2026, 1, 1), datetime(2027, 1, 1)))
    assert [(each.month, each.day) for each in found][: len(expected)] == expected


@pytest.mark.parametrize("week", [1, 2, 9, 27, 52, 53, -1, -2, -10, -26, -27, -52, -53])
def test_week_numbers_equal_the_iso_calendar(week: int) -> None:
    """Over a full cycle of the calendar, BYWEEKNO picks the days that Python's own ISO calendar says."""
    start = date(2000, 1, 1)
    year_lengths = {year: date(year, 12, 28).isocalendar().week for year in range(1999, 2402)}
    expected = []
    for day in (start + timedelta(days=n) for n in range(146_097)):
        year, number, _ = day.isocalendar()
        if week in (number, number - year_lengths[year] - 1):
            expected.append(day)
    every_day = Recurrence(
        f"FREQ=YEARLY;BYWEEKNO={week};BYDAY=MO,TU,WE,TH,FR,SA,SU", datetime(2000, 1, 1), "UTC"
    )
    found = every_day.originals(datetime(2000, 1, 1), datetime(2400, 1, 1))
    assert [moment.date() for moment in found] == expected


@pytest.mark.parametrize(
    ("rrule", "number", "expected"),
    [
        ("FREQ=DAILY;COUNT=1000000", 1_000_000, NINE + timedelta(days=999_999)),
        ("FREQ=WEEKLY;INTERVAL=3;BYDAY=TH;COUNT=100000", 100_000, NINE + timedelta(days=21 * 99_999)),
        ("FREQ=HOURLY;INTERVAL=7;COUNT=300000", 300_000, NINE + timedelta(hours=7 * 299_999)),
        ("FREQ=MONTHLY;COUNT=60000", 60_000, datetime(2026 + 59_999 // 12, 1 + 59_999 % 12, 1, 9)),
    ],
)  # fmt: skip
def test_huge_counts_end_where_arithmetic_says(rrule: str, number: int, expected: datetime) -> None:
    """The last of very many starts is computed, not walked to."""
    recurrence = Recurrence(rrule, datetime(2026, 1, 1, 9), "UTC")
    last = recurrence.last()
    assert last is not None
    assert last.original_start == expected
    assert recurrence.count_before(expected) == number - 1
    assert not list(recurrence.originals(expected + timedelta(seconds=1), datetime(9999, 12, 31, 23, 59, 59)))


@pytest.mark.parametrize(
    "rrule",
    [
        "FREQ=MONTHLY;BYMONTHDAY=1,-28",
        "FREQ=MONTHLY;BYMONTHDAY=15,-15",
        "FREQ=MONTHLY;BYMONTHDAY=29",
        "FREQ=MONTHLY;BYDAY=1MO,-4MO",
        "FREQ=MONTHLY;BYDAY=4FR,5FR",
        "FREQ=MONTHLY;BYDAY=FR;BYSETPOS=1,-4",
        "FREQ=MONTHLY;BYDAY=FR;BYSETPOS=-5",
        "FREQ=MONTHLY;BYMONTHDAY=28,29,30,31;BYSETPOS=-1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=28,-1",
        "FREQ=YEARLY;BYYEARDAY=366",
        "FREQ=YEARLY;BYYEARDAY=100,-266",
        "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO",
        "FREQ=YEARLY;BYWEEKNO=52,-1;BYDAY=MO",
        "FREQ=YEARLY;BYDAY=53MO",
        "FREQ=YEARLY;BYDAY=1MO,-52MO",
        "FREQ=WEEKLY;BYDAY=MO,TU,WE;BYSETPOS=1,-3",
        "FREQ=WEEKLY;BYMONTH=1,2;BYDAY=MO",
        "FREQ=DAILY;BYHOUR=9,10;BYSETPOS=1,-2",
        "FREQ=HOURLY;BYHOUR=9,10",
        "FREQ=HOURLY;BYMINUTE=0,30;BYSETPOS=-1",
    ],
)
def test_count_where_periods_may_differ_in_size(rrule: str) -> None:
    """COUNT takes the first so many starts also where a period may hold more or fewer than another."""
    plain = Recurrence(rrule, datetime(2023, 5, 20, 9), "UTC")
    expected = list(islice(plain.originals(datetime(1, 1, 1), LAST), 60))
    for count in range(1, len(expected) + 1):
        counted = Recurrence(f"{rrule};COUNT={count}", datetime(2023, 5, 20, 9), "UTC")
        assert list(counted.originals(datetime(1, 1, 1), LAST)) == expected[:count]
        assert counted.count_before(expected[count - 1]) == count - 1
        last = counted.last()
        assert last is not None
        assert last.original_start == expected[count - 1]


@pytest.mark.parametrize(
    "rrule",
    [
        "FREQ=DAILY",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH",
        "FREQ=MONTHLY;BYDAY=2TU",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=YEARLY;BYDAY=MO;BYSETPOS=-1",
        "FREQ=HOURLY;BYDAY=MO",
    ],
)
def test_a_far_window_asks_dateutil_no_more_than_a_near_one(
    rrule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of months looked at does not grow with the distance from DTSTART."""
    from flask_rollingslots.recurrence.expand import DaySource

    looked: list[tuple[int, int]] = []
    within = DaySource.within

    def counted(self: DaySource, first: int, last: int) -> list[int]:
        looked.append((first, last))
        return within(self, first, last)

    monkeypatch.setattr(DaySource, "within", counted)
    recurrence = Recurrence(rrule, datetime(2000, 1, 1, 9), "UTC")
    list(recurrence.originals(datetime(2426, 3, 3), datetime(2426, 3, 10)))
    assert len(looked) <= 3
