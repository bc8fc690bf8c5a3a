"""Which days a rule's BY parts allow: python-dateutil finds them, one kind of month at a time.

Only day filters live here, without the phase of INTERVAL and without BYSETPOS. What python-dateutil gets wrong is
kept from it: numbers on weekdays (it joins ``3MO,WE`` with "and") and week numbers (it counts them by calendar
year) are checked here.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

from dateutil.rrule import MONTHLY, rrule

from .periods import month_bounds, month_pieces, new_year, week_number
from .rule import Rule

_ALL_MONTHS = frozenset(range(1, 13))
_LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_OUT_OF_SIGHT = 12 * 10_000
_fromordinal = datetime.fromordinal


def fill_in(rule: Rule, dtstart: datetime) -> Rule:
    """Return the rule with the day parts that DTSTART implies written out (RFC 5545 section 3.3.10).

    Without any day part, a yearly rule takes month and day of DTSTART, a monthly one the day, a weekly one the
    weekday. BYWEEKNO without BYDAY takes the weekday of DTSTART, as four of five other engines do.
    """
    only_weekdays = rule.byday and not (rule.bymonth or rule.bymonthday or rule.bysetpos)
    if rule.freq == "DAILY" and rule.interval == 1 and only_weekdays:
        return replace(rule, freq="WEEKLY")  # the same days, and weeks are arithmetic
    if rule.byyearday or rule.bymonthday or rule.byday:
        return rule
    if rule.freq == "WEEKLY" or rule.byweekno:
        return replace(rule, byday=((0, dtstart.weekday()),))
    if rule.freq == "YEARLY":
        return replace(rule, bymonth=rule.bymonth or (dtstart.month,), bymonthday=(dtstart.day,))
    if rule.freq == "MONTHLY":
        return replace(rule, bymonthday=(dtstart.day,))
    return rule


class DaySource:
    """The days that the BY parts of a filled-in rule allow.

    :param rule: a rule that :func:`fill_in` has completed.
    """

    def __init__(self, rule: Rule) -> None:
        self.months = possible_months(rule)
        self._options: dict[str, Any] = {}
        if rule.byday:
            self._options["byweekday"] = rule.weekdays
        if rule.bymonthday:
            self._options["bymonthday"] = rule.bymonthday
        if rule.byyearday:
            self._options["byyearday"] = rule.byyearday
        self._checks = _own_checks(rule)
        # Months repeat: which of their days are allowed depends on the month, on the weekday that its year starts
        # with, and on leap years (those beside it matter to week numbers). So dateutil is asked for 336 at most.
        self._known: dict[tuple[int, int, bool, bool, bool], tuple[int, ...]] = {}

    @property
    def is_everything(self) -> bool:
        """Whether every day is allowed."""
        return not self._options and not self._checks and len(self.months) == 12

    def within(self, first: int, last: int) -> list[int]:
        """Return the allowed days of ``first`` to ``last``, which lie in one allowed month."""
        found = _fromordinal(first)
        year, month = found.year, found.month
        start = first - found.day + 1
        kind = (month, new_year(year) % 7, isleap(year - 1), isleap(year), isleap(year + 1))
        days = self._known.get(kind)
        if days is None:
            days = self._known[kind] = self._look_up(start, month_bounds(year * 12 + month - 1)[1])
        return [start + day for day in days if first <= start + day <= last]

    def pieces(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Cut a span of days into the pieces that :meth:`within` takes."""
        return month_pieces(first, last, self.months)

    def _look_up(self, first: int, last: int) -> tuple[int, ...]:
        """Return the allowed days of one whole month, counted from 0."""
        days = self._ask_dateutil(first, last) if self._options else list(range(first, last + 1))
        for check in self._checks:
            days = [day for day in days if check(day)]
        return tuple(day - first for day in days)

    def _ask_dateutil(self, first: int, last: int) -> list[int]:
        # dateutil looks at UNTIL only when it found something. The step to a month after the year 9999 ends its
        # search behind this one, which may hold nothing.
        found = rrule(
            MONTHLY,
            dtstart=_fromordinal(first),
            interval=_OUT_OF_SIGHT,
            until=_fromordinal(last),
            byhour=0,
            byminute=0,
            bysecond=0,
            **self._options,
        )
        return [moment.toordinal() for moment in found]


@lru_cache(maxsize=128)
def shared_source(rule: Rule) -> DaySource:
    """Return the one source of a rule that has day parts alone."""
    return DaySource(rule)


def source_of(rule: Rule) -> DaySource:
    """Return the days of a filled-in rule; rules with the same day parts share what is known of months."""
    return shared_source(
        replace(rule, interval=1, count=None, until=None, byhour=(), byminute=(), bysetpos=())
    )


def _own_checks(rule: Rule) -> list[Callable[[int], bool]]:
    checks: list[Callable[[int], bool]] = []
    if rule.is_numbered:
        in_month = rule.freq == "MONTHLY" or bool(rule.bymonth)
        position = _place_in_month if in_month else _place_in_year
        checks.append(_numbered_check(frozenset(rule.byday), position))
    if rule.byweekno:
        wanted, wkst = frozenset(rule.byweekno), rule.wkst
        checks.append(lambda day: not wanted.isdisjoint(week_number(day, wkst)))
    return checks


def _numbered_check(
    wanted: frozenset[tuple[int, int]], position: Callable[[int], tuple[int, int]]
) -> Callable[[int], bool]:
    def check(day: int) -> bool:
        weekday = (day - 1) % 7
        forward, backward = position(day)
        # Plain and numbered weekdays are a union.
        return not wanted.isdisjoint(((0, weekday), (forward, weekday), (backward, weekday)))

    return check


def _place_in_month(day: int) -> tuple[int, int]:
    found = date.fromordinal(day)
    length = monthrange(found.year, found.month)[1]
    return (found.day - 1) // 7 + 1, -((length - found.day) // 7 + 1)


def _place_in_year(day: int) -> tuple[int, int]:
    year = date.fromordinal(day).year
    return (day - new_year(year)) // 7 + 1, -((new_year(year + 1) - 1 - day) // 7 + 1)


def possible_months(rule: Rule) -> frozenset[int]:
    """Return the months (1 to 12) in which a filled-in rule may have days: all others need no look."""
    months = frozenset(rule.bymonth) or _ALL_MONTHS
    if rule.bymonthday:
        shortest = min(abs(day) for day in rule.bymonthday)
        months = frozenset(month for month in months if shortest <= _LONGEST[month])
    if rule.byyearday:
        months &= _months_of_year_days(rule.byyearday)
    if rule.byweekno:
        months &= _months_of_spans([_week_span(week) for week in rule.byweekno])
    in_month = rule.freq == "MONTHLY" or bool(rule.bymonth)
    if in_month and rule.byday and all(abs(n) > 5 for n, _ in rule.byday):
        return frozenset()
    if rule.freq == "YEARLY" and rule.byday and not rule.bymonth and all(n for n, _ in rule.byday):
        places = [n if n > 0 else n + 54 for n, _ in rule.byday]
        months &= _months_of_spans([(7 * n - 13, 7 * n) for n in places])
    return months


def _week_span(week: int) -> tuple[int, int]:
    """Return the year days that a week may lie on: week 1 starts between 29 December and 4 January."""
    if week > 0:
        return 7 * week - 9, 7 * week + 3
    return 7 * (week + 53) - 9, 7 * (week + 54) + 3  # years have 52 or 53 weeks


def _months_of_year_days(days: tuple[int, ...]) -> frozenset[int]:
    return _months_of_spans([(day, day) if day > 0 else (day + 366, day + 367) for day in days])


def _months_of_spans(spans: list[tuple[int, int]]) -> frozenset[int]:
    """Return the months that spans of year days may touch, in common and in leap years, neighbours included."""
    months: set[int] = set()
    for first, last in spans:
        for day in range(first - 1, last + 2):
            for start in (date(2023, 1, 1), date(2024, 1, 1)):
                months.add(date.fromordinal(start.toordinal() + day - 1).month)
    return frozenset(months)


def times_of_day(rule: Rule, dtstart: datetime) -> tuple[time, ...]:
    """Return the times of day of a daily or coarser rule; missing parts come from DTSTART (RFC 5545 3.3.10)."""
    hours = rule.byhour or (dtstart.hour,)
    minutes = rule.byminute or (dtstart.minute,)
    seconds = rule.bysecond or (dtstart.second,)
    return tuple(time(hour, minute, second) for hour in hours for minute in minutes for second in seconds)
