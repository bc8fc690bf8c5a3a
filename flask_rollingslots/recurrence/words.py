"""English for days, times and lengths."""

from __future__ import annotations

from datetime import date, time, timedelta

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "", "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
NTH = {
    1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth",
    -1: "last", -2: "second to last", -3: "third to last",
}  # fmt: skip


def listed(names: list[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def ordinal(number: int) -> str:
    """Return ``1st``, ``22nd``, ``13th``."""
    if 10 < number % 100 < 14:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def clock(at: time) -> str:
    """Return ``09:00``, with seconds only if there are any."""
    return at.isoformat("seconds" if at.second else "minutes")


def day_text(day: date) -> str:
    """Return ``5 January 2026``."""
    return f"{day.day} {MONTHS[day.month]} {day.year}"


def times(count: int) -> str:
    """Return ``once``, ``twice``, ``5 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def span(length: timedelta, *, bare: bool = False) -> str:
    """Return ``2 hours`` or ``90 minutes``; the largest unit that is whole.

    :param bare: leave out a single one: ``hour`` for ``1 hour``.
    """
    seconds = round(length.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return _amount(seconds // size, unit, bare)
    return _amount(seconds, "second", bare)


def _amount(number: int, unit: str, bare: bool) -> str:
    if number == 1:
        return unit if bare else f"1 {unit}"
    return f"{number} {unit}s"
