"""What goes through the queue, plain data for JSON, and how it is sent."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from dataclasses import dataclass
from datetime import date, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from flask_rollingslots.topup import TopUpRequest
from flask_rollingslots.topup.executors import ThreadExecutor
from flask_rollingslots.topup.gate import Lease

if TYPE_CHECKING:
    from flask_rollingslots.topup.gate import Target

log = logging.getLogger("flask_rollingslots")

#: How long a queue may take to accept a message, and how long it is left alone when it did not.
SEND_SECONDS, BREAKER_SECONDS = 2.0, 10.0
_OF_JOB = ("run_id", "token", "fingerprint", "shards", "revises", "paced")
#: What workers need to know of a request, and how it is read from JSON.
_PLAIN = ("trigger", "days", "template_id", "group")
_READERS = {
    "start": datetime.fromisoformat,
    "end": datetime.fromisoformat,
    "first_day": date.fromisoformat,
    "end_day": date.fromisoformat,
}


class QueueExecutor(ThreadExecutor):
    """Looks on a thread, as ever, and hands the filling to the workers of a queue.

    Subclass it and write ``send``. A worker calls ``slots.work(message)``. Messages are plain data for JSON; a lost,
    repeated or late one does no harm.
    """

    is_queue = True
    _sender: threading.Thread | None
    _broken_until: float

    @abstractmethod
    def send(self, message: dict[str, Any], delay: float) -> None:
        """Put a message in the queue, to be worked on after so many seconds; raise if that fails."""

    def hand_over(self, message: dict[str, Any], delay: float = 0.0) -> bool:
        """Send a message within two seconds; after a failure the queue is left alone for ten.

        :return: whether the queue took it.
        """
        if monotonic() < self._broken_until or (self._sender is not None and self._sender.is_alive()):
            return False
        outcome: list[str] = []

        def send() -> None:
            try:
                self.send(message, delay)
                outcome.append("")
            except Exception as error:  # a client of a broker may raise anything
                outcome.append(f"{type(error).__name__}: {error}")

        # Not every client has a time-out: a broker that is silent must hold nobody.
        self._sender = threading.Thread(target=send, name="rollingslots-send", daemon=True)
        try:
            self._sender.start()
        except RuntimeError as error:  # the interpreter shuts down
            log.debug("no thread to send a message: %s", error)
            return False
        self._sender.join(SEND_SECONDS)
        if outcome == [""]:
            return True
        self._broken_until = monotonic() + BREAKER_SECONDS
        reason = outcome[0] if outcome else f"no answer within {SEND_SECONDS:.0f} s"
        log.warning("queue left alone for %.0f s: %s", BREAKER_SECONDS, reason[:300])
        return False

    def reset(self) -> None:
        """Forget the threads, and think that the queue works."""
        super().reset()
        self._sender, self._broken_until = None, 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """A shared run, as each worker is told of it.

    :param token: of the lease that all its workers hold together.
    :param fingerprint: of the templates when the run began.
    :param revises: rules were edited since the last run: look beyond the windows too.
    :param paced: after a long pause: rest as long as was worked.
    """

    run_id: int
    token: int
    fingerprint: str
    shards: int
    revises: bool
    paced: bool
    request: TopUpRequest

    @property
    def lease(self) -> Lease:
        """The lease that the run's workers share."""
        return Lease("", self.token)


def look(target: Target, trigger: str, tries: int = 0) -> dict[str, Any]:
    """Return the message that asks a worker to look at one template, or at everything."""
    return {"do": "look", "target": target, "trigger": trigger, "tries": tries}


def fill(job: Job) -> dict[str, Any]:
    """Return the message that lets a worker take part in a run."""
    wanted = {name: getattr(job.request, name) for name in (*_PLAIN, *_READERS)}
    wanted |= {name: wanted[name] and wanted[name].isoformat() for name in _READERS}
    return {"do": "fill", **{name: getattr(job, name) for name in _OF_JOB}, "request": wanted}


def job_of(message: dict[str, Any]) -> Job:
    """Read the message of ``fill``."""
    wanted = message["request"]
    dates = {name: wanted[name] and read(wanted[name]) for name, read in _READERS.items()}
    return Job(**{name: message[name] for name in _OF_JOB}, request=TopUpRequest(**{**wanted, **dates}))
