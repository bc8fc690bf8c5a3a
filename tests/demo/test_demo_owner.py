"""What the owner can do: see the rules, create a template and watch it fill, cancel and restore a date."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from demo_site import book, read, send, template_id

from demo_app import db, slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse


def create(client: FlaskClient, **typed: Any) -> TestResponse:
    """Send the form of a new template, with the opening hours of two hours of table tennis."""
    hours = {"name": "Table tennis", "length": "30", "grid_every": "30", "grid_until": "12:00"}
    return send(client, "/owner/new", read(client.get("/owner/new")), **(hours | typed))


def test_all_templates_are_listed_with_rule_end_and_state(client: FlaskClient) -> None:
    """The owner sees each rule in words, whether it is for ever, and whether it is active."""
    text = read(client.get("/owner/")).text
    assert "Mobile crane with driver Every 2 months on the 13th at 09:00, 12 times has an end active" in text
    assert "Friday Night Party Every week on Friday at 22:00 ∞ for ever active" in text
    assert "Terrace Sunday Every week on Sunday at 17:00 ∞ for ever not active" in text
    assert text.count("∞ for ever") == 17
    assert "no login" in text


def test_a_new_template_is_filled_in_the_background_and_the_progress_ends(
    make_site: Callable[..., Flask],
) -> None:
    """The form leads to a page that follows the run of this template until its whole week is stored."""
    site = make_site(ROLLINGSLOTS_ENABLED=True)
    client = site.test_client()
    executor = site.extensions["rollingslots"].topup.executor
    client.get("/owner/new")
    assert executor.join(
        20
    )  # the day's own top-up is over, so that it does not write the new template's slots
    answer = create(client, first_date="2024-01-01")
    assert answer.status_code == 303
    address = answer.location
    assert executor.join(60)
    state = client.get(f"{address}/progress").get_json()
    with site.app_context():
        number = int(address.rpartition("/")[2])
        stored = db.session.query(slots.Slot).filter_by(template_id=number).count()
    assert state == {"status": "confirmed", "done": stored, "total": stored}
    assert 24 <= stored <= 28  # four a day for seven days; those of today that are over are not made
    page = read(client.get(address))
    assert f"{stored} slots ready." in page.text
    assert sum(link.startswith("/owner/slots/") for link in page.links.values()) == 5
    assert "script" not in page.tags
    assert executor.join(60)


def test_a_template_that_waits_shows_its_state_without_javascript(client: FlaskClient, site: Flask) -> None:
    """Until its dates are written the page loads itself again, with a script or without."""
    address = create(client).location
    assert client.get(f"{address}/progress").get_json() == {"status": "waiting", "done": 0, "total": 24}
    answer = client.get(address)
    assert "Waiting for its turn." in read(answer).text
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in answer.text
    with site.app_context():
        slots.generate()
    assert "24 slots ready." in read(client.get(address)).text


def test_a_template_without_a_date_in_its_first_week_says_so(client: FlaskClient) -> None:
    """Nothing to write is not the same as not written yet."""
    address = create(client, first_date="2026-06-01").location
    assert client.get(f"{address}/progress").get_json() == {"status": "confirmed", "done": 0, "total": 0}
    assert "No date falls in the next seven days." in read(client.get(address)).text


@pytest.mark.parametrize(("typed", "rule", "is_forever"), [
    ({}, "Every day, every 30 minutes from 10:00 to 12:00", True),
    ({"unit": "weekly", "weekdays": ["1", "3"], "ends": "until", "until_date": "2026-12-31"},
     "Every week on Tuesday and Thursday, every 30 minutes from 10:00 to 12:00, until 31 December 2026", False),
    ({"unit": "monthly", "interval": "2", "ends": "count", "count": "12", "grid_every": "", "grid_until": ""},
     "Every 2 months on the 10th at 10:00, 12 times", False),
])  # fmt: skip
def test_the_form_says_every_kind_of_rule(
    client: FlaskClient, site: Flask, typed: dict[str, Any], rule: str, is_forever: bool
) -> None:
    """Units, weekdays, ends and opening hours reach the rule that visitors read."""
    answer = create(client, venue="clubs", **typed)
    with site.app_context():
        made = db.session.get(slots.Template, int(answer.location.rpartition("/")[2]))
        assert made is not None
        described = made.recurrence.describe(times=True)
        assert (described[:1].upper() + described[1:], made.recurrence.is_forever) == (rule, is_forever)
        assert (made.group, made.timezone, made.capacity) == ("clubs", "Europe/Madrid", 2)


@pytest.mark.parametrize(("typed", "message"), [
    ({"name": ""}, "Name: Write what people book."),
    ({"name": "x" * 201}, "Name: Expected a text of 1 to 200 characters on one line, without control characters."),
    ({"venue": "moon"}, "Venue: Choose one from the list."),
    ({"capacity": "many"}, "Places: Write a whole number."),
    ({"capacity": "0"}, "Places: Expected a whole number from 1 to 1000000."),
    ({"length": "0"}, "Length in minutes: Expected"),
    ({"length": "300"}, "Length in minutes: Expected at most"),
    ({"interval": "0"}, "Repeat every: Expected a whole number from 1"),
    ({"unit": "hourly"}, "Days, weeks or months: Expected one of"),
    ({"weekdays": ["0"]}, "On: Expected no weekdays with type daily."),
    ({"unit": "weekly", "weekdays": ["9"]}, "On: Expected a whole number from 0 (Monday) to 6 (Sunday)."),
    ({"ends": "count", "count": "0"}, "Number of dates: Expected a whole number from 1"),
    ({"ends": "count"}, "Number of dates: Write a whole number."),
    ({"ends": "until"}, "Last date: Choose a date, such as 2026-01-31."),
    ({"ends": "until", "until_date": "2020-01-01"}, "Last date: Choose a date that is not before"),
    ({"ends": "sometime"}, "Ends: Expected"),
    ({"first_date": "tomorrow"}, "First date: Choose a date, such as 2026-01-31."),
    ({"first_date": "9999-12-31"}, "First date: Choose a date within ten years"),
    ({"start_time": "25:00"}, "Start time: Expected a time of day from 00:00 to 23:59"),
    ({"start_time": ""}, "Start time: Write a time of day"),
    ({"grid_every": "0"}, "A slot every: Expected a length of time"),
    ({"grid_every": ""}, "A slot every: Expected the distance between two starts"),
    ({"grid_until": ""}, "Until: Expected the time by which the last slot ends"),
])  # fmt: skip
def test_what_is_typed_wrongly_is_said_in_words_and_nothing_is_lost(
    client: FlaskClient, site: Flask, typed: dict[str, Any], message: str
) -> None:
    """The form comes back with the reason at its input and with all that was typed; nothing is stored."""
    answer = create(client, **typed)
    assert answer.status_code == 422
    page = read(answer)
    assert message in page.text
    assert page.text.count("Nothing was saved yet") == 1
    kept = page.forms[0].fields
    for name, value in ({"length": "30", "grid_every": "30", "name": "Table tennis"} | typed).items():
        if name == "weekdays":
            assert kept.get(name, []) == [day for day in value if day < "7"]
        elif name not in ("venue", "unit", "ends"):  # a list keeps only what it offers
            assert kept[name] == value
    with site.app_context():
        assert db.session.query(slots.Template).count() == 18


def test_the_owner_cancels_a_date_with_a_reason_and_restores_it(client: FlaskClient, site: Flask) -> None:
    """Visitors read the reason at the slot and at their booking; restored, the slot can be booked again."""
    key = f"{template_id(site, 'Laser tag')}@20260311T1000"
    book(client, f"/slots/{key}")
    address = f"/owner/slots/{key}"
    assert send(client, address, read(client.get(address)), 1, reason="The floor is wet").location == address
    assert "cancelled, Laser tag, Wednesday 11 March 10:00" in read(client.get("/venues/game-hall")).cells
    text = read(client.get(f"/slots/{key}")).text
    assert "cancelled by the venue. Reason: The floor is wet The next free one is Wed 11 Mar, 11:00." in text
    assert "Reason: The floor is wet" in read(client.get("/bookings")).text
    with site.app_context():
        assert slots.generate().created > 0
        assert slots.get(key).status == "cancelled"
    assert send(client, address, read(client.get(address))).location == address
    assert "3 of 4 left, Laser tag, Wednesday 11 March 10:00" in read(client.get("/venues/game-hall")).cells


def test_a_date_that_is_over_is_cancelled_too(client: FlaskClient, site: Flask, clock: Any) -> None:
    """What did not take place is put right afterwards; a reason without end is answered with a sentence."""
    key = f"{template_id(site, 'Laser tag')}@20260310T1200"
    address = f"/owner/slots/{key}"
    page = read(client.get(address))
    send(client, address, page, 1, reason="x" * 501)
    assert "at most 500 letters" in client.get(address).text
    with site.app_context():
        slots.materialize(key)
        db.session.commit()
    clock.shift(timedelta(hours=3))
    send(client, address, page, 1)
    shown = read(client.get(address))
    assert "Cancelled" in shown.text
    with site.app_context():
        assert slots.get(key).status == "cancelled"


def test_a_failure_shows_the_sites_own_page_and_books_nothing(
    client: FlaskClient, site: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error inside is answered with status 500 in the look of the site, and is logged."""
    site.config["PROPAGATE_EXCEPTIONS"] = False

    def fail() -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(slots, "health", fail)
    with caplog.at_level(logging.CRITICAL):
        answer = client.get("/owner/")
    assert answer.status_code == 500
    assert "Something broke" in read(answer).text


def test_an_inactive_template_is_listed_for_the_owner_only(client: FlaskClient, site: Flask) -> None:
    """Visitors do not see what rests; the owner sees that it does."""
    assert "Terrace Sunday" not in client.get("/venues/clubs").text
    number = template_id(site, "Terrace Sunday")
    assert "not active: nothing is shown to visitors" in client.get(f"/owner/templates/{number}").text
    start = datetime(2026, 3, 15, 17, 0)
    assert client.get(f"/slots/{number}@{start:%Y%m%dT%H%M}").status_code == 404
