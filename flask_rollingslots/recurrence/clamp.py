"""Arithmetic on naive times that stays within the years 1 to 9999 instead of raising OverflowError."""

from __future__ import annotations

from datetime import datetime, timedelta


def plus(moment: datetime, length: timedelta) -> datetime:
    """Return ``moment + length``, at most ``datetime.max`` and at least ``datetime.min``."""
    try:
        return moment + length
    except OverflowError:
        return datetime.max if length > timedelta(0) else datetime.min


def minus(moment: datetime, length: timedelta) -> datetime:
    """Return ``moment - length``, clamped like :func:`plus`."""
    return plus(moment, -length)
