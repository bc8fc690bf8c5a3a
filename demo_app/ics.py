"""A booking as an iCalendar file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icalendar import Calendar, Event

from flask_rollingslots.values import Status

if TYPE_CHECKING:
    from flask_rollingslots import BookingMixin

_NOT_IN_TEXT = dict.fromkeys(range(32))


def booking_ics(booking: BookingMixin, venue: str, address: str, host: str) -> bytes:
    """Return a calendar with one event, in UTC, so that every calendar shows it at the right time.

    The same booking gives the same bytes: its own id and age, and nothing of the moment.

    :param venue: where it is.
    :param address: of the booking's page.
    :param host: makes the event's id unique in the world.
    """
    slot = booking.slot
    event = Event()
    event.add("uid", f"booking-{booking.id}@{host}")
    event.add("dtstamp", booking.created_at)
    event.add("dtstart", slot.starts_at)
    event.add("dtend", slot.ends_at)
    event.add("summary", slot.name.translate(_NOT_IN_TEXT))
    event.add("location", venue)
    event.add("description", str((slot.data or {}).get("note", "")))
    event.add("url", address)
    event.add("status", "CANCELLED" if slot.status == Status.CANCELLED else "CONFIRMED")
    calendar = Calendar()
    calendar.add("prodid", "-//Flask-RollingSlots//Demo//EN")
    calendar.add("version", "2.0")
    calendar.add_component(event)
    return bytes(calendar.to_ical())
