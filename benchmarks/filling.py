"""How fast a top-up with everything missing is, from the rules to the committed rows.

The bare side is the driver's own bulk path, with the same rows ready as tuples, in one transaction:
``executemany`` on SQLite, COPY on PostgreSQL, multi-row INSERT (the driver's ``executemany``) on MariaDB. Ours reads
the templates, expands the rules, looks for what is stored, writes in chunks under the lease, and records the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, insert, select, text, true, type_coerce
from sqlalchemy.types import NullType

from flask_rollingslots.models import table_of

from .frame import Bench, DifferentWork, Row, Side, Skip, at_least, benchmark
from .site import MIDNIGHT, WEEK, Site

DATABASES = ("sqlite", "postgresql", "mariadb")
TEMPLATES, SLOTS = 150, 168
OWN_TIMES = 60
#: A slot each hour, day and night: 168 a week.
ALWAYS: dict[str, Any] = {
    "dtstart": datetime(2025, 3, 3),  # noqa: DTZ001 (wall clock)
    "timezone": "UTC",
    "until_time": time(0),
    "opens_days_before": None,
}
SAMPLE = 4
BULK = {"sqlite": "executemany", "postgresql": "COPY", "mariadb": "multi-row INSERT"}
#: What differs from fill to fill.
OWN = ("id", "run_id", "created_at")


def add_templates(site: Site, count: int, *, each_its_own: bool = False) -> None:
    """Add templates in one statement. Inside an app context.

    :param each_its_own: no two share the times of their slots: each begins at another minute of the hour, and from
        the 60th on they have other lengths.
    """
    session, table = site.db.session, table_of(site.slots.Template)
    site.add(1, **ALWAYS)
    first = dict(session.execute(table.select()).mappings().one())
    rows = []
    for number in range(2, count + 1):
        # Later templates began on later days, and the same hours of the day come out.
        began = first["dtstart"] + timedelta(days=number % 300)
        row = {**first, "id": number, "series_id": number, "name": f"Hall {number}", "dtstart": began}
        if each_its_own:
            length = first["duration"] - timedelta(minutes=number // 60)
            row |= {"rrule": "FREQ=HOURLY", "every": None, "until_time": None, "duration": length}
            row["dtstart"] = began + timedelta(minutes=number % 60)
        rows.append(row)
    session.execute(insert(table), rows)
    session.commit()


class Ground:
    """A database with templates, and both ways to fill it."""

    def __init__(self, bench: Bench, kind: str, count: int = TEMPLATES, **options: Any) -> None:
        """Make it, fill it once, and keep the rows for the bare side."""
        self.kind, self.rows = kind, list[tuple[Any, ...]]()
        self.site = Site(bench.database(kind))
        self.site.now = MIDNIGHT - timedelta(minutes=1)  # no slot of the window has started
        bench.closing(self.site.close)
        with self.site.app.app_context():
            add_templates(self.site, count, **options)
            self.empty()
            self.ours()
            self._remember()

    def _remember(self, condition: ColumnElement[bool] | None = None) -> None:
        """Keep the rows that are stored, as the driver takes them."""
        engine, table = self.site.db.engine, table_of(self.site.slots.Slot)
        columns = [column for column in table.columns if column.name != "id"]
        wanted = select(*(type_coerce(column, NullType()) for column in columns)).where(
            true() if condition is None else condition
        )
        with engine.connect() as connection:
            self.rows = [tuple(row) for row in connection.execute(wanted)]
        if engine.dialect.name == "postgresql":  # the driver read JSON as objects
            self.rows = [tuple(_plain(value) for value in row) for row in self.rows]
        self._names = ", ".join(column.name for column in columns)
        mark = "?" if self.kind == "sqlite" else "%s"
        self._insert = f"INSERT INTO {table.name} ({self._names}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608

    def empty(self) -> None:
        """Take all slots away, and what is known of them."""
        with self.site.app.app_context():
            for table in ("slot", "run", "lease"):
                self.site.db.session.execute(text(f"DELETE FROM rolling_{table}"))  # noqa: S608
            self.site.db.session.commit()

    def ours(self) -> int:
        """Fill; return how many rows are new."""
        with self.site.app.app_context():
            return int(self.site.slots.generate(start=MIDNIGHT, end=MIDNIGHT + WEEK).created)

    def bare(self) -> int:
        """Hand the rows to the driver; return how many there were."""
        with self.site.app.app_context():
            connection = self.site.db.engine.raw_connection()
        try:
            cursor = connection.cursor()
            if self.kind == "postgresql":
                with cursor.copy(f"COPY rolling_slot ({self._names}) FROM STDIN") as copy:
                    for row in self.rows:
                        copy.write_row(row)
            else:
                cursor.executemany(self._insert, self.rows)
            connection.commit()
        finally:
            connection.close()
        return len(self.rows)

    def contents(self) -> list[tuple[Any, ...]]:
        """Return what is stored, without what differs from fill to fill."""
        table = table_of(self.site.slots.Slot)
        columns = [column for column in table.columns if column.name not in OWN]
        with self.site.app.app_context():
            rows = self.site.db.session.execute(
                select(*columns).order_by(table.c.series_id, table.c.original_start)
            )
            return [tuple(row) for row in rows]


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def check_same(ground: Ground) -> None:
    """Show once that both ways store the same."""
    found = []
    for way in (ground.ours, ground.bare):
        ground.empty()
        way()
        found.append(ground.contents())
    if found[0] != found[1] or not found[0]:
        raise DifferentWork(f"{ground.kind}: the rows differ")


@benchmark("filling")
def filling(bench: Bench) -> Iterator[Row]:
    """A top-up with everything missing against the driver's bulk path, get-or-create and add_all."""
    for kind in DATABASES:
        try:
            ground = Ground(bench, kind)
        except Skip as reason:
            bench.skip(kind, reason)
            continue
        yield bulk(bench, ground, f"{kind}, {len(ground.rows):,} slots", at_least(0.5))
        if kind == "sqlite":
            yield from documents(bench, ground)
        alone = Ground(bench, kind, count=OWN_TIMES, each_its_own=True)
        yield bulk(bench, alone, f"{kind}, each template its own times", at_least(0.5))


def bulk(bench: Bench, ground: Ground, what: str, bound: Any) -> Row:
    """Compare a fill with the driver's bulk path."""
    check_same(ground)
    calls = len(ground.rows)
    ours = Side("top-up, a slot", ground.ours, ground.empty, calls)
    return bench.compare(
        what, ours, Side(f"{BULK[ground.kind]}, a row", ground.bare, ground.empty, calls), bound
    )


def documents(bench: Bench, ground: Ground) -> Iterator[Row]:
    """Compare with what is usually written: a look for each slot, or one instance for each."""
    ours = Side("top-up, a slot", lambda: ground.ours() and "filled", ground.empty, calls=len(ground.rows))
    for what, way, bound in (
        ("get or create", partial(get_or_create, ground), at_least(50)),
        ("get or create, a commit each", partial(get_or_create, ground, each=True), at_least(50)),
        ("add_all", partial(add_all, ground), None),
    ):
        other = Side(f"{what}, a slot", way, ground.empty, calls=SAMPLE * SLOTS)
        yield bench.compare(f"sqlite, against {what}", ours, other, bound)


def instances(ground: Ground) -> Iterator[Any]:
    """Yield the slots of a few templates as an app would make them."""
    site = ground.site
    cls: Any = site.slots.Slot
    start = MIDNIGHT
    for template in site.db.session.scalars(select(site.slots.Template).limit(SAMPLE)).all():
        for hour in range(SLOTS):
            at = start + timedelta(hours=hour)
            yield cls(
                series_id=template.id,
                template_id=template.id,
                original_start=at.replace(tzinfo=None),
                starts_at=at,
                ends_at=at + timedelta(hours=1),
                closes_at=at,
                capacity=template.capacity,
                data=dict(template.data),
            )


def get_or_create(ground: Ground, *, each: bool = False) -> str:
    """Look for each slot, and add it if it is not there.

    :param each: commit each, as the documents do, whose framework commits by itself; otherwise one commit at the end.
    """
    with ground.site.app.app_context():
        session, cls = ground.site.db.session, ground.site.slots.Slot
        for slot in list(instances(ground)):
            there = select(cls).where(
                cls.series_id == slot.series_id, cls.original_start == slot.original_start
            )
            if session.scalars(there).first() is None:
                session.add(slot)
                if each:
                    session.commit()
        session.commit()
    return "filled"


def add_all(ground: Ground) -> str:
    """Add all instances at once; one commit."""
    with ground.site.app.app_context():
        ground.site.db.session.add_all(list(instances(ground)))
        ground.site.db.session.commit()
    return "filled"
