"""Lists of series: one entry for each, with the segment that holds now; searched alike on every database."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import pytest
from each_database import site, sqlite_site

from flask_rollingslots.errors import InvalidRequest

if TYPE_CHECKING:
    from helpers import Site

__all__ = ["site", "sqlite_site"]


def names(found: list[Any]) -> list[str]:
    """Return what the series are called."""
    return [entry.name for entry in found]


def test_one_entry_for_each_series(site: Site) -> None:
    """A series that was cut is one entry: the segment of now, and the last one."""
    site.add(name="Hall")
    site.add(name="Court")
    site.slots.edit("1@20260120T1000", "this_and_future", name="Hall, new", group="later")
    site.session.commit()
    first, second = site.slots.series()
    assert (first.series_id, first.name, first.group, first.is_over) == (1, "Hall", None, False)
    assert first.current is not None
    assert (first.current.id, first.last.name) == (1, "Hall, new")
    assert (second.name, second.current, second.last) == ("Court", second.last, second.current)
    site.clock.now = datetime(2026, 1, 21, tzinfo=UTC)
    first, _ = site.slots.series()
    assert (first.series_id, first.name, first.group) == (1, "Hall, new", "later")
    assert first.current is first.last


def test_segments_stand_in_the_order_of_time(site: Site) -> None:
    """Not in that in which they were cut."""
    site.add(name="one")
    site.slots.edit("1@20260301T1000", "this_and_future", capacity=2)
    site.slots.edit("1@20260201T1000", "this_and_future", capacity=3)
    site.session.commit()
    for month, number in ((1, 1), (2, 3), (3, 2)):
        site.clock.now = datetime(2026, month, 15, tzinfo=UTC)
        (entry,) = site.slots.series()
        assert entry.current is not None
        assert (entry.current.id, entry.last.id) == (number, 2)


def test_whether_it_is_over(site: Site) -> None:
    """By its rule, by a cancellation, by its time: nothing is to come. Switched off is not over."""
    site.add(name="ends", rrule="FREQ=DAILY;UNTIL=20260107")
    site.add(name="goes on")
    site.add(name="to come", dtstart=datetime(2027, 1, 1, 10))
    site.add(name="off", active=False)
    site.add(name="cancelled")
    site.add(name="days off", rrule="FREQ=DAILY;COUNT=8", blackouts=[(date(2026, 1, 1), date(2026, 2, 1))])
    site.slots.cancel_future(5, site.clock.now)
    site.session.commit()
    over = {entry.name: entry.is_over for entry in site.slots.series()}
    assert over == {
        "ends": False, "goes on": False, "to come": False, "off": False, "cancelled": True, "days off": True,
    }  # fmt: skip
    site.clock.now = datetime(2026, 1, 7, 17, 30, tzinfo=UTC)  # the last slot runs
    assert not site.slots.series(q="ends")[0].is_over
    site.clock.turn(hours=1)
    (entry,) = site.slots.series(q="ends")
    assert (entry.is_over, entry.current, entry.last.id) == (True, None, 1)
    site.slots.restore_series(5)
    site.session.commit()
    assert not site.slots.series(q="cancelled")[0].is_over


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("futbol", ["Fútbol sala", "FUTBOL 7"]),
        ("FÚTBOL", ["Fútbol sala", "FUTBOL 7"]),
        ("ubung", ["Übung"]),
        ("strasse", ["Straße"]),
        ("cafe\u0301", ["Café"]),
        ("σισυφος", ["Σίσυφος"]),
        ("ё", ["ёлка", "елка"]),
        ("weekly", []),
        ("FREQ=DAILY", None),
        ("halle n", ["Übung"]),
        ("%", []),
    ],
)
def test_a_search_finds_the_same_everywhere(named: Site, q: str, expected: list[str] | None) -> None:
    """Neither case nor accents matter, in series as in templates; no sign has a meaning of its own."""
    found = names(named.slots.series(q=q))
    assert found == ([t.name for t in named.slots.templates()] if expected is None else expected)
    assert found == [template.name for template in named.slots.templates(q=q)]


@pytest.fixture
def named(site: Site) -> Site:
    """A site whose templates are called in many ways."""
    for name in ("Fútbol sala", "FUTBOL 7", "Übung", "Straße", "Café", "Σίσυφος", "ёлка", "елка"):
        site.add(name=name, every=None, until_time=None, group="Hallé Nord" if name == "Übung" else None)
    return site


def test_filters_are_about_the_segment_that_holds(site: Site) -> None:
    """An older name, group or state of a series does not find it."""
    site.add(name="old", group="a")
    site.slots.edit("1@20260120T1000", "this_and_future", name="new", group="b", start=time(11))
    site.add(name="other", group="a", active=False)
    site.session.commit()
    site.clock.now = datetime(2026, 2, 1, tzinfo=UTC)
    assert names(site.slots.series(q="old")) == []
    assert names(site.slots.series(q="NEW")) == ["new"]
    assert names(site.slots.series(group="a")) == ["other"]
    assert names(site.slots.series(group="b", active=True)) == ["new"]
    assert names(site.slots.series(active=False)) == ["other"]


def test_pages(sqlite_site: Site) -> None:
    """The last ``series_id`` gives the next page; a limit is a whole number from 1 to 1,000."""
    site = sqlite_site
    for number in range(5):
        site.add(name=f"Hall {number}")
    found: list[str] = []
    after = 0
    while page := site.slots.series(q="hall", limit=2, after=after):
        found += names(page)
        after = page[-1].series_id
    assert found == [f"Hall {number}" for number in range(5)]
    for given in ({"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": "1"}, {"group": 7}, {"q": 7}):
        with pytest.raises(InvalidRequest, match=f"^{next(iter(given))} = "):
            site.slots.series(**given)


def test_a_broken_rule_is_listed(sqlite_site: Site) -> None:
    """It promises nothing; the list is there all the same."""
    site = sqlite_site
    site.add(name="broken")
    site.add(name="whole")
    table = site.slots.Template.__table__
    site.session.execute(table.update().where(table.c.id == 1).values(rrule="nonsense"))
    site.session.commit()
    assert [(entry.name, entry.is_over) for entry in site.slots.series()] == [
        ("broken", True),
        ("whole", False),
    ]
