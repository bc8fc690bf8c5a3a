"""What the figures were measured on: versions, processor, and the private servers."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .frame import Skip

PACKAGES = (
    "Flask-RollingSlots", "Flask", "SQLAlchemy", "Flask-SQLAlchemy", "python-dateutil", "recurring-ical-events",
    "Flask-Limiter", "Flask-Caching", "redis", "psycopg", "PyMySQL", "gunicorn",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Return date, versions and machine."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.machine()}",
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")


def servers(stack: ExitStack) -> Callable[[str], Any]:
    """Return a function that lends one private server of a kind, stopped with the stack."""
    started: dict[str, Any] = {}

    def lend(kind: str) -> Any:
        if kind not in started:
            try:
                from tests import servers as kinds
            except ImportError as error:
                raise Skip(f"the servers of the tests are needed: {error}") from error
            try:
                started[kind] = getattr(kinds, kind)()
            except kinds.Unavailable as reason:
                raise Skip(str(reason)) from reason
            stack.callback(started[kind].stop)
        return started[kind]

    return lend
