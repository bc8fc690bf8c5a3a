"""Races between processes: started together, heard line by line, some of them killed and started again."""

from __future__ import annotations

import os
import selectors
import signal
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import racer as nest
from forks import FINISHED, ended, forked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DEADLINE = 300  # seconds


class Racer:
    """One process, as seen from here: what it says is read as it comes."""

    def __init__(self, who: str, keys: list[str]) -> None:
        self.who, self.keys, self.heard, self.pid = who, keys, 0, 0
        self.hears, self._order = os.pipe()
        self.out, self.says = os.pipe()
        self._rest = b""

    def lines(self) -> list[str]:
        """Wait for output; return what is complete of it. An empty list: nobody is left who could speak."""
        while chunk := os.read(self.out, 65536):
            *complete, self._rest = (self._rest + chunk).split(b"\n")
            if complete:
                return [line.decode() for line in complete]
        return []

    def meet(self) -> None:
        """Wait until it is ready."""
        (line,) = self.lines()
        word, pid = line.split()
        assert word == "ready", line
        self.pid = int(pid)

    def go(self) -> None:
        """Let it run, or go on."""
        os.write(self._order, b"go\n")

    def kill(self) -> None:
        """Kill it wherever it is."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give its pipes back."""
        for descriptor in (self._order, self.out):
            os.close(descriptor)


@dataclass
class Race:
    """What several processes are to do at the same time, and what they reported.

    :param lanes: the keys of each process, in order.
    :param laps: nobody goes for the next key before all are done with this one.
    :param kills: how many processes are killed on the way; another one goes on in the name of each.
    :param booked: (who, key) -> the booking that was reported after the commit.
    """

    url: str
    folder: Path
    lanes: Sequence[list[str]]
    way: str = "book"
    laps: bool = False
    kills: int = 0
    booked: dict[tuple[str, str], int] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    _killed: int = 0

    def run(self) -> Race:
        """Start them, let them go at the same moment, and listen until all are done."""
        self._racers = [Racer(f"racer {n}", keys) for n, keys in enumerate(self.lanes)]
        orders, self._orders = os.pipe()

        def hatch() -> None:
            os.close(self._orders)
            for racer in self._racers:
                racer.close()
            nest.main([self._task(racer) for racer in self._racers], os.fdopen(orders))

        pid = forked(hatch, DEADLINE + 60)
        for descriptor in (orders, *(fd for racer in self._racers for fd in (racer.hears, racer.says))):
            os.close(descriptor)
        try:
            self._race()
        finally:
            os.close(self._orders)
            code = ended(pid)
            for racer in self._racers:
                racer.close()
        assert (code, self._killed) == (FINISHED, self.kills)
        return self

    def _task(self, racer: Racer) -> dict[str, Any]:
        options = {"connect_args": {"timeout": 30}} if self.url.startswith("sqlite") else {}
        return {
            "url": self.url,
            "folder": str(self.folder),
            "who": racer.who,
            "keys": racer.keys,
            "way": self.way,
            "laps": self.laps,
            "hears": racer.hears,
            "says": racer.says,
            "options": options,
        }

    def _race(self) -> None:
        for racer in self._racers:
            racer.meet()
        for racer in self._racers:
            racer.go()
        end = monotonic() + DEADLINE
        with selectors.DefaultSelector() as selector:
            for racer in self._racers:
                selector.register(racer.out, selectors.EVENT_READ, racer)
            lap = 0
            while selector.get_map():
                for key, _ in selector.select(timeout=5.0):
                    if self._listen(key.data):
                        selector.unregister(key.fileobj)
                if self.laps and all(racer.heard > lap for racer in self._racers):
                    lap += 1
                    for racer in self._racers:
                        racer.go()
                assert monotonic() < end, "the race does not end"

    def _listen(self, racer: Racer) -> bool:
        """Take in what a racer says; return whether it is done."""
        lines = racer.lines()
        assert lines, f"{racer.who} is gone"
        self._note(racer, lines)
        if lines[-1] == "done":
            return True
        if self._killed < self.kills and racer.heard > len(racer.keys) * (self._killed % 7) // 10:
            self._replace(racer)
        return False

    def _replace(self, racer: Racer) -> None:
        racer.kill()
        self._killed += 1
        os.write(self._orders, f"{racer.who}\n".encode())
        lines: list[str] = []
        while "dead" not in lines:
            lines += racer.lines()
        dead = lines.index("dead")
        self._note(racer, [line for line in lines[:dead] if line != "done"])
        if lines[dead + 1 :]:
            racer.pid = int(lines[dead + 1].split()[1])
        else:
            racer.meet()
        racer.heard = 0
        racer.go()

    def _note(self, racer: Racer, lines: list[str]) -> None:
        for line in lines:
            word, *rest = line.split()
            assert word != "failed", line
            self.outcomes[word] += 1
            racer.heard += word not in ("again", "done")
            if word == "booked":
                known = self.booked.setdefault((racer.who, rest[0]), int(rest[1]))
                assert known == int(rest[1]), f"{racer.who} was given two bookings for one request"
            elif rest and word != "again":
                assert (racer.who, rest[0]) not in self.booked, (
                    f"{racer.who} had {rest[0]}, was then told {word}"
                )
