"""Templates: find them, make them, change them, end them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from flask_rollingslots.browsing import find_template, search
from flask_rollingslots.errors import TemplateNotFound
from flask_rollingslots.values import SlotKey, local_midnight

from .access import Needs
from .answers import (
    Draft,
    EndAnswer,
    SlotAnswer,
    SlotList,
    TemplateAnswer,
    TemplateChanged,
    TemplateList,
    TemplatePage,
    edit_answer,
    end_answer,
    slot_answer,
    template_answer,
)
from .bodies import (
    CancelFutureBody,
    DryRunBody,
    MaterializeBody,
    TemplateBody,
    TemplateChange,
    changes_of,
    settings_of,
)
from .fields import Group, MomentOrDay, QueryFlag, QueryNumber, Strict
from .operations import Answer, Call, Operations, address, read_id
from .paging import number_of, page
from .problems import fault, invalid
from .units import writing

if TYPE_CHECKING:
    from flask_rollingslots.models import TemplateMixin

operations = Operations("templates")
_LONGEST_SEARCH = timedelta(days=3660)


class TemplatesQuery(Strict):
    """Which templates."""

    q: Annotated[
        str | None, Field(max_length=200, description="Part of the name, the group or the rule.")
    ] = None
    group: Group | None = None
    active: QueryFlag | None = None
    from_: Annotated[
        MomentOrDay | None, Field(alias="from", description="With to: only series with a slot in this span.")
    ] = None
    to: MomentOrDay | None = None
    limit: Annotated[QueryNumber, Field(ge=1, le=500)] = 100
    cursor: Annotated[str | None, Field(max_length=100)] = None


@operations("GET", "/templates", Needs.READ, {200: TemplatePage}, query=TemplatesQuery)
def list_templates(call: Call) -> Answer:
    """List or search templates.

    With ``from`` and ``to`` only series with a stored or promised slot in that span are found: one that never ends is
    found in any future span.
    """
    query, state = call.query, call.state
    zone = ZoneInfo(state.settings.timezone)
    start, end = instant(query.from_, zone), instant(query.to, zone)
    check_span("from", start, "to", query.to, end, _LONGEST_SEARCH)
    after = number_of(query.cursor) or 0
    limit = query.limit + 1 if call.grant.sees_all else None
    found = search(call.work, query.q, query.group, query.active, start, end, after, limit)
    shown = call.grant.visible(found)
    more = len(shown) > query.limit
    shown = shown[: query.limit]
    return Answer(page([template_answer(each) for each in shown], str(shown[-1].id) if more else None))


@operations("GET", "/templates/<template_id>", Needs.READ, {200: TemplateAnswer})
def get_template(call: Call) -> Answer:
    """Return one template; its ETag is its revision."""
    return one_template(template_of(call, "read"))


def one_template(template: TemplateMixin, status: int = 200, location: str | None = None) -> Answer:
    """Return the answer that is one template."""
    headers = {"ETag": f'"{template.revision}"'} if template.revision else {}
    return Answer(template_answer(template), status, location, headers)


def template_of(call: Call, action: str) -> TemplateMixin:
    """Return the template in the address, if the sender may do this with it.

    :raises TemplateNotFound: if there is none, or the sender may not know of it.
    """
    number = read_id(call.path["template_id"], TemplateNotFound)
    found = find_template(call.work, number)
    call.grant.require(action, found)
    return found


class PreviewQuery(Strict):
    """How many slots, and from when on."""

    count: Annotated[
        QueryNumber, Field(ge=1, le=10_000, description="At most ROLLINGSLOTS_PREVIEW_MAX, 200 by default.")
    ] = 5
    after: Annotated[
        MomentOrDay | None, Field(description="Only slots that start after it; now by default.")
    ] = None


@operations("GET", "/templates/<template_id>/preview", Needs.READ, {200: SlotList}, query=PreviewQuery)
def preview_template(call: Call) -> Answer:
    """List the next slots of a template's series, stored or virtual, however far away they are."""
    state, template, most = call.state, template_of(call, "read"), call.state.settings.preview_max
    if call.query.count > most:
        raise invalid([fault("count", call.query.count, f"at most {most:,}")])
    after = instant(call.query.after, ZoneInfo(template.timezone))
    found = state.facade.upcoming(template, call.query.count, after)
    return Answer({"items": [slot_answer(slot, state.clock()) for slot in found]})


@operations(
    "POST",
    "/templates",
    Needs.WRITE,
    {201: (TemplateAnswer, TemplateList), 200: Draft},
    body=TemplateBody,
)
def create_template(call: Call) -> Answer:
    """Create a template, finite or endless; its slots are created in the background.

    A list as ``recurrence`` (a fixed schedule) makes one template for each entry. With ``dry_run`` nothing is stored,
    and the answer shows what would be, with the next starts.
    """
    state = call.state
    wanted = call.body.templates(state.settings.timezone)
    drafts = [state.facade.create_template(dry_run=True, **fields) for fields in wanted]
    for draft in drafts:
        call.grant.require("create", draft)
    if call.body.dry_run:
        starts = [_next_starts(draft, state.clock()) for draft in drafts]
        return Answer(
            {"dry_run": True, "items": [template_answer(draft) for draft in drafts], "starts": starts}
        )
    with writing(state) as slots:
        made = [slots.create_template(**fields) for fields in wanted]
        found = [template_answer(template) for template in made]
    location = address("get_template", template_id=found[0]["id"])
    if isinstance(call.body.recurrence, list):
        return Answer({"items": found}, 201, location)
    return Answer(found[0], 201, location, {"ETag": f'"{found[0]["revision"]}"'})


def _next_starts(draft: TemplateMixin, now: datetime) -> list[str]:
    return [starts_at.isoformat() for _, starts_at in draft.recurrence.after(now, 5)]


@operations(
    "PATCH",
    "/templates/<template_id>",
    Needs.WRITE,
    {200: TemplateChanged},
    body=TemplateChange,
    headers=("If-Match",),
)
def change_template(call: Call) -> Answer:
    """Change a whole series: its name, rule, length, capacity or data, and its settings.

    Slots that a person changed keep what was changed, booked ones keep their times and are told. A rule makes a finite
    series endless, or the other way round. To move the slots use ``PATCH /slots/<key>?scope=all`` with ``start``.
    """
    state, body, revision = call.state, call.body, call.revision()
    template = template_of(call, "edit")
    number, changes = template.id, changes_of(body, template.dtstart, template.timezone)
    settings = settings_of(body, body.model_fields_set)
    if not changes and not settings:
        raise invalid([fault("body", None, "at least one field that is to be changed")])
    with writing(state, body.dry_run) as slots:
        segments, plan = slots.change_template(
            number, revision, body.move_booked, body.dry_run, **settings, **changes
        )
        changed = next(segment for segment in segments if segment.id == number)
        found = {
            "dry_run": body.dry_run,
            "template": template_answer(changed),
            "edit": plan and edit_answer(plan, body.dry_run),
        }
    return Answer(found, headers={} if body.dry_run else {"ETag": f'"{found["template"]["revision"]}"'})


class DeleteQuery(Strict):
    """Whether it is only tried."""

    dry_run: QueryFlag = False


@operations(
    "DELETE",
    "/templates/<template_id>",
    Needs.WRITE,
    {200: EndAnswer},
    query=DeleteQuery,
    headers=("If-Match",),
)
def delete_template(call: Call) -> Answer:
    """Delete a whole series: hide its slots from now on. Booked and completed ones stay and are told.

    The template itself stays, with ``cancelled_from``, for its keys are for ever; ``restore`` takes it back.
    """
    number, revision, dry_run = template_of(call, "edit").id, call.revision(), call.query.dry_run
    with writing(call.state, dry_run) as slots:
        found = end_answer(slots.delete_series(number, revision, dry_run), dry_run)
    return Answer(found)


@operations(
    "POST",
    "/templates/<template_id>/cancel-future",
    Needs.WRITE,
    {200: EndAnswer},
    body=CancelFutureBody,
    headers=("If-Match",),
)
def cancel_future(call: Call) -> Answer:
    """Cancel all slots of a series from a day on, booked ones too; they stay visible as cancelled."""
    number, revision, body = template_of(call, "edit").id, call.revision(), call.body
    with writing(call.state, body.dry_run) as slots:
        report = slots.cancel_future(number, body.from_date, body.reason, revision, body.dry_run)
        found = end_answer(report, body.dry_run)
    return Answer(found)


@operations(
    "POST",
    "/templates/<template_id>/restore",
    Needs.WRITE,
    {200: EndAnswer},
    body=DryRunBody,
    headers=("If-Match",),
)
def restore_template(call: Call) -> Answer:
    """Take back that a series was cancelled or deleted; slots that were cancelled for themselves stay cancelled."""
    number, revision, dry_run = template_of(call, "edit").id, call.revision(), call.body.dry_run
    with writing(call.state, dry_run) as slots:
        found = end_answer(slots.restore_series(number, revision, dry_run), dry_run)
    return Answer(found)


@operations(
    "POST",
    "/templates/<template_id>/materialize",
    Needs.WRITE,
    {200: SlotAnswer, 201: SlotAnswer},
    body=MaterializeBody,
)
def materialize_occurrence(call: Call) -> Answer:
    """Make the row of the slot at an original start, if it is still virtual; a second time changes nothing."""
    template = template_of(call, "edit")
    return materialized(call, SlotKey(template.series_id or template.id, call.body.original_start))


def materialized(call: Call, key: SlotKey) -> Answer:
    """Return the answer to a slot becoming a row."""
    with writing(call.state) as slots:
        was_virtual = slots.get(str(key)).is_virtual
        slot = slots.materialize(str(key))
        found = slot_answer(slot, call.state.clock())
    status = 201 if was_virtual else 200
    return Answer(found, status, address("get_slot", key=str(key)), {"ETag": f'"{found["revision"]}"'})


def instant(value: date | datetime | None, zone: ZoneInfo) -> datetime | None:
    """Return an instant; a day means its first moment in a zone."""
    if value is None or isinstance(value, datetime):
        return value
    return local_midnight(value, zone)


def check_span(
    first: str,
    start: datetime | None,
    last: str,
    given_last: object,
    end: datetime | None,
    longest: timedelta,
) -> None:
    """Refuse half a span, one that ends before it begins, and one that is too long.

    :raises Problem: 422.
    """
    if (start is None) != (end is None):
        name = last if end is None else first
        raise invalid([fault(name, None, f"{first} and {last} together")])
    if start is not None and end is not None and end < start:
        raise invalid([fault(last, given_last, f"a moment not before {first}")])
    if start is not None and end is not None and end - start > longest:
        raise invalid([fault(last, given_last, f"at most {longest.days} days after {first}")])
