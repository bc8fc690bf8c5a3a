"""Templates that keep their history: what was promised while nobody came has a row too, by the rule of its time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, Clock, Site
from marks import DATABASES, quick_databases, quick_on

from flask_rollingslots.errors import StatusConflict
from flask_rollingslots.filling import history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: A lesson each Monday at 18:00.
LESSON: dict[str, Any] = {
    "name": "Lesson",
    "rrule": "FREQ=WEEKLY;BYDAY=MO",
    "dtstart": datetime(2026, 1, 5, 18),
    "every": None,
    "until_time": None,
    "keep_history": True,
}
DAILY = {"rrule": "FREQ=DAILY"}
TOKEN = "t" * 40
database_url = quick_databases("sqlite")


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site on each database, inside its app context."""
    site = Site(database_url, tmp_path, ROLLINGSLOTS_API_PREFIX="/slots/api", ROLLINGSLOTS_API_TOKEN=TOKEN)
    with site.app.app_context():
        yield site


def days(site: Site) -> list[date]:
    """Return the days that have a row."""
    site.session.rollback()
    return [row.original_start.date() for row in site.rows()]


def the_days(first: date, last: date) -> list[date]:
    """Return all days from the first to the last."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


@quick_on(*DATABASES)
def test_a_lesson_that_was_held_has_a_row(database_url: str, tmp_path: Path) -> None:
    """Nobody came between 20 March and 1 April: Monday the 30th is due until somebody comes, and then has its row."""
    clock = Clock(datetime(2026, 3, 20, 9, tzinfo=UTC))
    site = Site(database_url, tmp_path, clock, ROLLINGSLOTS_ALIGN="week")
    with site.app.app_context():
        site.add(**LESSON)
        site.slots.generate()
        assert days(site) == [date(2026, 3, 23)]
        assert site.slots.health().status == "ok"
        clock.now = datetime(2026, 4, 1, 9, tzinfo=UTC)
        health = site.slots.health()
        assert (health.status, health.due, health.missing) == ("due", 2, 0)
        assert health.horizon == datetime(2026, 3, 30, 18, tzinfo=UTC)
        assert site.slots.generate(dry_run=True).created == 2
        assert site.slots.generate().created == 2
        assert days(site) == [date(2026, 3, 23), date(2026, 3, 30), date(2026, 4, 6)]
        assert site.slots.health().status == "ok"
        assert site.slots.generate().created == 0


def test_without_it_the_past_stays_empty(site: Site) -> None:
    """A template that keeps no history gets no past slots, and health asks for none."""
    site.add(**{**LESSON, "keep_history": False})
    site.slots.generate()
    site.clock.turn(days=30)
    site.slots.generate()
    assert days(site) == [date(2026, 1, 5), date(2026, 2, 9)]
    assert site.slots.health().status == "ok"


def test_history_begins_with_the_template(site: Site) -> None:
    """What the rule has before the template was made is no history; what began since then is, also that very moment."""
    site.clock.now = datetime(2026, 1, 14, 18, tzinfo=UTC)
    template = site.add(**LESSON | DAILY)
    assert template.history_until == site.clock.now
    site.clock.turn(days=2, hours=1)
    site.slots.generate()
    assert days(site) == the_days(date(2026, 1, 14), date(2026, 1, 22))
    site.session.refresh(template)
    assert template.history_until == datetime(2026, 1, 23, tzinfo=UTC)


def test_history_begins_when_it_is_switched_on(site: Site) -> None:
    """Switched on later, it begins then, and where only the database was told, with the next top-up."""
    template = site.add(**{**LESSON, **DAILY, "keep_history": False})
    other = site.add(**{**LESSON, **DAILY, "keep_history": False, "name": "Other"})
    site.clock.turn(days=20)
    site.slots.change_template(template, keep_history=True)
    site.session.commit()
    assert template.history_until == site.clock.now
    site.session.execute(site.db.text("UPDATE rolling_template SET keep_history = true WHERE id = 2"))
    site.session.commit()
    site.slots.generate()
    site.clock.turn(days=20)
    site.slots.generate()
    first = date(2026, 1, 25)
    assert days(site) == the_days(first, date(2026, 2, 20)) * 2
    site.slots.change_template(other, keep_history=False)
    site.session.commit()
    assert other.history_until is None


def test_a_long_sleep_is_filled_in_spans(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year in which nobody came: planned a month at a time, each slot once, and then nothing is left to do."""
    site.add(**LESSON | DAILY)
    site.clock.turn(days=365)
    lengths: list[timedelta] = []
    plain = history.spans

    def noted(window: Any) -> list[Any]:
        found = list(plain(window))
        lengths.extend(span.end - span.start for span in found)
        return found

    monkeypatch.setattr(history, "spans", noted)
    report = site.slots.generate()
    assert max(lengths) <= timedelta(days=31) < sum(lengths, timedelta())
    assert report.created == 365 + 7
    assert days(site) == the_days(date(2026, 1, 5), date(2027, 1, 11))
    assert site.slots.generate().created == 0


def test_what_was_pruned_stays_away(site: Site) -> None:
    """Pruned slots are history that somebody let go: no top-up makes them again, and health does not miss them."""
    site.add(**LESSON | DAILY)
    site.slots.generate()
    site.clock.turn(days=20)
    site.slots.prune(timedelta(days=10))
    site.slots.generate()
    assert days(site) == the_days(date(2026, 1, 12), date(2026, 1, 31))
    assert site.slots.health().status == "ok"


def test_an_explicit_start_leaves_the_history_alone(site: Site) -> None:
    """Who says where to begin gets just that, and the history is still to be done."""
    site.add(**LESSON | DAILY)
    site.clock.turn(days=20)
    site.slots.generate(start=site.clock.now)
    assert days(site)[0] == date(2026, 1, 25)
    site.slots.generate()
    assert days(site)[0] == date(2026, 1, 5)


def test_decisions_of_the_past_hold(site: Site) -> None:
    """Deleted, cancelled and moved slots of the past are rows: nothing is made beside them."""
    site.add(**LESSON | DAILY)
    site.slots.generate()
    site.slots.delete("1@20260106T1800")
    site.slots.cancel("1@20260107T1800")
    site.slots.edit("1@20260108T1800", "this", start=datetime(2026, 1, 8, 20))
    site.session.commit()
    site.clock.turn(days=10)
    site.slots.generate()
    assert days(site) == the_days(date(2026, 1, 5), date(2026, 1, 21))
    assert [row.status for row in site.rows()[1:3]] == ["deleted", "cancelled"]
    assert site.slots.health().status == "ok"


# -- the rule of its time


def facade(site: Site, template: Any) -> None:
    """Move it to 20:00 with six places."""
    site.slots.edit("1@20260126T1800", "all", start=datetime(2026, 1, 26, 20), capacity=6)


def change(site: Site, template: Any) -> None:
    """Close Mondays, which later is no history any more."""
    site.slots.change_template(template, exdates=[date(2026, 1, day) for day in range(5, 32)], capacity=6)


def orm(site: Site, template: Any) -> None:
    """Change attributes, one of them not loaded."""
    site.session.expire(template)
    template.until_time = None
    template.rrule = "FREQ=DAILY;BYDAY=SU"
    template.capacity = 6
    site.session.flush()


def cut(site: Site, template: Any) -> None:
    """Other places from tomorrow on."""
    site.slots.edit("1@20260126T1800", "this_and_future", capacity=6)


def cut_in_the_past(site: Site, template: Any) -> None:
    """Other places from a slot on that is over."""
    site.slots.edit("1@20260120T1800", "this_and_future", capacity=6)


def patch(site: Site, template: Any) -> None:
    """Over HTTP, by somebody else."""
    answer = site.app.test_client().patch(
        "/slots/api/templates/1", json={"capacity": 6}, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert answer.status_code == 200, answer.get_json()
    site.session.rollback()  # on MariaDB a transaction goes on with what it saw
    site.session.refresh(template)


def off(site: Site, template: Any) -> None:
    """Switch it off."""
    site.slots.deactivate(template)


def ended(site: Site, template: Any) -> None:
    """End the series."""
    site.slots.delete_series(template)


@pytest.mark.parametrize("decide", [facade, change, orm, patch, cut, cut_in_the_past, off, ended])
def test_a_change_first_fills_by_the_old_rule(site: Site, decide: Callable[[Site, Any], None]) -> None:
    """Nobody came for 20 days, then the rule changes: what was promised until then is made as it was promised."""
    template = site.add(**LESSON | DAILY, capacity=4)
    site.slots.generate()
    site.clock.turn(days=20)
    decide(site, template)
    assert template.history_until == site.clock.now
    site.session.commit()
    past = [row for row in site.rows() if row.starts_at < site.clock.now]
    assert [row.original_start.date() for row in past] == the_days(date(2026, 1, 5), date(2026, 1, 24))
    assert {(row.starts_at.hour, row.capacity) for row in past} == {(18, 4)}
    site.slots.generate()
    site.session.rollback()
    assert site.slots.health().status == "ok"
    after = [row for row in site.rows() if row.starts_at < site.clock.now]
    assert [row.id for row in after] == [row.id for row in past]


def test_it_is_one_transaction_with_the_change(site: Site) -> None:
    """A change that is taken back leaves nothing of it."""
    template = site.add(**LESSON | DAILY)
    site.clock.turn(days=20)
    template.capacity = 3
    site.session.flush()
    assert len(site.rows()) == 20
    site.session.rollback()
    assert (days(site), template.history_until) == ([], template.created_at)


def test_a_second_change_fills_by_the_first(site: Site) -> None:
    """Two changes with no top-up in between: each time has its own rule."""
    template = site.add(**LESSON | DAILY)
    site.clock.turn(days=3)
    template.rrule = "FREQ=WEEKLY;BYDAY=SA,SU"
    site.session.commit()
    site.clock.turn(days=7)
    template.rrule = "FREQ=DAILY"
    site.session.commit()
    site.clock.turn(days=1)
    site.slots.generate()
    expected = [*the_days(date(2026, 1, 5), date(2026, 1, 7)), date(2026, 1, 10), date(2026, 1, 11)]
    assert days(site) == expected + the_days(date(2026, 1, 15), date(2026, 1, 22))


def test_what_is_no_decision_fills_nothing(site: Site) -> None:
    """A row that is only touched keeps its history where it was."""
    template = site.add(**LESSON | DAILY)
    site.clock.turn(days=20)
    template.settled_revision = 7
    site.session.commit()
    assert (days(site), template.history_until) == ([], template.created_at)


def test_too_much_for_one_change(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A past that is too large for one transaction is refused with the command that fills it, and then it works."""
    monkeypatch.setattr(history, "MOST_AT_ONCE", 100)
    template = site.add(keep_history=True)
    site.clock.turn(days=20)
    template.capacity = 3
    with pytest.raises(StatusConflict, match="flask slots generate --template 1"):
        site.session.commit()
    site.session.rollback()
    assert days(site) == []
    assert site.slots.generate(template=template).created == 20 * 8 + A_WEEK
    template.capacity = 3
    site.session.commit()


def test_a_broken_template_can_be_repaired(site: Site) -> None:
    """Where the old rule cannot be told, the past stays as it is, and the change is the repair."""
    template = site.add(**LESSON | DAILY)
    site.session.execute(site.db.text("UPDATE rolling_template SET timezone = 'Atlantis/Poseidonis'"))
    site.session.commit()
    site.clock.turn(days=20)
    template.timezone = "UTC"
    site.session.commit()
    assert (days(site), template.history_until) == ([], site.clock.now)
    assert site.slots.generate().created == 7


# -- what is lost


def test_lost_rows_of_the_past_are_missed_and_made_again(site: Site) -> None:
    """A past row that is lost, of the last five weeks, is missing in health, and the next top-up makes it again."""
    site.add(**LESSON | DAILY)
    site.slots.generate()
    site.clock.turn(days=5)
    site.session.execute(site.db.text("DELETE FROM rolling_slot WHERE id IN (2, 3)"))
    site.session.commit()
    health = site.slots.health()
    assert (health.status, health.missing, health.due) == ("missing", 2, 5)
    assert health.horizon == datetime(2026, 1, 6, 18, tzinfo=UTC)
    result = site.app.test_cli_runner().invoke(args=["slots", "status"])
    assert (result.exit_code, "2 missing, 5 due  Lesson" in result.output) == (1, True)
    site.slots.generate()
    assert days(site) == the_days(date(2026, 1, 5), date(2026, 1, 16))


def test_health_asks_the_rule_of_the_time(site: Site) -> None:
    """After a change of the rule health does not miss what the new rule would have had before."""
    template = site.add(**LESSON)
    site.slots.generate()
    site.clock.turn(days=10)
    template.rrule = "FREQ=DAILY"
    site.session.commit()
    site.slots.generate()
    assert site.slots.health().status == "ok"
    assert days(site) == [
        date(2026, 1, 5),
        date(2026, 1, 12),
        *the_days(date(2026, 1, 15), date(2026, 1, 21)),
    ]


def test_others_cost_one_statement_not_more(site: Site) -> None:
    """Where no template keeps its history, a top-up asks the database nothing about it."""
    site.add()
    site.slots.generate()
    asked: list[str] = []
    site.db.event.listen(site.db.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    site.slots.generate()
    assert not [text for text in asked if "created_at" in text and "changed_at" in text]
