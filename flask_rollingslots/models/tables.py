"""The tables: mixins for an app's own classes, a slot's ``state`` among them; ``Models``: all of one database.

Nothing here creates a table. The classes live in the app's own metadata, so that its migrations see them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import (
    Mapped,
    Session,
    declared_attr,
    mapped_column,
    object_session,
)
from sqlalchemy.orm.base import ATTR_WAS_SET
from sqlalchemy.types import JSON

from ..settings import Settings
from ..values import (
    LIVE,
    BookingStatus,
    Hold,
    Person,
    State,
    Status,
    utc_now,
)
from .fields import FIELDS, TemplateMixin, check_limits, check_template
from .kinds import Exact, Id, PartialIndex, UtcDateTime, WallDateTime, copy_of_value, table_of
from .machinery import CheckMixin, FeedAddressMixin, LeaseMixin, ResourceMixin, RunMixin, ShardMixin
from .neighbours import is_crowded_in_sql
from .own import OwnColumns
from .places import expired_places, is_blocked, is_kept_for_waiting, is_used_up
from .states import SlotFacts


class Shared(NamedTuple):
    """A value that all virtual slots of a template share until one is asked for its own: SQLAlchemy calls this then.

    :param name: of the slot's attribute.
    """

    name: str
    value: Any

    def __call__(self, state: Any, passive: Any) -> Any:
        """Give the slot a copy, as if somebody had set it."""
        state.callables.pop(self.name)
        setattr(state.obj(), self.name, deepcopy(self.value))
        return ATTR_WAS_SET


def _late_now(cls: Any) -> Any:
    """Return a parameter that is the time, by the clock of a class, when a statement runs."""
    return sa.bindparam("rolling_now", callable_=cls.rolling_clock, type_=UtcDateTime(), unique=False)


class SlotMixin(SlotFacts):
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
    status: Mapped[str] = mapped_column(sa.String(16), default=Status.SCHEDULED.value)
    capacity: Mapped[int] = mapped_column(sa.Integer, default=1)
    booked: Mapped[int] = mapped_column(sa.Integer, default=0)
    holds: Mapped[list[Hold] | None] = mapped_column(JSON(none_as_null=True))
    hold_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Who waits for places, in order: id of the booking, and how many places; and the fewest that one of them needs.
    queue: Mapped[list[list[int]] | None] = mapped_column(JSON(none_as_null=True))
    waits_for: Mapped[int | None] = mapped_column(sa.Integer)
    data: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(JSON()), default=dict)
    customised: Mapped[list[str]] = mapped_column(JSON, default=list)
    cancel_reason: Mapped[str | None] = mapped_column(sa.String(500))
    #: What it is called, where that is not the name of its template: renamed by a person, or the name that it had.
    own_name: Mapped[str | None] = mapped_column(Exact(200))
    #: Its rule does not yield it any more: it stays for the bookings in it, and takes nobody new.
    withdrawn: Mapped[bool | None] = mapped_column()
    #: It is not where its rule has it: booked and kept at its old time, or moved by a person.
    displaced: Mapped[bool | None] = mapped_column()
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
        rolling_neighbours: Any
        affected_bookings: Any
    else:
        #: What may be in its way in its series, as found when it was locked to be booked; ``None``: ask.
        rolling_neighbours = None
        #: The live bookings that were in the slot when it was cancelled: whom to tell.
        affected_bookings = ()

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        table, busy, opens = cls.__tablename__, sa.text("booked > 0"), sa.text("opens_at IS NOT NULL")
        displaced, waited_for = sa.text("displaced IS NOT NULL"), sa.text("waits_for IS NOT NULL")
        away = sa.text(f"status IN {_AWAY}")
        return (
            sa.UniqueConstraint("series_id", "original_start", name=f"uq_{table}_series_id_original_start"),
            # A template's week out of years that are stored.
            sa.Index(f"ix_{table}_template_id_starts_at", "template_id", "starts_at"),
            # The few that a report counts as left out: a look that finds nothing missing reads no row for them.
            PartialIndex(f"ix_{table}_away", "status", "template_id", "starts_at", where=away),
            # What opened since the last top-up: few rows, or none where slots open at once.
            PartialIndex(f"ix_{table}_opens_at", "opens_at", where=opens),
            # The few that may stand in the way of others of their series.
            PartialIndex(f"ix_{table}_displaced", "displaced", "series_id", "ends_at", where=displaced),
            # The few for which somebody waits: a top-up looks whether places are free there.
            PartialIndex(f"ix_{table}_waits_for", "waits_for", "starts_at", where=waited_for),
            # What takes an exclusive resource is found among the booked slots alone, where the database can do that.
            PartialIndex(f"ix_{table}_busy", "template_id", "ends_at", where=busy),
            sa.CheckConstraint("booked >= 0", name=f"ck_{table}_booked"),
            sa.CheckConstraint(
                f"status IN ({', '.join(repr(s.value) for s in Status)})", name=f"ck_{table}_status"
            ),
        )

    @hybrid_property
    def name(self) -> str:
        """What it is called: its template's name, unless a person renamed it, or it is history; in SQL too."""
        own: str | None = self.own_name
        return self.template.name if own is None else own

    @name.inplace.expression
    @classmethod
    def _name_expression(cls) -> sa.ColumnElement[str]:
        # By a name of its own, so that a query that joins the templates is another matter.
        template = table_of(cls.rolling_models.Template).alias("rolling_named")
        of_template = sa.select(template.c.name).where(template.c.id == cls.template_id).scalar_subquery()
        return sa.func.coalesce(cls.own_name, of_template)

    @property
    def rolling_session(self) -> Session | None:
        """The session that can be asked what is around this slot."""
        return object_session(self) or object_session(self.template)

    @property
    def rolling_data(self) -> Mapping[str, Any]:
        """The app's own fields, to be read only: what nobody asked for yet is what all slots of the template share."""
        shared = sa.inspect(self).callables.get("data") if "data" not in self.__dict__ else None
        found: Mapping[str, Any] = shared.value if isinstance(shared, Shared) else self.data
        return found or {}

    @hybrid_property
    def left(self) -> int:
        """Places that are free now; in SQL too, by what is stored."""
        return self.left_at(self.rolling_clock())

    @left.inplace.expression
    @classmethod
    def _left_expression(cls) -> sa.ColumnElement[int]:
        free = cls.capacity - cls.booked + expired_places(cls.rolling_models, cls, cls._now())
        return sa.case((free > 0, free), else_=0)

    @classmethod
    def _now(cls) -> Any:
        return _late_now(cls)

    @hybrid_property
    def is_bookable(self) -> bool:
        """Whether an ordinary booking of one place would be taken now, also of one that runs; in SQL too."""
        return self.is_bookable_at(self.rolling_clock())

    @is_bookable.inplace.expression
    @classmethod
    def _is_bookable_expression(cls) -> sa.ColumnElement[bool]:
        now, models = cls._now(), cls.rolling_models
        return sa.and_(
            cls.status == Status.SCHEDULED.value,
            cls.ends_at > now,
            sa.or_(cls.opens_at.is_(None), cls.opens_at <= now),
            cls.withdrawn.is_(None),
            sa.func.coalesce(cls.closes_at, cls.starts_at) > now,
            cls.booked - expired_places(models, cls, now) < cls.capacity,
            sa.not_(is_kept_for_waiting(models, cls, now)),
            sa.not_(is_blocked(models, cls, now)),
            sa.not_(is_crowded_in_sql(models, cls, now)),
            sa.not_(is_used_up(models, cls, now)),
        )

    @hybrid_property
    def state(self) -> State:
        """What the slot is now, derived from the time; in SQL too, with the time bound late.

        ``blocked`` follows what the slot's own session books, releases and ends, at once; what others do shows when
        the slot is read again: a stored one after a commit, a virtual one with another call.
        """
        return self.state_at(self.rolling_clock())

    @state.inplace.expression
    @classmethod
    def _state_expression(cls) -> sa.ColumnElement[str]:
        # The same object each time: the expression is then the same text wherever a statement uses it, as GROUP BY
        # and DISTINCT ask for. An alias of the class is no type, and gets its own.
        if not isinstance(cls, type):
            return cls._make_state_expression()
        if cls not in _STATES:
            _STATES[cls] = cls._make_state_expression()
        return _STATES[cls]

    @classmethod
    def _make_state_expression(cls) -> sa.ColumnElement[str]:
        now, models = cls._now(), cls.rolling_models
        scheduled: sa.ColumnElement[str] = sa.literal_column(f"'{Status.SCHEDULED.value}'")
        return sa.case(
            (cls.status != scheduled, cls.status),
            (cls.ends_at <= now, _literal(State.ENDED)),
            (cls.starts_at <= now, _literal(State.RUNNING)),
            (cls.opens_at > now, _literal(State.UPCOMING)),
            (cls.withdrawn.is_not(None), _literal(State.WITHDRAWN)),
            (cls.closes_at <= now, _literal(State.CLOSED)),
            (is_blocked(models, cls, now), _literal(State.BLOCKED)),
            (is_crowded_in_sql(models, cls, now), _literal(State.BLOCKED)),
            (cls.booked - expired_places(models, cls, now) >= cls.capacity, _literal(State.FULL)),
            (is_used_up(models, cls, now), _literal(State.BLOCKED)),
            (is_kept_for_waiting(models, cls, now), _literal(State.FULL)),
            else_=_literal(State.OPEN),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key}{' virtual' if self.is_virtual else ''}>"


#: The SQL of ``state`` for each slot class.
_STATES: WeakKeyDictionary[type[Any], sa.ColumnElement[str]] = WeakKeyDictionary()


def _literal(state: State) -> sa.ColumnElement[str]:
    return sa.literal_column(f"'{state.value}'", sa.String)


# -- the other tables


class BookingMixin:
    """Somebody's places in a slot, or in its waiting list.

    ``status`` is what is stored: ``waiting``, ``held``, ``confirmed``, ``released`` or ``expired``. A hold ends by the
    time alone; ``status_at`` says what holds at a moment.
    """

    __tablename__ = "rolling_booking"
    rolling_clock = staticmethod(utc_now)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    slot_id: Mapped[int] = mapped_column(Id, index=True)
    party: Mapped[int] = mapped_column(sa.Integer, default=1)
    who: Mapped[str | None] = mapped_column(Exact(200), index=True)
    #: Of the person, for whoever runs it; ``slots.forget(who)`` takes them out.
    name: Mapped[str | None] = mapped_column(Exact(200))
    contact: Mapped[str | None] = mapped_column(Exact(200))
    note: Mapped[str | None] = mapped_column(sa.Text)
    #: A text that nobody guesses, for links; the booking that follows when it moves has the same.
    token: Mapped[str | None] = mapped_column(Exact(43), index=True)
    status: Mapped[str] = mapped_column(sa.String(16))
    #: Staff made it past a limit: too late, too early, or beyond the capacity.
    override: Mapped[bool | None] = mapped_column()
    #: A hold that was offered to whoever waited first.
    is_offer: Mapped[bool | None] = mapped_column()
    #: How many places were asked for at first, if they were changed since.
    asked_party: Mapped[int | None] = mapped_column(sa.Integer)
    #: ``arrived`` or ``no_show``.
    attendance: Mapped[str | None] = mapped_column(sa.String(16))
    #: The first booking of a person's series.
    repeats_id: Mapped[int | None] = mapped_column(Id, index=True)
    idempotency_key: Mapped[str | None] = mapped_column(Exact(200))
    request_key: Mapped[str | None] = mapped_column(Exact(64))
    active_key: Mapped[str | None] = mapped_column(Exact(40))
    replaces_id: Mapped[int | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    if TYPE_CHECKING:
        slot: Any

    @property
    def person(self) -> Person:
        """What is kept of whoever booked."""
        return Person(self.name, self.contact, self.note)

    def status_at(self, now: datetime) -> BookingStatus:
        """Return what the booking is at a moment (aware): a hold is ``expired`` from ``expires_at`` on.

        Who waits does so until the slot starts, or is cancelled, deleted or completed; then that is ``expired``.
        """
        status = BookingStatus(self.status)
        if status is BookingStatus.WAITING:
            slot = self.slot
            over = slot is None or slot.status != Status.SCHEDULED or slot.starts_at <= now
        else:
            over = status is BookingStatus.HELD and self.expires_at is not None and self.expires_at <= now
        return BookingStatus.EXPIRED if over else status

    @property
    def ahead(self) -> int | None:
        """How many bookings wait before it for the same slot; ``None``: it does not wait."""
        if self.status_at(self.rolling_clock()) is not BookingStatus.WAITING:
            return None
        return next(
            (place for place, (number, _) in enumerate(self.slot.queue or ()) if number == self.id), None
        )

    @hybrid_property
    def is_live(self) -> bool:
        """Whether it takes places now: confirmed, or a hold that has not expired; in SQL too."""
        return self.status_at(self.rolling_clock()) in LIVE

    @is_live.inplace.expression
    @classmethod
    def _is_live_expression(cls) -> sa.ColumnElement[bool]:
        return cls.live_at(_late_now(cls))

    @classmethod
    def live_at(cls, now: Any) -> sa.ColumnElement[bool]:
        """Return, in SQL, whether it takes places at a moment (aware)."""
        holds = sa.and_(cls.status == BookingStatus.HELD.value, cls.expires_at > now)
        return sa.or_(cls.status == BookingStatus.CONFIRMED.value, holds)

    @classmethod
    def waits_at(cls, slot: Any, now: Any) -> sa.ColumnElement[bool]:
        """Return, in SQL, whether it waits for places at a moment (aware), as ``status_at`` says.

        :param slot: the class of its slot, which the query joins.
        """
        is_over = sa.or_(slot.status != Status.SCHEDULED.value, slot.starts_at <= now)
        return sa.and_(cls.status == BookingStatus.WAITING.value, sa.not_(is_over))

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        # active_key is NULL once released, and NULLs do not collide: a partial unique index on every database.
        table = cls.__tablename__
        return (
            sa.UniqueConstraint("slot_id", "active_key", name=f"uq_{table}_slot_id_active_key"),
            sa.UniqueConstraint("request_key", name=f"uq_{table}_request_key"),
            sa.UniqueConstraint("replaces_id", name=f"uq_{table}_replaces_id"),
            sa.CheckConstraint("party > 0", name=f"ck_{table}_party"),
        )


# -- the classes of one database


#: What a report counts as left out although there is a row, in SQL.
_AWAY = f"('{Status.CANCELLED.value}', '{Status.DELETED.value}')"
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
    "Check": CheckMixin,
    "FeedAddress": FeedAddressMixin,
}
#: Whose ids are never used again: they are in keys, addresses and logs. SQLite would hand out that of a deleted row.
KEEP_IDS = ("Template", "Booking", "Run")
#: Which columns the database keeps apart: what the promises rest on, also where an app brings its own classes.
UNIQUE = {
    "Slot": (("series_id", "original_start"),),
    "Booking": (("slot_id", "active_key"), ("request_key",), ("replaces_id",)),
    "Resource": (("name",),),
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
    Check: type[CheckMixin]
    FeedAddress: type[FeedAddressMixin]
    default_timezone: Callable[[], str] = lambda: "UTC"
    settings: Callable[[], Settings] = Settings
    _built: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def build_once(self, key: Hashable, build: Callable[[Models], Any]) -> Any:
        """Return a statement that is always the same: building one takes as long as running a small query.

        :param key: tells it apart from all others.
        """
        if key not in self._built:
            self._built[key] = build(self)
        return self._built[key]

    @property
    def own(self) -> OwnColumns:
        """The columns that the app's own classes have besides ours."""
        found: OwnColumns = self.build_once("own", lambda m: OwnColumns.of(m.Template, m.Slot, SlotMixin))
        return found

    def prepare(self, template: TemplateMixin) -> None:
        """Complete and check a template; one that is as it was when it was last checked is not checked again.

        :raises InvalidTemplate: names the field, the value and what is expected.
        :raises InvalidRule: if the rule, the zone or the day grid is not valid.
        """
        template.timezone = template.timezone or self.default_timezone()
        names = (*FIELDS, *self.own.template)
        before, values = template.__dict__.get(_CHECKED), {name: getattr(template, name) for name in names}
        if before != values:
            check_template(template)
            for name, field in self.own.template.items():
                field.check(values[name])
            changed = {name for name in names if before is None or before[name] != values[name]}
            state = sa.inspect(template)
            if before is None and state.has_identity:
                touched = state.committed_state.keys() & set(names)
                changed = {name for name in touched if state.attrs[name].history.has_changes()}
            check_limits(template, self.settings(), changed)
            template.__dict__[_CHECKED] = {name: copy_of_value(value) for name, value in values.items()}

    def as_checked(self, copied: TemplateMixin, template: TemplateMixin) -> TemplateMixin:
        """Let a copy of a template know what that held: only what is changed of it is checked against limits."""
        names = (*FIELDS, *self.own.template)
        copied.__dict__[_CHECKED] = {name: copy_of_value(getattr(template, name)) for name in names}
        return copied

    @property
    def tables(self) -> list[sa.Table]:
        """Our tables, in an order in which they can be created."""
        return [table_of(cls) for cls in self.classes]

    @property
    def classes(self) -> list[type[Any]]:
        """Our classes, in the order of their tables."""
        return [getattr(self, name) for name in MIXINS]

    def lacking(self, bind: Any) -> tuple[list[sa.Table], list[sa.Column[Any]]]:
        """Return what a database has not got: whole tables, and columns of tables that an older version made."""
        inspector, tables = sa.inspect(bind), self.tables
        there = set(inspector.get_table_names())
        found = {
            table: {c["name"] for c in inspector.get_columns(table.name)}
            for table in tables
            if table.name in there
        }
        columns = [column for table in found for column in table.columns if column.name not in found[table]]
        return [table for table in tables if table not in found], columns


def is_away(models: Models) -> sa.ColumnElement[bool]:
    """Return, in SQL, whether a slot is cancelled or deleted; in the words of the index that knows those."""
    return table_of(models.Slot).c.status.op("IN", is_comparison=True)(sa.literal_column(_AWAY))


def keep_name(
    models: Models, template_id: int, now: datetime, *conditions: sa.ColumnElement[bool]
) -> sa.Update:
    """Return, in SQL, that the history of a template keeps the name that the template has in the database until now.

    History: what has started, or was cancelled, completed or deleted.

    :param now: aware.
    :param conditions: which of its rows, if not all.
    """
    slot, template = table_of(models.Slot), table_of(models.Template)
    name = sa.select(template.c.name).where(template.c.id == template_id).scalar_subquery()
    is_history = sa.or_(slot.c.starts_at <= now, slot.c.status != Status.SCHEDULED.value)
    mine = (slot.c.template_id == template_id, slot.c.own_name.is_(None), is_history)
    return sa.update(slot).where(*mine, *conditions).values(own_name=name)
