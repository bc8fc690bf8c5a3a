"""A random machine: people decide, book, change their minds and crash, at random doors; a model says what must hold.

Each run has a seed, which a failing run prints with its last steps; the same seed plays the same run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any

from deciding_doors import Ask, Doors, Refusal, Shown, key_text
from deciding_frame import (
    Step,
    check_committed,
    check_frame,
    check_new_booking,
    check_overlaps,
    check_settled,
    demand,
)
from deciding_model import DAY, Committed, Key, Row, Slot
from same_views import differences

#: On which days runs begin: before the clock is put forward, before it is put back, before Christmas, in summer.
SEASONS = {
    "spring": datetime(2026, 3, 26, 7, tzinfo=UTC),
    "autumn": datetime(2026, 10, 22, 7, tzinfo=UTC),
    "christmas": datetime(2026, 12, 22, 7, tzinfo=UTC),
    "summer": datetime(2026, 6, 10, 7, tzinfo=UTC),
}
AHEAD, WINDOW = 10 * DAY, 7
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LEASE = timedelta(seconds=61)
REMEMBERED = 15
#: How many holds a person may have at once.
HOLDS = 3
After = Callable[[Committed, Committed], None]
WIDE = ("this_and_future", "all")


def minutes(span: timedelta) -> int:
    """Return a span as the API writes it."""
    return int(span.total_seconds() // 60)


def offers_of(rng: Random, now: datetime) -> list[dict[str, Any]]:
    """Return what is offered in a run: a court by the hour, a bar past midnight, a class of twelve."""
    first = datetime.combine((now - 9 * DAY).date(), time())
    zone: dict[str, Any] = {"timezone": "Europe/Madrid"}
    shared = {"resource": "hall", "exclusive": True} if rng.random() < 0.4 else {}
    court = {
        "name": "Court", "group": "club", "rrule": "FREQ=DAILY", "dtstart": first.replace(hour=10), "every": HOUR,
        "until_time": time(14), "duration": HOUR, **shared, **zone,
    }  # fmt: skip
    step = rng.choice([HOUR, HOUR, 2 * HOUR])
    bar = {
        "name": "Bar", "group": "bar", "rrule": "FREQ=WEEKLY;BYDAY=TH,FR,SA", "dtstart": first.replace(hour=22),
        "every": step, "until_time": time(4), "duration": step, "capacity": 2, "holidays": "ES", **zone,
    }  # fmt: skip
    lesson = {
        "name": "Class", "group": "club", "rrule": "FREQ=DAILY", "capacity": 12, "duration": HOUR, "every": None,
        "until_time": None, "dtstart": first.replace(hour=12, minute=30) if shared else first.replace(hour=18),
        **shared, **zone,
    }  # fmt: skip
    if rng.random() < 0.3:
        court["closes_before"] = 30 * MINUTE
    if rng.random() < 0.3:
        lesson |= {"closes_days_before": 1, "closes_time": time(18)}
    return [court, bar, lesson]


class Machine:
    """One run: a site, its model, and what was done so far."""

    def __init__(self, seed: int, url: str, folder: Path, acts: dict[Callable[[Any], None], int]) -> None:
        """Open the site.

        :param acts: what may be done, and how often.
        """
        self.seed, self.rng = seed, Random(seed)
        self.acts, self.weights = list(acts), list(acts.values())
        start = SEASONS[self.rng.choice(sorted(SEASONS))]
        self.doors = Doors(url, folder, start)
        self.log: list[str] = []
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        with self.doors.site.app.app_context():
            for fields in offers_of(self.rng, start):
                self.doors.slots.create_template(**fields)
            self.doors.site.session.commit()
        self.state = self.doors.committed()
        self.expected: dict[Key, Slot] = {}

    # -- a run

    def run(self, days: int) -> None:
        """Play so many days; what breaks is told with the seed and the last steps."""
        end = self.doors.clock.now + days * DAY
        with self.doors.site.app.app_context():
            try:
                self.look()
                while self.doors.clock.now < end:
                    self.step()
                self.look(everything=True)
            except BaseException as error:
                steps = "\n".join(self.log[-REMEMBERED:])
                error.add_note(f"seed {self.seed}, after {len(self.log)} steps, the last of them:\n{steps}")
                raise

    def step(self) -> None:
        """Do one thing, and look at everything."""
        act = self.rng.choices(self.acts, self.weights)[0]
        self.note(act.__name__)
        act(self)
        self.look()

    def note(self, text: str) -> None:
        """Write a step down."""
        self.log.append(f"{self.doors.clock.now:%a %m-%d %H:%M} {text}")

    def more(self, text: object) -> None:
        """Write down what else is to be known of the step."""
        self.log[-1] += f" {text}"

    # -- deciding

    def decide(
        self,
        ask: Ask,
        step: Step,
        after: After | None = None,
        must: bool | None = None,
        door: str | None = None,
    ) -> Any:
        """Ask at a random door, and look at what became of it.

        :param after: what else must hold when it was done.
        :param must: whether it must be done, or refused; ``None``: both may be right.
        :return: what the door said, ``None`` if it refused.
        """
        door = door or self.rng.choice(ask.doors)
        self.more(f"[{door}] {step.text}")
        kind = self.log[-1].split()[3]
        before = self.doors.committed()
        try:
            found = self.doors.ask(door, ask)
        except Refusal as refusal:
            self.refused[kind] += 1
            self.more(f"- refused: {str(refusal)[:400]}")
            demand(must is not True, "this must be done, and was refused:", refusal)
            self.state = self.doors.committed()
            check_frame(before, self.state, Step("refused"))
            return None
        self.done[kind] += 1
        demand(must is not False, "this must be refused, and was done")
        self.state = self.doors.committed()
        check_frame(before, self.state, step)
        for number, segment in self.state.segments.items() if door != "orm" else ():
            was = before.segments.get(number)
            decided = was is None or replace(was, is_settled=segment.is_settled) != segment
            demand(segment.is_settled or not decided, "template", number, "is not settled by", step.text)
        if after is not None:
            after(before, self.state)
        return found if found is not None else True

    # -- choosing

    def any_slot(self, *wanted: str) -> Slot | None:
        """Return a slot of the coming days, in one of these states; of any at all without."""
        found = [s for s in self.expected.values() if not wanted or s.states & set(wanted)]
        if not found:
            return None
        soon = [s for s in found if s.start < self.doors.clock.now + 2 * DAY]
        return self.rng.choice(soon if soon and self.rng.random() < 0.5 else found)

    def any_row(self, *status: str) -> Row | None:
        """Return a stored slot of the last and the coming days that has one of these statuses."""
        now = self.doors.clock.now
        found = [
            r
            for r in self.state.rows.values()
            if r.status in status and now - 3 * DAY < r.start < now + AHEAD
        ]
        return self.rng.choice(found) if found else None

    def any_booking(self) -> Any:
        """Return a live booking."""
        found = [b for b in self.state.bookings.values() if b.lives(self.doors.clock.now)]
        return self.rng.choice(found) if found else None

    def any_day(self) -> date:
        """Return a day from today on."""
        found: date = (self.doors.clock.now + self.rng.randrange(9) * DAY).date()
        return found

    def any_series(self) -> int:
        """Return a series."""
        return self.rng.choice(sorted({s.series for s in self.state.segments.values()}))

    def row_of(self, booking: Any) -> Row:
        """Return the row that a booking is in."""
        return next(row for row in self.state.rows.values() if row.id == booking.slot_id)

    # -- booking

    def book(self) -> None:
        slot = self.any_slot("open", "full") if self.rng.random() < 0.6 else self.any_slot()
        if slot is not None:
            self.take(slot, None)

    def hold(self) -> None:
        slot = self.any_slot("open")
        if slot is not None:
            self.take(slot, self.rng.choice([5, 20, 30]))

    def take(self, slot: Slot, held: int | None) -> None:
        """Book or hold: done if, and only if, the slot is open and has the places."""
        key, who = slot.text, self.rng.choice("abc")
        party = self.rng.choice([1, 1, 1, 2, 3, max(1, slot.left), slot.left + 1])
        open_now = self.doors.get(key).state == "open" if len(slot.states) > 1 else slot.states == {"open"}
        body: dict[str, Any] = {"party": party, "who": who} | ({} if held is None else {"hold_minutes": held})
        ask = Ask(
            facade=lambda s: (
                s.book(key, party, who) if held is None else s.hold(key, party, who, minutes=held)
            ),
            http=("POST", f"/slots/{key}/bookings", body),
        )
        step = Step(f"{key} party {party}", touched={slot.key}, books=1)

        def after(before: Committed, now: Committed) -> None:
            check_new_booking(now, slot.key, party)

        fits = open_now and slot.left >= party
        held_by = [b for b in self.state.bookings.values() if b.who == who and b.status == "held"]
        many = held is not None and len([b for b in held_by if b.lives(self.doors.clock.now)]) >= HOLDS
        self.decide(ask, step, after, must=None if fits and many else fits)

    def book_nothing(self) -> None:
        """Ask for what no template offers and no row stands for."""
        segment = self.rng.choice(list(self.state.segments.values()))
        day = self.any_day()
        hours = [segment.dtstart.time(), time(0), time(2), time(11), time(12, 30)]
        original = datetime.combine(day, self.rng.choice(hours))
        key = (segment.series, original)
        row = self.state.rows.get(key)
        if row is not None or self.state.segment_at(key).offers(original):
            return
        ask = Ask(lambda s: s.book(key_text(key)), ("POST", f"/slots/{key_text(key)}/bookings", {"party": 1}))
        self.decide(ask, Step(key_text(key)), must=False)

    def confirm(self) -> None:
        booking = self.any_booking()
        if booking is None:
            return
        row = self.row_of(booking)
        ask = Ask(lambda s: s.confirm(booking.id), ("POST", f"/bookings/{booking.id}/confirm", None))
        must = True if row.status == "scheduled" or booking.status == "confirmed" else None
        self.decide(ask, Step(f"{booking.id} in {row.key}", bookings={booking.id}), must=must)

    def release(self) -> None:
        booking = self.any_booking()
        if booking is None:
            return
        row = self.row_of(booking)
        is_ahead = row.status == "scheduled" and row.start > self.doors.clock.now
        must = True if row.status == "cancelled" or booking.status == "held" or is_ahead else None
        ask = Ask(lambda s: s.release(booking.id), ("DELETE", f"/bookings/{booking.id}", None))
        step = Step(f"{booking.id} in {key_text(row.key)}", bookings={booking.id})

        def after(before: Committed, now: Committed) -> None:
            demand(not now.bookings[booking.id].lives(now.now), "booking", booking.id, "still lives")

        self.decide(ask, step, after, must)

    def move(self) -> None:
        booking, slot = self.any_booking(), self.any_slot("open", "full", "withdrawn", "blocked", "closed")
        if booking is None or slot is None:
            return
        row = self.row_of(booking)
        if row.key == slot.key:
            return
        open_now = (
            self.doors.get(slot.text).state == "open" if len(slot.states) > 1 else slot.states == {"open"}
        )
        fits = open_now and slot.left >= booking.party
        shared = slot.segment.exclusive and self.state.segments[row.template].exclusive
        in_doubt = row.status != "scheduled" or row.start <= self.doors.clock.now or row.key[0] == slot.key[0]
        must = None if in_doubt or (shared and not fits) else fits
        ask = Ask(
            lambda s: s.move(booking.id, slot.text), ("PATCH", f"/bookings/{booking.id}", {"slot": slot.text})
        )
        step = Step(
            f"{booking.id} from {key_text(row.key)} to {slot.text}", bookings={booking.id}, books=1,
            touched={slot.key},
        )  # fmt: skip
        self.decide(
            ask, step, lambda _, now: check_new_booking(now, slot.key, booking.party), must, self.mover
        )

    mover = "facade"

    # -- what is due

    def look(self, everything: bool = False) -> None:
        """Compare what is shown with what must be.

        :param everything: at all doors; else at those that cost little, and one of the others.
        """
        now = self.doors.clock.now
        self.state = self.doors.committed()
        check_committed(self.state)
        first, end = now - DAY, now + AHEAD
        self.expected = self.state.slots(first, end)
        check_settled(self.state, self.expected)
        shown = self.doors.between(first, end)
        self.compare("between", shown)
        check_overlaps(self.expected, {key: each.state for key, each in shown.items()})
        self.compare_views(first, end)
        for name in (
            ("GET /slots", "feed.json") if everything else self.rng.sample(["GET /slots", "feed.json"], 1)
        ):
            found = self.doors.fed(first, end) if name == "feed.json" else self.doors.listed(first, end)
            keys = found.keys() ^ shown.keys() if name != "feed.json" else shown.keys() - found.keys()
            demand(not keys, name, "and between differ in", sorted(keys)[:6])
            for key, each in shown.items():
                same = found[key].basis() == each.basis()
                demand(same, key, "between shows", each, name, found[key])
        self.sample(shown)
        self.compare_rows()

    def compare_views(self, first: datetime, end: datetime) -> None:
        """Compare what values say with what rows say."""
        overlapping = len(self.log) % 2 == 1
        found = differences(self.doors.slots, first, end, overlapping=overlapping)
        self.doors.site.session.rollback()
        demand(not found, "view and between differ:", found[:6])

    def compare(self, door: str, shown: dict[str, Shown]) -> None:
        """Compare what a door shows with what must be."""
        must = {slot.text: slot for slot in self.expected.values()}
        demand(not must.keys() - shown.keys(), door, "does not show", sorted(must.keys() - shown.keys())[:6])
        demand(
            not shown.keys() - must.keys(), door, "shows too much:", sorted(shown.keys() - must.keys())[:6]
        )
        for key, slot in must.items():
            said = shown[key]
            times = (said.start, said.end)
            demand(
                times == (slot.start, slot.end), key, door, "has it at", *times, "not", slot.start, slot.end
            )
            demand(said.state in slot.states, key, door, "says", said.state, "expected", set(slot.states))
            places = (said.capacity, said.left)
            demand(
                places == (slot.capacity, slot.left),
                key,
                door,
                "says",
                places,
                "not",
                slot.capacity,
                slot.left,
            )
            demand(said.name == slot.name, key, door, "calls it", said.name, "not", slot.name)
            demand(said.data == slot.data, key, door, "has data", said.data, "not", slot.data)

    def sample(self, shown: dict[str, Shown]) -> None:
        """Ask for some slots one by one, and why they are as they are."""
        for slot in self.rng.sample(
            sorted(self.expected.values(), key=lambda s: s.text), min(1, len(self.expected))
        ):
            single, asked = self.doors.get(slot.text), self.doors.asked(slot.text)
            demand(
                single == shown[slot.text] == asked,
                slot.text,
                "get:",
                single,
                "GET:",
                asked,
                shown[slot.text],
            )
            at_once = [s for s in self.expected.values() if (s.key[0], s.start) == (slot.key[0], slot.start)]
            code = CODES.get(single.state)
            if code is not None and len(at_once) == 1:
                found = self.doors.explained(slot.segment.id, slot.start)
                demand(found == code, slot.text, "explain says", found, "and the slot is", single.state)

    def compare_rows(self) -> None:
        """Compare what SQL says of stored slots of settled templates."""
        for key, (state, left) in self.doors.by_database().items():
            slot = self.expected.get(key)
            if slot is None or not slot.segment.is_settled:
                continue
            if slot.row is not None and slot.row.displaced and not slot.live and not slot.moved:
                continue  # its last booking is gone: SQL says what is stored until the next top-up
            demand(state in slot.states, slot.text, "SQL says", state, "expected", set(slot.states))
            demand(left == slot.left, slot.text, "SQL says", left, "left, not", slot.left)


CODES = {
    "open": "available", "full": "full", "withdrawn": "withdrawn", "closed": "too_late", "blocked": "blocked",
    "cancelled": "cancelled",
}  # fmt: skip
