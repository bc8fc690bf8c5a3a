"""The operations page: coverage, runs, findings, the answer to "why is there no slot", and figures."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING

import pytest
from demo_site import Queries, book, read, template_id

from demo_app import charts, db, slots

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

PAGE = "/owner/operations"


def test_coverage_is_a_picture_of_what_is_stored_with_a_table_beside_it(
    client: FlaskClient, site: Flask
) -> None:
    """Nothing stored: all red and said so; everything: all green; one lost: one square shows part of its day."""
    laser = template_id(site, "Laser tag")
    before = client.get(PAGE)
    assert '<rect class="none"' in before.text
    assert '<rect class="full"' not in before.text
    assert re.search(r"\d+ promised slots are not stored yet\.", before.text)
    assert "slots of new days are due: the next visitor starts the top-up." in read(before).text
    with site.app_context():
        slots.generate()
    full = client.get(PAGE)
    assert '<rect class="none"' not in full.text
    assert "Every promised slot is stored." in full.text
    assert "All is well" in full.text
    assert "Laser tag10 of 1012 of 1212 of 12" in read(full).text
    with site.app_context():
        db.session.query(slots.Slot).filter_by(series_id=laser).filter(
            slots.Slot.original_start == datetime(2026, 3, 11, 10, 0)
        ).delete()
        db.session.commit()
    lost = client.get(PAGE)
    assert lost.text.count('<rect class="part"') == 1
    assert "1 slot that should be stored is not." in read(lost).text
    assert "missing Laser tag: 1 date of 82 is not stored. The next top-up brings it back" in read(lost).text
    assert "Laser tag10 of 1011 of 1212 of 12" in read(lost).text


def test_runs_are_listed_with_their_numbers(client: FlaskClient, site: Flask) -> None:
    """The newest first: why it ran, what it created, and how long it took."""
    assert "None yet." in read(client.get(PAGE)).text
    with site.app_context():
        created = slots.generate().created
        slots.generate()
    text = read(client.get(PAGE)).text
    assert re.search(
        rf"allby handdone0{created}00\d\.\d\d Tue 10 Mar, 08:30:00allby handdone{created}000\d\.\d\d", text
    )


def test_findings_say_what_is_wrong_and_what_to_do(
    client: FlaskClient, site: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its advice; a top-up that failed is named first."""
    text = read(client.get(PAGE)).text
    assert "warning ROLLINGSLOTS_ENABLED is False: nothing is topped up by itself." in text
    assert "Run `flask slots generate` regularly, or enable it." in text

    def fail(*args: object) -> None:
        raise RuntimeError("the disk is full")

    with site.app_context(), monkeypatch.context() as patch:
        patch.setattr("flask_rollingslots.topup.run.Run.fill", fail)
        with pytest.raises(RuntimeError):
            slots.generate()
    text = read(client.get(PAGE)).text
    assert "the disk is full" in text


@pytest.mark.parametrize(("name", "day", "time", "code", "sentence"), [
    ("Laser tag", "2026-03-11", "10:00", "available", "4 of 4 places left"),
    ("Laser tag", "2026-03-11", "09:30", "not in rule", "every hour from 10:00 to 22:00"),
    ("Terrace Sunday", "2026-03-15", "17:00", "template inactive", "the template is inactive"),
    ("Morning choir", "2026-03-20", "08:30", "not open yet", "booking is not open yet"),
    ("Laser tag", "someday", "10:00", "not understood", "Choose a day and a time"),
    ("Laser tag", "0001-01-01", "00:00", "not understood", "Choose a day and a time"),
])  # fmt: skip
def test_it_explains_why_there_is_or_is_not_a_slot(
    client: FlaskClient, site: Flask, name: str, day: str, time: str, code: str, sentence: str
) -> None:
    """A code and a sentence for the wall clock of the offer's own venue."""
    query = {"template": template_id(site, name), "day": day, "time": time}
    text = read(client.get(PAGE, query_string=query)).text
    assert f"Explain {code}: " in text
    assert sentence in text
    assert not re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", text)  # moments as people write them
    assert read(client.get(PAGE, query_string={"template": "999"})).text.count("Explain ") == 1


def test_figures_are_pictures_with_the_same_numbers_in_words(client: FlaskClient, site: Flask) -> None:
    """Bookings by weekday and hour, and how full each offer is; of all venues or of one."""
    book(client, f"/slots/{template_id(site, 'Laser tag')}@20260311T1000", party=3)
    book(client, f"/slots/{template_id(site, 'Friday Night Party')}@20260313T2200", party=30)
    answer = client.get(PAGE)
    text = read(answer).text
    assert answer.text.count('<svg viewBox="0 0 330') == 3
    assert "Booked places by weekday: Wed 3, Fri 30." in text
    assert "Booked places by hour: 10:00 3, 22:00 30." in text
    assert "How full each offer is: Laser tag 75%, Friday Night Party 25%." in text
    text = read(client.get(f"{PAGE}?venue=game-hall")).text
    assert "Booked places by weekday: Wed 3." in text


def test_a_picture_of_nothing_is_no_fault(client: FlaskClient) -> None:
    """A new site has no figures yet, and says so."""
    text = read(client.get(PAGE)).text
    assert "Booked places by hour: Nothing yet." in text


def test_the_page_asks_the_database_as_often_for_many_templates_as_for_few(
    client: FlaskClient, site: Flask
) -> None:
    """Twenty templates more cost no query more."""
    with site.app_context():
        slots.generate()
    with Queries(site) as few:
        client.get(PAGE)
    with site.app_context():
        laser = db.session.get(slots.Template, template_id(site, "Laser tag"))
        assert laser is not None
        for number in range(20):
            slots.create_template(
                name=f"Offer {number}", group="clubs", rrule="FREQ=DAILY", dtstart=laser.dtstart,
                timezone="Europe/Madrid", duration=laser.duration,
            )  # fmt: skip
        db.session.commit()
        slots.generate()
    with Queries(site) as many:
        client.get(PAGE)
    assert len(many.statements) == len(few.statements)


def test_bars_end_at_the_edge_and_what_is_there_is_seen() -> None:
    """The greatest number has the whole width, a tiny one at least a line, and none has none."""
    found = charts.make_bars("t", "s", [("a", 1000, "1000"), ("b", 1, "1"), ("c", 0, "0")])
    assert [bar.width for bar in found.bars] == [found.width, 1, 0]
    assert [bar.y for bar in found.bars] == sorted(bar.y for bar in found.bars)
    assert found.bars[-1].y < found.height
    assert charts.make_bars("t", "s", []).bars == []
    assert charts.make_coverage([], [], {"UTC": [date(2026, 1, 1)]}).rows == []


def test_templates_of_one_name_are_told_apart(client: FlaskClient) -> None:
    """By their times of day if these differ, else by their weekdays."""
    text = client.get(PAGE).text
    for label in (
        "Lucía, German A2, 18:00",
        "Lucía, German A2, 09:00",
        "Mateo, French B2, Mon",
        "Mateo, French B2, Fri",
    ):
        assert f">{label}</option>" in text
        assert f">{label}</text>" in text
    assert ">Laser tag</option>" in text


def test_days_are_named_where_it_is_the_same_day_everywhere() -> None:
    """Weekday and number above the squares; while the venues' todays differ, how far from today."""
    days = [date(2026, 3, 10), date(2026, 3, 11)]
    assert charts.make_coverage([], [], {"UTC": days}).heads == [("Tue", "10"), ("Wed", "11")]
    west = {"America/Chicago": [date(2026, 3, 9), days[0]], "UTC": days}
    assert charts.make_coverage([], [], west).heads == [("", "today"), ("", "+1")]


def test_a_database_that_takes_no_writes_is_named(client: FlaskClient, site: Flask) -> None:
    """The page says why new dates are not stored, and why nothing old goes, instead of counting no missing slots."""
    experience = site.extensions["rollingslots"].topup.experience
    with site.app_context():
        experience.failed(slots.now(), "OperationalError: attempt to write a readonly database", True)
    experience.retention = "two clocks differ by 60 days"
    text = read(client.get(PAGE)).text
    assert "New dates cannot be stored: nothing can be written: OperationalError: attempt to write a" in text
    assert "Nothing old is forgotten: two clocks differ by 60 days." in text
