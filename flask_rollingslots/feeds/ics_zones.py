"""VTIMEZONE (RFC 5545 section 3.6.5) from the tz database, with rules, so that no year is the last.

Common programs know the IANA names and never look at it; those that do not would otherwise have no zone at all.
icalendar's own generator ends in 2038 and writes the starts of summer time an hour late.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ..recurrence.rule import WEEKDAYS
from .entries import icalendar_package

_SECOND = timedelta(seconds=1)
#: A pattern that holds up to here is written as a rule without end; what fits none is listed up to here.
_LAST_YEAR = 2099


class Change(NamedTuple):
    """A change of a zone's offset.

    :param onset: wall clock before the change, naive, as RFC 5545 wants it.
    """

    onset: datetime
    before: timedelta
    after: timedelta
    name: str
    is_summer: bool


@lru_cache(maxsize=128)
def timezone_component(name: str, first_year: int) -> Any:
    """Return the VTIMEZONE of a zone; not to be changed.

    :param name: IANA name.
    :param first_year: the first year that has to be right.
    """
    package = icalendar_package()
    found = package.Timezone()
    found.add("tzid", name)
    for changes, rule in _observances(name, first_year):
        first, *others = changes
        part = package.TimezoneDaylight() if first.is_summer else package.TimezoneStandard()
        part.add("dtstart", first.onset)
        part.add("tzoffsetfrom", first.before)
        part.add("tzoffsetto", first.after)
        part.add("tzname", first.name)
        if rule:
            part.add("rrule", package.vRecur.from_ical(rule))
        elif others:
            part.add("rdate", [each.onset for each in others])
        found.add_component(part)
    return found


def _observances(name: str, first_year: int) -> Iterator[tuple[list[Change], str | None]]:
    """Yield changes that are alike: listed as far as no pattern holds, then with the rule that they follow."""
    begin = datetime(first_year, 1, 1, tzinfo=UTC)
    yield [_change(ZoneInfo(name), begin, begin)._replace(onset=begin.replace(tzinfo=None))], None
    kinds: dict[tuple[object, ...], list[Change]] = {}
    for change in offset_changes(name, first_year):
        kinds.setdefault((*change[1:], change.onset.month, change.onset.time()), []).append(change)
    for alike in kinds.values():
        places = {number: _pattern_from(alike, number) for number in (-1, 1, 2, 3, 4)}
        number = min(places, key=lambda each: places[each])
        if places[number] > 0:
            yield alike[: places[number]], None
        if places[number] < len(alike):
            last = alike[-1].onset
            rule = f"FREQ=YEARLY;BYMONTH={last.month};BYDAY={number}{WEEKDAYS[last.weekday()]}"
            yield alike[places[number] :], rule


def _pattern_from(alike: list[Change], number: int) -> int:
    """Return from which change on, in every year to the last, it is on the same numbered weekday of its month."""
    year, place = _LAST_YEAR, len(alike)
    for day in (change.onset for change in reversed(alike)):
        is_last = day.day + 7 > monthrange(day.year, day.month)[1]
        fits = is_last if number == -1 else number == (day.day - 1) // 7 + 1
        if not fits or day.year != year or day.weekday() != alike[-1].onset.weekday():
            break
        year, place = year - 1, place - 1
    return place if len(alike) - place > 1 else len(alike)


@lru_cache(maxsize=128)
def offset_changes(name: str, first_year: int) -> tuple[Change, ...]:
    """Return the changes of a zone's offset, or of its name, from the beginning of a year to the year 2099."""
    zone, begin, found = ZoneInfo(name), datetime(first_year, 1, 1, tzinfo=UTC), []
    days = (datetime(_LAST_YEAR + 1, 1, 1, tzinfo=UTC) - begin).days + 1
    moments = (begin + timedelta(days=number) for number in range(days))
    for (early, known), (late, seen) in pairwise((moment, _look(zone, moment)) for moment in moments):
        if seen == known:
            continue
        while late - early > _SECOND:
            middle = (early + (late - early) // 2).replace(microsecond=0)
            early, late = (middle, late) if _look(zone, middle) == known else (early, middle)
        found.append(_change(zone, early, late))
    return tuple(found)


def _look(zone: ZoneInfo, moment: datetime) -> tuple[timedelta, str | None]:
    local = moment.astimezone(zone)
    return local.utcoffset() or timedelta(0), local.tzname()


def _change(zone: ZoneInfo, early: datetime, late: datetime) -> Change:
    before, (after, name) = _look(zone, early)[0], _look(zone, late)
    is_summer = bool(late.astimezone(zone).dst())
    return Change((late + before).replace(tzinfo=None), before, after, name or "", is_summer)
