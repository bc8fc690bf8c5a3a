"""Finding templates by text and by range, runs and bookings by id: pages of lists, for whoever shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import func, or_, select

from . import planning
from .browsing import _touched
from .errors import RollingSlotsError, no_booking, no_run, no_template
from .models import segments
from .values import SlotKey, Status, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from .models import BookingMixin, Models, RunMixin, TemplateMixin

Row = TypeVar("Row")

_MAX_ID = 2**63
#: How many runs are searched for those of one template.
_RUNS_SEARCHED = 1000


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for among the templates.

    :param q: part of the name, of the group or of the text of the rule; case does not matter.
    :param start: aware; with ``end``: only series that have a slot in this span, stored or promised.
    """

    q: str | None = None
    group: str | None = None
    active: bool | None = None
    start: datetime | None = None
    end: datetime | None = None


def search_templates(
    session: Session, models: Models, now: datetime, wanted: Search, after: int = 0, limit: int | None = None
) -> Sequence[TemplateMixin]:
    """Return the templates that fit, by id; a series that never ends is found in any future span.

    :param now: aware; before it only what is stored counts.
    :param after: only those with a greater id.
    :param limit: at most so many, where no span is looked at.
    """
    cls = models.Template
    query = select(cls).where(cls.id > after).order_by(cls.id)
    if limit is not None and wanted.start is None:
        query = query.limit(limit)
    if wanted.q is not None:
        part = wanted.q.lower()
        query = query.where(
            or_(
                *(
                    func.lower(column).contains(part, autoescape=True)
                    for column in (cls.name, cls.group, cls.rrule)
                )
            )
        )
    if wanted.group is not None:
        query = query.where(cls.group == wanted.group)
    if wanted.active is not None:
        query = query.where(cls.active.is_(wanted.active))
    found = list(session.scalars(query))
    if wanted.start is None or wanted.end is None or not found:
        return found
    window = Window(wanted.start.astimezone(UTC), wanted.end.astimezone(UTC))
    stored = _stored_in(session, models, window)
    return [template for template in found if template.id in stored or _promises(template, window, now)]


def _stored_in(session: Session, models: Models, window: Window) -> set[int]:
    """Return the templates that have a stored slot in a window."""
    cls = models.Slot
    place = (cls.starts_at >= window.start, cls.starts_at < window.end, cls.status != Status.DELETED.value)
    return set(session.scalars(select(cls.template_id).where(*place).distinct()))


def _promises(template: TemplateMixin, window: Window, now: datetime) -> bool:
    """Whether a template promises a slot in what is still to come of a window."""
    start = max(window.start, now)
    if start >= window.end:
        return False
    try:
        return any(
            reason is None for _, reason in planning.promised(template.spec(), Window(start, window.end))
        )
    except (ValueError, LookupError, OSError, ArithmeticError):  # a rule that is broken promises nothing
        return False


def find_template(session: Session, models: Models, template_id: int) -> TemplateMixin:
    """Return a template.

    :raises TemplateNotFound: if there is none with this id.
    """
    return _by_id(session, models.Template, template_id, no_template(template_id))


def _by_id(session: Session, cls: type[Row], number: int, missing: RollingSlotsError) -> Row:
    found = session.get(cls, number) if 0 < number < _MAX_ID else None
    if found is None:
        raise missing
    return found


def series_at(session: Session, models: Models, key: SlotKey) -> list[TemplateMixin]:
    """Return all segments of the series that a slot's key names, by id; empty if there is none."""
    return segments(session, models, [key.series_id])


def find_booking(session: Session, models: Models, booking_id: int) -> BookingMixin:
    """Return a booking.

    :raises BookingNotFound: if there is none with this id.
    """
    return _by_id(session, models.Booking, booking_id, no_booking(booking_id))


def find_run(session: Session, models: Models, run_id: int) -> RunMixin:
    """Return a recorded top-up.

    :raises RunNotFound: if there is none with this id.
    """
    return _by_id(session, models.Run, run_id, no_run(run_id))


def list_runs(
    session: Session, models: Models, template_id: int | None, before: int | None, limit: int
) -> list[RunMixin]:
    """Return recorded top-ups, newest first; of one template: those of the last 1,000 that touched it.

    :param before: only those with a smaller id.
    """
    cls = models.Run
    query = select(cls).order_by(cls.id.desc())
    if before is not None:
        query = query.where(cls.id < before)
    if template_id is None:
        return list(session.scalars(query.limit(limit)))
    query = query.where(or_(cls.template_id == template_id, cls.template_id.is_(None))).limit(_RUNS_SEARCHED)
    return [run for run in session.scalars(query) if _touched(run, template_id)][:limit]
