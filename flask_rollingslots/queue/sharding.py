"""The working papers of a run that several workers share: messages, and shards. Nothing here commits.

Every transaction of a worker takes its locks in one order: lease, shard, run. Renewing the lease comes first where
somebody decides (so claims and ends stand in a queue), and last where slots are written: the lease is then locked for
the moment of the commit only, and workers do not wait for each other. A worker whose lease or claim was taken over
changes no row, and its transaction is rolled back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from itertools import islice
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Table, and_, case, delete, func, insert, or_, select, update

from ..context import Work
from ..errors import LeaseLost
from ..models import table_of
from ..settings import MAX_DAYS
from ..topup import TopUpRequest
from ..topup.gate import Lease, Target, to_ms
from ..topup.run import Outcome, Recorder, results_of
from ..values import COUNTS, TALLIED, Report, RunStatus, ShardStatus, Tally, Window

#: A shard that was begun so often and never ended is given up: something in it ends its workers.
MAX_ATTEMPTS = 5
_ROWS_AT_ONCE = 500
_WEEK = 7
_PREFERRED, _EDITED = 1, 2
_OPEN = (ShardStatus.QUEUED.value, ShardStatus.RUNNING.value)
#: Progress of a run with more shards is estimated as often as this while it works.
_ESTIMATES = 500
#: So many templates a report of a shared run names at most; the shards keep all of the last run.
_MOST_TEMPLATES = 10_000


# -- messages: plain data for JSON ------------------------------------------------------------------------------

#: What workers need to know of a request, and how it is read from JSON.
_PLAIN = ("trigger", "days", "template_id", "group")
_READERS: dict[str, Callable[[str], Any]] = dict.fromkeys(("start", "end"), datetime.fromisoformat)
_READERS |= dict.fromkeys(("first_day", "end_day"), date.fromisoformat)


@dataclass(frozen=True, slots=True)
class Job:
    """A shared run, as each worker is told of it.

    :param token: of the lease that all its workers hold together.
    :param fingerprint: of the templates when the run began.
    :param paced: after a long pause: rest as long as was worked.
    """

    run_id: int
    token: int
    fingerprint: str
    shards: int
    paced: bool
    request: TopUpRequest

    @property
    def lease(self) -> Lease:
        """The lease that the run's workers share."""
        return Lease("", self.token)


#: Its plain parts.
_OF_JOB = tuple(each.name for each in fields(Job) if each.name != "request")


def look(target: Target, trigger: str, tries: int = 0) -> dict[str, Any]:
    """Return the message that asks a worker to look at one template, or at everything."""
    return {"do": "look", "target": target, "trigger": trigger, "tries": tries}


def fill(job: Job) -> dict[str, Any]:
    """Return the message that lets a worker take part in a run."""
    wanted = {name: getattr(job.request, name) for name in (*_PLAIN, *_READERS)}
    wanted |= {name: wanted[name] and wanted[name].isoformat() for name in _READERS}
    wanted |= {"full": True} if job.request.full else {}
    return {"do": "fill", **{name: getattr(job, name) for name in _OF_JOB}, "request": wanted}


def job_of(message: dict[str, Any]) -> Job:
    """Read the message of ``fill``."""
    wanted = message["request"]
    dates = {name: wanted[name] and read(wanted[name]) for name, read in _READERS.items()}
    return Job(**{name: message[name] for name in _OF_JOB}, request=TopUpRequest(**{**wanted, **dates}))


# -- shards ------------------------------------------------------------------------------------------------------


class RunEnded(LeaseLost):
    """The run of this message is over: another worker ended it, or another top-up took over."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A shard that a worker has taken.

    :param ticket: written into the row: whoever comes later writes another one.
    :param attempts: how often it was begun and not put back in good order, this time included.
    :param begun: somebody filled a part of it before, or may have.
    """

    id: int
    ticket: str
    first_id: int
    last_id: int
    template_id: int | None
    attempts: int
    begun: bool

    def request(self, job: Job) -> TopUpRequest:
        """Return what to fill."""
        edited = self.template_id
        return job.request if edited is None else TopUpRequest("edit", template_id=edited)

    def asked_for(self, work: Work, job: Job) -> list[ColumnElement[bool]]:
        """Return, in SQL, which templates this shard is about, active or not."""
        if self.template_id is not None:
            return self.request(job).asked_for(work)
        mine = work.models.Template.id.between(self.first_id, self.last_id)
        return [mine, *job.request.asked_for(work)]

    def is_ours(self, table: Table) -> ColumnElement[bool]:
        """Return, in SQL, that nobody took the shard over."""
        return and_(table.c.id == self.id, table.c.claim == self.ticket)


def cut(work: Work, request: TopUpRequest) -> list[tuple[int, int]]:
    """Return the shards of a request: the first and the last template id of each; one query.

    The size is that of the setting for a window of a week; for a longer one there are fewer templates in a shard.
    """
    days = request.days or work.settings.window_days
    if request.end is not None or request.start is not None:
        span = (request.end or work.now) - (request.start or work.now)
        days = max(days, min(abs(span.days) + 1, MAX_DAYS))
    size = max(1, work.settings.shard_size * _WEEK // max(_WEEK, days))
    cls = work.models.Template
    asked = (cls.active.is_(True), *request.asked_for(work))
    place = func.row_number().over(order_by=cls.id) - 1
    numbered = select(cls.id, place.label("place")).where(*asked).subquery()
    first_and_last = or_(numbered.c.place % size == 0, numbered.c.place % size == size - 1)
    query = select(numbered.c.id, numbered.c.place).where(first_and_last).order_by(numbered.c.id)
    ids: list[tuple[int, int]] = []
    for template_id, number in work.session.execute(query):
        if number % size == 0:
            ids.append((template_id, template_id))
        if number % size == size - 1:
            ids[-1] = (ids[-1][0], template_id)
    if ids:  # the last shard may not be full
        latest = select(func.max(cls.id)).where(*asked)
        ids[-1] = (ids[-1][0], max(work.session.scalar(latest) or 0, ids[-1][1]))
    return ids


def clear(work: Work) -> None:
    """Forget the shards of runs that are over; the lease of a new one is already held."""
    table, runs = table_of(work.models.Shard), work.models.Run
    under_way = select(runs.id).where(runs.status == RunStatus.RUNNING.value)
    work.session.execute(delete(table).where(table.c.run_id.not_in(under_way)))


def write(work: Work, rows: list[dict[str, Any]]) -> None:
    """Write some shards."""
    work.session.execute(insert(table_of(work.models.Shard)), rows)


def rows_of(job: Job, ids: list[tuple[int, int]]) -> Iterator[list[dict[str, Any]]]:
    """Return the rows of a run's shards, so many at a time that a transaction stays short."""
    common: dict[str, Any] = {"run_id": job.run_id, "token": job.token, "template_id": None}
    common |= {"status": ShardStatus.QUEUED.value, "results": {}}
    rows = ({**common, "first_id": first, "last_id": last} for first, last in ids)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield some


def current_run(work: Work) -> tuple[int, int] | None:
    """Return run and token of the shared run under way, if there is one."""
    shard, lease, run = work.models.Shard, work.models.Lease, work.models.Run
    query = select(shard.run_id, shard.token)
    query = query.join(lease, and_(lease.name == work.settings.name, lease.token == shard.token))
    query = query.join(run, and_(run.id == shard.run_id, run.status == RunStatus.RUNNING.value))
    row = work.session.execute(query.limit(1)).one_or_none()
    return (row[0], row[1]) if row is not None else None


def prefer(work: Work, run_id: int, template_id: int) -> None:
    """Let the shard of a template that somebody looks at be the next one."""
    table = table_of(work.models.Shard)
    covers = (table.c.first_id <= template_id, table.c.last_id >= template_id)
    waiting = (table.c.run_id == run_id, table.c.status == ShardStatus.QUEUED.value)
    not_yet = table.c.priority < _PREFERRED
    work.session.execute(update(table).where(*waiting, *covers, not_yet).values(priority=_PREFERRED))


def add(work: Work, run_id: int, token: int, template_id: int) -> None:
    """Let a template that was edited while the run is under way be filled by that run, next."""
    table = table_of(work.models.Shard)
    again = {"status": ShardStatus.QUEUED.value, "priority": _EDITED, "claim": None, "until_ms": 0}
    mine = (table.c.run_id == run_id, table.c.template_id == template_id)
    if not work.session.execute(update(table).where(*mine).values(**again)).rowcount:  # type: ignore[attr-defined]
        values = {"run_id": run_id, "token": token, "first_id": template_id, "last_id": template_id}
        work.session.execute(insert(table).values(**values, template_id=template_id, results={}, **again))


def check_running(work: Work, run_id: int) -> None:
    """Refuse to go on with a run that is over (``RunEnded``); its lease may be free, but has its token still."""
    runs = work.models.Run
    if work.session.scalar(select(runs.status).where(runs.id == run_id)) != RunStatus.RUNNING.value:
        raise RunEnded


def claim(work: Work, job: Job) -> Claim | float | None:
    """Take the next shard; else return in how many seconds one may be taken over, or ``None``: all are done.

    The caller has renewed the lease in this transaction, so claims come one after the other.
    """
    table, moment, session = table_of(work.models.Shard), to_ms(work.now), work.session
    ours, span = table.c.run_id == job.run_id, work.settings.lease_seconds * 1000
    running = table.c.status == ShardStatus.RUNNING.value
    # An expiry further ahead than twice the lease was written by a clock that jumped.
    live = and_(running, table.c.until_ms > moment, table.c.until_ms <= moment + 2 * span)
    text = f"begun {MAX_ATTEMPTS} times and never ended: does something in it end the workers?"
    failed = {"status": ShardStatus.FAILED.value, "results": {"errors": [text]}}
    hopeless = (ours, running, ~live, table.c.attempts >= MAX_ATTEMPTS)
    session.execute(update(table).where(*hopeless).values(**failed))
    busy = select(func.count(), func.min(table.c.until_ms)).where(ours, live)
    count, first_end = session.execute(busy).one()
    free = (ours, or_(table.c.status == ShardStatus.QUEUED.value, and_(running, ~live)))
    row = None
    if count < work.settings.shards_at_once:
        names = ("id", "first_id", "last_id", "template_id", "attempts", "done")
        next_one = select(*(table.c[name] for name in names)).where(*free)
        row = session.execute(next_one.order_by(table.c.priority.desc(), table.c.id).limit(1)).one_or_none()
    if row is None:
        return (first_end - moment) / 1000 if count else None
    ticket, attempts, begun = secrets.token_hex(8), row.attempts + 1, row.attempts > 0 or row.done > 0
    taken = {
        "status": ShardStatus.RUNNING.value,
        "claim": ticket,
        "attempts": attempts,
        "until_ms": moment + span,
    }
    session.execute(update(table).where(table.c.id == row.id).values(**taken))
    return Claim(row.id, ticket, row.first_id, row.last_id, row.template_id, attempts, begun)


def unclaim(work: Work, claim: Claim, error: str | None = None) -> None:
    """Put a shard back that was not ended: in good order, or after an error, for which it has a few attempts only."""
    table = table_of(work.models.Shard)
    back: dict[str, Any] = {"status": ShardStatus.QUEUED.value, "claim": None, "until_ms": 0}
    if error is None:
        back["attempts"] = 0
    elif claim.attempts >= MAX_ATTEMPTS:
        back |= {"status": ShardStatus.FAILED.value, "results": {"errors": [error]}}
    work.session.execute(update(table).where(claim.is_ours(table)).values(**back))


@dataclass
class ShardRecorder(Recorder):
    """Moves shard and run on with each chunk, and is the fence: chunk, progress and lease are one transaction."""

    job: Job = field(kw_only=True)
    claim: Claim = field(kw_only=True)
    clock: Callable[[], datetime] = field(kw_only=True)

    def start(self) -> None:
        self.run_id = self.job.run_id  # the row is there

    def advance(self, rows: int, created: int) -> None:
        """Renew lease and claim, and move the progress on; ``LeaseLost`` if one of them was taken over."""
        work = replace(self.work, now=self.clock())
        self.job.lease.renew(work)
        table, run = table_of(work.models.Shard), table_of(work.models.Run)
        until = to_ms(work.now) + work.settings.lease_seconds * 1000
        moved = update(table).where(self.claim.is_ours(table))
        moved = moved.values(done=table.c.done + rows, until_ms=until)
        if work.session.execute(moved).rowcount != 1:  # type: ignore[attr-defined]
            raise LeaseLost(token=self.job.token)
        added = run.c.done + rows
        total = case((run.c.total < added, added), else_=run.c.total)
        progress = {"done": added, "created": run.c.created + created, "total": total}
        work.session.execute(update(run).where(run.c.id == self.job.run_id).values(**progress))
        self.done += rows

    def limit(self, rows: int, seconds: float) -> Callable[[], bool]:
        """Return a function that says when a worker has to leave the rest of its shard to another turn."""
        end = monotonic() + seconds
        return lambda: self.done >= rows or monotonic() >= end


def created_before(work: Work, job: Job, asked: Sequence[ColumnElement[bool]]) -> dict[int, int]:
    """Return how many slots earlier attempts at a shard created, by template: the rows themselves tell.

    :param asked: the templates of the shard, in SQL.
    """
    cls, template = work.models.Slot, work.models.Template
    query = select(cls.template_id, func.count()).join(template, template.id == cls.template_id)
    query = query.where(cls.run_id == job.run_id, *asked).group_by(cls.template_id)
    return {row[0]: row[1] for row in work.session.execute(query)}


def end(work: Work, job: Job, claim: Claim, outcome: Outcome) -> bool:
    """Write down what came of a shard, once, under the renewed lease; return whether it was still ours."""
    table, run, report = table_of(work.models.Shard), table_of(work.models.Run), outcome.report
    counts = {name: getattr(report, name) for name in COUNTS}
    window = report.window and [report.window.start.isoformat(), report.window.end.isoformat()]
    results = {**counts, "skipped": report.skipped, "errors": outcome.errors, "busy": outcome.busy}
    results |= {"window": window, **results_of(report)}
    done = {"status": ShardStatus.DONE.value, "claim": None, "results": results}
    ended = update(table).where(claim.is_ours(table)).values(**done)
    if work.session.execute(ended).rowcount != 1:  # type: ignore[attr-defined]
        return False
    sums = {name: run.c[name] + number for name, number in counts.items()} | _estimate(work, job, claim)
    work.session.execute(update(run).where(run.c.id == job.run_id).values(**sums))
    return True


def _estimate(work: Work, job: Job, claim: Claim) -> dict[str, Any]:
    """Return the total that the shards done so far let expect."""
    if claim.id % max(1, job.shards // _ESTIMATES):
        return {}
    table, run = table_of(work.models.Shard), table_of(work.models.Run)
    ended = func.sum(case((table.c.status.in_(_OPEN), 0), else_=1))
    written = func.sum(case((table.c.status.in_(_OPEN), 0), else_=table.c.done))
    query = select(func.count(), ended, written).where(table.c.run_id == job.run_id)
    shards, count, rows = work.session.execute(query).one()
    expected = round(int(rows) * shards / max(1, int(count)))
    return {"total": case((run.c.done > expected, run.c.done), else_=expected)}


def show(work: Work, run_id: int) -> None:
    """Let the run row tell what came of it so far."""
    run, results = table_of(work.models.Run), results_of(gather(work, run_id).report)
    work.session.execute(update(run).where(run.c.id == run_id).values(results=results))


def are_done(work: Work, job: Job) -> bool:
    """Return whether all shards of a run are ended; ``RunEnded`` if some are gone, for then nobody can say so."""
    cls = work.models.Shard
    still_open = func.sum(case((cls.status.in_(_OPEN), 1), else_=0))
    query = select(func.count(), still_open).where(cls.run_id == job.run_id)
    count, left = work.session.execute(query).one()
    if count < job.shards:
        raise RunEnded(f"run {job.run_id}: {job.shards - count} of its shards are gone")
    return not left


def gather(work: Work, run_id: int) -> Outcome:
    """Sum up the shards of a run that ended so far: its result, or its progress."""
    found = Outcome(Report(), [], False)
    report = found.report
    for results in _results(work, run_id):
        found.errors += results.get("errors", [])
        found.busy |= results.get("busy", False)
        for name in COUNTS:
            setattr(report, name, getattr(report, name) + results.get(name, 0))
        for reason, number in results.get("skipped", {}).items():
            report.skipped[reason] = report.skipped.get(reason, 0) + number
        for group, counts in results.get("groups", {}).items():
            _add(report.groups.setdefault(group, Tally(group)), counts)
        for key, counts in results.get("templates", {}).items():
            if int(key) in report.templates or len(report.templates) < _MOST_TEMPLATES:
                _add(report.templates.setdefault(int(key), Tally(counts["name"])), counts)
        if results.get("window"):
            start, end = (datetime.fromisoformat(text) for text in results["window"])
            seen = report.window or Window(start, end)
            report.window = Window(min(seen.start, start), max(seen.end, end))
    return found


def _results(work: Work, run_id: int) -> Iterator[dict[str, Any]]:
    """Return what came of each shard that ended, by id, a few at a time."""
    cls, last = work.models.Shard, 0
    query = select(cls.id, cls.results).where(cls.run_id == run_id, cls.status.not_in(_OPEN))
    while rows := work.session.execute(query.where(cls.id > last).order_by(cls.id).limit(50)).all():
        yield from (results for _, results in rows)
        last = rows[-1].id


def _add(tally: Tally, counts: dict[str, Any]) -> None:
    for name in TALLIED:
        setattr(tally, name, getattr(tally, name) + counts.get(name, 0))
    tally.error = counts.get("error") or tally.error


def zones_of(work: Work) -> set[str]:
    """Return the zones of all active templates that this machine knows; a template of another one has failed."""
    cls = work.models.Template
    found = set()
    for name in work.session.scalars(select(cls.timezone).where(cls.active.is_(True)).distinct()):
        with suppress(ValueError, OSError, LookupError):
            found.add(ZoneInfo(name).key)
    return found
