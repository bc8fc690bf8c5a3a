"""Cancelling, deleting and restoring a part of a series."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.revising import (
    EndPlan,
    Reach,
    SeriesReport,
    plan_end,
    plan_restore,
    reach_from,
    reach_of,
)
from flask_rollingslots.values import Scope, SlotKey, Status, local_midnight

from .reading import Loaded, deciding, lock_series, series_of
from .sharing import find_blocked, lock_resources
from .writing import write_rows, write_segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_rollingslots.context import Work


@dataclass(frozen=True, slots=True)
class Ender:
    """Ends and brings back parts of the series of one app at one moment.

    The rule stays as it is: the end is a bound of its own on each segment, and stored slots get the status. So it
    can be taken back without loss.
    """

    work: Work

    def cancel(self, key: SlotKey, scope: Scope, reason: str | None) -> SeriesReport:
        """Cancel the stored slots of a scope, booked ones too, and let no others follow.

        :raises SlotNotFound: if there is no such slot.
        """
        return self._end(key.series_id, scope, lambda loaded: reach_of(loaded.case, scope, key), reason, key)

    def delete(self, key: SlotKey, scope: Scope) -> SeriesReport:
        """Hide the slots of a scope, and let no others follow; booked and completed ones stay.

        :raises SlotNotFound: if there is no such slot.
        """
        return self._end(
            key.series_id,
            scope,
            lambda loaded: reach_of(loaded.case, scope, key),
            None,
            key,
            status=Status.DELETED,
        )

    def delete_series(self, template_id: int) -> SeriesReport:
        """Hide all slots of a template's series that have not started; booked and completed ones stay.

        :raises TemplateNotFound: if there is no such template.
        """
        series_id = series_of(self.work, template_id)
        return self._end(
            series_id,
            Scope.ALL,
            lambda loaded: reach_from(loaded.case, self.work.now),
            None,
            None,
            status=Status.DELETED,
        )

    def cancel_future(
        self, template_id: int, from_date: date | datetime, reason: str | None = None
    ) -> SeriesReport:
        """Cancel all slots of a template's series that start at a moment or later.

        :param from_date: a day of the template's zone, or an aware datetime.
        :raises TemplateNotFound: if there is no such template.
        :raises InvalidRequest: if the moment is naive.
        """
        if (isinstance(from_date, datetime) and from_date.tzinfo is None) or not isinstance(from_date, date):
            expected = "a date (a day of the template's zone) or an aware datetime"
            raise InvalidRequest(
                f"from_date = {from_date!r}: expected {expected}", field="from_date", value=from_date
            )

        def reach(loaded: Loaded) -> Reach:
            zone = ZoneInfo(loaded.templates[template_id].timezone)
            moment = from_date if isinstance(from_date, datetime) else local_midnight(from_date, zone)
            return reach_from(loaded.case, moment)

        return self._end(series_of(self.work, template_id), Scope.ALL, reach, reason, None)

    def restore(self, key: SlotKey, scope: Scope) -> SeriesReport:
        """Take back that a scope was cancelled or deleted with its series; the slot at the key comes back too.

        :raises SlotNotFound: if there is no such slot.
        """
        return self._restore(
            key.series_id, scope, lambda loaded: reach_of(loaded.case, scope, key, ended=True), key
        )

    def restore_series(self, template_id: int) -> SeriesReport:
        """Take back that a template's series was cancelled or deleted: the undo of ``cancel_future``.

        :raises TemplateNotFound: if there is no such template.
        """
        series_id = series_of(self.work, template_id)
        return self._restore(
            series_id, Scope.ALL, lambda loaded: reach_from(loaded.case, self.work.now), None
        )

    def _end(
        self,
        series_id: int,
        scope: Scope,
        reach: Callable[[Loaded], Reach],
        reason: str | None,
        key: SlotKey | None,
        status: Status = Status.CANCELLED,
    ) -> SeriesReport:
        check_reason(reason)
        with deciding(self.work):
            loaded = lock_series(self.work, series_id, key)
            plan = plan_end(loaded.case, reach(loaded), status, reason)
            return self._write(loaded, plan, scope)

    def _restore(
        self, series_id: int, scope: Scope, reach: Callable[[Loaded], Reach], key: SlotKey | None
    ) -> SeriesReport:
        with deciding(self.work):
            locked = lock_resources(self.work, series_id)
            loaded = lock_series(self.work, series_id, key)
            plan = plan_restore(loaded.case, reach(loaded), key)
            blocked = find_blocked(self.work, loaded, plan.changed, locked)
            return self._write(loaded, plan.without([change for change, _ in blocked]), scope)

    def _write(self, loaded: Loaded, plan: EndPlan, scope: Scope) -> SeriesReport:
        touched = write_segments(self.work, loaded, plan.segments)
        write_rows(self.work, plan.changed)
        return SeriesReport(
            scope,
            [str(change.row.key) for change in plan.changed],
            [str(change.row.key) for change in plan.changed if change.row.live],
            [str(row.key) for row in plan.kept],
            [str(row.key) for row in plan.completed],
            touched,
        )


def check_reason(reason: object) -> None:
    """Refuse a reason that is no short text.

    :raises InvalidRequest: names the field.
    """
    if reason is not None and not (isinstance(reason, str) and len(reason) <= 500):
        raise InvalidRequest(
            f"reason = {reason!r}: expected a text of at most 500 characters", field="reason", value=reason
        )
