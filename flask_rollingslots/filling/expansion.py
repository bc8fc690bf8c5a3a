"""What many templates promise alike: one expansion for all of the same rule, and how much of it is stored.

Pure, and nothing is kept between two top-ups: an expansion lives as long as the batch that is worked on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter, eq
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .. import planning
from ..recurrence.rule import parse_rrule
from ..values import Steps, TemplateSpec, Times, Window

#: More than a zone, a gap, a day grid and the first week of a rule can move anything.
_FAR = timedelta(days=10)
_STARTS_AT = attrgetter("starts_at")
_of_pattern = attrgetter(
    "active", "rrule", "timezone", "duration", "every", "until_time", "shift", "rdates", "exdates", "holidays",
    "blackouts", "opens_before", "opens_days_before", "opens_time", "closes_before", "closes_days_before",
    "closes_time", "ends_by", "overlapping", "exclusive", "pool",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """What a rule promises in a window and does not leave out, for every template that has it.

    :param times: sorted by ``starts_at``, no two alike.
    :param skipped: reason -> number of promised occurrences that are left out.
    :param forms: what others made of the times, such as the texts that a database stores.
    """

    times: tuple[Times, ...]
    skipped: Counter[str]
    forms: dict[str, Any] = field(default_factory=dict)

    def started(self, now: datetime) -> int:
        """Return how many slots have started by a moment (aware)."""
        return bisect_right(self.times, now, key=_STARTS_AT)

    def bounds(self) -> tuple[datetime, datetime]:
        """Return the first and the last original start (naive) of an expansion that is not empty."""
        found = self.forms.get("bounds")
        if found is None:
            originals = [times.original_start for times in self.times]
            found = self.forms["bounds"] = min(originals), max(originals)
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
    def key(self) -> tuple[int, datetime]:
        """Where it comes in the order of all writers."""
        return self.spec.series_id, self.expansion.times[self.first].original_start

    @property
    def times(self) -> tuple[Times, ...]:
        """The times of its slots."""
        return self.expansion.times[self.first : self.end]


def expand(spec: TemplateSpec, window: Window, steps: Steps | None = None) -> Expansion:
    """Return what a template promises in a window: exactly what planning says, less what is left out.

    :raises TooCostly: if that are too many steps.
    """
    times, skipped, zone = [], Counter[str](), ZoneInfo(spec.timezone)
    for original_start, starts_at, reason in planning.promised_starts(spec, window, steps):
        if reason is None:
            times.append(planning.times_of(spec, original_start, starts_at, zone))
        else:
            skipped[reason] += 1
    return Expansion(tuple(times), skipped)


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
