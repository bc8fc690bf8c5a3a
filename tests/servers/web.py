"""Apps under gunicorn."""

from __future__ import annotations

import http.client
import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from .process import START_SECONDS, Process, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


# Flask and SQLAlchemy are there before the workers are forked, also those that take a killed one's place: loading them
# takes most of a start. The app, and with it the library, is loaded by each worker, as without --preload.
_CONFIG = """
import os

import flask_sqlalchemy

control_socket_disable = True  # older versions have no such thing, and ignore this

def post_worker_init(worker):
    os.write({pipe}, f"{{worker.pid}}\\n".encode())
"""


class Response(NamedTuple):
    """What the app answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class Gunicorn:
    """An app under gunicorn on a free loopback port; ready means that every worker has loaded the app.

    No request is made to find that out, so that a test sees the app's very first one.
    """

    def __init__(
        self,
        target: str,
        folder: Path,
        workers: int = 1,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._pipe, report = os.pipe()
        config = folder / f"gunicorn-{next(numbers)}.py"
        config.write_text(_CONFIG.format(pipe=report))
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            self.host, self.port = listener.getsockname()
            bind = ("--bind", f"fd://{listener.fileno()}")  # inherited: nobody else can take the port
            command = (sys.executable, "-m", "gunicorn", "--config", config, *bind, "--workers", str(workers))
            self.process = Process(
                (*command, "--graceful-timeout", "30", *options, target),
                config.with_suffix(".log"),
                cwd=folder,
                env={**os.environ, "PYTHONPATH": _path_for(folder), "PYTHONUNBUFFERED": "1", **(env or {})},
                pass_fds=(listener.fileno(), report),
            )
        os.close(report)
        self.url = f"http://{self.host}:{self.port}"
        self.worker_pids: list[int] = []
        try:
            self.wait_for_workers(workers)
        except BaseException:
            self.stop()
            raise

    def wait_for_workers(self, count: int) -> list[int]:
        """Wait until so many more workers are ready (also after one was killed) and return their process ids."""
        found: list[int] = []
        deadline = time.monotonic() + START_SECONDS
        pipe: IO[bytes]
        with os.fdopen(os.dup(self._pipe), "rb", buffering=0) as pipe:
            while len(found) < count:
                readable, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
                line = pipe.readline() if readable else b""
                if not line:  # the deadline, or the end of the file: the last process is gone
                    raise self.process.failed(f"{len(found)} of {count} workers became ready")
                found.append(int(line))
        self.worker_pids += found
        return found

    def request(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Make one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=START_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Response(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def stop(self) -> int:
        """Stop it gracefully, then by force; return the exit code."""
        code = self.process.stop()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        return code


def _path_for(folder: Path) -> str:
    """Let the child import modules of the test's folder and of this checkout."""
    root = Path(__file__).resolve().parent.parent.parent
    return os.pathsep.join((str(folder), str(root), *filter(None, (os.environ.get("PYTHONPATH"),))))
