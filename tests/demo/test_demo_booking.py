"""How a visitor books: hold, name, confirmation, calendar file, list, cancel; and what is said when it is too late."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import icalendar
import pytest
from demo_site import book, hold, read, send, template_id
from helpers import lose_races

from demo_app import db, slots

if TYPE_CHECKING:
    from collections.abc import Callable

    import time_machine
    from flask import Flask
    from flask.testing import FlaskClient

WEEK = "/venues/game-hall"


def at(app: Flask, name: str, start: str) -> str:
    """Return the address of a slot's page by its offer and wall-clock start."""
    return f"/slots/{template_id(app, name)}@{start}"


def taken(app: Flask, address: str) -> int:
    """Return how many places of a slot are taken, by bookings and live holds."""
    with app.app_context():
        slot = slots.get(address.rpartition("/")[2])
        return slot.capacity - slot.left


def test_a_place_is_held_while_the_name_is_typed_then_booked_and_cancelled(
    client: FlaskClient, site: Flask
) -> None:
    """The first click takes the place off the grid, the second keeps the name, and cancelling gives the place back."""
    label, address = (
        "of 2 left, Bubble football, Wednesday 11 March 10:00",
        at(site, "Bubble football", "20260311T1000"),
    )
    assert read(client.get(WEEK)).cells[f"2 {label}"] == address
    held = hold(client, address)
    assert held.status_code == 303
    assert f"1 {label}" in read(site.test_client().get(WEEK)).cells
    page = read(client.get(held.location))
    assert "Kept for you for ten minutes." in page.text
    answer = send(client, held.location, page, name="  Ada   Lovelace ", party=1)
    assert answer.status_code == 303
    booked = read(client.get(answer.location))
    assert "Booked: Bubble football" in booked.text
    assert "Ada Lovelace: 1 team" in booked.text
    assert "10:00–11:00, Istanbul time" in booked.text  # noqa: RUF001 (a span of time)
    mine = read(client.get("/bookings"))
    assert "For Ada Lovelace: 1 team " in mine.text
    assert f"1 {label}" in read(client.get(WEEK)).cells
    assert send(client, "/bookings", mine).location == "/bookings"
    assert "Your booking is cancelled: Bubble football, Wed 11 Mar, 10:00." in client.get("/bookings").text
    assert f"2 {label}" in read(client.get(WEEK)).cells


def test_a_hold_ends_by_itself_and_what_is_still_free_is_booked_all_the_same(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """After ten minutes the place is free for others; whoever typed slowly gets it if nobody else did."""
    address = at(site, "Bubble football", "20260311T1000")
    held = hold(client, address)
    page = read(client.get(held.location))
    assert taken(site, address) == 1
    clock.shift(timedelta(minutes=10))
    assert taken(site, address) == 0
    assert "The ten minutes are over, but this time is still free." in read(client.get(held.location)).text
    answer = send(client, held.location, page, name="Slow", party=2)
    assert "Booked: Bubble football" in read(client.get(answer.location)).text
    assert taken(site, address) == 2


def test_what_was_taken_after_the_hold_ended_is_said_with_the_next_free_time(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """The page says "just taken" and offers the next free slot by one button."""
    address = at(site, "Bubble football", "20260311T1000")
    held = hold(client, address)
    page = read(client.get(held.location))
    clock.shift(timedelta(minutes=10))
    assert book(site.test_client(), address, party=2).status_code == 303
    answer = send(client, held.location, page, name="Slow", party=1)
    assert answer.status_code == 409
    shown = read(answer)
    assert "Just taken. The next free one is Wed 11 Mar, 11:00." in shown.text
    following = at(site, "Bubble football", "20260311T1100")
    assert [form.action for form in shown.forms] == [f"{following}/hold"]
    assert send(client, address, shown).status_code == 303
    assert taken(site, following) == 1
    text = read(client.get(held.location)).text
    assert "The ten minutes are over. All places are taken. The next free one is Wed 11 Mar, 11:00." in text


def test_a_slot_that_was_just_taken_is_answered_with_the_next_free_one(
    client: FlaskClient, site: Flask
) -> None:
    """Whoever comes second reads a sentence and a link that works, and the grid says full."""
    address = at(site, "Bubble football", "20260311T1000")
    page = read(client.get(address))
    assert book(site.test_client(), address, party=2).status_code == 303
    answer = send(client, address, page)
    assert answer.status_code == 409
    assert "Just taken. The next free one is Wed 11 Mar, 11:00." in read(answer).text
    following = read(answer).links["Wed 11 Mar, 11:00"]
    assert book(client, following).status_code == 303
    assert "full, Bubble football, Wednesday 11 March 10:00" in read(client.get(WEEK)).cells
    assert (
        "All places are taken. The next free one is Wed 11 Mar, 11:00."
        not in read(client.get(following)).text
    )
    assert "All places are taken. The next free one is Wed 11 Mar, 11:00." in read(client.get(address)).text


def test_more_places_than_are_left_are_refused_with_what_is_left_and_the_hold_stays(
    client: FlaskClient, site: Flask
) -> None:
    """A slot with one place left says so, keeps what was typed, and still holds it."""
    address = at(site, "Bubble football", "20260311T1000")
    book(site.test_client(), address)
    answer = book(client, address, "Grace Hopper", 2)
    assert answer.status_code == 409
    page = read(answer)
    assert "There is only 1 of 2 teams left." in page.text
    assert page.forms[0].fields["name"] == "Grace Hopper"
    assert taken(site, address) == 2  # one booked, one held
    assert "No more than 2 teams in all." in read(book(client, address, "Grace Hopper", 3)).text


def test_another_number_than_one_takes_all_the_places_or_none(client: FlaskClient, site: Flask) -> None:
    """The hold of one place becomes a booking of three, and nothing is left over."""
    address = at(site, "Laser tag", "20260311T1000")
    answer = book(client, address, party=3)
    assert "Ada Lovelace: 3 teams" in read(client.get(answer.location)).text
    assert taken(site, address) == 3


def test_a_visitor_holds_one_thing_at_a_time_and_can_let_go(client: FlaskClient, site: Flask) -> None:
    """Choosing another time gives the first one back; so does the button."""
    first, second = (at(site, "Laser tag", f"20260311T1{hour}00") for hour in (0, 1))
    hold(client, first)
    held = hold(client, second)
    assert (taken(site, first), taken(site, second)) == (0, 1)
    page = read(client.get(held.location))
    assert send(client, held.location, page, 1).location == WEEK
    assert taken(site, second) == 0
    assert "Let go." in client.get(WEEK).text
    assert client.get(held.location).location == second


def test_a_button_that_is_pressed_twice_holds_once_and_a_form_that_is_sent_twice_books_once(
    client: FlaskClient, site: Flask
) -> None:
    """Pages that are sent again give what they gave the first time, and say so."""
    address = at(site, "Laser tag", "20260311T1000")
    page = read(client.get(address))
    first, second = send(client, address, page), send(client, address, page)
    assert first.location == second.location
    assert taken(site, address) == 1
    form = read(client.get(first.location))
    for party in (2, 2, 3):
        answer = send(client, first.location, form, name="Ada", party=party)
        assert answer.status_code == 303
    assert taken(site, address) == 2
    assert "nothing was booked now" in client.get("/bookings").text
    assert client.get(first.location).status_code == 302


def test_an_old_page_can_be_used_again(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """Back on the grid after the hold has ended, the same button holds again."""
    address = at(site, "Laser tag", "20260311T1000")
    page = read(client.get(address))
    first = send(client, address, page)
    clock.shift(timedelta(minutes=11))
    assert taken(site, address) == 0
    assert send(client, address, page).location != first.location
    assert taken(site, address) == 1


def test_a_slot_that_began_meanwhile_is_refused(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """The page was open too long: the answer says that it has started, and names the next one."""
    address = at(site, "Laser tag", "20260310T1200")
    page = read(client.get(address))
    clock.move_to(datetime(2026, 3, 10, 9, 0, 1, tzinfo=UTC), tick=False)
    answer = send(client, address, page)
    assert answer.status_code == 409
    assert "This has started already. The next free one is Tue 10 Mar, 13:00." in read(answer).text


def test_a_slot_that_was_cancelled_while_the_name_was_typed_is_refused(
    client: FlaskClient, site: Flask
) -> None:
    """The hold does not help then; the visitor reads why."""
    address = at(site, "Laser tag", "20260311T1000")
    held = hold(client, address)
    page = read(client.get(held.location))
    with site.app_context():
        slots.cancel(address.rpartition("/")[2], reason="Flooded")
        db.session.commit()
    answer = send(client, held.location, page, name="Ada", party=1)
    assert answer.status_code == 409
    assert "This date was cancelled by the venue." in read(answer).text


@pytest.mark.parametrize(("typed", "words"), [
    ({"name": "  "}, "Write your name."),
    ({"name": "x" * 81}, "Write a name of at most 80 letters."),
    ({"party": "0"}, "Write how many"),
    ({"party": "two"}, "Write how many"),
    ({"party": "9" * 30}, "Write how many"),
])  # fmt: skip
def test_a_booking_that_is_typed_wrongly_is_refused_and_kept(
    client: FlaskClient, site: Flask, typed: dict[str, str], words: str
) -> None:
    """The page comes back with the reason and with what was typed, and nothing is booked but still held."""
    address = at(site, "Laser tag", "20260311T1000")
    held = hold(client, address)
    page = read(client.get(held.location))
    answer = send(client, held.location, page, **{"name": "Ada", "party": "1"} | typed)
    assert answer.status_code == 422
    assert words in read(answer).text
    assert read(answer).forms[0].fields | typed == read(answer).forms[0].fields
    assert taken(site, address) == 1
    assert "You have no bookings." in read(client.get("/bookings")).text


def test_the_calendar_file_says_when_in_utc_and_is_the_same_each_time(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """A program reads the event: start, end, name, place, and an id that never changes."""
    answer = book(client, at(site, "Archery lane", "20260311T1000"))
    page = read(client.get(answer.location))
    address = page.links["Put it into your calendar (.ics)"]
    file = client.get(address)
    assert file.mimetype == "text/calendar"
    assert re.fullmatch(r'attachment; filename="booking-\d+\.ics"', file.headers["Content-Disposition"])
    [event] = icalendar.Calendar.from_ical(file.data).walk("VEVENT")
    assert event["DTSTART"].dt == datetime(2026, 3, 11, 7, 0, tzinfo=UTC)
    assert event["DTEND"].dt == datetime(2026, 3, 11, 8, 30, tzinfo=UTC)
    assert (event["SUMMARY"], event["LOCATION"]) == ("Archery lane", "Galata Game Hall")
    clock.shift(timedelta(hours=1))
    assert client.get(address).data == file.data
    send(client, "/bookings", read(client.get("/bookings")))
    assert client.get(address).status_code == 404


def test_nobody_sees_or_cancels_the_booking_of_somebody_else(client: FlaskClient, site: Flask) -> None:
    """Another visitor gets the page of nothing here at each of its addresses, and the booking stands."""
    address = at(site, "Laser tag", "20260311T1000")
    held = hold(client, address).location
    stranger = site.test_client()
    token = read(stranger.get(address)).forms[0].fields["csrf_token"]
    data = {"csrf_token": token, "name": "Mallory", "party": "1"}
    assert stranger.get(held).status_code == 404
    assert stranger.post(held, data=data).status_code == 404
    assert stranger.post(f"{held}/release", data=data).status_code == 404
    booked = send(client, held, read(client.get(held)), name="Ada", party=1).location
    for look in (booked, f"{booked}.ics"):
        assert stranger.get(look).status_code == 404
    assert stranger.post(f"{booked}/cancel", data=data).status_code == 404
    assert taken(site, address) == 1
    assert "You have no bookings." in read(stranger.get("/bookings")).text


def test_a_booking_that_has_started_cannot_be_cancelled(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """There is no button any more, and an old button changes nothing."""
    address = at(site, "Laser tag", "20260310T1200")
    book(client, address)
    page = read(client.get("/bookings"))
    clock.move_to(datetime(2026, 3, 10, 9, 30, tzinfo=UTC), tick=False)
    assert not read(client.get("/bookings")).forms
    send(client, "/bookings", page)
    assert "can no longer be cancelled" in client.get("/bookings").text
    assert taken(site, address) == 1


def test_until_when_a_booking_can_be_cancelled_is_said_and_kept(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """Where the owner wants a notice, the list names the moment; from then on a sentence stands there, no button."""
    address = at(site, "Laser tag", "20260311T1000")
    with site.app_context():
        slots.get(address.rpartition("/")[2]).template.cancel_before = timedelta(hours=2)
        db.session.commit()
    book(client, address)
    page = read(client.get("/bookings"))
    assert "It can be cancelled until Wed 11 Mar, 08:00." in page.text
    clock.move_to(datetime(2026, 3, 11, 5, 0, tzinfo=UTC), tick=False)
    late = read(client.get("/bookings"))
    assert "It can no longer be cancelled: that was possible until Wed 11 Mar, 08:00." in late.text
    assert not late.forms
    assert send(client, "/bookings", page).location == "/bookings"
    assert client.get("/bookings").text.count("that was possible until Wed 11 Mar, 08:00.") == 2
    assert taken(site, address) == 1
    clock.move_to(datetime(2026, 3, 12, 7, 0, tzinfo=UTC), tick=False)
    send(client, "/bookings", page)
    assert "It is over, so it can no longer be cancelled." in client.get("/bookings").text
    assert taken(site, address) == 1


def test_a_date_that_was_cancelled_too_late_for_a_visitor_still_leaves_the_list(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """What the venue calls off may be taken off the list after the time to cancel, too."""
    address = at(site, "Laser tag", "20260311T1000")
    book(client, address)
    with site.app_context():
        slot = slots.cancel(address.rpartition("/")[2])
        slot.template.cancel_before = timedelta(hours=24)
        db.session.commit()
    clock.move_to(datetime(2026, 3, 11, 7, 30, tzinfo=UTC), tick=False)
    send(client, "/bookings", read(client.get("/bookings")))
    assert "Taken off your list: Laser tag" in client.get("/bookings").text


def test_too_many_holds_at_once_are_answered_with_a_sentence(
    make_site: Callable[..., Flask], clock: time_machine.Traveller
) -> None:
    """A visitor at the limit reads what to do; what is held stays."""
    site = make_site(ROLLINGSLOTS_HOLDS_PER_PERSON=1)
    client = site.test_client()
    first, second = (at(site, "Laser tag", f"20260311T1{hour}00") for hour in (0, 1))
    hold(client, first)
    answer = hold(client, second)
    assert answer.status_code == 409
    assert "You are choosing too many times at once." in read(answer).text
    assert (taken(site, first), taken(site, second)) == (1, 0)


def test_a_booking_whose_date_was_cancelled_says_so_and_leaves_the_list(
    client: FlaskClient, site: Flask
) -> None:
    """Its page does not say "Booked", its file updates the calendar, and the button cancels nothing twice."""
    address = at(site, "Laser tag", "20260311T1000")
    booked = book(client, address).location
    assert "Wed 11 Mar, 10:00–11:00 Istanbul time" in read(client.get("/bookings")).text  # noqa: RUF001 (a span)
    with site.app_context():
        slots.cancel(address.rpartition("/")[2], reason="Flooded")
        db.session.commit()
    page = read(client.get(booked))
    assert "Cancelled: Laser tag The venue has cancelled this date. Reason: Flooded" in page.text
    assert "Booked: " not in page.text
    assert b"STATUS:CANCELLED" in client.get(page.links["Update your calendar (.ics)"]).data
    mine = read(client.get("/bookings"))
    assert "Take off the list" in mine.text
    send(client, "/bookings", mine)
    assert (
        "Taken off your list: Laser tag, Wed 11 Mar, 10:00. My bookings You have no bookings."
        in read(client.get("/bookings")).text
    )


@pytest.mark.parametrize("times", [2, 3])
def test_a_visitor_whose_race_is_lost_gets_the_place_all_the_same(
    client: FlaskClient, site: Flask, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The page tries again by itself; one that loses again and again says so, and nothing is booked."""
    address = at(site, "Bubble football", "20260311T1000")
    lose_races(monkeypatch, slots, "hold", times)
    answer = hold(client, address)
    assert answer.status_code == (303 if times == 2 else 409)
    assert taken(site, address) == (1 if times == 2 else 0)
    if times == 3:
        assert "Somebody else was faster" in read(answer).text
