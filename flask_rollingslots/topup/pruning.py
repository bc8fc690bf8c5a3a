"""Forgetting: batches of past slots, each in a short transaction of its own, under the lease of the top-ups."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from flask_rollingslots import gate, retention
from flask_rollingslots.context import Work
from flask_rollingslots.errors import LeaseLost, TopUpBusy, UncommittedChanges
from flask_rollingslots.loading import pruned_until
from flask_rollingslots.statements import dialect_of, has_uncommitted_writes, own_transaction, sentence
from flask_rollingslots.values import PruneReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from flask_rollingslots.models import Models
    from flask_rollingslots.retention import Archive, PruneRequest
    from flask_rollingslots.settings import Settings

    from .runner import Runner

log = logging.getLogger("flask_rollingslots")

#: What one top-up forgets at most: so many batches of this size.
_BATCHES, _BATCH = 3, 1000
#: A top-up does not look through the booked slots of all years again, only this far behind where the last one came to.
_SLACK = timedelta(days=31)


@dataclass
class Pruner:
    """The working state of one pruning.

    :param lease: what was won; ``None`` in a dry run, and where the app's own transaction is joined.
    """

    session: Session
    models: Models
    clock: Callable[[], datetime]
    request: PruneRequest
    lease: gate.Lease | None
    joins: bool = False
    report: PruneReport = field(init=False)
    _last: tuple[datetime, int] | None = None

    def __post_init__(self) -> None:
        self.report = PruneReport(self.request.before, dry_run=self.request.dry_run)

    def step(self) -> bool:
        """Forget one batch of slots; return whether there may be more.

        Slots that were changed since they were handed to the archive stay, and are handed over again another time;
        so do those that the app's own rows point to.
        """
        now = self.clock()
        batch = retention.find_batch(self.session, self.models, now, self.request, self._last)
        ids = [slot_id for _, slot_id in batch]
        archived = None
        if ids:
            self._last = batch[-1]
            if self.request.archive is not None:
                copies = retention.copy_out(self.session, self.models, ids)
                archived = retention.prints_of(copies)  # before it is theirs
                ids = list(archived)
                self._end_reading()  # an archive may take its time, and write to the same database
                self.request.archive(copies)
        self._end_reading()
        if ids:
            self._delete(ids, archived)
        return len(batch) == self.request.batch

    def forget_runs(self, before: datetime) -> bool:
        """Forget one batch of old runs; return whether there may be more."""
        ids = retention.find_runs(self.session, self.models, before, self.request.batch)
        self._end_reading()
        if ids:
            with self._transaction():
                deleted = retention.delete_runs(self.session, self.models, ids)
            self.report.runs += deleted
        return len(ids) == self.request.batch

    def _delete(self, ids: Sequence[int], archived: Mapping[int, str] | None) -> None:
        """Delete a batch; if the app's own rows point to some of it, its halves, down to these."""
        try:
            with self._transaction():
                now = self.clock()
                slots, bookings = retention.delete_slots(
                    self.session, self.models, now, self.request, ids, archived
                )
        except IntegrityError:
            if self.joins:
                raise
            if len(ids) == 1:
                return
            half = len(ids) // 2
            self._delete(ids[:half], archived)
            self._delete(ids[half:], archived)
        else:
            self.report.slots += slots
            self.report.bookings += bookings

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with nullcontext() if self.joins else own_transaction(self.session):
            if self.lease is not None:
                self.lease.renew(self.session, self.clock())
            yield

    def _end_reading(self) -> None:
        if not self.joins:
            self.session.rollback()


def prune(runner: Runner, request: PruneRequest) -> PruneReport:
    """Forget what a person asks for, in the caller's thread and in a session of its own.

    :raises TopUpBusy: if a top-up holds the lease for more than twice its length.
    :raises UncommittedChanges: on SQLite, if the app's session holds the write lock itself.
    """
    if runner.joins:
        session = runner.session()
        gate.make_row(session, runner.models, runner.settings.name)
        return _work(Pruner(session, runner.models, runner.clock, request, None, joins=True))
    if request.dry_run:
        with runner.context():
            return _work(Pruner(runner.session(), runner.models, runner.clock, request, None))
    if dialect_of(runner.session()) == "sqlite" and has_uncommitted_writes(runner.session()):
        raise UncommittedChanges
    with runner.context():
        lease = runner.wait_for_lease(threading.Event())
        if lease is None:
            raise TopUpBusy
        session = runner.session()
        try:
            return _work(Pruner(session, runner.models, runner.clock, request, lease))
        finally:
            session.rollback()
            with suppress(Exception), own_transaction(session):  # else it ends by itself
                lease.release(session)


def _work(pruner: Pruner) -> PruneReport:
    began, report, request = monotonic(), pruner.report, pruner.request
    if request.dry_run:
        found = retention.count(pruner.session, pruner.models, pruner.clock(), request)
        report.slots, report.bookings, report.kept, report.runs = found
    else:
        while pruner.step():
            pass
        while pruner.forget_runs(request.before):
            pass
        left = retention.count(pruner.session, pruner.models, pruner.clock(), request)
        report.kept = left[0] + left[2]
    report.seconds = monotonic() - began
    return report


def tidy(
    session: Session,
    models: Models,
    settings: Settings,
    clock: Callable[[], datetime],
    lease: gate.Lease,
    archive: Archive | None,
    must_stop: Callable[[], bool],
) -> None:
    """Forget a little within a top-up: past slots if RETENTION_DAYS is set, and old runs in any case.

    A failure is logged and cannot turn the top-up into one.

    :param must_stop: asked before each batch.
    :raises LeaseLost: if another top-up took over.
    """
    days = settings.retention_days
    before = clock() - timedelta(days=days or retention.RUN_DAYS)
    try:
        done = pruned_until(Work.reading(session, models, settings, clock())) if days is not None else None
        session.rollback()
        since = done - _SLACK if done is not None else None
        request = retention.PruneRequest(before, archive, batch=_BATCH, since=since)
        pruner = Pruner(session, models, clock, request, lease)
        for _ in range(_BATCHES if days is not None else 0):
            if must_stop() or not pruner.step():
                break
        if not must_stop():
            pruner.forget_runs(before)
        _tell(pruner.report, days or retention.RUN_DAYS)
    except LeaseLost:
        raise
    except Exception as error:  # the archive is the app's code
        session.rollback()
        log.warning("nothing more was pruned: %s", sentence(error), extra={"action": "prune_failed"})


def _tell(report: PruneReport, days: int) -> None:
    if report.slots or report.runs:
        log.info(
            "pruned %d slots and %d runs of more than %d days ago",
            report.slots,
            report.runs,
            days,
            extra={"action": "pruned"},
        )
