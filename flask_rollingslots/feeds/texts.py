"""What people read of a slot: its title, and texts without what could harm a program that shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What some programs take for the end of a line, and what RFC 5545 section 3.1 forbids in a text.
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


def title_of(name: str, offered: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Return a slot's title: its template's name, unless its own ``data`` has a ``summary``.

    :param offered: the template's ``data``: a summary that all slots have is no title.
    :param own: the slot's ``data``.
    """
    summary = own.get("summary")
    own_title = isinstance(summary, str) and summary.strip() and summary != offered.get("summary")
    return str(summary) if own_title else name


def clean(value: str) -> str:
    """Return a text without what could begin a new line in a careless program; icalendar escapes the rest."""
    return _CONTROLS.sub("", _BREAKS.sub("\n", value))
