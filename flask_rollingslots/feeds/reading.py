"""From the bytes of a file to templates, whatever its format."""

from __future__ import annotations

import re

from ..errors import InvalidRequest
from .entries import MAX_BYTES, Defaults, Entry
from .foreign import foreign_entries
from .ics_reading import ics_entries
from .json_reading import objects_of, own_entries

FORMATS = ("auto", "json", "ics")
_ICS = re.compile(r"\s*BEGIN:VCALENDAR", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
#: Only the library's own format has these.
_OWN_MARKS = {"dtstart", "duration_minutes"}


def read_file(content: bytes, defaults: Defaults, form: str = "auto") -> list[Entry]:
    """Return the templates that a file describes, checked one by one but not yet against each other.

    :param content: JSON or iCalendar in UTF-8, at most 10 MB.
    :param form: ``json``, ``ics``, or ``auto`` to tell by the content.
    :raises InvalidRequest: one sentence that names entry, field, value and what is expected.
    :raises ConfigError: if it is iCalendar and icalendar is not installed.
    """
    text = _decode(content)
    if form == "ics" or (form == "auto" and _ICS.match(text)):
        return ics_entries(text, defaults)
    entries = []
    for label, value in objects_of(text):
        read = own_entries if _OWN_MARKS & value.keys() else foreign_entries
        entries += read(label, value, defaults)
    if not entries:
        raise InvalidRequest("the file has no entries; expected at least one template")
    return entries


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise InvalidRequest(f"the file has more than {MAX_BYTES // 2**20} MB; expected at most so much")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidRequest(
            f"line {line}: {content[error.start]:#04x} is not UTF-8; expected UTF-8 text"
        ) from error
    if not text.strip():
        raise InvalidRequest("the file is empty; expected JSON or BEGIN:VCALENDAR")
    found = _CONTROL.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise InvalidRequest(
            f"line {line}: the control character {found.group()!r} is no text; expected UTF-8 text"
        )
    return text
