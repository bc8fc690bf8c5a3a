"""The owner's calendar: a date is changed, cancelled or brought back, with its consequences shown before."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from demo_site import Page, book, read, send, template_id

from demo_app import db, slots

if TYPE_CHECKING:
    import time_machine
    from flask import Flask
    from flask.testing import FlaskClient

WEDNESDAY = "20260311T1000"


@pytest.fixture
def laser(site: Flask) -> int:
    """The number of a template whose week is stored."""
    with site.app_context():
        slots.generate()
    return template_id(site, "Laser tag")


def ask(client: FlaskClient, address: str, **typed: Any) -> Page:
    """Send the form of a date, and return the page that asks which dates are meant."""
    answer = send(client, address, read(client.get(address)), **typed)
    assert answer.status_code == 200, read(answer).text
    return read(answer)


def start_of(site: Flask, key: str) -> str:
    """Return the wall-clock start of a slot."""
    with site.app_context():
        return f"{slots.get(key).local_start:%Y-%m-%d %H:%M}"


def test_the_calendar_shows_a_week_of_a_venue_with_what_is_booked(client: FlaskClient, laser: int) -> None:
    """Each date stands under its day, says how many places are taken, and leads to its page."""
    book(client, f"/slots/{laser}@{WEDNESDAY}", party=3)
    page = read(client.get("/owner/calendar"))
    assert page.links["10:00 Laser tag 3/4 booked"] == f"/owner/slots/{laser}@{WEDNESDAY}"
    assert page.links["Next week"] == "/owner/calendar?week=2026-03-17&venue=game-hall"
    far = read(client.get("/owner/calendar?venue=clubs&week=2027-01-01"))
    assert "22:00 Friday Night Party 0/120 booked" in far.links
    assert client.get("/owner/calendar?week=soon").location == "/owner/calendar?venue=game-hall"


def test_the_three_answers_to_which_dates_say_what_each_would_do(
    client: FlaskClient, site: Flask, laser: int
) -> None:
    """A later start: one date; this and 73 following ones, without those that are booked; all of the series."""
    book(client, f"/slots/{laser}@20260312T1000")
    key = f"{laser}@{WEDNESDAY}"
    page = ask(client, f"/owner/slots/{key}", start_time="10:30")
    text = page.text
    assert "Start: Wed 11 Mar, 10:30 instead of 10:00. Nothing has happened yet." in text
    only, following, everything = (text.index(name) for name in (
        "Only this date", "This and all following dates", "All dates of the series",
    ))  # fmt: skip
    assert "Changed: 1 Wed 11 Mar, 10:00 → 10:30" in text[only:following]
    assert "Changed: 71" in text[following:everything]
    assert "Kept as they are, because they are booked: 1 Thu 12 Mar, 10:00" in text[following:everything]
    assert "The series is split here" in text[following:everything]
    assert "Changed: 81" in text[everything:]
    assert start_of(site, key) == "2026-03-11 10:00"


@pytest.mark.parametrize(("scope", "this", "following", "earlier"), [
    ("this", "10:30", "10:00", "12:00"),
    ("this_and_future", "10:30", "10:30", "12:00"),
    ("all", "10:30", "10:30", "12:30"),
])  # fmt: skip
def test_what_was_shown_is_what_is_done(
    client: FlaskClient, site: Flask, laser: int, scope: str, this: str, following: str, earlier: str
) -> None:
    """The chosen dates move, the others stay, and the page of the date says so."""
    key = f"{laser}@{WEDNESDAY}"
    answer = send(
        client,
        f"/owner/slots/{key}/edit",
        ask(client, f"/owner/slots/{key}", start_time="10:30"),
        scope=scope,
    )
    assert (answer.status_code, answer.location) == (303, f"/owner/slots/{key}")
    assert "Changed:" in client.get(answer.location).text
    assert start_of(site, key) == f"2026-03-11 {this}"
    assert start_of(site, f"{laser}@20260312T1000") == f"2026-03-12 {following}"
    assert start_of(site, f"{laser}@20260310T1200") == f"2026-03-10 {earlier}"


def test_a_change_is_not_done_if_somebody_booked_since_it_was_shown(
    client: FlaskClient, site: Flask, laser: int
) -> None:
    """The page comes back with the consequences as they are now, and sending it again does them."""
    key, address = f"{laser}@{WEDNESDAY}", f"/owner/slots/{laser}@{WEDNESDAY}"
    page = ask(client, address, start_time="10:30")
    book(client, f"/slots/{laser}@20260312T1000")
    answer = send(client, f"{address}/edit", page, scope="all")
    assert answer.status_code == 409
    again = read(answer)
    assert "Nothing was changed: somebody booked or changed something meanwhile." in again.text
    assert "because they are booked: 1 Thu 12 Mar, 10:00" in again.text
    assert start_of(site, key) == "2026-03-11 10:00"
    assert send(client, f"{address}/edit", again, scope="all").status_code == 303
    assert start_of(site, key) == "2026-03-11 10:30"
    assert start_of(site, f"{laser}@20260312T1000") == "2026-03-12 10:00"


def test_a_booked_date_moves_only_if_that_was_ticked(client: FlaskClient, site: Flask, laser: int) -> None:
    """Without the tick the answer "only this date" cannot be given, and the page says what to do."""
    key, address = f"{laser}@{WEDNESDAY}", f"/owner/slots/{laser}@{WEDNESDAY}"
    book(client, f"/slots/{key}")
    page = ask(client, address, start_time="10:30")
    assert (
        "Not possible: It is booked. If the people agree, go back and tick “Move booked dates too”."
        in page.text
    )
    page = ask(client, address, start_time="10:30", move_booked="1")
    assert send(client, f"{address}/edit", page, scope="this").status_code == 303
    assert start_of(site, key) == "2026-03-11 10:30"


def test_places_length_and_text_of_a_date_can_be_changed(
    client: FlaskClient, site: Flask, laser: int
) -> None:
    """All three at once, for one date far away that is not stored yet; it is marked as changed by hand."""
    key = f"{laser}@20270301T1000"
    page = ask(client, f"/owner/slots/{key}", capacity="6", length="90", note="With a lesson.")
    assert "Length: 90 minutes. Places: 6 instead of 4. Another text about it." in page.text
    answer = send(client, f"/owner/slots/{key}/edit", page, scope="this")
    shown = read(client.get(answer.location)).text
    assert "0 of 6 teams" in shown
    assert "10:00–11:30" in shown  # noqa: RUF001 (a span of time)
    assert "With a lesson." in shown
    assert "by hand: changes of the series leave that as it is" in shown


def test_a_booked_date_that_keeps_its_time_and_gets_another_text_is_told_once(
    client: FlaskClient, laser: int
) -> None:
    """It is neither changed like the others nor kept as it is."""
    book(client, f"/slots/{laser}@20260312T1000")
    text = ask(client, f"/owner/slots/{laser}@{WEDNESDAY}", start_time="10:30", note="New").text
    everything = text[text.index("All dates of the series") :]
    told = "Partly changed, for they are booked or were changed by hand: 1 Thu 12 Mar, 10:00 (1 booked)"
    assert told in everything
    assert "Kept as they are" not in everything
    assert everything.count("Thu 12 Mar, 10:00") == 1


@pytest.mark.parametrize(("typed", "message"), [
    ({"start_time": "late"}, "Start time: Choose a day and a time"),
    ({"day": ""}, "Start time: Choose a day and a time"),
    ({"length": "0"}, "Length in minutes: Write a whole number"),
    ({"capacity": "many"}, "Places: Write a whole number"),
    ({"note": "x" * 301}, "About: Write at most 300 letters."),
    ({}, "Nothing was changed yet."),
])  # fmt: skip
def test_a_change_that_is_typed_wrongly_is_refused_and_kept(
    client: FlaskClient, laser: int, typed: dict[str, str], message: str
) -> None:
    """The page of the date comes back with the reason and with what was typed."""
    address = f"/owner/slots/{laser}@{WEDNESDAY}"
    answer = send(client, address, read(client.get(address)), **typed)
    assert answer.status_code == 422
    alert = "Nothing was saved yet: " if typed else ""
    assert re.search(rf"{alert}.*{message}", read(answer).text)
    assert read(answer).forms[0].fields | typed == read(answer).forms[0].fields


def test_cancelling_more_than_a_date_is_asked_once_more_and_can_be_taken_back(
    client: FlaskClient, site: Flask, laser: int
) -> None:
    """The question names the booked dates; afterwards nothing appears any more, until the series is restored."""
    book(client, f"/slots/{laser}@20260312T1000", party=2)
    address = f"/owner/slots/{laser}@{WEDNESDAY}"
    answer = send(client, address, read(client.get(address)), 1, scope="this_and_future", reason="We move.")
    page = read(answer)
    assert "72 stored dates would be cancelled, and no later ones appear" in page.text
    assert "1 of them is booked: Thu 12 Mar, 10:00: 2 teams" in page.text
    assert "scheduled" in _status(site, f"{laser}@{WEDNESDAY}")
    done = send(client, f"{address}/cancel", page)
    assert done.location == f"/owner/templates/{laser}"
    assert _status(site, f"{laser}@{WEDNESDAY}") == "cancelled"
    assert "Reason: We move." in client.get("/bookings").text
    assert client.get(f"/slots/{laser}@20270301T1000").status_code == 404
    template = read(client.get(done.location))
    assert "The series is cancelled From Wed 11 Mar, 10:00 on nothing takes place." in template.text
    assert send(client, done.location, template, 1).location == done.location
    assert "Restored: 72 stored dates" in client.get(done.location).text
    assert _status(site, f"{laser}@{WEDNESDAY}") == "scheduled"
    assert client.get(f"/slots/{laser}@20270301T1000").status_code == 200


def _status(site: Flask, key: str) -> str:
    with site.app_context():
        return slots.get(key).status


def test_a_day_is_cancelled_for_all_offers_of_a_venue_and_brought_back(
    client: FlaskClient, site: Flask, laser: int
) -> None:
    """Stored or not, booked or not; visitors read the reason, other venues and days are not touched."""
    book(client, f"/slots/{laser}@20270501T1000")
    address = "/owner/day?venue=game-hall&day=2027-05-01"
    page = read(client.get(address))
    assert "32 dates take place, 1 of them booked." in page.text
    answer = send(client, "/owner/day", page, reason="Public holiday")
    assert answer.location == address
    page = read(client.get(address))
    assert "Cancelled: 32 dates on Saturday 1 May 2027. Call Ada Lovelace." in page.text
    assert "32 dates are cancelled." in page.text
    assert "Reason: Public holiday" in client.get("/bookings").text
    assert not any("cancelled" not in cell for cell in read(client.get("/venues/game-hall?week=2027-05-01")).cells
                   if "Saturday 1 May" in cell)  # fmt: skip
    assert (
        read(client.get("/owner/day?venue=game-hall&day=2027-05-02")).text.count("32 dates take place") == 1
    )
    send(client, "/owner/day/restore", page)
    assert "Restored: 32 dates on Saturday 1 May 2027." in client.get(address).text
    assert "32 dates take place, 1 of them booked." in client.get(address).text


def test_a_day_is_closed_and_open_again(client: FlaskClient, laser: int) -> None:
    """Nothing new is shown on it, the owner reads whom to call, and it can be taken back."""
    book(client, f"/slots/{laser}@20270501T1000")
    address = "/owner/day?venue=game-hall&day=2027-05-01"
    client.get(address)
    answer = send(client, "/owner/day/close", read(client.get(address)))
    assert answer.location == address
    page = read(client.get(address))
    assert "Closed: Saturday 1 May 2027. Call Ada Lovelace." in page.text
    assert "1 date takes place, 1 of them booked." in page.text
    send(client, "/owner/day/close", page, open="1")
    page = read(client.get(address))
    assert "Open again: Saturday 1 May 2027." in page.text
    assert "32 dates take place, 1 of them booked." in page.text


def test_who_switches_off_or_closes_an_offer_reads_whom_to_call(client: FlaskClient, laser: int) -> None:
    """Bookings stay for those who have them, so the owner reads their names: switched off, and a day off of its own."""
    book(client, f"/slots/{laser}@20270501T1000")
    address = f"/owner/templates/{laser}"
    closed = {"holidays": "", "blackouts": "2027-05-01 to 2027-05-02", "opens": "", "closes": ""}
    saved = send(client, f"{address}/limits", read(client.get(f"{address}/limits")), **closed)
    assert "booked ones stay. Call Ada Lovelace." in client.get(saved.location).text
    send(client, f"{address}/switch", read(client.get(address)))
    assert "Bookings are kept. Call Ada Lovelace." in client.get(address).text
    send(client, f"{address}/switch", read(client.get(address)))
    page = client.get(address).text
    assert "Switched on." in page
    assert "Call Ada" not in page


def test_a_day_with_nothing_says_so_and_a_reason_without_end_is_refused(
    client: FlaskClient, laser: int
) -> None:
    """No button where there is nothing to cancel; a wrong day shows tomorrow."""
    assert "Nothing takes place on that day." in client.get("/owner/day?venue=clubs&day=2026-03-11").text
    address = "/owner/day?venue=game-hall&day=2026-03-11"
    send(client, "/owner/day", read(client.get(address)), reason="x" * 501)
    page = read(client.get(address))
    assert "Write a reason of at most 500 letters." in page.text
    assert "32 dates take place" in page.text
    assert "Wednesday 11 March 2026" in client.get("/owner/day?day=soon").text


def test_the_page_of_a_date_says_who_booked(client: FlaskClient, laser: int) -> None:
    """Names and numbers of places, and no holds."""
    address = f"{laser}@{WEDNESDAY}"
    book(client, f"/slots/{address}", "Ada Lovelace", 2)
    text = read(client.get(f"/owner/slots/{address}")).text
    assert "WhoAda Lovelace (2 teams)" in text


def test_a_date_that_is_over_shows_no_forms(
    client: FlaskClient, laser: int, clock: time_machine.Traveller
) -> None:
    """What took place is not changed any more."""
    clock.shift(timedelta(days=2))
    assert not read(client.get(f"/owner/slots/{laser}@{WEDNESDAY}")).forms


def test_an_answer_that_was_never_offered_changes_nothing(
    client: FlaskClient, site: Flask, laser: int
) -> None:
    """A scope that does not exist is answered with the question again."""
    address = f"/owner/slots/{laser}@{WEDNESDAY}"
    page = ask(client, address, start_time="10:30")
    assert send(client, f"{address}/edit", page, scope="everything").status_code == 409
    assert start_of(site, f"{laser}@{WEDNESDAY}") == "2026-03-11 10:00"
    send(client, address, read(client.get(address)), 1, scope="everything")
    assert "Choose which dates" in client.get(address).text
    with site.app_context():
        assert db.session.query(slots.Slot).filter_by(status="cancelled").count() == 0
