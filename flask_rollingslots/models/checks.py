"""What a template must be before it is stored: each refusal names field, value and expectation."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from flask_rollingslots.errors import InvalidTemplate
from flask_rollingslots.recurrence.public_holidays import check_holidays
from flask_rollingslots.settings import MAX_DAYS

if TYPE_CHECKING:
    from .mixins import TemplateMixin

_MINUTE = timedelta(minutes=1)
_LONGEST = timedelta(days=MAX_DAYS)


def check_template(template: TemplateMixin) -> None:
    """Refuse a template that could not be filled.

    :raises InvalidTemplate: for a field of the wrong type or out of range.
    :raises InvalidRule: if the rule, the zone or the grid is not valid.
    """
    _texts(template)
    _start(template)
    _durations(template)
    _numbers(template)
    _lists(template)
    if template.opens_before is not None and template.opens_days_before is not None:
        _refuse(template, "opens_before", "either opens_before or opens_days_before, not both")
    for field in ("active", "exclusive"):
        if not isinstance(getattr(template, field), bool | None):
            _refuse(template, field, "True or False")
    if template.exclusive and template.resource is None:
        _refuse(template, "exclusive", "a resource too: the name of what only one may have at a time")
    if template.holidays is not None:
        check_holidays(template.holidays)
    rule = template.recurrence.rule  # raises InvalidRule
    if rule is not None and any(rule.bysecond):
        _refuse(template, "rrule", "a rule without BYSECOND: slot keys have no seconds")


def _refuse(template: TemplateMixin, field: str, expected: str) -> NoReturn:
    value = getattr(template, field)
    raise InvalidTemplate(
        f"{field} = {value!r}: expected {expected}", field=field, value=value, expected=expected
    )


def _texts(template: TemplateMixin) -> None:
    if not (isinstance(template.name, str) and len(template.name.strip()) > 0 and len(template.name) <= 200):
        _refuse(template, "name", "a text of 1 to 200 characters")
    if template.timezone is not None and not isinstance(template.timezone, str):
        _refuse(template, "timezone", "the name of an IANA zone as text, such as 'Europe/Madrid'")
    for field, longest in (("group", 200), ("resource", 200), ("rrule", 10_000), ("holidays", 16)):
        value = getattr(template, field)
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= longest):
            _refuse(template, field, f"a text of 1 to {longest} characters, or None")


def _start(template: TemplateMixin) -> None:
    for field in ("dtstart", "active_from", "active_until", "cancelled_from"):
        value = getattr(template, field)
        if value is None and field != "dtstart":
            continue
        if not isinstance(value, datetime) or value.tzinfo is not None:
            _refuse(template, field, "a naive datetime: the wall-clock time in the template's zone")
        if value.second or value.microsecond:
            _refuse(template, field, "whole minutes: slot keys have no seconds")


def _durations(template: TemplateMixin) -> None:
    for field in ("duration", "every"):
        value = getattr(template, field)
        if value is None and field == "every":
            continue
        if not isinstance(value, timedelta) or not _MINUTE <= value <= _LONGEST or value % _MINUTE:
            _refuse(template, field, f"a timedelta of whole minutes, from one minute to {MAX_DAYS:,} days")
    for field in ("opens_before", "closes_before", "reminder_before"):
        value = getattr(template, field)
        if value is not None and not (isinstance(value, timedelta) and timedelta(0) <= value <= _LONGEST):
            _refuse(template, field, f"a timedelta from zero to {MAX_DAYS:,} days, or None")
    if template.until_time is not None and not isinstance(template.until_time, time):
        _refuse(template, "until_time", "a time of day, or None")
    if template.shift is not None and not (
        isinstance(template.shift, timedelta) and not template.shift % _MINUTE
    ):
        _refuse(template, "shift", "a timedelta of whole minutes")


def _numbers(template: TemplateMixin) -> None:
    limits = (
        ("capacity", 1, 1_000_000),
        ("window_days", 1, MAX_DAYS),
        ("opens_days_before", 0, MAX_DAYS),
    )
    for field, low, high in limits:
        value = getattr(template, field)
        if value is None:  # the column's default, or "as the app's settings say"
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            _refuse(template, field, f"a whole number from {low} to {high}")


def _lists(template: TemplateMixin) -> None:
    for field in ("rdates", "exdates"):
        for moment in getattr(template, field) or ():
            if not isinstance(moment, datetime) and (field == "rdates" or not isinstance(moment, date)):
                _refuse(template, field, "a list of naive datetimes (in exdates also of dates)")
            if isinstance(moment, datetime) and (moment.tzinfo or moment.second or moment.microsecond):
                _refuse(template, field, "naive wall-clock times of whole minutes")
    for pair in template.blackouts or ():
        if not _is_range(pair):
            _refuse(template, "blackouts", "a list of (first day, last day) pairs of dates")
    data: Any = template.data
    if data is not None and not isinstance(data, dict):
        _refuse(template, "data", "a dict")
    try:
        json.dumps(data)
    except (TypeError, ValueError):
        _refuse(template, "data", "values that JSON can hold")


def _is_range(pair: Any) -> bool:
    try:
        first, last = pair
    except (TypeError, ValueError):
        return False
    plain = all(isinstance(day, date) and not isinstance(day, datetime) for day in (first, last))
    return plain and first <= last
