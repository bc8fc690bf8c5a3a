"""What a person asks to change, checked before anything is looked at, and what it comes to: plans and reports."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from flask_rollingslots.errors import InvalidRequest, nearest, refusal
from flask_rollingslots.models import FIELDS
from flask_rollingslots.values import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flask_rollingslots.models import BookingMixin, TemplateMixin
    from flask_rollingslots.values import PlannedSlot, SlotKey, StoredSlot

_WIDE_ONLY = ("rrule", "name")


# -- what is asked -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed; ``None``: stays as it is.

    :param start: new wall-clock start of the slot named by the key, naive; a time of day: on the same day.
    :param duration: new length of the slots.
    :param capacity: new number of places.
    :param data: merged into the app's own fields, name by name.
    :param rrule: new rule; taken literally: without COUNT and UNTIL it has no end. Wide scopes only.
    :param name: new name of the template. Wide scopes only.
    """

    start: datetime | time | None = None
    duration: timedelta | None = None
    capacity: int | None = None
    data: dict[str, Any] | None = None
    rrule: str | None = None
    name: str | None = None

    @property
    def touch_times(self) -> bool:
        """Whether slots may get other times, or may come and go."""
        return (self.start, self.duration, self.rrule) != (None, None, None)

    def refusal(self, expected: str) -> Exception:
        """Return (not raise) the error for what the new rule or the new start comes to."""
        field = "rrule" if self.rrule is not None else "start"
        return refusal(field, getattr(self, field), expected)

    def start_for(self, shown: datetime) -> datetime:
        """Return the new wall-clock start of a slot that is shown at a time (both naive)."""
        if isinstance(self.start, datetime):
            return self.start
        return shown if self.start is None else datetime.combine(shown.date(), self.start)


#: What ``edit`` can change; other fields of a template are changed of a whole series only.
EDITED = tuple(field.name for field in fields(Changes))


def read_changes(scope: Scope, values: Mapping[str, Any]) -> Changes:
    """Check changes by name.

    :raises InvalidRequest: names the field, the value and what is expected.
    """
    for name in values:
        if name not in EDITED:
            text = f"{name} cannot be edited.{nearest(name, EDITED)}"
            raise InvalidRequest(text, field=name, value=values[name], expected="a field of an edit")
    given = {name: value for name, value in values.items() if value is not None}
    if not given:
        raise InvalidRequest(f"nothing to change: give at least one of {', '.join(EDITED)}", field="changes")
    for name in _WIDE_ONLY:
        if scope is Scope.THIS and name in given:
            raise refusal(name, given[name], f"{name} only with this_and_future or all: one slot has none")
    for name, value in given.items():
        expected = _fault_of_start(value) if name == "start" else FIELDS[name].kind.fault(value)
        if expected is not None:
            raise refusal(name, value, expected)
    return Changes(**given)


def _fault_of_start(start: Any) -> str | None:
    if not isinstance(start, (datetime, time)) or start.tzinfo is not None:
        return "a naive datetime or time: the wall clock in the template's zone"
    return "whole minutes: slot keys have no seconds" if start.second or start.microsecond else None


# -- what it comes to --------------------------------------------------------------------------------------


class SegmentChange(NamedTuple):
    """What changes of a segment.

    :param template_id: the segment.
    :param values: columns that change; of the new segment, if it is cut.
    :param cut_at: original start (naive) from which on a new segment takes over; ``None``: changed in place.
    """

    template_id: int
    values: dict[str, Any]
    cut_at: datetime | None = None


class RowChange(NamedTuple):
    """What changes of a stored slot: column values by name."""

    row: StoredSlot
    values: dict[str, Any]

    @property
    def key(self) -> SlotKey:
        """The slot's identity."""
        return self.row.key


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPlan:
    """What a decision changes: computed from the stored state, and nothing written yet.

    :param changed: stored slots that change; in an edit of one slot also one that is still virtual.
    :param removed: slots of top-ups that the rule no longer yields, or at whose new time another one stays.
    :param kept_booked: booked slots that stay as they are although they were meant.
    """

    segments: tuple[SegmentChange, ...] = ()
    changed: tuple[RowChange, ...] = ()
    removed: tuple[StoredSlot, ...] = ()
    kept_booked: tuple[StoredSlot, ...] = ()


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


@dataclass(frozen=True, slots=True)
class EndPlan(SeriesPlan):
    """What ending or bringing back a part of a series changes; a report tells the same with keys.

    :param kept_completed: completed slots: they stay.
    """

    kept_completed: tuple[StoredSlot, ...] = ()


@dataclass(slots=True)
class SeriesReport:
    """What a decision about many slots did.

    :param scope: which slots it was about.
    :param changed: keys of the stored slots that were cancelled, deleted or restored.
    :param booked: those of them that hold bookings: their people want to know.
    :param kept_booked: keys of slots that were to be deleted or restored and stay: booked, or their time or their
        exclusive resource is taken; and of those that come back with more places than their series has by now, for
        these are booked.
    :param kept_completed: keys of completed slots: they stay.
    :param segments: template ids of the segments that were changed.
    """

    scope: Scope
    changed: list[str] = field(default_factory=list)
    booked: list[str] = field(default_factory=list)
    kept_booked: list[str] = field(default_factory=list)
    kept_completed: list[str] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        names = ("changed", "booked", "kept_booked", "kept_completed")
        lists = {name: list(getattr(self, name)) for name in names}
        counts = {name: len(keys) for name, keys in lists.items()}
        return {"scope": self.scope.value, "counts": counts, **lists, "segments": list(self.segments)}


class TemplateChange(NamedTuple):
    """What became of a series whose fields were changed.

    :param segments: its templates, by id.
    :param plan: what that changed of its slots; ``None``: nothing was to be changed of them, or there is none.
    """

    segments: list[TemplateMixin]
    plan: EditPlan | None


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """Which templates were switched.

    :param changed: ids of those that were in the other state.
    :param unchanged: ids of those that were in this state already.
    """

    active: bool
    changed: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"active": self.active, "changed": self.changed, "unchanged": self.unchanged}


class CancelledKeys(list[str]):
    """The keys of the slots that were cancelled, in order.

    :ivar bookings: the live bookings in them, by id: whom to tell.
    """

    def __init__(self, keys: Iterable[str] = (), bookings: Iterable[BookingMixin] = ()) -> None:
        super().__init__(keys)
        self.bookings: list[BookingMixin] = sorted(bookings, key=lambda booking: booking.id)
