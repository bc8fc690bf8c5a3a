"""RollingSlots: a thin facade over the rooms below, with one state for each app."""

from __future__ import annotations

import weakref
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, current_app

from . import series
from .arguments import check_group, check_upcoming, template_id
from .browsing import holes
from .calls import BookingCalls, FeedCalls, KeepingCalls
from .decisions import Decisions
from .errors import ConfigError, NotRegistered
from .executors import AfterResponseExecutor, make_executor
from .health import Explanation, Finding, HealthReport, check_health, explain
from .models import Models, SlotMixin, TemplateMixin, make_models
from .settings import Settings
from .state import AppState
from .topup import FillRequest, Runner, TopUp
from .values import Report, utc_now
from .wiring import create_tables, find_cache, find_db, listen_for_changes, names_what_is_broken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from .models import BookingMixin, RunMixin
    from .retention import Archive
    from .state import Authorize

EXTENSION = "rollingslots"


@names_what_is_broken
class RollingSlots(Decisions, BookingCalls, FeedCalls, KeepingCalls):
    """Keeps bookable slots always there.

    :param app: the app; or call ``init_app`` later.
    :param db: the app's Flask-SQLAlchemy object; by default the one on the app, or our own SQLite file.
    :param cache: the app's Flask-Caching object; by default the one on the app.
    :param models: the app's own classes made from the mixins: a mapping such as ``{"Slot": MySlot}``.
    :param archive: gets each batch of past slots before ``ROLLINGSLOTS_RETENTION_DAYS`` or ``prune`` deletes it.
    :param authorize: decides about requests to the HTTP API; see :meth:`authorize`.
    :param clock: returns the current time, aware; for tests.
    :raises ConfigError: if the app is set up wrongly; the text says what to change.
    """

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
        self._archive, self._authorize = archive, authorize
        self._db, self._cache, self._given, self._clock = db, cache, models, clock
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        self._models = self._make_models(db) if db is not None else None
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
        models = self._models or self._make_models(db)
        runner = Runner(app, db, models, settings, self._clock, self._archive)
        topup = TopUp(runner, make_executor(settings.executor), find_cache(app, self._cache))
        topup.executor.bind(app)
        app.extensions[EXTENSION] = AppState(app, db, models, settings, topup, self._clock, self)
        self._apps.add(app)
        listen_for_changes(db, models, _after_commit)
        if is_ours:
            create_tables(app, db, models, wal=True)
        _add_hook(app, topup)
        from .cli import slots_group  # the one import inside a floor: the commands need the extension

        app.cli.add_command(slots_group)
        if settings.api_prefix is not None:
            app.register_blueprint(self.api, url_prefix=settings.api_prefix)

    @cached_property
    def api(self) -> Blueprint:
        """The HTTP API, for ``app.register_blueprint(slots.api, url_prefix="/api")``; see docs/http.md.

        ``ROLLINGSLOTS_API_PREFIX`` mounts it by itself.

        :raises ConfigError: if pydantic is not installed; names the extra.
        """
        try:
            from .api import make_blueprint  # with the extra only
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "pydantic":
                raise
            raise ConfigError(
                "the HTTP API needs the pydantic package: pip install 'Flask-RollingSlots[api]'"
            ) from error
        return make_blueprint()

    def authorize(self, decide: Authorize) -> Authorize:
        """Let a function of the app decide about requests to the HTTP API that send no token; a decorator.

        :param decide: called inside the request with an action (``read``, ``book``, ``edit``, ``create``,
            ``top_up``) and a template, or ``None`` where all templates are meant. It returns ``True``, ``False``, or
            a name: in that person's name alone bookings may then be made and seen. What may not be read is "not
            found" for the sender, and left out of lists.
        """
        self._authorize = decide
        return decide

    def _make_models(self, db: Any) -> Models:
        if isinstance(self._given, Models):
            return self._given
        return make_models(db, self._given, clock=self._clock, default_timezone=_default_timezone)

    # -- state ---------------------------------------------------------------------------------------------

    @property
    def _state(self) -> AppState:
        return get_state()

    def _get_models(self) -> Models:
        if self._models is not None:
            return self._models
        if not current_app and len(self._apps) == 1:
            state: AppState = next(iter(self._apps)).extensions[EXTENSION]
            return state.models
        return self._state.models

    @property
    def Template(self) -> type[TemplateMixin]:
        """The template class, on the app's own ``db.Model``."""
        return self._get_models().Template

    @property
    def Slot(self) -> type[SlotMixin]:
        """The slot class."""
        return self._get_models().Slot

    @property
    def Booking(self) -> type[BookingMixin]:
        """The booking class."""
        return self._get_models().Booking

    @property
    def Run(self) -> type[RunMixin]:
        """The class of recorded top-ups."""
        return self._get_models().Run

    @property
    def db(self) -> Any:
        """The app's Flask-SQLAlchemy object, or the one that the library brought; ``db.session`` is yours to commit."""
        return self._db if self._db is not None else self._state.db

    @property
    def models(self) -> Models:
        """All model classes."""
        return self._get_models()

    # -- templates and slots -------------------------------------------------------------------------------

    def create_template(self, **fields: Any) -> TemplateMixin:
        """Add a template to the app's session; after the app's commit it is topped up in the background.

        :param fields: see the documentation of templates; ``name``, ``dtstart`` and ``duration`` are needed.
        :raises InvalidTemplate: names the field, the value and what is expected.
        :raises InvalidRule: if the rule, the zone or the day grid is not valid.
        """
        state = self._state
        return series.create(state.writing(), fields)

    def preview_template(self, n: int = 5, after: datetime | None = None, **fields: Any) -> list[SlotMixin]:
        """Return the next ``n`` slots that a template with these fields would have; nothing is stored.

        :param after: aware; now by default.
        :param fields: as for :meth:`create_template`. The slots are virtual and have no ``key`` yet.
        :raises InvalidRequest: if ``n`` is not between 1 and ``ROLLINGSLOTS_PREVIEW_MAX``.
        :raises InvalidTemplate: names the field, the value and what is expected.
        :raises InvalidRule: if the rule, the zone or the day grid is not valid.
        """
        state = self._state
        check_upcoming(n, after, state.settings.preview_max)
        return state.browser().promised(series.draft(state.reading(), fields), n, after)

    def between(
        self,
        start: datetime,
        end: datetime,
        template: TemplateMixin | int | None = None,
        group: str | None = None,
    ) -> list[SlotMixin]:
        """Return the slots with ``start <= starts_at < end``, sorted, stored and virtual ones merged.

        :param start: aware.
        :param end: aware.
        :param template: a template or its id: its whole series.
        :raises InvalidRequest: if a bound is naive, or the end is before the start.
        :raises TemplateNotFound: if there is no such template.
        """
        state, number = self._state, template_id(template)
        check_group(group)
        self.ensure(template)
        slots = state.browser().between(start, end, number, group)
        self._heal(state, slots)
        return slots

    def upcoming(
        self, template: TemplateMixin | int, n: int = 5, after: datetime | None = None
    ) -> list[SlotMixin]:
        """Return the next ``n`` slots that start after a moment (now by default).

        :param after: aware.
        :raises InvalidRequest: if ``n`` is not between 1 and ``ROLLINGSLOTS_PREVIEW_MAX``.
        :raises TemplateNotFound: if there is no such template.
        """
        state, number = self._state, template_id(template)
        check_upcoming(n, after, state.settings.preview_max)
        self.ensure(template)
        slots = state.browser().upcoming(number or 0, n, after)
        self._heal(state, slots)
        return slots

    @staticmethod
    def _heal(state: AppState, slots: list[SlotMixin]) -> None:
        settings = state.settings
        lacking = holes(slots, state.clock(), settings.window_days, settings.align)
        if lacking:
            state.topup.hole(lacking)

    def get(self, key: str | SlotMixin) -> SlotMixin:
        """Return the slot at a key, stored or virtual.

        :param key: the key, or a slot.
        :raises InvalidKey: if the key has another form than ``<series id>@<YYYYMMDDTHHMM>``.
        :raises SlotNotFound: if there is no such slot.
        """
        return self._state.browser().get(key)

    def materialize(self, key: str | SlotMixin) -> SlotMixin:
        """Return the row at a key, and make it in the app's session if it is still virtual; idempotent.

        :raises InvalidKey: if the key has another form.
        :raises SlotNotFound: if the rule has no such start, or a virtual slot has ended.
        """
        return self._state.writer().materialize(key)

    def ensure(self, template: TemplateMixin | int | None = None) -> None:
        """Let a top-up look at a template, or at all, if it was not looked at within the last hour.

        Costs nothing otherwise and never waits; the readers of this class call it by themselves.
        """
        topup, number = self._state.topup, template_id(template)
        topup.view(() if number is None else (number,))

    def generate(
        self,
        days: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        template: TemplateMixin | int | None = None,
        group: str | None = None,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Report:
        """Fill now, in this thread and in a session of its own.

        :param days: local days from today, 1 to 3,660; by default each template's own window.
        :param start: aware; in the past: past slots are created too.
        :param end: aware.
        :param dry_run: count what would be done, and write nothing.
        :param progress: called with (done, total) after each chunk.
        :raises InvalidRequest: if an argument makes no sense.
        :raises TemplateNotFound: if there is no such template or group.
        :raises TopUpBusy: if another top-up does not end within twice the lease.
        :raises UncommittedChanges: on SQLite, if the app's session holds uncommitted changes.
        """
        request = FillRequest("manual", days, start, end, template_id(template), group, dry_run, progress)
        return self._state.topup.runner.generate(request)

    def work(self, message: dict[str, Any]) -> None:
        """Do what a message of the queue asks for: for workers, see ``QueueExecutor``.

        :param message: as it was given to ``send``.
        :raises InvalidRequest: if it is no such message.
        """
        self._state.topup.distributor.work(message)

    # -- knowledge -----------------------------------------------------------------------------------------

    def health(self) -> HealthReport:
        """Return the coverage of the window: is every promised slot stored?"""
        state = self._state
        return check_health(state.writing_session(), state.models, state.settings, state.clock())

    def doctor(self) -> list[Finding]:
        """Return what is wrong with the deployment and what to do about it, the gravest first."""
        return self._state.examine()

    def explain(self, template: TemplateMixin | int, moment: datetime) -> Explanation:
        """Say why there is, or is not, a slot of a template's series at a moment: a code and a sentence.

        :param moment: aware; the start of the slot in question.
        :raises InvalidRequest: if the moment is naive.
        :raises TemplateNotFound: if there is no such template.
        """
        state = self._state
        return explain(state.db.session(), state.models, state.clock(), template_id(template) or 0, moment)


def get_state() -> AppState:
    """Return the state of the current app.

    :raises NotRegistered: outside an app context, or if the app has no RollingSlots.
    """
    if not current_app:
        raise NotRegistered(
            "no app: use RollingSlots inside a request, a command, or `with app.app_context():`"
        )
    state = current_app.extensions.get(EXTENSION)
    if not isinstance(state, AppState):
        raise NotRegistered
    return state


def _default_timezone() -> str:
    registered = current_app and EXTENSION in current_app.extensions
    return get_state().settings.timezone if registered else "UTC"


def _after_commit(template_ids: set[int]) -> None:
    if current_app and EXTENSION in current_app.extensions:
        get_state().topup.changed(template_ids)


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
