"""Whether a top-up is due, asked cheaply and in this order: memory, cache, state row, lease.

Memory and cache only save work. The state row is a hint too: slots are the truth, and every CHECK_INTERVAL they
are compared with the rules again. The lease keeps two top-ups apart; that no slot exists twice is the unique
constraint's doing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, or_, select, update

from ..context import Work
from ..errors import LeaseLost, sentence
from ..models import table_of
from ..statements import insert_if_absent

log = logging.getLogger("flask_rollingslots")

BREAKER_SECONDS = 60.0
CACHE_SECONDS = 0.3
#: Caches that cannot keep anybody waiting.
_LOCAL_CACHES = {"NoneType", "NullCache", "SimpleCache"}
#: What ends the process, and is no failure of what was asked.
_ENDS = (KeyboardInterrupt, SystemExit, GeneratorExit)
BACKOFF_LIMIT = 300.0
_REMEMBERED_LOOKS = 10_000
_LOST_SECONDS = 30.0
#: Who may ask, the most urgent last.
_TRIGGERS = ("request", "view", "hole", "edit")
#: What a job may be asked for: one template by id, or everything.
Target = int | None


def to_ms(moment: datetime) -> int:
    """Return a moment as Unix time in milliseconds."""
    return round(moment.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """Return the moment of a Unix time in milliseconds, aware, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def jittered(seconds: float) -> float:
    """Return a little less than a span, so that many processes do not come at the same moment."""
    return seconds * random.uniform(0.9, 1.0)  # noqa: S311 (no secret)


def backoff(failures: int) -> float:
    """Return the seconds until the next try: doubling, jittered, at most 300."""
    return min(BACKOFF_LIMIT, 2.0 ** min(failures, 16)) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


class Memory:
    """What one process remembers: when to look next, what was asked for, and whether a job is under way."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything; in the child after a fork, where a lock of the parent may never be opened."""
        self.next_check = 0.0  # due: the first request looks
        self._lock = threading.Lock()
        self._wanted: dict[Target, str] = {}
        self._active = self._begun = False
        self._handed_over = 0.0
        self._covers_all = self._holes = False
        self._next_look: dict[tuple[Target, str], float] = {}

    def claim(self, interval: float) -> bool:
        """Ask for a look at everything; return whether the caller has to start the job. Never waits."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if monotonic() < self.next_check:
                return False
            self.next_check = monotonic() + jittered(interval)
            return self._want(None, "request")
        finally:
            self._lock.release()

    def claim_template(self, template_id: Target, trigger: str, interval: float) -> bool:
        """Ask for a look at one template (``None``: at all), once an interval for each trigger. Never waits."""
        due = self._next_look.get((template_id, trigger), 0.0)
        if monotonic() < due or not self._lock.acquire(blocking=False):
            return False
        try:
            if self._covers_all:  # everything is being looked at already
                self._holes |= trigger == "hole"
                return False
            if len(self._next_look) >= _REMEMBERED_LOOKS:
                self._next_look.clear()
            self._next_look[template_id, trigger] = monotonic() + jittered(interval)
            return self._want(template_id, trigger)
        finally:
            self._lock.release()

    def want(self, target: Target, trigger: str) -> bool:
        """Ask for a top-up that must not be lost, such as that of a new template."""
        with self._lock:
            return self._want(target, trigger)

    def _want(self, target: Target, trigger: str) -> bool:
        known = self._wanted.get(target, trigger)
        self._wanted[target] = max(known, trigger, key=_TRIGGERS.index)
        self._covers_all |= target is None
        # A job that was handed over and never began, for its response was never closed, must not block the next.
        lost = not self._begun and monotonic() > self._handed_over + _LOST_SECONDS
        if self._active and not lost:
            return False
        self._active, self._begun, self._handed_over = True, False, monotonic()
        return True

    def take(self) -> tuple[Target, str] | None:
        """Return the next target and its trigger; ``None`` ends the job."""
        with self._lock:
            self._begun = True
            self._covers_all = None in self._wanted
            if not self._wanted:
                self._active = False
                return None
            target = next(iter(self._wanted))
            return target, self._wanted.pop(target)

    def take_holes(self) -> bool:
        """Whether holes were seen while everything is being looked at; whatever a hint says, it is not complete."""
        seen, self._holes = self._holes, False
        return seen

    def give_up(self) -> None:
        """End the job although something may be left; the next request starts it again."""
        with self._lock:
            self._active = self._covers_all = False
            self.next_check = 0.0

    def postpone(self, target: Target, trigger: str, seconds: float) -> None:
        """End the job, and keep a target for the request that comes after so many seconds."""
        with self._lock:
            self._wanted[target] = trigger
            self._active = self._covers_all = False
            self.look_again_by(seconds)

    def look_again_by(self, seconds: float) -> None:
        """Look again after so many seconds at the latest."""
        self.next_check = min(self.next_check, monotonic() + seconds)

    def look_again_in(self, seconds: float) -> None:
        """Set the time of the next look."""
        self.next_check = monotonic() + max(0.0, seconds)


@dataclass(eq=False)
class Experience:
    """What one process has seen of its own top-ups, also what the database could not be told.

    :ivar failures: how many failed since one succeeded; the last one at ``failed_at``, aware.
    :ivar refusal: what the last one said, if it failed because the database takes no writes.
    :ivar waited: for how long visitors have come without a complete window: silence counts an interval at most.
    :ivar retention: why the last one forgot nothing old, as a sentence.
    :ivar is_trusted: the clock is the app's own: who passes one simulates, and knows what time it is.
    """

    is_trusted: bool = True
    failures: int = 0
    failed_at: datetime | None = None
    last_error: str | None = None
    refusal: str | None = None
    waited: timedelta = timedelta(0)
    retention: str | None = None
    _asked_at: datetime | None = None

    def reset(self) -> None:
        """Begin anew."""
        self.failures, self.failed_at, self.last_error, self.refusal = 0, None, None, None
        self.waited, self._asked_at = timedelta(0), None

    def asked(self, now: datetime, interval: timedelta) -> None:
        """Note that a visitor came, and everything is to be looked at."""
        if self._asked_at is not None:
            self.waited += max(timedelta(0), min(now - self._asked_at, interval))
        self._asked_at = now

    def failed(self, now: datetime, error: str, refused: bool = False) -> None:
        """Note a failure; ``refused``: for the database takes no writes."""
        self.failures, self.failed_at, self.last_error = self.failures + 1, now, error
        self.refusal = error if refused else None


class Breaker:
    """Asks what may fail, or be silent for ever, and then leaves it alone for a while."""

    #: What the last question came to, if it failed or was not answered.
    fault: str | None = None
    _caller: threading.Thread | None = None
    _broken_until = 0.0

    def _ask(self, what: str, call: Callable[[], Any], patience: float | None, pause: float) -> list[Any]:
        """Return a list of what a call returns; an empty one if it fails, is silent, or is left alone.

        :param patience: in seconds, on a thread of its own: not every client has a time-out. ``None``: call it here.
        """
        if monotonic() < self._broken_until:
            return []
        outcome, reason = list[Any](), f"no answer within {patience} s"

        def work() -> None:
            nonlocal reason
            try:
                outcome.append(call())
            except BaseException as error:  # a client may raise anything, such as a time-out of a greenlet
                if patience is None and isinstance(error, _ENDS):
                    raise
                reason = _said(error)

        try:
            if not self._do(work, what, patience):
                return []
        except _ENDS:
            raise
        except BaseException as error:  # there is no thread to be had, or no waiting for it
            reason = _said(error)
        self.fault = None if outcome else reason
        if not outcome:
            self._broken_until = monotonic() + pause
            log.warning("%s left alone for %.0f s: %s", what, pause, reason)
        return outcome

    def _do(self, work: Callable[[], None], what: str, patience: float | None) -> bool:
        """Work here, or on a thread of its own, and wait for so long; return whether there was one."""
        if self._caller is not None and self._caller.is_alive():
            return False
        if patience is None:
            work()
            return True
        caller = threading.Thread(target=work, name=f"rollingslots-{what}", daemon=True)
        try:
            caller.start()
        except RuntimeError as error:  # the interpreter shuts down, or the machine has no thread left
            log.debug("no thread to ask the %s: %s", what, error)
            return False
        self._caller = caller
        caller.join(patience)
        return True


def _said(error: BaseException) -> str:
    """Return what an error says, if it can be said."""
    try:
        return sentence(error)[:300]
    except Exception:  # of the error's own
        return type(error).__name__


class CacheHint(Breaker):
    """Knowledge shared by processes through the app's cache: "this was complete until then".

    The value is its own expiry as a plain int, for not every backend keeps expiries. Any doubt means "look at the
    database"; after an exception, or no answer within 0.3 s, the cache is left alone for a minute.
    """

    def __init__(self, find: Callable[[], Any], longest: int) -> None:
        """Store what finds the cache (or ``None``), and the most seconds that a hint of ours may hold."""
        self._find, self._longest = find, longest

    def closed_for(self, key: str, now: datetime) -> float:
        """Return for how many seconds the hint says that nothing is due; 0 in doubt."""
        value = self._call("get", key)
        rest = value - int(now.timestamp()) if type(value) is int else 0
        return float(rest) if 0 < rest <= self._longest else 0.0

    def close(self, key: str, now: datetime, seconds: float) -> None:
        """Say that nothing is due for some seconds."""
        span = min(int(seconds), self._longest)
        if span >= 1:
            self._call("set", key, int(now.timestamp()) + span, timeout=span)

    def check(self) -> str | None:
        """Ask the cache something, and return what is wrong with it; ``None``: it answers, or there is none."""
        self._call("get", "rollingslots:doctor")
        return self.fault

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        def call() -> Any:
            cache = self._find()
            return getattr(cache, method)(*args, **kwargs) if cache is not None else None

        outcome = self._ask("cache", call, None if self._is_local() else CACHE_SECONDS, BREAKER_SECONDS)
        return outcome[0] if outcome else None

    def _is_local(self) -> bool:
        """Whether the cache cannot keep anybody waiting; in doubt it can."""
        try:
            return type(self._find()).__name__ in _LOCAL_CACHES
        except _ENDS:
            raise
        except BaseException:  # it is found once more where that may fail
            return False


class LeaseState(NamedTuple):
    """The state row; times in milliseconds."""

    owner: str | None = None
    token: int = 0
    until_ms: int = 0
    confirmed_ms: int = 0
    complete_until_ms: int = 0
    fingerprint: str | None = None
    failures: int = 0
    next_try_ms: int = 0
    last_error: str | None = None


def read_state(work: Work) -> LeaseState:
    """Return the state row, or an empty state if there is none yet."""
    cls = work.models.Lease
    columns = [getattr(cls, field) for field in LeaseState._fields]
    row = work.session.execute(select(*columns).where(cls.name == work.settings.name)).one_or_none()
    return LeaseState._make(row) if row is not None else LeaseState()


def make_row(work: Work) -> bool:
    """Make the state row if there is none yet; return whether this transaction made it."""
    session, cls, name = work.session, work.models.Lease, work.settings.name
    if session.scalar(select(cls.name).where(cls.name == name)) is not None:
        return False
    session.execute(insert_if_absent(table_of(cls), work.dialect), [{"name": name}])
    return True


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that was won: that of the settings' name. What it does is committed by whoever opened the session.

    Its fencing token grows with every owner. Somebody else may have taken it over: then all but ``release`` raise
    ``LeaseLost``.
    """

    owner: str
    token: int

    @classmethod
    def acquire(cls, work: Work, owner: str) -> Lease | None:
        """Try to take the lease with one conditional UPDATE.

        An expiry further ahead than twice the lease was written by a clock that jumped: it counts as past.
        """
        table, moment, span = table_of(work.models.Lease), to_ms(work.now), work.settings.lease_seconds * 1000
        named = table.c.name == work.settings.name
        free = or_(table.c.until_ms <= moment, table.c.until_ms > moment + 2 * span)
        taken = {"owner": owner, "token": table.c.token + 1, "until_ms": moment + span}
        won = work.session.execute(update(table).where(named, free).values(**taken))
        if won.rowcount != 1:  # type: ignore[attr-defined]
            return None
        return cls(owner, int(work.session.scalar(select(table.c.token).where(named)) or 0))

    def renew(self, work: Work) -> None:
        """Prolong the lease in the caller's transaction: the fence against a holder that slept."""
        self._set(work, until_ms=to_ms(work.now) + work.settings.lease_seconds * 1000)

    def confirm(self, work: Work, complete_until: datetime, fingerprint: str) -> None:
        """Store that everything was complete at the work's time, and give the lease back."""
        good = {"failures": 0, "next_try_ms": 0, "last_error": None, "fingerprint": fingerprint}
        confirmed, complete = to_ms(work.now), to_ms(complete_until)
        self._set(work, until_ms=0, confirmed_ms=confirmed, complete_until_ms=complete, **good)

    def release(self, work: Work) -> None:
        """Give the lease back, if it is still ours."""
        table = table_of(work.models.Lease)
        work.session.execute(update(table).where(*self._mine(work)).values(until_ms=0))

    def fail(self, work: Work, error: str) -> None:
        """Record a failure, put off the next try, and give the lease back."""
        failures = read_state(work).failures + 1
        next_try = to_ms(work.now) + int(backoff(failures) * 1000)
        self._set(work, until_ms=0, failures=failures, next_try_ms=next_try, last_error=error[:2000])

    def _mine(self, work: Work) -> tuple[ColumnElement[bool], ...]:
        table = table_of(work.models.Lease)
        return table.c.name == work.settings.name, table.c.token == self.token

    def _set(self, work: Work, **values: Any) -> None:
        statement = update(table_of(work.models.Lease)).where(*self._mine(work)).values(**values)
        if work.session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
            raise LeaseLost(token=self.token)
