"""Lists of bookings: what a person has, who comes to a slot, a day's list for the door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import contains_eager

from ..context import Work
from ..errors import refusal
from ..models import BookingMixin, TemplateMixin, table_of
from ..values import SlotKey
from .searching import check_aware, check_group, check_limit, find_booking, find_template, segments_of


@dataclass(frozen=True, slots=True)
class BookingsAsked:
    """Which bookings are asked for.

    :param template_id: those of its whole series.
    :param start: aware; of slots that start then or later. ``end``: and before this.
    :param live: only those that take places now.
    :param waiting: with ``live``: those that wait for places too.
    :param after: only those that follow on this one, or its id.
    """

    who: str | None = None
    key: SlotKey | None = None
    template_id: int | None = None
    group: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    live: bool = True
    waiting: bool = False
    limit: int = 200
    after: Any = None

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises InvalidRequest: names argument, value and what is expected.
        """
        if self.who is not None and not isinstance(self.who, str):
            raise refusal("who", self.who, "a text, or None; an id as str(user.id)")
        check_group(self.group)
        check_aware(**{name: at for name, at in (("start", self.start), ("end", self.end)) if at is not None})
        if self.start is not None and self.end is not None and self.end < self.start:
            raise refusal("end", self.end, f"a moment not before start = {self.start}")
        check_limit(self.limit)


def bookings(
    work: Work, asked: BookingsAsked, sees: Callable[[TemplateMixin], bool] | None = None
) -> list[BookingMixin]:
    """Return bookings with their slots and templates, by start, then id: one query.

    :param sees: says of a template whether its bookings may be shown; then pages are read until there are enough.
    :raises BookingNotFound: if there is none to follow on.
    :raises TemplateNotFound: if there is no template with this id; for a key ``SlotNotFound``: no such series.
    """
    asked.check()
    after = None if asked.after is None else find_booking(work, getattr(asked.after, "id", asked.after))
    query: Any = _query(work, asked).limit(asked.limit)
    found: list[BookingMixin] = []
    while True:
        page = list(work.session.scalars(query if after is None else query.where(_behind(work, after))))
        seen = page if sees is None else (each for each in page if sees(each.slot.template))
        found += islice(seen, asked.limit - len(found))
        if len(page) < asked.limit or len(found) == asked.limit:
            break
        after = page[-1]
    if not found and asked.template_id is not None:
        find_template(work, asked.template_id)
    if not found and asked.key is not None:
        segments_of(work, asked.key)
    return found


def _behind(work: Work, after: BookingMixin) -> ColumnElement[bool]:
    booking, slot = work.models.Booking, work.models.Slot
    starts_at = after.slot.starts_at
    return or_(slot.starts_at > starts_at, and_(slot.starts_at == starts_at, booking.id > after.id))


def _query(work: Work, asked: BookingsAsked) -> Any:
    models = work.models
    booking, slot, template = models.Booking, models.Slot, models.Template
    of_slot: Any = booking.slot
    query = select(booking).join(of_slot).join(slot.template).order_by(slot.starts_at, booking.id)
    query = query.options(contains_eager(of_slot).contains_eager(slot.template))
    if asked.live:
        is_live = booking.live_at(work.now)
        waits = booking.waits_at(slot, work.now)
        query = query.where(or_(is_live, waits) if asked.waiting else is_live)
    if asked.who is not None:
        query = query.where(booking.who == asked.who)
    if asked.key is not None:
        key = asked.key
        query = query.where(slot.series_id == key.series_id, slot.original_start == key.original_start)
    if asked.template_id is not None:
        other = table_of(template).alias()
        series = select(other.c.series_id).where(other.c.id == asked.template_id).scalar_subquery()
        query = query.where(template.series_id == series)
    if asked.group is not None:
        query = query.where(template.group == asked.group)
    if asked.start is not None:
        query = query.where(slot.starts_at >= asked.start.astimezone(UTC))
    if asked.end is not None:
        query = query.where(slot.starts_at < asked.end.astimezone(UTC))
    return query


def history(work: Work, booking_id: Any) -> list[BookingMixin]:
    """Return a booking with those that it replaced and those that replaced it, the oldest first.

    :raises BookingNotFound: if there is none.
    """
    cls, found = work.models.Booking, [find_booking(work, booking_id)]
    while found[0].replaces_id is not None:
        before = work.session.get(cls, found[0].replaces_id)
        if before is None:  # pruned
            break
        found.insert(0, before)
    while True:
        after = work.session.scalars(select(cls).where(cls.replaces_id == found[-1].id)).one_or_none()
        if after is None:
            return found
        found.append(after)
