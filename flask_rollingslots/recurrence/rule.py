"""An RFC 5545 recurrence rule as plain, immutable data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@dataclass(frozen=True, slots=True)
class Rule:
    """The parts of an RRULE (RFC 5545 section 3.3.10); lists are sorted and hold each value once.

    :param until: a date (the whole local day), a naive datetime (wall clock) or an aware one in UTC (an instant).
    :param wkst: first day of the week, 0 = Monday.
    :param byday: pairs of (n, weekday); n is 0 for a weekday without a number.
    """

    freq: str
    interval: int = 1
    count: int | None = None
    until: date | datetime | None = None
    wkst: int = 0
    bymonth: tuple[int, ...] = ()
    bymonthday: tuple[int, ...] = ()
    byyearday: tuple[int, ...] = ()
    byweekno: tuple[int, ...] = ()
    byday: tuple[tuple[int, int], ...] = ()
    byhour: tuple[int, ...] = ()
    byminute: tuple[int, ...] = ()
    bysecond: tuple[int, ...] = ()
    bysetpos: tuple[int, ...] = ()

    @property
    def is_numbered(self) -> bool:
        """Whether a weekday carries a number, as in ``2TU``."""
        return any(n for n, _ in self.byday)

    @property
    def weekdays(self) -> tuple[int, ...]:
        """The weekdays of BYDAY, each once, without their numbers."""
        return tuple(sorted({day for _, day in self.byday}))

    def __str__(self) -> str:
        """Return the RRULE text, parts in a fixed order, defaults left out."""
        parts = [f"FREQ={self.freq}"]
        parts += [f"INTERVAL={self.interval}"] if self.interval != 1 else []
        parts += [f"COUNT={self.count}"] if self.count is not None else []
        parts += [f"UNTIL={until_text(self.until)}"] if self.until is not None else []
        for name in LISTS:
            if values := getattr(self, name.lower()):
                parts.append(f"{name}={','.join(_item_text(value) for value in values)}")
        parts += [f"WKST={WEEKDAYS[self.wkst]}"] if self.wkst else []
        return ";".join(parts)


LISTS = (
    "BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYHOUR", "BYMINUTE", "BYSECOND", "BYSETPOS",
)  # fmt: skip


def _item_text(value: int | tuple[int, int]) -> str:
    if isinstance(value, tuple):
        return f"{value[0] or ''}{WEEKDAYS[value[1]]}"
    return str(value)


def until_text(until: date | datetime) -> str:
    """Return an UNTIL value as RFC 5545 writes it: DATE, local time, or UTC time with a final Z."""
    day = f"{until.year:04d}{until.month:02d}{until.day:02d}"
    if not isinstance(until, datetime):
        return day
    if until.tzinfo is not None:
        until = until.astimezone(UTC)
        return f"{until.year:04d}{until:%m%dT%H%M%S}Z"
    return f"{day}T{until:%H%M%S}"
