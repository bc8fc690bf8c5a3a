"""What the studio offers, as a command."""

from __future__ import annotations

from datetime import datetime, timedelta

import click
from flask.cli import with_appcontext

from .models import db, slots


@click.command("add-classes")
@with_appcontext
def add_classes() -> None:
    """Yoga on Monday, Wednesday and Friday evening, and a workshop on the first Saturday of the month."""
    slots.create_template(
        name="Yoga",
        group="studio",
        rrule="FREQ=WEEKLY;BYDAY=MO,WE,FR",
        dtstart=datetime(2026, 1, 1, 18, 30),  # wall-clock time
        timezone="Europe/Lisbon",
        duration=timedelta(minutes=75),
        capacity=12,
        data={"level": "all levels"},
    )
    slots.create_template(
        name="Workshop",
        group="studio",
        rrule="FREQ=MONTHLY;BYDAY=1SA",
        dtstart=datetime(2026, 1, 1, 10, 0),  # wall-clock time
        timezone="Europe/Lisbon",
        duration=timedelta(hours=3),
        capacity=8,
        opens_before=timedelta(days=60),
        data={"level": "advanced"},
    )
    db.session.commit()
