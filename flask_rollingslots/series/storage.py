"""A series in the database: read as plain values, locked where it is to be changed; and plans of changes.

In a dry run nothing is locked and nothing written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import BindParameter, bindparam, inspect, select, true
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from .. import planning
from ..booking.resources import CLAIMED, find_clashes, lock_at_once, lock_resource, slot_row
from ..context import Work, load_series_slots, load_specs, segments
from ..errors import LostRace, SlotClosed, SlotNotFound, StaleEdit, no_slot, no_template
from ..models import (
    FIELDS,
    BookingMixin,
    Models,
    SlotMixin,
    Stay,
    TemplateMixin,
    claim_columns,
    copy_of_value,
    has_claim,
    table_of,
)
from ..models.fields import SPEC_FIELDS
from ..settings import Settings
from ..statements import atomic, dialect_of, exclusive, in_parts, leave_trace, locks_rows, take_write_lock
from ..values import (
    MICROSECOND,
    MINUTE,
    OCCUPYING,
    Claim,
    SlotKey,
    State,
    Status,
    StoredSlot,
    TemplateSpec,
    Times,
)

#: A slot that has started may still last; nothing older can matter to a change.
_LOOK_BACK, _DAY = timedelta(days=2), timedelta(days=1)
_NOT_COPIED = {name for name, field in FIELDS.items() if not field.copied}
_SPAN = ("starts_at", "ends_at")
#: Where a session keeps that a call decides: it has looked at all segments, and writes them one by one.
DECIDING = "rollingslots_deciding"
#: Start and end (both aware) of a slot.
Span = tuple[datetime, datetime]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series as it is stored.

    :param specs: all segments, as they follow each other.
    :param rows: the stored slots that are not over, in any status, and the one in question.
    :param now: aware.
    :param horizon: until when slots are stored, UTC: created ones are counted up to there.
    :param templates: the segments' rows by id, if they are locked: for writing, plans do not look at them.
    :param resources: segment id -> what its bookings take of a resource.
    :param settings: segment id -> its fields that a spec has not, by name.
    :param limits: what a template may cost.
    :param pruned: the moment (aware) up to which slots were pruned; ``None``: never, or not asked for.
    """

    specs: tuple[TemplateSpec, ...]
    rows: tuple[StoredSlot, ...]
    now: datetime
    horizon: datetime
    templates: dict[int, TemplateMixin] = field(default_factory=dict)
    resources: dict[int, Claim] = field(default_factory=dict)
    settings: dict[int, dict[str, Any]] = field(default_factory=dict)
    limits: Settings = field(default_factory=Settings)
    pruned: datetime | None = None

    def row_at(self, key: SlotKey) -> StoredSlot | None:
        """Return the stored slot at a key."""
        return next((row for row in self.rows if row.key == key), None)

    def is_future(self, row: StoredSlot) -> bool:
        """Whether a stored slot has not started."""
        return row.starts_at > self.now

    @property
    def revisions(self) -> tuple[tuple[int, int], ...]:
        """The revisions of all segments, by id."""
        return tuple(sorted((spec.id, spec.revision) for spec in self.specs))

    def place_of(self, key: SlotKey, row: StoredSlot | None = None, *, ended: bool = False) -> int:
        """Return the place of the segment that holds a slot, switched on or off.

        :param row: the slot, if it was looked for before.
        :param ended: also find a deleted slot, and what was cancelled or deleted with the series.
        :raises SlotNotFound: if no segment has this start.
        """
        row = row or self.row_at(key)
        for place, spec in enumerate(self.specs):
            if row is not None:
                if row.template_id == spec.id and (ended or row.status != Status.DELETED):
                    return place
            else:
                rule = rule_of(spec) if ended else replace(spec, active=True)
                if planning.planned_at(rule, key.original_start):
                    return place
        raise no_slot(key)

    def virtual_at(self, key: SlotKey) -> StoredSlot:
        """Return the slot at a key that has no row, as it would be stored.

        :raises SlotNotFound: if no active segment has this start, or the slot is over.
        """
        for spec in self.specs:
            slot = planning.planned_at(spec, key.original_start)
            if slot is not None and slot.ends_at > self.now:
                plain: Any = (Status.SCHEDULED.value, spec.capacity, 0, None, None, dict(spec.data))
                return StoredSlot(0, spec.series_id, spec.id, *slot.times, *plain)._replace(own=spec.own)
        raise no_slot(key)

    def in_the_way(self, spec: TemplateSpec, key: SlotKey, span: Span) -> SlotKey | None:
        """Return which other slot takes a time from this one: one that is booked, or that a person moved there.

        ``None``: nobody does; slots of a template that lets its slots overlap are in nobody's way.
        """
        if spec.may_overlap:
            return None
        others = (row for row in self.rows if row.has_precedence and row.key != key)
        return next((row.key for row in others if overlap(span, span_of(row))), None)


def overlap(one: Span, other: Span) -> bool:
    """Whether two spans have more in common than an edge."""
    return one[0] < other[1] and other[0] < one[1]


def in_order(specs: Iterable[TemplateSpec]) -> tuple[TemplateSpec, ...]:
    """Return segments as they follow each other."""
    return tuple(sorted(specs, key=lambda spec: (spec.active_from or datetime.min, spec.id)))


def rule_of(spec: TemplateSpec) -> TemplateSpec:
    """Return a segment as its rule alone has it: switched on, and not ended."""
    if spec.active and spec.cancelled_from is None:
        return spec
    return replace(spec, active=True, cancelled_from=None)


def first_from(spec: TemplateSpec, bound: datetime) -> datetime | None:
    """Return the first original start of a segment that is not before a bound (both naive)."""
    lower = max(bound, spec.active_from) if spec.active_from is not None else bound
    upper = spec.ends_before or datetime.max
    return next(planning.recurrence_of(spec).originals(lower, upper), None) if lower < upper else None


def last_before(spec: TemplateSpec, bound: datetime | None) -> datetime | None:
    """Return the last original start of a segment before a bound (naive), or of all; ``None`` if there is none."""
    recurrence = planning.recurrence_of(spec)
    lowest = max(recurrence.earliest, spec.active_from or datetime.min)
    bounds = [b for b in (bound, spec.ends_before) if b is not None]
    upper, length = min([*bounds, recurrence.latest]), timedelta(days=2)
    while upper > lowest:
        start = upper - length if upper - lowest > length else lowest
        found = deque(recurrence.originals(start, upper), maxlen=1)
        if found:
            return found[0]
        upper, length = start, length * 4
    return None


def last_kept(
    specs: Sequence[TemplateSpec], place: int, cut: datetime | None
) -> tuple[datetime, datetime, datetime] | None:
    """Return the last slot that the rules have before a place, and before a cut in it; ``None`` if there is none.

    :return: its original start, and the wall-clock times at which it is shown to begin and to end (all naive).
    """
    earlier = [(spec, None) for spec in reversed(specs[:place])]
    for spec, bound in [(specs[place], cut), *earlier] if cut is not None else earlier:
        last = last_before(spec, bound)
        if last is not None:
            return last, last + spec.shift, last + spec.shift + spec.duration
    return None


def meeting(earlier: TemplateSpec, later: TemplateSpec) -> tuple[datetime, datetime] | None:
    """Return the original starts of the last slot of a segment and the first of the next, if these overlap."""
    last, first = last_kept((earlier, later), 1, None), first_from(later, datetime.min)
    if last is None or first is None or first + later.shift >= last[2]:
        return None
    return last[0], first


def bound_at(spec: TemplateSpec, moment: datetime) -> datetime:
    """Return the first original start (naive, whole minutes) that is shown at a moment (aware) or later."""
    wall = moment.astimezone(ZoneInfo(spec.timezone)).replace(tzinfo=None) - spec.shift
    minutes = wall.replace(second=0, microsecond=0)
    return minutes if minutes == wall else minutes + MINUTE


def just_after(now: datetime) -> datetime:
    """Return the first instant after a moment, UTC: what starts then has not started."""
    return now.astimezone(UTC) + MICROSECOND


# -- what a decision changes: planned from the stored state, nothing written yet


class SegmentChange(NamedTuple):
    """What changes of a segment.

    :param template_id: the segment.
    :param values: columns that change; of the new segment, if it is cut.
    :param cut_at: original start (naive) from which on a new segment takes over; ``None``: changed in place.
    """

    template_id: int
    values: dict[str, Any]
    cut_at: datetime | None = None


class RowChange(NamedTuple):
    """What changes of a stored slot: column values by name."""

    row: StoredSlot
    values: dict[str, Any]

    @property
    def key(self) -> SlotKey:
        """The slot's identity."""
        return self.row.key


class Expanded(NamedTuple):
    """What the new rule of a segment alone promises around some of its rows.

    :param template_id: the segment, as it was before a cut.
    :param asked: the original starts (naive) that were asked for.
    :param starts: original start (naive) -> start (UTC).
    :param times: the same, with all times by the new rule, as far as they were worked out.
    """

    template_id: int
    asked: frozenset[datetime]
    starts: Mapping[datetime, datetime]
    times: Mapping[datetime, Times]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPlan:
    """What a decision changes: computed from the stored state, and nothing written yet.

    :param changed: stored slots that change; in an edit of one slot also one that is still virtual.
    :param removed: slots of top-ups that the rule no longer yields.
    :param kept_booked: booked slots that stay as they are although they were meant.
    :param expanded: what was expanded on the way, so that it is not done again.
    :param bookings: whose slots are kept, moved or overbooked: the live bookings in them, by id.
    :param overbooked: slots in which more places are taken than they have by now: nothing is left in them.
    """

    segments: tuple[SegmentChange, ...] = ()
    changed: tuple[RowChange, ...] = ()
    removed: tuple[StoredSlot, ...] = ()
    kept_booked: tuple[StoredSlot, ...] = ()
    expanded: tuple[Expanded, ...] = field(default=(), compare=False, repr=False)
    overbooked: tuple[StoredSlot, ...] = ()
    bookings: tuple[BookingMixin, ...] = field(default=(), compare=False, repr=False)


def changed_times(
    spec: TemplateSpec, row: StoredSlot, starts_at: datetime, ends_at: datetime
) -> dict[str, Any]:
    """Return what changes of a row's times when it is moved; opening and closing follow unless a person set them."""
    zone = ZoneInfo(spec.timezone)
    return _differing(row, planning.times_of(spec, row.original_start, starts_at, zone, ends_at))


def _differing(row: StoredSlot, times: Times) -> dict[str, Any]:
    found = zip(Times._fields[1:], times[1:], strict=True)
    values = {name: value for name, value in found if value != getattr(row, name)}
    for name in {"opens_at", "closes_at"}.intersection(row.customised):
        values.pop(name, None)
    return values


def planned_times(
    spec: TemplateSpec,
    row: StoredSlot,
    starts: Mapping[datetime, datetime],
    known: dict[datetime, Times] | None = None,
) -> dict[str, Any] | None:
    """Return what changes of a row's times when it goes where its rule says; ``None`` if the rule lacks it.

    What is stored belongs to its rule also while that is switched off, and after its end: rows stay then. A start or a
    length that a person gave to the slot stays.

    :param starts: what the rule alone promises around the row.
    :param known: original start (naive) -> times by the rule; those of a row that follows it wholly are added.
    """
    starts_at = starts.get(row.original_start)
    if starts_at is None:
        return None
    if not row.customised:
        times = planning.times_of(spec, row.original_start, starts_at, ZoneInfo(spec.timezone))
        if known is not None:
            known[row.original_start] = times
        return _differing(row, times)
    starts_at = row.starts_at if "starts_at" in row.customised else starts_at
    return changed_times(spec, row, starts_at, planning.end_for(spec, row, starts_at))


def marks(
    spec: TemplateSpec, row: StoredSlot, times: Mapping[str, Any], starts: Mapping[datetime, datetime]
) -> dict[str, Any]:
    """Return what changes of the marks of one slot.

    :param times: what changes of its times. ``starts``: what the template offers of it.
    """
    by_rule = starts.get(row.original_start)
    start, end = (times.get(name, getattr(row, name)) for name in _SPAN)
    is_displaced = planning.is_displaced(spec, row.original_start, start, end, ZoneInfo(spec.timezone))
    found: dict[str, Any] = {"withdrawn": by_rule is None or None, "displaced": is_displaced or None}
    return {name: value for name, value in found.items() if value != getattr(row, name)}


def changed_values(
    row: StoredSlot, capacity: int | None, data: dict[str, Any] | None, own: Mapping[str, Any] = _NOTHING
) -> dict[str, Any]:
    """Return what changes of a row's capacity, data and own columns, unless a person set them.

    :param capacity: the new one, also below what is booked: then nothing is left until enough is given back.
    :param data: is merged into the row's own. ``None``: stays as it is.
    :param own: new values of the app's own columns; what slots have not is left out.
    """
    values: dict[str, Any] = {}
    if capacity is not None and "capacity" not in row.customised and capacity != row.capacity:
        values["capacity"] = capacity
    if data is not None and "data" not in row.customised and row.data | data != row.data:
        values["data"] = row.data | data
    for name, value in own.items():
        if name in row.own and name not in row.customised and value != row.own[name]:
            values[name] = value
    return values


def is_overbooked(row: StoredSlot, values: Mapping[str, Any]) -> bool:
    """Whether more places are taken than a slot will have."""
    return row.live > int(values.get("capacity", row.capacity))


def stuck(series: StoredSeries, moves: Iterable[RowChange]) -> set[int]:
    """Return which booked slots stay where they are, for another booked one stays where they would go."""
    going = {
        each.row.id: each for each in moves if each.row.live and not each.values.keys().isdisjoint(_SPAN)
    }
    held = [span_of(row) for row in series.rows if row.live and row.stands and row.id not in going]
    found: set[int] = set()
    while late := [
        each.row for each in going.values() if any(overlap(span_of(*each), span) for span in held)
    ]:
        found |= {row.id for row in late}
        held = [span_of(going.pop(row.id).row) for row in late]
    return found


def span_of(row: StoredSlot, values: Mapping[str, Any] | None = None) -> Span:
    """Return when a slot begins and ends, or will once some values change."""
    values = values or {}
    return values.get("starts_at", row.starts_at), values.get("ends_at", row.ends_at)


# -- reading and locking


@contextmanager
def deciding(work: Work) -> Iterator[None]:
    """Do all of a change or nothing, and say in our words that somebody else was faster.

    :raises StaleEdit: if a template was changed in the meantime.
    """
    if work.dry_run:
        yield
        return
    try:
        with atomic(work.session, work.models.classes):
            work.session.info[DECIDING] = True
            yield
            work.session.flush()
    except StaleDataError as error:
        raise StaleEdit from error
    finally:
        work.session.info.pop(DECIDING, None)


def check_unchanged(session: Session, models: Models, template: TemplateMixin) -> None:
    """Before a template is written through the ORM: refuse it if somebody else changed it since it was read.

    SQLAlchemy would find out too, by the version that its UPDATE does not meet, and raise a StaleDataError. A call that
    decides locked it before it was read.

    :raises StaleEdit: if it was changed or deleted.
    """
    if DECIDING in session.info:
        return
    state, templates = inspect(template), table_of(models.Template)
    seen = state.committed_state.get("revision", state.dict.get("revision"))
    if seen is None:  # what was not read cannot be stale
        return
    take_write_lock(session, templates)
    query = select(templates.c.revision).where(templates.c.id == template.id)
    if session.scalar(exclusive(query, dialect_of(session))) != seen:
        raise StaleEdit


def refuse_stale(current: int, seen: int | None, what: str = "it") -> None:
    """Refuse a decision by somebody who saw another revision than the current one; ``None``: nobody asks.

    :raises StaleEdit: with the current ``revision``.
    """
    if seen is not None and current != seen:
        raise StaleEdit(
            f"revision = {seen}: {what} is at revision {current} by now; read it again, then repeat the change",
            revision=current,
        )


def series_of(work: Work, template_id: int) -> int:
    """Return the series of a template.

    :raises TemplateNotFound: if there is no such template.
    """
    cls = work.models.Template
    found = work.session.execute(select(cls.id, cls.series_id).where(cls.id == template_id)).one_or_none()
    if found is None:
        raise no_template(template_id)
    return int(found.series_id or found.id)


def load_series(
    work: Work, series_id: int, key: SlotKey | None = None, *, resources: bool = False
) -> StoredSeries:
    """Return a series as it is now, and keep others from changing it until the app commits.

    :param key: a slot that is read also if it is over.
    :param resources: keep others from booking its resources, too.
    :raises SlotNotFound: if there is no such series.
    :raises StaleEdit: if this session has read a template that somebody else changed since.
    :raises LostRace: if the series got another resource meanwhile.
    """
    templates: dict[int, TemplateMixin] = {}
    # Before anything else: whoever books locks in this order too.
    held = {}
    if resources or not work.dry_run:
        held = _lock_resources(work, [series_id], resources)
    if work.dry_run:
        specs = load_specs(work, work.models.Template.series_id == series_id)
    else:
        templates = {template.id: template for template in _lock_templates(work, series_id)}
        specs = [TemplateSpec.of(template) for template in templates.values()]
        claims = _claims(templates.values())
        if resources:
            _hold(work, claims, held)
        held = claims
    if not specs:
        raise SlotNotFound(f"series {series_id}: there is no such series", key=str(key or series_id))
    after = work.now - max(_LOOK_BACK, *(spec.duration + _DAY for spec in specs))
    at = key.original_start if key is not None else None
    rows = load_series_slots(work, series_id, after, at, lock=not work.dry_run)
    days, align = work.settings.window_days, work.settings.align
    horizon = max(planning.window_of(spec, work.now, days, align).end for spec in specs)
    settings = _settings(work, series_id, templates)
    return StoredSeries(
        in_order(specs), tuple(rows), work.now, horizon, templates, held, settings, work.settings
    )


def _settings(
    work: Work, series_id: int, templates: Mapping[int, TemplateMixin]
) -> dict[int, dict[str, Any]]:
    """Return the fields of a series' segments that a spec has not."""
    cls, own = work.models.Template, work.models.own
    names = [name for name, field in FIELDS.items() if name not in SPEC_FIELDS and not field.is_kept]
    names += [name for name in own.template if name not in own.shared]
    if templates:
        return {key: {name: getattr(each, name) for name in names} for key, each in templates.items()}
    query = select(cls.id, *(getattr(cls, name) for name in names)).where(cls.series_id == series_id)
    return {number: dict(zip(names, values, strict=True)) for number, *values in work.session.execute(query)}


def lock_claims(work: Work, series_id: int, values: Mapping[str, Any]) -> None:
    """Before a series claims another resource, or lets go of one: lock both, for resources are locked first.

    :param values: what is to change of its templates.
    """
    if work.dry_run or values.keys().isdisjoint(CLAIMED):
        return
    cls = work.models.Template
    names = {
        *work.session.scalars(select(cls.resource).where(cls.series_id == series_id)),
        values.get("resource"),
    }
    for name in sorted(name for name in names if isinstance(name, str)):
        lock_resource(work.session, work.models, name)


def _lock_resources(work: Work, series_ids: Iterable[int], are_all_wanted: bool = True) -> dict[int, Claim]:
    """Return what some series take of their resources by segment, and keep others from booking them.

    :param are_all_wanted: else only of segments with a waiting list: whoever waits may be offered places.
    """
    found = dict[int, Claim]()

    def build(models: Models) -> Any:
        cls = models.Template
        wanted = true() if are_all_wanted else cls.waiting > 0
        mine = cls.series_id.in_(bindparam("series", expanding=True))
        return select(cls.id, *claim_columns(cls)).where(mine, has_claim(cls), wanted)

    query = work.models.build_once(("claims of series", are_all_wanted), build)
    for part in in_parts(sorted(series_ids)):
        found |= {row[0]: Claim._make(row[1:]) for row in work.session.execute(query, {"series": part})}
    for name in sorted({claim.resource for claim in found.values()}) if not work.dry_run else ():
        lock_resource(work.session, work.models, name)
    return found


def _claims(templates: Iterable[TemplateMixin]) -> dict[int, Claim]:
    return {each.id: each.claim for each in templates if each.claim is not None}


def _hold(work: Work, claims: Mapping[int, Claim], held: Mapping[int, Claim]) -> None:
    """Lock the resources that templates claim since they were looked for, if nobody else has them.

    :raises LostRace: if somebody has.
    """
    missing = {claim.resource for claim in claims.values()} - {claim.resource for claim in held.values()}
    if not all(lock_at_once(work, name) for name in sorted(missing)):
        raise LostRace


def _lock_templates(work: Work, series_id: int, *, was_read: bool = True) -> list[TemplateMixin]:
    """Return the segments of a series as they are now, by id; nobody else changes them or books their slots.

    :param was_read: what the session has read of them is what somebody decides by.
    :raises StaleEdit: if somebody else changed it since.
    """
    session, cls = work.session, work.models.Template
    held = [inspect(each) for each in session.identity_map.values() if isinstance(each, cls)]
    known = [state.dict for state in held if not state.expired and "id" in state.dict]
    seen = {each["id"]: each.get("revision") for each in known if each.get("series_id") == series_id}
    dialect = work.dialect

    def build(models: Models) -> tuple[Any, Any]:
        cls = models.Template
        number: BindParameter[int] = bindparam("series")
        query = select(cls).where(cls.series_id == number).order_by(cls.id)
        return exclusive(select(cls.id).where(cls.id == number), dialect), exclusive(query, dialect)

    first, query = work.models.build_once(("segments of a series", dialect), build)
    # The first segment stands for the series: whoever waited for it also sees the segments that were cut meanwhile.
    if locks_rows(dialect):
        session.execute(first, {"series": series_id})
    found = session.scalars(query, {"series": series_id}, execution_options={"populate_existing": True})
    templates: list[TemplateMixin] = list(found)
    current = {template.id: template.revision for template in templates}
    if was_read and any(
        revision is not None and current.get(number) != revision for number, revision in seen.items()
    ):
        raise StaleEdit
    return templates


def lock_templates(work: Work, series_ids: Iterable[int]) -> list[TemplateMixin]:
    """Keep others from changing several series, and return their segments as they are now, by id.

    All who want more than one template take them in this order. A dry run locks nothing.
    """
    cls, wanted = work.models.Template, sorted(set(series_ids))
    if work.dry_run:
        return segments(work, wanted)
    take_write_lock(work.session, table_of(work.models.Slot))
    found: list[TemplateMixin] = []
    _lock_resources(work, wanted, are_all_wanted=False)
    for part in in_parts(wanted):
        # As for one series: whoever waited for the first segments also sees those that were cut meanwhile.
        firsts = select(cls.id).where(cls.id.in_(part)).order_by(cls.id)
        work.session.execute(exclusive(firsts, work.dialect))
    for part in in_parts(wanted):
        query: Any = select(cls).where(cls.series_id.in_(part)).order_by(cls.id)
        query = exclusive(query, work.dialect).execution_options(populate_existing=True)
        found += work.session.scalars(query)
    return found


@contextmanager
def decided_slot(
    work: Work, key: SlotKey, *, hidden: bool = False, ended: bool = False
) -> Iterator[SlotMixin]:
    """Give the row of a slot, its series and their resources locked; one that was made is undone if this is refused.

    In a dry run: a copy of the slot in no session. Parameters and errors are those of ``booking.slot_row``.
    """

    def keep(template: TemplateMixin) -> TemplateSpec:
        held = _lock_resources(work, [key.series_id])
        parts = _lock_templates(work, key.series_id, was_read=False)
        _hold(work, _claims(parts), held)
        # Others of the series are booked by where this slot is.
        leave_trace(work.session, table_of(work.models.Template), [template.id])
        return next(each.spec() for each in parts if each.id == template.id)

    with slot_row(work, key, keep, hidden=hidden, ended=ended, locks=True) as row:
        yield copy_of(row, template=row.template) if work.dry_run else row


def copy_of(instance: Any, **values: Any) -> Any:
    """Return a copy of a template or a slot that is in no session, with some values changed."""
    mapper = inspect(type(instance))
    copied = mapper.class_manager.new_instance()
    names = [attribute.key for attribute in mapper.column_attrs]
    copied.__dict__.update({name: copy_of_value(getattr(instance, name)) for name in names}, **values)
    return copied


# -- resources of booked slots that get other times


def find_blocked(
    work: Work, series: StoredSeries, changes: Iterable[RowChange]
) -> list[tuple[RowChange, Stay]]:
    """Return the changes of slots with bookings that their resource could not take, and where."""
    stays: list[tuple[RowChange, Stay]] = []
    for change in changes:
        row, values = change
        stands = values.get("status", row.status) in OCCUPYING
        takes_time = stands and not values.keys().isdisjoint((*_SPAN, "status"))
        if row.live and takes_time and row.template_id in series.resources:
            start, end = (values.get(name, getattr(row, name)) for name in _SPAN)
            claim = series.resources[row.template_id]
            stays.append((change, Stay(claim, row.id, row.series_id, start, end, row.live)))
    asked = [stay for _, stay in stays]
    clashes = find_clashes(work.session, work.models, work.now, asked, lock=not work.dry_run)
    return [pair for pair in stays if pair[1].slot_id in clashes]


def claiming(series: StoredSeries, plan: SeriesPlan) -> tuple[StoredSeries, list[RowChange]]:
    """Return a series with what its segments are to take of resources; and what changes, with all to which that is new.

    What does not change of a slot itself is in there too, for ``refuse_blocked``.
    """
    resources, specs = dict(series.resources), {spec.id: spec for spec in series.specs}
    changes = {change.row.id: change for change in plan.changed}
    for number, values, cut in plan.segments:
        if values.keys().isdisjoint(CLAIMED):
            continue
        held = {**series.settings.get(number, {}), **values}
        fields = {name: held.get(name, getattr(specs[number], name, None)) for name in CLAIMED}
        resources.pop(number, None)
        claim = Claim.of(SimpleNamespace(**fields))
        if claim is None:
            continue
        resources[number] = claim
        for row in series.rows:
            if (
                row.template_id == number
                and row.ends_at > series.now
                and row.original_start >= (cut or datetime.min)
            ):
                known = changes[row.id].values if row.id in changes else {}
                changes[row.id] = RowChange(row, {"status": row.status, **known})
    return replace(series, resources=resources), list(changes.values())


def refuse_blocked(work: Work, series: StoredSeries, changes: Iterable[RowChange]) -> None:
    """Refuse changes that would let bookings overlap on an exclusive resource, or take more than a pool has.

    :raises SlotClosed: names the first slot in its text, and all in ``keys``.
    """
    blocked = find_blocked(work, series, changes)
    if not blocked:
        return
    (_, first), keys = blocked[0], [str(change.key) for change, _ in blocked]
    more = f" (and {len(keys) - 1} more)" if keys[1:] else ""
    text = (
        f"slot {keys[0]}{more} is booked, and {first.claim.resource!r} is taken by another booking at "
        f"{first.starts_at:%Y-%m-%d %H:%M} UTC: release or move one of both first"
    )
    raise SlotClosed(text, key=keys[0], keys=keys, state=State.BLOCKED.value)
