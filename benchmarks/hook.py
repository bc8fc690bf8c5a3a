"""What a request pays for the hook when nothing is due: nearly all requests."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event
from werkzeug.test import create_environ

from . import hook_app
from .frame import Bench, Row, Side, Skip, Taken, at_most, benchmark, extra_at_most, ours_at_most

#: Many short turns: what else the machine does then falls into few of them, and the median does not see it.
HOOKS, HOOK_PAIRS = 2_000, 101
REQUESTS, REQUEST_PAIRS = 100, 51
WRK_SECONDS, WRK_PAIRS = 1, 15
NAMES = {
    "plain": "without us",
    "empty": "empty before_request",
    "redis": "Redis get",
    "limiter": "Flask-Limiter",
    "simple": "SimpleCache get",
}


@benchmark("hook")
def hook(bench: Bench) -> Iterator[Row]:
    """A request with the hook in the steady state, beside other things that happen before requests."""
    folder = tempfile.mkdtemp(dir=bench.folder)
    ours = settled(hook_app.make("ours", folder))
    bench.closing(partial(close, ours))
    yield silence(bench, ours)
    others = dict(other_apps(bench, folder))
    for kind, bound in (("empty", extra_at_most(0.3e-6)), ("plain", None)):
        sides = (before_request("hook", ours), before_request(NAMES[kind], others[kind]))
        yield bench.compare(f"before_request alone, {NAMES[kind]}", *sides, bound, pairs=HOOK_PAIRS)
    for kind, app in others.items():
        clock = perf_counter if kind == "redis" else process_time  # waiting for the server counts
        sides = (requests("app with us", ours, clock), requests(NAMES[kind], app, clock))
        bound = at_most(1.02) if kind == "empty" else None
        yield bench.compare("a request in process", *sides, bound, pairs=REQUEST_PAIRS)
    try:
        yield from served(bench, folder)
    except Skip as reason:
        bench.skip("gunicorn and wrk", reason)


def other_apps(bench: Bench, folder: str) -> Iterator[tuple[str, Flask]]:
    """Yield what we are compared with, as far as it is here."""
    for kind in NAMES:
        try:
            url = bench.server("Valkey").url if kind == "redis" else ""
            app = hook_app.make(kind, folder, url)
        except (Skip, ImportError) as reason:
            bench.skip(NAMES[kind], reason)
            continue
        bench.closing(partial(close, app))
        yield kind, app


def settled(app: Flask) -> Flask:
    """Return an app whose first top-up is over."""
    answer(app)
    executor = app.extensions["rollingslots"].topup.executor
    if not executor.join(30):
        raise RuntimeError("the first top-up does not end")
    answer(app)
    return app


def close(app: Flask) -> None:
    """Give the connections back."""
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def answer(app: Flask) -> bytes:
    """Make one request as a server would."""
    body = app.wsgi_app(create_environ("/"), lambda status, headers, exc_info=None: lambda data: None)
    return b"".join(body)


def requests(name: str, app: Flask, clock: Callable[[], float]) -> Side:
    """Return whole requests in process."""

    def run() -> set[bytes]:
        return {answer(app) for _ in range(REQUESTS)}

    return Side(name, run, calls=REQUESTS, clock=clock)


def before_request(name: str, app: Flask) -> Side:
    """Return what Flask does before the view, alone: all before_request functions of one request, many times."""

    def run() -> object:
        with app.test_request_context("/"):
            preprocess = app.preprocess_request
            for _ in range(HOOKS):
                found = preprocess()
        return found

    return Side(name, run, calls=HOOKS, clock=process_time)


def silence(bench: Bench, app: Flask) -> Row:
    """Count queries and cache calls of requests for which nothing is due."""
    calls: list[Any] = []

    def note(*facts: Any) -> None:
        calls.append(facts)

    cache = app.extensions["rollingslots"].topup.find_cache()
    saved: dict[str, Callable[..., Any]] = {name: getattr(cache, name) for name in ("get", "set", "add")}
    event.listen(Engine, "before_cursor_execute", note)
    for name in saved:
        setattr(cache, name, note)
    try:
        for _ in range(REQUESTS):
            answer(app)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        for name, method in saved.items():
            setattr(cache, name, method)
    what = f"queries and cache calls in {REQUESTS} requests"
    return bench.count(what, len(calls), REQUESTS, "requests", ours_at_most(0))


# -- through a server


def served(bench: Bench, folder: str) -> Iterator[Row]:
    """Compare the app with us and without us under gunicorn, by wrk and by the worker's processor time."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Skip("no wrk")
    if not Path("/proc/self/schedstat").exists():
        raise Skip("no /proc/self/schedstat, which tells processor times")
    from tests.servers import Gunicorn

    loads = {}
    for kind in ("ours", "plain"):
        target = f"benchmarks.hook_app:make({kind!r}, {folder!r})"
        options = ("--threads", "2", "--worker-class", "gthread")
        server = Gunicorn(target, Path(folder), options=options)
        bench.closing(server.stop)
        loads[kind] = Load(wrk, server)
        loads[kind].seconds_a_request()  # the first top-up, and all that is loaded late
        loads[kind].processor_times.clear()
    note = f"wrk, 4 connections, {WRK_SECONDS} s at a time"
    for what, name in (
        ("a request by gunicorn and wrk", "seconds_a_request"),
        ("processor time of these requests", "processor_a_request"),
    ):
        ours, other = (Side(kind, getattr(loads[kind], name)) for kind in ("ours", "plain"))
        other = replace(other, name=NAMES["plain"])
        yield bench.compare(what, ours, other, at_most(1.02), check=None, note=note, pairs=WRK_PAIRS)


class Load:
    """wrk against one server: each load gives two figures, and the second is asked for afterwards."""

    def __init__(self, wrk: str, server: Any) -> None:
        """Store both."""
        self._wrk, self._server = wrk, server
        self.processor_times: list[float] = []

    def seconds_a_request(self) -> Taken:
        """Make a load; return how long wrk waits for a request."""
        before = processor_time(self._server.worker_pids[0])
        count = load(self._wrk, self._server.url)
        self.processor_times.append((processor_time(self._server.worker_pids[0]) - before) / count)
        return Taken(WRK_SECONDS / count)

    def processor_a_request(self) -> Taken:
        """Return the processor time that the worker used for a request: other programs are not in it."""
        return Taken(self.processor_times.pop(0))


def load(wrk: str, url: str) -> int:
    """Let wrk ask for a while; return how many answers there were, all of them good."""
    command = [wrk, "-t1", "-c4", f"-d{WRK_SECONDS}s", f"{url}/"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout  # noqa: S603
    found = re.search(r"(\d+) requests in", output)
    if found is None or "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk: {output}")
    return int(found[1])


def processor_time(pid: int) -> float:
    """Return the seconds of processor time of all threads of a process (Linux)."""
    tasks = Path(f"/proc/{pid}/task").glob("*")
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
