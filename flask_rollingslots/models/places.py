"""What takes a slot's places: live bookings of the slot itself, and of others on the same exclusive resource.

And what takes its time: another slot of its series that is not where its rule has it, or that it is in the way of.

``booked`` counts holds until somebody who needs their places sorts them out. Whoever reads takes off what has
expired: in Python by the list of holds on the row, in SQL by a subquery that is only run for rows with such a hold.
Below the tables, so ``models`` (the app's :class:`~.tables.Models`) and slots have no types here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session, object_session

from ..values import OCCUPYING, BookingStatus, Claim, Hold, live_places, to_us
from .kinds import table_of

#: Where a session keeps the mark that changes with everything it writes about bookings.
BUSY_MARK = "rollingslots_busy"
#: One of these stands in ``customised`` of a slot that a person moved.
MOVED = {"starts_at", "ends_at"}
#: Where a template keeps which displaced slots of its series were read together with it.
_NEAR = "rolling_near"
#: Of so many windows a template knows at most; a list of a quarter is read by the day at least.
_STRETCHES = 100
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
        .correlate_except(
            bookings
        )  # by itself it would know only the query next to it, and read all slots again
        .scalar_subquery()
    )
    return case((slot.hold_until <= now, expired), else_=0)


def is_blocked(models: Any, slot: Any, now: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether a live booking in another slot has a slot's exclusive resource meanwhile."""
    templates, other = table_of(models.Template), table_of(models.Slot).alias()
    ours, theirs = templates.alias(), templates.alias()
    is_one = or_(
        theirs.c.group_name.is_not_distinct_from(ours.c.group_name),
        and_(theirs.c.resource_shared.is_(True), ours.c.resource_shared.is_(True)),
    )
    joined = ours.join(theirs, and_(theirs.c.resource == ours.c.resource, is_one)).join(
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

    claim: Claim
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
    claims: Iterable[Claim],
    start: datetime,
    end: datetime,
    lock: bool = False,
) -> list[Busy]:
    """Return what takes some exclusive resources at any time in a span.

    :param lock: see what others committed meanwhile, where a transaction would else read an older state.
    """
    slot, template, wanted = models.Slot, models.Template, set(claims)
    query = (
        select(
            template.resource,
            template.group,
            template.resource_shared,
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
            template.resource.in_(sorted({claim.resource for claim in wanted})),
            template.exclusive.is_(True),
            slot.status.in_(OCCUPYING),
            slot.booked > _NOTHING,
            slot.starts_at < end,
            slot.ends_at > start,
        )
    )
    rows = session.execute(query.with_for_update(read=True) if lock else query)
    found = (Busy._make((Claim(*row[:3]), *row[3:])) for row in rows)
    return [busy for busy in found if any(busy.claim.meets(claim) for claim in wanted)]


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
    claims = {slot.template: slot.template.claim for slot in exclusive}
    wanted = {claim for claim in claims.values() if claim is not None}
    found = load_busy(
        session,
        models,
        wanted,
        min(slot.starts_at for slot in exclusive),
        max(slot.ends_at for slot in exclusive),
    )
    by_resource: defaultdict[str, list[Busy]] = defaultdict(list)
    for busy in found:
        by_resource[busy.claim.resource].append(busy)
    seen = {
        claim: Seen(session, (busy for busy in by_resource[claim.resource] if busy.claim.meets(claim)))
        for claim in wanted
    }
    for slot in exclusive:
        slot.rolling_busy = seen.get(claims[slot.template], ())


def blocked_at(slot: Any, now: datetime) -> bool:
    """Whether another slot has the exclusive resource of this one, or its time in the series."""
    return _resource_taken(slot, now) or is_crowded(slot, now)


def _resource_taken(slot: Any, now: datetime) -> bool:
    """Whether another slot has the exclusive resource of this one; asks the database unless it was told.

    What it was told holds until its session books, releases or ends something: virtual slots are not expired, and
    others only by a commit.
    """
    template, busy = slot.template, slot.rolling_busy
    if not template.exclusive or template.resource is None:
        return False
    session = object_session(slot) or object_session(template)
    is_old = session is not None and isinstance(busy, Seen) and busy.mark is not session.info.get(BUSY_MARK)
    if busy is None or is_old:
        if session is None:
            return False
        busy = load_busy(session, slot.rolling_models, [template.claim], slot.starts_at, slot.ends_at)
    return any(other.takes(slot, now) for other in busy)


# -- the time of a slot in its series
#
# Slots of one template that do not overlap on an ordinary day never overlap: of two that would, because one is booked
# and kept at its old time or was moved by a person, one stands and the other is blocked. Only slots that are
# ``displaced`` can overlap others, so the few of them are all that is looked at.


class Neighbour(NamedTuple):
    """A stored slot that may stand in the way of others of its series."""

    id: int
    series_id: int
    original_start: datetime
    starts_at: datetime
    ends_at: datetime
    booked: int
    holds: list[Hold] | None
    customised: list[str] | None

    def blocks(self, slot: Any, now: datetime) -> bool:
        """Whether a slot of the same series is blocked while this one stands."""
        is_other = self.original_start != slot.original_start
        overlaps = self.starts_at < slot.ends_at and self.ends_at > slot.starts_at
        mine = _rank(self, now)
        return is_other and overlaps and any(mine[:2]) and mine > _rank(slot, now)


def _rank(slot: Any, now: datetime) -> tuple[bool, bool, int]:
    """Return what of two slots stands: the booked one, the one that a person moved, the one that begins earlier."""
    is_booked = live_places(slot.booked, slot.holds, now) > 0
    return (
        is_booked,
        not MOVED.isdisjoint(slot.customised or ()),
        -to_us(slot.original_start.replace(tzinfo=UTC)),
    )


_STARTS_AT = attrgetter("starts_at")


class Near(list[Neighbour]):
    """The displaced slots of a series near a span that was read, for as long as the session's transaction lasts.

    :ivar window: the span, aware: what is known of slots that start in it.
    """

    def __init__(self, session: Session, window: Any) -> None:
        super().__init__()
        self.window = window
        self._longest: timedelta | None = None
        self._mark, self._transaction = session.info.get(BUSY_MARK), session.get_transaction()

    def around(self, slot: Any) -> list[Neighbour]:
        """Return those that overlap a slot, and perhaps some that end before it."""
        if self._longest is None:
            self.sort(key=_STARTS_AT)
            self._longest = max((each.ends_at - each.starts_at for each in self), default=timedelta(0))
        first = bisect_left(self, slot.starts_at - self._longest, key=_STARTS_AT)
        return self[first : bisect_left(self, slot.ends_at, key=_STARTS_AT)]

    def holds(self, session: Session) -> bool:
        """Whether nothing has ended what is known: no transaction, and no write of this session."""
        return self._mark is session.info.get(BUSY_MARK) and self._transaction is session.get_transaction()

    def tells(self, session: Session, slot: Any) -> bool:
        """Whether all that may be in the way of a slot is in here."""
        is_in = bool(self.window.start <= slot.starts_at < self.window.end)
        return is_in and not slot.displaced and self.holds(session)

    def is_beside(self, window: Any) -> bool:
        """Whether another span that was read has no moment of this one."""
        return bool(self.window.end <= window.start or window.end <= self.window.start)


def is_crowded(slot: Any, now: datetime) -> bool:
    """Whether another slot of the series has the time of this one; asks the database unless it was told."""
    template = slot.template
    if template.overlapping or template.exclusive:
        return False
    session = object_session(slot) or object_session(template)
    if session is None:
        return False
    if template.settled_revision == template.revision:
        for near in template.__dict__.get(_NEAR, ()):
            if near.tells(session, slot):
                return any(other.blocks(slot, now) for other in near.around(slot))
    return any(other.blocks(slot, now) for other in load_neighbours(session, slot.rolling_models, slot))


def mark_near(session: Session, templates: Iterable[Any], displaced: Iterable[Any], window: Any) -> None:
    """Let templates know which displaced slots of their series are near a window that was read.

    What they know of other windows stays: long lists are read in stretches.

    :param displaced: all rows that are, and are not over when it begins.
    """
    by_series: dict[int, Near] = {}
    for template in templates:
        near = by_series.setdefault(template.series_id, Near(session, window))
        known: list[Near] = template.__dict__.get(_NEAR, [])
        kept = [old for old in known if old.holds(session) and old.is_beside(window)]
        template.__dict__[_NEAR] = [near, *kept[: _STRETCHES - 1]]
    for row in displaced:
        if row.status in OCCUPYING and row.series_id in by_series:
            values = (getattr(row, name) for name in Neighbour._fields)
            by_series[row.series_id].append(Neighbour(*values))


def load_neighbours(session: Session, models: Any, slot: Any, lock: bool = False) -> list[Neighbour]:
    """Return the slots of a series that overlap one of them and are booked, or moved by a person.

    :param lock: see what others committed meanwhile, where a transaction would else read an older state.
    """
    cls = models.Slot
    moved = [cast(cls.customised, String).contains(name) for name in sorted(MOVED)]
    query = _neighbours(cls).where(
        cls.series_id == slot.series_id,
        cls.starts_at < slot.ends_at,
        cls.ends_at > slot.starts_at,
        or_(cls.booked > _NOTHING, *moved),
    )
    return list(map(Neighbour._make, session.execute(query.with_for_update(read=True) if lock else query)))


def _neighbours(cls: Any) -> Any:
    columns = (getattr(cls, name) for name in Neighbour._fields)
    return select(*columns).where(cls.status.in_(OCCUPYING))


def displaced_near(
    models: Any, slot: Any, joined: Callable[..., ColumnElement[bool]] = and_
) -> ColumnElement[bool]:
    """Return, in SQL, whether a displaced slot of the same series overlaps a slot: then more is to be looked at.

    :param slot: the columns of the slot table, or of an alias of it.
    :param joined: how the conditions besides the mark are joined.
    """
    others = table_of(models.Slot).alias()
    found = select(others.c.id).where(others.c.displaced == true(), joined(*_overlapping(others.c, slot)))
    return exists(found.correlate_except(others))


def is_crowded_in_sql(models: Any, slot: Any, now: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether another slot of the series has the time of a slot."""
    templates, other = table_of(models.Template).alias().c, table_of(models.Slot).alias().c
    keeps_apart = select(templates.id).where(
        templates.id == slot.template_id, templates.overlapping == false(), templates.exclusive == false()
    )
    theirs, mine = (each.booked > expired_places(models, each, now) for each in (other, slot))
    they_moved, we_moved = (
        or_(*(cast(each.customised, String).contains(name) for name in sorted(MOVED)))
        for each in (other, slot)
    )
    is_earlier = and_(other.original_start < slot.original_start, or_(theirs, they_moved))
    alike = or_(and_(they_moved, we_moved), and_(not_(they_moved), not_(we_moved)))
    by_person = or_(and_(they_moved, not_(we_moved)), and_(alike, is_earlier))
    both = or_(and_(theirs, mine), and_(not_(theirs), not_(mine)))
    stands = or_(and_(theirs, not_(mine)), and_(both, by_person))
    by_displaced = select(other.id).where(other.displaced == true(), *_overlapping(other, slot), stands)
    by_booked = select(other.id).where(
        other.template_id == slot.template_id, other.booked > _NOTHING, *_overlapping(other, slot), stands
    )
    return and_(
        exists(keeps_apart), or_(exists(by_displaced), and_(slot.displaced == true(), exists(by_booked)))
    )


def _overlapping(other: Any, slot: Any) -> tuple[ColumnElement[bool], ...]:
    return (
        other.series_id == slot.series_id,
        other.id != slot.id,
        other.status.in_(OCCUPYING),
        other.starts_at < slot.ends_at,
        other.ends_at > slot.starts_at,
    )
