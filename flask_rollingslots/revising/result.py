"""What comes out of planning a change, and what is told about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask_rollingslots.values import Scope

if TYPE_CHECKING:
    from datetime import datetime

    from flask_rollingslots.values import PlannedSlot, SlotKey

    from .changes import Changes
    from .rows import RowState


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """What changes of a segment.

    :param template_id: the segment.
    :param revision: its revision when this was planned.
    :param values: columns that change; of the new segment, if it is cut.
    :param cut_at: original start (naive) from which on a new segment takes over; ``None``: changed in place.
    """

    template_id: int
    revision: int
    values: dict[str, Any]
    cut_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RowChange:
    """What changes of a stored slot: column values by name."""

    row: RowState
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EditPlan:
    """What an edit changes: computed from the stored state, and nothing written yet.

    :param key: the slot that the edit was asked for.
    :param revision: of the segment that holds it; ``edit(revision=…)`` compares it.
    :param revisions: of all segments of the series.
    :param created: slots of the window that the new rule adds, without a row yet.
    :param changed: stored slots that change; with ``this`` also one that is still virtual.
    :param removed: slots of top-ups that the rule no longer yields, or at whose new time another one stays.
    :param kept_booked: booked slots that stay as they are although the edit would change them.
    :param kept_changed: the same for slots that a person changed or made.
    """

    key: SlotKey
    scope: Scope
    changes: Changes
    move_booked: bool
    revision: int
    revisions: tuple[tuple[int, int], ...] = ()
    segments: tuple[SegmentChange, ...] = ()
    created: tuple[PlannedSlot, ...] = ()
    changed: tuple[RowChange, ...] = ()
    removed: tuple[RowState, ...] = ()
    kept_booked: tuple[RowState, ...] = ()
    kept_changed: tuple[RowState, ...] = ()

    @property
    def token(self) -> str:
        """A text that differs as soon as applying would do anything else than was planned."""
        changed = sorted((str(c.row.key), sorted(c.values.items(), key=str)) for c in self.changed)
        kept = [sorted(str(row.key) for row in rows) for rows in self._kept]
        seen = sorted((str(c.row.key), c.row.booked, c.row.live, c.row.status) for c in self.changed)
        created = sorted((str(slot.key), slot.starts_at) for slot in self.created)
        parts = (
            self.revisions,
            [(s.template_id, s.values, s.cut_at) for s in self.segments],
            changed,
            kept,
            seen,
            created,
        )
        return hashlib.sha256(repr((str(self.key), self.scope, parts)).encode()).hexdigest()[:32]

    @property
    def _kept(self) -> tuple[tuple[RowState, ...], ...]:
        return self.removed, self.kept_booked, self.kept_changed

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: counts, and keys sorted by start."""
        names = ("created", "changed", "removed", "kept_booked", "kept_changed")
        found = {name: [_key(item) for item in getattr(self, name)] for name in names}
        return {
            "key": str(self.key),
            "scope": self.scope.value,
            "revision": self.revision,
            "token": self.token,
            "cuts": any(segment.cut_at is not None for segment in self.segments),
            "counts": {name: len(keys) for name, keys in found.items()},
            **{name: sorted(keys) for name, keys in found.items()},
        }


def _key(item: PlannedSlot | RowChange | RowState) -> str:
    return str(item.row.key if isinstance(item, RowChange) else item.key)


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
        counts = {name: len(getattr(self, name)) for name in names}
        lists = {name: list(getattr(self, name)) for name in (*names, "segments")}
        return {"scope": self.scope.value, "counts": counts, **lists}
