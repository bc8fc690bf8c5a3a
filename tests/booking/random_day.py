"""People who book, move, edit, cancel and bring back slots, in random order: what all such days have in common."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from helpers import MONDAY, Site
from same_views import differences

from flask_rollingslots.errors import RollingSlotsError

if TYPE_CHECKING:
    from collections.abc import Callable

SCOPES = ("this", "this_and_future", "all")
_OFTEN = ("book", "hold", "move", "shift", "restore")


class RandomDay:
    """Does one thing after the other to a site; what is refused is refused."""

    #: Slots of so many days are looked at.
    days: int

    def __init__(self, site: Site, seed: int) -> None:
        self.site, self.choose = site, Random(seed)
        self.done: set[str] = set()

    def acts(self) -> dict[str, Callable[[], Any]]:
        """Return what may be done next, by name."""
        raise NotImplementedError

    def key(self) -> str:
        """Return the key of any slot, stored or not, shown or cancelled."""
        found = self.site.slots.between(MONDAY, MONDAY + timedelta(days=self.days))
        rows = [row.key for row in self.site.rows()]
        return str(self.choose.choice([slot.key for slot in found] + rows))

    def booking(self) -> int:
        """Return the number of any booking there was so far, or might be."""
        return self.choose.randint(1, 1 + self.site.session.query(self.site.slots.Booking).count())

    def template(self) -> Any:
        """Return any template."""
        cls = self.site.slots.Template
        return self.choose.choice(self.site.session.query(cls).order_by(cls.id).all())

    def step(self) -> None:
        """Do something; what is refused is refused."""
        acts = self.acts()
        weights = [5 if name in _OFTEN else 1 for name in acts]
        name = self.choose.choices(list(acts), weights)[0]
        try:
            acts[name]()
            self.site.session.commit()
            self.done.add(name)
        except RollingSlotsError:
            self.site.session.rollback()

    def differences(self) -> list[str]:
        """Return where values say something else than rows, also where no top-up has followed yet."""
        end = MONDAY + timedelta(days=self.days)
        return [
            each
            for wide in (False, True)
            for each in differences(self.site.slots, MONDAY, end, overlapping=wide)
        ]

    def by_hand(self, by: timedelta) -> None:
        """Move a stored slot through the ORM."""
        rows = self.site.rows()
        if rows:
            row = self.choose.choice(rows)
            row.starts_at, row.ends_at = row.starts_at + by, row.ends_at + by

    def live(self) -> dict[int, int]:
        """Return how many places are taken in each slot that has some, by its id; the counters agree."""
        now, found = self.site.clock.now, dict[int, int]()
        for booking in self.site.session.query(self.site.slots.Booking):
            if booking.status_at(now) in ("confirmed", "held"):
                found[booking.slot_id] = found.get(booking.slot_id, 0) + booking.party
        for row in self.site.rows():
            assert row.booked_at(now) == found.get(row.id, 0)
        return found
