"""What ``book()`` costs over the two statements that no booking can do without.

The bare side runs, in the same session of the same app, the conditional UPDATE that takes a place and the INSERT of
the booking. It checks neither opening, closing, start nor template, knows no holds and no idempotency, and makes no
object.
"""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import select, text

from .frame import Bench, DifferentWork, Row, Side, Skip, at_least, benchmark
from .site import MIDNIGHT, NOW, WEEK, Site

DATABASES = ("sqlite", "postgresql", "mariadb")
PROCESSES = 8
ALONE, PAIRS_ALONE = 10, 41
EACH = {"sqlite": 6, "postgresql": 20, "mariadb": 20}
MANY = 40
HALF = at_least(0.5)
#: Where many book one slot, the row's lock is what all wait for.
CROWDED = {"mariadb": at_least(0.7)}
TAKE = "UPDATE rolling_slot SET booked = booked + 1 WHERE id = :id AND booked + 1 <= capacity AND status = 'scheduled'"
WRITE = (
    "INSERT INTO rolling_booking (slot_id, party, who, status, active_key, created_at) "
    "VALUES (:id, 1, :who, 'confirmed', :key, :now)"
)
#: Key and id of a slot.
Place = tuple[str, int]


class Desk:
    """Books in one process."""

    def __init__(self, url: str) -> None:
        """Open an app on a database."""
        waits = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
        self.site = Site(url, SQLALCHEMY_ENGINE_OPTIONS=waits)
        self._take, self._write = text(TAKE), text(WRITE)

    def ours(self, places: list[Place]) -> int:
        """Book each place through the library, one commit each; return how many."""
        session = self.site.db.session
        with self.site.app.app_context():
            for key, _ in places:
                self.site.slots.book(key, who="ada")
                session.commit()
                session.remove()
        return len(places)

    def bare(self, places: list[Place]) -> int:
        """Book each place with the two statements, one commit each; return how many."""
        session, now = self.site.db.session, NOW.replace(tzinfo=None)
        with self.site.app.app_context():
            for _, number in places:
                if session.execute(self._take, {"id": number}).rowcount != 1:
                    raise DifferentWork(f"slot {number} is full")
                row = {"id": number, "who": "ada", "key": uuid.uuid4().hex, "now": now}
                session.execute(self._write, row)
                session.commit()
                session.remove()
        return len(places)


def work(url: str, pipe: Any) -> None:
    """Be one of several processes: do what the pipe says until it says nothing."""
    desk = Desk(url)
    for name in ("ours", "bare"):
        getattr(desk, name)([])
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        name, places = task
        pipe.send(getattr(desk, name)(places))
    desk.site.close()


@benchmark("booking")
def booking(bench: Bench) -> Iterator[Row]:
    """book() and commit beside the bare UPDATE and INSERT, alone and with 8 processes."""
    for kind in DATABASES:
        try:
            yield from on(bench, kind)
        except Skip as reason:
            bench.skip(kind, reason)


def on(bench: Bench, kind: str) -> Iterator[Row]:
    """Compare on one database."""
    url = bench.database(kind)
    desk = Desk(url)
    bench.closing(desk.site.close)
    places = make_places(desk.site)
    name, bare = f"{kind}, ", "UPDATE + INSERT"
    sides = [
        Side(what, partial(getattr(desk, what), places[:ALONE]), calls=ALONE) for what in ("ours", "bare")
    ]
    yield bench.compare(f"{name}alone", *named(sides, bare), HALF, pairs=PAIRS_ALONE)
    crowd = Crowd(bench, url)
    each = EACH[kind]
    for what, chosen in (("one slot", [places[0]] * each), ("many slots", places[:each])):
        lanes = [chosen[turn:] + chosen[:turn] for turn in range(PROCESSES)]
        sides = [
            Side(way, partial(crowd.run, way, lanes), calls=PROCESSES * each) for way in ("ours", "bare")
        ]
        bound = CROWDED.get(kind, HALF) if what == "one slot" else HALF
        yield bench.compare(f"{name}{PROCESSES} processes, {what}", *named(sides, bare), bound)
    check_counts(desk.site)


def named(sides: list[Side], bare: str) -> tuple[Side, Side]:
    """Return both sides with the names for the table."""
    ours, other = sides
    return Side("book()", ours.run, calls=ours.calls), Side(bare, other.run, calls=other.calls)


def make_places(site: Site) -> list[Place]:
    """Fill a week with room for everybody; return slots that are open."""
    with site.app.app_context():
        site.add(1, capacity=1_000_000)
        site.slots.generate(days=14)
        found = site.slots.between(MIDNIGHT, MIDNIGHT + WEEK)
        places = [(slot.key, slot.id) for slot in found if slot.state == "open"][:MANY]
        site.db.session.remove()
    return places


def check_counts(site: Site) -> None:
    """Make sure that what is counted in the slots is what is written as bookings.

    :raises DifferentWork: if not.
    """
    slot, made = site.slots.Slot, site.slots.Booking
    with site.app.app_context():
        counted = sum(site.db.session.scalars(select(slot.booked)))
        written = sum(site.db.session.scalars(select(made.party)))
    if counted != written:
        raise DifferentWork(f"{counted} places are taken, {written} are booked")


class Crowd:
    """Several processes that book at the same time."""

    def __init__(self, bench: Bench, url: str) -> None:
        """Start them, and wait until all are ready."""
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for _ in range(PROCESSES):
            mine, theirs = context.Pipe()
            process = context.Process(target=work, args=(url, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(mine)
            self._processes.append(process)
        bench.closing(self._stop)
        for pipe in self._pipes:
            pipe.recv()

    def run(self, way: str, lanes: list[list[Place]]) -> int:
        """Let each book its places; return how many were booked in all."""
        for pipe, places in zip(self._pipes, lanes, strict=True):
            pipe.send((way, places))
        return sum(pipe.recv() for pipe in self._pipes)

    def _stop(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(10)
