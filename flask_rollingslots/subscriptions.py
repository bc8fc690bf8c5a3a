"""What calendar programs subscribe to: which rows a feed needs, and which of its secret addresses still hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select, update

from . import planning
from .errors import no_template
from .feeds import Decision, Outgoing
from .loading import is_decided
from .models import table_of
from .recurrence.zones import instant_of
from .statements import dialect_of, insert_if_absent
from .values import OCCUPYING, SlotKey, Status, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from sqlalchemy.orm import Session

    from .models import Models, TemplateMixin
    from .values import TemplateSpec

_CHUNK = 500
#: What a feed reads of a slot.
_SHOWN = (
    "template_id", "series_id", "original_start", "starts_at", "ends_at", "status", "data", "cancel_reason",
    "changed_at",
)  # fmt: skip
#: A zone moves a wall clock time by less than a day, and a gap by at most a day.
_SLACK = timedelta(days=2)
_TICK = timedelta(microseconds=1)
_NONE = timedelta(0)


def published(
    session: Session,
    models: Models,
    since: datetime,
    template_id: int | None = None,
    group: str | None = None,
    sees: Callable[[TemplateMixin], bool] = lambda template: True,
) -> list[Outgoing]:
    """Return the active templates, by id, with the stored slots that are not, or may not be, as the rule says.

    A handful of queries, however many templates and slots there are.

    :param since: naive midnight; slots before it, in their template's zone, are left out, some more rather than less.
    :param template_id: only the series of this template.
    :param group: only the templates of this group; none is no error.
    :param sees: says of a template whether it may be shown.
    :raises TemplateNotFound: if there is no such template, or it is not in the group.
    """
    cls = models.Template
    conditions = [cls.group == group] if group is not None else []
    if template_id is not None:
        found = session.scalar(select(cls.series_id).where(cls.id == template_id, *conditions))
        if found is None:
            raise no_template(template_id)
        conditions.append(cls.series_id == found)
    conditions.append(cls.active.is_(True))
    templates = [t for t in session.scalars(select(cls).where(*conditions).order_by(cls.id)) if sees(t)]
    first = since - _SLACK
    reach = first - max((template.shift for template in templates), default=_NONE)
    slot = models.Slot
    query = (
        select(*(getattr(slot, name) for name in _SHOWN))
        .join(cls, cls.id == slot.template_id)
        .where(
            *conditions,
            or_(slot.starts_at >= first.replace(tzinfo=UTC), slot.original_start >= min(first, reach)),
            # What a top-up made and nobody touched is where the rule says.
            or_(is_decided(models), slot.booked > 0, slot.run_id.is_(None)),
        )
        .order_by(slot.series_id, slot.original_start)
    )
    rows: dict[int, list[Any]] = {}
    for row in session.execute(query):
        rows.setdefault(row.template_id, []).append(row)
    outs = [_published(template, rows.get(template.id, ())) for template in templates]
    return _without_crowded(session, models, outs)


def _published(template: TemplateMixin, rows: Sequence[Any]) -> Outgoing:
    decisions = tuple(
        Decision(
            original_start=row.original_start,
            status=row.status,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            data=row.data or {},
            cancel_reason=row.cancel_reason,
            changed_at=row.changed_at,
        )
        for row in rows
    )
    more = {"reminder_before": template.reminder_before}
    return Outgoing(template.spec(), template.created_at, more, decisions, template.changed_at)


def _without_crowded(session: Session, models: Models, outs: list[Outgoing]) -> list[Outgoing]:
    """Leave out what a rule says at an instant where a slot of the series stayed, as reading does."""
    specs: dict[int, list[TemplateSpec]] = {}
    for out in outs:
        specs.setdefault(out.spec.series_id, []).append(out.spec)
    crowded: dict[SlotKey, int] = {}
    for out in outs:
        known = {each.original_start for each in out.decisions}
        for spec, original_start in _rivals(specs[out.spec.series_id], out):
            if original_start not in known:
                crowded[SlotKey(spec.series_id, original_start)] = spec.id
    if not crowded:
        return outs
    for stored in _stored_among(session, models, crowded):
        del crowded[stored]
    gone: dict[int, list[Decision]] = {}
    for key, template_id in crowded.items():
        gone.setdefault(template_id, []).append(
            Decision(original_start=key.original_start, status=Status.DELETED.value)
        )
    return [replace(out, decisions=(*out.decisions, *gone.get(out.spec.id, ()))) for out in outs]


def _rivals(specs: list[TemplateSpec], out: Outgoing) -> Iterator[tuple[TemplateSpec, datetime]]:
    """Yield what the rules of a series have at the instants of slots that are not where their rule says."""
    zone = ZoneInfo(out.spec.timezone)
    for each in out.decisions:
        at = each.starts_at
        if at is None or each.status not in OCCUPYING:
            continue
        if at == instant_of(each.original_start + out.spec.shift, zone):
            continue
        for spec in specs:
            for slot in planning.planned(spec, Window(at, at + _TICK)):
                if slot.original_start != each.original_start:
                    yield spec, slot.original_start


def _stored_among(session: Session, models: Models, keys: Collection[SlotKey]) -> list[SlotKey]:
    cls, found = models.Slot, []
    starts = sorted({key.original_start for key in keys})
    for first in range(0, len(starts), _CHUNK):
        query = select(cls.series_id, cls.original_start).where(
            cls.series_id.in_({key.series_id for key in keys}),
            cls.original_start.in_(starts[first : first + _CHUNK]),
        )
        found += [SlotKey(*row) for row in session.execute(query)]
    return [key for key in found if key in keys]


# -- secret addresses


def address_number(session: Session, models: Models, group: str | None) -> int:
    """Return the number that a group's secret address has to carry; it grows when the address is withdrawn."""
    address, lease, digest = models.FeedAddress, models.Lease, _digest(group)
    number = select(address.number).where(address.group_digest == digest).scalar_subquery()
    # Where it was counted before there was a table for it: no address that was withdrawn holds again.
    before = select(lease.token).where(lease.name == f"feed:{digest[:48]}").scalar_subquery()
    return int(session.scalar(select(func.coalesce(number, before, 0))) or 0)


def withdraw_address(session: Session, models: Models, group: str | None) -> None:
    """Let a group's secret address hold no more, in the caller's transaction; all others go on."""
    table, digest = table_of(models.FeedAddress), _digest(group)
    first = {"group_digest": digest, "number": address_number(session, models, group)}
    session.execute(insert_if_absent(table, dialect_of(session)), [first])
    session.execute(update(table).where(table.c.group_digest == digest).values(number=table.c.number + 1))


def _digest(group: str | None) -> str:
    return "" if group is None else sha256(group.encode("utf-8", "surrogatepass")).hexdigest()
