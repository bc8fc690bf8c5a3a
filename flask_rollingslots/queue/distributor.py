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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Event
from time import monotonic
from typing import Any

from sqlalchemy import select

from .. import signals
from ..context import Work
from ..errors import Interrupted, LeaseLost, QueueUnavailable, TopUpBusy, refusal, sentence
from ..recurrence.zones import next_midnight
from ..statements import is_lost_race
from ..topup import TopUp, TopUpRequest, pending
from ..topup.executors import QueueExecutor
from ..topup.gate import Lease, Target, to_ms
from ..topup.run import Recorder, Run
from ..topup.runner import abandon, announce_end, count_edges, never, settle
from ..values import Report, RunStatus
from . import sharding
from .sharding import Claim, Job, ShardRecorder, fill, job_of, look

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
#: So often who follows a run looks at its row.
_LOOK_SECONDS = 0.2


def connect(topup: TopUp) -> None:
    """Let the job of an app, whose executor is a queue, hand the filling to workers."""
    topup.workers = Distributor(topup)


@dataclass(eq=False)
class Distributor:
    """The part of a top-up that works with a queue, in web processes and workers alike: what ``Workers`` asks for."""

    topup: TopUp

    def __post_init__(self) -> None:
        self.runner = self.topup.runner
        self.settings, self.clock = self.runner.settings, self.runner.clock

    def send(self, message: dict[str, Any], delay: float = 0.0) -> bool:
        """Give a message to the queue; return whether there is one that took it. Never raises."""
        executor = self.topup.executor
        return isinstance(executor, QueueExecutor) and executor.hand_over(message, delay)

    # -- messages ------------------------------------------------------------------------------------------

    def ask(self, target: Target, trigger: str) -> bool:
        """Ask a worker to look at a template, or at everything; return whether the queue took that."""
        return self.send(look(target, trigger))

    def work(self, message: dict[str, Any]) -> None:
        """Do what a message of ours asks for, in a session of its own; refuse any other with ``InvalidRequest``."""
        kind = message.get("do") if isinstance(message, dict) else None
        if kind not in ("look", "fill"):
            raise refusal("message", message, "one that send() was given")
        with self.runner.context():
            self._serve(message)

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

    def _look(self, target: Target, trigger: str, tries: int) -> None:
        runner = self.runner
        state = runner.read_state()
        if trigger in ("request", "view") and runner.put_off_for(state) > 0:
            return
        if target is None and trigger != "hole" and runner.complete_for(state) > 0:
            return
        lease = runner.acquire()
        if lease is None and target is not None:
            if not self.join(target, trigger) and trigger == "edit" and tries < _TRIES:
                self.send(look(target, trigger, tries + 1), runner.holder_rest())
        elif lease is not None and target is not None:
            report = runner.run(lease, TopUpRequest(trigger, template_id=target), never)
            if not any(tally.error for tally in report.templates.values()):
                self.topup.remember(target)
        elif lease is not None:
            paced = 0 < state.confirmed_ms < to_ms(self.clock() - _LONG_PAUSE)
            self.share(lease, TopUpRequest("request"), paced)

    def join(self, template_id: int, trigger: str) -> bool:
        """Let the shared run under way, if there is one, see to a template; return whether it will."""
        work = self.runner.work()
        found = sharding.current_run(work)
        work.session.rollback()
        if found is None:
            return False
        run_id, token = found
        with suppress(LeaseLost), self.runner.transaction() as work:
            if trigger == "edit":
                Lease("", token).renew(work)
                sharding.check_running(work, run_id)
                sharding.add(work, run_id, token, template_id)
            else:
                sharding.prefer(work, run_id, template_id)
            return True
        return False

    # -- beginning -----------------------------------------------------------------------------------------

    def begin(self, request: TopUpRequest) -> int:
        """Start a shared run by hand, and return its id; the workers go on when the caller has left.

        :raises QueueUnavailable: if there is no queue, or it takes no message; else what ``Runner.generate`` raises.
        """
        if not self.topup.executor.is_queue:
            text = "has no queue: expected 'celery', or a QueueExecutor of your own"
            raise QueueUnavailable(f"ROLLINGSLOTS_EXECUTOR = {self.settings.executor!r} {text}")
        if self.runner.joins:
            text = "all sessions share one connection here: other processes would see nothing of it"
            raise QueueUnavailable(text)
        with self.runner.prepared(request) as lease:
            job = self._prepare(lease, request, self._cut(request))
            if not self._ask_for_workers(job, max(1, job.shards)):
                self._give_up(job)
                raise QueueUnavailable
        return job.run_id

    def share(self, lease: Lease, request: TopUpRequest, paced: bool = False, helps: bool = True) -> None:
        """Cut the work and ask for workers; a small one is done at once.

        :param paced: after a long pause: rest as long as was worked.
        :param helps: work on the first share here; else only if the queue takes nothing.
        """
        try:
            ids = self._cut(request)
            job = self._prepare(lease, request, ids, paced) if len(ids) > 1 else None
        except BaseException as error:
            self.runner.give_back(lease, error)
            raise
        if job is None:
            self.runner.run(lease, request, never)
        elif not self._ask_for_workers(job, job.shards - helps) or helps:
            self._serve(fill(job))

    def _cut(self, request: TopUpRequest) -> list[tuple[int, int]]:
        work = self.runner.work()
        ids = sharding.cut(work, request)
        work.session.rollback()
        return ids

    def _prepare(
        self, lease: Lease, request: TopUpRequest, ids: list[tuple[int, int]], paced: bool = False
    ) -> Job:
        """Write the run row and its shards."""
        work, fingerprint = self.runner.work(), self.runner.fingerprint()
        work.session.rollback()
        recorder = Recorder(work, request, lease, request.run_id)
        with self.runner.transaction(lease):
            recorder.close_dead_runs()
            sharding.clear(work)
            recorder.start()
        signals.announce(signals.topup_started, self.runner.app, trigger=request.trigger)
        job = Job(recorder.run_id or 0, lease.token, fingerprint, len(ids), paced, request)
        for rows in sharding.rows_of(job, ids):
            with self.runner.transaction(lease) as work:
                sharding.write(work, rows)
        return job

    def _ask_for_workers(self, job: Job, wanted: int) -> int:
        """Send as many messages as may work at once, a little apart; return how many the queue took."""
        numbers = range(min(wanted, self.settings.shards_at_once))
        return sum(self.send(fill(job), each * random.uniform(0, _STAGGER_SECONDS)) for each in numbers)  # noqa: S311

    def _give_up(self, job: Job) -> None:
        with suppress(LeaseLost), self.runner.transaction(job.lease) as work:
            job.lease.release(work)
            Recorder(work, job.request, job.lease, job.run_id).end(RunStatus.INTERRUPTED, None, work.now)

    # -- filling, ending, following ------------------------------------------------------------------------

    def _fill_shards(self, job: Job) -> None:
        """Fill shards until the turn is over, another worker has to end, or all is done."""
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
        with self._deciding(job) as work:
            return sharding.claim(work, job)

    @contextmanager
    def _deciding(self, job: Job) -> Iterator[Work]:
        """Begin a transaction in which nobody else of the run decides; ``LeaseLost`` if it is over or taken over."""
        with self.runner.transaction(job.lease) as work:
            sharding.check_running(work, job.run_id)
            yield work

    def _fill(self, job: Job, claim: Claim) -> None:
        """Fill one shard and end it, or put it back."""
        session = self.runner.session()
        try:
            self._fill_and_end(job, claim)
        except Interrupted:
            session.rollback()
            with self.runner.transaction() as work:
                sharding.unclaim(work, claim)
        except LeaseLost:
            session.rollback()
            with self._deciding(job):
                pass  # goes on if only the claim was taken over, not the run
        except Exception as error:
            abandon(session, error)
            log.error("a shard of run %s failed: %s", job.run_id, sentence(error))
            with self.runner.transaction() as work:
                sharding.unclaim(work, claim, sentence(error))

    def _fill_and_end(self, job: Job, claim: Claim) -> None:
        work = self.runner.work()
        # It renews the lease at the end of each chunk: nothing does at the beginning.
        recorder = ShardRecorder(work, claim.request(job), None, job=job, claim=claim, clock=self.clock)
        run = Run(recorder, self.clock, recorder.limit(_SHARD_ROWS, 2 * _TURN_SECONDS))
        asked = claim.asked_for(work, job)
        before = sharding.created_before(work, job, asked) if claim.begun else {}
        work.session.rollback()
        run.settle(*asked)
        run.fill(*asked)
        run.serve_waiting(*asked)
        for template_id, number in before.items():
            tally = run.report.templates.get(template_id)
            if tally is not None:
                tally.created += number
                tally.existing -= number
        run.finish()
        with self._deciding(job) as work:
            ours = sharding.end(work, job, claim, run.outcome)
            if ours and job.shards <= _FEW_SHARDS:
                sharding.show(work, job.run_id)

    def _conclude(self, job: Job) -> bool:
        """Confirm the run; return whether it is over: ``False`` if something was added meanwhile."""
        work, request = self.runner.work(), job.request
        cls, runs = work.models.Template, work.models.Run
        own_windows = select(cls.window_days).where(cls.active.is_(True)).distinct()
        covers_all = request.covers_all(work.session.scalars(own_windows).all(), self.settings)
        work.session.rollback()
        if covers_all:
            self.runner.upkeep(self.runner, job.lease, never)
        with self._deciding(job) as work:
            if not sharding.are_done(work, job):
                return False
            outcome, edges, until = sharding.gather(work, job.run_id), None, None
            query = select(runs.started_at, runs.done).where(runs.id == job.run_id)
            started, done = work.session.execute(query).one()
            began, report = replace(work, now=started), outcome.report
            report.run_id, report.seconds = job.run_id, (work.now - started).total_seconds()
            if covers_all and not outcome.errors and not outcome.busy:
                zones = sharding.zones_of(work) | {self.settings.timezone}
                until, edges = next_midnight(zones, started), count_edges(began)
            settle(work, job.lease, outcome, started, until, job.fingerprint)
            if edges is not None:
                edges.note(report)
            recorder = Recorder(began, request, job.lease, job.run_id, done)
            recorder.end(outcome.status, report, work.now, outcome.error)
            if not outcome.busy:
                pending.close(work, report, covers_all=covers_all)
        announce_end(self.runner.app, request, outcome, edges)
        return True

    def generate(self, request: TopUpRequest, stopping: Event | None = None) -> Report:
        """Let the workers of the queue fill, follow them, and return the result; what is raised is as of ``begin``.

        :param stopping: set when to stop waiting, with ``Interrupted``; the workers go on.
        :raises QueueUnavailable: also if no worker comes for twice the lease time.
        :raises TopUpBusy: also if another top-up took over.
        """
        run_id, runner = self.begin(request), self.runner
        renewed, seen_at, stopping = 0, monotonic(), stopping or Event()
        while True:
            with runner.context():
                state, work = runner.read_state(), runner.work()
                run = work.session.get(runner.models.Run, run_id)
                if run is None or run.status == RunStatus.INTERRUPTED:
                    raise TopUpBusy(
                        f"run {run_id} was interrupted; what is missing comes with the next top-up"
                    )
                if request.progress is not None and run.total:
                    request.progress(run.done, run.total)
                if run.status != RunStatus.RUNNING:
                    report = sharding.gather(work, run_id).report
                    report.run_id, report.seconds = run_id, run.seconds or 0.0
                    report.opened, report.closed = run.opened, run.closed
                    return report
            if state.until_ms != renewed:
                renewed, seen_at = state.until_ms, monotonic()
            elif monotonic() > seen_at + 2 * self.settings.lease_seconds:
                text = f"run {run_id}: no worker was seen for twice the lease time; is one running?"
                raise QueueUnavailable(text, run_id=run_id)
            if stopping.wait(_LOOK_SECONDS):
                raise Interrupted
