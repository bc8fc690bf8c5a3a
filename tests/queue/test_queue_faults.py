"""Queues that are down, silent, without workers or break in the middle; databases that are away."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from helpers import A_WEEK
from queue_site import ONE_SERVER, QueueSite
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from flask_rollingslots import signals
from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.queue import Distributor, QueueExecutor, distributor
from flask_rollingslots.topup import executors, run


def test_a_queue_that_is_down(small_site: QueueSite) -> None:
    """With the fallback the thread fills; the broker is left alone for a while, and used again afterwards."""
    site = small_site
    site.fill_with(5)
    site.queue.is_down = True
    site.visit()
    assert site.count() == 5 * A_WEEK
    assert site.runs()[0].status == "confirmed"
    site.queue.mend()
    site.clock.turn(days=1)
    site.visit()
    assert site.queue.messages


def test_a_queue_that_is_down_without_fallback(
    sqlite_url: str, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the fallback nothing is filled here; it is logged once, and the next visit within a lease time asks."""
    site = QueueSite(sqlite_url, tmp_path, QUEUE_FALLBACK="none")
    with site.app.app_context():
        site.fill_with(3)
        site.queue.is_down = True
        for _ in range(3):
            site.visit()
        assert site.count() == 0
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert len(errors) == 1
        assert "queue took no message" in errors[0].message
        site.queue.mend()
        site.visit()
        site.drain()
        assert site.count() == 3 * A_WEEK


def test_workers_that_never_come(small_site: QueueSite) -> None:
    """A broker without workers swallows every message: after three in vain the thread fills."""
    site = small_site
    site.fill_with(3)
    for _ in range(3):
        site.visit()
        assert site.count() == 0
    site.visit()
    assert site.count() == 3 * A_WEEK


@ONE_SERVER
def test_a_broker_that_breaks_in_the_middle(site: QueueSite) -> None:
    """A worker that can hand on to nobody goes on by itself."""
    site.fill_with(9)
    site.visit()
    look = site.take()
    site.queue.is_down = True
    site.work(look)
    assert site.count() == 9 * A_WEEK
    assert site.runs()[0].status == "confirmed"


def test_a_database_that_is_away_for_a_moment(small_site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot reach the database comes back later, and the run goes on."""
    site = small_site
    site.fill_with(6)
    site.visit()
    fill, broken = Distributor._fill, [True]

    def away(self: Any, job: Any, claim: Any) -> None:
        if broken and claim.id == 2:
            broken.clear()
            raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))
        fill(self, job, claim)

    monkeypatch.setattr(Distributor, "_fill", away)
    site.work(site.take())
    assert [message["tries"] for message, _ in site.queue.messages if "tries" in message] == [1]
    site.queue.messages[:] = [pair for pair in site.queue.messages if "tries" in pair[0]]
    site.clock.turn(seconds=31)
    site.drain()
    (row,) = site.runs()
    assert (row.status, row.created, site.count()) == ("confirmed", 6 * A_WEEK, 6 * A_WEEK)


def test_a_message_of_somebody_else(small_site: QueueSite) -> None:
    """What is no message of ours is refused, and says so."""
    for message in ({"do": "something"}, ["look"], "look", {}):
        with pytest.raises(InvalidRequest, match="expected one that send"):
            small_site.work(message)  # type: ignore[arg-type]


def test_a_silent_queue_is_given_up_in_time() -> None:
    """A client that never returns holds nobody: the message counts as not taken, and no second one waits beside it."""
    waits, calls = threading.Event(), []

    class Silent(QueueExecutor):
        def send(self, message: dict[str, Any], delay: float) -> None:
            calls.append(message)
            waits.wait(60)

    queue = Silent()
    before = executors.SEND_SECONDS
    executors.SEND_SECONDS = 0.05
    try:
        assert queue.hand_over({"do": "look"}) is False
        queue._broken_until = 0.0
        assert queue.hand_over({"do": "look"}) is False
    finally:
        executors.SEND_SECONDS = before
        waits.set()
    assert len(calls) == 1


def test_the_command_line(small_site: QueueSite) -> None:
    """The command refuses a dry run of workers, and says when the queue takes nothing."""
    site = small_site
    site.fill_with(2)
    run_command = site.app.test_cli_runner().invoke
    both = run_command(args=["slots", "generate", "--distributed", "--dry-run"])
    assert (both.exit_code, "give one of them" in both.stderr) == (2, True)
    site.queue.is_down = True
    down = run_command(args=["slots", "generate", "--distributed"])
    assert (down.exit_code, "took no message" in down.stderr) == (1, True)


def test_a_late_message_changes_nothing(site: QueueSite) -> None:
    """A message of a run that is over neither takes the lease nor confirms again."""
    site.fill_with(5)
    site.visit()
    look = site.take()
    site.work(look)
    late = [message for message, _ in site.queue.messages]
    assert late
    site.queue.messages.clear()
    assert site.runs()[0].status == "confirmed"
    before, finished = site.state(), []
    with signals.topup_finished.connected_to(lambda *_, **__: finished.append(1), site.app):
        for message in [*late, look]:
            site.work(message)
    assert (site.state(), site.queue.messages, finished, len(site.runs())) == (before, [], [], 1)


@ONE_SERVER
def test_what_is_added_at_the_last_moment(site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that joins when all shards are done, just before the run confirms, is filled by it."""
    ids = site.fill_with(4)
    upkeep, joined = site.topup.runner.upkeep, []

    def late(*args: Any) -> None:
        if not joined:
            joined.append(Distributor(site.topup).join(ids[0], "edit"))
        upkeep(*args)

    monkeypatch.setattr(site.topup.runner, "upkeep", late)
    site.visit()
    site.drain()
    assert joined == [True]
    states = site.session.scalars(select(site.slots.models.Shard.status)).all()
    assert states == ["done", "done", "done"]
    assert site.runs()[0].status == "confirmed"


def test_a_shard_is_ended_once(site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that sleeps after its last chunk, while another one ends its shard, counts nothing a second time."""
    site.fill_with(6)
    monkeypatch.setattr(distributor, "_TURN_SECONDS", 0.0)
    finish, slept = run.Run.finish, []

    def sleep(self: Any) -> Any:
        if not slept:
            slept.append(1)
            site.clock.turn(seconds=31)
            site.work(site.take())
        return finish(self)

    monkeypatch.setattr(run.Run, "finish", sleep)
    site.visit()
    site.drain()
    assert slept
    (row,) = site.runs()
    assert (row.status, row.created, row.expected) == ("confirmed", 6 * A_WEEK, 6 * A_WEEK)
    assert row.done == site.count() == 6 * A_WEEK


@ONE_SERVER
def test_shards_that_are_gone_confirm_nothing(site: QueueSite) -> None:
    """When somebody empties the table of shards, the run is not confirmed; the next visit fills what is missing."""
    site.fill_with(6)
    site.visit()
    look = site.take()
    kept = Distributor._serve
    stopped: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        # The coordinator stops after it has asked for workers.
        patch.setattr(
            Distributor,
            "_serve",
            lambda self, message: stopped.append(message) if message["do"] == "fill" else kept(self, message),
        )
        site.work(look)
    assert stopped
    with site.db.engine.begin() as connection:
        connection.execute(text("DELETE FROM rolling_shard WHERE first_id > 1"))
    site.drain()
    assert site.state().confirmed_ms == 0
    assert site.count() == 2 * A_WEEK
    site.clock.turn(seconds=31)
    site.visit()
    site.drain()
    assert (site.count(), [row.status for row in site.runs()]) == (6 * A_WEEK, ["interrupted", "confirmed"])


def test_a_view_is_answered_once_for_all_processes(small_site: QueueSite) -> None:
    """A worker that filled a template notes that in the cache, and no process asks again within the hour."""
    site = small_site
    (number,) = site.fill_with(1)
    site.topup.view([number])
    site.settle()
    site.work(site.take())
    site.topup.memory.reset()  # as another process
    site.topup.view([number])
    site.settle()
    assert site.queue.messages == []
