"""What the API answers: a model of each body reads the object that it shows, and is its documentation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Annotated, Any, ClassVar, NamedTuple

import pydantic
from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, RootModel, WithJsonSchema

from ..errors import RollingSlotsError
from ..models import FIELDS, TemplateField
from ..values import Report, RunStatus, State

#: The most keys of one list in an answer, and the most results of one kind.
MANY, MANY_RESULTS = 200, 1000
_SEE_LOG = "the server's log has the details"

# -- how objects and their values are shown --------------------------------------------------------------------


class Answered(BaseModel, extra="forbid", from_attributes=True):
    """An object in an answer: its fields are read from the attributes, as the :class:`View` in the context has it."""


class View(NamedTuple):
    """What an answer is written for: a moment, and a reader.

    :param keys: returns which keys of ``data``, and own columns, of a template are shown; ``None``: all.
    :param seen: what each slot of the answer was found to be.
    """

    now: datetime
    keys: Callable[[Any], Collection[str] | None]
    seen: dict[int, tuple[State, bool]]


class Shown:
    """An object, with what an answer says of it and it does not say itself."""

    def __init__(self, shown: Any, /, **said: Any) -> None:
        """Keep both; what is said goes before what the object has."""
        self._shown = shown
        self.__dict__ |= said

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)


def _from(*path: str, about: str | None = None) -> Any:
    """Return a field whose value is an attribute of another name, or of another object."""
    return Field(validation_alias=pydantic.AliasPath(*path), description=about)


Instant = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str)]
WallTime = Annotated[
    datetime, PlainSerializer(lambda moment: moment.isoformat(timespec="minutes"), return_type=str)
]
LocalDay = Annotated[date, PlainSerializer(date.isoformat, return_type=str)]
Keys = Annotated[list[str], BeforeValidator(lambda keys: keys[:MANY])]
Numbers = Annotated[list[int], BeforeValidator(lambda numbers: numbers[:MANY_RESULTS])]
#: What an object has a method for: what holds at the moment of the answer.
AtTheMoment = BeforeValidator(lambda method, info: method(info.context.now))


def _looked(place: int) -> BeforeValidator:
    """Return what reads one half of ``seen_at``: a slot is looked at once for an answer."""

    def look(seen_at: Any, info: pydantic.ValidationInfo) -> Any:
        view: Any = info.context
        slot = id(seen_at.__self__)
        if slot not in view.seen:
            view.seen[slot] = seen_at(view.now)
        return view.seen[slot][place]

    return BeforeValidator(look)


Left = BeforeValidator(lambda booked_at, info: max(0, info.data["capacity"] - booked_at(info.context.now)))
ListOrNone = BeforeValidator(lambda value: value or [])
DictOrNone = BeforeValidator(lambda value: value or {})


def given(field: TemplateField) -> Any:
    """Return the type of a template's field in an answer."""
    found = Annotated[Any, PlainSerializer(field.kind.write), WithJsonSchema(field.kind.form)]
    return found | None if field.nullable or not field.is_decision else found  # a draft has no number yet


class WithOwn(Answered):
    """An object that may have columns of the app's own: they stand beside all others, by their names."""

    own: dict[str, Any] = Field(default_factory=dict, validation_alias="rolling_shown")

    @pydantic.model_serializer(mode="wrap")
    def _joined(self, write: pydantic.SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        """Without a type, so that the schema remains that of the fields."""
        found = write(self)
        return {**{name: value for name, value in found.items() if name != "own"}, **self.own}


def _public(row: Any, template: Any, info: pydantic.ValidationInfo) -> Any:
    """Return a template or slot without what the reader may not see of the app's own fields."""
    view: Any = info.context
    keys = view.keys(template)
    if keys is None:
        return row
    name = (
        "rolling_data" if hasattr(row, "rolling_data") else "data"
    )  # what shows a slot is seldom one itself
    parts = {name: getattr(row, name) or {}, "rolling_shown": row.rolling_shown}
    return Shown(
        row, **{part: {k: v for k, v in values.items() if k in keys} for part, values in parts.items()}
    )


# -- problems --------------------------------------------------------------------------------------------------


class Fault(Answered):
    """One field that is not valid."""

    field: str
    value: Any = None
    expected: str


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence for people.")
    code: str = Field(description="For machines.")
    instance: str | None = Field(None, description="The id under which the server's log has the details.")
    errors: list[Fault] | None = Field(None, description="What is not valid, field by field.")


# -- slots, bookings, templates --------------------------------------------------------------------------------


class _Row(Answered):
    """What is shown of a row and of one that it belongs to."""

    belongs_to: ClassVar[str]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _load(cls, row: Any) -> Any:
        """Read both before the fields: pydantic would hide what goes wrong with the database."""
        _ = getattr(row, cls.belongs_to).id
        return row


class SlotAnswer(_Row, WithOwn):
    """A bookable slot, stored or virtual."""

    belongs_to = "template"

    key: str
    series_id: int
    template_id: int
    name: str
    group: str | None = _from("template", "group")
    original_start: WallTime = Field(
        description="Wall-clock time: the identity, whatever happens to the slot."
    )
    starts_at: Instant
    ends_at: Instant
    local_start: Instant
    local_end: Instant
    timezone: str = _from("template", "timezone")
    opens_at: Instant | None
    closes_at: Instant | None
    status: str
    state: Annotated[State, _looked(0)] = _from(
        "seen_at", about="What the slot is now; the first that applies, in this order."
    )
    is_bookable: Annotated[bool, _looked(1)] = _from(
        "seen_at",
        about="Whether an ordinary booking of one place would be taken now, also while it runs.",
    )
    is_all_day: bool = Field(description="Whether it lasts whole local days, from midnight to midnight.")
    capacity: int
    booked: Annotated[int, AtTheMoment] = _from("booked_at")
    left: Annotated[int, Left] = _from("booked_at")
    is_virtual: bool = Field(description="Whether there is no row for it yet.")
    customised: Annotated[list[str], ListOrNone]
    data: Annotated[dict[str, Any], DictOrNone] = _from("rolling_data")
    cancel_reason: str | None
    revision: int | None = _from("template", "revision", about="Of its template; for If-Match.")
    run_id: int | None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _seen(cls, slot: Any, info: pydantic.ValidationInfo) -> Any:
        found = _public(slot, slot.template, info)
        if found is slot:
            return slot
        own = slot.rolling_models.own.slot  # not even the names of what is hidden
        names = [
            name for name in slot.customised or () if name not in own or own[name].key in found.rolling_shown
        ]
        return Shown(found, customised=names)


class SlotList(Answered):
    """Some slots, by start."""

    items: list[SlotAnswer]


class SlotPage(SlotList):
    """Some slots, by start."""

    next: str | None = Field(description="The address of the next page.")


FlagOrNone = BeforeValidator(bool)


class BookingAnswer(_Row):
    """Somebody's places in a slot, or in its waiting list; shown to nobody else but those who run it."""

    belongs_to = "slot"

    id: int
    token: str | None = Field(description="Stays the same when it moves; nobody guesses it.")
    key: str = _from("slot", "key")
    party: int
    who: str | None
    name: str | None
    contact: str | None
    note: str | None
    status: Annotated[str, AtTheMoment] = _from(
        "status_at", about="waiting, held, confirmed, released or expired."
    )
    is_offer: Annotated[bool, FlagOrNone] = Field(
        description="Whether the places are kept for who waited; confirm it."
    )
    ahead: int | None = Field(description="How many bookings wait before it; null if it does not wait.")
    override: Annotated[bool, FlagOrNone] = Field(description="Whether staff made it past a limit.")
    attendance: str | None = Field(description="arrived, no_show or null.")
    replaces_id: int | None = Field(description="The booking that moved here.")
    repeats_id: int | None = Field(description="The first booking of the person's series.")
    created_at: Instant
    expires_at: Instant | None
    released_at: Instant | None


class BookingList(Answered):
    """A booking with those that it replaced and those that replaced it, the oldest first."""

    items: list[BookingAnswer]


class Forgotten(Answered):
    """What is left of a person: bookings that name nobody."""

    count: int = Field(description="How many bookings do not name the person any more.")


class BookingPage(Answered):
    """Some bookings, by the start of their slots."""

    items: list[BookingAnswer]
    next: str | None = Field(description="The address of the next page.")


class FreeSlotAnswer(Answered):
    """A slot with places, in place of one that was refused."""

    key: str
    starts_at: Instant
    left: int


class RefusedAnswer(Answered):
    """A week that was not booked."""

    key: str
    starts_at: Instant
    code: str = Field(description="For machines, as in a problem document.")
    text: str = Field(description="Why, for people.")
    nearest: list[FreeSlotAnswer] = Field(description="The nearest free slots of the same offer.")


class RepeatAnswer(Answered):
    """What became of a person's series."""

    key: str
    every: int
    party: int
    keys: list[str] = Field(description="All slots that were tried.")
    repeats_id: int | None = Field(description="The id of the first booking; null if none was made.")
    bookings: list[BookingAnswer]
    refused: list[RefusedAnswer]


_fields: dict[str, Any] = {
    name: (given(field), Field(serialization_alias=field.key, description=field.sentence))
    for name, field in FIELDS.items()
}
_TemplateFields: Any = pydantic.create_model("_TemplateFields", __base__=WithOwn, **_fields)


class TemplateAnswer(_TemplateFields):  # type: ignore[misc]  # mypy cannot know a class that a table makes
    """A recurring offer, or one segment of its series."""

    recurrence: dict[str, Any] | None = Field(description="The rule as a JSON object.")
    description: str = Field(description="The rule in English.")
    is_forever: bool

    @pydantic.model_validator(mode="before")
    @classmethod
    def _shown(cls, template: Any, info: pydantic.ValidationInfo) -> Shown:
        """Show nothing as empty that has a default, and a rule that this machine cannot read as it is stored."""
        initial = {
            name: field.initial
            for name, field in FIELDS.items()
            if field.is_decision and getattr(template, name) is None
        }
        found = {"recurrence": None, "description": template.rrule or "", "is_forever": False}
        with suppress(RollingSlotsError, ValueError, LookupError, OSError):
            rule = template.recurrence
            text = rule.describe(times=True)
            found = {"recurrence": rule.to_json(), "description": text, "is_forever": rule.is_forever}
        return Shown(_public(template, template, info), **initial, **found)


class TemplateList(Answered):
    """The templates of a fixed schedule."""

    items: list[TemplateAnswer]


class TemplatePage(TemplateList):
    """Some templates, by id."""

    next: str | None = Field(description="The address of the next page.")


class SeriesAnswer(Answered):
    """A series: the segment that holds now, and its last one."""

    series_id: int
    name: str
    group: str | None
    is_over: bool = Field(description="Whether its rules promise nothing any more.")
    current: TemplateAnswer | None = Field(description="The segment that promises the next slot.")
    last: TemplateAnswer


class SeriesPage(Answered):
    """Some series, by id."""

    items: list[SeriesAnswer]
    next: str | None = Field(description="The address of the next page.")


class Draft(Answered):
    """What would be created; nothing is stored."""

    dry_run: bool
    items: list[TemplateAnswer]
    starts: list[list[Instant]] = Field(description="The next starts of each template.")


class EventDetails(BaseModel):
    """What the library says beside what every widget knows; a reminder names its slot, a slot its state."""

    type: str = Field(description="slot, or reminder.")
    is_virtual: bool = Field(description="Whether there is no row for the slot yet.")
    series_id: int
    original_start: str = Field(description="Wall-clock time: the identity.")
    template_id: int
    group: str | None
    state: State | None = None
    is_bookable: bool | None = None
    left: int | None = None
    capacity: int | None = None
    cancel_reason: str | None = None
    slot: str | None = None
    slot_start: str | None = None


class Event(BaseModel):
    """An event as FullCalendar and EventCalendar read it."""

    id: str = Field(description="The slot's key; of a reminder: with /reminder behind it.")
    title: str
    start: str
    end: str
    allDay: bool = Field(
        description="Whether it lasts whole local days; then start and end are dates in the template's zone."
    )
    className: str
    classNames: list[str]
    extendedProps: EventDetails


class EventList(RootModel[list[Event]]):
    """All events of a span."""


# -- what was decided ------------------------------------------------------------------------------------------


class _Decided(Answered):
    """What a decision did, or would do; the object says it with ``to_dict``."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _shown(cls, report: Any) -> Shown:
        told = report.to_dict()
        if "changes" in told:
            told["changes"] = told["changes"][:MANY_RESULTS]
        return Shown(report, **{**told, "bookings": report.bookings[:MANY_RESULTS]})


class EditAnswer(_Decided):
    """What an edit changed, or would change. Of long lists of keys the first 200 are given; the counts are exact."""

    dry_run: bool
    scope: str
    key: str
    revision: int = Field(description="The revision before the edit.")
    cuts: bool = Field(description="Whether the series is divided here.")
    counts: dict[str, int]
    created: Keys
    changed: Keys
    removed: Keys
    kept_booked: Keys
    kept_changed: Keys
    overbooked: Keys = Field(description="More places are booked in them than they have by now.")
    overlaps: list[list[str]] = Field(description="Neighbours that the new rule lets overlap, the first few.")
    changes: list[dict[str, Any]] = Field(
        description="What changes of slots: key, from and to, by name of the value."
    )
    bookings: list[BookingAnswer] = Field(
        description="The live bookings in slots that are kept, moved or overbooked: whom to tell."
    )
    slot: SlotAnswer | None = Field(None, description="The slot afterwards; null in a dry run.")


class TemplateChanged(Answered):
    """A template after a change, and what became of its slots."""

    dry_run: bool
    template: TemplateAnswer
    edit: EditAnswer | None = Field(description="null if no slot was meant.")


class EndAnswer(_Decided):
    """What was cancelled, deleted or restored, or would be. Of long lists of keys the first 200 are given."""

    dry_run: bool
    scope: str
    counts: dict[str, int]
    changed: Keys
    booked: Keys = Field(description="Those of them with bookings: their people want to know.")
    kept_booked: Keys
    kept_completed: Keys
    overbooked: Keys = Field(description="They come back with fewer places than are booked in them.")
    bookings: list[BookingAnswer] = Field(description="The live bookings in all of these: whom to tell.")
    slot: SlotAnswer | None = Field(None, description="With scope this: the slot afterwards.")


class ClosingAnswer(_Decided):
    """What days were closed or reopened, or would be. Of long lists the first are given; the counts are exact."""

    dry_run: bool
    first: str
    last: str
    reopened: bool
    reason: str | None
    counts: dict[str, int]
    templates: Numbers = Field(description="Ids of the templates that were changed.")
    unchanged: Numbers = Field(
        description="Ids of those that were closed, or open, on all these days before."
    )
    slots: Keys = Field(description="Stored slots on these days that are not over.")
    booked: Keys = Field(description="Those of them with bookings.")
    moved: Keys = Field(
        description="Slots that take place on these days, though their rule has them on others."
    )
    bookings: list[BookingAnswer] = Field(description="The live bookings in all of these: whom to call.")


class CancelledDay(Answered):
    """What was cancelled, or would be. Of long lists the first are given; the counts are exact."""

    dry_run: bool
    counts: dict[str, int]
    slots: Keys
    bookings: list[BookingAnswer] = Field(description="The live bookings in them: whom to tell.")


# -- top-ups and health ----------------------------------------------------------------------------------------


class Result(Answered):
    """What was done for one template or group."""

    name: str
    created: int
    existing: int
    updated: int
    removed: int
    kept_booked: int
    expected: int


class TemplateResult(Result):
    """What one template got."""

    id: int
    error: str | None = None


class GroupResult(Result):
    """What one group got."""


class RunAnswer(Answered):
    """A top-up: waiting, queued, running, confirmed, failed, interrupted; or a dry run, which is not recorded."""

    id: int | None = Field(description="null in a dry run.")
    status: str
    dry_run: bool
    trigger: str
    template: int | None = _from("template_id")
    started_at: Instant | None
    finished_at: Instant | None
    seconds: float | None
    done: int = Field(description="Slots written so far.")
    total: int = Field(description="Slots to write, as far as it is known yet.")
    created: int
    existing: int
    updated: int
    removed: int
    kept_booked: int
    expected: int
    opened: int
    closed: int
    skipped: Annotated[dict[str, int], DictOrNone]
    window_start: Instant | None
    window_end: Instant | None
    week_start: LocalDay | None = Field(description="Monday; only if a week was asked for.")
    week_end: LocalDay | None = Field(description="Sunday; only if a week was asked for.")
    templates_processed: int
    templates: list[TemplateResult] | None = Field(
        description="null in lists. Of many only those that changed."
    )
    groups: list[GroupResult] | None = Field(description="null in lists.")
    error: str | None


class WeekTemplate(Answered):
    """What one template has in a week."""

    id: int
    name: str
    group: str | None
    slots: int
    booked: int
    cancelled: int


class WeekAnswer(Answered):
    """What is stored of a week."""

    week_start: LocalDay
    week_end: LocalDay
    slots: int
    generated: int
    cancelled: int
    completed: int
    capacity: int
    booked: int
    templates_with_slots: int
    earliest: Instant | None
    latest: Instant | None
    templates: list[WeekTemplate]


class RunPage(Answered):
    """Some top-ups, the newest first."""

    items: list[RunAnswer]
    next: str | None = Field(description="The address of the next page.")
    week: WeekAnswer | None = Field(None, description="Only if a week was asked for.")


class Coverage(Answered):
    """How much of one template's window is stored."""

    id: int
    name: str
    group: str | None
    promised: int
    stored: int
    missing: int
    due: int
    error: str | None


class HealthAnswer(Answered):
    """Whether every promised slot of the window is stored."""

    status: str = Field(description="ok, due (the next visitor starts what is missing), or missing.")
    checked: bool | None = Field(
        None, description="Whether slots were compared now: if not, nothing is counted."
    )
    promised: int | None = None
    stored: int | None = None
    missing: int | None = None
    due: int | None = None
    confirmed_at: Instant | None = None
    horizon: Instant | None = None
    next_try: Instant | None = None
    failures: int | None = None
    last_error: str | None = None
    trouble: str | None = Field(None, description="Why it is missing, whatever is stored.")
    retention: str | None = Field(None, description="Why nothing old is forgotten.")
    templates: list[Coverage] | None = Field(None, description="Those that lack slots; the first 200.")


def shown_run(run: Any, *, details: bool, is_trusted: bool) -> Shown:
    """Return a recorded top-up as an answer reads it; what went wrong is for those who may know the server."""
    results = run.results or {}
    templates, groups = (results.get(name, {}) for name in ("templates", "groups"))
    first, end = (results.get("request", {}).get(name) for name in ("first_day", "end_day"))
    hidden = {} if is_trusted or run.error is None else {"error": f"it failed; {_SEE_LOG}"}
    return Shown(
        run,
        dry_run=False,
        week_start=first if end is not None else None,
        week_end=date.fromisoformat(end) - timedelta(days=1) if end is not None else None,
        templates_processed=results.get("processed", len(templates)),
        templates=_results(templates, "id", is_trusted) if details else None,
        groups=_results(groups, "name", is_trusted) if details else None,
        **hidden,
    )


def shown_health(report: Any, lacking: Sequence[Any], *, is_trusted: bool) -> Shown:
    """Return a report as an answer reads it; what went wrong is for those who may know the server."""
    counts = () if report.checked else ("promised", "stored", "missing", "due", "horizon")
    said = dict.fromkeys(counts)
    if is_trusted:
        return Shown(report, templates=lacking, **said)
    hidden = {} if report.last_error is None else {"last_error": f"a top-up failed; {_SEE_LOG}"}
    told = f"it was left out; {_SEE_LOG}"
    return Shown(
        report,
        templates=[Shown(each, error=told) if each.error else each for each in lacking],
        **hidden,
        **said,
    )


def _results(tallies: Mapping[str, Any], named: str, is_trusted: bool) -> list[Shown]:
    """Return what each template or group got; in an answer the key of a tally is its ``id`` or its ``name``."""
    found = []
    for key in sorted(tallies, key=int if named == "id" else str)[:MANY_RESULTS]:
        tally = {**dict.fromkeys(Result.model_fields, 0), **tallies[key], named: key}
        if "error" in tally and not is_trusted:
            tally["error"] = f"it was left out; {_SEE_LOG}"
        found.append(Shown(None, **tally))
    return found


def shown_report(report: Report, monday: date | None) -> Shown:
    """Return a dry run as an answer reads it, of the week that begins on a Monday, if one was asked for."""
    results, window = report.to_dict(), report.window
    run = Shown(
        report,
        **dict.fromkeys(("id", "template_id", "started_at", "finished_at", "error")),
        results=results,
        status=RunStatus.CONFIRMED,
        trigger="api",
        seconds=results["seconds"],
        done=0,
        total=report.created + report.updated + report.removed,
        window_start=window and window.start,
        window_end=window and window.end,
    )
    week = {"week_start": monday, "week_end": monday and monday + timedelta(days=6)}
    return Shown(shown_run(run, details=True, is_trusted=True), dry_run=True, **week)
