"""The booking site of `make demo`: visitors, owners and operators, by its own pages, with and without a browser.

`demo_site.py` and `demo_browser.py` are what the tests share; `test_demo_start.py` is about set-up and data.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from demo_browser import NOW, OBSERVE, Visits
from jinja2.bccache import Bucket, BytecodeCache
from servers import Gunicorn, Unavailable, chromium

from demo_app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask
    from flask.testing import FlaskClient


class _Compiled(BytecodeCache):
    """The compiled templates of all sites: without it each site compiles those that it shows anew."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take a template from here, if it is here."""
        if bucket.key in self._known:
            bucket.bytecode_from_string(self._known[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template."""
        self._known[bucket.key] = bucket.bytecode_to_string()


TEMPLATES = _Compiled()


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """The time stands still; ``clock.move_to`` moves it."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Flask]:
    """Make a site without sample bookings, whose slots nothing fills by itself, unless told otherwise."""

    def make(folder: str = "instance", **config: Any) -> Flask:
        settings = {
            "TESTING": True,
            "ROLLINGSLOTS_ENABLED": False,
            "DEMO_SAMPLES": False,
            "INSTANCE_PATH": tmp_path / folder,
        }
        app = create_app(settings | config)
        app.jinja_env.bytecode_cache = TEMPLATES
        return app

    return make


@pytest.fixture
def site(clock: time_machine.Traveller, make_site: Callable[..., Flask]) -> Flask:
    """A new site at the moment ``NOW``."""
    return make_site()


@pytest.fixture
def client(site: Flask) -> FlaskClient:
    """A visitor."""
    return site.test_client()


# -- in a real browser: one for each module, and one site for all ------------------------------------------------

#: The demo, whose clock is a number of seconds ahead of the machine's.
_SITE_THEN = """
import time
import time_machine
time_machine.travel(time.time() + {ahead}, tick=True).start()
from demo_app import create_app
"""


@pytest.fixture(scope="session")
def ahead() -> float:
    """How many seconds site and browser are ahead of the machine: they begin at ``NOW``, and their clocks go."""
    return NOW.timestamp() - time.time()


@pytest.fixture(scope="session")
def observe(ahead: float) -> str:
    """The script that comes before those of each page."""
    return f"{OBSERVE}Date.now = ((machine) => () => machine() + {ahead * 1000})(Date.now);"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, ahead: float) -> Iterator[str]:
    """The address of the site as a newcomer starts it at the moment ``NOW``, with its sample bookings."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "site_then.py").write_text(_SITE_THEN.format(ahead=ahead))
    outside = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DEMO_SAMPLES"), "")
    env = {**outside, "DEMO_INSTANCE_PATH": str(folder / "instance")}
    server = Gunicorn("site_then:create_app()", folder, workers=1, env=env, options=("--threads", "8"))
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. Not for the whole session: its event loop would be in the way of other tests."""
    try:
        with chromium() as found:
            yield found
    except Unavailable as reason:
        if "chromium" in os.environ.get("ROLLINGSLOTS_TEST_REQUIRE", "").split():
            raise
        pytest.skip(str(reason))


@pytest.fixture
def visit(browser: Any, base: str, observe: str) -> Iterator[Visits]:
    """Open pages as somebody new: ``visit("/", width=390)``; anything in the console fails the test."""
    visits = Visits(browser, base, observe)
    yield visits
    visits.leave()
    assert visits.problems == []
