"""Running a top-up under the lease: take it, fill, and confirm only after everything is committed."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from flask_rollingslots import gate, planning, signals
from flask_rollingslots.context import Work
from flask_rollingslots.errors import InvalidRequest, LeaseLost, TopUpBusy, UncommittedChanges
from flask_rollingslots.executors import reset_after_fork
from flask_rollingslots.loading import fingerprint, pruned_until
from flask_rollingslots.models import table_of
from flask_rollingslots.statements import (
    be_patient,
    dialect_of,
    has_uncommitted_writes,
    is_lost_race,
    is_shared,
    own_transaction,
    sentence,
    use_primary,
    write_engine,
)
from flask_rollingslots.values import Report, RunStatus, TemplateSpec

from .pruning import tidy
from .record import Edges, count_edges
from .run import Filler, Interrupted
from .telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session, scoped_session

    from flask_rollingslots.models import Models
    from flask_rollingslots.retention import Archive
    from flask_rollingslots.settings import Settings

    from .request import FillRequest

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
    :param archive: gets past slots before a top-up deletes them.
    """

    app: Any
    db: Any
    models: Models
    settings: Settings
    clock: Callable[[], datetime]
    archive: Archive | None = None
    _engine: Engine | None = None

    def __post_init__(self) -> None:
        reset_after_fork(self)

    @property
    def session(self) -> scoped_session[Any]:
        """The app's scoped session, as it is now: test suites replace it."""
        found: scoped_session[Any] = self.db.session
        return found

    @property
    def owner(self) -> str:
        """This process, for people who look at the lease."""
        return f"{socket.gethostname()[:60]}:{os.getpid()}"

    @property
    def joins(self) -> bool:
        """Whether all sessions share one connection, so that a top-up cannot have a transaction of its own."""
        bind = write_engine(self.session(), self.models.Slot)
        self._engine = bind.engine
        return is_shared(bind)

    def reset(self) -> None:
        """In a child process: leave the parent's connections to the parent, without closing them."""
        if self._engine is not None:
            self._engine.dispose(close=False)

    @cached_property
    def database_mark(self) -> str:
        """A short text that differs from database to database: apps may share a cache."""
        bind = write_engine(self.session(), self.models.Slot)
        place = f"{bind.engine.url.render_as_string()} {table_of(self.models.Slot).fullname}"
        return hashlib.sha256(place.encode()).hexdigest()[:12]

    @contextmanager
    def context(self, patience: float | None = None) -> Iterator[None]:
        """Push an app context of our own; its session works on the primary, also where the app reads from replicas.

        :param patience: for how many seconds a transaction of ours may wait for a lock; ``None``: as usual.
        """
        with self.app.app_context():
            use_primary(self.session(), self.models.classes, wholly=True)
            be_patient(self.session(), patience)
            yield

    def work(self) -> Work:
        """Return what the functions below are handed, as of now."""
        return Work.reading(self.session(), self.models, self.settings, self.clock())

    def read_state(self) -> gate.LeaseState:
        """Return the state row; ends the session's transaction."""
        session = self.session()
        state = gate.read_state(session, self.models, self.settings.name)
        session.rollback()
        return state

    def fingerprint(self) -> str:
        """Return a text that changes with the templates and with the settings that shape the window."""
        mark = fingerprint(self.work())
        return f"{mark}:{self.settings.window_days}:{self.settings.align}"

    def acquire(self) -> gate.Lease | None:
        """Try to take the lease, once; ``None`` also if another process was in the way."""
        try:
            lease = self._acquire_or_begin()
        except DBAPIError as error:
            if not is_lost_race(error):
                raise
            lease = None
        if lease is None:
            log.debug("another top-up is under way")
        return lease

    def _acquire_or_begin(self) -> gate.Lease | None:
        lease = self._acquire()
        if lease is None:
            # The row is made in a transaction of its own: MariaDB's INSERT IGNORE and the UPDATE that follows would
            # make two processes wait for each other.
            session = self.session()
            with own_transaction(session):
                is_new = gate.make_row(session, self.models, self.settings.name)
            lease = self._acquire() if is_new else None
        return lease

    def _acquire(self) -> gate.Lease | None:
        session, settings = self.session(), self.settings
        with own_transaction(session):
            return gate.Lease.acquire(
                session, self.models, settings.name, self.owner, settings.lease_seconds, self.clock()
            )

    def holder_rest(self) -> float:
        """Return the seconds that the lease of another holder still has; at least 0.1."""
        rest = (self.read_state().until_ms - gate.to_ms(self.clock())) / 1000
        return max(0.1, min(rest, 2.0 * self.settings.lease_seconds))

    def wait_for_lease(self, stopping: threading.Event) -> gate.Lease | None:
        """Wait for the lease up to twice its length; ``None`` if it stayed taken."""
        end = monotonic() + 2 * self.settings.lease_seconds
        while (lease := self.acquire()) is None:
            if monotonic() >= end or stopping.wait(min(0.2, self.holder_rest())):
                return None
        return lease

    def generate(self, request: FillRequest, stopping: threading.Event | None = None) -> Report:
        """Fill now, in the caller's thread.

        :param stopping: set when it should stop after its chunk.
        :raises Interrupted: if it stopped; what was written is committed.
        :raises InvalidRequest: if the request makes no sense.
        :raises TemplateNotFound: if it names no template.
        :raises TopUpBusy: if another top-up holds the lease for more than twice its length.
        :raises UncommittedChanges: on SQLite, if the app's session holds the write lock itself.
        """
        request.check(self.clock())
        stopping = stopping or threading.Event()
        if self.joins:
            self.refuse_resurrection(request)
            return self._fill(self.session(), None, request, never, joins=True)
        if request.dry_run:
            with self.context():
                self.refuse_resurrection(request)
                return self._fill(self.session(), None, request, never)
        with self.prepared(request, stopping) as lease:
            return self.run(lease, request, stopping.is_set)

    @contextmanager
    def prepared(self, request: FillRequest, stopping: threading.Event | None = None) -> Iterator[gate.Lease]:
        """Check a person's request and wait for the lease; raises what ``generate`` raises."""
        request.check(self.clock())
        stopping = stopping or threading.Event()
        if dialect_of(self.session()) == "sqlite" and has_uncommitted_writes(self.session()):
            raise UncommittedChanges
        with self.context():
            self.refuse_resurrection(request)
            if request.template_id is not None or request.group is not None:
                # Refuse an unknown template before anything is written.
                request.specs(self.work())
            self.session.rollback()
            lease = self.wait_for_lease(stopping)
            if lease is None:
                raise Interrupted if stopping.is_set() else TopUpBusy
            yield lease

    def refuse_resurrection(self, request: FillRequest) -> None:
        """Let no backfill bring back what was pruned.

        :raises InvalidRequest: names the earliest start.
        """
        if not request.backfills(self.clock()):
            return
        horizon = pruned_until(self.work())
        if horizon is None:
            return
        specs = request.specs(self.work()) if request.first_day is not None else []
        start = request.earliest(specs, self.clock(), self.settings)
        if start is not None and start < horizon:
            expected = f"{horizon.isoformat()} or later: slots before it were pruned"
            raise InvalidRequest(
                f"start = {start.isoformat()}: expected {expected}",
                field="start",
                value=start,
                expected=expected,
            )

    def run(self, lease: gate.Lease, request: FillRequest, must_stop: Callable[[], bool]) -> Report:
        """Run under a lease that was won; whatever happens, it is given back."""
        session = self.session()
        try:
            return self._fill(session, lease, request, must_stop)
        except BaseException as error:
            _abandon(session, error)
            self._close(session, lease, error)
            raise

    def _fill(
        self,
        session: Session,
        lease: gate.Lease | None,
        request: FillRequest,
        must_stop: Callable[[], bool],
        joins: bool = False,
    ) -> Report:
        mark = self.fingerprint()
        known = gate.read_state(session, self.models, self.settings.name).fingerprint
        filler = Filler(session, self.models, self.settings, self.clock, request, lease, must_stop, joins)
        specs = request.specs(self.work(), filler.leave_out)
        signals.announce(signals.topup_started, self.app, trigger=request.trigger)
        try:
            filler.fill(specs)
            if request.trigger == "edit" or joins or mark != known:
                filler.revise(specs)
            report = filler.finish(specs)
            covers_all = request.covers_all(specs, self.settings)
            # Before anything is pruned: what ended long ago ended too.
            edges = self._count_edges(session, filler) if covers_all and (lease or request.dry_run) else None
            if lease is not None and covers_all:
                session.rollback()
                tidy(session, self.models, self.settings, self.clock, lease, self.archive, filler.stops)
            if not request.dry_run:
                edges = self._confirm(session, lease, filler, specs, mark, edges)
            elif edges is not None:
                report.opened, report.closed = edges.opened, edges.closed
        except BaseException as error:
            if lease is not None:
                self._end_row(session, filler, specs, error)
            raise
        if not request.dry_run:
            tell(self.app, report, request, filler.errors, edges)
        return report

    def _confirm(
        self,
        session: Session,
        lease: gate.Lease | None,
        filler: Filler,
        specs: list[TemplateSpec],
        mark: str,
        edges: Edges | None,
    ) -> Edges | None:
        """Write down that it is done: the run row and the state, in one transaction after all others.

        :return: what opened and ended, if that is told now; else the next run tells it.
        """
        if lease is None:  # the app's own transaction
            self._close_row(filler)
            return None
        told = None
        with own_transaction(session):
            filler.recorder.close_dead_runs()
            if filler.errors:
                lease.fail(session, self.clock(), "; ".join(filler.errors))
            elif filler.request.covers_all(specs, self.settings) and not filler.busy:
                self._confirm_everything(session, lease, filler, specs, mark)
                told = edges
            else:
                lease.renew(session, self.clock())  # the fence holds for the run row too
                lease.release(session)
            if told is not None:
                filler.report.opened, filler.report.closed = told.opened, told.closed
            self._close_row(filler)
        return told

    def _confirm_everything(
        self, session: Session, lease: gate.Lease, filler: Filler, specs: list[TemplateSpec], mark: str
    ) -> None:
        sound = [spec for spec in specs if not filler.report.templates[spec.id].error]
        zones = {spec.timezone for spec in sound} | {self.settings.timezone}
        lease.confirm(session, filler.now, planning.next_midnight(zones, filler.now), mark)

    def _count_edges(self, session: Session, filler: Filler) -> Edges | None:
        since = gate.read_state(session, self.models, self.settings.name).confirmed_ms
        # Up to the moment that is stored as confirmed: the next one goes on from there, and nothing counts twice.
        return count_edges(session, self.models, since, gate.to_ms(filler.now))

    def _close_row(self, filler: Filler) -> None:
        recorder = filler.recorder
        if filler.request.trigger in ("manual", "edit", "api") or filler.errors:
            recorder.start()
        filler.report.run_id = recorder.run_id
        recorder.end(_status(filler), filler.report, self.clock(), "; ".join(filler.errors) or None)

    def _end_row(
        self, session: Session, filler: Filler, specs: list[TemplateSpec], error: BaseException
    ) -> None:
        _abandon(session, error)
        calm = isinstance(error, _CALM) or not isinstance(error, Exception)
        status, text = (RunStatus.INTERRUPTED, None) if calm else (RunStatus.FAILED, sentence(error))
        report = filler.finish(specs)
        self._write_calmly(session, lambda: filler.recorder.end(status, report, self.clock(), text))

    def _close(self, session: Session, lease: gate.Lease, error: BaseException) -> None:
        """Give the lease back after an error, and write down what it was."""
        if isinstance(error, LeaseLost):
            log.info("top-up fenced: another one took over", extra={"action": "topup_fenced"})
        elif isinstance(error, Exception) and not isinstance(error, Interrupted):
            self._write_calmly(session, lambda: lease.fail(session, self.clock(), sentence(error)))
        else:
            self._write_calmly(session, lambda: lease.release(session))

    def _write_calmly(self, session: Session, write: Callable[[], object]) -> None:
        """Write in a transaction of its own, if the database lets us: lease and row also end by themselves."""
        try:
            with own_transaction(session):
                write()
        except Exception as error:
            log.debug("not written down: %s", sentence(error))


def _status(filler: Filler) -> RunStatus:
    if filler.errors:
        return RunStatus.FAILED
    return RunStatus.INTERRUPTED if filler.busy else RunStatus.CONFIRMED


def _abandon(session: Session, error: BaseException) -> None:
    """End the transaction of a top-up that stopped.

    After an unforeseen error the connection is not used again: a result that was not read to its end would keep
    SQLite's snapshot open, and the lease could not be given back.
    """
    if not isinstance(error, _CALM):
        with suppress(Exception):
            session.connection().connection.rollback()
        session.invalidate()
    session.rollback()
