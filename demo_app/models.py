"""The database of the demo, and the slots on it: it has no table of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_caching import Cache
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select

from flask_rollingslots import RollingSlots

if TYPE_CHECKING:
    from flask_rollingslots import TemplateMixin

db = SQLAlchemy()
#: Only used where a shared cache is configured; the slots find it on the app.
cache = Cache()
slots = RollingSlots(db=db)


def active_templates(group: str | None = None) -> list[TemplateMixin]:
    """Return the active templates of a venue, or of all, oldest series first, its parts in order."""
    cls = slots.Template
    query = select(cls).where(cls.active.is_(True)).order_by(cls.series_id, cls.id)
    return list(db.session.scalars(query if group is None else query.where(cls.group == group)))


def segments_of(template: TemplateMixin) -> list[TemplateMixin]:
    """Return all segments of a template's series: one, unless the series was split."""
    cls = slots.Template
    query = select(cls).where(cls.series_id == template.series_id).order_by(cls.id)
    return list(db.session.scalars(query))
