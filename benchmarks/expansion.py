"""How long a week of occurrences takes to expand, near DTSTART and centuries later, beside other engines.

Objects are made once, as an app keeps them; what is measured is the question for one window. Ours also answers with
instants in UTC, through the changes of summer time; the others with naive times.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from functools import partial
from time import process_time
from typing import Any
from zoneinfo import ZoneInfo

from flask_rollingslots.recurrence import Recurrence

from . import rivals
from .frame import Bench, Row, Side, Skip, at_most, benchmark

DTSTART = datetime(2000, 1, 1, 9)  # noqa: DTZ001 (wall clock)
ZONE = ZoneInfo("Europe/Berlin")
WEEK = timedelta(days=7)
DISTANCES = (0, 1, 10, 40, 400)
#: Where the engines that take long are asked.
SOME = (0, 10, 400)
#: Beside DTSTART, where python-dateutil is at its best; farther away it is slower by the distance.
NO_SLOWER = at_most(1.1)
CALLS = 100

CASES: list[tuple[str, str]] = [
    ("daily", "FREQ=DAILY"),
    ("weekly, 3 days", "FREQ=WEEKLY;BYDAY=MO,WE,FR"),
    ("second Tuesday", "FREQ=MONTHLY;BYDAY=2TU"),
    ("daily, a million", "FREQ=DAILY;COUNT=1000000"),
    ("daily, every 3", "FREQ=DAILY;INTERVAL=3"),
    ("every 2 weeks", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU"),
    ("last workday", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
    ("day 31", "FREQ=MONTHLY;BYMONTHDAY=31"),
    ("second Tuesday, counted", "FREQ=MONTHLY;BYDAY=2TU;COUNT=6000"),
    ("29 February", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29"),
    ("week 10", "FREQ=YEARLY;BYWEEKNO=10;BYDAY=MO"),
    ("first Monday of the year", "FREQ=YEARLY;BYDAY=MO;BYSETPOS=1"),
]
#: Three kinds of rules at all distances; with the engines that take long at some.
EVERYWHERE = CASES[:3]
QUARTERS = ";BYHOUR=9,10,11,12,13,14,15,16,17,18,19,20;BYMINUTE=0,15,30,45"
GRID: dict[str, Any] = {
    "duration": timedelta(minutes=15),
    "every": timedelta(minutes=15),
    "until_time": time(21),
}


def window(years: int) -> tuple[datetime, datetime]:
    """Return a week of March, so many years after DTSTART, naive."""
    start = datetime(2000 + years, 3, 3)  # noqa: DTZ001 (wall clock)
    return start, start + WEEK


def ours(rrule: str, years: int, starts: int = 1, **options: Any) -> Side:
    """Return our side.

    :param starts: how many starts the window holds, for figures of one start each.
    """
    recurrence = Recurrence(rrule, DTSTART, "Europe/Berlin", **options)
    start, end = (moment.replace(tzinfo=ZONE) for moment in window(years))

    def run() -> list[datetime]:
        for _ in range(CALLS - 1):
            list(recurrence.between(start, end))
        return [found.original_start for found in recurrence.between(start, end)]

    return Side("Recurrence.between", run, calls=CALLS * starts, clock=process_time)


def another(name: str, expand: rivals.Expand, years: int, calls: int = 1, starts: int = 1) -> Side:
    """Return the side of another engine."""
    start, end = window(years)

    def run() -> list[datetime]:
        for _ in range(calls - 1):
            expand(start, end)
        return expand(start, end)

    return Side(name, run, calls=calls * starts, clock=process_time)


@benchmark("expansion")
def expansion(bench: Bench) -> Iterator[Row]:
    """Expanding a week of a rule, 0 to 400 years after DTSTART, beside python-dateutil and two others."""
    yield from with_dateutil(bench)
    yield from dense(bench)
    for rival in (with_ical, with_javascript):
        try:
            yield from rival(bench)
        except Skip as reason:
            bench.skip(rival.__name__.replace("_", " "), reason)


def with_dateutil(bench: Bench) -> Iterator[Row]:
    """Compare all kinds of rules with python-dateutil; those of all distances and the rest near and far."""
    for name, rrule in CASES:
        expand = rivals.dateutil(rrule, DTSTART)
        for years in DISTANCES if (name, rrule) in EVERYWHERE else (0, 400):
            other = another("python-dateutil", expand, years, calls=50 if years == 0 else 1)
            yield bench.compare(f"{name}, +{years} y", ours(rrule, years), other, NO_SLOWER)


def dense(bench: Bench) -> Iterator[Row]:
    """Compare many starts a day, by start; python-dateutil gets a DTSTART beside the window, or it would walk."""
    cases: list[tuple[str, str, str, dict[str, Any]]] = [
        ("hourly", "FREQ=HOURLY", "FREQ=HOURLY", {}),
        ("day grid of 15 minutes", "FREQ=DAILY", "FREQ=DAILY" + QUARTERS, GRID),
    ]
    for name, rrule, plain, options in cases:
        for years in (0, 400):
            start, end = window(years)
            expand = rivals.dateutil(plain, start - WEEK)
            count = len(expand(start, end))
            other = another("python-dateutil, DTSTART a week before", expand, years, 10, count)
            mine = ours(rrule, years, count, **options)
            yield bench.compare(f"{name}, each of {count} starts, +{years} y", mine, other)


def with_ical(bench: Bench) -> Iterator[Row]:
    """Compare three kinds of rules with recurring-ical-events."""
    for name, rrule in EVERYWHERE:
        expand = rivals.recurring_ical_events(rrule, DTSTART)
        for years in SOME:
            other = another("recurring-ical-events", expand, years, calls=5 if years == 0 else 1)
            yield bench.compare(f"{name}, +{years} y", ours(rrule, years), other)


def with_javascript(bench: Bench) -> Iterator[Row]:
    """Compare three kinds of rules with rrule.js."""
    engine = rivals.RRuleJs(bench)
    for name, rrule in EVERYWHERE:
        for years in SOME:
            calls = 50 if years == 0 else 1
            run = partial(engine, rrule, DTSTART, *window(years), calls)
            other = Side(f"rrule.js {rivals.RRULE_JS}", run, calls=calls)
            yield bench.compare(f"{name}, +{years} y", ours(rrule, years), other)
