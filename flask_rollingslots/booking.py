"""Booking: one conditional UPDATE takes the places, so that capacity cannot be exceeded."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select, update

from .errors import BookingNotFound, IdempotencyConflict, InvalidRequest, SlotClosed, SlotFull
from .models import table_of
from .statements import dialect_of, insert_if_absent, newest, only_if
from .values import State, Status

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from .models import BookingMixin, Models, SlotMixin

CONFIRMED = "confirmed"
_MOST = 1_000_000
RELEASED = "released"


def book(
    session: Session,
    models: Models,
    now: datetime,
    slot: SlotMixin,
    party: int = 1,
    who: str | None = None,
    idempotency_key: str | None = None,
) -> tuple[BookingMixin, bool]:
    """Take places in a stored slot; return the booking, and whether it is new (not an earlier one of this request).

    :param now: aware; opening, closing and start are judged by it, in the statement that takes the places.
    :param party: how many places, at least 1.
    :param idempotency_key: unique per ``who``: the same request again returns the same booking.
    :raises InvalidRequest: if ``party``, ``who`` or the key is not valid.
    :raises SlotFull: if too few places are left.
    :raises SlotClosed: if the slot is not open: too early, too late, cancelled, or its template inactive.
    :raises IdempotencyConflict: if the key was used for another slot or party.
    """
    _check(party, who, idempotency_key)
    request_key = _request_key(who, idempotency_key)
    known = _known(session, models, request_key, slot, party)
    if known is not None:
        return known, False
    if not _take(session, models, now, slot, party):
        session.refresh(slot)
        raise _refusal(slot, now, party)
    # At capacity 1 the constant makes a second live booking impossible, whatever happens to the counter.
    active_key = "only" if slot.capacity == 1 else uuid.uuid4().hex
    row = {
        "slot_id": slot.id,
        "party": party,
        "who": who,
        "status": CONFIRMED,
        "idempotency_key": idempotency_key,
        "request_key": request_key,
        "active_key": active_key,
        "created_at": now,
    }
    statement = insert_if_absent(table_of(models.Booking), dialect_of(session))
    result: Any = session.execute(statement, row)
    inserted = result.rowcount == 1
    session.expire(slot, ["booked"])
    if not inserted:
        _give_back(session, models, slot.id, party)
        known = _known(session, models, request_key, slot, party)
        if known is not None:
            return known, False
        raise SlotFull(f"slot {slot.key} is full", key=slot.key, left=0, party=party)
    # By its id: under the active key MariaDB's snapshot may still hold somebody else's booking, released meanwhile.
    booking = session.get(models.Booking, result.inserted_primary_key[0])
    if booking is None:
        raise BookingNotFound("the booking was taken back by another transaction")
    return booking, True


def release(
    session: Session, models: Models, now: datetime, booking: BookingMixin | int
) -> tuple[BookingMixin, bool]:
    """Give a booking's places back; return it, and whether that changed anything: a second time does not.

    :param now: aware.
    :raises BookingNotFound: if there is no such booking.
    """
    found = session.get(models.Booking, booking) if isinstance(booking, int) else booking
    if not isinstance(found, models.Booking):
        raise BookingNotFound(f"booking {booking}: there is no such booking")
    table = table_of(models.Booking)
    statement = (
        update(table)
        .where(table.c.id == found.id, table.c.status != RELEASED)
        .values(status=RELEASED, active_key=None, released_at=now)
    )
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        return found, False
    _give_back(session, models, found.slot_id, found.party)
    session.expire(found)
    session.expire(found.slot, ["booked"])
    return found, True


def _check(party: int, who: str | None, idempotency_key: str | None) -> None:
    if isinstance(party, bool) or not isinstance(party, int) or not 1 <= party <= _MOST:
        text = f"party = {str(party)[:40]!r}: expected a whole number from 1 to {_MOST:,}"
        raise InvalidRequest(text, field="party", value=party)
    for field, value in (("who", who), ("idempotency_key", idempotency_key)):
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= 200 and "\0" not in value):
            expected = "a text of 1 to 200 characters without NUL, or None"
            raise InvalidRequest(
                f"{field} = {str(value)[:80]!r}: expected {expected}", field=field, value=value
            )


def _request_key(who: str | None, idempotency_key: str | None) -> str | None:
    if idempotency_key is None:
        return None
    return hashlib.sha256(f"{len(who or '')}:{who or ''}{idempotency_key}".encode()).hexdigest()


def _known(
    session: Session, models: Models, request_key: str | None, slot: SlotMixin, party: int
) -> BookingMixin | None:
    if request_key is None:
        return None
    cls = models.Booking
    query: Any = select(cls).where(cls.request_key == request_key)
    known = session.scalars(newest(query, dialect_of(session))).one_or_none()
    if known is not None and (known.slot_id, known.party) != (slot.id, party):
        raise IdempotencyConflict(
            f"idempotency_key = {known.idempotency_key!r} was used for another booking", booking_id=known.id
        )
    return known


def _take(session: Session, models: Models, now: datetime, slot: SlotMixin, party: int) -> bool:
    table, templates = table_of(models.Slot), table_of(models.Template)
    c = table.c
    is_active = select(templates.c.active).where(templates.c.id == c.template_id).scalar_subquery()
    bookable = only_if(
        c.status == Status.SCHEDULED.value,
        c.booked + party <= c.capacity,
        c.starts_at > now,
        or_(c.opens_at.is_(None), c.opens_at <= now),
        or_(c.closes_at.is_(None), c.closes_at > now),
        is_active.is_(True),
    )
    statement = update(table).where(c.id == slot.id, bookable).values(booked=c.booked + party)
    return bool(session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]


def _give_back(session: Session, models: Models, slot_id: int, party: int) -> None:
    table = table_of(models.Slot)
    statement = update(table).where(table.c.id == slot_id).values(booked=table.c.booked - party)
    session.execute(statement)


def _refusal(slot: SlotMixin, now: datetime, party: int) -> SlotFull | SlotClosed:
    state = slot.state_at(now)
    if slot.template.active and state in (State.OPEN, State.FULL):
        text = f"slot {slot.key} has {slot.left} of {slot.capacity} places left, {party} asked for"
        return SlotFull(text, key=slot.key, left=slot.left, party=party)
    word = state.value if slot.template.active else "inactive"
    return SlotClosed(f"slot {slot.key} cannot be booked: it is {word}", key=slot.key, state=word)
