"""What a top-up costs when nothing is missing: every template compared with what is stored.

``python -m benchmarks.missing [TEMPLATES [HOURS A DAY]]`` measures one size, such as 100000 templates, once.
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from datetime import time, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from sqlalchemy import text

from flask_rollingslots.models import table_of

from .filling import add_templates
from .frame import Bench, DifferentWork, Row, Side, Skip, Taken, at_most, benchmark, ours_at_most
from .site import MIDNIGHT, Site

DATABASES = ("sqlite", "postgresql", "mariadb")
MANY, FEW, SLOTS = 10_000, 1_000, 168


class Ground:
    """A database in which everything is stored, and time to notice that."""

    def __init__(self, url: str, templates: int, hours: int = 24) -> None:
        """Make and fill it."""
        self.templates, self.rows = templates, templates * hours * 7
        self.site = Site(url)
        self.site.now = MIDNIGHT - timedelta(minutes=1)
        with self.site.app.app_context():
            add_templates(self.site, templates)
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
        """Show that one missing row, and one too many, are both noticed among all."""
        site = self.site
        with site.app.app_context():
            number = self.templates // 2
            self.execute(
                "UPDATE rolling_slot SET original_start = :wrong, starts_at = :start WHERE id = "
                "(SELECT id FROM (SELECT max(id) AS id FROM rolling_slot WHERE template_id = :id) AS last)",
                wrong="2026-03-05 00:07:00.000000",
                start=_text(site, MIDNIGHT + timedelta(days=3, minutes=7)),
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


def _text(site: Site, moment: Any) -> Any:
    plain = moment.replace(tzinfo=None)
    return moment if site.db.engine.dialect.name == "postgresql" else f"{plain:%Y-%m-%d %H:%M:%S.%f}"


@benchmark("missing")
def missing(bench: Bench) -> Iterator[Row]:
    """A top-up with nothing missing: 1.68 million stored slots, beside a bare count of them."""
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
        yield bench.compare(what, *sides, ours_at_most(1.0 * count / MANY))
        if kind == "sqlite":
            small = Ground(bench.database(kind), FEW)
            bench.closing(small.site.close)
            sides = (
                Side(f"a template of {count:,}", ground.look, calls=count, clock=process_time),
                Side(f"a template of {FEW:,}", small.look, calls=FEW, clock=process_time),
            )
            yield bench.compare("sqlite, ten times as many templates", *sides, at_most(1.3), check=None)
            yield memory(bench, small)


def memory(bench: Bench, ground: Ground) -> Row:
    """Compare the memory for many slots with that for few slots of as many templates."""
    few = Ground(bench.database("sqlite"), FEW, hours=3)
    bench.closing(few.site.close)

    def peak(ground: Ground) -> Taken:
        tracemalloc.start()
        found = ground.look()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return Taken(size, found)

    return bench.compare(
        f"sqlite, peak memory, {FEW:,} templates",
        Side(f"{ground.rows:,} slots", lambda: peak(ground)),
        Side(f"{few.rows:,} slots", lambda: peak(few)),
        at_most(4),
        check=None,
        unit="B",
        note=f"{ground.rows / few.rows:.0f} times as many slots",
    )


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
