"""Workers of gunicorn on a database whose days a test moves, with visitors, and somebody who kills."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from fault_app import BASE, FileClock, fast_sqlite, write_ahead
from figures import share
from loop_site import HOURS, Site, make_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import Gunicorn

LEASE = 1.0
DAY = 86_400.0
#: How long after the next request everything has to be there again.
BOUND = 2 * LEASE + 1.0
#: After so long a window counts as never healed.
GIVE_UP = 60.0
#: How long one answer may take: a deadline for slow machines, not a measure.
PATIENCE = 100.0
TEMPLATES = 3


@dataclass
class Traffic:
    """What visitors saw."""

    seconds: list[float] = field(default_factory=list)
    broken: int = 0
    errors: int = 0
    bodies: list[str] = field(default_factory=list)

    def note(self, status: int | None, seconds: float, body: bytes = b"") -> None:
        """Take in one answer; no status: the connection broke, as it does when a worker is killed."""
        if status is None:
            self.broken += 1
        elif status >= 500:
            self.errors += 1
            self.bodies.append(body[:300].decode(errors="replace"))
        else:
            self.seconds.append(seconds)

    @property
    def p99(self) -> float:
        """In milliseconds."""
        return share(self.seconds, 99) * 1000

    @property
    def slowest(self) -> float:
        """In milliseconds."""
        return max(self.seconds, default=0.0) * 1000


class Fleet:
    """Some workers, the harness's own view of their database, and the time."""

    def __init__(
        self,
        start: Callable[..., Gunicorn],
        url: str,
        folder: Path,
        *,
        workers: int = 4,
        kind: str = "gthread",
        threads: int = 4,
        templates: int = TEMPLATES,
        seen_url: str | None = None,
        preload: bool = True,
        options: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        capacity: int = 1,
        **app: Any,
    ) -> None:
        """Start.

        :param url: the database as the harness sees it.
        :param seen_url: as the workers see it, such as through a proxy.
        :param app: more for fault_app.build.
        """
        self.folder, self.workers, self.templates = folder, workers, templates
        self.clock = FileClock(folder / "clock")
        self.clock.move(0.0)
        self.site: Site = make_site(url, self.clock, enabled=False)
        fast_sqlite(self.site)
        write_ahead(self.site)
        for number in range(templates):
            self.site.add_quietly(name=f"{number}", capacity=capacity)
        self.days = 7
        flags = ("--worker-class", kind, *(("--threads", str(threads)) if kind == "gthread" else ()))
        env = {"FAULT_APP": json.dumps({"url": seen_url or url, **app}), **(env or {})}
        self.server = start(
            "fault_app:app",
            workers=workers,
            env=env,
            options=(*flags, *(("--preload",) if preload else ()), *options),
        )

    # -- requests ------------------------------------------------------------------------------------------

    def get(self, path: str = "/", body: Any = None, timeout: float = PATIENCE) -> tuple[int | None, bytes]:
        """Make one request; no status if the connection broke."""
        link = http.client.HTTPConnection(self.server.host, self.server.port, timeout=timeout)
        try:
            text = None if body is None else json.dumps(body)
            link.request("GET" if body is None else "POST", path, text, {"Content-Type": "application/json"})
            answer = link.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            link.close()

    @contextmanager
    def visitors(self, count: int = 2, path: str = "/", pause: float = 0.01) -> Iterator[Traffic]:
        """Let visitors come all the time."""
        traffic, over = Traffic(), threading.Event()

        def visit() -> None:
            while not over.wait(pause):
                began = monotonic()
                status, body = self.get(path)
                traffic.note(status, monotonic() - began, body)

        threads = [threading.Thread(target=visit) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield traffic
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def hammer(self, path: str, seconds: float, pause: float = 0.003) -> Traffic:
        """Ask one page on one connection, one request after the other, and measure each."""
        traffic, end = Traffic(), monotonic() + seconds
        link = http.client.HTTPConnection(self.server.host, self.server.port, timeout=PATIENCE)
        link.connect()
        link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while monotonic() < end:
            began = monotonic()
            link.request("GET", path)
            answer = link.getresponse()
            body = answer.read()
            traffic.note(answer.status, monotonic() - began, body)
            time.sleep(pause)
        link.close()
        return traffic

    # -- workers -------------------------------------------------------------------------------------------

    def alive(self) -> list[int]:
        """Return the process ids of the workers."""
        pid = self.server.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self, pid: int) -> bool:
        """kill -9, and wait until another is ready; say whether it was there to be killed."""
        if pid not in self.alive():
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.server.wait_for_workers(1)
        return True

    def threads_of(self, pid: int) -> int:
        """Return how many threads a process has."""
        return len(list(Path(f"/proc/{pid}/task").iterdir()))

    # -- the database --------------------------------------------------------------------------------------

    def move(self, days: int = 1) -> None:
        """Let a new day begin."""
        self.days += days
        self.clock.move(days * DAY)

    def expected(self) -> set[datetime]:
        """Return the starts that one template promises since the beginning (naive, UTC)."""
        midnight = BASE.replace(hour=0, minute=0, second=0, tzinfo=None)
        days = (midnight + timedelta(days=day) for day in range(self.days))
        starts = {day + timedelta(hours=hour) for day in days for hour in HOURS}
        return {start for start in starts if start > BASE.replace(tzinfo=None)}

    @property
    def promised(self) -> int:
        """How many rows have to be there."""
        return len(self.expected()) * self.templates

    def holder(self) -> int | None:
        """Return the process that holds the lease now."""
        rows = self.site.sql("SELECT owner, until_ms FROM rolling_lease")
        now = self.clock().timestamp() * 1000
        return int(rows[0][0].rsplit(":", 1)[1]) if rows and rows[0][1] > now else None

    def rows(self) -> int:
        """Return the number of stored slots."""
        return int(self.site.sql("SELECT COUNT(*) FROM rolling_slot")[0][0])

    def complete(self) -> bool:
        """Say whether everything is stored, and the lease was given back."""
        return self.rows() == self.promised and self.site.sql("SELECT until_ms FROM rolling_lease") == [(0,)]

    def wait_until(self, true: Callable[[], bool], seconds: float = GIVE_UP, pause: float = 0.005) -> bool:
        """Poll with a deadline; say whether it came true."""
        end = monotonic() + seconds
        while not true():
            if monotonic() > end:
                return False
            time.sleep(pause)
        return True

    def heal(self) -> float | None:
        """Return the seconds from the next request until everything is there; ``None``: never."""
        began = monotonic()
        while self.get("/")[0] != 200:
            if monotonic() > began + GIVE_UP:
                return None
            began = max(began, monotonic() - 0.05)
        healed = self.wait_until(self.complete)
        return monotonic() - began if healed else None

    def audit(self) -> dict[str, int]:
        """Compare everything that is stored with what the rules promise."""
        wrong = duplicates = 0
        expected = self.expected()
        for template in range(1, self.templates + 1):
            starts = self.site.starts(template)
            duplicates += len(starts) - len(set(starts))
            wrong += len(expected ^ set(starts))
        # What a run made, and not what it had planned: a booking may have made a row before it.
        query = (
            "SELECT r.created, "
            "(SELECT COUNT(*) FROM rolling_slot s WHERE s.run_id = r.id), r.status FROM rolling_run r"
        )
        runs = self.site.sql(query)
        half = sum(made != stored for made, stored, _ in runs)
        cut = sum(status != "confirmed" for *_, status in runs)
        return {"runs": len(runs), "cut": cut, "wrong": wrong, "duplicates": duplicates, "half_chunks": half}


@dataclass
class Losses:
    """What a loop of kills did."""

    moves: int = 0
    kills: int = 0
    inside: int = 0
    unhealed: int = 0
    heals: list[float] = field(default_factory=list)


def filler_of(fleet: Fleet, rng: random.Random) -> int | None:
    """Wait for the worker that fills a new day and return its process id, somewhere in its run."""
    held: list[int] = []

    def seen() -> bool:
        pid = fleet.holder()
        held.extend([pid] if pid in fleet.alive() else [])
        return bool(held)

    fleet.wait_until(seen, 1.5, 0.002)
    time.sleep(rng.uniform(0.0, 0.04))
    return held[0] if held else None


def let_filler_wait(fleet: Fleet, rng: random.Random) -> None:
    """Let who fills next wait in the middle to be killed: on a busy machine its run might be over before we come."""
    for number in range(rng.randrange(5)):  # so many chunks are written before
        (fleet.folder / f"pass-{number}").touch()
    (fleet.folder / "hang").touch()


def waiting_filler(fleet: Fleet) -> int:
    """Return the process id of the worker that waits."""
    assert fleet.wait_until(lambda: any(fleet.folder.glob("hang.*"))), "nobody fills"
    (caught,) = fleet.folder.glob("hang.*")
    caught.unlink()
    return int(caught.suffix[1:])


def kill_loop(fleet: Fleet, moves: int, seed: int, waits: bool = False) -> Losses:
    """Let days begin; each time kill who fills, and then somebody else, and measure how long healing takes.

    :param waits: whether who fills waits in the middle to be killed.
    """
    rng, losses = random.Random(seed), Losses()
    for _ in range(moves):
        if waits:
            let_filler_wait(fleet, rng)
        fleet.move(rng.choice((1, 1, 2)))
        losses.moves += 1
        filler = waiting_filler(fleet) if waits else filler_of(fleet, rng)
        for victim in (filler, None):
            pid = victim or rng.choice(fleet.alive())
            was_filling = (waits and pid == filler) or fleet.holder() == pid
            killed = fleet.kill(pid)
            losses.kills += killed
            losses.inside += killed and was_filling
            time.sleep(rng.uniform(0.0, 0.2))  # a random moment, not a wait for something
        seconds = fleet.heal()
        losses.unhealed += seconds is None
        losses.heals += [seconds] if seconds is not None else []
    return losses
