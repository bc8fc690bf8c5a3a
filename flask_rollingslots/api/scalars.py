"""Types of single values in requests and answers: how they are written and read, and what the documentation says."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from flask_rollingslots.errors import InvalidRule

if TYPE_CHECKING:
    from flask_rollingslots.models import TemplateField

MAX_ID = 2**63 - 1
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9990, 1, 1, tzinfo=UTC)
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = "[0-9]{2}:[0-9]{2}"
_WALL = f"{_DAY}T{_TIME}(:00)?"
_MOMENT = re.compile(f"{_DAY}[Tt ]{_TIME}:[0-9]{{2}}([.][0-9]{{1,9}})?([Zz]|[+-]{_TIME})")
_NUMBER = re.compile("-?[0-9]{1,18}")


class Strict(BaseModel):
    """A body or a query: every field is known, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


def _read(pattern: str, value: Any, read: Any, expected: str) -> Any:
    if isinstance(value, str) and re.fullmatch(pattern, value):
        try:
            found = read(value)
        except (ValueError, OverflowError):
            found = None
        year = getattr(found, "year", 2000)
        if found is not None and 1900 <= year <= 9990:
            return found
    raise ValueError(expected)


def read_day(value: Any) -> date:
    """Return a day."""
    found: date = _read(_DAY, value, date.fromisoformat, "a day as YYYY-MM-DD, years 1900 to 9990")
    return found


def read_wall_clock(value: Any) -> datetime:
    """Return a wall-clock time: naive."""
    expected = "a wall-clock time in the template's zone, as YYYY-MM-DDTHH:MM, without an offset"
    found: datetime = _read(_WALL, value, datetime.fromisoformat, expected)
    return found


def read_clock(value: Any) -> time:
    """Return a time of day."""
    found: time = _read(_TIME, value, time.fromisoformat, "a time of day as HH:MM")
    return found


def read_moment(value: Any) -> datetime:
    """Return an instant: aware."""
    expected = "an instant with its offset, such as 2026-01-05T10:00:00Z or 2026-01-05T10:00:00+01:00"
    if isinstance(value, str) and re.fullmatch(f"{_DAY}T{_TIME}:[0-9]{{2}} {_TIME}", value):
        raise ValueError(f"{expected}; in an address + is written as %2B")
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError(expected)
    try:
        found = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(expected) from None
    if not _FIRST <= found <= _LAST:
        raise ValueError(f"{expected}, from 1970 to 9990")
    return found


def read_moment_or_day(value: Any) -> datetime | date:
    """Return an instant, or a day whose midnight is meant."""
    if isinstance(value, str) and re.fullmatch(_DAY, value):
        return read_day(value)
    try:
        return read_moment(value)
    except ValueError as error:
        raise ValueError(f"{error}, or a day as YYYY-MM-DD") from None


def read_start(value: Any) -> datetime | time:
    """Return a wall-clock time, or a time of day."""
    if isinstance(value, str) and re.fullmatch(_TIME, value):
        return read_clock(value)
    try:
        return read_wall_clock(value)
    except ValueError as error:
        raise ValueError(f"{error}, or a time of day as HH:MM") from None


def read_first_start(value: Any) -> datetime | date:
    """Return a wall-clock time, or a day whose time is said elsewhere."""
    if isinstance(value, str) and re.fullmatch(_DAY, value):
        return read_day(value)
    return read_wall_clock(value)


def _number(value: Any) -> Any:
    """Return the number that a query parameter writes in ASCII digits."""
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise ValueError("a whole number in ASCII digits")
        return int(value)
    return value


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("true or false")
        return value == "true"
    return value


def _text(format_: str, pattern: str, description: str) -> WithJsonSchema:
    schema = {"type": "string", "description": description}
    return WithJsonSchema(schema | ({"format": format_} if format_ else {"pattern": f"^{pattern}$"}))


Day = Annotated[date, BeforeValidator(read_day), _text("date", "", "A day, YYYY-MM-DD.")]
WallClock = Annotated[
    datetime,
    BeforeValidator(read_wall_clock),
    _text("", _WALL, "Wall-clock time in the template's zone, without an offset."),
]
Moment = Annotated[
    datetime, BeforeValidator(read_moment), _text("date-time", "", "An instant with its offset.")
]
MomentOrDay = Annotated[
    datetime | date,
    BeforeValidator(read_moment_or_day),
    _text("", f"({_DAY}|{_DAY}T{_TIME}:[0-9]{{2}}(Z|[+-]{_TIME}))", "An instant with its offset, or a day."),
]
Start = Annotated[
    datetime | time,
    BeforeValidator(read_start),
    _text("", f"({_TIME}|{_WALL})", "New wall-clock start: a time of the same day, or day and time."),
]
FirstStart = Annotated[
    datetime | date,
    BeforeValidator(read_first_start),
    _text(
        "",
        f"({_DAY}|{_WALL})",
        "Wall-clock time of the first start, or its day where the rule has start_time.",
    ),
]

#: In bodies numbers are numbers; in queries they are written in digits.
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Group = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(max_length=500)]
ScopeName = Annotated[
    str,
    Field(
        pattern="^(this|this_only|this_and_future|all)$",
        description="Which slots: this (or this_only), this_and_future, all.",
    ),
]
QueryNumber = Annotated[int, BeforeValidator(_number)]
QueryId = Annotated[int, BeforeValidator(_number), Field(ge=1, le=MAX_ID)]
QueryFlag = Annotated[bool, BeforeValidator(_flag)]


def taken(field: TemplateField, empty: bool) -> Any:
    """Return the type of a template's field in a body, whose value is what the column holds.

    :param empty: whether null is taken.
    """

    def read(value: Any) -> Any:
        if value is None and empty:
            return None
        try:
            found = field.kind.read(field.key, value)
        except InvalidRule as error:
            raise ValueError(error.details["expected"]) from None
        if field.kind.fault(found) is not None:
            raise ValueError(field.kind.in_json)
        return found

    return Annotated[Any, BeforeValidator(read), _schema(field.kind.form | field.kind.limits, empty)]


def given(field: TemplateField) -> Any:
    """Return the type of a template's field in an answer."""

    def write(value: Any) -> Any:
        return None if value is None else field.kind.write(value)

    empty = field.nullable or not field.is_decision  # a draft has no number yet
    return Annotated[Any, PlainSerializer(write), _schema(field.kind.form, empty)]


def _schema(form: dict[str, Any], empty: bool) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [form, {"type": "null"}]} if empty else form)
