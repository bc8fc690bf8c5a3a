"""Cancelling, deleting, restoring and completing slots: one, or a part of a series.

A rule that ends stays as it is: the end is a bound of its own on each segment, and stored slots get the status. So it
can be taken back without loss. ``plan_end`` and ``plan_restore`` work out what changes, from plain values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, update

from flask_rollingslots import browsing, planning, signals
from flask_rollingslots.booking import live_bookings
from flask_rollingslots.errors import SlotBooked, StaleEdit, StatusConflict, refusal
from flask_rollingslots.models import expired_places, table_of
from flask_rollingslots.values import Scope, SlotKey, Status, StoredSlot, TemplateSpec, Window, local_midnight

from .edits import changed_values, planned_times
from .plans import (
    CancelledKeys,
    Changes,
    EndPlan,
    RowChange,
    SegmentChange,
    SeriesReport,
    check_reason,
)
from .segments import StoredSeries, bound_at, find_segment, just_after, rule_of
from .storage import (
    Loaded,
    decided_slot,
    deciding,
    find_blocked,
    forget_slots,
    load_series,
    lock_resources,
    refuse_blocked,
    series_of,
    write_plan,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import BookingMixin, SlotMixin

_UNDECIDED = (Status.SCHEDULED, Status.CANCELLED)
_UNCOMPLETED = (*_UNDECIDED, Status.DELETED)
_AT_ONCE = 500


# -- decisions ---------------------------------------------------------------------------------------------


def cancel(work: Work, key: SlotKey, scope: Scope, reason: str | None = None) -> SlotMixin | SeriesReport:
    """Cancel slots, booked ones too: stored ones stay visible as cancelled, and no others follow.

    :return: the slot with its ``affected_bookings``; for a wide scope a report.
    """
    check_reason(reason)
    if scope is not Scope.THIS:
        return _end(work, key.series_id, _extent(scope, key), Status.CANCELLED, reason, scope, key)
    with decided_slot(work, key) as slot:
        was = slot.status
        _change(work, slot, _UNDECIDED, **_ended(Status.CANCELLED), cancel_reason=reason)
    slot.affected_bookings = bookings = _bookings_in(work, [slot])
    if slot.status != was:
        work.outbox.add(signals.slot_cancelled, slot=slot, reason=reason, bookings=bookings)
    return slot


def delete(work: Work, key: SlotKey, scope: Scope) -> SlotMixin | SeriesReport:
    """Hide slots, and let no others follow; a wide scope keeps booked and completed ones.

    :return: the slot; for a wide scope a report.
    """
    if scope is not Scope.THIS:
        return _end(work, key.series_id, _extent(scope, key), Status.DELETED, None, scope, key)
    with decided_slot(work, key, hidden=True) as slot:
        _change(work, slot, _UNCOMPLETED, must_be_free=True, **_ended(Status.DELETED))
    work.outbox.add(signals.slot_deleted, slot=slot)
    return slot


def complete(work: Work, key: SlotKey) -> SlotMixin:
    """Mark one slot as completed, before, while or after it takes place; only this one changes."""
    with decided_slot(work, key) as slot:
        allowed = (Status.SCHEDULED, Status.COMPLETED)
        _change(work, slot, allowed, may_be_over=True, status=Status.COMPLETED.value)
    work.outbox.add(signals.slot_completed, slot=slot)
    return slot


def restore(work: Work, key: SlotKey, scope: Scope) -> SlotMixin | SeriesReport:
    """Bring slots back, at the time, with the places and the data that their series has by now.

    With a wide scope: what was cancelled or deleted with the series, and the slot at the key.

    :return: the slot; for a wide scope a report.
    """
    if scope is not Scope.THIS:
        return _bring_back(work, key.series_id, _extent(scope, key, ended=True), scope, key)
    with decided_slot(work, key, hidden=True, ended=True) as slot:
        was = slot.status
        if was == Status.SCHEDULED:
            _change(work, slot, _UNCOMPLETED)
        else:
            with deciding(work):
                # From now on it is a person's slot: no top-up takes it away because its series ended.
                _change(work, slot, _UNCOMPLETED, **_restored_alone(work, key, was), run_id=None)
    if slot.status != was:
        work.outbox.add(signals.slot_restored, slot=slot)
    return slot


def cancel_future(
    work: Work, template_id: int, from_date: date | datetime, reason: str | None = None
) -> SeriesReport:
    """Cancel all slots of a template's series that start at a moment or later.

    :param from_date: a day of the template's zone, or an aware datetime.
    """
    if (isinstance(from_date, datetime) and from_date.tzinfo is None) or not isinstance(from_date, date):
        raise refusal("from_date", from_date, "a date (a day of the template's zone) or an aware datetime")

    def extent(series: StoredSeries) -> Extent:
        if isinstance(from_date, datetime):
            return extent_from(series, from_date)
        zone = next(spec.timezone for spec in series.specs if spec.id == template_id)
        return extent_from(series, local_midnight(from_date, ZoneInfo(zone)))

    return _end(work, series_of(work, template_id), extent, Status.CANCELLED, reason)


def delete_series(work: Work, template_id: int) -> SeriesReport:
    """Hide all slots of a template's series that have not started; booked and completed ones stay."""
    return _end(work, series_of(work, template_id), _from_now, Status.DELETED)


def restore_series(work: Work, template_id: int) -> SeriesReport:
    """Take back that a template's series was cancelled or deleted: the undo of both."""
    return _bring_back(work, series_of(work, template_id), _from_now)


def cancel_date(work: Work, group: str, day: date, reason: str | None = None) -> CancelledKeys:
    """Cancel one local day of all templates of a group, also of those that are switched off.

    What is over by now stays as it is, and so does what was cancelled before.

    :param day: in each template's own zone.
    """
    if not isinstance(group, str) or not group:
        raise refusal("group", group, "the name of a group")
    if not isinstance(day, date) or isinstance(day, datetime):
        raise refusal("day", day, "a date")
    check_reason(reason)
    templates = browsing.templates_in(work, group)
    slots: list[SlotMixin] = []
    for zone in sorted({template.timezone for template in templates}):
        window = Window.local_days(day, day + timedelta(days=1), ZoneInfo(zone))
        here = {template.id: template for template in templates if template.timezone == zone}
        specs = [replace(template.spec(), active=True) for template in here.values()]
        found = browsing.merged(work, here, specs, window)
        if work.dry_run:
            slots += [s for s in found if s.status == Status.SCHEDULED and s.ends_at > work.now]
        else:
            rows = [browsing.materialize(work, s.key, inactive=True) if s.is_virtual else s for s in found]
            slots += _cancel_rows(work, rows, reason)
    bookings = _bookings_in(work, slots)
    inside: dict[int, list[BookingMixin]] = {}
    for booking in bookings:
        inside.setdefault(booking.slot_id, []).append(booking)
    for slot in slots:
        affected = inside.get(slot.id, [])
        if not work.dry_run:
            slot.affected_bookings = affected
        work.outbox.add(signals.slot_cancelled, slot=slot, reason=reason, bookings=affected)
    return CancelledKeys((slot.key for slot in slots), bookings)


def _ended(status: Status) -> dict[str, Any]:
    return {"status": status.value, "ended_with_series": None}


# -- one slot ----------------------------------------------------------------------------------------------


def _change(
    work: Work,
    slot: SlotMixin,
    allowed: tuple[Status, ...],
    *,
    must_be_free: bool = False,
    may_be_over: bool = False,
    **values: Any,
) -> None:
    """Change one slot if its status allows it; the condition is part of the statement that writes."""
    if work.dry_run:
        error = _conflict(work, slot, allowed, must_be_free, may_be_over)
        if error is not None:
            raise error
        slot.__dict__.update(values)  # a copy, in no session
        return
    session, table = work.session, table_of(work.models.Slot)
    values = {**values, "changed_at": work.now} if values else {"status": table.c.status}
    where = [table.c.id == slot.id, table.c.status.in_([status.value for status in allowed])]
    if must_be_free:
        where.append(table.c.booked <= expired_places(work.models, table.c, work.now))
    if not may_be_over:
        where.append(table.c.ends_at > work.now)
    changed = session.execute(update(table).where(*where).values(**values)).rowcount  # type: ignore[attr-defined]
    session.refresh(slot)
    forget_slots(work)
    if changed != 1:
        error = _conflict(work, slot, allowed, must_be_free, may_be_over)
        raise error or StaleEdit


def _conflict(
    work: Work, slot: SlotMixin, allowed: tuple[Status, ...], must_be_free: bool, may_be_over: bool
) -> SlotBooked | StatusConflict | None:
    """Return what forbids to change a slot, if anything."""
    booked, key = slot.booked_at(work.now), slot.key
    if slot.status in allowed and must_be_free and booked:
        text = f"slot {key} is booked ({booked} places): cancel it, or release its bookings first"
        return SlotBooked(text, key=key, booked=booked)
    if slot.status in allowed and (may_be_over or slot.ends_at > work.now):
        return None
    word = "over" if slot.status in allowed else slot.status
    return StatusConflict(f"slot {key} is {word}: it cannot be changed", key=key, status=slot.status)


def _restored_alone(work: Work, key: SlotKey, status: str) -> dict[str, Any]:
    """Return the values of a cancelled or deleted slot that is to come back, its series locked."""
    locked = lock_resources(work, key.series_id)
    loaded = load_series(work, key.series_id, key)
    series, row = loaded.series, loaded.series.row_at(key)
    if row is None:
        raise StatusConflict(f"slot {key} was removed meanwhile", key=str(key), status=status)
    spec = next(spec for spec in series.specs if spec.id == row.template_id)
    values, _ = restored_values(spec, row, planning.starts_around(rule_of(spec), [row.original_start]))
    if series.standing_at(key, values.get("starts_at", row.starts_at)):
        raise StatusConflict(
            f"slot {key} cannot come back: another slot of its series is at its time",
            key=str(key),
            status=row.status,
        )
    refuse_blocked(work, loaded, [RowChange(row, values)], locked)
    return values


def _cancel_rows(work: Work, slots: Sequence[SlotMixin], reason: str | None) -> list[SlotMixin]:
    """Cancel stored slots that are scheduled and not over; return those that were, by start."""
    cls, table = work.models.Slot, table_of(work.models.Slot)
    values = {**_ended(Status.CANCELLED), "cancel_reason": reason, "changed_at": work.now}
    parts = [slots[first : first + _AT_ONCE] for first in range(0, len(slots), _AT_ONCE)]
    cancelled: list[set[int]] = []
    for part in parts:
        scheduled = (table.c.status == Status.SCHEDULED.value, table.c.ends_at > work.now)
        query = select(table.c.id).where(table.c.id.in_([slot.id for slot in part]), *scheduled)
        cancelled.append(set(work.session.scalars(query)))
        statement = update(table).where(table.c.id.in_(cancelled[-1]), *scheduled)
        work.session.execute(statement.values(**values))
    forget_slots(work)
    found: list[SlotMixin] = []
    for ids in cancelled:
        query = select(cls).where(cls.id.in_(ids)).order_by(cls.starts_at, cls.id)
        found += work.session.scalars(query)
    return found


def _bookings_in(work: Work, slots: Sequence[SlotMixin]) -> list[BookingMixin]:
    """Return the live bookings in some slots: whom to tell."""
    ids = [slot.id for slot in slots if not slot.is_virtual]
    found: list[BookingMixin] = []
    for first in range(0, len(ids), _AT_ONCE):
        found += live_bookings(work, ids[first : first + _AT_ONCE])
    return found


# -- a part of a series ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extent:
    """Which part of a series a decision is about.

    :param bounds: segment id -> the first original start (naive) of the part; others are not in it.
    :param rows_from: the same for stored slots: those that were moved past now still belong to their start.
    :param since: aware; stored slots are chosen by the time at which they start instead.
    :param cut: original start (naive) at which the first segment is divided, if need be.
    """

    bounds: dict[int, datetime]
    rows_from: dict[int, datetime]
    since: datetime | None = None
    cut: datetime | None = None

    def holds(self, row: StoredSlot) -> bool:
        """Whether a stored slot is in the part."""
        bound = self.rows_from.get(row.template_id)
        if bound is None:
            return False
        return row.original_start >= bound if self.since is None else row.starts_at >= self.since


def extent_of(series: StoredSeries, scope: Scope, key: SlotKey, *, ended: bool = False) -> Extent:
    """Return the part of a series that a scope means; never what has started.

    :param ended: also find a slot that was cancelled or deleted with the series.
    :raises SlotNotFound: if no segment has this start.
    """
    place = find_segment(series.specs, key, series.row_at(key), ended=ended)
    if scope is Scope.ALL:
        return _from_now(series)
    bounds: dict[int, datetime] = {}
    rows_from: dict[int, datetime] = {}
    for spec in series.specs[place:]:
        begin = datetime.min if bounds else key.original_start
        bounds[spec.id] = max(begin, bound_at(spec, just_after(series.now)))
        rows_from[spec.id] = begin
    return Extent(bounds, rows_from, cut=key.original_start)


def extent_from(series: StoredSeries, moment: datetime) -> Extent:
    """Return the part of a series that starts at a moment (aware) or later, and has not started."""
    since = max(moment, just_after(series.now))
    bounds = {spec.id: bound_at(spec, since) for spec in series.specs}
    return Extent(bounds, dict.fromkeys(bounds, datetime.min), since)


def _from_now(series: StoredSeries) -> Extent:
    return extent_from(series, series.now)


def _extent(scope: Scope, key: SlotKey, *, ended: bool = False) -> Callable[[StoredSeries], Extent]:
    return lambda series: extent_of(series, scope, key, ended=ended)


def _end(
    work: Work,
    series_id: int,
    extent: Callable[[StoredSeries], Extent],
    status: Status,
    reason: str | None = None,
    scope: Scope = Scope.ALL,
    key: SlotKey | None = None,
) -> SeriesReport:
    check_reason(reason)
    with deciding(work):
        loaded = load_series(work, series_id, key)
        plan = plan_end(loaded.series, extent(loaded.series), status, reason)
        report = _written(work, loaded, plan, scope)
    work.outbox.add(signals.series_ended, report=report, reason=reason)
    return report


def _bring_back(
    work: Work,
    series_id: int,
    extent: Callable[[StoredSeries], Extent],
    scope: Scope = Scope.ALL,
    key: SlotKey | None = None,
) -> SeriesReport:
    with deciding(work):
        locked = lock_resources(work, series_id)
        loaded = load_series(work, series_id, key)
        plan = plan_restore(loaded.series, extent(loaded.series), key)
        blocked = find_blocked(work, loaded, plan.changed, locked)
        report = _written(work, loaded, plan.without([change for change, _ in blocked]), scope)
    work.outbox.add(signals.series_restored, report=report)
    return report


def _written(work: Work, loaded: Loaded, plan: EndPlan, scope: Scope) -> SeriesReport:
    touched = write_plan(work, loaded, plan.segments, plan.changed)
    return SeriesReport(
        scope,
        [str(change.key) for change in plan.changed],
        [str(change.key) for change in plan.changed if change.row.live],
        [str(row.key) for row in plan.kept],
        [str(row.key) for row in plan.completed],
        touched,
    )


def plan_end(series: StoredSeries, extent: Extent, status: Status, reason: str | None) -> EndPlan:
    """Return what cancelling or deleting a part of a series changes.

    :param status: ``cancelled`` or ``deleted``; booked slots are cancelled, but not deleted.
    """
    segments = []
    for spec in series.specs:
        start = extent.bounds.get(spec.id)
        if start is not None and (spec.ends_before is None or start < spec.ends_before):
            start = max(start, spec.active_from or start)
            segments.append(SegmentChange(spec.id, spec.revision, {"cancelled_from": start}))
    changed, kept, completed = [], [], []
    values: dict[str, Any] = {"status": status.value, "ended_with_series": True, "cancel_reason": reason}
    for row in series.rows:
        if not series.is_future(row) or not extent.holds(row):
            continue
        if row.status == Status.COMPLETED:
            completed.append(row)
        elif row.status == Status.SCHEDULED and row.live and status is Status.DELETED:
            kept.append(row)
        elif row.status == Status.SCHEDULED:
            changed.append(RowChange(row, values))
    return EndPlan(tuple(segments), tuple(changed), tuple(kept), tuple(completed))


def plan_restore(series: StoredSeries, extent: Extent, key: SlotKey | None) -> EndPlan:
    """Return what taking back the end of a part of a series changes.

    Only slots that ended with the series come back, and the one that is named: others were cancelled for themselves.
    Where the series was edited meanwhile, they come back as it is by now.
    """
    segments = []
    for spec in series.specs:
        if spec.id not in extent.bounds or spec.cancelled_from is None:
            continue
        is_divided = extent.cut is not None and spec.id == next(iter(extent.bounds))
        cut = extent.cut if is_divided and extent.cut and extent.cut > spec.cancelled_from else None
        segments.append(SegmentChange(spec.id, spec.revision, {"cancelled_from": None}, cut))
    back: dict[int, list[StoredSlot]] = {spec.id: [] for spec in series.specs}
    for row in series.rows:
        is_meant = row.key == key or (row.ended_with_series and extent.holds(row))
        if is_meant and row.status in (Status.CANCELLED, Status.DELETED) and series.is_future(row):
            back[row.template_id].append(row)
    starts = {
        spec.id: planning.starts_around(rule_of(spec), [row.original_start for row in back[spec.id]])
        for spec in series.specs
    }
    changes, kept, specs = [], [], {spec.id: spec for spec in series.specs}
    taken = {row.starts_at for row in series.rows if row.stands}
    for row in sorted((row for rows in back.values() for row in rows), key=lambda row: row.original_start):
        values, is_kept = restored_values(specs[row.template_id], row, starts[row.template_id])
        starts_at = values.get("starts_at", row.starts_at)
        is_late = starts_at in taken or starts_at <= series.now
        if is_late or is_kept:
            kept.append(row)
        if not is_late:
            taken.add(starts_at)
            changes.append(RowChange(row, values))
    return EndPlan(tuple(segments), tuple(changes), tuple(kept))


def restored_values(
    spec: TemplateSpec, row: StoredSlot, starts: Mapping[datetime, datetime]
) -> tuple[dict[str, Any], bool]:
    """Return the values of a slot that comes back, and whether it keeps its places because they are booked.

    It comes back as its series is by now, except for what a person changed on the slot. A booked one keeps its time.

    :param starts: what the rule alone promises around the slot.
    """
    values, is_kept = changed_values(row, Changes(capacity=spec.capacity, data=spec.data))
    values |= {"status": Status.SCHEDULED.value, "cancel_reason": None, "ended_with_series": None}
    if not row.live:
        values |= planned_times(spec, row, starts) or {}
    return values, is_kept
