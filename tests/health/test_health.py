"""Health is coverage: what is promised, what is stored, what is missing and since when."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, MONDAY, Site
from sqlalchemy import text

from flask_rollingslots.context import load_stored

if TYPE_CHECKING:
    from pathlib import Path


def test_quiet_nights_are_due_not_missing(site: Site) -> None:
    """A day that entered the window without a visitor is due: the next visitor starts it, no alarm rings."""
    site.add()
    assert site.slots.health().status == "due"
    site.slots.generate()
    assert site.slots.health().status == "ok"
    site.clock.turn(days=2)
    report = site.slots.health()
    assert (report.status, report.due, report.missing) == ("due", 16, 0)


def test_a_lost_row_is_missing(site: Site) -> None:
    """A row that was there and is gone is missing, and the template is named with its numbers."""
    site.add(name="Good")
    site.add(name="Hurt")
    site.slots.generate()
    site.session.delete(site.rows()[-5])
    site.session.commit()
    report = site.slots.health()
    assert (report.status, report.promised, report.stored, report.missing) == (
        "missing",
        2 * A_WEEK,
        2 * A_WEEK - 1,
        1,
    )
    assert [(c.name, c.missing) for c in report.templates] == [("Good", 0), ("Hurt", 1)]


def test_the_horizon_ends_at_the_first_hole(site: Site) -> None:
    """The horizon is the end of the window, or the start of the first slot that is not stored."""
    site.add()
    site.slots.generate()
    assert site.slots.health().horizon == datetime(2026, 1, 12, tzinfo=UTC)
    hole = site.rows()[20]
    site.session.delete(hole)
    site.session.commit()
    assert site.slots.health().horizon == datetime(2026, 1, 7, 14, tzinfo=UTC)


def test_decisions_are_no_holes(site: Site) -> None:
    """Cancelled slots, blackouts and started slots are not missing; the reasons are counted."""
    site.add(blackouts=[(date(2026, 1, 8), date(2026, 1, 8))])
    site.clock.turn(hours=4, minutes=30)
    site.slots.generate()
    site.slots.cancel("1@20260107T1000")
    site.session.commit()
    report = site.slots.health()
    assert (report.status, report.promised) == ("ok", A_WEEK - 8 - 3)
    assert report.templates[0].skipped == {"blackout": 8, "cancelled": 1, "in_the_past": 3}


def test_age_lease_and_failures(site: Site) -> None:
    """The age of the last confirmed run, who holds the lease, and what failed are told."""
    site.add()
    site.slots.generate()
    site.clock.turn(minutes=10)
    report = site.slots.health()
    assert (report.confirmed_at, report.confirmed_age, report.lease_owner) == (MONDAY, 600.0, None)
    runner = site.topup.runner
    lease = runner.acquire()
    report = site.slots.health()
    assert report.lease_owner == runner.owner
    assert report.lease_until == site.clock.now + timedelta(seconds=30)
    assert lease is not None
    runner.give_back(lease, ValueError("boom"))
    report = site.slots.health()
    assert (report.failures, report.last_error, report.lease_owner) == (1, "ValueError: boom", None)
    assert report.next_try is not None
    assert report.next_try > site.clock.now


def test_a_broken_rule_is_missing_and_named(site: Site) -> None:
    """A template whose rule cannot be read makes health missing and says why; the others are counted."""
    site.add(name="Good")
    site.add(name="Bad")
    site.slots.generate()
    table = site.slots.Template.__table__
    site.session.execute(table.update().where(table.c.id == 2).values(rrule="FREQ=NEVER"))
    site.session.commit()
    report = site.slots.health()
    assert report.status == "missing"
    assert "InvalidRule" in (report.templates[1].error or "")
    assert report.templates[0].stored == A_WEEK


def test_the_report_is_plain_data(site: Site) -> None:
    """``to_dict`` gives what JSON can hold."""
    site.add()
    site.slots.generate()
    plain = json.loads(json.dumps(site.slots.health().to_dict()))
    assert plain["status"] == "ok"
    assert plain["templates"][0]["horizon"].startswith("2026-01-12")


@pytest.mark.parametrize("fill", [{}, {"days": 14}, {"template": 1}])
def test_whatever_filled_it_a_lost_row_is_missing(site: Site, fill: dict[str, int]) -> None:
    """A lost row is missing whether the window was filled as a whole, further ahead, or for the template alone."""
    site.add()
    site.slots.generate(**fill)  # type: ignore[arg-type]
    assert site.slots.health().status == "ok"
    site.session.delete(site.rows()[10])
    site.session.commit()
    assert site.slots.health().status == "missing"


def test_rows_are_read_only_of_templates_that_differ(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole weeks and weeks that lack their end are told without reading their rows; each has its own numbers."""
    for name in ("Whole", "Ends early", "Hole", "Empty"):
        site.add(name=name)
    site.slots.generate()
    for row in site.rows():
        if (
            row.template_id == 4
            or (row.template_id == 2 and row.starts_at.day > 9)
            or (row.template_id == 3 and row.starts_at.day == 7)
        ):
            site.session.delete(row)
    site.session.commit()
    read: list[int] = []
    monkeypatch.setattr("flask_rollingslots.health.coverage._FEW", 0)

    def spy(work: Any, units: list[Any]) -> Any:
        read.extend(spec.id for spec, _ in units)
        return load_stored(work, units)

    monkeypatch.setattr("flask_rollingslots.filling.screening.load_stored", spy)
    found = [(c.id, c.promised, c.stored, c.missing, c.due) for c in site.slots.health().templates]
    assert found == [
        (1, A_WEEK, A_WEEK, 0, 0),
        (2, A_WEEK, A_WEEK - 16, 16, 0),
        (3, A_WEEK, A_WEEK - 8, 8, 0),
        (4, A_WEEK, 0, A_WEEK, 0),
    ]
    assert read == [3]


REFUSING = "CREATE TRIGGER full BEFORE INSERT ON rolling_slot BEGIN SELECT RAISE(ABORT, 'no more'); END"


def visit(site: Site) -> None:
    """Let somebody come by, and the top-up that this starts end."""
    site.topup.memory.next_check = 0
    site.app.test_client().get("/").close()
    site.settle()


def test_days_that_failed_while_people_came_are_missing(sqlite_url: str, tmp_path: Path) -> None:
    """What every visitor's top-up failed to store is missing, not due, and status says so with its exit code."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True)
    with site.app.app_context():
        site.add()
        site.settle()
        visit(site)
        assert site.slots.health().status == "ok"
        site.session.execute(text(REFUSING))
        site.session.commit()
    site.clock.turn(days=2)
    visit(site)
    with site.app.app_context():
        report = site.slots.health()
        assert (report.status, report.missing, report.due) == ("missing", 16, 0)
        assert site.app.test_cli_runner().invoke(args=["slots", "status"]).exit_code == 1
        site.clock.turn(days=3)
        report = site.slots.health()
        assert (report.status, report.missing, report.due) == ("missing", 16, 24)  # nobody came since
        site.session.execute(text("DROP TRIGGER full"))
        site.session.commit()
    visit(site)
    with site.app.app_context():
        assert site.slots.health().status == "ok"


def test_a_first_fill_that_fails_is_missing(sqlite_url: str, tmp_path: Path) -> None:
    """Slots that were never stored, although visitors came, are missing."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True)
    with site.app.app_context():
        site.session.execute(text(REFUSING))
        site.session.commit()
        site.add()
        site.settle()
    visit(site)
    with site.app.app_context():
        report = site.slots.health()
        assert (report.status, report.missing) == ("missing", A_WEEK)


def test_a_new_template_is_due_until_somebody_comes(site: Site) -> None:
    """A template that was added after the last look is due, and missing once it was filled and lost its slots."""
    site.add()
    site.slots.generate()
    site.add(name="New")
    report = site.slots.health()
    assert (report.status, report.due, report.missing) == ("due", A_WEEK, 0)
    site.slots.generate()
    for row in site.rows()[-5:]:
        site.session.delete(row)
    site.session.commit()
    assert site.slots.health().status == "missing"


@pytest.mark.parametrize(
    ("column", "value"),
    [("exdates", '["2026-99-99"]'), ("blackouts", "{oops"), ("dtstart", "garbage"), ("data", "{oops")],
)
def test_a_template_that_cannot_be_read_stops_no_other(
    sqlite_url: str, tmp_path: Path, column: str, value: str
) -> None:
    """What somebody wrote by hand into one template is reported with its name; all others are filled."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True)
    with site.app.app_context():
        for name in ("First", "Bad", "Last"):
            site.add(name=name)
        site.settle()
        before = site.session.execute(text(f"SELECT {column} FROM rolling_template WHERE id = 2")).scalar()  # noqa: S608
        hurt = text(f"UPDATE rolling_template SET {column} = :value, revision = revision + 1 WHERE id = 2")  # noqa: S608
        site.session.execute(hurt, {"value": value})
        site.session.commit()
    site.clock.turn(days=1)
    visit(site)
    with site.app.app_context():
        found = {c.name: c for c in site.slots.health().templates}
        assert [found[name].stored for name in ("First", "Last")] == [A_WEEK, A_WEEK]
        assert found["Bad"].error
        assert site.slots.health().status == "missing"
        report = site.slots.generate()
        assert [tally.name for tally in report.templates.values() if tally.error] == ["Bad"]
        site.session.execute(hurt, {"value": before})
        site.session.commit()
        report = site.slots.generate()
        assert [tally.error for tally in report.templates.values() if tally.error] == []
        assert site.slots.health().status == "ok"
