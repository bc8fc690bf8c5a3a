"""How much is done, and what came of it: one line of figures for a test."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: 0: the short form, as in `make test`, which measures nothing; 1: the whole proof, as in `make faults`.
SCALE = float(os.environ.get("FAULTS_SCALE", "0"))
SEED = int(os.environ.get("FAULTS_SEED", "20260302"))
FILE = os.environ.get("FAULTS_FIGURES")


def scaled(whole: int, short: int) -> int:
    """Return how often something is done: the whole number times the scale, at least the short one."""
    return max(short, round(whole * SCALE))


def share(values: Sequence[float], percent: float) -> float:
    """Return the value below which so many percent of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def middle(values: Sequence[float]) -> float:
    """Return the median, 0 of nothing."""
    return statistics.median(values) if values else 0.0


def versions() -> dict[str, str]:
    """Return what was tested with."""
    names = ("flask", "sqlalchemy", "gunicorn", "flask-caching")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def tell(test: str, **figures: Any) -> None:
    """Print one line; with FAULTS_FIGURES also write it to that file as JSON."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}
    text = " ".join(f"{key}={value}" for key, value in rounded.items())
    sys.__stdout__.write(f"\n{test}: {text}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]
    if FILE:
        line = {"test": test, "scale": SCALE, "seed": SEED, **rounded, "versions": versions()}
        Path(FILE).parent.mkdir(parents=True, exist_ok=True)
        with Path(FILE).open("a") as output:
            output.write(json.dumps(line) + "\n")
