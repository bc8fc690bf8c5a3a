"""The loop that keeps slots filled: who starts it, who may write, and what is left when it dies.

`test_loop_*.py` have an app whose time they move (`loop_site.py`); `test_healing.py` compares promised with stored,
`test_executors.py` is about who does the work.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import Clock, Site, make_site

from flask_rollingslots import extension
from flask_rollingslots.topup import gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands at noon on a Monday; the machine's own clock moves with it."""
    clock = Clock()
    for module in (extension, gate):
        monkeypatch.setattr(module, "monotonic", lambda: monotonic() + clock.passed)
    return clock


@pytest.fixture
def make(clock: Clock) -> Iterator[Callable[..., Site]]:
    """Make sites on a database; their top-ups are over when the test ends."""
    made: list[Site] = []

    def make_one(url: str, **options: Any) -> Site:
        made.append(make_site(url, options.pop("clock", clock), **options))
        return made[-1]

    yield make_one
    for site in made:
        site.topup.executor.shutdown(60.0)


@pytest.fixture
def site(make: Callable[..., Site], sqlite_url: str) -> Site:
    """A site on a SQLite file."""
    return make(sqlite_url)
