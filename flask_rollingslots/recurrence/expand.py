"""From a rule and DTSTART to nominal starts, in any window, at the same cost at any distance.

The window's first period is found by arithmetic (with the phase of INTERVAL), never by walking there: DAILY, WEEKLY
and HOURLY rules without further filters are arithmetic altogether, the others ask python-dateutil for the days of
the months that the window touches. COUNT and UNTIL are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from math import gcd
from typing import TypeVar

from .days import fill_in, source_of, times_of_day
from .periods import FIRST_DAY, LAST_DAY, periods_of
from .rule import Rule

BARREN = 4800
"""A search ends after this many months in a row that were looked at and held nothing (10 to 40 ms).

They are the 400 years of a full cycle of the calendar; months that cannot match are not looked at.
"""

_midnight = datetime.fromordinal
_TICK = timedelta(microseconds=1)
T = TypeVar("T")
_HOURS = tuple(timedelta(hours=hour) for hour in range(24))


def choose(found: list[T], places: tuple[int, ...]) -> list[T]:
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
        self.periods = periods_of(rule)
        self.interval = rule.interval
        self.source = source_of(rule)
        self._anchor_day = dtstart.toordinal()
        self.anchor = self.periods.number(self._anchor_day)
        self.picks = rule.bysetpos if rule.freq in ("YEARLY", "MONTHLY", "WEEKLY") else ()
        self.offsets = self._clock_offsets()
        self._week = self._week_pattern()
        self.is_hourly = rule.freq == "HOURLY"
        self._anchor_hour = self._anchor_day * 24 + dtstart.hour
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
        first, last = self.periods.bounds(number)
        if last < FIRST_DAY or first > LAST_DAY:
            return []
        if self._week:
            return list(self._weeks(first, first))
        if self.picks:
            return self._picked(first, last)
        return list(
            self._at_times(
                day for piece in self.source.pieces(first, last) for day in self.source.within(*piece)
            )
        )

    def first_period(self) -> int:
        """Return the number of the period that holds DTSTART, as :meth:`period` takes it."""
        return self.period_of(self.dtstart)

    def period_of(self, moment: datetime) -> int:
        """Return the number of the period that holds a naive moment, as :meth:`period` takes it."""
        day = moment.toordinal()
        return day * 24 + moment.hour if self.is_hourly else self.periods.number(day)

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
        barren = 0
        for start, end in self._phased_pieces(first, last):
            days = self._in_phase(self.source.within(start, end))
            yield from days
            barren = 0 if days else barren + 1
            if barren >= BARREN:
                return

    def _phased_pieces(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        if self.interval == 1 or self.rule.freq in ("WEEKLY", "DAILY", "HOURLY"):
            yield from self.source.pieces(first, last)
            return
        for start, end in self._spans(first, last):
            yield from self.source.pieces(max(start, first), min(end, last))

    def _in_phase(self, days: list[int]) -> list[int]:
        if self.interval == 1 or self.rule.freq not in ("WEEKLY", "DAILY"):
            return days
        number, anchor, interval = self.periods.number, self.anchor, self.interval
        return [day for day in days if (number(day) - anchor) % interval == 0]

    def _spans(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield first and last day of the periods in phase that touch the days ``first`` to ``last``."""
        number = self.periods.number(first)
        number += (self.anchor - number) % self.interval
        while True:
            start, end = self.periods.bounds(number)
            if start > last:
                return
            yield start, end
            number += self.interval

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
        hours = range(first + (self._anchor_hour - first) % self.interval, last + 1, self.interval)
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
        """Apply BYSETPOS to the whole set of one period, candidates before DTSTART included."""
        forward = max((p for p in self.picks if p > 0), default=0)
        backward = -min((p for p in self.picks if p < 0), default=0)
        pieces = list(self.source.pieces(first, last))
        if len(pieces) > 1 and max(forward, backward) <= 100 * len(self.offsets):
            return self._picked_at_ends(pieces, forward, backward)
        found = list(self._at_times(day for piece in pieces for day in self.source.within(*piece)))
        return choose(found, self.picks)

    def _picked_at_ends(self, pieces: list[tuple[int, int]], forward: int, backward: int) -> list[datetime]:
        # A year has 366 days to look at; its first Monday needs one month.
        head = self._collect(pieces, forward)
        tail = self._collect(pieces[::-1], backward)[::-1]
        found = {head[p - 1] for p in self.picks if 0 < p <= len(head)}
        found |= {tail[p] for p in self.picks if p < 0 and -p <= len(tail)}
        return sorted(found)

    def _collect(self, pieces: list[tuple[int, int]], wanted: int) -> list[datetime]:
        """Return at least ``wanted`` candidates, in the order of the pieces, or all there are."""
        found: list[datetime] = []
        descending = len(pieces) > 1 and pieces[0] > pieces[-1]
        for piece in pieces:
            if len(found) >= wanted:
                break
            moments = list(self._at_times(self.source.within(*piece)))
            found += reversed(moments) if descending else moments
        return found

    # -- made once

    def _clock_offsets(self) -> tuple[timedelta, ...]:
        """Return the times within a day (HOURLY: within an hour) as distances from its start."""
        times = times_of_day(self.rule, self.dtstart)
        if self.rule.freq == "HOURLY":
            offsets = sorted({timedelta(minutes=at.minute, seconds=at.second) for at in times})
        else:
            offsets = [timedelta(hours=at.hour, minutes=at.minute, seconds=at.second) for at in times]
        if self.rule.freq in ("DAILY", "HOURLY") and self.rule.bysetpos:
            offsets = choose(offsets, self.rule.bysetpos)
        return tuple(offsets)

    def _can_never_match(self) -> bool:
        """Find what no search needs to find out: parts that exclude each other for ever."""
        rule, interval = self.rule, self.interval
        if not self.source.months or not self.offsets:
            return True
        if rule.freq == "WEEKLY" and not rule.bymonth:
            return not self._week
        if rule.freq == "MONTHLY":
            step = gcd(interval, 12)
            return not any((month - 1 - self.anchor) % step == 0 for month in self.source.months)
        if rule.freq == "DAILY" and interval % 7 == 0 and rule.byday:
            return self.dtstart.weekday() not in rule.weekdays
        if rule.freq == "HOURLY" and rule.byhour:
            step = gcd(interval, 24)
            return not any((hour - self.dtstart.hour) % step == 0 for hour in rule.byhour)
        return False
