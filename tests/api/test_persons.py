"""What a person may do over HTTP that a program with the token may do without limits: hold, and give back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from api_site import ApiSite
from flask import request

if TYPE_CHECKING:
    from pathlib import Path

KEY = "1@20260106T1000"
START = datetime(2026, 1, 6, 10, tzinfo=UTC)


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> ApiSite:
    """A class of twelve, bookable by persons in their own name, by staff in any, and by a careless callback."""
    site = ApiSite(sqlite_url, tmp_path)
    site.fill("Class", capacity=12, cancel_before=timedelta(hours=2))

    def decide(action: str, template: Any) -> bool | str:
        user = request.headers.get("X-User", "")
        if user == "staff" or action == "read":
            return True
        return user if action == "book" or user == "careless" else False

    site.slots.authorize(decide)
    return site


def call(site: ApiSite, user: str, method: str, path: str, body: Any = None) -> Any:
    """Ask without a token, as somebody."""
    return site.call(method, path, body, headers={"X-User": user}, token=None)


def hold(site: ApiSite, user: str, key: str = KEY, minutes: int = 10, **more: Any) -> Any:
    """Hold a place without a token."""
    return call(site, user, "POST", f"/slots/{key}/bookings", {"hold_minutes": minutes, **more})


# --- giving back ------------------------------------------------------------------------------------------------


def test_a_person_gives_back_in_time(site: ApiSite) -> None:
    """Until ``cancel_before``, then 409 with until when; the place stays taken; a second time is still 204."""
    made = [call(site, "ada", "POST", f"/slots/{KEY}/bookings", {}).json["id"] for _ in range(2)]
    site.clock.now = START - timedelta(hours=2, seconds=1)
    assert call(site, "ada", "DELETE", f"/bookings/{made[0]}").status_code == 204
    site.clock.turn(seconds=1)
    assert call(site, "ada", "DELETE", f"/bookings/{made[0]}").status_code == 204
    for moment, state in (
        (site.clock.now, "too_late"),
        (START, "running"),
        (START + timedelta(days=12), "ended"),
    ):
        site.clock.now = moment
        answer = call(site, "ada", "DELETE", f"/bookings/{made[1]}")
        assert (answer.status_code, answer.mimetype) == (409, "application/problem+json")
        problem = answer.json
        assert (problem["code"], problem["key"], problem["state"]) == ("slot_closed", KEY, state)
        assert problem["until"] == "2026-01-06T08:00:00+00:00"
        assert "2026-01-06 08:00 UTC" in problem["detail"]
        assert site.get(f"/slots/{KEY}")["booked"] == 1


@pytest.mark.parametrize(("user", "status"), [("ada", 403), ("careless", 403), ("staff", 204), (None, 204)])
def test_override_is_for_staff(site: ApiSite, user: str | None, status: int) -> None:
    """With the token, or where the callback says ``True``; a person's name is no yes, and nothing is given back."""
    who = user or "ada"
    number = call(site, who, "POST", f"/slots/{KEY}/bookings", {}).json["id"]
    path = f"/bookings/{number}?override=true"
    site.clock.now = START
    sure = site.call("DELETE", path) if user is None else call(site, user, "DELETE", path)
    assert sure.status_code == status
    if status == 403:
        assert sure.json["code"] == "forbidden"
        assert site.get(f"/bookings/{number}")["status"] == "confirmed"


def test_the_token_needs_override_too(site: ApiSite) -> None:
    """A program is told that it is too late, unless it says that this is meant; ``override=false`` is none."""
    number = site.call("POST", f"/slots/{KEY}/bookings", {}).json["id"]
    site.clock.now = START
    for query in ("", "?override=false"):
        assert site.call("DELETE", f"/bookings/{number}{query}").json["code"] == "slot_closed"
    assert site.call("DELETE", f"/bookings/{number}?override=perhaps").status_code == 422
    assert site.call("DELETE", f"/bookings/{number}?override=true").status_code == 204


def test_override_of_somebody_elses_is_not_found(site: ApiSite) -> None:
    """Whose booking it is comes first: 404, not 403."""
    number = call(site, "ada", "POST", f"/slots/{KEY}/bookings", {}).json["id"]
    assert call(site, "bob", "DELETE", f"/bookings/{number}?override=true").status_code == 404


def test_what_the_owner_called_off_and_holds(site: ApiSite) -> None:
    """A place in a cancelled slot, and a hold, are given back at any time."""
    booked = call(site, "ada", "POST", f"/slots/{KEY}/bookings", {}).json["id"]
    site.clock.now = START - timedelta(minutes=5)
    held = hold(site, "ada").json["id"]
    site.clock.now = START
    assert call(site, "ada", "DELETE", f"/bookings/{held}").status_code == 204
    assert call(site, "staff", "POST", f"/slots/{KEY}/cancel").status_code == 200
    assert call(site, "ada", "DELETE", f"/bookings/{booked}").status_code == 204


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_limit_says_when_more_is_possible(site: ApiSite) -> None:
    """409 with the limit, the numbers and the next day; a party that nobody gets is 422."""
    site.fill("Yoga", capacity=12, max_per_person_day=2, max_party=3)
    assert call(site, "ada", "POST", "/slots/2@20260106T1000/bookings", {"party": 2}).status_code == 201
    answer = call(site, "ada", "POST", "/slots/2@20260106T1100/bookings", {})
    assert (answer.status_code, answer.json["code"]) == (409, "limit_reached")
    told = {name: answer.json[name] for name in ("limit", "most", "taken", "party", "next_at", "key")}
    assert told == {
        "limit": "max_per_person_day",
        "most": 2,
        "taken": 2,
        "party": 1,
        "next_at": "2026-01-07T00:00:00+00:00",
        "key": "2@20260106T1100",
    }
    answer = call(site, "ada", "POST", "/slots/2@20260107T1100/bookings", {"party": 4})
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "party")


# --- holds ------------------------------------------------------------------------------------------------------


def test_a_person_holds_for_half_an_hour_at_most(site: ApiSite) -> None:
    """Also staff, and whoever names nobody: 422 for ``hold_minutes``; the token may hold for a week."""
    for user in ("ada", "staff"):
        answer = hold(site, user, minutes=31)
        assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
        assert answer.json["errors"] == [{"field": "hold_minutes", "value": 31, "expected": "at most 30"}]
        assert hold(site, user, minutes=30).status_code == 201
    body = {"hold_minutes": 7 * 24 * 60, "who": "ada"}
    assert site.call("POST", f"/slots/{KEY}/bookings", body).status_code == 201


def test_nobody_holds_a_whole_class(site: ApiSite) -> None:
    """The fourth hold of a person is 409 with the numbers; who confirms or lets go may hold again."""
    held = [hold(site, "ada").json["id"] for _ in range(3)]
    answer = hold(site, "ada", "1@20260107T1000")
    assert (answer.status_code, answer.json["code"]) == (409, "too_many_holds")
    assert (answer.json["held"], answer.json["limit"]) == (3, 3)
    assert site.get(f"/slots/{KEY}")["left"] == 9
    assert hold(site, "bob").status_code == 201
    assert call(site, "ada", "POST", f"/bookings/{held[0]}/confirm").status_code == 200
    assert hold(site, "ada").status_code == 201
    assert hold(site, "ada").status_code == 409
    assert call(site, "ada", "DELETE", f"/bookings/{held[1]}").status_code == 204
    assert hold(site, "ada").status_code == 201
    site.clock.turn(minutes=10)
    assert hold(site, "ada").status_code == 201


def test_in_whose_name_staff_holds_counts(site: ApiSite) -> None:
    """A name that staff gives is bound like a person; nobody's holds are not counted, nor those of the token."""
    for _ in range(3):
        assert hold(site, "staff", who="ada").status_code == 201
    assert hold(site, "staff", who="ada").status_code == 409
    for _ in range(4):
        assert hold(site, "staff").status_code == 201
    body = {"hold_minutes": 10, "who": "ada"}
    assert site.call("POST", f"/slots/{KEY}/bookings", body).status_code == 201


def test_the_same_request_again(site: ApiSite) -> None:
    """It is answered at the limit, too."""
    headers = {"X-User": "ada", "Idempotency-Key": "1"}
    body, path = {"hold_minutes": 10}, f"/slots/{KEY}/bookings"
    first = site.call("POST", path, body, headers=headers, token=None)
    for _ in range(2):
        hold(site, "ada")
    assert hold(site, "ada").status_code == 409
    assert site.call("POST", path, body, headers=headers, token=None).json == first.json
