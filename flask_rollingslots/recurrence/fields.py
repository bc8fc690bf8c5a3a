"""Checked reading of single JSON values. A bool is never a number, and a number is never a text."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any

from .refusal import refuse

_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_LENGTH = re.compile(r"(-?)([0-9]{1,5}):([0-5][0-9])(?::([0-5][0-9]))?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?")


def read_number(name: str, value: Any, lowest: int, highest: int) -> int:
    """Return a whole number within bounds.

    :raises InvalidRule: otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise refuse(name, value, f"a whole number from {lowest} to {highest}")
    return value


def read_weekday(name: str, value: Any) -> int:
    """Return a weekday, 0 = Monday.

    :raises InvalidRule: otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 6:
        raise refuse(name, value, "a whole number from 0 (Monday) to 6 (Sunday)")
    return value


def read_flag(name: str, value: Any) -> bool:
    """Return a bool.

    :raises InvalidRule: otherwise.
    """
    if not isinstance(value, bool):
        raise refuse(name, value, "true or false")
    return value


def read_clock(name: str, value: Any) -> time:
    """Return a time of day written as HH:MM or HH:MM:SS.

    :raises InvalidRule: otherwise.
    """
    if isinstance(value, time) and value.tzinfo is None:
        return value
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    try:
        if found:
            hour, minute, second = (int(part or 0) for part in found.groups())
            return time(hour, minute, second)
    except ValueError:
        pass
    raise refuse(name, value, "a time of day from 00:00 to 23:59, as HH:MM")


def read_date(name: str, value: Any) -> date:
    """Return a date written as YYYY-MM-DD.

    :raises InvalidRule: otherwise.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise refuse(name, value, "a date as YYYY-MM-DD")


def read_moments(name: str, values: Any) -> tuple[datetime | date, ...]:
    """Return naive wall clock times and dates from a list of ISO texts.

    :raises InvalidRule: otherwise.
    """
    if not isinstance(values, (list, tuple)):
        raise refuse(name, values, "a list of YYYY-MM-DDTHH:MM wall clock times and YYYY-MM-DD dates")
    return tuple(_read_moment(name, value) for value in values)


def _read_moment(name: str, value: Any) -> datetime | date:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise refuse(name, value, "a wall clock time as YYYY-MM-DDTHH:MM") from None
    return read_date(name, value)


def read_length(name: str, value: Any, *, signed: bool = False) -> timedelta:
    """Return a length of time: whole minutes as a number, or a text as H:MM or H:MM:SS.

    :param signed: whether it may be zero or negative.
    :raises InvalidRule: otherwise.
    """
    length = _length(value)
    if length is None or (length <= timedelta(0) and not signed):
        raise refuse(name, value, "a length of time: whole minutes as a number, or a text as H:MM")
    return length


def _length(value: Any) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 10**7:
        return timedelta(minutes=value)
    found = _LENGTH.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return None
    sign, hours, minutes, seconds = found.groups()
    length = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0))
    return -length if sign else length


def write_length(length: timedelta) -> int | str:
    """Return what :func:`read_length` reads: minutes where they are whole, else H:MM:SS."""
    seconds = int(length.total_seconds())
    if seconds % 60 == 0:
        return seconds // 60
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
