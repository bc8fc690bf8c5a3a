"""Retention: what is old and was never booked goes, in batches; nothing that goes comes back."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, MONDAY, Clock, Site
from marks import quick_on
from sqlalchemy import ForeignKey, event
from sqlalchemy.orm import Mapped, mapped_column

from flask_rollingslots.errors import InvalidRequest, UncommittedChanges

if TYPE_CHECKING:
    from pathlib import Path

FOUR_WEEKS = 4 * A_WEEK
#: What goes, what an archive must have before, and what becomes of runs is proven on each database.
ONE_SERVER = quick_on("sqlite", "postgresql")


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


@ONE_SERVER
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


@ONE_SERVER
def test_booked_slots_go_when_asked(old: Site) -> None:
    """With ``include_booked`` nothing older is left, no booking either."""
    report = old.slots.prune(14, include_booked=True)
    assert (report.slots, report.bookings, report.kept) == (A_WEEK, 3, 0)
    assert count(old, "Booking") == 0


@ONE_SERVER
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


@ONE_SERVER
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


@ONE_SERVER
def test_a_slot_changed_since_the_archive_saw_it_stays(old: Site) -> None:
    """Completed while the archive works: the row is not deleted."""

    def archive(batch: list[dict[str, Any]]) -> None:
        with old.db.engine.begin() as connection:
            table = old.slots.Slot.__table__
            changed = table.update().where(table.c.id == batch[0]["id"]).values(status="completed")
            connection.execute(changed)

    report = old.slots.prune(14, archive=archive)
    assert (report.slots, report.kept) == (A_WEEK - 3, 3)


def test_only_what_the_archive_has_is_deleted(site: Site) -> None:
    """A slot whose booking changes while the archive works stays, and is handed over again another time."""
    archives_what_it_deletes(site, "booking")


@pytest.mark.parametrize("change", ["data", "status", "none"])
def test_a_slot_that_is_not_as_it_was_archived_stays(sqlite_site: Site, change: str) -> None:
    """Whatever changed of the slot itself: the archived copy would be a stale one."""
    archives_what_it_deletes(sqlite_site, change)


def archives_what_it_deletes(site: Site, change: str) -> None:
    """Prune twice; while the first archive works, somebody changes a slot."""
    fill(site)
    slots, bookings = site.slots.Slot.__table__, site.slots.Booking.__table__
    batches: list[list[dict[str, Any]]] = []

    def archive(batch: list[dict[str, Any]]) -> None:
        batches.append([dict(slot) for slot in batch])
        slot_id = batch[0]["id"]  # the one with a released booking
        assert batch[0]["bookings"][0]["status"] == "released"
        of_slot = slots.update().where(slots.c.id == slot_id)
        statement = {
            "data": of_slot.values(data={"note": "late"}),
            "status": of_slot.values(status="cancelled", cancel_reason="Rain"),
            "booking": bookings.update().where(bookings.c.slot_id == slot_id).values(who="bea"),
            "none": None,
        }[change]
        if statement is not None and len(batches) == 1:
            with site.db.engine.begin() as connection:
                connection.execute(statement)
        for slot in batch:
            slot.clear()  # what an archive does with its copies is its own affair

    stays = change != "none"
    report = site.slots.prune(14, archive=archive)
    assert (report.slots, report.kept, len(batches)) == (A_WEEK - 2 - stays, 2 + stays, 1)
    again = site.slots.prune(14, archive=archive)
    assert (again.slots, again.kept) == (stays, 2)
    assert [slot["key"] for batch in batches[1:] for slot in batch] == ["1@20260105T1100"] * stays
    if stays:
        last = batches[1][0]
        assert {
            "data": last["data"] == {"note": "late"},
            "status": (last["status"], last["cancel_reason"]) == ("cancelled", "Rain"),
            "booking": last["bookings"][0]["who"] == "bea",
        }[change]


@ONE_SERVER
def test_pruned_slots_do_not_come_back(old: Site) -> None:
    """Neither as virtual slots, nor by a top-up; a backfill that would bring them back is refused."""
    report = old.slots.prune(14)
    past = (MONDAY - timedelta(days=7), report.before)
    assert len(old.slots.between(*past)) == 2
    left = FOUR_WEEKS - A_WEEK + 2
    assert count(old) == left
    # Three of the four weeks are over: the window of a week is stored already, whatever was pruned behind it.
    assert old.slots.generate().created == 0
    assert count(old) == left
    assert len(old.slots.between(*past)) == 2
    for dry_run in (True, False):
        with pytest.raises(InvalidRequest, match="slots before it were pruned"):
            old.slots.generate(start=report.before.replace(day=11, hour=17), dry_run=dry_run)
    assert old.slots.generate(start=report.before.replace(day=11, hour=18)).created == 0
    assert len(old.slots.between(*past)) == 2


WEEKLY: dict[str, Any] = {
    "rrule": "FREQ=WEEKLY",
    "dtstart": datetime(2026, 1, 5, 10),
    "every": None,
    "until_time": None,
}
JAN_26 = "1@20260126T1000"


def states(site: Site, key: str) -> list[tuple[datetime, str]]:
    """Return where a slot is shown from two weeks ago on, and what it is there."""
    site.session.rollback()
    slots = site.slots.between(site.clock.now - timedelta(days=14), site.clock.now + timedelta(days=60))
    return [(slot.starts_at, slot.state) for slot in slots if slot.key == key]


@ONE_SERVER
def test_a_slot_that_was_moved_to_an_earlier_day_stays_until_its_own_day_is_over(site: Site) -> None:
    """Nothing else says that its own time is not for sale; once that is over too, it goes and stays away."""
    stays_until_its_own_day_is_over(site, "edit")


@pytest.mark.parametrize("decision", ["cancel", "delete"])
def test_a_moved_slot_stays_whatever_was_decided_about_it_then(sqlite_site: Site, decision: str) -> None:
    """Cancelled or deleted after it was moved: its own time does not come back either."""
    stays_until_its_own_day_is_over(sqlite_site, decision)


def stays_until_its_own_day_is_over(site: Site, decision: str) -> None:
    """Move the slot of Jan 26 to Jan 7, and prune before and after Jan 26."""
    site.add(**WEEKLY)
    site.slots.generate(days=40)
    site.slots.edit(JAN_26, "this", start=datetime(2026, 1, 7, 15))
    if decision != "edit":
        getattr(site.slots, decision)(JAN_26)
    site.session.commit()
    site.clock.turn(days=12)
    before = states(site, JAN_26)
    report = site.slots.prune(7)
    assert (report.slots, report.kept) == (1, 1)
    assert states(site, JAN_26) == before
    assert site.slots.generate(days=14).created == 0
    site.session.rollback()
    assert len(site.rows()) == 5
    site.clock.now = datetime(2026, 1, 26, 11, tzinfo=UTC) - timedelta(seconds=1)
    assert site.slots.prune(7).slots == 1  # that of Jan 12
    site.clock.turn(seconds=1)
    assert site.slots.prune(7).slots == 1
    assert states(site, JAN_26) == []


def test_a_top_up_leaves_a_slot_that_was_moved_to_an_earlier_day(sqlite_url: str, tmp_path: Path) -> None:
    """With RETENTION_DAYS the same holds as for a person who prunes."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_RETENTION_DAYS=7)
    with site.app.app_context():
        site.add(**WEEKLY)
        site.slots.generate(days=40)
        site.slots.edit(JAN_26, "this", start=datetime(2026, 1, 7, 15))
        site.session.commit()
        site.clock.turn(days=12)
        before = states(site, JAN_26)
        for _ in range(2):
            site.slots.generate(days=14)
            assert states(site, JAN_26) == before
        assert "1@20260105T1000" not in {slot.key for slot in site.rows()}  # it did prune


@pytest.mark.parametrize(("zone", "ahead"), [("Pacific/Kiritimati", 14), ("Pacific/Pago_Pago", -11)])
def test_a_moved_slot_is_over_by_the_clock_of_its_zone(sqlite_site: Site, zone: str, ahead: int) -> None:
    """Its own time is a wall-clock time: the earliest and the latest zone of the world differ by a day."""
    site = sqlite_site
    site.add(timezone=zone, **WEEKLY)
    site.slots.generate(days=40)
    site.slots.edit(JAN_26, "this", start=datetime(2026, 1, 8, 15))
    site.session.commit()
    site.clock.now = datetime(2026, 1, 26, 11, tzinfo=UTC) - timedelta(hours=ahead, seconds=1)
    site.slots.prune(7)
    assert JAN_26 in {slot.key for slot in site.rows()}
    site.clock.turn(seconds=1)
    assert site.slots.prune(7).slots == 1


def test_a_moved_slot_in_the_hour_that_the_clocks_leave_out_is_not_over_too_early(sqlite_site: Site) -> None:
    """A start that does not exist is shown an hour later; the end is where the clocks have it."""
    site = sqlite_site
    site.clock.now = datetime(2026, 3, 1, 8, tzinfo=UTC)
    first, length = datetime(2026, 3, 1, 2, 30), timedelta(hours=2)
    site.add(timezone="Europe/Madrid", **{**WEEKLY, "dtstart": first, "duration": length})
    site.slots.generate(days=40)
    key = "1@20260329T0230"
    site.slots.edit(key, "this", start=datetime(2026, 3, 3, 15))
    site.session.commit()
    site.clock.now = datetime(2026, 3, 29, 2, 29, 59, tzinfo=UTC)  # it is 4:29:59, the slot ends at 4:30
    before = states(site, key)
    site.slots.prune(7)
    site.slots.generate()
    assert states(site, key) == before == []
    site.session.rollback()
    assert [slot.starts_at.day for slot in site.rows() if slot.key == key] == [3]


@ONE_SERVER
def test_a_slot_that_stayed_behind_its_series_stays_until_the_time_of_its_series(site: Site) -> None:
    """Kept for a booking where it was while its series went on to a later time: once it is free it may not double."""
    site.add(**WEEKLY)
    site.slots.generate(days=40)
    booking = site.slots.book("1@20260112T1000")
    site.session.commit()
    site.slots.edit("1@20260112T1000", "this_and_future", start=datetime(2026, 1, 29, 12))
    site.slots.release(booking)
    site.clock.now = datetime(2026, 1, 28, 12, tzinfo=UTC)
    site.session.commit()
    before = states(site, "1@20260112T1000")
    site.slots.prune(7)
    site.slots.generate()
    assert states(site, "1@20260112T1000") == before
    site.clock.now = datetime(2026, 1, 29, 13, tzinfo=UTC)
    assert site.slots.prune(7).slots == 1


def test_a_slot_moved_to_a_later_day_goes_after_that_day(sqlite_site: Site) -> None:
    """Its own day is long over: what counts is when it took place, and its own day stays empty."""
    site = sqlite_site
    site.add(**WEEKLY)
    site.slots.generate(days=40)
    site.slots.edit("1@20260112T1000", "this", start=datetime(2026, 1, 28, 15))
    site.session.commit()
    site.clock.now = datetime(2026, 2, 4, 16, tzinfo=UTC)
    site.slots.prune(7)
    assert "1@20260112T1000" in {slot.key for slot in site.rows()}
    site.clock.turn(seconds=1)
    assert site.slots.prune(7).slots == 1
    assert states(site, "1@20260112T1000") == []
    assert site.slots.between(datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 20, tzinfo=UTC)) == []


def test_a_slot_made_shorter_does_not_run_again(sqlite_site: Site) -> None:
    """Ended early and forgotten at once: by its rule it would still be running, so it stays until then."""
    site = sqlite_site
    site.add(**WEEKLY)
    site.slots.generate(days=8)
    site.slots.edit("1@20260105T1000", "this", duration=timedelta(minutes=30))
    site.session.commit()
    site.clock.now = MONDAY.replace(hour=10, minute=45)
    before = states(site, "1@20260105T1000")
    assert site.slots.prune(0).slots == 0
    assert states(site, "1@20260105T1000") == before
    site.clock.now = MONDAY.replace(hour=11, second=1)
    assert site.slots.prune(0).slots == 1


def test_many_kinds_of_templates_wait_for_the_latest_of_them(
    sqlite_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a number of zones, shifts and lengths a row may stay longer, never shorter."""
    monkeypatch.setattr("flask_rollingslots.pruning._KINDS", 1)
    site = sqlite_site
    for minutes in (60, 90, 120):
        site.add(**{**WEEKLY, "duration": timedelta(minutes=minutes)})
    site.slots.generate(days=8)
    for number in (1, 2, 3):
        site.slots.edit(f"{number}@20260105T1000", "this", duration=timedelta(minutes=10))
    site.session.commit()
    for minute, may_be_gone in ((0, {1}), (30, {1, 2}), (59, {1, 2})):
        site.clock.now = MONDAY.replace(hour=11, minute=minute, second=1)
        site.slots.prune(0)
        site.session.rollback()
        assert {slot.series_id for slot in site.rows() if slot.starts_at.day == 5} >= {1, 2, 3} - may_be_gone
    site.clock.now = MONDAY.replace(hour=12, second=1)
    site.slots.prune(0)
    site.session.rollback()
    assert [slot.starts_at.day for slot in site.rows()] == [12, 12, 12]


@pytest.mark.parametrize(
    ("change", "scope"),
    [
        ({"start": datetime(2026, 2, 16, 10)}, "all"),
        ({"duration": timedelta(days=20)}, "all"),
        ({"start": datetime(2026, 2, 16, 10)}, "this_and_future"),
    ],
)
def test_an_edit_of_the_series_does_not_bring_pruned_slots_back(
    sqlite_site: Site, change: dict[str, Any], scope: str
) -> None:
    """Slots that took place and were forgotten are not shown again at the later times, nor in the preview."""
    site = sqlite_site
    site.add(**WEEKLY, overlapping=True)
    site.slots.generate(days=40)
    site.clock.turn(days=16)
    assert site.slots.prune(7).slots == 2
    site.session.rollback()
    key = JAN_26 if scope == "all" else "1@20260202T1000"
    gone = {"1@20260105T1000", "1@20260112T1000"}
    preview = site.slots.preview_edit(key, scope, **change)
    assert gone.isdisjoint(preview.to_dict()["created"])
    site.slots.apply_edit(preview)
    site.session.commit()
    site.slots.generate(days=40)
    site.session.rollback()
    everything = site.slots.between(MONDAY, MONDAY + timedelta(days=90))
    assert gone.isdisjoint(slot.key for slot in everything)
    # What was not pruned is there once each.
    assert [slot.key for slot in everything].count(JAN_26) == 1
    assert len({slot.key for slot in everything}) == len(everything)
    site.slots.edit(key, "all", start=time(11))  # the series can be edited as before
    site.session.commit()
    assert gone.isdisjoint(slot.key for slot in site.slots.upcoming(1, n=9))


@ONE_SERVER
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


@ONE_SERVER
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
    monkeypatch.setattr("flask_rollingslots.pruning._BATCH", 10)
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
        health = site.slots.health()
        assert (health.status, health.retention) == ("ok", "pruning failed: OSError: disk full")


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
