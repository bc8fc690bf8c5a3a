"""Races: sold exactly to capacity, no overlap on a resource, and nothing acknowledged is lost, also with kills."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site
from marks import quick_on
from races import Race
from sqlalchemy import event, func, insert, literal, select

from flask_rollingslots.booking import resources
from flask_rollingslots.errors import SlotFull

if TYPE_CHECKING:
    from pathlib import Path

CAPACITY, RACERS = 3, 8
SHORT, FULL = 12, 300
BOTH = [
    pytest.param(SHORT, id="short"),
    pytest.param(FULL, id="full", marks=[pytest.mark.faults, pytest.mark.slow]),
]


def url_of(site: Site) -> str:
    """Return the URL of a site's database."""
    return str(site.app.config["SQLALCHEMY_DATABASE_URI"])


def offer(site: Site, slots: int) -> list[str]:
    """Offer so many slots of three places, half of them stored and half virtual, and return their keys."""
    site.add(capacity=CAPACITY)
    days, start = slots // 8 + 2, site.clock.now
    keys = [slot.key for slot in site.slots.between(start, start + timedelta(days=days))][:slots]
    site.slots.generate(days=days // 2)
    site.session.remove()
    return keys


def sold(site: Site) -> Counter[str]:
    """Return how many bookings there are for each slot."""
    site.session.rollback()
    cls = site.slots.Booking
    return Counter(booking.slot.key for booking in site.session.scalars(site.db.select(cls)))


def check(site: Site, race: Race, keys: list[str]) -> None:
    """Every slot is sold exactly to its capacity, the counters agree, and what was acknowledged is all there is."""
    assert sold(site) == dict.fromkeys(keys, CAPACITY)
    assert {slot.booked for slot in site.rows() if slot.key in set(keys)} == {CAPACITY}
    cls = site.slots.Booking
    stored = {(b.who, b.slot.key): b.id for b in site.session.scalars(site.db.select(cls))}
    assert race.booked == stored


@quick_on("sqlite", "mariadb")  # on PostgreSQL the same with kills
@pytest.mark.parametrize("slots", BOTH)
def test_a_race_for_places(site: Site, tmp_path: Path, slots: int) -> None:
    """Eight processes want a place in each slot: three get one, five are told that it is full."""
    keys = offer(site, slots)
    race = Race(url_of(site), tmp_path, [keys] * RACERS).run()
    check(site, race, keys)
    assert (race.outcomes["booked"], race.outcomes["SlotFull"]) == (
        CAPACITY * slots,
        (RACERS - CAPACITY) * slots,
    )
    assert not race.outcomes["again"]  # no deadlock, and no lock that took too long


@quick_on("postgresql")  # that the same racers meet elsewhere, too
@pytest.mark.parametrize("slots", BOTH)
def test_the_naive_way_oversells(site: Site, tmp_path: Path, slots: int) -> None:
    """The same race with a look before the booking sells more than there is: the racers do meet."""
    keys = offer(site, slots)
    Race(url_of(site), tmp_path, [keys] * RACERS, "check_then_book", laps=True).run()
    assert max(sold(site).values()) > CAPACITY


@quick_on("postgresql")  # elsewhere the race without kills sells exactly
@pytest.mark.faults
@pytest.mark.parametrize(("slots", "kills"), [(SHORT, 8), pytest.param(FULL, 60, marks=pytest.mark.slow)])
def test_a_race_with_kills(site: Site, tmp_path: Path, slots: int, kills: int) -> None:
    """Killed at any point and started again with the same keys: nothing oversold, lost, or given twice."""
    keys = offer(site, slots)
    race = Race(url_of(site), tmp_path, [keys] * RACERS, kills=kills).run()
    check(site, race, keys)


# --- overlaps ----------------------------------------------------------------------------------------------------


def overlaps(site: Site) -> int:
    """Return how many pairs of booked slots overlap in time."""
    site.session.rollback()
    cls = site.slots.Booking
    taken = {
        (b.slot.starts_at, b.slot.ends_at, b.slot.key) for b in site.session.scalars(site.db.select(cls))
    }
    return sum(a[0] < b[1] and b[0] < a[1] for a, b in combinations(sorted(taken), 2))


def share_a_court(site: Site, pairs: int) -> tuple[list[str], list[str]]:
    """Offer two templates on one court, and return so many keys of each: those at one position overlap."""
    for minutes in (60, 50):
        shape = {"duration": timedelta(minutes=minutes), "capacity": 2}
        site.add(resource="court", exclusive=True, **shape)
    days, start = pairs // 8 + 2, site.clock.now
    found = site.slots.between(start, start + timedelta(days=days))
    lanes = [[slot.key for slot in found if slot.template_id == number][:pairs] for number in (1, 2)]
    site.slots.generate(days=days // 2)
    site.session.remove()
    return lanes[0], lanes[1]


@quick_on("postgresql")  # SQLite has one writer: the race for places is enough
@pytest.mark.parametrize("pairs", BOTH)
def test_a_race_for_a_court(site: Site, tmp_path: Path, pairs: int) -> None:
    """Eight processes want the court at the same hours, half for one template and half for another."""
    lanes = share_a_court(site, pairs)
    race = Race(url_of(site), tmp_path, [*lanes] * (RACERS // 2), laps=True).run()
    assert overlaps(site) == 0
    assert (race.outcomes["booked"], set(sold(site).values())) == (2 * pairs, {2})
    assert not race.outcomes["again"]


@pytest.mark.parametrize("pairs", BOTH)
@pytest.mark.parametrize(
    "database", ["postgres_url", pytest.param("mariadb_url", marks=[pytest.mark.faults, pytest.mark.slow])]
)
def test_a_court_without_a_lock_is_booked_twice(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, pairs: int
) -> None:
    """The same race without the resource's lock has overlaps: the racers do meet. (SQLite has one writer anyway.)"""
    url = request.getfixturevalue(database)
    site = Site(url, tmp_path)
    with site.app.app_context():
        lanes = share_a_court(site, pairs)
        Race(url, tmp_path, [*lanes] * (RACERS // 2), "book_without_lock", laps=True).run()
        assert overlaps(site) > 0


# --- pools -------------------------------------------------------------------------------------------------------


def share_machines(site: Site, pairs: int) -> tuple[list[str], list[str]]:
    """Offer two templates on three machines, and return so many keys of each: those at one position overlap."""
    for minutes, cleanup in ((60, None), (50, timedelta(minutes=10))):
        shape = {"duration": timedelta(minutes=minutes), "cleanup": cleanup, "capacity": CAPACITY + 1}
        site.add(resource="machines", pool=CAPACITY, **shape)
    days, start = pairs // 8 + 2, site.clock.now
    found = site.slots.between(start, start + timedelta(days=days))
    lanes = [[slot.key for slot in found if slot.template_id == number][:pairs] for number in (1, 2)]
    site.slots.generate(days=days // 2)
    site.session.remove()
    return lanes[0], lanes[1]


def taken_at_once(site: Site, lanes: tuple[list[str], list[str]]) -> list[int]:
    """Return how many places are taken on the machines, hour by hour."""
    found = sold(site)
    return [found[one] + found[other] for one, other in zip(*lanes, strict=True)]


@quick_on("postgresql")  # elsewhere it is the same lock, which is raced for as a court
@pytest.mark.parametrize("pairs", BOTH)
def test_a_race_for_machines(site: Site, tmp_path: Path, pairs: int) -> None:
    """Eight processes want one of three machines at the same hours, in two offers: three get one, each hour."""
    lanes = share_machines(site, pairs)
    race = Race(url_of(site), tmp_path, [*lanes] * (RACERS // 2), laps=True).run()
    assert taken_at_once(site, lanes) == [CAPACITY] * pairs
    assert race.outcomes["booked"] == CAPACITY * pairs
    assert race.outcomes["SlotClosed"] == (RACERS - CAPACITY) * pairs
    assert not race.outcomes["again"]


@quick_on("postgresql")
@pytest.mark.faults
@pytest.mark.parametrize(("pairs", "kills"), [(SHORT, 8), pytest.param(FULL, 60, marks=pytest.mark.slow)])
def test_a_race_for_machines_with_kills(site: Site, tmp_path: Path, pairs: int, kills: int) -> None:
    """Killed at any point and started again: never more than there are, and what was acknowledged is all there is."""
    lanes = share_machines(site, pairs)
    race = Race(url_of(site), tmp_path, [*lanes] * (RACERS // 2), kills=kills).run()
    assert taken_at_once(site, lanes) == [CAPACITY] * pairs
    cls = site.slots.Booking
    assert race.booked == {(b.who, b.slot.key): b.id for b in site.session.scalars(site.db.select(cls))}


@pytest.mark.parametrize("pairs", BOTH)
@pytest.mark.parametrize(
    "database", ["postgres_url", pytest.param("mariadb_url", marks=[pytest.mark.faults, pytest.mark.slow])]
)
def test_machines_without_a_lock_are_oversold(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, pairs: int
) -> None:
    """The same race without the resource's lock sells more than there are: the racers do meet."""
    url = request.getfixturevalue(database)
    site = Site(url, tmp_path)
    with site.app.app_context():
        lanes = share_machines(site, pairs)
        Race(url, tmp_path, [*lanes] * (RACERS // 2), "book_without_lock", laps=True).run()
        assert max(taken_at_once(site, lanes)) > CAPACITY


# --- two transactions, step by step ------------------------------------------------------------------------------


def test_a_count_inside_the_insert_oversells(postgres_url: str, tmp_path: Path) -> None:
    """A capacity check by subquery is no guard under READ COMMITTED: both count what is committed, both insert."""
    site = Site(postgres_url, tmp_path)
    with site.app.app_context():
        site.add(capacity=1)
        slot = site.slots.materialize(site.week()[0].key)
        slot_id, table = slot.id, site.slots.Booking.__table__
        site.session.commit()
        counted = select(func.count()).select_from(table).where(table.c.slot_id == slot_id).scalar_subquery()
        moment = literal(site.clock.now, table.c.created_at.type)
        row = select(literal(slot_id), literal("confirmed"), literal(1), moment).where(counted < 1)
        statement = insert(table).from_select(["slot_id", "status", "party", "created_at"], row)
        with site.db.engine.connect() as first, site.db.engine.connect() as second:
            first.execute(statement)
            second.execute(statement)
            first.commit()
            second.commit()
        assert sold(site)[slot.key] == 2


@pytest.mark.parametrize("capacity", [1, 2])
def test_the_same_request_twice_at_once(site: Site, capacity: int) -> None:
    """A retry that begins before the first try has committed waits for it, and gets the same booking."""
    site.add(capacity=capacity)
    key = site.slots.materialize(site.week()[0].key).key
    site.session.commit()
    first = site.slots.book(key, who="ada", idempotency_key="k").id
    looked, answers = threading.Event(), []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "UPDATE rolling_slot SET booked" in statement:
            looked.set()  # and next it waits for the first one

    def retry() -> None:
        with site.app.app_context():
            site.session.scalar(site.db.select(site.slots.Booking.id))  # on MariaDB: what it sees from now on
            answers.append(site.slots.book(key, who="ada", idempotency_key="k").id)
            site.session.commit()

    event.listen(site.db.engine, "before_cursor_execute", note)
    thread = threading.Thread(target=retry)
    thread.start()
    assert looked.wait(60)
    site.session.commit()
    thread.join(60)
    assert answers == [first]
    site.session.rollback()
    assert site.slots.get(key).left == capacity - 1


def test_the_place_counter_and_the_unique_key_guard_each_other(site: Site) -> None:
    """With a counter that lies, the unique key still keeps a second booking out of a slot for one."""
    site.add(capacity=1)
    key = site.week()[0].key
    site.slots.book(key)
    table: Any = site.slots.Slot.__table__
    site.session.execute(table.update().values(booked=0))
    site.session.commit()
    with pytest.raises(SlotFull):
        site.slots.book(key)
    site.session.commit()
    assert (sold(site)[key], site.slots.get(key).booked) == (1, 0)


def test_the_lock_of_a_resource_is_made_once(site: Site) -> None:
    """Each resource has one row, whoever locks it first."""
    for name in ("court", "court", "hall"):
        resources.lock_resource(site.session, site.slots.models, name)
    site.session.commit()
    cls = site.slots.models.Resource
    rows = site.session.scalars(site.db.select(cls).order_by(cls.name)).all()
    assert [(row.name, row.version) for row in rows] == [("court", 2), ("hall", 1)]
