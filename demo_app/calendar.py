"""The owner's calendar: a week of a venue, one date with what can be done to it, and a day off for a whole venue."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy import select

from flask_rollingslots.errors import (
    InvalidRequest,
    SlotClosed,
    StaleEdit,
    StatusConflict,
    TemplateNotFound,
)
from flask_rollingslots.values import Scope, State, Status

from . import changing, words
from .models import active_templates, db, slots
from .venues import Venue, find_venue, load_venues
from .weeks import DAYS, Week

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_rollingslots import SlotMixin
    from flask_rollingslots.facade import SlotView

pages = Blueprint("calendar", __name__, url_prefix="/owner")

_FIRST_DAY, _LAST_DAY = date(1900, 1, 1), date(9990, 12, 31)
_MOST_DIGITS = 6
_LONGEST_NOTE = 300
_SHOWN = 12
_OVER = (State.ENDED, State.COMPLETED)
_CANCELLED = "Cancelled. It stays visible as cancelled, and no top-up brings it back."
_SERIES_CANCELLED = "Cancelled. Its stored dates stay visible as cancelled, and no top-up brings them back."


# -- a week ------------------------------------------------------------------------------------------------------


@pages.get("/calendar")
def week() -> ResponseReturnValue:
    """Show a week of a venue with all its dates, day by day; each leads to what can be done to it."""
    place = find_venue(request.args.get("venue")) or load_venues()[0]
    asked = Week.asked_for(request.args.get("week"), place.zone, request.args.get("day"))
    if asked is None:
        flash("That is no day of this calendar. This is the current week.")
        return redirect(url_for(".week", venue=place.slug))
    found = slots.view(asked.start, asked.end, group=place.slug)
    days: list[list[SlotView]] = [[] for _ in range(DAYS)]
    for each in found:
        column = asked.column(each)
        if column is not None:
            days[column].append(each)
    return render_template(
        "calendar.html",
        venue=place,
        venues=load_venues(),
        week=asked,
        days=days,
        shown=asked.shown_day(found),
    )


# -- one date ----------------------------------------------------------------------------------------------------


@pages.get("/slots/<key>")
def slot(key: str) -> str:
    """Show a date: who comes, and what the owner may do with it."""
    return _slot_page(slots.get(key))


def _slot_page(shown: SlotMixin, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "owner_slot.html",
        slot=shown,
        venue=find_venue(shown.template.group),
        people=_people(shown),
        values=request.form if errors else _values(shown),
        errors=errors or {},
        scopes=changing.NAMES.items(),
        is_over=shown.state in _OVER,
    )


def _values(shown: SlotMixin) -> dict[str, str]:
    minutes = (shown.ends_at - shown.starts_at) // timedelta(minutes=1)
    return {
        "day": shown.local_start.date().isoformat(),
        "start_time": f"{shown.local_start:%H:%M}",
        "length": str(minutes),
        "capacity": str(shown.capacity),
        "note": str((shown.data or {}).get("note", "")),
    }


def _people(shown: SlotMixin) -> list[tuple[str, int]]:
    """Return who booked, and how many places."""
    return changing.named(slots.bookings(slot=shown))


@pages.post("/slots/<key>/edit")
def edit(key: str) -> ResponseReturnValue:
    """Show what a change would do to this date, to this and the following ones, or to all; then do it."""
    shown = slots.get(key)
    changes, errors = _changes(shown)
    if errors:
        return _slot_page(shown, errors), 422
    if not changes:
        return _slot_page(shown, {"form": "Nothing was changed yet."}), 422
    question = changing.Question(shown, changes, move_booked="move_booked" in request.form)
    if "scope" not in request.form:
        return changing.page(question)
    try:
        changing.apply(question)
    except StaleEdit:
        question = changing.Question(slots.get(key), changes, move_booked=question.move_booked)
        return changing.page(question, stale=True), 409
    return redirect(url_for(".slot", key=key), 303)


def _changes(shown: SlotMixin) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what was typed and differs from the date as it is, and what is wrong with it."""
    sent = {name: request.form.get(name, "").strip() for name in _values(shown)}
    sent["note"] = words.one_line(sent["note"])
    before = _values(shown)
    changes: dict[str, Any] = {}
    errors: dict[str, str] = {}
    try:
        start = datetime.combine(date.fromisoformat(sent["day"]), time.fromisoformat(sent["start_time"]))
        if (sent["day"], sent["start_time"]) != (before["day"], before["start_time"]):
            changes["start"] = start.replace(second=0, microsecond=0, tzinfo=None)
    except ValueError:
        errors["start_time"] = "Choose a day and a time, such as 2026-01-31 and 18:00."
    for name in ("length", "capacity"):
        text = sent[name]
        if not (text.isascii() and text.isdigit() and 0 < len(text) <= _MOST_DIGITS and int(text)):
            errors[name] = "Write a whole number from 1 on."
        elif text != before[name]:
            changes |= {name: int(text)} if name == "capacity" else {"duration": timedelta(minutes=int(text))}
    if len(sent["note"]) > _LONGEST_NOTE:
        errors["note"] = f"Write at most {_LONGEST_NOTE} letters."
    elif sent["note"] != before["note"]:
        changes["data"] = {"note": sent["note"]}
    return changes, errors


@pages.post("/slots/<key>/cancel")
def cancel(key: str) -> ResponseReturnValue:
    """Cancel one date, or show what cancelling more of the series means, and do it once that was confirmed."""
    reason = request.form.get("reason", "").strip() or None
    scope = request.form.get("scope", Scope.THIS.value)
    if scope in changing.WIDE and "sure" not in request.form:
        return _cancel_page(slots.get(key), Scope(scope), reason)
    try:
        slots.cancel(key, scope, reason)
        db.session.commit()
        flash(_CANCELLED if scope == Scope.THIS else _SERIES_CANCELLED)
    except InvalidRequest:
        db.session.rollback()
        flash("Choose which dates, and write a reason of at most 500 letters.")
    except StatusConflict:
        db.session.rollback()
        flash("It is completed, so it cannot be cancelled.")
    if scope in changing.WIDE:
        series = int(key.partition("@")[0])
        return redirect(url_for("owner.template", template_id=series), 303)
    return redirect(url_for(".slot", key=key), 303)


def _cancel_page(shown: SlotMixin, scope: Scope, reason: str | None) -> str:
    """Ask once more, with the stored dates that would be cancelled and those of them that are booked."""
    cls = slots.Slot
    first = shown.starts_at if scope is Scope.THIS_AND_FUTURE else datetime.now(UTC)
    query = (
        select(cls)
        .where(cls.series_id == shown.series_id, cls.status == Status.SCHEDULED.value, cls.starts_at >= first)
        .order_by(cls.starts_at)
    )
    found = list(db.session.scalars(query))
    return render_template(
        "owner_cancel.html",
        slot=shown,
        name=changing.NAMES[scope],
        scope=scope,
        reason=reason or "",
        number=len(found),
        booked=[each for each in found if each.booked],
        shown=_SHOWN,
    )


@pages.post("/slots/<key>/restore")
def restore(key: str) -> ResponseReturnValue:
    """Bring a cancelled date back."""
    flash(_restore(key) or "Restored.")
    return redirect(url_for(".slot", key=key), 303)


def _restore(key: str) -> str:
    """Bring a date back, and return why that cannot be."""
    try:
        slots.restore(key)
        db.session.commit()
    except StatusConflict:
        db.session.rollback()
        return "Its time is taken, so it cannot be restored."
    except SlotClosed:
        db.session.rollback()
        return "Its room is taken by another booking now, so it cannot be restored."
    return ""


# -- a series ----------------------------------------------------------------------------------------------------


@pages.post("/templates/<int:template_id>/restore")
def restore_series(template_id: int) -> ResponseReturnValue:
    """Take back that a series was cancelled; dates that were cancelled for themselves stay cancelled."""
    try:
        report = slots.restore_series(template_id)
        db.session.commit()
    except TemplateNotFound:
        abort(404)
    number = len(report.changed)
    stored = f"{words.count_words(number, 'stored date')}, and all later ones" if number else "all dates"
    flash(f"Restored: {stored} by the rule.")
    return redirect(url_for("owner.template", template_id=template_id), 303)


# -- a day off ---------------------------------------------------------------------------------------------------


@pages.get("/day")
def day() -> str:
    """Show the form that cancels a day for everybody, and what lies on that day."""
    place = find_venue(request.args.get("venue")) or load_venues()[0]
    return _day_page(place, _day_of(request.args.get("day"), place))


@pages.post("/day")
def cancel_day() -> ResponseReturnValue:
    """Cancel all dates of a venue on a day; those who booked read the reason."""
    place = find_venue(request.form.get("venue")) or abort(404)
    chosen = _day_of(request.form.get("day"), place)
    try:
        keys = slots.cancel_date(place.slug, chosen, request.form.get("reason", "").strip() or None)
        db.session.commit()
        number, people = words.count_words(len(keys), "date"), changing.to_call(keys.bookings)
        flash(f"Cancelled: {number} on {words.day_words(chosen)}.{people}")
    except InvalidRequest:
        db.session.rollback()
        flash("Write a reason of at most 500 letters.")
    return redirect(url_for(".day", venue=place.slug, day=chosen.isoformat()), 303)


@pages.post("/day/close")
def close_day() -> ResponseReturnValue:
    """Close a day of a venue, or open it again: its dates are not shown at all, and who has booked is to be called."""
    place = find_venue(request.form.get("venue")) or abort(404)
    chosen = _day_of(request.form.get("day"), place)
    try:
        if "open" in request.form:
            slots.reopen(chosen, group=place.slug)
            said = f"Open again: {words.day_words(chosen)}."
        else:
            report = slots.close(chosen, group=place.slug)
            said = f"Closed: {words.day_words(chosen)}.{changing.to_call(report.bookings)}"
        db.session.commit()
    except TemplateNotFound:
        abort(404)
    flash(said)
    return redirect(url_for(".day", venue=place.slug, day=chosen.isoformat()), 303)


@pages.post("/day/restore")
def restore_day() -> ResponseReturnValue:
    """Bring back what is cancelled on a day and not over."""
    place = find_venue(request.form.get("venue")) or abort(404)
    chosen = _day_of(request.form.get("day"), place)
    keys = [each.key for each in _on_day(place, chosen) if each.status == Status.CANCELLED]
    refused = [key for key in keys if _restore(key)]
    left = f" {len(refused)} could not be: over, or taken." if refused else ""
    number = words.count_words(len(keys) - len(refused), "date")
    flash(f"Restored: {number} on {words.day_words(chosen)}.{left}")
    return redirect(url_for(".day", venue=place.slug, day=chosen.isoformat()), 303)


def _day_page(place: Venue, chosen: date) -> str:
    found = [each for each in _on_day(place, chosen) if each.state not in _OVER]
    return render_template(
        "owner_day.html",
        venue=place,
        venues=load_venues(),
        day=chosen,
        standing=[each for each in found if each.status == Status.SCHEDULED],
        cancelled=[each for each in found if each.status == Status.CANCELLED],
        is_closed=any(
            first <= chosen <= last
            for template in slots.templates(group=place.slug)
            for first, last in template.blackouts
        ),
        is_empty=not active_templates(place.slug),
    )


def _on_day(place: Venue, chosen: date) -> list[SlotView]:
    start = datetime.combine(chosen, time(), place.zone)
    end = datetime.combine(chosen + timedelta(days=1), time(), place.zone)
    return slots.view(start, end, group=place.slug)


def _day_of(text: str | None, place: Venue) -> date:
    tomorrow = datetime.now(place.zone).date() + timedelta(days=1)
    try:
        return max(_FIRST_DAY, min(date.fromisoformat(text), _LAST_DAY)) if text else tomorrow
    except ValueError:
        return tomorrow
