"""Reading: stored and virtual slots as one, and virtual ones that become rows."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from helpers import A_WEEK, MONDAY, Clock, Site
from sqlalchemy import event, inspect

from flask_rollingslots.errors import InvalidKey, InvalidRequest, SlotNotFound, TemplateNotFound

if TYPE_CHECKING:
    from pathlib import Path


def keys(slots: list[object]) -> list[str]:
    return [slot.key for slot in slots]  # type: ignore[attr-defined]


def test_a_fresh_database_shows_the_full_week(site: Site) -> None:
    """Nothing is stored yet, and every slot of the rule is there all the same."""
    site.add()
    week = site.week()
    assert len(week) == A_WEEK
    assert all(slot.is_virtual for slot in week)
    assert site.rows() == []


def test_a_view_is_the_same_as_values(site: Site) -> None:
    """Frozen, and of no session: stored and virtual slots with what they are now, to be kept and handed on."""
    site.add(capacity=2)
    first = site.week()[0]
    site.slots.book(first.key)
    site.session.commit()
    found = site.slots.view(MONDAY, MONDAY + timedelta(days=7))
    shown = [(each.key, each.starts_at, each.state, each.is_bookable, each.left) for each in site.week()]
    site.session.remove()
    assert [(v.key, v.starts_at, v.state, v.is_bookable, v.left) for v in found] == shown
    assert [each.is_virtual for each in found[:2]] == [False, True]
    assert found[0].to_dict()["state"] == "open"
    with pytest.raises(AttributeError):
        found[0].left = 5  # type: ignore[misc]


def test_what_began_before_is_shown_on_request(database_url: str, tmp_path: Path) -> None:
    """With `overlapping` a rental that goes on is found on its last day, stored, moved and lengthened ones too."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        rental = {
            "rrule": "FREQ=WEEKLY;BYDAY=SA",
            "dtstart": datetime(2026, 1, 3, 10),
            "duration": timedelta(days=7),
            "overlapping": True,
        }
        site.add(**rental, every=None, until_time=None)

        def seen(day: int, hour: int = 0, **more: Any) -> list[str]:
            start = datetime(2026, 1, day, hour, tzinfo=UTC)
            return keys(site.slots.between(start, start + timedelta(hours=1), **more, overlapping=True))  # type: ignore[arg-type]

        one, two, three = "1@20260103T1000", "1@20260110T1000", "1@20260117T1000"
        for making in (None, one, two):
            if making is not None:
                site.slots.materialize(making)
            assert (seen(6), seen(10, 9), seen(10, 10), seen(12)) == ([one], [one], [two], [two])
            assert site.slots.between(MONDAY, MONDAY + timedelta(days=4)) == []
        site.slots.edit(two, "this", duration=timedelta(days=10))
        site.slots.edit(three, "this", start=datetime(2026, 1, 19, 10))
        site.slots.cancel(one)
        assert (seen(6), seen(19, 9), seen(20, 9), seen(26, 9)) == (
            [one],
            [two],
            [two, three],
            [three, "1@20260124T1000"],
        )
        site.slots.delete(one)
        assert seen(6) == seen(6, template=1) == []


def test_after_forty_days_of_silence_the_week_is_full(site: Site) -> None:
    """A site that nobody visited for forty days shows the new week at once."""
    site.add()
    site.slots.generate()
    site.clock.turn(days=40)
    assert len(site.week()) == A_WEEK


def test_stored_and_virtual_slots_have_the_same_keys_and_times(site: Site) -> None:
    """Filling the window changes nothing that a visitor can see."""
    site.add()
    seen = [(s.key, s.starts_at, s.ends_at, s.closes_at, s.capacity, s.state) for s in site.week()]
    site.slots.generate()
    stored = site.week()
    assert not any(slot.is_virtual for slot in stored)
    assert [(s.key, s.starts_at, s.ends_at, s.closes_at, s.capacity, s.state) for s in stored] == seen


def test_a_half_filled_window_is_merged(site: Site) -> None:
    """Rows and virtual slots come in one sorted list without doubles."""
    site.add()
    whole = keys(site.week())
    for key in whole[3:20:4]:
        site.slots.materialize(key)
    site.session.commit()
    assert keys(site.week()) == whole


def test_slots_come_sorted_across_templates(site: Site) -> None:
    """Slots of several templates are sorted by start, then by series."""
    site.add(name="A")
    site.add(name="B", dtstart=datetime(2026, 1, 1, 9, 30))
    starts = [(slot.starts_at, slot.series_id) for slot in site.week()]
    assert starts == sorted(starts)
    assert len(starts) == A_WEEK + 7 * 8


def test_between_is_half_open(site: Site) -> None:
    """A slot at the start is in, a slot at the end is not."""
    site.add()
    ten, twelve = MONDAY.replace(hour=10), MONDAY.replace(hour=12)
    assert [slot.starts_at.hour for slot in site.slots.between(ten, twelve)] == [10, 11]


def test_template_and_group_filter(site: Site) -> None:
    """``template=`` takes an object or an id, ``group=`` a name; an unknown group has no slots."""
    first = site.add(name="A", group="north")
    second = site.add(name="B", group="south")
    assert {s.template_id for s in site.week(template=first)} == {first.id}
    assert {s.template_id for s in site.week(template=second.id)} == {second.id}
    assert {s.template_id for s in site.week(group="south")} == {second.id}
    assert site.week(group="nowhere") == []


def test_unknown_template_is_an_error(site: Site) -> None:
    """A template id that does not exist is told, not answered with an empty list."""
    with pytest.raises(TemplateNotFound, match="template 99"):
        site.week(template=99)


@pytest.mark.parametrize("bad", [datetime(2026, 1, 5), "2026-01-05", None])
def test_naive_bounds_are_refused(site: Site, bad: object) -> None:
    """A bound without a time zone is refused with a sentence that names it."""
    with pytest.raises(InvalidRequest, match=r"start = .*aware"):
        site.slots.between(bad, MONDAY)  # type: ignore[arg-type]


def test_end_before_start_is_refused(site: Site) -> None:
    """A window that ends before it starts is a mistake."""
    with pytest.raises(InvalidRequest, match="end"):
        site.slots.between(MONDAY, MONDAY - timedelta(hours=1))


def test_the_past_is_what_is_stored(site: Site) -> None:
    """No virtual slot is shown that has ended; one that is running is."""
    site.add()
    site.clock.now = MONDAY.replace(hour=12, minute=30)
    today = site.slots.between(MONDAY, MONDAY + timedelta(days=1))
    assert [slot.starts_at.hour for slot in today] == [12, 13, 14, 15, 16, 17]


def test_past_rows_stay_visible(site: Site) -> None:
    """A stored slot is shown after its end too."""
    site.add()
    site.slots.generate()
    site.clock.turn(days=3)
    yesterday = site.slots.between(MONDAY.replace(hour=0), MONDAY.replace(hour=23))
    assert [slot.state for slot in yesterday] == ["ended"] * 8


def test_a_moved_row_is_shown_once_at_its_new_time(site: Site) -> None:
    """A slot moved to another day keeps its key and leaves no ghost at the old time."""
    site.add()
    slot = site.slots.materialize(site.week()[0].key)
    slot.starts_at += timedelta(days=2, minutes=15)
    slot.ends_at += timedelta(days=2, minutes=15)
    site.session.commit()
    week = site.week()
    assert len(week) == A_WEEK
    assert [s.starts_at for s in week if s.key == slot.key] == [
        MONDAY.replace(hour=10, minute=15) + timedelta(2)
    ]
    old_day = site.slots.between(MONDAY, MONDAY + timedelta(hours=12))
    assert slot.key not in keys(old_day)


def test_deleted_rows_hide_their_occurrence(site: Site) -> None:
    """A row with status deleted is neither shown nor replaced by a virtual slot."""
    site.add()
    slot = site.slots.materialize(site.week()[5].key)
    slot.status = "deleted"
    site.session.commit()
    assert slot.key not in keys(site.week())
    with pytest.raises(SlotNotFound):
        site.slots.get(slot.key)


def test_nothing_virtual_enters_the_session(site: Site) -> None:
    """Reading, and looking at a virtual slot's template, leaves the session as it was."""
    site.add()
    week = site.week()
    assert week[0].template.name == "Hall"
    assert not site.session.new
    assert inspect(week[0]).transient
    site.session.commit()
    assert site.rows() == []


def test_virtual_data_is_a_copy(site: Site) -> None:
    """Changing a virtual slot's data does not change its template."""
    template = site.add(data={"court": 1})
    site.week()[0].data["court"] = 2
    assert template.data == {"court": 1}


def test_get_finds_virtual_and_stored(site: Site) -> None:
    """The key finds the slot before and after it has a row."""
    site.add()
    key = site.week()[7].key
    assert site.slots.get(key).is_virtual
    site.slots.generate()
    assert not site.slots.get(key).is_virtual


@pytest.mark.parametrize(
    "key", ["", "1", "1@", "@20260105T1000", "1@2026-01-05", "x@20260105T1000", "1@20261305T1000"]
)
def test_malformed_keys_are_refused(site: Site, key: str) -> None:
    """A text that is no key is told what a key looks like."""
    with pytest.raises(InvalidKey, match="<series id>@<YYYYMMDDTHHMM>"):
        site.slots.get(key)


@pytest.mark.parametrize("key", ["1@20260105T1030", "2@20260105T1000", "1@20200105T1000", "1@99991231T2359"])
def test_keys_that_the_rule_does_not_yield(site: Site, key: str) -> None:
    """A start that the rule does not have is not found, whether read or materialised."""
    site.add()
    with pytest.raises(SlotNotFound):
        site.slots.get(key)
    with pytest.raises(SlotNotFound):
        site.slots.materialize(key)


def test_materialize_is_idempotent(site: Site) -> None:
    """Materialising twice gives the same row."""
    site.add()
    key = site.week()[0].key
    first = site.slots.materialize(key)
    assert site.slots.materialize(key).id == first.id
    site.session.commit()
    assert len(site.rows()) == 1


def test_materialize_joins_the_app_transaction(site: Site) -> None:
    """The row is gone after the app's rollback."""
    site.add()
    site.slots.materialize(site.week()[0].key)
    site.session.rollback()
    assert site.rows() == []


def test_materialize_works_years_ahead(site: Site) -> None:
    """A slot in the far future can be made as well as tomorrow's."""
    site.add()
    slot = site.slots.materialize("1@21260105T1000")
    assert slot.starts_at == datetime(2126, 1, 5, 10, tzinfo=UTC)


def test_an_ended_virtual_slot_cannot_be_made(site: Site) -> None:
    """What nobody stored before it ended does not come into being afterwards."""
    site.add()
    key = site.week()[0].key
    site.clock.turn(days=2)
    with pytest.raises(SlotNotFound):
        site.slots.materialize(key)


def test_inactive_templates_show_nothing(site: Site) -> None:
    """Switching a template off hides stored and virtual slots; switching it on shows them again."""
    template = site.add()
    key = site.week()[0].key
    site.slots.generate()
    template.active = False
    site.session.commit()
    assert site.week() == []
    with pytest.raises(SlotNotFound):
        site.slots.get(key)
    assert len(site.rows()) == A_WEEK
    template.active = True
    site.session.commit()
    assert len(site.week()) == A_WEEK


def test_upcoming_gives_the_next_slots(site: Site) -> None:
    """The next five from now, stored or not, in order."""
    template = site.add()
    site.clock.now = MONDAY.replace(hour=16, minute=30)
    found = site.slots.upcoming(template)
    assert [(s.starts_at.day, s.starts_at.hour) for s in found] == [
        (5, 17),
        (6, 10),
        (6, 11),
        (6, 12),
        (6, 13),
    ]


def test_upcoming_after_a_moment_far_away(site: Site) -> None:
    """``after`` looks from another moment, excluded."""
    template = site.add()
    after = datetime(2030, 6, 1, 10, tzinfo=UTC)
    assert [s.starts_at.hour for s in site.slots.upcoming(template, 3, after=after)] == [11, 12, 13]


def test_upcoming_skips_seldom_rules_and_ends(site: Site) -> None:
    """A yearly rule is found years ahead; a finite one ends."""
    leap = site.add(
        name="Leap", rrule="FREQ=YEARLY", dtstart=datetime(2024, 2, 29, 10), every=None, until_time=None
    )
    assert [s.starts_at.year for s in site.slots.upcoming(leap, 3)] == [2028, 2032, 2036]
    last = site.add(name="Last", rrule="FREQ=DAILY;UNTIL=20260107", every=None, until_time=None)
    assert [s.starts_at.day for s in site.slots.upcoming(last, 5)] == [5, 6, 7]


def test_upcoming_never_more_than_the_limit(site: Site) -> None:
    """More than 200 is refused, not cut."""
    template = site.add()
    assert len(site.slots.upcoming(template, 200)) == 200
    for bad in (0, 201, True, "5"):
        with pytest.raises(InvalidRequest, match="n = "):
            site.slots.upcoming(template, bad)


def test_a_virtual_slot_is_there_until_it_ends_and_not_longer(site: Site) -> None:
    """At the moment of its end it is gone, one microsecond before it is running."""
    site.add()
    for before, shown in ((timedelta(microseconds=1), ["running"]), (timedelta(0), [])):
        site.clock.now = MONDAY.replace(hour=11) - before
        found = site.slots.between(MONDAY.replace(hour=10), MONDAY.replace(hour=11))
        assert [slot.state for slot in found] == shown


def test_a_week_costs_two_queries(site: Site) -> None:
    """Reading a week of many templates takes two queries, whatever their number."""
    counts = []
    for total in (1, 12):
        while site.session.query(site.slots.Template).count() < total:
            site.add(name="More")
        site.slots.generate()
        site.session.rollback()
        statements: list[str] = []
        engine = site.db.engine

        def note(
            conn: object, cursor: object, statement: str, *rest: object, into: list[str] = statements
        ) -> None:
            into.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        week = site.week()
        assert {slot.template.name for slot in week} <= {"Hall", "More"}
        event.remove(engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert counts == [2, 2]


def test_local_times_follow_the_zone(sqlite_url: str, tmp_path: Path) -> None:
    """10:00 stays 10:00 on the wall when the clocks change, and the key with it."""
    site = Site(sqlite_url, tmp_path, Clock(datetime(2026, 3, 27, 8, tzinfo=UTC)))
    with site.app.app_context():
        site.add(timezone="Europe/Madrid", every=None, until_time=None)
        days = site.slots.between(site.clock.now, site.clock.now + timedelta(days=4))
        assert [s.starts_at.hour for s in days] == [9, 9, 8, 8]
        assert {s.local_start.strftime("%H:%M") for s in days} == {"10:00"}
        assert [s.key[-4:] for s in days] == ["1000"] * 4


def test_a_grid_past_midnight(site: Site) -> None:
    """A grid from 22:00 until 02:00 has four hours, the last two on the next day."""
    site.add(dtstart=datetime(2026, 1, 1, 22), until_time=time(2))
    tonight = site.slots.between(MONDAY.replace(hour=20), MONDAY.replace(hour=8) + timedelta(days=1))
    assert [s.local_start.strftime("%d %H:%M") for s in tonight] == [
        "05 22:00",
        "05 23:00",
        "06 00:00",
        "06 01:00",
    ]


def test_the_end_of_the_calendar_is_quiet(site: Site) -> None:
    """A slot that would end after the last day of the calendar does not exist; nothing overflows."""
    template = site.add(every=None, until_time=None, duration=timedelta(minutes=999_999), overlapping=True)
    for key in (f"{template.id}@99981231T1000", f"{template.id}@99991231T2359"):
        with pytest.raises(SlotNotFound):
            site.slots.get(key)
    assert site.slots.upcoming(template, 5, after=datetime(9998, 12, 30, tzinfo=UTC)) == []
    edge = datetime(9998, 12, 1, tzinfo=UTC)
    assert site.slots.between(edge, edge + timedelta(days=300)) == []


@pytest.mark.parametrize("template", ["1", True, 0, -1, 10**30, 1.0])
def test_a_template_is_an_object_or_an_id(site: Site, template: object) -> None:
    """Anything else than a template or its id is refused before the database sees it."""
    site.add()
    for call in (site.week, site.slots.generate, site.slots.runs):
        with pytest.raises(InvalidRequest, match="template = "):
            call(template=template)
    with pytest.raises(InvalidRequest, match="group = 5"):
        site.week(group=5)


def test_a_template_of_an_earlier_context_is_understood(site: Site) -> None:
    """A template object whose session is gone still names its series."""
    template = site.add()
    site.session.remove()
    assert len(site.week(template=template)) == A_WEEK
    assert site.slots.generate(template=template).created == A_WEEK


@pytest.mark.parametrize(
    "key", ["01@20260105T1000", "1@20260105t1000", " 1@20260105T1000", "1@20260105T1000\n"]
)
def test_a_slot_has_one_key_only(site: Site, key: str) -> None:
    """Another spelling of a key is not a key."""
    site.add()
    with pytest.raises(InvalidKey):
        site.slots.get(key)


def test_extreme_dates_are_quiet(site: Site) -> None:
    """The first and last moments of the calendar, in any zone, are just empty."""
    template = site.add()
    tokyo = ZoneInfo("Asia/Tokyo")
    assert site.slots.between(datetime.min.replace(tzinfo=tokyo), datetime(2, 1, 1, tzinfo=tokyo)) == []
    assert site.slots.upcoming(template, 2, after=datetime.max.replace(tzinfo=UTC)) == []
    with pytest.raises(InvalidRequest, match="after"):
        site.slots.upcoming(template, 2, after="2026")  # type: ignore[arg-type]


def test_nested_data_is_not_shared(site: Site) -> None:
    """Changing a list inside a virtual slot's data touches neither the template nor other slots."""
    template = site.add(data={"courts": [1]})
    first, second = site.week()[:2]
    first.data["courts"].append(2)
    assert (second.data, template.data) == ({"courts": [1]}, {"courts": [1]})


def test_rows_are_found_by_id_or_by_themselves(site: Site) -> None:
    """A template, a booking and a run are given back; what there is not, and what is no id, is told by name."""
    template = site.add()
    site.slots.generate()
    booking = site.slots.book(site.week()[0].key)
    site.session.commit()
    (run,) = site.slots.runs()
    assert site.slots.get_template(template.id) is site.slots.get_template(template) is template
    assert site.slots.get_booking(booking.id) is site.slots.get_booking(booking) is booking
    assert site.slots.get_run(run.id) is run
    assert site.slots.segments(booking.slot) == [template]
    with pytest.raises(TemplateNotFound, match="template 99: there is no such template"):
        site.slots.get_template(99)
    with pytest.raises(InvalidRequest, match="template = None: expected a template or its id"):
        site.slots.get_template(None)  # type: ignore[arg-type]
    for find, number in ((site.slots.get_booking, "1"), (site.slots.get_run, 99)):
        with pytest.raises(LookupError, match="there is no such"):
            find(number)
    with pytest.raises(SlotNotFound, match="9@20260105T1000"):
        site.slots.segments("9@20260105T1000")


def test_what_is_in_the_way_in_sql_counts_the_holds_of_its_own_slot(site: Site) -> None:
    """Holds of others that have expired make nobody's booked slot look free to a slot that a person moved."""
    site.add(capacity=9)
    site.slots.generate()
    moved, mine, other = (slot.key for slot in site.week()[:3])
    site.slots.hold(mine, 1, minutes=5)
    site.slots.hold(other, 5, minutes=5)
    site.slots.book(mine, 2)
    site.session.commit()
    cls = site.slots.Slot
    end = site.slots.get(mine).ends_at
    row = site.slots.get(moved)
    where = {"starts_at": end - timedelta(hours=1), "ends_at": end, "closes_at": end - timedelta(hours=1)}
    values = {**where, "displaced": True, "customised": ["starts_at", "ends_at"]}
    site.session.execute(cls.__table__.update().where(cls.id == row.id).values(**values))
    site.session.commit()
    site.clock.now += timedelta(minutes=5)
    found = site.session.execute(
        site.db.select(cls.state).where(cls.id.in_([row.id, site.slots.get(mine).id]))
    )
    assert sorted(state for (state,) in found) == ["blocked", "open"]
    assert (site.slots.get(moved).state, site.slots.get(mine).state) == ("blocked", "open")
