"""A rule with its anchor, zone, extra and excluded dates: what it promises (RFC 5545 section 3.8.5)."""

from __future__ import annotations

from bisect import bisect_left
from calendar import isleap
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property, lru_cache
from heapq import merge
from itertools import islice
from math import gcd
from typing import NamedTuple, TypeVar

from ..errors import refusal
from ..values import MICROSECOND, MINUTE, Occurrence
from .expand import FIRST_DAY, LAST_DAY, Expander, month_bounds, month_index, new_year
from .rule import MISSING, Rule, parse_rrule, refuse
from .zones import find_zone, instant_of, minus, names_of, plus, shown, wall_of, walls_around

T = TypeVar("T")
_NONE = timedelta(0)
_DAY = timedelta(days=1)
_EPOCH, _EPOCH_UTC = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC)  # noqa: DTZ001 (wall clock)
_HOURS_OF_ALL_YEARS = 24 * 366 * 10_000
#: A checked day grid: distances of the day's starts from its first one, nominal; the first is zero.
Grid = tuple[timedelta, ...]


class Lattice(NamedTuple):
    """Nominal starts, naive: each first plus each distance, in this order, where that lies within the bounds.

    So the many starts of a day cost one addition each.

    :param firsts: to be gone through once.
    :param lower: included. ``upper``: excluded.
    """

    firsts: Iterator[datetime]
    distances: Grid
    lower: datetime
    upper: datetime

    def shown(self, ahead: timedelta) -> Iterator[tuple[datetime, datetime]]:
        """Yield (original start, start) where what is added to an original start gives the start in UTC."""
        shown = [ahead + distance for distance in self.distances]
        for first in self.firsts:
            first_shown = _EPOCH_UTC + (first - _EPOCH)
            for distance, later in zip(self.distances, shown, strict=True):
                original_start = first + distance
                if self.lower <= original_start < self.upper:
                    yield original_start, first_shown + later


@dataclass(frozen=True, init=False)
class RecurrenceSet:
    """What a rule promises, nominal and as shown. Immutable; :class:`~.recurrence.Recurrence` tells the parameters."""

    rrule: str | None
    dtstart: datetime
    timezone: str
    rdates: tuple[datetime, ...]
    exdates: tuple[datetime | date, ...]
    gap: str
    duration: timedelta | None
    every: timedelta | None
    until_time: time | None
    shift: timedelta
    zone: tzinfo = field(repr=False, compare=False)
    rule: Rule | None = field(repr=False, compare=False)
    grid: Grid | None = field(repr=False, compare=False)

    def __init__(
        self,
        rrule: str | None,
        dtstart: datetime,
        timezone: str | tzinfo,
        rdates: Iterable[datetime | date] = (),
        exdates: Iterable[datetime | date] = (),
        gap: str = "shift",
        *,
        duration: timedelta | None = None,
        every: timedelta | None = None,
        until_time: time | None = None,
        shift: timedelta = _NONE,
    ) -> None:
        """Check everything once, so that nothing can fail later."""
        name, zone = find_zone(timezone)
        start = _whole_second(dtstart)
        rule = None if rrule is None else parse_rrule(rrule)
        if gap not in ("shift", "skip"):
            raise refuse("gap", gap, "shift or skip")
        if not isinstance(shift, timedelta):
            raise refuse("shift", shift, "a timedelta")
        extra = tuple(sorted({_read_rdate(value, start, zone) for value in _listed("rdates", rdates)}))
        excluded = _read_exdates(exdates, zone)
        grid = make_grid(rule, start, duration, every, until_time)
        self.__dict__.update(rrule=rrule, rule=rule, dtstart=start, timezone=name, zone=zone, gap=gap)
        self.__dict__.update(rdates=extra, exdates=excluded, shift=shift, grid=grid)
        self.__dict__.update(duration=duration, every=every, until_time=until_time)

    def __getstate__(self) -> dict[str, object]:
        """Leave out what was computed on the way, so that every copy and pickle is small and works."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    # -- occurrences: as shown

    def between(self, start: datetime, end: datetime) -> Iterator[Occurrence]:
        """Yield the occurrences with ``start <= starts_at < end``, sorted by ``starts_at``.

        :param start: aware.
        :param end: aware.
        :raises InvalidRequest: if one of them is naive.
        """
        return self._between(start, end, self.gap)

    def named_between(self, start: datetime, end: datetime) -> Iterator[Occurrence]:
        """Yield what :meth:`between` yields, and of the starts in a gap also those at the instant of another one.

        Starts in a gap are :class:`~..values.Shifted`; where two are at one instant, those come first.
        """
        return self._between(start, end, "keep")

    def after(self, moment: datetime, limit: int) -> list[Occurrence]:
        """Return the next occurrences with ``starts_at > moment``, at most ``limit``.

        A rule that never matches is given up after 4,800 months without a match (10 to 40 ms).

        :param moment: aware.
        :param limit: 0 or more.
        :raises InvalidRequest: if ``moment`` is naive or ``limit`` negative.
        """
        moment = _aware("moment", moment)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise refusal("limit", limit, "a whole number, 0 or more")
        lower = minus(walls_around(moment, self.zone)[0], self.shift)
        found = self._shown(lower, datetime.max)
        return list(islice((each for each in found if each.starts_at > moment), limit))

    def first(self) -> Occurrence | None:
        """Return the first occurrence, or ``None`` if there is none."""
        return next(self._shown(self.earliest, datetime.max), None)

    def last(self) -> Occurrence | None:
        """Return the last occurrence, or ``None`` if there is none or the rule has no end."""
        if self.is_forever:
            return None
        return last_of(self._shown, self.earliest, self.latest)

    # -- originals: nominal

    @property
    def is_forever(self) -> bool:
        """Whether the rule has no end: neither COUNT nor UNTIL."""
        return self.rule is not None and self.rule.count is None and self.rule.until is None

    def originals(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the nominal starts of ``[start, end)``, sorted, each once.

        :param start: naive wall clock in the rule's zone, included.
        :param end: naive wall clock, excluded.
        :raises InvalidRequest: if one of them is aware.
        """
        if start.tzinfo or end.tzinfo:
            raise refusal("start", start if start.tzinfo else end, "the wall clock in the rule's zone, naive")
        starts = self.rule_starts(start, end) if self.grid is None else self._on_grid(self.grid, start, end)
        if not self.rdates and not self.exdates:
            return starts
        extra = self.rdates[bisect_left(self.rdates, start) : bisect_left(self.rdates, end)]
        return self._without_exdates(merge(starts, extra) if extra else starts)

    def lattice(self, start: datetime, end: datetime) -> Lattice:
        """Return what :meth:`originals` yields in ``[start, end)``, some years from the ends of the calendar."""
        if not self.rdates and not self.exdates:
            if self.grid is not None:
                return Lattice(self.rule_starts(minus(start, self.grid[-1]), end), self.grid, start, end)
            found = self._hours_of_days(start, end)
            if found is not None:
                return found
        return Lattice(self.originals(start, end), (_NONE,), start, end)

    def contains(self, original_start: datetime) -> bool:
        """Whether the rule promises this nominal start (naive wall clock), exclusions taken off."""
        if original_start.microsecond or original_start == datetime.max:
            return False
        return next(self.originals(original_start, original_start + MICROSECOND), None) is not None

    def rule_starts(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield what the rule alone yields in ``[start, end)``: with a grid, the first start of each day."""
        expander = self._expander
        if expander is None:
            if start <= self.dtstart < end:
                yield self.dtstart
            return
        count = expander.rule.count
        if count is not None and start < (sure := sure_until(expander, count)):
            # So near, COUNT cannot be used up: where its end would have to be searched, it need not be known.
            yield from expander.starts(start, min(end, sure))
            start = sure
        if start >= end:
            return
        low, high, until = self._bound
        starts = expander.starts(start, min(end, plus(high, MICROSECOND)))
        if until is None or low == high:
            yield from starts
        else:
            yield from (wall for wall in starts if wall <= low or instant_of(wall, self.zone) <= until)

    @property
    def earliest(self) -> datetime:
        """A nominal time (naive) that no start comes before."""
        return min([self.dtstart, *self.rdates[:1]])

    @property
    def latest(self) -> datetime:
        """A nominal time (naive) that all starts come before; ``datetime.max`` without an end."""
        last = self._bound[1] if self._expander else self.dtstart
        span = self.grid[-1] if self.grid else _NONE
        return plus(max([plus(last, span), *self.rdates[-1:]]), MICROSECOND)

    def count_before(self, moment: datetime) -> int:
        """Return how many starts the rule yields before a naive moment: what COUNT has used up by then."""
        if self._tally is None:
            return int(self.dtstart < moment)
        return self._tally.before(min(moment, plus(self._bound[1], MICROSECOND)))

    def most_a_day(self) -> int:
        """Return how many starts one day may have at most, extra dates included."""
        found, expander = 1, self._expander
        if expander is not None:
            hours = -(-24 // min(expander.interval, 24)) if expander.is_hourly else 1
            hours = min(hours, len(expander.rule.byhour) or 24)
            found = hours * len(expander.offsets)
            found = min(found, len(expander.picks) or found)
        extra = Counter(moment.date() for moment in self.rdates)
        return found * len(self.grid or (0,)) + max(extra.values(), default=0)

    def most_within(self, days: int) -> int:
        """Return how many starts so many days may have: of the spans that begin in the first year, the fullest."""
        most = 1
        if self.rule is not None:
            months = (plus(self.dtstart, 29 * _DAY * number) for number in range(13))
            spans = ((each, plus(each, days * _DAY)) for each in months)
            most = max(self.count_before(end) - self.count_before(start) for start, end in spans)
        return most * len(self.grid or (0,)) + len(self.rdates)

    def day_of(self, moment: datetime) -> date:
        """Return the day that a nominal start (naive) belongs to: its grid day, also after midnight."""
        return first_of_day(moment, self.dtstart, self.until_time).date()

    @property
    def bound_wall(self) -> datetime:
        """The latest wall clock time (naive) that UNTIL or COUNT allows; ``datetime.max`` without an end."""
        return self._bound[1]

    # -- inside

    def _between(self, start: datetime, end: datetime, gap: str) -> Iterator[Occurrence]:
        start, end = _aware("start", start), _aware("end", end)
        if start >= end:
            return iter(())
        lower = minus(walls_around(start, self.zone)[0], self.shift)
        upper = minus(walls_around(end, self.zone)[1], self.shift)
        found = shown(self.originals(lower, upper), self.zone, self.shift, gap)
        return (each for each in found if start <= each.starts_at < end)

    def _shown(self, lower: datetime, upper: datetime) -> Iterator[Occurrence]:
        return shown(self.originals(lower, upper), self.zone, self.shift, self.gap)

    @cached_property
    def _expander(self) -> Expander | None:
        return None if self.rule is None else Expander(self.rule, self.dtstart)

    @cached_property
    def _tally(self) -> Tally | None:
        return None if self._expander is None else Tally(self._expander)

    @cached_property
    def _bound(self) -> tuple[datetime, datetime, datetime | None]:
        """Return the last wall clock time surely and possibly within the rule, and the instant that decides."""
        expander, tally = self._expander, self._tally
        until = expander.rule.until if expander else None
        if tally and expander and expander.rule.count is not None:
            until = tally.start_number(expander.rule.count)
        if until is None:
            return datetime.max, datetime.max, None
        if not isinstance(until, datetime):
            until = datetime.combine(until, time.max)
        if until.tzinfo is None:
            return until, until, None
        low, high = walls_around(until, self.zone)
        return low, high, until

    def _hours_of_days(self, start: datetime, end: datetime) -> Lattice | None:
        """Return the starts of an HOURLY rule of which all days are alike; ``None`` of another one."""
        expander = self._expander
        if expander is None or not expander.hours_of_day or expander.never:
            return None
        count = expander.rule.count
        if count is None or end > sure_until(expander, count):
            low, high, until = self._bound
            if until is not None and low != high and end > low:
                return None  # the clocks change there: each start is asked
            end = min(end, plus(high, MICROSECOND))
        start = max(start, self.dtstart)
        days = range(start.toordinal(), end.toordinal() + 1) if start < end else ()
        return Lattice(map(datetime.fromordinal, days), expander.hours_of_day, start, end)

    def _on_grid(self, grid: Grid, start: datetime, end: datetime) -> Iterator[datetime]:
        excluded = self._excluded
        for first in self.rule_starts(minus(start, grid[-1]), end):
            for offset in grid if first.date() not in excluded else ():
                if start <= (moment := plus(first, offset)) < end:
                    yield moment

    def _without_exdates(self, starts: Iterable[datetime]) -> Iterator[datetime]:
        excluded, previous = self._excluded, None
        for moment in starts:
            if moment != previous and moment not in excluded and self.day_of(moment) not in excluded:
                yield moment
            previous = moment

    @cached_property
    def _excluded(self) -> frozenset[date]:
        return frozenset(self.exdates)


def last_of(
    starts: Callable[[datetime, datetime], Iterator[T]], earliest: datetime, latest: datetime
) -> T | None:
    """Return the last of what a function yields in ``[earliest, latest)``, searched backward in growing windows."""
    upper, length = latest, timedelta(days=40)
    while upper > earliest:
        lower = upper - length if upper - earliest > length else earliest
        if found := list(starts(lower, upper)):
            return found[-1]
        upper, length = lower, length * 2
    return None


# -- what is given


def _aware(name: str, moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise refusal(name, moment, "an aware datetime")
    return wall_of(moment, UTC).replace(tzinfo=UTC)


def _whole_second(value: object, part: str = "dtstart") -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise refuse(part, value, "a naive datetime: the wall clock in the series' zone")
    return value.replace(microsecond=0) if value.microsecond else value


def _listed(part: str, values: object) -> Iterable[object]:
    if isinstance(values, (list, tuple, set, frozenset)):
        return values
    raise refuse(part, values, "a list or tuple of datetimes or dates")


def _read_rdate(value: object, dtstart: datetime, zone: tzinfo) -> datetime:
    if isinstance(value, datetime):
        return _whole_second(value if value.tzinfo is None else wall_of(value, zone), "rdates")
    if isinstance(value, date):
        return datetime.combine(value, dtstart.time())
    raise refuse("rdates", value, "datetimes or dates")


def _read_exdates(values: object, zone: tzinfo) -> tuple[datetime | date, ...]:
    found: set[datetime | date] = set()
    for value in _listed("exdates", values):
        if isinstance(value, datetime) and value.tzinfo is not None:
            found |= {name.replace(microsecond=0) for name in names_of(value, zone)}
        elif isinstance(value, datetime):
            found.add(_whole_second(value, "exdates"))
        elif isinstance(value, date):
            found.add(value)
        else:
            raise refuse("exdates", value, "datetimes, or dates for whole local days")
    return tuple(sorted(found, key=lambda value: value.isoformat()))


# -- the day grid: on each day that a rule yields, a start each `every` while it ends by `until_time`


def first_of_day(wall: datetime, dtstart: datetime, until_time: time | None) -> datetime:
    """Return when the grid day begins that a nominal time lies in; the time itself without a grid, or beside it.

    All naive wall clock. A grid spans at most 24 hours from the time of ``dtstart``.
    """
    if until_time is None:
        return wall
    since = (wall - dtstart) % _DAY
    return wall - since if since < span_of_grid(dtstart, until_time) else wall


@lru_cache(maxsize=1024)
def span_of_grid(dtstart: datetime, until_time: time) -> timedelta:
    """Return how long a grid day lasts, up to 24 hours."""
    end = datetime.combine(dtstart.date(), until_time.replace(microsecond=0))
    return (end - dtstart) % _DAY or _DAY


def make_grid(
    rule: Rule | None,
    dtstart: datetime,
    duration: timedelta | None,
    every: timedelta | None,
    until_time: time | None,
) -> Grid | None:
    """Check the grid's parameters; ``None`` if there is no grid. The duration is counted nominally here.

    :param until_time: wall clock by which the last slot ends; not later than the start means the next day.
    """
    _check_types(duration, every, until_time)
    if every is None and until_time is None:
        return None
    if every is None:
        raise refuse("every", None, "the distance between two starts, because until_time is given", MISSING)
    if until_time is None:
        expected = "the time by which the last slot ends, because every is given"
        raise refuse("until_time", None, expected, MISSING)
    if duration is None:
        raise refuse("duration", None, "the length of a slot, because every is given", MISSING)
    if rule is not None:
        _check_rule(rule)
    length = span_of_grid(dtstart, until_time)
    if duration > length:
        expected = f"at most the {length} from the start to until_time"
        raise refuse("duration", duration, expected, "does not fit")
    return tuple(every * step for step in range((length - duration) // every + 1))


def _check_types(duration: timedelta | None, every: timedelta | None, until_time: time | None) -> None:
    for name, value in (("duration", duration), ("every", every)):
        if value is not None and not isinstance(value, timedelta):
            raise refuse(name, value, "a timedelta")
    if duration is not None and duration <= timedelta(0):
        raise refuse("duration", duration, "more than nothing")
    if every is not None and every < MINUTE:
        raise refuse("every", every, "at least one minute")
    if until_time is not None and (not isinstance(until_time, time) or until_time.tzinfo is not None):
        raise refuse("until_time", until_time, "a naive time of day")


def _check_rule(rule: Rule) -> None:
    if rule.freq == "HOURLY":
        raise refuse("FREQ", rule.freq, "DAILY or coarser beside a day grid")
    for name in ("BYHOUR", "BYMINUTE", "BYSECOND"):
        if values := getattr(rule, name.lower()):
            text = ",".join(map(str, values))
            raise refuse(name, text, f"no {name} beside a day grid: the grid gives the times")


# -- COUNT as a last start: once it is known, a counted rule is as quick as one with UNTIL
#
# The Gregorian calendar repeats every 400 years, and few kinds of months, weeks and years make it up. So what a period
# holds is worked out once for each kind, a cycle is summed up once, and whole cycles are jumped: that takes as long for
# a COUNT of a thousand million as for one of a thousand. Queries so near DTSTART that COUNT cannot be used up do
# without.

_CYCLE = {"YEARLY": 400, "MONTHLY": 4800, "WEEKLY": 20_871, "DAILY": 146_097}


def sure_until(expander: Expander, count: int) -> datetime:
    """Return a naive time before which a rule cannot have yielded ``count`` starts, however dense it is."""
    interval = expander.interval if expander.rule.freq in ("DAILY", "HOURLY") else 1
    periods = (count // (len(expander.offsets) or 1) - 1) * interval
    hours = periods if expander.is_hourly else periods * 24
    if hours > _HOURS_OF_ALL_YEARS:
        return datetime.max
    return plus(expander.dtstart, timedelta(hours=max(hours - 24, 0)))


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
            return _CYCLE["YEARLY"] * self._modulus // gcd(_CYCLE["DAILY"], self._modulus)
        whole = _CYCLE[self._expander.rule.freq]
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
