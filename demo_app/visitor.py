"""What a visitor sees: the venues, a week, a slot, and the own bookings."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from flask_rollingslots.errors import IdempotencyConflict, InvalidRequest, SlotClosed, SlotFull
from flask_rollingslots.values import State

from . import words
from .models import BookingName, active_templates, db, slots
from .safety import visitor_id
from .venues import Venue, find_venue, load_venues
from .weeks import DAYS, Week, make_sections

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_rollingslots import BookingMixin, SlotMixin, TemplateMixin

pages = Blueprint("visitor", __name__)

_LOOK_AHEAD = 60
_NAME_LENGTH = 80


# -- venues and weeks ------------------------------------------------------------------------------------------


@pages.get("/")
def home() -> str:
    """List the venues, each with its offers and the next free slot."""
    now = datetime.now(UTC)
    return render_template("home.html", cards=[_card(venue, now) for venue in load_venues()])


def _card(venue: Venue, now: datetime) -> dict[str, Any]:
    own = active_templates(venue.slug)
    offers: dict[str, list[str]] = {}
    for template in own:
        offers.setdefault(template.name, []).append(words.rule_words(template))
    coming = slots.between(now, now + timedelta(days=DAYS), group=venue.slug)
    free = (slot for slot in coming if slot.state == State.OPEN)
    rules = {name: words.distinct(texts) for name, texts in offers.items()}
    return {"venue": venue, "offers": rules, "free": next(free, None) or _free_later(own)}


def _free_later(templates: list[TemplateMixin]) -> SlotMixin | None:
    """Return the first free slot of a venue whose week is taken."""
    found = [slot for template in templates if (slot := _next_free(template, 1))]
    return min(found, key=lambda slot: slot.starts_at, default=None)


def _next_free(template: TemplateMixin, party: int, after: datetime | None = None) -> SlotMixin | None:
    following = slots.upcoming(template, _LOOK_AHEAD, after=after)
    return next((s for s in following if s.state == State.OPEN and s.left >= party), None)


@pages.get("/venues/<slug>")
def venue(slug: str) -> ResponseReturnValue:
    """Show a week of a venue as a grid."""
    place = find_venue(slug) or abort(404)
    week = Week.asked_for(request.args.get("week"), place.zone)
    if week is None:
        flash("The calendar begins today.")
        return redirect(url_for(".venue", slug=slug))
    templates = active_templates(slug)
    found = slots.between(week.start, week.end, group=slug)
    return render_template(
        "venue.html", venue=place, week=week, sections=make_sections(templates, found, week)
    )


# -- one slot ------------------------------------------------------------------------------------------------


@pages.get("/slots/<key>")
def slot(key: str) -> str:
    """Show a slot, with the form to book it."""
    return _slot_page(slots.get(key))


def _slot_page(shown: SlotMixin, error: str = "", field: str = "", next_free: SlotMixin | None = None) -> str:
    venue = find_venue(shown.template.group)
    if shown.state != State.OPEN and next_free is None:
        next_free = _free_from(shown, 1)
    return render_template(
        "slot.html",
        slot=shown,
        venue=venue,
        week=_week_of(shown, venue),
        error=error,
        field=field,
        next_free=next_free,
        form=request.form,
        token=secrets.token_urlsafe(16),
    )


def _week_of(shown: SlotMixin, venue: Venue | None) -> str | None:
    """Return the week that leads back to a slot; ``None`` for the current one."""
    if venue is None:
        return None
    day = shown.local_start.date()
    ahead = (day - datetime.now(venue.zone).date()).days
    return day.isoformat() if ahead >= DAYS else None


def _free_from(shown: SlotMixin, party: int) -> SlotMixin | None:
    """Return the next free slot of the same template: after this one, or else from now on."""
    if not shown.template.active or party > shown.template.capacity:
        return None
    later = max(shown.starts_at, datetime.now(UTC))
    return _next_free(shown.template, party, later) or _next_free(shown.template, party)


@pages.post("/slots/<key>")
def book(key: str) -> ResponseReturnValue:
    """Book a slot; the name goes into the same transaction."""
    name = " ".join(request.form.get("name", "").split())
    party = request.form.get("party", "")
    if not name or len(name) > _NAME_LENGTH:
        return _slot_page(slots.get(key), f"Write a name of 1 to {_NAME_LENGTH} letters.", "name"), 422
    if not (party.isascii() and party.isdigit() and 1 <= len(party) <= 6 and int(party) > 0):
        return _slot_page(slots.get(key), "Write how many, as a whole number from 1 on.", "party"), 422
    token = request.form.get("token", "")[:100] or None
    try:
        booking = slots.book(key, party=int(party), who=visitor_id(), idempotency_key=token)
        is_new = _remember_name(booking, name)
        db.session.commit()
    except (SlotFull, SlotClosed) as error:
        db.session.rollback()
        return _refuse(key, int(party), error), 409
    except (IdempotencyConflict, InvalidRequest):
        db.session.rollback()
        return _slot_page(
            slots.get(key), "This form was used before. Look at it once more, then send it."
        ), 409
    flash(_booked_words(booking) if is_new else "This form had been sent already; nothing was booked now.")
    return redirect(url_for(".bookings"))


def _remember_name(booking: BookingMixin, name: str) -> bool:
    """Keep the name, and return whether the booking is a new one and not that of a form sent twice."""
    is_new = db.session.get(BookingName, booking.id) is None
    if is_new:
        db.session.add(BookingName(booking_id=booking.id, name=name))
    return is_new


def _booked_words(booking: BookingMixin) -> str:
    booked = booking.slot
    return f"Booked: {booked.template.name}, {words.moment_words(booked.local_start)}."


def _refuse(key: str, party: int, error: SlotFull | SlotClosed) -> str:
    """Say why a slot could not be booked, and which is the next free one."""
    shown = slots.get(key)
    sentence = "Just taken." if isinstance(error, SlotFull) else words.state_sentence(shown)
    if isinstance(error, SlotFull) and party > shown.capacity:
        sentence = f"No more than {words.amount_words(shown.capacity, shown)} in all."
    elif isinstance(error, SlotFull) and shown.left:
        number = "is only 1" if shown.left == 1 else f"are only {shown.left}"
        sentence = f"There {number} of {shown.capacity} {words.unit_of(shown)} left."
    return _slot_page(shown, sentence, "party" if shown.left else "", _free_from(shown, party))


# -- bookings -------------------------------------------------------------------------------------------------


@pages.get("/bookings")
def bookings() -> str:
    """List this visitor's bookings, the next one first, then those that are over."""
    booking, slot_class = slots.Booking, slots.Slot
    query = (
        select(booking, BookingName.name)
        .outerjoin(BookingName, BookingName.booking_id == booking.id)
        .where(booking.who == visitor_id(), booking.status == "confirmed")
        .options(joinedload(booking.slot).joinedload(slot_class.template))
    )
    rows = sorted(db.session.execute(query), key=lambda row: row[0].slot.starts_at)
    now = datetime.now(UTC)
    coming = [row for row in rows if row[0].slot.ends_at > now]
    over = [row for row in rows if row[0].slot.ends_at <= now]
    return render_template("bookings.html", coming=coming, over=over, now=now, find_venue=find_venue)


@pages.post("/bookings/<int:booking_id>/cancel")
def cancel_booking(booking_id: int) -> ResponseReturnValue:
    """Give the places of an own booking back."""
    booking = db.session.get(slots.Booking, booking_id)
    if booking is None or booking.who != visitor_id():
        abort(404)
    if booking.slot.starts_at <= datetime.now(UTC):
        flash("It has started, so it can no longer be cancelled.")
    else:
        slots.release(booking)
        db.session.commit()
        flash("Cancelled. The place is free for somebody else.")
    return redirect(url_for(".bookings"))
