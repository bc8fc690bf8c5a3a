"""The RRULE as other programs read it the same way."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time

from .days import fill_in
from .rule import Rule
from .series import Series
from .zones import instant_of


def ical_rrule(series: Series) -> str | None:
    """Return RRULE text for an iCalendar feed, ``None`` without a rule.

    UNTIL becomes an instant in UTC, as RFC 5545 section 3.3.10 wants it beside a DTSTART with a zone, and the parts
    that programs complete differently are written out: the weekday of BYWEEKNO, the months of a yearly BYMONTHDAY.
    """
    rule = series.rule
    if rule is None:
        return None
    if rule.byweekno:
        rule = replace(rule, byday=fill_in(rule, series.dtstart).byday)
    other_days = rule.bymonth or rule.byyearday or rule.byweekno
    # Beside written-out months a numbered weekday would be that of a month, not of the year (RFC 5545 section 3.3.10).
    if rule.freq == "YEARLY" and rule.bymonthday and not (other_days or rule.is_numbered):
        rule = replace(rule, bymonth=tuple(range(1, 13)))
    return str(_until_in_utc(rule, series))


def _until_in_utc(rule: Rule, series: Series) -> Rule:
    until = rule.until
    if until is None:
        return rule
    if not isinstance(until, datetime):
        until = datetime.combine(until, time(23, 59, 59))
    if until.tzinfo is None:
        try:
            until = instant_of(until, series.zone)
        except OverflowError:
            return rule
    return replace(rule, until=until)
