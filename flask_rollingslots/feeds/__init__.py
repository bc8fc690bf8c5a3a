"""Templates and slots for other programs: files in and out, calendars to subscribe to, events for widgets.

Opens no session and reads no clock.
"""

from .entries import icalendar_package
from .exchange import Exported, Imported, export_templates, import_templates
from .fullcalendar import Span, event_texts, events, read_span, slots_in
from .subscriptions import Calendar, SecretFeed, calendar, feed_of, feed_secret, revoke_feed_secret

__all__ = [
    "Calendar", "Exported", "Imported", "SecretFeed", "Span", "calendar", "event_texts", "events", "export_templates",
    "feed_of", "feed_secret", "icalendar_package", "import_templates", "read_span", "revoke_feed_secret",
    "slots_in",
]  # fmt: skip
