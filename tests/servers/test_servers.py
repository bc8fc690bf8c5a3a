"""The test servers really answer, and are nobody else's."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from flask import Flask
from flask_caching import Cache
from sqlalchemy import create_engine, inspect, make_url, text

from servers import Process, Response, Unavailable, npm_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Gunicorn, MariaDB, Memcached, Postgres, Valkey

pytest_plugins = ["pytester"]

HELLO = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {os.environ['GREETING']}".encode()]
"""


def test_postgres_is_real_and_has_exclusion_constraints(postgres_url: str) -> None:
    """PostgreSQL answers with its version and brings btree_gist."""
    with create_engine(postgres_url).begin() as connection:
        assert connection.scalar(text("SHOW server_version_num")) >= "150000"
        connection.execute(text("CREATE EXTENSION btree_gist"))


@pytest.mark.skipif("ROLLINGSLOTS_TEST_POSTGRES" in os.environ, reason="a PostgreSQL of the caller is used")
def test_postgres_listens_on_a_private_socket_only(postgres: Postgres) -> None:
    """PostgreSQL has no port and lives in the folder that was made for it."""
    engine = create_engine(postgres.admin_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW listen_addresses")) == ""
        assert connection.scalar(text("SHOW unix_socket_directories")) == str(postgres.folder)


def test_mariadb_is_real_and_private(mariadb: MariaDB, mariadb_url: str) -> None:
    """MariaDB answers, has no port and lives in the folder that was made for it."""
    with create_engine(mariadb_url).connect() as connection:
        assert "MariaDB" in connection.scalar(text("SELECT version()"))
        assert connection.scalar(text("SELECT @@skip_networking")) == 1
        assert connection.scalar(text("SELECT @@datadir")).startswith(str(mariadb.folder))


@pytest.mark.parametrize("_round", [1, 2])
def test_each_test_has_an_empty_database(database_url: str, _round: int) -> None:
    """A table made by one test is not there in the next."""
    engine = create_engine(database_url)
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE thing (id INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO thing VALUES (1)"))
    assert inspect(engine).get_table_names() == ["thing"]


@pytest.mark.parametrize("server_name", ["postgres", "mariadb"])
def test_a_database_is_dropped_while_somebody_is_connected(
    server_name: str, request: pytest.FixtureRequest
) -> None:
    """A forgotten open transaction does not keep the database alive or the suite waiting."""
    server = request.getfixturevalue(server_name)
    with server.database() as url:
        engine = create_engine(url)
        connection = engine.connect()
        connection.execute(text("CREATE TABLE thing (id INTEGER PRIMARY KEY)"))
        connection.commit()
        connection.execute(text("SELECT * FROM thing"))
    connection.invalidate()
    connection.close()
    admin = create_engine(server.admin_url)
    names = inspect(admin).get_schema_names() if server_name == "mariadb" else _postgres_names(admin)
    assert make_url(url).database not in names


def _postgres_names(engine: Any) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT datname FROM pg_database")))


def test_valkey_is_real_and_private(valkey: Valkey) -> None:
    """Valkey answers on its socket and has no port."""
    with redis.Redis.from_url(valkey.url) as client:
        assert client.ping()
        assert client.config_get("port") == {"port": "0"}
        assert client.set("once", 1, nx=True, px=60_000)
        assert not client.set("once", 1, nx=True, px=60_000)
        client.flushdb()


def test_memcached_is_real_and_private(memcached: Memcached) -> None:
    """Memcached answers on its socket and has no port."""
    pylibmc = pytest.importorskip("pylibmc")
    client = pylibmc.Client([str(memcached.path)])
    assert client.add("once", 1)
    assert not client.add("once", 1)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(memcached.path))
        connection.sendall(
            b"stats settings\r\nquit\r\n"
        )  # quit: the server ends the connection, and so the reading
        with connection.makefile("r", encoding="ascii") as lines:
            settings = dict(line.split()[1:3] for line in lines if len(line.split()) == 3)
    assert settings["domain_socket"] == str(memcached.path)
    client.flush_all()
    client.disconnect_all()


def test_flask_caching_accepts_each_cache(
    cache_config: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """Every cache config works with Flask-Caching, and the broken one is broken at once."""
    kind = request.node.callspec.params["cache_config"]
    app = Flask(__name__)
    cache = Cache(app, config=cache_config)
    with app.app_context():
        if kind == "redis-down":
            with pytest.raises(redis.exceptions.ConnectionError):
                cache.get("key")
        else:
            assert cache.get("key") is None
            cache.set("key", 5, timeout=60)
            assert cache.get("key") == (None if kind == "null" else 5)


def test_gunicorn_is_ready_without_a_request(gunicorn: Callable[..., Gunicorn], tmp_path: Path) -> None:
    """Two workers report that they have loaded the app, and answer the first request."""
    (tmp_path / "hello.py").write_text(HELLO)
    server = gunicorn("hello:app", workers=2, env={"GREETING": "hi"})
    assert len(set(server.worker_pids)) == 2
    answer = server.request("/")
    assert isinstance(answer, Response)
    assert answer.status == 200
    pid, greeting = answer.body.decode().split()
    assert (int(pid) in server.worker_pids, greeting) == (True, "hi")
    assert server.stop() == 0


def test_gunicorn_replaces_a_killed_worker(gunicorn: Callable[..., Gunicorn], tmp_path: Path) -> None:
    """After a worker was killed the next one reports, and answers."""
    (tmp_path / "hello.py").write_text(HELLO)
    server = gunicorn("hello:app", env={"GREETING": "hi"})
    os.kill(server.worker_pids[0], signal.SIGKILL)
    [successor] = server.wait_for_workers(1)
    assert server.request("/").body == f"{successor} hi".encode()


def test_gunicorn_that_cannot_start_says_why(gunicorn: Callable[..., Gunicorn]) -> None:
    """An app that cannot be imported is an error with gunicorn's own words, not a wait."""
    with pytest.raises(RuntimeError, match="no_such_module"):
        gunicorn("no_such_module:app")


def test_a_server_that_ends_at_once_is_an_error(tmp_path: Path) -> None:
    """The output of a server that did not start is shown."""
    process = Process((sys.executable, "-c", "raise SystemExit('broken')"), tmp_path / "log")
    with pytest.raises(RuntimeError, match="broken"):
        process.wait_until(lambda: False)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_servers_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    """A killed test run leaves no server behind."""
    ours, theirs = socket.socketpair()
    code = (
        "import sys, pathlib, os, signal\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from servers import Process\n"
        f"hold = 'import socket; socket.socket(fileno={theirs.fileno()}).recv(1)'\n"
        f"Process((sys.executable, '-c', hold), pathlib.Path('held'), pass_fds=({theirs.fileno()},))\n"
        f"os.close({theirs.fileno()})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    owner = Process((sys.executable, "-c", code), tmp_path / "log", cwd=tmp_path, pass_fds=(theirs.fileno(),))
    theirs.close()
    with ours:
        ours.settimeout(60)
        assert ours.recv(1) == b""  # the last holder of the other end is gone
    assert owner.popen.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("from flask import Flask; Flask('x').app_context().push()", "*left an app context pushed*"),
        (
            "from flask import Flask; Flask('x').test_request_context().push()",
            "*left a request context pushed*",
        ),
        ("import threading; threading.Thread(target=hold.wait, name='stray').start()", "*running: stray*"),
        (
            "import threading; threading.Thread(target=hold.wait, name='rollingslots-x', daemon=True).start()",
            "*running: rollingslots-x*",
        ),
    ],
    ids=["app context", "request context", "thread", "daemon thread of ours"],
)
def test_what_a_test_leaves_behind_fails_it(pytester: pytest.Pytester, body: str, reason: str) -> None:
    """The detectors turn a leak into an error of the test that leaks."""
    pytester.makeconftest((Path(__file__).parents[1] / "conftest.py").read_text() + "\nJOIN_SECONDS = 0.1\n")
    pytester.makepyfile(
        f"""
        import threading
        import pytest

        hold = threading.Event()

        @pytest.fixture(scope="module", autouse=True)
        def release():
            yield
            hold.set()

        def test_leaks():
            {body}

        def test_next():
            pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines([reason])


def test_a_package_from_npm_is_installed_once(
    npm: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is whole, and the second time no npm is needed."""
    first = npm("ical.js", "2.2.1")
    assert (first / "dist" / "ical.js").is_file()
    monkeypatch.setenv("PATH", "")
    assert npm("ical.js", "2.2.1") == first
    with pytest.raises(Unavailable, match="npm is not installed"):
        npm_package("ical.js", "0.0.0")
