"""One court and everything that people do with it, in random order: after each step no two bookings overlap."""

from __future__ import annotations

from datetime import date, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site
from random_day import SCOPES, RandomDay

from flask_rollingslots.values import OCCUPYING

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 150
CUTS = ("2026-01-06", "2026-01-07", "2026-01-08")


class Day(RandomDay):
    """People who book, move, edit, cancel and bring back slots of three templates on one court."""

    days = 6

    def __init__(self, site: Site, seed: int) -> None:
        super().__init__(site, seed)
        shapes = ((60, 60, 2), (90, 90, 1), (60, 30, 1))
        for minutes, every, capacity in shapes:
            site.add(
                resource="court",
                exclusive=True,
                capacity=capacity,
                duration=timedelta(minutes=minutes),
                every=timedelta(minutes=every),
                until_time=time(15),
                rrule="FREQ=DAILY;UNTIL=20260109",
            )

    def acts(self) -> dict[str, Any]:
        """Return what may be done next, by name."""
        slots, scope, choice = self.site.slots, self.choose.choice(SCOPES), self.choose.choice
        start = time(choice(range(9, 16)), choice((0, 15, 30)))
        length = timedelta(minutes=choice((30, 60, 90, 120)))
        return {
            "book": lambda: slots.book(self.key(), party=choice((1, 1, 2))),
            "hold": lambda: slots.hold(self.key(), minutes=choice((30, 300))),
            "confirm": lambda: slots.confirm(self.booking()),
            "release": lambda: slots.release(self.booking(), choice((True, False))),
            "move": lambda: slots.move(self.booking(), self.key(), choice((True, False))),
            "shift": lambda: slots.edit(
                self.key(), scope, start=start, move_booked=choice((True, True, False))
            ),
            "stretch": lambda: slots.edit(self.key(), scope, duration=length, move_booked=True),
            "places": lambda: slots.edit(self.key(), scope, capacity=choice((1, 2, 3))),
            "cancel": lambda: slots.cancel(self.key(), scope),
            "restore": lambda: slots.restore(self.key(), choice(SCOPES)),
            "restore_series": lambda: slots.restore_series(choice((1, 2, 3))),
            "cancel_future": lambda: slots.cancel_future(choice((1, 2, 3)), date.fromisoformat(choice(CUTS))),
            "delete": lambda: slots.delete(self.key(), "this"),
            "complete": lambda: slots.complete(self.key()),
            "claim": lambda: self.claim(choice((True, False))),
            "by_hand": lambda: self.by_hand(timedelta(minutes=choice((-60, 30, 60)))),
            "wait": lambda: self.site.clock.turn(minutes=45),
            "top_up": lambda: slots.generate(),
        }

    def claim(self, exclusive: bool) -> None:
        """Let a template claim the court, or give it up, through the ORM."""
        self.template().exclusive = exclusive

    def check(self) -> None:
        """No two booked slots of templates that claim the court overlap, unless both are over; the counters agree."""
        now, live = self.site.clock.now, self.live()
        taken = sorted(
            (row.starts_at, row.ends_at, row.key)
            for row in self.site.rows()
            if row.id in live and row.status in OCCUPYING and row.template.exclusive and row.ends_at > now
        )
        assert all(first[1] <= second[0] for first, second in pairwise(taken)), taken


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 40))])
def test_nothing_overlaps_whatever_happens(sqlite_url: str, tmp_path: Path, seed: int) -> None:
    """Bookings, holds, moves, edits, ends, restores, claims and changes by hand: the court is never taken twice."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        day = Day(site, seed)
        for number in range(STEPS):
            day.step()
            day.check()
            if number % 30 == 29:
                assert day.differences() == []
        assert len(day.done) > 12
