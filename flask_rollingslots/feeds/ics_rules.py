"""A template as calendar programs understand it: one rule for each time of day, at the times that are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import NoReturn
from zoneinfo import ZoneInfo

from .. import planning
from ..errors import InvalidRule
from ..recurrence import Recurrence
from ..recurrence.public_holidays import public_holiday
from ..recurrence.rule import Rule, parse_rrule
from ..recurrence.zones import instant_of, minus, plus
from ..values import TemplateSpec, Window
from .ics_zones import offset_changes

_DAY = timedelta(days=1)
_NONE = timedelta(0)
#: How far ahead days that public holidays and blackouts leave out are written as single dates.
_HORIZON = timedelta(days=2 * 366)
#: The midnight of a shown day, and the original starts that are offered around it.
_Closed = tuple[datetime, frozenset[datetime]]


@dataclass(frozen=True)
class Component:
    """The starts of a template at one time of day: what one VEVENT can say.

    :param days: the rule without grid, extra and excluded dates.
    :param offset: from the first start of a day to this one.
    :param shift: from original start to shown time.
    :param extra: original starts beside the rule.
    :param excluded: original starts of the rule that are left out.
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
    whole = _segment(spec)
    if whole is None:
        return []
    days, grid = Recurrence(whole.rrule, whole.dtstart, whole.timezone), whole.grid
    offsets = grid.offsets if grid else (_NONE,)
    found = [Component(days, offset, whole.shift, grid is not None) for offset in offsets]
    extra = tuple(
        each for each in whole.rdates if whole.contains(each) and not any(part.owns(each) for part in found)
    )
    found[0] = replace(found[0], extra=extra)
    spare, closed = frozenset(shown), list(_closed_days(spec, whole, now))
    return [replace(part, excluded=frozenset(_excluded(whole, part, closed)) - spare) for part in found]


def _segment(spec: TemplateSpec) -> Recurrence | None:
    """Return the rule within the segment's bounds."""
    whole: Recurrence | None = planning.recurrence_of(spec)
    if whole is not None and spec.ends_before is not None:
        whole = whole.split(spec.ends_before)[0]
    if whole is not None and spec.active_from is not None:
        whole = whole.split(spec.active_from)[1]
    return whole


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
        yield from (each for each in (*part.starts(first, end), *extra) if each not in offered)


def _closed_days(spec: TemplateSpec, whole: Recurrence, now: datetime) -> Iterator[_Closed]:
    """Yield the days of the next two years on which the template may offer less than its rule says."""
    rule, first = whole.rule, now.astimezone(ZoneInfo(spec.timezone)).date()
    # Where the clocks go forward two starts of a day can fall on one instant; only one of them is offered.
    crowded = whole.grid is not None or (rule and (rule.freq == "HOURLY" or rule.byhour or rule.byminute))
    gaps = _gap_days(spec.timezone, first.year - 1) if crowded else set()
    if not (spec.holidays or spec.blackouts or gaps):
        return
    zone = ZoneInfo(spec.timezone)
    for number in range(_HORIZON.days):
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
    if rule.until is not None:
        last = days.last()
        if last is not None:
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
