"""Reading for pages: the same slots as rows or as values, which :mod:`.merging` merges by one set of rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import inspect, select
from sqlalchemy.orm.attributes import set_committed_value

from .. import planning
from ..context import Work, load_shown, parameters_of_shown, select_shown, virtual_slot
from ..models import Models, SlotMixin, TemplateMixin
from ..values import TemplateSpec, Window
from ..views import Shape, SlotView, TemplateView, shape_of_slots, shape_of_templates, virtual
from .searching import active_templates, check_group, find_template, templates


class Kind(Protocol):
    """What a reader gets: rows of the session, or values."""

    def templates(self, work: Work, template_id: int | None, group: str | None) -> list[Any]:
        """Return the active templates of a series, of a group, or all."""

    def spec(self, template: Any) -> TemplateSpec:
        """Return what a template promises."""

    def stored(
        self,
        work: Work,
        templates: Mapping[int, Any],
        window: Window,
        originals: tuple[datetime, datetime],
        overlapping: bool,
    ) -> Sequence[Any]:
        """Return what is stored; see :func:`~flask_rollingslots.context.load_shown`."""

    def virtual(
        self, work: Work, template: Any, spec: TemplateSpec, original_start: datetime, starts_at: datetime
    ) -> Any:
        """Return a slot that has no row."""

    def follow(self, slot: Any, now: datetime) -> None:
        """Let a stored slot show what its template says by now."""


class Rows:
    """Rows that the session keeps, and virtual slots that look like them."""

    def templates(self, work: Work, template_id: int | None, group: str | None) -> list[TemplateMixin]:
        """Return model instances."""
        return templates(work, template_id, group)

    def spec(self, template: TemplateMixin) -> TemplateSpec:
        """Return it with all that a row of it holds."""
        return TemplateSpec.of(template, copied=False)

    def stored(
        self,
        work: Work,
        templates: Mapping[int, TemplateMixin],
        window: Window,
        originals: tuple[datetime, datetime],
        overlapping: bool,
    ) -> list[SlotMixin]:
        """Return model instances."""
        return load_shown(work, templates, window, originals, overlapping)

    def virtual(
        self,
        work: Work,
        template: TemplateMixin,
        spec: TemplateSpec,
        original_start: datetime,
        starts_at: datetime,
    ) -> SlotMixin:
        """Return a model instance that is in no session."""
        planned = planning.planned_slot(spec, original_start, starts_at, ZoneInfo(spec.timezone))
        return virtual_slot(work.models, planned, template, work.now)

    def follow(self, slot: SlotMixin, now: datetime) -> None:
        """Nothing is written by that."""
        show_by_now(slot, now)


def show_by_now(row: SlotMixin, now: datetime) -> None:
    """Let a stored slot show what its template says by now, where no top-up has followed yet; nothing is written."""
    for name, value in row.by_now(now).items():
        if not inspect(row).attrs[name].history.has_changes():
            set_committed_value(row, name, value)


class Values:
    """Frozen values."""

    def templates(self, work: Work, template_id: int | None, group: str | None) -> list[TemplateView]:
        """Return values, with one query."""
        check_group(group)
        if work.session.autoflush:  # as a query for rows does; these are not the session's
            work.session.flush()
        kind = (work.dialect, template_id is not None, group is not None)

        def build(models: Models) -> tuple[Shape, Any]:
            shape = shape_of_templates(models, work.session.get_bind(inspect(models.Template)).dialect)
            return shape, active_templates(select(*shape.columns), shape.source, *kind[1:])

        shape, query = work.models.build_once(("template views", *kind), build)
        asked = {"template_id": template_id, "group": group}
        found: list[TemplateView] = shape.templates(self._read(work, work.models.Template, query, asked))
        if template_id is not None and not found:
            find_template(work, template_id)
        return found

    def spec(self, template: TemplateView) -> TemplateSpec:
        """Return it without its data, which the values ask the template for."""
        return template.rolling_times

    def stored(
        self,
        work: Work,
        templates: Mapping[int, TemplateView],
        window: Window,
        originals: tuple[datetime, datetime],
        overlapping: bool,
    ) -> list[SlotView]:
        """Return values, with one query."""
        are_named, asked = parameters_of_shown(templates, window, originals)
        kind = (work.dialect, are_named, overlapping)

        def build(models: Models) -> tuple[Shape, Any]:
            shape = shape_of_slots(models, work.session.get_bind(inspect(models.Slot)).dialect)
            return shape, select_shown(select(*shape.columns), shape.source, *kind[1:])

        shape, query = work.models.build_once(("slot views", *kind), build)
        found: list[SlotView] = shape.slots(
            self._read(work, work.models.Slot, query, asked), templates, work.now
        )
        return found

    def virtual(
        self,
        work: Work,
        template: TemplateView,
        spec: TemplateSpec,
        original_start: datetime,
        starts_at: datetime,
    ) -> SlotView:
        """Return a value without a row."""
        times = planning.times_of(spec, original_start, starts_at, ZoneInfo(spec.timezone))
        return virtual(template, times, work.now)

    def follow(self, slot: SlotView, now: datetime) -> None:
        """Nobody has the value yet."""
        slot.follow(now)

    @staticmethod
    def _read(work: Work, cls: type[Any], query: Any, asked: dict[str, Any]) -> Sequence[Any]:
        return work.session.execute(query, asked, bind_arguments={"mapper": inspect(cls)}).all()


ROWS, VALUES = Rows(), Values()
