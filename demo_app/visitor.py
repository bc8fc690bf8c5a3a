"""What a visitor looks at: the venues, a week of one of them, and one slot."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for

from flask_rollingslots.values import State

from . import words
from .models import active_templates, slots
from .venues import Venue, find_venue, load_venues
from .weeks import DAYS, Week, make_sections

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from flask_rollingslots import SlotMixin, TemplateMixin

pages = Blueprint("visitor", __name__)

_LOOK_AHEAD = 60


@pages.get("/")
def home() -> str:
    """List the venues, each with its offers and the next free slot."""
    now = datetime.now(UTC)
    cards = [_card(venue, now) for venue in load_venues()]
    zones = " ".join(venue.timezone for venue in load_venues())
    free = [card["free"].starts_at for card in cards if card["free"]]
    return render_template("home.html", cards=cards, zones=zones, around=free)


def _card(venue: Venue, now: datetime) -> dict[str, Any]:
    own = active_templates(venue.slug)
    offers: dict[str, list[str]] = {}
    for template in filter(words.is_current, own):
        offers.setdefault(template.name, []).append(words.rule_words(template))
    coming = slots.view(now, now + timedelta(days=DAYS), group=venue.slug)
    free = (slot for slot in coming if slot.state == State.OPEN)
    rules = {name: words.distinct(texts) for name, texts in offers.items()}
    return {"venue": venue, "offers": rules, "free": next(free, None) or _free_later(own)}


def _free_later(templates: list[TemplateMixin]) -> SlotMixin | None:
    """Return the first free slot of a venue whose week is taken."""
    found = [slot for template in templates if (slot := _next_free(template, 1))]
    return min(found, key=lambda slot: slot.starts_at, default=None)


def _next_free(template: TemplateMixin, party: int, after: datetime | None = None) -> SlotMixin | None:
    if words.rule_fault(template):
        return None
    following = slots.upcoming(template, _LOOK_AHEAD, after=after)
    return next((s for s in following if s.state == State.OPEN and s.left >= party), None)


@pages.get("/venues/<slug>")
def venue(slug: str) -> ResponseReturnValue:
    """Show a week of a venue: seven days as columns; a small screen shows one of them at a time."""
    place = find_venue(slug) or abort(404)
    week = Week.asked_for(request.args.get("week"), place.zone, request.args.get("day"))
    if week is None:
        flash("That is no day of this calendar. This is the current week.")
        return redirect(url_for(".venue", slug=slug))
    found = slots.view(week.start, week.end, group=slug)
    return render_template(
        "venue.html",
        venue=place,
        zones=place.timezone,
        around=[week.start, week.end],
        week=week,
        shown=week.shown_day(found),
        sections=make_sections(active_templates(slug), found, week),
        token=secrets.token_urlsafe(16),
    )


@pages.get("/slots/<key>")
def slot(key: str) -> str:
    """Show a slot, with the button to book it."""
    return slot_page(slots.get(key))


def slot_page(shown: SlotMixin, error: str = "", party: int = 1) -> str:
    """Return the page of a slot: what it is, or why it cannot be had and which is the next free one.

    :param error: what went wrong, a sentence.
    :param party: for how many the next free one is to have places.
    """
    venue = find_venue(shown.template.group)
    is_open = shown.state == State.OPEN
    return render_template(
        "slot.html",
        slot=shown,
        venue=venue,
        zones=shown.template.timezone,
        around=[shown.starts_at],
        week=week_of(shown, venue),
        error=error,
        next_free=None if is_open and not error else next_free(shown, party),
        token=secrets.token_urlsafe(16),
    )


def week_of(shown: SlotMixin, venue: Venue | None) -> str | None:
    """Return the week that leads back to a slot; ``None`` for the current one."""
    if venue is None:
        return None
    day = shown.local_start.date()
    ahead = (day - datetime.now(venue.zone).date()).days
    return None if 0 <= ahead < DAYS else day.isoformat()


def next_free(shown: SlotMixin, party: int = 1) -> SlotMixin | None:
    """Return the next free slot of the same template: after this one, or else from now on."""
    if not shown.template.active or party > shown.template.capacity:
        return None
    later = max(shown.starts_at, datetime.now(UTC))
    return _next_free(shown.template, party, later) or _next_free(shown.template, party)
