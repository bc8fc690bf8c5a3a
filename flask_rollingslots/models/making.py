"""Making the model classes on an app's own ``db.Model``, from its own classes where it gives some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import foreign, relationship

from ..errors import ConfigError
from ..settings import Settings
from ..values import utc_now
from .fields import TemplateMixin
from .kinds import table_of
from .noting import listen
from .tables import KEEP_IDS, MIXINS, UNIQUE, Models, SlotMixin


def make_models(
    db: Any,
    given: Mapping[str, type[Any]] | None = None,
    *,
    clock: Callable[[], datetime] = utc_now,
    default_timezone: Callable[[], str] = lambda: "UTC",
    settings: Callable[[], Settings] = Settings,
) -> Models:
    """Make the model classes on an app's own ``db.Model``; the same ones each time for one ``db``.

    :param db: the app's Flask-SQLAlchemy object.
    :param given: the app's own classes by name (``Template``, ``Slot``, …); made from the mixins.
    :param clock: returns the current time, aware; ``slot.state`` asks it.
    :param default_timezone: returns the zone of templates that name none.
    :param settings: returns those of the current app, whose limits templates keep to.
    :raises ConfigError: if a given class is not made from its mixin, or cannot work.
    """
    info = db.Model.metadata.info
    known = info.get("rollingslots")
    if known is not None and not given:
        return cast(Models, known)
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"models: {given!r}: expected a mapping such as {{'Slot': MySlot}}")
    for name in given or {}:
        if name not in MIXINS:
            raise ConfigError(f"models: unknown class {name!r}; expected {', '.join(MIXINS)}")
    made = {
        name: (given or {}).get(name) or type(f"Rolling{name}", (mixin, db.Model), {})
        for name, mixin in MIXINS.items()
    }
    models = Models(**made, default_timezone=default_timezone, settings=settings)
    _check(models)
    for name in KEEP_IDS:  # here, for an app's own class may have table arguments of its own
        table_of(made[name]).kwargs["sqlite_autoincrement"] = True
    models.Slot.rolling_clock = models.Booking.rolling_clock = staticmethod(clock)
    models.Slot.rolling_models = models.Template.rolling_models = models
    _relate(models)
    listen(models, clock)
    info["rollingslots"] = models
    return models


def _check(models: Models) -> None:
    for name, mixin in MIXINS.items():
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
    _check_shared(models)
    for name, needed in UNIQUE.items():
        cls = getattr(models, name)
        uniques = [c for c in table_of(cls).constraints if isinstance(c, sa.UniqueConstraint)]
        for columns in needed:
            if not any({c.name for c in unique.columns} == set(columns) for unique in uniques):
                raise ConfigError(
                    f"models: {cls.__name__} lacks the unique constraint on ({', '.join(columns)}); "
                    f"add {MIXINS[name].__name__}.__table_args__ to its own __table_args__"
                )


def _check_shared(models: Models) -> None:
    """Refuse a pair of own columns where a slot could not hold what its template may: nothing."""
    template, slot = table_of(models.Template).columns, table_of(models.Slot).columns
    shared = {c.name for c in template} & {c.name for c in slot} - _column_names(SlotMixin)
    for name in sorted(shared - _column_names(TemplateMixin)):
        if template[name].nullable and not slot[name].nullable:
            raise ConfigError(
                f"models: the column {models.Slot.__name__}.{name} is not nullable, and is copied from "
                f"{models.Template.__name__}.{name}, which is; expected both alike",
                column=name,
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
            sa.ForeignKeyConstraint([column.key], [table_of(parent).c.id], name=name),
        )
        join = foreign(column) == parent.id
        setattr(child, attribute, relationship(parent, primaryjoin=join))
    if "run" not in slot.__dict__:
        # Without a foreign key: the log of runs is shorter than the slots live.
        join = foreign(slot.run_id) == models.Run.id
        slot.run = relationship(models.Run, primaryjoin=join, viewonly=True)
