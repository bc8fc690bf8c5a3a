"""Input by people who mean no good, or who hit the wrong key."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from dateutil.rrule import rrule
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_rollingslots.errors import InvalidRule
from flask_rollingslots.recurrence import Recurrence, expand
from flask_rollingslots.recurrence.expand import BARREN, DaySource

START = datetime(2026, 2, 1, 9)
EARLIEST, LATEST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)


@pytest.mark.parametrize(
    ("rrule", "part"),
    [
        ("", "rrule"),
        ("  ", "rrule"),
        (";", "rrule"),
        ("FREQ", "rrule"),
        ("FREQ=", "FREQ"),
        ("COUNT=5", "FREQ"),
        ("FREQ=FORTNIGHTLY", "FREQ"),
        ("FREQ=SECONDLY", "FREQ"),
        ("FREQ=MINUTELY;INTERVAL=15", "FREQ"),
        ("FREQ=DAILY;;COUNT=1", "rrule"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=1.5", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=99999999999999999999", "INTERVAL"),
        ("FREQ=DAILY;INTERVAL=", "INTERVAL"),
        ("FREQ=DAILY;COUNT=0", "COUNT"),
        ("FREQ=DAILY;COUNT=1;COUNT=2", "COUNT"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20270101", "COUNT"),
        ("FREQ=DAILY;COUNT=\u0663", "rrule"),
        ("FREQ=DAILY;UNTIL=2026-01-01", "UNTIL"),
        ("FREQ=DAILY;UNTIL=20261301", "UNTIL"),
        ("FREQ=DAILY;UNTIL=00000101", "UNTIL"),
        ("FREQ=DAILY;UNTIL=20260101T250000", "UNTIL"),
        ("FREQ=DAILY;UNTIL=20260101T240000", "UNTIL"),
        ("FREQ=DAILY;UNTIL=20260101T120000+0100", "UNTIL"),
        ("FREQ=DAILY;WKST=XX", "WKST"),
        ("FREQ=DAILY;BYDAY=", "BYDAY"),
        ("FREQ=DAILY;BYDAY=MONDAY", "BYDAY"),
        ("FREQ=WEEKLY;BYDAY=2MO", "BYDAY"),
        ("FREQ=HOURLY;BYDAY=1MO", "BYDAY"),
        ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY"),
        ("FREQ=MONTHLY;BYDAY=54MO", "BYDAY"),
        ("FREQ=YEARLY;BYWEEKNO=3;BYDAY=1MO", "BYDAY"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY"),
        ("FREQ=YEARLY;BYYEARDAY=390", "BYYEARDAY"),
        ("FREQ=DAILY;BYYEARDAY=1", "BYYEARDAY"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO"),
        ("FREQ=YEARLY;BYWEEKNO=54", "BYWEEKNO"),
        ("FREQ=DAILY;BYMONTH=13", "BYMONTH"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR"),
        ("FREQ=DAILY;BYHOUR=-1", "BYHOUR"),
        ("FREQ=DAILY;BYHOUR= 9", "BYHOUR"),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS"),
        ("FREQ=MONTHLY;BYDAY=TU;BYSETPOS=0", "BYSETPOS"),
        ("FREQ=DAILY;FOO=1", "FOO"),
        ("RSCALE=GREGORIAN;FREQ=DAILY", "RSCALE"),
        ("FREQ=MONTHLY;SKIP=FORWARD", "SKIP"),
        ("FREQ=DAILY\nEXDATE:20260101T090000", "rrule"),
        ("EXDATE:20260101T090000", "rrule"),
        ("DTSTART:20260101T090000\nRRULE:FREQ=DAILY", "rrule"),
        ("FREQ=DAILY;COUNT=" + "9" * 10_240, "rrule"),
        ("FREQ=DAILY;BYHOUR=" + "9," * 5_000, "rrule"),
        ("\x00", "rrule"),
        (5, "rrule"),
        (b"FREQ=DAILY", "rrule"),
        (True, "rrule"),
    ],
)
def test_invalid_rules_are_refused_by_name(rrule: Any, part: str) -> None:
    """The refusal names the part, carries the value, says what is expected, and is short."""
    with pytest.raises(InvalidRule) as refusal:
        Recurrence(rrule, START, "UTC")
    error: Any = refusal.value
    assert error.part == part
    assert error.expected
    assert hasattr(error, "value")
    assert str(error).startswith(part)
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "rrule",
    [
        "RRULE:FREQ=DAILY",
        "rrule:freq=daily",
        "FREQ=DAILY;",
        " FREQ=DAILY ",
        "FREQ=DAILY;BYSECOND=60;BYHOUR=9,9,+9",
    ],
)
def test_harmless_variants_are_read(rrule: str) -> None:
    """A prefix, a final semicolon, small letters, a leap second and repeated values are no reason to refuse."""
    first = Recurrence(rrule, START, "UTC").first()
    assert first is not None
    assert first.original_start.replace(second=0) == START


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"timezone": "Europe"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"timezone": "Europe/Madrid\0"}, "timezone"),
        ({"timezone": 5}, "timezone"),
        ({"dtstart": date(2026, 1, 1)}, "dtstart"),
        ({"dtstart": datetime(2026, 1, 1, tzinfo=UTC)}, "dtstart"),
        ({"dtstart": "2026-01-01"}, "dtstart"),
        ({"gap": "jump"}, "gap"),
        ({"rdates": "2026-01-01"}, "rdates"),
        ({"rdates": [5]}, "rdates"),
        ({"exdates": ["2026-01-01"]}, "exdates"),
        ({"shift": 5}, "shift"),
    ],
)
def test_invalid_parameters_are_refused_by_name(changes: dict[str, Any], part: str) -> None:
    """Parameters of a wrong type or value are refused like parts of a rule."""
    fields: dict[str, Any] = {"rrule": "FREQ=DAILY", "dtstart": START, "timezone": "UTC"} | changes
    with pytest.raises(InvalidRule) as refusal:
        Recurrence(**fields)
    assert refusal.value.part == part  # type: ignore[attr-defined]


NEVER = [
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=31",
    "FREQ=MONTHLY;INTERVAL=2;BYMONTH=3",
    "FREQ=MONTHLY;BYDAY=6MO",
    "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6",
    "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2",
    "FREQ=WEEKLY;BYMONTH=2;BYDAY=MO;BYSETPOS=-2",
    "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
    "FREQ=DAILY;INTERVAL=14;BYDAY=MO;BYMONTH=1,2,3",
    "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=YEARLY;BYYEARDAY=60;BYMONTH=5",
    "FREQ=YEARLY;BYMONTH=1;BYDAY=53MO",
    "FREQ=YEARLY;BYMONTH=1;BYWEEKNO=30;BYDAY=MO",
    "FREQ=YEARLY;BYDAY=MO;BYSETPOS=60",
    "FREQ=YEARLY;BYYEARDAY=-366;BYMONTHDAY=2",
    "FREQ=HOURLY;INTERVAL=24;BYHOUR=5",
    "FREQ=HOURLY;INTERVAL=168;BYDAY=TU",
    "FREQ=DAILY;BYHOUR=1,2;BYSETPOS=3",
]


@pytest.mark.parametrize("rrule", NEVER)
def test_a_rule_that_never_matches_gives_nothing_within_the_bound(
    rrule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searching ends after the stated number of months, and a window costs only its own months."""
    looked = []
    within = DaySource.within

    def counted(self: DaySource, first: int, last: int) -> list[int]:
        looked.append(first)
        return within(self, first, last)

    monkeypatch.setattr(DaySource, "within", counted)
    recurrence = Recurrence(rrule, datetime(2025, 2, 2, 9), "UTC")
    assert list(recurrence.between(datetime(2426, 1, 1, tzinfo=UTC), datetime(2426, 1, 8, tzinfo=UTC))) == []
    assert len(looked) <= 12
    assert recurrence.after(datetime(2026, 1, 1, tzinfo=UTC), 5) == []
    assert len(looked) <= BARREN + 12
    counted_rule = Recurrence(f"{rrule};COUNT=3", datetime(2025, 2, 2, 9), "UTC")
    assert counted_rule.last() is None
    assert recurrence.first() is None


def test_dateutil_never_searches_beyond_the_month_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """dateutil compares with UNTIL only what it finds, so each question steps from its month out of the calendar."""
    asked: list[dict[str, Any]] = []

    def asking(freq: Any, **options: Any) -> rrule:
        asked.append(options)
        return rrule(freq, **options)

    monkeypatch.setattr(expand, "rrule", asking)
    expand.shared_source.cache_clear()
    recurrence = Recurrence("FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=31;BYYEARDAY=30", START, "UTC")
    assert recurrence.after(datetime(2026, 1, 1, tzinfo=UTC), 1) == []
    assert 0 < len(asked) <= 336
    assert all(START.year + options["interval"] // 12 > 9999 for options in asked)


ZONES = ["UTC", "America/New_York", "Pacific/Apia", "Pacific/Kiritimati"]
EXTREME_RULES = [
    "FREQ=DAILY",
    "FREQ=WEEKLY;BYDAY=MO,SU;WKST=WE",
    "FREQ=WEEKLY;BYDAY=MO,SU;BYSETPOS=-1;BYMONTH=1,12",
    "FREQ=MONTHLY;BYMONTHDAY=31",
    "FREQ=YEARLY",
    "FREQ=HOURLY;INTERVAL=5;BYDAY=FR",
    "FREQ=YEARLY;BYWEEKNO=1,53,-1;INTERVAL=3",
    "FREQ=YEARLY;BYDAY=-1FR",
    "FREQ=MONTHLY;BYDAY=FR;BYSETPOS=-1",
    "FREQ=DAILY;COUNT=1000000000",
    "FREQ=DAILY;INTERVAL=1000000000",
    "FREQ=DAILY;UNTIL=99991231",
    "FREQ=DAILY;UNTIL=99991231T235959Z",
    "FREQ=DAILY;UNTIL=00010101T000000Z",
    None,
]


@pytest.mark.parametrize("rrule", EXTREME_RULES)
@pytest.mark.parametrize(
    "dtstart", [EARLIEST, datetime(1, 1, 1, 23, 59), datetime(9999, 12, 1, 1), LATEST, START]
)
def test_the_years_1_and_9999_overflow_nowhere(rrule: str | None, dtstart: datetime) -> None:
    """Every question at the edges of the calendar has an answer."""
    for zone in ZONES:
        for moved in (0, 2, -2):
            recurrence = Recurrence(rrule, dtstart, zone, shift=timedelta(days=moved))
            ask_at_the_edges(recurrence)
            for cut in (EARLIEST, dtstart, datetime(9999, 12, 31), LATEST):
                recurrence.split(cut)


def ask_at_the_edges(recurrence: Recurrence) -> None:
    """Ask everything near the first and the last representable time."""
    for hours in (14, -12):
        place = timezone(timedelta(hours=hours))
        list(recurrence.between(datetime(9999, 12, 20, tzinfo=place), LATEST.replace(tzinfo=place)))
        list(recurrence.between(EARLIEST.replace(tzinfo=place), datetime(1, 1, 9, tzinfo=place)))
    for moment in (EARLIEST, datetime(9999, 12, 30), LATEST):
        recurrence.after(moment.replace(tzinfo=UTC), 3)
        recurrence.contains(moment)
    recurrence.first()
    recurrence.last()
    recurrence.describe()
    recurrence.to_json()


PIECES = st.sampled_from(
    ["FREQ=", "DAILY", "WEEKLY", "YEARLY", "HOURLY", ";", "INTERVAL=", "COUNT=", "UNTIL=", "BYDAY=", "BYMONTHDAY=",
     "BYSETPOS=", "BYWEEKNO=", "BYYEARDAY=", "BYHOUR=", "WKST=", "MO", "-1FR", "1", "0", "-1", "31", "366", ",", "=",
     "20260101", "T", "Z", "99999999", "\n", "RRULE:", "EXDATE:", "é", " "]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map("".join)))
@example("FREQ=DAILY;UNTIL=20260230")
@settings(max_examples=400)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever text is sent, the answer is a rule or InvalidRule, and a rule can be expanded."""
    try:
        recurrence = Recurrence(text, START, "Europe/Madrid")
    except InvalidRule:
        return
    list(recurrence.between(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 8, tzinfo=UTC)))
    assert str(recurrence.rule) == str(Recurrence(str(recurrence.rule), START, "UTC").rule)
