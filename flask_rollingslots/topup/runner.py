"""Running a top-up under the lease: take it, fill, and confirm only after everything is committed."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session

from .. import signals, statements
from ..context import Work, fingerprint, pruned_until
from ..errors import Interrupted, LeaseLost, TopUpBusy, UncommittedChanges, refusal, sentence
from ..lazy import lazy
from ..models import Models, table_of
from ..settings import Settings
from ..values import Report, RunStatus, Status, utc_now
from . import gate, pending
from .executors import reset_after_fork
from .request import TopUpRequest

if TYPE_CHECKING:
    from . import run as doing
    from .run import Outcome, Run
else:
    (doing,) = lazy(".topup.run")

log = logging.getLogger("flask_rollingslots")

#: Ways to stop that are no failure.
_CALM = (Interrupted, LeaseLost)


def never() -> bool:
    """Never stop."""
    return False


@dataclass(eq=False)
class Runner:
    """Executes requests for one app.

    :param app: has ``app_context()``; a top-up works in a context, so in a session, of its own.
    :param db: the app's Flask-SQLAlchemy object; the transaction of its own session is never committed.
    :param upkeep: follows each run that covers everything, under its lease, in transactions of its own.
    :param archive: gets past slots before a top-up deletes them; for ``upkeep``.
    :param notes: takes down what is told after the commit.
    """

    app: Any
    db: Any
    models: Models
    settings: Settings
    clock: Callable[[], datetime]
    upkeep: Callable[[Runner, gate.Lease, Callable[[], bool]], None]
    archive: Callable[..., object] | None = None
    notes: signals.Notes | None = None
    experience: gate.Experience = field(default_factory=gate.Experience)
    _engine: Engine | None = None

    def __post_init__(self) -> None:
        self.experience.is_trusted = self.clock is not utc_now
        reset_after_fork(self)

    @property
    def session(self) -> scoped_session[Any]:
        """The app's scoped session, as it is now: test suites replace it."""
        found: scoped_session[Any] = self.db.session
        return found

    def work(self) -> Work:
        """Return a work on the present session, at this moment."""
        outbox = signals.Outbox(self.app, door="topup", notes=self.notes, is_calm=True)
        return Work.writing(self.session(), self.models, self.settings, self.clock(), outbox=outbox)

    @property
    def owner(self) -> str:
        """This process, for people who look at the lease."""
        return f"{socket.gethostname()[:60]}:{os.getpid()}"

    @property
    def joins(self) -> bool:
        """Whether all sessions share one connection, so that a top-up cannot have a transaction of its own."""
        bind = statements.write_engine(self.session(), self.models.Slot)
        self._engine = bind.engine
        return statements.is_shared(bind)

    def reset(self) -> None:
        """In a child process: leave the parent's connections to the parent, without closing them."""
        self.experience.reset()
        if self._engine is not None:
            self._engine.dispose(close=False)

    @cached_property
    def database_id(self) -> str:
        """A short text that differs from database to database: apps may share a cache."""
        bind = statements.write_engine(self.session(), self.models.Slot)
        place = f"{bind.engine.url.render_as_string()} {table_of(self.models.Slot).fullname}"
        return hashlib.sha256(place.encode()).hexdigest()[:12]

    @contextmanager
    def context(self, patience: float | None = None) -> Iterator[None]:
        """Push an app context of our own; its session works on the primary, also where the app reads from replicas.

        :param patience: for how many seconds a transaction of ours may wait for a lock; ``None``: as usual.
        """
        with self.app.app_context():
            statements.use_primary(self.session(), self.models.classes, wholly=True)
            statements.be_patient(self.session(), patience)
            yield

    @contextmanager
    def transaction(self, lease: gate.Lease | None = None) -> Iterator[Work]:
        """Begin a short transaction of our own, to be committed at the end; the lease, renewed first, is the fence."""
        with statements.own_transaction(self.session(), table_of(self.models.Lease)):
            work = self.work()
            if lease is not None:
                lease.renew(work)
            yield work
            work.outbox.send(work)

    # -- the state row and the lease -----------------------------------------------------------------------

    def read_state(self) -> gate.LeaseState:
        """Return the state row; ends the session's transaction."""
        work = self.work()
        state = gate.read_state(work)
        work.session.rollback()
        return state

    def fingerprint(self) -> str:
        """Return a text that changes with the templates and with the settings that shape the window."""
        templates = fingerprint(self.work())
        return f"{templates}:{self.settings.window_days}:{self.settings.align}"

    def complete_for(self, state: gate.LeaseState) -> float:
        """Return for how many seconds all is complete, says the state row, or 0 or less; ends the transaction."""
        current = self.fingerprint()
        self.session.rollback()
        now = gate.to_ms(self.clock())
        if state.fingerprint != current or state.failures or state.confirmed_ms > now:
            return 0.0
        audit = state.confirmed_ms + self.settings.check_interval * 1000
        return (min(audit, state.complete_until_ms) - now) / 1000

    def put_off_for(self, state: gate.LeaseState) -> float:
        """Return the seconds until a failed top-up may be tried again."""
        rest = (state.next_try_ms - gate.to_ms(self.clock())) / 1000
        # Further ahead: written by a clock that jumped.
        return rest if 0 < rest <= gate.BACKOFF_LIMIT else 0.0

    def acquire(self) -> gate.Lease | None:
        """Try to take the lease, once; ``None`` also if another process was in the way."""
        try:
            lease = self._acquire()
            if lease is None:
                # The row is made in a transaction of its own: MariaDB's INSERT IGNORE and the UPDATE that follows
                # would make two processes wait for each other.
                with self.transaction() as work:
                    is_new = gate.make_row(work)
                lease = self._acquire() if is_new else None
        except DBAPIError as error:
            if not statements.is_lost_race(error):
                raise
            lease = None
        if lease is None:
            log.debug("another top-up is under way")
        return lease

    def _acquire(self) -> gate.Lease | None:
        with self.transaction() as work:
            return gate.Lease.acquire(work, self.owner)

    def holder_rest(self) -> float:
        """Return the seconds that the lease of another holder still has; at least 0.1."""
        rest = (self.read_state().until_ms - gate.to_ms(self.clock())) / 1000
        return max(0.1, min(rest, 2.0 * self.settings.lease_seconds))

    def wait_for_lease(self, stopping: Event) -> gate.Lease | None:
        """Wait for the lease up to twice its length; ``None`` if it stayed taken."""
        end = monotonic() + 2 * self.settings.lease_seconds
        while (lease := self.acquire()) is None:
            if monotonic() >= end or stopping.wait(min(0.2, self.holder_rest())):
                return None
        return lease

    def give_back(self, lease: gate.Lease, error: BaseException) -> None:
        """After an error: end the transaction, give the lease back, and write down what the error was."""
        abandon(self.session(), error)
        if isinstance(error, LeaseLost):
            log.info("top-up fenced: another one took over", extra={"action": "topup_fenced"})
        elif isinstance(error, Exception) and not isinstance(error, Interrupted):
            self._write_calmly(lambda work: lease.fail(work, sentence(error)))
        else:
            self._write_calmly(lease.release)

    def _write_calmly(self, write: Callable[[Work], object]) -> None:
        """Write in a transaction of its own, if the database lets us: lease and row also end by themselves."""
        try:
            with self.transaction() as work:
                write(work)
        except Exception as error:
            log.debug("not written down: %s", sentence(error))

    # -- a person's request --------------------------------------------------------------------------------

    def generate(self, request: TopUpRequest, stopping: Event | None = None) -> Report:
        """Fill now, in the caller's thread.

        :param stopping: set when it should stop after its chunk, with ``Interrupted``; what was written is committed.
        :raises InvalidRequest: if the request makes no sense.
        :raises TemplateNotFound: if it names no template.
        :raises TopUpBusy: if another top-up holds the lease for more than twice its length.
        :raises UncommittedChanges: on SQLite, if the app's session holds the write lock itself.
        """
        stopping = stopping or Event()
        if self.joins:
            self.check(request)
            return self._fill(None, request, never, joins=True)
        if request.dry_run:
            with self.context():
                self.check(request)
                return self._fill(None, request, never)
        with self.prepared(request, stopping) as lease:
            return self.run(lease, request, stopping.is_set)

    @contextmanager
    def prepared(self, request: TopUpRequest, stopping: Event | None = None) -> Iterator[gate.Lease]:
        """Check a person's request and wait for the lease; raises what ``generate`` raises."""
        stopping = stopping or Event()
        request.check(self.clock())
        self.refuse_uncommitted()
        with self.context():
            self.check(request)
            lease = self.wait_for_lease(stopping)
            if lease is None:
                raise Interrupted if stopping.is_set() else TopUpBusy
            yield lease

    def refuse_uncommitted(self) -> None:
        """Refuse to wait for a lock that the app's own session holds on SQLite, with ``UncommittedChanges``."""
        if statements.keeps_writers_away(self.session(), table_of(self.models.Lease)):
            raise UncommittedChanges

    def check(self, request: TopUpRequest) -> None:
        """Refuse a person's request that makes no sense, or would bring back what was pruned."""
        work = self.work()
        request.check(work.now)
        names = (request.template_id, request.group, request.first_day) != (None,) * 3
        specs = request.specs(work) if names else []
        horizon = pruned_until(work) if request.backfills(work.now) else None
        start = request.earliest(specs, work.now, self.settings) if horizon is not None else None
        if not self.joins:
            work.session.rollback()
        if horizon is not None and start is not None and start < horizon:
            expected = f"{horizon.isoformat()} or later: slots before it were pruned"
            raise refusal("start", start.isoformat(), expected)

    # -- a run under a lease that was won ------------------------------------------------------------------

    def run(self, lease: gate.Lease, request: TopUpRequest, must_stop: Callable[[], bool]) -> Report:
        """Run under a lease that was won; whatever happens, it is given back."""
        try:
            return self._fill(lease, request, must_stop)
        except BaseException as error:
            self.give_back(lease, error)
            raise

    def _fill(
        self,
        lease: gate.Lease | None,
        request: TopUpRequest,
        must_stop: Callable[[], bool],
        joins: bool = False,
    ) -> Report:
        current, work = self.fingerprint(), self.work()
        recorder = doing.Recorder(work, request, lease, request.run_id)
        run = doing.Run(recorder, self.clock, must_stop, joins, current)
        request.check_names(work)
        signals.announce(signals.topup_started, self.app, trigger=request.trigger)
        try:
            asked = request.asked_for(work)
            run.settle(*asked)
            run.fill(*asked)
            run.serve_waiting(*asked)
            report = run.finish()
            covers_all = request.covers_all(run.own_windows, self.settings)
            # Before anything is pruned: what ended long ago ended too.
            edges = count_edges(work) if covers_all and (lease or request.dry_run) else None
            if lease is not None and covers_all:
                work.session.rollback()
                self.upkeep(self, lease, run.stops)
            if not request.dry_run:
                edges = self._confirm(run, covers_all, current, edges)
            elif edges is not None:
                edges.note(report)
        except BaseException as error:
            if lease is not None:
                self._end_row(run, error)
            raise
        if not request.dry_run:
            announce_end(self.app, request, run.outcome, edges)
        return report

    def _confirm(self, run: Run, covers_all: bool, current: str, edges: Edges | None) -> Edges | None:
        """Write down that it is done: the run row and the state, in one transaction after all others.

        :return: what opened and ended, if that is told now; else the next run tells it.
        """
        lease = run.recorder.lease
        if lease is None:  # the app's own transaction
            self._close_row(run)
            pending.close(self.work(), run.report, run.busy, covers_all)
            return None
        is_known = covers_all and not run.outcome.errors  # no zone is unknown
        complete_until = run.complete_until if is_known else None
        with self.transaction() as work:
            run.recorder.close_dead_runs()
            if not settle(work, lease, run.outcome, run.now, complete_until, current):
                edges = None
            if edges is not None:
                edges.note(run.report)
            self._close_row(run)
            pending.close(work, run.report, run.busy, covers_all)
        return edges

    def _close_row(self, run: Run) -> None:
        recorder, outcome = run.recorder, run.outcome
        if recorder.request.trigger in ("manual", "edit", "api") or outcome.errors or run.began_at:
            recorder.start()
        run.report.run_id = recorder.run_id
        recorder.end(outcome.status, run.report, self.clock(), outcome.error)

    def _end_row(self, run: Run, error: BaseException) -> None:
        abandon(self.session(), error)
        calm = isinstance(error, _CALM) or not isinstance(error, Exception)
        status, text = (RunStatus.INTERRUPTED, None) if calm else (RunStatus.FAILED, sentence(error))
        report = run.finish()
        if isinstance(error, Interrupted):
            run.keep_place()
        self._write_calmly(lambda work: run.recorder.end(status, report, work.now, text))


def abandon(session: Session, error: BaseException) -> None:
    """End the transaction of a top-up that stopped.

    After an unforeseen error the connection is not used again: a result that was not read to its end would keep
    SQLite's snapshot open, and the lease could not be given back.
    """
    if not isinstance(error, _CALM):
        with suppress(Exception):
            session.connection().connection.rollback()
        session.invalidate()
    session.rollback()


# -- how a run ends: the state row, what opened and ended meanwhile, log and signals


def settle(
    work: Work, lease: gate.Lease, outcome: Outcome, began: datetime, until: datetime | None, fingerprint: str
) -> bool:
    """Write into the state row how a run ends, and give the lease back; return whether all is confirmed.

    :param began: what was complete then is confirmed.
    :param until: when it ceases to be complete; ``None`` if the run did not cover everything.
    """
    if outcome.error:
        lease.fail(work, outcome.error)
    elif until is not None and not outcome.busy:
        lease.confirm(replace(work, now=began), until, fingerprint)
        return True
    else:
        lease.renew(work)  # the fence holds for the run row too
        lease.release(work)
    return False


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
    since_ms, until = gate.read_state(work).confirmed_ms, gate.from_ms(gate.to_ms(work.now))
    began = select(func.min(runs.started_at)).where(runs.status != RunStatus.WAITING.value)
    since = gate.from_ms(since_ms) if since_ms else session.scalar(began)
    if since is None or since > until:
        return None
    count = select(func.count()).where(cls.status == Status.SCHEDULED.value)
    opened = count.where(cls.starts_at > until, cls.opens_at > since, cls.opens_at <= until)
    # The index is on starts_at: a slot that ended since then started at most the longest duration before, and a day
    # for what the clocks did between.
    longest = session.scalar(select(func.max(work.models.Template.duration)))
    first = since - longest - timedelta(days=1) if longest is not None else since
    closed = count.where(
        cls.starts_at > first, cls.starts_at <= until, cls.ends_at > since, cls.ends_at <= until
    )
    return Edges(session.scalar(opened) or 0, session.scalar(closed) or 0, since, until)


def announce_end(app: Any, request: TopUpRequest, outcome: Outcome, edges: Edges | None) -> None:
    """Log a run that ended, and send its signals: also of slots that opened and ended."""
    report, kind = outcome.report, "incomplete" if outcome.errors else "confirmed"
    counts = {name: getattr(report, name) for name in ("created", "updated", "removed", "existing")}
    text = "top-up %s: %d created, %d updated, %d removed, %d there already, %.2f s"
    extra = {"action": "topup", "trigger": request.trigger, "run_id": report.run_id}
    extra |= {f"slots_{name}": number for name, number in counts.items()}
    log.info(text, kind, *counts.values(), report.seconds, extra=extra)
    signals.announce(signals.topup_finished, app, report=report)
    if edges is not None:
        for signal, count in ((signals.slots_opened, edges.opened), (signals.slots_closed, edges.closed)):
            if count:
                signals.announce(signal, app, count=count, since=edges.since, until=edges.until)
