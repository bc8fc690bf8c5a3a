"""Top-ups: start one and look at how far it is. For outside cron services, and for whoever cannot wait."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from flask_rollingslots.browsing import find_run, find_template, runs, search
from flask_rollingslots.errors import RunNotFound, TemplateNotFound, TopUpBusy, no_group, no_run
from flask_rollingslots.queue import order
from flask_rollingslots.topup import TopUpRequest
from flask_rollingslots.values import Window

from .access import Needs
from .operations import Answer, Call, Operations, address, read_id
from .paging import number_of, page
from .problems import Problem, fault, invalid
from .run_answers import RunAnswer, RunPage, report_answer, run_answer, week_answer
from .scalars import Day, Group, Id, QueryId, QueryNumber, Strict
from .units import writing

if TYPE_CHECKING:
    from datetime import datetime

    from flask_rollingslots.models import RunMixin

operations = Operations("topups")
#: The longest window of one call, in days.
LONGEST = 92

Week = Annotated[
    Literal["current"] | Day,
    Field(
        description="A day of a week, or current: from Monday to Sunday in each template's zone, past days too."
    ),
]


class TopUpBody(Strict):
    """What to fill: each template's own window, or so many days, or a week, or the days since one."""

    days: Annotated[int | None, Field(ge=1, le=LONGEST, description="Local days from today.")] = None
    week: Week | None = None
    since: Annotated[
        Day | None, Field(description="From this day to today, past days too; at most 92 days ago.")
    ] = None
    template: Annotated[Id | None, Field(description="Only the series of this template.")] = None
    group: Annotated[Group | None, Field(description="Only the templates of this group.")] = None
    dry_run: bool = False


class TopUpsQuery(Strict):
    """Which top-ups."""

    template: Annotated[QueryId | None, Field(description="Those that touched this template.")] = None
    week: Annotated[
        Literal["current"] | Day | None, Field(description="Also say what is stored of this week.")
    ] = None
    limit: Annotated[QueryNumber, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=100)] = None


@operations(
    "POST",
    "/topups",
    Needs.WRITE,
    {202: RunAnswer, 200: RunAnswer},
    body=TopUpBody,
    refusals=(404,),
)
def start_topup(call: Call) -> Answer:
    """Start a top-up in the background (202); the address in ``Location`` shows how far it is.

    One such top-up works at a time: while it does, another call is answered with 409 ``topup_busy``, with the address
    of the run that is under way. With ``dry_run`` nothing is written, and the answer (200) says what would be.
    """
    state, body, asked_at = call.state, call.body, call.state.clock()
    _require(call, body.template, body.group)
    request = _request(body, asked_at, ZoneInfo(state.settings.timezone))
    if body.dry_run:
        with writing(state, dry_run=True):
            report = state.topup.runner.generate(request)
        return Answer(report_answer(report, request.first_day, request.end_day))
    try:
        with writing(state):
            run_id = order(state.topup, request, asked_at)
    except TopUpBusy as error:
        raise _busy(error) from error
    # A look of its own: the run may have been written by another session since this request began.
    with writing(state, dry_run=True):
        run = find_run(state.writing(), run_id)
        found = run_answer(run, details=True, errors=call.grant.is_trusted)
    return Answer(found, 202, address("get_topup", run_id=run_id))


def _busy(error: TopUpBusy) -> Problem:
    """Return the answer to whoever comes while a top-up works."""
    run_id = getattr(error, "run", None)
    members: dict[str, Any] = {}
    headers = {"Retry-After": "2"}
    if run_id is not None:
        members = {"run": address("get_topup", run_id=run_id), "run_id": run_id}
        headers["Location"] = members["run"]
    return Problem(409, "topup_busy", str(error), members, headers)


def _request(body: TopUpBody, now: datetime, zone: ZoneInfo) -> TopUpRequest:
    """Return what is to be filled.

    :raises Problem: 422 for what contradicts itself, or is too long.
    """
    given = [name for name in ("days", "week", "since") if getattr(body, name) is not None]
    if len(given) > 1:
        raise invalid(
            [fault(given[1], plain_of(getattr(body, given[1])), f"either {given[0]} or {given[1]}")]
        )
    options: dict[str, Any] = {"template_id": body.template, "group": body.group, "dry_run": body.dry_run}
    today = now.astimezone(zone).date()
    if body.week is not None:
        return TopUpRequest.manual(today if body.week == "current" else body.week, **options)
    if body.since is not None:
        if body.since > today or (today - body.since).days >= LONGEST:
            raise invalid([fault("since", body.since.isoformat(), f"one of the last {LONGEST} days")])
        return TopUpRequest("manual", first_day=body.since, **options)
    return TopUpRequest("manual", days=body.days, **options)


def plain_of(value: Any) -> Any:
    """Return a value of a body as it was written."""
    return value.isoformat() if isinstance(value, date) else value


def _require(call: Call, template: int | None, group: str | None) -> None:
    """Refuse a top-up of what is not the sender's.

    :raises TemplateNotFound: if there is no such template, or the sender may not know of it.
    """
    if template is not None:
        call.grant.require("top_up", find_template(call.work, template))
    elif group is not None and not call.grant.sees_all:
        found = search(call.work, group=group)
        if not found or not all(call.grant.sees(each) for each in found):
            raise no_group(group)
        for each in found:
            call.grant.require("top_up", each)
    elif group is None:
        call.grant.require("top_up", None)


@operations("GET", "/topups", Needs.READ, {200: RunPage}, query=TopUpsQuery, refusals=(404,))
def list_topups(call: Call) -> Answer:
    """List top-ups, the newest first; with ``week`` also what is stored of that week."""
    query = call.query
    if query.template is not None:
        call.grant.require("read", find_template(call.work, query.template))
    found = runs(call.work, query.template, query.limit + 1, number_of(query.cursor))
    listed, more = found[: query.limit], len(found) > query.limit
    shown = [
        run_answer(run, details=False, errors=call.grant.is_trusted)
        for run in listed
        if _is_visible(call, run)
    ]
    answer = page(shown, str(listed[-1].id) if more else None)
    if query.week is not None:
        answer["week"] = _week(call)
    return Answer(answer)


def _week(call: Call) -> dict[str, Any]:
    """Return what is stored of the week that is asked for, in the app's zone."""
    query, state = call.query, call.state
    if query.template is None:
        call.grant.require("read", None)
    zone = ZoneInfo(state.settings.timezone)
    day = state.clock().astimezone(zone).date() if query.week == "current" else query.week
    monday = day - timedelta(days=day.weekday())
    window = Window.local_days(monday, monday + timedelta(days=7), zone)
    stats = state.facade.stats(template=query.template, start=window.start, end=window.end)
    return week_answer(stats, monday)


@operations("GET", "/topups/<run_id>", Needs.READ, {200: RunAnswer})
def get_topup(call: Call) -> Answer:
    """Return one top-up: how far it is, and when it has ended what each template and group got."""
    number = read_id(call.path["run_id"], RunNotFound)
    run = find_run(call.work, number)
    if not _is_visible(call, run):
        raise no_run(number)
    return Answer(run_answer(run, details=True, errors=call.grant.is_trusted))


def _is_visible(call: Call, run: RunMixin) -> bool:
    """Whether the sender may know of a run: one of all templates tells about all of them."""
    if call.grant.sees_all or call.grant.sees(None):
        return True
    if run.template_id is None:
        return False
    try:
        template = find_template(call.work, run.template_id)
    except TemplateNotFound:
        return False
    return call.grant.sees(template)
