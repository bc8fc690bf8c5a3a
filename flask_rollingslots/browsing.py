"""Reading: stored rows merged with virtual slots, so that no promised slot is ever missing from a page.

Nothing virtual enters the session by itself; ``materialize`` turns a virtual slot into a row.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, or_, select
from sqlalchemy.orm.attributes import set_committed_value

from . import planning
from .errors import InvalidRequest, RollingSlotsError, SlotNotFound, TemplateNotFound
from .models import mark_busy, row_of, segments, table_of, virtual_slot
from .statements import dialect_of, insert_or_lock, newest
from .values import PlannedSlot, SlotKey, Status, TemplateSpec, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from .models import Models, RunMixin, SlotMixin, TemplateMixin

log = logging.getLogger("flask_rollingslots")

#: Templates, by id and revision, of which was said that their rule is broken: once each, not on every page.
_complained: set[tuple[int, int]] = set()
_COMPLAINTS = 1000
#: How many runs of all templates are searched for those that touched one.
_RUNS_SEARCHED = 1000
_FAR = timedelta(days=366)
#: How far ahead ``upcoming`` looks for a rule that seldom or never matches.
_HORIZON = timedelta(days=366 * 60)


@dataclass(frozen=True, slots=True)
class Browser:
    """Reads the slots of one app at one moment.

    :param session: the caller's session; nothing is committed.
    :param now: aware.
    """

    session: Session
    models: Models
    now: datetime

    def templates(self, template_id: int | None = None, group: str | None = None) -> list[TemplateMixin]:
        """Return the active templates of a series, of a group, or all.

        :raises TemplateNotFound: if there is no template with this id.
        """
        cls = self.models.Template
        query = select(cls).where(*self._conditions(template_id, group)).order_by(cls.id)
        found = list(self.session.scalars(query))
        if template_id is not None and not found and self.session.get(cls, template_id) is None:
            raise TemplateNotFound(f"template {template_id}: there is no such template")
        return found

    def all_templates(self, group: str | None = None) -> list[TemplateMixin]:
        """Return the templates, active or not, by id; of a group, or all."""
        cls = self.models.Template
        query = select(cls).order_by(cls.id)
        return list(self.session.scalars(query.where(cls.group == group) if group is not None else query))

    def group(self, group: str) -> list[TemplateMixin]:
        """Return the templates of a group, active or not.

        :raises TemplateNotFound: if there is none: an unknown group means nothing, never everything.
        """
        found = self.all_templates(group)
        if not found:
            raise TemplateNotFound(f"group {group!r}: there is no template in this group")
        return found

    def zone_of(self, template_id: int) -> ZoneInfo:
        """Return a template's zone.

        :raises TemplateNotFound: if there is no template with this id.
        """
        template = self.session.get(self.models.Template, template_id)
        if template is None:
            raise TemplateNotFound(f"template {template_id}: there is no such template")
        return ZoneInfo(template.timezone)

    def _conditions(self, template_id: int | None, group: str | None) -> list[ColumnElement[bool]]:
        cls = self.models.Template
        conditions: list[ColumnElement[bool]] = [cls.active.is_(True)]
        if template_id is not None:
            conditions.append(cls.series_id.in_(select(cls.series_id).where(cls.id == template_id)))
        if group is not None:
            conditions.append(cls.group == group)
        return conditions

    def between(
        self, start: datetime, end: datetime, template_id: int | None = None, group: str | None = None
    ) -> list[SlotMixin]:
        """Return the slots with ``start <= starts_at < end``, by start: stored and virtual, never deleted ones.

        :raises InvalidRequest: if a bound is naive, or the end is before the start.
        :raises TemplateNotFound: if there is no template with this id.
        """
        window = _window(start, end)
        templates = {t.id: t for t in self.templates(template_id, group)}
        if not templates:
            return []
        specs = [t.spec() for t in templates.values()]
        offers = {slot.key: slot for spec in specs for slot in self._offers(spec, window)}
        shown = self._stored(self._conditions(template_id, group), window, offers)
        for row in shown:
            set_committed_value(
                row, "template", templates[row.template_id]
            )  # else one query for each template
        virtual = (virtual_slot(self.models, o, templates[o.spec.id], self.now) for o in offers.values())
        found = sorted(
            [*shown, *virtual], key=lambda slot: (slot.starts_at, slot.series_id, slot.original_start)
        )
        mark_busy(self.session, self.models, found)
        return found

    def _offers(self, spec: TemplateSpec, window: Window) -> Iterable[PlannedSlot]:
        """Return what may be shown as virtual: what has not ended yet."""
        first = max(window.start, _add(self.now, -spec.duration))
        if first >= window.end:
            return ()
        try:
            return [s for s in planning.offered(spec, Window(first, window.end)) if s.ends_at > self.now]
        except (RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError) as error:
            _complain(spec, error)  # a page of many templates must not fail because of one
            return ()

    def _stored(
        self,
        conditions: list[ColumnElement[bool]],
        window: Window,
        offers: dict[SlotKey, PlannedSlot],
    ) -> list[SlotMixin]:
        """Return the stored slots of the window, and drop the offers that any row stands for."""
        slot, template = self.models.Slot, self.models.Template
        place: ColumnElement[bool] = and_(slot.starts_at >= window.start, slot.starts_at < window.end)
        if offers:
            # A row stands for its original start even if it was moved out of the window, or deleted.
            first = min(key.original_start for key in offers)
            last = max(key.original_start for key in offers)
            place = or_(place, slot.original_start.between(first, last))
        query = select(slot).join(template, template.id == slot.template_id).where(*conditions, place)
        rows = list(self.session.scalars(query))
        for row in rows:
            offers.pop(SlotKey(row.series_id, row.original_start), None)
        taken = {(r.series_id, r.starts_at) for r in rows if r.status in planning.OCCUPYING}
        for key in [k for k, offer in offers.items() if (k.series_id, offer.starts_at) in taken]:
            del offers[key]
        return [r for r in rows if r.status != Status.DELETED and window.start <= r.starts_at < window.end]

    def upcoming(self, template_id: int, n: int, after: datetime | None = None) -> list[SlotMixin]:
        """Return the next ``n`` slots that start after a moment (now by default).

        Looks 60 years ahead at most.

        :raises TemplateNotFound: if there is no template with this id.
        """
        start = _add(_utc(after or self.now), timedelta(microseconds=1))
        found: list[SlotMixin] = []
        specs = [t.spec() for t in self.templates(template_id)]
        limit, step = _add(start, _HORIZON), timedelta(days=31)
        while len(found) < n and start < limit and specs:
            end = self._end_of_stretch(specs, start, n - len(found), min(_add(start, step), limit), limit)
            found += self.between(start, end, template_id)
            start, step = end, min(step * 4, _FAR * 10)
        return found[:n]

    def promised(self, template: TemplateMixin, n: int, after: datetime | None = None) -> list[SlotMixin]:
        """Return the next ``n`` slots that a template promises, stored or not: all virtual, no row is read.

        :param template: may be in no session.
        """
        start = _add(_utc(after or self.now), timedelta(microseconds=1))
        spec, limit = template.spec(), _add(start, _HORIZON)
        found: list[PlannedSlot] = []
        while len(found) < n and start < limit:
            end = self._end_of_stretch([spec], start, n - len(found), limit, limit)
            found += planning.offered(spec, Window(start, end))
            start = end
        return [virtual_slot(self.models, offer, template, self.now) for offer in found[:n]]

    def _end_of_stretch(
        self, specs: Sequence[TemplateSpec], start: datetime, n: int, near: datetime, limit: datetime
    ) -> datetime:
        """Return how far to read for the next ``n``: not a year of quarter-hours, nor only an empty month."""
        nexts = sorted(moment for spec in specs for moment in _following(spec, start, n))
        if not nexts:
            return limit  # what may still come is stored
        return min(limit, _add(nexts[min(n, len(nexts)) - 1], timedelta(microseconds=1)))

    def get(self, key: str | SlotKey | SlotMixin) -> SlotMixin:
        """Return the slot at a key, stored or virtual.

        :raises InvalidKey: if the key has another form.
        :raises SlotNotFound: if there is none, it was deleted, or its template is inactive.
        """
        slot_key = _key(key)
        row = self._row(slot_key)
        if row is not None:
            if row.status == Status.DELETED or not row.template.active:
                raise _not_found(slot_key)
            row.rolling_busy = None
            return row
        offer, template = self._offer(slot_key)
        return virtual_slot(self.models, offer, template, self.now)

    def materialize(
        self,
        key: str | SlotKey | SlotMixin,
        first: Callable[[TemplateMixin], None] = lambda template: None,
        hidden: bool = False,
        ended: bool = False,
    ) -> SlotMixin:
        """Return the row at a key, and make it if it is still virtual; idempotent, also among processes.

        A cancelled slot is returned as it is.

        :param first: called with the template before the row is made: for what has to be locked earlier.
        :param hidden: return a deleted slot too.
        :param ended: also make a row of what was cancelled or deleted with its series: to restore it.
        :raises InvalidKey: if the key has another form.
        :raises SlotNotFound: if the rule has no such start, a virtual slot has ended, or the slot was deleted.
        """
        slot_key = _key(key)
        row = self._row(slot_key)
        if row is not None and row.status == Status.DELETED and not hidden:
            raise _not_found(slot_key)
        if row is not None:
            first(row.template)
            return row
        offer, template = self._offer(slot_key, ended)
        first(template)
        statement = insert_or_lock(table_of(self.models.Slot), dialect_of(self.session))
        self.session.execute(statement, [row_of(offer, self.now)])
        row = self._row(slot_key, fresh=True)
        if row is None:
            raise _not_found(slot_key)
        return row

    def materialize_all(self, slots: Iterable[SlotMixin]) -> list[SlotMixin]:
        """Return some slots that were read here as rows; those that are virtual are made."""
        return [self.materialize(slot.key) if slot.is_virtual else slot for slot in slots]

    def runs(self, template_id: int | None, limit: int) -> list[RunMixin]:
        """Return the recorded top-ups, newest first; of one template: those that touched it."""
        cls = self.models.Run
        query = select(cls).order_by(cls.id.desc())
        if template_id is None:
            return list(self.session.scalars(query.limit(limit)))
        query = query.where(or_(cls.template_id == template_id, cls.template_id.is_(None))).limit(
            _RUNS_SEARCHED
        )
        found = (run for run in self.session.scalars(query) if _touched(run, template_id))
        return list(islice(found, limit))

    def _row(self, key: SlotKey, fresh: bool = False) -> SlotMixin | None:
        cls = self.models.Slot
        query: Any = select(cls).where(
            cls.series_id == key.series_id, cls.original_start == key.original_start
        )
        return self.session.scalars(newest(query, dialect_of(self.session)) if fresh else query).one_or_none()

    def _offer(self, key: SlotKey, ended: bool = False) -> tuple[PlannedSlot, TemplateMixin]:
        for template in segments(self.session, self.models, [key.series_id]):
            spec = template.spec()
            offer = planning.offer_at(
                replace(spec, cancelled_from=None) if ended else spec, key.original_start
            )
            if offer is not None and offer.ends_at > self.now and not self._is_taken(offer):
                return offer, template
        raise _not_found(key)

    def _is_taken(self, offer: PlannedSlot) -> bool:
        """Whether another row of the series stands at the instant of a slot without a row."""
        cls, key = self.models.Slot, offer.key
        query = select(cls.id).where(
            cls.series_id == key.series_id,
            cls.original_start != key.original_start,
            cls.starts_at == offer.starts_at,
            cls.status.in_(planning.OCCUPYING),
        )
        return self.session.scalars(query.limit(1)).first() is not None


def _following(spec: TemplateSpec, start: datetime, n: int) -> Iterable[datetime]:
    """Yield the next starts of a segment's rule, exclusions aside, as far as the segment goes."""
    life = planning.life_of(spec, Window(start, datetime.max.replace(tzinfo=UTC)))
    if life.start < life.end:
        found = planning.recurrence_of(spec).after(life.start - timedelta(microseconds=1), n)
        yield from (starts_at for _, starts_at in found if starts_at < life.end)


def _complain(spec: TemplateSpec, error: Exception) -> None:
    fault = (spec.id, spec.revision)
    if fault not in _complained:
        if len(_complained) >= _COMPLAINTS:
            _complained.clear()
        _complained.add(fault)
        log.warning("template %s (%s) shows only what is stored: %s", spec.id, spec.name, error)


def _touched(run: RunMixin, template_id: int) -> bool:
    return run.template_id == template_id or str(template_id) in (run.results or {}).get("templates", {})


def holes(slots: Iterable[SlotMixin], now: datetime, days: int, align: str) -> set[int]:
    """Return the templates of which a slot is virtual although its window should hold a row by now."""
    ends: dict[int, datetime] = {}
    found = set()
    for slot in slots:
        if not slot.is_virtual or slot.starts_at <= now or slot.template_id in found:
            continue
        if slot.template_id not in ends:
            ends[slot.template_id] = planning.window_of(slot.template.spec(), now, days, align).end
        if slot.starts_at < ends[slot.template_id]:
            found.add(slot.template_id)
    return found


def _window(start: datetime, end: datetime) -> Window:
    for name, value in (("start", start), ("end", end)):
        if not isinstance(value, datetime) or value.tzinfo is None:
            expected = "an aware datetime (with a time zone)"
            raise InvalidRequest(
                f"{name} = {value!r}: expected {expected}", field=name, value=value, expected=expected
            )
    if end < start:
        raise InvalidRequest(
            f"end = {end!r}: expected a moment not before start = {start!r}", field="end", value=end
        )
    return Window(_utc(start), _utc(end))


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        edge = datetime.min if moment.year < 5000 else datetime.max
        return edge.replace(tzinfo=UTC)


def _add(moment: datetime, span: timedelta) -> datetime:
    try:
        return moment + span
    except OverflowError:
        edge = datetime.max - timedelta(days=2) if span > timedelta(0) else datetime.min
        return edge.replace(tzinfo=UTC)


def _key(key: str | SlotKey | SlotMixin) -> SlotKey:
    if isinstance(key, SlotKey):
        return key
    return SlotKey.parse(key if isinstance(key, str) else getattr(key, "key", str(key)))


def _not_found(key: SlotKey) -> SlotNotFound:
    return SlotNotFound(f"slot {key}: there is no such slot", key=str(key))
