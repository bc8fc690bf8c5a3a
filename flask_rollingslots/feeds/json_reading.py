"""Reading JSON files: the library's own format here, entries of other apps in ``foreign``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from ..errors import InvalidRequest, nearest
from ..recurrence import template_fields
from ..recurrence.dialects import read_clock, read_date, read_flag, read_moments
from ..recurrence.zones import find_zone
from .entries import MAX_ENTRIES, MAX_MOMENTS, MISSING, Decision, Defaults, Entry, naming, refuse, short

_DEEPEST = 50
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_LENGTHS = {
    "duration_minutes": "duration",
    "every_minutes": "every",
    "opens_before_minutes": "opens_before",
    "closes_before_minutes": "closes_before",
    "reminder_before_minutes": "reminder_before",
    "shift_minutes": "shift",
}
#: Taken over as they are; the template itself checks them.
PLAIN = ("name", "group", "capacity", "holidays", "window_days", "opens_days_before", "resource", "data")
FLAGS = ("active", "exclusive")
_OTHERS = {
    "timezone", "dtstart", "until_time", "recurrence", "rdates", "exdates", "blackouts", "series", "active_from",
    "active_until", "cancelled_from", "overrides",
}  # fmt: skip
OWN_KEYS = frozenset({*_LENGTHS, *PLAIN, *FLAGS, *_OTHERS})
_BOUNDS = ("active_from", "active_until", "cancelled_from")
STATUSES = ("scheduled", "cancelled", "deleted", "completed")
_CUSTOMISABLE = ("starts_at", "ends_at", "opens_at", "closes_at", "capacity", "data")
_OVERRIDE_KEYS = {
    "original_start",
    "status",
    "cancel_reason",
    "ended_with_series",
    "customised",
    *_CUSTOMISABLE,
}


def objects_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the entries of a JSON text with their labels.

    :raises InvalidRequest: if it is not JSON, or not an object, a list of objects or ``{"templates": [...]}``.
    """
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the file is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise InvalidRequest(
            "the file is not JSON that can be read: a number or nesting without end"
        ) from error
    if isinstance(found, dict) and "templates" in found:
        if len(found) > 1:
            extra = next(name for name in found if name != "templates")
            refuse("the file", str(extra)[:40], found[extra], "templates alone beside the list of templates")
        found = found["templates"]
    listed = found if isinstance(found, list) else [found]
    if len(listed) > MAX_ENTRIES:
        raise InvalidRequest(f"the file has {len(listed)} entries; expected at most {MAX_ENTRIES}")
    return [_labelled(number, each) for number, each in enumerate(listed, 1)]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _labelled(number: int, value: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"entry {number}: {short(value)}; expected an object with the fields of a template"
        )
    named = (value.get(key) for key in ("name", "title", "business_name", "studentName"))
    name = next((each for each in named if isinstance(each, str)), None)
    label = f"entry {number}" + (f" ({short(name[:60])})" if name else "")
    _check_texts(label, value)
    return label, value


def _check_texts(label: str, value: Any, depth: int = 0) -> None:
    """Refuse what databases cannot store: NUL, halves of surrogate pairs, endless nesting."""
    if depth > _DEEPEST:
        raise InvalidRequest(f"{label}: nested too deep; expected at most {_DEEPEST} levels", entry=label)
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise InvalidRequest(
                f"{label}: {short(value)} holds a character that cannot be stored", entry=label
            )
    elif isinstance(value, list):
        for each in value:
            _check_texts(label, each, depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            _check_texts(label, key, depth + 1)
            _check_texts(label, each, depth + 1)


def own_entries(label: str, given: Mapping[str, Any], defaults: Defaults) -> list[Entry]:
    """Return the templates of one object in the library's own format: several if its recurrence is a list.

    :raises InvalidRequest: for an unknown key (with the nearest name), a missing one, or a value that is not valid.
    """
    for key in given:
        if key not in OWN_KEYS:
            hint = nearest(key, OWN_KEYS)
            refuse(label, key, given[key], f"a known field; the app's own go into data.{hint}")
    given = {key: value for key, value in given.items() if value is not None}
    for key in ("name", "dtstart", "duration_minutes"):
        if key not in given:
            refuse(label, key, MISSING, "a value")
    with naming(label):
        zone = find_zone(given.get("timezone", defaults.timezone))[0]
        fields = _own_fields(label, given)
        rule = given.get("recurrence", {"type": "rrule"})
        read = rules(label, rule, wall_clock(label, "dtstart", given["dtstart"]), zone)
        decisions = _decisions(label, given.get("overrides", []), zone)
    if decisions and len(read) > 1:
        refuse(label, "overrides", given["overrides"], "none beside a list of several recurrences")
    series = given.get("series")
    if isinstance(series, bool) or not isinstance(series, str | int | None):
        refuse(label, "series", series, "a number or a text that the segments of one series share")
    return [
        Entry(label, {**each, **fields}, decisions, None if series is None else str(series)) for each in read
    ]


def rules(label: str, value: Any, dtstart: datetime | date | None, zone: str) -> list[dict[str, Any]]:
    """Return what the JSON dialects say: ``rrule``, ``dtstart``, ``timezone`` and more for each template.

    :raises InvalidRule: if it is not valid.
    """
    found = template_fields(value, dtstart=dtstart, timezone=zone)
    for fields in found:
        gap = fields.pop("gap", "shift")
        if gap != "shift":
            refuse(label, "gap", gap, "shift: templates show a time that a clock change leaves out later")
    return found


def _own_fields(label: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given.get("data", {}), dict):
        refuse(label, "data", given["data"], "an object")
    fields: dict[str, Any] = {key: given[key] for key in PLAIN if key in given}
    fields |= {name: length(label, key, given[key]) for key, name in _LENGTHS.items() if key in given}
    fields |= {key: read_flag(key, given[key]) for key in FLAGS if key in given}
    fields |= {key: dates(label, key, given[key]) for key in ("rdates", "exdates") if key in given}
    fields |= {key: wall_clock(label, key, given[key]) for key in _BOUNDS if key in given}
    if "until_time" in given:
        fields["until_time"] = read_clock("until_time", given["until_time"])
    if "blackouts" in given:
        fields["blackouts"] = ranges(label, given["blackouts"])
    return fields


def _decisions(label: str, values: Any, zone: str) -> tuple[Decision, ...]:
    if not isinstance(values, list):
        refuse(label, "overrides", values, "a list of objects with original_start and status")
    found: dict[datetime, Decision] = {}
    for number, value in enumerate(values, 1):
        place = f"{label}, override {number}"
        decision = _decision(place, value, zone)
        if decision.original_start in found:
            refuse(place, "original_start", value["original_start"], "each original start once")
        found[decision.original_start] = decision
    return tuple(found.values())


def _decision(label: str, value: Any, zone: str) -> Decision:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{label}: {short(value)}; expected an object with original_start and status")
    for key in value:
        if key not in _OVERRIDE_KEYS:
            refuse(label, key, value[key], f"a field of an override.{nearest(key, _OVERRIDE_KEYS)}")
    given = {key: each for key, each in value.items() if each is not None}
    for key in ("original_start", "status"):
        if key not in given:
            refuse(label, key, MISSING, "a value")
    if given["status"] not in STATUSES:
        refuse(label, "status", given["status"], f"one of {', '.join(STATUSES)}")
    fields = dict(given, original_start=wall_clock(label, "original_start", given["original_start"]))
    fields |= _times(label, given, zone)
    _check_changes(label, fields)
    if "ended_with_series" in given:
        fields["ended_with_series"] = read_flag("ended_with_series", given["ended_with_series"])
    if "customised" in given:
        fields["customised"] = tuple(given["customised"])
    return Decision(**fields)


def _times(label: str, given: Mapping[str, Any], zone: str) -> dict[str, datetime]:
    keys = [key for key in ("starts_at", "ends_at", "opens_at", "closes_at") if key in given]
    moments = {key: read_moment(label, key, given[key]) for key in keys}
    return {
        key: each if each.tzinfo else each.replace(tzinfo=ZoneInfo(zone)) for key, each in moments.items()
    }


def _check_changes(label: str, fields: Mapping[str, Any]) -> None:
    capacity, data = fields.get("capacity", 1), fields.get("data", {})
    reason, names = fields.get("cancel_reason", ""), fields.get("customised", [])
    if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= 1_000_000:
        refuse(label, "capacity", capacity, "a whole number from 1 to 1000000")
    if not isinstance(data, dict):
        refuse(label, "data", data, "an object")
    if not isinstance(reason, str) or len(reason) > 500:
        refuse(label, "cancel_reason", reason, "a text of at most 500 characters")
    if not isinstance(names, list) or not all(name in _CUSTOMISABLE for name in names):
        refuse(label, "customised", names, f"a list of names among {', '.join(_CUSTOMISABLE)}")
    if "starts_at" in fields and "ends_at" in fields and fields["ends_at"] <= fields["starts_at"]:
        refuse(label, "ends_at", fields["ends_at"].isoformat(), "a time after starts_at")


# -- single values


def read_moment(label: str, key: str, value: Any) -> datetime:
    """Return a time written as ISO 8601, naive or with an offset.

    :raises InvalidRequest: if it is none, or has seconds (keys of slots have minutes).
    """
    expected = "a date and time as YYYY-MM-DDTHH:MM"
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        refuse(label, key, value, expected)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        refuse(label, key, value, expected)
    if moment.second or moment.microsecond:
        refuse(label, key, value, "whole minutes")
    return moment


def wall_clock(label: str, key: str, value: Any) -> datetime:
    """Return a naive wall clock time.

    :raises InvalidRequest: if it is none, or has an offset.
    """
    moment = read_moment(label, key, value)
    if moment.tzinfo is not None:
        refuse(label, key, value, "the wall clock in the template's zone, without an offset")
    return moment


def dates(label: str, key: str, value: Any) -> list[Any]:
    """Return the single dates of a list: wall clock times, and dates (in ``rdates`` they need a time).

    :raises InvalidRequest: if there are too many.
    :raises InvalidRule: if one is not valid.
    """
    if isinstance(value, list) and len(value) > MAX_MOMENTS:
        refuse(label, key, value, f"at most {MAX_MOMENTS} dates")
    return list(read_moments(key, value))


def ranges(label: str, value: Any) -> list[tuple[date, date]]:
    """Return the blackouts: pairs of first and last day.

    :raises InvalidRequest: if it is not a list of pairs.
    :raises InvalidRule: if a day is not valid.
    """
    expected = 'a list of pairs of days, such as [["2026-08-01", "2026-08-15"]]'
    if not isinstance(value, list) or not all(isinstance(each, list) and len(each) == 2 for each in value):
        refuse(label, "blackouts", value, expected)
    found: Iterable[tuple[date, date]] = (
        (read_date("blackouts", first), read_date("blackouts", last)) for first, last in value
    )
    return list(found)


def length(label: str, key: str, value: Any) -> timedelta:
    """Return a number of minutes as a length of time.

    :raises InvalidRequest: if it is no number.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or abs(value) > 10**8:
        refuse(label, key, value, "a number of minutes")
    return timedelta(seconds=round(value * 60))
