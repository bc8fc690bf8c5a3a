"""Slots and their bookings: read a span, change one, this and future ones, or all; take places and give them back."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask import Response, url_for

from flask_rollingslots.errors import BookingNotFound, SlotNotFound, no_slot
from flask_rollingslots.models import SlotMixin
from flask_rollingslots.values import Scope

from .access import Needs
from .answers import BookingAnswer, EditAnswer, EndAnswer, OneEnded, SlotAnswer, SlotPage
from .bodies import (
    LONGEST,
    BookingBody,
    EndBody,
    Place,
    RestoreBody,
    ScopeQuery,
    SlotChange,
    SlotsQuery,
    span_of,
)
from .operations import IF_MATCH, Call, Operations, no_content
from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flask_rollingslots.models import BookingMixin, TemplateMixin
    from flask_rollingslots.values import Window

operations, bookings = Operations("slots"), Operations("bookings")
_FIRST_STRETCH, _PER_STRETCH = timedelta(days=1), 5000
_LONGEST_KEY = 64

# -- reading ---------------------------------------------------------------------------------------------------


def _place(slot: SlotMixin) -> Place:
    return slot.starts_at, slot.series_id, slot.original_start


def _cursor(slot: SlotMixin) -> str:
    return f"{int(slot.starts_at.timestamp())}.{slot.key}"


@operations("GET", "/slots", SlotPage, query=SlotsQuery, refusals=(404,))
def list_slots(call: Call) -> Response:
    """List slots by start, stored and virtual ones merged; any future span is full.

    Cancelled ones are in it (look at ``state``), deleted ones are not.
    """
    query, zone = call.query, call.slots.settings.timezone
    if query.template is not None:
        zone = call.template(query.template).timezone
    window = span_of({"start": query.start, "end": query.end}, ZoneInfo(zone), LONGEST)
    found = _first_slots(call, window, query.cursor)
    shown = found[: query.limit]
    return call.page(SlotPage, shown, _cursor(shown[-1]) if len(found) > len(shown) else None)


def _first_slots(call: Call, window: Window, position: Place | None) -> list[SlotMixin]:
    """Return the slots of a span after a position: a page of them, and at least one more if there is one.

    Read in stretches of about as many slots as a page may have: many templates with a slot each minute must not be
    held in memory for three months, to show a thousand.
    """
    query, start, step = call.query, window.start, _FIRST_STRETCH
    if position is not None:
        start = max(start, position[0])
    found: list[SlotMixin] = []
    while start < window.end and len(found) <= query.limit:
        until = min(window.end, start + step)
        read = call.slots.between(start, until, template=query.template, group=query.group)
        found += [slot for slot in visible(call, read) if position is None or _place(slot) > position]
        per_day = len(read) / ((until - start) / timedelta(days=1))
        step = max(_FIRST_STRETCH, timedelta(days=min(LONGEST.days, _PER_STRETCH / max(per_day, 1.0))))
        start = until
    return found


def visible(call: Call, found: Sequence[SlotMixin]) -> Sequence[SlotMixin]:
    """Return those slots that the sender may see."""
    return call.grant.visible(found, attrgetter("template"))


@operations("GET", "/slots/<key>", SlotAnswer)
def get_slot(call: Call) -> Response:
    """Return one slot, stored or virtual; its ETag is the revision of its template."""
    key, _ = _series_of(call, "read")
    slot = call.slots.get(key)
    return call.answer(SlotAnswer, slot, revision=slot.template.revision)


def _series_of(call: Call, action: str) -> tuple[str, list[TemplateMixin]]:
    """Return the key in the address and the segments of its series, if the sender may do this with them.

    :raises InvalidKey: if it is no key.
    :raises SlotNotFound: if there is no such series, or the sender may not know of it.
    """
    key = call.path["key"]
    found = call.slots.segments(key)
    call.grant.require_all(action, found, no_slot(key))
    return key, found


# -- decisions -------------------------------------------------------------------------------------------------


@operations("PATCH", "/slots/<key>", EditAnswer, query=ScopeQuery, body=SlotChange, headers=IF_MATCH)
def change_slot(call: Call) -> Response:
    """Change a slot, this and all later ones, or all of its series; ``dry_run`` shows what would change.

    Completed, cancelled and past slots stay as they are; booked ones keep their times and are told.
    """
    key, segments = _series_of(call, "edit")
    scope, dry_run, revision = call.scope(), call.dry_run, call.revision()
    changes = call.body.changes(call.slots, segments[-1])
    with call.slots.transaction(dry_run) as slots:
        plan = slots.edit(key, scope, revision, call.body.move_booked, dry_run, **changes)
        slot = None
        if not dry_run:
            with suppress(SlotNotFound):  # the new rule may have no such slot
                slot = slots.get(key)
        etag = slot.template.revision if slot is not None else None
        return call.answer(EditAnswer, plan, revision=etag, slot=slot)


@operations("DELETE", "/slots/<key>", {204: None, 200: EndAnswer}, query=ScopeQuery, headers=IF_MATCH)
def delete_slot(call: Call) -> Response:
    """Hide a slot (204), or this and later ones, or all of its series (200 with what stays because it is booked)."""
    found = _end(call, call.slots.delete)
    return no_content() if call.scope() is Scope.THIS and not call.dry_run else found


@operations("POST", "/slots/<key>/cancel", EndAnswer, query=ScopeQuery, body=EndBody, headers=IF_MATCH)
def cancel_slot(call: Call) -> Response:
    """Cancel a slot, this and later ones, or all of its series; they stay visible as cancelled, booked ones too."""
    return _end(call, call.slots.cancel, reason=call.body.reason)


@operations("POST", "/slots/<key>/restore", EndAnswer, query=ScopeQuery, body=RestoreBody, headers=IF_MATCH)
def restore_slot(call: Call) -> Response:
    """Bring back what was cancelled or deleted: a slot, this and later ones, or all of its series."""
    return _end(call, call.slots.restore)


def _end(call: Call, act: Callable[..., Any], **more: Any) -> Response:
    key, _ = _series_of(call, "edit")
    return ended(call, act, key, call.scope(), **more)


def ended(call: Call, act: Callable[..., Any], *args: Any, **more: Any) -> Response:
    """Return the answer to a call of the facade that cancels, deletes or restores one slot or several."""
    dry_run, revision = call.dry_run, call.revision()
    with call.slots.transaction(dry_run):
        found = act(*args, **more, revision=revision, dry_run=dry_run)
        if isinstance(found, SlotMixin):
            return call.answer(EndAnswer, OneEnded(found))
        return call.answer(EndAnswer, found, slot=None)


@operations("POST", "/slots/<key>/complete", SlotAnswer, headers=IF_MATCH)
def complete_slot(call: Call) -> Response:
    """Mark a slot as completed; nothing changes it any more."""
    key, _ = _series_of(call, "edit")
    revision = call.revision()
    with call.slots.transaction() as slots:
        return call.answer(SlotAnswer, slots.complete(key, revision))


@operations("POST", "/slots/<key>/materialize", {200: SlotAnswer, 201: SlotAnswer})
def materialize_slot(call: Call) -> Response:
    """Make the row of a slot, if it is still virtual; a second time changes nothing."""
    key, _ = _series_of(call, "edit")
    return materialized(call, key)


def materialized(call: Call, key: str) -> Response:
    """Return the answer to a slot becoming a row."""
    with call.slots.transaction() as slots:
        status = 201 if slots.get(key).is_virtual else 200
        slot, place = slots.materialize(key), url_for(".get_slot", key=key)
        return call.answer(SlotAnswer, slot, status, place, slot.template.revision)


# -- bookings --------------------------------------------------------------------------------------------------


@bookings(
    "POST", "/slots/<key>/bookings", {201: BookingAnswer}, body=BookingBody, headers=("Idempotency-Key",)
)
def create_booking(call: Call) -> Response:
    """Take places in a slot, stored or virtual; never more than it has.

    With ``hold_minutes`` they are free again after that time, unless they are confirmed. With an ``Idempotency-Key``
    the same request again returns the same booking; the key belongs to ``who``.
    """
    body = call.body
    key, segments = _series_of(call, "read")
    who = _person(call, segments[-1], body.who)
    once = call.header("Idempotency-Key", _LONGEST_KEY)
    with call.slots.transaction() as slots:
        if body.hold_minutes is None:
            made = slots.book(key, body.party, who, once)
        else:
            made = slots.hold(key, body.party, who, once, body.hold_minutes)
        return call.answer(BookingAnswer, made, 201, url_for(".get_booking", booking_id=made.id))


def _person(call: Call, template: TemplateMixin, who: str | None) -> str | None:
    """Return in whose name is booked: who may book for one person only cannot name another."""
    person = call.grant.require("book", template)
    if not isinstance(person, str):
        return who
    if who not in (None, person):
        raise Problem("forbidden", "you may book in your own name only: leave who out")
    return person


@bookings("GET", "/bookings/<booking_id>", BookingAnswer, needs=Needs.WRITE)
def get_booking(call: Call) -> Response:
    """Return a booking; not a public read, for it may name a person."""
    return call.answer(BookingAnswer, _booking(call))


@bookings("POST", "/bookings/<booking_id>/confirm", BookingAnswer)
def confirm_booking(call: Call) -> Response:
    """Make a hold a booking; a second time changes nothing."""
    number = _booking(call).id
    with call.slots.transaction() as slots:
        return call.answer(BookingAnswer, slots.confirm(number))


@bookings("DELETE", "/bookings/<booking_id>", {204: None})
def release_booking(call: Call) -> Response:
    """Give the places of a booking or a hold back; a second time changes nothing."""
    number = _booking(call).id
    with call.slots.transaction() as slots:
        slots.release(number)
    return no_content()


def _booking(call: Call) -> BookingMixin:
    found = call.slots.get_booking(call.number("booking_id", BookingNotFound))
    call.grant.require_booking(found)
    return found
