"""Where no clocks change, starts and all other times follow by addition: the same as slot by slot, in every zone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_rollingslots import planning
from flask_rollingslots.errors import TooCostly
from flask_rollingslots.filling.expansion import Expansion, expand, text_writer
from flask_rollingslots.recurrence import Recurrence
from flask_rollingslots.recurrence.zones import steady_spans
from flask_rollingslots.values import Steps, TemplateSpec, Times, Window

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: Zones with gaps of half an hour, two hours and a whole day, with seconds, with no winter, with changes for Ramadan.
ZONES = (
    "Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Beirut", "Pacific/Apia",
    "Africa/Casablanca", "America/Santiago", "Europe/Dublin", "Asia/Gaza", "Africa/Monrovia", "Asia/Kathmandu", "UTC",
)  # fmt: skip
RULES = (
    "FREQ=DAILY", "FREQ=DAILY;INTERVAL=3", "FREQ=WEEKLY;BYDAY=MO,SA,SU", "FREQ=MONTHLY;BYMONTHDAY=29,30,31",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU;WKST=SU", "FREQ=DAILY;COUNT=9", "FREQ=DAILY;UNTIL={until}", None,
)  # fmt: skip
#: Rules with several starts a day; not beside a day grid.
OFTEN = (
    "FREQ=HOURLY", "FREQ=HOURLY;INTERVAL=2;BYMINUTE=10,40", "FREQ=HOURLY;INTERVAL=5", "FREQ=HOURLY;BYHOUR=1,2,3,23",
    "FREQ=HOURLY;BYDAY=SU", "FREQ=HOURLY;COUNT=50", "FREQ=HOURLY;UNTIL={until}",
    "FREQ=HOURLY;BYMINUTE=0,30;BYSETPOS=-1", "FREQ=DAILY;BYHOUR=0,2,3;BYMINUTE=0,30",
)  # fmt: skip
#: When slots open, and when they close: some time before the start, or at a local time some grid days before.
OPENS: tuple[dict[str, Any], ...] = (
    {}, {"opens_before": HOUR}, {"opens_before": timedelta(days=3, microseconds=5)}, {"opens_days_before": 0},
    {"opens_days_before": 1, "opens_time": time(2, 30)}, {"opens_days_before": 200, "opens_time": time(23, 59)},
)  # fmt: skip
CLOSES: tuple[dict[str, Any], ...] = (
    {}, {"closes_before": HOUR}, {"closes_before": -HOUR}, {"closes_before": -30 * DAY}, {"closes_days_before": 1},
    {"closes_days_before": 0, "closes_time": time(12)}, {"closes_days_before": 30, "closes_time": time(2, 30)},
)  # fmt: skip
minutes = st.integers(-3000, 3000).map(lambda number: number * MINUTE)


@st.composite
def templates(draw: st.DrawFn) -> tuple[TemplateSpec, Window]:
    """A template near a change of its clocks, or not, and a window of some days."""
    zone = draw(st.sampled_from(ZONES))
    moment = datetime(draw(st.sampled_from((1919, 1972, 2011, 2026, 2037))), 1, 1, tzinfo=UTC)
    moment += draw(st.integers(0, 366 * 24)) * HOUR
    if draw(st.booleans()):  # to the next change
        spans = steady_spans(ZoneInfo(zone), moment, moment + 300 * DAY, DAY)
        moment = next((start for start, _, offset in spans if offset is None), moment) + draw(minutes)
    fields: dict[str, Any] = {"timezone": zone, "duration": draw(st.integers(1, 240)) * 15 * MINUTE}
    begin = moment.replace(tzinfo=None, minute=draw(st.sampled_from((0, 7, 30))))
    fields["dtstart"] = begin - draw(st.integers(-2, 40)) * DAY - draw(st.integers(0, 23)) * HOUR
    if draw(st.booleans()):
        fields["every"] = draw(st.sampled_from((15, 60, 95))) * MINUTE
        fields["duration"] = draw(st.sampled_from((15, 60, 120))) * MINUTE
        fields["until_time"] = (
            fields["dtstart"] + fields["duration"] + draw(st.integers(0, 21)) * HOUR
        ).time()
    rule = draw(st.sampled_from(RULES if "every" in fields else RULES + OFTEN))
    until = draw(
        st.sampled_from((f"{begin + DAY:%Y%m%d}", f"{begin + DAY:%Y%m%dT%H%M%SZ}", f"{begin:%Y%m%dT%H%M%S}"))
    )
    fields["rrule"] = rule and rule.format(until=until)
    fields |= draw(st.fixed_dictionaries({}, optional=_options(begin)))
    fields |= draw(st.sampled_from(OPENS)) | draw(st.sampled_from(CLOSES))
    start = moment - draw(st.integers(0, 5 * 24 * 60)) * MINUTE
    plain = {"id": 1, "series_id": 1, "revision": 1, "name": "Hall", "group": None, "active": True}
    return TemplateSpec(**plain, **fields), Window(start, start + draw(st.integers(1, 8 * 24 * 60)) * MINUTE)


def _options(begin: datetime) -> dict[str, st.SearchStrategy[Any]]:
    """What else a template may say, around a naive time."""
    days = st.integers(-4, 4).map(lambda number: begin.date() + number * DAY)
    moments = st.integers(-100, 100).map(lambda number: begin.replace(minute=0) + number * HOUR)
    return {
        "ends_by": st.just("elapsed"),
        "overlapping": st.booleans(),
        "shift": st.sampled_from((HOUR, -3 * HOUR, 26 * HOUR, timedelta(minutes=-7))),
        "exdates": st.lists(st.one_of(days, moments), max_size=3).map(tuple),
        "rdates": st.lists(moments, max_size=3).map(tuple),
        "blackouts": st.lists(days.map(lambda day: (day, day + DAY)), max_size=2).map(tuple),
        "holidays": st.just("ES"),
        "active_from": moments,
        "active_until": moments,
        "cancelled_from": moments,
    }


@settings(max_examples=200, deadline=None)
@given(templates())
def test_a_lattice_holds_what_its_rule_yields(drawn: tuple[TemplateSpec, Window]) -> None:
    """Firsts and distances give the original starts of a span on the wall: near a change of the clocks too."""
    spec, window = drawn
    recurrence, start, end = (
        planning.recurrence_of(spec),
        *(each.replace(tzinfo=None) for each in (window.start, window.end)),
    )
    firsts, distances, lower, upper = recurrence.lattice(start, end)
    found = [first + distance for first in firsts for distance in distances]
    assert [each for each in found if lower <= each < upper] == list(recurrence.originals(start, end))


def test_until_on_the_night_of_a_change() -> None:
    """An UNTIL that two wall clock times may name ends an hourly rule at its instant, not at the later name."""
    night = datetime(2026, 10, 25)
    recurrence = Recurrence("FREQ=HOURLY;UNTIL=20261025T013000Z", night, "Europe/Madrid")
    lattice = recurrence.lattice(night, night + DAY)
    starts = [original for original, _ in lattice.shown(timedelta(0))]
    assert starts == list(recurrence.originals(night, night + DAY)) == [night, night + HOUR, night + 2 * HOUR]


def slowly(spec: TemplateSpec, window: Window) -> list[tuple[datetime, datetime, str | None]]:
    """Return what is promised as it is told where clocks change: each start looked up in its zone."""
    return list(planning.promised_near(spec, planning.life_of(spec, window), planning.exclusions(spec)))


@settings(max_examples=300, deadline=None)
@given(templates())
def test_what_is_promised(drawn: tuple[TemplateSpec, Window]) -> None:
    """By addition a window promises the same starts, in the same order and with the same reasons, as one by one."""
    spec, window = drawn
    assert list(planning.promised_starts(spec, window)) == slowly(spec, window)


@settings(max_examples=300, deadline=None)
@given(templates())
def test_times_of_new_slots(drawn: tuple[TemplateSpec, Window]) -> None:
    """An expansion's ends, openings and closings, and what it leaves out, are those that each slot has alone."""
    spec, window = drawn
    found, zone = expand(spec, window), ZoneInfo(spec.timezone)
    expected = slowly(spec, window)
    times = [
        planning.times_of(spec, original, start, zone)
        for original, start, reason in expected
        if reason is None
    ]
    assert list(found.times) == times
    assert +found.skipped == planning_counts(expected)
    assert all(found.started(each.starts_at) == place + 1 for place, each in enumerate(times))
    if times:
        assert found.bounds() == (min(times).original_start, max(times).original_start)


def planning_counts(promised: list[tuple[datetime, datetime, str | None]]) -> dict[str, int]:
    """Count the reasons."""
    reasons = [reason for _, _, reason in promised if reason is not None]
    return {reason: reasons.count(reason) for reason in reasons}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.integers(1900, 2040),
    st.integers(0, 8784),
    st.integers(0, 4000),
    st.integers(0, 900),
)
def test_a_steady_span_is_steady(name: str, year: int, begin: int, length: int, reach: int) -> None:
    """The parts cover the span without a hole, and in a steady one no offset is another one, as far as was asked."""
    zone, start = ZoneInfo(name), datetime(year, 1, 1, tzinfo=UTC) + begin * HOUR
    end = start + length * HOUR
    spans = list(steady_spans(zone, start, end, reach * HOUR))
    assert [each[0] for each in spans] + [end] == [start] + [each[1] for each in spans]
    for first, last, offset in spans:
        assert first < last
        moment = first - reach * HOUR
        while offset is not None and moment < last + reach * HOUR:
            assert moment.astimezone(zone).utcoffset() == offset
            moment += 7 * HOUR


def test_an_ordinary_week_looks_at_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a week without a change of the clocks no start is looked up in the zone, and no end."""
    spec, _ = ordinary()
    for name in ("promised_near", "times_of", "end_of"):
        monkeypatch.setattr(planning, name, None)
    found = expand(spec, Window(datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 8, tzinfo=UTC)))
    assert len(found) == 7 * 14
    assert len(found.times) == 7 * 14


def ordinary() -> tuple[TemplateSpec, Window]:
    """Return a template with a day grid, and a week."""
    spec = TemplateSpec(
        1, 1, 1, "Hall", None, True, "FREQ=DAILY", datetime(2025, 1, 1, 8), "Europe/Madrid", HOUR,
        every=HOUR, until_time=time(22), opens_days_before=3, closes_before=HOUR,
    )  # fmt: skip
    return spec, Window(datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 8, tzinfo=UTC))


def test_steps_are_counted() -> None:
    """What a steady part promises counts as steps, in a reader and in a fill."""
    spec, window = ordinary()
    for look in (
        lambda steps: list(planning.promised_starts(spec, window, steps)),
        lambda steps: expand(spec, window, steps),
    ):
        steps = Steps(100)
        look(steps)
        assert steps.used == 98
        with pytest.raises(TooCostly):
            look(Steps(97))


def test_at_the_ends_of_the_calendar() -> None:
    """Where a sum could leave the calendar, each start is looked at alone: a length of centuries, the year 9999."""
    spec, window = ordinary()
    for odd, span in (
        (replace(spec, opens_days_before=None, opens_before=365 * 900 * DAY), window),
        (spec, Window(datetime(9999, 12, 20, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))),
        (spec, Window(window.start, window.start + 500 * DAY)),
    ):
        assert list(planning.promised_parts(odd, span)) == [planning.life_of(odd, span)]
        assert list(planning.promised_starts(odd, span)) == slowly(odd, span)


@given(st.datetimes(), st.booleans())
def test_texts_of_times(moment: datetime, is_long: bool) -> None:
    """A text put together from those of its day and its time is what a datetime writes."""
    slot = Times(moment, *[moment.replace(tzinfo=UTC)] * 4)
    micros = Expansion.of([slot]).columns.original_start[0]
    expected = moment.isoformat(" ", "microseconds" if is_long else "auto")
    assert text_writer(is_long)([micros, None]) == [expected, None]
    assert Expansion.of([slot]).times == (slot,)


def test_a_segment_is_cut_within_a_steady_part() -> None:
    """A segment's bounds hold to the minute, though its whole lattice is known."""
    spec, window = ordinary()
    cut = replace(spec, active_from=datetime(2026, 6, 2, 9), active_until=datetime(2026, 6, 3, 10))
    found = [each.original_start for each in expand(cut, window).times]
    assert (found[0], found[-1], len(found)) == (datetime(2026, 6, 2, 9), datetime(2026, 6, 3, 9), 15)
