"""Events reach an app's functions once each, in order, after the outermost commit, and never after a rollback."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, request
from helpers import HALL, MONDAY, Clock, Site, create_tables
from sqlalchemy import event as sa_event
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from flask_rollingslots import RollingSlots, SlotFull, signals
from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.facade import Event
from flask_rollingslots.signals import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, SECOND, THIRD = (f"1@20260106T{hour}00" for hour in (10, 11, 12))
TOKEN = "t" * 40


def told(site: Site, *names: str) -> list[Event]:
    """Listen for some events, or all; return the list in which they arrive."""
    found: list[Event] = []
    site.slots.on(*(names or EVENTS.values()))(found.append)
    return found


def names_of(found: list[Event]) -> list[tuple[str, str | None]]:
    """Return what happened where."""
    return [(event.name, event.slot and event.slot.key) for event in found]


# -- when


def test_each_event_comes_once_in_order_after_the_commit(site: Site) -> None:
    """Nothing is told before the commit, then everything, in the order of the calls; a second commit tells no more."""
    site.add(capacity=2)
    found = told(site)
    held = site.slots.hold(FIRST, who="ada")
    site.slots.confirm(held)
    moved = site.slots.move(held, SECOND)
    site.slots.release(moved)
    site.slots.cancel(THIRD, reason="rain")
    assert found == []
    site.session.commit()
    assert names_of(found) == [
        ("held", FIRST),
        ("booked", FIRST),
        ("moved", SECOND),
        ("released", SECOND),
        ("cancelled", THIRD),
    ]
    site.session.commit()
    assert len(found) == 5
    site.slots.book(FIRST)
    site.session.commit()
    assert names_of(found)[5:] == [("booked", FIRST)]


def test_a_rollback_tells_nothing(site: Site) -> None:
    """What was rolled back, or never committed, is not told; nor with the next commit of that session."""
    site.add()
    found = told(site)
    site.slots.book(FIRST)
    site.session.rollback()
    site.slots.book(FIRST)
    site.session.close()
    site.slots.cancel(SECOND, dry_run=True)
    site.slots.book(SECOND)
    site.session.commit()
    assert names_of(found) == [("booked", SECOND)]
    site.slots.book(FIRST)
    site.session.remove()
    site.slots.book(THIRD)
    site.session.commit()
    assert names_of(found)[1:] == [("booked", THIRD)]


def test_a_refused_call_tells_nothing(site: Site) -> None:
    """A booking that is refused, in a transaction that is committed, is no event; a repeated request is none either."""
    site.add()
    found = told(site)
    site.slots.book(FIRST, who="ada", idempotency_key="form")
    with pytest.raises(SlotFull):
        site.slots.book(FIRST, who="bea")
    site.slots.book(FIRST, who="ada", idempotency_key="form")
    site.session.commit()
    assert names_of(found) == [("booked", FIRST)]


def test_savepoints(site: Site) -> None:
    """What a released savepoint holds is told with the outermost commit; what was rolled back to one is not."""
    site.add()
    found = told(site)
    with site.session.begin_nested():
        site.slots.book(FIRST)
        with site.session.begin_nested():
            site.slots.book(SECOND)
    assert found == []
    lost = site.session.begin_nested()
    with site.session.begin_nested():
        site.slots.book(THIRD)  # released within what is rolled back
    site.slots.cancel("1@20260106T1300")
    lost.rollback()
    closed = site.session.begin_nested()
    site.slots.book(THIRD)
    closed.close()
    site.slots.book("1@20260106T1400")
    assert found == []
    site.session.commit()
    assert names_of(found) == [("booked", FIRST), ("booked", SECOND), ("booked", "1@20260106T1400")]
    assert site.slots.get(THIRD).left == 1


def test_a_rolled_back_transaction_takes_released_savepoints_along(site: Site) -> None:
    """A savepoint that was released is no commit."""
    site.add()
    found = told(site)
    with site.session.begin_nested():
        site.slots.book(FIRST)
    site.session.rollback()
    site.session.commit()
    assert found == []


def test_a_commit_that_fails_tells_nothing(site: Site) -> None:
    """The database had the last word."""
    site.add()
    found = told(site)

    def fail(session: Any) -> None:
        raise RuntimeError("no commit today")

    site.slots.book(FIRST)
    sa_event.listen(site.session(), "before_commit", fail)
    with pytest.raises(RuntimeError):
        site.session.commit()
    site.session.rollback()
    sa_event.remove(site.session(), "before_commit", fail)
    site.session.commit()
    assert found == []


def test_any_session_that_writes(site: Site) -> None:
    """Doors commit sessions of their own; so may an app, and a test that puts its own session in place."""
    site.add(capacity=3)
    found = told(site)
    with site.slots.transaction(who="staff", door="cli") as slots:
        slots.book(FIRST)
    assert names_of(found) == [("booked", FIRST)]
    site.slots.book(SECOND)  # waits for its own commit
    assert len(found) == 1
    site.session.commit()
    with site.app.app_context():
        site.slots.book(FIRST)
        assert len(found) == 2
        site.session.commit()
    assert names_of(found) == [("booked", FIRST), ("booked", SECOND), ("booked", FIRST)]


def test_a_session_of_ones_own(sqlite_site: Site) -> None:
    """Test suites replace ``db.session``, also by one in a transaction that is rolled back after the test."""
    site = sqlite_site
    site.add()
    site.session.remove()
    found = told(site)
    heard: list[int] = []

    @site.slots.on("booked")
    def count(event: Event) -> None:
        heard.append(site.session.scalar(select(func.count()).select_from(site.slots.Booking)) or 0)

    with site.db.engine.connect() as connection:
        outer = connection.begin()
        own, usual = Session(connection, join_transaction_mode="create_savepoint"), site.db.session
        site.db.session = lambda: own
        site.db.session.scalar = own.scalar
        try:
            site.slots.book(FIRST)
            own.commit()
        finally:
            site.db.session = usual
            own.close()
            outer.rollback()
    assert names_of(found) == [("booked", FIRST)]
    assert heard == [1]


def test_two_phases(site: Site) -> None:
    """A prepared transaction is told once it is committed, where the database has such."""
    if site.db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite prepares nothing")
    site.add()
    site.session.remove()
    found = told(site)
    session = site.session(twophase=True)
    site.slots.book(FIRST)
    try:
        session.prepare()
    except Exception as refused:  # PostgreSQL takes none unless it is configured
        session.rollback()
        pytest.skip(str(refused)[:60])
    assert found == []
    session.commit()
    assert names_of(found) == [("booked", FIRST)]


def test_a_topup_tells_too(site: Site) -> None:
    """What a top-up tells goes through the same collector, in its own transactions, and says so."""
    site.add()
    found = told(site)
    runner = site.topup.runner

    def tell(**facts: Any) -> Any:
        with runner.context(), runner.transaction() as work:
            slot = work.session.scalar(select(work.models.Slot).limit(1))
            work.outbox.add(signals.slot_restored, slot=slot, **facts)
            if facts.get("fails"):
                raise ZeroDivisionError

    site.slots.generate()
    assert found == []
    tell()
    assert [(event.name, event.door, event.who) for event in found] == [("restored", "topup", None)]
    with pytest.raises(ZeroDivisionError):
        tell(fails=True)
    assert len(found) == 1


def test_a_chunk_that_is_rolled_back_tells_nothing(
    sqlite_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the chunks of a top-up tell is told as each is committed; a receiver that fails stops no top-up."""
    from flask_rollingslots.topup import run

    site = sqlite_site
    site.add()
    found, write = told(site), run.write_chunk

    def telling(work: Any, chunk: Any, run_id: Any) -> Any:
        written = write(work, chunk, run_id)
        slot = work.session.scalar(select(work.models.Slot).limit(1))
        work.outbox.add(signals.slot_restored, slot=slot)
        written_chunks.append(True)
        if len(written_chunks) == 1:  # as a deadlock would be: the run tries this chunk again
            raise OperationalError("", {}, Exception("database is locked"))
        return written

    def failing(sender: Any, **more: Any) -> None:
        raise RuntimeError("receiver")

    written_chunks: list[bool] = []
    monkeypatch.setattr(run, "write_chunk", telling)
    with signals.slot_restored.connected_to(failing, site.app):
        site.slots.generate()
        site.slots.generate(days=9)
    assert len(found) == len(written_chunks) - 1 >= 2
    assert {(event.name, event.door) for event in found} == {("restored", "topup")}


# -- what


def test_an_event_is_a_frozen_value(site: Site) -> None:
    """It says who, when and through which door; slot and booking are plain values as the call left them."""
    site.add(capacity=3, group="halls", data={"price": 30, "tags": ["a"]}, timezone="Europe/Madrid")
    found = told(site)
    with site.slots.acting("desk", door="pages"):
        booking = site.slots.book(
            FIRST, party=2, who="ada", name="Ada", contact="ada@example.org", note="window"
        )
        site.clock.turn(minutes=1)
        site.slots.release(booking)
    site.session.commit()
    site.clock.turn(hours=1)
    first, second = found
    assert (first.who, first.at, first.door) == ("desk", MONDAY, "pages")
    assert second.at == MONDAY + timedelta(minutes=1)
    assert first.at.tzinfo is UTC
    assert first.booking is not None
    assert first.slot is not None
    person = (first.booking.who, first.booking.name, first.booking.contact, first.booking.note)
    assert person == ("ada", "Ada", "ada@example.org", "window")
    assert (first.booking.party, first.booking.status, first.booking.key) == (2, "confirmed", FIRST)
    assert (first.slot.name, first.slot.group, first.slot.left, first.slot.state) == (
        "Hall",
        "halls",
        1,
        "open",
    )
    assert (first.slot.local_start.hour, first.slot.local_end.hour) == (10, 11)
    assert not first.slot.is_virtual
    assert second.booking is not None
    assert second.slot is not None
    assert (second.booking.status, second.slot.left) == ("released", 3)
    for value in (first, first.slot, first.booking):
        with pytest.raises((FrozenInstanceError, TypeError)):
            value.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        first.slot.data["price"] = 1  # type: ignore[index]
    assert first.slot.data["tags"] == ("a",)
    plain = json.loads(json.dumps(first.to_dict()))
    assert plain == first.to_dict() == pickle.loads(pickle.dumps(first.to_dict()))  # noqa: S301
    assert plain["slot"]["data"] == {"price": 30, "tags": ["a"]}
    assert plain["at"] == "2026-01-05T08:00:00+00:00"
    shown = repr(found)
    assert not [word for word in ("ada", "Ada", "window", "desk", str(booking.token)) if word in shown]


def test_what_more_an_event_says(site: Site) -> None:
    """The other arguments of the signal are in ``details``; of reports and plans what they hold, with the bookings."""
    site.add(capacity=3)
    found = told(site)
    booking = site.slots.book(FIRST, who="ada")
    site.session.commit()
    moved = site.slots.move(booking, SECOND)
    site.session.commit()
    assert found[1].details["replaces_id"] == booking.id
    assert found[1].details["old_slot"].key == FIRST
    site.slots.edit(SECOND, "this", capacity=5)
    site.slots.cancel(SECOND, reason="rain")
    site.slots.restore(SECOND)
    site.slots.complete(SECOND, undo=False)
    site.slots.complete(SECOND, undo=True)
    site.slots.delete(THIRD)
    site.slots.close(date(2026, 1, 8), reason="painting")
    site.slots.reopen(date(2026, 1, 8))
    site.slots.cancel_future(1, date(2026, 1, 6))
    site.slots.restore_series(1)
    site.session.commit()
    assert [event.name for event in found[2:]] == [
        "edited", "cancelled", "restored", "completed", "completed", "deleted", "closed", "reopened", "ended",
        "restored",
    ]  # fmt: skip
    edited, cancelled, _, done, undone, _, closed, _, ended, _ = found[2:]
    assert edited.details["changes"][0]["to"] == {"capacity": 5}
    assert cancelled.details["reason"] == "rain"
    assert [(each.who, each.key) for each in cancelled.details["bookings"]] == [("ada", SECOND)]
    assert (done.details["undo"], undone.details["undo"]) == (False, True)
    assert (closed.details["reason"], closed.details["first"]) == ("painting", "2026-01-08")
    assert [each.id for each in ended.details["bookings"]] == [moved.id]
    for event in found:
        json.dumps(event.to_dict())


def test_each_signal_of_a_decision_is_an_event() -> None:
    """All but those of top-ups are told after the commit, under one word each."""
    sent = {each for each in vars(signals).values() if isinstance(each, signals.NamedSignal)}
    of_topups = {"topup-started", "topup-finished", "topup-failed", "slots-opened", "slots-closed"}
    assert {signal.name for signal in sent - set(EVENTS)} == of_topups


def test_doors(sqlite_url: str, tmp_path: Path) -> None:
    """HTTP, commands and pages are named; without more it is the facade, and blocks within keep what is around them."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_API_PREFIX="/api", ROLLINGSLOTS_API_TOKEN=TOKEN)
    with site.app.app_context():
        site.add(capacity=9)
    found = told(site)
    client, headers = site.app.test_client(), {"Authorization": f"Bearer {TOKEN}"}
    assert (
        client.post(f"/api/slots/{FIRST}/bookings", json={"who": "ada"}, headers=headers).status_code == 201
    )
    done = site.app.test_cli_runner().invoke(args=["slots", "cancel-date", "2026-01-08", "--all"])
    done = (
        done if found[1:] else site.app.test_cli_runner().invoke(args=["slots", "cancel-date", "2026-01-08"])
    )
    assert done.exit_code == 0, done.output
    with site.app.app_context():
        site.slots.book(FIRST)
        with site.slots.acting("eve", door="pages"), site.slots.acting("ada"):
            site.slots.book(FIRST)
            with site.slots.transaction() as slots:
                slots.get(FIRST)
        site.session.commit()
        with site.slots.acting("eve", door="pages"), site.slots.transaction() as slots:
            slots.book(FIRST, who="bea")
    assert found[0].door == "http"
    assert {event.door for event in found[1:-3]} == {"cli"}
    assert [(event.door, event.who) for event in found[-3:]] == [
        ("facade", None),
        ("pages", "ada"),
        ("pages", "eve"),
    ]


# -- the functions


def test_sql_is_allowed_in_a_session_of_its_own(site: Site) -> None:
    """A function reads what was committed, may write and commit, and what it leaves open is rolled back."""
    site.add(capacity=5)
    seen: list[Any] = []

    @site.slots.on("booked")
    def look(event: Event) -> None:
        assert event.booking is not None
        seen.append(site.session())
        seen.append(site.session.get(site.slots.Booking, event.booking.id).who)
        site.session.add(site.slots.Template(**HALL))
        site.session.flush()

    @site.slots.on("booked")
    def write(event: Event) -> None:
        seen.append(site.session())
        site.slots.create_template(**{**HALL, "name": "written after it"})
        site.session.commit()

    booking = site.slots.book(FIRST, who="ada")
    site.session.commit()
    assert seen[1] == "ada"
    assert len({id(each) for each in (seen[0], seen[2], site.session())}) == 3
    assert booking.who == "ada"
    names = site.session.scalars(select(site.slots.Template.name).order_by(site.slots.Template.id)).all()
    assert names == ["Hall", "written after it"]


def test_the_request_is_still_there(sqlite_site: Site) -> None:
    """So a function may read who is signed in, or make an address."""
    site = sqlite_site
    site.add()
    seen: list[str] = []
    site.slots.on("booked")(lambda event: seen.append(request.path))
    with site.app.test_request_context("/here"):
        site.slots.book(FIRST)
        site.session.commit()
        assert request.path == "/here"
    assert seen == ["/here"]


def test_an_error_hurts_nobody_else(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with the event, and without what may be a person's; the others are called, the request goes on."""
    site.add()
    after: list[str] = []

    @site.slots.on("booked")
    def send_mail(event: Event) -> None:
        assert event.booking is not None
        raise OSError(f"mailbox of {event.booking.name} at {event.booking.contact} is full")

    @site.slots.on("booked")
    def bad_sql(event: Event) -> None:
        site.session.execute(select(site.slots.Booking).where(site.db.text(f"nonsense = '{event.who}'")))

    site.slots.on("booked")(lambda event: after.append(event.name))
    with site.slots.acting("ada"):
        site.slots.book(
            FIRST, who="ada", name="Ada Lovelace", contact="ada@example.org", note="in a wheelchair"
        )
    with caplog.at_level(logging.DEBUG):
        site.session.commit()
    assert after == ["booked"]
    assert site.slots.bookings(who="ada") != []
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    text = caplog.text
    assert f"the event booked at 2026-01-05T08:00:00+00:00 (slot {FIRST}, booking 1, by facade)" in text
    assert "send_mail failed on" in text
    assert "OSError" in text
    assert not [word for word in ("ada", "Ada", "wheelchair") if word in text]


def test_an_error_that_ends_the_process_is_not_caught(sqlite_site: Site) -> None:
    """A worker that is told to exit does."""
    site = sqlite_site
    site.add()

    @site.slots.on("booked")
    def leave(event: Event) -> None:
        raise SystemExit

    site.slots.book(FIRST)
    with pytest.raises(SystemExit):
        site.session.commit()
    site.session.rollback()
    assert len(site.slots.bookings()) == 1


def test_a_function_that_books(site: Site) -> None:
    """What a function commits is told after what was committed before it; none is called within another."""
    site.add(capacity=5)
    heard: list[tuple[str, str]] = []
    depth: list[int] = []

    def listen(name: str) -> Callable[[Event], None]:
        def hear(event: Event) -> None:
            assert event.slot is not None
            depth.append(1)
            assert len(depth) == 1
            heard.append((name, event.slot.key))
            if name == "a" and event.slot.key == FIRST:
                site.slots.book(THIRD)
                site.session.commit()
            depth.pop()

        return hear

    site.slots.on("booked")(listen("a"))
    site.slots.on("booked")(listen("b"))
    site.slots.book(FIRST)
    site.slots.book(SECOND)
    site.session.commit()
    assert heard == [("a", FIRST), ("b", FIRST), ("a", SECOND), ("b", SECOND), ("a", THIRD), ("b", THIRD)]


def test_functions_that_never_end_are_ended(sqlite_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A function that makes a new event of each is stopped after some, and that is logged."""
    site = sqlite_site
    site.add(capacity=500)
    heard: list[Event] = []

    @site.slots.on("booked")
    def again(event: Event) -> None:
        heard.append(event)
        site.slots.book(FIRST)
        site.session.commit()

    site.slots.book(FIRST)
    site.session.commit()
    assert len(heard) == 10
    assert "without end" in caplog.text
    site.slots.book(SECOND)
    site.session.commit()
    assert len(heard) == 20


def test_receivers_of_signals_that_book(site: Site) -> None:
    """What a receiver does within the transaction happened after what it was told of."""
    site.add(capacity=5)
    found = told(site)

    def also(sender: Any, slot: Any, **more: Any) -> None:
        if slot.key == FIRST:
            site.slots.book(SECOND)

    with signals.slot_booked.connected_to(also, site.app):
        site.slots.book(FIRST)
    site.session.commit()
    assert names_of(found) == [("booked", FIRST), ("booked", SECOND)]


def test_two_apps_on_one_instance(tmp_path: Path) -> None:
    """Functions belong to the instance, and are called in the context of the app in which it happened."""
    from flask import current_app
    from flask_sqlalchemy import SQLAlchemy

    db, clock = SQLAlchemy(), Clock()
    slots = RollingSlots(db=db, clock=clock)
    other = RollingSlots(db=db, clock=clock)
    heard: list[tuple[str, str]] = []
    slots.on("booked")(lambda event: heard.append((current_app.name, event.slot.key)))
    other.on("booked")(lambda event: heard.append(("the other one", event.slot.key)))
    apps = []
    for name in ("one", "two"):
        app = Flask(name, instance_path=str(tmp_path))
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / name}.db"
        app.config["ROLLINGSLOTS_ENABLED"] = False
        db.init_app(app)
        slots.init_app(app)
        apps.append(app)
        with app.app_context():
            create_tables(db.engine)
            slots.create_template(**HALL)
            db.session.commit()
    with apps[0].app_context():
        slots.book(FIRST)
        with apps[1].app_context():
            slots.book(SECOND)
            db.session.commit()
        db.session.commit()
    assert heard == [("two", SECOND), ("one", FIRST)]


# -- names, and what it costs


def test_an_unknown_name_is_refused(sqlite_site: Site) -> None:
    """The error names the nearest; so are no names, and what is no function."""
    on = sqlite_site.slots.on
    with pytest.raises(
        InvalidRequest, match=r"^name = 'boked': expected the name of an event. Did you mean booked\?"
    ):
        on("held", "boked")
    with pytest.raises(InvalidRequest, match=r"^names = \(\): expected the name of an event"):
        on()
    with pytest.raises(InvalidRequest, match=r"^function = None: expected a function"):
        on("booked")(None)


def test_the_same_function_twice_is_called_once(sqlite_site: Site) -> None:
    """The decorator gives the function back; a module that is imported twice does no harm."""
    site = sqlite_site
    site.add()
    heard: list[str] = []

    def hear(event: Event) -> None:
        heard.append(event.name)

    assert site.slots.on("booked", "held")(hear) is hear
    site.slots.on("booked", "booked")(hear)
    site.slots.book(FIRST)
    site.session.commit()
    assert heard == ["booked"]


def test_nothing_is_paid_when_nobody_listens(sqlite_site: Site) -> None:
    """Without a function for it an event is neither made nor kept, and the session is not listened to."""
    site = sqlite_site
    site.add(capacity=5)
    site.slots.generate()
    told(site, "cancelled")
    statements: list[str] = []
    sa_event.listen(site.db.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    site.slots.book(FIRST)
    site.session.commit()
    assert "rollingslots_events" not in site.session().info
    alone = len(statements)
    told(site, "booked")
    site.slots.book(FIRST)
    site.session.commit()
    assert len(statements) - alone > alone


# -- at most once

CRASH = """
import os, sys
sys.path[:0] = [{tests!r}, {root!r}]
from pathlib import Path
from sqlalchemy import event
from flask_rollingslots import signals
from helpers import Site

site = Site({url!r}, Path({folder!r}))
with site.app.app_context():
    site.slots.on("booked")(lambda told: print("told", flush=True))
    site.slots.book({first!r}, who="ada")
    site.session.commit()
    def die(session):
        if not session.in_nested_transaction():  # the release of a savepoint is no commit
            os._exit(9)

    event.listen(site.session(), "after_commit", die)
    site.slots.book({second!r}, who="ada")
    site.session.commit()
"""


def test_a_crash_between_commit_and_call_loses_the_event(sqlite_site: Site, tmp_path: Path) -> None:
    """At most once: the booking stands, nobody was told. That is what the recipe of an outbox is for."""
    site = sqlite_site
    site.add()
    tests = Path(__file__).resolve().parents[1]
    script = CRASH.format(
        tests=str(tests),
        root=str(tests.parent),
        url=str(site.db.engine.url),
        folder=str(tmp_path),
        first=FIRST,
        second=SECOND,
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 9, done.stderr
    assert done.stdout.split() == ["told"]
    assert [booking.slot.key for booking in site.slots.bookings(who="ada")] == [FIRST, SECOND]
