"""Cancel, delete, restore, complete, and decisions about many templates."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, MONDAY, Site

from flask_rollingslots import signals
from flask_rollingslots.errors import (
    InvalidKey,
    InvalidRequest,
    SlotBooked,
    SlotClosed,
    SlotFull,
    SlotNotFound,
    StaleEdit,
    StatusConflict,
    TemplateNotFound,
)

if TYPE_CHECKING:
    from pathlib import Path

HOUR = timedelta(hours=1)
TEN, ELEVEN, NOON = "1@20260106T1000", "1@20260106T1100", "1@20260106T1200"


@pytest.fixture
def hall(site: Site) -> Site:
    """A filled week."""
    site.add(capacity=2)
    site.slots.generate()
    return site


def states(site: Site) -> dict[str, int]:
    found: dict[str, int] = {}
    for slot in site.week():
        found[str(slot.state)] = found.get(str(slot.state), 0) + 1
    return found


def test_this_moves_one_slot_and_remembers_it(hall: Site) -> None:
    """Start, length, places and data of one slot change; later edits of all leave just these fields alone."""
    plan = hall.slots.edit(TEN, "this", start=time(20), capacity=5)
    hall.session.commit()
    assert [str(change.row.key) for change in plan.changed] == [TEN]
    hall.slots.edit(
        NOON, "all", start=time(12, 15), duration=timedelta(minutes=45), capacity=3, data={"a": 1}
    )
    hall.session.commit()
    slot = hall.slots.get(TEN)
    assert slot.customised == ["capacity", "starts_at"]
    assert (slot.local_start.hour, slot.ends_at - slot.starts_at) == (20, timedelta(minutes=45))
    assert (slot.capacity, slot.data) == (5, {"a": 1})
    assert hall.slots.generate().to_dict()["updated"] == 0


def test_this_refuses_what_cannot_be(hall: Site) -> None:
    """Over a booked slot or one that was moved there, into the past, or while booked: refused, nothing is written."""
    hall.slots.book(ELEVEN)
    hall.slots.edit("1@20260107T1000", "this", start=time(20))
    hall.session.commit()
    for key, start in (
        (TEN, time(10, 30)),
        (TEN, time(11)),
        ("1@20290105T1000", datetime(2026, 1, 6, 11, 59)),
    ):
        with pytest.raises(InvalidRequest, match=f"^start = .*: {ELEVEN} is there"):
            hall.slots.edit(key, "this", start=start)
    with pytest.raises(InvalidRequest, match=f"^duration = .*: {ELEVEN} is there"):
        hall.slots.edit(TEN, "this", duration=timedelta(minutes=61))
    with pytest.raises(InvalidRequest, match="1@20260107T1000 is there"):
        hall.slots.edit(NOON, "this", start=datetime(2026, 1, 7, 19, 30))
    with pytest.raises(InvalidRequest, match="future"):
        hall.slots.edit(TEN, "this", start=datetime(2026, 1, 4, 10))
    hall.slots.book(TEN, party=2)
    with pytest.raises(SlotBooked, match="move_booked"):
        hall.slots.edit(TEN, "this", start=time(20))
    hall.session.commit()
    assert len(hall.rows()) == A_WEEK
    hall.slots.edit(TEN, "this", start=time(20), move_booked=True)
    assert hall.slots.get(TEN).local_start.hour == 20


def test_a_virtual_slot_is_changed_for_itself(site: Site) -> None:
    """Editing a slot years ahead stores just that one; a preview stores nothing."""
    site.add()
    site.slots.preview_edit("1@20290105T1000", "this", capacity=3)
    site.session.commit()
    assert site.rows() == []
    with pytest.raises(StaleEdit):
        site.slots.edit("1@20290105T1000", "this", revision=7, capacity=3)
    site.session.commit()
    assert site.rows() == []
    site.slots.edit("1@20290105T1000", "this", capacity=3)
    site.session.commit()
    assert [(row.key, row.capacity) for row in site.rows()] == [("1@20290105T1000", 3)]


def test_booked_slots_keep_their_times_and_are_reported(hall: Site) -> None:
    """A booked slot stays and takes its new data; all others move, also the one that comes to stand beside it."""
    hall.slots.book(NOON)
    hall.session.commit()
    plan = hall.slots.edit(TEN, "all", start=time(11), data={"a": 1})
    hall.session.commit()
    assert ([str(row.key) for row in plan.kept_booked], plan.removed, plan.created) == ([NOON], (), ())
    slot = hall.slots.get(NOON)
    assert (slot.local_start.hour, slot.data, slot.displaced) == (12, {"a": 1}, True)
    shown = [s for s in hall.week() if s.local_start.date() == date(2026, 1, 6)]
    assert [s.local_start.hour for s in shown] == [11, 12, 12, 14, 15, 16, 17, 18]
    assert [s.key for s in shown if s.displaced] == [NOON]
    report = hall.slots.generate()
    assert (report.created, report.updated, report.removed) == (0, 0, 0)
    assert hall.slots.health().status == "ok"


def test_the_place_of_a_booked_slot_is_taken_beyond_the_window_too(site: Site) -> None:
    """A virtual slot at the time of a booked one that stayed behind is shown and blocked: to read, make and book."""
    template = site.add()
    site.slots.book("1@20260606T1200")
    site.session.commit()
    site.slots.edit("1@20260606T1200", "all", start=time(13))
    site.session.commit()
    day = datetime(2026, 6, 6, tzinfo=UTC)
    found = site.slots.between(day, day + timedelta(days=1))
    assert [slot.starts_at.hour for slot in found] == [11, 12, 12, 14, 15, 16, 17, 18]
    here = {slot.key: (slot.is_virtual, slot.state) for slot in found if slot.starts_at.hour == 12}
    assert here == {"1@20260606T1100": (True, "blocked"), "1@20260606T1200": (False, "full")}
    assert site.slots.get("1@20260606T1100").state == "blocked"
    for key, error in (("1@20260606T1100", SlotClosed), ("1@20260606T1200", SlotFull)):
        with pytest.raises(error):
            site.slots.book(key)
        site.session.rollback()
    assert site.slots.materialize("1@20260606T1100").state == "blocked"
    assert site.slots.explain(template, day.replace(hour=12)).key == "1@20260606T1200"


def test_move_booked_moves_them(hall: Site) -> None:
    """Asked for, booked slots go with their series, and keep their bookings."""
    hall.slots.book(NOON)
    hall.session.commit()
    plan = hall.slots.edit(TEN, "all", start=time(11), move_booked=True)
    hall.session.commit()
    assert plan.kept_booked == ()
    assert (hall.slots.get(NOON).local_start.hour, hall.slots.get(NOON).booked) == (13, 1)
    assert len(hall.week()) == A_WEEK


def test_a_released_slot_goes_where_its_series_is(hall: Site) -> None:
    """Once nobody holds it any more, a slot that stayed behind follows with the next top-up."""
    booking = hall.slots.book(NOON)
    hall.slots.edit(TEN, "all", start=time(11))
    hall.session.commit()
    hall.slots.release(booking)
    hall.session.commit()
    hall.slots.generate()
    hall.slots.generate()
    assert hall.slots.get(NOON).local_start.hour == 13
    assert hall.slots.get(ELEVEN).local_start.hour == 12
    assert len(hall.week()) == A_WEEK


def test_a_kept_slot_that_the_rule_lacks_stays_withdrawn_once_it_is_released(hall: Site) -> None:
    """Its history keeps it: no top-up takes it away, nobody can book it, and the owner ends it by deleting it."""
    booking = hall.slots.book(NOON)
    hall.session.commit()
    plan = hall.slots.edit("1@20260105T1000", "all", rrule="FREQ=WEEKLY;BYDAY=MO")
    hall.session.commit()
    assert [str(row.key) for row in plan.kept_booked] == [NOON]
    hall.slots.release(booking)
    hall.session.commit()
    for _ in range(2):
        report = hall.slots.generate()
        assert (report.created, report.removed) == (0, 0)
    hall.session.rollback()
    assert (hall.slots.get(NOON).state, states(hall)) == ("withdrawn", {"open": 8, "withdrawn": 1})
    assert hall.slots.health().status == "ok"
    with pytest.raises(SlotClosed, match="it is withdrawn"):
        hall.slots.book(NOON)
    hall.session.rollback()
    hall.slots.delete(NOON)
    hall.session.commit()
    assert hall.slots.generate().created == 0
    assert states(hall) == {"open": 8}


def test_capacity_below_the_bookings_takes_effect(hall: Site) -> None:
    """A slot with more bookings than the new capacity gets it too and is reported; nothing is left in it."""
    hall.slots.book(NOON, party=2)
    preview = hall.slots.preview_edit(TEN, "all", capacity=1)
    assert (preview.to_dict()["overbooked"], hall.slots.get(NOON).capacity) == ([NOON], 2)
    plan = hall.slots.edit(TEN, "all", capacity=1)
    hall.session.commit()
    assert ([str(row.key) for row in plan.overbooked], plan.kept_booked) == ([NOON], ())
    assert plan.to_dict()["counts"]["overbooked"] == 1
    slot = hall.slots.get(NOON)
    assert (slot.capacity, hall.slots.get(TEN).capacity, slot.left, slot.state) == (1, 1, 0, "full")


@pytest.mark.parametrize("how", ["this", "this_and_future", "all", "template", "slot of the app"])
def test_nobody_new_until_enough_is_given_back(any_site: Site, how: str) -> None:
    """Ten places, five booked, cut to three by whichever way: a place is free when less than three are taken."""
    template = any_site.add(capacity=10)
    made = [any_site.slots.book(NOON) for _ in range(5)]
    any_site.session.commit()
    if how == "template":
        any_site.slots.change_template(template, capacity=3)
    elif how == "slot of the app":
        any_site.slots.get(NOON).capacity = 3
    else:
        assert any_site.slots.edit(NOON, how, capacity=3).to_dict()["overbooked"] == [NOON]
    any_site.session.commit()
    for booking in made[:3]:
        assert (any_site.slots.get(NOON).left, any_site.slots.get(NOON).capacity) == (0, 3)
        with pytest.raises(SlotFull):
            any_site.slots.book(NOON)
        any_site.session.rollback()
        any_site.slots.release(booking)
        any_site.session.commit()
    assert any_site.slots.get(NOON).left == 1
    any_site.slots.book(NOON)
    any_site.session.commit()
    with pytest.raises(SlotFull):
        any_site.slots.book(NOON)


def test_one_place_where_two_were_booked(any_site: Site) -> None:
    """Two bookings of before hold the single place until both are given back; then one more person gets it."""
    any_site.add(capacity=2)
    first, second = any_site.slots.book(NOON), any_site.slots.book(NOON)
    any_site.session.commit()
    any_site.slots.edit(NOON, "all", capacity=1)
    any_site.session.commit()
    for booking in (first, second):
        with pytest.raises(SlotFull):
            any_site.slots.book(NOON)
        any_site.session.rollback()
        any_site.slots.release(booking)
        any_site.session.commit()
    any_site.slots.book(NOON)
    any_site.session.commit()
    with pytest.raises(SlotFull):
        any_site.slots.book(NOON)


def test_swapping_times_do_not_collide(hall: Site) -> None:
    """Each slot of a grid moves to where the next one was, and all are still there."""
    before = sorted(slot.starts_at + HOUR for slot in hall.week())
    plan = hall.slots.edit("1@20260105T1000", "all", start=time(11))
    hall.session.commit()
    assert (len(plan.changed), plan.removed, plan.kept_changed) == (A_WEEK, (), ())
    assert [slot.starts_at for slot in hall.week()] == before


def test_a_preview_is_what_happens(hall: Site) -> None:
    """Created, changed, removed and kept: the counts of the preview are those of the edit and of the rows."""
    hall.slots.book(NOON)
    hall.slots.edit(ELEVEN, "this", data={"mine": True})
    hall.session.commit()
    key, change = "1@20260106T1000", {"rrule": "FREQ=WEEKLY;BYDAY=TH,SA"}
    preview = hall.slots.preview_edit(key, "this_and_future", **change)
    hall.session.commit()
    assert (len(hall.rows()), hall.session.query(hall.slots.Template).count()) == (A_WEEK, 1)
    counts = preview.to_dict()["counts"]
    assert counts == {
        "created": 0,
        "changed": 0,
        "removed": 6 * 8 - 2 - 16,
        "kept_booked": 1,
        "kept_changed": 1,
        "overbooked": 0,
    }
    assert hall.slots.edit(key, "this_and_future", **change).to_dict() == preview.to_dict()
    hall.session.commit()
    assert len(hall.rows()) == 8 + 2 + 16
    assert hall.slots.generate().created == 0
    grown = hall.slots.preview_edit("1@20260108T1000", "this_and_future", rrule="FREQ=DAILY")
    assert grown.to_dict()["counts"]["created"] == 16
    hall.slots.apply_edit(grown)
    hall.session.commit()
    assert hall.slots.generate().created == 16


def test_cancel_in_wide_scopes_and_back(hall: Site) -> None:
    """Stored slots show as cancelled, later ones stay away; restoring brings back just what this took."""
    hall.slots.cancel(NOON, reason="Wet floor")
    hall.slots.book(ELEVEN)
    hall.session.commit()
    report = hall.slots.cancel(TEN, "this_and_future", reason="Closed")
    hall.session.commit()
    assert (len(report.changed), report.booked) == (6 * 8 - 1, [ELEVEN])
    assert states(hall) == {"open": 8, "cancelled": 48}
    assert {slot.cancel_reason for slot in hall.week()} == {None, "Wet floor", "Closed"}
    hall.clock.turn(days=3)
    assert hall.slots.generate().created == 0
    assert hall.slots.health().status == "ok"
    assert hall.slots.upcoming(1, n=5, after=MONDAY + timedelta(days=8)) == []
    back = hall.slots.restore(TEN, "this_and_future")
    hall.session.commit()
    assert len(back.changed) == 4 * 8  # two days are over
    assert hall.slots.generate().created == 3 * 8
    assert hall.slots.get(NOON).state == "cancelled"
    assert len(hall.slots.upcoming(1, n=100)) == 100


def test_a_part_of_what_was_cancelled_comes_back(hall: Site) -> None:
    """Cancelled from Tuesday on, taken back from Friday on: three days stay cancelled."""
    hall.slots.cancel(TEN, "this_and_future")
    hall.session.commit()
    hall.slots.restore("1@20260109T1000", "this_and_future")
    hall.session.commit()
    hall.slots.generate(days=14)
    assert states(hall) == {"open": 8 * 4, "cancelled": 8 * 3}
    assert hall.slots.get("1@20260115T1000").state == "open"
    hall.slots.restore_series(1)
    hall.session.commit()
    assert states(hall) == {"open": A_WEEK}


def test_one_slot_of_a_cancelled_series_comes_back(hall: Site) -> None:
    """One restored slot stays, stored or far ahead, although its series has ended; no top-up takes it away."""
    hall.slots.cancel_future(1, date(2026, 1, 6))
    hall.slots.restore(NOON)
    hall.slots.restore("1@20260801T1000")
    hall.session.commit()
    hall.slots.generate()
    assert hall.slots.get(NOON).state == "open"
    assert hall.slots.get("1@20260801T1000").state == "open"
    with pytest.raises(SlotNotFound):
        hall.slots.get("1@20260801T1100")


def test_what_has_started_is_never_ended(hall: Site) -> None:
    """Cancelling or deleting all leaves the running and the past slots as they are."""
    hall.clock.now = MONDAY.replace(hour=12, minute=30)
    hall.slots.cancel("1@20260105T1100", "all")
    hall.session.commit()
    assert states(hall) == {"ended": 2, "running": 1, "cancelled": A_WEEK - 3}


def test_restored_slots_come_back_where_the_series_is(hall: Site) -> None:
    """Cancelled at ten, the series moved to eleven: it comes back at eleven, unless that is taken."""
    hall.slots.cancel(TEN)
    hall.slots.edit(ELEVEN, "all", start=time(11, 30))
    hall.session.commit()
    assert hall.slots.get(TEN).local_start.minute == 0
    assert hall.slots.restore(TEN).local_start.minute == 30
    hall.slots.delete(ELEVEN)
    hall.slots.edit(NOON, "this", start=time(11, 30))
    with pytest.raises(StatusConflict, match="its time"):
        hall.slots.restore(ELEVEN)


@pytest.mark.parametrize("wide", [True, False])
def test_what_comes_back_has_what_its_series_has_by_now(hall: Site, wide: bool) -> None:
    """Capacity and data that the series got meanwhile; what a person gave to the slot, or stored in it, stays."""
    hall.slots.edit(NOON, "this", capacity=9)
    hall.slots.edit(ELEVEN, "this", data={"price": 1})
    late = "1@20260106T1700"
    stored = hall.slots.get(late)
    stored.data["note"] = "mine"
    hall.session.commit()
    hall.slots.cancel_future(1, date(2026, 1, 6))
    hall.slots.edit("1@20260105T1000", "all", capacity=5, data={"price": 20})
    hall.session.commit()
    if wide:
        hall.slots.restore_series(1)
    else:
        for key in (TEN, ELEVEN, NOON, late):
            hall.slots.restore(key)
    hall.session.commit()
    found = {key: hall.slots.get(key) for key in (TEN, ELEVEN, NOON, late)}
    assert {key: (slot.capacity, slot.data.get("price")) for key, slot in found.items()} == {
        TEN: (5, 20),
        ELEVEN: (5, 1),
        NOON: (9, 20),
        late: (5, None),
    }
    assert found[late].data == {"note": "mine"}


def test_a_restored_slot_has_the_places_of_its_series(hall: Site) -> None:
    """It comes back with the places that its series has by now, and is reported where that is fewer than it sold."""
    hall.slots.book(NOON, party=2)
    hall.slots.book(ELEVEN)
    hall.session.commit()
    hall.slots.cancel_future(1, date(2026, 1, 6))
    hall.slots.edit("1@20260105T1000", "all", capacity=1)
    hall.session.commit()
    report = hall.slots.restore_series(1)
    hall.session.commit()
    assert (report.kept_booked, report.overbooked, NOON in report.changed) == ([], [NOON], True)
    assert report.to_dict()["counts"]["overbooked"] == 1
    assert [(hall.slots.get(key).capacity, hall.slots.get(key).state) for key in (NOON, ELEVEN)] == [
        (1, "full"),
        (1, "full"),
    ]
    hall.slots.cancel(NOON)
    assert (hall.slots.restore(NOON).capacity, hall.slots.get(NOON).left) == (1, 0)


def test_delete_this(hall: Site) -> None:
    """A deleted slot is not shown, not found and not made again; a booked, completed or past one is not deleted."""
    hall.slots.delete(TEN)
    hall.slots.delete(TEN)
    hall.session.commit()
    assert len(hall.week()) == A_WEEK - 1
    assert hall.slots.generate().created == 0
    hall.slots.book(ELEVEN)
    with pytest.raises(SlotBooked, match="booked"):
        hall.slots.delete(ELEVEN)
    hall.slots.complete(NOON)
    with pytest.raises(StatusConflict, match="completed"):
        hall.slots.delete(NOON)
    for scope in ("this_and_future", "all"):
        with pytest.raises(SlotNotFound):
            hall.slots.cancel(TEN, scope)
    assert hall.slots.restore(TEN).state == "open"


def test_complete_any_slot_that_is_not_cancelled(hall: Site) -> None:
    """Before, while and after it takes place; again changes nothing; a cancelled one is refused."""
    hall.clock.now = MONDAY.replace(hour=12, minute=30)
    for key in ("1@20260105T1000", "1@20260105T1200", NOON):
        assert hall.slots.complete(key).state == "completed"
        assert hall.slots.complete(key).state == "completed"
    hall.slots.cancel(TEN)
    with pytest.raises(StatusConflict, match="cancelled"):
        hall.slots.complete(TEN)
    with pytest.raises(StatusConflict, match="completed"):
        hall.slots.restore(NOON)
    assert hall.slots.complete(NOON, undo=True).state == "open"
    assert hall.slots.complete(NOON, undo=True).state == "open"


def test_the_past_is_corrected_one_slot_at_a_time(hall: Site) -> None:
    """What became of a slot that is over, and its data, may be put right; its time and its places may not."""
    slots, past = hall.slots, "1@20260105T1000"
    slots.generate()
    slots.book(past, who="ada")
    hall.session.commit()
    hall.clock.turn(days=1)
    before = {slot.key: (slot.starts_at, slot.capacity) for slot in hall.rows()}
    assert slots.cancel(past, reason="no teacher").affected_bookings[0].who == "ada"
    assert slots.edit(past, "this", data={"note": "sick"}).changed
    assert (slots.get(past).state, slots.get(past).data["note"]) == ("cancelled", "sick")
    assert slots.restore(past).state == "ended"
    assert slots.complete(past).state == "completed"
    assert slots.edit(past, "this", data={"note": "took place"}).changed
    with pytest.raises(StatusConflict, match="completed"):
        slots.cancel(past)
    assert slots.complete(past, undo=True).state == "ended"
    with pytest.raises(SlotBooked):
        slots.delete(past)
    slots.release(1, override=True)
    slots.delete(past)
    with pytest.raises(SlotNotFound):
        slots.get(past)
    assert slots.restore(past).state == "ended"
    for change in ({"start": time(12)}, {"duration": timedelta(hours=2)}, {"capacity": 9}):
        with pytest.raises(StatusConflict, match="over: only its data, its name"):
            slots.edit(past, "this", **change, data={"note": "no"})
    hall.session.commit()
    assert {slot.key: (slot.starts_at, slot.capacity) for slot in hall.rows()} == before
    assert slots.get(past).data["note"] == "took place"


def test_a_slot_of_the_past_stays_away_where_another_one_stood(hall: Site) -> None:
    """A cancelled slot does not come back to a time at which another slot of the series took place."""
    slots, past = hall.slots, "1@20260106T1000"
    slots.cancel(past)
    slots.edit("1@20260106T1100", "this", start=time(10))
    hall.session.commit()
    hall.clock.turn(days=3)
    with pytest.raises(StatusConflict, match="another slot of its series is at its time"):
        slots.restore(past)


@pytest.mark.parametrize("moment", [date(2026, 1, 8), datetime(2026, 1, 7, 23, 30, tzinfo=UTC)])
def test_cancel_future_by_day_and_by_moment(site: Site, moment: date) -> None:
    """A day begins at the template's own midnight; the report counts what was cancelled."""
    template = site.add(
        timezone="Asia/Tokyo", dtstart=datetime(2026, 1, 1, 8, 30), every=HOUR, until_time=time(10, 30)
    )
    site.slots.generate()
    report = site.slots.cancel_future(template, moment, reason="Over")
    site.session.commit()
    expected = [f"1@202601{day:02}T{hour}30" for day in range(8, 12) for hour in ("08", "09")]
    assert report.to_dict()["changed"] == expected
    assert report.to_dict()["counts"]["changed"] == 8
    assert site.slots.upcoming(template, n=9)[-1].key == expected[4]
    with pytest.raises(InvalidRequest, match="from_date"):
        site.slots.cancel_future(template, datetime(2026, 1, 8))  # type: ignore[arg-type]
    with pytest.raises(TemplateNotFound):
        site.slots.cancel_future(99, date(2026, 1, 8))


def test_cancel_future_reaches_all_parts(hall: Site) -> None:
    """A series that was cut ends in all of its parts, at the shown time, and comes back in all of them."""
    hall.slots.edit("1@20260107T1000", "this_and_future", start=time(12))
    hall.slots.edit("1@20260109T1000", "this_and_future", capacity=7)
    hall.session.commit()
    hall.slots.cancel_future(1, datetime(2026, 1, 7, 13, tzinfo=UTC))
    hall.session.commit()
    assert states(hall) == {"open": 17, "cancelled": 39}
    assert hall.slots.upcoming(1, n=100)[17:] == [s for s in hall.week() if s.state == "cancelled"]
    hall.slots.restore_series(1)
    hall.session.commit()
    assert states(hall) == {"open": A_WEEK}
    assert {slot.capacity for slot in hall.slots.upcoming(1, n=200)[30:]} == {2, 7}


def test_groups_are_switched_off_and_on(site: Site) -> None:
    """All templates of a club, and no others; an unknown or missing group matches nothing, never everything."""
    north, south = site.add(group="north"), site.add(group="south")
    site.add(group="north")
    booking = site.slots.book(f"{north.id}@20260107T1000", who="ann")
    off = site.slots.deactivate(group="north")
    assert (off.changed, [each.id for each in off.bookings]) == ([1, 3], [booking.id])
    site.slots.release(booking)
    site.session.commit()
    assert {slot.series_id for slot in site.week()} == {south.id}
    with pytest.raises(TemplateNotFound):
        site.slots.deactivate(group="nowhere")
    for wrong in ({}, {"group": None}, {"group": "north", "template": north}):
        with pytest.raises(InvalidRequest):
            site.slots.activate(**wrong)
    assert site.slots.activate(group="north").to_dict() == {
        "active": True,
        "changed": [1, 3],
        "unchanged": [],
        "bookings": [],
    }
    assert site.slots.activate(template=north).unchanged == [1]
    site.session.commit()
    assert len(site.week()) == 3 * A_WEEK


def test_a_date_is_cancelled_for_a_whole_club(site: Site) -> None:
    """One local day in each template's own zone, stored or not, with the reason; other clubs stay open."""
    site.add(group="north")
    site.add(group="north", timezone="Asia/Tokyo")
    site.add(group="south")
    site.slots.generate(template=1)
    site.slots.cancel("1@20260107T1000", reason="Earlier")
    keys = site.slots.cancel_date("north", date(2026, 1, 7), reason="Feast")
    site.session.commit()
    assert len(keys) == 15
    for slot in site.week():
        is_off = slot.series_id != 3 and slot.original_start.date() == date(2026, 1, 7)
        assert (slot.state == "cancelled") is is_off
    assert site.slots.get("1@20260107T1000").cancel_reason == "Earlier"
    for wrong in (1, ""):
        with pytest.raises(InvalidRequest):
            site.slots.cancel_date(wrong, date(2026, 1, 7))  # type: ignore[arg-type]
    with pytest.raises(TemplateNotFound):
        site.slots.cancel_date("nowhere", date(2026, 1, 7))


def test_a_cancelled_date_tells_whom_to_write_to(site: Site) -> None:
    """The live bookings of all its slots, in the answer and one by one in the signal; no others."""
    site.add(group="north", capacity=3)
    site.add(group="north")
    site.slots.generate(template=1)
    ada = site.slots.book("1@20260107T1000", who="ada")
    bob = site.slots.hold("2@20260107T1100", who="bob")
    site.slots.release(site.slots.book("1@20260107T1000", who="eve"))
    site.slots.book("1@20260108T1000", who="tomorrow")
    site.slots.book("1@20260107T1200", who="earlier")
    site.slots.cancel("1@20260107T1200")
    site.session.commit()
    heard: list[dict[str, Any]] = []
    with signals.slot_cancelled.connected_to(lambda app, **facts: heard.append(facts)):
        keys = site.slots.cancel_date("north", date(2026, 1, 7), reason="Feast")
    assert keys.bookings == [ada, bob]
    assert [facts["slot"].key for facts in heard] == keys
    assert len(keys) == 15
    told = {facts["slot"].key: (facts["slot"].state, facts["reason"], facts["bookings"]) for facts in heard}
    assert told.pop("1@20260107T1000") == ("cancelled", "Feast", [ada])
    assert told.pop("2@20260107T1100") == ("cancelled", "Feast", [bob])
    assert set(map(str, told.values())) == {str((heard[0]["slot"].state, "Feast", []))}
    assert [facts["slot"].affected_bookings for facts in heard if facts["bookings"]] == [[ada], [bob]]
    again = site.slots.cancel_date("north", date(2026, 1, 7))
    assert (again, again.bookings) == ([], [])


def test_a_date_is_cancelled_for_templates_that_are_switched_off_too(site: Site) -> None:
    """Switched on again, their day is cancelled like that of the others, whether it was stored or not."""
    for _ in range(3):
        site.add(group="north")
    site.slots.generate(template=2)
    site.slots.deactivate(template=2)
    site.slots.deactivate(template=3)
    site.session.commit()
    keys = site.slots.cancel_date("north", date(2026, 1, 7), reason="Feast")
    site.session.commit()
    assert len(keys) == 3 * 8
    assert {slot.series_id for slot in site.week()} == {1}
    site.slots.activate(group="north")
    site.session.commit()
    assert site.slots.generate().created == A_WEEK - 8 + A_WEEK - 8
    site.session.rollback()
    for slot in site.week():
        assert (slot.state == "cancelled") is (slot.original_start.date() == date(2026, 1, 7))
    assert site.slots.get("3@20260107T1000").cancel_reason == "Feast"


def test_a_date_that_is_partly_over_is_cancelled_for_what_is_left(hall: Site) -> None:
    """What has ended stays as it took place; what runs and what is to come is cancelled."""
    template = hall.session.get(hall.slots.Template, 1)
    template.group = "north"
    hall.session.commit()
    hall.clock.now = datetime(2026, 1, 6, 12, tzinfo=UTC)
    keys = hall.slots.cancel_date("north", date(2026, 1, 6))
    hall.session.commit()
    assert keys[0] == NOON
    assert len(keys) == 6
    assert [hall.slots.get(key).state for key in (TEN, ELEVEN, NOON)] == ["ended", "ended", "cancelled"]


@pytest.mark.parametrize("call", ["edit", "cancel", "delete", "restore"])
def test_unknown_keys_and_scopes(hall: Site, call: str) -> None:
    """A key or a scope that does not exist is refused by each decision."""
    more = {"capacity": 3} if call == "edit" else {}
    act: Any = getattr(hall.slots, call)
    for scope in ("this", "this_and_future", "all"):
        with pytest.raises(InvalidKey):
            act("tomorrow", scope, **more)
        for key in ("1@20260106T1001", "77@20260106T1000"):
            with pytest.raises(SlotNotFound):
                act(key, scope, **more)
    with pytest.raises(InvalidRequest, match="this_and_future"):
        act(TEN, "some", **more)


def test_the_commit_of_an_edit_starts_a_top_up(sqlite_url: str, tmp_path: Path) -> None:
    """After the outermost commit, not before it, the new rule is filled in the background, in both parts."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_ENABLED=True)
    with site.app.app_context():
        site.add(rrule="FREQ=DAILY;INTERVAL=2", dtstart=datetime(2026, 1, 5, 10))
        site.settle()
        assert len(site.rows()) == 4 * 8
        site.session.rollback()
        site.slots.edit("1@20260107T1000", "this_and_future", rrule="FREQ=DAILY")
        site.settle()
        assert len(site.rows()) == 4 * 8
        site.session.commit()
        site.settle()
        site.session.rollback()
        assert len(site.rows()) == 8 + 5 * 8
        assert site.slots.runs(template=2)[0].trigger == "edit"
        site.settle()


def test_what_was_completed_follows_its_series_when_that_is_undone(hall: Site) -> None:
    """A slot that is scheduled again is as its template says by now, and stands beside no other one."""
    hall.slots.complete(NOON)
    hall.slots.edit(TEN, "all", start=time(12), capacity=3)
    hall.session.commit()
    tried = hall.slots.complete(NOON, undo=True, dry_run=True)
    done = hall.slots.complete(NOON, undo=True)
    hall.session.commit()
    for slot in (tried, done, hall.slots.get(NOON)):
        assert (slot.local_start.hour, slot.capacity, slot.state) == (14, 3, "open")
        assert not slot.displaced
    hall.slots.complete(NOON)
    hall.slots.close(date(2026, 1, 6))
    hall.session.commit()
    assert hall.slots.complete(NOON, undo=True).state == "withdrawn"


def test_who_is_booked_on_a_day_off_keeps_the_time_too(hall: Site) -> None:
    """A booked slot whose day is closed stays when its series moves: nothing else of the series is sold beside it."""
    hall.slots.book(NOON, who="Ada")
    hall.slots.edit(TEN, "all", start=datetime(2026, 1, 7, 10))
    hall.slots.close(date(2026, 1, 7))
    hall.session.commit()
    beside = hall.slots.get("1@20260105T1200")
    assert (hall.slots.get(NOON).state, hall.slots.get(NOON).starts_at) == ("withdrawn", beside.starts_at)
    assert beside.state == "blocked"
    with pytest.raises(SlotClosed):
        hall.slots.book(beside.key)
    hall.session.rollback()


def test_a_slot_that_runs_keeps_its_time_too(hall: Site) -> None:
    """Who plays until eleven is not disturbed by those of the next hour, whose slots now begin half an hour earlier."""
    hall.slots.book("1@20260105T1000", who="Ada")
    hall.session.commit()
    hall.clock.now = MONDAY.replace(hour=10, minute=15)
    hall.slots.edit(TEN, "all", start=time(9, 30))
    hall.session.commit()
    beside = hall.slots.get("1@20260105T1100")
    assert (beside.local_start, beside.state) == (MONDAY.replace(hour=10, minute=30), "blocked")
    with pytest.raises(SlotClosed):
        hall.slots.book(beside.key)
    hall.session.rollback()


def test_signals_tell_what_was_decided(hall: Site) -> None:
    """Each decision sends its signal within the transaction."""
    heard: list[str] = []
    names = ("slot_deleted", "slot_completed", "series_edited", "series_ended", "series_restored")
    receivers = {name: (lambda app, name=name, **facts: heard.append(name)) for name in names}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver)
    hall.slots.delete(TEN)
    hall.slots.complete(ELEVEN)
    hall.slots.edit(NOON, "all", capacity=4)
    hall.slots.cancel_future(1, date(2026, 1, 9))
    hall.slots.restore_series(1)
    assert heard == list(names)


def test_an_edit_from_a_slot_on_leaves_the_earlier_ones_alone_also_if_it_changes_no_rule(hall: Site) -> None:
    """A slot that is kept for its booking keeps its length; once that is released it is as long as its series says."""
    booking = hall.slots.book(TEN)
    half = timedelta(minutes=30)
    hall.slots.edit(ELEVEN, "all", duration=half)
    hall.session.commit()
    hall.slots.edit(NOON, "this_and_future", duration=half, move_booked=True)
    hall.session.commit()
    assert hall.slots.get(TEN).ends_at - hall.slots.get(TEN).starts_at == HOUR
    hall.slots.release(booking)
    hall.session.commit()
    assert hall.slots.get(TEN).ends_at - hall.slots.get(TEN).starts_at == half
    hall.slots.edit(NOON, "all", duration=half)
    hall.session.commit()
    assert hall.slots.get(TEN).ends_at - hall.slots.get(TEN).starts_at == half


def test_a_report_says_what_changes_and_whom_to_call(site: Site) -> None:
    """An edit tells from what to what each slot changes, and names the bookings in those that stay; so does an end."""
    site.add(capacity=3)
    site.slots.generate()
    booking = site.slots.book("1@20260107T1000", who="ann")
    site.session.commit()
    plan = site.slots.preview_edit("1@20260106T1000", "all", start=time(10, 30))
    assert [each.id for each in plan.bookings] == [booking.id]
    told = plan.to_dict()
    assert [each["who"] for each in told["bookings"]] == ["ann"]
    first = told["changes"][0]
    assert (first["key"], first["from"]["starts_at"], first["to"]["starts_at"]) == (
        "1@20260105T1000",
        "2026-01-05T10:00:00+00:00",
        "2026-01-05T10:30:00+00:00",
    )
    report = site.slots.delete_series(1, dry_run=True)
    assert [each.id for each in report.bookings] == [booking.id]


def test_what_comes_back_has_the_data_of_its_series(site: Site) -> None:
    """A key that the series lost while a slot was cancelled does not come back with it."""
    template = site.add(data={"a": 1, "b": 2})
    site.slots.generate()
    key = site.week()[0].key
    site.slots.cancel(key)
    site.session.commit()
    template.data = {"a": 5}
    site.session.commit()
    site.slots.restore(key)
    site.session.commit()
    assert site.slots.get(key).data == {"a": 5}
    assert site.rows()[0].data == {"a": 5}
