"""A small app that shows a week of slots, with a clock that tests move."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from flask import Flask, jsonify
from flask_caching import Cache
from sqlalchemy import Integer, String, event, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_rollingslots import RollingSlots
from flask_rollingslots.topup import run

sys.path.append(str(Path(__file__).resolve().parent.parent))  # workers know this folder alone

from helpers import SharedModels, patient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday
HOURS = range(10, 22)
DAY = timedelta(days=1)
WAIT = 60.0  # a deadline for slow machines, not a measure


@dataclass
class Clock:
    """A time that stands still until a test moves it."""

    now: datetime = NOON
    passed: float = 0.0

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, span: timedelta) -> None:
        """Let time pass, on the wall and since the start of the machine."""
        self.now += span
        self.passed += span.total_seconds()


def week(now: datetime = NOON, days: int = 7) -> list[datetime]:
    """Return the starts that an hourly day, 10:00 to 22:00, promises from now on in a window (naive, UTC)."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    starts = [today + DAY * day + timedelta(hours=hour) for day in range(days) for hour in HOURS]
    return [start for start in starts if start > now.replace(tzinfo=None)]


def hourly(**changes: Any) -> dict[str, Any]:
    """Return the fields of a template: every day, every hour from 10:00 to 22:00."""
    fields: dict[str, Any] = {
        "name": "Bubble football",
        "rrule": "FREQ=DAILY",
        "dtstart": datetime(2026, 1, 1, 10, 0),
        "duration": timedelta(hours=1),
        "every": timedelta(hours=1),
        "until_time": datetime(2026, 1, 1, 22, 0).time(),
        "timezone": "UTC",
    }
    return fields | changes


@dataclass
class Site:
    """An app with its parts."""

    app: Flask
    db: Any
    slots: RollingSlots
    note: Any
    clock: Callable[[], datetime]
    statements: list[str] = field(default_factory=list)

    @property
    def topup(self) -> Any:
        """The part that notices and fills."""
        return self.app.extensions["rollingslots"].topup

    def get(self, path: str = "/") -> Any:
        """Make one request."""
        answer = self.app.test_client().get(path)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json()

    def finish(self) -> None:
        """Wait until no top-up is under way."""
        assert self.topup.executor.join(WAIT), "the top-up does not end"

    def visit(self, path: str = "/") -> Any:
        """Make one request and wait for the top-up that it may have started."""
        answer = self.get(path)
        self.finish()
        return answer

    def add(self, **fields: Any) -> int:
        """Add an hourly template, committed, without waiting for its top-up."""
        with self.app.app_context():
            template = self.slots.create_template(**hourly(**fields))
            self.db.session.commit()
            return template.id

    def add_quietly(self, **fields: Any) -> int:
        """Add an hourly template as another process would: nothing starts here, and no run waits for it."""
        with self.app.app_context():
            template = self.slots.Template(**hourly(**fields))
            self.db.session.add(template)
            self.db.session.flush()
            self.db.session.info.clear()
            self.db.session.execute(self.db.delete(self.slots.Run).where(self.slots.Run.status == "waiting"))
            self.db.session.commit()
            return template.id

    def sql(self, statement: str, **values: Any) -> list[Any]:
        """Run a statement in a transaction of its own and return its rows."""
        with self.app.app_context(), self.db.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def starts(self, template: int | None = None) -> list[datetime]:
        """Return the original starts of all rows, in order."""
        cls = self.slots.Slot
        with self.app.app_context():
            query = self.db.select(cls.original_start).order_by(cls.original_start)
            if template is not None:
                query = query.where(cls.template_id == template)
            return list(self.db.session.scalars(query))

    def runs(self) -> list[Any]:
        """Return all runs, oldest first, detached."""
        with self.app.app_context():
            found = list(self.db.session.scalars(self.db.select(self.slots.Run).order_by(self.slots.Run.id)))
            self.db.session.expunge_all()
            return found

    def lease(self) -> Any:
        """Return the state row, detached."""
        with self.app.app_context():
            found = self.db.session.scalars(self.db.select(self.slots.models.Lease)).one()
            self.db.session.expunge(found)
            return found

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """Gather the statements that the engine executes."""
        statements: list[str] = []

        def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        with self.app.app_context():
            engine = self.db.engine
        event.listen(engine, "before_cursor_execute", count)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", count)


SHARED = SharedModels()


class Note(SHARED.db.Model):  # type: ignore[name-defined, misc]
    """A table of the app's own."""

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(String(50))


def make_site(
    url: str,
    clock: Callable[[], datetime],
    cache: Mapping[str, Any] | None = None,
    create: bool = True,
    engine_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Site:
    """Make an app; it has no templates yet."""
    app = Flask("loop_site")
    app.config.update(
        SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=dict(engine_options or patient(url))
    )
    app.config.update({f"ROLLINGSLOTS_{name.upper()}": value for name, value in settings.items()})
    db = SHARED.join(app, clock)
    if cache is not None:
        app.config.update(cache)
        Cache(app)
    slots = RollingSlots(app, db=db, clock=clock)

    @app.get("/")
    def show_week() -> Any:
        now = clock()
        end = now.replace(hour=0, minute=0, second=0, microsecond=0) + 7 * DAY
        found = slots.between(now + timedelta(seconds=1), end)
        starts = [slot.original_start.isoformat() for slot in found]
        return jsonify(starts=starts, virtual=sum(slot.is_virtual for slot in found), pid=os.getpid())

    @app.get("/plain")
    def plain() -> Any:
        return jsonify(pid=os.getpid())

    @app.get("/write-and-forget")
    def write_and_forget() -> Any:
        db.session.add(Note(text="never committed"))
        db.session.flush()
        return jsonify(pid=os.getpid())

    if create:
        with app.app_context():
            db.create_all()
    return Site(app, db, slots, Note, clock)


class Stop:
    """Stops whoever comes first in the middle of things, until the test lets it go on.

    `arrived` is set when somebody is stopped, `go` lets him continue; all others pass.
    """

    def __init__(self) -> None:
        self.arrived, self.go = threading.Event(), threading.Event()
        self._first = threading.Lock()

    def __call__(self) -> None:
        if self._first.acquire(blocking=False):
            self.arrived.set()
            assert self.go.wait(WAIT), "nobody let it go on"


def before(patch: Any, where: Any, name: str, hook: Callable[[], object]) -> None:
    """Call a hook before each call of a function or method."""
    original = getattr(where, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        hook()
        return original(*args, **kwargs)

    patch.setattr(where, name, call)


def after(patch: Any, where: Any, name: str, hook: Callable[[], object]) -> None:
    """Call a hook after each call of a function or method."""
    original = getattr(where, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        hook()
        return result

    patch.setattr(where, name, call)


def before_chunks(patch: Any, hook: Callable[[], object]) -> None:
    """Call a hook before the transaction of each chunk, when no lock is held."""
    before(patch, run.Run, "_write", hook)


def chunks_of(patch: Any, rows: int) -> None:
    """Fix the size of the chunks, so that a test knows where they end."""
    for name in ("_SMALLEST_CHUNK", "_FIRST_CHUNK", "_LARGEST_CHUNK"):
        patch.setattr(run, name, rows)


#: Patches for good, in a process of its own.
PLAIN = SimpleNamespace(setattr=setattr)
