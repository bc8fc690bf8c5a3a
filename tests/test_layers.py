"""The house keeps its floors: who may import whom, and how long a module and a function may be.

The table below is the plan of the house. A module imports only from floors below its own; `errors` and `values`
serve all floors. What is imported for type hints only does not count.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "flask_rollingslots"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE
MAX_MODULE = 700
MAX_FUNCTION = 60
MAX_INIT_APP = 40

# The rooms: a module, or a package whose modules may import each other (but not in a circle).
FLOORS = (
    {"errors", "values", "settings", "signals"},
    {"recurrence", "planning"},
    {"models", "statements", "context"},
    {
        "loading",
        "browsing",
        "filling",
        "series",
        "booking",
        "statistics",
        "subscriptions",
        "feeds",
    },
    {"topup", "queue", "pruning", "health", "exchange"},
    {"extension", "facade", "api", "cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FOR_ALL = {"errors", "values"}
# The only steps within a floor. A plan compares what rules promise with what is stored, so it expands rules; models
# know as what a column is stored. Filling releases the expired holds of slots that it moves. Workers elsewhere,
# pruning and health use the lease of the top-ups. Files hold rules and what they promise; whoever books a virtual slot
# makes its row first; whoever moves booked slots looks whether their resource is free; the facade and the command line
# are each one thing in several modules.
STEPS = {
    ("planning", "recurrence"),
    ("subscriptions", "feeds"),
    ("context", "statements"),
    ("booking", "browsing"),
    ("statistics", "browsing"),
    ("series", "booking"),
    ("filling", "booking"),
    ("filling", "loading"),
    ("queue", "topup"),
    ("pruning", "topup"),
    ("health", "topup"),
    ("browsing", "loading"),
    ("series", "loading"),
    ("series", "browsing"),
    ("exchange", "loading"),
    ("subscriptions", "loading"),
    ("facade", "extension"),
    ("cli", "extension"),
    ("api", "facade"),
}
# The only imports upwards or sideways that wait inside a function: the facade registers commands and blueprint.
LAZY = {("facade", "cli"), ("facade", "api")}

ON_FLOORS = {"flask": {5}, "sqlalchemy": {2, 3, 4, 5}}
IN_ROOMS = {
    "dateutil": {"recurrence"},
    "flask_sqlalchemy": {"extension"},
    "flask_caching": {"extension"},
    "cachelib": {"extension"},
    "click": {"cli"},
    "icalendar": {"feeds"},
    "celery": {"queue"},
    "pydantic": {"api"},
}


class Import(NamedTuple):
    """One imported name, resolved to a module as far as the files tell."""

    target: str
    line: int
    in_function: bool


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
    known = {*MODULES, *FLOOR}
    return [name if name.removeprefix(f"{PACKAGE}.") in known else base for name in full]


def imports_of(tree: ast.Module, module: str, is_package: bool) -> list[Import]:
    """Return all imports that happen at run time."""
    found: list[Import] = []

    def visit(node: ast.AST, in_function: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, in_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.extend(Import(name, node.lineno, in_function) for name in resolve(node, module, is_package))
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)  # type: ignore[attr-defined]
        for child in children:
            visit(child, inside)

    visit(tree, False)
    return found


def complaint(room: str, found: Import) -> str | None:
    """Say what is wrong with an import of a room, if anything."""
    top, _, rest = found.target.partition(".")
    if top != PACKAGE:
        if top in ON_FLOORS and FLOOR[room] not in ON_FLOORS[top]:
            return f"{top} belongs on floors {sorted(ON_FLOORS[top])}, not on {FLOOR[room]}"
        if top in IN_ROOMS and room not in IN_ROOMS[top]:
            return f"{top} belongs in {sorted(IN_ROOMS[top])}"
        return None
    other = rest.partition(".")[0]
    if not other:
        return "the package imports from itself through its own front door"
    if other == room:
        return None
    if room == "errors":
        return "errors imports nothing of ours"
    if other in FOR_ALL or (room, other) in STEPS or FLOOR[other] < FLOOR[room]:
        return None
    if (room, other) in LAZY and found.in_function:
        return None
    return f"{other} (floor {FLOOR[other]}) is not below {room} (floor {FLOOR[room]})"


def import_complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return what is wrong with the imports of a module."""
    room = module.partition(".")[0]
    imports = imports_of(ast.parse(source), module, is_package)
    found = [(item.line, complaint(room, item)) for item in imports]
    return [f"{module}:{line}: {text}" for line, text in found if text]


def size_complaints(source: str, module: str) -> list[str]:
    """Return what is too long in a module."""
    found = []
    lines = len(source.splitlines())
    if lines > MAX_MODULE:
        found.append(f"{module}: {lines} lines, at most {MAX_MODULE}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            limit = MAX_INIT_APP if node.name == "init_app" else MAX_FUNCTION
            if lines > limit:
                found.append(f"{module}:{node.lineno}: {node.name} has {lines} lines, at most {limit}")
    return found


def logic_complaints(source: str, module: str) -> list[str]:
    """Return what an `__init__` holds beside its docstring, imports and `__all__`.

    The package's own may import some of its names late, so that the pure rooms can be used without Flask.
    """

    def plain(node: ast.stmt) -> bool:
        if not module and is_type_checking(node):
            return True
        if not module and isinstance(node, ast.FunctionDef):
            return node.name == "__getattr__"
        if not module and isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LATER":
            return True
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


def test_every_module_has_a_room() -> None:
    """A module that the table does not know has no floor, and so no rule."""
    assert {name.partition(".")[0] for name in MODULES if name} <= set(FLOOR)


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_a_module_imports_only_from_below(module: str) -> None:
    """Imports go down, and each library is used only where it belongs."""
    path = MODULES[module]
    assert import_complaints(path.read_text(), module, path.name == "__init__.py") == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short(module: str) -> None:
    """Neither a module nor a function grows beyond its bound."""
    assert size_complaints(MODULES[module].read_text(), module) == []


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_a_package_front_holds_names_only(module: str) -> None:
    """An `__init__` imports names and lists them; it does nothing."""
    assert logic_complaints(MODULES[module].read_text(), module) == []


def test_no_import_cycles() -> None:
    """No module imports itself by way of others, not even inside a package or a function."""
    edges: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        found = imports_of(ast.parse(path.read_text()), module, path.name == "__init__.py")
        names = {item.target for item in found if item.target.startswith(f"{PACKAGE}.")}
        edges[module] = {name.removeprefix(f"{PACKAGE}.") for name in names} - {module}
    for room, other in LAZY:
        edges.get(room, set()).discard(other)
    assert circle(edges) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors", "from .values import Scope"),
        ("settings", "from .signals import filled"),
        ("planning", "from .models import make_models"),
        ("planning", "def f():\n    from . import browsing"),
        ("recurrence.parse", "from ..planning import plan"),
        ("recurrence.parse", "import sqlalchemy.orm"),
        ("booking", "from .topup import gate"),
        ("topup.run", "from flask_rollingslots import queue"),
        ("booking", "from flask_rollingslots import RollingSlots"),
        ("topup.gate", "from flask import current_app"),
        ("topup.gate", "from flask_caching import Cache"),
        ("health", "try:\n    import dateutil\nexcept ImportError:\n    pass"),
        ("facade", "from .cli import group"),
        ("extension", "def f():\n    from .facade import RollingSlots"),
        ("topup.gate", "from click import echo"),
        ("cli", "if TYPE_CHECKING:\n    pass\nelse:\n    import dateutil"),
    ],
)
def test_a_wrong_import_is_noticed(module: str, source: str) -> None:
    """The check itself sees each kind of wrong import."""
    assert import_complaints(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("values", "from .errors import InvalidKey"),
        ("recurrence.parse", "from ..errors import nearest\nfrom .rule import Rule\nimport dateutil.rrule"),
        ("planning", "from .recurrence import Recurrence"),
        ("planning", "if TYPE_CHECKING:\n    from .models import Models\n    import sqlalchemy"),
        (
            "topup.gate",
            "from flask_rollingslots import models\nfrom ..settings import Settings\nimport sqlalchemy",
        ),
        ("facade", "def init_app():\n    from .cli import group\n    from . import api"),
    ],
)
def test_a_right_import_passes(module: str, source: str) -> None:
    """The check has nothing against what the plan allows."""
    assert import_complaints(source, module) == []


def test_the_other_checks_notice_too() -> None:
    """Long modules, long functions, logic in a package's front and a circle are seen."""
    body = "    x = 1\n" * MAX_FUNCTION
    assert size_complaints("x = 1\n" * (MAX_MODULE + 1), "pruning")
    assert size_complaints(f"def f():\n{body}", "pruning")
    assert size_complaints("def init_app():\n" + "    x = 1\n" * MAX_INIT_APP, "extension")
    assert logic_complaints("VERSION = 1", "")
    assert circle({"a": {"b"}, "b": {"a"}})
