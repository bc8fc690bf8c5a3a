"""The examples by the machine's own clock: what holds at every moment. ``make moments`` chooses the moments."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blinker import ANY, NamedSignal

from flask_rollingslots import signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Copy an example into an empty folder and import it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def load(name: str) -> Any:
        source = EXAMPLES / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "instance"))
        else:
            shutil.copy(source, tmp_path)
        importlib.invalidate_caches()
        return importlib.import_module(source.stem)

    yield load
    for signal in (each for each in vars(signals).values() if isinstance(each, NamedSignal)):
        for receiver in [each for each in signal.receivers_for(ANY) if each.__module__ not in before]:
            signal.disconnect(receiver)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_the_single_file(example: Callable[[str], Any]) -> None:
    """Seven days are shown, of every day twelve hours at most; the last hour can be booked and given back."""
    app = example("club.py").app
    assert app.test_cli_runner().invoke(args=["add-offers"]).exit_code == 0
    client = app.test_client()
    hours = re.findall(r'action="/book/(1@[^"]+)"', client.get("/").text)
    assert len(hours) in range(7 * 12 - 1, 7 * 12 + 3)  # one runs; a clock change
    page = client.post(f"/book/{hours[-1]}", follow_redirects=True).text
    assert "Booked" in page
    (number,) = re.findall(r"/release/(\d+)", page)
    assert "Give back" not in client.post(f"/release/{number}", follow_redirects=True).text
    assert "Book, 2 left" in client.get("/week/500").text
    assert app.extensions["rollingslots"].topup.executor.join(20)


def test_the_factory(example: Callable[[str], Any]) -> None:
    """Two weeks of classes are shown; the last one can be booked and given back."""
    studio = example("studio")
    app = studio.create_app()
    with app.app_context():
        app.extensions["sqlalchemy"].create_all()
    assert app.test_cli_runner().invoke(args=["add-classes"]).exit_code == 0
    client = app.test_client()
    client.post("/register", data={"name": "Ada", "password": "a long one"})
    page = client.get("/").text
    assert page.count("Yoga (all levels)") in (5, 6, 7)
    key = re.findall(r'action="/book/(1@[^"]+)"', page)[-1]
    (token,) = re.findall(rf'value="([^"]+-{key})"', page)
    page = client.post(f"/book/{key}", data={"token": token}, follow_redirects=True).text
    assert "Ada, 9 credits" in page
    (number,) = re.findall(r"/release/(\d+)", page)
    assert "Ada, 10 credits" in client.post(f"/release/{number}", follow_redirects=True).text
    assert app.extensions["rollingslots"].topup.executor.join(20)
