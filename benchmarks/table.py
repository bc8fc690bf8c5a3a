"""The table: one line of text, or of Markdown, for a row."""

from __future__ import annotations

from typing import Any

from .frame import Row, amount

HEADER = ("what", "ours", "other", "ratio", "spread", "bound", "holds")
_WIDTHS = (58, 10, 34, 8, 15, 16, 5)


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row."""
    found = {**row.to_dict(), "bound": row.bound.text(row.unit) if row.bound else None}
    return cells_of(found)


def cells_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row as JSON has it."""
    unit = row["unit"]
    return (
        f"{row['benchmark']}: {row['what']}",
        amount(row["ours"], unit),
        f"{amount(row['other'], unit)} {row['other_name']}",
        f"{row['ratio']:.3g}",
        f"{row['low']:.3g} to {row['high']:.3g}",
        row["bound"] or "",
        {True: "yes", False: "NO", None: ""}[row["holds"]],
    )


def text_line(line: tuple[str, ...]) -> str:
    """Return a line of text, in columns."""
    *most, last = line
    return "  ".join(f"{cell:{width}}" for cell, width in zip(most, _WIDTHS, strict=False)) + f"  {last}"


def markdown_line(line: tuple[str, ...]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(line)} |"
