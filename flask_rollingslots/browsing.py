"""Reading: stored rows merged with virtual slots, so that no promised slot is ever missing from a page.

Nothing virtual enters the session by itself. Lists of templates, runs and reminders, and what is found by its id, are
here too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Any, TypeVar
from unicodedata import normalize
from zoneinfo import ZoneInfo

from sqlalchemy import Select, and_, bindparam, inspect, or_, select
from sqlalchemy.orm.attributes import set_committed_value

from . import planning
from .context import Work, load_shown, segments, virtual_slot
from .errors import RollingSlotsError, TooCostly, no_booking, no_group, no_run, no_slot, no_template, refusal
from .models import (
    BookingMixin,
    Models,
    RunMixin,
    SlotMixin,
    TemplateMixin,
    expired_places,
    keeps_for_waiting,
    mark_busy,
    mark_near,
)
from .statements import newest
from .values import MICROSECOND, PlannedSlot, SlotKey, Status, Steps, TemplateSpec, Window, key_of

log = logging.getLogger("flask_rollingslots")
Row = TypeVar("Row")

#: Templates, by id and revision, of which was said that their rule is broken: once each, not on every page.
_complained: set[tuple[int, int]] = set()
_COMPLAINTS = 1000
#: How many runs of all templates are searched for those that touched one.
_RUNS_SEARCHED = 1000
_MAX_ID = 2**63
#: So many templates are read by their ids at once.
_AT_ONCE = 500
#: A span of original starts that holds none.
_NEVER = (datetime(2000, 1, 2), datetime(2000, 1, 1))  # noqa: DTZ001 (wall clock)
#: What a template promises at one occurrence: its plain data, the original start (naive) and the start (UTC).
_Promise = tuple[TemplateSpec, datetime, datetime]
#: So many starts are looked at for the next few of one template, and to find templates that have one in a span.
_LOOKED_AT = 20_000
#: So many templates are read at once, or named in a query.
_PORTION = 500
#: How far ahead ``upcoming`` looks for a rule that seldom or never matches.
_HORIZON = timedelta(days=366 * 60)


# -- templates -------------------------------------------------------------------------------------------------


def templates(work: Work, template_id: int | None = None, group: str | None = None) -> list[TemplateMixin]:
    """Return the active templates of a series, of a group, or all.

    :raises TemplateNotFound: if there is no template with this id.
    """
    check_group(group)
    kind = ("templates", template_id is not None, group is not None)
    query = work.models.build_once(kind, lambda models: _query_for_templates(models, *kind[1:]))
    found = list(work.session.scalars(query, {"template_id": template_id, "group": group}))
    if template_id is not None and not found:
        find_template(work, template_id)
    return found


def _query_for_templates(models: Models, of_series: bool, of_group: bool) -> Select[Any]:
    cls = models.Template
    query = select(cls).where(cls.active.is_(True)).order_by(cls.id)
    if of_series:
        series = select(cls.series_id).where(cls.id == bindparam("template_id"))
        query = query.where(cls.series_id.in_(series))
    if of_group:
        query = query.where(cls.group == bindparam("group"))
    return query


def templates_in(work: Work, group: str) -> list[TemplateMixin]:
    """Return the templates of a group, active or not.

    :raises TemplateNotFound: if there is none: an unknown group means nothing, never everything.
    """
    found = list(search(work, group=group))
    if not found:
        raise no_group(group)
    return found


def search(
    work: Work,
    q: str | None = None,
    group: str | None = None,
    active: bool | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[TemplateMixin]:
    """Return the templates that fit, by id; a series that never ends is found in any future span.

    :param q: part of the name, of the group or of the text of the rule; case does not matter, accents do.
    :param start: aware; with ``end``: only series that have a slot in this span, stored or promised. Before now only
        what is stored counts.
    :param after: only those with a greater id.
    :param limit: at most so many.
    :raises TooCostly: if too many starts would have to be looked at to know.
    """
    cls = work.models.Template
    query = select(cls).order_by(cls.id)
    if group is not None:
        query = query.where(cls.group == group)
    if active is not None:
        query = query.where(cls.active.is_(active))
    called = None if q is None else _called(work, query.where(cls.id > after), q)
    if start is None or end is None:
        if called is None:
            return list(work.session.scalars(query.where(cls.id > after).limit(limit)))
        ids = called[:limit]
        spans = [ids[first : first + _AT_ONCE] for first in range(0, len(ids), _AT_ONCE)]
        return [each for span in spans for each in work.session.scalars(query.where(cls.id.in_(span)))]
    window = Window(start.astimezone(UTC), end.astimezone(UTC))
    return list(islice(_with_slots(work, query, window, after, called), limit))


def _with_slots(
    work: Work, query: Select[Any], window: Window, after: int, called: Sequence[int] | None
) -> Iterator[TemplateMixin]:
    """Yield the templates of a query, by id, that have a stored or promised slot in a window; read in portions.

    :param called: only these; ``None``: all.
    """
    cls, slot, steps = work.models.Template, work.models.Slot, Steps(_LOOKED_AT)
    here = (slot.starts_at >= window.start, slot.starts_at < window.end, slot.status != Status.DELETED.value)
    wanted = None if called is None else set(called)
    while some := list(work.session.scalars(query.where(cls.id > after).limit(_PORTION))):
        after = some[-1].id
        some = [template for template in some if wanted is None or template.id in wanted]
        mine = slot.template_id.in_([template.id for template in some])
        stored = set(work.session.scalars(select(slot.template_id).where(mine, *here).distinct()))
        for template in some:
            steps.take()
            if template.id in stored or _promises(work, template, window, steps):
                yield template


def _called(work: Work, query: Select[Any], q: str) -> list[int]:
    """Return the ids of those templates of a query of which name, group or rule contain a text.

    Told here, for databases differ in what letters they take for one: SQLite knows the case of ASCII alone.
    """
    cls, wanted = work.models.Template, _folded(q)
    texts = work.session.execute(query.with_only_columns(cls.id, cls.name, cls.group, cls.rrule))
    return [key for key, *parts in texts if any(wanted in _folded(part) for part in parts if part)]


def _folded(text: str) -> str:
    """Return a text without the case of its letters, each in one form."""
    return normalize("NFC", text.casefold())


def _promises(work: Work, template: TemplateMixin, window: Window, steps: Steps) -> bool:
    """Whether a template promises a slot in what is still to come of a window."""
    start = max(window.start, work.now)
    if start >= window.end:
        return False
    try:
        ahead = planning.promised_starts(
            TemplateSpec.of(template, copied=False), Window(start, window.end), steps
        )
        return any(reason is None for *_, reason in ahead)
    except TooCostly:
        raise
    except (ValueError, LookupError, OSError, ArithmeticError):  # a rule that is broken promises nothing
        return False


# -- by id -----------------------------------------------------------------------------------------------------


def find_template(work: Work, template_id: int) -> TemplateMixin:
    """Return a template, or raise ``TemplateNotFound``."""
    return _by_id(work, work.models.Template, template_id, no_template(template_id))


def segments_of(work: Work, key: SlotKey) -> list[TemplateMixin]:
    """Return the templates of the series of a slot, in order.

    :raises SlotNotFound: if there is no such series.
    """
    found = segments(work, [key.series_id])
    if not found:
        raise no_slot(key)
    return found


def find_booking(work: Work, booking_id: Any) -> BookingMixin:
    """Return a booking, or raise ``BookingNotFound``."""
    return _by_id(work, work.models.Booking, booking_id, no_booking(booking_id))


def history(work: Work, booking_id: Any) -> list[BookingMixin]:
    """Return a booking with those that it replaced and those that replaced it, the oldest first.

    :raises BookingNotFound: if there is none.
    """
    cls, found = work.models.Booking, [find_booking(work, booking_id)]
    while found[0].replaces_id is not None:
        before = work.session.get(cls, found[0].replaces_id)
        if before is None:  # pruned
            break
        found.insert(0, before)
    while True:
        after = work.session.scalars(select(cls).where(cls.replaces_id == found[-1].id)).one_or_none()
        if after is None:
            return found
        found.append(after)


def find_run(work: Work, run_id: int) -> RunMixin:
    """Return a recorded top-up, or raise ``RunNotFound``."""
    return _by_id(work, work.models.Run, run_id, no_run(run_id))


def _by_id(work: Work, cls: type[Row], number: Any, missing: RollingSlotsError) -> Row:
    is_number = isinstance(number, int) and not isinstance(number, bool) and 0 < number < _MAX_ID
    found = work.session.get(cls, number) if is_number else None
    if found is None:
        raise missing
    return found


def runs(
    work: Work, template_id: int | None = None, limit: int = 50, before: int | None = None
) -> list[RunMixin]:
    """Return the recorded top-ups, newest first; of one template: those of the last 1,000 that touched it.

    :param limit: at most so many.
    :param before: only those with a smaller id.
    """
    cls = work.models.Run
    query = select(cls).order_by(cls.id.desc())
    if before is not None:
        query = query.where(cls.id < before)
    if template_id is None:
        return list(work.session.scalars(query.limit(limit)))
    query = query.where(or_(cls.template_id == template_id, cls.template_id.is_(None)))
    found = (
        run
        for run in work.session.scalars(query.limit(_RUNS_SEARCHED))
        if run.template_id == template_id or str(template_id) in (run.results or {}).get("templates", {})
    )
    return list(islice(found, limit))


# -- slots -----------------------------------------------------------------------------------------------------


def between(
    work: Work,
    start: datetime,
    end: datetime,
    template_id: int | None = None,
    group: str | None = None,
    overlapping: bool = False,
    limit: int | None = None,
    sees: Callable[[TemplateMixin], bool] = lambda template: True,
) -> list[SlotMixin]:
    """Return the slots with ``start <= starts_at < end``, by start: stored and virtual, never deleted ones.

    :param overlapping: also those that began before and are not over at ``start``.
    :param limit: about so many are enough: all up to the start of the last one, and not fewer if there are as many.
    :param sees: says of a template whether its slots may be shown: nothing is read of others.
    :raises TooCostly: if the rules promise more than one request may look at.
    :raises InvalidRequest: if a bound is naive, or the end is before the start.
    """
    check_aware(start=start, end=end)
    if end < start:
        raise refusal("end", end, f"a moment not before start = {start}")
    found = list(filter(sees, templates(work, template_id, group)))
    window, named = Window(_utc(start), _utc(end)), {template.id: template for template in found}
    specs = [TemplateSpec.of(template, copied=False) for template in found]
    if limit is None:
        return merged(work, named, specs, window, overlapping)
    slots: list[SlotMixin] = []
    while window.start < window.end and len(slots) < limit:
        until = _reach(work, named, specs, window, limit - len(slots))
        slots += merged(work, named, specs, Window(window.start, until), overlapping)
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
        if len(templates) <= _PORTION:
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
    templates: dict[int, TemplateMixin],
    specs: Iterable[TemplateSpec],
    window: Window,
    overlapping: bool = False,
) -> list[SlotMixin]:
    """Return the slots of some templates, by start: stored and virtual, never deleted ones.

    :param specs: what the templates promise.
    """
    if not templates:
        return []
    promises = {
        (p[0].series_id, p[1]): p for spec in specs for p in _promised(work, spec, window, overlapping)
    }
    found, displaced = _stored(work, templates, window, promises, overlapping)
    for spec, original_start, starts_at in promises.values():
        planned = planning.planned_slot(spec, original_start, starts_at, ZoneInfo(spec.timezone))
        found.append(virtual_slot(work.models, planned, templates[spec.id], work.now))
    found.sort(key=lambda slot: (slot.starts_at, slot.series_id, slot.original_start))
    mark_near(work.session, templates.values(), displaced, window)
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
    templates: dict[int, TemplateMixin],
    window: Window,
    promises: dict[tuple[int, datetime], _Promise],
    overlapping: bool,
) -> tuple[list[SlotMixin], list[SlotMixin]]:
    """Return the stored slots of the window, and the displaced ones near it; drop the promises that rows stand for."""
    # A row stands for its original start even if it was moved out of the window, or deleted.
    starts = [original_start for _, original_start in promises]
    span = (min(starts), max(starts)) if starts else _NEVER
    rows = load_shown(work, templates, window, span, overlapping)
    unsettled = {t.id for t in templates.values() if t.settled_revision != t.revision}
    for row in rows:
        promises.pop((row.series_id, row.original_start), None)
        if row.displaced or row.template_id in unsettled:
            show_by_now(row, work.now)
    shown = [
        row
        for row in rows
        if row.status != Status.DELETED
        and row.starts_at < window.end
        and (row.starts_at >= window.start or (overlapping and row.ends_at > window.start))
    ]
    return shown, [row for row in rows if row.displaced]


def show_by_now(row: SlotMixin, now: datetime) -> None:
    """Let a stored slot show what its template says by now, where no top-up has followed yet; nothing is written."""
    for name, value in row.by_now(now).items():
        if not inspect(row).attrs[name].history.has_changes():
            set_committed_value(row, name, value)


def upcoming(work: Work, template_id: int, n: int, after: datetime | None = None) -> list[SlotMixin]:
    """Return the next ``n`` slots that start after a moment (now by default).

    Looks 60 years ahead at most.

    :raises InvalidRequest: if ``n`` is not between 1 and ``ROLLINGSLOTS_PREVIEW_MAX``, or ``after`` is naive.
    :raises TooCostly: if the template leaves out nearly all that its rule says.
    :raises TemplateNotFound: if there is no template with this id.
    """
    start = _start_after(work, n, after)
    found: list[SlotMixin] = []
    work = replace(work, steps=Steps(_LOOKED_AT))
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
    spec, limit, steps = TemplateSpec.of(template), _add(start, _HORIZON), Steps(_LOOKED_AT)
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


def holes(work: Work, slots: Iterable[SlotMixin]) -> set[int]:
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
            ends[slot.template_id] = planning.window_of(
                TemplateSpec.of(slot.template), work.now, days, align
            ).end
        if slot.starts_at < ends[slot.template_id]:
            found.add(slot.template_id)
    return found


def _is_due(slot: SlotMixin, now: datetime) -> bool:
    left = slot.capacity - slot.booked_at(now)
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
        show_by_now(row, work.now)
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


def check_group(group: str | None) -> None:
    """Refuse what is no group.

    :raises InvalidRequest: names the argument.
    """
    if group is not None and not isinstance(group, str):
        raise refusal("group", group, "a text")


def check_aware(**moments: Any) -> None:
    """Refuse moments, by name, that are naive or no moments.

    :raises InvalidRequest: names the argument.
    """
    for name, value in moments.items():
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise refusal(name, value, "an aware datetime (with a time zone), such as datetime.now(UTC)")


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
