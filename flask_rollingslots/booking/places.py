"""Places: what somebody asks for, and the statements that take and give back, each exact under any concurrency."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect, or_, select, update
from sqlalchemy.orm import make_transient_to_detached

from flask_rollingslots.errors import IdempotencyConflict, refusal
from flask_rollingslots.models import forget_busy, from_us, table_of, to_us
from flask_rollingslots.statements import insert_if_absent, newest, only_if
from flask_rollingslots.values import BookingStatus, Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from blinker import NamedSignal
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import BookingMixin, Hold, Models, SlotMixin

#: The longest hold: a week.
MAX_MINUTES = 7 * 24 * 60
MAX_PARTY = 1_000_000
#: The active key of a booking in a slot for one: it makes a second live one impossible, whatever the counter says.
ONLY = "only"
#: What these statements change of a slot behind the ORM's back.
COUNTED = ["booked", "holds", "hold_until"]


@dataclass(frozen=True, slots=True)
class Wish:
    """Places that somebody wants, for good or for some minutes.

    :param party: how many places.
    :param minutes: how long they are held; ``None``: they are booked.
    :param expires_at: the end of a hold that goes on in another slot, aware.
    :param replaces_id: the booking that moves.
    """

    party: int
    who: str | None
    idempotency_key: str | None = None
    minutes: float | None = None
    expires_at: datetime | None = None
    replaces_id: int | None = None

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises InvalidRequest: names field, value and expectation.
        """
        party: Any = self.party
        if isinstance(party, bool) or not isinstance(party, int) or not 1 <= party <= MAX_PARTY:
            raise refusal("party", party, f"a whole number from 1 to {MAX_PARTY:,}")
        for field in ("who", "idempotency_key"):
            value = getattr(self, field)
            fits = isinstance(value, str) and 0 < len(value) <= 200 and "\0" not in value
            if value is not None and not fits:
                hint = "" if isinstance(value, str) else "; an id as str(user.id)"
                raise refusal(field, value, f"a text of 1 to 200 characters without NUL, or None{hint}")
        minutes: Any = self.minutes
        is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if minutes is not None and not (is_number and 0 < minutes <= MAX_MINUTES):
            raise refusal("minutes", minutes, f"a number above 0, at most {MAX_MINUTES:,}")

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
        return {
            "party": self.party,
            "who": self.who,
            "status": status.value,
            "idempotency_key": self.idempotency_key,
            "request_key": self.request_key,
            "replaces_id": self.replaces_id,
            "created_at": now.astimezone(UTC),
            "expires_at": expires_at,
        }

    def is_answered_by(self, booking: BookingMixin, slot: SlotMixin) -> bool:
        """Whether a booking is what an earlier, equal request was given."""
        held = booking.expires_at - booking.created_at if booking.expires_at is not None else None
        wanted = timedelta(minutes=self.minutes) if self.minutes is not None else None
        return (booking.slot_id, booking.party, held) == (slot.id, self.party, wanted)


def find_known(work: Work, wish: Wish, slot: SlotMixin, fresh: bool = False) -> BookingMixin | None:
    """Return the booking of an earlier request with the same key, if there is one.

    :param fresh: see what others committed since this transaction began. Only for what ends in a refusal or has met
        the row already: on MariaDB such a look at a key that is not there would keep others from inserting theirs.
    :raises IdempotencyConflict: if the key was used for something else.
    """
    if wish.request_key is None:
        return None
    cls = work.models.Booking
    query: Any = select(cls).where(cls.request_key == wish.request_key)
    known = work.session.scalars(newest(query, work.dialect) if fresh else query).one_or_none()
    if known is not None and not wish.is_answered_by(known, slot):
        raise IdempotencyConflict(
            f"idempotency_key = {known.idempotency_key!r} was used for another booking", booking_id=known.id
        )
    return known


def bookable(
    models: Models,
    now: Any,
    party: Any,
    template: Iterable[ColumnElement[bool]] = (),
    slot: Iterable[ColumnElement[bool]] = (),
) -> ColumnElement[bool]:
    """Return all limits of a booking as one condition on the slot: capacity, times, status, and its template.

    :param now: a moment (aware), or a parameter for one.
    :param party: how many places, or a parameter.
    :param template: what must be true of the template besides being active.
    :param slot: what else must be true of the slot.
    """
    c, templates = table_of(models.Slot).c, table_of(models.Template)
    mine = select(templates.c.id).where(
        templates.c.id == c.template_id, templates.c.active.is_(True), *template
    )
    return only_if(
        c.status == Status.SCHEDULED.value,
        c.booked + party <= c.capacity,
        c.starts_at > now,
        or_(c.opens_at.is_(None), c.opens_at <= now),
        or_(c.closes_at.is_(None), c.closes_at > now),
        mine.exists(),
        *slot,
    )


def take_places(work: Work, slot: SlotMixin, party: int) -> bool:
    """Take places with one conditional UPDATE; return whether they were there.

    The statement carries all limits itself: capacity, opening, closing, start, status, and the template as it is now.
    """
    table, templates = table_of(work.models.Slot), table_of(work.models.Template)
    template = slot.template
    as_read = [templates.c.exclusive.is_(bool(template.exclusive))]
    here = []
    if template.exclusive:
        as_read.append(templates.c.resource == template.resource)
        # where the resource was seen free
        here = [table.c.starts_at == slot.starts_at, table.c.ends_at == slot.ends_at]
    limits = bookable(work.models, work.now, party, template=as_read, slot=here)
    statement = update(table).where(table.c.id == slot.id, limits).values(booked=table.c.booked + party)
    return bool(work.session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]


def insert_booking(work: Work, slot: SlotMixin, wish: Wish) -> BookingMixin | None:
    """Write the booking whose places were taken; ``None`` if a unique constraint forbids it."""
    session, models = work.session, work.models
    active_key = ONLY if slot.capacity == 1 else uuid.uuid4().hex
    row = {"slot_id": slot.id, "active_key": active_key, **wish.values(work.now)}
    result: Any = session.execute(insert_if_absent(table_of(models.Booking), work.dialect), row)
    if result.rowcount != 1:
        return None
    forget_busy(session)
    made = written(work, {"id": result.inserted_primary_key[0], **row})
    if made.expires_at is not None:
        held = session.scalar(select(models.Slot.holds).where(models.Slot.id == slot.id))
        change_slot(work, slot, 0, [*(held or ()), [made.id, to_us(made.expires_at), made.party]])
    session.expire(slot, COUNTED)
    return made


def written(work: Work, values: dict[str, Any]) -> BookingMixin:
    """Return the booking that was just written: all of it is known, so that nothing needs to be read.

    Reading would not be safe either: MariaDB's snapshot may still hold somebody else's booking under the same key.
    """
    held: BookingMixin | None = read_again(work.session, work.models.Booking, values["id"])
    if held is not None:
        return held
    made: BookingMixin = inspect(work.models.Booking).class_manager.new_instance()
    made.__dict__.update(values, released_at=None)
    make_transient_to_detached(made)
    work.session.add(made)
    return made


def read_again(session: Session, cls: type[Any], number: int, names: list[str] | None = None) -> Any:
    """Let an instance that the session holds be read again when it is used; return it, if there is one."""
    held = session.identity_map.get(session.identity_key(cls, number))
    if held is not None:
        session.expire(held, names)
    return held


def lock_slots(work: Work, *slot_ids: int) -> dict[int, SlotMixin]:
    """Keep others from changing some slots, and return them as they are now, by id."""
    cls, table = work.models.Slot, table_of(work.models.Slot)
    ids = sorted(set(slot_ids))
    if work.dialect == "sqlite":  # knows no locked rows: any write waits for the others to end
        work.session.execute(update(table).where(table.c.id.in_(ids)).values(booked=table.c.booked))
    query: Any = select(cls).where(cls.id.in_(ids)).order_by(cls.id).with_for_update()
    rows = work.session.scalars(query, execution_options={"populate_existing": True})
    return {row.id: row for row in rows}


def sweep(work: Work, slot: SlotMixin) -> int:
    """Release the expired holds of a locked slot; return how many places that freed."""
    moment = to_us(work.now)
    over = [hold for hold in slot.holds or () if hold[1] <= moment]
    freed = 0
    for booking_id, until, party in over:
        gone = {"status": BookingStatus.EXPIRED.value, "released_at": from_us(until)}
        if end_booking(work, booking_id, (BookingStatus.HELD,), **gone):
            freed += party
    if over:
        change_slot(work, slot, -freed, [hold for hold in slot.holds or () if hold not in over])
    return freed


def release_expired(work: Work, slot_ids: Iterable[int]) -> None:
    """Release the expired holds of some slots that are to be moved: nobody confirms one afterwards.

    The slots are locked, so that whoever is confirming comes first and keeps the place, or comes later and is told.
    """
    for slot in lock_slots(work, *slot_ids).values():
        sweep(work, slot)


def end_booking(work: Work, booking_id: int, allowed: tuple[BookingStatus, ...], **values: Any) -> bool:
    """End a live booking with one conditional UPDATE; return whether it was live."""
    table = table_of(work.models.Booking)
    live = table.c.status.in_([status.value for status in allowed])
    statement = update(table).where(table.c.id == booking_id, live).values(active_key=None, **values)
    ended = bool(work.session.execute(statement).rowcount == 1)  # type: ignore[attr-defined]
    read_again(work.session, work.models.Booking, booking_id)
    return ended


def change_slot(work: Work, slot: SlotMixin, places: int, holds: list[Hold] | None) -> None:
    """Add places to what is booked in a locked slot, and write down the holds that it has now."""
    table = table_of(work.models.Slot)
    until = from_us(min(hold[1] for hold in holds)) if holds else None
    values = {"booked": table.c.booked + places, "holds": holds or None, "hold_until": until}
    work.session.execute(update(table).where(table.c.id == slot.id).values(values))
    forget_busy(work.session)
    work.session.expire(slot, COUNTED)


def report(work: Work, signal: NamedSignal, booking: BookingMixin, **facts: Any) -> None:
    """Let a signal about a booking be sent once the work is done; its slot is read only for somebody who listens."""
    work.outbox.add(signal, lambda: {"slot": booking.slot}, booking=booking, **facts)
