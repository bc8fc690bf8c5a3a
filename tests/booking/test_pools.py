"""Pools: a resource with so many places, which slots of one series and of several take together, moment by moment."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site, meanwhile
from marks import DATABASES, quick_databases, quick_on
from sqlalchemy import event

from flask_rollingslots.errors import HoldExpired, InvalidRequest, InvalidTemplate, SlotClosed, SlotFull

if TYPE_CHECKING:
    from collections.abc import Callable

database_url = quick_databases("sqlite")

#: 1@…T1000 is Monday 10:00 to 11:00, 1@…T1015 a quarter of an hour later; 2@…T1000 is Monday 10:00 to 11:00.
STEAM = "1@20260105T{}"
GROUP = "2@20260105T{}"
DAY = (MONDAY.replace(hour=0), MONDAY.replace(day=6, hour=0))
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
#: How long somebody who need not wait gets to be first: what comes out is the same if they do not make it.
A_MOMENT = 0.5


def machines(site: Site, **fields: Any) -> Site:
    """Add four machines: an hour each, and a slot begins every quarter of an hour."""
    site.add(
        **{"name": "Steam", "resource": "machines", "pool": 4, "capacity": 4, "every": QUARTER, **fields}
    )
    return site


def classes(site: Site, **fields: Any) -> Site:
    """Add classes by the hour that use the same machines."""
    site.add(**{"name": "Class", "resource": "machines", "pool": 4, "capacity": 10, **fields})
    return site


def states(site: Site, template: int) -> dict[str, str]:
    """Return the states of Monday's slots by time, alike from a list, one by one, and in the database."""
    found = site.slots.between(*DAY, template=template)
    result = {slot.key[-4:]: str(slot.state) for slot in found}
    bookable = [slot.is_bookable for slot in found]
    assert bookable == [state == "open" for state in result.values()]
    site.session.expire_all()
    assert [str(site.slots.get(slot.key).state) for slot in found] == list(result.values())
    cls = site.slots.Slot
    for slot in found:
        if not slot.is_virtual:
            query = site.db.select(cls.state, cls.is_bookable).where(cls.id == slot.id)
            assert tuple(site.session.execute(query).one()) == (slot.state, slot.is_bookable)
    return result


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "virtual"])
def test_four_machines_and_a_slot_each_quarter(site: Site, stored: bool) -> None:
    """At most four people at any moment: a slot of an hour counts for all that overlap it, and ``left`` is its own."""
    machines(site)
    if stored:
        site.slots.generate()
    site.slots.book(STEAM.format("1000"), party=2)
    site.slots.book(STEAM.format("1030"))
    site.session.commit()
    with pytest.raises(SlotFull, match="'machines' only 1 of 4 meanwhile, 2 asked for") as caught:
        site.slots.book(STEAM.format("1045"), party=2)
    assert (caught.value.left, site.slots.get(STEAM.format("1045")).left) == (1, 4)  # type: ignore[attr-defined]
    site.slots.book(STEAM.format("1045"))
    site.session.commit()
    found = states(site, 1)
    assert {key for key, state in found.items() if state == "blocked"} == {"1000", "1015", "1030", "1045"}
    assert site.slots.get(STEAM.format("1015")).left == 4
    for key in ("1000", "1015", "1045"):
        with pytest.raises(SlotClosed, match="blocked") as closed:
            site.slots.book(STEAM.format(key))
        assert closed.value.state == "blocked"  # type: ignore[attr-defined]
    site.slots.book(STEAM.format("1100"), party=2)  # the two of ten o'clock are gone
    site.session.commit()
    assert states(site, 1)["1100"] == "blocked"


def test_what_is_full_by_itself_is_full(site: Site) -> None:
    """Without a place of its own a slot is full, also when its bookings are all that the pool has."""
    machines(site)
    site.slots.book(STEAM.format("1000"), party=4)
    site.session.commit()
    found = states(site, 1)
    assert (found["1000"], found["1015"], found["1045"], found["1100"]) == (
        "full",
        "blocked",
        "blocked",
        "open",
    )
    with pytest.raises(SlotFull, match="0 of 4 places left"):
        site.slots.book(STEAM.format("1000"))


def test_a_capacity_above_the_pool(site: Site) -> None:
    """A slot with more places than the pool sells what the pool has, and is then blocked."""
    machines(site, capacity=10)
    with pytest.raises(SlotFull, match="only 4 of 4"):
        site.slots.book(STEAM.format("1000"), party=5)
    site.slots.book(STEAM.format("1000"), party=4)
    site.session.commit()
    assert states(site, 1)["1000"] == "blocked"
    with pytest.raises(SlotClosed, match="blocked"):
        site.slots.book(STEAM.format("1000"))


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "virtual"])
def test_templates_share_a_pool(site: Site, stored: bool) -> None:
    """Places that one offer takes are missing in the other."""
    classes(machines(site))
    if stored:
        site.slots.generate()
    site.slots.book(GROUP.format("1000"), party=3)
    site.slots.book(STEAM.format("1045"))
    site.session.commit()
    found = states(site, 1)
    assert [found[key] for key in ("1000", "1045", "1100", "1145")] == ["blocked", "blocked", "open", "open"]
    found = states(site, 2)
    assert [found[key] for key in ("1000", "1100")] == ["blocked", "open"]
    with pytest.raises(SlotFull, match="only 3 of 4"):
        site.slots.book(GROUP.format("1100"), party=4)
    site.add(name="Elsewhere", resource="other machines", pool=1)
    site.slots.book("3@20260105T1000")


def test_holds_releases_and_moves(site: Site) -> None:
    """A hold takes places until it expires; who moves is not in the way of themselves; who leaves makes room."""
    machines(site)
    held = site.slots.hold(STEAM.format("1000"), party=3)
    booked = site.slots.book(STEAM.format("1015"))
    site.session.commit()
    assert states(site, 1)["1030"] == "blocked"
    moved = site.slots.move(booked, STEAM.format("1030"))
    with pytest.raises(SlotClosed, match="blocked"):
        site.slots.book(STEAM.format("1045"))
    site.session.commit()
    site.clock.now = held.expires_at
    assert set(states(site, 1).values()) == {"open"}
    other = site.slots.book(STEAM.format("1015"), party=3)
    site.session.commit()
    site.clock.turn(seconds=-1)
    with pytest.raises(SlotClosed, match="taken by another booking meanwhile"):
        site.slots.confirm(held)
    site.session.rollback()
    site.slots.release(other)
    assert site.slots.confirm(held).status == "confirmed"
    with pytest.raises(SlotClosed, match="blocked"):
        site.slots.book(STEAM.format("1045"))
    site.slots.cancel(STEAM.format("1000"))
    site.slots.book(STEAM.format("1045"), party=3)
    with pytest.raises(SlotClosed, match="'machines' is taken"):
        site.slots.restore(STEAM.format("1000"))
    site.slots.release(moved)


def test_more_people_staff_and_who_waits_have_no_more_machines(site: Site) -> None:
    """A larger party, ``override`` and an offer take what the pool has, and no more."""
    classes(machines(site, waiting=2, capacity=2))
    mine = site.slots.book(STEAM.format("1000"))
    other = site.slots.book(GROUP.format("1000"), party=2)
    site.slots.change_party(mine, 2)
    waiting = site.slots.wait(STEAM.format("1000"), who="ada")
    site.session.commit()
    for override in (False, True):
        with pytest.raises((SlotFull, SlotClosed)):
            site.slots.book(STEAM.format("1015"), override=override)
        with pytest.raises((SlotFull, SlotClosed)):
            site.slots.change_party(other, 3, override=override)
    site.slots.change_party(mine, 1)  # and what became free is offered
    site.session.commit()
    assert (waiting.status, waiting.is_offer) == ("held", True)
    with pytest.raises((SlotFull, SlotClosed)):
        site.slots.book(GROUP.format("1000"), override=True)


def test_an_expired_hold_cannot_be_confirmed(site: Site) -> None:
    """As without a pool."""
    machines(site)
    held = site.slots.hold(STEAM.format("1000"))
    site.clock.now = held.expires_at
    with pytest.raises(HoldExpired):
        site.slots.confirm(held)


def test_a_page_costs_one_query_more(site: Site) -> None:
    """Two statements for a page, three if something on it is of a pool; the states cost nothing more."""
    classes(machines(site))
    site.add(name="Free")
    site.slots.generate()
    site.slots.book(GROUP.format("1000"), party=2)
    site.session.commit()
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(site.db.engine, "before_cursor_execute", count)
    for template, expected in ((3, 2), (1, 3), (None, 3)):
        site.session.expunge_all()
        statements.clear()
        found = site.slots.between(*DAY, template=template)
        assert {str(slot.state) for slot in found} == {"open"}
        assert len(statements) == expected
    event.remove(site.db.engine, "before_cursor_execute", count)


# --- what a template may say -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"pool": 4}, "pool = 4: expected a resource too"),
        (
            {"pool": 4, "resource": "m", "exclusive": True},
            "pool = 4: expected either exclusive or pool, not both",
        ),
        ({"pool": 0, "resource": "m"}, "pool = 0: expected a whole number from 1"),
        ({"cleanup": timedelta(minutes=-1), "resource": "m", "pool": 1}, "cleanup = "),
    ],
)
def test_what_makes_no_sense_is_refused(sqlite_site: Site, fields: dict[str, Any], text: str) -> None:
    """A pool needs a resource, and a resource is either exclusive or has places."""
    with pytest.raises(InvalidTemplate) as caught:
        sqlite_site.add(**fields)
    assert str(caught.value).startswith(text)


@quick_on(*DATABASES)
def test_templates_that_share_agree(site: Site) -> None:
    """Another number, or exclusive beside a pool: refused with field, value and the other template."""
    machines(site)
    with pytest.raises(
        InvalidTemplate, match=r"pool = 5: expected pool=4, as template 1 \('Steam'\) has it"
    ) as caught:
        classes(site, pool=5)
    assert (caught.value.field, caught.value.value, caught.value.template_id) == ("pool", 5, 1)  # type: ignore[attr-defined]
    site.session.rollback()
    with pytest.raises(InvalidTemplate, match="exclusive = True: expected pool=4, as template 1"):
        site.add(name="Party", resource="machines", exclusive=True)
    site.session.rollback()
    assert site.session.query(site.slots.Template).count() == 1
    site.add(name="Party", resource="court", exclusive=True)
    party = site.session.query(site.slots.Template).filter_by(name="Party").one()
    with pytest.raises(InvalidTemplate, match="exclusive = True: expected pool=4"):
        site.slots.change_template(party, resource="machines")
    site.session.rollback()
    with pytest.raises(InvalidTemplate, match="pool = 3: expected exclusive=True, as template"):
        classes(site, resource="court", pool=3)
    site.session.rollback()
    classes(site, group="elsewhere", pool=5)  # other machines of this name
    party.exclusive, party.pool, party.resource = False, 4, "machines"
    site.session.commit()


def test_all_that_share_are_changed_at_once(site: Site) -> None:
    """One by one is refused, through facade and ORM; both in one flush is not; one that is over is not asked."""
    classes(machines(site))
    for change in (
        lambda: site.slots.change_template(1, pool=6),
        lambda: site.slots.edit(STEAM.format("1200"), "this_and_future", pool=6),
        lambda: setattr(site.session.get(site.slots.Template, 2), "pool", 6) or site.session.flush(),
    ):
        with pytest.raises(InvalidTemplate, match=r"pool = 6: expected pool=4.*change both at once"):
            change()
        site.session.rollback()
    for template in site.session.query(site.slots.Template):
        template.pool = 6
    site.session.commit()
    site.slots.delete_series(2)
    site.session.commit()
    site.clock.turn(days=6)
    site.slots.change_template(1, pool=3)
    site.session.commit()
    with pytest.raises(InvalidTemplate, match="pool = 6: expected pool=3"):
        site.slots.restore_series(2)


def test_a_pool_lets_slots_overlap(site: Site) -> None:
    """A rule whose slots overlap needs ``overlapping``, ``exclusive`` or ``pool``, also when that is taken away."""
    with pytest.raises(InvalidTemplate, match="exclusive=True or a pool with a resource"):
        site.add(every=QUARTER, resource="machines")
    machines(site)
    with pytest.raises(InvalidTemplate, match="overlapping=True"):
        site.slots.change_template(1, pool=None)
    site.session.rollback()
    site.slots.change_template(1, pool=None, overlapping=True)
    assert site.slots.edit(STEAM.format("1000"), "all", pool=4, overlapping=False).segments
    site.slots.edit(STEAM.format("1000"), "all", duration=2 * HOUR)


# --- kept against whatever changes -------------------------------------------------------------------------------


def taken(site: Site) -> list[Any]:
    """Return all that a refused change could have left."""
    site.session.rollback()
    templates = site.session.query(site.slots.Template).order_by(site.slots.Template.id)
    fields = [(t.id, t.revision, t.resource, t.pool, t.setup, t.cleanup, t.exclusive) for t in templates]
    return fields + [(r.key, r.starts_at, r.ends_at, r.status, r.booked, r.template_id) for r in site.rows()]


CHANGES: dict[str, Callable[[Site], Any]] = {
    "another time": lambda site: site.slots.edit(
        GROUP.format("1300"), "this", start=time(10, 30), move_booked=True
    ),
    "another time for all": lambda site: site.slots.edit(
        GROUP.format("1300"), "all", start=time(10, 30), move_booked=True
    ),
    "this and future": lambda site: site.slots.edit(
        GROUP.format("1300"), "this_and_future", start=datetime(2026, 1, 5, 12, 30), move_booked=True
    ),
    "longer": lambda site: site.slots.edit(
        STEAM.format("1200"), "this", duration=timedelta(minutes=75), move_booked=True
    ),
    "a smaller pool": lambda site: _set(site, pool=2),
    "more cleanup": lambda site: site.slots.change_template(1, cleanup=timedelta(minutes=1)),
    "more setup, through an edit": lambda site: site.slots.edit(
        GROUP.format("1300"), "this_and_future", setup=timedelta(minutes=1)
    ),
    "setup through the ORM": lambda site: _set(site, 2, setup=timedelta(minutes=1)),
    "another start through the ORM": lambda site: _move(site, GROUP.format("1300"), -timedelta(minutes=5)),
    "restored": lambda site: site.slots.restore(STEAM.format("1430")),
    "from another resource": lambda site: site.slots.change_template(3, resource="machines"),
    "from another resource, with other times": lambda site: site.slots.edit(
        "3@20260105T1700", "all", resource="machines", start=time(13), move_booked=True
    ),
    "from another resource, a part": lambda site: site.slots.edit(
        "3@20260105T1300", "this_and_future", resource="machines"
    ),
    "moved": lambda site: site.slots.move(3, GROUP.format("1300"), override=True),
}


def _set(site: Site, *numbers: int, **fields: Any) -> None:
    found = [site.session.get(site.slots.Template, number) for number in numbers or (1, 2)]
    for template in found:
        for name, value in fields.items():
            setattr(template, name, value)
    site.session.flush()


def _move(site: Site, key: str, by: timedelta) -> None:
    slot = site.slots.get(key)
    slot.starts_at, slot.ends_at = slot.starts_at + by, slot.ends_at + by
    site.session.flush()


@pytest.fixture
def full(site: Site) -> Site:
    """Three of four machines taken from ten to eleven and from twelve to one, then all from one to two, then three."""
    classes(machines(site))
    site.add(name="Repair", resource="workshop", pool=4)
    site.slots.generate()
    site.slots.book(STEAM.format("1000"), party=3)
    site.slots.book(GROUP.format("1300"), party=4)
    site.slots.book(STEAM.format("1200"), party=1)
    site.slots.book(STEAM.format("1430"), party=2)
    site.slots.cancel(STEAM.format("1430"))
    site.slots.book(STEAM.format("1415"), party=3)
    site.slots.book("3@20260105T1300")
    site.slots.book("3@20260105T1700")
    site.session.commit()
    return site


@pytest.mark.parametrize("name", CHANGES)
@quick_on("sqlite", "postgresql")
def test_no_change_takes_more_than_there_is(full: Site, name: str) -> None:
    """Edits, moves, restores and templates that change are refused where a pool would be taken beyond what it has."""
    before = taken(full)
    with pytest.raises((SlotClosed, InvalidTemplate, SlotFull)) as caught:
        CHANGES[name](full)
    assert "machines" in str(caught.value) or "blocked" in str(caught.value)
    assert taken(full) == before


def test_what_fits_may_change(full: Site) -> None:
    """The same changes are done where there is room; the error names the slots."""
    with pytest.raises(
        InvalidTemplate, match=r"pool = 3: slot .* is booked: expected at most 3 places taken"
    ) as caught:
        _set(full, pool=3)
    assert caught.value.keys == [GROUP.format("1300")]  # type: ignore[attr-defined]
    full.session.rollback()
    full.slots.edit(GROUP.format("1300"), "this", start=time(16), move_booked=True)
    full.slots.release(5)
    full.slots.restore(STEAM.format("1430"))
    full.slots.change_template(1, cleanup=timedelta(minutes=5))
    _set(full, pool=5)
    full.slots.change_template(3, resource="hall")
    full.session.commit()
    with pytest.raises(InvalidRequest):
        full.slots.edit(STEAM.format("1000"), "this", pool=3)


# --- two at once -------------------------------------------------------------------------------------------------


@quick_on(*DATABASES)
def test_two_bookings_wait_for_each_other(site: Site) -> None:
    """Of two that want the last machines at overlapping times in different offers the second finds them taken."""
    classes(machines(site))
    site.slots.generate()
    site.slots.book(GROUP.format("1000"), party=3)  # not committed
    thread, outcome = meanwhile(site, lambda: site.slots.book(STEAM.format("1045"), party=2))
    thread.join(A_MOMENT)
    assert not outcome
    site.session.commit()
    thread.join(60)
    assert isinstance(outcome[0], SlotFull)
    assert outcome[0].left == 1  # type: ignore[attr-defined]


@quick_on(*DATABASES)
def test_two_templates_wait_for_each_other(site: Site) -> None:
    """Of two that are created at once with different numbers the second is refused."""
    machines(site)
    site.session.get(site.slots.Template, 1).resource = "elsewhere"
    site.session.commit()
    site.slots.create_template(**{**_class(4)})  # not committed
    thread, outcome = meanwhile(site, lambda: site.slots.create_template(**_class(5)))
    thread.join(A_MOMENT)
    assert not outcome
    site.session.commit()
    thread.join(60)
    assert isinstance(outcome[0], InvalidTemplate)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_cuts_of_two_that_share_do_not_wait_for_each_other(site: Site) -> None:
    """Who cuts a series without a word about its resource asks nothing of others that share it."""
    classes(machines(site))
    site.slots.edit(STEAM.format("1200"), "this_and_future", name="Afternoon")  # not committed
    thread, outcome = meanwhile(
        site, lambda: site.slots.edit(GROUP.format("1200"), "this_and_future", name="Afternoon")
    )
    thread.join(60)
    assert outcome[0].segments  # type: ignore[attr-defined]
    site.session.commit()


def _class(pool: int) -> dict[str, Any]:
    return {
        "name": "Class",
        "resource": "machines",
        "pool": pool,
        "rrule": "FREQ=DAILY",
        "timezone": "UTC",
    } | {
        "dtstart": datetime(2026, 1, 1, 10),
        "duration": HOUR,
    }
