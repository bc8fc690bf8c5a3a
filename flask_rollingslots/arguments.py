"""What people hand to the facade: a template or its id, a group, a number; checked before the database sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .errors import InvalidRequest
from .models import SlotMixin, TemplateMixin, template_id_of
from .values import SlotKey


def template_id(template: TemplateMixin | int | None) -> int | None:
    """Return a template's id, also if the object belongs to a session that is gone.

    :raises InvalidRequest: if it is neither a template nor an id.
    """
    if template is None:
        return None
    if isinstance(template, TemplateMixin):
        known = template_id_of(template)
        return template.id if known is None else known
    if isinstance(template, bool) or not isinstance(template, int) or not 0 < template < 2**63:
        raise _refusal("template", template, "a template or its id, a whole number")
    return template


def slot_key(key: str | SlotKey | SlotMixin) -> SlotKey:
    """Return a slot's key, given as text or by the slot itself.

    :raises InvalidKey: if it is no key.
    """
    if isinstance(key, SlotKey):
        return key
    return SlotKey.parse(key if isinstance(key, str) else getattr(key, "key", str(key)))


def check_group(group: str | None) -> None:
    """Refuse what is not a group's name.

    :raises InvalidRequest: if it is no text.
    """
    if group is not None and not isinstance(group, str):
        raise _refusal("group", group, "a text")


def check_upcoming(n: int, after: datetime | None, most: int) -> None:
    """Refuse a number or a moment that ``upcoming`` cannot take.

    :raises InvalidRequest: names field, value and expectation.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= most:
        raise _refusal("n", n, f"a whole number from 1 to {most}")
    if after is not None and (not isinstance(after, datetime) or after.tzinfo is None):
        raise _refusal("after", after, "an aware datetime (with a time zone)")


def _refusal(field: str, value: Any, expected: str) -> InvalidRequest:
    text = f"{field} = {repr(value)[:80]}: expected {expected}"
    return InvalidRequest(text, field=field, value=value, expected=expected)
