"""Setup and cleanup: what a booking occupies of its resource beside the slot, as the slots of other series see it."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site
from marks import DATABASES, quick_databases, quick_on

from flask_rollingslots.errors import InvalidTemplate, SlotClosed, SlotFull
from flask_rollingslots.models import Stay, most_taken
from flask_rollingslots.values import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable

database_url = quick_databases("sqlite")

#: By the hour from 10:00 on; 2 and 3 are in the same room as 1.
MASSAGE, SAUNA = "1@20260105T{}", "2@20260105T{}"
DAY = (MONDAY.replace(hour=0), MONDAY.replace(day=6, hour=0))
TEN, QUARTER = timedelta(minutes=10), timedelta(minutes=15)


def states(site: Site, template: int) -> str:
    """Return the first letters of the states of Monday's slots, alike from lists, one by one, and in the database."""
    found = site.slots.between(*DAY, template=template)
    result = [str(slot.state) for slot in found]
    site.session.expire_all()
    assert [str(site.slots.get(slot.key).state) for slot in found] == result
    cls = site.slots.Slot
    for slot, state in zip(found, result, strict=True):
        if not slot.is_virtual:
            query = site.db.select(cls.state, cls.is_bookable).where(cls.id == slot.id)
            assert tuple(site.session.execute(query).one()) == (state, slot.is_bookable)
    return "".join(state[0] for state in result)


def room(site: Site, stored: bool = True, **fields: Any) -> Site:
    """Two offers by the hour in one exclusive room: the first is cleaned up after, the second has to be set up."""
    shape: dict[str, Any] = {"resource": "room", "exclusive": True, "until_time": time(14), **fields}
    site.add(name="Massage", cleanup=TEN, **shape)
    site.add(name="Sauna", setup=QUARTER, **shape)
    if stored:
        site.slots.generate()
    return site


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "virtual"])
@quick_on("sqlite", "postgresql")
def test_cleanup_keeps_the_next_offer_out(site: Site, stored: bool) -> None:
    """Back to back with another series: blocked by setup or cleanup; with the own series: open."""
    room(site, stored)
    site.slots.book(MASSAGE.format("1100"))
    site.session.commit()
    assert (states(site, 1), states(site, 2)) == ("ofoo", "obbo")
    with pytest.raises(SlotClosed, match="blocked"):
        site.slots.book(SAUNA.format("1200"))
    site.slots.book(MASSAGE.format("1200"))
    assert (site.slots.get(MASSAGE.format("1200")).ends_at.hour, states(site, 2)) == (13, "obbb")
    site.slots.book(SAUNA.format("1000"))
    site.session.commit()
    assert (states(site, 1), states(site, 2)) == ("bffo", "fbbb")


def test_setup_keeps_the_offer_before_out(site: Site) -> None:
    """What begins with a setup blocks what ends where it begins, in another series alone."""
    room(site)
    site.slots.book(SAUNA.format("1200"))
    site.session.commit()
    assert (states(site, 1), states(site, 2)) == ("obbo", "oofo")
    with pytest.raises(SlotClosed, match="blocked"):
        site.slots.book(MASSAGE.format("1100"))
    site.slots.book(SAUNA.format("1100"))
    site.slots.book(SAUNA.format("1300"))


@pytest.mark.parametrize(("minutes", "state"), [(24, "blocked"), (25, "open"), (26, "open")])
def test_both_sides_are_widened(site: Site, minutes: int, state: str) -> None:
    """The cleanup of one and the setup of the other are two times: neither may be within the other, to the second."""
    room(site)
    site.slots.book(MASSAGE.format("1000"))
    site.slots.edit(SAUNA.format("1200"), "this", start=time(11, minutes))
    site.session.commit()
    (slot,) = (slot for slot in site.slots.between(*DAY, template=2) if slot.key == SAUNA.format("1200"))
    cls = site.slots.Slot
    in_sql = site.session.scalar(site.db.select(cls.state).where(cls.id == slot.id))
    assert (slot.state, in_sql) == (state, state)


@quick_on(*DATABASES)
def test_parts_of_a_second_are_kept(site: Site) -> None:
    """A moment is widened exactly: half a second too early is too early, on every database."""
    room(site)
    site.slots.book(MASSAGE.format("1000"))
    site.session.commit()
    slot, cls = site.slots.get(SAUNA.format("1200")), site.slots.Slot
    for micros, state in ((999_999, "blocked"), (1_000_000, "open")):
        slot.starts_at = MONDAY.replace(hour=11, minute=24, second=59) + timedelta(microseconds=micros)
        site.session.commit()
        in_sql = site.session.scalar(site.db.select(cls.state).where(cls.id == slot.id))
        assert (slot.state, in_sql) == (state, state)


@quick_on(*DATABASES)
def test_a_pool_is_cleaned_too(site: Site) -> None:
    """Of two machines one is cleaned: another series gets one, its own both; over midnight and for days as well."""
    shape: dict[str, Any] = {"resource": "machines", "pool": 2, "capacity": 2, "until_time": time(14)}
    site.add(name="Steam", cleanup=TEN, **shape)
    site.add(name="Class", **shape)
    site.slots.generate()
    site.slots.book(MASSAGE.format("1000"))
    site.session.commit()
    assert (states(site, 1), states(site, 2)) == ("oooo", "oooo")
    with pytest.raises(SlotFull, match="'machines' only 1 of 2"):
        site.slots.book(SAUNA.format("1100"), party=2)
    booking = site.slots.book(MASSAGE.format("1100"), party=2)
    site.session.commit()
    assert states(site, 2) == "obbo"
    site.slots.release(booking)
    site.slots.book(SAUNA.format("1100"))
    with pytest.raises(SlotFull):
        site.slots.book(MASSAGE.format("1100"), party=2)
    site.slots.change_template(1, cleanup=timedelta(days=3))
    site.session.commit()
    shown = {slot.local_start.day for slot in site.week(template=2) if slot.state == "open"}
    assert shown == {5, 6, 7, 8, 9, 10, 11}
    site.slots.book(MASSAGE.format("1300"), party=2)
    site.session.commit()
    shown = {slot.local_start.day for slot in site.week(template=2) if slot.state == "open"}
    assert shown == {5, 9, 10, 11}


def test_machines_that_are_being_cleaned_are_not_sold(site: Site) -> None:
    """Two machines are cleaned after slots of one series that overlapped: both count, whoever was booked first."""
    shape: dict[str, Any] = {"resource": "machines", "pool": 2, "capacity": 2}
    site.add(name="Steam", cleanup=2 * QUARTER, every=QUARTER, **shape)
    site.add(name="Class", dtstart=datetime(2026, 1, 1, 11, 20), **shape)
    site.slots.generate()
    site.slots.book("2@20260105T1120")
    site.slots.book(MASSAGE.format("1000"))
    with pytest.raises(SlotClosed, match="blocked"):
        site.slots.book(MASSAGE.format("1015"))
    site.slots.book(MASSAGE.format("1100"))  # takes the machine over
    site.session.commit()
    assert site.slots.get(MASSAGE.format("1015")).state == "blocked"


def test_changes_that_would_not_fit_are_refused(site: Site) -> None:
    """A longer cleanup, another start, another length, an exclusive claim: refused where a booking is in the way."""
    room(site)
    site.slots.book(MASSAGE.format("1000"))
    site.slots.edit(SAUNA.format("1200"), "this", start=time(11, 30))
    site.slots.book(SAUNA.format("1200"))
    site.session.commit()
    with pytest.raises(
        InvalidTemplate, match="cleanup = 0:20:00: slot 1@20260105T1000 is booked: expected that no"
    ):
        site.slots.change_template(1, cleanup=2 * TEN)
    site.session.rollback()
    site.session.get(site.slots.Template, 2).setup = timedelta(minutes=21)
    with pytest.raises(InvalidTemplate, match="setup = 0:21:00: slot 2@20260105T1200 is booked"):
        site.session.commit()
    site.session.rollback()
    changes: dict[str, dict[str, Any]] = {
        SAUNA.format("1200"): {"start": time(11, 20)},
        MASSAGE.format("1000"): {"duration": timedelta(minutes=80)},
    }
    for key, change in changes.items():
        with pytest.raises(SlotClosed, match="'room' is taken"):
            site.slots.edit(key, "this", move_booked=True, **change)
    site.slots.change_template(1, cleanup=QUARTER)
    site.slots.edit(SAUNA.format("1200"), "this", start=time(11, 31), move_booked=True)
    site.session.commit()


# --- random stays: against a brute-force count, and in Python as in SQL -------------------------------------------

#: Within a day, and how far apart times are.
STEPS, STEP = 24, timedelta(minutes=5)


def in_use(stays: Iterable[Stay]) -> int:
    """Count, step by step, how many machines are needed: in use, or being set up or cleaned for another series."""
    most = 0
    for step in range(-STEPS, 3 * STEPS):
        moment, series = MONDAY + step * STEP, defaultdict[int, dict[int, int]](lambda: defaultdict(int))
        for stay in stays:
            before, after = stay.claim.setup or timedelta(0), stay.claim.cleanup or timedelta(0)
            if not stay.starts_at - before <= moment < stay.ends_at + after:
                continue
            for other in range(-STEPS, 3 * STEPS):
                if stay.starts_at <= MONDAY + other * STEP < stay.ends_at:
                    series[stay.series_id][other] += stay.places
        most = max(most, sum(max(counts.values()) for counts in series.values()))
    return most


@pytest.mark.parametrize("seed", range(3))
def test_what_is_let_in_can_be_served(seed: int) -> None:
    """However stays come in, those that a pool takes need at most as many machines as there are."""
    choose, refused = random.Random(seed), 0
    for _ in range(25):
        pool, stays = choose.randint(1, 4), list[Stay]()
        claims = [
            Claim("m", None, False, pool, choose.randint(0, 3) * STEP, choose.randint(0, 3) * STEP)
            for _ in range(3)
        ]
        for _ in range(15):
            number, start = choose.randrange(3), MONDAY + choose.randrange(STEPS) * STEP
            end = start + choose.randint(1, 6) * STEP
            stay = Stay(claims[number], len(stays), number, start, end, choose.randint(1, 2))
            seen, truly = most_taken(stay, stays), most_taken(stay, stays, passed_on=True)
            assert truly <= seen
            assert (in_use([*stays, stay]) > pool) == (truly > pool)
            if seen <= pool:
                stays.append(stay)
            else:
                refused += 1
    assert refused > 20


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))])
@quick_on(*DATABASES)
def test_sql_says_what_python_says(site: Site, seed: int) -> None:
    """On random rows of two pools and an exclusive room: the states, and whether one place could be booked.

    For some of them somebody waits, who needs more or less than there is.
    """
    choose, states = random.Random(seed), set[str]()

    def length() -> Any:
        return choose.choice((None, choose.randint(0, 4) * STEP))

    for number in range(6):
        kind = {"pool": 3} if number < 4 else {"exclusive": True}
        group, resource = ("a" if number == 3 else None), ("pool" if number < 4 else "room")
        shape: dict[str, Any] = {
            **kind,
            "resource": resource,
            "group": group,
            "resource_shared": number in (0, 3),
        }
        shape |= {"setup": length(), "cleanup": length(), "capacity": choose.randint(1, 4)}
        site.add(**shape, every=timedelta(minutes=choose.choice((15, 30, 60))), until_time=time(13))
    site.slots.generate(days=1)
    table = site.slots.Slot.__table__
    for _ in range(3):
        for row in site.rows():
            booked = choose.choice((0, 0, 0, 1, min(2, row.capacity)))
            held = booked and choose.random() < 0.3
            until = MONDAY + choose.choice((-1, 1)) * STEP
            micros = int(until.timestamp()) * 1_000_000
            values: dict[str, Any] = {"booked": booked, "holds": [[row.id, micros, 1]] if held else None}
            values["hold_until"] = until if held else None
            values["status"] = "cancelled" if choose.random() < 0.1 else "scheduled"
            values["waits_for"] = choose.choice((None, None, 1, 2, 3))
            if held:
                booking = {"slot_id": row.id, "status": "held", "party": 1, "expires_at": until}
                site.session.execute(
                    site.slots.Booking.__table__.insert().values(**booking, created_at=MONDAY)
                )
            site.session.execute(table.update().where(table.c.id == row.id).values(**values))
        site.session.commit()
        cls = site.slots.Slot
        found = {slot.key: (str(slot.state), slot.is_bookable) for slot in site.slots.between(*DAY)}
        rows = site.session.execute(site.db.select(cls, cls.state, cls.is_bookable))
        in_sql = {row[0].key: (row[1], bool(row[2])) for row in rows}
        assert in_sql == found
        states |= {state for state, _ in found.values()}
        site.session.execute(site.slots.Booking.__table__.delete())
    assert {"open", "blocked", "full", "cancelled"} <= states
