"""``python -m benchmarks [NAME…] [--json FILE] [--list]``: all figures, or some, as one table.

All but ``costs``, which takes minutes for a question of its own, and runs when it is named.

The exit code is 1 if a bound does not hold, 2 if both sides of a comparison did not do the same work.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from . import frame
from .frame import BENCHMARKS, Bench, DifferentWork, Row, Skip
from .machine import describe, servers
from .table import HEADER, cells, text_line

#: Modules of this folder with a benchmark of the same name, in the order of the table.
MODULES = (
    "hook",
    "expansion",
    "filling",
    "rolling",
    "missing",
    "serverless",
    "storm",
    "reading",
    "calendars",
    "peers",
    "pages",
    "deciding",
    "booking",
    "size",
    "costs",
)
#: What runs only when it is named.
APART = {"costs"}


def run(names: list[str], pairs: int) -> tuple[list[Row], dict[str, str], dict[str, float]]:
    """Run some benchmarks; return their rows, why others were skipped, and the seconds that each took."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-")))
        lend = servers(stack)
        for name in names:
            bench, start = Bench(name, folder, lend, pairs), perf_counter()
            try:
                for row in BENCHMARKS[name](bench):
                    rows.append(row)
                    show(text_line(cells(row)))
            except Skip as reason:
                skipped[name] = str(reason)
                show(f"{name}: skipped: {reason}")
            finally:
                bench.close()
            skipped.update({f"{name}: {what}": reason for what, reason in bench.skipped.items()})
            seconds[name] = perf_counter() - start
    return rows, skipped, seconds


def show(line: str) -> None:
    """Print a line now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def chosen(names: list[str]) -> list[str]:
    """Return what is to be run: what is named, or all that runs without being named."""
    return names or [name for name in MODULES if name not in APART]


def main() -> int:
    """Run what the arguments ask for."""
    for module in MODULES:
        import_module(f"{__package__}.{module}")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(MODULES)}; default: all but {', '.join(sorted(APART))}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument(
        "--pairs", type=int, default=frame.PAIRS, help="pairs a figure (default: %(default)s)"
    )
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(MODULES)}")
    if options.list:
        for name in MODULES:
            show(f"{name:12} {(BENCHMARKS[name].__doc__ or '').splitlines()[0]}")
        return 0
    logging.getLogger("flask_rollingslots").setLevel(logging.ERROR)
    show(text_line(HEADER))
    try:
        rows, skipped, seconds = run(chosen(options.names), options.pairs)
    except DifferentWork as error:
        show(f"not the same work: {error}")
        return 2
    report = {
        **describe(),
        "seconds": {name: round(taken, 1) for name, taken in seconds.items()},
        "skipped": skipped,
        "rows": [row.to_dict() for row in rows],
    }
    summary(rows, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(row.holds is False for row in rows))


def summary(rows: list[Row], report: dict[str, Any]) -> None:
    """Say how many bounds hold, and what was skipped."""
    bound = [row for row in rows if row.holds is not None]
    missed = [f"{row.benchmark}: {row.what}" for row in bound if not row.holds]
    show(f"\n{len(bound) - len(missed)} of {len(bound)} bounds hold; {sum(report['seconds'].values()):.0f} s")
    for what in missed:
        show(f"missed: {what}")
    for what, reason in report["skipped"].items():
        show(f"skipped: {what}: {reason}")


if __name__ == "__main__":
    sys.exit(main())
