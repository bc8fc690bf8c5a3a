"""What a person may hold: how long, and how many at once, whatever several requests of one person do together."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site
from marks import DATABASES, quick_databases, quick_on
from races import Race

from flask_rollingslots.errors import IdempotencyConflict, InvalidRequest, TooManyHolds
from flask_rollingslots.statements import MARIADB

if TYPE_CHECKING:
    from pathlib import Path

LIMIT, RACERS = 3, 8

database_url = quick_databases("sqlite", "postgresql")


def offer(site: Site, **fields: Any) -> list[str]:
    """Offer two places an hour, and return the keys of a week."""
    site.add(capacity=2, **fields)
    return [slot.key for slot in site.week()]


def live(site: Site, who: str) -> int:
    """Return how many holds of a person have not expired."""
    cls = site.slots.Booking
    found = site.session.scalars(site.db.select(cls).where(cls.who == who))
    return sum(booking.status_at(site.clock.now) == "held" for booking in found)


# --- how long ---------------------------------------------------------------------------------------------------


def test_a_person_holds_for_half_an_hour_at_most(site: Site) -> None:
    """The setting bounds what has a ``who``; the error names field, value and setting."""
    first, second = offer(site)[:2]
    with pytest.raises(
        InvalidRequest, match=r"minutes = 31: expected at most 30 .*HOLD_MINUTES_MAX"
    ) as caught:
        site.slots.hold(first, who="ada", minutes=31)
    assert (caught.value.field, caught.value.value) == ("minutes", 31)  # type: ignore[attr-defined]
    assert site.slots.get(first).is_virtual
    assert site.slots.hold(first, who="ada", minutes=30).expires_at == MONDAY + timedelta(minutes=30)
    week = 7 * 24 * 60
    assert site.slots.hold(second, minutes=week).expires_at == MONDAY + timedelta(days=7)
    for more in ({}, {"who": "ada", "is_person": False}):
        with pytest.raises(InvalidRequest, match="10,080"):
            site.slots.hold(second, minutes=week + 1, **more)


def test_the_app_says_who_is_a_person(site: Site) -> None:
    """A program may hold longer in somebody's name, and somebody without a name no longer than a person."""
    first, second = offer(site)[:2]
    assert site.slots.hold(first, who="ada", minutes=600, is_person=False).status == "held"
    with pytest.raises(InvalidRequest, match="at most 30"):
        site.slots.hold(second, minutes=31, is_person=True)
    for key in offer(site)[:6]:
        site.slots.hold(key, minutes=30, is_person=True)  # nobody's are not counted


def test_the_settings_are_the_apps(sqlite_url: str, tmp_path: Path) -> None:
    """Another length and another number."""
    config = {"ROLLINGSLOTS_HOLD_MINUTES_MAX": 5, "ROLLINGSLOTS_HOLDS_PER_PERSON": 1}
    site = Site(sqlite_url, tmp_path, **config)
    with site.app.app_context():
        first, second = offer(site)[:2]
        with pytest.raises(InvalidRequest, match="minutes = 10: expected at most 5"):
            site.slots.hold(first, who="ada")
        site.slots.hold(first, who="ada", minutes=5)
        with pytest.raises(TooManyHolds) as caught:
            site.slots.hold(second, who="ada", minutes=5)
        assert (caught.value.held, caught.value.limit) == (1, 1)  # type: ignore[attr-defined]


# --- how many ---------------------------------------------------------------------------------------------------


@quick_on(*DATABASES)
def test_the_fourth_hold_is_refused(site: Site) -> None:
    """In all slots together, stored and virtual; others, and bookings, are not concerned; nothing is left behind."""
    keys = offer(site)
    for key in (keys[0], keys[0], keys[1]):
        site.slots.hold(key, who="ada")
    site.session.commit()
    rows = len(site.rows())
    for key in (keys[1], keys[2], "1@20310106T1000"):
        with pytest.raises(TooManyHolds, match="HOLDS_PER_PERSON") as caught:
            site.slots.hold(key, who="ada")
        assert (caught.value.held, caught.value.limit) == (3, 3)  # type: ignore[attr-defined]
        site.session.commit()
    assert (len(site.rows()), site.slots.get(keys[1]).booked, live(site, "ada")) == (rows, 1, 3)
    site.slots.hold(keys[1], who="bob")
    site.slots.book(keys[2], who="ada")
    site.slots.hold(keys[2])
    site.slots.hold(keys[3], who="ada", is_person=False)
    site.session.commit()
    assert live(site, "ada") == 4


@pytest.mark.parametrize("freed", ["confirmed", "released", "expired", "cancelled and released"])
def test_what_is_not_held_any_more_does_not_count(site: Site, freed: str) -> None:
    """A hold that was confirmed or released, or has expired, makes room for another one."""
    keys = offer(site)
    holds = [site.slots.hold(key, who="ada", minutes=20 + n) for n, key in enumerate(keys[:3])]
    site.session.commit()
    with pytest.raises(TooManyHolds):
        site.slots.hold(keys[4], who="ada")
    site.session.rollback()
    if freed == "confirmed":
        site.slots.confirm(holds[0])
    elif freed == "expired":
        site.clock.now = holds[0].expires_at
    else:
        if freed != "released":
            site.slots.cancel(keys[0])
        site.slots.release(holds[0])
    site.slots.hold(keys[4], who="ada")
    with pytest.raises(TooManyHolds):
        site.slots.hold(keys[5], who="ada")


def test_the_same_request_again_is_answered_and_not_counted(site: Site) -> None:
    """Also at the limit, and after it was moved or confirmed; with a key that belongs to another one it is refused."""
    keys = offer(site)
    holds = [site.slots.hold(key, who="ada", idempotency_key=key) for key in keys[:3]]
    site.session.commit()
    for key, hold in zip(keys, holds, strict=False):
        assert site.slots.hold(key, who="ada", idempotency_key=key) is hold
    with pytest.raises(IdempotencyConflict):
        site.slots.hold(keys[4], who="ada", idempotency_key=keys[0])
    moved = site.slots.move(holds[0], keys[5])
    assert site.slots.hold(keys[0], who="ada", idempotency_key=keys[0]) is moved
    site.slots.confirm(holds[1])
    site.slots.hold(keys[6], who="ada")
    assert site.slots.hold(keys[1], who="ada", idempotency_key=keys[1]) is holds[1]


def test_a_hold_that_moves_counts_once(site: Site) -> None:
    """At the limit it may still move, and moving makes no room."""
    keys = offer(site)
    holds = [site.slots.hold(key, who="ada") for key in keys[:3]]
    site.slots.move(holds[0], keys[5])
    assert live(site, "ada") == 3
    with pytest.raises(TooManyHolds):
        site.slots.hold(keys[0], who="ada")


def test_an_exclusive_resource_is_locked_after_the_person(site: Site) -> None:
    """Limits hold there, too, and the rows that are locked are few: persons share them by chance."""
    keys = offer(site, resource="court", exclusive=True)
    for key in keys[:3]:
        site.slots.hold(key, who="ada")
    with pytest.raises(TooManyHolds):
        site.slots.hold(keys[3], who="ada")
    site.session.commit()
    names = sorted(site.session.scalars(site.db.select(site.slots.models.Resource.name)))
    rows = [name for name in names if name != "court"]
    assert len(rows) == (0 if site.db.engine.dialect.name == "sqlite" else 1)
    assert all(name.startswith("\x01holds:") and len(name) < 12 for name in rows)


# --- several at once --------------------------------------------------------------------------------------------


def race(site: Site, folder: Path, way: str) -> tuple[Race, Counter[str]]:
    """Let eight processes hold places for one person at the same time, a different one each day.

    :return: the race, and how many holds each person has.
    """
    site.add(capacity=2)
    site.slots.generate(days=14)
    start = site.clock.now
    days: dict[str, list[str]] = {}
    for slot in site.slots.between(start, start + timedelta(days=13)):
        days.setdefault(slot.key.partition("T")[0], []).append(slot.key)
    lanes = [[keys[n] for keys in days.values()] for n in range(RACERS)]
    site.session.remove()
    url = str(site.app.config["SQLALCHEMY_DATABASE_URI"])
    done = Race(url, folder, lanes, way, laps=True).run()
    held = Counter(site.session.scalars(site.db.select(site.slots.Booking.who)))
    assert set(held) == set(days)
    return done, held


@quick_on("sqlite", "postgresql")
def test_a_race_of_one_person(site: Site, tmp_path: Path) -> None:
    """Eight requests of one person at once, each for another slot: three are held, five are told why not."""
    done, held = race(site, tmp_path, "hold_for_one")
    assert set(held.values()) == {LIMIT}
    assert done.outcomes["TooManyHolds"] == (RACERS - LIMIT) * len(held)
    if site.db.engine.dialect.name not in MARIADB:
        assert not done.outcomes["again"]


@quick_on("postgresql")  # that the same racers meet elsewhere, too
def test_without_the_lock_a_person_holds_more(site: Site, tmp_path: Path) -> None:
    """The same race in which each only counts: the racers do meet."""
    _, held = race(site, tmp_path, "hold_without_lock")
    assert max(held.values()) > LIMIT


@pytest.mark.parametrize("holds", [LIMIT, LIMIT - 1])
def test_an_older_view_is_looked_at_again(mariadb_url: str, tmp_path: Path, holds: int) -> None:
    """What a transaction of MariaDB read before others held or confirmed for this person misleads it neither way."""
    site = Site(mariadb_url, tmp_path)
    with site.app.app_context():
        keys = offer(site)
        made = [site.slots.hold(key, who="ada").id for key in keys[:holds]]
        site.session.commit()
        site.session.scalar(site.db.select(site.slots.Booking.id))  # what it sees from now on
        with site.app.app_context():  # a session of its own
            if holds == LIMIT:
                site.slots.confirm(made[0])
            else:
                site.slots.hold(keys[5], who="ada")
            site.session.commit()
        if holds == LIMIT:
            assert site.slots.hold(keys[6], who="ada").status == "held"
        else:
            with pytest.raises(TooManyHolds):
                site.slots.hold(keys[6], who="ada")
        site.session.rollback()
