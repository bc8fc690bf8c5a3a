"""What reads the clock, run as if it were another moment elsewhere: ``make moments``, or ``python -m tests.moments``.

Nobody lists the tests that this concerns. As a plugin of pytest (``-p tests.moments``) this file lets time-machine
travel to the real time, which changes nothing but that each reading of the clock then asks a traveller. So it notes
for which tests our code reads it (``CLOCK_NOTES``: the file). A test with a clock of its own, or that travels itself,
does not ask. In further runs, one for each zone, the plugin travels to the ``MOMENTS`` with those tests alone.

A process that a test starts keeps its own clock, so tests that start one cannot travel. They are left out, and named.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import time_machine

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "moments"
NOTES = BUILD / "notes"

#: In UTC, the zone of nearly all sites of the tests: where the process is in another zone, it has another day.
MOMENTS = {
    "31 December 23:50": "2027-12-31T23:50Z",
    "1 January 00:05": "2028-01-01T00:05Z",
    "29 February 22:30": "2028-02-29T22:30Z",
    "Sunday 23:59": "2027-06-13T23:59Z",
    "Madrid to summer, a minute before": "2027-03-28T00:59Z",
    "Madrid to summer, a minute after": "2027-03-28T01:01Z",
    "Madrid to winter, a minute before": "2027-10-31T00:59Z",
    "Madrid to winter, a minute after": "2027-10-31T01:01Z",
    "New York to summer, a minute before": "2027-03-14T06:59Z",
    "New York to summer, a minute after": "2027-03-14T07:01Z",
    "New York to winter, a minute before": "2027-11-07T05:59Z",
    "New York to winter, a minute after": "2027-11-07T06:01Z",
}
ZONES = ("UTC", "Pacific/Auckland", "America/Los_Angeles")
#: The short form: each moment once, in one zone after the other.
SHORT = [(moment, ZONES[number % 3]) for number, moment in enumerate(MOMENTS)]

#: Where code of others is: what it reads the clock for, such as the age of a connection, is its own affair.
_THEIRS = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
#: Fixtures that start a server whose clock no test asks, and what Python starts to learn on which machine it is.
_STORES, _HARMLESS = {"postgres", "mariadb", "valkey", "memcached"}, {"uname"}
_IMPORT = "while tests are collected"
_MOMENT = pytest.StashKey[str]()


# -- as a plugin -------------------------------------------------------------------------------------------------


class Notes:
    """Notes which test reads the clock, and which starts a process; what a wide fixture does, all its tests do."""

    def __init__(self, path: Path, traveller: Any) -> None:
        self._path, self._known, self._test = path, set[str](), _IMPORT
        self._fixture: str | None = None
        self._wide: dict[str, set[tuple[str, str]]] = {}  # fixture: what it did
        self._tell = traveller.time_ns
        traveller.time_ns = self._read
        sys.addaudithook(self._audit)

    def _read(self) -> Any:
        code = sys._getframe(1).f_code
        if not code.co_filename.startswith(_THEIRS):
            self._note("reads", f"{code.co_filename.removeprefix(f'{ROOT}{os.sep}')}, {code.co_name}")
        return self._tell()

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and self._fixture not in _STORES:
            program = Path(os.fsdecode(arguments[0])).name
            if program not in _HARMLESS:
                self._note("starts", program)

    def _note(self, did: str, what: str) -> None:
        if self._fixture is not None:
            self._wide.setdefault(self._fixture, set()).add((did, what))
        else:
            self._write(did, what)

    def _write(self, did: str, what: str) -> None:
        line = json.dumps([self._test, did, what])
        if line not in self._known:
            self._known.add(line)
            # One line at a time, for other processes write too.
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Know which test runs."""
        self._test = item.nodeid
        result = yield
        for fixture in self._wide.keys() & set(getattr(item, "fixturenames", ())):
            for did, what in self._wide[fixture]:
                self._write(did, f"{what} (fixture {fixture})")
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        """Know which fixture is set up, if it is one for more than one test."""
        before = self._fixture
        if fixturedef.scope != "function":
            self._fixture = fixturedef.argname
        try:
            return (yield)
        finally:
            self._fixture = before


class Travel:
    """Runs each test at each moment; it begins there, however long those before it took."""

    def __init__(self, moments: list[str], outcomes: Path) -> None:
        self._moments, self._moment, self._path = moments, moments[0], outcomes
        self._outcomes: dict[str, dict[str, bool]] = {moment: {} for moment in moments}
        # A number, for with a zone time-machine would set TZ itself.
        self._traveller = time_machine.travel(_seconds(moments[0])).start()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Have a twin of each test for each moment."""
        items[:] = [_twin(item, moment) for moment in self._moments for item in items]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Go there."""
        self._moment = item.stash[_MOMENT]
        self._traveller.move_to(_seconds(self._moment))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count."""
        if report.failed or (report.passed and report.when == "call"):
            found = self._outcomes[self._moment]
            found[report.nodeid] = found.get(report.nodeid, True) and report.passed

    def pytest_sessionfinish(self) -> None:
        """Tell the command."""
        self._path.write_text(json.dumps(self._outcomes), "utf-8")


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _twin(item: Any, moment: str) -> Any:
    twin = copy.copy(item)
    twin.stash, twin._report_sections = pytest.Stash(), []
    twin.stash[_MOMENT] = moment
    twin._initrequest()
    return twin


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Travel before anything of ours is imported."""
    moments, notes = os.environ.get("MOMENTS"), os.environ.get("CLOCK_NOTES")
    if moments:
        early_config.pluginmanager.register(Travel(moments.split(), Path(os.environ["MOMENTS_OUTCOMES"])))
    elif notes:
        path = Path(notes).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        early_config.pluginmanager.register(Notes(path, time_machine.travel(time.time()).start()))


# -- as a command ------------------------------------------------------------------------------------------------


def _pytest(arguments: Iterable[str], log: Path, **environment: str) -> int:
    command = [sys.executable, "-m", "pytest", "-p", "tests.moments", "-rfE", *arguments]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False,
            env={**os.environ, "PYTEST_TIMEOUT": "600", **environment},
        )  # fmt: skip
    return done.returncode


def take_notes() -> None:
    """Run the quick tests once, where and when we are. A browser has its own clock, so its tests are not run."""
    NOTES.unlink(missing_ok=True)
    workers = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    _pytest(("-m", "not slow and not browser", *workers), BUILD / "noting.log", CLOCK_NOTES=str(NOTES))


def read_notes() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return who reads the clock and can travel, and who cannot: test -> why."""
    did: dict[str, dict[str, set[str]]] = {"reads": {}, "starts": {}}
    for line in NOTES.read_text("utf-8").splitlines():
        test, what, why = json.loads(line)
        did[what].setdefault(test, set()).add(why)
    did["starts"].pop(_IMPORT, None)
    if not did["reads"]:
        sys.exit("No test reads the clock? See build/moments/noting.log.")
    if _IMPORT in did["reads"]:
        sys.exit(f"The clock is read {_IMPORT}, so nobody knows for which: {sorted(did['reads'][_IMPORT])}")
    starts = did["starts"]
    return {test: why for test, why in did["reads"].items() if test not in starts}, starts


def run(tests: Path, zone: str, names: Iterable[str]) -> dict[tuple[str, str], dict[str, bool]]:
    """Run tests in a zone at some moments; return whether each passed, for each moment and the zone."""
    log = BUILD / f"{zone.replace('/', '-')}.log"
    (outcomes := log.with_suffix(".json")).unlink(missing_ok=True)
    moments = {MOMENTS[name]: name for name in names}
    code = _pytest(
        (f"@{tests}", "-q", "-p", "no:cacheprovider"),
        log, MOMENTS=" ".join(moments), MOMENTS_OUTCOMES=str(outcomes), TZ=zone,
    )  # fmt: skip
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"pytest ended with {code}: {log.read_text('utf-8')[-2000:]}")
    return {(moments[each], zone): done for each, done in json.loads(outcomes.read_text("utf-8")).items()}


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def show(outcomes: Mapping[tuple[str, str], Mapping[str, bool]]) -> None:
    """Print the table, and where each test failed that did."""
    say(f"\n{'passed/failed':37}" + "".join(f"{zone:>21}" for zone in ZONES))
    for name in MOMENTS:
        cells = [list(outcomes.get((name, zone), {}).values()) for zone in ZONES]
        texts = [f"{cell.count(True)}/{cell.count(False)}" if cell else "" for cell in cells]
        say(f"{name:37}" + "".join(f"{text:>21}" for text in texts))
    for (name, zone), done in outcomes.items():
        for test in [test for test, passed in done.items() if not passed]:
            say(f"FAILED {test}: {name}, {zone}")


def main() -> int:
    """Note, travel and print; 1 if any test failed anywhere."""
    parser = argparse.ArgumentParser(prog="make moments", description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="each moment in one zone")
    parser.add_argument("--noted", action="store_true", help="with the notes that build/moments/notes holds")
    asked = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    if not asked.noted:
        take_notes()
    readers, others = read_notes()
    (tests := BUILD / "readers").write_text("".join(f"{test}\n" for test in sorted(readers)), "utf-8")
    left = [f"{test}: {', '.join(sorted(why))}\n" for test, why in sorted(others.items())]
    (BUILD / "left-out").write_text("".join(left), "utf-8")
    say(f"{len(readers)} tests read the clock: build/moments/readers")
    say(f"{len(left)} start a process, which keeps its own clock, and are left out: build/moments/left-out")
    cells = SHORT if asked.short else [(name, zone) for zone in ZONES for name in MOMENTS]
    outcomes: dict[tuple[str, str], dict[str, bool]] = {}
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(
            lambda zone: run(tests, zone, [name for name, at in cells if at == zone]), ZONES
        ):
            outcomes.update(done)
    show(outcomes)
    return int(not all(passed for done in outcomes.values() for passed in done.values()))


if __name__ == "__main__":
    sys.exit(main())
