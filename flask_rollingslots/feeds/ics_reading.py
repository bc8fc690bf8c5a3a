"""iCalendar files as templates and overrides of their slots (RFC 5545).

The lines are read here: icalendar's parser names no line, skips those of an event that are none, and has no limits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

from ..errors import CONTROLS, InvalidRequest
from ..recurrence import Recurrence
from ..recurrence.zones import names_of, reached_at
from ..values import Status
from .entries import MAX_ENTRIES, MISSING, Entry, Override, icalendar_package, naming, refuse, short

_DEEPEST = 10
_LONGEST = 1_000_000
_FOLDED, _FOLD = re.compile(r"[^\n]*(?:\n[ \t][^\n]*)*\n?"), re.compile(r"\r?\n[ \t]")
_NAME = re.compile(r"([A-Za-z0-9-]+)[;:]")
_LINE = re.compile(r'[A-Za-z0-9-]+((?:;[A-Za-z0-9-]+=(?:"[^"]*"|[^";:])*)*):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';([A-Za-z0-9-]+)=("[^"]*"|[^";:]*)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MOMENT = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?")
#: The properties that are read, and whether an event may have several; all others are skipped.
_READ = {
    "UID": False, "SUMMARY": False, "DESCRIPTION": False, "LOCATION": False, "COMMENT": True, "STATUS": False,
    "DTSTART": False, "DTEND": False, "DURATION": False, "RRULE": True, "EXRULE": True, "RDATE": True, "EXDATE": True,
    "RECURRENCE-ID": False,
}  # fmt: skip
_DATA = {"DESCRIPTION": "description", "LOCATION": "location", "UID": "uid"}


# -- events


class _Property(NamedTuple):
    """One property of an event: its parameters by name, in capitals, and its value as it stands."""

    params: Mapping[str, str]
    raw: str

    @property
    def text(self) -> str:
        """The value as a TEXT, its backslashes resolved (RFC 5545 section 3.3.11)."""
        return _ESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], self.raw)


@dataclass(slots=True)
class _Event:
    """One VEVENT: its number within the file, from 1, and the values of each property, in order."""

    number: int
    properties: dict[str, list[_Property]] = field(default_factory=dict)

    def get(self, name: str) -> _Property | None:
        """Return a property's only, or first, value."""
        return next(iter(self.properties.get(name, ())), None)

    @property
    def label(self) -> str:
        """How messages name it."""
        uid = self.get("UID") or self.get("SUMMARY")
        return f"VEVENT {self.number}" + (f" ({short(uid.text[:60])})" if uid else "")

    @property
    def name(self) -> str:
        summary = self.get("SUMMARY")
        return (summary and CONTROLS.sub(" ", summary.text).strip()) or "Untitled"

    @property
    def data(self) -> dict[str, Any]:
        return {key: found.text for name, key in _DATA.items() if (found := self.get(name))}

    @property
    def is_cancelled(self) -> bool:
        status = self.get("STATUS")
        return status is not None and status.raw.strip().upper() == "CANCELLED"


def ics_entries(text: str, timezone: str) -> list[Entry]:
    """Return the templates of an iCalendar text, each with its overrides.

    :param timezone: IANA name of the zone of times without one.
    :raises InvalidRequest: naming the event, the property, the value and what is expected; or the line.
    """
    icalendar_package()  # refused here, not at the first length or zone that needs it
    masters: dict[str, _Event] = {}
    overrides: defaultdict[str, list[_Event]] = defaultdict(list)
    for event in _events(text):
        uid = event.get("UID")
        name = uid.text if uid else f"\0{event.number}"  # without a UID it is by itself
        with naming(event.label):
            _check(event)
            if event.get("RECURRENCE-ID"):
                overrides[name].append(event)
            elif name in masters:
                refuse("UID", name, "each UID once, except beside RECURRENCE-ID")
            else:
                masters[name] = event
    found = [_entry(event, overrides.pop(name, []), timezone) for name, event in masters.items()]
    # An invitation to single instances holds overrides alone: each is an event that happens once.
    alone = (event for events in overrides.values() for event in events if not event.is_cancelled)
    return found + [_entry(event, [], timezone) for event in alone]


def _events(text: str) -> list[_Event]:
    """Return the events; components have to be closed in order, and not to be nested too deep."""
    events: list[_Event] = []
    stack: list[str] = []
    for number, line in _unfolded(text):
        upper = line.upper()
        if upper.startswith("BEGIN:"):
            stack.append(upper[6:].strip())
            _begin(number, stack, events)
        elif upper.startswith("END:"):
            if not stack or stack.pop() != upper[4:].strip():
                _broken(number, line, "the END of what was begun last")
        elif stack == ["VCALENDAR", "VEVENT"]:
            _add(number, line, events[-1])
        elif not stack:
            _broken(number, line, "BEGIN:VCALENDAR")
    if stack:
        name = stack[-1][:40]
        raise InvalidRequest(f"the file ends within {name}: is it cut off? expected END:{name}")
    if not events:
        raise InvalidRequest("the file has no VEVENT; expected at least one")
    return events


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Yield the content lines (RFC 5545 section 3.1), each with the number of the line of the file it begins on."""
    number = 1
    for found in _FOLDED.finditer(text):
        line = _FOLD.sub("", found[0]).rstrip("\r\n")
        if line.strip():
            yield number, line
        number += found[0].count("\n")


def _begin(number: int, stack: list[str], events: list[_Event]) -> None:
    if len(stack) > _DEEPEST:
        text = f"components are nested deeper than {_DEEPEST}; expected a calendar"
        raise InvalidRequest(f"line {number}: {text}")
    if stack[0] != "VCALENDAR":
        _broken(number, f"BEGIN:{stack[0]}", "BEGIN:VCALENDAR")
    if stack == ["VCALENDAR", "VEVENT"]:
        if len(events) >= MAX_ENTRIES:
            raise InvalidRequest(f"the file has more than {MAX_ENTRIES} events; expected at most so many")
        events.append(_Event(len(events) + 1))


def _add(number: int, line: str, event: _Event) -> None:
    found = _NAME.match(line)
    if found is None:
        _broken(number, line, "NAME:value")
    name = found[1].upper()
    if name not in _READ:
        return
    if len(line) > _LONGEST:
        with naming(event.label):
            refuse(name, line[:100], f"at most {_LONGEST} characters")
    whole = _LINE.fullmatch(line)
    if whole is None:
        _broken(number, line, "NAME;PARAMETER=value:value")
    params = {key.upper(): value.strip('"') for key, value in _PARAMETER.findall(whole[1])}
    values = event.properties.setdefault(name, [])
    values.append(_Property(params, whole[2]))
    if len(values) > 1 and not _READ[name]:
        with naming(event.label):
            refuse(name, whole[2], f"{name} once")


def _broken(number: int, line: str, expected: str) -> NoReturn:
    raise InvalidRequest(f"line {number}: {short(line[:100])}; expected {expected}")


def _check(event: _Event) -> None:
    """Refuse what would be lost, by name."""
    if found := event.get("EXRULE"):
        refuse("EXRULE", found.raw, "EXDATE: RFC 5545 no longer has EXRULE")
    rules, found = event.properties.get("RRULE", []), event.get("RECURRENCE-ID")
    if len(rules) > 1:
        refuse("RRULE", rules[1].raw, "one RRULE (RFC 5545 section 3.8.5.3)")
    if found and "RANGE" in found.params:
        refuse("RECURRENCE-ID;RANGE", found.params["RANGE"], "an event for each changed slot")
    if found and rules:
        refuse("RRULE", rules[0].raw, "no RRULE beside RECURRENCE-ID")


# -- times


def _wall(moment: date, zone: str) -> datetime:
    """Return the wall clock time in a zone, naive; a DATE is its midnight."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time())
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _names(moment: datetime, zone: str) -> set[datetime]:
    """Return the wall clock times of a zone that are an instant: near a gap there are two."""
    other = str(moment.tzinfo) != zone
    return names_of(moment.astimezone(UTC), ZoneInfo(zone)) if other else {_wall(moment, zone)}


def _moments(event: _Event, name: str, zone: str) -> Iterator[date]:
    """Yield the times of a property that may be a list, and several."""
    count = 0
    for prop in event.properties.get(name, []):
        if prop.params.get("VALUE", "").upper() == "PERIOD":
            refuse(name, prop.raw, "dates or times: periods are not supported")
        values = prop.raw.split(",") if prop.raw.strip() else []
        count += len(values)  # of all lines: they are one list
        if count > MAX_ENTRIES:
            refuse(name, prop.raw, f"at most {MAX_ENTRIES} dates")
        for value in values:
            yield _moment(name, _Property(prop.params, value), zone)


def _moment(name: str, prop: _Property, zone: str) -> date:
    """Return the time of a property: a DATE, or an aware DATE-TIME, in the zone if it names none."""
    value, tzid = prop.raw.strip(), prop.params.get("TZID")
    found = _MOMENT.fullmatch(value.upper())
    try:
        day, clock, utc = found.groups() if found else ("", None, None)
        wall = datetime.fromisoformat(f"{day}T{clock or '000000'}")
    except ValueError:
        refuse(name, value, "a date as YYYYMMDD or a time as YYYYMMDDTHHMM00, or so with Z")
    if clock is None:
        return wall.date()
    if wall.second:
        refuse(name, value, "whole minutes: slot keys have no seconds")
    own = "UTC" if utc else zone if tzid is None else _zone(tzid)
    if own is None:
        refuse(f"{name};TZID", tzid, "an IANA name such as Europe/Madrid, or a Windows name")
    return wall.replace(tzinfo=ZoneInfo(own))


@lru_cache(maxsize=512)
def _zone(tzid: str) -> str | None:
    """Return the IANA name of a TZID: itself, what follows a program's own prefix, or the Windows name's."""
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    parts = tzid.strip().strip("/").split("/")
    tails = ["/".join(parts[-length:]) for length in (3, 2, 1)]
    for name in (tzid, WINDOWS_TO_OLSON.get(tzid), *tails):
        with suppress(KeyError, ValueError, OSError):
            if name and len(name) <= 64 and ZoneInfo(name):
                return str(name)
    return None


def _times(event: _Event, zone: str, length: timedelta | None = None) -> tuple[date, timedelta]:
    """Return start and length; the given length holds if the event has neither DTEND nor DURATION."""
    begin, end, duration = event.get("DTSTART"), event.get("DTEND"), event.get("DURATION")
    if begin is None:
        refuse("DTSTART", MISSING, "the first start")
    start = _moment("DTSTART", begin, zone)
    if end and duration:
        refuse("DURATION", duration.raw, "either DTEND or DURATION (RFC 5545 section 3.6.1)")
    if duration:
        length = _duration(duration)
    elif end:
        length = _until(start, end, zone)
    elif length is None and not isinstance(start, datetime):
        length = timedelta(days=1)  # RFC 5545 section 3.6.1
    if length is None:
        refuse("DTEND", MISSING, "DTEND or DURATION: a slot needs a length")
    if length <= timedelta(0):
        refuse("DTEND" if end else "DURATION", length, "an end after the start")
    return start, length


def _duration(prop: _Property) -> timedelta:
    """Return the value of a DURATION; a day of it is 24 hours."""
    with suppress(ValueError, OverflowError):
        found: timedelta = icalendar_package().vDuration.from_ical(prop.raw.strip())
        return found
    refuse("DURATION", prop.raw, "a length of time such as PT1H30M")


def _until(start: date, prop: _Property, zone: str) -> timedelta:
    """Return the length: whole days between dates, else the exact time (RFC 5545 section 3.8.5.3)."""
    end = _moment("DTEND", prop, str(start.tzinfo) if isinstance(start, datetime) else zone)
    if isinstance(start, datetime) and isinstance(end, datetime):
        return end.astimezone(UTC) - start.astimezone(UTC)
    if isinstance(start, datetime) or isinstance(end, datetime):
        shown = end.replace(tzinfo=None) if isinstance(end, datetime) else end
        refuse("DTEND", shown.isoformat(), "the kind of value that DTSTART has, DATE or DATE-TIME")
    return end - start


# -- templates


def _entry(event: _Event, overrides: list[_Event], timezone: str) -> Entry:
    with naming(event.label):
        start, length = _times(event, timezone)
        zone = str(start.tzinfo) if isinstance(start, datetime) else timezone
        dtstart, rrule = _wall(start, zone), event.get("RRULE")
        rdates = {_wall(moment, zone) for moment in _moments(event, "RDATE", zone)}
        # RFC 5545 section 3.8.5.3: DTSTART "defines the first instance in the recurrence set", so programs show it even
        # where the rule does not yield it (whether COUNT includes it is undefined: here it does not). Templates show
        # what the rule yields, hence the extra date.
        shows_start = not rrule or Recurrence(rrule.raw, dtstart, zone).contains(dtstart)
        fields: dict[str, Any] = {
            "name": event.name,
            "rrule": rrule.raw if rrule else None,
            "dtstart": dtstart,
            "timezone": zone,
            "duration": length,
            # RFC 5545 section 3.8.5.3: what has a time keeps its exact length; whole days are days of the calendar.
            "ends_by": "elapsed" if isinstance(start, datetime) else "wall_clock",
            "rdates": [*sorted(rdates), *([] if shows_start else [dtstart])],
            "exdates": _exdates(event, zone),
            "data": event.data,
        }
        if event.is_cancelled:
            fields["active"] = False
        return Entry(event.label, fields, _overrides(fields, overrides) if overrides else ())


def _exdates(event: _Event, zone: str) -> list[date]:
    """Return the exclusions: a DATE leaves the whole local day out, a DATE-TIME its instant."""
    found: set[date] = set()
    for moment in _moments(event, "EXDATE", zone):
        found |= _names(moment, zone) if isinstance(moment, datetime) else {moment}
    return sorted(found, key=lambda value: value.isoformat())


def _overrides(fields: Mapping[str, Any], events: list[_Event]) -> tuple[Override, ...]:
    series = Recurrence(fields["rrule"], fields["dtstart"], fields["timezone"], fields["rdates"])
    found: dict[datetime, Override] = {}
    for event in events:
        with naming(event.label):
            override = _override(event, fields, series)
            start = override.original_start
            if start in found:
                refuse("RECURRENCE-ID", start.isoformat(), "one override for each slot")
        found[start] = override
    return tuple(found.values())


def _override(event: _Event, fields: Mapping[str, Any], series: Recurrence) -> Override:
    """Return what an event with RECURRENCE-ID says; without a time of its own the rule's holds."""
    zone = series.timezone
    starts_at = ends_at = None
    if event.get("DTSTART") or not event.is_cancelled:
        start, length = _times(event, zone, fields["duration"])
        if isinstance(start, datetime):
            starts_at = start.astimezone(UTC)
            ends_at = starts_at + length
        else:
            midnight = _wall(start, zone)
            starts_at, ends_at = (reached_at(wall, ZoneInfo(zone)) for wall in (midnight, midnight + length))
    found = Override(original_start=_original_start(event, series), starts_at=starts_at, ends_at=ends_at)
    if event.is_cancelled:
        comment = event.get("COMMENT")
        reason = comment and CONTROLS.sub(" ", comment.text)[:500]
        return replace(found, status=Status.CANCELLED.value, cancel_reason=reason)
    changed = {key: value for key, value in event.data.items() if fields["data"].get(key) != value}
    if event.get("SUMMARY") and event.name != fields["name"]:
        changed["summary"] = event.name
    return replace(found, data={**fields["data"], **changed}) if changed else found


def _original_start(event: _Event, series: Recurrence) -> datetime:
    # RFC 5545 section 3.8.4.4 wants the value type of DTSTART; programs also write UTC, or the date alone.
    zone = series.timezone
    moment = _moment("RECURRENCE-ID", event.properties["RECURRENCE-ID"][0], zone)
    if not isinstance(moment, datetime):
        return datetime.combine(moment, series.dtstart.time())
    return next(filter(series.contains, sorted(_names(moment, zone))), _wall(moment, zone))
