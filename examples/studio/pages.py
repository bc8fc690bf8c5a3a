"""The pages: registering, signing in, the next classes, booking and giving back."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask_login import current_user, login_required, login_user, logout_user
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from flask_rollingslots import SlotClosed, SlotFull, SlotNotFound
from flask_rollingslots.errors import IdempotencyConflict

from .credits import NoCredits
from .models import User, db, slots

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_rollingslots import BookingMixin

pages = Blueprint("pages", __name__)


@pages.get("/")
def classes() -> str:
    """Show the classes of two weeks; virtual ones look like all others."""
    now = datetime.now(UTC)
    found = slots.between(now, now + timedelta(days=14), group="studio")
    mine = _bookings() if current_user.is_authenticated else []
    return render_template("classes.html", slots=found, mine=mine, token=secrets.token_urlsafe())


@pages.post("/book/<key>")
@login_required
def book(key: str) -> ResponseReturnValue:
    """Take a place and a credit, in one transaction; a form that arrives twice books once."""
    try:
        slots.book(key, who=current_user.get_id(), idempotency_key=request.form["token"])
        db.session.commit()
        flash("Booked. One credit is taken.")
    except (SlotFull, SlotClosed, SlotNotFound, IdempotencyConflict) as error:
        db.session.rollback()
        flash(f"Sorry: {error}")
    except NoCredits:
        db.session.rollback()
        flash("You have no credits left.")
    return redirect(url_for(".classes"))


@pages.post("/release/<int:number>")
@login_required
def release(number: int) -> ResponseReturnValue:
    """Give a place back."""
    if number not in {booking.id for booking in _bookings()}:
        abort(404)
    try:
        slots.release(number)
        db.session.commit()
        flash("Given back, with its credit.")
    except SlotClosed as error:
        db.session.rollback()
        flash(f"Sorry: {error}")
    return redirect(url_for(".classes"))


def _bookings() -> list[BookingMixin]:
    now = datetime.now(UTC)
    mine = slots.bookings(who=current_user.get_id(), start=now - timedelta(days=1))
    return [booking for booking in mine if booking.slot.ends_at > now]


@pages.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    """Make an account and sign in."""
    if request.method == "POST":
        user = User(name=request.form["name"])
        user.set_password(request.form["password"])
        db.session.add(user)
        try:
            db.session.commit()
        except IntegrityError:
            db.session.rollback()
            flash("This name is taken.")
        else:
            login_user(user)
            return redirect(url_for(".classes"))
    return render_template("sign_in.html", title="Register")


@pages.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> ResponseReturnValue:
    """Sign in."""
    if request.method == "POST":
        user = db.session.scalar(select(User).where(User.name == request.form["name"]))
        if user is not None and user.has_password(request.form["password"]):
            login_user(user)
            return redirect(url_for(".classes"))
        flash("This name and this password do not belong together.")
    return render_template("sign_in.html", title="Sign in")


@pages.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """Sign out."""
    logout_user()
    return redirect(url_for(".classes"))
