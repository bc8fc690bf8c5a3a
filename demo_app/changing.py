"""A change of dates: which dates it may be about, what it would do to each of them, and then doing exactly that.

The consequences come from ``slots.preview_edit``, and ``slots.apply_edit`` writes what was shown or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask import flash, render_template, request

from flask_rollingslots.errors import (
    InvalidRequest,
    InvalidRule,
    RollingSlotsError,
    SlotBooked,
    StaleEdit,
    StatusConflict,
)
from flask_rollingslots.values import BookingStatus, Scope

from . import words
from .models import db, slots
from .venues import find_venue

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from flask_rollingslots import BookingMixin, SlotMixin
    from flask_rollingslots.facade import EditPlan

ALL = (Scope.THIS, Scope.THIS_AND_FUTURE, Scope.ALL)
WIDE = (Scope.THIS_AND_FUTURE, Scope.ALL)
NAMES = {
    Scope.THIS: "Only this date",
    Scope.THIS_AND_FUTURE: "This and all following dates",
    Scope.ALL: "All dates of the series",
}
_SHOWN = 6
_NOT_SENT_AGAIN = {"csrf_token", "scope", "preview"}


@dataclass(frozen=True)
class Question:
    """A change that somebody asks for.

    :param slot: from which date it was asked for.
    :param changes: as ``slots.edit`` takes them.
    :param scopes: which dates it may be about.
    :param move_booked: whether booked dates move too.
    :param said: how a change is told, where the slot's own values would mislead: the field's name -> a text.
    """

    slot: SlotMixin
    changes: dict[str, Any]
    scopes: tuple[Scope, ...] = ALL
    move_booked: bool = False
    said: dict[str, str] = field(default_factory=dict)

    def preview(self, scope: Scope) -> EditPlan:
        """Return what would be done."""
        return slots.preview_edit(self.slot.key, scope, move_booked=self.move_booked, **self.changes)


@dataclass
class Outcome:
    """What would be done to some dates.

    :param dates: a text for each of the first few.
    :param more: how many others.
    """

    title: str
    number: int
    dates: list[str] = field(default_factory=list)

    @property
    def more(self) -> int:
        """How many are not named."""
        return self.number - len(self.dates)


@dataclass
class Choice:
    """One answer to "which dates?" with its consequences, or why it cannot be chosen."""

    scope: Scope
    name: str
    token: str = ""
    notes: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    refusal: str = ""


def page(question: Question, stale: bool = False) -> str:
    """Return the page that asks which dates are meant, with the consequences of each answer.

    :param stale: somebody else was faster, so the consequences are other ones now.
    """
    choices = [_choice(question, scope) for scope in question.scopes]
    again = [(name, text) for name, text in request.form.items(multi=True) if name not in _NOT_SENT_AGAIN]
    return render_template(
        "owner_change.html",
        slot=question.slot,
        venue=find_venue(question.slot.template.group),
        summary=_summary(question),
        choices=choices,
        again=[(name, text) for name, text in again if not name.startswith("token-")],
        stale=stale,
        first=next((choice.scope for choice in choices if not choice.refusal), None),
    )


def apply(question: Question) -> str:
    """Do what was shown, and return the key of the date from which it was asked for.

    :raises StaleEdit: if it would do anything else by now.
    """
    chosen = request.form["scope"]
    scope = next((each for each in question.scopes if each.value == chosen), None)
    if scope is None:
        raise StaleEdit
    try:
        plan = question.preview(scope)
        if plan.token != request.form.get(f"token-{scope.value}"):
            raise StaleEdit
        told = slots.apply_edit(plan).bookings
        db.session.commit()
    except RollingSlotsError as error:
        db.session.rollback()
        raise StaleEdit from error
    flash(f"Changed: {NAMES[scope].lower()}.{to_call(told)}")
    return str(plan.key)


def named(bookings: Iterable[BookingMixin]) -> list[tuple[str, int]]:
    """Return the names in some bookings, and for how many each is; holds are not people yet."""
    booked = (each for each in bookings if each.status == BookingStatus.CONFIRMED)
    return [(each.name or "nobody by name", each.party) for each in booked]


def to_call(bookings: Iterable[BookingMixin]) -> str:
    """Return a sentence that names the people who have booked; nothing if nobody has."""
    names = [name if party == 1 else f"{name} ({party})" for name, party in named(bookings)]
    return f" Call {', '.join(names)}." if names else ""


def _choice(question: Question, scope: Scope) -> Choice:
    choice = Choice(scope, NAMES[scope])
    try:
        plan = question.preview(scope)
    except (InvalidRequest, InvalidRule, SlotBooked, StatusConflict) as error:
        choice.refusal = _reason(error)
        return choice
    zone = ZoneInfo(question.slot.template.timezone)
    choice.token = plan.token
    if any(segment.cut_at is not None for segment in plan.segments):
        first = words.moment_words(question.slot.local_start)
        choice.notes.append(f"From {first} on. The series is split here: earlier dates stay as they are.")
    if scope is not Scope.THIS:
        choice.notes.append("Later dates, which are not stored yet, follow the same rule.")
    if plan.removed and "rrule" not in question.changes:
        choice.notes.append("A free date is removed where a booked one keeps the time that it would get.")
    choice.outcomes = [outcome for outcome in _outcomes(plan, zone) if outcome.number]
    if not choice.outcomes:
        choice.notes.append("No stored date is touched.")
    return choice


def _reason(error: RollingSlotsError) -> str:
    if isinstance(error, SlotBooked):
        return "It is booked. If the people agree, go back and tick “Move booked dates too”."
    return f"{words.plain_sentence(str(error))}."


def _outcomes(plan: EditPlan, zone: ZoneInfo) -> list[Outcome]:
    def at(moment: datetime) -> str:
        return words.moment_words(moment.astimezone(zone))

    def changed(row: Any, values: dict[str, Any]) -> str:
        after = values.get("starts_at", row.starts_at)
        if after != row.starts_at:
            return words.move_words(row.starts_at.astimezone(zone), after.astimezone(zone), "→")
        booked = f" ({row.booked} booked)" if row.booked else ""
        return f"{at(row.starts_at)}{booked}"

    # A date may keep its time, for it is booked, and get another text all the same: it is told once.
    partly = {c.row.key for c in plan.changed} & {r.key for r in (*plan.kept_booked, *plan.kept_changed)}
    booked = [r for r in plan.kept_booked if r.key not in partly]
    by_hand = [r for r in plan.kept_changed if r.key not in partly]
    whole = [c for c in plan.changed if c.row.key not in partly]
    part = [c.row for c in plan.changed if c.row.key in partly]
    lists = {
        "Created": [(c.starts_at, at(c.starts_at)) for c in plan.created],
        "Changed": [(c.row.starts_at, changed(c.row, c.values)) for c in whole],
        "Partly changed, for they are booked or were changed by hand": [
            (r.starts_at, changed(r, {})) for r in part
        ],
        "Removed, for nobody booked them": [(r.starts_at, at(r.starts_at)) for r in plan.removed],
        "Kept as they are, because they are booked": [(r.starts_at, at(r.starts_at)) for r in booked],
        "Kept as they are, because somebody changed them": [(r.starts_at, at(r.starts_at)) for r in by_hand],
    }
    return [
        Outcome(title, len(found), [text for _, text in sorted(found)[:_SHOWN]])
        for title, found in lists.items()
    ]


def _summary(question: Question) -> list[str]:
    """Return what is asked for, in words."""
    changes, slot = question.changes, question.slot
    said = []
    if "name" in changes:
        said.append(f"Name: {changes['name']}")
    if "rrule" in changes:
        said.append(question.said.get("rrule", "Another rule"))
    if (start := changes.get("start")) is not None:
        moved = words.move_words(start, slot.local_start, "instead of")
        said.append(question.said.get("start", f"Start: {moved}"))
    if "duration" in changes:
        said.append(f"Length: {words.minutes_words(changes['duration'])}")
    if "capacity" in changes:
        said.append(f"Places: {changes['capacity']} instead of {slot.capacity}")
    if "data" in changes:
        said.append("Another text about it")
    return said
