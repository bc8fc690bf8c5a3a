"""The table of a template's fields: everything that handles fields by name follows from it.

Each attribute of :class:`TemplateMixin` is one entry. Columns, checks, creating, cutting a series, HTTP bodies and
answers, OpenAPI, files and the documentation read :data:`FIELDS`, so a new field is one new entry.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time, timedelta
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sqlalchemy import Integer, false, inspect, text, true
from sqlalchemy.orm import Mapped, MappedColumn, declared_attr, mapped_column

from ..errors import CONTROLS, InvalidTemplate, RollingSlotsError, limit_refusal, overlap_refusal, refusal
from ..lazy import lazy
from ..settings import MAX_DAYS, Settings
from ..values import YEARS, Claim, TemplateSpec, utc_now
from .kinds import (
    Choice,
    Clock,
    Counted,
    Data,
    DayRanges,
    FirstStart,
    Flag,
    Instant,
    Kind,
    Length,
    Listed,
    Number,
    Starts,
    Text,
    WallClock,
)

if TYPE_CHECKING:
    from .. import planning
    from ..recurrence import Recurrence, public_holidays
else:
    planning, public_holidays = lazy(".planning", ".recurrence.public_holidays")


class Change(Enum):
    """How a field may change once its series is there."""

    #: Never by a person: the library keeps it up.
    KEPT = "kept"
    #: A setting that a new template says with its rule.
    ONCE = "once"
    #: Set as it is, in all segments of a series or from a slot on; stored slots follow.
    SETTING = "setting"
    #: With a meaning of its own in an edit: ``None`` changes nothing, ``data`` is merged.
    EDIT = "edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateField:
    """What is known of one field.

    :param kind: its column, its check, and how JSON says it.
    :param meaning: what it is, for the documentation: one sentence without its full stop.
    :param change: who may change it, and how.
    :param default: its value where nobody gives one, or a callable that makes it.
    :param needed: whether every template must be given it.
    :param in_files: whether it is exported and imported.
    :param copied: whether the later part of a cut series begins with it.
    :param to_slots: whether each slot has it too, and a person may change it there.
    :param is_decision: whether a change is somebody's decision, which raises the revision and is noted.
    :param name: of the attribute. ``nullable``: whether ``None`` can be stored. Both as the class has them.
    """

    kind: Kind
    meaning: str
    change: Change = Change.SETTING
    default: Any = None
    needed: bool = False
    in_files: bool = True
    copied: bool = True
    to_slots: bool = False
    is_decision: bool = True
    name: str
    nullable: bool

    @property
    def key(self) -> str:
        """The name in JSON: over HTTP and in files."""
        return f"{self.name}{self.kind.suffix}"

    @property
    def sentence(self) -> str:
        """The meaning as a sentence."""
        return f"{self.meaning[0].upper()}{self.meaning[1:]}."

    @property
    def is_kept(self) -> bool:
        """Whether the library keeps it up itself."""
        return self.change is Change.KEPT

    @property
    def initial(self) -> Any:
        """The value where nobody gives one."""
        return self.default() if callable(self.default) else self.default

    def check(self, value: Any) -> None:
        """Refuse a value that is not right. ``None`` is, unless it is needed: a default takes its place.

        :raises InvalidTemplate: names the field, the value and what is expected.
        """
        missing = self.kind.expected if self.needed else None
        expected = missing if value is None else self.kind.fault(value)
        if expected is not None:
            expected = f"{expected}, or None" if self.nullable else expected
            raise refusal(self.name, value, expected, InvalidTemplate)


def _field(
    kind: Kind,
    meaning: str,
    change: Change = Change.SETTING,
    *,
    default: Any = None,
    column: str | None = None,
    primary_key: bool = False,
    index: bool | None = None,
    before: Any = None,
    **more: bool,
) -> Any:
    """Return a column with its entry for the table; see :class:`TemplateField`.

    :param column: its name in the database, if that is another one.
    :param before: in SQL, the value of rows that were there before the column was.
    """
    given: dict[str, Any] = {"primary_key": primary_key, "index": index, "server_default": before}
    if default is not None:
        given["default"] = default
    names = () if column is None else (column,)
    made: MappedColumn[Any] = mapped_column(*names, kind.column, **given)
    # Not as an argument: that would drop what a mutable type notes there.
    made.column.info[_ENTRY] = _entry(kind=kind, meaning=meaning, change=change, default=default, **more)
    return made


#: The class says later what it is called, and whether it may be empty.
_entry: Any = partial(TemplateField, name="", nullable=False)
_ENTRY = "rollingslots"
_KEPT, _ONCE, _EDIT = Change.KEPT, Change.ONCE, Change.EDIT
_noted = partial(_field, change=_KEPT, in_files=False, copied=False, is_decision=False)


class TemplateFacts:
    """What is true of a template besides what is stored of it; needs the fields of :class:`TemplateMixin`.

    A mapped row has them, and so has a value that was read for a page.
    """

    if TYPE_CHECKING:
        rolling_models: ClassVar[Any]
        overlapping: Any
        exclusive: Any
        pool: Any

    @property
    def rolling_own(self) -> dict[str, Any]:
        """The values of the app's own columns that its slots have too, by name."""
        models = self.rolling_models
        return {name: getattr(self, name) for name in models.own.shared} if models is not None else {}

    @property
    def rolling_shown(self) -> dict[str, Any]:
        """The values of all of the app's own columns as JSON has them, by the name that they have there."""
        models = self.rolling_models
        return models.own.shown(self, models.own.template) if models is not None else {}

    def spec(self) -> TemplateSpec:
        """Return the template as plain data, independent of any session."""
        return TemplateSpec.of(self)

    @property
    def rolling_times(self) -> TemplateSpec:
        """What planning needs to know when its slots are: all but their data."""
        return TemplateSpec.of(self, copied=False, wholly=False)

    @property
    def claim(self) -> Claim | None:
        """What its bookings take of its resource, if they do: all of it (``exclusive``), or places (``pool``)."""
        return Claim.of(self)

    @property
    def may_overlap(self) -> bool:
        """Whether its slots may overlap each other: it says so, or its resource bounds their bookings."""
        return bool(self.overlapping or self.exclusive or self.pool is not None)

    @property
    def recurrence(self) -> Recurrence:
        """The template's rule."""
        return planning.recurrence_of(self.rolling_times)


class TemplateMixin(TemplateFacts):
    """A recurring offer: rule, wall-clock time, zone, duration, capacity, and the app's own fields."""

    __tablename__ = "rolling_template"
    rolling_models: ClassVar[Any] = None

    id: Mapped[int] = _noted(Counted(), "the number of this segment, never used again", primary_key=True)
    series_id: Mapped[int | None] = _noted(
        Counted(), "the id of the series' first segment, and the first part of every key", index=True
    )
    continues_id: Mapped[int | None] = _noted(Counted(), "the segment of the series before this one")
    revision: Mapped[int] = _noted(
        Counted(Integer()), "rises with every decision; `edit(revision=…)` and `If-Match` compare it"
    )
    name: Mapped[str] = _field(
        Text(200, blank=False), "what is offered, at most 200 characters", _EDIT, needed=True
    )
    group: Mapped[str | None] = _field(
        Text(200),
        "a venue, a tenant, a student: for bulk operations, and results of their own in reports",
        column="group_name",
        index=True,
    )
    active: Mapped[bool] = _field(Flag(), "`False`: nothing is shown or bookable; rows stay", default=True)
    rrule: Mapped[str | None] = _field(
        Text(10_000, blank=False, lines=True),
        "the rule, an RRULE; without one there is a single slot, or a single day of the grid",
        _EDIT,
        in_files=False,
    )
    dtstart: Mapped[datetime] = _field(
        FirstStart(),
        "the first possible start, on the wall clock of the zone; whole minutes",
        _ONCE,
        needed=True,
    )
    timezone: Mapped[str] = _field(
        Text(64, "the name of an IANA zone as text, such as 'Europe/Madrid'"),
        "an IANA name; `ROLLINGSLOTS_TIMEZONE` by default",
        _ONCE,
    )
    duration: Mapped[timedelta] = _field(
        Length(1, whole=True), "how long a slot is, whole minutes", _EDIT, needed=True
    )
    ends_by: Mapped[str] = _field(
        Choice("wall_clock", "elapsed"),
        "`wall_clock`: the end is that much later on the wall, whatever the clock did between; `elapsed`: the length "
        "is exact",
        default="wall_clock",
        before=text("'wall_clock'"),
    )
    every: Mapped[timedelta | None] = _field(
        Length(1, whole=True),
        "a grid of the day: from the time of `dtstart`, a slot each `every` while it ends by `until_time`",
        _ONCE,
    )
    until_time: Mapped[time | None] = _field(Clock(), "where the grid of the day ends", _ONCE)
    capacity: Mapped[int] = _field(
        Number(1, 1_000_000), "places in a slot; 1 by default", _EDIT, default=1, to_slots=True
    )
    rdates: Mapped[list[datetime]] = _field(Starts(), "single starts more", default=list)
    exdates: Mapped[list[datetime | date]] = _field(
        Starts(days=True), "single starts less; whole days as `date`", default=list
    )
    holidays: Mapped[str | None] = _field(
        Text(16), '`"ES"`, `"ES-MD"`: no slots on public holidays. Needs the extra `holidays`'
    )
    blackouts: Mapped[list[tuple[date, date]]] = _field(
        DayRanges(), "first and last day without slots", default=list
    )
    window_days: Mapped[int | None] = _field(Number(1, MAX_DAYS), "a window of its own, 1 to 3,660")
    opens_before: Mapped[timedelta | None] = _field(
        Length(), "bookable from so long before the start; empty: at once"
    )
    opens_days_before: Mapped[int | None] = _field(
        Number(0, MAX_DAYS), "or from a time of the day so many days before the grid day on"
    )
    opens_time: Mapped[time | None] = _field(Clock(), "that time of the day; midnight by default")
    closes_before: Mapped[timedelta | None] = _field(
        Length(None),
        "the latest moment to book, before the start; negative: while it runs, at most to its end",
    )
    closes_days_before: Mapped[int | None] = _field(
        Number(0, MAX_DAYS), "or until a time of the day so many days before the grid day"
    )
    closes_time: Mapped[time | None] = _field(Clock(), "that time of the day; midnight by default")
    cancel_before: Mapped[timedelta | None] = _field(
        Length(), "until so long before the start places may be given back or moved; empty: until the start"
    )
    max_party: Mapped[int | None] = _field(Number(1, 1_000_000), "the most places in one booking")
    max_per_person: Mapped[int | None] = _field(
        Number(1, 1_000_000), "the most places of one person (`who`) in one slot, those waited for too"
    )
    max_per_person_day: Mapped[int | None] = _field(
        Number(1, 1_000_000), "the same on one grid day of the series"
    )
    max_per_person_week: Mapped[int | None] = _field(
        Number(1, 1_000_000), "the same in one week of the series, Monday to Sunday"
    )
    waiting: Mapped[int] = _field(
        Number(0, 1_000_000), "places on the waiting list; 0: there is none", default=0, before=text("0")
    )
    waiting_auto: Mapped[bool] = _field(
        Flag(),
        "places that become free are booked for whoever waits first; else they are offered",
        default=False,
        before=false(),
    )
    reminder_before: Mapped[timedelta | None] = _field(Length(), "when `slots.reminders()` tells of it")
    resource: Mapped[str | None] = _field(
        Text(200), "a court, a room, a teacher that several templates share", index=True
    )
    exclusive: Mapped[bool] = _field(
        Flag(), "two bookings on the resource cannot overlap in time", default=False
    )
    pool: Mapped[int | None] = _field(
        Number(1, 1_000_000),
        "so many places can be taken on the resource at any moment, over all templates that share it",
    )
    setup: Mapped[timedelta | None] = _field(
        Length(),
        "a booking occupies the resource so long before the slot starts; slots of its own series apart",
    )
    cleanup: Mapped[timedelta | None] = _field(Length(), "the same after the slot ends")
    resource_shared: Mapped[bool] = _field(
        Flag(),
        "templates of other groups that share the resource mean the same one; else each group has its own",
        default=False,
        before=true(),
    )
    overlapping: Mapped[bool] = _field(
        Flag(),
        "its slots may overlap each other; needed, or `exclusive` or `pool`, where the rule lets them within a year",
        default=False,
        before=true(),
    )
    keep_history: Mapped[bool] = _field(
        Flag(),
        "past slots that were promised while nobody came are made too",
        default=False,
        before=false(),
    )
    data: Mapped[dict[str, Any]] = _field(
        Data(),
        "your own fields, copied to each slot and editable there; what JSON can hold",
        _EDIT,
        default=dict,
        to_slots=True,
    )
    active_from: Mapped[datetime | None] = _field(
        WallClock(), "the original start at which this segment of a series begins", _KEPT
    )
    active_until: Mapped[datetime | None] = _field(
        WallClock(), "the original start at which the next segment takes over", _KEPT
    )
    #: Beside the rule and its bounds, so that it can be undone.
    cancelled_from: Mapped[datetime | None] = _field(
        WallClock(), "from this original start on the series was cancelled or deleted", _KEPT
    )
    shift: Mapped[timedelta] = _field(
        Length(None, whole=True),
        "how far the shown times are from the original ones",
        _KEPT,
        default=timedelta(0),
    )
    settled_revision: Mapped[int | None] = _noted(
        Counted(Integer()), "the revision with which all stored slots were last brought in line", default=1
    )
    history_until: Mapped[datetime | None] = _noted(
        Instant(), "with `keep_history`: up to where the past is complete"
    )
    created_at: Mapped[datetime] = _noted(Instant(), "when the row was made", default=utc_now)
    changed_at: Mapped[datetime | None] = _noted(Instant(), "when it was last changed; empty: never")

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.revision}

    def rolling_with(self, changes: Mapping[str, Any]) -> Self:
        """Return it as it would be with other values, outside of any session; what is no field is left out."""
        own = self.rolling_models.own.template if self.rolling_models is not None else ()
        values = {name: getattr(self, name) for name in (*FIELDS, *own)}
        given = {name: value for name, value in changes.items() if name in values}
        if isinstance(given.get("data"), dict):  # which an edit merges
            given["data"] = {**(values["data"] or {}), **given["data"]}
        return type(self)(**{**values, **given})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.name!r}>"


def _table() -> dict[str, TemplateField]:
    found = {}
    for name, column in vars(TemplateMixin).items():
        if isinstance(column, MappedColumn):
            nullable = TemplateMixin.__annotations__[name].endswith("| None]")
            found[name] = replace(column.column.info[_ENTRY], name=name, nullable=nullable)
    return found


#: All fields of a template by name, in the order of their columns.
FIELDS = _table()
#: Those that planning knows; the others stay with the template.
SPEC_FIELDS = tuple(field.name for field in fields(TemplateSpec) if field.name in FIELDS)
SPEC_LISTS = tuple(name for name in SPEC_FIELDS if isinstance(FIELDS[name].kind, Listed))
#: Fields of a slot that come from its template under the same name.
TO_SLOTS = tuple(name for name, field in FIELDS.items() if field.to_slots)


def _is_old_text(template: Any, name: str) -> bool:
    """Whether a text is stored as it is, from before control characters were refused: no other change fails for it."""
    value = getattr(template, name)
    if not isinstance(value, str) or not CONTROLS.search(value):
        return False
    state = inspect(template, raiseerr=False)
    return state is not None and state.persistent and not state.attrs[name].history.has_changes()


def check_template(template: Any) -> None:
    """Refuse a template, or what has its fields and its ``recurrence``, that could not be filled.

    :raises InvalidTemplate: for a field of the wrong type or out of range.
    :raises InvalidRule: if the rule, the zone or the grid is not valid.
    """
    for name, field in FIELDS.items():
        if not _is_old_text(template, name):
            field.check(getattr(template, name))
    if template.opens_before is not None and template.opens_days_before is not None:
        expected = "either opens_before or opens_days_before, not both"
        raise refusal("opens_before", template.opens_before, expected, InvalidTemplate)
    if template.closes_before is not None and template.closes_days_before is not None:
        expected = "either closes_before or closes_days_before, not both"
        raise refusal("closes_before", template.closes_before, expected, InvalidTemplate)
    for name in ("opens", "closes"):
        clock = getattr(template, f"{name}_time")
        if clock is not None and getattr(template, f"{name}_days_before") is None:
            expected = f"{name}_days_before too: the number of days before"
            raise refusal(f"{name}_time", clock, expected, InvalidTemplate)
    _check_resource(template)
    if template.holidays is not None:
        public_holidays.check_holidays(template.holidays)
    rule = template.recurrence.rule  # raises InvalidRule
    if rule is not None and any(rule.bysecond):
        expected = "a rule without BYSECOND: slot keys have no seconds"
        raise refusal("rrule", template.rrule, expected, InvalidTemplate)
    _check_overlaps(template)


def _check_resource(template: Any) -> None:
    """Refuse to take something of a resource that is not named, or to take it in two ways."""
    if template.exclusive and template.resource is None:
        expected = "a resource too: the name of what only one may have at a time"
        raise refusal("exclusive", template.exclusive, expected, InvalidTemplate)
    if template.pool is not None and template.resource is None:
        expected = "a resource too: the name of what has so many places"
        raise refusal("pool", template.pool, expected, InvalidTemplate)
    if template.pool is not None and template.exclusive:
        expected = "either exclusive or pool, not both"
        raise refusal("pool", template.pool, expected, InvalidTemplate)


#: What it follows from how many slots there are.
_OF_NUMBER = frozenset(("rrule", "dtstart", "duration", "every", "until_time", "rdates", "window_days"))


def check_limits(template: Any, settings: Settings, names: Collection[str]) -> None:
    """Refuse what would make a template cost more than the app allows; what it had before may stay.

    :param template: a template, or its spec; its fields and its rule are valid.
    :param names: the fields that are new or changed.
    :raises InvalidTemplate: names the field, the value and the limit.
    """
    if "data" in names:
        check_data(template.data, settings)
    count = len(template.blackouts or ())
    if "blackouts" in names and count > settings.blackouts_max:
        raise limit_refusal("blackouts", count, settings.blackouts_max, "ranges of days", "blackouts_max")
    dates = len(template.rdates or ()) + len(template.exdates or ())
    if dates > settings.dates_max and not {"rdates", "exdates"}.isdisjoint(names):
        field = "rdates" if "rdates" in names else "exdates"
        of = "single dates, rdates and exdates together"
        raise limit_refusal(field, dates, settings.dates_max, of, "dates_max")
    if not _OF_NUMBER.isdisjoint(names):
        spec = template if isinstance(template, TemplateSpec) else template.spec()
        _check_number(spec, settings)


def check_times(slot: Any, kind: type[RollingSlotsError] = InvalidTemplate) -> None:
    """Refuse times of a slot that lie so far away that reading it would fail; ``None`` is no time.

    :raises InvalidTemplate: or the kind of error that is given; names the field.
    """
    for name in ("starts_at", "ends_at", "opens_at", "closes_at"):
        moment = getattr(slot, name)
        # A slot that begins in the last year may end later, by its length at most.
        if moment is not None and not YEARS.start - 11 <= moment.year < YEARS.stop + (name == "ends_at"):
            expected = f"a time within the years {YEARS.start} to {YEARS.stop - 1}"
            raise refusal(name, moment, expected, kind)


def check_data(data: Mapping[str, Any] | None, settings: Settings) -> None:
    """Refuse ``data`` of a template or a slot that is too long as JSON.

    :raises InvalidTemplate: names the limit.
    """
    size = len(json.dumps(data or {}, ensure_ascii=False).encode(errors="surrogatepass"))
    if size > settings.data_bytes_max:
        raise limit_refusal("data", size, settings.data_bytes_max, "bytes as JSON", "data_bytes_max")


def _check_number(spec: TemplateSpec, settings: Settings) -> None:
    recurrence = planning.recurrence_of(spec)
    field = "every" if recurrence.grid is not None else "rrule" if spec.rrule is not None else "rdates"
    a_day, most = recurrence.most_a_day(), settings.slots_per_day_max
    if a_day > most:
        raise limit_refusal(
            field, getattr(spec, field), most, f"slots a day, not {a_day:,}", "slots_per_day_max"
        )
    days, most = (
        planning.window_length(spec, settings.window_days, settings.align),
        settings.slots_per_window_max,
    )
    if a_day * days > most and (within := recurrence.most_within(days)) > most:
        field = field if spec.window_days is None else "window_days"
        of = f"slots in a window of {days:,} days, not {within:,}"
        raise limit_refusal(field, getattr(spec, field), most, of, "slots_per_window_max")


def _check_overlaps(template: TemplateMixin) -> None:
    """Refuse a rule that lets slots overlap each other, unless somebody says that they may."""
    spec = template.spec()
    found = () if spec.may_overlap else planning.overlaps(spec)
    if found:
        field = "rdates" if not planning.overlaps(replace(spec, rdates=())) else "duration"
        raise overlap_refusal(field, getattr(template, field), found, InvalidTemplate)
