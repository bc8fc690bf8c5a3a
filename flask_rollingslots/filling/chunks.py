"""Writing a plan: insert what is absent, in sorted chunks, each in one short transaction.

Nothing here commits: whoever opened the session does, after each chunk.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Dialect, Table, bindparam, delete, select, update

from ..booking.counting import release_expired
from ..context import Work, row_of
from ..errors import RowsRefused
from ..models import table_of
from ..statements import MARIADB, leave_trace, locked
from ..values import Healing, Plan, PlannedSlot, StoredSlot, TemplateSpec, Times
from .bulk import array_text, as_text, bare_insert, insert_rows, product_insert
from .expansion import Expansion, Remembered, Stretch, Writer, moment_of, text_writer

_OF_TEMPLATE = ("series_id", "template_id", "capacity", "data")
_TIMES = Times._fields
#: What of a row's values is decided by whether it is booked.
_TIMES_OF_ROW = {"starts_at", "ends_at", "displaced"}
_OF_CHUNK = ("status", "booked", "customised", "cancel_reason", "run_id", "created_at")
_ALL = (*_OF_TEMPLATE, *_TIMES, *_OF_CHUNK)

Values = tuple[Any, ...]
#: The rest of a row says nothing of its times.
_SAMPLES = (1_790_000_000_000_000, 1_790_000_000_000_070, -1)
_UNTIMED = Times(*[datetime.min.replace(tzinfo=UTC)] * len(_TIMES))


@dataclass(slots=True)
class Chunk:
    """Some work of one transaction: templates, and what to write for them."""

    specs: dict[int, TemplateSpec] = field(default_factory=dict)
    create: list[Stretch] = field(default_factory=list)
    update: list[Healing] = field(default_factory=list)
    remove: list[tuple[int, StoredSlot]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self.create)) + len(self.update) + len(self.remove)

    def without(self, templates: set[int]) -> Chunk:
        """Return the chunk without the work of some templates."""
        return Chunk(
            {key: spec for key, spec in self.specs.items() if key not in templates},
            [stretch for stretch in self.create if stretch.spec.id not in templates],
            [each for each in self.update if each.spec.id not in templates],
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
        self._create: deque[Stretch] = deque()
        self._update: deque[Healing] = deque()
        self._remove: deque[tuple[TemplateSpec, StoredSlot]] = deque()
        self._new = 0

    def __len__(self) -> int:
        return self._new + len(self._update) + len(self._remove)

    def add(self, spec: TemplateSpec, plan: Plan) -> None:
        """Take in one plan."""
        if plan.create:
            self.add_new(spec, Expansion.of(slot.times for slot in plan.create), 0, len(plan.create))
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
        for _ in range(min(room - len(chunk.update), len(self._remove))):
            spec, row = self._remove.popleft()
            chunk.specs[spec.id] = spec
            chunk.remove.append((spec.id, row))
        for spec in [*(stretch.spec for stretch in chunk.create), *(each.spec for each in chunk.update)]:
            chunk.specs[spec.id] = spec
        return chunk


def write_chunk(work: Work, chunk: Chunk, run_id: int | None) -> Written:
    """Write one chunk into the session's transaction.

    Templates are read again, locked: what was edited, deactivated or deleted since planning, or is being edited, is
    left out and reported, so that no row of an old rule is ever written.
    """
    written = Written()
    written.stale, written.busy = _edited(work, chunk.specs.values())
    if changed := written.stale | written.busy:
        chunk = chunk.without(changed)
    leave_trace(work.session, table_of(work.models.Template), {each.spec.id for each in chunk.create})
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
    here = cls.original_start.between(min(wanted), max(wanted))
    query = select(cls.original_start, cls.run_id).where(cls.series_id == stretch.spec.series_id, here)
    there = [row.run_id for row in work.session.execute(query) if row.original_start in wanted]
    # MariaDB's INSERT IGNORE also skips rows that it refuses for another reason.
    if len(there) < len(wanted) and work.dialect in MARIADB:
        raise RowsRefused(f"the database refused {len(wanted) - len(there)} of {len(wanted)} rows")
    return there.count(run_id)


def _update(work: Work, healings: list[Healing], written: Written) -> None:
    table = table_of(work.models.Slot)
    for each in sorted(healings, key=lambda each: each.row.key):
        row, values = each.row, each.values
        if row.lapsed and "starts_at" in values:
            release_expired(work, [row.id])
            row = row._replace(booked=row.live)
        # Times go by whether it is booked; what was booked meanwhile is planned again.
        as_planned = [table.c.booked == row.booked] if not _TIMES_OF_ROW.isdisjoint(values) else []
        healed = update(table).where(*_undecided(table, row), *as_planned).values(values)
        if work.session.execute(healed).rowcount == 1:  # type: ignore[attr-defined]
            written.updated[each.spec.id] += each.shows
        else:
            written.stale.add(each.spec.id)


def _remove(work: Work, pairs: list[tuple[int, StoredSlot]], written: Written) -> None:
    table, bookings = table_of(work.models.Slot), table_of(work.models.Booking)
    for template_id, row in sorted(pairs, key=lambda pair: (pair[1].series_id, pair[1].original_start)):
        # A row that was booked once has a history that its bookings point to: it stays, and takes nobody new.
        history = select(bookings.c.id).where(bookings.c.slot_id == row.id).exists()
        gone = delete(table).where(*_undecided(table, row), table.c.booked == 0, ~history)
        removed = work.session.execute(gone).rowcount  # type: ignore[attr-defined]
        written.removed[template_id] += removed
        if not removed and not row.withdrawn:
            work.session.execute(update(table).where(*_undecided(table, row)).values(withdrawn=True))


def _undecided(table: Table, row: StoredSlot) -> tuple[ColumnElement[bool], ...]:
    """Return, in SQL, that a row is there and nobody decided about it meanwhile."""
    as_read = table.c.changed_at.is_(None) if row.changed_at is None else table.c.changed_at == row.changed_at
    return table.c.id == row.id, table.c.status == row.status, as_read


# -- new slots as bare rows: what they share with others is turned into the database's form once
#
# All slots of a template share its ids, capacity and data; all templates of a rule share the times; a chunk shares the
# rest. So a row costs joining three tuples, and the driver's bulk path does what remains.


class Rows:
    """How new rows get into one table of one kind of database.

    Bare statements know nothing of defaults that Python fills in, nor of columns wrapped in SQL: a table with such
    columns of the app's own is filled through SQLAlchemy.
    """

    def __init__(self, table: Table, dialect: Dialect, own: Sequence[str] = ()) -> None:
        """Look at the table once.

        :param own: the app's own columns that slots have from their template.
        """
        self._table = table
        self._of_template = (*_OF_TEMPLATE, *own)
        names = (*self._of_template, *_TIMES, *_OF_CHUNK)
        plain = is_plain(table, own)
        self._bare = bare_insert(table, names, dialect) if plain else None
        product = product_insert(table, self._of_template, _TIMES, _OF_CHUNK, dialect) if plain else None
        self._product = product
        self._forms = {name: _form(table, name, dialect) for name in names}
        # PostgreSQL reads the texts of whole arrays.
        self._ways = {name: self.way_of(name) if product is None else False for name in _TIMES}

    def insert(
        self, connection: Connection, stretches: Sequence[Stretch], now: datetime, run_id: int | None
    ) -> int:
        """Insert what is absent, in the given order; return how many rows are new."""
        moved = connection.get_execution_options().get("schema_translate_map")  # a tenant's own schema
        if moved or (self._product is None and self._bare is None):
            slots = [PlannedSlot(each.spec, *times) for each in stretches for times in each.times]
            return insert_rows(connection, self._table, [row_of(slot, now, run_id) for slot in slots])
        samples = [row_of(PlannedSlot(each.spec, *_UNTIMED), now, run_id) for each in stretches]
        of_chunk = self._formed(samples[0], _OF_CHUNK)
        filled = list(
            zip(stretches, (self._formed(sample, self._of_template) for sample in samples), strict=True)
        )
        options, writers = {"preserve_rowcount": True}, Remembered(self._writer)
        if self._product is not None:
            parameters = self._arrays(filled, of_chunk, writers)
            return connection.execute(self._product, parameters, execution_options=options).rowcount
        rows: list[Values] = []
        for each, of_template in filled:
            times = self._times(each, writers)
            # Not strict: what all rows share is repeated for ever.
            rows.extend(zip(*map(repeat, of_template), *times, *map(repeat, of_chunk)))  # noqa: B905
        return connection.exec_driver_sql(str(self._bare), rows, execution_options=options).rowcount

    def way_of(self, name: str) -> bool | str:
        """Return how a column of times is stored: as text, with six decimals or as few as needed; or in its own way."""
        for is_long in (True, False):
            if text_writer(is_long)(_SAMPLES) == [self._stored(name, micros) for micros in _SAMPLES]:
                return is_long
        return name

    def _stored(self, name: str, micros: int) -> Any:
        """Return a moment as the driver takes it, by way of the column's type."""
        moment = moment_of(micros)
        return self._forms[name](moment.replace(tzinfo=None) if name == "original_start" else moment)

    def _writer(self, way: bool | str) -> Writer:
        if isinstance(way, bool):
            return text_writer(way)
        stored = Remembered(partial(self._stored, way))
        return lambda column: [stored[each] for each in column]

    def _formed(self, row: dict[str, Any], names: tuple[str, ...]) -> Values:
        return tuple(self._forms[name](row[name]) for name in names)

    def _times(self, stretch: Stretch, writers: Remembered) -> list[list[Any]]:
        """Return the times of some new slots as the driver takes them, column by column."""
        forms, part = stretch.expansion.forms, slice(stretch.first, stretch.end)
        key = ("stored", part.start, part.stop)
        found: list[list[Any]] | None = forms.get(key)
        if found is None:
            columns: Iterable[tuple[str, list[Any]]] = zip(_TIMES, stretch.expansion.columns, strict=True)
            found = forms[key] = [writers[self._ways[name]](column[part]) for name, column in columns]
        return found

    def _arrays(
        self, filled: list[tuple[Stretch, Values]], of_chunk: Values, writers: Remembered
    ) -> dict[str, Any]:
        rules: dict[tuple[int, int, int], int] = {}
        templates: list[Values] = []
        times: list[list[str | None]] = [[] for _ in (*_TIMES, "rule")]
        for each, of_template in filled:
            part = (id(each.expansion), each.first, each.end)
            if part not in rules:
                rules[part] = len(rules)
                for column, more in zip(times, self._times(each, writers), strict=False):
                    column += more
                times[-1] += [str(rules[part])] * len(each)
            templates.append((*of_template, rules[part]))
        names = (*self._of_template, "rule")
        parameters: dict[str, Any] = {
            f"template_{name}": list(column)
            for name, column in zip(names, zip(*templates, strict=True), strict=True)
        }
        parameters |= {
            f"time_{name}": array_text(column) for name, column in zip((*_TIMES, "rule"), times, strict=True)
        }
        return parameters | {
            f"constant_{name}": value for name, value in zip(_OF_CHUNK, of_chunk, strict=True)
        }


def insert_absent(work: Work, stretches: Sequence[Stretch], run_id: int | None) -> int:
    """Insert what is absent, in the given order; return how many rows are new."""
    connection = work.session.connection()
    dialect = connection.dialect
    kind = ("new rows", dialect.name, dialect.driver)
    rows: Rows = work.models.build_once(
        kind, lambda models: Rows(table_of(models.Slot), dialect, models.own.shared)
    )
    return rows.insert(connection, stretches, work.now, run_id)


def is_plain(table: Table, own: Sequence[str] = ()) -> bool:
    """Whether a bare statement fills a table as SQLAlchemy would.

    :param own: the app's own columns that slots have from their template.
    """
    names = {*_ALL, *own}
    for column in table.columns:
        if column.name not in names and column.default is not None and not column.primary_key:
            return False
        if column.name in names and column.type.bind_expression(bindparam(column.name)) is not None:
            return False
        if column.name in own and isinstance(column.type, ARRAY):  # arrays of arrays are something else
            return False
    return all(name in table.c and table.c[name].name == name for name in names)


def _form(table: Table, name: str, dialect: Dialect) -> Callable[[Any], Any]:
    """Return what turns a value of a column into what the driver takes."""
    process = table.c[name].type.dialect_impl(dialect).bind_processor(dialect) if name in table.c else None
    return lambda value: as_text(process(value) if process is not None else value, dialect)
