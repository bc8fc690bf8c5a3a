"""A month of random decisions, compared after each step with a model that knows nothing of the library."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers import Clock, Site
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from month_model import BERLIN, FIRST_DAY, Change, Model, Refused

from flask_rollingslots.errors import RollingSlotsError

NOW = datetime(2026, 3, 10, 7, tzinfo=UTC)
DAY = timedelta(days=1)
SCOPES = st.sampled_from(["this", "this_and_future", "all"])
WIDE = st.sampled_from(["this_and_future", "all"])
PICK = st.integers(0, 999)

CHANGES = st.one_of(
    st.fixed_dictionaries({"minutes": st.sampled_from([-1440, -90, -60, -30, 30, 60, 120, 1440])}),
    st.fixed_dictionaries({"duration": st.sampled_from([30, 60, 90])}),
    st.fixed_dictionaries({"capacity": st.integers(1, 3)}),
    st.fixed_dictionaries({"data": st.dictionaries(st.sampled_from("ab"), st.integers(0, 9), min_size=1)}),
    st.fixed_dictionaries({"interval": st.sampled_from([1, 2])}),
    st.fixed_dictionaries({"minutes": st.sampled_from([-60, 60]), "capacity": st.integers(1, 3)}),
)


class Month(RuleBasedStateMachine):
    """Visitors book, an owner changes her mind, days go by."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        self.site = Site(f"sqlite:///{path / 'month.db'}", path, Clock(NOW))
        self.context = self.site.app.app_context()
        self.context.push()
        self.site.add(
            dtstart=datetime.combine(FIRST_DAY, time(10)),
            until_time=time(13),
            timezone="Europe/Berlin",
            capacity=2,
        )
        self.model = Model(NOW)
        self.bookings: list[tuple[datetime, int]] = []

    def teardown(self) -> None:
        if hasattr(self, "context"):
            self.site.session.remove()
            self.site.db.engine.dispose()
            self.context.pop()
            self.folder.cleanup()

    # -- doing the same to both

    def both(self, act: Any, pretend: Any, is_booking: bool = False) -> Any:
        """Do something to the site and to the model: both do it, or both refuse and nothing changed."""
        try:
            pretend()
            refused = False
        except Refused:
            refused = True
        if not refused:
            result = act()
            self.site.session.commit()
            return result
        with pytest.raises(RollingSlotsError):
            act()
        if is_booking:
            self.site.session.rollback()  # the slot of a refused booking is a row by then
        else:
            self.site.session.commit()  # what was refused may be committed: it wrote nothing
        return None

    def pick(self, number: int, hidden: bool = False) -> tuple[datetime, str]:
        """Choose a slot of the next ten days, or one that was decided about."""
        soon = self.model.now + 10 * DAY
        found = {k for k, row in self.model.reachable().items() if self.model.now - DAY <= row.start < soon}
        if hidden:
            found = {
                k for k, row in self.model.rows.items() if row.status in ("cancelled", "deleted")
            } or found
        key = sorted(found)[number % len(found)] if found else datetime(2026, 4, 1, 10)
        return key, f"1@{key:%Y%m%dT%H%M}"

    # -- what people do

    @rule(number=PICK, scope=SCOPES, what=CHANGES, move_booked=st.booleans())
    def edit(self, number: int, scope: str, what: Change, move_booked: bool) -> None:
        key, text = self.pick(number)
        change, fields = self.change_of(key, scope, what)
        if scope == "this" and "interval" in change:
            return

        def act() -> None:
            preview = self.site.slots.preview_edit(text, scope, move_booked=move_booked, **fields)
            done = self.site.slots.edit(text, scope, move_booked=move_booked, **fields)
            assert preview.to_dict() == done.to_dict()

        def pretend() -> None:
            if scope == "this":
                self.model.edit_this(key, change, move_booked)
            else:
                self.model.edit_wide(key, scope, change, move_booked)

        self.both(act, pretend)

    def change_of(self, key: datetime, scope: str, what: Change) -> tuple[Change, Change]:
        """Return a change as the model and as the library takes it."""
        change = dict(what)
        if "duration" in change:
            change["duration"] = timedelta(minutes=change["duration"])
        if "minutes" in change:
            delta = timedelta(minutes=change.pop("minutes"))
            row = self.model.rows.get(key)
            shown = self.model.reachable().get(key)
            nominal = key + (shown or row or self.model).segment.shift if shown or row else key  # type: ignore[union-attr]
            if scope == "this" and shown is not None:
                nominal = shown.start.astimezone(BERLIN).replace(tzinfo=None)
            change["start"] = nominal + delta
        fields = dict(change)
        if "interval" in fields:
            fields["rrule"] = f"FREQ=DAILY;INTERVAL={fields.pop('interval')}"
        return change, fields

    @rule(number=PICK)
    def book(self, number: int) -> None:
        key, text = self.pick(number)
        made = self.both(lambda: self.site.slots.book(text), lambda: self.model.book(key), is_booking=True)
        if made is not None:
            self.bookings.append((key, made.id))

    @precondition(lambda self: self.bookings)
    @rule(number=PICK)
    def release(self, number: int) -> None:
        key, booking = self.bookings.pop(number % len(self.bookings))
        self.both(lambda: self.site.slots.release(booking, True), lambda: self.model.release(key))

    @rule(number=PICK, status=st.sampled_from(["cancelled", "deleted", "completed"]))
    def decide(self, number: int, status: str) -> None:
        key, text = self.pick(number)
        slots = self.site.slots
        act = {"cancelled": slots.cancel, "deleted": slots.delete, "completed": slots.complete}[status]
        self.both(lambda: act(text), lambda: self.model.set_status(key, status))

    @rule(number=PICK, scope=WIDE, status=st.sampled_from(["cancelled", "deleted"]))
    def end(self, number: int, scope: str, status: str) -> None:
        key, text = self.pick(number)
        act = self.site.slots.cancel if status == "cancelled" else self.site.slots.delete
        self.both(lambda: act(text, scope), lambda: self.model.end(key, scope, status))

    @rule(days=st.integers(0, 12))
    def cancel_future(self, days: int) -> None:
        day = (self.model.now + days * DAY).date()
        self.both(lambda: self.site.slots.cancel_future(1, day), lambda: self.model.cancel_future(day))

    @rule(number=PICK, scope=SCOPES)
    def restore(self, number: int, scope: str) -> None:
        key, text = self.pick(number, hidden=True)
        if scope == "this" and key not in self.model.rows:
            return
        if scope == "this":
            self.both(lambda: self.site.slots.restore(text), lambda: self.model.restore_this(key))
        else:
            self.both(
                lambda: self.site.slots.restore(text, scope), lambda: self.model.restore_wide(key, scope)
            )

    @rule()
    def restore_series(self) -> None:
        self.both(lambda: self.site.slots.restore_series(1), lambda: self.model.restore_wide(None, "all"))

    @rule(active=st.booleans())
    def switch(self, active: bool) -> None:
        slots = self.site.slots
        act = slots.activate if active else slots.deactivate
        self.both(lambda: act(template=1), lambda: self.model.switch(active))

    # -- what time does

    @rule(hours=st.sampled_from([1, 3, 24, 24, 30]))
    def wait(self, hours: int) -> None:
        if self.model.now < NOW + 30 * DAY:
            self.model.now = self.site.clock.turn(hours=hours)

    @rule()
    def top_up(self) -> None:
        self.site.slots.generate()
        self.site.session.rollback()
        self.model.top_up()

    # -- what must hold

    @invariant()
    def reads_are_rule_and_decisions(self) -> None:
        self.compare(self.model.now - 2 * DAY, self.model.now + 9 * DAY)

    @rule(days=st.integers(9, 40))
    def look_far_ahead(self, days: int) -> None:
        self.compare(self.model.now + days * DAY, self.model.now + (days + 5) * DAY)

    def compare(self, first: datetime, end: datetime) -> None:
        found = self.site.slots.between(first, end)
        said = [
            (s.original_start, s.starts_at, s.ends_at, s.status, s.capacity, s.booked, s.data, s.is_virtual)
            for s in found
        ]
        expected = [
            (k, r.start, r.end, r.status, r.capacity, r.booked, r.data, k not in self.model.rows)
            for k, r in self.model.shown().items()
            if first <= r.start < end
        ]
        only_said = [each for each in said if each not in expected]
        only_expected = [each for each in expected if each not in said]
        assert (only_said, only_expected) == ([], [])

    @invariant()
    def no_row_is_lost_or_doubled(self) -> None:
        self.site.session.expire_all()
        rows = self.site.rows()
        assert [row.original_start for row in rows] == sorted(self.model.rows)
        live = Counter(key for key, _ in self.bookings)
        assert {r.original_start: r.booked for r in rows if r.booked} == dict(live)
        said = [
            (r.starts_at, r.ends_at, r.status, r.capacity, r.data, bool(r.displaced), bool(r.withdrawn))
            for r in rows
        ]
        kept = [row for _, row in sorted(self.model.rows.items(), key=lambda item: item[0])]
        assert said == [
            (r.start, r.end, r.status, r.capacity, r.data, r.displaced, r.withdrawn) for r in kept
        ]
        for row in rows:
            assert len(row.customised) == len(self.model.rows[row.original_start].custom)
            assert (row.run_id is not None) == self.model.rows[row.original_start].by_run


CALM = [HealthCheck.too_slow, HealthCheck.filter_too_much]
TestMonth = Month.TestCase
TestMonth.settings = settings(max_examples=8, stateful_step_count=25, suppress_health_check=CALM)


class LongMonth(Month):
    """The same for longer."""


TestLongMonth = pytest.mark.slow(LongMonth.TestCase)
TestLongMonth.settings = settings(max_examples=400, stateful_step_count=50, suppress_health_check=CALM)
