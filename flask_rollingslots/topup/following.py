"""Starting a shared run by hand, and waiting for its result."""

from __future__ import annotations

from threading import Event
from time import monotonic
from typing import TYPE_CHECKING

from flask_rollingslots.errors import QueueUnavailable, TopUpBusy
from flask_rollingslots.values import RunStatus

from .gathering import gather
from .run import Interrupted

if TYPE_CHECKING:
    from flask_rollingslots.values import Report

    from .job import TopUp
    from .request import FillRequest, Progress
    from .runner import Runner

#: So often who follows a run looks at its row.
_LOOK_SECONDS = 0.2


def generate_here(topup: TopUp, request: FillRequest, stopping: Event | None = None) -> Report:
    """Fill in this process; raises what ``Runner.generate`` raises."""
    return topup.runner.generate(request, stopping)


def generate_distributed(topup: TopUp, request: FillRequest, stopping: Event | None = None) -> Report:
    """Let the workers of the queue fill, and follow them; raises what ``begin`` and ``follow`` raise."""
    return follow(topup.runner, topup.distributor.begin(request), request.progress, stopping)


def follow(
    runner: Runner, run_id: int, progress: Progress | None = None, stopping: Event | None = None
) -> Report:
    """Wait for a shared run, and return its result.

    :param progress: called with (done, total) slots, as the run row tells them.
    :param stopping: set when to stop waiting; the workers go on.
    :raises Interrupted: if it stopped waiting.
    :raises QueueUnavailable: if no worker was seen for twice the lease time.
    :raises TopUpBusy: if another top-up took over.
    """
    renewed, seen_at, stopping = 0, monotonic(), stopping or Event()
    while True:
        with runner.context():
            state = runner.read_state()
            run = runner.session().get(runner.models.Run, run_id)
            if run is None:
                raise TopUpBusy(f"run {run_id} was forgotten meanwhile")
            if progress is not None and run.total:
                progress(run.done, run.total)
            if run.status != RunStatus.RUNNING:
                return _result(runner, run_id)
        if state.until_ms != renewed:
            renewed, seen_at = state.until_ms, monotonic()
        elif monotonic() > seen_at + 2 * runner.settings.lease_seconds:
            raise QueueUnavailable(
                f"run {run_id}: no worker was seen for twice the lease time; is one running?", run_id=run_id
            )
        if stopping.wait(_LOOK_SECONDS):
            raise Interrupted


def _result(runner: Runner, run_id: int) -> Report:
    session = runner.session()
    run = session.get(runner.models.Run, run_id)
    if run is None or run.status == RunStatus.INTERRUPTED:
        raise TopUpBusy(f"run {run_id} was interrupted; what is missing comes with the next top-up")
    report = gather(session, runner.models, run_id).report
    report.run_id, report.seconds = run_id, run.seconds or 0.0
    report.opened, report.closed = run.opened, run.closed
    return report
