"""``flask slots generate``: weeks and days since one, several tries, time limits and signals."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, Site

from flask_rollingslots.cli import generating
from flask_rollingslots.errors import TopUpBusy
from flask_rollingslots.topup import Runner, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result


class Terminal(Site):
    """A site with a terminal, on a Wednesday."""

    def run(self, *args: str) -> Result:
        """Run ``flask slots generate …``."""
        return self.app.test_cli_runner().invoke(args=["slots", "generate", *args])

    def fill(self, *names: str, **fields: Any) -> None:
        """Add templates."""
        with self.app.app_context():
            for name in names:
                self.add(name=name, **fields)

    def days(self) -> list[str]:
        """Return the local days that have rows."""
        with self.app.app_context():
            return sorted({row.original_start.date().isoformat() for row in self.rows()})

    def count(self) -> int:
        """Return the number of rows."""
        with self.app.app_context():
            return len(self.rows())


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Terminal:
    """A site on Wednesday, 7 January 2026."""
    site = Terminal(sqlite_url, tmp_path)
    site.clock.turn(days=2)
    return site


@pytest.mark.parametrize(
    ("args", "monday", "sunday"),
    [
        (["--week"], "2026-01-05", "2026-01-11"),
        (["--week", "2026-01-11"], "2026-01-05", "2026-01-11"),
        (["--week", "2026-01-12"], "2026-01-12", "2026-01-18"),
        (["--week=2026-01-01"], "2025-12-29", "2026-01-04"),
    ],
)
def test_a_week(site: Terminal, args: list[str], monday: str, sunday: str) -> None:
    """Monday to Sunday of each template's own calendar, past days too, and nothing else."""
    site.fill("Auckland", timezone="Pacific/Auckland")
    site.fill("Los Angeles", timezone="America/Los_Angeles")
    said = site.run(*args, "--dry-run")
    assert f"Week {monday} to {sunday}:" in said.stdout
    result = site.run(*args, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    promised = [
        day for day in range(7) if not (monday == "2025-12-29" and day < 3)
    ]  # the rule begins on 1 January
    assert (report["week_start"], report["week_end"]) == (monday, sunday)
    assert (report["created"], report["templates_processed"]) == (2 * 8 * len(promised), 2)
    assert (site.days()[0], site.days()[-1]) == (max(monday, "2026-01-01"), sunday)


def test_everything_since_a_day(site: Terminal) -> None:
    """From that day to the end of today."""
    site.fill("Hall")
    assert "56 slots created" in site.run("--since", "2026-01-01").stdout
    assert (site.days()[0], site.days()[-1]) == ("2026-01-01", "2026-01-07")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--week", "--days", "3"], "--days and --week: give one of them"),
        (["--since", "2026-01-01", "--weeks", "1"], "--weeks and --since: give one of them"),
        (["--week", "someday"], "YYYY-MM-DD"),
        (["--since", "2026-02-30"], "YYYY-MM-DD"),
        (["--since", "2027-01-01"], "not in the future"),
        (["--since", "1999-01-01"], "3,660 days"),
        (["--retries", "-1"], "0<=x<=100"),
        (["--timeout", "0"], "0<x<=86400"),
    ],
)
def test_what_makes_no_sense(site: Terminal, args: list[str], text: str) -> None:
    """Exit code 2 and one sentence; nothing is written."""
    site.fill("Hall")
    result = site.run(*args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert site.count() == 0


def failing(monkeypatch: pytest.MonkeyPatch, times: int, error: Exception) -> list[int]:
    """Let the first tries fail; return the list that counts them."""
    tries: list[int] = []
    generate = Runner.generate

    def try_it(self: Runner, *args: Any) -> Any:
        tries.append(len(tries) + 1)
        if len(tries) <= times:
            raise error
        return generate(self, *args)

    monkeypatch.setattr(Runner, "generate", try_it)
    monkeypatch.setattr(generating, "_LONGEST_PAUSE", 0.0)
    return tries


def test_failures_are_tried_again(site: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as was asked for, each told on standard error; then it works, or the last error is told."""
    site.fill("Hall")
    tries = failing(monkeypatch, 2, TopUpBusy())
    result = site.run("--retries", "2", "--json")
    assert (result.exit_code, tries) == (0, [1, 2, 3])
    assert json.loads(result.stdout)["created"] == A_WEEK
    assert result.stderr.count("next try in") == 2
    monkeypatch.undo()
    tries = failing(monkeypatch, 9, TopUpBusy())
    result = site.run("--retries", "1")
    assert (result.exit_code, tries) == (1, [1, 2])
    assert "Another top-up is under way" in result.stderr


def test_wrong_input_is_not_tried_again(site: Terminal) -> None:
    """No number of tries makes a template appear."""
    result = site.run("--retries", "5", "--template", "9")
    assert (result.exit_code, result.stderr.count("next try")) == (2, 0)


def in_the_second_chunk(monkeypatch: pytest.MonkeyPatch, act: Callable[[Any], object]) -> None:
    """Do something before the second chunk of a top-up is written."""
    write, chunks = run.Run._write, list[int]()

    def wait_and_write(self: Any, chunk: Any) -> None:
        chunks.append(1)
        if len(chunks) == 2:
            act(self)
        write(self, chunk)

    for name in ("_SMALLEST_CHUNK", "_FIRST_CHUNK", "_LARGEST_CHUNK"):
        monkeypatch.setattr(run, name, 10)
    monkeypatch.setattr(run.Run, "_write", wait_and_write)


def stopped(site: Terminal, *args: str) -> Result:
    """Run a command that is stopped, and check what it leaves behind: its chunks, no lease, and a run that says so."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    result = site.run(*args)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert "what is written stays" in result.stderr
    assert site.count() == 10
    with site.app.app_context():
        (last,) = site.slots.runs()
        assert last.status == "interrupted"
        assert site.slots.health().lease_owner is None
    return result


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_after_its_chunk(
    site: Terminal, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The exit code names the signal, what is written stays, and the next run does the rest."""
    site.fill("Hall")
    in_the_second_chunk(monkeypatch, lambda filler: os.kill(os.getpid(), number))
    assert stopped(site).exit_code == 128 + number
    monkeypatch.undo()
    assert site.run().exit_code == 0
    assert site.count() == A_WEEK


def test_a_time_limit_stops_it_after_its_chunk(site: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 124, as of timeout(1)."""
    site.fill("Hall")

    def wait_for_the_end(filler: Any) -> None:
        assert filler.must_stop.__self__._flag or filler.must_stop.__self__.wait(60)

    in_the_second_chunk(monkeypatch, wait_for_the_end)
    result = stopped(site, "--timeout", "0.05")
    assert result.exit_code == 124
    assert "out of time" in result.stderr


def test_a_time_limit_also_ends_the_waiting(site: Terminal) -> None:
    """While somebody else tops up nothing is written, and the lease stays theirs."""
    site.fill("Hall")
    with site.app.app_context():
        lease = site.topup.runner.acquire()
    result = site.run("--timeout", "0.05")
    assert (result.exit_code, site.count()) == (124, 0)
    with site.app.app_context():
        assert site.topup.runner.read_state().token == lease.token
