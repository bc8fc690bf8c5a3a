"""Exclusive resources: one court, several templates, and never two bookings on it at the same time."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Any

import pytest
from helpers import MONDAY, Site
from marks import DATABASES, quick_databases, quick_on
from sqlalchemy import event

from flask_rollingslots.errors import InvalidTemplate, SlotClosed, SlotFull

#: 1@…T1000 is Monday 10:00 to 11:00, 2@…T1000 is Monday 10:00 to 11:30.
FOOTBALL = "1@20260105T{}"
PARTY = "2@20260105T{}"
TRAINING = "3@20260105T{}"
DAY = (MONDAY.replace(hour=0), MONDAY.replace(day=6, hour=0))

# On PostgreSQL a court is raced for in test_races.py.
database_url = quick_databases("sqlite")


@pytest.fixture
def court(site: Site) -> Site:
    """Football by the hour and parties of 90 minutes on one court; training on it is not exclusive."""
    site.add(name="Football", resource="court", exclusive=True, capacity=2)
    ninety = timedelta(minutes=90)
    site.add(
        name="Party", resource="court", exclusive=True, duration=ninety, every=ninety, until_time=time(19)
    )
    site.add(name="Training", resource="court")
    return site


def states(site: Site, template: int) -> list[str]:
    """Return the states of Monday's slots, alike from a list, one by one, and in the database."""
    found = site.slots.between(*DAY, template=template)
    result = [str(slot.state) for slot in found]
    site.session.expire_all()
    assert [str(site.slots.get(slot.key).state) for slot in found] == result
    cls = site.slots.Slot
    for slot, state in zip(found, result, strict=True):
        if not slot.is_virtual:
            query = site.db.select(cls.state).where(cls.id == slot.id)
            assert site.session.scalar(query) == state
            assert site.session.scalars(
                site.db.select(cls).where(cls.id == slot.id, cls.state == state)
            ).one()
    return result


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "virtual"])
def test_slots_in_hand_follow_what_their_session_does(sqlite_site: Site, stored: bool) -> None:
    """Booked, refused, released, cancelled and rolled back without a commit between: lists in hand say how it is."""
    site = sqlite_site
    for name in ("Football", "Party"):
        site.add(name=name, resource="court", exclusive=True)
    if stored:
        site.slots.generate()
    shown = {slot.key: slot for slot in site.slots.between(*DAY)}
    ours, theirs = FOOTBALL.format("1100"), PARTY.format("1100")
    assert shown[theirs].state == "open"
    booking = site.slots.book(ours)
    assert [slot.key for slot in shown.values() if slot.state == "blocked"] == [theirs]
    with pytest.raises(SlotClosed):
        site.slots.book(theirs)
    shown = {slot.key: slot for slot in site.slots.between(*DAY)}
    found = site.slots.get(theirs)
    assert (shown[theirs].state, found.state) == ("blocked", "blocked")
    site.slots.release(booking)
    assert (shown[theirs].state, found.state) == ("open", "open")
    site.slots.book(ours)
    assert (shown[theirs].state, found.state) == ("blocked", "blocked")
    site.slots.cancel(ours)
    assert (shown[theirs].state, found.state) == ("open", "open")
    site.slots.restore(ours)
    assert (shown[theirs].state, found.state) == ("blocked", "blocked")
    site.session.rollback()
    assert shown[theirs].state == "open"


def test_a_list_is_read_without_a_query_for_each_slot(sqlite_site: Site) -> None:
    """Whether something has the resource is read once for all slots of a list, as long as nothing is booked."""
    site = sqlite_site
    site.add(resource="court", exclusive=True)
    site.slots.book(FOOTBALL.format("1100"))
    site.session.commit()
    found = site.slots.between(*DAY)
    queries: list[str] = []
    event.listen(site.db.engine, "before_cursor_execute", lambda *args: queries.append(args[2]))
    assert [str(slot.state) for slot in found] == ["open", "full", *["open"] * 6]
    assert queries == []


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "virtual"])
def test_what_overlaps_is_blocked(court: Site, stored: bool) -> None:
    """A booking blocks the overlapping slots of other templates, and neither its neighbours nor its own slot."""
    if stored:
        court.slots.generate()
    court.slots.book(PARTY.format("1130"))  # 11:30 to 13:00
    court.session.commit()
    assert states(court, 1) == ["open", "blocked", "blocked", "open", "open", "open", "open", "open"]
    assert states(court, 2) == ["open", "full", "open", "open", "open", "open"]
    assert set(states(court, 3)) == {"open"}
    for blocked in ("1100", "1200"):
        with pytest.raises(SlotClosed, match="blocked") as caught:
            court.slots.book(FOOTBALL.format(blocked))
        assert caught.value.state == "blocked"  # type: ignore[attr-defined]
    court.slots.book(FOOTBALL.format("1000"))
    court.slots.book(FOOTBALL.format("1300"))
    court.slots.book(TRAINING.format("1200"))


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "virtual"])
def test_only_exclusive_templates_keep_each_other_out(court: Site, stored: bool) -> None:
    """A booking of a template that shares the court without claiming it is in nobody's way."""
    if stored:
        court.slots.generate()
    court.slots.book(TRAINING.format("1100"))
    court.session.commit()
    assert set(states(court, 1)) == {"open"}
    court.slots.book(FOOTBALL.format("1100"))


@quick_on(*DATABASES)
def test_two_parties_in_one_slot_are_no_overlap(court: Site) -> None:
    """Capacity is the slot's own affair: its second place can be booked while the slot has the court."""
    for _ in range(2):
        court.slots.book(FOOTBALL.format("1000"))
    with pytest.raises(SlotFull):
        court.slots.book(FOOTBALL.format("1000"))
    with pytest.raises(SlotClosed, match="blocked"):
        court.slots.book(PARTY.format("1000"))


def test_slots_of_one_template_may_overlap_too(site: Site) -> None:
    """Starts every half an hour, an hour each: a booking blocks the one before and the one after."""
    site.add(resource="teacher", exclusive=True, every=timedelta(minutes=30), until_time=time(13))
    site.slots.book("1@20260105T1100")
    site.session.commit()
    found = {slot.key[-4:]: str(slot.state) for slot in site.slots.between(*DAY)}
    assert found == {"1000": "open", "1030": "blocked", "1100": "full", "1130": "blocked", "1200": "open"}


def test_holds_block_while_they_live(court: Site) -> None:
    """A hold blocks the court until the second in which it expires."""
    hold = court.slots.hold(PARTY.format("1000"))
    court.session.commit()
    assert states(court, 1)[:2] == ["blocked", "blocked"]
    court.clock.now = hold.expires_at - timedelta(seconds=1)
    assert states(court, 1)[:2] == ["blocked", "blocked"]
    court.clock.turn(seconds=1)
    assert states(court, 1)[:2] == ["open", "open"]
    court.slots.book(FOOTBALL.format("1000"))
    assert states(court, 2)[0] == "blocked"


def test_release_and_cancellation_free_the_resource(court: Site) -> None:
    """Released, or in a cancelled slot, a booking blocks nobody; a cancelled slot comes back only if it still fits."""
    first = court.slots.book(PARTY.format("1000"))
    second = court.slots.book(PARTY.format("1300"))
    court.slots.release(first)
    court.slots.cancel(PARTY.format("1300"))
    assert set(states(court, 1)) == {"open"}
    court.slots.book(FOOTBALL.format("1400"))
    with pytest.raises(SlotClosed, match="'court' is taken"):
        court.slots.restore(PARTY.format("1300"))
    court.slots.release(second)
    court.slots.restore(PARTY.format("1300"))
    assert states(court, 2)[2] == "blocked"


def test_moving_on_the_same_court(court: Site) -> None:
    """A booking may move to a time that overlaps only with itself; not onto somebody else's."""
    booking = court.slots.book(PARTY.format("1000"))
    moved = court.slots.move(booking, FOOTBALL.format("1100"))
    assert states(court, 2)[:3] == ["blocked", "blocked", "open"]
    court.slots.book(PARTY.format("1300"))
    with pytest.raises(SlotClosed, match="blocked"):
        court.slots.move(moved, FOOTBALL.format("1400"))
    assert moved.status == "confirmed"
    hold = court.slots.hold(PARTY.format("1600"))
    assert court.slots.move(hold, FOOTBALL.format("1600")).status == "held"


def test_another_resource_is_free(court: Site) -> None:
    """What happens on one court does not matter on another, and years ahead the rule is the same."""
    court.add(name="Other court", resource="court 2", exclusive=True)
    court.slots.book("2@20310106T1000")
    with pytest.raises(SlotClosed, match="blocked"):
        court.slots.book("1@20310106T1000")
    court.slots.book("4@20310106T1000")


def test_exclusive_needs_a_resource(site: Site) -> None:
    """Without a resource there is nothing to have exclusively."""
    with pytest.raises(InvalidTemplate, match="exclusive = True: expected a resource"):
        site.add(exclusive=True)


def test_a_page_costs_one_query_more(court: Site) -> None:
    """Two statements for a page, three if something on it is exclusive; the states cost nothing more."""
    court.slots.generate()
    court.slots.book(PARTY.format("1000"))
    court.session.commit()
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(court.db.engine, "before_cursor_execute", count)
    for template, expected in ((3, 2), (1, 3), (None, 3)):
        court.session.expunge_all()
        statements.clear()
        found = court.slots.between(*DAY, template=template)
        assert {str(slot.state) for slot in found} <= {"open", "blocked", "full"}
        assert len(statements) == expected
    event.remove(court.db.engine, "before_cursor_execute", count)


def test_bookings_made_before_it_was_exclusive_count(site: Site) -> None:
    """A template that becomes exclusive has its bookings respected by the others at once."""
    site.add(name="Football", resource="court")
    site.add(name="Party", resource="court", exclusive=True)
    site.slots.book(FOOTBALL.format("1000"))
    site.session.get(site.slots.Template, 1).exclusive = True
    site.session.commit()
    with pytest.raises(SlotClosed, match="blocked"):
        site.slots.book(PARTY.format("1000"))


def two_venues(site: Site, *shared: bool, **fields: Any) -> Site:
    """Add a template for each of some venues, which give their court the same name; booked where nothing else says."""
    for number, is_shared in enumerate(shared):
        site.add(
            name=f"Court of {number}",
            group=f"venue {number}",
            resource="court 1",
            exclusive=True,
            resource_shared=is_shared,
            **fields,
        )
    return site


def test_each_group_has_its_own_resources(site: Site) -> None:
    """Courts of one name in two venues are two: both are sold, and none blocks the other, in lists and in SQL."""
    two_venues(site, False, False)
    for number in (1, 2):
        site.slots.book(f"{number}@20260105T1000")
    site.session.commit()
    assert (states(site, 1)[0], states(site, 2)[0]) == ("full", "full")
    site.add(name="Party", group="venue 0", resource="court 1", exclusive=True)
    assert states(site, 3)[0] == "blocked"
    with pytest.raises(SlotClosed):
        site.slots.book("3@20260105T1000")


@pytest.mark.parametrize(("shared", "is_blocked"), [((True, True), True), ((True, False), False)])
def test_groups_may_share_a_resource(site: Site, shared: tuple[bool, bool], is_blocked: bool) -> None:
    """Only where both templates say so it is one court; in one group it is in any case."""
    two_venues(site, *shared)
    site.slots.book("1@20260105T1000")
    site.session.commit()
    assert states(site, 2)[0] == ("blocked" if is_blocked else "open")
    site.add(name="Party", group="venue 0", resource="court 1", exclusive=True)
    assert states(site, 3)[0] == "blocked"


def test_a_group_is_not_left_for_a_court_that_is_taken(sqlite_site: Site) -> None:
    """What brings bookings onto a court of another group, or makes one of two, is refused while they overlap."""
    site = two_venues(sqlite_site, False, False)
    for number in (1, 2):
        site.slots.book(f"{number}@20260105T1000")
    site.session.commit()
    with pytest.raises(InvalidTemplate, match="1@20260105T1000 is booked"):
        site.slots.change_template(1, group="venue 1")
    site.session.rollback()
    site.slots.change_template(1, resource_shared=True)
    site.session.commit()
    with pytest.raises(InvalidTemplate, match="2@20260105T1000 is booked"):
        site.slots.change_template(2, resource_shared=True)
    site.session.rollback()
    site.session.get(site.slots.Template, 2).resource_shared = True
    with pytest.raises(InvalidTemplate, match="2@20260105T1000 is booked"):
        site.session.flush()


def test_a_court_that_became_shared_meanwhile_is_asked_again(sqlite_site: Site) -> None:
    """Booking asks what the court is by now, not what it was when the slot was read."""
    site = two_venues(sqlite_site, True, False)
    site.slots.generate()
    site.slots.book("1@20260105T1000")
    site.session.commit()
    slot = site.slots.get("2@20260105T1000")
    assert str(slot.state) == "open"
    with site.db.engine.begin() as other:  # by another process
        other.exec_driver_sql(
            "UPDATE rolling_template SET resource_shared = 1, revision = revision + 1 WHERE id = 2"
        )
    with pytest.raises(SlotClosed):
        site.slots.book("2@20260105T1000")
