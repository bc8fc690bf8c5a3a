"""Reading: stored rows merged with virtual slots, so that no promised slot is ever missing from a page.

Nothing virtual enters the session by itself. The list of reminders is here too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any

from sqlalchemy import and_, or_, select

from .. import planning
from ..context import Work, segments, virtual_slot
from ..errors import RollingSlotsError, TooCostly, no_slot, refusal
from ..models import (
    SlotMixin,
    TemplateMixin,
    expired_places,
    keeps_for_waiting,
    left_in_pool_at,
    mark_busy,
    mark_crowd,
    mark_near,
)
from ..statements import newest
from ..values import MICROSECOND, PlannedSlot, SlotKey, Status, Steps, TemplateSpec, Window, key_of
from ..views import SlotView
from .searching import LOOKED_AT, PORTION, check_aware, templates
from .viewing import ROWS, VALUES, Kind

log = logging.getLogger("flask_rollingslots")

#: Templates, by id and revision, of which was said that their rule is broken: once each, not on every page.
_complained: set[tuple[int, int]] = set()
_COMPLAINTS = 1000
#: A span of original starts that holds none.
_NEVER = (datetime(2000, 1, 2), datetime(2000, 1, 1))  # noqa: DTZ001 (wall clock)
#: What a template promises at one occurrence: its plain data, the original start (naive) and the start (UTC).
_Promise = tuple[TemplateSpec, datetime, datetime]
#: The order of slots.
_PLACE = attrgetter("starts_at", "series_id", "original_start")
#: How far ahead ``upcoming`` looks for a rule that seldom or never matches.
_HORIZON = timedelta(days=366 * 60)


# -- slots -----------------------------------------------------------------------------------------------------


def between(
    work: Work,
    start: datetime,
    end: datetime,
    template_id: int | None = None,
    group: str | None = None,
    overlapping: bool = False,
    limit: int | None = None,
    sees: Callable[[Any], bool] = lambda template: True,
) -> list[SlotMixin]:
    """Return the slots with ``start <= starts_at < end``, by start: stored and virtual, never deleted ones.

    :param overlapping: also those that began before and are not over at ``start``.
    :param limit: about so many are enough: all up to the start of the last one, and not fewer if there are as many.
    :param sees: says of a template whether its slots may be shown: nothing is read of others.
    :raises TooCostly: if the rules promise more than one request may look at.
    :raises InvalidRequest: if a bound is naive, or the end is before the start.
    """
    return _read(work, ROWS, start, end, template_id, group, overlapping, limit, sees)


def view(
    work: Work,
    start: datetime,
    end: datetime,
    template_id: int | None = None,
    group: str | None = None,
    overlapping: bool = False,
    limit: int | None = None,
    sees: Callable[[Any], bool] = lambda template: True,
) -> list[SlotView]:
    """Return what :func:`between` does as values, which belong to no session; the templates too."""
    return _read(work, VALUES, start, end, template_id, group, overlapping, limit, sees)


def _read(
    work: Work,
    kind: Kind,
    start: datetime,
    end: datetime,
    template_id: int | None,
    group: str | None,
    overlapping: bool,
    limit: int | None,
    sees: Callable[[Any], bool],
) -> list[Any]:
    check_aware(start=start, end=end)
    if end < start:
        raise refusal("end", end, f"a moment not before start = {start}")
    found = list(filter(sees, kind.templates(work, template_id, group)))
    window, named = Window(_utc(start), _utc(end)), {template.id: template for template in found}
    specs = list(map(kind.spec, found))
    if limit is None:
        return merged(work, named, specs, window, overlapping, kind)
    slots: list[Any] = []
    while window.start < window.end and len(slots) < limit:
        until = _reach(work, named, specs, window, limit - len(slots))
        slots += merged(work, named, specs, Window(window.start, until), overlapping, kind)
        window, overlapping = Window(until, window.end), False
    return slots


def _reach(
    work: Work, templates: Collection[int], specs: Iterable[TemplateSpec], window: Window, limit: int
) -> datetime:
    """Return up to when a window has so many slots, promised or stored; its end, if it has fewer."""
    ahead = merge(*(_starts(work, spec, window) for spec in specs))
    ends = [window.end, *islice(ahead, limit - 1, limit)]
    if window.start < work.now:  # what is past is stored
        slot = work.models.Slot
        query = select(slot.starts_at).where(slot.starts_at >= window.start, slot.starts_at < window.end)
        if len(templates) <= PORTION:
            query = query.where(slot.template_id.in_(templates))
        ends += work.session.scalars(query.order_by(slot.starts_at).offset(limit - 1).limit(1))
    return min(window.end, min(ends) + MICROSECOND)


def _starts(work: Work, spec: TemplateSpec, window: Window) -> Iterator[datetime]:
    """Yield when the slots start that a template still promises in a window; reading says of a rule if it is broken."""
    try:
        for _, starts_at in planning.promised_after(spec, work.now, window.end, window.start, work.steps):
            yield starts_at
    except TooCostly:
        raise
    except (ValueError, LookupError, OSError, ArithmeticError):
        return


def merged(
    work: Work,
    templates: dict[int, Any],
    specs: Iterable[TemplateSpec],
    window: Window,
    overlapping: bool = False,
    kind: Kind = ROWS,
) -> list[Any]:
    """Return the slots of some templates, by start: stored and virtual, never deleted ones.

    :param specs: what the templates promise.
    :param kind: what the templates are, and the slots.
    """
    if not templates:
        return []
    promises = {
        (p[0].series_id, p[1]): p for spec in specs for p in _promised(work, spec, window, overlapping)
    }
    found, displaced = _stored(work, templates, window, promises, overlapping, kind)
    for spec, original_start, starts_at in promises.values():
        found.append(kind.virtual(work, templates[spec.id], spec, original_start, starts_at))
    found.sort(key=_PLACE)
    mark_near(work.session, templates.values(), displaced, window)
    mark_crowd(work.session, work.models, found, window, work.now)
    if any(template.claim is not None for template in templates.values()):
        mark_busy(work.session, work.models, found)
    return found


def _promised(work: Work, spec: TemplateSpec, window: Window, overlapping: bool) -> list[_Promise]:
    """Return what may be shown as virtual: what has not ended yet."""
    now = work.now.astimezone(UTC)
    try:
        if overlapping:
            moment = max(window.start, now)
            starts = planning.promised_after(spec, moment, window.end, steps=work.steps)
        else:
            starts = planning.promised_after(spec, now, window.end, window.start, work.steps)
        return [(spec, original_start, starts_at) for original_start, starts_at in starts]
    except TooCostly:
        raise
    except (RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError) as error:
        complain(spec, error)  # a page of many templates must not fail because of one
        return []


def _stored(
    work: Work,
    templates: dict[int, Any],
    window: Window,
    promises: dict[tuple[int, datetime], _Promise],
    overlapping: bool,
    kind: Kind,
) -> tuple[list[Any], list[Any]]:
    """Return the stored slots of the window, and the displaced ones near it; drop the promises that rows stand for."""
    # A row stands for its original start even if it was moved out of the window, or deleted.
    starts = [original_start for _, original_start in promises]
    span = (min(starts), max(starts)) if starts else _NEVER
    rows = kind.stored(work, templates, window, span, overlapping)
    unsettled = {t.id for t in templates.values() if t.settled_revision != t.revision}
    for row in rows:
        promises.pop((row.series_id, row.original_start), None)
        if row.displaced or row.template_id in unsettled:
            kind.follow(row, work.now)
    shown = [
        row
        for row in rows
        if row.status != Status.DELETED
        and row.starts_at < window.end
        and (row.starts_at >= window.start or (overlapping and row.ends_at > window.start))
    ]
    return shown, [row for row in rows if row.displaced]


def upcoming(work: Work, template_id: int, n: int, after: datetime | None = None) -> list[SlotMixin]:
    """Return the next ``n`` slots that start after a moment (now by default).

    Looks 60 years ahead at most.

    :raises InvalidRequest: if ``n`` is not between 1 and ``ROLLINGSLOTS_PREVIEW_MAX``, or ``after`` is naive.
    :raises TooCostly: if the template leaves out nearly all that its rule says.
    :raises TemplateNotFound: if there is no template with this id.
    """
    start = _start_after(work, n, after)
    found: list[SlotMixin] = []
    work = replace(work, steps=Steps(LOOKED_AT))
    specs = [TemplateSpec.of(t) for t in templates(work, template_id)]
    limit = _add(start, _HORIZON)
    while len(found) < n and start < limit and specs:
        start = min(planning.behind_blackouts(spec, start) for spec in specs)
        end = _end_of_stretch(specs, start, n - len(found), limit)
        found += between(work, start, end, template_id)
        start = end
    return found[:n]


def preview(work: Work, template: TemplateMixin, n: int, after: datetime | None = None) -> list[SlotMixin]:
    """Return the next ``n`` slots that a template promises, stored or not: all virtual, no row is read.

    :param template: may be in no session.
    :raises InvalidRequest: as :func:`upcoming`.
    """
    start = _start_after(work, n, after)
    spec, limit, steps = TemplateSpec.of(template), _add(start, _HORIZON), Steps(LOOKED_AT)
    found: list[PlannedSlot] = []
    while len(found) < n and start < limit:
        start = planning.behind_blackouts(spec, start)
        end = _end_of_stretch([spec], start, n - len(found), limit)
        found += planning.planned(spec, Window(start, end), steps)
        start = end
    return [virtual_slot(work.models, planned, template, work.now) for planned in found[:n]]


def _end_of_stretch(specs: Sequence[TemplateSpec], start: datetime, n: int, limit: datetime) -> datetime:
    """Return how far to read for the next ``n``: not a year of quarter-hours, nor only an empty month."""
    nexts = sorted(moment for spec in specs for moment in _following(spec, start, n))
    if not nexts:
        return limit  # what may still come is stored
    return min(limit, _add(nexts[min(n, len(nexts)) - 1], MICROSECOND))


def _following(spec: TemplateSpec, start: datetime, n: int) -> Iterable[datetime]:
    """Yield the next starts of a segment's rule, exclusions aside, as far as the segment goes."""
    life = planning.life_of(spec, Window(start, datetime.max.replace(tzinfo=UTC)))
    if life.start < life.end:
        found = planning.recurrence_of(spec).after(life.start - MICROSECOND, n)
        yield from (starts_at for _, starts_at in found if starts_at < life.end)


def holes(work: Work, slots: Iterable[SlotMixin | SlotView]) -> set[int]:
    """Return the templates of which a slot is virtual although its window should hold a row by now.

    And those of which a slot has places for somebody who waits, and nobody has offered them yet.
    """
    ends: dict[int, datetime] = {}
    found = set()
    for slot in slots:
        if not slot.is_virtual:
            if slot.waits_for is not None and _is_due(slot, work.now):
                found.add(slot.template_id)
            continue
        if slot.starts_at <= work.now or slot.template_id in found:
            continue
        if slot.template_id not in ends:
            days, align = work.settings.window_days, work.settings.align
            ends[slot.template_id] = planning.window_of(slot.template.spec(), work.now, days, align).end
        if slot.starts_at < ends[slot.template_id]:
            found.add(slot.template_id)
    return found


def _is_due(slot: SlotMixin | SlotView, now: datetime) -> bool:
    left, in_pool = slot.capacity - slot.booked_at(now), left_in_pool_at(slot, now)
    left = left if in_pool is None else min(left, in_pool)
    return slot.status == Status.SCHEDULED and keeps_for_waiting(slot, left, slot.starts_at, now)


def due_reminders(work: Work, since: datetime, until: datetime | None = None) -> list[SlotMixin]:
    """Return the booked slots of which the reminder fell due in ``(since, until]`` and that have not started.

    :param until: now by default.
    :raises InvalidRequest: if a bound is naive.
    """
    until = work.now if until is None else until
    check_aware(since=since, until=until)
    slot, template = work.models.Slot, work.models.Template
    query = select(template.id, template.reminder_before).where(template.reminder_before.is_not(None))
    # One condition for each span that is in use: adding a column's span to a time is written differently everywhere.
    by_span: dict[timedelta, list[int]] = {}
    for row in work.session.execute(query):
        by_span.setdefault(row.reminder_before, []).append(row.id)
    if not by_span:
        return []
    due = [
        and_(slot.template_id.in_(ids), slot.starts_at > since + span, slot.starts_at <= until + span)
        for span, ids in by_span.items()
    ]
    live = slot.booked > expired_places(work.models, slot, work.now)
    conditions = (or_(*due), slot.status == Status.SCHEDULED.value, slot.starts_at > work.now, live)
    return list(work.session.scalars(select(slot).where(*conditions).order_by(slot.starts_at, slot.id)))


# -- one slot --------------------------------------------------------------------------------------------------


def get(work: Work, key: str | SlotKey | SlotMixin) -> SlotMixin:
    """Return the slot at a key, stored or virtual.

    :raises InvalidKey: if the key has another form.
    :raises SlotNotFound: if there is none, it was deleted, or its template is inactive.
    """
    slot_key = key_of(key)
    row = row_at(work, slot_key)
    if row is not None:
        if row.status == Status.DELETED or not row.template.active:
            raise no_slot(slot_key)
        row.rolling_busy = None
        ROWS.follow(row, work.now)
        return row
    return virtual_slot(work.models, *promised_at(work, slot_key), work.now)


def row_at(work: Work, key: SlotKey, newest_one: bool = False) -> SlotMixin | None:
    """Return the stored slot at a key, in any status.

    :param newest_one: as others committed it, and locked, where this transaction would else show an older state.
    """
    cls = work.models.Slot
    query: Any = select(cls).where(cls.series_id == key.series_id, cls.original_start == key.original_start)
    return work.session.scalars(newest(query, work.dialect) if newest_one else query).one_or_none()


def promised_at(
    work: Work, key: SlotKey, ended: bool = False, inactive: bool = False
) -> tuple[PlannedSlot, TemplateMixin]:
    """Return what the rule has at a key, and the template that promises it.

    :param ended: also what was cancelled or deleted with its series.
    :param inactive: also what a template that is switched off would promise.
    :raises SlotNotFound: if there is none, or it has ended.
    """
    for template in segments(work, [key.series_id]):
        planned = promised_by(work, TemplateSpec.of(template), key, ended, inactive)
        if planned is not None:
            return planned, template
    raise no_slot(key)


def promised_by(
    work: Work, spec: TemplateSpec, key: SlotKey, ended: bool = False, inactive: bool = False
) -> PlannedSlot | None:
    """Return what a template promises at a key, if it has not ended; the parameters are those of ``promised_at``."""
    spec = replace(
        spec, active=spec.active or inactive, cancelled_from=None if ended else spec.cancelled_from
    )
    planned = planning.planned_at(spec, key.original_start)
    return planned if planned is not None and planned.ends_at > work.now else None


# -- words and times -------------------------------------------------------------------------------------------


def complain(spec: TemplateSpec, error: Exception) -> None:
    """Say once in the log that a template's rule is broken."""
    fault = (spec.id, spec.revision)
    if fault not in _complained:
        if len(_complained) >= _COMPLAINTS:
            _complained.clear()
        _complained.add(fault)
        log.warning("template %s (%s) shows only what is stored: %s", spec.id, spec.name, error)


def _start_after(work: Work, n: int, after: datetime | None) -> datetime:
    most = work.settings.preview_max
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= most:
        raise refusal("n", n, f"a whole number from 1 to {most}")
    if after is not None:
        check_aware(after=after)
    return _add(_utc(after or work.now), MICROSECOND)


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        edge = datetime.min if moment.year < 5000 else datetime.max
        return edge.replace(tzinfo=UTC)


def _add(moment: datetime, span: timedelta) -> datetime:
    try:
        return moment + span
    except OverflowError:
        edge = datetime.max - timedelta(days=2) if span > timedelta(0) else datetime.min
        return edge.replace(tzinfo=UTC)
