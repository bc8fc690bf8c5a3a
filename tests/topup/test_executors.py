"""Executors: where the job runs, what it may do there, and how the environment chooses one."""

from __future__ import annotations

import sqlite3
import sys
import types
from typing import TYPE_CHECKING

import pytest
from helpers import A_WEEK, HALL, Clock, Site
from sqlalchemy import event, text

from flask_rollingslots.topup.executors import (
    AfterResponseExecutor,
    Executor,
    InlineExecutor,
    ThreadExecutor,
    make_executor,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Recording(Executor):
    """Runs nothing; remembers that it was asked."""

    jobs: list[Callable[[], None]]

    def __init__(self) -> None:
        self.jobs = []

    def submit(self, job: Callable[[], None]) -> bool:
        """Remember the job."""
        self.jobs.append(job)
        return True


@pytest.mark.parametrize(
    ("name", "environ", "kind"),
    [
        ("auto", {}, ThreadExecutor),
        ("auto", {"AWS_LAMBDA_FUNCTION_NAME": "f"}, InlineExecutor),
        ("auto", {"VERCEL": "1"}, InlineExecutor),
        ("thread", {"VERCEL": "1"}, ThreadExecutor),
        ("inline", {}, InlineExecutor),
        ("after_response", {}, AfterResponseExecutor),
        ("test_executors:Recording", {}, Recording),
    ],
)
def test_the_setting_and_the_environment_choose(
    name: str, environ: dict[str, str], kind: type[Executor]
) -> None:
    """``auto`` looks at the environment; any other name is taken at its word."""
    assert type(make_executor(name, environ)) is kind


@pytest.mark.parametrize(
    ("name", "background", "uses_cache", "chunks", "seconds", "is_queue"),
    [
        ("thread", True, True, None, None, False),
        ("inline", False, False, 1, 0.15, False),
        ("after_response", True, False, 1, 0.15, False),
        ("celery", True, True, None, None, True),
    ],
)
def test_each_executor_says_what_it_can(
    name: str, background: bool, uses_cache: bool, chunks: int | None, seconds: float | None, is_queue: bool
) -> None:
    """Whether the request goes on, whether a cache pays, how much one job may do, and who fills."""
    made = make_executor(name, {})
    assert (made.background, made.uses_cache, made.is_queue) == (background, uses_cache, is_queue)
    assert (made.budget.chunks, made.budget.seconds) == (chunks, seconds)


def test_auto_sees_uwsgi_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under uWSGI without threads ``auto`` works inside the requests; the module uwsgi is made up here."""
    uwsgi = types.ModuleType("uwsgi")
    uwsgi.opt = {"master": b"true"}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    assert isinstance(make_executor("auto", {}), InlineExecutor)
    uwsgi.opt = {b"enable-threads": b"true"}  # type: ignore[attr-defined]
    assert isinstance(make_executor("auto", {}), ThreadExecutor)


@pytest.mark.parametrize("executor", ["inline", "after_response"])
def test_work_inside_requests_completes_the_window(sqlite_url: str, tmp_path: Path, executor: str) -> None:
    """Without threads each request writes one chunk at most, and a bounded number of requests completes all."""
    config = {"ROLLINGSLOTS_ENABLED": True, "ROLLINGSLOTS_EXECUTOR": executor}
    site = Site(sqlite_url, tmp_path, Clock(), **config)
    templates = 30
    with site.app.app_context():
        for number in range(templates):
            site.add(name=f"{number}")
    counts, client = [], site.app.test_client()
    while not counts or counts[-1] < templates * A_WEEK:
        client.get("/").close()
        with site.app.app_context():
            counts.append(len(site.rows()))
        assert len(counts) == 1 or counts[-1] > counts[-2], "a request moved nothing"
    assert len(counts) <= 10
    with site.app.app_context():
        assert site.slots.health().status == "ok"


def test_after_response_waits_for_the_close(sqlite_url: str, tmp_path: Path) -> None:
    """Nothing is written before the server closes the response."""
    config = {"ROLLINGSLOTS_ENABLED": True, "ROLLINGSLOTS_EXECUTOR": "after_response"}
    site = Site(sqlite_url, tmp_path, Clock(), **config)
    with site.app.app_context():
        site.session.add(site.slots.Template(**HALL))
        site.session.commit()
    response = site.app.test_client().get("/", buffered=False)
    with site.app.app_context():
        assert site.rows() == []
    response.close()
    with site.app.app_context():
        assert len(site.rows()) == A_WEEK


def test_a_job_that_never_began_does_not_block(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a response is never closed, a later request starts the job all the same."""
    config = {"ROLLINGSLOTS_ENABLED": True, "ROLLINGSLOTS_EXECUTOR": "test_executors:Recording"}
    site = Site(sqlite_url, tmp_path, Clock(), **config)
    memory, executor, client = site.topup.memory, site.topup.executor, site.app.test_client()
    client.get("/")
    memory.next_check = 0.0
    client.get("/")
    assert len(executor.jobs) == 1
    memory._handed_over -= 31
    memory.next_check = 0.0
    client.get("/")
    assert len(executor.jobs) == 2


def ask(site: Site) -> None:
    """Visit a page when a look is due."""
    site.topup.memory.next_check = 0
    site.app.test_client().get("/").close()


@pytest.mark.parametrize("executor", ["inline", "after_response"])
def test_a_request_with_a_budget_does_not_wait_for_the_lease(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    """While another process tops up, a request that wants a new template filled goes on, and a later one fills it."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True, ROLLINGSLOTS_EXECUTOR=executor)
    waited: list[object] = []
    monkeypatch.setattr(site.topup.runner, "wait_for_lease", waited.append)
    with site.app.app_context():
        lease = site.topup.runner.acquire()
        site.add()
        ask(site)
        assert (waited, site.rows()) == ([], [])
        site.topup.runner.give_back(lease, KeyboardInterrupt())
        for _ in range(5):
            ask(site)
        site.session.rollback()
        assert len(site.rows()) == A_WEEK


@pytest.mark.parametrize("executor", ["inline", "after_response"])
def test_a_request_with_a_budget_waits_for_a_lock_as_long_as_its_budget(
    sqlite_url: str, tmp_path: Path, executor: str
) -> None:
    """While somebody holds SQLite's write lock, our transaction gives up after 150 ms; the app's own patience stays."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True, ROLLINGSLOTS_EXECUTOR=executor)
    with site.app.app_context():
        site.add()
        ask(site)
        engine = site.db.engine
        usual = site.session.execute(text("PRAGMA busy_timeout")).scalar()
        site.session.rollback()
    site.clock.turn(days=1)
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: said.append(call[2]))
    other = sqlite3.connect(str(engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ask(site)
    other.rollback()
    other.close()
    patience = [statement for statement in said if "busy_timeout" in statement]
    assert patience[:3] == [
        "PRAGMA busy_timeout",
        "PRAGMA busy_timeout = 150",
        f"PRAGMA busy_timeout = {usual}",
    ]
    for _ in range(5):
        ask(site)
    with site.app.app_context():
        assert site.session.execute(text("PRAGMA busy_timeout")).scalar() == usual
        assert site.slots.health().status == "ok"
