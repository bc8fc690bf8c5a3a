"""Slots as events of FullCalendar and of widgets that read the same JSON, such as EventCalendar.

Widgets differ in how they read a time: some convert the offset to the viewer's zone, others show the clock time as it
stands. Both are right if the offset is that of the clock shown; for those that convert with the offset of today, which
is wrong for half of the year, it can be left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from .. import browsing, planning
from ..browsing.viewing import VALUES
from ..context import Work
from ..errors import InvalidRequest, InvalidRule, RollingSlotsError, TooCostly, refusal
from ..models import TemplateMixin
from ..recurrence.zones import find_zone, instant_of, wall_of
from ..settings import MAX_EVENT_DAYS
from ..values import OCCUPYING, State, Steps, TemplateSpec, Window
from ..views import SlotView, TemplateView
from .entries import some, title_of

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
    r"(Z|(?P<sign>[-+ ])[0-9]{2}:?[0-9]{2})?)?"
)
_OFFSET = re.compile(r"[-+ ][0-9]{2}:[0-9]{2}")
#: Returns which keys of a template's ``data``, and own columns, are told; ``None``: all.
Shows = Callable[[TemplateView], Collection[str] | None]
#: How many events are one piece of an answer; of a template, how many titles are kept that slots have in common.
_IN_A_PIECE, _KEPT = 100, 1000
#: Clocks that are as far ahead of UTC, and behind it, as any on earth.
_AHEAD, _BEHIND = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


# -- a span


@dataclass(frozen=True, slots=True)
class Span:
    """What a widget shows: ``start <= time < end``.

    :param start: aware, like ``end``; both naive for days of each template's own zone.
    :param zone: in which times are written; ``None``: each template's own.
    :param floating: whether times are written without their offset.
    """

    start: datetime
    end: datetime
    zone: tzinfo | None = None
    floating: bool = False

    def instants(self, zones: Collection[str] = ()) -> tuple[datetime, datetime]:
        """Return aware bounds that hold the span in some zones; in none: wherever on earth its clocks are."""
        if self.start.tzinfo is not None:
            return self.start, self.end
        with suppress(LookupError, ValueError, OSError, OverflowError):
            known = [ZoneInfo(name) for name in zones]
            if known:
                ends = (instant_of(self.end, zone) for zone in known)
                return min(instant_of(self.start, zone) for zone in known), max(ends)
        return _utc(self.start.replace(tzinfo=_AHEAD)), _utc(self.end.replace(tzinfo=_BEHIND))

    def holds(self, local: datetime) -> bool:
        """Whether a moment, aware and in the zone in which it is shown, lies in the span."""
        shown = local if self.start.tzinfo is not None else local.replace(tzinfo=None)
        return self.start <= shown < self.end

    def meets(self, start: datetime, end: datetime) -> bool:
        """Whether something that lasts from one such moment to another is seen in the span."""
        if self.start.tzinfo is None:
            start, end = start.replace(tzinfo=None), end.replace(tzinfo=None)
        return start < self.end and self.start < end

    def written(self, local: datetime) -> str:
        """Return how a moment is written."""
        return (local.replace(tzinfo=None) if self.floating else local).isoformat()


def read_span(start: str | None, end: str | None, zone_name: str | None, floating: bool) -> Span:
    """Return what the query arguments ``start``, ``end`` and ``timeZone`` of a widget ask for.

    Times without an offset are clock times of ``timeZone``. Without that they are the viewer's, whose zone is not
    known: the span is then wide enough for any, and the widget shows what it needs. Dates without ``timeZone`` are
    days of each template's own zone.

    :param floating: the widget shows clock times as they stand: they are written without offset, and without
        ``timeZone`` those of each template's own zone are asked for.
    :raises InvalidRequest: naming field, value and expectation.
    """
    zone = _zone(zone_name or "")
    begin, until = _read("start", start, zone), _read("end", end, zone)
    if (begin.tzinfo is None) != (until.tzinfo is None):
        raise refusal("end", end, "a time with an offset if start has one, and without if start has none")
    if until <= begin:
        raise refusal("end", end, f"a time after start = {start!r}")
    # By the clock, so that a quarter with a change of offset in it is not an hour too long.
    if until.replace(tzinfo=None) - begin.replace(tzinfo=None) > timedelta(days=MAX_EVENT_DAYS):
        raise refusal("end", end, f"a time at most {MAX_EVENT_DAYS} days after start")
    if begin.tzinfo is not None:
        return Span(_utc(begin), _utc(until), zone, floating)
    span = Span(begin, until, None, floating)
    is_days = len(start or "") == len(end or "") == len("2026-11-16")
    return span if is_days or floating else Span(*span.instants())


def _zone(name: str) -> tzinfo | None:
    if name in ("", "local"):  # the viewer's own
        return None
    try:
        if _OFFSET.fullmatch(name):
            return datetime.strptime(name.replace(" ", "+"), "%z").tzinfo
        return find_zone(name)[1]
    except (InvalidRule, ValueError):
        expected = "an IANA name such as Europe/Madrid, an offset such as +01:00, UTC or local"
        raise refusal("timeZone", name, expected) from None


def _read(field: str, value: str | None, zone: tzinfo | None) -> datetime:
    """Return a time: aware, or naive where neither it nor the widget says by which clock."""
    expected = "a time such as 2026-11-16T00:00:00+01:00, or a date"
    if value is None:
        raise InvalidRequest(f"{field} is missing: expected {expected}", field=field, expected=expected)
    found = _TIME.fullmatch(value)
    # A plus that was not encoded arrives as a space.
    text = "+".join(value.rsplit(" ", 1)) if found and found["sign"] == " " else value
    try:
        moment = datetime.fromisoformat(text if found else "")
    except ValueError:
        raise refusal(field, value, expected) from None
    if moment.tzinfo is not None or zone is None:
        return moment
    try:
        return instant_of(moment, zone).astimezone(zone)
    except OverflowError:
        raise refusal(field, moment.isoformat(), "a time within the years 1 to 9999") from None


def _utc(moment: datetime) -> datetime:
    return wall_of(moment, UTC).replace(tzinfo=UTC)


# -- slots


def slots_in(
    work: Work,
    span: Span,
    template_id: int | None,
    group: str | None,
    sees: Callable[[TemplateMixin], bool],
    reminders: bool = True,
) -> tuple[list[SlotView], dict[int, TemplateMixin]]:
    """Return the slots that may be seen in a span, or of which the reminder lies in it, stored and virtual ones.

    The slots are values. With them come the rows of the templates that may be seen, by id: for callbacks of an app.

    :param group: only the templates of this group; none is no error.
    :raises TemplateNotFound: if there is no such template.
    :raises InvalidRequest: if the rules promise too many slots; nothing was read of them then.
    """
    rows = {each.id: each for each in browsing.templates(work, template_id, group) if sees(each)}
    bounds = span.instants({each.timezone for each in rows.values()})
    before = {each.reminder_before for each in rows.values()} if reminders else set[Any]()
    windows = _windows(bounds, before - {None})
    seen = {number: TemplateView.of(each) for number, each in rows.items()}
    specs = list(map(VALUES.spec, seen.values()))
    most = work.settings.events_max
    if _may_exceed(specs, windows, most) and any(islice(_promises(specs, windows, work.steps), most, None)):
        expected = f"at most {most:,} events (ROLLINGSLOTS_EVENTS_MAX): ask for a shorter span, a template or a group"
        raise InvalidRequest(f"end: expected {expected}", field="end", expected=expected)
    slots = (each for window in windows for each in browsing.merged(work, seen, specs, window, True, VALUES))
    if len(windows) == 1:
        return list(slots), rows
    return list({slot.key: slot for slot in slots}.values()), rows


def _may_exceed(specs: Iterable[TemplateSpec], windows: Sequence[Window], most: int) -> bool:
    """Whether some templates might promise more than so many slots, by what a day has at most: mostly they cannot."""
    bound = 0
    for spec in specs:
        try:
            a_day = planning.recurrence_of(spec).most_a_day()
        except (RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError):
            continue  # only what is stored is shown
        # What lasts longer began before; and by the clocks of the zone, past midnight, there are some days more.
        bound += sum(a_day * ((each.end - each.start + spec.duration).days + 4) for each in windows)
    return bound > most


def _promises(specs: Iterable[TemplateSpec], windows: Iterable[Window], steps: Steps | None) -> Iterator[Any]:
    for spec in specs:
        try:
            for window in windows:
                yield from planning.promised_after(spec, window.start, window.end, steps=steps)
        except TooCostly:
            raise
        except (RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError):
            continue  # only what is stored is shown; reading says so


def _windows(bounds: tuple[datetime, datetime], reminders: Iterable[Any]) -> list[Window]:
    """Return where the slots start whose start or reminder is in a span: apart, in order."""
    start, end = bounds
    found: list[Window] = []
    with suppress(OverflowError):
        for before in sorted({timedelta(0), *reminders}):
            window = Window(start + before, end + before)
            if found and window.start <= found[-1].end:
                window = Window(found.pop().start, window.end)
            found.append(window)
    return found


# -- events
#
# They are written as text at once: a dict for each, which JSON then writes, takes three times as long. Whatever all
# slots of a template have in common is written once.

_BOOLEAN = {True: "true", False: "false"}


def events(
    slots: list[SlotView],
    span: Span,
    now: datetime,
    shows: Shows = lambda template: None,
    reminders: bool = True,
) -> list[dict[str, Any]]:
    """Return what :func:`event_texts` writes, as plain data."""
    found: list[dict[str, Any]] = json.loads("".join(event_texts(slots, span, now, shows, reminders)))
    return found


def event_texts(
    slots: list[SlotView],
    span: Span,
    now: datetime,
    shows: Shows = lambda template: None,
    reminders: bool = True,
) -> list[str]:
    """Return an event for each slot that is seen in the span, and each reminder in it, as a JSON array in pieces.

    State and places are of now. A slot that lasts whole local days has dates instead of times, as widgets ask for:
    those of its template's zone. All is written before the first piece is sent: what fails fails whole, and nobody who
    reads slowly keeps the database waiting. It takes no more memory than the slots did, for each is let go when it is
    written.

    :param slots: is empty afterwards.
    :param shows: returns which keys of a template's ``data``, and own columns, are told; ``None``: all.
    """
    looks: dict[int, _Look] = {}
    pieces, found = ["["], list[str]()
    slots.reverse()
    while slots:
        slot = slots.pop()
        look = looks.get(slot.template_id)
        if look is None:
            look = looks[slot.template_id] = _Look(slot.template, span, shows(slot.template), reminders)
        look.write(slot, now, found)
        if len(found) >= _IN_A_PIECE:
            pieces.append(", ".join(found))
            pieces.append(", ")
            found.clear()
    if not found and len(pieces) > 1:
        pieces.pop()  # nothing follows
    return [*pieces, ", ".join(found), "]"]


class _Look:
    """How the events of one template look, and what all of them say."""

    def __init__(
        self, template: TemplateView, span: Span, keys: Collection[str] | None, reminders: bool
    ) -> None:
        self._span, self._keys, self._data = span, keys, template.rolling_data
        self._zone = span.zone or ZoneInfo(template.timezone)
        self._shows_titles = keys is None or "summary" in keys
        self._reminds = reminders and template.reminder_before is not None
        self._titles: dict[tuple[str, str | None], str] = {}
        self._classes: dict[str, str] = {}
        self._has_own = bool(template.rolling_models.own.slot)
        self._about = json.dumps({"template_id": template.id, "group": template.group})[1:-1]

    def write(self, slot: SlotView, now: datetime, found: list[str]) -> None:
        """Add the events of a slot."""
        start, end = slot.starts_at.astimezone(self._zone), slot.ends_at.astimezone(self._zone)
        if self._span.meets(start, end):
            found.append(self._slot(slot, start, end, now))
        if self._reminds and slot.status in OCCUPYING:
            reminder = slot.reminder_at
            if reminder is not None and self._span.holds(moment := reminder.astimezone(self._zone)):
                found.append(self._reminder(slot, moment, start))

    def _slot(self, slot: SlotView, start: datetime, end: datetime, now: datetime) -> str:
        (state, is_bookable), capacity = slot.seen_at(now), slot.capacity
        left = max(0, capacity - slot.booked_at(now))
        reason = json.dumps(slot.cancel_reason) if state is State.CANCELLED else "null"
        details = (
            f'"state": "{state.value}", "is_bookable": {_BOOLEAN[is_bookable]}, "left": {left}, '
            f'"capacity": {capacity}, "cancel_reason": {reason}'
        )
        is_all_day, key = slot.is_all_day, slot.key
        if is_all_day:
            times = f"{slot.local_start:%Y-%m-%d}", f"{slot.local_end:%Y-%m-%d}"
        else:
            times = self._span.written(start), self._span.written(end)
        classes = self._classes.get(state) or self._class(state, "slot", state.value)
        return (
            f'{{"id": "{key}", "title": {self._title(slot)}, "start": "{times[0]}", "end": "{times[1]}", '
            f'"allDay": {_BOOLEAN[is_all_day]}, {classes}, {self._props("slot", slot, details)}}}'
        )

    def _reminder(self, slot: SlotView, moment: datetime, start: datetime) -> str:
        # It has no length, and names the slot that it is about.
        key, at = slot.key, self._span.written(moment)
        details = f'"slot": "{key}", "slot_start": "{self._span.written(start)}"'
        classes = self._classes.get("reminder") or self._class("reminder", "reminder")
        return (
            f'{{"id": "{key}/reminder", "title": {self._title(slot, "Reminder: ")}, "start": "{at}", "end": "{at}", '
            f'"allDay": false, {classes}, {self._props("reminder", slot, details)}}}'
        )

    def _title(self, slot: SlotView, prefix: str = "") -> str:
        name, summary = slot.name, None
        if self._shows_titles:
            data = slot.rolling_data
            summary = data.get("summary")
            summary = title_of(name, self._data, data) if isinstance(summary, str) else None
        place = (prefix + name, summary)
        known = self._titles.get(place)
        if known is None:
            known = json.dumps(prefix + (summary or name))
            if len(self._titles) < _KEPT:
                self._titles[place] = known
        return known

    def _class(self, place: str, *names: str) -> str:
        # FullCalendar 7 knows the one name, EventCalendar the other.
        classes = [f"rollingslots-{name}" for name in names]
        self._classes[place] = json.dumps({"className": " ".join(classes), "classNames": classes})[1:-1]
        return self._classes[place]

    def _props(self, kind: str, slot: SlotView, details: str) -> str:
        # None of them is called like what stands beside it.
        own = json.dumps(some(slot.rolling_shown, self._keys))[1:-1] if self._has_own else ""
        if own:
            own += ", "
        return (
            f'"extendedProps": {{"type": "{kind}", {self._about}, "is_virtual": {_BOOLEAN[slot.is_virtual]}, '
            f'"series_id": {slot.series_id}, "original_start": "{slot.original_start.isoformat()}", {own}{details}}}'
        )
