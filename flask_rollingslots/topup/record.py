"""The run row: written when a top-up has something to do, moved on with each chunk, closed at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, insert, select, update

from flask_rollingslots.models import table_of
from flask_rollingslots.values import Report, RunStatus, Status

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from flask_rollingslots.gate import Lease
    from flask_rollingslots.models import Models

    from .request import FillRequest

#: Up to so many templates a run row keeps the result of each.
_FEW = 100
#: And never more than so many.
_MOST = 10_000
#: The counts of a run.
COUNTS = ("created", "existing", "updated", "removed", "kept_booked", "expected", "opened", "closed")


@dataclass
class Recorder:
    """Keeps one run row. Nothing here commits."""

    session: Session
    models: Models
    request: FillRequest
    lease: Lease | None
    now: datetime
    run_id: int | None = None
    done: int = 0
    total: int = 0
    created: int = 0
    _planned: int = field(default=0)

    def expect(self, planned: int, share: float) -> None:
        """Take in what a batch planned, and estimate the whole from the share planned so far (0 to 1)."""
        self._planned += planned
        self.total = max(self._planned, round(self._planned / share))

    def start(self) -> None:
        """Write the row, once."""
        if self.run_id is not None:
            return
        table = table_of(self.models.Run)
        result = self.session.execute(
            insert(table).values(
                template_id=self.request.template_id,
                trigger=self.request.trigger,
                status=RunStatus.RUNNING.value,
                owner=self.lease.owner if self.lease else None,
                token=self.lease.token if self.lease else None,
                lease_name=self.lease.name if self.lease else None,
                started_at=self.now,
                done=0,
                total=self.total,
            )
        )
        self.run_id = result.inserted_primary_key[0]  # type: ignore[attr-defined]

    def close_dead_runs(self) -> None:
        """Close the runs of holders that never came back."""
        if self.lease is not None:
            table = table_of(self.models.Run)
            # Each lease counts its own tokens.
            dead = (table.c.token < self.lease.token, table.c.lease_name == self.lease.name)
            running = table.c.status == RunStatus.RUNNING.value
            self.session.execute(
                update(table).where(running, *dead).values(status=RunStatus.INTERRUPTED.value)
            )

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
        table = table_of(self.models.Run)
        self.session.execute(update(table).where(table.c.id == self.run_id).values(**values))


def asked(request: FillRequest) -> dict[str, Any]:
    """Return what is kept of a request that names days of the calendar."""
    days = {"first_day": request.first_day, "end_day": request.end_day}
    found = {name: day.isoformat() for name, day in days.items() if day is not None}
    return {"request": found} if found else {}


def results_of(report: Report) -> dict[str, Any]:
    """Return what is kept per template and group: all of a few, of many only those in which something happened.

    Of a great many the first, those with an error before all others: no database takes a row of any size.
    """
    plain = report.to_dict()
    kept: dict[str, Any] = {kind: _telling(plain[kind]) for kind in ("templates", "groups")}
    return {**kept, "processed": len(report.templates)}


def _telling(tallies: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    if len(tallies) <= _FEW:
        return tallies
    eventful = ("created", "updated", "removed", "kept_booked", "error")
    told = [item for item in tallies.items() if any(item[1].get(name) for name in eventful)]
    return dict(sorted(told, key=lambda item: not item[1].get("error"))[:_MOST])


class Edges(NamedTuple):
    """How many slots became bookable, and how many ended, after ``since`` and up to ``until`` (aware, UTC)."""

    opened: int
    closed: int
    since: datetime
    until: datetime


def count_edges(session: Session, models: Models, since_ms: int, until_ms: int) -> Edges | None:
    """Return what opened and ended since everything was last confirmed; ``None`` if there was no run yet.

    :param since_ms: Unix time in milliseconds, not included; 0: it never was, so since the first run.
    :param until_ms: Unix time in milliseconds, included.
    """
    cls, until = models.Slot, _moment(until_ms)
    since = _moment(since_ms) if since_ms else session.scalar(select(func.min(models.Run.started_at)))
    if since is None or since > until:
        return None
    scheduled = cls.status == Status.SCHEDULED.value
    opened = select(func.count()).where(
        scheduled, cls.starts_at > until, cls.opens_at > since, cls.opens_at <= until
    )
    # The index is on starts_at: a slot that ended since then started at most the longest duration before.
    longest = session.scalar(select(func.max(models.Template.duration)))
    first = since - longest if longest is not None else since
    closed = select(func.count()).where(
        scheduled, cls.starts_at > first, cls.starts_at <= until, cls.ends_at > since, cls.ends_at <= until
    )
    return Edges(session.scalar(opened) or 0, session.scalar(closed) or 0, since, until)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
