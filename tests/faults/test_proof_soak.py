"""Everything at once, for a while: traffic, bookings, kills, crashes of the database."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from figures import SEED, scaled, tell
from restarts import crashing

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Fleet

SECONDS = 600
KILL_SECONDS = 5.0
CRASH_SECONDS = 180.0
DAY_SECONDS = 20.0


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def files(pid: int) -> int:
    """Return the number of open files of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_soak(fleet: Callable[..., Fleet]) -> None:
    """Kills, crashes and new days for ten minutes: no errors but broken connections, and no growth."""
    rng, seconds = random.Random(SEED), scaled(SECONDS, 20)
    with crashing("postgresql") as (server, url):
        ours = fleet(url, rows=20, backoff=2.0, capacity=1000)
        assert ours.heal() is not None
        spared = ours.alive()[0]
        over, booked, refused = threading.Event(), [0], [0]

        def book() -> None:
            while not over.wait(0.05):
                start = rng.choice(sorted(ours.expected())[-84:])
                status, _ = ours.get("/book", {"key": f"1@{start:%Y%m%dT%H%M}"})
                booked[0] += status == 200
                refused[0] += status is not None and status >= 500

        visitor = threading.Thread(target=book)
        began, kills, crashes, days, at_crashes = monotonic(), 0, 0, 0, 0
        samples: list[tuple[float, float, int]] = []
        with ours.visitors(2, pause=0.03) as pages, ours.visitors(1, "/ping", 0.02) as pings:
            visitor.start()
            while (passed := monotonic() - began) < seconds:
                time.sleep(KILL_SECONDS)
                kills += ours.kill(rng.choice([pid for pid in ours.alive() if pid != spared]))
                samples.append((passed, resident(spared), files(spared)))
                if passed > DAY_SECONDS * (days + 1):
                    days += 1
                    ours.move()
                if passed > CRASH_SECONDS * (crashes + 1):
                    crashes, before = crashes + 1, pages.errors + refused[0]
                    server.crash()
                    time.sleep(1.0)
                    server.start()
                    with ours.site.app.app_context():
                        ours.site.db.engine.dispose()
                    ours.wait_until(lambda: ours.get("/")[0] == 200, 10)
                    time.sleep(3.0)
                    at_crashes += pages.errors + refused[0] - before
            over.set()
            visitor.join()
        healed = ours.heal()
        found = ours.audit()
        half = [sample for sample in samples if sample[0] > seconds / 3] or samples
        growth = (half[-1][1] - half[0][1]) / max(half[-1][0] - half[0][0], 1.0) * 600
        requests = len(pages.seconds) + len(pings.seconds) + booked[0]
        other = pages.errors + pings.errors + refused[0] - at_crashes
        tell(
            "E29 soak",
            seconds=seconds,
            requests=requests,
            booked=booked[0],
            kills=kills,
            database_crashes=crashes,
            days=days,
            errors_while_the_database_was_away=at_crashes,
            other_errors=other,
            broken=pages.broken + pings.broken,
            page_p99_ms=pages.p99,
            ping_p99_ms=pings.p99,
            mb_per_10_min=growth,
            files_first=half[0][2],
            files_last=half[-1][2],
            heal=healed,
            **found,
        )
        assert healed is not None
        assert other <= 0.001 * requests
        assert pings.errors == 0
        assert (found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0)
        assert growth < 1.0 or seconds < SECONDS
        assert abs(half[-1][2] - half[0][2]) <= 5
