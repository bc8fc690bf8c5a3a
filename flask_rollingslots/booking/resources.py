"""Exclusive resources: a court, a room, a teacher that two bookings cannot have at the same time.

The resource's row is locked before anything else of a booking is written, so that all bookings of one resource
follow one another, on every database; then what overlaps is looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select, update

from flask_rollingslots.browsing import materialize
from flask_rollingslots.models import Seen, live_places, load_busy, table_of
from flask_rollingslots.statements import dialect_of, insert_or_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from flask_rollingslots.context import Work
    from flask_rollingslots.models import BookingMixin, Models, SlotMixin, TemplateMixin
    from flask_rollingslots.values import SlotKey


def reach(
    work: Work,
    key: str | SlotKey | SlotMixin,
    making: Callable[[], object] = lambda: None,
    hidden: bool = False,
    ended: bool = False,
) -> SlotMixin:
    """Return the row at a key, made if need be, with its exclusive resource locked before.

    :param making: called before anything is written for a slot that has no row yet.
    :param hidden: return a deleted slot too.
    :param ended: also make a row of what was cancelled or deleted with its series.
    :raises InvalidKey: if the key has another form.
    :raises SlotNotFound: if the rule has no such start, or a virtual slot has ended.
    """

    def lock_first(template: TemplateMixin) -> None:
        if template.exclusive and template.resource is not None:
            lock_resource(work.session, work.models, template.resource)

    return materialize(work, key, lock_first, making, hidden=hidden, ended=ended)


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
    slot.rolling_busy = busy if leaving is not None else Seen(session, busy)


def is_taken(slot: SlotMixin, now: datetime) -> bool:
    """Whether another slot was found to have the resource, after ``look_around``."""
    return slot.template.exclusive and any(other.takes(slot, now) for other in slot.rolling_busy or ())


class Stay(NamedTuple):
    """A slot with live bookings that is to have its exclusive resource for another while than now."""

    resource: str
    slot_id: int
    starts_at: datetime
    ends_at: datetime


def find_clashes(
    session: Session, models: Models, now: datetime, stays: Sequence[Stay], lock: bool = True
) -> set[int]:
    """Return the ids of the slots that would overlap with other bookings, or with each other, on their resources.

    Of two that overlap with each other the later one is named.

    :param lock: the resources are locked, and what others committed by now counts; else this is only a look.
    """
    if not stays:
        return set()
    names, ids = {stay.resource for stay in stays}, {stay.slot_id for stay in stays}
    start, end = min(stay.starts_at for stay in stays), max(stay.ends_at for stay in stays)
    lock = lock and dialect_of(session) in ("mysql", "mariadb")
    found = load_busy(session, models, names, start, end, lock=lock)
    others = [o for o in found if o.slot_id not in ids and live_places(o.booked, o.holds, now) > 0]
    clashes: set[int] = set()
    for name in names:
        taken = [(o.starts_at, o.ends_at, 0) for o in others if o.resource == name]
        wanted = [(s.starts_at, s.ends_at, s.slot_id) for s in stays if s.resource == name]
        clashes |= _overlapping([*taken, *wanted])
    return clashes


def _overlapping(spans: Iterable[tuple[datetime, datetime, int]]) -> set[int]:
    """Return which slots of one resource cannot stay; those with the id 0 do in any case."""
    lost: set[int] = set()
    fixed = last = None  # until when the others have it, and the last slot that can stay
    for start, end, slot_id in sorted(spans):
        if slot_id == 0:
            if last is not None and start < last[0]:
                lost.add(last[1])
                last = None
            fixed = end if fixed is None else max(fixed, end)
        elif (fixed is not None and start < fixed) or (last is not None and start < last[0]):
            lost.add(slot_id)
        else:
            last = (end, slot_id)
    return lost
