"""What follows from a slot's values, the time and what is around it: one set of rules for rows and for values.

:class:`SlotFacts` asks a slot for its fields by their names alone. A mapped row has them, and so has a value that
was read for a page: whatever a rule says of the one, it says of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ..lazy import lazy
from ..values import SlotKey, State, Status, StoredSlot, live_places
from .neighbours import is_crowded
from .own import OwnColumns
from .places import busy_around, is_excluded, keeps_for_waiting, left_in_pool_at

if TYPE_CHECKING:
    from .. import planning
else:
    (planning,) = lazy(".planning")

#: Clocks go forward by less than this within a day.
_SHORTEST_DAY = timedelta(hours=20)
#: What planning knows of a stored slot and finds on it under the same name; it works out the rest.
_AS_STORED = tuple(name for name in StoredSlot._fields if name not in ("live", "has_history", "data", "own"))


class _ByNow:
    """A slot as its template says by now, where no top-up has followed yet."""

    def __init__(self, slot: Any, values: Mapping[str, Any]) -> None:
        self._slot = slot
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slot, name)


class SlotFacts:
    """What is true of a slot besides what is stored of it; needs the fields of :class:`~.tables.SlotMixin`."""

    if TYPE_CHECKING:
        rolling_busy: Any
        id: Any
        series_id: Any
        original_start: Any
        starts_at: Any
        ends_at: Any
        opens_at: Any
        closes_at: Any
        status: Any
        capacity: Any
        booked: Any
        holds: Any
        customised: Any
        withdrawn: Any
        displaced: Any
        template: Any
        rolling_models: Any
        rolling_data: Any
    else:
        #: What takes the resource, as read together with this slot; ``None``: ask the database.
        rolling_busy = None

    @property
    def rolling_session(self) -> Any:
        """The session that can be asked what is around this slot; ``None``: there is none, it was told all."""
        return None

    @property
    def key(self) -> str:
        """The slot's identity, ``<series id>@<YYYYMMDDTHHMM>``: the same for row and virtual slot."""
        return str(SlotKey(self.series_id, self.original_start))

    @property
    def is_virtual(self) -> bool:
        """Whether there is no row for this slot (yet)."""
        return self.id is None

    @property
    def rolling_shown(self) -> dict[str, Any]:
        """The values of the app's own columns as JSON has them, by the name that they have there."""
        own: OwnColumns = self.rolling_models.own
        return own.shown(self, own.slot)

    @property
    def rolling_own(self) -> Mapping[str, Any]:
        """The values of the app's own columns, by attribute."""
        return {name: getattr(self, name) for name in self.rolling_models.own.slot}

    @property
    def local_start(self) -> datetime:
        """The start in the template's zone, aware."""
        start: datetime = self.starts_at
        return start.astimezone(ZoneInfo(self.template.timezone))

    @property
    def local_end(self) -> datetime:
        """The end in the template's zone, aware."""
        end: datetime = self.ends_at
        return end.astimezone(ZoneInfo(self.template.timezone))

    @property
    def is_all_day(self) -> bool:
        """Whether it lasts whole local days, from midnight to midnight in its template's zone."""
        if self.ends_at - self.starts_at < _SHORTEST_DAY:
            return False
        start, end = self.local_start, self.local_end
        return start.time() == end.time() == time.min and start.date() < end.date()

    @property
    def reminder_at(self) -> datetime | None:
        """When to remind those who booked: ``reminder_before`` ahead of the start, UTC; ``None``: never."""
        before: timedelta | None = self.template.reminder_before
        return self.starts_at - before if before is not None else None

    @property
    def cancel_until(self) -> datetime:
        """Until when a person may give places back or move, UTC: ``cancel_before`` ahead of the start."""
        before: timedelta = self.template.cancel_before or timedelta(0)
        until: datetime = self.starts_at - before
        return until

    def booked_at(self, now: datetime) -> int:
        """Return how many places are taken at a moment (aware): holds that have expired are free."""
        return live_places(self.booked, self.holds, now) if self.holds else self.booked

    def left_at(self, now: datetime) -> int:
        """Return how many places are free at a moment (aware)."""
        capacity: int = self.by_now(now).get("capacity", self.capacity)
        return max(0, capacity - self.booked_at(now))

    def by_now(self, now: datetime) -> dict[str, Any]:
        """Return the values in which a stored slot is not yet as its template says at a moment (aware).

        There are some until a top-up follows what an app changed through the ORM, and where a slot that was kept for
        its bookings has none any more. All others are as they are stored.
        """
        template = self.template
        if self.id is None or self.status != Status.SCHEDULED or template is None:
            return {}
        if template.settled_revision == template.revision:
            is_let_go = self.displaced and "starts_at" not in self.customised and not self.booked_at(now)
            if not is_let_go:
                return {}
        known = {name: getattr(self, name) for name in _AS_STORED}
        known |= {"customised": tuple(self.customised or ()), "live": self.booked_at(now)}
        known |= {"withdrawn": self.withdrawn or None, "displaced": self.displaced or None}
        known |= {"data": self.rolling_data, "own": self.rolling_own}
        return planning.by_now(template.spec(), StoredSlot(**known), now)

    def _seen(self, now: datetime) -> tuple[State | None, State | None]:
        """Return what a slot is by the time alone, and what keeps people from booking it; ``None``: neither."""
        values = self.by_now(now)
        shown: Any = _ByNow(self, values) if values else self
        starts_at, opens_at, closes_at = shown.starts_at, shown.opens_at, shown.closes_at
        by_time = None
        if starts_at <= now:
            by_time = State.ENDED if shown.ends_at <= now else State.RUNNING
        elif opens_at is not None and opens_at > now:
            by_time = State.UPCOMING
        if shown.withdrawn:
            return by_time, State.WITHDRAWN
        if (starts_at if closes_at is None else closes_at) <= now:
            return by_time, State.CLOSED
        may_be_asked = by_time in (None, State.RUNNING)
        if may_be_asked and _is_blocked(self, now):
            return by_time, State.BLOCKED
        left = shown.capacity - self.booked_at(now)
        if left <= 0:
            return by_time, State.FULL
        in_pool = left_in_pool_at(self, now) if may_be_asked else None
        if in_pool == 0:
            return by_time, State.BLOCKED
        left = left if in_pool is None else min(left, in_pool)
        is_kept = self.id is not None and keeps_for_waiting(self, left, starts_at, now)
        return by_time, State.FULL if is_kept else None

    def is_withdrawn_at(self, now: datetime) -> bool:
        """Whether its template does not offer the slot any more at a moment (aware)."""
        return bool(self.by_now(now).get("withdrawn", self.withdrawn))

    def seen_at(self, now: datetime) -> tuple[State, bool]:
        """Return what :meth:`state_at` and :meth:`is_bookable_at` say, in one look."""
        if self.status != Status.SCHEDULED:
            return State(self.status), False
        by_time, hindrance = self._seen(now)
        return by_time or hindrance or State.OPEN, hindrance is None and by_time in (None, State.RUNNING)

    def state_at(self, now: datetime) -> State:
        """Return what the slot is at a moment (aware), exact to the second."""
        return self.seen_at(now)[0]

    def is_bookable_at(self, now: datetime) -> bool:
        """Whether an ordinary booking of one place would be taken at a moment (aware)."""
        return self.seen_at(now)[1]


def _is_blocked(slot: Any, now: datetime) -> bool:
    """Whether another slot has the exclusive resource of this one, or its time in the series."""
    is_taken = slot.template.exclusive and is_excluded(slot, busy_around(slot), now)
    return is_taken or is_crowded(slot, now)
