"""What calendar programs subscribe to: templates as iCalendar, from last month on and without an end.

The same writer as for exported files. A feed is read again and again, by programs that compare, and nobody looks at
it: so it leaves out what is long past, says what no rule can say as single dates, and skips a template that is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from .. import planning
from ..errors import InvalidRequest, RollingSlotsError
from ..recurrence import Recurrence
from ..recurrence.zones import instant_of, minus, plus
from ..values import TemplateSpec, Window
from .entries import Decision, Outgoing
from .ics_rules import Component, components
from .ics_writing import Ink, events_of, visible

#: How far single dates go where no rule can be written, or the rule has ended.
_LISTED = timedelta(days=366)
#: A zone moves a wall clock time by less than a day, and a gap by at most a day.
_SLACK = timedelta(days=2)
_TICK = timedelta(minutes=1)
#: How often programs are asked to look again.
_REFRESH = "PT1H"


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feed is written with.

    :param now: aware.
    :param host: what makes UIDs unique on earth.
    :param name: how calendar programs call it.
    :param complain: called with each template that cannot be written, and why.
    :param most: how many events it may have.
    """

    now: datetime
    host: str
    name: str
    complain: Callable[[TemplateSpec, Exception], None]
    most: int = 20_000

    @property
    def period(self) -> datetime:
        """Since when the feed begins where it begins, aware: it moves on with each month, not with each look."""
        return self.now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    @property
    def since(self) -> datetime:
        """The first day of the last month: its midnight, naive, in any zone."""
        return (self.period - timedelta(days=1)).replace(day=1, tzinfo=None)


def feed_bytes(templates: Iterable[Outgoing], feed: Feed) -> bytes:
    """Return one VCALENDAR; the same templates give the same bytes within a month.

    :raises InvalidRequest: if it has too many events.
    :raises ConfigError: if icalendar is not installed.
    """
    ink = Ink(feed.host)
    events = (event for out in templates if out.spec.active for event in _feed_events(ink, out, feed))
    calendar = ink.calendar(
        _bounded(events, feed.most), x_wr_calname=feed.name, name=feed.name, x_published_ttl=_REFRESH
    )
    refresh = ink.package.vText(_REFRESH)
    refresh.params["VALUE"] = "DURATION"
    calendar.add("refresh-interval", refresh, encode=0)
    found: bytes = calendar.to_ical()
    return found


def _bounded(events: Iterable[Any], most: int) -> Iterator[Any]:
    for number, event in enumerate(events):
        if number == most:
            expected = f"at most {most:,} events: ask for a template or a group"
            raise InvalidRequest(
                f"the calendar is too large: expected {expected}", field="template", expected=expected
            )
        yield event


def last_change(templates: Iterable[Outgoing], feed: Feed) -> datetime:
    """Return when the feed became what it is, aware."""
    changes = [feed.period]
    for out in templates:
        changes += [out.stamp, *(each.changed_at for each in out.decisions if each.changed_at)]
    return max(changes)


def _feed_events(ink: Ink, out: Outgoing, feed: Feed) -> Iterator[Any]:
    """Yield the events of a template; all of them or none."""
    try:
        recent = _with_ended(_recent(out, feed))
        yield from list(events_of(ink, recent, _parts(recent, feed)))
    except (RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError) as error:
        feed.complain(out.spec, error)


def _recent(out: Outgoing, feed: Feed) -> Outgoing:
    """Return a template as if it had begun last month."""
    spec = out.spec
    first = minus(feed.since, spec.shift)
    moment = instant_of(feed.since, ZoneInfo(spec.timezone))
    decisions = tuple(
        each
        for each in out.decisions
        if each.original_start >= first or (each.starts_at is not None and each.starts_at >= moment)
    )
    if min((spec.dtstart, *spec.rdates)) < first:
        spec = replace(spec, active_from=max(first, spec.active_from or first))
    return replace(out, spec=spec, decisions=decisions, changed_at=max(out.stamp, feed.period))


def _with_ended(out: Outgoing) -> Outgoing:
    """Return a series that somebody ended, with what still shows of it: cancelled slots, and those that are booked.

    The rule goes on for as long as they do, at most a year, and leaves out what has no row.
    """
    spec, end = out.spec, out.spec.cancelled_from
    if end is None:
        return out
    end = max(end, spec.active_from or min((spec.dtstart, *spec.rdates)))
    shown = [start for start in visible(out) if end <= start < plus(end, _LISTED)]
    if not shown:
        return out
    cut = plus(max(shown), _TICK)
    spec = replace(spec, cancelled_from=None, active_until=min(cut, spec.active_until or cut))
    zone = ZoneInfo(spec.timezone)
    span = Window(instant_of(end + spec.shift, zone) - _SLACK, instant_of(cut + spec.shift, zone) + _SLACK)
    known = {each.original_start for each in out.decisions}
    absent = {slot.original_start for slot in planning.planned(spec, span)} - known
    gone = (Decision(original_start=each, status="deleted") for each in sorted(absent) if each >= end)
    return replace(out, spec=spec, decisions=(*out.decisions, *gone))


def _parts(out: Outgoing, feed: Feed) -> list[Component]:
    """Return a template's components: rules, or single dates where iCalendar has no such rule."""
    spec = out.spec
    start = instant_of(feed.since, ZoneInfo(spec.timezone))
    try:
        found = components(spec, start, visible(out))
        for part in found:
            _ = part.rrule  # refused here, if it cannot be written
    except InvalidRequest:
        window = Window(start, start + _LISTED)
        starts = [slot.original_start for slot in planning.planned(spec, window)]
        return [_listed(spec, starts)] if starts else []
    return found


def _listed(spec: TemplateSpec, starts: list[datetime]) -> Component:
    days = Recurrence(None, starts[0], spec.timezone)
    return Component(days, timedelta(0), spec.shift, is_grid=False, extra=tuple(starts))
