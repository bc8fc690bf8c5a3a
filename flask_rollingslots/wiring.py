"""Finding what the app brings, and bringing what it does not: database, cache, tables, change events."""

from __future__ import annotations

import functools
import inspect as python_inspect
import logging
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, TypeVar

from cachelib import SimpleCache
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, event, func, inspect, select
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.orm import object_session
from sqlalchemy.schema import CreateIndex, CreateTable

from . import booking as bookings
from .errors import ConfigError, UnreadableRow
from .series import check_unchanged
from .statements import own_transaction, use_primary, write_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from .models import Models, SlotMixin, TemplateMixin

log = logging.getLogger("flask_rollingslots")

OWN_DATABASE = "sqlite:///rollingslots.db"
_CONFIGURED = ("SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_BINDS", "SQLALCHEMY_ENGINES")
_MARK = "rollingslots_changed"
Facade = TypeVar("Facade", bound=type[Any])


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


def names_what_is_broken(facade: Facade) -> Facade:
    """Let the public methods of a facade name missing tables and unreadable rows, not only what a driver says."""
    for name in dir(facade):
        method = python_inspect.getattr_static(facade, name)
        if not name.startswith("_") and python_inspect.isfunction(method):
            setattr(facade, name, _naming(method))
    return facade


def _naming(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except DatabaseError as error:
            missing = _missing_in_database(self._state)
            if not missing:
                raise
            raise ConfigError(
                f"the database has no table {missing[0]}: migrate it (`flask db migrate`, `flask db upgrade`), "
                "or create the library's tables with `flask slots init-db` or `db.create_all()`",
                tables=missing,
            ) from error
        except JSONDecodeError as error:
            found = unreadable_row(self._state.db.session(), self._state.models)
            if found is None:
                raise
            raise found from error

    return wrapper


def _missing_in_database(state: Any) -> list[str]:
    """Return the missing tables, on a connection of its own: the transaction of the app's session is the app's."""
    try:
        there = set(inspect(state.db.session().get_bind(mapper=state.models.Slot)).get_table_names())
    except SQLAlchemyError:
        return []
    return [table.name for table in state.models.tables if table.name not in there]


def unreadable_row(session: Any, models: Models) -> UnreadableRow | None:
    """Return an error that names a row whose JSON cannot be read; such as after an edit by hand, in SQLite."""
    if session.get_bind(mapper=models.Slot).dialect.name == "postgresql":
        return None  # it takes nothing else than JSON
    for table in models.tables:
        for column in [
            each for each in table.columns if isinstance(getattr(each.type, "impl", each.type), JSON)
        ]:
            (key,) = table.primary_key
            row = session.scalar(
                select(key).where(column.is_not(None), func.json_valid(column) == 0).limit(1)
            )
            if row is not None:
                return UnreadableRow(
                    f"{table.name}, row {row}: {column.name} holds text that is no JSON; correct it in the database",
                    table=table.name,
                    row=row,
                    column=column.name,
                )
    return None


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

    _guard(models)
    event.listen(models.Template, "after_insert", mark)
    event.listen(models.Template, "after_update", mark)


def _guard(models: Models) -> None:
    """Let what an app changes through the ORM be refused as a call would be: what is stale, and what would overlap."""

    def before_template(mapper: Any, connection: Any, template: TemplateMixin) -> None:
        session = object_session(template)
        if session is not None and session.is_modified(template, include_collections=False):
            check_unchanged(session, models, template)
            bookings.begin_claim(session, models, template, models.Slot.rolling_clock())

    def after_template(mapper: Any, connection: Any, template: TemplateMixin) -> None:
        session = object_session(template)
        if session is not None:
            bookings.check_claim(session, models, template, models.Slot.rolling_clock())

    def before_slot(mapper: Any, connection: Any, slot: SlotMixin) -> None:
        session = object_session(slot)
        if session is not None:
            bookings.begin_stay(session, models, slot)

    def after_slot(mapper: Any, connection: Any, slot: SlotMixin) -> None:
        session = object_session(slot)
        if session is not None:
            bookings.check_stay(session, models, slot, models.Slot.rolling_clock())

    event.listen(models.Template, "before_update", before_template)
    event.listen(models.Template, "after_update", after_template)
    event.listen(models.Slot, "before_update", before_slot)
    event.listen(models.Slot, "after_update", after_slot)
