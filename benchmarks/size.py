"""What the package weighs: its import and a first request, time and memory; the memory of a fill of a million slots."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .frame import Bench, Bound, DifferentWork, Row, Side, Taken, at_most, benchmark

#: What an app of this kind has anyway, and the same with us.
APP = """
import json, sys, time
began = time.process_time()
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
import sqlalchemy.dialects.sqlite.pysqlite
app = Flask("size")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///" + sys.argv[1]
db = SQLAlchemy(app)
app.add_url_rule("/", "plain", lambda: "plain")
{ours}
with app.app_context():
    db.engine
ready = time.process_time() - began
app.test_client().get("/")
answered = time.process_time() - began
from benchmarks.size import memory
print(json.dumps([ready, answered, memory()]))
"""
OURS = "from flask_rollingslots import RollingSlots; RollingSlots(app, db=db)"
#: Fills so many days of 40 halls with a slot each quarter of an hour, in a process of its own.
FILL = """
import json, sys
from benchmarks.size import memory
from datetime import timedelta
from benchmarks.filling import ALWAYS
from benchmarks.site import MIDNIGHT, Site
site = Site(sys.argv[1])
site.now = MIDNIGHT
quarter = timedelta(minutes=15)
with site.app.app_context():
    site.add(40, **ALWAYS, every=quarter, duration=quarter)
    first = site.slots.generate(days=1).created
    before = memory()
    created = site.slots.generate(days=int(sys.argv[2])).created
    after = memory()
print(json.dumps([after - before, created]))
"""
MANY_DAYS, FEW_DAYS = 262, 27  # a million slots, a hundred thousand


def memory() -> int:
    """Return the most memory that this process ever held (Linux), in bytes; of what it was before exec, nothing."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def child(program: str, *arguments: str) -> Any:
    """Run a program in a process of its own; return what it prints, as JSON."""
    done = subprocess.run(  # noqa: S603 (our own)
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DifferentWork(done.stderr[-500:])
    return json.loads(done.stdout)


@benchmark("size")
def size(bench: Bench) -> Iterator[Row]:
    """Import time and memory over Flask and SQLAlchemy; peak memory of a fill of a million slots."""
    file = str(bench.folder / "size.db")
    figures: tuple[tuple[str, str, Bound | None], ...] = (
        ("import and set up, processor time", "s", at_most(1.4)),
        ("the same and a first request, processor time", "s", at_most(1.4)),
        ("memory then", "B", None),
    )
    for place, (what, unit, bound) in enumerate(figures):

        def run(ours: str, place: int = place) -> Taken:
            return Taken(child(APP.format(ours=ours), file)[place])

        yield bench.compare(
            what,
            Side("with Flask-RollingSlots", lambda run=run: run(OURS)),  # type: ignore[misc]
            Side("Flask and SQLAlchemy", lambda run=run: run("")),  # type: ignore[misc]
            bound,
            check=None,
            unit=unit,
        )
    yield peak(bench)


def peak(bench: Bench) -> Row:
    """Compare the memory that a large fill takes with that of a tenth of it; once, for it hardly varies."""
    (many, slots), (few, fewer) = (
        child(FILL, bench.database("sqlite"), str(days)) for days in (MANY_DAYS, FEW_DAYS)
    )
    # Below a few MiB the figure is the allocator's.
    many, few = max(many, 4 << 20), max(few, 4 << 20)
    ratio = many / few
    return Row(
        bench.name, "memory that a fill adds at most", f"{slots:,} slots", f"{fewer:,} slots", "B",
        many, few, ratio, ratio, ratio, many - few, 1, at_most(3),
    )  # fmt: skip
