"""The part of the facade that writes what people decide: book, edit, cancel, delete, restore, complete.

All of it joins the app's session, flushes, and leaves the commit to the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import series
from .arguments import template_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from .context import Work
    from .models import SlotMixin, TemplateMixin
    from .series import EditPlan, SeriesReport
    from .state import AppState

_Result = TypeVar("_Result")
_This = Literal["this", "this_only"]
_Wide = Literal["this_and_future", "all"]


class Decisions:
    """What people decide about slots and series."""

    if TYPE_CHECKING:

        @property
        def _state(self) -> AppState:
            """The state of the current app."""

    # -- series --------------------------------------------------------------------------------------------

    def edit(
        self,
        key: str | SlotMixin,
        scope: str,
        revision: int | None = None,
        move_booked: bool = False,
        **changes: Any,
    ) -> EditPlan:
        """Change a slot, this and all later ones, or all of a series.

        ``this`` changes the slot, and its changed fields are remembered: wider edits leave them alone. Wider scopes
        change the series: a constant difference in time keeps all keys. Completed, cancelled and past slots stay as
        they are; booked ones keep their times and are told in ``kept_booked``.

        :param scope: ``this`` (or ``this_only``), ``this_and_future`` or ``all``.
        :param revision: of the slot's template, as the person who edits saw it.
        :param move_booked: give booked slots their new times too.
        :param changes: ``start`` (naive wall-clock time in the template's zone, or a time of that day),
            ``duration``, ``capacity``, ``data`` (merged); in wide scopes also ``rrule`` (taken literally: without
            COUNT and UNTIL it has no end) and ``name``.
        :return: what was changed.
        :raises InvalidRequest: names the field, the value and what is expected; nothing was written.
        :raises InvalidRule: if the new rule is not valid.
        :raises SlotNotFound: if there is no such slot.
        :raises StaleEdit: if the series is no longer at this revision.
        :raises SlotBooked: with ``this``, if the slot is booked and would be moved or have too few places.
        :raises StatusConflict: with ``this``, if the slot is cancelled, completed or over.
        :raises SlotClosed: with ``move_booked``, if its bookings would overlap with others on an exclusive resource;
            the previews are refused alike.
        """
        return self._sent(lambda work: series.edit(work, key, scope, changes, revision, move_booked))

    def preview_edit(
        self, key: str | SlotMixin, scope: str, move_booked: bool = False, **changes: Any
    ) -> EditPlan:
        """Return what :meth:`edit` would create, change, remove and keep, with the revision; nothing is written.

        The same code computes it. Hand the result to :meth:`apply_edit`, or its ``revision`` to :meth:`edit`.
        """
        return series.edit(self._state.writing(dry_run=True), key, scope, changes, None, move_booked)

    def apply_edit(self, preview: EditPlan) -> EditPlan:
        """Write exactly what a preview showed.

        :raises StaleEdit: if the series, its slots or their bookings changed since, or a slot has started.
        """
        return self._sent(lambda work: series.apply_edit(work, preview))

    @overload
    def cancel(self, key: str | SlotMixin, scope: _This = "this", reason: str | None = None) -> SlotMixin: ...
    @overload
    def cancel(self, key: str | SlotMixin, scope: _Wide, reason: str | None = None) -> SeriesReport: ...
    @overload
    def cancel(self, key: str | SlotMixin, scope: str, reason: str | None = None) -> Any: ...
    def cancel(
        self, key: str | SlotMixin, scope: str = "this", reason: str | None = None
    ) -> SlotMixin | SeriesReport:
        """Cancel slots: stored ones stay visible as cancelled, and no top-up brings anything back.

        With a wide scope booked slots are cancelled too (``booked`` in the report names them), and later slots no
        longer appear. The rule stays, so that :meth:`restore` takes it all back.

        :param scope: ``this`` returns the slot, whose ``affected_bookings`` lists the live ones;
            ``this_and_future`` and ``all`` return a report. What has started stays.
        :raises SlotNotFound: if there is no such slot.
        :raises StatusConflict: with ``this``, if it is completed, deleted or over.
        """
        return self._sent(lambda work: series.cancel(work, key, scope, reason))

    @overload
    def delete(self, key: str | SlotMixin, scope: _This = "this") -> SlotMixin: ...
    @overload
    def delete(self, key: str | SlotMixin, scope: _Wide) -> SeriesReport: ...
    @overload
    def delete(self, key: str | SlotMixin, scope: str) -> Any: ...
    def delete(self, key: str | SlotMixin, scope: str = "this") -> SlotMixin | SeriesReport:
        """Hide slots; no top-up brings them back. A wide scope keeps booked and completed ones and reports them.

        :param scope: ``this`` returns the (hidden) slot; ``this_and_future`` and ``all`` a report.
        :raises SlotNotFound: if there is no such slot.
        :raises SlotBooked: with ``this``, if it is booked.
        :raises StatusConflict: with ``this``, if it is completed or over.
        """
        return self._sent(lambda work: series.delete(work, key, scope))

    @overload
    def restore(self, key: str | SlotMixin, scope: _This = "this") -> SlotMixin: ...
    @overload
    def restore(self, key: str | SlotMixin, scope: _Wide) -> SeriesReport: ...
    @overload
    def restore(self, key: str | SlotMixin, scope: str) -> Any: ...
    def restore(self, key: str | SlotMixin, scope: str = "this") -> SlotMixin | SeriesReport:
        """Bring cancelled or deleted slots back, with the times, capacity and data that their series has by now.

        What a person changed on a slot stays so; a booked one keeps its time, and at least the places that are taken.

        With a wide scope: what was cancelled or deleted with the series; slots that were cancelled for themselves
        stay cancelled, except the one at the key. What has bookings while another one has its exclusive resource by
        now stays as it is, and is told in ``kept_booked``.

        :param scope: ``this`` returns the slot; ``this_and_future`` and ``all`` a report.
        :raises SlotNotFound: if there is no such slot.
        :raises StatusConflict: with ``this``, if it is completed or over, or its time is taken.
        :raises SlotClosed: with ``this``, if it has bookings and another one has its exclusive resource by now.
        """
        return self._sent(lambda work: series.restore(work, key, scope))

    def complete(self, key: str | SlotMixin) -> SlotMixin:
        """Mark one slot as completed, whether it is over, running or still to come; no other slot changes.

        A completed slot is never changed again by any edit or cancellation.

        :raises SlotNotFound: if there is no such slot.
        :raises StatusConflict: if it is cancelled or deleted.
        """
        return self._sent(lambda work: series.complete(work, key))

    def cancel_future(
        self, template: TemplateMixin | int, from_date: date | datetime, reason: str | None = None
    ) -> SeriesReport:
        """Cancel all slots of a template's series from a moment on; :meth:`restore_series` takes it back.

        :param from_date: a day of the template's zone, or an aware datetime; what has started stays.
        :raises TemplateNotFound: if there is no such template.
        :raises InvalidRequest: if the moment is naive.
        """
        number = template_id(template) or 0
        return self._sent(lambda work: series.cancel_future(work, number, from_date, reason))

    def delete_series(self, template: TemplateMixin | int) -> SeriesReport:
        """Hide all slots of a template's series that have not started; :meth:`restore_series` takes it back.

        Booked and completed ones stay and are reported. The template stays too: its keys are for ever.

        :raises TemplateNotFound: if there is no such template.
        """
        return self._sent(lambda work: series.delete_series(work, template_id(template) or 0))

    def restore_series(self, template: TemplateMixin | int) -> SeriesReport:
        """Take back that a series was cancelled or deleted; single cancelled or deleted slots stay as they are.

        :raises TemplateNotFound: if there is no such template.
        """
        return self._sent(lambda work: series.restore_series(work, template_id(template) or 0))

    # -- many templates ------------------------------------------------------------------------------------

    def activate(
        self, template: TemplateMixin | int | None = None, group: str | None = None
    ) -> series.SwitchReport:
        """Switch a series, or all templates of a group, on.

        :raises InvalidRequest: unless exactly one of both is given.
        :raises TemplateNotFound: if there is none.
        """
        return series.set_active(self._state.writing(), True, template_id(template), group)

    def deactivate(
        self, template: TemplateMixin | int | None = None, group: str | None = None
    ) -> series.SwitchReport:
        """Switch a series, or all templates of a group, off: nothing is shown or bookable, rows stay.

        :raises InvalidRequest: unless exactly one of both is given.
        :raises TemplateNotFound: if there is none.
        """
        return series.set_active(self._state.writing(), False, template_id(template), group)

    def cancel_date(self, group: str, day: date, reason: str | None = None) -> series.CancelledKeys:
        """Cancel one local day of all templates of a group, also of those that are switched off.

        What is over by now stays as it is, and so does what was cancelled before.

        :param day: in each template's own zone.
        :return: the keys of the slots, a list; its ``bookings`` are the live ones in them: whom to tell. Each slot
            sends ``slot_cancelled``, as :meth:`cancel` does.
        :raises InvalidRequest: if group or day is of another type.
        :raises TemplateNotFound: if there is no template in the group.
        """
        return self._sent(lambda work: series.cancel_date(work, group, day, reason))

    # -- inside --------------------------------------------------------------------------------------------

    def _sent(self, decide: Callable[[Work], _Result]) -> _Result:
        """Decide something, and say what happened."""
        work = self._state.writing()
        result = decide(work)
        work.outbox.send(self._state.app)
        return result
