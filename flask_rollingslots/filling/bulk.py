"""Statements that insert many rows at once, each row only if its key does not exist yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Dialect, Table, TextClause, text
from sqlalchemy.engine import Connection

from ..statements import MARIADB, insert_if_absent

#: All writers insert in the order of the key, so that they cannot wait for each other in a circle.
KEY_ORDER = "template.series_id, time.original_start"


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
    mark = {"qmark": "?", "format": "%s", "pyformat": "%s"}.get(dialect.paramstyle)
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


def array_text(values: Iterable[str | None]) -> str:
    """Return an array of PostgreSQL as text: drivers take five times as long for a list, value by value.

    :param values: without anything that had to be quoted.
    """
    return f"{{{','.join([value or 'NULL' for value in values])}}}"


def product_insert(
    table: Table, templates: Sequence[str], times: Sequence[str], constants: Sequence[str], dialect: Dialect
) -> TextClause | None:
    """Return PostgreSQL's INSERT of all templates times all their slots, from arrays; ``None`` elsewhere.

    The columns of each template are sent once, and the times of each rule once: parameters ``template_<name>`` with
    ``template_rule``, ``time_<name>`` with ``time_rule`` (texts as :func:`array_text` gives them, of naive times, in
    UTC where the column is an instant), and ``constant_<name>``. The server makes the rows, in the
    order of the key. It is one plain statement: no pipeline that hides an idle transaction (as psycopg's
    ``executemany`` is), no temporary table that outlives the transaction or that a pooler does not know.
    """
    if dialect.name != "postgresql":
        return None
    types = {name: table.c[name].type.compile(dialect) for name in (*templates, *times, *constants)}
    names = ", ".join(map(dialect.identifier_preparer.quote, (*templates, *times, *constants)))

    def arrays(kind: str, columns: Sequence[str], types: Mapping[str, str]) -> str:
        casts = ", ".join(f"CAST(:{kind}_{name} AS {types[name]}[])" for name in columns)
        columns_of = ", ".join(f'"{name}"' for name in columns)
        return f"unnest({casts}, CAST(:{kind}_rule AS INTEGER[])) AS {kind} ({columns_of}, rule)"

    instants = {name for name in times if types[name] == "TIMESTAMP WITH TIME ZONE"}
    chosen = [f'template."{name}"' for name in templates]
    chosen += [f'time."{name}"' + " AT TIME ZONE 'UTC'" * (name in instants) for name in times]
    chosen += [f"CAST(:constant_{name} AS {types[name]})" for name in constants]
    return text(
        f"INSERT INTO {dialect.identifier_preparer.format_table(table)} ({names}) "  # noqa: S608 (names of ours)
        f"SELECT {', '.join(chosen)} FROM {arrays('template', templates, types)} "
        f"JOIN {arrays('time', times, dict.fromkeys(times, 'TIMESTAMP'))} "
        f"ON template.rule = time.rule ORDER BY {KEY_ORDER} ON CONFLICT DO NOTHING"
    ).execution_options(preserve_rowcount=True)
