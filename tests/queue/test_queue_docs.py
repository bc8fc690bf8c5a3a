"""The page about queues is true: its app runs on a real worker, its command and its recipe for RQ do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from celery_site import WEEK, CelerySite, round_the_clock
from rq import Queue, SimpleWorker
from servers.process import Process
from sqlalchemy import create_engine, text

from flask_rollingslots import ConfigError, RollingSlots

if TYPE_CHECKING:
    from servers import Valkey
    from workers import Broker

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "celery.md").read_text("utf-8")


def block(mark: str) -> str:
    """Return the code block of the page that holds a text."""
    found = re.findall(r"```\w+\n(.*?)```", PAGE, flags=re.DOTALL)
    return next(text for text in found if mark in text)


def environ(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a reader whose folder holds the page's modules."""
    (folder / "shop.py").write_text(block("# shop.py"))
    (folder / "rq_queue.py").write_text(block("# rq_queue.py"))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
        "PYTHONWARNINGS": "ignore",
        **more,
    }


def stored(url: str) -> tuple[int, list[str]]:
    """Return how many slots are stored, and how the runs ended."""
    engine = create_engine(url)
    with engine.connect() as connection:
        slots = connection.scalar(text("SELECT COUNT(*) FROM rolling_slot"))
        runs = connection.execute(text("SELECT status FROM rolling_run ORDER BY id")).scalars()
        found = int(slots or 0), list(runs)
    engine.dispose()
    return found


def test_the_page_as_a_reader_follows_it(postgres_url: str, broker: Broker, tmp_path: Path) -> None:
    """Save shop.py, start the worker, run the command: the workers fill, and the command shows and prints it."""
    env = environ(tmp_path, DATABASE_URL=postgres_url, BROKER_URL=broker.broker_url)
    command = block("celery -A").split()
    worker = Process(
        [sys.executable, "-m", *command, "--pool", "solo"], tmp_path / "worker.log", cwd=tmp_path, env=env
    )
    try:
        worker.wait_until(lambda: "ready." in worker.output())
        line = block("--distributed").split()
        done = subprocess.run(
            [sys.executable, "-m", *line, "--days", "30"],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
    finally:
        worker.stop()
    assert done.returncode == 0, done.stderr + worker.output()
    created = int(done.stdout.split()[0])
    slots, runs = stored(postgres_url)
    assert slots >= 29
    assert created + 7 >= slots, "but for what the new template's own top-up made"
    assert set(runs) == {"confirmed"}


def test_the_beat_line_is_a_visitor(sqlite_url: str) -> None:
    """The task that the line for beat names fills what is missing, on an app whose Celery runs at once."""
    site = CelerySite(sqlite_url, "memory://", enabled=False)
    names: dict[str, object] = {"app": site.app}
    exec(block("beat_schedule"), names)  # noqa: S102 (our own page)
    (entry,) = site.app.config["CELERY"]["beat_schedule"].values()
    with site.app.app_context():
        site.db.create_all()
        site.db.session.add(site.slots.Template(**round_the_clock("Hall")))
        site.db.session.commit()
    site.celery.tasks[entry["task"]].apply()
    assert stored(sqlite_url) == (WEEK, ["confirmed"])


def test_the_recipe_for_rq(
    sqlite_url: str, valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten lines and the import string: a visit's work arrives at an RQ worker, which fills."""
    for key, value in environ(tmp_path, DATABASE_URL=sqlite_url, REDIS_URL=valkey.url).items():
        monkeypatch.setenv(key, value)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = (tmp_path / "shop.py").read_text()
    (tmp_path / "shop.py").write_text(source.replace('= "celery"', '= "rq_queue:RQExecutor"'))
    for name in ("shop", "rq_queue"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import rq_queue
    import shop

    executor = shop.app.extensions["rollingslots"].topup.executor
    assert executor.join(60)
    assert stored(sqlite_url) == (0, ["waiting"])
    queue: Queue = rq_queue.queue
    assert len(queue) == 1
    assert SimpleWorker([queue], connection=queue.connection).work(burst=True)
    assert queue.failed_job_registry.count == 0
    slots, runs = stored(sqlite_url)
    assert slots >= 6
    assert runs == ["confirmed"]
    for name in ("shop", "rq_queue"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    queue.connection.flushdb()
    queue.connection.close()


def test_an_app_without_celery_is_told_what_to_move() -> None:
    """The executor "celery" on an app that has no Celery (yet) is refused, with the line to move."""
    from flask import Flask

    app = Flask("no_celery")
    app.config["ROLLINGSLOTS_EXECUTOR"] = "celery"
    with pytest.raises(ConfigError, match=r"has no Celery yet.*move the line"):
        RollingSlots(app)


def test_without_the_extra_it_is_named(tmp_path: Path) -> None:
    """Where Celery is not installed, the error names the extra; without the setting nothing needs it."""
    script = """
import sys
sys.modules["celery"] = None
from flask import Flask
from flask_rollingslots import RollingSlots, ConfigError
RollingSlots(Flask("plain", instance_path=sys.argv[1]))
app = Flask("wants", instance_path=sys.argv[1])
app.config["ROLLINGSLOTS_EXECUTOR"] = "celery"
try:
    RollingSlots(app)
except ConfigError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "install Flask-RollingSlots[celery]" in done.stdout
