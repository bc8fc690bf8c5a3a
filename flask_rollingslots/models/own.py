"""Columns of the app's own on its template and slot classes: fields like any other, known only once the classes are.

What both classes have under one name goes from a template to its slots, as ``data`` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, TypeDecorator, inspect

from .fields import Change, TemplateField, TemplateMixin
from .kinds import Kind

#: Names that mean something else in bodies, answers and files; a column that is called so is ``own_<name>`` there.
_SAID = frozenset(
    {
        "booked", "cancel_reason", "capacity", "changed_at", "closes_at", "created_at", "customised", "data",
        "description", "dry_run", "edit", "end", "ends_at", "ended_with_series", "group", "is_bookable", "is_forever",
        "is_virtual", "key", "left", "local_end", "local_start", "move_booked", "name", "opens_at", "original_start",
        "overrides", "recurrence", "revision", "run_id", "scope", "series", "series_id", "slot", "slot_start", "start",
        "starts_at", "state", "status", "template", "template_id", "timezone", "type",
    }
)  # fmt: skip


class Own(Kind):
    """What a column of the app's own holds, by its Python type; of another type: what JSON can hold."""

    def __init__(self, column: Column[Any]) -> None:
        self.column = column.type
        self._type = _type_of(column)
        self.python = f"`{self._type.__name__}`" if self._type is not None else "what the column takes"
        self.form, self.expected, self.in_json = _TYPES.get(self._type, ({}, _OPEN, _OPEN))
        length = getattr(column.type, "length", None) if self._type is str else None
        self._longest: int | None = length if isinstance(length, int) else None
        if self._longest is not None:
            self.limits = {"maxLength": self._longest}
            self.expected = self.in_json = f"a text of at most {self._longest} characters"

    def takes(self, value: Any) -> bool:
        held = self._type
        if held is None:
            return True
        if isinstance(value, bool) or held is bool:  # True is no number here
            return held is bool and isinstance(value, bool)
        if held is date and isinstance(value, datetime):
            return False
        if self._longest is not None and isinstance(value, str) and len(value) > self._longest:
            return False
        return isinstance(value, _ALSO.get(held, held))

    def read(self, key: str, value: Any) -> Any:
        held, found = self._type, value
        try:
            if held in (date, datetime, time) and isinstance(value, str):
                found = held.fromisoformat(value)
            elif held is Decimal and isinstance(value, str | int | float) and not isinstance(value, bool):
                found = Decimal(str(value))
                if not found.is_finite():
                    raise ValueError
        except (ValueError, ArithmeticError):
            raise ValueError(self.in_json) from None
        if not self.takes(found):
            raise ValueError(self.in_json)
        return found

    def write(self, value: Any) -> Any:
        if isinstance(value, date | time):
            return value.isoformat()
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            return str(value)
        return value


def _type_of(column: Column[Any]) -> Any:
    if isinstance(column.type, TypeDecorator):  # what it takes is not what its column holds
        return None
    try:
        held = column.type.python_type
    except NotImplementedError:
        return None
    return held if held in _TYPES else None


_OPEN = "a value that the column takes"
_Form = tuple[dict[str, Any], str, str]
#: Python type -> JSON schema, and what is expected, in Python and in JSON.
_TYPES: dict[Any, _Form] = {
    str: ({"type": "string"}, "a text", "a text"),
    bool: ({"type": "boolean"}, "True or False", "true or false"),
    int: ({"type": "integer"}, "a whole number", "a whole number"),
    float: ({"type": "number"}, "a number", "a number"),
    Decimal: ({"type": "string"}, "a Decimal", 'a decimal number, as a text such as "12.50" or a number'),
    date: ({"type": "string", "format": "date"}, "a date", "a day as YYYY-MM-DD"),
    datetime: ({"type": "string"}, "a datetime", "a date and time in ISO 8601"),
    time: ({"type": "string"}, "a time of day", "a time of day as HH:MM"),
}
_ALSO: dict[Any, Any] = {float: int | float, Decimal: int | float | Decimal}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnField(TemplateField):
    """A column of the app's own, which is checked and written like a field of a template."""

    @property
    def key(self) -> str:
        """The name in JSON: over HTTP and in files."""
        return f"own_{self.name}" if self.name in _SAID else self.name


def own_fields(cls: type[Any], mixin: type[Any]) -> dict[str, OwnField]:
    """Return by attribute the columns that a class has besides those of its mixin, and that can be written."""
    found = {}
    for attribute in inspect(cls).column_attrs:
        column = attribute.columns[0]
        if hasattr(mixin, attribute.key):
            continue
        if isinstance(column, Column) and not column.primary_key and column.computed is None:
            nullable = bool(column.nullable) or column.server_default is not None
            found[attribute.key] = OwnField(
                kind=Own(column),
                meaning=column.comment or "a column of the app's own",
                change=Change.EDIT,
                name=attribute.key,
                nullable=nullable,
            )
    return found


@dataclass(frozen=True, slots=True)
class OwnColumns:
    """The app's own columns, by attribute.

    :param template: those of templates. ``slot``: those of slots.
    :param shared: names of those that both have, which go from a template to its slots.
    """

    template: Mapping[str, OwnField]
    slot: Mapping[str, OwnField]
    shared: tuple[str, ...]

    @classmethod
    def of(cls, template_class: type[Any], slot_class: type[Any], slot_mixin: type[Any]) -> OwnColumns:
        """Look at the classes of an app; they must be complete by then."""
        template, slot = own_fields(template_class, TemplateMixin), own_fields(slot_class, slot_mixin)
        columns = inspect(slot_class).column_attrs
        # Rows are written by column, past the ORM: the slot's column must be called as its attribute.
        shared = (name for name in template if name in slot and columns[name].columns[0].key == name)
        return cls(MappingProxyType(template), MappingProxyType(slot), tuple(shared))

    @staticmethod
    def shown(row: Any, columns: Mapping[str, OwnField]) -> dict[str, Any]:
        """Return what a row holds in some of these columns, as JSON has it, by the name that it has there."""
        values = ((field, getattr(row, name)) for name, field in columns.items())
        return {field.key: None if value is None else field.kind.write(value) for field, value in values}


#: Where classes have no columns but ours.
NO_OWN = OwnColumns({}, {}, ())
