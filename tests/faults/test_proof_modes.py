"""Clocks that are wrong, budgets, frozen processes, full disks, and what a request costs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import timeit
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from figures import middle, scaled, share, tell
from forks import FINISHED, ended, forked
from harness import BOUND
from loop_site import WAIT, Clock, Site, make_site, week
from sqlalchemy import event

from flask_rollingslots import extension
from flask_rollingslots.topup import gate, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Fleet

HOUR = 3600.0


@pytest.fixture
def make() -> Iterator[Callable[..., Site]]:
    """Make sites; their top-ups are over when the test ends."""
    made: list[Site] = []

    def one(url: str, clock: Any = None, **options: Any) -> Site:
        made.append(make_site(url, clock or Clock(), **options))
        return made[-1]

    yield one
    for site in made:
        site.topup.executor.shutdown(60.0)


def test_clock_skew(fleet: Callable[..., Fleet], database_url: str, request: pytest.FixtureRequest) -> None:
    """Workers whose clocks are an hour apart, and set back ten minutes: no row twice, no day left out."""
    ours = fleet(database_url, workers=3, rows=6, delay=0.01, skews=[-HOUR, 0.0, HOUR])
    pauses = []

    def whole() -> bool:
        return all(ours.expected() <= set(ours.site.starts(number)) for number in (1, 2, 3))

    for number in range(scaled(20, 3)):
        if number:
            ours.move()
        began = monotonic()
        if number % 3 == 1:
            ours.get("/")
            ours.clock.move(-600.0)
        assert ours.wait_until(lambda: ours.get("/")[0] is not None and whole(), 30, 0.02)
        pauses.append(monotonic() - began)
    starts = [ours.site.starts(number) for number in (1, 2, 3)]
    duplicates = sum(len(each) - len(set(each)) for each in starts)
    tell(
        f"E14 clock skew [{request.node.callspec.id}]",
        days=len(pauses),
        duplicates=duplicates,
        pause_p50=middle(pauses),
        pause_max=max(pauses),
    )
    assert duplicates == 0
    assert max(pauses) <= BOUND


def processor_time(pid: int) -> float:
    """Return the seconds that a process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_inline_budget(fleet: Callable[..., Fleet], sqlite_url: str) -> None:
    """Inline, each request does a little; none is slowed down by much more than the budget, no worker times out."""
    ours = fleet(
        sqlite_url,
        workers=2,
        kind="sync",
        templates=100,
        options=("--timeout", "3"),
        settings={"executor": "inline", "check_interval": 1},
    )
    seconds, work = [], []
    while not ours.complete():
        began, before = monotonic(), sum(map(processor_time, ours.alive()))
        assert ours.get("/ping")[0] == 200
        seconds.append(monotonic() - began)
        work.append(sum(map(processor_time, ours.alive())) - before)
        assert len(seconds) < 1000
    timeouts = ours.server.process.output().count("WORKER TIMEOUT")
    tell(
        "E20 inline",
        rows=ours.promised,
        requests=len(seconds),
        p50_ms=middle(seconds) * 1000,
        slowest_ms=max(seconds) * 1000,
        processor_p50_ms=middle(work) * 1000,
        processor_most_ms=max(work) * 1000,
        timeouts=timeouts,
    )
    assert timeouts == 0
    # The clock also counts what other processes of the machine take; the budget is about what we do.
    assert middle(work) <= 0.15


def test_frozen_between_requests(fleet: Callable[..., Fleet], sqlite_url: str) -> None:
    """A process frozen after each answer, as serverless platforms do, completes inline and holds no lease meanwhile."""
    ours = fleet(sqlite_url, workers=1, kind="sync", templates=40, settings={"executor": "inline"})
    pid, requests, held = ours.alive()[0], 0, 0
    while not ours.complete() and requests < 40 * 7:
        assert ours.get("/ping")[0] == 200
        os.kill(pid, signal.SIGSTOP)
        held += ours.holder() is not None
        requests += 1
        os.kill(pid, signal.SIGCONT)
    tell("E21 frozen", requests=requests, days_times_templates=280, held_while_frozen=held)
    assert ours.complete()
    assert held == 0


def test_disk_full_and_read_only(
    make: Callable[..., Site], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that cannot be written to crashes nothing; when it can be again, the next request after it heals."""
    clock, state = Clock(), {"query_only": 0, "full": False}
    for module in (extension, gate):
        monkeypatch.setattr(module, "monotonic", lambda: monotonic() + clock.passed)
    site = make(sqlite_url, clock)
    with site.app.app_context():
        engine = site.db.engine

        @event.listens_for(engine, "checkout")
        def limit(raw: Any, _record: Any, _proxy: Any) -> None:
            raw.execute(f"PRAGMA query_only = {state['query_only']}")
            pages = raw.execute("PRAGMA page_count").fetchone()[0]
            raw.execute(f"PRAGMA max_page_count = {pages if state['full'] else 2**30}")

    site.add_quietly(data={"text": "x" * 2000})
    tried, healed = 0, 0
    for kind, value in (("query_only", 1), ("full", True)) * scaled(10, 2):
        clock.pass_by(timedelta(days=2))
        state[kind] = value
        for _ in range(3):
            tried += 1
            assert len(site.visit("/")["starts"]) == len(week(clock.now))
            clock.pass_by(timedelta(seconds=2))
        assert not set(week(clock.now)) <= set(site.starts())
        state[kind] = 0
        clock.pass_by(timedelta(seconds=301))
        site.visit("/plain")
        healed += set(week(clock.now)) <= set(site.starts())
    check = site.sql("PRAGMA integrity_check")
    tell(
        "E09 full and read-only", periods=2 * scaled(10, 2), requests=tried, healed=healed, check=check[0][0]
    )
    assert healed == 2 * scaled(10, 2)
    assert check == [("ok",)]


def test_poisoned_template(
    make: Callable[..., Site], database_url: str, request: pytest.FixtureRequest
) -> None:
    """One of twenty templates that raises keeps none of the others from being filled; health names it."""
    site = make(database_url)
    for number in range(20):
        site.add_quietly(name=f"{number}")
    site.sql("UPDATE rolling_template SET rrule = 'FREQ=NONSENSE' WHERE id = 7")
    site.visit("/plain")
    complete = sum(site.starts(number) == week() for number in range(1, 21))
    with site.app.app_context():
        broken = [coverage.id for coverage in site.slots.health().templates if coverage.error]
    tell(f"E15 poison [{request.node.callspec.id}]", complete=complete, of=20, named=broken)
    assert complete == 19
    assert broken == [7]


def test_many_runs(make: Callable[..., Site], sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten thousand top-ups, each tenth raising, nothing is checked out and no session is left."""
    site, calls, fill = make(sqlite_url), [0], run.Run.fill
    with site.app.app_context():
        engine = site.db.engine
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    site.add_quietly()

    def tenth(filler: Any, specs: Any) -> None:
        calls[0] += 1
        if calls[0] % 10 == 0:
            raise RuntimeError("each tenth")
        fill(filler, specs)

    monkeypatch.setattr(run.Run, "fill", tenth)
    monkeypatch.setattr("flask_rollingslots.topup.gate.backoff", lambda _: 0.0)
    sessions, number = [], scaled(10_000, 100)
    for _ in range(number):
        site.sql("UPDATE rolling_lease SET confirmed_ms = 0, next_try_ms = 0, fingerprint = NULL")
        site.topup.hint._find = lambda: None
        site.topup.memory.next_check = 0.0
        site.visit("/plain")
        sessions.append(len(site.db.session.registry.registry))
    left = engine.pool.checkedout()
    tell(
        "E22 many runs",
        runs=calls[0],
        checked_out=left,
        sessions_first=sessions[0],
        sessions_last=sessions[-1],
    )
    assert calls[0] >= 0.99 * number
    assert left == 0
    assert sessions[-1] <= sessions[0]


def test_sqlite_contention(make: Callable[..., Site], sqlite_url: str) -> None:
    """Six processes book while the window is filled and read: nobody is told that the database is locked."""
    site = make(sqlite_url, enabled=False)
    site.sql("PRAGMA journal_mode = WAL")
    site.add_quietly(capacity=1_000_000)
    with site.app.app_context():
        site.slots.generate()
    writers, each = 6, scaled(1000, 30)
    results: Any = multiprocessing.get_context("fork").Queue()

    def book(number: int) -> None:
        own, times, locked = make_site(sqlite_url, Clock(), create=False, enabled=False), [], 0
        keys = [f"1@{start:%Y%m%dT%H%M}" for start in week()]
        with own.app.app_context():
            for turn in range(each):
                began = monotonic()
                try:
                    own.slots.book(keys[(turn * 7 + number) % len(keys)])
                    own.db.session.commit()
                except Exception:
                    own.db.session.rollback()
                    locked += 1
                times.append(monotonic() - began)
        results.put((times, locked))
        results.close()
        results.join_thread()

    children = [forked(lambda number=number: book(number)) for number in range(writers)]
    over, filled = threading.Event(), [0]

    def maintain() -> None:
        days = 7
        while not over.wait(0.05):
            days += 1
            with site.app.app_context():
                filled[0] += site.slots.generate(days=days).created

    keeper = threading.Thread(target=maintain)
    keeper.start()
    got = [results.get(timeout=600) for _ in children]
    codes = [ended(child) for child in children]
    over.set()
    keeper.join(WAIT)
    times, locked = [second for part, _ in got for second in part], sum(part for _, part in got)
    stored = site.sql("SELECT SUM(booked) FROM rolling_slot")[0][0]
    tell(
        "E27 contention",
        writers=writers,
        bookings=len(times),
        refused=locked,
        counted=stored,
        filled=filled[0],
        p50_ms=middle(times) * 1000,
        p99_ms=share(times, 99) * 1000,
        slowest_ms=max(times) * 1000,
    )
    assert set(codes) == {FINISHED}
    assert stored == len(times) - locked
    assert locked == 0
    assert share(times, 99) <= 0.5


class Mute:
    """A cache client whose server is gone: nothing is found, nothing is stored, nothing is said."""

    gets = 0

    def get(self, _key: str) -> None:
        """Find nothing."""
        self.gets += 1

    def set(self, _key: str, _value: Any, timeout: int | None = None) -> bool:
        """Store nothing."""
        return False

    def add(self, _key: str, _value: Any, timeout: int | None = None) -> bool:
        """Say that somebody else was first."""
        return False


def test_mute_cache(make: Callable[..., Site], sqlite_url: str) -> None:
    """A client that answers False and nothing, as python-memcached does without a server, stops no top-up."""
    mute = Mute()
    site = make(sqlite_url)
    site.topup.hint._find = lambda: mute
    site.add_quietly()
    site.visit("/plain")
    tell("E12 mute cache", asked=mute.gets, rows=len(site.starts()), promised=len(week()))
    assert mute.gets == 1
    assert site.starts() == week()


def test_what_a_request_costs(make: Callable[..., Site], sqlite_url: str) -> None:
    """The hook costs a clock comparison: nanoseconds of a call, and no measurable share of a request."""
    site = make(sqlite_url)
    site.add_quietly()
    site.visit("/plain")
    hook = site.app.before_request_funcs[None][0]
    number = scaled(1_000_000, 20_000)
    calls = [timeit.timeit(hook, number=number) / number * 1e9 for _ in range(5)]
    client, hooks = site.app.test_client(), site.app.before_request_funcs[None]
    ratios = []
    for _ in range(scaled(15, 3)):
        pair = []
        for funcs in ([], hooks):
            site.app.before_request_funcs[None] = funcs
            pair.append(timeit.timeit(lambda: client.get("/plain"), number=scaled(2000, 50)))
        ratios.append(pair[1] / pair[0])
    tell("E30 fast path", ns_a_call=min(calls), ns_median=middle(calls), ratio_of_requests=middle(ratios))
    assert min(calls) <= 200
    assert middle(ratios) <= 1.02 or number < 1_000_000
