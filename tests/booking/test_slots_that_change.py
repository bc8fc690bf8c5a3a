"""MariaDB reads a slot, then takes its places: what changes of its row in between is asked again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, event, text

from flask_rollingslots.errors import RollingSlotsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers import Site

pytestmark = pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)

#: What somebody may change of a slot or of one beside it; its template is locked by then.
CHANGES = {
    "nothing": "UPDATE rolling_slot SET cancel_reason = 'none' WHERE id = {0}",
    "more places": "UPDATE rolling_slot SET customised = '[\"capacity\"]', capacity = 5 WHERE id = {0}",
    "fewer places": "UPDATE rolling_slot SET customised = '[\"capacity\"]', capacity = 1 WHERE id = {0}",
    "one place": "UPDATE rolling_slot SET customised = '[\"capacity\"]', capacity = 1, booked = 0 WHERE id = {0}",
    "full": "UPDATE rolling_slot SET booked = capacity WHERE id = {0}",
    "cancelled": "UPDATE rolling_slot SET status = 'cancelled' WHERE id = {0}",
    "not yet open": "UPDATE rolling_slot SET customised = '[\"opens_at\"]', opens_at = '2030-01-01' WHERE id = {0}",
    "closed": "UPDATE rolling_slot SET customised = '[\"closes_at\"]', closes_at = '2020-01-01' WHERE id = {0}",
    "moved": "UPDATE rolling_slot SET starts_at = starts_at + INTERVAL 30 MINUTE, displaced = true, "
    "customised = '[\"starts_at\"]' WHERE id = {0}",
    "moved, not marked": "UPDATE rolling_slot SET starts_at = starts_at + INTERVAL 5 MINUTE, "
    "customised = '[\"starts_at\"]' WHERE id = {0}",
    "one beside it moved": "UPDATE rolling_slot SET starts_at = starts_at - INTERVAL 30 MINUTE, booked = 1, "
    "customised = '[\"starts_at\"]', displaced = true WHERE id = {1}",
    "somebody waits": "UPDATE rolling_slot SET waits_for = 1, queue = '[[99, 1]]' WHERE id = {0}",
    "another part of the series": "UPDATE rolling_slot SET template_id = 2 WHERE id = {0}",
    "another slot's row": "UPDATE rolling_slot SET original_start = '2031-01-01 10:00:00' WHERE id = {0}",
    "removed": "DELETE FROM rolling_slot WHERE id = {0}",
}

#: What nobody gets into, by which error.
REFUSED = {
    "full": "SlotFull",
    "cancelled": "SlotClosed",
    "not yet open": "SlotClosed",
    "closed": "SlotClosed",
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
            slot.booked,
        )
    except RollingSlotsError as error:
        return type(error).__name__, str(error)
    finally:
        site.session.rollback()


@pytest.mark.parametrize("overlapping", [False, True])
def test_whatever_is_changed_meanwhile_the_answer_is_that_of_who_comes_after(
    site: Site, overlapping: bool
) -> None:
    """Each fact of a slot changes after it was read: whoever books it then gets what the next one would get."""
    site.add(capacity=3, overlapping=overlapping)
    site.add(capacity=3)
    site.slots.generate()
    site.session.commit()
    slots = [slot for slot in site.week() if slot.series_id == 1][:2]
    key, ids = slots[0].key, [slot.id for slot in slots]
    site.session.execute(text("CREATE TABLE kept AS SELECT * FROM rolling_slot"))
    site.session.commit()
    lost = 0
    for name, change in CHANGES.items():
        party = 1 if "place" in name else 2
        with changed_after_the_read(site, change.format(*ids)) as done:
            meanwhile = outcome(site, key, party, "ada")
        assert done == [True], name
        assert meanwhile[0] == REFUSED.get(name, meanwhile[0]), name
        lost += meanwhile[0] == "LostRace"
        assert meanwhile[0] == "LostRace" or meanwhile == outcome(site, key, party, "ada"), name
        for statement in ("DELETE FROM rolling_slot", "INSERT INTO rolling_slot SELECT * FROM kept"):
            site.session.execute(text(statement))
        site.session.commit()
    assert lost == 1  # who removed the row was faster, and a new one cannot be seen


@contextmanager
def changed_after_the_read(site: Site, change: str) -> Iterator[list[bool]]:
    """Let somebody else change something once a booking has read its slot; note that it was so."""
    done: list[bool] = []

    def act(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "rolling_slot.capacity AS" in statement and not done:
            done.append(True)
            with create_engine(site.db.engine.url).begin() as other:
                other.execute(text(change))

    event.listen(site.db.engine, "after_cursor_execute", act)
    yield done
    event.remove(site.db.engine, "after_cursor_execute", act)
