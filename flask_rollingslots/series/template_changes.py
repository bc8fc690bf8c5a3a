"""Fields of a whole series: its settings, and what an edit of all of its slots can change, as one decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flask_rollingslots.values import Scope

from .altering import change_template, some_key
from .shims import EDITED, edit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import TemplateMixin
    from flask_rollingslots.revising import EditPlan


class TemplateChange(NamedTuple):
    """What became of a series whose fields were changed.

    :param segments: its templates, by id.
    :param plan: what that changed of its slots; ``None``: nothing was to be changed of them, or there is none.
    """

    segments: list[TemplateMixin]
    plan: EditPlan | None


def change_series(
    work: Work,
    template_id: int,
    fields: Mapping[str, Any],
    revision: int | None = None,
    move_booked: bool = False,
) -> TemplateChange:
    """Change fields of all segments of a template's series. The caller commits.

    :param revision: of this template, as the person who changes it has seen it.
    :raises TemplateNotFound: if there is no such template.
    :raises InvalidTemplate: if a value is not valid; ``InvalidRequest`` for one that an edit would change.
    :raises StaleEdit: if somebody else changed the series since.
    """
    settings = {name: value for name, value in fields.items() if name not in EDITED}
    changes = {name: value for name, value in fields.items() if name in EDITED}
    # Also where nothing is set: it locks the series and compares the revision.
    segments = change_template(work, template_id, settings, revision)
    key = some_key(work, template_id) if changes else None
    if key is None:
        if changes:
            segments = change_template(work, template_id, fields)
        return TemplateChange(segments, None)
    plan = edit(work, key, Scope.ALL, changes, None, move_booked, segments)
    if work.dry_run:  # the segments are copies, which show what the edit would make of them too
        planned = {change.template_id: change.values for change in plan.segments}
        for segment in segments:
            for name, value in planned.get(segment.id, {}).items():
                setattr(segment, name, value)
    return TemplateChange(segments, plan)
