"""How many places one person may have: in a booking, in a slot, on a grid day, in a week; also for several at once."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site, meanwhile, statements
from marks import DATABASES, quick_databases, quick_on
from races import Race
from sqlalchemy import event, select, text

from flask_rollingslots.booking import limits, taking
from flask_rollingslots.errors import InvalidRequest, LimitReached, SlotClosed, SlotFull
from flask_rollingslots.statements import MARIADB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RACERS = 8
#: How long somebody who need not wait gets to be first: what comes out is the same if they do not make it.
A_MOMENT = 0.3
NINE = datetime(2026, 1, 5, 9)

database_url = quick_databases("sqlite", "postgresql")
#: The statements of all three databases are others, and what they see of each other.
on_each = quick_on(*DATABASES)


def offer(site: Site, **fields: Any) -> None:
    """Offer ten places an hour from Monday to Monday, all of them stored."""
    site.add(**{"capacity": 10, **fields})
    site.slots.generate(days=15)


def refused(site: Site, key: str, **options: Any) -> Any:
    """Book what a limit forbids, and return the error; nothing is written."""
    before = site.slots.get(key).booked
    with pytest.raises(LimitReached) as caught:
        site.slots.book(key, **{"who": "ada", **options})
    site.session.commit()
    assert site.slots.get(key).booked == before
    return caught.value


@contextmanager
def the_long_way(patch: pytest.MonkeyPatch, is_long: bool) -> Iterator[None]:
    """Let nobody book the short way."""
    with patch.context() as patched:
        if is_long:
            patched.setattr(taking, "book_at_once", lambda *_: None)
        yield


# --- what counts -------------------------------------------------------------------------------------------------


@on_each
@pytest.mark.parametrize("is_long", [False, True], ids=["short", "long"])
def test_each_limit(site: Site, is_long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which limit, how many there are and are taken, and when more is possible."""
    offer(site, max_per_person=2, max_per_person_day=3, max_per_person_week=5, timezone="Europe/Madrid")
    monday, tuesday = "1@20260105T1000", "1@20260106T1000"
    with the_long_way(monkeypatch, is_long):
        site.slots.book(monday, 2, "ada")
        found = refused(site, monday)
        assert (found.limit, found.most, found.taken, found.party) == ("max_per_person", 2, 2, 1)
        assert (found.key, found.next_at) == (monday, None)
        site.slots.book("1@20260105T1500", 1, "ada")
        found = refused(site, "1@20260105T1700")
        assert (found.limit, found.most, found.taken) == ("max_per_person_day", 3, 3)
        assert found.next_at == datetime(2026, 1, 5, 23, tzinfo=UTC)
        site.slots.book(tuesday, 2, "ada")
        found = refused(site, "1@20260111T1700")
        assert (found.limit, found.most, found.taken) == ("max_per_person_week", 5, 5)
        assert found.next_at == datetime(2026, 1, 11, 23, tzinfo=UTC)
        assert "again from 2026-01-12 on" in str(found)
        site.slots.book("1@20260112T1000", 2, "ada")
        site.slots.book(monday, 2, "bob")
    site.session.commit()


def test_what_is_never_possible_has_no_next_time(site: Site) -> None:
    """More at once than a day has are not possible the next day either."""
    offer(site, max_per_person_day=3)
    found = refused(site, "1@20260105T1000", party=4)
    assert (found.most, found.taken, found.next_at) == (3, 0, None)


@pytest.mark.parametrize("way", ["book", "hold", "move", "change_party"])
def test_one_party(site: Site, way: str) -> None:
    """More places than ``max_party`` are no conflict, but nothing that is offered."""
    offer(site, max_party=3)
    booking = site.slots.book("1@20260105T1100", 3)
    site.session.commit()
    ways: dict[str, Callable[[], Any]] = {
        "book": lambda: site.slots.book("1@20260105T1000", 4),
        "hold": lambda: site.slots.hold("1@20260105T1000", 4),
        "move": lambda: site.slots.move(booking, "2@20260105T1000"),
        "change_party": lambda: site.slots.change_party(booking, 4),
    }
    if way == "move":
        offer(site, max_party=2)
    with pytest.raises(InvalidRequest, match=r"party = .*: expected at most . at once") as caught:
        ways[way]()
    assert caught.value.field == "party"  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["book", "hold", "move", "change_party"])
def test_a_limit_for_each_person_asks_who(site: Site, way: str) -> None:
    """Without a ``who`` nothing is taken where a person has limits."""
    offer(site)
    booking = site.slots.book("1@20260105T1100")
    site.session.commit()
    site.slots.get("1@20260105T1100").template.max_per_person_week = 4
    site.session.commit()
    ways: dict[str, Callable[[], Any]] = {
        "book": lambda: site.slots.book("1@20260105T1000"),
        "hold": lambda: site.slots.hold("1@20260105T1000"),
        "move": lambda: site.slots.move(booking, "1@20260105T1000"),
        "change_party": lambda: site.slots.change_party(booking, 2),
    }
    for _ in range(2):  # also once the limits are known of
        with pytest.raises(InvalidRequest, match=r"who = None: expected .* \(max_per_person_week\)"):
            ways[way]()
        site.session.rollback()
        site.slots.book("1@20260105T1200", who="ada")
        site.session.commit()


def test_holds_and_who_waits_count_and_what_is_over_does_not(site: Site) -> None:
    """Released and expired ones make room; so do slots that were cancelled."""
    offer(site, max_per_person_day=2)
    held = site.slots.hold("1@20260105T1000", who="ada", minutes=10)
    booked = site.slots.book("1@20260105T1100", who="ada")
    assert refused(site, "1@20260105T1200").taken == 2
    site.slots.release(booked)
    again = site.slots.book("1@20260105T1200", who="ada")
    site.clock.now = held.expires_at
    site.slots.book("1@20260105T1300", who="ada")
    assert refused(site, "1@20260105T1400").taken == 2
    site.slots.cancel("1@20260105T1200")
    site.slots.book("1@20260105T1400", who="ada")
    site.session.commit()
    site.session.execute(
        text("UPDATE rolling_booking SET status = 'waiting' WHERE id = :id"), {"id": again.id}
    )
    site.session.execute(text("UPDATE rolling_slot SET status = 'scheduled'"))
    site.session.commit()
    assert refused(site, "1@20260105T1500").taken == 3


def test_a_booking_that_moves_counts_once(site: Site) -> None:
    """At the limit it moves within the day, and not into a day that has no room."""
    offer(site, max_per_person_day=2, max_per_person=1)
    first, second = (site.slots.book(f"1@20260105T{hour}00", who="ada") for hour in (10, 11))
    site.slots.book("1@20260106T1000", 1, "ada")
    site.slots.book("1@20260106T1100", 1, "ada")
    first = site.slots.move(first, "1@20260105T1200")
    site.session.commit()
    for key, limit in (("1@20260106T1200", "max_per_person_day"), ("1@20260105T1100", "max_per_person")):
        with pytest.raises(LimitReached) as caught:
            site.slots.move(first, key)
        assert caught.value.limit == limit  # type: ignore[attr-defined]
        site.session.rollback()
    moved = site.slots.move(first, "1@20260106T1200", override=True)
    assert (moved.status, moved.override, second.override) == ("confirmed", True, None)


def test_staff_is_not_bound(site: Site) -> None:
    """``override`` passes all limits; what it took counts afterwards."""
    offer(site, max_party=1, max_per_person=1, max_per_person_week=2)
    assert site.slots.book("1@20260105T1000", 5, "ada", override=True).override
    assert site.slots.book("1@20260105T1000", 2, override=True).who is None
    assert refused(site, "1@20260106T1000").taken == 5


@pytest.mark.parametrize("is_long", [False, True], ids=["short", "long"])
def test_what_is_after_midnight_belongs_to_the_day_before(
    site: Site, is_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid day from 22:00 to 02:00; the week ends with the night of Sunday, too."""
    grid = {"dtstart": datetime(2026, 1, 1, 22), "until_time": time(2), "timezone": "Europe/Madrid"}
    offer(site, max_per_person_day=1, max_per_person_week=3, **grid)
    with the_long_way(monkeypatch, is_long):
        site.slots.book("1@20260106T0100", who="ada")  # of Monday
        assert refused(site, "1@20260105T2200").limit == "max_per_person_day"
        site.slots.book("1@20260106T2200", who="ada")
        site.slots.book("1@20260112T0000", who="ada")  # of Sunday
        assert refused(site, "1@20260107T2200").limit == "max_per_person_week"
        site.slots.book("1@20260112T2200", who="ada")
        site.slots.book("1@20260114T0000", who="ada")
    site.session.commit()


@pytest.mark.parametrize("is_long", [False, True], ids=["short", "long"])
def test_slots_beside_their_time_and_other_segments(
    site: Site, is_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that a person moved is of the day on which it is; the parts of a cut series are one."""
    offer(site, max_per_person_day=1, max_per_person_week=3)
    site.slots.book("1@20260105T1000", who="ada")
    with the_long_way(monkeypatch, is_long):
        site.slots.edit("1@20260106T1000", "this", start=datetime(2026, 1, 5, 20))
        assert refused(site, "1@20260106T1000").limit == "max_per_person_day"
        site.slots.book("1@20260106T1100", who="ada")
        site.slots.edit("1@20260107T1000", "this_and_future", start=time(20))
        site.session.commit()
        site.slots.book("1@20260108T1700", who="ada")  # after midnight, by the times of the new segment
        assert refused(site, "1@20260108T1000").limit == "max_per_person_week"
        assert refused(site, "1@20260106T1300").limit == "max_per_person_week"
        site.slots.book("1@20260112T1200", who="ada")
    site.session.commit()


@on_each
def test_a_limit_that_is_new_counts_at_once(site: Site) -> None:
    """Set, lowered and lifted by another process: the next booking of a session that had read the template knows."""
    offer(site)
    for hour in (10, 11, 12):
        site.slots.book(f"1@20260105T{hour}00", who="ada")
    site.session.commit()
    template = site.slots.get("1@20260105T1000").template
    for most in (3, 4, None, 2, None):
        known = template.max_per_person_day
        site.session.rollback()
        assert known == template.max_per_person_day
        if site.db.engine.dialect.name in MARIADB:
            site.session.rollback()  # a decision beside a transaction is no earlier one
        with site.app.app_context():
            site.session.get(site.slots.Template, 1).max_per_person_day = most
            site.session.commit()
        if most is None or most == 4:
            site.slots.release(site.slots.book("1@20260105T1500", who="ada"))
            site.session.commit()
        else:
            assert refused(site, "1@20260105T1500").most == most


@pytest.mark.parametrize("raises", [True, False], ids=["a limit is set", "no limit is set"])
@quick_on("postgresql", "mariadb")  # SQLite has one writer
def test_a_limit_that_is_set_meanwhile(site: Site, raises: bool) -> None:
    """A booking that waits for the decision about its template obeys it, though no limit was there to lock for."""
    offer(site, capacity=1)
    site.slots.book("1@20260105T1000", who="ada")
    site.session.commit()
    template = site.session.get(site.slots.Template, 1)
    template.max_per_person_day = 1 if raises else 2
    site.session.flush()
    thread, outcome = meanwhile(site, lambda: site.slots.book("1@20260105T1100", who="ada"))
    thread.join(A_MOMENT)
    site.session.commit()
    thread.join(60)
    assert type(outcome[0]) is (LimitReached if raises else site.slots.Booking), outcome


def test_the_same_request_again_is_answered_at_the_limit(site: Site) -> None:
    """It is not counted twice."""
    offer(site, max_per_person=1)
    for key in ("1@20260105T1000", "1@20260105T1100"):
        first = site.slots.book(key, who="ada", idempotency_key=key)
        site.session.commit()
        assert site.slots.book(key, who="ada", idempotency_key=key) is first


@pytest.mark.parametrize("where", ["stored", "virtual"])
def test_a_refusal_leaves_no_row(site: Site, where: str) -> None:
    """A virtual slot stays one, and the lock of a person goes with the transaction."""
    site.add(capacity=3, max_per_person_week=1)
    if where == "stored":
        site.slots.generate()
    site.slots.book("1@20260105T1000", who="ada")
    site.session.commit()
    rows = len(site.rows())
    refused(site, "1@20260105T1100")
    assert len(site.rows()) == rows
    site.slots.book("1@20260105T1100", who="bob")
    site.session.commit()


def test_other_refusals_come_as_before(site: Site) -> None:
    """What is full or closed says so, for somebody who is within the limits."""
    offer(site, capacity=1, max_per_person=2, max_per_person_week=9)
    site.slots.book("1@20260105T1000", who="ada")
    site.session.commit()
    with pytest.raises(SlotFull):
        site.slots.book("1@20260105T1000", who="bob")
    site.session.rollback()
    site.clock.now = MONDAY + timedelta(hours=4)
    with pytest.raises(SlotClosed):
        site.slots.book("1@20260105T1100", who="bob")


# --- what it costs -----------------------------------------------------------------------------------------------


@contextmanager
def counted(site: Site) -> Iterator[list[str]]:
    """Gather the statements that are executed meanwhile, by a session that knows nothing yet."""
    site.session.remove()
    with statements(site.db.engine) as found:
        yield found


@on_each
def test_limits_cost_a_statement(site: Site) -> None:
    """The row of the person; none on SQLite, and two on MariaDB, which is asked first what this transaction sees."""
    offer(site, max_party=2, max_per_person=2, max_per_person_day=3, max_per_person_week=20)
    usual, more = {"sqlite": (2, 0), "postgresql": (2, 1), "mysql": (3, 2)}[site.db.engine.dialect.name]
    numbers = []
    for day in range(5, 9):
        with counted(site) as found:
            site.slots.book(f"1@202601{day:02}T1000", who="ada")
        site.session.commit()
        numbers.append(len(found))
    assert numbers[1:] == [usual + more] * 3, found


@on_each
def test_a_sum_is_found_by_an_index(site: Site) -> None:
    """What a person has is read by the index of persons, not out of all bookings."""
    offer(site, max_per_person=20, max_per_person_day=20, max_per_person_week=90)
    booking: Any = site.slots.Booking.__table__
    slot: Any = site.slots.Slot.__table__
    people = [
        {
            "slot_id": 1 + n % 80,
            "who": f"person {n % 500}",
            "status": "confirmed",
            "active_key": str(n),
            "party": 1,
        }
        for n in range(5000)
    ]
    others = [  # a day of many series
        {"series_id": n, "template_id": 1, "original_start": NINE, "starts_at": MONDAY, "ends_at": MONDAY}
        for n in range(1000, 7000)
    ]
    site.session.execute(slot.insert(), [{**row, "data": {}, "customised": []} for row in others])
    site.session.execute(booking.insert(), people)
    site.session.commit()
    word, analyse = "EXPLAIN QUERY PLAN" if site.db.engine.dialect.name == "sqlite" else "EXPLAIN", "ANALYZE"
    if site.db.engine.dialect.name in MARIADB:
        analyse = "ANALYZE TABLE rolling_slot, rolling_booking"
    site.session.execute(text(analyse))
    site.session.commit()
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "sum(rolling_booking" in statement or "rolling_booking.party" in statement:
            cursor = connection.connection.cursor()
            cursor.execute(f"{word} {statement}", parameters)
            plans.append("\n".join(str(row) for row in cursor.fetchall()))

    site.slots.book("1@20260112T1000", who="person 7")
    event.listen(site.db.engine, "before_cursor_execute", explain)
    site.slots.book("1@20260113T1000", who="person 7")  # the short way
    site.slots.hold("1@20260114T1000", who="person 7")  # the long way
    event.remove(site.db.engine, "before_cursor_execute", explain)
    assert len(plans) == 2
    for plan in plans:
        assert "ix_rolling_booking_who" in plan, plan
        for alias in ("rolling_booking", "rolling_slot ", "rolling_slot_1", "rolling_slot_2"):
            assert f"Seq Scan on {alias}" not in plan.replace("rolling_slot rolling_slot", "rolling_slot"), (
                plan
            )
            assert f"SCAN {alias}" not in plan, plan
        for index in ("INDEX ix_rolling_slot_starts_at", "'ix_rolling_slot_starts_at'"):
            assert index not in plan, plan  # all slots of that week, of whatever series


# --- several at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["book", "hold"])
def test_an_older_view_stays_older(mariadb_url: str, tmp_path: Path, way: str) -> None:
    """What a transaction of MariaDB cannot see counts for each of its bookings, not only for the first one."""
    site = Site(mariadb_url, tmp_path)
    with site.app.app_context():
        offer(site, max_per_person_day=3)
        call = getattr(site.slots, way)
        site.slots.book("1@20260105T1000", who="ada")
        site.session.commit()
        site.session.scalar(select(site.slots.Booking.id))  # what it sees from now on
        with site.app.app_context():  # a session of its own
            site.slots.book("1@20260105T1100", who="ada")
            site.session.commit()
        call("1@20260105T1200", who="ada")
        with pytest.raises(LimitReached):
            call("1@20260105T1300", who="ada")
        site.session.rollback()


def test_a_savepoint_takes_the_lock_with_it(site: Site) -> None:
    """Who booked within a savepoint that was rolled back is counted and kept apart again."""
    offer(site, max_per_person_day=1)
    nested = site.session.begin_nested()
    site.slots.book("1@20260105T1000", who="ada")
    nested.rollback()
    site.slots.book("1@20260105T1100", who="ada")
    assert refused(site, "1@20260105T1000").taken == 1


SHORT = pytest.param(1, id="short")
FULL = pytest.param(8, id="full", marks=[pytest.mark.faults, pytest.mark.slow])


def race(site: Site, folder: Path, way: str, weeks: int, **most: int) -> tuple[Race, dict[str, Counter[Any]]]:
    """Let eight processes take places for one person at the same time, in many slots of many weeks.

    :return: the race, and how many places the person has at most in a slot, on a day, in a week.
    """
    site.add(capacity=40, **most)
    site.slots.generate(days=7 * weeks)
    start = site.clock.now
    keys = [slot.key for slot in site.slots.between(start, start + timedelta(days=7 * weeks))]
    laps = len(keys) // 3  # each slot is for two or three
    lanes = [keys[n % 3 :: 3][:laps] for n in range(RACERS)]
    site.session.remove()
    done = Race(str(site.app.config["SQLALCHEMY_DATABASE_URI"]), folder, lanes, way, laps=True).run()
    taken: dict[str, Counter[Any]] = {name: Counter() for name in limits.LIMITS[1:]}
    cls = site.slots.Booking
    for booking in site.session.scalars(select(cls)):
        day = booking.slot.original_start.date()
        for name, key in zip(taken, (booking.slot.key, day, day.isocalendar()[:2]), strict=True):
            taken[name][key] += booking.party
    booked = {slot.key: slot.booked for slot in site.rows() if slot.booked}
    assert booked == dict(taken["max_per_person"])
    return done, taken


MOST = {"max_per_person": 2, "max_per_person_day": 5, "max_per_person_week": 20}


@pytest.mark.parametrize("weeks", [SHORT, FULL])
@quick_on("sqlite", "postgresql")
def test_a_race_of_one_person(site: Site, tmp_path: Path, weeks: int) -> None:
    """Hundreds of tries at the same moments: each limit is reached, and none is exceeded."""
    done, taken = race(site, tmp_path, "take_for_one", weeks, **MOST)
    assert {name: max(found.values()) for name, found in taken.items()} == MOST
    assert set(taken["max_per_person_week"].values()) == {20}
    assert done.outcomes["LimitReached"] > 10 * weeks
    if site.db.engine.dialect.name not in MARIADB:
        assert not done.outcomes["again"], done.outcomes


@pytest.mark.parametrize("weeks", [SHORT, FULL])
@quick_on("postgresql")  # that the same racers meet elsewhere, too; SQLite has one writer
def test_without_the_lock_a_person_has_more(site: Site, tmp_path: Path, weeks: int) -> None:
    """The same race in which each only counts: the racers do meet."""
    if site.db.engine.dialect.name == "sqlite":
        pytest.skip("it has one writer")
    _, taken = race(site, tmp_path, "take_without_lock", weeks, **MOST)
    assert any(max(found.values()) > MOST[name] for name, found in taken.items()), taken
