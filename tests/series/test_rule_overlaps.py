"""Rules that let slots overlap: said by `overlapping` or a resource, refused through every door, shown by a preview."""

from __future__ import annotations

import json
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import HALL, Site

from flask_rollingslots import planning
from flask_rollingslots.errors import InvalidRequest, InvalidTemplate, RollingSlotsError
from flask_rollingslots.values import TemplateSpec

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FIRST = datetime(2026, 1, 5, 10)
TEN, ELEVEN, NOON = (f"1@20260106T{hour}00" for hour in (10, 11, 12))
LONG = {"duration": 90 * MINUTE}
NO_GRID: dict[str, Any] = {"every": None, "until_time": None}


def spec(rrule: str | None, duration: timedelta, **more: Any) -> TemplateSpec:
    """Return a template from Monday 10:00 on."""
    plain: Any = (1, 1, 1, "Hall", None, True)
    return TemplateSpec(*plain, rrule, FIRST, "Europe/Madrid", duration, **more)


@pytest.mark.parametrize(
    ("rrule", "longest"),
    [
        ("FREQ=DAILY", 24 * HOUR),
        ("FREQ=DAILY;INTERVAL=3", 72 * HOUR),
        ("FREQ=DAILY;BYHOUR=9,11,22;BYMINUTE=0,30", 30 * MINUTE),
        ("FREQ=DAILY;BYHOUR=1,12,23", 2 * HOUR),
        ("FREQ=HOURLY;INTERVAL=2", 2 * HOUR),
        ("FREQ=WEEKLY;BYDAY=SA", 7 * 24 * HOUR),
        ("FREQ=WEEKLY;BYDAY=MO,TH", 72 * HOUR),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO;WKST=SU", 24 * HOUR),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO", 6 * 24 * HOUR),
        ("FREQ=DAILY;BYDAY=MO,TU", 24 * HOUR),
        ("FREQ=MONTHLY;BYMONTHDAY=1,3", 48 * HOUR),
        ("FREQ=MONTHLY", 28 * 24 * HOUR),
        ("FREQ=YEARLY;BYMONTH=1,2;BYMONTHDAY=31,1", 24 * HOUR),
    ],
)
def test_the_longest_slot_that_does_not_overlap(rrule: str, longest: timedelta) -> None:
    """Up to the least distance of a rule within a year nothing overlaps, a minute more does; three pairs are named."""
    assert planning.overlaps(spec(rrule, longest)) == ()
    pairs = planning.overlaps(spec(rrule, longest + MINUTE))
    assert 1 <= len(pairs) <= 3
    assert {later - earlier for earlier, later in pairs} == {longest}


def test_extra_dates_exclusions_and_bounds_count() -> None:
    """An extra date overlaps unless its neighbour is excluded, beyond the year or in another part of the series."""
    extra, beside = datetime(2026, 2, 5, 10, 30), datetime(2026, 2, 5, 10)
    daily = "FREQ=DAILY"
    assert planning.overlaps(spec(daily, HOUR, rdates=(extra,))) == ((beside, extra),)
    assert planning.overlaps(spec(daily, 30 * MINUTE, rdates=(extra,))) == ()
    assert planning.overlaps(spec(daily, HOUR, rdates=(extra,), exdates=(beside,))) == ()
    assert planning.overlaps(spec(daily, HOUR, rdates=(extra,), active_until=extra)) == ()
    assert planning.overlaps(spec(daily, HOUR, rdates=(extra,), active_from=extra)) == ()
    assert planning.overlaps(spec(daily, HOUR, rdates=(extra.replace(year=2028),))) == ()
    assert planning.overlaps(spec(None, HOUR, rdates=(FIRST + 30 * MINUTE,))) != ()


@pytest.mark.parametrize("rrule", ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,WE", "FREQ=MONTHLY", "FREQ=YEARLY"])
def test_ordinary_rules_are_not_expanded(monkeypatch: pytest.MonkeyPatch, rrule: str) -> None:
    """A day grid, or a slot a day: what the rule says is enough."""
    asked: list[Any] = []
    monkeypatch.setattr(planning.Recurrence, "originals", lambda *given: asked.append(given) or iter(()))
    planning.overlaps(spec(rrule, 23 * HOUR, shift=17 * MINUTE))
    planning.overlaps(spec(rrule, HOUR, shift=17 * MINUTE, every=HOUR, until_time=time(2)))
    assert asked == []


def change(template: Any, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        setattr(template, name, value)


DOORS: dict[str, Callable[[Site, dict[str, Any]], Any]] = {
    "create_template": lambda site, fields: site.slots.create_template(**{**HALL, **fields}),
    "orm": lambda site, fields: site.session.add(site.slots.Template(**{**HALL, **fields})),
    "orm edit": lambda site, fields: change(site.add(), fields),
    "change_template": lambda site, fields: site.slots.change_template(site.add(), **fields),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_rule_that_overlaps_says_so(any_site: Site, door: str) -> None:
    """Ninety minutes each hour are refused with the slots and what is needed, and taken with either of both."""

    def attempt() -> None:
        DOORS[door](any_site, LONG)
        any_site.session.commit()

    refused = r"^duration = 1:30:00: expected overlapping=True"
    with pytest.raises((InvalidTemplate, InvalidRequest), match=refused) as e:
        attempt()
    error: Any = e.value
    assert error.field == "duration"
    assert error.overlaps[0] == ["2026-01-01 10:00", "2026-01-01 11:00"]
    assert "such as 2026-01-01 10:00 and 2026-01-01 11:00" in str(error)
    any_site.session.rollback()
    for allowing in ({"overlapping": True}, {"exclusive": True, "resource": "court"}):
        DOORS[door](any_site, {**allowing, **LONG})
        any_site.session.commit()


def test_the_extra_date_is_at_fault(site: Site) -> None:
    """Where the rule alone is right, the refusal names the extra dates."""
    with pytest.raises(InvalidTemplate, match=r"^rdates = .*2026-01-07 10:30"):
        site.add(**NO_GRID, rdates=[datetime(2026, 1, 7, 10, 30)])


def test_a_template_of_before_stays_as_it_is(site: Site) -> None:
    """One that may overlap can be changed; to take the permission back is refused while the rule needs it."""
    template = site.add(**LONG, overlapping=True)
    template.capacity = 4
    site.session.commit()
    template.overlapping = False
    with pytest.raises(InvalidTemplate, match="overlapping=True"):
        site.session.commit()


@pytest.mark.parametrize("scope", ["this_and_future", "all"])
def test_an_edit_that_lets_slots_overlap(any_site: Site, scope: str) -> None:
    """The preview names the pairs, the edit is refused and writes nothing, and a template that may is edited."""
    template = any_site.add()
    any_site.slots.generate()
    first = TEN if scope == "this_and_future" else "1@20260101T1000"
    preview = any_site.slots.preview_edit(TEN, scope, **LONG).to_dict()
    assert len(preview["overlaps"]) == 3
    assert preview["overlaps"][0] == [first, first.replace("T10", "T11")]
    with pytest.raises(InvalidRequest, match=r"^duration = 1:30:00: expected overlapping=True"):
        any_site.slots.edit(TEN, scope, **LONG)
    any_site.session.commit()
    assert (template.duration, len(any_site.rows())) == (HOUR, 7 * 8)
    template.overlapping = True
    any_site.session.commit()
    assert any_site.slots.edit(TEN, scope, **LONG).to_dict()["overlaps"] == preview["overlaps"]
    any_site.session.commit()
    assert any_site.slots.edit(TEN, scope, capacity=2).overlaps == ()  # only what is new of the rule is told


def test_a_longer_slot_where_two_parts_meet(site: Site) -> None:
    """In a series that was cut, the last slot of a part may not run into the first of the next one."""
    site.add(dtstart=datetime(2026, 1, 5, 22), **NO_GRID)
    site.slots.edit("1@20260107T2200", "this_and_future", start=datetime(2026, 1, 7, 6))
    site.session.commit()
    assert site.slots.preview_edit("1@20260105T2200", "all", duration=8 * HOUR).overlaps == ()
    plan = site.slots.preview_edit("1@20260105T2200", "all", duration=9 * HOUR)
    assert plan.to_dict()["overlaps"] == [["1@20260106T2200", "1@20260107T2200"]]
    with pytest.raises(InvalidRequest, match="2026-01-06 22:00 and 2026-01-07 22:00"):
        site.slots.edit("1@20260105T2200", "all", duration=9 * HOUR)


OWN = {
    "name": "Hall",
    "dtstart": "2026-01-01T10:00",
    "duration_minutes": 90,
    "recurrence": {"type": "rrule", "rrule": "FREQ=HOURLY"},
}
FOREIGN = {
    "title": "Hall",
    "start": "2026-01-01T10:00",
    "end": "2026-01-03T11:00",
    "recurrence": {"type": "daily", "end": "never"},
}
ICS = "\r\n".join(
    (
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//x//EN", "BEGIN:VEVENT", "UID:1", "SUMMARY:Hall",
        "DTSTAMP:20260101T000000Z", "DTSTART:20260101T100000Z", "DURATION:P2D", "RRULE:FREQ=DAILY",
        "END:VEVENT", "END:VCALENDAR", "",
    )
)  # fmt: skip


@pytest.mark.parametrize(
    "content", [json.dumps(OWN), json.dumps([FOREIGN]), ICS], ids=["own", "foreign", "ics"]
)
def test_what_overlapped_elsewhere_may_overlap_here(site: Site, content: str) -> None:
    """An imported rule that overlaps gets the permission by itself; one that does not overlap gets none."""
    made = site.slots.import_templates(content.encode()).templates[0]
    assert made.overlapping is True
    site.session.commit()
    shorter = content.replace("90", "60").replace("01-03T", "01-01T").replace("P2D", "PT1H")
    made = site.slots.import_templates(shorter.encode()).templates[0]
    assert made.overlapping is False


def test_a_file_that_says_no_is_taken_at_its_word(site: Site) -> None:
    """An explicit false with a rule that overlaps contradicts itself."""
    with pytest.raises(RollingSlotsError, match=r"entry 1.*overlapping=True"):
        site.slots.import_templates(json.dumps({**OWN, "overlapping": False}).encode())


def test_one_booking_does_not_freeze_the_morning(any_site: Site) -> None:
    """All are moved by half an hour: each unbooked slot moves, the booked one stays, none stays for another's sake."""
    any_site.add()
    any_site.slots.generate()
    any_site.slots.book(NOON)
    any_site.session.commit()
    plan = any_site.slots.edit(TEN, "all", start=time(10, 30))
    any_site.session.commit()
    assert (len(plan.changed), plan.to_dict()["kept_booked"], plan.removed) == (7 * 8 - 1, [NOON], ())
    rows = {row.key: row for row in any_site.rows()}
    assert {key for key, row in rows.items() if row.starts_at.minute == 0} == {NOON}
    assert [key for key, row in rows.items() if row.displaced] == [NOON]
    again = any_site.slots.edit(TEN, "all", start=time(10))
    any_site.session.commit()
    assert again.kept_booked == ()
    assert [row.displaced for row in any_site.rows()] == [None] * 7 * 8


def test_booked_slots_are_not_moved_over_each_other(any_site: Site) -> None:
    """Also on request a booked slot stays where it is, if another booked one that a person moved stands there."""
    any_site.add()
    any_site.slots.book(TEN)
    any_site.slots.edit(NOON, "this", start=time(20, 30))
    any_site.slots.book(NOON)
    any_site.session.commit()
    plan = any_site.slots.edit(TEN, "all", start=time(20), move_booked=True)
    any_site.session.commit()
    assert plan.to_dict()["kept_booked"] == [TEN]
    assert [(row.key, row.local_start.hour, row.displaced) for row in any_site.rows()] == [
        (TEN, 10, True),
        (NOON, 20, True),
    ]


def test_what_the_rule_lacks_is_marked_until_it_is_back(any_site: Site) -> None:
    """A booked slot that a new rule does not yield is withdrawn, and is not once the rule yields it again."""
    any_site.add()
    any_site.slots.book(TEN)
    any_site.session.commit()
    any_site.slots.edit("1@20260105T1000", "all", rrule="FREQ=WEEKLY;BYDAY=MO")
    any_site.session.commit()
    assert any_site.slots.get(TEN).withdrawn is True
    any_site.slots.edit("1@20260105T1000", "all", rrule="FREQ=DAILY")
    any_site.session.commit()
    assert any_site.slots.get(TEN).withdrawn is None


def test_a_person_moves_a_slot_there_and_back(site: Site) -> None:
    """Onto a time where an unbooked slot is: allowed, and noted until the slot is back where its rule has it."""
    site.add()
    site.slots.generate()
    site.slots.edit(TEN, "this", start=time(11, 30))
    site.session.commit()
    assert site.slots.get(TEN).displaced is True
    site.slots.edit(TEN, "this", start=time(10))
    site.session.commit()
    assert site.slots.get(TEN).displaced is None


def test_over_a_booked_slot_where_slots_may_overlap(site: Site) -> None:
    """A template that lets its slots overlap lets a person put them where they like."""
    site.add(overlapping=True)
    site.slots.book(ELEVEN)
    site.slots.edit(TEN, "this", start=time(11))
    assert site.slots.get(TEN).local_start.hour == 11
