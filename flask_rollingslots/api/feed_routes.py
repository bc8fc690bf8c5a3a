"""Feeds: slots for calendar widgets, and a calendar to subscribe to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from flask import Response, current_app, request, url_for
from pydantic import BaseModel, Field, RootModel
from werkzeug.http import http_date

from flask_rollingslots import browsing, feeds
from flask_rollingslots.errors import ConfigError

from .access import Needs
from .operations import Answer, Call, Operations
from .problems import Problem
from .scalars import Group, QueryFlag, QueryId, Strict

if TYPE_CHECKING:
    from flask import Flask

    from flask_rollingslots.context import Work

operations = Operations("feeds")
_CALENDAR = "text/calendar"
_TIMES = "With an offset, or without: by the clock of timeZone, or else of each template's own zone."


class EventsQuery(Strict):
    """What a widget shows; its own names."""

    start: Annotated[str, Field(description=f"Included. {_TIMES}")]
    end: Annotated[str, Field(description=f"Not included; at most {feeds.MAX_DAYS} days later.")]
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
    query, work = call.query, call.work
    span = feeds.read_span(query.start, query.end, query.timeZone, query.floating)
    _require_template(call, query.template)
    call.state.facade.ensure(query.template)
    slots = feeds.slots_in(work, span, query.template, query.group, call.grant.sees)
    lacking = browsing.holes(work, slots)
    if lacking:
        call.state.topup.hole(lacking)
    return Answer(list(feeds.events(slots, span, work.now)))


@operations("GET", "/feed.ics", Needs.READ, {200: _CALENDAR, 304: None}, query=CalendarQuery, refusals=(404,))
def feed_ics(call: Call) -> Answer:
    """Return a calendar to subscribe to (RFC 5545), from last month on.

    Recurring series are rules, what was moved or cancelled is told beside them. ``If-None-Match`` with the ETag of the
    last answer gives 304 as long as nothing changed.
    """
    _require_template(call, call.query.template)
    return _calendar(call, call.query.template, call.query.group)


@operations("GET", "/feed/<secret>.ics", Needs.NOTHING, {200: _CALENDAR, 304: None}, query=SecretQuery)
def secret_feed(call: Call) -> Answer:
    """Return the calendar of a secret address: of one group, for programs that can send no header."""
    feed = feeds.feed_of(call.work, call.path["secret"], _keys(call.state.app))
    if feed is None:
        raise Problem(404, "not_found", "there is nothing at this address")
    return _calendar(call, call.query.template, feed.group)


def secret_address(app: Flask, work: Work, group: str | None) -> str:
    """Return the whole secret address of a calendar; outside of a request the app needs SERVER_NAME.

    :raises ConfigError: if the app has no SECRET_KEY, has not mounted the API, or icalendar is not installed.
    """
    feeds.icalendar_package()
    secret, view = feeds.feed_secret(work, group, _keys(app)), operations.found[-1].view
    endpoint = next((name for name, function in app.view_functions.items() if function == view), None)
    if endpoint is None:
        raise ConfigError(
            "there is no address for a feed: the HTTP API is not mounted; set ROLLINGSLOTS_API_PREFIX",
            key="ROLLINGSLOTS_API_PREFIX",
        )
    return url_for(endpoint, secret=secret, _external=True)


def _require_template(call: Call, template: int | None) -> None:
    if template is not None:
        call.grant.require("read", browsing.find_template(call.work, template))


def _calendar(call: Call, template: int | None, group: str | None) -> CalendarFile:
    try:
        feeds.icalendar_package()
    except ConfigError:
        text = "calendars need the extra ics on the server: Flask-RollingSlots[ics]"
        raise Problem(404, "not_found", text) from None
    # The same for one subscriber, whatever changes on the server.
    host = current_app.config.get("SERVER_NAME") or request.host
    found = feeds.calendar(call.work, template, group, call.grant.sees, host)
    return CalendarFile(content=found.content, changed_at=found.changed_at)


def _keys(app: Flask) -> list[str | bytes]:
    """Return the keys that sign, or have signed, secret addresses; the newest last."""
    return [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key] if app.secret_key else []
