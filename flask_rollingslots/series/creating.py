"""A new template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

from flask_rollingslots.errors import InvalidTemplate, nearest

if TYPE_CHECKING:
    from flask_rollingslots.context import Work
    from flask_rollingslots.models import TemplateMixin

#: Decided by the library, not by whoever creates a template.
_OWN_FIELDS = {
    "id",
    "series_id",
    "continues_id",
    "revision",
    "created_at",
    "active_from",
    "active_until",
    "cancelled_from",
    "shift",
}

#: What every template needs.
_NEEDED = {
    "name": "a text of 1 to 200 characters",
    "dtstart": "the first possible start, a naive datetime: the wall-clock time in the template's zone",
    "duration": "how long a slot is, a timedelta of whole minutes",
}


def create(work: Work, fields: dict[str, Any]) -> TemplateMixin:
    """Add a template to the session and flush it, so that it has an id; the caller commits.

    :raises InvalidTemplate: for an unknown field, a missing one, or a value that is not valid.
    :raises InvalidRule: if the rule, the zone or the day grid is not valid.
    """
    template = draft(work, fields)
    if not work.dry_run:
        work.session.add(template)
        work.session.flush()
    return template


def draft(work: Work, fields: dict[str, Any]) -> TemplateMixin:
    """Return a template that is complete and checked, and in no session.

    :raises InvalidTemplate: for an unknown field, a missing one, or a value that is not valid.
    :raises InvalidRule: if the rule, the zone or the day grid is not valid.
    """
    models = work.models
    known = {attribute.key for attribute in inspect(models.Template).attrs} - _OWN_FIELDS
    for name, value in fields.items():
        if name not in known:
            text = (
                f"{name} is not a field of a template.{nearest(name, known)} Fields of your own go into data."
            )
            raise InvalidTemplate(text, field=name, value=value, expected="a field of a template")
    for name, expected in _NEEDED.items():
        if name not in fields:
            text = f"{name} is missing: expected {expected}"
            raise InvalidTemplate(text, field=name, value=None, expected=expected)
    if not isinstance(fields.get("data") or {}, dict):
        value = fields["data"]
        raise InvalidTemplate(
            f"data = {value!r}: expected a dict", field="data", value=value, expected="a dict"
        )
    template = models.Template(**{"active": True, "capacity": 1, **fields})
    models.prepare(template)  # before the session sees it: a refusal then costs the app none of its work
    return template
