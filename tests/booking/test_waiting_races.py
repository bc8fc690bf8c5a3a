"""Races for what gets free: no place is lost or sold twice, the order is kept, nobody overtakes; also with kills."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from forks import ended, forked
from helpers import Site
from marks import quick_on
from racer import GUESTS, RACERS
from races import Race
from sqlalchemy import select

from flask_rollingslots.booking import waiting

if TYPE_CHECKING:
    from pathlib import Path

WAITING = 10
SHORT, FULL = 8, 120
BOTH = [
    pytest.param(SHORT, id="short"),
    pytest.param(FULL, id="full", marks=[pytest.mark.faults, pytest.mark.slow]),
]


def fill(site: Site, count: int) -> list[str]:
    """Let so many slots be booked by five guests, and ten people wait for each; return the keys."""
    site.add(capacity=GUESTS, waiting=WAITING + RACERS)
    site.slots.generate(days=count // 8 + 2)
    start = site.clock.now
    keys = [slot.key for slot in site.slots.between(start, start + timedelta(days=count // 8 + 2))][:count]
    for key in keys:
        for number in range(GUESTS):
            site.slots.book(key, who=f"guest {number}")
        for number in range(WAITING):
            site.slots.wait(key, who=f"waits {number}")
        site.session.commit()
    site.session.remove()
    return keys


def faults(site: Site, keys: list[str]) -> list[str]:
    """Return what is wrong with slots whose guests have all gone: lost, sold twice, out of order or overtaken."""
    site.session.rollback()
    found, booking = list[str](), site.slots.Booking
    for row in (row for row in site.rows() if row.key in set(keys)):
        query = select(booking).where(booking.slot_id == row.id).order_by(booking.id)
        inside = [each for each in site.session.scalars(query) if not each.who.startswith("guest")]
        held = [each.who for each in inside if each.status == "held"]
        left = [each.id for each in inside if each.status == "waiting"]
        told = {
            "places": row.booked == GUESTS,
            "order": sorted(held) == [f"waits {number}" for number in range(GUESTS)],
            "queue": sorted(number for number, _ in row.queue or ()) == left,
            "in order": [number for number, _ in row.queue or ()][: WAITING - GUESTS]
            == left[: WAITING - GUESTS],
            "fewest": row.waits_for == 1,
            "holds": sorted(hold[0] for hold in row.holds or ())
            == [e.id for e in inside if e.status == "held"],
            "overtaken": all(each.status != "confirmed" for each in inside),
        }
        found += [f"{row.key}: {name}" for name, is_right in told.items() if not is_right]
    return found


def race(site: Site, folder: Path, count: int, way: str = "crowd", kills: int = 0) -> tuple[Race, list[str]]:
    """Let a crowd loose on so many slots, and return what is wrong afterwards."""
    keys = fill(site, count)
    url = str(site.app.config["SQLALCHEMY_DATABASE_URI"])
    done = Race(url, folder, [keys] * RACERS, way, laps=not kills, kills=kills).run()
    return done, faults(site, keys)


@pytest.mark.parametrize("count", BOTH)
def test_five_leave_at_once_and_ten_wait(site: Site, tmp_path: Path, count: int) -> None:
    """The first five are offered a place each, those who come meanwhile wait behind, and nobody is faster."""
    done, wrong = race(site, tmp_path, count)
    assert not wrong
    assert done.outcomes["SlotFull"] == count
    assert not done.outcomes["again"]  # no deadlock


@quick_on("postgresql")  # elsewhere the race without kills offers exactly
@pytest.mark.faults
@pytest.mark.parametrize(("count", "kills"), [(SHORT, 6), pytest.param(FULL, 40, marks=pytest.mark.slow)])
def test_with_kills(site: Site, tmp_path: Path, count: int, kills: int) -> None:
    """Killed at any point and started again: what is not committed is not freed either."""
    _, wrong = race(site, tmp_path, count, kills=kills)
    assert not wrong


@quick_on("postgresql")  # that the same racers meet elsewhere, too
@pytest.mark.parametrize("count", BOTH)
def test_without_the_lock_places_are_lost(site: Site, tmp_path: Path, count: int) -> None:
    """The same race in which each offers by what it has read, after it gave back: the racers do meet."""
    _, wrong = race(site, tmp_path, count, "crowd_without_lock")
    assert wrong


def test_killed_between_freeing_and_offering(site: Site, tmp_path: Path) -> None:
    """It is one transaction: the place is not free, nobody is passed over, and the next try does both."""
    site.add(waiting=WAITING)
    key = "1@20260106T1000"
    site.slots.generate()
    booked, first = site.slots.book(key).id, site.slots.wait(key, who="ada").id
    site.session.commit()
    site.session.remove()
    url = str(site.app.config["SQLALCHEMY_DATABASE_URI"])

    def die() -> None:
        child = Site(url, tmp_path)

        def stop(*_: Any) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

        waiting.serve = stop
        with child.app.app_context():
            child.slots.release(booked)

    assert ended(forked(die)) == -signal.SIGKILL
    site.slots.generate()
    statuses = [site.session.get(site.slots.Booking, number).status for number in (booked, first)]
    assert statuses == ["confirmed", "waiting"]
    site.session.rollback()
    site.slots.release(booked)
    site.session.commit()
    assert site.session.get(site.slots.Booking, first).status == "held"


def test_a_top_up_offers_what_somebody_freed_alone(site: Site) -> None:
    """Places that got free without an offer, by whatever means, are offered by the next top-up."""
    site.add(waiting=WAITING)
    key = "1@20260106T1000"
    site.slots.generate()
    site.slots.book(key)
    first = site.slots.wait(key, who="ada")
    site.session.commit()
    tables = site.slots.Slot.__table__, site.slots.Booking.__table__
    site.session.execute(tables[0].update().where(tables[0].c.waits_for.is_not(None)).values(booked=0))
    gone = tables[1].c.status == "confirmed"
    site.session.execute(tables[1].update().where(gone).values(status="released", active_key=None))
    site.session.commit()
    site.slots.generate()
    site.session.expire_all()
    assert first.status == "held"
