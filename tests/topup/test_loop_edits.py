"""Edits while a top-up works, templates that cannot be filled, and what a commit starts."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import WAIT, Clock, Site, Stop, after, before, before_chunks, hourly, week
from sqlalchemy import text

from flask_rollingslots.topup import run

if TYPE_CHECKING:
    from collections.abc import Callable


def edited(site: Site, how: str) -> list[datetime]:
    """Edit, deactivate or delete the template by the ORM; return the starts that are promised then."""
    with site.app.app_context():
        template = site.db.session.get(site.slots.Template, 1)
        if how == "edited":
            template.until_time = time(15)
        elif how == "deactivated":
            template.active = False
        else:
            site.db.session.delete(template)
        site.db.session.info.clear()
        site.db.session.commit()
    return [start for start in week() if start.hour < 15] if how == "edited" else []


@pytest.mark.parametrize("how", ["edited", "deactivated", "deleted"])
def test_edit_between_planning_and_insert(
    make: Callable[..., Site], database_url: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A template changed after its slots were planned leaves no row of the old rule."""
    site = make(database_url)
    site.add_quietly()
    stop = Stop()  # before its transaction begins: on SQLite nobody can edit after that
    before_chunks(monkeypatch, stop)
    site.get("/plain")
    assert stop.arrived.wait(WAIT)
    promised = edited(site, how)
    stop.go.set()
    site.finish()
    assert site.starts() == promised
    site.topup.memory.next_check = 0.0
    site.visit("/plain")
    assert site.starts() == promised


@pytest.mark.parametrize("server", ["postgres_url", "mariadb_url"])
def test_edit_that_waits_for_the_chunk(
    make: Callable[..., Site], server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit that comes after the chunk locked the template waits for it, and is then followed by its own top-up."""
    site = make(request.getfixturevalue(server))
    site.add_quietly()
    stop = Stop()
    after(monkeypatch, run, "write_chunk", stop)
    site.get("/plain")
    assert stop.arrived.wait(WAIT)
    ended = threading.Event()

    def edit() -> None:
        with site.app.app_context():
            site.db.session.get(site.slots.Template, 1).until_time = time(15)
            site.db.session.commit()
        ended.set()

    person = threading.Thread(target=edit)
    person.start()
    # The database says that somebody waits for a lock: then the two have met.
    waiting = {
        "postgres_url": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
        "mariadb_url": "SELECT CAST(variable_value AS INTEGER) FROM information_schema.global_status "
        "WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'",
    }[server]
    while site.sql(waiting) == [(0,)]:
        assert not ended.wait(0.02), "the edit did not wait for the chunk"
    stop.go.set()
    person.join(WAIT)
    site.finish()
    assert site.starts() == [start for start in week() if start.hour < 15]


def test_edit_held_open_by_a_person_does_not_stop_the_others(
    make: Callable[..., Site], postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While somebody keeps an edit of one template open, the slots of another one are filled."""
    site = make(postgres_url)
    held, free = site.add_quietly(name="held"), site.add_quietly(name="free")
    with site.app.app_context(), site.db.engine.connect() as person:
        person.execute(text("UPDATE rolling_template SET capacity = 5 WHERE id = :id"), {"id": held})
        site.visit("/plain")
        assert site.starts(free) == week()
        person.rollback()
    for _ in range(2):
        site.clock.pass_by(timedelta(minutes=61))  # type: ignore[attr-defined]
        site.visit("/plain")
    assert set(site.starts(held)) >= set(week(site.clock()))


@pytest.mark.parametrize(
    ("server", "question"),
    [("postgres_url", "SHOW lock_timeout"), ("mariadb_url", "SELECT @@innodb_lock_wait_timeout")],
)
def test_waits_for_locks_are_bounded(
    make: Callable[..., Site],
    server: str,
    question: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A top-up waits a few seconds at most for a lock, and the app's own connections keep their setting."""
    site = make(request.getfixturevalue(server))
    site.add_quietly()
    original, seen = run.write_chunk, []

    def ask(work: Any, *args: Any) -> Any:
        seen.append(str(work.session.scalar(text(question))).removesuffix("s"))
        return original(work, *args)

    with site.app.app_context(), ExitStack() as pool:
        for _ in range(4):  # a pool of several connections, for a setting might be restored on another one
            pool.enter_context(site.db.engine.connect())
    (own,) = site.sql(question)
    monkeypatch.setattr(run, "write_chunk", ask)
    site.visit("/plain")
    assert 0 < int(seen[0]) <= 5
    assert [site.sql(question) for _ in range(8)] == [[own]] * 8


def test_broken_template_does_not_stop_the_others(site: Site, clock: Clock) -> None:
    """A rule broken by hand is skipped and named in the run; the others complete; the next try waits."""
    good, bad, other = (site.add_quietly(name=name) for name in ("good", "bad", "other"))
    site.sql("UPDATE rolling_template SET rrule = 'FREQ=NEVER' WHERE id = :id", id=bad)
    site.visit("/plain")
    assert site.starts(good) == site.starts(other) == week()
    assert site.starts(bad) == []
    (first,) = site.runs()
    assert (first.status, first.created) == ("failed", 2 * len(week()))
    assert "bad" in first.error
    assert "error" in first.results["templates"][str(bad)]
    lease = site.lease()
    assert lease.failures == 1
    assert lease.next_try_ms > clock.now.timestamp() * 1000
    assert lease.until_ms == 0
    with site.counted() as statements:
        site.topup.memory.next_check = 0.0
        site.visit("/plain")
    assert not [s for s in statements if "rolling_slot" in s], "the next try did not wait"


def test_broken_template_heals_when_repaired(site: Site, clock: Clock) -> None:
    """Once the rule is right again, the template is filled and the failures are forgotten."""
    bad = site.add_quietly(name="bad")
    site.sql("UPDATE rolling_template SET rrule = 'FREQ=NEVER'")
    site.visit("/plain")
    site.sql("UPDATE rolling_template SET rrule = 'FREQ=DAILY'")
    clock.pass_by(timedelta(minutes=6))
    site.visit("/plain")
    assert site.starts(bad) == week()
    assert (site.lease().failures, site.lease().last_error) == (0, None)


def test_page_survives_a_broken_template(site: Site) -> None:
    """A rule broken by hand takes its own slots from the page, not the slots of the others, nor the page."""
    site.add_quietly(name="good")
    bad = site.add_quietly(name="bad")
    site.sql("UPDATE rolling_template SET rrule = 'FREQ=NEVER' WHERE id = :id", id=bad)
    assert len(site.visit()["starts"]) == len(week())


def test_row_that_the_database_refuses(site: Site) -> None:
    """A template whose rows the database refuses is recorded by name in a failed run; the others complete."""
    good, bad, other = (site.add_quietly(name=name) for name in ("good", "bad", "other"))
    site.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON rolling_slot WHEN NEW.template_id = 2 "
        "BEGIN SELECT RAISE(ABORT, 'not here'); END"
    )
    site.visit("/plain")
    assert site.starts(good) == site.starts(other) == week()
    assert site.starts(bad) == []
    runs = site.runs()
    assert [run.status for run in runs] == ["failed"]
    assert "bad" in runs[0].error
    assert (runs[0].created, runs[0].done) == (2 * len(week()), 2 * len(week()))
    assert site.sql("SELECT DISTINCT run_id FROM rolling_slot") == [(runs[0].id,)]


def test_commit_of_a_new_template_starts_its_top_up(site: Site) -> None:
    """A template is filled right after the commit, without a visitor, and its run is found by it."""
    template = site.add()
    site.finish()
    assert site.starts() == week()
    with site.app.app_context():
        (found,) = site.slots.runs(template=template)
        assert (found.trigger, found.status, found.created) == ("edit", "confirmed", len(week()))


def test_template_added_by_the_orm_is_as_good(site: Site) -> None:
    """A template added with db.session.add() is filled after its commit as well."""
    with site.app.app_context():
        site.db.session.add(site.slots.Template(**hourly()))
        site.db.session.commit()
    site.finish()
    assert site.starts() == week()


def test_edit_is_followed_at_once(site: Site) -> None:
    """After the commit of an edited rule the rows follow it without a visitor."""
    template = site.add()
    site.finish()
    with site.app.app_context():
        site.db.session.get(site.slots.Template, template).until_time = time(15)
        site.db.session.commit()
    site.finish()
    assert site.starts() == [start for start in week() if start.hour < 15]


def test_savepoint_is_no_commit(site: Site) -> None:
    """The release of a savepoint starts nothing; the outermost commit does."""
    with site.app.app_context():
        with site.db.session.begin_nested():
            site.slots.create_template(**hourly())
        site.finish()
        assert site.topup.executor._thread is None
        site.db.session.commit()
    site.finish()
    assert site.starts() == week()


def test_rollback_starts_nothing(site: Site) -> None:
    """A template that was rolled back starts nothing, nor does the next commit of something else."""
    with site.app.app_context():
        site.slots.create_template(**hourly())
        site.db.session.rollback()
        site.db.session.add(site.note(text="other"))
        site.db.session.commit()
    assert site.topup.executor._thread is None


@pytest.mark.parametrize("whole", [False, True], ids=["savepoint", "everything"])
def test_rolled_back_savepoint_starts_nothing(
    site: Site, caplog: pytest.LogCaptureFixture, whole: bool
) -> None:
    """A template made in a savepoint that is rolled back is no failure of a later top-up."""
    with site.app.app_context():
        nested = site.db.session.begin_nested()
        site.slots.create_template(**hourly())
        if whole:
            site.db.session.rollback()
        else:
            nested.rollback()
        site.db.session.add(site.note(text="other"))
        site.db.session.commit()
    site.finish()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert site.sql("SELECT failures FROM rolling_lease") in ([], [(0,)])


def test_template_deleted_before_its_top_up(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template that is gone before its top-up begins is no failure: nothing is logged, nothing backed off."""
    stop = Stop()
    before(monkeypatch, type(site.topup.runner), "wait_for_lease", stop)
    template = site.add()
    assert stop.arrived.wait(WAIT)
    with site.app.app_context():
        site.db.session.delete(site.db.session.get(site.slots.Template, template))
        site.db.session.commit()
    stop.go.set()
    site.finish()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert site.lease().failures == 0


def test_edit_is_not_forgotten_while_another_holds_the_lease(
    make: Callable[..., Site], sqlite_url: str
) -> None:
    """A new template that found the lease taken all the time is filled by the next request after its release."""
    site = make(sqlite_url, lease_seconds=1)
    site.add_quietly()
    site.visit("/plain")
    until = int(site.clock().timestamp() * 1000) + 1500
    site.sql("UPDATE rolling_lease SET owner = 'another', until_ms = :until", until=until)
    template = site.add()
    site.finish()
    assert site.starts(template) == []
    site.sql("UPDATE rolling_lease SET until_ms = 0")
    site.clock.pass_by(timedelta(seconds=3))  # type: ignore[attr-defined]
    site.visit("/plain")
    assert site.starts(template) == week()


def test_disabled_starts_nothing(make: Callable[..., Site], sqlite_url: str) -> None:
    """With ENABLED=False neither a commit nor requests start anything; pages and generate() work."""
    site = make(sqlite_url, enabled=False)
    site.add()
    for _ in range(5):
        assert len(site.get()["starts"]) == len(week())
    assert site.topup.executor._thread is None
    assert site.starts() == []
    with site.app.app_context():
        assert site.slots.generate().created == len(week())


def test_nothing_of_ours_commits_the_request(make: Callable[..., Site], postgres_url: str) -> None:
    """A row that the app wrote and did not commit is gone after a request in which a top-up ran."""
    site = make(postgres_url)
    site.add_quietly()
    site.visit("/write-and-forget")
    assert site.starts() == week()
    assert site.sql("SELECT text FROM note") == []


def test_inline_commits_nothing_of_the_request(make: Callable[..., Site], sqlite_url: str) -> None:
    """The same where the top-up runs inside the request."""
    site = make(sqlite_url, executor="inline")
    site.add_quietly()
    site.get("/write-and-forget")
    site.get("/plain")
    assert site.starts() == week()
    assert site.sql("SELECT text FROM note") == []


def test_inline_look_while_the_request_writes(
    make: Callable[..., Site], sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Inline, a page that has written and then looks at slots does not wait for its own lock."""
    site = make(sqlite_url, executor="inline", engine_options={"connect_args": {"timeout": 0.2}})

    @site.app.get("/write-and-look")
    def write_and_look() -> Any:
        site.db.session.add(site.note(text="mine"))
        site.db.session.flush()
        now = site.clock()
        found = site.slots.between(now, now + timedelta(days=3))
        site.db.session.commit()
        return {"found": len(found)}

    site.get("/plain")
    site.add_quietly()
    assert site.get("/write-and-look")["found"] > 0
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []
    site.get("/plain")
    assert site.starts() == week()
    assert site.sql("SELECT text FROM note") == [("mine",)]


def test_inline_run_is_confirmed(make: Callable[..., Site], sqlite_url: str) -> None:
    """A window that fits into one chunk is filled and confirmed by one inline run that says what it made."""
    site = make(sqlite_url, executor="inline")
    site.add_quietly()
    for _ in range(3):
        site.get("/plain")
    assert site.starts() == week()
    assert [(run.status, run.created) for run in site.runs()] == [("confirmed", len(week()))]


def test_refused_template_is_backed_off_also_when_looked_at(site: Site, clock: Clock) -> None:
    """Visitors who see the holes of a template that the database refuses do not make it fail on every look."""
    site.add_quietly()
    site.sql("CREATE TRIGGER refuse BEFORE INSERT ON rolling_slot BEGIN SELECT RAISE(ABORT, 'not here'); END")
    for _ in range(30):
        assert len(site.visit()["starts"]) == len(week())
        clock.pass_by(timedelta(seconds=11))
    assert 1 <= len(site.runs()) <= 15
    site.sql("DROP TRIGGER refuse")
    clock.pass_by(timedelta(minutes=6))
    site.visit()
    assert site.starts() == week()


def test_many_templates_in_one_commit(site: Site) -> None:
    """Sixty templates of one commit are all filled by the top-up that the commit starts."""
    with site.app.app_context():
        for number in range(60):
            site.slots.create_template(**hourly(name=f"{number}"))
        site.db.session.commit()
    site.finish()
    assert len(site.starts()) == 60 * len(week())
    assert {run.status for run in site.runs()} == {"confirmed"}


def test_error_text_holds_no_data(
    make: Callable[..., Site], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is logged and stored about a refused row names the reason, but quotes neither SQL nor the app's data."""
    site = make(database_url)
    site.add_quietly(data={"door": "s3cret"})
    if "sqlite" in database_url:
        site.sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON rolling_slot BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    else:
        site.sql("ALTER TABLE rolling_slot ADD CONSTRAINT refused CHECK (capacity > 5)")
    site.visit("/plain")
    (run,) = site.runs()
    written = [run.error, str(run.results), site.lease().last_error, caplog.text]
    assert all("refused" in found for found in written[:3])
    assert not [found for found in written if "s3cret" in found or "INSERT" in found]
