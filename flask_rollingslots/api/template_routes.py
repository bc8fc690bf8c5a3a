"""Templates: find them, make them, change them, end them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask import Response, url_for

from flask_rollingslots.errors import TemplateNotFound
from flask_rollingslots.values import SlotKey

from .answers import (
    Draft,
    EndAnswer,
    SlotAnswer,
    SlotList,
    TemplateAnswer,
    TemplateChanged,
    TemplateList,
    TemplatePage,
)
from .bodies import (
    CancelFutureBody,
    DryRunBody,
    DryRunQuery,
    MaterializeBody,
    PreviewQuery,
    TemplateBody,
    TemplateChange,
    TemplatesQuery,
    instant,
    span_of,
)
from .operations import IF_MATCH, Call, Operations
from .problems import invalid
from .slot_routes import ended, materialized

if TYPE_CHECKING:
    from flask_rollingslots.models import TemplateMixin

operations = Operations("templates")
_LONGEST_SEARCH = timedelta(days=3660)


@operations("GET", "/templates", TemplatePage, query=TemplatesQuery)
def list_templates(call: Call) -> Response:
    """List or search templates.

    With ``from`` and ``to`` only series with a stored or promised slot in that span are found: one that never ends is
    found in any future span.
    """
    query, slots, span = call.query, call.slots, dict[str, Any]()
    if query.from_ is not None or query.to is not None:
        zone = ZoneInfo(slots.settings.timezone)
        window = span_of({"from": query.from_, "to": query.to}, zone, _LONGEST_SEARCH)
        span = {"start": window.start, "end": window.end}
    limit = query.limit + 1 if call.grant.sees_all else None
    found = slots.templates(query.q, query.group, query.active, **span, after=query.cursor or 0, limit=limit)
    visible = call.grant.visible(found)
    shown = visible[: query.limit]
    return call.page(TemplatePage, shown, shown[-1].id if len(visible) > len(shown) else None)


@operations("GET", "/templates/<template_id>", TemplateAnswer)
def get_template(call: Call) -> Response:
    """Return one template; its ETag is its revision."""
    template = _template(call, "read")
    return call.answer(TemplateAnswer, template, revision=template.revision)


def _template(call: Call, action: str) -> TemplateMixin:
    return call.template(call.number("template_id", TemplateNotFound), action)


@operations("GET", "/templates/<template_id>/preview", SlotList, query=PreviewQuery)
def preview_template(call: Call) -> Response:
    """List the next slots of a template's series, stored or virtual, however far away they are."""
    template, count, most = _template(call, "read"), call.query.count, call.slots.settings.preview_max
    if count > most:
        raise invalid("count", count, f"at most {most:,}")
    after = instant(call.query.after, ZoneInfo(template.timezone))
    return call.answer(SlotList, items=call.slots.upcoming(template, count, after))


@operations("POST", "/templates", {201: (TemplateAnswer, TemplateList), 200: Draft}, body=TemplateBody)
def create_template(call: Call) -> Response:
    """Create a template, finite or endless; its slots are created in the background.

    A list as ``recurrence`` (a fixed schedule) makes one template for each entry. With ``dry_run`` nothing is stored,
    and the answer shows what would be, with the next starts.
    """
    slots, body = call.slots, call.body
    wanted = body.templates(slots)
    for fields in wanted:
        call.grant.require("create", slots.Template(**fields))
    if call.dry_run:
        drafts = [slots.create_template(dry_run=True, **fields) for fields in wanted]
        following = [draft.recurrence.after(slots.now(), 5) for draft in drafts]
        starts = [[starts_at for _, starts_at in each] for each in following]
        return call.answer(Draft, items=drafts, starts=starts)
    with slots.transaction():
        made = [slots.create_template(**fields) for fields in wanted]
        location = url_for(".get_template", template_id=made[0].id)
        if isinstance(body.recurrence, list):
            return call.answer(TemplateList, None, 201, location, items=made)
        return call.answer(TemplateAnswer, made[0], 201, location, made[0].revision)


@operations("PATCH", "/templates/<template_id>", TemplateChanged, body=TemplateChange, headers=IF_MATCH)
def change_template(call: Call) -> Response:
    """Change a whole series: its name, rule, length, capacity or data, and its settings.

    Slots that a person changed keep what was changed, booked ones keep their times and are told. A rule makes a finite
    series endless, or the other way round. To move the slots use ``PATCH /slots/<key>?scope=all`` with ``start``.
    """
    body, dry_run, revision = call.body, call.dry_run, call.revision()
    template = _template(call, "edit")
    number, changes = template.id, body.changes(call.slots, template)
    if not changes and not body.settings:
        raise invalid("body", None, "at least one field that is to be changed")
    with call.slots.transaction(dry_run) as slots:
        change = slots.change_template(
            number, revision, body.move_booked, dry_run, **body.settings, **changes
        )
        changed = next(segment for segment in change.segments if segment.id == number)
        edit = change.plan and call.shown(change.plan, slot=None)
        etag = None if dry_run else changed.revision
        return call.answer(TemplateChanged, revision=etag, template=changed, edit=edit)


@operations("DELETE", "/templates/<template_id>", EndAnswer, query=DryRunQuery, headers=IF_MATCH)
def delete_template(call: Call) -> Response:
    """Delete a whole series: hide its slots from now on. Booked and completed ones stay and are told.

    The template itself stays, with ``cancelled_from``, for its keys are for ever; ``restore`` takes it back.
    """
    return ended(call, call.slots.delete_series, _template(call, "edit").id)


@operations(
    "POST", "/templates/<template_id>/cancel-future", EndAnswer, body=CancelFutureBody, headers=IF_MATCH
)
def cancel_future(call: Call) -> Response:
    """Cancel all slots of a series from a day on, booked ones too; they stay visible as cancelled."""
    template, body = _template(call, "edit"), call.body
    return ended(call, call.slots.cancel_future, template.id, body.from_date, reason=body.reason)


@operations("POST", "/templates/<template_id>/restore", EndAnswer, body=DryRunBody, headers=IF_MATCH)
def restore_template(call: Call) -> Response:
    """Take back that a series was cancelled or deleted; slots that were cancelled for themselves stay cancelled."""
    return ended(call, call.slots.restore_series, _template(call, "edit").id)


@operations(
    "POST",
    "/templates/<template_id>/materialize",
    {200: SlotAnswer, 201: SlotAnswer},
    body=MaterializeBody,
)
def materialize_occurrence(call: Call) -> Response:
    """Make the row of the slot at an original start, if it is still virtual; a second time changes nothing."""
    template = _template(call, "edit")
    return materialized(call, str(SlotKey(template.series_id or template.id, call.body.original_start)))
