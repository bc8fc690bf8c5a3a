"""Slots: read a span of them, change one, this and future ones, or all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field

from flask_rollingslots.browsing import find_template
from flask_rollingslots.errors import SlotNotFound, no_slot
from flask_rollingslots.loading import segments
from flask_rollingslots.series import SeriesReport
from flask_rollingslots.values import Scope, SlotKey

from .access import Needs
from .answers import EditAnswer, EndAnswer, SlotAnswer, SlotPage, edit_answer, end_answer, slot_answer
from .bodies import EndBody, RestoreBody, SlotChange, changes_of
from .fields import Group, MomentOrDay, QueryFlag, QueryId, QueryNumber, ScopeName, Strict
from .operations import Answer, Call, Operations
from .paging import page
from .problems import fault, invalid
from .template_routes import check_span, instant, materialized
from .units import writing

if TYPE_CHECKING:
    from flask_rollingslots.facade import RollingSlots
    from flask_rollingslots.models import SlotMixin, TemplateMixin

operations = Operations("slots")
#: The longest span of one call.
LONGEST = timedelta(days=92)
_FIRST_STRETCH, _PER_STRETCH = timedelta(days=1), 5000

#: Where a slot stands in a list: start, series, original start.
_Place = tuple[datetime, int, datetime]


class SlotsQuery(Strict):
    """Which slots."""

    start: Annotated[
        MomentOrDay, Field(description="Included. A day means its midnight in the template's zone.")
    ]
    end: Annotated[MomentOrDay, Field(description="Not included; at most 92 days later.")]
    template: Annotated[QueryId | None, Field(description="The whole series of this template.")] = None
    group: Group | None = None
    limit: Annotated[QueryNumber, Field(ge=1, le=1000)] = 1000
    cursor: Annotated[str | None, Field(max_length=100)] = None


@operations("GET", "/slots", Needs.READ, {200: SlotPage}, query=SlotsQuery, refusals=(404,))
def list_slots(call: Call) -> Answer:
    """List slots by start, stored and virtual ones merged; any future span is full.

    Cancelled ones are in it (look at ``state``), deleted ones are not.
    """
    query, now = call.query, call.state.clock()
    start, end = span_of(call, query)
    found = _first_slots(call, start, end, _position(query.cursor))
    shown = found[: query.limit]
    cursor = _cursor(shown[-1]) if len(found) > len(shown) else None
    return Answer(page([slot_answer(slot, now) for slot in shown], cursor))


def _first_slots(call: Call, start: datetime, end: datetime, position: _Place | None) -> list[SlotMixin]:
    """Return the slots of a span after a position: a page of them, and at least one more if there is one.

    Read in stretches of about as many slots as a page may have: many templates with a slot each minute must not be
    held in memory for three months, to show a thousand.
    """
    query = call.query
    found: list[SlotMixin] = []
    start, step = max(start, position[0]) if position is not None else start, _FIRST_STRETCH
    while start < end and len(found) <= query.limit:
        until = min(end, start + step)
        read = call.state.facade.between(start, until, template=query.template, group=query.group)
        found += [slot for slot in visible(call, read) if position is None or _place(slot) > position]
        per_day = len(read) / ((until - start) / timedelta(days=1))
        step = max(_FIRST_STRETCH, timedelta(days=min(LONGEST.days, _PER_STRETCH / max(per_day, 1.0))))
        start = until
    return found


def span_of(call: Call, query: Any) -> tuple[datetime, datetime]:
    """Return the span that ``start`` and ``end`` of a query mean.

    :raises Problem: 422 if it is too long, or ends before it begins.
    """
    name = call.state.settings.timezone
    if query.template is not None:
        template = find_template(call.work, query.template)
        call.grant.require("read", template)
        name = template.timezone
    start, end = instant(query.start, ZoneInfo(name)), instant(query.end, ZoneInfo(name))
    check_span("start", start, "end", query.end, end, LONGEST)
    if start is None or end is None:
        raise invalid([fault("start", None, "start and end")])
    return start, end


def slots_between(
    call: Call, start: datetime, end: datetime, template: int | None, group: str | None
) -> list[SlotMixin]:
    """Return the slots of a span that the sender may see, by start."""
    return visible(call, call.state.facade.between(start, end, template=template, group=group))


def visible(call: Call, found: list[SlotMixin]) -> list[SlotMixin]:
    """Return those slots that the sender may see; the callback is asked once for each template."""
    if call.grant.sees_all:
        return found
    seen: dict[int, bool] = {}
    for slot in found:
        if slot.template_id not in seen:
            seen[slot.template_id] = call.grant.sees(slot.template)
    return [slot for slot in found if seen[slot.template_id]]


@operations("GET", "/slots/<key>", Needs.READ, {200: SlotAnswer})
def get_slot(call: Call) -> Answer:
    """Return one slot, stored or virtual; its ETag is the revision of its template."""
    key, _ = series_of(call, "read")
    return one_slot(call, call.state.facade.get(str(key)))


def one_slot(call: Call, slot: SlotMixin, status: int = 200, location: str | None = None) -> Answer:
    """Return the answer that is one slot."""
    headers = {"ETag": f'"{slot.template.revision}"'}
    return Answer(slot_answer(slot, call.state.clock()), status, location, headers)


class ScopeQuery(Strict):
    """Which slots are meant."""

    scope: ScopeName | None = None
    dry_run: QueryFlag = False


def scope_of(call: Call) -> Scope:
    """Return the scope, said in the query or in the body; one slot by default.

    :raises Problem: 422 if both say something, and not the same.
    """
    found = [
        Scope(text) for text in (call.query.scope, getattr(call.body, "scope", None)) if text is not None
    ]
    if len(set(found)) > 1:
        raise invalid([fault("scope", found[1].value, "the same scope in query and body, or one of them")])
    return found[0] if found else Scope.THIS


def is_dry(call: Call) -> bool:
    """Whether nothing is to be written, said in the query or in the body."""
    return any(getattr(part, "dry_run", False) for part in (call.query, call.body))


@operations(
    "PATCH",
    "/slots/<key>",
    Needs.WRITE,
    {200: EditAnswer},
    query=ScopeQuery,
    body=SlotChange,
    headers=("If-Match",),
)
def change_slot(call: Call) -> Answer:
    """Change a slot, this and all later ones, or all of its series; ``dry_run`` shows what would change.

    Completed, cancelled and past slots stay as they are; booked ones keep their times and are told.
    """
    key, parts = series_of(call, "edit")
    body, scope, dry_run, revision = call.body, scope_of(call), is_dry(call), call.revision()
    changes = changes_of(body, parts[-1].dtstart, parts[-1].timezone)
    with writing(call.state, dry_run) as slots:
        plan = slots.edit(str(key), scope, revision, body.move_booked, dry_run, **changes)
        slot = None if dry_run else _slot_or_none(call, slots, key)
        found = edit_answer(plan, dry_run, slot)
    return Answer(found, headers={} if slot is None else {"ETag": f'"{slot["revision"]}"'})


def _slot_or_none(call: Call, slots: RollingSlots, key: SlotKey) -> dict[str, Any] | None:
    try:
        return slot_answer(slots.get(str(key)), call.state.clock())
    except SlotNotFound:  # the new rule has no such slot
        return None


@operations(
    "DELETE",
    "/slots/<key>",
    Needs.WRITE,
    {204: None, 200: EndAnswer},
    query=ScopeQuery,
    headers=("If-Match",),
)
def delete_slot(call: Call) -> Answer:
    """Hide a slot (204), or this and later ones, or all of its series (200 with what stays because it is booked)."""
    key, _ = series_of(call, "edit")
    scope, dry_run, revision = scope_of(call), is_dry(call), call.revision()
    with writing(call.state, dry_run) as slots:
        found = _ended(call, slots.delete(str(key), scope, revision=revision, dry_run=dry_run))
    return Answer(status=204) if scope is Scope.THIS and not dry_run else Answer(found)


@operations(
    "POST",
    "/slots/<key>/cancel",
    Needs.WRITE,
    {200: EndAnswer},
    query=ScopeQuery,
    body=EndBody,
    headers=("If-Match",),
)
def cancel_slot(call: Call) -> Answer:
    """Cancel a slot, this and later ones, or all of its series; they stay visible as cancelled, booked ones too."""
    key, _ = series_of(call, "edit")
    scope, dry_run, revision = scope_of(call), is_dry(call), call.revision()
    with writing(call.state, dry_run) as slots:
        ended = slots.cancel(str(key), scope, call.body.reason, revision=revision, dry_run=dry_run)
        found = _ended(call, ended)
    return Answer(found)


@operations(
    "POST",
    "/slots/<key>/restore",
    Needs.WRITE,
    {200: EndAnswer},
    query=ScopeQuery,
    body=RestoreBody,
    headers=("If-Match",),
)
def restore_slot(call: Call) -> Answer:
    """Bring back what was cancelled or deleted: a slot, this and later ones, or all of its series."""
    key, _ = series_of(call, "edit")
    scope, dry_run, revision = scope_of(call), is_dry(call), call.revision()
    with writing(call.state, dry_run) as slots:
        found = _ended(call, slots.restore(str(key), scope, revision=revision, dry_run=dry_run))
    return Answer(found)


@operations("POST", "/slots/<key>/complete", Needs.WRITE, {200: SlotAnswer}, headers=("If-Match",))
def complete_slot(call: Call) -> Answer:
    """Mark a slot as completed; nothing changes it any more."""
    key, _ = series_of(call, "edit")
    revision = call.revision()
    with writing(call.state) as slots:
        found = slot_answer(slots.complete(str(key), revision), call.state.clock())
    return Answer(found)


@operations("POST", "/slots/<key>/materialize", Needs.WRITE, {200: SlotAnswer, 201: SlotAnswer})
def materialize_slot(call: Call) -> Answer:
    """Make the row of a slot, if it is still virtual; a second time changes nothing."""
    key, _ = series_of(call, "edit")
    return materialized(call, key)


def _ended(call: Call, ended: SlotMixin | SeriesReport) -> dict[str, Any]:
    """Return the answer to a decision about one slot or several."""
    if isinstance(ended, SeriesReport):
        return end_answer(ended, is_dry(call))
    report = SeriesReport(Scope.THIS, [ended.key], [ended.key] if ended.booked else [])
    return end_answer(report, is_dry(call), slot_answer(ended, call.state.clock()))


def series_of(call: Call, action: str) -> tuple[SlotKey, list[TemplateMixin]]:
    """Return the key in the address and the segments of its series, if the sender may do this with them.

    :raises InvalidKey: if it is no key.
    :raises SlotNotFound: if there is no such series, or the sender may not know of it.
    """
    key = SlotKey.parse(call.path["key"])
    found = segments(call.work, [key.series_id])
    if not found or not all(call.grant.sees(template) for template in found):
        raise no_slot(key)
    for template in found:
        call.grant.require(action, template)
    return key, found


def _place(slot: SlotMixin) -> _Place:
    return slot.starts_at, slot.series_id, slot.original_start


def _cursor(slot: SlotMixin) -> str:
    return f"{int(slot.starts_at.timestamp())}.{slot.key}"


def _position(cursor: str | None) -> _Place | None:
    """Return the place that a cursor holds.

    :raises Problem: 422 if it is no cursor of ours.
    """
    if cursor is None:
        return None
    seconds, _, text = cursor.partition(".")
    try:
        if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 12):
            raise ValueError
        key = SlotKey.parse(text)
        return datetime.fromtimestamp(int(seconds), UTC), key.series_id, key.original_start
    except (ValueError, OverflowError, OSError, SlotNotFound):
        raise invalid([fault("cursor", cursor, "the cursor in the address that next names")]) from None
