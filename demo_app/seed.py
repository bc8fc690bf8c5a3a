"""The first start: tables and templates, once, however many processes start together."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from .models import db, slots
from .samples import add_samples
from .venues import load_venues, templates_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

if sys.platform != "win32":
    import fcntl


def prepare_database(app: Flask) -> None:
    """Create the tables and, if there is no template yet, those of the five venues, then their sample bookings.

    Comes before ``slots.init_app``, so that the first visitor, and not the seeding, starts the first top-up.
    """
    with app.app_context(), _one_at_a_time(Path(app.instance_path) / "seed.lock"):
        if db.engine.dialect.name == "sqlite":
            with db.engine.connect() as connection:  # readers then do not wait for a writer
                connection.execute(text("PRAGMA journal_mode=WAL"))
        db.create_all()
        if db.session.scalar(select(slots.Template.id).limit(1)) is None:
            _add_templates()
        db.session.remove()
        if app.config["DEMO_SAMPLES"]:
            add_samples(app)
        db.engine.dispose()  # a connection that is open now must not be shared by workers that fork later


def _add_templates() -> None:
    now = datetime.now(UTC)
    for venue in load_venues():
        today = now.astimezone(venue.zone).date()
        db.session.add_all(slots.Template(**fields) for fields in templates_of(venue, today))
        db.session.flush()  # venue by venue, so that ids follow the order of the data
    db.session.commit()


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process in at a time; the lock ends with the file, so also with a process that dies."""
    with path.open("w") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
