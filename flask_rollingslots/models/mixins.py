"""The columns of our other tables as mixins, for an app's own classes and for ``make_models``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    bindparam,
    case,
    literal_column,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.types import JSON

from flask_rollingslots.values import BookingStatus, SlotKey, State, Status, utc_now

from .columns import Id, UtcDateTime, WallDateTime
from .fields import TO_SLOTS
from .occupancy import Hold, blocked_at, expired_places, is_blocked, live_places

#: Fields of a slot that a person may change; what was changed is remembered in ``customised``.
DECIDED_FIELDS = ("starts_at", "ends_at", "opens_at", "closes_at", *TO_SLOTS)


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


class FeedAddressMixin:
    """Which secret address of a group's calendar holds: the one that carries this number.

    :param group_digest: SHA-256 of the group's name; empty: all groups. Databases differ in which texts are the same,
        and names may be too long for an index.
    """

    __tablename__ = "rolling_feed_address"

    group_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(Id, default=0)
