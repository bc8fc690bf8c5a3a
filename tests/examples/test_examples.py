"""The examples, as a newcomer runs them: copied into an empty folder, in processes of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Gunicorn

EXAMPLES = Path(__file__).parents[2] / "examples"


_COMMANDS = """
import shlex, sys
from flask.cli import cli
for command in sys.argv[1:]:
    cli.main(shlex.split(command), prog_name="flask", standalone_mode=False)
"""


class Visitor:
    """Somebody with a browser that keeps cookies and follows redirects."""

    def __init__(self, server: Gunicorn) -> None:
        self.server = server
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> str:
        """Return a page."""
        with self.opener.open(self.server.url + path, timeout=200) as answer:
            text: str = answer.read().decode()
        return text

    def post(self, path: str, **fields: str) -> str:
        """Send a form and return the page after it."""
        body = urllib.parse.urlencode(fields).encode()
        with self.opener.open(self.server.url + path, body, timeout=200) as answer:
            text: str = answer.read().decode()
        return text


@pytest.fixture
def flask(tmp_path: Path) -> Callable[..., str]:
    """Run ``flask …`` in the new folder, one command after the other in one process; return what they print."""

    def run(*commands: str) -> str:
        paths = (str(tmp_path), os.environ.get("PYTHONPATH"))
        done = subprocess.run(
            [sys.executable, "-c", _COMMANDS, *commands],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_single_file(
    tmp_path: Path, flask: Callable[..., str], gunicorn: Callable[..., Gunicorn]
) -> None:
    """The first request shows the week, a place can be booked once and given back, and later weeks are there."""
    shutil.copy(EXAMPLES / "club.py", tmp_path)
    flask("--app club add-offers")
    visitor, other = Visitor(server := gunicorn("club:app", workers=2)), Visitor(server)
    page = visitor.get("/")
    keys = re.findall(r'action="/book/([^"]+)"', page)
    assert len([key for key in keys if key.startswith("1@")]) in range(6 * 12, 8 * 12)
    # Two; seven days that hold a clock change are an hour more or less than a week.
    assert len([key for key in keys if key.startswith("2@")]) in (1, 2, 3)
    key = [key for key in keys if key.startswith("1@")][30]
    for booking in (visitor, visitor, other):
        answer = booking.post(f"/book/{key}")
    assert "Sorry" in answer
    mine = visitor.get("/")
    assert mine.count("Give back") == 2
    number = re.findall(r"/release/(\d+)", mine)[0]
    assert "Give back" not in other.post(f"/release/{number}")
    assert visitor.get("/").count("Give back") == 2
    assert visitor.post(f"/release/{number}").count("Give back") == 1
    assert "Booked" in other.post(f"/book/{key}")
    assert "Book, 2 left" in visitor.get("/week/500")


def test_the_factory(tmp_path: Path, flask: Callable[..., str], gunicorn: Callable[..., Gunicorn]) -> None:
    """Migrations make and keep the tables; a booking takes one credit, a form sent twice takes one, too."""
    shutil.copytree(
        EXAMPLES / "studio", tmp_path / "studio", ignore=shutil.ignore_patterns("__pycache__", "instance")
    )
    migrations = (
        "db init",
        "db migrate -m 'First tables'",
        "db upgrade",
        "db check",
    )  # nothing is left to migrate
    flask(*(f"--app studio {command}" for command in (*migrations, "add-classes")))
    (script,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert {"rolling_template", "class_slot", "user"} <= set(
        re.findall(r"create_table\('(\w+)'", script.read_text())
    )
    visitor = Visitor(gunicorn("studio:create_app()"))
    page = visitor.get("/")
    assert page.count("Yoga (all levels)") in (5, 6, 7)
    assert "Book," not in page
    visitor.post("/register", name="Ada", password="a long one")
    page = visitor.get("/")
    key = re.findall(r'action="/book/(1@[^"]+)"', page)[3]
    token = re.findall(rf'value="([^"]+-{key})"', page)[0]
    for _ in range(2):
        page = visitor.post(f"/book/{key}", token=token)
    assert "Ada, 9 credits" in page
    assert page.count("Give back") == 1
    assert "11 left" in page
    number = re.findall(r"/release/(\d+)", page)[0]
    assert "Ada, 10 credits" in visitor.post(f"/release/{number}")
    assert "sign in" in visitor.post("/sign-out")
    assert "do not belong together" in visitor.post("/sign-in", name="Ada", password="wrong")
    assert "Ada, 10 credits" in visitor.post("/sign-in", name="Ada", password="a long one")
