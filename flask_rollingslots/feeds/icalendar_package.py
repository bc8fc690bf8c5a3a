"""The optional icalendar package, and a clear sentence where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType

from ..errors import ConfigError


def has_icalendar() -> bool:
    """Whether the package is installed."""
    return find_spec("icalendar") is not None


def icalendar_package() -> ModuleType:
    """Return the package.

    :raises ConfigError: if it is not installed; names the extra.
    """
    try:
        import icalendar
    except ImportError as error:
        raise ConfigError(
            "reading and writing .ics files needs the icalendar package: "
            "pip install 'Flask-RollingSlots[ics]' (JSON works without it)"
        ) from error
    return icalendar
