"""Shared runs with a queue in the test's hands: whatever happens to messages and workers, the slots are right."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from helpers import A_WEEK
from marks import quick_on
from queue_site import ONE_SERVER, QueueSite
from sqlalchemy import select, text, update

from flask_rollingslots.errors import QueueUnavailable, TopUpBusy
from flask_rollingslots.models import table_of
from flask_rollingslots.queue import Distributor, distributor, order, sharding
from flask_rollingslots.topup import TopUpRequest, run

#: On each database a run is shared, progresses and is fenced; what follows from that is told apart on one.
ELSEWHERE = quick_on("postgresql")


class Killed(BaseException):
    """Ends a worker in the middle of things, as a signal would: nothing is tidied up."""


def kill_after(monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    """Let the next worker die when it has committed so many chunks."""
    monkeypatch.setattr(run, "_FIRST_CHUNK", 20)
    monkeypatch.setattr(run, "_LARGEST_CHUNK", 20)
    left = [chunks]
    write = run.Run._write

    def dying(self: Any, chunk: Any) -> None:
        if left[0] == 0:
            monkeypatch.setattr(run.Run, "_write", write)
            raise Killed
        left[0] -= 1
        write(self, chunk)

    monkeypatch.setattr(run.Run, "_write", dying)


def before_the_first_chunk(site: QueueSite, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Let something happen in a transaction of its own, just before a worker writes its first chunk."""
    write = run.Run._write

    def late(self: Any, chunk: Any) -> None:
        monkeypatch.setattr(run.Run, "_write", write)
        with site.db.engine.begin() as connection:
            connection.execute(text(statement))
        write(self, chunk)

    monkeypatch.setattr(run.Run, "_write", late)


def die(site: QueueSite, message: dict[str, Any]) -> None:
    """Work on a message as a worker that is killed meanwhile: what it would do on its way out does not happen."""
    with pytest.raises(Killed):
        site.work(message)


def test_a_visit_becomes_a_shared_run(site: QueueSite) -> None:
    """The hook sends one message; workers fill each shard once, and the last one confirms."""
    ids = site.fill_with(9)
    site.visit()
    assert [message["do"] for message, _ in site.queue.messages] == ["look"]
    assert site.count() == 0
    site.drain()
    assert site.count() == 9 * A_WEEK
    (run_row,) = site.runs()
    assert (run_row.status, run_row.done, run_row.total) == ("confirmed", 9 * A_WEEK, 9 * A_WEEK)
    assert (run_row.created, run_row.existing, run_row.expected) == (9 * A_WEEK, 0, 9 * A_WEEK)
    assert run_row.results["groups"]["g0"]["created"] == 5 * A_WEEK
    assert {int(key) for key in run_row.results["templates"]} == set(ids)
    assert site.state().until_ms == 0
    site.visit()
    assert site.queue.messages == []


@ONE_SERVER
def test_a_small_run_needs_no_second_message(site: QueueSite) -> None:
    """What fits in one shard is filled by the worker that looks."""
    site.fill_with(2)
    site.visit()
    site.work(site.take())
    assert (site.count(), site.queue.messages) == (2 * A_WEEK, [])
    assert site.runs()[0].status == "confirmed"


@ONE_SERVER
def test_an_ordered_run_is_shared_and_keeps_its_row(site: QueueSite) -> None:
    """What is ordered over HTTP, here a week, is filled by the workers under the row that was promised at once."""
    ids = site.fill_with(6)
    monday = site.clock().date() - timedelta(days=site.clock().weekday())
    number = order(site.topup, TopUpRequest.manual(monday + timedelta(days=7)))
    site.settle()
    assert [message["do"] for message, _ in site.queue.messages] == ["fill"] * 3
    assert (site.count(), site.runs()[0].status) == (0, "running")
    with pytest.raises(TopUpBusy):
        order(site.topup, TopUpRequest("manual"))
    site.drain()
    (found,) = site.runs()
    assert (found.id, found.status, found.trigger) == (number, "confirmed", "api")
    assert (found.created, site.count()) == (6 * A_WEEK, 6 * A_WEEK)
    assert {int(key) for key in found.results["templates"]} == set(ids)
    assert found.results["request"]["first_day"] == str(monday + timedelta(days=7))
    assert site.state().confirmed_ms == 0  # another week than the window: that is not complete by it


@ONE_SERVER
def test_an_ordered_run_without_a_queue_is_filled_here(site: QueueSite) -> None:
    """A broker that is down keeps nobody's top-up waiting."""
    site.fill_with(6)
    site.queue.is_down = True
    order(site.topup, TopUpRequest("manual"))
    site.settle()
    (found,) = site.runs()
    assert (found.status, found.created, site.count()) == ("confirmed", 6 * A_WEEK, 6 * A_WEEK)


@ONE_SERVER
def test_progress_moves_with_each_chunk(site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """While workers work the run row says how far they are, and afterwards it says exactly what there is."""
    site.fill_with(6)
    monkeypatch.setattr(distributor, "_TURN_SECONDS", 0.0)
    monkeypatch.setattr(distributor, "_SHARD_ROWS", 10**9)
    site.visit()
    seen = []
    while site.queue.messages:
        site.work(site.take())
        seen.append((site.runs()[0].done, site.count(), len(site.runs()[0].results.get("templates", ()))))
    assert all(done == count for done, count, _ in seen)
    assert sorted({named for _, _, named in seen}) == [2, 4, 6]


@ELSEWHERE
@pytest.mark.parametrize("seed", range(2))
def test_messages_come_twice_late_in_any_order_or_never(site: QueueSite, seed: int) -> None:
    """Any mixture of lost, repeated and reordered messages fills everything once; the rest comes with a visit."""
    site.fill_with(11)
    rng = random.Random(seed)
    site.visit()
    old: list[dict[str, Any]] = []
    for _ in range(40):
        if not site.queue.messages:
            break
        message = site.take(rng.randrange(len(site.queue.messages)))
        old.append(message)
        if rng.random() < 0.2:
            continue  # lost
        for _ in range(rng.choice((1, 1, 2))):
            site.work(message)
    for message in old:  # late, when the run is over or stalled
        site.work(message)
    site.clock.turn(seconds=100)
    site.visit()
    site.drain()
    assert site.count() == 11 * A_WEEK
    last = site.runs()[-1]
    assert last.status == "confirmed"
    created = sum(row.created for row in site.runs() if row.status == "confirmed")
    assert created <= 11 * A_WEEK
    site.visit()
    assert site.queue.messages == []


@ELSEWHERE
@pytest.mark.parametrize("chunks", [0, 2])
def test_a_worker_dies_in_the_middle_of_a_shard(
    site: QueueSite, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    """Another worker of the same run takes the shard over when its claim ends, and the counts stay exact."""
    site.fill_with(7)
    site.visit()
    look = site.take()
    kill_after(monkeypatch, chunks)
    die(site, look)
    assert site.queue.messages, "other workers were asked before"
    assert site.count() == chunks * 20
    watcher = site.take()
    site.queue.messages.clear()
    site.work(watcher)  # fills what is free, and asks again for what the dead one holds
    assert site.count() >= 5 * A_WEEK
    assert site.runs()[0].status == "running"
    ((waits, delay),) = site.queue.messages
    assert 0 < delay <= 31
    site.queue.messages.clear()
    site.clock.turn(seconds=delay + 1)
    site.work(waits)
    (row,) = site.runs()
    assert (row.status, row.done, row.created, row.existing) == ("confirmed", 7 * A_WEEK, 7 * A_WEEK, 0)
    assert site.count() == 7 * A_WEEK


@ONE_SERVER
def test_all_workers_die(site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody renews the lease, the visit after its end starts again, with what is missing."""
    site.fill_with(5)
    site.visit()
    kill_after(monkeypatch, 1)
    die(site, site.take())
    late = [message for message, _ in site.queue.messages]
    site.queue.messages.clear()
    site.visit()
    assert site.queue.messages == [], "the lease still holds"
    site.clock.turn(seconds=31)
    site.visit()
    site.drain()
    for message in late:
        site.work(message)
    assert site.count() == 5 * A_WEEK
    assert [row.status for row in site.runs()] == ["interrupted", "confirmed"]
    assert site.runs()[1].created == 5 * A_WEEK - 20


def test_a_zombie_writes_nothing(site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that slept while another top-up took the lease over rolls back its chunk and changes no progress."""
    site.fill_with(5)
    site.visit()
    before_the_first_chunk(site, monkeypatch, "UPDATE rolling_lease SET token = token + 1")
    site.work(site.take())
    assert (site.count(), site.runs()[0].done) == (0, 0)


@ONE_SERVER
def test_a_claim_that_was_taken_over_fences_too(site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that believe in the same shard: the one whose claim is gone writes nothing of it, and goes on."""
    site.fill_with(4)
    site.visit()
    steal = "UPDATE rolling_shard SET claim = 'another' WHERE status = 'running'"
    before_the_first_chunk(site, monkeypatch, steal)
    site.work(site.take())
    assert site.count() == 2 * A_WEEK, "the other shard"
    site.clock.turn(seconds=31)
    site.work(site.take())
    assert site.count() == 4 * A_WEEK
    (row,) = site.runs()
    assert (row.status, row.done, row.created) == ("confirmed", 4 * A_WEEK, 4 * A_WEEK)


@ELSEWHERE
def test_no_more_workers_than_allowed(site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that comes while as many as allowed are at work leaves, and looks again later."""
    site.fill_with(12)
    site.visit()
    look, peak = site.take(), []
    fill = Distributor._fill

    def nested(self: Any, job: Any, claim: Any) -> None:
        cls = site.slots.models.Shard
        with site.app.app_context():
            running = site.db.session.scalars(select(cls.id).where(cls.status == "running")).all()
        peak.append(len(running))
        if site.queue.messages:  # another worker at the same time
            site.work(site.take())
        fill(self, job, claim)

    monkeypatch.setattr(Distributor, "_fill", nested)
    site.work(look)
    site.drain()
    assert max(peak) == 4
    assert site.count() == 12 * A_WEEK
    assert site.runs()[0].status == "confirmed"


def test_what_somebody_looks_at_comes_first(small_site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view during the run moves the shard of its template to the front; no message is needed."""
    site = small_site
    ids = site.fill_with(12)
    monkeypatch.setattr(distributor, "_TURN_SECONDS", 0.0)
    monkeypatch.setattr(distributor, "_SHARD_ROWS", 10**9)
    site.visit()
    site.work(site.take())  # the first shard
    waiting = len(site.queue.messages)
    site.topup.view([ids[-1]])
    site.settle()
    assert len(site.queue.messages) == waiting
    site.work(site.take())
    filled = set(site.session.scalars(select(site.slots.Slot.template_id).distinct()))
    assert filled == {ids[0], ids[1], ids[-2], ids[-1]}


@ONE_SERVER
def test_workers_fill_a_history_too(site: QueueSite) -> None:
    """What was promised while nobody came is filled by the shards of its templates, which note it."""
    site.fill_with(4, keep_history=True)
    site.clock.turn(days=40)
    for _ in range(2):
        site.visit()
        site.drain()
        site.clock.turn(hours=2)
    assert site.count() == 4 * (40 * 8 + A_WEEK)
    template = site.slots.Template
    assert min(site.session.scalars(select(template.history_until))) > site.clock.now


@ONE_SERVER
def test_a_template_of_the_meantime_joins_the_run(site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that is added while workers are busy is filled by them, and the run names it."""
    site.fill_with(5)
    monkeypatch.setattr(distributor, "_TURN_SECONDS", 0.0)
    monkeypatch.setattr(distributor, "_SHARD_ROWS", 10**9)
    site.visit()
    site.work(site.take())
    new = site.add(name="New").id
    site.settle()
    site.drain()
    assert site.count() == 6 * A_WEEK
    assert site.runs()[0].results["templates"][str(new)]["created"] == A_WEEK
    assert site.slots.runs(template=new)


@ONE_SERVER
def test_an_edit_alone_goes_to_a_worker(site: QueueSite) -> None:
    """A new template is one message, and one run of its own."""
    new = site.add().id
    site.settle()
    message = site.take()
    assert (message["do"], message["target"], message["trigger"]) == ("look", new, "edit")
    site.work(message)
    assert (site.count(), site.runs()[0].template_id) == (A_WEEK, new)


def test_after_a_long_pause_workers_rest(small_site: QueueSite) -> None:
    """Catching up after days without a visit, each worker rests after each shard; a day's run does not."""
    site = small_site
    site.fill_with(8)
    site.visit()
    site.drain()
    site.clock.turn(days=1)
    site.visit()
    look = site.take()
    site.work(look)
    assert not any(message["paced"] for message, _ in site.queue.messages)
    site.drain()
    site.clock.turn(days=4)
    site.visit()
    site.work(site.take())
    paced = [delay for message, delay in site.queue.messages if message["paced"]]
    assert paced
    assert all(0 <= delay <= 15 for delay in paced)
    before = site.count()
    site.work(site.take())
    assert site.count() - before == 2 * 4 * 8, "one shard, then a rest"
    site.drain()
    assert site.runs()[-1].status == "confirmed"


def test_a_long_shard_is_put_back(small_site: QueueSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard with too many rows for one turn goes on later, where it was; nothing counts twice."""
    site = small_site
    site.fill_with(4)
    monkeypatch.setattr(distributor, "_SHARD_ROWS", 25)
    monkeypatch.setattr(run, "_FIRST_CHUNK", 20)
    monkeypatch.setattr(run, "_LARGEST_CHUNK", 20)
    site.visit()
    site.drain()
    (row,) = site.runs()
    assert (row.status, row.created, row.existing, row.done) == ("confirmed", 4 * A_WEEK, 0, 4 * A_WEEK)
    attempts = site.session.scalars(select(site.slots.models.Shard.attempts)).all()
    assert max(attempts) <= 2


def test_a_shard_that_kills_its_workers_is_given_up(
    small_site: QueueSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After five lost workers the shard fails, the others are filled, and the run says so and backs off."""
    site = small_site
    site.fill_with(6)
    site.visit()
    messages = [site.take()]
    load = sharding.Claim.asked_for

    def deadly(self: Any, *args: Any) -> Any:
        if self.first_id <= 3 <= self.last_id:
            raise Killed
        return load(self, *args)

    monkeypatch.setattr(sharding.Claim, "asked_for", deadly)
    for _ in range(20):
        messages += [site.take() for _ in list(site.queue.messages)]
        try:
            site.work(messages[-1])
        except Killed:
            site.clock.turn(seconds=31)
        if site.runs()[0].status != "running":
            break
    (row,) = site.runs()
    assert row.status == "failed"
    assert "begun 5 times" in row.error
    assert site.count() == 4 * A_WEEK
    assert site.state().failures == 1


@ONE_SERVER
def test_one_broken_template_stops_nobody(site: QueueSite) -> None:
    """A template that cannot be planned is named in the run; all others are filled."""
    ids = site.fill_with(7)
    table = table_of(site.slots.Template)
    site.session.execute(update(table).where(table.c.id == ids[3]).values(timezone="Nowhere/Town"))
    site.session.commit()
    site.visit()
    site.drain()
    (row,) = site.runs()
    assert row.status == "failed"
    assert "Nowhere/Town" in row.results["templates"][str(ids[3])]["error"]
    assert site.count() == 6 * A_WEEK


@ONE_SERVER
def test_by_hand(site: QueueSite) -> None:
    """A person's request is cut and filled like the daily one: a group, or a longer window."""
    site.fill_with(6)
    run_id = Distributor(site.topup).begin(TopUpRequest("manual", days=14, group="g1"))
    assert site.count() == 0
    site.drain()
    (row,) = site.runs()
    assert (row.id, row.status, row.trigger) == (run_id, "confirmed", "manual")
    assert site.count() == 3 * 2 * A_WEEK
    assert site.state().confirmed_ms == 0, "a part of the templates confirms nothing"


@pytest.mark.parametrize(
    ("own", "days", "confirms"),
    [(3, 3, True), (3, 2, False), (10, 7, False), (None, 7, True), (None, 3, False)],
)
def test_workers_confirm_what_one_process_confirms(
    small_site: QueueSite, own: int | None, days: int, confirms: bool
) -> None:
    """Whether so many days are everything depends on the templates' windows alone, not on who fills them."""
    site = small_site
    site.fill_with(3, window_days=own)
    Distributor(site.topup).begin(TopUpRequest("manual", days=days))
    site.drain()
    shared = site.state().confirmed_ms > 0
    site.session.execute(text("UPDATE rolling_lease SET confirmed_ms = 0"))
    site.session.commit()
    site.slots.generate(days=days)
    assert (shared, site.state().confirmed_ms > 0) == (confirms, confirms)


def test_by_hand_without_a_queue(small_site: QueueSite) -> None:
    """A queue that takes nothing is an error, the lease is given back, and the run says that it was interrupted."""
    site = small_site
    site.fill_with(3)
    site.queue.is_down = True
    with pytest.raises(QueueUnavailable):
        Distributor(site.topup).begin(TopUpRequest("manual"))
    assert (site.runs()[0].status, site.state().until_ms) == ("interrupted", 0)
    site.topup.executor.is_queue = False
    with pytest.raises(QueueUnavailable, match="no queue: expected 'celery'"):
        Distributor(site.topup).begin(TopUpRequest("manual"))


def test_by_hand_with_nothing_to_do(small_site: QueueSite) -> None:
    """Without templates a worker confirms an empty run."""
    site = small_site
    Distributor(site.topup).begin(TopUpRequest("manual"))
    site.drain()
    assert [(row.status, row.created) for row in site.runs()] == [("confirmed", 0)]
    assert site.state().confirmed_ms > 0
