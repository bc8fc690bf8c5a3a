"""From a new start to a shift or a new rule: what one moved slot means for all of its segment."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any, NamedTuple, Protocol

from .. import planning
from ..errors import refusal
from ..recurrence import Recurrence
from ..settings import MAX_DAYS
from ..values import MICROSECOND, MINUTE, TemplateSpec
from . import storage

#: Parts that tie a rule to dates of the calendar, so that it is another one some days later.
_CALENDAR_PARTS = ("bymonth", "bymonthday", "byyearday", "byweekno")
_BY = (*_CALENDAR_PARTS, "byday", "byhour", "byminute", "bysecond", "bysetpos")
_LAST_SURE_DAY = 28
_GIVE_RULE = "give the new rule as rrule="


class NewStart(Protocol):
    """What is asked of the times: new ones, or another rule."""

    @property
    def start(self) -> datetime | time | None:
        """The new wall-clock start of one slot."""

    @property
    def rrule(self) -> str | None:
        """The new rule."""

    def start_for(self, shown: datetime) -> datetime:
        """Return the new wall-clock start of a slot that is shown at a time (both naive)."""


class RuleChange(NamedTuple):
    """What becomes of a segment: columns that change, and the first original start (naive) of the changed part."""

    values: dict[str, Any]
    bound: datetime


def change_rule(
    spec: TemplateSpec, original_start: datetime, changes: NewStart, is_cut: bool, after: datetime | None
) -> RuleChange:
    """Return what a new start and a new rule mean for the segment that holds a slot.

    A new time of day is a shift, and so is another day where the rule goes by days and weeks: its pattern is the
    same some days later. Where the rule goes by the calendar, another day is another rule: derived for one day of
    the month or one numbered weekday, else asked for.

    :param original_start: the slot's, naive.
    :param is_cut: the part from the slot on becomes a segment of its own.
    :param after: the last original start (naive) of what stays before it: its key is not given to another slot.
    :raises InvalidRequest: if the new rule cannot be derived.
    """
    shown = original_start + spec.shift
    start = changes.start_for(shown)
    if changes.rrule is not None:
        moved = _given_rule(spec, original_start, changes, is_cut)
    elif start == shown:
        return RuleChange({}, original_start)
    elif start.date() == shown.date() or _goes_by_days(planning.recurrence_of(spec)):
        shift = spec.shift + (start - shown)
        if abs(shift) > timedelta(days=MAX_DAYS):
            expected = f"a time at most {MAX_DAYS:,} days from where the rule has the slot; or a new template"
            raise refusal("start", changes.start, expected)
        return RuleChange({"shift": shift}, original_start)
    else:
        moved = _derived_rule(spec, original_start, start, is_cut)
    if after is None or moved.bound > after:
        return moved
    return _with_keys_behind(spec, moved, start, after, changes)


def _with_keys_behind(
    spec: TemplateSpec, moved: RuleChange, start: datetime, after: datetime, changes: NewStart
) -> RuleChange:
    """Let a new rule begin behind the slots that stay: their keys remain theirs.

    Where the rule yields nothing up to there a bound is enough; else it counts from the shown start, without a shift.
    """
    bound = after + MINUTE
    recurrence = planning.recurrence_of(replace(spec, **moved.values))
    if next(recurrence.originals(moved.bound, bound), None) is None:
        return RuleChange(moved.values, bound)
    if start <= after or recurrence.grid is not None:
        expected = f"a time after {after:%Y-%m-%d %H:%M}, on a later day for a day grid"
        raise refusal("start", changes.start, expected)
    return RuleChange({**moved.values, "dtstart": start, "shift": timedelta(0)}, start)


def _goes_by_days(recurrence: Recurrence) -> bool:
    rule, by_days = recurrence.rule, ("HOURLY", "DAILY", "WEEKLY")
    return rule is None or (rule.freq in by_days and not any(getattr(rule, p) for p in _CALENDAR_PARTS))


def _first_of_day(recurrence: Recurrence, original_start: datetime) -> datetime:
    """Return the first start of the grid day that a start belongs to; without a grid, the start itself.

    A slot that its rule no longer yields, as slots have become longer, belongs to the day that it is on.
    """
    if recurrence.grid is None:
        return original_start
    first = min(original_start, datetime.combine(original_start.date(), recurrence.dtstart.time()))
    grid = recurrence.grid
    for candidate in recurrence.rule_starts(original_start - grid[-1], original_start + MICROSECOND):
        if original_start - candidate in grid:
            first = candidate
    return first


def _given_rule(spec: TemplateSpec, original_start: datetime, changes: NewStart, is_cut: bool) -> RuleChange:
    """Take a rule as it is; it counts from the cut, or in place from the template's own start."""
    shown = original_start + spec.shift
    start = changes.start_for(shown)
    days = timedelta(days=(start.date() - shown.date()).days)
    first = _first_of_day(planning.recurrence_of(spec), original_start)
    anchor = (first if is_cut else spec.dtstart) + days
    values = {"rrule": changes.rrule, "dtstart": anchor, "shift": spec.shift + (start - shown - days)}
    if not is_cut and spec.active_from is not None:
        values["active_from"] = spec.active_from + days  # as the anchor: both say where the rule begins
    return RuleChange(values, min(original_start, original_start + days))


def _derived_rule(spec: TemplateSpec, original_start: datetime, start: datetime, is_cut: bool) -> RuleChange:
    recurrence = planning.recurrence_of(spec)
    first = _first_of_day(recurrence, original_start)
    if is_cut and first != original_start:
        expected = f"a day's first slot, for the rule is cut between days; or {_GIVE_RULE}"
        raise refusal("start", start, expected)
    rule = recurrence.rule
    if rule is None or next(recurrence.rule_starts(first, first + MICROSECOND), None) is None:
        raise refusal("start", start, f"a slot of the rule, not an extra date; or {_GIVE_RULE}")
    start -= original_start - first
    new_first = datetime.combine(start.date(), first.time())
    count = rule.count
    if is_cut and count is not None:
        count -= recurrence.count_before(first)
    new_rule = replace(rule, count=count, **_new_parts(rule, start))
    values = {"rrule": str(new_rule), "dtstart": new_first, "shift": start - new_first}
    if not is_cut:
        values |= _begin_in_place(spec, _month(start) - _month(first + spec.shift))
    return RuleChange(values, min(original_start, new_first))


def _begin_in_place(spec: TemplateSpec, months: int) -> dict[str, Any]:
    """Return anchor and bound of a rule that is some months later on another day: the first month keeps its slot."""
    recurrence = planning.recurrence_of(spec)
    anchor = next(recurrence.rule_starts(recurrence.dtstart, datetime.max))
    values = {"dtstart": _month_start(anchor, months)}
    first = storage.first_from(spec, datetime.min) if spec.active_from is not None else None
    if first is not None:
        values["active_from"] = datetime.combine(_month_start(first, months), time())
    return values


def _month(day: datetime) -> int:
    return day.year * 12 + day.month


def _month_start(moment: datetime, months: int) -> datetime:
    year, month = divmod(_month(moment) + months - 1, 12)
    return moment.replace(year=year, month=month + 1, day=1)


def _new_parts(rule: Any, start: datetime) -> dict[str, Any]:
    """Return the BY parts that say the new day, for rules with one day in a month or year."""
    used = {name for name in _BY if getattr(rule, name)}
    by_year = rule.freq == "YEARLY"
    months: dict[str, Any] = {"bymonth": (start.month,)} if by_year else {}
    lists_one = all(len(getattr(rule, name)) == 1 for name in used)
    if lists_one and used <= ({"bymonth", "bymonthday"} if by_year else {"bymonthday"}):
        return {**months, "bymonthday": (_day_of_month(rule, start),)}
    if lists_one and rule.is_numbered and used == ({"bymonth", "byday"} if by_year else {"byday"}):
        return {**months, "byday": ((_number(rule.byday[0][0], start), start.weekday()),)}
    raise refusal("start", start, f"the same day, for what another day means to {rule} is open; {_GIVE_RULE}")


def _day_of_month(rule: Any, start: datetime) -> int:
    if rule.bymonthday and rule.bymonthday[0] < 0:
        raise refusal("start", start, f"the same day, for the rule counts from the month's end; {_GIVE_RULE}")
    sure = monthrange(2023, start.month)[1] if rule.freq == "YEARLY" else _LAST_SURE_DAY
    if start.day > sure:
        raise refusal("start", start, f"a day that every month (or year) has; {_GIVE_RULE}")
    return start.day


def _number(old: int, start: datetime) -> int:
    """Return which of its weekday in the month a day is, counted from the same end as before."""
    days = monthrange(start.year, start.month)[1]
    number = (start.day - 1) // 7 + 1 if old > 0 else -((days - start.day) // 7 + 1)
    if abs(number) == 5:
        raise refusal("start", start, f"a weekday that every month has, first to fourth; {_GIVE_RULE}")
    return number
