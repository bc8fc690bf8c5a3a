"""A rule with its anchor, zone, extra and excluded dates: the set of nominal starts (RFC 5545 section 3.8.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import date, datetime, time, timedelta, tzinfo
from functools import cached_property
from heapq import merge
from typing import TypeVar

from ..errors import refusal
from .counting import counted_before, last_counted, sure_until
from .expand import Expander
from .grid import Grid, make_grid
from .periods import minus, plus
from .rule import Rule, parse_rrule, refuse
from .zones import find_zone, instant_of, names_of, wall_of, walls_around

T = TypeVar("T")
_NONE = timedelta(0)
_TICK = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, init=False)
class RecurrenceSet:
    """The nominal starts that a rule promises. Immutable; see :class:`~.recurrence.Recurrence` for the parameters."""

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
        self.__dict__.update(
            rrule=rrule,
            dtstart=start,
            timezone=name,
            rdates=_read_rdates(rdates, start, zone),
            exdates=_read_exdates(exdates, zone),
            gap=gap,
            duration=duration,
            every=every,
            until_time=until_time,
            shift=shift,
            zone=zone,
            rule=rule,
            grid=make_grid(rule, start, duration, every, until_time),
        )

    def __getstate__(self) -> dict[str, object]:
        """Leave out what was computed on the way, so that every copy and pickle is small and works."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    # -- what is promised

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
        starts = self._grid_starts(start, end)
        if not self.rdates and not self.exdates:
            return starts
        extra = [moment for moment in self.rdates if start <= moment < end]
        return self._without_exdates(merge(starts, extra) if extra else starts)

    def contains(self, original_start: datetime) -> bool:
        """Whether the rule promises this nominal start (naive wall clock), exclusions taken off."""
        if original_start.microsecond or original_start == datetime.max:
            return False
        return next(self.originals(original_start, original_start + _TICK), None) is not None

    def rule_starts(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield what the rule alone yields in ``[start, end)``: with a grid, the first start of each day."""
        if self._expander is None:
            return iter([self.dtstart] if start <= self.dtstart < end else [])
        return self._bounded(self._expander, start, end)

    @property
    def earliest(self) -> datetime:
        """A nominal time (naive) that no start comes before."""
        return min([self.dtstart, *self.rdates[:1]])

    @property
    def latest(self) -> datetime:
        """A nominal time (naive) that all starts come before; ``datetime.max`` without an end."""
        last = self._bound[1] if self._expander else self.dtstart
        span = self.grid.span if self.grid else _NONE
        return plus(max([plus(last, span), *self.rdates[-1:]]), _TICK)

    def count_before(self, moment: datetime) -> int:
        """Return how many starts the rule yields before a naive moment: what COUNT has used up by then."""
        if self._expander is None:
            return int(self.dtstart < moment)
        return counted_before(self._expander, min(moment, plus(self._bound[1], _TICK)))

    @property
    def bound_wall(self) -> datetime:
        """The latest wall clock time (naive) that UNTIL or COUNT allows; ``datetime.max`` without an end."""
        return self._bound[1]

    # -- inside

    def _bounded(self, expander: Expander, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield what the rule yields in ``[start, end)``, COUNT and UNTIL applied."""
        if (
            self.rule
            and self.rule.count is not None
            and start < (sure := sure_until(expander, self.rule.count))
        ):
            # So near, COUNT cannot be used up: where its end would have to be searched, it need not be known.
            yield from expander.starts(start, min(end, sure))
            start = sure
        if start >= end:
            return
        low, high, until = self._bound
        starts = expander.starts(start, min(end, plus(high, _TICK)))
        if until is None or low == high:
            yield from starts
        else:
            yield from (wall for wall in starts if wall <= low or instant_of(wall, self.zone) <= until)

    @cached_property
    def _expander(self) -> Expander | None:
        return None if self.rule is None else Expander(self.rule, self.dtstart)

    @cached_property
    def _bound(self) -> tuple[datetime, datetime, datetime | None]:
        """Return the last wall clock time surely and possibly within the rule, and the instant that decides."""
        until = self.rule.until if self.rule else None
        if self._expander and self.rule and self.rule.count is not None:
            last = last_counted(self._expander, self.rule.count) or datetime.max
            return last, last, None
        if until is None:
            return datetime.max, datetime.max, None
        if not isinstance(until, datetime):
            return (last := datetime.combine(until, time.max)), last, None
        if until.tzinfo is None:
            return until, until, None
        low, high = walls_around(until, self.zone)
        return low, high, until

    def _grid_starts(self, start: datetime, end: datetime) -> Iterator[datetime]:
        if self.grid is None:
            return self.rule_starts(start, end)
        return self._on_grid(self.grid, start, end)

    def _on_grid(self, grid: Grid, start: datetime, end: datetime) -> Iterator[datetime]:
        for first in self.rule_starts(minus(start, grid.span), end):
            for offset in grid.offsets:
                if start <= (moment := plus(first, offset)) < end:
                    yield moment

    def _without_exdates(self, starts: Iterable[datetime]) -> Iterator[datetime]:
        moments, days = self._excluded
        previous = None
        for moment in starts:
            if moment != previous and moment not in moments and moment.date() not in days:
                yield moment
            previous = moment

    @cached_property
    def _excluded(self) -> tuple[frozenset[datetime], frozenset[date]]:
        moments = frozenset(moment for moment in self.exdates if isinstance(moment, datetime))
        return moments, frozenset(day for day in self.exdates if not isinstance(day, datetime))


def last_of(
    starts: Callable[[datetime, datetime], Iterator[T]], earliest: datetime, latest: datetime
) -> T | None:
    """Return the last of what a function yields in ``[earliest, latest)``, searched backward in growing windows."""
    upper, length = latest, timedelta(days=40)
    while upper > earliest:
        lower = upper - length if upper - earliest > length else earliest
        found = list(starts(lower, upper))
        if found:
            return found[-1]
        upper, length = lower, length * 2
    return None


def _whole_second(value: object, part: str = "dtstart") -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise refuse(part, value, "a naive datetime: the wall clock in the series' zone")
    return value.replace(microsecond=0) if value.microsecond else value


def _listed(part: str, values: object) -> Iterable[object]:
    if isinstance(values, (list, tuple, set, frozenset)):
        return values
    raise refuse(part, values, "a list or tuple of datetimes or dates")


def _read_rdates(values: object, dtstart: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    return tuple(sorted({_read_rdate(value, dtstart, zone) for value in _listed("rdates", values)}))


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
