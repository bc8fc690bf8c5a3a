"""What must hold after two calls met, whatever came of them: worked out from what is committed, not by the library.

``sold`` to ``back`` are the promises, ``overtaken`` and ``lost`` those to whoever waits; ``raw`` is an error that is
none of the library's, ``order`` an end to which the calls do not come in either order, one after the other.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deciding_frame import Broken, check_committed, check_settled
from deciding_model import PER_PERSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deciding_model import Committed, Row

#: What a call may be refused with because somebody else was there first, and not by what it asks for.
LOST = ("LostRace", "StaleEdit", "TopUpBusy")
#: The gravest first.
KINDS = (
    "sold",
    "overlap",
    "capacity",
    "limit",
    "counter",
    "overtaken",
    "lost",
    "back",
    "raw",
    "order",
    "refused",
)
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
            waits = [state.bookings[number].who for number, _ in row.queue]
            rows.append(
                (row.key, places[row.template], seen, sorted(row.customised), row.with_series, booked, waits)
            )
    return repr(templates), repr(sorted(rows))


@dataclass(frozen=True)
class End:
    """What comes of calls that are made one after the other.

    :param unnamed: what is wrong with slots, as of :func:`unnamed`.
    """

    shape: Shape
    outcomes: tuple[Outcome, ...]
    unnamed: frozenset[Fault]

    @classmethod
    def of(cls, state: Committed, outcomes: tuple[Outcome, ...]) -> End:
        """Make one of what is committed."""
        return cls(shape_of(state), outcomes, frozenset(found[:2] for found in unnamed(state, outcomes)))


@dataclass(frozen=True)
class Ends:
    """To what calls come one after the other: ``forth`` the first one before, ``back`` after the other.

    :param alone: shapes if nobody calls, the first one alone, the second one alone.
    """

    forth: End
    back: End
    alone: tuple[Shape, ...]


@dataclass(frozen=True)
class Met:
    """What came of two calls that met.

    :param again: what those who lost a race were told at the second time, by place.
    :param in_order: whether the first one committed before the second.
    """

    before: Committed
    after: Committed
    names: tuple[str, str]
    outcomes: tuple[Outcome, Outcome]
    again: dict[int, Outcome]
    in_order: bool

    @property
    def answers(self) -> tuple[Outcome, Outcome]:
        """What both were told in the end."""
        one, other = (self.again.get(place, outcome) for place, outcome in enumerate(self.outcomes))
        return one, other


def violations(met: Met, ends: Ends) -> list[Fault]:
    """Return what is not as it must be, the gravest first."""
    likely = ends.forth if met.in_order else ends.back
    found = [
        *(each[:2] for each in unnamed(met.after, met.answers) if each[:2] not in likely.unnamed),
        *_overlaps(met.after),
        *_limits(met.after),
        *_counted(met.after),
        *_served(met),
        *_back(met),
        *_raw(met),
        *_order(met, ends),
    ]
    return sorted(found, key=lambda fault: KINDS.index(fault[0]))


def unnamed(state: Committed, answers: tuple[Outcome, ...]) -> Iterator[Fault]:
    """Yield slots that are not offered, or not so large, with somebody in them whom no answer of a decision names."""
    for row in state.rows.values():
        live, slot, key = state.live_bookings(row), state.slot_of(row), text_of(row.key)
        named = key in {key for answer in answers for key in answer.keys}
        named = named or set(live) <= {number for answer in answers for number in answer.bookings}
        if named or row.status == "completed":
            continue
        if not (slot.offered and row.status == "scheduled"):
            yield "sold", f"{key} is {row.status} and not offered; there is somebody in it whom nobody named"
        elif slot.live > slot.capacity:
            yield "capacity", f"{key} has {slot.capacity} places, and {slot.live} are taken; nobody said so"


def _overlaps(after: Committed) -> Iterator[Fault]:
    """Nobody is booked where somebody else is."""
    taken = [row for row in after.rows.values() if row.status != "deleted" and after.live(row)]
    for one, other in itertools.combinations(taken, 2):
        if one.start < other.end and other.start < one.end and _apart(after, one, other):
            yield "overlap", f"{text_of(one.key)} and {text_of(other.key)} overlap, and both are booked"


def _limits(after: Committed) -> Iterator[Fault]:
    """Nobody has more places than one person may have."""
    taken: Counter[tuple[str, int, str, Any]] = Counter()
    for row in after.rows.values():
        day = row.key[1].date()
        for each in after.of_slot.get(row.id, ()):
            if each.who is not None and (each.lives(after.now) or each.status == "waiting"):
                for name, within in zip(PER_PERSON, (row.key, day, day.isocalendar()[:2]), strict=True):
                    taken[each.who, row.template, name, within] += each.party
    for (who, template, name, within), number in taken.items():
        most = after.segments[template].per_person[PER_PERSON.index(name)]
        if most is not None and number > most:
            yield "limit", f"{who} has {number} places in {within}: {name} is {most}"


def _apart(after: Committed, one: Row, other: Row) -> bool:
    mine, theirs = after.segments[one.template], after.segments[other.template]
    if one.status == "cancelled" or other.status == "cancelled":
        return False
    same_series = one.key[0] == other.key[0] and mine.keeps_apart and theirs.keeps_apart
    return same_series or (mine.exclusive and theirs.exclusive and mine.resource == theirs.resource)


def _counted(after: Committed) -> Iterator[Fault]:
    """Counters are what bookings say, a row belongs to the segment that has its start, and is as that says."""
    try:
        check_committed(after)
        check_settled(after, {})
    except (Broken, LookupError) as error:
        yield "counter", f"{type(error).__name__}: {error}"


def _served(met: Met) -> Iterator[Fault]:
    """Who waits is served in order, before others, and whatever gets free is offered."""
    for row in met.after.rows.values():
        before = met.before.rows.get(row.key)
        waited = dict(before.queue) if before is not None else {}
        waiting = [number for number in waited if met.after.bookings[number].status == "waiting"]
        for number, party in waited.items():
            is_served = met.after.bookings[number].status in ("held", "confirmed")
            first = [n for n in waiting if n < number and waited[n] <= party]
            if is_served and first:
                yield "overtaken", f"{text_of(row.key)}: {number} was served before {first[0]}"
        for booking in met.after.of_slot.get(row.id, ()):
            is_new = booking.id not in met.before.bookings and booking.lives(met.after.now)
            if is_new and any(waited[number] <= booking.party for number in waiting):
                yield "overtaken", f"{text_of(row.key)}: {booking.who} came later, and did not have to wait"
        slot = met.after.slot_of(row)
        is_let_go = (
            row.displaced and not slot.live and not row.moved
        )  # by the next top-up, which offers it then
        is_offered = slot.offered and row.status == "scheduled" and row.start > met.after.now
        if is_offered and not is_let_go and not _is_due(met.before, before) and _is_due(met.after, row):
            yield "lost", f"{text_of(row.key)}: {slot.left} places are free, and {row.queue} wait"


def _is_due(state: Committed, row: Row | None) -> bool:
    """Whether somebody waits for as many places as are free."""
    return row is not None and any(party <= state.slot_of(row).left for _, party in row.queue)


def _back(met: Met) -> Iterator[Fault]:
    """What was cancelled or deleted stays so, unless it was restored."""
    if any(name.startswith("restore") for name in met.names):
        return
    for key, row in met.before.rows.items():
        if row.status in ("cancelled", "deleted"):
            now = met.after.rows.get(key)
            if now is None or now.status == "scheduled":
                yield "back", f"{text_of(key)} was {row.status}, and is {now.status if now else 'gone'}"


def _raw(met: Met) -> Iterator[Fault]:
    """Errors are the library's; who lost a race is not sent away a second time."""
    for place, (name, outcome) in enumerate(zip(met.names, met.outcomes, strict=True)):
        if outcome.what == "raw":
            yield "raw", f"{name} raised {outcome.error}: {outcome.text}"
        second = met.again.get(place)
        if second is not None and (second.what == "raw" or second.error == "LostRace"):
            yield "raw", f"{name} lost the race, and called again: {second.error}: {second.text}"


def _order(met: Met, ends: Ends) -> Iterator[Fault]:
    """It ends as if one had come after the other, or as if who was refused had not come at all."""
    one, other = met.answers
    shape, came = shape_of(met.after), (one.what, other.what)
    if "raw" in came:
        return
    orders = [(ends.forth.shape, ends.forth.outcomes), (ends.back.shape, ends.back.outcomes[::-1])]
    usual = {outcome.error for _, outcomes in orders for outcome in outcomes}
    lost = [
        (n, o)
        for n, o in zip(met.names, met.answers, strict=True)
        if o.error in LOST and o.error not in usual
    ]
    if lost:
        if shape not in ends.alone:
            yield (
                "order",
                f"{lost[0][0]} was refused, and left something: {_difference(shape, ends.alone[-1])}",
            )
        yield "refused", f"{' and '.join(name for name, _ in lost)}: {lost[0][1].text}"
        return
    told = [(found, _what(outcomes)) for found, outcomes in orders]
    if (shape, came) in told:
        return
    likely = [found for found, what in told if what == came]
    kind = "order" if likely or came == ("done", "done") else "refused"
    more = _difference(shape, likely[0]) if likely else f"{one.text}{other.text}"
    yield kind, f"{(one.brief, other.brief)}, one after the other {[what for _, what in told]}: {more}"


def _what(outcomes: tuple[Outcome, ...]) -> tuple[str, ...]:
    return tuple(outcome.what for outcome in outcomes)


def _difference(one: Shape, other: Shape) -> str:
    """Return where two shapes begin to differ."""
    for mine, theirs in zip(one, other, strict=True):
        if mine != theirs:
            at = next(i for i, (a, b) in enumerate(itertools.zip_longest(mine, theirs)) if a != b)
            return f"…{mine[max(0, at - 60) : at + 60]}… instead of …{theirs[max(0, at - 20) : at + 60]}…"
    return ""
