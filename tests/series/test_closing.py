"""Days off for a series, a group or all, what they tell, and how they are taken back; and days that are cancelled."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, Site

from flask_rollingslots import signals
from flask_rollingslots.errors import InvalidRequest, SlotClosed, SlotNotFound, TemplateNotFound
from flask_rollingslots.planning import grid_day
from flask_rollingslots.recurrence.days_off import joined_days
from flask_rollingslots.series.closing import with_days, without_days

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = (date(2026, 1, day) for day in (6, 7, 8, 9))
#: Thursday and Friday from 20:00 to 02:00, an hour each.
BAR: dict[str, Any] = {
    "name": "Bar",
    "rrule": "FREQ=WEEKLY;BYDAY=TH,FR",
    "dtstart": datetime(2026, 1, 1, 20),
    "until_time": time(2),
}
NIGHT = ["0108T2000", "0108T2100", "0108T2200", "0108T2300", "0109T0000", "0109T0100"]
NEXT_NIGHT = ["0109T2000", "0109T2100", "0109T2200", "0109T2300", "0110T0000", "0110T0100"]


def days(*numbers: tuple[int, int]) -> list[tuple[date, date]]:
    """Return ranges of days in March."""
    return [(date(2026, 3, first), date(2026, 3, last)) for first, last in numbers]


@pytest.mark.parametrize(
    ("before", "closed", "after"),
    [
        (days(), (5, 7), days((5, 7))),
        (days((5, 7)), (6, 6), days((5, 7))),
        (days((5, 7)), (7, 9), days((5, 9))),
        (days((5, 7)), (8, 9), days((5, 9))),
        (days((5, 7)), (3, 4), days((3, 7))),
        (days((5, 7)), (9, 9), days((5, 7), (9, 9))),
        (days((9, 9), (5, 7)), (8, 8), days((5, 9))),
        (days((5, 7), (5, 7), (6, 12)), (20, 20), days((5, 12), (20, 20))),
    ],
)
def test_closed_days_are_joined(
    before: list[tuple[date, date]], closed: tuple[int, int], after: list[tuple[date, date]]
) -> None:
    """No day is named twice, and ranges that touch are one."""
    ((first, last),) = days(closed)
    assert with_days(before, first, last) == after
    assert with_days(after, first, last) == after


@pytest.mark.parametrize(
    ("before", "opened", "after"),
    [
        (days(), (5, 7), days()),
        (days((5, 7)), (5, 7), days()),
        (days((5, 7)), (1, 30), days()),
        (days((5, 7)), (6, 6), days((5, 5), (7, 7))),
        (days((5, 7)), (7, 9), days((5, 6))),
        (days((5, 7)), (1, 5), days((6, 7))),
        (days((5, 7)), (8, 9), days((5, 7))),
        (days((5, 7), (6, 12), (20, 22)), (7, 21), days((5, 6), (22, 22))),
    ],
)
def test_opened_days_are_taken_out(
    before: list[tuple[date, date]], opened: tuple[int, int], after: list[tuple[date, date]]
) -> None:
    """Ranges are cut, divided or gone; all other days stay."""
    ((first, last),) = days(opened)
    assert without_days(before, first, last) == after


def test_the_ends_of_the_calendar_are_days_too() -> None:
    """No sum leaves the calendar."""
    ever = [(date.min, date.max)]
    assert joined_days([*ever, (date(2026, 1, 1), date.max)]) == ever
    assert without_days(ever, *ever[0]) == []


@pytest.fixture
def hall(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """Two halls in the north, the second one in Tokyo, and one in the south; the first two are stored."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        _fill(site)
        yield site


def _fill(site: Site) -> None:
    for more in ({"group": "north", "capacity": 3}, {"group": "north", "timezone": "Asia/Tokyo"}):
        site.add(**more)
    site.slots.generate()
    site.add(group="south")


def blackouts(site: Site) -> list[list[tuple[date, date]]]:
    """Return the days off of each template, as they are committed."""
    site.session.rollback()
    return [[tuple(pair) for pair in each.blackouts] for each in site.slots.templates()]


@pytest.mark.parametrize(
    ("which", "closed"), [({"template": 1}, [1]), ({"group": "north"}, [1, 2]), ({}, [1, 2, 3])]
)
def test_days_are_closed_and_open_again(hall: Site, which: dict[str, Any], closed: list[int]) -> None:
    """In each one's own zone: nothing is promised on these days, and after it is taken back all is as before."""
    report = hall.slots.close(TUESDAY, WEDNESDAY, reason="Paint", **which)
    hall.session.commit()
    assert (report.templates, report.unchanged, report.reason) == (closed, [], "Paint")
    assert blackouts(hall) == [[(TUESDAY, WEDNESDAY)] if number in closed else [] for number in (1, 2, 3)]
    hall.slots.generate()
    hall.session.rollback()
    off = {slot.series_id for slot in hall.week() if slot.local_start.date() in (TUESDAY, WEDNESDAY)}
    assert off == {1, 2, 3} - set(closed)
    back = hall.slots.reopen(WEDNESDAY, **which)
    hall.session.commit()
    assert (back.templates, back.reopened, back.reason) == (closed, True, None)
    hall.slots.reopen(TUESDAY)
    hall.session.commit()
    assert blackouts(hall) == [[], [], []]
    hall.slots.generate()
    hall.session.rollback()
    assert len(hall.week(template=1)) == len(hall.week(template=3)) == A_WEEK


def test_the_report_tells_whom_to_call(hall: Site) -> None:
    """The live bookings of what is not over on these days, and the stored slots by key; a signal says it too."""
    cls = hall.slots
    ada = cls.book("1@20260106T1000", party=2, who="ada")
    bob = cls.hold("2@20260106T1100", who="bob")
    eve = cls.book("3@20260106T1200", who="eve")
    cls.release(cls.book("1@20260106T1100", who="gone"))
    cls.book("1@20260106T1200", who="was cancelled")
    cls.cancel("1@20260106T1200")
    cls.book("1@20260107T1000", who="tomorrow")
    hall.session.commit()
    heard: list[dict[str, Any]] = []
    with signals.days_closed.connected_to(lambda app, **facts: heard.append(facts)):
        report = cls.close(TUESDAY)
        again = cls.close(TUESDAY)
    hall.session.commit()
    assert report.bookings == again.bookings == [ada, bob, eve]
    assert report.booked == ["2@20260106T1100", "1@20260106T1000", "3@20260106T1200"]
    assert (len(report.slots), again.templates, again.unchanged) == (7 + 8 + 1, [], [1, 2, 3])
    assert heard == [{"report": report, "who": None, "door": "facade"}]
    shown = report.to_dict()
    assert (shown["first"], shown["last"], shown["counts"]["bookings"]) == ("2026-01-06", "2026-01-06", 3)
    assert shown["bookings"][0] == {
        "id": ada.id,
        "key": "1@20260106T1000",
        "starts_at": "2026-01-06T10:00:00+00:00",
        "who": "ada",
        "party": 2,
        "status": "confirmed",
    }
    assert cls.get_booking(ada).status == "confirmed"


def test_a_closed_day_sells_nothing(hall: Site) -> None:
    """From the commit on: who has booked keeps the place, nobody new gets one, stored or not; reopened, it goes on."""
    stored, virtual = "1@20260106T1000", "3@20260106T1000"
    ada = hall.slots.book(stored, who="ada")
    hall.session.commit()
    hall.slots.close(TUESDAY)
    hall.session.commit()
    assert hall.slots.get(stored).state == "withdrawn"
    with pytest.raises(SlotClosed):
        hall.slots.book(stored, who="eve")
    with pytest.raises(SlotNotFound):
        hall.slots.book(virtual, who="eve")
    hall.session.rollback()
    assert hall.slots.get_booking(ada.id).is_live
    hall.slots.reopen(TUESDAY)
    hall.session.commit()
    assert (hall.slots.get(stored).state, hall.slots.get(stored).left) == ("open", 2)
    hall.slots.book(stored, who="eve")
    hall.slots.book(virtual, who="eve")
    hall.session.commit()


def test_reopening_names_what_comes_back(hall: Site) -> None:
    """Slots that stayed for their bookings; those that another reason keeps away are not among them."""
    for key in ("1@20260106T1000", "2@20260106T1000", "1@20260107T1000"):
        hall.slots.book(key, who=key)
    hall.slots.close(TUESDAY, group="north")
    hall.slots.change_template(2, exdates=[TUESDAY])
    hall.session.commit()
    heard: list[dict[str, Any]] = []
    with signals.days_reopened.connected_to(lambda app, **facts: heard.append(facts)):
        report = hall.slots.reopen(TUESDAY, WEDNESDAY)
    assert (report.templates, report.unchanged, report.booked) == ([1, 2], [3], ["1@20260106T1000"])
    assert [booking.who for booking in report.bookings] == ["1@20260106T1000"]
    assert heard == [{"report": report, "who": None, "door": "facade"}]
    assert hall.slots.reopen(TUESDAY).slots == []


def test_a_night_belongs_to_its_evening(site: Site) -> None:
    """A day of a grid is meant with what it has after midnight, and without what the evening before has."""
    site.add(**BAR)
    site.slots.generate()
    site.slots.book("1@20260109T0100", who="late")
    site.slots.book("1@20260110T0000", who="on Friday")
    site.session.commit()
    report = site.slots.close(THURSDAY, dry_run=True)
    assert report.slots == [f"1@2026{start}" for start in NIGHT]
    assert [booking.who for booking in report.bookings] == ["late"]
    keys = site.slots.cancel_date(None, FRIDAY, reason="Feast")
    site.session.commit()
    assert keys == [
        f"1@2026{start}"
        for start in ("0109T2000", "0109T2100", "0109T2200", "0109T2300", "0110T0000", "0110T0100")
    ]
    assert [booking.who for booking in keys.bookings] == ["on Friday"]
    assert site.slots.get("1@20260109T0100").status == "scheduled"


def test_a_night_that_is_moved_keeps_its_day(site: Site) -> None:
    """A series that is shown later, past midnight even, belongs to the days on which it is shown."""
    site.add(**BAR)
    site.slots.generate()
    site.slots.edit("1@20260108T2000", "all", start=time(22))
    site.session.commit()
    (spec,) = (template.spec() for template in site.slots.templates())
    assert {grid_day(spec, datetime.fromisoformat(f"2026{start}")) for start in NIGHT} == {THURSDAY}
    report = site.slots.close(THURSDAY, dry_run=True)
    assert report.slots == [f"1@2026{start}" for start in NIGHT]


def test_what_a_person_moved_to_these_days_is_told(hall: Site) -> None:
    """A slot that its rule has on another day takes place all the same; one that was moved away is closed."""
    hall.slots.edit("1@20260108T1000", "this", start=datetime(2026, 1, 6, 20))
    hall.slots.edit("1@20260106T1000", "this", start=datetime(2026, 1, 8, 20))
    hall.slots.book("1@20260108T1000", who="ada")
    hall.session.commit()
    report = hall.slots.close(TUESDAY, template=1)
    assert report.moved == ["1@20260108T1000"]
    assert report.slots[-1] == "1@20260106T1000"
    assert [booking.who for booking in report.bookings] == ["ada"]
    assert report.booked == []
    hall.session.rollback()
    keys = hall.slots.cancel_date("north", TUESDAY)
    assert "1@20260108T1000" in keys
    assert "1@20260106T1000" not in keys


def test_all_segments_are_meant(hall: Site) -> None:
    """A series that was cut is closed as a whole, whichever part is named."""
    hall.slots.edit("1@20260108T1000", "this_and_future", capacity=5)
    hall.session.commit()
    report = hall.slots.close(WEDNESDAY, FRIDAY, template=4)
    hall.session.commit()
    assert report.templates == [1, 4]
    assert len(report.slots) == 3 * 8


def test_templates_of_later_are_open(site: Site) -> None:
    """Closing is a decision about what there is; without templates there is nothing to close."""
    assert site.slots.close(TUESDAY).to_dict()["counts"]["templates"] == 0
    site.add()
    assert blackouts(site) == [[]]


def test_a_dry_run_tells_the_same(hall: Site) -> None:
    """Whom to call, too; and nothing is written."""
    hall.slots.book("1@20260106T1000", who="ada")
    hall.session.commit()
    tried = hall.slots.close(TUESDAY, group="north", dry_run=True)
    assert blackouts(hall) == [[], [], []]
    assert tried.to_dict() == hall.slots.close(TUESDAY, group="north").to_dict()
    hall.session.commit()
    assert hall.slots.reopen(TUESDAY, dry_run=True).booked == ["1@20260106T1000"]
    assert blackouts(hall) == [[(TUESDAY, TUESDAY)]] * 2 + [[]]


WRONG: dict[str, tuple[type[Exception], Callable[[Site], Any]]] = {
    "no date": (InvalidRequest, lambda site: site.slots.close("2026-01-06")),  # type: ignore[arg-type]
    "a moment": (InvalidRequest, lambda site: site.slots.close(datetime(2026, 1, 6))),
    "last before first": (InvalidRequest, lambda site: site.slots.reopen(WEDNESDAY, TUESDAY)),
    "a year that is none": (InvalidRequest, lambda site: site.slots.close(date(9999, 1, 1))),
    "template and group": (InvalidRequest, lambda site: site.slots.close(TUESDAY, template=1, group="north")),
    "a group that is none": (InvalidRequest, lambda site: site.slots.close(TUESDAY, group=7)),  # type: ignore[arg-type]
    "a long reason": (InvalidRequest, lambda site: site.slots.close(TUESDAY, reason="x" * 501)),
    "an unknown group": (TemplateNotFound, lambda site: site.slots.close(TUESDAY, group="nowhere")),
    "an unknown template": (TemplateNotFound, lambda site: site.slots.reopen(TUESDAY, template=9)),
    "a day to cancel that is none": (InvalidRequest, lambda site: site.slots.cancel_date(None, date.max)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_makes_no_sense_is_refused(site: Site, wrong: str) -> None:
    """The argument is named, and nothing is written."""
    site.add(group="north")
    kind, act = WRONG[wrong]
    with pytest.raises(kind):
        act(site)
    assert blackouts(site) == [[]]


def test_a_day_of_all_groups_is_cancelled(hall: Site) -> None:
    """Without a group all templates are meant, stored or not, in each one's own zone."""
    hall.slots.book("3@20260106T1000", who="ada")
    hall.session.commit()
    keys = hall.slots.cancel_date(None, TUESDAY, reason="Snow")
    hall.session.commit()
    assert len(keys) == 3 * 8
    assert [booking.who for booking in keys.bookings] == ["ada"]
    for slot in hall.week():
        assert (slot.state == "cancelled") is (slot.original_start.date() == TUESDAY)


def test_a_day_off_and_a_change_of_somebody_else(hall: Site) -> None:
    """Days are added to what others wrote meanwhile; nobody's days off are lost."""
    hall.slots.close(TUESDAY, template=1)
    hall.session.commit()
    hall.slots.close(THURSDAY, FRIDAY + timedelta(days=1))
    hall.slots.reopen(FRIDAY, group="north")
    hall.session.commit()
    split = [(THURSDAY, THURSDAY), (date(2026, 1, 10), date(2026, 1, 10))]
    assert blackouts(hall) == [[(TUESDAY, TUESDAY), *split], split, [(THURSDAY, date(2026, 1, 10))]]
