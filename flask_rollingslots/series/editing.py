"""Edits by scope: the plan that a preview shows is the plan that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask_rollingslots.errors import InvalidRequest, StaleEdit
from flask_rollingslots.revising import Changes, EditPlan, plan_edit, plan_this, read_changes
from flask_rollingslots.values import Scope, SlotKey

from .reading import Desk, Loaded, deciding, lock_series, read_series
from .sharing import lock_resources, refuse_blocked
from .writing import write_rows, write_segments

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Editor:
    """Edits the slots of one app at one moment."""

    desk: Desk

    def preview(
        self, key: SlotKey, scope: Scope, values: Mapping[str, Any], move_booked: bool = False
    ) -> EditPlan:
        """Return what an edit would change; nothing is written.

        :raises InvalidRequest: if the change makes no sense; names field, value and expectation.
        :raises SlotNotFound: if there is no such slot.
        :raises SlotClosed: if bookings would overlap on an exclusive resource.
        """
        changes = read_changes(scope, values)
        loaded = read_series(self.desk, key.series_id, key)
        plan = _plan(loaded, key, scope, changes, move_booked)
        refuse_blocked(self.desk, loaded, plan.changed)
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
        with deciding(self.desk.session):
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
        with deciding(self.desk.session):
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
        locked = lock_resources(self.desk, key.series_id) if may_move else frozenset[str]()
        loaded = lock_series(self.desk, key.series_id, key)
        plan = _plan(loaded, key, scope, changes, move_booked)
        refuse_blocked(self.desk, loaded, plan.changed, locked)
        return loaded, plan

    def _write(self, loaded: Loaded, plan: EditPlan) -> None:
        write_segments(self.desk, loaded, plan.segments)
        write_rows(self.desk, plan.changed, plan.removed)


def _plan(loaded: Loaded, key: SlotKey, scope: Scope, changes: Changes, move_booked: bool) -> EditPlan:
    if scope is Scope.THIS:
        return plan_this(loaded.case, key, changes, move_booked)
    return plan_edit(loaded.case, key, scope, changes, move_booked)
