"""A slow and plain expansion of RRULEs, written against the text of RFC 5545: it looks at every day.

It shares nothing with the package. It serves for the kinds of rules that python-dateutil gets wrong.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import cache

WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
DAY = timedelta(days=1)


def expand(rrule: str, dtstart: datetime, end: datetime) -> list[datetime]:
    """Return all starts before ``end`` of a YEARLY, MONTHLY, WEEKLY or DAILY rule without COUNT and UNTIL."""
    parts = dict(part.split("=") for part in rrule.split(";"))
    interval = int(parts.get("INTERVAL", 1))
    anchor = _period(parts, dtstart.date())
    sets: dict[int, list[datetime]] = {}
    times = _times(parts, dtstart)
    day = dtstart.date() - 400 * DAY
    while day < end.date() + 400 * DAY:
        period = _period(parts, day)
        if (period - anchor) % interval == 0 and _matches(parts, day, dtstart):
            sets.setdefault(period, []).extend(datetime.combine(day, at) for at in times)
        day += DAY
    found = [moment for period in sorted(sets) for moment in _pick(parts, sets[period])]
    return [moment for moment in found if dtstart <= moment < end]


def _numbers(parts: dict[str, str], name: str) -> list[int]:
    return [int(item) for item in parts.get(name, "").split(",") if item]


def _period(parts: dict[str, str], day: date) -> int:
    wkst = WEEKDAYS.index(parts.get("WKST", "MO"))
    if parts["FREQ"] == "YEARLY":
        return _week_of(day, wkst)[0] if "BYWEEKNO" in parts else day.year
    if parts["FREQ"] == "MONTHLY":
        return day.year * 12 + day.month
    if parts["FREQ"] == "WEEKLY":
        return (day - timedelta(days=(day.weekday() - wkst) % 7)).toordinal() // 7
    return day.toordinal()


@cache
def _weeks_of_year(year: int, wkst: int) -> list[date]:
    return list(_find_weeks(year, wkst))


def _find_weeks(year: int, wkst: int) -> Iterator[date]:
    """Yield the first day of each week of a week-year."""
    start = date(year - 1, 12, 25)
    while start < date(year + 1, 1, 5):
        if start.weekday() == wkst and sum((start + n * DAY).year == year for n in range(7)) >= 4:
            yield start
        start += DAY


def _week_of(day: date, wkst: int) -> tuple[int, int, int]:
    """Return week-year, number from the start, and number from the end."""
    first = day - timedelta(days=(day.weekday() - wkst) % 7)
    for year in (day.year - 1, day.year, day.year + 1):
        weeks = _weeks_of_year(year, wkst)
        if first in weeks:
            place = weeks.index(first)
            return year, place + 1, place - len(weeks)
    raise AssertionError(day)


def _times(parts: dict[str, str], dtstart: datetime) -> list[time]:
    hours = _numbers(parts, "BYHOUR") or [dtstart.hour]
    minutes = _numbers(parts, "BYMINUTE") or [dtstart.minute]
    return sorted({time(hour, minute, dtstart.second) for hour in hours for minute in minutes})


def _matches(parts: dict[str, str], day: date, dtstart: datetime) -> bool:
    parts = _with_defaults(parts, dtstart)
    length = monthrange(day.year, day.month)[1]
    yearday = day.timetuple().tm_yday
    year_length = date(day.year, 12, 31).timetuple().tm_yday
    wkst = WEEKDAYS.index(parts.get("WKST", "MO"))
    return (
        _allowed(parts, "BYMONTH", day.month)
        and _allowed(parts, "BYMONTHDAY", day.day, day.day - length - 1)
        and _allowed(parts, "BYYEARDAY", yearday, yearday - year_length - 1)
        and ("BYWEEKNO" not in parts or _allowed(parts, "BYWEEKNO", *_week_of(day, wkst)[1:]))
        and ("BYDAY" not in parts or any(_is_weekday(parts, item, day) for item in parts["BYDAY"].split(",")))
    )


def _with_defaults(parts: dict[str, str], dtstart: datetime) -> dict[str, str]:
    if {"BYMONTHDAY", "BYYEARDAY", "BYDAY"} & parts.keys() or parts["FREQ"] == "DAILY":
        return parts
    if parts["FREQ"] == "WEEKLY" or "BYWEEKNO" in parts:
        return parts | {"BYDAY": WEEKDAYS[dtstart.weekday()]}
    if parts["FREQ"] == "YEARLY":
        parts = {"BYMONTH": str(dtstart.month)} | parts
    return parts | {"BYMONTHDAY": str(dtstart.day)}


def _allowed(parts: dict[str, str], name: str, *values: int) -> bool:
    return name not in parts or any(value in _numbers(parts, name) for value in values)


def _is_weekday(parts: dict[str, str], item: str, day: date) -> bool:
    number, weekday = item[:-2], WEEKDAYS.index(item[-2:])
    if day.weekday() != weekday:
        return False
    if not number:
        return True
    in_month = parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts
    step = int(number)
    other = day - step * 7 * DAY
    nearer = other + 7 * DAY if step > 0 else other - 7 * DAY

    def same(one: date) -> bool:
        return (one.year, one.month if in_month else 0) == (day.year, day.month if in_month else 0)

    return same(nearer) and not same(other)


def _pick(parts: dict[str, str], found: list[datetime]) -> list[datetime]:
    found = sorted(set(found))
    if "BYSETPOS" not in parts:
        return found
    places = {n - 1 if n > 0 else len(found) + n for n in _numbers(parts, "BYSETPOS") if abs(n) <= len(found)}
    return [found[place] for place in sorted(places)]
