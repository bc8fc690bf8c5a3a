"""Blinker signals. The sender is always the Flask app.

Receivers run where the signal is sent: the top-up signals in the top-up's thread, the others inside the
caller's transaction, before its commit. Those of decisions and bookings have one argument more, ``who``: the person
who acts, as ``authorize`` or ``slots.acting`` said, or whom ``book`` and ``hold`` are told. Receivers should take
``**more``: signals may get arguments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

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
#: ``override``.
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


class Outbox(list[tuple[NamedSignal, "Callable[[], dict[str, Any]]", dict[str, Any]]]):
    """Gathers what one piece of work tells; sent once it is done, in the order in which it came.

    :param who: the person who acts, for all that is told; ``None``: a program, or nobody said.
    """

    def __init__(self, who: str | None = None) -> None:
        super().__init__()
        self.who = who

    def add(self, signal: NamedSignal, late: Callable[[], dict[str, Any]] = dict, **facts: Any) -> None:
        """Take in a signal with its arguments.

        :param late: returns further arguments; called only if somebody listens, for reading them costs statements.
        """
        self.append((signal, late, facts))

    def send(self, sender: Any) -> None:
        """Send what was gathered, each once; a receiver's error goes to the caller."""
        while self:
            signal, late, facts = self.pop(0)
            if signal.has_receivers_for(sender):
                signal.send(sender, who=self.who, **facts, **late())


def announce(signal: NamedSignal, sender: Any, **facts: Any) -> None:
    """Send a signal of a top-up; a receiver that fails is logged and cannot turn the top-up into a failure."""
    try:
        signal.send(sender, **facts)
    except Exception:  # receivers are the app's code
        log.exception("a receiver of %s failed", signal.name)
