"""`POST /closings`: days off over HTTP, whom to call, and who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from api_site import ApiSite, by_tenant

if TYPE_CHECKING:
    from pathlib import Path

DAY = {"first": "2026-01-06"}


@pytest.fixture
def site(any_url: str, tmp_path: Path) -> ApiSite:
    """Two tenants with a template each, stored, and a booking on the sixth and on the seventh."""
    site = ApiSite(any_url, tmp_path)
    site.fill("North", "South", capacity=3)
    with site.app.app_context():
        site.slots.generate()
        site.slots.book("1@20260106T1000", party=2, who="ada")
        site.slots.book("2@20260107T1000", who="bob")
        site.session.commit()
    return site


def blackouts(site: ApiSite) -> list[Any]:
    """Return the days off of each template."""
    return [each["blackouts"] for each in site.get("/templates")["items"]]


def test_days_are_closed_and_opened(site: ApiSite) -> None:
    """The answer names what changed, with the bookings as every answer has them; a dry run says the same."""
    body = {**DAY, "last": "2026-01-07", "reason": "Paint"}
    tried = site.call("POST", "/closings", {**body, "dry_run": True})
    assert blackouts(site) == [[], []]
    done = site.call("POST", "/closings", body)
    assert (tried.status_code, done.status_code) == (200, 200)
    assert done.json == {**tried.json, "dry_run": False}
    assert {name: done.json[name] for name in ("first", "last", "reopened", "reason")} == {
        **body,
        "reopened": False,
    }
    assert (done.json["templates"], done.json["unchanged"], done.json["counts"]["slots"]) == ([1, 2], [], 32)
    assert done.json["booked"] == ["1@20260106T1000", "2@20260107T1000"]
    assert done.json["bookings"] == [site.get(f"/bookings/{number}") for number in (1, 2)]
    assert blackouts(site) == [[["2026-01-06", "2026-01-07"]]] * 2
    back = site.call("POST", "/closings", {**body, "group": "north", "reason": None, "reopen": True})
    assert (back.json["templates"], back.json["booked"]) == ([1], ["1@20260106T1000"])
    assert blackouts(site) == [[], [["2026-01-06", "2026-01-07"]]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"first": "tomorrow"}, 422, "invalid_request"),
        ({**DAY, "last": "2026-01-05"}, 422, "invalid_request"),
        ({**DAY, "group": "north", "template": 1}, 422, "invalid_request"),
        ({**DAY, "reopen": True, "reason": "Done"}, 422, "invalid_request"),
        ({**DAY, "days": 3}, 422, "invalid_request"),
        ({**DAY, "group": "nowhere"}, 404, "template_not_found"),
        ({**DAY, "template": 9}, 404, "template_not_found"),
    ],
)
def test_what_makes_no_sense_is_refused(site: ApiSite, body: dict[str, Any], status: int, code: str) -> None:
    """It is a problem document, and nothing is closed."""
    answer = site.call("POST", "/closings", body)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert blackouts(site) == [[], []]


def test_each_template_must_be_the_senders(site: ApiSite) -> None:
    """With a callback: the own group, not the one of others, which is not there, and not all."""
    site.slots.authorize(by_tenant)
    north = {"headers": {"X-Tenant": "north"}, "token": None}
    for more, status in (
        ({"group": "south"}, 404),
        ({"template": 2}, 404),
        ({}, 403),
        ({"group": "north"}, 200),
    ):
        answer = site.call("POST", "/closings", {**DAY, **more}, **north)
        assert answer.status_code == status, more
    assert answer.json["templates"] == [1]
    assert site.call("POST", "/closings", {**DAY, "template": 1}, **north).json["unchanged"] == [1]
    assert blackouts(site) == [[["2026-01-06", "2026-01-06"]], []]


def test_who_may_only_read_or_book_closes_nothing(site: ApiSite) -> None:
    """Seeing templates is not changing them; and a writing token is needed where there is no callback."""
    assert site.call("POST", "/closings", DAY, token=None).status_code == 401
    site.slots.authorize(lambda action, template: action in ("read", "book"))
    for more in ({}, {"group": "north"}, {"template": 1}):
        assert site.call("POST", "/closings", {**DAY, **more}, token=None).status_code in (401, 403), more
    assert blackouts(site) == [[], []]


def test_a_day_is_cancelled(site: ApiSite) -> None:
    """Of all, or of a group that is the sender's; the answer says whom to tell."""
    site.slots.authorize(by_tenant)
    north = {"headers": {"X-Tenant": "north"}, "token": None}
    body = {"day": "2026-01-06", "reason": "Snow"}
    assert site.call("POST", "/cancelled-days", {**body, "group": "south"}, **north).status_code == 404
    assert site.call("POST", "/cancelled-days", body, **north).status_code == 403
    own = site.call("POST", "/cancelled-days", {**body, "group": "north"}, **north)
    assert (own.json["counts"], own.json["slots"][0]) == ({"slots": 8, "bookings": 1}, "1@20260106T1000")
    assert own.json["bookings"] == [site.get("/bookings/1")]
    rest = site.call("POST", "/cancelled-days", {**body, "dry_run": True})
    assert (rest.json["dry_run"], rest.json["counts"]) == (True, {"slots": 8, "bookings": 0})
    assert site.get("/slots/1@20260106T1000")["cancel_reason"] == "Snow"
    assert site.get("/slots/2@20260106T1000")["status"] == "scheduled"
