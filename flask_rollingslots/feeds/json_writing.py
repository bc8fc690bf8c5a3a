"""Templates and decisions as JSON: the library's own format, which restores what it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from ..recurrence import Recurrence
from .entries import Decision, Outgoing

#: Fields of a slot that are written where a person changed them; else the template's hold.
_CHANGED = ("capacity", "data")


def json_text(templates: Iterable[Outgoing]) -> str:
    """Return ``{"templates": [...]}``: an object for each template or segment, with what is set."""
    found = {"templates": [template_object(each) for each in templates]}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def template_object(out: Outgoing) -> dict[str, Any]:
    """Return one template with its decisions, ready for JSON; times are wall clock unless they have an offset."""
    spec, more = out.spec, out.fields
    bare = Recurrence(spec.rrule, spec.dtstart, spec.timezone)
    values = {
        "name": spec.name,
        "group": spec.group,
        "active": spec.active,
        "timezone": spec.timezone,
        "dtstart": spec.dtstart,
        "duration_minutes": spec.duration,
        "every_minutes": spec.every,
        "until_time": spec.until_time,
        "capacity": spec.capacity,
        "recurrence": bare.to_json(),
        "rdates": spec.rdates,
        "exdates": spec.exdates,
        "holidays": spec.holidays,
        "blackouts": spec.blackouts,
        "window_days": spec.window_days,
        "opens_before_minutes": spec.opens_before,
        "opens_days_before": spec.opens_days_before,
        "closes_before_minutes": spec.closes_before,
        "reminder_before_minutes": more.get("reminder_before"),
        "resource": more.get("resource"),
        "exclusive": more.get("exclusive") or None,
        "data": spec.data,
        "series": spec.series_id if _is_segment(out) else None,
        "active_from": spec.active_from,
        "active_until": spec.active_until,
        "cancelled_from": spec.cancelled_from,
        "shift_minutes": spec.shift or None,
        "overrides": [decision_object(each) for each in out.decisions],
    }
    return {name: _plain(value) for name, value in values.items() if value not in (None, (), [], {})}


def decision_object(decision: Decision) -> dict[str, Any]:
    """Return one decision, ready for JSON."""
    values: dict[str, Any] = {
        "original_start": decision.original_start,
        "status": decision.status,
        "starts_at": decision.starts_at,
        "ends_at": decision.ends_at,
        "opens_at": decision.opens_at,
        "closes_at": decision.closes_at,
        "cancel_reason": decision.cancel_reason,
        "ended_with_series": decision.ended_with_series or None,
        "customised": decision.customised,
    }
    changed = decision.customised or ()
    values |= {name: getattr(decision, name) for name in _CHANGED if name in changed}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _is_segment(out: Outgoing) -> bool:
    spec = out.spec
    return spec.series_id != spec.id or spec.active_from is not None or spec.active_until is not None


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds // 60) if seconds % 60 == 0 else seconds / 60
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat()
    if isinstance(value, time):
        return value.isoformat("seconds" if value.second else "minutes")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
