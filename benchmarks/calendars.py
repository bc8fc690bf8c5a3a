"""What the calendar feeds cost: 10,000 events through the HTTP API, beside the same texts from a bare query.

The bare side reads plain rows of what an event tells and writes the same number of events: dictionaries for
``feed.json``, ten joined lines for ``feed.ics``. It knows no states, no rules and no rights.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from time import process_time
from typing import Any

from werkzeug.test import create_environ

from flask_rollingslots.models import table_of

from .frame import Bench, Row, Side, at_most, benchmark
from .reading import HOURLY, fill
from .site import MIDNIGHT, Site

VENUE, DAYS = 5, 84
EVENTS = VENUE * 24 * DAYS
#: Slots that are not as their rule says, each an event of ``feed.ics`` beside the rules.
CHANGED = 4_800
BOUND = at_most(2)
_JSON = ("/api/feed.json", "start=2026-03-02T00:00:00Z&end={end:%Y-%m-%d}T00:00:00Z")
_EVENT = (
    "BEGIN:VEVENT\r\nUID:{0}@localhost\r\nDTSTAMP:{1}\r\nRECURRENCE-ID:{2}\r\nDTSTART:{3}\r\nDTEND:{4}\r\n"
    "SUMMARY:{5}\r\nSTATUS:CONFIRMED\r\nSEQUENCE:0\r\nTRANSP:OPAQUE\r\nEND:VEVENT\r\n"
)


class Feeds:
    """A venue whose slots are stored, some of them changed by a person, and both ways to write its calendars."""

    def __init__(self, bench: Bench) -> None:
        """Make it."""
        self.site = Site(
            bench.database("sqlite"),
            ROLLINGSLOTS_API_PREFIX="/api",
            ROLLINGSLOTS_PUBLIC_READS=True,
            ROLLINGSLOTS_EVENTS_MAX=2 * EVENTS,
            ROLLINGSLOTS_FEED_HOST="slots.example",
        )
        bench.closing(self.site.close)
        with self.site.app.app_context():
            self.site.add(VENUE, group="venue", **HOURLY)
            fill(self.site, DAYS)
            slot = table_of(self.site.slots.Slot)
            first = self.site.db.select(slot.c.id).order_by(slot.c.id).limit(CHANGED)
            changed = slot.update().where(slot.c.id.in_(first.scalar_subquery()))
            self.site.db.session.execute(changed.values(own_name="Tournament", customised=["name"]))
            self.site.db.session.commit()
            self.site.db.session.remove()

    def get(self, path: str, query: str = "") -> tuple[int, int]:
        """Ask as a server would, piece by piece; return how many events and bytes came."""
        asked = create_environ(path, query_string=query)
        events = size = 0
        pieces = self.site.app.wsgi_app(asked, lambda status, headers, exc_info=None: lambda data: None)
        for piece in pieces:
            events += piece.count(b'"id": ') + piece.count(b"BEGIN:VEVENT") + piece.count(b'"id":"')
            size += len(piece)
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
        return events, size

    def json(self, days: int = DAYS) -> int:
        """Return how many events ``feed.json`` has for so many days."""
        path, query = _JSON
        return self.get(path, query.format(end=MIDNIGHT + timedelta(days=days)))[0]

    def ics(self) -> int:
        """Return how many events ``feed.ics`` has of the slots that were changed."""
        return self.get("/api/feed.ics")[0]

    def _rows(self, condition: Any) -> Any:
        slot = self.site.slots.Slot
        told = (slot.id, slot.series_id, slot.template_id, slot.original_start, slot.starts_at, slot.ends_at)
        query = self.site.db.select(*told, slot.status, slot.capacity, slot.booked, slot.data, slot.own_name)
        return self.site.db.session.execute(query.where(condition).order_by(slot.starts_at))

    def bare_json(self) -> int:
        """Write as many events of as many fields from a bare query."""
        slot = self.site.slots.Slot
        with self.site.app.app_context():
            events = [
                {
                    "id": f"{row.series_id}@{row.original_start:%Y%m%dT%H%M}",
                    "title": row.own_name or "Hall",
                    "start": row.starts_at.isoformat(),
                    "end": row.ends_at.isoformat(),
                    "allDay": False,
                    "extendedProps": {
                        "series_id": row.series_id,
                        "template_id": row.template_id,
                        "original_start": row.original_start.isoformat(),
                        "state": row.status,
                        "capacity": row.capacity,
                        "left": row.capacity - row.booked,
                        **row.data,
                    },
                }
                for row in self._rows(
                    (slot.starts_at >= MIDNIGHT) & (slot.starts_at < MIDNIGHT + timedelta(days=DAYS))
                )
            ]
            self.site.db.session.remove()
        return json.dumps(events).count('"id": ')

    def bare_ics(self) -> int:
        """Write as many events from a bare query."""
        slot, stamp = self.site.slots.Slot, _utc(MIDNIGHT)
        with self.site.app.app_context():
            text = "".join(
                _EVENT.format(
                    row.series_id,
                    stamp,
                    _utc(row.original_start),
                    _utc(row.starts_at),
                    _utc(row.ends_at),
                    row.own_name,
                )
                for row in self._rows(slot.own_name.is_not(None))
            )
            self.site.db.session.remove()
        return len(text.encode()) and text.count("BEGIN:VEVENT")


def _utc(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%S}Z"


def peak(act: Callable[[], object]) -> int:
    """Return the most memory that something takes, in bytes."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@benchmark("calendars")
def calendars(bench: Bench) -> Iterator[Row]:
    """feed.json and feed.ics of 10,000 events beside the same from a bare query; their memory."""
    feeds = Feeds(bench)
    json_count, ics_count = feeds.json(), feeds.ics()
    for what, count, ours, bare, check in (
        (f"feed.json of {json_count:,} events, each", json_count, feeds.json, feeds.bare_json, _equal),
        (f"feed.ics of {ics_count:,} events, each", ics_count, feeds.ics, feeds.bare_ics, _rules_beside),
    ):
        sides = (
            Side("HTTP API", ours, calls=count, clock=process_time),
            Side("bare query, same feed", bare, calls=count, clock=process_time),
        )
        yield bench.compare(what, *sides, BOUND, check=check)
    few, many = DAYS // 10, DAYS
    amounts = [peak(lambda days=days: feeds.json(days)) for days in (few, many)]  # type: ignore[misc]
    ratio = amounts[1] / amounts[0]
    names = f"feed.json of {VENUE * 24 * many:,} events", f"{VENUE * 24 * few:,} events"
    yield Row(
        bench.name, f"peak memory, {names[0]}", names[0], names[1], "B",
        amounts[1], amounts[0], ratio, ratio, ratio, amounts[1] - amounts[0], 1, at_most(2),
    )  # fmt: skip


def _equal(ours: int, bare: int) -> bool:
    return ours == bare


def _rules_beside(ours: int, bare: int) -> bool:
    """Whether ours has the same changed slots, and a few rules beside them."""
    return bare <= ours <= bare + 100 * VENUE
