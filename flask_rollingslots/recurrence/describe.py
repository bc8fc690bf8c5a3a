"""Say a series in English: exact for what it covers, else the RRULE text, never half a truth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from .clamp import plus
from .days import fill_in, possible_months, times_of_day
from .rule import Rule
from .series import Series
from .words import DAYS, MONTHS, NTH, clock, day_text, listed, ordinal, span, times

_NONE = timedelta(0)
_WORKDAYS = tuple((0, day) for day in range(5))
_FULL_WEEK = 7
_SURE_WEEK = 22  # seven days from the 22nd are within every month
_EVERY_MONTH_HAS = 28
_READABLE = 12


@dataclass(frozen=True, slots=True)
class _View:
    """What the phrases look at.

    :param rule: with the day parts that DTSTART implies.
    :param moved: whole days between an original start and its shown time.
    """

    series: Series
    rule: Rule
    times: tuple[time, ...]
    moved: int


def describe(series: Series, with_times: bool) -> str:
    """Return a sentence without a capital and without a full stop, in shown times (``shift`` added).

    :param with_times: also where the time of day is simply that of DTSTART.
    """
    if series.rule is None:
        return _once(series)
    view = _view(series, series.rule)
    sentence = _when(view) if view else None
    if view is None or sentence is None:
        return _as_text(series)
    return sentence + _times(view, with_times) + _end(view) + _changes(series)


def _view(series: Series, rule: Rule) -> _View | None:
    """Return the view, ``None`` if the shift moves some starts of a day to another day than others."""
    full = fill_in(rule, series.dtstart)
    originals = [datetime.combine(series.dtstart.date(), at) for at in times_of_day(full, series.dtstart)]
    try:
        moved = {(at + series.shift).date().toordinal() - at.date().toordinal() for at in originals}
    except OverflowError:
        return None
    if len(moved) > 1 or len(originals) > _READABLE:
        return None
    shown = tuple((at + series.shift).time() for at in originals)
    return _View(series, full, shown, moved.pop())


def _once(series: Series) -> str:
    start = plus(series.dtstart, series.shift)
    text = f"once, on {DAYS[start.weekday()]} {day_text(start)}"
    text += _grid(series, start.time()) if series.grid else f" at {clock(start.time())}"
    return text + _changes(series)


def _as_text(series: Series) -> str:
    shift = (
        f", shown {span(abs(series.shift))} {'later' if series.shift > _NONE else 'earlier'}"
        if series.shift
        else ""
    )
    grid = _grid(series, series.dtstart.time()) if series.grid else ""
    return f"{series.rrule}{grid}{shift}{_changes(series)}"


# -- on which days


def _when(view: _View) -> str | None:
    rule = view.rule
    if (
        not possible_months(rule)
        or rule.byyearday
        or rule.byweekno
        or (rule.freq == "HOURLY" and rule.byhour)
    ):
        return None
    if rule.bysetpos and (rule.freq != "MONTHLY" or rule.byday != _WORKDAYS):
        return None
    if view.moved and (rule.bymonth or rule.freq not in ("DAILY", "WEEKLY")):
        return None
    phrase = {"HOURLY": _hourly, "DAILY": _daily, "WEEKLY": _weekly, "MONTHLY": _monthly, "YEARLY": _yearly}
    return phrase[rule.freq](view)


def _every(rule: Rule, unit: str) -> str:
    return f"every {unit}" if rule.interval == 1 else f"every {rule.interval} {unit}s"


def _hourly(view: _View) -> str | None:
    rule, minutes = view.rule, view.times
    if rule.byday or rule.bymonthday or rule.bymonth or rule.bysetpos or len(minutes) > 1:
        return None
    if view.series.shift:
        return None
    at = minutes[0]
    if at.second:
        return None
    if 24 % rule.interval:
        start = view.series.dtstart
        return f"every {rule.interval} hours, from {day_text(start)} {clock(start.time())} on"
    if rule.interval == 1:
        return f"every hour at {at.minute} minutes past" if at.minute else "every hour on the hour"
    hours = sorted((at.hour + step) % 24 for step in range(0, 24, rule.interval))
    return f"every day at {listed([clock(time(hour, at.minute)) for hour in hours])}"


def _daily(view: _View) -> str | None:
    rule = view.rule
    if rule.byday or rule.bymonthday or (rule.bymonth and rule.interval > 1):
        return None
    return _every(rule, "day") + _in_months(rule)


def _weekly(view: _View) -> str | None:
    rule = view.rule
    days = sorted((day + view.moved) % 7 for day in rule.weekdays)
    if rule.interval > 1 and (rule.bymonth or (len(days) > 1 and (rule.wkst or view.moved))):
        return None
    if len(days) == _FULL_WEEK and rule.interval == 1:
        return "every day" + _in_months(rule)
    return f"{_every(rule, 'week')} on {listed([DAYS[day] for day in days])}{_in_months(rule)}"


def _monthly(view: _View) -> str | None:
    rule = view.rule
    days = _days_of_month(rule)
    if days is None or (rule.bymonth and rule.interval > 1):
        return None
    return f"{_every(rule, 'month')} on {days}{_in_months(rule)}"


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
        places = [NTH.get(place) for place in rule.bysetpos]
        return f"the {places[0]} day from Monday to Friday" if _is_single_place(rule) and places[0] else None
    if not rule.byday:
        return _month_days(rule)
    if rule.bymonthday:
        return _on_or_after(rule)
    if not rule.is_numbered:
        return f"each {listed([DAYS[day] for day in rule.weekdays])}"
    named = [(NTH.get(n), DAYS[day]) for n, day in sorted(rule.byday, key=lambda pair: (pair[0] < 0, pair))]
    if not all(nth for nth, _ in named):
        return None
    return listed([f"the {nth} {day}" for nth, day in named])


def _is_single_place(rule: Rule) -> bool:
    return len(rule.bysetpos) == 1 and not (rule.byhour or rule.byminute or rule.bysecond or rule.bymonthday)


def _month_days(rule: Rule) -> str | None:
    days = sorted(rule.bymonthday, key=lambda day: (day < 0, day))
    if min(days) < -1:
        return None
    text = listed(["the last day" if day == -1 else f"the {ordinal(day)}" for day in days])
    return text if max(days) <= _EVERY_MONTH_HAS else f"{text} (where the month has that day)"


def _on_or_after(rule: Rule) -> str | None:
    first = rule.bymonthday[0]
    full = rule.bymonthday == tuple(range(first, min(first + _FULL_WEEK, 32))) and first > 0
    if not full or rule.is_numbered or len(rule.byday) > 1:
        return None
    if first in (1, 8, 15, 22):  # whole weeks of a month: the same days as the nth weekday
        return f"the {NTH[first // _FULL_WEEK + 1]} {DAYS[rule.byday[0][1]]}"
    text = f"the first {DAYS[rule.byday[0][1]]} on or after the {ordinal(first)}"
    return text if first <= _SURE_WEEK else f"{text} (where the month has one)"


# -- at which times, how long, except when


def _times(view: _View, with_times: bool) -> str:
    if view.series.grid:
        return _grid(view.series, view.times[0])
    own_times = bool(view.series.shift) or view.times != (view.series.dtstart.time(),)
    if view.rule.freq == "HOURLY" or not (with_times or own_times):
        return ""
    return f" at {listed([clock(at) for at in sorted(view.times)])}"


def _grid(series: Series, start: time) -> str:
    if not series.every or not series.until_time or not series.duration:
        return ""
    end = (datetime.combine(date(2000, 1, 5), series.until_time) + series.shift % timedelta(days=1)).time()
    each = "" if series.duration == series.every else f", {span(series.duration)} each"
    return f", every {span(series.every, bare=True)} from {clock(start)} to {clock(end)}{each}"


def _end(view: _View) -> str:
    rule, series = view.rule, view.series
    if rule.count is not None:
        return f", on {rule.count} day{'s' * (rule.count > 1)}" if series.grid else f", {times(rule.count)}"
    until = rule.until
    if until is None:
        return ""
    if not isinstance(until, datetime):
        return (
            f", until {day_text(date.fromordinal(min(until.toordinal() + view.moved, date.max.toordinal())))}"
        )
    wall = plus(series.bound_wall, series.shift)
    return f", until {day_text(wall)} {clock(wall.time())}"


def _changes(series: Series) -> str:
    added, excluded = len(series.rdates), len(series.exdates)
    text = f", plus {added} extra date{'s' * (added > 1)}" if added else ""
    return text + (f", except {excluded} date{'s' * (excluded > 1)}" if excluded else "")
