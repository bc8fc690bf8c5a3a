"""How a visitor books: a click holds a place while the name is typed, a second one makes it a booking.

The hold is the library's: it ends by the time alone. Nothing here needs JavaScript.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for

from flask_rollingslots.errors import (
    HoldExpired,
    IdempotencyConflict,
    InvalidRequest,
    SlotClosed,
    SlotFull,
    StatusConflict,
    TooManyHolds,
)
from flask_rollingslots.values import BookingStatus, Status

from . import words
from .ics import booking_ics
from .models import db, slots
from .safety import visitor_id
from .venues import find_venue
from .visitor import next_free, slot_page, week_of

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_rollingslots import BookingMixin, SlotMixin

pages = Blueprint("booking", __name__)

HOLD_MINUTES = 10
_NAME_LENGTH = 80
_TOKEN_LENGTH = 100


# -- the first click: hold a place -------------------------------------------------------------------------------


@pages.post("/slots/<key>/hold")
def hold(key: str) -> ResponseReturnValue:
    """Hold one place of a slot for some minutes, and let go of what this visitor held before."""
    who = visitor_id()
    token = request.form.get("token", "")[:_TOKEN_LENGTH] or secrets.token_urlsafe(16)
    try:
        try:
            held = slots.hold(key, who=who, idempotency_key=f"{token} {key}"[:200], minutes=HOLD_MINUTES)
        except IdempotencyConflict:  # an old page: its hold is over, so this is a new wish
            held = slots.hold(key, who=who, minutes=HOLD_MINUTES)
        _let_go(who, besides=held)
        db.session.commit()
    except (SlotFull, SlotClosed, TooManyHolds) as error:
        db.session.rollback()
        return slot_page(slots.get(key), _refusal(slots.get(key), error, 1)), 409
    except InvalidRequest:
        db.session.rollback()
        abort(400)
    return redirect(url_for(".held", booking_id=held.id), 303)


def _let_go(who: str, besides: BookingMixin) -> None:
    """Give back what a visitor holds elsewhere: nobody types two names at once."""
    for each in slots.bookings(who=who, limit=1000):
        if each.status == BookingStatus.HELD and each.id != besides.id:
            slots.release(each)


# -- the second click: book it -----------------------------------------------------------------------------------


@pages.get("/holds/<int:booking_id>")
def held(booking_id: int) -> ResponseReturnValue:
    """Show what is held, until when, and the form for the name."""
    booking = _own(booking_id)
    status = booking.status_at(datetime.now(UTC))
    if status is BookingStatus.CONFIRMED:
        return redirect(url_for(".booked", booking_id=booking.id))
    if status is BookingStatus.RELEASED:
        return redirect(url_for("visitor.slot", key=booking.slot.key))
    return _hold_page(booking)


def _hold_page(booking: BookingMixin, error: str = "", field: str = "") -> str:
    slot = booking.slot
    free = slot.left + (booking.party if booking.is_live else 0)
    return render_template(
        "hold.html",
        booking=booking,
        slot=slot,
        free=free,
        venue=find_venue(slot.template.group),
        zones=slot.template.timezone,
        around=[slot.starts_at],
        is_live=booking.is_live,
        next_free=None if booking.is_live or slot.left else next_free(slot),
        error=error,
        field=field,
        form=request.form,
    )


@pages.post("/holds/<int:booking_id>")
def book(booking_id: int) -> ResponseReturnValue:
    """Make the hold a booking; the name goes into the same transaction."""
    booking = _own(booking_id)
    name = " ".join(request.form.get("name", "").split())
    party = request.form.get("party", "1")
    if not name or len(name) > _NAME_LENGTH:
        wish = "Write your name." if not name else f"Write a name of at most {_NAME_LENGTH} letters."
        return _hold_page(booking, wish, "name"), 422
    if not (party.isascii() and party.isdigit() and 1 <= len(party) <= 6 and int(party) > 0):
        return _hold_page(booking, "Write how many, as a whole number from 1 on.", "party"), 422
    key = booking.slot.key
    try:
        made = _make(booking, int(party))
        is_new = _remember_name(made, name)
        db.session.commit()
    except (SlotFull, SlotClosed, StatusConflict) as error:
        db.session.rollback()
        return _refuse(_own(booking_id), key, int(party), error), 409
    except IdempotencyConflict:  # sent twice, with two numbers: the first one holds
        db.session.rollback()
        flash("This form had been sent already; nothing was booked now.")
        return redirect(url_for(".bookings"), 303)
    if not is_new:
        flash("This form had been sent already; nothing was booked now.")
    return redirect(url_for(".booked", booking_id=made.id), 303)


def _make(held: BookingMixin, party: int) -> BookingMixin:
    """Return the booking that a hold becomes: for another number, or after its end, a new one instead of it."""
    status = held.status_at(datetime.now(UTC))
    if status is BookingStatus.CONFIRMED:
        return held
    if status is BookingStatus.HELD and party == held.party:
        try:
            return slots.confirm(held)
        except HoldExpired:  # in this very moment
            pass
    slots.release(held)
    # The same hold turned in twice gives the same booking.
    return slots.book(held.slot.key, party=party, who=visitor_id(), idempotency_key=f"hold {held.id}")


def _remember_name(booking: BookingMixin, name: str) -> bool:
    """Keep the name, and return whether the booking is a new one and not that of a form sent twice."""
    is_new = booking.name is None
    if is_new:
        booking.name = name
    return is_new


def _refuse(held: BookingMixin, key: str, party: int, error: Exception) -> str:
    """Say why a slot could not be booked; as long as there is a hold, with the form."""
    shown = slots.get(key)
    sentence = _refusal(shown, error, party, held.party if held.is_live else 0)
    return _hold_page(held, sentence, "party") if held.is_live else slot_page(shown, sentence, party)


def _refusal(shown: SlotMixin, error: Exception, party: int, held: int = 0) -> str:
    """Return why a slot cannot be had, in words.

    :param held: places that this visitor holds in it.
    """
    left = shown.left + held
    if isinstance(error, TooManyHolds):
        return "You are choosing too many times at once. Book one of them, or let it go, then try again."
    if not isinstance(error, SlotFull):
        return words.state_sentence(shown)
    if party > shown.capacity:
        return f"No more than {words.amount_words(shown.capacity, shown)} in all."
    if left:
        number = "is only 1" if left == 1 else f"are only {left}"
        return f"There {number} of {words.amount_words(shown.capacity, shown)} left."
    return "Just taken."


@pages.post("/holds/<int:booking_id>/release")
def release(booking_id: int) -> ResponseReturnValue:
    """Let go of a hold, and go back to the week."""
    booking = _own(booking_id)
    venue, week = booking.slot.template.group, week_of(booking.slot, find_venue(booking.slot.template.group))
    if booking.status_at(datetime.now(UTC)) is BookingStatus.HELD:
        slots.release(booking)
        db.session.commit()
        flash("Let go. The place is free for somebody else.")
    return redirect(url_for("visitor.venue", slug=venue, week=week), 303)


# -- bookings ----------------------------------------------------------------------------------------------------


@pages.get("/bookings/<int:booking_id>")
def booked(booking_id: int) -> ResponseReturnValue:
    """Confirm a booking: what, when, for whom, and the file for a calendar."""
    booking = _own(booking_id)
    if booking.status != BookingStatus.CONFIRMED:
        return redirect(url_for(".bookings"))
    return render_template(
        "booked.html",
        booking=booking,
        slot=booking.slot,
        venue=find_venue(booking.slot.template.group),
        zones=booking.slot.template.timezone,
        around=[booking.slot.starts_at],
    )


@pages.get("/bookings/<int:booking_id>.ics")
def calendar_file(booking_id: int) -> Response:
    """Return a booking as a file that calendars read."""
    booking = _own(booking_id)
    if booking.status != BookingStatus.CONFIRMED:
        abort(404)
    address = url_for(".booked", booking_id=booking.id, _external=True)
    venue = find_venue(booking.slot.template.group)
    data = booking_ics(booking, venue.name if venue else "", address, request.host)
    name = f"booking-{booking.id}.ics"
    return Response(
        data, mimetype="text/calendar", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@pages.get("/bookings")
def bookings() -> str:
    """List this visitor's bookings, the next one first, then those that are over."""
    live = slots.bookings(who=visitor_id(), limit=1000)
    found = [booking for booking in live if booking.status == BookingStatus.CONFIRMED]
    now = datetime.now(UTC)
    coming = [booking for booking in found if booking.slot.ends_at > now]
    over = [booking for booking in found if booking.slot.ends_at <= now]
    zones = " ".join({booking.slot.template.timezone for booking in found})
    return render_template(
        "bookings.html",
        coming=coming,
        over=over,
        now=now,
        may_cancel=lambda slot: _may_cancel(slot, now),
        find_venue=find_venue,
        zones=zones,
        around=[booking.slot.starts_at for booking in found],
    )


def _may_cancel(slot: SlotMixin, now: datetime) -> bool:
    """Whether the list has a button: in time, or for what the venue has called off."""
    is_off = slot.status == Status.CANCELLED or bool(slot.withdrawn)
    return slot.ends_at > now and (is_off or now < slot.cancel_until)


@pages.post("/bookings/<int:booking_id>/cancel")
def cancel_booking(booking_id: int) -> ResponseReturnValue:
    """Give the places of an own booking back, or say that it is too late."""
    booking = _own(booking_id)
    what = f"{booking.slot.name}, {words.moment_words(booking.slot.local_start)}"
    was_off = booking.slot.status == Status.CANCELLED
    try:
        slots.release(booking)
        db.session.commit()
        done = "Taken off your list" if was_off else "Your booking is cancelled"
        flash(f"{done}: {what}.")
    except SlotClosed as error:
        db.session.rollback()
        flash(words.too_late_sentence(booking.slot, error))
    return redirect(url_for(".bookings"), 303)


def _own(booking_id: int) -> BookingMixin:
    """Return a booking of this visitor; those of others are not there."""
    booking = db.session.get(slots.Booking, booking_id)
    if booking is None or booking.who != visitor_id():
        abort(404)
    return booking
