"""docs/http.md is true: its curl commands run, every call is among them, and its tables name what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from api_site import WRITE, ApiSite
from test_access import ROUTES
from test_served import _APP

from flask_rollingslots.api.problems import CODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Gunicorn

TEXT = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
SHELL = "".join(block for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL) if "curl" in block)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_every_example_works(sqlite_url: str, tmp_path: Path, gunicorn: Callable[..., Gunicorn]) -> None:
    """One after the other, as a reader would paste them, against a real server."""
    ApiSite(sqlite_url, tmp_path)
    (tmp_path / "served.py").write_text(_APP)
    env = {"DATABASE": sqlite_url, "TOKEN": WRITE, "LEASE": "30"}
    server = gunicorn("served:app", env=env, options=["--threads", "4"])
    script = f'set -e\ncurl() {{ command curl --fail-with-body --silent --show-error "$@"; }}\n{SHELL}'
    done = subprocess.run(
        ["bash", "-c", script],  # noqa: S607 (the reader's own shell)
        env={**os.environ, "API": f"{server.url}/api", "TOKEN": WRITE},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert '"status": "ok"' in done.stdout or '"status": "due"' in done.stdout


def test_every_call_has_an_example() -> None:
    """No route without a curl command."""
    commands = re.sub(r"\\\n", " ", SHELL).split("\ncurl ")
    called = set()
    for command in commands[1:]:
        found = re.search(r"\$API(/[^\"?]*)", command)
        assert found, command
        method = re.search(r"-X ([A-Z]+)", command)
        called.add((method[1] if method else "GET", re.sub(r"[0-9]+(@[0-9T]+)?", "N", found[1])))
    routed = {(r.method, re.sub(r"[0-9]+(@[0-9T]+)?", "N", r.path.partition("?")[0])) for r in ROUTES}
    assert {call for call in routed if "/feed" not in call[1]} - called == set()


def test_every_code_is_in_the_table() -> None:
    """The table of errors has each code at its status, and no other."""
    rows = re.findall(r"^\| ([45][0-9]{2}) \| (.*) \|$", TEXT, flags=re.MULTILINE)
    told = {
        code: int(status)
        for status, text in rows
        for code in re.findall(r"`([a-z]+_[a-z_]+|unauthorized|forbidden)`", text)
    }
    assert told == CODES


def test_the_limits_are_those_of_the_code() -> None:
    """The numbers of the table are the code's."""
    from flask_rollingslots.api import bodies, operations

    assert f"{bodies.LONGEST.days} days" in TEXT
    assert (operations.MAX_BODY, operations.MAX_DEPTH, operations.MAX_TEXT, operations.MAX_KEY) == (
        65_536,
        32,
        10_000,
        200,
    )
    assert "64 KB, nested 32 deep, texts of 10,000 characters, keys of 200" in TEXT
