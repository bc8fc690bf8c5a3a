"""Top-ups that somebody orders and does not wait for: one at a time, each with a run row from the first moment."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from flask_rollingslots import gate
from flask_rollingslots.errors import TopUpBusy
from flask_rollingslots.models import table_of
from flask_rollingslots.statements import dialect_of, exclusive, is_lost_race, own_transaction, sentence
from flask_rollingslots.values import RunStatus

from .record import asked

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from flask_rollingslots.models import RunMixin

    from .job import TopUp
    from .request import FillRequest
    from .runner import Runner

log = logging.getLogger("flask_rollingslots")

#: The trigger of an ordered run.
ORDERED = "api"
_OPEN = (RunStatus.QUEUED.value, RunStatus.RUNNING.value)
#: Beyond the time for which a run waits for the lease: what its process may need to begin.
_GRACE = timedelta(seconds=30)
_RACES = 10


def order(topup: TopUp, request: FillRequest, asked_at: datetime | None = None) -> int:
    """Start a top-up in the background, and return the id of its run, which shows how far it is.

    Without threads it is done at once, or after the response; where all sessions share one connection it joins the
    current session, which the caller commits.

    :param asked_at: when the request came in, aware: a run that ended after that was in its way.
    :raises InvalidRequest: if the request makes no sense.
    :raises TemplateNotFound: if it names no template.
    :raises TopUpBusy: if another ordered run is under way; ``run`` is its id.
    """
    runner = topup.runner
    request = replace(request, trigger=ORDERED, watched=True)
    request.check(runner.clock())
    if runner.joins:
        return runner.generate(request).run_id or 0
    with runner.context():
        runner.refuse_resurrection(request)
        request.specs(runner.work())  # refuse an unknown template before anything is written
        runner.session.rollback()
        run_id = _enter(runner, request, asked_at)
    if not topup.executor.submit(partial(_work, topup, replace(request, run_id=run_id))):
        with runner.context():
            _end(runner, run_id, RunStatus.INTERRUPTED, "the server is shutting down")
        raise TopUpBusy("the server is shutting down: try again", run=run_id)
    return run_id


def _enter(runner: Runner, request: FillRequest, asked_at: datetime | None) -> int:
    """Write the run row, unless another ordered run is under way."""
    session = runner.session()
    for tries_left in reversed(range(_RACES)):
        try:
            with own_transaction(session):
                gate.make_row(session, runner.models, runner.settings.name)
            with own_transaction(session):
                return _enter_locked(session, runner, request, asked_at)
        except Exception as error:
            if not is_lost_race(error):
                raise
            if not tries_left:
                raise TopUpBusy from error
    raise TopUpBusy


def _enter_locked(session: Session, runner: Runner, request: FillRequest, asked_at: datetime | None) -> int:
    models, now = runner.models, runner.clock()
    lease, table = table_of(models.Lease), table_of(models.Run)
    # The state row stands for the queue: whoever waited for it sees the run of the one before.
    state_row = select(lease.c.token).where(lease.c.name == runner.settings.name)
    session.execute(exclusive(state_row, dialect_of(session)))
    cls = models.Run
    last = session.scalars(select(cls).where(cls.trigger == ORDERED).order_by(cls.id.desc()).limit(1)).first()
    if last is not None and _is_in_the_way(session, runner, last, now, asked_at):
        raise TopUpBusy(
            f"run {last.id} is under way: look at it, or try again when it has ended", run=last.id
        )
    if last is not None and last.status in _OPEN:
        gone = (table.c.id == last.id, table.c.status.in_(_OPEN))
        session.execute(
            update(table).where(*gone).values(status=RunStatus.INTERRUPTED.value, finished_at=now)
        )
    row: dict[str, Any] = {
        "template_id": request.template_id,
        "trigger": ORDERED,
        "status": RunStatus.QUEUED.value,
        "owner": runner.owner,
        "started_at": now,
        "results": asked(request),
    }
    return int(session.execute(insert(table).values(**row)).inserted_primary_key[0])  # type: ignore[attr-defined]


def _is_in_the_way(
    session: Session, runner: Runner, run: RunMixin, now: datetime, asked_at: datetime | None
) -> bool:
    """Whether a run is under way, or was when the request came in; not if its process is gone."""
    if run.status not in _OPEN:
        return asked_at is not None and run.finished_at is not None and run.finished_at > asked_at
    if run.status == RunStatus.QUEUED:
        return now - run.started_at < timedelta(seconds=2 * runner.settings.lease_seconds) + _GRACE
    state = gate.read_state(session, runner.models, runner.settings.name)
    return state.token == run.token and state.until_ms > gate.to_ms(now)


def _work(topup: TopUp, request: FillRequest) -> None:
    """Wait for the lease, and fill. Never raises: what went wrong is in the run row and in the log."""
    runner, run_id, shared = topup.runner, request.run_id or 0, False
    try:
        with runner.context():
            shared = _fill(topup, request)
    except Exception as error:
        log.error("top-up failed: %s", sentence(error), extra={"action": "topup_failed", "run_id": run_id})
    finally:
        if not shared:
            _end_calmly(runner, run_id)


def _fill(topup: TopUp, request: FillRequest) -> bool:
    """Fill, or let the workers of a queue do it; return whether they may go on with it."""
    runner, patient = topup.runner, topup.executor.budget.chunks is None
    stopping = topup.executor.stopping
    lease = runner.wait_for_lease(stopping) if patient else runner.acquire()
    if lease is None:
        if not stopping.is_set():
            text = "another top-up was under way and did not end in time"
            _end(runner, request.run_id or 0, RunStatus.FAILED, text)
        return False
    table, session = table_of(runner.models.Run), runner.session()
    with own_transaction(session):
        begun = {"status": RunStatus.RUNNING.value, "token": lease.token, "owner": lease.owner}
        begun["lease_name"] = lease.name
        mine = (table.c.id == request.run_id, table.c.status == RunStatus.QUEUED.value)
        session.execute(update(table).where(*mine).values(**begun))
    if topup.executor.is_queue:
        topup.distributor.share(lease, request, helps=False)
        return True
    runner.run(lease, request, stopping.is_set)
    return False


def _end_calmly(runner: Runner, run_id: int) -> None:
    """Close a run that was not closed on the way, if the database lets us."""
    try:
        with runner.context():
            _end(runner, run_id, RunStatus.INTERRUPTED, None)
    except Exception as error:
        log.debug("run not closed: %s", sentence(error))


def _end(runner: Runner, run_id: int, status: RunStatus, error: str | None) -> None:
    table, session = table_of(runner.models.Run), runner.session()
    with own_transaction(session):
        values = {"status": status.value, "error": error, "finished_at": runner.clock()}
        session.execute(update(table).where(table.c.id == run_id, table.c.status.in_(_OPEN)).values(**values))
