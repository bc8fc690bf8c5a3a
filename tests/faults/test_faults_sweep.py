"""A process dies, or its database fails, at every single step of a top-up: nothing is lost, nothing is half."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from figures import SCALE, tell
from forks import FINISHED, ended, forked
from loop_site import Clock, Site, after, before, chunks_of, make_site, week
from marks import quick_on
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from flask_rollingslots import extension
from flask_rollingslots.topup import gate, run, runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CRASHED = 137
TEMPLATES = 2
CHUNK = 60
ALL = TEMPLATES * len(week())
WHOLE_CHUNKS = {0, *range(CHUNK, ALL, CHUNK), ALL}
LEASE = timedelta(seconds=1.1)
STEPS = ("before_cursor_execute", "after_cursor_execute", "commit")
TABLES = ("rolling_slot", "rolling_run", "rolling_lease")
#: In the short form every so many steps one is tried.
STRIDE = 1 if SCALE else 9
REPEATS = 20 if SCALE else 1
#: On the other databases test_loop_crash.py dies at the points that differ.
ELSEWHERE = quick_on("postgresql")


class Steps:
    """Counts what goes to the database, and does something at one step and from then on."""

    def __init__(self, site: Site, at: int, then: Callable[[], object]) -> None:
        self.count = 0
        with site.app.app_context():
            engine = site.db.engine

        def step(*_: Any) -> None:
            self.count += 1
            if self.count >= at:
                then()

        for name in STEPS:
            event.listen(engine, name, step)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands; the machine's own moves with it."""
    from time import monotonic

    clock = Clock()
    for module in (extension, gate):
        monkeypatch.setattr(module, "monotonic", lambda: monotonic() + clock.passed)
    return clock


@pytest.fixture
def fresh(database_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Site]]:
    """Give a new process's site on emptied tables, with chunks of 60 rows."""
    chunks_of(monkeypatch, CHUNK)
    sites = [make_site(database_url, clock, lease_seconds=1)]
    for number in range(TEMPLATES):
        sites[0].add_quietly(name=f"{number}")

    def one() -> Site:
        for table in TABLES:
            sites[0].sql(f"DELETE FROM {table}")  # noqa: S608 (constants)
        clock.now, clock.passed = Clock().now, 0.0
        for old in sites[1:]:
            old.topup.executor.shutdown(60.0)
            with old.app.app_context():
                old.db.engine.dispose()
            sites.remove(old)
        with sites[0].app.app_context():
            sites[0].db.engine.dispose()
        sites.append(make_site(database_url, clock, create=False, lease_seconds=1))
        return sites[-1]

    yield one
    for site in sites:
        site.topup.executor.shutdown(60.0)


def crash() -> None:
    """Die as by kill -9."""
    os._exit(CRASHED)


def check_left(site: Site) -> None:
    """What a dead process left is whole chunks, and is confirmed only if all of it is there."""
    rows = len(site.starts())
    assert rows in WHOLE_CHUNKS
    states = site.sql("SELECT confirmed_ms FROM rolling_lease")
    assert rows == ALL or not any(confirmed for (confirmed,) in states)
    done = site.sql("SELECT SUM(done) FROM rolling_run")[0][0] or 0
    assert done == rows, "a chunk without its progress, or the other way round"


def heals_at_once(site: Site, clock: Clock) -> bool:
    """Say whether the first request after the lease completes everything."""
    clock.pass_by(LEASE)
    site.visit("/plain")
    return [site.starts(number + 1) for number in range(TEMPLATES)] == [week()] * TEMPLATES


@ELSEWHERE
def test_crash_at_every_step(
    fresh: Callable[[], Site], database_url: str, clock: Clock, request: pytest.FixtureRequest
) -> None:
    """The process dies before and after each statement and before each commit: the first request heals all."""
    crashes = healed = 0
    for at in range(1, 1000, STRIDE):
        site = fresh()

        def first_process(at: int = at) -> None:
            dying = make_site(database_url, clock, create=False, lease_seconds=1)
            Steps(dying, at, crash)
            dying.visit("/plain")

        code = ended(forked(first_process))
        if code == FINISHED:
            break
        assert code == CRASHED
        crashes += 1
        check_left(site)
        healed += heals_at_once(site, clock)
    tell(f"E03 every step [{request.node.callspec.id}]", crashes=crashes, healed=healed)
    assert crashes > 40 / STRIDE
    assert healed == crashes


#: name -> (where, what, whether it dies before or after it)
POINTS: dict[str, tuple[Any, str, Callable[..., None]]] = {
    "gate: state read": (gate, "read_state", after),
    "gate: before the state row": (gate, "make_row", before),
    "gate: lease won, not committed": (gate.Lease, "acquire", after),
    "lease committed": (runner.Runner, "run", before),
    "planned": (run.Run, "_plan_batch", after),
    "fence passed, not committed": (run.Recorder, "start", before),
    "rows written, not committed": (run.Recorder, "advance", before),
    "chunk committed": (run.Run, "_note", before),
    "before the confirmation": (runner.Runner, "_confirm", before),
    "confirmed, not committed": (runner.Runner, "_close_row", before),
    "after the confirmation": (runner, "announce_end", before),
    "before the hint": (runner.Runner, "complete_for", after),
}


@ELSEWHERE
def test_crash_at_every_named_point(
    fresh: Callable[[], Site],
    database_url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """The process dies at each named point, several times: the first request after the lease heals all."""
    crashes = healed = 0
    for where, name, place in (POINTS if SCALE else dict(list(POINTS.items())[4:11:3])).values():
        for _ in range(REPEATS):
            site = fresh()

            def first_process(where: Any = where, name: str = name, place: Any = place) -> None:
                dying = make_site(database_url, clock, create=False, lease_seconds=1)
                place(monkeypatch, where, name, crash)
                dying.visit("/plain")

            assert ended(forked(first_process)) == CRASHED, f"{name} was never reached"
            crashes += 1
            check_left(site)
            healed += heals_at_once(site, clock)
    tell(f"E03 named points [{request.node.callspec.id}]", crashes=crashes, healed=healed)
    assert healed == crashes


@ELSEWHERE
def test_failure_at_every_step(
    fresh: Callable[[], Site],
    clock: Clock,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The database is lost at each step and comes back later: the page answers, and after the backoff all is there."""
    failures = healed = 0
    ill: list[tuple[int, list[str]]] = []
    caplog.set_level(logging.DEBUG, "flask_rollingslots")
    for at in range(1, 1000, STRIDE if SCALE else STRIDE * 2):
        site, lost = fresh(), [True]

        def fail(lost: list[bool] = lost) -> None:
            if lost:
                raise OperationalError("", {}, RuntimeError("the connection is lost"))

        steps = Steps(site, at, fail)
        site.visit("/plain")
        lost.clear()
        if steps.count < at:
            break
        failures += 1
        assert len(site.starts()) in WHOLE_CHUNKS
        clock.pass_by(timedelta(seconds=301))
        if heals_at_once(site, clock):
            healed += 1
        else:
            ill.append((at, [record.getMessage() for record in caplog.records[-3:]]))
    tell(f"E03 lost database [{request.node.callspec.id}]", failures=failures, healed=healed)
    assert failures > 10 / STRIDE
    assert ill == []
