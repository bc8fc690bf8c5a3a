"""Say a series in English: exact for what it covers, else the RRULE text."""

from __future__ import annotations

from .series import Series


def describe(series: Series) -> str:
    """Return a sentence without a capital and without a full stop."""
    return series.rrule or f"once on {series.dtstart:%Y-%m-%d %H:%M}"
