"""New slots as bare rows: what they share with others is turned into the database's form once.

All slots of a template share its ids, capacity and data; all templates of a rule share the times; a chunk shares the
rest. So a row costs joining three tuples, and the driver's bulk path does what remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam

from flask_rollingslots.loading import row_of
from flask_rollingslots.models import table_of
from flask_rollingslots.statements import as_text, bare_insert, insert_rows, product_insert
from flask_rollingslots.values import PlannedSlot, Times

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Dialect, Table

    from flask_rollingslots.context import Work

    from .expansion import Expansion, Stretch

_OF_TEMPLATE = ("series_id", "template_id", "capacity", "data")
_TIMES = Times._fields
_OF_CHUNK = ("status", "booked", "customised", "cancel_reason", "run_id", "created_at")
_ALL = (*_OF_TEMPLATE, *_TIMES, *_OF_CHUNK)

Values = tuple[Any, ...]
#: What the times of a chunk are stored as. Gone with the chunk: a process that lives for months remembers no old days.
Remembered = dict[tuple[str, Any], Any]


class Rows:
    """How new rows get into one table of one kind of database.

    Bare statements know nothing of defaults that Python fills in, nor of columns wrapped in SQL: a table with such
    columns of the app's own is filled through SQLAlchemy.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        """Look at the table once."""
        self._table = table
        plain = is_plain(table)
        self._bare = bare_insert(table, _ALL, dialect) if plain else None
        self._product = product_insert(table, _OF_TEMPLATE, _TIMES, _OF_CHUNK, dialect) if plain else None
        self._forms = {name: _form(table, name, dialect) for name in _ALL}

    def insert(
        self, connection: Connection, stretches: Sequence[Stretch], now: datetime, run_id: int | None
    ) -> int:
        """Insert what is absent, in the given order; return how many rows are new.

        :param now: aware; becomes ``created_at``.
        """
        moved = connection.get_execution_options().get("schema_translate_map")  # a tenant's own schema
        if moved or (self._product is None and self._bare is None):
            slots = [PlannedSlot(each.spec, *times) for each in stretches for times in each.times]
            return insert_rows(connection, self._table, [row_of(slot, now, run_id) for slot in slots])
        samples = [
            row_of(PlannedSlot(each.spec, *each.expansion.times[each.first]), now, run_id)
            for each in stretches
        ]
        of_chunk = self._formed(samples[0], _OF_CHUNK)
        of_templates = [self._formed(sample, _OF_TEMPLATE) for sample in samples]
        options, remembered = {"preserve_rowcount": True}, Remembered()
        if self._product is not None:
            parameters = self._arrays(stretches, of_templates, of_chunk, remembered)
            return connection.execute(self._product, parameters, execution_options=options).rowcount
        rows = [
            of_template + times + of_chunk
            for each, of_template in zip(stretches, of_templates, strict=True)
            for times in self._times(each.expansion, remembered)[each.first : each.end]
        ]
        return connection.exec_driver_sql(str(self._bare), rows, execution_options=options).rowcount

    def _formed(self, row: dict[str, Any], names: tuple[str, ...]) -> Values:
        return tuple(self._forms[name](row[name]) for name in names)

    def _times(self, expansion: Expansion, remembered: Remembered) -> list[Values]:
        """Return the times of an expansion as the driver takes them."""

        def form(name: str, moment: Any) -> Any:
            if (name, moment) not in remembered:
                remembered[name, moment] = self._forms[name](moment)
            return remembered[name, moment]

        found: list[Values] | None = expansion.forms.get("rows")
        if found is None:
            found = expansion.forms["rows"] = [tuple(map(form, _TIMES, times)) for times in expansion.times]
        return found

    def _arrays(
        self,
        stretches: Sequence[Stretch],
        of_templates: list[Values],
        of_chunk: Values,
        remembered: Remembered,
    ) -> dict[str, Any]:
        rules: dict[tuple[int, int, int], int] = {}
        templates, times = [], []
        for each, of_template in zip(stretches, of_templates, strict=True):
            part = (id(each.expansion), each.first, each.end)
            if part not in rules:
                rules[part] = len(rules)
                rows = self._times(each.expansion, remembered)[each.first : each.end]
                times += [(*row, rules[part]) for row in rows]
            templates.append((*of_template, rules[part]))
        return {
            **_columns("template", (*_OF_TEMPLATE, "rule"), templates),
            **_columns("time", (*_TIMES, "rule"), times),
            **{f"constant_{name}": value for name, value in zip(_OF_CHUNK, of_chunk, strict=True)},
        }


def insert_absent(work: Work, stretches: Sequence[Stretch], run_id: int | None) -> int:
    """Insert what is absent, in the given order; return how many rows are new."""
    connection = work.session.connection()
    dialect = connection.dialect
    rows: Rows = work.models.build_once(
        ("new rows", dialect.name, dialect.driver), lambda models: Rows(table_of(models.Slot), dialect)
    )
    return rows.insert(connection, stretches, work.now, run_id)


def is_plain(table: Table) -> bool:
    """Whether a bare statement fills a table as SQLAlchemy would."""
    for column in table.columns:
        if column.name not in _ALL and column.default is not None and not column.primary_key:
            return False
        if column.name in _ALL and column.type.bind_expression(bindparam(column.name)) is not None:
            return False
    return all(name in table.c and table.c[name].name == name for name in _ALL)


def _form(table: Table, name: str, dialect: Dialect) -> Callable[[Any], Any]:
    """Return what turns a value of a column into what the driver takes."""
    process = table.c[name].type.dialect_impl(dialect).bind_processor(dialect) if name in table.c else None

    def form(value: Any) -> Any:
        return as_text(process(value) if process is not None else value, dialect)

    return form


def _columns(kind: str, names: tuple[str, ...], rows: list[Values]) -> dict[str, list[Any]]:
    return {
        f"{kind}_{name}": list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
