"""What many templates promise alike: one expansion for all of the same rule, and how much of it is stored.

Pure, and nothing is kept between two top-ups: an expansion lives as long as the batch that is worked on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from operator import attrgetter, eq
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .. import planning
from ..recurrence.recurrence_set import span_of_grid
from ..recurrence.rule import parse_rrule
from ..values import MICROSECOND, Steps, TemplateSpec, Times, Window

#: More than a zone, a gap, a day grid and the first week of a rule can move anything.
_FAR = timedelta(days=10)
_MICROS_OF_DAY = timedelta(days=1) // MICROSECOND
_EPOCH, _EPOCH_UTC = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC)  # noqa: DTZ001 (wall clock)
_of_pattern = attrgetter(
    "active", "rrule", "timezone", "duration", "every", "until_time", "shift", "rdates", "exdates", "holidays",
    "blackouts", "opens_before", "opens_days_before", "opens_time", "closes_before", "closes_days_before",
    "closes_time", "ends_by", "overlapping", "exclusive", "pool",
)  # fmt: skip


class Columns(NamedTuple):
    """The times of slots, column by column, in microseconds since 1970: original starts on the wall, others in UTC.

    Whole numbers are added, are compared and find their text in a fraction of what a datetime takes.
    """

    original_start: list[int]
    starts_at: list[int]
    ends_at: list[int]
    opens_at: list[int | None]
    closes_at: list[int]

    def times(self, place: int) -> Times:
        """Return the times of one slot."""
        opens_at = self.opens_at[place]
        return Times(
            _EPOCH + timedelta(microseconds=self.original_start[place]),
            moment_of(self.starts_at[place]),
            moment_of(self.ends_at[place]),
            None if opens_at is None else moment_of(opens_at),
            moment_of(self.closes_at[place]),
        )

    def add(self, times: Times) -> None:
        """Take in the times of one slot."""
        self.original_start.append(micros_of(times.original_start))
        self.starts_at.append(micros_of(times.starts_at))
        self.ends_at.append(micros_of(times.ends_at))
        self.opens_at.append(None if times.opens_at is None else micros_of(times.opens_at))
        self.closes_at.append(micros_of(times.closes_at))


def micros_of(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware moment, or of a naive one by its own clock."""
    return (moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)) // MICROSECOND


def moment_of(micros: int) -> datetime:
    """Return the aware moment, UTC, so many microseconds after 1970."""
    return _EPOCH_UTC + timedelta(microseconds=micros)


class Remembered(dict[Any, Any]):
    """What was made of a key when it was first asked for; of ``None`` it is ``None``.

    Gone with the chunk that it is made for: a process that lives for months remembers no old days.
    """

    def __init__(self, make: Callable[[Any], Any]) -> None:
        super().__init__({None: None})
        self._make = make

    def __missing__(self, key: Any) -> Any:
        found = self[key] = self._make(key)
        return found


#: Turns a column of times into what a database stores.
Writer = Callable[[Sequence[int | None]], list[Any]]


def text_writer(is_long: bool) -> Writer:
    """Return what writes times as texts, each put together from the text of its day and that of its time.

    :param is_long: whether six decimals are written where they are all zero.
    """

    def clock_of(micros: int) -> str:
        seconds, rest = divmod(micros, 1_000_000)
        decimals = f".{rest:06d}" if rest or is_long else ""
        return f" {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{decimals}"

    days = Remembered(lambda day: moment_of(day * _MICROS_OF_DAY).date().isoformat())
    clocks = Remembered(clock_of)

    def write(column: Sequence[int | None]) -> list[str | None]:
        return [
            None if each is None else days[each // _MICROS_OF_DAY] + clocks[each % _MICROS_OF_DAY]
            for each in column
        ]

    return write


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """What a rule promises in a window and does not leave out, for every template that has it.

    :param columns: sorted by ``starts_at``, no two alike.
    :param skipped: reason -> number of promised occurrences that are left out.
    :param forms: what others made of the times, such as the texts that a database stores.
    """

    columns: Columns
    skipped: Counter[str]
    forms: dict[Hashable, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, times: Iterable[Times]) -> Expansion:
        """Return the expansion of slots that are planned already."""
        columns = Columns([], [], [], [], [])
        for each in times:
            columns.add(each)
        return cls(columns, Counter())

    def __len__(self) -> int:
        return len(self.columns.starts_at)

    @property
    def times(self) -> tuple[Times, ...]:
        """The times slot by slot, made when first asked for."""
        found: tuple[Times, ...] | None = self.forms.get("times")
        if found is None:
            found = self.forms["times"] = tuple(map(self.columns.times, range(len(self))))
        return found

    def started(self, now: datetime) -> int:
        """Return how many slots have started by a moment (aware)."""
        return bisect_right(self.columns.starts_at, micros_of(now))

    def bounds(self) -> tuple[datetime, datetime]:
        """Return the first and the last original start (naive) of an expansion that is not empty."""
        found = self.forms.get("bounds")
        if found is None:
            originals = self.columns.original_start
            first, last = (timedelta(microseconds=edge) for edge in (min(originals), max(originals)))
            found = self.forms["bounds"] = _EPOCH + first, _EPOCH + last
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """New slots of one template: a part of its expansion, as half-open positions."""

    spec: TemplateSpec
    expansion: Expansion
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    @property
    def key(self) -> tuple[int, int]:
        """Where it comes in the order of all writers."""
        return self.spec.series_id, self.expansion.columns.original_start[self.first]

    @property
    def times(self) -> tuple[Times, ...]:
        """The times of its slots."""
        return self.expansion.times[self.first : self.end]


def expand(spec: TemplateSpec, window: Window, steps: Steps | None = None) -> Expansion:
    """Return what a template promises in a window: exactly what planning says, less what is left out.

    :raises TooCostly: if that are too many steps.
    """
    columns, skipped = Columns([], [], [], [], []), Counter[str]()
    zone, left_out = ZoneInfo(spec.timezone), planning.exclusions(spec)
    for part in planning.promised_parts(spec, window):
        if isinstance(part, planning.Steady):
            _add_steady(columns, skipped, spec, part, left_out, steps)
            continue
        for original_start, starts_at, reason in planning.promised_near(spec, part, left_out, steps):
            if reason is None:
                columns.add(planning.times_of(spec, original_start, starts_at, zone))
            else:
                skipped[reason] += 1
    return Expansion(columns, skipped)


def _add_steady(
    columns: Columns,
    skipped: Counter[str],
    spec: TemplateSpec,
    part: planning.Steady,
    left_out: planning.LeftOut | None,
    steps: Steps | None,
) -> None:
    """Take in what is promised while no clocks change: what planning says, by adding whole numbers.

    ``times_of`` says the same slot by slot; a random test compares them.
    """
    originals = _originals(part)
    if steps is not None:
        steps.take(len(originals))
    if left_out is not None:
        reasons = [left_out(_EPOCH + timedelta(microseconds=each), None) for each in originals]
        skipped.update(reason for reason in reasons if reason is not None)
        originals = [each for each, reason in zip(originals, reasons, strict=True) if reason is None]
    ahead, length = part.ahead // MICROSECOND, spec.duration // MICROSECOND
    starts = [each + ahead for each in originals]
    columns.original_start.extend(originals)
    columns.starts_at.extend(starts)
    columns.ends_at.extend([each + length for each in starts])
    columns.opens_at.extend(_opens(spec, originals, starts))
    columns.closes_at.extend(_closes(spec, originals, starts))


def _originals(part: planning.Steady) -> list[int]:
    firsts, distances, lower, upper = part.lattice
    steps = [each // MICROSECOND for each in distances]
    found = [first + step for first in map(micros_of, firsts) for step in steps]
    return found[bisect_left(found, micros_of(lower)) : bisect_left(found, micros_of(upper))]


def _opens(spec: TemplateSpec, originals: list[int], starts: list[int]) -> Sequence[int | None]:
    if spec.opens_before is not None:
        before = spec.opens_before // MICROSECOND
        return [each - before for each in starts]
    if spec.opens_days_before is not None:
        return _clock_of_days(spec, originals, spec.opens_days_before, spec.opens_time)
    return [None] * len(starts)


def _closes(spec: TemplateSpec, originals: list[int], starts: list[int]) -> list[int]:
    if spec.closes_before:
        before = max(spec.closes_before, -spec.duration) // MICROSECOND
        return [each - before for each in starts]
    if spec.closes_days_before is not None:
        closes = _clock_of_days(spec, originals, spec.closes_days_before, spec.closes_time)
        return list(map(min, closes, starts))
    return starts


def _clock_of_days(spec: TemplateSpec, originals: list[int], before: int, clock: time | None) -> list[int]:
    """Return when a local time comes so many days before each slot's grid day; clocks may change until then."""
    zone, found, moments = ZoneInfo(spec.timezone), [], dict[int, int]()
    # As `planning.steady_day`, in whole numbers.
    anchor, shift = micros_of(spec.dtstart), spec.shift // MICROSECOND
    length = span_of_grid(spec.dtstart, spec.until_time) // MICROSECOND if spec.until_time is not None else 0
    for each in originals:
        since = (each - anchor) % _MICROS_OF_DAY
        day = ((each - since if since < length else each) + shift) // _MICROS_OF_DAY
        if day not in moments:
            date = (_EPOCH + timedelta(days=day - before)).date()
            moments[day] = micros_of(planning.at_clock(date, clock, zone))
        found.append(moments[day])
    return found


def pattern_of(spec: TemplateSpec, window: Window) -> Hashable:
    """Return a key: templates with the same one have the same expansion in the window.

    Where the anchor lies so far back that only its phase counts, templates share an expansion although they began on
    different days; the same for bounds that lie far outside the window.
    """
    earliest = window.start.replace(tzinfo=None) - spec.shift - _FAR
    latest = window.end.replace(tzinfo=None) - spec.shift + _FAR
    first, last = spec.active_from, spec.ends_before
    step = _phase_days(spec.rrule) if spec.rrule and spec.dtstart < earliest else 0
    return (
        *_of_pattern(spec),
        (spec.dtstart.time(), spec.dtstart.toordinal() % step) if step else spec.dtstart,
        None if first is None or first < earliest else first,
        None if last is None or last > latest else last,
        window.start,
        window.end,
    )


@lru_cache(maxsize=1024)
def _phase_days(rrule: str) -> int:
    """Return after how many days a rule that never ends by COUNT repeats its phase; 0: its anchor counts."""
    rule = parse_rrule(rrule)
    if rule.count is not None or rule.freq not in ("DAILY", "WEEKLY"):
        return 0
    return rule.interval if rule.freq == "DAILY" else 7 * rule.interval


class Part(NamedTuple):
    """The part of an expansion's slots that is stored, as half-open positions."""

    first: int
    end: int


def stored_part(expected: Sequence[Any], stored: Sequence[Any], count: int) -> Part | None:
    """Find what is stored among what is expected; ``None`` if it is not one unbroken part of it.

    :param expected: a text, or bytes, for each column: the values of all slots, each as long as the others.
    :param stored: the same for the rows that are there; ``None`` or empty: there are none.
    :param count: how many slots are expected, at least 1.
    """
    if all(map(eq, expected, stored)):
        return Part(0, count)
    if not stored[0]:
        return Part(0, 0)
    widths = [len(column) // count for column in expected]
    rows = {len(column) / width for column, width in zip(stored, widths, strict=True)}
    if len(rows) != 1 or not min(rows).is_integer():
        return None
    return _find(expected, stored, widths) or _find(expected, _sorted(stored, widths), widths)


def _find(expected: Sequence[Any], stored: Sequence[Any], widths: list[int]) -> Part | None:
    width = widths[0]
    position = expected[0].find(stored[0])
    while position > 0 and position % width:  # bytes may look alike across the border of two slots
        position = expected[0].find(stored[0], position + 1)
    first, size = position // width, len(stored[0]) // width
    columns = zip(expected, stored, widths, strict=True)
    if position < 0 or not all(column.startswith(found, first * wide) for column, found, wide in columns):
        return None
    return Part(first, first + size)


def _sorted(stored: Sequence[Any], widths: list[int]) -> list[Any]:
    # No database promises the order in which it joins rows; the index nearly always gives the right one.
    pairs = zip(stored, widths, strict=True)
    columns = [[column[i : i + width] for i in range(0, len(column), width)] for column, width in pairs]
    ordered = zip(*sorted(zip(*columns, strict=True)), strict=True)
    return [column[:0].join(values) for column, values in zip(stored, ordered, strict=True)]
