"""The parts of the facade that serve those who book, and those who keep the books."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import booking as bookings
from .arguments import check_group, template_id
from .reminding import due_reminders
from .retention import PruneRequest
from .statistics import Stats, gather
from .subscriptions import address_number, withdraw_address
from .topup import prune

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from .models import BookingMixin, RunMixin, SlotMixin, TemplateMixin
    from .retention import Archive
    from .state import AppState
    from .values import PruneReport


class BookingCalls:
    """What ``RollingSlots`` offers to those who book. Everything joins the app's session; the app commits."""

    if TYPE_CHECKING:

        @property
        def _state(self) -> AppState: ...

    def book(
        self, key: str | SlotMixin, party: int = 1, who: str | None = None, idempotency_key: str | None = None
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
        return self._done(bookings.book, key, party, who, idempotency_key)

    def hold(
        self,
        key: str | SlotMixin,
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
        return self._done(bookings.hold, key, party, who, idempotency_key, minutes)

    def confirm(self, booking: BookingMixin | int) -> BookingMixin:
        """Make a hold a booking, also after booking closed; a second time changes nothing. The app commits.

        :param booking: a booking or its id.
        :raises BookingNotFound: if there is no such booking.
        :raises HoldExpired: from ``expires_at`` on.
        :raises SlotClosed: if the slot was cancelled, deleted or completed meanwhile.
        :raises StatusConflict: if the hold was released.
        """
        return self._done(bookings.confirm, booking)

    def release(self, booking: BookingMixin | int) -> BookingMixin:
        """Give the places of a booking or a hold back; a second time changes nothing. The app commits.

        :param booking: a booking or its id.
        :raises BookingNotFound: if there is no such booking.
        """
        return self._done(bookings.release, booking)

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
        return self._done(bookings.move, booking, key)

    def _done(self, decide: Callable[..., BookingMixin], *args: Any) -> BookingMixin:
        work = self._state.writing()
        found = decide(work, *args)
        work.outbox.send(self._state.app)
        return found


class FeedCalls:
    """What ``RollingSlots`` offers to those who subscribe to a calendar."""

    if TYPE_CHECKING:

        @property
        def _state(self) -> AppState: ...

    def feed_url(self, group: str | None = None) -> str:
        """Return the secret address of a group's calendar, for programs that can send no header.

        Whoever has it sees the slots of this group, and nothing else, until ``revoke_feed_url``. The same address
        each time: nothing of it is stored. Outside of a request the app needs ``SERVER_NAME``.

        :param group: whose slots; ``None``: those of all templates.
        :raises ConfigError: if the app has no ``SECRET_KEY``, the HTTP API is not mounted, or icalendar is not
            installed.
        """
        from .api import secret_address  # with the extra only

        check_group(group)
        state = self._state
        return secret_address(state.app, group, address_number(state.db.session(), state.models, group))

    def revoke_feed_url(self, group: str | None = None) -> None:
        """Withdraw the secret address of a group's calendar, in the app's session; the app commits.

        All others go on. ``feed_url`` returns a new one from then on.

        :param group: as it was for ``feed_url``.
        """
        check_group(group)
        state = self._state
        withdraw_address(state.db.session(), state.models, group)


class KeepingCalls:
    """What ``RollingSlots`` offers to those who want to know what happened, or to forget it."""

    if TYPE_CHECKING:

        @property
        def _state(self) -> AppState: ...

    def stats(
        self,
        template: TemplateMixin | int | None = None,
        group: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Stats:
        """Count the stored slots by template and group, by weekday and hour; three queries.

        :param template: a template or its id: its whole series.
        :param start: aware; only slots that start then or later.
        :param end: aware; only slots that start earlier.
        :raises InvalidRequest: if a bound is naive, or the end is before the start.
        :raises TemplateNotFound: if there is no such template or group.
        """
        check_group(group)
        return gather(self._state.reading(), template_id(template), group, start, end)

    def runs(self, template: TemplateMixin | int | None = None, limit: int = 50) -> list[RunMixin]:
        """Return the recorded top-ups, newest first; of one template: those that touched it.

        ``run.results`` holds the counts of each template and group in which something happened.

        :param limit: at most so many.
        """
        return self._state.browser().runs(template_id(template), limit)

    def reminders(self, since: datetime, until: datetime | None = None) -> list[SlotMixin]:
        """Return the booked slots whose ``reminder_at`` lies after ``since`` and not after ``until``, by start.

        Ask with the ``until`` of the last time as ``since``: nobody is then reminded twice or forgotten.

        :param since: aware.
        :param until: aware; now by default.
        :raises InvalidRequest: if a bound is naive.
        """
        state = self._state
        return due_reminders(state.db.session(), state.models, state.clock(), since, until)

    def prune(
        self,
        older_than: timedelta | int | datetime,
        archive: Archive | None = None,
        include_booked: bool = False,
        batch: int = 1000,
        dry_run: bool = False,
    ) -> PruneReport:
        """Delete unbooked slots that ended long ago, and old runs, in batches and in a session of its own.

        They do not come back: the past has no virtual slots, and ``generate`` refuses to fill what was pruned.

        :param older_than: a span before now, whole days before now, or an aware moment that has passed.
        :param archive: called with each batch before it is deleted: a list of dicts, one for each slot with its
            ``bookings``. If it raises, its batch stays. After a crash it may get a batch again. By default the
            ``archive`` that the extension was given.
        :param include_booked: booked and completed slots too, with their bookings.
        :param batch: slots at a time, 1 to 10,000.
        :param dry_run: count what would go, and delete nothing.
        :raises InvalidRequest: names the argument and what is expected.
        :raises TopUpBusy: if a top-up does not end within twice the lease.
        :raises UncommittedChanges: on SQLite, if the app's session holds uncommitted changes.
        """
        state = self._state
        runner = state.topup.runner
        archive = archive if archive is not None else runner.archive
        request = PruneRequest.make(older_than, state.clock(), archive, include_booked, batch, dry_run)
        return prune(runner, request)
