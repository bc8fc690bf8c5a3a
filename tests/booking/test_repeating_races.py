"""Several people book series of weeks that overlap: all or nothing, never oversold, and nobody waits in a circle."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site, meanwhile
from marks import quick_on
from races import Race
from test_races import CAPACITY, RACERS, url_of

if TYPE_CHECKING:
    from pathlib import Path

WEEKS = 4  # as racer.py books
SHORT, FULL = 6, 60
BOTH = [
    pytest.param(SHORT, id="short"),
    pytest.param(FULL, id="full", marks=[pytest.mark.faults, pytest.mark.slow]),
]


def offer(site: Site, starts: int) -> list[list[str]]:
    """Offer a slot a week for three, half of them stored; return for each racer where it begins, in its own order."""
    site.add(every=None, until_time=None, capacity=CAPACITY)
    first = site.clock.now.date()
    keys = [f"1@{first + timedelta(weeks=week):%Y%m%d}T1000" for week in range(1, starts + 1)]
    site.slots.generate(days=starts * 7 // 2)
    site.session.remove()
    # Neighbours begin at different weeks, half of them go backwards: their series overlap by one week to three.
    turned = [keys[lane:] + keys[:lane] for lane in range(RACERS)]
    return [lane[:: 1 - 2 * (number % 2)] for number, lane in enumerate(turned)]


def weeks_of(site: Site) -> dict[int | None, list[str]]:
    """Return the keys of the live bookings of each series of bookings; under None: what belongs to none."""
    site.session.rollback()
    cls, found = site.slots.Booking, dict[int | None, list[str]]()
    for booking in site.session.scalars(site.db.select(cls)):
        found.setdefault(booking.repeats_id, []).append(booking.slot.key)
    return found


def check(site: Site, race: Race) -> None:
    """Each acknowledged series is whole, there are no others, and no week has more than it holds."""
    found = weeks_of(site)
    assert set(found) == set(race.booked.values())
    assert {len(keys) for keys in found.values()} == {WEEKS}
    sold = Counter(key for keys in found.values() for key in keys)
    assert max(sold.values()) == CAPACITY
    assert {slot.key: slot.booked for slot in site.rows() if slot.booked} == sold


@pytest.mark.parametrize("starts", BOTH)
def test_a_race_for_weeks(site: Site, tmp_path: Path, starts: int) -> None:
    """Eight processes want overlapping weeks: who gets any gets all four, until no four are left; no deadlock."""
    race = Race(url_of(site), tmp_path, offer(site, starts), "book_weeks").run()
    check(site, race)
    assert race.outcomes["SlotFull"]
    assert not race.outcomes["again"]


@quick_on("postgresql")  # elsewhere the race without kills is whole
@pytest.mark.faults
@pytest.mark.parametrize(("starts", "kills"), [(SHORT, 4), pytest.param(FULL, 40, marks=pytest.mark.slow)])
def test_a_race_for_weeks_with_kills(site: Site, tmp_path: Path, starts: int, kills: int) -> None:
    """Killed at any point and started again with the same keys: no half series, and none given twice."""
    race = Race(url_of(site), tmp_path, offer(site, starts), "book_weeks", kills=kills).run()
    check(site, race)


@quick_on("postgresql")
@pytest.mark.parametrize("starts", BOTH)
def test_one_by_one_leaves_half_series(site: Site, tmp_path: Path, starts: int) -> None:
    """The same race with a call for each week leaves people with some of their weeks: the racers do meet."""
    Race(url_of(site), tmp_path, offer(site, starts), "book_weeks_one_by_one", laps=True).run()
    cls = site.slots.Booking
    site.session.rollback()
    mine = Counter(booking.who for booking in site.session.scalars(site.db.select(cls)))
    assert any(count % WEEKS for count in mine.values())


def cross(site: Site, starts: int) -> list[list[str]]:
    """Offer two series that change courts after two weeks, in opposite ways; return where the racers begin."""
    shape: dict[str, Any] = {"every": None, "until_time": None, "capacity": 10**6, "exclusive": True}
    for hour, court in ((10, "north"), (12, "south")):
        site.add(**shape, resource=court, dtstart=site.clock.now.replace(hour=hour, tzinfo=None))
    first = site.clock.now.date()
    for number, (hour, court) in enumerate(((10, "south"), (12, "north")), 1):
        day = first + timedelta(weeks=3)
        site.slots.edit(f"{number}@{day:%Y%m%d}T{hour}00", "this_and_future", resource=court)
        site.session.commit()
    site.slots.generate(days=60)
    site.session.remove()
    one, other = (f"{first + timedelta(days=7):%Y%m%d}T{hour}00" for hour in (10, 12))
    return [[f"1@{one}"] * starts, [f"2@{other}"] * starts] * (RACERS // 2)


@quick_on("postgresql")  # SQLite has one writer
@pytest.mark.parametrize("starts", [3, pytest.param(60, marks=[pytest.mark.faults, pytest.mark.slow])])
def test_two_series_on_crossing_courts(site: Site, tmp_path: Path, starts: int) -> None:
    """Each has both courts from the beginning: nobody waits for one while he has the other."""
    race = Race(url_of(site), tmp_path, cross(site, starts), "book_weeks", laps=True).run()
    assert not race.outcomes["again"]
    assert race.outcomes["booked"] == starts * RACERS
    assert {len(keys) for keys in weeks_of(site).values()} == {WEEKS}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgres_url", "mariadb_url"])
def test_without_the_lock_they_wait_in_a_circle(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    """The same without the lock of the whole: the database has to end some of them."""
    site = Site(request.getfixturevalue(database), tmp_path)
    with site.app.app_context():
        race = Race(url_of(site), tmp_path, cross(site, 2), "book_weeks_without_lock", laps=True).run()
    assert race.outcomes["again"]


def test_the_same_series_twice_at_once(site: Site) -> None:
    """A retry that begins before the first try has committed waits for it, and gets the same bookings."""
    site.add(capacity=2)
    key = "1@20260106T1000"
    first = site.slots.book_series(key, 3, who="ada", idempotency_key="k")
    ids = [booking.id for booking in first.bookings]

    def retry() -> list[int]:
        site.session.scalar(site.db.select(site.slots.Booking.id))  # on MariaDB: what it sees from now on
        again = site.slots.book_series(key, 3, who="ada", idempotency_key="k")
        return [booking.id for booking in again.bookings]

    thread, outcome = meanwhile(site, retry)
    site.session.commit()
    thread.join(60)
    assert outcome == [ids]
    assert weeks_of(site) == {ids[0]: [booking.slot.key for booking in first.bookings]}
