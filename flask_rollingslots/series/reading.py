"""Reading a whole series as plain values, locked where it is to be changed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, or_, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm.exc import StaleDataError

from flask_rollingslots import planning
from flask_rollingslots.errors import SlotNotFound, StaleEdit, TemplateNotFound
from flask_rollingslots.loading import load_specs
from flask_rollingslots.models import live_places, table_of
from flask_rollingslots.revising import Case, RowState, in_order
from flask_rollingslots.statements import atomic, dialect_of, exclusive, is_lost_race, take_write_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import Models, TemplateMixin
    from flask_rollingslots.values import SlotKey

#: A slot that has started may still last; nothing older can matter to a change.
_LOOK_BACK = timedelta(days=2)
_COLUMNS = (
    "id", "series_id", "template_id", "original_start", "starts_at", "ends_at", "opens_at", "closes_at", "status",
    "capacity", "booked", "holds", "data", "customised", "cancel_reason", "ended_with_series", "run_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loaded:
    """A series: as plain values, and its templates if they are locked."""

    case: Case
    templates: dict[int, TemplateMixin] = field(default_factory=dict)


@contextmanager
def deciding(work: Work) -> Iterator[None]:
    """Do all of a change or nothing, and say in our words that somebody else was faster.

    :raises StaleEdit: if what is changed was changed in the meantime.
    """
    if work.dry_run:
        yield
        return
    try:
        with atomic(work.session):
            yield
    except StaleDataError as error:
        raise StaleEdit from error
    except DBAPIError as error:
        if is_lost_race(error):
            raise StaleEdit from error
        raise


def check_unchanged(session: Session, models: Models, template: TemplateMixin) -> None:
    """Before a template is written through the ORM: refuse it if somebody else changed it since it was read.

    SQLAlchemy would find out too, by the version that its UPDATE does not meet, and raise a StaleDataError.

    :raises StaleEdit: if it was changed or deleted.
    """
    state, templates = inspect(template), table_of(models.Template)
    seen = state.committed_state.get("revision", state.dict.get("revision"))
    if seen is None:  # what was not read cannot be stale
        return
    take_write_lock(session)
    query = select(templates.c.revision).where(templates.c.id == template.id)
    if session.scalar(exclusive(query, dialect_of(session))) != seen:
        raise StaleEdit


def series_of(work: Work, template_id: int) -> int:
    """Return the series of a template.

    :raises TemplateNotFound: if there is no such template.
    """
    cls = work.models.Template
    found = work.session.execute(select(cls.id, cls.series_id).where(cls.id == template_id)).one_or_none()
    if found is None:
        raise TemplateNotFound(f"template {template_id}: there is no such template")
    return int(found.series_id or found.id)


def read_series(work: Work, series_id: int, key: SlotKey | None = None) -> Loaded:
    """Return a series as it is, for looking only.

    :raises SlotNotFound: if there is no such series.
    """
    specs = load_specs(work, work.models.Template.series_id == series_id)
    return _loaded(work, series_id, key, specs, {}, lock=False)


def lock_series(work: Work, series_id: int, key: SlotKey | None = None) -> Loaded:
    """Return a series as it is now, and keep others from changing it until the app commits.

    :raises SlotNotFound: if there is no such series.
    :raises StaleEdit: if this session has read a template that somebody else changed since.
    """
    session, cls = work.session, work.models.Template
    if work.dry_run:
        found = session.scalars(select(cls).where(cls.series_id == series_id).order_by(cls.id))
        there = {template.id: template for template in found}
        specs = [template.spec() for template in there.values()]
        return _loaded(work, series_id, key, specs, there, lock=False)
    dialect = dialect_of(session)
    seen = {
        template.id: inspect(template).dict.get("revision")
        for template in _in_session(session, cls)
        if inspect(template).dict.get("series_id") == series_id
    }
    # The first segment stands for the series: whoever waited for it also sees the segments that were cut meanwhile.
    session.execute(exclusive(select(cls.id).where(cls.id == series_id), dialect))
    query: Any = select(cls).where(cls.series_id == series_id).order_by(cls.id)
    query = exclusive(query, dialect).execution_options(populate_existing=True)
    templates = {template.id: template for template in session.scalars(query)}
    for template_id, revision in seen.items():
        current = templates.get(template_id)
        if revision is not None and (current is None or current.revision != revision):
            raise StaleEdit
    specs = [template.spec() for template in templates.values()]
    return _loaded(work, series_id, key, specs, templates, lock=True)


def _in_session(session: Session, cls: type[Any]) -> Iterator[Any]:
    for instance in list(session.identity_map.values()):
        if isinstance(instance, cls) and not inspect(instance).expired and "id" in inspect(instance).dict:
            yield instance


def _loaded(
    work: Work,
    series_id: int,
    key: SlotKey | None,
    specs: list[Any],
    templates: dict[int, TemplateMixin],
    *,
    lock: bool,
) -> Loaded:
    if not specs:
        raise SlotNotFound(f"series {series_id}: there is no such series", key=str(key or series_id))
    ordered = in_order(specs)
    horizon = max(
        planning.window_of(spec, work.now, work.settings.window_days, work.settings.align).end
        for spec in ordered
    )
    rows = tuple(_rows(work, series_id, key, lock=lock))
    return Loaded(Case(ordered, rows, work.now, horizon), templates)


def _rows(work: Work, series_id: int, key: SlotKey | None, *, lock: bool) -> Iterator[RowState]:
    session, cls = work.session, work.models.Slot
    bookings = table_of(work.models.Booking)
    place = cls.starts_at > work.now - _LOOK_BACK
    if key is not None:
        place = or_(place, cls.original_start == key.original_start)
    query: Any = select(*(getattr(cls, name) for name in _COLUMNS)).where(cls.series_id == series_id, place)
    query = query.order_by(cls.original_start)
    found = list(session.execute(exclusive(query, dialect_of(session)) if lock else query))
    history = select(bookings.c.slot_id).join(cls, cls.id == bookings.c.slot_id)
    booked = set(session.scalars(history.where(cls.series_id == series_id, place).distinct()))
    for row in found:
        values = row._asdict()
        values["customised"] = tuple(values["customised"] or ())
        values["data"] = dict(values["data"] or {})
        values["ended_with_series"] = bool(values["ended_with_series"])
        live = live_places(row.booked, values.pop("holds"), work.now)
        yield RowState(**values, has_history=row.id in booked, live=live)
