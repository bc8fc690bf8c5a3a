"""Many processes write the same days at the same moment, each sure that it holds the lease."""

from __future__ import annotations

import multiprocessing
import os
import random
from typing import TYPE_CHECKING, Any

from figures import SCALE, scaled, tell
from forks import FINISHED, ended, forked
from loop_site import PLAIN, SHARED, WAIT, Clock, before_chunks, chunks_of, make_site, week
from sqlalchemy import event

from flask_rollingslots.filling import bulk, chunks
from flask_rollingslots.topup import gate, run

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

WRITERS = 8 if SCALE else 4
TEMPLATES = 12
CHUNK = 5000  # everything in one transaction, so that they overlap for long
DEADLOCKED = 76


def always(_work: Any, owner: str) -> gate.Lease:
    """Give everybody a lease."""
    return gate.Lease(owner, os.getpid())


def write_together(url: str, writers: int, prepare: Callable[[], object]) -> list[int]:
    """Let processes plan, meet, and write; return their exit codes."""
    meeting = multiprocessing.get_context("fork").Barrier(writers)

    def process() -> None:
        gate.Lease.acquire = staticmethod(always)  # type: ignore[method-assign, assignment]
        gate.Lease._set = lambda *_args, **_values: None  # type: ignore[method-assign]
        run.Recorder.close_dead_runs = lambda *_: None  # type: ignore[method-assign]
        run._RACES = 1  # a deadlock is not run again here, but seen
        chunks_of(PLAIN, CHUNK)
        prepare()
        own = make_site(url, Clock(), create=False, enabled=False)
        seen: list[str] = []
        with own.app.app_context():
            event.listen(own.db.engine, "handle_error", lambda it: seen.append(str(it.original_exception)))
        meet: list[Any] = [meeting.wait]  # once: all have planned, nothing is written yet
        before_chunks(PLAIN, lambda: meet and meet.pop()(WAIT))
        try:
            with own.app.app_context():
                report = own.slots.generate()
            assert report.existing == 0, "somebody came too late to race"
        finally:
            if any("deadlock" in error.lower() for error in seen):
                os._exit(DEADLOCKED)
        assert seen == []

    return [ended(child) for child in [forked(process) for _ in range(writers)]]


def emptied(url: str) -> Any:
    """Return a site with templates and no slots."""
    site = make_site(url, Clock(), enabled=False)
    for table in ("rolling_slot", "rolling_run", "rolling_template"):
        site.sql(f"DELETE FROM {table}")  # noqa: S608 (constants)
    return site


def slow_down(site: Any) -> None:
    """Let each row take time: a chunk is one statement, and has to take long enough to meet the others."""
    site.sql(
        "CREATE OR REPLACE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END'"
    )
    site.sql(
        "CREATE OR REPLACE TRIGGER take_time BEFORE INSERT ON rolling_slot "
        "FOR EACH ROW EXECUTE FUNCTION take_time()"
    )


def shuffle() -> None:
    """Take the sorting away."""
    chunks.sorted = lambda values, key=None: random.sample(values, len(values))  # type: ignore[attr-defined]
    bulk.KEY_ORDER = "random()"
    SHARED.forget()


def test_writers_of_the_same_days(database_url: str, request: pytest.FixtureRequest) -> None:
    """Each slot is there once, nobody runs into a deadlock; on PostgreSQL, unsorted writers do."""
    rounds, deadlocks, wrong, shuffled = scaled(10, 1), 0, 0, 0
    for _ in range(rounds):
        site = emptied(database_url)
        numbers = [site.add_quietly(name=f"{number}") for number in range(TEMPLATES)]
        codes = write_together(database_url, WRITERS, lambda: None)
        deadlocks += codes.count(DEADLOCKED)
        assert set(codes) <= {FINISHED, DEADLOCKED}
        wrong += sum(site.starts(number) != week() for number in numbers)
        with site.app.app_context():
            site.db.engine.dispose()
    naive = rounds if database_url.startswith("postgresql") else 0
    for _ in range(naive):  # the proof that they really meet
        site = emptied(database_url)
        slow_down(site)
        for number in range(TEMPLATES):
            site.add_quietly(name=f"{number}")
        shuffled += DEADLOCKED in write_together(database_url, WRITERS, shuffle)
        with site.app.app_context():
            site.db.engine.dispose()
    tell(
        f"E26 writers [{request.node.callspec.id}]",
        writers=WRITERS,
        rounds=rounds,
        deadlocks=deadlocks,
        wrong=wrong,
        unsorted_rounds=naive,
        unsorted_rounds_with_deadlocks=shuffled,
    )
    assert (deadlocks, wrong) == (0, 0)
    assert shuffled >= 0.9 * naive
