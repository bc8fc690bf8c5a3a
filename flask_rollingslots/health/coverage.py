"""Health is the coverage of the window: is every promised slot there? Not "the last run did not throw"."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from flask_rollingslots import gate, planning
from flask_rollingslots.models import load_specs, load_stored
from flask_rollingslots.statements import sentence
from flask_rollingslots.values import Health, RunStatus

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
    :param skipped: reason -> number of occurrences that are left out, such as ``holiday`` or ``cancelled``.
    :param horizon: up to when every promised slot is stored, UTC.
    """

    id: int
    name: str
    group: str | None
    promised: int = 0
    stored: int = 0
    missing: int = 0
    due: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    horizon: datetime | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {**plain, "horizon": self.horizon and self.horizon.isoformat()}


@dataclass(slots=True)
class HealthReport:
    """The health of one app.

    :param confirmed_at: when everything was last known to be complete, UTC; ``None``: never.
    :param confirmed_age: the seconds since then.
    :param horizon: up to when every promised slot of every template is stored, UTC.
    :param lease_owner: who tops up right now, or ``None``.
    :param lease_until: when the lease ends unless it is renewed, UTC.
    :param next_try: when a failed top-up is tried again, UTC.
    """

    status: Health
    promised: int = 0
    stored: int = 0
    missing: int = 0
    due: int = 0
    templates: list[Coverage] = field(default_factory=list)
    confirmed_at: datetime | None = None
    confirmed_age: float | None = None
    horizon: datetime | None = None
    lease_owner: str | None = None
    lease_until: datetime | None = None
    failures: int = 0
    next_try: datetime | None = None
    last_error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        moments = ("confirmed_at", "next_try", "horizon", "lease_until")
        plain = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in (*moments, "status", "templates")
        }
        texts = {name: (v.isoformat() if (v := getattr(self, name)) else None) for name in moments}
        rows = [coverage.to_dict() for coverage in self.templates]
        return {"status": self.status.value, **plain, **texts, "templates": rows}


def check_health(session: Session, models: Models, settings: Settings, now: datetime) -> HealthReport:
    """Compare every active template's window with what is stored.

    :param now: aware.
    """
    state = gate.read_state(session, models, settings.name)
    report = HealthReport(Health.OK, failures=state.failures, last_error=state.last_error)
    report.confirmed_at = _moment(state.confirmed_ms)
    report.next_try = _moment(state.next_try_ms)
    if report.confirmed_at is not None:
        report.confirmed_age = (now - report.confirmed_at).total_seconds()
    if state.until_ms > gate.to_ms(now):
        report.lease_owner, report.lease_until = state.owner, _moment(state.until_ms)
    specs = load_specs(session, models, models.Template.active.is_(True))
    filled = _filled_alone(session, models)
    for position in range(0, len(specs), _AT_ONCE):
        batch = specs[position : position + _AT_ONCE]
        report.templates += _coverages(session, models, settings, now, report.confirmed_at, filled, batch)
    for coverage in report.templates:
        for name in ("promised", "stored", "missing", "due"):
            setattr(report, name, getattr(report, name) + getattr(coverage, name))
    report.horizon = min((c.horizon for c in report.templates if c.horizon), default=None)
    if report.missing or any(c.error for c in report.templates):
        report.status = Health.MISSING
    elif report.due:
        report.status = Health.DUE
    return report


def _filled_alone(session: Session, models: Models) -> dict[int, datetime]:
    """Return up to when templates were filled by confirmed runs of their own."""
    run = models.Run
    query = (
        select(run.template_id, func.max(run.window_end))
        .where(run.template_id.is_not(None), run.status == RunStatus.CONFIRMED.value)
        .group_by(run.template_id)
    )
    return {template_id: end for template_id, end in session.execute(query) if template_id and end}


def _coverages(
    session: Session,
    models: Models,
    settings: Settings,
    now: datetime,
    confirmed_at: datetime | None,
    filled: dict[int, datetime],
    specs: list[TemplateSpec],
) -> list[Coverage]:
    def window(spec: TemplateSpec, moment: datetime) -> Window:
        return planning.window_of(spec, moment, settings.window_days, settings.align)

    results, sound = [], []
    for spec in specs:
        try:
            window(spec, now)
            sound.append(spec)
        except Exception as error:  # such as a zone that this machine does not know
            results.append(Coverage(spec.id, spec.name, spec.group, error=sentence(error)))
    by_series: dict[int, dict[SlotKey, StoredSlot]] = {}
    units = [(spec, window(spec, now)) for spec in sound]
    for key, row in (load_stored(session, models, units) if units else {}).items():
        by_series.setdefault(key.series_id, {})[key] = row
    for spec in sound:
        ends = [window(spec, confirmed_at).end] if confirmed_at else []
        covered = max([*ends, *([filled[spec.id]] if spec.id in filled else [])], default=None)
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
    result.skipped = dict(plan.skipped)
    result.horizon = min((slot.starts_at for slot in plan.create), default=window.end)
    return result


def _moment(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
