"""Templates and decisions as iCalendar (RFC 5545): VEVENTs with RRULE, RDATE, EXDATE and RECURRENCE-ID."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..errors import InvalidRequest
from ..recurrence.zones import instant_of
from .entries import Decision, Outgoing, naming, short
from .icalendar_package import icalendar_package
from .ics_rules import Component, components
from .ics_zones import timezone_component
from .texts import clean, title_of

_PRODID = "-//Flask-RollingSlots//Flask-RollingSlots//EN"
_UTC_NAMES = {"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Etc/Zulu", "Zulu", "Etc/Universal", "Universal"}
_HOST = "flask-rollingslots"


@dataclass(frozen=True, slots=True)
class Ink:
    """What all events of a calendar are written with.

    :param host: what follows the ``@`` in each UID: UIDs are unique on earth, ids only within an app.
    """

    host: str = _HOST
    package: Any = field(default_factory=icalendar_package)

    def calendar(self, events: Iterable[Any], **properties: str) -> Any:
        """Return a VCALENDAR of some events, with the time zones that they name."""
        calendar = self.package.Calendar()
        calendar.add("prodid", _PRODID)
        calendar.add("version", "2.0")
        for name, value in properties.items():
            # As a text, for what icalendar does not know it does not escape.
            calendar.add(name.replace("_", "-"), self.package.vText(clean(value)))
        for event in events:
            calendar.add_component(event)
        for position, zone in enumerate(_zones(self.package, calendar)):
            calendar.subcomponents.insert(position, zone)  # before the events that name them
        return calendar


def ics_bytes(templates: Iterable[Outgoing], now: datetime) -> bytes:
    """Return one VCALENDAR: a VEVENT for each template, or for each time of day of a day grid.

    The same templates give the same bytes until public holidays or blackouts come into the next two years: UIDs come
    from the series, DTSTAMP is when the template was made or last changed. Inactive templates offer nothing: they are
    left out.

    :param now: aware; excluded days are written for two years from here.
    :raises InvalidRequest: names a template that iCalendar cannot say.
    :raises ConfigError: if icalendar is not installed.
    """
    ink = Ink()
    events = (event for out in templates if out.spec.active for event in _all_events(ink, out, now))
    found: bytes = ink.calendar(events).to_ical()
    return found


def _zones(package: Any, calendar: Any) -> list[Any]:
    """Return the VTIMEZONEs that the events' times name (RFC 5545 section 3.2.19 wants one for each)."""
    used: dict[str, int] = {}
    for event in calendar.walk("VEVENT"):
        for moment in _moments(event):
            name = getattr(moment.tzinfo, "key", None)
            if name:
                used[name] = min(used.get(name, moment.year), moment.year)
    # A year more, for the time that holds when the first begins; nobody keeps a diary of years before 1970.
    return [timezone_component(package, name, max(year - 1, 1970)) for name, year in sorted(used.items())]


def _moments(event: Any) -> Iterator[datetime]:
    yield event["DTSTART"].dt
    for name in ("RDATE", "EXDATE"):
        if name in event:
            yield from (each.dt for each in event[name].dts)


def _all_events(ink: Ink, out: Outgoing, now: datetime) -> Iterator[Any]:
    label = f"template {out.spec.id} ({short(out.spec.name)})"
    try:
        with naming(label):
            yield from events_of(ink, out, components(out.spec, now, visible(out)))
    except InvalidRequest as error:
        if str(error).startswith(label):
            raise
        raise InvalidRequest(f"{label}: {error}", **error.details) from error


def visible(out: Outgoing) -> set[datetime]:
    """Return the original starts of which a decision shows, also where the rule leaves them out."""
    return {each.original_start for each in out.decisions if each.status != "deleted"}


def events_of(ink: Ink, out: Outgoing, parts: Iterable[Component]) -> Iterator[Any]:
    """Yield the VEVENTs of a template: for each component, each override, and what no component has."""
    decisions = {each.original_start: each for each in out.decisions}
    for part in parts:
        yield from _component_events(ink, out, part, decisions)
    yield from _stray_events(ink, out, decisions)


def _component_events(
    ink: Ink, out: Outgoing, part: Component, decisions: dict[datetime, Decision]
) -> Iterator[Any]:
    """Yield the VEVENT of a component and its overrides; takes their decisions out of the dict."""
    own = {start: decisions.pop(start) for start in list(decisions) if part.owns(start)}
    first, uid = part.first, _uid(ink, out, part)
    if first is None:
        return
    deleted = {start for start, each in own.items() if each.status == "deleted"}
    rrule = part.rrule
    event = _event(ink, out, uid, _shown(out, first + part.shift), out.spec.duration)
    if rrule is not None:
        event.add("rrule", ink.package.vRecur.from_ical(rrule))
    _add_moments(out, event, "rdate", part, set(part.extra) - {first})
    _add_moments(out, event, "exdate", part, set(part.excluded) | deleted)
    yield event
    for start, decision in sorted(own.items()):
        override = _override(ink, out, uid, _shown(out, start + part.shift), decision)
        if override is not None:
            yield override


def _uid(ink: Ink, out: Outgoing, part: Component) -> str:
    """Return the UID: the same for a series whatever else changes; each time of day of a grid is an event."""
    spec = out.spec
    segment = f"-{spec.id}" if spec.id != spec.series_id else ""
    clock = f"-t{part.days.dtstart + part.offset:%H%M}" if part.is_grid else ""
    return f"series-{spec.series_id}{segment}{clock}@{ink.host}"


def _add_moments(out: Outgoing, event: Any, name: str, part: Component, starts: set[datetime]) -> None:
    if starts:
        event.add(name, [_shown(out, start + part.shift) for start in sorted(starts)])


def _shown(out: Outgoing, wall: datetime) -> datetime:
    """Return a wall clock time of the template's zone as iCalendar writes it."""
    name = out.spec.timezone
    return wall.replace(tzinfo=UTC if name in _UTC_NAMES else ZoneInfo(name))


def _event(
    ink: Ink, out: Outgoing, uid: str, start: datetime, duration: timedelta, decision: Decision | None = None
) -> Any:
    own = out.spec.data if decision is None or decision.data is None else decision.data
    stamp = max(out.stamp, decision.changed_at) if decision and decision.changed_at else out.stamp
    event = ink.package.Event()
    event.add("uid", uid)
    # Without METHOD both say when it last changed (RFC 5545 section 3.8.7.2).
    event.add("dtstamp", stamp.astimezone(UTC))
    event.add("last-modified", stamp.astimezone(UTC))
    event.add("sequence", out.spec.revision)
    event.add("dtstart", start)
    event.add("duration", ink.package.vText(_period(duration)), encode=0)
    for name, text in _texts(out, own).items():
        event.add(name, text)
    before = out.fields.get("reminder_before")
    if before is not None and (decision is None or decision.status != "cancelled"):
        event.add_component(_alarm(ink, event["summary"], before))
    return event


def _period(span: timedelta) -> str:
    # In hours and minutes: a slot lasts so long by the stopwatch, a "day" of RFC 5545 section 3.3.6 does not.
    hours, minutes = divmod(int(span.total_seconds() // 60), 60)
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes or not hours else "")


def _texts(out: Outgoing, own: Mapping[str, Any]) -> dict[str, str]:
    """Return what people read of a slot, by property."""
    found = {"summary": clean(title_of(out.spec.name, out.spec.data, own))}
    for name in ("description", "location"):
        value = own.get(name)
        if isinstance(value, str) and value:
            found[name] = clean(value)
    return found


def _alarm(ink: Ink, text: str, before: timedelta) -> Any:
    alarm = ink.package.Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", text)
    alarm.add("trigger", ink.package.vText(f"-{_period(before)}"), encode=0)
    return alarm


def _override(ink: Ink, out: Outgoing, uid: str, nominal: datetime, decision: Decision) -> Any:
    """Return the VEVENT with RECURRENCE-ID of a slot that is cancelled, moved or renamed; ``None`` if none is due."""
    if decision.status == "deleted" or not _differs(out, nominal, decision):
        return None
    event = _event(ink, out, uid, *_times(out, nominal, decision), decision)
    event.add("recurrence-id", nominal)
    if decision.status == "cancelled":
        event.add("status", "CANCELLED")
        if decision.cancel_reason:
            event.add("comment", clean(decision.cancel_reason))
    return event


def _differs(out: Outgoing, nominal: datetime, decision: Decision) -> bool:
    start, duration = _times(out, nominal, decision)
    rule_time = instant_of(nominal.replace(tzinfo=None), ZoneInfo(out.spec.timezone))
    moved = (start.astimezone(UTC), duration) != (rule_time, out.spec.duration)
    renamed = decision.data is not None and _texts(out, decision.data) != _texts(out, out.spec.data)
    return moved or renamed or decision.status == "cancelled"


def _times(out: Outgoing, nominal: datetime, decision: Decision) -> tuple[datetime, timedelta]:
    start = decision.starts_at.astimezone(nominal.tzinfo) if decision.starts_at else nominal
    duration = out.spec.duration
    if decision.starts_at and decision.ends_at:
        duration = decision.ends_at - decision.starts_at
    return start, duration


def _stray_events(ink: Ink, out: Outgoing, decisions: dict[datetime, Decision]) -> Iterator[Any]:
    """Yield slots that were changed by hand and that the rule no longer has: events of their own."""
    for start, decision in sorted(decisions.items()):
        if decision.status in ("cancelled", "deleted"):
            continue
        nominal = _shown(out, start + out.spec.shift)
        uid = f"series-{out.spec.series_id}-{start:%Y%m%dT%H%M}@{ink.host}"
        yield _event(ink, out, uid, *_times(out, nominal, decision), decision)
