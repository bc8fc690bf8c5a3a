"""RollingSlots: everything that an app can ask for. Each call hands one piece of work to the room that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from . import browsing, feeds
from .booking import lifecycle, taking
from .context import Work, id_of, id_or_none
from .extension import Extension, get_state, names_what_is_broken
from .feeds import Calendar, Exported, Imported, SecretFeed
from .health import Explanation, Finding, HealthReport, check_health, explain
from .models import BookingMixin, RunMixin, SlotMixin, TemplateMixin
from .pruning import Archive, PruneRequest, prune
from .queue import Distributor, order
from .recurrence import template_fields
from .series import edits, endings, templates
from .series.edits import EditPlan
from .series.endings import CancelledKeys, SeriesReport
from .series.templates import SwitchReport, TemplateChange
from .statistics import Figures, Stats, gather
from .topup import TopUpRequest
from .values import PruneReport, Report, check_scope, key_of

__all__ = [
    "Calendar", "CancelledKeys", "EditPlan", "Explanation", "Exported", "Figures", "Finding", "HealthReport",
    "Imported", "RollingSlots", "SecretFeed", "SeriesReport", "Stats", "SwitchReport", "TemplateChange",
    "current_slots",
]  # fmt: skip

if TYPE_CHECKING:
    Key = str | SlotMixin
    Sees = Callable[[TemplateMixin], bool]
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
class RollingSlots(Extension):
    """Keeps bookable slots always there.

    All calls that decide or book join the app's session, flush, and leave the commit to the app. With ``dry_run`` a
    call returns what it would, writes nothing, locks nothing and sends no signal. With ``revision`` (of the template,
    as the person who decides saw it) a call raises ``StaleEdit`` if somebody changed it since. A refused call writes
    nothing.

    Every call raises ``InvalidRequest``, which names argument, value and what is expected, for what makes no sense,
    ``InvalidKey`` (one of them) for what is no ``<series id>@<YYYYMMDDTHHMM>``, and ``TemplateNotFound``,
    ``SlotNotFound`` or ``BookingNotFound`` for what is not there. ``key`` is a key or a slot everywhere, ``template``
    and ``booking`` an instance or its id.
    """

    # -- reading -------------------------------------------------------------------------------------------

    def between(
        self,
        start: datetime,
        end: datetime,
        template: TemplateOrId | None = None,
        group: Text = None,
        overlapping: bool = False,
    ) -> list[SlotMixin]:
        """Return the slots with ``start <= starts_at < end``, sorted, stored and virtual ones merged.

        :param start: aware, like ``end``.
        :param template: its whole series.
        :param overlapping: also what began before ``start`` and is not over by then.
        """
        work, number = self._state.reading(), id_or_none(template)
        self.ensure(number)
        return self._healed(work, browsing.between(work, start, end, number, group, overlapping))

    def upcoming(self, template: TemplateOrId, n: int = 5, after: datetime | None = None) -> list[SlotMixin]:
        """Return the next ``n`` slots that start after an aware moment (now by default).

        :raises InvalidRequest: if ``n`` is not between 1 and ``ROLLINGSLOTS_PREVIEW_MAX``.
        """
        work, number = self._state.reading(), id_of(template)
        self.ensure(number)
        return self._healed(work, browsing.upcoming(work, number, n, after))

    def _healed(self, work: Work, slots: list[SlotMixin]) -> list[SlotMixin]:
        if lacking := browsing.holes(work, slots):
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

        :param fields: as for :meth:`create_template`, ``n`` and ``after`` as for :meth:`upcoming`. The slots are
            virtual and have no ``key`` yet.
        """
        work = self._state.reading()
        return browsing.preview(work, templates.draft(work, fields), n, after)

    def get_template(self, template: TemplateOrId) -> TemplateMixin:
        """Return a template by its id, active or not."""
        return browsing.find_template(self._state.reading(), id_of(template))

    def templates(
        self,
        q: str | None = None,
        group: str | None = None,
        active: bool | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[TemplateMixin]:
        """Return templates, by id; those above ``after``.

        :param q: a part of the name, the group or the rule.
        :param start: aware, with ``end``: only of series with a stored or promised slot in that span.
        """
        work = self._state.reading()
        return list(browsing.search(work, q, group, active, start, end, after, limit))

    def segments(self, key: Key) -> list[TemplateMixin]:
        """Return the templates of the series that a slot belongs to, active or not, in order."""
        return browsing.segments_of(self._state.reading(), key_of(key))

    def get_booking(self, booking: BookingMixin | int) -> BookingMixin:
        """Return a booking by its id, live or not."""
        return browsing.find_booking(self._state.reading(), getattr(booking, "id", booking))

    def reminders(self, since: datetime, until: datetime | None = None) -> list[SlotMixin]:
        """Return the booked slots whose ``reminder_at`` lies after ``since`` and not after ``until``, by start.

        Ask with the last ``until`` as ``since``: nobody is then reminded twice or forgotten. Both are aware.
        """
        return browsing.due_reminders(self._state.reading(), since, until)

    def read_recurrence(
        self, recurrence: Any, dtstart: date | None = None, timezone: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the fields that a recurrence as JSON means: one dict, or of a list one for each template it needs.

        :param dtstart: naive, or a day; by default the ``start_date`` in it. The default zone is the app's.
        """
        return template_fields(recurrence, dtstart=dtstart, timezone=timezone or self.settings.timezone)

    # -- decisions about templates -------------------------------------------------------------------------

    def create_template(self, *, dry_run: bool = False, **fields: Any) -> TemplateMixin:
        """Add a template to the app's session; after the app's commit it is topped up in the background.

        :param fields: see the documentation of templates; ``name``, ``dtstart`` and ``duration`` are needed.
        :raises InvalidTemplate: names the field, the value and what is expected.
        :raises InvalidRule: if the rule, the zone or the day grid is not valid.
        """
        with self._deciding(dry_run) as work:
            return templates.create(work, fields)

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
            return templates.change_series(work, id_of(template), fields, revision, move_booked)

    def activate(
        self, template: TemplateOrId | None = None, group: str | None = None, dry_run: bool = False
    ) -> SwitchReport:
        """Switch a series, or all templates of a group (one of both), on."""
        with self._deciding(dry_run) as work:
            return templates.set_active(work, True, id_or_none(template), group)

    def deactivate(
        self, template: TemplateOrId | None = None, group: str | None = None, dry_run: bool = False
    ) -> SwitchReport:
        """Switch a series, or all templates of a group (one of both), off: nothing is shown or bookable, rows stay."""
        with self._deciding(dry_run) as work:
            return templates.set_active(work, False, id_or_none(template), group)

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
            return endings.cancel_future(work, id_of(template), from_date, reason)

    def delete_series(
        self, template: TemplateOrId, revision: int | None = None, dry_run: bool = False
    ) -> SeriesReport:
        """Hide all slots of a template's series that have not started; :meth:`restore_series` takes it back.

        Booked and completed ones stay and are reported. The template stays too: its keys are for ever.
        """
        with self._deciding(dry_run, template=template, revision=revision) as work:
            return endings.delete_series(work, id_of(template))

    def restore_series(
        self, template: TemplateOrId, revision: int | None = None, dry_run: bool = False
    ) -> SeriesReport:
        """Take back that a series was cancelled or deleted; single cancelled or deleted slots stay as they are."""
        with self._deciding(dry_run, template=template, revision=revision) as work:
            return endings.restore_series(work, id_of(template))

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
            return endings.cancel_date(work, group, day, reason)

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
        they are; booked ones keep their times and are told in ``kept_booked``. ``this`` changes ``data`` of past ones.

        :param scope: ``this`` (or ``this_only``), ``this_and_future`` or ``all``.
        :param move_booked: give booked slots their new times too.
        :param changes: ``start`` (naive wall-clock time in the template's zone, or a time of that day),
            ``duration``, ``capacity``, ``data`` (merged); in wide scopes also ``rrule`` (taken literally: without
            COUNT and UNTIL it has no end) and ``name``.
        :raises InvalidRule: if the new rule is not valid.
        :raises SlotBooked: with ``this``, if the slot is booked and would be moved or have too few places.
        :raises StatusConflict: with ``this``, if it is cancelled or completed; if it is over, for all but ``data``.
        :raises SlotClosed: with ``move_booked``, if its bookings would overlap with others on an exclusive resource;
            a dry run is refused alike.
        """
        with self._deciding(dry_run) as work:
            return edits.edit(work, key_of(key), check_scope(scope), changes, revision, move_booked)

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
            return edits.apply_edit(work, preview)

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
        :raises StatusConflict: with ``this``, if it is completed or deleted.
        """
        with self._deciding(dry_run, key, revision) as work:
            return endings.cancel(work, key_of(key), check_scope(scope), reason)

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
        :raises StatusConflict: with ``this``, if it is completed.
        """
        with self._deciding(dry_run, key, revision) as work:
            return endings.delete(work, key_of(key), check_scope(scope))

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
        :raises StatusConflict: with ``this``, if it is completed, or its time is taken.
        :raises SlotClosed: with ``this``, if it has bookings and another one has its exclusive resource by now.
        """
        with self._deciding(dry_run, key, revision) as work:
            return endings.restore(work, key_of(key), check_scope(scope))

    def complete(
        self, key: Key, undo: bool = False, revision: int | None = None, dry_run: bool = False
    ) -> SlotMixin:
        """Mark one slot as completed, over or still to come: no edit or cancellation changes it until that is undone.

        :param undo: take it back.
        :raises StatusConflict: if it is cancelled or deleted.
        """
        with self._deciding(dry_run, key, revision) as work:
            return endings.complete(work, key_of(key), undo)

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
            return taking.book(work, key, party, who, idempotency_key)

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
            return taking.hold(work, key, party, who, idempotency_key, minutes)

    def confirm(self, booking: BookingMixin | int) -> BookingMixin:
        """Make a hold a booking, also after booking closed; a second time changes nothing. The app commits.

        :raises HoldExpired: from ``expires_at`` on.
        :raises SlotClosed: if the slot was cancelled, deleted or completed meanwhile.
        :raises StatusConflict: if the hold was released.
        """
        with self._deciding() as work:
            return lifecycle.confirm(work, booking)

    def release(self, booking: BookingMixin | int) -> BookingMixin:
        """Give the places of a booking or a hold back; a second time changes nothing. The app commits."""
        with self._deciding() as work:
            return lifecycle.release(work, booking)

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
            return lifecycle.move(work, booking, key)

    # -- topping up ----------------------------------------------------------------------------------------

    def ensure(self, template: TemplateOrId | None = None) -> None:
        """Let a top-up look at a template, or at all, if it was not looked at within the last hour.

        Costs nothing otherwise and never waits; the readers of this class call it by themselves.
        """
        topup, number = self._state.topup, id_or_none(template)
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
        *,
        week: date | None = None,
        since: date | None = None,
        distributed: bool = False,
        stop: Event | None = None,
    ) -> Report:
        """Fill now, in this thread and in a session of its own.

        :param days: local days from today, 1 to 3,660; by default each template's own window.
        :param start: aware, like ``end``; in the past: past slots are created too.
        :param progress: called with (done, total) after each chunk.
        :param week: a day of the week to fill, Monday to Sunday; past slots are created too.
        :param since: the first of the days up to today to fill; past slots are created too.
        :param distributed: let the workers of the queue do it, and wait for them.
        :param stop: once set, the call ends with the chunk that is being written, with ``Interrupted``.
        :raises TopUpBusy: if another top-up does not end within twice the lease.
        :raises UncommittedChanges: on SQLite, if the app's session holds uncommitted changes.
        """
        topup, number = self._state.topup, id_or_none(template)
        request = TopUpRequest.manual(
            week, since, days=days, start=start, end=end, template_id=number, group=group, dry_run=dry_run,
            progress=progress,
        )  # fmt: skip
        return (Distributor(topup) if distributed else topup.runner).generate(request, stop)

    def start_topup(
        self,
        days: int | None = None,
        template: TemplateOrId | None = None,
        group: str | None = None,
        week: date | None = None,
        since: date | None = None,
        asked_at: datetime | None = None,
    ) -> int:
        """Start a top-up as of :meth:`generate` in the background; return the id of its run, which shows how far it is.

        :param asked_at: aware; a run that ended after it was in the way. By default only one that still works is.
        :raises TopUpBusy: if another top-up that was started like this is under way; ``run`` is its id.
        """
        number = id_or_none(template)
        request = TopUpRequest.manual(week, since, days=days, template_id=number, group=group)
        return order(self._state.topup, request, asked_at)

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
        :raises: as :meth:`generate`.
        """
        runner, now = self._state.topup.runner, self._state.clock()
        archive = runner.archive if archive is None else archive
        return prune(runner, PruneRequest.make(older_than, now, archive, include_booked, batch, dry_run))

    # -- knowledge -----------------------------------------------------------------------------------------

    def get_run(self, run: int) -> RunMixin:
        """Return a recorded top-up by its id; ``RunNotFound`` if there is none."""
        return browsing.find_run(self._state.reading(), run)

    def runs(
        self, template: TemplateOrId | None = None, limit: int = 50, before: int | None = None
    ) -> list[RunMixin]:
        """Return the recorded top-ups, the ``limit`` newest first; of one template: those that touched it.

        ``run.results`` holds the counts of each template and group in which something happened. ``before`` is an id.
        """
        return browsing.runs(self._state.reading(), id_or_none(template), limit, before)

    def stats(
        self,
        template: TemplateOrId | None = None,
        group: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Stats:
        """Count the stored slots by template and group, by weekday and hour; three queries.

        :param template: its whole series.
        :param start: aware, like ``end``; only slots that start within.
        """
        return gather(self._state.reading(), id_or_none(template), group, start, end)

    def explain(self, template: TemplateOrId, moment: datetime) -> Explanation:
        """Say why a slot of a template's series starts, or does not, at an aware moment: a code and a sentence."""
        return explain(self._state.reading(), id_of(template), moment)

    def health(self) -> HealthReport:
        """Return the coverage of the window: is every promised slot stored?"""
        # By what is missing somebody decides: a replica that lags would cry wolf.
        return check_health(self._state.writing())

    def doctor(self) -> list[Finding]:
        """Return what is wrong with the deployment and what to do about it, the gravest first."""
        return self._state.examine()

    def export(
        self, template: TemplateOrId | None = None, group: str | None = None, form: str = "json"
    ) -> Exported:
        """Return templates, with what people decided about their slots, as the content of a file.

        :param form: ``json``, with all that import needs, or ``ics``: without inactive templates; public holidays and
            blackouts are written for the next two years.
        :raises ConfigError: for ``ics``, if icalendar is not installed.
        """
        return feeds.export_templates(self._state.reading(), id_or_none(template), group, form)

    def import_templates(
        self,
        content: bytes,
        form: str = "auto",
        group: str | None = None,
        timezone: str | None = None,
        name: str | None = None,
        dry_run: bool = False,
    ) -> Imported:
        """Add the templates of a file, with the decisions in it, to the app's session: all of them, or none.

        :param content: JSON or iCalendar in UTF-8, at most 10 MB.
        :param form: ``json``, ``ics``, or ``auto`` to tell by the content.
        :param group: put all templates into this group.
        :param timezone: IANA name of the zone of times without one; by default the app's.
        :param name: of a template without one.
        :raises InvalidRequest: names the entry, the field, the value and what is expected.
        """
        with self._deciding(dry_run) as work:
            return feeds.import_templates(work, content, form, group, timezone, name)

    def events(
        self,
        start: str,
        end: str,
        timezone: str | None = None,
        floating: bool = False,
        template: TemplateOrId | None = None,
        group: str | None = None,
        sees: Sees = lambda template: True,
    ) -> list[dict[str, Any]]:
        """Return slots and reminders as events for FullCalendar or EventCalendar.

        :param start: ISO 8601, like ``end``; without an offset: by the clock of ``timezone``, or else of each template.
        :param timezone: whose clock the answer is written in: an IANA name, ``UTC`` or ``local``.
        :param floating: write times without offset.
        :param sees: says of a template whether it may be shown.
        """
        work, number = self._state.reading(), id_or_none(template)
        span = feeds.read_span(start, end, timezone, floating)
        self.ensure(number)
        found = self._healed(work, feeds.slots_in(work, span, number, group, sees))
        return list(feeds.events(found, span, work.now))

    def calendar(
        self,
        template: TemplateOrId | None = None,
        group: str | None = None,
        host: str = "",
        sees: Sees = lambda template: True,
    ) -> Calendar:
        """Return a calendar to subscribe to (RFC 5545), from last month on.

        :param host: what makes UIDs unique where neither ``ROLLINGSLOTS_FEED_HOST`` nor ``SERVER_NAME`` is set.
        :param sees: says of a template whether it may be shown.
        :raises ConfigError: if icalendar is not installed.
        """
        host = self._state.app.config.get("SERVER_NAME") or host
        return feeds.calendar(self._state.reading(), id_or_none(template), group, sees, host)

    def feed_url(self, group: str | None = None) -> str:
        """Return the secret address of a group's calendar, for programs that can send no header.

        Whoever has it sees the slots of this group, and nothing else, until ``revoke_feed_url``. The same address
        each time: nothing of it is stored. Outside of a request the app needs ``SERVER_NAME``.

        :param group: whose slots; ``None``: those of all templates.
        :raises ConfigError: without ``SECRET_KEY``, the HTTP API or icalendar.
        """
        browsing.check_group(group)
        feeds.icalendar_package()
        state = self._state
        return state.secret_address(feeds.feed_secret(state.reading(), group, state.signing_keys))

    def feed_of(self, secret: str) -> SecretFeed | None:
        """Return what the secret in such an address stands for; ``None`` if it is none, or was withdrawn."""
        return feeds.feed_of(self._state.reading(), secret, self._state.signing_keys)

    def revoke_feed_url(self, group: str | None = None) -> None:
        """Withdraw the address that ``feed_url`` gave for a group; the app commits. All others go on."""
        browsing.check_group(group)
        feeds.revoke_feed_secret(self._state.writing(), group)

    # -- inside --------------------------------------------------------------------------------------------

    @contextmanager
    def _deciding(
        self,
        dry_run: bool = False,
        key: Key | None = None,
        revision: int | None = None,
        template: TemplateOrId | None = None,
    ) -> Iterator[Work]:
        """Give a work that decides, at the revision of a template or slot that was seen; then tell what was done."""
        work = self._state.writing(dry_run)
        if revision is not None and template is not None:
            templates.change_template(work, id_of(template), {}, revision)
        elif revision is not None and key is not None:
            templates.check_revision(work, key_of(key), revision)
        yield work
        if not dry_run:
            work.outbox.send(self._state.app)


def current_slots() -> RollingSlots:
    """Return the ``RollingSlots`` of the current app.

    :raises NotRegistered: outside an app context, or if the app has none.
    """
    found: RollingSlots = get_state().facade
    return found
