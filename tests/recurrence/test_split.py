"""Cutting a series in two for export."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rollingslots.recurrence import Recurrence

from .strategies import difficult_rules, lengths, rules, starts

FOREVER = datetime(1, 1, 1), datetime(2031, 1, 1)


def halves(recurrence: Recurrence, cut: datetime) -> tuple[list[datetime], list[datetime]]:
    """Return the starts of both sides up to 2031."""
    before, after = recurrence.split(cut)
    return (
        [] if before is None else list(before.originals(*FOREVER)),
        [] if after is None else list(after.originals(*FOREVER)),
    )


def check(recurrence: Recurrence, cut: datetime) -> None:
    """Check that both sides together are the whole, cut in the right place."""
    whole = list(recurrence.originals(*FOREVER))
    assert halves(recurrence, cut) == ([x for x in whole if x < cut], [x for x in whole if x >= cut])


def test_count_is_divided() -> None:
    """COUNT=6 cut at the third start is 2 and 4, excluded starts counted."""
    recurrence = Recurrence(
        "FREQ=WEEKLY;COUNT=6", datetime(2026, 1, 5, 9), "UTC", exdates=[date(2026, 1, 12)]
    )
    before, after = recurrence.split(datetime(2026, 1, 19, 9))
    assert before is not None
    assert after is not None
    assert (before.rrule, after.rrule) == ("FREQ=WEEKLY;COUNT=2", "FREQ=WEEKLY;COUNT=4")
    assert (before.exdates, after.exdates) == ((date(2026, 1, 12),), ())
    assert after.dtstart == datetime(2026, 1, 19, 9)


def test_an_endless_rule_gets_until_in_utc() -> None:
    """The first side ends with its last start, as an instant; the second stays endless and in step."""
    recurrence = Recurrence("FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", datetime(2026, 1, 2, 22), "Europe/Madrid")
    before, after = recurrence.split(datetime(2026, 1, 25))
    assert before is not None
    assert after is not None
    assert before.rrule == "FREQ=WEEKLY;INTERVAL=2;UNTIL=20260116T210000Z;BYDAY=FR"
    assert after.is_forever
    assert after.dtstart == datetime(2026, 1, 30, 22)


def test_a_side_without_starts_is_none() -> None:
    """A cut at the first start leaves nothing before it, one behind the last nothing after."""
    recurrence = Recurrence("FREQ=DAILY;COUNT=3", datetime(2026, 1, 5, 9), "UTC")
    before, after = recurrence.split(datetime(2026, 1, 5, 9))
    assert before is None
    assert after is not None
    before, after = recurrence.split(datetime(2026, 2, 1))
    assert before is not None
    assert after is None


def test_a_cut_within_a_day_of_the_grid() -> None:
    """The torn day becomes single dates on both sides; both grids go on for whole days."""
    grid: dict[str, Any] = {
        "duration": timedelta(hours=1),
        "every": timedelta(hours=1),
        "until_time": time(22),
        "shift": timedelta(minutes=15),
    }
    recurrence = Recurrence("FREQ=DAILY;COUNT=5", datetime(2026, 1, 5, 10), "Europe/Madrid", **grid)
    for cut in (
        datetime(2026, 1, 7, 15),
        datetime(2026, 1, 5, 15),
        datetime(2026, 1, 9, 21),
        datetime(2026, 1, 7, 10),
    ):
        check(recurrence, cut)
    before, after = recurrence.split(datetime(2026, 1, 7, 15))
    assert before is not None
    assert after is not None
    assert (before.rrule, len(before.rdates)) == ("FREQ=DAILY;COUNT=2", 5)
    assert (after.rrule, len(after.rdates)) == ("FREQ=DAILY;COUNT=2", 7)
    assert after.shift == before.shift == timedelta(minutes=15)


def test_until_around_a_gap_lets_nothing_in() -> None:
    """Where instants are not in the order of names, a cut after a start in the gap is exact all the same."""
    recurrence = Recurrence("FREQ=HOURLY", datetime(2026, 3, 7, 0, 30), "America/New_York")
    window = datetime(2026, 3, 7), datetime(2026, 3, 10)
    whole = list(recurrence.originals(*window))
    for cut in whole[1:]:
        before, after = recurrence.split(cut)
        assert before is not None
        assert after is not None
        assert [*before.originals(*window), *after.originals(*window)] == whole
        assert not list(before.originals(cut, datetime(2027, 1, 1)))


@given(
    st.one_of(rules("YEARLY MONTHLY WEEKLY DAILY"), difficult_rules()),
    starts(2024, 2026),
    lengths(1200),
    st.sampled_from(["", ";COUNT=9", ";COUNT=40", ";UNTIL=20270101", ";UNTIL=20280630T120000Z"]),
    st.booleans(),
)
@settings(max_examples=120)
def test_both_sides_are_the_whole(
    rrule: str, dtstart: datetime, distance: timedelta, end: str, on_a_start: bool
) -> None:
    """For any rule, end, extra and excluded dates, both sides together are the series."""
    extra = [dtstart + distance / 2, dtstart + distance * 2]
    recurrence = Recurrence(
        rrule + end, dtstart, "Europe/Madrid", extra, [dtstart, (dtstart + distance).date(), *extra[:1]]
    )
    cut = dtstart + distance
    if on_a_start:
        cut = next(recurrence.originals(cut, datetime(2031, 1, 1)), cut)
    check(recurrence, cut)
