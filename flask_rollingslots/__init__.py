"""Bookable slots that are always there: a rolling window, filled by your own visitors, with no cron."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from .recurrence import Recurrence
from .values import Occurrence, Report, Scope, State, Window

if TYPE_CHECKING:
    from .facade import RollingSlots
    from .models import BookingMixin, SlotMixin, TemplateMixin, make_models

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

# What stands on Flask and SQLAlchemy is imported when it is asked for, so that the pure rooms stay pure.
_LATER = {
    "RollingSlots": "facade",
    "BookingMixin": "models",
    "SlotMixin": "models",
    "TemplateMixin": "models",
    "make_models": "models",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)
