"""What everything below the facade is handed: session, models, settings and time, made here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .signals import Outbox
from .statements import dialect_of, use_primary

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from .models import Models
    from .settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One piece of work for one app, at one moment. Use :meth:`reading` or :meth:`writing` to make one.

    Whoever opened the session commits it. Functions that take a work open no session, read no clock and know no app.

    :param now: aware.
    :param dry_run: what is decided is worked out and returned, and nothing is written.
    :param outbox: gathers what is to be told once the work is done.
    """

    session: Session
    models: Models
    settings: Settings
    now: datetime
    dry_run: bool = False
    outbox: Outbox = field(default_factory=Outbox)

    @classmethod
    def reading(cls, session: Session, models: Models, settings: Settings, now: datetime) -> Work:
        """Return a work that only shows: an app that reads from replicas may serve it from one."""
        return cls(session, models, settings, now)

    @classmethod
    def writing(
        cls, session: Session, models: Models, settings: Settings, now: datetime, dry_run: bool = False
    ) -> Work:
        """Return a work that decides by what it reads: the session stays on the engine of its writes from now on."""
        use_primary(session, models.classes)
        return cls(session, models, settings, now, dry_run)

    @property
    def dialect(self) -> str:
        """The name of the database: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``."""
        return dialect_of(self.session)
