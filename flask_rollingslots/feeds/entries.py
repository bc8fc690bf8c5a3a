"""What is exchanged, as plain values: templates, overrides of their slots, texts, lines of events, and refusals."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from types import ModuleType
from typing import Any, NoReturn

from ..errors import ConfigError, InvalidRequest, InvalidRule, InvalidTemplate
from ..values import Status, TemplateSpec

#: More templates in a file, or single dates in one list, are no calendar any more.
MAX_ENTRIES = 10_000
#: Names of the zone whose moments end with a Z.
UTC_NAMES = {"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Etc/Zulu", "Zulu", "Etc/Universal", "Universal"}
#: In which order icalendar writes the properties of an event; all others come after these, by name.
_ORDER = (
    "SUMMARY",
    "DTSTART",
    "DURATION",
    "DTSTAMP",
    "UID",
    "RECURRENCE-ID",
    "SEQUENCE",
    "RRULE",
    "RDATE",
    "EXDATE",
)
_PLACES = {name: place for place, name in enumerate(_ORDER)}
#: The usual properties by the arguments that name them.
_NAMES = {name.lower().replace("-", "_"): name for name in (*_ORDER, "LAST-MODIFIED", "STATUS", "COMMENT")}
#: How long a line may be, in octets, and what of it stays together.
_WIDTH, _PARTS = 74, re.compile(r"\\.|.")
MISSING = object()
# What some programs take for the end of a line, and what RFC 5545 section 3.1 forbids in a text.
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A slot that is not, or may not be, as the rule of its template says; ``None``: the rule's value holds.

    :param original_start: naive wall clock in the template's zone: the identity.
    :param starts_at: aware, like ``ends_at``, ``opens_at`` and ``closes_at``.
    :param ended_with_series: cancelled or deleted with its series, and coming back with it.
    :param own: values of the app's own columns, by attribute; an absent one is as the rule says.
    :param name: what it is called, if that is not its template's name.
    :param customised: names of the slot's fields that a person changed; ``None`` for those that differ.
    :param changed_at: aware; when it was decided, if that is known.
    """

    original_start: datetime
    status: str = Status.SCHEDULED.value
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    cancel_reason: str | None = None
    ended_with_series: bool | None = None
    customised: Sequence[str] | None = None
    capacity: int | None = None
    data: Mapping[str, Any] | None = None
    name: str | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """A template, or a segment of one, as it is stored, with overrides of its slots.

    :param stamp: when it became what it is, aware: the same template has the same DTSTAMP each time.
    :param fields: the fields that a :class:`TemplateSpec` has not.
    """

    spec: TemplateSpec
    stamp: datetime
    fields: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()

    @property
    def shown(self) -> set[datetime]:
        """The original starts of which an override shows, also where the rule leaves them out."""
        return {each.original_start for each in self.overrides if each.status != Status.DELETED}

    def without(self, starts: Iterable[datetime]) -> StoredTemplate:
        """Return it without the slots at some original starts, except those that have overrides."""
        absent = sorted({*starts} - {each.original_start for each in self.overrides})
        gone = (Override(original_start=start, status=Status.DELETED.value) for start in absent)
        return replace(self, overrides=(*self.overrides, *gone))

    def showing(self, keys: Collection[str] | None) -> StoredTemplate:
        """Return it with some keys of ``data`` only; ``None``: as it is."""
        if keys is None:
            return self
        overrides = (
            each if each.data is None else replace(each, data=some(each.data, keys))
            for each in self.overrides
        )
        spec = replace(self.spec, data=some(self.spec.data, keys))
        return replace(self, spec=spec, overrides=tuple(overrides))


@dataclass(frozen=True, slots=True)
class Entry:
    """A template that a file describes.

    :param label: how messages name it: its number and its UID or name.
    :param fields: the template's fields.
    :param series: entries of one file with the same value are segments of one series.
    """

    label: str
    fields: dict[str, Any]
    overrides: tuple[Override, ...] = ()
    series: str | None = None


# -- texts


def some(values: Mapping[str, Any] | None, keys: Collection[str] | None) -> dict[str, Any]:
    """Return the values that have one of the keys; ``None``: all of them."""
    return {key: value for key, value in (values or {}).items() if keys is None or key in keys}


def title_of(name: str, offered: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Return a slot's title: its name, unless its own ``data`` has a ``summary`` that not all slots have."""
    summary = own.get("summary")
    is_title = isinstance(summary, str) and summary.strip() and summary != offered.get("summary")
    return str(summary) if is_title else name


def clean(value: str) -> str:
    """Return a text without what could begin a new line in a careless program; icalendar escapes the rest."""
    return _CONTROLS.sub("", _BREAKS.sub("\n", value))


# -- events as lines of iCalendar


@dataclass(slots=True)
class Event:
    """A VEVENT as its lines, by property: icalendar would take ten times as long to write thousands of them.

    :param zone: in which its moments are. ``year``: that of the first of them.
    """

    zone: str
    year: int = 9999
    lines: dict[str, str] = field(default_factory=dict)
    alarm: str = ""

    def add_moments(self, name: str, moments: Iterable[datetime]) -> None:
        """Add moments as the clocks of the zone show them."""
        found = list(moments)
        self.year = min(self.year, min(found).year)
        end = "Z" if self.zone in UTC_NAMES else ""
        texts = ",".join(f"{written(moment)}{end}" for moment in found)
        self.lines[name] = f"{name}:{texts}" if end else f"{name};TZID={self.zone}:{texts}"

    def add(self, **values: object) -> None:
        """Add what is no moment, by property, as it is written."""
        for key, value in values.items():
            name = _NAMES.get(key) or key.upper().replace("_", "-")
            self.lines[name] = f"{name}:{value}"

    def text(self) -> str:
        """Return it as text, properties in the order in which icalendar has them."""
        lines = self.lines
        named = [lines[name] for name in sorted(lines, key=_place)]
        return "\r\n".join(
            ["BEGIN:VEVENT", *map(folded, named), *filter(None, [self.alarm]), "END:VEVENT\r\n"]
        )


def _place(name: str) -> tuple[int, str]:
    return _PLACES.get(name, len(_PLACES)), name


def written(moment: datetime) -> str:
    """Return a moment as iCalendar has it, by its own clock, without zone."""
    text = moment.isoformat(timespec="seconds")  # a third of what strftime takes
    return f"{text[:4]}{text[5:7]}{text[8:13]}{text[14:16]}{text[17:19]}"


def folded(line: str) -> str:
    """Return a line in pieces of at most 75 octets (RFC 5545 section 3.1), an escape in one piece."""
    if len(line) <= _WIDTH and line.isascii():
        return line
    if line.isascii() and "\\" not in line:
        return "\r\n ".join(line[place : place + _WIDTH] for place in range(0, len(line), _WIDTH))
    pieces, size = [""], 0
    for part in _PARTS.findall(line):
        width = len(part.encode())
        if size + width > _WIDTH:
            pieces.append("")
            size = 0
        pieces[-1] += part
        size += width
    return "\r\n ".join(pieces)


@lru_cache(maxsize=256)
def escaped(text: str) -> str:
    """Return a text as a value of iCalendar."""
    return str(icalendar_package().vText(clean(text)).to_ical().decode())


# -- refusals


def refuse(name: str, value: object, expected: str) -> NoReturn:
    """Refuse what a file says; whoever calls this lets :func:`naming` say of which entry.

    :param value: what is there, shown shortened; ``MISSING`` if nothing is.
    """
    said = "is missing" if value is MISSING else f"= {short(value)}"
    value = None if value is MISSING else value
    raise InvalidTemplate(f"{name} {said}; expected {expected}", field=name, value=value, expected=expected)


def short(value: object) -> str:
    """Return a value for a message: on one line, without control characters, at most 80 characters."""
    if isinstance(value, timedelta):
        return f"'{value}'"
    shown = repr(value[:100] if isinstance(value, str | bytes) else value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Let what is refused name the file's entry.

    :raises InvalidRequest: for InvalidRule, InvalidTemplate, and times outside the years 1 to 9999; with ``entry`` (the
        label), ``field``, ``value`` and ``expected``.
    """
    try:
        yield
    except (InvalidRule, InvalidTemplate) as error:
        details = {**error.details, "field": error.details.get("field") or error.details.get("part")}
        raise InvalidRequest(f"{label}: {error}", **details | {"entry": label}) from error
    except OverflowError as error:
        raise InvalidRequest(f"{label}: a time is outside the years 1 to 9999", entry=label) from error


def icalendar_package() -> ModuleType:
    """Return the optional package icalendar, or raise a ConfigError that names the extra."""
    try:
        import icalendar
    except ImportError as error:
        remedy = "pip install 'Flask-RollingSlots[ics]' (JSON works without it)"
        raise ConfigError(f"reading and writing .ics files needs the icalendar package: {remedy}") from error
    return icalendar
