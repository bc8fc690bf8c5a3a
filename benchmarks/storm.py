"""The first request of the day, and the first after a month: as fast as any other, and with its week.

Four new processes of 25 threads get a hundred requests at once, on a day whose slots are all stored and on one that
has just begun; the figure is their 99th percentile, and one top-up a day writes. The cold start is the
first response of a new process on a database with 10,000 templates and none of their slots, against that of a new
process on the same database with all slots stored: both set themselves up, only one begins a top-up.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from sqlalchemy import text

from .filling import add_templates
from .frame import Bench, DifferentWork, Row, Side, Skip, Taken, at_most, benchmark
from .site import MIDNIGHT, Site
from .storm_app import CLOCK, URL

PROCESSES, THREADS, VISITORS, HALLS = 4, 25, 100, 50
TEMPLATES, SLOTS = 10_000, 168
FIRST_RESPONSE = """
import json, os, sys, time
from benchmarks.storm_app import make
client = make().test_client()
began = time.perf_counter()
keys = client.get("/" + sys.argv[1]).json
print(json.dumps([time.perf_counter() - began, keys]), flush=True)
os._exit(0)
"""


class Storms:
    """A server of new processes, with a day that can begin."""

    def __init__(self, bench: Bench, url: str, folder: Path) -> None:
        """Start it, with a week that is stored."""
        self.site = Site(url)
        bench.closing(self.site.close)
        with self.site.app.app_context():
            add_templates(self.site, HALLS)
        self._clock, self.day, self._url, self._folder = folder / "clock", 0, url, folder
        self._clock.write_text("0")
        self.server: Any = None
        bench.closing(self.stop)
        self.restart()
        self.storm()

    def stop(self) -> None:
        """Stop all processes."""
        if self.server is not None:
            self.server.stop()
        self.server = None

    def restart(self) -> None:
        """Start new processes, which know nothing, when everything is stored."""
        from tests.servers import Gunicorn

        if self.server is not None:
            self.settle()
        self.stop()
        self.server = Gunicorn(
            "benchmarks.storm_app:make()",
            self._folder,
            workers=PROCESSES,
            env={CLOCK: str(self._clock), URL: self._url},
            options=("--threads", str(THREADS), "--worker-class", "gthread"),
        )

    def ask(self, path: str) -> list[str]:
        """Make one request; return the keys on the page."""
        link = http.client.HTTPConnection(self.server.host, self.server.port, timeout=60)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            body = answer.read()
        finally:
            link.close()
        if answer.status != 200:
            raise DifferentWork(f"{path}: {answer.status} {body[:200]!r}")
        return list(json.loads(body))

    def storm(self) -> Taken:
        """Let all come at once; return the 99th percentile in seconds, and the sizes of all pages."""
        together, seconds, sizes, wrong = threading.Barrier(VISITORS), [], [], []

        def visitor(number: int) -> None:
            together.wait()
            began = perf_counter()
            try:
                sizes.append(len(self.ask(f"/{1 + number % HALLS}")))
            except (OSError, http.client.HTTPException, DifferentWork) as error:
                wrong.append(error)
            seconds.append(perf_counter() - began)

        threads = [threading.Thread(target=visitor, args=(number,)) for number in range(VISITORS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if wrong:
            raise DifferentWork(f"{len(wrong)} of {VISITORS} requests failed: {wrong[0]}")
        return Taken(statistics.quantiles(seconds, n=100)[98], sizes)

    def count(self, statement: str) -> int:
        """Return what a query counts."""
        with self.site.app.app_context():
            found = self.site.db.session.scalar(text(statement))
            self.site.db.session.rollback()
        return int(found or 0)

    def settle(self) -> None:
        """Wait until everything is stored and confirmed."""
        end = perf_counter() + 60
        expected = HALLS * SLOTS + self.day * HALLS * 24 - HALLS * 9
        while self.count("SELECT count(*) FROM rolling_slot") < expected or self.count(
            "SELECT count(*) FROM rolling_lease WHERE until_ms > 0"
        ):
            if perf_counter() > end:
                found = self.count("SELECT count(*) FROM rolling_slot")
                raise DifferentWork(f"{found} of {expected} slots were stored in time")
            sleep(0.05)

    def new_day(self) -> None:
        """Let a day begin, after the last one was stored by one top-up."""
        self.restart()
        runs = self.count("SELECT count(*) FROM rolling_run WHERE created > 0")
        if runs != self.day + 1:
            raise DifferentWork(f"{runs} top-ups wrote rows in {self.day + 1} days")
        self.day += 1
        self._clock.write_text(str(self.day))


@benchmark("storm")
def storm(bench: Bench) -> Iterator[Row]:
    """The first requests of a day, and of a process after a month, against all others."""
    for kind in ("sqlite", "postgresql"):
        try:
            storms = Storms(bench, bench.database(kind), bench.folder)
        except Skip as reason:
            bench.skip(kind, reason)
            continue
        yield bench.compare(
            f"{kind}, p99 of {VISITORS} requests at once, {PROCESSES} processes of {THREADS} threads",
            Side("the day begins", storms.storm, storms.new_day),
            Side("any other moment", storms.storm, storms.restart),
            at_most(1.5),
        )
        storms.stop()
    yield cold_start(bench)


def cold_start(bench: Bench) -> Row:
    """Compare first responses of new processes, with nothing and with everything stored."""
    clock = bench.folder / "cold-clock"
    clock.write_text("0")
    cold = bench.database("sqlite")
    site = Site(cold)
    site.now = MIDNIGHT
    with site.app.app_context():
        add_templates(site, TEMPLATES)
    site.close()
    file = cold.removeprefix("sqlite:///")
    warm = str(Path(file).with_name("warm.db"))
    shutil.copy(file, warm)
    filled = Site(f"sqlite:///{warm}")
    filled.now = MIDNIGHT + timedelta(hours=8)  # as the app's
    with filled.app.app_context():
        filled.slots.generate()
    filled.close()

    def first(path: str) -> Taken:
        done = subprocess.run(  # noqa: S603 (our own)
            [sys.executable, "-c", FIRST_RESPONSE, str(TEMPLATES // 2)],
            env={**os.environ, CLOCK: str(clock), URL: f"sqlite:///{path}"},
            capture_output=True,
            text=True,
            check=True,
        )
        return Taken(*json.loads(done.stdout))

    def forget() -> None:
        with site.app.app_context():
            for table in ("slot", "run", "lease"):
                site.db.session.execute(text(f"DELETE FROM rolling_{table}"))  # noqa: S608
            site.db.session.commit()
        site.close()

    return bench.compare(
        f"sqlite, first response of a process, {TEMPLATES:,} templates",
        Side("nothing stored", lambda: first(file), forget),
        Side("everything stored", lambda: first(warm)),
        at_most(1.5),
        note="the page shows the same week either way",
    )
