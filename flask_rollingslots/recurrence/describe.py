"""Say a recurrence in English ("every 2 weeks on Friday"): exact, else the RRULE text, never half a truth."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from .expand import fill_in, possible_months, times_of_day
from .recurrence_set import RecurrenceSet
from .rule import Rule
from .zones import plus

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "", "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
NTH = {
    1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth",
    -1: "last", -2: "second to last", -3: "third to last",
}  # fmt: skip
_WORKDAYS = tuple((0, day) for day in range(5))
_SURE_WEEK = 22  # seven days from the 22nd are within every month
_EVERY_MONTH_HAS = 28
_READABLE = 12


class _View(NamedTuple):
    """What the phrases look at: the rule filled in, its shown times, and how many days those are moved."""

    recurrence: RecurrenceSet
    rule: Rule
    times: tuple[time, ...]
    moved: int


def describe(recurrence: RecurrenceSet, with_times: bool) -> str:
    """Return a sentence without a capital and without a full stop, in shown times (``shift`` added).

    :param with_times: also where the time of day is simply that of DTSTART.
    """
    if recurrence.rule is None:
        return _once(recurrence)
    view = _view(recurrence, recurrence.rule)
    days = view and _when(view)
    if not view or not days:
        return _as_text(recurrence)
    return days + _times(view, with_times) + _end(view) + _changes(recurrence)


def _view(recurrence: RecurrenceSet, rule: Rule) -> _View | None:
    """Return the view, ``None`` if the shift moves some starts of a day to another day than others."""
    full = fill_in(rule, recurrence.dtstart)
    day = recurrence.dtstart.date()
    originals = times_of_day(full, recurrence.dtstart)
    try:
        shown = [datetime.combine(day, at) + recurrence.shift for at in originals]
    except OverflowError:
        return None
    moved = {(at.date() - day).days for at in shown}
    if len(moved) > 1 or len(originals) > _READABLE:
        return None
    return _View(recurrence, full, tuple(at.time() for at in shown), moved.pop())


def _once(recurrence: RecurrenceSet) -> str:
    start = plus(recurrence.dtstart, recurrence.shift)
    text = f"once, on {DAYS[start.weekday()]} {day_text(start)}"
    text += _grid(recurrence, start.time()) if recurrence.grid else f" at {clock(start.time())}"
    return text + _changes(recurrence)


def _as_text(recurrence: RecurrenceSet) -> str:
    shift = recurrence.shift
    moved = f", shown {span(abs(shift))} {'later' if shift > timedelta(0) else 'earlier'}" if shift else ""
    grid = _grid(recurrence, recurrence.dtstart.time()) if recurrence.grid else ""
    return f"{recurrence.rrule}{grid}{moved}{_changes(recurrence)}"


# -- on which days


def _when(view: _View) -> str | None:
    rule = view.rule
    if rule.byyearday or rule.byweekno or not possible_months(rule):
        return None
    if rule.freq == "HOURLY" and rule.byhour:
        return None
    if rule.bysetpos and (rule.freq != "MONTHLY" or rule.byday != _WORKDAYS):
        return None
    if view.moved and (rule.bymonth or rule.freq not in ("DAILY", "WEEKLY")):
        return None
    if rule.bymonth and rule.interval > 1 and rule.freq != "YEARLY":
        return None
    phrase = {"HOURLY": _hourly, "DAILY": _daily, "WEEKLY": _weekly, "MONTHLY": _monthly, "YEARLY": _yearly}
    return phrase[rule.freq](view)


def _every(rule: Rule, unit: str) -> str:
    return f"every {unit}" if rule.interval == 1 else f"every {rule.interval} {unit}s"


def _hourly(view: _View) -> str | None:
    rule, start, at = view.rule, view.recurrence.dtstart, view.times[0]
    if rule.byday or rule.bymonthday or rule.bymonth or rule.bysetpos:
        return None
    if len(view.times) > 1 or at.second or view.recurrence.shift:
        return None
    if 24 % rule.interval:
        return f"every {rule.interval} hours, from {day_text(start)} {clock(start.time())} on"
    if rule.interval == 1:
        return f"every hour at {at.minute} minutes past" if at.minute else "every hour on the hour"
    hours = sorted((at.hour + step) % 24 for step in range(0, 24, rule.interval))
    return f"every day at {listed([clock(time(hour, at.minute)) for hour in hours])}"


def _daily(view: _View) -> str | None:
    rule = view.rule
    return None if rule.byday or rule.bymonthday else _every(rule, "day") + _in_months(rule)


def _weekly(view: _View) -> str | None:
    rule = view.rule
    days = sorted((day + view.moved) % 7 for day in rule.weekdays)
    if rule.interval > 1 and len(days) > 1 and (rule.wkst or view.moved):
        return None
    if len(days) == 7 and rule.interval == 1:
        return "every day" + _in_months(rule)
    return f"{_every(rule, 'week')} on {listed([DAYS[day] for day in days])}{_in_months(rule)}"


def _monthly(view: _View) -> str | None:
    days = _days_of_month(view.rule)
    return days and f"{_every(view.rule, 'month')} on {days}{_in_months(view.rule)}"


def _yearly(view: _View) -> str | None:
    rule = view.rule
    if not rule.bymonth:
        return None
    if not rule.byday and len(rule.bymonth) == 1 and len(rule.bymonthday) == 1 and rule.bymonthday[0] > 0:
        leap = " (leap years only)" if (rule.bymonth[0], rule.bymonthday[0]) == (2, 29) else ""
        return f"{_every(rule, 'year')} on {rule.bymonthday[0]} {MONTHS[rule.bymonth[0]]}{leap}"
    days = _days_of_month(rule)
    return days and f"{_every(rule, 'year')} on {days}{_in_months(rule, 'of')}"


def _in_months(rule: Rule, word: str = "in") -> str:
    return f" {word} {listed([MONTHS[month] for month in rule.bymonth])}" if rule.bymonth else ""


def _days_of_month(rule: Rule) -> str | None:
    if rule.bysetpos:
        nth, others = NTH.get(rule.bysetpos[0]), rule.bysetpos[1:] or rule.bymonthday
        is_plain = not (others or rule.byhour or rule.byminute or rule.bysecond)
        return f"the {nth} day from Monday to Friday" if nth and is_plain else None
    if not rule.byday:
        return _month_days(rule)
    if rule.bymonthday:
        return _on_or_after(rule)
    if not rule.is_numbered:
        return f"each {listed([DAYS[day] for day in rule.weekdays])}"
    named = [(NTH.get(n), DAYS[day]) for n, day in sorted(rule.byday, key=lambda pair: (pair[0] < 0, pair))]
    return listed([f"the {nth} {day}" for nth, day in named]) if all(nth for nth, _ in named) else None


def _month_days(rule: Rule) -> str | None:
    days = sorted(rule.bymonthday, key=lambda day: (day < 0, day))
    if min(days) < -1:
        return None
    text = listed(["the last day" if day == -1 else f"the {ordinal(day)}" for day in days])
    return text if max(days) <= _EVERY_MONTH_HAS else f"{text} (where the month has that day)"


def _on_or_after(rule: Rule) -> str | None:
    first = rule.bymonthday[0]
    is_week = rule.bymonthday == tuple(range(first, min(first + 7, 32))) and first > 0
    if not is_week or rule.is_numbered or len(rule.byday) > 1:
        return None
    weekday = DAYS[rule.byday[0][1]]
    if first in (1, 8, 15, 22):  # whole weeks of a month: the same days as the nth weekday
        return f"the {NTH[first // 7 + 1]} {weekday}"
    text = f"the first {weekday} on or after the {ordinal(first)}"
    return text if first <= _SURE_WEEK else f"{text} (where the month has one)"


# -- at which times, how long, except when


def _times(view: _View, with_times: bool) -> str:
    if view.recurrence.grid:
        return _grid(view.recurrence, view.times[0])
    own_times = bool(view.recurrence.shift) or view.times != (view.recurrence.dtstart.time(),)
    if view.rule.freq == "HOURLY" or not (with_times or own_times):
        return ""
    return f" at {listed([clock(at) for at in sorted(view.times)])}"


def _grid(recurrence: RecurrenceSet, start: time) -> str:
    if not (recurrence.every and recurrence.until_time and recurrence.duration):
        return ""
    some_day = datetime.combine(date(2000, 1, 5), recurrence.until_time)
    end = (some_day + recurrence.shift % timedelta(days=1)).time()
    each = "" if recurrence.duration == recurrence.every else f", {span(recurrence.duration)} each"
    return f", every {span(recurrence.every, bare=True)} from {clock(start)} to {clock(end)}{each}"


def _end(view: _View) -> str:
    rule, recurrence = view.rule, view.recurrence
    if rule.count is not None:
        times = {1: "once", 2: "twice"}.get(rule.count, f"{rule.count} times")
        return f", on {_number(rule.count, 'day')}" if recurrence.grid else f", {times}"
    until = rule.until
    if until is None:
        return ""
    if not isinstance(until, datetime):
        last = min(until.toordinal() + view.moved, date.max.toordinal())
        return f", until {day_text(date.fromordinal(last))}"
    wall = plus(recurrence.bound_wall, recurrence.shift)
    return f", until {day_text(wall)} {clock(wall.time())}"


def _changes(recurrence: RecurrenceSet) -> str:
    added, excluded = len(recurrence.rdates), len(recurrence.exdates)
    text = f", plus {_number(added, 'extra date')}" if added else ""
    return text + (f", except {_number(excluded, 'date')}" if excluded else "")


# -- English for days, times and lengths


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


def span(length: timedelta, *, bare: bool = False) -> str:
    """Return ``2 hours`` or ``90 minutes``; the largest unit that is whole.

    :param bare: leave out a single one: ``hour`` for ``1 hour``.
    """
    seconds = round(length.total_seconds())
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    number, unit = next((seconds // size, unit) for unit, size in units if seconds % size == 0)
    return unit if bare and number == 1 else _number(number, unit)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
