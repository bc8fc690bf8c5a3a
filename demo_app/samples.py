"""Three weeks of a life before the first visitor: bookings, a cancelled date, a moved one, a series that was split.

Everything is done through the public face of the library, by an app of its own whose clock stands where the story is.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from flask import Flask
from sqlalchemy import select

from flask_rollingslots import RollingSlots
from flask_rollingslots.errors import RollingSlotsError
from flask_rollingslots.values import State

from .models import db

if TYPE_CHECKING:
    from flask_rollingslots import SlotMixin

_PAST_DAYS, _COMING_DAYS, _LOOK_AHEAD = 21, 7, 60
_NAMES = (
    "Ada", "Bea", "Carlos", "Deniz", "Elif", "Farid", "Gonçalo", "Hannah", "Inês", "Juan", "Kerem", "Leyla", "Marta",
    "Nadia", "Otto", "Pilar", "Quim", "Rosa", "Selin", "Tomás", "Ursula", "Valeria", "Wanda", "Ximena", "Yusuf", "Zoe",
)  # fmt: skip
_INITIALS = "ABCDEFGHKLMNOPRSTVZ"
#: How often a slot is wanted: by weekday (0: Monday) and by hour.
_DAYS = (0.5, 0.5, 0.6, 0.8, 1.3, 1.8, 1.4)
_EVENING, _AFTERNOON, _MORNING = 0.55, 0.3, 0.14
#: A party is booked by many.
_LARGE, _CROWD = 20, 9


class _Story:
    """An app on the same database, whose clock can be set."""

    def __init__(self, site: Flask) -> None:
        self.now = datetime.now(UTC)
        self.app = Flask(__name__, instance_path=site.instance_path)
        for name in ("SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_ENGINE_OPTIONS"):
            if name in site.config:
                self.app.config[name] = site.config[name]
        self.app.config["ROLLINGSLOTS_ENABLED"] = False
        db.init_app(self.app)
        self.slots = RollingSlots(self.app, db=db, clock=lambda: self.now)
        self.chance = random.Random(7)  # noqa: S311 (a story, not a secret)

    def tell(self) -> None:
        """Live through the past, then book and change what is coming; one transaction for all decisions."""
        today = self.now
        self.now = today - timedelta(days=_PAST_DAYS)
        if db.session.scalar(select(self.slots.Template.id).limit(1)) is None:
            return
        self.slots.generate(days=_PAST_DAYS + 1)  # today too, as if the site had run all the time
        past = self.slots.between(self.now, today - timedelta(hours=3))
        for slot in past:
            self.now = slot.starts_at - timedelta(hours=2)
            self._fill(slot)
        self.now = today
        self._decide()
        for slot in self.slots.between(today, today + timedelta(days=_COMING_DAYS)):
            if slot.state == State.OPEN:
                self._fill(slot)
        db.session.commit()

    def _fill(self, slot: SlotMixin) -> None:
        """Let people book a slot, more of them in the evening and on weekends."""
        hour, weekday = slot.local_start.hour, slot.local_start.weekday()
        wish = _EVENING if hour >= 17 else _AFTERNOON if hour >= 13 else _MORNING
        crowd = _CROWD if slot.capacity >= _LARGE else 3 if slot.capacity > 4 else 1
        for _ in range(crowd):
            if self.chance.random() < wish * _DAYS[weekday] * (2 if crowd > 1 else 1):
                self._book(slot, self.chance.randint(1, min(slot.capacity, 4)))

    def _book(self, slot: SlotMixin, party: int) -> None:
        name = f"{self.chance.choice(_NAMES)} {self.chance.choice(_INITIALS)}."
        try:
            self.slots.book(slot.key, party=party, who=f"sample {name}", name=name)
        except RollingSlotsError:  # full by now, or closed: people live with that
            return

    def _decide(self) -> None:
        """Do what owners do: fill an evening, cancel a date, move one, and change a series from a day on."""
        evening = self._coming("Bubble football", hour=18)[0]
        self._book(evening, evening.capacity)
        yoga = self._coming("Yoga for beginners")[1]
        self._book(yoga, 2)
        self.slots.cancel(yoga.key, reason="The teacher is ill. See you next time!")
        laser = self._coming("Laser tag", hour=19)[1]
        self.slots.edit(
            laser.key,
            "this",
            start=(laser.local_start + timedelta(minutes=30)).replace(tzinfo=None),
            data={"note": "Half an hour later than usual: the maze is being rebuilt."},
        )
        choir = self._coming("Morning choir", weekday=0)[1]
        self.slots.edit(choir.key, "this_and_future", start=time(9, 0))

    def _coming(self, name: str, hour: int | None = None, weekday: int | None = None) -> list[SlotMixin]:
        """Return the next dates of an offer, at an hour or on a weekday."""
        cls = self.slots.Template
        template = db.session.scalars(select(cls).where(cls.name == name).order_by(cls.id)).one()
        wanted = [(slot.local_start, slot) for slot in self.slots.upcoming(template, _LOOK_AHEAD)]
        return [
            slot
            for start, slot in wanted
            if hour in (None, start.hour) and weekday in (None, start.weekday())
        ]


def add_samples(site: Flask) -> None:
    """Tell the story once: on a database in which nobody ever booked anything."""
    story = _Story(site)
    with story.app.app_context():
        if db.session.scalar(select(story.slots.Booking.id).limit(1)) is None:
            story.tell()
        db.session.remove()
        db.engine.dispose()
