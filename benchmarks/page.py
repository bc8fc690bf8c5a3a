"""``python -m benchmarks.page FIGURES.json [docs/performance.md]``: put the figures of a run into the documentation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .table import HEADER, cells_of, markdown_line

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN = "<!-- figures: written by python -m benchmarks.page -->"
END = "<!-- end of figures -->"


def write(figures: Path, target: Path = PAGE) -> None:
    """Replace what stands between the two marks of a page.

    :param figures: what ``python -m benchmarks --json`` wrote.
    :raises ValueError: if the page has no marks.
    """
    report = json.loads(figures.read_text(encoding="utf-8"))
    before, begin, rest = target.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{target}: expected the lines {BEGIN} and {END}")
    target.write_text(f"{before}{BEGIN}\n\n{text(report)}\n{END}{after}", encoding="utf-8")


def text(report: dict[str, Any]) -> str:
    """Return date, versions and the table, in Markdown."""
    packages = ", ".join(f"{name} {number}" for name, number in report["packages"].items())
    bound = [row for row in report["rows"] if row["holds"] is not None]
    kept = sum(row["holds"] for row in bound)
    lines = [
        f"Measured on {report['date']}: {report['machine']}; Python {report['python']}, SQLite {report['sqlite']}, "
        f"{packages}. The run took {sum(report['seconds'].values()):.0f} s; {kept} of {len(bound)} bounds held.",
        "",
        markdown_line(HEADER),
        markdown_line(("---",) * len(HEADER)),
        *(markdown_line(cells_of(row)) for row in report["rows"]),
        "",
    ]
    lines += [f"Skipped: {what}: {reason}." for what, reason in report["skipped"].items()]
    return "\n".join([*lines, ""] if report["skipped"] else lines)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *map(Path, sys.argv[2:3]))
