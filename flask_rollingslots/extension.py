"""One app and its slots: what is found and set up once, the hook on its requests, and the state that it keeps."""

from __future__ import annotations

import functools
import inspect as python_inspect
import logging
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property, partial
from importlib import import_module
from json import JSONDecodeError
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

from flask import Blueprint, Flask, Response, current_app, g, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event, inspect
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import object_session
from sqlalchemy.orm.exc import ObjectDeletedError
from sqlalchemy.schema import CreateIndex, CreateTable
from werkzeug.wsgi import get_host

from .context import Work
from .errors import ConfigError, Discreet, LostRace, NotRegistered
from .events import Listeners
from .lazy import lazy
from .models import BookingMixin, Models, RunMixin, SlotMixin, TemplateMixin, make_models, table_of
from .settings import FEED_PATH, Settings
from .signals import Outbox
from .statements import (
    begin_writing,
    end_reading,
    is_lost_race,
    own_transaction,
    refused_writes,
    use_primary,
    write_engine,
)
from .topup import Runner, TopUp, pending
from .topup.executors import AfterResponseExecutor, make_executor
from .values import utc_now

if TYPE_CHECKING:
    import cachelib

    from . import pruning, queue
    from .booking import resources
    from .filling import history
    from .health import Finding, doctor
    from .pruning import Archive
    from .series import guards, storage

    #: Decides about a request: an action, a template or ``None``, perhaps more -> yes, no, or a person's name.
    Authorize = Callable[..., bool | str]
else:
    cachelib, pruning, queue, resources, history, doctor, guards, storage = lazy(
        "cachelib", ".pruning", ".queue", ".booking.resources", ".filling.history", ".health.doctor",
        ".series.guards", ".series.storage",
    )  # fmt: skip

log = logging.getLogger("flask_rollingslots")
log.addFilter(Discreet())  # all rooms write to this one

EXTENSION = "rollingslots"
OWN_DATABASE = "sqlite:///rollingslots.db"
#: How long a probe waits for SQLite's write lock.
_PROBE_SECONDS = 1.0
_CONFIGURED = ("SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_BINDS", "SQLALCHEMY_ENGINES")
_CHANGED, _NEW = "rollingslots_changed", "rollingslots_new"
#: Where an app context keeps who acts, and through which door.
_WHO, _DOOR = "rollingslots_who", "rollingslots_door"
#: Where the app context of a door that decides keeps the context around it, and that its session is only to look.
_AROUND, _LOOKS = "rollingslots_around", "rollingslots_looks"
#: How many starts of slots a read may look at, if that is bounded.
_MOST = "rollingslots_most"
#: What an ``authorize`` callback may be told beside action and template.
_ABOUT = frozenset(("slot", "booking", "changes"))
Facade = TypeVar("Facade", bound=type[Any])


# -- state -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AppState:
    """Everything that belongs to one app; kept in ``app.extensions["rollingslots"]``. Doors call its facade."""

    app: Flask
    db: Any
    models: Models
    settings: Settings
    topup: TopUp
    clock: Callable[[], datetime]
    facade: Any

    def reading(self) -> Work:
        """Return a work on the app's own session that only shows."""
        return Work.reading(self.db.session(), self.models, self.settings, self.clock(), g.get(_MOST))

    def writing(self, dry_run: bool = False) -> Work:
        """Return a work on the app's own session that decides; from now on it reads our tables where it writes them."""
        outbox = Outbox(self.app, g.get(_WHO), g.get(_DOOR) or "facade", self.facade.listeners)
        return Work.writing(self.db.session(), self.models, self.settings, self.clock(), dry_run, outbox)

    @property
    def signing_keys(self) -> list[str | bytes]:
        """The keys that sign, or have signed, secret addresses; the newest last. None without ``SECRET_KEY``."""
        key = self.app.secret_key
        return [*(self.app.config.get("SECRET_KEY_FALLBACKS") or ()), key] if key else []

    def secret_address(self, secret: str) -> str:
        """Return the whole address of a feed, if the HTTP API is mounted, on a host that no visitor chooses."""
        rules = self.app.url_map.iter_rules()
        endpoint = next((rule.endpoint for rule in rules if rule.rule.endswith(FEED_PATH)), None)
        if endpoint is None:
            text = "there is no address for a feed: the HTTP API is not mounted; set ROLLINGSLOTS_API_PREFIX"
            raise ConfigError(text, key="ROLLINGSLOTS_API_PREFIX")
        values = {"secret": secret}
        self.app.inject_url_defaults(endpoint, values)
        config = self.app.config
        scheme = request.scheme if request else config["PREFERRED_URL_SCHEME"]
        root = request.script_root if request else config["APPLICATION_ROOT"]
        place = self.app.url_map.bind(self._feed_host(), root or "/", url_scheme=scheme)
        return place.build(endpoint, values, force_external=True)

    def _feed_host(self) -> str:
        """Return the host of secret addresses: who asks must not choose where the secret is sent to."""
        host = self.settings.feed_host or self.app.config.get("SERVER_NAME")
        if host:
            return str(host)
        if request and (trusted := request.trusted_hosts or self.app.config.get("TRUSTED_HOSTS")):
            return get_host(request.environ, trusted)
        text = (
            "a secret address needs a host, and the one that a visitor asks for may be forged: set "
            "ROLLINGSLOTS_FEED_HOST, such as slots.example.com, or SERVER_NAME, or TRUSTED_HOSTS"
        )
        raise ConfigError(text, key="ROLLINGSLOTS_FEED_HOST")

    def create_tables(self, wal: bool = False) -> list[str]:
        """Create our tables where they are missing, also if several processes do so at once; return all names."""
        models = self.models
        with self.app.app_context():
            session = self.db.session()
            use_primary(session, models.classes, wholly=True)
            bind = write_engine(session, models.Slot)
            _, columns = models.lacking(bind)
            if columns:  # before an index on one of them fails
                raise doctor.missing_columns(bind, columns, migrates=not wal)
            if wal and bind.dialect.name == "sqlite":
                # Readers and the top-up then do not wait for each other; the mode stays with the file, so it is
                # for one of our own only.
                connection = session.connection(bind_arguments={"mapper": models.Slot})
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                session.rollback()
            with own_transaction(session):
                for table in models.tables:
                    session.execute(CreateTable(table, if_not_exists=True))
                    for index in sorted(table.indexes, key=lambda index: str(index.name)):
                        session.execute(CreateIndex(index, if_not_exists=True))
            bind.dispose()  # a connection that is open now must not be shared by processes that fork later
        return [table.name for table in models.tables]

    def probe(self) -> list[str]:
        """Return what the database says to who tries to write, and changes nothing; in a session of its own."""
        runner = self.topup.runner
        with self.app.app_context():
            if runner.joins:
                return []  # the app's own transaction would end with it
        with runner.context(patience=_PROBE_SECONDS):
            return refused_writes(self.db.session(), self.models.tables)

    def _look_at_cache(self) -> tuple[Any, int, str | None]:
        """Return the cache's backend, how many caches the app has, and what is wrong with it; may raise anything."""
        caches = len(self.app.extensions.get("cache") or {})
        return self.topup.find_cache(), caches, self.topup.hint.check()

    def examine(self) -> list[Finding]:
        """Return the doctor's findings; in a session of its own, for the checks end its transaction."""
        refusals, experience = self.probe(), self.topup.experience
        with self.app.app_context():
            return doctor.examine(
                self.writing(),
                self._look_at_cache,
                self.app.debug,
                os.environ,
                experience,
                refusals,
            )


def get_state() -> AppState:
    """Return the state of the current app, if there is an app, and it has a RollingSlots."""
    if not current_app:
        text = "no app: use RollingSlots inside a request, a command, or `with app.app_context():`"
        raise NotRegistered(text)
    state = current_app.extensions.get(EXTENSION)
    if not isinstance(state, AppState):
        raise NotRegistered
    return state


def default_timezone() -> str:
    """Return the zone of the current app's templates that name none."""
    return get_state().settings.timezone if _is_registered() else "UTC"


def current_settings() -> Settings:
    """Return the settings of the current app; outside of any the defaults."""
    return get_state().settings if _is_registered() else Settings()


def _is_registered() -> bool:
    return bool(current_app) and EXTENSION in current_app.extensions


@dataclass(frozen=True, slots=True)
class Authorizer:
    """An app's ``authorize`` callback, which is given what it accepts.

    :param accepts: of ``slot``, ``booking`` and ``changes`` those that it has a parameter for.
    """

    decide: Authorize
    accepts: frozenset[str]

    @classmethod
    def of(cls, decide: Authorize) -> Authorizer:
        """Look at the parameters of a callback, once."""
        try:
            parameters = list(python_inspect.signature(decide).parameters.values())
        except (TypeError, ValueError):  # some that are written in C have no signature
            return cls(decide, frozenset())
        if any(each.kind is each.VAR_KEYWORD for each in parameters):
            return cls(decide, _ABOUT)
        by_name = (each for each in parameters[2:] if each.kind is not each.POSITIONAL_ONLY)
        return cls(decide, _ABOUT & {each.name for each in by_name})

    def __call__(self, action: str, template: TemplateMixin | None, **about: Any) -> bool | str:
        """Ask the callback, in the context of the request."""
        ask = partial(self.decide, action, template, **{name: about.get(name) for name in self.accepts})
        around: Context | None = g.get(_AROUND)
        return ask() if around is None else around.run(ask)


# -- the extension ---------------------------------------------------------------------------------------------


class Extension:
    """What ``RollingSlots`` is to Flask: made once, set up on each app, with its doors and its model classes."""

    def __init__(
        self,
        app: Flask | None = None,
        *,
        db: Any = None,
        cache: Any = None,
        models: Models | Mapping[str, type[Any]] | None = None,
        archive: Archive | None = None,
        authorize: Authorize | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Begin with what all apps share.

        :param app: the app; or call ``init_app`` later.
        :param db: the app's Flask-SQLAlchemy object; by default the one on the app, or our own SQLite file.
        :param cache: the app's Flask-Caching object; by default the one on the app.
        :param models: the app's own classes made from the mixins: a mapping such as ``{"Slot": MySlot}``.
        :param archive: gets each batch of past slots before ``ROLLINGSLOTS_RETENTION_DAYS`` or ``prune`` deletes it.
        :param authorize: decides about requests to the HTTP API; see :meth:`authorize`.
        :param clock: returns the current time, aware; for tests.
        :raises ConfigError: if the app is set up wrongly; the text says what to change.
        """
        self._archive = archive
        #: The app's functions that hear of what happened, after the commit.
        self.listeners = Listeners()
        #: The app's own decision about requests to the HTTP API, if it makes any.
        self.authorizer = None if authorize is None else Authorizer.of(authorize)
        self._db, self._cache, self._given, self._clock = db, cache, models, clock
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        self._models: Models | None = None
        if db is not None:
            self._models = self._make_models(db)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up one app: settings, models, the hook and the ``flask slots`` commands.

        :raises ConfigError: if the app is set up wrongly, or twice.
        """
        if EXTENSION in app.extensions:
            raise ConfigError("this app has a RollingSlots already: one for each app is enough")
        settings = Settings.from_mapping(app.config)
        db, is_ours = (self._db, False) if self._db is not None else find_db(app)
        models = self._make_models(db)
        tidy = lambda *about: pruning.tidy(*about)  # noqa: E731 (loaded when it is time to tidy)
        runner = Runner(app, db, models, settings, self._clock, tidy, self._archive, self.listeners)
        topup = TopUp(runner, make_executor(settings.executor), find_cache(app, self._cache))
        topup.executor.bind(app)
        if topup.executor.is_queue:
            queue.connect(topup)
        state = AppState(app, db, models, settings, topup, self._clock, self)
        app.extensions[EXTENSION] = state
        listen_for_changes(db, models)
        if is_ours:
            state.create_tables(wal=True)
        _add_hook(app, topup)
        self._apps.add(app)
        # Doors stand above this room and call it, so they are known by name only.
        app.cli.add_command(import_module(f"{__package__}.cli").slots_group)
        if settings.api_prefix is not None:
            app.register_blueprint(self.api, url_prefix=settings.api_prefix)

    @cached_property
    def api(self) -> Blueprint:
        """The HTTP API, for ``app.register_blueprint(slots.api, url_prefix="/api")``; see docs/http.md.

        ``ROLLINGSLOTS_API_PREFIX`` mounts it by itself.

        :raises ConfigError: if pydantic is not installed; names the extra.
        """
        try:
            blueprint: Blueprint = import_module(f"{__package__}.api").make_blueprint()
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "pydantic":
                raise
            text = "the HTTP API needs the pydantic package: pip install 'Flask-RollingSlots[api]'"
            raise ConfigError(text) from error
        return blueprint

    def authorize(self, decide: Authorize) -> Authorize:
        """Let a function of the app decide about requests to the HTTP API that send no token; a decorator.

        :param decide: called inside the request with an action (``read``, ``book``, ``override``, ``edit``,
            ``create``, ``top_up``) and a template, or ``None`` where all templates are meant. It returns ``True``,
            ``False``, or a name: in that person's name alone bookings may then be made, changed and seen, and
            ``override`` (what is staff's: past all limits, and marking who came) is not allowed. What may not be read
            is "not found" for the sender, and left out of lists.

            If it has parameters ``slot``, ``booking`` or ``changes``, it is told these too, ``None`` where there is
            none: which slot, whose booking, and what an edit changes or a new template has (by field). About an edit
            it is asked twice: with the template as it is, and as it would be.
        """
        self.authorizer = Authorizer.of(decide)
        return decide

    @property
    def models(self) -> Models:
        """All model classes."""
        if self._models is not None:
            return self._models
        if not current_app and len(self._apps) == 1:
            state: AppState = next(iter(self._apps)).extensions[EXTENSION]
            return state.models
        return self._state.models

    @property
    def Template(self) -> type[TemplateMixin]:
        """The template class, on the app's own ``db.Model``."""
        return self.models.Template

    @property
    def Slot(self) -> type[SlotMixin]:
        """The slot class."""
        return self.models.Slot

    @property
    def Booking(self) -> type[BookingMixin]:
        """The booking class."""
        return self.models.Booking

    @property
    def Run(self) -> type[RunMixin]:
        """The class of recorded top-ups."""
        return self.models.Run

    @property
    def db(self) -> Any:
        """The app's Flask-SQLAlchemy object, or the one that the library brought; ``db.session`` is yours to commit."""
        return self._db if self._db is not None else self._state.db

    @property
    def settings(self) -> Settings:
        """The settings of the current app."""
        return self._state.settings

    def now(self) -> datetime:
        """Return the current time by the clock of the current app, aware."""
        return self._state.clock()

    def create_tables(self) -> list[str]:
        """Create the library's tables where they are missing, and return the names of all."""
        return self._state.create_tables()

    @contextmanager
    def acting(self, who: str | None, door: str | None = None) -> Iterator[Self]:
        """Name the person who acts: signals and events of calls within the block have it as ``who``.

        :param door: the way in, for events: ``pages``, or a word of your own; by default that of the block around.
        """
        get_state()  # says so if there is no app
        before = g.get(_WHO), g.get(_DOOR)
        setattr(g, _WHO, who)
        setattr(g, _DOOR, door or before[1])
        try:
            yield self
        finally:
            setattr(g, _WHO, before[0])
            setattr(g, _DOOR, before[1])

    @contextmanager
    def transaction(
        self,
        dry_run: bool = False,
        who: str | None = None,
        apart: bool = False,
        door: str | None = None,
    ) -> Iterator[Self]:
        """Give an app context, so a session, of its own; commit at the end, or roll everything back.

        For doors: what the request's session holds belongs to the app, and is not theirs to commit.

        :param dry_run: roll back at the end, too.
        :raises LostRace: if another transaction was in the way; this one is rolled back.
        :param who: the person who acts, as with :meth:`acting`; by default who acts around it. ``door`` alike.
        :param apart: what is done writes in sessions of its own.
        """
        state, who, around = self._state, who or g.get(_WHO), g.get(_AROUND)
        door = door or g.get(_DOOR)
        if g.get(_LOOKS):
            end_reading(state.db.session())
        with state.app.app_context(), self.acting(who, door):
            setattr(g, _AROUND, around)
            session = state.db.session
            try:
                if not (dry_run or apart):
                    begin_writing(session, table_of(state.models.Lease))
                yield self
                if dry_run:
                    session.rollback()
                else:
                    session.commit()
            except BaseException as error:
                session.rollback()
                if isinstance(error, DatabaseError):
                    error.hide_parameters = True
                    if is_lost_race(error):
                        raise LostRace from error
                raise

    @contextmanager
    def looking_at_most(self, starts: int) -> Iterator[None]:
        """Bound how many starts of slots each read within the block looks at: for doors that are open to anybody."""
        setattr(g, _MOST, starts)
        try:
            yield
        finally:
            g.pop(_MOST, None)

    def read_primary(self) -> None:
        """Let the app's session read our tables where it writes them, from now on: before a decision."""
        self._state.writing()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Give a door, for a call that decides, an app context and so a session of its own: to look before it writes.

        The app's session, which is not ours to end, could keep our :meth:`transaction` waiting: on SQLite, where the
        app begins its transactions by itself. The app's callbacks go on in the context around. Our tables are read
        where they are written.
        """
        state, around, who, door = self._state, copy_context(), g.get(_WHO), g.get(_DOOR)
        with state.app.app_context():
            setattr(g, _AROUND, around)
            setattr(g, _LOOKS, True)
            with self.acting(who, door):
                state.writing()
                yield

    @staticmethod
    def is_lost_race(error: Exception) -> bool:
        """Whether the database refused only because another transaction was in the way: worth trying again."""
        return is_lost_race(error)

    @property
    def _state(self) -> AppState:
        return get_state()

    def _make_models(self, db: Any) -> Models:
        known = self._models or self._given
        if isinstance(known, Models):
            return known
        return make_models(
            db, known, clock=self._clock, default_timezone=default_timezone, settings=current_settings
        )


# -- set-up ----------------------------------------------------------------------------------------------------


def _add_hook(app: Flask, topup: TopUp) -> None:
    memory = topup.memory

    def keep_slots_filled() -> None:
        if monotonic() < memory.next_check:
            return
        topup.notice()

    # First of all, for a hook that answers the request itself would keep the later ones from running.
    app.before_request_funcs.setdefault(None, []).insert(0, keep_slots_filled)
    executor = topup.executor
    if isinstance(executor, AfterResponseExecutor):

        def fill_after_response(response: Response) -> Response:
            job = executor.take()
            if job is not None:
                response.call_on_close(job)
            return response

        app.after_request(fill_after_response)


def find_db(app: Flask) -> tuple[Any, bool]:
    """Return the app's SQLAlchemy, or our own on a SQLite file in the instance folder, and whether it is ours."""
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
    own = cache(lambda: cachelib.SimpleCache())

    def find() -> Any:
        caches = app.extensions.get("cache") or {}
        if given is not None:
            return caches.get(given)
        if len(caches) > 1:
            return None
        return next(iter(caches.values())) if caches else own()

    return find


# -- faults ----------------------------------------------------------------------------------------------------


def names_what_is_broken(facade: Facade) -> Facade:
    """Let the public methods of a facade name missing tables and unreadable rows, not only what a driver says."""
    for name, method in python_inspect.getmembers_static(facade, python_inspect.isfunction):
        if not name.startswith("_"):
            setattr(facade, name, _naming(method))
    return facade


def _naming(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except ObjectDeletedError as error:  # a row of the app's session, which somebody else removed
            raise LostRace from error
        except (DatabaseError, JSONDecodeError) as error:
            if isinstance(error, DatabaseError):
                error.hide_parameters = True  # the names of people are among them, and the app may log it
            if is_lost_race(error):
                raise LostRace from error
            if not current_app:  # nothing to look into; in `init_app`, or a call outside of any app
                raise
            look = doctor.what_lacks if isinstance(error, DatabaseError) else doctor.unreadable_row
            found = look(self._state.db.session(), self._state.models)
            if found is None:
                raise
            raise found from error

    return wrapper


# -- what an app changes by itself -----------------------------------------------------------------------------


def listen_for_changes(db: Any, models: Models) -> None:
    """Top up templates that an app adds or edits by itself, after the outermost commit of its session."""
    info = db.Model.metadata.info
    if info.get("rollingslots_listening") is models:
        return
    info["rollingslots_listening"] = models
    changes = _Changes(models)
    _guard(models)
    _listen(models.Template, "after_insert", changes.begin)
    _listen(models.Template, "after_update", changes.note)


@dataclass(frozen=True)
class _Changes:
    """What a session has flushed about templates, until it commits."""

    models: Models

    def note(self, session: Any, template: TemplateMixin) -> None:
        """Remember a template that was added or changed."""
        if _CHANGED not in session.info:
            # On this session alone, whoever made it: test suites often bring their own.
            session.info[_CHANGED] = set()
            event.listen(session, "after_flush", self.flushed)
            event.listen(session, "after_commit", self.committed)
            event.listen(session, "after_rollback", self.rolled_back)
        session.info[_CHANGED].add(template.id)

    def begin(self, session: Any, template: TemplateMixin) -> None:
        """Remember a new template, and that a run is to wait for it if it begins a series."""
        self.note(session, template)
        if template.continues_id is None and _is_registered() and get_state().topup.is_automatic:
            session.info.setdefault(_NEW, []).append(template.id)

    def flushed(self, session: Any, context: Any) -> None:
        """Write the runs of new templates: from the commit on they tell how far the top-up is."""
        new = session.info.pop(_NEW, None)
        if new:
            connection = session.connection(bind_arguments={"mapper": inspect(self.models.Run)})
            pending.enter(connection, self.models, new, self.models.Slot.rolling_clock())

    def committed(self, session: Any) -> None:
        """Start the top-ups."""
        changed = session.info.get(_CHANGED)
        if changed and not session.in_nested_transaction():  # a savepoint's release is no commit
            session.info[_CHANGED] = set()
            if _is_registered():
                get_state().topup.changed(changed)

    def rolled_back(self, session: Any) -> None:
        """Forget it all."""
        session.info.pop(_NEW, None)
        if not session.in_nested_transaction():
            session.info[_CHANGED] = set()


def _guard(models: Models) -> None:
    """Let what an app changes through the ORM be refused as a call would be: what is stale, overlaps, or is counted."""
    template, slot, booking, clock = models.Template, models.Slot, models.Booking, models.Slot.rolling_clock

    def before(session: Any, row: TemplateMixin) -> None:
        if guards.is_changed(row):
            storage.check_unchanged(session, models, row)
            guards.check_neighbours(session, models, row)
            now = get_state().clock() if _is_registered() else clock()
            history.before_change(Work.writing(session, models, current_settings(), now), row)
            resources.begin_claim(session, models, row, clock())
            guards.keep_names(session, models, row, clock())

    def after(session: Any, row: TemplateMixin) -> None:
        resources.check_sharing(session, models, row, clock())
        resources.check_claim(session, models, row, clock())

    _listen(template, "before_insert", lambda session, row: resources.begin_sharing(session, models, row))
    _listen(
        template, "after_insert", lambda session, row: resources.check_sharing(session, models, row, clock())
    )
    _listen(template, "before_update", before)
    _listen(template, "after_update", after)
    _listen(slot, "before_update", lambda session, row: guards.check_slot(row))
    _listen(slot, "before_update", lambda session, row: resources.begin_stay(session, models, row))
    _listen(slot, "after_update", lambda session, row: resources.check_stay(session, models, row, clock()))
    _listen(booking, "before_insert", lambda session, row: guards.check_new_booking(row))
    _listen(booking, "before_update", lambda session, row: guards.check_booking(row))
    _listen(template, "before_delete", lambda session, row: guards.check_template_gone(session, models, row))
    _listen(slot, "before_delete", lambda session, row: guards.check_slot_gone(session, models, row))
    _listen(booking, "before_delete", lambda session, row: guards.check_booking_gone(session, models, row))


def _listen(cls: type[Any], moment: str, act: Callable[[Any, Any], None]) -> None:
    """Call a function with session and row when a row of a class is flushed."""

    def listener(mapper: Any, connection: Any, row: Any) -> None:
        session = object_session(row)
        if session is not None:
            act(session, row)

    event.listen(cls, moment, listener)
