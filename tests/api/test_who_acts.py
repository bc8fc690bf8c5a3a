"""Signals say who acts: whom ``authorize`` named, or the app, or whom a booking is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from api_site import WRITE, ApiSite
from flask import request

from flask_rollingslots import signals

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOT, NEXT = "1@20260106T1000", "1@20260107T1000"
TOLD = (
    "slot_booked", "slot_held", "booking_released", "booking_moved", "slot_cancelled", "slot_restored", "slot_deleted",
    "slot_completed", "series_edited", "series_ended", "series_restored", "days_closed", "days_reopened",
)  # fmt: skip


@pytest.fixture
def heard(site: ApiSite) -> Iterator[list[tuple[str, Any]]]:
    """What is told of a site with a hall, each with who did it."""
    site.fill("Hall", capacity=9)
    found: list[tuple[str, Any]] = []
    receivers = []
    for name in TOLD:

        def hear(sender: Any, *, who: Any, name: str = name, **_more: Any) -> None:
            found.append((name, who))

        receivers.append(hear)  # a signal holds them weakly
        getattr(signals, name).connect(hear, sender=site.app)
    yield found
    for name, receiver in zip(TOLD, receivers, strict=True):
        getattr(signals, name).disconnect(receiver, sender=site.app)


#: What an owner does over HTTP, and what is told of it; each after the other.
CALLS: tuple[tuple[str, str, Any, list[str]], ...] = (
    ("POST", f"/slots/{SLOT}/bookings", {}, ["slot_booked"]),
    ("POST", f"/slots/{SLOT}/bookings", {"hold_minutes": 5}, ["slot_held"]),
    ("POST", "/bookings/2/confirm", {}, ["slot_booked"]),
    ("DELETE", "/bookings/1", None, ["booking_released"]),
    ("PATCH", f"/slots/{SLOT}", {"data": {"a": 1}}, ["series_edited"]),
    ("PATCH", "/templates/1", {"capacity": 8}, ["series_edited"]),
    ("POST", f"/slots/{NEXT}/cancel", {}, ["slot_cancelled"]),
    ("POST", f"/slots/{NEXT}/restore", {}, ["slot_restored"]),
    ("POST", f"/slots/{NEXT}/complete", {}, ["slot_completed"]),
    ("DELETE", "/slots/1@20260108T1000", None, ["slot_deleted"]),
    ("POST", "/closings", {"first": "2026-01-09", "template": 1}, ["days_closed"]),
    ("POST", "/closings", {"first": "2026-01-09", "template": 1, "reopen": True}, ["days_reopened"]),
    ("POST", "/templates/1/cancel-future", {"from_date": "2026-01-10"}, ["series_ended"]),
    ("POST", "/templates/1/restore", {}, ["series_restored"]),
)


def test_a_request_is_of_whom_the_callback_names(site: ApiSite, heard: list[tuple[str, Any]]) -> None:
    """Every signal of a request has the name that ``authorize`` returned; the next request another one."""
    site.slots.authorize(lambda action, template: request.headers["X-User"])
    for number, (method, path, body, told) in enumerate(CALLS):
        user = f"user {number}" if "bookings" not in path else "ada"
        answer = site.call(method, path, body, headers={"X-User": user}, token=None)
        assert answer.status_code < 300, answer.text
        assert heard == [(name, user) for name in told], path
        heard.clear()
    assert {name for *_, told in CALLS for name in told} == {*TOLD} - {"booking_moved"}


def test_a_program_has_no_name(site: ApiSite, heard: list[tuple[str, Any]]) -> None:
    """With a token, or a plain yes, nobody is named but whom a booking is for."""
    site.call("POST", f"/slots/{SLOT}/bookings", {"who": "ada"}, token=WRITE)
    site.call("DELETE", "/bookings/1", token=WRITE)
    site.slots.authorize(lambda action, template: True)
    site.call("POST", f"/slots/{SLOT}/cancel", {}, token=None)
    assert heard == [("slot_booked", "ada"), ("booking_released", None), ("slot_cancelled", None)]


def test_an_app_says_who_acts(site: ApiSite, heard: list[tuple[str, Any]]) -> None:
    """Within ``acting`` calls are that person's, also in another transaction; outside and afterwards nobody's."""
    slots = site.slots
    with site.app.app_context():
        made = slots.book(SLOT, who="ada")
        with slots.acting("owner"):
            with slots.acting("deputy"):
                made = slots.move(made, NEXT)
            slots.book(SLOT, who="bob")
            site.session.commit()
            with slots.transaction():
                slots.cancel("1@20260108T1000")
        slots.release(made)
        site.session.commit()
    assert heard == [
        ("slot_booked", "ada"),
        ("booking_moved", "deputy"),
        ("slot_booked", "owner"),
        ("slot_cancelled", "owner"),
        ("booking_released", None),
    ]
