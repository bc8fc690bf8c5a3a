"""Decisions as the facade asks for them: each takes a work, says its signals into the outbox, honours a dry run."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import inspect

from flask_rollingslots import booking as bookings
from flask_rollingslots import browsing, signals
from flask_rollingslots.errors import StaleEdit, refusal
from flask_rollingslots.revising import Changes
from flask_rollingslots.values import Scope, Status, Window

from . import bulk, single
from .editing import Editor
from .ending import Ender, check_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import SlotMixin, TemplateMixin
    from flask_rollingslots.revising import EditPlan, SeriesReport
    from flask_rollingslots.values import SlotKey

    from .bulk import CancelledKeys

#: What ``edit`` can change; other fields of a template are changed of a whole series only.
EDITED = tuple(field.name for field in fields(Changes))


@contextmanager
def _row(work: Work, key: SlotKey, hidden: bool = False, ended: bool = False) -> Iterator[SlotMixin]:
    """Give the row of a slot, its exclusive resource locked; one that was made is undone if this is refused."""
    if work.dry_run:
        yield _copy(work, browsing.materialize(work, key, hidden=hidden, ended=ended))
        return
    with bookings.slot_row(work, key, hidden=hidden, ended=ended) as slot:
        yield slot


def _copy(work: Work, slot: SlotMixin) -> SlotMixin:
    """Return a slot as it is, in no session."""
    mapper = inspect(work.models.Slot)
    shown: SlotMixin = mapper.class_manager.new_instance()
    values = {a.key: getattr(slot, a.key) for a in mapper.column_attrs}
    data = values.pop("data")
    shown.__dict__.update(values, template=slot.template)
    shown.data = dict(data or {})
    return shown


def edit(
    work: Work,
    key: SlotKey,
    scope: Scope,
    changes: Mapping[str, Any],
    revision: int | None = None,
    move_booked: bool = False,
    segments: Iterable[TemplateMixin] = (),
) -> EditPlan:
    """Change slots, or return what would be changed.

    :param segments: the series as it would be by then, for a dry run of what changes more of it.
    """
    editor = Editor(work)
    if work.dry_run:
        plan = editor.preview(key, scope, changes, move_booked, segments)
        if revision is not None and plan.revision != revision:
            raise StaleEdit(f"revision = {revision}: the series is at revision {plan.revision} by now")
        return plan
    if scope is not Scope.THIS:
        plan = editor.edit(key, scope, changes, move_booked, revision)
    else:
        # Whatever is refused is refused before a virtual slot becomes a row.
        seen = editor.preview(key, scope, changes, move_booked)
        if revision is not None and seen.revision != revision:
            plan = editor.edit(key, scope, changes, move_booked, revision)
        else:
            with _row(work, key):
                plan = editor.edit(key, scope, changes, move_booked, revision)
    work.outbox.add(signals.series_edited, plan=plan)
    return plan


def apply_edit(work: Work, preview: EditPlan) -> EditPlan:
    """Write exactly what a preview showed."""
    editor = Editor(work)
    if preview.scope is not Scope.THIS or not preview.changed:
        plan = editor.apply(preview)
    else:
        with _row(work, preview.key):
            plan = editor.apply(preview)
    work.outbox.add(signals.series_edited, plan=plan)
    return plan


def cancel(work: Work, key: SlotKey, scope: Scope, reason: str | None = None) -> SlotMixin | SeriesReport:
    """Cancel a slot, or a part of its series."""
    if scope is not Scope.THIS:
        return _ended(work, Ender(work).cancel(key, scope, reason), reason)
    with _row(work, key) as row:
        was, number = row.status, row.id
        slot = single.cancel(work, row, reason)
    affected = bookings.live_bookings(work, [number]) if number else []
    slot.affected_bookings = affected
    if slot.status != was:
        work.outbox.add(signals.slot_cancelled, slot=slot, reason=reason, bookings=affected)
    return slot


def delete(work: Work, key: SlotKey, scope: Scope) -> SlotMixin | SeriesReport:
    """Hide a slot, or a part of its series."""
    if scope is not Scope.THIS:
        return _ended(work, Ender(work).delete(key, scope), None)
    with _row(work, key, hidden=True) as row:
        slot = single.delete(work, row)
    work.outbox.add(signals.slot_deleted, slot=slot)
    return slot


def restore(work: Work, key: SlotKey, scope: Scope) -> SlotMixin | SeriesReport:
    """Bring a slot back, or a part of its series."""
    if scope is not Scope.THIS:
        return _restored(work, Ender(work).restore(key, scope))
    with _row(work, key, hidden=True, ended=True) as row:
        was = row.status
        slot = single.restore(work, row)
    if slot.status != was:
        work.outbox.add(signals.slot_restored, slot=slot)
    return slot


def complete(work: Work, key: SlotKey) -> SlotMixin:
    """Mark a slot as completed."""
    with _row(work, key) as row:
        slot = single.complete(work, row)
    work.outbox.add(signals.slot_completed, slot=slot)
    return slot


def cancel_future(work: Work, template_id: int, from_date: date, reason: str | None = None) -> SeriesReport:
    """Cancel all slots of a series from a moment on."""
    return _ended(work, Ender(work).cancel_future(template_id, from_date, reason), reason)


def delete_series(work: Work, template_id: int) -> SeriesReport:
    """Hide all slots of a series that have not started."""
    return _ended(work, Ender(work).delete_series(template_id), None)


def restore_series(work: Work, template_id: int) -> SeriesReport:
    """Take back that a series was cancelled or deleted."""
    return _restored(work, Ender(work).restore_series(template_id))


def _ended(work: Work, report: SeriesReport, reason: str | None) -> SeriesReport:
    work.outbox.add(signals.series_ended, report=report, reason=reason)
    return report


def _restored(work: Work, report: SeriesReport) -> SeriesReport:
    work.outbox.add(signals.series_restored, report=report)
    return report


def cancel_date(work: Work, group: str, day: date, reason: str | None = None) -> CancelledKeys:
    """Cancel one local day of all templates of a group."""
    if not isinstance(group, str) or not group:
        raise refusal("group", group, "the name of a group")
    if not isinstance(day, date) or hasattr(day, "hour"):
        raise refusal("day", day, "a date")
    check_reason(reason)
    templates = browsing.templates_in(work, group)
    slots: list[SlotMixin] = []
    for zone in sorted({template.timezone for template in templates}):
        window = Window.local_days(day, day + timedelta(days=1), ZoneInfo(zone))
        here = {template.id: template for template in templates if template.timezone == zone}
        specs = [replace(template.spec(), active=True) for template in here.values()]
        found = browsing.merged(work, here, specs, window)
        if work.dry_run:
            slots += [s for s in found if s.status == Status.SCHEDULED and s.ends_at > work.now]
            continue
        rows = [browsing.materialize(work, s.key, inactive=True) if s.is_virtual else s for s in found]
        slots += bulk.cancel_slots(work, rows, reason)
    if work.dry_run:
        ids = [slot.id for slot in slots if slot.id is not None]
        live = bookings.live_bookings(work, ids)
        return bulk.CancelledKeys((slot.key for slot in slots), live)
    for slot in slots:
        work.outbox.add(signals.slot_cancelled, slot=slot, reason=reason, bookings=slot.affected_bookings)
    affected = (booking for slot in slots for booking in slot.affected_bookings)
    return bulk.CancelledKeys((slot.key for slot in slots), affected)
