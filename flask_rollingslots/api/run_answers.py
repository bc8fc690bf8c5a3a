"""What is told about top-ups: progress while they work, results by template and group afterwards."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field

from flask_rollingslots.values import RunStatus

from .answers import Answered

if TYPE_CHECKING:
    from flask_rollingslots.models import RunMixin
    from flask_rollingslots.statistics import Stats
    from flask_rollingslots.values import Report

#: The most results of one kind in an answer.
_MANY = 1000
_COUNTS = ("created", "existing", "updated", "removed", "kept_booked", "expected", "opened", "closed")
_TOLD = ("created", "existing", "updated", "removed", "kept_booked", "expected")


class Result(Answered):
    """What was done for one template or group."""

    name: str
    created: int
    existing: int
    updated: int
    removed: int
    kept_booked: int
    expected: int


class TemplateResult(Result):
    """What one template got."""

    id: int
    error: str | None = None


class GroupResult(Result):
    """What one group got."""


class RunAnswer(Answered):
    """A top-up: queued, running, confirmed, failed, interrupted; or a dry run, which is not recorded."""

    id: int | None = Field(description="null in a dry run.")
    status: str
    dry_run: bool
    trigger: str
    template: int | None
    started_at: str | None
    finished_at: str | None
    seconds: float | None
    done: int = Field(description="Slots written so far.")
    total: int = Field(description="Slots to write, as far as it is known yet.")
    created: int
    existing: int
    updated: int
    removed: int
    kept_booked: int
    expected: int
    opened: int
    closed: int
    skipped: dict[str, int]
    window_start: str | None
    window_end: str | None
    week_start: str | None = Field(description="Monday; only if a week was asked for.")
    week_end: str | None = Field(description="Sunday; only if a week was asked for.")
    templates_processed: int
    templates: list[TemplateResult] | None = Field(
        description="null in lists. Of many only those that changed."
    )
    groups: list[GroupResult] | None = Field(description="null in lists.")
    error: str | None


class WeekTemplate(Answered):
    """What one template has in a week."""

    id: int
    name: str
    group: str | None
    slots: int
    booked: int
    cancelled: int


class WeekAnswer(Answered):
    """What is stored of a week."""

    week_start: str
    week_end: str
    slots: int
    generated: int
    cancelled: int
    completed: int
    capacity: int
    booked: int
    templates_with_slots: int
    earliest: str | None
    latest: str | None
    templates: list[WeekTemplate]


class RunPage(Answered):
    """Some top-ups, the newest first."""

    items: list[RunAnswer]
    next: str | None = Field(description="The address of the next page.")
    week: WeekAnswer | None = Field(None, description="Only if a week was asked for.")


def run_answer(run: RunMixin, *, details: bool, errors: bool) -> dict[str, Any]:
    """Return a run as plain data.

    :param details: with the results by template and group.
    :param errors: with what went wrong: for those who may know how things are on the server.
    """
    results = run.results or {}
    error = run.error if errors or run.error is None else "it failed; the server's log has the details"
    return {
        "id": run.id,
        "status": run.status,
        "dry_run": False,
        "trigger": run.trigger,
        "template": run.template_id,
        "started_at": _text(run.started_at),
        "finished_at": _text(run.finished_at),
        "seconds": run.seconds,
        "done": run.done,
        "total": run.total,
        **{name: getattr(run, name) for name in _COUNTS},
        "skipped": dict(run.skipped or {}),
        "window_start": _text(run.window_start),
        "window_end": _text(run.window_end),
        **_week_of(results.get("request", {})),
        "templates_processed": results.get("processed", len(results.get("templates", {}))),
        "templates": _templates(results.get("templates", {}), errors) if details else None,
        "groups": _groups(results.get("groups", {})) if details else None,
        "error": error,
    }


def report_answer(report: Report, first_day: date | None, end_day: date | None) -> dict[str, Any]:
    """Return what a dry run would do."""
    found = report.to_dict()
    days = {"first_day": first_day, "end_day": end_day}
    to_write = report.created + report.updated + report.removed
    return {
        "id": None,
        "status": RunStatus.CONFIRMED.value,
        "dry_run": True,
        "trigger": "api",
        "template": None,
        "started_at": None,
        "finished_at": None,
        "seconds": found["seconds"],
        "done": 0,
        "total": to_write,
        **{name: found[name] for name in _COUNTS},
        "skipped": found["skipped"],
        "window_start": found["window"] and found["window"]["start"],
        "window_end": found["window"] and found["window"]["end"],
        **_week_of({name: day.isoformat() for name, day in days.items() if day is not None}),
        "templates_processed": len(found["templates"]),
        "templates": _templates(found["templates"], errors=True),
        "groups": _groups(found["groups"]),
        "error": None,
    }


def _week_of(asked: dict[str, str]) -> dict[str, str | None]:
    end = asked.get("end_day")
    last = (date.fromisoformat(end) - timedelta(days=1)).isoformat() if end else None
    return {"week_start": asked.get("first_day") if end else None, "week_end": last}


def _templates(found: dict[str, Any], errors: bool) -> list[dict[str, Any]]:
    items = sorted(found.items(), key=lambda item: int(item[0]))[:_MANY]
    plain = "it was left out; the server's log has the details"
    return [
        {"id": int(key), "name": tally["name"], **{name: tally.get(name, 0) for name in _TOLD}}
        | ({"error": tally["error"] if errors else plain} if tally.get("error") else {})
        for key, tally in items
    ]


def _groups(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": key, **{n: tally.get(n, 0) for n in _TOLD}} for key, tally in sorted(found.items())[:_MANY]
    ]


def week_answer(stats: Stats, monday: date) -> dict[str, Any]:
    """Return what is stored of the week that begins on a Monday."""
    total = stats.total.to_dict()
    names = ("slots", "generated", "cancelled", "completed", "capacity", "booked", "earliest", "latest")
    rows = [part for part in stats.templates.values() if part.slots]
    return {
        "week_start": monday.isoformat(),
        "week_end": (monday + timedelta(days=6)).isoformat(),
        **{name: total[name] for name in names},
        "templates_with_slots": len(rows),
        "templates": [
            {
                "id": part.id,
                "name": part.name,
                "group": part.group,
                "slots": part.slots,
                "booked": part.booked,
                "cancelled": part.cancelled,
            }
            for part in rows[:_MANY]
        ],
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
