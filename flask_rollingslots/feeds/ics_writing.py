"""Templates and overrides of their slots as iCalendar (RFC 5545): files, and calendars that programs subscribe to.

A feed is read again and again, by programs that compare, and nobody looks at it: so it leaves out what is long past,
says what no rule can say as single dates, and skips a template that is broken. A file is whole, or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from .. import planning
from ..errors import InvalidRequest, InvalidRule, RollingSlotsError
from ..recurrence import Recurrence
from ..recurrence.zones import instant_of, minus, plus
from ..values import Status, TemplateSpec, Window
from .entries import MAX_EVENTS, Override, StoredTemplate, clean, icalendar_package, naming, short, title_of
from .ics_rules import Component, components, timezone_component

_PRODID = "-//Flask-RollingSlots//Flask-RollingSlots//EN"
_UTC_NAMES = {"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Etc/Zulu", "Zulu", "Etc/Universal", "Universal"}
#: What UIDs have where no host is known.
HOST = "flask-rollingslots"
#: How far single dates of a feed go where no rule can be written, or the rule has ended.
_LISTED = timedelta(days=366)
#: A zone moves a wall clock time by less than a day, and a gap by at most a day.
SLACK = timedelta(days=2)
_TICK = timedelta(minutes=1)
#: How often programs are asked to look again.
_REFRESH = "PT1H"


# -- a file


def ics_bytes(templates: Iterable[StoredTemplate], now: datetime) -> bytes:
    """Return one VCALENDAR: a VEVENT for each template, or for each time of day of a day grid.

    The same templates give the same bytes until public holidays or blackouts come into the next two years: UIDs come
    from the series, DTSTAMP is when the template was made or last changed. Inactive templates are left out.

    :param now: aware; excluded days are written for two years from here.
    :raises InvalidRequest: names a template that iCalendar cannot say.
    """
    events: list[Any] = []
    for template in templates:
        if template.spec.active:
            with naming(f"template {template.spec.id} ({short(template.spec.name)})"):
                events += _Writer(template).events(components(template.spec, now, template.shown))
    content: bytes = _calendar(events).to_ical()
    return content


# -- a feed


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feed is written with.

    :param now: aware.
    :param host: what makes UIDs unique on earth.
    :param name: how calendar programs call it.
    :param complain: called with each template that cannot be written, and why.
    :param most: how many events it may have.
    """

    now: datetime
    host: str
    name: str
    complain: Callable[[TemplateSpec, Exception], None]
    most: int = MAX_EVENTS

    @property
    def period(self) -> datetime:
        """Since when the feed begins where it begins, aware: it moves on with each month, not with each look."""
        return self.now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    @property
    def since(self) -> datetime:
        """The first day of the last month: its midnight, naive, in any zone."""
        return (self.period - timedelta(days=1)).replace(day=1, tzinfo=None)


def feed_bytes(templates: Iterable[StoredTemplate], feed: Feed) -> bytes:
    """Return one VCALENDAR; the same templates give the same bytes within a month.

    :raises InvalidRequest: if it has too many events.
    """
    refresh = icalendar_package().vText(_REFRESH, params={"VALUE": "DURATION"})
    found = (event for template in templates for event in _feed_events(template, feed))
    events = list(islice(found, feed.most + 1))
    if len(events) > feed.most:
        expected = f"at most {feed.most:,} events: ask for a template or a group"
        text = f"the calendar is too large: expected {expected}"
        raise InvalidRequest(text, field="template", expected=expected)
    names = {"x-wr-calname": feed.name, "name": feed.name, "x-published-ttl": _REFRESH}
    calendar = _calendar(events, **names)
    calendar.add("refresh-interval", refresh, encode=0)
    content: bytes = calendar.to_ical()
    return content


def last_change(templates: Iterable[StoredTemplate], feed: Feed) -> datetime:
    """Return when the feed became what it is, aware."""
    changes = [feed.period]
    for template in templates:
        changes += [template.stamp, *(each.changed_at for each in template.overrides if each.changed_at)]
    return max(changes)


def _feed_events(template: StoredTemplate, feed: Feed) -> list[Any]:
    """Return the events of a template; all of them or none."""
    if not template.spec.active:
        return []
    try:
        recent = _with_ended(_recent(template, feed))
        return list(_Writer(recent, feed.host).events(_parts(recent, feed)))
    except (RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError) as error:
        feed.complain(template.spec, error)
        return []


def _recent(template: StoredTemplate, feed: Feed) -> StoredTemplate:
    """Return a template as if it had begun last month."""
    spec = template.spec
    first = minus(feed.since, spec.shift)
    moment = instant_of(feed.since, ZoneInfo(spec.timezone))
    overrides = tuple(
        each
        for each in template.overrides
        if each.original_start >= first or (each.starts_at is not None and each.starts_at >= moment)
    )
    if min((spec.dtstart, *spec.rdates)) < first:
        spec = replace(spec, active_from=max(first, spec.active_from or first))
    return replace(template, spec=spec, overrides=overrides, stamp=max(template.stamp, feed.period))


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
    cut = plus(max(shown), _TICK)
    spec = replace(spec, cancelled_from=None, active_until=min(cut, spec.active_until or cut))
    zone = ZoneInfo(spec.timezone)
    span = Window(instant_of(end + spec.shift, zone) - SLACK, instant_of(cut + spec.shift, zone) + SLACK)
    absent = {slot.original_start for slot in planning.planned(spec, span) if slot.original_start >= end}
    return replace(template, spec=spec).without(absent)


def _parts(template: StoredTemplate, feed: Feed) -> list[Component]:
    """Return a template's components: rules, or single dates where iCalendar has no such rule."""
    spec = template.spec
    start = instant_of(feed.since, ZoneInfo(spec.timezone))
    try:
        found = components(spec, start, template.shown)
        for part in found:
            _ = part.rrule  # refused here, if it cannot be written
    except InvalidRule:
        starts = [slot.original_start for slot in planning.planned(spec, Window(start, start + _LISTED))]
        if not starts:
            return []
        days = Recurrence(None, starts[0], spec.timezone)
        return [Component(days, timedelta(0), spec.shift, is_grid=False, extra=tuple(starts))]
    return found


# -- calendars and events


def _calendar(events: Iterable[Any], **names: str) -> Any:
    """Return a VCALENDAR of some events, with the time zones that they name (RFC 5545 section 3.2.19)."""
    package = icalendar_package()
    calendar = package.Calendar()
    calendar.add("prodid", _PRODID)
    calendar.add("version", "2.0")
    for name, value in names.items():
        # As a text, for what icalendar does not know it does not escape.
        calendar.add(name, package.vText(clean(value)))
    used: dict[str, int] = {}
    for event in events:
        calendar.add_component(event)
        for moment in (event["DTSTART"].dt, *_listed(event, "RDATE"), *_listed(event, "EXDATE")):
            if zone := getattr(moment.tzinfo, "key", None):
                used[zone] = min(used.get(zone, moment.year), moment.year)
    # A year more, for the time that holds when the first begins; nobody keeps a diary of years before 1970.
    zones = [timezone_component(name, max(year - 1, 1970)) for name, year in sorted(used.items())]
    calendar.subcomponents[:0] = zones  # before the events that name them
    return calendar


def _listed(event: Any, name: str) -> list[datetime]:
    return [each.dt for each in event[name].dts] if name in event else []


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the events of one template.

    :param host: what follows the ``@`` in each UID: UIDs are unique on earth, ids only within an app.
    """

    template: StoredTemplate
    host: str = HOST
    package: Any = field(default_factory=icalendar_package)

    def events(self, parts: Iterable[Component]) -> Iterator[Any]:
        """Yield the VEVENTs: of each component, each override, and what no component has."""
        overrides = {each.original_start: each for each in self.template.overrides}
        for part in parts:
            own = {start: overrides.pop(start) for start in list(overrides) if part.owns(start)}
            if part.first is not None:
                yield from self._of_component(part, part.first, own)
        # What was changed by hand, and the rule no longer has: events of their own.
        series, shift = self.template.spec.series_id, self.template.spec.shift
        for start, override in sorted(overrides.items()):
            if override.status not in (Status.CANCELLED, Status.DELETED):
                uid = f"series-{series}-{start:%Y%m%dT%H%M}@{self.host}"
                yield self._event(uid, self._shown(start + shift), override)

    def _of_component(
        self, part: Component, first: datetime, own: Mapping[datetime, Override]
    ) -> Iterator[Any]:
        """Yield the VEVENT of a component, and one with RECURRENCE-ID for each slot that differs from it."""
        spec, rrule = self.template.spec, part.rrule
        # The same for a series whatever else changes; each time of day of a grid is an event.
        segment = f"-{spec.id}" if spec.id != spec.series_id else ""
        clock = f"-t{part.days.dtstart + part.offset:%H%M}" if part.is_grid else ""
        uid = f"series-{spec.series_id}{segment}{clock}@{self.host}"
        event = self._event(uid, self._shown(first + part.shift))
        if rrule is not None:
            event.add("rrule", self.package.vRecur.from_ical(rrule))
        deleted = {start for start, each in own.items() if each.status == Status.DELETED}
        for name, starts in (("rdate", {*part.extra} - {first}), ("exdate", part.excluded | deleted)):
            if starts:
                event.add(name, [self._shown(start + part.shift) for start in sorted(starts)])
        yield event
        for start, override in sorted(own.items()):
            nominal = self._shown(start + part.shift)
            if start in deleted or not self._differs(nominal, override):
                continue
            event = self._event(uid, nominal, override)
            event.add("recurrence-id", nominal)
            if override.status == Status.CANCELLED:
                event.add("status", "CANCELLED")
                if override.cancel_reason:
                    event.add("comment", clean(override.cancel_reason))
            yield event

    def _shown(self, wall: datetime) -> datetime:
        """Return a wall clock time of the template's zone as iCalendar writes it."""
        name = self.template.spec.timezone
        return wall.replace(tzinfo=UTC if name in _UTC_NAMES else ZoneInfo(name))

    def _times(self, nominal: datetime, override: Override) -> tuple[datetime, timedelta]:
        """Return when the slot of an override starts, and how long it is."""
        start, end, duration = override.starts_at, override.ends_at, self.template.spec.duration
        if start is None:
            return nominal, duration
        return start.astimezone(nominal.tzinfo), end - start if end else duration

    def _differs(self, nominal: datetime, override: Override) -> bool:
        spec = self.template.spec
        start, duration = self._times(nominal, override)
        rule_time = instant_of(nominal.replace(tzinfo=None), ZoneInfo(spec.timezone))
        is_moved = (start.astimezone(UTC), duration) != (rule_time, spec.duration)
        is_renamed = override.data is not None and self._texts(override.data) != self._texts(spec.data)
        return is_moved or is_renamed or override.status == Status.CANCELLED

    def _event(self, uid: str, nominal: datetime, override: Override | None = None) -> Any:
        spec, stamp, start = self.template.spec, self.template.stamp, nominal
        duration, before = spec.duration, self.template.fields.get("reminder_before")
        data: Mapping[str, Any] = spec.data
        if override is not None:
            start, duration = self._times(nominal, override)
            stamp = max(stamp, override.changed_at or stamp)
            data = data if override.data is None else override.data
            before = None if override.status == Status.CANCELLED else before
        event = self.package.Event()
        event.add("uid", uid)
        # Without METHOD both say when it last changed (RFC 5545 section 3.8.7.2).
        event.add("dtstamp", stamp.astimezone(UTC))
        event.add("last-modified", stamp.astimezone(UTC))
        event.add("sequence", spec.revision)
        event.add("dtstart", start)
        event.add("duration", self.package.vText(_period(duration)), encode=0)
        for name, text in self._texts(data).items():
            event.add(name, text)
        if before is not None:
            alarm = self.package.Alarm()
            alarm.add("action", "DISPLAY")
            alarm.add("description", event["summary"])
            alarm.add("trigger", self.package.vText(f"-{_period(before)}"), encode=0)
            event.add_component(alarm)
        return event

    def _texts(self, data: Mapping[str, Any]) -> dict[str, str]:
        """Return what people read of a slot with some data, by property."""
        spec = self.template.spec
        texts = {name: data.get(name) for name in ("description", "location")}
        texts = {"summary": title_of(spec.name, spec.data, data), **texts}
        return {name: clean(text) for name, text in texts.items() if isinstance(text, str) and text}


def _period(span: timedelta) -> str:
    # In hours and minutes: a slot lasts so long by the stopwatch, a "day" of RFC 5545 section 3.3.6 does not.
    hours, minutes = divmod(int(span.total_seconds() // 60), 60)
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes or not hours else "")
