"""Forgetting past slots that nobody booked, and old runs: in batches, each in a short transaction of its own.

It is done under the lease of the top-ups, so that none of them plans what is just being deleted.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, case, delete, func, literal, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from .context import Work, is_decided, pruned_until
from .errors import LeaseLost, TopUpBusy, refusal, sentence
from .models import Models, expired_places, table_of
from .settings import MAX_RETENTION_DAYS
from .statements import server_time
from .topup import Runner
from .topup.gate import Experience, Lease, from_ms, make_row, read_state
from .values import BookingStatus, PruneReport, RunStatus, SlotKey, Status

log = logging.getLogger("flask_rollingslots")

#: Gets each batch before it is deleted: a dict for each slot, its bookings in the list ``bookings``.
Archive = Callable[[list[dict[str, Any]]], object]
#: Start and id of a slot: where it comes in the order of pruning.
Position = tuple[datetime, int]

MAX_BATCH = 10_000
#: The log of runs is kept so long where nothing else is said.
RUN_DAYS = 90
_DAY = timedelta(days=1)
#: A moment (aware), and who says so.
_Known = tuple[datetime, str]
#: Zones, shifts and lengths of templates that are told apart; the slots of all others wait for the latest of all.
_KINDS = 200
#: What one top-up forgets at most: so many batches of this size.
_BATCHES, _BATCH = 3, 1000
#: A top-up does not look through the booked slots of all years again, only this far behind where the last one came to.
_SLACK = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the time is by all who know, asked before something is deleted that nobody could make again.

    :param earliest: by the one that is furthest behind, aware.
    :param doubt: why nothing may be deleted, as a sentence; ``None``: they agree within a day.
    :param doubt_of_decisions: why what people decided stays even so; ``None``: time has really passed.
    """

    earliest: datetime
    doubt: str | None = None
    doubt_of_decisions: str | None = None

    @classmethod
    def compare(cls, work: Work, before: datetime, token: int | None = None) -> Clocks:
        """Ask the database's clock and the newest things known.

        :param before: aware; what ended before is to be forgotten.
        :param token: of the lease of the run under way, whose own row proves nothing.
        """
        now, things = work.now, _known(work, token)
        newest = max(things, default=None)
        others = [each for each in (_server(work), newest) if each is not None]
        doubt = None
        for moment, name in others:
            if abs(now - moment) > _DAY:
                side = "after" if now > moment else "before"
                differ = f"{_days(now - moment)} {side} {name}: {_shown(moment)}"
                doubt = f"{_shown(now)} by the clock of this machine is {differ}"
                break
        yesterday = now - min(_DAY, (now - before) / 2)
        lived = newest is None or before >= now or _was_awake(work, before, yesterday, things)
        text = f"no top-up is known from between {_shown(before)} and {_shown(yesterday)}"
        return cls(min([now, *(moment for moment, _ in others)]), doubt, None if lived else text)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _days(span: timedelta) -> str:
    return f"{abs(span) / _DAY:.0f} days"


def _server(work: Work) -> _Known | None:
    moment = server_time(work.session)
    return (moment, "the clock of the database") if moment is not None else None


def _known(work: Work, token: int | None) -> list[_Known]:
    """Return when the newest things were written: those of the highest id, for it is not the clock that chose them."""
    runs, bookings, session = work.models.Run, work.models.Booking, work.session
    others = or_(runs.token.is_(None), runs.token != token) if token is not None else true()
    run = select(func.coalesce(runs.finished_at, runs.started_at)).where(others).order_by(runs.id.desc())
    booking = select(bookings.created_at).order_by(bookings.id.desc())
    confirmed = read_state(work).confirmed_ms
    found = (
        (session.scalar(run.limit(1)), "the newest top-up"),
        (session.scalar(booking.limit(1)), "the newest booking"),
        (from_ms(confirmed) if confirmed else None, "the last confirmation"),
    )
    return [(moment, name) for moment, name in found if moment is not None]


def _was_awake(work: Work, start: datetime, end: datetime, things: Iterable[_Known]) -> bool:
    """Whether a top-up, or another of the newest things, is known from a span: a clock that jumped left it out."""
    if any(start <= moment < end for moment, _ in things):
        return True
    began = work.models.Run.started_at
    return work.session.scalar(select(began).where(began >= start, began < end).limit(1)) is not None


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """What is to be forgotten.

    :param before: aware; slots that ended before, and runs that began before.
    :param include_booked: booked and completed slots too, with their bookings.
    :param since: aware; leave alone what started before, for it was looked through already.
    :param clocks: what the time is by others; ``None``: nobody else is asked.
    """

    before: datetime
    archive: Archive | None = None
    include_booked: bool = False
    batch: int = 1000
    dry_run: bool = False
    since: datetime | None = None
    clocks: Clocks | None = None

    @classmethod
    def make(
        cls, older_than: Any, now: datetime, archive: Any, include_booked: bool, batch: int, dry_run: bool
    ) -> PruneRequest:
        """Check what somebody asks for; refuse nonsense with an ``InvalidRequest``.

        :param older_than: a span before now, whole days before now, or an aware moment that has passed.
        """
        if archive is not None and not callable(archive):
            raise refusal("archive", archive, "a function that takes a list of dicts, or None")
        if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
            raise refusal("batch", batch, f"a whole number from 1 to {MAX_BATCH:,}")
        return cls(_moment(older_than, now), archive, include_booked, batch, dry_run)


def _moment(older_than: Any, now: datetime) -> datetime:
    if isinstance(older_than, datetime):
        if older_than.tzinfo is None or older_than > now:
            raise refusal("older_than", older_than, "an aware datetime that is not in the future")
        return older_than.astimezone(UTC)
    span = older_than
    if isinstance(older_than, int) and not isinstance(older_than, bool):
        if not 0 <= older_than <= MAX_RETENTION_DAYS:
            raise refusal("older_than", older_than, f"a number of days from 0 to {MAX_RETENTION_DAYS:,}")
        span = timedelta(days=older_than)
    if not isinstance(span, timedelta) or not timedelta(0) <= span <= timedelta(days=MAX_RETENTION_DAYS):
        expected = f"a timedelta or days from 0 to {MAX_RETENTION_DAYS:,} days, or an aware datetime"
        raise refusal("older_than", older_than, expected)
    return now - span


def _is_past(models: Models, request: PruneRequest) -> ColumnElement[bool]:
    cls = models.Slot  # the index is on starts_at
    past = and_(cls.starts_at < request.before, cls.ends_at < request.before)
    return past if request.since is None else and_(past, cls.starts_at >= request.since)


def _may_go(work: Work, request: PruneRequest) -> ColumnElement[bool]:
    models, clocks = work.models, request.clocks
    cls, bookings, moment = (
        models.Slot,
        table_of(models.Booking).alias(),
        clocks.earliest if clocks else work.now,
    )
    free = cls.booked <= expired_places(models, cls, moment)
    over = and_(_is_past(models, request), _own_time_is_over(work, work.now))
    if clocks is not None:
        # What nobody ever touched is made again, should it be missed.
        touched = select(bookings.c.id).where(bookings.c.slot_id == cls.id).exists()
        undecided = and_(~is_decided(models), ~touched)
        over_for_all = and_(cls.ends_at < moment, _own_time_is_over(work, moment))
        over = and_(over, undecided if clocks.doubt_of_decisions else or_(undecided, over_for_all))
    if request.include_booked:
        return over
    confirmed = (bookings.c.slot_id == cls.id, bookings.c.status == BookingStatus.CONFIRMED.value)
    history = select(bookings.c.id).where(*confirmed).exists()
    return and_(over, cls.status != Status.COMPLETED.value, free, ~history)


def _own_time_is_over(work: Work, now: datetime) -> ColumnElement[bool]:
    """Return, in SQL, whether a slot's own occurrence had ended at a moment, wherever the slot itself took place.

    As long as it has not, only the row says that it is not for sale: a slot that was moved to an earlier day, or that
    stayed behind its series, would be promised again.
    """
    slots, templates = table_of(work.models.Slot), table_of(work.models.Template).alias()
    kind = (templates.c.timezone, templates.c.shift, templates.c.duration)
    kinds = work.session.execute(select(*kind).distinct())
    latest = {tuple(row): _latest_over(*row, now) for row in kinds}
    if not latest:
        return true()
    lowest, start = min(latest.values()), slots.c.original_start
    cases = [
        (
            and_(*(column == value for column, value in zip(kind, row, strict=True))),
            literal(moment, start.type),
        )
        for row, moment in islice(latest.items(), _KINDS)
    ]
    to_come = select(templates.c.id).where(
        templates.c.series_id == slots.c.series_id,
        or_(templates.c.active_from.is_(None), templates.c.active_from <= start),
        or_(templates.c.active_until.is_(None), templates.c.active_until > start),
        start > case(*cases, else_=literal(lowest, start.type)),
    )
    # The first comparison is enough for nearly all rows.
    return or_(start <= lowest, ~to_come.exists())


def _latest_over(zone: str, shift: timedelta, duration: timedelta, now: datetime) -> datetime:
    """Return the latest original start (naive) of which is sure that its occurrence has ended by now."""
    try:
        began = now - duration
        # A time that the clocks left out is shown by the offset before the gap: later than the new one says.
        # And what ends by the wall clock ends by the offset of its end.
        days = (timedelta(0), timedelta(days=1), timedelta(days=2))
        moments = [moment - day for moment in (began, now) for day in days]
        ahead = min(moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta(0) for moment in moments)
        return began.astimezone(UTC).replace(tzinfo=None) + ahead - (shift or timedelta(0))
    except OverflowError:
        return datetime.min


def _find_batch(work: Work, request: PruneRequest, after: Position | None) -> list[Position]:
    """Return the next slots that may go, in order, after the last one of the batch before."""
    cls = work.models.Slot
    query = select(cls.starts_at, cls.id).where(_may_go(work, request))
    if after is not None:
        start, slot_id = after
        query = query.where(or_(cls.starts_at > start, and_(cls.starts_at == start, cls.id > slot_id)))
    rows = work.session.execute(query.order_by(cls.starts_at, cls.id).limit(request.batch))
    return [(row.starts_at, row.id) for row in rows]


def _count(work: Work, request: PruneRequest) -> tuple[int, int, int, int]:
    """Return how many slots may go with how many bookings, how many past slots stay, and how many runs may go."""
    cls, bookings, runs = work.models.Slot, work.models.Booking, work.models.Run
    may_go = _may_go(work, request)

    slots = select(func.count(cls.id)).where(may_go)
    inside = select(func.count(bookings.id)).join(cls, cls.id == bookings.slot_id).where(may_go)
    past = select(func.count(cls.id)).where(_is_past(work.models, request))
    old = select(func.count(runs.id)).where(_old_runs(work.models, request.before))
    gone, booked, over, forgotten = (work.session.scalar(query) or 0 for query in (slots, inside, past, old))
    return gone, booked, over - gone, forgotten


def _copies(work: Work, slot_ids: Sequence[int], lock: bool = False) -> list[dict[str, Any]]:
    """Return slots as plain dicts, by start; each with its ``key`` and its ``bookings``.

    :param lock: as they are now, where a transaction would else read an older state; and keep them so.
    """
    session, slots, bookings = work.session, table_of(work.models.Slot), table_of(work.models.Booking)
    query: Any = select(slots).where(slots.c.id.in_(slot_ids)).order_by(slots.c.starts_at, slots.c.id)
    ours: Any = select(bookings).where(bookings.c.slot_id.in_(slot_ids)).order_by(bookings.c.id)
    if lock:
        query, ours = query.with_for_update(), ours.with_for_update()
    copies, inside = [dict(row) for row in session.execute(query).mappings()], defaultdict(list)
    for row in session.execute(ours).mappings():
        inside[row["slot_id"]].append(dict(row))
    for slot in copies:
        key = SlotKey(slot["series_id"], slot["original_start"])
        slot.update(key=str(key), bookings=inside[slot["id"]])
    return copies


def _prints(copies: Iterable[dict[str, Any]]) -> dict[int, str]:
    """Return a text for each copied slot, by id: another one as soon as anything of it or its bookings changes."""
    return {slot["id"]: repr(slot) for slot in copies}


def _delete_slots(
    work: Work, request: PruneRequest, slot_ids: Sequence[int], archived: Mapping[int, str] | None
) -> tuple[int, int]:
    """Delete those slots that may still go, with their bookings; return how many slots and how many bookings.

    :param archived: what ``_prints`` said of those that were handed to an archive: a slot that is no longer so stays.

    Up to where something was deleted is written down in the same transaction: no backfill may begin before.
    """
    session, cls, leases = work.session, work.models.Slot, table_of(work.models.Lease)
    slots, bookings = table_of(cls), table_of(work.models.Booking)
    still = select(cls.id, cls.starts_at).where(cls.id.in_(slot_ids), _may_go(work, request))
    found = session.execute(still.order_by(cls.id).with_for_update()).all()
    if found and archived is not None:
        current = _prints(_copies(work, [row.id for row in found], lock=True))
        found = [row for row in found if current.get(row.id) == archived[row.id]]
    if not found:
        return 0, 0
    ids = [row.id for row in found]
    gone = session.execute(delete(bookings).where(bookings.c.slot_id.in_(ids)))
    deleted = session.execute(delete(slots).where(slots.c.id.in_(ids)))
    until = int(max(row.starts_at for row in found).timestamp() * 1000) + 1
    session.execute(update(leases).where(leases.c.pruned_until_ms < until).values(pruned_until_ms=until))
    return deleted.rowcount, gone.rowcount  # type: ignore[attr-defined]


def _old_runs(models: Models, before: datetime) -> ColumnElement[bool]:
    return and_(models.Run.started_at < before, models.Run.status != RunStatus.RUNNING.value)


@dataclass
class Pruner:
    """The working state of one pruning.

    :param lease: what was won; ``None`` in a dry run, and where the app's own transaction is joined.
    """

    runner: Runner
    request: PruneRequest
    lease: Lease | None
    joins: bool = False
    report: PruneReport = field(init=False)
    _last: Position | None = None

    def __post_init__(self) -> None:
        self.report = PruneReport(self.request.before, dry_run=self.request.dry_run)

    def step(self) -> bool:
        """Forget one batch of slots; return whether there may be more.

        Slots that were changed since they were handed to the archive stay, and are handed over again another time;
        so do those that the app's own rows point to.
        """
        work = self.runner.work()
        batch = _find_batch(work, self.request, self._last)
        ids = [slot_id for _, slot_id in batch]
        archived = None
        if ids:
            self._last = batch[-1]
            if self.request.archive is not None:
                copies = _copies(work, ids)
                archived = _prints(copies)  # before it is theirs
                ids = list(archived)
                self._end_reading()  # an archive may take its time, and write to the same database
                self.request.archive(copies)
        self._end_reading()
        if ids:
            self._delete(ids, archived)
        return len(batch) == self.request.batch

    def forget_runs(self, before: datetime) -> bool:
        """Forget one batch of old runs; return whether there may be more."""
        runs, session = self.runner.models.Run, self.runner.session()
        old = select(runs.id).where(_old_runs(self.runner.models, before)).order_by(runs.started_at)
        ids = session.scalars(old.limit(self.request.batch)).all()
        self._end_reading()
        if ids:
            with self._transaction():
                deleted = session.execute(delete(table_of(runs)).where(runs.id.in_(ids)))
            self.report.runs += deleted.rowcount
        return len(ids) == self.request.batch

    def _delete(self, ids: Sequence[int], archived: Mapping[int, str] | None) -> None:
        """Delete a batch; if the app's own rows point to some of it, its halves, down to these."""
        try:
            with self._transaction() as work:
                slots, bookings = _delete_slots(work, self.request, ids, archived)
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

    def _transaction(self) -> AbstractContextManager[Work]:
        return nullcontext(self.runner.work()) if self.joins else self.runner.transaction(self.lease)

    def _end_reading(self) -> None:
        if not self.joins:
            self.runner.session.rollback()


def prune(runner: Runner, request: PruneRequest) -> PruneReport:
    """Forget what a person asks for, in the caller's thread and in a session of its own.

    :raises TopUpBusy: if a top-up holds the lease for more than twice its length.
    :raises UncommittedChanges: on SQLite, if the app's session holds the write lock itself.
    """
    if runner.joins:
        make_row(runner.work())
        return _forget(Pruner(runner, request, None, joins=True))
    if request.dry_run:
        with runner.context():
            return _forget(Pruner(runner, request, None))
    runner.refuse_uncommitted()
    with runner.context():
        lease = runner.wait_for_lease(threading.Event())
        if lease is None:
            raise TopUpBusy
        try:
            return _forget(Pruner(runner, request, lease))
        finally:
            runner.session.rollback()
            with suppress(Exception), runner.transaction() as work:  # else it ends by itself
                lease.release(work)


def _forget(pruner: Pruner) -> PruneReport:
    began, report, runner = monotonic(), pruner.report, pruner.runner
    if not runner.experience.is_trusted:
        pruner.request = replace(pruner.request, clocks=Clocks.compare(runner.work(), pruner.request.before))
    request, clocks = pruner.request, pruner.request.clocks
    if clocks is not None and clocks.doubt:
        gone, _, _, runs = _count(runner.work(), replace(request, clocks=None))
        report.held_back = clocks.doubt if gone or runs else None
        return report
    if not request.dry_run:
        while pruner.step():
            pass
        while pruner.forget_runs(request.before):
            pass
    slots, bookings, report.kept, runs = _count(runner.work(), request)
    if clocks is not None and clocks.doubt_of_decisions:
        others = (
            _count(runner.work(), replace(request, clocks=replace(clocks, doubt_of_decisions=None)))[0]
            - slots
        )
        if others:
            report.held_back = f"{others} slots that somebody decided about stay: {clocks.doubt_of_decisions}"
    if request.dry_run:
        report.slots, report.bookings, report.runs = slots, bookings, runs
    else:
        report.kept += slots
    report.seconds = monotonic() - began
    return report


def held_back(work: Work, experience: Experience) -> str | None:
    """Return why retention forgets nothing, as the last top-up found, or as it is now; ``None``: it does, or is off."""
    days = work.settings.retention_days
    if experience.retention or experience.is_trusted or days is None:
        return experience.retention
    return Clocks.compare(work, work.now - timedelta(days=days)).doubt


def tidy(runner: Runner, lease: Lease, must_stop: Callable[[], bool]) -> None:
    """Forget a little within a top-up: past slots if RETENTION_DAYS is set, and old runs in any case.

    A failure is logged and cannot turn the top-up into one; only ``LeaseLost`` is raised.
    """
    session, days = runner.session(), runner.settings.retention_days
    before = runner.clock() - timedelta(days=days or RUN_DAYS)
    try:
        done = pruned_until(runner.work()) if days is not None else None
        clocks = None if runner.experience.is_trusted else Clocks.compare(runner.work(), before, lease.token)
        session.rollback()
        since = done - _SLACK if done is not None else None
        request = PruneRequest(before, runner.archive, batch=_BATCH, since=since, clocks=clocks)
        pruner = Pruner(runner, request, lease)
        doubt = runner.experience.retention = clocks.doubt if clocks is not None else None
        if doubt is None:
            _forget_a_little(pruner, days is not None, must_stop)
    except LeaseLost:
        raise
    except Exception as error:  # the archive is the app's code
        session.rollback()
        runner.experience.retention = f"pruning failed: {sentence(error)}"
        log.warning("nothing more was pruned: %s", sentence(error), extra={"action": "prune_failed"})
        return
    if doubt is not None:  # as after a quiet month: the next top-up goes on
        log.info("nothing was pruned: %s", doubt, extra={"action": "prune_held_back"})
    if pruner.report.slots or pruner.report.runs:
        text, gone = "pruned %d slots and %d runs of more than %d days ago", pruner.report
        log.info(text, gone.slots, gone.runs, days or RUN_DAYS, extra={"action": "pruned"})


def _forget_a_little(pruner: Pruner, slots: bool, must_stop: Callable[[], bool]) -> None:
    for _ in range(_BATCHES if slots else 0):
        if must_stop() or not pruner.step():
            break
    if not must_stop():
        pruner.forget_runs(pruner.request.before)
