"""Servers that crash and come back, and caches of every kind, while workers are killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import redis
from figures import SEED, middle, scaled, tell
from harness import BOUND, kill_loop
from restarts import crashing
from servers import Unavailable, Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Fleet

BACKOFF = 2.0
CACHES = ["null", "simple", "filesystem", "valkey", "memcached"]


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)  # drivers do not close the sockets of connections that their server broke
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_database_crashes(fleet: Callable[..., Fleet], kind: str) -> None:
    """The database crashes again and again in the middle of a fill: other pages answer, and all heals after it."""
    heals, pings, down = [], [], scaled(5, 1)
    with crashing(kind) as (server, url):
        ours = fleet(url, rows=6, delay=0.02, backoff=BACKOFF)
        assert ours.heal() is not None
        with ours.visitors(1, "/ping") as traffic:
            for _ in range(scaled(10, 2)):
                ours.move()
                ours.get("/")
                ours.wait_until(lambda: ours.holder() is not None, 1.0)
                server.crash()
                time.sleep(down)  # this long it is away
                server.start()
                with ours.site.app.app_context():
                    ours.site.db.engine.dispose()
                began = monotonic()
                healed = ours.wait_until(lambda: ours.get("/")[0] is not None and ours.complete(), 20, 0.02)
                heals.append(monotonic() - began if healed else float("inf"))
        pings = traffic.seconds
        found = ours.audit()
        tell(
            f"E07 crashes [{kind}]",
            crashes=len(heals),
            down_seconds=down,
            backoff_limit=BACKOFF,
            heal_p50=middle(heals),
            heal_max=max(heals),
            pings=len(pings),
            ping_errors=traffic.errors + traffic.broken,
            ping_p99_ms=traffic.p99,
            **found,
        )
        assert max(heals) <= 5.0
        assert traffic.errors + traffic.broken == 0
        assert (found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0)


def cache_config(kind: str, request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """Return the config of a new cache."""
    if kind == "null":
        return {"CACHE_TYPE": "NullCache", "CACHE_NO_NULL_WARNING": True}
    if kind == "simple":
        return {"CACHE_TYPE": "SimpleCache"}
    if kind == "filesystem":
        return {"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": str(folder / "cache")}
    prefix = {"CACHE_KEY_PREFIX": f"{os.getpid()} {folder.name}"}
    if kind == "valkey":
        url = request.getfixturevalue("valkey").url
        return {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url, **prefix}
    path = str(request.getfixturevalue("memcached").path)
    prefix = {"CACHE_KEY_PREFIX": f"{os.getpid()}-{folder.name}"}
    return {"CACHE_TYPE": "MemcachedCache", "CACHE_MEMCACHED_SERVERS": [path], **prefix}


@pytest.mark.parametrize("kind", CACHES)
def test_matrix(
    fleet: Callable[..., Fleet], database_url: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each cache with each database: kills and new days heal within the bound."""
    ours = fleet(database_url, rows=6, delay=0.01, cache=cache_config(kind, request, tmp_path))
    assert ours.heal() is not None
    with ours.visitors() as traffic:
        losses = kill_loop(ours, scaled(6, 2), SEED)
    found = ours.audit()
    tell(
        f"E13 matrix [{request.node.callspec.id}]",
        moves=losses.moves,
        kills=losses.kills,
        inside_a_run=losses.inside,
        unhealed=losses.unhealed,
        **found,
        heal_p50=middle(losses.heals),
        heal_max=max(losses.heals, default=0.0),
        errors=traffic.errors,
        p99_ms=traffic.p99,
    )
    assert (losses.unhealed, found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0, 0)
    assert max(losses.heals) <= BOUND
    assert traffic.errors == 0, traffic.bodies[:3]


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey that this test may stop and flood."""
    try:
        server = Valkey()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield server
    with suppress(ProcessLookupError):
        os.kill(server.process.pid, signal.SIGCONT)
    server.stop()


@pytest.mark.parametrize("what", ["flushed and frozen", "evicting"])
def test_cache_under_attack(
    fleet: Callable[..., Fleet], postgres_url: str, own_valkey: Valkey, what: str
) -> None:
    """A cache that is flushed and frozen all the time, or throws everything out, changes nothing for the window."""
    client = redis.Redis.from_url(own_valkey.url, socket_timeout=0.2)
    if what == "evicting":
        client.config_set("maxmemory", "3mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    cache = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": own_valkey.url}
    ours = fleet(postgres_url, rows=6, delay=0.01, cache=cache)
    assert ours.heal() is not None
    over, rng, attacks = threading.Event(), random.Random(SEED), [0]

    def attack() -> None:
        while not over.is_set():
            attacks[0] += 1
            with suppress(redis.RedisError):
                if what == "evicting":
                    client.mset({f"junk-{rng.random()}": "x" * 10_000 for _ in range(20)})
                else:
                    client.flushall()
                    os.kill(own_valkey.process.pid, signal.SIGSTOP)
                    over.wait(0.5)
                    os.kill(own_valkey.process.pid, signal.SIGCONT)
            over.wait(0.1)

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        with ours.visitors() as traffic:
            losses = kill_loop(ours, scaled(30, 2), SEED)
    finally:
        over.set()
        attacker.join()
        client.close()
    found = ours.audit()
    tell(
        f"E10 valkey {what}",
        attacks=attacks[0],
        moves=losses.moves,
        kills=losses.kills,
        unhealed=losses.unhealed,
        **found,
        heal_p50=middle(losses.heals),
        heal_max=max(losses.heals, default=0.0),
        p99_ms=traffic.p99,
        errors=traffic.errors,
    )
    assert (losses.unhealed, found["wrong"], found["duplicates"], found["half_chunks"]) == (0, 0, 0, 0)
    assert max(losses.heals) <= BOUND
    assert traffic.errors == 0
