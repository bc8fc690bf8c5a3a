"""feed.json: events for calendar widgets, in any span, by any clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from feed_site import EVENING, NOW, FeedSite, local
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_rollingslots import RollingSlots, SlotMixin
from flask_rollingslots.facade import SlotView
from flask_rollingslots.feeds import Span, event_texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MADRID = "Europe/Madrid"


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[FeedSite]:
    """A site with one evening a day in Madrid."""
    site = FeedSite(sqlite_url, tmp_path)
    with site.app.app_context():
        site.evening(reminder_before=timedelta(hours=26))
        yield site


def slots_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events that are slots."""
    return [event for event in events if event["extendedProps"]["type"] == "slot"]


def reminders_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events that are reminders."""
    return [event for event in events if event["extendedProps"]["type"] == "reminder"]


def test_an_event_holds_what_a_widget_needs(site: FeedSite) -> None:
    """Key, title, numeric offset, and beside it everything about the slot; a stored slot and a virtual one alike."""
    site.slots.materialize("1@20261121T1900")
    site.slots.book("1@20261121T1900")
    site.session.commit()
    first, second = slots_of(site.events("2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"))
    assert first == {
        "id": "1@20261121T1900",
        "title": "Evening",
        "start": "2026-11-21T19:00:00+01:00",
        "end": "2026-11-21T20:30:00+01:00",
        "allDay": False,
        "className": "rollingslots-slot rollingslots-full",
        "classNames": ["rollingslots-slot", "rollingslots-full"],
        "extendedProps": {
            "type": "slot",
            "is_virtual": False,
            "series_id": 1,
            "original_start": "2026-11-21T19:00:00",
            "template_id": 1,
            "group": "club",
            "state": "full",
            "is_bookable": False,
            "left": 0,
            "capacity": 1,
            "cancel_reason": None,
        },
    }
    assert (second["id"], second["extendedProps"]["is_virtual"]) == ("1@20261122T1900", True)
    details = second["extendedProps"]
    assert (details["state"], details["is_bookable"], details["left"]) == ("open", True, 1)


def test_any_future_window_is_full(site: FeedSite) -> None:
    """A week of the year 2999 has its seven evenings, at the times of its season."""
    events = slots_of(site.events("2999-07-01T00:00:00Z", "2999-07-08T00:00:00Z"))
    assert [event["start"] for event in events] == [f"2999-07-0{day}T19:00:00+02:00" for day in range(1, 8)]
    assert slots_of(site.events("9998-12-01T00:00:00Z", "9999-01-01T00:00:00Z"))[0]["id"] == "1@99981201T1900"
    assert len(slots_of(site.events("9999-12-31T00:00:00", "9999-12-31T23:00:00"))) <= 1


def test_what_goes_on_is_shown(site: FeedSite) -> None:
    """A rental from Saturday to Saturday is seen on all days between, stored or not; an evening until its end."""
    site.add(
        name="Boat",
        group="club",
        rrule="FREQ=WEEKLY;BYDAY=SA",
        dtstart=datetime(2026, 11, 21, 12),
        timezone="Europe/Madrid",
        duration=timedelta(days=7),
        every=None,
        until_time=None,
    )
    for _ in ("virtual", "stored"):
        seen = site.events("2026-11-23", "2026-11-24", timeZone="Europe/Madrid", template=2)
        assert [event["start"] for event in slots_of(seen)] == ["2026-11-21T12:00:00+01:00"]
        ends_then = site.events(
            "2026-11-28T12:00:00", "2026-11-28T13:00:00", timeZone="Europe/Madrid", template=2
        )
        assert [event["start"] for event in slots_of(ends_then)] == ["2026-11-28T12:00:00+01:00"]
        site.slots.generate()
    late = site.events("2026-11-24T20:29:00", "2026-11-24T21:00:00", timeZone="Europe/Madrid", template=1)
    assert [event["id"] for event in slots_of(late)] == ["1@20261124T1900"]


def test_changed_slots_show_as_they_are(site: FeedSite) -> None:
    """A moved slot is where it was moved to, a cancelled one says so and why, a deleted one is not there."""
    site.slots.edit("1@20261121T1900", "this", start=datetime(2026, 11, 21, 21), data={"summary": "Gala"})
    site.slots.cancel("1@20261122T1900", reason="no heating")
    site.slots.delete("1@20261123T1900", "this")
    site.session.commit()
    moved, cancelled, last = slots_of(site.events("2026-11-21T00:00:00Z", "2026-11-25T00:00:00Z"))
    assert (moved["id"], moved["title"], moved["start"]) == (
        "1@20261121T1900",
        "Gala",
        "2026-11-21T21:00:00+01:00",
    )
    assert cancelled["classNames"] == ["rollingslots-slot", "rollingslots-cancelled"]
    assert cancelled["extendedProps"]["state"] == "cancelled"
    assert cancelled["extendedProps"]["cancel_reason"] == "no heating"
    assert last["id"] == "1@20261124T1900"


def test_reminders_are_events_of_their_own(site: FeedSite) -> None:
    """A reminder lies in the span by its own time, names its slot, and goes with it; a cancelled slot has none."""
    site.slots.cancel("1@20261126T1900")
    site.session.commit()
    found = reminders_of(site.events("2026-11-23T00:00:00Z", "2026-11-26T00:00:00Z"))
    assert [(event["id"], event["start"]) for event in found] == [
        ("1@20261124T1900/reminder", "2026-11-23T17:00:00+01:00"),
        ("1@20261125T1900/reminder", "2026-11-24T17:00:00+01:00"),
    ]
    assert found[0]["title"] == "Reminder: Evening"
    assert found[0]["extendedProps"]["slot"] == "1@20261124T1900"
    assert found[0]["extendedProps"]["slot_start"] == "2026-11-24T19:00:00+01:00"
    (far,) = reminders_of(site.events("2999-07-01T00:00:00Z", "2999-07-02T00:00:00Z"))
    assert (far["id"], far["extendedProps"]["is_virtual"]) == ("1@29990702T1900/reminder", True)


def test_a_reminder_long_ahead_does_not_read_the_time_between(site: FeedSite) -> None:
    """A slot three years later reminds in this week, although the years between would be too much for one answer."""
    site.add(
        name="Trip", reminder_before=timedelta(days=3 * 365), every=timedelta(minutes=15), overlapping=True
    )
    found = reminders_of(site.events("2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z", template=2))
    assert len(found) == 29
    assert found[0]["id"] == "2@20291120T1000/reminder"


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        # FullCalendar with the viewer's zone: offsets, and a plus that was encoded, or not.
        (
            "start=2026-10-24T00:00:00%2B02:00&end=2026-10-26T00:00:00%2B01:00",
            "24T19:00:00+02",
            "25T19:00:00+01",
        ),
        ("start=2026-10-24T00:00:00+02:00&end=2026-10-26T00:00:00+01:00", "24T19:00:00+02", "25T19:00:00+01"),
        ("start=2026-10-24T21:00:00+0400&end=2026-10-26T00:00:00-0100", "24T19:00:00+02", "25T19:00:00+01"),
        # With UTC, and with a named zone: no offsets then.
        (
            "start=2026-10-24T00:00:00Z&end=2026-10-26T00:00:00Z&timeZone=UTC",
            "24T17:00:00+00",
            "25T18:00:00+00",
        ),
        (
            "start=2026-10-24T00:00:00&end=2026-10-26T00:00:00&timeZone=Asia/Tokyo",
            "24T02:00:00+09",
            "25T02:00:00+09",
        ),
        ("start=2026-10-24&end=2026-10-26&timeZone=Europe/Madrid", "24T19:00:00+02", "25T19:00:00+01"),
        (
            "start=2026-10-24T00:00:00Z&end=2026-10-26T00:00:00Z&timeZone=local",
            "24T19:00:00+02",
            "25T19:00:00+01",
        ),
        # EventCalendar: with an offset as its zone.
        (
            "start=2026-10-24T00:00:00&end=2026-10-26T00:00:00&timeZone=%2B05:30",
            "24T22:30:00+05:30",
            "25T23:30:00+05:30",
        ),
        (
            "start=2026-10-24T00:00:00&end=2026-10-26T00:00:00&timeZone=-02:00",
            "24T15:00:00-02",
            "25T16:00:00-02",
        ),
        # Days of the template's own zone.
        ("start=2026-10-24&end=2026-10-26", "24T19:00:00+02", "25T19:00:00+01"),
        # EventCalendar in the viewer's zone: it might be any.
        ("start=2026-10-24T00:00:00&end=2026-10-26T00:00:00", "23T19:00:00+02", "25T19:00:00+01"),
        ("start=2026-10-25T08:29&end=2026-10-26T05:00:00.000", "24T19:00:00+02", "25T19:00:00+01"),
        ("start=2026-10-25T08:30&end=2026-10-26T06:00", "25T19:00:00+01", "25T19:00:00+01"),
    ],
)
def test_each_way_to_write_a_span(site: FeedSite, query: str, first: str, last: str) -> None:
    """Whatever a widget sends, with the clocks going back in between, it gets the slots of that span."""
    template = site.evening(dtstart=datetime(2026, 10, 1, 19))
    site.slots.generate(start=local(MADRID, 2026, 10, 20), end=local(MADRID, 2026, 10, 28), template=template)
    events = slots_of(site.get(f"/feed.json?{query}&template=2").get_json())
    expected = tuple(f"2026-10-{each}" + ":00" * (each.count(":") == 2) for each in (first, last))
    assert (events[0]["start"], events[-1]["start"]) == expected


def test_templates_of_several_zones_by_their_own_clocks(site: FeedSite) -> None:
    """A day without a zone is the day of each template, wherever it is, and of no other."""
    site.evening(name="Apia", timezone="Pacific/Apia", reminder_before=None)
    site.evening(name="Honolulu", timezone="Pacific/Honolulu", reminder_before=None)
    events = slots_of(site.events("2026-11-25", "2026-11-26"))
    assert {(event["title"], event["start"]) for event in events} == {
        ("Apia", "2026-11-25T19:00:00+13:00"),
        ("Evening", "2026-11-25T19:00:00+01:00"),
        ("Honolulu", "2026-11-25T19:00:00-10:00"),
    }


@pytest.mark.parametrize(
    ("zone", "first"),
    [({}, "2027-03-27T19:00:00"), ({"timeZone": "America/New_York"}, "2027-03-27T14:00:00")],
)
def test_times_without_an_offset_for_widgets_that_would_shift_them(
    site: FeedSite, zone: dict[str, str], first: str
) -> None:
    """They stand as the clock shows them, and the span is one of this clock, too."""
    events = site.events("2027-03-27T00:00:00", "2027-03-29T00:00:00", floating="true", **zone)
    assert next(event["start"] for event in slots_of(events)) == first
    assert len(slots_of(events)) == 2
    assert all(event[name][-3:] == ":00" for event in events for name in ("start", "end"))
    assert all("+" not in event["extendedProps"].get("slot_start", "") for event in events)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("end=2026-11-26", "start"),
        ("start=2026-11-25", "end"),
        ("start=tomorrow&end=2026-11-26", "start"),
        ("start=2026-11-25&end=2026-13-26", "end"),
        ("start=2026-11-25T25:00:00Z&end=2026-11-26T00:00:00Z", "start"),
        ("start=2026-11-25T00:00:00%2B99:00&end=2026-11-26T00:00:00Z", "start"),
        ("start=٢٠٢٦-11-25&end=2026-11-26", "start"),
        ("start=2026-11-25T00:00:00Z&end=2026-11-26T00:00:00", "end"),
        ("start=2026-11-26&end=2026-11-25", "end"),
        ("start=2026-11-25&end=2026-11-25", "end"),
        ("start=2026-01-01T00:00:00Z&end=2026-04-03T00:00:01Z", "end"),
        ("start=2026-11-25&end=2026-11-26&timeZone=Mars/Phobos", "timeZone"),
        ("start=2026-11-25&end=2026-11-26&timeZone=../../etc/passwd", "timeZone"),
        ("start=2026-11-25&end=2026-11-26&timeZone=%2B99:00", "timeZone"),
        ("start=0001-01-01&end=0001-01-02&timeZone=Asia/Tokyo", "start"),
        ("start=2026-11-25&end=2026-11-26&template=x", "template"),
        ("start=2026-11-25&end=2026-11-26&colour=red", "colour"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(site: FeedSite, query: str, field: str) -> None:
    """422 names the parameter and what is expected."""
    problem = site.get(f"/feed.json?{query}", 422).get_json()
    assert problem["errors"][0]["field"] == field
    assert problem["errors"][0]["expected"]


@pytest.mark.parametrize(
    "query",
    [
        "start=0001-01-01T00:00:00%2B14:00&end=0001-01-02T00:00:00%2B14:00",
        "start=0001-01-01T00:00:00&end=0001-01-02T00:00:00",
        "start=9999-12-30T00:00:00-12:00&end=9999-12-31T23:59:59-12:00",
        "start=2026-10-25T00:00:00%2B02:00&end=2027-01-25T00:00:00%2B01:00",
    ],
)
def test_the_edges_of_the_calendar_and_a_quarter_with_a_change_of_clocks(site: FeedSite, query: str) -> None:
    """Spans at the ends of time are answered, and 92 days of the calendar are 92 days also if one has 25 hours."""
    site.get(f"/feed.json?{query}")


def test_template_and_group_narrow_it(site: FeedSite) -> None:
    """One series, one group; an unknown group has nothing, an unknown template is not found, an inactive one empty."""
    site.evening(name="Other", group="other", reminder_before=None)
    span = {"start": "2026-11-25T00:00:00Z", "end": "2026-11-26T00:00:00Z"}
    assert {event["title"] for event in site.events(**span, group="other")} == {"Other"}
    assert {event["title"] for event in site.events(**span, template=2)} == {"Other"}
    assert site.events(**span, group="nobody") == []
    assert site.events(**span, group="club", template=2) == []
    assert site.get("/feed.json", 404, query_string={**span, "template": 99}).get_json()["status"] == 404
    site.session.get(site.slots.Template, 2).active = False
    site.session.commit()
    assert site.events(**span, template=2) == []


def test_too_many_events_are_refused_before_they_are_read(site: FeedSite) -> None:
    """A public feed of a large app is no way to fill its memory: 422 says how to ask for less."""
    for _ in range(3):
        site.add(
            every=timedelta(minutes=1),
            until_time=time(0),
            duration=timedelta(minutes=1),
            dtstart=datetime(2026, 1, 1),
        )
    span = {"start": "2027-01-01T00:00:00Z", "end": "2027-01-02T00:00:00Z"}
    with site.queries() as statements:
        problem = site.get("/feed.json", 422, query_string=span).get_json()
    assert "3,000 events (ROLLINGSLOTS_EVENTS_MAX)" in problem["errors"][0]["expected"]
    assert not any("rolling_slot" in statement for statement in statements)
    assert len(slots_of(site.events(**span, template=2))) == 1440


def test_days_of_each_zone_cost_no_more_than_those_days(sqlite_url: str, tmp_path: Path) -> None:
    """A day by the clock of a template is read as that day, not as what may be that day anywhere on earth."""
    site = FeedSite(sqlite_url, tmp_path, ROLLINGSLOTS_EVENTS_MAX=1500)
    with site.app.app_context():
        minute = timedelta(minutes=1)
        site.add(
            every=minute,
            until_time=time(0),
            duration=minute,
            dtstart=datetime(2026, 1, 1),
            timezone="Asia/Tokyo",
        )
        assert len(slots_of(site.events("2027-01-01", "2027-01-02"))) == 1440


@pytest.mark.parametrize("templates", [1, 30])
def test_the_queries_do_not_grow_with_the_events(site: FeedSite, templates: int) -> None:
    """One template or thirty, a few events or thousands: the same number of queries."""
    for number in range(templates):
        site.add(
            name=f"Court {number}", resource=f"Court {number}", exclusive=True, reminder_before=timedelta(1)
        )
    site.slots.generate()
    site.slots.book("2@20261125T1000")
    site.session.commit()
    site.session.expire_all()
    with site.queries() as statements:
        events = site.events("2026-11-21T00:00:00Z", "2026-12-01T00:00:00Z")
    assert len(events) >= templates * 160
    assert len(statements) == 3


def test_a_broken_template_takes_no_other_with_it(site: FeedSite) -> None:
    """A rule that somebody broke by hand is left out, and what the others promise is there."""
    broken = site.evening(name="Broken")
    site.session.execute(
        site.db.update(site.slots.Template.__table__)
        .where(site.slots.Template.__table__.c.id == broken.id)
        .values(rrule="FREQ=NEVER")
    )
    site.session.commit()
    site.session.expire_all()
    events = slots_of(site.events("2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"))
    assert [event["title"] for event in events] == ["Evening"]


def test_whole_days_are_dates(site: FeedSite) -> None:
    """A rental of two days from midnight is all day, by the template's own clock; an hour less is not."""
    day = {"rrule": "FREQ=WEEKLY;BYDAY=SA", "dtstart": datetime(2027, 3, 27), "timezone": MADRID}
    rental = site.slots.create_template(name="Boat", duration=timedelta(days=2), **day)
    shorter = site.slots.create_template(name="Van", duration=timedelta(hours=47), **day)
    site.session.commit()
    span = {"start": "2027-03-27T00:00:00Z", "end": "2027-03-30T00:00:00Z", "timezone": "America/New_York"}
    (boat,), (van,) = (slots_of(site.slots.events(**span, template=each)) for each in (rental, shorter))
    assert (boat["allDay"], boat["start"], boat["end"]) == (True, "2027-03-27", "2027-03-29")
    assert (van["allDay"], van["start"]) == (False, "2027-03-26T19:00:00-04:00")
    assert [site.slots.get(each["id"]).is_all_day for each in (boat, van)] == [True, False]


def test_reminders_can_be_left_out(site: FeedSite) -> None:
    """A widget that shows slots alone says so."""
    span = "start=2026-11-21T00:00:00Z&end=2026-11-23T00:00:00Z"
    answers = [site.get(f"/feed.json?{span}{more}").json for more in ("", "&reminders=false")]
    assert [len(reminders_of(each)) for each in answers] == [2, 0]
    assert slots_of(answers[0]) == answers[1]


def told(slot: Any, now: datetime, zone: Any) -> dict[str, Any]:
    """Return the event of a slot, out of what the slot says itself."""
    is_cancelled = slot.state_at(now) == "cancelled"
    return {
        "id": slot.key,
        "title": slot.data.get("summary") or slot.name,
        "start": slot.starts_at.astimezone(zone).isoformat(),
        "end": slot.ends_at.astimezone(zone).isoformat(),
        "allDay": False,
        "className": f"rollingslots-slot rollingslots-{slot.state_at(now)}",
        "classNames": ["rollingslots-slot", f"rollingslots-{slot.state_at(now)}"],
        "extendedProps": {
            "type": "slot",
            "is_virtual": slot.is_virtual,
            "series_id": slot.series_id,
            "original_start": slot.original_start.isoformat(),
            "template_id": slot.template_id,
            "group": slot.template.group,
            "state": str(slot.state_at(now)),
            "is_bookable": slot.is_bookable_at(now),
            "left": slot.left,
            "capacity": slot.capacity,
            "cancel_reason": slot.cancel_reason if is_cancelled else None,
        },
    }


def test_hundreds_of_events_say_what_their_slots_say(site: FeedSite) -> None:
    """Stored and virtual, renamed, booked, cancelled, with quotes and signs in their texts: each event is its slot."""
    hard = 'A "hall", \\ <b> Ünïcode 🎉'
    site.evening(name=hard, group='"club"', capacity=3, data={"summary": hard})
    site.evening(name="Hourly", every=timedelta(hours=1), until_time=time(22), duration=timedelta(hours=1))
    site.slots.generate(days=9)
    for number, key in enumerate(["2@20261121T1900", "2@20261122T1900", "2@20261230T1900"]):
        site.slots.edit(key, "this", data={"summary": f'Other "{number}"'})
    site.slots.cancel("1@20261123T1900", "this", reason='with "quotes" \\')
    site.slots.book("2@20261124T1900", party=2)
    site.slots.edit("1@20261125T1900", "this", start=datetime(2026, 11, 25, 21))
    site.session.commit()
    first, last = datetime(2026, 11, 20, tzinfo=UTC), datetime(2027, 2, 15, tzinfo=UTC)
    slots = site.slots.between(first, last)
    assert len(slots) > 300  # several pieces
    zone = ZoneInfo(MADRID)
    span = {"start": first.isoformat(), "end": last.isoformat(), "timezone": MADRID}
    expected = [told(slot, site.slots.now(), zone) for slot in slots]
    assert site.slots.events(**span, reminders=False) == expected
    pieces = site.slots.events_json(**span, reminders=False)
    assert max(map(len, pieces)) < len("".join(pieces)) / 3


@pytest.mark.parametrize("days", [0, 1, 9, 10, 11, 20, 25])
def test_pieces_make_one_answer(site: FeedSite, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """However many events there are, none included, the pieces are one array, and the answer says its length."""
    monkeypatch.setattr("flask_rollingslots.feeds.fullcalendar._IN_A_PIECE", 10)
    start = datetime(2026, 11, 21, tzinfo=UTC)
    end = start + (timedelta(days=days) or timedelta(hours=1))
    query = {"start": start.isoformat(), "end": end.isoformat(), "reminders": "false"}
    response = site.get("/feed.json", query_string=query)
    assert len(response.get_json()) == days
    assert response.content_length == len(response.data)


def test_an_answer_fails_before_it_begins(site: FeedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong with the last slot is an error, not an answer that breaks off."""

    def fail(self: Any, now: datetime) -> Any:
        if self.key == "1@20270210T1900":
            raise ArithmeticError("broken")
        return seen_at(self, now)

    seen_at = SlotView.seen_at
    monkeypatch.setattr(SlotView, "seen_at", fail)
    site.app.config["PROPAGATE_EXCEPTIONS"] = False
    query = {"start": "2026-11-21T00:00:00Z", "end": "2027-02-11T00:00:00Z", "reminders": "false"}
    assert "broken" not in site.get("/feed.json", status=500, query_string=query).text


def test_the_slots_are_let_go_while_they_are_written(site: FeedSite) -> None:
    """An answer never holds all slots and all of its text: each slot is let go when it is written."""
    start, end = datetime(2026, 11, 21, tzinfo=UTC), datetime(2027, 1, 21, tzinfo=UTC)
    slots = site.slots.view(start, end)
    alive, left = len(slots), list[int]()
    assert event_texts(slots, Span(start, end), site.slots.now(), lambda _: left.append(len(slots))) != []
    assert left == [alive - 1]  # the first is out of the list when its template is looked at
    assert slots == []


def test_own_columns_are_told_by_their_names(tmp_path: Path) -> None:
    """A column of the app's own named as what an event says of itself does not make a name stand there twice."""
    app = Flask("own", instance_path=str(tmp_path))
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/own.db", ROLLINGSLOTS_ENABLED=False)
    db = SQLAlchemy(app)

    class Lesson(SlotMixin, db.Model):  # type: ignore[name-defined,misc]
        type: Any = db.Column(db.String(20))
        slot_start: Any = db.Column(db.String(20))
        teacher: Any = db.Column(db.String(20))

    slots = RollingSlots(app, db=db, models={"Slot": Lesson}, clock=lambda: NOW)
    with app.app_context():
        db.create_all()
        slots.create_template(**{**EVENING, "reminder_before": timedelta(hours=1)})
        db.session.commit()
        slots.generate(days=2)
        for slot in db.session.scalars(db.select(Lesson)):
            slot.type, slot.teacher, slot.slot_start = "lesson", 'Ms "A"', "mine"
        db.session.commit()
        texts = "".join(slots.events_json("2026-11-20", "2026-11-22"))
        shown = slots.events("2026-11-20", "2026-11-22", shows=lambda template: ("teacher",))
    found = json.loads(texts, object_pairs_hook=lambda pairs: (len(pairs), dict(pairs)))
    assert all(number == len(each) for number, each in found)
    details = [each["extendedProps"][1] for _, each in found]
    assert {each["type"] for each in details} == {"slot", "reminder"}
    assert {(each["own_type"], each["teacher"], each["own_slot_start"]) for each in details} == {
        ("lesson", 'Ms "A"', "mine")
    }
    assert {each["extendedProps"]["teacher"] for each in shown} == {'Ms "A"'}
    assert all("own_type" not in each["extendedProps"] for each in shown)


def test_what_a_template_says_by_now_decides_the_state(site: FeedSite) -> None:
    """A row that no top-up has brought in line yet shows the state that its template gives it by now."""
    site.slots.generate()
    template = site.slots.get_template(1)
    template.closes_before = timedelta(days=2)  # past the facade, as Flask-Admin does it
    site.session.commit()
    row = site.session.scalars(site.db.select(site.slots.Slot).order_by(site.slots.Slot.starts_at)).first()
    assert row.closes_at > NOW  # as it is stored
    assert (row.state, row.is_bookable) == ("closed", False)
    (event,) = site.events("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", reminders="false")
    assert event["extendedProps"]["state"] == "closed"
