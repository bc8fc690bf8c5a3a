"""VTIMEZONE (RFC 5545 section 3.6.5) from the tz database, with rules, so that no year is the last.

Common programs know the IANA names and never look at it; those that do not would otherwise have no zone at all.
icalendar's own generator ends in 2038 and writes the starts of summer time an hour late.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ..recurrence.rule import WEEKDAYS
from .entries import icalendar_package

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_NONE = timedelta(0)
#: A pattern that holds up to here is written as a rule without end; what fits none is listed up to here.
_LAST_YEAR = 2099


class _Change(NamedTuple):
    """A change of a zone's offset.

    :param onset: wall clock before the change, naive, as RFC 5545 wants it.
    """

    onset: datetime
    before: timedelta
    after: timedelta
    name: str
    is_summer: bool


#: A change, with the rule for those that follow it, or with the onsets of the others like it.
_Observance = tuple[_Change, str | None, tuple[datetime, ...]]


@lru_cache(maxsize=128)
def timezone_component(name: str, first_year: int) -> Any:
    """Return the VTIMEZONE of a zone; not to be changed.

    :param name: IANA name.
    :param first_year: the first year that has to be right.
    """
    package = icalendar_package()
    found = package.Timezone()
    found.add("tzid", name)
    for change, rule, others in _observances(ZoneInfo(name), datetime(first_year, 1, 1, tzinfo=UTC)):
        part = package.TimezoneDaylight() if change.is_summer else package.TimezoneStandard()
        part.add("dtstart", change.onset)
        part.add("tzoffsetfrom", change.before)
        part.add("tzoffsetto", change.after)
        part.add("tzname", change.name)
        if rule:
            part.add("rrule", package.vRecur.from_ical(rule))
        if others:
            part.add("rdate", list(others))
        found.add_component(part)
    return found


def _observances(zone: ZoneInfo, begin: datetime) -> Iterator[_Observance]:
    """Yield what holds at the beginning, and the changes of each kind."""
    yield _change(zone, begin, begin)._replace(onset=begin.replace(tzinfo=None)), None, ()
    kinds: dict[tuple[object, ...], list[_Change]] = {}
    for change in _changes(zone, begin):
        kinds.setdefault((*change[1:], change.onset.month, change.onset.time()), []).append(change)
    for alike in kinds.values():
        yield from _described(alike)


def _changes(zone: ZoneInfo, begin: datetime) -> Iterator[_Change]:
    days = (datetime(_LAST_YEAR + 1, 1, 1, tzinfo=UTC) - begin).days + 1
    for early, late in pairwise(begin + number * _DAY for number in range(days)):
        known = _look(zone, early)
        if known == _look(zone, late):
            continue
        while late - early > _SECOND:
            middle = (early + (late - early) // 2).replace(microsecond=0)
            early, late = (middle, late) if _look(zone, middle) == known else (early, middle)
        yield _change(zone, early, late)


def _look(zone: ZoneInfo, moment: datetime) -> tuple[timedelta, str | None]:
    local = moment.astimezone(zone)
    return local.utcoffset() or _NONE, local.tzname()


def _change(zone: ZoneInfo, early: datetime, late: datetime) -> _Change:
    before, (after, name) = _look(zone, early)[0], _look(zone, late)
    is_summer = bool(late.astimezone(zone).dst())
    return _Change((late + before).replace(tzinfo=None), before, after, name or "", is_summer)


def _described(alike: list[_Change]) -> Iterator[_Observance]:
    """Yield the changes of one month and time: listed as far as no pattern holds, then as a rule."""
    listed, rule = len(alike), None
    for number in (-1, 1, 2, 3, 4):
        begin = _pattern_from(alike, number)
        if begin < listed:
            listed, rule = begin, _rule(alike[-1], number)
    if listed:
        first, *others = alike[:listed]
        yield first, None, tuple(each.onset for each in others)
    if rule:
        yield alike[listed], rule, ()


def _pattern_from(alike: list[_Change], number: int) -> int:
    """Return from which change on, in every year to the last, it is on the same numbered weekday."""
    year, place = _LAST_YEAR, len(alike)
    for change in reversed(alike):
        same_day = change.onset.weekday() == alike[-1].onset.weekday()
        if change.onset.year != year or not same_day or number not in _numbers(change.onset):
            break
        year, place = year - 1, place - 1
    return place if len(alike) - place > 1 else len(alike)


def _numbers(day: datetime) -> Iterable[int]:
    """Return which weekday of its month a day is: from the start, and from the end if it is the last."""
    last = day.day + 7 > monthrange(day.year, day.month)[1]
    return ((day.day - 1) // 7 + 1, -1) if last else ((day.day - 1) // 7 + 1,)


def _rule(change: _Change, number: int) -> str:
    weekday = WEEKDAYS[change.onset.weekday()]
    return f"FREQ=YEARLY;BYMONTH={change.onset.month};BYDAY={number}{weekday}"
