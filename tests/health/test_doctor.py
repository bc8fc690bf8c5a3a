"""The doctor finds each known fault of a deployment, and nothing in a healthy one."""

from __future__ import annotations

import json
import re
import sys
import types
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask_caching import Cache
from helpers import HALL, Clock, Site
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flask_rollingslots.errors import ConfigError
from flask_rollingslots.health import doctor as doctor_room
from flask_rollingslots.models.kinds import Exact
from flask_rollingslots.statements import server_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

Examine = Any


@pytest.fixture
def examine(sqlite_url: str, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Run ``flask slots doctor`` on a site; return the findings as code -> level."""

    def run(site: Site | None = None, code: int = 0, **config: Any) -> dict[str, str]:
        site = site or Site(sqlite_url, tmp_path, **{"ROLLINGSLOTS_ENABLED": True, **config})
        result = site.app.test_cli_runner().invoke(args=["slots", "doctor", "--json"])
        assert result.exit_code == code, result.output
        found = json.loads(result.stdout)
        assert all(f["sentence"] and f["advice"] for f in found)
        return {f["code"]: f["level"] for f in found}

    return run


class ServerClock(Clock):
    """Shows what a database server's own clock shows, or that far ``away`` from it; stands still for SQLite."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.away = timedelta()
        self._engine = create_engine(url, poolclass=NullPool)

    def __call__(self) -> datetime:
        with Session(self._engine) as session:
            return (server_time(session) or self.now) + self.away


def wal(site: Site) -> Site:
    """Switch a site's SQLite file to WAL."""
    with site.app.app_context():
        site.session.execute(text("PRAGMA journal_mode=WAL"))
        site.session.commit()
    return site


def test_a_healthy_app_has_only_notes(database_url: str, tmp_path: Path, examine: Examine) -> None:
    """On each database a well set-up app gets exit code 0 and no warning."""
    site = Site(database_url, tmp_path, ServerClock(database_url), ROLLINGSLOTS_ENABLED=True)
    if database_url.startswith("sqlite"):
        wal(site)
    assert examine(site) == {"cache_per_process": "note"}


def test_missing_tables_and_constraint(sqlite_url: str, tmp_path: Path, examine: Examine) -> None:
    """A database without our tables, or without the unique constraint, is an error."""
    site = wal(Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True))
    with site.app.app_context():
        site.session.execute(text("DROP TABLE rolling_slot"))
        columns = ", ".join(site.slots.Slot.__table__.columns.keys())
        site.session.commit()
        assert examine(site, 1)["tables"] == "error"
        site.session.execute(text(f"CREATE TABLE rolling_slot ({columns})"))
        site.session.commit()
    assert examine(site, 1)["constraint"] == "error"


def test_sqlite_without_wal(examine: Examine) -> None:
    """A SQLite file in the old journal mode gets a warning."""
    assert examine()["sqlite_wal"] == "warning"


def test_sqlite_on_a_network_file_system(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite file on NFS is an error; the mount table is made up, for no test can mount one."""
    monkeypatch.setattr(doctor_room, "_file_system", lambda path: "nfs4")
    assert examine(code=1)["sqlite_network"] == "error"


def test_the_file_system_is_the_innermost_mount(tmp_path: Path) -> None:
    """The type of the file system comes from the longest mount point above the file."""
    assert doctor_room._file_system(tmp_path) not in ("", "nfs4")


def test_a_pool_of_one(examine: Examine) -> None:
    """A pool with a single connection is an error."""
    options = {"SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 1, "max_overflow": 0}}
    assert examine(code=1, **options)["pool_size"] == "error"


def test_a_shared_connection(tmp_path: Path, examine: Examine) -> None:
    """In-memory SQLite gets a warning that nothing runs by itself."""
    site = Site("sqlite:///:memory:", tmp_path, ROLLINGSLOTS_ENABLED=True)
    assert examine(site)["shared_connection"] == "warning"


def test_redis_without_a_time_out(sqlite_url: str, tmp_path: Path, examine: Examine) -> None:
    """A Redis client that may wait for ever gets a warning; one with a limit does not."""
    # Newer clients have a time-out of their own; 0 takes it away.
    for query, expected in (
        ("?socket_timeout=0", True),
        ("?socket_timeout=1&socket_connect_timeout=1", False),
    ):
        site = wal(Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True))
        config = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": f"redis://127.0.0.1:1/0{query}"}
        Cache(site.app, config=config)
        assert ("cache_timeout" in examine(site)) is expected


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_a_cache_that_does_not_answer(
    sqlite_url: str, tmp_path: Path, examine: Examine, refused_port: int
) -> None:
    """A Redis that is gone costs nothing but work; still somebody should know."""
    site = wal(Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True))
    url = f"redis://127.0.0.1:{refused_port}/0?socket_timeout=1&socket_connect_timeout=1"
    Cache(site.app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url})
    assert examine(site)["cache_broken"] == "warning"


def test_several_caches(sqlite_url: str, tmp_path: Path, examine: Examine) -> None:
    """With two caches none is guessed, and the doctor says so."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True)
    for _ in range(2):
        Cache(site.app, config={"CACHE_TYPE": "SimpleCache"})
    assert examine(site)["caches"] == "note"


def test_threads_that_do_not_run(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI without threads, and a platform whose threads do not move, are errors; uWSGI itself is made up."""
    monkeypatch.setattr(doctor_room, "_thread_moves", lambda: False)
    assert examine(code=1)["threads"] == "error"
    monkeypatch.undo()
    uwsgi = types.ModuleType("uwsgi")
    uwsgi.opt = {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    assert examine(code=1)["threads"] == "error"
    assert "threads" not in examine(ROLLINGSLOTS_EXECUTOR="inline")
    uwsgi.opt = {"enable-threads": b"true"}  # type: ignore[attr-defined]
    assert "threads" not in examine()


def test_serverless_preload_debug_and_disabled(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread on a serverless host is an error; preloading and a switched-off top-up warn; debug is noted."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--preload --workers 4")
    monkeypatch.setenv("FLASK_DEBUG", "1")
    found = examine(ROLLINGSLOTS_ENABLED=False)
    assert (found["preload"], found["disabled"], found["reloader"]) == ("warning", "warning", "note")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    assert examine(code=1, ROLLINGSLOTS_EXECUTOR="thread")["serverless"] == "error"
    assert "serverless" not in examine(ROLLINGSLOTS_EXECUTOR="auto")


@pytest.mark.parametrize("server", ["postgres_url", "mariadb_url"])
def test_clocks_that_differ(
    server: str, request: pytest.FixtureRequest, tmp_path: Path, examine: Examine
) -> None:
    """A database whose clock is half a minute away warns, two minutes are an error."""
    url = request.getfixturevalue(server)
    clock = ServerClock(url)
    site = Site(url, tmp_path, clock, ROLLINGSLOTS_ENABLED=True)
    clock.away = timedelta(seconds=-30)
    assert examine(site)["clock"] == "warning"
    clock.away = timedelta(minutes=-2)
    assert examine(site, 1)["clock"] == "error"


def test_failed_top_ups(sqlite_url: str, tmp_path: Path, examine: Examine) -> None:
    """Top-ups that fail are an error with their reason."""
    site = wal(Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=False))
    with site.app.app_context():
        site.slots.create_template(**HALL)
        site.session.execute(text("UPDATE rolling_template SET rrule = 'FREQ=NEVER'"))
        site.session.commit()
        site.slots.generate()
    assert examine(site, 1)["failures"] == "error"


@contextmanager
def migrating(connection: Any) -> Iterator[None]:
    """Let what Alembic's ``op`` does go through a connection."""
    with Operations.context(MigrationContext.configure(connection)):
        yield


def upgrade(site: Site, name: str) -> None:
    """Run a migration of the page about deployment."""
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text("utf-8")
    code = re.search(rf"# versions/{name}\.py\n(.*?)```", page, re.DOTALL)
    assert code
    names: dict[str, Any] = {}
    exec(code[1], names)  # noqa: S102 (our own page)
    with site.db.engine.begin() as connection, migrating(connection):
        names["upgrade"]()


def test_tables_that_use_ids_again(sqlite_url: str, tmp_path: Path, examine: Examine) -> None:
    """SQLite tables of an older version are named; the page's migration mends them, and loses nothing."""
    site = wal(Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True))
    with site.app.app_context():
        with site.db.engine.begin() as connection:
            for table in ("rolling_booking", "rolling_run"):
                query = text("SELECT sql FROM sqlite_master WHERE name = :table")
                made = connection.scalar(query, {"table": table})
                connection.execute(text(f"DROP TABLE {table}"))
                connection.execute(text(made.replace("AUTOINCREMENT", "")))
        template = site.add()
        site.slots.book(f"{template.id}@20260105T1000", who="ada")
        site.session.commit()
        assert examine(site)["ids"] == "warning"
        upgrade(site, "ids")
        assert "ids" not in examine(site)
        (booking,) = site.session.scalars(site.db.select(site.slots.Booking))
        assert (booking.id, booking.who) == (1, "ada")
        with pytest.raises(IntegrityError, match="ck_rolling_booking_party"):
            site.session.execute(text("UPDATE rolling_booking SET party = 0"))
        site.session.rollback()
        uniques = inspect(site.db.engine).get_unique_constraints("rolling_booking")
        assert {"uq_rolling_booking_request_key", "uq_rolling_booking_slot_id_active_key"} <= {
            unique["name"] for unique in uniques
        }


def test_texts_that_are_compared_loosely(mariadb_url: str, tmp_path: Path, examine: Examine) -> None:
    """MariaDB tables of an older version are an error that names each column; the page's migration mends them."""
    site = Site(mariadb_url, tmp_path, ServerClock(mariadb_url), ROLLINGSLOTS_ENABLED=True)
    with site.app.app_context():
        with site.db.engine.begin() as connection:
            for table in site.slots.models.tables:
                for column in table.columns:
                    if isinstance(column.type, Exact):
                        null = "" if column.nullable else "NOT NULL"
                        kind = f"VARCHAR({column.type.length}) COLLATE utf8mb4_general_ci {null}"
                        connection.execute(text(f"ALTER TABLE {table.name} MODIFY {column.name} {kind}"))
        assert examine(site, 1)["collation"] == "error"
        upgrade(site, "texts")
        assert "collation" not in examine(site)
        with site.db.engine.connect() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, site.db.metadata) == []


def test_columns_of_a_newer_version(sqlite_url: str, tmp_path: Path, examine: Examine) -> None:
    """A database that was not migrated is an error, here and in each call, that names what it lacks."""
    site = wal(Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True))
    with site.app.app_context():
        site.session.execute(text("ALTER TABLE rolling_slot DROP COLUMN changed_at"))
        site.session.commit()
        assert examine(site, 1)["columns"] == "error"
        site.add()
        with pytest.raises(
            ConfigError, match=r"rolling_slot has no column changed_at; migrate it \(`flask db"
        ):
            site.week()
