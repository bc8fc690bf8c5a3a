"""Settings of a whole series: what is not a change of its slots, such as group, notice or exclusions."""

from __future__ import annotations

from copy import deepcopy
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

from flask_rollingslots import planning
from flask_rollingslots.errors import SlotNotFound, StaleEdit
from flask_rollingslots.revising import bound_at, find_segment
from flask_rollingslots.values import SlotKey

from .reading import Loaded, deciding, lock_series, read_series, series_of
from .writing import _plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import TemplateMixin

_TRIED = 50


def change_template(
    work: Work, template_id: int, values: Mapping[str, Any], revision: int | None = None
) -> list[TemplateMixin]:
    """Set fields of all segments of a template's series, and return them by id; the caller commits.

    :param revision: of this template, as the person who changes it has seen it.
    :raises TemplateNotFound: if there is no such template.
    :raises InvalidTemplate: if a value is not valid.
    :raises StaleEdit: if somebody else changed the series since.
    """
    with deciding(work):
        templates = lock_series(work, series_of(work, template_id)).templates
        _check(templates[template_id], revision)
        if work.dry_run:
            templates = {template.id: _copy(template) for template in templates.values()}
        for template in templates.values():
            for name, value in values.items():
                setattr(template, name, value)
            work.models.prepare(template)
        if not work.dry_run:
            work.session.flush()
    return list(templates.values())


def _copy(template: TemplateMixin) -> TemplateMixin:
    """Return a template as it is, in no session."""
    cls = type(template)
    return cls(**{a.key: deepcopy(_plain(getattr(template, a.key))) for a in inspect(cls).column_attrs})


def check_revision(work: Work, key: SlotKey, revision: int) -> None:
    """Keep a series from being changed, and refuse if its part that holds a slot is not at this revision.

    :raises SlotNotFound: if there is no such slot.
    :raises StaleEdit: if somebody else changed it since.
    """
    with deciding(work):
        loaded = lock_series(work, key.series_id, key)
        case = loaded.case
        place = find_segment(case.specs, key, case.row_at(key), ended=True)
        _check(loaded.templates[case.specs[place].id], revision)


def _check(template: TemplateMixin, revision: int | None) -> None:
    if revision is not None and template.revision != revision:
        raise StaleEdit(
            f"revision = {revision}: it is at revision {template.revision} by now; read it again, then repeat "
            "the change",
            revision=template.revision,
        )


def some_key(work: Work, template_id: int) -> SlotKey | None:
    """Return the key of a slot of a template's series, by which all of it can be edited; a later one if there is one.

    :raises TemplateNotFound: if there is no such template.
    """
    loaded = read_series(work, series_of(work, template_id))
    for key in _candidates(work, loaded):
        try:
            find_segment(loaded.case.specs, key, loaded.case.row_at(key))
        except SlotNotFound:
            continue
        return key
    return None


def _candidates(work: Work, loaded: Loaded) -> Iterator[SlotKey]:
    for from_now in (True, False):
        for spec in loaded.case.specs:
            recurrence = planning.recurrence_of(spec)
            bounds = [spec.active_from, bound_at(spec, work.now) if from_now else None, recurrence.earliest]
            lower = max(bound for bound in bounds if bound is not None)
            upper = spec.ends_before or recurrence.latest
            if lower < upper:
                for original_start in islice(recurrence.originals(lower, upper), _TRIED):
                    yield SlotKey(spec.series_id, original_start)
