"""What the app's callback is asked: about what is there, what it would become, and the slot and booking in question."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from api_site import ApiSite, by_tenant
from flask import request

if TYPE_CHECKING:
    from collections.abc import Callable

SLOT = "1@20260106T1000"
HALL = {"X-Tenant": "hall"}


def by_resource(action: str, template: Any) -> bool:
    """Let a tenant do everything with its own templates, on resources whose names begin with its own."""
    tenant = request.headers["X-Tenant"]
    return by_tenant(action, template) and (template.resource or tenant).startswith(tenant)


def refused(answer: Any, *statuses: int) -> None:
    """Expect that a request was refused."""
    assert answer.status_code in (statuses or (403,)), answer.text


@pytest.fixture
def tenants(site: ApiSite) -> ApiSite:
    """A site with a template of each of two tenants, each of whom may do everything with its own."""
    site.fill("Hall", "Court")
    site.slots.authorize(by_tenant)
    return site


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("path", "scope"),
    [("/templates/1", None), (f"/slots/{SLOT}", "all"), (f"/slots/{SLOT}", "this_and_future")],
)
def test_nobody_moves_a_template_to_somebody_else(
    tenants: ApiSite, path: str, scope: str | None, dry_run: bool
) -> None:
    """An owner of one venue cannot put an offer, or the rest of a series, into another one's."""
    said = {} if scope is None else {"scope": scope}
    body = {"group": "court", "dry_run": dry_run, **said}
    refused(tenants.call("PATCH", path, body, headers=HALL, token=None))
    both = {"group": "hall", "capacity": 5, "data": {"a": 1}, **said}
    assert tenants.call("PATCH", path, both, headers=HALL, token=None).status_code == 200
    found = tenants.call("GET", "/templates", headers={"X-Tenant": "court"}, token=None).json["items"]
    assert [each["name"] for each in found] == ["Court"]


@pytest.mark.parametrize(("path", "scope"), [("/templates/1", None), (f"/slots/{SLOT}", "all")])
def test_nobody_takes_the_court_of_somebody_else(tenants: ApiSite, path: str, scope: str | None) -> None:
    """The callback sees the resource that a template would get, so it can refuse one of another venue."""
    tenants.slots.authorize(by_resource)
    said = {} if scope is None else {"scope": scope}
    refused(tenants.call("PATCH", path, {"resource": "court 1", **said}, headers=HALL, token=None))
    own = {"resource": "hall 1", **said}
    assert tenants.call("PATCH", path, own, headers=HALL, token=None).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/templates/1", {"capacity": 9}),
        ("DELETE", "/templates/1", None),
        ("POST", "/templates/1/cancel-future", {"from_date": "2026-01-05"}),
        ("POST", "/templates/1/restore", {}),
        ("POST", "/closings", {"first": "2026-01-09", "template": 1}),
        ("PATCH", f"/slots/{SLOT}", {"scope": "all", "capacity": 9}),
    ],
)
def test_a_series_with_a_part_of_somebody_else_is_theirs_too(
    site: ApiSite, method: str, path: str, body: Any
) -> None:
    """What is about a whole series needs the right to each of its segments."""
    site.fill("Hall")
    site.call("PATCH", "/slots/1@20260108T1000", {"scope": "this_and_future", "group": "court"})
    site.slots.authorize(by_tenant)
    refused(site.call(method, path, body, headers=HALL, token=None), 403, 404)
    later = site.get("/slots/1@20260109T1000")
    assert (later["group"], later["capacity"], later["state"]) == ("court", 1, "open")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/templates/1", {"capacity": 9}),
        ("DELETE", "/templates/1", None),
        ("PATCH", f"/slots/{SLOT}", {"scope": "all", "capacity": 9}),
        ("POST", f"/slots/{SLOT}/cancel", {}),
        ("POST", f"/slots/{SLOT}/complete", {}),
    ],
)
def test_what_became_somebody_elses_meanwhile_is_not_changed(
    site: ApiSite, method: str, path: str, body: Any
) -> None:
    """Between the question to the callback and the change the offer went to another venue: nothing is written."""
    site.fill("Hall")
    moved: list[bool] = []

    @site.slots.authorize
    def decide(action: str, template: Any) -> bool:
        is_mine = bool(template.group == "hall")
        if action == "edit" and (method != "PATCH" or template.capacity == 9) and not moved:
            moved.append(True)  # right after this answer
            with site.slots.transaction() as slots:
                slots.change_template(1, group="court")
        return is_mine

    answer = site.call(method, path, body, token=None)
    assert (answer.status_code, answer.json["code"]) == (409, "stale_edit")
    assert moved
    slot = site.get(f"/slots/{SLOT}")
    assert (slot["group"], slot["capacity"], slot["state"], slot["status"]) == (
        "court",
        1,
        "open",
        "scheduled",
    )


def given(site: ApiSite, decide: Callable[..., Any]) -> None:
    """Make a request of each kind under a callback."""
    site.slots.authorize(decide)
    call = partial(site.call, token=None)
    assert call("PATCH", f"/slots/{SLOT}", {"capacity": 5}).status_code == 200
    made = call("POST", f"/slots/{SLOT}/bookings", {"who": "ada"})
    assert made.status_code == 201
    assert call("DELETE", f"/bookings/{made.json['id']}?override=true").status_code == 204
    new = {"name": "New", "dtstart": "2026-01-05T10:00", "duration_minutes": 60, "dry_run": True}
    assert call("POST", "/templates", new).status_code == 200


def test_it_is_told_the_slot_the_booking_and_the_changes(site: ApiSite) -> None:
    """A callback that names them gets them: of an edit the new values, of a booking its slot and whose it is."""
    site.fill("Hall")
    seen: list[tuple[Any, ...]] = []

    def decide(action: str, template: Any, *, slot: Any, booking: Any, changes: Any) -> bool:
        told = (slot and slot.key, booking and booking.who, changes and changes.get("capacity"))
        seen.append((action, template.capacity, *told))
        return True

    given(site, decide)
    asked = [each for each in seen if each[0] != "read"]
    assert ("edit", 1, SLOT, None, 5) in asked  # as it is
    assert ("edit", 5, SLOT, None, 5) in asked  # as it would be
    assert ("book", 1, SLOT, None, None) in asked
    assert ("book", 1, SLOT, "ada", None) in asked
    assert ("override", 1, SLOT, "ada", None) in asked
    assert [each[0] for each in asked].count("create") == 1


class Policy:
    """A callback that is an object, with one of the keywords, and a parameter of its own that has a default."""

    seen: Any = None

    def __call__(self, action: str, template: Any, slot: Any, strict: bool = False) -> bool:
        """Keep which slot was meant."""
        assert strict is False
        self.seen = slot or self.seen
        return True


def test_callbacks_of_every_form_go_on_to_work(site: ApiSite) -> None:
    """Two arguments as before, all by name, one of them, an object, and what has no signature that can be read."""
    site.fill("Hall")
    policy, everything = Policy(), []

    def all_of_them(action: str, template: Any, **about: Any) -> bool:
        everything.append(sorted(about))
        return True

    given(site, lambda action, template: True)
    given(site, lambda slot, booking: True)  # the two, whatever they are called
    given(site, policy)
    given(site, all_of_them)
    assert policy.seen.key == SLOT
    assert {tuple(each) for each in everything} == {("booking", "changes", "slot")}


def test_a_slot_is_read_only_for_who_asks_for_it(site: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a callback of two arguments a request looks up no slot before it decides."""
    site.fill("Hall", capacity=2)
    looked: list[str] = []
    get = site.slots.get

    def noting(key: Any) -> Any:
        looked.append(key)
        return get(key)

    monkeypatch.setattr(site.slots, "get", noting)
    site.slots.authorize(lambda action, template: True)
    assert site.call("POST", f"/slots/{SLOT}/bookings", {}, token=None).status_code == 201
    assert looked == []
    site.slots.authorize(lambda action, template, slot: True)
    assert site.call("POST", f"/slots/{SLOT}/bookings", {}, token=None).status_code == 201
    assert looked


def test_who_books_is_asked_about_the_slots_own_segment(site: ApiSite) -> None:
    """Whether somebody may book is asked of the part of a series to which the slot belongs."""
    site.fill("Hall")
    site.call("PATCH", "/slots/1@20260108T1000", {"scope": "this_and_future", "data": {"members": True}})

    @site.slots.authorize
    def decide(action: str, template: Any) -> bool:
        return action == "read" or not template.data.get("members")

    assert site.call("POST", f"/slots/{SLOT}/bookings", {}, token=None).status_code == 201
    refused(site.call("POST", "/slots/1@20260109T1000/bookings", {}, token=None))
