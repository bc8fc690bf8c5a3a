"""Bookable slots that are always there: a rolling window, filled by your own visitors, with no cron."""

from .errors import (
    ConfigError,
    InvalidRule,
    RollingSlotsError,
    SlotClosed,
    SlotFull,
    SlotNotFound,
    TopUpBusy,
)
from .extension import RollingSlots
from .models import BookingMixin, SlotMixin, TemplateMixin, make_models
from .recurrence import Recurrence
from .values import Report, Scope, State, Window

__all__ = [
    "BookingMixin",
    "ConfigError",
    "InvalidRule",
    "Recurrence",
    "Report",
    "RollingSlots",
    "RollingSlotsError",
    "Scope",
    "SlotClosed",
    "SlotFull",
    "SlotMixin",
    "SlotNotFound",
    "State",
    "TemplateMixin",
    "TopUpBusy",
    "Window",
    "make_models",
]
