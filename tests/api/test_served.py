"""The API under gunicorn with several processes on PostgreSQL: what one document's app does, and a hundred at once."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from api_site import PREFIX, WRITE, ApiSite, bearer

from flask_rollingslots.values import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers import Gunicorn

_APP = """
import os, pathlib
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_rollingslots import RollingSlots

app = Flask("served", instance_path=os.getcwd())
app.config.update(
    SQLALCHEMY_DATABASE_URI=os.environ["DATABASE"],
    ROLLINGSLOTS_API_PREFIX="/api",
    ROLLINGSLOTS_API_TOKEN=os.environ["TOKEN"],
    ROLLINGSLOTS_LEASE_SECONDS=int(os.environ["LEASE"]),
    ROLLINGSLOTS_ENABLED=os.environ.get("ENABLED") == "1",
)
slots = RollingSlots(app, db=SQLAlchemy(app))
"""
WAIT = 100.0  # a deadline for slow machines, not a measure
LEASE = 300  # seconds: longer than a hundred requests take on a busy machine


class Served:
    """A client of the API under gunicorn."""

    def __init__(self, server: Gunicorn, site: ApiSite) -> None:
        self.server, self.site = server, site

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Make one request; return the status and what the body holds."""
        sent = {**bearer(WRITE), **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        answer = self.server.request(f"{PREFIX}{path}", method, data, sent)
        return answer.status, json.loads(answer.body) if answer.body else None

    def get(self, path: str) -> Any:
        """Return what a GET answers, which must be 200."""
        status, found = self.call("GET", path)
        assert status == 200, found
        return found

    def ended(self, number: int) -> Any:
        """Poll a run until it has ended, and return it."""
        deadline = time.monotonic() + WAIT
        while (found := self.get(f"/topups/{number}"))["status"] in ("queued", "running"):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)  # what a front end does: there is no event across the network
        return found


def rows(site: ApiSite) -> list[Any]:
    """Return all rows of slots."""
    with site.app.app_context():
        found = site.rows()
        site.session.expunge_all()
        return found


@pytest.fixture
def served(
    postgres_url: str, tmp_path: Path, gunicorn: Callable[..., Gunicorn], request: pytest.FixtureRequest
) -> Served:
    """Two processes with eight threads each, and a site of this process on the same database."""
    site = ApiSite(postgres_url, tmp_path, utc_now, ROLLINGSLOTS_LEASE_SECONDS=LEASE)  # type: ignore[arg-type]
    (tmp_path / "served.py").write_text(_APP)
    env = {
        "DATABASE": postgres_url,
        "TOKEN": WRITE,
        "ENABLED": getattr(request, "param", "0"),
        "LEASE": str(LEASE),
    }
    return Served(gunicorn("served:app", workers=2, env=env, options=["--threads", "8"]), site)


def test_a_hundred_at_once_start_one_top_up(served: Served) -> None:
    """One is accepted, the others are told its address; afterwards every row is there once."""
    site = served.site
    site.fill("Hall", "Court")
    with site.app.app_context():  # somebody else's top-up, so that the accepted one is under way all the time
        lease = site.topup.runner.acquire()
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: served.call("POST", "/topups", {"days": 30}), range(100)))
    accepted = [found for status, found in answers if status == 202]
    told = [found for status, found in answers if status == 409]
    assert (len(accepted), len(told)) == (1, 99)
    assert {(found["code"], found["run"]) for found in told} == {
        ("topup_busy", f"{PREFIX}/topups/{accepted[0]['id']}")
    }
    with site.app.app_context():
        lease.release(site.topup.runner.work())
        site.session.commit()
    done = served.ended(accepted[0]["id"])
    today = date.fromisoformat(done["window_start"][:10])
    assert (done["status"], done["created"]) == ("confirmed", site.stored())
    assert len({(row.series_id, row.original_start) for row in rows(site)}) == done["created"]
    assert done["created"] == 2 * 8 * 29 + sum(row.starts_at.date() == today for row in rows(site))
    assert [run["id"] for run in served.get("/topups")["items"]] == [accepted[0]["id"]]


@pytest.mark.parametrize("served", ["1"], indirect=True)
def test_the_calls_of_document_001(served: Served) -> None:
    """Its guide from create to delete, one call after the other, on processes that top up by themselves."""
    today = datetime.now(UTC).date()
    first = (today.replace(day=1) + timedelta(days=62)).replace(
        day=1
    )  # the first of the month after the next
    status, health = served.call("GET", "/health")
    assert (status, health["status"], health["missing"]) == (200, "ok", 0)

    # create with recurrence: finite, and forever
    job = {"name": "ABC Company", "group": "calendar 1", "data": {"phone": "1"}, "timezone": "Europe/Madrid"}
    recurrence = {"enabled": True, "type": "monthly", "interval": 2, "count": 12}
    body = {**job, "dtstart": f"{first}T09:00", "end": f"{first}T17:00", "recurrence": recurrence}
    status, finite = served.call("POST", "/templates", body)
    assert (status, finite["is_forever"]) == (201, False)
    monday = today + timedelta(days=7 - today.weekday())
    weekly = {"enabled": True, "type": "weekly", "interval": 1, "end": "never"}
    body = {
        "name": "Weekly Check-in",
        "dtstart": f"{monday}T09:00",
        "end": f"{monday}T10:00",
        "recurrence": weekly,
    }
    status, forever = served.call("POST", "/templates", body)
    assert (status, forever["is_forever"]) == (201, True)

    # the search finds the endless one in any future range; the preview opens it
    far = f"from={today.year + 6}-01-01&to={today.year + 8}-01-01"
    assert [each["name"] for each in served.get(f"/templates?{far}")["items"]] == ["Weekly Check-in"]
    preview = f"/templates/{forever['id']}/preview"
    assert len(served.get(preview)["items"]) == 5
    assert len(served.get(f"{preview}?count=200")["items"]) == 200
    assert served.call("GET", f"{preview}?count=201")[0] == 422

    # the calendar shows virtual occurrences years ahead, and makes one real
    year = date(today.year + 4, 1, 1)
    virtual = served.get(f"/slots?start={year}&end={year + timedelta(days=31)}&template={forever['id']}")[
        "items"
    ]
    assert virtual
    assert all(slot["is_virtual"] for slot in virtual)
    occurrence = {"original_start": virtual[0]["original_start"]}
    path = f"/templates/{forever['id']}/materialize"
    assert [served.call("POST", path, occurrence)[0] for _ in range(2)] == [201, 200]

    # edit one, this and future ones, all
    keys = [slot["key"] for slot in served.get(f"/templates/{finite['id']}/preview?count=12")["items"]]
    assert len(keys) == 12
    for number, scope in ((1, "this_only"), (2, "this_and_future"), (0, "all")):
        name = f"after {scope}"
        change = {"data": {"business_name": name}, "dry_run": True}
        assert served.call("PATCH", f"/slots/{keys[number]}?scope={scope}", change)[1]["slot"] is None
        assert (
            served.call("PATCH", f"/slots/{keys[number]}?scope={scope}", {**change, "dry_run": False})[0]
            == 200
        )
    names = [served.get(f"/slots/{key}")["data"]["business_name"] for key in keys]
    assert names == ["after all", "after this_only", *["after all"] * 10]

    # complete one; finite to forever and back; what is complete stays
    assert served.call("POST", f"/slots/{keys[3]}/complete")[1]["state"] == "completed"
    path = f"/templates/{forever['id']}"
    change = {"recurrence": {"type": "weekly", "count": 24, "end": None}}
    assert served.call("PATCH", path, change)[1]["template"]["is_forever"] is False
    change = {"recurrence": {"type": "weekly", "count": None, "until_date": None, "end": "never"}}
    assert served.call("PATCH", path, change)[1]["template"]["is_forever"] is True

    # cancel future recurrences
    local = served.get(f"/slots/{keys[8]}")["local_start"][:10]
    status, _ = served.call("POST", f"/templates/{finite['id']}/cancel-future", {"from_date": local})
    assert status == 200
    assert [slot["key"] for slot in served.get(f"/templates/{finite['id']}/preview?count=12")["items"]
            if slot["state"] != "cancelled"] == keys[:8]  # fmt: skip

    # delete one, the later ones, the series
    assert served.call("DELETE", f"/slots/{keys[1]}?scope=this_only")[0] == 204
    assert served.call("GET", f"/slots/{keys[1]}")[0] == 404
    assert served.call("DELETE", f"/slots/{keys[5]}?scope=this_and_future")[0] == 200
    left = [slot["key"] for slot in served.get(f"/templates/{finite['id']}/preview?count=12")["items"]]
    assert left == [keys[0], keys[2], keys[3], keys[4]]
    assert served.call("DELETE", f"/templates/{finite['id']}")[1]["kept_completed"] == [keys[3]]
    assert [slot["key"] for slot in served.get(f"/templates/{finite['id']}/preview?count=12")["items"]] == [
        keys[3]
    ]
    status, run = served.call("POST", "/topups", {"week": "current"})
    assert (status, served.ended(run["id"])["status"]) == (202, "confirmed")
