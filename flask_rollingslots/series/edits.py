"""Edits by scope: the plan that a preview shows is the plan that is written.

``plan_this`` and ``plan_edit`` work out what changes, from plain values. ``edit`` and ``apply_edit`` write it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask_rollingslots import planning
from flask_rollingslots.errors import SlotBooked, StaleEdit, StatusConflict, refusal
from flask_rollingslots.loading import pruned_until
from flask_rollingslots.recurrence.zones import instant_of
from flask_rollingslots.signals import series_edited
from flask_rollingslots.values import Scope, SlotKey, Status, StoredSlot, TemplateSpec, Window

from .plans import Changes, EditPlan, RowChange, SegmentChange, read_changes
from .segments import (
    RuleChange,
    StoredSeries,
    bound_at,
    change_rule,
    first_from,
    in_order,
    last_before,
    last_kept,
    rule_of,
)
from .storage import decided_slot, deciding, load_series, refuse_blocked, refuse_stale, write_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import TemplateMixin
    from flask_rollingslots.values import PlannedSlot


# -- writing -----------------------------------------------------------------------------------------------


def edit(
    work: Work,
    key: SlotKey,
    scope: Scope,
    changes: Mapping[str, Any],
    revision: int | None = None,
    move_booked: bool = False,
    segments: Sequence[TemplateMixin] = (),
) -> EditPlan:
    """Change slots, and return what was changed; see ``RollingSlots.edit``.

    :param revision: of the slot's segment, as the person who edits has seen it.
    :param segments: the series as it would be by then, for a dry run of what changes more of it: copies, which
        then show the plan too.
    """
    asked = EditPlan(key, scope, read_changes(scope, changes), move_booked)
    if revision is not None and (isinstance(revision, bool) or not isinstance(revision, int)):
        raise refusal("revision", revision, "the whole number that the template's revision was")
    return _edited(work, asked, lambda plan: refuse_stale(plan.revision, revision, "the series"), segments)


def apply_edit(work: Work, preview: EditPlan) -> EditPlan:
    """Write what a preview showed, if it would still do exactly that; see ``RollingSlots.apply_edit``."""

    def check(plan: EditPlan) -> None:
        if plan.token != preview.token:
            raise StaleEdit("the preview is stale: look at a new one, then apply that")

    asked = EditPlan(preview.key, preview.scope, preview.changes, preview.move_booked)
    return _edited(work, asked, check)


def _edited(
    work: Work,
    asked: EditPlan,
    check: Callable[[EditPlan], None],
    segments: Sequence[TemplateMixin] = (),
) -> EditPlan:
    """Do what was asked for if the plan passes a check."""
    if asked.scope is Scope.THIS and not work.dry_run:
        # Whatever is refused is refused before a virtual slot becomes a row.
        plan = _decide(replace(work, dry_run=True), asked, check)
        if plan.changed:
            with decided_slot(work, asked.key):
                plan = _decide(work, asked, check)
    else:
        plan = _decide(work, asked, check, segments)
    work.outbox.add(series_edited, plan=plan)
    return plan


def _decide(
    work: Work,
    asked: EditPlan,
    check: Callable[[EditPlan], None],
    segments: Sequence[TemplateMixin] = (),
) -> EditPlan:
    key, touch_times = asked.key, asked.changes.touch_times
    with deciding(work):
        series = load_series(work, key.series_id, key, resources=asked.move_booked and touch_times)
        if work.dry_run and segments:
            series = replace(series, specs=in_order(segment.spec() for segment in segments))
        if asked.scope is Scope.THIS:
            plan = plan_this(series, asked)
        else:
            plan = plan_edit(replace(series, pruned=pruned_until(work)) if touch_times else series, asked)
        refuse_blocked(work, series, plan.changed)
        check(plan)
        if work.dry_run:
            planned = {change.template_id: change.values for change in plan.segments}
            for segment in segments:
                for name, value in planned.get(segment.id, {}).items():
                    setattr(segment, name, value)
        write_plan(work, series, plan)
    return plan


# -- one slot ----------------------------------------------------------------------------------------------


def plan_this(series: StoredSeries, asked: EditPlan) -> EditPlan:
    """Return what an edit of one slot changes: its values, whose names are remembered.

    :raises SlotNotFound: if there is no such slot.
    :raises StatusConflict: if it is cancelled, completed or over.
    :raises SlotBooked: if it is booked and would be moved, or would have fewer places than are taken.
    :raises InvalidRequest: if the new start is in the past, or another slot of the series is there.
    """
    key, changes = asked.key, asked.changes
    row = series.row_at(key) or series.virtual_at(key)
    spec = series.specs[series.place_of(key, row)]
    if row.status != Status.SCHEDULED or row.ends_at <= series.now:
        word = row.status if row.status != Status.SCHEDULED else "over"
        raise StatusConflict(f"slot {key} is {word}: it cannot be changed", key=str(key), status=row.status)
    values, names = _times_of_one(series, spec, row, changes)
    fault = None
    if values and row.live and not asked.move_booked:
        fault = f"slot {key} is booked ({row.live} places): expected move_booked=True to give it other times"
    elif changes.capacity is not None and row.live > changes.capacity:
        fault = f"capacity = {changes.capacity}: slot {key} has {row.live} places booked already"
    if fault is not None:
        raise SlotBooked(fault, key=str(key), booked=row.live)
    values |= changed_values(row._replace(customised=()), changes)[0]
    names |= {name for name in ("capacity", "data") if getattr(changes, name) is not None}
    if not names <= set(row.customised):
        values["customised"] = sorted({*row.customised, *names})
    changed = (RowChange(row, values),) if values else ()
    return replace(asked, revision=spec.revision, revisions=series.revisions, changed=changed)


def _times_of_one(
    series: StoredSeries, spec: TemplateSpec, row: StoredSlot, changes: Changes
) -> tuple[dict[str, Any], set[str]]:
    """Return what changes of the times of one slot, and the names of the fields that a person gave."""
    starts_at, length, names = row.starts_at, row.ends_at - row.starts_at, set[str]()
    if changes.start is not None:
        zone = ZoneInfo(spec.timezone)
        shown = row.starts_at.astimezone(zone).replace(tzinfo=None)
        try:
            starts_at = instant_of(changes.start_for(shown), zone)
        except OverflowError:
            raise refusal("start", changes.start, "a time within the calendar") from None
        names.add("starts_at")
    if changes.duration is not None:
        length = changes.duration
        names.add("ends_at")
    if starts_at != row.starts_at:
        if starts_at <= series.now or row.starts_at <= series.now:
            raise refusal("start", changes.start, "a time in the future, for a slot that has not started")
        other = series.standing_at(row.key, starts_at)
        if other is not None:
            expected = f"a time at which no other slot of the series is: {other} is there"
            raise refusal("start", changes.start, expected)
    return (changed_times(spec, row, starts_at, starts_at + length) if names else {}), names


# -- what becomes of a row ---------------------------------------------------------------------------------


def changed_times(
    spec: TemplateSpec, row: StoredSlot, starts_at: datetime, ends_at: datetime
) -> dict[str, Any]:
    """Return what changes of a row's times when it is moved; opening and closing follow unless a person set them."""
    planned = planning.times_of(spec, row.original_start, starts_at, ZoneInfo(spec.timezone))
    values: dict[str, Any] = {"starts_at": starts_at, "ends_at": ends_at}
    for name in ("opens_at", "closes_at"):
        if name not in row.customised:
            values[name] = getattr(planned, name)
    return {name: value for name, value in values.items() if value != getattr(row, name)}


def planned_times(
    spec: TemplateSpec, row: StoredSlot, starts: Mapping[datetime, datetime]
) -> dict[str, Any] | None:
    """Return what changes of a row's times when it goes where its rule says; ``None`` if the rule lacks it.

    What is stored belongs to its rule also while that is switched off, and after its end: rows stay then. A start or a
    length that a person gave to the slot stays.

    :param starts: what the rule alone promises around the row.
    """
    starts_at = starts.get(row.original_start)
    if starts_at is None:
        return None
    starts_at = row.starts_at if "starts_at" in row.customised else starts_at
    length = row.ends_at - row.starts_at if "ends_at" in row.customised else spec.duration
    return changed_times(spec, row, starts_at, starts_at + length)


def changed_values(row: StoredSlot, changes: Changes) -> tuple[dict[str, Any], bool]:
    """Return what changes of a row's capacity and data, unless a person set them, and whether bookings forbid it."""
    values: dict[str, Any] = {}
    forbidden = False
    capacity = changes.capacity
    if capacity is not None and "capacity" not in row.customised and capacity != row.capacity:
        forbidden = row.live > capacity
        if not forbidden:
            values["capacity"] = capacity
    if changes.data is not None and "data" not in row.customised:
        merged = {**row.data, **changes.data}
        if merged != row.data:
            values["data"] = merged
    return values, forbidden


# -- this and future, or all -------------------------------------------------------------------------------


def plan_edit(series: StoredSeries, asked: EditPlan) -> EditPlan:
    """Return what an edit of this and future slots, or of all, changes.

    :raises SlotNotFound: if no segment has this start.
    :raises InvalidRequest: if the change makes no sense; names field, value and expectation.
    :raises InvalidRule: if the new rule is not valid.
    """
    place = series.place_of(asked.key)
    segments = _edited_segments(series, place, asked)
    plan = replace(
        _reconciled(series, segments, asked),
        revision=series.specs[place].revision,
        revisions=series.revisions,
        segments=tuple(segment.change for segment in segments if segment.change is not None),
    )
    if not asked.changes.touch_times:
        return plan
    return replace(plan, created=tuple(_created(series, segments, plan)))


@dataclass(eq=False)
class _EditedSegment:
    """A segment in the scope of an edit.

    :param old: as it was.
    :param new: as it will be.
    :param first: the first original start (naive) that it may show again.
    :param rows: its stored slots from a bound on, as far as an edit may change them.
    :param window: in which slots are stored.
    """

    old: TemplateSpec
    new: TemplateSpec
    first: datetime
    change: SegmentChange | None
    rows: list[StoredSlot]
    window: Window

    @cached_property
    def starts(self) -> dict[datetime, datetime]:
        """What its new rule alone promises in the window and around its rows: expanded once, and only if asked for."""
        return self._expand(self.new)

    @cached_property
    def starts_before(self) -> dict[datetime, datetime]:
        """The same for its old rule."""
        return self._expand(self.old) if self.old is not self.new else self.starts

    def _expand(self, spec: TemplateSpec) -> dict[datetime, datetime]:
        return planning.starts_around(rule_of(spec), [row.original_start for row in self.rows], self.window)

    def shown(
        self, spec: TemplateSpec, starts: Mapping[datetime, datetime]
    ) -> Iterator[tuple[datetime, datetime]]:
        """Yield (original start, start) of what is shown in the window."""
        window, last = self.window, spec.cancelled_from or datetime.max
        for original_start, starts_at in starts.items() if spec.active else ():
            if window.start <= starts_at < window.end and original_start < last:
                yield original_start, starts_at


def _edited_segments(series: StoredSeries, place: int, asked: EditPlan) -> list[_EditedSegment]:
    original_start, changes = asked.key.original_start, asked.changes
    spec, is_later = series.specs[place], asked.scope is Scope.THIS_AND_FUTURE
    # If its rule yields nothing before the start, there is nothing to cut off.
    is_cut = is_later and last_before(replace(spec, cancelled_from=None), original_start) is not None
    last = after = None
    if is_later and changes.touch_times:  # also a stored slot may be the last one, which outlived its rule
        last = last_kept(series.specs, place, original_start if is_cut else None)
        starts = [row.original_start for row in series.rows if row.original_start < original_start]
        after = max([*starts, *(last[:1] if last is not None else ())], default=None)
    moved = change_rule(spec, original_start, changes, is_cut=is_later, after=after)
    others = [other for other in series.specs[place if is_later else 0 :] if other is not spec]
    if "rrule" in moved.values and others:
        later = series.specs[-1]
        begins = f"{later.active_from:%Y-%m-%d %H:%M}" if later.active_from else "its start"
        raise changes.refusal(
            f"this_and_future from a slot of the last part (from {begins} on): this needs a new rule, and the series "
            f"has been cut, so that {1 + len(others)} parts have a rule each"
        )
    if is_later and changes.touch_times:
        first = _first_shown(spec, moved, changes, is_cut)
        if last is not None and first <= last[1]:
            expected = f"a time after {last[1]:%Y-%m-%d %H:%M}, the last slot before the change"
            raise refusal("start", first, expected)
    if not is_later:
        moved = moved._replace(bound=datetime.min)
    elif "rrule" in moved.values:  # a new rule may not bring anything before the slot
        moved.values["active_from"] = moved.bound
    result = [_segment(series, spec, changes, moved, is_cut)]
    shift = moved.values.get("shift", spec.shift) - spec.shift
    for other in others:
        values = {"shift": other.shift + shift} if shift else {}
        result.append(_segment(series, other, changes, RuleChange(values, datetime.min)))
    return result


def _segment(
    series: StoredSeries, spec: TemplateSpec, changes: Changes, moved: RuleChange, is_cut: bool = False
) -> _EditedSegment:
    values = {**moved.values}
    for name in ("duration", "capacity", "name"):
        value = getattr(changes, name)
        if value is not None:
            values[name] = value
    if changes.data is not None:
        values["data"] = {**spec.data, **changes.data}
    values = {name: value for name, value in values.items() if value != getattr(spec, name)}
    change, new, first = None, spec, datetime.min
    if values:
        begins = {"active_from": moved.bound} if is_cut else {}
        new = replace(spec, **{**begins, **values})
        planning.recurrence_of(new)  # refuses what is not valid before anything is written
        pruned = _behind_pruned(series, spec, new)
        if pruned is not None:
            values["active_from"] = first = pruned
        change = SegmentChange(spec.id, values, moved.bound if is_cut else None)
    rows = [
        row
        for row in series.rows
        if row.template_id == spec.id
        and row.original_start >= moved.bound
        and row.status == Status.SCHEDULED
        and series.is_future(row)
    ]
    return _EditedSegment(spec, new, first, change, rows, Window(series.now, series.horizon))


def _behind_pruned(series: StoredSeries, old: TemplateSpec, new: TemplateSpec) -> datetime | None:
    """Return where a segment is to begin that would show again, at its new times, what took place and was pruned.

    No row says any more that it did. ``None``: it shows nothing of that.
    """
    if series.pruned is None:
        return None
    bound = bound_at(old, series.pruned)
    shown_until = (bound + new.shift).replace(tzinfo=ZoneInfo(new.timezone)) + new.duration
    begins_earlier = new.active_from is None or new.active_from < bound
    return bound if begins_earlier and shown_until > series.now else None


def _first_shown(spec: TemplateSpec, moved: RuleChange, changes: Changes, is_cut: bool) -> datetime:
    """Return when the first slot of the changed part is shown (naive)."""
    begins = moved.bound if is_cut else min(moved.bound, spec.active_from or moved.bound)
    values = {name: value for name, value in moved.values.items() if value is not None}
    new = replace(spec, **{**values, "active_from": begins})
    first = first_from(new, moved.bound)
    if first is None:
        raise changes.refusal("a change that leaves at least one slot")
    return first + new.shift


def _reconciled(series: StoredSeries, segments: list[_EditedSegment], asked: EditPlan) -> EditPlan:
    """Return a plan with the stored slots in scope, sorted into changed, removed and kept ones."""
    removed: list[StoredSlot] = []
    pending: list[tuple[StoredSlot, dict[str, Any], dict[str, Any], bool]] = []
    moves: dict[int, tuple[datetime, datetime]] = {}
    rows = [(row, segment) for segment in segments for row in segment.rows]
    for row, segment in sorted(rows, key=lambda pair: pair[0].original_start):
        values, is_forbidden = changed_values(row, asked.changes)
        times, is_kept = _new_times(series, segment, row, asked)
        if times is None:
            removed.append(row)
            continue
        if "starts_at" in times:
            moves[row.id] = (row.starts_at, times["starts_at"])
        pending.append((row, times, values, is_forbidden or is_kept))
    # Who would move onto the instant of a slot that stays: an untouched one goes, others stay where they are.
    away = {row.id for row in removed} | moves.keys()
    taken = [row.starts_at for row in series.rows if row.stands and row.id not in away]
    leaving = {row.id for row, *_ in pending if row.id in moves and row.is_untouched}
    stuck = moves.keys() - planning.uncrowded(moves, taken, leaving)
    removed += [row for row, *_ in pending if row.id in stuck & leaving]
    stay = [each for each in pending if each[0].id not in stuck & leaving]
    kept = [row for row, _, _, is_kept in stay if is_kept or row.id in stuck]
    changed = [
        RowChange(row, values if row.id in stuck else times | values) for row, times, values, _ in stay
    ]
    return replace(
        asked,
        changed=tuple(change for change in changed if change.values),
        removed=tuple(removed),
        kept_booked=tuple(row for row in kept if row.live),
        kept_changed=tuple(row for row in kept if not row.live),
    )


def _new_times(
    series: StoredSeries, segment: _EditedSegment, row: StoredSlot, asked: EditPlan
) -> tuple[dict[str, Any] | None, bool]:
    """Return a row's new times (``None``: the slot goes), and whether it stays although it should not."""
    if not asked.changes.touch_times:
        return {}, False
    times = planned_times(segment.new, row, segment.starts)
    if times is None:
        return (None, False) if row.is_untouched else ({}, row.original_start in segment.starts_before)
    if times and row.live and not asked.move_booked:
        return {}, True
    if times and times.get("starts_at", row.starts_at) <= series.now:
        # By the new rule it has started already, and what has started is not made any more.
        return (None, False) if row.is_untouched else ({}, True)
    return times, False


def _created(series: StoredSeries, segments: list[_EditedSegment], plan: EditPlan) -> Iterable[PlannedSlot]:
    """Return what the new rules add within the window: neither stored nor promised before."""
    removed = {row.original_start for row in plan.removed}
    stored = {row.original_start for row in series.rows} - removed
    moved = {
        change.row.id: change.values["starts_at"] for change in plan.changed if "starts_at" in change.values
    }
    standing = [row for row in series.rows if row.stands and row.original_start not in removed]
    taken = {moved.get(row.id, row.starts_at) for row in standing}
    added = [
        (segment.new, original_start, starts_at)
        for segment in segments
        for original_start, starts_at in segment.shown(segment.new, segment.starts)
        if original_start >= segment.first
        and original_start not in stored
        and starts_at > series.now
        and starts_at not in taken
    ]
    if not added:
        return
    before = {
        original_start
        for segment in segments
        for original_start, _ in segment.shown(segment.old, segment.starts_before)
        if original_start not in removed
    }
    for spec, original_start, starts_at in added:
        if original_start not in before:
            yield planning.planned_slot(spec, original_start, starts_at, ZoneInfo(spec.timezone))
