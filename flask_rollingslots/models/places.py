"""What takes a slot's places: live bookings of the slot itself, and of others on the same exclusive resource.

``booked`` counts holds until somebody who needs their places sorts them out. Whoever reads takes off what has
expired: in Python by the list of holds on the row, in SQL by a subquery that is only run for rows with such a hold.
Below the tables, so ``models`` (the app's :class:`~.tables.Models`) and slots have no types here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, exists, func, literal_column, select
from sqlalchemy.orm import Session, object_session

from ..values import OCCUPYING, BookingStatus, Hold, live_places
from .kinds import table_of

#: Where a session keeps the mark that changes with everything it writes about bookings.
BUSY_MARK = "rollingslots_busy"
#: Written out, so that SQLite recognises the condition of the index on booked slots.
_NOTHING: ColumnElement[int] = literal_column("0")


def expired_places(models: Any, slot: Any, now: Any) -> ColumnElement[int]:
    """Return, in SQL, how many of a slot's ``booked`` places belong to holds that have expired.

    :param slot: the slot class, an alias of it, or the columns of either.
    """
    bookings = table_of(models.Booking).alias()
    expired = (
        select(func.coalesce(func.sum(bookings.c.party), 0))
        .where(
            bookings.c.slot_id == slot.id,
            bookings.c.status == BookingStatus.HELD.value,
            bookings.c.expires_at <= now,
        )
        .scalar_subquery()
    )
    return case((slot.hold_until <= now, expired), else_=0)


def is_blocked(models: Any, slot: Any, now: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether a live booking in another slot has a slot's exclusive resource meanwhile."""
    templates, other = table_of(models.Template), table_of(models.Slot).alias()
    ours, theirs = templates.alias(), templates.alias()
    joined = ours.join(theirs, theirs.c.resource == ours.c.resource).join(
        other, other.c.template_id == theirs.c.id
    )
    return exists(
        select(1)
        .select_from(joined)
        .where(
            ours.c.id == slot.template_id,
            ours.c.exclusive.is_(True),
            theirs.c.exclusive.is_(True),
            other.c.id != slot.id,
            other.c.status.in_(OCCUPYING),
            other.c.booked > _NOTHING,
            other.c.starts_at < slot.ends_at,
            other.c.ends_at > slot.starts_at,
            other.c.booked > expired_places(models, other.c, now),
        )
    )


class Busy(NamedTuple):
    """A slot with bookings that takes a resource for a while."""

    resource: str
    slot_id: int
    starts_at: datetime
    ends_at: datetime
    booked: int
    holds: list[Hold] | None
    series_id: int
    original_start: datetime

    def takes(self, slot: Any, now: datetime) -> bool:
        """Whether this keeps others out of a slot at a moment."""
        # By key, for this may be the row of a slot that was virtual when it was read.
        return (
            (self.series_id, self.original_start) != (slot.series_id, slot.original_start)
            and self.starts_at < slot.ends_at
            and self.ends_at > slot.starts_at
            and live_places(self.booked, self.holds, now) > 0
        )


def load_busy(
    session: Session,
    models: Any,
    resources: Iterable[str],
    start: datetime,
    end: datetime,
    lock: bool = False,
) -> list[Busy]:
    """Return what takes some exclusive resources at any time in a span.

    :param lock: see what others committed meanwhile, where a transaction would else read an older state.
    """
    slot, template = models.Slot, models.Template
    query = (
        select(
            template.resource,
            slot.id,
            slot.starts_at,
            slot.ends_at,
            slot.booked,
            slot.holds,
            slot.series_id,
            slot.original_start,
        )
        .join(template, template.id == slot.template_id)
        .where(
            template.resource.in_(sorted(resources)),
            template.exclusive.is_(True),
            slot.status.in_(OCCUPYING),
            slot.booked > _NOTHING,
            slot.starts_at < end,
            slot.ends_at > start,
        )
    )
    return [Busy._make(row) for row in session.execute(query.with_for_update(read=True) if lock else query)]


class Seen(list[Busy]):
    """What was found on a resource, as it was until the session changed anything about bookings.

    :ivar mark: the session's mark by then; see ``forget_busy``.
    """

    def __init__(self, session: Session, found: Iterable[Busy]) -> None:
        super().__init__(found)
        self.mark = session.info.get(BUSY_MARK)


def mark_busy(session: Session, models: Any, slots: Iterable[Any]) -> None:
    """Let some slots know what takes their exclusive resources, with one query; none if there are no such slots."""
    exclusive = [slot for slot in slots if slot.template.exclusive]
    if not exclusive:
        return
    found = load_busy(
        session,
        models,
        {slot.template.resource for slot in exclusive},
        min(slot.starts_at for slot in exclusive),
        max(slot.ends_at for slot in exclusive),
    )
    by_resource = {slot.template.resource: Seen(session, ()) for slot in exclusive}
    for busy in found:
        by_resource.setdefault(busy.resource, Seen(session, ())).append(busy)
    for slot in exclusive:
        slot.rolling_busy = by_resource[slot.template.resource]


def blocked_at(slot: Any, now: datetime) -> bool:
    """Whether another slot has the exclusive resource of this one; asks the database unless it was told.

    What it was told holds until its session books, releases or ends something: virtual slots are not expired, and
    others only by a commit.
    """
    template, busy = slot.template, slot.rolling_busy
    if not template.exclusive:
        return False
    session = object_session(slot) or object_session(template)
    is_old = session is not None and isinstance(busy, Seen) and busy.mark is not session.info.get(BUSY_MARK)
    if busy is None or is_old:
        if session is None:
            return False
        busy = load_busy(session, slot.rolling_models, [template.resource], slot.starts_at, slot.ends_at)
    return any(other.takes(slot, now) for other in busy)
