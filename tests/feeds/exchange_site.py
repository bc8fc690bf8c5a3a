"""What the tests of files share: templates as plain data, the way through a file, a site with a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from helpers import Site

from flask_rollingslots import planning
from flask_rollingslots.feeds.entries import Entry, Override, StoredTemplate
from flask_rollingslots.feeds.exchange import read_file
from flask_rollingslots.feeds.ics_writing import ics_bytes
from flask_rollingslots.recurrence import Recurrence
from flask_rollingslots.values import TemplateSpec, Window

if TYPE_CHECKING:
    from click.testing import Result

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
CREATED = datetime(2025, 12, 1, 12, tzinfo=UTC)
WINDOW = Window(datetime(2025, 6, 1, tzinfo=UTC), datetime(2027, 12, 1, tzinfo=UTC))


def spec(**fields: Any) -> TemplateSpec:
    """Return a template as plain data: an hour every Friday night in Madrid, unless told otherwise."""
    plain: dict[str, Any] = {
        "id": 1,
        "series_id": 1,
        "revision": 1,
        "name": "Party",
        "group": None,
        "active": True,
        "rrule": "FREQ=WEEKLY;BYDAY=FR",
        "dtstart": datetime(2026, 1, 2, 22),
        "timezone": "Europe/Madrid",
        "duration": timedelta(hours=1),
    }
    return TemplateSpec(**{**plain, **fields})


def ics(template: TemplateSpec, *decisions: Override, now: datetime = NOW) -> str:
    """Return a template's .ics file, unfolded."""
    content = ics_bytes([StoredTemplate(template, CREATED, {}, decisions)], now).decode()
    return content.replace("\r\n ", "").replace("\r\n", "\n")


def lines(text: str, name: str) -> list[str]:
    """Return the lines of a file that begin with a property's name."""
    return [line for line in text.splitlines() if line.startswith((f"{name}:", f"{name};"))]


def read(text: str | bytes, timezone: str = "Europe/Madrid") -> list[Entry]:
    """Read a file."""
    return read_file(text.encode() if isinstance(text, str) else text, timezone)


def events(*bodies: str) -> str:
    """Return a calendar with an event for each body."""
    inside = "".join(f"BEGIN:VEVENT\n{body.strip()}\nEND:VEVENT\n" for body in bodies)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n{inside}END:VCALENDAR\n"


def event(body: str, timezone: str = "Europe/Madrid") -> Entry:
    """Read a calendar with one event."""
    (entry,) = read(events(body), timezone)
    return entry


def instants(entries: list[Entry], window: Window = WINDOW) -> set[datetime]:
    """Return when what was read starts, in a window."""
    return {
        each.starts_at
        for entry in entries
        for each in Recurrence(
            **{name: entry.fields[name] for name in ("rrule", "dtstart", "timezone", "rdates", "exdates")}
        ).between(window.start, window.end)
    }


def offered(template: TemplateSpec, window: Window = WINDOW) -> set[datetime]:
    """Return when a template's slots start, in a window."""
    return {slot.starts_at for slot in planning.planned(template, window)}


def entries(value: Any) -> list[Entry]:
    """Read a value as a JSON file."""
    return read(json.dumps(value))


def entry(value: Any) -> dict[str, Any]:
    """Read a value that is one template, and return its fields."""
    (found,) = entries(value)
    return found.fields


class Desk(Site):
    """A site with a terminal."""

    def run(self, *args: str, given: str | bytes | None = None) -> Result:
        """Run ``flask slots …`` with something on standard input."""
        return self.app.test_cli_runner().invoke(args=["slots", *args], input=given)

    def export(self, *args: str) -> Any:
        """Return the exported templates."""
        result = self.run("export", *args)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["templates"]

    def bring(self, value: Any, *args: str) -> Result:
        """Import a text, or a value as JSON."""
        text = value if isinstance(value, str | bytes) else json.dumps(value)
        return self.run("import", "-", *args, given=text)

    def templates(self) -> list[Any]:
        """Return all templates by id."""
        cls = self.slots.Template
        return list(self.session.scalars(self.db.select(cls).order_by(cls.id)))
