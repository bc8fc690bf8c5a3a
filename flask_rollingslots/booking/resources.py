"""Exclusive resources: a court, a room, a teacher that two bookings cannot have at the same time.

The resource's row is locked before anything else of a booking is written, so that all bookings of one resource
follow one another, on every database; then what overlaps is looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from flask_rollingslots.errors import SlotClosed
from flask_rollingslots.models import load_busy, table_of
from flask_rollingslots.statements import dialect_of, insert_or_lock
from flask_rollingslots.values import State

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from flask_rollingslots.browsing import Browser
    from flask_rollingslots.models import BookingMixin, Models, SlotMixin, TemplateMixin


def reach(browser: Browser, key: str | SlotMixin, restoring: bool = False) -> SlotMixin:
    """Return the row at a key, made if need be, with its exclusive resource locked before.

    :param restoring: return what was deleted, or cancelled or deleted with its series, too.
    :raises InvalidKey: if the key has another form.
    :raises SlotNotFound: if the rule has no such start, or a virtual slot has ended.
    """

    def lock_first(template: TemplateMixin) -> None:
        if template.exclusive and template.resource is not None:
            lock_resource(browser.session, browser.models, template.resource)

    return browser.materialize(key, lock_first, hidden=restoring, ended=restoring)


def lock_resource(session: Session, models: Models, name: str) -> None:
    """Let all others that want a resource wait until the end of this transaction."""
    table = table_of(models.Resource)
    if session.scalar(select(table.c.id).where(table.c.name == name)) is None:
        session.execute(insert_or_lock(table, dialect_of(session)), [{"name": name, "version": 0}])
    session.execute(update(table).where(table.c.name == name).values(version=table.c.version + 1))


def look_around(
    session: Session, models: Models, slot: SlotMixin, leaving: BookingMixin | None = None
) -> None:
    """Tell a slot of a locked exclusive resource what else takes that resource while it lasts.

    :param leaving: a booking that gives up its places in the same transaction: it is in nobody's way.
    """
    template = slot.template
    if not template.exclusive:
        return
    span = (slot.starts_at, slot.ends_at)
    # MariaDB reads from the transaction's snapshot unless it locks; the others see what is committed by now.
    lock = dialect_of(session) in ("mysql", "mariadb")
    busy = load_busy(session, models, [template.resource], *span, lock=lock)
    if leaving is not None:
        holds = leaving.status == "held"
        busy = [
            other._replace(
                booked=other.booked - leaving.party,
                holds=[hold for hold in other.holds or () if not (holds and hold[0] == leaving.id)],
            )
            if other.slot_id == leaving.slot_id
            else other
            for other in busy
        ]
    slot.rolling_busy = busy


def is_taken(slot: SlotMixin, now: datetime) -> bool:
    """Whether another slot was found to have the resource, after ``look_around``."""
    return slot.template.exclusive and any(other.takes(slot, now) for other in slot.rolling_busy or ())


def check_free(browser: Browser, key: str | SlotMixin) -> SlotMixin:
    """Return the row at a key; if it has live bookings, its exclusive resource must be free for them.

    For whatever puts booked slots back or elsewhere: the resource stays locked until the end of the transaction.

    :raises SlotClosed: if another slot has the resource meanwhile.
    """
    slot, session = reach(browser, key, restoring=True), browser.session
    look_around(session, browser.models, slot)
    if slot.booked_at(browser.now) and is_taken(slot, browser.now):
        text = f"slot {slot.key}: {slot.template.resource!r} is taken by another booking at that time"
        raise SlotClosed(text, key=slot.key, state=State.BLOCKED.value)
    return slot
