"""What an edit is to change: values by name, checked one by one before anything is planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, time, timedelta
from typing import Any

from ..errors import InvalidRequest, nearest, refusal
from ..models import FIELDS, OwnColumns
from ..values import Scope

#: Fields on which it depends which starts there are, and when slots begin and end.
_OF_STARTS = frozenset(
    (
        "dtstart",
        "timezone",
        "every",
        "until_time",
        "ends_by",
        "rdates",
        "exdates",
        "holidays",
        "blackouts",
        "active",
    )
)
#: Fields on which other times of stored slots depend.
_OF_TIMES = frozenset(name for name in FIELDS if name.startswith(("opens_", "closes_")))


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed; ``None``: stays as it is.

    :param start: new wall-clock start of the slot named by the key, naive; a time of day: on the same day.
    :param duration: new length of the slots.
    :param capacity: new number of places.
    :param data: merged into the app's own fields, name by name.
    :param rrule: new rule; taken literally: without COUNT and UNTIL it has no end. Wide scopes only.
    :param name: new name; with ``this`` of the one slot.
    :param settings: all other fields of a template, in wide scopes only, and the app's own columns: what is in it is
        to be changed, also to ``None``.
    """

    start: datetime | time | None = None
    duration: timedelta | None = None
    capacity: int | None = None
    data: dict[str, Any] | None = None
    rrule: str | None = None
    name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def touch_starts(self) -> bool:
        """Whether slots may begin or end at other times, or may come and go."""
        given = (self.start, self.duration, self.rrule) != (None, None, None)
        return given or not _OF_STARTS.isdisjoint(self.settings)

    @property
    def touch_times(self) -> bool:
        """Whether slots may get other times of any kind, or may come and go."""
        return self.touch_starts or not _OF_TIMES.isdisjoint(self.settings)

    def first_given(self, *names: str) -> tuple[str, Any]:
        """Return the first of some fields that was given, else a setting by which slots come or go; and its value."""
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        found |= {name: value for name, value in self.settings.items() if name in _OF_STARTS}
        return next(iter(found.items()), ("start", None))

    def refusal(self, expected: str) -> Exception:
        """Return (not raise) the error for what the new rule or the new start comes to."""
        return refusal(*self.first_given("rrule", "start", "duration"), expected)

    def start_for(self, shown: datetime) -> datetime:
        """Return the new wall-clock start of a slot that is shown at a time (both naive)."""
        if isinstance(self.start, datetime):
            return self.start
        return shown if self.start is None else datetime.combine(shown.date(), self.start)


#: What has a meaning of its own in an edit; of these ``None`` changes nothing.
EDITED = tuple(each.name for each in fields(Changes) if each.name != "settings")
#: All other fields of a template that a person may give.
SETTINGS = tuple(name for name, entry in FIELDS.items() if not entry.is_kept and name not in EDITED)


def concerns_slots(name: str, own: OwnColumns) -> bool:
    """Whether stored slots change with a field of their template."""
    return name in EDITED or name in _OF_STARTS or name in _OF_TIMES or name in own.shared


def read_changes(scope: Scope, values: Mapping[str, Any], own: OwnColumns) -> Changes:
    """Check changes by name.

    :param own: the app's own columns.
    :raises InvalidRequest: names the field, the value and what is expected.
    :raises InvalidTemplate: the same, for what an edit only hands on to the template.
    """
    columns = own.slot if scope is Scope.THIS else own.template
    known = (*EDITED, *SETTINGS, *columns)
    for name in values:
        if name not in known:
            raise _unknown(scope, name, values[name], known, own)
    settings = {name: _setting(name, values[name], own, scope) for name in values if name not in EDITED}
    given = {name: value for name, value in values.items() if name in EDITED and value is not None}
    if not given and not settings:
        raise InvalidRequest(f"nothing to change: give at least one of {', '.join(EDITED)}", field="changes")
    for name in ("rrule", *SETTINGS):
        if scope is Scope.THIS and (name in given or name in settings):
            value = values[name]
            raise refusal(name, value, f"{name} only with this_and_future or all: one slot has none")
    for name, value in given.items():
        expected = _fault_of_start(value) if name == "start" else FIELDS[name].kind.fault(value)
        if expected is not None:
            raise refusal(name, value, expected)
    if "dtstart" in settings and "start" in given:
        raise refusal("dtstart", settings["dtstart"], "either start or dtstart, not both")
    return Changes(**given, settings=settings)


def _unknown(scope: Scope, name: str, value: Any, known: tuple[str, ...], own: OwnColumns) -> InvalidRequest:
    if name in own.slot or name in own.template:
        scopes = (
            "this_and_future or all: only templates have it"
            if scope is Scope.THIS
            else "this: only slots have it"
        )
        return InvalidRequest(f"{name} can be edited with {scopes}", field=name, value=value, expected=scopes)
    text = f"{name} cannot be edited.{nearest(name, known)}"
    return InvalidRequest(text, field=name, value=value, expected="a field of an edit")


def _setting(name: str, value: Any, own: OwnColumns, scope: Scope) -> Any:
    """Return the checked value of a setting or an own column; ``None`` is its default where it cannot be empty."""
    columns = own.slot if scope is Scope.THIS else own.template
    entry = columns[name] if name in columns else FIELDS[name]
    if value is None and not entry.nullable:
        value = entry.initial
        if value is None:
            raise refusal(name, None, entry.kind.expected)
    entry.check(value)
    return value


def _fault_of_start(start: Any) -> str | None:
    if not isinstance(start, (datetime, time)) or start.tzinfo is not None:
        return "a naive datetime or time: the wall clock in the template's zone"
    return "whole minutes: slot keys have no seconds" if start.second or start.microsecond else None
