"""What the API answers: a model of each body for the documentation, and the functions that make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from flask_rollingslots.errors import RollingSlotsError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from flask_rollingslots.models import BookingMixin, SlotMixin, TemplateMixin
    from flask_rollingslots.series import EditPlan, SeriesReport

#: The most keys of one list in an answer.
MANY = 200


class Answered(BaseModel):
    """An object in an answer."""

    model_config = ConfigDict(extra="forbid")


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence for people.")
    code: str = Field(description="For machines.")
    instance: str | None = Field(None, description="The id under which the server's log has the details.")
    errors: list[Fault] | None = Field(None, description="What is not valid, field by field.")


class Fault(Answered):
    """One field that is not valid."""

    field: str
    value: Any = None
    expected: str


class TemplateAnswer(Answered):
    """A recurring offer, or one segment of its series."""

    id: int | None = Field(description="null in a dry run.")
    series_id: int | None
    continues_id: int | None
    revision: int | None = Field(description="Raised by every decision; also the ETag. For If-Match.")
    name: str
    group: str | None
    active: bool
    rrule: str | None
    recurrence: dict[str, Any] | None = Field(description="The rule as a JSON object.")
    description: str = Field(description="The rule in English.")
    is_forever: bool
    dtstart: str
    timezone: str
    duration_minutes: float
    every_minutes: float | None
    until_time: str | None
    capacity: int
    rdates: list[str]
    exdates: list[str]
    holidays: str | None
    blackouts: list[list[str]]
    window_days: int | None
    opens_before_minutes: float | None
    opens_days_before: int | None
    closes_before_minutes: float | None
    reminder_before_minutes: float | None
    resource: str | None
    exclusive: bool
    data: dict[str, Any]
    active_from: str | None
    active_until: str | None
    cancelled_from: str | None = Field(description="From this original start on the series is cancelled.")
    shift_minutes: float
    created_at: str | None


class TemplatePage(Answered):
    """Some templates, by id."""

    items: list[TemplateAnswer]
    next: str | None = Field(description="The address of the next page.")


class SlotAnswer(Answered):
    """A bookable slot, stored or virtual."""

    key: str
    series_id: int
    template_id: int
    name: str
    group: str | None
    original_start: str = Field(description="Wall-clock time: the identity, whatever happens to the slot.")
    starts_at: str
    ends_at: str
    local_start: str
    local_end: str
    timezone: str
    opens_at: str | None
    closes_at: str | None
    status: str
    state: str = Field(description="What the slot is now: open, full, blocked, closed, upcoming, running, …")
    capacity: int
    booked: int
    left: int
    is_virtual: bool = Field(description="Whether there is no row for it yet.")
    customised: list[str]
    data: dict[str, Any]
    cancel_reason: str | None
    revision: int | None = Field(description="Of its template; for If-Match.")
    run_id: int | None


class SlotPage(Answered):
    """Some slots, by start."""

    items: list[SlotAnswer]
    next: str | None = Field(description="The address of the next page.")


class SlotList(Answered):
    """Some slots, by start."""

    items: list[SlotAnswer]


class TemplateList(Answered):
    """The templates of a fixed schedule."""

    items: list[TemplateAnswer]


class Draft(Answered):
    """What would be created; nothing is stored."""

    dry_run: bool
    items: list[TemplateAnswer]
    starts: list[list[str]] = Field(description="The next starts of each template.")


class EditAnswer(Answered):
    """What an edit changed, or would change. Of long lists of keys the first 200 are given; the counts are exact."""

    dry_run: bool
    scope: str
    key: str
    revision: int = Field(description="The revision before the edit.")
    cuts: bool = Field(description="Whether the series is divided here.")
    counts: dict[str, int]
    created: list[str]
    changed: list[str]
    removed: list[str]
    kept_booked: list[str]
    kept_changed: list[str]
    slot: SlotAnswer | None = Field(None, description="The slot afterwards; null in a dry run.")


class TemplateChanged(Answered):
    """A template after a change, and what became of its slots."""

    dry_run: bool
    template: TemplateAnswer
    edit: EditAnswer | None = Field(description="null if no slot was meant.")


class EndAnswer(Answered):
    """What was cancelled, deleted or restored, or would be. Of long lists of keys the first 200 are given."""

    dry_run: bool
    scope: str
    counts: dict[str, int]
    changed: list[str]
    booked: list[str] = Field(description="Those of them with bookings: their people want to know.")
    kept_booked: list[str]
    kept_completed: list[str]
    slot: SlotAnswer | None = Field(None, description="With scope this: the slot afterwards.")


class HealthAnswer(Answered):
    """Whether every promised slot of the window is stored."""

    status: str = Field(description="ok, due (the next visitor starts what is missing), or missing.")
    promised: int | None = None
    stored: int | None = None
    missing: int | None = None
    due: int | None = None
    confirmed_at: str | None = None
    horizon: str | None = None
    next_try: str | None = None
    failures: int | None = None
    last_error: str | None = None
    templates: list[Coverage] | None = Field(None, description="Those that lack slots; the first 200.")


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


class BookingAnswer(Answered):
    """Somebody's places in a slot."""

    id: int
    key: str
    party: int
    who: str | None
    status: str = Field(description="held, confirmed, released or expired.")
    created_at: str
    expires_at: str | None
    released_at: str | None


def template_answer(template: TemplateMixin) -> dict[str, Any]:
    """Return a template, stored or not, as plain data."""
    return {
        "id": template.id,
        "series_id": template.series_id,
        "continues_id": template.continues_id,
        "revision": template.revision,
        "name": template.name,
        "group": template.group,
        "active": template.active is not False,
        "rrule": template.rrule,
        **_rule(template),
        "dtstart": _wall(template.dtstart),
        "timezone": template.timezone,
        "duration_minutes": _minutes(template.duration),
        "every_minutes": _minutes(template.every),
        "until_time": template.until_time and template.until_time.isoformat(),
        "capacity": template.capacity or 1,
        "rdates": [moment.isoformat() for moment in template.rdates or ()],
        "exdates": [moment.isoformat() for moment in template.exdates or ()],
        "holidays": template.holidays,
        "blackouts": [[day.isoformat() for day in pair] for pair in template.blackouts or ()],
        "window_days": template.window_days,
        "opens_before_minutes": _minutes(template.opens_before),
        "opens_days_before": template.opens_days_before,
        "closes_before_minutes": _minutes(template.closes_before),
        "reminder_before_minutes": _minutes(template.reminder_before),
        "resource": template.resource,
        "exclusive": bool(template.exclusive),
        "data": dict(template.data or {}),
        "active_from": _wall(template.active_from),
        "active_until": _wall(template.active_until),
        "cancelled_from": _wall(template.cancelled_from),
        "shift_minutes": _minutes(template.shift) or 0,
        "created_at": _moment(template.created_at),
    }


def _rule(template: TemplateMixin) -> dict[str, Any]:
    """Return what is said about the rule; a rule that this machine cannot read is shown as it is stored."""
    try:
        found = template.recurrence
        return {
            "recurrence": found.to_json(),
            "description": found.describe(times=True),
            "is_forever": found.is_forever,
        }
    except (RollingSlotsError, ValueError, LookupError, OSError):
        return {"recurrence": None, "description": template.rrule or "", "is_forever": False}


def slot_answer(slot: SlotMixin, now: datetime) -> dict[str, Any]:
    """Return a slot as plain data."""
    template = slot.template
    return {
        "key": slot.key,
        "series_id": slot.series_id,
        "template_id": slot.template_id,
        "name": template.name,
        "group": template.group,
        "original_start": _wall(slot.original_start),
        "starts_at": _moment(slot.starts_at),
        "ends_at": _moment(slot.ends_at),
        "local_start": slot.local_start.isoformat(),
        "local_end": slot.local_end.isoformat(),
        "timezone": template.timezone,
        "opens_at": _moment(slot.opens_at),
        "closes_at": _moment(slot.closes_at),
        "status": slot.status,
        "state": slot.state_at(now).value,
        "capacity": slot.capacity,
        "booked": slot.booked_at(now),
        "left": max(0, slot.capacity - slot.booked_at(now)),
        "is_virtual": slot.is_virtual,
        "customised": list(slot.customised or ()),
        "data": dict(slot.data or {}),
        "cancel_reason": slot.cancel_reason,
        "revision": template.revision,
        "run_id": slot.run_id,
    }


def edit_answer(plan: EditPlan, dry_run: bool, slot: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what an edit does as plain data."""
    found = plan.to_dict()
    del found["token"]
    return {"dry_run": dry_run, **_bounded(found), "slot": slot}


def end_answer(report: SeriesReport, dry_run: bool, slot: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what an end of a series, or its opposite, does as plain data."""
    found = report.to_dict()
    del found["segments"]
    return {"dry_run": dry_run, **_bounded(found), "slot": slot}


def _bounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value[:MANY] if isinstance(value, list) else value for name, value in found.items()}


def booking_answer(booking: BookingMixin, now: datetime) -> dict[str, Any]:
    """Return a booking as plain data."""
    return {
        "id": booking.id,
        "key": booking.slot.key,
        "party": booking.party,
        "who": booking.who,
        "status": booking.status_at(now).value,
        "created_at": _moment(booking.created_at),
        "expires_at": _moment(booking.expires_at),
        "released_at": _moment(booking.released_at),
    }


def _wall(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="minutes") if moment is not None else None


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def _minutes(length: timedelta | None) -> float | None:
    if length is None:
        return None
    seconds = length.total_seconds()
    return int(seconds // 60) if seconds % 60 == 0 else seconds / 60


ProblemDocument.model_rebuild()
HealthAnswer.model_rebuild()
