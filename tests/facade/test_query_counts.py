"""How many statements each call takes: a number that does not grow with templates, slots or bookings."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, Site, statements
from sqlalchemy import event, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MANY = 12


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site on a SQLite file, inside its app context."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        yield site


@contextmanager
def counted(site: Site) -> Iterator[list[str]]:
    """Gather the statements that are executed meanwhile, by a session that knows nothing yet."""
    site.session.remove()
    with statements(site.db.engine) as found:
        yield found


READS: dict[str, tuple[int, Callable[[Site], Any]]] = {
    "between, one template": (2, lambda site: site.week(template=1)),
    "between, a group": (2, lambda site: site.week(group="venue")),
    "between, everything": (2, lambda site: site.week()),
    "between, and what pages ask of slots": (
        2,
        lambda site: [(s.state, s.left, s.key, s.local_start, s.template.name) for s in site.week()],
    ),
    "upcoming, stored": (3, lambda site: site.slots.upcoming(1, 5)),
    "upcoming, beyond the window": (3, lambda site: site.slots.upcoming(1, A_WEEK + 5)),
    "get, stored": (3, lambda site: site.slots.get("1@20260106T1000").state),
    "get, virtual": (3, lambda site: site.slots.get("1@20270106T1000").state),
    "stats": (3, lambda site: site.slots.stats()),
    "health": (4, lambda site: site.slots.health()),
    "runs": (1, lambda site: site.slots.runs()),
}


@pytest.mark.parametrize("name", READS)
def test_reading_takes_the_same_number_of_queries_for_many_as_for_one(site: Site, name: str) -> None:
    """Neither more templates, nor more slots, nor bookings in them add a query."""
    expected, read = READS[name]
    site.add(group="venue")
    site.slots.generate()
    with counted(site) as few:
        read(site)
    for number in range(MANY):
        site.add(group="venue", name=f"Hall {number}")
    site.slots.generate(days=14)
    for slot in site.week(group="venue")[:MANY]:
        if slot.state == "open":
            site.slots.book(slot.key)
    site.session.commit()
    with counted(site) as many:
        read(site)
    assert (len(few), len(many)) == (expected, expected), many


def test_slots_that_are_not_stored_take_no_query_each(site: Site) -> None:
    """A week of virtual slots of many templates takes two queries, like a stored one."""
    for number in range(MANY):
        site.add(name=f"Hall {number}")
    with counted(site) as found:
        week = site.week()
    assert all(slot.is_virtual for slot in week)
    assert len(week) >= MANY * (A_WEEK - 8)
    assert len(found) == 2


def test_more_templates_than_a_query_may_name(site: Site) -> None:
    """Beyond 500 templates their ids are not listed; what is shown and what it takes is the same."""
    templates = [
        site.slots.Template(
            name=f"Hall {n}",
            rrule="FREQ=WEEKLY",
            dtstart=datetime(2026, 1, 6, 10),
            duration=timedelta(hours=1),
        )
        for n in range(502)
    ]
    site.session.add_all(templates)
    site.session.commit()
    site.slots.generate()
    templates[7].active = False  # its rows stay, and are not shown
    site.session.execute(text("UPDATE rolling_slot SET status = 'deleted' WHERE template_id = 3"))
    site.session.commit()
    with counted(site) as found:
        week = site.week()
        assert {slot.template.name for slot in week} == {f"Hall {n}" for n in range(502)} - {
            "Hall 2",
            "Hall 7",
        }
    assert not any(slot.is_virtual for slot in week)
    assert len(found) == 2


@pytest.mark.parametrize("options", [{}, {"idempotency_key": "k"}])
def test_booking_takes_two_statements(database_url: str, tmp_path: Path, options: dict[str, str]) -> None:
    """The places and the booking; PostgreSQL keeps the template first and does both in one; one more for a key.

    MariaDB keeps the template with one more, which reads the slot.
    """
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.add(capacity=4)
        site.slots.generate()
        with counted(site) as found:
            booking = site.slots.book("1@20260106T1000", who="ada", **options)
            assert (booking.who, booking.party, booking.status, booking.slot_id) == ("ada", 1, "confirmed", 9)
        two = {"sqlite": 2, "postgresql": 2, "mysql": 3}[site.db.engine.dialect.name]
        assert len(found) == two + len(options), found
        site.session.rollback()


@pytest.mark.parametrize("half", ["template_id=? AND starts_at>?", "series_id=? AND original_start>?"])
def test_a_templates_week_is_found_by_indexes_alone(site: Site, half: str) -> None:
    """Years of stored slots are not looked through: both halves of the query end at the week's edges."""
    template = site.add()
    site.slots.generate(days=30)
    site.session.remove()
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "FROM rolling_slot" in statement:
            plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[-1] for row in plan)

    event.listen(site.db.engine, "before_cursor_execute", explain)
    assert len(site.week(template=template)) == A_WEEK
    event.remove(site.db.engine, "before_cursor_execute", explain)
    assert any(half in line for line in plans), plans
