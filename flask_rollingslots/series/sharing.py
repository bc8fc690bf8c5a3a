"""Exclusive resources of a series whose booked slots get other times: locked first, then looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from flask_rollingslots.booking import Stay, find_clashes, lock_resource
from flask_rollingslots.errors import SlotClosed, StaleEdit
from flask_rollingslots.models import OCCUPYING
from flask_rollingslots.values import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask_rollingslots.context import Work
    from flask_rollingslots.revising import RowChange

    from .reading import Loaded

_SPAN = ("starts_at", "ends_at")


def lock_resources(work: Work, series_id: int) -> frozenset[str] | None:
    """Keep others from booking the exclusive resources of a series until the app commits; return their names.

    Before anything else is locked: whoever books does it in this order too.
    """
    if work.dry_run:
        return None
    names = frozenset(_resources(work, series_id).values())
    for name in sorted(names):
        lock_resource(work.session, work.models, name)
    return names


def find_blocked(
    work: Work, loaded: Loaded, changes: Iterable[RowChange], locked: frozenset[str] | None = None
) -> list[tuple[RowChange, str]]:
    """Return the changes that would let bookings overlap with others on an exclusive resource, with its name.

    :param locked: the resources that are locked; ``None``: only a look.
    :raises StaleEdit: if the series has other resources by now.
    """
    moved = [change for change in changes if change.row.live and _takes_time(change)]
    if not moved:
        return []
    names = _resources(work, moved[0].row.series_id) if locked is None else _locked_resources(loaded)
    if locked is not None and not locked.issuperset(names.values()):
        raise StaleEdit
    claimed = [(change, names[change.row.template_id]) for change in moved if change.row.template_id in names]
    stays = [_stay(*claim) for claim in claimed]
    clashes = find_clashes(work.session, work.models, work.now, stays, lock=locked is not None)
    return [claim for claim in claimed if claim[0].row.id in clashes]


def refuse_blocked(
    work: Work, loaded: Loaded, changes: Iterable[RowChange], locked: frozenset[str] | None = None
) -> None:
    """Refuse changes that would let bookings overlap on an exclusive resource.

    :raises SlotClosed: names the first slot in its text, and all in ``keys``.
    """
    blocked = find_blocked(work, loaded, changes, locked)
    if not blocked:
        return
    (first, resource), keys = blocked[0], [str(change.row.key) for change, _ in blocked]
    starts_at = first.values.get("starts_at", first.row.starts_at)
    more = f" (and {len(keys) - 1} more)" if keys[1:] else ""
    text = (
        f"slot {keys[0]}{more} is booked, and {resource!r} is taken by another booking at {starts_at:%Y-%m-%d %H:%M} "
        "UTC: release or move one of both first"
    )
    raise SlotClosed(text, key=keys[0], keys=keys, state=State.BLOCKED.value)


def _resources(work: Work, series_id: int) -> dict[int, str]:
    """Return the exclusive resources of a series by segment."""
    cls = work.models.Template
    query = select(cls.id, cls.resource).where(cls.series_id == series_id, cls.exclusive.is_(True))
    return {row.id: row.resource for row in work.session.execute(query) if row.resource is not None}


def _locked_resources(loaded: Loaded) -> dict[int, str]:
    return {t.id: t.resource for t in loaded.templates.values() if t.exclusive and t.resource is not None}


def _takes_time(change: RowChange) -> bool:
    values = change.values
    stands = values.get("status", change.row.status) in OCCUPYING
    return stands and any(name in values for name in (*_SPAN, "status"))


def _stay(change: RowChange, resource: str) -> Stay:
    start, end = (change.values.get(name, getattr(change.row, name)) for name in _SPAN)
    return Stay(resource, change.row.id or 0, start, end)
