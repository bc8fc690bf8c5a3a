"""No quick test asserts how long something takes: on a busy machine it would fail, and nothing is broken.

What measures is marked ``slow``, lies in a file of the long proofs, or stands under ``if SCALE:``; all of that runs
with ``make faults``. A deadline is no measure: it stands in the loop that waits for something.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[1]
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "time", "time_ns"}
#: What the helpers of the fault tests have measured.
MEASURED = {"p99", "slowest", "heals", "heal"}
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
LOOPS = (ast.While, ast.For)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def reads(node: ast.AST) -> bool:
    """Say whether this reads a clock: ``monotonic()``, ``time.time()``; not ``moment.time()``."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr=name), args=[]):
            return name in CLOCKS
        case ast.Call(func=ast.Name(id=name), args=[]):
            return name in CLOCKS - {"time"}  # that alone is the one of datetime
    return False


def holds(node: ast.AST, names: set[str]) -> bool:
    """Say whether one of these names is read somewhere in an expression."""
    inside = ast.walk(node)
    return any(getattr(part, "id", getattr(part, "attr", None)) in names for part in inside)


def measures(node: ast.AST, readings: set[str], measured: set[str]) -> bool:
    """Say whether an expression holds the difference of two readings, or what was assigned from one."""
    differences = [
        part for part in ast.walk(node) if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Sub)
    ]
    return holds(node, measured) or any(
        holds(part, readings) or any(map(reads, ast.walk(part))) for part in differences
    )


def assigned(function: ast.AST) -> tuple[set[str], set[str]]:
    """Return the names that a function gives to readings of a clock, and to what it measured."""
    readings, measured, before = set[str](), set(MEASURED), -1
    while before < len(readings) + len(measured):
        before = len(readings) + len(measured)
        for node in ast.walk(function):
            match node:
                case ast.Assign(targets=targets, value=value):
                    pairs = [(target, value) for target in targets]
                    if isinstance(targets[0], ast.Tuple) and isinstance(value, ast.Tuple):
                        pairs = list(zip(targets[0].elts, value.elts, strict=False))
                case ast.NamedExpr(target=target, value=value) | ast.AugAssign(target=target, value=value):
                    pairs = [(target, value)]
                case ast.Call(func=ast.Attribute(value=ast.Name() as target, attr="append"), args=[value]):
                    pairs = [(target, value)]
                case _:
                    continue
            for target, value in pairs:
                names = {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
                if measures(value, readings, measured):
                    measured |= names
                elif any(map(reads, ast.walk(value))):
                    readings |= names
    return readings - measured, measured


def statements(node: ast.AST, in_loop: bool = False) -> Iterator[tuple[ast.Assert, bool]]:
    """Yield the assertions that run with the quick tests, and whether each stands in a loop."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Assert):
            yield child, in_loop
        elif isinstance(child, (*FUNCTIONS, ast.ClassDef)) and any(
            ast.unparse(mark).startswith("pytest.mark.slow") for mark in child.decorator_list
        ):
            continue
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "SCALE":
            yield from statements(ast.Module(child.orelse, []), in_loop)
        else:
            yield from statements(child, in_loop or isinstance(child, LOOPS))


def functions(node: ast.AST) -> Iterator[ast.AST]:
    """Yield functions and methods, but not what lies within them: it shares their names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield child
        elif isinstance(child, ast.ClassDef):
            yield from functions(child)


def timed(text: str) -> list[int]:
    """Return the lines of the assertions that say how long something takes."""
    found = set[int]()
    if not any(word in text for word in CLOCKS - {"time"} | MEASURED | {"time()"}):
        return []
    tree = ast.parse(text)
    for node in functions(tree):
        readings, measured = assigned(node)
        for statement, in_loop in statements(ast.Module([node], [])):
            for part in ast.walk(statement.test):
                if not (isinstance(part, ast.Compare) and any(isinstance(op, ORDERS) for op in part.ops)):
                    continue
                waits = in_loop and not measures(part, readings, measured)
                if measures(part, readings, measured) or (
                    not waits and (holds(part, readings) or any(map(reads, ast.walk(part))))
                ):
                    found.add(statement.lineno)
    return sorted(found)


def test_nothing_quick_asserts_a_time() -> None:
    """The assertions of the quick tests and their helpers compare no span of time that was measured."""
    found = [
        f"{path.relative_to(FOLDER)}:{line}"
        for path in sorted(FOLDER.rglob("*.py"))
        if not path.name.startswith("test_proof_")
        for line in timed(path.read_text("utf-8"))
    ]
    assert found == [], "assert the order of events, or mark the test as slow"


CASES = {
    "the difference itself": "began = monotonic()\n work()\n assert monotonic() - began < 10",
    "by name": "began = time.perf_counter()\n took = time.perf_counter() - began\n assert took <= 0.3",
    "two names": "began, before = time.time(), 3\n end = time.time()\n took = 1000 * (end - began)\n assert 5 > took",
    "of many": "times = []\n began = monotonic()\n times.append(monotonic() - began)\n assert max(times) < 1",
    "by a helper": "seconds = fleet.heal()\n assert seconds <= 3",
    "by its figures": "during = fleet.hammer('/', 1)\n assert during.p99 <= 20",
    "a deadline afterwards": "end = monotonic() + 1\n work()\n assert monotonic() < end",
}
FINE = {
    "a deadline of a wait": "end = monotonic() + 60\n while not ready():\n  assert monotonic() < end",
    "whether it came true": "seconds = fleet.heal()\n assert seconds is not None",
    "a time of day": "assert moment.time() < time(12)",
    "the long form": "seconds = fleet.heal()\n if SCALE:\n  assert seconds < 3",
}


@pytest.mark.parametrize("case", CASES)
def test_the_guard_sees(case: str) -> None:
    """Each way to assert a time is found."""
    assert timed(f"def test():\n {CASES[case]}\n") != []
    assert timed(f"@pytest.mark.slow\ndef test():\n {CASES[case]}\n") == []


@pytest.mark.parametrize("case", FINE)
def test_the_guard_passes(case: str) -> None:
    """Waits, times of day and the long forms are left alone."""
    assert timed(f"def test():\n {FINE[case]}\n") == []
