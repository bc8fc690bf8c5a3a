"""JSON files: the library's own format, which restores what it was made from, and entries as other apps store them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..errors import InvalidRequest, InvalidRule, InvalidTemplate, escaped_json, nearest
from ..models import DECIDED_FIELDS, NO_OWN, OwnColumns, OwnField
from ..models.fields import FIELDS, SPEC_FIELDS, TO_SLOTS, Change
from ..models.kinds import Text, WallClock, read_moment, write_moment
from ..recurrence import Recurrence, template_fields
from ..recurrence.dialects import DATE, KEYS, TYPES, read_clock, read_date, read_flag
from ..recurrence.zones import find_zone
from .entries import MAX_ENTRIES, MISSING, Entry, Override, StoredTemplate, naming, refuse, short

_DEEPEST = 50
#: Only the library's own format has these.
_OWN_MARKS = {"dtstart", "duration_minutes"}
#: What a file may say of a template beside its fields.
_MORE = {"recurrence", "series", "overrides"}
#: The fields of a template by the name that they have in files.
FILED = {field.key: field for field in FIELDS.values() if field.in_files}
STATUSES = ("scheduled", "cancelled", "deleted", "completed")
#: What a file may say of a slot: all that is decided, and not when that was.
_OVERRIDE_KEYS = tuple(field.name for field in fields(Override) if field.name not in ("changed_at", "own"))
#: Under which keys other apps have a name, a group, a rule, and the first slot; times of day stand apart.
_NAMES = ("name", "title", "business_name", "studentName")
_GROUPS = ("group", "club_id", "calendar_id")
_RULES = ("recurrence", "recurring_config", "recurrence_rule", "fixed_schedule")
_STARTS = ("start", "start_dt", "start_date")
_ENDS = ("end", "end_dt", "end_date")
_CLOCKS = ("start_time", "end_time")
#: Settings of a template have our own names; what is offered, to whom, when and how long may be said in other ways.
_SETTINGS = {key for key, field in FILED.items() if field.change is Change.SETTING}
_SAME = _SETTINGS - {"group"} | {"capacity"}
#: Keys that mean something here; all others go into ``data``.
_KNOWN = {*_RULES, *_STARTS, *_ENDS, *_CLOCKS, *_SAME, "timezone", "data", "end_recurrence_date"}
_DAY = timedelta(days=1)


# -- writing


def json_text(templates: Iterable[StoredTemplate], own: OwnColumns = NO_OWN) -> str:
    """Return ``{"templates": [...]}``: an object for each template or segment, with what is set.

    :param own: the app's own columns.
    """
    found = {"templates": [_template_object(each, own) for each in templates]}
    return escaped_json(json.dumps(found, indent=2, ensure_ascii=False)) + "\n"


def _template_object(template: StoredTemplate, own: OwnColumns) -> dict[str, Any]:
    """Return one template, ready for JSON; times are wall clock unless they have an offset."""
    spec = template.spec
    found: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name == "rrule":
            found["recurrence"] = Recurrence(spec.rrule, spec.dtstart, spec.timezone).to_json()
        elif field.in_files:
            value = getattr(spec, name) if name in SPEC_FIELDS else template.fields.get(name)
            if value or value not in (None, (), field.initial):
                found[field.key] = field.kind.write(value)
    found |= {key: value for key, value in _shown(template.fields, own.template) if value is not None}
    if spec.series_id != spec.id or spec.active_from is not None or spec.active_until is not None:
        found["series"] = spec.series_id
    if template.overrides:
        found["overrides"] = [_override_object(each, own) for each in template.overrides]
    return found


def _shown(values: Mapping[str, Any], columns: Mapping[str, OwnField]) -> Iterator[tuple[str, Any]]:
    """Yield what own columns hold, by their names in a file."""
    for name, field in columns.items():
        value = values.get(name)
        yield field.key, None if value is None else field.kind.write(value)


def _override_object(override: Override, own: OwnColumns) -> dict[str, Any]:
    found = {}
    for name in _OVERRIDE_KEYS:
        value = getattr(override, name)
        # What a slot has from its template is written where a person changed it; else the template's holds.
        follows = name in TO_SLOTS and name not in (override.customised or ())
        if value is not None and value is not False and not follows:
            found[name] = write_moment(value) if isinstance(value, datetime) else value
    customised = override.customised or ()
    # As with data: what follows the template is not written, nor what is empty.
    kept = {name: each for name, each in own.slot.items() if name not in own.shared or name in customised}
    return found | {key: value for key, value in _shown(override.own, kept) if value is not None}


# -- reading


def json_entries(text: str, timezone: str, name: str | None = None, own: OwnColumns = NO_OWN) -> list[Entry]:
    """Return the templates of a JSON text: an object, a list of objects or ``{"templates": [...]}``.

    :param timezone: IANA name of the zone where an object names none.
    :param name: of an entry of another app that has none; ``None``: it has to have one.
    :param own: the app's own columns.
    :raises InvalidRequest: naming the entry, the field, the value and what is expected; or that it is no such JSON.
    """
    found = _parsed(text)
    if isinstance(found, dict) and "templates" in found:
        with naming("the file"):
            for key in found.keys() - {"templates"}:
                refuse(key[:40], found[key], "templates alone beside the list of templates")
        found = found["templates"]
    listed = found if isinstance(found, list) else [found]
    if len(listed) > MAX_ENTRIES:
        raise InvalidRequest(f"the file has {len(listed)} entries; expected at most {MAX_ENTRIES}")
    if not listed:
        raise InvalidRequest("the file has no entries; expected at least one template")
    entries: list[Entry] = []
    for label, value in [_labelled(number, each) for number, each in enumerate(listed, 1)]:
        given = {key: each for key, each in value.items() if each is not None}
        with naming(label):
            if _OWN_MARKS & value.keys():
                _check_keys(value, own)
                entries += _own_entries(label, given, timezone, own)
            else:
                entries += _foreign_entries(label, given, timezone, name)
    return entries


def _parsed(content: str) -> Any:
    try:
        return json.loads(content, parse_constant=int)  # it refuses NaN and Infinity
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"the file is not JSON: {error.msg} in {place}") from error
    except (RecursionError, ValueError) as error:
        text = "the file is not JSON that can be read: a number or nesting without end"
        raise InvalidRequest(text) from error


def _labelled(number: int, value: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        expected = "expected an object with the fields of a template"
        raise InvalidRequest(f"entry {number}: {short(value)}; {expected}")
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    label = f"entry {number}" + (f" ({short(name[:60])})" if name else "")
    with naming(label):
        _check_texts(value)
    return label, value


def _check_texts(value: Any, depth: int = 0) -> None:
    """Refuse what databases cannot store: NUL, halves of surrogate pairs, endless nesting."""
    if depth > _DEEPEST:
        raise InvalidTemplate(f"nested too deep; expected at most {_DEEPEST} levels")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
            raise InvalidTemplate(f"{short(value)} holds a character that cannot be stored")
    elif isinstance(value, list | dict):
        for each in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_texts(each, depth + 1)


# -- reading: the library's own format


def _check_keys(given: Mapping[str, Any], own: OwnColumns) -> None:
    known = FILED.keys() | _MORE | {field.key for field in own.template.values()}
    for key in given:
        if key not in known:
            refuse(key, given[key], f"a known field; the app's own go into data.{nearest(key, known)}")
    for key, field in FILED.items():
        if field.needed and given.get(key) is None:
            refuse(key, MISSING, "a value")


def _own_entries(label: str, given: Mapping[str, Any], timezone: str, own: OwnColumns) -> list[Entry]:
    """Return the templates of one object: several if its recurrence is a list."""
    zone = find_zone(given.get("timezone", timezone))[0]
    values = _fields(given, FILED.keys() - {"timezone"}) | _own_values(given, own.template)
    found = _rules(given.get("recurrence", {"type": "rrule"}), values.pop("dtstart"), zone)
    overrides = _overrides(label, given.get("overrides", []), zone, own)
    if overrides and len(found) > 1:
        refuse("overrides", given["overrides"], "none beside a list of several recurrences")
    series = given.get("series")
    if isinstance(series, bool) or not isinstance(series, str | int | None):
        refuse("series", series, "a number or a text that the segments of one series share")
    name = None if series is None else str(series)
    return [Entry(label, {**each, **values}, overrides, name) for each in found]


def _rules(value: Any, dtstart: datetime | date | None, zone: str) -> list[dict[str, Any]]:
    """Return what the JSON dialects say: ``rrule``, ``dtstart``, ``timezone`` and more for each template."""
    found = template_fields(value, dtstart=dtstart, timezone=zone)
    for each in found:
        if (gap := each.pop("gap", "shift")) != "shift":
            refuse("gap", gap, "shift: templates show a time that a clock change leaves out later")
    return found


def _fields(given: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Return the fields of a template that an entry has under some keys; the template itself checks them."""
    found = {}
    for key, field in FILED.items():
        if key in given and key in keys:
            with _refusing(key, given[key]):
                found[field.name] = field.kind.read(key, given[key])
    return found


@contextmanager
def _refusing(key: str, value: Any) -> Iterator[None]:
    """Let what a kind of value refuses name the file's entry; what a rule refuses says it in its own way."""
    try:
        yield
    except (InvalidRule, InvalidTemplate):
        raise
    except ValueError as error:
        refuse(key, value, str(error))


def _own_values(given: Mapping[str, Any], columns: Mapping[str, OwnField]) -> dict[str, Any]:
    """Return what an object says of own columns, by attribute."""
    found = {}
    for name, field in columns.items():
        if given.get(field.key) is not None:
            with _refusing(field.key, given[field.key]):
                found[name] = field.kind.read(field.key, given[field.key])
    return found


def _overrides(label: str, values: Any, zone: str, own: OwnColumns) -> tuple[Override, ...]:
    if not isinstance(values, list):
        refuse("overrides", values, "a list of objects with original_start and status")
    found: dict[datetime, Override] = {}
    for number, value in enumerate(values, 1):
        with naming(f"{label}, override {number}"):
            override = _override(value, zone, own)
            if override.original_start in found:
                refuse("original_start", value["original_start"], "each original start once")
        found[override.original_start] = override
    return tuple(found.values())


def _override(value: Any, zone: str, own: OwnColumns) -> Override:
    if not isinstance(value, dict):
        raise InvalidTemplate(f"{short(value)}; expected an object with original_start and status")
    known = (*_OVERRIDE_KEYS, *(field.key for field in own.slot.values()))
    for key in value:
        if key not in known:
            refuse(key, value[key], f"a field of an override.{nearest(key, known)}")
    given = {key: each for key, each in value.items() if key in _OVERRIDE_KEYS and each is not None}
    for key in ("original_start", "status"):
        if key not in given:
            refuse(key, MISSING, "a value")
    with _refusing("original_start", given["original_start"]):
        given["original_start"] = WallClock().read("original_start", given["original_start"])
    for key in ("starts_at", "ends_at", "opens_at", "closes_at"):
        if key in given:
            with _refusing(key, given[key]):
                moment = read_moment(given[key])
            given[key] = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
    _check_override(given, own)
    return Override(**given, own=_own_values(value, own.slot))


_REASON = Text(500)


def _check_override(given: Mapping[str, Any], own: OwnColumns) -> None:
    if given["status"] not in STATUSES:
        refuse("status", given["status"], f"one of {', '.join(STATUSES)}")
    for name in (*TO_SLOTS, "name"):
        kind = FIELDS[name].kind
        if name in given and kind.fault(given[name]):
            refuse(name, given[name], kind.in_json)
    reason, names = given.get("cancel_reason", ""), given.get("customised", [])
    if reason != "" and not _REASON.takes(reason):
        refuse("cancel_reason", reason, _REASON.expected)
    known = (*DECIDED_FIELDS, *own.slot)
    if not isinstance(names, list) or not all(name in known for name in names):
        refuse("customised", names, f"a list of names among {', '.join(known)}")
    read_flag("ended_with_series", given.get("ended_with_series", False))
    if "starts_at" in given and "ends_at" in given and given["ends_at"] <= given["starts_at"]:
        refuse("ends_at", given["ends_at"].isoformat(), "a time after starts_at")


# -- reading: entries of other apps


def _foreign_entries(label: str, given: dict[str, Any], timezone: str, name: str | None) -> list[Entry]:
    """Return the templates of one object: several if its rule is a list.

    A time with an offset is shown in the template's zone, a date alone is the first day. An object that is itself a
    rule, or an entry of a fixed schedule, is taken as one. Without a rule there is one slot. What is not known here is
    the app's own and goes into ``data``.
    """
    given = _with_rule(given)
    if name is not None and not given.keys() & set(_NAMES):
        given["name"] = name
    zone = find_zone(given.get("timezone", timezone))[0]
    found, used = _named(given)
    found |= _fields(given, _SAME)
    start, end = _day_or_moment(given, _STARTS, zone), _day_or_moment(given, _ENDS, zone)
    if end is not None and not isinstance(end, datetime):
        expected = "the time at which the first slot ends; the last day of a series is until_date in its rule"
        refuse(next(key for key in _ENDS if key in given), end.isoformat(), expected)
    read = _with_times(given, start, zone)
    if not isinstance(given.get("data", {}), dict):
        refuse("data", given["data"], "an object")
    own = {key: each for key, each in given.items() if key not in _KNOWN and key not in used}
    found["data"] = {**own, **given.get("data", {})}
    for each in read:
        if "duration" not in each:
            each["duration"] = _length(each["dtstart"], start, end)
    return [Entry(label, {**found, **each}) for each in read]


def _with_rule(given: dict[str, Any]) -> dict[str, Any]:
    """Return an object that is itself a rule as one that has a rule; all others as they are."""
    is_rule = given.get("type") in TYPES if "type" in given else bool({"weekday", "weekdays"} & given.keys())
    if not is_rule or given.keys() & set(_RULES):
        return given
    end = {"end"} if given.get("end") != "never" else set()
    parts = KEYS & given.keys() - {"start_date", "rdates", "exdates", *end}
    rest = {key: each for key, each in given.items() if key not in parts}
    return {**rest, "recurrence": {key: given[key] for key in parts}}


def _named(given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return name and group, and the keys under which they were found."""
    name = next((key for key in _NAMES if key in given), None)
    if name is None:
        refuse("name", MISSING, f"a text under {', '.join(_NAMES[:-1])} or {_NAMES[-1]}")
    key = next((key for key in _GROUPS if key in given), None)
    if key is None:
        return {"name": given[name]}, {name}
    group = given[key]
    is_number = isinstance(group, int) and not isinstance(group, bool)
    return {"name": given[name], "group": str(group) if is_number else group}, {name, key}


def _only(given: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    found = [key for key in keys if key in given]
    if len(found) > 1:
        refuse(found[1], given[found[1]], f"either {found[0]} or {found[1]}, not both")
    return found[0] if found else None


def _day_or_moment(given: Mapping[str, Any], keys: tuple[str, ...], zone: str) -> datetime | date | None:
    """Return the wall clock time, or the day, under one of some keys."""
    key = _only(given, keys)
    if key is None:
        return None
    value = given[key]
    if isinstance(value, str) and DATE.fullmatch(value):
        return read_date(key, value)
    with _refusing(key, value):
        moment = read_moment(value)
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) if moment.tzinfo else moment


def _with_times(given: Mapping[str, Any], start: datetime | date | None, zone: str) -> list[dict[str, Any]]:
    """Return the fields of each template that say when its slots are, as far as the rule and the times of day do."""
    if "end_recurrence_date" in given:
        refuse("end_recurrence_date", given["end_recurrence_date"], "until_date within the recurrence")
    key = _only(given, _RULES)
    clocks = {name: given[name] for name in _CLOCKS if name in given}
    if key is None:
        return [_single(start, clocks, zone)]
    rule = given[key]
    if isinstance(rule, Mapping):
        rule = {**clocks, **rule}
    elif isinstance(rule, list):
        rule = [{**clocks, **each} if isinstance(each, Mapping) else each for each in rule]
    return _rules(rule, start, zone)


def _single(start: datetime | date | None, clocks: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """Return the fields of a template with one slot."""
    if start is None:
        refuse("start", MISSING, f"the first slot's time under {', '.join(_STARTS)}")
    if not isinstance(start, datetime) and "start_time" not in clocks:
        refuse("start_time", MISSING, "a time of day beside a date alone")
    begin, end = (read_clock(key, clocks[key]) if key in clocks else None for key in _CLOCKS)
    first = start if begin is None else datetime.combine(start, begin)
    found: dict[str, Any] = {"rrule": None, "dtstart": first, "timezone": zone}
    if end is not None:
        # An end not later than the start is on the next day.
        found["duration"] = (datetime.combine(start, end) - found["dtstart"]) % _DAY or _DAY
    return found


def _length(dtstart: datetime, start: datetime | date | None, end: datetime | None) -> timedelta:
    """Return how long the first slot is by the wall clock, so that a night of a clock change counts as any other."""
    if end is None:
        refuse("end", MISSING, f"the first slot's end under {', '.join(_ENDS)}, or end_time")
    first = start if isinstance(start, datetime) else dtstart
    if end <= first:
        refuse("end", end.isoformat(), f"a time after the start, {first.isoformat()}")
    return end - first
