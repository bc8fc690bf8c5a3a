"""Checks what clients saw of one slot: is there an order in which all of it could have happened, one at a time?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NEVER = float("inf")


@dataclass(frozen=True)
class Operation:
    """Something a client did: between `began` and `ended` it took effect, once.

    :param kind: ``book``, ``full`` (a booking that was refused) or ``release``.
    :param booking: the id that was booked or released.
    """

    kind: str
    booking: int | None
    began: float
    ended: float = NEVER


def can_be_ordered(operations: Sequence[Operation], capacity: int, limit: int = 200_000) -> bool:
    """Say whether the operations fit a slot with so many places (the search of Wing and Gong, with a memory).

    :raises RuntimeError: if the search does not end within the limit.
    """
    ordered = sorted(operations, key=lambda operation: operation.began)
    seen: set[tuple[int, frozenset[int]]] = set()
    stack = [(0, frozenset[int]())]
    everything = (1 << len(ordered)) - 1
    while stack:
        done, live = stack.pop()
        if done == everything:
            return True
        if (done, live) in seen:
            continue
        seen.add((done, live))
        if len(seen) > limit:
            raise RuntimeError("the history is too entangled")
        open_ones = [index for index in range(len(ordered)) if not done >> index & 1]
        first_end = min(ordered[index].ended for index in open_ones)
        for index in reversed(open_ones):
            operation = ordered[index]
            if operation.began > first_end:
                continue
            after = _apply(operation, live, capacity)
            if after is not None:
                stack.append((done | 1 << index, after))
    return False


def _apply(operation: Operation, live: frozenset[int], capacity: int) -> frozenset[int] | None:
    """Return the live bookings afterwards, or ``None`` if the operation does not fit."""
    if operation.kind == "full":
        return live if len(live) >= capacity else None
    assert operation.booking is not None
    if operation.kind == "book":
        fits = len(live) < capacity and operation.booking not in live
        return live | {operation.booking} if fits else None
    return live - {operation.booking} if operation.booking in live else None
