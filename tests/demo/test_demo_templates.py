"""The owner's templates: next dates while typing, changes with their consequences, days off, five more at a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from demo_site import book, read, send, template_id
from sqlalchemy import update

from demo_app import db, forms, slots

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient


def preview(client: FlaskClient, address: str = "/owner/new", **typed: Any) -> str:
    """Return what the script gets while a form is filled in, as text."""
    form = next(form for form in read(client.get(address)).forms if form.method == "post")
    answer = client.post("/owner/preview", data={**form.fields, **typed})
    assert answer.status_code == 200
    return " ".join(re.sub(r"<[^>]*>", " ", answer.text).split())


def stored(app: Flask, number: int) -> list[tuple[str, str, int]]:
    """Return the stored slots of a template: local start, status, places booked."""
    with app.app_context():
        found = db.session.query(slots.Slot).filter_by(series_id=number).order_by(slots.Slot.starts_at)
        return [(f"{slot.local_start:%m-%d %H:%M}", slot.status, slot.booked) for slot in found]


def test_the_next_dates_are_shown_while_the_form_is_filled_in(client: FlaskClient, site: Flask) -> None:
    """An empty form has them already; each change has others; nothing is stored."""
    assert preview(client).startswith("Wednesday 11 March 2026, 10:00–11:00 Thursday 12 March")  # noqa: RUF001
    weekly = {"unit": "weekly", "weekdays": ["0", "4"], "start_time": "18:30"}
    text = preview(client, **weekly)
    assert text.startswith("Friday 13 March 2026, 18:30–19:30 Monday 16 March")  # noqa: RUF001
    assert text.endswith("Every week on Monday and Friday at 18:30.")
    assert "Friday 3 April" not in preview(client, holidays="es", **weekly, venue="clubs")  # Good Friday
    assert preview(client, ends="count", count="2").count("March 2026") == 1  # the other one is over
    assert "Not complete yet. Repeat every: Expected a whole number from 1" in preview(client, interval="0")
    assert "Not complete yet. Public holidays of: Expected an ISO country code" in preview(
        client, holidays="XX"
    )
    assert (
        preview(client, first_date="2020-01-01", ends="until", until_date="2020-02-01")
        == "No date lies ahead."
    )
    with site.app_context():
        assert db.session.query(slots.Template).count() == 18


def test_a_button_shows_them_without_javascript_and_keeps_what_was_typed(client: FlaskClient) -> None:
    """The page comes back with the form as it was, its next dates, and no complaint about the empty name."""
    for address in ("/owner/new", "/owner/templates/2/edit"):
        answer = send(client, address, read(client.get(address)), preview="1", start_time="12:15")
        assert answer.status_code == 200
        page = read(answer)
        assert "Wednesday 11 March 2026, 12:15" in page.text or "Tuesday 10 March 2026, 12:15" in page.text
        assert page.forms[0].fields["start_time"] == "12:15"
        assert "Nothing was saved yet" not in page.text


def test_a_preview_of_what_is_no_template_is_not_there(client: FlaskClient) -> None:
    """A wrong number in the form is answered like any page that does not exist."""
    fields = read(client.get("/owner/new")).forms[0].fields
    assert client.post("/owner/preview", data={**fields, "template_id": "999"}).status_code == 404
    assert client.post("/owner/preview", data={**fields, "template_id": "x"}).status_code == 200


def test_upcoming_dates_are_shown_five_more_at_a_time_up_to_two_hundred(
    client: FlaskClient, site: Flask
) -> None:
    """Each click adds five; at two hundred there is no button any more, and no address shows more."""
    number = template_id(site, "Laser tag")

    def shown(address: str) -> int:
        return len(set(re.findall(r'href="(/owner/slots/[^"]+)"', client.get(address).text)))

    address = f"/owner/templates/{number}"
    assert shown(address) == 5
    more = read(client.get(address)).links["Show five more"]
    assert shown(more) == 10
    assert shown(f"{address}?show=200") == shown(f"{address}?show=9999") == 200
    assert "Show five more" not in read(client.get(f"{address}?show=200")).links
    assert shown(f"{address}?show=-3") == shown(f"{address}?show=x") == 5
    crane = f"/owner/templates/{template_id(site, 'Mobile crane with driver')}?show=15"
    assert shown(crane) == 12
    assert "Show five more" not in read(client.get(crane)).links


@pytest.mark.parametrize("rule", [
    {"rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR"}, {"rrule": "FREQ=DAILY;COUNT=90"}, {"rrule": "FREQ=WEEKLY"},
    {"rrule": "FREQ=MONTHLY;UNTIL=20271231"}, {"rrule": "FREQ=YEARLY"}, {"rrule": "FREQ=MONTHLY;BYDAY=-1FR"},
    {"rrule": "FREQ=DAILY;BYMONTH=3"}, {"rrule": None}, {"rrule": "FREQ=MONTHLY;BYMONTHDAY=15"},
    {"rrule": "FREQ=DAILY", "every": timedelta(minutes=45), "until_time": time(20, 0)},
])  # fmt: skip
def test_the_form_of_a_template_says_its_rule_and_sent_unchanged_it_changes_nothing(
    client: FlaskClient, site: Flask, rule: dict[str, Any]
) -> None:
    """Rules that the inputs cannot say are kept; only what was typed otherwise is a change."""
    with site.app_context():
        made = slots.create_template(
            name="X", group="clubs", dtstart=datetime(2026, 3, 16, 17, 0), timezone="Europe/Madrid",
            duration=timedelta(minutes=45), **rule,
        )  # fmt: skip
        db.session.commit()
        form = forms.TemplateForm.of(made)
        assert form.changes(made) == {}
        form.values["capacity"] = "7"
        assert form.changes(made) == {"capacity": 7}
        address = f"/owner/templates/{made.id}/edit"
    answer = send(client, address, read(client.get(address)))
    assert answer.status_code == 422
    assert "Nothing was changed yet." in read(answer).text
    assert preview(client, address).count("17:00") >= 1


def test_a_new_rule_for_all_dates_shows_what_comes_and_goes_and_what_stays_because_it_is_booked(
    client: FlaskClient, site: Flask
) -> None:
    """From Fridays to Thursdays and Saturdays: created, removed, kept; then exactly that is done."""
    with site.app_context():
        slots.generate(days=14)
    number = template_id(site, "Friday Night Party")
    book(client, f"/slots/{number}@20260313T2200")
    address = f"/owner/templates/{number}/edit"
    answer = send(client, address, read(client.get(address)), weekdays=["3", "5"])
    page = read(answer)
    everything = page.text[page.text.index("All dates of the series") :]
    assert "Rule: Every week on Thursday and Saturday at 22:00. Nothing has happened yet." in page.text
    assert "Only this date" not in page.text
    assert "Created: 2 Thu 12 Mar, 22:00Sat 14 Mar, 22:00" in everything
    assert "Removed, for nobody booked them: 1 Fri 20 Mar, 22:00" in everything
    assert "Kept as they are, because they are booked: 1 Fri 13 Mar, 22:00" in everything
    assert [start for start, _, _ in stored(site, number)] == ["03-13 22:00", "03-20 22:00"]
    assert send(client, address, page, scope="all", weekdays=["3", "5"]).status_code == 303
    with site.app_context():
        slots.generate()
    assert stored(site, number) == [
        ("03-12 22:00", "scheduled", 0), ("03-13 22:00", "scheduled", 1), ("03-14 22:00", "scheduled", 0),
    ]  # fmt: skip
    assert "Every week on Thursday and Saturday at 22:00" in read(client.get("/owner/")).text


def test_a_series_that_is_changed_from_a_date_on_has_two_parts(client: FlaskClient, site: Flask) -> None:
    """Both parts are listed with their bounds, the first has an end, and each leads to the other."""
    number = template_id(site, "Morning choir")
    key = f"{number}@20260314T0830"
    with site.app_context():
        slots.edit(key, "this_and_future", start=time(9, 0), name="Late choir")
        db.session.commit()
    page = read(client.get("/owner/"))
    assert "Morning choir Every day at 08:30, until 13 March 2026 has an end active" in page.text
    assert "Late choir Then: Every day at 09:00, from 14 March 2026 on ∞ for ever active" in page.text
    first = read(client.get(f"/owner/templates/{number}"))
    assert "The series was split." in first.text
    assert "Every day at 09:00, from 14 March 2026 on" in first.links


def test_public_holidays_and_days_off_leave_dates_out_and_bring_them_back(
    client: FlaskClient, site: Flask
) -> None:
    """Free dates go with the next top-up, booked ones stay, and all return when the days are taken off the list."""
    number = template_id(site, "Laser tag")
    book(client, f"/slots/{number}@20260312T1000")
    address = f"/owner/templates/{number}/limits"
    days = "2026-03-12 to 2026-03-13\n2026-03-15"
    answer = send(client, address, read(client.get(address)), holidays="tr", blackouts=days, closes="30")
    assert answer.location == f"/owner/templates/{number}"
    text = read(client.get(answer.location)).text
    assert "public holidays of TR, 12 – 13 March 2026, 15 March 2026" in text  # noqa: RUF001 (a span of days)
    assert "closed on holidays of TR" in text
    assert "30 minutes before the start" in text
    with site.app_context():
        slots.generate()
    days = {start[:5] for start, _, _ in stored(site, number)}
    assert days == {"03-10", "03-11", "03-12", "03-14", "03-16"}
    assert [slot for slot in stored(site, number) if slot[0].startswith("03-12")] == [
        ("03-12 10:00", "scheduled", 1)
    ]
    assert (
        read(client.get(address)).forms[0].fields["blackouts"].splitlines()[0] == "2026-03-12 to 2026-03-13"
    )
    send(client, address, read(client.get(address)), holidays="", blackouts="")
    with site.app_context():
        slots.generate()
    assert len({start[:5] for start, _, _ in stored(site, number)}) == 7


@pytest.mark.parametrize(("typed", "message"), [
    ({"holidays": "Spain"}, "Public holidays of: Expected"),
    ({"blackouts": "2026-03-13 to 2026-03-12"}, "Days off: Write a day or a range on each line"),
    ({"blackouts": "2026-02-30"}, "Days off: Write a day or a range on each line"),
    ({"blackouts": "Christmas"}, "Days off: Write a day or a range on each line"),
    ({"opens": "soon"}, "Opens … days before: Write a whole number."),
    ({"closes": "-5"}, "Closes … minutes before: Expected"),
])  # fmt: skip
def test_days_off_that_are_typed_wrongly_are_refused(
    client: FlaskClient, site: Flask, typed: dict[str, str], message: str
) -> None:
    """The form comes back with the reason, and nothing is stored."""
    address = f"/owner/templates/{template_id(site, 'Laser tag')}/limits"
    answer = send(client, address, read(client.get(address)), **typed)
    assert answer.status_code == 422
    assert message in read(answer).text
    with site.app_context():
        assert db.session.query(slots.Template).filter(slots.Template.holidays.is_not(None)).count() == 0


def test_a_series_is_switched_off_and_on(client: FlaskClient, site: Flask) -> None:
    """Visitors see nothing of it meanwhile; its bookings are kept."""
    number = template_id(site, "Laser tag")
    book(client, f"/slots/{number}@20260312T1000")
    address = f"/owner/templates/{number}"
    send(client, address, read(client.get(address)))
    assert "Switched off" in read(client.get(address)).text
    assert "Laser tag" not in client.get("/venues/game-hall").text
    assert "Laser tag" in client.get("/bookings").text
    send(client, address, read(client.get(address)))
    assert "Laser tag" in client.get("/venues/game-hall").text


def test_a_series_without_a_date_ahead_cannot_be_changed(client: FlaskClient, site: Flask) -> None:
    """There is no date that the change could begin with, and the form says so."""
    with site.app_context():
        made = slots.create_template(
            name="Over", group="clubs", rrule="FREQ=DAILY;COUNT=2", dtstart=datetime(2026, 1, 1, 9, 0),
            timezone="Europe/Madrid", duration=timedelta(hours=1),
        )  # fmt: skip
        db.session.commit()
        address = f"/owner/templates/{made.id}/edit"
    answer = send(client, address, read(client.get(address)), capacity="9")
    assert answer.status_code == 422
    assert "No date lies ahead." in read(answer).text


@pytest.mark.parametrize("scope", ["this_and_future", "all"])
def test_another_start_time_moves_the_opening_hours_as_far_as_the_form_says(
    client: FlaskClient, site: Flask, scope: str
) -> None:
    """At 11:30 the next slot is that of 12:00; 11:00 instead of 10:00 for the day moves it to 13:00, not to 11:00."""
    number = template_id(site, "Laser tag")
    address = f"/owner/templates/{number}/edit"
    typed = {"start_time": "11:00"}
    page = read(send(client, address, read(client.get(address)), **typed))
    assert "Start: 11:00 instead of 10:00, and the rest of the day with it. Nothing has" in page.text
    assert "Not possible" not in page.text
    assert send(client, address, page, scope=scope, **typed).status_code == 303
    with site.app_context():
        day = slots.between(*(datetime(2026, 3, 11, hour, tzinfo=UTC) for hour in (0, 23)), template=number)
        assert [f"{slot.local_start:%H:%M}" for slot in day] == [f"{hour}:00" for hour in range(11, 23)]


def test_a_part_of_a_split_series_is_changed_from_its_own_first_date_on(
    client: FlaskClient, site: Flask
) -> None:
    """The form of the second part says nothing of the dates of the first one, and does nothing to them."""
    choir = template_id(site, "Morning choir")
    with site.app_context():
        slots.edit(f"{choir}@20260401T0830", "this_and_future", start=time(9, 0))
        db.session.commit()
        part = db.session.query(slots.Template).filter_by(continues_id=choir).one().id
    address = f"/owner/templates/{part}/edit"
    typed = {"start_time": "10:00"}
    page = read(send(client, address, read(client.get(address)), **typed))
    assert "Start: 10:00 instead of 09:00. Nothing has happened yet." in page.text
    assert "Morning choir, Wed 1 Apr, 09:00" in page.text
    assert send(client, address, page, scope="this_and_future", **typed).status_code == 303
    with site.app_context():
        starts = [slots.get(f"{choir}@20260{day}T0830").local_start for day in ("331", "401", "402")]
        assert [f"{start:%H:%M}" for start in starts] == ["08:30", "10:00", "10:00"]


def test_a_template_that_is_switched_off_says_so_where_it_cannot_be_changed(
    client: FlaskClient, site: Flask
) -> None:
    """Its page names no dates and why, and the form tells what to do first."""
    address = f"/owner/templates/{template_id(site, 'Terrace Sunday')}"
    shown = read(client.get(address)).text
    assert "None: the template is switched off." in shown
    assert "The coming week" not in shown
    answer = send(client, f"{address}/edit", read(client.get(f"{address}/edit")), capacity="9")
    assert "The template is switched off: switch it on first." in read(answer).text


def test_a_rule_that_cannot_be_read_takes_no_page_down(client: FlaskClient, site: Flask) -> None:
    """Somebody wrote it past the library: its page says so, and all others do without it."""
    with site.app_context():
        slots.generate()
        number = template_id(site, "Archery lane")
        db.session.execute(
            update(slots.Template).where(slots.Template.id == number).values(rrule="FREQ=NEVER")
        )
        db.session.commit()
    own = f"/owner/templates/{number}"
    for address in (
        "/",
        "/venues/game-hall",
        f"/slots/{number}@20260311T1000",
        "/owner/",
        "/owner/calendar",
        own,
    ):
        assert client.get(address).status_code == 200, address
    assert (
        "Its rule cannot be read, so visitors see only what is stored. FREQ: 'NEVER'"
        in read(client.get(own)).text
    )
    assert client.get(f"{own}/edit").location == own
    asked = {"template": number, "day": "2026-03-11", "time": "10:00"}
    text = read(client.get("/owner/operations", query_string=asked)).text
    assert "Archery lane is left out until that is mended: FREQ: 'NEVER'" in text
