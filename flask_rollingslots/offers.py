"""What many templates offer alike: one expansion for all of the same rule, and how much of it is stored.

Pure, and nothing is kept between two top-ups: an offer lives as long as the batch that is worked on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from . import planning
from .recurrence.parse import parse_rrule

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .values import TemplateSpec, Times, Window

#: More than a zone, a gap, a day grid and the first week of a rule can move anything.
_FAR = timedelta(days=10)
_STARTS_AT = attrgetter("starts_at")


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """What a rule offers in a window, for every template that has it.

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
        """Return the first and the last original start (naive) of an offer that is not empty."""
        found = self.forms.get("bounds")
        if found is None:
            originals = [times.original_start for times in self.times]
            found = self.forms["bounds"] = min(originals), max(originals)
        return found


def make_offer(spec: TemplateSpec, window: Window) -> Offer:
    """Return what a template offers in a window: exactly what planning promises, less what is left out."""
    times, skipped, zone = [], Counter[str](), ZoneInfo(spec.timezone)
    for original_start, starts_at, reason in planning.promised_starts(spec, window):
        if reason is None:
            times.append(planning.times_of(spec, original_start, starts_at, zone))
        else:
            skipped[reason] += 1
    return Offer(tuple(times), skipped)


def pattern_of(spec: TemplateSpec, window: Window) -> Hashable:
    """Return a key: templates with the same one have the same offer in the window.

    Where the anchor lies so far back that only its phase counts, templates share an offer although they began on
    different days; the same for bounds that lie far outside the window.
    """
    earliest = window.start.replace(tzinfo=None) - spec.shift - _FAR
    latest = window.end.replace(tzinfo=None) - spec.shift + _FAR
    first, last = spec.active_from, spec.ends_before
    return (
        spec.active,
        spec.rrule,
        _anchor(spec, earliest),
        spec.timezone,
        spec.duration,
        spec.every,
        spec.until_time,
        spec.shift,
        spec.rdates,
        spec.exdates,
        spec.holidays,
        spec.blackouts,
        None if first is None or first < earliest else first,
        None if last is None or last > latest else last,
        spec.opens_before,
        spec.opens_days_before,
        spec.closes_before,
        window.start,
        window.end,
    )


def _anchor(spec: TemplateSpec, earliest: datetime) -> Hashable:
    step = _phase_days(spec.rrule) if spec.rrule and spec.dtstart < earliest else 0
    return (spec.dtstart.time(), spec.dtstart.toordinal() % step) if step else spec.dtstart


@lru_cache(maxsize=1024)
def _phase_days(rrule: str) -> int:
    """Return after how many days a rule that never ends by COUNT repeats its phase; 0: its anchor counts."""
    rule = parse_rrule(rrule)
    if rule.count is not None or rule.freq not in ("DAILY", "WEEKLY"):
        return 0
    return rule.interval if rule.freq == "DAILY" else 7 * rule.interval


class Part(NamedTuple):
    """The part of an offer's slots that is stored, as half-open positions."""

    first: int
    end: int


def stored_part(expected: Any, stored: Any, width: int) -> Part | None:
    """Find what is stored among what is expected, both as texts or bytes of ``width`` for each slot.

    :return: ``None`` if it is not one unbroken part, so that each row has to be looked at.
    """
    if stored == expected:
        return Part(0, len(expected) // width)
    if not stored:
        return Part(0, 0)
    if len(stored) % width:
        return None
    return _find(expected, stored, width) or _find(expected, _sorted(stored, width), width)


def _find(expected: Any, stored: Any, width: int) -> Part | None:
    position = expected.find(stored)
    while position > 0 and position % width:  # bytes may look alike across the border of two slots
        position = expected.find(stored, position + 1)
    return Part(position // width, (position + len(stored)) // width) if position >= 0 else None


def _sorted(stored: Any, width: int) -> Any:
    # No database promises the order in which it joins rows; the index nearly always gives the right one.
    return stored[:0].join(sorted(stored[i : i + width] for i in range(0, len(stored), width)))


def is_sound(offer: Offer, part: Part, now: datetime, backfill: bool) -> bool:
    """Whether what is missing before the stored part had started anyway, so that nothing lacks in between."""
    return part.first == 0 or (not backfill and part.first <= offer.started(now))
