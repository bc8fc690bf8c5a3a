"""What may be forgotten: past slots that nobody booked, and old runs. In batches; nothing here commits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, case, delete, func, literal, or_, select, true, update

from .errors import InvalidRequest
from .models import expired_places, table_of
from .settings import MAX_RETENTION_DAYS
from .values import BookingStatus, RunStatus, SlotKey, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from .models import Models

#: Gets each batch before it is deleted: a dict for each slot, its bookings in the list ``bookings``.
Archive = Callable[[list[dict[str, Any]]], object]

MAX_BATCH = 10_000
#: The log of runs is kept so long where nothing else is said.
RUN_DAYS = 90
#: Zones, shifts and lengths of templates that are told apart; the slots of all others wait for the latest of all.
_KINDS = 200


@dataclass(frozen=True, slots=True)
class PruneRequest:
    """What is to be forgotten.

    :param before: aware; slots that ended before, and runs that began before.
    :param include_booked: booked and completed slots too, with their bookings.
    :param batch: how many slots at a time.
    :param since: aware; leave alone what started before, for it was looked through already.
    """

    before: datetime
    archive: Archive | None = None
    include_booked: bool = False
    batch: int = 1000
    dry_run: bool = False
    since: datetime | None = None

    @classmethod
    def make(
        cls,
        older_than: timedelta | int | datetime,
        now: datetime,
        archive: Archive | None = None,
        include_booked: bool = False,
        batch: int = 1000,
        dry_run: bool = False,
    ) -> PruneRequest:
        """Check what somebody asks for.

        :param older_than: a span before now, whole days before now, or an aware moment that has passed.
        :raises InvalidRequest: names field, value and expectation.
        """
        if archive is not None and not callable(archive):
            raise _refusal("archive", archive, "a function that takes a list of dicts, or None")
        if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
            raise _refusal("batch", batch, f"a whole number from 1 to {MAX_BATCH:,}")
        return cls(_moment(older_than, now), archive, include_booked, batch, dry_run)


def _moment(older_than: Any, now: datetime) -> datetime:
    if isinstance(older_than, datetime):
        if older_than.tzinfo is None or older_than > now:
            raise _refusal("older_than", older_than, "an aware datetime that is not in the future")
        return older_than.astimezone(UTC)
    span = older_than
    if isinstance(older_than, int) and not isinstance(older_than, bool):
        if not 0 <= older_than <= MAX_RETENTION_DAYS:
            raise _refusal("older_than", older_than, f"a number of days from 0 to {MAX_RETENTION_DAYS:,}")
        span = timedelta(days=older_than)
    if not isinstance(span, timedelta) or not timedelta(0) <= span <= timedelta(days=MAX_RETENTION_DAYS):
        expected = f"a timedelta or days from 0 to {MAX_RETENTION_DAYS:,} days, or an aware datetime"
        raise _refusal("older_than", older_than, expected)
    return now - span


def _refusal(field: str, value: Any, expected: str) -> InvalidRequest:
    return InvalidRequest(
        f"{field} = {value!r}: expected {expected}", field=field, value=value, expected=expected
    )


def _is_past(models: Models, request: PruneRequest) -> ColumnElement[bool]:
    cls = models.Slot  # the index is on starts_at
    past = and_(cls.starts_at < request.before, cls.ends_at < request.before)
    return past if request.since is None else and_(past, cls.starts_at >= request.since)


def _may_go(session: Session, models: Models, request: PruneRequest, now: datetime) -> ColumnElement[bool]:
    over = and_(_is_past(models, request), _own_time_is_over(session, models, now))
    if request.include_booked:
        return over
    cls, bookings = models.Slot, table_of(models.Booking).alias()
    confirmed = select(bookings.c.id).where(
        bookings.c.slot_id == cls.id, bookings.c.status == BookingStatus.CONFIRMED.value
    )
    return and_(
        over,
        cls.status != Status.COMPLETED.value,
        cls.booked <= expired_places(models, cls, now),
        ~confirmed.exists(),
    )


def _own_time_is_over(session: Session, models: Models, now: datetime) -> ColumnElement[bool]:
    """Return, in SQL, whether a slot's own occurrence has ended, wherever the slot itself took place.

    As long as it has not, only the row says that it is not for sale: a slot that was moved to an earlier day, or that
    stayed behind its series, would be promised again.
    """
    slots, templates = table_of(models.Slot), table_of(models.Template).alias()
    kind = (templates.c.timezone, templates.c.shift, templates.c.duration)
    latest = {tuple(row): _latest_over(*row, now) for row in session.execute(select(*kind).distinct())}
    if not latest:
        return true()
    lowest = min(latest.values())
    cases: list[tuple[ColumnElement[bool], Any]] = [
        (
            and_(templates.c.timezone == zone, templates.c.shift == shift, templates.c.duration == duration),
            literal(moment, slots.c.original_start.type),
        )
        for (zone, shift, duration), moment in islice(latest.items(), _KINDS)
    ]
    to_come = select(templates.c.id).where(
        templates.c.series_id == slots.c.series_id,
        or_(templates.c.active_from.is_(None), templates.c.active_from <= slots.c.original_start),
        or_(templates.c.active_until.is_(None), templates.c.active_until > slots.c.original_start),
        slots.c.original_start > case(*cases, else_=literal(lowest, slots.c.original_start.type)),
    )
    # The first comparison is enough for nearly all rows.
    return or_(slots.c.original_start <= lowest, ~to_come.exists())


def _latest_over(zone: str, shift: timedelta, duration: timedelta, now: datetime) -> datetime:
    """Return the latest original start (naive) of which is sure that its occurrence has ended by now."""
    try:
        began = now - duration
        # A time that the clocks left out is shown by the offset before the gap: later than the new one says.
        moments = (began, began - timedelta(days=1), began - timedelta(days=2))
        ahead = min(moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta(0) for moment in moments)
        return began.astimezone(UTC).replace(tzinfo=None) + ahead - (shift or timedelta(0))
    except OverflowError:
        return datetime.min


def find_batch(
    session: Session, models: Models, now: datetime, request: PruneRequest, after: tuple[datetime, int] | None
) -> list[tuple[datetime, int]]:
    """Return start and id of the next slots that may go, in this order.

    :param after: the last one of the batch before.
    """
    cls = models.Slot
    query = select(cls.starts_at, cls.id).where(_may_go(session, models, request, now))
    if after is not None:
        start, slot_id = after
        query = query.where(or_(cls.starts_at > start, and_(cls.starts_at == start, cls.id > slot_id)))
    rows = session.execute(query.order_by(cls.starts_at, cls.id).limit(request.batch))
    return [(row.starts_at, row.id) for row in rows]


def count(
    session: Session, models: Models, now: datetime, request: PruneRequest
) -> tuple[int, int, int, int]:
    """Return how many slots may go with how many bookings, how many past slots stay, and how many runs may go."""
    cls, bookings = models.Slot, models.Booking
    may_go = _may_go(session, models, request, now)
    slots = session.scalar(select(func.count()).select_from(cls).where(may_go)) or 0
    all_past = session.scalar(select(func.count()).select_from(cls).where(_is_past(models, request))) or 0
    inside: Select[Any] = select(func.count(bookings.id)).join(cls, cls.id == bookings.slot_id)
    runs = select(func.count()).select_from(models.Run).where(_old_runs(models, request.before))
    return slots, session.scalar(inside.where(may_go)) or 0, all_past - slots, session.scalar(runs) or 0


def copy_out(
    session: Session, models: Models, slot_ids: Sequence[int], lock: bool = False
) -> list[dict[str, Any]]:
    """Return slots as plain dicts, by start; each with its ``key`` and its ``bookings``.

    :param lock: as they are now, where a transaction would else read an older state; and keep them so.
    """
    slots, bookings = table_of(models.Slot), table_of(models.Booking)
    query: Any = select(slots).where(slots.c.id.in_(slot_ids)).order_by(slots.c.starts_at, slots.c.id)
    ours: Any = select(bookings).where(bookings.c.slot_id.in_(slot_ids)).order_by(bookings.c.id)
    if lock:
        query, ours = query.with_for_update(), ours.with_for_update()
    copies = [dict(row) for row in session.execute(query).mappings()]
    inside: dict[int, list[dict[str, Any]]] = {}
    for row in session.execute(ours).mappings():
        inside.setdefault(row["slot_id"], []).append(dict(row))
    for slot in copies:
        slot["key"] = str(SlotKey(slot["series_id"], slot["original_start"]))
        slot["bookings"] = inside.get(slot["id"], [])
    return copies


def prints_of(copies: Iterable[dict[str, Any]]) -> dict[int, str]:
    """Return a text for each copied slot, by id: another one as soon as anything of it or its bookings changes."""
    return {slot["id"]: repr(slot) for slot in copies}


def delete_slots(
    session: Session,
    models: Models,
    now: datetime,
    request: PruneRequest,
    slot_ids: Sequence[int],
    archived: Mapping[int, str] | None = None,
) -> tuple[int, int]:
    """Delete those slots that may still go, with their bookings; return how many slots and how many bookings.

    :param archived: what ``prints_of`` said of those that were handed to an archive: a slot that is no longer so stays.

    Up to where something was deleted is written down in the same transaction: no backfill may begin before.
    """
    slots, bookings = table_of(models.Slot), table_of(models.Booking)
    cls = models.Slot
    still = (
        select(cls.id, cls.starts_at)
        .where(cls.id.in_(slot_ids), _may_go(session, models, request, now))
        .order_by(cls.id)
    )
    found = session.execute(still.with_for_update()).all()
    if found and archived is not None:
        current = prints_of(copy_out(session, models, [row.id for row in found], lock=True))
        found = [row for row in found if current.get(row.id) == archived[row.id]]
    if not found:
        return 0, 0
    ids = [row.id for row in found]
    gone = session.execute(delete(bookings).where(bookings.c.slot_id.in_(ids)))
    deleted = session.execute(delete(slots).where(slots.c.id.in_(ids)))
    leases = table_of(models.Lease)
    until = int(max(row.starts_at for row in found).timestamp() * 1000) + 1
    session.execute(update(leases).where(leases.c.pruned_until_ms < until).values(pruned_until_ms=until))
    return deleted.rowcount, gone.rowcount  # type: ignore[attr-defined]


def find_runs(session: Session, models: Models, before: datetime, limit: int) -> list[int]:
    """Return the ids of the oldest runs that began before a moment, at most so many."""
    runs = models.Run
    old = select(runs.id).where(_old_runs(models, before)).order_by(runs.started_at).limit(limit)
    return list(session.scalars(old))


def delete_runs(session: Session, models: Models, ids: Sequence[int]) -> int:
    """Delete some runs; return how many there were."""
    runs = table_of(models.Run)
    return session.execute(delete(runs).where(runs.c.id.in_(ids))).rowcount  # type: ignore[attr-defined, no-any-return]


def _old_runs(models: Models, before: datetime) -> ColumnElement[bool]:
    return and_(models.Run.started_at < before, models.Run.status != RunStatus.RUNNING.value)
