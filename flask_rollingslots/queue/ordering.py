"""Top-ups that somebody orders and does not wait for: one at a time, each with a run row from the first moment."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import insert, select, update

from ..context import Work
from ..errors import TopUpBusy, sentence
from ..models import RunMixin, table_of
from ..statements import exclusive, is_lost_race
from ..topup import Runner, TopUp, TopUpRequest
from ..topup.gate import make_row, read_state, to_ms
from ..topup.run import asked
from ..values import RunStatus
from .distributor import Distributor

log = logging.getLogger("flask_rollingslots")

#: The trigger of an ordered run.
ORDERED = "api"
_OPEN = (RunStatus.QUEUED.value, RunStatus.RUNNING.value)
#: Beyond the time for which a run waits for the lease: what its process may need to begin.
_GRACE = timedelta(seconds=30)
_RACES = 10


def order(topup: TopUp, request: TopUpRequest, asked_at: datetime | None = None) -> int:
    """Start a top-up in the background, and return the id of its run, which shows how far it is.

    Without threads it is done at once, or after the response; where all sessions share one connection it joins the
    current session, which the caller commits.

    :param asked_at: when the request came in, aware: a run that ended after that was in its way.
    :raises InvalidRequest: if the request makes no sense.
    :raises TemplateNotFound: if it names no template.
    :raises TopUpBusy: if another ordered run is under way; ``run`` is its id.
    """
    runner, ordered = topup.runner, replace(request, trigger=ORDERED, watched=True)
    if runner.joins:
        return runner.generate(ordered).run_id or 0
    with runner.context():
        runner.check(request)
        run_id = _enter(runner, ordered, asked_at)
    if not topup.executor.submit(partial(_work, topup, replace(ordered, run_id=run_id))):
        with runner.context():
            _end(runner, run_id, RunStatus.INTERRUPTED, "the server is shutting down")
        raise TopUpBusy("the server is shutting down: try again", run=run_id)
    return run_id


def _enter(runner: Runner, request: TopUpRequest, asked_at: datetime | None) -> int:
    """Write the run row, unless another ordered run is under way."""
    for _ in range(_RACES):
        try:
            with runner.transaction() as work:
                make_row(work)
            with runner.transaction() as work:
                return _enter_locked(work, runner.owner, request, asked_at)
        except Exception as error:
            if not is_lost_race(error):
                raise
            last = error
    raise TopUpBusy from last


def _enter_locked(work: Work, owner: str, request: TopUpRequest, asked_at: datetime | None) -> int:
    session, cls = work.session, work.models.Run
    lease, table = table_of(work.models.Lease), table_of(cls)
    # The state row stands for the queue: whoever waited for it sees the run of the one before.
    state_row = select(lease.c.token).where(lease.c.name == work.settings.name)
    session.execute(exclusive(state_row, work.dialect))
    last = session.scalars(select(cls).where(cls.trigger == ORDERED).order_by(cls.id.desc()).limit(1)).first()
    if last is not None and _is_in_the_way(work, last, asked_at):
        text = f"run {last.id} is under way: look at it, or try again when it has ended"
        raise TopUpBusy(text, run=last.id)
    if last is not None and last.status in _OPEN:
        _close(work, last.id, RunStatus.INTERRUPTED)
    what = {"template_id": request.template_id, "trigger": ORDERED, "status": RunStatus.QUEUED.value}
    row = insert(table).values(**what, owner=owner, started_at=work.now, results=asked(request))
    return int(session.execute(row).inserted_primary_key[0])  # type: ignore[attr-defined]


def _is_in_the_way(work: Work, run: RunMixin, asked_at: datetime | None) -> bool:
    """Whether a run is under way, or was when the request came in; not if its process is gone."""
    if run.status not in _OPEN:
        return asked_at is not None and run.finished_at is not None and run.finished_at > asked_at
    if run.status == RunStatus.QUEUED:
        return work.now - run.started_at < timedelta(seconds=2 * work.settings.lease_seconds) + _GRACE
    state = read_state(work)
    return state.token == run.token and state.until_ms > to_ms(work.now)


def _work(topup: TopUp, request: TopUpRequest) -> None:
    """Wait for the lease, and fill. Never raises: what went wrong is in the run row and in the log."""
    runner, run_id, shared = topup.runner, request.run_id or 0, False
    try:
        with runner.context():
            shared = _fill(topup, request)
    except Exception as error:
        log.error("top-up failed: %s", sentence(error), extra={"action": "topup_failed", "run_id": run_id})
    finally:
        if not shared:
            try:  # if it was not closed on the way, and the database lets us
                with runner.context():
                    _end(runner, run_id, RunStatus.INTERRUPTED)
            except Exception as error:
                log.debug("run not closed: %s", sentence(error))


def _fill(topup: TopUp, request: TopUpRequest) -> bool:
    """Fill, or let the workers of a queue do it; return whether they may go on with it."""
    runner, patient = topup.runner, topup.executor.budget.chunks is None
    stopping = topup.executor.stopping
    lease = runner.wait_for_lease(stopping) if patient else runner.acquire()
    if lease is None:
        if not stopping.is_set():
            text = "another top-up was under way and did not end in time"
            _end(runner, request.run_id or 0, RunStatus.FAILED, text)
        return False
    table = table_of(runner.models.Run)
    with runner.transaction() as work:
        begun = {"status": RunStatus.RUNNING.value, "token": lease.token, "owner": lease.owner}
        mine = (table.c.id == request.run_id, table.c.status == RunStatus.QUEUED.value)
        work.session.execute(update(table).where(*mine).values(**begun, lease_name=runner.settings.name))
    if topup.executor.is_queue:
        Distributor(topup).share(lease, request, helps=False)
        return True
    runner.run(lease, request, stopping.is_set)
    return False


def _end(runner: Runner, run_id: int, status: RunStatus, error: str | None = None) -> None:
    with runner.transaction() as work:
        _close(work, run_id, status, error)


def _close(work: Work, run_id: int, status: RunStatus, error: str | None = None) -> None:
    table = table_of(work.models.Run)
    closed = update(table).where(table.c.id == run_id, table.c.status.in_(_OPEN))
    work.session.execute(closed.values(status=status.value, error=error, finished_at=work.now))
