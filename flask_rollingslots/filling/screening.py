"""Telling templates with nothing missing from the others: the database joins what is stored, nobody reads the rows.

Each template's stored times are compared as one text with those of its rule. What differs in any way that is not
simply a missing beginning or end is left to planning, row by row.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, null, select

from .. import planning
from ..context import Work, load_stored
from ..errors import TooCostly
from ..models import Models, UtcDateTime, is_away, table_of
from ..statements import MARIADB, among, checksum_of, ids_at_once, joined_times, times_form
from ..values import Plan, SlotKey, Status, Steps, StoredSlot, TemplateSpec, Window
from .expansion import Expansion, Part, expand, stored_part, text_writer

log = logging.getLogger("flask_rollingslots")

#: How many slots are compared at once, and how many of them may be of different rules.
_SLOTS_AT_ONCE, _DIFFERENT_SLOTS_AT_ONCE, _UNKNOWN_SIZE = 50_000, 10_000, 100
#: How many templates are looked at together if their rows must be read.
UNITS_AT_ONCE = 200
#: SQLite takes 32,766 parameters in a statement, unless it was built for more.
_TEMPLATES_AT_ONCE = 10_000
#: Original start, start and end are compared: as many texts of each template.
_JOINED = 3


class Unit(NamedTuple):
    """One template in one window, with what it promises there; ``None`` if that could not be told."""

    spec: TemplateSpec
    window: Window
    expansion: Expansion | None


@dataclass(frozen=True, slots=True)
class Screened:
    """A template of which exactly this is known: a part is stored as the rule says, the rest is not stored at all.

    :param away: status -> number of rows with it.
    :param started: how many of the expanded slots have started.
    :param checksum: of the starts that are stored, if it was asked for.
    """

    spec: TemplateSpec
    window: Window
    expansion: Expansion
    part: Part
    away: dict[str, int]
    started: int
    checksum: str | None = None

    def is_sound(self, backfill: bool) -> bool:
        """Whether what is missing before the stored part had started anyway, so that nothing lacks in between."""
        return self.part.first == 0 or (not backfill and self.part.first <= self.started)

    def missing(self, backfill: bool) -> tuple[int, int]:
        """Return what a top-up would create, as half-open positions in the expansion."""
        size = len(self.expansion)
        return (self.part.end if backfill else min(size, max(self.part.end, self.started))), size

    def counts(self, backfill: bool) -> Plan:
        """Return the plan, but for the slots to be created themselves."""
        (first, end), existing = self.missing(backfill), self.part.end - self.part.first
        plan = Plan(existing=existing, expected=existing + end - first)
        plan.skipped.update(self.expansion.skipped)
        plan.skipped.update(self.away)
        if past := self.part.first + first - self.part.end:
            plan.skipped[planning.IN_THE_PAST] += past
        return plan


def batches(
    groups: Mapping[Hashable, Sequence[tuple[TemplateSpec, Window]]],
    most: int = _SLOTS_AT_ONCE,
    most_different: int = _DIFFERENT_SLOTS_AT_ONCE,
    steps: Steps | None = None,
) -> Iterator[list[Unit]]:
    """Cut templates, grouped by ``pattern_of``, into batches of so many slots, different slots, and templates.

    :raises TooCostly: if that are too many steps.
    """
    batch: list[Unit] = []
    slots = different = 0
    for members in groups.values():
        expansion: Expansion | None = None
        try:
            expansion = expand(*members[0], steps)
        except TooCostly:
            raise
        except Exception as error:
            log.debug("planning will say of each template of this rule what is wrong: %s", error)
        size = 1 + len(expansion) if expansion is not None else _UNKNOWN_SIZE
        different += size
        for spec, window in members:
            batch.append(Unit(spec, window, expansion))
            slots += size
            full = slots >= most or different >= most_different
            if full or len(batch) >= _TEMPLATES_AT_ONCE:
                yield batch
                batch, slots, different = [], 0, size
    if batch:
        yield batch


def screen(
    work: Work, units: Sequence[Unit], *, backfill: bool = False, checks: bool = False
) -> tuple[list[Screened], list[Unit]]:
    """Sort units into those of which everything is known, and those whose rows must be read and planned.

    :param backfill: what has started by now must be there too.
    :param checks: let the same statement give a checksum of what is stored.
    """
    dialect = work.dialect
    known: list[Screened] = []
    odd: list[Unit] = []
    by_window: dict[Window, list[Unit]] = {}
    for unit in units:
        by_window.setdefault(unit.window, []).append(unit)
    for window, group in by_window.items():
        stored = _stored(work, group, window, dialect, checks)
        for unit in group:
            joined, away, checksum = stored.get(unit.spec.id, ((None,) * _JOINED, {}, None))
            screened = _screened(unit, joined, away, checksum, work.now, dialect)
            if screened is None or not screened.is_sound(backfill):
                odd.append(unit)
            else:
                known.append(screened)
    elsewhere = _elsewhere(work, known)
    if elsewhere:
        odd += [Unit(s.spec, s.window, s.expansion) for s in known if s.spec.series_id in elsewhere]
        known = [screened for screened in known if screened.spec.series_id not in elsewhere]
    return known, odd


def plan_by_rows(
    work: Work,
    units: Sequence[Unit],
    end_reading: Callable[[], None] = lambda: None,
    *,
    backfill: bool = False,
) -> Iterator[tuple[Unit, Plan | Exception]]:
    """Plan units by all their rows, and yield each with its plan, or with what makes that impossible.

    :param end_reading: called between reading and planning.
    """
    for position in range(0, len(units), UNITS_AT_ONCE):
        some = units[position : position + UNITS_AT_ONCE]
        by_series: dict[int, dict[SlotKey, StoredSlot]] = {}
        for key, row in load_stored(work, [(unit.spec, unit.window) for unit in some]).items():
            by_series.setdefault(key.series_id, {})[key] = row
        end_reading()
        for unit in some:
            stored = by_series.get(unit.spec.series_id, {})
            found: Plan | Exception
            try:
                found = planning.plan(unit.spec, unit.window, stored, work.now, backfill=backfill)
            except Exception as error:  # one poisoned template must not stop the others
                found = error
            yield unit, found


def _screened(
    unit: Unit,
    joined: tuple[Any, ...],
    away: dict[str, int],
    checksum: str | None,
    now: datetime,
    dialect: str,
) -> Screened | None:
    expansion, part = unit.expansion, Part(0, 0) if joined[0] is None else None
    if expansion is None:
        return None
    if part is None and len(expansion):
        part = stored_part(_expected(expansion, dialect), joined, len(expansion))
    if part is None:
        return None
    return Screened(unit.spec, unit.window, expansion, part, away, expansion.started(now), checksum)


def _expected(expansion: Expansion, dialect: str) -> tuple[Any, ...]:
    """Return what the database joins if all of an expansion is stored, and nothing else."""
    expected: tuple[Any, ...] | None = expansion.forms.get("joined")
    if expected is None:
        columns, write = expansion.columns, text_writer(True)
        # MariaDB keeps wall-clock times to the second.
        on_wall = text_writer(False) if dialect in MARIADB else write
        expected = expansion.forms["joined"] = (
            times_form(columns.original_start, dialect, on_wall),
            times_form(columns.starts_at, dialect, write),
            times_form(columns.ends_at, dialect, write),
        )
    return expected


def _stored(
    work: Work, group: list[Unit], window: Window, dialect: str, checks: bool
) -> dict[int, tuple[tuple[Any, ...], dict[str, int], str | None]]:
    """Return the rows of each template: a joined text for each of three times, how many stay away, and a checksum."""
    session, models = work.session, work.models
    template_ids, usual = [unit.spec.id for unit in group], _usual(group, dialect)
    query = models.build_once(
        ("stored times", dialect, checks), lambda models: _stored_query(models, dialect, checks)
    )
    values = {"window_start": window.start, "window_end": window.end}
    values |= {f"usual_{place}": text for place, text in enumerate(usual)}
    found, special, size = {}, [], ids_at_once(dialect)
    parts = (template_ids[position : position + size] for position in range(0, len(template_ids), size))
    rows = chain.from_iterable(session.execute(query, {**values, "templates": part}) for part in parts)
    for template_id, *joined, checksum, unusual in rows:
        # NULL: the same as usual, which the database tells without sending it.
        texts = tuple(text if sent is None else sent for sent, text in zip(joined, usual, strict=True))
        found[template_id] = texts, dict[str, int](), checksum
        if unusual:
            special.append(template_id)
    if special:
        for template_id, status, number in load_away(work, special, window):
            found[template_id][1][status] = number
    return found


def load_away(work: Work, template_ids: list[int], window: Window) -> Iterable[tuple[int, str, int]]:
    """Return (template id, status, number) of the rows that are cancelled or deleted, of some templates."""
    dialect = work.dialect
    query = work.models.build_once(("rows that stay away", dialect), lambda m: _away_query(m, dialect))
    values = {"templates": template_ids, "window_start": window.start, "window_end": window.end}
    found = work.session.execute(query, values)
    return [(template_id, status, number) for template_id, status, number in found]


def _usual(group: list[Unit], dialect: str) -> tuple[Any, ...]:
    """Return what the database joins for most of the templates, if nothing of them is missing."""
    # By identity: an expansion is not compared.
    counts = Counter(unit.expansion for unit in group if unit.expansion)
    return _expected(max(counts, key=counts.__getitem__), dialect) if counts else (None,) * _JOINED


def _stored_query(models: Models, dialect: str, checks: bool) -> Select[Any]:
    slot = table_of(models.Slot).c
    joined = (
        joined_times(slot.original_start, slot.starts_at, dialect, naive=True),
        joined_times(slot.starts_at, slot.starts_at, dialect),
        joined_times(slot.ends_at, slot.starts_at, dialect),
    )
    usual = (bindparam(f"usual_{place}", type_=text.type) for place, text in enumerate(joined))
    sent = map(func.nullif, joined, usual)
    special = func.count(func.nullif(slot.status, Status.SCHEDULED.value))
    checksum = checksum_of(slot.starts_at, slot.starts_at, dialect) if checks else null()
    query = select(slot.template_id, *sent, checksum, special)
    return query.where(*_in_window(models, dialect)).group_by(slot.template_id)


def _away_query(models: Models, dialect: str) -> Select[Any]:
    slot = table_of(models.Slot).c
    query = select(slot.template_id, slot.status, func.count())
    query = query.where(*_in_window(models, dialect), is_away(models))
    return query.group_by(slot.template_id, slot.status)


def _in_window(models: Models, dialect: str) -> tuple[ColumnElement[bool], ...]:
    slot = table_of(models.Slot).c
    return (
        among(slot.template_id, "templates", dialect),
        slot.starts_at >= bindparam("window_start", type_=UtcDateTime()),
        slot.starts_at < bindparam("window_end", type_=UtcDateTime()),
    )


def _elsewhere(work: Work, known: Iterable[Screened]) -> set[int]:
    """Return the series with rows, or other segments, that could stand where something is missing."""
    lacking: dict[Hashable, list[Screened]] = {}
    for one in known:
        if one.part.end - one.part.first < len(one.expansion):
            lacking.setdefault((one.window, one.spec.shift), []).append(one)
    # All between the first and the last of many is counted at once, and exactly where that is too much.
    doubtful: dict[tuple[datetime, datetime], list[Screened]] = {}
    for some in lacking.values():
        bounds = [one.expansion.bounds() for one in some]
        for one in _beside(work, some, (min(first for first, _ in bounds), max(last for _, last in bounds))):
            doubtful.setdefault(one.expansion.bounds(), []).append(one)
    found = {one.spec.series_id for around, some in doubtful.items() for one in _beside(work, some, around)}
    if lacking:
        cls, ids = work.models.Template, {one.spec.series_id for some in lacking.values() for one in some}
        several = select(cls.series_id).where(cls.series_id.in_(ids)).group_by(cls.series_id)
        found |= {key for key in work.session.scalars(several.having(func.count() > 1)) if key}
    return found


def _beside(work: Work, some: list[Screened], bounds: tuple[datetime, datetime]) -> list[Screened]:
    """Return those of which not as many rows are stored between two original starts as their stored part has."""
    slot, ids, size = work.models.Slot, [one.spec.series_id for one in some], ids_at_once(work.dialect)
    counts: dict[int, int] = {}
    for position in range(0, len(ids), size):
        here = (slot.series_id.in_(ids[position : position + size]), slot.original_start.between(*bounds))
        query = select(slot.series_id, func.count()).where(*here).group_by(slot.series_id)
        counts |= {row[0]: row[1] for row in work.session.execute(query)}
    return [one for one in some if counts.get(one.spec.series_id, 0) != one.part.end - one.part.first]
