"""Reading JSON files: the library's own format here, entries of other apps in ``foreign``."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from ..errors import InvalidRequest, InvalidRule, nearest
from ..models.fields import FIELDS, TO_SLOTS
from ..models.kinds import WallClock, read_moment
from ..models.mixins import DECIDED_FIELDS
from ..recurrence import template_fields
from ..recurrence.dialects import read_flag
from ..recurrence.zones import find_zone
from .entries import MAX_ENTRIES, MISSING, Decision, Defaults, Entry, naming, refuse, short

_DEEPEST = 50
_WALL_CLOCK = WallClock()
#: What a file may say of a template beside its fields.
_MORE = {"recurrence", "series", "overrides"}
#: The fields of a template by the name that they have in files.
FILED = {field.key: field for field in FIELDS.values() if field.in_files}
STATUSES = ("scheduled", "cancelled", "deleted", "completed")
_TIMES = ("starts_at", "ends_at", "opens_at", "closes_at")
_OVERRIDE_KEYS = {
    "original_start",
    "status",
    "cancel_reason",
    "ended_with_series",
    "customised",
    *DECIDED_FIELDS,
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
        if key not in FILED and key not in _MORE:
            hint = nearest(key, FILED.keys() | _MORE)
            refuse(label, key, given[key], f"a known field; the app's own go into data.{hint}")
    given = {key: value for key, value in given.items() if value is not None}
    for key, field in FILED.items():
        if field.needed and key not in given:
            refuse(label, key, MISSING, "a value")
    with naming(label):
        zone = find_zone(given.get("timezone", defaults.timezone))[0]
        fields = read_fields(label, given, FILED.keys() - {"timezone"})
        rule = given.get("recurrence", {"type": "rrule"})
        read = rules(label, rule, fields.pop("dtstart"), zone)
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


def read_fields(label: str, given: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Return the fields of a template that an entry has under some keys; the template itself checks them.

    :raises InvalidRequest: for a value of another form.
    :raises InvalidRule: for one that only a rule can have.
    """
    found = {}
    for key, field in FILED.items():
        if key in given and key in keys:
            with refusing(label, key, given[key]):
                found[field.name] = field.kind.read(key, given[key])
    return found


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
    fields = dict(given, **_wall_clock(label, "original_start", given))
    fields |= _times(label, given, zone)
    _check_changes(label, fields)
    if "ended_with_series" in given:
        fields["ended_with_series"] = read_flag("ended_with_series", given["ended_with_series"])
    if "customised" in given:
        fields["customised"] = tuple(given["customised"])
    return Decision(**fields)


def _times(label: str, given: Mapping[str, Any], zone: str) -> dict[str, datetime]:
    keys = [key for key in _TIMES if key in given]
    moments = {key: moment_of(label, key, given[key]) for key in keys}
    return {
        key: each if each.tzinfo else each.replace(tzinfo=ZoneInfo(zone)) for key, each in moments.items()
    }


def _check_changes(label: str, fields: Mapping[str, Any]) -> None:
    for name in TO_SLOTS:
        kind = FIELDS[name].kind
        if name in fields and kind.fault(fields[name]):
            refuse(label, name, fields[name], kind.in_json)
    reason, names = fields.get("cancel_reason", ""), fields.get("customised", [])
    if not isinstance(reason, str) or len(reason) > 500:
        refuse(label, "cancel_reason", reason, "a text of at most 500 characters")
    if not isinstance(names, list) or not all(name in DECIDED_FIELDS for name in names):
        refuse(label, "customised", names, f"a list of names among {', '.join(DECIDED_FIELDS)}")
    if "starts_at" in fields and "ends_at" in fields and fields["ends_at"] <= fields["starts_at"]:
        refuse(label, "ends_at", fields["ends_at"].isoformat(), "a time after starts_at")


def _wall_clock(label: str, key: str, given: Mapping[str, Any]) -> dict[str, datetime]:
    with refusing(label, key, given[key]):
        return {key: _WALL_CLOCK.read(key, given[key])}


def moment_of(label: str, key: str, value: Any) -> datetime:
    """Return a time written as ISO 8601, naive or with an offset.

    :raises InvalidRequest: if it is none, or has seconds (keys of slots have minutes).
    """
    with refusing(label, key, value):
        return read_moment(value)


@contextmanager
def refusing(label: str, key: str, value: Any) -> Iterator[None]:
    """Let what a kind of value refuses name the file's entry; what a rule refuses says it in its own way."""
    try:
        yield
    except InvalidRule:
        raise
    except ValueError as error:
        refuse(label, key, value, str(error))
