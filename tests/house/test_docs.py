"""The documentation is true: its snippets run, its tables name what exists, its first screen holds what it must."""

from __future__ import annotations

import importlib.util
import re
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click
import pytest
import time_machine
from snippets import NOW, PAGES, ROOT, Session, blocks_of

from flask_rollingslots import RollingSlots, SlotMixin, TemplateMixin
from flask_rollingslots.cli import slots_group
from flask_rollingslots.errors import ConfigError
from flask_rollingslots.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

README = (ROOT / "README.md").read_text("utf-8")
#: How many blocks may be for show only: what waits for a person, or needs what a test cannot have.
MOST_NOT_RUN = 12


@contextmanager
def _reader(page: Path, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Session]:
    """Do what a page says in an empty folder, and go on from there."""
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    patch.setenv("BROKER_URL", "memory://")  # nobody answers at the usual address
    session = Session(folder)
    with time_machine.travel(NOW, tick=True):
        try:
            for block in blocks_of(page):
                try:
                    session.run(block)
                except Exception as error:
                    error.add_note(f"in the block at {block}")
                    raise
            yield session
        finally:
            session.close()


def _load_generate() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load_generate()


# -- the snippets

#: Pages whose snippets need more than an empty folder, and the test that runs them instead.
OWN_TEST = {"http.md": "tests/api/test_http_docs.py"}
EXECUTED = [page for page in PAGES if page.name not in OWN_TEST]


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_snippets_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All code blocks of a page work, one after the other, in an empty folder, as a reader would paste them."""
    with _reader(page, tmp_path, monkeypatch):
        pass


def test_every_other_page_has_a_test_of_its_own() -> None:
    """A page that is left out above is run by a test that names it."""
    for name, test in OWN_TEST.items():
        if (ROOT / "docs" / name).exists():
            assert name in (ROOT / test).read_text("utf-8")


def test_few_blocks_are_for_show_only() -> None:
    """Nearly every block with code is executed; each that is not says why."""
    shown = [block for page in PAGES for block in blocks_of(page) if block.not_run]
    assert len(shown) <= MOST_NOT_RUN, [f"{block}: {block.not_run}" for block in shown]
    assert all(len(str(block.not_run)) > 10 for block in shown)


def test_the_frame_notices_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snippet that raises, a command that fails, and an output that differs are all noticed."""
    monkeypatch.chdir(tmp_path)
    wrong = [
        "```python\nassert 1 == 2\n```\n",
        "```sh\nfalse\n```\n",
        "```console\n$ echo yes\nno\n```\n",
        "```sh\nflask slots no-such-command\n```\n",
        "```sh\nmake no-such-target\n```\n",
        '```sh\npip install "Flask-RollingSlots[no_such_extra]"\n```\n',
        "```json\n{]\n```\n",
    ]
    for text in wrong:
        page = tmp_path / "page.md"
        page.write_text(text)
        (block,) = blocks_of(page)
        with pytest.raises((AssertionError, ValueError)):
            Session(tmp_path).run(block)


# -- README


def test_the_first_screen_holds_code_and_both_commands() -> None:
    """Runnable code begins by line 22, and both commands are within the first forty lines."""
    lines = README.splitlines()
    assert lines.index("```python") < 22
    first_screen = "\n".join(lines[:40])
    assert "make demo" in first_screen
    assert "make test" in first_screen
    assert "docs/images/week.png" in first_screen


def test_the_code_of_readme_shows_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets of README make a page with every slot of the week; one place is booked."""
    with _reader(ROOT / "README.md", tmp_path, monkeypatch) as session:
        lines = session.names["app"].test_client().get("/").get_json()
    assert len(lines) == 7 * 12
    assert lines[:2] == ["Mon 10:00 open, 1 left", "Mon 11:00 open, 2 left"]


def test_the_quickstart_makes_a_page_that_books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the quickstart there is a week of forms; two visitors book one, the third is told that it is full."""
    with _reader(ROOT / "docs" / "quickstart.md", tmp_path, monkeypatch):
        client = importlib.import_module("app").app.test_client()
        page = client.get("/").text
        assert page.count("<form") == 7 * 12
        assert page.count("2 left") == 7 * 12
        last = re.findall(r'action="(/book/[^"]+)"', page)[-1]
        answers = [
            client.post(last, data={"name": name}, follow_redirects=True).text for name in ("A", "B", "C")
        ]
        mine = re.findall(r'action="(/give-back/[^"]+)"', answers[2])
        late = client.post("/book/1@20260105T1000", data={"name": "A"}, follow_redirects=True).text
        late = client.post(re.findall(r'action="(/give-back/[^"]+)"', late)[0], follow_redirects=True).text
        back = client.post(mine[0], follow_redirects=True).text
        others = importlib.import_module("app").app.test_client()
        stolen = others.post(mine[1], follow_redirects=True).text
        gone = client.post("/book/1@20260104T1000", data={"name": "D"}, follow_redirects=True).text
        made_up = client.post("/book/nonsense", data={"name": "D"}, follow_redirects=True).text
        # The app of step 4, with the views and the imports of step 2.
        imports, _, views = (tmp_path / "app.py").read_text().partition("app = Flask(__name__)")
        views = views[views.index('@app.get("/")') :]
        (tmp_path / "own.py").write_text(f"{imports}\n{(tmp_path / 'studio.py').read_text()}\n{views}")
        own = importlib.import_module("own").app.test_client()
        page = own.get("/").text
        lessons = re.findall(r'action="(/book/[^"]+)"', page)
        taken = [own.post(lessons[0], data={"name": name}, follow_redirects=True).text for name in ("A", "B")]
    assert len(lessons) == 5 * 9
    assert ["Booked." in taken[0], "somebody was faster" in taken[1]] == [True, True]
    assert ["1 left" in answer for answer in answers] == [True, False, False]
    assert ["Booked." in answer for answer in answers] == [True, True, False]
    assert "somebody was faster" in answers[2]
    assert len(mine) == 2
    assert "Given back." in back
    assert "Too late: that was possible until Sun 04 Jan 09:00 UTC." in late
    assert ("Given back." in stolen, "give-back" in stolen) == (False, False)
    assert all("cannot be booked any more" in text for text in (gone, made_up))


# -- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link and image of a page is a file of the project."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    files = {target.partition("#")[0] for target in targets if "://" not in target}
    missing = {file for file in files if file and not (page.parent / file).exists()}
    assert missing == set()


# -- what is generated from the code


@pytest.mark.parametrize("page", sorted(set(generate.PAGES.values())))
def test_the_generated_parts_of_a_page_are_current(page: str) -> None:
    """Settings, commands, errors and signals stand in the page as the code says them, for readers of the file too."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    assert text == generate.filled(page), "run: python docs/generate.py --write"
    assert all(
        f"<!-- generated: {name} -->" in text for name, place in generate.PAGES.items() if place == page
    )


def test_every_setting_is_explained() -> None:
    """The generated page has a section for each setting, with its default and a meaning."""
    text = generate.settings()
    for each in fields(Settings):
        section = text.partition(f"## `{PREFIX}{each.name.upper()}`\n")[2].partition("\n## ")[0]
        assert f"Default: `{each.default!r}`" in section
        assert len(section.partition(f"`{each.default!r}`\n\n")[2].strip()) > 20, each.name
    assert set(generate.setting_meanings()) == {each.name for each in fields(Settings)}


def test_the_ranges_of_settings_are_as_explained() -> None:
    """Where a meaning says "from 1 to 60", both ends are taken and what lies beyond is refused."""
    checked = 0
    for name, meaning in generate.setting_meanings().items():
        found = re.search(r"; ([\d,]+) to ([\d,]+)", meaning)
        if found is None:
            continue
        low, high = (int(number.replace(",", "")) for number in found.groups())
        for value in (low, high):
            Settings.from_mapping({PREFIX + name.upper(): value})
        for value in (low - 1, high + 1):
            with pytest.raises(ConfigError):
                Settings.from_mapping({PREFIX + name.upper(): value})
        checked += 1
    assert checked >= 5


def test_every_command_is_explained(tmp_path: Path) -> None:
    """The generated page has each command with each option and its help text, and each command answers ``--help``."""
    from flask import Flask

    app = Flask("docs", instance_path=str(tmp_path))
    RollingSlots(app)
    text = generate.commands()
    for name in slots_group.list_commands(click.Context(slots_group)):
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        help_text = app.test_cli_runner().invoke(args=["slots", name, "--help"])
        assert help_text.exit_code == 0
        for option in re.findall(r"^  (--[\w-]+)", help_text.output, flags=re.MULTILINE):
            assert option in section or option == "--help", f"{name} {option}"


def test_every_error_and_signal_is_explained() -> None:
    """The generated tables have a row with a meaning for each error and each signal."""
    from flask_rollingslots import errors, signals

    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", generate.failures() + generate.notices(), re.MULTILINE))
    named = {
        each.__name__
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, Exception) and each.__module__ == errors.__name__
    }
    sent = {name for name, each in vars(signals).items() if isinstance(each, signals.NamedSignal)}
    assert set(rows) == named | sent
    assert all(len(row) > 20 for row in rows.values())


@pytest.mark.parametrize(("mixin", "title"), [(TemplateMixin, "a template"), (SlotMixin, "a slot")])
def test_every_column_is_explained(mixin: type[Any], title: str) -> None:
    """Each column of templates and slots is in the table of its page, but for what holds and queues keep inside."""
    page = (ROOT / "docs" / "templates.md").read_text("utf-8")
    section = page.partition(f"## Fields of {title}\n")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    columns = {name for name, hint in mixin.__annotations__.items() if "Mapped" in str(hint)}
    assert columns - named - {"holds", "hold_until", "queue", "waits_for"} == set()


def test_every_room_is_explained() -> None:
    """The generated table of the house has a row for each room, and for each file in it."""
    package = ROOT / "flask_rollingslots"
    there = {p.name for p in package.glob("[!_]*.py")} | {
        f"{p.parent.name}/" for p in package.glob("*/__init__.py")
    }
    there |= {f"{p.parent.name}/{p.name}" for p in package.glob("*/[!_]*.py")}
    rows = dict(re.findall(r"^\| `([\w/.]+)` \|(.*)\|$", generate.rooms(), re.MULTILINE))
    assert set(rows) == there
    assert all(len(row) > 20 for row in rows.values())


def test_the_architecture_names_what_exists() -> None:
    """Each dotted name of the page is a module, or something in one."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("<!-- end of rooms -->")[2]
    names = {name for name in re.findall(r"`((?:[a-z_]+\.)+\w+)`", page) if not name.endswith(".py")}
    assert len(names) > 8
    for name in names:
        parts, found = name.split("."), None
        for end in range(len(parts), 0, -1):
            dotted = ".".join(["flask_rollingslots", *parts[:end]])
            with suppress(ModuleNotFoundError):
                found = importlib.import_module(dotted)
                break
        assert found is not None, name
        for part in parts[end:]:
            found = getattr(found, part)


# -- hygiene

FORBIDDEN: dict[str, Callable[[str], bool]] = {
    "a machine path": lambda text: bool(re.search(r"(^|[^A-Za-z0-9_.])/(work|farm)/", text)),
    "a registry host": lambda text: bool(
        re.search(r"(?<!emit-)index-url|files\.pythonhosted|registry\.npmjs", text)
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_of_one_machine_is_in_the_repository(what: str) -> None:
    """No tracked text names a path of one machine or the host of a package registry."""
    folders = ("flask_rollingslots", "demo_app", "tests", "requirements", "benchmarks", "docs", "examples")
    files = [
        p
        for folder in folders
        for p in (ROOT / folder).rglob("*")
        if p.suffix in (".py", ".txt", ".in", ".html", ".md")
    ]
    files += [
        ROOT / name for name in ("README.md", "CHANGES.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")
    ]
    assert [str(p) for p in files if p.name != "test_docs.py" and FORBIDDEN[what](p.read_text("utf-8"))] == []
