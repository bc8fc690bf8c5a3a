"""The database and the cache that the environment names, or the demo's own SQLite file and no cache."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from flask_rollingslots import ConfigError

_OWN_DATABASE = "sqlite:///demo.db"
#: How long a silent cache may hold a background top-up; no request waits for it.
_CACHE_SECONDS = 1
#: Drivers whose package has another name, and packages that an extra brings.
_PACKAGES = {"pysqlite": "sqlite3", "mysqldb": "MySQLdb"}
_EXTRAS = {"psycopg": "postgres", "redis": "redis"}


def database_url() -> str:
    """Return what ``DATABASE_URL`` names; ``postgres://`` and ``postgresql://`` mean psycopg 3.

    :raises ConfigError: if it is no address of a database, or its driver is not installed.
    """
    given = os.environ.get("DATABASE_URL")
    if not given:
        return _OWN_DATABASE
    scheme, colon, rest = given.partition(":")
    if scheme in ("postgres", "postgresql"):
        given = f"postgresql+psycopg{colon}{rest}"
    try:
        driver = make_url(given).get_dialect().driver
    except (ArgumentError, NoSuchModuleError) as error:
        expected = "an address such as postgresql://user:password@host/name or sqlite:////folder/file.db"
        raise ConfigError(f"DATABASE_URL: {error}; expected {expected}") from error
    _need(_PACKAGES.get(driver, driver), "DATABASE_URL")
    return given


def cache_settings() -> dict[str, Any] | None:
    """Return the settings of Flask-Caching for ``REDIS_URL``, or ``None`` without it.

    :raises ConfigError: if the redis package is not installed.
    """
    given = os.environ.get("REDIS_URL")
    if not given:
        return None
    _need("redis", "REDIS_URL")
    return {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": _with_limits(given)}


def _with_limits(url: str) -> str:
    """Add time-outs, unless the address has its own: not every Flask-Caching passes them on beside an address."""
    given = parse_qs(urlsplit(url).query)
    missing = [name for name in ("socket_timeout", "socket_connect_timeout") if name not in given]
    for name in missing:  # by hand, for an address of a socket does not survive being put together again
        url += f"{'&' if '?' in url else '?'}{name}={_CACHE_SECONDS}"
    return url


def _need(package: str, variable: str) -> None:
    if find_spec(package) is not None:
        return
    extra = _EXTRAS.get(package)
    if extra is None:
        raise ConfigError(f"{variable} is set, but the package {package} is not installed")
    raise ConfigError(
        f"{variable} is set, but the package {package} is not installed: "
        f"run `make demo EXTRAS={extra}`, or pip install 'Flask-RollingSlots[{extra}]'"
    )
