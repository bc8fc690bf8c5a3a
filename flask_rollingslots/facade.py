"""RollingSlots: everything that an app can ask for. Each call hands one piece of work to the room that does it."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from flask import Blueprint, Flask, current_app

from . import booking as bookings
from . import browsing, series
from .browsing import key_of
from .errors import ConfigError, refusal
from .extension import EXTENSION, AppState, default_timezone, get_state, names_what_is_broken, set_up
from .feeds import revoke_feed_secret
from .health import Explanation, Finding, HealthReport, check_health, explain
from .loading import id_of
from .models import Models, make_models
from .pruning import PruneRequest, prune
from .queue import Distributor
from .statistics import Stats, gather
from .topup import TopUpRequest
from .values import Report, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date, datetime, timedelta

    from .context import Work
    from .extension import Authorize
    from .models import BookingMixin, RunMixin, SlotMixin, TemplateMixin
    from .pruning import Archive
    from .series import CancelledKeys, EditPlan, SeriesReport, SwitchReport, TemplateChange
    from .values import PruneReport

    Key = str | SlotMixin
    TemplateOrId = TemplateMixin | int
    Text = str | None
    This = Literal["this", "this_only"]
    Wide = Literal["this_and_future", "all"]
    Ended = SlotMixin | SeriesReport

    class How(TypedDict, total=False):
        """How something is decided, see :class:`RollingSlots`."""

        revision: int | None
        dry_run: bool


@names_what_is_broken
class RollingSlots:
    """Keeps bookable slots always there.

    All calls that decide or book join the app's session, flush, and leave the commit to the app. With ``dry_run`` a
    call returns what it would, writes nothing, locks nothing and sends no signal. With ``revision`` (of the template,
    as the person who decides saw it) a call raises ``StaleEdit`` if somebody changed it since. A refused call writes
    nothing.

    Every call raises ``InvalidRequest``, which names argument, value and what is expected, for what makes no sense,
    ``InvalidKey`` (one of them) for what is no ``<series id>@<YYYYMMDDTHHMM>``, and ``TemplateNotFound``,
    ``SlotNotFound`` or ``BookingNotFound`` for what is not there. ``key`` is a key or a slot everywhere, ``template``
    and ``booking`` an instance or its id.

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
        self._models: Models | None = None
        if db is not None:
            self._models = self._make_models(db)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up one app: settings, models, the hook and the ``flask slots`` commands.

        :raises ConfigError: if the app is set up wrongly, or twice.
        """
        state = set_up(app, self, self._make_models, self._db, self._cache, self._clock, self._archive)
        self._apps.add(app)
        from .cli import slots_group  # the doors stand above this room, and call it

        app.cli.add_command(slots_group)
        if state.settings.api_prefix is not None:
            app.register_blueprint(self.api, url_prefix=state.settings.api_prefix)

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
        known = self._models or self._given
        if isinstance(known, Models):
            return known
        return make_models(db, known, clock=self._clock, default_timezone=default_timezone)

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

    # -- reading -------------------------------------------------------------------------------------------

    def between(
        self, start: datetime, end: datetime, template: TemplateOrId | None = None, group: str | None = None
    ) -> list[SlotMixin]:
        """Return the slots with ``start <= starts_at < end``, sorted, stored and virtual ones merged.

        :param start: aware, like ``end``.
        :param template: its whole series.
        """
        number = _id_or_none(template)
        _check_group(group)
        self.ensure(number)
        work = self._state.reading()
        return self._healed(work, browsing.between(work, start, end, number, group))

    def upcoming(self, template: TemplateOrId, n: int = 5, after: datetime | None = None) -> list[SlotMixin]:
        """Return the next ``n`` slots that start after a moment (now by default).

        :param after: aware.
        :raises InvalidRequest: if ``n`` is not between 1 and ``ROLLINGSLOTS_PREVIEW_MAX``.
        """
        work, number = self._state.reading(), id_of(template)
        _check_upcoming(n, after, work.settings.preview_max)
        self.ensure(number)
        return self._healed(work, browsing.upcoming(work, number, n, after))

    def _healed(self, work: Work, slots: list[SlotMixin]) -> list[SlotMixin]:
        lacking = browsing.holes(work, slots)
        if lacking:
            self._state.topup.hole(lacking)
        return slots

    def get(self, key: Key) -> SlotMixin:
        """Return the slot at a key, stored or virtual."""
        return browsing.get(self._state.reading(), key)

    def materialize(self, key: Key) -> SlotMixin:
        """Return the row at a key, and make it in the app's session if it is still virtual; idempotent.

        :raises SlotNotFound: if the rule has no such start, or a virtual slot has ended.
        """
        return browsing.materialize(self._state.writing(), key)

    def preview_template(self, n: int = 5, after: datetime | None = None, **fields: Any) -> list[SlotMixin]:
        """Return the next ``n`` slots that a template with these fields would have; nothing is stored.

        :param after: aware; now by default.
        :param n: 1 to ``ROLLINGSLOTS_PREVIEW_MAX``.
        :param fields: as for :meth:`create_template`. The slots are virtual and have no ``key`` yet.
        :raises: as :meth:`create_template`.
        """
        work = self._state.reading()
        _check_upcoming(n, after, work.settings.preview_max)
        return browsing.preview(work, series.draft(work, fields), n, after)

    def reminders(self, since: datetime, until: datetime | None = None) -> list[SlotMixin]:
        """Return the booked slots whose ``reminder_at`` lies after ``since`` and not after ``until``, by start.

        Ask with the ``until`` of the last time as ``since``: nobody is then reminded twice or forgotten.

        :param since: aware, like ``until``, which is now by default.
        """
        return browsing.due_reminders(self._state.reading(), since, until)

    # -- decisions about templates -------------------------------------------------------------------------

    def create_template(self, *, dry_run: bool = False, **fields: Any) -> TemplateMixin:
        """Add a template to the app's session; after the app's commit it is topped up in the background.

        :param fields: see the documentation of templates; ``name``, ``dtstart`` and ``duration`` are needed.
        :raises InvalidTemplate: names the field, the value and what is expected.
        :raises InvalidRule: if the rule, the zone or the day grid is not valid.
        """
        with self._deciding(dry_run) as work:
            return series.create(work, fields)

    def change_template(
        self,
        template: TemplateOrId,
        revision: int | None = None,
        move_booked: bool = False,
        dry_run: bool = False,
        **fields: Any,
    ) -> TemplateChange:
        """Change fields of a whole series, all of its segments: its settings, and what :meth:`edit` can change of all.

        :param move_booked: give booked slots their new times too.
        :param fields: as for :meth:`create_template`; ``data`` is merged, name by name.
        :raises: as :meth:`create_template`.
        """
        with self._deciding(dry_run) as work:
            return series.change_series(work, id_of(template), fields, revision, move_booked)

    def activate(
        self, template: TemplateOrId | None = None, group: str | None = None, dry_run: bool = False
    ) -> SwitchReport:
        """Switch a series, or all templates of a group, on.

        :raises InvalidRequest: unless exactly one of both is given.
        """
        with self._deciding(dry_run) as work:
            return series.set_active(work, True, _id_or_none(template), group)

    def deactivate(
        self, template: TemplateOrId | None = None, group: str | None = None, dry_run: bool = False
    ) -> SwitchReport:
        """Switch a series, or all templates of a group, off: nothing is shown or bookable, rows stay.

        :raises InvalidRequest: unless exactly one of both is given.
        """
        with self._deciding(dry_run) as work:
            return series.set_active(work, False, _id_or_none(template), group)

    def cancel_future(
        self,
        template: TemplateOrId,
        from_date: date | datetime,
        reason: str | None = None,
        revision: int | None = None,
        dry_run: bool = False,
    ) -> SeriesReport:
        """Cancel all slots of a template's series from a moment on; :meth:`restore_series` takes it back.

        :param from_date: a day of the template's zone, or an aware datetime; what has started stays.
        """
        with self._deciding(dry_run, template=template, revision=revision) as work:
            return series.cancel_future(work, id_of(template), from_date, reason)

    def delete_series(
        self, template: TemplateOrId, revision: int | None = None, dry_run: bool = False
    ) -> SeriesReport:
        """Hide all slots of a template's series that have not started; :meth:`restore_series` takes it back.

        Booked and completed ones stay and are reported. The template stays too: its keys are for ever.
        """
        with self._deciding(dry_run, template=template, revision=revision) as work:
            return series.delete_series(work, id_of(template))

    def restore_series(
        self, template: TemplateOrId, revision: int | None = None, dry_run: bool = False
    ) -> SeriesReport:
        """Take back that a series was cancelled or deleted; single cancelled or deleted slots stay as they are."""
        with self._deciding(dry_run, template=template, revision=revision) as work:
            return series.restore_series(work, id_of(template))

    def cancel_date(
        self, group: str, day: date, reason: str | None = None, dry_run: bool = False
    ) -> CancelledKeys:
        """Cancel one local day of all templates of a group, also of those that are switched off.

        What is over by now stays as it is, and so does what was cancelled before.

        :param day: in each template's own zone.
        :return: the keys of the slots, a list; its ``bookings`` are the live ones in them: whom to tell. Each slot
            sends ``slot_cancelled``, as :meth:`cancel` does.
        """
        with self._deciding(dry_run) as work:
            return series.cancel_date(work, group, day, reason)

    # -- decisions about slots -----------------------------------------------------------------------------

    def edit(
        self,
        key: Key,
        scope: str,
        revision: int | None = None,
        move_booked: bool = False,
        dry_run: bool = False,
        **changes: Any,
    ) -> EditPlan:
        """Change a slot, this and all later ones, or all of a series.

        ``this`` changes the slot, and its changed fields are remembered: wider edits leave them alone. Wider scopes
        change the series: a constant difference in time keeps all keys. Completed, cancelled and past slots stay as
        they are; booked ones keep their times and are told in ``kept_booked``.

        :param scope: ``this`` (or ``this_only``), ``this_and_future`` or ``all``.
        :param move_booked: give booked slots their new times too.
        :param changes: ``start`` (naive wall-clock time in the template's zone, or a time of that day),
            ``duration``, ``capacity``, ``data`` (merged); in wide scopes also ``rrule`` (taken literally: without
            COUNT and UNTIL it has no end) and ``name``.
        :raises InvalidRule: if the new rule is not valid.
        :raises SlotBooked: with ``this``, if the slot is booked and would be moved or have too few places.
        :raises StatusConflict: with ``this``, if the slot is cancelled, completed or over.
        :raises SlotClosed: with ``move_booked``, if its bookings would overlap with others on an exclusive resource;
            a dry run is refused alike.
        """
        with self._deciding(dry_run) as work:
            found = series.check_scope(scope)
            return series.edit(work, key_of(key), found, changes, revision, move_booked)

    def preview_edit(self, key: Key, scope: str, move_booked: bool = False, **changes: Any) -> EditPlan:
        """Return what :meth:`edit` would create, change, remove and keep, with the revision; nothing is written.

        The same code computes it. Hand the result to :meth:`apply_edit`, or its ``revision`` to :meth:`edit`.
        """
        return self.edit(key, scope, move_booked=move_booked, dry_run=True, **changes)

    def apply_edit(self, preview: EditPlan) -> EditPlan:
        """Write exactly what a preview showed.

        :raises StaleEdit: if the series, its slots or their bookings changed since, or a slot has started.
        """
        with self._deciding() as work:
            return series.apply_edit(work, preview)

    @overload
    def cancel(
        self, key: Key, scope: This = "this", reason: Text = None, **how: Unpack[How]
    ) -> SlotMixin: ...
    @overload
    def cancel(self, key: Key, scope: Wide, reason: Text = None, **how: Unpack[How]) -> SeriesReport: ...
    @overload
    def cancel(self, key: Key, scope: str, reason: Text = None, **how: Unpack[How]) -> Any: ...
    def cancel(
        self,
        key: Key,
        scope: str = "this",
        reason: str | None = None,
        *,
        revision: int | None = None,
        dry_run: bool = False,
    ) -> Ended:
        """Cancel slots: stored ones stay visible as cancelled, and no top-up brings anything back.

        With a wide scope booked slots are cancelled too (``booked`` in the report names them), and later slots no
        longer appear. The rule stays, so that :meth:`restore` takes it all back.

        :param scope: ``this`` returns the slot, whose ``affected_bookings`` lists the live ones;
            ``this_and_future`` and ``all`` return a report. What has started stays.
        :raises StatusConflict: with ``this``, if it is completed, deleted or over.
        """
        with self._deciding(dry_run, key, revision) as work:
            return series.cancel(work, key_of(key), series.check_scope(scope), reason)

    @overload
    def delete(self, key: Key, scope: This = "this", **how: Unpack[How]) -> SlotMixin: ...
    @overload
    def delete(self, key: Key, scope: Wide, **how: Unpack[How]) -> SeriesReport: ...
    @overload
    def delete(self, key: Key, scope: str, **how: Unpack[How]) -> Any: ...
    def delete(
        self, key: Key, scope: str = "this", *, revision: int | None = None, dry_run: bool = False
    ) -> Ended:
        """Hide slots; no top-up brings them back. A wide scope keeps booked and completed ones and reports them.

        :param scope: ``this`` returns the (hidden) slot; ``this_and_future`` and ``all`` a report.
        :raises SlotBooked: with ``this``, if it is booked.
        :raises StatusConflict: with ``this``, if it is completed or over.
        """
        with self._deciding(dry_run, key, revision) as work:
            return series.delete(work, key_of(key), series.check_scope(scope))

    @overload
    def restore(self, key: Key, scope: This = "this", **how: Unpack[How]) -> SlotMixin: ...
    @overload
    def restore(self, key: Key, scope: Wide, **how: Unpack[How]) -> SeriesReport: ...
    @overload
    def restore(self, key: Key, scope: str, **how: Unpack[How]) -> Any: ...
    def restore(
        self, key: Key, scope: str = "this", *, revision: int | None = None, dry_run: bool = False
    ) -> Ended:
        """Bring cancelled or deleted slots back, with the times, capacity and data that their series has by now.

        What a person changed on a slot stays so; a booked one keeps its time, and at least the places that are taken.

        With a wide scope: what was cancelled or deleted with the series; slots that were cancelled for themselves
        stay cancelled, except the one at the key. What has bookings while another one has its exclusive resource by
        now stays as it is, and is told in ``kept_booked``.

        :param scope: ``this`` returns the slot; ``this_and_future`` and ``all`` a report.
        :raises StatusConflict: with ``this``, if it is completed or over, or its time is taken.
        :raises SlotClosed: with ``this``, if it has bookings and another one has its exclusive resource by now.
        """
        with self._deciding(dry_run, key, revision) as work:
            return series.restore(work, key_of(key), series.check_scope(scope))

    def complete(self, key: Key, revision: int | None = None, dry_run: bool = False) -> SlotMixin:
        """Mark one slot as completed, whether it is over, running or still to come; no other slot changes.

        A completed slot is never changed again by any edit or cancellation.

        :raises StatusConflict: if it is cancelled or deleted.
        """
        with self._deciding(dry_run, key, revision) as work:
            return series.complete(work, key_of(key))

    # -- booking -------------------------------------------------------------------------------------------

    def book(
        self, key: Key, party: int = 1, who: str | None = None, idempotency_key: str | None = None
    ) -> BookingMixin:
        """Take places in a slot, stored or virtual, in the app's session; the app commits.

        :param party: how many places.
        :param idempotency_key: unique per ``who``: the same request again returns the same booking.
        :raises SlotFull: if too few places are left.
        :raises SlotClosed: if it cannot be booked now: too early, too late, cancelled, or its resource is taken.
        :raises IdempotencyConflict: if the key was used for another booking.
        """
        with self._deciding() as work:
            return bookings.book(work, key, party, who, idempotency_key)

    def hold(
        self,
        key: Key,
        party: int = 1,
        who: str | None = None,
        idempotency_key: str | None = None,
        minutes: float = 10,
    ) -> BookingMixin:
        """Take places for some minutes, such as while somebody pays; then ``confirm`` or ``release`` them.

        From ``booking.expires_at`` on the places are free again, with no job behind it.

        :param minutes: above 0, at most a week.
        :raises: as :meth:`book`.
        """
        with self._deciding() as work:
            return bookings.hold(work, key, party, who, idempotency_key, minutes)

    def confirm(self, booking: BookingMixin | int) -> BookingMixin:
        """Make a hold a booking, also after booking closed; a second time changes nothing. The app commits.

        :raises HoldExpired: from ``expires_at`` on.
        :raises SlotClosed: if the slot was cancelled, deleted or completed meanwhile.
        :raises StatusConflict: if the hold was released.
        """
        with self._deciding() as work:
            return bookings.confirm(work, booking)

    def release(self, booking: BookingMixin | int) -> BookingMixin:
        """Give the places of a booking or a hold back; a second time changes nothing. The app commits."""
        with self._deciding() as work:
            return bookings.release(work, booking)

    def move(self, booking: BookingMixin | int, key: Key) -> BookingMixin:
        """Move a booking or a hold to another slot, and return the booking there; the app commits.

        The new places are taken before the old ones are given back: if it is refused, the booking stays where it is.
        The old booking is kept as ``released``; ``replaces_id`` of the new one names it. Repeating the call returns
        the same booking.

        :param key: the slot to move to, stored or virtual.
        :raises StatusConflict: if it is released or expired.
        :raises SlotFull: if too few places are left there.
        :raises SlotClosed: if the new slot cannot be booked now.
        """
        with self._deciding() as work:
            return bookings.move(work, booking, key)

    # -- topping up ----------------------------------------------------------------------------------------

    def ensure(self, template: TemplateOrId | None = None) -> None:
        """Let a top-up look at a template, or at all, if it was not looked at within the last hour.

        Costs nothing otherwise and never waits; the readers of this class call it by themselves.
        """
        topup, number = self._state.topup, _id_or_none(template)
        topup.view(() if number is None else (number,))

    def generate(
        self,
        days: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        template: TemplateOrId | None = None,
        group: str | None = None,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Report:
        """Fill now, in this thread and in a session of its own.

        :param days: local days from today, 1 to 3,660; by default each template's own window.
        :param start: aware, like ``end``; in the past: past slots are created too.
        :param dry_run: count what would be done, and write nothing.
        :param progress: called with (done, total) after each chunk.
        :raises TopUpBusy: if another top-up does not end within twice the lease.
        :raises UncommittedChanges: on SQLite, if the app's session holds uncommitted changes.
        """
        request = TopUpRequest("manual", days, start, end, _id_or_none(template), group, dry_run, progress)
        return self._state.topup.runner.generate(request)

    def work(self, message: dict[str, Any]) -> None:
        """Do what a message of the queue asks for, as it was given to ``send``: for workers, see ``QueueExecutor``."""
        Distributor(self._state.topup).work(message)

    def prune(
        self,
        older_than: timedelta | int | datetime,
        archive: Archive | None = None,
        include_booked: bool = False,
        batch: int = 1000,
        dry_run: bool = False,
    ) -> PruneReport:
        """Delete unbooked slots that ended long ago, and old runs, in batches and in a session of its own.

        They do not come back: the past has no virtual slots, and ``generate`` refuses to fill what was pruned.

        :param older_than: a span before now, whole days before now, or an aware moment that has passed.
        :param archive: called with each batch before it is deleted: a list of dicts, one for each slot with its
            ``bookings``. If it raises, its batch stays. After a crash it may get a batch again. By default the
            ``archive`` that the extension was given.
        :param include_booked: booked and completed slots too, with their bookings.
        :param batch: slots at a time, 1 to 10,000.
        :param dry_run: count what would go, and delete nothing.
        :raises: as :meth:`generate`.
        """
        state = self._state
        runner = state.topup.runner
        archive = archive if archive is not None else runner.archive
        request = PruneRequest.make(older_than, state.clock(), archive, include_booked, batch, dry_run)
        return prune(runner, request)

    # -- knowledge -----------------------------------------------------------------------------------------

    def runs(self, template: TemplateOrId | None = None, limit: int = 50) -> list[RunMixin]:
        """Return the recorded top-ups, the ``limit`` newest first; of one template: those that touched it.

        ``run.results`` holds the counts of each template and group in which something happened.
        """
        return browsing.runs(self._state.reading(), _id_or_none(template), limit)

    def stats(
        self,
        template: TemplateOrId | None = None,
        group: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Stats:
        """Count the stored slots by template and group, by weekday and hour; three queries.

        :param template: its whole series.
        :param start: aware; only slots that start then or later.
        :param end: aware; only slots that start earlier.
        """
        _check_group(group)
        return gather(self._state.reading(), _id_or_none(template), group, start, end)

    def explain(self, template: TemplateOrId, moment: datetime) -> Explanation:
        """Say why there is, or is not, a slot of a template's series at a moment: a code and a sentence.

        :param moment: aware; the start of the slot in question.
        """
        return explain(self._state.reading(), id_of(template), moment)

    def health(self) -> HealthReport:
        """Return the coverage of the window: is every promised slot stored?"""
        # By what is missing somebody decides: a replica that lags would cry wolf.
        return check_health(self._state.writing())

    def doctor(self) -> list[Finding]:
        """Return what is wrong with the deployment and what to do about it, the gravest first."""
        return self._state.examine()

    def feed_url(self, group: str | None = None) -> str:
        """Return the secret address of a group's calendar, for programs that can send no header.

        Whoever has it sees the slots of this group, and nothing else, until ``revoke_feed_url``. The same address
        each time: nothing of it is stored. Outside of a request the app needs ``SERVER_NAME``.

        :param group: whose slots; ``None``: those of all templates.
        :raises ConfigError: without ``SECRET_KEY``, the HTTP API or icalendar.
        """
        from .api import secret_address  # with the extra only

        _check_group(group)
        return secret_address(self._state.app, self._state.reading(), group)

    def revoke_feed_url(self, group: str | None = None) -> None:
        """Withdraw the address that ``feed_url`` gave for a group, in the app's session; the app commits.

        All others go on. ``feed_url`` returns a new one from then on.
        """
        _check_group(group)
        revoke_feed_secret(self._state.writing(), group)

    # -- inside --------------------------------------------------------------------------------------------

    @property
    def _state(self) -> AppState:
        return get_state()

    @contextmanager
    def _deciding(
        self,
        dry_run: bool = False,
        key: Key | None = None,
        revision: int | None = None,
        template: TemplateOrId | None = None,
    ) -> Iterator[Work]:
        """Give a work that decides, at the revision that a person saw; tell what was done once it is done.

        :param key: the slot, or ``template``: the template, whose revision it is.
        """
        work = self._state.writing(dry_run)
        if revision is not None and template is not None:
            series.change_template(work, id_of(template), {}, revision)
        elif revision is not None and key is not None:
            series.check_revision(work, key_of(key), revision)
        yield work
        if not dry_run:
            work.outbox.send(self._state.app)


def _id_or_none(template: TemplateOrId | None) -> int | None:
    return None if template is None else id_of(template)


def _check_group(group: str | None) -> None:
    if group is not None and not isinstance(group, str):
        raise refusal("group", group, "a text")


def _check_upcoming(n: int, after: datetime | None, most: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= most:
        raise refusal("n", n, f"a whole number from 1 to {most}")
    if after is not None:
        browsing.check_aware(after=after)
