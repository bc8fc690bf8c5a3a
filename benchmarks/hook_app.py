"""The same small app several times: with nothing before a request, with our hook, and with what others put there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from .site import HALL

KINDS = ("plain", "ours", "empty", "redis", "limiter", "simple")


def make(kind: str, folder: str, redis_url: str = "") -> Flask:
    """Return an app; ``kind`` says what happens before each request.

    :param folder: an existing folder, for the app's database.
    """
    app = Flask("hook")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{Path(folder) / f'{kind}.db'}"
    db = SQLAlchemy(app)

    @app.get("/")
    def index() -> str:
        return "ok"

    if kind == "ours":
        _add_slots(app, db)
    elif kind != "plain":
        _ADD[kind](app, redis_url)
    return app


def _add_slots(app: Flask, db: Any) -> None:
    from flask_rollingslots import RollingSlots

    slots = RollingSlots(app, db=db)
    with app.app_context():
        db.create_all()
        if not db.session.scalar(db.select(slots.Template.id).limit(1)):
            slots.create_template(name="Hall", **HALL)
            db.session.commit()


def _add_nothing(app: Flask, _redis_url: str) -> None:
    @app.before_request
    def nothing() -> None:
        return None


def _add_redis(app: Flask, redis_url: str) -> None:
    import redis

    client = redis.Redis.from_url(redis_url)
    client.set("day", "1")

    @app.before_request
    def look() -> None:
        client.get("day")


def _add_limiter(app: Flask, _redis_url: str) -> None:
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    Limiter(get_remote_address, app=app, default_limits=["1000000 per second"], storage_uri="memory://")


def _add_simple_cache(app: Flask, _redis_url: str) -> None:
    from flask_caching import Cache

    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    with app.app_context():
        cache.set("day", 1)

    @app.before_request
    def look() -> None:
        cache.get("day")


_ADD: dict[str, Callable[[Flask, str], None]] = {
    "empty": _add_nothing,
    "redis": _add_redis,
    "limiter": _add_limiter,
    "simple": _add_simple_cache,
}
