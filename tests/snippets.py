"""The pages of the documentation as programs: their code blocks run one after the other, as a reader would do it.

A page is one session in an empty folder, at the moment ``NOW``:

- ``python`` runs; a block that begins with ``# app.py`` is saved under that name first, and its names are there for
  the blocks after it.
- Any other block that begins with a comment that holds a file's name is saved, whatever its language.
- ``sh`` runs line by line and must succeed. In ``console`` each line after ``$`` runs, and what follows it is what it
  must print; ``...`` stands for anything.
- ``json`` must be JSON.
- A block below ``<!-- not run: reason -->`` is shown only.

What would install packages, or run until somebody stops it, is checked as far as that goes: extras and targets exist,
gunicorn loads the app.
"""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from flask import Flask, has_app_context
from flask.cli import cli as flask_command
from flask.globals import app_ctx

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
#: A Monday morning, long before any slot of that day begins.
NOW = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])

_FENCE = re.compile(r"^( *)(```+)([\w-]*)[ ]*\n(.*?)^\1\2[ ]*$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z", re.DOTALL)
_FILE = re.compile(r"(?:#|<!--|\{#|//)\s*([\w./-]+\.\w+)\s*(?:-->|#\})?\n")
_SETTING = re.compile(r"[A-Z_]+=")
_QUIET = {"TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Block:
    """One code block of a page."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def file(self) -> str | None:
        """The name under which a reader saves it, if it says one."""
        found = _FILE.match(self.text)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page."""
    text = page.read_text("utf-8")
    for found in _FENCE.finditer(text):
        before = text[: found.start()]
        marker = _NOT_RUN.search(before)
        yield Block(page, before.count("\n") + 1, found[3], textwrap.dedent(found[4]), marker and marker[1])


class Session:
    """A reader in an empty folder, who does what a page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "page"}
        self.imported: set[str] = set()

    def run(self, block: Block) -> None:
        """Do what one block says; raise what it raises."""
        if block.not_run:
            return
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            # JSON has no comments: there the first line only names the file.
            text = block.text.partition("\n")[2] if block.language == "json" else block.text
            path.write_text(text, "utf-8")
        act = getattr(self, f"_run_{block.language}", None)
        if act is not None:
            act(block)
        self._settle()

    def close(self) -> None:
        """Leave nothing behind."""
        self._settle()
        while has_app_context():  # a page may push one, for all of its blocks
            app_ctx._get_current_object().pop()  # type: ignore[attr-defined]
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(self.folder)):
                del sys.modules[name]

    def _settle(self) -> None:
        """Wait for the top-ups that the page started."""
        for app in [each for each in self.names.values() if isinstance(each, Flask)]:
            state = app.extensions.get("rollingslots")
            if state is not None and hasattr(state.topup.executor, "join"):
                assert state.topup.executor.join(60)

    # -- languages -----------------------------------------------------------------------------------------

    def _run_python(self, block: Block) -> None:
        if block.file is None:
            source = "\n" * block.line + block.text
            exec(compile(source, str(block.page), "exec", dont_inherit=True), self.names)  # noqa: S102 (our own)
            return
        compile(block.text, block.file, "exec", dont_inherit=True)
        module, _, ending = block.file.rpartition(".")
        if ending == "py" and module.isidentifier() and not module.startswith(("test_", "conftest")):
            sys.modules.pop(module, None)
            importlib.invalidate_caches()
            found = vars(importlib.import_module(module))
            self.imported.add(block.file)
            self.names.update({name: each for name, each in found.items() if not name.startswith("__")})

    def _run_json(self, block: Block) -> None:
        json.loads(block.text.partition("\n")[2] if block.file else block.text)

    def _run_sh(self, block: Block) -> None:
        for command in block.text.replace("\\\n", "").splitlines():
            self._command(command)

    def _run_console(self, block: Block) -> None:
        parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        for part in parts:
            command, _, expected = part.partition("\n")
            printed = self._command(command)
            # What is printed ends in one line end, or in none.
            same = doctest.OutputChecker().check_output(
                expected.rstrip("\n") + "\n", printed.rstrip("\n") + "\n", doctest.ELLIPSIS
            )
            assert same, f"{block}: {command}\nexpected:\n{expected}\nprinted:\n{printed}"

    # -- commands ------------------------------------------------------------------------------------------

    def _command(self, line: str) -> str:
        words = shlex.split(line, comments=True)
        words = words[next((n for n, word in enumerate(words) if not _SETTING.match(word)), len(words)) :]
        if not words:
            return ""
        of_the_project = words[1:2] == ["-m"] and words[2].partition(".")[0] == "benchmarks"
        if words[0].startswith(".") or of_the_project:
            return _check_files(words)
        if words[0] == "make":
            return _check_target(words)
        if "pip" in words[:3]:
            return _check_extras(line)
        if "venv" in words[:3] or words[-1].endswith("/activate"):
            return ""  # the environment of the tests is the reader's
        if words[0] == "python" and words[1] in self.imported:
            return ""  # that was its run
        if words[0] == "flask" and words[-1] == "run":
            words = [*words[:-1], "routes"]
        # Migrations set up logging for their whole process.
        if words[0] == "flask" and not {"|", ">", "&&", "db"} & set(words):
            return self._flask(words)
        if words[0] == "gunicorn":
            line = shlex.join(["gunicorn", "--check-config", *words[1:]])
        return self._bash(line)

    def _flask(self, words: list[str]) -> str:
        """Run ``flask …`` in this process: the same code without the start of another interpreter."""
        before = dict(os.environ), list(sys.path)
        try:
            result = CliRunner().invoke(flask_command, words[1:], prog_name="flask")
        finally:
            os.environ.clear()
            os.environ.update(before[0])
            sys.path[:] = before[1]
        assert result.exit_code == 0, f"{shlex.join(words)}: {result.output}{result.exception!r}"
        self._settle()
        return result.stdout

    def _bash(self, line: str) -> str:
        scripts = str(Path(sys.executable).parent)
        env = {**os.environ, **_QUIET, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-ec", line],  # noqa: S607
            cwd=self.folder, env=env, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


def _check_target(words: list[str]) -> str:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    asked = [word for word in words[1:] if "=" not in word]
    assert set(asked) <= set(targets), f"{shlex.join(words)}: the Makefile has no such target"
    return ""


def _check_files(words: list[str]) -> str:
    """What a contributor runs in the project's folder: the files that it names are there."""
    named = [word for word in words if "/" in word and not word.startswith(".venv")]
    assert all((ROOT / word).exists() for word in named), f"{shlex.join(words)}: there is no such file"
    if words[1:2] == ["-m"]:
        assert importlib.util.find_spec(words[2]) is not None, f"{shlex.join(words)}: there is no such module"
    return ""


def _check_extras(line: str) -> str:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for extras in re.findall(r"Flask-RollingSlots\[([\w,]+)\]", line):
        assert set(extras.split(",")) <= set(known), f"{line}: no such extra"
    return ""
