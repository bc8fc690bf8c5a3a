"""Real Celery workers, a broker that can be restarted, and what a test wants to know of the database."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from celery_site import WEEK, CelerySite, round_the_clock
from servers import Valkey
from servers.process import Process, answers
from sqlalchemy import insert, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: A deadline for slow machines, not a measure.
PATIENCE = 90.0


class Broker(Valkey):
    """A Valkey of the test's own, without a memory: a restart loses all messages."""

    @property
    def broker_url(self) -> str:
        """The URL for Celery."""
        return f"redis+socket://{self.path}"

    def restart(self) -> None:
        """Kill it, and start it again on the same socket."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End it at once."""
        self.process.popen.kill()
        self.process.popen.wait(60)
        self.path.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it; returns when it accepts connections."""
        self.process = Process(self.process.command, self.folder / "log", cwd=self.folder)
        self.process.wait_until(lambda: answers(self.path))


class Crew:
    """Some Celery workers on one database and one broker, and the test's own view of both."""

    def __init__(self, url: str, broker: str, folder: Path, **settings: Any) -> None:
        self.folder, self.workers = folder, []
        self.settings = {"url": url, "broker": broker, "began": monotonic(), **settings}
        self.site = CelerySite(**{k: v for k, v in self.settings.items() if k not in ("delay", "rows")})
        with self.site.app.app_context():
            self.site.db.create_all()
        self.workers: list[Process] = []
        self._count = 0

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to have the same app."""
        paths = [str(HERE), str(ROOT), *filter(None, (os.environ.get("PYTHONPATH"),))]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "CELERY_SITE": json.dumps(self.settings),
            "PYTHONWARNINGS": "ignore",
        }

    def hire(self, count: int = 1, pool: str = "solo", concurrency: int = 1) -> list[Process]:
        """Start workers; returns when they are ready."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")
        command = (sys.executable, "-m", "celery", "-A", "celery_site:celery_app", "worker", *quiet)
        new = []
        for _ in range(count):
            self._count += 1
            log = self.folder / f"worker-{self._count}.log"
            name = ("-n", f"w{self._count}@test", "--pool", pool, "--concurrency", str(concurrency))
            new.append(Process((*command, *name), log, cwd=self.folder, env=self.env))
        self.workers += new
        for worker in new:
            worker.wait_until(lambda worker=worker: "ready." in worker.output())
        return new

    def kill(self, index: int = 0) -> None:
        """Kill one worker, with all its processes."""
        worker = self.workers.pop(index)
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.popen.wait(60)

    def fire(self) -> None:
        """Kill all workers."""
        while self.workers:
            self.kill()

    def add(self, templates: int) -> int:
        """Add templates as an import would, past the ORM; return how many slots they promise."""
        model = self.site.slots.Template
        with self.site.app.app_context():
            session = self.site.db.session
            first = self.site.slots.Template(**round_the_clock("0"))
            session.add(first)
            session.flush()
            table = model.__table__
            row = dict(session.execute(table.select().where(table.c.id == first.id)).mappings().one())
            session.info.clear()
            session.commit()
            ids = range(first.id + 1, first.id + templates)
            rows = [{**row, "id": n, "series_id": n, "name": str(n), "group_name": f"g{n % 10}"} for n in ids]
            for position in range(0, len(rows), 5000):
                session.execute(insert(table), rows[position : position + 5000])
            session.commit()
        return templates * WEEK

    def sql(self, statement: str) -> list[Any]:
        """Run a query in a transaction of its own."""
        with self.site.app.app_context(), self.site.db.engine.begin() as connection:
            return list(connection.execute(text(statement)))

    def run(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        with self.site.app.app_context(), self.site.db.engine.begin() as connection:
            connection.execute(text(statement))

    def rows(self) -> int:
        """Return the number of stored slots."""
        return int(self.sql("SELECT COUNT(*) FROM rolling_slot")[0][0])

    def runs(self) -> list[Any]:
        """Return all runs: status, trigger, done, created, error."""
        return self.sql("SELECT status, trigger, done, created, error FROM rolling_run ORDER BY id")

    def is_confirmed(self) -> bool:
        """Say whether the last run confirmed, and the lease is free."""
        rows = self.sql("SELECT confirmed_ms, until_ms FROM rolling_lease")
        return bool(rows) and rows[0][0] > 0 and rows[0][1] == 0

    def visit(self) -> None:
        """Be a visitor who comes when it is time to look."""
        topup = self.site.app.extensions["rollingslots"].topup
        topup.memory.next_check = min(topup.memory.next_check, monotonic() + 0.5)
        with self.site.app.app_context():
            topup.notice()

    def settle(self) -> None:
        """Wait until no job is under way here."""
        assert self.site.app.extensions["rollingslots"].topup.executor.join(60)

    def wait_until(self, true: Callable[[], bool], visits: bool = False, seconds: float = PATIENCE) -> float:
        """Poll with a deadline, with visitors if wanted; return the seconds it took."""
        began = monotonic()
        while not true():
            assert monotonic() < began + seconds, (self.runs(), self.rows(), self.tails())
            if visits:
                self.visit()
            time.sleep(0.02)
        return monotonic() - began

    def tails(self) -> list[str]:
        """Return the end of what each worker printed."""
        return [worker.output()[-600:] for worker in self.workers]

    def audit(self, promised: int) -> dict[str, int]:
        """Count what is missing and what is there twice, by the slots themselves."""
        ((stored, distinct),) = self.sql(
            "SELECT COUNT(*), COUNT(DISTINCT (series_id, original_start)) FROM rolling_slot"
        )
        uneven = self.sql(
            f"SELECT COUNT(*) FROM (SELECT template_id FROM rolling_slot GROUP BY template_id "  # noqa: S608
            f"HAVING COUNT(*) <> {WEEK}) AS odd"
        )
        return {"lost": promised - distinct, "doubled": stored - distinct, "uneven": uneven[0][0]}


@contextmanager
def crew(url: str, broker: str, folder: Path, **settings: Any) -> Iterator[Crew]:
    """Give a crew, and send it home afterwards."""
    made = Crew(url, broker, folder, **settings)
    try:
        yield made
    finally:
        made.fire()
        made.site.app.extensions["rollingslots"].topup.executor.shutdown(60.0)
