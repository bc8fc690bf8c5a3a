"""What a top-up costs when nothing is missing: every template compared with what is stored.

The bare side is one count of the rows of each template. It grows with the rows alone, so it is the other side where
there are many; a hundred templates are compared with reading their rows, which nothing should do.

``python -m benchmarks.missing [TEMPLATES [HOURS A DAY]]`` measures one size, such as 100000 templates, once.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from datetime import time, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from sqlalchemy import inspect, select, text

from flask_rollingslots.models import table_of

from .calendars import peak
from .filling import add_templates
from .frame import Bench, DifferentWork, Row, Side, Skip, at_most, benchmark, ours_at_most
from .site import MIDNIGHT, Site

DATABASES = ("sqlite", "postgresql", "mariadb")
MANY, FEW = 10_000, 1_000
#: Templates of which no two share their times.
OWN = 100
#: Templates of one slot a day: a million of them, nothing missing, in 20 s and 300 MB.
DAILY, MORE_DAILY = 11_000, 22_000
COUNTED = at_most(3)
#: Where no slot of any template is (UTC).
ELSEWHERE = MIDNIGHT + timedelta(days=3, minutes=7, seconds=30)


class Ground:
    """A database in which everything is stored, and time to notice that."""

    def __init__(self, url: str, templates: int, hours: int = 24, *, each_its_own: bool = False) -> None:
        """Make and fill it.

        :param each_its_own: no two templates share the times of their slots.
        """
        self.templates, self.rows = templates, templates * hours * 7
        self.site = Site(url)
        self.site.now = MIDNIGHT - timedelta(minutes=1)
        with self.site.app.app_context():
            add_templates(self.site, templates, each_its_own=each_its_own)
            if hours < 24:
                self.site.db.session.execute(
                    table_of(self.site.slots.Template).update().values(until_time=time(hours))
                )
                self.site.db.session.commit()
            created = self.site.slots.generate(days=8).created
            self.execute(
                "DELETE FROM rolling_slot WHERE starts_at < :start", start=_text(self.site, MIDNIGHT)
            )
            if self.site.db.engine.dialect.name == "postgresql":
                with self.site.db.engine.connect() as c:
                    c.execution_options(isolation_level="AUTOCOMMIT").execute(
                        text("VACUUM ANALYZE rolling_slot")
                    )
        self.site.now = MIDNIGHT
        if not created >= self.rows == self.look():
            raise DifferentWork(f"{created} rows made, {self.rows} expected")

    def execute(self, statement: str, **values: Any) -> int:
        """Run a statement and commit; return how many rows it changed."""
        session = self.site.db.session
        count = session.execute(text(statement), values).rowcount
        session.commit()
        return int(count)

    def look(self) -> int:
        """Top up with nothing missing; return how many slots are there."""
        with self.site.app.app_context():
            report = self.site.slots.generate()
        if (report.created, report.updated, report.removed) != (0, 0, 0):
            raise DifferentWork(f"something was missing: {report}")
        return int(report.existing)

    def check_exact(self) -> None:
        """Show that one missing row, and one too many, are both noticed among all: where one is, none belongs."""
        site = self.site
        with site.app.app_context():
            number = self.templates // 2
            self.execute(
                "UPDATE rolling_slot SET original_start = :wrong, starts_at = :at WHERE id = "
                "(SELECT id FROM (SELECT max(id) AS id FROM rolling_slot WHERE template_id = :id) AS last)",
                wrong=f"{ELSEWHERE:%Y-%m-%d %H:%M:%S}.000000",
                at=_text(site, ELSEWHERE),
                id=number,
            )
            report = site.slots.generate()
        found = (report.created, report.removed, report.templates[number].created)
        if found != (1, 1, 1):
            raise DifferentWork(f"one missing and one too many: (created, removed) {found}")

    def bare(self) -> int:
        """Count the rows of each template with one bare query."""
        with self.site.app.app_context():
            rows = self.site.db.session.execute(
                text("SELECT template_id, count(*), min(starts_at) FROM rolling_slot GROUP BY template_id")
            )
            return sum(row[1] for row in rows)

    def read(self) -> int:
        """Read what a comparison needs of every row with one bare query."""
        slot = self.site.slots.Slot
        with self.site.app.app_context():
            told = (
                slot.series_id,
                slot.template_id,
                slot.original_start,
                slot.starts_at,
                slot.ends_at,
                slot.status,
            )
            return len(self.site.db.session.execute(select(*told)).all())

    def read_templates(self) -> int:
        """Read the templates as plain rows, and count their slots, with two bare queries."""
        with self.site.app.app_context():
            found = self.site.db.session.execute(select(*inspect(self.site.slots.Template).columns))
            if len(found.all()) != self.templates:
                raise DifferentWork("other templates")
        return self.bare()


def _text(site: Site, moment: Any) -> Any:
    plain = moment.replace(tzinfo=None)
    return moment if site.db.engine.dialect.name == "postgresql" else f"{plain:%Y-%m-%d %H:%M:%S.%f}"


@benchmark("missing")
def missing(bench: Bench) -> Iterator[Row]:
    """A top-up with nothing missing: 1.68 million stored slots, beside a bare count of them; own times; memory."""
    for kind in DATABASES:
        count = MANY if kind == "sqlite" else MANY // 5
        try:
            ground = Ground(bench.database(kind), count)
        except Skip as reason:
            bench.skip(kind, reason)
            continue
        bench.closing(ground.site.close)
        ground.check_exact()
        what = f"{kind}, {ground.rows / 1e6:.2g} million slots of {count:,} templates"
        # SQLite works in this process: what other programs do meanwhile is not in its processor time.
        clock = process_time if kind == "sqlite" else perf_counter
        sides = Side("top-up", ground.look, clock=clock), Side("bare count", ground.bare, clock=clock)
        yield bench.compare(what, *sides, COUNTED)
        if kind == "sqlite":
            small = Ground(bench.database(kind), FEW)
            bench.closing(small.site.close)
            sides = (
                Side(f"a template of {count:,}", ground.look, calls=count, clock=process_time),
                Side(f"a template of {FEW:,}", small.look, calls=FEW, clock=process_time),
            )
            yield bench.compare("sqlite, ten times as many templates", *sides, at_most(1.3), check=None)
        yield from own_times(bench, kind)
    yield from daily(bench)


def own_times(bench: Bench, kind: str) -> Iterator[Row]:
    """Compare templates of which each has its own times with reading their rows."""
    ground = Ground(bench.database(kind), OWN, each_its_own=True)
    bench.closing(ground.site.close)
    ground.check_exact()
    ground.look()
    what = f"{kind}, {ground.rows:,} slots of {OWN} templates, each its own times"
    clock = process_time if kind == "sqlite" else perf_counter
    other = Side("bare query, plain rows", ground.read, clock=clock)
    yield bench.compare(what, Side("top-up", ground.look, clock=clock), other, at_most(0.25))
    other = Side("bare count", ground.bare, clock=clock)
    yield bench.compare(what, Side("top-up", ground.look, clock=clock), other)


def daily(bench: Bench) -> Iterator[Row]:
    """Compare what a template of one slot a day takes with reading it and counting its rows; and its memory."""
    grounds = []
    for count in (DAILY, MORE_DAILY):
        ground = Ground(bench.database("sqlite"), count, hours=1)
        bench.closing(ground.site.close)
        ground.look()
        grounds.append(ground)
    few = grounds[0]
    yield bench.compare(
        f"sqlite, {DAILY:,} templates of one slot a day, each",
        Side("top-up", few.look, calls=DAILY, clock=process_time),
        Side("bare queries of templates, count", few.read_templates, calls=DAILY, clock=process_time),
        at_most(1),
    )
    peaks = [peak(ground.look) for ground in grounds]
    more = (peaks[1] - peaks[0]) / (MORE_DAILY - DAILY)
    what = "sqlite, memory that each template more takes"
    yield Row(
        bench.name, what, f"{MORE_DAILY:,} templates", f"peak of {DAILY:,} templates", "B",
        max(more, 0.0), peaks[0], more / peaks[0], more / peaks[0], more / peaks[0], more, 1, ours_at_most(250),
    )  # fmt: skip


def main(templates: int = MANY, hours: int = 24) -> None:
    """Measure one size once."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        start = perf_counter()
        ground = Ground(f"sqlite:///{Path(folder) / 'bench.db'}", templates, hours)
        filled = perf_counter() - start
        start, cpu = perf_counter(), process_time()
        ground.look()
        seconds, cpu = perf_counter() - start, process_time() - cpu
        each = seconds / ground.rows * 1e6
        sys.stdout.write(
            f"{templates:,} templates, {ground.rows:,} slots: filled in {filled:.1f} s, nothing missing in "
            f"{seconds:.2f} s ({cpu:.2f} s of processor time), {each:.2f} s a million slots\n"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
