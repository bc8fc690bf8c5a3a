"""Bookable slots that are always there: a rolling window, filled by your own visitors, with no cron."""

from typing import TYPE_CHECKING

from .errors import (
    ConfigError,
    InvalidRule,
    LostRace,
    RollingSlotsError,
    SlotClosed,
    SlotFull,
    SlotNotFound,
    StaleEdit,
    TopUpBusy,
)
from .lazy import lazy_names
from .values import Occurrence, Report, Scope, State, Window

if TYPE_CHECKING:
    from .facade import RollingSlots
    from .models import BookingMixin, SlotMixin, TemplateMixin, make_models
    from .recurrence import Recurrence

__all__ = [
    "BookingMixin",
    "ConfigError",
    "InvalidRule",
    "LostRace",
    "Occurrence",
    "Recurrence",
    "Report",
    "RollingSlots",
    "RollingSlotsError",
    "Scope",
    "SlotClosed",
    "SlotFull",
    "SlotMixin",
    "SlotNotFound",
    "StaleEdit",
    "State",
    "TemplateMixin",
    "TopUpBusy",
    "Window",
    "make_models",
]

# What stands on Flask and SQLAlchemy, or costs time, is imported when it is asked for.
__getattr__ = lazy_names(
    __name__,
    {
        ".facade": "RollingSlots",
        ".models": "BookingMixin SlotMixin TemplateMixin make_models",
        ".recurrence": "Recurrence",
    },
)
