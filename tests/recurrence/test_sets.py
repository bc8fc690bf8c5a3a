"""RDATE, EXDATE, single starts, and the object itself."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime, timedelta

import pytest

from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.recurrence import Recurrence

JANUARY = datetime(2026, 1, 1), datetime(2026, 2, 1)


def days(recurrence: Recurrence) -> list[int]:
    """Return the days of January 2026."""
    return [each.day for each in recurrence.originals(*JANUARY)]


def test_exdate_beats_rdate_and_duplicates_count_once() -> None:
    """An excluded extra date is out; an extra date that the rule yields too is there once."""
    nine = datetime(2026, 1, 6, 9)
    recurrence = Recurrence(
        "FREQ=DAILY;COUNT=3", datetime(2026, 1, 5, 9), "UTC", [nine, nine, datetime(2026, 1, 20, 9)]
    )
    assert days(recurrence) == [5, 6, 7, 20]
    recurrence = Recurrence("FREQ=DAILY;COUNT=3", datetime(2026, 1, 5, 9), "UTC", [nine], [nine])
    assert days(recurrence) == [5, 7]


def test_count_counts_before_exclusions() -> None:
    """An excluded start has used up its place in COUNT."""
    recurrence = Recurrence("FREQ=DAILY;COUNT=5", datetime(2026, 1, 5, 9), "UTC", exdates=[date(2026, 1, 7)])
    assert days(recurrence) == [5, 6, 8, 9]


def test_dtstart_is_a_lower_bound_only() -> None:
    """A DTSTART that the rule does not yield is no occurrence and is not counted."""
    recurrence = Recurrence("FREQ=WEEKLY;BYDAY=TH;COUNT=2", datetime(2026, 1, 5, 9), "UTC")
    assert days(recurrence) == [8, 15]


def test_a_single_start_and_extra_dates() -> None:
    """rrule=None is one start, plus extra dates, also before it."""
    recurrence = Recurrence(
        None, datetime(2026, 1, 5, 9), "UTC", [date(2026, 1, 2), datetime(2026, 1, 9, 12)]
    )
    assert days(recurrence) == [2, 5, 9]
    assert not recurrence.is_forever
    first, last = recurrence.first(), recurrence.last()
    assert first is not None
    assert last is not None
    assert (first.original_start.day, last.original_start.day) == (2, 9)


def test_aware_dates_are_converted_to_the_wall_clock() -> None:
    """Extra and excluded dates with an offset name instants."""
    recurrence = Recurrence(
        "FREQ=DAILY;COUNT=3",
        datetime(2026, 1, 5, 9),
        "America/New_York",
        [datetime(2026, 1, 20, 14, tzinfo=UTC)],
        [datetime(2026, 1, 6, 14, tzinfo=UTC)],
    )
    assert list(recurrence.originals(*JANUARY)) == [datetime(2026, 1, day, 9) for day in (5, 7, 20)]


def test_everything_excluded_is_nothing() -> None:
    """A set without elements has no first, no last and no windows."""
    recurrence = Recurrence("FREQ=DAILY;COUNT=1", datetime(2026, 1, 5, 9), "UTC", exdates=[date(2026, 1, 5)])
    assert recurrence.first() is None
    assert recurrence.last() is None
    assert recurrence.after(datetime(2026, 1, 1, tzinfo=UTC), 5) == []


def test_endless_rules_have_no_last() -> None:
    """is_forever means neither COUNT nor UNTIL."""
    forever = Recurrence("FREQ=DAILY", datetime(2026, 1, 5, 9), "UTC")
    assert forever.is_forever
    assert forever.last() is None
    assert not Recurrence("FREQ=DAILY;UNTIL=20260201", datetime(2026, 1, 5, 9), "UTC").is_forever


def test_between_is_half_open_and_after_is_strict() -> None:
    """The start of a window belongs to it, its end does not; after() begins behind its moment."""
    recurrence = Recurrence("FREQ=DAILY", datetime(2026, 1, 5, 9), "UTC")
    nine = datetime(2026, 1, 6, 9, tzinfo=UTC)
    found = list(recurrence.between(nine, nine + timedelta(days=2)))
    assert [each.starts_at.day for each in found] == [6, 7]
    assert [each.starts_at.day for each in recurrence.after(nine, 2)] == [7, 8]
    assert list(recurrence.between(nine, nine)) == []
    assert recurrence.after(nine, 0) == []


def test_naive_moments_are_refused() -> None:
    """Windows are aware; a naive moment or a negative limit is refused by name."""
    recurrence = Recurrence("FREQ=DAILY", datetime(2026, 1, 5, 9), "UTC")
    aware, naive = datetime(2026, 1, 6, tzinfo=UTC), datetime(2026, 1, 6)
    with pytest.raises(InvalidRequest, match="start"):
        recurrence.between(naive, aware)
    with pytest.raises(InvalidRequest, match="end"):
        recurrence.between(aware, naive)
    with pytest.raises(InvalidRequest, match="moment"):
        recurrence.after(naive, 1)
    with pytest.raises(InvalidRequest, match="limit"):
        recurrence.after(aware, -1)


def test_aware_originals_are_refused() -> None:
    """Original starts are wall clock: an aware one is refused, not converted silently."""
    recurrence = Recurrence("FREQ=DAILY", datetime(2026, 1, 5, 9), "UTC")
    with pytest.raises(InvalidRequest, match="naive"):
        recurrence.contains(datetime(2026, 1, 5, 9, tzinfo=UTC))


@pytest.mark.parametrize(
    ("rrule", "exported"),
    [
        (None, None),
        ("RRULE:FREQ=DAILY", "FREQ=DAILY"),
        ("FREQ=DAILY;UNTIL=20260701", "FREQ=DAILY;UNTIL=20260701T215959Z"),
        ("FREQ=DAILY;UNTIL=20260701T090000", "FREQ=DAILY;UNTIL=20260701T070000Z"),
        ("FREQ=YEARLY;BYMONTHDAY=5", "FREQ=YEARLY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11,12;BYMONTHDAY=5"),
        ("FREQ=YEARLY;BYWEEKNO=10", "FREQ=YEARLY;BYWEEKNO=10;BYDAY=MO"),
    ],
)
def test_the_rule_for_other_programs(rrule: str | None, exported: str | None) -> None:
    """For a feed, UNTIL is in UTC and what programs read differently is written out; the set stays the same."""
    recurrence = Recurrence(rrule, datetime(2026, 1, 5, 9), "Europe/Madrid")
    assert recurrence.ical_rrule() == exported
    again = Recurrence(exported, datetime(2026, 1, 5, 9), "Europe/Madrid")
    window = datetime(2026, 1, 1), datetime(2031, 1, 1)
    assert list(again.originals(*window)) == list(recurrence.originals(*window))


def test_it_is_a_value() -> None:
    """Equal parameters are equal objects; they cannot be changed; copies and pickles work after use."""
    one = Recurrence("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO", datetime(2026, 1, 5, 9), "Europe/Madrid")
    two = Recurrence("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO", datetime(2026, 1, 5, 9), "Europe/Madrid")
    assert one == two
    assert hash(one) == hash(two)
    first = one.first()
    with pytest.raises(AttributeError):
        one.rrule = "FREQ=DAILY"  # type: ignore[misc]
    for again in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):  # noqa: S301 (our own)
        assert again == one
        assert again.first() == first
