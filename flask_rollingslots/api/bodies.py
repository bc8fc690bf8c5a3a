"""What the API takes: a model of each body, and how it is turned into what the facade wants."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from flask_rollingslots.recurrence import template_fields
from flask_rollingslots.recurrence.dialects import read_moments

from .fields import (
    Capacity,
    Clock,
    Data,
    Day,
    FirstStart,
    Group,
    Minutes,
    MinutesFromZero,
    Name,
    Reason,
    Rrule,
    ScopeName,
    Start,
    Strict,
    WallClock,
    minutes,
)
from .problems import fault, invalid

Weekday = Annotated[int, Field(ge=0, le=6, description="0 = Monday.")]
Length = Annotated[int | str, Field(description="Whole minutes, or a text as H:MM.")]
Moments = Annotated[list[str], Field(max_length=1000, description="YYYY-MM-DDTHH:MM or YYYY-MM-DD.")]
Few = Annotated[int, Field(ge=1, le=10**9)]


class Recurrence(Strict):
    """A rule as a JSON object; null means absent. See docs/http.md for what the fields mean together."""

    type: Literal["daily", "weekly", "biweekly", "monthly", "quarterly", "yearly", "rrule"] | None = None
    interval: Few | None = None
    count: Few | None = None
    until_date: Annotated[str | None, Field(description="Last day, YYYY-MM-DD.")] = None
    end: Literal["never"] | None = None
    enabled: bool | None = None
    active: bool | None = None
    weekday: Weekday | None = None
    weekdays: Annotated[list[Weekday], Field(max_length=7)] | None = None
    month_day: Annotated[int, Field(ge=-31, le=31)] | None = None
    week: Literal[1, 2, 3, 4, -1] | None = None
    start_time: Annotated[str | None, Field(description="HH:MM")] = None
    end_time: Annotated[
        str | None, Field(description="HH:MM; not later than start_time: on the next day.")
    ] = None
    start_date: Annotated[str | None, Field(description="YYYY-MM-DD")] = None
    duration: Length | None = None
    every: Length | None = None
    until_time: Annotated[str | None, Field(description="HH:MM")] = None
    rdates: Moments | None = None
    exdates: Moments | None = None
    rrule: Rrule | None = None


def _kind(value: Any) -> str:
    return _LIST if isinstance(value, list) else _OBJECT


#: The names of the branches; in brackets, so that nobody takes them for fields.
_OBJECT, _LIST = "[object]", "[list]"
Rule = Annotated[
    Annotated[Recurrence, Tag(_OBJECT)]
    | Annotated[
        list[Recurrence],
        Tag(_LIST),
        Field(min_length=1, max_length=50, description="A fixed schedule: one template for each entry."),
    ],
    Discriminator(_kind),
]


class _Settings(Strict):
    """What can be said of a template, new or not."""

    group: Group | None = None
    window_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    opens_before_minutes: MinutesFromZero | None = None
    opens_days_before: Annotated[int, Field(ge=0, le=3660)] | None = None
    closes_before_minutes: MinutesFromZero | None = None
    reminder_before_minutes: MinutesFromZero | None = None
    resource: Group | None = None
    holidays: Annotated[str, Field(min_length=1, max_length=16)] | None = None
    blackouts: (
        Annotated[
            list[Annotated[list[Day], Field(min_length=2, max_length=2)]],
            Field(max_length=1000, description="Pairs of first and last day."),
        ]
        | None
    ) = None
    rdates: Moments | None = None
    exdates: Moments | None = None
    active: bool = True
    exclusive: bool = False


class TemplateBody(_Settings):
    """A new template."""

    name: Name
    dtstart: FirstStart | None = None
    end: Annotated[
        WallClock | None, Field(description="End of the first slot; instead of duration_minutes.")
    ] = None
    timezone: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    duration_minutes: Minutes | None = None
    every_minutes: Annotated[Minutes | None, Field(description="Day grid: a slot each so many minutes.")] = (
        None
    )
    until_time: Annotated[Clock | None, Field(description="Day grid: until this time of day.")] = None
    capacity: Capacity = 1
    recurrence: Rule | None = None
    rrule: Annotated[Rrule | None, Field(description="Instead of recurrence; neither: one slot.")] = None
    data: Data = Field(default_factory=dict)
    dry_run: bool = False

    def templates(self, timezone: str) -> list[dict[str, Any]]:
        """Return the fields of the template, or of each template of a fixed schedule.

        :param timezone: of templates that name none.
        :raises Problem: 422 for fields that contradict each other.
        :raises InvalidRule: if the rule is not valid.
        """
        rules = self._rules(self.timezone or timezone)
        own = self._own()
        return [self._joined(rule, own) for rule in rules]

    def _rules(self, timezone: str) -> list[dict[str, Any]]:
        if self.recurrence is not None and self.rrule is not None:
            raise invalid([fault("rrule", self.rrule, "either recurrence or rrule")])
        if self.recurrence is None:
            value: Any = {"type": "rrule", "rrule": self.rrule}
        elif isinstance(self.recurrence, list):
            value = [_plain(each) for each in self.recurrence]
        else:
            value = _plain(self.recurrence)
        if isinstance(self.dtstart, date) and not isinstance(self.dtstart, datetime):
            for each in value if isinstance(value, list) else [value]:
                if "start_time" not in each:
                    raise invalid(
                        [fault("dtstart", self.dtstart.isoformat(), "a time too: YYYY-MM-DDTHH:MM")]
                    )
        return template_fields(value, dtstart=self.dtstart, timezone=timezone)

    def _own(self) -> dict[str, Any]:
        own: dict[str, Any] = {"name": self.name, "capacity": self.capacity, "data": self.data}
        own |= settings_of(self, self.model_fields_set)
        for name, value in (("every", minutes(self.every_minutes)), ("until_time", self.until_time)):
            if value is not None:
                own[name] = value
        if self.duration_minutes is not None:
            own["duration"] = minutes(self.duration_minutes)
        return own

    def _joined(self, rule: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
        rule = {name: value for name, value in rule.items() if name != "gap"}
        twice = sorted(set(rule) & set(own) - {"active"})
        if twice:
            raise invalid([fault(twice[0], None, f"{twice[0]} once: in the recurrence, or beside it")])
        found = {**rule, **own}
        if self.end is not None:
            if "duration" in found:
                raise invalid([fault("end", self.end.isoformat(), "either end or a duration")])
            found["duration"] = _length(self.dtstart, rule["dtstart"], self.end)
        if "duration" not in found and "every" in found:
            found["duration"] = found["every"]
        if "duration" not in found:
            raise invalid(
                [fault("duration_minutes", None, "duration_minutes, end, every_minutes or end_time")]
            )
        return found


class TemplateChange(_Settings):
    """What is to be changed of a whole series; null clears what can be empty."""

    name: Name | None = None
    capacity: Capacity | None = None
    duration_minutes: Minutes | None = None
    data: Data | None = None
    recurrence: Recurrence | None = None
    rrule: Rrule | None = None
    move_booked: bool = False
    dry_run: bool = False


class SlotChange(Strict):
    """What is to be changed of one slot, of this and future ones, or of all."""

    scope: ScopeName | None = None
    start: Start | None = None
    duration_minutes: Minutes | None = None
    capacity: Capacity | None = None
    data: Data | None = None
    name: Name | None = None
    recurrence: Recurrence | None = None
    rrule: Rrule | None = None
    move_booked: bool = False
    dry_run: bool = False


class EndBody(Strict):
    """A cancellation, or its opposite."""

    scope: ScopeName | None = None
    reason: Reason | None = None
    dry_run: bool = False


class RestoreBody(Strict):
    """What is to come back."""

    scope: ScopeName | None = None
    dry_run: bool = False


class CancelFutureBody(Strict):
    """From which day on."""

    from_date: Annotated[Day, Field(description="A day of the template's zone: the first that is cancelled.")]
    reason: Reason | None = None
    dry_run: bool = False


class MaterializeBody(Strict):
    """Which occurrence."""

    original_start: WallClock


class DryRunBody(Strict):
    """Nothing but whether it is only tried."""

    dry_run: bool = False


class BookingBody(Strict):
    """Places that somebody wants."""

    party: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    who: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    hold_minutes: Annotated[
        int | None,
        Field(ge=1, le=7 * 24 * 60, description="Hold the places so long, until they are confirmed."),
    ] = None


_LENGTHS = ("opens_before", "closes_before", "reminder_before")
_PLAIN = ("group", "window_days", "opens_days_before", "resource", "holidays", "active", "exclusive")
_LISTS = ("rdates", "exdates", "blackouts")


def settings_of(body: _Settings, names: set[str]) -> dict[str, Any]:
    """Return the settings among some fields of a body, as columns of a template."""
    found: dict[str, Any] = {name: getattr(body, name) for name in _PLAIN if name in names}
    found |= {
        name: minutes(getattr(body, f"{name}_minutes")) for name in _LENGTHS if f"{name}_minutes" in names
    }
    for name in set(_LISTS) & names:
        value = getattr(body, name) or []
        if name == "blackouts":
            found[name] = [tuple(pair) for pair in value]
        else:
            found[name] = list(read_moments(name, value))
    return found


def changes_of(body: TemplateChange | SlotChange, dtstart: datetime, timezone: str) -> dict[str, Any]:
    """Return what ``edit`` is to change.

    :param dtstart: of the template, naive.
    :raises Problem: 422 for fields that contradict each other.
    :raises InvalidRule: if the rule is not valid.
    """
    found: dict[str, Any] = {name: getattr(body, name) for name in ("name", "capacity", "data", "rrule")}
    found["duration"] = minutes(body.duration_minutes)
    found["start"] = getattr(body, "start", None)
    if body.recurrence is not None:
        if body.rrule is not None:
            raise invalid([fault("rrule", body.rrule, "either recurrence or rrule")])
        _by_recurrence(found, _plain(body.recurrence), dtstart, timezone)
    return {name: value for name, value in found.items() if value is not None}


def _by_recurrence(found: dict[str, Any], rule: Mapping[str, Any], dtstart: datetime, timezone: str) -> None:
    for name in ("rdates", "exdates", "every", "until_time", "start_date", "active"):
        if name in rule:
            raise invalid([fault(f"recurrence.{name}", rule[name], f"no {name} in a change of the rule")])
    (read,) = template_fields(rule, dtstart=dtstart, timezone=timezone)
    if read["rrule"] is None:
        raise invalid([fault("recurrence", None, "a rule that repeats")])
    given = {"rrule": read["rrule"], "duration": read.get("duration")}
    given["start"] = read["dtstart"].time() if "start_time" in rule else None
    for name, value in given.items():
        if value is not None and found.get(name) is not None:
            raise invalid([fault(name, None, f"{name} once: in the recurrence, or beside it")])
        found[name] = value if value is not None else found.get(name)


def _plain(rule: Recurrence) -> dict[str, Any]:
    return rule.model_dump(exclude_none=True)


def _length(given: datetime | date | None, dtstart: datetime, end: datetime) -> timedelta:
    """Return how long the first slot is by the wall clock."""
    first = given if isinstance(given, datetime) else dtstart
    if end <= first:
        raise invalid([fault("end", end.isoformat(), f"a time after the start, {first.isoformat()}")])
    return end - first
