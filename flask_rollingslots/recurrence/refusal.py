"""How this package says no: one sentence that names the part, the value and what is expected."""

from __future__ import annotations

from ..errors import InvalidRule


def refuse(part: str, value: object, expected: str, why: str = "is not valid") -> InvalidRule:
    """Return (not raise) the error for a part of a rule.

    :param part: the RRULE part, the JSON field or the parameter.
    :param value: what was given; shown shortened.
    :param expected: what is right, in words.
    :param why: what is wrong with the value.
    """
    shown = repr(value)
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    return InvalidRule(f"{part}: {shown} {why}; expected {expected}", part=part, value=value, expected=expected)
