"""The JSON dialects, both ways."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rollingslots.errors import InvalidRule
from flask_rollingslots.recurrence import Recurrence, template_fields

from .strategies import rules, starts

MADRID = "Europe/Madrid"
START = datetime(2026, 1, 1, 9)


def read(value: Any, dtstart: datetime = START) -> Recurrence:
    """Read one dialect object."""
    return Recurrence.from_json(value, dtstart=dtstart, timezone=MADRID)


@pytest.mark.parametrize(
    ("value", "rrule"),
    [
        ({"type": "daily"}, "FREQ=DAILY"),
        ({"type": "monthly", "interval": 2, "count": 12}, "FREQ=MONTHLY;INTERVAL=2;COUNT=12"),
        ({"type": "yearly", "until_date": "2029-12-31"}, "FREQ=YEARLY;UNTIL=20291231"),
        ({"type": "weekly", "end": "never", "count": None, "until_date": None}, "FREQ=WEEKLY"),
        (
            {"enabled": True, "type": "monthly", "interval": 2, "count": 12},
            "FREQ=MONTHLY;INTERVAL=2;COUNT=12",
        ),
        ({"type": "weekly", "weekday": 4, "active": True}, "FREQ=WEEKLY;BYDAY=FR"),
        ({"type": "weekly", "weekdays": [2, 0, 2]}, "FREQ=WEEKLY;BYDAY=MO,WE"),
        ({"type": "monthly", "month_day": 1}, "FREQ=MONTHLY;BYMONTHDAY=1"),
        ({"type": "monthly", "month_day": -1}, "FREQ=MONTHLY;BYMONTHDAY=-1"),
        ({"type": "monthly", "weekday": 1, "week": 2}, "FREQ=MONTHLY;BYDAY=2TU"),
        ({"type": "monthly", "weekday": 4, "week": -1}, "FREQ=MONTHLY;BYDAY=-1FR"),
        ({"type": "monthly", "month_day": 1, "weekday": 5}, "FREQ=MONTHLY;BYMONTHDAY=1,2,3,4,5,6,7;BYDAY=SA"),
        ({"type": "biweekly", "weekday": 0}, "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO"),
        ({"type": "quarterly", "month_day": 15}, "FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=15"),
        ({"type": "rrule", "rrule": "FREQ=YEARLY;BYDAY=20MO"}, "FREQ=YEARLY;BYDAY=20MO"),
        ({"type": "rrule", "rrule": None}, None),
    ],
)
def test_objects_become_rules(value: dict[str, Any], rrule: str | None) -> None:
    """Each dialect object gives its rule."""
    assert read(value).rrule == rrule


def test_first_saturday_on_or_after_a_day() -> None:
    """month_day and weekday together mean the first such weekday on or after that day of the month."""
    found = list(
        read({"type": "monthly", "month_day": 10, "weekday": 5}).originals(START, datetime(2026, 4, 1))
    )
    assert [each.date() for each in found] == [date(2026, 1, 10), date(2026, 2, 14), date(2026, 3, 14)]


def test_start_and_end_time_become_dtstart_and_duration() -> None:
    """An end_time not later than start_time is on the next day; active is handed on when given."""
    value = {"type": "weekly", "weekday": 4, "start_time": "22:00", "end_time": "02:00", "active": False}
    assert template_fields(value, dtstart=date(2026, 1, 1), timezone=MADRID) == [
        {
            "rrule": "FREQ=WEEKLY;BYDAY=FR",
            "dtstart": datetime(2026, 1, 1, 22),
            "timezone": MADRID,
            "active": False,
            "duration": timedelta(hours=4),
        }
    ]


def test_an_end_time_equal_to_the_start_is_a_whole_day() -> None:
    """From 10:00 to 10:00 is until the next day, as with the day grid."""
    value = {"type": "daily", "start_time": "10:00", "end_time": "10:00"}
    assert template_fields(value, dtstart=START, timezone=MADRID)[0]["duration"] == timedelta(days=1)


def test_a_fixed_schedule_is_one_template_each() -> None:
    """A list of weekly entries gives one dict of template fields for each."""
    schedule = [
        {"weekday": 0, "start_time": "16:00", "end_time": "17:00"},
        {"weekday": 2, "start_time": "18:30", "end_time": "20:00"},
    ]
    found = template_fields(schedule, dtstart=START, timezone=MADRID)
    assert [(each["rrule"], each["dtstart"].time(), each["duration"]) for each in found] == [
        ("FREQ=WEEKLY;BYDAY=MO", time(16), timedelta(hours=1)),
        ("FREQ=WEEKLY;BYDAY=WE", time(18, 30), timedelta(minutes=90)),
    ]


def test_a_grid_in_json() -> None:
    """every and until_time give the day grid; the duration is one step unless it is given."""
    value = {"type": "daily", "start_time": "10:00", "every": 60, "until_time": "22:00"}
    recurrence = read(value)
    assert len(list(recurrence.originals(datetime(2026, 1, 2), datetime(2026, 1, 3)))) == 12
    assert read({**value, "duration": 30}).duration == timedelta(minutes=30)
    assert read({**value, "end_time": "10:45"}).duration == timedelta(minutes=45)


def test_start_date_replaces_a_missing_dtstart() -> None:
    """Without dtstart the object's start_date is the anchor; without both it is refused."""
    found = template_fields({"type": "daily", "start_date": "2026-02-03"}, dtstart=None, timezone=MADRID)
    assert found[0]["dtstart"] == datetime(2026, 2, 3)
    with pytest.raises(InvalidRule, match="dtstart"):
        template_fields({"type": "daily"}, dtstart=None, timezone=MADRID)


REFUSED: list[tuple[Any, str]] = [
    ({"type": "daily", "count": 3, "until_date": "2026-02-01"}, "count"),
    ({"type": "daily", "count": 3, "end": "never"}, "end"),
    ({"type": "daily", "until_date": "2026-02-01", "end": "never"}, "end"),
    ({"type": "daily", "end": "later"}, "end"),
    ({"type": "daily", "interval": 0}, "interval"),
    ({"type": "daily", "interval": True}, "interval"),
    ({"type": "daily", "interval": 1.0}, "interval"),
    ({"type": "daily", "interval": "2"}, "interval"),
    ({"type": "daily", "count": 0}, "count"),
    ({"type": "daily", "count": -1}, "count"),
    ({"type": "monthly", "month_day": 32}, "month_day"),
    ({"type": "monthly", "month_day": 0}, "month_day"),
    ({"type": "monthly", "month_day": 32, "weekday": 1}, "month_day"),
    ({"type": "weekly", "weekday": 7}, "weekday"),
    ({"type": "weekly", "weekday": True}, "weekday"),
    ({"type": "weekly", "weekday": "FR"}, "weekday"),
    ({"type": "weekly", "weekdays": []}, "weekdays"),
    ({"type": "weekly", "weekdays": 3}, "weekdays"),
    ({"type": "weekly", "weekdays": [7]}, "weekdays"),
    ({"type": "weekly", "weekday": 1, "weekdays": [1]}, "weekday"),
    ({"type": "monthly", "weekday": 1}, "week"),
    ({"type": "monthly", "weekday": 1, "week": 5}, "week"),
    ({"type": "monthly", "weekday": 1, "week": 2, "month_day": 3}, "week"),
    ({"type": "monthly", "week": 2}, "week"),
    ({"type": "daily", "weekday": 1}, "weekday"),
    ({"type": "biweekly", "interval": 3}, "interval"),
    ({"type": "rrule", "rrule": "FREQ=DAILY", "count": 3}, "count"),
    ({"type": "rrule", "rrule": "FREQ=DAILY;COUNT=3", "end": "never"}, "end"),
    ({"type": "rrule", "rrule": "FREQ=DAILY;INTERVAL=0"}, "INTERVAL"),
    ({"type": "rrule", "rrule": 5}, "rrule"),
    ({"type": "fortnightly"}, "type"),
    ({"type": None}, "type"),
    ({}, "type"),
    ({"type": ["daily"]}, "type"),
    ({"type": "daily", "intervall": 2}, "intervall"),
    ({"type": "daily", "enabled": False}, "enabled"),
    ({"type": "daily", "enabled": 1}, "enabled"),
    ({"type": "daily", "active": "yes"}, "active"),
    ({"type": "daily", "until_date": "2026-02-30"}, "until_date"),
    ({"type": "daily", "until_date": 20260201}, "until_date"),
    ({"type": "daily", "start_time": "25:00"}, "start_time"),
    ({"type": "daily", "start_time": "9"}, "start_time"),
    ({"type": "daily", "start_time": 9}, "start_time"),
    ({"type": "daily", "end_time": "10:00", "duration": 60}, "end_time"),
    ({"type": "daily", "every": 0, "until_time": "10:00"}, "every"),
    ({"type": "daily", "every": True, "until_time": "10:00"}, "every"),
    ({"type": "daily", "duration": -5}, "duration"),
    ({"type": "daily", "exdates": "2026-01-01"}, "exdates"),
    ({"type": "daily", "exdates": ["first of May"]}, "exdates"),
    ({"type": "daily", "gap": "jump"}, "gap"),
    ("daily", "recurrence"),
    (None, "recurrence"),
    ([{"type": "daily"}], "type"),
]


@pytest.mark.parametrize(("value", "part"), REFUSED)
def test_what_contradicts_itself_is_refused_by_name(value: Any, part: str) -> None:
    """The refusal names the field, carries the value and says what is expected."""
    with pytest.raises(InvalidRule) as refusal:
        read(value)
    error: Any = refusal.value
    assert error.part == part
    assert str(error).startswith(part)
    assert "expected" in str(error)
    assert error.expected


@pytest.mark.parametrize(
    "value",
    [
        [],
        "weekly",
        [5],
        [{"weekday": 0}],
        [{"start_time": "10:00"}],
        [{"type": "daily", "start_time": "10:00"}],
    ],
)
def test_a_fixed_schedule_with_wrong_entries_is_refused(value: Any) -> None:
    """Entries need a weekday and a start_time, and are weekly."""
    with pytest.raises(InvalidRule):
        template_fields(value, dtstart=START, timezone=MADRID)


def test_unknown_fields_and_types_name_the_nearest() -> None:
    """A typing error is answered with the name that was meant."""
    with pytest.raises(InvalidRule, match="Did you mean interval"):
        read({"type": "daily", "intervall": 2})
    with pytest.raises(InvalidRule, match="Did you mean weekly"):
        read({"type": "weekley"})
    with pytest.raises(InvalidRule, match="Did you mean INTERVAL"):
        Recurrence("FREQ=DAILY;INTERVALL=2", START, MADRID)


@pytest.mark.parametrize(
    ("rrule", "value"),
    [
        ("FREQ=WEEKLY;BYDAY=FR", {"type": "weekly", "interval": 1, "weekday": 4, "end": "never"}),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=5", {"type": "weekly", "interval": 2, "count": 5}),
        ("FREQ=DAILY;UNTIL=20260201", {"type": "daily", "interval": 1, "until_date": "2026-02-01"}),
        ("FREQ=DAILY;UNTIL=20260201T225959Z", {"type": "daily", "interval": 1, "until_date": "2026-02-01"}),
        (
            "FREQ=MONTHLY;BYDAY=-1FR",
            {"type": "monthly", "interval": 1, "week": -1, "weekday": 4, "end": "never"},
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=1,2,3,4,5,6,7;BYDAY=SA",
            {"type": "monthly", "interval": 1, "month_day": 1, "weekday": 5, "end": "never"},
        ),
        ("FREQ=MONTHLY;BYDAY=5FR", {"type": "rrule", "rrule": "FREQ=MONTHLY;BYDAY=5FR"}),
        (
            "FREQ=DAILY;UNTIL=20260201T120000Z",
            {"type": "rrule", "rrule": "FREQ=DAILY;UNTIL=20260201T120000Z"},
        ),
        (None, {"type": "rrule", "rrule": None}),
    ],
)
def test_rules_become_the_richest_object(rrule: str | None, value: dict[str, Any]) -> None:
    """to_json says it in the dialect where that is exact, else as RRULE text."""
    assert Recurrence(rrule, START, MADRID).to_json() == value


anything = given(
    rules(),
    starts(2020, 2030),
    st.sampled_from(["", ";COUNT=7", ";UNTIL=20320301", ";UNTIL=20320301T225959Z", ";UNTIL=20320301T101500"]),
    st.integers(-3 * 86400, 3 * 86400).map(lambda seconds: timedelta(seconds=seconds)),
)  # fmt: skip


@anything
@settings(max_examples=60)
def test_every_rule_survives_the_round_trip(
    rrule: str, dtstart: datetime, end: str, shift: timedelta
) -> None:
    """Any rule with dates, shift and gap, written as JSON and read again, is the same set."""
    check_round_trip(rrule, dtstart, end, shift)


@pytest.mark.slow
@anything
@settings(max_examples=4000)
def test_very_many_rules_survive_the_round_trip(
    rrule: str, dtstart: datetime, end: str, shift: timedelta
) -> None:
    """The same with very many rules."""
    check_round_trip(rrule, dtstart, end, shift)


def check_round_trip(rrule: str, dtstart: datetime, end: str, shift: timedelta) -> None:
    """Write a rule as JSON, read it again, and compare."""
    one = Recurrence(
        rrule + end,
        dtstart,
        MADRID,
        [dtstart + timedelta(hours=5)],
        [dtstart, date(2026, 3, 1)],
        "skip",
        shift=shift,
    )
    two = Recurrence.from_json(one.to_json(), dtstart=dtstart, timezone=MADRID)
    window = dtstart - timedelta(days=1), dtstart + timedelta(days=500)
    assert list(two.originals(*window)) == list(one.originals(*window))
    assert (two.rdates, two.exdates, two.gap, two.shift) == (one.rdates, one.exdates, one.gap, one.shift)
    assert two.is_forever == one.is_forever


def test_a_grid_survives_the_round_trip() -> None:
    """Length, step and end of the day come back."""
    grid = {
        "duration": timedelta(minutes=50),
        "every": timedelta(minutes=60, seconds=30),
        "until_time": time(22, 30),
    }
    one = Recurrence("FREQ=DAILY", START, MADRID, **grid)  # type: ignore[arg-type]
    assert Recurrence.from_json(one.to_json(), dtstart=START, timezone=MADRID) == one


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "type", "interval", "count", "until_date", "end", "enabled", "active", "start_time", "end_time", "weekday",
    "weekdays", "month_day", "week", "rrule", "every", "until_time", "duration", "rdates", "exdates", "gap", "shift",
]  # fmt: skip
TYPES = ["daily", "weekly", "monthly", "yearly", "biweekly", "quarterly", "rrule"]


@given(
    st.dictionaries(st.sampled_from(FIELDS), json_values | st.integers(-40, 40), max_size=5),
    st.sampled_from(TYPES),
)
@settings(max_examples=300)
def test_any_json_is_read_or_refused(value: dict[str, Any], kind: str) -> None:
    """Whatever is sent, the answer is a recurrence or InvalidRule, never another exception."""
    for candidate in (value, {**value, "type": kind}):
        try:
            recurrence = read(candidate)
        except InvalidRule:
            continue
        assert recurrence.describe()
        assert recurrence.to_json()["type"] in TYPES
        list(recurrence.originals(datetime(2026, 1, 1), datetime(2026, 1, 8)))


def test_a_fixed_schedule_gives_a_list() -> None:
    """A list of entries is read into one recurrence each; an entry alone is weekly without saying so."""
    entry = {"weekday": 0, "start_time": "16:00", "end_time": "17:00"}
    several = Recurrence.from_json([entry, {**entry, "weekday": 3}], datetime(2026, 1, 1), "UTC")
    assert [each.describe() for each in several] == ["every week on Monday", "every week on Thursday"]
    alone = Recurrence.from_json(entry, datetime(2026, 1, 1), "UTC")
    assert (alone.rrule, alone.duration) == (several[0].rrule, timedelta(hours=1))


def test_options_go_on_to_the_class() -> None:
    """``from_json`` takes the other arguments of the class as well."""
    rule = Recurrence.from_json(
        {"type": "daily"}, datetime(2026, 1, 1, 9), "UTC", exdates=[datetime(2026, 1, 2, 9)], gap="skip"
    )
    assert (len(rule.exdates), rule.gap) == (1, "skip")
