"""Feeds: slots for calendar widgets, and a calendar to subscribe to."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from flask import Response, current_app, request, url_for
from pydantic import BaseModel, Field, RootModel
from werkzeug.http import http_date

from flask_rollingslots import planning
from flask_rollingslots.browsing import complain, templates
from flask_rollingslots.errors import ConfigError, InvalidRequest
from flask_rollingslots.feeds import Feed, feed_bytes, last_change
from flask_rollingslots.feeds.fullcalendar import MAX_DAYS, Span, events, read_span
from flask_rollingslots.feeds.icalendar_package import has_icalendar, icalendar_package
from flask_rollingslots.subscriptions import address_number, published
from flask_rollingslots.values import Window

from .access import Needs
from .bodies import Group, QueryFlag, QueryId, Strict
from .feed_secrets import Note, read_secret, write_secret
from .operations import Call, Operations
from .problems import Problem
from .slot_routes import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Flask

    from flask_rollingslots.models import SlotMixin, TemplateMixin

operations = Operations("feeds")
#: More are no calendar that a page could show.
MAX_EVENTS = 20_000
_CALENDAR = "text/calendar"
_TIMES = "With an offset, or without: by the clock of timeZone, or else of each template's own zone."
_NO_HOST = re.compile(r"[^a-z0-9.-]+")


def _state() -> Any:
    return current_app.extensions["rollingslots"]


class EventsQuery(Strict):
    """What a widget shows; its own names."""

    start: Annotated[str, Field(description=f"Included. {_TIMES}")]
    end: Annotated[str, Field(description=f"Not included; at most {MAX_DAYS} days later.")]
    timeZone: Annotated[
        str | None, Field(description="Whose clock the answer is written in: an IANA name, UTC or local.")
    ] = None
    floating: Annotated[
        QueryFlag, Field(description="Write times without offset, for widgets that show them as they stand.")
    ] = False
    template: Annotated[QueryId | None, Field(description="The whole series of this template.")] = None
    group: Group | None = None


class EventDetails(BaseModel):
    """What the library says beside what every widget knows; a reminder names its slot, a slot its state."""

    type: str = Field(description="slot, or reminder.")
    is_virtual: bool = Field(description="Whether there is no row for the slot yet.")
    series_id: int
    original_start: str = Field(description="Wall-clock time: the identity.")
    template_id: int
    group: str | None
    state: str | None = None
    left: int | None = None
    capacity: int | None = None
    cancel_reason: str | None = None
    slot: str | None = None
    slot_start: str | None = None


class Event(BaseModel):
    """An event as FullCalendar and EventCalendar read it."""

    id: str = Field(description="The slot's key; of a reminder: with /reminder behind it.")
    title: str
    start: str
    end: str
    className: str
    classNames: list[str]
    extendedProps: EventDetails


class EventList(RootModel[list[Event]]):
    """All events of a span."""


class CalendarQuery(Strict):
    """Which slots."""

    template: Annotated[QueryId | None, Field(description="The whole series of this template.")] = None
    group: Group | None = None


class SecretQuery(Strict):
    """Which of the slots that the address stands for."""

    template: Annotated[QueryId | None, Field(description="The whole series of this template.")] = None


@dataclass(frozen=True, slots=True)
class CalendarFile:
    """A calendar, or word that it is still the same.

    :param changed_at: aware.
    """

    content: bytes
    changed_at: datetime | None

    def response(self) -> Response:
        """Return the response.

        Only the ETag decides: the time of the last change goes back where the newest template is deleted.
        """
        etag = hashlib.sha256(self.content).hexdigest()[:32]
        known = request.if_none_match
        is_known = known.star_tag or known.contains_weak(etag)
        response = Response(b"" if is_known else self.content, 304 if is_known else 200)
        response.headers.pop("Content-Type", None)
        if not is_known:
            response.content_type = f"{_CALENDAR}; charset=utf-8"
            response.headers["Content-Disposition"] = 'inline; filename="slots.ics"'
        response.set_etag(etag)
        if self.changed_at is not None:
            response.headers["Last-Modified"] = http_date(self.changed_at)
        # Kept by whoever asked, and asked for again each time: a change is seen at once, and costs little if none is.
        response.headers["Cache-Control"] = "private, no-cache"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Robots-Tag"] = "noindex"
        return response


@operations("GET", "/feed.json", EventList, query=EventsQuery, refusals=(404,))
def feed_json(call: Call) -> Response:
    """List slots and reminders as events for FullCalendar or EventCalendar.

    Each slot with a start in the span is one event, stored or not, however far away the span is; cancelled ones are in
    it, deleted ones are not. Templates with ``reminder_before`` also have an event for each reminder.
    """
    query, now = call.query, call.slots.now()
    given = {
        name: value for name in ("start", "end", "timeZone") if (value := getattr(query, name)) is not None
    }
    span = read_span(given, query.floating)
    templates = _templates(call, query.template, query.group)
    shown = call.grant.visible(templates)
    windows = _windows(span, {t.reminder_before for t in shown if t.reminder_before is not None})
    _check_size(templates, windows)
    slots: dict[str, SlotMixin] = {}
    for window in windows:
        found = call.slots.between(window.start, window.end, query.template, query.group)
        slots.update((slot.key, slot) for slot in visible(call, found))
    return Response(json.dumps(list(events(slots.values(), span, now))), mimetype="application/json")


@operations("GET", "/feed.ics", {200: _CALENDAR, 304: None}, query=CalendarQuery, refusals=(404,))
def feed_ics(call: Call) -> Response:
    """Return a calendar to subscribe to (RFC 5545), from last month on.

    Recurring series are rules, what was moved or cancelled is told beside them. ``If-None-Match`` with the ETag of the
    last answer gives 304 as long as nothing changed.
    """
    template, group = call.query.template, call.query.group
    if template is not None:
        call.template(template)
    return _calendar(call, template, group)


@operations("GET", "/feed/<secret>.ics", {200: _CALENDAR, 304: None}, Needs.NOTHING, query=SecretQuery)
def secret_feed(call: Call) -> Response:
    """Return the calendar of a secret address: of one group, for programs that can send no header."""
    state = _state()
    note = read_secret(state.app, call.path["secret"])
    if note is None or note.number != address_number(state.db.session(), state.models, note.group):
        raise Problem("not_found", "there is nothing at this address")
    return _calendar(call, call.query.template, note.group)


def secret_address(app: Flask, group: str | None, number: int) -> str:
    """Return the whole secret address of a calendar; outside of a request the app needs SERVER_NAME.

    :raises ConfigError: if the app has no SECRET_KEY, has not mounted the API, or icalendar is not installed.
    """
    icalendar_package()
    secret, view = write_secret(app, Note(group, number)), operations.found[-1].view
    endpoint = next((name for name, function in app.view_functions.items() if function == view), None)
    if endpoint is None:
        raise ConfigError(
            "there is no address for a feed: the HTTP API is not mounted; set ROLLINGSLOTS_API_PREFIX",
            key="ROLLINGSLOTS_API_PREFIX",
        )
    return url_for(endpoint, secret=secret, _external=True)


# -- events


def _templates(call: Call, template: int | None, group: str | None) -> list[TemplateMixin]:
    """Return the active templates that the sender asks for, seen or not: all of them are read."""
    if template is not None:
        call.template(template)
    return templates(_state().reading(), template, group)


def _windows(span: Span, reminders: Iterable[timedelta]) -> list[Window]:
    """Return where the slots start whose start or reminder is in a span: apart, in order."""
    start, end = span.instants
    found: list[Window] = []
    for before in sorted({timedelta(0), *reminders}):
        try:
            window = Window(start + before, end + before)
        except OverflowError:
            break
        if found and window.start <= found[-1].end:
            window = Window(found.pop().start, window.end)
        found.append(window)
    return found


def _check_size(templates: Iterable[TemplateMixin], windows: Iterable[Window]) -> None:
    """Refuse what would be too much, before it is read.

    :raises InvalidRequest: if the rules promise too many slots.
    """
    count = 0
    for template in templates:
        spec = template.spec()
        for window in windows:
            for _ in planning.promised(spec, window):
                count += 1
                if count > MAX_EVENTS:
                    raise _too_many("end")


def _too_many(field: str) -> InvalidRequest:
    expected = f"at most {MAX_EVENTS:,} events: ask for a shorter span, a template or a group"
    return InvalidRequest(f"{field}: expected {expected}", field=field, expected=expected)


# -- calendars


def _calendar(call: Call, template: int | None, group: str | None) -> Response:
    state = _state()
    if not has_icalendar():
        raise Problem("not_found", "calendars need the extra ics on the server: Flask-RollingSlots[ics]")
    feed = Feed(state.clock(), _host(state.settings.feed_host), _name(group), complain, MAX_EVENTS)
    found = published(state.db.session(), state.models, feed.since, template, group, call.grant.sees)
    return CalendarFile(feed_bytes(found, feed), last_change(found, feed)).response()


def _host(own: str | None) -> str:
    """Return what makes UIDs unique: the same for one subscriber, whatever changes on the server."""
    host = own or current_app.config.get("SERVER_NAME") or request.host
    return _NO_HOST.sub("-", host.rpartition("@")[2].lower().partition(":")[0]) or "flask-rollingslots"


def _name(group: str | None) -> str:
    return group or "Slots"
