"""Slots: read a span of them, change one, this and future ones, or all."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field

from flask_rollingslots.errors import SlotNotFound
from flask_rollingslots.searching import find_template, series_at
from flask_rollingslots.values import SlotKey

from .access import Needs
from .answers import SlotAnswer, SlotPage, slot_answer
from .fields import Group, MomentOrDay, QueryId, QueryNumber, Strict
from .operations import Answer, Call, Operations
from .paging import page
from .problems import fault, invalid
from .template_routes import check_span, instant

if TYPE_CHECKING:
    from flask_rollingslots.models import SlotMixin, TemplateMixin

operations = Operations("slots")
#: The longest span of one call.
LONGEST = timedelta(days=92)


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
    found = slots_between(call, start, end, query.template, query.group)
    position = _position(query.cursor)
    if position is not None:
        found = [slot for slot in found if _place(slot) > position]
    shown = found[: query.limit]
    cursor = _cursor(shown[-1]) if len(found) > len(shown) else None
    return Answer(page([slot_answer(slot, now) for slot in shown], cursor))


def span_of(call: Call, query: Any) -> tuple[datetime, datetime]:
    """Return the span that ``start`` and ``end`` of a query mean.

    :raises Problem: 422 if it is too long, or ends before it begins.
    """
    name = call.state.settings.timezone
    if query.template is not None:
        template = find_template(call.state.db.session(), call.state.models, query.template)
        call.grant.require("read", template)
        name = template.timezone
    start, end = instant(query.start, ZoneInfo(name)), instant(query.end, ZoneInfo(name))
    check_span("start", query.start, start, "end", query.end, end, LONGEST)
    if start is None or end is None:
        raise invalid([fault("start", None, "start and end")])
    return start, end


def slots_between(
    call: Call, start: datetime, end: datetime, template: int | None, group: str | None
) -> list[SlotMixin]:
    """Return the slots of a span that the sender may see, by start."""
    found = call.state.facade.between(start, end, template=template, group=group)
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


def series_of(call: Call, action: str) -> tuple[SlotKey, list[TemplateMixin]]:
    """Return the key in the address and the segments of its series, if the sender may do this with them.

    :raises InvalidKey: if it is no key.
    :raises SlotNotFound: if there is no such series, or the sender may not know of it.
    """
    key = SlotKey.parse(call.path["key"])
    found = series_at(call.state.db.session(), call.state.models, key)
    if not found or not all(call.grant.sees(template) for template in found):
        raise SlotNotFound(f"slot {key}: there is no such slot")
    for template in found:
        call.grant.require(action, template)
    return key, found


def _place(slot: SlotMixin) -> tuple[datetime, int, datetime]:
    return slot.starts_at, slot.series_id, slot.original_start


def _cursor(slot: SlotMixin) -> str:
    return f"{int(slot.starts_at.timestamp())}.{slot.key}"


def _position(cursor: str | None) -> tuple[datetime, int, datetime] | None:
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
        from datetime import UTC

        return datetime.fromtimestamp(int(seconds), UTC), key.series_id, key.original_start
    except (ValueError, OverflowError, OSError, SlotNotFound):
        raise invalid([fault("cursor", cursor, "the cursor in the address that next names")]) from None
