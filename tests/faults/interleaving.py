"""Two calls, statement by statement: one is stopped before each of its statements, and the other runs meanwhile.

A trial is named by five words, and played again by them: ``python tests/faults/interleaving.py postgresql-committed
stored book cancel_all 3``. The calls are in :mod:`interleaving_calls`, what must hold in :mod:`interleaving_checks`.
"""

from __future__ import annotations

import itertools
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[depth]) for depth in (0, 1, 2)]
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "series")]

from deciding_doors import read_committed
from helpers import Clock, Site
from interleaving_calls import CALLS, Scene, told
from interleaving_checks import End, Ends, Met, Outcome, violations
from sqlalchemy import NullPool, create_engine, event, text

from flask_rollingslots import errors
from flask_rollingslots.booking import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deciding_model import Committed

#: How long anybody waits for anybody, in seconds: a bound for what hangs, not a measure.
PATIENCE = 120
#: How long a database lets a transaction wait for another, in seconds.
LOCK_WAIT = 60
_PEEK = 0.001
#: Numbers of the system calls that sleep, on both kinds of machine; and after how many looks it has been for long.
_SLEEPING, _LONG = ("35", "230", "101", "115"), 100
_moments = itertools.count()
_local = threading.local()


# -- settings: a database, and how an app may have set its transactions up


@dataclass(frozen=True)
class Setting:
    """A database, and how an app may have set its transactions up.

    :param options: for the engine.
    :param session: what each connection is told first.
    :param begin: for SQLite: the statement by which the app's recipe begins its transactions.
    """

    name: str
    database: str
    isolation: str | None = None
    session: tuple[str, ...] = ()
    begin: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of its engine."""
        connect: dict[str, Any] = {}
        if self.database == "sqlite":
            connect["timeout"] = LOCK_WAIT
        elif self.database == "postgresql":
            connect["options"] = f"-c deadlock_timeout=20ms -c lock_timeout={LOCK_WAIT}s"
        found: dict[str, Any] = {"connect_args": connect}
        return found | ({"isolation_level": self.isolation} if self.isolation else {})


def _mariadb(name: str, isolation: str, snapshot: str) -> Setting:
    told = (
        f"SET SESSION innodb_snapshot_isolation = {snapshot}",
        f"SET innodb_lock_wait_timeout = {LOCK_WAIT}",
    )
    return Setting(name, "mariadb", isolation, told)


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("sqlite-driver", "sqlite"),
        Setting("sqlite-deferred", "sqlite", begin="BEGIN"),
        Setting("sqlite-deferred-wal", "sqlite", session=("PRAGMA journal_mode = WAL",), begin="BEGIN"),
        Setting("sqlite-immediate", "sqlite", begin="BEGIN IMMEDIATE"),
        Setting("postgresql-committed", "postgresql"),
        Setting("postgresql-repeatable", "postgresql", "REPEATABLE READ"),
        Setting("postgresql-serializable", "postgresql", "SERIALIZABLE"),
        _mariadb("mariadb-repeatable", "REPEATABLE READ", "OFF"),
        _mariadb("mariadb-repeatable-snapshot", "REPEATABLE READ", "ON"),
        _mariadb("mariadb-committed", "READ COMMITTED", "OFF"),
        _mariadb("mariadb-committed-snapshot", "READ COMMITTED", "ON"),
    )
}


# -- racers


class Racer:
    """Somebody who makes one call, and may be stopped on the way.

    :ivar passed: how many statements and commits were begun.
    :ivar place: where it waits for something else than Python: "database", "lease" or "".
    """

    def __init__(self, name: str, site: Site, act: Callable[[Any], Any], stop_at: int | None = None) -> None:
        self.name, self.site, self.act, self.stop_at = name, site, act, stop_at
        self.passed, self.place, self.backend, self.thread_id = 0, "", 0, 0
        self.statements: list[str] = []
        self.began = self.stopped_at = self.committed_at = self.ended_at = -1
        self.halted, self.go, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.other: Racer | None = None
        self.outcome = Outcome("lost")
        self.thread = threading.Thread(target=self._run, name=f"racer {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def pass_by(self, statement: str, connection: Any = None) -> None:
        """Note that the next statement is about to run, or stop before it."""
        if self.began < 0:
            self.began = next(_moments)
        if connection is not None:
            self.backend = _backend(connection)
        if self.passed == self.stop_at:
            self.stopped_at = next(_moments)
            self.halted.set()
            assert self.go.wait(PATIENCE), "nobody lets it go on"
        self.passed += 1
        self.statements.append(" ".join(statement.split())[:160])

    def _run(self) -> None:
        self.thread_id = threading.get_native_id()
        with self.site.app.app_context():
            _local.racer = self
            phase = "call"
            try:
                made = self.act(self.site.slots)
                phase = "app"
                report = told(made)
                self.site.session.commit()
                self.outcome = Outcome("done", *report)
            except errors.RollingSlotsError as error:
                self.outcome = Outcome("refused", error=type(error).__name__, text=str(error))
            except Exception as error:
                # SERIALIZABLE may refuse what the app does itself, its commit above all: it knows what that means.
                lost = phase == "app" and getattr(getattr(error, "orig", None), "sqlstate", None) == "40001"
                what, name = ("refused", "LostRace") if lost else ("raw", _name(error))
                self.outcome = Outcome(what, error=name, text=f"{phase}: {error}"[:400])
            finally:
                _local.racer = None
                with suppress(Exception):
                    self.site.session.rollback()
                self.site.session.remove()
                self.ended_at = next(_moments)
                self.place = ""
                self.ended.set()
                self.halted.set()


def _name(error: BaseException) -> str:
    cause = getattr(error, "orig", None)
    code = getattr(cause, "sqlstate", None) or (cause.args[0] if cause is not None and cause.args else None)
    return type(error).__name__ + (f"({code})" if code is not None else "")


def _backend(connection: Any) -> int:
    """Return the number under which the server knows a connection."""
    raw = connection.connection.dbapi_connection
    if connection.dialect.name == "postgresql":
        return int(raw.info.backend_pid)
    return int(raw.thread_id()) if connection.dialect.name in ("mysql", "mariadb") else 0


def _enter(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    """Let the racer of this thread go to the database, or stop before; others go as they like."""
    racer = getattr(_local, "racer", None)
    if racer is not None:
        racer.pass_by(statement, connection)
        if statement == "COMMIT":
            racer.committed_at = next(_moments)
        racer.place = "database"


def _leave(*_: Any) -> None:
    """Let the racer of this thread come back from the database."""
    racer = getattr(_local, "racer", None)
    if racer is not None:
        racer.place = ""


def _sleeps(racer: Racer, peeks: int) -> bool:
    """Whether a racer sleeps while it is within SQLite: only the handler for a busy database does.

    Where the system does not tell what a thread is doing: whether it has been there for long.
    """
    try:
        call = Path(f"/proc/self/task/{racer.thread_id}/syscall").read_text().split()[0]
    except OSError:
        call = _SLEEPING[0] if peeks > _LONG else ""
    return call in _SLEEPING and racer.place == "database"


class PatientStop(threading.Event):
    """Waits for the lease of the other racer until that one has ended, and not by the clock."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait; never told to stop."""
        racer = getattr(_local, "racer", None)
        if racer is not None and racer.other is not None and not racer.other.ended.is_set():
            racer.place = "lease"
            racer.other.ended.wait(PATIENCE)
            racer.place = ""
            return False
        return super().wait(0.05)


# -- the stage


@dataclass
class Trial:
    """What came of one trial.

    :ivar is_over: the first call had no such statement.
    :ivar met: the second one began after the first was stopped and before it ended.
    :ivar blocked: what the second one waited for, if it did.
    """

    words: tuple[str, ...]
    is_over: bool = False
    met: bool = False
    blocked: str = ""
    outcomes: tuple[Outcome, ...] = ()
    at: str = ""
    faults: list[tuple[str, str]] = field(default_factory=list)

    @property
    def line(self) -> str:
        """How it is played again."""
        return " ".join(self.words)


class Stage:
    """A site in one setting, where the same scenes are played again and again.

    :param rehearsal: where it is found out what comes of calls one after the other: the same in each setting.
    """

    def __init__(self, setting: Setting, url: str, folder: Path, rehearsal: Stage | None = None) -> None:
        self.setting, self.rehearsal = setting, rehearsal or self
        config = {"SQLALCHEMY_ENGINE_OPTIONS": setting.options, "ROLLINGSLOTS_LEASE_SECONDS": 1}
        self.site = Site(url, folder, Clock(), **config)
        with self.site.app.app_context():
            self.engine = self.site.db.engine
        self.engine.dispose()
        self._listen()
        self.window = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._watch = self.window.connect()
        self._plain = create_engine(url)
        self._lengths: dict[tuple[str, str], int] = {}
        self._begins: dict[str, tuple[Committed, list[str]]] = {}
        self._ends: dict[tuple[str, ...], End] = {}
        runner = self.site.topup.runner
        wait = type(runner).wait_for_lease
        runner.wait_for_lease = lambda _stopping: wait(runner, PatientStop())

    def close(self) -> None:
        """Let go of everything."""
        self._watch.close()
        self._plain.dispose()
        self.window.dispose()
        self.engine.dispose()

    # -- what stops, and what waits

    def _listen(self) -> None:
        begin, engine = self.setting.begin, self.engine
        event.listen(engine, "connect", self._prepare)
        if begin is not None:
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        event.listen(engine, "before_cursor_execute", _enter)
        event.listen(engine, "after_cursor_execute", _leave)
        event.listen(engine, "handle_error", _leave)
        event.listen(engine, "commit", lambda connection: _enter(connection, None, "COMMIT"))

    def _prepare(self, raw: Any, _record: Any) -> None:
        """Let a new connection be as the app's recipe has it."""
        if self.setting.begin is not None:
            raw.isolation_level = None
        cursor = raw.cursor()
        for statement in self.setting.session:
            cursor.execute(statement)
        cursor.close()

    def waits(self, racer: Racer, peeks: int) -> str:
        """Return what a racer waits for, by what the database says; empty: for nobody.

        :param peeks: how often was asked before.
        """
        if racer.place != "database":
            return racer.place
        if self.setting.database == "postgresql":
            query = text("SELECT cardinality(pg_blocking_pids(:pid))")
            return "lock" if self._watch.scalar(query, {"pid": racer.backend}) else ""
        if self.setting.database == "mariadb":
            row = self._watch.execute(text("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")).one()
            return "lock" if int(row[1]) > 0 else ""
        return "lock" if _sleeps(racer, peeks) else ""

    def _settle(self, racer: Racer) -> str:
        """Wait until a racer has ended, or waits for the other one; return for what."""
        for peeks in range(int(PATIENCE / _PEEK)):
            if racer.ended.wait(_PEEK):
                return ""
            found = self.waits(racer, peeks)
            if found:
                return found
        raise RuntimeError(f"{racer.name} hangs at {racer.statements[-3:]}")

    # -- playing

    def set(self, scene: Scene) -> None:
        """Let everything be as the scene begins."""
        if scene.name not in self._begins:
            self._begins[scene.name] = self._keep(scene)
        _, statements = self._begins[scene.name]
        with self._plain.begin() as connection:
            if self.setting.database == "postgresql":
                statements = ["; ".join(statements)]
            for statement in statements:
                connection.exec_driver_sql(statement)
        limits._known.clear()
        if scene.name == "limited":  # as a process knows of it after its first booking
            with self.site.app.app_context():
                self.site.slots.book(scene.key, who="nobody")
                self.site.session.rollback()
                self.site.session.remove()

    def _keep(self, scene: Scene) -> tuple[Committed, list[str]]:
        """Write a scene, and a copy of each of its tables; return what it holds, and how it is brought back."""
        tables = self.site.db.metadata.sorted_tables
        statements = [f"DELETE FROM {table.name}" for table in reversed(tables)]  # noqa: S608 (names of ours)
        with self._plain.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            for table in tables:
                if scene.rows.get(table.name):
                    copy = f"{scene.name}_{table.name}"
                    connection.execute(table.insert(), scene.rows[table.name])
                    copied = f"SELECT * FROM {table.name}"  # noqa: S608
                    connection.exec_driver_sql(f"CREATE TABLE {copy} AS {copied}")
                    statements.append(f"INSERT INTO {table.name} SELECT * FROM {copy}")  # noqa: S608
        if self.setting.database == "postgresql" and not self._begins:
            for name in ("rolling_template", "rolling_slot", "rolling_booking", "rolling_run"):
                self._watch.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), 1000)"))
        return self.committed(), statements

    def committed(self) -> Committed:
        """Return what is committed."""
        with self._plain.connect() as connection:
            return read_committed(connection, self.site.clock.now)

    def racer(self, name: str, scene: Scene, stop_at: int | None = None) -> Racer:
        """Return somebody who makes a call, and is called like it."""
        act = CALLS[name].act
        return Racer(name, self.site, lambda slots: act(slots, scene, name), stop_at)

    def alone(self, scene: Scene, *names: str) -> End:
        """Return what comes of calls one after the other."""
        words = (scene.name, *names)
        if words not in self._ends:
            self.set(scene)
            outcomes = tuple(self._call(scene, name).outcome for name in names)
            self._ends[words] = End.of(self.committed(), outcomes)
        return self._ends[words]

    def _call(self, scene: Scene, name: str) -> Racer:
        racer = self.racer(name, scene)
        racer.start()
        assert racer.ended.wait(PATIENCE), f"{name} hangs by itself"
        return racer

    def length(self, scene: Scene, name: str) -> int:
        """Return how many statements a call has when nobody is in its way."""
        if (scene.name, name) not in self._lengths:
            self.set(scene)
            self._lengths[scene.name, name] = self._call(scene, name).passed
        return self._lengths[scene.name, name]

    def play(self, scene: Scene, first: str, second: str, stop_at: int) -> Trial:
        """Let the first call be stopped before a statement, and the second one run meanwhile."""
        trial = Trial((self.setting.name, scene.name, first, second, str(stop_at)))
        by_itself = self.rehearsal.alone
        alone = tuple(by_itself(scene, *names).shape for names in ((), (first,), (second,)))
        ends = Ends(by_itself(scene, first, second), by_itself(scene, second, first), alone)
        self.set(scene)
        a, b = self.racer(first, scene, stop_at), self.racer(second, scene)
        a.other, b.other = b, a
        a.start()
        assert a.halted.wait(PATIENCE), f"{trial.line}: {first} neither stops nor ends"
        if a.stopped_at < 0:
            trial.is_over = True
            return trial
        b.start()
        trial.blocked = self._settle(b)
        a.go.set()
        for racer in (a, b):
            if not racer.ended.wait(PATIENCE):
                raise RuntimeError(f"{trial.line}: {racer.name} hangs at {racer.statements[-3:]}")
        trial.met = a.stopped_at < b.began < a.ended_at
        trial.at = a.statements[stop_at] if stop_at < len(a.statements) else "?"
        lost = [place for place, racer in enumerate((a, b)) if racer.outcome.error == "LostRace"]
        again = {place: self._call(scene, (first, second)[place]).outcome for place in lost}
        trial.outcomes = (a.outcome, b.outcome)
        in_order = 1 in again if again else a.committed_at < b.committed_at
        before, after = self._begins[scene.name][0], self.committed()
        trial.faults = violations(Met(before, after, (first, second), trial.outcomes, again, in_order), ends)
        return trial

    def play_all(self, scene: Scene, first: str, second: str) -> Iterator[Trial]:
        """Let the first call be stopped before each of its statements in turn."""
        for stop_at in itertools.count():
            trial = self.play(scene, first, second, stop_at)
            if trial.is_over:
                return
            yield trial


def main(words: list[str]) -> None:
    """Play trials again: a setting, a scene, two calls, and the statement; without it, all statements."""
    import tempfile
    from contextlib import ExitStack

    from helpers import share_statements
    from interleaving_calls import build
    from servers import MariaDB, Postgres, use_memory

    use_memory()
    share_statements()
    setting, scene, first, second = SETTINGS[words[0]], *words[1:4]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder / 'race.db'}"
        if setting.database != "sqlite":
            server = (Postgres if setting.database == "postgresql" else MariaDB)()
            stack.callback(server.stop)
            url = stack.enter_context(server.database())
        stage = Stage(setting, url, folder)
        stack.callback(stage.close)
        built = build(scene, folder)
        one = [stage.play(built, first, second, int(words[4]))] if words[4:] else None
        for trial in one or stage.play_all(built, first, second):
            told = [trial.line, *(outcome.brief for outcome in trial.outcomes), trial.blocked, trial.at[:100]]
            sys.stdout.write(
                "  ".join(told) + "\n" + "".join(f"    {': '.join(it)}\n" for it in trial.faults)
            )


if __name__ == "__main__":
    main(sys.argv[1:])
