"""``python -m benchmarks.scaling [--sizes 1000x24 …] [--workers 1 2] [--json FILE]``: how cost grows with templates.

Each size is measured in a process of its own on a new database of a private PostgreSQL. Templates are rows made by one
``INSERT … SELECT``, for a million cannot be waited for. With ``--workers`` the largest sizes are filled by so many
Celery workers too, on a private Valkey: with ``1 2`` first by one, then anew by two.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = [ROOT / "tests", ROOT / "tests" / "queue"]
#: Templates x slots a day; with 0 nothing is filled, and only the rest is measured.
SIZES = ("1000x24", "10000x24", "10000x1", "100000x1", "1000000x1")
#: So many templates are worth more than one worker.
MANY = 100_000
#: Seconds until workers must have filled everything.
PATIENCE = 3_000


def main() -> int:
    """Measure each size in a child, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="TEMPLATESxSLOTS")
    parser.add_argument(
        "--workers",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="also fill with so many Celery workers",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        templates, a_day = map(int, options.one.split("x"))
        show(json.dumps(measure(templates, a_day, options.workers)))
        return 0
    found = []
    for size in options.sizes:
        command = (
            sys.executable,
            "-m",
            "benchmarks.scaling",
            "--one",
            size,
            *(["--workers", *map(str, options.workers)] if options.workers else []),
        )
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            show(f"{size}: {done.stderr.strip()[-1000:]}")
            return 1
        found.append(json.loads(done.stdout.splitlines()[-1]))
        show(json.dumps(found[-1]))
    show(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(templates: int, a_day: int, workers: list[int]) -> dict[str, Any]:
    """Fill a new database of one size, and look at it."""
    sys.path[:0] = [str(ROOT), *map(str, TESTS)]
    from servers import Postgres  # type: ignore[import-not-found, unused-ignore]

    with ExitStack() as stack:
        server = Postgres()
        stack.callback(server.stop)
        url = stack.enter_context(server.database())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scaling-")))
        figures = {"templates": templates, "slots_a_day": a_day, "slots": templates * a_day * 7}
        figures |= alone(url, templates, a_day, lambda: cpu_of(server.process.pid) if server.process else 0.0)
        for number in workers if a_day and templates >= MANY else ():
            figures |= shared(url, folder, number, templates * a_day * 7)
        return figures


def alone(url: str, templates: int, a_day: int, server: Callable[[], float]) -> dict[str, Any]:
    """Measure one process.

    :param server: returns the CPU seconds that the database has used: they tell more than the clock on a busy machine.
    """
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy

    from flask_rollingslots import RollingSlots

    app = Flask("scaling")
    app.config.update(SQLALCHEMY_DATABASE_URI=url, ROLLINGSLOTS_ENABLED=False)
    app.config["ROLLINGSLOTS_EXECUTOR"] = "queue_site:HandQueue"
    db = SQLAlchemy(app)
    slots = RollingSlots(app)
    found: dict[str, Any] = {}
    with app.app_context():
        db.create_all()
        found["insert_templates_s"] = timed(lambda: add(db, slots, templates, a_day))
        if a_day:
            found |= filled(db, slots, templates, a_day, server)
        found |= cut(app.extensions["rollingslots"].topup)
        db.session.remove()
        db.engine.dispose()
    return found


def filled(db: Any, slots: Any, templates: int, a_day: int, server: Callable[[], float]) -> dict[str, Any]:
    """Measure a first fill, a look with nothing missing, one more day, and reading."""
    found: dict[str, Any] = {}
    before, cpu = peak_mb(), (process_time(), server())
    report, found["first_fill_s"] = kept(slots.generate)
    check(report.created, templates * a_day * 7)
    found["fill_cpu_app_s"] = round(process_time() - cpu[0], 2)
    found["fill_cpu_database_s"] = round(server() - cpu[1], 2)
    found["fill_peak_mb"], found["peak_before_mb"] = peak_mb(), before
    cpu = (process_time(), server())
    report, found["nothing_missing_s"] = kept(slots.generate)
    check((report.created, report.existing), (0, templates * a_day * 7))
    found["nothing_cpu_app_s"] = round(process_time() - cpu[0], 2)
    found["nothing_cpu_database_s"] = round(server() - cpu[1], 2)
    report, found["one_more_day_s"] = kept(lambda: slots.generate(days=9))
    check(report.created, templates * a_day)
    now, reads = datetime.now(UTC), []
    for number in range(30):
        db.session.remove()
        middle = templates // 2 + number
        reads.append(timed(partial(slots.between, now, now + timedelta(days=7), template=middle)))
    found["between_ms"] = round(statistics.median(reads) * 1000, 2)
    size = db.session.execute(db.text("SELECT pg_total_relation_size('rolling_slot')")).scalar()
    found["peak_mb"] = peak_mb()
    found["bytes_a_slot"] = round(int(size) / (templates * a_day * 8))
    return found


def cut(topup: Any) -> dict[str, Any]:
    """Measure what a shared run costs beside its slots: the look, the cutting, a hundred claims."""
    from flask_rollingslots.queue import Distributor, sharding
    from flask_rollingslots.topup import TopUpRequest

    runner, distributor, request = topup.runner, Distributor(topup), TopUpRequest("request")
    with runner.context():
        session, models = runner.session(), runner.models
        looks = [timed(lambda: (runner.read_state(), runner.fingerprint())) for _ in range(7)]
        ids, cutting = kept(lambda: sharding.cut(runner.work(), request))
        session.rollback()
        lease = runner.acquire()
        job, writing = kept(lambda: distributor._prepare(lease, request, ids))
        claims = []
        for _ in range(min(100, len(ids))):
            claim, seconds = kept(lambda: distributor._claim(job))
            claims.append(seconds)
            done = {"status": "done"}
            session.execute(models.Shard.__table__.update().where(models.Shard.id == claim.id).values(done))
            session.commit()
        distributor._give_up(job)
    return {
        "look_ms": round(statistics.median(looks) * 1000, 2),
        "shards": len(ids),
        "cut_ms": round(cutting * 1000, 1),
        "write_shards_ms": round(writing * 1000, 1),
        "claim_ms": round(statistics.median(claims) * 1000, 2),
    }


def shared(url: str, folder: Path, workers: int, promised: int) -> dict[str, Any]:
    """Measure Celery workers on the same templates."""
    from celery_site import BEGIN  # type: ignore[import-not-found, unused-ignore]
    from workers import Broker, crew  # type: ignore[import-not-found, unused-ignore]

    broker = Broker()
    try:
        with crew(url, broker.broker_url, folder, queue_fallback="none", window_days=7) as ours:
            ours.run("TRUNCATE rolling_slot, rolling_booking, rolling_run, rolling_shard")
            ours.run("DELETE FROM rolling_lease")
            # The workers have a clock of their own, which begins on a day of the past.
            ours.run(f"UPDATE rolling_template SET dtstart = '{BEGIN.date() + timedelta(days=1)}'")  # noqa: S608
            ours.hire(workers)
            found: dict[str, Any] = {}
            for name in (f"fill_by_{workers}_s", f"nothing_missing_by_{workers}_s"):
                ours.site.app.extensions["rollingslots"].topup.memory.reset()
                began = perf_counter()
                ours.visit()
                ours.wait_until(ours.is_confirmed, seconds=PATIENCE)
                found[name] = round(perf_counter() - began, 2)
                check(ours.rows(), promised)
                ours.run("UPDATE rolling_lease SET confirmed_ms = 0, fingerprint = NULL")
            return found
    finally:
        broker.stop()


def add(db: Any, slots: Any, templates: int, a_day: int) -> None:
    """Make template rows: the first by the library, the others as copies of it."""
    midnight = datetime.now(UTC).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    tomorrow = midnight + timedelta(days=1)
    grid = {"every": timedelta(hours=1), "until_time": time()} if a_day == 24 else {}
    fields = {"name": "1", "rrule": "FREQ=DAILY", "dtstart": tomorrow, "timezone": "UTC", "window_days": 8}
    first = slots.create_template(**fields, duration=timedelta(hours=1), group="g1", **grid)
    db.session.commit()
    check(first.id, 1)
    own = {"id": "n", "series_id": "n", "name": "n::text", "group_name": "'g' || (n % 1000)"}
    columns = [column.name for column in slots.Template.__table__.columns]
    values = ", ".join(own.get(name, f"t.{name}") for name in columns)
    names = ", ".join(columns)
    db.session.execute(
        db.text(
            f"INSERT INTO rolling_template ({names}) SELECT {values} "  # noqa: S608 (names of our own columns)
            f"FROM rolling_template t, generate_series(2, {templates}) AS n WHERE t.id = 1"
        )
    )
    db.session.commit()
    db.session.execute(db.text("ANALYZE rolling_template"))
    db.session.commit()


def check(found: object, expected: object) -> None:
    """Let no figure stand for other work than it says."""
    if found != expected:
        raise SystemExit(f"not the same work: {found} instead of {expected}")


def timed(act: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    return kept(act)[1]


def kept(act: Callable[[], Any]) -> tuple[Any, float]:
    """Return what something returns, and how many seconds it takes."""
    began = perf_counter()
    result = act()
    return result, round(perf_counter() - began, 4)


def cpu_of(postmaster: int) -> float:
    """Return the CPU seconds that a PostgreSQL and all its processes have used, those that ended included."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if path.parent.name == str(postmaster):
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == str(postmaster):
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mb() -> int:
    """Return the most memory that this process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def table(found: list[dict[str, Any]]) -> str:
    """Return the figures as a table for Markdown."""
    names: tuple[str, ...] = (
        "templates", "slots", "first_fill_s", "fill_cpu_app_s", "fill_cpu_database_s", "nothing_missing_s",
        "nothing_cpu_app_s", "nothing_cpu_database_s", "one_more_day_s", "look_ms", "between_ms", "shards", "cut_ms",
        "write_shards_ms", "claim_ms", "bytes_a_slot", "fill_peak_mb", "peak_mb",
    )  # fmt: skip
    names += tuple(sorted({name for row in found for name in row if "_by_" in name}))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in found:
        cells = (f"{row[name]:,}" if name in row else "" for name in names)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def show(line: str) -> None:
    """Print a line now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
