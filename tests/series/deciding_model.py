"""What a site must show and sell, worked out from what is committed: plain dates and dicts, no line of the library.

The rows of templates, slots and bookings come as plain values. From the templates follows what is offered, from the
bookings what is left, from both what each slot must be at a moment. What was decided about a slot itself (cancelled,
moved, its own capacity) stands in its row; :mod:`deciding_frame` checks that no row changes without a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
NOTHING = timedelta(0)
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
#: National holidays of Spain around the months that are played; by hand.
HOLIDAYS = {
    "ES": {
        date(2026, 1, 1), date(2026, 1, 6), date(2026, 4, 3), date(2026, 5, 1), date(2026, 8, 15), date(2026, 10, 12),
        date(2026, 12, 8), date(2026, 12, 25), date(2027, 1, 1), date(2027, 1, 6),
    }
}  # fmt: skip
#: What nobody new gets into, whatever is left.
TIMED = ("ended", "running", "upcoming")
#: How many places one person may have: in a slot, on a day, in a week.
PER_PERSON = ("max_per_person", "max_per_person_day", "max_per_person_week")
Key = tuple[int, datetime]


def instant(wall: datetime, zone: str) -> datetime:
    """Return the instant of a wall-clock time: in a gap that much later, of two the first."""
    return wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def exists(wall: datetime, zone: str) -> bool:
    """Whether the clock shows this time on that day."""
    return instant(wall, zone).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall


def end_instant(wall: datetime, zone: str) -> datetime:
    """Return the instant of an end on the wall: in a gap the instant of the change."""
    while not exists(wall, zone):
        wall -= timedelta(minutes=1)
        if exists(wall, zone):
            return instant(wall, zone) + timedelta(minutes=1)
    return instant(wall, zone)


@dataclass
class Segment:
    """A template as it is committed."""

    id: int
    series: int
    name: str
    group: str | None
    active: bool
    rrule: str
    dtstart: datetime
    zone: str
    duration: timedelta
    every: timedelta | None
    until: time | None
    capacity: int
    exdates: frozenset[Any]
    blackouts: tuple[tuple[date, date], ...]
    holidays: str | None
    opens_before: timedelta | None
    closes_before: timedelta | None
    closes_days_before: int | None
    closes_time: time | None
    resource: str | None
    resource_shared: bool
    exclusive: bool
    overlapping: bool
    data: dict[str, Any]
    active_from: datetime | None
    active_until: datetime | None
    cancelled_from: datetime | None
    shift: timedelta
    is_settled: bool
    per_person: tuple[int | None, ...] = ()

    @property
    def keeps_apart(self) -> bool:
        """Whether its slots must not overlap each other."""
        return not (self.overlapping or self.exclusive)

    def shares_with(self, other: Segment) -> bool:
        """Whether both name one resource: of their group, or one that groups share."""
        is_one = self.group == other.group or (self.resource_shared and other.resource_shared)
        return self.resource == other.resource and is_one

    # -- days

    def yields_day(self, day: date) -> bool:
        """Whether the rule alone has this day: DAILY or WEEKLY with BYDAY, INTERVAL in days."""
        parts = dict(part.split("=") for part in self.rrule.split(";"))
        first = self.dtstart.date()
        if day < first or ("UNTIL" in parts and day > self._last(parts["UNTIL"])):
            return False
        if parts["FREQ"] == "DAILY":
            return (day - first).days % int(parts.get("INTERVAL", 1)) == 0
        return WEEKDAYS[day.weekday()] in parts["BYDAY"].split(",")

    @staticmethod
    def _last(text: str) -> date:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))

    def grid_day(self, original: datetime) -> date:
        """Return the day on which the grid of this original start begins."""
        before_opening = self.every is not None and original.time() < self.dtstart.time()
        return original.date() - DAY if before_opening else original.date()

    def shown_day(self, original: datetime) -> date:
        """Return the grid day by the shown times: what a person means who closes a day."""
        return (datetime.combine(self.grid_day(original), self.dtstart.time()) + self.shift).date()

    def closed_on(self, day: date) -> bool:
        """Whether a day is off: a blackout or a holiday."""
        if any(first <= day <= last for first, last in self.blackouts):
            return True
        return self.holidays is not None and day in HOLIDAYS[self.holidays]

    # -- occurrences

    def starts_on(self, day: date) -> Iterator[datetime]:
        """Yield the original starts of a grid day, exclusions aside."""
        if not self.yields_day(day):
            return
        start = first = datetime.combine(day, self.dtstart.time())
        if self.every is None or self.until is None:
            yield start
            return
        closing = datetime.combine(day, self.until)
        if closing <= first:
            closing += DAY
        while start + self.duration <= closing:
            yield start
            start += self.every

    def offers(self, original: datetime, beyond_its_end: bool = False) -> bool:
        """Whether the committed template has a slot at an original start for new people.

        :param beyond_its_end: for what a person brought back by itself after the series was ended.
        """
        is_on = self.active and not self.closed_on(self.shown_day(original))
        return is_on and self.has(original, beyond_its_end)

    def has(self, original: datetime, beyond_its_end: bool = False) -> bool:
        """Whether rule, bounds and excluded dates have it; switched off or closed aside."""
        day = self.grid_day(original)
        if original not in self.starts_on(day) or original in self.exdates or day in self.exdates:
            return False
        if self.active_from is not None and original < self.active_from:
            return False
        if self.active_until is not None and original >= self.active_until:
            return False
        if self.cancelled_from is not None and original >= self.cancelled_from and not beyond_its_end:
            return False
        start, end = self.times(original)
        return end > start

    def times(self, original: datetime) -> tuple[datetime, datetime]:
        """Return start and end as instants."""
        wall = original + self.shift
        return instant(wall, self.zone), end_instant(wall + self.duration, self.zone)

    def opens_at(self, start: datetime) -> datetime | None:
        """Return from when on a slot with this start can be booked."""
        return None if self.opens_before is None else start - self.opens_before

    def closes_at(self, original: datetime, start: datetime, end: datetime) -> datetime:
        """Return until when."""
        if self.closes_days_before is not None:
            day = start.astimezone(ZoneInfo(self.zone)).date() if self.every is None else None
            day = day or self.shown_day(original)
            wall = datetime.combine(day - self.closes_days_before * DAY, self.closes_time or time())
            return min(instant(wall, self.zone), start)
        return min(end, start - (self.closes_before or NOTHING))


@dataclass
class Booking:
    """Somebody's places."""

    id: int
    slot_id: int
    party: int
    status: str
    expires_at: datetime | None
    who: str | None

    def lives(self, now: datetime) -> bool:
        """Whether it takes places at a moment."""
        held = self.status == "held" and self.expires_at is not None and self.expires_at > now
        return self.status == "confirmed" or held


@dataclass
class Row:
    """A slot as it is stored."""

    id: int
    key: Key
    template: int
    start: datetime
    end: datetime
    opens_at: datetime | None
    closes_at: datetime | None
    status: str
    capacity: int
    booked: int
    data: dict[str, Any]
    customised: frozenset[str]
    own_name: str | None
    withdrawn: bool
    displaced: bool
    with_series: bool
    by_run: bool
    queue: tuple[tuple[int, int], ...] = ()
    waits_for: int | None = None

    @property
    def moved(self) -> bool:
        """Whether a person chose its times."""
        return bool(self.customised & {"starts_at", "ends_at"})

    @property
    def brought_back(self) -> bool:
        """Whether a person brought it back by itself after its series had ended."""
        return "status" in self.customised

    def is_history(self, now: datetime) -> bool:
        """Whether no wide decision may touch it any more."""
        return self.status != "scheduled" or self.start <= now


@dataclass
class Slot:
    """What a slot must be at a moment.

    :ivar states: of these one; more than one only where the blueprint leaves it open who of two that overlap yields.
    """

    key: Key
    segment: Segment
    row: Row | None
    start: datetime
    end: datetime
    capacity: int
    live: int
    offered: bool
    status: str = "scheduled"
    data: dict[str, Any] = field(default_factory=dict)
    states: frozenset[str] = frozenset()

    @property
    def left(self) -> int:
        """Places that are free."""
        return max(0, self.capacity - self.live)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.row.own_name or self.segment.name if self.row else self.segment.name

    @property
    def stands(self) -> bool:
        """Whether it takes its time."""
        return self.status in ("scheduled", "completed")

    @property
    def moved(self) -> bool:
        """Whether a person chose its times."""
        return self.row is not None and self.row.moved

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Who of two that meet stands: who is booked, who was moved by a person, who comes first in the series."""
        return self.live > 0, self.moved, -self.key[1].timestamp()

    def meets(self, other: Slot) -> bool:
        """Whether both are at the same time, were it for a minute."""
        return self.key != other.key and self.start < other.end and other.start < self.end

    @property
    def text(self) -> str:
        """The key as doors write it."""
        return f"{self.key[0]}@{self.key[1]:%Y%m%dT%H%M}"


@dataclass
class Committed:
    """Everything that is committed at a moment."""

    now: datetime
    segments: dict[int, Segment] = field(default_factory=dict)
    rows: dict[Key, Row] = field(default_factory=dict)
    bookings: dict[int, Booking] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.of_slot: dict[int, list[Booking]] = {}
        for booking in self.bookings.values():
            self.of_slot.setdefault(booking.slot_id, []).append(booking)

    def live(self, row: Row) -> int:
        """Return the places that are taken."""
        return sum(each.party for each in self.of_slot.get(row.id, ()) if each.lives(self.now))

    def live_bookings(self, row: Row) -> list[int]:
        """Return the ids of the live bookings in a row, in order."""
        return sorted(each.id for each in self.of_slot.get(row.id, ()) if each.lives(self.now))

    def series(self, number: int) -> list[Segment]:
        """Return the segments of a series, in order."""
        return sorted((s for s in self.segments.values() if s.series == number), key=lambda s: s.id)

    def segment_at(self, key: Key) -> Segment:
        """Return the segment whose bounds hold an original start."""
        for segment in self.series(key[0]):
            after = segment.active_from is None or key[1] >= segment.active_from
            if after and (segment.active_until is None or key[1] < segment.active_until):
                return segment
        raise LookupError(key)

    # -- what is shown

    def slots(self, first: datetime, end: datetime) -> dict[Key, Slot]:
        """Return what must be shown with a start in a span, with the states that are right."""
        # A little more, for what begins before and reaches into it.
        found = self._all(first - 2 * DAY, end + 2 * DAY)
        by_series: dict[int, list[Slot]] = {}
        for slot in found.values():
            by_series.setdefault(slot.key[0], []).append(slot)
        busy = [s for s in found.values() if s.segment.exclusive and s.live and s.stands]
        for slot in found.values():
            slot.states = self._states(slot, by_series[slot.key[0]], busy)
        shown = (slot for slot in found.values() if slot.segment.active and slot.status != "deleted")
        return {slot.key: slot for slot in shown if first <= slot.start < end}

    def _all(self, first: datetime, end: datetime) -> dict[Key, Slot]:
        found = {}
        for row in self.rows.values():
            if first <= row.start < end:
                found[row.key] = self.slot_of(row)
        for segment in self.segments.values():
            if not segment.active:
                continue
            day = (first + -segment.shift).date() - DAY
            while day <= (end - segment.shift).date() + DAY:
                for original in segment.starts_on(day):
                    key = (segment.series, original)
                    if key not in self.rows and segment.offers(original):
                        start, until = segment.times(original)
                        if until > self.now and first <= start < end:
                            found[key] = Slot(
                                key, segment, None, start, until, segment.capacity, 0, True, data=segment.data
                            )
                day += DAY
        return found

    def slot_of(self, row: Row) -> Slot:
        """Return what a row must be by what is committed, its states aside."""
        segment, live, original = self.segments[row.template], self.live(row), row.key[1]
        offered = segment.offers(original, row.brought_back)
        start, end = row.start, row.end
        is_ahead = not row.is_history(self.now)
        if is_ahead and offered and not live:
            start, end = self._let_go(segment, row)
            if start <= self.now:  # by its rule it has begun already
                start, end, offered = row.start, row.end, False
        follows = is_ahead and offered
        capacity = segment.capacity if follows and "capacity" not in row.customised else row.capacity
        data = segment.data if follows and "data" not in row.customised else row.data
        return Slot(row.key, segment, row, start, end, capacity, live, offered, row.status, data)

    @staticmethod
    def _let_go(segment: Segment, row: Row) -> tuple[datetime, datetime]:
        """Return when a row takes place that no booking holds: where its rule has it, unless a person moved it."""
        start, end = segment.times(row.key[1])
        if "starts_at" in row.customised:
            start = row.start
            wall = start.astimezone(ZoneInfo(segment.zone)).replace(tzinfo=None)
            end = end_instant(wall + segment.duration, segment.zone)
        if "ends_at" in row.customised:  # a length of its own
            was, ended, begins = (
                moment.astimezone(ZoneInfo(segment.zone)).replace(tzinfo=None)
                for moment in (row.start, row.end, start)
            )
            end = row.end if start == row.start else end_instant(begins + (ended - was), segment.zone)
        return start, end

    def _states(self, slot: Slot, others: list[Slot], busy: list[Slot]) -> frozenset[str]:
        fixed = self._timed(slot)
        if fixed is not None:
            return frozenset({fixed})
        found = set()
        must, may = self._blocked(slot, others, busy)
        if must or may:
            found.add("blocked")
        if not must:
            found.add("open" if slot.left else "full")
        return frozenset(found)

    def _timed(self, slot: Slot) -> str | None:
        """Return what a slot is by its status, the time and its rule alone."""
        if slot.status != "scheduled":
            return slot.status
        opens, closes = self.bounds(slot)
        tests = (
            ("ended", slot.end <= self.now),
            ("running", slot.start <= self.now),
            ("upcoming", opens is not None and opens > self.now),
            ("withdrawn", not slot.offered),
            ("closed", closes <= self.now),
        )
        return next((state for state, holds in tests if holds), None)

    def bounds(self, slot: Slot) -> tuple[datetime | None, datetime]:
        """Return from when and until when a slot is sold."""
        row, segment = slot.row, slot.segment
        opens, closes = (
            segment.opens_at(slot.start),
            segment.closes_at(slot.key[1], slot.start, slot.end),
        )
        if row is not None and "opens_at" in row.customised:
            opens = row.opens_at
        if row is not None and "closes_at" in row.customised and row.closes_at is not None:
            closes = row.closes_at
        return opens, closes

    @staticmethod
    def _blocked(slot: Slot, others: list[Slot], busy: list[Slot]) -> tuple[bool, bool]:
        """Return whether another slot must, and whether it may keep new people out of a slot."""
        for other in busy if slot.segment.exclusive else ():
            if other.segment.shares_with(slot.segment) and other.meets(slot):
                return True, True
        if not slot.segment.keeps_apart:
            return False, False
        met = [
            other for other in others if other.stands and other.meets(slot) and (other.live or other.moved)
        ]
        late = [other for other in met if other.rank > slot.rank]
        return any(other.live or other.offered for other in late), bool(late)
