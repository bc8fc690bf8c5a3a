"""Whether ``view()`` says of each slot what ``between()`` says, attribute by attribute."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask_rollingslots.models import FIELDS

#: What must be the same in a row and in a value.
OF_SLOT = (
    "id", "key", "series_id", "template_id", "name", "original_start", "starts_at", "ends_at", "opens_at", "closes_at",
    "cancel_until", "reminder_at", "status", "state", "is_bookable", "is_all_day", "is_virtual", "capacity", "booked",
    "left", "holds", "hold_until", "queue", "waits_for", "data", "customised", "cancel_reason", "own_name", "withdrawn",
    "displaced", "ended_with_series", "run_id", "created_at", "changed_at", "local_start", "local_end", "rolling_shown",
)  # fmt: skip


def plain(value: Any) -> Any:
    """Return a value without what tells a frozen one from another; nothing and an empty list are the same."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value] or None
    return value


def differences(slots: Any, start: datetime, end: datetime, **asked: Any) -> list[str]:
    """Return where values and rows of the same span differ."""
    views, rows = slots.view(start, end, **asked), slots.between(start, end, **asked)
    keys = ([each.key for each in views], [each.key for each in rows])
    if keys[0] != keys[1]:
        return [f"view has {keys[0]}, between has {keys[1]}"]
    found = []
    for view, row in zip(views, rows, strict=True):
        for name in OF_SLOT:
            mine, theirs = plain(getattr(view, name)), plain(getattr(row, name))
            if mine != theirs:
                found.append(f"{row.key}.{name}: {mine!r}, not {theirs!r}")
    for view, row in {row.template_id: (view, row) for view, row in zip(views, rows, strict=True)}.values():
        for name in (*FIELDS, "claim", "may_overlap", "rolling_shown"):
            mine, theirs = plain(getattr(view.template, name)), plain(getattr(row.template, name))
            if mine != theirs:
                found.append(f"template {row.template_id}.{name}: {mine!r}, not {theirs!r}")
    return found
