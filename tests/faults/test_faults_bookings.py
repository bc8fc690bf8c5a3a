"""Bookings under fire: many clients want the same slots, workers are killed, and everybody knows what he has."""

from __future__ import annotations

import json
import random
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from figures import SCALE, SEED, scaled, tell
from history import Operation, can_be_ordered
from marks import DATABASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Fleet

CLIENTS = 32
SHORT_CLIENTS = 6
SLOTS = 288
SHORT_SLOTS = 16
KILL_SECONDS = 0.7
#: On a busy machine new workers are long in coming, and kills without end leave no time to book.
SHORT_KILLS = 6


def test_checker_sees_an_oversold_slot() -> None:
    """The checker accepts what can have happened, and refuses one booking too many and a refusal without a cause."""

    def book(booking: int, began: float, ended: float) -> Operation:
        return Operation("book", booking, began, ended)

    def full(began: float, ended: float) -> Operation:
        return Operation("full", None, began, ended)

    def release(booking: int, began: float, ended: float) -> Operation:
        return Operation("release", booking, began, ended)

    assert can_be_ordered([book(1, 0, 1), full(2, 3), release(1, 4, 5), book(2, 6, 7)], 1)
    assert can_be_ordered([book(1, 0, 5), full(1, 2), book(2, 3, 9), release(1, 6, 8)], 1)
    assert not can_be_ordered([book(1, 0, 1), book(2, 2, 3)], 1)
    assert can_be_ordered([book(1, 0, 1), book(2, 2, 3)], 2)
    assert not can_be_ordered([full(0, 1), book(1, 2, 3)], 1)
    assert not can_be_ordered([book(1, 0, 1), release(1, 2, 3), full(4, 5)], 1)


@dataclass
class Notebook:
    """What all clients did, by slot."""

    operations: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    unknown: int = 0
    unresolved: int = 0
    refused: int = 0

    def note(self, slot: str, operation: Operation) -> None:
        """Keep one operation."""
        self.operations[slot].append(operation)


class Client(threading.Thread):
    """Wants each slot, in an order of its own, and gives some back."""

    def __init__(self, number: int, fleet: Fleet, keys: list[str], book: Notebook) -> None:
        super().__init__(name=f"client-{number}")
        self.number, self.fleet, self.book = number, fleet, book
        self.random = random.Random(SEED * 1000 + number)
        self.keys = self.random.sample(keys, len(keys))

    def run(self) -> None:
        """Book, and sometimes release."""
        for key in self.keys:
            began = monotonic()
            status, answer = self.insist(
                "/book", {"key": key, "who": self.name, "idempotency_key": f"{self.name} {key}"}
            )
            if status == 409:
                self.book.note(key, Operation("full", None, began, monotonic()))
            elif status == 200:
                number = answer["id"]
                self.book.note(key, Operation("book", number, began, monotonic()))
                if self.random.random() < 0.3:
                    self.give_back(key, number)

    def give_back(self, key: str, number: int) -> None:
        """Release a booking."""
        began = monotonic()
        if self.insist("/release", {"id": number})[0] == 200:
            self.book.note(key, Operation("release", number, began, monotonic()))

    def insist(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Ask until there is an answer: with the same key it is the same booking."""
        for _ in range(200):
            status, answer = self.fleet.get(path, body)
            if status in (200, 409):
                return status, json.loads(answer)
            if status is None:
                self.book.unknown += 1
            else:
                self.book.refused += 1
        self.book.unresolved += 1
        return 0, {}


# One place and three are different statements; three, without web processes: bookings/test_races.py.
QUICK = (("postgresql", 1),)
ON_EACH = [
    pytest.param(name, capacity, marks=[] if (name, capacity) in QUICK else pytest.mark.slow)
    for name in DATABASES
    for capacity in (1, 3)
]


@pytest.mark.parametrize(("database_url", "capacity"), ON_EACH, indirect=["database_url"])
def test_booking_race_with_kills(
    fleet: Callable[..., Fleet], database_url: str, capacity: int, request: pytest.FixtureRequest
) -> None:
    """Nobody is promised a place that another has, nothing acknowledged is lost, and every history is possible."""
    ours = fleet(database_url, workers=4 if SCALE else 2, templates=4, capacity=capacity)
    assert ours.heal() is not None
    starts = sorted(ours.expected())
    keys = [f"{t}@{start:%Y%m%dT%H%M}" for start in starts for t in range(1, 5)][: scaled(SLOTS, SHORT_SLOTS)]
    book = Notebook()
    clients = [Client(n, ours, keys, book) for n in range(CLIENTS if SCALE else SHORT_CLIENTS)]
    rng, kills, over = random.Random(SEED), 0, threading.Event()
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        over.wait(KILL_SECONDS if SCALE else 0.3)
        if SCALE or kills < SHORT_KILLS:
            kills += ours.kill(rng.choice(ours.alive()))
    for client in clients:
        client.join()
    live = {
        number: key
        for key, operations in book.operations.items()
        for number in {o.booking for o in operations if o.kind == "book"}
        - {o.booking for o in operations if o.kind == "release"}
    }
    stored = {row[0] for row in ours.site.sql("SELECT id FROM rolling_booking WHERE status <> 'released'")}
    oversold = ours.site.sql(
        "SELECT s.id FROM rolling_slot s WHERE s.booked > s.capacity OR s.booked <> "
        "(SELECT COALESCE(SUM(b.party), 0) FROM rolling_booking b WHERE b.slot_id = s.id AND b.status <> 'released')"
    )
    impossible = [key for key, done in book.operations.items() if not can_be_ordered(done, capacity)]
    operations = sum(map(len, book.operations.values()))
    tell(
        f"E23 E24 bookings [{request.node.callspec.id}]",
        clients=len(clients),
        slots=len(keys),
        operations=operations,
        booked=sum(o.kind == "book" for done in book.operations.values() for o in done),
        released=sum(o.kind == "release" for done in book.operations.values() for o in done),
        kills=kills,
        unknown=book.unknown,
        unresolved=book.unresolved,
        refused=book.refused,
        oversold=len(oversold),
        lost=len(set(live) - stored),
        unaccounted=len(stored - set(live)),
        impossible=len(impossible),
    )
    assert operations >= len(keys) * len(clients)
    assert (book.unresolved, oversold, impossible) == (0, [], [])
    gone = {o.booking for done in book.operations.values() for o in done if o.kind == "release"}
    unknown = stored - set(live) - gone
    assert stored == set(live), f"released and still there: {stored & gone}; nobody knows of {unknown}"
    assert kills > 0
