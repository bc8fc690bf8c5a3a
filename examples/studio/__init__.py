"""A yoga studio as an app factory, with Flask-Login and Flask-Migrate.

``flask --app studio db upgrade``, ``flask --app studio add-classes``, ``flask --app studio run``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask

from . import credits as credits  # connects to the signals
from .classes import add_classes
from .models import User, db, login, migrate, slots
from .pages import pages

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["create_app"]


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the app.

    :param config: settings that win over all others.
    """
    app = Flask(__name__, instance_relative_config=True)
    app.config.from_mapping(
        SECRET_KEY="change me",
        SESSION_COOKIE_SAMESITE="Lax",
        SQLALCHEMY_DATABASE_URI="sqlite:///studio.db",
        ROLLINGSLOTS_WINDOW_DAYS=14,
    )
    app.config.from_prefixed_env()  # such as FLASK_SECRET_KEY and FLASK_SQLALCHEMY_DATABASE_URI
    app.config.update(config or {})
    db.init_app(app)
    migrate.init_app(app, db)
    login.init_app(app)
    slots.init_app(app)
    app.register_blueprint(pages)
    app.cli.add_command(add_classes)
    return app


@login.user_loader
def load_user(number: str) -> User | None:
    """Return the user of a session."""
    return db.session.get(User, int(number))
