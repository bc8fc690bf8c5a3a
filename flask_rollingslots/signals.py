"""Blinker signals. The sender is always the Flask app.

Receivers run where the signal is sent: the top-up signals in the top-up's thread, the others inside the
caller's transaction, before its commit.
"""

from __future__ import annotations

import logging
from typing import Any

from blinker import NamedSignal, Namespace

log = logging.getLogger("flask_rollingslots")
_signals = Namespace()

#: A top-up won the lease and begins. Arguments: ``run_id``.
topup_started = _signals.signal("topup-started")
#: A top-up ended and is confirmed. Arguments: ``report`` (:class:`~flask_rollingslots.values.Report`).
topup_finished = _signals.signal("topup-finished")
#: A top-up failed; it is tried again later. Arguments: ``error`` (the exception).
topup_failed = _signals.signal("topup-failed")
#: A slot was booked. Arguments: ``booking``, ``slot``.
slot_booked = _signals.signal("slot-booked")
#: A booking was released. Arguments: ``booking``, ``slot``.
booking_released = _signals.signal("booking-released")
#: A slot was cancelled. Arguments: ``slot``, ``reason``.
slot_cancelled = _signals.signal("slot-cancelled")
#: A cancelled or deleted slot was restored. Arguments: ``slot``.
slot_restored = _signals.signal("slot-restored")

#: A slot was deleted. Arguments: ``slot``.
slot_deleted = _signals.signal("slot-deleted")
#: A slot was completed. Arguments: ``slot``.
slot_completed = _signals.signal("slot-completed")
#: A slot or a series was edited. Arguments: ``plan`` (what was changed and kept).
series_edited = _signals.signal("series-edited")
#: A part of a series was cancelled or deleted. Arguments: ``report``, ``reason``.
series_ended = _signals.signal("series-ended")
#: A part of a series came back. Arguments: ``report``.
series_restored = _signals.signal("series-restored")


def announce(signal: NamedSignal, sender: Any, **facts: Any) -> None:
    """Send a signal of a top-up; a receiver that fails is logged and cannot turn the top-up into a failure."""
    try:
        signal.send(sender, **facts)
    except Exception:  # receivers are the app's code
        log.exception("a receiver of %s failed", signal.name)
