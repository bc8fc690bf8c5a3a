"""Top-ups on several machines: who cuts the work, who fills it, who confirms it.

The hook's job looks as ever (memory, cache, state row), on a thread of the web process. What is due goes to a queue as
a small message, and any worker may take it:

``look``   Ask the gate again, take the lease, write the run row, cut the templates into shards, and ask for workers.
``fill``   Permission to work on the run of a token: take the next shard from the table, fill it, end it; the one who
           ends the last confirms the run. After ten seconds the worker hands on to a message of its own, so that other
           tasks of the same queue get their turn.

No message names a shard, and nothing is believed because a message says so: what is to do stands in the database, under
the lease. A message that is lost, repeated, reordered or late changes nothing. A worker that dies leaves a claim that
ends with the lease time; the others take it over. When all die, nobody renews the lease, and the next traffic starts
again with what is missing.
"""

from __future__ import annotations

import logging
import random
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from flask_rollingslots import gate, planning, signals
from flask_rollingslots.errors import InvalidRequest, LeaseLost, QueueUnavailable
from flask_rollingslots.statements import is_lost_race, own_transaction, sentence
from flask_rollingslots.values import RunStatus

from . import shards
from .gathering import gather, papers_of, zones_of
from .messages import Job, fill, job_of, look
from .pruning import tidy
from .record import Edges, Recorder, count_edges, results_of
from .request import FillRequest
from .run import Filler, Interrupted
from .runner import _abandon, never
from .shards import Claim, NoFence, ShardRecorder
from .telling import tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.orm import Session

    from flask_rollingslots.values import Report

    from .job import TopUp

log = logging.getLogger("flask_rollingslots")

#: A worker hands on after so long, and puts back a shard that takes twice as long or has too many rows.
_TURN_SECONDS, _SHARD_ROWS = 10.0, 100_000
#: After a pause of more than a day everything is missing everywhere: then workers rest as long as they work.
_LONG_PAUSE = timedelta(days=1)
_STAGGER_SECONDS = 0.2
#: So often a message comes back that found the lease taken by an ordinary top-up, or the database down.
_TRIES = 20
#: With so few shards the run row tells the results of templates and groups while it works.
_FEW_SHARDS = 20


@dataclass(eq=False)
class Distributor:
    """The part of a top-up that works with a queue: one for each app, in web processes and workers alike."""

    topup: TopUp

    def __post_init__(self) -> None:
        self.runner, self.send = self.topup.runner, self.topup.executor.hand_over
        self.models, self.settings, self.clock = self.runner.models, self.runner.settings, self.runner.clock

    # -- messages ------------------------------------------------------------------------------------------

    def work(self, message: dict[str, Any]) -> None:
        """Do what a message asks for, in a session of its own.

        :raises InvalidRequest: if it is no message of ours.
        """
        kind = message.get("do") if isinstance(message, dict) else None
        if kind not in ("look", "fill"):
            raise InvalidRequest(f"message = {str(message)[:200]}: expected one that send() was given")
        with self.runner.context():
            self._serve(message)

    def look(self) -> None:
        """Do what a visitor's message would cause."""
        self.work(look(None, "request"))

    def _serve(self, message: dict[str, Any]) -> None:
        try:
            if message["do"] == "look":
                self._look(message["target"], message["trigger"], message.get("tries", 0))
            else:
                self._fill_shards(job_of(message))
        except LeaseLost as late:
            log.debug("message of no use any more: %s", late)
        except Exception as error:
            self._try_again(message, error)

    def _try_again(self, message: dict[str, Any], error: Exception) -> None:
        """Let a worker come back later, a few times; then the lease ends, and the next traffic begins anew."""
        tries = message.get("tries", 0) + 1
        level = logging.DEBUG if is_lost_race(error) else logging.ERROR
        log.log(level, "a worker's top-up failed: %s", sentence(error), extra={"action": "topup_failed"})
        if message["do"] == "fill" and tries <= _TRIES:
            self.send({**message, "tries": tries}, self.settings.lease_seconds * random.uniform(0.2, 0.5))  # noqa: S311

    def _look(self, target: gate.Target, trigger: str, tries: int) -> None:
        runner, topup = self.runner, self.topup
        state = runner.read_state()
        if trigger in ("request", "view") and topup._waiting(state) > 0:
            return
        if target is None and trigger != "hole" and topup._complete_for(state) > 0:
            return
        lease = runner.acquire()
        if lease is None and target is not None:
            if not self.join(target, trigger) and trigger == "edit" and tries < _TRIES:
                self.send(look(target, trigger, tries + 1), runner.holder_rest())
        elif lease is not None and target is not None:
            report = runner.run(lease, FillRequest(trigger, template_id=target), never)
            if not any(tally.error for tally in report.templates.values()):
                topup.remember(target)
        elif lease is not None:
            since = gate.to_ms(self.clock()) - state.confirmed_ms
            paced = bool(state.confirmed_ms) and since > _LONG_PAUSE.total_seconds() * 1000
            self.share(lease, FillRequest("request"), paced)

    def join(self, template_id: int, trigger: str) -> bool:
        """Let the shared run under way, if there is one, see to a template; return whether it will."""
        session = self.runner.session()
        found = shards.current_run(session, self.models, self.settings.name)
        session.rollback()
        if found is None:
            return False
        run_id, token = found
        with suppress(LeaseLost), own_transaction(session):
            if trigger != "edit":
                shards.prefer(session, self.models, run_id, template_id)
                return True
            gate.Lease(self.models, self.settings.name, "", token, self.settings.lease_seconds).renew(
                session, self.clock()
            )
            shards.check_running(session, self.models, run_id)
            shards.add(session, self.models, run_id, token, template_id)
            return True
        return False

    # -- beginning -----------------------------------------------------------------------------------------

    def begin(self, request: FillRequest) -> int:
        """Start a shared run by hand, and return its id; the workers go on when the caller has left.

        :raises InvalidRequest: if the request makes no sense.
        :raises TemplateNotFound: if it names no template or group.
        :raises TopUpBusy: if another top-up holds the lease for more than twice its length.
        :raises QueueUnavailable: if there is no queue, or it takes no message.
        """
        if not self.topup.executor.is_queue:
            executor = self.settings.executor
            raise QueueUnavailable(
                f"ROLLINGSLOTS_EXECUTOR = {executor!r} has no queue: expected 'celery', or a QueueExecutor of your own"
            )
        if self.runner.joins:
            raise QueueUnavailable(
                "all sessions share one connection here: other processes would see nothing of it"
            )
        with self.runner.prepared(request) as lease:
            job = self._prepare(lease, request, paced=False)
            if not self._ask_for_workers(job, max(1, job.shards)):
                self._give_up(job)
                raise QueueUnavailable
        return job.run_id

    def share(self, lease: gate.Lease, request: FillRequest, paced: bool = False, helps: bool = True) -> None:
        """Cut the work and ask for workers; a small one is done at once.

        :param paced: after a long pause: rest as long as was worked.
        :param helps: work on the first share here; else only if the queue takes nothing.
        """
        session = self.runner.session()
        try:
            ids = shards.cut(session, self.models, request, self.clock(), self.settings)
            session.rollback()
            if len(ids) > 1:
                job = self._prepare(lease, request, paced, ids)
        except BaseException as error:
            _abandon(session, error)
            self.runner._close(session, lease, error)
            raise
        if len(ids) <= 1:
            self.runner.run(lease, request, never)
            return
        if not self._ask_for_workers(job, job.shards - helps) or helps:
            self._serve(fill(job))

    def _prepare(
        self,
        lease: gate.Lease,
        request: FillRequest,
        paced: bool,
        ids: list[tuple[int, int]] | None = None,
    ) -> Job:
        """Write the run row and its shards."""
        session, models, now = self.runner.session(), self.models, self.clock()
        mark = self.runner.fingerprint()
        known = gate.read_state(session, models, self.settings.name).fingerprint
        if ids is None:
            ids = shards.cut(session, models, request, now, self.settings)
        session.rollback()
        recorder = Recorder(session, models, request, lease, now, request.run_id)
        with own_transaction(session):
            lease.renew(session, now)
            recorder.close_dead_runs()
            shards.clear(session, models)
            recorder.start()
        signals.announce(signals.topup_started, self.runner.app, trigger=request.trigger)
        job = Job(recorder.run_id or 0, lease.token, mark, len(ids), mark != known, paced, request)
        for rows in shards.rows_of(job.run_id, job.token, ids):
            with own_transaction(session):
                lease.renew(session, self.clock())
                session.execute(shards.insertion(models), rows)
        return job

    def _ask_for_workers(self, job: Job, wanted: int) -> int:
        """Send as many messages as may work at once, a little apart; return how many the queue took."""
        count = min(wanted, self.settings.shards_at_once)
        delays = [number * random.uniform(0, _STAGGER_SECONDS) for number in range(count)]  # noqa: S311 (no secret)
        return sum(self.send(fill(job), delay) for delay in delays)

    def _give_up(self, job: Job) -> None:
        session = self.runner.session()
        lease = job.lease(self.models, self.settings)
        with suppress(LeaseLost), own_transaction(session):
            lease.renew(session, self.clock())
            lease.release(session)
            recorder = Recorder(session, self.models, job.request, lease, self.clock(), job.run_id)
            recorder.end(RunStatus.INTERRUPTED, None, self.clock())

    # -- filling -------------------------------------------------------------------------------------------

    def _fill_shards(self, job: Job) -> None:
        """Fill shards until the turn is over, another worker has to end, or all is done.

        :raises LeaseLost: if the run is over or was taken over.
        """
        turn_ends, longest_rest = monotonic() + _TURN_SECONDS, self.settings.lease_seconds / 3
        while True:
            taken = self._claim(job)
            if taken is None:
                if self._conclude(job):
                    return
            elif isinstance(taken, Claim):
                began = monotonic()
                self._fill(job, taken)
                worked = monotonic() - began
                rest = min(worked, longest_rest) * random.uniform(0.5, 1.5) if job.paced else 0.0  # noqa: S311
                # Where the queue takes nothing, the work goes on here.
                if (job.paced or monotonic() >= turn_ends) and self.send(fill(job), rest):
                    return
            else:
                # Others are at work: look again when one of them may have died.
                self.send(fill(job), taken + random.uniform(0.1, 1.0))  # noqa: S311
                return

    def _claim(self, job: Job) -> Claim | float | None:
        with self._deciding(job) as (session, now):
            return shards.claim(session, self.models, job, now, self.settings)

    @contextmanager
    def _deciding(self, job: Job) -> Iterator[tuple[Session, datetime]]:
        """Begin a transaction in which nobody else of the run decides; the lease is renewed.

        :raises LeaseLost: if the run is over or was taken over.
        """
        session = self.runner.session()
        with own_transaction(session):
            now = self.clock()
            job.lease(self.models, self.settings).renew(session, now)
            shards.check_running(session, self.models, job.run_id)
            yield session, now

    def _fill(self, job: Job, claim: Claim) -> None:
        """Fill one shard and end it, or put it back."""
        session = self.runner.session()
        try:
            self._fill_and_end(session, job, claim)
        except Interrupted:
            session.rollback()
            with own_transaction(session):
                shards.unclaim(session, self.models, claim)
        except LeaseLost:
            session.rollback()
            with self._deciding(job):
                pass  # goes on if only the claim was taken over, not the run
        except Exception as error:
            _abandon(session, error)
            log.error("a shard of run %s failed: %s", job.run_id, sentence(error))
            with own_transaction(session):
                shards.unclaim(session, self.models, claim, sentence(error))

    def _fill_and_end(self, session: Session, job: Job, claim: Claim) -> None:
        request, lease = claim.request(job), job.lease(self.models, self.settings)
        left_out: list[tuple[int, str, Exception]] = []
        specs = claim.specs(self.runner.work(), job, lambda *which: left_out.append(which))
        before = shards.created_before(session, self.models, job, specs) if claim.begun else {}
        session.rollback()
        own: dict[str, Any] = {"job": job, "claim": claim, "shared": lease, "clock": self.clock}
        recorder = ShardRecorder(session, self.models, request, None, self.clock(), **own)
        fence: Any = NoFence()
        filler = Filler(
            session,
            self.models,
            self.settings,
            self.clock,
            request,
            fence,
            shards.limit(recorder, _SHARD_ROWS, 2 * _TURN_SECONDS),
            recorder=recorder,
        )
        for which in left_out:
            filler.leave_out(*which)
        filler.fill(specs)
        if job.revises or claim.template_id is not None:
            filler.revise(specs)
        for template_id, number in before.items():
            tally = filler.report.templates.get(template_id)
            if tally is not None:
                tally.created += number
                tally.existing -= number
        report = filler.finish(specs)
        with self._deciding(job) as (session, _):
            ours = shards.end(session, self.models, job, claim, report, papers_of(filler))
            if ours and job.shards <= _FEW_SHARDS:
                gathered = gather(session, self.models, job.run_id)
                shards.show(session, self.models, job.run_id, results_of(gathered.report))

    # -- ending --------------------------------------------------------------------------------------------

    def _conclude(self, job: Job) -> bool:
        """Confirm the run; return whether it is over: ``False`` if something was added meanwhile.

        :raises LeaseLost: if somebody else confirmed it, or took over.
        """
        session, settings, request = self.runner.session(), self.settings, job.request
        lease, everything = job.lease(self.models, settings), self._covers_all(job)
        session.rollback()
        if everything:
            tidy(session, self.models, settings, self.clock, lease, self.runner.archive, never)
        with self._deciding(job) as (session, now):
            if not shards.are_done(session, self.models, job):
                return False
            found, edges = gather(session, self.models, job.run_id), None
            started, done = shards.times(session, self.models, job.run_id)
            report, errors = found.report, found.errors
            report.run_id, report.seconds = job.run_id, (now - started).total_seconds()
            status = RunStatus.CONFIRMED
            if errors:
                status = RunStatus.FAILED
                lease.fail(session, now, "; ".join(errors))
            elif found.busy or not everything:
                lease.release(session)
                status = RunStatus.INTERRUPTED if found.busy else status
            else:
                edges = self._confirm(session, job, lease, started, report)
            recorder = Recorder(session, self.models, request, lease, started, job.run_id, done)
            recorder.end(status, report, now, "; ".join(errors) or None)
        tell(self.runner.app, report, request, errors, edges)
        return True

    def _confirm(
        self, session: Session, job: Job, lease: gate.Lease, started: datetime, report: Report
    ) -> Edges | None:
        since = gate.read_state(session, self.models, self.settings.name).confirmed_ms
        edges = count_edges(session, self.models, since, gate.to_ms(started))
        if edges is not None:
            report.opened, report.closed = edges.opened, edges.closed
        zones = zones_of(session, self.models) | {self.settings.timezone}
        lease.confirm(session, started, planning.next_midnight(zones, started), job.mark)
        return edges

    def _covers_all(self, job: Job) -> bool:
        cls, request = self.models.Template, job.request
        if (request.start, request.end, request.template_id, request.group, request.first_day) != (None,) * 5:
            return False
        own = self.runner.session().scalar(select(func.max(cls.window_days)).where(cls.active.is_(True)))
        return request.days is None or request.days >= max(own or 0, self.settings.window_days)
