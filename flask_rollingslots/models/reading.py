"""Reading templates and slots as plain values, and turning planned slots into rows."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, and_, cast, func, inspect, or_, select
from sqlalchemy.orm.attributes import set_committed_value

from flask_rollingslots.values import SlotKey, Status, StoredSlot, TemplateSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from flask_rollingslots.values import PlannedSlot, Window

    from .make import Models
    from .mixins import SlotMixin, TemplateMixin

_SPEC_FIELDS = tuple(f.name for f in fields(TemplateSpec))
# A zone is at most 14 hours from UTC, and a gap at most a day wide.
_ZONE_SLACK = timedelta(days=2)


def load_specs(session: Session, models: Models, *conditions: ColumnElement[bool]) -> list[TemplateSpec]:
    """Return the templates that meet the conditions, by id, without making model instances."""
    cls = models.Template
    query = select(*(getattr(cls, name) for name in _SPEC_FIELDS)).where(*conditions).order_by(cls.id)
    return [_spec(row) for row in session.execute(query)]


def _spec(row: Any) -> TemplateSpec:
    values = dict(zip(_SPEC_FIELDS, row, strict=True))
    for name in ("rdates", "exdates", "blackouts"):
        values[name] = tuple(values[name] or ())
    values["series_id"] = values["series_id"] or values["id"]
    return TemplateSpec(**values)


def fingerprint(session: Session, models: Models) -> str:
    """Return a text that changes with every template that is added, changed or deleted."""
    cls = models.Template
    row = session.execute(select(func.count(), func.sum(cls.revision), func.max(cls.id))).one()
    return ":".join(str(value or 0) for value in row)


def load_stored(
    session: Session, models: Models, units: Sequence[tuple[TemplateSpec, Window]]
) -> dict[SlotKey, StoredSlot]:
    """Return all rows that planning these templates in these windows needs, by key.

    A row belongs here by its original start or by where it was moved to.
    """
    cls = models.Slot
    start, end = min(w.start for _, w in units), max(w.end for _, w in units)
    shifts = [spec.shift or timedelta(0) for spec, _ in units]
    first = _naive(start) - _ZONE_SLACK - max(*shifts, timedelta(0))
    last = _naive(end) + _ZONE_SLACK - min(*shifts, timedelta(0))
    rows = _stored(
        session,
        models,
        cls.series_id.in_({spec.series_id for spec, _ in units}),
        or_(
            and_(cls.original_start >= first, cls.original_start < last),
            and_(cls.starts_at >= start, cls.starts_at < end),
        ),
    )
    return {SlotKey(row.series_id, row.original_start): row for row in rows}


def load_later(
    session: Session, models: Models, template_ids: Sequence[int], after: datetime
) -> list[StoredSlot]:
    """Return the rows of some templates that start at a moment or later, by key."""
    cls = models.Slot
    return list(_stored(session, models, cls.template_id.in_(template_ids), cls.starts_at >= after))


def _stored(session: Session, models: Models, *conditions: ColumnElement[bool]) -> Iterator[StoredSlot]:
    cls = models.Slot
    columns = [getattr(cls, name) for name in StoredSlot._fields]
    query = select(*columns).where(*conditions).order_by(cls.series_id, cls.original_start)
    for row in session.execute(query):
        yield StoredSlot._make(row)._replace(customised=bool(row.customised))


def is_decided(models: Models) -> ColumnElement[bool]:
    """Return, in SQL, whether somebody decided about a slot: not what a top-up made and nobody touched."""
    cls = models.Slot
    return or_(cls.status != Status.SCHEDULED.value, cast(cls.customised, String) != "[]")


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def row_of(slot: PlannedSlot, now: datetime, run_id: int | None = None) -> dict[str, Any]:
    """Return the column values of a planned slot's row.

    :param now: aware; becomes ``created_at``.
    :param run_id: the run that writes it; ``None`` when a person materialises it.
    """
    spec = slot.spec
    return {
        "series_id": spec.series_id,
        "template_id": spec.id,
        "original_start": slot.original_start,
        "starts_at": slot.starts_at,
        "ends_at": slot.ends_at,
        "opens_at": slot.opens_at,
        "closes_at": slot.closes_at,
        "status": Status.SCHEDULED.value,
        "capacity": spec.capacity,
        "booked": 0,
        "data": spec.data,
        "customised": [],
        "cancel_reason": None,
        "run_id": run_id,
        "created_at": now,
    }


def virtual_slot(models: Models, slot: PlannedSlot, template: TemplateMixin, now: datetime) -> SlotMixin:
    """Return a slot without a row; it enters no session by itself."""
    values = row_of(slot, now)
    virtual = models.Slot(**{**values, "data": deepcopy(values["data"])})
    set_committed_value(virtual, "template", template)
    return virtual


def template_id_of(template: TemplateMixin) -> int | None:
    """Return the id that the database gave a template, also if it belongs to a session that is gone."""
    identity = inspect(template).identity
    return int(identity[0]) if identity else None


def segments(session: Session, models: Models, series_ids: Iterable[int]) -> list[TemplateMixin]:
    """Return all segments of some series, by id."""
    cls = models.Template
    return list(session.scalars(select(cls).where(cls.series_id.in_(list(series_ids))).order_by(cls.id)))
