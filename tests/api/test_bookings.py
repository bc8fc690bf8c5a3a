"""Bookings over HTTP: series, waiting lists, lists, changes; what staff may, what a person may, and who sees what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from api_site import READ, ApiSite
from flask import request

if TYPE_CHECKING:
    from pathlib import Path

KEY, NEXT = "1@20260106T1000", "1@20260107T1000"
TUESDAYS = [f"1@2026{day}T1000" for day in ("0106", "0113", "0120", "0127")]
PATH = f"/slots/{KEY}/bookings"
ADA = {"who": "ada", "name": "Ada", "contact": "ada@example.org", "note": "chalk\nand cheese"}
START = datetime(2026, 1, 6, 10, tzinfo=UTC)


def decide(action: str, template: Any) -> bool | str:
    """Let staff do everything, and persons book in their own name; whom nobody knows nothing."""
    user = request.headers.get("X-User", "")
    if user == "staff" or (action == "read" and user):
        return True
    return user if action == "book" else False


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> ApiSite:
    """Two halls of three places an hour."""
    site = ApiSite(sqlite_url, tmp_path)
    site.fill("Hall", "Court", capacity=3, waiting=5)
    site.slots.authorize(decide)
    return site


def as_user(site: ApiSite, user: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """Ask without a token, as somebody."""
    return site.call(method, path, body, headers={"X-User": user, **headers}, token=None)


def made(answer: Any) -> Any:
    """Return what was made."""
    assert answer.status_code == 201, answer.text
    return answer.json


def refused(answer: Any, status: int, code: str, field: str | None = None) -> Any:
    """Expect a problem; return it."""
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text
    if field is not None:
        assert answer.json["errors"][0]["field"] == field, answer.text
    return answer.json


# --- what a booking says -----------------------------------------------------------------------------------------


def test_a_booking_says_all_to_who_may_see_it(site: ApiSite) -> None:
    """Its person, token, marks and links; its address is the token, and the id is as good."""
    answer = site.call("POST", PATH, {"party": 2, **ADA})
    booking = made(answer)
    assert {name: booking[name] for name in ADA} == ADA
    for name in ("replaces_id", "repeats_id", "attendance", "ahead", "expires_at"):
        assert booking[name] is None
    assert (booking["override"], booking["is_offer"]) == (False, False)
    assert answer.headers["Location"] == f"/api/bookings/{booking['token']}"
    for reference in (booking["token"], booking["id"]):
        assert site.get(f"/bookings/{reference}") == booking
    for wrong in ("0", "9", "x" * 24, "x" * 44, "a b", "%00", f"{booking['token']}x"):
        refused(site.call("GET", f"/bookings/{wrong}"), 404, "booking_not_found")


def test_nobody_else_sees_it(site: ApiSite) -> None:
    """Neither another person, nor a token that reads, nor who sends none."""
    booking = made(as_user(site, "ada", "POST", PATH, {"name": "Ada"}))
    for reference in (booking["id"], booking["token"]):
        path = f"/bookings/{reference}"
        assert as_user(site, "ada", "GET", path).json["name"] == "Ada"
        for method, body in (("GET", None), ("PATCH", {"note": "x"}), ("DELETE", None)):
            refused(as_user(site, "bob", method, path, body), 404, "booking_not_found")
        assert site.call("GET", path, token=READ).status_code == 403
        assert site.call("GET", path, token=None).status_code in (401, 404)
    assert "Ada" not in site.call("GET", f"/slots/{KEY}", token=READ).text
    assert "Ada" not in as_user(site, "bob", "GET", f"/slots/{KEY}").text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x" * 201}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\x07b"}, "name"),
        ({"contact": "a\u202eb"}, "contact"),
        ({"contact": 5}, "contact"),
        ({"note": "x" * 2001}, "note"),
        ({"note": ["x"]}, "note"),
        ({"override": "yes"}, "override"),
        ({"wait": 1}, "wait"),
        ({"wait": True, "hold_minutes": 5}, "wait"),
        ({"wait": True, "count": 2}, "count"),
        ({"hold_minutes": 5, "until": "2026-02-01"}, "until"),
        ({"override": True, "wait": True}, "override"),
        ({"override": True, "hold_minutes": 5}, "override"),
        ({"every": 2}, "every"),
        ({"conflicts": "skip"}, "conflicts"),
        ({"count": 2, "until": "2026-02-01"}, "count"),
        ({"count": 0}, "count"),
        ({"count": 105}, "count"),
        ({"count": 2.5}, "count"),
        ({"count": 2, "every": 53}, "every"),
        ({"count": 2, "conflicts": "ask"}, "conflicts"),
        ({"until": "2026-01-05"}, "until"),
        ({"until": "2029-01-05"}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"who": "x" * 201}, "who"),
        ({"who": "a\nb"}, "who"),
    ],
)
def test_what_makes_no_sense(site: ApiSite, body: Any, field: str) -> None:
    """422 names the field; nothing is written."""
    refused(site.call("POST", PATH, body), 422, "invalid_request", field)
    assert (site.get("/bookings?live=false")["items"], site.stored()) == ([], 0)


# --- series ------------------------------------------------------------------------------------------------------


def test_a_series(site: ApiSite) -> None:
    """201 with the report; the address is that of its first booking; the same request again is the same answer."""
    headers = {"Idempotency-Key": "k"}
    answer = site.call("POST", PATH, {"count": 4, "party": 2, **ADA}, headers=headers)
    report = made(answer)
    assert [each["key"] for each in report["bookings"]] == report["keys"] == TUESDAYS
    first = report["bookings"][0]
    assert answer.headers["Location"].endswith(first["token"])
    assert {each["repeats_id"] for each in report["bookings"]} == {report["repeats_id"]} == {first["id"]}
    assert {each["name"] for each in report["bookings"]} == {"Ada"}
    assert made(site.call("POST", PATH, {"count": 4, "party": 2, **ADA}, headers=headers)) == report
    refused(
        site.call("POST", PATH, {"count": 3, "party": 2, **ADA}, headers=headers), 422, "idempotency_conflict"
    )


def test_all_or_nothing(site: ApiSite) -> None:
    """A week that is full: 409 with the report, and nothing is written; with ``skip`` the rest is booked."""
    site.call("POST", f"/slots/{TUESDAYS[1]}/bookings", {"party": 2})
    site.call("POST", f"/slots/{TUESDAYS[2]}/cancel")
    body = {"until": "2026-01-27", "party": 2, "who": "ada"}
    problem = refused(site.call("POST", PATH, body), 409, "slot_full")
    assert problem["key"] == TUESDAYS[1]
    assert [(each["key"], each["code"]) for each in problem["report"]["refused"]] == [
        (TUESDAYS[1], "slot_full"),
        (TUESDAYS[2], "slot_closed"),
    ]
    assert site.get("/bookings?who=ada")["items"] == []
    report = made(site.call("POST", PATH, {**body, "conflicts": "skip"}))
    assert [each["key"] for each in report["bookings"]] == [TUESDAYS[0], TUESDAYS[3]]
    assert report["refused"] == problem["report"]["refused"]
    assert report["refused"][0]["nearest"][0] == {
        "key": "1@20260113T1100",
        "starts_at": "2026-01-13T11:00:00+00:00",
        "left": 3,
    }


def test_nothing_of_it_is_free(site: ApiSite) -> None:
    """With ``skip`` that is 200: nothing was made."""
    for key in TUESDAYS[:2]:
        site.call("POST", f"/slots/{key}/cancel")
    answer = site.call("POST", PATH, {"count": 2, "conflicts": "skip"})
    assert (answer.status_code, answer.json["bookings"], len(answer.json["refused"])) == (200, [], 2)
    assert "Location" not in answer.headers
    refused(site.call("POST", f"/slots/{KEY[:-4]}1030/bookings", {"count": 2}), 404, "slot_not_found")


def test_a_series_is_given_back(site: ApiSite) -> None:
    """From one on, all or none; by a person only what is this person's."""
    report = made(as_user(site, "ada", "POST", PATH, {"count": 4}))
    tokens = [each["token"] for each in report["bookings"]]
    path = f"/bookings/{tokens[1]}?following=true"
    refused(as_user(site, "bob", "DELETE", path), 404, "booking_not_found")
    assert as_user(site, "ada", "DELETE", path).status_code == 204
    assert [each["key"] for each in as_user(site, "ada", "GET", "/bookings").json["items"]] == [KEY]


def test_too_late_for_one(site: ApiSite) -> None:
    """409 names those that stay, and all of them do; staff may all the same."""
    report = made(as_user(site, "ada", "POST", PATH, {"count": 3}))
    first = report["bookings"][0]["id"]
    site.clock.now = START
    problem = refused(as_user(site, "ada", "DELETE", f"/bookings/{first}?following=true"), 409, "slot_closed")
    assert problem["too_late"] == [KEY]
    assert len(as_user(site, "ada", "GET", "/bookings").json["items"]) == 3
    path = f"/bookings/{first}?following=true&override=true"
    refused(as_user(site, "ada", "DELETE", path), 403, "forbidden")
    assert as_user(site, "staff", "DELETE", path).status_code == 204
    assert as_user(site, "ada", "GET", "/bookings").json["items"] == []


def test_a_series_asks_about_each_part(site: ApiSite) -> None:
    """Whoever may book only until a cut cannot book a series beyond it."""
    site.call("PATCH", f"/slots/{TUESDAYS[2]}", {"scope": "this_and_future", "group": "members"})

    @site.slots.authorize
    def partly(action: str, template: Any) -> bool | str:
        return True if action == "read" else action == "book" and template.group != "members" and "ada"

    assert site.call("POST", PATH, {}, token=None).status_code == 201
    refused(site.call("POST", PATH, {"count": 4}, token=None), 403, "forbidden")


def test_what_one_person_may_have(site: ApiSite) -> None:
    """409 ``limit_reached`` says which limit and from when on more is possible; of a series with the report."""
    site.call("PATCH", "/templates/1", {"max_party": 2, "max_per_person_week": 2})
    refused(as_user(site, "ada", "POST", PATH, {"party": 3}), 422, "invalid_request", "party")
    made(as_user(site, "ada", "POST", PATH, {"party": 2}))
    problem = refused(as_user(site, "ada", "POST", f"/slots/{NEXT}/bookings", {}), 409, "limit_reached")
    told = {name: problem[name] for name in ("limit", "most", "taken", "next_at")}
    assert told == {
        "limit": "max_per_person_week",
        "most": 2,
        "taken": 2,
        "next_at": "2026-01-12T00:00:00+00:00",
    }
    problem = refused(as_user(site, "ada", "POST", PATH, {"count": 3}), 409, "limit_reached")
    assert [each["key"] for each in problem["report"]["refused"]] == [KEY]
    refused(site.call("POST", PATH, {}), 422, "invalid_request", "who")
    assert made(site.call("POST", PATH, {"override": True, "party": 3}))["override"] is True


# --- waiting -----------------------------------------------------------------------------------------------------


def test_waiting_over_http(site: ApiSite) -> None:
    """A place on the list, how many are before it, an offer that is confirmed by its token, and no longer."""
    full = made(as_user(site, "ada", "POST", PATH, {"party": 3}))
    bob = made(as_user(site, "bob", "POST", PATH, {"wait": True, "name": "Bob"}))
    cleo = made(as_user(site, "cleo", "POST", PATH, {"wait": True, "party": 2}))
    assert [(each["status"], each["ahead"]) for each in (bob, cleo)] == [("waiting", 0), ("waiting", 1)]
    assert as_user(site, "bob", "GET", "/bookings").json["items"] == []
    (listed,) = as_user(site, "bob", "GET", "/bookings?waiting=true").json["items"]
    assert listed == bob
    assert as_user(site, "ada", "DELETE", f"/bookings/{full['token']}").status_code == 204
    offered = as_user(site, "bob", "GET", f"/bookings/{bob['token']}").json
    assert (offered["status"], offered["is_offer"], offered["ahead"]) == ("held", True, None)
    path = f"/bookings/{bob['token']}/confirm"
    refused(as_user(site, "cleo", "POST", path), 404, "booking_not_found")
    assert as_user(site, "bob", "POST", path).json["status"] == "confirmed"
    site.clock.turn(minutes=61)
    refused(as_user(site, "cleo", "POST", f"/bookings/{cleo['id']}/confirm"), 409, "hold_expired")


def test_who_need_not_wait(site: ApiSite) -> None:
    """While places are free, or where there is no list, it is 409."""
    refused(site.call("POST", PATH, {"wait": True, "who": "ada"}), 409, "status_conflict")


# --- lists -------------------------------------------------------------------------------------------------------


def keys(answer: Any) -> list[tuple[str, str]]:
    """Return slot and person of each booking of a page."""
    assert answer.status_code == 200, answer.text
    return [(each["key"], each["who"]) for each in answer.json["items"]]


@pytest.fixture
def booked(site: ApiSite) -> ApiSite:
    """Ada and Bob in one slot, Ada in the next, Bob on the court, and one that Ada gave back."""
    for key, who in ((NEXT, "ada"), (KEY, "ada"), (KEY, "bob"), ("2@20260106T1200", "bob")):
        made(site.call("POST", f"/slots/{key}/bookings", {"who": who}))
    gone = made(site.call("POST", PATH, {"who": "ada"}))
    site.call("DELETE", f"/bookings/{gone['id']}")
    return site


def test_staff_lists_everything(booked: ApiSite) -> None:
    """By start, then id; by person, slot, series, group and span; live or all."""
    both, court = [(KEY, "ada"), (KEY, "bob")], ("2@20260106T1200", "bob")
    for asked, expected in {
        "": [*both, court, (NEXT, "ada")],
        "?who=ada": [(KEY, "ada"), (NEXT, "ada")],
        f"?slot={KEY}": both,
        f"?slot={KEY}&live=false": [*both, (KEY, "ada")],
        "?template=2": [court],
        "?group=hall": [*both, (NEXT, "ada")],
        "?start=2026-01-06T12:00:00Z": [court, (NEXT, "ada")],
        "?start=2026-01-06&end=2026-01-07": [*both, court],
        "?who=nobody": [],
        "?group=nowhere": [],
    }.items():
        assert keys(booked.call("GET", f"/bookings{asked}")) == expected, asked
        assert keys(as_user(booked, "staff", "GET", f"/bookings{asked}")) == expected, asked


def test_pages(booked: ApiSite) -> None:
    """Each page names the next one, until there is none."""
    for ask in (booked.call, lambda *words: as_user(booked, "staff", *words)):
        found, path = [], "/bookings?limit=1&live=false"
        while path:
            page = ask("GET", path)
            found += keys(page)
            path = (page.json["next"] or "").removeprefix("/api")
        assert len(found) == 5
        assert found == keys(ask("GET", "/bookings?live=false"))


def test_a_person_lists_their_own(booked: ApiSite) -> None:
    """Without a name, with their own, in any slot and series; another name is 403; nobody gets nothing."""
    mine = [(KEY, "ada"), (NEXT, "ada")]
    for asked in ("", "?who=ada", "?template=1", "?group=hall"):
        assert keys(as_user(booked, "ada", "GET", f"/bookings{asked}")) == mine
    assert keys(as_user(booked, "ada", "GET", f"/bookings?slot={KEY}")) == mine[:1]
    assert keys(as_user(booked, "ada", "GET", "/bookings?template=2")) == []
    refused(as_user(booked, "ada", "GET", "/bookings?who=bob"), 403, "forbidden")
    assert as_user(booked, "", "GET", "/bookings").status_code in (401, 403)
    assert booked.call("GET", "/bookings", token=READ).status_code == 403
    assert booked.call("GET", "/bookings", token="x" * 40).status_code == 401


def test_it_is_never_public(sqlite_url: str, tmp_path: Path) -> None:
    """Not where reads are."""
    site = ApiSite(sqlite_url, tmp_path, ROLLINGSLOTS_PUBLIC_READS=True)
    site.fill("Hall")
    booking = made(site.call("POST", PATH, ADA))
    assert site.call("GET", f"/slots/{KEY}", token=None).status_code == 200
    for path in ("/bookings", f"/bookings/{booking['id']}", f"/bookings/{booking['token']}"):
        answer = site.call("GET", path, token=None)
        assert (answer.status_code, "Ada" in answer.text) == (401, False)


def test_a_callback_that_looks_at_the_booking(booked: ApiSite) -> None:
    """One that says yes to each booking of its own, and one that lets a tenant see its own templates' alone."""

    @booked.slots.authorize
    def by_booking(action: str, template: Any, *, booking: Any = None) -> bool:
        return action == "read" or booking is None or booking.who == request.headers["X-User"]

    assert keys(as_user(booked, "bob", "GET", "/bookings")) == [(KEY, "bob"), ("2@20260106T1200", "bob")]
    first = as_user(booked, "bob", "GET", "/bookings?limit=1")
    assert keys(first) == [(KEY, "bob")]
    assert keys(as_user(booked, "bob", "GET", first.json["next"].removeprefix("/api"))) == [
        ("2@20260106T1200", "bob")
    ]

    @booked.slots.authorize
    def by_group(action: str, template: Any) -> bool:
        return template is not None and template.group == "court"

    assert keys(as_user(booked, "x", "GET", "/bookings")) == [("2@20260106T1200", "bob")]
    assert as_user(booked, "x", "GET", f"/bookings?slot={KEY}").status_code == 404
    assert as_user(booked, "x", "GET", "/bookings?template=1").status_code == 404
    assert keys(as_user(booked, "x", "GET", "/bookings?who=ada")) == []


def test_who_is_staff_here_and_a_person_there(booked: ApiSite) -> None:
    """All of the one, their own of the other."""

    @booked.slots.authorize
    def mixed(action: str, template: Any) -> bool | str:
        if template is None:
            return False
        return True if action == "read" or template.group == "hall" else "ada"

    assert keys(booked.call("GET", "/bookings", token=None)) == [(KEY, "ada"), (KEY, "bob"), (NEXT, "ada")]
    assert keys(booked.call("GET", "/bookings?who=bob", token=None)) == [(KEY, "bob")]
    refused(booked.call("GET", "/bookings?template=2&who=bob", token=None), 403, "forbidden")


@pytest.mark.parametrize(
    "asked",
    [
        "limit=0", "limit=501", "cursor=x", "who=", "live=perhaps", "waiting=1", "start=soon", "template=0",
        "start=2026-01-07&end=2026-01-06", f"who={'x' * 201}", "what=else",
    ],
)  # fmt: skip
def test_a_wrong_question(booked: ApiSite, asked: str) -> None:
    """422 names the parameter."""
    refused(booked.call("GET", f"/bookings?{asked}"), 422, "invalid_request")


def test_what_is_not_there(booked: ApiSite) -> None:
    """An unknown series, slot or key is 404."""
    for asked in ("template=99", "slot=99@20260106T1000", "slot=nonsense"):
        assert booked.call("GET", f"/bookings?{asked}").status_code == 404


# --- changes -----------------------------------------------------------------------------------------------------


def test_a_booking_moves(site: ApiSite) -> None:
    """To another slot, also of another series: a new id, the same token, and what it was before."""
    booking = made(as_user(site, "ada", "POST", PATH, {"party": 2, "name": "Ada"}))
    path = f"/bookings/{booking['token']}"
    for key in (NEXT, "2@20260106T1200"):
        answer = as_user(site, "ada", "PATCH", path, {"slot": key})
        assert (answer.status_code, answer.json["key"]) == (200, key), answer.text
        assert (answer.json["token"], answer.json["name"]) == (booking["token"], "Ada")
        assert answer.json["replaces_id"] == booking["id"]
        booking = as_user(site, "ada", "GET", path).json
        assert booking == answer.json
    assert [site.get(f"/slots/{key}")["booked"] for key in (KEY, NEXT)] == [0, 0]


def test_several_changes_at_once(site: ApiSite) -> None:
    """Fewer before it moves, more after, with the person; and none of them if one cannot be."""
    made(site.call("POST", f"/slots/{NEXT}/bookings", {"party": 2}))
    booking = made(site.call("POST", PATH, {"party": 2, **ADA}))
    path = f"/bookings/{booking['token']}"
    changes = {"party": 1, "slot": NEXT, "contact": None, "note": "late"}
    changed = site.call("PATCH", path, changes)
    assert changed.status_code == 200, changed.text
    told = {name: changed.json[name] for name in ("key", "party", "name", "contact", "note")}
    assert told == {"key": NEXT, "party": 1, "name": "Ada", "contact": None, "note": "late"}
    refused(site.call("PATCH", path, {"party": 2, "note": "early"}), 409, "slot_full")
    refused(site.call("PATCH", path, {"slot": KEY, "party": 4, "name": "Eve"}), 409, "slot_full")
    assert site.get(path) == changed.json
    more = site.call("PATCH", path, {"slot": KEY, "party": 3}).json
    assert (more["key"], more["party"], site.get(f"/slots/{NEXT}")["booked"]) == (KEY, 3, 2)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"override": True}, "body"),
        ({"override": True, "note": "x"}, "override"),
        ({"party": 0}, "party"),
        ({"party": None}, "party"),
        ({"party": "2"}, "party"),
        ({"slot": None}, "slot"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x1bb"}, "name"),
        ({"contact": ""}, "contact"),
        ({"note": "x" * 2001}, "note"),
        ({"attendance": "late"}, "attendance"),
        ({"status": "confirmed"}, "status"),
        ({"who": "eve"}, "who"),
    ],
)
def test_a_change_that_makes_no_sense(site: ApiSite, body: Any, field: str) -> None:
    """422 names the field, and nothing changes."""
    booking = made(site.call("POST", PATH, ADA))
    refused(site.call("PATCH", f"/bookings/{booking['id']}", body), 422, "invalid_request", field)
    assert site.get(f"/bookings/{booking['id']}") == booking


def test_where_one_may_not_book(site: ApiSite) -> None:
    """Nobody moves a booking into an offer that is hidden, or not theirs to book."""

    @site.slots.authorize
    def members(action: str, template: Any) -> bool | str:
        user = request.headers["X-User"]
        if template is not None and template.group == "court":
            return action == "read" and user == "bob"
        return True if action == "read" else action == "book" and user

    for user, status in (("ada", 404), ("bob", 403)):
        booking = made(as_user(site, user, "POST", PATH, {}))
        answer = as_user(site, user, "PATCH", f"/bookings/{booking['id']}", {"slot": "2@20260106T1200"})
        assert answer.status_code == status
        assert as_user(site, user, "GET", f"/bookings/{booking['id']}").json == booking
    booking = made(as_user(site, "ada", "POST", PATH, {}))
    for key, status in (("nonsense", 404), ("1@20260106T1030", 404), ("99@20260106T1000", 404)):
        answer = as_user(site, "ada", "PATCH", f"/bookings/{booking['id']}", {"slot": key})
        assert answer.status_code == status, answer.text


# --- staff -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", PATH, {"override": True}),
        ("POST", PATH, {"override": True, "count": 2}),
        ("PATCH", "/bookings/1", {"override": True, "party": 3}),
        ("PATCH", "/bookings/1", {"override": True, "slot": NEXT}),
        ("PATCH", "/bookings/1", {"attendance": "arrived"}),
        ("PATCH", "/bookings/1", {"attendance": None, "note": "x"}),
        ("DELETE", "/bookings/1?override=true&following=true", None),
    ],
)
def test_what_is_for_staff(site: ApiSite, method: str, path: str, body: Any) -> None:
    """A person's name is no yes to ``override``: 403, nothing is done; staff and the token may."""
    booking = made(as_user(site, "ada", "POST", PATH, {}))
    refused(as_user(site, "ada", method, path, body), 403, "forbidden")
    assert as_user(site, "ada", "GET", "/bookings").json["items"] == [booking]
    assert as_user(site, "staff", method, path, body).status_code in (200, 201, 204)


def test_a_careless_callback(site: ApiSite) -> None:
    """One that returns a name for every action gives nobody the rights of staff."""
    site.slots.authorize(lambda action, template: action == "read" or "ada")
    booking = made(site.call("POST", PATH, {}, token=None))
    refused(site.call("POST", PATH, {"override": True}, token=None), 403, "forbidden")
    path = f"/bookings/{booking['id']}"
    refused(site.call("PATCH", path, {"attendance": "arrived"}, token=None), 403, "forbidden")


def test_the_mark_of_who_came(site: ApiSite) -> None:
    """It is set, changed and taken back."""
    booking = made(site.call("POST", PATH, {}))
    site.clock.now = START + timedelta(minutes=5)
    for mark in ("arrived", "no_show", None):
        answer = site.call("PATCH", f"/bookings/{booking['id']}", {"attendance": mark})
        assert (answer.status_code, answer.json["attendance"]) == (200, mark)


# --- history, series, and who is forgotten -----------------------------------------------------------------------


def test_the_history_of_a_booking(site: ApiSite) -> None:
    """The same list from each end, for its person and staff; somebody else finds nothing."""
    first = made(as_user(site, "ada", "POST", PATH))
    moved = as_user(site, "ada", "PATCH", f"/bookings/{first['token']}", {"slot": NEXT}).json
    for reference in (first["id"], moved["id"], moved["token"]):
        found = as_user(site, "ada", "GET", f"/bookings/{reference}/history").json["items"]
        assert [(each["id"], each["status"], each["replaces_id"]) for each in found] == [
            (first["id"], "released", None),
            (moved["id"], "confirmed", first["id"]),
        ]
    refused(as_user(site, "bob", "GET", f"/bookings/{moved['id']}/history"), 404, "booking_not_found")


def test_series_are_listed_once_each(site: ApiSite) -> None:
    """A series that was cut is one entry; pages follow each other, and what may not be read is left out."""
    assert site.call("PATCH", f"/slots/{NEXT}?scope=this_and_future", {"capacity": 5}).status_code == 200
    entries = site.get("/series")["items"]
    assert [(each["series_id"], each["name"], each["is_over"]) for each in entries] == [
        (1, "Hall", False),
        (2, "Court", False),
    ]
    assert (entries[0]["current"]["id"], entries[0]["last"]["capacity"]) == (1, 5)
    page = site.get("/series?limit=1")
    assert site.get(page["next"].removeprefix("/api"))["items"] == entries[1:]
    assert [each["name"] for each in site.get("/series?q=court")["items"]] == ["Court"]
    assert as_user(site, "", "GET", "/series").json["items"] == []


def test_staff_forgets_a_person(site: ApiSite) -> None:
    """Nobody is named any more, the places stay; persons and strangers may not."""
    booking = made(site.call("POST", PATH, {"party": 2, **ADA}))
    refused(as_user(site, "ada", "POST", "/forgotten", {"who": "ada"}), 403, "forbidden")
    assert as_user(site, "staff", "POST", "/forgotten", {"who": "ada"}).json == {"count": 1}
    after = site.get(f"/bookings/{booking['id']}")
    assert [after[name] for name in ("name", "contact", "note", "party")] == [None, None, None, 2]
    assert after["who"] not in ("ada", None)
    refused(site.call("POST", "/forgotten", {}), 422, "invalid_request", "who")
