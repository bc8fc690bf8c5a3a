"""generate(): a person's own top-up, in a session of its own."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import NOON, WAIT, Clock, Site, Stop, before_chunks, chunks_of, week

from flask_rollingslots import TopUpBusy
from flask_rollingslots.errors import InvalidRequest, TemplateNotFound, UncommittedChanges
from flask_rollingslots.filling import screening
from flask_rollingslots.topup import run

if TYPE_CHECKING:
    from collections.abc import Callable


def hold(site: Site, milliseconds: int) -> None:
    """Let another process hold the lease, by the site's clock."""
    site.visit("/plain")
    until = int(site.clock().timestamp() * 1000) + milliseconds
    site.sql("UPDATE rolling_lease SET owner = 'another', until_ms = :until", until=until)


def test_waits_for_a_top_up_under_way(
    make: Callable[..., Site], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """generate() waits until a top-up under way has ended, and then reports the complete window."""
    site = make(sqlite_url)
    site.add_quietly()
    stop = Stop()
    before_chunks(monkeypatch, stop)
    site.get("/plain")
    assert stop.arrived.wait(WAIT)
    refused = threading.Event()
    original = type(site.topup.runner).holder_rest

    def holder_rest(runner: Any) -> float:
        refused.set()
        return original(runner)

    monkeypatch.setattr(type(site.topup.runner), "holder_rest", holder_rest)
    reports: list[Any] = []

    def person() -> None:
        with site.app.app_context():
            reports.append(site.slots.generate())

    thread = threading.Thread(target=person)
    thread.start()
    assert refused.wait(WAIT), "it did not meet the top-up"
    stop.go.set()
    thread.join(WAIT)
    assert (reports[0].existing, reports[0].created) == (len(week()), 0)


def test_gives_up_after_twice_the_lease(make: Callable[..., Site], sqlite_url: str) -> None:
    """A lease that stays taken ends in TopUpBusy, and nothing was written or taken."""
    site = make(sqlite_url, lease_seconds=1)
    hold(site, 1500)
    template = site.add_quietly()
    before = site.lease().token
    with site.app.app_context(), pytest.raises(TopUpBusy):
        site.slots.generate()
    assert site.starts(template) == []
    assert (site.lease().owner, site.lease().token) == ("another", before)


@pytest.mark.parametrize("flushed", [False, True])
def test_says_commit_first(site: Site, flushed: bool) -> None:
    """On SQLite with uncommitted changes generate() says so at once instead of waiting for itself."""
    site.add_quietly()
    with site.app.app_context():
        site.db.session.add(site.note(text="mine"))
        if flushed:
            site.db.session.flush()
        with pytest.raises(UncommittedChanges, match="commit first"):
            site.slots.generate()
        site.db.session.commit()
        assert site.slots.generate().created == len(week())
    assert site.sql("SELECT text FROM note") == [("mine",)]


def test_uncommitted_changes_elsewhere_are_no_obstacle(make: Callable[..., Site], postgres_url: str) -> None:
    """On PostgreSQL generate() works beside an open transaction and leaves it alone."""
    site = make(postgres_url)
    site.add_quietly()
    with site.app.app_context():
        site.db.session.add(site.note(text="mine"))
        site.db.session.flush()
        assert site.slots.generate().created == len(week())
        site.db.session.rollback()
    assert site.sql("SELECT text FROM note") == []


def test_dry_run_writes_nothing(make: Callable[..., Site], database_url: str) -> None:
    """A dry run counts what would be made, and leaves no slot, run or lease behind."""
    site = make(database_url)
    template = site.add_quietly(group="north")
    with site.app.app_context():
        report = site.slots.generate(dry_run=True)
    assert (report.created, report.expected, report.dry_run) == (len(week()), len(week()), True)
    assert report.templates[template].created == report.groups["north"].created == len(week())
    assert (site.starts(), site.runs(), site.sql("SELECT * FROM rolling_lease")) == ([], [], [])


def test_dry_run_leaves_the_session_alone(site: Site) -> None:
    """A dry run neither flushes away nor rolls back what the app has not committed yet."""
    site.add_quietly()
    with site.app.app_context():
        site.db.session.add(site.note(text="mine"))
        site.db.session.flush()
        assert site.slots.generate(dry_run=True).created == len(week())
        site.db.session.commit()
    assert site.sql("SELECT text FROM note") == [("mine",)]


def test_report_counts_what_is_there(make: Callable[..., Site], database_url: str) -> None:
    """Created and existing are exact on every database, for the whole, the template and the group."""
    site = make(database_url)
    ids = [site.add_quietly(name=f"{number}", group="north") for number in range(3)]
    with site.app.app_context():
        first, second = site.slots.generate(), site.slots.generate()
    assert (first.created, first.existing) == (3 * len(week()), 0)
    assert (second.created, second.existing) == (0, 3 * len(week()))
    assert [first.templates[key].created for key in ids] == [len(week())] * 3
    assert first.groups["north"].created == 3 * len(week())
    assert [run.created for run in site.runs()] == [3 * len(week()), 0]


@pytest.mark.parametrize("templates", [1, 7, 30])
def test_progress_ends_at_the_total(site: Site, monkeypatch: pytest.MonkeyPatch, templates: int) -> None:
    """The last call of the progress callback says (n, n), and progress never goes back."""
    chunks_of(monkeypatch, 100)
    for module in (run, screening):
        monkeypatch.setattr(module, "UNITS_AT_ONCE", 4)
    for number in range(templates):
        site.add_quietly(name=f"{number}")
    seen: list[tuple[int, int]] = []
    with site.app.app_context():
        site.slots.generate(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (templates * len(week()), templates * len(week()))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert all(done <= total for done, total in seen)
    assert len(seen) > 1 or templates == 1


def test_progress_that_raises_loses_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A progress callback that raises stops generate() there; the lease is free and a visitor completes it."""
    chunks_of(monkeypatch, 100)
    for number in range(3):
        site.add_quietly(name=f"{number}")

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with site.app.app_context(), pytest.raises(KeyboardInterrupt):
        site.slots.generate(progress=stop)
    assert len(site.starts()) == 100
    assert site.lease().until_ms == 0
    assert [run.status for run in site.runs()] == ["interrupted"]
    site.visit("/plain")
    assert len(site.starts()) == 3 * len(week())


@pytest.mark.parametrize("days", [0, -1, 3661, 10**9, True, 1.5, "7"])
def test_days_out_of_range(site: Site, days: Any) -> None:
    """Anything but 1 to 3,660 whole days is refused by name, and nothing is written."""
    site.add_quietly()
    with site.app.app_context(), pytest.raises(InvalidRequest) as refusal:
        site.slots.generate(days=days)
    assert "days" in str(refusal.value)
    assert site.starts() == []


def test_days_counts_local_days_from_today(site: Site) -> None:
    """One day is today, ten days are ten, and 3,660 are ten years, each slot once."""
    template = site.add_quietly(every=None, until_time=None)
    with site.app.app_context():
        assert site.slots.generate(days=1).created == 0  # 10:00 is over
        assert site.slots.generate(days=10).created == 9
        assert site.slots.generate(days=3660).created == 3660 - 10
    assert len(site.starts(template)) == 3659


def test_backfill_makes_past_slots(site: Site) -> None:
    """With an explicit start in the past the past slots are made too."""
    site.add_quietly()
    start = datetime(2026, 2, 23, tzinfo=UTC)
    with site.app.app_context():
        report = site.slots.generate(start=start, end=NOON)
    assert report.created == 7 * 12 + 2
    assert site.starts()[0] == datetime(2026, 2, 23, 10, 0)


def test_unknown_template_and_group(site: Site) -> None:
    """A template or group that does not exist is an error, not an empty report."""
    with site.app.app_context():
        with pytest.raises(TemplateNotFound):
            site.slots.generate(template=77)
        with pytest.raises(TemplateNotFound):
            site.slots.generate(group="nobody")
    assert site.runs() == []


def test_part_is_not_confirmed_as_the_whole(site: Site, clock: Clock) -> None:
    """After generate() of one template or of one day the next visitor still completes all."""
    first, second = site.add_quietly(name="first"), site.add_quietly(name="second")
    with site.app.app_context():
        site.slots.generate(template=first)
        site.slots.generate(days=1)
    site.visit("/plain")
    assert site.starts(first) == site.starts(second) == week()


def test_generated_window_needs_no_top_up(site: Site) -> None:
    """After generate() the next visitor finds everything complete and no second run begins."""
    site.add_quietly()
    with site.app.app_context():
        site.slots.generate()
    site.visit("/plain")
    assert [run.trigger for run in site.runs()] == ["manual"]


def test_release_after_any_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks inside generate(), the lease is free afterwards and the run says failed."""

    def refuse(*_args: Any) -> None:
        raise ValueError("no")

    site.add_quietly()
    with monkeypatch.context() as patch, site.app.app_context():
        patch.setattr(run, "write_chunk", refuse)
        with pytest.raises(ValueError, match="no"):
            site.slots.generate()
    assert site.lease().until_ms == 0
    with site.app.app_context():
        assert site.slots.generate().created == len(week())
    site.clock.pass_by(timedelta(minutes=6))  # type: ignore[attr-defined]
    site.visit("/plain")
    assert site.lease().failures == 0
