"""Templates to and from files: JSON and iCalendar (RFC 5545).

Opens no session and reads no clock; of the models it knows the table of template fields only.
"""

from .entries import MAX_BYTES, Decision, Defaults, Entry, Outgoing
from .ics_feed import Feed, feed_bytes, last_change
from .ics_writing import ics_bytes
from .json_writing import json_text
from .reading import FORMATS, read_file

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "Decision",
    "Defaults",
    "Entry",
    "Feed",
    "Outgoing",
    "feed_bytes",
    "ics_bytes",
    "json_text",
    "last_change",
    "read_file",
]
