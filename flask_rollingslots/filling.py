"""Writing a plan: insert what is absent, in sorted chunks, each in one short transaction.

Nothing here commits: whoever opened the session does, after each chunk.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from .booking import release_expired
from .context import Work
from .errors import RowsRefused
from .models import table_of
from .offers import Offer
from .rows import Rows
from .settings import Settings
from .statements import dialect_of, locked, may_swallow_errors
from .values import Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from .models import Models
    from .values import Plan, PlannedSlot, StoredSlot, TemplateSpec, Times


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """New slots of one template: a part of what its rule offers.

    :param first: position of the first one in ``offer.times``.
    :param end: position after the last one.
    """

    spec: TemplateSpec
    offer: Offer
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    @property
    def key(self) -> tuple[int, datetime]:
        """Where it comes in the order of all writers."""
        return self.spec.series_id, self.offer.times[self.first].original_start

    @property
    def times(self) -> tuple[Times, ...]:
        """The times of its slots."""
        return self.offer.times[self.first : self.end]


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

    created: dict[int, int] = field(default_factory=dict)
    updated: dict[int, int] = field(default_factory=dict)
    removed: dict[int, int] = field(default_factory=dict)
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
            self.add_new(spec, Offer(times, Counter()), 0, len(times))
        self._update.extend(plan.update)
        self._remove.extend((spec, row) for row in plan.remove)

    def add_new(self, spec: TemplateSpec, offer: Offer, first: int, end: int) -> None:
        """Take in new slots: a part of an offer, as half-open positions."""
        if first < end:
            self._create.append(Stretch(spec, offer, first, end))
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
    _update(session, models, chunk.update, now, written)
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
    stretches: list[Stretch],
    now: datetime,
    run_id: int | None,
    written: Written,
) -> None:
    if not stretches:
        return
    # All writers insert in the order of the key, so that they cannot wait for each other in a circle.
    ordered = sorted(stretches, key=lambda stretch: stretch.key)
    planned: Counter[int] = Counter()
    for stretch in ordered:
        planned[stretch.spec.id] += len(stretch)
    if _insert(session, models, ordered, now, run_id) == planned.total():
        written.created.update(planned)
        return
    for stretch in ordered:  # somebody was faster with some
        created = _count_new(session, models, stretch, run_id)
        written.created[stretch.spec.id] = written.created.get(stretch.spec.id, 0) + created


def _insert(
    session: Session, models: Models, stretches: list[Stretch], now: datetime, run_id: int | None
) -> int:
    """Insert what is absent; return how many rows are new."""
    connection = session.connection()
    dialect = connection.dialect
    rows: Rows = models.build_once(
        ("new rows", dialect.name, dialect.driver), lambda _: Rows(table_of(models.Slot), dialect)
    )
    return rows.insert(connection, stretches, now, run_id)


def _count_new(session: Session, models: Models, stretch: Stretch, run_id: int | None) -> int:
    """Return how many slots of a stretch this run made; tell rows that were there from rows that were refused."""
    cls, wanted = models.Slot, {times.original_start for times in stretch.times}
    query = select(cls.original_start, cls.run_id).where(
        cls.series_id == stretch.spec.series_id,
        cls.original_start >= min(wanted),
        cls.original_start <= max(wanted),
    )
    there = [row.run_id for row in session.execute(query) if row.original_start in wanted]
    if len(there) < len(wanted) and may_swallow_errors(dialect_of(session)):
        raise RowsRefused(f"the database refused {len(wanted) - len(there)} of {len(wanted)} rows")
    return there.count(run_id)


def _update(
    session: Session,
    models: Models,
    pairs: list[tuple[StoredSlot, PlannedSlot]],
    now: datetime,
    written: Written,
) -> None:
    table = table_of(models.Slot)
    for row, slot in sorted(pairs, key=lambda pair: (pair[0].series_id, pair[0].original_start)):
        if row.lapsed:
            release_expired(Work.writing(session, models, Settings(), now), [row.id])
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
