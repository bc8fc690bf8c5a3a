"""A rule with its anchor, zone, extra and excluded dates: what it promises (RFC 5545 section 3.8.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property
from heapq import merge
from itertools import islice
from typing import TypeVar

from ..errors import refusal
from ..values import MICROSECOND, MINUTE, Occurrence
from .expand import Expander
from .rule import MISSING, Rule, parse_rrule, refuse
from .tally import Tally
from .zones import find_zone, instant_of, minus, names_of, plus, shown, wall_of, walls_around

T = TypeVar("T")
_NONE = timedelta(0)
_DAY = timedelta(days=1)
_HOURS_OF_ALL_YEARS = 24 * 366 * 10_000
#: A checked day grid: distances of the day's starts from its first one, nominal; the first is zero.
Grid = tuple[timedelta, ...]


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
        extra = [moment for moment in self.rdates if start <= moment < end]
        return self._without_exdates(merge(starts, extra) if extra else starts)

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
        if self._expander is None:
            return int(self.dtstart < moment)
        return Tally(self._expander).before(min(moment, plus(self._bound[1], MICROSECOND)))

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
    def _bound(self) -> tuple[datetime, datetime, datetime | None]:
        """Return the last wall clock time surely and possibly within the rule, and the instant that decides."""
        expander = self._expander
        until = expander.rule.until if expander else None
        if expander and expander.rule.count is not None:
            until = Tally(expander).start_number(expander.rule.count)
        if until is None:
            return datetime.max, datetime.max, None
        if not isinstance(until, datetime):
            until = datetime.combine(until, time.max)
        if until.tzinfo is None:
            return until, until, None
        low, high = walls_around(until, self.zone)
        return low, high, until

    def _on_grid(self, grid: Grid, start: datetime, end: datetime) -> Iterator[datetime]:
        for first in self.rule_starts(minus(start, grid[-1]), end):
            for offset in grid:
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
    return wall - since if since < _span_of_grid(dtstart, until_time) else wall


def _span_of_grid(dtstart: datetime, until_time: time) -> timedelta:
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
    length = _span_of_grid(dtstart, until_time)
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


# -- COUNT as a last start: once it is known, a counted rule is as quick as one with UNTIL. See `Tally`; queries so near
# DTSTART that COUNT cannot be used up do without.


def sure_until(expander: Expander, count: int) -> datetime:
    """Return a naive time before which a rule cannot have yielded ``count`` starts, however dense it is."""
    interval = expander.interval if expander.rule.freq in ("DAILY", "HOURLY") else 1
    periods = (count // (len(expander.offsets) or 1) - 1) * interval
    hours = periods if expander.is_hourly else periods * 24
    if hours > _HOURS_OF_ALL_YEARS:
        return datetime.max
    return plus(expander.dtstart, timedelta(hours=max(hours - 24, 0)))
