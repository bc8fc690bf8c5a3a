"""Feeds: slots for calendar widgets, and a calendar to subscribe to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from flask import Response, request
from pydantic import BaseModel, Field, RootModel
from werkzeug.http import http_date

from flask_rollingslots.errors import ConfigError
from flask_rollingslots.settings import FEED_PATH, MAX_EVENT_DAYS

from .access import Needs
from .operations import Answer, Call, Operations
from .problems import Problem
from .scalars import Group, QueryFlag, QueryId, Strict

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
class CalendarFile(Answer):
    """A calendar, or word that it is still the same.

    :param changed_at: aware.
    """

    content: bytes = b""
    changed_at: datetime | None = None

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
        response.headers.update(self.headers)
        return response


@operations("GET", "/feed.json", Needs.READ, {200: EventList}, query=EventsQuery, refusals=(404,))
def feed_json(call: Call) -> Answer:
    """List slots and reminders as events for FullCalendar or EventCalendar.

    Each slot with a start in the span is one event, stored or not, however far away the span is; cancelled ones are in
    it, deleted ones are not. Templates with ``reminder_before`` also have an event for each reminder.
    """
    query = call.query
    _require_template(call, query.template)
    zone, floating = query.timeZone, query.floating
    found = call.state.facade.events(
        query.start, query.end, zone, floating, query.template, query.group, call.grant.sees
    )
    return Answer(found)


@operations("GET", "/feed.ics", Needs.READ, {200: _CALENDAR, 304: None}, query=CalendarQuery, refusals=(404,))
def feed_ics(call: Call) -> Answer:
    """Return a calendar to subscribe to (RFC 5545), from last month on.

    Recurring series are rules, what was moved or cancelled is told beside them. ``If-None-Match`` with the ETag of the
    last answer gives 304 as long as nothing changed.
    """
    _require_template(call, call.query.template)
    return _calendar(call, call.query.template, call.query.group)


@operations("GET", FEED_PATH, Needs.NOTHING, {200: _CALENDAR, 304: None}, query=SecretQuery)
def secret_feed(call: Call) -> Answer:
    """Return the calendar of a secret address: of one group, for programs that can send no header."""
    feed = call.state.facade.feed_of(call.path["secret"])
    if feed is None:
        raise Problem(404, "not_found", "there is nothing at this address")
    return _calendar(call, call.query.template, feed.group)


def _require_template(call: Call, template: int | None) -> None:
    if template is not None:
        call.grant.require("read", call.state.facade.get_template(template))


def _calendar(call: Call, template: int | None, group: str | None) -> CalendarFile:
    try:
        # The host makes UIDs the same for one subscriber, whatever changes on the server.
        found = call.state.facade.calendar(template, group, request.host, call.grant.sees)
    except ConfigError:
        text = "calendars need the extra ics on the server: Flask-RollingSlots[ics]"
        raise Problem(404, "not_found", text) from None
    return CalendarFile(content=found.content, changed_at=found.changed_at)
