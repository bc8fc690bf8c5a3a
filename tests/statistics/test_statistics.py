"""Figures by template, group, weekday and hour: the same as counting rows by hand."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from helpers import MONDAY, Site
from marks import quick_on
from sqlalchemy import event, select
from sqlalchemy.orm import object_session

from flask_rollingslots.errors import InvalidRequest, TemplateNotFound
from flask_rollingslots.statistics import spells

#: On the other databases these figures are proven above; top-ups, states and retention by tests of their own.
ELSEWHERE = quick_on("sqlite")


@pytest.fixture
def busy(site: Site) -> Site:
    """Three templates in two groups and three zones, across a change of clocks; some booked, some cancelled."""
    site.clock.now = datetime(2026, 3, 20, 8, tzinfo=UTC)
    site.add(name="Madrid", group="spain", timezone="Europe/Madrid", capacity=3)
    site.add(name="Canaries", group="spain", timezone="Atlantic/Canary", rrule="FREQ=WEEKLY;BYDAY=SA,SU")
    start, half = datetime(2026, 1, 1, 0, 15), timedelta(minutes=30)
    site.add(name="Mumbai", timezone="Asia/Kolkata", duration=half, every=5 * half, dtstart=start)
    site.slots.generate(days=14)
    rows = site.rows()
    for number, slot in enumerate(rows):
        if number % 5 == 0:
            booking = site.slots.book(slot.key, party=1 + number % slot.capacity)
            site.slots.mark(booking, ("arrived", "no_show", None)[number % 3])
        if number % 7 == 0:
            site.slots.hold(slot.key) if slot.left else None
        if number % 11 == 0:
            site.slots.cancel(slot.key)
        if number % 13 == 0 and slot.status == "scheduled":
            slot.status = "completed"
        if number % 17 == 0:
            slot.status = "deleted"
    site.slots.materialize("1@20270101T1000")
    site.session.commit()
    site.clock.turn(minutes=10)  # the holds expire
    return site


def marked(slot: Any, mark: str) -> int:
    """Return how many places in a slot have a mark."""
    bookings = object_session(slot).scalars(select(slot.rolling_models.Booking).filter_by(slot_id=slot.id))
    return sum(each.party for each in bookings if each.attendance == mark)


def by_hand(slots: list[Any]) -> dict[str, Any]:
    """Count loaded slots one by one."""
    shown = [slot for slot in slots if slot.status != "deleted"]
    counting = [slot for slot in shown if slot.status != "cancelled"]
    return {
        "slots": len(shown),
        "generated": sum(slot.run_id is not None for slot in shown),
        "cancelled": len(shown) - len(counting),
        "completed": sum(slot.status == "completed" for slot in shown),
        "capacity": sum(slot.capacity for slot in counting),
        "booked": sum(slot.capacity - slot.left for slot in counting),
        **{mark: sum(marked(slot, mark) for slot in counting) for mark in ("arrived", "no_show")},
        "earliest": min((slot.starts_at for slot in shown), default=None),
        "latest": max((slot.starts_at for slot in shown), default=None),
    }


def same(figures: Any, slots: list[Any]) -> bool:
    """Say whether figures are what counting by hand gives."""
    return {name: getattr(figures, name) for name in by_hand(slots)} == by_hand(slots)


@quick_on("sqlite", "mariadb")  # on PostgreSQL the parts of them that are asked for
def test_figures_are_what_counting_gives(busy: Site) -> None:
    """Totals, templates, groups, weekdays and hours, in each template's own zone, on both sides of the change."""
    stats, rows = busy.slots.stats(), busy.rows()
    assert same(stats.total, rows)
    assert list(stats.templates) == [1, 2, 3]
    assert list(stats.groups) == ["spain"]
    assert same(stats.groups["spain"], [slot for slot in rows if slot.template.group == "spain"])
    for number, part in stats.templates.items():
        mine = [slot for slot in rows if slot.template_id == number]
        assert same(part, mine)
        shown = [slot for slot in mine if slot.status != "deleted"]
        for parts, local in (
            (part.weekdays, lambda slot: slot.local_start.weekday()),
            (part.hours, lambda slot: slot.local_start.hour),
        ):
            assert set(parts) == {local(slot) for slot in shown}
            assert all(same(parts[key], [s for s in mine if local(s) == key]) for key in parts)
    assert sum(part.slots for part in stats.total.hours.values()) == stats.total.slots
    assert 0 < stats.total.booked_share == stats.total.booked / stats.total.capacity < 1


@quick_on("postgresql")  # the same figures of a part, elsewhere of the whole
def test_filters(busy: Site) -> None:
    """By template (its series), group and span; a span is half-open."""
    rows = busy.rows()
    assert same(busy.slots.stats(template=2).total, [s for s in rows if s.template_id == 2])
    assert same(busy.slots.stats(group="spain").total, [s for s in rows if s.template_id < 3])
    first, last = rows[20].starts_at, rows[60].starts_at
    spanned = [s for s in rows if first <= s.starts_at < last]
    assert same(busy.slots.stats(start=first, end=last).total, spanned)
    nothing = busy.slots.stats(start=datetime(2030, 1, 1, tzinfo=UTC)).total
    assert (nothing.slots, nothing.earliest, nothing.booked_share, nothing.hours) == (0, None, 0.0, {})


def test_bad_questions_are_refused(sqlite_site: Site) -> None:
    """Naive bounds, an end before the start, unknown templates and groups."""
    slots = sqlite_site.slots
    for options in ({"start": datetime(2026, 1, 1)}, {"start": MONDAY, "end": MONDAY - timedelta(1)}):
        with pytest.raises(InvalidRequest):
            slots.stats(**options)
    for options in ({"template": 7}, {"group": "nobody"}):  # type: ignore[assignment]
        with pytest.raises(TemplateNotFound):
            slots.stats(**options)
    assert slots.stats().total.slots == 0


def test_the_number_of_queries_does_not_grow(sqlite_site: Site) -> None:
    """Three statements for one template and for twenty, and no row object is made."""
    site = sqlite_site
    for number in range(20):
        site.add(name=f"Hall {number}", group=f"group {number % 3}", rrule="FREQ=WEEKLY;BYDAY=MO")
    site.slots.generate()
    site.session.expunge_all()
    statements: list[str] = []
    event.listen(site.db.engine, "before_cursor_execute", lambda *facts: statements.append(facts[2]))
    stats = site.slots.stats()
    assert len(statements) == 3
    assert (len(stats.templates), len(stats.groups)) == (20, 3)
    assert not list(site.session.identity_map.values())


def test_a_series_without_slots_is_listed(sqlite_site: Site) -> None:
    """A template of which nothing is stored shows up with zeros, as in a list of all templates."""
    sqlite_site.add(active=False)
    (part,) = sqlite_site.slots.stats().templates.values()
    assert (part.name, part.active, part.slots, part.earliest) == ("Hall", False, 0, None)


@pytest.mark.parametrize(
    "zone", ["Europe/Madrid", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kolkata", "UTC"]
)
def test_spells_have_one_offset(zone: str) -> None:
    """Every second of a spell has its offset; spells follow each other without a gap."""
    start, end = datetime(2017, 6, 1, 3, 4, tzinfo=UTC), datetime(2021, 2, 3, tzinfo=UTC)
    found = spells([zone], start, end)
    assert (found[0].start, found[-1].end) == (start, end)
    for part, following in zip(found, [*found[1:], None], strict=True):
        for moment in (part.start, part.start + (part.end - part.start) / 2, part.end - timedelta(seconds=1)):
            assert moment.astimezone(ZoneInfo(zone)).utcoffset() == part.offset
        assert following is None or (following.start == part.end and following.offset != part.offset)


def test_the_command(sqlite_site: Site) -> None:
    """``flask slots stats`` prints a line for each template, and everything as JSON."""
    site = sqlite_site
    site.add(capacity=2)
    site.slots.generate()
    site.slots.book(site.week()[0].key)
    site.session.commit()
    runner = site.app.test_cli_runner()
    text = runner.invoke(args=["slots", "stats"]).output
    assert "56 slots" in text
    assert "2026-01-05 to 2026-01-11" in text
    assert "booked by hour: 10:00 7%" in text
    plain = json.loads(runner.invoke(args=["slots", "stats", "--since", "2026-01-06", "--json"]).output)
    assert plain["total"]["slots"] == 48
    assert plain["templates"]["1"]["weekdays"]["1"]["slots"] == 8
    assert runner.invoke(args=["slots", "stats", "--template", "9"]).exit_code == 2


# --- the questions that owners ask of a scheduler's tables ---------------------------------------------------------


@ELSEWHERE
def test_activate_on_time(site: Site) -> None:
    """What an hourly job would activate is bookable in its very second, and a query finds it."""
    site.add(opens_days_before=0)
    site.slots.generate()
    cls = site.slots.Slot
    query = site.db.select(site.db.func.count()).select_from(cls).where(cls.state == "open")
    midnight = MONDAY.replace(day=6, hour=0)
    for moment, expected in ((midnight - timedelta(seconds=1), 0), (midnight, 8)):
        site.clock.now = moment
        assert site.session.scalar(query) == expected


@ELSEWHERE
def test_close_on_time(site: Site) -> None:
    """What a job every five minutes would close is over in its very second, and a query finds it."""
    site.add()
    site.slots.generate()
    cls = site.slots.Slot
    query = site.db.select(site.db.func.count()).select_from(cls).where(cls.state == "ended")
    for moment, expected in (
        (MONDAY.replace(hour=11) - timedelta(seconds=1), 0),
        (MONDAY.replace(hour=11), 1),
    ):
        site.clock.now = moment
        assert site.session.scalar(query) == expected


@ELSEWHERE
def test_generate_for_all_active_templates(site: Site) -> None:
    """One call fills thirty days for every active template and says how many each got; again creates nothing."""
    site.add(name="Hall", group="a")
    site.add(name="Closed", active=False)
    site.add(name="Studio", group="b", rrule="FREQ=WEEKLY;BYDAY=MO")
    report = site.slots.generate(days=30)
    made = {tally.name: tally.created for tally in report.templates.values()}
    assert made == {"Hall": 30 * 8, "Studio": 5 * 8}
    assert {name: tally.created for name, tally in report.groups.items()} == {"a": 240, "b": 40}
    assert site.slots.generate(days=30).created == 0


@ELSEWHERE
def test_generate_for_a_specific_template(site: Site) -> None:
    """One template, thirty days ahead; the others are left alone, and a second call creates nothing."""
    site.add(name="Hall")
    site.add(name="Studio")
    report = site.slots.generate(template=2, days=30)
    assert ({key: tally.created for key, tally in report.templates.items()}, report.created) == (
        {2: 240},
        240,
    )
    assert {slot.template_id for slot in site.rows()} == {2}
    assert site.slots.generate(template=2, days=30).created == 0


@ELSEWHERE
def test_one_template_that_fails_does_not_stop_the_others(site: Site) -> None:
    """What went wrong is in the result of the one; the others got theirs."""
    site.add(name="Hall")
    site.add(name="Broken")
    table = site.slots.Template.__table__
    site.session.execute(table.update().where(table.c.id == 2).values(timezone="Mars/Base"))
    site.session.commit()
    report = site.slots.generate(days=30)
    assert report.templates[1].created == 240
    assert "Mars/Base" in (report.templates[2].error or "")
    assert site.slots.runs()[0].status == "failed"


@ELSEWHERE
def test_archive_what_was_closed_long_ago(site: Site) -> None:
    """Closed sessions older than ninety days are handed to the archive and go; booked ones stay."""
    site.add()
    site.slots.generate()
    site.slots.book("1@20260106T1000")
    site.session.commit()
    site.clock.turn(days=97)
    archived: list[dict[str, Any]] = []
    report = site.slots.prune(older_than=90, archive=archived.extend)
    site.session.rollback()
    assert (report.slots, len(archived)) == (55, 55)
    assert [row.key for row in site.rows()] == ["1@20260106T1000"]


@ELSEWHERE
def test_what_the_next_seven_days_hold(site: Site) -> None:
    """All slots with times, state and the template they belong to, by start: one call."""
    site.add()
    found = site.week()
    assert len(found) == 56
    assert found == sorted(found, key=lambda slot: slot.starts_at)
    assert {slot.template.name for slot in found} == {"Hall"}


@ELSEWHERE
def test_the_log_of_generation(site: Site) -> None:
    """The newest runs first, with a result per template and group; each slot knows its run and when it was made."""
    site.add(name="Hall", group="a")
    site.slots.generate()
    site.clock.turn(days=1)
    site.add(name="Studio", group="b")
    site.slots.generate()
    last, first = site.slots.runs()
    assert {key: part["created"] for key, part in last.results["templates"].items()} == {"1": 8, "2": 56}
    assert {key: part["created"] for key, part in last.results["groups"].items()} == {"a": 8, "b": 56}
    assert (first.created, first.seconds, last.status) == (56, 0.0, "confirmed")
    cls = site.slots.Slot
    newest = site.session.scalars(site.db.select(cls).order_by(cls.created_at.desc(), cls.id).limit(1)).one()
    assert (newest.run, newest.created_at) == (last, site.clock.now)
    assert Counter(slot.run.id for slot in site.rows()) == {first.id: 56, last.id: 64}
    assert [run.id for run in site.slots.runs(template=2)] == [last.id]


def test_the_list_of_active_templates(sqlite_site: Site) -> None:
    """Name, rule, times and status of every template, by name: a query on the app's own class."""
    sqlite_site.add(name="Zumba")
    sqlite_site.add(name="Aikido", active=False)
    cls = sqlite_site.slots.Template
    found = sqlite_site.session.scalars(sqlite_site.db.select(cls).where(cls.active).order_by(cls.name)).all()
    assert [(t.name, t.recurrence.describe(), t.duration) for t in found] == [
        ("Zumba", "every day, every hour from 10:00 to 18:00", timedelta(hours=1))
    ]


@ELSEWHERE
def test_count_per_template_with_earliest_and_latest(site: Site) -> None:
    """How many slots each template has, from when to when: one call."""
    site.add()
    site.add(name="New")
    site.session.get(site.slots.Template, 2).active = False
    site.session.commit()
    site.slots.generate(days=3)
    found = [(t.name, t.generated, t.earliest, t.latest) for t in site.slots.stats().templates.values()]
    hall = ("Hall", 24, MONDAY.replace(hour=10), MONDAY.replace(day=7, hour=17))
    assert found == [hall, ("New", 0, None, None)]


@ELSEWHERE
def test_is_this_week_generated(site: Site) -> None:
    """Of one week: how many slots, of how many students, the first and the last; one call."""
    for student in ("Juan", "Ana"):
        site.add(
            name=f"Class of {student}",
            group=student,
            rrule="FREQ=WEEKLY;BYDAY=TU,TH",
            until_time=None,
            every=None,
        )
    site.slots.generate(days=14)
    week = (MONDAY.replace(hour=0), MONDAY.replace(hour=0) + timedelta(days=7))
    stats = site.slots.stats(start=week[0], end=week[1])
    assert (stats.total.slots, sum(1 for group in stats.groups.values() if group.slots)) == (4, 2)
    assert stats.total.earliest == MONDAY.replace(day=6, hour=10)
    assert stats.total.latest == MONDAY.replace(day=8, hour=10)
