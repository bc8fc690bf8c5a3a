"""Health is the coverage of the window: is every promised slot there? Not "the last run did not throw"."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from .. import planning
from ..context import Work, count_of, fingerprint, load_specs, newest_of
from ..errors import TooCostly, sentence
from ..filling import history
from ..filling.expansion import moment_of, pattern_of
from ..filling.screening import Unit, batches, plan_by_rows, screen
from ..pruning import held_back
from ..topup import gate
from ..values import Health, Plan, RunStatus, Steps, TemplateSpec, Window

#: Up to so many, one query for all their rows is quicker than one a window and those for what lacks; and so many slots.
_FEW, _FEW_SLOTS = 50, 2_000
#: What reading a template and joining its slots costs, in starts that are looked at.
_STEPS_OF_TEMPLATE = 4
#: Of templates that keep their history so much of the past is looked at, at most.
_LOOK_BACK = timedelta(days=92)
_COUNTS = ("promised", "stored", "missing", "due")


@dataclass(slots=True)
class Coverage:
    """How much of one template's window is stored.

    :param promised: slots that should be stored: not started, and not left out by the template; of one that keeps its
        history also past ones, 92 days back at most.
    :param missing: promised and not stored, although a run was confirmed, or failed, when their day was in the window.
    :param due: promised and not stored, in days that entered the window since then, or of a template made since then.
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
        return _plain(self)


@dataclass(slots=True)
class HealthReport:
    """The health of one app.

    :param confirmed_at: when everything was last known to be complete, UTC; ``None``: never.
    :param confirmed_age: the seconds since then.
    :param horizon: up to when every promised slot of every template is stored, UTC.
    :param lease_owner: who tops up right now, or ``None``.
    :param lease_until: when the lease ends unless it is renewed, UTC.
    :param failures: how many top-ups failed in a row, as the database knows, or this process where it knows more.
    :param next_try: when a failed top-up is tried again, UTC.
    :param trouble: why the status is ``missing`` whatever is stored, as a sentence: visitors came for twice
        CHECK_INTERVAL, and nothing was confirmed; or nothing can be written.
    :param retention: why nothing old is forgotten, as a sentence: the clocks do not agree.
    :param checked: whether slots were looked at; if not, the status is that of the last check, and nothing is counted.
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
    trouble: str | None = None
    retention: str | None = None
    checked: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        rows = [coverage.to_dict() for coverage in self.templates]
        return {**_plain(self), "status": self.status.value, "templates": rows}


def _plain(report: Coverage | HealthReport) -> dict[str, Any]:
    values = ((each.name, getattr(report, each.name)) for each in fields(report))
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values}


def check_health(
    work: Work,
    experience: gate.Experience,
    refusals: Sequence[str] | None = None,
    known: bool = False,
    most: int | None = None,
) -> HealthReport:
    """Compare every active template's window with what is stored.

    :param experience: what this process has seen of its top-ups.
    :param refusals: what the database said when it was tried whether it takes writes; ``None``: it was not.
    :param known: only say what the last check found, and whether anything changed since: no slot is looked at.
    :param most: so many starts of slots may be looked at; if they are more, it is as if ``known``.
    """
    state = gate.read_state(work)
    report = HealthReport(Health.OK, failures=state.failures, last_error=state.last_error)
    report.confirmed_at, report.next_try = _moment(state.confirmed_ms), _moment(state.next_try_ms)
    if report.confirmed_at is not None:
        report.confirmed_age = (work.now - report.confirmed_at).total_seconds()
    if state.until_ms > gate.to_ms(work.now):
        report.lease_owner, report.lease_until = state.owner, _moment(state.until_ms)
    newest = 0 if state.failures else newest_of(state.fingerprint)
    try:
        steps = None if most is None else Steps(most)
        coverages = iter(()) if known else _coverages(work, _looked_at(report, work.now), newest, steps)
        report.templates = sorted(coverages, key=lambda coverage: coverage.id)
    except TooCostly:
        known = True
    report.checked = not known
    for name in _COUNTS:
        setattr(report, name, sum(getattr(coverage, name) for coverage in report.templates))
    report.horizon = min((c.horizon for c in report.templates if c.horizon), default=None)
    _note(report, work, experience, refusals)
    if report.missing or report.trouble or any(c.error for c in report.templates):
        report.status = Health.MISSING
    elif report.due:
        report.status = Health.DUE
    if known and report.status is Health.OK:
        report.status = _by_last_check(work, state)
    return report


def _note(
    report: HealthReport, work: Work, experience: gate.Experience, refusals: Sequence[str] | None
) -> None:
    """Write down what the database could not be told: failures of this process, and how long visitors waited."""
    failed_at, patience = experience.failed_at, 2 * timedelta(seconds=work.settings.check_interval)
    is_news = failed_at is not None and (report.confirmed_at is None or failed_at > report.confirmed_at)
    if is_news and experience.failures > report.failures:
        report.failures, report.last_error = experience.failures, experience.last_error
    if refusals or (is_news and experience.refusal):
        report.trouble = f"nothing can be written: {'; '.join(refusals or ()) or experience.refusal}"
    elif experience.waited > patience and (
        report.confirmed_age is None or report.confirmed_age > patience.total_seconds()
    ):
        since = f"since {report.confirmed_at:%Y-%m-%d %H:%M} UTC" if report.confirmed_at else "ever"
        report.trouble = f"visitors come, and no top-up was confirmed {since}"
    report.retention = experience.retention if refusals is None else held_back(work, experience)


def _by_last_check(work: Work, state: gate.LeaseState) -> Health:
    """Return the status that the last check left: a top-up that failed is missing, what nobody checked yet is due."""
    if state.failures:
        return Health.MISSING
    templates = fingerprint(work)
    is_same = newest_of(templates) == 0 or (state.fingerprint or "").startswith(f"{templates}:")
    is_within = newest_of(templates) == 0 or state.complete_until_ms > gate.to_ms(work.now)
    return Health.OK if is_same and is_within else Health.DUE


def _filled_alone(work: Work) -> dict[int, datetime]:
    """Return up to when templates were filled by confirmed runs of their own."""
    run = work.models.Run
    query = select(run.template_id, func.max(run.window_end)).where(run.status == RunStatus.CONFIRMED.value)
    found = work.session.execute(query.where(run.template_id.is_not(None)).group_by(run.template_id))
    return {template_id: end for template_id, end in found if template_id and end}


def _looked_at(report: HealthReport, now: datetime) -> datetime | None:
    """Return when a request last had everything looked at: confirmed, or in vain."""
    if not report.failures or report.next_try is None:
        return report.confirmed_at
    # Each failure puts off the next try: whatever lacked by then lacks although somebody asked for it.
    return max(min(now, report.next_try), report.confirmed_at or report.next_try)


def _coverages(
    work: Work, looked_at: datetime | None, newest: int, steps: Steps | None
) -> Iterator[Coverage]:
    """Yield the coverage of each active template. The rows of those with nothing odd are not read.

    :param newest: of the templates that there were then; 0: they all count as looked at.
    """
    if steps is not None:
        steps.take(_STEPS_OF_TEMPLATE * count_of(fingerprint(work)))
    days, align, filled = work.settings.window_days, work.settings.align, _filled_alone(work)
    covered: dict[int, datetime | None] = {}
    groups: dict[bool, dict[Hashable, list[tuple[TemplateSpec, Window]]]] = {False: {}, True: {}}
    errors: list[Coverage] = []

    def poisoned(template_id: int, name: str, error: Exception) -> None:
        errors.append(Coverage(template_id, name, None, error=sentence(error)))

    specs = load_specs(work, work.models.Template.active.is_(True), unreadable=poisoned)
    past = history.past_starts(work, [spec for spec in specs if spec.keep_history])
    for spec in specs:
        try:
            window, start = planning.window_of(spec, work.now, days, align), past.get(spec.id)
            if start is not None:
                window = Window(max(start, work.now - _LOOK_BACK), window.end)
            ends = [filled[spec.id]] if spec.id in filled else []
            if looked_at is not None and (not newest or spec.id <= newest):
                ends.append(planning.window_of(spec, looked_at, days, align).end)
            mine = groups[start is not None].setdefault(pattern_of(spec, window), [])
            mine.append((spec, window))
            covered[spec.id] = max(ends, default=None)
        except Exception as error:  # such as a zone that this machine does not know
            poisoned(spec.id, spec.name, error)
    yield from errors
    for backfill, some in groups.items():
        few = sum(map(len, some.values())) <= _FEW
        for batch in batches(some, steps=steps):
            yield from _of_batch(work, batch, few, backfill, covered)


def _of_batch(
    work: Work, batch: list[Unit], few: bool, backfill: bool, covered: dict[int, datetime | None]
) -> Iterator[Coverage]:
    few = few and sum(len(unit.expansion) for unit in batch if unit.expansion) <= _FEW_SLOTS
    known, odd = ([], batch) if few else screen(work, batch, backfill=backfill)
    for each in known:
        first, end = each.missing(backfill)
        lacking = list(map(moment_of, each.expansion.columns.starts_at[first:end]))
        yield _coverage(each.spec, each.window, each.counts(backfill), lacking, covered[each.spec.id])
    for (spec, window, _), found in plan_by_rows(work, odd, backfill=backfill):
        if isinstance(found, Exception):
            yield Coverage(spec.id, spec.name, spec.group, error=sentence(found))
        else:
            lacking = [slot.starts_at for slot in found.create]
            yield _coverage(spec, window, found, lacking, covered[spec.id])


def _coverage(
    spec: TemplateSpec, window: Window, plan: Plan, lacking: list[datetime], covered: datetime | None
) -> Coverage:
    missing = sum(1 for starts_at in lacking if covered is not None and starts_at < covered)
    due, skipped, horizon = len(lacking) - missing, dict(plan.skipped), min(lacking, default=window.end)
    counts = (plan.expected, plan.existing, missing, due)
    return Coverage(spec.id, spec.name, spec.group, *counts, skipped, horizon)


def _moment(milliseconds: int) -> datetime | None:
    return gate.from_ms(milliseconds) if milliseconds else None
