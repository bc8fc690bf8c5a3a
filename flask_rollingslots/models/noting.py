"""What is noted of a row while it is flushed: what a person decided about it, and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import set_committed_value

from .fields import FIELDS, TO_SLOTS, TemplateMixin, check_data, check_times
from .kinds import table_of
from .neighbours import MOVED
from .tables import Models, SlotMixin

#: Fields of a slot that a person may change; what was changed is remembered in ``customised``.
DECIDED_FIELDS = ("starts_at", "ends_at", "opens_at", "closes_at", *TO_SLOTS, "name")
#: Where a slot holds a name that is not its template's.
_HELD_IN = {"name": "own_name"}
#: Fields of a slot that somebody decides about: not the places that bookings take.
_SHOWN_FIELDS = (*(_HELD_IN.get(name, name) for name in DECIDED_FIELDS), "status", "cancel_reason")
#: Columns of a template that nobody decides about; an app's own columns are decisions.
_NOT_DECIDED = frozenset(name for name, entry in FIELDS.items() if not entry.is_decision)


def listen(models: Models, clock: Callable[[], datetime]) -> None:
    """Note what a person decides through the ORM, and complete what is new."""

    def complete(mapper: Mapper[Any], connection: Connection, template: TemplateMixin) -> None:
        models.prepare(template)

    def note_beginning(mapper: Mapper[Any], connection: Connection, template: TemplateMixin) -> None:
        template.created_at = template.created_at or clock()
        if template.keep_history and template.history_until is None:
            template.history_until = template.created_at

    def own_series(mapper: Mapper[Any], connection: Connection, template: TemplateMixin) -> None:
        # The id is known only now; an uncut template is its own series.
        if template.series_id is None:
            table = table_of(mapper.class_)
            connection.execute(
                sa.update(table).where(table.c.id == template.id).values(series_id=template.id)
            )
            set_committed_value(template, "series_id", template.id)

    def keep_within_bounds(mapper: Mapper[Any], connection: Connection, slot: SlotMixin) -> None:
        _keep_within_bounds(slot, models)

    def note_when(mapper: Mapper[Any], connection: Connection, changed: SlotMixin | TemplateMixin) -> None:
        # Also called for what is only marked as touched: writing a time then would be a change of its own.
        if has_decisions(changed):
            changed.changed_at = clock()

    sa.event.listen(models.Slot, "expire", _forget_what_was_busy)
    sa.event.listen(models.Slot, "before_insert", _own_what_is_shared)
    sa.event.listen(models.Slot, "before_insert", keep_within_bounds)
    sa.event.listen(models.Slot, "before_update", keep_within_bounds)
    sa.event.listen(models.Slot, "before_update", _note_decisions)
    sa.event.listen(models.Template, "before_insert", complete)
    sa.event.listen(models.Template, "before_insert", note_beginning)
    sa.event.listen(models.Template, "before_update", complete)
    sa.event.listen(models.Slot, "before_update", note_when)
    sa.event.listen(models.Template, "before_update", note_when)
    sa.event.listen(models.Template, "after_insert", own_series)


def _forget_what_was_busy(slot: SlotMixin | None, names: Any) -> None:
    if slot is not None:  # the last reference may just have gone
        slot.__dict__.pop("rolling_busy", None)


def _own_what_is_shared(mapper: Mapper[Any], connection: Connection, slot: SlotMixin) -> None:
    """Let a virtual slot that an app adds to its session store what it shares with others of its template."""
    for name in tuple(sa.inspect(slot).callables):
        getattr(slot, name)


def _keep_within_bounds(slot: SlotMixin, models: Models) -> None:
    """Refuse times of a slot that are too far away to be read, and data that is too long, where they are new."""
    attributes = sa.inspect(slot).attrs
    if any(attributes[name].history.has_changes() for name in ("starts_at", "ends_at")):
        check_times(slot)
    if attributes.data.history.has_changes():
        check_data(slot.data, models.settings())


def has_decisions(changed: SlotMixin | TemplateMixin) -> bool:
    """Whether somebody decided something about a row of the session that is not flushed yet."""
    state = sa.inspect(changed)
    is_slot = isinstance(changed, SlotMixin)
    shown = (*_SHOWN_FIELDS, *changed.rolling_models.own.shared)
    names = shown if is_slot else {*state.mapper.column_attrs.keys()} - _NOT_DECIDED
    touched = state.committed_state.keys() & names  # to ask each of fifty fields costs more than to write two
    return any(state.attrs[name].history.has_changes() for name in touched)


def _note_decisions(mapper: Mapper[Any], connection: Connection, slot: SlotMixin) -> None:
    """Remember what a person changes through the ORM; top-ups write past the ORM."""
    state = sa.inspect(slot)
    decided = (*DECIDED_FIELDS, *slot.rolling_models.own.shared)
    changed = {name for name in decided if state.attrs[_HELD_IN.get(name, name)].history.has_changes()}
    if not MOVED.isdisjoint(changed):
        slot.displaced = True  # until it is looked at where its rule has it
    before = state.attrs["starts_at"].history.deleted
    if before:  # opening and notice keep their distance from the start
        for name in {"opens_at", "closes_at"} - changed:
            if getattr(slot, name) is not None:
                setattr(slot, name, getattr(slot, name) + (slot.starts_at - before[0]))
    if changed - set(slot.customised or ()):
        # Somebody else may have decided about another field of this slot since it was read.
        table = table_of(mapper.class_)
        query = sa.select(table.c.customised).where(table.c.id == slot.id).with_for_update(key_share=True)
        known = connection.execute(query).scalar_one_or_none() or ()
        slot.customised = sorted(changed | set(slot.customised or ()) | set(known))
