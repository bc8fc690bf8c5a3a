"""Executors: where the job runs, what it may do there, and how the environment chooses one."""

from __future__ import annotations

import sqlite3
import sys
import types
from datetime import datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, HALL, Clock, Site
from sqlalchemy import event, text

from flask_rollingslots import planning
from flask_rollingslots.topup import run
from flask_rollingslots.topup.executors import (
    AfterResponseExecutor,
    Budget,
    Executor,
    InlineExecutor,
    ThreadExecutor,
    make_executor,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


#: A slot each minute, around the clock.
MINUTELY: dict[str, Any] = {
    "every": timedelta(minutes=1),
    "duration": timedelta(minutes=1),
    "dtstart": datetime(2026, 1, 1),
    "until_time": time(0),
}


def looked_at(patch: pytest.MonkeyPatch) -> list[datetime]:
    """Gather the starts that planning looks at."""
    found: list[datetime] = []
    promised = planning.promised_parts

    def looking(*given: Any) -> Iterator[Any]:
        for part in promised(*given):
            lattice = part.lattice._replace(firsts=list(part.lattice.firsts))
            found.extend(original_start for original_start, _ in lattice.shown(part.ahead))
            yield part._replace(lattice=lattice)

    patch.setattr(planning, "promised_parts", looking)
    return found


def crowded(url: str, folder: Path, executor: str = "inline", **fields: Any) -> Site:
    """Return a site that fills in its requests, with a template of 1,440 slots a day."""
    site = Site(url, folder, Clock(), ROLLINGSLOTS_ENABLED=True, ROLLINGSLOTS_EXECUTOR=executor)
    with site.app.app_context():
        site.add(**MINUTELY | fields)
    site.topup.memory.next_check = 0
    return site


@pytest.mark.parametrize("kind", [InlineExecutor, AfterResponseExecutor])
def test_a_request_looks_at_a_part_of_a_crowded_window(
    sqlite_url: str, tmp_path: Path, kind: type[Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 34 days with a slot each minute a request whose time is over plans a day, and writes a chunk at most."""
    monkeypatch.setattr(kind, "budget", Budget(chunks=1, seconds=0.0))
    executor = "inline" if kind is InlineExecutor else "after_response"
    site, seen = crowded(sqlite_url, tmp_path, executor, window_days=34), looked_at(monkeypatch)
    counts = [0]
    for _ in range(12):
        seen.clear()
        ask(site)
        assert 0 < len(seen) <= 2 * 1440
        with site.app.app_context():
            counts.append(len(site.rows()))
    assert all(later - earlier <= 500 for earlier, later in pairwise(counts))
    assert counts[-1] > 2000


@pytest.mark.parametrize("seconds", [0.0, 0.15])
def test_requests_that_go_on_where_the_last_one_stopped_lose_and_double_nothing(
    sqlite_url: str, tmp_path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little time each request has, also in another process: the end is a full, confirmed window.

    What is lost after that is found by the next look, which begins at the beginning.
    """
    site = crowded(sqlite_url, tmp_path, window_days=3)
    config = {"ROLLINGSLOTS_ENABLED": True, "ROLLINGSLOTS_EXECUTOR": "inline"}
    other = Site(sqlite_url, tmp_path, site.clock, **config)
    monkeypatch.setattr(InlineExecutor, "budget", Budget(chunks=1, seconds=seconds))
    for _ in range(60):
        ask(site)
        ask(other)
        with site.app.app_context():
            if site.slots.health(known=True).status == "ok":
                break
    with site.app.app_context():
        starts = [row.original_start for row in site.rows()]
        assert len(starts) == len(set(starts)) == 3 * 1440 - 8 * 60 - 1
        assert site.slots.runs()[0].status == "confirmed"
        site.session.execute(text("DELETE FROM rolling_slot WHERE id % 100 = 0"))
        site.session.commit()
    site.clock.turn(hours=2)
    for _ in range(60):
        ask(site)
    with site.app.app_context():
        assert site.slots.health().status == "ok"


def test_a_request_settles_a_part_of_what_an_app_changed(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change through the ORM each request reads and writes a chunk of rows, and the last one says so."""
    site = crowded(sqlite_url, tmp_path, window_days=2)
    with site.app.app_context():
        site.slots.generate()
        site.slots.get_template(1).capacity = 3
        site.session.commit()
    monkeypatch.setattr(InlineExecutor, "budget", Budget(chunks=1, seconds=0.0))
    read, load = [], run.load_slots
    monkeypatch.setattr(
        run, "load_slots", lambda *given, **more: read.append(load(*given, **more)) or read[-1]
    )
    for _ in range(60):
        read.clear()
        ask(site)
        assert sum(map(len, read)) <= 200
        with site.app.app_context():
            template = site.slots.get_template(1)
            if template.settled_revision == template.revision:
                break
    with site.app.app_context():
        assert {row.capacity for row in site.rows()} == {3}
        assert len(site.rows()) == 2 * 1440 - 8 * 60 - 1


def test_what_was_left_out_is_remembered_until_the_end(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template that cannot be planned does not stop the others, and the run that ends the work says so."""
    site = crowded(sqlite_url, tmp_path, window_days=2)
    with site.app.app_context():
        site.add(name="Other")
        site.session.execute(text("UPDATE rolling_template SET timezone = 'No/Where' WHERE id = 1"))
        site.session.commit()
    monkeypatch.setattr(InlineExecutor, "budget", Budget(chunks=1, seconds=0.0))
    for _ in range(8):
        ask(site)
    with site.app.app_context():
        assert len(site.rows()) == A_WEEK
        failed = next(run for run in site.slots.runs() if run.status == "failed")
        assert "No/Where" in failed.error
        assert site.slots.health(known=True).status == "missing"


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
