"""From a rule (BYDAY, BYSETPOS, …) and DTSTART to nominal starts, in any window, at the same cost at any distance.

The window's first period is found by arithmetic (with the phase of INTERVAL), never by walking there: DAILY, WEEKLY
and HOURLY rules without further filters are arithmetic altogether, the others ask python-dateutil for the days of
the months that the window touches. COUNT and UNTIL are not known here.

Days are proleptic Gregorian ordinals, as :meth:`datetime.date.toordinal` gives them; periods are whole numbers too.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import chain, count, starmap
from math import gcd
from typing import Any, TypeVar

from dateutil.rrule import MONTHLY, rrule

from .rule import Rule

BARREN = 4800
"""A search ends after this many months in a row that were looked at and held nothing (10 to 40 ms).

They are the 400 years of a full cycle of the calendar; months that cannot match are not looked at.
"""

FIRST_DAY, LAST_DAY = 1, date.max.toordinal()
_fromordinal, _midnight = date.fromordinal, datetime.fromordinal
_TICK = timedelta(microseconds=1)
_HOURS = tuple(timedelta(hours=hour) for hour in range(24))
_ALL_MONTHS = frozenset(range(1, 13))
_LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_OUT_OF_SIGHT = 12 * 10_000
T = TypeVar("T")


# -- periods: what a rule steps through


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


def periods_of(rule: Rule) -> tuple[Callable[[int], int], Callable[[int], tuple[int, int]]]:
    """Return how a rule divides the calendar: day -> number of its period, and number -> first and last day.

    Those may lie outside the years 1 to 9999. With BYWEEKNO the years are week-years.
    """
    wkst = rule.wkst
    if rule.freq == "MONTHLY":
        return month_index, month_bounds
    if rule.freq == "WEEKLY":
        return lambda d: (d - 1 - wkst) // 7, lambda p: (p * 7 + 1 + wkst, p * 7 + 7 + wkst)
    if rule.byweekno:
        return lambda d: week_year(d, wkst), lambda p: (first_week(p, wkst), first_week(p + 1, wkst) - 1)
    if rule.freq == "YEARLY":
        return lambda d: _fromordinal(d).year, lambda p: (new_year(p), new_year(p + 1) - 1)
    return lambda d: d, lambda p: (p, p)


# -- days: which of them the BY parts allow. python-dateutil finds them, one kind of month at a time.
#
# Only day filters, without the phase of INTERVAL and without BYSETPOS. What python-dateutil gets wrong is kept from
# it: numbers on weekdays (it joins "3MO,WE" with "and") and week numbers (it counts them by calendar year) are
# checked here.


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
    """The days that the BY parts of a rule allow, once :func:`fill_in` has completed it."""

    def __init__(self, rule: Rule) -> None:
        self.months = possible_months(rule)
        parts = {"byweekday": rule.weekdays, "bymonthday": rule.bymonthday, "byyearday": rule.byyearday}
        self._options: dict[str, Any] = {name: values for name, values in parts.items() if values}
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
        """Cut a span of days at the ends of its months, into the pieces that :meth:`within` takes."""
        first, last = max(first, FIRST_DAY), min(last, LAST_DAY)
        if first > last:
            return
        for index in range(month_index(first), month_index(last) + 1):
            if index % 12 + 1 in self.months:
                start, end = month_bounds(index)
                yield max(start, first), min(end, last)

    def _look_up(self, first: int, last: int) -> tuple[int, ...]:
        """Return the allowed days of one whole month, counted from 0."""
        days = self._ask_dateutil(first, last) if self._options else range(first, last + 1)
        return tuple(day - first for day in days if all(check(day) for check in self._checks))

    def _ask_dateutil(self, first: int, last: int) -> Iterable[int]:
        # dateutil looks at UNTIL only when it found something. The step to a month after the year 9999 ends its
        # search behind this one, which may hold nothing.
        options = {"byhour": 0, "byminute": 0, "bysecond": 0, **self._options}
        start, until = _midnight(first), _midnight(last)
        found = rrule(MONTHLY, dtstart=start, interval=_OUT_OF_SIGHT, until=until, **options)
        return [moment.toordinal() for moment in found]


#: The one source of a rule that has day parts alone.
shared_source = lru_cache(maxsize=128)(DaySource)


def source_of(rule: Rule) -> DaySource:
    """Return the days of a filled-in rule; rules with the same day parts share what is known of months."""
    days = replace(rule, interval=1, count=None, until=None, byhour=(), byminute=(), bysetpos=())
    return shared_source(days)


def _own_checks(rule: Rule) -> list[Callable[[int], bool]]:
    checks: list[Callable[[int], bool]] = []
    if rule.is_numbered:
        in_month = rule.freq == "MONTHLY" or bool(rule.bymonth)
        checks.append(_numbered_check(frozenset(rule.byday), _place_in_month if in_month else _place_in_year))
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
    found = _fromordinal(day)
    length = monthrange(found.year, found.month)[1]
    return (found.day - 1) // 7 + 1, -((length - found.day) // 7 + 1)


def _place_in_year(day: int) -> tuple[int, int]:
    year = _fromordinal(day).year
    return (day - new_year(year)) // 7 + 1, -((new_year(year + 1) - 1 - day) // 7 + 1)


def possible_months(rule: Rule) -> frozenset[int]:
    """Return the months (1 to 12) in which a filled-in rule may have days: all others need no look."""
    months = frozenset(rule.bymonth) or _ALL_MONTHS
    if rule.bymonthday:
        shortest = min(abs(day) for day in rule.bymonthday)
        months = frozenset(month for month in months if shortest <= _LONGEST[month])
    if rule.byyearday:
        spans = [(day, day) if day > 0 else (day + 366, day + 367) for day in rule.byyearday]
        months &= _months_of_spans(spans)
    if rule.byweekno:
        weeks = [(n, n) if n > 0 else (n + 53, n + 54) for n in rule.byweekno]  # years have 52 or 53
        # Week 1 starts between 29 December and 4 January.
        months &= _months_of_spans([(7 * first - 9, 7 * last + 3) for first, last in weeks])
    in_month = rule.freq == "MONTHLY" or bool(rule.bymonth)
    if in_month and rule.byday and all(abs(n) > 5 for n, _ in rule.byday):
        return frozenset()
    if rule.freq == "YEARLY" and rule.byday and not rule.bymonth and all(n for n, _ in rule.byday):
        places = [n if n > 0 else n + 54 for n, _ in rule.byday]
        months &= _months_of_spans([(7 * n - 13, 7 * n) for n in places])
    return months


def _months_of_spans(spans: list[tuple[int, int]]) -> frozenset[int]:
    """Return the months that spans of year days may touch, in common and in leap years, neighbours included."""
    numbers = {number for first, last in spans for number in range(first - 1, last + 2)}
    return frozenset(_fromordinal(new_year(year) + n - 1).month for n in numbers for year in (2023, 2024))


def times_of_day(rule: Rule, dtstart: datetime) -> tuple[time, ...]:
    """Return the times of day of a daily or coarser rule; missing parts come from DTSTART (RFC 5545 3.3.10)."""
    hours = rule.byhour or (dtstart.hour,)
    minutes = rule.byminute or (dtstart.minute,)
    seconds = rule.bysecond or (dtstart.second,)
    return tuple(time(hour, minute, second) for hour in hours for minute in minutes for second in seconds)


# -- starts


def choose(found: Sequence[T], places: tuple[int, ...]) -> Sequence[T]:
    """Apply BYSETPOS to a sorted set: 1 is its first element, -1 its last; no places mean all (RFC 5545 3.3.10)."""
    if not places:
        return found
    size = len(found)
    wanted = {place - 1 if place > 0 else size + place for place in places if abs(place) <= size}
    return [found[place] for place in sorted(wanted)]


class Expander:
    """The nominal starts of a rule, COUNT and UNTIL aside.

    :param rule: as parsed.
    :param dtstart: naive wall clock; the lower bound and the anchor of INTERVAL's phase.
    """

    def __init__(self, rule: Rule, dtstart: datetime) -> None:
        self.dtstart = dtstart
        self.rule = rule = fill_in(rule, dtstart)
        self.number_of, self.bounds_of = periods_of(rule)
        self.interval = rule.interval
        self.source = source_of(rule)
        self.is_hourly = rule.freq == "HOURLY"
        self.anchor = self.period_of(dtstart)
        self.picks = rule.bysetpos if rule.freq in ("YEARLY", "MONTHLY", "WEEKLY") else ()
        self.offsets = self._clock_offsets()
        #: All starts of a day of an HOURLY rule, as distances from midnight, if every day is the same.
        self.hours_of_day = self._daily_hours()
        self._week = self._week_pattern()
        self.never = self._can_never_match()

    def starts(self, lower: datetime, upper: datetime) -> Iterator[datetime]:
        """Yield the starts of ``[lower, upper)``, sorted; all naive wall clock."""
        lower = max(lower, self.dtstart)
        if self.never or lower >= upper:
            return
        for moment in self._moments(lower, upper):
            if moment >= upper:
                return
            if moment >= lower:
                yield moment

    def period(self, number: int) -> list[datetime]:
        """Return the whole set of one period (of an HOURLY rule: one hour), also before DTSTART, sorted."""
        if self.is_hourly:
            return list(self._hours(number, number))
        first, last = self.bounds_of(number)
        if last < FIRST_DAY or first > LAST_DAY:
            return []
        if self._week:
            return list(self._weeks(first, first))
        return self._picked(first, last)

    def period_of(self, moment: datetime) -> int:
        """Return the number of the period that holds a naive moment, as :meth:`period` takes it."""
        day = moment.toordinal()
        return day * 24 + moment.hour if self.is_hourly else self.number_of(day)

    # -- kinds of rules

    def _moments(self, lower: datetime, upper: datetime) -> Iterator[datetime]:
        first, last = lower.toordinal(), (upper - _TICK).toordinal()
        if self.is_hourly:
            return self._hourly(lower, first, last)
        if self._week:
            return self._weeks(first, last)
        if self.picks:
            return self._all_picked(first, last)
        if _midnight(last) + self.offsets[0] >= upper:
            last -= 1
        return self._at_times(self._days(first, last))

    def _at_times(self, days: Iterable[int]) -> Iterator[datetime]:
        if len(self.offsets) == 1:
            offset = self.offsets[0]
            return (_midnight(day) + offset for day in days)
        return (midnight + offset for midnight in map(_midnight, days) for offset in self.offsets)

    def _days(self, first: int, last: int) -> Iterator[int]:
        """Yield the days of an unpicked rule, with the phase of INTERVAL, sorted."""
        if self.rule.freq == "DAILY" and self.source.is_everything:
            return iter(range(first + (self.anchor - first) % self.interval, last + 1, self.interval))
        return self._looked_up(first, last)

    def _looked_up(self, first: int, last: int) -> Iterator[int]:
        pieces = self.source.pieces(first, last)
        if self.interval > 1 and self.rule.freq not in ("WEEKLY", "DAILY"):
            spans = ((max(start, first), min(end, last)) for start, end in self._spans(first, last))
            pieces = chain.from_iterable(starmap(self.source.pieces, spans))
        barren = 0
        for start, end in pieces:
            days = self._in_phase(self.source.within(start, end))
            yield from days
            barren = 0 if days else barren + 1
            if barren >= BARREN:
                return

    def _in_phase(self, days: list[int]) -> list[int]:
        if self.interval == 1 or self.rule.freq not in ("WEEKLY", "DAILY"):
            return days
        number, anchor, interval = self.number_of, self.anchor, self.interval
        return [day for day in days if (number(day) - anchor) % interval == 0]

    def _spans(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield first and last day of the periods in phase that touch the days ``first`` to ``last``."""
        number = self.number_of(first)
        for each in count(number + (self.anchor - number) % self.interval, self.interval):
            start, end = self.bounds_of(each)
            if start > last:
                return
            yield start, end

    # -- WEEKLY by arithmetic

    def _week_pattern(self) -> tuple[tuple[int, timedelta], ...]:
        """Return all starts of a week as days and times from its first day, if every week in phase is the same."""
        rule = self.rule
        if rule.freq != "WEEKLY" or rule.bymonth:
            return ()
        days = sorted((day - rule.wkst) % 7 for day in rule.weekdays)
        return tuple(choose([(day, offset) for day in days for offset in self.offsets], rule.bysetpos))

    def _weeks(self, first: int, last: int) -> Iterator[datetime]:
        for start, _ in self._spans(first, last):
            for days, offset in self._week:
                # The first week of the year 1 and the last one of 9999 may be cut.
                if FIRST_DAY <= start + days <= LAST_DAY:
                    yield _midnight(start + days) + offset

    # -- HOURLY

    def _hourly(self, lower: datetime, first: int, last: int) -> Iterator[datetime]:
        if self.source.is_everything:
            yield from self._hours(first * 24 + lower.hour, last * 24 + 23)
            return
        barren = 0
        for piece in self.source.pieces(first, last):
            barren += 1
            for day in self.source.within(*piece):
                for moment in self._hours(day * 24, day * 24 + 23):
                    barren = 0
                    yield moment
            if barren >= BARREN:
                return

    def _hours(self, first: int, last: int) -> Iterator[datetime]:
        hours = range(first + (self.anchor - first) % self.interval, last + 1, self.interval)
        allowed = self.rule.byhour
        for number in hours:
            day, hour = divmod(number, 24)
            if not allowed or hour in allowed:
                base = _midnight(day) + _HOURS[hour]
                for offset in self.offsets:
                    yield base + offset

    # -- BYSETPOS

    def _all_picked(self, first: int, last: int) -> Iterator[datetime]:
        barren = 0
        for start, end in self._spans(first, last):
            found = self._picked(start, end)
            yield from found
            barren = 0 if found else barren + 1 + (end - start) // 31
            if barren >= BARREN:
                return

    def _picked(self, first: int, last: int) -> list[datetime]:
        """Return the whole set of one period, candidates before DTSTART included, after BYSETPOS."""
        forward = max((p for p in self.picks if p > 0), default=0)
        backward = -min((p for p in self.picks if p < 0), default=0)
        pieces = list(self.source.pieces(first, last))
        if self.picks and len(pieces) > 1 and max(forward, backward) <= 100 * len(self.offsets):
            return self._picked_at_ends(pieces, forward, backward)
        days = [day for piece in pieces for day in self.source.within(*piece)]
        if not self.picks:
            return list(self._at_times(days))
        # By their places: a month may hold as many starts as it has minutes, of which a few are picked.
        return [
            self._start_at(days, place) for place in choose(range(len(days) * len(self.offsets)), self.picks)
        ]

    def _start_at(self, days: list[int], place: int) -> datetime:
        """Return the start at a place among all times of some days."""
        day, time = divmod(place, len(self.offsets))
        return _midnight(days[day]) + self.offsets[time]

    def _picked_at_ends(self, pieces: list[tuple[int, int]], forward: int, backward: int) -> list[datetime]:
        # A year has 366 days to look at; its first Monday needs one month.
        times = len(self.offsets)
        head, tail = self._collect(pieces, forward, 1), self._collect(pieces, backward, -1)
        found = {self._start_at(head, p - 1) for p in self.picks if 0 < p <= len(head) * times}
        found |= {
            self._start_at(tail, len(tail) * times + p)
            for p in self.picks
            if p < 0 and -p <= len(tail) * times
        }
        return sorted(found)

    def _collect(self, pieces: list[tuple[int, int]], wanted: int, step: int) -> list[int]:
        """Return days with at least ``wanted`` starts from the front (1) or from the back (-1), or all there are."""
        found: list[int] = []
        for piece in pieces[::step]:
            if len(found) * len(self.offsets) >= wanted:
                break
            found += self.source.within(*piece)[::step]
        return found[::step]

    # -- made once

    def _clock_offsets(self) -> tuple[timedelta, ...]:
        """Return the times within a day (HOURLY: within an hour) as distances from its start."""
        times = times_of_day(self.rule, self.dtstart)
        clocks = {(0 if self.is_hourly else at.hour, at.minute, at.second) for at in times}
        offsets = [timedelta(hours=hour, minutes=minute, seconds=sec) for hour, minute, sec in sorted(clocks)]
        return tuple(
            choose(offsets, self.rule.bysetpos) if self.rule.freq in ("DAILY", "HOURLY") else offsets
        )

    def _daily_hours(self) -> tuple[timedelta, ...]:
        if not self.is_hourly or 24 % self.interval or not self.source.is_everything:
            return ()
        hours = range(self.dtstart.hour % self.interval, 24, self.interval)
        allowed = self.rule.byhour
        return tuple(
            _HOURS[hour] + offset
            for hour in hours
            if not allowed or hour in allowed
            for offset in self.offsets
        )

    def _can_never_match(self) -> bool:
        """Find what no search needs to find out: parts that exclude each other for ever."""
        rule, interval = self.rule, self.interval
        if not self.source.months or not self.offsets:
            return True
        if rule.freq == "WEEKLY" and not rule.bymonth:
            return not self._week
        if rule.freq == "MONTHLY":
            return not any((n - 1 - self.anchor) % gcd(interval, 12) == 0 for n in self.source.months)
        if rule.freq == "DAILY" and interval % 7 == 0 and rule.byday:
            return self.dtstart.weekday() not in rule.weekdays
        if rule.freq == "HOURLY" and rule.byhour:
            return not any((hour - self.dtstart.hour) % gcd(interval, 24) == 0 for hour in rule.byhour)
        return False
