"""The house keeps its order: who may import whom, and how large rooms, files and functions may be.

The list below is the plan of the house. A room imports only from rooms that stand before it; what is imported for type
hints only counts too. Doors stand above all and call the facade.
"""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "flask_rollingslots"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE
MAX_ROOMS = 26
MAX_FILES = 118
# Before decisions were kept through every door it was 20,500, before waiting lists, limits and pools 26,500,
# before values for pages, checks of what is complete and late imports 30,500.
MAX_LINES = 33_300
MAX_FILE = 700
MAX_FUNCTION = 60

# The rooms, each a file or a folder, from the ground up.
ROOMS = (
    "errors", "lazy", "values", "settings", "signals",
    "recurrence", "planning", "models", "statements", "context", "views", "events",
    "browsing", "booking", "series", "filling", "topup", "queue",
    "pruning", "statistics", "health", "feeds",
    "extension", "facade",
)  # fmt: skip
# What machines, visitors and operators use; none knows of another.
DOORS = ("api", "pages", "cli")
# All that a door may import; of the models: the classes and the table of fields.
FOR_DOORS = ("errors", "values", "settings", "models", "facade")
LEVEL = {room: number for number, room in enumerate(ROOMS)} | dict.fromkeys(DOORS, len(ROOMS))
# Who may import a module by a name that is made at run time: what makes imports lazy; who loads doors, or files that
# import it in turn, and so knows them by name only; who loads what an app names in its settings.
BY_NAME = {"lazy", "extension", "cli.group", "topup.executors"}
# What the demo and the examples may import, for they show what a stranger would write.
FOR_APPS = ("", "errors", "values", "signals", "models", "recurrence", "facade")

# Which room may use which library. A room below all these is pure: no Flask, and no SQLAlchemy.
PURE = {"errors", "lazy", "values", "settings", "signals", "recurrence", "planning"}
USES = {
    "flask": {"extension", "facade", *DOORS},
    "werkzeug": {"extension", *DOORS},
    "dateutil": {"recurrence"},
    "flask_sqlalchemy": {"extension"},
    "flask_caching": {"extension"},
    "cachelib": {"extension"},
    "click": {"cli"},
    "icalendar": {"feeds"},
    "itsdangerous": {"feeds"},
    "celery": {"queue"},
    "pydantic": {"api"},
}


class Import(NamedTuple):
    """One imported name, resolved to a module as far as the files tell."""

    target: str
    line: int


def names_of(path: Path) -> str:
    """Return the dotted name of a module below the package; the package itself is empty."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {names_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    """Say whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def resolve(node: ast.ImportFrom, module: str, is_package: bool) -> list[str]:
    """Return the absolute names that `from … import …` asks for: submodules where the name is one."""
    base = node.module or ""
    if node.level:
        here = [PACKAGE, *filter(None, module.split("."))]
        here = here[: len(here) - node.level + is_package]
        base = ".".join([*here, *filter(None, [node.module])])
    if base.split(".")[0] != PACKAGE:
        return [base]
    full = [f"{base}.{alias.name}" for alias in node.names]
    known = {*MODULES, *LEVEL}
    return [name if name.removeprefix(f"{PACKAGE}.") in known else base for name in full]


def imports_of(tree: ast.AST, module: str, is_package: bool) -> list[Import]:
    """Return all imports, wherever they stand and whatever they are for."""
    found: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [Import(name, node.lineno) for name in resolve(node, module, is_package)]
    return found


def hints_of(tree: ast.Module) -> set[int]:
    """Return the lines that only type checkers read."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and is_type_checking(node)]
    return {
        line
        for block in blocks
        for part in block.body
        for line in range(part.lineno, (part.end_lineno or 0) + 1)
    }


def lazies_of(
    tree: ast.Module, module: str, is_package: bool
) -> tuple[dict[str, str], dict[str, str], list[int]]:
    """Return what is imported lazily, what type checkers read instead, and in which lines of code.

    Both by the name under which the module has it: the module, or the module and the name in it.
    """
    late, said, lines = dict[str, str](), dict[str, str](), list[int]()
    for block in tree.body:
        if not (isinstance(block, ast.If) and is_type_checking(block)):
            continue
        for node in block.body:
            if isinstance(node, ast.Import):
                said |= {alias.asname or alias.name: alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                whence = resolve(
                    ast.ImportFrom(node.module, [ast.alias("*")], node.level), module, is_package
                )[0]
                said |= {alias.asname or alias.name: f"{whence}.{alias.name}" for alias in node.names}
        for call, targets in calls_of(block.orelse, "lazy"):
            lines.append(call.lineno)
            names = [each.id for each in ast.walk(targets) if isinstance(each, ast.Name)]
            late |= dict(zip(names, map(absolute, texts_of(call)), strict=True))
    for call, _ in calls_of(tree.body, "lazy_names"):
        lines.append(call.lineno)
        places = call.args[1]
        assert isinstance(places, ast.Dict)
        for whence, names in zip(places.keys, places.values, strict=True):
            found = absolute(ast.literal_eval(whence or names))
            late |= {name: f"{found}.{name}" for name in ast.literal_eval(names).split()}
    return late, said, lines


def calls_of(body: list[ast.stmt], name: str) -> list[tuple[ast.Call, ast.expr]]:
    """Return the calls of a function whose values are given names, with the names."""
    return [
        (node.value, node.targets[0])
        for node in body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == name
    ]


def texts_of(call: ast.Call) -> list[str]:
    """Return the arguments of a call, all of them texts."""
    return [ast.literal_eval(each) for each in call.args]


def absolute(name: str) -> str:
    """Return a module's full name: one that begins with a dot is ours."""
    return f"{PACKAGE}{name}" if name.startswith(".") else name


def lazy_complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return which lazy imports hide something from the rules: each needs the plain one beside it, for hints."""
    tree = ast.parse(source)
    late, said, lines = lazies_of(tree, module, is_package)
    found = [f"{module}: {name} is {place}, but for hints {said.get(name)}" for name, place in late.items()
             if said.get(name) != place]  # fmt: skip
    for node in ast.walk(tree):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called in ("lazy", "lazy_names") and node.lineno not in lines:  # type: ignore[attr-defined]
            found.append(f"{module}:{node.lineno}: belongs into the else of TYPE_CHECKING")  # type: ignore[attr-defined]
        if called.endswith(("import_module", "__import__")) and module not in BY_NAME:
            found.append(f"{module}:{node.lineno}: an import by a name that no rule sees")  # type: ignore[attr-defined]
    return found


def complaint(room: str, found: Import, for_hints: bool) -> str | None:
    """Say what is wrong with an import of a room, if anything."""
    top, _, rest = found.target.partition(".")
    if top != PACKAGE:
        if for_hints:
            return None
        if top == "sqlalchemy" and (room in PURE or room in DOORS):
            return "sqlalchemy belongs in none of the pure rooms, and in no door"
        if top in USES and room not in USES[top]:
            return f"{top} belongs in {sorted(USES[top])}"
        return None
    other = rest.partition(".")[0]
    if not other:
        return "the package imports from itself through its own front door"
    if other == room:
        return None
    if room in DOORS and other not in FOR_DOORS:
        return f"a door calls the facade, and does not reach for {other}"
    return None if LEVEL[other] < LEVEL[room] else f"{other} does not stand below {room}"


def import_complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return what is wrong with the imports of a module."""
    room, tree = module.partition(".")[0], ast.parse(source)
    hints = hints_of(tree)
    late, _, _ = lazies_of(tree, module, is_package)
    items = [*imports_of(tree, module, is_package), *(Import(name, 0) for name in late.values())]
    found = [(item.line, complaint(room, item, item.line in hints)) for item in items]
    return [f"{module}:{line}: {text}" for line, text in found if text]


def size_complaints(source: str, module: str) -> list[str]:
    """Return what is too long in a module."""
    found = []
    lines = len(source.splitlines())
    if lines > MAX_FILE:
        found.append(f"{module}: {lines} lines, at most {MAX_FILE}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION:
                found.append(f"{module}:{node.lineno}: {node.name} has {lines} lines, at most {MAX_FUNCTION}")
    return found


def logic_complaints(source: str, module: str) -> list[str]:
    """Return what an `__init__` holds beside its docstring, imports and `__all__`.

    It may import some of its names lazily.
    """

    def plain(node: ast.stmt) -> bool:
        if is_type_checking(node):
            return True
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__getattr__":
            return isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "lazy_names"
        if isinstance(node, ast.Assign):
            return [ast.unparse(target) for target in node.targets] == ["__all__"]
        return isinstance(node, ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )

    return [f"{module}:{node.lineno}: more than names" for node in ast.parse(source).body if not plain(node)]


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return the modules of an import cycle, or nothing."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_house_is_as_planned() -> None:
    """Each room is in the plan, and neither rooms, files nor lines are more than it allows."""
    rooms = {name.partition(".")[0] for name in MODULES if name}
    assert rooms <= set(LEVEL)
    assert len(rooms) <= MAX_ROOMS
    assert len(MODULES) <= MAX_FILES
    assert sum(len(path.read_text().splitlines()) for path in MODULES.values()) <= MAX_LINES


def test_no_two_files_share_a_name() -> None:
    """Who searches for a file by its name finds one."""
    names = Counter(path.name for path in MODULES.values() if path.name != "__init__.py")
    assert [name for name, number in names.items() if number > 1] == []


def test_the_tests_mirror_the_rooms() -> None:
    """A folder of tests is a room, or says in its name what else is tested; its conftest says what is in it."""
    tests = ROOT.parent / "tests"
    files = [path for path in tests.rglob("*.py") if path.name not in ("__init__.py", "conftest.py")]
    names = Counter(path.name for path in files)
    assert [name for name, number in names.items() if number > 1] == []
    assert [path.name for path in files if path.name.startswith("test_") and path.parent == tests] == []
    folders = {path.parent for path in files if path.name.startswith("test_")}
    assert {folder.name for folder in folders} <= {*LEVEL, "demo", "examples", "faults", "house", "servers"}
    for folder in folders - {tests / "servers"}:
        said = ast.get_docstring(ast.parse((folder / "conftest.py").read_text()))
        assert said is not None
        assert "test_" in said, folder.name


@pytest.mark.parametrize("folder", ["demo_app", "examples"])
def test_apps_use_what_is_public(folder: str) -> None:
    """The demo and the examples show what a stranger would write."""
    for path in sorted((ROOT.parent / folder).rglob("*.py")):
        for item in imports_of(ast.parse(path.read_text()), "", False):
            top, _, rest = item.target.partition(".")
            assert top != PACKAGE or rest in FOR_APPS, f"{path.name}:{item.line}: {item.target}"


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_a_module_imports_only_from_below(module: str) -> None:
    """Imports go down, and each library is used only where it belongs."""
    path = MODULES[module]
    assert import_complaints(path.read_text(), module, path.name == "__init__.py") == []


@pytest.mark.parametrize("module", MODULES)
def test_a_lazy_import_is_seen_by_all_rules(module: str) -> None:
    """What is imported late is imported for type hints too, so that direction and circles are checked."""
    path = MODULES[module]
    assert lazy_complaints(path.read_text(), module, path.name == "__init__.py") == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short(module: str) -> None:
    """Neither a module nor a function grows beyond its bound."""
    assert size_complaints(MODULES[module].read_text(), module) == []


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_a_package_front_holds_names_only(module: str) -> None:
    """An `__init__` imports names and lists them; it does nothing."""
    assert logic_complaints(MODULES[module].read_text(), module) == []


def test_no_import_cycles() -> None:
    """No file imports itself by way of others: not within a room, not in a function, not for type hints."""
    edges: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        found = imports_of(ast.parse(path.read_text()), module, path.name == "__init__.py")
        names = {item.target for item in found if item.target.startswith(f"{PACKAGE}.")}
        edges[module] = {name.removeprefix(f"{PACKAGE}.") for name in names} - {module}
    assert circle(edges) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors", "from .values import Scope"),
        ("settings", "from .signals import filled"),
        ("planning", "from .models import make_models"),
        ("planning", "def f():\n    from . import browsing"),
        ("recurrence.rule", "from ..planning import plan"),
        ("recurrence.rule", "import sqlalchemy.orm"),
        ("booking", "from .topup import gate"),
        ("topup.run", "from flask_rollingslots import queue"),
        ("booking", "from flask_rollingslots import RollingSlots"),
        ("topup.gate", "from flask import current_app"),
        ("topup.gate", "from flask_caching import Cache"),
        ("health", "try:\n    import dateutil\nexcept ImportError:\n    pass"),
        ("facade", "from .cli import group"),
        ("facade", "def init_app():\n    from .cli import group"),
        ("extension", "def f():\n    from .facade import RollingSlots"),
        ("context", "if TYPE_CHECKING:\n    from .booking import book"),
        ("topup.gate", "from click import echo"),
        ("cli.group", "if TYPE_CHECKING:\n    pass\nelse:\n    import dateutil"),
        ("cli.keeping", "if TYPE_CHECKING:\n    from flask_rollingslots.series.endings import SeriesReport"),
        ("api.blueprint", "from flask_rollingslots.browsing import get"),
        ("api.blueprint", "from flask_rollingslots.cli import group"),
        ("cli.looking", "from sqlalchemy import select"),
    ],
)
def test_a_wrong_import_is_noticed(module: str, source: str) -> None:
    """The check itself sees each kind of wrong import."""
    assert import_complaints(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("values", "from .errors import InvalidKey"),
        ("recurrence.rule", "from ..errors import nearest\nfrom .rule import Rule\nimport dateutil.rrule"),
        ("planning", "from .recurrence import Recurrence"),
        ("planning", "if TYPE_CHECKING:\n    import sqlalchemy"),
        (
            "topup.gate",
            "from flask_rollingslots import models\nfrom ..settings import Settings\nimport sqlalchemy",
        ),
        ("cli.looking", "from flask_rollingslots.facade import current_slots\nimport click"),
    ],
)
def test_a_right_import_passes(module: str, source: str) -> None:
    """The check has nothing against what the plan allows."""
    assert import_complaints(source, module) == []


HINTS = "if TYPE_CHECKING:\n    from .. import feeds\nelse:\n    (feeds,) = lazy('.feeds')"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("facade.reads", HINTS.replace("'.feeds'", "'.health'")),
        ("facade.reads", "(feeds,) = lazy('.feeds')"),
        ("facade.reads", "def f():\n    (feeds,) = lazy('.feeds')"),
        ("facade.reads", "def f():\n    return import_module('flask_rollingslots.feeds')"),
        ("facade.reads", "found = importlib.import_module('flask_rollingslots.feeds')"),
        ("facade", "__getattr__ = lazy_names(__name__, {'.feeds': 'Calendar'})"),
    ],
)
def test_a_hidden_import_is_noticed(module: str, source: str) -> None:
    """A lazy import that hints do not show, or that is made elsewhere, is seen."""
    assert lazy_complaints(source, module, module == "facade")


def test_a_lazy_import_passes() -> None:
    """The check has nothing against a lazy import that stands where it belongs, but it keeps to the order of rooms."""
    assert lazy_complaints(HINTS, "facade.reads") == []
    assert import_complaints(HINTS, "facade.reads") == []
    assert import_complaints(HINTS, "filling.chunks")
    library = HINTS.replace("from .. import feeds", "import icalendar").replace("(feeds,)", "(icalendar,)")
    assert import_complaints(library.replace("'.feeds'", "'icalendar'"), "facade.reads")


def test_the_other_checks_notice_too() -> None:
    """Long modules, long functions, logic in a package's front and a circle are seen."""
    body = "    x = 1\n" * MAX_FUNCTION
    assert size_complaints("x = 1\n" * (MAX_FILE + 1), "pruning")
    assert size_complaints(f"def f():\n{body}", "pruning")
    assert logic_complaints("VERSION = 1", "")
    assert circle({"a": {"b"}, "b": {"a"}})
