"""Finding what the app brings, and bringing what it does not: database, cache, tables, change events."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from cachelib import SimpleCache
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, inspect
from sqlalchemy.orm import object_session
from sqlalchemy.schema import CreateIndex, CreateTable

from .errors import ConfigError
from .statements import own_transaction, use_primary, write_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from .models import Models, TemplateMixin

log = logging.getLogger("flask_rollingslots")

OWN_DATABASE = "sqlite:///rollingslots.db"
_CONFIGURED = ("SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_BINDS", "SQLALCHEMY_ENGINES")
_MARK = "rollingslots_changed"


def find_db(app: Flask) -> tuple[Any, bool]:
    """Return the app's SQLAlchemy, or our own on a SQLite file in the instance folder, and whether it is ours.

    :raises ConfigError: if a database is configured but no SQLAlchemy is there yet.
    """
    found = app.extensions.get("sqlalchemy")
    if found is not None:
        return found, False
    configured = [key for key in _CONFIGURED if app.config.get(key)]
    if configured:
        raise ConfigError(
            f"{configured[0]} is set, but this app has no SQLAlchemy yet: move the line RollingSlots(app) "
            "(or slots.init_app(app)) below SQLAlchemy(app) (or db.init_app(app)), or pass db="
        )
    app.config["SQLALCHEMY_DATABASE_URI"] = OWN_DATABASE
    db = SQLAlchemy()
    db.init_app(app)
    return db, True


def find_cache(app: Flask, given: Any) -> Callable[[], Any]:
    """Return a function that finds the backend of the app's cache when it is needed, so in any order of set-up.

    An app without a cache gets a private one in memory. Of several caches none is guessed.
    """
    own = SimpleCache()

    def find() -> Any:
        caches = app.extensions.get("cache") or {}
        if given is not None:
            return caches.get(given)
        if len(caches) > 1:
            return None
        return next(iter(caches.values()), own)

    return find


def create_tables(app: Flask, db: Any, models: Models, wal: bool = False) -> list[str]:
    """Create our tables where they are missing, also if several processes do so at once; return all names.

    :param wal: switch a SQLite file to write-ahead logging: only for a file that is our own.
    """
    with app.app_context():
        session = db.session()
        use_primary(session, models.classes, wholly=True)
        bind = write_engine(session, models.Slot)
        if wal and bind.dialect.name == "sqlite":
            # Readers and the top-up then do not wait for each other; the mode stays with the file.
            session.connection(bind_arguments={"mapper": models.Slot}).exec_driver_sql(
                "PRAGMA journal_mode=WAL"
            )
            session.rollback()
        with own_transaction(session):
            for table in models.tables:
                session.execute(CreateTable(table, if_not_exists=True))
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    session.execute(CreateIndex(index, if_not_exists=True))
        bind.dispose()  # a connection that is open now must not be shared by processes that fork later
    return [table.name for table in models.tables]


def missing_tables(db: Any, models: Models) -> list[str]:
    """Return the names of our tables that the database lacks."""
    session = db.session()
    session.rollback()
    there = set(inspect(write_engine(session, models.Slot)).get_table_names())
    return [table.name for table in models.tables if table.name not in there]


def listen_for_changes(db: Any, models: Models, after_commit: Callable[[set[int]], None]) -> None:
    """Call back with the ids of added or edited templates after the outermost commit of the app's session."""
    info = db.Model.metadata.info
    if info.get("rollingslots_listening") is models:
        return
    info["rollingslots_listening"] = models

    def mark(mapper: Any, connection: Any, template: TemplateMixin) -> None:
        session = object_session(template)
        if session is None:
            return
        if _MARK not in session.info:
            # On this session alone, whoever made it: test suites often bring their own.
            session.info[_MARK] = set()
            event.listen(session, "after_commit", committed)
            event.listen(session, "after_rollback", rolled_back)
        session.info[_MARK].add(template.id)

    def committed(session: Any) -> None:
        if not session.in_nested_transaction() and session.info.get(
            _MARK
        ):  # a savepoint's release is no commit
            changed, session.info[_MARK] = session.info[_MARK], set()
            after_commit(changed)

    def rolled_back(session: Any) -> None:
        if not session.in_nested_transaction():
            session.info[_MARK] = set()

    event.listen(models.Template, "after_insert", mark)
    event.listen(models.Template, "after_update", mark)
