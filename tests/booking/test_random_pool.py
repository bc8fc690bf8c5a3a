"""Four machines and everything that people do with them, in random order: never more in use than there are."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site
from random_day import SCOPES, RandomDay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS, MACHINES = 150, 4
#: All times are multiples of it.
STEP = timedelta(minutes=5)
WIDTHS = (None, timedelta(0), STEP, 3 * STEP)


def in_use(taken: list[tuple[int, datetime, datetime, timedelta, timedelta, int]]) -> int:
    """Count how many machines are needed at some step: what one series has in use, or keeps for itself, adds up.

    A series passes machines on within itself: while it sets up or cleans, it needs as many as were in use at once.

    :param taken: series, start, end, setup, cleanup, places of each slot.
    """
    at: defaultdict[datetime, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, (series, start, end, setup, cleanup, _) in enumerate(taken):
        for moment in steps(start - setup, end + cleanup):
            at[moment][series].append(number)
    most = 0
    for by_series in at.values():
        needed = 0
        for numbers in by_series.values():
            used: defaultdict[datetime, int] = defaultdict(int)
            for _, start, end, _, _, places in (taken[number] for number in numbers):
                for moment in steps(start, end):
                    used[moment] += places
            needed += max(used.values())
        most = max(most, needed)
    return most


def steps(start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the moments from a start to an end."""
    while start < end:
        yield start
        start += STEP


class Day(RandomDay):
    """People who book, move, edit, cancel and bring back slots of three templates that share four machines."""

    days = 4

    def __init__(self, site: Site, seed: int) -> None:
        super().__init__(site, seed)
        for minutes, every, capacity in ((60, 15, 4), (60, 60, 6), (90, 30, 2)):
            site.add(
                resource="machines",
                pool=MACHINES,
                capacity=capacity,
                setup=self.choose.choice(WIDTHS),
                cleanup=self.choose.choice(WIDTHS),
                duration=timedelta(minutes=minutes),
                every=timedelta(minutes=every),
                until_time=time(13),
                rrule="FREQ=DAILY;UNTIL=20260107",
            )

    def acts(self) -> dict[str, Any]:
        """Return what may be done next, by name."""
        slots, scope, choice = self.site.slots, self.choose.choice(SCOPES), self.choose.choice
        start, length = time(choice(range(9, 14)), choice((0, 15, 40))), STEP * choice((6, 12, 17))
        return {
            "book": lambda: slots.book(self.key(), party=choice((1, 1, 2, 3))),
            "hold": lambda: slots.hold(self.key(), party=choice((1, 2)), minutes=choice((30, 300))),
            "confirm": lambda: slots.confirm(self.booking()),
            "release": lambda: slots.release(self.booking(), choice((True, False))),
            "move": lambda: slots.move(self.booking(), self.key(), choice((True, False))),
            "shift": lambda: slots.edit(
                self.key(), scope, start=start, move_booked=choice((True, True, False))
            ),
            "stretch": lambda: slots.edit(self.key(), scope, duration=length, move_booked=True),
            "places": lambda: slots.edit(self.key(), scope, capacity=choice((1, 3, 6))),
            "widen": lambda: slots.edit(self.key(), choice(SCOPES[1:]), cleanup=choice(WIDTHS)),
            "widen_all": lambda: slots.change_template(choice((1, 2, 3)), setup=choice(WIDTHS)),
            "cancel": lambda: slots.cancel(self.key(), scope),
            "restore": lambda: slots.restore(self.key(), choice(SCOPES)),
            "restore_series": lambda: slots.restore_series(choice((1, 2, 3))),
            "cancel_future": lambda: slots.cancel_future(choice((1, 2, 3)), date(2026, 1, choice((6, 7)))),
            "complete": lambda: slots.complete(self.key()),
            "close": lambda: (
                slots.close(date(2026, 1, 6)) if choice((0, 1)) else slots.reopen(date(2026, 1, 6))
            ),
            "leave": lambda: self.leave(choice((True, False))),
            "by_hand": lambda: self.by_hand(STEP * choice((-12, 3, 6))),
            "wait": lambda: self.site.clock.turn(minutes=20),
            "top_up": lambda: slots.generate(),
        }

    def leave(self, is_back: bool) -> None:
        """Let a template go to another resource, or come back, through the ORM."""
        self.template().resource = "machines" if is_back else "elsewhere"

    def check(self) -> None:
        """No more machines are needed than there are, for what is not over; the counters agree."""
        now, live = self.site.clock.now, self.live()
        taken: dict[str, list[Any]] = {"machines": [], "elsewhere": []}
        for row in self.site.rows():
            if row.id in live and row.status in ("scheduled", "completed") and row.ends_at > now:
                template = row.template
                widths = (template.setup or timedelta(0), template.cleanup or timedelta(0))
                taken[template.resource].append(
                    (row.series_id, row.starts_at, row.ends_at, *widths, live[row.id])
                )
        for name, slots in taken.items():
            assert in_use(slots) <= MACHINES, (name, slots)

    def compare(self) -> None:
        """What SQL says of the stored slots is what Python says, where rules and rows agree; values say it too."""
        assert self.differences() == []
        self.site.slots.generate()
        self.site.session.expire_all()
        cls = self.site.slots.Slot
        rows = self.site.session.execute(self.site.db.select(cls, cls.state, cls.is_bookable)).all()
        assert [(str(row.state), row.is_bookable) for row, *_ in rows] == [(s, bool(b)) for _, s, b in rows]


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 40))])
def test_no_more_than_there_is_whatever_happens(sqlite_url: str, tmp_path: Path, seed: int) -> None:
    """Bookings, holds, moves, edits, ends, restores, other widths and resources: the pool is never overdrawn."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        day = Day(site, seed)
        for number in range(STEPS):
            day.step()
            day.check()
            if number % 30 == 29:
                day.compare()
        assert len(day.done) > 12
