"""VEVENTs as templates and decisions, and everything that is refused by name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from exchange_site import event, events, instants, read

from flask_rollingslots.errors import InvalidRequest

WEEKLY = """
UID:a@b
SUMMARY:Yoga\\, early
DTSTART;TZID=Europe/Madrid:20260105T090000
DTEND;TZID=Europe/Madrid:20260105T103000
RRULE:FREQ=WEEKLY;COUNT=10
"""


def test_an_event_becomes_a_template() -> None:
    """Name, zone, first start, length and rule; description, place and UID go into data."""
    entry = event(WEEKLY + "DESCRIPTION:Bring a mat\\nand water\nLOCATION:Room 1", "UTC")
    assert entry.fields == {
        "name": "Yoga, early",
        "rrule": "FREQ=WEEKLY;COUNT=10",
        "dtstart": datetime(2026, 1, 5, 9),
        "timezone": "Europe/Madrid",
        "duration": timedelta(minutes=90),
        "ends_by": "elapsed",
        "rdates": [],
        "exdates": [],
        "data": {"uid": "a@b", "description": "Bring a mat\nand water", "location": "Room 1"},
    }


@pytest.mark.parametrize(
    ("start", "zone", "wall"),
    [
        ("DTSTART:20260105T090000Z", "UTC", 9),
        ("DTSTART:20260105T090000", "America/New_York", 9),
        ("DTSTART;TZID=Romance Standard Time:20260105T090000", "Europe/Paris", 9),
        ('DTSTART;TZID="/example.org/20260101/Europe/Berlin":20260105T090000', "Europe/Berlin", 9),
        ("DTSTART;VALUE=DATE:20260105", "America/New_York", 0),
    ],
)
def test_zones(start: str, zone: str, wall: int) -> None:
    """UTC, floating, a Windows name, a program's own prefix, and a date alone."""
    entry = event(f"{start}\nDURATION:P1D", "America/New_York")
    assert (entry.fields["timezone"], entry.fields["dtstart"]) == (zone, datetime(2026, 1, 5, wall))
    assert entry.fields["rrule"] is None


@pytest.mark.parametrize(
    ("end", "length"),
    [
        ("DTSTART:20260105T090000\nDTEND:20260105T100000", timedelta(hours=1)),
        ("DTSTART:20260105T090000\nDURATION:PT1H30M", timedelta(minutes=90)),
        ("DTSTART;VALUE=DATE:20260105", timedelta(days=1)),
        ("DTSTART;VALUE=DATE:20260105\nDTEND;VALUE=DATE:20260108", timedelta(days=3)),
        # Zones may differ; over the change to summer time the exact length counts.
        (
            "DTSTART;TZID=Europe/Madrid:20260105T090000\nDTEND;TZID=Europe/London:20260105T090000",
            timedelta(hours=1),
        ),
        (
            "DTSTART;TZID=Europe/Madrid:20260328T220000\nDTEND;TZID=Europe/Madrid:20260329T060000",
            timedelta(hours=7),
        ),
    ],
)
def test_lengths(end: str, length: timedelta) -> None:
    """DTEND or DURATION; whole days for dates."""
    assert event(end).fields["duration"] == length


def test_extra_and_excluded_dates_in_any_zone() -> None:
    """Lists and repeated properties, times in other zones, dates for whole days."""
    entry = event(
        WEEKLY
        + "RDATE;TZID=Europe/London:20260106T080000,20260107T080000\n"
        + "EXDATE:20260112T080000Z\nEXDATE;VALUE=DATE:20260119\nEXDATE;TZID=Europe/Madrid:20260126T090000"
    )
    assert entry.fields["rdates"] == [datetime(2026, 1, 6, 9), datetime(2026, 1, 7, 9)]
    assert entry.fields["exdates"] == [
        datetime(2026, 1, 12, 9),
        date(2026, 1, 19),
        datetime(2026, 1, 26, 9),
    ]
    assert len(instants([entry])) == 10 + 2 - 3


def test_a_dtstart_beside_the_rule_is_shown() -> None:
    """Programs show DTSTART even where the rule does not yield it, so it becomes an extra date; COUNT stays."""
    entry = event(
        "DTSTART;TZID=Europe/Madrid:20260105T090000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;BYDAY=FR;COUNT=3"
    )
    assert entry.fields["rdates"] == [datetime(2026, 1, 5, 9)]
    assert len(instants([entry])) == 4


def test_overrides_are_decisions() -> None:
    """Moved and cancelled ones, with the original start in the zone of the series."""
    (entry,) = read(
        events(
            WEEKLY,
            "UID:a@b\nRECURRENCE-ID:20260112T080000Z\nDTSTART;TZID=Europe/Madrid:20260113T110000",
            "UID:a@b\nRECURRENCE-ID;TZID=Europe/Madrid:20260119T090000\nSTATUS:CANCELLED\nCOMMENT:ill",
            "UID:a@b\nRECURRENCE-ID;VALUE=DATE:20260126\nDTSTART:20260126T080000Z\nDTEND:20260126T100000Z\nSUMMARY:Late",
        )
    )
    moved, cancelled, longer = entry.overrides
    assert moved.original_start == datetime(2026, 1, 12, 9)
    assert moved.starts_at == datetime(2026, 1, 13, 10, tzinfo=UTC)
    assert moved.ends_at == datetime(2026, 1, 13, 11, 30, tzinfo=UTC)
    assert (cancelled.original_start, cancelled.status) == (datetime(2026, 1, 19, 9), "cancelled")
    assert cancelled.cancel_reason == "ill"
    assert (longer.original_start, longer.ends_at) == (
        datetime(2026, 1, 26, 9),
        datetime(2026, 1, 26, 10, tzinfo=UTC),
    )
    assert longer.data == {"uid": "a@b", "summary": "Late"}


def test_events_without_uid_and_lone_overrides() -> None:
    """Events without UID are apart; a single instance out of an invitation is an event that happens once."""
    plain = "DTSTART:20260105T090000\nDURATION:PT1H"
    found = read(events(plain, plain, f"UID:x\nRECURRENCE-ID:20260105T090000\n{plain}"))
    assert [entry.fields["rrule"] for entry in found] == [None] * 3
    assert [entry.fields["name"] for entry in found] == ["Untitled"] * 3


def test_a_cancelled_series_is_inactive() -> None:
    """STATUS:CANCELLED on the series itself makes a template that offers nothing."""
    assert event(WEEKLY + "STATUS:CANCELLED").fields["active"] is False


def test_other_components_and_properties_are_skipped() -> None:
    """Alarms, tasks, zones and unknown properties do not matter."""
    text = events(
        WEEKLY
        + 'X-ODD;X="a:b":1\nATTACH:data\nBEGIN:VALARM\nTRIGGER:-PT5M\nDTSTART:19700101T000000\nEND:VALARM'
    )
    text = text.replace("BEGIN:VEVENT", "BEGIN:VTODO\nDTSTART:19700101T000000\nEND:VTODO\nBEGIN:VEVENT")
    (entry,) = read("\ufeff" + text.lower().replace("europe/madrid", "Europe/Madrid"))
    assert entry.fields["dtstart"] == datetime(2026, 1, 5, 9)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("SUMMARY:x\nDURATION:PT1H", "DTSTART is missing; expected the first start"),
        ("DTSTART:20260105T090000", "DTEND is missing; expected DTEND or DURATION"),
        ("DTSTART:20260105T090030\nDURATION:PT1H", "DTSTART = '20260105T090030'; expected whole minutes"),
        ("DTSTART:20261305T090000\nDURATION:PT1H", "DTSTART = '20261305T090000'; expected a date"),
        ("DTSTART:yesterday\nDURATION:PT1H", "DTSTART = 'yesterday'; expected a date"),
        ("DTSTART;TZID=Nowhere:20260105T090000\nDURATION:PT1H", "DTSTART;TZID = 'Nowhere'; expected an IANA"),
        ("DTSTART:20260105T090000\nDURATION:soon", "DURATION = 'soon'; expected a length"),
        ("DTSTART:20260105T090000\nDURATION:-PT1H", "DURATION = '-1 day, 23:00:00'; expected an end after"),
        ("DTSTART:20260105T090000\nDTEND:20260105T080000", "DTEND = '-1 day, 23:00:00'; expected an end after"),
        ("DTSTART:20260105T090000\nDTEND;VALUE=DATE:20260106", "DTEND = '2026-01-06'; expected the kind of value"),
        ("DTSTART:20260105T090000\nDTEND:20260105T100000\nDURATION:PT1H", "DURATION = 'PT1H'; expected either"),
        (WEEKLY + "RRULE:FREQ=DAILY", "RRULE = 'FREQ=DAILY'; expected one RRULE"),
        (WEEKLY + "EXRULE:FREQ=DAILY", "EXRULE = 'FREQ=DAILY'; expected EXDATE"),
        (WEEKLY + "DTSTART:20260105T090000", "DTSTART = '20260105T090000'; expected DTSTART once"),
        (WEEKLY + "RDATE;VALUE=PERIOD:20260106T080000Z/PT1H", "RDATE = '20260106T080000Z/PT1H'; expected dates or"),
        (WEEKLY + "EXDATE:20260106T080010", "EXDATE = '20260106T080010'; expected whole minutes"),
        (WEEKLY + "RECURRENCE-ID;RANGE=THISANDFUTURE:20260105T080000Z", "RECURRENCE-ID;RANGE = 'THISANDFUTURE'"),
        (WEEKLY + "RECURRENCE-ID:20260105T080000Z", "RRULE = 'FREQ=WEEKLY;COUNT=10'; expected no RRULE"),
        ("DTSTART:20260105T090000\nDURATION:PT1H\nRRULE:FREQ=NEVER", "FREQ: 'NEVER' is not valid; expected one of"),
        ("DTSTART:20260105T090000\nDURATION:PT1H\nRRULE:FREQ=MINUTELY", "FREQ: 'MINUTELY' is too fine"),
        ("DTSTART;TZID=Asia/Tokyo:00010101T010000\nDTEND:00010101T020000Z", "outside the years 1 to 9999"),
        ("DTSTART:20260105T090000\nDURATION:P99999999999W", "DURATION = 'P99999999999W'; expected a length"),
    ],
)  # fmt: skip
def test_refused_by_name(body: str, said: str) -> None:
    """One line that names the event, the property, the value and what is expected."""
    with pytest.raises(InvalidRequest) as refused:
        event(body)
    assert said in str(refused.value)
    assert str(refused.value).startswith("VEVENT 1")
    assert "\n" not in str(refused.value)


def test_doubles_are_refused() -> None:
    """One series for each UID, one override for each slot."""
    with pytest.raises(InvalidRequest, match=r"VEVENT 2 \('a@b'\): UID = 'a@b'; expected each UID once"):
        read(events(WEEKLY, WEEKLY))
    override = "UID:a@b\nRECURRENCE-ID:20260112T080000Z\nSTATUS:CANCELLED"
    with pytest.raises(InvalidRequest, match=r"VEVENT 3.*one override for each slot"):
        read(events(WEEKLY, override, override))


def test_details_are_attributes() -> None:
    """Programs find entry, field, value and expectation on the error."""
    with pytest.raises(InvalidRequest) as refused:
        event("UID:q\nDTSTART:20260105T090000\nDURATION:PT1H\nRRULE:FREQ=DAILY;INTERVAL=0")
    details: dict[str, Any] = refused.value.details
    assert (details["entry"], details["field"], details["value"]) == ("VEVENT 1 ('q')", "INTERVAL", "0")


def test_what_has_a_time_keeps_its_exact_length() -> None:
    """RFC 5545: a timed event lasts exactly so long; a whole day is one of the calendar, also of 23 hours."""
    assert event(WEEKLY, "UTC").fields["ends_by"] == "elapsed"
    days = "UID:d@e\nSUMMARY:Rental\nDTSTART;VALUE=DATE:20260301\nRRULE:FREQ=DAILY\n"
    assert event(days).fields["ends_by"] == "wall_clock"
    moved = "UID:d@e\nSUMMARY:Rental\nRECURRENCE-ID;VALUE=DATE:20260330\nDTSTART;VALUE=DATE:20260329\n"
    (entry,) = read(events(days, moved))
    (override,) = entry.overrides
    assert override.starts_at == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert override.ends_at == datetime(2026, 3, 29, 22, tzinfo=UTC)
