"""What goes through the queue: plain data for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from flask_rollingslots.gate import Lease

from .request import FillRequest

if TYPE_CHECKING:
    from flask_rollingslots import gate
    from flask_rollingslots.models import Models
    from flask_rollingslots.settings import Settings

_FIELDS = ("run_id", "token", "mark", "shards", "revises", "paced")


@dataclass(frozen=True, slots=True)
class Job:
    """A shared run, as each worker is told of it.

    :param token: of the lease that all its workers hold together.
    :param mark: the fingerprint of the templates when the run began.
    :param revises: rules were edited since the last run: look beyond the windows too.
    :param paced: after a long pause: rest as long as was worked.
    """

    run_id: int
    token: int
    mark: str
    shards: int
    revises: bool
    paced: bool
    request: FillRequest

    def lease(self, models: Models, settings: Settings) -> Lease:
        """Return the lease that the run's workers share."""
        return Lease(models, settings.name, "", self.token, settings.lease_seconds)


def look(target: gate.Target, trigger: str, tries: int = 0) -> dict[str, Any]:
    """Return the message that asks a worker to look at one template, or at everything."""
    return {"do": "look", "target": target, "trigger": trigger, "tries": tries}


def fill(job: Job) -> dict[str, Any]:
    """Return the message that lets a worker take part in a run."""
    request = job.request
    wanted = {
        "trigger": request.trigger,
        "days": request.days,
        "start": request.start and request.start.isoformat(),
        "end": request.end and request.end.isoformat(),
        "template_id": request.template_id,
        "group": request.group,
        "first_day": request.first_day and request.first_day.isoformat(),
        "end_day": request.end_day and request.end_day.isoformat(),
    }
    return {"do": "fill", **{name: getattr(job, name) for name in _FIELDS}, "request": wanted}


def job_of(message: dict[str, Any]) -> Job:
    """Read the message of ``fill``."""
    wanted = dict(message["request"])
    for name in ("start", "end"):
        wanted[name] = wanted[name] and datetime.fromisoformat(wanted[name])
    for name in ("first_day", "end_day"):
        wanted[name] = wanted[name] and date.fromisoformat(wanted[name])
    return Job(**{name: message[name] for name in _FIELDS}, request=FillRequest(**wanted))
