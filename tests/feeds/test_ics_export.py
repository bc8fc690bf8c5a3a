"""Templates as .ics: what calendar programs read is what the library shows."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from importlib.util import find_spec
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest
from exchange_site import NOW, WINDOW, ics, instants, lines, offered, read, spec
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrence.strategies import difficult_rules, rules, starts

from flask_rollingslots import planning
from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.feeds.entries import Override, StoredTemplate
from flask_rollingslots.feeds.ics_writing import ics_bytes, timezone_component
from flask_rollingslots.values import Window

GRID: dict[str, Any] = {
    "every": timedelta(hours=1),
    "until_time": time(13),
    "dtstart": datetime(2026, 1, 1, 10),
}
ENDS = st.sampled_from(["", ";COUNT=9", ";COUNT=40", ";UNTIL=20270101", ";UNTIL=20261025T003000Z"])


def test_a_weekly_template() -> None:
    """One event: stable UID and DTSTAMP, DTSTART with its zone, a length by the stopwatch, the rule."""
    text = ics(spec(duration=timedelta(hours=26)))
    assert lines(text, "UID") == ["UID:series-1@flask-rollingslots"]
    assert lines(text, "DTSTAMP") == ["DTSTAMP:20251201T120000Z"]
    assert "DTSTART;TZID=Europe/Madrid:20260102T220000" in text
    assert lines(text, "DURATION") == ["DURATION:PT26H"]
    assert "RRULE:FREQ=WEEKLY;BYDAY=FR" in text
    assert lines(text, "SUMMARY") == ["SUMMARY:Party"]
    assert ics(spec(duration=timedelta(hours=26)), now=NOW + timedelta(days=9)) == text


def test_dtstart_is_an_occurrence_and_count_stays() -> None:
    """A DTSTART that the rule does not yield moves to the first occurrence: programs would show it otherwise."""
    text = ics(spec(dtstart=datetime(2025, 12, 29, 22), rrule="FREQ=WEEKLY;BYDAY=FR;COUNT=3"))
    assert "DTSTART;TZID=Europe/Madrid:20260102T220000" in text
    assert "COUNT=3" in text


def test_until_is_an_instant() -> None:
    """UNTIL stands in UTC beside a DTSTART with a zone, whatever the template says."""
    assert "UNTIL=20260130T210000Z" in ics(spec(rrule="FREQ=WEEKLY;BYDAY=FR;UNTIL=20260131"))
    assert "UNTIL=20260130T210000Z" in ics(spec(rrule="FREQ=WEEKLY;BYDAY=FR;UNTIL=20260130T220000"))


def test_a_day_grid_is_an_event_for_each_time_of_day() -> None:
    """A grid has no RRULE: each start of the day is an event with a UID of its own."""
    text = ics(spec(rrule="FREQ=DAILY", **GRID))
    assert lines(text, "UID") == [f"UID:series-1-t{hour}00@flask-rollingslots" for hour in (10, 11, 12)]


def test_a_grid_past_midnight_turns_the_weekdays() -> None:
    """The start at 01:00 of a Friday night is on Saturday, and an alternating week begins a day later too."""
    night = spec(
        rrule="FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,FR;COUNT=7",
        every=timedelta(hours=3),
        until_time=time(2),
        duration=timedelta(hours=1),
    )
    text = ics(night)
    assert [line for line in lines(text, "RRULE") if "SA" in line] == [
        "RRULE:FREQ=WEEKLY;COUNT=7;INTERVAL=2;BYDAY=MO,SA;WKST=TU"
    ]
    assert instants(read(text)) == offered(night)


def test_numbered_weekdays_of_the_year_stay_so() -> None:
    """Months are not written out where they would turn the first Monday of the year into that of a month."""
    template = spec(rrule="FREQ=YEARLY;BYMONTHDAY=4;BYDAY=1MO", dtstart=datetime(2025, 1, 16, 9, 30))
    text = ics(template)
    assert instants(read(text)) == offered(template)
    assert [line for line in lines(text, "RRULE") if "DAY=4" in line and "BYMONTH=" in line] == []


@pytest.mark.parametrize("rrule", ["FREQ=MONTHLY;BYMONTHDAY=1", "FREQ=WEEKLY;BYMONTH=5", "FREQ=YEARLY"])
def test_what_no_rule_can_say_is_refused(rrule: str) -> None:
    """A monthly night past midnight has no RRULE: one sentence that names the template and the rule."""
    with pytest.raises(InvalidRequest, match=r"template 1 \('Party'\): rrule = .* another day"):
        ics(spec(rrule=rrule, every=timedelta(hours=3), until_time=time(2)))


@pytest.mark.skipif(find_spec("holidays") is None, reason="the package holidays is not installed")
def test_exclusions_are_exdates() -> None:
    """Excluded times and days, blackouts, holidays and deleted slots are left out; blackouts for two years."""
    template = spec(
        rrule="FREQ=DAILY",
        exdates=(datetime(2026, 1, 3, 22), date(2026, 1, 4)),
        blackouts=((date(2026, 1, 10), date(2026, 1, 11)), (date(2029, 1, 1), date(2029, 1, 1))),
        holidays="ES",
    )
    deleted = Override(original_start=datetime(2026, 1, 20, 22), status="deleted")
    (line,) = lines(ics(template, deleted), "EXDATE")
    days = [text[:8] for text in line.partition(":")[2].split(",")]
    # The first of January is before now, and needs no exclusion any more; the sixth is Epiphany.
    assert days[:6] == ["20260103", "20260104", "20260106", "20260110", "20260111", "20260120"]
    assert "20271225" in days
    assert not [day for day in days if day > "20280107"]


def test_decisions_are_overrides() -> None:
    """A moved slot has another time under its RECURRENCE-ID, a cancelled one says so; same value type as DTSTART."""
    moved = Override(
        original_start=datetime(2026, 1, 9, 22),
        starts_at=datetime(2026, 1, 8, 20, tzinfo=UTC),
        ends_at=datetime(2026, 1, 8, 22, tzinfo=UTC),
    )
    cancelled = Override(original_start=datetime(2026, 1, 16, 22), status="cancelled", cancel_reason="ill")
    changed = Override(original_start=datetime(2026, 1, 23, 22), capacity=9, customised=("capacity",))
    text = ics(spec(), moved, cancelled, changed)
    first, second = text.split("BEGIN:VEVENT")[2:]
    assert "RECURRENCE-ID;TZID=Europe/Madrid:20260109T220000" in first
    assert "DTSTART;TZID=Europe/Madrid:20260108T210000" in first
    assert "DURATION:PT2H" in first
    assert "RECURRENCE-ID;TZID=Europe/Madrid:20260116T220000" in second
    assert "STATUS:CANCELLED" in second
    assert len(set(lines(text, "UID"))) == 1
    (entry,) = read(text)
    assert [(each.original_start, each.status, each.cancel_reason) for each in entry.overrides] == [
        (datetime(2026, 1, 9, 22), "scheduled", None),
        (datetime(2026, 1, 16, 22), "cancelled", "ill"),
    ]
    assert (entry.overrides[0].starts_at, entry.overrides[0].ends_at) == (moved.starts_at, moved.ends_at)


def test_a_decision_outlasts_an_exclusion_and_the_rule() -> None:
    """A slot that somebody moved is there although its day is excluded, or the rule has it no more."""
    moment = datetime(2026, 1, 8, 20, tzinfo=UTC)
    times: dict[str, Any] = {"starts_at": moment, "ends_at": moment + timedelta(hours=1)}
    excluded = Override(original_start=datetime(2026, 1, 9, 22), **times)
    stray = Override(original_start=datetime(2026, 1, 7, 22), **times)
    text = ics(spec(exdates=(date(2026, 1, 9),)), excluded, stray)
    assert not lines(text, "EXDATE")
    assert "UID:series-1-20260107T2200@flask-rollingslots" in text


def test_a_segment_ends_and_a_shift_shows() -> None:
    """Segment bounds cut the rule, UIDs of later segments differ, and the times are those that are shown."""
    text = ics(
        spec(
            id=4,
            active_from=datetime(2026, 1, 9, 22),
            active_until=datetime(2026, 1, 23, 22),
            shift=timedelta(days=1, hours=-2),
        )
    )
    assert lines(text, "UID") == ["UID:series-1-4@flask-rollingslots"]
    assert "DTSTART;TZID=Europe/Madrid:20260110T200000" in text
    assert "BYDAY=SA" in text
    assert "UNTIL=20260117T190000Z" in text


def test_an_injected_line_stays_within_its_text() -> None:
    """Line breaks of every kind in a name are text, control characters are dropped; a name that is read has none."""
    name = "a\r\nBEGIN:VEVENT\rX:1\u2028Y:2\x85Z\x00;\\,\x1b[2J"
    content = ics_bytes([StoredTemplate(spec(name=name), NOW)], NOW)
    unfolded = content.decode().replace("\r\n ", "")
    assert len(lines("\n".join(unfolded.splitlines()), "SUMMARY")) == 1
    assert unfolded.count("\nBEGIN:VEVENT") == 1
    assert read(content)[0].fields["name"] == "a BEGIN:VEVENT X:1 Y:2 Z;\\,[2J"
    assert max(len(line) for line in content.split(b"\r\n")) <= 75


def test_only_one_of_two_starts_on_one_instant() -> None:
    """When the clocks go forward 02:00 and 03:00 are one instant; programs see it once, as visitors do."""
    grid = spec(
        rrule="FREQ=DAILY", dtstart=datetime(2026, 3, 1, 1), every=timedelta(hours=1), until_time=time(5)
    )
    morning = Window(datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC))
    found = [moment for entry in read(ics(grid)) for moment in instants([entry], morning)]
    assert sorted(found) == sorted(offered(grid, morning))
    assert len(found) == 3


def test_inactive_templates_are_left_out() -> None:
    """An inactive template offers nothing."""
    assert "VEVENT" not in ics(spec(active=False))


@pytest.mark.parametrize("timezone", ["UTC", "Etc/UTC"])
def test_utc_needs_no_zone(timezone: str) -> None:
    """Times in UTC end with Z, without a VTIMEZONE."""
    text = ics(spec(timezone=timezone))
    assert "DTSTART:20260102T220000Z" in text
    assert "VTIMEZONE" not in text


@pytest.mark.parametrize(
    "name", ["Europe/Madrid", "America/New_York", "Africa/Casablanca", "Asia/Jerusalem", "Asia/Tokyo"]
)
def test_vtimezone_is_right_for_ever(name: str) -> None:
    """A program that knows nothing but the VTIMEZONE finds the right offset, before and after 2038."""
    made = icalendar.Timezone.from_ical(timezone_component(name, 2005))
    zone, read_zone = ZoneInfo(name), made.to_tz(lookup_tzid=False)
    for hours in range(0, 24 * 365 * 80, 511):
        wall = datetime(2006, 1, 1, 0, 30) + timedelta(hours=hours)
        if zone.utcoffset(wall) == zone.utcoffset(wall.replace(fold=1)):
            assert read_zone.utcoffset(wall) == zone.utcoffset(wall), wall


def test_vtimezone_onsets_are_on_the_clock_before() -> None:
    """Summer time begins at 02:00 by the clock that still shows winter, and has a rule without end."""
    text = timezone_component("Europe/Madrid", 2026).decode()
    assert lines(text, "DTSTART")[1:] == ["DTSTART:20260329T020000", "DTSTART:20261025T030000"]
    assert [sorted(line[6:].split(";")) for line in lines(text, "RRULE")] == [
        ["BYDAY=-1SU", "BYMONTH=3", "FREQ=YEARLY"],
        ["BYDAY=-1SU", "BYMONTH=10", "FREQ=YEARLY"],
    ]
    assert not lines(text, "RDATE")


def test_the_zones_of_a_file_come_first_and_once() -> None:
    """Each zone that is named has one VTIMEZONE, before the events."""
    outs = [
        StoredTemplate(spec(id=n, timezone=zone), NOW)
        for n, zone in enumerate(["Asia/Tokyo", "Europe/Madrid", "Asia/Tokyo"])
    ]
    text = ics_bytes(outs, NOW).decode()
    assert lines(text, "TZID") == ["TZID:Asia/Tokyo", "TZID:Europe/Madrid"]
    assert text.index("BEGIN:VEVENT") > text.rindex("END:VTIMEZONE")


any_rule = given(
    st.one_of(rules("YEARLY MONTHLY WEEKLY DAILY"), difficult_rules()),
    starts(2025, 2026),
    ENDS,
    st.sampled_from([0, 1, 30, 200]),
    st.sampled_from(["Europe/Madrid", "America/New_York", "UTC"]),
)


@any_rule
@settings(max_examples=60)
def test_rule_to_ics_and_back(rrule: str, dtstart: datetime, end: str, days: int, zone: str) -> None:
    """Any rule with any end, extra and excluded dates comes back with the same occurrences."""
    extra = (dtstart + timedelta(days=days), dtstart + timedelta(days=45, hours=1))
    template = spec(
        rrule=rrule + end,
        dtstart=dtstart,
        timezone=zone,
        rdates=extra,
        exdates=(dtstart, (dtstart + timedelta(days=days)).date(), extra[1]) if days else (),
    )
    text = ics(template)
    entries = read(text) if "VEVENT" in text else []
    assert instants(entries) == offered(template)


@pytest.mark.slow
@any_rule
@settings(max_examples=4000)
def test_very_many_rules_to_ics_and_back(
    rrule: str, dtstart: datetime, end: str, days: int, zone: str
) -> None:
    """The same with very many rules."""
    test_rule_to_ics_and_back.hypothesis.inner_test(rrule, dtstart, end, days, zone)


any_grid = given(
    rules("WEEKLY DAILY", setpos=False).filter(lambda rule: "BYM" not in rule and "BYH" not in rule),
    starts(2025, 2026),
    ENDS,
    st.integers(1, 30),
    st.integers(-60, 60),
    st.booleans(),
    st.integers(0, 400),
)


@any_grid
@settings(max_examples=50)
def test_grid_shift_and_segment_to_ics_and_back(
    rrule: str, dtstart: datetime, end: str, halves: int, shift: int, is_grid: bool, days: int
) -> None:
    """So do day grids past midnight, shifted series, and segments cut anywhere."""
    length = timedelta(minutes=30 * halves)
    cut = dtstart + timedelta(days=days, hours=7)
    template = spec(
        rrule=rrule + end,
        dtstart=dtstart,
        duration=timedelta(minutes=30),
        every=timedelta(minutes=90) if is_grid else None,
        until_time=(dtstart + length).time() if is_grid else None,
        shift=timedelta(hours=shift),
        exdates=((dtstart + timedelta(days=3)).date(), dtstart + timedelta(days=7)),
        active_from=cut if days % 2 else None,
        active_until=None if days % 2 else cut,
    )
    text = ics(template, now=WINDOW.start)
    entries = read(text) if "VEVENT" in text else []
    assert instants(entries) == offered(template)


@pytest.mark.slow
@any_grid
@settings(max_examples=4000)
def test_very_many_grids_to_ics_and_back(
    rrule: str, dtstart: datetime, end: str, halves: int, shift: int, is_grid: bool, days: int
) -> None:
    """The same with very many grids and segments."""
    test_grid_shift_and_segment_to_ics_and_back.hypothesis.inner_test(
        rrule, dtstart, end, halves, shift, is_grid, days
    )


NIGHT: dict[str, Any] = {
    "rrule": "FREQ=DAILY",
    "dtstart": datetime(2026, 1, 1, 22),
    "duration": timedelta(hours=8),
}


def test_a_night_of_another_length_is_an_override() -> None:
    """Programs keep lengths exact: nights on which the clocks change have an end of their own, for two years."""
    text = ics(spec(**NIGHT))
    parts = text.split("BEGIN:VEVENT")[2:]
    found = {(lines(part, "RECURRENCE-ID")[0][-15:], lines(part, "DURATION")[0]) for part in parts}
    assert found == {
        ("20260328T220000", "DURATION:PT7H"),
        ("20261024T220000", "DURATION:PT9H"),
        ("20270327T220000", "DURATION:PT7H"),
        ("20271030T220000", "DURATION:PT9H"),
    }
    assert len(parts) == 4
    (entry,) = read(text)
    assert entry.overrides[0].ends_at == datetime(2026, 3, 29, 4, tzinfo=UTC)


def test_a_decision_has_the_last_word_about_its_night() -> None:
    """A slot that a person changed is written as it is, once; a cancelled one stays cancelled."""
    cancelled = Override(original_start=datetime(2026, 3, 28, 22), status="cancelled")
    text = ics(spec(**NIGHT), cancelled)
    assert len(lines(text, "RECURRENCE-ID")) == 4
    assert text.count("STATUS:CANCELLED") == 1


def test_exact_lengths_need_no_override() -> None:
    """``ends_by="elapsed"`` is what iCalendar says anyway, and so is a slot that no change touches."""
    assert not lines(ics(spec(**NIGHT, ends_by="elapsed")), "RECURRENCE-ID")
    assert not lines(ics(spec(**NIGHT, timezone="UTC")), "RECURRENCE-ID")
    assert not lines(ics(spec()), "RECURRENCE-ID")


def test_what_a_clock_change_leaves_out_is_an_exdate() -> None:
    """A slot from 02:30 for half an hour has no place on the night that skips the hour."""
    half = spec(rrule="FREQ=DAILY", dtstart=datetime(2026, 1, 1, 2, 30), duration=timedelta(minutes=30))
    text = ics(half)
    assert lines(text, "EXDATE") == ["EXDATE;TZID=Europe/Madrid:20260329T023000,20270328T023000"]
    assert instants(read(text)) == offered(half)


@pytest.mark.parametrize("zone", ["Europe/Madrid", "Australia/Lord_Howe", "Antarctica/Troll"])
@pytest.mark.parametrize("hours", [1, 2, 3])
def test_a_day_in_slots_is_read_with_its_ends(zone: str, hours: int) -> None:
    """Start and end of each slot of a grid around the clock, on nights of a change, are what the library offers."""
    step = timedelta(hours=hours)
    day = spec(
        rrule="FREQ=DAILY",
        dtstart=datetime(2026, 1, 1),
        duration=step,
        every=step,
        until_time=time(0),
        timezone=zone,
    )
    entries, found = read(ics(day)), set()
    for entry in entries:
        moved = {each.starts_at: each.ends_at for each in entry.overrides}
        for starts_at in instants([entry]):
            found.add((starts_at, moved.get(starts_at, starts_at + entry.fields["duration"])))
    window = Window(datetime(2026, 1, 6, tzinfo=UTC), WINDOW.end)
    slots = {(slot.starts_at, slot.ends_at) for slot in planning.planned(day, window)}
    assert {pair for pair in found if pair[0] >= window.start} == slots
