"""What the databases say differently: the one place that knows which database it talks to."""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Dialect,
    Engine,
    Insert,
    Integer,
    Select,
    Table,
    and_,
    any_,
    bindparam,
    case,
    cast,
    event,
    false,
    func,
    insert,
    inspect,
    literal_column,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import SingletonThreadPool, StaticPool
from sqlalchemy.sql import visitors
from sqlalchemy.types import LargeBinary, NullType, String, Text

from .errors import ConfigError, sentence
from .lazy import lazy
from .models import kinds

# An app talks to one database; to load PostgreSQL's dialect takes a tenth of the time that Flask takes to start.
if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite
else:
    postgresql, sqlite = lazy("sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite")

#: PostgreSQL: deadlock, serialisation failure, lock not available. MariaDB: deadlock, lock wait time-out, and a row
#: that is locked but was changed since the transaction began (``innodb_snapshot_isolation``).
_LOST_RACES = {"40P01", "40001", "55P03", 1213, 1205, 1020}
#: MariaDB: what a deadlock ended wholly has no savepoint to go back to, and says so instead.
_NO_SAVEPOINT = 1305
#: The value of ``sqlite3.LEGACY_TRANSACTION_CONTROL``, which Python 3.11 has not.
_LEGACY = -1
#: Where a session keeps what was made past the ORM, within which savepoint.
_MADE = "rollingslots_made"
#: PostgreSQL: read-only transaction, no right, disk full. MariaDB: no rights on table or column, read-only server or
#: table, disk full, table full. SQLite, by name: read-only, full, cannot open.
_REFUSALS = {"25006", "42501", "53100", 1142, 1143, 1290, 1036, 1792, 1021, 1114}
_SQLITE_REFUSALS = ("SQLITE_READONLY", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PERM")
#: Where a session keeps for how long its own transactions wait.
_PATIENCE = "rollingslots_patience"
#: From 1970 to the year 2000, in microseconds: from then on PostgreSQL counts.
_PG_EPOCH = 946_684_800_000_000
_POSTGRES_LIMITS = text(
    "SELECT set_config('lock_timeout', '2s', true), "
    "set_config('idle_in_transaction_session_timeout', '10s', true)"
)
#: How many ids a statement lists at most, where they are no parameter of their own.
_IDS_AT_ONCE = 500
#: Packages whose sessions do not choose between engines by what is done.
_STOCK = ("sqlalchemy", "flask_sqlalchemy")
#: The names of dialects that MariaDB is spoken to by.
MARIADB = kinds.MARIADB
_MARIADB_LOCKS = "innodb_lock_wait_timeout"
_MARIADB_LIMITS = {_MARIADB_LOCKS: 2, "idle_write_transaction_timeout": 10}


def dialect_of(session: Session) -> str:
    """Return the name of the session's database: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``."""
    return session.connection().dialect.name


def use_primary(session: Session, classes: Sequence[Any], wholly: bool = False) -> None:
    """Let a session whose app routes reads to replicas use the engine of its writes, until it is thrown away.

    A replica lags: a plan would miss rows that are there, and a booking the place that was just taken. Sessions that
    route nothing stay as they are; of the others only this one object changes.

    :param classes: our models; statements on other tables go on as the app wants it.
    :param wholly: the session is our own: everything goes to that engine.
    """
    if "get_bind" in vars(session) or type(session).get_bind.__module__.split(".")[0] in _STOCK:
        return
    ours, routed = {id(cls.__table__) for cls in classes}, session.get_bind
    engine = write_engine(session, classes[0])

    def concerns_us(mapper: Any, clause: Any) -> bool:
        if mapper is not None and id(mapper.local_table) in ours:
            return True
        if clause is None:  # a bare connection is asked for by us
            return mapper is None
        return any(id(part) in ours for part in visitors.iterate(clause))

    def get_bind(mapper: Any = None, clause: Any = None, **more: Any) -> Any:
        if more.get("bind") is None and (wholly or concerns_us(mapper, clause)):
            return engine
        return routed(mapper=mapper, clause=clause, **more)

    session.get_bind = get_bind  # type: ignore[method-assign]


def write_engine(session: Session, cls: type[Any]) -> Any:
    """Return the engine to which a session would send a change of a model."""
    table: Any = cls.__table__
    return session.get_bind(mapper=cls.__mapper__, clause=table.update())


def is_shared(engine: Engine | Connection) -> bool:
    """Whether all sessions share one connection, as with ``sqlite:///:memory:`` in test suites."""
    return isinstance(engine, Connection) or isinstance(engine.pool, StaticPool | SingletonThreadPool)


@contextmanager
def own_transaction(session: Session, table: Table | None = None) -> Iterator[None]:
    """Run a short write transaction of our own, as the session's next one: commit at the end, or roll back.

    SQLite: the write lock is taken at once, for a transaction that reads first and writes later is refused without
    waiting. PostgreSQL and MariaDB: every wait is bounded, and the server ends the transaction of a process that was
    stopped; the settings hold for this transaction only.

    :param table: one of ours, if there is any yet.
    :raises ConfigError: if the engine commits each statement by itself.
    """
    dialect = _begin(session, table)
    try:
        yield
        _restore_limits(session, dialect)
        session.commit()
    except BaseException:
        with suppress(SQLAlchemyError):  # a connection that broke needs no settings any more
            _restore_limits(session, dialect)
        session.rollback()
        raise


@contextmanager
def atomic(session: Session, classes: Sequence[Any]) -> Iterator[None]:
    """Do something wholly or not at all within the session's own transaction, which goes on either way.

    On SQLite the write lock is taken first: what is read then stays true until the app commits, and a savepoint that
    is nobody's inner transaction would be committed when it is released.

    :param classes: our models.
    """
    session.flush()
    take_write_lock(session, classes[0].__table__)
    with session.begin_nested():
        follow_savepoint(session, classes)
        yield


def follow_savepoint(session: Session, classes: Sequence[Any]) -> None:
    """Let a session know what is true again after a savepoint was rolled back, though it was written past the ORM.

    :param classes: our models. Rows that were made are forgotten (see ``made_here``), and others read again: SQLite
        gives the id of a row that is gone to another one.
    """
    if _MADE in session.info or not session.in_nested_transaction():
        return
    made: list[tuple[Any, Any]] = []
    session.info[_MADE] = made

    def rolled_back(session: Session, over: Any) -> None:
        for instance in list(session.identity_map.values()) if over.nested else ():
            if isinstance(instance, tuple(classes)) and not inspect(instance).modified:
                session.expire(instance)
        for found, transaction in made:
            instance = found()
            while transaction not in (None, over):
                transaction = transaction.parent
            if transaction is over and instance is not None and instance in session:
                session.expunge(instance)

    def ended(session: Session, over: Any) -> None:
        if over.parent is None:
            made.clear()

    event.listen(session, "after_soft_rollback", rolled_back)
    event.listen(session, "after_transaction_end", ended)


def made_here(session: Session, instance: Any) -> None:
    """Note that an instance's row was made past the ORM: if it is rolled back, the session forgets the instance."""
    if _MADE in session.info:
        transaction = session.get_nested_transaction() or session.get_transaction()
        session.info[_MADE].append((weakref.ref(instance), transaction))


def take_write_lock(session: Session, table: Table | None) -> None:
    """On SQLite: be the one writer from here on, so that what is read stays true until the transaction ends.

    An app may begin its transactions by itself, as SQLAlchemy's documentation recommends for savepoints. Such a one
    becomes a writing one with its first write; if it has read what others changed since, SQLite refuses that.

    :param table: any of ours, for such a write that changes nothing; ``None``: the next statement writes anyway.
    """
    connection = session.connection()
    if connection.dialect.name != "sqlite":
        return
    raw: Any = connection.connection.dbapi_connection
    if not raw.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif table is not None and not _begins_with_writes(raw):
        _write_nothing(connection, table)


def begin_writing(session: Session, table: Table) -> None:
    """On SQLite, where the app begins its transactions by itself: be the writer before anything else is read."""
    connection = session.connection()
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite" and raw.in_transaction and not _begins_with_writes(raw):
        _write_nothing(connection, table)


def _begins_with_writes(raw: Any) -> bool:
    """Whether SQLite's driver begins a transaction with the first statement that writes, as it does by default."""
    return raw.isolation_level is not None and getattr(raw, "autocommit", _LEGACY) == _LEGACY


def _write_nothing(connection: Connection, table: Table) -> None:
    (key,) = table.primary_key
    quote = connection.dialect.identifier_preparer
    column = quote.format_column(key)
    text = f"UPDATE {quote.format_table(table)} SET {column} = {column} WHERE 0"  # noqa: S608 (names of ours)
    connection.exec_driver_sql(text)


def refuse_autocommit(connection: Connection) -> None:
    """Refuse an engine that commits each statement by itself: a booking is several.

    :raises ConfigError: says what to change.
    """
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        commits = not (_begins_with_writes(raw) or raw.in_transaction)
    else:
        commits = (
            raw.get_autocommit() if hasattr(raw, "get_autocommit") else getattr(raw, "autocommit", False)
        )
    if commits is True:
        text = (
            "the database engine has the isolation level AUTOCOMMIT, which commits each statement by itself: give the "
            "library's tables an engine without it (SQLALCHEMY_ENGINE_OPTIONS, or SQLALCHEMY_BINDS)"
        )
        raise ConfigError(text)


def hold_writers(session: Session, table: Table) -> None:
    """Wait for those who write a table, and let others wait until the transaction ends.

    For a rare decision that all later writers must see. PostgreSQL only: a statement that waits for a row goes on with
    what it saw of other tables before. MariaDB reads those anew, and SQLite has one writer anyway.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        name = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")


def leave_trace(session: Session, table: Table, ids: Iterable[int]) -> None:
    """Touch rows that are locked, for who waits for them with an older view: new rows beside them are in no such view.

    PostgreSQL's REPEATABLE READ only: there a lock that nothing was changed under tells nobody anything. SERIALIZABLE
    finds out by itself, and the others read what is committed by then.
    """
    connection, touched = session.connection(), sorted(ids)
    if not touched or connection.dialect.name != "postgresql":
        return
    if connection.get_isolation_level() == "REPEATABLE READ":
        (key,) = table.primary_key
        session.execute(update(table).where(key.in_(touched)).values({key: key}))


def exclusive(select: Select[Any], dialect: str, skips: bool = False) -> Select[Any]:
    """Let the selected rows wait for others, be the newest, and change only by us until the app commits.

    :param skips: wait for nobody: rows that others hold are left out.
    """
    return select.with_for_update(key_share=True, skip_locked=skips) if locks_rows(dialect) else select


def locks_rows(dialect: str) -> bool:
    """Whether a query can lock rows: SQLite has one writer."""
    return dialect != "sqlite"


def be_patient(session: Session, seconds: float | None) -> None:
    """Say for how long the session's own transactions may wait for a lock; ``None``: as usual.

    MariaDB counts whole seconds, so one is its least.
    """
    session.info[_PATIENCE] = seconds


def _begin(session: Session, table: Table | None) -> str:
    connection = session.connection()
    refuse_autocommit(connection)
    dialect = connection.dialect.name
    patience = session.info.get(_PATIENCE)
    if dialect == "sqlite":
        with _waiting_at_most(connection, patience):
            take_write_lock(session, table)
    elif dialect == "postgresql":
        # One round trip for SET LOCAL of both.
        connection.execute(_POSTGRES_LIMITS)
        if patience is not None:
            connection.execute(text(f"SET LOCAL lock_timeout = {int(patience * 1000)}"))
    elif dialect in MARIADB:
        for name, usual in _MARIADB_LIMITS.items():
            seconds = 1 if patience is not None and name == _MARIADB_LOCKS else usual
            connection.execute(text(f"SET @rolling_{name} = @@SESSION.{name}, SESSION {name} = {seconds}"))
    return dialect


def end_reading(session: Session) -> None:
    """End the transaction of a session that only looked; what it knows stays known."""
    usual, session.expire_on_commit = session.expire_on_commit, False
    session.commit()
    session.expire_on_commit = usual


@contextmanager
def _waiting_at_most(connection: Connection, seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    usual = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual}")


def _restore_limits(session: Session, dialect: str) -> None:
    # MariaDB has no SET LOCAL, and after the end of the transaction the connection is no longer the session's.
    if dialect in MARIADB:
        for name in _MARIADB_LIMITS:
            session.execute(text(f"SET SESSION {name} = @rolling_{name}"))


def server_time(session: Session) -> datetime | None:
    """Return the clock of a database server, aware, UTC; ``None`` for SQLite, which has none of its own."""
    dialect = dialect_of(session)
    if dialect == "sqlite":
        return None
    clock = "clock_timestamp()" if dialect == "postgresql" else "UTC_TIMESTAMP(6)"
    moment: datetime = session.scalar(text(f"SELECT {clock}"))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def reuses_ids(session: Session, tables: Iterable[Table]) -> list[str]:
    """Return those tables that hand out the id of a deleted row again: on SQLite, unless they were made otherwise."""
    if dialect_of(session) != "sqlite":
        return []
    found = session.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    plain = {name for name, sql in found if "AUTOINCREMENT" not in sql.upper()}
    return [table.name for table in tables if table.name in plain]


def forgiving_columns(session: Session, tables: Iterable[Table]) -> list[str]:
    """Return the columns, as ``table.column``, in which MariaDB takes texts for equal that are not."""
    dialect = session.connection().dialect
    if dialect.name not in MARIADB:
        return []
    query = text(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE() "
        "AND collation_name NOT IN :exact"
    ).bindparams(bindparam("exact", expanding=True))
    forgiving = {tuple(row) for row in session.execute(query, {"exact": list(kinds.EXACT.values())})}
    columns = [
        column for table in tables for column in table.columns if (table.name, column.name) in forgiving
    ]
    return [str(c) for c in columns if getattr(c.type.dialect_impl(dialect), "collation", None)]


def keeps_writers_away(session: Session, table: Table) -> bool:
    """Whether no other connection could write to SQLite's file until the session's transaction ends.

    It wrote, or will with its next flush; or it reads within a transaction and the file is not in WAL mode.

    :param table: any of ours.
    """
    waits = bool(session.new or session.dirty or session.deleted)
    if not (waits or session.in_transaction()):
        return False
    connection = session.connection()
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name != "sqlite":
        return False
    if waits or not raw.in_transaction or _begins_with_writes(raw):
        return bool(waits or raw.in_transaction)
    if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
        return True
    return not _is_free(connection.engine) and _holds_write_lock(connection, table)


def _is_free(engine: Engine) -> bool:
    """Whether nobody is SQLite's writer now."""
    other: Any = engine.raw_connection()
    connection_error = engine.dialect.loaded_dbapi.OperationalError
    try:
        cursor = other.cursor()
        usual = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except connection_error:
            return False
        finally:
            other.rollback()
            cursor.execute(f"PRAGMA busy_timeout = {int(usual)}")
        return True
    finally:
        other.close()


def _holds_write_lock(connection: Connection, table: Table) -> bool:
    with suppress(DBAPIError), _waiting_at_most(connection, 0):
        _write_nothing(connection, table)
        return True
    return False


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


def tells_what_it_updated(dialect: Dialect) -> bool:
    """Whether an UPDATE can return what it changed; a database that can locks no row that it leaves as it is."""
    return bool(dialect.update_returning)


def writes_within_a_query(dialect: str) -> bool:
    """Whether one statement can update a row and insert another from it (``WITH taken AS (UPDATE …) INSERT …``)."""
    return dialect == "postgresql"


def waits_while_it_reads(dialect: str) -> bool:
    """Whether an UPDATE that waited for one row goes on with an older state of all others: PostgreSQL.

    MariaDB locks what its conditions look at, and SQLite has one writer.
    """
    return dialect == "postgresql"


def insert_or_lock(table: Table, dialect: str) -> Insert:
    """Return an INSERT of one row that leaves an existing row as it is, for a transaction that changes it next.

    MariaDB's INSERT IGNORE would share-lock the row it met: two transactions that go on to update it would then
    wait for each other.
    """
    if dialect in MARIADB:
        return mysql.insert(table).on_duplicate_key_update(id=table.c.id)
    return insert_if_absent(table, dialect)


def only_if(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Join conditions so that no index can serve them, for an UPDATE of one row that is named by its id.

    MariaDB may otherwise come from the index of another column, and lock rows and gaps that others hold: a deadlock.
    """
    one: ColumnElement[int] = literal_column("1")  # a parameter would be escaped, sent and parsed each time
    return case((and_(*conditions), one), else_=literal_column("0")) == one


def newest(select: Select[Any], dialect: str) -> Select[Any]:
    """Let a SELECT see what other transactions committed meanwhile.

    MariaDB reads from the transaction's snapshot, in which a row that our own INSERT just met may be missing.
    """
    return select.with_for_update() if dialect in MARIADB else select


def locked(select: Select[Any], dialect: str) -> Select[Any]:
    """Keep the selected rows from changing until the end of the transaction; rows that others hold are left out."""
    return select if dialect == "sqlite" else select.with_for_update(read=True, skip_locked=True)


def is_lost_race(error: Exception) -> bool:
    """Whether the database ended a transaction only because another one was in the way: worth running again."""
    cause = getattr(error, "orig", None)
    if getattr(cause, "sqlstate", None) in _LOST_RACES:
        return True
    number = cause.args[0] if cause is not None and cause.args else None
    before = error.__context__
    if number == _NO_SAVEPOINT and isinstance(before, Exception):
        return is_lost_race(before)
    return number in _LOST_RACES or "database is locked" in str(number)


def refuses_writes(error: BaseException) -> bool:
    """Whether the database took a statement for none that it may, or can, write: a file or server that is read-only or
    full, or a right that is missing.
    """
    cause = getattr(error, "orig", None)
    number = cause.args[0] if cause is not None and cause.args else None
    name = getattr(cause, "sqlite_errorname", None) or ""
    return (
        getattr(cause, "sqlstate", None) in _REFUSALS
        or number in _REFUSALS
        or name.startswith(_SQLITE_REFUSALS)
    )


def refused_writes(session: Session, tables: Iterable[Table]) -> list[str]:
    """Try to write each table, with statements that change nothing; return what the database said to those it refused.

    The session's transaction has ended afterwards, and nothing is left of it.
    """
    found: list[str] = []
    try:
        dialect = _begin(session, None)
        try:
            found += [said for table in tables if (said := _refusal(session, table, dialect))]
        finally:
            with suppress(SQLAlchemyError):  # a connection that broke needs no settings any more
                _restore_limits(session, dialect)
    except DBAPIError as error:
        if not is_lost_race(error):  # such as the write lock of a file that is read-only
            found.append(sentence(error))
    finally:
        session.rollback()
    return found


def _refusal(session: Session, table: Table, dialect: str) -> str | None:
    try:
        with session.begin_nested():
            _try_to_write(session, table, dialect)
    except DBAPIError as error:
        if not refuses_writes(error):
            raise
        return f"{table.name}: {sentence(error)}"
    return None


def _try_to_write(session: Session, table: Table, dialect: str) -> None:
    columns = list(table.columns)
    session.execute(
        insert(table).from_select(columns, select(*columns).where(false()), include_defaults=False)
    )
    session.execute(table.update().where(false()).values({column: column for column in table.primary_key}))
    session.execute(table.delete().where(false()))
    if dialect == "postgresql":
        # Ids come from a sequence, which has rights of its own.
        query = "SELECT has_sequence_privilege(pg_get_serial_sequence(:table, :column), 'USAGE')"
        for column in table.primary_key:
            names = {"table": table.fullname, "column": column.name}
            if session.scalar(text(query), names) is False:
                session.execute(text("SELECT nextval(pg_get_serial_sequence(:table, :column))"), names)


# -- many rows at once -----------------------------------------------------------------------------------------


def among(column: ColumnElement[Any], name: str, dialect: str) -> ColumnElement[bool]:
    """Return the condition that a column is in a list, a parameter of this name. PostgreSQL takes it as one array."""
    if dialect == "postgresql":
        return column == any_(bindparam(name, type_=postgresql.ARRAY(column.type)))
    return column.in_(bindparam(name, expanding=True))


def ids_at_once(dialect: str) -> int:
    """Return how many ids ``among`` should get at most: of 1,000 or more, MariaDB makes a table, and sorts all rows."""
    return 900 if dialect in MARIADB else 10_000


def in_parts(ids: list[int]) -> list[list[int]]:
    """Return ids in parts that a statement may list."""
    return [ids[first : first + _IDS_AT_ONCE] for first in range(0, len(ids), _IDS_AT_ONCE)]


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


def times_form(
    moments: Sequence[int], dialect: str, write: Callable[[Sequence[int]], list[str]]
) -> bytes | str:
    """Return what ``joined_times`` gives for rows with these times, in microseconds since 1970.

    :param write: gives the texts of times where the database keeps texts, or joins them.
    """
    if dialect == "postgresql":
        return struct.pack(f">{len(moments)}q", *[each - _PG_EPOCH for each in moments])
    return "".join(write(moments))


def row_text(columns: Sequence[ColumnElement[Any]], dialect: str) -> ColumnElement[str]:
    """Return some columns of a row as one text that changes when one of them does."""
    if dialect == "sqlite":  # has no other way that takes one call
        return func.printf(" ".join(["%s"] * len(columns)), *columns, type_=String)
    texts = (func.coalesce(cast(column, Text), literal_column("'-'")) for column in columns)
    return func.concat_ws(literal_column("' '"), *texts, type_=String)


def checksum_of(column: ColumnElement[Any], order: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """Return an aggregate of an instant of all rows of a group that changes when one of them does.

    It reads the index alone where that has the column. SQLite has no digest of its own, so it gives the whole text.
    """
    if dialect == "sqlite":
        return joined_times(column, order, dialect)
    if dialect == "postgresql":
        # A hash that is not linear: two rows that move by the same time do not cancel out each other.
        sums = [func.sum(func.timestamp_hash_extended(func.timezone("UTC", column), 0))]
    else:
        # A CRC is linear, and so is a number: what one of them does not see, the other one does.
        sums = [func.sum(func.crc32(column)), func.sum(type_coerce(column, Integer) + literal_column("0"))]
    return func.concat_ws(literal_column("':'"), func.count(), *sums, type_=String)
