"""What belongs to one app."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .browsing import Browser
from .context import Work
from .health import examine
from .statements import use_primary

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from flask import Flask
    from sqlalchemy.orm import Session

    from .extension import RollingSlots
    from .health import Finding
    from .models import Models, TemplateMixin
    from .settings import Settings
    from .topup import TopUp

    #: Decides about a request to the HTTP API: an action, a template or ``None`` -> yes, no, or a person's name.
    Authorize = Callable[[str, TemplateMixin | None], bool | str]


@dataclass(frozen=True, eq=False)
class AppState:
    """Everything that belongs to one app; kept in ``app.extensions["rollingslots"]``."""

    app: Flask
    db: Any
    models: Models
    settings: Settings
    topup: TopUp
    clock: Callable[[], datetime]
    facade: RollingSlots

    @property
    def authorizer(self) -> Authorize | None:
        """The app's own decision about requests to the HTTP API, if it makes any."""
        return self.facade._authorize

    def reading(self) -> Work:
        """Return a work on the app's own session that only shows."""
        return Work.reading(self.db.session(), self.models, self.settings, self.clock())

    def writing(self, dry_run: bool = False) -> Work:
        """Return a work on the app's own session that decides; from now on it reads our tables where it writes them."""
        return Work.writing(self.db.session(), self.models, self.settings, self.clock(), dry_run=dry_run)

    def browser(self) -> Browser:
        """Return a reader on the app's own session."""
        return Browser(self.db.session(), self.models, self.clock())

    def examine(self) -> list[Finding]:
        """Return the doctor's findings; in a session of its own, for the checks end its transaction."""
        with self.app.app_context():
            caches = len(self.app.extensions.get("cache") or {})
            return examine(self.writing(), self.topup.find_cache(), caches, self.app.debug, os.environ)

    def writer(self) -> Browser:
        """Return a reader for those who decide by what they read: never from a replica."""
        return Browser(self.writing_session(), self.models, self.clock())

    def writing_session(self) -> Session:
        """Return the app's own session; from now on it reads our tables where it writes them."""
        session: Session = self.db.session()
        use_primary(session, self.models.classes)
        return session
