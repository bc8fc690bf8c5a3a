"""From the bytes of an .ics file to plain properties: structure, text and times, and nothing of their meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NoReturn
from zoneinfo import ZoneInfo

from ..errors import InvalidRequest
from ..recurrence.zones import instant_of, names_of
from .entries import MAX_ENTRIES, MAX_MOMENTS, refuse, short
from .icalendar_package import icalendar_package

_DEEPEST = 10
_LONGEST = 1_000_000
_NAME = re.compile(r"([A-Za-z0-9-]+)[;:]")
_LINE = re.compile(r'[A-Za-z0-9-]+((?:;[A-Za-z0-9-]+=(?:"[^"]*"|[^";:])*)*):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';([A-Za-z0-9-]+)=("[^"]*"|[^";:]*)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MOMENT = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?")
#: The properties that are read; the others of an event are skipped.
READ = {
    "UID", "SUMMARY", "DESCRIPTION", "LOCATION", "COMMENT", "STATUS", "DTSTART", "DTEND", "DURATION", "RRULE", "EXRULE",
    "RDATE", "EXDATE", "RECURRENCE-ID",
}  # fmt: skip
_REPEATABLE = {"RDATE", "EXDATE", "RRULE", "EXRULE", "COMMENT"}


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an event.

    :param params: parameters by name, in capitals.
    :param raw: the value as it stands.
    """

    params: Mapping[str, str]
    raw: str

    @property
    def text(self) -> str:
        """The value as a TEXT, its backslashes resolved (RFC 5545 section 3.3.11)."""
        return _ESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], self.raw)


@dataclass(slots=True)
class RawEvent:
    """One VEVENT.

    :param number: counted from 1 within the file.
    :param properties: the values of each property, in order.
    """

    number: int
    properties: dict[str, list[Property]] = field(default_factory=dict)

    def get(self, name: str) -> Property | None:
        """Return a property's only, or first, value."""
        found = self.properties.get(name)
        return found[0] if found else None

    @property
    def label(self) -> str:
        """How messages name it."""
        uid = self.get("UID") or self.get("SUMMARY")
        return f"VEVENT {self.number}" + (f" ({short(uid.text[:60])})" if uid else "")


def read_events(text: str) -> list[RawEvent]:
    """Return the events of an iCalendar text.

    :raises InvalidRequest: if components are not closed in order, nested too deep, too many, or there is no event.
    :raises ConfigError: if icalendar is not installed.
    """
    icalendar_package()  # refused here, not at the first length or zone that needs it
    events: list[RawEvent] = []
    stack: list[str] = []
    for number, line in _unfolded(text):
        word = line[:6].upper()
        if not line.strip():
            continue
        if word == "BEGIN:":
            stack.append(_name_of(line, 6))
            _begin(number, stack, events)
        elif line[:4].upper() == "END:":
            if not stack or stack.pop() != _name_of(line, 4):
                _broken(number, line, "the END of what was begun last")
        elif stack == ["VCALENDAR", "VEVENT"]:
            _add(number, line, events[-1])
        elif not stack:
            _broken(number, line, "BEGIN:VCALENDAR")
    if stack:
        raise InvalidRequest(
            f"the file ends within {stack[-1][:40]}: is it cut off? expected END:{stack[-1][:40]}"
        )
    if not events:
        raise InvalidRequest("the file has no VEVENT; expected at least one")
    return events


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Yield the content lines (RFC 5545 section 3.1), each with the number of the line of the file it begins on."""
    begin, parts = 1, list[str]()
    for number, piece in enumerate(text.split("\n"), 1):
        if parts and piece[:1] in (" ", "\t"):
            parts.append(piece[1:].removesuffix("\r"))
            continue
        yield begin, "".join(parts)
        begin, parts = number, [piece.removesuffix("\r")]
    yield begin, "".join(parts)


def _name_of(line: str, start: int) -> str:
    return line[start:].strip().upper()


def _begin(number: int, stack: list[str], events: list[RawEvent]) -> None:
    if len(stack) > _DEEPEST:
        raise InvalidRequest(
            f"line {number}: components are nested deeper than {_DEEPEST}; expected a calendar"
        )
    if len(stack) == 1 and stack[0] != "VCALENDAR":
        _broken(number, f"BEGIN:{stack[0]}", "BEGIN:VCALENDAR")
    if stack == ["VCALENDAR", "VEVENT"]:
        if len(events) >= MAX_ENTRIES:
            raise InvalidRequest(f"the file has more than {MAX_ENTRIES} events; expected at most so many")
        events.append(RawEvent(len(events) + 1))


def _add(number: int, line: str, event: RawEvent) -> None:
    found = _NAME.match(line)
    if found is None:
        _broken(number, line, "NAME:value")
    name = found.group(1).upper()
    if name not in READ:
        return
    if len(line) > _LONGEST:
        refuse(event.label, name, line[:100], f"at most {_LONGEST} characters")
    whole = _LINE.fullmatch(line)
    if whole is None:
        _broken(number, line, "NAME;PARAMETER=value:value")
    params = {key.upper(): value.strip('"') for key, value in _PARAMETER.findall(whole.group(1))}
    prop = Property(params, whole.group(2))
    event.properties.setdefault(name, []).append(prop)
    if len(event.properties[name]) > 1 and name not in _REPEATABLE:
        refuse(event.label, name, prop.raw, f"{name} once")


def _broken(number: int, line: str, expected: str) -> NoReturn:
    raise InvalidRequest(f"line {number}: {short(line[:100])}; expected {expected}")


# -- times


@dataclass(frozen=True, slots=True)
class Moment:
    """A DATE, or a DATE-TIME with its zone.

    :param value: a date, or a naive wall clock time.
    :param zone: IANA name; ``None`` for a floating time.
    """

    value: date
    zone: str | None = None

    @property
    def is_date(self) -> bool:
        """Whether it is a DATE."""
        return not isinstance(self.value, datetime)

    def wall(self, zone: str) -> datetime:
        """Return the wall clock time in a zone, naive; a DATE is its midnight.

        :param zone: IANA name, which a floating time is in too.
        """
        if not isinstance(self.value, datetime):
            return datetime.combine(self.value, datetime.min.time())
        if self.zone in (None, zone):
            return self.value
        return self.instant(zone).astimezone(ZoneInfo(zone)).replace(tzinfo=None)

    def instant(self, zone: str) -> datetime:
        """Return the instant, aware, UTC; floating times and dates are in the given zone."""
        wall = self.value if isinstance(self.value, datetime) else self.wall(zone)
        return instant_of(wall, ZoneInfo(self.zone or zone))

    def names(self, zone: str) -> set[datetime]:
        """Return the wall clock times of a zone that are this instant: near a gap there are two."""
        if self.is_date or self.zone in (None, zone):
            return {self.wall(zone)}
        own: tzinfo = ZoneInfo(zone)
        return names_of(self.instant(zone), own)


def read_moments(label: str, name: str, prop: Property) -> Iterator[Moment]:
    """Yield the times of a property, which may be a list.

    :raises InvalidRequest: naming the value and what is expected.
    """
    if prop.params.get("VALUE", "").upper() == "PERIOD":
        refuse(label, name, prop.raw, "dates or times: periods are not supported")
    values = prop.raw.split(",")
    if len(values) > MAX_MOMENTS:
        refuse(label, name, prop.raw, f"at most {MAX_MOMENTS} dates")
    for value in values:
        yield _moment(label, name, value.strip(), prop.params)


def read_moment(label: str, name: str, prop: Property) -> Moment:
    """Return the time of a property that has one.

    :raises InvalidRequest: naming the value and what is expected.
    """
    return _moment(label, name, prop.raw.strip(), prop.params)


def _moment(label: str, name: str, value: str, params: Mapping[str, str]) -> Moment:
    found, expected = (
        _MOMENT.fullmatch(value.upper()),
        "a date as YYYYMMDD or a time as YYYYMMDDTHHMM00, or so with Z",
    )
    if found is None:
        refuse(label, name, value, expected)
    day, time_of_day, utc = found.groups()
    try:
        if time_of_day is None:
            return Moment(date.fromisoformat(day))
        wall = datetime.fromisoformat(f"{day}T{time_of_day}")
    except ValueError:
        refuse(label, name, value, expected)
    if wall.second:
        refuse(label, name, value, "whole minutes: slot keys have no seconds")
    if utc:
        return Moment(wall, "UTC")
    tzid = params.get("TZID")
    zone = None if tzid is None else _zone(tzid)
    if tzid is not None and zone is None:
        refuse(label, f"{name};TZID", tzid, "an IANA name such as Europe/Madrid, or a Windows name")
    return Moment(wall, zone)


@lru_cache(maxsize=512)
def _zone(tzid: str) -> str | None:
    """Return the IANA name of a TZID: itself, what follows a program's own prefix, or the Windows name's."""
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    parts = tzid.strip().strip("/").split("/")
    tails = ["/".join(parts[-length:]) for length in (3, 2, 1)]
    for name in (tzid, WINDOWS_TO_OLSON.get(tzid), *tails):
        try:
            if name and len(name) <= 64 and ZoneInfo(name):
                return str(name)
        except (KeyError, ValueError, OSError):
            continue
    return None


def read_duration(label: str, prop: Property) -> timedelta:
    """Return the value of a DURATION; a day of it is 24 hours.

    :raises InvalidRequest: if it is not valid.
    """
    try:
        found: timedelta = icalendar_package().vDuration.from_ical(prop.raw.strip())
    except (ValueError, OverflowError):
        refuse(label, "DURATION", prop.raw, "a length of time such as PT1H30M")
    return found
