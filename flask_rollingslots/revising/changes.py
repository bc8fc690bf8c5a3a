"""What a person asks to change: checked before anything is looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, time, timedelta
from typing import Any

from flask_rollingslots.errors import InvalidRequest, nearest
from flask_rollingslots.values import Scope

_MINUTE = timedelta(minutes=1)
_WIDE_ONLY = ("rrule", "name")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed; ``None``: stays as it is.

    :param start: new wall-clock start of the slot named by the key, naive; a time of day: on the same day.
    :param duration: new length of the slots.
    :param capacity: new number of places.
    :param data: merged into the app's own fields, name by name.
    :param rrule: new rule; taken literally: without COUNT and UNTIL it has no end. Wide scopes only.
    :param name: new name of the template. Wide scopes only.
    """

    start: datetime | time | None = None
    duration: timedelta | None = None
    capacity: int | None = None
    data: dict[str, Any] | None = None
    rrule: str | None = None
    name: str | None = None

    @property
    def touch_times(self) -> bool:
        """Whether slots may get other times, or may come and go."""
        return (self.start, self.duration, self.rrule) != (None, None, None)

    def start_for(self, shown: datetime) -> datetime:
        """Return the new wall-clock start of a slot that is shown at a time (both naive)."""
        if self.start is None:
            return shown
        if isinstance(self.start, datetime):
            return self.start
        return datetime.combine(shown.date(), self.start)


_NAMES = tuple(field.name for field in fields(Changes))


def read_changes(scope: Scope, values: Mapping[str, Any]) -> Changes:
    """Check changes by name.

    :raises InvalidRequest: names the field, the value and what is expected.
    """
    for name in values:
        if name not in _NAMES:
            text = f"{name} cannot be edited.{nearest(name, _NAMES)}"
            raise InvalidRequest(text, field=name, value=values[name], expected="a field of an edit")
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        raise InvalidRequest(f"nothing to change: give at least one of {', '.join(_NAMES)}", field="changes")
    if scope is Scope.THIS:
        for name in _WIDE_ONLY:
            if name in given:
                raise refusal(
                    name, given[name], f"{name} only with this_and_future or all: one slot has none"
                )
    changes = Changes(**given)
    _check_times(changes)
    _check_values(changes)
    return changes


def _check_times(changes: Changes) -> None:
    start, duration = changes.start, changes.duration
    if start is not None:
        if not isinstance(start, (datetime, time)) or start.tzinfo is not None:
            raise refusal("start", start, "a naive datetime or time: the wall clock in the template's zone")
        if start.second or start.microsecond:
            raise refusal("start", start, "whole minutes: slot keys have no seconds")
    if duration is not None and (
        not isinstance(duration, timedelta) or duration < _MINUTE or duration % _MINUTE
    ):
        raise refusal("duration", duration, "a timedelta of whole minutes, at least one")


def _check_values(changes: Changes) -> None:
    capacity: Any = changes.capacity
    if capacity is not None and (
        isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= 1_000_000
    ):
        raise refusal("capacity", capacity, "a whole number from 1 to 1000000")
    for name, longest in (("rrule", 10_000), ("name", 200)):
        value = getattr(changes, name)
        if value is not None and not (isinstance(value, str) and 0 < len(value.strip()) <= longest):
            raise refusal(name, value, f"a text of 1 to {longest} characters")
    if changes.data is not None:
        if not isinstance(changes.data, dict):
            raise refusal("data", changes.data, "a dict")
        try:
            json.dumps(changes.data)
        except (TypeError, ValueError):
            raise refusal("data", changes.data, "values that JSON can hold") from None


def refusal(field: str, value: Any, expected: str) -> InvalidRequest:
    """Return an error that names field, value and expectation."""
    shown = value.isoformat(" ", "minutes") if isinstance(value, datetime) else repr(value)
    return InvalidRequest(
        f"{field} = {shown}: expected {expected}", field=field, value=value, expected=expected
    )
