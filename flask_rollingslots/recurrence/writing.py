"""Writing the JSON dialects: the richest object that says exactly the same, or the RRULE text."""

from __future__ import annotations

from datetime import date, datetime, time, tzinfo
from typing import Any

from .fields import write_length
from .rule import Rule
from .series import Series
from .zones import walls_around

_TYPES = {"DAILY": "daily", "WEEKLY": "weekly", "MONTHLY": "monthly", "YEARLY": "yearly"}
_DAY_PARTS = {"WEEKLY": {"byday"}, "MONTHLY": {"byday", "bymonthday"}}
_BY = (
    "bymonth",
    "bymonthday",
    "byyearday",
    "byweekno",
    "byday",
    "byhour",
    "byminute",
    "bysecond",
    "bysetpos",
)


def write_object(series: Series) -> dict[str, Any]:
    """Return a dialect object that reads back to the same occurrences, given the same DTSTART and zone."""
    found = _dialect(series.rule, series.zone) if series.rule else None
    if found is None:
        found = {"type": "rrule", "rrule": series.rrule}
    for name in ("duration", "every", "shift"):
        if value := getattr(series, name):
            found[name] = write_length(value)
    if series.until_time is not None:
        found["until_time"] = series.until_time.isoformat(
            "minutes" if not series.until_time.second else "seconds"
        )
    for name in ("rdates", "exdates"):
        if values := getattr(series, name):
            found[name] = [value.isoformat() for value in values]
    if series.gap != "shift":
        found["gap"] = series.gap
    return found


def _dialect(rule: Rule, zone: tzinfo) -> dict[str, Any] | None:
    """Return the object for the rule itself, ``None`` if the dialects cannot say it."""
    used = {name for name in _BY if getattr(rule, name)}
    if rule.freq not in _TYPES or used - _DAY_PARTS.get(rule.freq, set()):
        return None
    days: dict[str, Any] | None = {}
    if rule.freq == "WEEKLY":
        days = _weekly(rule)
    elif rule.freq == "MONTHLY":
        days = _monthly(rule)
    end = _end(rule, zone)
    if days is None or end is None:
        return None
    return {"type": _TYPES[rule.freq], "interval": rule.interval, **days, **end}


def _weekly(rule: Rule) -> dict[str, Any] | None:
    if rule.wkst and rule.interval > 1:
        return None
    days = [day for _, day in rule.byday]
    if len(days) > 1:
        return {"weekdays": days}
    return {"weekday": days[0]} if days else {}


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
    if rule.count is not None:
        return {"count": rule.count}
    if rule.until is None:
        return {"end": "never"}
    day = _until_day(rule.until, zone)
    return {"until_date": day.isoformat()} if day else None


def _until_day(until: date | datetime, zone: tzinfo) -> date | None:
    """Return the day that UNTIL holds to its very end, if it does."""
    if not isinstance(until, datetime):
        return until
    low, high = (until, until) if until.tzinfo is None else walls_around(until, zone)
    return high.date() if low == high and high.time() == time(23, 59, 59) else None
