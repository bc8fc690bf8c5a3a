"""What every benchmark stands on: two things measured alternately, and a bound for their ratio.

A benchmark is a generator of rows with the decorator ``@benchmark("name")``, in a module that ``__main__`` names.
It gets a ``Bench``, which lends a folder and private servers, and yields what ``compare`` returns::

    @benchmark("reading")
    def reading(bench: Bench) -> Iterator[Row]:
        '''What between() costs over the bare query.'''
        yield bench.compare("between(), a week", Side("between()", ours), Side("bare query", bare), at_most(2))
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

PAIRS = 9


class Skip(Exception):
    """A benchmark cannot be run here; the message says why."""


class DifferentWork(Exception):
    """Both sides of a comparison did not do the same, so it says nothing."""


class Taken(NamedTuple):
    """What a side returns that measures itself, such as one that asks other processes.

    :param amount: seconds, or what the row's unit is, of all calls together.
    :param value: what was done, for the check.
    """

    amount: float
    value: Any = None


@dataclass(frozen=True)
class Side:
    """One of two things to be measured.

    :param run: does the work; returns what was done, for the check, or a ``Taken``.
    :param before: makes ready for one run; not measured.
    :param calls: how many units of work one run does; figures are for one unit.
    :param clock: ``process_time`` for what only computes: what other programs do meanwhile is not in it.
    """

    name: str
    run: Callable[[], Any]
    before: Callable[[], object] = lambda: None
    calls: int = 1
    clock: Callable[[], float] = perf_counter

    def measure(self) -> Taken:
        """Run once; return what a unit of work takes, and what was done."""
        self.before()
        gc.collect(1)
        start = self.clock()
        found = self.run()
        seconds = self.clock() - start
        taken = found if isinstance(found, Taken) else Taken(seconds, found)
        return Taken(taken.amount / self.calls, taken.value)


@dataclass(frozen=True)
class Bound:
    """What must hold; ``kind`` says of what: ``ratio``, ``speed``, ``extra`` or ``ours``."""

    kind: str
    limit: float

    def holds(self, ours: float, extra: float, ratio: float) -> bool:
        """Whether medians keep the bound."""
        if self.kind == "speed":
            return self.limit * ratio <= 1
        return {"ratio": ratio, "extra": extra, "ours": ours}[self.kind] <= self.limit

    def text(self, unit: str) -> str:
        """Return the bound in words."""
        if self.kind in ("ratio", "speed"):
            return f"{'speed ≥' if self.kind == 'speed' else 'ratio ≤'} {self.limit:g}"
        return f"{'extra' if self.kind == 'extra' else 'ours'} ≤ {amount(self.limit, unit)}"


def at_most(ratio: float) -> Bound:
    """Ours takes at most so many times what the other takes."""
    return Bound("ratio", ratio)


def at_least(speed: float) -> Bound:
    """Ours is at least so many times as fast as the other (0.5: half as fast)."""
    return Bound("speed", speed)


def extra_at_most(amount: float) -> Bound:
    """Ours takes at most so much more than the other, in the row's unit."""
    return Bound("extra", amount)


def ours_at_most(amount: float) -> Bound:
    """Ours takes at most so much, in the row's unit, whatever the other takes."""
    return Bound("ours", amount)


@dataclass(frozen=True)
class Row:
    """One figure: medians of both sides, the median of the pairs' ratios (ours / other), and their spread.

    :param unit: ``s`` (seconds), ``B`` (bytes) or ``""`` (a plain number).
    :param low: first quartile of the ratios.
    :param high: third quartile.
    :param extra: median of the pairs' differences (ours - other).
    """

    benchmark: str
    what: str
    ours_name: str
    other_name: str
    unit: str
    ours: float
    other: float
    ratio: float
    low: float
    high: float
    extra: float
    pairs: int
    bound: Bound | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bound holds; ``None`` if the row only informs."""
        return None if self.bound is None else self.bound.holds(self.ours, self.extra, self.ratio)

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        names = (
            "benchmark",
            "what",
            "ours_name",
            "other_name",
            "unit",
            "ours",
            "other",
            "ratio",
            "low",
            "high",
        )
        return {
            **{name: getattr(self, name) for name in (*names, "extra", "pairs", "note")},
            "bound": self.bound.text(self.unit) if self.bound else None,
            "holds": self.holds,
        }


@dataclass
class Bench:
    """What a benchmark may use: a folder, servers, and ``compare``."""

    name: str
    folder: Path
    lend: Callable[[str], Any]
    pairs: int = PAIRS
    skipped: dict[str, str] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def server(self, kind: str) -> Any:
        """Return a private server, started when first asked for: ``Postgres``, ``MariaDB``, ``Valkey``, …

        :raises Skip: if this machine has none.
        """
        return self.lend(kind)

    def database(self, kind: str) -> str:
        """Return the URL of a new, empty database: ``sqlite``, ``postgresql`` or ``mariadb``.

        :raises Skip: if this machine has no such server.
        """
        if kind == "sqlite":
            return f"sqlite:///{Path(tempfile.mkdtemp(dir=self.folder)) / 'bench.db'}"
        server = self.server({"postgresql": "Postgres", "mariadb": "MariaDB"}[kind])
        url: str = self._stack.enter_context(server.database())
        return url

    def skip(self, what: str, reason: object) -> None:
        """Note that one part of a benchmark cannot be run here; the rest goes on."""
        self.skipped[what] = str(reason)

    def closing(self, callback: Callable[[], object]) -> None:
        """Call something when the benchmark has ended."""
        self._stack.callback(callback)

    def close(self) -> None:
        """Give everything back."""
        self._stack.close()

    def compare(
        self,
        what: str,
        ours: Side,
        other: Side,
        bound: Bound | None = None,
        *,
        check: Callable[[Any, Any], bool] | None = lambda mine, theirs: bool(mine == theirs),
        unit: str = "s",
        note: str = "",
        pairs: int | None = None,
    ) -> Row:
        """Measure two sides alternately, after a first run of both that shows that they do the same.

        :param check: gets what both sides did; ``None`` if ``compare`` cannot see it and the caller has checked.
        :raises DifferentWork: if the check fails.
        """
        mine, theirs = ours.measure().value, other.measure().value
        if check is not None and not check(mine, theirs):
            raise DifferentWork(f"{what}: {ours.name}: {str(mine)[:200]}; {other.name}: {str(theirs)[:200]}")
        gc.collect()
        taken = list(self._alternate(ours, other, max(pairs or 0, self.pairs)))
        ratios = [a / b for a, b in taken]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return Row(
            self.name, what, ours.name, other.name, unit,
            ours=statistics.median(a for a, _ in taken),
            other=statistics.median(b for _, b in taken),
            ratio=middle, low=low, high=high,
            extra=statistics.median(a - b for a, b in taken),
            pairs=len(taken), bound=bound, note=note,
        )  # fmt: skip

    def count(self, what: str, found: float, of: float, other_name: str, bound: Bound | None = None) -> Row:
        """Return a row for what is counted once, such as queries."""
        ratio, extra = found / of if of else 0.0, found - of
        return Row(self.name, what, "count", other_name, "", found, of, ratio, ratio, ratio, extra, 1, bound)

    @staticmethod
    def _alternate(ours: Side, other: Side, pairs: int) -> Iterator[tuple[float, float]]:
        for number in range(pairs):  # each goes first as often as the other
            if number % 2:
                theirs = other.measure().amount
                yield ours.measure().amount, theirs
            else:
                mine = ours.measure().amount
                yield mine, other.measure().amount


Function = Callable[[Bench], Iterator[Row]]
#: What can be run, by name, in the order of the table.
BENCHMARKS: dict[str, Function] = {}


def benchmark(name: str) -> Callable[[Function], Function]:
    """Register a benchmark; the first line of its docstring is what ``--list`` shows."""

    def register(function: Function) -> Function:
        BENCHMARKS[name] = function
        return function

    return register


def amount(value: float, unit: str) -> str:
    """Return a figure with its unit, three digits."""
    if unit == "":
        return f"{value:.3g}"
    steps: list[tuple[float, str]]
    if unit == "B":
        steps = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")]
    else:
        steps = [(1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]
    size, name = next((step for step in steps if abs(value) >= step[0]), steps[-1])
    return f"{_three_digits(value / size)} {name}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
