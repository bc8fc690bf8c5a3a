"""The JSON dialects: what apps store today, read as rules and template fields, and written.

``month_day`` together with ``weekday`` is the first such weekday on or after that day, within the month: from day 23
on, months that have none are skipped, as months without a day 31 are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta, tzinfo
from functools import partial
from typing import Any

from ..errors import nearest
from .describe import clock
from .recurrence_set import RecurrenceSet
from .rule import LISTS, MISSING, Rule, parse_rrule, refuse
from .zones import walls_around

_COMMON = {
    "type", "interval", "count", "until_date", "end", "enabled", "active", "start_time", "end_time", "start_date",
    "duration", "every", "until_time", "rdates", "exdates", "gap", "shift",
}  # fmt: skip
_OWN = {
    "daily": set[str](),
    "weekly": {"weekday", "weekdays"},
    "biweekly": {"weekday", "weekdays"},
    "monthly": {"month_day", "weekday", "week"},
    "quarterly": {"month_day", "weekday", "week"},
    "yearly": set[str](),
    "rrule": {"rrule"},
}
#: The types of a rule, and all keys that a rule may have.
TYPES = tuple(_OWN)
KEYS = frozenset(_COMMON.union(*_OWN.values()))
_FREQ = {"biweekly": ("WEEKLY", 2), "quarterly": ("MONTHLY", 3)}
_DAY = timedelta(days=1)

Fields = dict[str, Any]


def template_fields(value: Any, *, dtstart: datetime | date | None, timezone: str) -> list[Fields]:
    """Turn a JSON dialect value into template fields, one dict for each template that it needs.

    :param value: an object, or a fixed schedule: a list of ``{"weekday", "start_time", "end_time"}``.
    :param dtstart: naive wall clock or day of the first start; ``None`` if the object has ``start_date``.
        A ``start_time`` replaces its time.
    :param timezone: IANA name, handed through.
    :return: dicts with ``rrule``, ``dtstart``, ``timezone`` and, where given, ``duration``, ``every``,
        ``until_time``, ``active``, ``rdates``, ``exdates``, ``shift``, ``gap``.
    :raises InvalidRule: naming the field, the value and what is expected.
    """
    if isinstance(value, Mapping):
        return [_template(value, dtstart, timezone)]
    if not isinstance(value, (list, tuple)):
        raise refuse("recurrence", value, "an object with a type, or a list of weekly entries")
    if not value:
        raise refuse("recurrence", value, "at least one entry", "is empty")
    return [_template(_schedule_entry(entry), dtstart, timezone) for entry in value]


def rule_fields(fields: Fields) -> Fields:
    """Return the parameters of a Recurrence: template fields without what only a template has."""
    return {name: item for name, item in fields.items() if name != "active"}


def _schedule_entry(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        example = '{"weekday": 0, "start_time": "16:00", "end_time": "17:00"}'
        raise refuse("recurrence", entry, f"entries such as {example}")
    if entry.get("type", "weekly") != "weekly":
        raise refuse("type", entry["type"], "weekly, or no type, in a fixed schedule")
    for name in ("weekday", "start_time"):
        if entry.get(name) is None:
            raise refuse(name, None, f"a {name} in each entry of a fixed schedule", MISSING)
    return {**entry, "type": "weekly"}


def _template(value: Mapping[str, Any], dtstart: datetime | date | None, timezone: str) -> Fields:
    given = {name: item for name, item in value.items() if item is not None}
    if "type" not in given and ("weekday" in given or "weekdays" in given):
        given["type"] = "weekly"  # an entry of a fixed schedule on its own
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in _OWN:
        hint = nearest(kind, _OWN) if isinstance(kind, str) else ""
        why = MISSING if kind is None else f"is not a type.{hint}"
        raise refuse("type", kind, f"one of {', '.join(_OWN)}", why)
    _check_names(kind, given)
    _check_flags(given)
    start = _start(given, dtstart)
    fields: Fields = {"rrule": _rrule(kind, given), "dtstart": start, "timezone": timezone}
    fields |= _lengths(given, start)
    if "gap" in given:
        fields["gap"] = given["gap"]
    RecurrenceSet(**rule_fields(fields))  # refuses what does not fit together
    return fields


def _check_names(kind: str, given: Fields) -> None:
    known = _COMMON | _OWN[kind]
    for name in given:
        if name in KEYS - known:
            raise refuse(name, given[name], f"no {name} with type {kind}", f"does not go with type {kind}")
        if name not in known:
            hint = nearest(str(name), known)
            raise refuse(str(name)[:40], given[name], "a known field", f"is in an unknown field.{hint}")


def _check_flags(given: Fields) -> None:
    if "enabled" in given and not read_flag("enabled", given["enabled"]):
        raise refuse("enabled", False, "true; leave the recurrence out where there is none")
    if "end" not in given:
        return
    if given["end"] != "never":
        raise refuse("end", given["end"], '"never", or no end beside count or until_date')
    for name in ("count", "until_date"):
        if name in given:
            raise refuse("end", "never", f"either end or {name}", f"contradicts {name}: {given[name]!r}")


def _rrule(kind: str, given: Fields) -> str | None:
    if kind == "rrule":
        return _plain_rrule(given)
    freq, step = _FREQ.get(kind, (kind.upper(), 1))
    interval = read_number("interval", given.get("interval", 1), 1, 10**9)
    if step > 1 and interval not in (1, step):  # the step is the same said twice
        raise refuse("interval", interval, f"no interval: {kind} says it already", f"contradicts type {kind}")
    days = _DAYS[freq](given) if freq in _DAYS else {}
    until = read_date("until_date", given["until_date"]) if "until_date" in given else None
    count = given.get("count")
    if count is not None and until is not None:
        raise refuse("count", count, "either count or until_date", "contradicts until_date")
    if count is not None:
        read_number("count", count, 1, 10**9)
    return str(Rule(freq, step if step > 1 else interval, count, until, **days))


def _plain_rrule(given: Fields) -> str | None:
    for name in ("interval", "count", "until_date"):
        if name in given:
            raise refuse(name, given[name], f"{name} within the rrule", "does not go with type rrule")
    text = given.get("rrule")
    if text is None:
        return None
    rule = parse_rrule(text)
    if "end" in given and (rule.count is not None or rule.until is not None):
        raise refuse("end", "never", "a rule without COUNT and UNTIL", f"contradicts rrule: {text!r}")
    return str(text)


def _weekly_days(given: Fields) -> Fields:
    if "weekday" in given and "weekdays" in given:
        raise refuse("weekday", given["weekday"], "either weekday or weekdays", "contradicts weekdays")
    if "weekday" in given:
        return {"byday": ((0, _read_weekday("weekday", given["weekday"])),)}
    days = given.get("weekdays")
    if days is None:
        return {}
    if not isinstance(days, (list, tuple)) or not days:
        raise refuse("weekdays", days, "a list of numbers from 0 (Monday) to 6 (Sunday)")
    return {"byday": tuple(sorted({(0, _read_weekday("weekdays", day)) for day in days}))}


def _monthly_days(given: Fields) -> Fields:
    if "weekday" not in given:
        if "week" in given:
            raise refuse("week", given["week"], "a weekday beside week", "stands without a weekday")
        if "month_day" not in given:
            return {}
        expected = "a whole number from 1 to 31, or from -31 to -1 counted from the end"
        return {"bymonthday": (read_number("month_day", given["month_day"], -31, 31, expected),)}
    weekday = _read_weekday("weekday", given["weekday"])
    if "month_day" in given:
        if "week" in given:
            raise refuse("week", given["week"], "either week or month_day", "contradicts month_day")
        first = read_number("month_day", given["month_day"], 1, 31)
        return {"bymonthday": tuple(range(first, min(first + 7, 32))), "byday": ((0, weekday),)}
    if "week" not in given:
        raise refuse("week", None, "1, 2, 3, 4 or -1 (which weekday of the month), or a month_day", MISSING)
    return {"byday": ((read_number("week", given["week"], -1, 4, "1, 2, 3, 4 or -1 (the last)"), weekday),)}


_DAYS: dict[str, Callable[[Fields], Fields]] = {"WEEKLY": _weekly_days, "MONTHLY": _monthly_days}


def _start(given: Fields, dtstart: datetime | date | None) -> datetime:
    day: datetime | date | None = dtstart
    if "start_date" in given:
        day = read_date("start_date", given["start_date"])
        if isinstance(dtstart, datetime):
            day = datetime.combine(day, dtstart.time())
    if day is None:
        raise refuse("dtstart", None, "the day or time of the first start, or a start_date", MISSING)
    if not isinstance(day, date):
        raise refuse("dtstart", day, "a naive datetime or a date")
    if "start_time" in given:
        return datetime.combine(day, read_clock("start_time", given["start_time"]))
    return day if isinstance(day, datetime) else datetime.combine(day, time())


def _lengths(given: Fields, start: datetime) -> Fields:
    fields: Fields = {"duration": read_length("every", given["every"])} if "every" in given else {}
    fields |= {name: read(name, given[name]) for name, read in _READERS.items() if name in given}
    if "end_time" in given:
        if "duration" in given:
            raise refuse("end_time", given["end_time"], "either end_time or duration", "contradicts duration")
        end = datetime.combine(start.date(), read_clock("end_time", given["end_time"]))
        # An end not later than the start is on the next day.
        fields["duration"] = (end - start) % _DAY or _DAY
    return fields


# -- single values: each is returned or refused with InvalidRule; a bool is never a number, a number never a text

_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_LENGTH = re.compile(r"(-?)([0-9]{1,5}):([0-5][0-9])(?::([0-5][0-9]))?")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?")


def read_number(name: str, value: Any, lowest: int, highest: int, expected: str | None = None) -> int:
    """Return a whole number within bounds; where it may count from the end, zero is none."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not lowest <= value <= highest or (lowest < 0 and value == 0):
        raise refuse(name, value, expected or f"a whole number from {lowest} to {highest}")
    return int(value)


def _read_weekday(name: str, value: Any) -> int:
    return read_number(name, value, 0, 6, "a whole number from 0 (Monday) to 6 (Sunday)")


def read_flag(name: str, value: Any) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise refuse(name, value, "true or false")
    return value


def read_clock(name: str, value: Any) -> time:
    """Return a time of day written as HH:MM or HH:MM:SS."""
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if found := _CLOCK.fullmatch(value) if isinstance(value, str) else None:
        with suppress(ValueError):
            hour, minute, second = map(int, found.groups(default="0"))
            return time(hour, minute, second)
    raise refuse(name, value, "a time of day from 00:00 to 23:59, as HH:MM")


def read_date(name: str, value: Any) -> date:
    """Return a date written as YYYY-MM-DD."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and DATE.fullmatch(value):
        with suppress(ValueError):
            return date.fromisoformat(value)
    raise refuse(name, value, "a date as YYYY-MM-DD")


def read_moments(name: str, values: Any) -> tuple[datetime | date, ...]:
    """Return naive wall clock times and dates from a list of ISO texts."""
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
    """
    length = value if isinstance(value, timedelta) else None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 10**7:
        length = timedelta(minutes=value)
    elif found := _LENGTH.fullmatch(value) if isinstance(value, str) else None:
        sign, hours, minutes, seconds = found.groups(default="0")
        length = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds))
        length = -length if sign else length
    if length is None or (length <= timedelta(0) and not signed):
        raise refuse(name, value, "a length of time: whole minutes as a number, or a text as H:MM")
    return length


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "active": read_flag,
    "every": read_length,
    "until_time": read_clock,
    "duration": read_length,
    "shift": partial(read_length, signed=True),
    "rdates": read_moments,
    "exdates": read_moments,
}


def write_length(length: timedelta) -> int | str:
    """Return what :func:`read_length` reads: minutes where they are whole, else H:MM:SS."""
    seconds = int(length.total_seconds())
    if seconds % 60 == 0:
        return seconds // 60
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


# -- writing: the richest object that says exactly the same, or the RRULE text

#: The parts of a rule that an object of its type can say.
_DAY_PARTS = {"DAILY": (), "WEEKLY": ("byday",), "MONTHLY": ("byday", "bymonthday"), "YEARLY": ()}


def write_object(recurrence: RecurrenceSet) -> dict[str, Any]:
    """Return a dialect object that reads back to the same occurrences, given the same DTSTART and zone."""
    found = _dialect(recurrence.rule, recurrence.zone) if recurrence.rule else None
    if found is None:
        found = {"type": "rrule", "rrule": recurrence.rrule}
    for name in ("duration", "every", "shift"):
        if value := getattr(recurrence, name):
            found[name] = write_length(value)
    if recurrence.until_time is not None:
        found["until_time"] = clock(recurrence.until_time)
    for name in ("rdates", "exdates"):
        if values := getattr(recurrence, name):
            found[name] = [value.isoformat() for value in values]
    if recurrence.gap != "shift":
        found["gap"] = recurrence.gap
    return found


def _dialect(rule: Rule, zone: tzinfo) -> dict[str, Any] | None:
    """Return the object for the rule itself, ``None`` if the dialects cannot say it."""
    used = {name for name in map(str.lower, LISTS) if getattr(rule, name)}
    if rule.freq not in _DAY_PARTS or used.difference(_DAY_PARTS[rule.freq]):
        return None
    days, end = _weekly(rule) if rule.freq == "WEEKLY" else _monthly(rule), _end(rule, zone)
    if days is None or end is None:
        return None
    return {"type": rule.freq.lower(), "interval": rule.interval, **days, **end}


def _weekly(rule: Rule) -> dict[str, Any] | None:
    days = [day for _, day in rule.byday]
    if rule.wkst and rule.interval > 1:
        return None
    return {"weekdays": days} if len(days) > 1 else {"weekday": days[0]} if days else {}


def _monthly(rule: Rule) -> dict[str, Any] | None:
    days, weekdays = rule.bymonthday, rule.byday
    if not weekdays:
        return None if len(days) > 1 else {"month_day": days[0]} if days else {}
    number, weekday = weekdays[0]
    if len(weekdays) > 1:
        return None
    if not days:
        return {"week": number, "weekday": weekday} if number in (1, 2, 3, 4, -1) else None
    first = days[0]
    if number or first < 1 or days != tuple(range(first, min(first + 7, 32))):
        return None
    return {"month_day": first, "weekday": weekday}


def _end(rule: Rule, zone: tzinfo) -> dict[str, Any] | None:
    until = rule.until
    if rule.count is not None:
        return {"count": rule.count}
    if until is None:
        return {"end": "never"}
    if isinstance(until, datetime):
        low, high = (until, until) if until.tzinfo is None else walls_around(until, zone)
        if low != high or high.time() != time(23, 59, 59):
            return None  # a day is held to its very end
        until = high.date()
    return {"until_date": until.isoformat()}
