"""What is wrong with the deployment: each known fault has a check, a sentence, and what to do about it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import Any

from sqlalchemy import JSON, Engine, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlalchemy.schema import CreateColumn

from ..context import Work
from ..errors import ConfigError, UnreadableRow, sentence
from ..models import KEEP_IDS, Models, table_of
from ..pruning import held_back
from ..settings import Settings
from ..statements import forgiving_columns, is_shared, reuses_ids, server_time
from ..topup import gate
from ..topup.executors import SERVERLESS, has_threads

_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "glusterfs", "ceph")
_LEAST_FREE = 16 * 2**20
_CLOCK_WARNING, _CLOCK_ERROR = 5.0, 60.0


class Level(StrEnum):
    """How much a finding matters."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    :param code: stable name of the check.
    :param sentence: what is so.
    :param advice: what to change.
    """

    level: Level
    code: str
    sentence: str
    advice: str


_note, _warning, _error = (partial(Finding, level) for level in Level)


def examine(
    work: Work,
    look_at_cache: Callable[[], tuple[Any, int, str | None]],
    debug: bool,
    environ: Mapping[str, str],
    experience: gate.Experience,
    refusals: Sequence[str],
) -> list[Finding]:
    """Look at one app, from inside one of its processes; the gravest findings first. Ends the session's transaction.

    :param look_at_cache: returns the cache's backend, or ``None``, how many caches the app has, and what is wrong.
    :param debug: whether the app runs in debug mode.
    :param experience: what this process has seen of its top-ups.
    :param refusals: what the database said when it was tried whether it takes writes.
    """
    engine = work.session.get_bind(mapper=work.models.Slot).engine
    found = list(_clock(work))  # first: what the other checks take is no difference between two clocks
    found += [*_tables(work, engine), *_pool(engine), *_sqlite(work, engine), *_cache(look_at_cache)]
    found += _process(work.settings, debug, environ)
    if not any(finding.code in ("tables", "columns") for finding in found):
        found += [*_columns(work), *_writes(engine, refusals), *_failures(work, experience), *_orphans(work)]
    return sorted(found, key=lambda finding: -list(Level).index(finding.level))


def _tables(work: Work, engine: Engine) -> Iterator[Finding]:
    inspector, (missing, columns) = inspect(engine), work.models.lacking(engine)
    if missing:
        text = f"the database has no table {', '.join(table.name for table in missing)}"
        yield _error("tables", text, "Migrate the database, or run `flask slots init-db`.")
    if columns:
        names = ", ".join(f"{column.table.name}.{column.name}" for column in columns)
        text = f"an older version made the database: it has no column {names}"
        yield _error("columns", text, "Migrate the database; docs/deployment.md says how.")
    slot = table_of(work.models.Slot).name
    if table_of(work.models.Slot) not in missing:
        uniques: list[Any] = [unique["column_names"] for unique in inspector.get_unique_constraints(slot)]
        uniques += [index["column_names"] for index in inspector.get_indexes(slot) if index["unique"]]
        if {"series_id", "original_start"} not in map(set, uniques):
            text = f"{slot} has no unique constraint on (series_id, original_start)"
            yield _error("constraint", text, "Migrate: without it a slot can exist twice.")


def _columns(work: Work) -> Iterator[Finding]:
    """Look for what a migration cannot see by itself: docs/deployment.md has the text for both."""
    reused = reuses_ids(work.session, [table_of(getattr(work.models, name)) for name in KEEP_IDS])
    if reused:
        text = f"ids of deleted rows are used again in {', '.join(reused)}: an old link would lead to a new booking"
        yield _warning("ids", text, "Make them anew with AUTOINCREMENT; docs/deployment.md has the script.")
    forgiving = forgiving_columns(work.session, work.models.tables)
    if forgiving:
        text = f"these columns take texts for equal that differ in case, accents or blanks: {', '.join(forgiving)}"
        yield _error("collation", text, "Give them a binary collation; docs/deployment.md has the migration.")
    work.session.rollback()


def _pool(engine: Engine) -> Iterator[Finding]:
    pool = engine.pool
    if is_shared(engine):
        text = "all sessions share one database connection, so nothing is topped up by itself"
        yield _warning("shared_connection", text, "Use a database file or server; fine in tests.")
    elif isinstance(pool, QueuePool) and 0 <= pool._max_overflow < 2 - pool.size():
        text = "the connection pool holds one connection: a top-up and a request would wait for each other"
        yield _error("pool_size", text, "Set pool_size to 2 or more.")


def _sqlite(work: Work, engine: Engine) -> Iterator[Finding]:
    if engine.dialect.name != "sqlite" or is_shared(engine):
        return
    mode = work.session.execute(text("PRAGMA journal_mode")).scalar()
    work.session.rollback()
    if mode != "wal":
        code = f"import sqlite3; sqlite3.connect({engine.url.database!r}).execute('PRAGMA journal_mode=WAL')"
        advice = f'Switch it once, and readers never wait for a top-up:\n  python -c "{code}"'
        yield _warning("sqlite_wal", f"SQLite uses journal mode {mode}", advice)
    kind = _file_system(Path(engine.url.database or "."))
    if kind.startswith(_NETWORK):
        advice = "Move it to a local disk: SQLite's locks do not work on network file systems."
        yield _error("sqlite_network", f"the SQLite file lies on {kind}", advice)


def _cache(look: Callable[[], tuple[Any, int, str | None]]) -> Iterator[Finding]:
    try:
        cache, caches, fault = look()
        found = list(_of_cache(cache, caches))
    except Exception as error:  # whatever the app has there
        fault, found = sentence(error), []
    if fault:
        advice = "Mend it; until then each process asks the database once an interval."
        yield _warning("cache_broken", f"the cache does not answer: {fault}", advice)
    yield from found


def _of_cache(cache: Any, caches: int) -> Iterator[Finding]:
    kind = type(cache).__name__
    if caches > 1:
        text = f"the app has {caches} caches, and none is guessed"
        yield _note("caches", text, "Pass cache= to RollingSlots, or do without.")
    elif kind in ("SimpleCache", "NullCache"):
        text = f"{kind} is not shared between processes; each process asks the database once an interval"
        yield _note("cache_per_process", text, "Nothing to do below about fifty processes.")
    client = getattr(cache, "_read_client", None)
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", None)
    if options is not None and not options.get("socket_timeout"):
        text = "the Redis client has no socket timeout: a silent server would hold a top-up for long"
        advice = "Add ?socket_timeout=1&socket_connect_timeout=1 to CACHE_REDIS_URL."
        yield _warning("cache_timeout", text, advice)


def _process(settings: Settings, debug: bool, environ: Mapping[str, str]) -> Iterator[Finding]:
    needs_threads = settings.executor not in ("inline", "after_response")
    if needs_threads and not has_threads():
        text = "uWSGI runs without threads: a background top-up does not move between requests"
        advice = "Start uWSGI with --enable-threads, or set ROLLINGSLOTS_EXECUTOR = 'inline'."
        yield _error("threads", text, advice)
    elif needs_threads and not _thread_moves():
        yield _error("threads", "a started thread does not run", "Set ROLLINGSLOTS_EXECUTOR = 'inline'.")
    frozen = [name for name in SERVERLESS if name in environ]
    if frozen and settings.executor == "thread":
        text = f"{frozen[0]} is set: the host stops the process after each response, and the thread with it"
        yield _error("serverless", text, "Set ROLLINGSLOTS_EXECUTOR = 'inline', or 'auto'.")
    if "--preload" in environ.get("GUNICORN_CMD_ARGS", ""):
        text = "gunicorn preloads the app: connections opened before the fork would be shared by the workers"
        advice = "Open none at import, or call db.engine.dispose() before the fork."
        yield _warning("preload", text, advice)
    if debug:
        text = "debug mode: the reloader runs the app in two processes, and each may top up"
        yield _note("reloader", text, "Harmless: the lease keeps them apart. Not for production.")
    if not settings.enabled:
        text = "ROLLINGSLOTS_ENABLED is False: nothing is topped up by itself"
        yield _warning("disabled", text, "Run `flask slots generate` regularly, or enable it.")


def _clock(work: Work) -> Iterator[Finding]:
    theirs = server_time(work.session)
    work.session.rollback()
    difference = abs((work.now - theirs).total_seconds()) if theirs is not None else 0.0
    if difference > _CLOCK_WARNING:
        text = f"the clocks of this machine and of the database differ by {difference:.0f} s"
        kind = _error if difference > _CLOCK_ERROR else _warning
        yield kind("clock", text, "Set both by NTP: leases and opening times depend on them.")


def _writes(engine: Engine, refusals: Sequence[str]) -> Iterator[Finding]:
    if refusals:
        text = f"the database refuses writes: {'; '.join(refusals)}"
        yield _error(
            "writes", text, "Mend its rights, its disk, or its mode: nothing is booked or topped up."
        )
    if engine.dialect.name == "sqlite" and not is_shared(engine) and engine.url.database:
        free = disk_usage(Path(engine.url.database).resolve().parent).free
        if free < _LEAST_FREE:
            text = f"the disk of the SQLite file has {free / 2**20:.0f} MB left"
            yield _error("disk", text, "Make room: a full disk lets nobody book.")


def _failures(work: Work, experience: gate.Experience) -> Iterator[Finding]:
    state = gate.read_state(work)
    knows = experience if experience.failures > state.failures else state
    if knows.failures:
        text = f"the last {knows.failures} top-ups failed: {knows.last_error}"
        yield _error("failures", text, "Mend the cause; the next try comes by itself.")
    doubt = held_back(work, experience)
    if doubt:
        advice = "Nothing old is forgotten. If this clock is right, the next top-up mends that; else set it."
        yield _warning("retention", doubt, advice)
    work.session.rollback()


def _orphans(work: Work) -> Iterator[Finding]:
    template, slot, booking = map(table_of, (work.models.Template, work.models.Slot, work.models.Booking))
    for column, parent in ((slot.c.template_id, template), (booking.c.slot_id, slot)):
        missing = ~select(parent.c.id).where(parent.c.id == column).exists()
        number = work.session.scalar(select(func.count()).select_from(column.table).where(missing))
        if number:
            text = f"{number} rows of {column.table.name} belong to no row of {parent.name}"
            advice = (
                "Somebody deleted it past the library. Bring it back from a backup, or delete those rows too."
            )
            yield _error("orphans", text, advice)
    work.session.rollback()


def _thread_moves() -> bool:
    ran = threading.Event()
    try:
        threading.Thread(target=ran.set, name="rollingslots-selftest", daemon=True).start()
    except RuntimeError:
        return False
    return ran.wait(1.0)


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds a path; empty where the system does not tell."""
    mounts, place = Path("/proc/mounts"), path.resolve()
    best, kind = "", ""
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        _, point, name, *_ = line.split()
        point = point.encode().decode("unicode_escape")
        if place.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, name
    return kind


# -- what a call meets: a database that is not as the models say


def what_lacks(session: Any, models: Models) -> ConfigError | None:
    """Return an error that names a missing table, or the columns that an older version did not have.

    Looked for on a connection of its own: the transaction of the app's session is the app's.
    """
    try:
        bind = session.get_bind(mapper=models.Slot)
        tables, columns = models.lacking(bind)
    except SQLAlchemyError:
        return None
    if not tables:
        return missing_columns(bind, columns) if columns else None
    said = (
        f"the database has no table {tables[0].name}: migrate it (`flask db migrate`, `flask db upgrade`), "
        "or create the library's tables with `flask slots init-db` or `db.create_all()`"
    )
    return ConfigError(said, tables=[table.name for table in tables])


def missing_columns(bind: Any, columns: Sequence[Any], migrates: bool = True) -> ConfigError:
    """Return an error that names columns, and the statements that add them.

    :param migrates: whether the app may have migrations: not for the library's own file.
    """
    names = ", ".join(f"{column.table.name} has no column {column.name}" for column in columns)
    adding = [
        f"ALTER TABLE {column.table.name} ADD COLUMN {CreateColumn(column).compile(dialect=bind.dialect)};"
        for column in columns
    ]
    how = "migrate it (`flask db migrate`, `flask db upgrade`), or run" if migrates else "copy it, then run"
    said = f"an older version made the database {bind.engine.url!r}: {names}; {how}: {' '.join(adding)}"
    return ConfigError(said, columns=[f"{column.table.name}.{column.name}" for column in columns])


def unreadable_row(session: Any, models: Models) -> UnreadableRow | None:
    """Return an error that names a row whose JSON cannot be read; such as after an edit by hand, in SQLite."""
    if session.get_bind(mapper=models.Slot).dialect.name == "postgresql":
        return None  # it takes nothing else than JSON
    columns = [column for table in models.tables for column in table.columns]
    for column in columns:
        if isinstance(getattr(column.type, "impl", column.type), JSON):
            table = column.table.name
            (key,) = column.table.primary_key
            row = session.scalar(
                select(key).where(column.is_not(None), func.json_valid(column) == 0).limit(1)
            )
            if row is not None:
                said = f"{table}, row {row}: {column.name} holds text that is no JSON; correct it in the database"
                return UnreadableRow(said, table=table, row=row, column=column.name)
    return None
