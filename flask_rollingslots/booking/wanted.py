"""What somebody wants of a slot: the request, the conditions on which places are given, and the booking made of it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    func,
    inspect,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import make_transient_to_detached

from ..context import Work
from ..errors import (
    refusal,
)
from ..models import (
    BookingMixin,
    Models,
    SlotMixin,
    table_of,
)
from ..models.kinds import Text
from ..statements import (
    made_here,
    only_if,
)
from ..values import NOBODY, BookingStatus, Person, Status
from .counting import read_again

#: The longest hold: a week.
MAX_MINUTES = 7 * 24 * 60
MAX_PARTY = 1_000_000
#: Of the text that links to a booking: nobody guesses so many.
_TOKEN_BYTES = 18
_TEXT = Text(200)
#: What may be said of the person.
_OF_PERSON = {"name": _TEXT, "contact": _TEXT, "note": Text(2000, lines=True)}
#: The active key of a booking in a slot for one: it makes a second live one impossible, whatever the counter says.
ONLY = "only"
#: Instead of the id of the first booking of a person's series: this is the first.
FIRST = 0


@dataclass(frozen=True, slots=True)
class BookingRequest:
    """Places that somebody wants, for good or for some minutes.

    :param party: how many places.
    :param minutes: how long they are held; ``None``: they are booked.
    :param expires_at: the end of a hold that goes on in another slot, aware.
    :param replaces_id: the booking that moves.
    :param is_person: whether the limits on what a person may hold apply.
    :param override: staff asks: too early, too late and too many do not count.
    :param token: of the booking that moves; by default a new one.
    :param repeats_id: the first booking of the person's series, or ``FIRST``.
    :param waits: not places are wanted now, but one on the waiting list.
    """

    party: int
    who: str | None
    idempotency_key: str | None = None
    minutes: float | None = None
    expires_at: datetime | None = None
    replaces_id: int | None = None
    is_person: bool = False
    person: Person = NOBODY
    override: bool = False
    token: str | None = None
    repeats_id: int | None = None
    waits: bool = False

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises InvalidRequest: names field, value and expectation.
        """
        party: Any = self.party
        if isinstance(party, bool) or not isinstance(party, int) or not 1 <= party <= MAX_PARTY:
            raise refusal("party", party, f"a whole number from 1 to {MAX_PARTY:,}")
        if not isinstance(self.override, bool):
            raise refusal("override", self.override, "True or False")
        for field in ("who", "idempotency_key"):
            value = getattr(self, field)
            if value is not None and not _TEXT.takes(value):
                hint = "" if isinstance(value, str) else "; an id as str(user.id)"
                raise refusal(field, value, f"{_TEXT.expected}, or None{hint}")
        for field, kind in _OF_PERSON.items():
            value = getattr(self.person, field)
            if value is not None and not kind.takes(value):
                raise refusal(field, value, f"{kind.expected}, or None")
        minutes: Any = self.minutes
        is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if minutes is not None and not (is_number and 0 < minutes <= MAX_MINUTES):
            raise refusal("minutes", minutes, f"a number above 0, at most {MAX_MINUTES:,}")

    @property
    def is_beyond(self) -> bool:
        """Whether places are taken that there may not be: staff books. What moves takes what is free."""
        return self.override and self.replaces_id is None

    @property
    def request_key(self) -> str | None:
        """The key under which the database keeps two bookings for one request apart: unique per ``who``."""
        if self.idempotency_key is None:
            return None
        who = self.who or ""
        return hashlib.sha256(f"{len(who)}:{who}{self.idempotency_key}".encode()).hexdigest()

    def values(self, now: datetime) -> dict[str, Any]:
        """Return the column values of the booking that do not depend on the slot."""
        expires_at = self.expires_at
        if self.minutes is not None:
            expires_at = now.astimezone(UTC) + timedelta(minutes=self.minutes)
        status = BookingStatus.CONFIRMED if expires_at is None else BookingStatus.HELD
        if self.waits:
            status = BookingStatus.WAITING
        return {
            "party": self.party,
            "who": self.who,
            **self.person._asdict(),
            "token": self.token or secrets.token_urlsafe(_TOKEN_BYTES),
            "override": self.override or None,
            "repeats_id": self.repeats_id or None,
            "status": status.value,
            "idempotency_key": self.idempotency_key,
            "request_key": self.request_key,
            "replaces_id": self.replaces_id,
            "created_at": now.astimezone(UTC),
            "expires_at": expires_at,
        }

    def is_answered_by(self, booking: BookingMixin, slot: SlotMixin) -> bool:
        """Whether a booking is what an earlier, equal request was given."""
        waited = booking.status == BookingStatus.WAITING or bool(booking.is_offer)
        is_held = booking.expires_at is not None and not waited
        held = booking.expires_at - booking.created_at if is_held and booking.expires_at is not None else None
        wanted = timedelta(minutes=self.minutes) if self.minutes is not None else None
        asked = (slot.id, self.party, wanted, self.waits, self.repeats_id)
        party = booking.asked_party or booking.party
        return (booking.slot_id, party, held, waited, booking.repeats_id) == asked


def bookable(
    models: Models,
    now: Any,
    party: Any,
    template: Iterable[ColumnElement[bool]],
    beyond: bool = False,
) -> ColumnElement[bool]:
    """Return all limits of a booking as one condition on the slot: capacity, times, status, and its template.

    :param now: a moment (aware), or a parameter for one.
    :param party: how many places, or a parameter.
    :param template: what must be true of the template besides being active.
    :param beyond: staff books: capacity and times do not count.
    """
    c, templates = table_of(models.Slot).c, table_of(models.Template)
    mine = select(templates.c.id).where(
        templates.c.id == c.template_id, templates.c.active.is_(True), *template
    )
    return only_if(*open_for(c, now, party, beyond), mine.exists())


def open_for(slot: Any, now: Any, party: Any, beyond: bool = False) -> list[ColumnElement[bool]]:
    """Return what ``bookable`` asks of the slot itself."""
    usual = (
        slot.booked + party <= slot.capacity,
        slot.ends_at > now,
        or_(slot.opens_at.is_(None), slot.opens_at <= now),
        func.coalesce(slot.closes_at, slot.starts_at) > now,
    )
    scheduled: ColumnElement[str] = literal_column(f"'{Status.SCHEDULED.value}'")
    return [slot.status == scheduled, slot.withdrawn.is_(None), *(() if beyond else usual)]


def instance_of(work: Work, values: dict[str, Any]) -> BookingMixin:
    """Return the booking that was just written: all of it is known, so that nothing needs to be read.

    Reading would not be safe either: MariaDB's snapshot may still hold somebody else's booking under the same key.
    """
    held: BookingMixin | None = read_again(work, work.models.Booking, values["id"])
    if held is not None:
        return held
    made: BookingMixin = inspect(work.models.Booking).class_manager.new_instance()
    made.__dict__.update(values, released_at=None, is_offer=None, attendance=None, asked_party=None)
    make_transient_to_detached(made)
    work.session.add(made)
    made_here(work.session, made)
    return made
