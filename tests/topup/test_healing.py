"""Filling and healing by hand: generate, what it creates, and what it never touches."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest
from helpers import A_WEEK, MONDAY, Clock, Site

from flask_rollingslots.errors import InvalidRequest, StatusConflict, TemplateNotFound
from flask_rollingslots.topup.request import TopUpRequest
from flask_rollingslots.topup.run import Recorder, results_of
from flask_rollingslots.values import Report, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(any_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site on each database, inside its app context."""
    site = Site(any_url, tmp_path)
    with site.app.app_context():
        yield site


def test_generate_fills_exactly_once(site: Site) -> None:
    """The first run creates the window, the second finds everything there."""
    template = site.add(group="north")
    report = site.slots.generate()
    assert (report.created, report.existing, report.expected) == (A_WEEK, 0, A_WEEK)
    assert report.templates[template.id].created == A_WEEK
    assert report.groups["north"].created == A_WEEK
    again = site.slots.generate()
    assert (again.created, again.existing, again.expected) == (0, A_WEEK, A_WEEK)
    assert len(site.rows()) == A_WEEK


def test_dry_run_says_what_a_run_does(site: Site) -> None:
    """A dry run counts, writes nothing, and the run then does just that."""
    site.add()
    said = site.slots.generate(days=14, dry_run=True)
    assert site.rows() == []
    assert site.slots.runs() == []
    site.session.rollback()  # MariaDB would go on reading the state of before
    done = site.slots.generate(days=14)
    assert (said.created, said.dry_run, said.run_id) == (done.created, True, None)
    assert len(site.rows()) == done.created == 14 * 8
    assert site.slots.generate(days=14).created == 0


def test_rows_hold_what_the_template_says(site: Site) -> None:
    """Capacity, data, times and the run are in each row."""
    site.add(capacity=4, data={"court": 1}, closes_before=timedelta(hours=2), opens_days_before=3)
    report = site.slots.generate()
    row = site.rows()[8]
    assert (row.capacity, row.booked, row.status, row.data) == (4, 0, "scheduled", {"court": 1})
    assert row.original_start == datetime(2026, 1, 6, 10)
    assert row.starts_at == datetime(2026, 1, 6, 10, tzinfo=UTC)
    assert row.ends_at - row.starts_at == timedelta(hours=1)
    assert row.closes_at == datetime(2026, 1, 6, 8, tzinfo=UTC)
    assert row.opens_at == datetime(2026, 1, 3, 0, tzinfo=UTC)
    assert (row.run_id, row.created_at) == (report.run_id, MONDAY)


def test_a_hole_in_the_middle_is_filled(site: Site) -> None:
    """A row deleted by hand comes back with the same key."""
    site.add()
    site.slots.generate()
    victim = site.rows()[20]
    key = victim.key
    site.session.delete(victim)
    site.session.commit()
    assert site.slots.generate().created == 1
    assert key in {row.key for row in site.rows()}


def test_a_cancelled_slot_stays_away(site: Site) -> None:
    """A cancelled slot keeps its status and reason through every later run."""
    site.add()
    site.slots.generate()
    key = site.week()[3].key
    site.slots.cancel(key, "this", reason="Floor is wet")
    site.session.commit()
    report = site.slots.generate()
    assert (report.created, report.skipped) == (0, {"cancelled": 1})
    slot = site.slots.get(key)
    assert (slot.state, slot.cancel_reason) == ("cancelled", "Floor is wet")


def test_a_virtual_slot_can_be_cancelled(site: Site) -> None:
    """Cancelling a slot without a row leaves a row that says so."""
    site.add()
    key = "1@20290105T1000"
    site.slots.cancel(key, "this_only")
    site.session.commit()
    assert site.slots.get(key).state == "cancelled"


def test_restore_brings_a_cancelled_slot_back(site: Site) -> None:
    """A slot cancelled by mistake can be booked again after its restoration."""
    site.add()
    key = site.week()[0].key
    site.slots.cancel(key, reason="mistake")
    site.slots.restore(key)
    slot = site.slots.get(key)
    assert (slot.state, slot.cancel_reason) == ("open", None)
    site.slots.book(key)


def test_completed_slots_cannot_be_cancelled(site: Site) -> None:
    """What is done is not rewritten."""
    site.add()
    done = site.slots.materialize("1@20260105T1100")
    done.status = "completed"
    site.session.commit()
    with pytest.raises(StatusConflict, match="completed"):
        site.slots.cancel(done.key)


@pytest.mark.parametrize("scope", ["this_and_past", "everything", None])
def test_other_scopes_are_refused_by_name(site: Site, scope: str) -> None:
    """A scope that does not exist is refused before anything is written."""
    site.add()
    with pytest.raises(InvalidRequest, match="scope"):
        site.slots.cancel(site.week()[0].key, scope)
    assert site.rows() == []


def test_a_stray_row_far_ahead_moves_nothing(site: Site) -> None:
    """One row in the far future neither moves nor stretches the window."""
    site.add()
    site.slots.materialize("1@20360105T1000")
    site.session.commit()
    assert site.slots.generate().created == A_WEEK
    assert len(site.rows()) == A_WEEK + 1


def test_started_slots_are_not_created(site: Site) -> None:
    """At 12:30 the slots from 10:00, 11:00 and 12:00 are not made any more."""
    site.add()
    site.clock.now = MONDAY.replace(hour=12, minute=30)
    report = site.slots.generate()
    assert report.created == A_WEEK - 3
    assert report.skipped == {"in_the_past": 3}


def test_backfill_creates_past_slots_when_asked(site: Site) -> None:
    """An explicit start in the past fills from there."""
    site.add()
    report = site.slots.generate(start=MONDAY.replace(day=3, hour=0))
    assert report.created == 2 * 8 + A_WEEK
    assert site.rows()[0].starts_at == datetime(2026, 1, 3, 10, tzinfo=UTC)


def test_after_a_long_silence_only_future_slots_are_made(site: Site) -> None:
    """Forty days without a visitor leave forty days without rows, and a full week ahead."""
    site.add()
    site.slots.generate()
    site.clock.turn(days=40)
    assert site.slots.generate().created == A_WEEK
    assert len(site.rows()) == 2 * A_WEEK


def test_a_person_s_changes_are_not_overwritten(site: Site) -> None:
    """Times, capacity and data that a person changed through the ORM survive every run, and are remembered."""
    site.add()
    site.slots.generate()
    row = site.rows()[10]
    row.starts_at += timedelta(minutes=30)
    row.capacity, row.data = 9, {"note": "quiet"}
    site.session.commit()
    site.slots.generate()
    site.session.expire_all()
    row = site.rows()[10]
    assert (row.capacity, row.data, row.starts_at.minute) == (9, {"note": "quiet"}, 30)
    assert row.customised == ["capacity", "data", "starts_at"]


def test_another_rule_takes_untouched_slots_along(site: Site) -> None:
    """After a new rule, rows of the old one go unless they are booked, changed, cancelled or over."""
    template = site.add()
    site.slots.generate(days=14)
    keys = [slot.key for slot in site.week()]
    booked, cancelled, changed = keys[1], keys[2], keys[3]
    site.slots.book(booked)
    site.slots.cancel(cancelled)
    site.slots.get(changed).capacity = 3
    template.rrule = "FREQ=DAILY;BYDAY=SU"
    site.session.commit()
    report = site.slots.generate()
    assert (report.removed, report.kept_booked) == (2 * 6 * 8 - 3, 2)
    left = {row.key for row in site.rows() if row.starts_at < MONDAY + timedelta(days=6)}
    assert left == {booked, cancelled, changed}


def test_days_weeks_and_windows(site: Site) -> None:
    """``days`` counts local days from today; a template's own window counts when none are given."""
    site.add(name="Short", window_days=2)
    assert site.slots.generate().created == 2 * 8
    assert site.slots.generate(days=3).created == 8


@pytest.mark.parametrize("days", [0, -1, 3661, True, 1.5, "7"])
def test_bad_days_are_refused(site: Site, days: object) -> None:
    """A number of days outside 1 to 3,660 is refused by name, and nothing is written."""
    site.add()
    with pytest.raises(InvalidRequest, match=r"days = .*1 to 3,660"):
        site.slots.generate(days=days)  # type: ignore[arg-type]
    assert site.rows() == []


def test_bad_windows_are_refused(site: Site) -> None:
    """Naive moments, an end before the start, and both days and end are refused."""
    for wrong in (
        {"start": datetime(2026, 1, 1)},
        {"end": MONDAY - timedelta(days=1)},
        {"days": 3, "end": MONDAY + timedelta(days=3)},
        {"end": MONDAY + timedelta(days=4000)},
    ):
        with pytest.raises(InvalidRequest):
            site.slots.generate(**wrong)  # type: ignore[arg-type]


def test_one_template_or_group(site: Site) -> None:
    """Filling one template or one group leaves the others alone; unknown ones are told."""
    first = site.add(group="north")
    site.add(group="south")
    assert site.slots.generate(template=first).created == A_WEEK
    assert site.slots.generate(group="south").created == A_WEEK
    with pytest.raises(TemplateNotFound, match="template 99"):
        site.slots.generate(template=99)
    with pytest.raises(TemplateNotFound, match="group 'east'"):
        site.slots.generate(group="east")


def test_progress_ends_at_the_total(site: Site) -> None:
    """Progress grows and ends with everything done."""
    site.add()
    seen: list[tuple[int, int]] = []
    site.slots.generate(days=300, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (300 * 8, 300 * 8)
    assert len(seen) > 1


def test_clock_changes_keep_the_wall_time(site: Site) -> None:
    """A window over the spring change has every hour once, the missing one shifted, on each database."""
    site.clock.now = datetime(2026, 3, 28, 12, tzinfo=UTC)
    site.add(timezone="Europe/Berlin", dtstart=datetime(2026, 1, 1, 0, 30), until_time=time(4, 30))
    site.slots.generate(days=2)
    sunday = [row for row in site.rows() if row.original_start.day == 29]
    assert [row.original_start.strftime("%H:%M") for row in sunday] == ["00:30", "01:30", "03:30"]
    assert [row.starts_at.strftime("%H:%M") for row in sunday] == ["23:30", "00:30", "01:30"]


def test_a_new_zone_table_moves_untouched_rows(site: Site) -> None:
    """A row at the wrong instant for its wall time is put right; one that is booked stays, and is marked."""
    site.add()
    site.slots.generate()
    booked = site.week()[9].key
    site.slots.book(booked)
    site.session.commit()
    table = site.slots.Slot.__table__
    wrong = timedelta(hours=1)
    for row in site.rows()[8:10]:
        values = {"starts_at": row.starts_at + wrong, "ends_at": row.ends_at + wrong}
        site.session.execute(table.update().where(table.c.id == row.id).values(**values))
    site.session.commit()
    assert site.slots.generate().updated == 2
    site.session.expire_all()
    assert [(row.starts_at.hour, row.displaced) for row in site.rows()[8:10]] == [(10, None), (12, True)]


def test_week_alignment_ends_on_a_sunday(sqlite_url: str, tmp_path: Path) -> None:
    """With ALIGN = week the window goes on to the Sunday of its last day."""
    clock = Clock(MONDAY + timedelta(days=1))
    site = Site(sqlite_url, tmp_path, clock, ROLLINGSLOTS_ALIGN="week")
    with site.app.app_context():
        site.add()
        report = site.slots.generate()
        assert report.window is not None
        assert report.window.end == datetime(2026, 1, 19, tzinfo=UTC)


def test_a_booked_row_with_history_is_not_lost(site: Site) -> None:
    """A slot that was booked and released keeps its row, for its bookings point to it."""
    template = site.add()
    site.slots.generate()
    key = site.week()[0].key
    site.slots.release(site.slots.book(key))
    template.rrule = "FREQ=DAILY;BYDAY=SU"
    site.session.commit()
    site.slots.generate()
    assert key in {row.key for row in site.rows()}


def test_a_run_tells_what_opened_and_ended(site: Site) -> None:
    """Slots that became bookable or ended since the last run are counted, in a dry run too, and not twice."""
    site.add(opens_before=timedelta(days=2), every=None, until_time=None)
    first = site.slots.generate(template=1)
    assert (first.opened, first.closed) == (0, 0)
    site.clock.turn(days=1)
    said = site.slots.generate(dry_run=True)
    done = site.slots.generate()
    assert (said.opened, said.closed) == (done.opened, done.closed) == (1, 1)
    again = site.slots.generate()
    assert (again.opened, again.closed) == (0, 0)


def test_lists_changed_in_place_are_noticed(site: Site) -> None:
    """A date appended to a template's exclusions is stored, counts as a change, and takes its slot away."""
    template = site.add()
    site.slots.generate()
    revision = template.revision
    template.exdates.append(datetime(2026, 1, 6, 10))
    site.session.commit()
    assert template.revision == revision + 1
    assert site.slots.generate().removed == 1
    site.session.expire_all()
    assert template.exdates == [datetime(2026, 1, 6, 10)]


def test_rows_beyond_the_window_follow_a_new_rule(site: Site) -> None:
    """Rows that were generated further ahead do not stay bookable under a rule that is gone."""
    template = site.add()
    site.slots.generate(days=30)
    template.rrule = "FREQ=DAILY;BYDAY=SU"
    site.session.commit()
    site.slots.generate()
    assert {row.original_start.weekday() for row in site.rows()} == {6}
    assert site.slots.generate().removed == 0


def test_an_unknown_zone_stops_only_its_own_template(site: Site) -> None:
    """A zone that this machine does not know is recorded for its template; the others, and health, go on."""
    site.add(name="Good")
    site.add(name="Mars")
    table = site.slots.Template.__table__
    site.session.execute(table.update().where(table.c.name == "Mars").values(timezone="Mars/Base"))
    site.session.commit()
    report = site.slots.generate()
    assert (report.created, report.templates[2].created) == (A_WEEK, 0)
    assert "Mars/Base" in (report.templates[2].error or "")
    health = site.slots.health()
    assert health.status == "missing"
    assert {c.name: bool(c.error) for c in health.templates} == {"Good": False, "Mars": True}
    assert len(site.week()) == A_WEEK


def test_moving_a_slot_takes_its_limits_along(site: Site) -> None:
    """Opening and notice keep their distance when a person moves a slot by hand."""
    site.add(opens_before=timedelta(days=2), closes_before=timedelta(hours=1))
    slot = site.slots.materialize("1@20260105T1000")
    slot.starts_at += timedelta(days=3)
    slot.ends_at += timedelta(days=3)
    site.session.commit()
    assert slot.starts_at - slot.closes_at == timedelta(hours=1)
    assert slot.starts_at - slot.opens_at == timedelta(days=2)


def test_a_run_row_has_a_bounded_size() -> None:
    """A run of a great many templates keeps the results of ten thousand, what went wrong among them."""
    report = Report(templates={n: Tally(f"Hall {n}", created=1) for n in range(10_100)})
    report.templates[10_099].error = "broken"
    kept = results_of(report)
    assert (len(kept["templates"]), kept["processed"]) == (10_000, 10_100)
    assert kept["templates"]["10099"]["error"] == "broken"


def test_each_name_closes_its_own_dead_runs(sqlite_url: str, tmp_path: Path) -> None:
    """Two sets of workers on the same tables count their own leases: neither ends the run that the other works on."""
    ours, theirs = (
        Site(sqlite_url, tmp_path / name, ROLLINGSLOTS_NAME=name, ROLLINGSLOTS_ENABLED=False)
        for name in ("ours", "theirs")
    )
    with ours.app.app_context():
        ours.add()
        lease = ours.topup.runner.acquire()
        session = ours.topup.runner.session()
        recorder = Recorder(ours.topup.runner.work(), TopUpRequest("request"), lease)
        recorder.start()
        session.commit()
    with theirs.app.app_context():
        for _ in range(3):
            theirs.slots.generate()
        running = [run.status for run in theirs.slots.runs() if run.id == recorder.run_id]
        assert running == ["running"]
    with ours.app.app_context():
        lease.release(ours.topup.runner.work())
        ours.topup.runner.session().commit()
        ours.slots.generate()
        assert [run.status for run in ours.slots.runs() if run.id == recorder.run_id] == ["interrupted"]
