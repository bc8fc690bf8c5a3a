"""Fixtures for all tests: real databases and caches, gunicorn, and detectors of what a test leaves behind."""

from __future__ import annotations

import gc
import os
import socket
import threading
import weakref
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import flask
import hypothesis
import pytest
from helpers import Site, share_statements
from marks import FIXTURES
from servers import (
    Gunicorn,
    MariaDB,
    Memcached,
    Postgres,
    Unavailable,
    Valkey,
    chromium,
    npm_package,
    use_memory,
)
from sqlalchemy import Engine, event

from flask_rollingslots.topup import executors, gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

JOIN_SECONDS = 60.0  # a deadline for slow machines, not a measure, for a thread that was told to stop
Server = TypeVar("Server", Postgres, MariaDB, Valkey, Memcached)

# The tests also run on slow machines. In CI the examples are the same in every run.
SLOWLY: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
}
hypothesis.settings.register_profile("local", **SLOWLY)
hypothesis.settings.register_profile("ci", **SLOWLY, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


# The whole proofs of the fault suite keep to the disk, as users have it. Processes of ours inherit the place.
if not os.environ.get("FAULTS_SCALE"):
    use_memory()


gc.disable()  # collecting the tests makes no garbage, only more and more to look through


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through all modules and tests again and again: a third of the time."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 10, 10)


share_statements()

# Tests wait for the background: nobody's page needs the head start here. Under gunicorn it is as users have it.
executors.ThreadExecutor.head_start = 0.0
# What works is not given up because the machine is busy; tests of a silent cache or queue have a shorter patience.
gate.CACHE_SECONDS = executors.SEND_SECONDS = 60.0


# --- servers: started when the first test asks, stopped with the session ----------------------------------------


@contextmanager
def _or_skip(name: str) -> Iterator[None]:
    """Skip with the reason where this machine has no such thing; names in ROLLINGSLOTS_TEST_REQUIRE may not be."""
    try:
        yield
    except Unavailable as reason:
        if name in os.environ.get("ROLLINGSLOTS_TEST_REQUIRE", "").split():
            raise
        pytest.skip(str(reason))


def _serve(kind: type[Server]) -> Iterator[Server]:
    """Start a server, or skip with the reason; names in ROLLINGSLOTS_TEST_REQUIRE may not be skipped."""
    with _or_skip(kind.__name__.lower()):
        server = kind()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL (or the one that ROLLINGSLOTS_TEST_POSTGRES names)."""
    yield from _serve(Postgres)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A private MariaDB."""
    yield from _serve(MariaDB)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A private Valkey; `valkey.url` is for redis clients."""
    yield from _serve(Valkey)


@pytest.fixture(scope="session")
def memcached() -> Iterator[Memcached]:
    """A private Memcached; `memcached.path` is its socket."""
    yield from _serve(Memcached)


# --- a new database, a new cache, a new web server for a test ---------------------------------------------------


@contextmanager
def _engines_disposed() -> Iterator[None]:
    """Close the pooled connections of every engine used meanwhile; one still checked out is a leak and warns."""
    engines: weakref.WeakSet[Engine] = weakref.WeakSet()

    def remember(connection: Any) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", remember)
    try:
        yield
    finally:
        event.remove(Engine, "engine_connect", remember)
        for engine in list(engines):
            engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a new SQLite file."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database."""
    with postgres.database() as url, _engines_disposed():
        yield url


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """The URL of a new, empty MariaDB database."""
    with mariadb.database() as url, _engines_disposed():
        yield url


def database_named(request: pytest.FixtureRequest, name: str) -> str:
    """Return the URL of a new, empty database of that kind."""
    url: str = request.getfixturevalue(FIXTURES[name])
    return url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a new, empty database; the test runs once for each of the three."""
    return database_named(request, request.param)


@pytest.fixture(
    params=["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgresql", "mariadb"))]
)
def any_url(request: pytest.FixtureRequest) -> str:
    """The URL of a new SQLite file; the slow tests run on the others, too. For what other tests prove on all three."""
    return database_named(request, request.param)


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A loopback port that refuses connections: bound, so that nobody else gets it, but not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(params=["null", "simple", "filesystem", "redis", "memcached", "redis-down"])
def cache_config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The config of Flask-Caching for a new, empty cache; the test runs once for each kind."""
    kind: str = request.param
    config: dict[str, Any] = {"CACHE_KEY_PREFIX": f"{os.getpid()}:{tmp_path.name}:"}
    if kind == "null":
        return config | {"CACHE_TYPE": "NullCache", "CACHE_NO_NULL_WARNING": True}
    if kind == "simple":
        return config | {"CACHE_TYPE": "SimpleCache"}
    if kind == "filesystem":
        return config | {"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": str(tmp_path / "cache")}
    if kind == "memcached":
        path = request.getfixturevalue("memcached").path
        return config | {"CACHE_TYPE": "MemcachedCache", "CACHE_MEMCACHED_SERVERS": [str(path)]}
    if kind == "redis":
        url = request.getfixturevalue("valkey").url
    else:
        url = f"redis://127.0.0.1:{request.getfixturevalue('refused_port')}/0"
    return config | {
        "CACHE_TYPE": "RedisCache",
        "CACHE_REDIS_URL": url,
        "CACHE_OPTIONS": {"socket_timeout": 5, "socket_connect_timeout": 5},
    }


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Callable[..., Gunicorn]]:
    """Start apps under gunicorn: `gunicorn("module:app", workers=2, env={...}, options=[...])`.

    The working folder is the test's `tmp_path`; modules are found there and in this checkout.
    """
    started: list[Gunicorn] = []

    def start(target: str, **options: Any) -> Gunicorn:
        started.append(Gunicorn(target, tmp_path, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def npm() -> Callable[[str, str], Path]:
    """The folder of a package from npm: `npm("ical.js", "2.2.1")`."""

    def folder(name: str, version: str) -> Path:
        with _or_skip("npm"):
            return npm_package(name, version)

    return folder


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium, driven by playwright."""
    with ExitStack() as stack:
        with _or_skip("chromium"):
            found = stack.enter_context(chromium())
        yield found


# --- what a test must not leave behind --------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _engines() -> Iterator[None]:
    """Close what the pools keep, so that a warning about an open connection always means a real leak."""
    with _engines_disposed():
        yield


@pytest.fixture(autouse=True)
def _no_context_left() -> Iterator[None]:
    """Fail a test that leaves an app or request context pushed."""
    before = flask.has_app_context()
    yield
    left = []
    while flask.has_request_context():
        left.append("a request context")
        flask.globals.request_ctx._get_current_object().pop()  # type: ignore[attr-defined]
    while flask.has_app_context() and not before:
        left.append("an app context")
        flask.globals.app_ctx._get_current_object().pop()  # type: ignore[attr-defined]
    if left:
        pytest.fail(f"the test left {' and '.join(left)} pushed")


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a non-daemon thread, or one of the library's, alive after a short join."""
    before = set(threading.enumerate())
    yield
    started = [thread for thread in threading.enumerate() if thread not in before]
    suspects = [thread for thread in started if not thread.daemon or thread.name.startswith("rollingslots")]
    for thread in suspects:
        thread.join(JOIN_SECONDS)
    left = [thread.name for thread in suspects if thread.is_alive()]
    if left:
        pytest.fail(f"the test left threads running: {', '.join(left)}")


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site inside its app context; folders and modules with another kind of site have their own."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        yield site
