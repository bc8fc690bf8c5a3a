"""Take one guard after the other out of a copy of the library: the fault tests have to turn red each time.

Run it with the interpreter of the tests: ``python tests/faults/mutation_audit.py``. It prints a table and ends with
code 0 only if the whole library is green and every mutant red. A patch that does not match exactly once is an error:
a guard that was rewritten has to be found again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
CRASH = "tests/topup/test_loop_crash.py"
CACHES = "tests/topup/test_loop_caches.py"
DECIDING = ("tests/series/test_deciding_machine.py::test_many_days",)
GREEN, RED = 0, 1  # exit codes of pytest


class Mutant(NamedTuple):
    """A guard, where it stands, what is put in its place, and the tests that have to notice."""

    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    #: More patches, as (file, old, new): what would notice before the tests do.
    more: tuple[tuple[str, str, str], ...] = ()
    #: For what shows by chance: as much of the whole form as makes it sure.
    scale: str = ""


MUTANTS = (
    Mutant(
        "unique constraint",
        "models/tables.py",
        '            sa.UniqueConstraint("series_id", "original_start",'
        ' name=f"uq_{table}_series_id_original_start"),\n',
        "",
        (f"{CRASH}::test_two_processes_without_a_lease[sqlite]",),
        (
            (
                "models/making.py",
                "    if not any({c.name for c in unique.columns}",
                "    if 0 and any({c.name for c in unique.columns}",
            ),
        ),
    ),
    Mutant(
        "fence",
        "topup/gate.py",
        "        if work.session.execute(statement).rowcount != 1:",
        "        if work.session.execute(statement).rowcount < 0:",
        (f"{CRASH}::test_zombie_is_fenced[sqlite-write]",),
    ),
    Mutant(
        "confirm after the work",
        "topup/runner.py",
        "            run.fill(*asked)\n",
        "            if lease is not None:\n"
        "                with statements.own_transaction(work.session):\n"
        "                    end = run.complete_until\n"
        "                    lease.confirm(self.work(), end, current)\n"
        "            run.fill(*asked)\n",
        ("tests/faults/test_faults_sweep.py::test_crash_at_every_named_point[sqlite]",),
    ),
    Mutant(
        "fail open",
        "topup/gate.py",
        '        value = self._call("get", key)\n',
        '        value = self._call("get", key)\n'
        "        if monotonic() < self._broken_until:\n"
        "            return float(self._longest)\n",
        (f"{CACHES}::test_value_that_is_no_hint_is_ignored",),
    ),
    Mutant(
        "own expiry in the cache",
        "topup/gate.py",
        "        return float(rest) if 0 < rest <= self._longest else 0.0\n",
        "        return float(self._longest)\n",
        (
            f"{CACHES}::test_value_that_is_no_hint_is_ignored",
            f"{CACHES}::test_value_beyond_the_interval_is_in_doubt",
        ),
    ),
    Mutant(
        "sorted writing",
        "filling/bulk.py",
        'KEY_ORDER = "template.series_id, time.original_start"\n',
        'KEY_ORDER = "random()"\n',
        ("tests/faults/test_faults_writers.py::test_writers_of_the_same_days[postgresql]",),
        scale="0.6",
    ),
    Mutant(
        "reset after a fork",
        "topup/executors.py",
        "    os.register_at_fork(after_in_child=_after_fork_in_child)\n",
        "    pass\n",
        (f"{CRASH}::test_child_after_a_fork_tops_up",),
    ),
    Mutant(
        "drain at exit",
        "topup/executors.py",
        "            atexit.register(_shutdown, weakref.ref(self))\n",
        "",
        ("tests/topup/test_loop_storm.py::test_worker_that_ends_in_the_middle[TERM-sync]",),
    ),
    Mutant(
        "conditional booking",
        "booking/wanted.py",
        "slot.booked + party <= slot.capacity,",
        "",
        ("tests/faults/test_faults_bookings.py::test_booking_race_with_kills[sqlite-3]",),
    ),
    Mutant(
        "capacity of stored slots",
        "planning.py",
        '        values["capacity"] = spec.capacity\n',
        "",
        DECIDING,
    ),
    Mutant(
        "days off by grid days",
        "planning.py",
        "return (first_of_day(original_start, spec.dtstart, spec.until_time) + spec.shift).date()",
        "return (original_start + spec.shift).date()",
        DECIDING,
    ),
    Mutant(
        "withdrawn is not sold",
        "booking/wanted.py",
        "slot.withdrawn.is_(None), ",
        "",
        DECIDING,
    ),
    Mutant(
        "template kept while booked",
        "booking/resources.py",
        '    if work.dialect == "sqlite":\n        return True\n    return work.session.scalar(how(',
        "    if how:\n        return True\n    return work.session.scalar(how(",
        ("tests/faults/test_faults_interleaving.py::test_two_calls_meet[postgresql-committed]",),
    ),
    Mutant(
        "trace for older views",
        "statements.py",
        '    if connection.get_isolation_level() == "REPEATABLE READ":\n',
        "    if connection is None:\n",
        ("tests/faults/test_faults_interleaving.py::test_two_calls_meet[postgresql-repeatable]",),
    ),
    Mutant(
        "withdrawn is shown",
        "models/states.py",
        "        if shown.withdrawn:\n",
        "        if False:\n",
        DECIDING,
    ),
    Mutant(
        "withdrawn in SQL",
        "models/tables.py",
        "            (cls.withdrawn.is_not(None), _literal(State.WITHDRAWN)),\n",
        "",
        DECIDING,
    ),
)


def copy(folder: Path) -> None:
    """Copy what the tests need."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("flask_rollingslots", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)


def mutate(folder: Path, mutant: Mutant) -> None:
    """Take one guard out; each patch has to match exactly once."""
    for file, old, new in ((mutant.file, mutant.old, mutant.new), *mutant.more):
        path = folder / "flask_rollingslots" / file
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"{mutant.guard}: the patch matches {text.count(old)} times in {file}")
        path.write_text(text.replace(old, new))


def check(folder: Path, tests: tuple[str, ...], scale: str) -> tuple[int, str]:
    """Run tests against the copy; return pytest's exit code and its last line."""
    environ = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environ.pop("FAULTS_SCALE", None)
    if scale:
        environ["FAULTS_SCALE"] = scale
    where = subprocess.run(
        [sys.executable, "-c", "import flask_rollingslots; print(flask_rollingslots.__file__)"],
        cwd=folder,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    if Path(where).resolve() != (folder / "flask_rollingslots" / "__init__.py").resolve():
        sys.exit(f"the copy is not what is imported, but {where}")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or [done.stderr[-300:]]
    return done.returncode, lines[-1]


def main() -> int:
    """Print the table."""
    names = sys.argv[1:]
    chosen = [m for m in MUTANTS if not names or any(name in m.guard for name in names)]
    red = 0
    for mutant in chosen:
        began = monotonic()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            copy(folder)
            whole, text = check(folder, mutant.tests, mutant.scale)
            if whole != GREEN:
                sys.stdout.write(f"{mutant.guard}: not green with the guard ({whole}): {text}\n")
                continue
            mutate(folder, mutant)
            code, text = check(folder, mutant.tests, mutant.scale)
        red += code == RED
        colour = {RED: "red", GREEN: "green"}.get(code, f"exit code {code}")
        sys.stdout.write(f"{mutant.guard:26} {colour:8} {monotonic() - began:5.1f} s  {text}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{red} of {len(chosen)} red\n")
    return 0 if red == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
