"""The subscribed calendar as a text: any rule from last month on, and nothing that a hostile name could add."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import icalendar
import pytest
from exchange_site import instants, offered, read, spec
from feed_site import NOW, unfolded
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrence.strategies import difficult_rules, rules, starts

from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.feeds.entries import Event, Override, StoredTemplate, clean
from flask_rollingslots.feeds.ics_writing import Feed, feed_bytes, last_change
from flask_rollingslots.values import TemplateSpec, Window

CREATED = datetime(2026, 11, 3, 12, tzinfo=UTC)
#: The feed begins with the last month.
YEAR = Window(datetime(2026, 10, 2, tzinfo=UTC), datetime(2027, 9, 25, tzinfo=UTC))
ENDS = st.sampled_from(
    ["", "", ";COUNT=9", ";COUNT=400", ";COUNT=4000", ";UNTIL=20270101", ";UNTIL=20270328T003000Z"]
)


def feed(now: datetime = NOW, **options: Any) -> Feed:
    """Return what a feed is written with; a template that cannot be written fails the test."""

    def complain(template: TemplateSpec, error: Exception) -> None:
        raise AssertionError(template) from error

    return Feed(**{"now": now, "host": "slots.example", "name": "Club", "complain": complain, **options})


def text(*outs: StoredTemplate, **options: Any) -> str:
    """Return a feed as text."""
    return feed_bytes(outs, feed(**options)).decode()


def out(*decisions: Override, **fields: Any) -> StoredTemplate:
    """Return a template on its way out: an hour every Friday night in Madrid, unless told otherwise."""
    more = {name: fields.pop(name) for name in ("reminder_before",) if name in fields}
    return StoredTemplate(spec(**fields), CREATED, more, decisions)


any_rule = given(
    st.one_of(rules("YEARLY MONTHLY WEEKLY DAILY HOURLY"), difficult_rules()),
    starts(2010, 2026),
    ENDS,
    st.sampled_from([0, 0, 1, -90, 40 * 60]),
    st.sampled_from(["Europe/Madrid", "America/New_York", "UTC"]),
)


@any_rule
@settings(max_examples=40)
def test_any_rule_from_last_month_on(rrule: str, dtstart: datetime, end: str, shift: int, zone: str) -> None:
    """A rule of long ago gives what it offers in the year to come: as a rule, or as single dates where none fits."""
    template = spec(
        rrule=rrule + end,
        dtstart=dtstart,
        timezone=zone,
        shift=timedelta(minutes=shift),
        rdates=(dtstart + timedelta(days=9), datetime(2026, 12, 24, 9, 30)),
        exdates=(datetime(2026, 12, 6).date(), dtstart + timedelta(days=7)),
    )
    found = text(StoredTemplate(template, CREATED))
    assert instants(read(found) if "VEVENT" in found else [], YEAR) == offered(template, YEAR)
    assert "RRULE" in found or "RDATE" in found or len(offered(template, YEAR)) <= 1


@pytest.mark.slow
@any_rule
@settings(max_examples=4000)
def test_very_many_rules_from_last_month_on(
    rrule: str, dtstart: datetime, end: str, shift: int, zone: str
) -> None:
    """The same with very many rules."""
    test_any_rule_from_last_month_on.hypothesis.inner_test(rrule, dtstart, end, shift, zone)


HOSTILE = [
    "\r",
    "\n",
    "\r\n",
    "\\",
    "\\n",
    ";",
    ",",
    ":",
    '"',
    "=",
    "\u2028",
    "\x85",
    "\x00",
    "^n",
    "ü字" * 20,
]
NAMES = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=12).map("x".join),
    st.sampled_from(
        ["END:VEVENT", "\r\nBEGIN:VALARM\r\nACTION:AUDIO", "\nATTENDEE:mailto:a@b", "=A1()", " ", ""]
    ),
)


@given(NAMES, NAMES, NAMES)
@settings(max_examples=100)
def test_hostile_names_stay_texts(name: str, description: str, reason: str) -> None:
    """Whatever is written into a name: no line is added, none is longer than 75 bytes, and it comes back as it was."""
    cancelled = Override(original_start=datetime(2026, 11, 27, 22), status="cancelled", cancel_reason=reason)
    template = out(
        cancelled, name=name, data={"description": description}, reminder_before=timedelta(minutes=30)
    )
    content = feed_bytes([template], feed(name=name))
    assert max(map(len, content.split(b"\r\n"))) <= 75
    assert content.count(b"\n") == content.count(b"\r\n")
    plain = text(
        out(replace(cancelled, cancel_reason="x"), data={"description": "x"}, reminder_before=timedelta(1))
    )
    kinds = {line.partition(":")[0].partition(";")[0] for line in unfolded(content.decode())}
    assert kinds <= {line.partition(":")[0].partition(";")[0] for line in unfolded(plain)}
    first, second = icalendar.Calendar.from_ical(content).walk("VEVENT")
    assert first["SUMMARY"] == clean(name)
    assert first.get("DESCRIPTION", "") == clean(description)
    assert second.get("COMMENT", "") == clean(reason)


def test_the_head_of_the_calendar() -> None:
    """Programs learn its name, and how often to look; the zones come with it, right for ever; UIDs name the host."""
    lines = unfolded(text(out()))
    for line in (
        "X-WR-CALNAME:Club",
        "NAME:Club",
        "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
        "X-PUBLISHED-TTL:PT1H",
        "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3",
        "UID:series-1@slots.example",
        "DTSTART;TZID=Europe/Madrid:20261002T220000",
    ):
        assert line in lines


def test_nothing_changes_by_itself_within_a_month() -> None:
    """The same bytes at any time of a month; with the next one the feed begins later, and says when it changed."""
    outs = [out(holidays="ES", reminder_before=timedelta(hours=1)), out(id=2, series_id=2)]
    first = text(*outs, now=datetime(2026, 11, 1, tzinfo=UTC))
    assert text(*outs, now=datetime(2026, 11, 30, 23, 59, tzinfo=UTC)) == first
    assert "DTSTAMP:20261103T120000Z" in first
    later = text(*outs, now=datetime(2026, 12, 1, tzinfo=UTC))
    assert "DTSTART;TZID=Europe/Madrid:20261106T220000" in later
    assert "DTSTAMP:20261201T000000Z" in later


def test_a_change_is_dated_and_counted() -> None:
    """LAST-MODIFIED, DTSTAMP and SEQUENCE say that and when a template, or one slot, was changed."""
    when = datetime(2026, 11, 19, 8, 30, tzinfo=UTC)
    moved = Override(
        original_start=datetime(2026, 11, 27, 22),
        starts_at=datetime(2026, 11, 27, 18, tzinfo=UTC),
        ends_at=datetime(2026, 11, 27, 19, tzinfo=UTC),
        changed_at=when,
    )
    first, second = icalendar.Calendar.from_ical(text(out(moved, revision=4))).walk("VEVENT")
    assert [event["LAST-MODIFIED"].dt for event in (first, second)] == [CREATED, when]
    assert [event["DTSTAMP"].dt for event in (first, second)] == [CREATED, when]
    assert [event["SEQUENCE"] for event in (first, second)] == [4, 4]
    assert last_change([out(moved)], feed()) == when
    assert last_change([replace(out(moved), stamp=when + timedelta(1))], feed()) == when + timedelta(1)


def test_reminders_are_alarms() -> None:
    """Each event has the reminder, also one that was moved; a cancelled one reminds nobody."""
    start = datetime(2026, 11, 27, 22)
    moved = Override(original_start=start, starts_at=datetime(2026, 11, 28, 8, tzinfo=UTC))
    cancelled = Override(original_start=start + timedelta(7), status="cancelled")
    template = out(moved, cancelled, reminder_before=timedelta(days=1, minutes=30))
    alarms = [
        [alarm["TRIGGER"].dt for alarm in event.walk("VALARM")]
        for event in icalendar.Calendar.from_ical(text(template)).walk("VEVENT")
    ]
    assert alarms == [[timedelta(days=-1, minutes=-30)], [timedelta(days=-1, minutes=-30)], []]


def test_another_text_is_an_override() -> None:
    """A slot with a title, place or description of its own has them in the calendar; other data are the app's own."""
    start = datetime(2026, 11, 27, 22)
    title = Override(original_start=start, data={"summary": "Gala", "location": "Roof"})
    other = Override(original_start=start + timedelta(7), data={"price": 9})
    found = icalendar.Calendar.from_ical(text(out(title, other))).walk("VEVENT")
    assert [(str(event["SUMMARY"]), event.get("LOCATION")) for event in found] == [
        ("Party", None),
        ("Gala", "Roof"),
    ]
    assert found[1]["RECURRENCE-ID"].dt.replace(tzinfo=None) == start


def test_a_broken_template_is_left_out() -> None:
    """One that cannot be written is named, and takes no other with it."""
    said: list[tuple[int, str]] = []
    broken = out(id=2, series_id=2, timezone="Mars/Phobos")
    found = text(
        out(), broken, complain=lambda template, error: said.append((template.id, type(error).__name__))
    )
    assert "UID:series-1@" in found
    assert "UID:series-2@" not in found
    assert [number for number, _ in said] == [2]


def test_too_large_a_calendar_is_refused() -> None:
    """It says how to ask for less."""
    outs = [out(id=number, series_id=number) for number in range(1, 8)]
    with pytest.raises(InvalidRequest, match="at most 6 events: ask for a template or a group"):
        text(*outs, most=6)


def test_properties_stand_in_one_order() -> None:
    """Whatever was added first: the properties that icalendar puts first, then the others by name."""
    event = Event("UTC")
    event.add(location="hall", comment="none", rrule="FREQ=DAILY", uid="1", summary="Evening")
    names = [line.partition(":")[0] for line in event.text().splitlines()]
    assert names == ["BEGIN", "SUMMARY", "UID", "RRULE", "COMMENT", "LOCATION", "END"]
