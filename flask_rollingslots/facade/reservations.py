"""Booking: places are taken, held, given back and moved."""

from __future__ import annotations

from ..booking import lifecycle, taking
from ..booking.taking import BookingRequest
from ..models import BookingMixin
from ..values import Person
from .calls import Calls, Key, Text


class Reservations(Calls):
    """The calls about bookings."""

    def book(
        self,
        key: Key,
        party: int = 1,
        who: Text = None,
        idempotency_key: Text = None,
        name: Text = None,
        contact: Text = None,
        override: bool = False,
        *,
        note: Text = None,
    ) -> BookingMixin:
        """Take places in a slot, stored or virtual, in the app's session; the app commits.

        :param party: how many places.
        :param idempotency_key: unique per ``who``: the same request again returns the same booking.
        :param name: of the person, as ``contact`` and ``note``: for whoever runs it; ``forget`` takes them out.
        :raises SlotFull: if too few places are left.
        :raises SlotClosed: if it cannot be booked now: too early, too late, cancelled, or its resource is taken.
        :raises IdempotencyConflict: if the key was used for another booking.
        """
        with self._deciding(who=who) as work:
            person = Person(name, contact, note)
            request = BookingRequest(party, who, idempotency_key, override=override, person=person)
            return taking.book(work, key, request)

    def hold(
        self,
        key: Key,
        party: int = 1,
        who: Text = None,
        idempotency_key: Text = None,
        minutes: float = 10,
        name: Text = None,
        contact: Text = None,
        *,
        note: Text = None,
        is_person: bool | None = None,
    ) -> BookingMixin:
        """Take places for some minutes, such as while somebody pays; then ``confirm`` or ``release`` them.

        From ``booking.expires_at`` on the places are free again, with no job behind it.

        :param minutes: above 0, at most a week; for a person at most ``HOLD_MINUTES_MAX``.
        :param is_person: whether the limits of a person apply, ``HOLD_MINUTES_MAX`` and, with a ``who``,
            ``HOLDS_PER_PERSON``; by default if there is a ``who``: without one it is a program's hold.
        :raises TooManyHolds: if so many holds of this person have not expired.
        :raises: as :meth:`book`.
        """
        with self._deciding(who=who) as work:
            is_person = who is not None if is_person is None else is_person
            person = Person(name, contact, note)
            request = BookingRequest(party, who, idempotency_key, minutes, is_person=is_person, person=person)
            return taking.hold(work, key, request)

    def confirm(self, booking: BookingMixin | int) -> BookingMixin:
        """Make a hold a booking, also after booking closed; a second time changes nothing. The app commits.

        :raises HoldExpired: from ``expires_at`` on.
        :raises SlotClosed: if the slot was cancelled, deleted or completed meanwhile.
        :raises StatusConflict: if the hold was released.
        """
        with self._deciding() as work:
            return lifecycle.confirm(work, booking)

    def release(self, booking: BookingMixin | int, override: bool = False) -> BookingMixin:
        """Give the places of a booking or a hold back; a second time changes nothing. The app commits.

        A person may do so until ``slot.cancel_until``: ``cancel_before`` ahead of the start, at the latest until the
        start. Holds and places in cancelled or withdrawn slots may always be given back.

        :param override: also later: for staff.
        :raises SlotClosed: if it is too late; ``until`` says when that was over, ``state`` what the slot is by now, or
            ``too_late``.
        """
        with self._deciding() as work:
            return lifecycle.release(work, booking, override)

    def move(self, booking: BookingMixin | int, key: Key, override: bool = False) -> BookingMixin:
        """Move a booking or a hold to another slot, and return the booking there; the app commits.

        The new places are taken before the old ones are given back: if it is refused, the booking stays where it is.
        The old booking is kept as ``released``; ``replaces_id`` of the new one names it. Repeating the call returns
        the same booking.

        :param key: the slot to move to, stored or virtual.
        :param override: also after the old place may be given back (see :meth:`release`); the new one is taken by the
            usual rules.
        :raises StatusConflict: if it is released or expired.
        :raises SlotFull: if too few places are left there.
        :raises SlotClosed: if the new slot cannot be booked now, or the old one is too near; if it is over, always.
        """
        with self._deciding() as work:
            return lifecycle.move(work, booking, key, override)
