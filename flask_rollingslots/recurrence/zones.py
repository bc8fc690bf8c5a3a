"""Wall clock to instant and back (RFC 5545 section 3.3.5), with zoneinfo alone; and sums that stay in range.

A time that does not exist is read with the offset before the gap, so it is shown later by the width of the gap; a
time that exists twice is the first one. :pep:`495` says the same with ``fold=0``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from ..values import Occurrence, Shifted, local_midnight
from .rule import refuse

_NONE = timedelta(0)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_STEADY = timedelta(days=3)
"""No zone of the tz database changes its offset and back within this time (the shortest took four days)."""
_LATEST = datetime.max - _STEADY
_FIRST = datetime.min.replace(tzinfo=UTC)
#: When time begins to count, aware and naive.
_EPOCH, _ZERO = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)  # noqa: DTZ001 (without a zone)
_STEPS = 16
#: Changes of offset are looked for in blocks of so many days, a whole number of steady times.
_BLOCK = 96


def find_zone(zone: str | tzinfo) -> tuple[str, tzinfo]:
    """Return name and zone.

    :param zone: an IANA name, or any tzinfo (for example a ``ZoneInfo`` made from another tz database).
    :raises InvalidRule: if there is no zone of that name.
    """
    if isinstance(zone, tzinfo):
        return getattr(zone, "key", None) or str(zone), zone
    if not isinstance(zone, str):
        raise refuse("timezone", zone, "an IANA name such as Europe/Madrid")
    try:
        return zone, ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise refuse("timezone", zone, "an IANA name such as Europe/Madrid", "is not a known zone") from None


def offset_at(wall: datetime, zone: tzinfo) -> timedelta:
    """Return the offset that a naive wall clock time is read with: before the gap, first of two."""
    return zone.utcoffset(wall) or _NONE


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """Return the instant of a naive wall clock time, aware, UTC.

    :raises OverflowError: outside the years 1 to 9999.
    """
    return (wall - offset_at(wall, zone)).replace(tzinfo=UTC)


def reached_at(wall: datetime, zone: tzinfo) -> datetime:
    """Return when the clocks of a zone first show a naive time, or pass it; aware, UTC.

    Of a time that exists twice it is the first one; of a time in a gap it is the instant of the change.

    :raises OverflowError: outside the years 1 to 9999.
    """
    before = zone.utcoffset(wall) or _NONE
    after = zone.utcoffset(wall.replace(fold=1)) or _NONE
    if before >= after:
        return (wall - before).replace(tzinfo=UTC)
    early, late = ((wall - offset).replace(microsecond=0, tzinfo=UTC) for offset in (after, before))
    return _change_between(early, late, before, zone)


def _change_between(early: datetime, late: datetime, before: timedelta, zone: tzinfo) -> datetime:
    """Return when a zone leaves the offset that it has at the earlier of two moments (whole seconds, UTC)."""
    while late - early > _SECOND:  # zones change at whole seconds
        middle = early + (late - early) // _SECOND // 2 * _SECOND
        is_before = middle.astimezone(zone).utcoffset() == before
        early, late = (middle, late) if is_before else (early, middle)
    return late


@lru_cache(maxsize=4096)
def steady_until(zone: tzinfo, week: int) -> datetime:
    """Return up to when a zone surely keeps the offset that it has some days before a week begins; aware, UTC.

    :param week: number of a week, the ordinal of a day by seven.
    """
    sure = _FIRST
    try:
        moment = datetime.fromordinal(7 * week).replace(tzinfo=UTC) - _STEADY
        offset = moment.astimezone(zone).utcoffset()
        for _ in range(_STEPS):
            sure, moment = moment, moment + _STEADY
            if moment.astimezone(zone).utcoffset() != offset:
                break
    except (OverflowError, ValueError):
        return _FIRST  # at the ends of the calendar nothing is sure
    return sure


@lru_cache(maxsize=4096)
def _changes(zone: tzinfo, block: int) -> tuple[datetime, ...]:
    """Return when a zone changes its offset after the beginning of a block of days, up to its end; aware, UTC."""
    found: list[datetime] = []
    moment = datetime.fromordinal(_BLOCK * block).replace(tzinfo=UTC)
    offset = moment.astimezone(zone).utcoffset() or _NONE
    for _ in range(_BLOCK // _STEADY.days):
        later = moment + _STEADY
        then = later.astimezone(zone).utcoffset() or _NONE
        while offset != then:
            moment = _change_between(moment, later, offset, zone)
            offset = moment.astimezone(zone).utcoffset() or _NONE
            found.append(moment)
        moment = later
    return tuple(found)


def steady_spans(
    zone: tzinfo, start: datetime, end: datetime, reach: timedelta
) -> Iterator[tuple[datetime, datetime, timedelta | None]]:
    """Cut a span in parts in which the clocks of a zone do not change, and the rest around each change.

    :param start: aware, UTC, included; ``end`` likewise, excluded. Both some years from the ends of the calendar.
    :param reach: nothing changes from so long before each moment of a steady part until so long after it.
    :return: start, end, and the offset of the zone from UTC; ``None`` around a change.
    """
    first, last = ((moment.toordinal()) // _BLOCK for moment in (start - reach, end + reach))
    for change in (each for block in range(first, last + 1) for each in _changes(zone, block)):
        near, behind = min(change - reach, end), min(change + reach, end)
        if start < near:
            yield start, near, start.astimezone(zone).utcoffset() or _NONE
            start = near
        if start < behind:
            yield start, behind, None
            start = behind
    if start < end:
        yield start, end, start.astimezone(zone).utcoffset() or _NONE


def wall_of(moment: datetime, zone: tzinfo) -> datetime:
    """Return what the clocks of a zone show at an aware moment, naive; clamped to the years 1 to 9999."""
    try:
        return moment.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return datetime.min if moment.year < 5000 else datetime.max


def walls_around(moment: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the earliest and latest wall clock time that may name an aware moment: two near a change of offset."""
    now = wall_of(moment, zone)
    try:
        before = wall_of(moment - _DAY, zone) + _DAY
    except OverflowError:
        return now, now
    return (now, before) if now < before else (before, now)


def names_of(moment: datetime, zone: tzinfo) -> set[datetime]:
    """Return the wall clock times that are read as this aware moment: what clocks show, and its name in a gap."""
    names = {wall for wall in walls_around(moment, zone) if instant_of(wall, zone) == moment}
    return names | {wall_of(moment, zone)}


def shown(walls: Iterable[datetime], zone: tzinfo, shift: timedelta, gap: str) -> Iterator[Occurrence]:
    """Turn nominal starts into occurrences, sorted by instant, no two at the same one unless all are kept.

    :param walls: naive nominal starts, sorted.
    :param shift: added to the wall clock before it is read in the zone.
    :param gap: ``"shift"`` or ``"skip"`` for times that do not exist; ``"keep"``: shift, also onto the instant of
        another one.
    """
    waiting: deque[Occurrence] = deque()
    steady_until, zero = datetime.min, _ZERO
    for wall in walls:
        try:
            clock = wall + shift if shift else wall
            in_gap = False
            if clock >= steady_until:
                offset, steady_until, in_gap = _look(clock, zone)
                zero = _ZERO + offset
            # A sum takes a ninth of what replace() takes.
            occurrence = Occurrence(wall, _EPOCH + (clock - zero))
        except OverflowError:
            continue  # no datetime can name an instant outside the years 1 to 9999
        if in_gap:
            waiting.append(Shifted(*occurrence))
            continue
        while waiting and waiting[0].starts_at <= occurrence.starts_at:
            earlier = waiting.popleft()
            # A shifted one yields to the one that is really there.
            if gap == "keep" or (gap == "shift" and earlier.starts_at < occurrence.starts_at):
                yield earlier
        yield occurrence
    if gap != "skip":
        yield from waiting


def _look(clock: datetime, zone: tzinfo) -> tuple[timedelta, datetime, bool]:
    """Return the offset, until when it surely holds, and whether the time is in a gap."""
    offset = offset_at(clock, zone)
    if clock < _LATEST and offset_at(clock + _STEADY, zone) == offset:
        return offset, clock + _STEADY, False
    return offset, clock, offset < (zone.utcoffset(clock.replace(fold=1)) or _NONE)


def plus(moment: datetime, length: timedelta) -> datetime:
    """Return ``moment + length``, at most ``datetime.max`` and at least ``datetime.min``."""
    try:
        return moment + length
    except OverflowError:
        return datetime.max if length > _NONE else datetime.min


def minus(moment: datetime, length: timedelta) -> datetime:
    """Return ``moment - length``, clamped like :func:`plus`."""
    return plus(moment, -length)


def next_midnight(zones: Iterable[str], now: datetime) -> datetime:
    """Return the next moment at which a new day begins in any of the zones (at least one), UTC."""
    midnights = []
    for name in set(zones):
        zone = ZoneInfo(name)
        midnights.append(local_midnight(now.astimezone(zone).date() + timedelta(days=1), zone))
    return min(midnights)
