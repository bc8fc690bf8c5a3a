"""Small things that many tests need: a clock to turn, an app on a database, a template to fill."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, create_mock_engine, event, inspect
from sqlalchemy.util import LRUCache

from flask_rollingslots import LostRace, RollingSlots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MONDAY = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)

#: Eight hours a day, 10:00 to 18:00, one hour each.
HALL: dict[str, Any] = {
    "name": "Hall",
    "rrule": "FREQ=DAILY",
    "dtstart": datetime(2026, 1, 1, 10),
    "timezone": "UTC",
    "duration": timedelta(hours=1),
    "every": timedelta(hours=1),
    "until_time": time(18),
}
A_WEEK = 7 * 8


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self, now: datetime = MONDAY) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **span: float) -> datetime:
        """Move on by a span of time."""
        self.now += timedelta(**span)
        return self.now


class SharedModels:
    """Model classes for many apps, as in a project with an app factory: making them takes longer than most tests."""

    def __init__(self, **options: Any) -> None:
        """Make them; ``options`` are those of SQLAlchemy."""
        self.db = SQLAlchemy(**options)
        self._newest: Callable[[], datetime] = Clock()
        RollingSlots(db=self.db, clock=self._now)

    def join(self, app: Flask, clock: Callable[[], datetime]) -> SQLAlchemy:
        """Let another app have them."""
        self.db.init_app(app)
        self._newest = clock
        return self.db

    def forget(self) -> None:
        """Let statements be built anew: for those who have changed what they are built of."""
        self.db.Model.metadata.info["rollingslots"]._built.clear()

    def _now(self) -> datetime:
        """Return the time of the current app, outside of any the time of the newest."""
        if current_app and "rollingslots" in current_app.extensions:
            found: datetime = current_app.extensions["rollingslots"].clock()
            return found
        return self._newest()


class Compiled(LRUCache[Any, Any]):
    """Compiled statements by the kind of database: each test has an engine, and so a dialect, of its own."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Find what was compiled for any dialect of that kind."""
        return super().get(self._shared(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._shared(key), value)

    @staticmethod
    def _shared(key: Any) -> Any:
        dialect, *statement = key
        return (type(dialect), dialect.server_version_info, *statement)


def share_statements() -> None:
    """Let all engines of this process compile a statement once: doing it for each engine takes half of a test."""
    compiled = Compiled(2000)
    event.listen(
        Engine, "engine_connect", lambda connection: connection.execution_options(compiled_cache=compiled)
    )


@contextmanager
def statements(engine: Any) -> Iterator[list[str]]:
    """Gather the statements that an engine executes meanwhile."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


SHARED = SharedModels()
_statements: dict[str, list[str]] = {}  # that make the tables, for each kind of database


def create_tables(engine: Engine) -> None:
    """As ``SHARED.db.create_all()``, which would compile the same statements for each test."""
    if engine.dialect.name not in _statements:
        found = _statements[engine.dialect.name] = []
        writer = create_mock_engine(engine.url, lambda ddl, *_: found.append(str(ddl.compile(engine))))
        SHARED.db.metadata.create_all(writer, checkfirst=False)
    with engine.begin() as connection:
        if not inspect(connection).has_table("rolling_template"):
            for statement in _statements[engine.dialect.name]:
                connection.exec_driver_sql(statement)


def patient(url: str) -> dict[str, Any]:
    """Return options for an engine on which a crowd of writers has time, not only five seconds, on a busy machine."""
    return {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}


class Site:
    """An app with slots on a database of its own; nothing starts by itself unless asked for."""

    def __init__(
        self, url: str, folder: Path, clock: Clock | None = None, own_models: bool = False, **config: Any
    ) -> None:
        self.clock = clock or Clock()
        self.app = Flask("site", instance_path=str(folder))
        self.app.config["SQLALCHEMY_DATABASE_URI"] = url
        self.app.config["SQLALCHEMY_ENGINE_OPTIONS"] = patient(url)
        self.app.config["ROLLINGSLOTS_ENABLED"] = False
        self.app.config.update(config)
        self.db = SQLAlchemy(self.app) if own_models else SHARED.join(self.app, self.clock)
        self.slots = RollingSlots(self.app, clock=self.clock)
        with self.app.app_context():
            self.db.create_all() if own_models else create_tables(self.db.engine)

    @property
    def session(self) -> Any:
        """The app's session."""
        return self.db.session

    @property
    def topup(self) -> Any:
        """The app's top-up, to wait for."""
        return self.app.extensions["rollingslots"].topup

    def settle(self) -> None:
        """Wait until no top-up is under way."""
        assert self.topup.executor.join(60)

    def add(self, **fields: Any) -> Any:
        """Create and commit a template like HALL."""
        template = self.slots.create_template(**{**HALL, **fields})
        self.session.commit()
        return template

    def week(self, **filters: Any) -> list[Any]:
        """Return the slots of the next seven local days."""
        today = self.clock.now.replace(hour=0, minute=0, second=0, microsecond=0)
        return list(self.slots.between(today, today + timedelta(days=7), **filters))

    def rows(self) -> list[Any]:
        """Return all stored slots by key."""
        cls = self.slots.Slot
        return list(self.session.scalars(self.db.select(cls).order_by(cls.series_id, cls.original_start)))


def meanwhile(site: Site, act: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Let another person do something and commit it, in a thread and a session of their own.

    Returns the thread, which has begun, and a list that will hold what came of it: the result, or the exception.
    """
    outcome: list[Any] = []
    entered = threading.Event()

    def work() -> None:
        with site.app.app_context():
            entered.set()
            try:
                outcome.append(act())
                site.session.commit()
            except Exception as error:
                site.session.rollback()
                outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(60)
    return thread, outcome


def lose_races(patch: Any, slots: RollingSlots, name: str, times: int) -> list[LostRace]:
    """Let a call of the facade lose so many races after it did all; return those that are still to be lost."""
    lost, call = [LostRace() for _ in range(times)], getattr(type(slots), name)

    def losing(*args: Any, **named: Any) -> Any:
        made = call(*args, **named)
        if lost:
            raise lost.pop()
        return made

    patch.setattr(type(slots), name, losing)
    return lost
