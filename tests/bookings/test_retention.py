"""Retention: what is old and was never booked goes, in batches; nothing that goes comes back."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, MONDAY, Clock, Site
from sqlalchemy import ForeignKey, event
from sqlalchemy.orm import Mapped, mapped_column

from flask_rollingslots.errors import InvalidRequest, UncommittedChanges

if TYPE_CHECKING:
    from pathlib import Path

FOUR_WEEKS = 4 * A_WEEK


@pytest.fixture
def old(site: Site) -> Site:
    """Four weeks of slots, of which now the first three are past; some were booked, cancelled, completed."""
    return fill(site)


def fill(site: Site) -> Site:
    """Let four weeks be generated and three weeks pass."""
    site.add(capacity=5)
    site.slots.generate(days=28)
    keys = [slot.key for slot in site.rows()[:6]]
    site.slots.book(keys[0], who="ada")
    site.slots.release(site.slots.book(keys[1], who="bob"))
    site.slots.hold(keys[2], who="eve")
    site.slots.cancel(keys[3])
    site.slots.materialize(keys[4]).status = "completed"
    site.slots.materialize(keys[5]).status = "deleted"
    site.session.commit()
    site.clock.turn(days=21)
    return site


def count(site: Site, model: str = "Slot") -> int:
    """Return the number of rows."""
    site.session.rollback()
    found = site.session.query(getattr(site.slots.models, model)).count()
    return int(found)


def test_unbooked_past_slots_go(old: Site) -> None:
    """Booked and completed slots stay; cancelled, deleted and once-booked ones go, with what is left of bookings."""
    foretold = old.slots.prune(14, dry_run=True)
    assert count(old) == FOUR_WEEKS
    report = old.slots.prune(14)
    # A week of eight slots a day, without the booked and the completed one.
    assert (report.slots, report.bookings, report.kept) == (A_WEEK - 2, 2, 2)
    assert (foretold.slots, foretold.bookings, foretold.kept) == (A_WEEK - 2, 2, 2)
    assert report.before == MONDAY + timedelta(days=7)
    assert count(old) == FOUR_WEEKS - A_WEEK + 2
    left = [slot for slot in old.rows() if slot.starts_at < report.before]
    assert [(slot.booked, slot.status) for slot in left] == [(1, "scheduled"), (0, "completed")]
    assert count(old, "Booking") == 1
    again = old.slots.prune(14)
    assert (again.slots, again.kept) == (0, 2)


def test_the_edge_is_the_end_of_the_slot(site: Site) -> None:
    """A slot goes in the moment after it is older than asked for, not before."""
    site.add()
    site.slots.generate(days=1)
    ends = site.rows()[0].ends_at
    site.clock.now = ends + timedelta(days=3)
    assert site.slots.prune(timedelta(days=3), dry_run=True).slots == 0
    assert site.slots.prune(ends, dry_run=True).slots == 0
    site.clock.turn(seconds=1)
    assert site.slots.prune(3).slots == 1


def test_booked_slots_go_when_asked(old: Site) -> None:
    """With ``include_booked`` nothing older is left, no booking either."""
    report = old.slots.prune(14, include_booked=True)
    assert (report.slots, report.bookings, report.kept) == (A_WEEK, 3, 0)
    assert count(old, "Booking") == 0


def test_the_archive_gets_every_batch_first(old: Site) -> None:
    """Each batch is handed over before it is deleted, as plain dicts by start, with its bookings."""
    batches: list[list[dict[str, Any]]] = []
    rows: list[int] = []

    def archive(batch: list[dict[str, Any]]) -> None:
        batches.append(batch)
        rows.append(count(old))

    old.slots.prune(14, archive=archive, batch=20)
    assert [len(batch) for batch in batches] == [20, 20, A_WEEK - 2 - 40]
    assert rows == [FOUR_WEEKS, FOUR_WEEKS - 20, FOUR_WEEKS - 40]
    everything = [slot for batch in batches for slot in batch]
    assert sorted(slot["starts_at"] for slot in everything) == [slot["starts_at"] for slot in everything]
    first = everything[0]
    assert (first["key"], first["bookings"][0]["who"]) == ("1@20260105T1100", "bob")
    assert first["starts_at"] == MONDAY.replace(hour=11)
    assert type(first) is dict
    json.dumps(everything, default=str)


def test_an_archive_that_fails_keeps_its_batch(old: Site) -> None:
    """What was archived is gone, what was not is there, and the error reaches the caller."""
    calls: list[int] = []

    def archive(batch: list[dict[str, Any]]) -> None:
        calls.append(len(batch))
        if len(calls) == 2:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        old.slots.prune(14, archive=archive, batch=20)
    assert count(old) == FOUR_WEEKS - 20
    assert old.slots.prune(14).slots == A_WEEK - 2 - 20  # the lease was given back


def test_a_slot_changed_since_the_archive_saw_it_stays(old: Site) -> None:
    """Completed while the archive works: the row is not deleted."""

    def archive(batch: list[dict[str, Any]]) -> None:
        with old.db.engine.begin() as connection:
            table = old.slots.Slot.__table__
            changed = table.update().where(table.c.id == batch[0]["id"]).values(status="completed")
            connection.execute(changed)

    report = old.slots.prune(14, archive=archive)
    assert (report.slots, report.kept) == (A_WEEK - 3, 3)


def test_pruned_slots_do_not_come_back(old: Site) -> None:
    """Neither as virtual slots, nor by a top-up; a backfill that would bring them back is refused."""
    report = old.slots.prune(14)
    past = (MONDAY - timedelta(days=7), report.before)
    assert len(old.slots.between(*past)) == 2
    old.slots.generate()
    assert count(old) >= FOUR_WEEKS - A_WEEK + 2
    assert len(old.slots.between(*past)) == 2
    for dry_run in (True, False):
        with pytest.raises(InvalidRequest, match="slots before it were pruned"):
            old.slots.generate(start=report.before.replace(day=11, hour=17), dry_run=dry_run)
    assert old.slots.generate(start=report.before.replace(day=11, hour=18)).created == 0
    assert len(old.slots.between(*past)) == 2


def test_backfill_is_free_where_nothing_was_pruned(site: Site) -> None:
    """As long as nothing was deleted, the past may be filled; a dry run deletes nothing."""
    site.add()
    site.slots.prune(14, dry_run=True)
    site.slots.prune(14)
    assert site.slots.generate(start=MONDAY - timedelta(days=3), end=MONDAY).created > 0


@pytest.mark.parametrize(
    "older_than",
    [-1, 36_601, True, 1.5, "90", None, timedelta(days=-1), datetime(2026, 1, 1), MONDAY + timedelta(days=1)],
)
def test_bad_ages_are_refused(sqlite_site: Site, older_than: Any) -> None:
    """An age is a span, days, or an aware moment that has passed."""
    with pytest.raises(InvalidRequest, match="older_than"):
        sqlite_site.slots.prune(older_than)


@pytest.mark.parametrize("options", [{"batch": 0}, {"batch": 10_001}, {"batch": True}, {"archive": "file"}])
def test_bad_options_are_refused(sqlite_site: Site, options: dict[str, Any]) -> None:
    """Batch and archive are checked by name."""
    with pytest.raises(InvalidRequest, match=next(iter(options))):
        sqlite_site.slots.prune(14, **options)


def test_runs_are_forgotten_too(old: Site) -> None:
    """Runs that began before go; a slot whose run is forgotten has none."""
    assert count(old, "Run") == 1
    assert old.rows()[0].run.status == "confirmed"
    old.slots.generate()
    assert old.slots.prune(14).runs == 1
    old.session.rollback()  # MariaDB would go on reading what this transaction saw first
    assert [run.started_at for run in old.slots.runs()] == [old.clock.now]
    assert old.rows()[0].run is None


def test_prune_keeps_out_of_the_app_transaction(sqlite_site: Site) -> None:
    """With uncommitted writes on SQLite it says so instead of waiting for itself."""
    fill(sqlite_site)
    sqlite_site.slots.book("1@20260128T1000")
    with pytest.raises(UncommittedChanges):
        sqlite_site.slots.prune(14)
    sqlite_site.session.rollback()
    assert sqlite_site.slots.prune(14).slots == A_WEEK - 2


def test_a_shared_connection_is_joined(tmp_path: Path) -> None:
    """In memory, as in test suites, pruning is part of the app's transaction."""
    site = Site("sqlite:///:memory:", tmp_path)
    with site.app.app_context():
        fill(site)
        assert site.slots.prune(14).slots == A_WEEK - 2
        with pytest.raises(InvalidRequest, match="pruned"):
            site.slots.generate(start=MONDAY)
        site.session.rollback()
        assert site.session.query(site.slots.Slot).count() == FOUR_WEEKS


def test_rows_that_the_app_points_to_stay(database_url: str, tmp_path: Path) -> None:
    """A slot with an invoice of the app's own cannot go; all the others of its batch do."""
    site = Site(database_url, tmp_path, own_models=True)

    class Invoice(site.db.Model):  # type: ignore[name-defined, misc]
        """A row of the app's own that points to a slot."""

        id: Mapped[int] = mapped_column(primary_key=True)
        slot_id: Mapped[int] = mapped_column(
            site.slots.Slot.__table__.c.id.type, ForeignKey("rolling_slot.id")
        )

    with site.app.app_context():
        if database_url.startswith("sqlite"):
            event.listen(site.db.engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON"))
            site.db.engine.dispose()
        site.db.create_all()
        fill(site)
        site.session.add_all(Invoice(slot_id=slot.id) for slot in (site.rows()[10], site.rows()[33]))
        site.session.commit()
        report = site.slots.prune(14)
        assert (report.slots, report.kept) == (A_WEEK - 4, 4)


# --- in the lazy loop --------------------------------------------------------------------------------------------


def aged(sqlite_url: str, tmp_path: Path, **config: Any) -> Site:
    """Return a site with four weeks of slots, three of them past, whose visitors do the work."""
    site = Site(
        sqlite_url, tmp_path, Clock(), ROLLINGSLOTS_ENABLED=True, ROLLINGSLOTS_EXECUTOR="thread", **config
    )
    with site.app.app_context():
        fill(site)
        site.settle()
    return site


def visit(site: Site) -> None:
    """Make one request, an interval later, and let its top-up end."""
    site.clock.turn(hours=1)
    site.topup.memory.next_check = 0.0
    site.app.test_client().get("/")
    site.settle()


def test_visitors_prune(sqlite_url: str, tmp_path: Path) -> None:
    """With RETENTION_DAYS set, a top-up deletes what is older, and hands it to the app's archive first."""
    archived: list[str] = []
    site = aged(sqlite_url, tmp_path, ROLLINGSLOTS_RETENTION_DAYS=14)
    site.topup.runner.archive = lambda batch: archived.extend(slot["key"] for slot in batch)
    visit(site)
    with site.app.app_context():
        gone = [slot for slot in site.rows() if slot.ends_at < site.clock.now - timedelta(days=14)]
        assert [slot.booked or slot.status for slot in gone] == [1, "completed"]
        assert len(archived) == A_WEEK - 2
        assert site.slots.health().status == "ok"


def test_without_the_setting_nothing_goes(sqlite_url: str, tmp_path: Path) -> None:
    """Slots stay for ever by default; only the log of runs is bounded, to 90 days."""
    site = aged(sqlite_url, tmp_path)
    visit(site)
    with site.app.app_context():
        rows, runs = len(site.rows()), count(site, "Run")
        assert rows > FOUR_WEEKS - A_WEEK
    site.clock.turn(days=100)
    visit(site)
    with site.app.app_context():
        assert len(site.rows()) > rows
        assert runs >= 1
        assert {run.started_at for run in site.slots.runs()} == {site.clock.now}


def test_a_top_up_prunes_a_bounded_share(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A top-up deletes a few batches at most; the following ones go on."""
    monkeypatch.setattr("flask_rollingslots.topup.pruning._BATCH", 10)
    site = aged(sqlite_url, tmp_path, ROLLINGSLOTS_RETENTION_DAYS=14)
    with site.app.app_context():
        past = site.slots.prune(14, dry_run=True).slots
        visit(site)
        assert site.slots.prune(site.clock.now - timedelta(days=14), dry_run=True).slots == past - 30
        visit(site)
        visit(site)
        assert site.slots.prune(14, dry_run=True).slots == 0


def test_an_archive_that_fails_does_not_fail_the_top_up(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The window is filled and confirmed; the old slots stay, and the log says why."""
    site = aged(sqlite_url, tmp_path, ROLLINGSLOTS_RETENTION_DAYS=14)

    def fail(batch: list[dict[str, Any]]) -> None:
        raise OSError("disk full")

    site.topup.runner.archive = fail
    with caplog.at_level(logging.WARNING, "flask_rollingslots"):
        visit(site)
    assert "nothing more was pruned: OSError: disk full" in caplog.text
    with site.app.app_context():
        assert site.slots.prune(14, dry_run=True).slots == A_WEEK - 2
        assert site.slots.health().status == "ok"


def test_the_command(sqlite_site: Site) -> None:
    """``flask slots prune`` says what it did, or would do, also as JSON; bad ages end with exit code 2."""
    site = fill(sqlite_site)
    runner = site.app.test_cli_runner()
    dry = runner.invoke(args=["slots", "prune", "--older-than", "14", "--dry-run"])
    assert dry.output.startswith(
        f"{A_WEEK - 2} slots, 2 bookings and 1 runs from before 2026-01-12 08:00 UTC would"
    )
    done = runner.invoke(args=["slots", "prune", "--older-than", "14", "--include-booked", "--json"])
    report = json.loads(done.output)
    assert (report["slots"], report["bookings"], report["kept"]) == (A_WEEK, 3, 0)
    assert runner.invoke(args=["slots", "prune", "--older-than", "-3"]).exit_code == 2
    assert runner.invoke(args=["slots", "prune"]).exit_code == 2
