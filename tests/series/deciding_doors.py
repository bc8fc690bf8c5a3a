"""The doors of a site: what is committed behind them, what each shows, and how each is asked to decide."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from deciding_model import PER_PERSON, Booking, Committed, Key, Row, Segment
from helpers import Clock, Site
from sqlalchemy import Connection, NullPool, create_engine, text

from flask_rollingslots.errors import RollingSlotsError

TOKEN = "-".join(["of-the-deciding-machine"] * 2)
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


# -- what is committed


def _moment(value: Any) -> Any:
    if value is None:
        return None
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _wall(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _span(value: int | None) -> Any:
    return None if value is None else timedelta(seconds=value)


def _clock(value: Any) -> Any:
    if isinstance(value, timedelta):
        return (datetime(2000, 1, 1) + value).time()
    return time.fromisoformat(value) if isinstance(value, str) else value


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _exdate(value: str) -> Any:
    return datetime.fromisoformat(value) if "T" in value else date.fromisoformat(value)


def _segment(row: Any) -> Segment:
    return Segment(
        id=row.id, series=row.series_id, name=row.name, group=row.group_name, active=bool(row.active), rrule=row.rrule,
        dtstart=_wall(row.dtstart), zone=row.timezone, duration=_span(row.duration), every=_span(row.every),
        until=_clock(row.until_time), capacity=row.capacity,
        exdates=frozenset(_exdate(each) for each in _json(row.exdates) or ()),
        blackouts=tuple((date.fromisoformat(a), date.fromisoformat(b)) for a, b in _json(row.blackouts) or ()),
        holidays=row.holidays, opens_before=_span(row.opens_before), closes_before=_span(row.closes_before),
        closes_days_before=row.closes_days_before, closes_time=_clock(row.closes_time), resource=row.resource,
        resource_shared=bool(row.resource_shared),
        exclusive=bool(row.exclusive), overlapping=bool(row.overlapping), data=_json(row.data) or {},
        active_from=_wall(row.active_from), active_until=_wall(row.active_until),
        cancelled_from=_wall(row.cancelled_from), shift=_span(row.shift),
        is_settled=row.settled_revision == row.revision,
        per_person=tuple(getattr(row, name) for name in PER_PERSON),
    )  # fmt: skip


def _row(row: Any) -> Row:
    return Row(
        id=row.id, key=(row.series_id, _wall(row.original_start)), template=row.template_id,
        start=_moment(row.starts_at), end=_moment(row.ends_at), opens_at=_moment(row.opens_at),
        closes_at=_moment(row.closes_at), status=row.status, capacity=row.capacity, booked=row.booked,
        data=_json(row.data) or {}, customised=frozenset(_json(row.customised) or ()), own_name=row.own_name,
        withdrawn=bool(row.withdrawn), displaced=bool(row.displaced), with_series=bool(row.ended_with_series),
        by_run=row.run_id is not None, queue=tuple(map(tuple, _json(row.queue) or ())), waits_for=row.waits_for,
    )  # fmt: skip


def read_committed(connection: Connection, now: datetime) -> Committed:
    """Read everything that is committed, past every layer of the library."""
    templates = connection.execute(text("SELECT * FROM rolling_template"))
    slots = connection.execute(text("SELECT * FROM rolling_slot")).all()
    bookings = connection.execute(
        text("SELECT id, slot_id, party, status, expires_at, who FROM rolling_booking")
    )
    rows = {row.key: row for row in map(_row, slots)}
    assert len(rows) == len(slots), "two rows for one key"
    return Committed(
        now,
        {segment.id: segment for segment in map(_segment, templates)},
        rows,
        {b.id: Booking(b.id, b.slot_id, b.party, b.status, _moment(b.expires_at), b.who) for b in bookings},
    )


# -- doors


class Refusal(Exception):
    """A door said no, in words."""


@dataclass
class Ask:
    """A decision as each door takes it; a door that has no call for it is empty.

    :param facade: what is called with the site's slots; the machine commits.
    :param http: method, path and body.
    :param command: the words after ``flask slots``.
    :param orm: what is done to the objects of the session; the machine commits.
    """

    facade: Callable[[Any], Any] | None = None
    http: tuple[str, str, dict[str, Any] | None] | None = None
    command: list[str] | None = None
    orm: Callable[[Any], Any] | None = None

    @property
    def doors(self) -> list[str]:
        """The doors that have a call for it."""
        return [name for name in ("facade", "http", "command", "orm") if getattr(self, name) is not None]


class Died(BaseException):
    """The process ends here."""


@dataclass
class Shown:
    """What a door says of a slot."""

    start: datetime
    end: datetime
    state: str
    capacity: int
    left: int
    name: str | None = None
    data: dict[str, Any] | None = field(default=None)

    def basis(self) -> tuple[Any, ...]:
        """Return what every door says."""
        return self.start, self.end, self.state, self.capacity, self.left


class Doors:
    """A site whose clock stands still, with every door open, and a window of its own on the database."""

    def __init__(self, url: str, folder: Path, now: datetime, **config: Any) -> None:
        names = {"ROLLINGSLOTS_API_PREFIX": "/api", "ROLLINGSLOTS_API_TOKEN": TOKEN}
        self.site = Site(url, folder, Clock(now), **names, **config)
        self.clock, self.slots = self.site.clock, self.site.slots
        self.window = create_engine(url, poolclass=NullPool)
        self.client = self.site.app.test_client()

    def committed(self) -> Committed:
        """Return what is committed."""
        with self.window.connect() as connection:
            return read_committed(connection, self.clock.now)

    # -- asking

    def ask(self, door: str, ask: Ask) -> Any:
        """Ask at a door; :class:`Refusal` if it says no."""
        try:
            if door in ("facade", "orm"):
                return self._inside(ask.facade if door == "facade" else ask.orm)
            return self._http(*ask.http) if door == "http" else self._command(ask.command or [])  # type: ignore[misc]
        finally:
            self.site.session.remove()

    def _inside(self, act: Any) -> Any:
        try:
            made = act(self.slots)
            found = made.id if hasattr(made, "party") else made
            self.site.session.commit()
        except RollingSlotsError as error:
            self.site.session.rollback()
            raise Refusal(f"{type(error).__name__}: {error}") from None
        return found

    def _http(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        more = {} if body is None else {"json": body}
        response = self.client.open(f"/api{path}", method=method, headers=HEADERS, **more)
        assert response.status_code < 500, response.get_data(as_text=True)
        if response.status_code >= 400:
            raise Refusal(f"{response.status_code}: {response.get_data(as_text=True)}")
        found = response.get_json() if response.data else None
        return found["id"] if isinstance(found, dict) and "party" in found else found

    def _command(self, words: list[str]) -> Any:
        result = self.site.app.test_cli_runner().invoke(args=["slots", *words])
        assert "Traceback" not in result.output, result.output
        if result.exit_code:
            raise Refusal(result.output)
        return result.output

    # -- looking

    def between(self, first: datetime, end: datetime) -> dict[str, Shown]:
        """Return what the facade shows of a span."""
        found = {slot.key: self._of(slot) for slot in self.slots.between(first, end)}
        self.site.session.remove()
        return found

    def get(self, key: str) -> Shown:
        """Return what the facade shows of one slot."""
        found = self._of(self.slots.get(key))
        self.site.session.remove()
        return found

    @staticmethod
    def _of(slot: Any) -> Shown:
        name = slot.name if hasattr(slot, "name") else slot.template.name
        return Shown(
            slot.starts_at,
            slot.ends_at,
            str(slot.state.value),
            slot.capacity,
            slot.left,
            name,
            dict(slot.data),
        )

    def listed(self, first: datetime, end: datetime) -> dict[str, Shown]:
        """Return what ``GET /slots`` shows of a span."""
        query = {"start": first.isoformat(), "end": end.isoformat()}
        answer = self.client.get("/api/slots", query_string=query, headers=HEADERS).get_json()
        assert answer["next"] is None
        return {each["key"]: self._answer(each) for each in answer["items"]}

    def asked(self, key: str) -> Shown:
        """Return what ``GET /slots/<key>`` shows."""
        response = self.client.get(f"/api/slots/{key}", headers=HEADERS)
        assert response.status_code == 200, response.get_data(as_text=True)
        return self._answer(response.get_json())

    @staticmethod
    def _answer(each: dict[str, Any]) -> Shown:
        start, end = (datetime.fromisoformat(each[name]) for name in ("starts_at", "ends_at"))
        return Shown(start, end, each["state"], each["capacity"], each["left"], each["name"], each["data"])

    def fed(self, first: datetime, end: datetime) -> dict[str, Shown]:
        """Return what ``GET /feed.json`` shows in a span."""
        query = {"start": first.isoformat(), "end": end.isoformat(), "timeZone": "UTC"}
        answer = self.client.get("/api/feed.json", query_string=query, headers=HEADERS).get_json()
        found = {}
        for event in answer:
            start, until = (datetime.fromisoformat(event[name]) for name in ("start", "end"))
            more = event["extendedProps"]
            found[event["id"]] = Shown(
                start.astimezone(UTC), until.astimezone(UTC), more["state"], more["capacity"], more["left"]
            )
        return found

    def by_database(self) -> dict[Key, tuple[str, int]]:
        """Return state and places left of all rows, as SQL says them."""
        slot = self.slots.Slot
        query = self.site.db.select(slot.series_id, slot.original_start, slot.state, slot.left)
        found = {(r[0], r[1]): (str(r[2]), int(r[3])) for r in self.site.session.execute(query)}
        self.site.session.remove()
        return found

    def explained(self, template: int, moment: datetime) -> str:
        """Return the code that ``explain`` gives."""
        found: str = self.slots.explain(template, moment).code
        self.site.session.remove()
        return found

    def close(self) -> None:
        """Let go of everything."""
        with self.site.app.app_context():
            self.site.db.engine.dispose()
        self.window.dispose()


def key_text(key: Key) -> str:
    """Return a key as doors write it."""
    return f"{key[0]}@{key[1]:%Y%m%dT%H%M}"
