"""The house in figures: how large it is, what it repeats, and how many files a call passes.

Run as ``python tests/measure_house.py``; ``--json`` for a program. It reads the package beside it, so that an older
checkout is measured with ``--root``.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "flask_rollingslots"
HERE = Path(__file__).resolve().parent.parent
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
#: From so many functions on a value that is only handed on is a long way.
_LONG_WAY = 5


class Module(NamedTuple):
    """One file of the package."""

    name: str
    path: Path
    tree: ast.Module
    lines: int


def modules(root: Path) -> list[Module]:
    """Return the files of the package below a checkout."""
    found = []
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        text = path.read_text("utf-8")
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(text), len(text.splitlines())))
    return found


# --- size ---------------------------------------------------------------------------------------------------------


def size(found: list[Module]) -> dict[str, Any]:
    """Return how large the package is."""
    functions = [node for each in found for node in ast.walk(each.tree) if isinstance(node, _FUNCTIONS)]
    rooms = {each.name.split(".")[1] for each in found if "." in each.name}
    stems = Counter(each.path.stem for each in found if each.path.stem != "__init__")
    return {
        "lines": sum(each.lines for each in found),
        "modules": len(found),
        "rooms": len(rooms),
        "longest file": max(each.lines for each in found),
        "longest function": max((node.end_lineno or 0) - node.lineno + 1 for node in functions),
        "files that share a name": sum(number for number in stems.values() if number > 1),
    }


# --- imports ------------------------------------------------------------------------------------------------------


def imports(found: list[Module]) -> dict[str, set[str]]:
    """Return who imports whom, with what is imported for type hints only."""
    known = {each.name for each in found}
    edges: dict[str, set[str]] = defaultdict(set)
    for each in found:
        here = each.name.split(".") if each.path.stem == "__init__" else each.name.split(".")[:-1]
        for node in ast.walk(each.tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            base = [*here[: len(here) - node.level + 1]] if node.level else []
            full = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                target = f"{full}.{alias.name}" if f"{full}.{alias.name}" in known else full
                if target in known and target != each.name:
                    edges[each.name].add(target)
    return edges


def cycles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of files that import each other in a circle."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen, todo = set[str](), list(edges[start])
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += edges.get(name, ())
        reach[start] = seen
    rings = {frozenset({o for o in reach[n] if n in reach.get(o, ())}) for n in reach if n in reach[n]}
    return [set(ring) for ring in rings]


# --- what is handed down ------------------------------------------------------------------------------------------


def handed_down(found: list[Module]) -> dict[str, Any]:
    """Return how many functions take their surroundings one by one, and how many values are only passed on."""
    defs: dict[str, list[Any]] = defaultdict(list)
    for each in found:
        for node in ast.walk(each.tree):
            if isinstance(node, _FUNCTIONS):
                defs[node.name].append(node)
    unique = {name: nodes[0] for name, nodes in defs.items() if len(nodes) == 1}
    loose = [n for nodes in defs.values() for n in nodes if _names(n)[:2] == ["session", "models"]]
    steps: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for name, node in unique.items():
        for call in (each for each in ast.walk(node) if isinstance(each, ast.Call)):
            target = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if target in unique and target != name:
                for given, wanted in _arguments(call, unique[target]):
                    if given in _names(node) and given == wanted:
                        steps[name, given].add((target, wanted))

    def longest(place: tuple[str, str], seen: frozenset[tuple[str, str]] = frozenset()) -> int:
        further = [longest(s, seen | {place}) for s in steps.get(place, ()) if s not in seen]
        return 1 + max(further, default=0)

    ways = [longest(place) for place in steps]
    return {
        "functions that begin (session, models": len(loose),
        f"parameters passed unchanged through {_LONG_WAY} functions or more": sum(
            w >= _LONG_WAY for w in ways
        ),
    }


def _names(node: Any) -> list[str]:
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _arguments(call: ast.Call, target: Any) -> list[tuple[str, str]]:
    names = _names(target)
    pairs = [(a.id, n) for a, n in zip(call.args, names, strict=False) if isinstance(a, ast.Name)]
    return pairs + [(k.value.id, k.arg) for k in call.keywords if k.arg and isinstance(k.value, ast.Name)]


# --- what is said twice -------------------------------------------------------------------------------------------


def said_twice(found: list[Module]) -> dict[str, Any]:
    """Return in how many places a refusal is put together by hand, and how often one sentence is worded."""
    by_hand, missing, contexts = 0, 0, 0
    for each in found:
        for node in ast.walk(each.tree):
            if isinstance(node, ast.JoinedStr) and each.path.stem != "errors":
                by_hand += " = {}: expected " in _template(node)
            if isinstance(node, ast.JoinedStr):
                missing += "there is no such template" in _template(node)
            if isinstance(node, ast.Call):
                contexts += getattr(node.func, "id", "") in ("Desk", "Browser", "Work")
    return {
        "refusals put together by hand": by_hand,
        "wordings of 'there is no such template'": missing,
        "places that make the context of a call": contexts or 1,
    }


def _template(node: Any) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(_template(v) if isinstance(v, ast.Constant) else "{}" for v in node.values)


# --- walks --------------------------------------------------------------------------------------------------------

_WALKS = """
import json, sys, tempfile, threading
from datetime import UTC, datetime, time, timedelta
from flask import Flask
from flask_rollingslots import RollingSlots
import flask_rollingslots
root = flask_rollingslots.__file__.rsplit("/", 1)[0] + "/"
now = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
app = Flask("walks", instance_path=tempfile.mkdtemp())
token = "walks-" + "k" * 40
app.config.update(ROLLINGSLOTS_EXECUTOR="inline", ROLLINGSLOTS_ENABLED=False, ROLLINGSLOTS_API_PREFIX="/api",
                  ROLLINGSLOTS_API_TOKEN=token)
slots = RollingSlots(app, clock=lambda: now)
hall = dict(name="Hall", rrule="FREQ=DAILY", dtstart=datetime(2026, 1, 1, 10), timezone="UTC",
            duration=timedelta(hours=1), every=timedelta(hours=1), until_time=time(22), capacity=2)
files, calls, made = set(), [0], [0]
def look(frame, event, arg):
    if event == "call" and frame.f_code.co_filename.startswith(root):
        calls[0] += 1
        made[0] += frame.f_code.co_name == "planned_slot"
        name = frame.f_code.co_filename[len(root):]
        if frame.f_code.co_name != "<module>":
            files.add(name)
found = {}
def walk(name, act):
    files.clear(); calls[0] = made[0] = 0
    sys.setprofile(look); threading.setprofile(look)
    try:
        act()
    finally:
        sys.setprofile(None); threading.setprofile(None)
    found[name] = {"files": len(files), "calls": calls[0], "passed": sorted(files)}
with app.app_context():
    template = slots.create_template(**hall)
    slots.db.session.commit()
    series = template.id
    slots.generate()
    key = f"{series}@20260106T1000"
    def all_of(act):
        def run():
            act(); slots.db.session.commit()
        return run
    for warm in (True, False):
        day = "07" if warm else "08"
        walk("a page is read: between", lambda: slots.between(now, now + timedelta(days=7)))
        walk("somebody books: book", all_of(lambda: slots.book(f"{series}@202601{day}T1000", who="a")))
        walk("somebody cancels: cancel", all_of(lambda: slots.cancel(f"{series}@202601{day}T1200")))
        walk("somebody edits: edit, this and future", all_of(lambda: slots.edit(
            f"{series}@202601{day}T1000", "this_and_future", start=time(10, 5 if warm else 10))))
        walk("a top-up runs: generate", lambda: slots.generate(days=8 if warm else 9))
    client = app.test_client()
    def patch():
        answer = client.patch(f"/api/slots/{series}@20260109T1000?scope=this", json={"capacity": 5},
                              headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text
    patch(); walk("a program edits: PATCH /slots/<key>", patch)
    with_84 = slots.create_template(**(hall | {"name": "Rows"}))
    slots.db.session.commit(); slots.generate()
    walk("an edit of 84 rows", all_of(lambda: slots.edit(
        f"{with_84.id}@20260105T1000", "this_and_future", duration=timedelta(minutes=50))))
print(json.dumps(found))
"""


def walks(root: Path) -> dict[str, Any]:
    """Return which files of the package some calls pass, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _WALKS], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(root: Path) -> dict[str, Any]:
    """Return all figures of a checkout by name."""
    found = modules(root)
    rings = cycles(imports(found))
    figures: dict[str, Any] = {
        **size(found),
        "import cycles, type hints counted": len(rings),
        "files in the largest cycle": max(map(len, rings), default=0),
        **handed_down(found),
        **said_twice(found),
    }
    for name, walk in walks(root).items():
        figures[f"{name}: files"] = walk["files"]
        if name == "an edit of 84 rows":
            figures[f"{name}: calls"] = walk["calls"]
    return figures


def main() -> None:
    """Print the figures of this checkout, and of another one beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.add_argument(
        "--root", type=Path, default=HERE, help="another checkout, whose figures stand beside"
    )
    parser.add_argument("--walks", action="store_true", help="the files that each walk passes")
    wanted = parser.parse_args()
    if wanted.walks:
        for name, walk in walks(wanted.root).items():
            print(f"{name}: {walk['files']} files, {walk['calls']} calls")  # noqa: T201
            print("  " + ", ".join(walk["passed"]))  # noqa: T201
        return
    figures = measure(wanted.root)
    if wanted.json:
        print(json.dumps(figures, indent=2))  # noqa: T201
        return
    print("| what | figure |\n|---|---|")  # noqa: T201
    for name, figure in figures.items():
        print(f"| {name} | {figure:,} |")  # noqa: T201


if __name__ == "__main__":
    main()
