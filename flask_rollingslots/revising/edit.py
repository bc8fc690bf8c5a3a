"""A wide edit as a plan: segments cut by their bounds, stored slots compared with what is promised then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask_rollingslots import planning
from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.values import Scope, SlotKey, Status, TemplateSpec, Window

from .changes import Changes
from .moving import Move, check_behind, move
from .result import EditPlan, RowChange, SegmentChange
from .rows import RowState, rule_times, value_changes
from .segments import find_segment, first_from, is_first, last_kept

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Case:
    """A series as it is stored.

    :param specs: all segments, in order.
    :param rows: the stored slots that are not over, in any status, and the one in question.
    :param now: aware.
    :param horizon: until when slots are stored, UTC: created ones are counted up to there.
    """

    specs: tuple[TemplateSpec, ...]
    rows: tuple[RowState, ...]
    now: datetime
    horizon: datetime

    def row_at(self, key: SlotKey) -> RowState | None:
        """Return the stored slot at a key."""
        return next((row for row in self.rows if row.key == key), None)

    def is_future(self, row: RowState) -> bool:
        """Whether a stored slot has not started."""
        return row.starts_at > self.now

    @property
    def revisions(self) -> tuple[tuple[int, int], ...]:
        """The revisions of all segments, by id."""
        return tuple(sorted((spec.id, spec.revision) for spec in self.specs))


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment in the scope of an edit: as it was, as it will be, and from which original start on."""

    old: TemplateSpec
    new: TemplateSpec
    change: SegmentChange | None
    bound: datetime | None

    def holds(self, row: RowState) -> bool:
        return row.template_id == self.old.id and (self.bound is None or row.original_start >= self.bound)


def plan_edit(
    case: Case, key: SlotKey, scope: Scope, changes: Changes, move_booked: bool = False
) -> EditPlan:
    """Return what an edit of this and future slots, or of all, changes.

    :raises SlotNotFound: if no segment has this start.
    :raises InvalidRequest: if the change makes no sense; names field, value and expectation.
    :raises InvalidRule: if the new rule is not valid.
    """
    place = find_segment(case.specs, key, case.row_at(key))
    segments = _segments(case, place, key.original_start, scope, changes)
    outcome = _Outcome(case, segments, changes, move_booked)
    outcome.compare()
    return EditPlan(
        key,
        scope,
        changes,
        move_booked,
        case.specs[place].revision,
        case.revisions,
        tuple(segment.change for segment in segments if segment.change is not None),
        tuple(_created(case, segments, outcome)) if changes.touch_times else (),
        tuple(outcome.changed),
        tuple(outcome.removed),
        tuple(outcome.kept_booked),
        tuple(outcome.kept_changed),
    )


def _segments(
    case: Case, place: int, original_start: datetime, scope: Scope, changes: Changes
) -> list[_Segment]:
    spec, is_later = case.specs[place], scope is Scope.THIS_AND_FUTURE
    is_cut = is_later and not is_first(spec, original_start)
    cut = original_start if is_cut else None
    after = _last_start(case, place, cut, original_start) if is_later and changes.touch_times else None
    moved = move(spec, original_start, changes, is_cut=is_later, after=after)
    others = case.specs[place + 1 :] if is_later else case.specs
    if "rrule" in moved.values:
        _check_alone(case, place, scope, changes)
    if is_later and changes.touch_times:
        _check_order(case, place, cut, moved, changes)
    result = [_segment(spec, changes, moved, is_cut=is_cut, is_later=is_later)]
    shift = moved.values.get("shift", spec.shift) - spec.shift
    for other in others:
        if other.id != spec.id:
            values = {"shift": other.shift + shift} if shift else {}
            result.append(_segment(other, changes, Move(values, datetime.min), is_cut=False))
    return result


def _last_start(case: Case, place: int, cut: datetime | None, original_start: datetime) -> datetime | None:
    """Return the last original start before a slot, of a rule or of a stored slot that outlived its rule."""
    last = last_kept(case.specs, place, cut)
    starts = [row.original_start for row in case.rows if row.original_start < original_start]
    return max([*starts, *([last.original_start] if last else [])], default=None)


def _segment(
    spec: TemplateSpec, changes: Changes, moved: Move, *, is_cut: bool, is_later: bool = False
) -> _Segment:
    values, since = {**moved.values}, moved.bound if is_later else None
    if is_later and "rrule" in values:
        values["active_from"] = moved.bound  # a new rule may not bring anything before the slot
    for name in ("duration", "capacity", "name"):
        value = getattr(changes, name)
        if value is not None:
            values[name] = value
    if changes.data is not None:
        values["data"] = {**spec.data, **changes.data}
    values = {name: value for name, value in values.items() if value != getattr(spec, name)}
    if not values:
        return _Segment(spec, spec, None, since)
    if not is_cut:
        new = replace(spec, **values)
        planning.recurrence_of(new)  # refuses what is not valid before anything is written
        return _Segment(spec, new, SegmentChange(spec.id, spec.revision, values), since)
    new = replace(spec, **{"active_from": moved.bound, **values})
    planning.recurrence_of(new)
    return _Segment(spec, new, SegmentChange(spec.id, spec.revision, values, moved.bound), since)


def _check_alone(case: Case, place: int, scope: Scope, changes: Changes) -> None:
    """A rule replaces one rule: several segments have several."""
    count = len(case.specs) if scope is Scope.ALL else len(case.specs) - place
    if count > 1:
        field = "start" if changes.rrule is None else "rrule"
        later = case.specs[-1]
        begins = f"{later.active_from:%Y-%m-%d %H:%M}" if later.active_from else "its start"
        raise InvalidRequest(
            f"{field}: this needs a new rule, and the series has been cut, so that {count} parts have a rule each; "
            f"expected this_and_future from a slot of the last part (from {begins} on)",
            field=field,
            value=getattr(changes, field),
            expected="a slot of the last part",
        )


def _check_order(case: Case, place: int, cut: datetime | None, moved: Move, changes: Changes) -> None:
    spec = case.specs[place]
    values = {name: value for name, value in moved.values.items() if value is not None}
    new = replace(spec, **values, active_from=min(moved.bound, spec.active_from or moved.bound))
    if cut is not None:
        new = replace(new, active_from=moved.bound)
    first = first_from(new, moved.bound)
    if first is None:
        field = "rrule" if changes.rrule is not None else "start"
        raise InvalidRequest(
            f"{field} = {getattr(changes, field)!r}: expected a change that leaves at least one slot",
            field=field,
            value=getattr(changes, field),
            expected="at least one slot",
        )
    last = last_kept(case.specs, place, cut)
    check_behind(last and last.shown, first + new.shift, changes.start)


class _Outcome:
    """Sorts the stored slots in scope into changed, removed and kept."""

    def __init__(self, case: Case, segments: Iterable[_Segment], changes: Changes, move_booked: bool) -> None:
        self.case, self.segments, self.changes, self.move_booked = case, list(segments), changes, move_booked
        self.changed: list[RowChange] = []
        self.removed: list[RowState] = []
        self.kept_booked: list[RowState] = []
        self.kept_changed: list[RowState] = []
        self._moves: dict[int, tuple[datetime, datetime]] = {}
        self._kept: set[int] = set()

    def compare(self) -> None:
        pending: list[tuple[RowState, dict[str, Any], dict[str, Any]]] = []
        for row in self.case.rows:
            segment = next((s for s in self.segments if s.holds(row)), None)
            if segment is None or row.status != Status.SCHEDULED or not self.case.is_future(row):
                continue
            values, forbidden = value_changes(row, self.changes)
            times, is_kept = self._times(row, segment) if self.changes.touch_times else ({}, False)
            if times is None:
                self.removed.append(row)
                continue
            if forbidden or is_kept:
                self._keep(row)
            if times.get("starts_at", row.starts_at) != row.starts_at:
                self._moves[_id(row)] = (row.starts_at, times["starts_at"])
            pending.append((row, times, values))
        self._settle(pending)

    def _times(self, row: RowState, segment: _Segment) -> tuple[dict[str, Any] | None, bool]:
        """Return the new times (``None``: the slot goes), and whether it stays although it should not."""
        times = rule_times(segment.new, row)
        if times is None:
            is_new = rule_times(segment.old, row) is not None
            return ({}, is_new) if not row.is_untouched else (None, False)
        if not times:
            return {}, False
        if row.live and not self.move_booked:
            return {}, True
        if times.get("starts_at", row.starts_at) <= self.case.now:
            # By the new rule it has started already, and what has started is not made any more.
            return ({}, True) if not row.is_untouched else (None, False)
        return times, False

    def _settle(self, pending: list[tuple[RowState, dict[str, Any], dict[str, Any]]]) -> None:
        """Drop moves onto the instant of a slot that stays: an untouched one goes, others stay where they are."""
        gone = {row.id for row in self.removed}
        taken = [
            row.starts_at
            for row in self.case.rows
            if row.stands and row.id not in self._moves and row.id not in gone
        ]
        untouched = {_id(row) for row, _, _ in pending if row.is_untouched}
        free = planning.uncrowded(self._moves, taken, untouched)
        for row, times, values in pending:
            if row.id in self._moves and row.id not in free:
                if row.is_untouched:
                    self.removed.append(row)
                    continue
                self._keep(row)
                times = {}
            if times or values:
                self.changed.append(RowChange(row, times | values))

    def _keep(self, row: RowState) -> None:
        if _id(row) not in self._kept:
            self._kept.add(_id(row))
            (self.kept_booked if row.live else self.kept_changed).append(row)

    def taken(self) -> set[datetime]:
        """Return the instants at which stored slots stand afterwards."""
        gone = {row.id for row in self.removed}
        moved = {change.row.id: change.values for change in self.changed}
        return {
            moved.get(row.id, {}).get("starts_at", row.starts_at)
            for row in self.case.rows
            if row.stands and row.id not in gone
        }


def _id(row: RowState) -> int:
    return row.id or 0


def _created(case: Case, segments: list[_Segment], outcome: _Outcome) -> Iterable[Any]:
    """Yield what the new rules add within the window: neither stored nor promised before."""
    window = Window(case.now, case.horizon)
    stored = {row.key for row in case.rows} - {row.key for row in outcome.removed}
    before = {slot.key for segment in segments for slot in planning.offered(segment.old, window)}
    before -= {row.key for row in outcome.removed}
    taken = outcome.taken()
    for segment in segments:
        for slot in planning.offered(segment.new, window):
            is_new = slot.key not in before and slot.key not in stored
            if is_new and slot.starts_at > case.now and slot.starts_at not in taken:
                yield slot
