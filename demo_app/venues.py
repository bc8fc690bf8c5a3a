"""The five venues: data files that each keep the JSON shape of an app that sells time.

A venue holds one list, and the list's name says which shape its entries have:

``games``
    opening hours of the hall, slot length and teams for each game
``events``
    parties with a ``recurring_config``
``jobs``
    things for hire with ``start_dt``, ``end_dt`` and a ``recurrence``
``sessions``
    a ``recurring_config`` with the times of day ``valid_from`` and ``valid_until``
``students``
    a ``start_date`` and a ``fixed_schedule``, a list of weekly lessons

A date may be written relative to the day of the first start: ``today+3``, ``today+3T09:00:00``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask_rollingslots.recurrence import template_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

_FOLDER = Path(__file__).parent / "data"
_RELATIVE = re.compile(r"today([+-]\d+)")

Fields = dict[str, Any]


@dataclass(frozen=True)
class Venue:
    """A place that sells time.

    :param slug: its name in addresses, and the ``group`` of its templates.
    :param content: the whole data file.
    """

    slug: str
    name: str
    kind: str
    text: str
    timezone: str
    content: Fields

    @property
    def zone(self) -> ZoneInfo:
        """The zone of the venue's wall clocks."""
        return ZoneInfo(self.timezone)

    @property
    def city(self) -> str:
        """The zone in words: the city that names it."""
        return self.timezone.rpartition("/")[2].replace("_", " ")


@cache
def load_venues() -> tuple[Venue, ...]:
    """Return the five venues, in the order of their data files."""
    files = [json.loads(path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.json"))]
    names = ("slug", "name", "kind", "text", "timezone")
    return tuple(Venue(**{name: content[name] for name in names}, content=content) for content in files)


def find_venue(slug: str | None) -> Venue | None:
    """Return the venue with this name, or ``None``."""
    return next((venue for venue in load_venues() if venue.slug == slug), None)


def templates_of(venue: Venue, today: date) -> list[Fields]:
    """Return the fields of every template of a venue.

    :param today: what relative dates in the data count from.
    """
    shape = next(name for name in _SHAPES if name in venue.content)
    return [
        {"name": name, "group": venue.slug, **own, **rule}
        for name, own, rules in _SHAPES[shape](venue, today)
        for rule in rules
    ]


def _games(venue: Venue, today: date) -> Iterator[tuple[str, Fields, list[Fields]]]:
    hours = venue.content["opening_hours"]
    for game in venue.content["games"]:
        rule = {
            "type": "daily",
            "start_time": hours["open"],
            "until_time": hours["close"],
            "every": game["slot_minutes"],
            "active": game["is_active"],
        }
        own = {
            "capacity": game["teams"],
            "closes_before": timedelta(minutes=game["closes_before_minutes"]),
            "data": {"note": game["text"], "unit": "teams"},
        }
        yield game["name"], own, _rules(rule, _moment(game["start_date"], today), venue)


def _events(venue: Venue, today: date) -> Iterator[tuple[str, Fields, list[Fields]]]:
    for event in venue.content["events"]:
        note = f"{event['caption']} {event['club']}. Music: {', '.join(event['music_genres'])}."
        own = {"capacity": event["guests"], "data": {"note": note, "unit": "places"}}
        yield (
            event["title"],
            own,
            _rules(event["recurring_config"], _moment(event["start_date"], today), venue),
        )


def _jobs(venue: Venue, today: date) -> Iterator[tuple[str, Fields, list[Fields]]]:
    for job in venue.content["jobs"]:
        start, end = (_moment(job[name], today) for name in ("start_dt", "end_dt"))
        own = {
            "capacity": job["units"],
            "duration": end - start,
            "data": {"note": job["notes"], "unit": "units"},
        }
        yield job["business_name"], own, _rules(job["recurrence"], start, venue)


def _sessions(venue: Venue, today: date) -> Iterator[tuple[str, Fields, list[Fields]]]:
    for each in venue.content["sessions"]:
        rule = dict(each["recurring_config"])
        rule["start_time"], rule["end_time"] = rule.pop("valid_from"), rule.pop("valid_until")
        own = {
            "capacity": each["capacity"],
            "opens_days_before": each["opens_days_before"],
            "active": each["status"] == "active",
            "data": {"note": each["description"], "unit": "places"},
        }
        yield each["name"], own, _rules(rule, _moment(each["start_date"], today), venue)


def _students(venue: Venue, today: date) -> Iterator[tuple[str, Fields, list[Fields]]]:
    for student in venue.content["students"]:
        own = {"capacity": student["guest_seats"], "data": {"note": student["course"], "unit": "seats"}}
        start = _moment(student["start_date"], today)
        yield student["name"], own, _rules(student["fixed_schedule"], start, venue)


_SHAPES: dict[str, Callable[[Venue, date], Iterator[tuple[str, Fields, list[Fields]]]]] = {
    "games": _games,
    "events": _events,
    "jobs": _jobs,
    "sessions": _sessions,
    "students": _students,
}


def _rules(value: Any, start: datetime, venue: Venue) -> list[Fields]:
    return template_fields(value, dtstart=start, timezone=venue.timezone)


def _moment(text: str, today: date) -> datetime:
    """Read a date or a wall-clock time, absolute or relative to today."""
    absolute = _RELATIVE.sub(lambda found: f"{today + timedelta(days=int(found[1]))}", text)
    return datetime.fromisoformat(absolute)
