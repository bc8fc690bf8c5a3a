"""Cancelling, deleting, restoring and completing slots, one or a part of a series; and who is booked in them.

A rule that ends stays as it is: the end is a bound of its own on each segment, and stored slots get the status. So it
can be taken back without loss. ``plan_end`` and ``plan_restore`` work out what changes, from plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import select, update

from .. import planning, signals
from ..booking.lifecycle import bookings_of, shown_booking
from ..booking.waiting import serve_rows
from ..context import Work, load_slots
from ..errors import LostRace, SlotBooked, StatusConflict, refusal
from ..models import BookingMixin, SlotMixin, expired_places, table_of
from ..models.kinds import Text
from ..statements import MARIADB, in_parts, newest
from ..values import OCCUPYING, Scope, SlotKey, Status, StoredSlot, TemplateSpec, local_midnight
from . import storage
from .storage import RowChange, SegmentChange, SeriesPlan, StoredSeries
from .writing import forget_slots, write_plan

_UNDECIDED = (Status.SCHEDULED, Status.CANCELLED)
_UNCOMPLETED = (*_UNDECIDED, Status.DELETED)


@dataclass(frozen=True, slots=True)
class EndPlan(SeriesPlan):
    """What ending or bringing back a part of a series changes; a report tells the same with keys.

    :param kept_completed: completed slots: they stay.
    """

    kept_completed: tuple[StoredSlot, ...] = ()


@dataclass(slots=True)
class SeriesReport:
    """What a decision about many slots did.

    :param scope: which slots it was about.
    :param changed: keys of the stored slots that were cancelled, deleted or restored.
    :param booked: those of them that hold bookings: their people want to know.
    :param kept_booked: keys of slots that were to be deleted or restored and stay: booked, or their time or their
        exclusive resource is taken.
    :param kept_completed: keys of completed slots: they stay.
    :param overbooked: keys of slots that come back with fewer places than are booked in them: nothing is left.
    :param bookings: the live bookings in all of these, by id: whom to tell.
    :param segments: template ids of the segments that were changed.
    """

    scope: Scope
    changed: list[str] = field(default_factory=list)
    booked: list[str] = field(default_factory=list)
    kept_booked: list[str] = field(default_factory=list)
    kept_completed: list[str] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    overbooked: list[str] = field(default_factory=list)
    bookings: list[BookingMixin] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        names = ("changed", "booked", "kept_booked", "kept_completed", "overbooked")
        lists = {name: list(getattr(self, name)) for name in names}
        counts = {name: len(keys) for name, keys in lists.items()}
        return {"scope": self.scope.value, "counts": counts, **lists, "segments": list(self.segments)} | {
            "bookings": [shown_booking(booking) for booking in self.bookings]
        }


# -- decisions


def cancel(work: Work, key: SlotKey, scope: Scope, reason: str | None = None) -> SlotMixin | SeriesReport:
    """Cancel slots; see ``RollingSlots.cancel``."""
    check_reason(reason)
    if scope is not Scope.THIS:
        return _decide(work, key.series_id, Status.CANCELLED, scope, key, reason=reason)
    with storage.decided_slot(work, key) as slot:
        was = slot.status
        values = {"status": Status.CANCELLED.value, "ended_with_series": None, "cancel_reason": reason}
        _change(work, slot, _UNDECIDED, values)
    slot.affected_bookings = bookings = bookings_of(work, [] if slot.is_virtual else [slot.id])
    if slot.status != was:
        work.outbox.add(signals.slot_cancelled, slot=slot, reason=reason, bookings=bookings)
    return slot


def delete(work: Work, key: SlotKey, scope: Scope) -> SlotMixin | SeriesReport:
    """Hide slots, and let no others follow; see ``RollingSlots.delete``."""
    if scope is not Scope.THIS:
        return _decide(work, key.series_id, Status.DELETED, scope, key)
    with storage.decided_slot(work, key, hidden=True) as slot:
        values = {"status": Status.DELETED.value, "ended_with_series": None}
        _change(work, slot, _UNCOMPLETED, values, must_be_free=True)
    work.outbox.add(signals.slot_deleted, slot=slot)
    return slot


def complete(work: Work, key: SlotKey, undo: bool = False) -> SlotMixin:
    """Mark one slot as completed, or take that back; see ``RollingSlots.complete``."""
    with storage.decided_slot(work, key) as slot:
        values: dict[str, Any] = {"status": (Status.SCHEDULED if undo else Status.COMPLETED).value}
        if undo and slot.starts_at > work.now and "name" not in (slot.customised or ()):
            values["own_name"] = None  # no history any more
        if undo and slot.status == Status.COMPLETED:
            values |= _followed(work, slot)
        _change(work, slot, (Status.SCHEDULED, Status.COMPLETED), values)
        if not work.dry_run:
            serve_rows(work, [slot.id])
    work.outbox.add(signals.slot_completed, slot=slot, undo=undo)
    return slot


def restore(work: Work, key: SlotKey, scope: Scope) -> SlotMixin | SeriesReport:
    """Bring slots back as their series is by now; see ``RollingSlots.restore``."""
    if scope is not Scope.THIS:
        return _decide(work, key.series_id, Status.SCHEDULED, scope, key)
    with storage.decided_slot(work, key, hidden=True, ended=True) as slot:
        was = slot.status
        if was == Status.SCHEDULED:
            _change(work, slot, _UNCOMPLETED, {})
        else:
            with storage.deciding(work):
                # From now on it is a person's slot: no top-up takes it away because its series ended.
                _change(work, slot, _UNCOMPLETED, {**_restored_alone(work, key, was), "run_id": None})
                if not work.dry_run:
                    serve_rows(work, [slot.id])
    if slot.status != was:
        work.outbox.add(signals.slot_restored, slot=slot)
    return slot


def cancel_future(
    work: Work, template_id: int, from_date: date | datetime, reason: str | None = None
) -> SeriesReport:
    """Cancel all slots of a template's series from a moment on; see ``RollingSlots.cancel_future``."""
    if (isinstance(from_date, datetime) and from_date.tzinfo is None) or not isinstance(from_date, date):
        raise refusal("from_date", from_date, "a date (a day of the template's zone) or an aware datetime")
    check_reason(reason)

    def since(series: StoredSeries) -> datetime:
        if isinstance(from_date, datetime):
            return from_date
        zone = next(spec.timezone for spec in series.specs if spec.id == template_id)
        return local_midnight(from_date, ZoneInfo(zone))

    return _decide(work, storage.series_of(work, template_id), Status.CANCELLED, since=since, reason=reason)


def delete_series(work: Work, template_id: int) -> SeriesReport:
    """Hide all slots of a template's series that have not started; see ``RollingSlots.delete_series``."""
    return _decide(work, storage.series_of(work, template_id), Status.DELETED)


def restore_series(work: Work, template_id: int) -> SeriesReport:
    """Take back that a template's series was cancelled or deleted; see ``RollingSlots.restore_series``."""
    return _decide(work, storage.series_of(work, template_id), Status.SCHEDULED)


_REASON = Text(500)


def check_reason(reason: object) -> None:
    """Refuse what is no reason."""
    if reason not in (None, "") and not _REASON.takes(reason):
        raise refusal("reason", reason, _REASON.expected)


# -- one slot


def _change(
    work: Work,
    slot: SlotMixin,
    allowed: tuple[Status, ...],
    values: dict[str, Any],
    must_be_free: bool = False,
) -> None:
    """Change one slot, past or not, if its status allows it; the condition is part of the statement that writes."""
    if not work.dry_run:
        table = table_of(work.models.Slot)
        where = [table.c.id == slot.id, table.c.status.in_([status.value for status in allowed])]
        if must_be_free:
            where.append(table.c.booked <= expired_places(work.models, table.c, work.now))
        written = {**values, "changed_at": work.now} if values else {"status": table.c.status}
        done: Any = work.session.execute(update(table).where(*where).values(**written))
        forget_slots(work)
        # It is locked already; MariaDB's snapshot may not have it.
        work.session.refresh(slot, with_for_update=work.dialect in MARIADB)
        if done.rowcount == 1:
            return
    booked, key = slot.booked_at(work.now), slot.key
    if slot.status in allowed and must_be_free and booked:
        text = f"slot {key} is booked ({booked} places): cancel it, or release its bookings first"
        raise SlotBooked(text, key=key, booked=booked)
    if slot.status not in allowed:
        raise StatusConflict(
            f"slot {key} is {slot.status}: it cannot be changed", key=key, status=slot.status
        )
    if not work.dry_run:
        raise LostRace
    slot.__dict__.update(values)  # a copy, in no session


def _followed(work: Work, slot: SlotMixin) -> dict[str, Any]:
    """Return what its template decided while a slot was completed, and no edit touched it."""
    (row,) = load_slots(work, work.models.Slot.id == slot.id, wholly=True)
    return planning.by_now(TemplateSpec.of(slot.template), row._replace(status=Status.SCHEDULED), work.now)


def _restored_alone(work: Work, key: SlotKey, status: str) -> dict[str, Any]:
    """Return the values of a cancelled or deleted slot that is to come back, its series locked."""
    series = storage.load_series(work, key.series_id, key, resources=True)
    row = series.row_at(key)
    if row is None:
        raise StatusConflict(f"slot {key} was removed meanwhile", key=str(key), status=status)
    values: dict[str, Any] = {
        "status": Status.SCHEDULED.value,
        "cancel_reason": None,
        "ended_with_series": None,
    }
    if row.ends_at > series.now:  # history comes back as it was
        spec = next(spec for spec in series.specs if spec.id == row.template_id)
        starts = planning.starts_around(storage.rule_of(spec), [row.original_start])
        values = restored_values(spec, row, starts)
        if not series.is_future(row):
            values.pop("own_name", None)
        if spec.cancelled_from is not None and row.original_start >= spec.cancelled_from:
            row = row._replace(customised=tuple(sorted({*row.customised, planning.STAYS_ON})))
            values["customised"] = list(row.customised)
        values |= storage.marks(spec, row, values, planning.offered_starts(spec, [row]))
    if _is_taken(work, series, row, values):
        text = f"slot {key} cannot come back: another slot of its series is at its time"
        raise StatusConflict(text, key=str(key), status=row.status)
    storage.refuse_blocked(work, series, [RowChange(row, values)])
    return values


def _is_taken(work: Work, series: StoredSeries, row: StoredSlot, values: Mapping[str, Any]) -> bool:
    """Whether another slot of the series takes the time of one that is to come back; of what is over: its instant."""
    span = storage.span_of(row, values)
    if span[0] > series.now:
        spec = next(spec for spec in series.specs if spec.id == row.template_id)
        return series.in_the_way(spec, row.key, span) is not None
    cls = work.models.Slot
    others = (cls.series_id == row.series_id, cls.id != row.id, cls.starts_at == span[0])
    query = select(cls.id).where(*others, cls.status.in_(OCCUPYING))
    return work.session.scalars(query.limit(1)).first() is not None


def cancel_rows(work: Work, slots: Sequence[SlotMixin], reason: str | None) -> list[SlotMixin]:
    """Cancel stored slots that are scheduled and not over; return those that were, by start."""
    cls, table = work.models.Slot, table_of(work.models.Slot)
    values = {"status": Status.CANCELLED.value, "ended_with_series": None, "cancel_reason": reason}
    cancelled: list[list[int]] = []
    for part in in_parts([slot.id for slot in slots]):
        scheduled = (table.c.status == Status.SCHEDULED.value, table.c.ends_at > work.now)
        query: Any = select(table.c.id).where(table.c.id.in_(part), *scheduled)
        ids = list(work.session.scalars(newest(query, work.dialect)))
        statement = update(table).where(table.c.id.in_(ids), *scheduled)
        work.session.execute(statement.values(**values, changed_at=work.now))
        cancelled.append(ids)
    forget_slots(work)
    found: list[SlotMixin] = []
    for ids in cancelled:
        chosen: Any = select(cls).where(cls.id.in_(ids)).order_by(cls.starts_at, cls.id)
        found += work.session.scalars(newest(chosen, work.dialect))
    return found


# -- a part of a series


def _decide(
    work: Work,
    series_id: int,
    status: Status,
    scope: Scope = Scope.ALL,
    key: SlotKey | None = None,
    since: Callable[[StoredSeries], datetime] | None = None,
    reason: str | None = None,
) -> SeriesReport:
    """Cancel, delete or bring back (by the status) what a scope means of a series, and has not started.

    :param key: the slot that the scope was given for.
    :param since: returns the moment (aware) at which the part begins; now by default.
    """
    is_back = status is Status.SCHEDULED
    with storage.deciding(work):
        series = storage.load_series(work, series_id, key, resources=is_back)
        place = series.place_of(key, ended=is_back) if key is not None else 0
        if key is not None and scope is Scope.THIS_AND_FUTURE:
            extent = extent_behind(series, place, key.original_start)
        else:
            extent = extent_from(series, since(series) if since is not None else series.now)
        if is_back:
            plan = plan_restore(series, extent, key)
            blocked = [change for change, _ in storage.find_blocked(work, series, plan.changed)]
            kept = [change.row for change in blocked]
            changed = tuple(change for change in plan.changed if change not in blocked)
            plan = replace(plan, changed=changed, kept_booked=(*plan.kept_booked, *kept))
        else:
            plan = plan_end(series, extent, status, reason)
        told = bookings_of(
            work, (row.id for row in (*(each.row for each in plan.changed), *plan.kept_booked) if row.live)
        )
        touched = write_plan(work, series, plan)
    report = SeriesReport(
        scope,
        [str(change.key) for change in plan.changed if "status" in change.values],
        [str(change.key) for change in plan.changed if "status" in change.values and change.row.live],
        [str(row.key) for row in plan.kept_booked],
        [str(row.key) for row in plan.kept_completed],
        touched,
        [str(change.key) for change in plan.changed if storage.is_overbooked(*change)] if is_back else [],
        told,
    )
    if is_back:
        work.outbox.add(signals.series_restored, report=report)
    else:
        work.outbox.add(signals.series_ended, report=report, reason=reason)
    return report


class Extent(NamedTuple):
    """Which part of a series a decision is about.

    :param bounds: segment id -> the first original start (naive) of the part; other segments are not in it.
    :param cut: the original start (naive) from which on the first segment is in it, also what was moved past now.
    :param since: aware; without a cut, stored slots are chosen by the time at which they start.
    """

    bounds: dict[int, datetime]
    cut: datetime | None
    since: datetime

    @property
    def first(self) -> int:
        """The id of the first segment."""
        return next(iter(self.bounds))

    def is_from_now(self, series: StoredSeries) -> bool:
        """Whether it begins at once, and is of all segments."""
        return self.cut is None and self.since == storage.just_after(series.now)

    def holds(self, row: StoredSlot) -> bool:
        """Whether a stored slot is in the part."""
        if self.cut is None:
            return row.starts_at >= self.since
        is_behind = row.template_id != self.first or row.original_start >= self.cut
        return is_behind and row.template_id in self.bounds


def extent_behind(series: StoredSeries, place: int, cut: datetime) -> Extent:
    """Return the part of a series from a slot's segment and original start (naive) on; never what has started."""
    since = storage.just_after(series.now)
    bounds = {spec.id: storage.bound_at(spec, since) for spec in series.specs[place:]}
    first = series.specs[place].id
    return Extent({**bounds, first: max(cut, bounds[first])}, cut, since)


def extent_from(series: StoredSeries, moment: datetime) -> Extent:
    """Return the part of a series that starts at a moment (aware) or later, and has not started."""
    since = max(moment, storage.just_after(series.now))
    return Extent({spec.id: storage.bound_at(spec, since) for spec in series.specs}, None, since)


def plan_end(series: StoredSeries, extent: Extent, status: Status, reason: str | None) -> EndPlan:
    """Return what cancelling or deleting a part of a series changes.

    :param status: ``cancelled`` or ``deleted``; booked slots are cancelled, but not deleted.
    """
    segments = []
    for spec in series.specs:
        start = extent.bounds.get(spec.id)
        if start is not None and (spec.ends_before is None or start < spec.ends_before):
            start = max(start, spec.active_from or start)
            segments.append(SegmentChange(spec.id, {"cancelled_from": start}))
    changed, kept, completed = [], [], []
    values: dict[str, Any] = {"status": status.value, "ended_with_series": True, "cancel_reason": reason}
    for row in series.rows:
        if extent.is_from_now(series) and _may_be_joined(series, row):
            names = sorted({*row.customised, "closes_at"})
            changed.append(RowChange(row, {"closes_at": series.now, "customised": names}))
        if not series.is_future(row) or not extent.holds(row):
            continue
        if row.status == Status.COMPLETED:
            completed.append(row)
        elif row.status == Status.SCHEDULED and row.live and status is Status.DELETED:
            kept.append(row)
            if planning.STAYS_ON in row.customised:  # the later decision counts
                names = [name for name in row.customised if name != planning.STAYS_ON]
                changed.append(RowChange(row, {"customised": names}))
        elif row.status == Status.SCHEDULED:
            changed.append(RowChange(row, values))
    return EndPlan(
        tuple(completed), segments=tuple(segments), changed=tuple(changed), kept_booked=tuple(kept)
    )


def _may_be_joined(series: StoredSeries, row: StoredSlot) -> bool:
    """Whether a slot has begun, and may be booked while it runs: what has begun stays, and takes nobody new."""
    begun = row.starts_at <= series.now < row.ends_at and row.status == Status.SCHEDULED
    return begun and row.closes_at is not None and row.closes_at > series.now


def plan_restore(series: StoredSeries, extent: Extent, key: SlotKey | None) -> EndPlan:
    """Return what taking back the end of a part of a series changes.

    Only slots that ended with the series come back, and the one that is named: others were cancelled for themselves.
    Where the series was edited meanwhile, they come back as it is by now. Those whose time is taken by a slot that is
    booked, or was moved there by a person, are kept.
    """
    segments = []
    for spec in series.specs:
        if spec.id in extent.bounds and spec.cancelled_from is not None:
            is_divided = (
                spec.id == extent.first and extent.cut is not None and extent.cut > spec.cancelled_from
            )
            cut = extent.cut if is_divided else None
            segments.append(SegmentChange(spec.id, {"cancelled_from": None}, cut))
    back = [
        row
        for row in series.rows
        if (row.key == key or (row.ended_with_series and extent.holds(row)))
        and row.status in (Status.CANCELLED, Status.DELETED)
        and series.is_future(row)
    ]
    specs, starts = {spec.id: spec for spec in series.specs}, {}
    for spec in series.specs:
        originals = [row.original_start for row in back if row.template_id == spec.id]
        starts[spec.id] = planning.starts_around(storage.rule_of(spec), originals)
    changed, kept = list[RowChange](), []
    for row in sorted(back, key=lambda row: row.original_start):
        spec = specs[row.template_id]
        values = restored_values(spec, row, starts[row.template_id])
        span = storage.span_of(row, values)
        before = [] if spec.may_overlap else [storage.span_of(*each) for each in changed if each.row.live]
        is_taken = series.in_the_way(spec, row.key, span) or any(storage.overlap(span, b) for b in before)
        if is_taken or span[0] <= series.now:
            kept.append(row)
        else:
            changed.append(RowChange(row, values))
    return EndPlan(segments=tuple(segments), changed=tuple(changed), kept_booked=tuple(kept))


def restored_values(
    spec: TemplateSpec, row: StoredSlot, starts: Mapping[datetime, datetime]
) -> dict[str, Any]:
    """Return the values of a slot that comes back.

    It comes back as its series is by now, except for what a person changed on the slot. A booked one keeps its time.

    :param starts: what the rule alone promises around the slot.
    """
    times = {} if row.live else storage.planned_times(spec, row, starts) or {}
    is_history_named = row.own_name is not None and "name" not in row.customised
    return {
        **({"own_name": None} if is_history_named else {}),
        **storage.changed_values(row, spec.capacity, None, spec.own),
        **({"data": dict(spec.data)} if "data" not in row.customised and row.data != spec.data else {}),
        **times,
        "status": Status.SCHEDULED.value,
        "cancel_reason": None,
        "ended_with_series": None,
    }
