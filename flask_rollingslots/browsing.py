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

from sqlalchemy import bindparam, or_, select

from . import planning
from .errors import InvalidRequest, RollingSlotsError, SlotNotFound, TemplateNotFound
from .models import load_shown, mark_busy, row_of, segments, table_of, virtual_slot
from .statements import dialect_of, insert_or_lock, newest
from .values import OCCUPYING, PlannedSlot, SlotKey, Status, TemplateSpec, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from .models import Models, RunMixin, SlotMixin, TemplateMixin

log = logging.getLogger("flask_rollingslots")

#: Templates, by id and revision, of which was said that their rule is broken: once each, not on every page.
_complained: set[tuple[int, int]] = set()
_COMPLAINTS = 1000
#: How many runs of all templates are searched for those that touched one.
_RUNS_SEARCHED = 1000
_FAR = timedelta(days=366)
#: A span of original starts that holds none.
_NEVER = (datetime(2000, 1, 2), datetime(2000, 1, 1))  # noqa: DTZ001 (wall clock)
#: What a template offers at one occurrence: its plain data, the original start (naive) and the start (UTC).
Offer = tuple[TemplateSpec, datetime, datetime]
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
        cls, kind = self.models.Template, ("templates", template_id is not None, group is not None)
        query = self.models.build_once(kind, lambda models: _query_for_templates(models, *kind[1:]))
        found = list(self.session.scalars(query, {"template_id": template_id, "group": group}))
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

    def between(
        self, start: datetime, end: datetime, template_id: int | None = None, group: str | None = None
    ) -> list[SlotMixin]:
        """Return the slots with ``start <= starts_at < end``, by start: stored and virtual, never deleted ones.

        :raises InvalidRequest: if a bound is naive, or the end is before the start.
        :raises TemplateNotFound: if there is no template with this id.
        """
        window = _window(start, end)
        templates = self.templates(template_id, group)
        return self.merged({t.id: t for t in templates}, [t.spec() for t in templates], window)

    def merged(
        self, templates: dict[int, TemplateMixin], specs: Iterable[TemplateSpec], window: Window
    ) -> list[SlotMixin]:
        """Return the slots of some templates, by start: stored and virtual, never deleted ones.

        :param specs: what the templates promise.
        """
        if not templates:
            return []
        offers = {(o[0].series_id, o[1]): o for spec in specs for o in self._offers(spec, window)}
        found = self._stored(templates, window, offers)
        found += (self._virtual(offer, templates) for offer in offers.values())
        found.sort(key=_place)
        mark_busy(self.session, self.models, found)
        return found

    def _offers(self, spec: TemplateSpec, window: Window) -> list[Offer]:
        """Return what may be shown as virtual: what has not ended yet."""
        ended = _add(self.now, -spec.duration)
        first = max(window.start, ended)
        if first >= window.end:
            return []
        try:
            starts = planning.promised_starts(spec, Window(first, window.end))
            return [(spec, at, start) for at, start, reason in starts if reason is None and start > ended]
        except (RollingSlotsError, ValueError, LookupError, OSError, ArithmeticError) as error:
            complain(spec, error)  # a page of many templates must not fail because of one
            return []

    def _stored(
        self,
        templates: dict[int, TemplateMixin],
        window: Window,
        offers: dict[tuple[int, datetime], Offer],
    ) -> list[SlotMixin]:
        """Return the stored slots of the window, and drop the offers that any row stands for."""
        # A row stands for its original start even if it was moved out of the window, or deleted.
        starts = [original_start for _, original_start in offers]
        span = (min(starts), max(starts)) if starts else _NEVER
        rows = load_shown(self.session, self.models, templates, window, span)
        for row in rows:
            offers.pop((row.series_id, row.original_start), None)
        if offers:
            taken = {(r.series_id, r.starts_at) for r in rows if r.status in OCCUPYING}
            for key in [key for key, offer in offers.items() if (key[0], offer[2]) in taken]:
                del offers[key]
        return [r for r in rows if r.status != Status.DELETED and window.start <= r.starts_at < window.end]

    def _virtual(self, offer: Offer, templates: dict[int, TemplateMixin]) -> SlotMixin:
        spec, original_start, starts_at = offer
        planned = planning.planned_slot(spec, original_start, starts_at, ZoneInfo(spec.timezone))
        return virtual_slot(self.models, planned, templates[spec.id], self.now)

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
            found += planning.planned(spec, Window(start, end))
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
        slot_key = key_of(key)
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
        making: Callable[[], object] = lambda: None,
        hidden: bool = False,
        ended: bool = False,
        inactive: bool = False,
    ) -> SlotMixin:
        """Return the row at a key, and make it if it is still virtual; idempotent, also among processes.

        A cancelled slot is returned as it is.

        :param first: called with the template before the row is made: for what has to be locked earlier.
        :param making: called before that if there is no row yet: such as to begin what can be undone.
        :param hidden: return a deleted slot too.
        :param ended: also make a row of what was cancelled or deleted with its series: to restore it.
        :param inactive: also make a row of what a template that is switched off would promise.
        :raises InvalidKey: if the key has another form.
        :raises SlotNotFound: if the rule has no such start, a virtual slot has ended, or the slot was deleted.
        """
        slot_key = key_of(key)
        row = self._row(slot_key)
        if row is not None and row.status == Status.DELETED and not hidden:
            raise _not_found(slot_key)
        if row is not None:
            first(row.template)
            return row
        offer, template = self._offer(slot_key, ended, inactive)
        making()
        first(template)
        statement = insert_or_lock(table_of(self.models.Slot), dialect_of(self.session))
        self.session.execute(statement, [row_of(offer, self.now)])
        row = self._row(slot_key, fresh=True)
        if row is None:
            raise _not_found(slot_key)
        return row

    def materialize_all(self, slots: Iterable[SlotMixin]) -> list[SlotMixin]:
        """Return some slots that were read here as rows, of inactive templates too; those that are virtual are made."""
        return [self.materialize(slot.key, inactive=True) if slot.is_virtual else slot for slot in slots]

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

    def _offer(
        self, key: SlotKey, ended: bool = False, inactive: bool = False
    ) -> tuple[PlannedSlot, TemplateMixin]:
        for template in segments(self.session, self.models, [key.series_id]):
            spec = template.spec()
            spec = replace(
                spec,
                active=spec.active or inactive,
                cancelled_from=None if ended else spec.cancelled_from,
            )
            offer = planning.planned_at(spec, key.original_start)
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
            cls.status.in_(OCCUPYING),
        )
        return self.session.scalars(query.limit(1)).first() is not None


def _query_for_templates(models: Models, of_series: bool, of_group: bool) -> Select[Any]:
    cls = models.Template
    query = select(cls).where(cls.active.is_(True)).order_by(cls.id)
    if of_series:
        series = select(cls.series_id).where(cls.id == bindparam("template_id"))
        query = query.where(cls.series_id.in_(series))
    if of_group:
        query = query.where(cls.group == bindparam("group"))
    return query


def _place(slot: SlotMixin) -> tuple[datetime, int, datetime]:
    return slot.starts_at, slot.series_id, slot.original_start


def _following(spec: TemplateSpec, start: datetime, n: int) -> Iterable[datetime]:
    """Yield the next starts of a segment's rule, exclusions aside, as far as the segment goes."""
    life = planning.life_of(spec, Window(start, datetime.max.replace(tzinfo=UTC)))
    if life.start < life.end:
        found = planning.recurrence_of(spec).after(life.start - timedelta(microseconds=1), n)
        yield from (starts_at for _, starts_at in found if starts_at < life.end)


def complain(spec: TemplateSpec, error: Exception) -> None:
    """Say once in the log that a template's rule is broken."""
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
            expected = "an aware datetime (with a time zone), such as datetime.now(UTC)"
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


def key_of(key: str | SlotKey | SlotMixin) -> SlotKey:
    """Return the key that a caller means.

    :raises InvalidKey: if it has another form.
    """
    if isinstance(key, SlotKey):
        return key
    return SlotKey.parse(key if isinstance(key, str) else getattr(key, "key", str(key)))


def _not_found(key: SlotKey) -> SlotNotFound:
    return SlotNotFound(f"slot {key}: there is no such slot", key=str(key))
