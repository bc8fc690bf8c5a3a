"""The columns of our other tables as mixins, what takes a slot's places, and the classes of one database together.

``booked`` counts holds until somebody who needs their places sorts them out. Whoever reads takes off what has
expired: in Python by the list of holds on the row, in SQL by a subquery that is only run for rows with such a hold.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, object_session
from sqlalchemy.types import JSON

from flask_rollingslots.values import OCCUPYING, BookingStatus, SlotKey, State, Status, utc_now

from .columns import Id, UtcDateTime, WallDateTime
from .fields import FIELDS, TO_SLOTS, TemplateMixin, check_template

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from sqlalchemy.orm import Session

#: Fields of a slot that a person may change; what was changed is remembered in ``customised``.
DECIDED_FIELDS = ("starts_at", "ends_at", "opens_at", "closes_at", *TO_SLOTS)
_MARK = "rollingslots_busy"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Written out, so that SQLite recognises the condition of the index on booked slots.
_NOTHING: ColumnElement[int] = literal_column("0")

#: Booking id, expiry in microseconds of Unix time, places: one hold, as a slot's row remembers it.
Hold = list[int]


class SlotMixin:
    """A bookable thing at one occurrence: a row, or virtual (no row yet).

    ``booked`` counts holds, also expired ones that nobody was in the way of yet; ``left`` and ``state`` do not count
    those.
    """

    __tablename__ = "rolling_slot"
    rolling_clock = staticmethod(utc_now)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    series_id: Mapped[int] = mapped_column(Id)
    template_id: Mapped[int] = mapped_column(Id)
    original_start: Mapped[datetime] = mapped_column(WallDateTime)
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime)
    opens_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closes_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    status: Mapped[str] = mapped_column(String(16), default=Status.SCHEDULED.value)
    capacity: Mapped[int] = mapped_column(Integer, default=1)
    booked: Mapped[int] = mapped_column(Integer, default=0)
    holds: Mapped[list[Hold] | None] = mapped_column(JSON(none_as_null=True))
    hold_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    data: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(JSON()), default=dict)
    customised: Mapped[list[str]] = mapped_column(JSON, default=list)
    cancel_reason: Mapped[str | None] = mapped_column(String(500))
    #: Cancelled or deleted by a decision about the series, which takes it back too; not by one about this slot.
    ended_with_series: Mapped[bool | None] = mapped_column()
    run_id: Mapped[int | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    #: When somebody last decided about it, UTC; bookings and top-ups leave it alone.
    changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    if TYPE_CHECKING:
        template: Any
        run: Any
        rolling_models: Any
        rolling_busy: Any
        affected_bookings: Any
    else:
        #: What takes the exclusive resource, as read together with this slot; ``None``: ask the database.
        rolling_busy = None
        #: The live bookings that were in the slot when it was cancelled: whom to tell.
        affected_bookings = ()

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        table, busy, opens = cls.__tablename__, text("booked > 0"), text("opens_at IS NOT NULL")
        return (
            UniqueConstraint("series_id", "original_start", name=f"uq_{table}_series_id_original_start"),
            # A template's week out of years that are stored.
            Index(f"ix_{table}_template_id_starts_at", "template_id", "starts_at"),
            # What opened since the last top-up: few rows, or none where slots open at once.
            Index(f"ix_{table}_opens_at", "opens_at", sqlite_where=opens, postgresql_where=opens),
            # What takes an exclusive resource is found among the booked slots alone, where the database can do that.
            Index(f"ix_{table}_busy", "template_id", "ends_at", sqlite_where=busy, postgresql_where=busy),
            CheckConstraint("booked >= 0", name=f"ck_{table}_booked"),
            CheckConstraint(
                f"status IN ({', '.join(repr(s.value) for s in Status)})", name=f"ck_{table}_status"
            ),
        )

    @property
    def key(self) -> str:
        """The slot's identity, ``<series id>@<YYYYMMDDTHHMM>``: the same for row and virtual slot."""
        return str(SlotKey(self.series_id, self.original_start))

    @property
    def is_virtual(self) -> bool:
        """Whether there is no row for this slot (yet)."""
        return self.id is None

    @property
    def local_start(self) -> datetime:
        """The start in the template's zone, aware."""
        return self.starts_at.astimezone(ZoneInfo(self.template.timezone))

    @property
    def local_end(self) -> datetime:
        """The end in the template's zone, aware."""
        return self.ends_at.astimezone(ZoneInfo(self.template.timezone))

    @hybrid_property
    def left(self) -> int:
        """Places that are free now; in SQL too."""
        return max(0, self.capacity - self.booked_at(self.rolling_clock()))

    @left.inplace.expression
    @classmethod
    def _left_expression(cls) -> ColumnElement[int]:
        free = cls.capacity - cls.booked + expired_places(cls.rolling_models, cls, cls._now())
        return case((free > 0, free), else_=0)

    @classmethod
    def _now(cls) -> Any:
        return bindparam("rolling_now", callable_=cls.rolling_clock, type_=UtcDateTime(), unique=False)

    @property
    def reminder_at(self) -> datetime | None:
        """When to remind those who booked: ``reminder_before`` ahead of the start, UTC; ``None``: never."""
        before: timedelta | None = self.template.reminder_before
        return self.starts_at - before if before is not None else None

    def booked_at(self, now: datetime) -> int:
        """Return how many places are taken at a moment (aware): holds that have expired are free."""
        return live_places(self.booked, self.holds, now)

    def state_at(self, now: datetime) -> State:
        """Return what the slot is at a moment (aware), exact to the second."""
        if self.status != Status.SCHEDULED:
            return State(self.status)
        tests = (
            (State.ENDED, self.ends_at <= now),
            (State.RUNNING, self.starts_at <= now),
            (State.UPCOMING, self.opens_at is not None and self.opens_at > now),
            (State.CLOSED, self.closes_at is not None and self.closes_at <= now),
        )
        by_time = next((state for state, holds in tests if holds), None)
        if by_time is not None:
            return by_time
        if blocked_at(self, now):
            return State.BLOCKED
        return State.FULL if self.booked_at(now) >= self.capacity else State.OPEN

    @hybrid_property
    def state(self) -> State:
        """What the slot is now, derived from the time; in SQL too, with the time bound late.

        ``blocked`` follows what the slot's own session books, releases and ends, at once; what others do shows when
        the slot is read again: a stored one after a commit, a virtual one with another call.
        """
        return self.state_at(self.rolling_clock())

    @state.inplace.expression
    @classmethod
    def _state_expression(cls) -> ColumnElement[str]:
        # The same object each time: the expression is then the same text wherever a statement uses it, as GROUP BY
        # and DISTINCT ask for. An alias of the class is no type, and gets its own.
        if not isinstance(cls, type):
            return cls._make_state_expression()
        if cls not in _STATES:
            _STATES[cls] = cls._make_state_expression()
        return _STATES[cls]

    @classmethod
    def _make_state_expression(cls) -> ColumnElement[str]:
        now, models = cls._now(), cls.rolling_models
        scheduled: ColumnElement[str] = literal_column(f"'{Status.SCHEDULED.value}'")
        return case(
            (cls.status != scheduled, cls.status),
            (cls.ends_at <= now, _literal(State.ENDED)),
            (cls.starts_at <= now, _literal(State.RUNNING)),
            (cls.opens_at > now, _literal(State.UPCOMING)),
            (cls.closes_at <= now, _literal(State.CLOSED)),
            (is_blocked(models, cls, now), _literal(State.BLOCKED)),
            (cls.booked - expired_places(models, cls, now) >= cls.capacity, _literal(State.FULL)),
            else_=_literal(State.OPEN),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}{' virtual' if self.is_virtual else ''}>"


#: The SQL of ``state`` for each slot class.
_STATES: WeakKeyDictionary[type[Any], ColumnElement[str]] = WeakKeyDictionary()


def _literal(state: State) -> ColumnElement[str]:
    return literal_column(f"'{state.value}'", String)


# -- what takes places: live bookings of the slot itself, and of others on the same exclusive resource


def to_us(moment: datetime) -> int:
    """Return an aware moment as Unix time in whole microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    """Return the moment of a Unix time in microseconds, aware, UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def live_places(booked: int, holds: Iterable[Hold] | None, now: datetime) -> int:
    """Return how many places are taken at a moment: expired holds are free."""
    moment = to_us(now)
    return booked - sum(party for _, until, party in holds or () if until <= moment)


def expired_places(models: Models, slot: Any, now: Any) -> ColumnElement[int]:
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


def is_blocked(models: Models, slot: Any, now: Any) -> ColumnElement[bool]:
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

    def takes(self, slot: SlotMixin, now: datetime) -> bool:
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
    models: Models,
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
        self.mark = session.info.get(_MARK)


def forget_busy(session: Session) -> None:
    """Let all slots that this session gave out ask again what takes their resources: it wrote something about that."""
    session.info[_MARK] = object()


def mark_busy(session: Session, models: Models, slots: Sequence[SlotMixin]) -> None:
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


def blocked_at(slot: SlotMixin, now: datetime) -> bool:
    """Whether another slot has the exclusive resource of this one; asks the database unless it was told.

    What it was told holds until its session books, releases or ends something: virtual slots are not expired, and
    others only by a commit.
    """
    template, busy = slot.template, slot.rolling_busy
    if not template.exclusive:
        return False
    session = object_session(slot) or object_session(template)
    is_old = session is not None and isinstance(busy, Seen) and busy.mark is not session.info.get(_MARK)
    if busy is None or is_old:
        if session is None:
            return False
        busy = load_busy(session, slot.rolling_models, [template.resource], slot.starts_at, slot.ends_at)
    return any(other.takes(slot, now) for other in busy)


# -- the other tables


class BookingMixin:
    """Somebody's places in a slot.

    ``status`` is what is stored: ``held``, ``confirmed``, ``released`` or ``expired``. A hold ends by the time alone;
    ``status_at`` says what holds at a moment.
    """

    __tablename__ = "rolling_booking"
    rolling_clock = staticmethod(utc_now)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    slot_id: Mapped[int] = mapped_column(Id, index=True)
    party: Mapped[int] = mapped_column(Integer, default=1)
    who: Mapped[str | None] = mapped_column(String(200), index=True)
    status: Mapped[str] = mapped_column(String(16))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    request_key: Mapped[str | None] = mapped_column(String(64))
    active_key: Mapped[str | None] = mapped_column(String(40))
    replaces_id: Mapped[int | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    if TYPE_CHECKING:
        slot: Any

    def status_at(self, now: datetime) -> BookingStatus:
        """Return what the booking is at a moment (aware): a hold is ``expired`` from ``expires_at`` on."""
        status = BookingStatus(self.status)
        over = status is BookingStatus.HELD and self.expires_at is not None and self.expires_at <= now
        return BookingStatus.EXPIRED if over else status

    @property
    def is_live(self) -> bool:
        """Whether it takes places now: confirmed, or a hold that has not expired."""
        return self.status_at(self.rolling_clock()) in (BookingStatus.CONFIRMED, BookingStatus.HELD)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        # active_key is NULL once released, and NULLs do not collide: a partial unique index on every database.
        table = cls.__tablename__
        return (
            UniqueConstraint("slot_id", "active_key", name=f"uq_{table}_slot_id_active_key"),
            UniqueConstraint("request_key", name=f"uq_{table}_request_key"),
            UniqueConstraint("replaces_id", name=f"uq_{table}_replaces_id"),
            CheckConstraint("party > 0", name=f"ck_{table}_party"),
        )


class ResourceMixin:
    """A court, a room, a teacher that several templates share: the row to lock before it is taken."""

    __tablename__ = "rolling_resource"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(Integer, default=0)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return (UniqueConstraint("name", name=f"uq_{cls.__tablename__}_name"),)


class RunMixin:
    """One recorded top-up: progress while it works, counts afterwards."""

    __tablename__ = "rolling_run"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    template_id: Mapped[int | None] = mapped_column(Id, index=True)
    trigger: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    owner: Mapped[str | None] = mapped_column(String(100))
    token: Mapped[int | None] = mapped_column(Id)
    lease_name: Mapped[str | None] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    window_start: Mapped[datetime | None] = mapped_column(UtcDateTime)
    window_end: Mapped[datetime | None] = mapped_column(UtcDateTime)
    done: Mapped[int] = mapped_column(Integer, default=0)
    total: Mapped[int] = mapped_column(Integer, default=0)
    created: Mapped[int] = mapped_column(Integer, default=0)
    existing: Mapped[int] = mapped_column(Integer, default=0)
    updated: Mapped[int] = mapped_column(Integer, default=0)
    removed: Mapped[int] = mapped_column(Integer, default=0)
    kept_booked: Mapped[int] = mapped_column(Integer, default=0)
    expected: Mapped[int] = mapped_column(Integer, default=0)
    opened: Mapped[int] = mapped_column(Integer, default=0)
    closed: Mapped[int] = mapped_column(Integer, default=0)
    skipped: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    results: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    error: Mapped[str | None] = mapped_column(Text)

    @property
    def seconds(self) -> float | None:
        """How long the run took, or ``None`` while it works."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


class LeaseMixin:
    """Who may top up now, and what is known to be complete. All times are Unix time in milliseconds."""

    __tablename__ = "rolling_lease"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(100))
    token: Mapped[int] = mapped_column(Id, default=0)
    until_ms: Mapped[int] = mapped_column(Id, default=0)
    confirmed_ms: Mapped[int] = mapped_column(Id, default=0)
    complete_until_ms: Mapped[int] = mapped_column(Id, default=0)
    fingerprint: Mapped[str | None] = mapped_column(String(200))
    failures: Mapped[int] = mapped_column(Integer, default=0)
    next_try_ms: Mapped[int] = mapped_column(Id, default=0)
    pruned_until_ms: Mapped[int] = mapped_column(Id, default=0)
    last_error: Mapped[str | None] = mapped_column(Text)


class ShardMixin:
    """A part of a run that several workers share: a range of template ids, who fills it, and what came of it.

    The rows are working papers. Whatever happens to them, slots are the truth: a run that nobody finishes is given up,
    and the next one plans what is missing.
    """

    __tablename__ = "rolling_shard"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    run_id: Mapped[int] = mapped_column(Id)
    token: Mapped[int] = mapped_column(Id)
    #: Included; the range is for all templates of the run's request, or for one template's series.
    first_id: Mapped[int] = mapped_column(Id)
    last_id: Mapped[int] = mapped_column(Id)
    template_id: Mapped[int | None] = mapped_column(Id)
    status: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    claim: Mapped[str | None] = mapped_column(String(40))
    until_ms: Mapped[int] = mapped_column(Id, default=0)
    done: Mapped[int] = mapped_column(Integer, default=0)
    results: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        table = cls.__tablename__
        return (
            UniqueConstraint("run_id", "first_id", "template_id", name=f"uq_{table}_run_id_first_id"),
            Index(f"ix_{table}_next", "run_id", "status", "priority"),
        )


class FeedAddressMixin:
    """Which secret address of a group's calendar holds: the one that carries this number.

    :param group_digest: SHA-256 of the group's name; empty: all groups. Databases differ in which texts are the same,
        and names may be too long for an index.
    """

    __tablename__ = "rolling_feed_address"

    group_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(Id, default=0)


# -- the classes of one database


#: Where a template in memory holds the values with which it was found right.
_CHECKED = "rolling_checked"
MIXINS: dict[str, type[Any]] = {
    "Template": TemplateMixin,
    "Slot": SlotMixin,
    "Booking": BookingMixin,
    "Run": RunMixin,
    "Lease": LeaseMixin,
    "Resource": ResourceMixin,
    "Shard": ShardMixin,
    "FeedAddress": FeedAddressMixin,
}


@dataclass(frozen=True)
class Models:
    """The model classes of one database."""

    Template: type[TemplateMixin]
    Slot: type[SlotMixin]
    Booking: type[BookingMixin]
    Run: type[RunMixin]
    Lease: type[LeaseMixin]
    Resource: type[ResourceMixin]
    Shard: type[ShardMixin]
    FeedAddress: type[FeedAddressMixin]
    default_timezone: Callable[[], str] = lambda: "UTC"
    _built: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def build_once(self, key: Hashable, build: Callable[[Models], Any]) -> Any:
        """Return a statement that is always the same: building one takes as long as running a small query.

        :param key: tells it apart from all others.
        """
        if key not in self._built:
            self._built[key] = build(self)
        return self._built[key]

    def prepare(self, template: TemplateMixin) -> None:
        """Complete and check a template; one that is as it was when it was last checked is not checked again.

        :raises InvalidTemplate: names the field, the value and what is expected.
        :raises InvalidRule: if the rule, the zone or the day grid is not valid.
        """
        template.timezone = template.timezone or self.default_timezone()
        values = {name: getattr(template, name) for name in FIELDS}
        if template.__dict__.get(_CHECKED) != values:
            check_template(template)
            template.__dict__[_CHECKED] = {name: deepcopy(plain(value)) for name, value in values.items()}

    @property
    def tables(self) -> list[Table]:
        """Our tables, in an order in which they can be created."""
        return [table_of(cls) for cls in self.classes]

    @property
    def classes(self) -> list[type[Any]]:
        """Our classes, in the order of their tables."""
        return [getattr(self, name) for name in MIXINS]


def table_of(model: type[Any]) -> Table:
    """Return a model's table."""
    table: Table = model.__table__
    return table


def plain(value: Any) -> Any:
    """Return a value of a column without its tie to the row that it came from."""
    return dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value
