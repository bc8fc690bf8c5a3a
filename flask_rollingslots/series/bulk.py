"""Decisions about many templates: switch them on and off, cancel one day of a whole club."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from flask_rollingslots.booking import live_bookings
from flask_rollingslots.errors import InvalidRequest, TemplateNotFound
from flask_rollingslots.models import table_of
from flask_rollingslots.values import Status

from .ending import check_reason
from .reading import deciding, series_of
from .writing import forget_slots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import BookingMixin, SlotMixin

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """Which templates were switched.

    :param changed: ids of those that were in the other state.
    :param unchanged: ids of those that were in this state already.
    """

    active: bool
    changed: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"active": self.active, "changed": self.changed, "unchanged": self.unchanged}


def set_active(work: Work, active: bool, template_id: int | None, group: str | None) -> SwitchReport:
    """Switch all segments of one series, or all templates of a group, on or off; the caller commits.

    :raises InvalidRequest: if neither or both are given: nothing said never means everything.
    :raises TemplateNotFound: if there is no such template, or none in the group.
    :raises StaleEdit: if somebody else changed one of them since this session read it.
    """
    if (template_id is None) == (group is None):
        raise InvalidRequest(
            f"template = {template_id!r}, group = {group!r}: expected one of them", field="template"
        )
    cls = work.models.Template
    with deciding(work):
        condition = (
            cls.group == group if template_id is None else cls.series_id == series_of(work, template_id)
        )
        found = list(work.session.scalars(select(cls).where(condition).order_by(cls.id)))
        if not found:
            raise TemplateNotFound(f"group {group!r}: there is no template in this group")
        report = SwitchReport(active)
        for template in found:
            (report.unchanged if template.active is active else report.changed).append(template.id)
            if not work.dry_run:
                template.active = active
        if not work.dry_run:
            work.session.flush()
    return report


class CancelledKeys(list[str]):
    """The keys of the slots that were cancelled, in order.

    :ivar bookings: the live bookings in them, by id: whom to tell.
    """

    def __init__(self, keys: Iterable[str] = (), bookings: Iterable[BookingMixin] = ()) -> None:
        super().__init__(keys)
        self.bookings: list[BookingMixin] = sorted(bookings, key=lambda booking: booking.id)


def cancel_slots(work: Work, slots: Sequence[SlotMixin], reason: str | None) -> list[SlotMixin]:
    """Cancel stored slots that are scheduled and not over; return those that were, with their ``affected_bookings``."""
    check_reason(reason)
    cls, table = work.models.Slot, table_of(work.models.Slot)
    cancelled: list[int] = []
    for first in range(0, len(slots), _AT_ONCE):
        part = slots[first : first + _AT_ONCE]
        scheduled = (table.c.status == Status.SCHEDULED.value, table.c.ends_at > work.now)
        before = set(
            work.session.scalars(select(table.c.id).where(table.c.id.in_([s.id for s in part]), *scheduled))
        )
        cancelled += [slot.id for slot in part if slot.id in before]
        values = {
            "status": Status.CANCELLED.value,
            "cancel_reason": reason,
            "ended_with_series": None,
            "changed_at": work.now,
        }
        work.session.execute(update(table).where(table.c.id.in_(before), *scheduled).values(**values))
    forget_slots(work)
    found: list[SlotMixin] = []
    for first in range(0, len(cancelled), _AT_ONCE):
        ids = cancelled[first : first + _AT_ONCE]
        inside: dict[int, list[BookingMixin]] = {}
        for booking in live_bookings(work, ids):
            inside.setdefault(booking.slot_id, []).append(booking)
        for slot in work.session.scalars(select(cls).where(cls.id.in_(ids)).order_by(cls.starts_at, cls.id)):
            slot.affected_bookings = inside.get(slot.id, [])
            found.append(slot)
    return found
