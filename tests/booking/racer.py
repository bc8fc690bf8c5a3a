"""The processes that race for the same slots: forked by one process, which ``races.py`` forks from the test's.

Each says ``ready``, waits for a line, and then reports every outcome as a line of its own, after the commit.
"""

from __future__ import annotations

import gc
import os
import signal
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from helpers import Site
from sqlalchemy import func, insert, select
from sqlalchemy.exc import OperationalError

from flask_rollingslots.booking import lifecycle, limits, repeating, resources, waiting
from flask_rollingslots.context import segments
from flask_rollingslots.errors import LimitReached, LostRace, SlotClosed, SlotFull, TooManyHolds
from flask_rollingslots.models import table_of
from flask_rollingslots.statements import is_lost_race
from flask_rollingslots.values import SlotKey, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

#: How often a transaction that the database ended is run again.
TRIES = 20
#: How many of a crowd have booked, and how many it has.
GUESTS, RACERS = 5, 8
SERVE = waiting.serve


def book(site: Site, key: str, who: str) -> int:
    """Book as an app does."""
    return int(site.slots.book(key, who=who, idempotency_key=key).id)


def check_then_book(site: Site, key: str, who: str) -> int:
    """Look whether there is room, then book: the mistake that everybody makes once."""
    slot = site.slots.materialize(key)
    site.session.commit()
    bookings = table_of(site.slots.Booking)
    taken = site.session.scalar(select(func.count()).where(bookings.c.slot_id == slot.id)) or 0
    if taken >= slot.capacity:
        raise SlotFull
    row = {"slot_id": slot.id, "who": who, "status": "confirmed", "created_at": site.clock.now, "party": 1}
    return int(site.session.execute(insert(bookings).values(**row)).inserted_primary_key[0])


def book_without_lock(site: Site, key: str, who: str) -> int:
    """Look for overlaps, but without the resource's lock."""
    resources.lock_resource = lambda *_: None  # type: ignore[assignment]
    resources.dialect_of = lambda _: "a database that reads without locks"  # type: ignore[assignment]
    return book(site, key, who)


def hold_for_one(site: Site, key: str, who: str) -> int:
    """Hold a place in the name of the one person whose day it is, whoever this racer is."""
    return int(site.slots.hold(key, who=key.partition("T")[0], idempotency_key=who).id)


def hold_without_lock(site: Site, key: str, who: str) -> int:
    """Count what this person holds, but let others of this person count at the same time."""
    limits.lock_holds = lambda *_: False  # type: ignore[assignment]
    return hold_for_one(site, key, who)


def book_weeks(site: Site, key: str, who: str) -> int:
    """Book four weeks, all or none."""
    report = site.slots.book_series(key, 4, who=who, idempotency_key=key)
    assert report.repeats_id is not None
    return report.repeats_id


def book_weeks_without_lock(site: Site, key: str, who: str) -> int:
    """Book four weeks, but lock each of them when its turn comes."""
    repeating.lock_series = lambda work, key, _: segments(work, [key.series_id])
    return book_weeks(site, key, who)


def book_weeks_one_by_one(site: Site, key: str, who: str) -> int:
    """Book one week after the other: what everybody writes who has no call for it."""
    keys = repeating.Repeats(4).starts(key_of(key).original_start, site.slots.segments(key))
    for start in keys:
        made = site.slots.book(str(SlotKey(key_of(key).series_id, start)), who=who)
        site.session.commit()
    return int(made.id)


def take_for_one(site: Site, key: str, who: str) -> int:
    """Book for the one person that all racers are; every third time hold, and make it more."""
    request = f"{who} {key}"
    if sum(map(ord, request)) % 3:
        return int(site.slots.book(key, who="ada", idempotency_key=request).id)
    booking = site.slots.hold(key, who="ada", idempotency_key=request, minutes=30, is_person=False)
    try:
        with site.session.begin_nested():
            site.slots.change_party(booking, 2)
    except LimitReached:
        pass
    return int(booking.id)


def take_without_lock(site: Site, key: str, who: str) -> int:
    """Count what this person has, but let others of this person count at the same time."""
    limits._lock_person = lambda *_: False  # type: ignore[assignment]
    limits._is_old = lambda *_: False  # type: ignore[assignment]
    return take_for_one(site, key, who)


def crowd(site: Site, key: str, who: str) -> int:
    """Five give back what they booked, two begin to wait, and one wants to be faster than all who wait."""
    number = int(who.split()[1])
    if number < GUESTS:
        return int(site.slots.release(find(site, key, f"guest {number}")).id)
    if number < RACERS - 1:
        return int(site.slots.wait(key, who=who).id)
    return book(site, key, who)


def crowd_without_lock(site: Site, key: str, who: str) -> int:
    """Give back, and then offer what is free by what one has read, as everybody would do it first."""
    lifecycle.waiting.serve = lambda *_: []  # type: ignore[assignment]
    made = crowd(site, key, who)
    site.session.commit()
    served = site.slots.Booking
    slot = site.session.get(served, made).slot
    SERVE(site.app.extensions["rollingslots"].writing(), slot)
    return made


def find(site: Site, key: str, who: str) -> int:
    """Return the id of somebody's booking in a slot."""
    slots, bookings = site.slots.Slot, site.slots.Booking
    query = select(bookings.id).join(slots, slots.id == bookings.slot_id)
    of_key = key_of(key)
    place = (slots.series_id == of_key.series_id, slots.original_start == of_key.original_start)
    return int(site.session.scalars(query.where(bookings.who == who, *place)).one())


WAYS = {
    function.__name__: function
    for function in (
        book,
        check_then_book,
        book_without_lock,
        hold_for_one,
        hold_without_lock,
        book_weeks,
        book_weeks_without_lock,
        book_weeks_one_by_one,
        take_for_one,
        take_without_lock,
        crowd,
        crowd_without_lock,
    )
}


def attempt(site: Site, way: str, key: str, who: str, say: Callable[[str], None]) -> str:
    """Book and commit; say what came of it."""
    for tries in range(TRIES):
        try:
            booking_id = WAYS[way](site, key, who)
            site.session.commit()
            return f"booked {key} {booking_id}"
        except (SlotFull, SlotClosed, TooManyHolds, LimitReached) as refusal:
            site.session.rollback()
            return f"{type(refusal).__name__} {key}"
        except (OperationalError, LostRace) as error:
            site.session.rollback()
            if not (isinstance(error, LostRace) or is_lost_race(error)) or tries == TRIES - 1:
                raise
            say(f"again {key}")
    raise AssertionError


class Racer:
    """One of the processes, forked from this one; it hears and speaks through pipes that the test gave it."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task, self.pid = task, 0

    def start(self) -> None:
        """Fork it."""
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            with os.fdopen(self.task["hears"]) as orders:
                self._race(orders)
            code = 0
        except BaseException:
            self._say("failed " + repr(traceback.format_exc()))
        finally:
            os._exit(code)

    def replace(self) -> None:
        """Wait for the end of one that was killed, say so, and let another one go on."""
        os.waitpid(self.pid, 0)
        self._say("dead")
        self.start()

    def _race(self, orders: TextIO) -> None:
        task = self.task
        site = Site(task["url"], Path(task["folder"]), SQLALCHEMY_ENGINE_OPTIONS=task["options"])
        with site.app.app_context():
            site.session.scalar(select(1))
            site.session.rollback()
            self._say(f"ready {os.getpid()}")
            orders.readline()
            for key in task["keys"]:
                self._say(attempt(site, task["way"], key, task["who"], self._say))
                if task["laps"]:
                    orders.readline()
            site.session.remove()
            site.db.engine.dispose()
        self._say("done")

    def _say(self, text: str) -> None:
        os.write(self.task["says"], f"{text}\n".encode())


def rehearse(task: dict[str, Any]) -> None:
    """Book and take it back: the statements that are compiled for that are there in all who are forked from here."""
    site = Site(task["url"], Path(task["folder"]), SQLALCHEMY_ENGINE_OPTIONS=task["options"])
    with site.app.app_context():
        WAYS[task["way"].partition("_without")[0] if task["way"].startswith("crowd") else "book"](
            site, task["keys"][-1], task["who"]
        )
        site.session.rollback()
        site.session.remove()
        site.db.engine.dispose()


def main(tasks: list[dict[str, Any]], orders: TextIO) -> None:
    """Fork one process for each task, and replace those that the test kills, until it has no more orders."""
    gc.freeze()  # the test's own connections are not closed from here, and its memory is not copied
    rehearse(tasks[0])
    racers = {task["who"]: Racer(task) for task in tasks}
    for racer in racers.values():
        racer.start()
    for line in orders:
        racers[line.strip()].replace()
    for racer in racers.values():
        os.kill(racer.pid, signal.SIGKILL)
        os.waitpid(racer.pid, 0)
