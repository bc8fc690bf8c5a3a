"""The same work on workers elsewhere: shared runs, Celery, and what may fail on the way.

`test_shared_runs.py` holds the queue in its hands (`queue_site.py`), `test_celery_workers.py` starts real workers
(`workers.py`, `celery_site.py`), `test_queue_faults.py` breaks them.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "faults"), str(FOLDER.parent / "topup")]

from queue_site import QueueSite  # noqa: E402
from servers import Unavailable  # noqa: E402
from workers import Broker, Crew, crew  # noqa: E402

from flask_rollingslots.queue import celery  # noqa: E402
from flask_rollingslots.topup import executors  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[QueueSite]:
    """A site with a queue, on each of the three databases; its context is pushed."""
    made = QueueSite(database_url, tmp_path)
    with made.app.app_context():
        yield made
        made.settle()


@pytest.fixture
def small_site(sqlite_url: str, tmp_path: Path) -> Iterator[QueueSite]:
    """The same on SQLite alone."""
    made = QueueSite(sqlite_url, tmp_path)
    with made.app.app_context():
        yield made
        made.settle()


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker that the test may restart."""
    try:
        made = Broker()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield made
    made.stop()


@pytest.fixture
def make_crew(
    postgres_url: str, tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Crew]]:
    """Make a crew on a new PostgreSQL database: `make_crew(lease_seconds=2, …)`."""
    for module in (executors, celery):  # a crew sets its own patience; here it is put back
        monkeypatch.setattr(module, "SEND_SECONDS", executors.SEND_SECONDS)
    monkeypatch.setattr(celery, "_LIMITS", dict(celery._LIMITS))
    with ExitStack() as stack:

        def make(**settings: Any) -> Crew:
            options = {"broker": broker.broker_url, **settings}
            return stack.enter_context(crew(postgres_url, folder=tmp_path, **options))

        yield make
