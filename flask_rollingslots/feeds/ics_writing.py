"""Templates and decisions as iCalendar (RFC 5545): VEVENTs with RRULE, RDATE, EXDATE and RECURRENCE-ID."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..errors import InvalidRequest
from ..recurrence.zones import instant_of
from .entries import Decision, Outgoing, naming, short
from .icalendar_package import icalendar_package
from .ics_rules import Component, components
from .ics_zones import timezone_component

_PRODID = "-//Flask-RollingSlots//Flask-RollingSlots//EN"
_UTC_NAMES = {"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Etc/Zulu", "Zulu", "Etc/Universal", "Universal"}
# What some programs take for the end of a line, and what RFC 5545 section 3.1 forbids in a text.
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


def ics_bytes(templates: Iterable[Outgoing], now: datetime) -> bytes:
    """Return one VCALENDAR: a VEVENT for each template, or for each time of day of a day grid.

    The same templates give the same bytes until public holidays or blackouts come into the next two years: UIDs come
    from the series, DTSTAMP is when the template was made. Inactive templates offer nothing and are left out.

    :param now: aware; excluded days are written for two years from here.
    :raises InvalidRequest: names a template that iCalendar cannot say.
    :raises ConfigError: if icalendar is not installed.
    """
    package = icalendar_package()
    calendar = package.Calendar()
    calendar.add("prodid", _PRODID)
    calendar.add("version", "2.0")
    for out in templates:
        if out.spec.active:
            for event in _events(package, out, now):
                calendar.add_component(event)
    for position, zone in enumerate(_zones(package, calendar)):
        calendar.subcomponents.insert(position, zone)  # before the events that name them
    found: bytes = calendar.to_ical()
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


def _events(package: Any, out: Outgoing, now: datetime) -> Iterator[Any]:
    label = f"template {out.spec.id} ({short(out.spec.name)})"
    decisions = {each.original_start: each for each in out.decisions}
    seen = {start for start, each in decisions.items() if each.status != "deleted"}
    try:
        with naming(label):
            parts = components(out.spec, now, seen)
            for part in parts:
                yield from _component_events(package, out, part, decisions)
            yield from _stray_events(package, out, decisions)
    except InvalidRequest as error:
        if str(error).startswith(label):
            raise
        raise InvalidRequest(f"{label}: {error}", **error.details) from error


def _component_events(
    package: Any, out: Outgoing, part: Component, decisions: dict[datetime, Decision]
) -> Iterator[Any]:
    """Yield the VEVENT of a component and its overrides; takes their decisions out of the dict."""
    own = {start: decisions.pop(start) for start in list(decisions) if part.owns(start)}
    first, uid = part.first, _uid(out, part)
    if first is None:
        return
    deleted = {start for start, each in own.items() if each.status == "deleted"}
    event = _event(package, out, uid, _shown(out, first + part.shift), out.spec.duration)
    rrule = part.rrule
    if rrule is not None:
        event.add("rrule", package.vRecur.from_ical(rrule))
    _add_moments(out, event, "rdate", part, set(part.extra) - {first})
    _add_moments(out, event, "exdate", part, set(part.excluded) | deleted)
    yield event
    for start, decision in sorted(own.items()):
        override = _override(package, out, uid, _shown(out, start + part.shift), decision)
        if override is not None:
            yield override


def _uid(out: Outgoing, part: Component) -> str:
    """Return the UID: the same for a series whatever else changes; each time of day of a grid is an event."""
    spec = out.spec
    segment = f"-{spec.id}" if spec.id != spec.series_id else ""
    clock = f"-t{part.days.dtstart + part.offset:%H%M}" if part.is_grid else ""
    return f"series-{spec.series_id}{segment}{clock}@flask-rollingslots"


def _add_moments(out: Outgoing, event: Any, name: str, part: Component, starts: set[datetime]) -> None:
    if starts:
        event.add(name, [_shown(out, start + part.shift) for start in sorted(starts)])


def _shown(out: Outgoing, wall: datetime) -> datetime:
    """Return a wall clock time of the template's zone as iCalendar writes it."""
    name = out.spec.timezone
    return wall.replace(tzinfo=UTC if name in _UTC_NAMES else ZoneInfo(name))


def _event(package: Any, out: Outgoing, uid: str, start: datetime, duration: timedelta) -> Any:
    event = package.Event()
    event.add("uid", uid)
    event.add("dtstamp", out.created_at.astimezone(UTC))
    event.add("sequence", out.spec.revision)
    event.add("summary", _text(out.spec.name))
    event.add("dtstart", start)
    # In hours and minutes: a slot lasts so long by the stopwatch, a "day" of RFC 5545 section 3.3.6 does not.
    minutes = int(duration.total_seconds() // 60)
    hours, minutes = divmod(minutes, 60)
    text = "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes or not hours else "")
    event.add("duration", package.vText(text), encode=0)
    for key in ("description", "location"):
        value = out.spec.data.get(key)
        if isinstance(value, str) and value:
            event.add(key, _text(value))
    return event


def _override(package: Any, out: Outgoing, uid: str, nominal: datetime, decision: Decision) -> Any:
    """Return the VEVENT with RECURRENCE-ID of a cancelled or moved slot; ``None`` where nothing shows."""
    start, duration = _times(out, nominal, decision)
    rule_time = instant_of(nominal.replace(tzinfo=None), ZoneInfo(out.spec.timezone))
    moved = (start.astimezone(UTC), duration) != (rule_time, out.spec.duration)
    cancelled = decision.status == "cancelled"
    if decision.status == "deleted" or not (moved or cancelled):
        return None
    event = _event(package, out, uid, start, duration)
    event.add("recurrence-id", nominal)
    if cancelled:
        event.add("status", "CANCELLED")
        if decision.cancel_reason:
            event.add("comment", _text(decision.cancel_reason))
    return event


def _times(out: Outgoing, nominal: datetime, decision: Decision) -> tuple[datetime, timedelta]:
    start = decision.starts_at.astimezone(nominal.tzinfo) if decision.starts_at else nominal
    duration = out.spec.duration
    if decision.starts_at and decision.ends_at:
        duration = decision.ends_at - decision.starts_at
    return start, duration


def _stray_events(package: Any, out: Outgoing, decisions: dict[datetime, Decision]) -> Iterator[Any]:
    """Yield slots that were changed by hand and that the rule no longer has: events of their own."""
    for start, decision in sorted(decisions.items()):
        if decision.status in ("cancelled", "deleted"):
            continue
        nominal = _shown(out, start + out.spec.shift)
        uid = f"series-{out.spec.series_id}-{start:%Y%m%dT%H%M}@flask-rollingslots"
        yield _event(package, out, uid, *_times(out, nominal, decision))


def _text(value: str) -> str:
    """Return a text without what could begin a new line in a careless program; icalendar escapes the rest."""
    return _CONTROLS.sub("", _BREAKS.sub("\n", value))
