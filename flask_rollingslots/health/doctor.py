"""What is wrong with the deployment: each known fault has a check, a sentence, and what to do about it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, text
from sqlalchemy.pool import NullPool, QueuePool

from flask_rollingslots import gate
from flask_rollingslots.executors import SERVERLESS, has_threads
from flask_rollingslots.models import table_of
from flask_rollingslots.statements import is_shared, server_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from flask_rollingslots.models import Models
    from flask_rollingslots.settings import Settings

_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "glusterfs", "ceph")
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


@dataclass(frozen=True)
class Doctor:
    """Examines one app, from inside one of its processes.

    :param cache: the cache's backend, or ``None``; ``caches``: how many the app has.
    :param debug: whether the app runs in debug mode.
    :param now: aware.
    """

    session: Session
    models: Models
    settings: Settings
    cache: Any
    caches: int
    debug: bool
    now: datetime
    environ: Mapping[str, str]

    def examine(self) -> list[Finding]:
        """Run all checks; the gravest findings first."""
        engine = self.session.get_bind(mapper=self.models.Slot).engine
        found = list(self._clock())  # first: what the other checks take is no difference between two clocks
        found += [*self._tables(engine), *self._pool(engine), *self._sqlite(engine), *self._cache()]
        found += [*self._process(), *self._state()]
        if not any(finding.code == "tables" for finding in found):
            found += self._failures()
        order = [Level.ERROR, Level.WARNING, Level.NOTE]
        return sorted(found, key=lambda finding: order.index(finding.level))

    def _tables(self, engine: Engine) -> Iterator[Finding]:
        inspector = inspect(engine)
        there = set(inspector.get_table_names())
        missing = [table.name for table in self.models.tables if table.name not in there]
        if missing:
            text = f"the database has no table {', '.join(missing)}"
            yield Finding(Level.ERROR, "tables", text, "Migrate the database, or run `flask slots init-db`.")
        slot = table_of(self.models.Slot).name
        if slot in there:
            uniques: list[set[Any]] = [
                set(unique["column_names"]) for unique in inspector.get_unique_constraints(slot)
            ]
            uniques += [
                set(index["column_names"]) for index in inspector.get_indexes(slot) if index["unique"]
            ]
            if {"series_id", "original_start"} not in uniques:
                text = f"{slot} has no unique constraint on (series_id, original_start)"
                yield Finding(Level.ERROR, "constraint", text, "Migrate: without it a slot can exist twice.")

    def _pool(self, engine: Engine) -> Iterator[Finding]:
        pool = engine.pool
        if is_shared(engine):
            text = "all sessions share one database connection, so nothing is topped up by itself"
            yield Finding(
                Level.WARNING, "shared_connection", text, "Use a database file or server; fine in tests."
            )
        elif isinstance(pool, QueuePool) and not isinstance(pool, NullPool):
            most = pool.size() + pool._max_overflow if pool._max_overflow >= 0 else 2
            if most < 2:
                text = "the connection pool holds one connection: a top-up and a request would wait for each other"
                yield Finding(Level.ERROR, "pool_size", text, "Set pool_size to 2 or more.")

    def _sqlite(self, engine: Engine) -> Iterator[Finding]:
        if engine.dialect.name != "sqlite" or is_shared(engine):
            return
        mode = self.session.execute(text("PRAGMA journal_mode")).scalar()
        self.session.rollback()
        if mode != "wal":
            advice = "Switch it once, and readers never wait for a top-up:"
            code = (
                f"import sqlite3; sqlite3.connect({engine.url.database!r}).execute('PRAGMA journal_mode=WAL')"
            )
            advice += f'\n  python -c "{code}"'
            yield Finding(Level.WARNING, "sqlite_wal", f"SQLite uses journal mode {mode}", advice)
        kind = _file_system(Path(engine.url.database or "."))
        if kind.startswith(_NETWORK):
            advice = "Move it to a local disk: SQLite's locks do not work on network file systems."
            yield Finding(Level.ERROR, "sqlite_network", f"the SQLite file lies on {kind}", advice)

    def _cache(self) -> Iterator[Finding]:
        kind = type(self.cache).__name__
        if self.caches > 1:
            text = f"the app has {self.caches} caches, and none is guessed"
            yield Finding(Level.NOTE, "caches", text, "Pass cache= to RollingSlots, or do without.")
        elif kind in ("SimpleCache", "NullCache"):
            text = f"{kind} is not shared between processes; each process asks the database once an interval"
            yield Finding(Level.NOTE, "cache_per_process", text, "Nothing to do below about fifty processes.")
        client = getattr(self.cache, "_read_client", None)
        options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", None)
        if options is not None and not options.get("socket_timeout"):
            text = "the Redis client has no socket timeout: a silent server would hold a top-up for long"
            advice = "Add ?socket_timeout=1&socket_connect_timeout=1 to CACHE_REDIS_URL."
            yield Finding(Level.WARNING, "cache_timeout", text, advice)

    def _process(self) -> Iterator[Finding]:
        needs_threads = self.settings.executor not in ("inline", "after_response")
        if needs_threads and not has_threads():
            text = "uWSGI runs without threads: a background top-up does not move between requests"
            advice = "Start uWSGI with --enable-threads, or set ROLLINGSLOTS_EXECUTOR = 'inline'."
            yield Finding(Level.ERROR, "threads", text, advice)
        elif needs_threads and not _thread_moves():
            advice = "Set ROLLINGSLOTS_EXECUTOR = 'inline'."
            yield Finding(Level.ERROR, "threads", "a started thread does not run", advice)
        frozen = [name for name in SERVERLESS if name in self.environ]
        if frozen and self.settings.executor == "thread":
            text = (
                f"{frozen[0]} is set: the host stops the process after each response, and the thread with it"
            )
            yield Finding(Level.ERROR, "serverless", text, "Set ROLLINGSLOTS_EXECUTOR = 'inline', or 'auto'.")
        if "--preload" in self.environ.get("GUNICORN_CMD_ARGS", ""):
            text = (
                "gunicorn preloads the app: connections opened before the fork would be shared by the workers"
            )
            advice = "Open none at import, or call db.engine.dispose() before the fork."
            yield Finding(Level.WARNING, "preload", text, advice)
        if self.debug:
            text = "debug mode: the reloader runs the app in two processes, and each may top up"
            yield Finding(
                Level.NOTE, "reloader", text, "Harmless: the lease keeps them apart. Not for production."
            )

    def _state(self) -> Iterator[Finding]:
        if not self.settings.enabled:
            text = "ROLLINGSLOTS_ENABLED is False: nothing is topped up by itself"
            yield Finding(
                Level.WARNING, "disabled", text, "Run `flask slots generate` regularly, or enable it."
            )

    def _clock(self) -> Iterator[Finding]:
        theirs = server_time(self.session)
        self.session.rollback()
        if theirs is None:
            return
        difference = abs((self.now - theirs).total_seconds())
        if difference > _CLOCK_WARNING:
            level = Level.ERROR if difference > _CLOCK_ERROR else Level.WARNING
            text = f"the clocks of this machine and of the database differ by {difference:.0f} s"
            yield Finding(level, "clock", text, "Set both by NTP: leases and opening times depend on them.")

    def _failures(self) -> Iterator[Finding]:
        state = gate.read_state(self.session, self.models, self.settings.name)
        self.session.rollback()
        if state.failures:
            text = f"the last {state.failures} top-ups failed: {state.last_error}"
            yield Finding(Level.ERROR, "failures", text, "Mend the cause; the next try comes by itself.")


def _thread_moves() -> bool:
    ran = threading.Event()
    try:
        threading.Thread(target=ran.set, name="rollingslots-selftest", daemon=True).start()
    except RuntimeError:
        return False
    return ran.wait(1.0)


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds a path; empty where the system does not tell."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return ""
    place = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.read_text().splitlines():
        _, point, name, *_ = line.split()
        point = point.encode().decode("unicode_escape")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind
