"""A template as calendar programs understand it: one rule for each time of day, at the times that are shown.

And the rules by which its time zone changes its offset.
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

from .. import planning
from ..errors import InvalidRule
from ..recurrence import Recurrence
from ..recurrence.public_holidays import public_holiday
from ..recurrence.rule import WEEKDAYS, Rule, parse_rrule
from ..recurrence.zones import instant_of, minus, plus
from ..values import TemplateSpec, Window
from .entries import icalendar_package

_DAY = timedelta(days=1)
#: How far ahead days that public holidays and blackouts leave out are written as single dates.
_HORIZON_DAYS = 2 * 366
#: A pattern of a zone that holds up to here is written as a rule without end; what fits none is listed up to here.
_LAST_YEAR = 2099
#: The midnight of a shown day, and the original starts that are offered around it.
_Closed = tuple[datetime, frozenset[datetime]]


@dataclass(frozen=True)
class Component:
    """The starts of a template at one time of day: what one VEVENT can say. All starts are original ones.

    :param days: the rule without grid, extra and excluded dates.
    :param offset: from the first start of a day to this one.
    :param shift: from original start to shown time.
    """

    days: Recurrence
    offset: timedelta
    shift: timedelta
    is_grid: bool
    extra: tuple[datetime, ...] = ()
    excluded: frozenset[datetime] = frozenset()

    def starts(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the original starts that the rule gives in ``[start, end)`` (naive), before exclusions."""
        found = self.days.originals(minus(start, self.offset), minus(end, self.offset))
        return (plus(each, self.offset) for each in found)

    def owns(self, original_start: datetime) -> bool:
        """Whether this component has an original start, left out or not."""
        return original_start in self.extra or self.days.contains(minus(original_start, self.offset))

    @property
    def first(self) -> datetime | None:
        """The first original start.

        Calendar programs count DTSTART as an occurrence (RFC 5545 section 3.8.5.3), so DTSTART has to be one. COUNT
        stays right, for nothing of the rule lies between the old and the new DTSTART.
        """
        return plus(self._begin, self.offset) if self._begin else min(self.extra, default=None)

    @property
    def rrule(self) -> str | None:
        """The RRULE for the shown times.

        :raises InvalidRule: if iCalendar has none, with a sentence.
        """
        return _moved(self.days, self.offset + self.shift) if self._begin else None

    @cached_property
    def _begin(self) -> datetime | None:
        return next(self.days.rule_starts(self.days.dtstart, datetime.max), None)


def components(spec: TemplateSpec, now: datetime, shown: Iterable[datetime] = ()) -> list[Component]:
    """Return the components of a template or segment, by time of day; those without starts have no ``first``.

    :param now: aware; public holidays and blackouts are left out for two years from here.
    :param shown: original starts of which an override shows: an exclusion does not hide them.
    """
    whole: Recurrence | None = planning.recurrence_of(spec)
    if whole is not None and spec.ends_before is not None:
        whole = whole.split(spec.ends_before)[0]
    if whole is not None and spec.active_from is not None:
        whole = whole.split(spec.active_from)[1]
    if whole is None:
        return []
    days, grid = Recurrence(whole.rrule, whole.dtstart, whole.timezone), whole.grid
    found = [Component(days, offset, whole.shift, grid is not None) for offset in grid or (timedelta(0),)]
    own = (each for each in whole.rdates if not any(part.owns(each) for part in found))
    found[0] = replace(found[0], extra=tuple(filter(whole.contains, own)))
    spare, closed = frozenset(shown), list(_closed_days(spec, whole, now))
    return [replace(part, excluded=frozenset(_excluded(whole, part, closed)) - spare) for part in found]


def _excluded(whole: Recurrence, part: Component, closed: list[_Closed]) -> Iterator[datetime]:
    """Yield what the component's rule has and the template does not offer."""
    for value in whole.exdates:
        if not isinstance(value, datetime):
            yield from part.starts(datetime.combine(value, time()), datetime.combine(value, time.max))
        elif part.owns(value):
            yield value
    for midnight, offered in closed:
        first, end = midnight - part.shift, midnight - part.shift + _DAY
        extra = (each for each in part.extra if first <= each < end)
        yield from {*part.starts(first, end), *extra} - offered


def _closed_days(spec: TemplateSpec, whole: Recurrence, now: datetime) -> Iterator[_Closed]:
    """Yield the days of the next two years on which the template may offer less than its rule says."""
    rule, zone = whole.rule, ZoneInfo(spec.timezone)
    first = now.astimezone(zone).date()
    # Where the clocks go forward two starts of a day can fall on one instant; only one of them is offered.
    crowded = whole.grid is not None or (rule and (rule.freq == "HOURLY" or rule.byhour or rule.byminute))
    gaps = _gap_days(spec.timezone, first.year - 1) if crowded else set()
    if not (spec.holidays or spec.blackouts or gaps):
        return
    for number in range(_HORIZON_DAYS):
        day = first + timedelta(days=number)
        closed = any(start <= day <= end for start, end in spec.blackouts)
        if day in gaps or closed or (spec.holidays and public_holiday(spec.holidays, day)):
            midnight = datetime.combine(day, time())
            # A day more on both sides: near a change of offset a wall clock time may be shown on the next day.
            around = Window(instant_of(midnight - _DAY, zone), instant_of(midnight + 2 * _DAY, zone))
            yield midnight, frozenset(slot.original_start for slot in planning.planned(spec, around))


def _gap_days(timezone: str, year: int) -> set[date]:
    """Return the days around those on which the clocks go forward."""
    gaps = (each.onset.date() for each in offset_changes(timezone, year) if each.after > each.before)
    return {gap + timedelta(days=around) for gap in gaps for around in (-1, 0, 1)}


# -- a rule at another time of day


def _moved(days: Recurrence, by: timedelta) -> str | None:
    """Return the RRULE of starts that are moved by a time."""
    text = days.ical_rrule()
    if text is None:
        return None
    rule = parse_rrule(text)
    if rule.until is not None and (last := days.last()) is not None:
        rule = replace(rule, until=instant_of(last.original_start + by, days.zone))
    if by:
        rule = _at_other_times(rule, by)
        hops = ((days.dtstart + by).date() - days.dtstart.date()).days
        rule = _on_other_days(rule, hops) if hops else rule
    return str(rule)


def _at_other_times(rule: Rule, by: timedelta) -> Rule:
    if rule.freq == "HOURLY" and (rule.bymonth or rule.byday or rule.bymonthday or rule.byyearday):
        _cannot(rule, "an hourly rule for some days, shown at other times")
    if not (rule.byhour or rule.byminute or rule.bysecond):
        return rule
    hours, rest = divmod(by, timedelta(hours=1))
    moved = tuple(hour + hours for hour in rule.byhour)
    if rest or not all(0 <= hour <= 23 for hour in moved):
        _cannot(rule, "times of day within the rule, shown at other times")
    return replace(rule, byhour=moved)


def _on_other_days(rule: Rule, hops: int) -> Rule:
    """Return the rule on days a fixed number later: the weekdays turn, and the week begins as many days later."""
    bound = rule.bymonth or rule.bymonthday or rule.byyearday or rule.byweekno
    if rule.freq == "HOURLY":
        return rule
    if rule.freq not in ("DAILY", "WEEKLY") or bound or (rule.freq == "DAILY" and rule.bysetpos):
        _cannot(rule, "starts on another day than the rule's own, past midnight or moved")
    turned = tuple(sorted((0, (day + hops) % 7) for _, day in rule.byday))
    return replace(rule, byday=turned, wkst=(rule.wkst + hops) % 7 if rule.freq == "WEEKLY" else rule.wkst)


def _cannot(rule: Rule, what: str) -> NoReturn:
    raise InvalidRule(
        f"rrule = {str(rule)!r}: iCalendar has no rule for {what}; expected a DAILY or WEEKLY rule without months "
        "and days of the month, or a day that ends before midnight; JSON can be exported all the same",
        field="rrule",
        value=str(rule),
    )


# -- time zones: VTIMEZONE (RFC 5545 section 3.6.5) from the tz database, with rules, so that no year is the last
#
# Common programs know the IANA names and never look at it; those that do not would otherwise have no zone at all.
# icalendar's own generator ends in 2038 and writes the starts of summer time an hour late.


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
    """Return the VTIMEZONE of a zone, right from a year on; not to be changed."""
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
    kinds: defaultdict[tuple[object, ...], list[Change]] = defaultdict(list)
    for change in offset_changes(name, first_year):
        kinds[(*change[1:], change.onset.month, change.onset.time())].append(change)
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
        while late - early > timedelta(seconds=1):
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
