"""Decisions about one stored slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import update

from flask_rollingslots.errors import InvalidRequest, SlotBooked, StatusConflict
from flask_rollingslots.models import expired_places, table_of
from flask_rollingslots.revising import RowChange, is_taken, restored
from flask_rollingslots.values import Scope, SlotKey, Status

from .ending import check_reason
from .reading import deciding, lock_series
from .sharing import lock_resources, refuse_blocked
from .writing import forget_slots

if TYPE_CHECKING:
    from flask_rollingslots.context import Work
    from flask_rollingslots.models import SlotMixin

_UNDECIDED = (Status.SCHEDULED, Status.CANCELLED)


def check_scope(scope: str) -> Scope:
    """Return a scope.

    :raises InvalidRequest: if there is no such scope.
    """
    try:
        return Scope(scope)
    except ValueError:
        expected = ", ".join(repr(each.value) for each in Scope)
        raise InvalidRequest(
            f"scope = {scope!r}: expected {expected}", field="scope", value=scope, expected=expected
        ) from None


def cancel(work: Work, slot: SlotMixin, reason: str | None) -> SlotMixin:
    """Cancel one stored slot: it stays visible as cancelled, and no top-up brings it back.

    :raises StatusConflict: if it is completed, deleted or over.
    """
    check_reason(reason)
    return _change(
        work, slot, _UNDECIDED, status=Status.CANCELLED.value, cancel_reason=reason, ended_with_series=None
    )


def delete(work: Work, slot: SlotMixin) -> SlotMixin:
    """Hide one stored slot; no top-up brings it back.

    :raises SlotBooked: if it is booked: cancel it, or release its bookings first.
    :raises StatusConflict: if it is completed or over.
    """
    table = table_of(work.models.Slot)
    allowed = (*_UNDECIDED, Status.DELETED)
    values: dict[str, Any] = {"status": Status.DELETED.value, "ended_with_series": None}
    is_free = table.c.booked <= expired_places(work.models, table.c, work.now)
    return _change(work, slot, allowed, is_free, **values)


def complete(work: Work, slot: SlotMixin) -> SlotMixin:
    """Mark one stored slot as completed, before, while or after it takes place; only this one changes.

    :raises StatusConflict: if it is cancelled or deleted.
    """
    allowed = (Status.SCHEDULED, Status.COMPLETED)
    return _change(work, slot, allowed, status=Status.COMPLETED.value, is_late=True)


def restore(work: Work, slot: SlotMixin) -> SlotMixin:
    """Bring one cancelled or deleted slot back, at the time, with the places and the data that its series has by now.

    :raises StatusConflict: if it is completed or over, or another slot of its series is at its time.
    :raises SlotClosed: if it has bookings and another one has its exclusive resource by now.
    """
    allowed = (*_UNDECIDED, Status.DELETED)
    if slot.status == Status.SCHEDULED:
        return _change(work, slot, allowed)
    key = SlotKey(slot.series_id, slot.original_start)
    with deciding(work):
        locked = lock_resources(work, key.series_id)
        loaded = lock_series(work, key.series_id, key)
        case = loaded.case
        row = case.row_at(key)
        if row is None and work.dry_run:  # what ended with its series, and was never stored
            return _change(work, slot, allowed, status=Status.SCHEDULED.value)
        if row is None:
            raise StatusConflict(f"slot {key} was removed meanwhile", key=str(key), status=slot.status)
        spec = next(spec for spec in case.specs if spec.id == row.template_id)
        values, _ = restored(spec, row)
        if is_taken(case, row, values.get("starts_at", row.starts_at)):
            raise StatusConflict(
                f"slot {key} cannot come back: another slot of its series is at its time",
                key=str(key),
                status=row.status,
            )
        refuse_blocked(work, loaded, [RowChange(row, values)], locked)
        # From now on it is a person's slot: no top-up takes it away because its series ended.
        return _change(work, slot, allowed, **values, run_id=None)


def _change(
    work: Work,
    slot: SlotMixin,
    allowed: tuple[Status, ...],
    *conditions: Any,
    is_late: bool = False,
    **values: Any,
) -> SlotMixin:
    """Change one row if its status allows it; the condition is part of the statement that writes."""
    session, table = work.session, table_of(work.models.Slot)
    if work.dry_run:
        is_free = not conditions or not slot.booked_at(work.now)
        if slot.status in allowed and is_free and (is_late or slot.ends_at > work.now):
            for name, value in values.items():
                setattr(slot, name, value)
            return slot
        return _refuse(work, slot, allowed, not is_free)
    values = {**values, "changed_at": work.now} if values else {"status": table.c.status}
    where = [table.c.id == slot.id, table.c.status.in_([status.value for status in allowed]), *conditions]
    if not is_late:
        where.append(table.c.ends_at > work.now)
    changed = session.execute(update(table).where(*where).values(**values)).rowcount  # type: ignore[attr-defined]
    session.refresh(slot)
    forget_slots(work)
    if changed == 1:
        return slot
    return _refuse(work, slot, allowed, bool(slot.booked and conditions))


def _refuse(work: Work, slot: SlotMixin, allowed: tuple[Status, ...], booked: bool) -> NoReturn:
    if slot.status in allowed and booked:
        raise SlotBooked(
            f"slot {slot.key} is booked ({slot.booked_at(work.now)} places): cancel it, or release its bookings first",
            key=slot.key,
            booked=slot.booked_at(work.now),
        )
    word = slot.status if slot.status not in allowed else "over"
    raise StatusConflict(f"slot {slot.key} is {word}: it cannot be changed", key=slot.key, status=slot.status)
