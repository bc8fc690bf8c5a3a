"""The ends of workers: told to stop, recycled, stopped by a signal, hung, forked from a warm master."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from figures import SEED, middle, scaled, tell
from harness import BOUND, LEASE, kill_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Fleet

KINDS = ["sync", "gthread", "gevent"]
IDLE_SECONDS = 10.0  # after which PostgreSQL and MariaDB end the transaction of a process that was stopped
DRAIN_SECONDS = 2.0
CHUNK_SECONDS = 0.05


def needs(kind: str) -> None:
    """Skip without gevent."""
    if kind == "gevent":
        pytest.importorskip("gevent")


def gone(pid: int) -> bool:
    """Say whether a process has ended."""
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("how", ["TERM", "HUP", "INT", "max-requests"])
@pytest.mark.parametrize("kind", KINDS)
def test_drain(fleet: Callable[..., Fleet], sqlite_url: str, kind: str, how: str, preload: bool) -> None:
    """A worker that is told to end in the middle of a fill gives the lease back, soon, and the next one completes."""
    needs(kind)
    recycled = how == "max-requests"
    options = ("--max-requests", "3") if recycled else ()
    ours = fleet(
        sqlite_url,
        workers=1,
        kind=kind,
        preload=preload,
        options=options,
        templates=6,
        rows=20,
        delay=CHUNK_SECONDS,
        settings={"lease_seconds": 30},  # so that it must really be given back
    )
    pid = ours.alive()[0]
    assert ours.get("/ping")[0] == 200
    assert ours.wait_until(lambda: ours.rows() >= 40)
    began, before = monotonic(), ours.rows()
    if recycled:
        for _ in range(2):
            assert ours.get("/ping")[0] == 200
    else:
        os.kill(ours.server.process.pid, getattr(signal, f"SIG{how}"))
    assert ours.wait_until(lambda: gone(pid), 15, 0.002)
    delay, chunks = monotonic() - began, (ours.rows() - before) / 20
    until = ours.site.sql("SELECT until_ms FROM rolling_lease")[0][0]
    statuses = [status for (status,) in ours.site.sql("SELECT status FROM rolling_run")]
    healed = None
    if how in ("HUP", "max-requests"):
        ours.server.wait_for_workers(1)
        # The others end after three requests again, and each does its part.
        healed = ours.wait_until(lambda: ours.get("/ping")[0] is not None and ours.complete(), 20, 0.3)
    tell(
        f"E17 drain [{kind} {how}{' preload' if preload else ''}]",
        exit_seconds=delay,
        chunks_after=chunks,
        lease_given_back=until == 0,
        run=statuses[0],
        successor_completes=healed,
    )
    assert until == 0
    assert statuses == ["interrupted"]
    # gunicorn's gevent worker looks once a second whether it has to end; the drain begins only then.
    assert chunks <= 2 + (1.0 / CHUNK_SECONDS if kind == "gevent" else 0)
    assert delay <= DRAIN_SECONDS + 1.0
    assert healed in (None, True)


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("kind", KINDS)
def test_kill_loop_of_each_kind(
    fleet: Callable[..., Fleet], postgres_url: str, kind: str, preload: bool
) -> None:
    """Each kind of worker, with and without --preload, heals within the bound."""
    needs(kind)
    ours = fleet(postgres_url, kind=kind, preload=preload, rows=6, delay=0.01)
    assert ours.heal() is not None
    with ours.visitors() as traffic:
        losses = kill_loop(ours, scaled(10, 3), SEED)
    found = ours.audit()
    tell(
        f"E02 kill loop [{kind}{' preload' if preload else ''} postgresql]",
        moves=losses.moves,
        kills=losses.kills,
        inside_a_run=losses.inside,
        unhealed=losses.unhealed,
        **found,
        heal_p50=middle(losses.heals),
        heal_max=max(losses.heals, default=0.0),
        errors=traffic.errors,
    )
    assert (losses.unhealed, found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0, 0)
    assert max(losses.heals) <= BOUND
    assert traffic.errors == 0, traffic.bodies[:3]


def stopped(fleet: Fleet, sign: str) -> int:
    """Let a day begin, and the worker that fills stop itself; return its process id."""
    fleet.move()
    (fleet.folder / sign).touch()
    assert fleet.wait_until(
        lambda: fleet.get("/", timeout=1)[0] == 0 or list(fleet.folder.glob(f"{sign}.*")) != []
    )
    return int(next(fleet.folder.glob(f"{sign}.*")).suffix[1:])


def completes(fleet: Fleet, seconds: float) -> float | None:
    """Visit until everything is there; return how long that took."""
    began = monotonic()
    done = fleet.wait_until(lambda: fleet.get("/", timeout=1)[0] == 0 or fleet.complete(), seconds, 0.05)
    return monotonic() - began if done else None


@pytest.mark.parametrize("url", ["postgres_url", "mariadb_url"])
def test_stop_inside_a_transaction(
    fleet: Callable[..., Fleet], url: str, request: pytest.FixtureRequest
) -> None:
    """The server ends the transaction of a stopped worker; another completes, and the zombie writes nothing more."""
    ours = fleet(request.getfixturevalue(url), workers=2, rows=20)
    assert ours.heal() is not None
    pid = stopped(ours, "stop-inside")
    seconds = completes(ours, 60)
    before = ours.site.lease()
    os.kill(pid, signal.SIGCONT)
    ours.wait_until(lambda: "top-up f" in ours.server.process.output(), 5)
    found, after = ours.audit(), ours.site.lease()
    tell(
        f"E04 stopped inside [{url.removesuffix('_url')}]",
        heal=seconds,
        zombie_changed=after.token != before.token,
        **found,
    )
    assert seconds is not None
    assert seconds <= IDLE_SECONDS + BOUND + 4.0  # and one backoff of two to four seconds
    assert (found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0)


def test_stop_inside_a_transaction_on_sqlite(fleet: Callable[..., Fleet], sqlite_url: str) -> None:
    """On SQLite nobody can write until the stopped worker goes on; reading works, and then all is there soon."""
    ours = fleet(sqlite_url, workers=2, rows=20)
    assert ours.heal() is not None
    pid = stopped(ours, "stop-inside")
    reads = [ours.get("/", timeout=2)[0] for _ in range(30)]
    os.kill(pid, signal.SIGCONT)
    seconds = completes(ours, 30)
    found = ours.audit()
    tell("E04 stopped inside [sqlite]", reads_ok=reads.count(200), reads=len(reads), heal=seconds, **found)
    assert reads.count(200) == len(reads)
    assert seconds is not None
    assert (found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0)


def test_stop_between_chunks(
    fleet: Callable[..., Fleet], database_url: str, request: pytest.FixtureRequest
) -> None:
    """A worker stopped between two chunks is replaced after its lease; when it goes on, it is fenced once."""
    ours = fleet(database_url, workers=2, rows=10, delay=0.01)
    assert ours.heal() is not None
    pid = stopped(ours, "stop-between")
    seconds = completes(ours, 3 * BOUND)
    before = ours.site.lease()
    os.kill(pid, signal.SIGCONT)
    log = ours.server.process.output
    fenced = ours.wait_until(
        lambda: ours.site.sql("SELECT 1 FROM rolling_run WHERE status = 'running'") == [], 5
    )
    found, after = ours.audit(), ours.site.lease()
    failed = log().count("top-up failed")
    tell(
        f"E05 stopped between [{request.node.callspec.id}]",
        heal=seconds,
        closed=fenced,
        same_token=after.token == before.token,
        failed_top_ups=failed,
        **found,
    )
    assert seconds is not None
    assert seconds <= BOUND
    assert after.token == before.token
    assert failed == 0
    assert (found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0)


@pytest.mark.parametrize("dispose", [True, False], ids=["pool-closed", "pool-open"])
def test_warm_master(
    fleet: Callable[..., Fleet], database_url: str, dispose: bool, request: pytest.FixtureRequest
) -> None:
    """Workers forked from a master that has read and filled already: no request hangs or fails."""
    ours = fleet(database_url, env={"FAULT_WARM": "dispose" if dispose else "keep"}, workers=4, threads=4)
    with ours.visitors(8, pause=0.0) as traffic:
        ours.move()
        enough = ours.wait_until(lambda: len(traffic.seconds) + traffic.errors >= scaled(1000, 200), 60)
    healed = ours.heal()
    tell(
        f"E16 warm master [{request.node.callspec.id}]",
        requests=len(traffic.seconds),
        errors=traffic.errors,
        broken=traffic.broken,
        slowest_ms=traffic.slowest,
        heal=healed,
    )
    assert enough
    assert (traffic.errors, traffic.broken) == (0, 0), traffic.bodies[:3]
    assert healed is not None


def memory_of(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_hung_top_up(fleet: Callable[..., Fleet], sqlite_url: str) -> None:
    """A top-up that never ends costs one thread: 20,000 requests neither start more nor need more memory."""
    ours = fleet(sqlite_url, workers=1)
    pid = ours.alive()[0]
    before = ours.hammer("/ping", 3.0, 0.0)
    ours.move()
    (ours.folder / "hang").touch()
    ours.hammer("/ping", 2.0, 0.0)
    threads, memory, during = ours.threads_of(pid), memory_of(pid), []
    while sum(len(part.seconds) for part in during) < scaled(20_000, 1000):
        during.append(ours.hammer("/ping", 2.0, 0.0))
    more, grown = ours.threads_of(pid) - threads, memory_of(pid) - memory
    tell(
        "E18 hung top-up",
        requests=sum(len(part.seconds) for part in during),
        more_threads=more,
        grown_mb=grown,
        p99_ms=max(part.p99 for part in during),
        p99_before_ms=before.p99,
    )
    assert list(ours.folder.glob("hang.*")) != []
    assert more == 0
    assert grown < 5.0


def test_long_run(fleet: Callable[..., Fleet], database_url: str, request: pytest.FixtureRequest) -> None:
    """A run of ten leases keeps its lease by renewing it: one run, one writer."""
    ours = fleet(database_url, workers=4, rows=3, delay=0.12)
    began = monotonic()
    with ours.visitors():
        done = ours.wait_until(ours.complete, 60, 0.05)
    found = ours.audit()
    tell(f"E06 long run [{request.node.callspec.id}]", seconds=monotonic() - began, leases=LEASE, **found)
    assert done
    assert (found["runs"], found["cut"], found["wrong"]) == (1, 0, 0)
