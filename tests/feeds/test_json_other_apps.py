"""JSON as other apps store it: events of a club, jobs of a calendar, students with a schedule."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from exchange_site import entries, entry

from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.feeds.exchange import read_file
from flask_rollingslots.recurrence import Recurrence


def test_an_event_of_a_club() -> None:
    """A title, a club, a weekly rule from 22:00 to 02:00; poster and music go into data."""
    fields = entry(
        {
            "title": "Friday Night Party",
            "caption": "The best party",
            "club_id": "c1",
            "poster_url": "https://example.com/poster.jpg",
            "music_genres": ["HipHop", "EDM"],
            "start_date": "2024-01-01T22:00:00",
            "end_date": "2024-01-02T02:00:00",
            "recurring_config": {
                "type": "weekly",
                "weekday": 4,
                "start_time": "22:00",
                "end_time": "02:00",
                "active": True,
            },
        }
    )
    assert fields == {
        "name": "Friday Night Party",
        "group": "c1",
        "rrule": "FREQ=WEEKLY;BYDAY=FR",
        "dtstart": datetime(2024, 1, 1, 22),
        "timezone": "Europe/Madrid",
        "duration": timedelta(hours=4),
        "active": True,
        "data": {
            "caption": "The best party",
            "poster_url": "https://example.com/poster.jpg",
            "music_genres": ["HipHop", "EDM"],
        },
    }


def test_a_first_saturday_of_the_month() -> None:
    """month_day with weekday is the first such weekday from that day on."""
    fields = entry(
        {
            "title": "Saturday",
            "start_date": "2024-01-01",
            "recurring_config": {
                "type": "monthly",
                "month_day": 1,
                "weekday": 5,
                "start_time": "21:00",
                "end_time": "01:00",
            },
        }
    )
    found = Recurrence(fields["rrule"], fields["dtstart"], "UTC").after(datetime(2024, 1, 1, tzinfo=UTC), 2)
    assert [each.original_start for each in found] == [datetime(2024, 1, 6, 21), datetime(2024, 2, 3, 21)]


@pytest.mark.parametrize("keys", [("start", "end"), ("start_dt", "end_dt")])
def test_a_job_of_a_calendar(keys: tuple[str, str]) -> None:
    """A business name, a numbered calendar, every two months, twelve times."""
    fields = entry(
        {
            "business_name": "ABC Company",
            keys[0]: "2025-01-01T09:00:00",
            keys[1]: "2025-01-01T17:00:00",
            "calendar_id": 1,
            "recurrence": {
                "enabled": True,
                "type": "monthly",
                "interval": 2,
                "count": 12,
                "until_date": None,
            },
        }
    )
    assert fields["rrule"] == "FREQ=MONTHLY;INTERVAL=2;COUNT=12"
    assert (fields["name"], fields["group"], fields["duration"]) == ("ABC Company", "1", timedelta(hours=8))
    assert fields["dtstart"] == datetime(2025, 1, 1, 9)


def test_a_student_with_a_fixed_schedule() -> None:
    """A list of weekly classes gives one template each."""
    found = entries(
        {
            "studentId": 1,
            "studentName": "Juan Pérez",
            "start_date": "2024-01-15",
            "fixed_schedule": [
                {"weekday": 0, "start_time": "16:00", "end_time": "17:00"},
                {"weekday": 2, "start_time": "17:30", "end_time": "18:30"},
            ],
        }
    )
    assert [each.fields["rrule"] for each in found] == ["FREQ=WEEKLY;BYDAY=MO", "FREQ=WEEKLY;BYDAY=WE"]
    assert [each.fields["dtstart"].hour for each in found] == [16, 17]
    assert {each.fields["name"] for each in found} == {"Juan Pérez"}
    assert found[0].fields["data"] == {"studentId": 1}


def test_lists_objects_and_containers() -> None:
    """A list, one object, and templates in a container may all be of either kind."""
    foreign = {"title": "A", "start": "2026-01-01T09:00", "end": "2026-01-01T10:00"}
    own = {"name": "B", "dtstart": "2026-01-01T09:00", "duration_minutes": 30}
    assert [each.fields["name"] for each in entries([foreign, own])] == ["A", "B"]
    assert [each.fields["name"] for each in entries({"templates": [own, foreign]})] == ["B", "A"]
    assert entry(foreign)["rrule"] is None


def test_offsets_and_times_apart() -> None:
    """A time with an offset is shown in the zone; a time of day may stand apart from its date."""
    aware = {"title": "A", "start": "2026-01-01T09:00:00.000Z", "end": "2026-01-01T11:00:00+01:00"}
    assert entry(aware)["dtstart"] == datetime(2026, 1, 1, 10)
    assert entry(aware)["duration"] == timedelta(hours=1)
    apart = {"name": "A", "start_date": "2026-01-01", "start_time": "22:00", "end_time": "02:00"}
    for rule, rrule in ((None, None), ({"type": "daily"}, "FREQ=DAILY")):
        fields = entry({**apart, "recurrence": rule})
        assert (fields["dtstart"], fields["duration"]) == (datetime(2026, 1, 1, 22), timedelta(hours=4))
        assert fields["rrule"] == rrule


def test_a_rule_alone_gets_the_name_of_its_file() -> None:
    """An object that is itself a rule, and a fixed schedule without anything around it, are templates."""
    rule = {"type": "monthly", "month_day": 1, "weekday": 5, "start_time": "21:00", "end_time": "01:00"}
    (found,) = read_file(
        json.dumps({**rule, "start_date": "2024-01-01", "end": "never"}).encode(),
        "UTC",
        name="late-show",
    )
    assert found.fields == {
        "name": "late-show",
        "rrule": "FREQ=MONTHLY;BYMONTHDAY=1,2,3,4,5,6,7;BYDAY=SA",
        "dtstart": datetime(2024, 1, 1, 21),
        "timezone": "UTC",
        "duration": timedelta(hours=4),
        "data": {},
    }
    lesson = {"weekday": 3, "start_time": "16:00", "end_time": "17:00", "start_date": "2024-01-15"}
    (named,) = read_file(json.dumps([{**lesson, "name": "Juan"}]).encode(), "UTC", name="students")
    assert (named.fields["name"], named.fields["rrule"]) == ("Juan", "FREQ=WEEKLY;BYDAY=TH")
    with pytest.raises(InvalidRequest, match="name is missing"):
        entry(lesson)


def test_a_type_of_the_app_is_no_rule() -> None:
    """A ``type`` that no rule has is the app's own and goes into data."""
    fields = entry({"title": "Gala", "type": "party", "start": "2026-01-02T20:00", "end": "2026-01-02T23:00"})
    assert fields["rrule"] is None
    assert fields["data"] == {"type": "party"}
