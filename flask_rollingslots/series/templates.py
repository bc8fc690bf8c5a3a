"""Templates: make them, set what is no change of their slots, switch them on and off."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, select

from flask_rollingslots import planning
from flask_rollingslots.errors import InvalidTemplate, SlotNotFound, StaleEdit, nearest, no_group, refusal
from flask_rollingslots.loading import segments
from flask_rollingslots.values import SlotKey

from .plans import SwitchReport
from .segments import StoredSeries, bound_at, find_segment
from .storage import copy_of, deciding, load_series, series_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import TemplateMixin

#: Decided by the library, not by whoever creates a template.
_OWN_FIELDS = {
    "id",
    "series_id",
    "continues_id",
    "revision",
    "created_at",
    "active_from",
    "active_until",
    "cancelled_from",
    "shift",
}

#: What every template needs.
_NEEDED = {
    "name": "a text of 1 to 200 characters",
    "dtstart": "the first possible start, a naive datetime: the wall-clock time in the template's zone",
    "duration": "how long a slot is, a timedelta of whole minutes",
}
#: How many starts of a segment are tried to find one that is no exception.
_TRIED = 50


def create(work: Work, fields: Mapping[str, Any]) -> TemplateMixin:
    """Add a template to the session and flush it, so that it has an id; a dry run leaves that alone."""
    template = draft(work, fields)
    if not work.dry_run:
        work.session.add(template)
        work.session.flush()
    return template


def draft(work: Work, fields: Mapping[str, Any]) -> TemplateMixin:
    """Return a template that is complete and checked, and in no session.

    :raises InvalidTemplate: for an unknown field, a missing one, or a value that is not valid.
    :raises InvalidRule: if the rule, the zone or the day grid is not valid.
    """
    known = {attribute.key for attribute in inspect(work.models.Template).attrs} - _OWN_FIELDS
    for name, value in fields.items():
        if name not in known:
            text = (
                f"{name} is not a field of a template.{nearest(name, known)} Fields of your own go into data."
            )
            raise InvalidTemplate(text, field=name, value=value, expected="a field of a template")
    for name, expected in _NEEDED.items():
        if name not in fields:
            text = f"{name} is missing: expected {expected}"
            raise InvalidTemplate(text, field=name, value=None, expected=expected)
    if not isinstance(fields.get("data") or {}, dict):
        raise refusal("data", fields["data"], "a dict", InvalidTemplate)
    template = work.models.Template(**{"active": True, "capacity": 1, **fields})
    work.models.prepare(template)  # before the session sees it: a refusal then costs the app none of its work
    return template


def change_template(
    work: Work, template_id: int, values: Mapping[str, Any], revision: int | None = None
) -> list[TemplateMixin]:
    """Set fields of all segments of a template's series, and return them by id; copies in a dry run.

    For what is no change of its slots, such as group, notice or exclusions. The caller commits.

    :param revision: of this template, as the person who changes it has seen it.
    :raises TemplateNotFound: if there is no such template.
    :raises InvalidTemplate: if a value is not valid.
    :raises StaleEdit: if somebody else changed the series since.
    """
    series_id = series_of(work, template_id)
    with deciding(work):
        templates = list(load_series(work, series_id).templates.values())
        if work.dry_run:
            templates = [copy_of(template) for template in segments(work, [series_id])]
        for template in templates:
            if template.id == template_id:
                _check_revision(template.revision, revision)
        for template in templates:
            for name, value in values.items():
                setattr(template, name, value)
            work.models.prepare(template)
        if not work.dry_run:
            work.session.flush()
    return templates


def check_revision(work: Work, key: SlotKey, revision: int) -> None:
    """Keep a series from being changed, and refuse if its part that holds a slot is not at this revision.

    :raises SlotNotFound: if there is no such slot.
    :raises StaleEdit: if somebody else changed it since.
    """
    with deciding(work):
        series = load_series(work, key.series_id, key).series
        place = find_segment(series.specs, key, series.row_at(key), ended=True)
        _check_revision(series.specs[place].revision, revision)


def _check_revision(current: int, seen: int | None) -> None:
    if seen is not None and current != seen:
        raise StaleEdit(
            f"revision = {seen}: it is at revision {current} by now; read it again, then repeat the change",
            revision=current,
        )


def some_key(work: Work, template_id: int) -> SlotKey | None:
    """Return the key of a slot of a template's series, by which all of it can be edited; a later one if there is one.

    :raises TemplateNotFound: if there is no such template.
    """
    series = load_series(replace(work, dry_run=True), series_of(work, template_id)).series
    for key in _candidates(series):
        try:
            find_segment(series.specs, key, series.row_at(key))
        except SlotNotFound:
            continue
        return key
    return None


def _candidates(series: StoredSeries) -> Iterator[SlotKey]:
    for from_now in (True, False):
        for spec in series.specs:
            recurrence = planning.recurrence_of(spec)
            bounds = [spec.active_from, bound_at(spec, series.now) if from_now else None, recurrence.earliest]
            lower = max(bound for bound in bounds if bound is not None)
            upper = spec.ends_before or recurrence.latest
            if lower < upper:
                for original_start in islice(recurrence.originals(lower, upper), _TRIED):
                    yield SlotKey(spec.series_id, original_start)


def set_active(work: Work, active: bool, template_id: int | None, group: str | None) -> SwitchReport:
    """Switch all segments of one series, or all templates of a group, on or off. The caller commits.

    :raises InvalidRequest: if neither or both are given: nothing said never means everything.
    :raises TemplateNotFound: if there is no such template, or none in the group.
    :raises StaleEdit: if somebody else changed one of them since this session read it.
    """
    if (template_id is None) == (group is None):
        raise refusal(
            "template", template_id, f"a template or a group (group = {group!r}), exactly one of them"
        )
    cls = work.models.Template
    with deciding(work):
        condition = (
            cls.group == group if template_id is None else cls.series_id == series_of(work, template_id)
        )
        found = list(work.session.scalars(select(cls).where(condition).order_by(cls.id)))
        if not found:
            raise no_group(str(group))
        report = SwitchReport(active)
        for template in found:
            (report.unchanged if template.active is active else report.changed).append(template.id)
            if not work.dry_run:
                template.active = active
        if not work.dry_run:
            work.session.flush()
    return report
