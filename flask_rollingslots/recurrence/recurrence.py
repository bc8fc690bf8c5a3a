"""The public class: a recurrence rule at home in a time zone, and what it is for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any, Self, overload

from ..errors import refusal
from ..values import MICROSECOND
from .describe import describe
from .dialects import Fields, rule_fields, template_fields, write_object
from .expand import fill_in
from .recurrence_set import RecurrenceSet, last_of
from .zones import instant_of, plus


class Recurrence(RecurrenceSet):
    """The occurrences that a rule promises, in the wall clock of a zone.

    Immutable and reusable; no clock, no database. Costs the same at any distance from ``dtstart``, and whatever COUNT
    says: where a COUNT ends is computed once, when it is needed.

    :param rrule: an RFC 5545 RRULE value, or ``None`` for the single start ``dtstart``.
    :param dtstart: naive wall clock in ``timezone``: lower bound and anchor, itself an occurrence only if the rule
        yields it. Microseconds are dropped.
    :param timezone: an IANA name, or a tzinfo.
    :param rdates: extra single starts: naive wall clock, aware (converted), or dates (at the time of ``dtstart``).
    :param exdates: excluded starts: naive wall clock, aware (converted), or dates for whole local days. With a day
        grid these are grid days: what begins after midnight belongs to the day before.
    :param gap: what to do with a wall clock time that a change to summer time leaves out: ``"shift"`` shows it later
        by the gap (RFC 5545 section 3.3.5), ``"skip"`` leaves it out.
    :param duration: length of a slot on the wall; needed with a day grid.
    :param every: day grid: distance between starts, at least a minute.
    :param until_time: day grid: naive time by which the last slot of a day ends.
    :param shift: added to the wall clock of each original start before it is shown.
    :raises InvalidRule: with ``part``, ``value`` and ``expected``.
    """

    def split(self, original_start: datetime) -> tuple[Recurrence | None, Recurrence | None]:
        """Cut the recurrence in two: the starts before ``original_start``, and those from it on.

        COUNT, UNTIL, RDATE and EXDATE are divided, the phase of INTERVAL is kept. A side without starts is ``None``.

        :param original_start: naive wall clock.
        """
        if not isinstance(original_start, datetime) or original_start.tzinfo is not None:
            raise refusal("original_start", original_start, "a naive datetime: the wall clock of the zone")
        cut, rule_starts = original_start, self.rule_starts
        last = last_of(rule_starts, self.dtstart, min(cut, self.latest))
        following = next(rule_starts(cut, datetime.max), None)
        torn: list[datetime] = []
        if last is not None and self.grid is not None and plus(last, self.grid[-1]) >= cut:
            # The cut goes through a grid day: all its starts become single dates.
            torn = [plus(last, offset) for offset in self.grid]
            last = last_of(rule_starts, self.dtstart, last)
        rdates = sorted({*self.rdates, *torn})
        span = timedelta(0)
        if self.grid is not None:
            # A side of single dates has no grid days that an exclusion could mean.
            rdates = [moment for moment in rdates if self.day_of(moment) not in self.exdates]
            span = self.grid[-1]  # an excluded day may reach so far into the next one
        before = {
            "rdates": tuple(moment for moment in rdates if moment < cut),
            "exdates": tuple(value for value in self.exdates if _at(value, time.min) < cut),
        }
        after = {
            "rdates": tuple(moment for moment in rdates if moment >= cut),
            "exdates": tuple(value for value in self.exdates if plus(_at(value, time.max), span) >= cut),
        }
        return _before(self, last, before), _after(self, following, after)

    def describe(self, *, times: bool = False) -> str:
        """Say in English when it happens, as shown; exact for what it covers, else the RRULE text.

        :param times: name the time of day also where it is simply that of ``dtstart``:
            ``every 2 weeks on Friday at 22:00``.
        """
        return describe(self, times)

    def ical_rrule(self) -> str | None:
        """Return the RRULE for a feed: UNTIL in UTC, ambiguous parts written out; ``None`` without a rule."""
        rule = self.rule
        if rule is None:
            return None
        # What programs complete differently is written out: the weekday of BYWEEKNO, the months of a yearly BYMONTHDAY.
        if rule.byweekno:
            rule = replace(rule, byday=fill_in(rule, self.dtstart).byday)
        other_days = rule.bymonth or rule.byyearday or rule.byweekno
        # Beside written-out months a numbered weekday would be that of a month, not of the year (RFC 5545 3.3.10).
        if rule.freq == "YEARLY" and rule.bymonthday and not (other_days or rule.is_numbered):
            rule = replace(rule, bymonth=tuple(range(1, 13)))
        until = rule.until
        if until is None:
            return str(rule)
        if not isinstance(until, datetime):
            until = datetime.combine(until, time(23, 59, 59))
        with suppress(OverflowError):  # RFC 5545 section 3.3.10 wants an instant beside a DTSTART with a zone
            rule = replace(rule, until=until if until.tzinfo else instant_of(until, self.zone))
        return str(rule)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON dialect object for :meth:`from_json`; ``{"type": "rrule", ...}`` if no other can say it."""
        return write_object(self)

    @overload
    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], dtstart: datetime, timezone: str, **options: Any
    ) -> Self: ...

    @overload
    @classmethod
    def from_json(
        cls, value: list[Mapping[str, Any]], dtstart: datetime, timezone: str, **options: Any
    ) -> list[Self]: ...

    @classmethod
    def from_json(cls, value: Any, dtstart: datetime, timezone: str, **options: Any) -> Self | list[Self]:
        """Read a JSON dialect.

        :param value: for example ``{"type": "weekly", "weekday": 4}`` (0 = Monday); or a fixed schedule, a list of
            such entries, which gives a list.
        :param dtstart: naive wall clock; ``start_time`` in the object replaces its time.
        :param options: further arguments of the class, such as ``exdates`` and ``gap``.
        :raises InvalidRule: naming the field, the value and what is expected.
        """
        templates = template_fields(value, dtstart=dtstart, timezone=timezone)
        found = [cls(**rule_fields(fields), **options) for fields in templates]
        return found if isinstance(value, list | tuple) else found[0]


# -- cutting in two: the new COUNT is the old one less what the rule yields before the cut, excluded starts included
# (COUNT counts before EXDATE, RFC 5545 section 3.8.5.1); the second DTSTART is a start of the rule, so that INTERVAL
# keeps step


def _at(value: datetime | date, clock: time) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, clock)


def _before(recurrence: RecurrenceSet, last: datetime | None, dates: Fields) -> Recurrence | None:
    rule = recurrence.rule
    if last is None:
        return _only_dates(recurrence, dates)
    if rule is None:
        return _side(recurrence, dates)
    if rule.count is not None:
        count = recurrence.count_before(plus(last, MICROSECOND))
        return _side(recurrence, dates, rrule=str(replace(rule, count=count)))
    until = last
    with suppress(OverflowError):  # beside a zone RFC 5545 section 3.3.10 wants UNTIL in UTC
        until = instant_of(last, recurrence.zone)
    rrule = str(replace(rule, until=until))
    # Around a gap an instant can let one start too many in.
    bounded = RecurrenceSet(rrule, recurrence.dtstart, recurrence.zone)
    spill = bounded.rule_starts(plus(last, MICROSECOND), plus(last, timedelta(days=3)))
    return _side(recurrence, {**dates, "exdates": (*dates["exdates"], *spill)}, rrule=rrule)


def _after(recurrence: RecurrenceSet, following: datetime | None, dates: Fields) -> Recurrence | None:
    rule = recurrence.rule
    if following is None:
        return _only_dates(recurrence, dates)
    if rule is not None and rule.count is not None:  # what is left of it
        rule = replace(rule, count=rule.count - recurrence.count_before(following))
    return _side(recurrence, dates, rrule=rule and str(rule), dtstart=following)


def _only_dates(recurrence: RecurrenceSet, dates: Fields) -> Recurrence | None:
    """Return a recurrence of single dates: the first is the start, the others are extra."""
    if not dates["rdates"]:
        return None
    first, *others = dates["rdates"]
    dates = {**dates, "rdates": others}
    return _side(recurrence, dates, rrule=None, dtstart=first, every=None, until_time=None)


def _side(recurrence: RecurrenceSet, dates: Fields, **changes: Any) -> Recurrence | None:
    """Return a recurrence with other dates and some changes, if it has any starts."""
    names = ("rrule", "dtstart", "gap", "duration", "every", "until_time", "shift")
    fields = {name: getattr(recurrence, name) for name in names} | changes
    side = Recurrence(timezone=recurrence.zone, **fields, **dates)
    return None if next(side.originals(side.earliest, datetime.max), None) is None else side
