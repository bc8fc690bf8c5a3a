"""Feeds: slots for calendar widgets, and a calendar to subscribe to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from flask import Response, request
from pydantic import BaseModel, Field, RootModel
from werkzeug.http import http_date

from flask_rollingslots.errors import ConfigError
from flask_rollingslots.settings import FEED_PATH, MAX_EVENT_DAYS

from .access import Needs
from .bodies import Group, QueryFlag, QueryId, Strict
from .operations import Call, Operations
from .problems import Problem

operations = Operations("feeds")
_CALENDAR = "text/calendar"
_TIMES = "With an offset, or without: by the clock of timeZone, or else of each template's own zone."


class EventsQuery(Strict):
    """What a widget shows; its own names."""

    start: Annotated[str, Field(description=f"Included. {_TIMES}")]
    end: Annotated[str, Field(description=f"Not included; at most {MAX_EVENT_DAYS} days later.")]
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
    query = call.query
    if query.template is not None:
        call.template(query.template)
    found = call.slots.events(
        query.start, query.end, query.timeZone, query.floating, query.template, query.group, call.grant.sees
    )
    return Response(json.dumps(found), mimetype="application/json")


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


@operations("GET", FEED_PATH, {200: _CALENDAR, 304: None}, Needs.NOTHING, query=SecretQuery)
def secret_feed(call: Call) -> Response:
    """Return the calendar of a secret address: of one group, for programs that can send no header."""
    feed = call.slots.feed_of(call.path["secret"])
    if feed is None:
        raise Problem("not_found", "there is nothing at this address")
    return _calendar(call, call.query.template, feed.group)


def _calendar(call: Call, template: int | None, group: str | None) -> Response:
    try:
        # The host makes UIDs the same for one subscriber, whatever changes on the server.
        found = call.slots.calendar(template, group, request.host, call.grant.sees)
    except ConfigError:
        text = "calendars need the extra ics on the server: Flask-RollingSlots[ics]"
        raise Problem("not_found", text) from None
    return CalendarFile(found.content, found.changed_at).response()
