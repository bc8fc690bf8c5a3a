"""Statements of many rows at once, and how each database stores and joins times. Beside ``statements``."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    String,
    Text,
    TextClause,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    text,
    type_coerce,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import NullType

from .statements import MARIADB, insert_if_absent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Dialect, Table

#: All writers insert in the order of the key, so that they cannot wait for each other in a circle.
KEY_ORDER = "template.series_id, time.original_start"
_PG_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 (the zone is taken off before)
_MICROSECOND = timedelta(microseconds=1)


def among(column: ColumnElement[Any], name: str, dialect: str) -> ColumnElement[bool]:
    """Return the condition that a column is in a list, a parameter of this name. PostgreSQL takes it as one array."""
    if dialect == "postgresql":
        return column == any_(bindparam(name, type_=postgresql.ARRAY(column.type)))
    return column.in_(bindparam(name, expanding=True))


def stored_text(column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """Return a column of JSON as the text that is stored, which neither SQLAlchemy nor the driver reads."""
    return cast(column, Text) if dialect == "postgresql" else type_coerce(column, NullType())


def joined_times(
    column: ColumnElement[Any], order: ColumnElement[Any], dialect: str, *, naive: bool = False
) -> ColumnElement[Any]:
    """Return an aggregate that joins a time of all rows of a group, exactly as ``times_form`` writes it.

    So many rows are compared with what they should be without being read one by one. Where the database cuts a long
    text off, it equals nothing, and the rows are read.

    :param order: by what the rows should be sorted. Only PostgreSQL is told, for the others read an index in this order
        anyway, and would sort once more.
    :param naive: the column holds wall-clock times.
    """
    if dialect == "postgresql":
        send = func.timestamp_send if naive else func.timestamptz_send
        end: Any = postgresql.aggregate_order_by(literal_column("''::bytea"), order)
        return func.string_agg(send(column), end, type_=LargeBinary)
    value = type_coerce(column, String)
    if dialect == "sqlite":
        return func.group_concat(value, literal_column("''"), type_=String)
    return func.group_concat(value.op("SEPARATOR")(literal_column("''")), type_=String)


def times_form(moments: Iterable[datetime], dialect: str) -> bytes | str:
    """Return what ``joined_times`` gives for rows with these times: all naive, or all in UTC."""
    if dialect == "postgresql":
        pack = struct.Struct(">q").pack
        return b"".join(pack((m.replace(tzinfo=None) - _PG_EPOCH) // _MICROSECOND) for m in moments)
    # MariaDB keeps wall-clock times to the second.
    return "".join(
        m.replace(tzinfo=None).isoformat(
            " ", "seconds" if m.tzinfo is None and dialect in MARIADB else "microseconds"
        )
        for m in moments
    )


def insert_rows(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    """Insert rows whose unique key does not exist yet, Python's defaults filled in; return how many are new.

    psycopg's ``executemany`` is a pipeline: while a process is stopped in the middle of it the server does not see an
    idle transaction, and would keep its locks for as long. With RETURNING there are a few large statements.
    """
    statement = insert_if_absent(table, connection.dialect.name)
    if connection.dialect.name == "postgresql":
        return len(connection.execute(statement.returning(*table.primary_key), rows).all())
    return max(0, connection.execute(statement, rows).rowcount)


def bare_insert(table: Table, columns: Sequence[str], dialect: Dialect) -> str | None:
    """Return the text of ``insert_if_absent`` for rows as tuples; ``None`` for a driver that takes no tuples."""
    marks = {"qmark": "?", "format": "%s", "pyformat": "%s"}
    mark = marks.get(dialect.paramstyle)
    if mark is None or dialect.name == "postgresql":
        return None
    quote = dialect.identifier_preparer
    names = ", ".join(quote.format_column(table.c[name]) for name in columns)
    values = ", ".join([mark] * len(columns))
    verb, end = ("INSERT", " ON CONFLICT DO NOTHING") if dialect.name == "sqlite" else ("INSERT IGNORE", "")
    return f"{verb} INTO {quote.format_table(table)} ({names}) VALUES ({values}){end}"


def as_text(value: Any, dialect: Dialect) -> Any:
    """Return a datetime as text where the driver would write it out again for each row."""
    return value.isoformat(" ") if dialect.name in MARIADB and isinstance(value, datetime) else value


def product_insert(
    table: Table, templates: Sequence[str], times: Sequence[str], constants: Sequence[str], dialect: Dialect
) -> TextClause | None:
    """Return PostgreSQL's INSERT of all templates times all their slots, from arrays; ``None`` elsewhere.

    The columns of each template are sent once, and the times of each rule once: parameters ``template_<name>`` with
    ``template_rule``, ``time_<name>`` with ``time_rule``, and ``constant_<name>``. The server makes the rows, in the
    order of the key. It is one plain statement: no pipeline that hides an idle transaction (as psycopg's
    ``executemany`` is), no temporary table that outlives the transaction or that a pooler does not know.
    """
    if dialect.name != "postgresql":
        return None
    types = {name: table.c[name].type.compile(dialect) for name in (*templates, *times, *constants)}
    names = ", ".join(map(dialect.identifier_preparer.quote, (*templates, *times, *constants)))

    def arrays(kind: str, columns: Sequence[str]) -> str:
        casts = ", ".join(f"CAST(:{kind}_{name} AS {types[name]}[])" for name in columns)
        columns_of = ", ".join(f'"{name}"' for name in columns)
        return f"unnest({casts}, CAST(:{kind}_rule AS INTEGER[])) AS {kind} ({columns_of}, rule)"

    chosen = ", ".join(
        (
            *(f'template."{name}"' for name in templates),
            *(f'time."{name}"' for name in times),
            *(f"CAST(:constant_{name} AS {types[name]})" for name in constants),
        )
    )
    return text(
        f"INSERT INTO {dialect.identifier_preparer.format_table(table)} ({names}) "  # noqa: S608 (names of ours)
        f"SELECT {chosen} FROM {arrays('template', templates)} JOIN {arrays('time', times)} "
        f"ON template.rule = time.rule ORDER BY {KEY_ORDER} ON CONFLICT DO NOTHING"
    ).execution_options(preserve_rowcount=True)
