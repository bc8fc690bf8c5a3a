"""Booking: places are taken, held, given back and moved."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Literal, overload

from ..lazy import lazy
from ..models import BookingMixin
from ..values import Person
from .calls import Calls, Key, Text

if TYPE_CHECKING:
    from ..booking import changing, forgetting, lifecycle, repeating, taking, waiting, wanted
    from ..booking.repeating import RepeatReport
else:
    changing, forgetting, lifecycle, repeating, taking, waiting, wanted = lazy(
        ".booking.changing", ".booking.forgetting", ".booking.lifecycle", ".booking.repeating", ".booking.taking",
        ".booking.waiting", ".booking.wanted",
    )  # fmt: skip


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
        :param override: staff books: too early, too late, full and the limits of a person do not count. What is
            cancelled, withdrawn or blocked by its resource stays refused. A slot that has ended can be booked if it has
            a row; without one it is not found. The booking says ``override``.
        :raises SlotFull: if too few places are left.
        :raises SlotClosed: if it cannot be booked now: too early, too late, cancelled, or its resource is taken.
        :raises LimitReached: if this person may not have so many places in the slot, on its day or in its week.
        :raises InvalidRequest: if the party exceeds ``max_party``, or a person has limits and there is no ``who``.
        :raises IdempotencyConflict: if the key was used for another booking.
        """
        with self._deciding(who=who) as work:
            person = Person(name, contact, note)
            request = wanted.BookingRequest(party, who, idempotency_key, override=override, person=person)
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
            request = wanted.BookingRequest(
                party, who, idempotency_key, minutes, is_person=is_person, person=person
            )
            return taking.hold(work, key, request)

    def book_series(
        self,
        key: Key,
        count: int | None = None,
        until: date | None = None,
        every: int = 1,
        conflicts: str = "refuse",
        party: int = 1,
        who: Text = None,
        name: Text = None,
        contact: Text = None,
        *,
        note: Text = None,
        override: bool = False,
        idempotency_key: Text = None,
    ) -> RepeatReport:
        """Book the same slot every week, or every n-th, however far away; the app commits.

        The bookings have the id of the first one as ``repeats_id``. Each can be given back or moved by itself.

        :param key: the first slot; the others have the same wall-clock time in the rule of its series.
        :param count: how many weeks are tried, the first one included: at most 104. Or ``until``: a date, included.
        :param every: 2: every second week.
        :param conflicts: what is done if a week cannot be booked: ``"refuse"`` books none of them, ``"skip"`` leaves it
            out. The report says which were refused and why, and names the nearest free slots.
        :param idempotency_key: of the whole series: the same request again returns the bookings that it has by now.
        :raises SlotFull: with ``"refuse"``, as :meth:`book`, by what keeps the first such week from being booked;
            ``report`` (a ``RepeatReport``) names all of them. Nothing is written.
        """
        with self._deciding(who=who) as work:
            person = Person(name, contact, note)
            request = wanted.BookingRequest(party, who, idempotency_key, override=override, person=person)
            return repeating.book_series(
                work, key, repeating.Repeats(count, until, every, conflicts), request
            )

    def wait(
        self,
        key: Key,
        party: int = 1,
        who: Text = None,
        name: Text = None,
        contact: Text = None,
        *,
        note: Text = None,
        idempotency_key: Text = None,
    ) -> BookingMixin:
        """Take a place on the waiting list of a slot that is full, in the app's session; the app commits.

        Whoever waits takes no places; ``booking.ahead`` says how many bookings wait before it, ``release`` ends it.
        Places that get free are offered to the first that fits: the booking is ``held`` then, ``is_offer`` is true,
        and ``confirm`` takes them until ``expires_at``, ``OFFER_MINUTES`` later, at the latest when the slot starts;
        with ``waiting_auto`` it is ``confirmed`` at once. Waiting ends when the slot starts, or with it.

        :param party: how many places. The same ``who`` for the same slot again gets the same booking.
        :raises StatusConflict: if there is no waiting list (``waiting`` of the template is 0), the places are free, or
            this person waits for another number of places there.
        :raises SlotFull: if the waiting list has too few places left.
        :raises SlotClosed: if the slot cannot be booked now, or has begun.
        :raises InvalidRequest: also if the party is larger than the slot.
        """
        with self._deciding(who=who) as work:
            person = Person(name, contact, note)
            request = wanted.BookingRequest(party, who, idempotency_key, person=person, waits=True)
            return waiting.wait(work, key, request)

    def confirm(self, booking: BookingMixin | int) -> BookingMixin:
        """Make a hold a booking, also after booking closed; a second time changes nothing. The app commits.

        :raises HoldExpired: from ``expires_at`` on.
        :raises SlotClosed: if the slot was cancelled, deleted or completed meanwhile.
        :raises StatusConflict: if the hold was released.
        """
        with self._deciding() as work:
            return lifecycle.confirm(work, booking)

    @overload
    def release(
        self, booking: BookingMixin | int, override: bool = False, *, following: Literal[False] = False
    ) -> BookingMixin: ...

    @overload
    def release(
        self, booking: BookingMixin | int, override: bool = False, *, following: Literal[True]
    ) -> list[BookingMixin]: ...

    def release(
        self, booking: BookingMixin | int, override: bool = False, *, following: bool = False
    ) -> BookingMixin | list[BookingMixin]:
        """Give the places of a booking or a hold back; a second time changes nothing. The app commits.

        A person may do so until ``slot.cancel_until``: ``cancel_before`` ahead of the start, at the latest until the
        start. Holds and places in cancelled or withdrawn slots may always be given back.

        :param override: also later: for staff.
        :param following: this one and all later ones of the person's series (see :meth:`book_series`), and a list of
            them is returned. All or none: if it is too late for some, ``too_late`` of the error has their keys.
        :raises SlotClosed: if it is too late; ``until`` says when that was over, ``state`` what the slot is by now, or
            ``too_late``.
        """
        with self._deciding() as work:
            if following:
                return lifecycle.release_following(work, booking, override)
            return lifecycle.release(work, booking, override)

    def move(self, booking: BookingMixin | int, key: Key, override: bool = False) -> BookingMixin:
        """Move a booking or a hold to another slot, and return the booking there; the app commits.

        The new places are taken before the old ones are given back: if it is refused, the booking stays where it is.
        The old booking is kept as ``released``; ``replaces_id`` of the new one names it. Repeating the call returns
        the same booking.

        :param key: the slot to move to, stored or virtual.
        :param override: also after the old place may be given back (see :meth:`release`), and past the limits of a
            person; the slot of the new one is taken by the usual rules.
        :raises StatusConflict: if it is released or expired.
        :raises SlotFull: if too few places are left there.
        :raises SlotClosed: if the new slot cannot be booked now, or the old one is too near; if it is over, always.
        :raises LimitReached: if this person may not have so many places there.
        """
        with self._deciding() as work:
            return lifecycle.move(work, booking, key, override)

    def change_person(self, booking: BookingMixin | int, **said: Text) -> BookingMixin:
        """Change what is kept of whoever booked: ``name``, ``contact``, ``note``; ``None`` clears. The app commits.

        What is not said stays. ``who``, in whose name it is booked, is for ever.
        """
        with self._deciding() as work:
            return lifecycle.change_person(work, booking, said)

    def change_party(self, booking: BookingMixin | int, party: int, override: bool = False) -> BookingMixin:
        """Let a booking or a hold be for more or fewer people, where it is; the app commits.

        More are taken by the rules of a booking: there is room, the slot can be booked now, and the limits of a person
        hold. Fewer by those of :meth:`release`. Who waits keeps the place in the queue with fewer. The same party
        changes nothing.

        :param override: for staff: more past all this, as in :meth:`book`, and then the booking says so; fewer at any
            time.
        :raises SlotFull: if too few places are left.
        :raises SlotClosed: if the slot cannot be booked now, or it is too late to give places back.
        :raises LimitReached: if this person may not have so many places.
        :raises StatusConflict: if it was released or has expired, or waits and is to be for more.
        """
        with self._deciding() as work:
            return changing.change_party(work, booking, party, override)

    def mark(self, booking: BookingMixin | int, attendance: Text) -> BookingMixin:
        """Note whether the people of a booking came; the app commits. The statistics count their places.

        :param attendance: ``arrived``, ``no_show``, or ``None``: take the mark back.
        :raises StatusConflict: if it is no confirmed booking.
        """
        with self._deciding() as work:
            return changing.mark(work, booking, attendance)

    def forget(self, who: str) -> int:
        """Take a person out of all bookings, live or not, and return how many there are; the app commits.

        Their name, contact, note and idempotency keys go, and ``who`` becomes a random text, the same for all of them.
        Places stay taken and counts stay as they are; a link with a booking's token still leads to it. What the app
        keeps in tables of its own is the app's to forget.
        """
        with self._deciding() as work:
            return forgetting.forget(work, who)
