"""A write as one transaction of its own: committed at its end, and never together with what the app has under way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask_rollingslots.extension import AppState
    from flask_rollingslots.facade import RollingSlots


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
