"""Templates and overrides of their slots as iCalendar (RFC 5545): files, and calendars that programs subscribe to.

A feed is read again and again, by programs that compare, and nobody looks at it: so it leaves out what is long past,
says what no rule can say as single dates, and skips a template that is broken. A file is whole, or refused.
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from itertools import islice, pairwise
from typing import Any, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

from .. import planning
from ..errors import InvalidRequest, InvalidRule, RollingSlotsError, TooCostly
from ..recurrence import Recurrence
from ..recurrence.days_off import days_off
from ..recurrence.rule import WEEKDAYS, Rule, parse_rrule
from ..recurrence.zones import instant_of, minus, plus
from ..values import MINUTE, Status, Steps, TemplateSpec, Window
from .entries import (
    UTC_NAMES,
    Event,
    Override,
    StoredTemplate,
    clean,
    escaped,
    folded,
    icalendar_package,
    naming,
    short,
    title_of,
    written,
)

_PRODID = "-//Flask-RollingSlots//Flask-RollingSlots//EN"
#: What UIDs have where no host is known.
HOST = "flask-rollingslots"
#: How far single dates of a feed go where no rule can be written, or the rule has ended.
_LISTED = timedelta(days=366)
#: A zone moves a wall clock time by less than a day, and a gap by at most a day.
SLACK = timedelta(days=2)
_DAY, _MOMENT = timedelta(days=1), timedelta(minutes=1)
#: How far ahead days that public holidays and blackouts leave out are written as single dates.
_HORIZON_DAYS = 2 * 366
#: A pattern of a zone that holds up to here is written as a rule without end; what fits none is listed up to here.
_LAST_YEAR = 2099
#: How often programs are asked to look again.
_REFRESH = "PT1H"
#: What one template of a feed may cost, and an event, in starts that are looked at.
_STEPS_OF_ONE, _STEPS_OF_EVENT = 20_000, 20
#: The midnight of a shown day, and the original starts that are offered around it.
_Closed = tuple[datetime, frozenset[datetime]]


# -- a file


def ics_bytes(templates: Iterable[StoredTemplate], now: datetime) -> bytes:
    """Return one VCALENDAR: a VEVENT for each template, or for each time of day of a day grid.

    The same templates give the same bytes until public holidays, blackouts or clock changes come into the next two
    years: UIDs come from the series, DTSTAMP is when the template was made or last changed. Inactive templates are left
    out.

    :param now: aware; excluded days, and slots that a clock change makes shorter or longer, are written for two years
        from here.
    :raises InvalidRequest: names a template that iCalendar cannot say.
    """
    events: list[Event] = []
    for template in templates:
        if template.spec.active:
            with naming(f"template {template.spec.id} ({short(template.spec.name)})"):
                parts = components(template.spec, now, template.shown)
                events += _Writer(_with_lengths(template, now)).events(parts)
    return _calendar(events)


# -- a feed


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feed is written with.

    :param now: aware.
    :param host: what makes UIDs unique on earth.
    :param complain: called with each template that cannot be written, and why.
    :param most: how many events it may have.
    :param steps: counts what is worked out for it.
    :param begins: midnight, naive, if it holds nothing of the days before. ``note``: what it says of itself.
    :param is_of_one: whether it has one template, so that one which costs too much is refused, not left out.
    """

    now: datetime
    host: str
    name: str
    complain: Callable[[TemplateSpec, Exception], None]
    most: int = 3_000
    steps: Steps | None = None
    is_of_one: bool = False
    begins: datetime | None = None
    note: str | None = None

    @property
    def period(self) -> datetime:
        """Since when the feed begins where it begins, aware: it moves on with each month, not with each look."""
        return self.now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    @property
    def since(self) -> datetime:
        """The first day of the last month: its midnight, naive, in any zone."""
        return self.begins or (self.period - timedelta(days=1)).replace(day=1, tzinfo=None)


def feed_bytes(templates: Iterable[StoredTemplate], feed: Feed) -> bytes:
    """Return one VCALENDAR; the same templates give the same bytes within a month.

    :raises InvalidRequest: if it has too many events.
    """
    found = (event for template in templates for event in _feed_events(template, feed))
    events = list(islice(found, feed.most + 1))
    if len(events) > feed.most:
        expected = f"at most {feed.most:,} events: ask for a template or a group"
        text = f"the calendar is too large: expected {expected}"
        raise InvalidRequest(text, field="template", expected=expected)
    names = {"x-wr-calname": feed.name, "name": feed.name, "x-published-ttl": _REFRESH}
    names |= {} if feed.note is None else {"description": feed.note, "x-wr-caldesc": feed.note}
    return _calendar(events, _REFRESH, **names)


def last_change(templates: Iterable[StoredTemplate], feed: Feed) -> datetime:
    """Return when the feed became what it is, aware."""
    changes = [feed.period]
    for template in templates:
        changes += [template.stamp, *(each.changed_at for each in template.overrides if each.changed_at)]
    return max(changes)


def _feed_events(template: StoredTemplate, feed: Feed) -> list[Event]:
    """Return the events of a template; all of them or none."""
    if not template.spec.active:
        return []
    steps = Steps(_STEPS_OF_ONE)
    try:
        recent = _with_ended(_recent(template, feed))
        parts, start = _parts(recent, feed, steps), instant_of(feed.since, ZoneInfo(recent.spec.timezone))
        found = list(_Writer(_with_lengths(recent, start, steps), feed.host).events(parts))
    except (RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError) as error:
        if feed.is_of_one and isinstance(error, TooCostly):
            raise
        feed.complain(template.spec, error)
        return []  # nobody else pays for it
    if feed.steps is not None:
        feed.steps.take(steps.used)
    return found


def _recent(template: StoredTemplate, feed: Feed) -> StoredTemplate:
    """Return a template as if it had begun last month."""
    spec = template.spec
    first = minus(feed.since, spec.shift)
    moment = instant_of(feed.since, ZoneInfo(spec.timezone))
    never = datetime.min.replace(tzinfo=UTC)
    late = (o for o in template.overrides if o.original_start >= first or (o.starts_at or never) >= moment)
    if min((spec.dtstart, *spec.rdates)) < first:
        spec = replace(spec, active_from=max(first, spec.active_from or first))
    return replace(template, spec=spec, overrides=tuple(late), stamp=max(template.stamp, feed.period))


def _with_ended(template: StoredTemplate) -> StoredTemplate:
    """Return a series that somebody ended, with what still shows of it: cancelled slots, and those that are booked.

    The rule goes on for as long as they do, at most a year, and leaves out what has no row.
    """
    spec, end = template.spec, template.spec.cancelled_from
    if end is None:
        return template
    end = max(end, spec.active_from or min((spec.dtstart, *spec.rdates)))
    shown = [start for start in template.shown if end <= start < plus(end, _LISTED)]
    if not shown:
        return template
    cut = plus(max(shown), MINUTE)
    spec = replace(spec, cancelled_from=None, active_until=min(cut, spec.active_until or cut))
    zone = ZoneInfo(spec.timezone)
    span = Window(instant_of(end + spec.shift, zone) - SLACK, instant_of(cut + spec.shift, zone) + SLACK)
    absent = {slot.original_start for slot in planning.planned(spec, span) if slot.original_start >= end}
    return replace(template, spec=spec).without(absent)


def _with_lengths(template: StoredTemplate, now: datetime, steps: Steps | None = None) -> StoredTemplate:
    """Return a template with overrides for the slots of two years that a clock change makes shorter or longer.

    Programs keep the length exact from start to start (RFC 5545 section 3.8.5.3); ends by the wall clock are not.
    """
    spec, found = template.spec, dict[datetime, Override]()
    if spec.ends_by == "elapsed":
        return template
    decided = {each.original_start for each in template.overrides}
    end = plus(now, _HORIZON_DAYS * _DAY)
    for change in offset_changes(spec.timezone, now.year - 1):
        if change.after == change.before:
            continue
        moment = (change.onset - change.before).replace(tzinfo=UTC)
        # What it moves begins no earlier than its length before, nor later than the hour that is left out.
        slack = 2 * abs(change.after - change.before) + _MOMENT
        first = max(now, minus(moment, spec.duration + slack))
        if first >= end:
            break
        for slot in planning.planned(spec, Window(first, min(end, plus(moment, slack))), steps):
            if slot.ends_at - slot.starts_at != spec.duration and slot.original_start not in decided:
                at = slot.original_start
                found[at] = Override(original_start=at, starts_at=slot.starts_at, ends_at=slot.ends_at)
    return replace(template, overrides=(*template.overrides, *found.values()))


def _parts(template: StoredTemplate, feed: Feed, steps: Steps) -> list[Component]:
    """Return a template's components: rules, or single dates where iCalendar has no such rule."""
    spec = template.spec
    start = instant_of(feed.since, ZoneInfo(spec.timezone))
    try:
        found = components(spec, start, template.shown, steps)
        for part in found:
            _ = part.rrule  # refused here, if it cannot be written
    except InvalidRule:
        starts = [
            slot.original_start for slot in planning.planned(spec, Window(start, start + _LISTED), steps)
        ]
        if not starts:
            return []
        days = Recurrence(None, starts[0], spec.timezone)
        return [Component(days, timedelta(0), spec.shift, is_grid=False, extra=tuple(starts))]
    return found


# -- calendars and events


@lru_cache(maxsize=1024)
def _rule_line(rrule: str) -> str:
    return str(icalendar_package().vRecur.from_ical(rrule).to_ical().decode())


def _calendar(events: Iterable[Event], refresh: str | None = None, **names: str) -> bytes:
    """Return a VCALENDAR of some events, with the time zones that they name (RFC 5545 section 3.2.19)."""
    package = icalendar_package()
    calendar = package.Calendar()
    calendar.add("prodid", _PRODID)
    calendar.add("version", "2.0")
    for name, value in names.items():
        # As a text, for what icalendar does not know it does not escape.
        calendar.add(name, package.vText(clean(value)))
    if refresh is not None:
        calendar.add("refresh-interval", package.vText(refresh, params={"VALUE": "DURATION"}), encode=0)
    used: dict[str, int] = {}
    texts = []
    for event in events:
        texts.append(event.text())
        if event.zone not in UTC_NAMES:
            used[event.zone] = min(used.get(event.zone, event.year), event.year)
    # A year more, for the time that holds when the first begins; nobody keeps a diary of years before 1970.
    zones = [timezone_component(name, max(year - 1, 1970)) for name, year in sorted(used.items())]
    head, end = bytes(calendar.to_ical()), b"END:VCALENDAR\r\n"
    # Zones before the events that name them.
    return b"".join([head.removesuffix(end), *zones, "".join(texts).encode(), end])


@dataclass(frozen=True)
class _Writer:
    """Writes the events of one template; UIDs name the host, for they are unique on earth, ids only within an app."""

    template: StoredTemplate
    host: str = HOST

    def events(self, parts: Iterable[Component]) -> Iterator[Event]:
        """Yield the VEVENTs: of each component, each override, and what no component has."""
        overrides = {each.original_start: each for each in self.template.overrides}
        by_clock: defaultdict[time, list[datetime]] = defaultdict(list)
        for start in overrides:
            by_clock[start.time()].append(start)
        for part in parts:
            clock = (part.days.dtstart + part.offset).time()
            near = [*by_clock[clock], *part.extra] if part.is_grid else list(overrides)
            own = {start: overrides.pop(start) for start in near if start in overrides and part.owns(start)}
            if part.first is not None:
                yield from self._of_component(part, part.first, own)
        # What was changed by hand, and the rule no longer has: events of their own.
        series, shift = self.template.spec.series_id, self.template.spec.shift
        for start, override in sorted(overrides.items()):
            if override.status not in (Status.CANCELLED, Status.DELETED):
                uid = f"series-{series}-{start:%Y%m%dT%H%M}@{self.host}"
                yield self._event(uid, self._shown(start + shift), override)

    def _of_component(
        self, part: Component, first: datetime, own: dict[datetime, Override]
    ) -> Iterator[Event]:
        """Yield the VEVENT of a component, and one with RECURRENCE-ID for each slot that differs from it."""
        spec, rrule = self.template.spec, part.rrule
        # The same for a series whatever else changes; each time of day of a grid is an event.
        segment = f"-{spec.id}" if spec.id != spec.series_id else ""
        clock = f"-t{part.days.dtstart + part.offset:%H%M}" if part.is_grid else ""
        uid = f"series-{spec.series_id}{segment}{clock}@{self.host}"
        event = self._event(uid, self._shown(first + part.shift))
        if rrule is not None:
            event.add(rrule=_rule_line(rrule))
        deleted = {start for start, each in own.items() if each.status == Status.DELETED}
        for name, starts in (("RDATE", {*part.extra} - {first}), ("EXDATE", part.excluded | deleted)):
            if starts:
                event.add_moments(name, [start + part.shift for start in sorted(starts)])
        yield event
        for start, override in sorted(own.items()):
            nominal = self._shown(start + part.shift)
            if start in deleted or not self._differs(nominal, override):
                continue
            event = self._event(uid, nominal, override)
            event.add_moments("RECURRENCE-ID", [nominal])
            if override.status == Status.CANCELLED:
                event.add(status="CANCELLED")
                if override.cancel_reason:
                    event.add(comment=escaped(override.cancel_reason))
            yield event

    def _shown(self, wall: datetime) -> datetime:
        """Return a wall clock time of the template's zone as iCalendar writes it."""
        name = self.template.spec.timezone
        return wall.replace(tzinfo=UTC if name in UTC_NAMES else ZoneInfo(name))

    def _times(self, nominal: datetime, override: Override) -> tuple[datetime, timedelta]:
        """Return when the slot of an override starts, and how long it is."""
        start, end, duration = override.starts_at, override.ends_at, self.template.spec.duration
        if start is None:
            return nominal, duration
        return start.astimezone(nominal.tzinfo), end - start if end else duration

    def _differs(self, nominal: datetime, override: Override) -> bool:
        spec = self.template.spec
        own = spec.data if override.data is None else override.data
        if override.status == Status.CANCELLED or self._texts(own, override.name) != self._usual:
            return True
        start, duration = self._times(nominal, override)
        rule_time = instant_of(nominal.replace(tzinfo=None), ZoneInfo(spec.timezone))
        return (start.astimezone(UTC), duration) != (rule_time, spec.duration)

    def _event(self, uid: str, nominal: datetime, override: Override | None = None) -> Event:
        spec, stamp, start = self.template.spec, self.template.stamp, nominal
        duration, before = spec.duration, self.template.fields.get("reminder_before")
        data: Mapping[str, Any] = spec.data
        name = None if override is None else override.name
        if override is not None:
            start, duration = self._times(nominal, override)
            stamp = max(stamp, override.changed_at or stamp)
            data = data if override.data is None else override.data
            before = None if override.status == Status.CANCELLED else before
        event, texts = Event(spec.timezone), self._texts(data, name)
        event.add_moments("DTSTART", [start])
        # Without METHOD both say when it last changed (RFC 5545 section 3.8.7.2).
        changed = _stamp(stamp)
        event.add(uid=uid, sequence=spec.revision, dtstamp=changed, last_modified=changed)
        event.add(**{name: escaped(text) for name, text in texts.items()}, duration=_period(duration))
        if before is not None:
            about = folded(f"DESCRIPTION:{escaped(texts['summary'])}")
            lines = ("BEGIN:VALARM", "ACTION:DISPLAY", about, f"TRIGGER:-{_period(before)}", "END:VALARM")
            event.alarm = "\r\n".join(lines)
        return event

    @cached_property
    def _usual(self) -> dict[str, str]:
        """What people read of a slot that is as its template says."""
        return self._texts(self.template.spec.data)

    def _texts(self, data: Mapping[str, Any], name: str | None = None) -> dict[str, str]:
        """Return what people read of a slot with some data, and perhaps a name of its own, by property."""
        spec = self.template.spec
        texts = {key: data.get(key) for key in ("description", "location")}
        found = {key: text for key, text in texts.items() if isinstance(text, str) and text}
        return {"summary": title_of(name or spec.name, spec.data, data), **found}


@lru_cache(maxsize=256)
def _period(span: timedelta) -> str:
    # In hours and minutes: a slot lasts so long by the stopwatch, a "day" of RFC 5545 section 3.3.6 does not.
    hours, minutes = divmod(int(span.total_seconds() // 60), 60)
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes or not hours else "")


@lru_cache(maxsize=256)
def _stamp(moment: datetime) -> str:
    """Return a moment (aware) in UTC: of one template it is mostly the same."""
    return f"{written(moment.astimezone(UTC))}Z"


# -- a template as calendar programs understand it: one rule for each time of day, at the times that are shown


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

    @cached_property
    def rrule(self) -> str | None:
        """The RRULE for the shown times; InvalidRule says it where iCalendar has none."""
        return _moved(self.days, self.offset + self.shift) if self._begin else None

    @cached_property
    def _begin(self) -> datetime | None:
        return next(self.days.rule_starts(self.days.dtstart, datetime.max), None)


def components(
    spec: TemplateSpec, now: datetime, shown: Iterable[datetime] = (), steps: Steps | None = None
) -> list[Component]:
    """Return the components of a template or segment, by time of day; those without starts have no ``first``.

    :param now: aware; public holidays and blackouts are left out for two years from here.
    :param shown: original starts of which an override shows: an exclusion does not hide them.
    :param steps: counts the starts that are looked at, and each exclusion of each component.
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
    closing = _days_to_look_at(spec, whole, now)
    if steps is not None:  # counted before anything is worked out: what is too much costs nothing
        days_out = sum(not isinstance(each, datetime) for each in whole.exdates)  # with all that they have
        steps.take(len(found) * (_STEPS_OF_EVENT + len(whole.exdates) - days_out + len(closing)))
        steps.take(whole.most_a_day() * days_out)
        steps.take(whole.most_a_day() * sum(1 + 2 * slack // _DAY for slack in closing.values()))
    spare, closed = frozenset(shown), list(_closed_days(spec, closing))
    return [replace(part, excluded=frozenset(_excluded(whole, part, closed)) - spare) for part in found]


def _excluded(whole: Recurrence, part: Component, closed: list[_Closed]) -> Iterator[datetime]:
    """Yield what the component's rule has and the template does not offer."""
    for value in whole.exdates:
        if not isinstance(value, datetime):  # a grid day, also of what it has after midnight
            midnight = datetime.combine(value, time())
            yield from (plus(each, part.offset) for each in part.days.originals(midnight, midnight + _DAY))
        elif part.owns(value):
            yield value
    for midnight, offered in closed:
        first, end = midnight - part.shift, midnight - part.shift + _DAY
        extra = (each for each in part.extra if first <= each < end)
        yield from {*part.starts(first, end), *extra} - offered


def _days_to_look_at(spec: TemplateSpec, whole: Recurrence, now: datetime) -> dict[date, timedelta]:
    """Return the days of the next two years on which the template may offer less than its rule says.

    :return: with how much time around a day a start may be shown on it: a day near a change of the clocks.
    """
    first = now.astimezone(ZoneInfo(spec.timezone)).date()
    # Where the clocks go forward not all starts of a day have a place.
    known = offset_changes(spec.timezone, first.year - 1)
    changes = [each for each in known if each.onset.year <= first.year + 3]
    near = {
        each.onset.date() + _DAY * around: 2 * abs(each.after - each.before) + _MOMENT
        for each in changes
        for around in (-1, 0, 1)
    }
    forward = (each.onset.date() for each in changes if each.after > each.before)
    days = {day + timedelta(days=around) for day in forward for around in (-1, 0, 1)}
    span = 2 if whole.grid is not None else 1  # a closed day of a grid may reach into the next one
    is_off = days_off(spec)
    for number in range(-1, _HORIZON_DAYS) if spec.holidays or spec.blackouts else ():
        day = first + timedelta(days=number)
        if is_off(day) is not None:
            days |= {day + timedelta(days=later) for later in range(span)}
    within = sorted(day for day in days if 0 <= (day - first).days < _HORIZON_DAYS)
    return {day: near.get(day, _MOMENT) for day in within}


def _closed_days(spec: TemplateSpec, days: Mapping[date, timedelta]) -> Iterator[_Closed]:
    """Yield days with the original starts that the template offers on them."""
    zone, rows = ZoneInfo(spec.timezone), list[list[datetime]]()
    for midnight in (datetime.combine(day, time()) for day in days):
        if rows and midnight - rows[-1][-1] == _DAY:
            rows[-1].append(midnight)  # days that follow each other are looked at together
        else:
            rows.append([midnight])
    for row in rows:
        slack = max(days[midnight.date()] for midnight in row)
        around = Window(instant_of(row[0] - slack, zone), instant_of(row[-1] + _DAY + slack, zone))
        found = planning.promised_starts(spec, around)
        offered = frozenset(original for original, _, reason in found if reason is None)
        yield from ((midnight, offered) for midnight in row)


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
    text, plain = str(rule), "a DAILY or WEEKLY rule without months and days of the month"
    expected = f"{plain}, or a day that ends before midnight; JSON can be exported all the same"
    message = f"rrule = {text!r}: iCalendar has no rule for {what}; expected {expected}"
    raise InvalidRule(message, field="rrule", value=text)


# -- time zones: VTIMEZONE (RFC 5545 section 3.6.5) from the tz database, with rules, so that no year is the last
#
# Common programs know the IANA names and never look at it; those that do not would otherwise have no zone at all.
# icalendar's own generator ends in 2038 and writes the starts of summer time an hour late.


class Change(NamedTuple):
    """A change of a zone's offset; its onset is the wall clock before it, naive, as RFC 5545 wants it."""

    onset: datetime
    before: timedelta
    after: timedelta
    name: str
    is_summer: bool


@lru_cache(maxsize=128)
def timezone_component(name: str, first_year: int) -> bytes:
    """Return the VTIMEZONE of a zone, right from a year on, as text."""
    package = icalendar_package()
    found = package.Timezone()
    found.add("tzid", name)
    for changes, rule in _observances(name, first_year):
        first, *others = changes
        part = package.TimezoneDaylight() if first.is_summer else package.TimezoneStandard()
        offsets = {"tzoffsetfrom": first.before, "tzoffsetto": first.after}
        for key, value in {"dtstart": first.onset, **offsets, "tzname": first.name}.items():
            part.add(key, value)
        if rule:
            part.add("rrule", package.vRecur.from_ical(rule))
        elif others:
            part.add("rdate", [each.onset for each in others])
        found.add_component(part)
    return bytes(found.to_ical())


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
