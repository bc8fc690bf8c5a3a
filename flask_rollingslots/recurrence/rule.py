"""RRULE as plain data (RFC 5545 section 3.3.10), its text, and how this package says no.

Reading is strict: whatever RFC 5545 forbids is refused with a sentence, nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from ..errors import InvalidRule, nearest

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
                parts.append(f"{name}={','.join(map(_item_text, values))}")
        parts += [f"WKST={WEEKDAYS[self.wkst]}"] if self.wkst else []
        return ";".join(parts)


LISTS = (
    "BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYHOUR", "BYMINUTE", "BYSECOND", "BYSETPOS",
)  # fmt: skip


def _item_text(value: int | tuple[int, int]) -> str:
    return str(value) if isinstance(value, int) else f"{value[0] or ''}{WEEKDAYS[value[1]]}"


def until_text(until: date | datetime) -> str:
    """Return an UNTIL value as RFC 5545 writes it: DATE, local time, or UTC time with a final Z."""
    if not isinstance(until, datetime):
        return until.isoformat().replace("-", "")
    if until.tzinfo is not None:
        return f"{until_text(until.astimezone(UTC).replace(tzinfo=None))}Z"
    return f"{until.year:04d}{until:%m%dT%H%M%S}"


# -- reading

MAX_LENGTH = 4096
MAX_NUMBER = 10**9

_NUMBER = re.compile(r"[+-]?[0-9]{1,10}")
_BYDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL = re.compile(r"([0-9]{8})(?:T((?:[01][0-9]|2[0-3])[0-9]{4})(Z?))?")

# part -> (lowest, highest, whether a negative value counts from the end)
_RANGES = {
    "BYSECOND": (0, 60, False),
    "BYMINUTE": (0, 59, False),
    "BYHOUR": (0, 23, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYMONTH": (1, 12, False),
    "BYSETPOS": (1, 366, True),
}
_OTHER_LINES = re.compile(r"(EXDATE|RDATE|EXRULE|DTSTART|DTEND|DURATION)(?![A-Z])|.*[\r\n]", re.DOTALL)


def parse_rrule(text: str) -> Rule:
    """Read one RRULE value, with or without ``RRULE:`` before it and with or without a final semicolon.

    :param text: for example ``FREQ=WEEKLY;BYDAY=FR``; upper and lower case are the same.
    :raises InvalidRule: whatever is not valid, with ``part``, ``value`` and ``expected``.
    """
    if not isinstance(text, str):
        raise refuse("rrule", text, "a text such as FREQ=WEEKLY;BYDAY=FR, or None")
    if len(text) > MAX_LENGTH:
        raise refuse("rrule", text, f"at most {MAX_LENGTH} characters", f"has {len(text)} characters")
    return _parse(text)


@lru_cache(maxsize=512)
def _parse(text: str) -> Rule:
    parts = _split(text)
    if "FREQ" not in parts:
        raise refuse("FREQ", None, f"one of {', '.join(FREQUENCIES)}", MISSING)
    rule = Rule(**{name.lower(): _READERS[name](name, value) for name, value in parts.items()})
    _check(rule, parts)
    return rule


def _split(text: str) -> dict[str, str]:
    body = text.strip()
    if not body:
        raise refuse("rrule", text, "a rule such as FREQ=WEEKLY;BYDAY=FR, or None", "is empty")
    if not body.isascii():
        raise refuse("rrule", text, "plain ASCII characters")
    body = body.upper().removeprefix("RRULE:").removesuffix(";")
    if _OTHER_LINES.match(body):
        elsewhere = "extra and excluded dates go into rdates and exdates, the start into dtstart"
        raise refuse("rrule", text, f"one RRULE alone: {elsewhere}")
    parts: dict[str, str] = {}
    for piece in body.split(";"):
        name, equals, value = piece.partition("=")
        if not equals or not name:
            expected = "NAME=VALUE parts joined by semicolons, such as FREQ=WEEKLY;BYDAY=FR"
            raise refuse("rrule", piece, expected)
        if " " in piece:
            raise refuse(name.strip()[:40], value, "no spaces, such as FREQ=WEEKLY;BYDAY=MO,WE", "has spaces")
        name = "BYDAY" if name == "BYWEEKDAY" else name  # as python-dateutil calls it
        _check_name(name, value)
        if name in parts:
            raise refuse(name, value, f"{name} once", "is given twice")
        parts[name] = value
    return parts


def _check_name(name: str, value: str) -> None:
    if name in ("RSCALE", "SKIP"):
        raise refuse(name, value, "a Gregorian rule without RSCALE and SKIP (RFC 7529)", "is not supported")
    if name not in _READERS:
        hint = nearest(name[:40], _READERS)
        why = "is in an unknown part" + (f".{hint}" if "Did you mean" in hint else "")
        raise refuse(name[:40], value, f"one of {', '.join(sorted(_READERS))}", why)


def _read_freq(name: str, value: str) -> str:
    expected = f"one of {', '.join(FREQUENCIES)}"
    if value in ("SECONDLY", "MINUTELY"):
        raise refuse(name, value, f"{expected}; for minutes use a day grid", "is too fine")
    if value not in FREQUENCIES:
        raise refuse(name, value, expected)
    return value


def _read_positive(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value) or not 1 <= int(value) <= MAX_NUMBER:
        raise refuse(name, value, f"a whole number from 1 to {MAX_NUMBER}")
    return int(value)


def _read_until(name: str, value: str) -> date | datetime:
    found = _UNTIL.fullmatch(value)
    day, clock, utc = found.groups() if found else ("", None, None)
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '000000'}")
    except ValueError:
        expected = "a date as YYYYMMDD, a local time as YYYYMMDDTHHMMSS, or a UTC time with a final Z"
        raise refuse(name, value, expected) from None
    return moment.replace(tzinfo=UTC if utc else None) if clock else moment.date()


def _read_wkst(name: str, value: str) -> int:
    if value not in WEEKDAYS:
        raise refuse(name, value, f"one of {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(value)


def _read_numbers(name: str, value: str) -> tuple[int, ...]:
    lowest, highest, negative = _RANGES[name]
    expected = f"numbers from {lowest} to {highest}" + (f" or from -{highest} to -1" if negative else "")
    numbers = set()
    for item in value.split(","):
        number = int(item) if _NUMBER.fullmatch(item) else None
        if number is None or not (lowest <= number <= highest or (negative and -highest <= number <= -1)):
            raise refuse(name, item, expected)
        # No leap seconds here: RFC 5545 section 3.3.12 reads 60 as 59.
        numbers.add(59 if name == "BYSECOND" and number == 60 else number)
    return tuple(sorted(numbers))


def _read_byday(name: str, value: str) -> tuple[tuple[int, int], ...]:
    expected = "weekdays such as MO, 2TU or -1FR, numbers from 1 to 53 or from -53 to -1"
    days = set()
    for item in value.split(","):
        found = _BYDAY.fullmatch(item)
        number = int(found[1]) if found and found[1] else None
        if not found or (number is not None and not 1 <= abs(number) <= 53):
            raise refuse(name, item, expected)
        days.add((number or 0, WEEKDAYS.index(found[2])))
    return tuple(sorted(days))


_READERS: dict[str, Callable[[str, str], Any]] = {
    "FREQ": _read_freq,
    "INTERVAL": _read_positive,
    "COUNT": _read_positive,
    "UNTIL": _read_until,
    "WKST": _read_wkst,
    "BYDAY": _read_byday,
    **dict.fromkeys(_RANGES, _read_numbers),
}


def _check(rule: Rule, parts: dict[str, str]) -> None:
    """Refuse the combinations that RFC 5545 section 3.3.10 forbids."""
    freq = rule.freq
    if rule.count is not None and rule.until is not None:
        raise refuse("COUNT", parts["COUNT"], "either COUNT or UNTIL", "stands together with UNTIL")
    if rule.byweekno and freq != "YEARLY":
        raise refuse("BYWEEKNO", parts["BYWEEKNO"], "FREQ=YEARLY with it", f"stands with FREQ={freq}")
    if rule.byyearday and freq in ("MONTHLY", "WEEKLY", "DAILY"):
        raise refuse("BYYEARDAY", parts["BYYEARDAY"], "FREQ=YEARLY with it", f"stands with FREQ={freq}")
    if rule.bymonthday and freq == "WEEKLY":
        raise refuse("BYMONTHDAY", parts["BYMONTHDAY"], "FREQ=MONTHLY with it", "stands with FREQ=WEEKLY")
    if rule.is_numbered and (freq not in ("MONTHLY", "YEARLY") or rule.byweekno):
        with_ = "BYWEEKNO" if rule.byweekno else f"FREQ={freq}"
        raise refuse("BYDAY", parts["BYDAY"], f"weekdays without numbers beside {with_}")
    if rule.bysetpos and not any(name.startswith("BY") for name in parts.keys() - {"BYSETPOS"}):
        raise refuse("BYSETPOS", parts["BYSETPOS"], "another BY part to choose from", "stands alone")


# -- saying no

MISSING = "is missing"


def refuse(part: str, value: object, expected: str, why: str = "is not valid") -> InvalidRule:
    """Return (not raise) the error for a part of a rule.

    :param part: the RRULE part, the JSON field or the parameter.
    :param why: what is wrong with the value, which is shown shortened.
    """
    if why == MISSING:
        return InvalidRule(f"{part} {why}; expected {expected}", part=part, value=value, expected=expected)
    shown = f"'{value}'" if isinstance(value, (timedelta, date, time)) else repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    text = f"{part}: {shown} {why}; expected {expected}"
    return InvalidRule(text, part=part, value=value, expected=expected)
