"""Claim, then confirm: crashes at every step, zombies, and no lease at all."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from forks import FINISHED, ended, forked, wait_forever
from loop_site import DAY, PLAIN, WAIT, Clock, Site, Stop, after, before, before_chunks, chunks_of, week
from marks import DATABASES, quick_on
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from flask_rollingslots.filling import chunks, history
from flask_rollingslots.topup import gate, run, runner

if TYPE_CHECKING:
    from collections.abc import Callable

CRASHED = 137
TEMPLATES = 3
CHUNK = 100
#: After so many committed chunks of 100 rows.
WHOLE_CHUNKS = {0, CHUNK, 2 * CHUNK, TEMPLATES * len(week())}


def crash(*_args: Any, **_kwargs: Any) -> None:
    """Die as by kill -9: nothing is cleaned up."""
    os._exit(CRASHED)


def second(original: Callable[..., Any], before: bool) -> Callable[..., Any]:
    """Let the second call of a function be the end."""
    calls: list[int] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if before and len(calls) == 2:
            crash()
        result = original(*args, **kwargs)
        if len(calls) == 2:
            crash()
        return result

    return call


#: name -> (where, what, how it dies there, rows that must be stored then)
POINTS: dict[str, tuple[Any, str, Callable[[Any], Any], set[int]]] = {
    "after the lease": (runner.Runner, "run", lambda _: crash, {0}),
    "before the first chunk": (run.Run, "_write", lambda _: crash, {0}),
    "after the fence": (run.Recorder, "start", lambda _: crash, {0}),
    "mid-chunk": (chunks, "_update", lambda _: crash, {0}),
    "mid-chunk, the second": (run, "write_chunk", lambda f: second(f, before=False), {CHUNK}),
    "before the second chunk": (run, "write_chunk", lambda f: second(f, before=True), {CHUNK}),
    "after a commit": (run.Run, "_note", lambda _: crash, {CHUNK}),
    "before the confirmation": (runner.Runner, "_confirm", lambda _: crash, {max(WHOLE_CHUNKS)}),
    "inside the confirmation": (run.Recorder, "end", lambda _: crash, {max(WHOLE_CHUNKS)}),
    "after the confirmation": (runner, "announce_end", lambda _: crash, {max(WHOLE_CHUNKS)}),
}
#: Each database rolls back what was open; where nothing is, SQLite shows what another process makes of it.
OPEN = ("after the fence", "mid-chunk", "inside the confirmation")
CASES = [
    pytest.param(
        name,
        point,
        id=f"{name}-{point}",
        marks=[] if name == "sqlite" or point in OPEN else pytest.mark.slow,
    )
    for name in DATABASES
    for point in POINTS
]


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks for three templates."""
    chunks_of(monkeypatch, CHUNK)


@pytest.mark.faults
@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize(("database_url", "point"), CASES, indirect=["database_url"])
def test_crash_loses_nothing(
    make: Callable[..., Site],
    database_url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """A process killed at any step leaves whole chunks only, confirms nothing, and is replaced after its lease."""
    where, name, dies, stored = POINTS[point]
    make(database_url)

    def first_process() -> None:
        site = make(database_url, create=False, lease_seconds=1)
        for number in range(TEMPLATES):
            site.add_quietly(name=f"{number}")
        monkeypatch.setattr(where, name, dies(getattr(where, name)))
        site.get("/plain")
        wait_forever()

    assert ended(forked(first_process)) == CRASHED
    site = make(database_url, create=False, lease_seconds=1)
    assert len(site.starts()) in stored
    confirmed = site.lease().confirmed_ms > 0
    assert confirmed == (point == "after the confirmation")
    assert site.visit()["starts"]  # at once: the page is whole whatever is stored
    clock.pass_by(timedelta(seconds=1.1))
    site.visit("/plain")
    clock.pass_by(timedelta(seconds=1.1))
    site.visit("/plain")
    assert [site.starts(number + 1) for number in range(TEMPLATES)] == [week()] * TEMPLATES
    assert site.lease().confirmed_ms > 0
    assert site.lease().until_ms == 0
    assert "running" not in {run.status for run in site.runs()}


@pytest.mark.usefixtures("_small_chunks")
def test_run_of_a_dead_process_is_closed(
    make: Callable[..., Site], sqlite_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run row of a killed process is marked as interrupted by the one that completes the window."""
    make(sqlite_url)

    def first_process() -> None:
        site = make(sqlite_url, create=False)
        for number in range(TEMPLATES):
            site.add_quietly(name=f"{number}")
        monkeypatch.setattr(run.Run, "_note", crash)
        site.get("/plain")
        wait_forever()

    assert ended(forked(first_process)) == CRASHED
    site = make(sqlite_url, create=False)
    assert [run.status for run in site.runs()] == ["running"]
    clock.pass_by(timedelta(seconds=31))
    site.visit("/plain")
    assert [(run.status, run.done) for run in site.runs()] == [
        ("interrupted", CHUNK),
        ("confirmed", max(WHOLE_CHUNKS) - CHUNK),
    ]


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("where", ["write", "confirm"])
def test_zombie_is_fenced(
    make: Callable[..., Site],
    database_url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    """A holder that slept past its lease while another one finished writes nothing more and confirms nothing."""
    caplog.set_level(logging.INFO, "flask_rollingslots")
    zombie, successor = make(database_url), make(database_url)
    for number in range(TEMPLATES):
        zombie.add_quietly(name=f"{number}")
    stop = Stop()
    before(monkeypatch, *{"write": (run.Run, "_write"), "confirm": (runner.Runner, "_confirm")}[where], stop)
    zombie.get("/plain")
    assert stop.arrived.wait(WAIT)
    clock.pass_by(timedelta(seconds=31))
    successor.visit("/plain")
    assert [successor.starts(number + 1) for number in range(TEMPLATES)] == [week()] * TEMPLATES
    zombie.sql("DELETE FROM rolling_slot")  # whatever it still wrote would be seen
    state = zombie.lease()
    stop.go.set()
    zombie.finish()
    after = zombie.lease()
    assert zombie.starts() == []
    assert {c: getattr(after, c) for c in vars(after) if c[0] != "_"} == {
        c: getattr(state, c) for c in vars(state) if c[0] != "_"
    }
    assert len([r for r in caplog.records if getattr(r, "action", "") == "topup_fenced"]) == 1
    assert [r.message for r in caplog.records if r.levelno > logging.INFO] == []
    assert [run.status for run in zombie.runs() if run.token != after.token] in ([], ["interrupted"])


def test_two_processes_without_a_lease(
    make: Callable[..., Site], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that both believe to hold the lease and plan the same window: each slot once, no deadlock."""
    templates = 12
    site = make(database_url)
    for number in range(templates):
        site.add_quietly(name=f"{number}")
    both = multiprocessing.get_context("fork").Barrier(2)

    def always(_work: Any, owner: str) -> gate.Lease | None:
        return gate.Lease(owner, os.getpid())

    def process() -> None:
        monkeypatch.setattr(gate.Lease, "acquire", staticmethod(always))
        monkeypatch.setattr(gate.Lease, "_set", lambda *_args, **_values: None)
        chunks_of(monkeypatch, CHUNK)
        monkeypatch.setattr(run, "_RACES", 1)  # a deadlock is not run again here, but seen
        monkeypatch.setattr(run.Recorder, "close_dead_runs", lambda *_: None)
        own = make(database_url, create=False)
        meet = [both.wait]  # once: both have planned, nothing is written yet
        before_chunks(monkeypatch, lambda: meet and meet.pop()(WAIT))
        with own.app.app_context():
            report = own.slots.generate()
        assert (report.existing, report.expected) == (0, templates * len(week()))
        assert not [t.error for t in report.templates.values() if t.error]

    children = [forked(process) for _ in range(2)]
    assert [ended(child) for child in children] == [FINISHED, FINISHED]
    assert [site.starts(number + 1) for number in range(templates)] == [week()] * templates
    runs = site.runs()
    assert [run.status for run in runs] == ["confirmed", "confirmed"]
    assert sum(run.created for run in runs) == templates * len(week())


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while the parent tops up"])
def test_child_after_a_fork_tops_up(
    make: Callable[..., Site],
    sqlite_url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    busy: bool,
) -> None:
    """A process forked from one that has used its thread starts its own at the first request."""
    site = make(sqlite_url)
    site.add_quietly()
    site.visit("/plain")
    clock.pass_by(DAY)
    stop = Stop()
    if busy:
        before_chunks(monkeypatch, stop)
        site.get("/plain")
        assert stop.arrived.wait(WAIT)

    def child() -> None:
        with site.app.app_context():
            site.db.engine.dispose(close=False)
        clock.pass_by(timedelta(seconds=31))  # the parent's lease
        site.visit("/plain")
        assert site.starts() == week(days=8)

    assert ended(forked(child)) == FINISHED
    stop.go.set()
    site.finish()
    assert site.starts() == week(days=8)


@pytest.mark.faults
@pytest.mark.parametrize("where", ["write_chunk", "screen"])
def test_server_ends_the_connection(
    make: Callable[..., Site], postgres_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A connection that the server ends in the middle costs one failed top-up; the next one completes."""
    site = make(postgres_url)
    site.add_quietly()
    stop = Stop()
    before(monkeypatch, run, where, stop)
    site.get("/plain")
    assert stop.arrived.wait(WAIT)
    site.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    stop.go.set()
    site.finish()
    assert site.starts() == []
    with site.app.app_context():
        assert site.db.engine.pool.checkedout() == 0
    clock.pass_by(timedelta(minutes=6))
    site.visit("/plain")
    assert site.starts() == week()
    assert site.lease().failures == 0


def test_engine_that_begins_by_itself(
    make: Callable[..., Site],
    sqlite_url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On SQLite with WAL and a BEGIN for each transaction, a write of the app in between is no failure."""
    site, other = make(sqlite_url), make(sqlite_url)
    site.add_quietly()
    for one in (site, other):
        with one.app.app_context():
            engine = one.db.engine
        engine.dispose()

        @event.listens_for(engine, "connect")
        def connect(raw: Any, _record: Any) -> None:
            raw.isolation_level = None
            raw.execute("PRAGMA journal_mode = WAL")

        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")

    stop = Stop()
    after(monkeypatch, runner, "count_edges", stop)
    site.get("/plain")
    assert stop.arrived.wait(WAIT)
    writes = threading.Event()

    def write() -> None:
        with suppress(OperationalError):  # it may have to wait for the confirmation, or be refused
            other.sql("INSERT INTO note (text) VALUES ('mine')")
        writes.set()

    visitor = threading.Thread(target=write)
    visitor.start()
    writes.wait(0.3)  # either it is through by now, or it waits for us
    stop.go.set()
    visitor.join(WAIT)
    site.finish()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert site.starts() == week()
    assert site.lease().confirmed_ms > 0


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("server", ["postgres_url", "mariadb_url"])
def test_stopped_process_holds_nobody_up(
    make: Callable[..., Site], server: str, request: pytest.FixtureRequest, clock: Clock
) -> None:
    """A process stopped in the middle of its transaction loses it to the server; another completes, pages answer."""
    url = request.getfixturevalue(server)
    make(url).add_quietly()

    def first_process() -> None:
        site = make(url, create=False)
        after(PLAIN, run, "write_chunk", lambda: os.kill(os.getpid(), signal.SIGSTOP))
        site.get("/plain")
        site.topup.executor._thread.join()

    child = forked(first_process)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    try:
        site = make(url, create=False)
        end = monotonic() + 1.5 * WAIT
        while not set(week(clock.now)) <= set(site.starts()):
            assert monotonic() < end, "nobody completes the window"
            clock.pass_by(timedelta(minutes=6))
            site.visit()
        state = site.lease()
    finally:
        os.kill(child, signal.SIGCONT)
    assert ended(child) == FINISHED
    assert (site.lease().token, site.lease().confirmed_ms) == (state.token, state.confirmed_ms)
    assert len(site.starts()) == len(set(site.starts()))
    assert site.starts()[-1] == week()[-1]


def _dies_after(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        crash()

    return call


#: name -> (where, what, how it dies there, whether the history is noted as complete)
OF_HISTORY: dict[str, tuple[Any, str, Callable[[Any], Any], bool]] = {
    "in the middle of the fill": (run, "write_chunk", lambda f: second(f, before=True), False),
    "between fill and note": (run.Run, "note_history", lambda _: crash, False),
    "before the note is committed": (history, "note_complete", _dies_after, False),
    "before the confirmation": (runner.Runner, "_confirm", lambda _: crash, True),
}


@pytest.mark.faults
@pytest.mark.usefixtures("_small_chunks")
@quick_on("sqlite")
@pytest.mark.parametrize("point", OF_HISTORY)
def test_crash_leaves_the_history_to_the_next(
    make: Callable[..., Site],
    database_url: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """A history counts as complete only after all of it is committed; the next run does the rest, and nothing twice."""
    where, name, dies, noted = OF_HISTORY[point]
    make(database_url)

    def first_process() -> None:
        site = make(database_url, create=False, lease_seconds=1)
        site.add_quietly(keep_history=True)
        clock.pass_by(10 * DAY)
        monkeypatch.setattr(where, name, dies(getattr(where, name)))
        site.get("/plain")
        wait_forever()

    assert ended(forked(first_process)) == CRASHED
    begun = clock.now
    site = make(database_url, create=False, lease_seconds=1)
    clock.pass_by(10 * DAY + timedelta(seconds=1.1))

    def history_until() -> Any:
        with site.app.app_context():
            return site.db.session.scalar(site.db.select(site.slots.Template.history_until))

    assert (history_until() > begun) == noted
    site.visit("/plain")
    clock.pass_by(timedelta(seconds=1.1))
    site.visit("/plain")
    expected = [start for start in week(begun - DAY, 18) if start >= begun.replace(tzinfo=None)]
    assert site.starts() == expected
    assert history_until() > clock.now
