"""Counting the starts of a rule by arithmetic: whole periods and whole cycles of the calendar, never one by one.

The Gregorian calendar repeats every 400 years, and few kinds of months, weeks and years make it up. So what a period
holds is worked out once for each kind, a cycle is summed up once, and whole cycles are jumped. That takes as long for a
COUNT of a thousand million as for one of a thousand. COUNT and UNTIL themselves are not known here.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import isleap
from collections import Counter
from collections.abc import Hashable
from datetime import datetime
from math import gcd

from .expand import FIRST_DAY, LAST_DAY, Expander, month_bounds, month_index, new_year

_YEARS, _MONTHS, _WEEKS, _DAYS = 400, 4800, 20_871, 146_097


class Tally:
    """How many starts there are, counted from DTSTART.

    Periods in phase are numbered from 0, the one of DTSTART. Of DAILY and HOURLY rules with filters, whose periods are
    many and small, calendar years are counted instead.

    :param expander: of the rule.
    """

    def __init__(self, expander: Expander) -> None:
        self._expander = expander
        rule, self._source, self._times = expander.rule, expander.source, len(expander.offsets)
        is_everything = self._source.is_everything and not (expander.is_hourly and rule.byhour)
        is_steady = rule.freq == "WEEKLY" and not rule.bymonth
        is_steady = is_steady or (rule.freq in ("DAILY", "HOURLY") and is_everything)
        #: Whether all periods are alike.
        self._is_steady = is_steady
        self._is_by_year = rule.freq in ("DAILY", "HOURLY") and not is_steady
        self._first_year = expander.dtstart.year
        self._anchor_day = expander.dtstart.toordinal()
        #: After how many days the phase of INTERVAL repeats; and the starts of a day in phase, by its place therein.
        self._modulus, self._weights = self._phases() if self._is_by_year else (1, {})
        self._cycle = self._length_of_cycle()
        self._sizes: dict[Hashable, int] = {}
        self._kinds: dict[Hashable, Counter[int]] = {}

    def start_number(self, number: int) -> datetime | None:
        """Return a start, naive, the first being number 1; ``None`` if there are fewer before the year 10000."""
        if self._expander.never:
            return None
        place, period = number - 1 + self._before_in(0, self._expander.dtstart), 0
        total = 0
        while self._bounds(period)[0] <= LAST_DAY:
            size = self._size(period)
            if place < size:
                return self._start_in(period, place)
            place -= size
            total += size if period else 0
            period += 1
            if period == self._cycle + 1:
                if not total:
                    return None
                period += place // total * self._cycle
                place %= total
        return None

    def before(self, moment: datetime) -> int:
        """Return how many starts lie before a naive moment."""
        if self._expander.never or moment <= self._expander.dtstart:
            return 0
        period, rest = self._period_of(moment)
        count = self._size(0) - self._before_in(0, self._expander.dtstart)
        if period == 0 and not rest:
            return self._before_in(0, moment) - self._before_in(0, self._expander.dtstart)
        cycles, others = divmod(period - 1 if not rest else period, self._cycle)
        if cycles:
            count += cycles * sum(self._size(each) for each in range(1, self._cycle + 1))
        count += sum(self._size(each) for each in range(1, others + 1))
        return count if rest else count + self._before_in(period, moment)

    # -- periods

    def _length_of_cycle(self) -> int:
        """Return after how many periods in phase their sizes repeat."""
        if self._is_steady:
            return 1
        if self._is_by_year:
            return _YEARS * self._modulus // gcd(_DAYS, self._modulus)
        whole = {"YEARLY": _YEARS, "MONTHLY": _MONTHS, "WEEKLY": _WEEKS}[self._expander.rule.freq]
        return whole // gcd(whole, self._expander.interval)

    def _number(self, period: int) -> int:
        """Return the number of a period as its expander has it."""
        return self._expander.anchor + period * self._expander.interval

    def _period_of(self, moment: datetime) -> tuple[int, int]:
        """Return the last period in phase that begins by a moment, and zero if the moment lies in it."""
        if self._is_by_year:
            return moment.year - self._first_year, 0
        return divmod(self._expander.period_of(moment) - self._expander.anchor, self._expander.interval)

    def _bounds(self, period: int) -> tuple[int, int]:
        """Return the first and the last day of a period, which may lie outside of the calendar."""
        if self._is_by_year:
            year = self._first_year + period
            return new_year(year), new_year(year + 1) - 1
        if self._expander.is_hourly:
            day = self._number(period) // 24
            return day, day
        return self._expander.bounds_of(self._number(period))

    def _size(self, period: int) -> int:
        """Return how many starts a period holds, also before DTSTART; worked out once for each kind of period."""
        first, last = self._bounds(period)
        if self._is_by_year:
            return self._size_of_year(first, self._first_year + period)
        kind = self._kind(period, first, last)
        size = self._sizes.get(kind) if kind is not None else None
        if size is None:
            if self._is_steady:
                size = len(self._expander.period(self._number(period)))
            else:
                size = len(self._places(len(self._days(period)) * self._times))
            if kind is not None:
                self._sizes[kind] = size
        return size

    def _kind(self, period: int, first: int, last: int) -> Hashable:
        """Return what the size of a period follows from; ``None`` at the ends of the calendar, where it may be cut."""
        if first < FIRST_DAY or last > LAST_DAY:
            return None
        if self._is_steady:
            return "steady"
        if self._expander.rule.freq == "WEEKLY":
            month = month_index(first)
            return month % 12, min(month_bounds(month)[1] - first, 6)
        number = self._number(period)
        year, month = divmod(number, 12) if self._expander.rule.freq == "MONTHLY" else (number, 0)
        return month, new_year(year) % 7, isleap(year - 1), isleap(year), isleap(year + 1)

    def _days(self, period: int) -> list[int]:
        pieces = self._source.pieces(*self._bounds(period))
        return [day for piece in pieces for day in self._source.within(*piece)]

    def _places(self, size: int) -> range | list[int]:
        """Return which of so many starts of a period BYSETPOS picks, sorted."""
        picks = self._expander.picks
        if not picks:
            return range(size)
        return sorted({pick - 1 if pick > 0 else size + pick for pick in picks if abs(pick) <= size})

    # -- within a period

    def _start_in(self, period: int, place: int) -> datetime:
        """Return the start at a place, from 0, of the starts of a period."""
        if self._is_steady:
            return self._expander.period(self._number(period))[place]
        if self._is_by_year:
            for day in self._days(period):
                weight = self._weight(day)
                if place < weight:
                    return self._starts_of(day)[place]
                place -= weight
        days = self._days(period)
        day, time = divmod(self._places(len(days) * self._times)[place], self._times)
        return datetime.fromordinal(days[day]) + self._expander.offsets[time]

    def _before_in(self, period: int, moment: datetime) -> int:
        """Return how many starts of a period lie before a naive moment."""
        day = moment.toordinal()
        if self._is_steady:
            return sum(start < moment for start in self._expander.period(self._number(period)))
        if self._is_by_year:
            days = [each for each in self._days(period) if each <= day]
            count = sum(map(self._weight, days))
            return count - sum(start >= moment for start in self._starts_of(day)) if day in days else count
        days = self._days(period)
        place = bisect_left(days, day)
        count = place * self._times
        if place < len(days) and days[place] == day:
            count += bisect_left(self._expander.offsets, moment - datetime.fromordinal(day))
        return bisect_left(self._places(len(days) * self._times), count)

    # -- years of DAILY and HOURLY rules

    def _phases(self) -> tuple[int, dict[int, int]]:
        """Return after how many days the phase repeats, and place in it -> starts of such a day."""
        rule, interval = self._expander.rule, self._expander.interval
        if not self._expander.is_hourly:
            return interval, {0: self._times}
        shared, hour = gcd(24, interval), self._expander.dtstart.hour
        modulus, weights = interval // shared, Counter[int]()
        for number in range(hour, hour + 24 // shared * interval, interval):
            if not rule.byhour or number % 24 in rule.byhour:
                weights[number // 24 % modulus] += self._times
        return modulus, weights

    def _weight(self, day: int) -> int:
        """Return how many starts an allowed day has."""
        return self._weights.get((day - self._anchor_day) % self._modulus, 0)

    def _starts_of(self, day: int) -> list[datetime]:
        """Return the starts of an allowed day."""
        if not self._weight(day):
            return []
        if self._expander.is_hourly:
            return [start for hour in range(day * 24, day * 24 + 24) for start in self._expander.period(hour)]
        return [datetime.fromordinal(day) + offset for offset in self._expander.offsets]

    def _size_of_year(self, first: int, year: int) -> int:
        """Return how many starts a year holds: of its allowed days, those in phase."""
        kind = (first % 7, isleap(year))
        places = self._kinds.get(kind)
        if places is None:
            pieces = self._source.pieces(first, new_year(year + 1) - 1)
            days = (day for piece in pieces for day in self._source.within(*piece))
            places = self._kinds[kind] = Counter((day - first) % self._modulus for day in days)
        phase = (first - self._anchor_day) % self._modulus
        return sum(places[(at - phase) % self._modulus] * weight for at, weight in self._weights.items())
