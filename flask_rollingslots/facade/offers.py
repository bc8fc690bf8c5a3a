"""Deciding what is offered: templates, and the slots of one day or of a whole series."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, overload

from ..context import id_of, id_or_none
from ..lazy import lazy
from ..models import SlotMixin, TemplateMixin
from ..values import check_scope, key_of
from .calls import Calls, Key, TemplateOrId, Text

if TYPE_CHECKING:
    from .. import feeds
    from ..feeds import Imported
    from ..series import closing, edits, endings, templates
    from ..series.closing import CancelledKeys, ClosingReport
    from ..series.edits import EditPlan
    from ..series.endings import SeriesReport
    from ..series.templates import SwitchReport, TemplateChange

    Ended: TypeAlias = SlotMixin | SeriesReport
else:
    feeds, closing, edits, endings, templates = lazy(
        ".feeds", ".series.closing", ".series.edits", ".series.endings", ".series.templates"
    )

This = Literal["this", "this_only"]
Wide = Literal["this_and_future", "all"]


class How(TypedDict, total=False):
    """How something is decided, see :class:`RollingSlots`."""

    revision: int | None
    dry_run: bool


class Offers(Calls):
    """The calls that decide what is offered."""

    # -- templates -----------------------------------------------------------------------------------------

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

    def close(
        self,
        first: date,
        last: date | None = None,
        group: str | None = None,
        template: TemplateOrId | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> ClosingReport:
        """Close days: a holiday of a whole series, of a group, or of all templates there are if neither is given.

        The days become ``blackouts``: nothing is offered on them, nobody new gets in, and who has booked keeps the
        place until you call. Templates that are created later are open. To show that something was cancelled, use
        :meth:`cancel_date`. :meth:`reopen` takes it back.

        :param first: a day of each template's own zone, years 1900 to 9990, like ``last``, which is included and by
            default the same. In a day grid: the day on which the grid begins, with what it has after midnight.
        :param reason: at most 500 characters: goes with the report and the signal, and is not stored.
        :return: what was changed, and the live bookings: whom to call. Sends ``days_closed`` if anything changed.
        """
        with self._deciding(dry_run) as work:
            return closing.close(work, first, last, group, id_or_none(template), reason)

    def reopen(
        self,
        first: date,
        last: date | None = None,
        group: str | None = None,
        template: TemplateOrId | None = None,
        dry_run: bool = False,
    ) -> ClosingReport:
        """Take days out of the ``blackouts``, however they came there; the parameters are those of :meth:`close`.

        Public holidays and excluded dates stay as they are, and so does what was cancelled. Sends ``days_reopened`` if
        anything changed.
        """
        with self._deciding(dry_run) as work:
            return closing.reopen(work, first, last, group, id_or_none(template))

    def cancel_date(
        self, group: str | None, day: date, reason: str | None = None, dry_run: bool = False
    ) -> CancelledKeys:
        """Cancel one grid day of all templates of a group, or of all (``None``), also of those that are switched off.

        What is over by now stays as it is, and so does what was cancelled before.

        :param day: in each template's own zone; what a day grid has after midnight belongs to the day before.
        :return: the keys of the slots, a list; its ``bookings`` are the live ones in them: whom to tell. Each slot
            sends ``slot_cancelled``, as :meth:`cancel` does.
        """
        with self._deciding(dry_run) as work:
            return closing.cancel_date(work, group, day, reason)

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

        :param content: JSON or iCalendar in UTF-8, at most 10 MB. What has a time in iCalendar gets
            ``ends_by="elapsed"``: there lengths are exact.
        :param form: ``json``, ``ics``, or ``auto`` to tell by the content.
        :param group: put all templates into this group.
        :param timezone: IANA name of the zone of times without one; by default the app's.
        :param name: of a template without one.
        :raises InvalidRequest: names the entry, the field, the value and what is expected.
        """
        with self._deciding(dry_run) as work:
            return feeds.import_templates(work, content, form, group, timezone, name)

    # -- slots ---------------------------------------------------------------------------------------------

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
        they are; booked ones keep their times and are told in ``kept_booked``. ``this`` changes ``data`` and
        ``name`` of past and completed ones.
        A capacity below what is booked takes effect: nothing is left until enough is given back (``overbooked``).

        :param scope: ``this`` (or ``this_only``), ``this_and_future`` or ``all``.
        :param move_booked: give booked slots their new times too.
        :param changes: ``start`` (naive wall-clock time in the template's zone, or a time of that day),
            ``duration``, ``capacity``, ``data`` (merged), ``name``, the app's own columns; in wide scopes also
            ``rrule`` (taken literally: without COUNT and UNTIL it has no end) and every other field that
            :meth:`create_template` takes, ``None`` for an empty one.
        :raises InvalidRule: if the new rule is not valid.
        :raises InvalidRequest: if the change makes no sense: with ``this`` also if a slot that is booked, or was moved
            there by a person, has the new time; else if the new rule lets slots overlap, though the template is
            neither ``overlapping`` nor ``exclusive`` nor a ``pool``.
        :raises SlotBooked: with ``this``, if the slot is booked and would be moved.
        :raises StatusConflict: with ``this``, if it is cancelled; if it is over or completed, for all but ``data``,
            ``name`` and own columns.
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

        What a person changed on a slot stays so; a booked one keeps its time. Those with more bookings than places by
        now are told in ``overbooked``: nothing is left in them until enough is given back.

        With a wide scope: what was cancelled or deleted with the series; slots that were cancelled for themselves
        stay cancelled, except the one at the key. What has bookings while another one has its exclusive resource by
        now stays as it is, and so does what a slot that is booked, or was moved there, takes the time of:
        ``kept_booked``.

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
