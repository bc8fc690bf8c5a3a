"""Keeping slots there: topping up, pruning, and how the deployment is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

from ..context import id_or_none
from ..lazy import lazy
from ..topup import TopUpRequest
from ..values import PruneReport, Report
from .calls import Calls, TemplateOrId

if TYPE_CHECKING:
    from .. import health, pruning, queue
    from ..health import Finding, HealthReport
    from ..pruning import Archive
else:
    health, pruning, queue = lazy(".health", ".pruning", ".queue")


class Upkeep(Calls):
    """The calls for whoever runs the app."""

    def generate(
        self,
        days: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        template: TemplateOrId | None = None,
        group: str | None = None,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
        *,
        week: date | None = None,
        since: date | None = None,
        distributed: bool = False,
        full: bool = False,
        stop: Event | None = None,
    ) -> Report:
        """Fill now, in this thread and in a session of its own.

        :param days: local days from today, 1 to 3,660; by default each template's own window.
        :param start: aware, like ``end``; in the past: past slots are created too.
        :param progress: called with (done, total) after each chunk.
        :param week: a day of the week to fill, Monday to Sunday; past slots are created too.
        :param since: the first of the days up to today to fill; past slots are created too.
        :param distributed: let the workers of the queue do it, and wait for them.
        :param full: compare each slot with its rule, as happens once a day by itself: after a repair by hand, in SQL.
        :param stop: once set, the call ends with the chunk that is being written, with ``Interrupted``.
        :raises TopUpBusy: if another top-up does not end within twice the lease.
        :raises UncommittedChanges: on SQLite, if the app's session holds uncommitted changes.
        """
        topup, number = self._state.topup, id_or_none(template)
        request = TopUpRequest.manual(
            week, since, days=days, start=start, end=end, template_id=number, group=group, dry_run=dry_run,
            progress=progress, full=full,
        )  # fmt: skip
        return (queue.Distributor(topup) if distributed else topup.runner).generate(request, stop)

    def start_topup(
        self,
        days: int | None = None,
        template: TemplateOrId | None = None,
        group: str | None = None,
        week: date | None = None,
        since: date | None = None,
        asked_at: datetime | None = None,
    ) -> int:
        """Start a top-up as of :meth:`generate` in the background; return the id of its run, which shows how far it is.

        :param asked_at: aware; a run that ended after it was in the way. By default only one that still works is.
        :raises TopUpBusy: if another top-up that was started like this is under way; ``run`` is its id.
        """
        number = id_or_none(template)
        request = TopUpRequest.manual(week, since, days=days, template_id=number, group=group)
        return queue.order(self._state.topup, request, asked_at)

    def work(self, message: dict[str, Any]) -> None:
        """Do what a message of the queue asks for, as it was given to ``send``: for workers, see ``QueueExecutor``."""
        queue.Distributor(self._state.topup).work(message)

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
        :raises: as :meth:`generate`.
        """
        runner, now = self._state.topup.runner, self._state.clock()
        archive = runner.archive if archive is None else archive
        request = pruning.PruneRequest.make(older_than, now, archive, include_booked, batch, dry_run)
        return pruning.prune(runner, request)

    def health(self, probe: bool = False, known: bool = False, most: int | None = None) -> HealthReport:
        """Return the coverage of the window: is every promised slot stored?

        :param probe: try, too, whether the database takes writes, with statements that change nothing. Else what
            this process has seen of its own top-ups has to do.
        :param known: only the status, by what the last check found: for whoever may ask as often as they like.
        :param most: of more starts of slots than this it is as if ``known``, and ``checked`` is ``False``.
        """
        state = self._state
        refusals = state.probe() if probe else None
        # By what is missing somebody decides: a replica that lags would cry wolf.
        return health.check_health(state.writing(), state.topup.experience, refusals, known, most)

    def doctor(self) -> list[Finding]:
        """Return what is wrong with the deployment and what to do about it, the gravest first."""
        return self._state.examine()
