"""Top-ups and health: start one and look at how far it is, for outside cron services; is every promised slot there?"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from flask import Response, url_for

from flask_rollingslots.errors import RunNotFound, TemplateNotFound, TopUpBusy, no_group, no_run
from flask_rollingslots.values import Window

from .answers import MANY, HealthAnswer, RunAnswer, RunPage, Shown, shown_report, shown_run, shown_week
from .bodies import LONGEST, TopUpBody, TopUpsQuery
from .operations import Call, Operations
from .problems import Problem, invalid

if TYPE_CHECKING:
    from flask_rollingslots.models import RunMixin

operations, health = Operations("topups"), Operations("health")


@operations("POST", "/topups", {202: RunAnswer, 200: RunAnswer}, body=TopUpBody, refusals=(404,))
def start_topup(call: Call) -> Response:
    """Start a top-up in the background (202); the address in ``Location`` shows how far it is.

    One such top-up works at a time: while it does, another call is answered with 409 ``topup_busy``, with the address
    of the run that is under way. With ``dry_run`` nothing is written, and the answer (200) says what would be.
    """
    slots, asked_at = call.slots, call.slots.now()
    _require(call)
    asked = _asked(call)
    if call.dry_run:
        with slots.transaction(dry_run=True):
            report = slots.generate(**asked, dry_run=True)
        return call.answer(RunAnswer, shown_report(report, asked["week"]))
    try:
        with slots.transaction():
            number = slots.start_topup(**asked, asked_at=asked_at)
    except TopUpBusy as error:
        raise _busy(error) from error
    # A look of its own: the run may have been written by another session since this request began.
    with slots.transaction(dry_run=True):
        slots.read_primary()
        shown = _shown(call, slots.get_run(number), details=True)
        return call.answer(RunAnswer, shown, 202, url_for(".get_topup", run_id=number))


def _busy(error: TopUpBusy) -> Problem:
    """Return the answer to whoever comes while a top-up works."""
    number = getattr(error, "run", None)
    members: dict[str, Any] = {}
    headers = {"Retry-After": "2"}
    if number is not None:
        members = {"run": url_for(".get_topup", run_id=number), "run_id": number}
        headers["Location"] = members["run"]
    return Problem("topup_busy", str(error), members, headers)


def _asked(call: Call) -> dict[str, Any]:
    """Return what is to be filled, in the words of the facade.

    :raises Problem: 422 for what contradicts itself, or is too long.
    """
    body, today = call.body, _today(call)
    spans = {"days": body.days, "week": body.week and _monday(call, body.week), "since": body.since}
    given = [name for name, value in spans.items() if value is not None]
    if len(given) > 1:
        raise invalid(given[1], getattr(body, given[1]), f"either {given[0]} or {given[1]}")
    if body.since is not None and not timedelta(0) <= today - body.since < LONGEST:
        raise invalid("since", body.since, f"one of the last {LONGEST.days} days")
    return {**spans, "template": body.template, "group": body.group}


def _today(call: Call) -> date:
    return call.slots.now().astimezone(ZoneInfo(call.slots.settings.timezone)).date()


def _monday(call: Call, week: date | Literal["current"]) -> date:
    """Return the first day of a week, in the app's zone."""
    day = week if isinstance(week, date) else _today(call)
    return day - timedelta(days=day.weekday())


def _require(call: Call) -> None:
    """Refuse a top-up of what is not the sender's.

    :raises TemplateNotFound: if there is no such template, or the sender may not know of it.
    """
    grant, group = call.grant, call.body.group
    if call.body.template is not None:
        call.template(call.body.template, "top_up")
    elif group is None:
        grant.require("top_up", None)
    elif not grant.sees_all:
        grant.require_all("top_up", call.slots.templates(group=group), no_group(group))


@operations("GET", "/topups", RunPage, query=TopUpsQuery, refusals=(404,))
def list_topups(call: Call) -> Response:
    """List top-ups, the newest first; with ``week`` also what is stored of that week."""
    query = call.query
    if query.template is not None:
        call.template(query.template)
    found = call.slots.runs(query.template, query.limit + 1, query.cursor)
    listed, more = found[: query.limit], len(found) > query.limit
    shown = [_shown(call, run, details=False) for run in listed if _is_visible(call, run)]
    week = {} if query.week is None else {"week": _week(call)}
    return call.page(RunPage, shown, listed[-1].id if more else None, **week)


def _week(call: Call) -> Shown:
    """Return what is stored of the week that is asked for, in the app's zone."""
    query, monday = call.query, _monday(call, call.query.week)
    if query.template is None:
        call.grant.require("read", None)
    end_day = monday + timedelta(days=7)
    window = Window.local_days(monday, end_day, ZoneInfo(call.slots.settings.timezone))
    stats = call.slots.stats(template=query.template, start=window.start, end=window.end)
    return shown_week(stats, monday)


@operations("GET", "/topups/<run_id>", RunAnswer)
def get_topup(call: Call) -> Response:
    """Return one top-up: how far it is, and when it has ended what each template and group got."""
    run = call.slots.get_run(call.number("run_id", RunNotFound))
    if not _is_visible(call, run):
        raise no_run(run.id)
    return call.answer(RunAnswer, _shown(call, run, details=True))


def _shown(call: Call, run: RunMixin, *, details: bool) -> Shown:
    return shown_run(run, details=details, is_trusted=call.grant.is_trusted)


def _is_visible(call: Call, run: RunMixin) -> bool:
    """Whether the sender may know of a run: one of all templates tells about all of them."""
    if call.grant.sees_all or call.grant.sees(None):
        return True
    if run.template_id is None:
        return False
    try:
        return call.grant.sees(call.slots.get_template(run.template_id))
    except TemplateNotFound:
        return False


@health("GET", "/health", HealthAnswer)
def get_health(call: Call) -> Response:
    """Say whether every promised slot of the window is stored; the rest is told to whoever sends a token."""
    report = call.slots.health()
    if not call.grant.is_trusted:
        return call.answer(HealthAnswer, Shown(None, status=report.status))
    lacking = [each for each in report.templates if each.missing or each.due or each.error]
    return call.answer(HealthAnswer, report, templates=lacking[:MANY])
