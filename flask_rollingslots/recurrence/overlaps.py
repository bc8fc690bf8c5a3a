"""Whether slots of a rule overlap each other, by the wall clock: changes of the clock aside."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from .expand import Expander
from .recurrence_set import Grid, RecurrenceSet
from .zones import minus, plus

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_YEAR = timedelta(days=366)
#: Periods that are further apart than slots can be long.
_MANY = 1_000_000
#: Two original starts (naive): the second slot begins before the first one ends.
Overlap = tuple[datetime, datetime]


def find_overlaps(
    recurrence: RecurrenceSet, duration: timedelta, first: datetime, end: datetime, limit: int
) -> tuple[Overlap, ...]:
    """Return the first neighbours that overlap, within a year from the first start in ``[first, end)`` (naive).

    Where what the rule says of its days and times is enough, nothing is expanded.

    :param limit: how many at most.
    """
    is_wide = duration <= _least_distance(recurrence)
    if is_wide and not recurrence.rdates:
        return ()
    begin = next(recurrence.originals(first, end), None) if first < end else None
    if begin is None:
        return ()
    end = min(end, plus(begin, _YEAR))
    if is_wide:  # only an extra date can be too near
        spans = [(max(begin, minus(at, duration)), min(end, plus(at, duration))) for at in recurrence.rdates]
    else:
        spans = [(begin, end)]
    near = (pair for span in spans if span[0] < span[1] for pair in pairwise(recurrence.originals(*span)))
    found: dict[Overlap, None] = {}  # in order, each once
    for one, other in near:
        if one < other < plus(one, duration):
            found[one, other] = None
            if len(found) == limit:
                break
    return tuple(found)


def _least_distance(recurrence: RecurrenceSet) -> timedelta:
    """Return what neighbours of the rule are surely apart, extra dates aside; often they are further apart."""
    if recurrence.rule is None:
        return _within(recurrence.grid or (), timedelta.max)
    expander = Expander(recurrence.rule, recurrence.dtstart)
    rule, interval = expander.rule, min(expander.interval, _MANY)
    if expander.is_hourly:
        return _within(expander.offsets, _HOUR * interval)
    times: Grid = tuple(o + g for o in expander.offsets for g in recurrence.grid or (timedelta(0),))
    if rule.freq == "DAILY":
        return _within(times, _DAY * interval)
    if rule.freq != "WEEKLY":
        return _within(times, _DAY)
    days = [(day - rule.wkst) % 7 * _DAY for day in rule.weekdays]
    return _within(tuple(day + each for day in days for each in times), 7 * _DAY * interval)


def _within(offsets: Grid, period: timedelta) -> timedelta:
    """Return the least distance between offsets that come again in each period (all within one)."""
    ordered = sorted(offsets)
    if not ordered:
        return period
    inside = min((later - earlier for earlier, later in pairwise(ordered)), default=period)
    return min(inside, period - (ordered[-1] - ordered[0]))
