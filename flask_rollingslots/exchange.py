"""Import and export: from rows to what ``feeds`` writes, and from what it reads to rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import select

from . import planning
from .errors import no_group, no_template, refusal
from .feeds import FORMATS, Decision, Defaults, Entry, Outgoing, ics_bytes, json_text, read_file
from .feeds.entries import naming, refuse
from .loading import is_decided, row_of
from .models import FIELDS
from .models.fields import SPEC_FIELDS
from .models.mixins import DECIDED_FIELDS
from .recurrence.zones import find_zone, instant_of
from .values import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from .context import Work
    from .models import Models, SlotMixin, TemplateMixin
    from .values import TemplateSpec

#: Fields of a template that planning does not need, and so no TemplateSpec has.
_MORE = [name for name, field in FIELDS.items() if field.in_files and name not in SPEC_FIELDS]
#: What an override may say beside its status and start.
_DETAILS = [name for name in DECIDED_FIELDS if name != "starts_at"]
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought: templates in the session, flushed, and the number of decisions."""

    templates: list[TemplateMixin]
    decisions: int


class Exported(NamedTuple):
    """The content of a file.

    :param left_out: how many inactive templates are not in it.
    """

    content: bytes
    left_out: int


def export(work: Work, template_id: int | None, group: str | None, form: str) -> Exported:
    """Return the file of some templates.

    :param form: ``json`` or ``ics``.
    :raises InvalidRequest: for another form.
    :raises TemplateNotFound: if there is no such template, or none in the group.
    """
    if form not in FORMATS[1:]:
        raise refusal("form", form, "json or ics")
    found = outgoing(work.session, work.models, template_id, group)
    if form == "json":
        return Exported(json_text(found).encode(), 0)
    return Exported(ics_bytes(found, work.now), sum(not each.spec.active for each in found))


def import_templates(
    work: Work, content: bytes, form: str, group: str | None, timezone: str | None, name: str | None
) -> Imported:
    """Add the templates of a file and their decisions to the session, and flush; in a dry run only check them.

    :raises InvalidRequest: names the entry, the field, the value and what is expected.
    """
    if form not in FORMATS:
        raise refusal("form", form, "auto, json or ics")
    with naming("--timezone"):
        zone = find_zone(timezone)[0] if timezone is not None else work.settings.timezone
    entries = read_file(content, Defaults(zone, name), form)
    return bring_in(work.session, work.models, work.now, entries, group)


def outgoing(
    session: Session, models: Models, template_id: int | None = None, group: str | None = None
) -> list[Outgoing]:
    """Return templates, by id, with what people decided about their slots.

    :param template_id: only the series of this template.
    :param group: only the templates of this group.
    :raises TemplateNotFound: if there is no such template, or none in the group.
    """
    cls = models.Template
    query = select(cls).order_by(cls.id)
    if template_id is not None:
        query = query.where(cls.series_id.in_(select(cls.series_id).where(cls.id == template_id)))
    if group is not None:
        query = query.where(cls.group == group)
    templates = list(session.scalars(query))
    if template_id is not None and not templates:
        raise no_template(template_id)
    if group is not None and not templates:
        raise no_group(group)
    decided = _decided(session, models, [template.id for template in templates])
    return [_outgoing(template, decided.get(template.id, [])) for template in templates]


def _outgoing(template: TemplateMixin, slots: list[SlotMixin]) -> Outgoing:
    spec = template.spec()
    more = {name: getattr(template, name) for name in _MORE}
    decisions = tuple(_decision_of(spec, slot) for slot in slots)
    return Outgoing(spec, template.created_at, more, decisions, template.changed_at)


def _decided(session: Session, models: Models, ids: Sequence[int]) -> dict[int, list[SlotMixin]]:
    """Return the slots that a person decided about, by template."""
    cls = models.Slot
    found: dict[int, list[SlotMixin]] = {}
    decided = is_decided(models)
    for first in range(0, len(ids), _CHUNK):
        chunk = ids[first : first + _CHUNK]
        query = select(cls).where(cls.template_id.in_(chunk), decided).order_by(cls.original_start)
        for slot in session.scalars(query):
            if slot.customised or slot.status != Status.SCHEDULED:
                found.setdefault(slot.template_id, []).append(slot)
    return found


def _decision_of(spec: TemplateSpec, slot: SlotMixin) -> Decision:
    derived = planning.planned_slot(spec, slot.original_start, slot.starts_at, ZoneInfo(spec.timezone))
    return Decision(
        original_start=slot.original_start,
        status=slot.status,
        starts_at=slot.starts_at,
        ends_at=slot.ends_at,
        opens_at=slot.opens_at if slot.opens_at != derived.opens_at else None,
        closes_at=slot.closes_at if slot.closes_at != derived.closes_at else None,
        capacity=slot.capacity,
        data=dict(slot.data or {}),
        cancel_reason=slot.cancel_reason,
        ended_with_series=bool(slot.ended_with_series),
        customised=tuple(slot.customised or ()),
        changed_at=slot.changed_at,
    )


def bring_in(
    session: Session, models: Models, now: datetime, entries: Sequence[Entry], group: str | None = None
) -> Imported:
    """Add the templates of a file and their decisions to the session, and flush; the caller commits.

    :param now: aware; becomes the time at which the decided slots were stored.
    :param group: put all templates into this group.
    :raises InvalidRequest: if a template could not be filled; names the entry. Nothing was flushed then.
    """
    templates = [_template(models, entry, group) for entry in entries]
    heads: dict[str, TemplateMixin] = {}
    later: list[tuple[str, TemplateMixin]] = []
    for entry, template in zip(entries, templates, strict=True):
        if entry.series is not None and entry.series in heads:
            later.append((entry.series, template))
            continue
        if entry.series is not None:
            heads[entry.series] = template
        session.add(template)
    session.flush()
    _continue(session, heads, later)
    rows = [
        models.Slot(**_row(template.spec(), decision, now))
        for entry, template in zip(entries, templates, strict=True)
        for decision in entry.decisions
    ]
    session.add_all(rows)
    session.flush()
    return Imported(templates, len(rows))


def _template(models: Models, entry: Entry, group: str | None) -> TemplateMixin:
    fields = entry.fields if group is None else {**entry.fields, "group": group}
    template = models.Template(**fields)
    with naming(entry.label):
        models.prepare(template)
        rule = template.recurrence.rule
    if rule is not None and any(rule.bysecond):
        refuse(entry.label, "BYSECOND", rule.bysecond, "whole minutes: slot keys have no seconds")
    return template


def _continue(
    session: Session, heads: dict[str, TemplateMixin], later: list[tuple[str, TemplateMixin]]
) -> None:
    """Store the later segments of series, each behind the one before."""
    last = dict(heads)
    for series, template in later:
        template.series_id = heads[series].series_id
        template.continues_id = last[series].id
        last[series] = template
        session.add(template)
        session.flush()


def _row(spec: TemplateSpec, decision: Decision, now: datetime) -> dict[str, Any]:
    """Return the column values of a decided slot; what the file leaves open follows from the rule."""
    zone = ZoneInfo(spec.timezone)
    by_rule = instant_of(decision.original_start + spec.shift, zone)
    starts_at = decision.starts_at or by_rule
    row = row_of(planning.planned_slot(spec, decision.original_start, starts_at, zone), now)
    given = {name for name in _DETAILS if getattr(decision, name) is not None}
    row |= {name: getattr(decision, name) for name in given}
    if decision.customised is not None:
        customised = set(decision.customised)
    elif starts_at != by_rule:
        customised = {*given, "starts_at", "ends_at"}
    else:
        customised = given if row["ends_at"] != by_rule + spec.duration else given - {"ends_at"}
    return row | {
        "status": decision.status,
        "data": dict(row["data"]),
        "customised": sorted(customised),
        "cancel_reason": decision.cancel_reason,
        "ended_with_series": decision.ended_with_series or None,
    }
