"""The periods that a rule steps through: years, week-years, months, weeks, days; all as whole numbers.

And sums of naive times that stay within the years 1 to 9999 instead of raising OverflowError.
Days are proleptic Gregorian ordinals, as :meth:`datetime.date.toordinal` gives them. No clock, no zone.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

from .rule import Rule

FIRST_DAY = 1
LAST_DAY = date.max.toordinal()
_fromordinal = date.fromordinal


class Periods(NamedTuple):
    """How one frequency divides the calendar.

    :param number: day -> number of the period that holds it.
    :param bounds: number of a period -> its first and last day; they may lie outside the years 1 to 9999.
    """

    number: Callable[[int], int]
    bounds: Callable[[int], tuple[int, int]]


def new_year(year: int) -> int:
    """Return the day number of 1 January; right for the years 0 and 10000 too."""
    before = year - 1
    return 365 * before + before // 4 - before // 100 + before // 400 + 1


def first_week(year: int, wkst: int) -> int:
    """Return the first day of week 1 of a week-year: the first week with four days of the year (RFC 5545 3.3.10)."""
    fourth = new_year(year) + 3
    return fourth - (fourth - 1 - wkst) % 7


def week_year(day: int, wkst: int) -> int:
    """Return the week-year of a day: 2029-12-31 belongs to week 1 of 2030."""
    year = _fromordinal(day).year
    if day < first_week(year, wkst):
        return year - 1
    return year + 1 if day >= first_week(year + 1, wkst) else year


def week_number(day: int, wkst: int) -> tuple[int, int]:
    """Return the number of a day's week, counted from the start and (negative) from the end of its week-year."""
    year = week_year(day, wkst)
    start, end = first_week(year, wkst), first_week(year + 1, wkst)
    number = (day - start) // 7
    return number + 1, number - (end - start) // 7


def month_index(day: int) -> int:
    """Return the number of a day's month: twelve times the year, plus the month from 0."""
    found = _fromordinal(day)
    return found.year * 12 + found.month - 1


def month_bounds(index: int) -> tuple[int, int]:
    """Return the first and last day of a month given by its number."""
    year, month = divmod(index, 12)
    if not 1 <= year <= 9999:
        edge = new_year(year)
        return edge, edge
    first = date(year, month + 1, 1).toordinal()
    return first, first + monthrange(year, month + 1)[1] - 1


def periods_of(rule: Rule) -> Periods:
    """Return the periods of a rule; with BYWEEKNO its years are week-years."""
    wkst = rule.wkst
    if rule.freq == "MONTHLY":
        return Periods(month_index, month_bounds)
    if rule.freq == "WEEKLY":
        return Periods(lambda d: (d - 1 - wkst) // 7, lambda p: (p * 7 + 1 + wkst, p * 7 + 7 + wkst))
    if rule.byweekno:
        return Periods(
            lambda d: week_year(d, wkst), lambda p: (first_week(p, wkst), first_week(p + 1, wkst) - 1)
        )
    if rule.freq == "YEARLY":
        return Periods(lambda d: _fromordinal(d).year, lambda p: (new_year(p), new_year(p + 1) - 1))
    return Periods(lambda d: d, lambda p: (p, p))


def month_pieces(first: int, last: int, months: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Cut a span of days at the ends of its months; only the wanted months (1 to 12) are given."""
    first, last = max(first, FIRST_DAY), min(last, LAST_DAY)
    if first > last:
        return
    for index in range(month_index(first), month_index(last) + 1):
        if index % 12 + 1 in months:
            start, end = month_bounds(index)
            yield max(start, first), min(end, last)


def plus(moment: datetime, length: timedelta) -> datetime:
    """Return ``moment + length``, at most ``datetime.max`` and at least ``datetime.min``."""
    try:
        return moment + length
    except OverflowError:
        return datetime.max if length > timedelta(0) else datetime.min


def minus(moment: datetime, length: timedelta) -> datetime:
    """Return ``moment - length``, clamped like :func:`plus`."""
    return plus(moment, -length)
