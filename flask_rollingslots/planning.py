"""What the rules promise against what is stored: pure functions that every other room shares.

The same plan serves a top-up, a dry run, reading and health, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from .recurrence import Recurrence
from .recurrence.overlaps import Overlap, find_overlaps
from .recurrence.public_holidays import public_holiday
from .values import (
    Healing,
    Plan,
    PlannedSlot,
    SlotKey,
    Status,
    StoredSlot,
    TemplateSpec,
    Times,
    Window,
    local_midnight,
)

IN_THE_PAST = "in_the_past"
#: Leaves room for the local times of every zone before the calendar ends.
_LAST = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)
#: A zone moves a wall-clock time by less than a day, and a gap by at most a day.
_ZONE_SLACK = timedelta(days=2)
#: Starts that are no further apart are looked for in one expansion: a row a month is one, a row in ten years another.
_NEAR = timedelta(days=35)
#: How many neighbours that overlap are named.
_SHOWN_OVERLAPS = 3
EXCLUDED = "excluded"
HOLIDAY = "holiday"
BLACKOUT = "blackout"
CANCELLED = "cancelled"
DELETED = "deleted"
#: Stands in ``customised`` of a slot that a person brought back although its series has ended.
STAYS_ON = "status"


#: What makes a template's rule, beside its exclusions.
_RULE = ("rrule", "dtstart", "timezone", "rdates", "duration", "every", "until_time", "shift")
_rule_of = attrgetter(*_RULE)
_starts_of = attrgetter(*_RULE, "exdates", "holidays", "blackouts", "active", "cancelled_from", "ends_by")
#: What the times of slots follow from, and whether they may overlap.
OF_TIMES = (*_RULE, "exdates", "overlapping", "exclusive")


def recurrence_of(spec: TemplateSpec) -> Recurrence:
    """Return a template's rule, parsed.

    :raises InvalidRule: if the rule, the zone or the day grid is not valid.
    """
    return _recurrence(spec.exdates, *_rule_of(spec))


@lru_cache(maxsize=4096)
def _recurrence(exdates: tuple[datetime | date, ...], *rule: Any) -> Recurrence:
    # Parsing is pure, so an entry can never be stale; the bound keeps memory small.
    given = dict(zip(_RULE, rule, strict=True))
    given["shift"] = given["shift"] or timedelta(0)
    return Recurrence(exdates=exdates, **given)


def overlaps(spec: TemplateSpec) -> tuple[Overlap, ...]:
    """Return neighbours that the rule lets overlap each other, the first few; none, if it does not within a year.

    By original starts and the wall clock: changes of the clock aside.

    :return: pairs of original starts (naive).
    :raises InvalidRule: if the rule, the zone or the day grid is not valid.
    """
    found: tuple[Overlap, ...] = _overlaps(spec.exdates, _rule_of(spec), spec.active_from, spec.active_until)
    return found


@lru_cache(maxsize=4096)
def _overlaps(exdates: Any, rule: Any, active_from: datetime | None, end: datetime | None) -> Any:
    recurrence = _recurrence(exdates, *rule)
    length = rule[_RULE.index("duration")]
    return find_overlaps(
        recurrence, length, active_from or datetime.min, end or datetime.max, _SHOWN_OVERLAPS
    )


def window_of(spec: TemplateSpec, now: datetime, days: int, align: str) -> Window:
    """Return the rolling window of a template: its own number of days, or ``days``."""
    return rolling_window(spec, now, spec.window_days or days, align)


def rolling_window(spec: TemplateSpec, now: datetime, days: int, align: str) -> Window:
    """Return the window of so many local days of a template's zone, today included."""
    return Window.rolling(now, days, ZoneInfo(spec.timezone), align)


def promised(spec: TemplateSpec, window: Window) -> Iterator[tuple[PlannedSlot, str | None]]:
    """Yield what a template promises in a window, in order, with the reason why it is left out, if any.

    An inactive template promises nothing. Segment bounds count on original starts, the window on shown times.
    """
    zone = ZoneInfo(spec.timezone)
    for original_start, starts_at, reason in promised_starts(spec, window):
        yield planned_slot(spec, original_start, starts_at, zone), reason


def promised_starts(spec: TemplateSpec, window: Window) -> Iterator[tuple[datetime, datetime, str | None]]:
    """Yield (original start, start, reason) of what a template promises, without the other times of its slots.

    A reader needs no more of those that are stored.
    """
    if not spec.active:
        return
    zone, exdates, last = ZoneInfo(spec.timezone), frozenset(spec.exdates), spec.ends_before
    window = life_of(spec, window)
    latest = _LAST - spec.duration
    for original_start, starts_at in _recurrence((), *_rule_of(spec)).between(window.start, window.end):
        if spec.active_from is not None and original_start < spec.active_from:
            continue
        if last is not None and original_start >= last:
            continue
        if starts_at > latest:
            return  # it would end after the last day of the calendar
        excluded = exdates and (original_start in exdates or original_start.date() in exdates)
        yield original_start, starts_at, EXCLUDED if excluded else _left_out(spec, starts_at, zone)


def life_of(spec: TemplateSpec, window: Window) -> Window:
    """Return the part of a window in which a segment can promise anything, some days more rather than less.

    Without it, looking decades behind the end of a segment would expand its rule all the way.
    """
    start, end = window.start, window.end
    try:
        if spec.active_from is not None:
            start = max(start, (spec.active_from + spec.shift).replace(tzinfo=UTC) - _ZONE_SLACK)
        if spec.ends_before is not None:
            end = min(end, (spec.ends_before + spec.shift).replace(tzinfo=UTC) + _ZONE_SLACK)
    except OverflowError:
        return window
    return Window(min(start, end), end)


def planned(spec: TemplateSpec, window: Window) -> list[PlannedSlot]:
    """Return the planned slots of a template in a window: promised and not left out."""
    return [slot for slot, reason in promised(spec, window) if reason is None]


def planned_at(spec: TemplateSpec, original_start: datetime) -> PlannedSlot | None:
    """Return the planned slot of a template at one original start (naive), or ``None``."""
    starts_at = starts_around(spec, [original_start]).get(original_start)
    if starts_at is None:
        return None
    return planned_slot(spec, original_start, starts_at, ZoneInfo(spec.timezone))


def starts_around(
    spec: TemplateSpec, originals: Iterable[datetime], window: Window | None = None
) -> dict[datetime, datetime]:
    """Return original start (naive) -> start (UTC) of what a template promises around some starts, in order.

    The rule is expanded once, or once for each group of starts that lie far from each other.

    :param originals: original starts, naive, in any order; what is promised at them is found, and some around them.
    :param window: what is promised there is found, too.
    """
    spans = [] if window is None else [window]
    for original_start in originals:
        try:
            shown = (original_start + (spec.shift or timedelta(0))).replace(tzinfo=UTC)
            spans.append(Window(shown - _ZONE_SLACK, shown + _ZONE_SLACK))
        except OverflowError:  # at the ends of the calendar nothing is promised
            continue
    starts: dict[datetime, datetime] = {}
    for span in _joined(spans):
        found = promised_starts(spec, span)
        starts |= {original_start: starts_at for original_start, starts_at, reason in found if reason is None}
    return starts


def _joined(spans: list[Window]) -> list[Window]:
    """Return spans in order, those that are near each other as one."""
    joined: list[Window] = []
    for span in sorted(spans, key=lambda span: span.start):
        if joined and span.start - joined[-1].end <= _NEAR:
            joined[-1] = Window(joined[-1].start, max(span.end, joined[-1].end))
        else:
            joined.append(span)
    return joined


def planned_slot(
    spec: TemplateSpec, original_start: datetime, starts_at: datetime, zone: ZoneInfo
) -> PlannedSlot:
    """Return the slot of one occurrence, with its derived times (all UTC)."""
    return PlannedSlot(spec, *times_of(spec, original_start, starts_at, zone))


def times_of(spec: TemplateSpec, original_start: datetime, starts_at: datetime, zone: ZoneInfo) -> Times:
    """Return the times of one occurrence."""
    return Times(
        original_start,
        starts_at,
        starts_at + spec.duration,
        _opens_at(spec, starts_at, zone),
        starts_at - spec.closes_before if spec.closes_before else starts_at,
    )


def _opens_at(spec: TemplateSpec, starts_at: datetime, zone: ZoneInfo) -> datetime | None:
    if spec.opens_before is not None:
        return starts_at - spec.opens_before
    if spec.opens_days_before is not None:
        day = starts_at.astimezone(zone).date() - timedelta(days=spec.opens_days_before)
        return local_midnight(day, zone)
    return None


def grid_day(spec: TemplateSpec, original_start: datetime) -> date:
    """Return the local day that an occurrence belongs to: on which its day grid begins, or without one the start.

    Days off and days that are cancelled mean this day: what a grid has after midnight belongs to the evening before.
    """
    if spec.every is None:
        return (original_start + spec.shift).date()
    opening = spec.dtstart.time()
    since = timedelta(hours=opening.hour, minutes=opening.minute)
    begun = datetime.combine((original_start - since).date(), opening)
    return (begun + spec.shift).date()


def _left_out(spec: TemplateSpec, starts_at: datetime, zone: ZoneInfo) -> str | None:
    if not (spec.blackouts or spec.holidays):
        return None
    day = starts_at.astimezone(zone).date()
    if any(first <= day <= last for first, last in spec.blackouts):
        return BLACKOUT
    if spec.holidays and public_holiday(spec.holidays, day):
        return HOLIDAY
    return None


def plan(
    spec: TemplateSpec,
    window: Window,
    stored: Mapping[SlotKey, StoredSlot],
    now: datetime,
    *,
    backfill: bool = False,
) -> Plan:
    """Return the difference between what a template promises in a window and what is stored.

    :param stored: all rows of the series that are promised in the window or start in it.
    :param now: aware; nothing that has started by then is created, updated or removed.
    :param backfill: create past slots too.
    """
    result, seen = Plan(), set()
    zone = ZoneInfo(spec.timezone)
    for slot, reason in promised(spec, window):
        row = stored.get(slot.key)
        seen.add(slot.key)
        if reason is not None:
            result.skipped[reason] += 1
        if row is not None:
            if reason is None:
                _count(result, row)
            _heal(result, spec, row, slot.starts_at if reason is None else None, now, zone)
        elif reason is None and slot.starts_at <= now and not backfill:
            result.skipped[IN_THE_PAST] += 1
        elif reason is None:
            result.create.append(slot)
            result.expected += 1
    # By their original starts: a slot that was moved, by a person or a new zone table, is still promised elsewhere.
    others = [row for key, row in stored.items() if key not in seen and row.template_id == spec.id]
    here = [row for row in others if window.start <= row.starts_at < window.end]
    starts = offered_starts(spec, here) if here else {}
    for row in here:
        _heal(result, spec, row, starts.get(row.original_start), now, zone)
    return result


def settle(spec: TemplateSpec, rows: Iterable[StoredSlot], now: datetime) -> Plan:
    """Return what a template, as it is by now, means for stored rows wherever they are; nothing is created.

    :param rows: of this template, read wholly.
    """
    result, rows = Plan(), list(rows)
    starts, zone = offered_starts(spec, rows), ZoneInfo(spec.timezone)
    for row in rows:
        _heal(result, spec, row, starts.get(row.original_start), now, zone, wholly=True)
    return result


def offered_starts(spec: TemplateSpec, rows: Iterable[StoredSlot]) -> dict[datetime, datetime]:
    """Return original start (naive) -> start (UTC) of what a template offers of some rows.

    A slot that a person brought back although its series has ended is offered beyond that end.
    """
    rows = list(rows)
    starts = starts_around(spec, [row.original_start for row in rows])
    back = [row.original_start for row in rows if STAYS_ON in row.customised] if spec.cancelled_from else []
    if back:
        on = starts_around(replace(spec, cancelled_from=None), back)
        starts |= {original: on[original] for original in back if original in on}
    return starts


def by_now(spec: TemplateSpec, row: StoredSlot, now: datetime) -> dict[str, Any]:
    """Return the column values in which one stored slot, read wholly, is not as its template says by now."""
    starts_at = offered_starts(spec, [row]).get(row.original_start)
    return settled(spec, row, starts_at, now, ZoneInfo(spec.timezone))


def starts_alike(one: TemplateSpec, other: TemplateSpec) -> bool:
    """Whether two templates offer the same starts, bounds of segments aside, and end their slots alike."""
    return _starts_of(one) == _starts_of(other)


def _count(result: Plan, row: StoredSlot) -> None:
    result.existing += 1
    result.expected += 1
    if row.status in (Status.CANCELLED, Status.DELETED):
        result.skipped[row.status] += 1


def _heal(
    result: Plan,
    spec: TemplateSpec,
    row: StoredSlot,
    starts_at: datetime | None,
    now: datetime,
    zone: ZoneInfo,
    wholly: bool = False,
) -> None:
    """Sort out what becomes of a row; one that its rule lacks may go if only a top-up made it."""
    values = settled(spec, row, starts_at, now, zone, wholly)
    is_lost = values.get("withdrawn", row.withdrawn)
    if is_lost and row.starts_at > now and row.status == Status.SCHEDULED:
        if not (row.live or row.customised or row.has_history or row.run_id is None):
            result.remove.append(row)
            return
        if row.live or row.customised:
            result.kept_booked.append(row)
    if values:
        result.update.append(Healing(row, spec, values))


def settled(
    spec: TemplateSpec,
    row: Any,
    starts_at: datetime | None,
    now: datetime,
    zone: ZoneInfo,
    wholly: bool = True,
) -> dict[str, Any]:
    """Return the column values in which a stored slot is not as its template says by now.

    What a person changed on the slot stays, and so do the times of one that is booked: it is ``displaced`` then.
    Capacity and data follow the template although it is booked. What has started, or was decided, is left alone.

    :param row: a :class:`StoredSlot`, or anything with its fields.
    :param starts_at: when the rule has it; ``None``: the template does not offer it.
    :param wholly: compare the app's own fields too.
    """
    if row.status != Status.SCHEDULED or row.ends_at <= now:
        return {}
    is_ahead = row.starts_at > now
    if starts_at is not None and is_ahead and starts_at <= now and not (row.live or _is_moved(row)):
        starts_at = None  # by its rule it has started already, and what has started is not made any more
    values: dict[str, Any] = {"withdrawn": starts_at is None or None}
    if starts_at is not None and is_ahead:
        values |= _times_by_now(spec, row, starts_at, now, zone)
        values["capacity"] = spec.capacity
        if wholly:
            values["data"] = spec.data
        values = {name: value for name, value in values.items() if name not in row.customised}
    return {name: value for name, value in values.items() if (value or None) != (getattr(row, name) or None)}


def _is_moved(row: Any) -> bool:
    return "starts_at" in row.customised or "ends_at" in row.customised


def _times_by_now(
    spec: TemplateSpec, row: Any, starts_at: datetime, now: datetime, zone: ZoneInfo
) -> dict[str, Any]:
    """Return when a slot that is offered takes place: by its rule, unless it is booked or a person moved it."""
    rule = times_of(spec, row.original_start, starts_at, zone)
    if row.live or starts_at <= now:
        start, end = row.starts_at, row.ends_at
    else:
        start = row.starts_at if "starts_at" in row.customised else starts_at
        end = row.ends_at if "ends_at" in row.customised else rule.ends_at
        if "starts_at" in row.customised and "ends_at" not in row.customised:
            end = row.starts_at + spec.duration
    times = rule if start == starts_at else times_of(spec, row.original_start, start, zone)
    return {
        "starts_at": start,
        "ends_at": end,
        "opens_at": times.opens_at,
        "closes_at": times.closes_at,
        "displaced": (start, end) != (rule.starts_at, rule.ends_at) or None,
    }


def next_midnight(zones: Iterable[str], now: datetime) -> datetime:
    """Return the next moment at which a new day begins in any of the zones (at least one), UTC."""
    midnights = []
    for name in set(zones):
        zone = ZoneInfo(name)
        midnights.append(local_midnight(now.astimezone(zone).date() + timedelta(days=1), zone))
    return min(midnights)
