"""The working papers of a run that several workers share: cut, claim, fill, count. Nothing here commits.

Every transaction of a worker takes its locks in one order: lease, shard, run. Renewing the lease comes first where
somebody decides (so claims and ends stand in a queue), and last where slots are written: the lease is then locked for
the moment of the commit only, and workers do not wait for each other. A worker whose lease or claim was taken over
changes no row, and its transaction is rolled back.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, delete, func, insert, or_, select, update

from flask_rollingslots.errors import LeaseLost
from flask_rollingslots.gate import to_ms
from flask_rollingslots.loading import load_specs
from flask_rollingslots.models import table_of
from flask_rollingslots.settings import MAX_DAYS
from flask_rollingslots.values import RunStatus, ShardStatus

from .record import COUNTS, Recorder
from .request import FillRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement, Insert
    from sqlalchemy.orm import Session

    from flask_rollingslots.context import Work
    from flask_rollingslots.gate import Lease
    from flask_rollingslots.models import Models
    from flask_rollingslots.settings import Settings
    from flask_rollingslots.values import Report, TemplateSpec

    from .messages import Job

#: A shard that was begun so often and never ended is given up: something in it ends its workers.
MAX_ATTEMPTS = 5
_ROWS_AT_ONCE = 500
_WEEK = 7
_PREFERRED, _EDITED = 1, 2
_OPEN = (ShardStatus.QUEUED.value, ShardStatus.RUNNING.value)
#: Progress of a run with more shards is estimated at every so manieth end of one.
_ESTIMATES = 500


class RunEnded(LeaseLost):
    """The run of this message is over: another worker ended it, or another top-up took over."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A shard that a worker has taken.

    :param mark: written into the row: whoever comes later writes another one.
    :param attempts: how often it was begun and not put back in good order, this time included.
    :param begun: somebody filled a part of it before, or may have.
    """

    id: int
    mark: str
    first_id: int
    last_id: int
    template_id: int | None
    attempts: int
    begun: bool

    def request(self, job: Job) -> FillRequest:
        """Return what to fill."""
        if self.template_id is not None:
            return FillRequest("edit", template_id=self.template_id)
        return job.request

    def specs(
        self, work: Work, job: Job, unreadable: Callable[[int, str, Exception], None]
    ) -> list[TemplateSpec]:
        """Return the active templates of this shard; ``unreadable`` is told of others, as in ``load_specs``."""
        if self.template_id is not None:
            return self.request(job).specs(work, unreadable)
        mine = work.models.Template.id.between(self.first_id, self.last_id)
        conditions = _asked_for(work.models, job.request)
        return load_specs(work, mine, *conditions, unreadable=unreadable)


def _asked_for(models: Models, request: FillRequest) -> list[ColumnElement[bool]]:
    cls = models.Template
    found: list[ColumnElement[bool]] = [cls.active.is_(True)]
    if request.template_id is not None:
        series = select(cls.series_id).where(cls.id == request.template_id).scalar_subquery()
        found.append(cls.series_id == series)
    if request.group is not None:
        found.append(cls.group == request.group)
    return found


# -- cutting ---------------------------------------------------------------------------------------------------


def cut(
    session: Session, models: Models, request: FillRequest, now: datetime, settings: Settings
) -> list[tuple[int, int]]:
    """Return the shards of a request: the first and the last template id of each; one query.

    The size is that of the setting for a window of a week; for a longer one there are fewer templates in a shard.
    """
    days = request.days or settings.window_days
    if request.end is not None or request.start is not None:
        span = (request.end or now) - (request.start or now)
        days = max(days, min(abs(span.days) + 1, MAX_DAYS))
    size = max(1, settings.shard_size * _WEEK // max(_WEEK, days))
    cls = models.Template
    place = func.row_number().over(order_by=cls.id) - 1
    numbered = select(cls.id, place.label("place")).where(*_asked_for(models, request)).subquery()
    first_and_last = or_(numbered.c.place % size == 0, numbered.c.place % size == size - 1)
    query = select(numbered.c.id, numbered.c.place).where(first_and_last).order_by(numbered.c.id)
    ids: list[tuple[int, int]] = []
    for template_id, number in session.execute(query):
        if number % size == 0:
            ids.append((template_id, template_id))
        if number % size == size - 1:
            ids[-1] = (ids[-1][0], template_id)
    if ids:  # the last shard may not be full
        latest = select(func.max(cls.id)).where(*_asked_for(models, request))
        ids[-1] = (ids[-1][0], max(session.scalar(latest) or 0, ids[-1][1]))
    return ids


def clear(session: Session, models: Models) -> None:
    """Forget the shards of runs that are over; the lease of a new one is already held."""
    table = table_of(models.Shard)
    under_way = select(models.Run.id).where(models.Run.status == RunStatus.RUNNING.value)
    session.execute(delete(table).where(table.c.run_id.not_in(under_way)))


def insertion(models: Models) -> Insert:
    """Return the statement that writes shards."""
    return insert(table_of(models.Shard))


def rows_of(run_id: int, token: int, ids: list[tuple[int, int]]) -> Iterator[list[dict[str, Any]]]:
    """Return the rows of a run's shards, so many at a time that a transaction stays short."""
    rows = [
        {"run_id": run_id, "token": token, "first_id": first, "last_id": last, "template_id": None}
        | {"status": ShardStatus.QUEUED.value, "results": {}}
        for first, last in ids
    ]
    for position in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[position : position + _ROWS_AT_ONCE]


def current_run(session: Session, models: Models, name: str) -> tuple[int, int] | None:
    """Return run and token of the shared run under way, if there is one."""
    shard, lease, run = models.Shard, models.Lease, models.Run
    query = (
        select(shard.run_id, shard.token)
        .join(lease, and_(lease.name == name, lease.token == shard.token))
        .join(run, and_(run.id == shard.run_id, run.status == RunStatus.RUNNING.value))
        .limit(1)
    )
    row = session.execute(query).one_or_none()
    return (row[0], row[1]) if row is not None else None


def prefer(session: Session, models: Models, run_id: int, template_id: int) -> None:
    """Let the shard of a template that somebody looks at be the next one."""
    table = table_of(models.Shard)
    covers = (table.c.first_id <= template_id, table.c.last_id >= template_id)
    waiting = (table.c.run_id == run_id, table.c.status == ShardStatus.QUEUED.value)
    session.execute(
        update(table).where(*waiting, *covers, table.c.priority < _PREFERRED).values(priority=_PREFERRED)
    )


def add(session: Session, models: Models, run_id: int, token: int, template_id: int) -> None:
    """Let a template that was edited while the run is under way be filled by that run, next."""
    table = table_of(models.Shard)
    again = {"status": ShardStatus.QUEUED.value, "priority": _EDITED, "claim": None, "until_ms": 0}
    mine = (table.c.run_id == run_id, table.c.template_id == template_id)
    if session.execute(update(table).where(*mine).values(**again)).rowcount:  # type: ignore[attr-defined]
        return
    values = {"run_id": run_id, "token": token, "first_id": template_id, "last_id": template_id}
    session.execute(insert(table).values(**values, template_id=template_id, results={}, **again))


# -- claiming --------------------------------------------------------------------------------------------------


def check_running(session: Session, models: Models, run_id: int) -> None:
    """Refuse to go on with a run that is over; its lease may be free, but has its token still.

    :raises RunEnded: if it is.
    """
    if session.scalar(select(models.Run.status).where(models.Run.id == run_id)) != RunStatus.RUNNING.value:
        raise RunEnded


def claim(
    session: Session, models: Models, job: Job, now: datetime, settings: Settings
) -> Claim | float | None:
    """Take the next shard; else return in how many seconds one may be taken over, or ``None``: all are done.

    The caller has renewed the lease in this transaction, so claims come one after the other.
    """
    table, moment = table_of(models.Shard), to_ms(now)
    ours = table.c.run_id == job.run_id
    running, span = table.c.status == ShardStatus.RUNNING.value, settings.lease_seconds * 1000
    # An expiry further ahead than twice the lease was written by a clock that jumped.
    live = and_(running, table.c.until_ms > moment, table.c.until_ms <= moment + 2 * span)
    _give_up(session, models, and_(ours, running, ~live))
    count, first_end = session.execute(
        select(func.count(), func.min(table.c.until_ms)).where(ours, live)
    ).one()
    free = and_(ours, or_(table.c.status == ShardStatus.QUEUED.value, and_(running, ~live)))
    names = ("id", "first_id", "last_id", "template_id", "attempts", "done")
    columns = [table.c[name] for name in names]
    order = (table.c.priority.desc(), table.c.id)
    row = None
    if count < settings.shards_at_once:
        row = session.execute(select(*columns).where(free).order_by(*order).limit(1)).one_or_none()
    if row is None:
        return (first_end - moment) / 1000 if count else None
    mark = secrets.token_hex(8)
    session.execute(
        update(table)
        .where(table.c.id == row.id)
        .values(
            status=ShardStatus.RUNNING.value,
            claim=mark,
            attempts=row.attempts + 1,
            until_ms=moment + span,
        )
    )
    begun = row.attempts > 0 or row.done > 0
    return Claim(row.id, mark, row.first_id, row.last_id, row.template_id, row.attempts + 1, begun)


def _give_up(session: Session, models: Models, abandoned: ColumnElement[bool]) -> None:
    table = table_of(models.Shard)
    hopeless = and_(abandoned, table.c.attempts >= MAX_ATTEMPTS)
    text = f"begun {MAX_ATTEMPTS} times and never ended: does something in it end the workers?"
    failed = {"status": ShardStatus.FAILED.value, "results": {"errors": [text]}}
    session.execute(update(table).where(hopeless).values(**failed))


def unclaim(session: Session, models: Models, claim: Claim, error: str | None = None) -> None:
    """Put a shard back that was not ended: in good order, or after an error, for which it has a few attempts only."""
    table = table_of(models.Shard)
    back: dict[str, Any] = {"status": ShardStatus.QUEUED.value, "claim": None, "until_ms": 0}
    if error is None:
        back["attempts"] = 0
    elif claim.attempts >= MAX_ATTEMPTS:
        back |= {"status": ShardStatus.FAILED.value, "results": {"errors": [error]}}
    mine = (table.c.id == claim.id, table.c.claim == claim.mark)
    session.execute(update(table).where(*mine).values(**back))


# -- filling ---------------------------------------------------------------------------------------------------


class NoFence:
    """Stands for the lease at the beginning of a chunk; ``ShardRecorder.advance`` renews it at the end."""

    owner, token = None, None

    def renew(self, session: Session, now: datetime) -> None:
        """Do nothing yet."""


@dataclass
class ShardRecorder(Recorder):
    """Moves shard and run on with each chunk, and is the fence: chunk, progress and lease are one transaction."""

    job: Job = field(kw_only=True)
    claim: Claim = field(kw_only=True)
    shared: Lease = field(kw_only=True)
    clock: Callable[[], datetime] = field(kw_only=True)

    def start(self) -> None:
        """The row is there."""
        self.run_id = self.job.run_id

    def advance(self, rows: int, created: int) -> None:
        """Renew lease and claim, and move the progress on.

        :raises LeaseLost: if one of them was taken over.
        """
        now = self.clock()
        self.shared.renew(self.session, now)
        table, run = table_of(self.models.Shard), table_of(self.models.Run)
        mine = (table.c.id == self.claim.id, table.c.claim == self.claim.mark)
        until = to_ms(now) + self.shared.seconds * 1000
        moved = update(table).where(*mine).values(done=table.c.done + rows, until_ms=until)
        if self.session.execute(moved).rowcount != 1:  # type: ignore[attr-defined]
            raise LeaseLost(token=self.job.token)
        added = run.c.done + rows
        total = case((run.c.total < added, added), else_=run.c.total)
        self.session.execute(
            update(run)
            .where(run.c.id == self.job.run_id)
            .values(done=added, created=run.c.created + created, total=total)
        )
        self.done += rows


def created_before(session: Session, models: Models, job: Job, specs: list[TemplateSpec]) -> dict[int, int]:
    """Return how many slots earlier attempts at a shard created, by template: the rows themselves tell."""
    cls = models.Slot
    ids = [spec.id for spec in specs]
    query = (
        select(cls.template_id, func.count())
        .where(cls.template_id.in_(ids), cls.run_id == job.run_id)
        .group_by(cls.template_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}


# -- ending ----------------------------------------------------------------------------------------------------


def end(
    session: Session, models: Models, job: Job, claim: Claim, report: Report, results: dict[str, Any]
) -> bool:
    """Write down what came of a shard, once; return whether it was still ours.

    The caller has renewed the lease in this transaction.
    """
    table, run = table_of(models.Shard), table_of(models.Run)
    mine = (table.c.id == claim.id, table.c.claim == claim.mark)
    done = {"status": ShardStatus.DONE.value, "claim": None, "results": results}
    if session.execute(update(table).where(*mine).values(**done)).rowcount != 1:  # type: ignore[attr-defined]
        return False
    sums = {name: run.c[name] + getattr(report, name) for name in COUNTS}
    sums |= _estimate(session, models, job, claim)
    session.execute(update(run).where(run.c.id == job.run_id).values(**sums))
    return True


def _estimate(session: Session, models: Models, job: Job, claim: Claim) -> dict[str, Any]:
    """Return the total that the shards done so far let expect."""
    if claim.id % max(1, job.shards // _ESTIMATES):
        return {}
    table, run = table_of(models.Shard), table_of(models.Run)
    ended = func.sum(case((table.c.status.in_(_OPEN), 0), else_=1))
    written = func.sum(case((table.c.status.in_(_OPEN), 0), else_=table.c.done))
    query = select(func.count(), ended, written).where(table.c.run_id == job.run_id)
    shards, count, rows = session.execute(query).one()
    expected = round(int(rows) * shards / max(1, int(count)))
    return {"total": case((run.c.done > expected, run.c.done), else_=expected)}


def show(session: Session, models: Models, run_id: int, results: dict[str, Any]) -> None:
    """Let the run row tell what came of it so far."""
    run = table_of(models.Run)
    session.execute(update(run).where(run.c.id == run_id).values(results=results))


def times(session: Session, models: Models, run_id: int) -> tuple[datetime, int]:
    """Return when a run began, and how many slots it wrote."""
    cls = models.Run
    row = session.execute(select(cls.started_at, cls.done).where(cls.id == run_id)).one()
    return row.started_at, row.done


def are_done(session: Session, models: Models, job: Job) -> bool:
    """Return whether all shards of a run are ended.

    :raises RunEnded: if some are gone: then nobody can say so.
    """
    cls = models.Shard
    still_open = func.sum(case((cls.status.in_(_OPEN), 1), else_=0))
    count, left = session.execute(select(func.count(), still_open).where(cls.run_id == job.run_id)).one()
    if count < job.shards:
        raise RunEnded(f"run {job.run_id}: {job.shards - count} of its shards are gone")
    return not left


def results_of(session: Session, models: Models, run_id: int) -> Iterator[dict[str, Any]]:
    """Return what came of each shard that ended, by id, a few at a time."""
    cls, last = models.Shard, 0
    while True:
        query = select(cls.id, cls.results).where(
            cls.run_id == run_id, cls.status.not_in(_OPEN), cls.id > last
        )
        rows = session.execute(query.order_by(cls.id).limit(50)).all()
        for last, results in rows:  # noqa: B007 (goes on behind it)
            yield results
        if not rows:
            return


def limit(recorder: ShardRecorder, rows: int, seconds: float) -> Callable[[], bool]:
    """Return a function that says when a worker has to leave the rest of its shard to another turn."""
    end = monotonic() + seconds
    return lambda: recorder.done >= rows or monotonic() >= end
