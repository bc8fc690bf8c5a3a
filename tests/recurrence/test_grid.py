"""The day grid: many starts a day from one rule."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rollingslots.errors import InvalidRule
from flask_rollingslots.recurrence import Recurrence

HOUR = timedelta(hours=1)


def hall(rrule: str | None = "FREQ=DAILY", start: time = time(10), **changes: Any) -> Recurrence:
    """Make the game hall: every day from 10:00 to 22:00, one hour each."""
    fields: dict[str, Any] = {"duration": HOUR, "every": HOUR, "until_time": time(22)} | changes
    return Recurrence(rrule, datetime.combine(date(2026, 1, 5), start), "Europe/Madrid", **fields)


def names(recurrence: Recurrence, first: datetime, last: datetime) -> list[str]:
    """Return original starts as short texts."""
    return [f"{each:%d %H:%M}" for each in recurrence.originals(first, last)]


def test_a_day_has_a_start_every_hour() -> None:
    """Twelve starts from 10:00; the last ends at 22:00."""
    found = names(hall(), datetime(2026, 1, 6), datetime(2026, 1, 7))
    assert found == [f"06 {hour}:00" for hour in range(10, 22)]


def test_the_last_one_ends_in_time() -> None:
    """A start whose end would be after until_time is not there."""
    found = names(hall(duration=timedelta(minutes=90)), datetime(2026, 1, 6), datetime(2026, 1, 7))
    assert found[-1] == "06 20:00"


def test_until_time_before_the_start_is_the_next_day() -> None:
    """From 22:00 to 02:00 there are four starts, two of them after midnight, and no gap at midnight."""
    night = hall(start=time(22), until_time=time(2))
    assert names(night, datetime(2026, 1, 6), datetime(2026, 1, 7)) == [
        "06 00:00", "06 01:00", "06 22:00", "06 23:00",
    ]  # fmt: skip
    full = hall(start=time(10), until_time=time(10))
    assert len(names(full, datetime(2026, 1, 6), datetime(2026, 1, 9))) == 72


def test_count_and_until_count_days() -> None:
    """COUNT=2 means two days; UNTIL includes all starts of its day."""
    assert len(names(hall("FREQ=DAILY;COUNT=2"), datetime(2026, 1, 1), datetime(2026, 3, 1))) == 24
    until = hall("FREQ=DAILY;UNTIL=20260106", start=time(22), until_time=time(2))
    assert names(until, datetime(2026, 1, 6, 12), datetime(2026, 3, 1)) == [
        "06 22:00", "06 23:00", "07 00:00", "07 01:00",
    ]  # fmt: skip


def test_exdates_and_rdates_are_single_starts() -> None:
    """A datetime excludes or adds one start, a date excludes the whole local day."""
    recurrence = hall(
        exdates=[datetime(2026, 1, 6, 12), date(2026, 1, 7)],
        rdates=[datetime(2026, 1, 6, 8), datetime(2026, 1, 7, 8)],
    )
    found = names(recurrence, datetime(2026, 1, 6), datetime(2026, 1, 8))
    assert "06 12:00" not in found
    assert found[0] == "06 08:00"
    assert len(found) == 12


def test_membership_first_and_last() -> None:
    """Starts of the grid belong to the series at any distance; the last one is the last of the last day."""
    recurrence = hall()
    assert recurrence.contains(datetime(2426, 1, 5, 21))
    assert not recurrence.contains(datetime(2426, 1, 5, 21, 30))
    assert not recurrence.contains(datetime(2426, 1, 5, 22))
    last = hall("FREQ=DAILY;COUNT=3").last()
    assert last is not None
    assert last.original_start == datetime(2026, 1, 7, 21)
    first = hall().first()
    assert first is not None
    assert first.starts_at == datetime(2026, 1, 5, 9, tzinfo=UTC)


def test_without_a_rule_there_is_one_day() -> None:
    """rrule=None with a grid is the grid of the day of DTSTART."""
    assert len(names(hall(None), datetime(2026, 1, 1), datetime(2027, 1, 1))) == 12


@given(
    st.integers(1, 36).map(lambda n: timedelta(minutes=20 * n)),
    st.integers(1, 36).map(lambda n: timedelta(minutes=20 * n)),
    st.integers(0, 71),
    st.integers(0, 71),
    st.integers(0, 2000),
)
@settings(max_examples=100)
def test_a_grid_equals_counting_by_hand(
    every: timedelta, duration: timedelta, start: int, end: int, distance: int
) -> None:
    """In any window the grid gives each start that a loop over the days gives."""
    first = datetime(2026, 1, 5) + timedelta(minutes=20 * start)
    until = (datetime(2026, 1, 5) + timedelta(minutes=20 * end)).time()
    length = timedelta(minutes=20 * ((end - start) % 72 or 72))
    fields: dict[str, Any] = {"duration": duration, "every": every, "until_time": until}
    if duration > length:
        with pytest.raises(InvalidRule, match="duration"):
            Recurrence("FREQ=DAILY;INTERVAL=2", first, "UTC", **fields)
        return
    recurrence = Recurrence("FREQ=DAILY;INTERVAL=2", first, "UTC", **fields)
    lower = datetime(2026, 1, 5) + timedelta(minutes=37 * distance)
    upper = lower + timedelta(days=3, hours=5)
    expected = []
    for day in range(0, 60, 2):
        moment = first + timedelta(days=day)
        while moment + duration <= first + timedelta(days=day) + length:
            expected.append(moment)
            moment += every
    found = list(recurrence.originals(lower, min(upper, datetime(2026, 3, 1))))
    assert found == [each for each in expected if lower <= each < min(upper, datetime(2026, 3, 1))]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"every": None}, "every"),
        ({"until_time": None}, "until_time"),
        ({"duration": None}, "duration"),
        ({"every": timedelta(seconds=59)}, "every"),
        ({"duration": timedelta(0)}, "duration"),
        ({"duration": timedelta(hours=13)}, "duration"),
        ({"every": 60}, "every"),
        ({"until_time": "22:00"}, "until_time"),
        ({"until_time": time(22, tzinfo=UTC)}, "until_time"),
        ({"rrule": "FREQ=HOURLY"}, "FREQ"),
        ({"rrule": "FREQ=DAILY;BYHOUR=9"}, "BYHOUR"),
        ({"rrule": "FREQ=DAILY;BYMINUTE=9"}, "BYMINUTE"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(changes: dict[str, Any], part: str) -> None:
    """Missing, wrong and contradicting parameters are refused by name."""
    with pytest.raises(InvalidRule) as refusal:
        hall(**changes)
    assert refusal.value.part == part  # type: ignore[attr-defined]
    assert part in str(refusal.value)
