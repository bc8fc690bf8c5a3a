"""The app of the Celery tests: the same for web processes, workers and the test. CELERY_SITE holds its settings."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, time, timedelta
from time import monotonic, sleep
from typing import Any

from celery import Celery, Task
from flask import Flask, jsonify
from flask_sqlalchemy import SQLAlchemy

from flask_rollingslots import RollingSlots
from flask_rollingslots.queue import celery as executor
from flask_rollingslots.topup import executors, run

#: When each site begins, whatever the time is; from then on its clock goes, the same in all its processes.
BEGIN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
#: Every hour of the day, a week from midnight to midnight: 168 slots of each template.
DAY = 24
WEEK = 7 * DAY


def round_the_clock(name: str) -> dict[str, Any]:
    """Return the fields of a template that promises 168 slots from tomorrow's midnight on."""
    return {
        "name": name,
        "rrule": "FREQ=DAILY",
        "dtstart": datetime.combine(BEGIN.date() + timedelta(days=1), time()),
        "timezone": "UTC",
        "duration": timedelta(hours=1),
        "every": timedelta(hours=1),
        "until_time": time(),
        "window_days": 8,
    }


def celery_init_app(app: Flask) -> Celery:
    """Make the app's Celery, as the documentation of Flask has it (but not as the current one of the process)."""

    class FlaskTask(Task):  # type: ignore[misc, type-arg]
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask, set_as_current=False)
    celery_app.config_from_object(app.config["CELERY"])
    app.extensions["celery"] = celery_app
    return celery_app


class CelerySite:
    """An app with its parts."""

    def __init__(
        self,
        url: str,
        broker: str,
        delay: float = 0.0,
        rows: int = 0,
        send_seconds: float = 60.0,
        began: float | None = None,
        **settings: Any,
    ) -> None:
        """Make the app.

        :param delay: seconds that each chunk waits: so that a kill meets somebody at work.
        :param rows: the size of the chunks, if it is fixed.
        :param send_seconds: how long the broker may take: a broker that works is not given up on a busy machine.
        :param began: when the site began, by the machine's monotonic clock; now, if another process did not begin it.
        """
        executors.SEND_SECONDS = executor.SEND_SECONDS = send_seconds
        executor._LIMITS.update(dict.fromkeys(executor._LIMITS, send_seconds / 2))
        since = monotonic() if began is None else began
        self.app = Flask("celery_site")
        # A broker that breaks is asked again soon, so that the tests need not wait for it.
        retries = {"interval_start": 0.05, "interval_step": 0.05, "interval_max": 0.2}
        self.app.config.update(
            SQLALCHEMY_DATABASE_URI=url,
            CELERY={
                "broker_url": broker,
                "task_ignore_result": True,
                "broker_connection_retry_on_startup": True,
                "broker_connection_retry": True,
                "broker_connection_max_retries": None,
                "broker_transport_options": {"socket_timeout": 5, "socket_connect_timeout": 5, **retries},
                "worker_prefetch_multiplier": 1,
            },
            **{
                f"ROLLINGSLOTS_{key.upper()}": value
                for key, value in {"executor": "celery", **settings}.items()
            },
        )
        self.db = SQLAlchemy(self.app)
        self.celery = celery_init_app(self.app)
        self.slots = RollingSlots(self.app, clock=lambda: BEGIN + timedelta(seconds=monotonic() - since))
        self.app.add_url_rule("/ping", view_func=lambda: jsonify(pid=os.getpid()), endpoint="ping")
        if rows:
            run._SMALLEST_CHUNK = run._FIRST_CHUNK = run._LARGEST_CHUNK = rows
        if delay:
            write = run.Run._write

            def slowly(filler: Any, chunk: Any) -> None:
                sleep(delay)
                write(filler, chunk)

            run.Run._write = slowly  # type: ignore[method-assign]


if "CELERY_SITE" in os.environ:
    site = CelerySite(**json.loads(os.environ["CELERY_SITE"]))
    app, celery_app = site.app, site.celery
