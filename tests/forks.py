"""Running a piece of a test in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FINISHED, FAILED = 0, 99
_DEADLINE = 100  # seconds; a child that hangs is killed by the alarm


def forked(work: Callable[[], object], deadline: int = _DEADLINE) -> int:
    """Fork, run `work` in the child, and return the child's process id."""
    pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(deadline)
        work()
        code = FINISHED
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for a child and return its exit code (negative: the signal that killed it)."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wait_forever() -> None:
    """Keep the main thread of a child busy while its background thread does something final."""
    threading.Event().wait(_DEADLINE)
