"""What takes a slot's time: another slot of its series that is not where its rule has it, or that it is in the way of.

Slots of one template that do not overlap on an ordinary day never overlap: of two that would, because one is booked
and kept at its old time or was moved by a person, one stands and the other is blocked. Only slots that are
``displaced`` can overlap others, so the few of them are all that is looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    cast,
    exists,
    false,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

from ..values import OCCUPYING, Hold, Status, live_places
from .kinds import table_of
from .places import BUSY_MARK, NOTHING, expired_places

#: One of these stands in ``customised`` of a slot that a person moved.
MOVED = {"starts_at", "ends_at"}
#: Where a template keeps which slots of its series were read together with it.
_NEAR = "rolling_near"
#: Of so many windows a template knows at most; a list of a quarter is read by the day at least.
_STRETCHES = 100
#: Beyond so many series they are not listed in a query.
_MANY_SERIES = 500
#: As texts: parameters of a list are put into the statement anew each time.
_OCCUPYING: list[ColumnElement[str]] = [literal_column(f"'{status.value}'") for status in OCCUPYING]


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


def _rank(slot: Any, now: datetime) -> tuple[bool, bool, timedelta]:
    """Return what of two slots stands: the booked one, the one that a person moved, the one that begins earlier."""
    is_booked = live_places(slot.booked, slot.holds, now) > 0
    return (
        is_booked,
        not MOVED.isdisjoint(slot.customised or ()),
        datetime.max - slot.original_start,
    )


_STARTS_AT = attrgetter("starts_at")


class Near(list[Neighbour]):
    """The displaced slots of a series near a span that was read, for as long as the session's transaction lasts.

    :ivar window: the span, aware: what is known of slots that start in it.
    :ivar tells_all: whether all are in here that are booked or were moved, displaced or not, and overlap the span: then
        it tells of slots too that are displaced themselves, and of those that have one's marks not yet.
    """

    def __init__(self, session: Session, window: Any, tells_all: bool = False) -> None:
        super().__init__()
        self.window, self.tells_all = window, tells_all
        self._longest: timedelta | None = None
        self._mark, self._transaction = session.info.get(BUSY_MARK), session.get_transaction()

    def around(self, slot: Any) -> list[Neighbour]:
        """Return those that overlap a slot, and perhaps some that end before it."""
        if self._longest is None:
            self.sort(key=_STARTS_AT)
            self._longest = max((each.ends_at - each.starts_at for each in self), default=timedelta(0))
        first = bisect_left(self, slot.starts_at - self._longest, key=_STARTS_AT)
        return self[first : bisect_left(self, slot.ends_at, key=_STARTS_AT)]

    def holds(self, session: Session | None) -> bool:
        """Whether nothing has ended what is known: no transaction, and no write of this session.

        :param session: ``None``: of values, which stay as they were read.
        """
        if session is None:
            return True
        return self._mark is session.info.get(BUSY_MARK) and self._transaction is session.get_transaction()

    def tells(self, session: Session | None, slot: Any) -> bool:
        """Whether all that may be in the way of a slot is in here."""
        start, end = self.window.start, self.window.end
        if self.tells_all:
            return bool(start <= slot.starts_at and slot.ends_at <= end) and self.holds(session)
        is_settled = not slot.displaced and slot.template.settled_revision == slot.template.revision
        return is_settled and bool(start <= slot.starts_at < end) and self.holds(session)

    def is_beside(self, window: Any) -> bool:
        """Whether another span that was read has no moment of this one."""
        return bool(self.window.end <= window.start or window.end <= self.window.start)


def is_crowded(slot: Any, now: datetime) -> bool:
    """Whether another slot of the series has the time of this one; asks the database unless it was told."""
    template = slot.template
    if template.may_overlap:
        return False
    session, known = slot.rolling_session, template.__dict__.get(_NEAR)
    for near in known or ():
        if near.tells(session, slot):
            return bool(near) and any(other.blocks(slot, now) for other in near.around(slot))
    if session is None:
        return False
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
        kept = [old for old in known if old.holds(session) and (old.tells_all or old.is_beside(window))]
        # A row may ask again for what was forgotten; a value may not.
        most = _STRETCHES if hasattr(template, "_sa_instance_state") else len(kept) + 1
        template.__dict__[_NEAR] = [near, *kept[: most - 1]]
    for row in displaced:
        if row.status in OCCUPYING and row.series_id in by_series:
            values = (getattr(row, name) for name in Neighbour._fields)
            by_series[row.series_id].append(Neighbour(*values))


def mark_crowd(session: Session, models: Any, slots: Iterable[Any], window: Any, now: datetime) -> None:
    """Let templates know all that stands near slots of which the displaced ones alone do not tell; with one query.

    Those are slots that are displaced themselves, began before the window, or follow their template only from the next
    top-up on. Hundreds of them would each ask otherwise.
    """
    wanted = [slot for slot in slots if _needs_all(slot, window, now)]
    if not wanted:
        return
    span = replace(
        window, start=min(slot.starts_at for slot in wanted), end=max(slot.ends_at for slot in wanted)
    )
    nears = {slot.series_id: Near(session, span, tells_all=True) for slot in wanted}
    for other in _booked_or_moved(session, models, nears, span):
        nears[other.series_id].append(other)
    for template in {slot.template_id: slot.template for slot in wanted}.values():
        template.__dict__.setdefault(_NEAR, []).insert(0, nears[template.series_id])


def _needs_all(slot: Any, window: Any, now: datetime) -> bool:
    template = slot.template
    is_settled = template.settled_revision == template.revision
    if is_settled and not slot.displaced and slot.starts_at >= window.start:
        return False
    if template.may_overlap or slot.status != Status.SCHEDULED:
        return False
    closes_at = slot.closes_at
    return bool((slot.starts_at if closes_at is None else closes_at) > now)  # else that alone is the answer


def _booked_or_moved(session: Session, models: Any, series: Iterable[int], span: Any) -> Iterator[Neighbour]:
    cls, listed = models.Slot, list(series)
    here = (cls.starts_at < span.end, cls.ends_at > span.start)
    mine = [cls.series_id.in_(listed)] if len(listed) <= _MANY_SERIES else []
    found = session.execute(_neighbours(cls).where(*mine, *here, _takes_its_time(cls)))
    return (other for other in map(Neighbour._make, found) if other.series_id in series)


def load_neighbours(session: Session, models: Any, slot: Any, lock: bool = False) -> list[Neighbour]:
    """Return the slots of a series that overlap one of them and are booked, or moved by a person.

    :param lock: see what others committed meanwhile, where a transaction would else read an older state.
    """
    cls = models.Slot
    query = _neighbours(cls).where(
        cls.series_id == slot.series_id,
        cls.starts_at < slot.ends_at,
        cls.ends_at > slot.starts_at,
        _takes_its_time(cls),
    )
    return list(map(Neighbour._make, session.execute(query.with_for_update(read=True) if lock else query)))


def _takes_its_time(cls: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether a slot is booked, or was moved by a person."""
    moved = [cast(cls.customised, String).contains(name) for name in sorted(MOVED)]
    return or_(cls.booked > NOTHING, *moved)


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
        templates.id == slot.template_id,
        templates.overlapping == false(),
        templates.exclusive == false(),
        templates.pool.is_(None),
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
        other.template_id == slot.template_id, other.booked > NOTHING, *_overlapping(other, slot), stands
    )
    return and_(
        exists(keeps_apart), or_(exists(by_displaced), and_(slot.displaced == true(), exists(by_booked)))
    )


def _overlapping(other: Any, slot: Any) -> tuple[ColumnElement[bool], ...]:
    return (
        other.series_id == slot.series_id,
        other.id != slot.id,
        other.status.in_(_OCCUPYING),
        other.starts_at < slot.ends_at,
        other.ends_at > slot.starts_at,
    )
