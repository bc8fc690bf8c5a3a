"""Lists of bookings: a person's, who comes to a slot, a day's list; in pages, by an index on each database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from each_database import site, sqlite_site
from sqlalchemy import event, insert, select, text

from flask_rollingslots.errors import (
    BookingNotFound,
    InvalidKey,
    InvalidRequest,
    SlotNotFound,
    TemplateNotFound,
)
from flask_rollingslots.models import table_of
from flask_rollingslots.values import BookingStatus

if TYPE_CHECKING:
    from helpers import Site

__all__ = ["site", "sqlite_site"]
TUESDAY = datetime(2026, 1, 6, tzinfo=UTC)
TEN, ELEVEN, TWELVE = (f"1@20260106T{hour}00" for hour in (10, 11, 12))


def whose(found: list[Any]) -> list[tuple[str, str]]:
    """Return who booked what."""
    return [(booking.who, booking.slot.key) for booking in found]


@pytest.fixture
def full(site: Site) -> Site:
    """A site with two offers in two groups, and some people in them."""
    site.add(name="Hall", group="halls", capacity=5)
    site.add(name="Court", group="courts", capacity=5)
    for key, who in (
        (ELEVEN, "ada"),
        (TEN, "bea"),
        (TEN, "ada"),
        ("2@20260106T1000", "ada"),
        ("2@20260107T1000", "eve"),
    ):
        site.slots.book(key, who=who)
    site.slots.release(site.slots.book(TWELVE, who="ada"))
    site.slots.hold(TWELVE, who="bea", minutes=10)
    site.session.commit()
    return site


def test_a_persons_bookings_by_start_then_id(full: Site) -> None:
    """What one person has, the next first; what was released is not among them."""
    mine = full.slots.bookings(who="ada")
    assert whose(mine) == [("ada", TEN), ("ada", "2@20260106T1000"), ("ada", ELEVEN)]
    assert full.slots.bookings(who="nobody") == []
    assert full.slots.bookings(who="Ada") == []
    assert whose(full.slots.bookings(who="ada", live=False))[-1] == ("ada", TWELVE)


def test_who_comes_to_a_slot(full: Site) -> None:
    """By key, or by the slot itself; nobody comes to a virtual one."""
    assert whose(full.slots.bookings(slot=TEN)) == [("bea", TEN), ("ada", TEN)]
    assert whose(full.slots.bookings(slot=full.slots.get(TEN))) == [("bea", TEN), ("ada", TEN)]
    assert full.slots.bookings(slot="1@20260109T1000") == []
    assert full.slots.bookings(slot=full.slots.get("1@20260109T1000")) == []


def test_a_days_list(full: Site) -> None:
    """Of a group, of a template, of all; the end is not included."""
    day = {"start": TUESDAY, "end": TUESDAY + timedelta(days=1)}
    assert len(full.slots.bookings(**day)) == 5
    assert whose(full.slots.bookings(group="courts", **day)) == [("ada", "2@20260106T1000")]
    assert len(full.slots.bookings(template=1, **day)) == 4
    ten = TUESDAY + timedelta(hours=10)
    assert len(full.slots.bookings(template=1, start=ten, end=ten + timedelta(hours=1))) == 2
    assert whose(full.slots.bookings(start=TUESDAY + timedelta(days=1))) == [("eve", "2@20260107T1000")]
    assert len(full.slots.bookings(end=ten)) == 0
    assert full.slots.bookings(group="nowhere") == []


def test_a_template_means_its_whole_series(full: Site) -> None:
    """Also after a cut: any of its segments."""
    full.slots.edit("1@20260106T1100", "this_and_future", capacity=7)
    full.session.commit()
    segments = full.slots.segments(TEN)
    assert len(segments) == 2
    for segment in segments:
        assert len(full.slots.bookings(template=segment)) == 4


def test_a_hold_is_live_until_it_expires(full: Site) -> None:
    """By the time alone, in Python and in SQL; a query that was made before is asked at the time when it runs."""
    cls = full.slots.Booking
    query = select(cls.id).where(cls.is_live).order_by(cls.id)

    def check(live: int) -> None:
        full.session.expire_all()
        rows = list(full.session.scalars(select(cls).order_by(cls.id)))
        in_python = [row.id for row in rows if row.is_live]
        assert list(full.session.scalars(query)) == in_python
        dead = full.session.scalars(select(cls.id).where(~cls.is_live)).all()
        assert sorted([*dead, *in_python]) == [row.id for row in rows]
        assert sorted(b.id for b in full.slots.bookings()) == in_python
        assert len(in_python) == live

    check(6)
    full.clock.turn(minutes=10)
    check(5)


def test_those_who_wait(full: Site) -> None:
    """They take no places: they are listed if that is asked for, and in lists of all."""
    row = {"slot_id": full.slots.get(TEN).id, "who": "zoe", "party": 1, "created_at": full.clock()}
    full.session.execute(
        insert(table_of(full.slots.Booking)).values(**row, status=BookingStatus.WAITING.value)
    )
    full.session.commit()
    assert len(full.slots.bookings(slot=TEN)) == 2
    assert whose(full.slots.bookings(slot=TEN, waiting=True))[-1] == ("zoe", TEN)
    assert len(full.slots.bookings(slot=TEN, live=False)) == 3


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages(full: Site, limit: int) -> None:
    """Page after page gives each booking once, in order; by the booking or by its id."""
    whole = full.slots.bookings(live=False)
    found: list[Any] = []
    while page := full.slots.bookings(live=False, limit=limit, after=found[-1] if found else None):
        assert len(page) <= limit
        found += page
        assert full.slots.bookings(live=False, limit=limit, after=found[-1].id) == full.slots.bookings(
            live=False, limit=limit, after=found[-1]
        )
    assert found == whole
    assert len(whole) == 7


def test_what_may_not_be_seen_is_left_out_and_fills_no_page(full: Site) -> None:
    """A page is full of what may be shown, as long as there is more."""
    found = full.slots.bookings(live=False, limit=2, sees=lambda template: template.group == "courts")
    assert whose(found) == [("ada", "2@20260106T1000"), ("eve", "2@20260107T1000")]
    assert full.slots.bookings(sees=lambda template: False) == []


def test_what_makes_no_sense_is_refused(full: Site) -> None:
    """By name, as everywhere; so is what is not there."""
    bookings, naive = full.slots.bookings, TUESDAY.replace(tzinfo=None)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"limit": 0}, "limit"), ({"limit": 1001}, "limit"), ({"limit": True}, "limit"), ({"who": 7}, "who"),
        ({"group": 7}, "group"), ({"start": naive}, "start"), ({"end": "today"}, "end"),
        ({"template": "1"}, "template"),
        ({"start": TUESDAY, "end": TUESDAY - timedelta(days=1)}, "end"),
    ]  # fmt: skip
    for given, field in wrong:
        with pytest.raises(InvalidRequest, match=f"^{field} = .*: expected"):
            bookings(**given)
    for error, given in (
        (InvalidKey, {"slot": "nonsense"}),
        (SlotNotFound, {"slot": "9@20260106T1000"}),
        (TemplateNotFound, {"template": 9}),
        (BookingNotFound, {"after": 99}),
    ):
        with pytest.raises(error):
            bookings(**given)


def test_one_query_with_slot_and_template(full: Site) -> None:
    """What a page shows of them asks the database no more."""
    full.session.remove()
    statements: list[str] = []

    def note(*given: Any) -> None:
        statements.append(given[2])

    event.listen(full.db.engine, "before_cursor_execute", note)
    try:
        found = full.slots.bookings(who="ada")
        shown = [
            (b.slot.key, b.slot.name, b.slot.local_start, b.slot.template.group, b.is_live) for b in found
        ]
    finally:
        event.remove(full.db.engine, "before_cursor_execute", note)
    assert len(shown) == 3
    assert len(statements) == 1


def test_a_booking_by_its_token(full: Site) -> None:
    """The token stays when a booking moves, and finds the one that holds; a wrong one is in no error."""
    first = full.slots.bookings(who="eve")[0]
    moved = full.slots.move(first, "2@20260107T1100")
    full.session.commit()
    assert full.slots.get_booking(moved.token) is moved
    assert full.slots.get_booking(first.id) is first
    for wrong in ("x" * 24, ""):
        with pytest.raises(BookingNotFound) as caught:
            full.slots.get_booking(wrong)
        assert "xxx" not in str(caught.value)


# -- plans: a person among many, one slot among many, one day among many


@pytest.fixture
def crowded(site: Site) -> Site:
    """A site with 2,400 slots and 30,000 bookings of 3,000 people, and statistics about them."""
    for number in range(3):
        site.add(name=f"Hall {number}", group=f"group {number}", capacity=50)
    site.slots.generate(days=100)
    ids = list(site.session.scalars(select(site.slots.Slot.id).order_by(site.slots.Slot.id)))
    rows = [
        {
            "slot_id": ids[number * 7 % len(ids)],
            "who": f"person {number % 3000}",
            "party": 1,
            "status": "confirmed" if number % 3 else "released",
            "active_key": f"key {number}" if number % 3 else None,
            "created_at": site.clock(),
        }
        for number in range(30_000)
    ]
    site.session.execute(insert(table_of(site.slots.Booking)), rows)
    site.session.commit()
    analyze = (
        "ANALYZE TABLE rolling_booking, rolling_slot, rolling_template" if is_mariadb(site) else "ANALYZE"
    )
    site.session.execute(text(analyze))
    site.session.commit()
    return site


def is_mariadb(site: Site) -> bool:
    """Whether this is MariaDB."""
    return site.db.engine.dialect.name in ("mysql", "mariadb")


def plan_of(site: Site, **asked: Any) -> str:
    """Return the plan that the database makes for a list of bookings, as text."""
    seen: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:
        seen.append((given[2], given[3]))

    event.listen(site.db.engine, "before_cursor_execute", note)
    try:
        assert site.slots.bookings(**asked) != []
    finally:
        event.remove(site.db.engine, "before_cursor_execute", note)
    (statement, parameters) = seen[-1]
    verb = "EXPLAIN QUERY PLAN" if site.db.engine.dialect.name == "sqlite" else "EXPLAIN"
    rows = site.session.connection().exec_driver_sql(f"{verb} {statement}", parameters)
    return "\n".join(" ".join(map(str, row)) for row in rows)


_OF_SLOTS = ("ix_rolling_booking_slot_id", "uq_rolling_booking_slot_id_active_key")
_DAY = {"start": TUESDAY, "end": TUESDAY + timedelta(days=1)}
ASKED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"who": "person 7"}, ("ix_rolling_booking_who",)),
    ({"who": "person 7", "live": False, "limit": 5}, ("ix_rolling_booking_who",)),
    ({"who": "person 7", "start": TUESDAY}, ("ix_rolling_booking_who",)),
    ({"slot": "1@20260110T1000"}, _OF_SLOTS),
    ({"group": "group 1", **_DAY}, _OF_SLOTS),
    (_DAY, _OF_SLOTS),
]


def test_a_list_is_read_by_an_index(crowded: Site) -> None:
    """Bookings and slots are reached by their indexes, whatever else there is in the tables."""
    for asked, index in ASKED:
        plan = plan_of(crowded, **asked)
        assert any(name in plan for name in index), f"{asked}\n{plan}"
        scans = [
            line
            for line in plan.splitlines()
            if "Seq Scan" in line or line.split()[3:4] == ["SCAN"] or " ALL " in line
        ]
        assert not [line for line in scans if "rolling_template" not in line], f"{asked}\n{plan}"
