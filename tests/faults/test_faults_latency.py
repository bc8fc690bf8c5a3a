"""A database or a cache that hangs: who does not need it does not notice.

The short form asserts an order: pages answer, and with a silent cache the day is filled, before the server speaks
again. The whole form also measures how long they take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from figures import SCALE, scaled, tell
from harness import BOUND

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Fleet
    from proxy import Proxy

P99_MS = 20.0
LIMIT_MS = 250.0
SECONDS = 30
SHORT_SECONDS = 1
MODES = ["stall", "refuse"] if SCALE else ["stall"]
#: How long a database may be away in this test before the backoff has grown longer than the test waits.
HEAL_SECONDS = 60.0


def figures_of(before: Any, during: Any) -> dict[str, Any]:
    """Return what is told of one page."""
    return {
        "requests": len(during.seconds),
        "p99_ms": during.p99,
        "slowest_ms": during.slowest,
        "p99_before_ms": before.p99,
        "slowest_before_ms": before.slowest,
        "errors": during.errors,
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server", ["postgres_url", pytest.param("mariadb_url", marks=pytest.mark.slow)])
def test_database_that_hangs(
    fleet: Callable[..., Fleet],
    proxied: Callable[[str], tuple[Proxy, str]],
    request: pytest.FixtureRequest,
    server: str,
    mode: str,
) -> None:
    """While the database is silent or gone, a page that does not need it answers; afterwards the window heals."""
    url = request.getfixturevalue(server)
    proxy, seen = proxied(url)
    ours = fleet(url, workers=1, seen_url=seen)
    assert ours.heal() is not None
    pid = ours.alive()[0]
    with ours.visitors(8, "/ping", 0.0) as warm:  # gunicorn starts its own threads when they are needed
        ours.wait_until(lambda: len(warm.seconds) > 50)
    before = ours.hammer("/ping", scaled(5, 1))
    threads, connections = ours.threads_of(pid), proxy.connections
    ours.move()
    proxy.set(mode)
    during = ours.hammer("/ping", scaled(SECONDS, SHORT_SECONDS))
    more_threads = ours.threads_of(pid) - threads
    more_connections = proxy.connections - connections
    proxy.set("cut" if mode == "stall" else "pass")
    healed = ours.wait_until(lambda: ours.get("/")[0] == 200 and ours.complete(), HEAL_SECONDS, 0.05)
    tell(
        f"E08 {server.removesuffix('_url')} {mode}",
        **figures_of(before, during),
        more_threads=more_threads,
        more_connections=more_connections,
        healed=healed,
    )
    assert during.errors == 0
    assert more_threads <= 1
    assert more_connections <= 1
    assert healed
    if SCALE:
        # On a busy machine it is slow without any fault, too.
        assert during.p99 <= max(P99_MS, 2 * before.p99)
        assert during.slowest <= max(LIMIT_MS, 2 * before.slowest)


def cache_through(
    proxied: Callable[[str], tuple[Proxy, str]], request: pytest.FixtureRequest, kind: str
) -> tuple[Proxy, dict[str, Any]]:
    """Return a proxy before a new cache, and the config of a cache without any time-outs."""
    server = request.getfixturevalue(kind)
    proxy, seen = proxied(server.url if kind == "valkey" else str(server.path))
    prefix = {"CACHE_KEY_PREFIX": request.node.name}
    if kind == "valkey":
        return proxy, {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": seen, **prefix}
    return proxy, {"CACHE_TYPE": "MemcachedCache", "CACHE_MEMCACHED_SERVERS": [seen], **prefix}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["valkey", "memcached"])
def test_cache_that_hangs(
    fleet: Callable[..., Fleet],
    proxied: Callable[[str], tuple[Proxy, str]],
    request: pytest.FixtureRequest,
    sqlite_url: str,
    kind: str,
    mode: str,
) -> None:
    """While the cache is silent or gone, pages answer and the new day is filled, and both within the bound."""
    proxy, cache = cache_through(proxied, request, kind)
    ours = fleet(sqlite_url, workers=1, cache=cache)
    assert ours.heal() is not None
    before = ours.hammer("/", scaled(5, 1))
    ours.move()
    proxy.set(mode)
    seconds = ours.heal()
    ping = ours.hammer("/ping", scaled(SECONDS, SHORT_SECONDS) / 2)
    during = ours.hammer("/", scaled(SECONDS, SHORT_SECONDS) / 2)
    proxy.set("cut" if mode == "stall" else "pass")
    tell(
        f"E10 {kind} {mode}",
        heal=seconds,
        **figures_of(before, during),
        ping_p99_ms=ping.p99,
        ping_slowest_ms=ping.slowest,
    )
    assert seconds is not None
    assert (ping.errors, during.errors) == (0, 0)
    if SCALE:
        assert seconds <= BOUND
        assert ping.p99 <= max(P99_MS, before.p99)
        assert max(ping.slowest, during.slowest) <= max(LIMIT_MS, 2 * before.slowest)
        assert during.p99 <= max(1.5 * before.p99, before.p99 + 5.0, LIMIT_MS / 2)
