"""Reminding: which booked slots have come so near that somebody should be told."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select

from .errors import InvalidRequest
from .models import expired_places
from .values import Status

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy.orm import Session

    from .models import Models, SlotMixin


def due_reminders(
    session: Session, models: Models, now: datetime, since: datetime, until: datetime | None = None
) -> list[SlotMixin]:
    """Return the booked slots of which the reminder fell due in ``(since, until]`` and that have not started.

    :param now: aware; the default of ``until``.
    :raises InvalidRequest: if a bound is naive.
    """
    until = now if until is None else until
    for name, value in (("since", since), ("until", until)):
        if not isinstance(value, datetime) or value.tzinfo is None:
            text = f"{name} = {value!r}: expected an aware datetime (with a time zone)"
            raise InvalidRequest(text, field=name, value=value)
    slot, template = models.Slot, models.Template
    query = select(template.id, template.reminder_before).where(template.reminder_before.is_not(None))
    # One condition for each span that is in use: adding a column's span to a time is written differently everywhere.
    by_span: dict[timedelta, list[int]] = {}
    for row in session.execute(query):
        by_span.setdefault(row.reminder_before, []).append(row.id)
    if not by_span:
        return []
    due = [
        and_(slot.template_id.in_(ids), slot.starts_at > since + span, slot.starts_at <= until + span)
        for span, ids in by_span.items()
    ]
    live = slot.booked > expired_places(models, slot, now)
    conditions = (or_(*due), slot.status == Status.SCHEDULED.value, slot.starts_at > now, live)
    return list(session.scalars(select(slot).where(*conditions).order_by(slot.starts_at, slot.id)))
