"""Forgetting a person: the bookings stay, and count, but nothing in them says whose they were."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import select, update

from ..context import Work
from ..errors import refusal
from ..models import table_of
from ..models.kinds import Text
from ..signals import person_forgotten
from ..statements import exclusive, take_write_lock

_WHO = Text(200)
#: Before the random part of the text that stands for a person who was forgotten.
_PREFIX = "forgotten-"
#: What a booking no longer has: what was said of the person, and keys that the person's name is part of.
_GONE = ("name", "contact", "note", "idempotency_key", "request_key")


def forget(work: Work, who: str) -> int:
    """Take a person out of all bookings, and return how many these are; see ``RollingSlots.forget``."""
    value: Any = who
    if not _WHO.takes(value):
        raise refusal("who", value, f"{_WHO.expected}: whom to forget")
    session, cls, table = work.session, work.models.Booking, table_of(work.models.Booking)
    session.flush()
    take_write_lock(session, table)
    # By id, for others lock bookings in that order too.
    mine = select(table.c.id).where(table.c.who == who).order_by(table.c.id)
    session.execute(exclusive(mine, work.dialect))
    pseudonym = f"{_PREFIX}{secrets.token_hex(8)}"
    changes = update(table).where(table.c.who == who).values(who=pseudonym, **dict.fromkeys(_GONE))
    count = int(session.execute(changes).rowcount)  # type: ignore[attr-defined]
    for held in list(session.identity_map.values()):
        if isinstance(held, cls):
            session.expire(held, ["who", *_GONE])
    if work.outbox.who == who:  # who forgets oneself is in no record of it either
        work.outbox.who = pseudonym
    if count:
        work.outbox.add(person_forgotten, pseudonym=pseudonym, count=count)
    return count
