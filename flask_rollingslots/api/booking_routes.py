"""Bookings: take places, hold them, confirm, give back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_rollingslots.browsing import find_booking
from flask_rollingslots.errors import BookingNotFound, no_slot
from flask_rollingslots.loading import segments
from flask_rollingslots.values import SlotKey

from .access import Needs
from .answers import BookingAnswer, booking_answer
from .bodies import BookingBody
from .operations import Answer, Call, Operations, address, read_id
from .problems import Problem
from .units import writing

if TYPE_CHECKING:
    from flask_rollingslots.models import BookingMixin


operations = Operations("bookings")
_LONGEST_KEY = 64


@operations(
    "POST",
    "/slots/<key>/bookings",
    Needs.WRITE,
    {201: BookingAnswer},
    body=BookingBody,
    headers=("Idempotency-Key",),
)
def create_booking(call: Call) -> Answer:
    """Take places in a slot, stored or virtual; never more than it has.

    With ``hold_minutes`` they are free again after that time, unless they are confirmed. With an ``Idempotency-Key``
    the same request again returns the same booking; the key belongs to ``who``.
    """
    body, key = call.body, SlotKey.parse(call.path["key"])
    who, once = _person(call, key, body.who), call.header("Idempotency-Key", _LONGEST_KEY)
    with writing(call.state) as slots:
        if body.hold_minutes is None:
            made = slots.book(str(key), body.party, who, once)
        else:
            made = slots.hold(str(key), body.party, who, once, body.hold_minutes)
        found = booking_answer(made, call.state.clock())
    return Answer(found, 201, address("get_booking", booking_id=found["id"]))


def _person(call: Call, key: SlotKey, who: str | None) -> str | None:
    """Return in whose name is booked: who may book for one person only cannot name another."""
    parts = segments(call.work, [key.series_id])
    if not parts or not all(call.grant.sees(template) for template in parts):
        raise no_slot(key)
    person = call.grant.require("book", parts[-1])
    if not isinstance(person, str):
        return who
    if who not in (None, person):
        raise Problem(403, "forbidden", "you may book in your own name only: leave who out")
    return person


@operations("GET", "/bookings/<booking_id>", Needs.WRITE, {200: BookingAnswer})
def get_booking(call: Call) -> Answer:
    """Return a booking; not a public read, for it may name a person."""
    return Answer(booking_answer(_booking(call), call.state.clock()))


@operations("POST", "/bookings/<booking_id>/confirm", Needs.WRITE, {200: BookingAnswer})
def confirm_booking(call: Call) -> Answer:
    """Make a hold a booking; a second time changes nothing."""
    number = _booking(call).id
    with writing(call.state) as slots:
        found = booking_answer(slots.confirm(number), call.state.clock())
    return Answer(found)


@operations("DELETE", "/bookings/<booking_id>", Needs.WRITE, {204: None})
def release_booking(call: Call) -> Answer:
    """Give the places of a booking or a hold back; a second time changes nothing."""
    number = _booking(call).id
    with writing(call.state) as slots:
        slots.release(number)
    return Answer(status=204)


def _booking(call: Call) -> BookingMixin:
    number = read_id(call.path["booking_id"], BookingNotFound)
    found = find_booking(call.work, number)
    call.grant.require_booking(found)
    return found
