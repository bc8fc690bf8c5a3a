"""Writing a plan: insert what is absent, in sorted chunks, each in one short transaction.

Nothing here commits: whoever opened the session does, after each chunk.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from flask_rollingslots.booking import release_expired
from flask_rollingslots.errors import RowsRefused
from flask_rollingslots.models import table_of
from flask_rollingslots.statements import locked, may_swallow_errors
from flask_rollingslots.values import Status, Times

from .expansion import Expansion, Stretch
from .insertion import insert_absent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Table

    from flask_rollingslots.context import Work
    from flask_rollingslots.values import Plan, PlannedSlot, StoredSlot, TemplateSpec

#: What moves with a slot: all its times but the original start.
_MOVED = Times._fields[1:]


@dataclass(slots=True)
class Chunk:
    """Some work of one transaction: templates, and what to write for them."""

    specs: dict[int, TemplateSpec] = field(default_factory=dict)
    create: list[Stretch] = field(default_factory=list)
    update: list[tuple[StoredSlot, PlannedSlot]] = field(default_factory=list)
    remove: list[tuple[int, StoredSlot]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self.create)) + len(self.update) + len(self.remove)

    def without(self, templates: set[int]) -> Chunk:
        """Return the chunk without the work of some templates."""
        return Chunk(
            {key: spec for key, spec in self.specs.items() if key not in templates},
            [stretch for stretch in self.create if stretch.spec.id not in templates],
            [pair for pair in self.update if pair[1].spec.id not in templates],
            [pair for pair in self.remove if pair[0] not in templates],
        )


@dataclass(slots=True)
class Written:
    """What a chunk changed, by template id.

    :param stale: templates that were edited, deactivated or deleted after planning.
    :param busy: templates that somebody is editing right now in a transaction that is still open.
    """

    created: Counter[int] = field(default_factory=Counter)
    updated: Counter[int] = field(default_factory=Counter)
    removed: Counter[int] = field(default_factory=Counter)
    stale: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)


class Backlog:
    """What was planned and is not written yet; handed out in chunks of a size that may change on the way."""

    def __init__(self) -> None:
        """Start empty."""
        self._create: deque[Stretch] = deque()
        self._update: deque[tuple[StoredSlot, PlannedSlot]] = deque()
        self._remove: deque[tuple[TemplateSpec, StoredSlot]] = deque()
        self._new = 0

    def __len__(self) -> int:
        return self._new + len(self._update) + len(self._remove)

    def add(self, spec: TemplateSpec, plan: Plan) -> None:
        """Take in one plan."""
        if plan.create:
            times = tuple(slot.times for slot in plan.create)
            self.add_new(spec, Expansion(times, Counter()), 0, len(times))
        self._update.extend(plan.update)
        self._remove.extend((spec, row) for row in plan.remove)

    def add_new(self, spec: TemplateSpec, expansion: Expansion, first: int, end: int) -> None:
        """Take in new slots: a part of an expansion, as half-open positions."""
        if first < end:
            self._create.append(Stretch(spec, expansion, first, end))
            self._new += end - first

    def take(self, size: int) -> Chunk:
        """Return the next chunk of at most ``size`` rows."""
        chunk, room = Chunk(), size
        while self._create and room:
            stretch = self._create.popleft()
            if len(stretch) > room:
                cut = stretch.first + room
                self._create.appendleft(replace(stretch, first=cut))
                stretch = replace(stretch, end=cut)
            chunk.create.append(stretch)
            room -= len(stretch)
            self._new -= len(stretch)
        for _ in range(min(room, len(self._update))):
            chunk.update.append(self._update.popleft())
            room -= 1
        for _ in range(min(room, len(self._remove))):
            spec, row = self._remove.popleft()
            chunk.specs[spec.id] = spec
            chunk.remove.append((spec.id, row))
        for spec in [*(stretch.spec for stretch in chunk.create), *(slot.spec for _, slot in chunk.update)]:
            chunk.specs[spec.id] = spec
        return chunk


def write_chunk(work: Work, chunk: Chunk, run_id: int | None) -> Written:
    """Write one chunk into the session's transaction.

    Templates are read again, locked: what was edited, deactivated or deleted since planning, or is being edited, is
    left out and reported, so that no row of an old rule is ever written.
    """
    written = Written()
    written.stale, written.busy = _edited(work, chunk.specs.values())
    if written.stale or written.busy:
        chunk = chunk.without(written.stale | written.busy)
    _create(work, chunk.create, run_id, written)
    _update(work, chunk.update, written)
    _remove(work, chunk.remove, written)
    return written


def _edited(work: Work, specs: Iterable[TemplateSpec]) -> tuple[set[int], set[int]]:
    """Return the templates that are no longer as planned, and those that an open transaction holds."""
    session, cls = work.session, work.models.Template
    planned = {spec.id: spec.revision for spec in specs}
    query: Any = select(cls.id, cls.revision).where(cls.id.in_(planned)).order_by(cls.id)
    current = {row.id: row.revision for row in session.execute(locked(query, work.dialect))}
    away = planned.keys() - current.keys()
    busy = set(session.scalars(select(cls.id).where(cls.id.in_(away)))) if away else set()
    return {key for key, revision in planned.items() if current.get(key) != revision} - busy, busy


def _create(work: Work, stretches: list[Stretch], run_id: int | None, written: Written) -> None:
    if not stretches:
        return
    # All writers insert in the order of the key, so that they cannot wait for each other in a circle.
    ordered = sorted(stretches, key=lambda stretch: stretch.key)
    planned: Counter[int] = Counter()
    for stretch in ordered:
        planned[stretch.spec.id] += len(stretch)
    if insert_absent(work, ordered, run_id) == planned.total():
        written.created = planned
        return
    for stretch in ordered:  # somebody was faster with some
        written.created[stretch.spec.id] += _count_new(work, stretch, run_id)


def _count_new(work: Work, stretch: Stretch, run_id: int | None) -> int:
    """Return how many slots of a stretch this run made; tell rows that were there from rows that were refused."""
    cls, wanted = work.models.Slot, {times.original_start for times in stretch.times}
    query = select(cls.original_start, cls.run_id).where(
        cls.series_id == stretch.spec.series_id,
        cls.original_start >= min(wanted),
        cls.original_start <= max(wanted),
    )
    there = [row.run_id for row in work.session.execute(query) if row.original_start in wanted]
    if len(there) < len(wanted) and may_swallow_errors(work.dialect):
        raise RowsRefused(f"the database refused {len(wanted) - len(there)} of {len(wanted)} rows")
    return there.count(run_id)


def _update(work: Work, pairs: list[tuple[StoredSlot, PlannedSlot]], written: Written) -> None:
    table = table_of(work.models.Slot)
    for row, slot in sorted(pairs, key=lambda pair: (pair[0].series_id, pair[0].original_start)):
        if row.lapsed:
            release_expired(work, [row.id])
        _, *times = slot.times
        moved = update(table).where(*_untouched(table, row)).values(dict(zip(_MOVED, times, strict=True)))
        written.updated[slot.spec.id] += work.session.execute(moved).rowcount  # type: ignore[attr-defined]


def _remove(work: Work, pairs: list[tuple[int, StoredSlot]], written: Written) -> None:
    table, bookings = table_of(work.models.Slot), table_of(work.models.Booking)
    for template_id, row in sorted(pairs, key=lambda pair: (pair[1].series_id, pair[1].original_start)):
        # A row that was booked once has a history that its bookings point to: it stays.
        history = select(bookings.c.id).where(bookings.c.slot_id == row.id).exists()
        gone = delete(table).where(*_untouched(table, row), ~history)
        written.removed[template_id] += work.session.execute(gone).rowcount  # type: ignore[attr-defined]


def _untouched(table: Table, row: StoredSlot) -> tuple[ColumnElement[bool], ...]:
    """Return, in SQL, that a row is there and neither booked nor decided about meanwhile."""
    return table.c.id == row.id, table.c.booked == 0, table.c.status == Status.SCHEDULED.value
