"""The debug server, whose reloader runs the app in two processes: one watches files, one answers."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, time
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.request import urlopen

from helpers import Clock, Site
from servers.process import Process

if TYPE_CHECKING:
    from pathlib import Path

APP = """
import os
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_rollingslots import RollingSlots

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///" + os.environ["SLOTS_FILE"]
db = SQLAlchemy(app)
slots = RollingSlots(app)


@app.get("/")
def pid():
    return str(os.getpid())
"""


def test_the_reloader_leaves_one_process_that_fills(tmp_path: Path) -> None:
    """Under ``flask run --debug`` the process that answers fills, and so does its successor when a file has changed."""
    source, database = tmp_path / "app.py", tmp_path / "slots.db"
    source.write_text(APP)
    env = {**os.environ, "SLOTS_FILE": str(database), "PYTHONUNBUFFERED": "1"}

    def seed() -> None:
        """Add a template as another process does, which fills nothing."""
        site = Site(f"sqlite:///{database}", tmp_path, Clock(datetime.now(UTC)))
        with site.app.app_context():
            site.add(window_days=3, until_time=time(22))

    def one(statement: str) -> int:
        with closing(sqlite3.connect(database)) as connection:
            return int(connection.execute(statement).fetchone()[0])

    def filled(templates: int) -> bool:
        return one("SELECT count(DISTINCT template_id) FROM rolling_slot") == templates and not one(
            "SELECT until_ms FROM rolling_lease"
        )

    def answering() -> int:
        with urlopen(address) as answer:  # noqa: S310 (the server above)
            return int(answer.read())

    seed()
    command = (sys.executable, "-m", "flask", "--app", source, "run", "--debug", "--port", "0")
    server = Process(command, tmp_path / "server.log", cwd=tmp_path, env=env)
    try:
        server.wait_until(lambda: "Running on http" in server.output())
        found = re.search(r"Running on (http://[0-9.:]+)", server.output())
        assert found is not None
        address = found[1]
        assert not one("SELECT count(*) FROM rolling_slot")
        first = answering()
        assert first != server.pid
        server.wait_until(lambda: filled(1))
        seed()
        source.write_text(APP + "\n# changed\n")

        def is_new() -> bool:
            try:
                return answering() != first
            except (OSError, HTTPException):  # between two processes, or in the middle of an answer
                return False

        server.wait_until(is_new)
        server.wait_until(lambda: filled(2))
        assert "Traceback" not in server.output()
    finally:
        server.stop()
