"""Templates: make them, refuse unknown fields, set what is no change of their slots, switch them on and off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import func, inspect, select

from .. import planning
from ..booking.lifecycle import bookings_of, shown_booking
from ..context import Work, load_slots, segments
from ..errors import InvalidTemplate, SlotNotFound, nearest, no_group, refusal
from ..models import FIELDS, BookingMixin, TemplateMixin
from ..statements import in_parts
from ..values import Scope, SlotKey, Status
from .changes import EDITED, concerns_slots
from .edits import EditPlan, edit
from .storage import (
    StoredSeries,
    bound_at,
    copy_of,
    deciding,
    load_series,
    lock_claims,
    lock_templates,
    refuse_stale,
    series_of,
)
from .writing import settle

#: How many starts of a segment are tried to find one that is no exception.
_TRIED = 50
_UNKNOWN: Mapping[str, Any] = MappingProxyType({})
#: From templates to what is to be set of them, by id.
Decide = Callable[[list[TemplateMixin]], Mapping[int, Mapping[str, Any]]]


class TemplateChange(NamedTuple):
    """What became of a series whose fields were changed.

    :param segments: its templates, by id.
    :param plan: what that changed of its slots; ``None``: nothing was to be changed of them, or there is none.
    """

    segments: list[TemplateMixin]
    plan: EditPlan | None


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """Which templates were switched.

    :param changed: ids of those that were in the other state.
    :param unchanged: ids of those that were in this state already.
    :param bookings: the live bookings in their slots that are not over, by id: whom to tell.
    """

    active: bool
    changed: list[int]
    unchanged: list[int]
    bookings: list[BookingMixin] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        bookings = [shown_booking(booking) for booking in self.bookings]
        changed = {"changed": self.changed, "unchanged": self.unchanged}
        return {"active": self.active, **changed, "bookings": bookings}


def create(work: Work, fields: Mapping[str, Any]) -> TemplateMixin:
    """Add a template to the session and flush it, so that it has an id; a dry run leaves that alone."""
    template = draft(work, fields)
    if not work.dry_run:
        work.session.add(template)
        work.session.flush()
    return template


def draft(work: Work, fields: Mapping[str, Any]) -> TemplateMixin:
    """Return a template that is complete and checked, and in no session; see ``RollingSlots.create_template``."""
    check_names(work, fields)
    for name, entry in FIELDS.items():
        if entry.needed and name not in fields:
            text = f"{name} is missing: expected {entry.kind.expected}; {entry.meaning}"
            raise InvalidTemplate(text, field=name, value=None, expected=entry.kind.expected)
    initial = {name: field.initial for name, field in FIELDS.items() if not field.is_kept}
    template = work.models.Template(**{**initial, **fields})
    work.models.prepare(template)  # before the session sees it: a refusal then costs the app none of its work
    return template


def check_names(work: Work, fields: Mapping[str, Any]) -> None:
    """Refuse what is no field of a template, or none that a person may give.

    :raises InvalidTemplate: with the nearest name.
    """
    kept = {name for name, field in FIELDS.items() if field.is_kept}
    known = {attribute.key for attribute in inspect(work.models.Template).attrs} - kept
    for name, value in fields.items():
        if name not in known:
            hint = f"{nearest(name, known)} Fields of your own go into data."
            text = f"{name} is not a field of a template.{hint}"
            raise InvalidTemplate(text, field=name, value=value, expected="a field of a template")


def change_template(
    work: Work, template_id: int, values: Mapping[str, Any], revision: int | None = None
) -> list[TemplateMixin]:
    """Set fields of all segments of a template's series, and return them by id; copies in a dry run.

    For what is no change of its slots, such as group, notice or exclusions. The caller commits.

    :param revision: of this template, as the person who changes it has seen it.
    :raises TemplateNotFound: if there is no such template.
    :raises InvalidTemplate: for an unknown field, or a value that is not valid.
    :raises StaleEdit: if somebody else changed the series since.
    """
    check_names(work, values)

    def decide(templates: list[TemplateMixin]) -> dict[int, Mapping[str, Any]]:
        for template in templates:
            if template.id == template_id:
                refuse_stale(template.revision, revision)
        return {template.id: values for template in templates}

    return set_fields(work, [series_of(work, template_id)], decide, values)


def set_fields(
    work: Work, series_ids: Sequence[int], decide: Decide, values: Mapping[str, Any] = _UNKNOWN
) -> list[TemplateMixin]:
    """Set fields of the segments of some series, and return all of them by id; copies in a dry run.

    :param decide: is given all segments by id, locked and as they are now; returns values by template id.
    :param values: those of all of them, if they are known before.
    """
    with deciding(work):
        for series_id in sorted(series_ids):
            lock_claims(work, series_id, values)
        loaded: list[StoredSeries] = []
        if work.dry_run:
            templates = [work.models.as_checked(copy_of(each), each) for each in segments(work, series_ids)]
        else:
            if len(series_ids) > 1:
                lock_templates(work, series_ids)
            loaded = [load_series(work, series_id) for series_id in sorted(series_ids)]
            found = [template for series in loaded for template in series.templates.values()]
            templates = sorted(found, key=lambda template: template.id)
        wanted = decide(templates)
        for template in templates:
            if template.id in wanted:
                for name, value in wanted[template.id].items():
                    setattr(template, name, value)
                work.models.prepare(template)
        if not work.dry_run:
            work.session.flush()
            for series in loaded:
                settle(work, series)
    return templates


def change_series(
    work: Work,
    template_id: int,
    fields: Mapping[str, Any],
    revision: int | None = None,
    move_booked: bool = False,
) -> TemplateChange:
    """Change fields of all segments of a template's series; see ``RollingSlots.change_template``."""
    check_names(work, {name: value for name, value in fields.items() if name not in EDITED})
    changes = dict(fields) if any(concerns_slots(name, work.models.own) for name in fields) else {}
    settings = {} if changes else fields
    # Also where nothing is set: it locks the series and compares the revision.
    parts = change_template(work, template_id, settings, revision)
    key = some_key(work, template_id) if changes else None
    if key is None:
        if changes:
            parts = change_template(work, template_id, fields)
        return TemplateChange(parts, None)
    return TemplateChange(parts, edit(work, key, Scope.ALL, changes, None, move_booked, parts))


def check_revision(work: Work, key: SlotKey, revision: int) -> None:
    """Keep a series from being changed, and refuse if its part that holds a slot is not at this revision.

    :raises SlotNotFound: if there is no such slot.
    :raises StaleEdit: if somebody else changed it since.
    """
    with deciding(work):
        series = load_series(work, key.series_id, key, resources=True)
        refuse_stale(series.specs[series.place_of(key, ended=True)].revision, revision)


def some_key(work: Work, template_id: int) -> SlotKey | None:
    """Return the key of a slot of a template's series, by which all of it can be edited; a later one if there is one.

    :raises TemplateNotFound: if there is no such template.
    """
    series = load_series(replace(work, dry_run=True), series_of(work, template_id))
    for from_now in (True, False):
        for spec in series.specs:
            recurrence = planning.recurrence_of(spec)
            bounds = [spec.active_from, bound_at(spec, series.now) if from_now else None, recurrence.earliest]
            lower = max(bound for bound in bounds if bound is not None)
            upper = spec.ends_before or recurrence.latest
            starts = recurrence.originals(lower, upper) if lower < upper else ()
            for original_start in islice(starts, _TRIED):
                key = SlotKey(spec.series_id, original_start)
                with suppress(SlotNotFound):
                    series.place_of(key)
                    return key
    return None


def set_active(work: Work, active: bool, template_id: int | None, group: str | None) -> SwitchReport:
    """Switch all segments of one series, or all templates of a group, on or off; see ``RollingSlots.activate``."""
    # To give neither is refused: saying nothing never means everything.
    if (template_id is None) == (group is None):
        expected = f"a template or a group (group = {group!r}), exactly one of them"
        raise refusal("template", template_id, expected)
    cls = work.models.Template
    with deciding(work):
        is_meant = (
            cls.group == group if template_id is None else cls.series_id == series_of(work, template_id)
        )
        found = set(work.session.scalars(select(func.coalesce(cls.series_id, cls.id)).where(is_meant)))
        if not found:
            raise no_group(str(group))
        report = SwitchReport(active, [], [], [])

        def decide(templates: list[TemplateMixin]) -> dict[int, Mapping[str, Any]]:
            for template in templates:
                if group is None or template.group == group:
                    listed = report.unchanged if template.active is active else report.changed
                    listed.append(template.id)
            report.bookings.extend(_booked(work, report.changed))
            return {number: {"active": active} for number in report.changed}

        set_fields(work, sorted(found), decide)
    return report


def _booked(work: Work, template_ids: list[int]) -> list[BookingMixin]:
    """Return the live bookings in the slots of some templates, which are locked, that are not over."""
    cls = work.models.Slot
    taken = (cls.ends_at > work.now, cls.status == Status.SCHEDULED.value, cls.booked > 0)
    parts, lock = in_parts(template_ids), not work.dry_run
    rows = (row for part in parts for row in load_slots(work, cls.template_id.in_(part), *taken, lock=lock))
    return bookings_of(work, (row.id for row in rows if row.live))
