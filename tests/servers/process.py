"""Child processes that die with the tests, and folders for them."""

from __future__ import annotations

import ctypes
import itertools
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

START_SECONDS = 100.0  # a deadline for slow machines, not a measure: a start takes well under a second
STOP_SECONDS = 60.0
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_MEMORY = Path("/dev/shm")  # noqa: S108 (only mkdtemp and pytest make folders in it)
_ROOM = 3 * 2**30  # bytes; two processes with all servers need less than half of it
_SHORT = 24  # characters of a path, with room for what comes below it
numbers = itertools.count(1)


class Unavailable(Exception):
    """This machine does not have that server."""


def use_memory() -> None:
    """Let temporary files lie in memory if the machine has room for that and TMPDIR names no other place.

    Nothing of a test outlives it, so nobody needs the disk; new tables on MariaDB alone take ten times as long there.
    """
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return
    place = os.statvfs(_MEMORY)
    if (
        place.f_bavail * place.f_frsize < _ROOM
        or place.f_flag & os.ST_NOEXEC
        or not os.access(_MEMORY, os.W_OK)
    ):
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def nobody() -> dict[str, Any]:
    """Return Popen arguments: PostgreSQL and MariaDB refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def private_folder(user: Mapping[str, Any] | None = None) -> Path:
    """Make a temporary folder with a short path (a unix socket's path ends at 107 characters)."""
    folders = (tempfile.gettempdir(), "/tmp")  # noqa: S108 (mkdtemp makes a folder of its own in it)
    base = next((name for name in folders if len(name) < _SHORT and Path(name).is_dir()), None)
    folder = Path(tempfile.mkdtemp(prefix="rs-", dir=base))
    if user:
        os.chown(folder, user["user"], user["group"])
    return folder


class Process:
    """A child process that dies with this one, whatever happens, with its output in a file."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, stop_signal: int = signal.SIGTERM, **popen: Any
    ) -> None:
        self.command = [str(part) for part in command]
        self.log = log
        self.stop_signal = stop_signal
        parent = os.getpid()

        def die_with_parent() -> None:  # runs in the child, between fork and exec
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal)
                if os.getppid() != parent:
                    os._exit(1)

        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
                **popen,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    def output(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")

    def failed(self, what: str) -> RuntimeError:
        """Return an error that shows the end of the output."""
        return RuntimeError(f"{what}: {' '.join(self.command)}\n{self.output()[-2000:]}")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Poll until the server answers; a process that ended or a passed deadline is an error."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self.popen.poll() is not None:
                raise self.failed(f"ended with code {self.popen.returncode}")
            if time.monotonic() > deadline:
                self.stop()
                raise self.failed(f"gave no answer in {START_SECONDS:.0f} s")
            time.sleep(0.01)  # a server has no event to wait for: the pause of a poll with a deadline

    def stop(self) -> int:
        """Ask it to end, then insist; return the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(STOP_SECONDS)
        with suppress(ProcessLookupError, PermissionError):  # what is left of its group; usually nothing
            os.killpg(self.popen.pid, signal.SIGKILL)
        return self.popen.wait(STOP_SECONDS)


def run(command: Sequence[str | Path], **popen: Any) -> None:
    """Run a short command; its output is in the error if it fails."""
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, **popen
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with code {done.returncode}\n{done.stdout}{done.stderr}")


def answers(path: Path) -> bool:
    """Say whether somebody accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
