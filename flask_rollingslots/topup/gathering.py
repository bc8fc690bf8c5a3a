"""The results of a shared run, put together from its shards: at its end, or so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from flask_rollingslots.values import Report, Tally, Window

from . import shards
from .record import COUNTS, results_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from flask_rollingslots.models import Models

    from .run import Filler

#: So many templates a report of a shared run names at most; the shards keep all of the last run.
_MOST_TEMPLATES = 10_000


@dataclass
class Gathered:
    """What came of the shards that ended so far.

    :param busy: templates were left out, for somebody was editing them all the time.
    """

    report: Report
    errors: list[str]
    busy: bool


def gather(session: Session, models: Models, run_id: int) -> Gathered:
    """Sum up the shards of a run that ended so far: its result, or its progress."""
    found = Gathered(Report(), [], False)
    report = found.report
    for papers in shards.results_of(session, models, run_id):
        found.errors += papers.get("errors", [])
        found.busy |= papers.get("busy", False)
        for name in COUNTS:
            setattr(report, name, getattr(report, name) + papers.get(name, 0))
        for reason, number in papers.get("skipped", {}).items():
            report.skipped[reason] = report.skipped.get(reason, 0) + number
        for group, counts in papers.get("groups", {}).items():
            _add(report.groups.setdefault(group, Tally(group)), counts)
        for key, counts in papers.get("templates", {}).items():
            if int(key) in report.templates or len(report.templates) < _MOST_TEMPLATES:
                _add(report.templates.setdefault(int(key), Tally(counts["name"])), counts)
        if papers.get("window"):
            start, end = (datetime.fromisoformat(text) for text in papers["window"])
            seen = report.window or Window(start, end)
            report.window = Window(min(seen.start, start), max(seen.end, end))
    return found


def _add(tally: Tally, counts: dict[str, Any]) -> None:
    for name in ("created", "existing", "updated", "removed", "kept_booked", "expected"):
        setattr(tally, name, getattr(tally, name) + counts.get(name, 0))
    tally.error = counts.get("error") or tally.error


def papers_of(filler: Filler) -> dict[str, Any]:
    """Return what a shard keeps of its report, ready for JSON."""
    report = filler.report
    window = report.window and [report.window.start.isoformat(), report.window.end.isoformat()]
    counts = {name: getattr(report, name) for name in COUNTS}
    rest = {"skipped": report.skipped, "errors": filler.errors, "busy": bool(filler.busy), "window": window}
    return {**counts, **rest, **results_of(report)}


def zones_of(session: Session, models: Models) -> set[str]:
    """Return the zones of all active templates that this machine knows; a template of another one has failed."""
    cls = models.Template
    names = session.scalars(select(cls.timezone).where(cls.active.is_(True)).distinct())
    return {name for name in names if _is_zone(name)}


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return False
    return True
