"""Making the model classes of one database, and checking those that an app brings.

Nothing here creates a table. The classes live in the app's own metadata, so that its migrations see them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ForeignKeyConstraint, Table, UniqueConstraint, event, inspect, select, update
from sqlalchemy.orm import foreign, relationship
from sqlalchemy.orm.attributes import set_committed_value

from flask_rollingslots.errors import ConfigError
from flask_rollingslots.values import utc_now

from .fields import FIELDS, TemplateMixin, check_template
from .mixins import (
    DECIDED_FIELDS,
    BookingMixin,
    FeedAddressMixin,
    LeaseMixin,
    ResourceMixin,
    RunMixin,
    SlotMixin,
)
from .shards import ShardMixin

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from datetime import datetime

    from sqlalchemy.engine import Connection
    from sqlalchemy.orm import Mapper


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
        return [getattr(self, name) for name in _MIXINS]


def plain(value: Any) -> Any:
    """Return a value of a column without its tie to the row that it came from."""
    return dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value


#: Where a template in memory holds the values with which it was found right.
_CHECKED = "rolling_checked"
_MIXINS: dict[str, type[Any]] = {
    "Template": TemplateMixin,
    "Slot": SlotMixin,
    "Booking": BookingMixin,
    "Run": RunMixin,
    "Lease": LeaseMixin,
    "Resource": ResourceMixin,
    "Shard": ShardMixin,
    "FeedAddress": FeedAddressMixin,
}


#: Fields of a slot that somebody decides about: not the places that bookings take.
_SHOWN_FIELDS = (*DECIDED_FIELDS, "status", "cancel_reason")
#: Columns of a template that nobody decides about; an app's own columns are decisions.
_NOT_DECIDED = frozenset(name for name, entry in FIELDS.items() if not entry.is_decision)


def table_of(model: type[Any]) -> Table:
    """Return a model's table."""
    table: Table = model.__table__
    return table


def make_models(
    db: Any,
    given: Mapping[str, type[Any]] | None = None,
    *,
    clock: Callable[[], datetime] = utc_now,
    default_timezone: Callable[[], str] = lambda: "UTC",
) -> Models:
    """Make the model classes on an app's own ``db.Model``; the same ones each time for one ``db``.

    :param db: the app's Flask-SQLAlchemy object.
    :param given: the app's own classes by name (``Template``, ``Slot``, …); made from the mixins.
    :param clock: returns the current time, aware; ``slot.state`` asks it.
    :param default_timezone: returns the zone of templates that name none.
    :raises ConfigError: if a given class is not made from its mixin, or cannot work.
    """
    info = db.Model.metadata.info
    known = info.get("rollingslots")
    if known is not None and not given:
        return cast(Models, known)
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"models: {given!r}: expected a mapping such as {{'Slot': MySlot}}")
    for name in given or {}:
        if name not in _MIXINS:
            raise ConfigError(f"models: unknown class {name!r}; expected {', '.join(_MIXINS)}")
    made = {
        name: (given or {}).get(name) or type(f"Rolling{name}", (mixin, db.Model), {})
        for name, mixin in _MIXINS.items()
    }
    models = Models(**made, default_timezone=default_timezone)
    _check(models)
    models.Slot.rolling_clock = models.Booking.rolling_clock = staticmethod(clock)
    models.Slot.rolling_models = models
    _relate(models)
    _listen(models, clock)
    info["rollingslots"] = models
    return models


def _check(models: Models) -> None:
    for name, mixin in _MIXINS.items():
        cls = getattr(models, name)
        if not issubclass(cls, mixin):
            raise ConfigError(f"models: {cls.__name__} is not made from {mixin.__name__}")
        own = {column.name for column in table_of(cls).columns} - _column_names(mixin)
        for column in table_of(cls).columns:
            if column.name in own and not column.nullable and column.server_default is None:
                raise ConfigError(
                    f"models: the column {cls.__name__}.{column.name} is neither nullable nor has a "
                    "server_default; rows that a top-up writes could not fill it",
                    column=column.name,
                )
    uniques = [c for c in table_of(models.Slot).constraints if isinstance(c, UniqueConstraint)]
    if not any({c.name for c in u.columns} == {"series_id", "original_start"} for u in uniques):
        raise ConfigError(
            f"models: {models.Slot.__name__} lacks the unique constraint on (series_id, original_start); "
            "add SlotMixin.__table_args__ to its own __table_args__"
        )


def _column_names(mixin: type[Any]) -> set[str]:
    columns = (getattr(mixin, name) for name in mixin.__annotations__)
    names = {column.column.name for column in columns if hasattr(column, "column")}
    return names | set(mixin.__annotations__)


def _relate(models: Models) -> None:
    slot, booking = models.Slot, models.Booking
    for child, column, parent, attribute in (
        (slot, slot.template_id, models.Template, "template"),
        (booking, booking.slot_id, slot, "slot"),
    ):
        if attribute in child.__dict__:
            continue
        table = table_of(child)
        name = f"fk_{table.name}_{column.key}"
        table.append_constraint(
            ForeignKeyConstraint([column.key], [table_of(parent).c.id], name=name),
        )
        join = foreign(column) == parent.id
        setattr(child, attribute, relationship(parent, primaryjoin=join))
    if "run" not in slot.__dict__:
        # Without a foreign key: the log of runs is shorter than the slots live.
        join = foreign(slot.run_id) == models.Run.id
        slot.run = relationship(models.Run, primaryjoin=join, viewonly=True)


def _listen(models: Models, clock: Callable[[], datetime]) -> None:
    def complete(mapper: Mapper[Any], connection: Connection, template: TemplateMixin) -> None:
        models.prepare(template)

    def note_beginning(mapper: Mapper[Any], connection: Connection, template: TemplateMixin) -> None:
        template.created_at = template.created_at or clock()

    def own_series(mapper: Mapper[Any], connection: Connection, template: TemplateMixin) -> None:
        # The id is known only now; an uncut template is its own series.
        if template.series_id is None:
            table = table_of(mapper.class_)
            connection.execute(update(table).where(table.c.id == template.id).values(series_id=template.id))
            set_committed_value(template, "series_id", template.id)

    def note_when(mapper: Mapper[Any], connection: Connection, changed: SlotMixin | TemplateMixin) -> None:
        # Also called for what is only marked as touched: writing a time then would be a change of its own.
        attributes = inspect(changed).attrs
        is_slot = isinstance(changed, SlotMixin)
        names = _SHOWN_FIELDS if is_slot else {*mapper.column_attrs.keys()} - _NOT_DECIDED
        if any(attributes[name].history.has_changes() for name in names):
            changed.changed_at = clock()

    def forget_what_was_busy(slot: SlotMixin | None, names: Any) -> None:
        if slot is not None:  # the last reference may just have gone
            slot.__dict__.pop("rolling_busy", None)

    event.listen(models.Slot, "expire", forget_what_was_busy)
    event.listen(models.Slot, "before_update", _note_decisions)
    event.listen(models.Template, "before_insert", complete)
    event.listen(models.Template, "before_insert", note_beginning)
    event.listen(models.Template, "before_update", complete)
    event.listen(models.Slot, "before_update", note_when)
    event.listen(models.Template, "before_update", note_when)
    event.listen(models.Template, "after_insert", own_series)


def _note_decisions(mapper: Mapper[Any], connection: Connection, slot: SlotMixin) -> None:
    """Remember what a person changes through the ORM; top-ups write past the ORM."""
    state = inspect(slot)
    changed = {name for name in DECIDED_FIELDS if state.attrs[name].history.has_changes()}
    before = state.attrs["starts_at"].history.deleted
    if before:  # opening and notice keep their distance from the start
        for name in {"opens_at", "closes_at"} - changed:
            if getattr(slot, name) is not None:
                setattr(slot, name, getattr(slot, name) + (slot.starts_at - before[0]))
    if changed - set(slot.customised or ()):
        # Somebody else may have decided about another field of this slot since it was read.
        table = table_of(mapper.class_)
        query = select(table.c.customised).where(table.c.id == slot.id).with_for_update(key_share=True)
        known = connection.execute(query).scalar_one_or_none() or ()
        slot.customised = sorted(changed | set(slot.customised or ()) | set(known))
