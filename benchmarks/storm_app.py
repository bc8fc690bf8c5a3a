"""The app of the storms: a page with a hall's week, under a clock that a file moves."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, jsonify
from flask_sqlalchemy import SQLAlchemy

from flask_rollingslots import RollingSlots

from .site import MIDNIGHT, WEEK

CLOCK, URL = "BENCHMARK_CLOCK", "BENCHMARK_URL"


def make() -> Flask:
    """Return the app; environment variables name its database and the file with the days by which it is moved."""
    app = Flask("storm")
    clock = Path(os.environ[CLOCK])
    app.config["SQLALCHEMY_DATABASE_URI"] = url = os.environ[URL]
    waits = {"connect_args": {"timeout": 30}} if url.startswith("sqlite") else {}
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": 25, **waits}
    db = SQLAlchemy(app)
    began = time.time()

    def now() -> Any:
        return MIDNIGHT + timedelta(hours=8, days=int(clock.read_text()), seconds=time.time() - began)

    slots = RollingSlots(app, db=db, clock=now)

    @app.get("/<int:number>")
    def week(number: int) -> Any:
        midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
        return jsonify([slot.key for slot in slots.between(midnight, midnight + WEEK, template=number)])

    return app
