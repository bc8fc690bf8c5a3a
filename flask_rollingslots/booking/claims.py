"""What an app changes by itself, through the ORM: a template's resource, a slot's time. Nothing may overlap so either.

Each check has two halves. Before the rows are written others are kept away; after all of a flush are written, what is
booked is compared with what is booked elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, select

from flask_rollingslots.errors import InvalidTemplate, SlotClosed
from flask_rollingslots.models import live_places, table_of
from flask_rollingslots.statements import dialect_of, hold_writers, newest
from flask_rollingslots.values import OCCUPYING, SlotKey, State

from .resources import Stay, find_clashes, lock_resource

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from flask_rollingslots.models import Models, SlotMixin, TemplateMixin


def begin_claim(session: Session, models: Models, template: TemplateMixin, now: datetime) -> None:
    """Before a template is written: if it claims a resource that it had not, nobody books meanwhile."""
    if not _claims(template):
        return
    lock_resource(session, models, template.resource or "")
    hold_writers(session, table_of(models.Slot))
    _booked(session, models, now, models.Slot.template_id == template.id)


def check_claim(session: Session, models: Models, template: TemplateMixin, now: datetime) -> None:
    """After it was written: refuse it if its bookings overlap with others on the resource.

    :raises InvalidTemplate: names the slots in ``keys``.
    """
    if not _claims(template):
        return
    clashes = _clashes(session, models, now, template.resource or "", models.Slot.template_id == template.id)
    if clashes:
        expected = f"that no other booking has {template.resource!r} at the same time"
        text = (
            f"exclusive = True: slot {clashes[0]} is booked: expected {expected}; release or move one of both"
        )
        raise InvalidTemplate(text, field="exclusive", value=True, expected=expected, keys=clashes)


def begin_stay(session: Session, models: Models, slot: SlotMixin) -> None:
    """Before a slot is written that gets another time or comes back: its exclusive resource is locked."""
    resource = _resource(session, models, slot)
    if resource is not None:
        lock_resource(session, models, resource)


def check_stay(session: Session, models: Models, slot: SlotMixin, now: datetime) -> None:
    """After it was written: refuse it if it is booked and overlaps with other bookings on the resource.

    :raises SlotClosed: with the state ``blocked``.
    """
    resource = _resource(session, models, slot)
    if resource is not None and _clashes(session, models, now, resource, models.Slot.id == slot.id):
        text = f"slot {slot.key} is booked, and {resource!r} is taken by another booking at that time"
        raise SlotClosed(text, key=slot.key, state=State.BLOCKED.value)


def _claims(template: TemplateMixin) -> bool:
    state = inspect(template)
    changed = any(state.attrs[name].history.has_changes() for name in ("resource", "exclusive"))
    return bool(changed and template.exclusive and template.resource)


def _resource(session: Session, models: Models, slot: SlotMixin) -> str | None:
    """Return the exclusive resource of a slot that is to stand at another time, or again."""
    state = inspect(slot)
    changed = any(state.attrs[name].history.has_changes() for name in ("starts_at", "ends_at", "status"))
    if not changed or slot.status not in OCCUPYING:
        return None
    templates = table_of(models.Template)
    query = select(templates.c.resource).where(
        templates.c.id == slot.template_id, templates.c.exclusive.is_(True)
    )
    return session.scalar(query)


def _booked(session: Session, models: Models, now: datetime, condition: Any) -> list[Any]:
    cls = models.Slot
    columns = (cls.id, cls.series_id, cls.original_start, cls.starts_at, cls.ends_at, cls.booked, cls.holds)
    query: Any = select(*columns).where(condition, cls.status.in_(OCCUPYING), cls.ends_at > now)
    rows = session.execute(newest(query.order_by(cls.starts_at), dialect_of(session)))
    return [row for row in rows if live_places(row.booked, row.holds, now) > 0]


def _clashes(session: Session, models: Models, now: datetime, resource: str, condition: Any) -> list[str]:
    booked = _booked(session, models, now, condition)
    stays = [Stay(resource, row.id, row.starts_at, row.ends_at) for row in booked]
    clashes = find_clashes(session, models, now, stays)
    return [str(SlotKey(row.series_id, row.original_start)) for row in booked if row.id in clashes]
