"""What many top-ups leave behind: nothing. And what the app's own code may do to them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import flask
import pytest
from loop_site import Clock, Site, week
from sqlalchemy import event

from flask_rollingslots import signals
from flask_rollingslots.topup import run

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("rounds", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_top_ups_leave_nothing(
    make: Callable[..., Site], sqlite_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """After many top-ups, each tenth raising, no connection, session, context or thread is left over."""
    site = make(sqlite_url)
    with site.app.app_context():
        engine = site.db.engine
    # Durability is not the subject here.
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    site.add_quietly()
    original, fills, contexts, threads = run.Run.fill, [], set(), []

    def fill(filler: Any, *asked: Any) -> None:
        fills.append(1)
        contexts.add(flask.globals.app_ctx._get_current_object() is not None)  # type: ignore[attr-defined]
        threads.append([t for t in threading.enumerate() if t.name.startswith("rollingslots")])
        if len(fills) % 10 == 0:
            raise RuntimeError("each tenth")
        original(filler, *asked)

    monkeypatch.setattr(run.Run, "fill", fill)
    site.visit("/plain")
    registry = site.db.session.registry.registry
    sessions, before = len(registry), set(threading.enumerate())
    for _ in range(rounds - 1):
        clock.pass_by(timedelta(minutes=61))
        site.visit("/plain")
    assert len(fills) == rounds
    assert engine.pool.checkedout() == 0
    assert len(registry) == sessions
    assert not flask.has_app_context()
    assert set(threading.enumerate()) - before <= {site.topup.executor._thread}
    assert {len(found) for found in threads} == {1}
    assert site.lease().until_ms == 0
    clock.pass_by(timedelta(minutes=61))
    site.visit("/plain")
    assert set(week(clock.now)) <= set(site.starts())
    assert len(site.starts()) == len(set(site.starts()))


@pytest.mark.parametrize("executor", ["thread", "inline"])
def test_top_up_has_its_own_context_and_session(
    make: Callable[..., Site], sqlite_url: str, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job pushes a context of its own, so that it never shares the visitor's session."""
    site = make(sqlite_url, executor=executor)
    seen: dict[str, Any] = {}
    original = run.Run.fill

    def fill(filler: Any, *asked: Any) -> None:
        seen["job"] = (flask.globals.app_ctx._get_current_object(), filler.work.session)  # type: ignore[attr-defined]
        original(filler, *asked)

    def remember() -> None:
        seen["request"] = (flask.globals.app_ctx._get_current_object(), site.db.session())  # type: ignore[attr-defined]

    monkeypatch.setattr(run.Run, "fill", fill)
    site.app.before_request(remember)
    site.add_quietly()
    site.get("/plain")
    if executor == "thread":
        site.finish()
    assert seen["job"][0] is not seen["request"][0]
    assert seen["job"][1] is not seen["request"][1]


def test_receiver_of_a_failure_that_raises(site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app whose own topup_failed receiver raises is still topped up once the cause is gone."""

    def receive(_app: Any, **_details: Any) -> None:
        raise RuntimeError("the receiver is broken too")

    def refuse(*_args: Any) -> None:
        raise RuntimeError("no slots today")

    site.add_quietly()
    with monkeypatch.context() as patch, signals.topup_failed.connected_to(receive, site.app):
        patch.setattr(run, "write_chunk", refuse)
        site.visit("/plain")
    clock.pass_by(timedelta(minutes=61))
    site.visit("/plain")
    assert site.starts() == week(clock.now)


@pytest.mark.parametrize("name", ["topup_started", "topup_finished"])
def test_receiver_that_raises(site: Site, clock: Clock, name: str) -> None:
    """A receiver of the app that raises loses no slot, and the next top-up works without it."""

    def receive(_app: Any, **_details: Any) -> None:
        raise RuntimeError("the receiver is broken")

    site.add_quietly()
    with getattr(signals, name).connected_to(receive, site.app):
        site.visit("/plain")
    clock.pass_by(timedelta(minutes=61))
    site.visit("/plain")
    assert site.lease().failures == 0
    assert set(week(clock.now)) <= set(site.starts())


def test_finished_is_told_after_the_confirmation(site: Site) -> None:
    """A receiver of topup_finished sees the stored slots and the confirmed run."""
    seen: list[Any] = []

    def receive(_app: Any, report: Any) -> None:
        runs = [(run.id == report.run_id, run.status) for run in site.runs()]
        seen.append((report.created, runs, site.starts()))

    site.add_quietly()
    with signals.topup_finished.connected_to(receive, site.app):
        site.visit("/plain")
    assert seen == [(len(week()), [(True, "confirmed")], week())]


def test_teardown_of_the_app_that_raises(site: Site, clock: Clock) -> None:
    """A teardown function of the app that raises in the job's context neither loses slots nor stops top-ups."""
    broken = [True]

    @site.app.teardown_appcontext
    def teardown(_error: BaseException | None) -> None:
        if broken and not flask.has_request_context() and threading.current_thread().daemon:
            raise RuntimeError("teardown")

    site.add_quietly()
    site.visit("/plain")
    broken.clear()
    assert site.starts() == week()
    clock.pass_by(timedelta(days=1))
    site.visit("/plain")
    assert site.starts() == week(days=8)


def test_two_apps_on_one_extension(make: Callable[..., Site], sqlite_url: str, clock: Clock) -> None:
    """Two apps with databases of their own each fill their own window."""
    first, second = make(sqlite_url), make(sqlite_url.replace("test.db", "other.db"), window_days=3)
    first.add_quietly()
    second.add_quietly()
    first.visit("/plain")
    assert second.starts() == []
    second.visit("/plain")
    assert (first.starts(), second.starts()) == (week(), week(days=3))


@pytest.mark.parametrize("executor", ["thread", "inline"])
def test_base_exception_in_a_job(
    make: Callable[..., Site], sqlite_url: str, clock: Clock, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job ended by something that is no Exception, such as a timeout of gevent, is not the last one."""

    class Timeout(BaseException):
        """As gevent's."""

    def stop(*_args: Any) -> None:
        raise Timeout

    site = make(sqlite_url, executor=executor)
    site.add_quietly()
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_chunk", stop)
        if executor == "inline":
            with pytest.raises(Timeout):
                site.get("/plain")
        else:
            site.visit("/plain")
    assert site.lease().until_ms == 0
    for _ in range(3):
        clock.pass_by(timedelta(minutes=61))
        site.get("/plain")
        if executor == "thread":
            site.finish()
    assert set(week(clock.now)) <= set(site.starts())
