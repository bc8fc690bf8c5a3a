"""What the databases say differently: the one place that knows which database it talks to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Insert, Select, insert, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.pool import SingletonThreadPool, StaticPool

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table
    from sqlalchemy.orm import Session


def dialect_of(session: Session) -> str:
    """Return the name of the session's database: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``."""
    return session.connection().dialect.name


def is_shared(engine: Engine | Connection) -> bool:
    """Whether all sessions share one connection, as with ``sqlite:///:memory:`` in test suites."""
    return isinstance(engine, Connection) or isinstance(engine.pool, StaticPool | SingletonThreadPool)


def begin_write(session: Session) -> None:
    """Begin a short write transaction of our own; the first statement of its session.

    SQLite: takes the write lock at once, for a transaction that reads first and writes later is refused
    without waiting. PostgreSQL: bounds every wait, and lets the server end the transaction of a stopped process.
    """
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        if not connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '2s'"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10s'"))


def has_uncommitted_writes(session: Session) -> bool:
    """Whether the session holds SQLite's write lock, or will with its next flush."""
    if session.new or session.dirty or session.deleted:
        return True
    if not session.in_transaction():
        return False
    raw: Any = session.connection().connection.dbapi_connection
    return bool(getattr(raw, "in_transaction", False))


def insert_if_absent(table: Table, dialect: str) -> Insert:
    """Return an INSERT that skips rows whose unique key exists already; ``rowcount`` counts the new ones."""
    statement: Insert
    if dialect == "sqlite":
        statement = sqlite.insert(table).on_conflict_do_nothing()
    elif dialect == "postgresql":
        statement = postgresql.insert(table).on_conflict_do_nothing()
    else:
        statement = insert(table).prefix_with("IGNORE")
    return statement.execution_options(preserve_rowcount=True)


def insert_or_lock(table: Table, dialect: str) -> Insert:
    """Return an INSERT of one row that leaves an existing row as it is, for a transaction that changes it next.

    MariaDB's INSERT IGNORE would share-lock the row it met: two transactions that go on to update it would then
    wait for each other.
    """
    if dialect in ("mysql", "mariadb"):
        return mysql.insert(table).on_duplicate_key_update(id=table.c.id)
    return insert_if_absent(table, dialect)


def newest(select: Select[Any], dialect: str) -> Select[Any]:
    """Let a SELECT see what other transactions committed meanwhile.

    MariaDB reads from the transaction's snapshot, in which a row that our own INSERT just met may be missing.
    """
    return select.with_for_update() if dialect in ("mysql", "mariadb") else select


def locked(select: Select[Any], dialect: str) -> Select[Any]:
    """Keep the selected rows from changing until the end of the transaction; rows that others hold are left out."""
    return select if dialect == "sqlite" else select.with_for_update(read=True, skip_locked=True)
