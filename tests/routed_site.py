"""An app whose session sends writes to one database and reads to another one, which lags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, current_app
from flask_sqlalchemy.session import Session as FlaskSession
from helpers import Clock, SharedModels
from sqlalchemy import Delete, Insert, Integer, Update, create_engine, func, select
from sqlalchemy.orm import Mapped, mapped_column

from flask_rollingslots import RollingSlots

if TYPE_CHECKING:
    from pathlib import Path


class RoutingSession(FlaskSession):
    """Reads go to the replica of the current app's site, as in the recipe of SQLAlchemy's documentation."""

    def get_bind(self, mapper: Any = None, clause: Any = None, bind: Any = None, **more: Any) -> Any:
        if bind is not None:
            return bind
        site = current_app.extensions["routed_site"]
        if self._flushing or isinstance(clause, Insert | Update | Delete):
            return site.writer
        return site.replica


SHARED = SharedModels(session_options={"class_": RoutingSession})


class Note(SHARED.db.Model):  # type: ignore[name-defined, misc]
    """A table of the app's own."""

    id: Mapped[int] = mapped_column(Integer, primary_key=True)


class RoutedSite:
    """An app whose session sends writes to one engine and reads to another one, which lags until it is told."""

    def __init__(self, primary: str, replica: str, folder: Path, **config: Any) -> None:
        """Make the app; both databases have the tables, and nobody copies anything by himself."""
        self.clock = Clock()
        self.replica = create_engine(replica)
        self.writer: Any = None
        self.app = Flask("routed", instance_path=str(folder))
        self.app.config.update(SQLALCHEMY_DATABASE_URI=primary, **config)
        self.app.extensions["routed_site"] = self
        self.db = SHARED.join(self.app, self.clock)
        self.slots = RollingSlots(self.app, clock=self.clock)
        self.note = Note
        with self.app.app_context():
            self.writer = self.db.engine
            self.db.metadata.create_all(self.writer)
            self.db.metadata.create_all(self.replica)

    def catch_up(self) -> None:
        """Copy everything to the replica."""
        tables = self.db.metadata.sorted_tables
        with self.writer.connect() as source, self.replica.begin() as target:
            for table in reversed(tables):
                target.execute(table.delete())
            for table in tables:
                rows = [dict(row) for row in source.execute(table.select()).mappings()]
                if rows:
                    target.execute(table.insert(), rows)

    def stored(self, engine: Any) -> int:
        """Return the number of slots that an engine's database holds."""
        with engine.connect() as connection:
            query = select(func.count()).select_from(self.slots.Slot.__table__)
            return int(connection.scalar(query))

    def settle(self) -> None:
        """Wait until no top-up is under way."""
        assert self.app.extensions["rollingslots"].topup.executor.join(60)
