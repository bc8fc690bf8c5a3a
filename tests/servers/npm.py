"""Packages from npm for tests in a real browser: installed once into the test cache, outside of git."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .process import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_CACHE = Path(__file__).resolve().parent.parent.parent / ".pytest_cache" / "npm"
_SECONDS = 300.0  # a deadline for slow networks, not a measure
#: What npm says where no registry can be reached; anything else is a fault of ours, and no reason to skip.
_NO_NETWORK = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "ERR_SOCKET",
)
_OPTIONS = (
    "--no-package-lock",
    "--no-save",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
)


def npm_package(name: str, version: str) -> Path:
    """Return the folder of a package, with its dependencies beside it in the same ``node_modules``.

    Several processes may ask at once: one installs, the others wait.

    :param version: an exact version, such as ``7.1.0``.
    :raises Unavailable: if there is no npm, or no registry that it can reach.
    """
    place = _CACHE / f"{name.strip('@').replace('/', '-')}-{version}"
    found = place / "node_modules" / name
    if found.is_dir():
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(f"npm is not installed; {name} {version} comes from there")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with _alone(_CACHE / ".lock"):
        if not found.is_dir():
            _install(npm, f"{name}@{version}", place)
    return found


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _install(npm: str, what: str, place: Path) -> None:
    """Install into a folder beside, and rename it when it is whole: a killed test leaves no half package."""
    beside = Path(tempfile.mkdtemp(prefix="new-", dir=_CACHE))
    try:
        command = (npm, "install", *_OPTIONS, "--prefix", str(beside), what)
        done = subprocess.run(
            command, cwd=beside, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
        if done.returncode and any(word in done.stderr for word in _NO_NETWORK):
            raise Unavailable(f"npm reaches no registry to get {what} from")
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        shutil.rmtree(place, ignore_errors=True)
        os.replace(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
