"""A TCP fault proxy: between an app and its server, it passes, stalls, refuses or cuts."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_BUFFER = 65536


class Proxy:
    """Listens on a loopback port and passes everything on to a unix socket, until it is told otherwise.

    Modes: ``pass``; ``stall``: connections are accepted and kept, not a byte moves; ``refuse``: nobody listens and
    all connections are broken; ``cut``: all connections are broken once, new ones pass.
    """

    def __init__(self, upstream: Path) -> None:
        self.upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._passing: asyncio.Event
        self.accepted = 0
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._call(self._start())

    def set(self, mode: str) -> None:
        """Change the mode; returns when it holds."""
        self._call(self._set(mode))

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._writers) // 2

    def close(self) -> None:
        """Break everything and end."""
        self._call(self._set("refuse"))
        self._call(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        await self._listen()

    async def _listen(self) -> None:
        # Outside the range that the system gives to clients, so that the port is still free after `refuse`.
        for _ in range(100):
            port = self.port or random.randint(20000, 30000)
            with suppress(OSError):
                listener = socket.create_server(("127.0.0.1", port), backlog=512)
                self.port = port
                self._server = await asyncio.start_server(self._accept, sock=listener)
                return
        raise RuntimeError("no free port")

    async def _set(self, mode: str) -> None:
        assert mode in ("pass", "stall", "refuse", "cut")
        if mode == "stall":
            self._passing.clear()
        else:
            self._passing.set()
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif mode != "refuse" and self._server is None:
            await self._listen()
        if mode in ("refuse", "cut"):
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0)

    async def _end_tasks(self) -> None:
        # What the loop is just accepting comes to `_accept` first: cancelled before, its connection would stay open.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._serving:
                task.cancel()
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.wait(tasks)
        for _ in range(3):  # the transports end in the rounds of the loop that follow
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Known at once: a task that is cancelled before it begins would leave its connection open.
        self.accepted += 1
        self._writers.add(writer)
        task = self._loop.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far: asyncio.StreamWriter | None = None
        try:
            await self._passing.wait()
            far_reader, far = await asyncio.open_unix_connection(str(self.upstream))
            self._writers.add(far)
            done = [
                asyncio.ensure_future(self._pump(reader, far)),
                asyncio.ensure_future(self._pump(far_reader, writer)),
            ]
            await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.cancel()
            await asyncio.gather(*done, return_exceptions=True)
        except OSError:
            pass  # the server is down: the client sees a connection that breaks
        finally:
            for end in (writer, far):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_BUFFER):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
