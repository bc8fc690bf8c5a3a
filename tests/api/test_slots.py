"""Slots and bookings over HTTP: spans of them, changes by scope, places that are never sold twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from api_site import ApiSite
from helpers import A_WEEK

WEEK = "/slots?start=2026-01-05&end=2026-01-12"
KEY, NEXT = "1@20260106T1000", "1@20260106T1100"


@pytest.fixture
def hall(site: ApiSite) -> ApiSite:
    """A hall with a stored week and two places in each slot."""
    site.fill("Hall", capacity=2)
    with site.app.app_context():
        site.slots.generate()
    return site


def keys(site: ApiSite, path: str) -> list[str]:
    """Return the keys that a list holds."""
    return [slot["key"] for slot in site.get(path)["items"]]


def test_a_week_is_full_before_anything_is_stored(site: ApiSite) -> None:
    """Stored and virtual slots are one list, now and years ahead, with times in UTC and on the wall."""
    site.fill("Hall", timezone="Europe/Madrid")
    slots = site.get(WEEK)["items"]
    assert len(slots) == A_WEEK
    assert {slot["is_virtual"] for slot in slots} == {True}
    far = site.get("/slots?start=2035-07-01&end=2035-07-02")["items"][0]
    assert (far["starts_at"], far["local_start"]) == (
        "2035-07-01T08:00:00+00:00",
        "2035-07-01T10:00:00+02:00",
    )
    assert (far["original_start"], far["timezone"]) == ("2035-07-01T10:00", "Europe/Madrid")
    exact = "/slots?start=2026-01-05T10:00:00%2B01:00&end=2026-01-05T09:00:01Z"
    assert keys(site, exact) == ["1@20260105T1000"]
    by_zone = keys(site, "/slots?start=2026-01-06&end=2026-01-07&template=1")
    assert by_zone[0] == "1@20260106T1000"
    assert len(by_zone) == 8


def test_slots_of_one_template_or_group(site: ApiSite) -> None:
    """A template means its series, a group its templates; one that is not there is 404, or an empty list."""
    site.fill("Hall", "Court")
    assert {slot["template_id"] for slot in site.get(f"{WEEK}&template=2")["items"]} == {2}
    assert {slot["group"] for slot in site.get(f"{WEEK}&group=hall")["items"]} == {"hall"}
    assert site.get(f"{WEEK}&group=nobody")["items"] == []
    assert site.call("GET", f"{WEEK}&template=9").json["code"] == "template_not_found"


def test_what_began_before_is_listed_on_request(site: ApiSite) -> None:
    """With `overlapping` a span begins with what is not over by then, and pages go on behind it."""
    week = timedelta(days=7)
    site.fill(
        "Boat",
        "Tent",
        rrule="FREQ=DAILY",
        dtstart=datetime(2026, 1, 5, 10),
        every=None,
        overlapping=True,
        until_time=None,
        duration=week,
    )
    span = "/slots?start=2026-01-10T10:00:00Z&end=2026-01-11T11:00:00Z"
    began = [f"{number}@202601{day:02}T1000" for day in range(5, 10) for number in (1, 2)]
    inside = [f"{number}@202601{day}T1000" for day in (10, 11) for number in (1, 2)]
    assert keys(site, span) == inside
    assert keys(site, f"{span}&overlapping=true") == began + inside
    assert (
        keys(site, "/slots?start=2026-01-12T10:00:00Z&end=2026-01-12T10:01:00Z&overlapping=true")[0]
        == "1@20260106T1000"
    )
    path, found = f"{span}&overlapping=true&limit=3", []
    while path:
        answer = site.get(path)
        found += [slot["key"] for slot in answer["items"]]
        path = (answer["next"] or "").removeprefix("/api")
    assert found == began + inside


def test_slots_come_in_pages(site: ApiSite) -> None:
    """Following next shows each slot once and in order, also where several start at once."""
    site.fill("Hall", "Court", "Pool")
    path, seen = f"{WEEK}&limit=25", []
    while path:
        answer = site.get(path)
        assert len(answer["items"]) <= 25
        seen += [slot["key"] for slot in answer["items"]]
        path = (answer["next"] or "").removeprefix("/api")
    assert seen == keys(site, WEEK)
    assert len(set(seen)) == 3 * A_WEEK


def test_a_page_of_a_dense_quarter_reads_a_part_of_it(site: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three months of a slot each minute are not held in memory to show a thousand of them."""
    site.fill(
        "Minutes",
        every=timedelta(minutes=1),
        duration=timedelta(minutes=1),
        dtstart=datetime(2026, 1, 1, 0, 0),
    )
    read: list[int] = []
    view = site.slots.view

    def count(*args: Any, **options: Any) -> Any:
        found = view(*args, **options)
        read.append(len(found))
        return found

    monkeypatch.setattr(site.slots, "view", count)
    answer = site.get("/slots?start=2026-02-01&end=2026-05-04")
    assert (len(answer["items"]), sum(read)) == (1000, 1001)
    second = site.get(answer["next"].removeprefix("/api"))
    assert second["items"][0]["starts_at"] == "2026-02-01T16:40:00+00:00"
    assert sum(read) < 6 * 1000


def test_a_virtual_slot_becomes_a_row(site: ApiSite) -> None:
    """By its key, or by template and original start: 201 the first time, 200 and the same slot after that."""
    site.fill("Hall")
    first = site.call("POST", f"/slots/{KEY}/materialize")
    assert (first.status_code, first.json["is_virtual"]) == (201, False)
    assert first.headers["Location"] == f"/api/slots/{KEY}"
    again = site.call("POST", "/templates/1/materialize", {"original_start": "2026-01-06T10:00:00"})
    assert (again.status_code, again.json) == (200, first.json)
    far = site.call("POST", "/templates/1/materialize", {"original_start": "2040-01-06T10:00"})
    assert far.status_code == 201
    assert site.stored() == 2
    for wrong in ("2026-01-06T10:30", "2025-01-06T10:00"):
        answer = site.call("POST", "/templates/1/materialize", {"original_start": wrong})
        assert (answer.status_code, answer.json["code"]) == (404, "slot_not_found")
    assert (
        site.call("POST", "/templates/1/materialize", {"original_start": "2026-01-06T10:00Z"}).status_code
        == 422
    )


@pytest.mark.parametrize("scope", ["this", "this_only"])
def test_one_slot_is_changed(hall: ApiSite, scope: str) -> None:
    """Both spellings; the change is remembered, the others stay."""
    answer = hall.call(
        "PATCH", f"/slots/{KEY}?scope={scope}", {"start": "10:15", "data": {"dj": "x"}, "capacity": 3}
    )
    assert answer.status_code == 200, answer.text
    slot = hall.get(f"/slots/{KEY}")
    assert answer.json["slot"] == slot
    assert (slot["starts_at"], slot["data"], slot["capacity"]) == (
        "2026-01-06T10:15:00+00:00",
        {"dj": "x"},
        3,
    )
    assert set(slot["customised"]) >= {"starts_at", "capacity", "data"}
    assert hall.get(f"/slots/{NEXT}")["capacity"] == 2


def test_this_and_future_and_all(hall: ApiSite) -> None:
    """Later slots follow and keep their keys; the preview says the same as the change."""
    change = {"start": "10:30", "duration_minutes": 45}
    tried = hall.call("PATCH", f"/slots/{KEY}?scope=this_and_future", {**change, "dry_run": True})
    done = hall.call("PATCH", f"/slots/{KEY}", {**change, "scope": "this_and_future"})
    assert (tried.status_code, done.status_code) == (200, 200)
    assert done.json["counts"]["changed"] == 6 * 8
    same = ("counts", "changed", "removed", "created", "kept_booked", "cuts", "revision")
    assert {name: tried.json[name] for name in same} == {name: done.json[name] for name in same}
    slots = {slot["key"]: slot for slot in hall.get(WEEK)["items"]}
    assert slots[KEY]["starts_at"] == "2026-01-06T10:30:00+00:00"
    assert slots["1@20260105T1000"]["starts_at"] == "2026-01-05T10:00:00+00:00"
    everywhere = hall.call("PATCH", f"/slots/{KEY}?scope=all", {"capacity": 7})
    assert everywhere.json["counts"]["changed"] == A_WEEK
    rule = {"recurrence": {"type": "weekly", "weekday": 1}}
    by_rule = hall.call("PATCH", f"/slots/{KEY}?scope=this_and_future", rule)
    assert by_rule.status_code == 200, by_rule.text
    assert by_rule.json["counts"]["removed"] == 5 * 8


def test_what_cannot_be_changed_so(hall: ApiSite) -> None:
    """Contradictions are 422 and name the field; a stale revision and a booked slot are 409."""
    for path, body, field in (
        ("?scope=some", {"capacity": 3}, "scope"),
        ("?scope=all", {"capacity": 3, "scope": "this"}, "scope"),
        ("", {"rrule": "FREQ=DAILY"}, "rrule"),
        ("", {}, "changes"),
        ("", {"status": "completed"}, "status"),
        ("", {"booked": 0}, "booked"),
        ("", {"start": "2026-01-06T10:15:30"}, "start"),
        ("?scope=all", {"rrule": "FREQ=DAILY", "recurrence": {"type": "daily"}}, "rrule"),
        ("?scope=all", {"recurrence": {"type": "daily", "exdates": []}}, "recurrence.exdates"),
    ):
        answer = hall.call("PATCH", f"/slots/{KEY}{path}", body)
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field), answer.text
    etag = hall.call("GET", f"/slots/{KEY}").headers["ETag"]
    assert (
        hall.call("PATCH", f"/slots/{KEY}?scope=all", {"capacity": 3}, headers={"If-Match": etag}).status_code
        == 200
    )
    stale = {"If-Match": etag}
    for method, path, body in (
        ("PATCH", f"/slots/{KEY}?scope=all", {"capacity": 4}),
        ("PATCH", f"/slots/{KEY}", {"capacity": 4, "dry_run": True}),
        ("DELETE", f"/slots/{KEY}", None),
        ("DELETE", f"/slots/{KEY}?scope=all", None),
        ("POST", f"/slots/{KEY}/cancel", {}),
        ("POST", f"/slots/{KEY}/restore", {}),
        ("POST", f"/slots/{KEY}/complete", None),
        ("DELETE", "/templates/1", None),
        ("POST", "/templates/1/cancel-future", {"from_date": "2026-01-07"}),
    ):
        answer = hall.call(method, path, body, headers=stale)
        assert (answer.status_code, answer.json["code"]) == (409, "stale_edit"), (method, path)
    assert hall.call("PATCH", f"/slots/{KEY}", {"capacity": 4}, headers={"If-Match": "*"}).status_code == 200
    hall.call("POST", f"/slots/{KEY}/bookings", {})
    assert hall.call("PATCH", f"/slots/{KEY}", {"start": "10:15"}).json["code"] == "slot_booked"
    assert hall.call("DELETE", f"/slots/{KEY}").json["code"] == "slot_booked"


def test_cancel_delete_restore_complete(hall: ApiSite) -> None:
    """Cancelled is shown, deleted is hidden, both come back; completed is for good, until that is taken back."""
    cancelled = hall.call("POST", f"/slots/{KEY}/cancel", {"reason": "wet"})
    assert (cancelled.json["slot"]["state"], cancelled.json["slot"]["cancel_reason"]) == ("cancelled", "wet")
    assert KEY in keys(hall, WEEK)
    assert hall.call("POST", f"/slots/{KEY}/restore").json["slot"]["state"] == "open"
    assert hall.call("DELETE", f"/slots/{KEY}").status_code == 204
    assert KEY not in keys(hall, WEEK)
    assert hall.call("GET", f"/slots/{KEY}").status_code == 404
    assert hall.call("POST", f"/slots/{KEY}/restore", {"scope": "this_only"}).status_code == 200
    path = f"/slots/{KEY}/complete"
    assert hall.call("POST", path).json["state"] == "completed"
    assert hall.call("POST", path, {"undo": True, "dry_run": True}).json["state"] == "open"
    assert hall.get(f"/slots/{KEY}")["state"] == "completed"
    assert hall.call("POST", path, {"undo": True}).json["state"] == "open"
    assert hall.call("POST", path).json["state"] == "completed"
    refused = hall.call("POST", f"/slots/{KEY}/cancel")
    told = {name: refused.json[name] for name in ("code", "status", "current", "key")}
    assert told == {"code": "status_conflict", "status": 409, "current": "completed", "key": KEY}
    wide = hall.call("POST", f"/slots/{NEXT}/cancel", {"scope": "this_and_future", "reason": "closed"})
    assert wide.json["counts"]["changed"] == 47
    assert hall.call("POST", f"/slots/{NEXT}/restore?scope=this_and_future").json["counts"]["changed"] == 47
    gone = hall.call("DELETE", f"/slots/{NEXT}?scope=this_and_future")
    assert (gone.status_code, gone.json["kept_completed"]) == (200, [])
    assert len(keys(hall, WEEK)) == 9
    assert hall.call("DELETE", f"/slots/{KEY}?scope=all").json["kept_completed"] == [KEY]


def test_bookings(hall: ApiSite) -> None:
    """Places are taken and given back; what is full, closed or taken is 409 and says so to machines."""
    path = f"/slots/{KEY}/bookings"
    made = hall.call("POST", path, {"party": 2, "who": "ada"}, headers={"Idempotency-Key": "1"})
    assert (made.status_code, made.headers["Location"]) == (201, f"/api/bookings/{made.json['token']}")
    assert (
        hall.call("POST", path, {"party": 2, "who": "ada"}, headers={"Idempotency-Key": "1"}).json
        == made.json
    )
    other = hall.call("POST", path, {"party": 1, "who": "ada"}, headers={"Idempotency-Key": "1"})
    assert (other.status_code, other.json["code"]) == (422, "idempotency_conflict")
    elsewhere = f"/slots/{NEXT}/bookings"
    assert hall.call("POST", elsewhere, {"who": "bob"}, headers={"Idempotency-Key": "1"}).json["id"] == 2
    full = hall.call("POST", path, {})
    assert (full.status_code, full.json["code"], full.json["left"]) == (409, "slot_full", 0)
    assert hall.get(f"/slots/{KEY}")["state"] == "full"
    assert hall.get("/bookings/1") == made.json
    assert hall.call("DELETE", "/bookings/1").status_code == 204
    assert hall.call("DELETE", "/bookings/1").status_code == 204
    assert hall.get("/bookings/1")["status"] == "released"
    assert hall.get(f"/slots/{KEY}")["left"] == 2
    again = hall.call("POST", path, {"party": 2, "who": "ada"}, headers={"Idempotency-Key": "1"})
    assert (again.status_code, again.json["code"]) == (422, "idempotency_conflict")
    assert "released" in again.json["detail"]
    assert hall.get(f"/slots/{KEY}")["left"] == 2
    hall.call("POST", f"/slots/{KEY}/cancel")
    closed = hall.call("POST", path, {})
    assert (closed.status_code, closed.json["code"], closed.json["state"]) == (
        409,
        "slot_closed",
        "cancelled",
    )
    assert hall.call("POST", "/slots/1@20260106T1030/bookings", {}).json["code"] == "slot_not_found"
    assert hall.call("POST", "/slots/1@20300106T1000/bookings", {}).status_code == 201


def test_holds(hall: ApiSite) -> None:
    """Held places are free again by the time alone; in time they can be confirmed, once."""
    path = f"/slots/{KEY}/bookings"
    held = hall.call("POST", path, {"party": 2, "hold_minutes": 10}).json
    assert (held["status"], held["expires_at"]) == ("held", "2026-01-05T08:10:00+00:00")
    assert hall.call("POST", path, {}).json["code"] == "slot_full"
    assert hall.call("POST", f"/bookings/{held['id']}/confirm").json["status"] == "confirmed"
    assert hall.call("POST", f"/bookings/{held['id']}/confirm").status_code == 200
    late = hall.call("POST", f"/slots/{NEXT}/bookings", {"hold_minutes": 10}).json
    hall.clock.now += timedelta(minutes=10)
    answer = hall.call("POST", f"/bookings/{late['id']}/confirm")
    assert (answer.status_code, answer.json["code"]) == (409, "hold_expired")
    assert hall.get(f"/slots/{NEXT}")["left"] == 2


def test_what_overlaps_on_one_resource_is_a_conflict(site: ApiSite) -> None:
    """Two offers share a court: the second booking at that time is refused with a code of its own."""
    site.fill("Match", "Party", resource="court", exclusive=True, resource_shared=True)
    assert site.call("POST", f"/slots/{KEY}/bookings", {}).status_code == 201
    answer = site.call("POST", "/slots/2@20260106T1000/bookings", {})
    assert (answer.status_code, answer.json["code"]) == (409, "slot_blocked")


def test_a_pool_has_its_places_only_once(site: ApiSite) -> None:
    """Made, read and changed over HTTP: too little for the party is a full slot, nothing left a blocked one."""
    body = {"name": "Steam", "rrule": "FREQ=DAILY", "dtstart": "2026-01-06T10:00", "timezone": "UTC"}
    body |= {"duration_minutes": 60, "resource": "machines", "pool": 4, "capacity": 4}
    assert (
        site.call("POST", "/templates", {**body, "setup_minutes": 5, "cleanup_minutes": 10}).status_code
        == 201
    )
    assert site.call("POST", "/templates", {**body, "name": "Class"}).status_code == 201
    shown = site.get("/templates/1")
    assert (shown["pool"], shown["setup_minutes"], shown["cleanup_minutes"]) == (4, 5, 10)
    other = "/slots/2@20260106T1000"
    assert site.call("POST", "/slots/1@20260106T1000/bookings", {"party": 3}).status_code == 201
    answer = site.call("POST", f"{other}/bookings", {"party": 2})
    assert (answer.status_code, answer.json["code"], answer.json["left"]) == (409, "slot_full", 1)
    assert site.call("POST", f"{other}/bookings", {}).status_code == 201
    answer = site.call("POST", f"{other}/bookings", {})
    assert (answer.status_code, answer.json["code"]) == (409, "slot_blocked")
    assert (site.get(other)["state"], site.get(other)["left"]) == ("blocked", 3)
    answer = site.call("PATCH", "/templates/2", {"pool": 5})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "pool")


def test_nothing_of_the_apps_own_session_is_committed(hall: ApiSite) -> None:
    """What a function of the app left in its session is neither committed nor rolled back by a call."""
    cls = hall.slots.Template
    added: list[Any] = []

    @hall.app.after_request
    def look(response: Any) -> Any:
        added.append(len(hall.session.new))
        return response

    @hall.app.before_request
    def leave_something() -> None:
        hall.session.add(cls(name="never committed", dtstart=None))

    assert hall.call("POST", f"/slots/{KEY}/bookings", {}).status_code == 201
    assert added == [1]
    with hall.app.app_context():
        assert hall.session.scalar(hall.db.select(hall.db.func.count()).select_from(cls)) == 1
        assert hall.session.scalar(hall.db.select(hall.db.func.count()).select_from(hall.slots.Booking)) == 1


def test_a_slot_says_its_own_name(hall: ApiSite) -> None:
    """A single date can be renamed; answers say what each slot is called, past ones what they were called."""
    key = "1@20260106T1300"
    assert hall.call("PATCH", f"/slots/{key}", {"name": "Gala"}).json["slot"]["name"] == "Gala"
    hall.call("POST", "/slots/1@20260106T1400/complete", {})
    assert hall.call("PATCH", "/templates/1", {"name": "Arena"}).status_code == 200
    found = {
        slot["key"]: slot["name"] for slot in hall.get("/slots?start=2026-01-06&end=2026-01-07")["items"]
    }
    assert (found[key], found["1@20260106T1400"], found["1@20260106T1500"]) == ("Gala", "Hall", "Arena")
