"""The life of a slot follows from the time: each edge on both sides, in Python and in every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Clock, Site
from marks import DATABASES, quick_databases, quick_on
from sqlalchemy.orm import aliased

from flask_rollingslots import signals
from flask_rollingslots.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 1, 10, 10, tzinfo=UTC)
KEY = "1@20260110T1000"
A_SECOND, A_MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)

#: The moment of each edge, the state before it, and the state from it on.
EDGES = [
    (START - timedelta(days=2), "upcoming", "open"),
    (START - timedelta(hours=3), "open", "closed"),
    (START, "closed", "running"),
    (START + timedelta(hours=1), "running", "ended"),
]

# PostgreSQL sorts and compares the same columns in test_booking.py.
database_url = quick_databases("sqlite")


def both(site: Site, key: str = KEY) -> str:
    """Return the state of a stored slot, alike in Python, as a column, as a filter, and of an alias."""
    cls, slot = site.slots.Slot, site.slots.get(key)
    other = aliased(cls)
    state = str(slot.state)
    assert site.session.scalar(site.db.select(cls.state).where(cls.id == slot.id)) == state
    assert site.session.scalar(site.db.select(other.state).where(other.id == slot.id)) == state
    assert (
        site.session.scalars(site.db.select(cls).where(cls.state == state, cls.id == slot.id)).one() is slot
    )
    assert not site.session.scalars(site.db.select(cls).where(cls.state != state, cls.id == slot.id)).all()
    return state


@pytest.mark.parametrize("full", [False, True])
def test_every_edge_on_both_sides(site: Site, full: bool) -> None:
    """A slot changes in the very second of each edge, a microsecond earlier it has not, booked out or not."""
    site.add(opens_before=timedelta(days=2), closes_before=timedelta(hours=3))
    if full:
        site.clock.now = START - timedelta(days=1)
        site.slots.book(KEY)
    else:
        site.slots.materialize(KEY)
    site.session.commit()
    word = {"open": "full"} if full else {}
    for moment, before, after in EDGES:
        for span, expected in ((A_SECOND, before), (A_MICROSECOND, before), (timedelta(0), after)):
            site.clock.now = moment - span
            assert both(site) == word.get(expected, expected)
        site.clock.now = moment + A_SECOND
        assert both(site) == word.get(after, after)


@pytest.mark.parametrize("status", ["cancelled", "completed", "deleted"])
def test_what_a_person_decided_outlasts_the_time(site: Site, status: str) -> None:
    """Cancelled, completed and deleted stay so, before the start and after the end."""
    site.add()
    slot = site.slots.materialize(KEY)
    slot.status = status
    site.session.commit()
    cls = site.slots.Slot
    for moment in (MONDAY, START, START + timedelta(days=1)):
        site.clock.now = moment
        assert slot.state == status
        assert site.session.scalar(site.db.select(cls.state)) == status


def test_opening_at_midnight_across_a_change_of_clocks(site: Site) -> None:
    """``opens_days_before`` counts local days: on the day that has 23 hours too."""
    site.add(timezone="Europe/Madrid", opens_days_before=1, dtstart=datetime(2026, 3, 1, 10))
    key = "1@20260329T1000"
    opens = datetime(2026, 3, 27, 23, tzinfo=UTC)  # 28 March, 00:00 in Madrid
    site.clock.now = opens - A_SECOND
    site.slots.materialize(key)
    assert both(site, key) == "upcoming"
    site.clock.turn(seconds=1)
    assert both(site, key) == "open"


@quick_on(*DATABASES)
def test_the_database_sorts_by_state_and_places(site: Site) -> None:
    """State and free places order rows in SQL, with the time of the moment of execution."""
    site.add(capacity=3)
    site.slots.generate()
    cls = site.slots.Slot
    keys = [slot.key for slot in site.week()[:3]]
    site.slots.book(keys[1], party=2)
    site.slots.hold(keys[2], party=3)
    site.session.commit()
    query = site.db.select(cls).order_by(cls.left, cls.starts_at).limit(3)
    assert [slot.left for slot in site.session.scalars(query)] == [0, 1, 3]
    site.clock.turn(minutes=10)
    assert [slot.left for slot in site.session.scalars(query)] == [1, 3, 3]
    by_state = site.db.select(cls.state).order_by(cls.state.desc(), cls.starts_at)
    assert site.session.scalars(by_state).first() == "open"
    site.clock.now = MONDAY.replace(hour=10)
    assert site.session.scalars(by_state).first() == "running"


# --- reminders ---------------------------------------------------------------------------------------------------


def test_reminders_fall_due_once(site: Site) -> None:
    """Booked slots are named in the span in which their reminder falls due, and in no other."""
    site.add(reminder_before=timedelta(hours=24), capacity=2)
    site.add(name="Sauna", reminder_before=timedelta(hours=2))
    site.add(name="Without", capacity=2)
    for template, key in ((1, "1@20260106T1000"), (2, "2@20260105T1200"), (3, "3@20260106T1000")):
        assert site.slots.book(key).slot.template_id == template
    site.slots.hold("1@20260106T1100")
    site.slots.cancel(site.slots.book("1@20260106T1200").slot.key)
    site.session.commit()
    slot = site.slots.get("1@20260106T1000")
    assert slot.reminder_at == MONDAY.replace(hour=10)
    assert site.slots.get("3@20260106T1000").reminder_at is None
    due = MONDAY.replace(hour=10)

    def keys(since: datetime, until: datetime | None = None) -> list[str]:
        return [slot.key for slot in site.slots.reminders(since, until)]

    assert keys(MONDAY, due - A_SECOND) == []
    assert keys(due - A_SECOND, due) == ["2@20260105T1200", "1@20260106T1000"]
    assert keys(due, due + timedelta(hours=1)) == ["1@20260106T1100"]
    site.clock.now = due + timedelta(hours=2)
    assert keys(MONDAY) == ["1@20260106T1000"]  # the sauna has begun, the hold has expired
    with pytest.raises(InvalidRequest, match="since"):
        site.slots.reminders(datetime(2026, 1, 1))


# --- what a top-up notices ---------------------------------------------------------------------------------------


class Ears:
    """Hears the signals of opened and closed slots."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.spans: list[tuple[datetime, datetime]] = []
        signals.slots_opened.connect(self.opened)
        signals.slots_closed.connect(self.closed)

    def opened(self, sender: Any, count: int, since: datetime, until: datetime) -> None:
        """Note what opened."""
        self.heard.append(("opened", count))
        self.spans.append((since, until))

    def closed(self, sender: Any, count: int, since: datetime, until: datetime) -> None:
        """Note what ended."""
        self.heard.append(("closed", count))
        self.spans.append((since, until))

    def take(self) -> list[tuple[str, int]]:
        """Return what was heard since the last call."""
        heard, self.heard = self.heard, []
        return heard


def test_a_top_up_tells_what_opened_and_closed(site: Site) -> None:
    """Each slot is told of once: in the top-up after its edge, with the span since the one before."""
    site.add(opens_before=timedelta(days=1))
    ears = Ears()
    site.slots.generate()
    assert ears.take() == []
    site.clock.now = MONDAY.replace(hour=10) - A_SECOND
    site.slots.generate()
    assert ears.take() == []
    site.clock.turn(seconds=1)  # Tuesday's first opens in this second
    report = site.slots.generate()
    assert (report.opened, report.closed, ears.take()) == (1, 0, [("opened", 1)])
    site.slots.generate()
    assert ears.take() == []
    before = site.clock.now
    site.clock.turn(hours=2)
    site.slots.cancel("1@20260106T1100")
    site.session.commit()
    site.slots.generate()
    assert ears.take() == [("opened", 1), ("closed", 2)]
    assert ears.spans[-1] == (before, site.clock.now)
    site.clock.turn(days=1)
    assert site.slots.generate(template=1).opened == 0  # only what confirms everything looks
    assert ears.take() == []


def test_edges_during_a_top_up_are_told_by_the_next(
    sqlite_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that opens while a top-up works is told once, by the following one."""
    site = sqlite_site
    site.add(opens_before=timedelta(days=1))
    site.slots.generate()
    ears = Ears()
    site.clock.now = MONDAY.replace(hour=10) - A_SECOND
    working = Clock(site.clock.now)
    runner = site.topup.runner
    calls: list[int] = []

    def ticking() -> datetime:
        calls.append(1)
        return working.now if len(calls) < 4 else working.now + timedelta(seconds=2)

    monkeypatch.setattr(runner, "clock", ticking)
    site.slots.generate()
    assert len(calls) > 4
    monkeypatch.undo()
    first = ears.take()
    site.clock.turn(seconds=5)
    site.slots.generate()
    assert first + ears.take() == [("opened", 1)]


def test_what_ended_and_was_forgotten_is_told(sqlite_url: str, tmp_path: Path) -> None:
    """After a pause longer than the retention, the top-up that prunes the slots still tells that they ended."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_RETENTION_DAYS=3)
    with site.app.app_context():
        site.add()
        site.slots.generate()
        ears = Ears()
        site.clock.turn(days=6)
        report = site.slots.generate()
        site.session.rollback()
        assert (report.closed, ears.take()) == (48, [("closed", 48)])
        assert site.slots.runs()[0].closed == 48
        assert min(row.ends_at for row in site.rows()) >= site.clock.now - timedelta(days=3)


def test_a_receiver_that_fails_spoils_nothing(sqlite_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """An app that fails on hearing the signal has its top-up confirmed all the same."""
    site = sqlite_site
    site.add(opens_before=timedelta(days=1))
    site.slots.generate()
    site.clock.now = MONDAY.replace(hour=10)

    def fail(sender: Any, **facts: Any) -> None:
        raise RuntimeError("no mail today")

    with signals.slots_opened.connected_to(fail):
        assert site.slots.generate().opened == 1
    assert "slots-opened failed" in caplog.text
    assert site.slots.runs()[0].status == "confirmed"
