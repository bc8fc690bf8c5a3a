"""What one person may hold: how long, and how many holds at once. What a program holds is the app's own business.

Two requests of one person wait for each other, so that both count what the other one took: on SQLite by the write
lock, elsewhere by a row of the table of resources. There are a few thousand such rows, which persons share by chance:
a row for each would stay when the person is forgotten.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import func, select

from ..context import Work
from ..errors import TooManyHolds, refusal
from ..models import table_of
from ..settings import PREFIX
from ..statements import MARIADB, newest, take_write_lock
from ..values import BookingStatus
from .resources import lock_resource

#: Before the name of a row that is locked: no resource of an app begins so.
_ROW = "\x01holds:"
#: The fields of a template that say how much one person may book.
LIMITS = ("max_party", "max_per_person", "max_per_person_day", "max_per_person_week")
#: So many digits of a person's hash name the row.
_DIGITS = 3


def check_length(work: Work, minutes: float) -> None:
    """Refuse a hold that is longer than a person may have.

    :raises InvalidRequest: names ``minutes``, the value and the setting.
    """
    most = work.settings.hold_minutes_max
    if minutes > most:
        raise refusal("minutes", minutes, f"at most {most:,} for a person ({PREFIX}HOLD_MINUTES_MAX)")


def lock_holds(work: Work, who: str) -> bool:
    """Let others who hold places in a person's name wait until the end of this transaction: before any other lock.

    :return: whether others did since this transaction began to read: what it sees may be older.
    """
    session = work.session
    if work.dialect == "sqlite":  # a transaction that sees something older is refused when it writes
        session.flush()
        take_write_lock(session, table_of(work.models.Slot))
        return False
    name = _ROW + hashlib.sha256(who.encode()).hexdigest()[:_DIGITS]
    table = table_of(work.models.Resource)
    version: Any = select(table.c.version).where(table.c.name == name)
    before = session.scalar(version) if work.dialect in MARIADB else None
    lock_resource(session, work.models, name)
    return work.dialect in MARIADB and session.scalar(version) != (before or 0) + 1


def check_number(work: Work, who: str, is_old: bool) -> None:
    """Refuse one more hold of a person who has as many as one may; ``lock_holds`` was called before.

    :param is_old: what that returned. MariaDB then reads with locks, which are in the way of others beside this person.
    :raises TooManyHolds: if so many holds in this name have not expired.
    """
    cls, limit = work.models.Booking, work.settings.holds_per_person
    query: Any = select(func.count()).select_from(table_of(cls))
    query = query.where(cls.who == who, cls.status == BookingStatus.HELD.value, cls.expires_at > work.now)
    held = work.session.scalar(newest(query, work.dialect) if is_old else query) or 0
    if held >= limit and not is_old:  # some may just have been confirmed or released
        held = work.session.scalar(newest(query, work.dialect)) or 0
    if held >= limit:
        text = (
            f"{held} places or parties are held by this person already: expected at most {limit} at once "
            f"({PREFIX}HOLDS_PER_PERSON): confirm or release one first"
        )
        raise TooManyHolds(text, held=held, limit=limit)
