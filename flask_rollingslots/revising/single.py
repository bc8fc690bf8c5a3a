"""An edit of one slot as a plan: its values change, and their names are remembered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from zoneinfo import ZoneInfo

from flask_rollingslots import planning
from flask_rollingslots.errors import SlotBooked, SlotNotFound, StatusConflict
from flask_rollingslots.recurrence.zones import instant_of
from flask_rollingslots.values import Scope, SlotKey, Status, TemplateSpec, Window

from .changes import Changes, refusal
from .result import EditPlan, RowChange
from .rows import RowState, row_of_offer, times_of
from .segments import find_segment

if TYPE_CHECKING:
    from .edit import Case

_INSTANT = timedelta(microseconds=1)


def plan_this(case: Case, key: SlotKey, changes: Changes, move_booked: bool = False) -> EditPlan:
    """Return what an edit of one slot changes.

    :raises SlotNotFound: if there is no such slot.
    :raises StatusConflict: if it is cancelled, completed or over.
    :raises SlotBooked: if it is booked and would be moved, or would have fewer places than are taken.
    :raises InvalidRequest: if the new start is in the past, or another slot of the series is there.
    """
    stored = case.row_at(key)
    spec = case.specs[find_segment(case.specs, key, stored)]
    row = stored or _virtual(case, spec, key)
    _check_status(case, row)
    values, names = _times(case, spec, row, changes)
    if values and row.live and not move_booked:
        raise SlotBooked(
            f"slot {key} is booked ({row.live} places): expected move_booked=True to give it other times",
            key=str(key),
            booked=row.live,
        )
    more, more_names = _values(row, changes)
    values |= more
    customised = sorted({*row.customised, *names, *more_names})
    if customised != sorted(row.customised):
        values["customised"] = customised
    changed = (RowChange(row, values),) if values else ()
    return EditPlan(key, Scope.THIS, changes, move_booked, spec.revision, case.revisions, changed=changed)


def _virtual(case: Case, spec: TemplateSpec, key: SlotKey) -> RowState:
    offer = planning.offer_at(spec, key.original_start)
    taken = offer and any(row.stands and row.starts_at == offer.starts_at for row in case.rows)
    if offer is None or taken or offer.ends_at <= case.now:
        raise SlotNotFound(f"slot {key}: there is no such slot", key=str(key))
    return row_of_offer(offer)


def _check_status(case: Case, row: RowState) -> None:
    if row.status == Status.DELETED:
        raise SlotNotFound(f"slot {row.key}: there is no such slot", key=str(row.key))
    if row.status != Status.SCHEDULED or row.ends_at <= case.now:
        word = row.status if row.status != Status.SCHEDULED else "over"
        raise StatusConflict(
            f"slot {row.key} is {word}: it cannot be changed", key=str(row.key), status=row.status
        )


def _times(
    case: Case, spec: TemplateSpec, row: RowState, changes: Changes
) -> tuple[dict[str, Any], set[str]]:
    if changes.start is None and changes.duration is None:
        return {}, set()
    zone = ZoneInfo(spec.timezone)
    starts_at, length, names = row.starts_at, row.ends_at - row.starts_at, set[str]()
    if changes.start is not None:
        shown = row.starts_at.astimezone(zone).replace(tzinfo=None)
        starts_at = _instant(changes.start_for(shown), zone, changes)
        names.add("starts_at")
    if changes.duration is not None:
        length = changes.duration
        names.add("ends_at")
    if starts_at != row.starts_at:
        _check_place(case, row, starts_at, changes)
    return times_of(spec, row, starts_at, starts_at + length), names


def _instant(wall: datetime, zone: ZoneInfo, changes: Changes) -> datetime:
    try:
        return instant_of(wall, zone)
    except OverflowError:
        raise refusal("start", changes.start, "a time within the calendar") from None


def _check_place(case: Case, row: RowState, starts_at: datetime, changes: Changes) -> None:
    if starts_at <= case.now or row.starts_at <= case.now:
        raise refusal("start", changes.start, "a time in the future, for a slot that has not started")
    for other in case.rows:
        if other.stands and other.key != row.key and other.starts_at == starts_at:
            _refuse_place(other.key, changes)
    stored = {other.key for other in case.rows}
    for spec in case.specs:
        for offer in planning.offered(spec, Window(starts_at, starts_at + _INSTANT)):
            if offer.key not in stored and offer.key != row.key:
                _refuse_place(offer.key, changes)


def _refuse_place(other: SlotKey, changes: Changes) -> NoReturn:
    raise refusal("start", changes.start, f"a time at which no other slot of the series is: {other} is there")


def _values(row: RowState, changes: Changes) -> tuple[dict[str, Any], set[str]]:
    values: dict[str, Any] = {}
    names: set[str] = set()
    if changes.capacity is not None:
        if row.live > changes.capacity:
            raise SlotBooked(
                f"capacity = {changes.capacity}: slot {row.key} has {row.live} places booked already",
                key=str(row.key),
                booked=row.live,
            )
        names.add("capacity")
        if changes.capacity != row.capacity:
            values["capacity"] = changes.capacity
    if changes.data is not None:
        names.add("data")
        merged = {**row.data, **changes.data}
        if merged != row.data:
            values["data"] = merged
    return values, names
