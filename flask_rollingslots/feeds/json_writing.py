"""Templates and decisions as JSON: the library's own format, which restores what it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ..models.fields import FIELDS, SPEC_FIELDS, TO_SLOTS
from ..models.kinds import write_moment
from ..recurrence import Recurrence
from .entries import Decision, Outgoing


def json_text(templates: Iterable[Outgoing]) -> str:
    """Return ``{"templates": [...]}``: an object for each template or segment, with what is set."""
    found = {"templates": [template_object(each) for each in templates]}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def template_object(out: Outgoing) -> dict[str, Any]:
    """Return one template with its decisions, ready for JSON; times are wall clock unless they have an offset."""
    spec = out.spec
    found: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name == "rrule":
            found["recurrence"] = Recurrence(spec.rrule, spec.dtstart, spec.timezone).to_json()
        elif field.in_files:
            value = getattr(spec, name) if name in SPEC_FIELDS else out.fields.get(name)
            if value or value not in (None, (), field.initial):
                found[field.key] = field.kind.write(value)
    if _is_segment(out):
        found["series"] = spec.series_id
    if out.decisions:
        found["overrides"] = [decision_object(each) for each in out.decisions]
    return found


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
    # What a slot has from its template is written where a person changed it; else the template's holds.
    changed = decision.customised or ()
    values |= {name: getattr(decision, name) for name in TO_SLOTS if name in changed}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _is_segment(out: Outgoing) -> bool:
    spec = out.spec
    return spec.series_id != spec.id or spec.active_from is not None or spec.active_until is not None


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return write_moment(value)
    return list(value) if isinstance(value, tuple) else value
