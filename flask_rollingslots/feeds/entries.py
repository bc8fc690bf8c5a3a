"""What is exchanged: templates and people's decisions as plain values, and how a file is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn

from ..errors import InvalidRequest, InvalidRule, InvalidTemplate
from ..values import TemplateSpec

MAX_BYTES = 10 * 1024 * 1024
MAX_ENTRIES = 10_000
#: More single dates than this in one list are no calendar any more.
MAX_MOMENTS = 10_000
MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decided about one slot of a template.

    :param original_start: naive wall clock in the template's zone: the identity.
    :param status: ``scheduled`` (moved or changed), ``cancelled``, ``deleted`` or ``completed``.
    :param starts_at: aware; ``None`` where the rule's time holds. So are ``ends_at``, ``opens_at``, ``closes_at``.
    :param ended_with_series: cancelled or deleted with its series, and coming back with it.
    :param customised: names of the slot's fields that a person changed; ``None`` for those that differ.
    :param changed_at: aware; when it was decided, if that is known.
    """

    original_start: datetime
    status: str = "scheduled"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    capacity: int | None = None
    data: Mapping[str, Any] | None = None
    cancel_reason: str | None = None
    ended_with_series: bool = False
    customised: tuple[str, ...] | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A template, or a segment of one, on its way out.

    :param created_at: aware.
    :param fields: the fields that a :class:`TemplateSpec` has not.
    :param changed_at: aware; ``None``: never.
    """

    spec: TemplateSpec
    created_at: datetime
    fields: Mapping[str, Any] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    changed_at: datetime | None = None

    @property
    def stamp(self) -> datetime:
        """When it became what it is: the same template has the same DTSTAMP each time."""
        return self.changed_at or self.created_at


@dataclass(frozen=True, slots=True)
class Entry:
    """A template that a file describes.

    :param label: how messages name it: its number and its UID or name.
    :param fields: the template's fields.
    :param series: entries of one file with the same value are segments of one series.
    """

    label: str
    fields: dict[str, Any]
    decisions: tuple[Decision, ...] = ()
    series: str | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where an entry says nothing.

    :param timezone: IANA name of the zone of times without one.
    :param name: name of a template without one, such as the file's; ``None``: there has to be one.
    """

    timezone: str
    name: str | None = None


def refuse(label: str, name: str, value: object, expected: str) -> NoReturn:
    """Refuse an entry.

    :param label: the entry.
    :param name: the field.
    :param value: what is there, shown shortened; ``MISSING`` if nothing is.
    :param expected: what is right, in words.
    :raises InvalidRequest: always; with ``entry``, ``field``, ``value`` and ``expected``.
    """
    said = "is missing" if value is MISSING else f"= {short(value)}"
    raise InvalidRequest(
        f"{label}: {name} {said}; expected {expected}",
        entry=label,
        field=name,
        value=None if value is MISSING else value,
        expected=expected,
    )


def short(value: object) -> str:
    """Return a value for a message: on one line, without control characters, at most 80 characters."""
    if isinstance(value, timedelta):
        return f"'{value}'"
    shown = repr(value[:100] if isinstance(value, str | bytes) else value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Let what the rules and templates refuse name the file's entry.

    :raises InvalidRequest: for InvalidRule, InvalidTemplate, and times outside the years 1 to 9999.
    """
    try:
        yield
    except (InvalidRule, InvalidTemplate) as error:
        details = {**error.details, "field": error.details.get("field") or error.details.get("part")}
        raise InvalidRequest(f"{label}: {error}", **{**details, "entry": label}) from error
    except OverflowError as error:
        raise InvalidRequest(f"{label}: a time is outside the years 1 to 9999", entry=label) from error
