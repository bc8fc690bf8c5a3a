"""Real Celery workers on Valkey and PostgreSQL. The long forms: `pytest -m slow tests/queue -s`."""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from figures import share, tell
from proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import Gunicorn
    from workers import Broker, Crew

EXACT = {"lost": 0, "doubled": 0, "uneven": 0}


@pytest.fixture
def far_broker(broker: Broker) -> Iterator[Proxy]:
    """The broker behind a proxy that can stall."""
    made = Proxy(broker.path)
    yield made
    made.close()


def through(proxy: Proxy) -> str:
    """Return the URL of a broker behind a proxy."""
    return f"redis://127.0.0.1:{proxy.port}/0"


@pytest.mark.slow
@pytest.mark.parametrize("templates", [45, 300])
def test_two_workers_share_what_one_visit_asked_for(make_crew: Callable[..., Crew], templates: int) -> None:
    """Fifteen shards of templates with 168 slots: two workers fill all of it exactly, and the run says so."""
    crew = make_crew(shard_size=templates // 15)
    promised = crew.add(templates)
    crew.hire(2)
    crew.visit()
    crew.wait_until(crew.is_confirmed)
    assert crew.audit(promised) == EXACT
    assert crew.runs() == [("confirmed", "request", promised, promised, None)]


def kill_and_restart(crew: Crew, broker: Broker, promised: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill workers while they fill, break the broker now and then; return what happened until all is confirmed."""
    rng, done = random.Random(seed), {"kills": 0, "restarts": 0}
    stalls = [0.0]
    while done["kills"] < kills:
        before = crew.rows()
        stalls.append(
            crew.wait_until(lambda before=before: crew.rows() > before or crew.is_confirmed(), visits=True)
        )
        if crew.is_confirmed():
            break
        time.sleep(rng.uniform(0, 0.1))  # a random moment, not a wait for something
        crew.kill(rng.randrange(len(crew.workers)))
        done["kills"] += 1
        if done["kills"] % 3 == 2:
            broker.kill()
            time.sleep(rng.uniform(0, 0.5))
            broker.start()
            done["restarts"] += 1
        crew.hire(1)
    crew.wait_until(crew.is_confirmed, visits=True, seconds=300)
    return {**done, "runs": len(crew.runs()), "longest_stall": max(stalls), **crew.audit(promised)}


def test_workers_are_killed_and_the_broker_restarts(make_crew: Callable[..., Crew], broker: Broker) -> None:
    """Workers die in the middle of shards and the broker forgets all messages: in the end all is there, once."""
    options = {"shard_size": 10, "lease_seconds": 1, "check_interval": 1, "queue_fallback": "none"}
    crew = make_crew(**options, delay=0.05, rows=200)
    promised = crew.add(60)
    crew.hire(2)
    found = kill_and_restart(crew, broker, promised, kills=2, seed=7)
    assert found["kills"] >= 1
    assert {name: found[name] for name in EXACT} == EXACT


def test_a_silent_broker_holds_nobody(make_crew: Callable[..., Crew], far_broker: Proxy) -> None:
    """A broker that accepts and never answers: the job gives up within its limit, and the thread fills."""
    crew = make_crew(broker=through(far_broker), queue_fallback="thread", send_seconds=2.0)
    promised = crew.add(3)
    far_broker.set("stall")
    crew.visit()
    crew.wait_until(crew.is_confirmed)  # while the broker is silent all the time
    assert far_broker.accepted >= 1
    assert crew.audit(promised) == EXACT
    crew.settle()


def storm(server: Gunicorn, seconds: float, threads: int, pause: float = 0.0) -> list[float]:
    """Ask for a page from many threads at once, each with a pause; return how long each answer took."""
    took: list[float] = []
    end, together = monotonic() + seconds, threading.Barrier(threads)

    def ask() -> None:
        together.wait()
        while True:
            link = http.client.HTTPConnection(server.host, server.port, timeout=200)
            began = monotonic()
            link.request("GET", "/ping")
            assert link.getresponse().status == 200
            took.append(monotonic() - began)
            link.close()
            if monotonic() > end:
                return
            time.sleep(pause)  # a visitor's pace, not a wait for something

    started = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return took


@pytest.mark.slow
@pytest.mark.parametrize("processes", [3, 8])
def test_many_web_processes_make_one_run(
    make_crew: Callable[..., Crew], gunicorn: Callable[..., Gunicorn], processes: int
) -> None:
    """Web processes notice at once and ask two workers: one of them becomes the coordinator, there is one run."""
    crew = make_crew(shard_size=5, queue_fallback="none")
    promised = crew.add(40)
    crew.hire(2)
    server = gunicorn(
        "celery_site:app", workers=processes, env=crew.env, options=("--preload", "--threads", "2")
    )
    storm(server, 0.3, 16)
    crew.wait_until(crew.is_confirmed)
    storm(server, 0.3, 16)
    assert crew.audit(promised) == EXACT
    assert crew.runs() == [("confirmed", "request", promised, promised, None)]


# -- the long forms ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_thousand_templates(make_crew: Callable[..., Crew]) -> None:
    """20,000 templates x 168 slots, exact; throughput of one thread, of one and of two workers in one run."""
    crew = make_crew(queue_fallback="none")
    promised = crew.add(20_000)
    rates: dict[str, float] = {}

    def empty() -> None:
        crew.run("TRUNCATE rolling_slot, rolling_booking, rolling_run, rolling_shard")
        crew.run("UPDATE rolling_lease SET confirmed_ms = 0, fingerprint = NULL, until_ms = 0")

    began = monotonic()
    with crew.site.app.app_context():
        crew.site.slots.generate()
    rates["thread"] = promised / (monotonic() - began)
    assert crew.audit(promised) == EXACT
    for workers in (1, 2):
        empty()
        crew.hire(1)
        crew.site.app.extensions["rollingslots"].topup.memory.reset()
        began = monotonic()
        crew.visit()
        crew.wait_until(crew.is_confirmed, seconds=900)
        rates[f"workers_{workers}"] = promised / (monotonic() - began)
        assert crew.audit(promised) == EXACT
        assert crew.runs()[0][:4] == ("confirmed", "request", promised, promised)
    tell("celery 20,000 x 168", slots=promised, **{name: round(rate) for name, rate in rates.items()})


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_loop_on_workers_and_broker(make_crew: Callable[..., Crew], broker: Broker) -> None:
    """Kills of workers and restarts of the broker all through one fill: 0 lost, 0 doubled, confirmed in the end."""
    kills = int(os.environ.get("CELERY_KILLS", "30"))
    options = {"shard_size": 20, "lease_seconds": 2, "check_interval": 1, "queue_fallback": "none"}
    crew = make_crew(**options, delay=0.1, rows=1000)
    promised = crew.add(100 * kills)
    crew.hire(2)
    began = monotonic()
    found = kill_and_restart(crew, broker, promised, kills=kills, seed=8)
    tell("celery kill loop", slots=promised, **found, seconds=round(monotonic() - began))
    assert {name: found[name] for name in EXACT} == EXACT
    assert found["kills"] >= kills // 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fallback", ["thread", "none"])
def test_a_black_hole_and_the_visitors(
    make_crew: Callable[..., Crew], far_broker: Proxy, gunicorn: Callable[..., Gunicorn], fallback: str
) -> None:
    """While the broker accepts and never answers, visitors wait no longer than with a broker that works."""
    options = {"queue_fallback": fallback, "lease_seconds": 1, "check_interval": 1, "send_seconds": 2.0}
    crew = make_crew(broker=through(far_broker), **options)
    crew.add(20)
    figures: dict[str, Any] = {}
    server = gunicorn("celery_site:app", workers=2, env=crew.env, options=("--threads", "4"))
    storm(server, 2, 4, pause=0.02)
    for round_number in range(3):
        for mode in ("pass", "stall"):
            far_broker.set("pass")
            far_broker.set(mode)
            with suppress(Exception):
                crew.run("UPDATE rolling_lease SET confirmed_ms = 0, fingerprint = NULL")
            took = storm(server, 5, 4, pause=0.02)
            figures[f"{mode}_{round_number}_p99_ms"] = round(share(took, 99) * 1000, 2)
    far_broker.set("pass")
    tell(f"celery black hole, fallback {fallback}", **figures)
    passing = sorted(value for name, value in figures.items() if name.startswith("pass"))[1]
    stalled = sorted(value for name, value in figures.items() if name.startswith("stall"))[1]
    assert stalled <= 2 * passing + 5
