"""The documentation is true: its snippets run, its tables name what exists, its first screen holds what it must."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from flask_rollingslots.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the code blocks of README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_readme_snippets_run(tmp_path: Path) -> None:
    """All Python snippets of README run one after the other, as a reader would paste them."""
    names: dict[str, Any] = {"__name__": "readme"}

    def in_folder(name: str, **options: Any) -> Flask:
        return Flask(name, instance_path=str(tmp_path), **options)

    for block in blocks("python"):
        source = block.replace("from flask import Flask\n", "")
        names["Flask"] = in_folder
        exec(compile(source, "README.md", "exec", dont_inherit=True), names)  # noqa: S102 (our own README)
        if "app" in names and "template" in names:
            names["app"].extensions["rollingslots"].topup.executor.join(10)
    lines = names["app"].test_client().get("/").get_json()
    assert len(lines) >= 6 * 12
    assert lines[-1].endswith("2 left")
    made = names["create_app"]()
    assert made.extensions["rollingslots"].settings.window_days == 14
    assert names["slots"].Slot.__tablename__ == "party_slot"
    names["app"].extensions["rollingslots"].topup.executor.join(10)


def test_the_first_screen_holds_code_and_both_commands() -> None:
    """Runnable code begins by line 22, and both commands are within the first forty lines."""
    lines = README.splitlines()
    assert lines.index("```python") < 22
    first_screen = "\n".join(lines[:40])
    assert "make demo" in first_screen
    assert "make test" in first_screen


def test_every_setting_is_in_the_table() -> None:
    """README's table names each setting with its default, and no other."""
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]+)`? \|", README, flags=re.MULTILINE))
    assert rows == {f.name.upper(): str(f.default).join(['"', '"'] * isinstance(f.default, str) or ["", ""])
                    for f in fields(Settings)}  # fmt: skip


@pytest.mark.parametrize("word", ["generate", "status", "templates", "preview", "init-db"])
def test_every_command_is_in_readme(word: str, tmp_path: Path) -> None:
    """Each ``flask slots`` command exists, has a help text, and README shows it."""
    from flask_rollingslots import RollingSlots

    app = Flask("docs", instance_path=str(tmp_path))
    RollingSlots(app)
    result = app.test_cli_runner().invoke(args=["slots", word, "--help"])
    assert result.exit_code == 0
    assert f"flask slots {word}" in README


def test_the_docs_know_every_command(tmp_path: Path) -> None:
    """No command exists that README does not show."""
    from flask_rollingslots.cli import slots_group

    assert {name for name in slots_group.commands if f"flask slots {name}" not in README} == set()


FORBIDDEN: dict[str, Callable[[str], bool]] = {
    "a machine path": lambda text: bool(re.search(r"(^|[^A-Za-z0-9_.])/(work|farm)/", text)),
    "a registry host": lambda text: bool(re.search(r"index-url|files\.pythonhosted|registry\.npmjs", text)),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_of_one_machine_is_in_the_repository(what: str) -> None:
    """No tracked text names a path of one machine or the host of a package registry."""
    folders = ("flask_rollingslots", "demo_app", "tests", "requirements", "benchmarks")
    files = [
        p
        for folder in folders
        for p in (ROOT / folder).rglob("*")
        if p.suffix in (".py", ".txt", ".in", ".html")
    ]
    files += [ROOT / name for name in ("README.md", "CHANGES.md", "Makefile", "pyproject.toml")]
    assert [str(p) for p in files if p.name != "test_docs.py" and FORBIDDEN[what](p.read_text())] == []
