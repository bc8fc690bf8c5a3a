"""Writing what was planned: segments through the ORM, whose revision counts, and stored slots past it.

With a segment its stored slots are brought in line at once: what was planned of them, and what else they lack to be as
their template says by now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, delete, inspect, update
from sqlalchemy.orm.attributes import set_committed_value

from .. import planning
from ..booking.counting import release_expired
from ..booking.waiting import serve_rows
from ..context import Work
from ..models import FIELDS, Models, TemplateMixin, copy_of_value, forget_busy, keep_name, table_of
from ..statements import in_parts
from ..values import MARKS, OCCUPYING, Status, StoredSlot, TemplateSpec, Times
from .storage import Expanded, RowChange, SeriesPlan, StoredSeries

#: What it follows from when a slot is offered, beside its start.
_offer = attrgetter(
    "opens_before", "opens_days_before", "opens_time", "closes_before", "closes_days_before", "closes_time"
)
#: Columns of a slot whose values are the same if they are equal: 1 and True are not, in JSON.
_ALIKE = MARKS | {"capacity", "changed_at"}
_NOT_COPIED = {name for name, field in FIELDS.items() if not field.copied}


def write_plan(work: Work, series: StoredSeries, plan: SeriesPlan) -> list[int]:
    """Change segments, cut those that are to be cut, change and remove stored slots.

    :return: the ids of all segments that were changed or made; in a dry run: of those that would be changed.
    """
    if work.dry_run:
        return [change.template_id for change in plan.segments]
    touched, cuts = [], dict[int, tuple[datetime, int]]()
    for change in plan.segments:
        template = series.templates[change.template_id]
        if change.cut_at is not None:
            touched.append(template.id)
            template = _cut(work, template, change.cut_at, change.values)
            cuts[change.template_id] = change.cut_at, template.id
            series.templates[template.id] = template
        else:
            for name, value in change.values.items():
                setattr(template, name, value)
        work.session.flush()
        touched.append(template.id)
    _settle(work, series, plan, cuts)
    return touched


def settle(work: Work, series: StoredSeries) -> None:
    """Bring the stored slots of a series in line with its templates, which were changed and flushed."""
    if not work.dry_run:
        _settle(work, series, SeriesPlan(), {})


def _settle(
    work: Work, series: StoredSeries, plan: SeriesPlan, cuts: Mapping[int, tuple[datetime, int]]
) -> None:
    """Write what was planned of stored slots, and what else they lack to be as their templates say.

    :param cuts: segment -> the original start (naive) of what was handed to a later segment, and that.
    """
    changed = {change.row.id: change for change in plan.changed}
    removed = [row.id for row in plan.removed]
    gone = {*removed, *(row.id for row in series.rows if not _follows(series, row, changed))}
    unsettled = {t.id: t for t in series.templates.values() if t.settled_revision != t.revision}
    for before in series.specs:
        cut_at, later = cuts.get(before.id, (datetime.max, before.id))
        rows = [row for row in series.rows if row.template_id == before.id and row.id not in gone]
        for template_id, theirs in (
            (before.id, [row for row in rows if row.original_start < cut_at]),
            (later, [row for row in rows if row.original_start >= cut_at]),
        ):
            # What was decided alone is not as it was when all were brought in line.
            if template_id not in unsettled:
                theirs = [row for row in theirs if row.id in changed]
            if theirs:
                spec = TemplateSpec.of(series.templates[template_id])
                for change in _settled(series, before, spec, theirs, changed, plan.expanded):
                    changed[change.row.id] = change
    _write_rows(work, list(changed.values()), removed)
    _note_settled(work, unsettled.values())
    # More places, or a slot that is offered again: there may be somebody who waits for that.
    serve_rows(work, (row.id for row in series.rows if row.waits_for is not None and row.id not in removed))


def _follows(series: StoredSeries, row: StoredSlot, changed: Mapping[int, RowChange]) -> bool:
    """Whether a stored slot is one that follows its template, or stands in the way of those: it is not over."""
    status = changed[row.id].values.get("status", row.status) if row.id in changed else row.status
    return status in OCCUPYING and row.ends_at > series.now


def _settled(
    series: StoredSeries,
    before: TemplateSpec,
    spec: TemplateSpec,
    rows: Sequence[StoredSlot],
    changed: Mapping[int, RowChange],
    expanded: Iterable[Expanded],
) -> Iterator[RowChange]:
    """Yield what changes of a segment's stored slots, with what was planned of them."""
    planned = {row.id: changed[row.id].values if row.id in changed else {} for row in rows}
    # As they will be: also of a slot that a person brought back it may be decided by now that it goes.
    known = [_as_planned(row, planned[row.id]) for row in rows]
    zone, starts = ZoneInfo(spec.timezone), _starts_by_now(before, spec, rows, known, expanded)
    times = next((each.times for each in expanded if each.template_id == before.id), {})
    # What was settled tells by itself, here too: a slot that only follows its rule has the times of that.
    are_told = before.is_settled and planning.starts_alike(before, spec) and _offer(before) == _offer(spec)
    for row, by_then in zip(rows, known, strict=True):
        at, rule = starts.get(row.original_start), times.get(row.original_start)
        follows = at == row.starts_at and not (row.customised or row.live or row.displaced)
        if are_told and follows and row.closes_at is not None:
            rule = Times(row.original_start, row.starts_at, row.ends_at, row.opens_at, row.closes_at)
        values = planned[row.id] | planning.settled(spec, by_then, at, series.now, zone, rule=rule)
        if values:
            yield RowChange(row, values)


def _as_planned(row: StoredSlot, values: Mapping[str, Any]) -> StoredSlot:
    if not values:
        return row
    return row._replace(**{name: value for name, value in values.items() if name in StoredSlot._fields})


def _starts_by_now(
    before: TemplateSpec,
    spec: TemplateSpec,
    rows: Sequence[StoredSlot],
    known: Sequence[StoredSlot],
    expanded: Iterable[Expanded],
) -> dict[datetime, datetime]:
    """Return when a segment has its rows by now; its rule is expanded only for what is not known yet.

    What was settled tells by itself: a row without a mark is where its rule has it.

    :param known: the rows as they are planned to be.
    """
    starts: dict[datetime, datetime] = {}
    unknown = list(rows)
    if before.is_settled and planning.starts_alike(before, spec):
        told, unknown = list[StoredSlot](), []
        for row, by_then in zip(rows, known, strict=True):
            is_told = row.status == Status.SCHEDULED and not row.displaced
            (told if is_told and row.customised == by_then.customised else unknown).append(row)
        starts = {row.original_start: row.starts_at for row in told if not row.withdrawn}
    for template_id, asked, found, _ in expanded:
        if template_id == before.id and spec.active and spec.cancelled_from is None:
            mine = [row.original_start for row in unknown if row.original_start in asked]
            starts |= {original: found[original] for original in mine if original in found}
            unknown = [row for row in unknown if row.original_start not in asked]
    asked_for = {row.id for row in unknown}
    return starts | planning.offered_starts(spec, [row for row in known if row.id in asked_for])


def _note_settled(work: Work, templates: Collection[TemplateMixin]) -> None:
    # Past the ORM: this is nobody's decision, and must not raise the revision.
    found = [{"row_id": template.id, "new_settled_revision": template.revision} for template in templates]
    if found:
        work.session.execute(_update(work, work.models.Template, ("settled_revision",)), found)
    for template in templates:
        set_committed_value(template, "settled_revision", template.revision)


def _cut(work: Work, template: TemplateMixin, cut: datetime, values: dict[str, Any]) -> TemplateMixin:
    """End a segment, let a copy with the changes take over, and hand the later rows to it."""
    names = [a.key for a in inspect(type(template)).column_attrs if a.key not in _NOT_COPIED]
    kept = {name: copy_of_value(getattr(template, name)) for name in names}
    later = work.models.as_checked(type(template)(**{**kept, "active_from": cut, **values}), template)
    later.continues_id = template.id
    later.series_id = template.series_id or template.id
    template.active_until = cut
    if template.cancelled_from is not None and template.cancelled_from >= cut:
        template.cancelled_from = None  # the later part has it
    work.models.as_checked(template, template)  # a part of what is checked now: only its end is another
    if values.get("name", template.name) != template.name:
        taken_over = table_of(work.models.Slot).c.original_start >= cut
        work.session.execute(keep_name(work.models, template.id, work.now, taken_over))
    work.session.add(later)
    work.session.flush()
    # The later part goes on counting: whoever saw its slots before the cut must be told, and a new row begins at 1.
    revision = template.revision + 1
    values = {"row_id": later.id, "new_revision": revision}
    work.session.execute(_update(work, work.models.Template, ("revision",)), values)
    set_committed_value(later, "revision", revision)
    handed = {"before": template.id, "cut": cut, "later": later.id}
    work.session.execute(work.models.build_once("later rows handed over", _hand_over), handed)
    return later


def _hand_over(models: Models) -> Any:
    table = table_of(models.Slot)
    rows = (table.c.template_id == bindparam("before"), table.c.original_start >= bindparam("cut"))
    return update(table).where(*rows).values(template_id=bindparam("later"))


def _update(work: Work, cls: type[Any], names: tuple[str, ...], are_many: bool = False) -> Any:
    """Return the UPDATE of some columns of a row, by attribute name: ``row_id``, and ``new_…`` for each.

    :param are_many: of several rows, ``row_ids``, which get the same.
    """

    def build(models: Models) -> Any:
        table, attributes = table_of(cls), inspect(cls).column_attrs
        columns = {name: attributes[name].columns[0] for name in names}
        values = {each: bindparam(f"new_{name}", type_=each.type) for name, each in columns.items()}
        meant = table.c.id.in_(bindparam("row_ids", expanding=True))
        return update(table).where(meant if are_many else table.c.id == bindparam("row_id")).values(values)

    return work.models.build_once(("update of rows", cls, names, are_many), build)


def _write_rows(work: Work, changed: Sequence[RowChange], removed: list[int]) -> None:
    """Change and remove stored slots; what the session knows of slots is read again."""
    session, table = work.session, table_of(work.models.Slot)
    lapsed = [change.row.id for change in changed if change.row.lapsed]
    if lapsed:
        release_expired(work, lapsed)
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row, values in changed:
        noted = {} if values.keys() <= MARKS else {"changed_at": work.now}  # a mark is nobody's decision
        given = {f"new_{name}": value for name, value in (values | noted).items()}
        by_columns.setdefault(tuple(sorted(values | noted)), []).append({"row_id": row.id, **given})
    for names, rows in by_columns.items():
        same = {name: value for name, value in rows[0].items() if name != "row_id"}
        if rows[1:] and _ALIKE.issuperset(names) and all(row | same == row for row in rows):
            for part in in_parts([row["row_id"] for row in rows]):
                session.execute(
                    _update(work, work.models.Slot, names, are_many=True), {**same, "row_ids": part}
                )
        else:
            session.execute(_update(work, work.models.Slot, names), rows)
    for part in in_parts(removed):
        session.execute(delete(table).where(table.c.id.in_(part)))
    forget_slots(work)


def forget_slots(work: Work) -> None:
    """Let the session read the slots again that it holds: they were written past it."""
    forget_busy(work.session)
    for instance in list(work.session.identity_map.values()):
        if isinstance(instance, work.models.Slot) and not inspect(instance).modified:
            work.session.expire(instance)
