"""Entries as other apps store them: events, jobs and students with a rule in a JSON column.

What is not known here is the app's own and goes into ``data``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..recurrence.dialects import KEYS, TYPES, read_clock, read_date, read_flag
from ..recurrence.zones import find_zone
from .entries import MISSING, Defaults, Entry, naming, refuse
from .json_reading import PLAIN, dates, length, ranges, read_moment, rules

_NAMES = ("name", "title", "business_name", "studentName")
_GROUPS = ("group", "club_id", "calendar_id")
_RULES = ("recurrence", "recurring_config", "recurrence_rule", "fixed_schedule")
_STARTS = ("start", "start_dt", "start_date")
_ENDS = ("end", "end_dt", "end_date")
_TIMES = ("start_time", "end_time")
_LENGTHS = {
    "opens_before_minutes": "opens_before",
    "closes_before_minutes": "closes_before",
    "reminder_before_minutes": "reminder_before",
}
_SAME = tuple(key for key in PLAIN if key not in ("name", "group", "data"))
#: Keys that mean something here; all others go into ``data``.
_KNOWN = {
    *_RULES, *_STARTS, *_ENDS, *_TIMES, *_LENGTHS, *_SAME, "timezone", "active", "data", "rdates", "exdates",
    "blackouts", "end_recurrence_date",
}  # fmt: skip
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY = timedelta(days=1)


def foreign_entries(label: str, value: Mapping[str, Any], defaults: Defaults) -> list[Entry]:
    """Return the templates of one object: several if its rule is a list.

    The name is under ``name``, ``title``, ``business_name`` or ``studentName``; the rule under ``recurrence``,
    ``recurring_config``, ``recurrence_rule`` or ``fixed_schedule``; the first slot under ``start``/``end``,
    ``start_dt``/``end_dt`` or ``start_date``/``end_date`` (a time with an offset is shown in the template's zone, a
    date alone is the first day), with ``start_time`` and ``end_time`` where they are apart; the group under
    ``group``, ``club_id`` or ``calendar_id``. An object that is itself a rule, or an entry of a fixed schedule,
    is taken as one. Without a rule there is one slot.

    :raises InvalidRequest: naming the entry, the field, the value and what is expected.
    """
    given = _with_rule({key: each for key, each in value.items() if each is not None})
    if defaults.name is not None and not given.keys() & set(_NAMES):
        given["name"] = defaults.name
    with naming(label):
        zone = find_zone(given.get("timezone", defaults.timezone))[0]
        fields, used = _fields(label, given)
        start = _moment(label, given, _STARTS, zone)
        end = _moment(label, given, _ENDS, zone)
        if end is not None and not isinstance(end, datetime):
            key = _only(label, given, _ENDS)
            expected = (
                "the time at which the first slot ends; the last day of a series is until_date in its rule"
            )
            refuse(label, str(key), given[str(key)], expected)
        read = _read_rule(label, given, start, zone)
    data = {key: each for key, each in given.items() if key not in _KNOWN and key not in used}
    if not isinstance(given.get("data", {}), dict):
        refuse(label, "data", given["data"], "an object")
    fields["data"] = {**data, **given.get("data", {})}
    found = []
    for each in read:
        if "duration" not in each:
            each["duration"] = _length(label, each["dtstart"], start, end)
        found.append(Entry(label, {**fields, **each}))
    return found


def _with_rule(given: dict[str, Any]) -> dict[str, Any]:
    """Return an object that is itself a rule as one that has a rule; all others as they are."""
    is_rule = given.get("type") in TYPES if "type" in given else bool({"weekday", "weekdays"} & given.keys())
    if not is_rule or given.keys() & set(_RULES):
        return given
    end = {"end"} if given.get("end") != "never" else set()
    parts = KEYS & given.keys() - {"start_date", "rdates", "exdates", *end}
    rest = {key: each for key, each in given.items() if key not in parts}
    return {**rest, "recurrence": {key: given[key] for key in parts}}


def _fields(label: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the plain fields, and which of the keys for name and group were used."""
    name = next((key for key in _NAMES if key in given), None)
    if name is None:
        refuse(label, "name", MISSING, f"a text under {', '.join(_NAMES[:-1])} or {_NAMES[-1]}")
    used = {name}
    fields: dict[str, Any] = {"name": given[name]}
    group = next((key for key in _GROUPS if key in given), None)
    if group is not None:
        number = isinstance(given[group], int) and not isinstance(given[group], bool)
        fields["group"] = str(given[group]) if number else given[group]
        used.add(group)
    fields |= {key: given[key] for key in _SAME if key in given}
    fields |= {own: length(label, key, given[key]) for key, own in _LENGTHS.items() if key in given}
    fields |= {key: dates(label, key, given[key]) for key in ("rdates", "exdates") if key in given}
    if "active" in given:
        fields["active"] = read_flag("active", given["active"])
    if "blackouts" in given:
        fields["blackouts"] = ranges(label, given["blackouts"])
    return fields, used


def _only(label: str, given: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    found = [key for key in keys if key in given]
    if len(found) > 1:
        refuse(label, found[1], given[found[1]], f"either {found[0]} or {found[1]}, not both")
    return found[0] if found else None


def _moment(label: str, given: Mapping[str, Any], keys: tuple[str, ...], zone: str) -> datetime | date | None:
    """Return the wall clock time, or the day, under one of some keys."""
    key = _only(label, given, keys)
    if key is None:
        return None
    value = given[key]
    if isinstance(value, str) and _DATE.fullmatch(value):
        return read_date(key, value)
    moment = read_moment(label, key, value)
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) if moment.tzinfo else moment


def _read_rule(
    label: str, given: Mapping[str, Any], start: datetime | date | None, zone: str
) -> list[dict[str, Any]]:
    if "end_recurrence_date" in given:
        refuse(label, "end_recurrence_date", given["end_recurrence_date"], "until_date within the recurrence")
    key = _only(label, given, _RULES)
    times = {name: given[name] for name in _TIMES if name in given}
    if key is None:
        return [_single(label, start, times, zone)]
    rule = given[key]
    if isinstance(rule, Mapping):
        rule = {**times, **rule}
    elif isinstance(rule, list):
        rule = [{**times, **each} if isinstance(each, Mapping) else each for each in rule]
    return rules(label, rule, start, zone)


def _single(label: str, start: datetime | date | None, times: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """Return the fields of a template with one slot."""
    if start is None:
        refuse(label, "start", MISSING, f"the first slot's time under {', '.join(_STARTS)}")
    if not isinstance(start, datetime):
        if "start_time" not in times:
            refuse(label, "start_time", MISSING, "a time of day beside a date alone")
        start = datetime.combine(start, time())
    if "start_time" in times:
        start = datetime.combine(start.date(), read_clock("start_time", times["start_time"]))
    fields: dict[str, Any] = {"rrule": None, "dtstart": start, "timezone": zone}
    if "end_time" in times:
        end = datetime.combine(start.date(), read_clock("end_time", times["end_time"]))
        fields["duration"] = end - start if end > start else end + _DAY - start
    return fields


def _length(label: str, dtstart: datetime, start: datetime | date | None, end: datetime | None) -> timedelta:
    """Return how long the first slot is by the wall clock, so that a night of a clock change counts as any other."""
    if end is None:
        refuse(label, "end", MISSING, f"the first slot's end under {', '.join(_ENDS)}, or end_time")
    first = start if isinstance(start, datetime) else dtstart
    if end <= first:
        refuse(label, "end", end.isoformat(), f"a time after the start, {first.isoformat()}")
    return end - first
