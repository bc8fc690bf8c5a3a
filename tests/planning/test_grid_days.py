"""Grid days: what a day grid has after midnight belongs to the day before; and moments that count from such days."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from helpers import Clock, Site

from flask_rollingslots import planning
from flask_rollingslots.filling.expansion import pattern_of
from flask_rollingslots.recurrence import Recurrence
from flask_rollingslots.values import TemplateSpec, Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = timedelta(hours=1)
ZONE = ZoneInfo("Europe/Madrid")
CHRISTMAS = date(2026, 12, 25)  # a Friday
#: Thursday and Friday nights, 20:00 to 02:00, hourly.
BAR: dict[str, Any] = {
    "name": "Bar",
    "rrule": "FREQ=WEEKLY;BYDAY=TH,FR",
    "dtstart": datetime(2026, 12, 3, 20),
    "timezone": "Europe/Madrid",
    "duration": HOUR,
    "every": HOUR,
    "until_time": time(2),
}
THURSDAY = ["24 20:00", "24 21:00", "24 22:00", "24 23:00", "25 00:00", "25 01:00"]
FRIDAY = ["25 20:00", "25 21:00", "25 22:00", "25 23:00", "26 00:00", "26 01:00"]


def spec(**fields: Any) -> TemplateSpec:
    """Return the bar as plain data."""
    plain: dict[str, Any] = {"id": 1, "series_id": 1, "revision": 1, "group": None, "active": True}
    return TemplateSpec(**{**plain, **BAR, **fields})


def shown(template: TemplateSpec) -> list[str]:
    """Return when the slots of Christmas's week start, as clocks show it."""
    window = Window.local_days(date(2026, 12, 22), date(2026, 12, 28), ZONE)
    return [f"{slot.starts_at.astimezone(ZONE):%d %H:%M}" for slot in planning.planned(template, window)]


@pytest.mark.parametrize(
    "closed",
    [
        {"exdates": (CHRISTMAS,)},
        {"blackouts": ((CHRISTMAS, CHRISTMAS),)},
        pytest.param(
            {"holidays": "ES"},
            marks=pytest.mark.skipif(find_spec("holidays") is None, reason="the package holidays is missing"),
        ),
    ],
    ids=lambda value: next(iter(value)),
)
def test_a_closed_day_is_a_whole_night(closed: dict[str, Any]) -> None:
    """Thursday's hours after midnight stay on sale; Friday's night is closed to its end."""
    assert shown(spec()) == THURSDAY + FRIDAY
    assert shown(spec(**closed)) == THURSDAY


def test_a_shifted_grid_has_the_days_that_are_shown() -> None:
    """An hour later, or ten hours: holidays and blackouts mean shown days, excluded days those of the rule."""
    for hours in (1, 3, 5):
        late = spec(shift=hours * HOUR, blackouts=((CHRISTMAS, CHRISTMAS),))
        begins = (datetime(2026, 12, 24, 20) + hours * HOUR).date()
        assert len(shown(late)) == 6
        assert shown(late)[0].startswith("24" if begins < CHRISTMAS else "26")
        assert len(shown(spec(shift=hours * HOUR, exdates=(CHRISTMAS,)))) == 6
    day = spec(dtstart=datetime(2026, 12, 3, 9), until_time=time(17), shift=10 * HOUR)
    assert planning.grid_day(day, datetime(2026, 12, 24, 16)) == date(
        2026, 12, 24
    )  # shown at 02:00 of the 25th


def test_extra_starts_beside_the_grid_have_their_own_day() -> None:
    """An extra date outside of the grid's hours belongs to the day on which it is; within them to the grid's."""
    assert planning.grid_day(spec(), datetime(2026, 12, 25, 12)) == CHRISTMAS
    assert planning.grid_day(spec(), datetime(2026, 12, 25, 1, 30)) == date(2026, 12, 24)
    assert planning.grid_day(spec(), datetime(2026, 12, 25, 2)) == CHRISTMAS
    whole = spec(until_time=time(20), every=2 * HOUR)
    assert planning.grid_day(whole, datetime(2026, 12, 25, 18)) == date(2026, 12, 24)
    extra = spec(rdates=(datetime(2026, 12, 25, 12),), exdates=(date(2026, 12, 24),))
    assert shown(extra) == ["25 12:00", *FRIDAY]


def test_a_moved_slot_belongs_to_the_night_it_was_moved_to() -> None:
    """A person's new start counts: past midnight within the grid it is still the same night."""
    original_start = datetime(2026, 12, 24, 23)
    for moved, day in ((datetime(2026, 12, 25, 0, 30), 24), (datetime(2026, 12, 26, 1), 25)):
        found = planning.grid_day(spec(), original_start, moved.replace(tzinfo=ZONE).astimezone(UTC))
        assert found == date(2026, 12, day)
    single = spec(every=None, until_time=None)
    assert planning.grid_day(single, datetime(2026, 12, 25, 0)) == CHRISTMAS


def test_the_recurrence_means_the_same_days() -> None:
    """An excluded day of a recurrence is a grid day, whichever window one asks for, and after it was split."""
    fields = {name: BAR[name] for name in ("rrule", "dtstart", "timezone", "duration", "every", "until_time")}
    bar = Recurrence(**fields, exdates=[CHRISTMAS])
    assert list(bar.originals(datetime(2026, 12, 26), datetime(2026, 12, 27))) == []
    thursday = list(bar.originals(datetime(2026, 12, 25), datetime(2026, 12, 26)))
    assert [each.hour for each in thursday] == [0, 1]
    span = (datetime(2026, 12, 1), datetime(2027, 1, 20))
    for cut in (datetime(2026, 12, 25, 0), datetime(2026, 12, 25, 23), datetime(2026, 12, 26, 0)):
        sides = [side for side in bar.split(cut) if side is not None]
        assert [each for side in sides for each in side.originals(*span)] == list(bar.originals(*span))


def test_templates_of_one_pattern_have_the_same_grid_days() -> None:
    """Whose anchors differ by weeks share an expansion, and their closed days."""
    window = Window.local_days(date(2026, 12, 22), date(2026, 12, 28), ZONE)
    early, late = (spec(dtstart=datetime(2026, month, 5, 20), exdates=(CHRISTMAS,)) for month in (3, 2))
    assert pattern_of(early, window) == pattern_of(late, window)
    assert shown(early) == shown(late) == THURSDAY


# -- opening and closing


def moment(day: int, *clock: int) -> datetime:
    """Return a time of December in Madrid, UTC."""
    return datetime(2026, 12, day, *clock, tzinfo=ZONE).astimezone(UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize("original_start", [datetime(2026, 12, 24, 21), datetime(2026, 12, 25, 1)])
def test_days_before_count_from_the_grid_day(original_start: datetime) -> None:
    """The same for a slot before midnight and one after it; midnight unless a time is given."""
    opens = {"opens_days_before": 2, "closes_days_before": 1}
    slot = planning.planned_at(spec(**opens), original_start)
    assert slot is not None
    assert (slot.opens_at, slot.closes_at) == (moment(22), moment(23))
    slot = planning.planned_at(spec(**opens, opens_time=time(9), closes_time=time(18)), original_start)
    assert slot is not None
    assert (slot.opens_at, slot.closes_at) == (moment(22, 9), moment(23, 18))


def test_a_cut_off_by_the_clock_is_never_after_the_start() -> None:
    """Until 22:00 of the day itself: for the slot of 21:00 until its start."""
    closes = spec(closes_days_before=0, closes_time=time(22))
    for hour, expected in ((21, 21), (23, 22)):
        slot = planning.planned_at(closes, datetime(2026, 12, 24, hour))
        assert slot is not None
        assert slot.closes_at == moment(24, expected)


def test_a_negative_notice_is_while_it_runs() -> None:
    """Twenty minutes into the slot; at most to its end."""
    for minutes, expected in ((20, 20), (60, 60), (300, 60)):
        slot = planning.planned_at(
            spec(closes_before=-timedelta(minutes=minutes)), datetime(2026, 12, 24, 21)
        )
        assert slot is not None
        assert slot.closes_at - slot.starts_at == timedelta(minutes=expected)


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site before Christmas."""
    site = Site(sqlite_url, tmp_path, Clock(moment(22, 12)))
    with site.app.app_context():
        yield site


def test_a_closed_night_through_the_doors(site: Site) -> None:
    """What was stored of the closed night goes, what was not is not shown, and it comes back whole."""
    template = site.add(**BAR)
    assert site.slots.generate().created == 12
    template.blackouts = [(CHRISTMAS, CHRISTMAS)]
    site.session.commit()
    report = site.slots.generate()
    assert (report.removed, report.skipped) == (6, {"blackout": 6})
    found = [f"{slot.starts_at.astimezone(ZONE):%d %H:%M}" for slot in site.week()]
    assert found == THURSDAY
    assert site.slots.explain(template.id, moment(26, 1)).code == "blackout"
    assert site.slots.explain(template.id, moment(25, 1)).code == "available"
    template.blackouts = []
    site.session.commit()
    assert site.slots.generate().created == 6


def test_a_longer_slot_stays_open_to_its_own_end(site: Site) -> None:
    """Where people may join while it runs, an edit of one slot's length moves its cut-off too."""
    site.add(**{**BAR, "closes_before": -5 * HOUR, "opens_days_before": 1, "opens_time": time(12)})
    site.slots.generate()
    key = "1@20261225T0000"
    slot = site.slots.get(key)
    assert (slot.opens_at, slot.closes_at) == (moment(23, 12), moment(25, 1))
    site.slots.edit(key, "this", duration=2 * HOUR)
    assert site.slots.get(key).closes_at == moment(25, 2)
