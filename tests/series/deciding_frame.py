"""What may change from one commit to the next, and what must be true of each: no line of the library."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, fields
from datetime import timedelta
from zoneinfo import ZoneInfo

from deciding_model import Committed, Key, Row, Segment, Slot

#: What nobody decides: it is brought in line with decisions.
_UPKEEP = {"is_settled"}


class Broken(AssertionError):
    """A promise of the blueprint was broken."""


def demand(holds: object, *words: object) -> None:
    """Raise :class:`Broken` unless something holds."""
    if not holds:
        raise Broken(" ".join(map(str, words)))


@dataclass
class Step:
    """What somebody did, and so what may be another after it.

    :ivar series: whose templates may change.
    :ivar touched: keys that were decided about one by one.
    :ivar ends: whether the status of slots of these series may change.
    :ivar running: whether those that have begun and are not over may end, too.
    :ivar move_booked: whether booked slots of these series may move.
    :ivar bookings: which bookings may change.
    :ivar books: how many new bookings there may be.
    :ivar heals: whether rows may be made, brought in line and taken away.
    """

    text: str = ""
    series: set[int] = field(default_factory=set)
    touched: set[Key] = field(default_factory=set)
    ends: bool = False
    running: bool = False
    move_booked: bool = False
    bookings: set[int] = field(default_factory=set)
    books: int = 0
    heals: bool = False


# -- from one commit to the next


def check_frame(before: Committed, after: Committed, step: Step) -> None:
    """Nothing changes that was not decided: templates, history, booked slots, bookings."""
    for number, segment in before.segments.items():
        demand(number in after.segments, "template", number, "is gone")
        if segment.series not in step.series:
            for each in fields(Segment):
                if each.name not in _UPKEEP:
                    old, new = getattr(segment, each.name), getattr(after.segments[number], each.name)
                    demand(old == new, "template", number, each.name, "changed from", old, "to", new)
    added = {s.series for n, s in after.segments.items() if n not in before.segments}
    demand(added <= step.series, "there is a new template of", added)
    for key, row in before.rows.items():
        _check_row(before, after, row, after.rows.get(key), step)
    for key, row in after.rows.items():
        if key not in before.rows:
            _check_new(after, row, step)
    _check_bookings(before, after, step)


def _check_row(before: Committed, after: Committed, old: Row, new: Row | None, step: Step) -> None:
    if old.key in step.touched:
        return
    in_scope = old.key[0] in step.series
    follows = in_scope or step.heals or not before.segments[old.template].is_settled
    counted = any(each.status in ("confirmed", "held") for each in before.of_slot.get(old.id, ()))
    is_history = old.is_history(after.now)
    if step.running and in_scope and old.status == "scheduled" and old.end > after.now:
        is_history = False
    if new is None:
        demand(follows, old.key, "is gone without a decision")
        demand(not is_history, old.key, "is history and is gone:", old)
        demand(not counted, old.key, "is booked and is gone")
        return
    restored = step.ends and in_scope and old.status in ("cancelled", "deleted") and new.status == "scheduled"
    if is_history and not (restored and old.start > after.now):
        _check_same(old, new, "is history;")
        names = name_of(before, old), name_of(after, new)
        demand(names[0] == names[1], old.key, "is history; it was called", names[0], "and is", names[1])
    elif not follows:
        _check_same(old, new, "was not decided about;")
    if old.status != new.status:
        demand(step.ends and in_scope, old.key, "went from", old.status, "to", new.status)
    if not restored:
        is_kept = before.live(old) and old.status == "scheduled" and not (step.move_booked and in_scope)
        same = (old.start, old.end) == (new.start, new.end)
        demand(
            same or not is_kept, old.key, "is booked and was moved from", old.start, "to", new.start, new.end
        )
        _check_own(old, new)


def _check_same(old: Row, new: Row, why: str) -> None:
    for name in ("start", "end", "data", "status", "capacity", "customised"):
        kept, found = getattr(old, name), getattr(new, name)
        demand(kept == found, old.key, why, name, "changed from", kept, "to", found)


def _check_own(old: Row, new: Row) -> None:
    """What a person changed of a slot stays, whatever is decided about its series."""
    # That it stays although its series has ended is needed no more once the series goes on, or ends again.
    forgotten = old.customised - new.customised - {"status"}
    demand(not forgotten, old.key, "forgot what a person changed:", forgotten)
    for name, value in (("capacity", "capacity"), ("data", "data"), ("starts_at", "start")):
        if name in old.customised:
            kept, found = getattr(old, value), getattr(new, value)
            demand(kept == found, old.key, "has its own", name, kept, "and now", found)
    demand(old.own_name is None or old.own_name == new.own_name, old.key, "lost its own name")


def name_of(state: Committed, row: Row) -> str:
    """Return what a row is called."""
    return row.own_name or state.segments[row.template].name


def _check_new(after: Committed, row: Row, step: Step) -> None:
    """A row that was virtual: nobody makes one that the template does not offer, or in the past."""
    if row.key in step.touched:
        return
    demand(step.heals or row.key[0] in step.series, row.key, "is a new row of nobody")
    segment = after.segments[row.template]
    # What runs has a row too once a day is cancelled.
    is_ended = row.status != "scheduled" and row.end > after.now
    demand(row.start > after.now or is_ended, row.key, "is made in the past")
    if row.status == "scheduled":
        demand(segment.offers(row.key[1]), row.key, "is made and not offered")
        demand((row.start, row.end) == segment.times(row.key[1]), row.key, "is made at another time", row)


def _check_bookings(before: Committed, after: Committed, step: Step) -> None:
    for number, old in before.bookings.items():
        new = after.bookings.get(number)
        demand(new is not None, "booking", number, "is gone")
        if number in step.bookings or new == old or new is None:
            continue
        may_expire = old.status == "held" and not old.lives(after.now) and new.status == "expired"
        same = (old.slot_id, old.party, old.who) == (new.slot_id, new.party, new.who)
        demand(may_expire and same, "booking", number, "changed from", old, "to", new)
    made = after.bookings.keys() - before.bookings.keys()
    demand(len(made) == step.books, "there are new bookings:", sorted(made), "expected", step.books)


# -- at any moment


def check_committed(state: Committed) -> None:
    """Counters are what bookings say, rows belong to their segments, and nothing is sold twice at a time."""
    for row in state.rows.values():
        counted = sum(b.party for b in state.of_slot.get(row.id, ()) if b.status in ("confirmed", "held"))
        demand(row.booked == counted, row.key, "counts", row.booked, "and its bookings", counted)
        waiting = {b.id: b.party for b in state.of_slot.get(row.id, ()) if b.status == "waiting"}
        demand(dict(row.queue) == waiting, row.key, "has the queue", row.queue, "and there wait", waiting)
        fewest = min(waiting.values(), default=None)
        demand(row.waits_for == fewest, row.key, "waits for", row.waits_for, "and the fewest are", fewest)
        segment = state.segments[row.template]
        demand(segment.series == row.key[0], row.key, "belongs to another series")
        if not row.is_history(state.now):
            demand(state.segment_at(row.key).id == segment.id, row.key, "belongs to another segment")
    ids = {row.id for row in state.rows.values()}
    demand(state.of_slot.keys() <= ids, "bookings without a slot:", state.of_slot.keys() - ids)


def check_settled(state: Committed, expected: dict[Key, Slot]) -> None:
    """The rows of a settled template are as it says, and their marks are true."""
    for row in state.rows.values():
        segment = state.segments[row.template]
        if not segment.is_settled or row.is_history(state.now):
            continue
        slot = expected.get(row.key) or state.slot_of(row)
        if row.displaced and not slot.live and not row.moved:
            continue  # its last booking was given back, or has expired: the next top-up lets it go
        demand(
            row.withdrawn == (not slot.offered),
            row.key,
            "withdrawn is",
            row.withdrawn,
            "offered",
            slot.offered,
        )
        same = (row.capacity, row.data) == (slot.capacity, slot.data)
        demand(same, row.key, "has", row.capacity, row.data, "its template", slot.capacity, slot.data)
        original = row.key[1]
        # What a new rule lacks is beside all that it has.
        is_there = original in segment.starts_on(segment.grid_day(original))
        is_there = is_there and (row.start, row.end) == segment.times(original)
        demand(
            row.displaced is not is_there,
            row.key,
            "is at",
            row.start,
            row.end,
            "and its mark is",
            row.displaced,
        )


def check_filled(state: Committed, days: int) -> None:
    """After a top-up the window has every slot that the templates offer, each where its rule has it."""
    for segment in state.segments.values():
        today = state.now.astimezone(_zone(segment)).date()
        for number in range(-1, days):
            for original in segment.starts_on(today + timedelta(days=number)):
                if not segment.offers(original):
                    continue
                start, end = segment.times(original)
                row = state.rows.get((segment.series, original))
                inside = today <= start.astimezone(_zone(segment)).date() < today + timedelta(days=days)
                if start <= state.now or not inside:
                    continue
                demand(row is not None, segment.series, original, "is missing after a top-up")
                free = row is not None and not (row.is_history(state.now) or state.live(row) or row.moved)
                if row is not None and free:
                    demand(
                        (row.start, row.end) == (start, end),
                        row.key,
                        "is not where its rule has it",
                        row.start,
                    )
    for row in state.rows.values():
        segment = state.segments[row.template]
        untouched = (
            row.status == "scheduled" and not row.customised and row.by_run and row.id not in state.of_slot
        )
        soon = state.now < row.start < state.now + timedelta(days=days - 1)
        if untouched and soon and segment.active:
            demand(segment.offers(row.key[1]), row.key, "is still there after a top-up, and not offered")


def _zone(segment: Segment) -> ZoneInfo:
    return ZoneInfo(segment.zone)


def check_overlaps(expected: dict[Key, Slot], states: dict[str, str]) -> None:
    """Of two slots of a series that meet at most one is open; where a resource keeps them apart, until one is booked.

    :param states: what a door shows, by key.
    """
    opened = [
        slot for slot in expected.values() if states.get(slot.text) == "open" and slot.segment.keeps_apart
    ]
    opened.sort(key=lambda slot: (slot.key[0], slot.start))
    for first, second in itertools.pairwise(opened):
        same = first.key[0] == second.key[0]
        demand(not (same and first.meets(second)), first.text, "and", second.text, "are both open")


def check_new_booking(state: Committed, key: Key, party: int) -> None:
    """Who books gets what the committed template offers, and what nobody else of the series has at that time.

    :param party: how many places were booked just now: beside others in the slot it is no first overlap.
    """
    row = state.rows[key]
    slot = state.slot_of(row)
    demand(slot.offered, slot.text, "was booked and is not offered")
    demand(slot.status == "scheduled" and row.start > state.now, slot.text, "was booked and is", slot.status)
    demand(slot.live <= slot.capacity, slot.text, "holds", slot.live, "of", slot.capacity)
    for other in state.rows.values():
        same = other.key[0] == key[0] and slot.segment.keeps_apart and slot.live == party
        theirs = state.segments[other.template]
        shared = slot.segment.exclusive and theirs.exclusive and slot.segment.shares_with(theirs)
        if other.key == key or not (same or shared) or other.status not in ("scheduled", "completed"):
            continue
        if other.start < row.end and row.start < other.end and state.live(other):
            demand(False, slot.text, "was booked and overlaps", other.key, "which is booked")
