"""Real workers of gunicorn: many visitors at once, and the end of a worker in the middle of its work."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import Site, week

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Gunicorn, Response

VISITORS = 200
WORKERS = 4
TEMPLATES = 3

# Time stands still at noon, so that the promise is the same for every worker. Who tries to take the lease
# says so in a file, and the first waits for the second: then two processes have really met.
STORM = """
import os, pathlib, threading
from loop_site import Clock, make_site
from flask_rollingslots.topup import runner

site = make_site(os.environ["DATABASE"], Clock(), cache={"CACHE_TYPE": "SimpleCache"}, create=False)
app = site.app
tries = pathlib.Path("tries")
acquire = runner.Runner.acquire

def tell(self):
    (tries / str(os.getpid())).touch()
    for _ in range(1000):
        if len(list(tries.iterdir())) > 1:
            break
        threading.Event().wait(0.01)
    return acquire(self)

runner.Runner.acquire = tell
"""

# Before its third chunk it waits to be told to stop: the stop then comes in the middle, whatever the speed.
SLOW = """
import os, pathlib
from loop_site import PLAIN, Clock, before_chunks, chunks_of, make_site

site = make_site(os.environ["DATABASE"], Clock(), create=False)
app, chunks = site.app, []

def wait_to_be_stopped():
    chunks.append(1)
    if len(chunks) == 3:
        pathlib.Path("arrived").touch()
        site.topup.executor.stopping.wait(60)

chunks_of(PLAIN, 100)
before_chunks(PLAIN, wait_to_be_stopped)
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the workers import the helpers of this folder."""
    folder = str(Path(__file__).resolve().parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH")))))


def storm(server: Gunicorn) -> list[Response]:
    """Let all visitors come at the same moment."""
    together, answers = threading.Barrier(VISITORS), []

    def visitor() -> None:
        together.wait()
        answers.append(server.request("/"))

    threads = [threading.Thread(target=visitor) for _ in range(VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def stormy(
    make: Callable[..., Site],
    database_url: str,
    gunicorn: Callable[..., Gunicorn],
    tmp_path: Path,
) -> tuple[Site, list[Response]]:
    """The answers of a storm on a fresh database, when everything has become calm."""
    site = make(database_url)
    for number in range(TEMPLATES):
        site.add_quietly(name=f"{number}")
    (tmp_path / "tries").mkdir()
    (tmp_path / "stormy.py").write_text(STORM)
    options = ("--worker-class", "gthread", "--threads", "8")
    server = gunicorn("stormy:app", workers=WORKERS, env={"DATABASE": database_url}, options=options)
    answers = storm(server)
    assert server.stop() == 0  # the workers end their top-ups first
    assert "top-up failed" not in server.process.output()
    return site, answers


@pytest.mark.slow  # the short form of the storm in tests/faults is the same with more checks
def test_storm_on_a_fresh_database(stormy: tuple[Site, list[Response]], tmp_path: Path) -> None:
    """200 first visitors at once on four workers: each sees the whole week, one run stores each slot once."""
    site, answers = stormy
    assert {answer.status for answer in answers} == {200}
    assert len(answers) == VISITORS
    promised = sorted(start.isoformat() for start in week() * TEMPLATES)
    pages = [json.loads(answer.body) for answer in answers]
    assert all(page["starts"] == promised for page in pages)
    assert len({page["pid"] for page in pages}) > 1, "only one worker answered"
    assert len(list((tmp_path / "tries").iterdir())) > 1, "only one worker tried"
    assert [site.starts(number + 1) for number in range(TEMPLATES)] == [week()] * TEMPLATES
    made = [(run.status, run.created) for run in site.runs() if run.created]
    assert made == [("confirmed", TEMPLATES * len(week()))]
    assert {run.status for run in site.runs()} == {"confirmed"}
    assert (site.lease().until_ms, site.lease().failures) == (0, 0)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("how", "worker"),
    [
        ("TERM", "sync"),
        ("HUP", "gthread"),
        pytest.param("TERM", "gthread", marks=pytest.mark.slow),
        pytest.param("HUP", "sync", marks=pytest.mark.slow),
    ],
)
def test_worker_that_ends_in_the_middle(
    make: Callable[..., Site],
    sqlite_url: str,
    gunicorn: Callable[..., Gunicorn],
    tmp_path: Path,
    worker: str,
    how: str,
) -> None:
    """A worker told to stop during a long fill ends by itself, gives the lease back, and the next visitor completes."""
    templates = 20
    site = make(sqlite_url)
    for number in range(templates):
        site.add_quietly(name=f"{number}")
    (tmp_path / "slow.py").write_text(SLOW)
    server = gunicorn("slow:app", env={"DATABASE": sqlite_url}, options=("--worker-class", worker))
    assert server.request("/plain").status == 200
    server.process.wait_until((tmp_path / "arrived").exists)
    if how == "HUP":
        os.kill(server.process.pid, signal.SIGHUP)
        server.wait_for_workers(1)
        server.process.wait_until(lambda: not Path(f"/proc/{server.worker_pids[0]}").exists())
    else:
        assert server.stop() == 0
    assert "SIGKILL" not in server.process.output()
    assert len(site.starts()) in (200, 300)  # whole chunks, and not all of them
    assert site.lease().until_ms == 0
    assert [run.status for run in site.runs()] == ["interrupted"]
    site.visit("/plain")
    assert [site.starts(number + 1) for number in range(templates)] == [week()] * templates


@pytest.mark.faults
def test_killed_worker_is_replaced(
    make: Callable[..., Site], sqlite_url: str, gunicorn: Callable[..., Gunicorn], tmp_path: Path
) -> None:
    """After kill -9 of the worker that filled, the next visitor after the lease completes the window."""
    site: Any = make(sqlite_url)
    for number in range(5):
        site.add_quietly(name=f"{number}")
    (tmp_path / "slow.py").write_text(SLOW)
    server = gunicorn("slow:app", env={"DATABASE": sqlite_url})
    server.request("/plain")
    server.process.wait_until((tmp_path / "arrived").exists)
    os.kill(server.worker_pids[0], signal.SIGKILL)
    server.wait_for_workers(1)
    assert len(site.starts()) == 200
    assert server.request("/").status == 200
    server.stop()
    site.clock.now = site.clock.now.replace(second=31)
    site.visit("/plain")
    assert [site.starts(number + 1) for number in range(5)] == [week()] * 5
    assert "running" not in {run.status for run in site.runs()}


@pytest.mark.faults
def test_worker_that_ends_after_each_request(
    make: Callable[..., Site], sqlite_url: str, gunicorn: Callable[..., Gunicorn], tmp_path: Path
) -> None:
    """With --max-requests 1 every request moves the fill on, and a few of them complete it."""
    templates, requests = 8, 0
    site = make(sqlite_url)
    for number in range(templates):
        site.add_quietly(name=f"{number}")
    (tmp_path / "calm.py").write_text(STORM.replace("runner.Runner.acquire = tell", ""))
    server = gunicorn("calm:app", env={"DATABASE": sqlite_url}, options=("--max-requests", "1"))
    while (before := len(site.starts())) < templates * len(week()):
        assert server.request("/plain").status == 200
        requests += 1
        server.wait_for_workers(1)
        assert len(site.starts()) > before, "the request moved nothing"
    assert 1 < requests <= 10
    server.stop()
    assert [site.starts(number + 1) for number in range(templates)] == [week()] * templates
