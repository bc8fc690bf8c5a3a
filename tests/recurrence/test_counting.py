"""COUNT costs the same whatever it says: whole cycles of the calendar are jumped, and nothing is walked to."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_rollingslots.recurrence import Recurrence
from flask_rollingslots.recurrence.expand import DaySource
from flask_rollingslots.recurrence.recurrence_set import Tally

from . import strategies

LAST = datetime(9999, 12, 31, 23, 59, 59)
ALL_HOURS, ALL_MINUTES = (",".join(map(str, range(n))) for n in (24, 60))
#: What took a minute and more, and relatives of it.
COSTLY = [
    "FREQ=MONTHLY;BYMONTHDAY=31",
    "FREQ=DAILY;BYMONTHDAY=31",
    "FREQ=DAILY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11",
    "FREQ=HOURLY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11",
    "FREQ=HOURLY;INTERVAL=101;BYMONTH=1,2,3,4,5,6,7,8,9,10,11",
    "FREQ=HOURLY;INTERVAL=7;BYHOUR=3",
    "FREQ=DAILY;INTERVAL=31;BYMONTH=1,2,3",
    "FREQ=WEEKLY;INTERVAL=2;BYMONTH=1,2,3;BYDAY=MO,TU;BYSETPOS=1",
    "FREQ=YEARLY;BYDAY=MO,53TU",
    f"FREQ=YEARLY;BYMONTH=1,2;BYDAY=MO,TU,WE,TH;BYHOUR={ALL_HOURS};BYMINUTE={ALL_MINUTES}",
    "FREQ=YEARLY;BYWEEKNO=1,53;BYDAY=MO,SU",
]


@pytest.mark.parametrize("rrule", COSTLY)
@pytest.mark.parametrize("count", [60_000_000, 1_000_000_000])
def test_a_huge_count_looks_at_no_more_than_a_cycle(
    rrule: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of any COUNT is found with at most 400 months looked at and one size asked for each period of a cycle."""
    looked, sized = [], []
    within, size = DaySource.within, Tally._size

    def looking(self: DaySource, first: int, last: int) -> list[int]:
        looked.append(first)
        return within(self, first, last)

    def sizing(self: Tally, period: int) -> int:
        sized.append(period)
        return size(self, period)

    monkeypatch.setattr(DaySource, "within", looking)
    monkeypatch.setattr(Tally, "_size", sizing)
    recurrence = Recurrence(f"{rrule};COUNT={count}", datetime(2026, 1, 1, 9), "UTC")
    assert recurrence.bound_wall.year >= 2976
    assert len(looked) <= 400
    assert len(sized) <= 2 * 20_871
    looked.clear()
    list(recurrence.originals(datetime(2426, 3, 3), datetime(2426, 3, 10)))
    assert len(looked) <= 3


@given(
    rrule=strategies.rules() | strategies.difficult_rules(),
    dtstart=strategies.starts(1990, 2030),
    data=st.data(),
)
@example("FREQ=WEEKLY;INTERVAL=4;BYDAY=TU,SU,WE,SA;BYSETPOS=5,-5,-4", datetime(9997, 10, 5, 15), None)
@settings(max_examples=150)
def test_counting_says_what_walking_finds(rrule: str, dtstart: datetime, data: st.DataObject | None) -> None:
    """Each start has the number that walking gives it, and as many before it."""
    recurrence = Recurrence(rrule, dtstart, "UTC")
    walked = list(islice(recurrence.originals(dtstart, LAST), 300))
    for number in {1, len(walked), data.draw(st.integers(1, 300)) if data else 7} - {0}:
        if number <= len(walked):
            start = walked[number - 1]
            counted = Recurrence(f"{rrule};COUNT={number}", dtstart, "UTC")
            assert counted.bound_wall == start
            assert recurrence.count_before(start) == number - 1
            assert recurrence.count_before(start + timedelta(minutes=1)) >= number


def test_a_start_centuries_away_has_the_number_that_the_calendar_gives_it() -> None:
    """Across several cycles of 400 years counting stays exact: 31 January 2001, and every 31st up to 4001."""
    recurrence = Recurrence("FREQ=MONTHLY;BYMONTHDAY=31;COUNT=14000", datetime(2001, 1, 31), "UTC")
    assert recurrence.bound_wall == datetime(4000, 12, 31)
    assert recurrence.count_before(datetime(4000, 12, 31)) == 13_999
    assert list(recurrence.originals(datetime(4000, 12, 1), datetime(4002, 1, 1))) == [datetime(4000, 12, 31)]
