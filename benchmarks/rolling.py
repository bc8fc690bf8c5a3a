"""What the next day costs: all but the last day of a window is stored. The bulk path for a week's rows is beside it.

Ours reads the templates, sees that the old part is as the rules say, expands and writes the new day under the lease,
and records the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import delete

from flask_rollingslots.models import table_of

from .filling import BULK, DATABASES, Ground
from .frame import Bench, DifferentWork, Row, Side, Skip, at_most, benchmark
from .reading import clock_of
from .site import MIDNIGHT, WEEK

TEMPLATES = 100
DAY = timedelta(days=1)
#: At most so many times the bulk path for the whole week, where templates share their times and where each has its own.
SHARED, OWN = at_most(0.5), at_most(1.5)


class Days(Ground):
    """A database with a week of slots, to which a day is added."""

    def __init__(self, bench: Bench, kind: str, *, each_its_own: bool) -> None:
        """Make it, and keep the rows of the week and of the new day for the bare side."""
        super().__init__(bench, kind, TEMPLATES, each_its_own=each_its_own)
        self.week = self.rows
        self.roll()
        with self.site.app.app_context():
            self._remember(table_of(self.site.slots.Slot).c.starts_at >= MIDNIGHT + WEEK)
        self.day = self.rows
        if (len(self.week), len(self.day)) != (TEMPLATES * 168, TEMPLATES * 24):
            raise DifferentWork(f"{len(self.week)} rows of a week, {len(self.day)} of a new day")

    def back(self) -> None:
        """Take the new day away, and let a top-up see that the day before is complete."""
        slot = table_of(self.site.slots.Slot)
        self.site.now = MIDNIGHT
        with self.site.app.app_context():
            self.site.db.session.execute(delete(slot).where(slot.c.starts_at >= MIDNIGHT + WEEK))
            self.site.db.session.commit()
            report = self.site.slots.generate()
            self.site.db.session.remove()
        if (report.created, report.existing) != (0, TEMPLATES * 168):
            raise DifferentWork(f"the day before is not complete: {report}")

    def roll(self) -> int:
        """Let the next day begin; return how many rows are new."""
        self.site.now = MIDNIGHT + DAY
        with self.site.app.app_context():
            return int(self.site.slots.generate().created)

    def clear(self) -> None:
        """Take all slots away."""
        with self.site.app.app_context():
            self.site.db.session.execute(delete(table_of(self.site.slots.Slot)))
            self.site.db.session.commit()

    def bare_day(self) -> int:
        """Hand the new day's rows to the driver; return how many there were."""
        self.rows = self.day
        return self.bare()

    def bare_week(self) -> int:
        """Hand the week's rows to the driver; return how many there were."""
        self.rows = self.week
        return self.bare()


@benchmark("rolling")
def rolling(bench: Bench) -> Iterator[Row]:
    """The next day of a stored week beside the driver's bulk path, times shared and each template its own."""
    for kind in DATABASES:
        for what, own, bound in (("shared times", False, SHARED), ("each template its own times", True, OWN)):
            try:
                days = Days(bench, kind, each_its_own=own)
            except Skip as reason:
                bench.skip(kind, reason)
                break
            with days.site.app.app_context():
                clock = clock_of(days.site)
            name = f"{kind}, one more day of {TEMPLATES} templates, {what}"
            ours = Side("top-up", days.roll, days.back, clock=clock)
            week = Side(
                f"{BULK[kind]}, {len(days.week):,} rows of a week", days.bare_week, days.clear, clock=clock
            )
            yield bench.compare(name, ours, week, bound, check=None)
            if kind == "sqlite":
                calls = len(days.day)
                ours = Side("top-up, a slot", days.roll, days.back, calls, clock)
                day = Side(f"{BULK[kind]}, a row of that day", days.bare_day, days.back, calls, clock)
                yield bench.compare(f"{name}, each new slot", ours, day)
