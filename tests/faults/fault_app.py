"""The app that the fault tests run under gunicorn. Everything is set by the environment variable FAULT_APP."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import jsonify, request
from loop_site import PLAIN, Site, before, before_chunks, chunks_of, make_site
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from flask_rollingslots import errors
from flask_rollingslots.topup import gate, run

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = datetime(2026, 3, 2, 12, 0, 1, tzinfo=UTC)  # a Monday, just after noon


class FileClock:
    """Runs with the machine's clock, from BASE on; a file says since when, and how far a test has moved it.

    :param skews: seconds by which processes are wrong, each by one of them.
    """

    def __init__(self, path: Path, skews: Sequence[float] = (0.0,)) -> None:
        self.path, self.skews = path, skews

    def __call__(self) -> datetime:
        began, moved = map(float, self.path.read_text().split())
        skew = self.skews[os.getpid() % len(self.skews)]
        return BASE + timedelta(seconds=time.time() - began + moved + skew)

    def move(self, seconds: float) -> None:
        """Move the time for all who read the file."""
        began, moved = map(float, self.path.read_text().split()) if self.path.exists() else (time.time(), 0.0)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{began} {moved + seconds}")
        fresh.replace(self.path)


def caught(sign: Path) -> bool:
    """Say whether this process is the first to find a sign; only one is."""
    with suppress(OSError):
        sign.rename(sign.with_suffix(f".{os.getpid()}"))
        return True
    return False


def stop() -> None:
    """Stop this process. A thread runs on for a moment until the signal has reached all: it sleeps through that."""
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.5)


def add_booking(site: Site) -> None:
    """Add pages that book and release, each in one transaction."""

    def answer(work: Any) -> Any:
        try:
            result = work()
            site.db.session.commit()
        except (errors.SlotFull, errors.SlotClosed) as error:
            site.db.session.rollback()
            return jsonify(error=type(error).__name__), 409
        except SQLAlchemyError as error:
            site.db.session.rollback()
            return jsonify(error=str(error)[:200]), 503
        return jsonify(result)

    @site.app.post("/book")
    def book() -> Any:
        asked = request.get_json()
        return answer(lambda: {"id": site.slots.book(**asked).id})

    @site.app.post("/release")
    def release() -> Any:
        return answer(lambda: {"id": site.slots.release(request.get_json()["id"]).id})


def fast_sqlite(site: Site) -> None:
    """Let readers not wait for a writer; durability is not the subject."""
    with site.app.app_context():
        engine = site.db.engine
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def connect(raw: Any, _record: Any) -> None:
            raw.execute("PRAGMA synchronous = OFF")


def write_ahead(site: Site) -> None:
    """Switch the file to write-ahead logging, once and for good.

    Workers that each do so on connecting would be refused at once where others read: that switch does not wait.
    """
    with site.app.app_context(), site.db.engine.connect() as link:
        if link.dialect.name == "sqlite":
            assert link.exec_driver_sql("PRAGMA journal_mode = WAL").scalar() == "wal"


def build(options: dict[str, Any], folder: Path) -> Site:
    """Make the app: options are url, cache, settings, skew, rows (of a chunk), delay (before each chunk)."""
    clock = FileClock(folder / "clock", options.get("skews", (0.0,)))
    site = make_site(
        options["url"],
        clock,
        cache=options.get("cache"),
        create=False,
        **{"lease_seconds": 1, "check_interval": 1, **options.get("settings", {})},
    )
    fast_sqlite(site)
    add_booking(site)
    ping = "pong"
    site.app.add_url_rule("/ping", view_func=lambda: ping, endpoint="ping")

    def in_between() -> None:
        time.sleep(options.get("delay", 0.0))
        if caught(folder / "stop-between"):
            stop()
        if not any(map(caught, folder.glob("pass-?"))) and caught(folder / "hang"):
            threading.Event().wait(3600)

    def inside() -> None:
        if caught(folder / "stop-inside"):
            stop()

    if options.get("backoff"):
        gate.BACKOFF_LIMIT = options["backoff"]
    if options.get("rows"):
        chunks_of(PLAIN, options["rows"])
    before_chunks(PLAIN, in_between)
    before(PLAIN, run.Recorder, "advance", inside)
    return site


if "FAULT_APP" in os.environ:
    fault_site = build(json.loads(os.environ["FAULT_APP"]), Path.cwd())
    app = fault_site.app
    if os.environ.get("FAULT_WARM"):  # as an app that reads its slots while it is imported
        app.test_client().get("/")
        fault_site.finish()
        if os.environ["FAULT_WARM"] == "dispose":
            with app.app_context():
                fault_site.db.engine.dispose()
