"""What the API takes: the types of single values, a model of each body and query, and what the facade wants of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PrivateAttr, Tag, WithJsonSchema

from ..errors import InvalidRule
from ..facade import LONGEST_STEP, MOST_WEEKS, RollingSlots
from ..models import FIELDS, Change, TemplateField, TemplateMixin
from ..settings import MAX_EVENT_DAYS
from ..values import SlotKey, Window, local_midnight
from .problems import invalid

#: The longest span of one call.
LONGEST = timedelta(days=92)
MAX_ID = 2**63 - 1
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9990, 1, 1, tzinfo=UTC)
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = "[0-9]{2}:[0-9]{2}"
_WALL = f"{_DAY}T{_TIME}(:00)?"
_MOMENT = re.compile(f"{_DAY}[Tt ]{_TIME}:[0-9]{{2}}([.][0-9]{{1,9}})?([Zz]|[+-]{_TIME})")
_NUMBER = re.compile("-?[0-9]{1,18}")


class Strict(BaseModel, extra="forbid", strict=True, arbitrary_types_allowed=True):
    """A body or a query: every field is known, and nothing is converted silently.

    :cvar own_of: whose columns of the app's own it takes too: ``template``, ``slot``.
    """

    own_of: ClassVar[tuple[str, ...]] = ()
    _own: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def own(self) -> dict[str, Any]:
        """The values of the app's own columns, by name, as they were read beside the fields."""
        return self._own


# -- single values ---------------------------------------------------------------------------------------------


def _read(pattern: str, read: Callable[[str], Any], expected: str, value: Any) -> Any:
    """Return a day or a time that is written in one form."""
    if isinstance(value, str) and re.fullmatch(pattern, value):
        with suppress(ValueError, OverflowError):
            found = read(value)
            if 1900 <= getattr(found, "year", 2000) <= 9990:
                return found
    raise ValueError(expected)


def _read_either(
    pattern: str, first: Callable[[Any], Any], other: Callable[[Any], Any], words: str, value: Any
) -> Any:
    """Return what is written in one of two forms; a refusal names the first one, which has a pattern, in words."""
    if isinstance(value, str) and re.fullmatch(pattern, value):
        return first(value)
    try:
        return other(value)
    except ValueError as error:
        raise ValueError(f"{error}{words}") from None


_WALL_CLOCK = "a wall-clock time in the template's zone, as YYYY-MM-DDTHH:MM, without an offset"
_read_day = partial(_read, _DAY, date.fromisoformat, "a day as YYYY-MM-DD, years 1900 to 9990")
_read_clock = partial(_read, _TIME, time.fromisoformat, "a time of day as HH:MM")
_read_wall_clock = partial(_read, _WALL, datetime.fromisoformat, _WALL_CLOCK)


def _read_moment(value: Any) -> datetime:
    expected = "an instant with its offset, such as 2026-01-05T10:00:00Z or 2026-01-05T10:00:00+01:00"
    if isinstance(value, str) and re.fullmatch(f"{_DAY}T{_TIME}:[0-9]{{2}} {_TIME}", value):
        raise ValueError(f"{expected}; in an address + is written as %2B")
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError(expected)
    try:
        found = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(expected) from None
    if not _FIRST <= found <= _LAST:
        raise ValueError(f"{expected}, from 1970 to 9990")
    return found


def _read_number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("a whole number in ASCII digits")
    return int(text)


def _read_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


#: Where a slot stands in a list: start, series, original start.
Place = tuple[datetime, int, datetime]
#: What is expected of a cursor: it is ours, and says nothing to others.
_CURSOR = "the cursor in the address that next names"


def _read_id_cursor(cursor: str, *, longest: int = 18) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= longest):
        raise ValueError(_CURSOR)
    return int(cursor)


def _read_place_cursor(cursor: str) -> Place:
    seconds, _, text = cursor.partition(".")
    try:
        starts_at, key = (
            datetime.fromtimestamp(_read_id_cursor(seconds, longest=12), UTC),
            SlotKey.parse(text),
        )
        return starts_at, key.series_id, key.original_start
    except (ValueError, OverflowError, OSError):
        raise ValueError(_CURSOR) from None


def _text(description: str, pattern: str | None = None, **schema: str) -> WithJsonSchema:
    schema |= {"pattern": f"^{pattern}$"} if pattern else {}
    return WithJsonSchema({"type": "string", "description": description, **schema})


Day = Annotated[date, BeforeValidator(_read_day), _text("A day, YYYY-MM-DD.", format="date")]
WallClock = Annotated[
    datetime,
    BeforeValidator(_read_wall_clock),
    _text("Wall-clock time in the template's zone, without an offset.", _WALL),
]
MomentOrDay = Annotated[
    datetime | date,
    BeforeValidator(partial(_read_either, _DAY, _read_day, _read_moment, ", or a day as YYYY-MM-DD")),
    _text("An instant with its offset, or a day.", f"({_DAY}|{_DAY}T{_TIME}:[0-9]{{2}}(Z|[+-]{_TIME}))"),
]
Start = Annotated[
    datetime | time,
    BeforeValidator(
        partial(_read_either, _TIME, _read_clock, _read_wall_clock, ", or a time of day as HH:MM")
    ),
    _text("New wall-clock start: a time of the same day, or day and time.", f"({_TIME}|{_WALL})"),
]
FirstStart = Annotated[
    datetime | date,
    BeforeValidator(partial(_read_either, _DAY, _read_day, _read_wall_clock, "")),
    _text(
        "Wall-clock time of the first start, or its day where the rule has start_time.", f"({_DAY}|{_WALL})"
    ),
]

#: In bodies numbers are numbers; in queries they are written in digits.
Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Group = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(max_length=500)]
ScopeName = Annotated[
    str,
    Field(
        pattern="^(this|this_only|this_and_future|all)$",
        description="Which slots: this (or this_only), this_and_future, all.",
    ),
]
# Last, or JSON Schema would not know the bounds.
_Number = BeforeValidator(_read_number)
QueryId = Annotated[int, Field(ge=1, le=MAX_ID), _Number]
OfSeries = Annotated[QueryId | None, Field(description="The whole series of this template.")]
QueryFlag = Annotated[bool, BeforeValidator(_read_flag)]
IdCursor = Annotated[str, Field(max_length=100), AfterValidator(_read_id_cursor)]
PlaceCursor = Annotated[str, Field(max_length=100), AfterValidator(_read_place_cursor)]


def span_of(given: Mapping[str, date | datetime | None], zone: ZoneInfo, longest: timedelta) -> Window:
    """Return the span that two parameters of a query, by name, mean; a day means its first moment in a zone."""
    (first, last), (start, end) = given, (instant(value, zone) for value in given.values())
    if start is None or end is None:
        raise invalid(first if start is None else last, None, f"{first} and {last} together")
    if end < start:
        raise invalid(last, given[last], f"a moment not before {first}")
    if end - start > longest:
        raise invalid(last, given[last], f"at most {longest.days} days after {first}")
    return Window(start, end)


def instant(value: date | datetime | None, zone: ZoneInfo) -> datetime | None:
    """Return an instant; a day means its first moment in a zone."""
    return value if value is None or isinstance(value, datetime) else local_midnight(value, zone)


# -- rules -----------------------------------------------------------------------------------------------------

Weekday = Annotated[int, Field(ge=0, le=6, description="0 = Monday.")]
Length = Annotated[int | str, Field(description="Whole minutes, or a text as H:MM.")]
Moments = Annotated[list[str], Field(max_length=1000, description="YYYY-MM-DDTHH:MM or YYYY-MM-DD.")]
Few = Annotated[int, Field(ge=1, le=10**9)]


class Recurrence(Strict):
    """A rule as a JSON object; null means absent. See docs/http.md for what the fields mean together."""

    type: Literal["daily", "weekly", "biweekly", "monthly", "quarterly", "yearly", "rrule"] | None = None
    interval: Few | None = None
    count: Few | None = None
    until_date: str | None = Field(None, description="Last day, YYYY-MM-DD.")
    end: Literal["never"] | None = None
    enabled: bool | None = None
    active: bool | None = None
    weekday: Weekday | None = None
    weekdays: Annotated[list[Weekday], Field(max_length=7)] | None = None
    month_day: Annotated[int, Field(ge=-31, le=31)] | None = None
    week: Literal[1, 2, 3, 4, -1] | None = None
    start_time: str | None = Field(None, description="HH:MM")
    end_time: str | None = Field(None, description="HH:MM; not later than start_time: on the next day.")
    start_date: str | None = Field(None, description="YYYY-MM-DD")
    duration: Length | None = None
    every: Length | None = None
    until_time: str | None = Field(None, description="HH:MM")
    rdates: Moments | None = None
    exdates: Moments | None = None
    rrule: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None


#: The names of the branches; in brackets, so that nobody takes them for fields.
_OBJECT, _LIST = "[object]", "[list]"
Rule = Annotated[
    Annotated[Recurrence, Tag(_OBJECT)]
    | Annotated[
        list[Recurrence],
        Tag(_LIST),
        Field(min_length=1, max_length=50, description="A fixed schedule: one template for each entry."),
    ],
    pydantic.Discriminator(lambda value: _LIST if isinstance(value, list) else _OBJECT),
]


# -- the fields of a template ----------------------------------------------------------------------------------


def taken(field: TemplateField, empty: bool) -> Any:
    """Return the type of a template's field in a body, whose value is what the column holds, or perhaps empty."""

    def read(value: Any) -> Any:
        try:
            found = field.kind.read(field.key, value)
        except InvalidRule as error:
            raise ValueError(error.details["expected"]) from None
        if field.kind.fault(found) is not None:
            raise ValueError(field.kind.in_json)
        return found

    found = Annotated[Any, BeforeValidator(read), WithJsonSchema(field.kind.form | field.kind.limits)]
    return found | None if empty else found


def _empty_when_new(field: TemplateField) -> bool:
    """Whether null may be said, and is the default: here of a new template."""
    if field.needed and field.name not in Recurrence.model_fields:
        return False
    return field.initial is None or field.default is list


def _empty_when_changed(field: TemplateField) -> bool:
    """Null clears what can be empty; of what is edited, and of what must be there, it changes nothing."""
    return field.change in (Change.EDIT, Change.ONCE) or field.nullable or field.default is list


def _with_fields(may_be_empty: Callable[[TemplateField], bool], *changes: Change) -> Any:
    """Return a body that has the fields of a template that may change so."""
    fields: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if field.change in changes:
            empty, initial = may_be_empty(field), field.initial
            default = None if empty else ... if initial is None else initial
            about = Field(default, alias=field.key, description=field.sentence)
            fields[name] = (taken(field, empty), about)
    return pydantic.create_model("_Fields", __base__=Strict, **fields)


# Made from a table, so that mypy cannot know them as classes.
_NewFields: Any = _with_fields(_empty_when_new, Change.ONCE, Change.SETTING, Change.EDIT)
_ChangedFields: Any = _with_fields(_empty_when_changed, Change.ONCE, Change.SETTING, Change.EDIT)
#: What the rule of a new template says, whichever way it is said.
_OF_RULE = ("dtstart", "timezone", "rrule")


class TemplateBody(_NewFields):  # type: ignore[misc]
    """A new template."""

    own_of = ("template",)

    dtstart: FirstStart | None = None
    end: WallClock | None = Field(None, description="End of the first slot; instead of duration_minutes.")
    recurrence: Rule | None = Field(None, description="Or rrule; neither: one slot.")
    dry_run: bool = False

    def templates(self, slots: RollingSlots) -> list[dict[str, Any]]:
        """Return the fields of the template, or of each template of a fixed schedule."""
        said = self.model_fields_set & FIELDS.keys() - set(_OF_RULE)
        own = {name: value for name in said if (value := getattr(self, name)) is not None} | self.own
        rules = slots.read_recurrence(self._rule(), self.dtstart, self.timezone)
        return [self._joined(rule, own) for rule in rules]

    def _rule(self) -> Any:
        given = self.recurrence
        if given is not None and self.rrule is not None:
            raise invalid("rrule", self.rrule, "either recurrence or rrule")
        if given is None:
            plain: list[dict[str, Any]] = [{"type": "rrule", "rrule": self.rrule}]
        else:
            plain = [
                each.model_dump(exclude_none=True) for each in (given if isinstance(given, list) else [given])
            ]
        if type(self.dtstart) is date and not all("start_time" in each for each in plain):
            raise invalid("dtstart", self.dtstart, "a time too: YYYY-MM-DDTHH:MM")
        return plain if isinstance(given, list) else plain[0]

    def _joined(self, rule: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
        rule = {name: value for name, value in rule.items() if name != "gap"}
        twice = sorted(set(rule) & set(own) - {"active"})
        if twice:
            raise invalid(twice[0], None, f"{twice[0]} once: in the recurrence, or beside it")
        found = {**rule, **own}
        if self.end is not None:
            if "duration" in found:
                raise invalid("end", self.end, "either end or a duration")
            # By the wall clock.
            first = self.dtstart if isinstance(self.dtstart, datetime) else rule["dtstart"]
            if self.end <= first:
                raise invalid("end", self.end, f"a time after the start, {first.isoformat()}")
            found["duration"] = self.end - first
        if "duration" not in found:
            if "every" not in found:
                raise invalid("duration_minutes", None, "duration_minutes, end, every_minutes or end_time")
            found["duration"] = found["every"]
        return found


class _Changes(Strict):
    """What is to be changed, of slots or of their series."""

    recurrence: Recurrence | None = None
    move_booked: bool = False
    dry_run: bool = False

    def _of(self, change: Change) -> dict[str, Any]:
        return {name: getattr(self, name) for name, field in FIELDS.items() if field.change is change}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings and own columns that are to be changed, by name."""
        said = {**self._of(Change.ONCE), **self._of(Change.SETTING)}
        given = {name: value for name, value in said.items() if name in self.model_fields_set}
        found = {n: v if v is not None else FIELDS[n].initial for n, v in given.items()}
        return {n: v for n, v in found.items() if v is not None or FIELDS[n].nullable} | self.own

    def changes(self, slots: RollingSlots, template: TemplateMixin) -> dict[str, Any]:
        """Return what ``edit`` is to change, beside settings."""
        found = {**self._of(Change.EDIT), "start": getattr(self, "start", None)}
        if self.recurrence is not None:
            if found["rrule"] is not None:
                raise invalid("rrule", found["rrule"], "either recurrence or rrule")
            rule = _changed_rule(self.recurrence.model_dump(exclude_none=True), slots, template)
            for name in rule:
                if found.get(name) is not None:
                    raise invalid(name, None, f"{name} once: in the recurrence, or beside it")
            found |= rule
        return {name: value for name, value in found.items() if value is not None}


def _changed_rule(rule: dict[str, Any], slots: RollingSlots, template: TemplateMixin) -> dict[str, Any]:
    """Return what a recurrence means for a series that is there already."""
    for name in ("rdates", "exdates", "every", "until_time", "start_date", "active"):
        if name in rule:
            raise invalid(f"recurrence.{name}", rule[name], f"no {name} in a change of the rule")
    (read,) = slots.read_recurrence(rule, template.dtstart, template.timezone)
    if read["rrule"] is None:
        raise invalid("recurrence", None, "a rule that repeats")
    start = read["dtstart"].time() if "start_time" in rule else None
    found = {"rrule": read["rrule"], "duration": read.get("duration"), "start": start}
    return {name: value for name, value in found.items() if value is not None}


class TemplateChange(_Changes, _ChangedFields):  # type: ignore[misc]
    """What is to be changed of a whole series; null clears what can be empty."""

    own_of = ("template",)


class SlotChange(_Changes, _ChangedFields):  # type: ignore[misc]
    """What is to be changed of one slot, of this and future ones, or of all; null clears what can be empty."""

    own_of = ("template", "slot")

    scope: ScopeName | None = None
    start: Start | None = None


# -- other bodies ----------------------------------------------------------------------------------------------


class DryRunBody(Strict):
    """Nothing but whether it is only tried."""

    dry_run: bool = False


class RestoreBody(DryRunBody):
    """What is to come back."""

    scope: ScopeName | None = None


class EndBody(RestoreBody):
    """A cancellation, or its opposite."""

    reason: Reason | None = None


class CancelFutureBody(DryRunBody):
    """From which day on."""

    from_date: Day = Field(description="A day of the template's zone: the first that is cancelled.")
    reason: Reason | None = None


class ClosingBody(DryRunBody):
    """Which days, and whose."""

    first: Day
    last: Day | None = Field(None, description="Included; by default the first one.")
    group: Group | None = Field(None, description="Only the templates of this group.")
    template: Id | None = Field(None, description="Only the series of this template.")
    reason: Reason | None = Field(None, description="Why they are closed, for whoever hears of it.")
    reopen: bool = Field(False, description="Take it back.")


class CancelDayBody(DryRunBody):
    """Which day, and whose."""

    day: Day
    group: Group | None = Field(None, description="Only the templates of this group.")
    reason: Reason | None = None


class CompleteBody(DryRunBody):
    """Whether it was so."""

    undo: bool = Field(False, description="Take it back: the slot is scheduled again.")


class MaterializeBody(Strict):
    """Which occurrence."""

    original_start: WallClock


OneLine = Annotated[str, Field(min_length=1, max_length=200)]
Lines = Annotated[str, Field(min_length=1, max_length=2000)]
Party = Annotated[int, Field(ge=1, le=1_000_000)]
OVERRIDE = "Staff books: too early, too late, full and the limits of a person do not count."


class BookingBody(Strict):
    """Places that somebody wants: to be booked, held, waited for, or booked every week."""

    party: Party = 1
    who: OneLine | None = None
    name: OneLine | None = Field(None, description="Of the person, as contact and note: for whoever runs it.")
    contact: OneLine | None = None
    note: Lines | None = None
    hold_minutes: int | None = Field(
        None,
        ge=1,
        le=7 * 24 * 60,
        description="Hold the places so long, until they are confirmed; "
        "a person at most ROLLINGSLOTS_HOLD_MINUTES_MAX, 30 by default.",
    )
    wait: bool = Field(False, description="Wait for places in a slot that is full.")
    count: int | None = Field(
        None, ge=1, le=MOST_WEEKS, description="The same slot in so many weeks, this one included."
    )
    until: Day | None = Field(None, description="The same slot every week until this day, included.")
    every: int = Field(1, ge=1, le=LONGEST_STEP, description="With count or until; 2: every second week.")
    conflicts: Literal["refuse", "skip"] = Field(
        "refuse",
        description="With count or until: book all weeks or none, or leave out what cannot be booked.",
    )
    override: bool = Field(False, description=OVERRIDE)

    @property
    def repeats(self) -> bool:
        """Whether the slot is wanted in several weeks."""
        return self.count is not None or self.until is not None

    def check(self) -> None:
        """Refuse what contradicts itself."""
        said = self.model_fields_set
        series = "count" if self.count is not None else "until"
        kinds = {"hold_minutes": self.hold_minutes is not None, "wait": self.wait, series: self.repeats}
        given = [name for name, is_given in kinds.items() if is_given]
        if len(given) > 1:
            raise invalid(given[1], getattr(self, given[1]), f"either {given[0]} or {given[1]}")
        for name in ("every", "conflicts"):
            if name in said and not self.repeats:
                raise invalid(name, getattr(self, name), f"{name} with count or until only")
        if self.override and (self.wait or self.hold_minutes is not None):
            raise invalid("override", True, f"no override with {given[0]}")


def _unsaid(schema: dict[str, Any]) -> None:
    """Show no default of what changes only if it is said."""
    schema.pop("default", None)


class BookingChange(Strict):
    """What is to be changed of a booking: one thing or several, all or none; null clears."""

    party: Party = Field(1, description="For so many people.", json_schema_extra=_unsaid)
    slot: str = Field(
        "", max_length=200, description="The key of the slot to move to.", json_schema_extra=_unsaid
    )
    name: OneLine | None = None
    contact: OneLine | None = None
    note: Lines | None = None
    attendance: Literal["arrived", "no_show"] | None = Field(
        None, description="Whether its people came: for staff."
    )
    override: bool = Field(False, description="For staff: party and slot past all limits.")

    def check(self) -> None:
        """Refuse a change of nothing, and an override of nothing."""
        said = self.model_fields_set - {"override"}
        if not said:
            raise invalid("body", None, "at least one field that is to be changed")
        if self.override and said.isdisjoint(("party", "slot")):
            raise invalid("override", True, "override with party or slot only")

    @property
    def person(self) -> dict[str, str | None]:
        """What is said of the person, by name."""
        return {n: getattr(self, n) for n in ("name", "contact", "note") if n in self.model_fields_set}


Week = Annotated[
    Literal["current"] | Day,
    Field(
        description="A day of a week, or current: from Monday to Sunday in each template's zone, past days too."
    ),
]


class TopUpBody(Strict):
    """What to fill: each template's own window, or so many days, or a week, or the days since one."""

    days: int | None = Field(None, ge=1, le=LONGEST.days, description="Local days from today.")
    week: Week | None = None
    since: Day | None = Field(None, description="From this day to today, past days too; at most 92 days ago.")
    template: Id | None = Field(None, description="Only the series of this template.")
    group: Group | None = Field(None, description="Only the templates of this group.")
    dry_run: bool = False


# -- queries ---------------------------------------------------------------------------------------------------

_TIMES = "With an offset, or without: by the clock of timeZone, or else of each template's own zone."


class SeriesQuery(Strict):
    """Which series."""

    template: OfSeries = None


class GroupQuery(SeriesQuery):
    """Which series, or which group."""

    group: Group | None = None


class EventsQuery(Strict):
    """What a widget shows; its own names."""

    start: str = Field(description=f"Included. {_TIMES}")
    end: str = Field(description=f"Not included; at most {MAX_EVENT_DAYS} days later.")
    timeZone: str | None = Field(
        None, description="Whose clock the answer is written in: an IANA name, UTC or local."
    )
    floating: QueryFlag = Field(
        False, description="Write times without offset, for widgets that show them as they stand."
    )
    reminders: QueryFlag = Field(True, description="Also the reminders, as events of their own.")
    template: OfSeries = None
    group: Group | None = None


class SlotsQuery(Strict):
    """Which slots."""

    start: MomentOrDay = Field(description="Included. A day means its midnight in the template's zone.")
    end: MomentOrDay = Field(description="Not included; at most 92 days later.")
    template: OfSeries = None
    group: Group | None = None
    overlapping: QueryFlag = Field(
        False, description="Also what began before `start` and is not over by then."
    )
    limit: Annotated[int, Field(ge=1, le=1000), _Number] = 1000
    cursor: PlaceCursor | None = None


class DryRunQuery(Strict):
    """Whether it is only tried."""

    dry_run: QueryFlag = False


class ForgetBody(Strict):
    """Whom to forget."""

    who: OneLine


class ReleaseQuery(Strict):
    """How a booking is given back."""

    override: QueryFlag = Field(False, description="Also when it is too late for a person.")
    following: QueryFlag = Field(
        False, description="This one and all later ones of the person's series, all or none."
    )


class BookingsQuery(Strict):
    """Which bookings."""

    who: OneLine | None = None
    slot: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="The key of a slot: who is in it."
    )
    template: OfSeries = None
    group: Group | None = None
    start: MomentOrDay | None = Field(
        None,
        description="Only in slots that start at this moment or later. A day: its midnight in the "
        "template's zone, else in the app's.",
    )
    end: MomentOrDay | None = Field(None, description="Only in slots that start before.")
    live: QueryFlag = Field(True, description="Only what takes places now; false: all there were.")
    waiting: QueryFlag = Field(False, description="With live: also those who wait.")
    limit: Annotated[int, Field(ge=1, le=500), _Number] = 100
    cursor: IdCursor | None = None


class ScopeQuery(Strict):
    """Which slots are meant."""

    scope: ScopeName | None = None
    dry_run: QueryFlag = False


class SeriesListQuery(Strict):
    """Which templates, or series by the segment that holds now."""

    q: str | None = Field(None, max_length=200, description="Part of the name, the group or the rule.")
    group: Group | None = None
    active: QueryFlag | None = None
    limit: Annotated[int, Field(ge=1, le=500), _Number] = 100
    cursor: IdCursor | None = None


class TemplatesQuery(SeriesListQuery):
    """Which templates."""

    from_: MomentOrDay | None = Field(None, alias="from", description="With to: with a slot in this span.")
    to: MomentOrDay | None = None


class PreviewQuery(Strict):
    """How many slots, and from when on."""

    count: Annotated[
        int, Field(ge=1, le=10_000, description="At most ROLLINGSLOTS_PREVIEW_MAX, 200 by default."), _Number
    ] = 5
    after: MomentOrDay | None = Field(None, description="Only slots that start after it; now by default.")


class TopUpsQuery(Strict):
    """Which top-ups."""

    template: QueryId | None = Field(None, description="Those that touched this template.")
    week: Literal["current"] | Day | None = Field(None, description="Also say what is stored of this week.")
    limit: Annotated[int, Field(ge=1, le=200), _Number] = 50
    cursor: IdCursor | None = None
