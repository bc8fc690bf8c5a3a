"""Public holidays by country or subdivision, from the ``holidays`` package (an optional extra)."""

from __future__ import annotations

from datetime import date
from functools import lru_cache, partial
from types import ModuleType

from ..errors import ConfigError, InvalidRule, nearest, refusal


def public_holiday(code: str, day: date) -> str | None:
    """Return the name of the public holiday on a day, or ``None``.

    :param code: ISO 3166-1 country (``ES``) or ISO 3166-2 subdivision (``ES-MD``).
    :raises InvalidRule: if the code is unknown.
    :raises ConfigError: if the ``holidays`` package is not installed.
    """
    return _year(code, day.year).get(day)


def check_holidays(code: str) -> None:
    """Refuse a code for which there are no holidays.

    :raises InvalidRule: if the code is unknown; names the nearest one.
    :raises ConfigError: if the ``holidays`` package is not installed.
    """
    refuse = partial(refusal, "holidays", code, kind=InvalidRule, part="holidays")
    known = _package().list_supported_countries()
    country, _, subdivision = code.partition("-")
    if country not in known:
        hint = "" if len(country) == 2 and country.isupper() else nearest(country, known)
        hint = hint if "Did you mean" in hint else ""  # all countries of the world would hide the sentence
        raise refuse(f"an ISO country code such as ES, or a subdivision such as ES-MD.{hint}")
    if subdivision and subdivision not in known[country]:
        choices = [f"{country}-{name}" for name in known[country]]
        hint = nearest(code, choices) if choices else f" {country} has none."
        raise refuse(f"a subdivision of {country}.{hint}")


@lru_cache(maxsize=512)
def _year(code: str, year: int) -> dict[date, str]:
    # A year is computed at once; a new version of the package comes with a new process.
    check_holidays(code)
    country, _, subdivision = code.partition("-")
    return dict(_package().country_holidays(country, subdiv=subdivision or None, years=year))


def _package() -> ModuleType:
    try:
        import holidays
    except ImportError as error:
        raise ConfigError("holidays need an extra: pip install 'Flask-RollingSlots[holidays]'") from error
    return holidays
