"""A new template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

from flask_rollingslots.errors import InvalidTemplate, nearest
from flask_rollingslots.models import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import Models, TemplateMixin


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
    check_names(models, fields)
    for name, field in FIELDS.items():
        if field.needed and name not in fields:
            text = f"{name} is missing: expected {field.kind.expected}; {field.meaning}"
            raise InvalidTemplate(text, field=name, value=None, expected=field.kind.expected)
    initial = {name: field.initial for name, field in FIELDS.items() if not field.is_kept}
    template = models.Template(**{**initial, **fields})
    models.prepare(template)  # before the session sees it: a refusal then costs the app none of its work
    return template


def check_names(models: Models, fields: Mapping[str, Any]) -> None:
    """Refuse what is no field of a template, or none that a person may give.

    :raises InvalidTemplate: with the nearest name.
    """
    kept = {name for name, field in FIELDS.items() if field.is_kept}
    known = {attribute.key for attribute in inspect(models.Template).attrs} - kept
    for name, value in fields.items():
        if name not in known:
            text = (
                f"{name} is not a field of a template.{nearest(name, known)} Fields of your own go into data."
            )
            raise InvalidTemplate(text, field=name, value=value, expected="a field of a template")
