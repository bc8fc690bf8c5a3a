"""A write as one transaction of its own: committed at its end, and never together with what the app has under way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask_rollingslots import signals
from flask_rollingslots.series import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask_rollingslots.extension import RollingSlots
    from flask_rollingslots.revising import SeriesReport
    from flask_rollingslots.state import AppState


@contextmanager
def writing(state: AppState, dry_run: bool = False) -> Iterator[RollingSlots]:
    """Give the facade in an app context, so in a session, of its own; commit at the end, or roll everything back.

    The session of the request belongs to the app: what a function of it left there is not ours to commit.

    :param dry_run: roll back at the end, too.
    """
    with state.app.app_context():
        session = state.db.session
        try:
            yield state.facade
            if dry_run:
                session.rollback()
            else:
                session.commit()
        except BaseException:
            session.rollback()
            raise


def desk_of(state: AppState) -> Desk:
    """Return where decisions are worked out, on the current session."""
    settings = state.settings
    return Desk(state.db.session(), state.models, state.clock(), settings.window_days, settings.align)


def tell(state: AppState, what: str, report: SeriesReport, reason: str | None) -> None:
    """Tell who listens that a series was ended (``cancel``, ``delete``) or brought back (``restore``)."""
    if what == "restore":
        signals.series_restored.send(state.app, report=report)
    else:
        signals.series_ended.send(state.app, report=report, reason=reason)
