"""Figures: what was generated, booked, cancelled; by template, group, weekday and hour.

Three statements, whatever the number of templates, and none of them fetches a row per slot: the database reads the
slots of the span once and sums up by template, spell of constant offset from UTC, and minute of the UTC week, so
that as many rows come back as a template has different times in a week, twice a year. The zones are Python's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Integer, and_, case, cast, extract, func, null, select

from .browsing import check_aware, check_group
from .context import Work
from .errors import no_group, no_template, refusal
from .models import expired_places, table_of
from .values import Attendance, BookingStatus, Status

_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)
#: In a longer span the years without slots are left out.
_FEW_YEARS = timedelta(days=3 * 366)
#: The databases count the days of the week from Sunday.
_SUNDAY = datetime(2023, 12, 31, tzinfo=UTC)
_OF_TEMPLATE = ("id", "name", "group", "active")
_COUNTS = ("slots", "generated", "cancelled", "completed", "capacity", "booked", "arrived", "no_show")


@dataclass(slots=True)
class Figures:
    """Counts of stored slots; deleted ones are not in them.

    :param slots: how many there are, in any other status.
    :param generated: those of them that a top-up made; the others were made by somebody's booking or change.
    :param capacity: places of all slots that are not cancelled.
    :param booked: places taken in them, by bookings and live holds.
    :param arrived: those of them whose people came, by what was marked.
    :param no_show: those whose people did not come, by what was marked.
    :param earliest: first start, aware, UTC; ``None`` without slots.
    :param latest: last start, aware, UTC; ``None`` without slots.
    """

    slots: int = 0
    generated: int = 0
    cancelled: int = 0
    completed: int = 0
    capacity: int = 0
    booked: int = 0
    arrived: int = 0
    no_show: int = 0
    earliest: datetime | None = None
    latest: datetime | None = None

    @property
    def booked_share(self) -> float:
        """Booked places over all places, 0.0 to 1.0; 0.0 without places."""
        return self.booked / self.capacity if self.capacity else 0.0

    def add(self, other: Figures) -> None:
        """Take in the counts of others."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.earliest = min(filter(None, (self.earliest, other.earliest)), default=None)
        self.latest = max(filter(None, (self.latest, other.latest)), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; instants as ISO 8601 with offset."""
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "booked_share": round(self.booked_share, 4),
            "earliest": self.earliest and self.earliest.isoformat(),
            "latest": self.latest and self.latest.isoformat(),
        }


@dataclass(slots=True)
class Summary(Figures):
    """Counts with their distribution over the week, by the shown start in each template's own zone.

    :param weekdays: 0 (Monday) to 6 -> counts; only days with slots.
    :param hours: 0 to 23 -> counts; only hours in which slots start.
    """

    weekdays: dict[int, Figures] = field(default_factory=dict)
    hours: dict[int, Figures] = field(default_factory=dict)

    def add(self, other: Figures) -> None:
        """Take in the counts of others, with their distribution."""
        Figures.add(self, other)
        for name in ("weekdays", "hours"):
            for key, part in getattr(other, name, {}).items():
                getattr(self, name).setdefault(key, Figures()).add(part)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        parts = {"weekdays": sorted(self.weekdays.items()), "hours": sorted(self.hours.items())}
        by_name = {name: {str(key): part.to_dict() for key, part in some} for name, some in parts.items()}
        return Figures.to_dict(self) | by_name


@dataclass(slots=True)
class TemplateSummary(Summary):
    """The counts of one template."""

    id: int = 0
    name: str = ""
    group: str | None = None
    active: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {name: getattr(self, name) for name in _OF_TEMPLATE} | Summary.to_dict(self)


@dataclass(slots=True)
class Stats:
    """What ``slots.stats()`` returns.

    :param total: everything together.
    :param templates: template id -> its counts, also of templates without slots.
    :param groups: group -> its counts; templates without a group are not in it.
    """

    total: Summary = field(default_factory=Summary)
    templates: dict[int, TemplateSummary] = field(default_factory=dict)
    groups: dict[str, Summary] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        templates = {str(key): part.to_dict() for key, part in self.templates.items()}
        groups = {key: part.to_dict() for key, part in self.groups.items()}
        return {"total": self.total.to_dict(), "templates": templates, "groups": groups}


def gather(
    work: Work,
    template_id: int | None = None,
    group: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Stats:
    """Count the stored slots that start in a span; holds that have expired by now do not count.

    :param template_id: only the series of this template.
    :param start: aware, included; ``None``: from the first slot on.
    :param end: aware, excluded; ``None``: to the last slot.
    :raises InvalidRequest: if a bound is naive, or the end is before the start.
    :raises TemplateNotFound: if there is no such template or group.
    """
    check_aware(**{name: at for name, at in (("start", start), ("end", end)) if at is not None})
    if start is not None and end is not None and end < start:
        raise refusal("end", end, f"a moment not before start = {start}")
    check_group(group)
    cls = work.models.Slot
    stats, zones = _templates(work, template_id, group)
    conditions = [cls.status != Status.DELETED.value]
    if template_id is not None or group is not None:
        conditions.append(cls.template_id.in_(list(stats.templates)))
    if start is not None:
        conditions.append(cls.starts_at >= start)
    if end is not None:
        conditions.append(cls.starts_at < end)
    bounds = select(func.min(cls.starts_at), func.max(cls.starts_at)).where(*conditions)
    earliest, latest = work.session.execute(bounds).one()
    if earliest is not None:
        spans = _spans(work, earliest, latest + _SECOND, conditions)
        _count(work, stats, [spell for span in spans for spell in spells(zones, *span)], conditions)
    for part in stats.templates.values():
        stats.total.add(part)
        if part.group is not None:
            stats.groups.setdefault(part.group, Summary()).add(part)
    return stats


def _spans(
    work: Work, start: datetime, end: datetime, conditions: list[ColumnElement[bool]]
) -> list[tuple[datetime, datetime]]:
    """Return the years of a span in which slots start: one slot centuries away is no reason to cut up all between."""
    if end - start < _FEW_YEARS:
        return [(start, end)]
    year = extract("year", work.models.Slot.starts_at)
    years = sorted(int(each) for each in work.session.scalars(select(year).where(*conditions).distinct()))
    # A year by the clock of the database's session may begin some hours earlier or later.
    around = sorted({number for each in years for number in (each - 1, each, each + 1)})
    found = []
    for number in around:
        begin = datetime(number, 1, 1, tzinfo=UTC) if number <= MAXYEAR else end
        until = datetime(number + 1, 1, 1, tzinfo=UTC) if number < MAXYEAR else end
        if begin < end and until > start:
            found.append((max(start, begin), min(end, until)))
    return found


def _templates(work: Work, template_id: int | None, group: str | None) -> tuple[Stats, set[str]]:
    cls = work.models.Template
    query = select(cls.id, cls.name, cls.group, cls.active, cls.timezone).order_by(cls.id)
    if template_id is not None:
        query = query.where(cls.series_id.in_(select(cls.series_id).where(cls.id == template_id)))
    if group is not None:
        query = query.where(cls.group == group)
    stats, zones = Stats(), set()
    for row in work.session.execute(query):
        stats.templates[row.id] = TemplateSummary(**{name: getattr(row, name) for name in _OF_TEMPLATE})
        zones.add(row.timezone)
    if not stats.templates and template_id is not None:
        raise no_template(template_id)
    if not stats.templates and group is not None:
        raise no_group(group)
    return stats, zones


class Spell(NamedTuple):
    """Some time in which a zone keeps its offset from UTC; half-open."""

    zone: str
    start: datetime
    end: datetime
    offset: timedelta


def spells(zones: Iterable[str], start: datetime, end: datetime) -> list[Spell]:
    """Cut a span (aware, UTC) where the offset of a zone changes, for each zone; to the second."""
    return [spell for zone in sorted(set(zones)) for spell in _spells(zone, start, end)]


def _spells(name: str, start: datetime, end: datetime) -> Iterator[Spell]:
    zone = ZoneInfo(name)

    def offset_at(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta(0)

    first, day = start, start
    while day < end:
        following = min(day + _DAY, end)
        if offset_at(following) != offset_at(first):
            low, high = day, following  # the offset changes after low, and by high
            while high - low > _SECOND:
                middle = low + (high - low) // 2
                low, high = (middle, high) if offset_at(middle) == offset_at(first) else (low, middle)
            change = high.replace(microsecond=0)
            yield Spell(name, first, change, offset_at(first))
            first = change
        day = following
    yield Spell(name, first, end, offset_at(first))


def _count(work: Work, stats: Stats, cut: list[Spell], conditions: list[ColumnElement[bool]]) -> None:
    cls, template = work.models.Slot, work.models.Template
    within = [
        (and_(template.timezone == s.zone, cls.starts_at >= s.start, cls.starts_at < s.end), number)
        for number, s in enumerate(cut)
    ]
    cancelled, live = (
        cls.status == Status.CANCELLED.value,
        cls.booked - expired_places(work.models, cls, work.now),
    )
    counted = {
        "generated": case((cls.run_id.is_not(None), 1), else_=0),
        "cancelled": case((cancelled, 1), else_=0),
        "completed": case((cls.status == Status.COMPLETED.value, 1), else_=0),
        "capacity": case((cancelled, 0), else_=cls.capacity),
        "booked": case((cancelled, 0), else_=live),
    }
    # All marks of a slot at once: the bookings are read once, and joined to their slots.
    bookings = table_of(work.models.Booking)
    marks = select(bookings.c.slot_id, *(_marked(bookings.c, mark) for mark in Attendance))
    marks = marks.where(
        bookings.c.attendance.is_not(None), bookings.c.status == BookingStatus.CONFIRMED.value
    )
    marked = marks.group_by(bookings.c.slot_id).subquery()
    for mark in Attendance:
        counted[mark.value] = case((cancelled, 0), else_=func.coalesce(marked.c[mark.value], 0))
    each = select(cls.template_id, cls.starts_at, case(*within, else_=null()).label("spell"))
    each = each.add_columns(*_minute_of_week(cls.starts_at, work.dialect))
    each = each.add_columns(*(column.label(name) for name, column in counted.items()))
    each = each.join(template, template.id == cls.template_id).outerjoin(marked, marked.c.slot_id == cls.id)
    rows = each.where(*conditions).subquery().c
    keys = [rows[name] for name in ("template_id", "spell", "weekday", "hour", "minute")]
    sums = [func.sum(rows[name]).label(name) for name in _COUNTS[1:]]
    bounds = (func.min(rows.starts_at).label("earliest"), func.max(rows.starts_at).label("latest"))
    query = select(*keys, func.count().label("slots"), *sums, *bounds).group_by(*keys)
    for row in work.session.execute(query):
        counts = {name: int(getattr(row, name)) for name in _COUNTS}
        figures = Figures(**counts, earliest=row.earliest, latest=row.latest)
        local = _SUNDAY + timedelta(days=int(row.weekday), hours=int(row.hour), minutes=int(row.minute))
        local += cut[row.spell].offset
        summary = stats.templates[row.template_id]
        Figures.add(summary, figures)
        summary.weekdays.setdefault(local.weekday(), Figures()).add(figures)
        summary.hours.setdefault(local.hour, Figures()).add(figures)


def _marked(booking: Any, mark: Attendance) -> Any:
    """Return, in SQL, how many places of bookings have a mark."""
    return func.sum(case((booking.attendance == mark.value, booking.party), else_=0)).label(mark.value)


def _minute_of_week(moment: Any, dialect: str) -> list[ColumnElement[Any]]:
    """Return weekday (0: Sunday), hour and minute of an instant in UTC, in SQL."""
    if dialect == "postgresql":
        moment = func.timezone("UTC", moment)  # else the session's own zone counts
        weekday: ColumnElement[Any] = extract("dow", moment)
    elif dialect == "sqlite":
        weekday = cast(func.strftime("%w", moment), Integer)
    else:
        weekday = func.dayofweek(moment) - 1
    parts = [extract(part, moment).label(part) for part in ("hour", "minute")]
    return [weekday.label("weekday"), *parts]
