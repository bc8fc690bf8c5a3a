"""What came of a top-up: its run row, moved on with each chunk and closed at the end, the state row, and signals."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, insert, select, update

from flask_rollingslots import signals
from flask_rollingslots.models import table_of
from flask_rollingslots.values import Report, RunStatus, Status

from .gate import read_state, to_ms

if TYPE_CHECKING:
    from flask_rollingslots.context import Work

    from .gate import Lease
    from .request import TopUpRequest

log = logging.getLogger("flask_rollingslots")

#: Up to so many templates a run row keeps the result of each.
_FEW = 100
#: And never more than so many.
_MOST = 10_000
#: The counts of a template, a group and a run.
TALLIED = ("created", "existing", "updated", "removed", "kept_booked", "expected")
#: The counts of a run.
COUNTS = (*TALLIED, "opened", "closed")


@dataclass
class Outcome:
    """What a run came to: one of this process, or one that several workers shared.

    :param errors: one sentence for each failed template.
    :param busy: templates were left out, for somebody was editing them all the time.
    """

    report: Report
    errors: list[str]
    busy: bool

    @property
    def status(self) -> RunStatus:
        """How the run ends."""
        if self.errors:
            return RunStatus.FAILED
        return RunStatus.INTERRUPTED if self.busy else RunStatus.CONFIRMED

    @property
    def error(self) -> str | None:
        """All errors as one text."""
        return "; ".join(self.errors) or None


@dataclass
class Recorder:
    """Keeps one run row. Nothing here commits.

    :param work: at the moment when the run began.
    """

    work: Work
    request: TopUpRequest
    lease: Lease | None
    run_id: int | None = None
    done: int = 0
    total: int = 0
    created: int = 0
    _planned: int = 0

    def expect(self, planned: int, share: float) -> None:
        """Take in what a batch planned, and estimate the whole from the share planned so far (0 to 1)."""
        self._planned += planned
        self.total = max(self._planned, round(self._planned / share))

    def start(self) -> None:
        """Write the row, once."""
        if self.run_id is not None:
            return
        row = insert(table_of(self.work.models.Run)).values(
            template_id=self.request.template_id,
            trigger=self.request.trigger,
            status=RunStatus.RUNNING.value,
            owner=self.lease.owner if self.lease else None,
            token=self.lease.token if self.lease else None,
            lease_name=self.work.settings.name if self.lease else None,
            started_at=self.work.now,
            done=0,
            total=self.total,
        )
        self.run_id = self.work.session.execute(row).inserted_primary_key[0]  # type: ignore[attr-defined]

    def close_dead_runs(self) -> None:
        """Close the runs of holders that never came back."""
        if self.lease is not None:
            table = table_of(self.work.models.Run)
            # Each lease counts its own tokens.
            dead = (table.c.token < self.lease.token, table.c.lease_name == self.work.settings.name)
            running = table.c.status == RunStatus.RUNNING.value
            closed = update(table).where(running, *dead).values(status=RunStatus.INTERRUPTED.value)
            self.work.session.execute(closed)

    def snapshot(self) -> tuple[int | None, int, int]:
        """Return what ``restore`` needs if the transaction does not commit."""
        return self.run_id, self.done, self.created

    def restore(self, snapshot: tuple[int | None, int, int]) -> None:
        """Forget what a transaction wrote that was rolled back."""
        self.run_id, self.done, self.created = snapshot

    def advance(self, rows: int, created: int) -> None:
        """Move the progress on by so many planned rows, of which so many were not there yet."""
        self.done += rows
        self.created += created
        self._set(done=self.done, created=self.created, total=self.total)

    def end(self, status: RunStatus, report: Report | None, now: datetime, error: str | None = None) -> None:
        """Close the row, if there is one."""
        if self.run_id is None:
            return
        values: dict[str, Any] = {"status": status.value, "finished_at": now, "error": error and error[:2000]}
        if report is not None:
            values |= {name: getattr(report, name) for name in COUNTS}
            values |= {"skipped": report.skipped, "total": self.done}
            values["results"] = {**results_of(report), **asked(self.request)}
            if report.window is not None:
                values |= {"window_start": report.window.start, "window_end": report.window.end}
        self._set(**values)

    def _set(self, **values: Any) -> None:
        table = table_of(self.work.models.Run)
        self.work.session.execute(update(table).where(table.c.id == self.run_id).values(**values))


def settle(
    work: Work,
    lease: Lease,
    outcome: Outcome,
    began: datetime,
    complete_until: datetime | None,
    fingerprint: str,
) -> bool:
    """Write into the state row how a run ends, and give the lease back; return whether all is confirmed.

    :param began: aware; what was complete then is confirmed.
    :param complete_until: aware; ``None`` if the run did not cover everything.
    :raises LeaseLost: if another top-up took over.
    """
    if outcome.error:
        lease.fail(work, outcome.error)
    elif complete_until is not None and not outcome.busy:
        lease.confirm(replace(work, now=began), complete_until, fingerprint)
        return True
    else:
        lease.renew(work)  # the fence holds for the run row too
        lease.release(work)
    return False


def asked(request: TopUpRequest) -> dict[str, Any]:
    """Return what is kept of a request that names days of the calendar."""
    days = {"first_day": request.first_day, "end_day": request.end_day}
    found = {name: day.isoformat() for name, day in days.items() if day is not None}
    return {"request": found} if found else {}


def results_of(report: Report) -> dict[str, Any]:
    """Return what is kept per template and group: all of a few, of many only those in which something happened.

    Of a great many the first, those with an error before all others: no database takes a row of any size.
    """
    plain = report.to_dict()
    kept: dict[str, Any] = {kind: _kept(plain[kind]) for kind in ("templates", "groups")}
    return {**kept, "processed": len(report.templates)}


def _kept(tallies: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if len(tallies) <= _FEW:
        return tallies
    eventful = ("created", "updated", "removed", "kept_booked", "error")
    found = [item for item in tallies.items() if any(item[1].get(name) for name in eventful)]
    return dict(sorted(found, key=lambda item: not item[1].get("error"))[:_MOST])


class Edges(NamedTuple):
    """How many slots became bookable, and how many ended, after ``since`` and up to ``until`` (aware, UTC)."""

    opened: int
    closed: int
    since: datetime
    until: datetime

    def note(self, report: Report) -> None:
        """Write the counts into a report."""
        report.opened, report.closed = self.opened, self.closed


def count_edges(work: Work) -> Edges | None:
    """Return what opened and ended since everything was last confirmed; ``None`` if there was no run yet.

    Up to the work's time, to the millisecond, as it is stored when that is confirmed: the next run goes on from there,
    and nothing counts twice. Where nothing was ever confirmed, it is since the first run.
    """
    session, cls, runs = work.session, work.models.Slot, work.models.Run
    since_ms, until = read_state(work).confirmed_ms, _moment(to_ms(work.now))
    since = _moment(since_ms) if since_ms else session.scalar(select(func.min(runs.started_at)))
    if since is None or since > until:
        return None
    scheduled = cls.status == Status.SCHEDULED.value
    opened = select(func.count()).where(
        scheduled, cls.starts_at > until, cls.opens_at > since, cls.opens_at <= until
    )
    # The index is on starts_at: a slot that ended since then started at most the longest duration before.
    longest = session.scalar(select(func.max(work.models.Template.duration)))
    first = since - longest if longest is not None else since
    closed = select(func.count()).where(
        scheduled, cls.starts_at > first, cls.starts_at <= until, cls.ends_at > since, cls.ends_at <= until
    )
    return Edges(session.scalar(opened) or 0, session.scalar(closed) or 0, since, until)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def announce_end(app: Any, request: TopUpRequest, outcome: Outcome, edges: Edges | None) -> None:
    """Log a run that ended, and send its signals.

    :param edges: what to tell of slots that opened and ended.
    """
    report = outcome.report
    counts = {name: getattr(report, name) for name in ("created", "updated", "removed", "existing")}
    log.info(
        "top-up %s: %d created, %d updated, %d removed, %d there already, %.2f s",
        "incomplete" if outcome.errors else "confirmed",
        *counts.values(),
        report.seconds,
        extra={
            "action": "topup",
            "trigger": request.trigger,
            "run_id": report.run_id,
            **{f"slots_{name}": number for name, number in counts.items()},
        },
    )
    signals.announce(signals.topup_finished, app, report=report)
    if edges is not None:
        for signal, count in ((signals.slots_opened, edges.opened), (signals.slots_closed, edges.closed)):
            if count:
                signals.announce(signal, app, count=count, since=edges.since, until=edges.until)
