"""Edits by scope, from a new start to a shift or a new rule: the plan that a preview shows is what is written.

``plan_this`` and ``plan_edit`` work out what changes, from plain values. ``edit`` and ``apply_edit`` write it.
"""

from __future__ import annotations

import hashlib
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .. import planning
from ..context import Work, pruned_until
from ..errors import SlotBooked, StaleEdit, StatusConflict, refusal
from ..models import FIELDS, TemplateMixin, check_template
from ..models.fields import SPEC_LISTS
from ..recurrence import Recurrence
from ..recurrence.zones import instant_of
from ..signals import series_edited
from ..values import (
    MICROSECOND,
    MINUTE,
    PlannedSlot,
    Scope,
    SlotKey,
    Status,
    StoredSlot,
    TemplateSpec,
    Window,
)
from . import storage
from .changes import Changes, read_changes
from .storage import RowChange, SegmentChange, SeriesPlan, StoredSeries, rule_of

#: Parts that tie a rule to dates of the calendar, so that it is another one some days later.
_CALENDAR_PARTS = ("bymonth", "bymonthday", "byyearday", "byweekno")
_BY = (*_CALENDAR_PARTS, "byday", "byhour", "byminute", "bysecond", "bysetpos")
_LAST_SURE_DAY = 28
_GIVE_RULE = "give the new rule as rrule="


# -- what is asked, and what it comes to


@dataclass(frozen=True, slots=True)
class EditPlan(SeriesPlan):
    """What an edit changes.

    :param key: the slot that the edit was asked for.
    :param revision: of the segment that holds it; ``edit(revision=…)`` compares it.
    :param revisions: of all segments of the series.
    :param created: slots of the window that the new rule adds, without a row yet.
    :param kept_changed: as ``kept_booked``: slots that a person changed or made.
    """

    key: SlotKey
    scope: Scope
    changes: Changes
    move_booked: bool
    revision: int = 0
    revisions: tuple[tuple[int, int], ...] = ()
    created: tuple[PlannedSlot, ...] = ()
    kept_changed: tuple[StoredSlot, ...] = ()

    @property
    def token(self) -> str:
        """A text that differs as soon as applying would do anything else than was planned."""
        kept = (self.removed, self.kept_booked, self.kept_changed)
        parts = (
            self.revisions,
            [tuple(segment) for segment in self.segments],
            sorted((str(c.key), sorted(c.values.items(), key=str)) for c in self.changed),
            [sorted(str(row.key) for row in rows) for rows in kept],
            sorted((str(c.key), c.row.booked, c.row.live, c.row.status) for c in self.changed),
            sorted((str(slot.key), slot.starts_at) for slot in self.created),
        )
        return hashlib.sha256(repr((str(self.key), self.scope, parts)).encode()).hexdigest()[:32]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: counts, and keys sorted by start."""
        names = ("created", "changed", "removed", "kept_booked", "kept_changed")
        found = {name: sorted(str(item.key) for item in getattr(self, name)) for name in names}
        return {
            "key": str(self.key),
            "scope": self.scope.value,
            "revision": self.revision,
            "token": self.token,
            "cuts": any(segment.cut_at is not None for segment in self.segments),
            "counts": {name: len(keys) for name, keys in found.items()},
            **found,
        }


#: Refuses a plan that is not what the person who edits has seen.
Check = Callable[[EditPlan], None]


# -- writing


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
    asked = EditPlan(key, scope, read_changes(scope, changes, work.models.own), move_booked)
    if revision is not None and (isinstance(revision, bool) or not isinstance(revision, int)):
        raise refusal("revision", revision, "the whole number that the template's revision was")
    return _edited(
        work, asked, lambda plan: storage.refuse_stale(plan.revision, revision, "the series"), segments
    )


def apply_edit(work: Work, preview: EditPlan) -> EditPlan:
    """Write what a preview showed, if it would still do exactly that; see ``RollingSlots.apply_edit``."""

    def check(plan: EditPlan) -> None:
        if plan.token != preview.token:
            raise StaleEdit("the preview is stale: look at a new one, then apply that")

    asked = EditPlan(preview.key, preview.scope, preview.changes, preview.move_booked)
    return _edited(work, asked, check)


def _edited(work: Work, asked: EditPlan, check: Check, segments: Sequence[TemplateMixin] = ()) -> EditPlan:
    """Do what was asked for if the plan passes a check."""
    if asked.scope is Scope.THIS and not work.dry_run:
        # Whatever is refused is refused before a virtual slot becomes a row.
        plan = _decide(replace(work, dry_run=True), asked, check)
        if plan.changed:
            with storage.decided_slot(work, asked.key):
                plan = _decide(work, asked, check)
    else:
        plan = _decide(work, asked, check, segments)
    work.outbox.add(series_edited, plan=plan)
    return plan


def _decide(work: Work, asked: EditPlan, check: Check, segments: Sequence[TemplateMixin] = ()) -> EditPlan:
    key, touch_times = asked.key, asked.changes.touch_times
    with storage.deciding(work):
        series = storage.load_series(work, key.series_id, key, resources=asked.move_booked and touch_times)
        if work.dry_run and segments:
            series = replace(series, specs=storage.in_order(TemplateSpec.of(segment) for segment in segments))
        if asked.scope is Scope.THIS:
            plan = plan_this(series, asked)
        else:
            plan = plan_edit(replace(series, pruned=pruned_until(work)) if touch_times else series, asked)
        storage.refuse_blocked(work, series, plan.changed)
        check(plan)
        if work.dry_run:
            planned = {change.template_id: change.values for change in plan.segments}
            for segment in segments:
                for name, value in planned.get(segment.id, {}).items():
                    setattr(segment, name, value)
        storage.write_plan(work, series, plan)
    return plan


def plan_this(series: StoredSeries, asked: EditPlan) -> EditPlan:
    """Return what an edit of one slot changes: its values, whose names are remembered.

    :raises SlotNotFound: if there is no such slot.
    :raises StatusConflict: if it is cancelled; if it is over or completed and more is to change than data and name.
    :raises SlotBooked: if it is booked and would be moved, or would have fewer places than are taken.
    :raises InvalidRequest: if the new start is in the past, or another slot of the series is there.
    """
    key, changes = asked.key, asked.changes
    row = series.row_at(key) or series.virtual_at(key)
    spec = series.specs[series.place_of(key, row)]
    # What it was like may still be corrected, whatever became of it.
    is_over = row.ends_at <= series.now or row.status == Status.COMPLETED
    is_correction = changes == Changes(data=changes.data, name=changes.name, settings=changes.settings)
    if (is_over and not is_correction) or not (is_over or row.status == Status.SCHEDULED):
        state = row.status if row.ends_at > series.now else "over"
        word = (
            "only its data, its name and the app's own columns can be changed"
            if is_over
            else "it cannot be changed"
        )
        raise StatusConflict(f"slot {key} is {state}: {word}", key=str(key), status=row.status)
    values, names = _times_of_one(series, spec, row, changes)
    fault = None
    if values and row.live and not asked.move_booked:
        fault = f"slot {key} is booked ({row.live} places): expected move_booked=True to give it other times"
    elif changes.capacity is not None and row.live > changes.capacity:
        fault = f"capacity = {changes.capacity}: slot {key} has {row.live} places booked already"
    if fault is not None:
        raise SlotBooked(fault, key=str(key), booked=row.live)
    values |= storage.changed_values(row._replace(customised=()), changes.capacity, changes.data)[0]
    names |= {name for name in ("capacity", "data", "name") if getattr(changes, name) is not None}
    names |= changes.settings.keys()
    own = changes.settings.items()
    values |= {name: value for name, value in own if name not in row.own or value != row.own[name]}
    if changes.name is not None and changes.name != row.own_name:
        values["own_name"] = changes.name
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
    return (storage.changed_times(spec, row, starts_at, starts_at + length) if names else {}), names


# -- this and future, or all


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
    is_cut = is_later and storage.last_before(replace(spec, cancelled_from=None), original_start) is not None
    last = after = None
    if is_later and changes.touch_times:  # also a stored slot may be the last one, which outlived its rule
        last = storage.last_kept(series.specs, place, original_start if is_cut else None)
        starts = [row.original_start for row in series.rows if row.original_start < original_start]
        after = max([*starts, *(last[:1] if last is not None else ())], default=None)
    moved = change_rule(spec, original_start, changes, is_later, after)
    moved.values.update(changes.settings)
    if "dtstart" in changes.settings:  # taken literally: the first start as it is shown
        moved.values["shift"] = timedelta(0)
    others = [other for other in series.specs[place if is_later else 0 :] if other is not spec]
    if not moved.values.keys().isdisjoint(("rrule", "dtstart")) and others:
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
    elif "rrule" in moved.values or (
        changes.settings and changes.touch_starts
    ):  # what is new may not bring anything before the slot
        moved.values["active_from"] = moved.bound
    result = [_segment(series, spec, changes, moved, is_cut)]
    shift = moved.values.get("shift", spec.shift) - spec.shift
    for other in others:
        values = {**changes.settings, **({"shift": other.shift + shift} if shift else {})}
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
    values = {name: value for name, value in values.items() if _differs(series, spec, name, value)}
    change, new, first = None, spec, datetime.min
    if values:
        begins = {"active_from": moved.bound} if is_cut else {}
        new = spec.changed({**begins, **values})
        planning.recurrence_of(new)  # refuses what is not valid before anything is written
        if changes.settings:
            _check(new, {**series.settings.get(spec.id, {}), **values})
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


def _differs(series: StoredSeries, spec: TemplateSpec, name: str, value: Any) -> bool:
    """Whether a segment has another value than this one."""
    held = {**series.settings.get(spec.id, {}), **spec.own}
    before = held[name] if name in held else getattr(spec, name)
    if isinstance(before, list | tuple) and name in SPEC_LISTS:  # their order means nothing
        return set(map(_hashable, before)) != set(map(_hashable, value))
    return bool(value != before)


def _hashable(entry: Any) -> Any:
    return tuple(entry) if isinstance(entry, list) else entry


def _check(spec: TemplateSpec, more: Mapping[str, Any]) -> None:
    """Refuse a segment whose fields do not go together, before anything is written.

    :param more: its fields that a spec has not.
    """
    values = {name: getattr(spec, name, more.get(name)) for name in FIELDS}
    check_template(SimpleNamespace(**values, recurrence=planning.recurrence_of(spec)))


def _behind_pruned(series: StoredSeries, old: TemplateSpec, new: TemplateSpec) -> datetime | None:
    """Return where a segment is to begin that would show again, at its new times, what took place and was pruned.

    No row says any more that it did. ``None``: it shows nothing of that.
    """
    if series.pruned is None:
        return None
    bound = storage.bound_at(old, series.pruned)
    shown_until = (bound + new.shift).replace(tzinfo=ZoneInfo(new.timezone)) + new.duration
    begins_earlier = new.active_from is None or new.active_from < bound
    return bound if begins_earlier and shown_until > series.now else None


def _first_shown(spec: TemplateSpec, moved: RuleChange, changes: Changes, is_cut: bool) -> datetime:
    """Return when the first slot of the changed part is shown (naive)."""
    begins = moved.bound if is_cut else min(moved.bound, spec.active_from or moved.bound)
    new = spec.changed({**moved.values, "active_from": begins})
    first = storage.first_from(new, moved.bound)
    if first is None:
        raise changes.refusal("a change that leaves at least one slot")
    return first + new.shift


def _reconciled(series: StoredSeries, segments: list[_EditedSegment], asked: EditPlan) -> EditPlan:
    """Return a plan with the stored slots in scope, sorted into changed, removed and kept ones."""
    changes, removed = asked.changes, list[StoredSlot]()
    pending: list[tuple[StoredSlot, dict[str, Any], dict[str, Any], bool]] = []
    moves: dict[int, tuple[datetime, datetime]] = {}
    rows = [(row, segment) for segment in segments for row in segment.rows]
    for row, segment in sorted(rows, key=lambda pair: pair[0].original_start):
        values, is_forbidden = storage.changed_values(row, changes.capacity, changes.data, changes.settings)
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
    times = storage.planned_times(segment.new, row, segment.starts)
    if times is None:
        return (None, False) if row.is_untouched else ({}, row.original_start in segment.starts_before)
    if row.live and not asked.move_booked and not times.keys().isdisjoint(("starts_at", "ends_at")):
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


# -- from a new start to a shift or a new rule: what one moved slot means for all of its segment


class RuleChange(NamedTuple):
    """What becomes of a segment: columns that change, and the first original start (naive) of the changed part."""

    values: dict[str, Any]
    bound: datetime


def change_rule(
    spec: TemplateSpec, original_start: datetime, changes: Changes, is_cut: bool, after: datetime | None
) -> RuleChange:
    """Return what a new start and a new rule mean for the segment that holds a slot.

    A new time of day is a shift, and so is another day where the rule goes by days and weeks: its pattern is the
    same some days later. Where the rule goes by the calendar, another day is another rule: derived for one day of
    the month or one numbered weekday, else asked for.

    :param original_start: the slot's, naive.
    :param is_cut: the part from the slot on becomes a segment of its own.
    :param after: the last original start (naive) of what stays before it: its key is not given to another slot.
    :raises InvalidRequest: if the new rule cannot be derived.
    """
    shown = original_start + spec.shift
    start = changes.start_for(shown)
    if changes.rrule is not None:
        moved = _given_rule(spec, original_start, changes, is_cut)
    elif start == shown:
        return RuleChange({}, original_start)
    elif start.date() == shown.date() or _goes_by_days(planning.recurrence_of(spec)):
        return RuleChange({"shift": spec.shift + (start - shown)}, original_start)
    else:
        moved = _derived_rule(spec, original_start, start, is_cut)
    if after is None or moved.bound > after:
        return moved
    return _with_keys_behind(spec, moved, start, after, changes)


def _with_keys_behind(
    spec: TemplateSpec, moved: RuleChange, start: datetime, after: datetime, changes: Changes
) -> RuleChange:
    """Let a new rule begin behind the slots that stay: their keys remain theirs.

    Where the rule yields nothing up to there a bound is enough; else it counts from the shown start, without a shift.
    """
    bound = after + MINUTE
    recurrence = planning.recurrence_of(replace(spec, **moved.values))
    if next(recurrence.originals(moved.bound, bound), None) is None:
        return RuleChange(moved.values, bound)
    if start <= after or recurrence.grid is not None:
        expected = f"a time after {after:%Y-%m-%d %H:%M}, on a later day for a day grid"
        raise refusal("start", changes.start, expected)
    return RuleChange({**moved.values, "dtstart": start, "shift": timedelta(0)}, start)


def _goes_by_days(recurrence: Recurrence) -> bool:
    rule, by_days = recurrence.rule, ("HOURLY", "DAILY", "WEEKLY")
    return rule is None or (rule.freq in by_days and not any(getattr(rule, p) for p in _CALENDAR_PARTS))


def _first_of_day(recurrence: Recurrence, original_start: datetime) -> datetime:
    """Return the first start of the grid day that a start belongs to; without a grid, the start itself.

    A slot that its rule no longer yields, as slots have become longer, belongs to the day that it is on.
    """
    if recurrence.grid is None:
        return original_start
    first = min(original_start, datetime.combine(original_start.date(), recurrence.dtstart.time()))
    grid = recurrence.grid
    for candidate in recurrence.rule_starts(original_start - grid[-1], original_start + MICROSECOND):
        if original_start - candidate in grid:
            first = candidate
    return first


def _given_rule(spec: TemplateSpec, original_start: datetime, changes: Changes, is_cut: bool) -> RuleChange:
    """Take a rule as it is; it counts from the cut, or in place from the template's own start."""
    shown = original_start + spec.shift
    start = changes.start_for(shown)
    days = timedelta(days=(start.date() - shown.date()).days)
    first = _first_of_day(planning.recurrence_of(spec), original_start)
    anchor = (first if is_cut else spec.dtstart) + days
    values = {"rrule": changes.rrule, "dtstart": anchor, "shift": spec.shift + (start - shown - days)}
    if not is_cut and spec.active_from is not None:
        values["active_from"] = spec.active_from + days  # as the anchor: both say where the rule begins
    return RuleChange(values, min(original_start, original_start + days))


def _derived_rule(spec: TemplateSpec, original_start: datetime, start: datetime, is_cut: bool) -> RuleChange:
    recurrence = planning.recurrence_of(spec)
    first = _first_of_day(recurrence, original_start)
    if is_cut and first != original_start:
        expected = f"a day's first slot, for the rule is cut between days; or {_GIVE_RULE}"
        raise refusal("start", start, expected)
    rule = recurrence.rule
    if rule is None or next(recurrence.rule_starts(first, first + MICROSECOND), None) is None:
        raise refusal("start", start, f"a slot of the rule, not an extra date; or {_GIVE_RULE}")
    start -= original_start - first
    new_first = datetime.combine(start.date(), first.time())
    count = rule.count
    if is_cut and count is not None:
        count -= recurrence.count_before(first)
    new_rule = replace(rule, count=count, **_new_parts(rule, start))
    values = {"rrule": str(new_rule), "dtstart": new_first, "shift": start - new_first}
    if not is_cut:
        values |= _begin_in_place(spec, _month(start) - _month(first + spec.shift))
    return RuleChange(values, min(original_start, new_first))


def _begin_in_place(spec: TemplateSpec, months: int) -> dict[str, Any]:
    """Return anchor and bound of a rule that is some months later on another day: the first month keeps its slot."""
    recurrence = planning.recurrence_of(spec)
    anchor = next(recurrence.rule_starts(recurrence.dtstart, datetime.max))
    values = {"dtstart": _month_start(anchor, months)}
    first = storage.first_from(spec, datetime.min) if spec.active_from is not None else None
    if first is not None:
        values["active_from"] = datetime.combine(_month_start(first, months), time())
    return values


def _month(day: datetime) -> int:
    return day.year * 12 + day.month


def _month_start(moment: datetime, months: int) -> datetime:
    year, month = divmod(_month(moment) + months - 1, 12)
    return moment.replace(year=year, month=month + 1, day=1)


def _new_parts(rule: Any, start: datetime) -> dict[str, Any]:
    """Return the BY parts that say the new day, for rules with one day in a month or year."""
    used = {name for name in _BY if getattr(rule, name)}
    by_year = rule.freq == "YEARLY"
    months: dict[str, Any] = {"bymonth": (start.month,)} if by_year else {}
    lists_one = all(len(getattr(rule, name)) == 1 for name in used)
    if lists_one and used <= ({"bymonth", "bymonthday"} if by_year else {"bymonthday"}):
        return {**months, "bymonthday": (_day_of_month(rule, start),)}
    if lists_one and rule.is_numbered and used == ({"bymonth", "byday"} if by_year else {"byday"}):
        return {**months, "byday": ((_number(rule.byday[0][0], start), start.weekday()),)}
    raise refusal("start", start, f"the same day, for what another day means to {rule} is open; {_GIVE_RULE}")


def _day_of_month(rule: Any, start: datetime) -> int:
    if rule.bymonthday and rule.bymonthday[0] < 0:
        raise refusal("start", start, f"the same day, for the rule counts from the month's end; {_GIVE_RULE}")
    sure = monthrange(2023, start.month)[1] if rule.freq == "YEARLY" else _LAST_SURE_DAY
    if start.day > sure:
        raise refusal("start", start, f"a day that every month (or year) has; {_GIVE_RULE}")
    return start.day


def _number(old: int, start: datetime) -> int:
    """Return which of its weekday in the month a day is, counted from the same end as before."""
    days = monthrange(start.year, start.month)[1]
    number = (start.day - 1) // 7 + 1 if old > 0 else -((days - start.day) // 7 + 1)
    if abs(number) == 5:
        raise refusal("start", start, f"a weekday that every month has, first to fourth; {_GIVE_RULE}")
    return number
