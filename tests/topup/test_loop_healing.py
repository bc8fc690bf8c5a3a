"""Healing with memory: what should be there comes back, what a person decided stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import DAY, NOON, Clock, Site, week

if TYPE_CHECKING:
    from collections.abc import Callable

MIDDLE = len(week()) // 2


@pytest.fixture
def full(make: Callable[..., Site], sqlite_url: str) -> Site:
    """A site whose window is complete."""
    site = make(sqlite_url)
    site.add_quietly()
    site.visit()
    assert site.starts() == week()
    return site


def lose(site: Site, start: datetime) -> None:
    """Delete a row by hand, as somebody with a database console does."""
    site.sql("DELETE FROM rolling_slot WHERE original_start = :start", start=start.isoformat(" ") + ".000000")
    assert start not in site.starts()


def test_lost_row_comes_back_with_the_next_audit(full: Site, clock: Clock) -> None:
    """A row deleted from the middle of the window is back after CHECK_INTERVAL, though nobody looked at it."""
    lose(full, week()[MIDDLE])
    full.visit("/plain")
    assert week()[MIDDLE] not in full.starts()
    clock.pass_by(timedelta(minutes=61))
    full.visit("/plain")
    assert full.starts() == week()


def test_lost_row_comes_back_by_being_looked_at(full: Site) -> None:
    """Whoever looks at the week sees the lost slot at once, and by that look it is stored again."""
    lose(full, week()[MIDDLE])
    answer = full.visit()
    assert (len(answer["starts"]), answer["virtual"]) == (len(week()), 1)
    assert full.starts() == week()


def test_whole_week_lost_comes_back(full: Site) -> None:
    """A table emptied by hand is filled again by the next look."""
    full.sql("DELETE FROM rolling_slot")
    assert len(full.visit()["starts"]) == len(week())
    assert full.starts() == week()


@pytest.mark.parametrize("status", ["cancelled", "deleted", "completed"])
def test_decided_slot_stays_as_it_is(full: Site, clock: Clock, status: str) -> None:
    """A cancelled, deleted or completed slot survives ten audits and looks without being revived."""
    start = week()[MIDDLE]
    with full.app.app_context():
        slot = full.slots.get(f"1@{start:%Y%m%dT%H%M}")
        slot.status = status
        full.db.session.commit()
    for _ in range(10):
        clock.pass_by(timedelta(minutes=61))
        full.visit()
    with full.app.app_context():
        cls = full.slots.Slot
        found = full.db.session.scalars(full.db.select(cls).where(cls.original_start == start)).all()
        assert [slot.status for slot in found] == [status]


def test_cancelled_through_the_library_stays_away(full: Site, clock: Clock) -> None:
    """A slot cancelled with a reason is shown as cancelled, with its reason, after the next audit too."""
    key = f"1@{week()[MIDDLE]:%Y%m%dT%H%M}"
    with full.app.app_context():
        full.slots.cancel(key, reason="rain")
        full.db.session.commit()
    clock.pass_by(timedelta(minutes=61))
    full.visit()
    with full.app.app_context():
        slot = full.slots.get(key)
        assert (slot.state, slot.cancel_reason) == ("cancelled", "rain")


def test_stray_row_far_in_the_future_moves_nothing(full: Site, clock: Clock) -> None:
    """A slot stored two years ahead neither shifts nor shortens the window, and stays."""
    far = datetime(2028, 3, 6, 10, 0)
    with full.app.app_context():
        full.slots.materialize(f"1@{far:%Y%m%dT%H%M}")
        full.db.session.commit()
    clock.pass_by(DAY)
    full.visit()
    seen = [start for start in full.starts() if start != far]
    assert far in full.starts()
    assert seen == sorted({*week(), *week(clock.now)})


def test_slot_that_started_is_not_made(make: Callable[..., Site], sqlite_url: str, clock: Clock) -> None:
    """What starts at this very minute or before is not created; what starts a second later is."""
    site = make(sqlite_url)
    site.add_quietly()
    clock.now = NOON.replace(hour=13)
    site.visit("/plain")
    assert site.starts()[0] == datetime(2026, 3, 2, 14, 0)
    other = make(sqlite_url.replace("test.db", "other.db"))
    other.add_quietly()
    clock.now = NOON.replace(hour=12, minute=59, second=59)
    other.visit("/plain")
    assert other.starts()[0] == datetime(2026, 3, 2, 13, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("starts_at", datetime(2026, 3, 5, 17, 30, tzinfo=UTC)),
        ("capacity", 9),
        ("data", {"pitch": "B"}),
    ],
)
def test_edited_row_is_not_overwritten(full: Site, clock: Clock, field: str, value: Any) -> None:
    """What a person changed at one slot through the ORM is still so after audits and looks."""
    start = datetime(2026, 3, 5, 16, 0)
    with full.app.app_context():
        slot = full.slots.get(f"1@{start:%Y%m%dT%H%M}")
        setattr(slot, field, value)
        full.db.session.commit()
    for _ in range(3):
        clock.pass_by(timedelta(minutes=61))
        full.visit()
    with full.app.app_context():
        slot = full.slots.get(f"1@{start:%Y%m%dT%H%M}")
        assert getattr(slot, field) == value
    assert len(full.starts()) == len(set(full.starts())) == len(week())


def test_row_moved_out_of_the_window_is_not_made_again(full: Site, clock: Clock) -> None:
    """A slot moved by a person to next month still stands for its original start."""
    start = datetime(2026, 3, 5, 16, 0)
    with full.app.app_context():
        slot = full.slots.get(f"1@{start:%Y%m%dT%H%M}")
        slot.starts_at, slot.ends_at = slot.starts_at + 30 * DAY, slot.ends_at + 30 * DAY
        full.db.session.commit()
    clock.pass_by(timedelta(minutes=61))
    answer = full.visit()
    assert start.isoformat() not in answer["starts"]
    assert full.starts() == week()
    with full.app.app_context():
        moved = full.slots.get(f"1@{start:%Y%m%dT%H%M}")
        assert moved.starts_at == start.replace(tzinfo=UTC) + 30 * DAY


def test_booked_row_is_not_touched(full: Site, clock: Clock) -> None:
    """A booked slot keeps its time and its booking although its template changes under it."""
    start = datetime(2026, 3, 5, 16, 0)
    key = f"1@{start:%Y%m%dT%H%M}"
    with full.app.app_context():
        full.slots.book(key, who="ann")
        template = full.db.session.get(full.slots.Template, 1)
        template.until_time = datetime(2026, 1, 1, 14, 0).time()
        full.db.session.commit()
    full.finish()
    clock.pass_by(timedelta(minutes=61))
    full.visit()
    with full.app.app_context():
        slot = full.slots.get(key)
        assert (slot.booked, slot.starts_at) == (1, start.replace(tzinfo=UTC))
    # Everything else after 14:00 went with the rule.
    assert [s for s in full.starts() if s.hour >= 14] == [start]


def test_each_new_day_is_added_once(full: Site, clock: Clock) -> None:
    """Ten days of visits give ten days of slots, each once, and old ones stay."""
    for _ in range(10):
        clock.pass_by(DAY)
        full.visit("/plain")
    assert full.starts() == week(days=17)


def test_clock_set_back_does_no_harm(full: Site, clock: Clock) -> None:
    """A clock that jumps a year ahead and back leaves the window complete and single."""
    clock.now += timedelta(days=365)
    full.visit()
    clock.now -= timedelta(days=365)
    clock.pass_by(timedelta(minutes=61))
    clock.passed += 3600
    lose(full, week()[MIDDLE])
    full.visit("/plain")
    assert set(week()) <= set(full.starts())
    assert len(full.starts()) == len(set(full.starts()))


def test_backoff_written_by_a_clock_that_jumped(full: Site, clock: Clock) -> None:
    """A next try a year ahead, left by a clock that jumped, does not stop healing for longer than the backoff."""
    full.sql(
        "UPDATE rolling_lease SET failures = 3, next_try_ms = :far",
        far=int((clock.now + timedelta(days=365)).timestamp() * 1000),
    )
    lose(full, week()[MIDDLE])
    for _ in range(3):
        clock.pass_by(timedelta(minutes=61))
        full.visit("/plain")
    assert week()[MIDDLE] in full.starts()


@pytest.mark.parametrize("ahead", [timedelta(seconds=20), timedelta(days=365)])
def test_lease_of_a_dead_owner(full: Site, clock: Clock, ahead: timedelta) -> None:
    """A lease left by a process that died, or by a clock that jumped, stops nobody for longer than it lasts."""
    full.sql(
        "UPDATE rolling_lease SET owner = 'gone', token = 77, until_ms = :until, fingerprint = ''",
        until=int((clock.now + timedelta(minutes=61) + ahead).timestamp() * 1000),
    )
    lose(full, week()[MIDDLE])
    clock.pass_by(timedelta(minutes=61))
    full.visit("/plain")
    clock.pass_by(timedelta(seconds=31))
    full.visit("/plain")
    assert week()[MIDDLE] in full.starts()
    assert full.lease().token > 77


@pytest.mark.parametrize(("zone", "hours"), [("Asia/Tokyo", 3.0), ("Asia/Kolkata", 6.5)])
def test_each_zone_has_its_own_midnight(
    make: Callable[..., Site], sqlite_url: str, clock: Clock, zone: str, hours: float
) -> None:
    """The day that begins in a template's own zone is stored by the next visit, not after the app's midnight."""
    site = make(sqlite_url, check_interval=86_400, cache={"CACHE_TYPE": "SimpleCache"})
    site.add_quietly(timezone=zone)
    site.visit("/plain")
    last = site.starts()[-1]
    clock.pass_by(timedelta(hours=hours, seconds=-1))
    site.visit("/plain")
    assert site.starts()[-1] == last
    clock.pass_by(timedelta(seconds=2))
    site.visit("/plain")
    assert site.starts()[-1] == last + DAY
