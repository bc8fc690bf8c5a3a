"""What a visitor can do: see venues and weeks, book, cancel."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from demo_site import VENUES, Queries, book, read, send, template_id

from demo_app import db, slots

if TYPE_CHECKING:
    import time_machine
    from flask import Flask
    from flask.testing import FlaskClient

TODAY = date(2026, 3, 10)


def at(app: Flask, name: str, start: str) -> str:
    """Return the address of a slot's page by its offer and wall-clock start."""
    return f"/slots/{template_id(app, name)}@{start}"


def booked(app: Flask, address: str) -> int:
    """Return how many places of a slot are taken."""
    with app.app_context():
        return slots.get(address.rpartition("/")[2]).booked


def test_the_first_page_lists_five_venues_with_rules_and_the_next_free_time(client: FlaskClient) -> None:
    """Every venue has its name, its rules in words and the first slot that can be booked."""
    page = read(client.get("/"))
    assert [link for link in page.links.values() if link.startswith("/venues/")] == [
        f"/venues/{v}" for v in VENUES
    ]
    assert "Every week on Friday at 22:00" in page.text
    assert page.text.count("Next free:") == 5
    assert "Next free: Tue 10 Mar, 12:00 Bubble football" in page.text  # 11:00 has begun


def test_the_game_halls_week_has_seven_days_of_its_opening_hours(client: FlaskClient, site: Flask) -> None:
    """Each hour from 10:00 to 21:00 of each day is there once; hours that are over today are left out."""
    page = read(client.get("/venues/game-hall"))
    expected = {
        f"2 of 2 left, Bubble football, {day:%A} {day.day} March {hour}:00": f"{day:%Y%m%d}T{hour}00"
        for day in (TODAY + timedelta(days=n) for n in range(7))
        for hour in range(10, 22)
        if day > TODAY or hour >= 12
    }
    number = template_id(site, "Bubble football")
    found = {label: link for label, link in page.links.items() if "Bubble football," in label}
    assert found == {label: f"/slots/{number}@{start}" for label, start in expected.items()}
    assert "Istanbul time (Europe/Istanbul)" in page.text
    assert page.text.count("running") == 3  # 11:00 of two games, and the lane that begins at 11:30


def test_hours_of_today_that_were_stored_are_shown_as_past(
    site: Flask, clock: time_machine.Traveller
) -> None:
    """A slot with a row stays on the page when it is over, as words and without a link."""
    clock.move_to(datetime(2026, 3, 10, 6, 0, tzinfo=UTC), tick=False)
    with site.app_context():
        slots.generate()
    clock.move_to(datetime(2026, 3, 10, 8, 30, tzinfo=UTC), tick=False)
    page = read(site.test_client().get("/venues/game-hall"))
    assert page.text.count("past") == 3  # 10:00 of three games
    assert not any("past" in label for label in page.links)


def test_parties_stand_in_the_column_of_the_day_on_which_they_begin(client: FlaskClient) -> None:
    """A party from Friday 22:00 to 02:00 is Friday's; the monthly one is on the first Saturday."""
    page = read(client.get("/venues/clubs?week=2026-04-03"))
    assert "120 of 120 left, Friday Night Party, Friday 3 April 22:00" in page.links
    assert "80 of 80 left, First Saturday, Saturday 4 April 22:00" in page.links
    assert "Nothing in these seven days. Next: Sat 4 Apr, 22:00" in read(client.get("/venues/clubs")).text


def test_a_series_with_an_end_says_so_when_it_is_over(client: FlaskClient) -> None:
    """Twelve dates, two months apart, and none after the last."""
    page = read(client.get("/venues/rental?week=2028-01-10"))
    assert "Mobile crane with driver, Thursday 13 January 09:00" in " ".join(page.links)
    assert "No more dates." in read(client.get("/venues/rental?week=2028-01-14")).text


@pytest.mark.parametrize("week", ["2026-03-09", "1999-01-01", "soon", "9999-12-31"])
def test_a_week_before_today_or_none_at_all_leads_to_the_current_one(client: FlaskClient, week: str) -> None:
    """The calendar begins today; a wrong address does no harm."""
    answer = client.get(f"/venues/game-hall?week={week}")
    assert (answer.status_code, answer.location) == (302, "/venues/game-hall")


def test_links_to_earlier_and_later_weeks_lead_there_and_back(client: FlaskClient) -> None:
    """The first week has no earlier one, and the second leads back to it."""
    first = read(client.get("/venues/school"))
    assert "Earlier week" not in first.links
    second = read(client.get(first.links["Later week"]))
    assert "17 \N{EN DASH} 23 March 2026" in second.text
    assert second.links["Earlier week"] == "/venues/school"


def test_a_booked_place_goes_and_comes_back_when_cancelled(client: FlaskClient, site: Flask) -> None:
    """Booking takes one place on the grid, keeps the name, and cancelling gives the place back."""
    address = at(site, "Bubble football", "20260311T1000")
    answer = book(client, address)
    assert (answer.status_code, answer.location) == (302, "/bookings")
    page = read(client.get("/bookings"))
    assert "Booked: Bubble football, Wed 11 Mar, 10:00." in page.text
    assert "For Ada Lovelace: 1 team " in page.text
    week = "/venues/game-hall"
    assert "1 of 2 left, Bubble football, Wednesday 11 March 10:00" in read(client.get(week)).links
    assert send(client, "/bookings", page).location == "/bookings"
    assert "Cancelled." in client.get("/bookings").text
    assert "2 of 2 left, Bubble football, Wednesday 11 March 10:00" in read(client.get(week)).links


def test_a_slot_that_was_just_taken_is_answered_with_the_next_free_one(
    client: FlaskClient, site: Flask
) -> None:
    """Whoever comes second reads a sentence and a link that works, and the grid says full."""
    address = at(site, "Bubble football", "20260311T1000")
    page = read(client.get(address))
    assert book(site.test_client(), address, party=2).status_code == 302
    answer = send(client, address, page, name="Second", party=1)
    assert answer.status_code == 409
    assert "Just taken. The next free one is Wed 11 Mar, 11:00." in read(answer).text
    following = read(answer).links["Wed 11 Mar, 11:00"]
    assert book(client, following).status_code == 302
    assert "full, Bubble football, Wednesday 11 March 10:00" in read(client.get("/venues/game-hall")).links
    assert "All places are taken. The next free one is Wed 11 Mar, 11:00." in read(client.get(address)).text


def test_more_places_than_are_left_are_refused_with_what_is_left(client: FlaskClient, site: Flask) -> None:
    """A slot with one place left says so, keeps what was typed, and takes nothing."""
    address = at(site, "Bubble football", "20260311T1000")
    book(site.test_client(), address)
    answer = book(client, address, "Grace Hopper", 2)
    assert answer.status_code == 409
    page = read(answer)
    assert "There is only 1 of 2 teams left. The next free one is Wed 11 Mar, 11:00." in page.text
    assert page.forms[0].fields["name"] == "Grace Hopper"
    assert booked(site, address) == 1


def test_a_slot_that_began_meanwhile_is_refused(
    client: FlaskClient, site: Flask, clock: time_machine.Traveller
) -> None:
    """The page was open too long: the answer says that it has started, and names the next one."""
    address = at(site, "Laser tag", "20260310T1200")
    page = read(client.get(address))
    clock.move_to(datetime(2026, 3, 10, 9, 0, 1, tzinfo=UTC), tick=False)
    answer = send(client, address, page, name="Late", party=1)
    assert answer.status_code == 409
    assert "This has started already. The next free one is Tue 10 Mar, 13:00." in read(answer).text


def test_a_form_that_is_sent_twice_books_once(client: FlaskClient, site: Flask) -> None:
    """The second sending of one form changes nothing and says so."""
    address = at(site, "Laser tag", "20260311T1000")
    page = read(client.get(address))
    for _ in range(2):
        assert send(client, address, page, name="Ada", party=1).status_code == 302
    assert "nothing was booked now" in client.get("/bookings").text
    assert booked(site, address) == 1


@pytest.mark.parametrize(("typed", "words"), [
    ({"name": "  "}, "Write a name"),
    ({"name": "x" * 81}, "Write a name"),
    ({"party": "0"}, "Write how many"),
    ({"party": "two"}, "Write how many"),
    ({"party": "9" * 30}, "Write how many"),
])  # fmt: skip
def test_a_booking_that_is_typed_wrongly_is_refused_and_kept(
    client: FlaskClient, site: Flask, typed: dict[str, str], words: str
) -> None:
    """The page comes back with the reason and with what was typed, and nothing is booked."""
    address = at(site, "Laser tag", "20260311T1000")
    answer = send(client, address, read(client.get(address)), **{"name": "Ada", "party": "1"} | typed)
    assert answer.status_code == 422
    assert words in read(answer).text
    assert read(answer).forms[0].fields | typed == read(answer).forms[0].fields
    assert booked(site, address) == 0


def test_nobody_can_cancel_the_booking_of_somebody_else(client: FlaskClient, site: Flask) -> None:
    """Another visitor gets the page of nothing here, and the booking stands."""
    address = at(site, "Laser tag", "20260311T1000")
    book(client, address)
    cancel = read(client.get("/bookings")).forms[0].action
    stranger = site.test_client()
    token = read(stranger.get(address)).forms[0].fields["csrf_token"]
    assert stranger.post(cancel, data={"csrf_token": token}).status_code == 404
    assert booked(site, address) == 1
    assert "There are none." in read(stranger.get("/bookings")).text


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
    assert booked(site, address) == 1


def test_a_week_a_hundred_years_ahead_looks_and_books_the_same(client: FlaskClient, site: Flask) -> None:
    """No row exists there, and the place can be booked and cancelled all the same."""
    page = read(client.get("/venues/game-hall?week=2126-03-10"))
    assert sum("Bubble football," in label for label in page.links) == 7 * 12
    address = page.links["2 of 2 left, Bubble football, Thursday 14 March 15:00"]
    assert address == at(site, "Bubble football", "21260314T1500")
    assert book(client, address).status_code == 302
    again = read(client.get("/venues/game-hall?week=2126-03-10"))
    assert "1 of 2 left, Bubble football, Thursday 14 March 15:00" in again.links
    assert send(client, "/bookings", read(client.get("/bookings"))).status_code == 302
    assert booked(site, address) == 0


def test_places_that_are_not_open_yet_say_so_and_cannot_be_booked(client: FlaskClient, site: Flask) -> None:
    """A session opens three days before at midnight; before that its page has no form."""
    page = read(client.get("/venues/community"))
    assert "25 of 25 left, Morning choir, Friday 13 March 08:30" in page.links
    address = page.links["not open yet, Morning choir, Saturday 14 March 08:30"]
    shown = read(client.get(address))
    assert "Booking is not open yet. The next free one is Wed 11 Mar, 08:30." in shown.text
    assert not shown.forms
    token = read(client.get(at(site, "Laser tag", "20260311T1000"))).forms[0].fields["csrf_token"]
    answer = client.post(address, data={"csrf_token": token, "name": "Early", "party": "1"})
    assert answer.status_code == 409


@pytest.mark.parametrize(("stored", "address"), [(s, v) for s in (False, True) for v in ("clubs", "school")])
def test_a_venues_page_asks_the_database_as_often_for_many_offers_as_for_one(
    client: FlaskClient, site: Flask, stored: bool, address: str
) -> None:
    """Three queries, whatever the number of offers, whether their slots are stored or virtual."""
    with site.app_context():
        if stored:
            slots.generate()
        with Queries(site) as few:
            client.get(f"/venues/{address}")
        for number in range(20):
            slots.create_template(
                name=f"Offer {number}",
                group=address,
                rrule="FREQ=DAILY",
                dtstart=datetime(2026, 1, 1, 12, 0),
                timezone="Europe/Madrid",
                duration=timedelta(hours=1),
            )
        db.session.commit()
        if stored:
            slots.generate()
    with Queries(site) as many:
        page = read(client.get(f"/venues/{address}"))
    assert sum(", Offer " in label for label in page.links) == 20 * 7
    assert len(few.statements) == len(many.statements) == 3


@pytest.mark.parametrize(("address", "queries"), [("/", 3 * len(VENUES)), ("/bookings", 1), ("/owner/", 5)])
def test_pages_ask_as_often_for_much_as_for_little(
    client: FlaskClient, site: Flask, address: str, queries: int
) -> None:
    """Neither offers of venues that a page does not show nor more bookings add a query to it."""
    with Queries(site) as few:
        client.get(address)
    links = read(client.get("/venues/community")).links
    free = [link for label, link in links.items() if " left, " in label]
    assert [book(client, link).status_code for link in free[:3]] == [302] * 3
    with site.app_context():
        for number in range(20):
            slots.create_template(
                name=f"Offer {number}",
                group="elsewhere",
                rrule="FREQ=DAILY",
                dtstart=datetime(2026, 1, 1, 12, 0),
                timezone="Europe/Madrid",
                duration=timedelta(hours=1),
            )
        db.session.commit()
    with Queries(site) as many:
        assert client.get(address).status_code == 200
    assert (len(few.statements), len(many.statements)) == (queries, queries)


@pytest.mark.parametrize(
    "address",
    [
        "/nowhere",
        "/venues/moon",
        "/owner/templates/99",
        "/slots/1@x",
        "/slots/1@20260310T1001",
        "/slots/99@20260311T1000",
        "/slots/1@99991231T2359",
    ],
)
def test_what_is_not_there_has_a_page_of_its_own(client: FlaskClient, address: str) -> None:
    """A wrong address is answered with status 404 in the look of the site."""
    answer = client.get(address)
    assert answer.status_code == 404
    assert "Nothing here" in read(answer).text
