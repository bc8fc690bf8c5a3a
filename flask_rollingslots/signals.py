"""Blinker signals, and the one collector of what is told. The sender is always the Flask app.

Receivers run where the signal is sent: the top-up signals in the top-up's thread, the others inside the
caller's transaction, before its commit. Those of decisions and bookings have two arguments more: ``who`` acts, as
``authorize`` or ``slots.acting`` said, or whom ``book`` and ``hold`` are told, and through which ``door``. Receivers
should take ``**more``: signals may get arguments.

Each of those is an event too, which ``slots.on`` hears of after the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from typing import Any, Protocol

from blinker import NamedSignal, Namespace

log = logging.getLogger("flask_rollingslots")
_signals = Namespace()

#: A top-up begins, or a dry run. Arguments: ``trigger`` (``request``, ``view``, ``hole``, ``edit``, ``manual`` or
#: ``api``).
topup_started = _signals.signal("topup-started")
#: A top-up ended. Arguments: ``report`` (:class:`~flask_rollingslots.values.Report`).
topup_finished = _signals.signal("topup-finished")
#: A top-up failed; it is tried again later. Arguments: ``error`` (the exception).
topup_failed = _signals.signal("topup-failed")
#: A confirmed top-up noticed that slots became bookable. Arguments: ``count``, ``since``, ``until`` (aware, UTC):
#: the span, without its start and with its end, in which they opened. Spans follow each other without a gap.
slots_opened = _signals.signal("slots-opened")
#: A confirmed top-up noticed that slots ended. Arguments: as of ``slots_opened``.
slots_closed = _signals.signal("slots-closed")
#: A slot was booked, or a hold confirmed; not again for a repeated request. Arguments: ``booking``, ``slot``,
#: ``override`` (staff did it past the limits).
slot_booked = _signals.signal("slot-booked")
#: Places were held for a while. Arguments: ``booking``, ``slot``.
slot_held = _signals.signal("slot-held")
#: A booking or a hold was released. Arguments: ``booking``, ``slot``, ``override``.
booking_released = _signals.signal("booking-released")
#: A booking moved. Arguments: ``booking`` and ``slot`` (the new ones), ``replaces_id`` (id of the old booking),
#: ``old_slot``, ``override``.
booking_moved = _signals.signal("booking-moved")
#: Somebody takes a place on a waiting list. Arguments: ``booking``, ``slot``.
booking_waiting = _signals.signal("booking-waiting")
#: Places that got free are kept for whoever waited first, until ``booking.expires_at``; where the template books them
#: at once it is ``slot_booked``. By a top-up it is sent in its transaction. Arguments: ``booking``, ``slot``.
booking_offered = _signals.signal("booking-offered")
#: A booking, a hold or a place in the queue is for more or fewer people by now. Arguments: ``booking``, ``slot``,
#: ``before`` (how many they were), ``override``.
booking_changed = _signals.signal("booking-changed")
#: It was marked whether the people of a booking came. Arguments: ``booking``, ``slot``, ``attendance`` (``arrived``,
#: ``no_show``, or ``None``: the mark was taken back).
booking_marked = _signals.signal("booking-marked")
#: A slot was cancelled. Arguments: ``slot``, ``reason``, ``bookings`` (the live ones in it: whom to tell).
slot_cancelled = _signals.signal("slot-cancelled")
#: A cancelled or deleted slot was restored. Arguments: ``slot``.
slot_restored = _signals.signal("slot-restored")
#: A slot was deleted. Arguments: ``slot``.
slot_deleted = _signals.signal("slot-deleted")
#: A slot was completed, or that was taken back (``undo``). Arguments: ``slot``, ``undo``.
slot_completed = _signals.signal("slot-completed")
#: A slot or a series was edited. Arguments: ``plan`` (what was changed and kept).
series_edited = _signals.signal("series-edited")
#: A part of a series was cancelled or deleted. Arguments: ``report``, ``reason``.
series_ended = _signals.signal("series-ended")
#: A part of a series came back. Arguments: ``report``.
series_restored = _signals.signal("series-restored")
#: Days were closed: days off for some templates. Arguments: ``report`` (whose ``bookings`` say whom to call).
days_closed = _signals.signal("days-closed")
#: Days that were closed are open again. Arguments: ``report``.
days_reopened = _signals.signal("days-reopened")


#: A person was forgotten. Arguments: ``pseudonym`` (what stands for the person from now on), ``count`` (of bookings).
person_forgotten = _signals.signal("person-forgotten")

#: What ``slots.on`` calls what a signal tells; a new signal of bookings or decisions is one entry more.
EVENTS: dict[NamedSignal, str] = {
    slot_booked: "booked",
    slot_held: "held",
    booking_released: "released",
    booking_moved: "moved",
    booking_waiting: "waiting",
    booking_offered: "offered",
    booking_changed: "party_changed",
    booking_marked: "marked",
    slot_cancelled: "cancelled",
    slot_restored: "restored",
    slot_deleted: "deleted",
    slot_completed: "completed",
    series_edited: "edited",
    series_ended: "ended",
    series_restored: "restored",
    days_closed: "closed",
    days_reopened: "reopened",
    person_forgotten: "forgotten",
}


class Notes(Protocol):
    """Takes down events, to tell them once they are committed."""

    @property
    def wanted(self) -> Container[str]:
        """Names of the events that somebody listens for."""

    def take_down(self, work: Any, name: str, facts: dict[str, Any]) -> None:
        """Take down one event of a piece of work."""


class Outbox(list[tuple[NamedSignal, "Callable[[], dict[str, Any]]", dict[str, Any], bool]]):
    """Gathers what one piece of work tells; sent once it is done, in the order in which it came, what follows last.

    :param sender: the app.
    :param who: the person who acts, for all that is told; ``None``: a program, or nobody said.
    :param door: the way in: ``facade``, ``http``, ``cli``, ``pages``, ``topup``, or a word of the app's own.
    :param notes: takes down what is told again after the commit.
    :param is_calm: a receiver that fails is logged, and cannot turn a top-up into a failure.
    """

    def __init__(
        self,
        sender: Any = None,
        who: str | None = None,
        door: str = "facade",
        notes: Notes | None = None,
        is_calm: bool = False,
    ) -> None:
        super().__init__()
        self.sender, self.who, self.door, self._notes, self._is_calm = sender, who, door, notes, is_calm

    def add(
        self,
        signal: NamedSignal,
        late: Callable[[], dict[str, Any]] = dict,
        *,
        follows: bool = False,
        **facts: Any,
    ) -> None:
        """Take in a signal with its arguments.

        :param late: returns further arguments; called only if somebody listens, for reading them costs statements.
        :param follows: it comes of what the work is about, and is told after that: places that got free are offered.
        """
        self.append((signal, late, facts, follows))

    def send(self, work: Any) -> None:
        """Send what was gathered, each once, and take down the events; a receiver's error goes to the caller.

        :param work: what this is the outbox of; its transaction goes on.
        """
        self.sort(key=lambda told: told[-1])
        while self:
            signal, late, facts, _ = self.pop(0)
            try:
                self._send(work, signal, late, facts)
            except Exception:  # receivers are the app's code
                if not self._is_calm:
                    raise
                log.exception("a receiver of %s failed", signal.name, extra={"is_private": True})

    def _send(
        self, work: Any, signal: NamedSignal, late: Callable[[], dict[str, Any]], facts: dict[str, Any]
    ) -> None:
        name, notes = EVENTS.get(signal), self._notes
        is_wanted = notes is not None and name in notes.wanted
        if not (is_wanted or signal.has_receivers_for(self.sender)):
            return
        facts |= late()
        if notes is not None and name is not None and is_wanted:  # first, for a receiver may do more
            notes.take_down(work, name, facts)
        signal.send(self.sender, who=self.who, door=self.door, **facts)


def announce(signal: NamedSignal, sender: Any, **facts: Any) -> None:
    """Send a signal of a top-up; a receiver that fails is logged and cannot turn the top-up into a failure."""
    try:
        signal.send(sender, **facts)
    except Exception:  # receivers are the app's code
        log.exception("a receiver of %s failed", signal.name)
