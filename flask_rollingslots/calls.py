"""The part of the facade that serves those who book."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import booking as bookings
from . import signals

if TYPE_CHECKING:
    from .extension import AppState
    from .models import BookingMixin


class BookingCalls:
    """What ``RollingSlots`` offers to those who book. Everything joins the app's session; the app commits."""

    if TYPE_CHECKING:

        @property
        def _state(self) -> AppState: ...

    def book(
        self, key: str, party: int = 1, who: str | None = None, idempotency_key: str | None = None
    ) -> BookingMixin:
        """Take places in a slot, stored or virtual, in the app's session; the app commits.

        :param party: how many places.
        :param idempotency_key: unique per ``who``: the same request again returns the same booking.
        :raises InvalidRequest: if ``party``, ``who`` or the key is not valid.
        :raises SlotNotFound: if there is no such slot.
        :raises SlotFull: if too few places are left.
        :raises SlotClosed: if it cannot be booked now: too early, too late, cancelled, or its resource is taken.
        :raises IdempotencyConflict: if the key was used for another booking.
        """
        state = self._state
        made, is_new = bookings.book(state.browser(), key, party, who, idempotency_key)
        if is_new:
            signals.slot_booked.send(state.app, booking=made, slot=made.slot)
        return made

    def hold(
        self,
        key: str,
        party: int = 1,
        who: str | None = None,
        idempotency_key: str | None = None,
        minutes: float = 10,
    ) -> BookingMixin:
        """Take places for some minutes, such as while somebody pays; then ``confirm`` or ``release`` them.

        From ``booking.expires_at`` on the places are free again, with no job behind it.

        :param minutes: above 0, at most a week.
        :raises InvalidRequest: if an argument is not valid.
        :raises SlotNotFound: if there is no such slot.
        :raises SlotFull: if too few places are left.
        :raises SlotClosed: if it cannot be booked now.
        :raises IdempotencyConflict: if the key was used for another booking.
        """
        state = self._state
        made, is_new = bookings.hold(state.browser(), key, party, who, idempotency_key, minutes)
        if is_new:
            signals.slot_held.send(state.app, booking=made, slot=made.slot)
        return made

    def confirm(self, booking: BookingMixin | int) -> BookingMixin:
        """Make a hold a booking, also after booking closed; a second time changes nothing. The app commits.

        :param booking: a booking or its id.
        :raises BookingNotFound: if there is no such booking.
        :raises HoldExpired: from ``expires_at`` on.
        :raises SlotClosed: if the slot was cancelled, deleted or completed meanwhile.
        :raises StatusConflict: if the hold was released.
        """
        state = self._state
        found, is_changed = bookings.confirm(state.browser(), booking)
        if is_changed:
            signals.slot_booked.send(state.app, booking=found, slot=found.slot)
        return found

    def release(self, booking: BookingMixin | int) -> BookingMixin:
        """Give the places of a booking or a hold back; a second time changes nothing. The app commits.

        :param booking: a booking or its id.
        :raises BookingNotFound: if there is no such booking.
        """
        state = self._state
        found, is_changed = bookings.release(state.browser(), booking)
        if is_changed:
            signals.booking_released.send(state.app, booking=found, slot=found.slot)
        return found

    def move(self, booking: BookingMixin | int, key: str) -> BookingMixin:
        """Move a booking or a hold to another slot, and return the booking there; the app commits.

        The new places are taken before the old ones are given back: if it is refused, the booking stays where it is.
        The old booking is kept as ``released``; ``replaces_id`` of the new one names it. Repeating the call returns
        the same booking.

        :param booking: a booking or its id.
        :param key: the slot to move to, stored or virtual.
        :raises BookingNotFound: if there is no such booking.
        :raises StatusConflict: if it is released or expired.
        :raises SlotNotFound: if there is no such slot.
        :raises SlotFull: if too few places are left there.
        :raises SlotClosed: if the new slot cannot be booked now.
        """
        state = self._state
        before = booking if isinstance(booking, int) else booking.id
        made, is_new = bookings.move(state.browser(), booking, key)
        if is_new:
            signals.booking_moved.send(state.app, booking=made, slot=made.slot, replaces_id=before)
        return made
