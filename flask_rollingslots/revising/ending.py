"""Cancelling, deleting and restoring many slots as a plan: a bound on the segments, a status on the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask_rollingslots import planning
from flask_rollingslots.values import Scope, SlotKey, Status, TemplateSpec, Window

from .changes import Changes
from .result import RowChange, SegmentChange
from .rows import RowState, rule_times, value_changes
from .segments import bound_at, find_segment, just_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .edit import Case


@dataclass(frozen=True, slots=True)
class EndPlan:
    """What a decision about many slots changes.

    :param kept: slots that stay although they were meant: booked ones that were to be deleted, or slots to be
        restored whose time, or whose exclusive resource, is taken; also those that come back with more places than
        their series has by now, for they are booked.
    :param completed: completed slots: they stay.
    """

    segments: tuple[SegmentChange, ...]
    changed: tuple[RowChange, ...]
    kept: tuple[RowState, ...]
    completed: tuple[RowState, ...]

    def without(self, blocked: Sequence[RowChange]) -> EndPlan:
        """Return the plan in which some slots stay as they are."""
        rest = tuple(change for change in self.changed if change not in blocked)
        rows = tuple(change.row for change in blocked if change.row not in self.kept)
        return replace(self, changed=rest, kept=(*self.kept, *rows))


@dataclass(frozen=True, slots=True)
class Reach:
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

    def holds(self, row: RowState) -> bool:
        """Whether a stored slot is in the part."""
        bound = self.rows_from.get(row.template_id)
        if bound is None:
            return False
        return row.original_start >= bound if self.since is None else row.starts_at >= self.since


def reach_of(case: Case, scope: Scope, key: SlotKey, *, ended: bool = False) -> Reach:
    """Return the part of a series that a scope means; never what has started.

    :param ended: also find a slot that was cancelled or deleted with the series.
    :raises SlotNotFound: if no segment has this start.
    """
    place = find_segment(case.specs, key, case.row_at(key), ended=ended)
    if scope is Scope.ALL:
        return reach_from(case, case.now)
    bounds: dict[int, datetime] = {}
    rows_from: dict[int, datetime] = {}
    for spec in case.specs[place:]:
        begin = datetime.min if bounds else key.original_start
        bounds[spec.id] = max(begin, bound_at(spec, just_after(case.now)))
        rows_from[spec.id] = begin
    return Reach(bounds, rows_from, cut=key.original_start)


def reach_from(case: Case, moment: datetime) -> Reach:
    """Return the part of a series that starts at a moment (aware) or later, and has not started."""
    since = max(moment, just_after(case.now))
    bounds = {spec.id: bound_at(spec, since) for spec in case.specs}
    return Reach(bounds, dict.fromkeys(bounds, datetime.min), since)


def plan_end(case: Case, reach: Reach, status: Status, reason: str | None) -> EndPlan:
    """Return what cancelling or deleting a part of a series changes.

    :param status: ``cancelled`` or ``deleted``; booked slots are cancelled, but not deleted.
    """
    segments = []
    for spec in case.specs:
        start = reach.bounds.get(spec.id)
        if start is not None and (spec.ends_before is None or start < spec.ends_before):
            start = max(start, spec.active_from or start)
            segments.append(SegmentChange(spec.id, spec.revision, {"cancelled_from": start}))
    changed, kept, completed = [], [], []
    values: dict[str, Any] = {"status": status.value, "ended_with_series": True, "cancel_reason": reason}
    for row in case.rows:
        if not case.is_future(row) or not reach.holds(row):
            continue
        if row.status == Status.COMPLETED:
            completed.append(row)
        elif row.status == Status.SCHEDULED and row.live and status is Status.DELETED:
            kept.append(row)
        elif row.status == Status.SCHEDULED:
            changed.append(RowChange(row, values))
    return EndPlan(tuple(segments), tuple(changed), tuple(kept), tuple(completed))


def plan_restore(case: Case, reach: Reach, key: SlotKey | None) -> EndPlan:
    """Return what taking back the end of a part of a series changes.

    Only slots that ended with the series come back, and the one that is named: others were cancelled for themselves.
    Where the series was edited meanwhile, they come back as it is by now.
    """
    segments, specs = [], {spec.id: spec for spec in case.specs}
    for spec in case.specs:
        if spec.id not in reach.bounds or spec.cancelled_from is None:
            continue
        specs[spec.id] = replace(spec, cancelled_from=None)
        is_divided = reach.cut is not None and spec.id == next(iter(reach.bounds))
        cut = reach.cut if is_divided and reach.cut and reach.cut > spec.cancelled_from else None
        segments.append(SegmentChange(spec.id, spec.revision, {"cancelled_from": None}, cut))
    changes, kept = [], []
    taken = {row.starts_at for row in case.rows if row.stands}
    for row in case.rows:
        if not _comes_back(case, row, reach, key):
            continue
        values, is_kept = restored(specs[row.template_id], row)
        starts_at = values.get("starts_at", row.starts_at)
        is_late = starts_at in taken or starts_at <= case.now
        if is_late or is_kept:
            kept.append(row)
        if not is_late:
            taken.add(starts_at)
            changes.append(RowChange(row, values))
    return EndPlan(tuple(segments), tuple(changes), tuple(kept), ())


def _comes_back(case: Case, row: RowState, reach: Reach, key: SlotKey | None) -> bool:
    ended = row.status in (Status.CANCELLED, Status.DELETED)
    if not ended or not case.is_future(row):
        return False
    return row.key == key or (row.ended_with_series and reach.holds(row))


def restored(spec: TemplateSpec, row: RowState) -> tuple[dict[str, Any], bool]:
    """Return the values of a slot that comes back, and whether it keeps its places because they are booked.

    It comes back as its series is by now, except for what a person changed on the slot. A booked one keeps its time.
    """
    values, is_kept = value_changes(row, Changes(capacity=spec.capacity, data=spec.data))
    values |= {
        "status": Status.SCHEDULED.value,
        "cancel_reason": None,
        "ended_with_series": None,
    }
    if not row.live:
        values |= rule_times(replace(spec, cancelled_from=None), row) or {}
    return values, is_kept


def is_taken(case: Case, row: RowState, starts_at: datetime) -> bool:
    """Whether another slot of the series stands at an instant, stored or promised."""
    if any(other.stands and other.key != row.key and other.starts_at == starts_at for other in case.rows):
        return True
    stored = {other.key for other in case.rows}
    window = Window(starts_at, just_after(starts_at))
    offers = (offer for spec in case.specs for offer in planning.offered(spec, window))
    return any(offer.key not in stored for offer in offers)
