"""Edits by scope, from a new start to a shift or a new rule: the plan that a preview shows is what is written.

``plan_this`` and ``plan_edit`` work out what changes, from plain values. ``edit`` and ``apply_edit`` write it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from .. import planning
from ..booking.lifecycle import bookings_of, shown_booking
from ..context import Work, pruned_until
from ..errors import (
    InvalidRequest,
    SlotBooked,
    SlotNotFound,
    StaleEdit,
    StatusConflict,
    overlap_refusal,
    refusal,
)
from ..models import FIELDS, TemplateMixin, check_data, check_limits, check_template
from ..models.fields import SPEC_LISTS
from ..recurrence.zones import instant_of
from ..signals import series_edited
from ..values import (
    MARKS,
    YEARS,
    PlannedSlot,
    Scope,
    SlotKey,
    Status,
    StoredSlot,
    TemplateSpec,
    Times,
    Window,
)
from . import storage
from .changes import Changes, read_changes
from .new_rules import RuleChange, change_rule
from .storage import Expanded, RowChange, SegmentChange, SeriesPlan, StoredSeries, rule_of
from .writing import write_plan

#: Fields of a template, of which one says that slots may overlap.
_ALLOWING = ("overlapping", "exclusive", "pool")
#: Changes of these move a slot.
_TIMES = {"starts_at", "ends_at"}
#: What a slot's row notes, and no report tells.
_UNTOLD = {*MARKS, "customised"}


# -- what is asked, and what it comes to


@dataclass(frozen=True, slots=True)
class EditPlan(SeriesPlan):
    """What an edit changes.

    :param key: the slot that the edit was asked for.
    :param revision: of the segment that holds it; ``edit(revision=…)`` compares it.
    :param revisions: of all segments of the series.
    :param created: slots of the window that the new rule adds, without a row yet.
    :param kept_changed: as ``kept_booked``: slots that a person changed or made.
    :param overlaps: neighbours that the new rule would let overlap, the first few.
    """

    key: SlotKey
    scope: Scope
    changes: Changes
    move_booked: bool
    revision: int = 0
    revisions: tuple[tuple[int, int], ...] = ()
    created: tuple[PlannedSlot, ...] = ()
    kept_changed: tuple[StoredSlot, ...] = ()
    overlaps: tuple[tuple[SlotKey, SlotKey], ...] = ()

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
        names = ("created", "changed", "removed", "kept_booked", "kept_changed", "overbooked")
        found = {name: sorted(str(item.key) for item in getattr(self, name)) for name in names}
        return {
            "key": str(self.key),
            "scope": self.scope.value,
            "revision": self.revision,
            "token": self.token,
            "cuts": any(segment.cut_at is not None for segment in self.segments),
            "counts": {name: len(keys) for name, keys in found.items()},
            **found,
            "overlaps": [[str(key) for key in pair] for pair in self.overlaps],
            "changes": [_difference(change) for change in sorted(self.changed, key=lambda each: each.key)],
            "bookings": [shown_booking(booking) for booking in self.bookings],
        }


def _difference(change: RowChange) -> dict[str, Any]:
    """Return what changes of a slot, from what to what, as plain data for JSON."""
    row, values = change
    shown = {name: value for name, value in values.items() if name not in _UNTOLD}
    before = {name: row.own[name] if name in row.own else getattr(row, name) for name in shown}
    return {"key": str(row.key), "from": _plain(before), "to": _plain(shown)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them: moments as ISO 8601, and as a text what it cannot hold."""
    told = {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}
    return {
        name: value if isinstance(value, int | float | str | dict | list | None) else str(value)
        for name, value in told.items()
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
        plan = _foreseen(replace(work, dry_run=True), asked, check)
        if plan.changed:
            known = replace(asked, expanded=plan.expanded, revisions=plan.revisions)
            with storage.decided_slot(work, asked.key):
                plan = _decide(work, known, check)
    else:
        plan = (_foreseen if work.dry_run else _decide)(work, asked, check, segments)
    work.outbox.add(series_edited, plan=plan)
    return plan


def _foreseen(work: Work, asked: EditPlan, check: Check, segments: Sequence[TemplateMixin] = ()) -> EditPlan:
    """Return the plan of a dry run; read once more if the slot went over to a new segment while it was read."""
    with suppress(SlotNotFound):
        return _decide(work, asked, check, segments)
    return _decide(work, asked, check, segments)


def _decide(work: Work, asked: EditPlan, check: Check, segments: Sequence[TemplateMixin] = ()) -> EditPlan:
    key, touch_times = asked.key, asked.changes.touch_times
    with storage.deciding(work):
        storage.lock_claims(work, key.series_id, asked.changes.settings)
        series = storage.load_series(work, key.series_id, key, resources=asked.move_booked and touch_times)
        if work.dry_run and segments:
            series = replace(series, specs=storage.in_order(TemplateSpec.of(segment) for segment in segments))
        if asked.scope is Scope.THIS:
            plan = plan_this(series, asked)
        else:
            plan = plan_edit(replace(series, pruned=pruned_until(work)) if touch_times else series, asked)
        storage.refuse_blocked(work, *storage.claiming(series, plan))
        if not work.dry_run:
            _refuse_overlaps(series, plan)
        check(plan)
        moved = [each.row for each in plan.changed if not _TIMES.isdisjoint(each.values)]
        concerned = (*plan.kept_booked, *plan.overbooked, *moved)
        told = bookings_of(work, (row.id for row in concerned if row.live))
        plan = replace(plan, bookings=tuple(told))
        if work.dry_run:
            planned = {change.template_id: change.values for change in plan.segments}
            for segment in segments:
                for name, value in planned.get(segment.id, {}).items():
                    setattr(segment, name, value)
        write_plan(work, series, plan)
    return plan


def _refuse_overlaps(series: StoredSeries, plan: EditPlan) -> None:
    """Refuse a rule that lets slots overlap, unless their template says that they may."""
    specs = {spec.id: spec for spec in series.specs}
    may = [
        any(change.values.get(name, getattr(specs[change.template_id], name)) for name in _ALLOWING)
        for change in plan.segments
    ]
    if plan.overlaps and not all(may):
        pairs = [(one.original_start, other.original_start) for one, other in plan.overlaps]
        field, value = plan.changes.first_given("rrule", "duration", "start")
        raise overlap_refusal(field, value, pairs, InvalidRequest)


def plan_this(series: StoredSeries, asked: EditPlan) -> EditPlan:
    """Return what an edit of one slot changes: its values, whose names are remembered.

    :raises SlotNotFound: if there is no such slot.
    :raises StatusConflict: if it is cancelled; if it is over or completed and more is to change than data and name.
    :raises SlotBooked: if it is booked and would be moved.
    :raises InvalidRequest: if the new start is in the past, or a slot of the series that is booked, or that a person
        moved there, has this time.
    """
    key, changes = asked.key, asked.changes
    row = series.row_at(key) or series.virtual_at(key)
    spec = series.specs[series.place_of(key, row)]
    expanded = _expanded_for(series, spec, row, asked)
    followed = planning.by_now(spec, row, series.now, expanded.starts)  # it is shown so, and that is edited
    row = row.following(followed)
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
    if values and row.live and not asked.move_booked:
        text = f"slot {key} is booked ({row.live} places): expected move_booked=True to give it other times"
        raise SlotBooked(text, key=str(key), booked=row.live)
    if names:
        values |= storage.marks(spec, row, values, expanded.starts)
    values |= storage.changed_values(row._replace(customised=()), changes.capacity, changes.data)
    names |= {name for name in ("capacity", "data", "name") if getattr(changes, name) is not None}
    names |= changes.settings.keys()
    own = changes.settings.items()
    values |= {name: value for name, value in own if name not in row.own or value != row.own[name]}
    if "data" in values:
        check_data(values["data"], series.limits)
    if changes.name is not None and changes.name != row.own_name:
        values["own_name"] = changes.name
    if not names <= set(row.customised):
        values["customised"] = sorted({*row.customised, *names})
    changed = (RowChange(row, followed | values),) if values else ()
    is_over_full = changes.capacity is not None and storage.is_overbooked(row, values)
    return replace(
        asked,
        revision=spec.revision,
        revisions=series.revisions,
        changed=changed,
        overbooked=(row,) if is_over_full else (),
        expanded=(expanded,),
    )


def _expanded_for(series: StoredSeries, spec: TemplateSpec, row: StoredSlot, asked: EditPlan) -> Expanded:
    """Return what a template offers of a slot; what was foreseen of it holds if nobody changed the series since."""
    if asked.revisions == series.revisions and spec.cancelled_from is None and asked.expanded:
        return asked.expanded[0]
    return Expanded(spec.id, frozenset((row.original_start,)), planning.offered_starts(spec, [row]), {})


def _times_of_one(
    series: StoredSeries, spec: TemplateSpec, row: StoredSlot, changes: Changes
) -> tuple[dict[str, Any], set[str]]:
    """Return what changes of the times of one slot, and the names of the fields that a person gave."""
    starts_at, zone, names = row.starts_at, ZoneInfo(spec.timezone), set[str]()
    if changes.start is not None:
        shown = row.starts_at.astimezone(zone).replace(tzinfo=None)
        try:
            starts_at = instant_of(changes.start_for(shown), zone)
        except OverflowError:
            raise refusal("start", changes.start, "a time within the calendar") from None
        names.add("starts_at")
    if changes.duration is not None:
        names.add("ends_at")
    if not names:
        return {}, names
    ends_at = _end_of_one(spec, row, starts_at, changes)
    moves = starts_at != row.starts_at
    if moves and (starts_at <= series.now or row.starts_at <= series.now):
        raise refusal("start", changes.start, "a time in the future, for a slot that has not started")
    if moves or ends_at != row.ends_at:
        other = series.in_the_way(spec, row.key, (starts_at, ends_at))
        if other is not None:
            field = "start" if moves else "duration"
            expected = (
                f"a time at which no other slot of the series is booked or was moved to: {other} is there"
            )
            raise refusal(field, getattr(changes, field), expected)
    return storage.changed_times(spec, row, starts_at, ends_at), names


def _end_of_one(spec: TemplateSpec, row: StoredSlot, starts_at: datetime, changes: Changes) -> datetime:
    """Return when one slot ends that is to start at a time; refuse what lies too far away to be read."""
    try:
        ends_at = planning.end_for(spec, row, starts_at)
        if changes.duration is not None:
            zone = ZoneInfo(spec.timezone)
            ends_at = planning.end_of(spec, row.original_start, starts_at, zone, changes.duration)
    except OverflowError:
        ends_at = None
    if ends_at is None or max(starts_at, ends_at).year not in YEARS:
        expected = f"a time within the years {YEARS.start} to {YEARS.stop - 1}"
        raise refusal(*changes.first_given("start", "duration"), expected)
    return ends_at


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
        overlaps=tuple(_overlaps(segments)),
    )
    if not asked.changes.touch_times:
        return plan
    expanded = [
        Expanded(each.old.id, frozenset(row.original_start for row in each.rows), each.starts, each.times)
        for each in segments
        if each.rows
    ]
    return replace(plan, created=tuple(_created(series, segments, plan)), expanded=tuple(expanded))


@dataclass(eq=False)
class _EditedSegment:
    """A segment in the scope of an edit.

    :param old: as it was.
    :param new: as it will be.
    :param first: the first original start (naive) that it may show again.
    :param rows: its stored slots from a bound on, as far as an edit may change them.
    :param window: in which slots are stored.
    :param times: original start (naive) -> times by its new rule, of those rows that follow it wholly.
    """

    old: TemplateSpec
    new: TemplateSpec
    first: datetime
    change: SegmentChange | None
    rows: list[StoredSlot]
    window: Window
    times: dict[datetime, Times] = field(default_factory=dict)

    @property
    def is_other_rule(self) -> bool:
        """Whether what its slots' times follow from is another now, or whether these may overlap."""
        return any(getattr(self.old, name) != getattr(self.new, name) for name in planning.OF_TIMES)

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
        if last is not None and first < last[2] and not spec.may_overlap:
            expected = f"a time from {last[2]:%Y-%m-%d %H:%M} on, where the last slot before the change ends"
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
        check_limits(new, series.limits, values.keys())
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

    Whether its slots overlap is told by the plan, and refused by whoever writes it.

    :param more: its fields that a spec has not.
    """
    values = {name: getattr(spec, name, more.get(name)) for name in FIELDS}
    told = replace(spec, overlapping=True)
    check_template(SimpleNamespace(**values, recurrence=planning.recurrence_of(spec), spec=lambda: told))


def _behind_pruned(series: StoredSeries, old: TemplateSpec, new: TemplateSpec) -> datetime | None:
    """Return where a segment is to begin that would show again, at its new times, what took place and was pruned.

    No row says any more that it did. ``None``: it shows nothing of that.
    """
    if series.pruned is None:
        return None
    bound = storage.bound_at(old, series.pruned)
    zone = ZoneInfo(new.timezone)
    shown_until = planning.end_of(new, bound, instant_of(bound + new.shift, zone), zone)
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
    changes = asked.changes
    rows = [(row, segment) for segment in segments for row in segment.rows]
    rows.sort(key=lambda pair: pair[0].original_start)
    found: dict[int, tuple[dict[str, Any] | None, bool]] = {}
    if changes.touch_times:
        found = {row.id: _new_times(series, segment, row, asked.move_booked) for row, segment in rows}
    stuck: set[int] = set()
    if asked.move_booked and found:
        going = [
            RowChange(row, found[row.id][0] or {}) for row, segment in rows if not segment.new.may_overlap
        ]
        stuck = storage.stuck(series, going)
    removed, changed, kept, overbooked = [], [], [], []
    for row, _ in rows:
        times, is_kept = ({}, True) if row.id in stuck else found.get(row.id, ({}, False))
        if times is None:
            removed.append(row)
            continue
        values = times | storage.changed_values(row, changes.capacity, changes.data, changes.settings)
        if values:
            changed.append(RowChange(row, values))
        if is_kept:
            kept.append(row)
        if changes.capacity is not None and storage.is_overbooked(row, values):
            overbooked.append(row)
    return replace(
        asked,
        changed=tuple(changed),
        removed=tuple(removed),
        kept_booked=tuple(row for row in kept if row.live),
        kept_changed=tuple(row for row in kept if not row.live),
        overbooked=tuple(overbooked),
    )


def _new_times(
    series: StoredSeries, segment: _EditedSegment, row: StoredSlot, move_booked: bool
) -> tuple[dict[str, Any] | None, bool]:
    """Return a row's new times (``None``: the slot goes), and whether it stays although it should not."""
    times = storage.planned_times(segment.new, row, segment.starts, segment.times)
    if times is None:
        return (None, False) if row.is_untouched else ({}, row.original_start in segment.starts_before)
    if row.live and not move_booked and not times.keys().isdisjoint(("starts_at", "ends_at")):
        return {}, True
    if times and times.get("starts_at", row.starts_at) <= series.now:
        # By the new rule it has started already, and what has started is not made any more.
        return (None, False) if row.is_untouched else ({}, True)
    is_switched_off = segment.old.active and not segment.new.active
    return times, bool(row.live and is_switched_off)


def _overlaps(segments: list[_EditedSegment]) -> Iterator[tuple[SlotKey, SlotKey]]:
    """Yield neighbours that what is new of the rules would let overlap: within a segment, and where two meet."""
    changed = [segment for segment in segments if segment.is_other_rule]
    for segment in changed:
        for one, other in planning.overlaps(segment.new):
            yield SlotKey(segment.new.series_id, one), SlotKey(segment.new.series_id, other)
    for earlier, later in pairwise(storage.in_order(segment.new for segment in segments) if changed else ()):
        pair = storage.meeting(earlier, later)
        if pair is not None:
            yield SlotKey(earlier.series_id, pair[0]), SlotKey(later.series_id, pair[1])


def _created(series: StoredSeries, segments: list[_EditedSegment], plan: EditPlan) -> Iterable[PlannedSlot]:
    """Return what the new rules add within the window: neither stored nor promised before."""
    removed = {row.original_start for row in plan.removed}
    stored = {row.original_start for row in series.rows} - removed
    added = [
        (segment.new, original_start, starts_at)
        for segment in segments
        for original_start, starts_at in segment.shown(segment.new, segment.starts)
        if original_start >= segment.first and original_start not in stored and starts_at > series.now
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
