"""Transactions that the app begins in its own way, savepoints that it rolls back, and races that it cannot see."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import g
from helpers import A_WEEK, Site, lose_races
from sqlalchemy import event

from flask_rollingslots import ConfigError, LostRace, SlotFull
from flask_rollingslots.errors import UncommittedChanges

#: SQLAlchemy's documentation has both for pysqlite: savepoints then work, and reads are part of the transaction.
RECIPES = ["BEGIN", "BEGIN IMMEDIATE"]


def begin_by_itself(site: Site, begin: str) -> None:
    """Let the app's engine begin its transactions as SQLAlchemy's documentation recommends."""
    engine = site.db.engine
    engine.dispose()
    event.listen(engine, "connect", lambda raw, record: setattr(raw, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site whose engine follows one of the recipes."""
    site = Site(sqlite_url, tmp_path, own_models=True)
    with site.app.app_context():
        begin_by_itself(site, request.param)
        yield site


def test_generate_runs_beside_a_session_that_only_read(recipe: Site) -> None:
    """The app's session may hold a transaction that has written nothing: the top-up goes on."""
    recipe.add()
    if recipe.session.connection().connection.dbapi_connection.in_transaction:
        recipe.session.rollback()
    assert recipe.slots.generate(days=7).created == A_WEEK


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_generate_beside_a_deferred_transaction_that_read(sqlite_url: str, tmp_path: Path, mode: str) -> None:
    """In WAL mode it keeps no top-up waiting; else no file could be written beside it, and that is told at once."""
    site = Site(sqlite_url, tmp_path, own_models=True)
    with site.app.app_context():
        site.session.execute(site.db.text(f"PRAGMA journal_mode={mode}"))
        site.session.commit()
        begin_by_itself(site, "BEGIN")
        site.add()
        assert len(site.week()) == A_WEEK
        if mode == "wal":
            assert site.slots.generate(days=7).created == A_WEEK
        else:
            with pytest.raises(UncommittedChanges, match="open transaction of SQLite"):
                site.slots.generate(days=7)


def test_generate_refuses_to_wait_for_its_own_session(recipe: Site) -> None:
    """What the app wrote and did not commit is told at once."""
    recipe.add()
    recipe.slots.book(recipe.week()[0].key)
    with pytest.raises(UncommittedChanges):
        recipe.slots.generate(days=7)
    recipe.session.rollback()
    assert recipe.slots.generate(days=7).created == A_WEEK


@pytest.mark.parametrize("way", ["book", "hold", "book with a key"])
def test_a_crowd_follows_the_recipe(recipe: Site, way: str) -> None:
    """Many who want the last places wait for each other; nobody is told that the database is locked."""
    recipe.add(capacity=3)
    recipe.slots.generate(days=7)
    key = recipe.week()[0].key
    recipe.session.rollback()
    start, outcomes = threading.Barrier(6), Counter[str]()

    def want(number: int) -> None:
        start.wait(30)
        for turn in range(6):
            with recipe.app.app_context():
                name = f"{number}-{turn}"
                try:
                    if way == "hold":
                        recipe.slots.hold(key, minutes=5)
                    else:
                        recipe.slots.book(key, idempotency_key=name if way == "book with a key" else None)
                    recipe.session.commit()
                    outcomes["taken"] += 1
                except SlotFull:
                    recipe.session.rollback()
                    outcomes["full"] += 1
                except Exception as error:
                    outcomes[repr(error)] += 1

    threads = [threading.Thread(target=want, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert outcomes == {"taken": 3, "full": 33}


def test_a_transaction_that_read_something_older_loses(sqlite_url: str, tmp_path: Path) -> None:
    """A deferred transaction that cannot become a writing one says so; rolled back, it goes on."""
    site = Site(sqlite_url, tmp_path, own_models=True)
    with site.app.app_context():
        site.db.session.execute(site.db.text("PRAGMA journal_mode=WAL"))
        site.session.commit()
        begin_by_itself(site, "BEGIN")
        site.add()
        key = site.week()[0].key  # this transaction has a snapshot from here on
        with site.app.app_context():
            site.slots.book(site.week()[1].key)
            site.session.commit()
        with pytest.raises(LostRace):
            site.slots.book(key)
        site.session.rollback()
        assert site.slots.book(key).slot.key == key


def test_http_tries_a_lost_race_again(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call over HTTP that another transaction was in the way of is done all the same, once; and not for ever."""
    token = "a-token-that-nobody-guesses-" + "x" * 20
    site = Site(
        sqlite_url, tmp_path, own_models=True, ROLLINGSLOTS_API_PREFIX="/api", ROLLINGSLOTS_API_TOKEN=token
    )
    with site.app.app_context():
        site.add(capacity=5)
        key = site.week()[0].key
    lost = lose_races(monkeypatch, site.slots, "book", 2)
    client, bearer = site.app.test_client(), {"Authorization": f"Bearer {token}"}
    answer = client.post(f"/api/slots/{key}/bookings", json={"who": "ada"}, headers=bearer)
    assert answer.status_code == 201, answer.text
    with site.app.app_context():
        assert site.slots.get(key).booked == 1
    lost += [LostRace()] * 9
    answer = client.post(f"/api/slots/{key}/bookings", json={"who": "bob"}, headers=bearer)
    assert (answer.status_code, answer.json["code"], answer.headers["Retry-After"]) == (409, "try_again", "1")
    with site.app.app_context():
        assert site.slots.get(key).booked == 1


@pytest.mark.parametrize("begin", RECIPES)
@pytest.mark.parametrize("callback", [False, True])
def test_every_http_decision_follows_the_recipe(
    sqlite_url: str, tmp_path: Path, begin: str, callback: bool
) -> None:
    """A request looks first and then writes, and does not wait for itself; a callback goes on in its own context."""
    token = "a-token-that-nobody-guesses-" + "x" * 20
    site = Site(
        sqlite_url, tmp_path, own_models=True, ROLLINGSLOTS_API_PREFIX="/api", ROLLINGSLOTS_API_TOKEN=token
    )
    with site.app.app_context():
        begin_by_itself(site, begin)
        number = site.add(capacity=5).id
        key, other = (slot.key for slot in site.week()[:2])
    headers = {} if callback else {"Authorization": f"Bearer {token}"}
    seen: list[Any] = []
    if callback:
        site.app.before_request(lambda: setattr(g, "user", "ada"))
        site.slots.authorize(lambda action, template: bool(seen.append(g.user) or g.user == "ada"))
    client = site.app.test_client()
    made = client.post(f"/api/slots/{key}/bookings", json={"who": "ada"}, headers=headers)
    calls = [
        made,
        client.patch(f"/api/slots/{other}", json={"capacity": 2}, headers=headers),
        client.patch(f"/api/templates/{number}", json={"capacity": 4}, headers=headers),
        client.delete(f"/api/bookings/{made.json['id']}", headers=headers),
        client.post(f"/api/slots/{other}/cancel", json={}, headers=headers),
        client.post("/api/closings", json={"first": "2026-01-09", "template": number}, headers=headers),
        client.post("/api/topups", json={"dry_run": True}, headers=headers),
        client.post("/api/topups", json={}, headers=headers),
        client.delete(f"/api/templates/{number}", headers=headers),
    ]
    site.settle()
    assert [
        (call.request.method, call.request.path, call.text) for call in calls if call.status_code > 204
    ] == []
    assert set(seen) == ({"ada"} if callback else set())


def test_an_engine_that_commits_each_statement_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    """A booking is several statements: an AUTOCOMMIT engine is a mistake of the set-up, and is named."""
    options = {"isolation_level": "AUTOCOMMIT"}
    site = Site(sqlite_url, tmp_path, own_models=True)
    with site.app.app_context():
        key = "1@20260105T1000"
        site.add()
    other = Site(sqlite_url, tmp_path, own_models=True)
    with other.app.app_context():
        other.db.engines[None] = other.db.engine.execution_options(**options)
        for call in (lambda: other.slots.book(key), lambda: other.slots.generate(days=7)):
            with pytest.raises(ConfigError, match="AUTOCOMMIT"):
                call()


def test_a_savepoint_of_the_app_takes_back_what_was_booked(site: Site) -> None:
    """After the app rolled its own savepoint back, nothing in its session speaks of what is gone."""
    site.add(capacity=2)
    key, other = site.week()[0].key, site.week()[1].key
    stored = site.slots.materialize(site.week()[2].key)
    site.session.commit()
    savepoint = site.session.begin_nested()
    booking = site.slots.book(key, who="ada")
    site.slots.book(stored, who="ada")
    assert stored.booked == 1
    savepoint.rollback()
    assert stored.booked == 0
    assert booking not in site.session
    again = site.slots.book(other, who="bob")
    assert (again.slot.key, again.who) == (other, "bob")
    site.session.commit()
    assert [row.key for row in site.rows() if row.booked] == [other]


def test_an_outer_savepoint_takes_back_what_an_inner_one_kept(site: Site) -> None:
    """A savepoint that was released within another goes with that one."""
    site.add(capacity=2)
    key, other = site.week()[0].key, site.week()[1].key
    outer = site.session.begin_nested()
    with site.session.begin_nested():
        booking = site.slots.hold(key, who="ada")
    outer.rollback()
    assert booking not in site.session
    assert site.slots.hold(other, who="bob").slot.key == other


def test_what_was_seen_is_not_what_is_there(any_url: str, tmp_path: Path) -> None:
    """With a snapshot that does not show a decision, a booking is refused as a lost race and then finds it."""
    site = Site(any_url, tmp_path, own_models=True)
    site.app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {}
    with site.app.app_context():
        if site.db.engine.dialect.name != "sqlite":
            site.db.engines[None] = site.db.engine.execution_options(isolation_level="REPEATABLE READ")
        site.add(capacity=2)
        key = site.week()[0].key
        site.session.commit()
        site.session.connection()
        assert site.slots.get(key).is_virtual  # from here on the transaction shows what was so
        with site.app.app_context():
            site.slots.edit(key, "all", capacity=1, duration=timedelta(minutes=30))
            site.session.commit()
        try:
            site.slots.book(key, party=2)
        except (LostRace, SlotFull):
            site.session.rollback()
        else:
            pytest.fail("two places of one were sold")
        with pytest.raises(SlotFull):
            site.slots.book(key, party=2)
