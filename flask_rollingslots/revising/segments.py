"""The segments of a series in their order: which one holds a slot, what comes before a cut."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from flask_rollingslots import planning
from flask_rollingslots.errors import SlotNotFound
from flask_rollingslots.values import SlotKey, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flask_rollingslots.recurrence import Recurrence
    from flask_rollingslots.values import TemplateSpec

    from .rows import RowState

_MINUTE = timedelta(minutes=1)


def in_order(specs: Iterable[TemplateSpec]) -> tuple[TemplateSpec, ...]:
    """Return segments as they follow each other."""
    return tuple(sorted(specs, key=lambda spec: (spec.active_from or datetime.min, spec.id)))


def rule_of(spec: TemplateSpec) -> TemplateSpec:
    """Return a segment as its rule alone has it: switched on, and not ended."""
    if spec.active and spec.cancelled_from is None:
        return spec
    return replace(spec, active=True, cancelled_from=None)


def find_segment(
    specs: Sequence[TemplateSpec], key: SlotKey, row: RowState | None, *, ended: bool = False
) -> int:
    """Return the place of the segment that holds a slot, switched on or off.

    :param ended: also find a deleted slot, and what was cancelled or deleted with the series.
    :raises SlotNotFound: if no segment has this start.
    """
    for place, spec in enumerate(specs):
        if row is not None:
            if row.template_id == spec.id and (ended or row.status != Status.DELETED):
                return place
        elif planning.offer_at(rule_of(spec) if ended else replace(spec, active=True), key.original_start):
            return place
    raise SlotNotFound(f"slot {key}: there is no such slot", key=str(key))


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
    return _search_back(recurrence, lowest, min([*bounds, recurrence.latest]))


def _search_back(recurrence: Recurrence, lowest: datetime, upper: datetime) -> datetime | None:
    length = timedelta(days=40)
    while upper > lowest:
        start = upper - length if upper - lowest > length else lowest
        found = deque(recurrence.originals(start, upper), maxlen=1)
        if found:
            return found[0]
        upper, length = start, length * 2
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


def is_first(spec: TemplateSpec, original_start: datetime) -> bool:
    """Whether a segment's rule yields nothing before a start: nothing to cut off."""
    return last_before(replace(spec, cancelled_from=None), original_start) is None


def bound_at(spec: TemplateSpec, moment: datetime) -> datetime:
    """Return the first original start (naive, whole minutes) that is shown at a moment (aware) or later."""
    wall = moment.astimezone(ZoneInfo(spec.timezone)).replace(tzinfo=None) - spec.shift
    whole = wall.replace(second=0, microsecond=0)
    return whole if whole == wall else whole + _MINUTE


def just_after(now: datetime) -> datetime:
    """Return the first instant after a moment, UTC: what starts then has not started."""
    return now.astimezone(UTC) + timedelta(microseconds=1)
