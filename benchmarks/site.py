"""Apps with slots for benchmarks: on a database of their own, filled, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

from flask_rollingslots import RollingSlots

NOW = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)  # a Monday, before the first slot of the day
MIDNIGHT = NOW.replace(hour=0)
WEEK = timedelta(days=7)
#: Twelve hours a day, 10:00 to 22:00: 84 slots a week.
HALL: dict[str, Any] = {
    "rrule": "FREQ=DAILY",
    "dtstart": datetime(2026, 1, 1, 10),  # noqa: DTZ001 (wall clock)
    "timezone": "Europe/Madrid",
    "duration": timedelta(hours=1),
    "every": timedelta(hours=1),
    "until_time": time(22),
    "capacity": 2,
    "opens_days_before": 14,
    "closes_before": timedelta(hours=1),
    "data": {"price": 12, "court": "A"},
}


class Site:
    """An app with tables; nothing starts by itself.

    :param url: of a new, empty database.
    """

    def __init__(self, url: str, **config: Any) -> None:
        """Make the app and its tables."""
        self.now = NOW
        self.app = Flask("benchmark")
        self.app.config["SQLALCHEMY_DATABASE_URI"] = url
        self.app.config["ROLLINGSLOTS_ENABLED"] = False
        self.app.config.update(config)
        self.db: Any = SQLAlchemy(self.app)
        self.slots = RollingSlots(self.app, clock=lambda: self.now)
        with self.app.app_context():
            self.db.create_all()

    def add(self, count: int, **fields: Any) -> list[int]:
        """Add so many templates like HALL; return their ids. Inside an app context."""
        made = [self.slots.create_template(**{**HALL, "name": f"Hall {n}", **fields}) for n in range(count)]
        self.db.session.flush()
        ids = [template.id for template in made]
        self.db.session.commit()
        return ids

    def close(self) -> None:
        """Give the connections back."""
        with self.app.app_context():
            self.db.session.remove()
            self.db.engine.dispose()


@contextmanager
def statements(db: Any) -> Iterator[list[str]]:
    """Gather what is executed meanwhile. Inside an app context."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        found.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
