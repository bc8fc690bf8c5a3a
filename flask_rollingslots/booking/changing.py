"""What changes of a booking where it is: for how many people it is, and whether they came."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from ..context import Work
from ..errors import LostRace, StatusConflict, again_if_lost, refusal
from ..models import BookingMixin, table_of
from ..signals import booking_changed, booking_marked
from ..values import LIVE, Attendance, BookingStatus
from . import waiting
from .counting import change_slot, lock_slots
from .lifecycle import check_in_time, conflict, find, keep_booking, locked_booking
from .resources import look_around, slot_to_book
from .taking import check_limits, lock_first, report, take_more
from .wanted import BookingRequest


def change_party(work: Work, booking: BookingMixin | int, party: int, override: bool = False) -> BookingMixin:
    """Let a booking be for more or fewer people; see ``RollingSlots.change_party``."""
    BookingRequest(party, None, override=override).check()
    found = find(work, booking)
    before = again_if_lost(lambda: _changed(work, found, party, override))
    if before != party:
        report(work, booking_changed, found, before=before, override=override)
    return found


def _changed(work: Work, found: BookingMixin, party: int, override: bool) -> int:
    """Change it; return for how many it was until now."""
    if party > found.party and found.status_at(work.now) in LIVE and found.slot is not None:
        return _enlarged(work, found, party, override)
    _, slot = locked_booking(work, found)
    before, status = found.party, found.status_at(work.now)
    if status not in (*LIVE, BookingStatus.WAITING):
        raise conflict(found, slot, status, "changed")
    if party > before:
        if status in LIVE:  # somebody else made it smaller meanwhile
            raise LostRace
        raise conflict(found, slot, status, "for more people: who waits in front of it would wait longer")
    if party == before:
        return before
    if not override:
        check_in_time(work, found, slot)
    if status is BookingStatus.WAITING:
        queue = [
            [number, party] if number == found.id else [number, size] for number, size in slot.queue or ()
        ]
        change_slot(work, slot, 0, slot.holds, queue)
    else:
        change_slot(work, slot, party - before, _holds(slot, found, party))
    _write(work, found, party)
    waiting.serve(work, slot)
    return before


def _enlarged(work: Work, found: BookingMixin, party: int, override: bool) -> int:
    """Take the places that are missing, by the rules of a booking."""
    wanted = BookingRequest(party, found.who, override=override, replaces_id=found.id)
    with slot_to_book(work, found.slot, lock_first(work, wanted)) as kept:
        near, slot = kept.rolling_neighbours, lock_slots(work, kept.id)[kept.id]
        slot.rolling_neighbours = near
        keep_booking(work, found)
        before, status = found.party, found.status_at(work.now)
        if status not in LIVE:
            raise conflict(found, slot, status, "changed")
        if party < before:  # somebody else made it larger meanwhile
            raise LostRace
        if party > before:
            look_around(work, slot)
            check_limits(work, slot, wanted)
            more = BookingRequest(party - before, found.who, override=override)
            take_more(work, slot, more, lambda: _holds(slot, found, party))
            _write(work, found, party, **({"override": True} if override else {}))
    return before


def _holds(slot: Any, found: BookingMixin, party: int) -> list[list[int]]:
    """Return the holds of a slot, one of them of another size."""
    return [
        [number, until, party if number == found.id else size] for number, until, size in slot.holds or ()
    ]


def _write(work: Work, found: BookingMixin, party: int, **more: Any) -> None:
    table = table_of(work.models.Booking)
    values = {"party": party, "asked_party": found.asked_party or found.party, **more}
    work.session.execute(update(table).where(table.c.id == found.id).values(values))
    work.session.expire(found)


def mark(work: Work, booking: BookingMixin | int, attendance: str | None) -> BookingMixin:
    """Note whether the people of a booking came; see ``RollingSlots.mark``."""
    if attendance is not None and attendance not in list(Attendance):
        raise refusal(
            "attendance", attendance, f"{', '.join(repr(each.value) for each in Attendance)}, or None"
        )
    found = find(work, booking)
    value, table = (
        Attendance(attendance).value if attendance is not None else None,
        table_of(work.models.Booking),
    )
    known = (table.c.id == found.id, table.c.status == BookingStatus.CONFIRMED.value)
    differs = table.c.attendance.is_distinct_from(value)
    work.session.flush()
    written: Any = work.session.execute(update(table).where(*known, differs).values(attendance=value))
    keep_booking(work, found)
    if found.status != BookingStatus.CONFIRMED:
        status = found.status_at(work.now)
        text = f"booking {found.id} is {status.value}: only people with a booking come, or do not"
        raise StatusConflict(text, key=found.slot and found.slot.key, status=status.value)
    if written.rowcount:
        report(work, booking_marked, found, attendance=value)
    return found
