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
        starts_at = instant(original + self.shift)
        return starts_at, starts_at + self.duration


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
    def stands(self) -> bool:
        return self.status in ("scheduled", "completed")

    @property
    def takes_its_time(self) -> bool:
        """Whether others of the series have to leave it its time: displaced ones are told apart as they are marked."""
        return self.stands and bool(self.booked or "start" in self.custom or self.displaced)

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
        taken, found = self.standing(), {}
        for key, segment in self.promised().items():
            start, end = segment.times(key)
            if key not in self.rows and end > self.now and start not in taken:
                found[key] = Row(segment, start, end, segment.capacity, dict(segment.data))
        return found

    def shown(self) -> dict[datetime, Row]:
        return self.reachable() if self.active else {}

    def reachable(self) -> dict[datetime, Row]:
        """Return what a person can decide about: rows are there also while the series is off."""
        stored = {key: row for key, row in self.rows.items() if row.status != "deleted"}
        return stored | self.virtual()

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
        row = self.row(key)
        row.booked += 1
        row.history = True

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
        self._follow(row)
        self._mark(key, row)

    def in_the_way(self, key: datetime, start: datetime, end: datetime) -> bool:
        """Whether a slot that is booked, or was moved by a person, has a part of a time."""
        others = [row for k, row in self.rows.items() if k != key and row.takes_its_time]
        return any(start < row.end and row.start < end for row in others)

    @staticmethod
    def _mark(key: datetime, row: Row) -> None:
        row.withdrawn = key not in row.segment.all_starts()
        # What a rule lacks is beside all that it has.
        unbound = replace(row.segment, start=None, until=None)
        row.displaced = key not in unbound.all_starts() or (row.start, row.end) != row.segment.times(key)

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
        start, _ = segment.times(key)
        start = row.start if "start" in row.custom else start
        return start, start + (row.end - row.start if "length" in row.custom else segment.duration)

    def edit_this(self, key: datetime, change: Change, move_booked: bool) -> None:
        row = self.reachable().get(key)
        if row is None:
            raise Refused
        is_over = row.end <= self.now
        if (is_over and change.keys() != {"data"}) or not (is_over or row.status == "scheduled"):
            raise Refused
        start, length, custom = row.start, row.end - row.start, set(row.custom)
        if "start" in change:
            start = instant(change["start"])
            custom.add("start")
        if "duration" in change:
            length = change["duration"]
            custom.add("length")
        if start != row.start and (start <= self.now or row.start <= self.now):
            raise Refused
        is_moved = (start, start + length) != (row.start, row.end)
        is_bound = self.in_the_way(key, start, start + length) or (row.booked and not move_booked)
        if is_moved and is_bound:
            raise Refused
        row = self.row(key)
        row.start, row.end = start, start + length
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
        meant = self._revise(
            scoped, new, segment if scope == "this_and_future" else None, key, change, move_booked
        )
        self._install(segment, new, key if cut else None)
        for row_key in meant & self.rows.keys():
            self._mark(row_key, self.rows[row_key])

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
        """Move and remove rows; return those whose times are asked for."""
        meant: set[datetime] = set()
        moves: dict[datetime, tuple[datetime, datetime]] = {}
        gone: set[datetime] = set()
        for row_key, row in self.rows.items():
            if id(row.segment) not in new or (row.segment is first and row_key < key):
                continue
            if row.status != "scheduled" or row.start <= self.now:
                continue
            self._revise_values(row, change)
            segment = new[id(row.segment)]
            if not {"start", "duration", "interval"} & set(change):
                continue
            meant.add(row_key)
            if row_key not in segment.all_starts():
                gone |= {row_key} if row.untouched else set()
                continue
            target = self.rule_times(row_key, row, segment)
            if target == (row.start, row.end) or (row.booked and not move_booked):
                continue
            if target[0] <= self.now:
                gone |= {row_key} if row.untouched else set()
            else:
                moves[row_key] = target
        self._go({key: span for key, span in moves.items() if key not in self._stuck(moves)}, gone)
        return meant

    def _go(self, moves: dict[datetime, tuple[datetime, datetime]], gone: set[datetime]) -> None:
        for key, (start, end) in moves.items():
            self.rows[key].start, self.rows[key].end = start, end
        for key in gone:
            del self.rows[key]

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

    def _move(self, moves: dict[datetime, tuple[datetime, datetime]], gone: set[datetime]) -> None:
        """Move all at once in a top-up; who would meet one that stays, stays."""
        moves = dict(moves)
        while True:
            going = {key for key in moves if moves[key][0] != self.rows[key].start}
            held = {r.start for k, r in self.rows.items() if r.stands and k not in going and k not in gone}
            stuck = [key for key in going if moves[key][0] in held]
            if not stuck:
                break
            for key in stuck:
                del moves[key]
        self._go(moves, gone)

    def end(self, key: datetime, scope: str, status: str) -> None:
        segment = self.segment_of(key)
        place = self.segments.index(segment) if scope == "this_and_future" else 0
        for each in self.segments[place:]:
            self._end_segment(each, key if scope == "this_and_future" and each is segment else EVER)
        for row_key, row in self.rows.items():
            early = scope == "this_and_future" and row.segment is segment and row_key < key
            if row.segment in self.segments[place:] and not early:
                self._end_row(row, status)

    def cancel_future(self, day: date) -> None:
        midnight = datetime.combine(day, time())
        for each in self.segments:
            self._end_segment(each, midnight - each.shift)
        for row in self.rows.values():
            if row.start >= instant(midnight):
                self._end_row(row, "cancelled")

    def _end_segment(self, segment: Segment, bound: datetime) -> None:
        wall = self.now.astimezone(BERLIN).replace(tzinfo=None)
        bound = max(bound, wall + MINUTE - segment.shift, segment.start or EVER)
        ends = [end for end in (segment.until, segment.ended) if end is not None]
        if not ends or bound < min(ends):
            segment.ended = bound

    def _end_row(self, row: Row, status: str) -> None:
        if row.status == "scheduled" and row.start > self.now and not (row.booked and status == "deleted"):
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
        for each in self.segments[place:]:
            if each.ended is not None and later and each is segment and key is not None and key > each.ended:
                self._divide(each, key)
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
                self._mark(each_key, row)

    def _divide(self, segment: Segment, key: datetime) -> None:
        later = replace(segment, start=key, ended=None)
        segment.until = key
        self.segments.insert(self.segments.index(segment) + 1, later)
        for row_key, row in self.rows.items():
            if row.segment is segment and row_key >= key:
                row.segment = later

    # -- top-ups

    def top_up(self, everywhere: bool = False) -> None:
        """Bring the rows of the next seven days in line with the rule.

        :param everywhere: after an edit of the series: once also those that come later.
        """
        if not self.active:
            return
        for number in range(4):
            self._heal(everywhere and number == 0)
        for key, row in self.virtual().items():
            if self.in_window(row.start) and row.start > self.now:
                row.by_run = True
                self.rows[key] = row

    def in_window(self, moment: datetime) -> bool:
        today = self.now.astimezone(BERLIN).date()
        first, end = (instant(datetime.combine(day, time())) for day in (today, today + 7 * DAY))
        return first <= moment < end

    def _heal(self, everywhere: bool) -> None:
        moves, gone = {}, set()
        for key, row in self.rows.items():
            if row.status != "scheduled" or row.start <= self.now or row.booked or row.custom:
                continue
            promised = key in row.segment.starts()
            near = self.in_window(row.start) or (promised and self.in_window(row.segment.times(key)[0]))
            seen = near or everywhere
            if seen and promised and row.segment.times(key) != (row.start, row.end):
                moves[key] = row.segment.times(key)
            elif seen and not promised and row.untouched:
                gone.add(key)
        self._move(moves, gone)
