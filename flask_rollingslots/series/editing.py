"""Edits by scope: the plan that a preview shows is the plan that is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask_rollingslots.errors import InvalidRequest, StaleEdit
from flask_rollingslots.loading import pruned_until
from flask_rollingslots.revising import (
    Case,
    Changes,
    EditPlan,
    bound_at,
    in_order,
    plan_edit,
    plan_this,
    read_changes,
)
from flask_rollingslots.values import Scope, SlotKey

from .reading import Loaded, deciding, lock_series, read_series
from .sharing import lock_resources, refuse_blocked
from .writing import write_rows, write_segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import TemplateMixin


@dataclass(frozen=True, slots=True)
class Editor:
    """Edits the slots of one app at one moment."""

    work: Work

    def preview(
        self,
        key: SlotKey,
        scope: Scope,
        values: Mapping[str, Any],
        move_booked: bool = False,
        segments: Iterable[TemplateMixin] = (),
    ) -> EditPlan:
        """Return what an edit would change; nothing is written.

        :raises InvalidRequest: if the change makes no sense; names field, value and expectation.
        :raises SlotNotFound: if there is no such slot.
        :raises SlotClosed: if bookings would overlap on an exclusive resource.
        """
        changes = read_changes(scope, values)
        loaded = read_series(self.work, key.series_id, key)
        specs = in_order([segment.spec() for segment in segments])
        if specs:
            loaded = replace(loaded, case=replace(loaded.case, specs=specs))
        plan = self._plan(loaded, key, scope, changes, move_booked)
        refuse_blocked(self.work, loaded, plan.changed)
        return plan

    def edit(
        self,
        key: SlotKey,
        scope: Scope,
        values: Mapping[str, Any],
        move_booked: bool = False,
        revision: int | None = None,
    ) -> EditPlan:
        """Change slots, and return what was changed; the caller commits.

        :param revision: of the slot's segment, as the person who edits has seen it.
        :raises StaleEdit: if somebody else changed the series since.
        :raises SlotClosed: if bookings would overlap on an exclusive resource.
        """
        changes = read_changes(scope, values)
        if revision is not None and (isinstance(revision, bool) or not isinstance(revision, int)):
            expected = "the whole number that the template's revision was"
            raise InvalidRequest(
                f"revision = {revision!r}: expected {expected}", field="revision", value=revision
            )
        with deciding(self.work):
            loaded, plan = self._lock_and_plan(key, scope, changes, move_booked)
            if revision is not None and plan.revision != revision:
                raise StaleEdit(
                    f"revision = {revision}: the series is at revision {plan.revision} by now; read it again, then "
                    "repeat the change",
                    revision=plan.revision,
                )
            self._write(loaded, plan)
        return plan

    def apply(self, preview: EditPlan) -> EditPlan:
        """Write what a preview showed; the caller commits.

        :raises StaleEdit: if it would no longer do exactly that: the series was changed or booked, or time passed.
        """
        with deciding(self.work):
            loaded, plan = self._lock_and_plan(
                preview.key, preview.scope, preview.changes, preview.move_booked
            )
            if plan.token != preview.token:
                raise StaleEdit("the preview is stale: look at a new one, then apply that")
            self._write(loaded, plan)
        return plan

    def _lock_and_plan(
        self, key: SlotKey, scope: Scope, changes: Changes, move_booked: bool
    ) -> tuple[Loaded, EditPlan]:
        may_move = move_booked and changes.touch_times
        locked = lock_resources(self.work, key.series_id) if may_move else frozenset[str]()
        loaded = lock_series(self.work, key.series_id, key)
        plan = self._plan(loaded, key, scope, changes, move_booked)
        refuse_blocked(self.work, loaded, plan.changed, locked)
        return loaded, plan

    def _write(self, loaded: Loaded, plan: EditPlan) -> None:
        write_segments(self.work, loaded, plan.segments)
        write_rows(self.work, plan.changed, plan.removed)

    def _plan(
        self, loaded: Loaded, key: SlotKey, scope: Scope, changes: Changes, move_booked: bool
    ) -> EditPlan:
        if scope is Scope.THIS:
            return plan_this(loaded.case, key, changes, move_booked)
        plan = plan_edit(loaded.case, key, scope, changes, move_booked)
        until = pruned_until(self.work) if changes.touch_times else None
        return plan if until is None else _leave_pruned(loaded.case, plan, until)


def _leave_pruned(case: Case, plan: EditPlan, until: datetime) -> EditPlan:
    """Let no segment show again, at its new times, what took place and was pruned: no row says so any more.

    :param until: the moment (aware) up to which slots were pruned.
    """
    specs = {spec.id: spec for spec in case.specs}
    begins: dict[int, datetime] = {}
    for change in plan.segments:
        old = specs[change.template_id]
        new = replace(old, **change.values)
        begin = change.values.get("active_from", change.cut_at or old.active_from)
        bound = bound_at(old, until)
        shown_until = (bound + new.shift).replace(tzinfo=ZoneInfo(new.timezone)) + new.duration
        if (begin is None or begin < bound) and shown_until > case.now:
            begins[old.id] = bound
    if not begins:
        return plan
    segments = (
        replace(c, values={**c.values, "active_from": begins[c.template_id]})
        if c.template_id in begins
        else c
        for c in plan.segments
    )
    created = (s for s in plan.created if s.original_start >= begins.get(s.spec.id, s.original_start))
    return replace(plan, segments=tuple(segments), created=tuple(created))
