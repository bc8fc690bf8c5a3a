"""Templates and what people decided about their slots: from rows to files, and from files to rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, select

from .. import planning
from ..context import Work, is_decided, row_of
from ..errors import InvalidRequest, InvalidTemplate, no_group, no_template, refusal
from ..models import DECIDED_FIELDS, NO_OWN, Models, OwnColumns, TemplateMixin, check_data, check_times
from ..models.fields import FIELDS, SPEC_FIELDS
from ..recurrence.zones import find_zone, instant_of
from ..series.storage import meeting
from ..settings import MAX_FILE_BYTES
from ..values import Status, TemplateSpec
from .entries import Entry, Override, StoredTemplate, naming
from .ics_reading import ics_entries
from .ics_writing import ics_bytes
from .json_files import json_entries, json_text

#: What a file may be; ``auto`` tells by the content.
FORMATS = ("auto", "json", "ics")
_ICS = re.compile(r"\s*BEGIN:VCALENDAR", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
#: Fields of a template that planning does not need, and so no TemplateSpec has.
_MORE = [name for name, field in FIELDS.items() if field.in_files and name not in SPEC_FIELDS]
_OVERRIDE_FIELDS = tuple(field.name for field in fields(Override) if field.name != "own")
#: Of an override another name than in a slot.
_IN_SLOT = {"name": "own_name"}


# -- export


class Exported(NamedTuple):
    """A file, and how many templates are not in it: inactive ones, in an .ics file."""

    content: bytes
    left_out: int


def export_templates(
    work: Work, template_id: int | None = None, group: str | None = None, form: str = "json"
) -> Exported:
    """Return templates, by id, with what people decided about their slots, as a file in UTF-8.

    :param form: ``json`` or ``ics``.
    :raises TemplateNotFound: if there is no such template, or none in the group.
    :raises InvalidRequest: for another form; names a template that iCalendar cannot say.
    """
    if form not in FORMATS[1:]:
        raise refusal("form", form, f"one of {', '.join(FORMATS[1:])}")
    conditions = meant(work, template_id, group)
    templates = templates_where(work, conditions)
    if group is not None and not templates:
        raise no_group(group)
    decided = with_overrides(work, templates, [*conditions, is_decided(work.models)])
    found = [_only_decided(each) for each in decided]
    if form == "json":
        return Exported(json_text(found, work.models.own).encode(), 0)
    return Exported(ics_bytes(found, work.now), sum(not each.spec.active for each in found))


def meant(work: Work, template_id: int | None, group: str | None) -> list[ColumnElement[bool]]:
    """Return the conditions that choose the series of a template, the templates of a group, or all.

    :raises TemplateNotFound: if there is no such template, or it is not in the group.
    """
    cls = work.models.Template
    conditions = [] if group is None else [cls.group == group]
    if template_id is not None:
        series = work.session.scalar(select(cls.series_id).where(cls.id == template_id, *conditions))
        if series is None:
            raise no_template(template_id)
        conditions.append(cls.series_id == series)
    return conditions


def templates_where(work: Work, conditions: Iterable[ColumnElement[bool]]) -> Sequence[TemplateMixin]:
    """Return the templates that meet the conditions, by id."""
    cls = work.models.Template
    return work.session.scalars(select(cls).where(*conditions).order_by(cls.id)).all()


def with_overrides(
    work: Work,
    templates: Iterable[TemplateMixin],
    conditions: Iterable[ColumnElement[bool]],
    names: Sequence[str] = _OVERRIDE_FIELDS,
    most: int | None = None,
) -> list[StoredTemplate]:
    """Return templates as plain values, with their stored slots that meet the conditions; by one query.

    :param most: so many of those slots are read.
    """
    cls, slot = work.models.Template, work.models.Slot
    own = tuple(work.models.own.slot) if names is _OVERRIDE_FIELDS else ()
    columns = [getattr(slot, _IN_SLOT.get(name, name)) for name in (*names, *own)]
    query = select(slot.template_id, *columns)
    query = query.join(cls, cls.id == slot.template_id).where(*conditions)
    found: defaultdict[int, list[Override]] = defaultdict(list)
    for template_id, *values in work.session.execute(
        query.order_by(slot.series_id, slot.original_start).limit(most)
    ):
        given = dict(zip(names, values[: len(names)], strict=True))
        owned = dict(zip(own, values[len(names) :], strict=True))
        found[template_id].append(Override(**given, own=owned))

    def stored(each: TemplateMixin) -> StoredTemplate:
        more = {name: getattr(each, name) for name in (*_MORE, *work.models.own.template)}
        return StoredTemplate(
            TemplateSpec.of(each), each.changed_at or each.created_at, more, tuple(found[each.id])
        )

    return [stored(each) for each in templates]


def _only_decided(template: StoredTemplate) -> StoredTemplate:
    """Return a template without what follows from the start of a slot anyway."""
    zone, found = ZoneInfo(template.spec.timezone), []
    for each in template.overrides:
        if (each.customised or each.status != Status.SCHEDULED) and each.starts_at is not None:
            times = (each.original_start, each.starts_at, zone, each.ends_at)
            rule = planning.planned_slot(template.spec, *times)
            opens_at = each.opens_at if each.opens_at != rule.opens_at else None
            closes_at = each.closes_at if each.closes_at != rule.closes_at else None
            found.append(replace(each, opens_at=opens_at, closes_at=closes_at))
    return replace(template, overrides=tuple(found))


# -- import


class Imported(NamedTuple):
    """What an import brought: templates in the session, flushed, and the number of decisions about their slots."""

    templates: list[TemplateMixin]
    decisions: int


def import_templates(
    work: Work,
    content: bytes,
    form: str = "auto",
    group: str | None = None,
    timezone: str | None = None,
    name: str | None = None,
) -> Imported:
    """Add the templates of a file and their decisions to the session, and flush: all of them, or none.

    A dry run checks all the same, and its templates are in no session.

    :param content: JSON or iCalendar in UTF-8, at most 10 MB.
    :param timezone: IANA name of the zone of times without one; ``None``: the app's.
    :param name: of a rule without anything around it, such as the file's; ``None``: it has to have one.
    :raises InvalidRequest: one sentence that names entry, field, value and what is expected. Nothing was flushed then.
    :raises InvalidRule: if there is no such zone.
    """
    if form not in FORMATS:
        raise refusal("form", form, f"one of {', '.join(FORMATS)}")
    zone = work.settings.timezone if timezone is None else find_zone(timezone)[0]
    pairs = [
        (entry, _template(work.models, entry, group))
        for entry in read_file(content, zone, form, name, work.models.own)
    ]
    for entry, _ in pairs:
        with naming(entry.label):
            for each in entry.overrides:
                check_data(each.data, work.settings)
                check_times(each)
    if not work.dry_run:
        _add(work, pairs)
    rows = [
        _row(work, TemplateSpec.of(template), each) for entry, template in pairs for each in entry.overrides
    ]
    if not work.dry_run:
        work.session.add_all(work.models.Slot(**row) for row in rows)
        work.session.flush()
    return Imported([template for _, template in pairs], len(rows))


def read_file(
    content: bytes, timezone: str, form: str = "auto", name: str | None = None, own: OwnColumns = NO_OWN
) -> list[Entry]:
    """Return the templates that a file describes, checked one by one but not yet against each other.

    :param own: the app's own columns.
    """
    text = _decode(content)
    if form == "ics" or (form == "auto" and _ICS.match(text)):
        return ics_entries(text, timezone)
    return json_entries(text, timezone, name, own)


def _decode(content: bytes) -> str:
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequest(f"the file has more than {MAX_FILE_BYTES // 2**20} MB; expected at most so much")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, sign = content.count(b"\n", 0, error.start) + 1, f"{content[error.start]:#04x}"
        raise InvalidRequest(f"line {line}: {sign} is not UTF-8; expected UTF-8 text") from error
    if not text.strip():
        raise InvalidRequest("the file is empty; expected JSON or BEGIN:VCALENDAR")
    if found := _CONTROL.search(text):
        line, sign = text.count("\n", 0, found.start()) + 1, found.group()
        raise InvalidRequest(f"line {line}: the control character {sign!r} is no text; expected UTF-8 text")
    return text


def _template(models: Models, entry: Entry, group: str | None) -> TemplateMixin:
    initial = {name: field.initial for name, field in FIELDS.items() if field.in_files}
    template = models.Template(**initial | entry.fields | ({} if group is None else {"group": group}))
    if entry.overrides:
        # The next top-up gives the rows that come with it their marks. Instead of `None` the default would be stored.
        template.settled_revision = 0
    with naming(entry.label):
        try:
            models.prepare(template)
        except InvalidTemplate as error:
            if "overlaps" not in error.details or "overlapping" in entry.fields:
                raise
            template.overlapping = True  # where the file comes from, its slots overlap
            models.prepare(template)
    return template


def _add(work: Work, pairs: Sequence[tuple[Entry, TemplateMixin]]) -> None:
    """Store templates at once, and the later segments of series one by one, each behind the one before."""
    last: dict[str | None, TemplateMixin] = {}
    later: list[tuple[str, TemplateMixin]] = []
    for entry, template in pairs:
        if entry.series is not None and entry.series in last:
            later.append((entry.series, template))
        else:
            last[entry.series] = template
            work.session.add(template)
    work.session.flush()
    for series, template in later:
        before = last[series]
        template.series_id, template.continues_id = before.series_id, before.id
        if not template.spec().may_overlap and meeting(before.spec(), template.spec()):
            before.overlapping = template.overlapping = True  # as one rule whose slots overlap
        last[series] = template
        work.session.add(template)
        work.session.flush()


def _row(work: Work, spec: TemplateSpec, override: Override) -> dict[str, Any]:
    """Return the column values of a decided slot; what the file leaves open follows from the rule."""
    zone = ZoneInfo(spec.timezone)
    by_rule = instant_of(override.original_start + spec.shift, zone)
    planned = planning.planned_slot(spec, override.original_start, override.starts_at or by_rule, zone)
    given = {name for name in DECIDED_FIELDS if getattr(override, name) is not None}
    row = row_of(planned, work.now)
    row |= {_IN_SLOT.get(name, name): getattr(override, name) for name in given}
    row |= override.own
    customised = given - {"starts_at"} | override.own.keys()
    if override.customised is not None:
        customised = set(override.customised)
    elif row["starts_at"] != by_rule:
        customised |= {"starts_at", "ends_at"}
    elif row["ends_at"] == planned.ends_at:
        customised -= {"ends_at"}
    row |= {"status": override.status, "data": dict(row["data"]), "customised": sorted(customised)}
    ended = override.ended_with_series or None
    return row | {"cancel_reason": override.cancel_reason, "ended_with_series": ended}
