"""What people decide about templates and slots: create, cancel, restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, update

from .errors import InvalidRequest, InvalidTemplate, StatusConflict, nearest
from .models import table_of
from .values import Scope, Status

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from .models import Models, SlotMixin, TemplateMixin

#: Decided by the library, not by whoever creates a template.
_OWN_FIELDS = {
    "id",
    "series_id",
    "continues_id",
    "revision",
    "created_at",
    "active_from",
    "active_until",
    "shift",
}


def create(session: Session, models: Models, fields: dict[str, Any]) -> TemplateMixin:
    """Add a template to the session and flush it, so that it has an id; the caller commits.

    :raises InvalidTemplate: for an unknown field, a missing one, or a value that is not valid.
    :raises InvalidRule: if the rule, the zone or the day grid is not valid.
    """
    known = {attribute.key for attribute in inspect(models.Template).attrs} - _OWN_FIELDS
    for name, value in fields.items():
        if name not in known:
            text = f"{name} is not a field of a template.{nearest(name, known)}"
            raise InvalidTemplate(text, field=name, value=value, expected="a field of a template")
    for name in ("name", "dtstart", "duration"):
        if name not in fields:
            raise InvalidTemplate(f"{name} is missing", field=name, value=None, expected="a value")
    if not isinstance(fields.get("data") or {}, dict):
        value = fields["data"]
        raise InvalidTemplate(
            f"data = {value!r}: expected a dict", field="data", value=value, expected="a dict"
        )
    template = models.Template(**fields)
    models.prepare(template)  # before the session sees it: a refusal then costs the app none of its work
    session.add(template)
    session.flush()
    return template


def check_scope(scope: str) -> Scope:
    """Return a scope.

    :raises InvalidRequest: if there is no such scope, or it cannot be applied yet.
    """
    try:
        found = Scope(scope)
    except ValueError:
        found = None
    if found is not Scope.THIS:
        expected = f"{Scope.THIS.value!r}: wider scopes are not supported yet"
        raise InvalidRequest(
            f"scope = {scope!r}: expected {expected}", field="scope", value=scope, expected=expected
        )
    return found


def cancel(session: Session, models: Models, now: datetime, slot: SlotMixin, reason: str | None) -> SlotMixin:
    """Cancel one stored slot: it stays visible as cancelled, and no top-up brings it back.

    :raises StatusConflict: if it is completed, deleted or over.
    """
    if reason is not None and not (isinstance(reason, str) and len(reason) <= 500):
        raise InvalidRequest(
            f"reason = {reason!r}: expected a text of at most 500 characters", field="reason"
        )
    allowed = (Status.SCHEDULED, Status.CANCELLED)
    return _change(session, models, now, slot, allowed, status=Status.CANCELLED.value, cancel_reason=reason)


def restore(session: Session, models: Models, now: datetime, slot: SlotMixin) -> SlotMixin:
    """Bring one cancelled or deleted slot back.

    :raises StatusConflict: if it is completed or over.
    """
    allowed = (Status.SCHEDULED, Status.CANCELLED, Status.DELETED)
    return _change(session, models, now, slot, allowed, status=Status.SCHEDULED.value, cancel_reason=None)


def _change(
    session: Session,
    models: Models,
    now: datetime,
    slot: SlotMixin,
    allowed: tuple[Status, ...],
    **values: Any,
) -> SlotMixin:
    table = table_of(models.Slot)
    condition = (table.c.id == slot.id, table.c.status.in_([s.value for s in allowed]), table.c.ends_at > now)
    changed = session.execute(update(table).where(*condition).values(**values)).rowcount  # type: ignore[attr-defined]
    session.refresh(slot)
    if changed != 1:
        word = slot.status if slot.status not in allowed else "over"
        raise StatusConflict(
            f"slot {slot.key} is {word}: it cannot be changed", key=slot.key, status=slot.status
        )
    return slot
