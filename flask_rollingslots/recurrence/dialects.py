"""Reading the JSON dialects: what apps store today, turned into rules and template fields.

``month_day`` together with ``weekday`` is the first such weekday on or after that day, within the month: from day 23
on, months that have none are skipped, as months without a day 31 are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

from ..errors import nearest
from .fields import read_clock, read_date, read_flag, read_length, read_moments, read_number, read_weekday
from .parse import parse_rrule
from .refusal import MISSING, refuse
from .rule import Rule
from .series import Series

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


def read_object(value: Any, *, dtstart: datetime, timezone: str) -> Fields:
    """Return the parameters of a Recurrence for one dialect object.

    :raises InvalidRule: naming the field, the value and what is expected.
    """
    if not isinstance(value, Mapping):
        raise refuse("recurrence", value, "one object with a type (for a list, use template_fields)")
    fields = _template(value, dtstart, timezone)
    fields.pop("active", None)
    return fields


def _schedule_entry(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise refuse(
            "recurrence", entry, 'entries such as {"weekday": 0, "start_time": "16:00", "end_time": "17:00"}'
        )
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
    kind = _kind(given)
    _check_names(kind, given)
    _check_flags(given)
    start = _start(given, dtstart)
    fields: Fields = {"rrule": _rrule(kind, given), "dtstart": start, "timezone": timezone}
    fields |= _lengths(given, start)
    for name in ("rdates", "exdates"):
        if name in given:
            fields[name] = read_moments(name, given[name])
    if "gap" in given:
        fields["gap"] = given["gap"]
    Series(
        **{name: item for name, item in fields.items() if name != "active"}
    )  # refuses what does not fit together
    return fields


def _kind(given: Fields) -> str:
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in _OWN:
        hint = nearest(kind, _OWN) if isinstance(kind, str) else ""
        why = MISSING if kind is None else f"is not a type.{hint}"
        raise refuse("type", kind, f"one of {', '.join(_OWN)}", why)
    return kind


def _check_names(kind: str, given: Fields) -> None:
    known = _COMMON | _OWN[kind]
    for name in given:
        if name in known:
            continue
        if any(name in own for own in _OWN.values()):
            raise refuse(name, given[name], f"no {name} with type {kind}", f"does not go with type {kind}")
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
    if step > 1 and interval == step:
        interval = 1  # the same said twice
    if step > 1 and interval > 1:
        raise refuse("interval", interval, f"no interval: {kind} says it already", f"contradicts type {kind}")
    rule = Rule(freq, interval * step, **_days(kind, given))
    return str(replace(rule, count=_count(given), until=_until(given)))


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


def _count(given: Fields) -> int | None:
    if "count" not in given:
        return None
    if "until_date" in given:
        raise refuse("count", given["count"], "either count or until_date", "contradicts until_date")
    return read_number("count", given["count"], 1, 10**9)


def _until(given: Fields) -> date | None:
    return read_date("until_date", given["until_date"]) if "until_date" in given else None


def _days(kind: str, given: Fields) -> Fields:
    if kind in ("weekly", "biweekly"):
        return _weekly_days(given)
    if kind in ("monthly", "quarterly"):
        return _monthly_days(given)
    return {}


def _weekly_days(given: Fields) -> Fields:
    if "weekday" in given and "weekdays" in given:
        raise refuse("weekday", given["weekday"], "either weekday or weekdays", "contradicts weekdays")
    if "weekday" in given:
        return {"byday": ((0, read_weekday("weekday", given["weekday"])),)}
    if "weekdays" not in given:
        return {}
    days = given["weekdays"]
    if not isinstance(days, (list, tuple)) or not days:
        raise refuse("weekdays", days, "a list of numbers from 0 (Monday) to 6 (Sunday)")
    return {"byday": tuple(sorted({(0, read_weekday("weekdays", day)) for day in days}))}


def _monthly_days(given: Fields) -> Fields:
    if "weekday" not in given:
        if "week" in given:
            raise refuse("week", given["week"], "a weekday beside week", "stands without a weekday")
        return {"bymonthday": (_month_day(given),)} if "month_day" in given else {}
    weekday = read_weekday("weekday", given["weekday"])
    if "month_day" in given:
        if "week" in given:
            raise refuse("week", given["week"], "either week or month_day", "contradicts month_day")
        first = read_number("month_day", given["month_day"], 1, 31)
        return {"bymonthday": tuple(range(first, min(first + 7, 32))), "byday": ((0, weekday),)}
    if "week" not in given:
        raise refuse("week", None, "1, 2, 3, 4 or -1 (which weekday of the month), or a month_day", MISSING)
    week = given["week"]
    if isinstance(week, bool) or week not in (1, 2, 3, 4, -1) or not isinstance(week, int):
        raise refuse("week", week, "1, 2, 3, 4 or -1 (the last)")
    return {"byday": ((week, weekday),)}


def _month_day(given: Fields) -> int:
    day = given["month_day"]
    expected = "a whole number from 1 to 31, or from -31 to -1 counted from the end"
    if isinstance(day, bool) or not isinstance(day, int) or not 1 <= abs(day) <= 31:
        raise refuse("month_day", day, expected)
    return day


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
    start = day if isinstance(day, datetime) else datetime.combine(day, time())
    if "start_time" not in given:
        return start
    return datetime.combine(start.date(), read_clock("start_time", given["start_time"]))


def _lengths(given: Fields, start: datetime) -> Fields:
    fields: Fields = {}
    if "active" in given:
        fields["active"] = read_flag("active", given["active"])
    if "every" in given:
        fields["every"] = fields["duration"] = read_length("every", given["every"])
    if "until_time" in given:
        fields["until_time"] = read_clock("until_time", given["until_time"])
    if "duration" in given:
        fields["duration"] = read_length("duration", given["duration"])
    if "shift" in given:
        fields["shift"] = read_length("shift", given["shift"], signed=True)
    if "end_time" in given:
        if "duration" in given:
            raise refuse("end_time", given["end_time"], "either end_time or duration", "contradicts duration")
        fields["duration"] = _until_end(start, read_clock("end_time", given["end_time"]))
    return fields


def _until_end(start: datetime, end_time: time) -> timedelta:
    """Return the length of a slot; an end not later than the start is on the next day."""
    end = datetime.combine(start.date(), end_time)
    return end - start if end > start else end + _DAY - start
