"""Top-ups that come to nothing: health, the command and the doctor say so, whoever could not be told."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import DAY, Clock, Site, week
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from flask_rollingslots.health import doctor
from flask_rollingslots.topup import executors

if TYPE_CHECKING:
    from collections.abc import Callable

#: What makes a connection take no writes.
READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}
HOUR = timedelta(hours=1)


def obey(site: Site, *statements: str) -> None:
    """Let each new connection of a site begin with some statements."""

    def begin(raw: Any, _record: Any) -> None:
        cursor = raw.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        raw.commit()

    with site.app.app_context():
        event.listen(site.db.engine, "connect", begin)
        site.db.engine.dispose()


def make_read_only(site: Site) -> None:
    """Let a site's database take no writes."""
    with site.app.app_context():
        obey(site, READ_ONLY[site.db.engine.dialect.name])


def health(site: Site, **options: Any) -> Any:
    """Return the health that this process tells."""
    with site.app.app_context():
        return site.slots.health(**options)


def command(site: Site, name: str, *options: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed."""
    done = site.app.test_cli_runner().invoke(args=["slots", name, *options])
    return done.exit_code, done.output


@pytest.fixture
def on_each(make: Callable[..., Site], database_url: str) -> Site:
    """A site on each database."""
    site = make(database_url, API_PREFIX="/api")
    site.add_quietly()
    return site


def test_a_database_that_refuses_writes(on_each: Site, clock: Clock) -> None:
    """After ten days of visitors nothing is stored: missing, exit code 1, and the reason is told by all."""
    site = on_each
    make_read_only(site)
    assert (health(site).status, health(site).trouble) == ("due", None)
    for _ in range(10):
        assert site.visit()["virtual"] > 0
        clock.pass_by(DAY)
    report = health(site)
    assert (report.status, report.promised, report.stored) == ("missing", 7 * 12 - 3, 0)
    assert report.failures >= 10
    assert "nothing can be written: " in report.trouble
    assert "read" in report.last_error.lower()
    assert site.get("/api/health") == {"status": "missing"}
    code, printed = command(site, "status")
    assert code == 1
    assert report.trouble.partition(": ")[0] in printed
    code, printed = command(site, "doctor", "--json")
    found = {finding["code"]: finding for finding in json.loads(printed)}
    assert code == 1
    assert found["writes"]["level"] == found["failures"]["level"] == "error"
    assert "the database refuses writes: " in found["writes"]["sentence"]


def test_a_process_that_has_seen_nothing_tries(on_each: Site) -> None:
    """``flask slots status`` is a process of its own: it tries to write, and leaves nothing behind."""
    assert command(on_each, "status")[0] == 0
    before = on_each.sql("SELECT count(*), max(id) FROM rolling_template")
    assert health(on_each, probe=True).trouble is None
    assert on_each.sql("SELECT count(*), max(id) FROM rolling_template") == before
    make_read_only(on_each)
    code, printed = command(on_each, "status", "--json")
    assert (code, json.loads(printed)["status"]) == (1, "missing")


def test_health_of_a_request_writes_nothing(make: Callable[..., Site], sqlite_url: str) -> None:
    """Anybody may ask for health: it tries no writes, and takes no lock."""
    site = make(sqlite_url)
    site.add_quietly()
    with site.counted() as statements:
        health(site)
    assert {statement.split()[0] for statement in statements} == {"SELECT"}


def test_rights_that_are_missing(make: Callable[..., Site], postgres_url: str) -> None:
    """Each table that may not be written is named; a right to count ids is one too."""
    site = make(postgres_url)
    site.add_quietly()
    everything, role = (
        "ALL TABLES IN SCHEMA public",
        f"reader_{postgres_url.rpartition('_')[2].partition('?')[0]}",
    )
    site.sql(f"CREATE ROLE {role}")
    try:
        site.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {everything} TO {role}")
        site.sql(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
        obey(site, f"SET ROLE {role}")
        assert health(site, probe=True).trouble is None
        admin = "SET LOCAL ROLE NONE"
        site.sql(f"{admin}; REVOKE INSERT ON rolling_booking FROM {role}")
        site.sql(f"{admin}; REVOKE USAGE ON SEQUENCE rolling_run_id_seq FROM {role}")
        trouble = health(site, probe=True).trouble
        assert (
            "rolling_booking: InsufficientPrivilege: permission denied for table rolling_booking" in trouble
        )
        assert "rolling_run: InsufficientPrivilege" in trouble
        assert trouble.count("permission denied") == 2
    finally:
        site.sql(f"SET LOCAL ROLE NONE; DROP OWNED BY {role}; DROP ROLE {role}")


def test_visitors_who_wait_in_vain(
    make: Callable[..., Site], sqlite_url: str, clock: Clock, monkeypatch: Any
) -> None:
    """Jobs that never run fail nowhere: twice the interval of traffic without a confirmation is missing."""
    site = make(sqlite_url)
    site.add_quietly()
    monkeypatch.setattr(site.topup.executor, "submit", lambda job: True)
    for _ in range(3):
        assert health(site).status == "due"
        site.get("/plain")
        clock.pass_by(HOUR)
    clock.pass_by(DAY)  # a night without anybody is an interval, no more
    assert health(site).status == "due"
    site.get("/plain")
    report = health(site)
    assert (report.status, report.trouble) == ("missing", "visitors come, and no top-up was confirmed ever")
    with site.app.app_context():
        site.slots.generate()
    assert health(site).status == "ok"


def test_a_window_that_is_full_and_not_confirmed(site: Site, clock: Clock) -> None:
    """Nothing lacks yet, but nothing was confirmed either while visitors came: it is only a matter of days."""
    site.add_quietly()
    site.visit()
    assert health(site).status == "ok"
    make_read_only(site)
    clock.pass_by(2 * HOUR)
    site.visit()
    report = health(site)
    assert (report.missing, report.due, report.status) == (0, 0, "missing")


def test_one_failure_is_no_alarm(site: Site, clock: Clock, monkeypatch: Any) -> None:
    """A top-up that fails once and is mended with the next visit was due all the time, and is forgotten."""
    site.add_quietly()
    good = site.topup.runner.acquire

    def fail() -> None:
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(site.topup.runner, "acquire", fail)
    site.visit("/plain")
    report = health(site)
    assert (report.status, report.failures) == ("due", 1)
    assert "server closed the connection" in report.last_error
    monkeypatch.setattr(site.topup.runner, "acquire", good)
    clock.pass_by(HOUR)
    site.visit()
    report = health(site)
    assert (report.status, report.failures, report.last_error) == ("ok", 0, None)


def test_threads_that_cannot_start(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine without a thread left is told by health, and once by the log; the first one that is free is used."""

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    site.add_quietly()
    with monkeypatch.context() as patch:
        patch.setattr(executors.threading, "Thread", NoThread)
        for _ in range(3):
            site.visit("/plain")
    report = health(site)
    assert (report.failures, report.last_error) == (3, "RuntimeError: no thread could be started")
    assert [record.levelname for record in caplog.records if "top-up failed" in record.message] == ["ERROR"]
    site.visit("/plain")
    assert site.starts() == week()
    assert health(site).failures == 0


def test_a_disk_that_is_nearly_full(site: Site, monkeypatch: Any) -> None:
    """SQLite notices a full disk only when it commits; the doctor looks at the disk."""
    assert "the disk" not in command(site, "doctor")[1]
    monkeypatch.setattr(doctor, "disk_usage", lambda path: type("Usage", (), {"free": 5 * 2**20}))
    code, printed = command(site, "doctor")
    assert code == 1
    assert "the disk of the SQLite file has 5 MB left" in printed


def test_a_shared_connection_is_not_tried(make: Callable[..., Site]) -> None:
    """Where all sessions share one connection, trying would roll back what the app has not committed."""
    site = make("sqlite:///:memory:")
    with site.app.app_context():
        site.db.session.execute(text("INSERT INTO note (text) VALUES ('mine')"))
        assert site.slots.health(probe=True).trouble is None
        assert site.db.session.scalar(text("SELECT count(*) FROM note")) == 1
