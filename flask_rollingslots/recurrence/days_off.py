"""Days on which a template offers nothing: those that its owner blacked out, and public holidays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import date

from ..values import TemplateSpec
from .public_holidays import public_holiday

HOLIDAY = "holiday"
BLACKOUT = "blackout"


def days_off(spec: TemplateSpec) -> Callable[[date], str | None]:
    """Return a function that says why a grid day is off; what it costs does not grow with the blackouts."""
    ranges = joined_days(spec.blackouts)
    firsts = [first for first, _ in ranges]
    known: dict[date, str | None] = {}

    def is_off(day: date) -> str | None:
        if day not in known:
            place = bisect_right(firsts, day) - 1
            is_closed = place >= 0 and day <= ranges[place][1]
            is_holiday = not is_closed and spec.holidays and public_holiday(spec.holidays, day)
            known[day] = BLACKOUT if is_closed else HOLIDAY if is_holiday else None
        return known[day]

    return is_off


def joined_days(ranges: Iterable[Sequence[date]]) -> list[tuple[date, date]]:
    """Return ranges of days in order, those that overlap or follow each other as one."""
    found: list[tuple[date, date]] = []
    for first, last in sorted((days[0], days[1]) for days in ranges):
        if found and first.toordinal() <= found[-1][1].toordinal() + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found
