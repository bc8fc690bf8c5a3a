"""COUNT as a last start: once it is known, a counted rule is as quick as one with UNTIL.

Where every period holds the same number of starts, the last one is computed. That covers DAILY, WEEKLY and HOURLY
without other filters, days of the month that every month has, first to fourth (last to fourth last) weekdays, and
the like by year, with BYSETPOS too. All other kinds are walked once from DTSTART (a COUNT of a thousand takes about
a millisecond), and the result is remembered by the caller; queries so near DTSTART that COUNT cannot be used up do
without.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice

from .expand import Expander
from .periods import plus
from .rule import Rule

_HOURS_OF_ALL_YEARS = 24 * 366 * 10_000
_SHORTEST = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def last_counted(expander: Expander, count: int) -> datetime | None:
    """Return the start number ``count``, naive, or ``None`` if there are fewer before the year 10000.

    COUNT counts from DTSTART, whatever is excluded (RFC 5545 section 3.8.5.1 and 3.3.10).
    """
    if expander.never:
        return None
    size = starts_per_period(expander)
    if size is None:
        return next(islice(expander.starts(expander.dtstart, datetime.max), count - 1, count), None)
    first = [start for start in expander.period(expander.first_period()) if start >= expander.dtstart]
    if count <= len(first):
        return first[count - 1]
    periods, place = divmod(count - len(first) - 1, size)
    number = expander.first_period() + (periods + 1) * expander.interval
    found = expander.period(number)
    return found[place] if found else None


def sure_until(expander: Expander, count: int) -> datetime:
    """Return a naive time before which a rule cannot have yielded ``count`` starts, however dense it is."""
    interval = expander.interval if expander.rule.freq in ("DAILY", "HOURLY") else 1
    periods = (count // (len(expander.offsets) or 1) - 1) * interval
    hours = periods if expander.is_hourly else periods * 24
    if hours > _HOURS_OF_ALL_YEARS:
        return datetime.max
    return plus(expander.dtstart, timedelta(hours=max(hours - 24, 0)))


def counted_before(expander: Expander, moment: datetime) -> int:
    """Return how many starts the rule yields before a naive moment, COUNT and UNTIL aside."""
    size = None if expander.never else starts_per_period(expander)
    first, latest = expander.first_period(), expander.period_of(moment)
    if size is None or latest <= first:
        return sum(1 for _ in expander.starts(expander.dtstart, moment))
    periods, rest = divmod(latest - first, expander.interval)
    count = sum(start >= expander.dtstart for start in expander.period(first))
    if rest:
        return count + periods * size
    return count + (periods - 1) * size + sum(start < moment for start in expander.period(latest))


def starts_per_period(expander: Expander) -> int | None:
    """Return how many starts every period in phase holds, if that number never varies."""
    rule, times = expander.rule, len(expander.offsets)
    if rule.freq == "HOURLY":
        return times if expander.source.is_everything and not rule.byhour else None
    least, is_constant = _days_per_period(rule)
    if not expander.picks:
        return least * times if is_constant and least else None
    if max(map(abs, expander.picks)) > least * times:
        return None
    if is_constant:
        return len({pick % (least * times) if pick < 0 else pick - 1 for pick in expander.picks})
    return len(expander.picks) if _one_sided(expander.picks) else None


def _days_per_period(rule: Rule) -> tuple[int, bool]:
    """Return the least number of days that a period holds, and whether it always holds as many."""
    if rule.freq == "DAILY":
        plain = not (rule.bymonth or rule.bymonthday or rule.byday)
        return int(plain), plain
    if rule.freq == "WEEKLY":
        return (0, False) if rule.bymonth else (len(rule.weekdays), True)
    if rule.freq == "MONTHLY":
        return (0, False) if rule.bymonth else _days_per_month(rule, tuple(range(1, 13)), 1)
    if rule.byyearday or rule.byweekno:
        return _days_per_year(rule)
    if rule.byday and not rule.bymonth:
        alone = not rule.bymonthday
        return _weekdays(rule, 52) if alone else (0, False)
    months = rule.bymonth or tuple(range(1, 13))
    return _days_per_month(rule, months, len(months))


def _days_per_month(rule: Rule, months: tuple[int, ...], times: int) -> tuple[int, bool]:
    if rule.byday and rule.bymonthday:
        return 0, False
    if rule.byday:
        least, is_constant = _weekdays(rule, 4)
        return least * times, is_constant
    shortest = min(_SHORTEST[month] for month in months)
    sure = [day for day in rule.bymonthday if abs(day) <= shortest]
    if not _one_sided(rule.bymonthday):
        return 0, False
    return len(sure) * times, len(sure) == len(rule.bymonthday)


def _days_per_year(rule: Rule) -> tuple[int, bool]:
    if rule.bymonth or rule.bymonthday or (rule.byyearday and (rule.byday or rule.byweekno)):
        return 0, False
    if rule.byyearday:
        return len(rule.byyearday), _one_sided(rule.byyearday) and max(map(abs, rule.byyearday)) <= 365
    weeks = rule.byweekno
    return len(weeks) * len(rule.weekdays), _one_sided(weeks) and max(map(abs, weeks)) <= 52


def _weekdays(rule: Rule, weeks: int) -> tuple[int, bool]:
    """Count the weekdays of BYDAY in a month or year that has at least ``weeks`` of each."""
    numbers = tuple(n for n, _ in rule.byday)
    if not any(numbers):
        return weeks * len(numbers), False
    sure = all(numbers) and _one_sided(numbers) and max(map(abs, numbers)) <= weeks
    return (len(numbers), True) if sure else (0, False)


def _one_sided(numbers: tuple[int, ...]) -> bool:
    """Whether all are counted from the same end, so that no two can name the same thing."""
    return all(n > 0 for n in numbers) or all(n < 0 for n in numbers)
