"""Stored slots as plain values, and what a changed rule makes of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask_rollingslots import planning
from flask_rollingslots.values import SlotKey, Status

from .segments import rule_of

if TYPE_CHECKING:
    from flask_rollingslots.values import PlannedSlot, TemplateSpec

    from .changes import Changes

TIMES = ("starts_at", "ends_at", "opens_at", "closes_at")


@dataclass(frozen=True, slots=True)
class RowState:
    """A stored slot: all that an edit needs to know, and nothing that belongs to a session.

    :param id: ``None`` for a slot that is still virtual.
    :param customised: names of the fields that a person changed on this slot.
    :param has_history: bookings point to it, released ones too.
    :param live: places that are taken now: ``booked`` without holds that have expired.
    """

    id: int | None
    series_id: int
    template_id: int
    original_start: datetime
    starts_at: datetime
    ends_at: datetime
    opens_at: datetime | None
    closes_at: datetime | None
    status: str
    capacity: int
    booked: int
    data: dict[str, Any]
    customised: tuple[str, ...]
    cancel_reason: str | None
    ended_with_series: bool
    run_id: int | None
    has_history: bool
    live: int = 0

    @property
    def key(self) -> SlotKey:
        """The slot's identity."""
        return SlotKey(self.series_id, self.original_start)

    @property
    def stands(self) -> bool:
        """Whether no other slot of the series may be at its instant."""
        return self.status in planning.OCCUPYING

    @property
    def is_untouched(self) -> bool:
        """Whether a top-up made it and nobody decided anything about it since: it may go when its rule does."""
        touched = self.booked or self.customised or self.has_history or self.run_id is None
        return self.status == Status.SCHEDULED and not touched


def row_of_offer(offer: PlannedSlot) -> RowState:
    """Return a virtual slot as it would be stored."""
    spec = offer.spec
    return RowState(
        None,
        spec.series_id,
        spec.id,
        offer.original_start,
        offer.starts_at,
        offer.ends_at,
        offer.opens_at,
        offer.closes_at,
        Status.SCHEDULED.value,
        spec.capacity,
        0,
        dict(spec.data),
        (),
        None,
        False,
        None,
        False,
    )


def times_of(spec: TemplateSpec, row: RowState, starts_at: datetime, ends_at: datetime) -> dict[str, Any]:
    """Return what changes of a row's times when it is moved; opening and closing follow unless a person set them."""
    planned = planning.planned_slot(spec, row.original_start, starts_at, ZoneInfo(spec.timezone))
    values = {"starts_at": starts_at, "ends_at": ends_at}
    values |= {
        name: getattr(planned, name) for name in ("opens_at", "closes_at") if name not in row.customised
    }
    return {name: value for name, value in values.items() if value != getattr(row, name)}


def rule_times(spec: TemplateSpec, row: RowState) -> dict[str, Any] | None:
    """Return what changes of a row's times when it goes where its rule says; ``None`` if the rule lacks it.

    What is stored belongs to its rule also while that is switched off, and after its end: rows stay then. A start or a
    length that a person gave to the slot stays.
    """
    offer = planning.offer_at(rule_of(spec), row.original_start)
    if offer is None:
        return None
    starts_at = row.starts_at if "starts_at" in row.customised else offer.starts_at
    length = row.ends_at - row.starts_at if "ends_at" in row.customised else spec.duration
    return times_of(spec, row, starts_at, starts_at + length)


def value_changes(row: RowState, changes: Changes) -> tuple[dict[str, Any], bool]:
    """Return what a wide edit changes of capacity and data, and whether bookings forbid the capacity."""
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
