"""Health is the coverage of the window: is every promised slot there? Not "the last run did not throw"."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask_rollingslots import gate, planning
from flask_rollingslots.models import load_specs, load_stored
from flask_rollingslots.statements import sentence
from flask_rollingslots.values import Health

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from flask_rollingslots.models import Models
    from flask_rollingslots.settings import Settings
    from flask_rollingslots.values import SlotKey, StoredSlot, TemplateSpec, Window


_AT_ONCE = 200


@dataclass(slots=True)
class Coverage:
    """How much of one template's window is stored.

    :param promised: slots that should be stored: not started, and not left out by the template.
    :param missing: promised and not stored, in days that were covered before.
    :param due: promised and not stored, in days that entered the window since the last confirmed run.
    """

    id: int
    name: str
    group: str | None
    promised: int = 0
    stored: int = 0
    missing: int = 0
    due: int = 0
    error: str | None = None


@dataclass(slots=True)
class HealthReport:
    """The health of one app.

    :param confirmed_at: when everything was last known to be complete, UTC; ``None``: never.
    :param lease_owner: who tops up right now, or ``None``.
    :param next_try: when a failed top-up is tried again, UTC.
    """

    status: Health
    promised: int = 0
    stored: int = 0
    missing: int = 0
    due: int = 0
    templates: list[Coverage] = field(default_factory=list)
    confirmed_at: datetime | None = None
    lease_owner: str | None = None
    failures: int = 0
    next_try: datetime | None = None
    last_error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        names = ("promised", "stored", "missing", "due", "lease_owner", "failures", "last_error")
        moments = {
            n: (v.isoformat() if (v := getattr(self, n)) else None) for n in ("confirmed_at", "next_try")
        }
        rows = [{n: getattr(c, n) for n in Coverage.__slots__} for c in self.templates]
        return {
            "status": self.status.value,
            **{n: getattr(self, n) for n in names},
            **moments,
            "templates": rows,
        }


def check_health(session: Session, models: Models, settings: Settings, now: datetime) -> HealthReport:
    """Compare every active template's window with what is stored.

    :param now: aware.
    """
    state = gate.read_state(session, models, settings.name)
    report = HealthReport(Health.OK, failures=state.failures, last_error=state.last_error)
    report.confirmed_at = _moment(state.confirmed_ms)
    report.next_try = _moment(state.next_try_ms)
    report.lease_owner = state.owner if state.until_ms > gate.to_ms(now) else None
    specs = load_specs(session, models, models.Template.active.is_(True))
    for position in range(0, len(specs), _AT_ONCE):
        report.templates += _coverages(
            session, models, settings, now, report.confirmed_at, specs[position : position + _AT_ONCE]
        )
    for coverage in report.templates:
        for name in ("promised", "stored", "missing", "due"):
            setattr(report, name, getattr(report, name) + getattr(coverage, name))
    if report.missing or any(c.error for c in report.templates):
        report.status = Health.MISSING
    elif report.due:
        report.status = Health.DUE
    return report


def _coverages(
    session: Session,
    models: Models,
    settings: Settings,
    now: datetime,
    confirmed_at: datetime | None,
    specs: list[TemplateSpec],
) -> list[Coverage]:
    def window(spec: TemplateSpec, moment: datetime) -> Window:
        return planning.window_of(spec, moment, settings.window_days, settings.align)

    by_series: dict[int, dict[SlotKey, StoredSlot]] = {}
    for key, row in load_stored(session, models, [(spec, window(spec, now)) for spec in specs]).items():
        by_series.setdefault(key.series_id, {})[key] = row
    results = []
    for spec in specs:
        covered = confirmed_at and window(spec, confirmed_at).end
        results.append(_coverage(spec, window(spec, now), by_series.get(spec.series_id, {}), now, covered))
    return results


def _coverage(
    spec: TemplateSpec,
    window: Window,
    stored: dict[SlotKey, StoredSlot],
    now: datetime,
    covered: datetime | None,
) -> Coverage:
    result = Coverage(spec.id, spec.name, spec.group)
    try:
        plan = planning.plan(spec, window, stored, now)
    except Exception as error:  # a poisoned template is what this report is for
        result.error = sentence(error)
        return result
    result.promised, result.stored = plan.expected, plan.existing
    result.missing = sum(1 for slot in plan.create if covered is not None and slot.starts_at < covered)
    result.due = len(plan.create) - result.missing
    return result


def _moment(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
