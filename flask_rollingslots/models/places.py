"""What takes a slot's places: live bookings of the slot itself, and of others on the same resource.

And what takes its time: another slot of its series that is not where its rule has it, or that it is in the way of.

``booked`` counts holds until somebody who needs their places sorts them out. Whoever reads takes off what has
expired: in Python by the list of holds on the row, in SQL by a subquery that is only run for rows with such a hold.
Below the tables, so ``models`` (the app's :class:`~.tables.Models`) and slots have no types here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    String,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    type_coerce,
    union_all,
)
from sqlalchemy.orm import Session, object_session

from ..values import OCCUPYING, BookingStatus, Claim, Hold, live_places, to_us
from .kinds import UtcDateTime, later, table_of

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
_NO_TIME = timedelta(0)
#: In seconds: more than a change of the clock adds to a slot.
_A_DAY: ColumnElement[int] = literal_column("86400")


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


def keeps_for_waiting(slot: Any, left: int, starts_at: datetime, now: datetime) -> bool:
    """Whether what is left in a slot is enough for somebody who waits, and so for nobody else, at a moment (aware)."""
    return slot.waits_for is not None and slot.waits_for <= left and starts_at > now


def is_kept_for_waiting(models: Any, slot: Any, now: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether what is left in a slot is enough for somebody who waits, and so for nobody else."""
    left = slot.capacity - slot.booked + expired_places(models, slot, now)
    fits = and_(slot.waits_for.is_not(None), slot.starts_at > now, slot.waits_for <= left)
    # The pool is asked only about the few slots that are left then.
    return case((not_(fits), false()), else_=not_(is_used_up(models, slot, now, slot.waits_for)))


# -- resources
#
# With an exclusive resource, slots that overlap exclude each other. With a pool, places are counted moment by moment.
# For slots of other series a booking also takes the resource during setup and cleanup; among themselves the slots of
# one series pass it on at once.


def has_claim(template: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether the bookings of a template take its resource.

    :param template: the template class, or the columns of the table or of an alias of it.
    """
    return and_(template.resource.is_not(None), or_(template.exclusive.is_(True), template.pool.is_not(None)))


def claim_columns(cls: Any) -> tuple[Any, ...]:
    """Return the columns of a template class that a claim is made of, in its order."""
    return cls.resource, cls.group, cls.resource_shared, cls.pool, cls.setup, cls.cleanup


def is_blocked(models: Any, slot: Any, now: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether a live booking in another slot has a slot's exclusive resource meanwhile."""
    ours, theirs = (table_of(models.Template).alias() for _ in range(2))
    other = table_of(models.Slot).alias()
    joined = ours.join(theirs, _is_one(ours.c, theirs.c)).join(other, other.c.template_id == theirs.c.id)
    return exists(
        select(1)
        .select_from(joined)
        .where(
            ours.c.id == slot.template_id,
            ours.c.exclusive.is_(True),
            theirs.c.exclusive.is_(True),
            other.c.id != slot.id,
            *_occupied(other.c),
            *_meanwhile(ours.c, slot, theirs.c, other.c),
            other.c.booked > expired_places(models, other.c, now),
        )
    )


def is_used_up(models: Any, slot: Any, now: Any, places: Any = None) -> ColumnElement[bool]:
    """Return, in SQL, whether a pool has no place left for a slot at some moment; as ``most_taken`` counts them.

    :param places: so many are asked for, by default one.

    The most places are taken when something begins: what is looked at is the beginning and each such moment within the
    slot, and for slots of its own series each moment at which the slot has one of them beside it.
    """
    places = literal_column("1") if places is None else places
    ours, theirs, parts = (table_of(models.Template).alias() for _ in range(3))
    first, near = (table_of(models.Slot).alias() for _ in range(2))
    later_ones, beside = (_with_and_without() for _ in range(2))
    starts_within = (
        first.c.starts_at > later(slot.starts_at, _seconds(theirs.c.setup) - _seconds(ours.c.setup)),
        _meanwhile(ours.c, slot, theirs.c, first.c)[0],
    )
    starts_beside = (near.c.starts_at > slot.starts_at, near.c.starts_at < slot.ends_at)
    is_shared = and_(later_ones.c.is_with == 1, _is_one(ours.c, theirs.c), theirs.c.pool.is_not(None))
    is_part = and_(beside.c.is_with == 1, parts.c.series_id == ours.c.series_id)
    joined = (
        ours.join(later_ones, later_ones.c.is_with <= ours.c.pool)  # always: a pool has a place
        .join(beside, beside.c.is_with <= ours.c.pool)
        .outerjoin(theirs, is_shared)
        .outerjoin(first, and_(first.c.template_id == theirs.c.id, *_occupied(first.c), *starts_within))
        .outerjoin(parts, is_part)
        .outerjoin(near, and_(near.c.template_id == parts.c.id, *_occupied(near.c), *starts_beside))
    )
    begins, first_begins = _widened(slot, ours.c)[0], _widened(first.c, theirs.c)[0]

    def there(every: Any, other: Any) -> tuple[ColumnElement[bool], ...]:
        other_begins, other_ends = _widened(other, every)
        is_beside = and_(
            or_(other.starts_at <= slot.starts_at, other.starts_at <= near.c.starts_at),
            or_(near.c.id.is_(None), other.ends_at > near.c.starts_at),
        )
        return (
            *_meanwhile(ours.c, slot, every, other),
            or_(other_begins <= begins, other_begins <= first_begins),
            or_(first.c.id.is_(None), other_ends > first_begins),
            other_ends > begins,
            or_(every.series_id != ours.c.series_id, is_beside),
        )

    found = exists(
        select(1)
        .select_from(joined)
        .where(
            ours.c.id == slot.template_id,
            ours.c.pool.is_not(None),
            or_(later_ones.c.is_with == 0, first.c.id.is_not(None)),
            or_(beside.c.is_with == 0, near.c.id.is_not(None)),
            _taken_places(models, ours.c, slot, now, there) > ours.c.pool - places,
        )
    )
    # One slot after the other, and only where all that it shares the pool with would be too much at once. As a
    # condition PostgreSQL would work it out for all slots first.
    return case((not_(_may_be_used_up(models, slot, now, places)), false()), (found, true()), else_=false())


def _may_be_used_up(models: Any, slot: Any, now: Any, places: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether its pool has too few places beside all that a slot and what overlaps it take."""
    ours = table_of(models.Template).alias()
    taken = _taken_places(
        models, ours.c, slot, now, lambda every, other: _meanwhile(ours.c, slot, every, other)
    )
    own = (ours.c.id == slot.template_id, ours.c.pool.is_not(None))
    return exists(select(1).select_from(ours).where(*own, taken > ours.c.pool - places))


def _with_and_without() -> Any:
    """Return two rows to join others to, one of them with none."""
    rows = (select(literal_column(number, Integer).label("is_with")) for number in "01")
    return union_all(*rows).subquery()


def _taken_places(
    models: Any,
    ours: Any,
    slot: Any,
    now: Any,
    there: Callable[[Any, Any], tuple[ColumnElement[bool], ...]],
) -> ColumnElement[int]:
    """Return, in SQL, how many places are taken of the pool of a slot.

    What is where its rule has it lasts as long as that says, and is found by its start; the few others by their mark.

    :param there: returns the conditions on a template and a slot of it.
    """
    sums = []
    for is_displaced in (False, True):
        every, other = table_of(models.Template).alias(), table_of(models.Slot).alias()
        reach = _seconds(every.c.duration) + _seconds(every.c.cleanup) + _seconds(ours.setup) + _A_DAY
        found = (
            (other.c.displaced == true(), other.c.series_id == every.c.series_id)
            if is_displaced
            else (other.c.displaced.is_(None), other.c.starts_at > later(slot.starts_at, -reach))
        )
        query = (
            select(func.sum(other.c.booked - expired_places(models, other.c, now)))
            .select_from(every.join(other, other.c.template_id == every.c.id))
            .where(
                _is_one(ours, every.c),
                every.c.pool.is_not(None),
                *_occupied(other.c),  # first what costs less to be told
                *found,
                *there(every.c, other.c),
            )
        )
        sums.append(func.coalesce(query.correlate_except(every, other).scalar_subquery(), _NOTHING))
    return sums[0] + sums[1]


def _is_one(ours: Any, theirs: Any) -> ColumnElement[bool]:
    """Return, in SQL, whether two templates mean the same resource."""
    is_one = or_(
        theirs.group_name.is_not_distinct_from(ours.group_name),
        and_(theirs.resource_shared.is_(True), ours.resource_shared.is_(True)),
    )
    return and_(theirs.resource == ours.resource, is_one)


def _occupied(slot: Any) -> tuple[ColumnElement[bool], ...]:
    return slot.status.in_(OCCUPYING), slot.booked > _NOTHING


def _seconds(span: Any) -> ColumnElement[int]:
    return func.coalesce(type_coerce(span, BigInteger), _NOTHING)


def _widened(slot: Any, template: Any) -> tuple[ColumnElement[datetime], ColumnElement[datetime]]:
    """Return, in SQL, from when to when a slot takes its resource, as other series see it."""
    return later(slot.starts_at, -_seconds(template.setup)), later(slot.ends_at, _seconds(template.cleanup))


def _meanwhile(
    ours: Any, slot: Any, theirs: Any, other: Any
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return, in SQL, whether two slots have a resource at the same time.

    The columns of the other one stand alone: an index leads to what is not over.
    """
    is_same = theirs.series_id == ours.series_id
    after = case((is_same, _NOTHING), else_=_seconds(ours.cleanup) + _seconds(theirs.setup))
    before = case((is_same, _NOTHING), else_=_seconds(ours.setup) + _seconds(theirs.cleanup))
    return other.starts_at < later(slot.ends_at, after), other.ends_at > later(slot.starts_at, -before)


class Stay(NamedTuple):
    """A slot whose bookings take a resource for a while, or are to do so.

    :param slot_id: 0: it has no row.
    :param places: how many are taken in it.
    """

    claim: Claim
    slot_id: int
    series_id: int
    starts_at: datetime
    ends_at: datetime
    places: int

    @property
    def begins(self) -> datetime:
        """From when on other series see the resource taken."""
        return self.starts_at - (self.claim.setup or _NO_TIME)

    @property
    def ends(self) -> datetime:
        """Until when they do."""
        return self.ends_at + (self.claim.cleanup or _NO_TIME)


def have_in_common(one: Stay | Busy, other: Stay | Busy) -> bool:
    """Whether two slots have their resource at the same time."""
    if one.series_id == other.series_id:
        return one.starts_at < other.ends_at and other.starts_at < one.ends_at
    after = (one.claim.cleanup or _NO_TIME) + (other.claim.setup or _NO_TIME)
    before = (one.claim.setup or _NO_TIME) + (other.claim.cleanup or _NO_TIME)
    return other.starts_at - one.ends_at < after and one.starts_at - other.ends_at < before


def most_taken(mine: Stay, others: Iterable[Stay], passed_on: bool = False) -> int:
    """Return the most places of a pool that are taken at a moment while a slot has it, the slot's own included.

    :param passed_on: count what is truly taken, where slots of another series pass places on to each other. Else, as in
        SQL, who looks from another series has each of them for itself: with cleanup that may be more, never fewer.
    """
    near = [other for other in others if have_in_common(mine, other)]
    moments = {mine.begins, *(max(mine.begins, other.begins) for other in near)}
    return max(_taken_at(moment, mine, near, passed_on) for moment in moments)


def _taken_at(moment: datetime, mine: Stay, near: Iterable[Stay], passed_on: bool) -> int:
    by_series: defaultdict[int, list[Stay]] = defaultdict(list)
    by_series[mine.series_id].append(mine)
    for other in near:
        if other.begins <= moment < other.ends:
            by_series[other.series_id].append(other)
    return sum(
        _at_once(stays) if passed_on or series_id == mine.series_id else sum(stay.places for stay in stays)
        for series_id, stays in by_series.items()
    )


def _at_once(stays: Sequence[Stay]) -> int:
    """Return how many places slots of one series take at the same time; it is the most when one of them begins."""
    return max(
        sum(other.places for other in stays if other.starts_at <= stay.starts_at < other.ends_at)
        for stay in stays
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

    def stay(self, now: datetime) -> Stay:
        """Return what it takes at a moment."""
        places = live_places(self.booked, self.holds, now)
        return Stay(self.claim, self.slot_id, self.series_id, self.starts_at, self.ends_at, places)

    def is_of(self, slot: Any) -> bool:
        """Whether this is a slot's own row, which may have been virtual when this was read."""
        return (self.series_id, self.original_start) == (slot.series_id, slot.original_start)


def stay_of(slot: Any, places: int) -> Stay:
    """Return what a slot takes of its template's resource, or would with so many places."""
    claim = slot.template.claim
    return Stay(claim, slot.id or 0, slot.series_id, slot.starts_at, slot.ends_at, places)


def is_excluded(slot: Any, busy: Iterable[Busy], now: datetime) -> bool:
    """Whether another slot, of those that take something, has the exclusive resource of this one."""
    mine = stay_of(slot, 0)
    others = (other for other in busy if have_in_common(mine, other) and not other.is_of(slot))
    return any(other.stay(now).places > 0 for other in others)


def taken_of_pool(slot: Any, busy: Iterable[Busy], now: datetime, passed_on: bool = False) -> int:
    """Return the most places that are taken of a slot's pool at a moment while the slot has it, its own included."""
    mine = stay_of(slot, 0)
    near = [each for each in busy if have_in_common(mine, each)]
    own = sum(each.stay(now).places for each in near if each.is_of(slot))
    theirs = (each.stay(now) for each in near if not each.is_of(slot))
    return most_taken(mine._replace(places=own), [stay for stay in theirs if stay.places], passed_on)


def load_busy(
    session: Session,
    models: Any,
    claims: Iterable[Claim],
    start: datetime,
    end: datetime,
    lock: bool = False,
) -> list[Busy]:
    """Return what takes some resources at any time in a span, setup and cleanup on both sides included.

    :param lock: see what others committed meanwhile, where a transaction would else read an older state.
    """
    slot, template, wanted = models.Slot, models.Template, set(claims)
    start -= max((claim.setup or _NO_TIME for claim in wanted), default=_NO_TIME)
    end += max((claim.cleanup or _NO_TIME for claim in wanted), default=_NO_TIME)
    first, last = (literal(moment, UtcDateTime()) for moment in (start, end))
    query = (
        select(
            *claim_columns(template),
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
            has_claim(template),
            *_occupied(slot),
            slot.starts_at < later(last, _seconds(template.setup)),
            slot.ends_at > later(first, -_seconds(template.cleanup)),
        )
    )
    rows = session.execute(query.with_for_update(read=True) if lock else query)
    size = len(Claim._fields)
    found = (Busy._make((Claim(*row[:size]), *row[size:])) for row in rows)
    return [busy for busy in found if any(busy.claim.meets(claim) for claim in wanted)]


def forget_busy(session: Session) -> None:
    """Let all slots that this session gave out ask again what takes their resources: it wrote something about that."""
    session.info[BUSY_MARK] = object()


class Seen(list[Busy]):
    """What was found on a resource, as it was until the session changed anything about bookings.

    :ivar mark: the session's mark by then; see ``forget_busy``.
    """

    def __init__(self, session: Session, found: Iterable[Busy]) -> None:
        super().__init__(found)
        self.mark = session.info.get(BUSY_MARK)


def mark_busy(session: Session, models: Any, slots: Iterable[Any]) -> None:
    """Let some slots know what takes their resources, with one query; none if no bookings of theirs take any."""
    claiming = [(slot, claim) for slot in slots if (claim := slot.template.claim) is not None]
    if not claiming:
        return
    wanted = {claim for _, claim in claiming}
    start, end = min(slot.starts_at for slot, _ in claiming), max(slot.ends_at for slot, _ in claiming)
    by_resource: defaultdict[str, list[Busy]] = defaultdict(list)
    for busy in load_busy(session, models, wanted, start, end):
        by_resource[busy.claim.resource].append(busy)
    seen = {
        claim: Seen(session, (busy for busy in by_resource[claim.resource] if busy.claim.meets(claim)))
        for claim in wanted
    }
    for slot, claim in claiming:
        slot.rolling_busy = seen[claim]


def blocked_at(slot: Any, now: datetime) -> bool:
    """Whether another slot has the exclusive resource of this one, or its time in the series."""
    is_taken = slot.template.exclusive and is_excluded(slot, _busy_around(slot), now)
    return is_taken or is_crowded(slot, now)


def left_in_pool_at(slot: Any, now: datetime) -> int | None:
    """Return how many places the pool of a slot has at each moment of it; ``None``: it has no pool."""
    claim = slot.template.claim
    if claim is None or claim.pool is None:
        return None
    most: int = claim.pool
    return max(0, most - taken_of_pool(slot, _busy_around(slot), now))


def _busy_around(slot: Any) -> Iterable[Busy]:
    """Return what has the resource of a slot meanwhile; asks the database unless the slot was told.

    What it was told holds until its session books, releases or ends something: virtual slots are not expired, and
    others only by a commit.
    """
    template, busy = slot.template, slot.rolling_busy
    if template.claim is None:
        return ()
    session = object_session(slot) or object_session(template)
    is_old = session is not None and isinstance(busy, Seen) and busy.mark is not session.info.get(BUSY_MARK)
    if busy is None or is_old:
        if session is None:
            return ()
        busy = load_busy(session, slot.rolling_models, [template.claim], slot.starts_at, slot.ends_at)
    found: Iterable[Busy] = busy
    return found


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
    if template.may_overlap:
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
        other.template_id == slot.template_id, other.booked > _NOTHING, *_overlapping(other, slot), stands
    )
    return and_(
        exists(keeps_apart), or_(exists(by_displaced), and_(slot.displaced == true(), exists(by_booked)))
    )


#: As texts: parameters of a list are put into the statement anew each time.
_OCCUPYING: list[ColumnElement[str]] = [literal_column(f"'{status.value}'") for status in OCCUPYING]


def _overlapping(other: Any, slot: Any) -> tuple[ColumnElement[bool], ...]:
    return (
        other.series_id == slot.series_id,
        other.id != slot.id,
        other.status.in_(_OCCUPYING),
        other.starts_at < slot.ends_at,
        other.ends_at > slot.starts_at,
    )
