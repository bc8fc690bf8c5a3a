"""How long a week of occurrences takes to expand, near DTSTART and centuries later, beside plain python-dateutil.

Run ``python -m benchmarks.expansion [--json]``. Medians in microseconds; the object is built once, "cold" builds it
and asks once, with nothing known of its months.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time as clock
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any

from dateutil.rrule import rrulestr

from flask_rollingslots.recurrence import Recurrence
from flask_rollingslots.recurrence.days import shared_source

DTSTART = datetime(2000, 1, 1, 9)  # noqa: DTZ001 (wall clock)
ZONE = "Europe/Berlin"
WEEK = timedelta(days=7)
DISTANCES = (0, 1, 10, 40, 400)
GRID: dict[str, Any] = {
    "duration": timedelta(minutes=15),
    "every": timedelta(minutes=15),
    "until_time": time(21),
}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("daily", "FREQ=DAILY", {}),
    ("daily, every 3", "FREQ=DAILY;INTERVAL=3", {}),
    ("daily, a million", "FREQ=DAILY;COUNT=1000000", {}),
    ("weekly, 3 days", "FREQ=WEEKLY;BYDAY=MO,WE,FR", {}),
    ("weekly, every 2", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", {}),
    ("monthly, second Tuesday", "FREQ=MONTHLY;BYDAY=2TU", {}),
    ("monthly, last workday", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", {}),
    ("monthly, day 31", "FREQ=MONTHLY;BYMONTHDAY=31", {}),
    ("monthly, counted", "FREQ=MONTHLY;BYDAY=2TU;COUNT=6000", {}),
    ("yearly, 29 February", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", {}),
    ("yearly, week 10", "FREQ=YEARLY;BYWEEKNO=10;BYDAY=MO", {}),
    ("yearly, first Monday", "FREQ=YEARLY;BYDAY=MO;BYSETPOS=1", {}),
    ("hourly", "FREQ=HOURLY", {}),
    ("daily, each 15 minutes", "FREQ=DAILY", GRID),
]


def microseconds(job: Callable[[], object], rounds: int) -> float:
    """Return the median time of a call."""
    taken = []
    for _ in range(rounds):
        start = clock.perf_counter_ns()
        job()
        taken.append(clock.perf_counter_ns() - start)
    return statistics.median(taken) / 1000


def window(years: int) -> tuple[datetime, datetime]:
    """Return a week of March, so many years after DTSTART."""
    start = datetime(2000 + years, 3, 3, tzinfo=UTC)
    return start, start + WEEK


def measure(rrule: str, options: dict[str, Any], rounds: int) -> dict[str, float]:
    """Return the times of one rule by distance, cold, and of python-dateutil near and 10 years on."""
    recurrence = Recurrence(rrule, DTSTART, ZONE, **options)

    def warm(years: int) -> float:
        bounds = window(years)
        return microseconds(lambda: list(recurrence.between(*bounds)), rounds)

    def cold() -> object:
        shared_source.cache_clear()
        return list(Recurrence(rrule, DTSTART, ZONE, **options).between(*window(400)))

    found = {f"+{years} y": warm(years) for years in DISTANCES}
    found["cold +400 y"] = microseconds(cold, rounds)
    if not options:
        plain = rrulestr(rrule, dtstart=DTSTART)
        for years in (0, 10):
            start, end = (moment.replace(tzinfo=None) for moment in window(years))
            found[f"dateutil +{years} y"] = microseconds(partial(plain.between, start, end, inc=True), 5)
    return found


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=200, help="calls a figure (default: 200)")
    options = parser.parse_args()
    results = {name: measure(rrule, extra, options.rounds) for name, rrule, extra in CASES}
    if options.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
        return
    columns = list(results["daily"])
    sys.stdout.write(f"{'µs a week':26}" + "".join(f"{column:>15}" for column in columns) + "\n")
    for name, found in results.items():
        cells = "".join(f"{found[column]:15.1f}" if column in found else f"{'':15}" for column in columns)
        sys.stdout.write(f"{name:26}{cells}\n")


if __name__ == "__main__":
    main()
