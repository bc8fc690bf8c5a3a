"""Frozen values that all rooms share: keys, windows of local days, what is promised, what is stored, what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from .errors import InvalidKey, TooCostly, refusal

T = TypeVar("T")
#: Booking id, expiry in microseconds of Unix time, places: one hold, as a slot's row remembers it.
Hold = list[int]

MINUTE = timedelta(minutes=1)
#: The years in which a person may put something: all sums with what a template may add to them stay in the calendar.
YEARS = range(1900, 9991)
#: The smallest step of a datetime.
MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """Return the current time, aware, in UTC: the default clock."""
    return datetime.now(UTC)


def to_us(moment: datetime) -> int:
    """Return an aware moment as Unix time in whole microseconds."""
    return (moment - _EPOCH) // MICROSECOND


def from_us(microseconds: int) -> datetime:
    """Return the moment of a Unix time in microseconds, aware, UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def live_places(booked: int, holds: Iterable[Hold] | None, now: datetime) -> int:
    """Return how many places are taken at a moment: expired holds are free."""
    moment = to_us(now)
    return booked - sum(party for _, until, party in holds or () if until <= moment)


class Scope(StrEnum):
    """Which slots of a series a change touches."""

    THIS = "this"
    THIS_AND_FUTURE = "this_and_future"
    ALL = "all"

    @classmethod
    def _missing_(cls, value: object) -> Scope | None:
        return cls.THIS if value == "this_only" else None


def check_scope(scope: str) -> Scope:
    """Return a scope.

    :raises InvalidRequest: if there is no such scope.
    """
    try:
        return Scope(scope)
    except ValueError:
        raise refusal("scope", scope, ", ".join(repr(each.value) for each in Scope)) from None


class Status(StrEnum):
    """What is stored of a slot's life; everything else follows from the time."""

    SCHEDULED = "scheduled"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    DELETED = "deleted"


#: Statuses of rows that stand at their instant: no other slot of the series appears there.
OCCUPYING = (Status.SCHEDULED, Status.COMPLETED)


class BookingStatus(StrEnum):
    """What is stored of a booking; a hold that has expired may still be stored as ``held``.

    ``waiting`` takes no places: it is a place in the waiting list of its slot.
    """

    WAITING = "waiting"
    HELD = "held"
    CONFIRMED = "confirmed"
    RELEASED = "released"
    EXPIRED = "expired"


#: A booking with one of these takes places; a hold does until it expires.
LIVE = (BookingStatus.CONFIRMED, BookingStatus.HELD)


class Person(NamedTuple):
    """What is kept of whoever booked, besides ``who``: for whoever runs it, and for as long as they may."""

    name: str | None = None
    contact: str | None = None
    note: str | None = None


NOBODY = Person()


class Attendance(StrEnum):
    """What was marked about a booking: whether its people came."""

    ARRIVED = "arrived"
    NO_SHOW = "no_show"


class State(StrEnum):
    """What a slot is at a moment; the first that applies, in this order."""

    DELETED = "deleted"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    ENDED = "ended"
    RUNNING = "running"
    UPCOMING = "upcoming"
    WITHDRAWN = "withdrawn"
    CLOSED = "closed"
    BLOCKED = "blocked"
    FULL = "full"
    OPEN = "open"


class RunStatus(StrEnum):
    """How far a run got."""

    #: The template is there, and no top-up has begun with it yet.
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class ShardStatus(StrEnum):
    """How far a part of a shared run got."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Health(StrEnum):
    """Whether every promised slot of the window is stored."""

    OK = "ok"
    DUE = "due"
    MISSING = "missing"


class Occurrence(NamedTuple):
    """One element of a rule's set.

    :param original_start: nominal wall-clock time in the rule's zone, naive: the identity.
    :param starts_at: the instant at which it is shown, aware, UTC.
    """

    original_start: datetime
    starts_at: datetime


class Shifted(Occurrence):
    """An occurrence whose own time the clocks leave out that day, so that it is shown later by the gap."""

    __slots__ = ()


class SlotKey(NamedTuple):
    """The identity of a slot: the same for a row and for a virtual slot, for ever."""

    series_id: int
    original_start: datetime

    def __str__(self) -> str:
        text = self.original_start.isoformat()  # a quarter of what strftime takes
        return f"{self.series_id}@{text[:4]}{text[5:7]}{text[8:13]}{text[14:16]}"

    @classmethod
    def parse(cls, text: str) -> SlotKey:
        """Read ``<series id>@<YYYYMMDDTHHMM>``.

        :raises InvalidKey: if the text has another form.
        """
        series, _, moment = str(text).partition("@")
        plain = series.isascii() and series.isdigit() and len(series) <= 18
        if plain and len(moment) == 13 and moment.isascii():
            try:
                key = cls(int(series), datetime.fromisoformat(moment))  # a seventh of what strptime takes
            except ValueError:
                key = None
            if key is not None and str(key) == text:  # one slot has one key
                return key
        raise InvalidKey(
            f"key: {str(text)[:80]!r} is not a slot key; expected <series id>@<YYYYMMDDTHHMM>, "
            "for example 7@20260102T2200",
            field="key",
            value=text,
            expected="<series id>@<YYYYMMDDTHHMM>",
        )


def key_of(key: Any) -> SlotKey:
    """Return the key that a caller means, given as text or by the slot itself.

    :raises InvalidKey: if it has another form.
    """
    if isinstance(key, SlotKey):
        return key
    if key is None:
        raise refusal("key", None, "a slot, or its key: <series id>@<YYYYMMDDTHHMM>", InvalidKey)
    return SlotKey.parse(key if isinstance(key, str) else getattr(key, "key", str(key)))


class Steps:
    """Counts the starts of slots that one piece of work looks at: no clock, so the same request ends the same way.

    :param most: how many they may be. ``setting``: the setting that says so, if one does.
    """

    def __init__(self, most: int, setting: str = "") -> None:
        self.most, self.used, self._setting = most, 0, setting

    def take(self, count: int = 1) -> None:
        """Count some.

        :raises TooCostly: if they are too many by now.
        """
        self.used += count
        if self.used > self.most:
            named = f" ({self._setting})" if self._setting else ""
            text = (
                f"this would look at more than {self.most:,} starts of slots in one request{named}; "
                "expected a shorter span, a group or a template"
            )
            raise TooCostly(text, limit=self.most)

    def counting(self, found: Iterable[T]) -> Iterator[T]:
        """Yield what is found, and count it."""
        for each in found:
            self.take()
            yield each


@lru_cache(maxsize=8)
def _defaults(cls: Any) -> tuple[tuple[str, Any], ...]:
    """Return the fields of a template's plain data but for its own columns, with what they are by default."""
    return tuple((each.name, each.default) for each in fields(cls) if each.name != "own")


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span of time.

    :param start: aware, UTC, included.
    :param end: aware, UTC, excluded.
    """

    start: datetime
    end: datetime

    @classmethod
    def rolling(cls, now: datetime, days: int, zone: ZoneInfo, align: str = "day") -> Window:
        """Return the window of ``days`` local calendar days, today included.

        :param now: aware.
        :param days: whole local days, at least 1.
        :param zone: whose midnights count.
        :param align: ``"week"`` lets the window end with the Sunday of its last day.
        """
        today = now.astimezone(zone).date()
        end = today + timedelta(days=days)
        if align == "week":
            end += timedelta(days=(7 - end.weekday()) % 7)
        return cls.local_days(today, end, zone)

    @classmethod
    def local_days(cls, first: date, end: date, zone: ZoneInfo) -> Window:
        """Return ``[first 00:00, end 00:00)`` of a zone."""
        return cls(local_midnight(first, zone), local_midnight(end, zone))


def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a local day, aware, UTC (also where 00:00 does not exist)."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


class Claim(NamedTuple):
    """What a template's bookings take: a resource of its group, or one that groups share.

    :param pool: how many places can be taken on it at a moment; ``None``: one slot has it alone.
    :param setup: how long before a slot it is taken already, as others see it; ``cleanup``: and after it still.
    """

    resource: str
    group: str | None
    is_shared: bool
    pool: int | None = None
    setup: timedelta | None = None
    cleanup: timedelta | None = None

    @classmethod
    def of(cls, template: Any) -> Claim | None:
        """Return what the bookings of a template, or of what has its fields, take; ``None``: nothing."""
        if template.resource is None or not (template.exclusive or template.pool is not None):
            return None
        shared = bool(template.resource_shared)
        return cls(template.resource, template.group, shared, template.pool, template.setup, template.cleanup)

    def meets(self, other: Claim) -> bool:
        """Whether both mean the same court, room or teacher."""
        is_one = self.group == other.group or (self.is_shared and other.is_shared)
        return self.resource == other.resource and is_one


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """A template as plain data: what planning needs, and nothing that belongs to a session.

    :param dtstart: naive wall-clock time.
    :param active_from: original start of the segment's first occurrence, naive, or ``None``.
    :param active_until: original start at which the segment ends (excluded), naive, or ``None``.
    :param cancelled_from: original start from which on the segment was cancelled or deleted, naive, or ``None``.
    :param window_days: the template's own window, or ``None`` for the app's.
    :param own: values of the app's own columns that its slots have too, by name.
    """

    id: int
    series_id: int
    revision: int
    name: str
    group: str | None
    active: bool
    rrule: str | None
    dtstart: datetime
    timezone: str
    duration: timedelta
    every: timedelta | None = None
    until_time: time | None = None
    capacity: int = 1
    rdates: tuple[datetime, ...] = ()
    exdates: tuple[datetime | date, ...] = ()
    holidays: str | None = None
    blackouts: tuple[tuple[date, date], ...] = ()
    window_days: int | None = None
    opens_before: timedelta | None = None
    opens_days_before: int | None = None
    opens_time: time | None = None
    closes_before: timedelta | None = None
    closes_days_before: int | None = None
    closes_time: time | None = None
    ends_by: str = "wall_clock"
    overlapping: bool = False
    exclusive: bool = False
    pool: int | None = None
    keep_history: bool = False
    settled_revision: int | None = None
    history_until: datetime | None = None
    active_from: datetime | None = None
    active_until: datetime | None = None
    cancelled_from: datetime | None = None
    shift: timedelta = timedelta(0)
    data: dict[str, Any] = field(default_factory=dict, hash=False)
    own: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, template: Any, copied: bool = True, wholly: bool = True) -> TemplateSpec:
        """Return a template's row as plain data, independent of any session.

        :param copied: also what is deep within ``data``: for who changes templates; not for who only reads.
        :param wholly: ``False``: without ``data`` and own columns: for who asks when slots are.
        """
        values: dict[str, Any] = {"own": deepcopy(template.rolling_own) if wholly else {}}
        for name, default in _defaults(cls):  # type: ignore[arg-type]
            if name == "data" and not wholly:
                values[name] = {}
                continue
            value = getattr(template, name)
            if default == ():  # a list in the row, or nothing yet
                value = tuple(value or ())
            elif value is None and default is not MISSING:  # a row that was not stored yet
                value = default
            values[name] = value
        values["series_id"] = values["series_id"] or values["id"]
        values["data"] = dict(values["data"] or {})
        if copied:
            values["data"] = deepcopy(values["data"])
        return cls(**values)

    def changed(self, values: Mapping[str, Any]) -> TemplateSpec:
        """Return it with other values, by name; what a spec has not is left out."""
        known = dict(_defaults(type(self)))  # type: ignore[arg-type]
        own = {name: value for name, value in values.items() if name in self.own}
        given = {name: value for name, value in values.items() if name in known}
        given |= {name: tuple(value or ()) for name, value in given.items() if known[name] == ()}
        return replace(self, **given, own={**self.own, **own})

    @property
    def may_overlap(self) -> bool:
        """Whether its slots may overlap each other: it says so, or its resource keeps their bookings apart."""
        return self.overlapping or self.exclusive or self.pool is not None

    @property
    def is_settled(self) -> bool:
        """Whether the stored slots are as this template says, and their marks are true."""
        return self.settled_revision == self.revision

    @property
    def ends_before(self) -> datetime | None:
        """The original start (naive) from which on nothing is promised: by a cut, or by a cancellation."""
        bounds = [bound for bound in (self.active_until, self.cancelled_from) if bound is not None]
        return min(bounds, default=None)


class Times(NamedTuple):
    """The times of one slot: the original start is naive, the others are aware, UTC."""

    original_start: datetime
    starts_at: datetime
    ends_at: datetime
    opens_at: datetime | None
    closes_at: datetime


@dataclass(frozen=True, slots=True)
class PlannedSlot:
    """A slot that a template promises: everything that its row would hold."""

    spec: TemplateSpec
    original_start: datetime
    starts_at: datetime
    ends_at: datetime
    opens_at: datetime | None
    closes_at: datetime

    @property
    def key(self) -> SlotKey:
        """The slot's identity."""
        return SlotKey(self.spec.series_id, self.original_start)

    @property
    def times(self) -> Times:
        """The times without the template."""
        return Times(self.original_start, self.starts_at, self.ends_at, self.opens_at, self.closes_at)


class StoredSlot(NamedTuple):
    """A stored slot as plain values: what planning and decisions need to know, and nothing that belongs to a session.

    :param id: 0 for a slot that is still virtual.
    :param booked: places that the row counts, with those of holds that have expired.
    :param data: the app's own fields; empty unless they were asked for.
    :param customised: names of the fields that a person changed on this slot.
    :param live: places that are taken now: holds that have expired are free.
    :param has_history: bookings point to it, released ones too; known only if it was asked for.
    :param withdrawn: the mark that its rule does not yield it any more.
    :param displaced: the mark that its times are not those of its rule.
    :param changed_at: when somebody last decided about it, aware, UTC.
    :param own_name: what it is called if that is not its template's name; known only if it was asked for.
    :param own: values of the app's own columns by name; known only if they were asked for.
    :param waits_for: the fewest places that somebody waits for; ``None``: nobody waits.
    """

    id: int
    series_id: int
    template_id: int
    original_start: datetime
    starts_at: datetime
    ends_at: datetime
    opens_at: datetime | None
    closes_at: datetime | None
    status: str
    capacity: int
    booked: int
    cancel_reason: str | None
    run_id: int | None
    data: dict[str, Any]
    customised: tuple[str, ...] = ()
    ended_with_series: bool = False
    live: int = 0
    has_history: bool = False
    withdrawn: bool | None = None
    displaced: bool | None = None
    changed_at: datetime | None = None
    own_name: str | None = None
    own: Mapping[str, Any] = MappingProxyType({})
    waits_for: int | None = None

    @property
    def key(self) -> SlotKey:
        """The slot's identity."""
        return SlotKey(self.series_id, self.original_start)

    @property
    def lapsed(self) -> bool:
        """Whether the row still counts a hold that has expired."""
        return self.live != self.booked

    @property
    def stands(self) -> bool:
        """Whether no other slot of the series may be at its instant."""
        return self.status in OCCUPYING

    @property
    def has_precedence(self) -> bool:
        """Whether it takes its time from others of its series: booked, or moved by a person, and standing there."""
        is_moved = "starts_at" in self.customised or "ends_at" in self.customised
        return self.stands and bool(self.live or is_moved)

    def following(self, values: Mapping[str, Any]) -> StoredSlot:
        """Return the slot with some column values changed."""
        own = {name: value for name, value in values.items() if name in self.own}
        known = {name: value for name, value in values.items() if name not in own}
        return self._replace(**known, own={**self.own, **own})

    @property
    def is_untouched(self) -> bool:
        """Whether a top-up made it and nobody decided anything about it since: it may go when its rule does."""
        touched = self.booked or self.customised or self.has_history or self.run_id is None
        return self.status == Status.SCHEDULED and not touched


#: What a slot's row notes of its rule, beside what the slot is.
MARKS = {"withdrawn", "displaced"}


class Healing(NamedTuple):
    """A stored slot that is to become what its template says: column values by name."""

    row: StoredSlot
    spec: TemplateSpec
    values: dict[str, Any]

    @property
    def shows(self) -> bool:
        """Whether more changes than marks."""
        return not self.values.keys() <= MARKS


@dataclass(slots=True)
class Plan:
    """The difference between what the rules promise and what is stored.

    :param create: promised, not stored, not started.
    :param update: stored rows that are not as the template says, with what changes of them.
    :param remove: rows of a top-up that the rule no longer yields and nobody touched.
    :param kept_booked: such rows that stay because they are booked or changed.
    :param existing: promised and stored (in any status).
    :param expected: promised and not started, or stored.
    :param skipped: reason -> number of promised occurrences left out.
    """

    create: list[PlannedSlot] = field(default_factory=list)
    update: list[Healing] = field(default_factory=list)
    remove: list[StoredSlot] = field(default_factory=list)
    kept_booked: list[StoredSlot] = field(default_factory=list)
    existing: int = 0
    expected: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


#: The counts of a template, a group and a run; and what only a run has besides.
TALLIED = ("created", "existing", "updated", "removed", "kept_booked", "expected")
COUNTS = (*TALLIED, "opened", "closed")


@dataclass(slots=True)
class Tally:
    """Counts of one template or one group in a report."""

    name: str
    created: int = 0
    existing: int = 0
    updated: int = 0
    removed: int = 0
    kept_booked: int = 0
    expected: int = 0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the counts by name, ready for JSON; ``error`` only if there is one."""
        return {n: v for n in ("name", *TALLIED, "error") if (v := getattr(self, n)) is not None}


@dataclass(slots=True)
class Report:
    """What a top-up did, or would do.

    :param window: the earliest start and the latest end over all templates, UTC.
    :param templates: template id -> its counts. Of more than 10,000 templates, those in which nothing happened are left
        out, and the last of the others; no error is. All of them count in the sums.
    :param unnamed: how many templates are left out there.
    :param groups: group -> its counts (templates without a group are not in it).
    :param opened: slots that became bookable since the last confirmed run.
    :param closed: slots that ended since the last confirmed run.
    :param seconds: how long it took.
    """

    created: int = 0
    existing: int = 0
    updated: int = 0
    removed: int = 0
    kept_booked: int = 0
    expected: int = 0
    opened: int = 0
    closed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    templates: dict[int, Tally] = field(default_factory=dict)
    unnamed: int = 0
    groups: dict[str, Tally] = field(default_factory=dict)
    window: Window | None = None
    seconds: float = 0.0
    run_id: int | None = None
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON; instants as ISO 8601 with offset."""
        window = self.window and {"start": self.window.start.isoformat(), "end": self.window.end.isoformat()}
        return {
            **{name: getattr(self, name) for name in COUNTS},
            "skipped": dict(self.skipped),
            "templates": {str(key): tally.to_dict() for key, tally in self.templates.items()},
            "groups": {key: tally.to_dict() for key, tally in self.groups.items()},
            "window": window,
            "seconds": round(self.seconds, 3),
            "run_id": self.run_id,
            "dry_run": self.dry_run,
        }


@dataclass(slots=True)
class PruneReport:
    """What was forgotten, or would be.

    :param before: the moment that parts old from new, aware, UTC.
    :param slots: past slots that were deleted.
    :param bookings: their bookings: released and expired ones, and all if booked slots were asked for.
    :param runs: recorded top-ups that were deleted.
    :param kept: past slots that stay: booked, completed, or pointed to by the app's own rows.
    :param seconds: how long it took.
    :param held_back: why nothing was deleted, or no slot that somebody decided about: the clocks do not agree.
    """

    before: datetime
    slots: int = 0
    bookings: int = 0
    runs: int = 0
    kept: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    held_back: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON; the instant as ISO 8601 with offset."""
        names = ("slots", "bookings", "runs", "kept", "dry_run", "held_back")
        counts = {name: getattr(self, name) for name in names}
        return {"before": self.before.isoformat(), **counts, "seconds": round(self.seconds, 3)}
