"""Every page: sound markup, safe headers, forms that only this site can send, nothing from elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from demo_site import ROOT, VENUES, Page, book, hold, read, send, template_id

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

PAGES = [
    "/",
    *(f"/venues/{slug}" for slug in VENUES),
    "/slots/{laser}@20260311T1000",
    "/slots/{laser}@20260310T1100",
    "/bookings",
    "/owner/",
    "/owner/new",
    "/owner/templates/{laser}",
    "/owner/templates/{laser}?show=200",
    "/owner/templates/{laser}/edit",
    "/owner/templates/{laser}/limits",
    "/owner/slots/{laser}@20260311T1000",
    "/owner/calendar?venue=community",
    "/owner/day",
    "/owner/day?venue=clubs&day=2026-03-11",
    "/owner/operations?template={laser}&day=2026-03-11&time=09:30&venue=game-hall",
    "/nowhere",
]


def check(page: Page) -> None:
    """Refuse markup that a browser has to guess about."""
    assert page.faults == []
    assert page.tags.count("h1") == 1
    assert len(page.ids) == len(set(page.ids))
    assert [own for own in page.controls if own.get("id") not in page.labels] == []


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_sound_and_sends_strict_headers(client: FlaskClient, site: Flask, address: str) -> None:
    """Balanced tags, one heading, a label for each input, no inline code, and a policy that allows none."""
    laser = template_id(site, "Laser tag")
    book(client, f"/slots/{laser}@20260312T1000")
    answer = client.get(address.format(laser=laser))
    check(read(answer))
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(r'(?:src|href|action)="(?!/|#)', answer.text)


def test_pages_that_refuse_a_form_are_sound_too(client: FlaskClient, site: Flask) -> None:
    """The forms with errors keep to the same rules."""
    laser = template_id(site, "Laser tag")
    held = hold(client, f"/slots/{laser}@20260311T1000").location
    forms = ("/owner/new", held, f"/owner/templates/{laser}/edit", f"/owner/slots/{laser}@20260311T1000")
    for address in (*forms, f"/owner/templates/{laser}/limits"):
        typed = {"name": "", "weekdays": ["1"], "capacity": "no", "closes": "soon", "blackouts": "Christmas"}
        answer = send(client, address, read(client.get(address)), **typed)
        assert answer.status_code == 422, address
        check(read(answer))


@pytest.mark.parametrize("token", [None, "", "guessed", "grün"])
@pytest.mark.parametrize("with_session", [False, True])
def test_a_form_without_the_token_is_refused(
    client: FlaskClient, site: Flask, token: str | None, with_session: bool
) -> None:
    """Every address that changes something answers 400, with the site's own page, and changes nothing."""
    key = f"{template_id(site, 'Laser tag')}@20260311T1000"
    if with_session:
        client.get(f"/slots/{key}")
    data = {"name": "Mallory", "party": "1"} | ({} if token is None else {"csrf_token": token})
    posts = [str(rule) for rule in site.url_map.iter_rules() if "POST" in (rule.methods or ())]
    assert len(posts) == 16
    for rule in posts:
        address = rule.replace("<key>", key)
        address = re.sub(r"<int:\w+>", "1", address)
        answer = client.post(address, data=data)
        assert answer.status_code == 400
        check(read(answer))
    assert "4 of 4 left, Laser tag, Wednesday 11 March 10:00" in read(client.get("/venues/game-hall")).cells


def test_a_text_with_a_null_character_is_refused(client: FlaskClient, site: Flask) -> None:
    """PostgreSQL cannot hold it, so no page takes it."""
    address = f"/slots/{template_id(site, 'Laser tag')}@20260311T1000"
    assert book(client, address, "Ada\0").status_code == 400


def test_what_somebody_types_is_shown_and_never_run(client: FlaskClient, site: Flask) -> None:
    """A name with markup is only text on the page."""
    book(client, f"/slots/{template_id(site, 'Laser tag')}@20260311T1000", "<script>alert(1)</script>")
    answer = client.get("/bookings")
    assert "&lt;script&gt;alert(1)" in answer.text
    check(read(answer))


def test_a_body_that_is_too_large_is_refused(client: FlaskClient) -> None:
    """More than 64 KB is answered with a page that says so."""
    assert client.post("/owner/new", data={"name": "x" * 70_000}).status_code == 413


def test_nothing_comes_from_elsewhere() -> None:
    """No page, style or script names another host."""
    files = [p for p in (ROOT / "demo_app").rglob("*") if p.suffix in (".html", ".css", ".js", ".svg")]
    assert len(files) > 10
    for path in files:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"^\s*//.*|\s// .*$", "", text, flags=re.MULTILINE), path.name
