"""What a visitor sees: venues, weeks before and after, days, and one slot."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
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
    found = {label: link for label, link in page.cells.items() if "Bubble football," in label}
    assert found == {label: f"/slots/{number}@{start}" for label, start in expected.items()}
    assert "Istanbul time (Europe/Istanbul)" in page.text
    assert page.text.count("started") == 3  # 11:00 of two games, and the lane that begins at 11:30


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
    assert not any("past" in label for label in page.cells)


def test_parties_stand_in_the_column_of_the_day_on_which_they_begin(client: FlaskClient) -> None:
    """A party from Friday 22:00 to 02:00 is Friday's; the monthly one is on the first Saturday."""
    page = read(client.get("/venues/clubs?week=2026-04-03"))
    assert "120 of 120 left, Friday Night Party, Friday 3 April 22:00" in page.cells
    assert "80 of 80 left, First Saturday, Saturday 4 April 22:00" in page.cells
    assert "Nothing in these seven days. Next: Sat 4 Apr, 22:00" in read(client.get("/venues/clubs")).text


def test_a_series_with_an_end_says_so_when_it_is_over(client: FlaskClient) -> None:
    """Twelve dates, two months apart, and none after the last."""
    page = read(client.get("/venues/rental?week=2028-01-10"))
    assert "Mobile crane with driver, Thursday 13 January 09:00" in " ".join(page.cells)
    assert "No more dates." in read(client.get("/venues/rental?week=2028-01-14")).text


@pytest.mark.parametrize("week", ["1999-01-01", "soon", "9999-12-31", "2026-02-30"])
def test_what_is_no_week_leads_to_the_current_one(client: FlaskClient, week: str) -> None:
    """A wrong address does no harm."""
    answer = client.get(f"/venues/game-hall?week={week}")
    assert (answer.status_code, answer.location) == (302, "/venues/game-hall")


def test_links_to_earlier_and_later_weeks_lead_there_and_back(client: FlaskClient) -> None:
    """The week after leads back to the current one, and that one to the week before."""
    first = read(client.get("/venues/school"))
    second = read(client.get(first.links["Next week"]))
    assert "17 \N{EN DASH} 23 March 2026" in second.text
    assert second.links["Previous week"] == "/venues/school"
    before = read(client.get(first.links["Previous week"]))
    assert "3 \N{EN DASH} 9 March 2026" in before.text
    assert before.links["Next week"] == "/venues/school"


def test_weeks_before_today_show_what_was_stored(client: FlaskClient, site: Flask) -> None:
    """The past is what took place: nothing is made up, and nothing there can be booked."""
    empty = read(client.get("/venues/game-hall?week=2026-03-03"))
    assert not empty.cells
    assert "Nothing in these seven days. Next: Tue 10 Mar, 12:00" in empty.text
    with site.app_context():
        slots.generate(
            start=datetime(2026, 3, 2, 21, tzinfo=UTC),
            end=datetime(2026, 3, 3, 21, tzinfo=UTC),
            group="game-hall",
        )
    page = read(client.get("/venues/game-hall?week=2026-03-03"))
    assert page.text.count("past") == 12 + 12 + 8
    assert not page.cells


def test_a_phone_shows_the_day_that_was_chosen_else_the_first_with_something_free(
    client: FlaskClient,
) -> None:
    """The columns of the chosen day are marked, and so is its link; rows without a slot on it are marked too."""
    answer = client.get("/venues/game-hall?day=2026-03-12")
    page = read(answer)
    assert page.links["Thu 12"] == "/venues/game-hall?day=2026-03-12"
    assert answer.text.count('aria-current="date"') == 1
    assert 'day=2026-03-12" aria-current="date"' in answer.text
    assert (
        answer.text.count('<td class="col shown">')
        == answer.text.count("<tr>") + answer.text.count("<tr ") - 3
    )
    assert 'day=2026-03-13" aria-current="date"' in client.get("/venues/clubs").text  # the party is on Friday
    assert 'day=2026-03-10" aria-current="date"' in client.get("/venues/clubs?day=2026-03-10").text
    assert "Nothing on this day." in client.get("/venues/clubs?day=2026-03-10").text
    assert client.get("/venues/clubs?day=soon").status_code == 302


def test_times_carry_their_instants_for_visitors_in_other_zones(client: FlaskClient) -> None:
    """A script can tell each row's instants; without one the page says the venue's time and no other."""
    answer = client.get("/venues/game-hall?week=2026-03-11")
    assert 'data-zones="Europe/Istanbul" data-around="2026-03-10T21:00Z 2026-03-17T21:00Z"' in answer.text
    assert 'data-starts="2026-03-11T07:00Z 2026-03-12T07:00Z ' in answer.text
    assert "clock" not in read(answer).text.replace("Beside them, smaller: the time on your own clock.", "")


def test_a_split_series_is_one_offer_whose_rules_say_from_when_to_when(
    client: FlaskClient, site: Flask
) -> None:
    """Both parts are told until the first one is over, and the grid shows each at its times."""
    number = template_id(site, "Morning choir")
    with site.app_context():
        slots.edit(f"{number}@20260314T0830", "this_and_future", start=time(9, 0))
        db.session.commit()
    page = read(client.get("/venues/community"))
    assert "Every day at 08:30, until 13 March 2026. Every day at 09:00, from 14 March 2026 on" in page.text
    assert "not open yet, Morning choir, Saturday 14 March 09:00" in page.cells
    later = read(client.get("/venues/community?week=2026-03-17"))
    assert sum("Morning choir" in label for label in later.cells) == 7


def test_a_week_a_hundred_years_ahead_looks_and_books_the_same(client: FlaskClient, site: Flask) -> None:
    """No row exists there, and the place can be booked and cancelled all the same."""
    page = read(client.get("/venues/game-hall?week=2126-03-10"))
    assert sum("Bubble football," in label for label in page.cells) == 7 * 12
    address = page.cells["2 of 2 left, Bubble football, Thursday 14 March 15:00"]
    assert address == at(site, "Bubble football", "21260314T1500")
    assert book(client, address).status_code == 303
    again = read(client.get("/venues/game-hall?week=2126-03-10"))
    assert "1 of 2 left, Bubble football, Thursday 14 March 15:00" in again.cells
    assert send(client, "/bookings", read(client.get("/bookings"))).status_code == 303
    assert booked(site, address) == 0


def test_places_that_are_not_open_yet_say_so_and_cannot_be_booked(client: FlaskClient, site: Flask) -> None:
    """A session opens three days before at midnight; before that its page has no form."""
    page = read(client.get("/venues/community"))
    number = template_id(site, "Morning choir")
    assert "25 of 25 left, Morning choir, Friday 13 March 08:30" in page.cells
    address = page.cells["not open yet, Morning choir, Saturday 14 March 08:30"]
    shown = read(client.get(address))
    assert (
        "not open yet. It opens on Wed 11 Mar, 00:00. The next free one is Wed 11 Mar, 08:30." in shown.text
    )
    assert [form.action for form in shown.forms] == [f"{number}@20260311T0830".join(("/slots/", "/hold"))]
    token = shown.forms[0].fields["csrf_token"]
    answer = client.post(f"{address}/hold", data={"csrf_token": token})
    assert answer.status_code == 409
    assert "Booking is not open yet." in read(answer).text


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
    assert sum(", Offer " in label for label in page.cells) == 20 * 7
    assert len(few.statements) == len(many.statements) == 3


@pytest.mark.parametrize(("address", "queries"), [("/", 3 * len(VENUES)), ("/bookings", 1), ("/owner/", 5)])
def test_pages_ask_as_often_for_much_as_for_little(
    client: FlaskClient, site: Flask, address: str, queries: int
) -> None:
    """Neither offers of venues that a page does not show nor more bookings add a query to it."""
    with Queries(site) as few:
        client.get(address)
    cells = read(client.get("/venues/community")).cells
    free = [link for label, link in cells.items() if " left, " in label]
    assert [book(client, link).status_code for link in free[:3]] == [303] * 3
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


def test_a_time_that_is_closed_says_since_when(client: FlaskClient, site: Flask) -> None:
    """Two hours before its start, in the venue's own time; then the page names the next free one."""
    with site.app_context():
        lane = db.session.get(slots.Template, template_id(site, "Archery lane"))
        assert lane is not None
        lane.closes_before = timedelta(hours=2)
        db.session.commit()
    page = read(client.get(at(site, "Archery lane", "20260310T1300")))
    assert (
        "It is too late to book this one. Booking closed on Tue 10 Mar, 11:00. The next free one is"
        in page.text
    )
