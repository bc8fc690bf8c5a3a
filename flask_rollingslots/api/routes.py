"""Each call of the API but those about bookings: what it checks, asks the facade for, and answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, timedelta
from functools import partial
from operator import attrgetter
from typing import Any, Literal
from zoneinfo import ZoneInfo

from flask import Response, request, url_for
from werkzeug.http import http_date

from .. import errors
from ..facade import SeriesEntry, SeriesReport, SlotView
from ..models import RunMixin, SlotMixin, TemplateMixin
from ..settings import FEED_PATH, MAX_ANSWER_DATA, MAX_HEALTH_STARTS
from ..values import MICROSECOND, Scope, SlotKey, Window
from . import answers, bodies
from .access import Needs
from .operations import IF_MATCH, Call, Operations
from .problems import Problem, invalid

_LONGEST_SEARCH = timedelta(days=3660)
_CALENDAR = "text/calendar"
calls = Operations()

# -- templates -------------------------------------------------------------------------------------------------

template_call = partial(calls.add, tag="templates")
template_decision = partial(template_call, headers=IF_MATCH)
#: So many templates are read at a time for a list of which the sender may see only some.
_PORTION = 500
_MADE = {201: (answers.TemplateAnswer, answers.TemplateList), 200: answers.Draft}
_ROW = {200: answers.SlotAnswer, 201: answers.SlotAnswer}


@template_call("GET", "/templates", answers.TemplatePage, query=bodies.TemplatesQuery)
def list_templates(call: Call) -> Response:
    """List or search templates.

    With ``from`` and ``to`` only series with a stored or promised slot in that span are found: one that never ends is
    found in any future span.
    """
    query, slots, span = call.query, call.slots, dict[str, Any]()
    if query.from_ is not None or query.to is not None:
        zone = ZoneInfo(slots.settings.timezone)
        window = bodies.span_of({"from": query.from_, "to": query.to}, zone, _LONGEST_SEARCH)
        span = {"start": window.start, "end": window.end}
    visible: list[TemplateMixin] = []
    after, limit = query.cursor or 0, query.limit + 1
    # Of who sees few, many are asked about; each that has to be worked out is one too many.
    portion = limit if call.grant.sees_all or span else max(limit, _PORTION)
    while len(visible) < limit:
        found = slots.templates(query.q, query.group, query.active, **span, after=after, limit=portion)
        visible += call.grant.visible(found)
        if len(found) < portion:
            break
        after = found[-1].id
    shown = call.fitting(visible[: query.limit])
    return call.page(answers.TemplatePage, shown, shown[-1].id if len(visible) > len(shown) else None)


@template_call("GET", "/series", answers.SeriesPage, query=bodies.SeriesListQuery)
def list_series(call: Call) -> Response:
    """List or search series, one entry each: the segment that holds now, the last one, and whether it is over."""
    query, grant = call.query, call.grant
    visible: list[SeriesEntry] = []
    after, limit = query.cursor or 0, query.limit + 1
    while len(visible) < limit:
        found = call.slots.series(query.q, query.group, query.active, limit, after)
        for entry in found:
            if all(grant.sees(each) for each in (entry.last, entry.current) if each is not None):
                visible.append(entry)
        if len(found) < limit:
            break
        after = found[-1].series_id
    shown = visible[: query.limit]
    return call.page(answers.SeriesPage, shown, shown[-1].series_id if len(visible) > len(shown) else None)


@template_call("GET", "/templates/<template_id>", answers.TemplateAnswer)
def get_template(call: Call) -> Response:
    """Return one template; its ETag is its revision."""
    template = _template(call, "read")
    return call.answer(answers.TemplateAnswer, template, revision=template.revision)


def _template(call: Call, action: str) -> TemplateMixin:
    return call.template(call.number("template_id", errors.TemplateNotFound), action)


@template_call("GET", "/templates/<template_id>/preview", answers.SlotList, query=bodies.PreviewQuery)
def preview_template(call: Call) -> Response:
    """List the next slots of a template's series, stored or virtual, however far away they are."""
    template, count, most = _template(call, "read"), call.query.count, call.slots.settings.preview_max
    if count > most:
        raise invalid("count", count, f"at most {most:,}")
    after = bodies.instant(call.query.after, ZoneInfo(template.timezone))
    found = call.grant.visible(call.slots.upcoming(template, count, after), attrgetter("template"))
    if len(fitting := call.fitting(found)) < len(found):
        raise invalid(
            "count", count, f"at most {len(fitting)}: more would be over {MAX_ANSWER_DATA:,} bytes of data"
        )
    return call.answer(answers.SlotList, items=found)


@template_call("POST", "/templates", _MADE, body=bodies.TemplateBody)
def create_template(call: Call) -> Response:
    """Create a template, finite or endless; its slots are created in the background.

    A list as ``recurrence`` (a fixed schedule) makes one template for each entry. With ``dry_run`` nothing is stored,
    and the answer shows what would be, with the next starts.
    """
    slots, body = call.slots, call.body
    wanted = body.templates(slots)
    for fields in wanted:
        call.grant.require("create", slots.Template(**fields), changes=fields)
    if call.dry_run:
        drafts = [slots.create_template(dry_run=True, **fields) for fields in wanted]
        following = [draft.recurrence.after(slots.now(), 5) for draft in drafts]
        starts = [[starts_at for _, starts_at in each] for each in following]
        return call.answer(answers.Draft, items=drafts, starts=starts)
    with call.transaction():
        made = [slots.create_template(**fields) for fields in wanted]
        location = url_for(".get_template", template_id=made[0].id)
        if isinstance(body.recurrence, list):
            return call.answer(answers.TemplateList, None, 201, location, items=made)
        return call.answer(answers.TemplateAnswer, made[0], 201, location, made[0].revision)


@template_decision("PATCH", "/templates/<template_id>", answers.TemplateChanged, body=bodies.TemplateChange)
def change_template(call: Call) -> Response:
    """Change a whole series: its name, rule, length, capacity or data, and its settings.

    Slots that a person changed keep what was changed, booked ones keep their times and are told. A rule makes a finite
    series endless, or the other way round. To move the slots use ``PATCH /slots/<key>?scope=all`` with ``start``.
    """
    body, dry_run, revision = call.body, call.dry_run, call.revision()
    template = _template(call, "read")
    number, changes = template.id, body.changes(call.slots, template)
    _edited_series(call, template, {**body.settings, **changes})
    if not changes and not body.settings:
        raise invalid("body", None, "at least one field that is to be changed")
    with call.transaction(dry_run) as slots:
        change = slots.change_template(
            number, revision, body.move_booked, dry_run, **body.settings, **changes
        )
        changed = next(segment for segment in change.segments if segment.id == number)
        edit = change.plan and answers.Shown(change.plan, dry_run=dry_run, slot=None)
        etag = None if dry_run else changed.revision
        return call.answer(answers.TemplateChanged, revision=etag, template=changed, edit=edit)


def _edited(call: Call) -> TemplateMixin:
    """Return the template in the address, if the sender may edit its whole series."""
    template = _template(call, "edit")
    _edited_series(call, template)
    return template


def _edited_series(
    call: Call, template: TemplateMixin, changes: Mapping[str, Any] | None = None
) -> list[TemplateMixin]:
    """Return the segments of a series, if the sender may change each of them like this.

    They may be in different groups.
    """
    key = str(SlotKey(template.series_id or template.id, template.dtstart))
    found, missing = call.slots.segments(key), errors.no_template(template.id)
    if changes is None:
        call.grant.require_all("edit", found, missing)
    else:
        call.grant.require_change(found, changes, missing)
    call.grant.edited = key
    return found


@template_decision("DELETE", "/templates/<template_id>", answers.EndAnswer, query=bodies.DryRunQuery)
def delete_template(call: Call) -> Response:
    """Delete a whole series: hide its slots from now on. Booked and completed ones stay and are told.

    The template itself stays, with ``cancelled_from``, for its keys are for ever; ``restore`` takes it back.
    """
    return _ended(call, call.slots.delete_series, _edited(call).id)


@template_decision(
    "POST", "/templates/<template_id>/cancel-future", answers.EndAnswer, body=bodies.CancelFutureBody
)
def cancel_future(call: Call) -> Response:
    """Cancel all slots of a series from a day on, booked ones too; they stay visible as cancelled."""
    template, body = _edited(call), call.body
    return _ended(call, call.slots.cancel_future, template.id, body.from_date, reason=body.reason)


@template_decision("POST", "/templates/<template_id>/restore", answers.EndAnswer, body=bodies.DryRunBody)
def restore_template(call: Call) -> Response:
    """Take back that a series was cancelled or deleted; slots that were cancelled for themselves stay cancelled."""
    return _ended(call, call.slots.restore_series, _edited(call).id)


@template_call("POST", "/closings", answers.ClosingAnswer, body=bodies.ClosingBody, refusals=(404,))
def close_days(call: Call) -> Response:
    """Close days for one series, a group, or all templates there are; or open them again with ``reopen``.

    The days become ``blackouts``: nothing is offered on them. Who has booked keeps the place and is in the answer, to
    be called. Of a day grid the day on which it begins is meant, with what it has after midnight.
    """
    body, dry_run = call.body, call.dry_run
    allowed = _editable(call, body.template, body.group)
    days = {name: getattr(body, name) for name in ("first", "last", "group", "template")}
    if body.reopen and body.reason is not None:
        raise invalid("reason", body.reason, "none: days are opened again without")
    with call.transaction(dry_run) as slots:
        if body.reopen:
            report = slots.reopen(**days, dry_run=dry_run)
        else:
            report = slots.close(**days, reason=body.reason, dry_run=dry_run)
        if not call.grant.sees_all and not allowed.issuperset(report.templates):
            raise errors.StaleEdit  # one that came in meanwhile, and that nobody was asked about
        return call.answer(answers.ClosingAnswer, report)


@template_call("POST", "/cancelled-days", answers.CancelledDay, body=bodies.CancelDayBody, refusals=(404,))
def cancel_day(call: Call) -> Response:
    """Cancel one day of a group, or of all templates; its slots stay visible as cancelled, booked ones too.

    Of a day grid the day on which it begins is meant, with what it has after midnight.
    """
    body, dry_run = call.body, call.dry_run
    allowed = _editable(call, None, body.group)
    with call.transaction(dry_run) as slots:
        keys = slots.cancel_date(body.group, body.day, body.reason, dry_run)
        series = {template.series_id for template in slots.templates() if template.id in allowed}
        if not call.grant.sees_all and not series.issuperset(SlotKey.parse(key).series_id for key in keys):
            raise errors.StaleEdit
        counts = {"slots": len(keys), "bookings": len(keys.bookings)}
        named = keys.bookings[: answers.MANY_RESULTS]
        return call.answer(answers.CancelledDay, counts=counts, slots=list(keys), bookings=named)


def _editable(call: Call, template_id: int | None, group: str | None) -> set[int]:
    """Return the ids of the templates of a series, of a group, or of all, if the sender may change each of them."""
    slots, grant = call.slots, call.grant
    if template_id is not None:
        found = _edited_series(call, call.template(template_id, "edit"))
    else:
        found = slots.templates(group=group)
        if group is not None:
            grant.require_all("edit", found, errors.no_group(group))
        elif not all(grant.may("edit", each) for each in found):
            raise Problem("forbidden", "you may not do this: edit all templates")
    return {each.id for each in found}


@template_call("POST", "/templates/<template_id>/materialize", _ROW, body=bodies.MaterializeBody)
def materialize_occurrence(call: Call) -> Response:
    """Make the row of the slot at an original start, if it is still virtual; a second time changes nothing."""
    template = _template(call, "edit")
    return _materialized(call, str(SlotKey(template.series_id or template.id, call.body.original_start)))


# -- slots -----------------------------------------------------------------------------------------------------

slot_call = partial(calls.add, tag="slots")
slot_decision = partial(slot_call, headers=IF_MATCH)
_place = attrgetter("starts_at", "series_id", "original_start")


@slot_call("GET", "/slots", answers.SlotPage, query=bodies.SlotsQuery, refusals=(404,))
def list_slots(call: Call) -> Response:
    """List slots by start, stored and virtual ones merged; any future span is full.

    Cancelled ones are in it (look at ``state``), deleted ones are not.
    """
    query, zone = call.query, call.slots.settings.timezone
    if query.template is not None:
        zone = call.template(query.template).timezone
    window = bodies.span_of({"start": query.start, "end": query.end}, ZoneInfo(zone), bodies.LONGEST)
    found = _first_slots(call, window)
    shown = call.fitting(found[: query.limit])
    last = shown[-1] if len(found) > len(shown) else None
    return call.page(answers.SlotPage, shown, last and f"{int(last.starts_at.timestamp())}.{last.key}")


def _visible(call: Call) -> Callable[[Any], bool]:
    """Return what says of a template that is a value whether the sender may know of it: callbacks get its row."""
    grant, query, slots = call.grant, call.query, call.slots
    if grant.sees_all:
        return grant.sees
    if query.template is not None:
        asked = slots.get_template(query.template)
        rows = slots.segments(str(SlotKey(asked.series_id or asked.id, asked.dtstart)))
    else:
        rows = slots.templates(group=query.group, active=True)
    known = {row.id: row for row in grant.visible(rows)}
    for row in known.values():
        grant.shown_data(row)  # and what it shows of the data is known for its value from then on
    return lambda template: template.id in known


def _first_slots(call: Call, window: Window) -> list[SlotView]:
    """Return the slots of a span after the query's cursor: a page of them, and at least one more if there is one."""
    query = call.query
    position: bodies.Place | None = query.cursor
    start = window.start if position is None else max(window.start, position[0])
    sees, found = _visible(call), list[SlotView]()
    while start < window.end and len(found) <= query.limit:
        before = query.overlapping and start == window.start  # what began before it comes first
        limit = query.limit + 1
        read = call.slots.view(start, window.end, query.template, query.group, before, limit, sees)
        found += [slot for slot in read if position is None or _place(slot) > position]
        if len(read) < limit:
            break
        start = read[-1].starts_at + MICROSECOND
    return found


@slot_call("GET", "/slots/<key>", answers.SlotAnswer)
def get_slot(call: Call) -> Response:
    """Return one slot, stored or virtual; its ETag is the revision of its template."""
    key, _ = series_of(call, "read")
    slot = call.slots.get(key)
    return call.answer(answers.SlotAnswer, slot, revision=slot.template.revision)


def series_of(call: Call, action: str) -> tuple[str, list[TemplateMixin]]:
    """Return the key in the address and the segments of its series, if the sender may do this with them."""
    key = call.path["key"]
    found = call.slots.segments(key)
    call.grant.require_all(action, found, errors.no_slot(key), slot=call.slot(key))
    call.grant.edited = key if action == "edit" else None
    return key, found


@slot_decision("PATCH", "/slots/<key>", answers.EditAnswer, query=bodies.ScopeQuery, body=bodies.SlotChange)
def change_slot(call: Call) -> Response:
    """Change a slot, this and all later ones, or all of its series; ``dry_run`` shows what would change.

    Completed, cancelled and past slots stay as they are; booked ones keep their times and are told.
    """
    key, segments = series_of(call, "read")
    scope, dry_run, revision = call.scope(), call.dry_run, call.revision()
    changes = {**call.body.settings, **call.body.changes(call.slots, segments[-1])}
    call.grant.require_change(segments, changes, errors.no_slot(key), slot=call.slot(key))
    call.grant.edited = key
    with call.transaction(dry_run) as slots:
        plan = slots.edit(key, scope, revision, call.body.move_booked, dry_run, **changes)
        slot = None
        if not dry_run:
            with suppress(errors.SlotNotFound):  # the new rule may have no such slot
                slot = slots.get(key)
        etag = None if slot is None else slot.template.revision
        return call.answer(answers.EditAnswer, plan, revision=etag, slot=slot)


@slot_decision("DELETE", "/slots/<key>", {204: None, 200: answers.EndAnswer}, query=bodies.ScopeQuery)
def delete_slot(call: Call) -> Response:
    """Hide a slot (204), or this and later ones, or all of its series (200 with what stays because it is booked)."""
    found = _end(call, call.slots.delete)
    return no_content() if call.scope() is Scope.THIS and not call.dry_run else found


def no_content() -> Response:
    response = Response(status=204)
    response.headers.pop("Content-Type")
    return response


@slot_decision("POST", "/slots/<key>/cancel", answers.EndAnswer, query=bodies.ScopeQuery, body=bodies.EndBody)
def cancel_slot(call: Call) -> Response:
    """Cancel a slot, this and later ones, or all of its series; they stay visible as cancelled, booked ones too."""
    return _end(call, call.slots.cancel, reason=call.body.reason)


@slot_decision(
    "POST", "/slots/<key>/restore", answers.EndAnswer, query=bodies.ScopeQuery, body=bodies.RestoreBody
)
def restore_slot(call: Call) -> Response:
    """Bring back what was cancelled or deleted: a slot, this and later ones, or all of its series."""
    return _end(call, call.slots.restore)


def _end(call: Call, act: Callable[..., Any], **more: Any) -> Response:
    key, _ = series_of(call, "edit")
    return _ended(call, act, key, call.scope(), **more)


def _ended(call: Call, act: Callable[..., Any], *args: Any, **more: Any) -> Response:
    """Return the answer to a call of the facade that cancels, deletes or restores one slot or several."""
    dry_run, revision = call.dry_run, call.revision()
    slot = None
    with call.transaction(dry_run):
        found = act(*args, **more, revision=revision, dry_run=dry_run)
        if isinstance(found, SlotMixin):
            slot, keys = found, [found.key]
            found = SeriesReport(Scope.THIS, changed=keys, booked=keys if slot.booked else [])
        return call.answer(answers.EndAnswer, found, slot=slot)


@slot_decision("POST", "/slots/<key>/complete", answers.SlotAnswer, body=bodies.CompleteBody)
def complete_slot(call: Call) -> Response:
    """Mark a slot as completed, so that nothing changes it any more, or take that back (``undo``)."""
    key, _ = series_of(call, "edit")
    dry_run, revision = call.dry_run, call.revision()
    with call.transaction(dry_run) as slots:
        return call.answer(answers.SlotAnswer, slots.complete(key, call.body.undo, revision, dry_run))


@slot_call("POST", "/slots/<key>/materialize", _ROW)
def materialize_slot(call: Call) -> Response:
    """Make the row of a slot, if it is still virtual; a second time changes nothing."""
    key, _ = series_of(call, "edit")
    return _materialized(call, key)


def _materialized(call: Call, key: str) -> Response:
    with call.transaction() as slots:
        status = 201 if slots.get(key).is_virtual else 200
        slot, place = slots.materialize(key), url_for(".get_slot", key=key)
        return call.answer(answers.SlotAnswer, slot, status, place, slot.template.revision)


# -- top-ups and health ----------------------------------------------------------------------------------------

topup_call = partial(calls.add, tag="topups")
_STARTED = {202: answers.RunAnswer, 200: answers.RunAnswer}


@topup_call("POST", "/topups", _STARTED, body=bodies.TopUpBody, refusals=(404,))
def start_topup(call: Call) -> Response:
    """Start a top-up in the background (202); the address in ``Location`` shows how far it is.

    One such top-up works at a time: while it does, another call is answered with 409 ``topup_busy``, with the address
    of the run that is under way. With ``dry_run`` nothing is written, and the answer (200) says what would be.
    """
    slots, asked_at = call.slots, call.slots.now()
    _require_topup(call)
    asked = _asked(call)
    if call.dry_run:
        with call.transaction(dry_run=True):
            report = slots.generate(**asked, dry_run=True)
        return call.answer(answers.RunAnswer, answers.shown_report(report, asked["week"]))
    try:
        with call.transaction(apart=True):
            number = slots.start_topup(**asked, asked_at=asked_at)
    except errors.TopUpBusy as error:
        raise _busy(error) from error
    # A look of its own: the run may have been written by another session since this request began.
    with call.transaction(dry_run=True):
        slots.read_primary()
        shown = answers.shown_run(slots.get_run(number), details=True, is_trusted=call.grant.is_trusted)
        return call.answer(answers.RunAnswer, shown, 202, url_for(".get_topup", run_id=number))


def _busy(error: errors.TopUpBusy) -> Problem:
    """Return the answer to whoever comes while a top-up works, with the address of its run if that is known."""
    members: dict[str, Any] = {}
    headers = {"Retry-After": "2"}
    if "run" in error.details:
        headers["Location"] = url_for(".get_topup", run_id=error.details["run"])
        members = {"run": headers["Location"], "run_id": error.details["run"]}
    return Problem("topup_busy", str(error), members, headers)


def _asked(call: Call) -> dict[str, Any]:
    """Return what is to be filled, in the words of the facade; 422 for what contradicts itself, or is too long."""
    body, today = call.body, _today(call)
    spans = {"days": body.days, "week": body.week and _monday(call, body.week), "since": body.since}
    given = [name for name, value in spans.items() if value is not None]
    if len(given) > 1:
        raise invalid(given[1], getattr(body, given[1]), f"either {given[0]} or {given[1]}")
    if body.since is not None and not timedelta(0) <= today - body.since < bodies.LONGEST:
        raise invalid("since", body.since, f"one of the last {bodies.LONGEST.days} days")
    return {**spans, "template": body.template, "group": body.group}


def _today(call: Call) -> date:
    return call.slots.now().astimezone(ZoneInfo(call.slots.settings.timezone)).date()


def _monday(call: Call, week: date | Literal["current"]) -> date:
    """Return the first day of a week, in the app's zone."""
    day = week if isinstance(week, date) else _today(call)
    return day - timedelta(days=day.weekday())


def _require_topup(call: Call) -> None:
    """Refuse a top-up of what is not the sender's, or is not there for the sender."""
    grant, group = call.grant, call.body.group
    if call.body.template is not None:
        call.template(call.body.template, "top_up")
    elif group is None:
        grant.require("top_up", None)
    elif not grant.sees_all:
        grant.require_all("top_up", call.slots.templates(group=group), errors.no_group(group))


@topup_call("GET", "/topups", answers.RunPage, query=bodies.TopUpsQuery, refusals=(404,))
def list_topups(call: Call) -> Response:
    """List top-ups, the newest first; with ``week`` also what is stored of that week."""
    query, is_trusted = call.query, call.grant.is_trusted
    if query.template is not None:
        call.template(query.template)
    found = call.slots.runs(query.template, query.limit + 1, query.cursor)
    listed, more = found[: query.limit], len(found) > query.limit
    visible = [run for run in listed if _is_visible(call, run)]
    shown = [answers.shown_run(run, details=False, is_trusted=is_trusted) for run in visible]
    week = {} if query.week is None else {"week": _week(call)}
    return call.page(answers.RunPage, shown, listed[-1].id if more else None, **week)


def _week(call: Call) -> answers.Shown:
    """Return what is stored of the week that is asked for, in the app's zone."""
    query, monday = call.query, _monday(call, call.query.week)
    if query.template is None:
        call.grant.require("read", None)
    end_day = monday + timedelta(days=7)
    window = Window.local_days(monday, end_day, ZoneInfo(call.slots.settings.timezone))
    stats = call.slots.stats(template=query.template, start=window.start, end=window.end)
    parts = [part for part in stats.templates.values() if part.slots]
    shown = {"week_start": monday, "week_end": monday + timedelta(days=6), "templates_with_slots": len(parts)}
    return answers.Shown(stats.total, **shown, templates=parts[: answers.MANY_RESULTS])


@topup_call("GET", "/topups/<run_id>", answers.RunAnswer)
def get_topup(call: Call) -> Response:
    """Return one top-up: how far it is, and when it has ended what each template and group got."""
    run = call.slots.get_run(call.number("run_id", errors.RunNotFound))
    if not _is_visible(call, run):
        raise errors.no_run(run.id)
    shown = answers.shown_run(run, details=True, is_trusted=call.grant.is_trusted)
    return call.answer(answers.RunAnswer, shown)


def _is_visible(call: Call, run: RunMixin) -> bool:
    """Whether the sender may know of a run: one of all templates tells about all of them."""
    if call.grant.sees_all or call.grant.sees(None):
        return True
    if run.template_id is None:
        return False
    try:
        return call.grant.sees(call.slots.get_template(run.template_id))
    except errors.TemplateNotFound:
        return False


@calls.add("GET", "/health", answers.HealthAnswer, Needs.STATUS, tag="health")
def get_health(call: Call) -> Response:
    """Say to anybody whether every promised slot of the window is stored; the rest to whoever may read all templates.

    What went wrong is told to whoever sends a token. Anybody else reads what the last check found, at most as old as
    the check interval: no slot is looked at for it. So does everybody where too many slots would have to be compared:
    ``checked`` is false then, and nothing is counted.
    """
    grant = call.grant
    report = call.slots.health(known=not grant.reads_all, most=MAX_HEALTH_STARTS)
    if not grant.reads_all:
        return call.answer(answers.HealthAnswer, answers.Shown(None, status=report.status))
    lacking = [each for each in report.templates if each.missing or each.due or each.error]
    shown = answers.shown_health(report, lacking[: answers.MANY], is_trusted=grant.is_trusted)
    return call.answer(answers.HealthAnswer, shown)


# -- feeds -----------------------------------------------------------------------------------------------------

feed_call = partial(calls.add, "GET", tag="feeds")


@feed_call("/feed.json", answers.EventList, query=bodies.EventsQuery, refusals=(404,))
def feed_json(call: Call) -> Response:
    """List slots and reminders as events for FullCalendar or EventCalendar.

    Each slot that overlaps the span is one event, stored or not, however far away the span is; cancelled ones are in
    it, deleted ones are not. Templates with ``reminder_before`` also have an event for each reminder.
    """
    query = call.query
    if query.template is not None:
        call.template(query.template)
    found = call.slots.events_json(
        query.start,
        query.end,
        query.timeZone,
        query.floating,
        query.template,
        query.group,
        call.grant.sees,
        call.grant.shown_data,
        query.reminders,
    )
    return Response(found, mimetype="application/json")


@feed_call("/feed.ics", {200: _CALENDAR, 304: None}, query=bodies.GroupQuery, refusals=(404,))
def feed_ics(call: Call) -> Response:
    """Return a calendar to subscribe to (RFC 5545), from last month on.

    Recurring series are rules, what was moved or cancelled is told beside them. ``If-None-Match`` with the ETag of the
    last answer gives 304 as long as nothing changed.
    """
    if call.query.template is not None:
        call.template(call.query.template)
    return _calendar(call, call.query.group)


@feed_call(FEED_PATH, {200: _CALENDAR, 304: None}, Needs.NOTHING, query=bodies.SeriesQuery)
def secret_feed(call: Call) -> Response:
    """Return the calendar of a secret address: of one group, for programs that can send no header."""
    feed = call.slots.feed_of(call.path["secret"])
    if feed is None:
        raise Problem("not_found", "there is nothing at this address")
    return _calendar(call, feed.group)


def _calendar(call: Call, group: str | None) -> Response:
    """Return a calendar, or word that it is still the same.

    Only the ETag decides: the time of the last change goes back where the newest template is deleted.
    """
    try:
        # The host makes UIDs the same for one subscriber, whatever changes on the server.
        grant = call.grant
        found = call.slots.calendar(call.query.template, group, request.host, grant.sees, grant.shown_data)
    except errors.ConfigError:
        text = "calendars need the extra ics on the server: Flask-RollingSlots[ics]"
        raise Problem("not_found", text) from None
    etag = hashlib.sha256(found.content).hexdigest()[:32]
    if request.if_none_match.contains_weak(etag):
        response = Response(status=304)
        response.headers.pop("Content-Type")
    else:
        response = Response(found.content, mimetype=_CALENDAR)
        response.headers["Content-Disposition"] = 'inline; filename="slots.ics"'
    response.set_etag(etag)
    if found.changed_at is not None:
        response.headers["Last-Modified"] = http_date(found.changed_at)
    # Kept by whoever asked, and asked for again each time: a change is seen at once, and costs little if none is.
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex"
    return response
