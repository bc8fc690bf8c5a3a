"""The first request, the steady state, and what never gets in a visitor's way."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from loop_site import DAY, NOON, WAIT, Clock, Site, Stop, before, before_chunks, hourly, week

from flask_rollingslots.topup import run

if TYPE_CHECKING:
    from collections.abc import Callable


def texts(moments: list[Any]) -> list[str]:
    """Return moments as the page shows them."""
    return [moment.isoformat() for moment in moments]


def test_first_request_shows_the_week_before_anything_is_stored(
    make: Callable[..., Site], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very first visitor of a fresh database sees the whole week and does not wait for the filling."""
    site = make(database_url)
    site.add_quietly()
    stop = Stop()
    before_chunks(monkeypatch, stop)
    answer = site.get()  # answers although the filling is stopped
    assert stop.arrived.wait(WAIT)
    assert answer["starts"] == texts(week())
    assert answer["virtual"] == len(week())
    stop.go.set()
    site.finish()
    assert site.starts() == week()
    answer = site.visit()
    assert (answer["starts"], answer["virtual"]) == (texts(week()), 0)


def test_first_request_after_forty_days_of_silence(
    make: Callable[..., Site], database_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 40 days without a visitor the first one sees the whole new week at once, and it is stored then."""
    site = make(database_url)
    site.add_quietly()
    site.visit()
    clock.pass_by(40 * DAY)
    stop = Stop()
    before_chunks(monkeypatch, stop)
    answer = site.get()
    assert stop.arrived.wait(WAIT)
    assert answer["starts"] == texts(week(clock.now))
    assert answer["virtual"] == len(week(clock.now))
    stop.go.set()
    site.finish()
    # The days in between stay empty: nothing is made for the past.
    assert site.starts() == week(NOON) + week(clock.now)


def test_another_process_fills_after_a_machine_slept(site: Site, clock: Clock) -> None:
    """A day that began while the machine slept is noticed, although its own clock stood still meanwhile."""
    site.add_quietly()
    site.visit()
    clock.now += 2 * DAY  # the monotonic clock does not move during a suspend
    answer = site.visit()
    assert answer["starts"] == texts(week(clock.now))
    assert site.starts()[-1] == week(clock.now)[-1]


def test_steady_state_asks_neither_database_nor_cache(
    make: Callable[..., Site], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once everything is complete, a hundred requests make no query and no cache call of ours."""
    site = make(sqlite_url, cache={"CACHE_TYPE": "SimpleCache"})
    site.add_quietly()
    backend = next(iter(site.app.extensions["cache"].values()))
    calls: list[str] = []
    for name in ("get", "set", "add", "has", "delete"):
        original = getattr(backend, name)

        def counted(*args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            calls.append(_name)
            return _original(*args, **kwargs)

        monkeypatch.setattr(backend, name, counted)
    site.visit()
    assert calls, "the counter counts nothing"
    calls.clear()
    with site.counted() as statements:
        for _ in range(100):
            site.get("/plain")
        site.finish()
        assert (statements, calls) == ([], [])
        site.get()
        assert len(statements) > 0, "the counter counts nothing"


def test_hook_only_compares_the_clock(site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two checks the hook does not even enter the top-up code; at the next check it does once."""
    site.add_quietly()
    site.visit("/plain")
    noticed: list[int] = []
    original = type(site.topup).notice

    def notice(topup: Any) -> None:
        noticed.append(1)
        original(topup)

    monkeypatch.setattr(type(site.topup), "notice", notice)
    for _ in range(50):
        site.get("/plain")
    assert noticed == []
    clock.pass_by(timedelta(hours=2))
    for _ in range(50):
        site.visit("/plain")
    assert noticed == [1]


def test_requests_during_a_top_up_start_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a top-up works, other requests pass by the hook with no more than the comparison."""
    site.add_quietly()
    stop, noticed = Stop(), []
    before_chunks(monkeypatch, stop)
    before(monkeypatch, type(site.topup), "notice", lambda: noticed.append(1))
    site.get("/plain")
    assert stop.arrived.wait(WAIT)
    for _ in range(50):
        site.get("/plain")
    assert noticed == [1]
    stop.go.set()
    site.finish()
    assert site.starts() == week()


def test_hook_runs_before_a_hook_that_answers(site: Site) -> None:
    """A before-request hook of the app that answers by itself does not keep the top-up from starting."""
    site.app.before_request_funcs.setdefault(None, []).append(lambda: ("maintenance", 503))
    site.add_quietly()
    assert site.app.test_client().get("/plain").status_code == 503
    site.finish()
    assert site.starts() == week()


def test_broken_database_is_logged_once(
    make: Callable[..., Site], sqlite_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Without our tables every page still answers; the failure is one ERROR, and DEBUG from then on."""
    caplog.set_level(logging.DEBUG, "flask_rollingslots")
    site = make(sqlite_url, create=False)
    for _ in range(5):
        site.visit("/plain")
        clock.pass_by(timedelta(minutes=10))
    failures = [r for r in caplog.records if getattr(r, "action", "") == "topup_failed"]
    assert [r.levelno for r in failures] == [logging.ERROR, *[logging.DEBUG] * 4]
    with site.app.app_context():
        site.db.create_all()
        site.db.session.add(site.slots.Template(**hourly()))
        site.db.session.info.clear()
        site.db.session.commit()
    clock.pass_by(timedelta(minutes=10))
    site.visit("/plain")
    assert site.starts() == week(clock.now)


def test_failure_is_one_error_although_looks_in_between_do_nothing(
    site: Site, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that finds the backoff not over yet is no recovery: the next failure is not an ERROR again."""

    def refuse(*_args: Any) -> None:
        raise RuntimeError("no slots today")

    caplog.set_level(logging.DEBUG, "flask_rollingslots")
    monkeypatch.setattr(run, "write_chunk", refuse)
    site.add_quietly()
    for _ in range(4):
        site.visit("/plain")  # fails
        site.topup.memory.next_check = 0.0
        site.visit("/plain")  # comes too early
        clock.pass_by(timedelta(minutes=10))
    failures = [r for r in caplog.records if getattr(r, "action", "") == "topup_failed"]
    assert [r.levelno for r in failures] == [logging.ERROR, *[logging.DEBUG] * 3]


def test_failed_top_up_does_not_fail_the_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While every top-up fails, the page shows the whole week."""

    def refuse(*_args: Any) -> None:
        raise RuntimeError("no slots today")

    monkeypatch.setattr(run, "write_chunk", refuse)
    site.add_quietly()
    for _ in range(3):
        assert site.visit()["starts"] == texts(week())
    assert site.starts() == []


def test_no_thread_left_on_the_machine(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started the page answers, and a later request tops up."""

    def refuse(_thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    site.add_quietly()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert site.get()["starts"] == texts(week())
    site.visit()
    assert site.starts() == week()


def test_in_memory_database_is_left_alone(make: Callable[..., Site]) -> None:
    """On sqlite:///:memory: reads are right, and nothing is written or started behind the test's back."""
    site = make("sqlite:///:memory:")
    before = set(threading.enumerate())
    site.add()
    for _ in range(20):
        assert site.get()["starts"] == texts(week())
    assert set(threading.enumerate()) == before
    assert site.starts() == []
    assert site.runs() == []


def test_in_memory_generate_joins_the_session(make: Callable[..., Site]) -> None:
    """On sqlite:///:memory: generate() writes in db.session: visible there, and gone after a rollback."""
    site = make("sqlite:///:memory:")
    site.add()
    with site.app.app_context():
        report = site.slots.generate()
        count = site.db.select(site.db.func.count(site.slots.Slot.id))
        assert (report.created, site.db.session.scalar(count)) == (len(week()), len(week()))
        site.db.session.rollback()
        assert site.db.session.scalar(count) == 0
        site.slots.generate()
        site.db.session.commit()
    assert site.starts() == week()


@pytest.mark.parametrize("dry_run", [True, False])
def test_in_memory_generate_keeps_uncommitted_work(make: Callable[..., Site], dry_run: bool) -> None:
    """On sqlite:///:memory: generate() neither commits nor loses what the app has written so far."""
    site = make("sqlite:///:memory:")
    site.add()
    with site.app.app_context():
        site.db.session.add(site.note(text="mine"))
        site.db.session.flush()
        site.slots.generate(dry_run=dry_run)
        assert site.db.session.scalar(site.db.select(site.note.text)) == "mine"
        site.db.session.rollback()
        assert site.db.session.scalar(site.db.select(site.note.text)) is None
