"""What a series must look like, kept by hand: plain dates and dicts, and no line of the library.

One template: each day (or each second day) at 10, 11 and 12 o'clock in Berlin.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
HOURS, CLOSING = (10, 11, 12), timedelta(hours=13)
FIRST_DAY = date(2026, 3, 1)
DAYS = 70
EVER = datetime(1, 1, 1)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

Change = dict[str, Any]


class Refused(Exception):
    """The model would not do this."""


def instant(wall: datetime) -> datetime:
    return wall.replace(tzinfo=BERLIN).astimezone(UTC)


def wall_clock(moment: datetime) -> datetime:
    return moment.astimezone(BERLIN).replace(tzinfo=None)


def end_instant(wall: datetime) -> datetime:
    """Return the instant of an end on the wall: one that the clocks leave out is the moment of the change."""
    while wall_clock(instant(wall)) != wall and wall_clock(instant(wall - MINUTE)) != wall - MINUTE:
        wall -= MINUTE
    if wall_clock(instant(wall)) != wall:
        return instant(wall - MINUTE) + MINUTE
    return instant(wall)


@dataclass
class Segment:
    start: datetime | None = None
    until: datetime | None = None
    ended: datetime | None = None
    shift: timedelta = timedelta(0)
    duration: timedelta = timedelta(hours=1)
    capacity: int = 2
    data: dict[str, Any] = field(default_factory=dict)
    interval: int = 1
    anchor: date = FIRST_DAY

    @property
    def of_times(self) -> tuple[Any, ...]:
        return self.shift, self.duration, self.interval, self.anchor

    def all_starts(self) -> list[datetime]:
        days = [self.anchor + DAY * n for n in range(0, DAYS, self.interval)]
        hours = [hour for hour in HOURS if timedelta(hours=hour) + self.duration <= CLOSING]
        starts = [datetime.combine(day, time(hour)) for day in days for hour in hours]
        return [
            s
            for s in starts
            if (self.start is None or s >= self.start) and not (self.until and s >= self.until)
        ]

    def starts(self) -> list[datetime]:
        return [s for s in self.all_starts() if self.ended is None or s < self.ended]

    def times(self, original: datetime) -> tuple[datetime, datetime]:
        wall = original + self.shift
        return instant(wall), end_instant(wall + self.duration)


@dataclass
class Row:
    segment: Segment
    start: datetime
    end: datetime
    capacity: int
    data: dict[str, Any]
    status: str = "scheduled"
    booked: int = 0
    custom: frozenset[str] = frozenset()
    with_series: bool = False
    by_run: bool = False
    history: bool = False
    displaced: bool = False
    withdrawn: bool = False

    @property
    def span(self) -> tuple[datetime, datetime]:
        return self.start, self.end

    @property
    def stands(self) -> bool:
        return self.status in ("scheduled", "completed")

    @property
    def is_moved(self) -> bool:
        """Whether a person gave it a time or a length."""
        return bool(self.custom & {"start", "length"})

    @property
    def takes_its_time(self) -> bool:
        """Whether others of the series have to leave it its time: somebody is booked in it, or moved it there."""
        return self.stands and bool(self.booked or self.is_moved)

    def yields_to(self, other: Row, key: datetime, other_key: datetime) -> bool:
        """Whether another slot at the same time stands, and nobody new gets into this one."""
        ranks = [(each.booked > 0, each.is_moved) for each in (self, other)]
        comes_later = ranks[0] == ranks[1] and key > other_key
        return other.takes_its_time and (ranks[0] < ranks[1] or comes_later)

    @property
    def untouched(self) -> bool:
        touched = self.booked or self.custom or self.history or not self.by_run
        return self.status == "scheduled" and not touched


class Model:
    """The rule, the decisions, and the rows they left behind."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.segments = [Segment()]
        self.rows: dict[datetime, Row] = {}
        self.active = True

    # -- reading

    def promised(self) -> dict[datetime, Segment]:
        if not self.active:
            return {}
        return {start: segment for segment in self.segments for start in segment.starts()}

    def standing(self) -> dict[datetime, datetime]:
        return {row.start: key for key, row in self.rows.items() if row.stands}

    def virtual(self) -> dict[datetime, Row]:
        """Return what is promised and has no row; also at a time that another slot has."""
        found = {}
        for key, segment in self.promised().items():
            start, end = segment.times(key)
            if key not in self.rows and end > self.now:
                found[key] = Row(segment, start, end, segment.capacity, dict(segment.data))
        return found

    def shown(self) -> dict[datetime, Row]:
        return self.reachable() if self.active else {}

    def reachable(self) -> dict[datetime, Row]:
        """Return what a person can decide about: rows are there also while the series is off."""
        stored = {key: self.by_now(key, row) for key, row in self.rows.items() if row.status != "deleted"}
        return stored | self.virtual()

    def by_now(self, key: datetime, row: Row) -> Row:
        """Return a stored slot as its segment says by now: it is shown so, also before its row is written."""
        found = replace(row)
        self._settle(key, found)
        return found

    def _settle(self, key: datetime, row: Row) -> None:
        """Bring a row in line with its segment, field by field, as far as it follows that."""
        if row.status == "completed" and row.end > self.now:  # it may be in the way of others by now
            row.displaced = self._is_beside(key, row)
        if row.status != "scheduled" or row.end <= self.now:
            return
        rule, is_ahead = row.segment.times(key), row.start > self.now
        row.withdrawn = not self._offers(key, row)
        if is_ahead and rule[0] <= self.now and not (row.booked or row.is_moved):
            row.withdrawn = True  # it would have begun: nobody gets into it any more
        if is_ahead and not row.withdrawn:
            if not row.booked and (rule[0] > self.now or "start" in row.custom):
                row.start, row.end = self.rule_times(key, row)
            self._follow(row)
        row.displaced = self._is_beside(key, row)

    def _is_beside(self, key: datetime, row: Row) -> bool:
        """Whether a row is not where its rule has it; what a rule lacks is beside all that it has."""
        unbound = replace(row.segment, start=None, until=None)
        return key not in unbound.all_starts() or (row.start, row.end) != row.segment.times(key)

    def _offers(self, key: datetime, row: Row) -> bool:
        """Whether its rule has a stored slot; one that a person brought back after the end stays on."""
        starts = row.segment.all_starts() if "status" in row.custom else row.segment.starts()
        return self.active and key in starts

    def _settle_all(self, segments: list[Segment]) -> None:
        """Bring the rows of segments that were decided about in line."""
        for key, row in self.rows.items():
            if any(row.segment is each for each in segments):
                self._settle(key, row)

    def switch(self, active: bool) -> None:
        if active != self.active:
            self.active = active
            self._settle_all(self.segments)

    def row(self, key: datetime) -> Row:
        """Return the row at a key; a virtual one becomes one."""
        if key not in self.rows:
            virtual = self.virtual().get(key)
            if virtual is None:
                raise Refused
            self.rows[key] = virtual
        return self.rows[key]

    def segment_of(self, key: datetime, deleted: bool = False, ended: bool = False) -> Segment:
        row = self.rows.get(key)
        if row is not None:
            if row.status == "deleted" and not deleted:
                raise Refused
            return row.segment
        for segment in self.segments:
            if key in (segment.all_starts() if ended else segment.starts()):  # also while it is off
                return segment
        raise Refused

    # -- one slot

    def book(self, key: datetime) -> None:
        row = self.shown().get(key)
        if row is None or row.status != "scheduled" or row.start <= self.now or row.booked >= row.capacity:
            raise Refused
        if row.withdrawn or self._crowded(key, row):
            raise Refused
        row = self.row(key)
        self._settle(key, row)
        row.booked += 1
        row.history = True

    def _crowded(self, key: datetime, row: Row) -> bool:
        others = [(k, other) for k, other in self.rows.items() if k != key]
        here = [(k, other) for k, other in others if row.start < other.end and other.start < row.end]
        return any(row.yields_to(other, key, k) for k, other in here)

    def release(self, key: datetime) -> None:
        self.rows[key].booked -= 1

    def set_status(self, key: datetime, status: str) -> None:
        row = self.reachable().get(key)
        if row is None:
            raise Refused
        allowed = {"cancelled": ("scheduled", "cancelled"), "deleted": ("scheduled", "cancelled"),
                   "completed": ("scheduled", "completed")}[status]  # fmt: skip
        if row.status not in allowed or (status == "deleted" and row.booked):
            raise Refused
        row = self.row(key)
        row.status = status
        if status != "completed":
            row.with_series = False

    def restore_this(self, key: datetime) -> None:
        row = self.rows[key]
        if row.status == "completed":
            raise Refused
        if row.status == "scheduled":
            return
        if row.end <= self.now:  # history comes back as it was
            if row.start in self.standing():
                raise Refused
            row.status, row.with_series, row.by_run = "scheduled", False, False
            return
        start, end = self.rule_times(key, row) if not row.booked else (row.start, row.end)
        if self.in_the_way(key, start, end) if start > self.now else start in self.standing():
            raise Refused
        row.status, row.start, row.end, row.with_series, row.by_run = "scheduled", start, end, False, False
        if row.segment.ended is not None and key >= row.segment.ended:
            row.custom |= {"status"}
        self._follow(row)
        self._mark(key, row)

    def in_the_way(self, key: datetime, start: datetime, end: datetime) -> bool:
        """Whether a slot that is booked, or was moved by a person, has a part of a time."""
        others = [row for k, row in self.rows.items() if k != key and row.takes_its_time]
        return any(start < row.end and row.start < end for row in others)

    def _mark(self, key: datetime, row: Row) -> None:
        row.withdrawn = not self._offers(key, row)
        row.displaced = self._is_beside(key, row)

    def _follow(self, row: Row) -> None:
        if "capacity" not in row.custom:
            row.capacity = row.segment.capacity
        if "data" not in row.custom:
            row.data = {**row.data, **row.segment.data}

    def rule_times(
        self, key: datetime, row: Row, segment: Segment | None = None
    ) -> tuple[datetime, datetime]:
        segment = segment or row.segment
        if key not in segment.all_starts():
            return row.start, row.end
        start, end = segment.times(key)
        start = row.start if "start" in row.custom else start
        if "length" in row.custom:
            end = end_instant(wall_clock(start) + (wall_clock(row.end) - wall_clock(row.start)))
        elif "start" in row.custom:
            end = end_instant(wall_clock(start) + segment.duration)
        return start, end

    def edit_this(self, key: datetime, change: Change, move_booked: bool) -> None:
        row = self.reachable().get(key)
        if row is None:
            raise Refused
        is_over = row.end <= self.now or row.status == "completed"
        if (is_over and change.keys() != {"data"}) or not (is_over or row.status == "scheduled"):
            raise Refused
        start, custom = row.start, set(row.custom)
        length = wall_clock(row.end) - wall_clock(row.start)
        if "start" in change:
            start = instant(change["start"])
            custom.add("start")
        if "duration" in change:
            length = change["duration"]
            custom.add("length")
        elif "length" not in custom:
            length = row.segment.duration if "start" in change else length
        if start != row.start and (start <= self.now or row.start <= self.now):
            raise Refused
        end = end_instant(wall_clock(start) + length) if {"start", "duration"} & set(change) else row.end
        is_moved = (start, end) != (row.start, row.end)
        is_bound = self.in_the_way(key, start, end) or (row.booked and not move_booked)
        if is_moved and is_bound:
            raise Refused
        row = self.row(key)
        self._settle(key, row)
        row.start, row.end = start, end
        if {"start", "duration"} & set(change):
            self._mark(key, row)
        row.capacity = change.get("capacity", row.capacity)
        row.data = {**row.data, **change.get("data", {})}
        row.custom = frozenset({*custom, *(name for name in ("capacity", "data") if name in change)})

    # -- many slots

    def edit_wide(self, key: datetime, scope: str, change: Change, move_booked: bool) -> None:
        segment = self.segment_of(key)
        place = self.segments.index(segment)
        whole = replace(segment, ended=None)
        cut = not_first = scope == "this_and_future" and any(s < key for s in whole.all_starts())
        scoped = self.segments[place:] if scope == "this_and_future" else list(self.segments)
        if "interval" in change and len(scoped) > 1:
            raise Refused
        delta = change["start"] - (key + segment.shift) if "start" in change else timedelta(0)
        new = {id(each): self._changed(each, change, delta) for each in scoped}
        changed = new[id(segment)]
        cut = cut and ("interval" in change or changed != segment)  # what changes nothing cuts nothing
        if cut or (scope == "this_and_future" and "interval" in change):
            changed.start = key
            changed.anchor = key.date() if "interval" in change else changed.anchor
        if {"start", "duration", "interval"} & set(change):
            if scope == "this_and_future":
                self._check_order(place, key if not_first else None, key, changed)
            self._check_overlaps(scoped, new)
        decided = [new[id(each)] for each in scoped if new[id(each)] != each] + ([segment] if cut else [])
        revised = self._revise(
            scoped, new, segment if scope == "this_and_future" else None, key, change, move_booked
        )
        self._install(segment, new, key if cut else None)
        for row_key in revised:
            self._settle(row_key, self.rows[row_key])
        self._settle_all(decided)

    def _install(self, segment: Segment, new: dict[int, Segment], cut: datetime | None) -> None:
        """Let changed segments take the place of the old ones, one of them from a cut on."""
        if cut is not None:
            if segment.ended is not None and segment.ended >= cut:
                segment.ended = None
            segment.until = cut
            self.segments.insert(self.segments.index(segment) + 1, new[id(segment)])
        for position, each in enumerate(self.segments):
            if id(each) in new and not (cut and each is segment):
                self.segments[position] = new[id(each)]
        for row_key, row in self.rows.items():
            if id(row.segment) in new and not (cut is not None and row.segment is segment and row_key < cut):
                row.segment = new[id(row.segment)]

    @staticmethod
    def _changed(segment: Segment, change: Change, delta: timedelta) -> Segment:
        return replace(
            segment,
            shift=segment.shift + delta,
            duration=change.get("duration", segment.duration),
            capacity=change.get("capacity", segment.capacity),
            data={**segment.data, **change.get("data", {})},
            interval=change.get("interval", segment.interval),
        )

    def _check_order(self, place: int, cut: datetime | None, key: datetime, changed: Segment) -> None:
        segment = self.segments[place]
        before = [s + segment.shift + segment.duration for s in segment.starts() if cut and s < cut]
        before += [s + each.shift + each.duration for each in self.segments[:place] for s in each.starts()]
        firsts = [s + changed.shift for s in changed.starts() if s >= key]
        if not firsts or (before and firsts[0] < max(before)):
            raise Refused

    @staticmethod
    def _check_overlaps(scoped: list[Segment], new: dict[int, Segment]) -> None:
        """Slots of one segment may not overlap, nor those where two segments meet."""
        changed = [new[id(s)] for s in scoped if new[id(s)].of_times != s.of_times]
        parts = [new[id(each)] for each in scoped] if changed else []
        for each in changed:
            starts = each.all_starts()
            if any(later < earlier + each.duration for earlier, later in pairwise(starts)):
                raise Refused
        for earlier, later in pairwise(parts):
            lasts, firsts = earlier.starts(), later.starts()
            if lasts and firsts and firsts[0] + later.shift < lasts[-1] + earlier.shift + earlier.duration:
                raise Refused

    def _revise(
        self,
        scoped: list[Segment],
        new: dict[int, Segment],
        first: Segment | None,
        key: datetime,
        change: Change,
        move_booked: bool,
    ) -> set[datetime]:
        """Move and remove rows; return those that were changed."""
        revised: set[datetime] = set()
        moves: dict[datetime, tuple[datetime, datetime]] = {}
        gone: set[datetime] = set()
        meant = {k: row for k, row in self.rows.items() if id(row.segment) in new}
        for row_key, row in meant.items():
            is_before = row.segment is first and row_key < key
            if is_before or row.status != "scheduled" or row.start <= self.now:
                continue
            before = replace(row)
            self._revise_values(row, change)
            if row != before:
                revised.add(row_key)
            if not {"start", "duration", "interval"} & set(change):
                continue
            segment = new[id(row.segment)]
            target = self.rule_times(row_key, row, segment)
            if row_key not in segment.all_starts() or (target[0] <= self.now and target != row.span):
                gone |= {row_key} if row.untouched else set()
            elif target != row.span and (move_booked or not row.booked):
                moves[row_key] = target
        stuck = self._stuck(moves)
        going = {row_key: span for row_key, span in moves.items() if row_key not in stuck}
        for row_key, (start, end) in going.items():
            self.rows[row_key].start, self.rows[row_key].end = start, end
        for row_key in gone:
            del self.rows[row_key]
        return (revised | going.keys()) - gone

    def _stuck(self, moves: dict[datetime, tuple[datetime, datetime]]) -> set[datetime]:
        """Return the booked slots that stay, for another booked one stays where they would go."""
        found: set[datetime] = set()
        going = {key: span for key, span in moves.items() if self.rows[key].booked}
        while True:
            held = [r for k, r in self.rows.items() if r.booked and r.stands and k not in going]
            late = {
                key
                for key, (start, end) in going.items()
                if any(start < r.end and r.start < end for r in held)
            }
            if not late:
                return found
            found |= late
            going = {key: span for key, span in going.items() if key not in late}

    @staticmethod
    def _revise_values(row: Row, change: Change) -> None:
        if "capacity" in change and "capacity" not in row.custom:
            row.capacity = change["capacity"]
        if "data" in change and "data" not in row.custom:
            row.data = {**row.data, **change["data"]}

    def end(self, key: datetime, scope: str, status: str) -> None:
        segment = self.segment_of(key)
        place = self.segments.index(segment) if scope == "this_and_future" else 0
        decided = [
            each
            for each in self.segments[place:]
            if self._end_segment(each, key if scope == "this_and_future" and each is segment else EVER)
        ]
        for row_key, row in self.rows.items():
            early = scope == "this_and_future" and row.segment is segment and row_key < key
            if row.segment in self.segments[place:] and not early:
                self._end_row(row, status)
        self._settle_all(decided)

    def cancel_future(self, day: date) -> None:
        midnight = datetime.combine(day, time())
        decided = [each for each in self.segments if self._end_segment(each, midnight - each.shift)]
        for row in self.rows.values():
            if row.start >= instant(midnight):
                self._end_row(row, "cancelled")
        self._settle_all(decided)

    def _end_segment(self, segment: Segment, bound: datetime) -> bool:
        """Let a segment end at an original start; return whether it did not end before that."""
        wall = self.now.astimezone(BERLIN).replace(tzinfo=None)
        bound = max(bound, wall + MINUTE - segment.shift, segment.start or EVER)
        ends = [end for end in (segment.until, segment.ended) if end is not None]
        is_earlier = not ends or bound < min(ends)
        if is_earlier:
            segment.ended = bound
        return is_earlier

    def _end_row(self, row: Row, status: str) -> None:
        if row.status != "scheduled" or row.start <= self.now:
            return
        if row.booked and status == "deleted":
            row.custom -= {"status"}  # the later decision counts
        else:
            row.status, row.with_series = status, True

    def restore_wide(self, key: datetime | None, scope: str) -> None:
        segment = self.segments[0] if key is None else self.segment_of(key, deleted=True, ended=True)
        later = scope == "this_and_future"
        place = self.segments.index(segment) if later else 0
        meant = [
            k for k, row in sorted(self.rows.items())
            if row.status in ("cancelled", "deleted") and row.start > self.now
            and (k == key or (row.with_series and row.segment in self.segments[place:]
                              and not (later and row.segment is segment and key is not None and k < key)))
        ]  # fmt: skip
        opened = [each for each in self.segments[place:] if each.ended is not None]
        for each in self.segments[place:]:
            if each.ended is not None and later and each is segment and key is not None and key > each.ended:
                opened.append(self._divide(each, key))
            else:
                each.ended = None
        back: list[Row] = []
        before = {key: row for key, row in self.rows.items() if row.takes_its_time}
        for each_key in meant:
            row = self.rows[each_key]
            start, end = (row.start, row.end) if row.booked else self.rule_times(each_key, row)
            others = [r for k, r in before.items() if k != each_key] + [r for r in back if r.booked]
            if start > self.now and not any(start < r.end and r.start < end for r in others):
                back.append(row)
                row.start, row.end = start, end
                row.status, row.with_series = "scheduled", False
                self._follow(row)
                self._settle(each_key, row)
        self._settle_all(opened)

    def _divide(self, segment: Segment, key: datetime) -> Segment:
        later = replace(segment, start=key, ended=None)
        segment.until = key
        self.segments.insert(self.segments.index(segment) + 1, later)
        for row_key, row in self.rows.items():
            if row.segment is segment and row_key >= key:
                row.segment = later
        return later

    # -- top-ups

    def top_up(self) -> None:
        """Bring the rows of the next seven days in line with the rule, and make those that are missing."""
        if not self.active:
            return
        self._heal()
        for key, row in self.virtual().items():
            if self.in_window(row.start) and row.start > self.now:
                row.by_run = True
                self.rows[key] = row

    def in_window(self, moment: datetime) -> bool:
        today = self.now.astimezone(BERLIN).date()
        first, end = (instant(datetime.combine(day, time())) for day in (today, today + 7 * DAY))
        return first <= moment < end

    def _heal(self) -> None:
        for key, row in list(self.rows.items()):
            promised = key in row.segment.starts()
            near = self.in_window(row.start) or (promised and self.in_window(row.segment.times(key)[0]))
            if near:
                is_untouched = row.untouched
                self._settle(key, row)
                if row.withdrawn and row.start > self.now and is_untouched:
                    del self.rows[key]
