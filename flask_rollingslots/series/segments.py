"""A series as plain values: its segments in their order, its stored slots, and which segment holds a slot."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from flask_rollingslots import planning
from flask_rollingslots.errors import no_slot
from flask_rollingslots.values import MICROSECOND, MINUTE, SlotKey, Status, StoredSlot, TemplateSpec, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flask_rollingslots.values import PlannedSlot


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series as it is stored.

    :param specs: all segments, in order.
    :param rows: the stored slots that are not over, in any status, and the one in question.
    :param now: aware.
    :param horizon: until when slots are stored, UTC: created ones are counted up to there.
    """

    specs: tuple[TemplateSpec, ...]
    rows: tuple[StoredSlot, ...]
    now: datetime
    horizon: datetime

    def row_at(self, key: SlotKey) -> StoredSlot | None:
        """Return the stored slot at a key."""
        return next((row for row in self.rows if row.key == key), None)

    def is_future(self, row: StoredSlot) -> bool:
        """Whether a stored slot has not started."""
        return row.starts_at > self.now

    @property
    def revisions(self) -> tuple[tuple[int, int], ...]:
        """The revisions of all segments, by id."""
        return tuple(sorted((spec.id, spec.revision) for spec in self.specs))

    def standing_at(self, key: SlotKey, starts_at: datetime) -> SlotKey | None:
        """Return which other slot of the series stands at an instant, stored or planned, if any."""
        for row in self.rows:
            if row.starts_at == starts_at and row.stands and row.key != key:
                return row.key
        stored = {row.key for row in self.rows}
        window = Window(starts_at, just_after(starts_at))
        planned = (slot.key for spec in self.specs for slot in planning.planned(spec, window))
        return next((other for other in planned if other not in stored and other != key), None)


def in_order(specs: Iterable[TemplateSpec]) -> tuple[TemplateSpec, ...]:
    """Return segments as they follow each other."""
    return tuple(sorted(specs, key=lambda spec: (spec.active_from or datetime.min, spec.id)))


def rule_of(spec: TemplateSpec) -> TemplateSpec:
    """Return a segment as its rule alone has it: switched on, and not ended."""
    if spec.active and spec.cancelled_from is None:
        return spec
    return replace(spec, active=True, cancelled_from=None)


def find_segment(
    specs: Sequence[TemplateSpec], key: SlotKey, row: StoredSlot | None, *, ended: bool = False
) -> int:
    """Return the place of the segment that holds a slot, switched on or off.

    :param ended: also find a deleted slot, and what was cancelled or deleted with the series.
    :raises SlotNotFound: if no segment has this start.
    """
    for place, spec in enumerate(specs):
        if row is not None:
            if row.template_id == spec.id and (ended or row.status != Status.DELETED):
                return place
        elif planning.planned_at(rule_of(spec) if ended else replace(spec, active=True), key.original_start):
            return place
    raise no_slot(key)


def find_virtual(series: StoredSeries, key: SlotKey, *, ended: bool = False) -> PlannedSlot:
    """Return the planned slot at a key that has no row, as it would be stored.

    :param ended: also find what was cancelled or deleted with the series.
    :raises SlotNotFound: if no active segment has this start, the slot is over, or another one is at its time.
    """
    for spec in series.specs:
        slot = planning.planned_at(replace(spec, cancelled_from=None) if ended else spec, key.original_start)
        if slot is None or slot.ends_at <= series.now:
            continue
        if not any(row.stands and row.starts_at == slot.starts_at for row in series.rows):
            return slot
    raise no_slot(key)


def first_from(spec: TemplateSpec, bound: datetime) -> datetime | None:
    """Return the first original start of a segment that is not before a bound (both naive)."""
    lower = max(bound, spec.active_from) if spec.active_from is not None else bound
    upper = spec.ends_before or datetime.max
    return next(planning.recurrence_of(spec).originals(lower, upper), None) if lower < upper else None


def last_before(spec: TemplateSpec, bound: datetime | None = None) -> datetime | None:
    """Return the last original start of a segment before a bound (naive), or of all; ``None`` if there is none."""
    recurrence = planning.recurrence_of(spec)
    lowest = max(recurrence.earliest, spec.active_from or datetime.min)
    bounds = [b for b in (bound, spec.ends_before) if b is not None]
    upper, length = min([*bounds, recurrence.latest]), timedelta(days=2)
    while upper > lowest:
        start = upper - length if upper - lowest > length else lowest
        found = deque(recurrence.originals(start, upper), maxlen=1)
        if found:
            return found[0]
        upper, length = start, length * 4
    return None


class Last(NamedTuple):
    """The last slot before a change: its original start, and the wall-clock time at which it is shown (naive)."""

    original_start: datetime
    shown: datetime


def last_kept(specs: Sequence[TemplateSpec], place: int, cut: datetime | None) -> Last | None:
    """Return the last slot that the rules have before a place, and before a cut in it; ``None`` if there is none."""
    earlier = [(spec, None) for spec in reversed(specs[:place])]
    for spec, bound in [(specs[place], cut), *earlier] if cut is not None else earlier:
        last = last_before(spec, bound)
        if last is not None:
            return Last(last, last + spec.shift)
    return None


def bound_at(spec: TemplateSpec, moment: datetime) -> datetime:
    """Return the first original start (naive, whole minutes) that is shown at a moment (aware) or later."""
    wall = moment.astimezone(ZoneInfo(spec.timezone)).replace(tzinfo=None) - spec.shift
    minutes = wall.replace(second=0, microsecond=0)
    return minutes if minutes == wall else minutes + MINUTE


def just_after(now: datetime) -> datetime:
    """Return the first instant after a moment, UTC: what starts then has not started."""
    return now.astimezone(UTC) + MICROSECOND
