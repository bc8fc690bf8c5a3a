"""How the machinery is: is the window covered, what did the top-ups do, what is wrong, and what do people book?"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from flask import Blueprint, current_app, render_template, request
from sqlalchemy import select

from flask_rollingslots.facade import Figures
from flask_rollingslots.values import Window

from . import charts, words
from .models import active_templates, db, slots
from .venues import find_venue, load_venues

if TYPE_CHECKING:
    from flask_rollingslots import TemplateMixin

pages = Blueprint("operations", __name__, url_prefix="/owner")

_RUNS = 12
#: Why a top-up ran, and how it ended, in words.
_REASONS = {
    "request": "a visitor came",
    "view": "somebody looked",
    "hole": "a gap was seen",
    "edit": "a template changed",
    "manual": "by hand",
}
_RESULTS = {
    "waiting": "waiting",
    "queued": "waiting",
    "running": "under way",
    "confirmed": "done",
    "failed": "failed",
    "interrupted": "broken off",
}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@pages.get("/operations")
def overview() -> str:
    """Show coverage, runs, findings, the question why there is no slot, and figures."""
    place = find_venue(request.args.get("venue"))
    templates = _all_templates()
    return render_template(
        "operations.html",
        health=slots.health(),
        coverage=_coverage(),
        findings=slots.doctor(),
        runs=slots.runs(limit=_RUNS),
        templates=templates,
        labels=_labels(templates),
        reasons=_REASONS,
        results=_RESULTS,
        asked=request.args,
        answer=_explain(),
        venue=place,
        venues=load_venues(),
        charts=_charts(place.slug if place else None),
        zones=None,
    )


def _all_templates() -> list[TemplateMixin]:
    cls = slots.Template
    return list(db.session.scalars(select(cls).order_by(cls.group, cls.series_id, cls.id)))


def _labels(templates: list[TemplateMixin]) -> dict[int, str]:
    """Return what each template is called: those of one name by the time or the weekday of their next date too."""
    same: dict[str, list[TemplateMixin]] = {}
    for each in templates:
        same.setdefault(each.name, []).append(each)
    labels = {each.id: each.name for each in templates}
    for group in filter(lambda group: len(group) > 1, same.values()):
        starts = {each.id: words.next_start(each, datetime.now(UTC)) for each in group}
        walls = {each.id: s.astimezone(ZoneInfo(each.timezone)) for each in group if (s := starts[each.id])}
        parts = ("%H:%M", "%a", "%a %H:%M")
        best = next(
            (p for p in parts if len({f"{wall:{p}}" for wall in walls.values()}) == len(walls)), parts[-1]
        )
        labels |= {number: f"{labels[number]}, {wall:{best}}" for number, wall in walls.items()}
    return labels


def _coverage() -> charts.Coverage:
    """Return which promised slots of the window are stored."""
    templates = [template for template in active_templates() if words.is_current(template)]
    now = datetime.now(UTC) + timedelta(microseconds=1)  # what begins right now is no longer written
    number = current_app.config.get("ROLLINGSLOTS_WINDOW_DAYS", 7)
    zones = {template.timezone for template in templates}
    ends = {zone: Window.rolling(now, number, ZoneInfo(zone)).end for zone in zones}
    found = slots.view(now, max(ends.values(), default=now))
    inside = [slot for slot in found if slot.starts_at < ends[slot.template.timezone]]
    days = {zone: _days(now, zone, number) for zone in sorted(zones)}
    return charts.make_coverage(templates, inside, days)


def _days(now: datetime, zone: str, number: int) -> list[date]:
    today = now.astimezone(ZoneInfo(zone)).date()
    return [today + timedelta(days=n) for n in range(number)]


def _explain() -> tuple[str, str] | None:
    """Answer why there is, or is not, a slot; ``None`` without a question. A code and a sentence."""
    number = request.args.get("template", type=int)
    template = db.session.get(slots.Template, number) if number else None
    if template is None:
        return None
    try:
        day, at = date.fromisoformat(request.args["day"]), time.fromisoformat(request.args["time"])
        moment = datetime.combine(day, at.replace(tzinfo=None), ZoneInfo(template.timezone))
        found = slots.explain(template, moment.astimezone(UTC))
    except (KeyError, ValueError, OverflowError):
        return "not_understood", "Choose a day and a time, such as 2026-01-31 and 18:00."
    return found.code, f"{words.plain_sentence(found.sentence)}."


def _charts(group: str | None) -> list[charts.Bars]:
    """Return what is booked by weekday and by hour, and how full each template is."""
    stats = slots.stats(group=group)
    total = stats.total
    by_day = [
        (name, total.weekdays[n].booked if n in total.weekdays else 0) for n, name in enumerate(_WEEKDAYS)
    ]
    hours = range(min(total.hours, default=0), max(total.hours, default=-1) + 1)
    by_hour = [(f"{hour:02}:00", total.hours[hour].booked if hour in total.hours else 0) for hour in hours]
    offers: dict[str, Figures] = {}  # an offer may be several templates of one name
    for part in stats.templates.values():
        offers.setdefault(part.name, Figures()).add(part)
    filled = sorted(
        (
            (name, each.booked_share, each.booked, each.capacity)
            for name, each in offers.items()
            if each.capacity
        ),
        key=lambda found: -found[1],
    )
    return [
        _counts("Booked places by weekday", by_day),
        _counts("Booked places by hour", by_hour),
        charts.make_bars(
            "How full each offer is",
            _in_words([(name, f"{share:.0%}") for name, share, _, _ in filled]),
            [(name, share, f"{share:.0%} ({booked} of {places})") for name, share, booked, places in filled],
            most=1.0,
        ),
    ]


def _counts(title: str, values: list[tuple[str, int]]) -> charts.Bars:
    return charts.make_bars(
        title,
        _in_words([(name, str(n)) for name, n in values if n]),
        [(name, n, str(n)) for name, n in values],
    )


def _in_words(values: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {text}" for name, text in values) or "Nothing yet"
