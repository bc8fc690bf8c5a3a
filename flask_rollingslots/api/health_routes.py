"""Health: is every promised slot there?"""

from __future__ import annotations

from typing import Any

from .access import Needs
from .answers import MANY, HealthAnswer
from .operations import Answer, Call, Operations

operations = Operations("health")
_COUNTS = ("promised", "stored", "missing", "due")
_TOLD = (*_COUNTS, "confirmed_at", "horizon", "next_try", "failures", "last_error")
_EACH = ("id", "name", "group", *_COUNTS, "error")


@operations("GET", "/health", Needs.READ, {200: HealthAnswer})
def get_health(call: Call) -> Answer:
    """Say whether every promised slot of the window is stored; the rest is told to whoever sends a token."""
    report = call.state.facade.health()
    found: dict[str, Any] = {"status": report.status.value}
    if call.grant.is_trusted:
        told = report.to_dict()
        lacking = [row for row in told["templates"] if row["missing"] or row["due"] or row["error"]]
        found |= {name: told[name] for name in _TOLD}
        found["templates"] = [{name: row[name] for name in _EACH} for row in lacking[:MANY]]
    return Answer(found)
