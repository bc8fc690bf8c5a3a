"""How this package says no: one sentence that names the part, the value and what is expected."""

from __future__ import annotations

from datetime import date, time, timedelta

from ..errors import InvalidRule

MISSING = "is missing"


def refuse(part: str, value: object, expected: str, why: str = "is not valid") -> InvalidRule:
    """Return (not raise) the error for a part of a rule.

    :param part: the RRULE part, the JSON field or the parameter.
    :param value: what was given; shown shortened.
    :param expected: what is right, in words.
    :param why: what is wrong with the value.
    """
    if why == MISSING:
        return InvalidRule(f"{part} {why}; expected {expected}", part=part, value=value, expected=expected)
    shown = f"'{value}'" if isinstance(value, (timedelta, date, time)) else repr(value)
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    return InvalidRule(
        f"{part}: {shown} {why}; expected {expected}", part=part, value=value, expected=expected
    )
