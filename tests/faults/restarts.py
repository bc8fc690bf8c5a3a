"""Database servers that crash and come back, with what they had acknowledged."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from servers import MariaDB, Postgres, Process, Unavailable
from servers.process import SYSTEM_PATH, answers, nobody

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What is acknowledged has to survive the end of the process (the machine itself does not crash here).
DURABLE = {
    "postgresql": ("-c", "synchronous_commit=on"),
    "mariadb": ("--innodb-flush-log-at-trx-commit=2",),
}
IMMEDIATE = {"postgresql": signal.SIGQUIT, "mariadb": signal.SIGKILL}


class Crashing:
    """A private server that can be crashed and started again."""

    def __init__(self, kind: str) -> None:
        try:
            self.server: Any = Postgres() if kind == "postgresql" else MariaDB()
        except Unavailable as reason:
            pytest.skip(str(reason))
        if self.server.folder is None:
            pytest.skip("a server that is not ours is not crashed")
        self.kind = kind
        self.command = (*self.server.process.command, *DURABLE[kind])
        self.server.process.stop()
        self.start()

    def crash(self) -> None:
        """End it at once: no checkpoint, no goodbye to clients."""
        self.server.process.popen.send_signal(IMMEDIATE[self.kind])
        self.server.process.popen.wait(60)

    def start(self) -> None:
        """Start it; returns when it accepts connections again."""
        folder = self.server.folder
        environ = {"PATH": SYSTEM_PATH, "LC_ALL": "C", "TZ": "UTC", "TMPDIR": str(folder)}
        stop = signal.SIGINT if self.kind == "postgresql" else signal.SIGTERM
        self.server.process = Process(
            self.command, folder / "log", stop_signal=stop, cwd=folder, env=environ, **nobody()
        )
        path = folder / ("socket" if self.kind == "mariadb" else ".s.PGSQL.5432")
        self.server.process.wait_until(lambda: answers(path) and self.server.accepts())


@contextmanager
def crashing(kind: str) -> Iterator[tuple[Crashing, str]]:
    """Give a server that can crash, and the URL of a new database on it."""
    server = Crashing(kind)
    try:
        with server.server.database() as url:
            yield server, url
    finally:
        server.server.stop()
