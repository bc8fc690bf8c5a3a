"""The past of templates that keep their history: slots that were promised while nobody came are made too.

By the rule of their time: a rule is asked only since it is as it is, and a change of it first fills by the old one.
``history_until`` of a template says up to where all that it promised was made once. What is lost after that is looked
for only some weeks back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import inspect, select, update

from ..context import Work, load_specs, pruned_until
from ..errors import StatusConflict, sentence
from ..models import TemplateMixin, has_decisions, table_of
from ..statements import exclusive
from ..values import TemplateSpec, Window
from .chunks import insert_absent
from .expansion import Expansion, Stretch
from .screening import Unit, plan_by_rows

log = logging.getLogger("flask_rollingslots")

#: So far back a top-up and health look for what is lost although it was made once.
LOOK_BACK = timedelta(days=35)
#: So many past slots a change of a template may have to make before; more are for a top-up, which works in chunks.
MOST_AT_ONCE = 10_000
#: The run of slots that none made: a rule made them all the same, not a person.
_NO_RUN = 0
_NAMED = 500
_SPAN = timedelta(days=31)


def spans(window: Window, length: timedelta = _SPAN) -> Iterator[Window]:
    """Cut a window into spans that can be planned at once: that bounds the memory of a year of quarter-hours."""
    start = window.start
    while start < window.end:
        end = min(start + min(length, _SPAN), window.end)
        yield Window(start, end)
        start = end


def past_starts(work: Work, specs: list[TemplateSpec]) -> dict[int, datetime]:
    """Return where to look from, UTC, for what each template promised and has no row; at the latest the work's time.

    :param specs: templates that keep their history.
    """
    if not specs:
        return {}
    cls = work.models.Template
    kept = cls.keep_history.is_(True)
    if len(specs) <= _NAMED:
        kept = cls.id.in_([spec.id for spec in specs])
    query = select(cls.id, cls.created_at, cls.changed_at).where(kept)
    began = {row.id: row.changed_at or row.created_at for row in work.session.execute(query)}
    pruned = pruned_until(work)
    return {spec.id: _start(spec, began.get(spec.id), pruned, work.now) for spec in specs}


def _start(spec: TemplateSpec, began: datetime | None, pruned: datetime | None, now: datetime) -> datetime:
    # Where nobody knows of a history, it begins now.
    if spec.history_until is None or began is None:
        return now.astimezone(UTC)
    looked_for = min(spec.history_until, now - LOOK_BACK)
    return min(max(began, looked_for, pruned or began), now).astimezone(UTC)


def note_complete(work: Work, ends: Iterable[tuple[TemplateSpec, datetime]]) -> None:
    """Note up to where (aware) templates are complete, in the caller's transaction; what they promise is committed.

    One that was changed since it was planned, or that somebody holds, is left as it is: the next run notes it.
    """
    planned = {spec.id: (spec.revision, end) for spec, end in ends}
    table = table_of(work.models.Template)
    columns = (table.c.id, table.c.revision, table.c.history_until)
    query = select(*columns).where(table.c.id.in_(planned)).order_by(table.c.id)
    by_end: dict[tuple[datetime, bool], list[int]] = {}
    for number, revision, before in work.session.execute(exclusive(query, work.dialect, skips=True)):
        if planned[number][0] == revision:
            by_end.setdefault((planned[number][1], before is None), []).append(number)
    for (end, begins), ids in by_end.items():
        # Switched on behind our back: that was a change, and nothing before it is history.
        values = {"history_until": end} | ({"changed_at": work.now} if begins else {})
        work.session.execute(update(table).where(table.c.id.in_(ids)).values(values))
    for held in list(work.session.identity_map.values()):
        if isinstance(held, work.models.Template) and held in work.session:
            work.session.expire(held, ["history_until", "changed_at"])


def before_change(work: Work, template: TemplateMixin) -> None:
    """Before a changed template is written: fill its past by the rule of its time, which is still stored.

    :raises StatusConflict: if that is too much for one transaction; says what to do.
    """
    switched = inspect(template).attrs["keep_history"].history.has_changes()
    if not (template.keep_history or switched) or not has_decisions(template):
        return
    now = max(template.changed_at or work.now, work.now)  # as both sides of the change say
    table = table_of(work.models.Template)
    # The newest, also where the app's transaction still sees older rows: a top-up may have been here since.
    query = select(table.c.history_until).where(table.c.id == template.id, table.c.active)
    start = work.session.scalar(exclusive(query, work.dialect))
    if start is not None and start < now:
        start = max(start, pruned_until(work) or start)
        old = _stored(work, template.id) if start < now else None
        if old is not None:
            _fill(replace(work, now=now), old, Window(start, now.astimezone(UTC)))
    template.history_until = now if template.keep_history else None


def _stored(work: Work, template_id: int) -> TemplateSpec | None:
    """Return a template as it is stored; ``None`` if it cannot be read: then the change may be its repair."""
    mine = work.models.Template.id == template_id
    found = load_specs(work, mine, unreadable=lambda number, name, error: log.debug("%s", error))
    return found[0] if found else None


def _fill(work: Work, spec: TemplateSpec, past: Window) -> None:
    stretches, missing = [], 0
    for span in spans(past):
        for _, plan in plan_by_rows(work, [Unit(spec, span, None)], backfill=True):
            if isinstance(plan, Exception):  # such as a zone that this machine does not know
                log.warning("template %s: its past is not filled: %s", spec.id, sentence(plan))
                return
            missing += len(plan.create)
            if missing > MOST_AT_ONCE:
                raise StatusConflict(
                    f"template {spec.id} keeps its history, and more than {MOST_AT_ONCE:,} past slots of it are "
                    f"not stored yet: run `flask slots generate --template {spec.id}`, then repeat the change",
                    template_id=spec.id,
                )
            if plan.create:
                new = Expansion.of(slot.times for slot in plan.create)
                stretches.append(Stretch(spec, new, 0, len(new)))
    for stretch in stretches:
        insert_absent(work, [stretch], _NO_RUN)
