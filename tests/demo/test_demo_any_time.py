"""The demo by the machine's own clock: what holds at every moment. ``make moments`` chooses the moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo_site import VENUES, book, read, send, template_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

PAGES = (
    *(f"/venues/{slug}" for slug in VENUES),
    *(f"/owner/calendar?venue={slug}" for slug in VENUES),
    "/bookings",
    "/owner/",
    "/owner/new",
    "/owner/day",
    "/owner/operations",
    "/owner/templates/{laser}",
    "/owner/templates/{laser}/edit",
    "/owner/templates/{laser}/limits",
)


def test_the_site_works_whatever_the_time_is(make_site: Callable[..., Flask]) -> None:
    """With its story told: each venue has something free, each page is there, and a game can be had and given back."""
    site = make_site(DEMO_SAMPLES=True)
    client, laser = site.test_client(), template_id(site, "Laser tag")
    assert read(client.get("/")).text.count("Next free:") == len(VENUES)
    for address in PAGES:
        answer = client.get(address.format(laser=laser))
        assert (address, answer.status_code, read(answer).faults) == (address, 200, [])
    week = "/venues/game-hall"
    for _ in range(2):  # the story reaches into next week
        week = read(client.get(week)).links["Next week"]
    cells = read(client.get(week)).cells
    games = {label: link for label, link in cells.items() if "4 of 4 left, Laser tag" in label}
    assert len(games) == 7 * 12
    label, address = games.popitem()
    assert book(client, address).status_code == 303
    assert label.replace("4 of 4", "3 of 4") in read(client.get(week)).cells
    assert send(client, "/bookings", read(client.get("/bookings"))).status_code == 303
    assert label in read(client.get(week)).cells
