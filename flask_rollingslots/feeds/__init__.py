"""Templates to and from files: JSON and iCalendar (RFC 5545).

Pure: no Flask, no database, no clock.
"""

from .entries import MAX_BYTES, Decision, Defaults, Entry, Outgoing
from .ics_writing import ics_bytes
from .json_writing import json_text
from .reading import FORMATS, read_file

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "Decision",
    "Defaults",
    "Entry",
    "Outgoing",
    "ics_bytes",
    "json_text",
    "read_file",
]
