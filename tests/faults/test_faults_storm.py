"""A cold storm: everybody comes at the same moment, and nothing is there yet."""

from __future__ import annotations

import json
import os
import signal
import threading
from time import monotonic
from typing import TYPE_CHECKING

from figures import SCALE, middle, scaled, tell
from harness import GIVE_UP, Traffic
from marks import quick_on

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from harness import Fleet

VISITORS = 200 if SCALE else 80
ROUNDS = 50


def make_cold(fleet: Fleet) -> None:
    """Take everything away, and replace all workers by new ones that know nothing."""
    victims = fleet.alive()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    fleet.server.wait_for_workers(len(victims))
    for table in ("rolling_slot", "rolling_run", "rolling_lease"):
        fleet.site.sql(f"DELETE FROM {table}")  # noqa: S608 (constants)


def storm(fleet: Fleet, traffic: Traffic) -> tuple[int, set[int]]:
    """Let all come at once; return how many pages were whole, and which workers answered."""
    together, answers = threading.Barrier(VISITORS), []

    def visitor() -> None:
        together.wait()
        began = monotonic()
        status, body = fleet.get("/")
        traffic.note(status, monotonic() - began, body)
        answers.append(json.loads(body) if status == 200 else {})

    threads = [threading.Thread(target=visitor) for _ in range(VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = sum(len(page.get("starts", ())) == fleet.promised for page in answers)
    return whole, {page["pid"] for page in answers if page}


@quick_on("postgresql")  # elsewhere two processes meet in one top-up: test_loop_crash.py
def test_cold_storm(fleet: Callable[..., Fleet], database_url: str, request: pytest.FixtureRequest) -> None:
    """Very many first visitors on new workers and empty tables: whole pages, exact rows, one top-up a round."""
    # Nobody dies in here: a lease that lasts through a busy moment, as the default does, so that one top-up is enough.
    patient = {"lease_seconds": 60, "check_interval": 60}
    ours = fleet(database_url, workers=4 if SCALE else 2, settings=patient)
    traffic, rounds = Traffic(), scaled(ROUNDS, 1)
    pages, confirmations, wrong, met = 0, [], 0, 0
    for _ in range(rounds):
        make_cold(ours)
        whole, workers = storm(ours, traffic)
        assert ours.wait_until(ours.complete, GIVE_UP)
        pages += whole
        met += len(workers) > 1
        found = ours.audit()
        wrong += found["wrong"] + found["duplicates"] + found["half_chunks"] + found["cut"]
        confirmations.append(found["runs"] - found["cut"])
    log = ours.server.process.output()
    deadlocks = log.lower().count("deadlock")
    tell(
        f"E01 cold storm [{request.node.callspec.id}]",
        rounds=rounds,
        requests=rounds * VISITORS,
        whole_pages=pages,
        wrong_rows=wrong,
        confirmations=sum(confirmations),
        rounds_with_one=confirmations.count(1),
        rounds_with_several_workers=met,
        deadlocks=deadlocks,
        failed_top_ups=log.count("top-up failed"),
        errors=traffic.errors,
        p50_ms=middle(traffic.seconds) * 1000,
        p99_ms=traffic.p99,
    )
    assert (traffic.errors, traffic.broken) == (0, 0), (
        traffic.bodies[:3],
        log[log.find("Traceback") :][:6000],
    )
    assert pages == rounds * VISITORS
    assert wrong == 0
    assert confirmations == [1] * rounds
    assert met == rounds, "the visitors met one worker only"
    assert deadlocks == 0
