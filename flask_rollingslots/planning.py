"""What the rules promise against what is stored: pure functions that every other room shares.

The same plan serves a top-up, a dry run, reading and health, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .recurrence import Recurrence
from .recurrence.days_off import days_off, joined_days
from .recurrence.overlaps import Overlap, find_overlaps
from .recurrence.recurrence_set import Lattice, first_of_day
from .recurrence.zones import instant_of, offset_at, reached_at, steady_spans, steady_until, wall_of
from .values import (
    MICROSECOND,
    YEARS,
    Healing,
    Occurrence,
    Plan,
    PlannedSlot,
    Shifted,
    SlotKey,
    Status,
    Steps,
    StoredSlot,
    TemplateSpec,
    Times,
    Window,
    local_midnight,
)

IN_THE_PAST = "in_the_past"
#: Leaves room for the local times of every zone before the calendar ends.
_LAST = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)
_FIRST = datetime.min.replace(tzinfo=UTC)
#: Where no ordinary length leads beyond the calendar, and how long a window and all lengths may be to be ordinary.
_ORDINARY = Window(datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))
_ORDINARY_LENGTH = timedelta(days=400)
_DAY = timedelta(days=1)
#: A zone moves a wall-clock time by less than a day, and a gap by at most a day.
_ZONE_SLACK = timedelta(days=2)
#: Starts that are no further apart are looked for in one expansion: a row a month is one, a row in ten years another.
_NEAR = timedelta(days=35)
#: How many neighbours that overlap are named.
_SHOWN_OVERLAPS = 3
EXCLUDED = "excluded"
CLOCK_CHANGE = "clock_change"
CANCELLED = "cancelled"
DELETED = "deleted"
#: Stands in ``customised`` of a slot that a person brought back although its series has ended.
STAYS_ON = "status"

#: What makes a template's rule, beside its exclusions.
_RULE = ("rrule", "dtstart", "timezone", "rdates", "duration", "every", "until_time", "shift")
_rule_of = attrgetter(*_RULE)
_starts_of = attrgetter(*_RULE, "exdates", "holidays", "blackouts", "active", "cancelled_from", "ends_by")
#: What the times of slots follow from, and whether they may overlap.
OF_TIMES = (*_RULE, "exdates", "overlapping", "exclusive", "pool")


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


def window_length(spec: TemplateSpec, days: int, align: str) -> int:
    """Return how many days the rolling window of a template may have."""
    return (spec.window_days or days) + (6 if align == "week" else 0)


def rolling_window(spec: TemplateSpec, now: datetime, days: int, align: str) -> Window:
    """Return the window of so many local days of a template's zone, today included."""
    return Window.rolling(now, days, ZoneInfo(spec.timezone), align)


def promised(
    spec: TemplateSpec, window: Window, steps: Steps | None = None
) -> Iterator[tuple[PlannedSlot, str | None]]:
    """Yield what a template promises in a window, in order, with the reason why it is left out, if any.

    An inactive template promises nothing. Segment bounds count on original starts, the window on shown times.
    """
    zone = ZoneInfo(spec.timezone)
    for original_start, starts_at, reason in promised_starts(spec, window, steps):
        yield planned_slot(spec, original_start, starts_at, zone), reason


def promised_starts(
    spec: TemplateSpec, window: Window, steps: Steps | None = None
) -> Iterator[tuple[datetime, datetime, str | None]]:
    """Yield (original start, start, reason) of what a template promises, without the other times of its slots.

    A reader needs no more of those that are stored.

    :param steps: counts what is looked at, what is left out too.
    """
    left_out = exclusions(spec)
    for part in promised_parts(spec, window):
        if isinstance(part, Window):
            yield from promised_near(spec, part, left_out, steps)
            continue
        found = part.lattice.shown(part.ahead)
        for original_start, starts_at in found if steps is None else steps.counting(found):
            yield original_start, starts_at, left_out and left_out(original_start, None)


class Steady(NamedTuple):
    """What a template promises while the clocks of its zone do not change, what it leaves out included.

    :param lattice: the original starts. ``ahead``: what is added to them for the start in UTC.
    """

    lattice: Lattice
    ahead: timedelta


def promised_parts(spec: TemplateSpec, window: Window) -> Iterator[Steady | Window]:
    """Cut what a template promises in a window: parts in which no clocks change, and around each change the window.

    Of the windows :func:`promised_near` tells more. Of a steady part all follows by addition.
    """
    if not spec.active:
        return
    window = life_of(spec, Window(window.start.astimezone(UTC), window.end.astimezone(UTC)))
    lengths = (window.end - window.start, spec.duration, spec.opens_before, spec.closes_before, spec.shift)
    is_ordinary = all(length is None or abs(length) <= _ORDINARY_LENGTH for length in lengths)
    if not is_ordinary or not _ORDINARY.start <= window.start <= window.end <= _ORDINARY.end:
        yield window
        return
    recurrence = _recurrence((), *_rule_of(spec))
    reach = spec.duration + _DAY  # until it ends, and a day in which no other name of the time can lie
    for start, end, offset in steady_spans(ZoneInfo(spec.timezone), window.start, window.end, reach):
        if offset is None:
            yield Window(start, end)
            continue
        ahead = spec.shift - offset
        lower, upper = start.replace(tzinfo=None) - ahead, end.replace(tzinfo=None) - ahead
        lower = max(lower, spec.active_from or lower)
        upper = min(upper, spec.ends_before or upper)
        if lower < upper:
            yield Steady(recurrence.lattice(lower, upper), ahead)


def promised_near(
    spec: TemplateSpec, window: Window, left_out: LeftOut | None, steps: Steps | None = None
) -> Iterator[tuple[datetime, datetime, str | None]]:
    """Yield (original start, start, reason) of what a template promises in a window, whatever its clocks do there.

    :param left_out: what :func:`exclusions` gives.
    """
    zone, last = ZoneInfo(spec.timezone), spec.ends_before
    recurrence = _recurrence((), *_rule_of(spec))
    latest = _LAST - spec.duration
    found = recurrence.named_between(window.start, window.end)
    for occurrence in found if steps is None else steps.counting(found):
        original_start, starts_at = occurrence
        if spec.active_from is not None and original_start < spec.active_from:
            continue
        if last is not None and original_start >= last:
            continue
        if starts_at > latest:
            return  # it would end after the last day of the calendar
        reason = left_out and left_out(original_start, starts_at)
        if reason is None and _is_left_by_clocks(spec, occurrence, recurrence, zone):
            reason = CLOCK_CHANGE
        yield original_start, starts_at, reason


def _is_left_by_clocks(
    spec: TemplateSpec, occurrence: Occurrence, recurrence: Recurrence, zone: ZoneInfo
) -> bool:
    """Whether a slot has no place of its own on a day on which the clocks are put forward."""
    if type(occurrence) is Shifted and not _fits(spec, occurrence, recurrence, zone):
        return True
    is_exact = spec.ends_by == "elapsed" and not spec.may_overlap
    return is_exact and _is_run_into(spec, occurrence, recurrence, zone)


def _is_run_into(spec: TemplateSpec, occurrence: Occurrence, recurrence: Recurrence, zone: ZoneInfo) -> bool:
    """Whether an earlier slot of exact length ends late on the wall, for the clocks went forward, and goes on here.

    The one that begins earlier stands.
    """
    original_start, starts_at = occurrence
    before = _minus(starts_at, spec.duration)
    if before.astimezone(zone).utcoffset() == starts_at.astimezone(zone).utcoffset():
        return False
    others = recurrence.between(before + MICROSECOND, starts_at)
    return any(other.original_start + spec.duration <= original_start for other in others)


def _fits(spec: TemplateSpec, shifted: Shifted, recurrence: Recurrence, zone: ZoneInfo) -> bool:
    """Whether a slot whose start the clocks leave out has a place that day: a length, and no other one there.

    Others count also where they are excluded or beyond the ends of a segment: who takes one away, or cuts the series,
    does not bring this one back.
    """
    original_start, starts_at = shifted
    ends_at = starts_at + spec.duration
    if spec.ends_by != "elapsed":
        ends_at = reached_at(original_start + spec.shift + spec.duration, zone)
    if ends_at <= starts_at:
        return False
    for other in recurrence.between(_minus(starts_at, longest(spec)), ends_at):
        there = type(other) is not Shifted
        if there and end_of(spec, *other, zone) > starts_at:
            return False
    return True


def promised_after(
    spec: TemplateSpec,
    moment: datetime,
    end: datetime,
    start: datetime = _FIRST,
    steps: Steps | None = None,
) -> Iterator[tuple[datetime, datetime]]:
    """Yield (original start, start) of what a template promises and is not over at a moment.

    :param moment: aware, UTC. ``end``: what starts before it. ``start``: what does not start before it.
    """
    zone = ZoneInfo(spec.timezone)
    first = max(start, _minus(moment, longest(spec)))
    if first >= end:
        return
    for original_start, starts_at, reason in promised_starts(spec, Window(first, end), steps):
        if reason is None and (starts_at >= moment or end_of(spec, original_start, starts_at, zone) > moment):
            yield original_start, starts_at


def longest(spec: TemplateSpec) -> timedelta:
    """Return how long a slot lasts at most: by the wall clock up to a day more than its length."""
    return spec.duration if spec.ends_by == "elapsed" else spec.duration + timedelta(days=1)


def _minus(moment: datetime, length: timedelta) -> datetime:
    return moment - length if moment - _FIRST > length else _FIRST


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


def planned(spec: TemplateSpec, window: Window, steps: Steps | None = None) -> list[PlannedSlot]:
    """Return the planned slots of a template in a window: promised and not left out."""
    return [slot for slot, reason in promised(spec, window, steps) if reason is None]


def behind_blackouts(spec: TemplateSpec, moment: datetime) -> datetime:
    """Return a later moment (aware, UTC) if nothing can be offered until then: days off need not be gone through."""
    day, zone = moment.astimezone(ZoneInfo(spec.timezone)).date(), ZoneInfo(spec.timezone)
    for first, last in joined_days(spec.blackouts):
        # Days more on both sides: a grid reaches into the next day, and a zone moves a time by less than one.
        if first <= day - _ZONE_SLACK and day < last - _ZONE_SLACK and last.year in YEARS:
            return max(moment, local_midnight(last - _ZONE_SLACK, zone))
    return moment


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
    spec: TemplateSpec,
    original_start: datetime,
    starts_at: datetime,
    zone: ZoneInfo,
    ends_at: datetime | None = None,
) -> PlannedSlot:
    """Return the slot of one occurrence, with its derived times (all UTC)."""
    return PlannedSlot(spec, *times_of(spec, original_start, starts_at, zone, ends_at))


def times_of(
    spec: TemplateSpec,
    original_start: datetime,
    starts_at: datetime,
    zone: ZoneInfo,
    ends_at: datetime | None = None,
) -> Times:
    """Return the times of one occurrence.

    :param starts_at: aware, UTC: where the rule has it, or where a person moved it.
    :param ends_at: aware, UTC, if a person said it; ``None``: as long as the template says.
    """
    if ends_at is None:
        ends_at = end_of(spec, original_start, starts_at, zone)
    opens_at, closes_at = None, starts_at
    if spec.opens_before is not None:
        opens_at = starts_at - spec.opens_before
    elif spec.opens_days_before is not None:
        day = grid_day(spec, original_start, starts_at) - timedelta(days=spec.opens_days_before)
        opens_at = at_clock(day, spec.opens_time, zone)
    if spec.closes_before:
        closes_at = starts_at - max(spec.closes_before, starts_at - ends_at)
    elif spec.closes_days_before is not None:
        day = grid_day(spec, original_start, starts_at) - timedelta(days=spec.closes_days_before)
        closes_at = min(at_clock(day, spec.closes_time, zone), starts_at)
    return Times(original_start, starts_at, ends_at, opens_at, closes_at)


@lru_cache(maxsize=1024)
def at_clock(day: date, clock: time | None, zone: ZoneInfo) -> datetime:
    """Return when the clocks of a zone show a time of a day, midnight by default; UTC."""
    return reached_at(datetime.combine(day, clock or time()), zone)


def end_of(
    spec: TemplateSpec,
    original_start: datetime,
    starts_at: datetime,
    zone: ZoneInfo,
    length: timedelta | None = None,
) -> datetime:
    """Return when a slot ends, UTC: its length later on the wall, or exactly so much later with ``elapsed``.

    On the wall it counts from the nominal start; where a person moved the slot, from the start that is shown. An end in
    the gap of a clock change is the instant of the change. Where that leaves nothing, the length is exact.

    :param starts_at: aware, UTC.
    :param length: the slot's own; ``None``: the template's.
    """
    length = spec.duration if length is None else length
    ends_at = starts_at + length
    if spec.ends_by == "elapsed" or ends_at <= steady_until(zone, starts_at.toordinal() // 7):
        return ends_at  # most slots: no clock changes near them
    wall = original_start + spec.shift
    if (wall - offset_at(wall, zone)) != starts_at.replace(tzinfo=None):
        wall = wall_of(starts_at, zone)
    on_wall = reached_at(wall + length, zone)
    return on_wall if on_wall > starts_at else ends_at


def end_for(spec: TemplateSpec, row: Any, starts_at: datetime) -> datetime:
    """Return when a stored slot ends if it starts at a time (aware, UTC): a length that a person gave to it stays.

    :param row: a :class:`StoredSlot`, or anything with its fields.
    """
    length = None
    if "ends_at" in row.customised:
        if starts_at == row.starts_at:
            return row.ends_at  # type: ignore[no-any-return]
        length = length_of(spec, row.starts_at, row.ends_at)
    return end_of(spec, row.original_start, starts_at, ZoneInfo(spec.timezone), length)


def length_of(spec: TemplateSpec, starts_at: datetime, ends_at: datetime) -> timedelta:
    """Return how long a slot with times of its own is (both aware), as :func:`end_of` takes it."""
    zone = ZoneInfo(spec.timezone)
    length = wall_of(ends_at, zone) - wall_of(starts_at, zone)
    return length if spec.ends_by != "elapsed" and length > timedelta(0) else ends_at - starts_at


def grid_day(spec: TemplateSpec, original_start: datetime, starts_at: datetime | None = None) -> date:
    """Return the local day that a slot belongs to, as shown: the one on which its day grid begins.

    What a day grid has after midnight belongs to the day before. Without a grid, and for a time that lies beside the
    grid, it is the day on which the slot begins.

    :param original_start: naive. ``starts_at``: aware, where it is shown if a person may have moved it.
    """
    zone = ZoneInfo(spec.timezone)
    wall = original_start + spec.shift
    by_rule = instant_of(wall, zone)
    if spec.until_time is None:
        return wall_of(starts_at or by_rule, zone).date()
    if starts_at is not None and starts_at != by_rule:
        wall = wall_of(starts_at, zone)
    return steady_day(spec, wall - spec.shift)


def steady_day(spec: TemplateSpec, original_start: datetime) -> date:
    """Return the grid day of a slot near which no clocks change, and that nobody moved."""
    return (first_of_day(original_start, spec.dtstart, spec.until_time) + spec.shift).date()


#: (original start, start or ``None``) -> why it is left out, if it is. Without a start: no clocks change near it.
LeftOut = Callable[[datetime, datetime | None], str | None]


def exclusions(spec: TemplateSpec) -> LeftOut | None:
    """Return a function that says why an occurrence is left out; ``None`` if the template leaves nothing out."""
    exdates, is_off = frozenset(spec.exdates), days_off(spec)
    has_days_off = bool(spec.blackouts or spec.holidays)
    if not exdates and not has_days_off:
        return None

    def left_out(original_start: datetime, starts_at: datetime | None) -> str | None:
        if exdates:
            first = first_of_day(original_start, spec.dtstart, spec.until_time)
            if original_start in exdates or first.date() in exdates:
                return EXCLUDED
        if not has_days_off:
            return None
        if starts_at is None:
            return is_off(steady_day(spec, original_start))
        return is_off(grid_day(spec, original_start, starts_at))

    return left_out


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


def by_now(
    spec: TemplateSpec, row: StoredSlot, now: datetime, starts: Mapping[datetime, datetime] | None = None
) -> dict[str, Any]:
    """Return in which column values one stored slot, read wholly, is not as its template (``starts``) has it by now."""
    starts = offered_starts(spec, [row]) if starts is None else starts
    return settled(spec, row, starts.get(row.original_start), now, ZoneInfo(spec.timezone))


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
    rule: Times | None = None,
) -> dict[str, Any]:
    """Return the column values in which a stored slot is not as its template says by now.

    What a person changed on the slot stays, and so do the times of one that is booked: it is ``displaced`` then.
    Capacity and data follow the template although it is booked. What has started, or was decided, is left alone.

    :param row: a :class:`StoredSlot`, or anything with its fields.
    :param starts_at: when the rule has it; ``None``: the template does not offer it.
    :param wholly: compare the app's own fields too.
    :param rule: the times by its rule, if they are known.
    """
    if not row.stands or row.ends_at <= now:
        return {}
    if row.status == Status.COMPLETED:  # it may be in the way of others by now; nothing else of it changes
        is_beside = is_displaced(spec, row.original_start, row.starts_at, row.ends_at, zone) or None
        return {} if is_beside == row.displaced else {"displaced": is_beside}
    is_ahead = row.starts_at > now
    if starts_at is not None and is_ahead and starts_at <= now and not (row.live or _is_moved(row)):
        starts_at = None  # by its rule it has started already, and what has started is not made any more
    values: dict[str, Any] = {"withdrawn": starts_at is None or None}
    if starts_at is not None and is_ahead:
        rule = rule or times_of(spec, row.original_start, starts_at, zone)
        if _is_as_ruled(spec, row, rule, wholly):
            return {}
        values |= _times_by_now(spec, row, rule, now, zone)
        values["capacity"] = spec.capacity
        if wholly:
            values |= {"data": spec.data, **spec.own}
        kept = set(row.customised) - {"ends_at"}  # a length of its own goes with its start
        values = {name: value for name, value in values.items() if name not in kept}
    else:
        if starts_at is not None:
            values |= _while_it_may_be_joined(spec, row, now, zone)
        values["displaced"] = is_displaced(spec, row.original_start, row.starts_at, row.ends_at, zone) or None
    stored = {name: row.own[name] if name in row.own else getattr(row, name) for name in values}
    return {name: value for name, value in values.items() if value != stored[name]}


def _is_as_ruled(spec: TemplateSpec, row: Any, rule: Times, wholly: bool) -> bool:
    """Whether a slot ahead that nobody booked or changed is in all as its template says: most are, told soon."""
    if row.live or row.customised or row.withdrawn or row.displaced or row.capacity != spec.capacity:
        return False
    if rule != (row.original_start, row.starts_at, row.ends_at, row.opens_at, row.closes_at):
        return False
    return not wholly or (row.data == spec.data and all(row.own[name] == spec.own[name] for name in spec.own))


def _while_it_may_be_joined(spec: TemplateSpec, row: Any, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Return what a slot that has begun still follows its template in: how many may join it, and until when."""
    closes_at = times_of(spec, row.original_start, row.starts_at, zone, row.ends_at).closes_at
    if max(closes_at, row.closes_at or row.starts_at) <= now:
        return {}
    found = {"capacity": spec.capacity, "closes_at": closes_at}
    return {name: value for name, value in found.items() if name not in row.customised}


def is_displaced(
    spec: TemplateSpec, original_start: datetime, starts_at: datetime, ends_at: datetime, zone: ZoneInfo
) -> bool:
    """Whether a slot is at another time than its rule has or would have it: it may stand beside others then.

    Also of what is not offered any more, or has begun: its people are there all the same. What a new rule lacks, days
    off and excluded ones aside, is beside all that it has; so is what the clocks leave out.
    """
    recurrence, wall = _recurrence((), *_rule_of(spec)), original_start + spec.shift
    if not recurrence.contains(original_start):
        return True
    by_rule = instant_of(wall, zone)
    if (starts_at, ends_at) != (by_rule, end_of(spec, original_start, by_rule, zone)):
        return True
    kind = Occurrence if wall_of(by_rule, zone) == wall else Shifted
    return _is_left_by_clocks(spec, kind(original_start, by_rule), recurrence, zone)


def _is_moved(row: Any) -> bool:
    return "starts_at" in row.customised or "ends_at" in row.customised


def _times_by_now(spec: TemplateSpec, row: Any, rule: Times, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Return when a slot that is offered takes place: by its rule, unless it is booked or a person moved it."""
    is_moved, start, end = "starts_at" in row.customised, row.starts_at, row.ends_at
    if not row.live and (rule.starts_at > now or is_moved):
        start = start if is_moved else rule.starts_at
        end = end_for(spec, row, start)
    is_displaced = (start, end) != (rule.starts_at, rule.ends_at)
    times = times_of(spec, row.original_start, start, zone, end) if is_displaced else rule
    values = dict(zip(Times._fields[1:], times[1:], strict=True))
    return values | {"displaced": is_displaced or None}
