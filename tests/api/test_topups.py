"""Top-ups over HTTP: in the background, one at a time, seen from every process, and with a week's figures."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from api_site import READ, WRITE, ApiSite, bearer
from helpers import A_WEEK
from sqlalchemy import text

from flask_rollingslots.topup import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask_rollingslots.topup.gate import Lease


@pytest.fixture
def other(site: ApiSite, sqlite_url: str, tmp_path: Path) -> ApiSite:
    """A second app on the same database, as in another process."""
    return ApiSite(sqlite_url, tmp_path, site.clock)


@pytest.fixture
def held(other: ApiSite) -> Iterator[Lease]:
    """The lease, held by somebody else until the test gives it back."""
    with other.app.app_context():
        lease = other.topup.runner.acquire()
    assert lease is not None
    yield lease
    give_back(other, lease)


def give_back(site: ApiSite, lease: Lease) -> None:
    """End somebody else's top-up."""
    with site.app.app_context():
        lease.release(site.topup.runner.work())
        site.session.commit()


def start(site: ApiSite, **body: Any) -> Any:
    """Start a top-up and return its answer."""
    answer = site.call("POST", "/topups", body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/api/topups/{answer.json['id']}"
    return answer.json


def finished(site: ApiSite, **body: Any) -> Any:
    """Start a top-up, wait for it, and return its run."""
    number = start(site, **body)["id"]
    site.settle()
    return site.get(f"/topups/{number}")


def test_a_top_up_of_everything(site: ApiSite) -> None:
    """202 with the address of the run, which holds the results by template and group when it has ended."""
    site.fill("Hall", "Court")
    done = finished(site)
    assert (done["status"], done["created"], done["done"], done["total"]) == ("confirmed", 112, 112, 112)
    assert [(each["name"], each["created"]) for each in done["templates"]] == [
        ("Hall", A_WEEK),
        ("Court", A_WEEK),
    ]
    assert [(each["name"], each["created"]) for each in done["groups"]] == [
        ("court", A_WEEK),
        ("hall", A_WEEK),
    ]
    assert site.stored() == 2 * A_WEEK
    again = finished(site)
    assert (again["created"], again["existing"]) == (0, 2 * A_WEEK)
    assert [each["id"] for each in site.get("/topups")["items"]] == [again["id"], done["id"]]


def test_a_part_of_it(site: ApiSite) -> None:
    """So many days, one template, one group; what is not there is not found, and nothing is written."""
    site.fill("Hall", "Court")
    assert finished(site, days=2, template=2)["created"] == 16
    assert finished(site, group="hall")["created"] == A_WEEK
    assert site.call("POST", "/topups", {"template": 9}).json["code"] == "template_not_found"
    assert site.call("POST", "/topups", {"group": "nobody"}).json["code"] == "template_not_found"
    assert len(site.get("/topups")["items"]) == 2


def test_a_dry_run_says_what_would_be(site: ApiSite) -> None:
    """200, no run, no rows; the figures are those of the run that follows."""
    site.fill("Hall")
    for body in ({}, {"days": 14}, {"week": "current"}, {"since": "2026-01-01"}):
        tried = site.call("POST", "/topups", {**body, "dry_run": True})
        assert (tried.status_code, tried.json["dry_run"], tried.json["id"]) == (200, True, None)
        assert site.get("/topups?limit=1")["items"] == [] or site.stored()
        done = finished(site, **body)
        assert {
            n: tried.json[n] for n in ("created", "existing", "expected", "window_start", "window_end")
        } == {n: done[n] for n in ("created", "existing", "expected", "window_start", "window_end")}


def test_a_week_has_the_figures_of_document_004(site: ApiSite) -> None:
    """Monday to Sunday with past days, by each template's own calendar; then what is stored of that week."""
    site.clock.turn(days=2)
    site.fill("Madrid", timezone="Europe/Madrid")
    site.fill("Auckland", timezone="Pacific/Auckland")
    done = finished(site, week="current")
    assert (done["week_start"], done["week_end"]) == ("2026-01-05", "2026-01-11")
    assert (done["created"], done["templates_processed"]) == (2 * A_WEEK, 2)
    assert {each["name"]: each["created"] for each in done["templates"]} == {
        "Madrid": A_WEEK,
        "Auckland": A_WEEK,
    }
    days = {slot.original_start.date().isoformat() for slot in stored(site)}
    assert (min(days), max(days)) == ("2026-01-05", "2026-01-11")
    week = site.get("/topups?week=2026-01-08&limit=1")["week"]
    assert (week["week_start"], week["week_end"], week["templates_with_slots"]) == (
        "2026-01-05",
        "2026-01-11",
        2,
    )
    assert week["slots"] == sum(each["slots"] for each in week["templates"])
    (mine,) = site.get("/topups?week=current&template=1")["week"]["templates"]
    assert (mine["name"], mine["slots"]) == ("Madrid", A_WEEK)
    assert finished(site, week="2026-01-01")["week_start"] == "2025-12-29"
    assert finished(site, week="2026-01-18")["created"] == 2 * A_WEEK


def stored(site: ApiSite) -> list[Any]:
    """Return all rows of slots, detached."""
    with site.app.app_context():
        found = site.rows()
        site.session.expunge_all()
        return found


def test_everything_since_a_day(site: ApiSite) -> None:
    """From that day to the end of today, past slots too."""
    site.fill("Hall")
    done = finished(site, since="2026-01-01")
    assert (done["created"], done["week_start"]) == (5 * 8, None)
    for wrong in ("2026-01-06", "2025-10-05", "yesterday"):
        assert site.call("POST", "/topups", {"since": wrong}).status_code == 422


def test_what_was_pruned_does_not_come_back(site: ApiSite) -> None:
    """A span that was forgotten is refused, with the first day that can be filled."""
    site.fill("Hall")
    finished(site, since="2026-01-01")
    with site.app.app_context():
        site.slots.prune(1)
    answer = site.call("POST", "/topups", {"since": "2026-01-01"})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "start")


def test_progress_is_seen_by_another_process(
    site: ApiSite, other: ApiSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Done and total move while the top-up works."""
    site.fill("Hall")
    seen: list[tuple[str, int, int]] = []
    write = run.Run._write
    monkeypatch.setattr(run, "_LARGEST_CHUNK", 20)

    def look_and_write(self: Any, chunk: Any) -> None:
        now = other.get("/topups?limit=1")["items"][0]
        seen.append((now["status"], now["done"], now["total"]))
        write(self, chunk)

    monkeypatch.setattr(run.Run, "_write", look_and_write)
    finished(site)
    assert len(seen) >= 3
    assert {status for status, _, _ in seen} == {"running"}
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert {total for _, _, total in seen[1:]} == {A_WEEK}


def test_it_waits_for_another_top_up(site: ApiSite, other: ApiSite, held: Lease) -> None:
    """While somebody else's top-up works it is queued; then it does its part."""
    site.fill("Hall")
    number = start(site)["id"]
    assert other.get(f"/topups/{number}")["status"] == "queued"
    give_back(other, held)
    site.settle()
    assert other.get(f"/topups/{number}")["created"] == A_WEEK


def test_only_one_at_a_time(site: ApiSite, other: ApiSite, held: Lease) -> None:
    """Whoever comes meanwhile, in whatever process, is told which run is under way, and when to try again."""
    site.fill("Hall")
    number = start(site)["id"]
    for each in (site, other):
        busy = each.call("POST", "/topups", {"days": 3})
        assert (busy.status_code, busy.json["code"], busy.json["run_id"]) == (409, "topup_busy", number)
        assert busy.json["run"] == busy.headers["Location"] == f"/api/topups/{number}"
        assert int(busy.headers["Retry-After"]) >= 1
    give_back(other, held)
    site.settle()
    assert len(site.get("/topups")["items"]) == 1
    assert site.stored() == A_WEEK


def test_many_at_once_on_every_database(database_url: str, tmp_path: Path) -> None:
    """Of many threads that ask at the same moment one gets the run."""
    site = ApiSite(database_url, tmp_path)
    site.fill("Hall")
    with site.app.app_context():
        lease = site.topup.runner.acquire()
    together = threading.Barrier(8)

    def ask(_: int) -> tuple[int, Any]:
        together.wait()
        answer = site.call("POST", "/topups", {"days": 3})
        return answer.status_code, answer.json.get("run_id", answer.json.get("id"))

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(ask, range(8)))
    give_back(site, lease)
    site.settle()
    number = answers[0][1]
    assert answers == [(202, number)] + [(409, number)] * 7
    assert site.get(f"/topups/{number}")["created"] == site.stored() == 3 * 8


@pytest.mark.parametrize("was", ["queued", "running"])
def test_a_run_whose_process_died_is_in_nobodys_way(
    site: ApiSite, other: ApiSite, held: Lease, monkeypatch: pytest.MonkeyPatch, was: str
) -> None:
    """It is closed as interrupted, and the next one begins."""
    site.fill("Hall")
    monkeypatch.setattr(type(site.topup.executor), "submit", lambda self, job: True)
    dead = start(site)["id"]
    monkeypatch.undo()
    if was == "running":
        with site.app.app_context():
            found = site.session.get(site.slots.Run, dead)
            found.status, found.token = "running", held.token
            site.session.commit()
        assert other.call("POST", "/topups", {}).status_code == 409
    give_back(other, held)
    site.clock.now += timedelta(seconds=91)
    done = finished(other)
    assert (done["status"], done["created"]) == ("confirmed", A_WEEK)
    assert other.get(f"/topups/{dead}")["status"] == "interrupted"


def test_one_that_never_gets_its_turn_fails(
    site: ApiSite, held: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After twice the lease it gives up, and says why to whoever may know."""
    monkeypatch.setattr(type(site.topup.runner), "wait_for_lease", lambda self, stopping: None)
    number = start(site)["id"]
    site.settle()
    told = site.get(f"/topups/{number}")
    assert (told["status"], told["error"]) == (
        "failed",
        "another top-up was under way and did not end in time",
    )
    assert told["finished_at"] is not None


def test_what_goes_wrong_is_told_to_those_who_may_know(sqlite_url: str, tmp_path: Path) -> None:
    """A template that cannot be filled does not stop the others; its error is shown with a token only."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_PUBLIC_READS=True)
    site.fill("Hall", "Court")
    with site.app.app_context():
        site.session.execute(text("UPDATE rolling_template SET rrule = 'FREQ=SECRET' WHERE name = 'Hall'"))
        site.session.commit()
    number = start(site)["id"]
    site.settle()
    told = site.get(f"/topups/{number}", token=READ)
    assert (told["status"], told["created"]) == ("failed", A_WEEK)
    assert "SECRET" in told["templates"][0]["error"]
    public = site.get(f"/topups/{number}", token=None)
    assert "SECRET" not in str(public)
    assert public["error"]
    assert "SECRET" not in str(site.get("/topups", token=None))


def test_health(site: ApiSite) -> None:
    """The public learns one word, whoever has a token the figures and which templates lack slots."""
    site.fill("Hall")
    assert site.get("/health", token=None) == {"status": "due"}
    finished(site)
    assert site.get("/health", token=None) == {"status": "ok"}
    told = site.get("/health", token=READ)
    assert (told["promised"], told["stored"], told["templates"]) == (A_WEEK, A_WEEK, [])
    with site.app.app_context():
        for row in site.rows()[:3]:
            site.session.delete(row)
        site.session.commit()
    told = site.get("/health")
    assert (told["status"], told["missing"], told["templates"][0]["name"]) == ("missing", 3, "Hall")
    assert finished(site)["created"] == 3


@pytest.mark.parametrize("executor", ["inline", "after_response"])
def test_without_threads(sqlite_url: str, tmp_path: Path, executor: str) -> None:
    """It is done within the request, or after its response, together with the day's own top-up."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_EXECUTOR=executor, ROLLINGSLOTS_ENABLED=True)
    site.fill("Hall", window_days=60)
    with site.app.test_client() as client:
        answer = client.post("/api/topups", json={}, headers=bearer(WRITE))
        assert answer.status_code == 202
        answer.close()
    done = site.get(f"/topups/{answer.json['id']}")
    assert (done["status"], done["created"] + done["existing"]) == ("confirmed", 60 * 8)
    assert site.stored() == 60 * 8


def test_without_threads_it_waits_for_nobody(sqlite_url: str, tmp_path: Path, held: Lease) -> None:
    """Where it would be done in the request, another top-up is in its way at once."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_EXECUTOR="inline")
    number = start(site)["id"]
    assert site.get(f"/topups/{number}")["status"] == "failed"
    with site.app.app_context():
        assert site.topup.runner.read_state().token == held.token


def test_on_a_shared_connection(tmp_path: Path) -> None:
    """In memory, as in test suites, it is done at once and committed."""
    site = ApiSite("sqlite://", tmp_path)
    site.fill("Hall")
    done = start(site)
    assert (done["status"], done["created"]) == ("confirmed", A_WEEK)
    assert site.stored() == A_WEEK
    assert site.call("POST", "/topups", {"week": "current", "dry_run": True}).json["created"] == 0


def test_a_server_that_stops_says_so(site: ApiSite) -> None:
    """No run is left behind as if it were still to come."""
    site.topup.executor.shutdown()
    answer = site.call("POST", "/topups", {})
    assert (answer.status_code, answer.json["code"]) == (409, "topup_busy")
    assert site.get("/topups")["items"][0]["status"] == "interrupted"
