"""What the tests of feeds share: a site with the API, and calendars as other programs read them."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events
from helpers import Clock, Site, statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from werkzeug.test import TestResponse

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
TOKEN = "an-unguessable-token-for-the-tests-of-feeds"  # noqa: S105 (of a test)
#: Every evening in a zone with summer time; clocks change while it runs, in the year and in 2039.
EVENING: dict[str, Any] = {
    "name": "Evening",
    "group": "club",
    "rrule": "FREQ=DAILY",
    "dtstart": datetime(2026, 11, 1, 19),
    "timezone": "Europe/Madrid",
    "duration": timedelta(minutes=90),
    "every": None,
    "until_time": None,
}


class FeedSite(Site):
    """A site with the HTTP API."""

    def __init__(self, url: str, folder: Path, **config: Any) -> None:
        defaults = {
            "SECRET_KEY": "k" * 32,
            "ROLLINGSLOTS_API_PREFIX": "/api",
            "ROLLINGSLOTS_PUBLIC_READS": True,
            "ROLLINGSLOTS_PUBLIC_DATA": ("summary", "description", "location"),
        }
        config = {**defaults, **config}
        super().__init__(url, folder, Clock(NOW), **config)
        self.client = self.app.test_client()

    def evening(self, **fields: Any) -> Any:
        """Create and commit a template like EVENING."""
        return self.add(**{**EVENING, **fields})

    def get(self, path: str, status: int = 200, **options: Any) -> TestResponse:
        """Ask for something below the prefix."""
        response = self.client.get(f"/api{path}", **options)
        assert response.status_code == status, response.text
        return response

    def events(self, start: str, end: str, **query: Any) -> list[dict[str, Any]]:
        """Return the events of a span."""
        response = self.get("/feed.json", query_string={"start": start, "end": end, **query})
        found: list[dict[str, Any]] = response.get_json()
        return found

    def ics(self, **query: Any) -> str:
        """Return the calendar as it comes."""
        return self.get("/feed.ics", query_string=query).get_data(as_text=True)

    @contextmanager
    def queries(self) -> Iterator[list[str]]:
        """Collect the statements that are sent meanwhile."""
        with statements(self.db.engine) as found:
            yield found

    def shown(self, start: datetime, end: datetime, **filters: Any) -> list[tuple[Any, ...]]:
        """Return when the slots of a span start and end, and whether they are cancelled."""
        slots = self.slots.between(start, end, **filters)
        return sorted((s.starts_at, s.ends_at, s.status == "cancelled") for s in slots)


def unfolded(text: str) -> list[str]:
    """Return the lines of a calendar, whole."""
    return text.replace("\r\n ", "").split("\r\n")


def expanded(text: str, start: datetime, end: datetime) -> list[tuple[Any, ...]]:
    """Return what recurring-ical-events finds in a span: start, end, and whether it is cancelled."""
    calendar = icalendar.Calendar.from_ical(text)
    query = recurring_ical_events.of(calendar, skip_bad_series=False)
    found = []
    for each in query.between(start, end):
        # It has everything that lasts into the span; slots count by their start.
        begin = each["DTSTART"].dt.astimezone(UTC)
        if start <= begin < end:
            # A length by the stopwatch, where it adds wall-clock time.
            length = each["DURATION"].dt if "DURATION" in each else each["DTEND"].dt - each["DTSTART"].dt
            found.append((begin, begin + length, each.get("STATUS") == "CANCELLED"))
    return sorted(found)


def local(zone: str, *parts: int) -> datetime:
    """Return a wall-clock time of a zone as an instant."""
    return datetime(*parts, tzinfo=ZoneInfo(zone)).astimezone(UTC)  # type: ignore[misc,arg-type]
