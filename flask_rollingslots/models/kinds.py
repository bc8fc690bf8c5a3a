"""What a field of a template may hold: for each kind of value its column, its check, and its form in JSON.

One reader and one writer for files and HTTP alike.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import JSON, Boolean, Integer, String, Time
from sqlalchemy import Text as LongText

from flask_rollingslots.recurrence.dialects import read_clock, read_date, read_flag, read_moments
from flask_rollingslots.settings import MAX_DAYS

from .columns import DateRanges, Id, Moments, Seconds, TrackedDict, TrackedList, UtcDateTime, WallDateTime

#: More entries than this in one list are no calendar any more.
MAX_ENTRIES = 10_000
_MINUTE = timedelta(minutes=1)
_LONGEST = timedelta(days=MAX_DAYS)
_FEWEST = {0: "zero", 1: "one minute"}
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT = re.compile(
    rf"{_DAY}[T ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]{{1,6}})?)?(Z|[+-][0-9]{{2}}:[0-9]{{2}})?"
)
_LONGEST_VARCHAR = 255


class Kind:
    """A kind of value.

    :param python: the Python type, in words.
    :param column: the type of the column, as SQLAlchemy takes it.
    :param form: the JSON schema of what answers hold.
    :param limits: what the schema of requests has besides.
    :param expected: what a value must be, in words.
    :param in_json: the same in the words of JSON.
    :param suffix: ends the name in JSON.
    """

    def __init__(
        self,
        python: str,
        column: Any,
        form: dict[str, Any],
        *,
        limits: dict[str, Any] | None = None,
        expected: str = "",
        in_json: str = "",
        suffix: str = "",
    ) -> None:
        self.python, self.column, self.suffix = python, column, suffix
        self.form, self.limits = form, limits or {}
        self.expected, self.in_json = expected, in_json or expected

    def fault(self, value: Any) -> str | None:
        """Return what is expected instead of a value; ``None`` if it is right."""
        return None

    def read(self, key: str, value: Any) -> Any:
        """Return the value that JSON has under a key.

        :raises ValueError: says what is expected, or is an InvalidRule.
        """
        return value

    def write(self, value: Any) -> Any:
        """Return a value as JSON has it."""
        return value


class Text(Kind):
    """A text.

    :param expected: in words, if that is more than a length.
    :param blank: whether blanks alone will do.
    """

    def __init__(self, longest: int, expected: str = "", blank: bool = True) -> None:
        limits = {"minLength": 1, "maxLength": longest} | ({} if blank else {"pattern": r"\S"})
        super().__init__(
            "text",
            String(longest) if longest <= _LONGEST_VARCHAR else LongText(),
            {"type": "string"},
            limits=limits,
            expected=expected or f"a text of 1 to {longest} characters",
        )
        self._longest, self._blank = longest, blank

    def fault(self, value: Any) -> str | None:
        right = isinstance(value, str) and 0 < len(value) <= self._longest
        return None if right and (self._blank or value.strip()) else self.expected


class Number(Kind):
    """A whole number within bounds, both included."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(
            "number",
            Integer(),
            {"type": "integer"},
            limits={"minimum": low, "maximum": high},
            expected=f"a whole number from {low} to {high}",
        )
        self._low, self._high = low, high

    def fault(self, value: Any) -> str | None:
        right = isinstance(value, int) and not isinstance(value, bool) and self._low <= value <= self._high
        return None if right else self.expected


class Flag(Kind):
    """Yes or no."""

    def __init__(self) -> None:
        super().__init__(
            "yes or no", Boolean(), {"type": "boolean"}, expected="True or False", in_json="true or false"
        )

    def fault(self, value: Any) -> str | None:
        return None if isinstance(value, bool) else self.expected

    def read(self, key: str, value: Any) -> bool:
        return read_flag(key, value)


class Length(Kind):
    """A length of time; minutes in JSON.

    :param low: the shortest in minutes, 0 or 1; ``None``: any, also one before zero.
    :param whole: whole minutes only.
    """

    def __init__(self, low: int | None = 0, whole: bool = False) -> None:
        limits: dict[str, Any] = {"type": "integer"} if whole else {}
        span = ""
        if low is not None:
            limits |= {"minimum": low, "maximum": MAX_DAYS * 24 * 60}
            span = f"{', ' if whole else ' '}from {_FEWEST[low]} to {MAX_DAYS:,} days"
        super().__init__(
            "`timedelta`",
            Seconds(),
            {"type": "number"},
            limits=limits,
            expected=f"a timedelta{' of whole minutes' if whole else ''}{span}",
            in_json=f"a number of {'whole ' if whole else ''}minutes{span}",
            suffix="_minutes",
        )
        self._low, self._whole = None if low is None else low * _MINUTE, whole

    def fault(self, value: Any) -> str | None:
        right = isinstance(value, timedelta) and not (self._whole and value % _MINUTE)
        return None if right and (self._low is None or self._low <= value <= _LONGEST) else self.expected

    def read(self, key: str, value: Any) -> timedelta:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or abs(value) > 10**8:
            raise ValueError("a number of minutes")
        return timedelta(seconds=round(value * 60))

    def write(self, value: timedelta) -> float:
        seconds = value.total_seconds()
        return int(seconds // 60) if seconds % 60 == 0 else seconds / 60


class WallClock(Kind):
    """A day and a time on the wall clock of the template's zone: naive, whole minutes."""

    def __init__(self) -> None:
        super().__init__(
            "naive `datetime`",
            WallDateTime(),
            {"type": "string"},
            expected="a naive datetime: the wall-clock time in the template's zone",
        )

    def fault(self, value: Any) -> str | None:
        if not isinstance(value, datetime) or value.tzinfo is not None:
            return self.expected
        return "whole minutes: slot keys have no seconds" if value.second or value.microsecond else None

    def read(self, key: str, value: Any) -> datetime:
        moment = read_moment(value)
        if moment.tzinfo is not None:
            raise ValueError("the wall clock in the template's zone, without an offset")
        return moment

    def write(self, value: datetime) -> str:
        return write_moment(value)


class Clock(Kind):
    """A time of day."""

    def __init__(self) -> None:
        super().__init__(
            "`time`",
            Time(),
            {"type": "string"},
            limits={"pattern": "^[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?$"},
            expected="a time of day",
            in_json="a time of day as HH:MM",
        )

    def fault(self, value: Any) -> str | None:
        return None if isinstance(value, time) else self.expected

    def read(self, key: str, value: Any) -> time:
        return read_clock(key, value)

    def write(self, value: time) -> str:
        return value.isoformat("seconds" if value.second else "minutes")


class Listed(Kind):
    """A list in one column; ``None`` means the empty one."""


class Starts(Listed):
    """Single wall-clock times.

    :param days: whole days too.
    """

    def __init__(self, days: bool = False) -> None:
        super().__init__(
            "list",
            TrackedList.as_mutable(Moments()),
            {"type": "array", "items": {"type": "string"}},
            limits={"maxItems": MAX_ENTRIES},
            expected=f"a list of naive datetimes{' and dates' if days else ''}",
            in_json=f"a list of YYYY-MM-DDTHH:MM{' or YYYY-MM-DD' if days else ''}",
        )
        self._days = days

    def fault(self, value: Any) -> str | None:
        for moment in value:
            if not isinstance(moment, datetime) and not (self._days and isinstance(moment, date)):
                return self.expected
            if isinstance(moment, datetime) and (moment.tzinfo or moment.second or moment.microsecond):
                return "naive wall-clock times of whole minutes"
        return None

    def read(self, key: str, value: Any) -> list[Any]:
        if isinstance(value, list) and len(value) > MAX_ENTRIES:
            raise ValueError(f"at most {MAX_ENTRIES} dates")
        return list(read_moments(key, value))

    def write(self, value: Any) -> list[str]:
        return [write_moment(moment) for moment in value]


class DayRanges(Listed):
    """Pairs of first and last day, both included."""

    def __init__(self) -> None:
        days = {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 2, "maxItems": 2}
        super().__init__(
            "list of pairs",
            TrackedList.as_mutable(DateRanges()),
            {"type": "array", "items": days},
            limits={"maxItems": MAX_ENTRIES},
            expected="a list of (first day, last day) pairs of dates",
            in_json='a list of pairs of days, such as [["2026-08-01", "2026-08-15"]]',
        )

    def fault(self, value: Any) -> str | None:
        return None if all(map(_is_range, value)) else self.expected

    def read(self, key: str, value: Any) -> list[tuple[date, date]]:
        if not isinstance(value, list) or not all(
            isinstance(each, list) and len(each) == 2 for each in value
        ):
            raise ValueError(self.in_json)
        if len(value) > MAX_ENTRIES:
            raise ValueError(f"at most {MAX_ENTRIES} pairs of days")
        return [(read_date(key, first), read_date(key, last)) for first, last in value]

    def write(self, value: Any) -> list[list[str]]:
        return [[day.isoformat() for day in pair] for pair in value]


class Data(Kind):
    """The app's own values by name: what JSON can hold."""

    def __init__(self) -> None:
        super().__init__(
            "dict",
            TrackedDict.as_mutable(JSON()),
            {"type": "object"},
            expected="a dict",
            in_json="an object",
        )

    def fault(self, value: Any) -> str | None:
        if not isinstance(value, dict):
            return self.expected
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            return "values that JSON can hold"
        return None

    def read(self, key: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(self.in_json)
        return value

    def write(self, value: Any) -> dict[str, Any]:
        return dict(value)


class Counted(Kind):
    """A whole number that nobody gives: an id, or how often something changed."""

    def __init__(self, column: Any = Id) -> None:
        super().__init__("number", column, {"type": "integer"})


class Instant(Kind):
    """A moment that the library notes: aware, UTC."""

    def __init__(self) -> None:
        super().__init__("aware `datetime`", UtcDateTime(), {"type": "string", "format": "date-time"})

    def write(self, value: datetime) -> str:
        return write_moment(value)


def read_moment(value: Any) -> datetime:
    """Return a time written as ISO 8601, naive or with an offset, in whole minutes.

    :raises ValueError: says what is expected.
    """
    expected = "a date and time as YYYY-MM-DDTHH:MM"
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError(expected)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(expected) from None
    if moment.second or moment.microsecond:
        raise ValueError("whole minutes")
    return moment


def write_moment(moment: date) -> str:
    """Return a day, a wall-clock time (naive) or an instant (aware; in UTC) as ISO 8601."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    if moment.tzinfo is not None:
        return moment.astimezone(UTC).isoformat()
    return moment.isoformat(timespec="auto" if moment.second or moment.microsecond else "minutes")


def _is_range(pair: Any) -> bool:
    try:
        first, last = pair
    except (TypeError, ValueError):
        return False
    plain = all(isinstance(day, date) and not isinstance(day, datetime) for day in (first, last))
    return plain and bool(first <= last)
