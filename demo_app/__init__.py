"""The demo of Flask-RollingSlots: a small booking site with five venues.

``flask --app demo_app run``, or ``gunicorn 'demo_app:create_app()'``. Everything that it does with slots goes
through the public face of the library. What it keeps lies in the instance folder: a SQLite file and the key that
signs the cookies. Environment: ``DATABASE_URL`` and ``REDIS_URL`` (others are used instead of the SQLite file and of no
cache), ``SECRET_KEY``, ``DEMO_INSTANCE_PATH`` (the instance folder) and ``DEMO_SAMPLES`` (``0``: no sample bookings).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, render_template, session
from werkzeug.exceptions import Conflict, HTTPException, NotFound

from flask_rollingslots.errors import (
    TRIES_OF_A_DOOR,
    InvalidKey,
    LostRace,
    SlotNotFound,
    TemplateNotFound,
    again_if_lost,
)

from . import booking, calendar, operations, owner, safety, services, visitor, words
from .models import cache, db, slots
from .seed import prepare_database

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["create_app", "db", "slots"]


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the booking site, its tables made and its venues filled in on the first start.

    :param config: settings that win over all others; ``INSTANCE_PATH`` names another instance folder.
    """
    given = dict(config or {})
    folder = given.pop("INSTANCE_PATH", None) or os.environ.get("DEMO_INSTANCE_PATH")
    app = Flask(
        __name__,
        instance_path=str(Path(folder).resolve()) if folder else None,
        instance_relative_config=True,
    )
    Path(app.instance_path).mkdir(parents=True, exist_ok=True)
    _configure(app, given)
    db.init_app(app)
    if "CACHE_TYPE" in app.config:
        cache.init_app(app)
    prepare_database(app)
    slots.init_app(app)
    _add_pages(app)
    return app


def _configure(app: Flask, given: Mapping[str, Any]) -> None:
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI=services.database_url(),
        DEMO_SAMPLES=os.environ.get("DEMO_SAMPLES", "1") != "0",
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.config.from_mapping(services.cache_settings() or {})
    app.config.from_pyfile("config.py", silent=True)
    app.config.update(given)
    app.config["SECRET_KEY"] = (
        app.config["SECRET_KEY"]
        or os.environ.get("SECRET_KEY")
        or safety.stored_secret(Path(app.instance_path) / "secret_key")
    )


def _add_pages(app: Flask) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(words.FILTERS)
    app.jinja_env.globals |= {"csrf_token": safety.csrf_token, "now_utc": partial(datetime.now, UTC)}
    app.before_request(safety.check_form)
    app.after_request(safety.add_headers)
    for module in (visitor, booking, owner, calendar, operations):
        app.register_blueprint(module.pages)
    for endpoint, view in app.view_functions.items():
        if endpoint != "static":
            app.view_functions[endpoint] = _patient(view)
    app.register_error_handler(HTTPException, _show_error)
    app.register_error_handler(LostRace, _show_lost)
    for error in (SlotNotFound, InvalidKey, TemplateNotFound):
        app.register_error_handler(error, _show_not_found)


def _patient(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let a page be tried again, in a new transaction, if another visitor's was in the way: nothing was written."""

    @wraps(view)
    def page(**path: Any) -> Any:
        def show() -> Any:
            try:
                with slots.acting(session.get("visitor"), door="pages"):
                    return view(**path)
            except Exception as error:
                if not isinstance(error, LostRace) and not slots.is_lost_race(error):
                    raise
                db.session.rollback()
                raise LostRace from error

        return again_if_lost(show, TRIES_OF_A_DOOR)

    return page


def _show_lost(error: LostRace) -> tuple[str, int]:
    return _show_error(Conflict())


def _show_error(error: HTTPException) -> tuple[str, int]:
    code = error.code or 500
    title, text = words.ERRORS.get(code, (error.name, error.description or ""))
    return render_template("error.html", code=code, title=title, text=text), code


def _show_not_found(error: Exception) -> tuple[str, int]:
    return _show_error(NotFound())
