"""Writing what was planned: segments through the ORM, whose revision counts, rows past it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, inspect, update
from sqlalchemy.orm.attributes import set_committed_value

from flask_rollingslots.booking import release_expired
from flask_rollingslots.models import forget_busy, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import TemplateMixin
    from flask_rollingslots.revising import RowChange, RowState, SegmentChange

    from .reading import Loaded

_NOT_COPIED = {"id", "revision", "continues_id", "created_at", "changed_at"}
_AT_ONCE = 500


def write_segments(work: Work, loaded: Loaded, changes: Iterable[SegmentChange]) -> list[int]:
    """Change segments, and cut those that are to be cut; return the ids of all that were changed or made."""
    if work.dry_run:
        return [change.template_id for change in changes]
    touched = []
    for change in changes:
        template = loaded.templates[change.template_id]
        if change.cut_at is not None:
            touched.append(template.id)
            template = _cut(work, template, change)
        else:
            _set(template, change.values)
        work.session.flush()
        touched.append(template.id)
    return touched


def _set(template: TemplateMixin, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(template, name, value)


def _cut(work: Work, template: TemplateMixin, change: SegmentChange) -> TemplateMixin:
    """End a segment, let a copy with the changes take over, and hand the later rows to it."""
    cut = change.cut_at
    assert cut is not None  # noqa: S101 (for the type checker; the caller looked)
    names = [a.key for a in inspect(type(template)).column_attrs if a.key not in _NOT_COPIED]
    values = {name: deepcopy(_plain(getattr(template, name))) for name in names}
    later = type(template)(**{**values, "active_from": cut, **change.values})
    later.continues_id = template.id
    later.series_id = template.series_id or template.id
    template.active_until = cut
    if template.cancelled_from is not None and template.cancelled_from >= cut:
        template.cancelled_from = None  # the later part has it
    work.session.add(later)
    work.session.flush()
    # The later part goes on counting: whoever saw its slots before the cut must be told, and a new row begins at 1.
    templates = table_of(work.models.Template)
    revision = template.revision + 1
    work.session.execute(update(templates).where(templates.c.id == later.id).values(revision=revision))
    set_committed_value(later, "revision", revision)
    table = table_of(work.models.Slot)
    rows = (table.c.template_id == template.id, table.c.original_start >= cut)
    work.session.execute(update(table).where(*rows).values(template_id=later.id))
    return later


def _plain(value: Any) -> Any:
    """Return a value without its tie to the row that it came from."""
    return dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value


def write_rows(work: Work, changed: Iterable[RowChange], removed: Iterable[RowState] = ()) -> None:
    """Change and remove stored slots; what the session knows of slots is read again."""
    if work.dry_run:
        return
    table = table_of(work.models.Slot)
    changed = list(changed)
    lapsed = [change.row.id for change in changed if change.row.id and change.row.live != change.row.booked]
    if lapsed:
        release_expired(work, lapsed)
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for change in changed:
        names = tuple(sorted(change.values))
        values = {f"new_{name}": change.values[name] for name in names}
        by_columns.setdefault(names, []).append({"row_id": change.row.id, **values})
    for names, rows in by_columns.items():
        values = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
        statement = (
            update(table).where(table.c.id == bindparam("row_id")).values(**values, changed_at=work.now)
        )
        work.session.execute(statement, rows)
    ids = [row.id for row in removed]
    for first in range(0, len(ids), _AT_ONCE):
        work.session.execute(delete(table).where(table.c.id.in_(ids[first : first + _AT_ONCE])))
    forget_slots(work)


def forget_slots(work: Work) -> None:
    """Let the session read the slots again that it holds: they were written past it."""
    forget_busy(work.session)
    for instance in list(work.session.identity_map.values()):
        if isinstance(instance, work.models.Slot) and not inspect(instance).modified:
            work.session.expire(instance)
