"""What must hold after two calls met, whatever came of them: worked out from what is committed, not by the library.

``sold`` to ``back`` are the promises; ``raw`` is an error that is none of the library's, ``order`` an end to which the
calls do not come in either order, one after the other.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deciding_frame import Broken, check_committed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deciding_model import Committed, Row
    from interleaving import Racer, Stage
    from interleaving_calls import Scene

#: What a call may be refused with because somebody else was there first, and not by what it asks for.
LOST = ("LostRace", "StaleEdit", "TopUpBusy")
#: The gravest first.
KINDS = ("sold", "overlap", "capacity", "counter", "back", "raw", "order", "refused")
Fault = tuple[str, str]
#: What is committed, without what differs from one time to the next.
Shape = tuple[Any, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    :param what: ``done``, ``refused`` by the library, or ``raw``: an error of something else.
    :param bookings: the ids of those whom the answer names; ``keys``: slots with bookings that it names.
    """

    what: str
    bookings: frozenset[int] = frozenset()
    keys: frozenset[str] = frozenset()
    error: str = ""
    text: str = ""
    cause: BaseException | None = None

    @property
    def brief(self) -> str:
        """In a word or two."""
        return self.error or self.what


def text_of(key: Any) -> str:
    """Return a key as the library writes it."""
    return f"{key[0]}@{key[1]:%Y%m%dT%H%M}"


def shape_of(state: Committed) -> Shape:
    """Return what is committed, without ids, and without rows that nobody has touched: those heal by themselves."""
    places = {
        each.id: (each.series, each.active_from or each.dtstart.min) for each in state.segments.values()
    }
    skipped = ("id", "series", "is_settled")
    templates = sorted(
        (places[each.id], sorted((n, repr(v)) for n, v in vars(each).items() if n not in skipped))
        for each in state.segments.values()
    )
    rows = []
    for row in state.rows.values():
        booked = sorted((b.who or "", b.party, b.status) for b in state.of_slot.get(row.id, ()))
        touched = booked or row.customised or row.status != "scheduled"
        if touched:
            slot = state.slot_of(row)
            seen = (slot.start, slot.end, slot.capacity, slot.offered, row.status, row.booked, row.own_name)
            rows.append((row.key, places[row.template], seen, sorted(row.customised), row.with_series, booked))
    return repr(templates), repr(sorted(rows))


def violations(
    stage: Stage,
    scene: Scene,
    before: Committed,
    after: Committed,
    racers: tuple[Racer, Racer],
    again: dict[int, Outcome],
    orders: list[tuple[Shape, tuple[Outcome, ...]]],
    alone: list[Shape],
) -> list[Fault]:
    """Return what is not as it must be, the gravest first."""
    found = [
        *_sold(stage, after, racers, again),
        *_overlaps(after),
        *_counted(after),
        *_back(before, after, racers),
        *_raw(racers, again),
        *_order(after, racers, again, orders, alone),
    ]
    return sorted(found, key=lambda fault: KINDS.index(fault[0]))


def _sold(
    stage: Stage, after: Committed, racers: tuple[Racer, Racer], again: dict[int, Outcome]
) -> Iterator[Fault]:
    """Nobody is in a slot that is not offered, or too many, unless the answer of a decision names them."""
    answers = [racer.outcome for racer in racers] + list(again.values())
    for row in after.rows.values():
        live, slot, key = after.live_bookings(row), after.slot_of(row), text_of(row.key)
        if not live or row.status == "completed":
            continue
        for_sale = slot.offered and row.status == "scheduled"
        unnamed = [
            number for number in live if not any(number in a.bookings or key in a.keys for a in answers)
        ]
        if not for_sale and unnamed:
            told = stage.probe(key)
            more = ", and it goes on selling" if told.what == "done" else ""
            yield "sold", f"{key} is {row.status}, not offered, and booked by {unnamed}, whom nobody named{more}"
        if for_sale and after.live(row) > slot.capacity and unnamed:
            yield "capacity", f"{key} has {slot.capacity} places, {after.live(row)} taken, and nobody said so"


def _overlaps(after: Committed) -> Iterator[Fault]:
    """Nobody is booked where somebody else is."""
    taken = [row for row in after.rows.values() if row.status != "deleted" and after.live(row)]
    for one, other in itertools.combinations(taken, 2):
        if one.start < other.end and other.start < one.end and _apart(after, one, other):
            yield "overlap", f"{text_of(one.key)} and {text_of(other.key)} overlap, and both are booked"


def _apart(after: Committed, one: Row, other: Row) -> bool:
    mine, theirs = after.segments[one.template], after.segments[other.template]
    if one.status == "cancelled" or other.status == "cancelled":
        return False
    same_series = one.key[0] == other.key[0] and mine.keeps_apart and theirs.keeps_apart
    return same_series or (mine.exclusive and theirs.exclusive and mine.resource == theirs.resource)


def _counted(after: Committed) -> Iterator[Fault]:
    """Counters are what bookings say; a row belongs to the segment that has its start."""
    try:
        check_committed(after)
    except (Broken, LookupError) as error:
        yield "counter", f"{type(error).__name__}: {error}"


def _back(before: Committed, after: Committed, racers: tuple[Racer, Racer]) -> Iterator[Fault]:
    """What was cancelled or deleted stays so, unless it was restored."""
    if any(racer.name.startswith("restore") for racer in racers):
        return
    for key, row in before.rows.items():
        if row.status in ("cancelled", "deleted"):
            now = after.rows.get(key)
            if now is None or now.status == "scheduled":
                yield "back", f"{text_of(key)} was {row.status}, and is {now.status if now else 'gone'}"


def _raw(racers: tuple[Racer, Racer], again: dict[int, Outcome]) -> Iterator[Fault]:
    """Errors are the library's; who lost a race is not sent away a second time."""
    for place, racer in enumerate(racers):
        outcome = racer.outcome
        if outcome.what == "raw":
            yield "raw", f"{racer.name} raised {outcome.error}: {outcome.text}"
        second = again.get(place)
        if second is not None and (second.what == "raw" or second.error == "LostRace"):
            yield "raw", f"{racer.name} lost the race, and called again: {second.error}: {second.text}"


def _order(
    after: Committed,
    racers: tuple[Racer, Racer],
    again: dict[int, Outcome],
    orders: list[tuple[Shape, tuple[Outcome, ...]]],
    alone: list[Shape],
) -> Iterator[Fault]:
    """It ends as if one had come after the other, or as if who was refused had not come at all."""
    one, other = (again.get(place, racer.outcome) for place, racer in enumerate(racers))
    if "raw" in (one.what, other.what):
        return
    shape, came = shape_of(after), (one.what, other.what)
    lost = [(racer.name, o) for racer, o in zip(racers, (one, other), strict=True) if o.error in LOST]
    usual = {o.error for _, outcomes in orders for o in outcomes}
    if any(o.error not in usual for _, o in lost):
        if shape not in alone:
            yield "order", f"{lost[0][0]} was refused, and left something: {_difference(shape, alone[-1])}"
        yield "refused", f"{' and '.join(name for name, _ in lost)}: {lost[0][1].text}"
        return
    ends = [(orders[0][0], _what(orders[0][1])), (orders[1][0], _what(orders[1][1][::-1]))]
    if (shape, came) in ends:
        return
    likely = [found for found, what in ends if what == came]
    kind = "order" if likely or came == ("done", "done") else "refused"
    more = _difference(shape, likely[0]) if likely else f"{one.text}{other.text}"
    yield kind, f"{(one.brief, other.brief)}, one after the other {[what for _, what in ends]}: {more}"


def _what(outcomes: tuple[Outcome, ...]) -> tuple[str, ...]:
    return tuple(outcome.what for outcome in outcomes)


def _difference(one: Shape, other: Shape) -> str:
    """Return where two shapes begin to differ."""
    for mine, theirs in zip(one, other, strict=True):
        if mine != theirs:
            at = next(i for i, (a, b) in enumerate(itertools.zip_longest(mine, theirs)) if a != b)
            return f"…{mine[max(0, at - 60) : at + 60]}… instead of …{theirs[max(0, at - 20) : at + 60]}…"
    return ""
