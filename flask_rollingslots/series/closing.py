"""Days on which nothing takes place: days off, which are taken back without loss, and days that are cancelled.

Both mean grid days: what a bar has open after midnight belongs to the evening before. A day off is a blackout of the
templates there are; nothing new is sold on it, and who has booked keeps the place until somebody calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, func, or_, select

from .. import browsing, planning, signals
from ..booking.lifecycle import bookings_of, shown_booking
from ..booking.resources import slot_row
from ..context import Work, load_slots
from ..errors import no_group, refusal
from ..models import BookingMixin, SlotMixin, TemplateMixin
from ..recurrence.days_off import joined_days
from ..statements import in_parts
from ..values import YEARS, Status, StoredSlot, TemplateSpec, Window
from .endings import cancel_rows, check_reason
from .storage import lock_templates, series_of
from .templates import set_fields

#: A slot of a day grid starts within a day after the grid does, and a zone moves a wall-clock time by less than one.
_REACH = timedelta(days=3)
_DAY = timedelta(days=1)
DayRange = tuple[date, date]


@dataclass(slots=True)
class ClosingReport:
    """What closing or reopening days did.

    :param first: the first day, in each template's own zone. ``last``: the last one, included.
    :param reopened: whether the days were reopened, not closed.
    :param templates: ids of the templates that were changed.
    :param unchanged: ids of those that were meant, and closed or open on all these days before.
    :param slots: keys of the stored slots on these days that are not over: closed now, or offered again.
    :param booked: those of them that hold live bookings.
    :param moved: of closed days, keys of stored slots that take place on them although their rule has them on another
        day: a person moved them there, or they kept their time for a booking. They are not closed.
    :param bookings: the live bookings in all of these, by id: whom to call.
    :param reason: as it was given.
    """

    first: date
    last: date
    reopened: bool = False
    templates: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)
    booked: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    bookings: list[BookingMixin] = field(default_factory=list)
    reason: str | None = None

    def has(self, day: date) -> bool:
        """Whether a day is one of them."""
        return self.first <= day <= self.last

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        names = ("templates", "unchanged", "slots", "booked", "moved", "bookings")
        found = {name: list(getattr(self, name)) for name in names}
        counts = {name: len(each) for name, each in found.items()}
        days = {"first": self.first.isoformat(), "last": self.last.isoformat(), "reopened": self.reopened}
        found["bookings"] = [shown_booking(booking) for booking in self.bookings]
        return {**days, "reason": self.reason, "counts": counts, **found}


class CancelledKeys(list[str]):
    """The keys of the slots that were cancelled, in order.

    :ivar bookings: the live bookings in them, by id: whom to tell.
    """

    def __init__(self, keys: Iterable[str] = (), bookings: Iterable[BookingMixin] = ()) -> None:
        super().__init__(keys)
        self.bookings: list[BookingMixin] = sorted(bookings, key=lambda booking: booking.id)


# -- ranges of days


def with_days(ranges: Iterable[Sequence[date]], first: date, last: date) -> list[DayRange]:
    """Return ranges of days with some days more, joined."""
    return joined_days([*ranges, (first, last)])


def without_days(ranges: Iterable[Sequence[date]], first: date, last: date) -> list[DayRange]:
    """Return ranges of days without some days, joined."""
    left: list[DayRange] = []
    for begin, end in joined_days(ranges):
        if begin < first:
            left.append((begin, min(end, first - _DAY)))
        if end > last:
            left.append((max(begin, last + _DAY), end))
    return left


# -- days off


def close(
    work: Work,
    first: date,
    last: date | None = None,
    group: str | None = None,
    template_id: int | None = None,
    reason: str | None = None,
) -> ClosingReport:
    """Close days; see ``RollingSlots.close``."""
    check_reason(reason)
    report = ClosingReport(*_days(first, last), reason=reason)

    def decide(templates: list[TemplateMixin]) -> dict[int, Mapping[str, Any]]:
        meant = _meant(templates, group)
        specs = {template.id: TemplateSpec.of(template) for template in meant}
        off, moved = [], []
        for row in _rows_near(work, specs, report):
            spec = specs[row.template_id]
            if report.has(planning.grid_day(spec, row.original_start)):
                off.append(row)
            elif report.has(planning.grid_day(spec, row.original_start, row.starts_at)):
                moved.append(row)
        _name(work, report, off, moved)
        return _changes(report, meant, with_days)

    set_fields(work, _series(work, group, template_id), decide)
    if report.templates:
        work.outbox.add(signals.days_closed, report=report)
    return report


def reopen(
    work: Work,
    first: date,
    last: date | None = None,
    group: str | None = None,
    template_id: int | None = None,
) -> ClosingReport:
    """Take back that days were closed; see ``RollingSlots.reopen``."""
    report = ClosingReport(*_days(first, last), reopened=True)

    def decide(templates: list[TemplateMixin]) -> dict[int, Mapping[str, Any]]:
        meant = _meant(templates, group)
        changes = _changes(report, meant, without_days)
        specs = {template.id: TemplateSpec.of(template) for template in meant if template.id in changes}
        rows = _rows_near(work, specs, report)
        back: list[StoredSlot] = []
        for number, spec in specs.items():
            mine = [row for row in rows if row.template_id == number and _is_off(spec, row)]
            after = replace(spec, blackouts=tuple(changes[number]["blackouts"]))
            offered = planning.starts_around(after, [row.original_start for row in mine])
            back += [row for row in mine if row.original_start in offered]
        _name(work, report, back)
        return changes

    set_fields(work, _series(work, group, template_id), decide)
    if report.templates:
        work.outbox.add(signals.days_reopened, report=report)
    return report


def _is_off(spec: TemplateSpec, row: StoredSlot) -> bool:
    day = planning.grid_day(spec, row.original_start)
    return any(first <= day <= last for first, last in spec.blackouts)


def _days(first: date, last: date | None) -> DayRange:
    _check_day("first", first)
    if last is None:
        return first, first
    _check_day("last", last)
    if last < first:
        raise refusal("last", last, f"a day that is not before the first one, {first}")
    return first, last


def _check_day(field: str, day: object) -> None:
    if not isinstance(day, date) or isinstance(day, datetime) or day.year not in YEARS:
        raise refusal(field, day, f"a date, years {YEARS.start} to {YEARS.stop - 1}")


def _series(work: Work, group: str | None, template_id: int | None) -> list[int]:
    """Return the ids of the series that are meant; all if neither a group nor a template is named."""
    if template_id is not None:
        if group is not None:
            raise refusal("group", group, "either a template or a group, not both")
        return [series_of(work, template_id)]
    cls = work.models.Template
    query = select(func.coalesce(cls.series_id, cls.id)).distinct()
    if group is not None:
        browsing.check_group(group)
        query = query.where(cls.group == group)
    found = sorted(work.session.scalars(query))
    if group is not None and not found:
        raise no_group(group)
    return found


def _meant(templates: Iterable[TemplateMixin], group: str | None) -> list[TemplateMixin]:
    return [template for template in templates if group is None or template.group == group]


def _changes(
    report: ClosingReport,
    templates: Iterable[TemplateMixin],
    days_of: Callable[[Iterable[Sequence[date]], date, date], list[DayRange]],
) -> dict[int, Mapping[str, Any]]:
    """Return the days off that templates get, by id, and say in the report which of them change."""
    changes: dict[int, Mapping[str, Any]] = {}
    for template in templates:
        before = template.blackouts or ()
        after = days_of(before, report.first, report.last)
        if after == joined_days(before):
            report.unchanged.append(template.id)
        else:
            report.templates.append(template.id)
            changes[template.id] = {"blackouts": after}
    return changes


def _rows_near(work: Work, specs: Mapping[int, TemplateSpec], report: ClosingReport) -> list[StoredSlot]:
    """Return the scheduled rows that are not over and lie near the days, by start; nobody else changes them now."""
    cls = work.models.Slot
    shifts = [timedelta(0), *(spec.shift for spec in specs.values())]
    begin, end = (
        datetime.combine(report.first, time()) - _REACH,
        datetime.combine(report.last, time()) + _REACH,
    )
    here = and_(cls.starts_at >= begin.replace(tzinfo=UTC), cls.starts_at < end.replace(tzinfo=UTC))
    meant = and_(cls.original_start >= begin - max(shifts), cls.original_start < end - min(shifts))
    stands = (cls.status == Status.SCHEDULED.value, cls.ends_at > work.now, or_(here, meant))
    rows: list[StoredSlot] = []
    for part in in_parts(sorted(specs)):
        rows += load_slots(work, cls.template_id.in_(part), *stands, lock=not work.dry_run)
    return sorted(rows, key=lambda row: (row.starts_at, row.key))


def _name(
    work: Work, report: ClosingReport, rows: Sequence[StoredSlot], moved: Sequence[StoredSlot] = ()
) -> None:
    """Say in the report which slots are meant, and who has booked them."""
    report.bookings = bookings_of(work, (row.id for row in (*rows, *moved)))
    inside = {booking.slot_id for booking in report.bookings}
    report.slots, report.moved = ([str(row.key) for row in each] for each in (rows, moved))
    report.booked = [str(row.key) for row in rows if row.id in inside]


# -- days that are cancelled


def _row_of(work: Work, slot: SlotMixin) -> SlotMixin:
    """Return a slot's row, made if need be; its series is locked."""
    if not slot.is_virtual:
        return slot
    with slot_row(work, slot.key, TemplateSpec.of, inactive=True) as row:
        return row


def cancel_date(work: Work, group: str | None, day: date, reason: str | None = None) -> CancelledKeys:
    """Cancel one grid day of all templates of a group, or of all; see ``RollingSlots.cancel_date``."""
    if group is not None and (not isinstance(group, str) or not group):
        raise refusal("group", group, "the name of a group, or None for all")
    _check_day("day", day)
    check_reason(reason)
    meant = browsing.templates_in(work, group) if group is not None else browsing.search(work)
    templates = lock_templates(work, (each.series_id or each.id for each in meant))
    templates = [each for each in templates if group is None or each.group == group]
    slots: list[SlotMixin] = []
    for zone in sorted({template.timezone for template in templates}):
        # A grid that begins on this day may go on until the end of the next one.
        window = Window.local_days(day, day + 2 * _DAY, ZoneInfo(zone))
        here = {template.id: template for template in templates if template.timezone == zone}
        specs = {number: replace(TemplateSpec.of(each), active=True) for number, each in here.items()}
        near = browsing.merged(work, here, specs.values(), window)
        found = [
            slot
            for slot in near
            if planning.grid_day(specs[slot.template_id], slot.original_start, slot.starts_at) == day
        ]
        if work.dry_run:
            slots += [s for s in found if s.status == Status.SCHEDULED and s.ends_at > work.now]
        else:
            slots += cancel_rows(work, [_row_of(work, slot) for slot in found], reason)
    bookings = bookings_of(work, (slot.id for slot in slots if not slot.is_virtual))
    inside: dict[int, list[BookingMixin]] = {}
    for booking in bookings:
        inside.setdefault(booking.slot_id, []).append(booking)
    for slot in slots:
        affected = inside.get(slot.id, [])
        if not work.dry_run:
            slot.affected_bookings = affected
        work.outbox.add(signals.slot_cancelled, slot=slot, reason=reason, bookings=affected)
    return CancelledKeys((slot.key for slot in slots), bookings)
