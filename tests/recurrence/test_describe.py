"""What people read."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from flask_rollingslots.recurrence import Recurrence

FRIDAY = datetime(2026, 1, 2, 22)
HOUR = timedelta(hours=1)


def say(rrule: str | None, **changes: Any) -> str:
    """Describe a rule that starts on Friday 2 January 2026, 22:00."""
    return Recurrence(rrule, changes.pop("dtstart", FRIDAY), "Europe/Madrid", **changes).describe(times=True)


@pytest.mark.parametrize(
    ("rrule", "sentence"),
    [
        (None, "once, on Friday 2 January 2026 at 22:00"),
        ("FREQ=DAILY", "every day at 22:00"),
        ("FREQ=DAILY;INTERVAL=3", "every 3 days at 22:00"),
        ("FREQ=DAILY;COUNT=10", "every day at 22:00, 10 times"),
        ("FREQ=DAILY;COUNT=1", "every day at 22:00, once"),
        ("FREQ=DAILY;UNTIL=20260301", "every day at 22:00, until 1 March 2026"),
        ("FREQ=DAILY;UNTIL=20260301T210000Z", "every day at 22:00, until 1 March 2026 22:00"),
        ("FREQ=DAILY;BYHOUR=9,12", "every day at 09:00 and 12:00"),
        ("FREQ=DAILY;BYMONTH=6,7", "every day in June and July at 22:00"),
        ("FREQ=DAILY;BYDAY=MO,TU", "every week on Monday and Tuesday at 22:00"),
        ("FREQ=WEEKLY", "every week on Friday at 22:00"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", "every 2 weeks on Friday at 22:00"),
        ("FREQ=WEEKLY;BYDAY=MO,WE,FR", "every week on Monday, Wednesday and Friday at 22:00"),
        ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR,SA,SU", "every day at 22:00"),
        ("FREQ=MONTHLY", "every month on the 2nd at 22:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "every month on the last day at 22:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,15", "every month on the 1st and the 15th at 22:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=31", "every month on the 31st (where the month has that day) at 22:00"),
        ("FREQ=MONTHLY;BYDAY=2TU", "every month on the second Tuesday at 22:00"),
        ("FREQ=MONTHLY;INTERVAL=3;BYDAY=-1FR", "every 3 months on the last Friday at 22:00"),
        ("FREQ=MONTHLY;BYDAY=1SU,-1SU", "every month on the first Sunday and the last Sunday at 22:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,2,3,4,5,6,7;BYDAY=SA", "every month on the first Saturday at 22:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=15,16,17,18,19,20,21;BYDAY=SA", "every month on the third Saturday at 22:00"),
        (
            "FREQ=MONTHLY;BYMONTHDAY=3,4,5,6,7,8,9;BYDAY=SA",
            "every month on the first Saturday on or after the 3rd at 22:00",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=25,26,27,28,29,30,31;BYDAY=SA",
            "every month on the first Saturday on or after the 25th (where the month has one) at 22:00",
        ),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "every month on the last day from Monday to Friday at 22:00"),
        ("FREQ=YEARLY", "every year on 2 January at 22:00"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "every year on 29 February (leap years only) at 22:00"),
        ("FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", "every year on the fourth Thursday of November at 22:00"),
        ("FREQ=HOURLY", "every hour on the hour"),
        ("FREQ=HOURLY;INTERVAL=8", "every day at 06:00, 14:00 and 22:00"),
        ("FREQ=HOURLY;INTERVAL=5", "every 5 hours, from 2 January 2026 22:00 on"),
    ],
)  # fmt: skip
def test_sentences(rrule: str | None, sentence: str) -> None:
    """Each of these rules has an exact sentence."""
    assert say(rrule) == sentence


@pytest.mark.parametrize(
    "rrule",
    [
        "FREQ=MONTHLY;BYDAY=3MO,WE",
        "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
        "FREQ=YEARLY;BYYEARDAY=100",
        "FREQ=YEARLY;BYMONTHDAY=13",
        "FREQ=DAILY;INTERVAL=2;BYMONTH=6",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        "FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=2",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU;WKST=SU",
        "FREQ=HOURLY;BYDAY=MO",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    ],
)
def test_what_has_no_exact_sentence_is_the_rrule(rrule: str) -> None:
    """Rather the rule's own text than half a truth."""
    assert say(rrule) == rrule


def test_shown_times() -> None:
    """A shift moves times and weekdays; where a sentence would be inexact, the rule's text says how far."""
    assert say("FREQ=WEEKLY;BYDAY=FR", shift=3 * HOUR) == "every week on Saturday at 01:00"
    assert say("FREQ=DAILY", shift=-HOUR) == "every day at 21:00"
    assert say("FREQ=DAILY;UNTIL=20260301", shift=3 * HOUR) == "every day at 01:00, until 2 March 2026"
    assert say("FREQ=MONTHLY", shift=3 * HOUR) == "FREQ=MONTHLY, shown 3 hours later"
    assert say("FREQ=DAILY;BYHOUR=1,23", shift=-2 * HOUR) == "FREQ=DAILY;BYHOUR=1,23, shown 2 hours earlier"
    assert say(None, shift=3 * HOUR) == "once, on Saturday 3 January 2026 at 01:00"


def test_the_day_grid() -> None:
    """The grid is said with step, first and last time; lengths only where they differ; COUNT as days."""
    grid: dict[str, Any] = {
        "dtstart": datetime(2026, 1, 2, 10),
        "duration": HOUR,
        "every": HOUR,
        "until_time": time(22),
    }
    assert say("FREQ=DAILY", **grid) == "every day, every hour from 10:00 to 22:00"
    assert say("FREQ=DAILY;COUNT=3", **grid) == "every day, every hour from 10:00 to 22:00, on 3 days"
    assert say("FREQ=DAILY", **grid, shift=HOUR / 2) == "every day, every hour from 10:30 to 22:30"
    quarter = grid | {"every": HOUR / 4, "duration": 2 * HOUR}
    assert say("FREQ=WEEKLY;BYDAY=SA", **quarter) == (
        "every week on Saturday, every 15 minutes from 10:00 to 22:00, 2 hours each"
    )
    assert say("FREQ=YEARLY;BYYEARDAY=1", **grid) == "FREQ=YEARLY;BYYEARDAY=1, every hour from 10:00 to 22:00"


def test_changes_are_mentioned() -> None:
    """Extra and excluded dates are counted."""
    assert say("FREQ=DAILY", exdates=[date(2026, 1, 5)]) == "every day at 22:00, except 1 date"
    extra = [datetime(2026, 1, 5, 9), datetime(2026, 1, 6, 9)]
    assert say("FREQ=DAILY", rdates=extra) == "every day at 22:00, plus 2 extra dates"


@pytest.mark.parametrize(
    ("rrule", "changes", "sentence"),
    [
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", {}, "every 2 weeks on Friday"),
        ("FREQ=DAILY;COUNT=5", {}, "every day, 5 times"),
        ("FREQ=DAILY;BYHOUR=9,17", {}, "every day at 09:00 and 17:00"),
        ("FREQ=WEEKLY;BYDAY=FR", {"shift": timedelta(hours=1)}, "every week on Friday at 23:00"),
    ],
)
def test_the_time_of_day_is_left_out_where_it_is_dtstart_s(
    rrule: str, changes: dict[str, Any], sentence: str
) -> None:
    """By default the sentence names times only where the rule, a grid or a shift says something about them."""
    assert Recurrence(rrule, FRIDAY.replace(minute=0), "Europe/Madrid", **changes).describe() == sentence
