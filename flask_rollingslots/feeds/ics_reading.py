"""VEVENTs as templates and decisions (RFC 5545 section 3.6.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from ..recurrence import Recurrence
from .entries import MISSING, Decision, Defaults, Entry, naming, refuse
from .ics_lines import Moment, RawEvent, read_duration, read_events, read_moment, read_moments

_DAY = timedelta(days=1)
_DATA = {"DESCRIPTION": "description", "LOCATION": "location", "UID": "uid"}
_UNTITLED = "Untitled"


def ics_entries(text: str, defaults: Defaults) -> list[Entry]:
    """Return the templates of an iCalendar text, each with its overrides as decisions.

    :raises InvalidRequest: naming the event, the property, the value and what is expected.
    :raises ConfigError: if icalendar is not installed.
    """
    masters: dict[str, RawEvent] = {}
    overrides: dict[str, list[RawEvent]] = {}
    for event in read_events(text):
        _check(event)
        uid = event.get("UID")
        name = uid.text if uid else f"\0{event.number}"  # without a UID it is by itself
        if event.get("RECURRENCE-ID") is not None:
            overrides.setdefault(name, []).append(event)
        elif name in masters:
            refuse(event.label, "UID", name, "each UID once, except beside RECURRENCE-ID")
        else:
            masters[name] = event
    found = []
    for name, event in masters.items():
        with naming(event.label):
            found.append(_entry(event, overrides.pop(name, []), defaults))
    # An invitation to single instances holds overrides alone: each is an event that happens once.
    for event in (each for group in overrides.values() for each in group if not _is_cancelled(each)):
        with naming(event.label):
            found.append(_entry(event, [], defaults))
    return found


def _check(event: RawEvent) -> None:
    """Refuse what would be lost, by name."""
    if found := event.get("EXRULE"):
        refuse(event.label, "EXRULE", found.raw, "EXDATE: RFC 5545 no longer has EXRULE")
    rules = event.properties.get("RRULE", [])
    if len(rules) > 1:
        refuse(event.label, "RRULE", rules[1].raw, "one RRULE (RFC 5545 section 3.8.5.3)")
    found = event.get("RECURRENCE-ID")
    if found and "RANGE" in found.params:
        refuse(event.label, "RECURRENCE-ID;RANGE", found.params["RANGE"], "an event for each changed slot")
    if found and rules:
        refuse(event.label, "RRULE", rules[0].raw, "no RRULE beside RECURRENCE-ID")


def _entry(event: RawEvent, overrides: list[RawEvent], defaults: Defaults) -> Entry:
    start, length = _times(event, defaults.timezone)
    zone = start.zone or defaults.timezone
    dtstart, rrule = start.wall(zone), event.get("RRULE")
    fields: dict[str, Any] = {
        "name": _name(event),
        "rrule": rrule.raw if rrule else None,
        "dtstart": dtstart,
        "timezone": zone,
        "duration": length,
        "rdates": _rdates(event, zone),
        "exdates": _exdates(event, zone),
        "data": _data(event),
    }
    if _is_cancelled(event):
        fields["active"] = False
    # RFC 5545 section 3.8.5.3: DTSTART "defines the first instance in the recurrence set", so programs show it even
    # where the rule does not yield it (whether COUNT includes it is undefined: here it does not). Templates show what
    # the rule yields, hence the extra date.
    if rrule and not Recurrence(rrule.raw, dtstart, zone).contains(dtstart):
        fields["rdates"] = [*fields["rdates"], dtstart]
    entry = Entry(event.label, fields)
    return replace(entry, decisions=_decisions(entry, overrides)) if overrides else entry


def _name(event: RawEvent) -> str:
    summary = event.get("SUMMARY")
    return (summary.text.strip() if summary else "") or _UNTITLED


def _data(event: RawEvent) -> dict[str, Any]:
    return {key: found.text for name, key in _DATA.items() if (found := event.get(name))}


def _is_cancelled(event: RawEvent) -> bool:
    status = event.get("STATUS")
    return status is not None and status.raw.strip().upper() == "CANCELLED"


def _times(event: RawEvent, default_zone: str, length: timedelta | None = None) -> tuple[Moment, timedelta]:
    """Return start and length.

    :param length: what holds if the event has neither DTEND nor DURATION.
    """
    label, prop = event.label, event.get("DTSTART")
    if prop is None:
        refuse(label, "DTSTART", MISSING, "the first start")
    start, end, duration = read_moment(label, "DTSTART", prop), event.get("DTEND"), event.get("DURATION")
    if end and duration:
        refuse(label, "DURATION", duration.raw, "either DTEND or DURATION (RFC 5545 section 3.6.1)")
    if duration:
        length = read_duration(label, duration)
    elif end:
        length = _until(label, start, read_moment(label, "DTEND", end), default_zone)
    elif length is None and start.is_date:
        length = _DAY  # RFC 5545 section 3.6.1
    if length is None:
        refuse(label, "DTEND", MISSING, "DTEND or DURATION: a slot needs a length")
    if length <= timedelta(0):
        refuse(label, "DTEND" if end else "DURATION", length, "an end after the start")
    return start, length


def _until(label: str, start: Moment, end: Moment, default_zone: str) -> timedelta:
    """Return the length: whole days between dates, else the exact time (RFC 5545 section 3.8.5.3)."""
    if start.is_date != end.is_date:
        refuse(label, "DTEND", end.value.isoformat(), "the kind of value that DTSTART has, DATE or DATE-TIME")
    if start.is_date:
        return end.value - start.value
    zone = start.zone or default_zone
    return end.instant(zone) - start.instant(zone)


def _rdates(event: RawEvent, zone: str) -> list[datetime]:
    moments = _listed(event, "RDATE")
    return sorted({moment.wall(zone) for moment in moments})


def _exdates(event: RawEvent, zone: str) -> list[date]:
    """Return the exclusions: a DATE leaves the whole local day out, a DATE-TIME its instant."""
    found: set[date] = set()
    for moment in _listed(event, "EXDATE"):
        found |= {moment.value} if moment.is_date else moment.names(zone)
    return sorted(found, key=lambda value: value.isoformat())


def _listed(event: RawEvent, name: str) -> Iterable[Moment]:
    for prop in event.properties.get(name, []):
        if prop.raw.strip():
            yield from read_moments(event.label, name, prop)


def _decisions(entry: Entry, overrides: list[RawEvent]) -> tuple[Decision, ...]:
    fields = entry.fields
    series = Recurrence(fields["rrule"], fields["dtstart"], fields["timezone"], fields["rdates"])
    found: dict[datetime, Decision] = {}
    for event in overrides:
        with naming(event.label):
            decision = _decision(event, entry, series)
        if decision.original_start in found:
            refuse(
                event.label,
                "RECURRENCE-ID",
                decision.original_start.isoformat(),
                "one override for each slot",
            )
        found[decision.original_start] = decision
    return tuple(found.values())


def _decision(event: RawEvent, entry: Entry, series: Recurrence) -> Decision:
    """Return what an override says; without a time of its own the rule's holds."""
    fields, zone = entry.fields, entry.fields["timezone"]
    prop = event.get("RECURRENCE-ID")
    if prop is None:
        refuse(event.label, "RECURRENCE-ID", MISSING, "the original start")
    original = _original(read_moment(event.label, "RECURRENCE-ID", prop), series)
    if _is_cancelled(event):
        comment = event.get("COMMENT")
        reason = comment.text[:500] if comment else None
        times = _shown_times(event, fields, zone) if event.get("DTSTART") else (None, None)
        return Decision(
            original_start=original,
            status="cancelled",
            starts_at=times[0],
            ends_at=times[1],
            cancel_reason=reason,
        )
    starts_at, ends_at = _shown_times(event, fields, zone)
    changed = {key: value for key, value in _data(event).items() if fields["data"].get(key) != value}
    if event.get("SUMMARY") and _name(event) != fields["name"]:
        changed["summary"] = _name(event)
    return Decision(
        original_start=original,
        starts_at=starts_at,
        ends_at=ends_at,
        data={**fields["data"], **changed} if changed else None,
    )


def _shown_times(event: RawEvent, fields: dict[str, Any], zone: str) -> tuple[datetime, datetime]:
    start, length = _times(event, zone, fields["duration"])
    starts_at = start.instant(zone)
    return starts_at, starts_at + length


def _original(moment: Moment, series: Recurrence) -> datetime:
    """Return the wall clock time that names the slot.

    RFC 5545 section 3.8.4.4 wants the value type of DTSTART; programs also write UTC, or the date alone.
    """
    if moment.is_date:
        return datetime.combine(moment.value, series.dtstart.time())
    names = moment.names(series.timezone)
    return next((name for name in sorted(names) if series.contains(name)), moment.wall(series.timezone))
