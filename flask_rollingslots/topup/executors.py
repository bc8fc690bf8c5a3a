"""Where the job runs: on a background thread, inside the request with a small budget, or on workers elsewhere."""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from ..errors import ConfigError, refusal
from .gate import Breaker

log = logging.getLogger("flask_rollingslots")

DRAIN_SECONDS = 2.0
#: How long a queue may take to accept a message, and how long it is left alone when it did not.
SEND_SECONDS, BREAKER_SECONDS = 2.0, 10.0
#: Named as a text, for Celery is imported only where it is used.
CELERY = "flask_rollingslots.queue.celery:CeleryExecutor"
#: Environments that freeze a process once it has answered: a thread would not go on.
SERVERLESS = ("AWS_LAMBDA_FUNCTION_NAME", "VERCEL", "FUNCTIONS_WORKER_RUNTIME", "K_SERVICE")


@dataclass(slots=True)
class Budget:
    """How many chunks a job may write, and for how long, before it has to stop; without limits by default."""

    chunks: int | None = None
    seconds: float | None = None

    def spender(self, stopping: threading.Event) -> Spender:
        """Return what one job spends of it.

        :param stopping: set when the job should stop whatever is left.
        """
        until = None if self.seconds is None else monotonic() + self.seconds
        return Spender(stopping, self.chunks or inf, until)


@dataclass(slots=True)
class Spender:
    """What one job spends; called after each chunk, it says whether the job must stop now.

    :param until: of ``monotonic()``: when the time is over; ``None``: never.
    """

    stopping: threading.Event
    chunks: float
    until: float | None
    _written: int = 0

    def __call__(self) -> bool:
        self._written += 1
        is_over = self.until is not None and monotonic() >= self.until
        return is_over or self._written >= self.chunks or self.stopping.is_set()


class Executor(ABC):
    """Runs jobs. Subclass it, and name the class in ``ROLLINGSLOTS_EXECUTOR`` as ``module:attribute``."""

    #: Whether the request goes on while the job works.
    background = True
    #: Whether a look at the cache before the database pays; not when a request waits for it.
    uses_cache = True
    #: How much one job may do.
    budget = Budget()
    #: Whether jobs look only, and hand the filling to workers elsewhere.
    is_queue = False
    #: Set when the job should stop at the next opportunity.
    stopping = threading.Event()

    @abstractmethod
    def submit(self, job: Callable[[], None]) -> bool:
        """Run a job now or soon; return whether it will run. Never raises, never waits in the background."""

    def shutdown(self, seconds: float = DRAIN_SECONDS) -> None:  # noqa: B027 (optional)
        """Stop and wait for the job for at most so long."""

    def bind(self, app: Any) -> None:  # noqa: B027 (optional)
        """Learn which app this serves, once, while that is set up.

        :raises ConfigError: if the app lacks something.
        """


class ThreadExecutor(Executor):
    """One daemon thread for each job, started when there is work; never a pool.

    After a fork the child starts anew. At exit the thread is asked to stop after its chunk and is waited for.
    """

    #: In seconds: the page whose visitor noticed that something is due comes first, as both share one interpreter.
    head_start = 0.05

    def __init__(self) -> None:
        self.reset()
        self._registered = False
        reset_after_fork(self)

    def reset(self) -> None:
        """Forget the threads; in the child after a fork, where the parent's do not run."""
        self._thread: threading.Thread | None = None
        self._earlier: list[threading.Thread] = []
        self.stopping = threading.Event()

    def submit(self, job: Callable[[], None]) -> bool:
        if self.stopping.is_set():
            return False
        if not self._registered:
            atexit.register(_shutdown, weakref.ref(self))
            self._registered = True
        thread = threading.Thread(target=self._work, args=(job,), name="rollingslots-topup", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter shuts down, or the machine has no thread left
            log.debug("no thread for a top-up: %s", error)
            return False
        self._earlier, self._thread = self._alive(), thread
        return True

    def _alive(self) -> list[threading.Thread]:
        return [each for each in (*self._earlier, self._thread) if each is not None and each.is_alive()]

    def _work(self, job: Callable[[], None]) -> None:
        self.stopping.wait(self.head_start)  # a process that ends meanwhile still does its share
        job()

    def shutdown(self, seconds: float = DRAIN_SECONDS) -> None:
        """Ask the thread to stop and wait for it."""
        self.stopping.set()
        self.join(seconds)

    def join(self, seconds: float) -> bool:
        """Wait until no job is under way; return whether that came true."""
        end, here = monotonic() + seconds, threading.current_thread()
        others = [thread for thread in self._alive() if thread is not here]
        for thread in others:
            thread.join(max(0.0, end - monotonic()))
        return not any(thread.is_alive() for thread in others)


class QueueExecutor(Breaker, ThreadExecutor):
    """Looks on a thread, as ever, and hands the filling to the workers of a queue.

    Subclass it and write ``send``. A worker calls ``slots.work(message)``. Messages are plain data for JSON; a lost,
    repeated or late one does no harm.
    """

    is_queue = True

    @abstractmethod
    def send(self, message: dict[str, Any], delay: float) -> None:
        """Put a message in the queue, to be worked on after so many seconds; raise if that fails."""

    def hand_over(self, message: dict[str, Any], delay: float = 0.0) -> bool:
        """Send a message within two seconds, and return whether the queue took it; if not, leave it alone for ten."""
        return bool(self._ask("queue", lambda: self.send(message, delay), SEND_SECONDS, BREAKER_SECONDS))

    def reset(self) -> None:
        super().reset()
        self._caller, self._broken_until = None, 0.0


class InlineExecutor(Executor):
    """Runs the job in the request that noticed it: at most one chunk and 150 ms."""

    background = False
    uses_cache = False
    budget = Budget(chunks=1, seconds=0.15)

    def submit(self, job: Callable[[], None]) -> bool:
        job()
        return True


class AfterResponseExecutor(Executor):
    """Runs the job when the response is sent: at most one chunk and 150 ms, for the worker is busy meanwhile."""

    uses_cache = False
    budget = Budget(chunks=1, seconds=0.15)

    def __init__(self) -> None:
        self._waiting = threading.local()

    def submit(self, job: Callable[[], None]) -> bool:
        """Keep the job for the end of this thread's request."""
        self._waiting.__dict__.setdefault("jobs", []).append(job)
        return True

    def take(self) -> Callable[[], None] | None:
        """Return what waits in this thread, if anything, as one job, and forget it."""
        jobs: list[Callable[[], None]] = self._waiting.__dict__.pop("jobs", [])

        def run() -> None:
            for job in jobs:
                job()

        return run if jobs else None


_fork_hooks: weakref.WeakSet[Any] = weakref.WeakSet()


def reset_after_fork(resettable: Any) -> None:
    """Let ``resettable.reset()`` be called in every child process; the object is not kept alive."""
    _fork_hooks.add(resettable)


def _after_fork_in_child() -> None:
    for resettable in list(_fork_hooks):
        resettable.reset()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _shutdown(reference: weakref.ref[ThreadExecutor]) -> None:
    executor = reference()
    if executor is not None:
        executor.shutdown()


def has_threads() -> bool:
    """Whether threads run between requests: not under uWSGI, unless it was started with them."""
    uwsgi = sys.modules.get("uwsgi")
    options = {str(key, "ascii") if isinstance(key, bytes) else key for key in getattr(uwsgi, "opt", {})}
    return uwsgi is None or bool({"enable-threads", "threads"} & options)


_OWN: dict[str, type[Executor]] = {
    "thread": ThreadExecutor,
    "inline": InlineExecutor,
    "after_response": AfterResponseExecutor,
}


def make_executor(name: str, environ: Mapping[str, str] = os.environ) -> Executor:
    """Return the executor of a setting; ``ConfigError`` if an import string (``module:attribute``) leads nowhere."""
    if name == "auto":
        name = "inline" if any(key in environ for key in SERVERLESS) or not has_threads() else "thread"
    if name in _OWN:
        return _OWN[name]()
    module, _, attribute = (CELERY if name == "celery" else name).partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"ROLLINGSLOTS_EXECUTOR = {name!r}: {error}") from error
    executor = made() if isinstance(made, type) else made
    if not isinstance(executor, Executor):
        raise refusal("ROLLINGSLOTS_EXECUTOR", name, "a subclass of Executor", ConfigError)
    return executor
