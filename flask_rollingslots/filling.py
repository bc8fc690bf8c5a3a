"""Writing a plan: insert what is absent, in sorted chunks, each in one short transaction.

Nothing here commits: whoever opened the session does, after each chunk.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, update

from .errors import RowsRefused
from .models import row_of, table_of
from .statements import dialect_of, insert_if_absent, locked, may_swallow_errors, tells_what_it_inserted
from .values import Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from .models import Models
    from .values import Plan, PlannedSlot, StoredSlot, TemplateSpec


@dataclass(slots=True)
class Chunk:
    """Some work of one transaction: templates, and what to write for them."""

    specs: dict[int, TemplateSpec] = field(default_factory=dict)
    create: list[PlannedSlot] = field(default_factory=list)
    update: list[tuple[StoredSlot, PlannedSlot]] = field(default_factory=list)
    remove: list[tuple[int, StoredSlot]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.create) + len(self.update) + len(self.remove)

    def without(self, templates: set[int]) -> Chunk:
        """Return the chunk without the work of some templates."""
        return Chunk(
            {key: spec for key, spec in self.specs.items() if key not in templates},
            [slot for slot in self.create if slot.spec.id not in templates],
            [pair for pair in self.update if pair[1].spec.id not in templates],
            [pair for pair in self.remove if pair[0] not in templates],
        )


@dataclass(slots=True)
class Written:
    """What a chunk changed, by template id.

    :param stale: templates that were edited, deactivated or deleted after planning.
    :param busy: templates that somebody is editing right now in a transaction that is still open.
    """

    created: dict[int, int] = field(default_factory=dict)
    updated: dict[int, int] = field(default_factory=dict)
    removed: dict[int, int] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)


class Backlog:
    """What was planned and is not written yet; handed out in chunks of a size that may change on the way."""

    def __init__(self) -> None:
        """Start empty."""
        self._create: deque[PlannedSlot] = deque()
        self._update: deque[tuple[StoredSlot, PlannedSlot]] = deque()
        self._remove: deque[tuple[TemplateSpec, StoredSlot]] = deque()

    def __len__(self) -> int:
        return len(self._create) + len(self._update) + len(self._remove)

    def add(self, spec: TemplateSpec, plan: Plan) -> None:
        """Take in one plan."""
        self._create.extend(plan.create)
        self._update.extend(plan.update)
        self._remove.extend((spec, row) for row in plan.remove)

    def take(self, size: int) -> Chunk:
        """Return the next chunk of at most ``size`` rows."""
        chunk = Chunk()
        while self._create and len(chunk) < size:
            chunk.create.append(self._create.popleft())
        while self._update and len(chunk) < size:
            chunk.update.append(self._update.popleft())
        while self._remove and len(chunk) < size:
            spec, row = self._remove.popleft()
            chunk.specs[spec.id] = spec
            chunk.remove.append((spec.id, row))
        for slot in [*chunk.create, *(slot for _, slot in chunk.update)]:
            chunk.specs[slot.spec.id] = slot.spec
        return chunk


def write_chunk(session: Session, models: Models, chunk: Chunk, now: datetime, run_id: int | None) -> Written:
    """Write one chunk into the session's transaction.

    Templates are read again, locked: what was edited, deactivated or deleted since planning, or is being edited, is
    left out and reported, so that no row of an old rule is ever written.

    :param now: aware.
    """
    written = Written()
    written.stale, written.busy = _edited(session, models, chunk.specs.values())
    if written.stale or written.busy:
        chunk = chunk.without(written.stale | written.busy)
    _create(session, models, chunk.create, now, run_id, written)
    _update(session, models, chunk.update, written)
    _remove(session, models, chunk.remove, written)
    return written


def _edited(session: Session, models: Models, specs: Iterable[TemplateSpec]) -> tuple[set[int], set[int]]:
    """Return the templates that are no longer as planned, and those that an open transaction holds."""
    cls = models.Template
    planned = {spec.id: spec.revision for spec in specs}
    query: Any = select(cls.id, cls.revision).where(cls.id.in_(planned)).order_by(cls.id)
    current = {row.id: row.revision for row in session.execute(locked(query, dialect_of(session)))}
    away = planned.keys() - current.keys()
    busy = set(session.scalars(select(cls.id).where(cls.id.in_(away)))) if away else set()
    return {key for key, revision in planned.items() if current.get(key) != revision} - busy, busy


def _create(
    session: Session,
    models: Models,
    slots: list[PlannedSlot],
    now: datetime,
    run_id: int | None,
    written: Written,
) -> None:
    dialect = dialect_of(session)
    # All writers insert in the order of the key, so that they cannot wait for each other in a circle.
    ordered = sorted(slots, key=lambda slot: (slot.spec.series_id, slot.original_start))
    statement = insert_if_absent(table_of(models.Slot), dialect)
    if tells_what_it_inserted(dialect):
        rows = [row_of(slot, now, run_id) for slot in ordered]
        if rows:
            new = session.scalars(statement.returning(table_of(models.Slot).c.template_id), rows)
            written.created.update(Counter(new))
        return
    for template_id, group in _by_template(ordered).items():
        result = session.execute(statement, [row_of(slot, now, run_id) for slot in group])
        created = max(0, result.rowcount)  # type: ignore[attr-defined]
        if created < len(group) and may_swallow_errors(dialect):
            _check_all_there(session, models, group)
        written.created[template_id] = created


def _by_template(slots: list[PlannedSlot]) -> dict[int, list[PlannedSlot]]:
    groups: dict[int, list[PlannedSlot]] = {}
    for slot in slots:
        groups.setdefault(slot.spec.id, []).append(slot)
    return groups


def _check_all_there(session: Session, models: Models, slots: list[PlannedSlot]) -> None:
    """Tell rows that were there already from rows that the database refused."""
    cls, starts = models.Slot, [slot.original_start for slot in slots]
    query = select(func.count()).where(
        cls.series_id == slots[0].spec.series_id, cls.original_start.in_(starts)
    )
    there = session.scalar(query) or 0
    if there < len(slots):
        raise RowsRefused(f"the database refused {len(slots) - there} of {len(slots)} rows")


def _update(
    session: Session, models: Models, pairs: list[tuple[StoredSlot, PlannedSlot]], written: Written
) -> None:
    table = table_of(models.Slot)
    for row, slot in sorted(pairs, key=lambda pair: (pair[0].series_id, pair[0].original_start)):
        statement = (
            update(table)
            .where(table.c.id == row.id, table.c.booked == 0, table.c.status == Status.SCHEDULED.value)
            .values(
                starts_at=slot.starts_at,
                ends_at=slot.ends_at,
                opens_at=slot.opens_at,
                closes_at=slot.closes_at,
            )
        )
        count = session.execute(statement).rowcount  # type: ignore[attr-defined]
        written.updated[slot.spec.id] = written.updated.get(slot.spec.id, 0) + count


def _remove(session: Session, models: Models, pairs: list[tuple[int, StoredSlot]], written: Written) -> None:
    table, bookings = table_of(models.Slot), table_of(models.Booking)
    for template_id, row in sorted(pairs, key=lambda pair: (pair[1].series_id, pair[1].original_start)):
        # A row that was booked once has a history that its bookings point to: it stays.
        history = select(bookings.c.id).where(bookings.c.slot_id == row.id).exists()
        untouched = (
            table.c.id == row.id,
            table.c.booked == 0,
            table.c.status == Status.SCHEDULED.value,
        )
        count = session.execute(delete(table).where(*untouched, ~history)).rowcount  # type: ignore[attr-defined]
        written.removed[template_id] = written.removed.get(template_id, 0) + count
