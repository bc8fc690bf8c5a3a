"""What the log and the signals say of a run that ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flask_rollingslots import signals

if TYPE_CHECKING:
    from flask_rollingslots.values import Report

    from .record import Edges
    from .request import FillRequest

log = logging.getLogger("flask_rollingslots")


def tell(app: Any, report: Report, request: FillRequest, errors: list[str], edges: Edges | None) -> None:
    """Log a run that ended, and send its signals."""
    counts = {name: getattr(report, name) for name in ("created", "updated", "removed", "existing")}
    log.info(
        "top-up %s: %d created, %d updated, %d removed, %d there already, %.2f s",
        "incomplete" if errors else "confirmed",
        *counts.values(),
        report.seconds,
        extra={
            "action": "topup",
            "trigger": request.trigger,
            "run_id": report.run_id,
            **{f"slots_{name}": number for name, number in counts.items()},
        },
    )
    signals.announce(signals.topup_finished, app, report=report)
    if edges is not None:
        span = {"since": edges.since, "until": edges.until}
        for signal, count in (
            (signals.slots_opened, edges.opened),
            (signals.slots_closed, edges.closed),
        ):
            if count:
                signals.announce(signal, app, count=count, **span)
