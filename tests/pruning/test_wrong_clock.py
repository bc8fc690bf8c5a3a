"""A clock that is wrong for a while: retention forgets nothing that it could not make again, and says why."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from helpers import HALL, MONDAY, Clock, Site, create_tables
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from flask_rollingslots import RollingSlots
from flask_rollingslots.statements import server_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE_A_DAY: dict[str, Any] = {
    "every": None,
    "until_time": None,
    "capacity": 3,
    "dtstart": datetime(2020, 1, 1, 10),
}


class Hall:
    """An app by the machine's own clock, with decisions about the days to come."""

    def __init__(self, url: str, folder: Path, traveller: Any) -> None:
        self.now, self._traveller = self._right_time(url), traveller
        traveller.move_to(self.now)
        self.app = Flask("hall", instance_path=str(folder))
        self.app.config |= {"SQLALCHEMY_DATABASE_URI": url, "ROLLINGSLOTS_ENABLED": False}
        self.app.config["ROLLINGSLOTS_RETENTION_DAYS"] = 30
        self.db = SQLAlchemy(self.app)
        self.slots = RollingSlots(self.app)

    def _right_time(self, url: str) -> datetime:
        engine = create_engine(url, poolclass=NullPool)
        with Session(engine) as session:
            moment = server_time(session) or MONDAY
        return moment.replace(hour=8, minute=0, second=0, microsecond=0)

    def turn(self, **span: float) -> None:
        """Let the machine's clock show the right time and a span."""
        self._traveller.move_to(self.now + timedelta(**span))

    def decide(self) -> None:
        """Let people decide about days to come: cancel, delete, move, book and hold."""
        self.slots.create_template(**{**HALL, **ONE_A_DAY})
        self.db.session.commit()
        self.slots.generate(days=40)
        self.keys = [slot.key for slot in self.seen()]
        self.slots.cancel(self.keys[5])
        self.slots.delete(self.keys[6])
        day = (self.now + timedelta(days=3)).replace(tzinfo=None)
        self.slots.edit(self.keys[20], "this", start=day.replace(hour=15))
        self.slots.book(self.keys[7], who="ada")
        self.slots.hold(self.keys[8], who="eve", minutes=30)
        self.db.session.commit()

    def seen(self) -> list[Any]:
        """Return the slots of forty days, as visitors see them."""
        self.db.session.rollback()
        return list(self.slots.between(self.now, self.now + timedelta(days=40)))

    def shown(self) -> list[tuple[Any, ...]]:
        """Return what somebody can tell of them."""
        return [(s.key, s.starts_at, s.state, s.left, s.capacity) for s in self.seen()]

    def bookings(self) -> list[tuple[Any, ...]]:
        """Return all bookings."""
        self.db.session.rollback()
        found = self.db.session.scalars(self.db.select(self.slots.Booking).order_by(self.slots.Booking.id))
        return [(booking.id, booking.who, booking.status, booking.is_live) for booking in found]


@contextmanager
def decided(url: str, folder: Path) -> Iterator[Hall]:
    """Give an app about whose slots people decided, and a clock that a test turns."""
    with time_machine.travel(MONDAY, tick=False) as traveller:
        hall = Hall(url, folder, traveller)
        with hall.app.app_context():
            create_tables(hall.db.engine)
            hall.decide()
            yield hall


@pytest.fixture
def hall(database_url: str, tmp_path: Path) -> Iterator[Hall]:
    """The app on each database."""
    with decided(database_url, tmp_path) as hall:
        yield hall


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path) -> Iterator[Hall]:
    """The same on a SQLite file, where no server has a clock of its own."""
    with decided(sqlite_url, tmp_path) as hall:
        yield hall


@pytest.mark.parametrize("hours", [[0], [0, 1, 2]], ids=["one top-up", "three top-ups"])
def test_a_clock_that_is_ahead_destroys_no_decision(hall: Hall, hours: list[int]) -> None:
    """Top-ups with a clock sixty days ahead: what was cancelled, deleted, moved, booked and held is so afterwards."""
    before, bookings = hall.shown(), hall.bookings()
    for hour in hours:
        hall.turn(days=60, hours=hour)
        hall.slots.generate()
    hall.turn(minutes=10)
    assert hall.shown() == before
    assert hall.bookings() == bookings
    assert [live for *_, live in bookings] == [True, True]


def test_health_says_that_nothing_is_forgotten(hall: Hall) -> None:
    """Nothing old goes while the clocks differ; health, the command and the doctor say which do, and how much."""
    hall.turn(days=60)
    hall.slots.generate()
    hall.db.session.rollback()
    left = {slot.key for slot in hall.db.session.query(hall.slots.Slot)}
    assert set(hall.keys) <= left
    said = hall.slots.health().retention
    assert said is not None
    assert "60 days" in said
    runner = hall.app.test_cli_runner()
    assert said in runner.invoke(args=["slots", "status"]).output
    found = json.loads(runner.invoke(args=["slots", "doctor", "--json"]).stdout)
    assert [each["sentence"] for each in found if each["code"] == "retention"] == [said]


def test_pruning_by_hand_is_refused_too(hall: Hall) -> None:
    """The report, dry or not, says why nothing went, and the command ends with exit code 1."""
    hall.turn(days=60)
    for dry_run in (True, False):
        report = hall.slots.prune(30, dry_run=dry_run)
        assert (report.slots, report.bookings, report.runs) == (0, 0, 0)
        assert report.held_back is not None
        assert "60 days" in report.held_back
    said = hall.app.test_cli_runner().invoke(args=["slots", "prune", "--older-than", "30"])
    assert said.exit_code == 1
    assert report.held_back in said.output
    before = hall.slots.Slot.starts_at < hall.now + timedelta(days=30)
    assert hall.db.session.query(hall.slots.Slot).filter(before).count() > 20


def test_a_clock_that_was_right_again_for_a_moment_proves_little(small: Hall) -> None:
    """Somebody books and a top-up is confirmed by the wrong clock: decisions wait until it has shown a day."""
    before = small.shown()
    small.turn(days=60)
    small.slots.generate()
    small.slots.book(small.slots.upcoming(1, 1)[0].key, who="bob")
    small.db.session.commit()
    for hour in (1, 2):
        small.turn(days=60, hours=hour)
        small.slots.generate()
        report = small.slots.prune(30)
        assert report.held_back is not None
        assert "decided" in report.held_back
    small.turn(minutes=10)
    assert small.shown() == before


def test_what_is_old_goes_when_time_has_really_passed(small: Hall) -> None:
    """With a visit each day, cancelled and deleted slots go after thirty days, and nothing is held back."""
    for day in range(1, 42):
        small.turn(days=day)
        small.slots.generate()
    small.db.session.rollback()
    left = {slot.key for slot in small.db.session.query(small.slots.Slot)}
    assert set(small.keys[:7]) & left == set()
    assert small.keys[7] in left  # it is booked
    assert small.slots.health().retention is None
    report = small.slots.prune(20)
    assert (report.slots > 5, report.held_back) == (True, None)


def test_a_site_that_slept_forgets_after_it_woke_up(small: Hall) -> None:
    """After a silence nothing goes with the first top-up, what nobody decided about goes with the next."""
    small.turn(days=60)
    small.slots.generate()
    assert small.slots.health().retention is not None
    small.turn(days=60, hours=1)
    small.slots.generate()
    small.db.session.rollback()
    left = {slot.key for slot in small.db.session.query(small.slots.Slot)}
    assert small.keys[10] not in left
    assert {small.keys[5], small.keys[6], small.keys[20]} <= left


def test_a_clock_that_is_behind_destroys_nothing(hall: Hall) -> None:
    """Sixty days behind, and back again: every slot, decision and booking is as it was, and nothing is doubled."""
    before, bookings = hall.shown(), hall.bookings()
    hall.turn(days=-60)
    hall.slots.generate()
    hall.slots.prune(0)
    hall.turn(minutes=10)
    hall.slots.generate()
    assert hall.shown() == before
    assert hall.bookings() == bookings
    assert hall.slots.health().status == "ok"


def test_a_clock_of_the_apps_own_is_trusted(sqlite_url: str, tmp_path: Path) -> None:
    """Who passes ``clock=`` simulates: weeks pass at once, and what is old goes with the next top-up."""
    site = Site(sqlite_url, tmp_path, Clock(), ROLLINGSLOTS_RETENTION_DAYS=7)
    with site.app.app_context():
        site.add()
        site.slots.generate()
        site.slots.cancel("1@20260105T1000")
        site.session.commit()
        site.clock.turn(days=60)
        site.slots.generate()
        assert "1@20260105T1000" not in {slot.key for slot in site.rows()}
        assert site.slots.health().retention is None


def test_a_thing_of_the_future_holds_everything_back(small: Hall) -> None:
    """A booking that a wrong clock dated ahead is named, for nobody knows which clock is right."""
    small.turn(days=3)
    small.slots.generate()
    ahead = small.now + timedelta(days=90)
    query = text("UPDATE rolling_booking SET created_at = :ahead")
    small.db.session.execute(query, {"ahead": ahead.replace(tzinfo=None)})
    small.db.session.commit()
    report = small.slots.prune(0)
    assert report.held_back is not None
    assert f"before the newest booking: {ahead:%Y-%m-%d}" in report.held_back
    assert report.slots == 0


def test_nothing_is_held_back_where_nothing_is_old(small: Hall) -> None:
    """A young site, or one without anything old, is not told that it is in doubt: the command ends well."""
    small.turn(days=5)
    report = small.slots.prune(90)
    assert (report.slots, report.held_back) == (0, None)
    assert small.app.test_cli_runner().invoke(args=["slots", "prune", "--older-than", "90"]).exit_code == 0


def test_a_clock_that_is_hours_ahead(hall: Hall) -> None:
    """Within a day the clocks agree; what was decided about today stays until today is over by all of them."""
    other = hall.slots.create_template(**{**HALL, **ONE_A_DAY, "dtstart": datetime(2020, 1, 1, 12)})
    hall.slots.cancel(hall.keys[0])
    hall.slots.hold(hall.slots.upcoming(other, 1)[0].key, who="bob", minutes=30)
    hall.db.session.commit()
    before, bookings = hall.shown(), hall.bookings()
    hall.turn(hours=12)
    report = hall.slots.prune(0, include_booked=True)
    assert (report.slots, report.held_back) == (0, None)
    hall.turn(minutes=10)
    assert hall.shown() == before
    assert hall.bookings() == bookings
