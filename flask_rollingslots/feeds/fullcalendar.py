"""Slots as events of FullCalendar and of widgets that read the same JSON, such as EventCalendar.

Pure: what a widget asks for, and what it gets. Widgets differ in how they read a time: some convert the offset to the
viewer's zone, others show the clock time as it stands. Both are right if the offset is that of the clock shown; for
those that convert with the offset of today, which is wrong for half of the year, it can be left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from ..errors import InvalidRequest, InvalidRule, refusal
from ..recurrence.zones import find_zone, instant_of
from ..values import State, Status
from .texts import title_of

MAX_DAYS = 92
_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    # A plus that was not encoded arrives as a space.
    r"(?:(?P<utc>Z)|(?P<sign>[-+ ])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2}))?)?"
)
_OFFSET = re.compile(r"(?P<sign>[-+ ])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2})")
#: Widgets say so where they mean the viewer's own zone.
_VIEWERS_ZONE = ("", "local")
#: How far clocks are ahead of UTC, and behind it.
_AHEAD, _BEHIND = timedelta(hours=14), timedelta(hours=12)
#: What a reminder can be about.
_TO_COME = (Status.SCHEDULED, Status.COMPLETED)


class SlotLike(Protocol):
    """What is read of a slot, stored or virtual."""

    series_id: int
    template: Any
    original_start: datetime
    starts_at: datetime
    ends_at: datetime
    status: str
    capacity: int
    cancel_reason: str | None
    data: dict[str, Any]

    @property
    def key(self) -> str: ...

    @property
    def is_virtual(self) -> bool: ...

    @property
    def reminder_at(self) -> datetime | None: ...

    def state_at(self, now: datetime) -> State: ...

    def booked_at(self, now: datetime) -> int: ...


@dataclass(frozen=True, slots=True)
class Span:
    """What a widget shows: ``start <= time < end``.

    :param start: aware; naive for days of each template's own zone.
    :param end: like ``start``.
    :param zone: in which times are written; ``None``: each template's own.
    :param floating: whether times are written without their offset.
    """

    start: datetime
    end: datetime
    zone: tzinfo | None = None
    floating: bool = False

    @property
    def instants(self) -> tuple[datetime, datetime]:
        """Aware bounds that hold the span wherever on earth its clocks are."""
        if self.start.tzinfo is not None:
            return self.start, self.end
        return _anywhere(self.start, self.end)

    def holds(self, local: datetime) -> bool:
        """Whether a moment, aware and in the zone in which it is shown, lies in the span."""
        shown = local if self.start.tzinfo is not None else local.replace(tzinfo=None)
        return self.start <= shown < self.end

    def written(self, local: datetime) -> str:
        """Return how a moment is written."""
        return (local.replace(tzinfo=None) if self.floating else local).isoformat()


def _anywhere(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return the instants between two naive times on any clock on earth."""
    return _moved(start, -_AHEAD), _moved(end, _BEHIND)


def _moved(naive: datetime, by: timedelta) -> datetime:
    try:
        return (naive + by).replace(tzinfo=UTC)
    except OverflowError:
        return naive.replace(tzinfo=UTC)


def read_span(given: Mapping[str, str], floating: bool = False) -> Span:
    """Return what the query arguments ``start``, ``end`` and ``timeZone`` ask for.

    Times without an offset are clock times of ``timeZone``. Without that they are the viewer's, whose zone is not
    known: the span is then wide enough for any, and the widget shows what it needs. Dates without ``timeZone`` are
    days of each template's own zone.

    :param floating: the widget shows clock times as they stand: they are written without offset, and without
        ``timeZone`` those of each template's own zone are asked for.
    :raises InvalidRequest: naming field, value and expectation.
    """
    zone = _zone(given.get("timeZone", ""))
    start, end = _read("start", given.get("start")), _read("end", given.get("end"))
    if zone is not None:
        start, end = _placed("start", start, zone), _placed("end", end, zone)
    if (start.tzinfo is None) != (end.tzinfo is None):
        raise refusal(
            "end", given.get("end"), "a time with an offset if start has one, and without if start has none"
        )
    if end <= start:
        raise refusal("end", given.get("end"), f"a time after start = {given.get('start')!r}")
    # By the clock, so that a quarter with a change of offset in it is not an hour too long.
    if end.replace(tzinfo=None) - start.replace(tzinfo=None) > timedelta(days=MAX_DAYS):
        raise refusal("end", given.get("end"), f"a time at most {MAX_DAYS} days after start")
    if start.tzinfo is not None:
        return Span(_utc(start), _utc(end), zone, floating)
    is_days = len(given["start"]) == len(given["end"]) == len("2026-11-16")
    return Span(start, end, None, floating) if is_days or floating else Span(*_anywhere(start, end))


def _zone(name: str) -> tzinfo | None:
    if name in _VIEWERS_ZONE:
        return None
    offset = _OFFSET.fullmatch(name)
    try:
        if offset is None:
            return find_zone(name)[1]
        ahead = timedelta(hours=int(offset["hours"]), minutes=int(offset["minutes"]))
        return timezone(-ahead if offset["sign"] == "-" else ahead)
    except (InvalidRule, ValueError):
        raise refusal(
            "timeZone", name, "an IANA name such as Europe/Madrid, an offset such as +01:00, UTC or local"
        ) from None


def _read(field: str, value: str | None) -> datetime:
    expected = "a time such as 2026-11-16T00:00:00+01:00, or a date"
    if value is None:
        raise InvalidRequest(f"{field} is missing: expected {expected}", field=field, expected=expected)
    found = _TIME.fullmatch(value)
    if found is None:
        raise refusal(field, value, expected)
    text = f"{found['day']}T{found['time'] or '00:00'}"
    if found["utc"]:
        text += "+00:00"
    elif found["hours"]:
        text += f"{'-' if found['sign'] == '-' else '+'}{found['hours']}:{found['minutes']}"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise refusal(field, value, expected) from None


def _placed(field: str, moment: datetime, zone: tzinfo) -> datetime:
    if moment.tzinfo is not None:
        return moment
    try:
        return instant_of(moment, zone).astimezone(zone)
    except OverflowError:
        raise refusal(field, moment.isoformat(), "a time within the years 1 to 9999") from None


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        edge = datetime.min if moment.year < 5000 else datetime.max
        return edge.replace(tzinfo=UTC)


# -- events


def events(slots: Iterable[SlotLike], span: Span, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield an event for each slot and each reminder whose time lies in the span.

    :param slots: by start.
    :param now: aware; the moment of ``state`` and ``left``.
    """
    zones: dict[str, ZoneInfo] = {}
    for slot in slots:
        name = slot.template.timezone
        zone = span.zone or zones.get(name) or zones.setdefault(name, ZoneInfo(name))
        start = slot.starts_at.astimezone(zone)
        if span.holds(start):
            yield _slot_event(slot, span.written(start), span.written(slot.ends_at.astimezone(zone)), now)
        reminder = slot.reminder_at if slot.status in _TO_COME else None
        if reminder is not None and span.holds(reminder.astimezone(zone)):
            yield _reminder_event(slot, span.written(reminder.astimezone(zone)), span.written(start))


def _slot_event(slot: SlotLike, start: str, end: str, now: datetime) -> dict[str, Any]:
    state = slot.state_at(now).value
    return {
        "id": slot.key,
        "title": title_of(slot.template.name, slot.template.data, slot.data),
        "start": start,
        "end": end,
        **_classes("rollingslots-slot", f"rollingslots-{state}"),
        "extendedProps": {
            **_about("slot", slot),
            "state": state,
            "left": max(0, slot.capacity - slot.booked_at(now)),
            "capacity": slot.capacity,
            "cancel_reason": slot.cancel_reason if state == State.CANCELLED else None,
        },
    }


def _reminder_event(slot: SlotLike, moment: str, start: str) -> dict[str, Any]:
    """Return the event of a reminder: it has no length, and names the slot that it is about."""
    return {
        "id": f"{slot.key}/reminder",
        "title": f"Reminder: {title_of(slot.template.name, slot.template.data, slot.data)}",
        "start": moment,
        "end": moment,
        **_classes("rollingslots-reminder"),
        "extendedProps": {**_about("reminder", slot), "slot": slot.key, "slot_start": start},
    }


def _classes(*names: str) -> dict[str, Any]:
    """Return the CSS classes of an event: FullCalendar 7 knows the one name, EventCalendar the other."""
    return {"className": " ".join(names), "classNames": list(names)}


def _about(kind: str, slot: SlotLike) -> dict[str, Any]:
    return {
        "type": kind,
        "is_virtual": slot.is_virtual,
        "series_id": slot.series_id,
        "original_start": slot.original_start.isoformat(),
        "template_id": slot.template.id,
        "group": slot.template.group,
    }
