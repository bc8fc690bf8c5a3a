"""MariaDB: a process remembers where a slot is, and nothing that it remembers decides: the statements ask it again."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from flask_rollingslots.booking import quick_way
from flask_rollingslots.booking.wanted import BookingRequest
from flask_rollingslots.errors import RollingSlotsError
from flask_rollingslots.values import key_of

if TYPE_CHECKING:
    from helpers import Site

pytestmark = pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)

#: What somebody else may change of a slot that was booked before, of its template or of one beside it.
CHANGES = {
    "nothing": "UPDATE rolling_slot SET cancel_reason = 'none' WHERE id = {0}",
    "more places": "UPDATE rolling_slot SET customised = '[\"capacity\"]', capacity = 5 WHERE id = {0}",
    "fewer places": "UPDATE rolling_slot SET customised = '[\"capacity\"]', capacity = 1 WHERE id = {0}",
    "one place": "UPDATE rolling_slot SET customised = '[\"capacity\"]', capacity = 1, booked = 0 WHERE id = {0}",
    "full": "UPDATE rolling_slot SET booked = capacity WHERE id = {0}",
    "cancelled": "UPDATE rolling_slot SET status = 'cancelled' WHERE id = {0}",
    "withdrawn": "UPDATE rolling_slot SET withdrawn = true WHERE id = {0}",
    "not yet open": "UPDATE rolling_slot SET opens_at = '2030-01-01' WHERE id = {0}",
    "closed": "UPDATE rolling_slot SET closes_at = '2020-01-01' WHERE id = {0}",
    "moved": "UPDATE rolling_slot SET starts_at = starts_at + INTERVAL 30 MINUTE, displaced = true WHERE id = {0}",
    "moved, not marked": "UPDATE rolling_slot SET starts_at = starts_at + INTERVAL 5 MINUTE WHERE id = {0}",
    "one beside it moved": "UPDATE rolling_slot SET starts_at = starts_at - INTERVAL 30 MINUTE, booked = 1, "
    "customised = '[\"starts_at\"]', displaced = true WHERE id = {1}",
    "somebody waits": "UPDATE rolling_slot SET waits_for = 1, queue = '[[99, 1]]' WHERE id = {0}",
    "another part of the series": "UPDATE rolling_slot SET template_id = 2 WHERE id = {0}",
    "another slot's row": "UPDATE rolling_slot SET original_start = '2031-01-01 10:00:00' WHERE id = {0}",
    "removed": "DELETE FROM rolling_slot WHERE id = {0}",
    "inactive": "UPDATE rolling_template SET active = false",
    "small parties": "UPDATE rolling_template SET max_party = 1",
    "limits": "UPDATE rolling_template SET max_per_person = 1, revision = revision + 1",
    "not in line yet": "UPDATE rolling_template SET revision = revision + 1",
    "exclusive": "UPDATE rolling_template SET exclusive = true, resource = 'court'",
    "a pool": "UPDATE rolling_template SET pool = 2, resource = 'lanes'",
    "may not overlap": "UPDATE rolling_template AS t, rolling_slot AS s SET t.overlapping = false, s.booked = 1, "
    "s.starts_at = s.starts_at - INTERVAL 30 MINUTE, s.displaced = true WHERE s.id = {1}",
}


def outcome(site: Site, key: str, party: int, who: str) -> Any:
    """Book in a transaction that is undone; return what came out."""
    try:
        booking = site.slots.book(key, party, who=who)
        slot = booking.slot
        return (
            slot.key,
            booking.status,
            booking.party,
            booking.active_key == "only",
            slot.booked,
            slot.template_id,
        )
    except RollingSlotsError as error:
        return type(error).__name__, str(error)
    finally:
        site.session.rollback()


@pytest.mark.parametrize("overlapping", [False, True])
def test_whatever_is_changed_the_answer_is_that_of_a_new_process(site: Site, overlapping: bool) -> None:
    """A slot was booked; then each of its facts changes behind the process, which answers as one that knows nothing."""
    for most in (None, 1):
        site.add(capacity=3, overlapping=overlapping, max_party=most)
    site.slots.generate()
    site.session.commit()
    slots = [slot for slot in site.week() if slot.series_id == 1][:2]
    key, ids = slots[0].key, [slot.id for slot in slots]
    site.session.rollback()
    assert outcome(site, key, 1, "bob")[1] == "confirmed"
    remembered = dict(quick_way._known_places[site.db.engine])
    assert list(remembered) == [(1, slots[0].original_start)]
    for name, change in CHANGES.items():
        statement = text(change.format(*ids))
        party = 1 if "place" in name else 2
        found = [answer(site, statement, memory, key, party) for memory in (remembered, {})]
        assert found[0] == found[1], name


def answer(site: Site, change: Any, memory: dict[Any, Any], key: str, party: int) -> Any:
    """Return what comes out of a booking after a change, for a process that remembers this."""
    known = quick_way._known_places[site.db.engine]
    known.clear()
    known.update(memory)
    site.session.execute(change)
    return outcome(site, key, party, "ada")


def test_a_series_that_moved_its_slot_beside_a_booked_one(site: Site) -> None:
    """All slots go to later times but one that is booked: the one that comes to lie beside it is refused."""
    site.add(capacity=3)
    site.slots.generate()
    site.session.commit()
    first, second = (slot.key for slot in site.week()[:2])
    site.session.rollback()
    assert outcome(site, first, 1, "bob")[1] == "confirmed"  # remembered where it was
    site.slots.book(second)
    site.slots.edit(first, "all", start=time(11, 15))
    site.session.commit()
    assert outcome(site, first, 1, "bob")[0] == "SlotClosed"


@pytest.mark.parametrize("name", ["moved", "one beside it displaced"])
def test_what_goes_the_long_way_locks_no_template_before(site: Site, name: str) -> None:
    """Beside a slot that was moved a booking wants its template alone: two that shared it would end in a deadlock."""
    site.add(capacity=3)
    site.slots.generate()
    site.session.commit()
    slots = site.week()[:2]
    key, ids = slots[0].key, [slot.id for slot in slots]
    site.session.rollback()
    assert outcome(site, key, 1, "bob")[1] == "confirmed"  # remembered
    change = (
        "UPDATE rolling_slot SET starts_at = starts_at - INTERVAL 30 MINUTE, displaced = true WHERE id = {1}"
    )
    site.session.execute(text({"moved": CHANGES["moved"]}.get(name, change).format(*ids)))
    site.session.commit()
    request = BookingRequest(party=1, who=None)
    assert quick_way.book_at_once(site.topup.runner.work(), key_of(key), request) is None
    with site.db.engine.connect() as other:
        wanted = text("SELECT id FROM rolling_template WHERE id = 1 FOR UPDATE NOWAIT")
        assert other.scalar(wanted) == 1


def test_the_second_booking_does_not_look_for_the_slot(site: Site) -> None:
    """What is remembered is used: the statement that joins slot and template is not sent again, for this slot."""
    site.add(capacity=9)
    site.slots.generate()
    site.session.commit()
    first, second = (slot.key for slot in site.week()[:2])
    site.session.rollback()
    found: list[str] = []
    event.listen(
        site.db.engine, "before_cursor_execute", lambda _c, _u, statement, *_: found.append(statement)
    )
    for key, looks in ((first, 1), (first, 0), (second, 1), (first, 0)):
        found.clear()
        site.slots.book(key)
        site.session.commit()
        assert (len(found), sum("rolling_slot.capacity AS" in each for each in found)) == (3, looks), found


def test_memory_has_a_bound(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that books in ever more slots does not grow."""
    monkeypatch.setattr(quick_way, "_MOST_KNOWN", 3)
    site.add(capacity=9)
    site.slots.generate()
    for slot in site.week()[:8]:
        site.slots.book(slot.key)
        assert len(quick_way._known_places[site.db.engine]) <= 3
