"""Templates over HTTP: made from every dialect, found in any future span, changed and ended as whole series."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from api_site import ApiSite, bearer
from helpers import A_WEEK

if TYPE_CHECKING:
    from pathlib import Path

HOUR = {"name": "Hour", "dtstart": "2026-01-05T10:00", "duration_minutes": 60}
NEVER_STORED = {"id": None, "series_id": None, "revision": None, "created_at": None}


def made(site: ApiSite, **fields: Any) -> Any:
    """Create a template and return it."""
    answer = site.call("POST", "/templates", {**HOUR, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json


@pytest.mark.parametrize(
    ("fields", "rrule", "minutes"),
    [
        ({"rrule": "FREQ=WEEKLY;BYDAY=FR"}, "FREQ=WEEKLY;BYDAY=FR", 60),
        ({}, None, 60),
        ({"recurrence": {"enabled": True, "type": "monthly", "interval": 2, "count": 12}},
         "FREQ=MONTHLY;INTERVAL=2;COUNT=12", 60),
        ({"recurrence": {"enabled": True, "type": "weekly", "interval": 1, "end": "never", "count": None}},
         "FREQ=WEEKLY", 60),
        ({"recurrence": {"type": "yearly", "interval": 1, "until_date": "2030-12-31"}},
         "FREQ=YEARLY;UNTIL=20301231", 60),
        ({"duration_minutes": None, "end": "2026-01-05T18:00", "recurrence": {"type": "daily"}}, "FREQ=DAILY", 480),
        ({"dtstart": "2024-01-01", "duration_minutes": None,
          "recurrence": {"type": "weekly", "weekday": 4, "start_time": "22:00", "end_time": "02:00", "active": True}},
         "FREQ=WEEKLY;BYDAY=FR", 240),
        ({"dtstart": "2024-01-01", "duration_minutes": None,
          "recurrence": {"type": "monthly", "month_day": 1, "weekday": 5, "start_time": "21:00", "end_time": "01:00"}},
         "FREQ=MONTHLY;BYMONTHDAY=1,2,3,4,5,6,7;BYDAY=SA", 240),
        ({"dtstart": None, "duration_minutes": None, "recurrence": {
            "type": "weekly", "weekdays": [0, 2], "start_date": "2026-01-05", "start_time": "16:00",
            "end_time": "17:30"}}, "FREQ=WEEKLY;BYDAY=MO,WE", 90),
        ({"duration_minutes": None, "every_minutes": 30, "until_time": "12:00", "rrule": "FREQ=DAILY"},
         "FREQ=DAILY", 30),
    ],
)  # fmt: skip
def test_every_way_to_say_a_rule(
    site: ApiSite, fields: dict[str, Any], rrule: str | None, minutes: int
) -> None:
    """RRULE text, one slot alone, and each JSON dialect of the five documents; null means absent."""
    template = made(site, **fields)
    assert (template["rrule"], template["duration_minutes"]) == (rrule, minutes)
    assert site.get(f"/templates/{template['id']}") == template


def test_a_fixed_schedule_makes_one_template_for_each_entry(site: ApiSite) -> None:
    """A student's list of weekdays and times; the address is that of the first."""
    schedule = [
        {"weekday": 0, "start_time": "16:00", "end_time": "17:00"},
        {"weekday": 2, "start_time": "17:00", "end_time": "18:00"},
    ]
    body = {"name": "Juan", "group": "1", "dtstart": "2024-01-15", "recurrence": schedule}
    answer = site.call("POST", "/templates", body)
    assert answer.status_code == 201
    assert [each["rrule"] for each in answer.json["items"]] == [
        "FREQ=WEEKLY;BYDAY=MO",
        "FREQ=WEEKLY;BYDAY=WE",
    ]
    assert answer.headers["Location"] == "/api/templates/1"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"rrule": "FREQ=DAILY", "recurrence": {"type": "daily"}}, "rrule"),
        ({"end": "2026-01-05T11:00"}, "end"),
        ({"duration_minutes": None}, "duration_minutes"),
        ({"duration_minutes": None, "end": "2026-01-05T10:00"}, "end"),
        ({"dtstart": "2026-01-05"}, "dtstart"),
        ({"dtstart": None}, "dtstart"),
        ({"recurrence": {"type": "daily", "duration": 30}}, "duration"),
        ({"recurrence": {"type": "weekly", "month_day": 3}}, "month_day"),
        ({"recurrence": {"type": "daily", "interval": "2"}}, "recurrence.interval"),
        ({"recurrence": []}, "recurrence"),
        ({"opens_before_minutes": 60, "opens_days_before": 1}, "opens_before"),
        ({"exclusive": True}, "exclusive"),
        ({"nmae": "x"}, "nmae"),
    ],
)
def test_what_contradicts_itself_is_refused(site: ApiSite, fields: dict[str, Any], field: str) -> None:
    """422 with the field, what it held and what was expected; nothing is stored."""
    answer = site.call("POST", "/templates", {**HOUR, **fields})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json["errors"]] == [field]
    assert answer.json["errors"][0]["expected"]
    assert site.get("/templates")["items"] == []


def test_a_typing_mistake_is_told_the_nearest_name(site: ApiSite) -> None:
    """Unknown fields are refused with the name that was probably meant."""
    answer = site.call("POST", "/templates", {**HOUR, "capcity": 3})
    assert "Did you mean capacity?" in answer.json["detail"]
    answer = site.call("GET", "/templates?grup=x")
    assert "Did you mean group?" in answer.json["detail"]


def test_a_dry_run_stores_nothing(site: ApiSite) -> None:
    """It says what would be, with the next starts, and takes no number."""
    answer = site.call("POST", "/templates", {**HOUR, "rrule": "FREQ=DAILY", "dry_run": True})
    assert answer.status_code == 200
    (draft,) = answer.json["items"]
    assert {name: draft[name] for name in NEVER_STORED} == NEVER_STORED
    assert answer.json["starts"][0][:2] == ["2026-01-05T10:00:00+00:00", "2026-01-06T10:00:00+00:00"]
    assert site.get("/templates")["items"] == []
    assert made(site)["id"] == 1


def test_series_that_never_end_are_found_in_any_future_span(site: ApiSite) -> None:
    """Years ahead only what still goes on is found; in the past what is stored; by text in any field."""
    made(site, name="Endless", rrule="FREQ=WEEKLY;BYDAY=MO")
    made(site, name="Finite", rrule="FREQ=DAILY;COUNT=3", group="club 7")
    made(site, name="Closed", rrule="FREQ=DAILY", blackouts=[["2031-01-01", "2031-12-31"]])
    assert site.call("POST", "/topups", {"since": "2026-01-05"}).status_code == 202
    site.settle()

    def found(query: str) -> list[str]:
        return [each["name"] for each in site.get(f"/templates?{query}")["items"]]

    assert found("from=2026-01-05&to=2026-01-07") == ["Endless", "Finite", "Closed"]
    assert found("from=2031-01-01&to=2032-01-01") == ["Endless"]
    assert found("from=2199-01-01T00:00:00Z&to=2199-02-01T00:00:00Z") == ["Endless", "Closed"]
    assert found("from=2031-01-07&to=2031-01-08") == []
    assert found("from=2020-01-01&to=2021-01-01") == []
    assert found("q=ENDL") == ["Endless"]
    assert found("q=club") == ["Finite"]
    assert found("q=byday") == ["Endless"]
    assert found("q=%25") == []
    assert found("q=clos&group=club%207") == []
    assert [each["is_forever"] for each in site.get("/templates")["items"]] == [True, False, True]


def test_templates_come_in_pages(site: ApiSite) -> None:
    """Following next shows each template once, with the same question."""
    site.fill(*(f"T{number}" for number in range(5)))
    path, seen = "/templates?limit=2&q=t", []
    while path:
        answer = site.get(path)
        seen.append([each["id"] for each in answer["items"]])
        path = (answer["next"] or "").removeprefix("/api")
    assert seen == [[1, 2], [3, 4], [5]]


def test_the_preview_goes_on_for_years(site: ApiSite) -> None:
    """The next slots, stored or virtual, 5 by default and at most 200."""
    template = made(site, rrule="FREQ=MONTHLY;BYMONTHDAY=31", timezone="Europe/Madrid")
    path = f"/templates/{template['id']}/preview"
    assert len(site.get(path)["items"]) == 5
    items = site.get(f"{path}?count=200")["items"]
    assert len({item["key"] for item in items}) == 200
    assert items[-1]["starts_at"] > "2054"
    assert {item["local_start"][8:16] for item in items} == {"31T10:00"}
    later = site.get(f"{path}?count=1&after=2030-01-01")["items"][0]
    assert later["original_start"] == "2030-01-31T10:00"


def test_a_change_of_the_series(site: ApiSite) -> None:
    """Slots follow, but for what is booked or was changed by hand; settings change with them; the ETag moves on."""
    (number,) = site.fill("Hall", capacity=2)
    with site.app.app_context():
        site.slots.generate()
    mine = f"{number}@20260106T1000"
    assert site.call("PATCH", f"/slots/{mine}", {"capacity": 9}).status_code == 200
    shown = site.call("GET", f"/templates/{number}")
    answer = site.call(
        "PATCH",
        f"/templates/{number}",
        {"capacity": 5, "name": "New", "data": {"dj": "x"}, "group": "g", "closes_before_minutes": 30},
        headers={"If-Match": shown.headers["ETag"]},
    )
    assert answer.status_code == 200, answer.text
    template = answer.json["template"]
    assert (template["name"], template["group"], template["capacity"]) == ("New", "g", 5)
    assert template["closes_before_minutes"] == 30
    assert answer.json["edit"]["counts"]["changed"] == A_WEEK
    assert answer.headers["ETag"] != shown.headers["ETag"]
    slots = site.get("/slots?start=2026-01-05&end=2026-01-12")["items"]
    assert {slot["capacity"] for slot in slots if slot["key"] != mine} == {5}
    assert next(slot for slot in slots if slot["key"] == mine)["capacity"] == 9
    stale = site.call(
        "PATCH", f"/templates/{number}", {"group": "h"}, headers={"If-Match": shown.headers["ETag"]}
    )
    assert (stale.status_code, stale.json["code"]) == (409, "stale_edit")
    assert stale.json["revision"] == template["revision"]
    cleared = site.call("PATCH", f"/templates/{number}", {"group": None, "closes_before_minutes": None})
    assert cleared.json["template"]["group"] is None
    assert cleared.json["template"]["closes_before_minutes"] is None


def test_of_two_changes_at_once_one_is_stale(database_url: str, tmp_path: Path) -> None:
    """Both saw the same revision; on every database one is told that the other was faster."""
    site = ApiSite(database_url, tmp_path)
    (number,) = site.fill("Hall")
    with site.app.app_context():
        site.slots.generate()
    together = threading.Barrier(4)

    def change(capacity: int) -> int:
        together.wait()
        body = {"capacity": capacity, "group": f"g{capacity}"}
        answer = site.call("PATCH", f"/templates/{number}", body, headers={"If-Match": '"1"'})
        assert answer.status_code == 200 or answer.json["code"] in ("stale_edit", "try_again"), answer.text
        return capacity if answer.status_code == 200 else 0

    with ThreadPoolExecutor(4) as pool:
        won = [capacity for capacity in pool.map(change, range(2, 6)) if capacity]
    assert len(won) == 1
    template = site.get(f"/templates/{number}")
    assert (template["capacity"], template["group"]) == (won[0], f"g{won[0]}")
    slots = site.get("/slots?start=2026-01-05&end=2026-01-12")["items"]
    assert {slot["capacity"] for slot in slots} == {won[0]}


def test_finite_to_forever_and_back(site: ApiSite) -> None:
    """A rule is exchanged for another; what is booked and no longer in it stays and is told."""
    number = made(site, rrule="FREQ=DAILY;COUNT=3")["id"]
    change = {"recurrence": {"type": "daily", "end": "never", "count": None, "until_date": None}}
    answer = site.call("PATCH", f"/templates/{number}", {**change, "dry_run": True})
    assert answer.json["dry_run"] is True
    assert site.get(f"/templates/{number}")["is_forever"] is False
    answer = site.call("PATCH", f"/templates/{number}", change)
    assert answer.json["template"]["is_forever"] is True
    key = f"{number}@20260120T1000"
    assert site.call("POST", f"/slots/{key}/bookings", {}).status_code == 201
    answer = site.call("PATCH", f"/templates/{number}", {"recurrence": {"type": "daily", "count": 2}})
    assert answer.json["template"]["rrule"] == "FREQ=DAILY;COUNT=2"
    assert answer.json["edit"]["kept_booked"] == [key]
    for body in ({}, {"recurrence": {"type": "rrule"}}, {"capacity": None}):
        assert site.call("PATCH", f"/templates/{number}", body).status_code in (200, 422)


def test_a_dry_run_of_a_change_changes_nothing(site: ApiSite) -> None:
    """Neither the settings nor the slots, and nobody is told."""
    from flask_rollingslots import signals

    (number,) = site.fill("Hall")
    with site.app.app_context():
        site.slots.generate()
    before = site.get(f"/templates/{number}"), site.get("/slots?start=2026-01-05&end=2026-01-12")
    heard: list[Any] = []

    def hear(sender: Any, **_: Any) -> None:
        heard.append(sender)

    with (
        signals.series_edited.connected_to(hear),
        signals.series_ended.connected_to(hear),
        signals.slot_cancelled.connected_to(hear),
        signals.slot_deleted.connected_to(hear),
    ):
        changes = {"capacity": 5, "group": "x", "rrule": "FREQ=WEEKLY", "dry_run": True}
        answer = site.call("PATCH", f"/templates/{number}", changes)
        assert answer.json["edit"]["counts"]["removed"] == A_WEEK - 8
        assert answer.json["template"]["group"] == "x"
        body = {"from_date": "2026-01-06", "dry_run": True}
        assert site.call("POST", f"/templates/{number}/cancel-future", body).json["counts"]["changed"] == 48
        assert site.call("DELETE", f"/templates/{number}?dry_run=true").json["counts"]["changed"] == A_WEEK
        key = f"{number}@20260106T1000"
        for method, path, sent in (
            ("PATCH", f"/slots/{key}?scope=all", {"start": "11:00", "dry_run": True}),
            ("POST", f"/slots/{key}/cancel", {"dry_run": True}),
            ("POST", f"/slots/{key}/cancel?scope=this_and_future&dry_run=true", {}),
            ("DELETE", f"/slots/{key}?dry_run=true", None),
            ("DELETE", f"/slots/{key}?scope=all&dry_run=true", None),
            ("POST", f"/slots/{key}/restore", {"dry_run": True}),
        ):
            answer = site.call(method, path, sent)
            assert (answer.status_code, answer.json["dry_run"]) == (200, True), answer.text
    assert heard == []
    assert (site.get(f"/templates/{number}"), site.get("/slots?start=2026-01-05&end=2026-01-12")) == before


def test_the_end_of_a_series_and_its_return(site: ApiSite) -> None:
    """Cancelled from a day on: visible as cancelled, nothing new appears; restored: as before."""
    (number,) = site.fill("Hall", capacity=2)
    with site.app.app_context():
        site.slots.generate()
    booked = f"{number}@20260107T1000"
    assert site.call("POST", f"/slots/{booked}/bookings", {}).status_code == 201
    answer = site.call(
        "POST", f"/templates/{number}/cancel-future", {"from_date": "2026-01-07", "reason": "wet"}
    )
    assert answer.json["counts"] == {
        "changed": 40,
        "booked": 1,
        "kept_booked": 0,
        "kept_completed": 0,
        "overbooked": 0,
    }
    assert answer.json["booked"] == [booked]
    assert site.get(f"/templates/{number}")["cancelled_from"] == "2026-01-07T00:00"
    assert site.get(f"/slots/{booked}")["cancel_reason"] == "wet"
    assert site.get("/slots?start=2026-02-01&end=2026-02-02")["items"] == []
    assert site.call("POST", f"/templates/{number}/restore").json["counts"]["changed"] == 40
    assert site.get(f"/slots/{booked}")["state"] == "open"
    answer = site.call("DELETE", f"/templates/{number}")
    assert (answer.status_code, answer.json["kept_booked"]) == (200, [booked])
    assert [slot["key"] for slot in site.get("/slots?start=2026-01-05&end=2026-02-05")["items"]] == [booked]
    again = site.call("DELETE", f"/templates/{number}")
    assert (again.status_code, again.json["counts"]["changed"]) == (200, 0)
    renamed = site.call("PATCH", f"/templates/{number}", {"name": "Old"})
    assert (renamed.status_code, renamed.json["template"]["name"]) == (200, "Old")


def test_a_template_is_filled_by_its_commit(sqlite_url: str, tmp_path: Path) -> None:
    """A new template is topped up in the background, and its run is found by its number."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True)
    site.get("/templates")  # the day's own top-up, which finds nothing to do, is over before
    site.settle()
    number = made(site, rrule="FREQ=DAILY", dtstart="2026-01-01T10:00")["id"]
    site.settle()
    assert site.stored() == 7
    (run,) = site.get(f"/topups?template={number}")["items"]
    assert (run["trigger"], run["status"], run["created"], run["done"], run["total"]) == (
        "edit",
        "confirmed",
        7,
        7,
        7,
    )


def test_an_app_that_registers_the_blueprint_itself(sqlite_url: str, tmp_path: Path) -> None:
    """``slots.api`` under any address, in two apps, and not there unless asked for."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_API_PREFIX=None)
    assert site.app.test_client().get("/api/templates").status_code == 404
    other = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_API_PREFIX=None)
    other.app.register_blueprint(other.slots.api, url_prefix="/v1/slots")
    client = other.app.test_client()
    token = bearer(other.app.config["ROLLINGSLOTS_API_TOKEN"])
    answer = client.post("/v1/slots/templates", json=HOUR, headers=token)
    assert (answer.status_code, answer.headers["Location"]) == (201, "/v1/slots/templates/1")
    assert client.get("/v1/slots/openapi.json").json["servers"] == [{"url": "/v1/slots"}]
    assert client.get("/v1/slots/x").mimetype == "application/problem+json"


def test_slots_that_would_overlap(site: ApiSite) -> None:
    """Creating and changing answer 422 with the field unless the template says it; a dry run shows the pairs."""
    hall = {
        "name": "Hall",
        "recurrence": {"type": "daily"},
        "dtstart": "2026-01-01T10:00",
        "duration_minutes": 90,
        "every_minutes": 60,
        "until_time": "18:00",
        "timezone": "UTC",
    }
    answer = site.call("POST", "/templates", hall)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "duration")
    assert site.call("POST", "/templates", {**hall, "overlapping": True}).status_code == 201
    assert site.call("POST", "/templates", {**hall, "duration_minutes": 60}).status_code == 201
    longer = {"duration_minutes": 90}
    for path in ("/templates/2", "/slots/2@20260106T1000?scope=all"):
        answer = site.call("PATCH", path, longer)
        assert (answer.status_code, "overlapping=True" in answer.json["detail"]) == (422, True)
        answer = site.call("PATCH", path, {**longer, "dry_run": True}).json
        assert answer.get("edit", answer)["overlaps"][0] == ["2@20260101T1000", "2@20260101T1100"]
    answer = site.call("PATCH", "/templates/2", {**longer, "overlapping": True})
    assert (answer.status_code, answer.json["template"]["overlapping"]) == (200, True)


def test_fewer_places_than_are_booked(site: ApiSite) -> None:
    """A change of the template, of all slots and of one says in which more is booked than they have by now."""
    site.fill("Hall", capacity=10)
    key = "1@20260106T1000"
    assert site.call("POST", f"/slots/{key}/bookings", {"party": 5}).status_code == 201
    for capacity, path in enumerate(("/templates/1", f"/slots/{key}?scope=all", f"/slots/{key}"), 2):
        answer = site.call("PATCH", path, {"capacity": capacity}).json
        assert answer.get("edit", answer)["overbooked"] == [key]
    assert site.get(f"/slots/{key}")["left"] == 0
