"""A whole life in random order, day after day, with crashes: the promises hold after each step."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import pytest
from figures import SCALE, scaled, tell
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from loop_site import DAY, Clock, Site, make_site, week
from sqlalchemy import event

from flask_rollingslots import errors, extension
from flask_rollingslots.topup import gate, run

EXAMPLES = 300
STEPS = 50
COUNTS = {"examples": 0, "steps": 0, "crashes": 0, "bookings": 0}


class PowerCut(BaseException):
    """From here on nothing reaches the database any more."""


class Cache:
    """A backend in memory that can forget, fail, or say the same for ever."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.fails = self.wedged = False

    def get(self, key: str) -> Any:
        """Return a value."""
        if self.fails:
            raise ConnectionError("down")
        return self.values.get(key)

    def set(self, key: str, value: Any, timeout: int | None = None) -> bool:
        """Keep a value, unless an older one is wedged."""
        if self.fails:
            raise ConnectionError("down")
        if not (self.wedged and key in self.values):
            self.values[key] = value
        return True


class Life(RuleBasedStateMachine):
    """Two processes on one database; one may die at any statement."""

    @initialize()
    def begin(self) -> None:
        """A new database with one template, in chunks of 20 rows."""
        COUNTS["examples"] += 1
        self.folder = Path(tempfile.mkdtemp(prefix="rs-life-"))
        self.clock, self.cache = Clock(), Cache()
        self.patches = [
            mock.patch.object(module, "monotonic", lambda: monotonic() + self.clock.passed)  # noqa: PT008
            for module in (extension, gate)
        ]
        self.patches += [
            mock.patch.object(run, name, 20) for name in ("_SMALLEST_CHUNK", "_FIRST_CHUNK", "_LARGEST_CHUNK")
        ]
        for patch in self.patches:
            patch.start()
        self.sites = [self.process(create=True), self.process()]
        self.template = self.sites[0].add_quietly(capacity=2)
        self.bookings: dict[int, str] = {}
        self.cancelled: set[str] = set()

    def process(self, create: bool = False) -> Site:
        """Start a process."""
        url = f"sqlite:///{self.folder / 'life.db'}"
        site = make_site(url, self.clock, create=False, lease_seconds=1)
        site.topup.hint._find = lambda: self.cache
        with site.app.app_context():
            engine = site.db.engine

            @event.listens_for(engine, "connect")
            def connect(raw: Any, _record: Any) -> None:
                raw.execute("PRAGMA journal_mode = WAL")
                raw.execute("PRAGMA synchronous = OFF")

            if create:
                site.db.create_all()
        return site

    def teardown(self) -> None:
        """Close everything."""
        for site in getattr(self, "sites", ()):
            site.finish()
            with site.app.app_context():
                site.db.engine.dispose()
        for patch in getattr(self, "patches", ()):
            patch.stop()
        shutil.rmtree(getattr(self, "folder", "/nonexistent"), ignore_errors=True)

    def key(self, day: int, hour: int) -> str:
        """Return the key of a slot some days ahead."""
        start = (self.clock.now + day * DAY).replace(hour=10 + hour, minute=0, tzinfo=None)
        return f"{self.template}@{start:%Y%m%dT%H%M}"

    # -- what happens --------------------------------------------------------------------------------------

    @rule(who=st.integers(0, 1), path=st.sampled_from(["/", "/plain"]))
    def visit(self, who: int, path: str) -> None:
        """Somebody looks; the week is whole on every page."""
        page = self.sites[who].visit(path)
        if path == "/":
            assert page["starts"] == self.promised()

    @rule(minutes=st.sampled_from([1, 61, 300, 1440, 1440, 2880, 14400]))
    def time_passes(self, minutes: int) -> None:
        """Minutes or days pass without anybody."""
        self.clock.pass_by(timedelta(minutes=minutes))

    @rule(
        who=st.integers(0, 1),
        at=st.integers(1, 40),
        path=st.sampled_from(["/", "/plain"]),
        hours=st.sampled_from([0, 2, 24, 48]),
    )
    def crash(self, who: int, at: int, path: str, hours: int) -> None:
        """A process dies at its n-th statement; nothing that it does later reaches the database. Another starts."""
        self.clock.pass_by(timedelta(hours=hours))
        site, count = self.sites[who], [0]
        with site.app.app_context():
            engine = site.db.engine

        def step(*_: Any) -> None:
            count[0] += 1
            if count[0] >= at:
                raise PowerCut

        for name in ("before_cursor_execute", "commit"):
            event.listen(engine, name, step)
        with mock.patch("threading.excepthook"):
            with suppress(PowerCut):  # in the page itself; the background may go on to its own end
                site.app.test_client().get(path)
            site.finish()
        COUNTS["crashes"] += count[0] >= at
        engine.dispose()
        self.sites[who] = self.process()

    @rule(what=st.sampled_from(["lost", "fails", "works", "wedged"]))
    def cache_changes(self, what: str) -> None:
        """The cache forgets, fails, comes back, or keeps what it has."""
        self.cache.fails, self.cache.wedged = what == "fails", what == "wedged"
        if what == "lost":
            self.cache.values.clear()

    @rule(capacity=st.integers(2, 5))
    def edit_rule(self, capacity: int) -> None:
        """The owner edits the template."""
        site = self.sites[0]
        with site.app.app_context():
            site.db.session.get(site.slots.Template, self.template).capacity = capacity
            site.db.session.commit()
        site.finish()

    @rule(who=st.integers(0, 1), day=st.integers(0, 9), hour=st.integers(0, 11))
    def book(self, who: int, day: int, hour: int) -> None:
        """Somebody books, also beyond the window."""
        key, site = self.key(day, hour), self.sites[who]
        with site.app.app_context():
            try:
                made = site.slots.book(key)
                site.db.session.commit()
            except (errors.SlotFull, errors.SlotClosed, errors.SlotNotFound):
                site.db.session.rollback()
            else:
                self.bookings[made.id] = key
                COUNTS["bookings"] += 1
        site.finish()

    @precondition(lambda self: self.bookings)
    @rule(who=st.integers(0, 1), choice=st.randoms(use_true_random=False))
    def release(self, who: int, choice: Any) -> None:
        """Somebody gives a booking back."""
        number = choice.choice(sorted(self.bookings))
        site = self.sites[who]
        with site.app.app_context():
            site.slots.release(number, override=True)
            site.db.session.commit()
        del self.bookings[number]

    @rule(day=st.integers(0, 6), hour=st.integers(0, 11))
    def cancel(self, day: int, hour: int) -> None:
        """The owner cancels a slot."""
        key, site = self.key(day, hour), self.sites[1]
        with site.app.app_context():
            try:
                site.slots.cancel(key)
                site.db.session.commit()
            except (errors.SlotNotFound, errors.StatusConflict):
                site.db.session.rollback()
            else:
                self.cancelled.add(key)

    @rule(day=st.integers(0, 6), hour=st.integers(0, 11))
    def row_lost(self, day: int, hour: int) -> None:
        """Somebody deletes an untouched row by hand."""
        start = (self.clock.now + day * DAY).replace(hour=10 + hour, minute=0, tzinfo=None)
        self.sites[0].sql(
            "DELETE FROM rolling_slot WHERE original_start = :start AND booked = 0 AND status = 'scheduled' "
            "AND id NOT IN (SELECT slot_id FROM rolling_booking)",
            start=f"{start:%Y-%m-%d %H:%M:%S}.000000",
        )

    @rule()
    def settled(self) -> None:
        """After an hour without a crash, one visit makes everything complete and confirmed."""
        self.cache.fails = self.cache.wedged = False
        self.clock.pass_by(timedelta(minutes=61))
        for site in self.sites:
            site.visit("/plain")
        self.sites[0].visit("/")
        starts = [f"{start:%Y-%m-%dT%H:%M:%S}" for start in self.sites[0].starts()]
        assert set(self.promised()) <= set(starts)
        with self.sites[0].app.app_context():
            health = self.sites[0].slots.health()
        assert health.status == "ok", health
        assert self.sites[0].lease().until_ms == 0

    # -- what always holds ---------------------------------------------------------------------------------

    def promised(self) -> list[str]:
        """Return what a page has to show: from now on to the end of the seventh day."""
        return [start.isoformat() for start in week(self.clock.now)]

    @invariant()
    def never_twice_never_lost_never_oversold(self) -> None:
        """No start is there twice, bookings stay, what was cancelled stays so, and places are counted right."""
        COUNTS["steps"] += 1
        rows = self.sites[0].sql("SELECT id, original_start, status, capacity, booked FROM rolling_slot")
        starts = [row[1] for row in rows]
        assert len(starts) == len(set(starts))
        assert all(booked <= max(capacity, 2) for *_, capacity, booked in rows)
        by_key = {
            f"{self.template}@{start[:16].translate(_COMPACT)}": status for _, start, status, *_ in rows
        }
        assert all(by_key.get(key) == "cancelled" for key in self.cancelled)
        live = self.sites[0].sql("SELECT id FROM rolling_booking WHERE status = 'confirmed'")
        assert {row[0] for row in live} == set(self.bookings)
        assert sum(row[4] for row in rows) == len(self.bookings)
        half = self.sites[0].sql(
            "SELECT r.id FROM rolling_run r WHERE r.done < (SELECT COUNT(*) FROM rolling_slot s WHERE s.run_id = r.id)"
        )
        assert half == []


_COMPACT = str.maketrans({"-": None, ":": None, " ": "T"})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whole_life() -> None:
    """Random lives of two processes: ticks, days, crashes, a lost cache, edits, bookings, cancellations."""
    from hypothesis.stateful import run_state_machine_as_test

    COUNTS.update(dict.fromkeys(COUNTS, 0))
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=scaled(EXAMPLES, 8),
            stateful_step_count=STEPS if SCALE else 20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    tell("E25 whole life", **COUNTS)
    assert COUNTS["crashes"] > 0
    assert COUNTS["bookings"] > 0
