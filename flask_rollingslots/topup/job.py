"""When to top up: the triggers on the request, and the job that asks the gate in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from math import inf
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from .. import signals, statements
from ..errors import Interrupted, LeaseLost, QueueUnavailable, TopUpBusy, sentence
from . import gate
from .executors import Executor, Spender, reset_after_fork
from .request import TopUpRequest
from .runner import Runner

log = logging.getLogger("flask_rollingslots")

_HOLE_SECONDS = 10.0
#: From so many templates with holes on, one look at everything is cheaper.
_MANY_HOLES = 10
#: So often a worker is asked for in vain; then this process does it, if it may.
_PATIENCE = 3


class Workers(Protocol):
    """What workers elsewhere offer to the job of a web process, which then looks only."""

    def ask(self, target: gate.Target, trigger: str) -> bool:
        """Ask one to look at a template, or at everything; return whether a queue took that. Never raises."""

    def join(self, template_id: int, trigger: str) -> bool:
        """Let those who are at work, if any, see to a template; return whether they will."""


@dataclass(eq=False)
class TopUp:
    """Notices when the windows of one app have to be filled, and fills them on the executor.

    :param find_cache: returns the backend of the app's cache, or ``None``.
    :param workers: who does the filling; ``None``: this process.
    """

    runner: Runner
    executor: Executor
    find_cache: Callable[[], Any]
    workers: Workers | None = None
    memory: gate.Memory = field(default_factory=gate.Memory)
    _day_ends: float = inf
    #: How often a worker was asked for since the lease last changed hands.
    _unanswered: int = 0
    _token: int = -1

    def __post_init__(self) -> None:
        self.settings, self.clock = self.runner.settings, self.runner.clock
        self.experience = self.runner.experience
        self.hint = gate.CacheHint(self.find_cache, self.settings.check_interval)
        reset_after_fork(self.memory)

    # -- triggers: on the request, never waiting -----------------------------------------------------------

    @cached_property
    def is_automatic(self) -> bool:
        """Whether top-ups start by themselves: not when switched off, nor on a single shared connection."""
        automatic = self.settings.enabled and not self.runner.joins
        if not automatic:
            self.memory.next_check = inf
        return automatic

    def notice(self) -> None:
        """Start a look at everything, if it is time."""
        if self.is_automatic and self.memory.claim(self.settings.check_interval):
            self.experience.asked(self.clock(), timedelta(seconds=self.settings.check_interval))
            self._submit()

    def view(self, template_ids: Iterable[int]) -> None:
        """Start a look at templates that somebody views, once an interval each."""
        if not self.is_automatic:
            return
        if self.clock().timestamp() >= self._day_ends:
            # The monotonic clock does not see a day that begins while the machine sleeps.
            self._day_ends = inf
            if self.memory.want(None, "request"):
                self._submit_outside_the_view()
        self._claim(template_ids, "view", self.settings.check_interval)

    def hole(self, template_ids: Iterable[int]) -> None:
        """Start a top-up of templates that were just seen to lack slots in their window."""
        if self.is_automatic:
            lacking = list(template_ids)
            self._claim(lacking if len(lacking) <= _MANY_HOLES else [None], "hole", _HOLE_SECONDS)

    def changed(self, template_ids: Iterable[int]) -> None:
        """Start a top-up of templates that were added or edited, after their commit."""
        if self.is_automatic:
            starts = [self.memory.want(template_id, "edit") for template_id in sorted(template_ids)]
            if any(starts):
                self._submit_outside_the_view()

    def _claim(self, targets: Iterable[gate.Target], trigger: str, interval: float) -> None:
        for target in targets:
            if self.memory.claim_template(target, trigger, interval):
                self._submit_outside_the_view()

    def _submit_outside_the_view(self) -> None:
        """Start the job, or leave it to the next request where it would run in the middle of this one.

        A view may hold locks in the app's own transaction: a job inside it would wait for itself.
        """
        if self.executor.background:
            self._submit()
        else:
            self.memory.give_up()

    def _submit(self) -> None:
        if not self.executor.submit(self.job):
            if not self.executor.stopping.is_set():
                self._back_off(RuntimeError("no thread could be started"))
            self.memory.give_up()

    # -- the job, on the executor --------------------------------------------------------------------------

    def job(self) -> None:
        """Do everything that was asked for. Never raises."""
        must_stop = self.executor.budget.spender(self.executor.stopping)
        while (taken := self.memory.take()) is not None:
            try:
                goes_on = self._serve(*taken, must_stop)
            except BaseException:  # such as a time-out of gevent, or the end of a worker in an inline request
                self.memory.postpone(*taken, 0.0)
                raise
            if not goes_on:
                return

    def _serve(self, target: gate.Target, trigger: str, must_stop: Spender) -> bool:
        """Do one thing that was asked for; return whether the job may go on."""
        try:
            with self.runner.context(self.executor.budget.seconds):
                if self._attempt(target, trigger, must_stop):
                    self.experience.reset()
        except Interrupted:
            self.memory.postpone(target, trigger, 0.0)
            return False
        except (TopUpBusy, QueueUnavailable) as error:
            if isinstance(error, QueueUnavailable):
                self._back_off(error)
            self.memory.postpone(target, trigger, self.settings.lease_seconds)
            return False
        except LeaseLost:
            self.memory.look_again_by(self.settings.lease_seconds)
        except Exception as error:
            self._back_off(error)
        if self.executor.stopping.is_set():
            self.memory.give_up()
            return False
        return True

    def _back_off(self, error: Exception) -> None:
        """Put off the next look; only the first of several failures is logged as an error."""
        self.experience.failed(self.clock(), sentence(error), statements.refuses_writes(error))
        failures = self.experience.failures
        wait = gate.backoff(failures)
        self.memory.look_again_in(wait)
        level = logging.ERROR if failures == 1 else logging.DEBUG
        extra = {"action": "topup_failed", "failures": failures}
        log.log(level, "top-up failed, next try in %.0f s: %s", wait, sentence(error), extra=extra)
        signals.announce(signals.topup_failed, self.runner.app, error=error)

    def _attempt(self, target: gate.Target, trigger: str, must_stop: Spender) -> bool:
        """Ask the gate, and fill if it is open; return whether everything is known to be complete."""
        now, is_complete = self.clock(), False
        key = self._hint_key(target, now)
        asks_cache = self.executor.uses_cache and trigger in ("request", "view")
        rest = self.hint.closed_for(key, now) if asks_cache else 0.0
        if target is None and self.memory.take_holes():
            trigger, rest = "hole", 0.0
        if rest <= 0:
            if target is None:
                rest, is_complete = self._everything(must_stop, knows_better=trigger == "hole")
            else:
                rest, is_complete = self._one(target, trigger, must_stop)
            if is_complete and self.executor.uses_cache:
                self.hint.close(key, now, rest)
        if target is None:
            self.memory.look_again_in(min(rest, gate.jittered(self.settings.check_interval)))
        return is_complete and target is None

    def _hint_key(self, target: gate.Target, now: datetime) -> str:
        # The time in the key bounds how long a value that never expires could do harm.
        local = now.astimezone(ZoneInfo(self.settings.timezone))
        what = f"day:{local:%Y-%m-%d}" if target is None else f"template:{target}:{local:%Y-%m-%dT%H}"
        return f"rollingslots:{self.settings.name}-{self.runner.database_id}:{what}"

    def remember(self, target: gate.Target) -> None:
        """Let other processes know that a template was filled."""
        now = self.clock()
        self.hint.close(self._hint_key(target, now), now, self.settings.check_interval)

    def _everything(self, must_stop: Spender, knows_better: bool) -> tuple[float, bool]:
        """Fill all windows if that is due; return for how many seconds nothing is due, and if all is complete.

        :param knows_better: holes were seen, whatever the state row says.
        """
        runner = self.runner
        state = runner.read_state()
        waiting = runner.put_off_for(state)
        rest = 0.0 if knows_better else runner.complete_for(state)
        if rest <= 0:
            if waiting > 0:
                return waiting, False
            if self._hand_over(None, "hole" if knows_better else "request", state):
                return self.settings.lease_seconds, False
            lease = runner.acquire()
            if lease is None:
                return runner.holder_rest(), False
            runner.run(lease, TopUpRequest("request", until=must_stop.until), must_stop)
            state = runner.read_state()
            rest = runner.complete_for(state)
        self._day_ends = state.complete_until_ms / 1000
        return max(rest, 1.0), rest > 0

    def _hand_over(self, target: gate.Target, trigger: str, state: gate.LeaseState) -> bool:
        """Leave the filling to a worker elsewhere, if there may be one; return whether one has it, or will have."""
        if self.workers is None:
            return False
        if 0 < state.until_ms - gate.to_ms(self.clock()) <= 2000 * self.settings.lease_seconds:
            self._unanswered = 0
            if target is not None and not self.workers.join(target, trigger):
                raise TopUpBusy  # an ordinary top-up is under way
            return True
        waits = self.settings.queue_fallback == "none"
        if state.token != self._token:
            self._token, self._unanswered = state.token, 0
        taken = (waits or self._unanswered < _PATIENCE) and self.workers.ask(target, trigger)
        if waits and not taken:
            raise QueueUnavailable
        self._unanswered += taken and target is None
        return taken

    def _one(self, template_id: int, trigger: str, must_stop: Spender) -> tuple[float, bool]:
        runner, insists, budget = self.runner, trigger == "edit", self.executor.budget
        state = runner.read_state()
        put_off = not insists and runner.put_off_for(state) > 0
        if put_off or self._hand_over(template_id, trigger, state):
            return 0.0, False
        # Who has a budget works while somebody waits for a page: it waits for nobody.
        waits = insists and budget.seconds is None
        lease = runner.wait_for_lease(self.executor.stopping) if waits else runner.acquire()
        if lease is None and insists:
            raise TopUpBusy
        if lease is None:
            self.memory.look_again_by(runner.holder_rest())
            return 0.0, False
        # A job that may write one chunk only makes the most of it.
        watched = insists and budget.chunks is None
        request = TopUpRequest(trigger, template_id=template_id, watched=watched, until=must_stop.until)
        report = runner.run(lease, request, must_stop)
        return float(self.settings.check_interval), not any(t.error for t in report.templates.values())
