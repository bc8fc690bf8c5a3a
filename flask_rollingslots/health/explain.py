"""Why is there (no) slot at a time? One reason code and one sentence, from the same planning code as everything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from sqlalchemy import select

from flask_rollingslots import planning
from flask_rollingslots.errors import InvalidRequest, TemplateNotFound
from flask_rollingslots.loading import virtual_slot
from flask_rollingslots.values import SlotKey, State, TemplateSpec, Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from flask_rollingslots.models import Models, SlotMixin, TemplateMixin
    from flask_rollingslots.values import PlannedSlot

    #: A template, what it promises, and why it is left out, if it is.
    _Promise = tuple[TemplateMixin, PlannedSlot, str | None]

_INSTANT = timedelta(microseconds=1)

#: Code of each state, and what it means for somebody who wants to book.
_STATES = {
    State.DELETED: ("deleted", "it was deleted"),
    State.CANCELLED: ("cancelled", "it was cancelled"),
    State.COMPLETED: ("completed", "it is completed"),
    State.ENDED: ("in_the_past", "it is over"),
    State.RUNNING: ("running", "it has begun"),
    State.UPCOMING: ("not_open_yet", "booking is not open yet"),
    State.CLOSED: ("too_late", "it is too late to book"),
    State.BLOCKED: ("blocked", "its resource is taken"),
    State.FULL: ("full", "all places are taken"),
    State.OPEN: ("available", "it can be booked"),
}
_LEFT_OUT = {
    planning.EXCLUDED: "the template excludes this date",
    planning.HOLIDAY: "it is a public holiday",
    planning.BLACKOUT: "it lies in a blackout of the template",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why there is, or is not, a slot.

    :param code: ``available``, or the reason: ``not_in_rule``, ``excluded``, ``holiday``, ``blackout``,
        ``cancelled``, ``deleted``, ``completed``, ``moved``, ``template_inactive``, ``before_start``, ``past_end``,
        ``in_the_past``, ``running``, ``not_open_yet``, ``too_late``, ``blocked``, ``full``.
    :param sentence: the same for people.
    :param key: the slot's key, if there is a slot or was one.
    """

    code: str
    sentence: str
    key: str | None = None

    def __str__(self) -> str:
        return self.sentence


def explain(
    session: Session, models: Models, now: datetime, template_id: int, moment: datetime
) -> Explanation:
    """Say why there is, or is not, a slot of a template's series at a moment.

    :param now: aware.
    :param moment: aware; the start of the slot in question.
    :raises InvalidRequest: if the moment is naive.
    :raises TemplateNotFound: if there is no such template.
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        expected = "an aware datetime (with a time zone)"
        raise InvalidRequest(f"moment = {moment!r}: expected {expected}", field="moment", value=moment)
    template = session.get(models.Template, template_id)
    if template is None:
        raise TemplateNotFound(f"template {template_id}: there is no such template")
    cls = models.Template
    segments = list(session.scalars(select(cls).where(cls.series_id == template.series_id).order_by(cls.id)))
    return _Case(session, models, now, segments, moment.astimezone(UTC)).explain()


@dataclass(frozen=True)
class _Case:
    session: Session
    models: Models
    now: datetime
    segments: list[TemplateMixin]
    moment: datetime

    def explain(self) -> Explanation:
        row = self._row()
        active = [template for template in self.segments if template.active]
        if not active:
            text = f"{self._label()}: the template is inactive"
            return Explanation("template_inactive", text, row.key if row else None)
        if row is not None and row.status in planning.OCCUPYING:
            return self._of_slot(row)
        promises = list(self._promises(active))
        # What can be booked comes first: a cancelled slot may have been left behind by a series that moved.
        virtual = next(
            (self._of_virtual(*promise) for promise in promises if self._is_virtual(*promise)), None
        )
        if virtual is not None:
            return virtual
        if row is not None:
            return self._of_slot(row)
        for _, slot, reason in promises:
            return self._of_promise(slot, reason)
        return self._of_nothing([template.spec() for template in active])

    def _label(self) -> str:
        zone = ZoneInfo(self.segments[0].timezone)
        return f"{self.segments[0].name}, {self.moment.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"

    def _row(self) -> SlotMixin | None:
        cls = self.models.Slot
        query = select(cls).where(cls.series_id == self.segments[0].series_id, cls.starts_at == self.moment)
        rows = list(self.session.scalars(query.order_by(cls.status)))  # cancelled before deleted
        return next((row for row in rows if row.status in planning.OCCUPYING), next(iter(rows), None))

    def _of_slot(self, slot: SlotMixin) -> Explanation:
        code, words = _STATES[slot.state_at(self.now)]
        if code == "cancelled" and slot.cancel_reason:
            words = f"{words}: {slot.cancel_reason}"
        if code == "available":
            words = f"{words}, {slot.left} of {slot.capacity} places left"
        return Explanation(code, f"{self._label()}: {words}", slot.key)

    def _promises(self, templates: list[TemplateMixin]) -> Iterator[_Promise]:
        window = Window(self.moment, self.moment + _INSTANT)
        for template in templates:
            for slot, reason in planning.promised(template.spec(), window):
                yield template, slot, reason

    def _is_virtual(self, _: TemplateMixin, slot: PlannedSlot, reason: str | None) -> bool:
        """Whether a page shows this slot although it has no row."""
        return reason is None and slot.ends_at > self.now and self._stored(slot.key) is None

    def _of_virtual(self, template: TemplateMixin, slot: PlannedSlot, _: str | None) -> Explanation:
        return self._of_slot(virtual_slot(self.models, slot, template, self.now))

    def _of_promise(self, slot: PlannedSlot, reason: str | None) -> Explanation:
        row, key = self._stored(slot.key), str(slot.key)
        if reason is not None:
            return Explanation(reason, f"{self._label()}: {_LEFT_OUT[reason]}", key)
        if row is None:
            text = f"{self._label()}: it is in the past, and no slot was stored"
            return Explanation("in_the_past", text, key)
        if row.status not in planning.OCCUPYING:
            return self._of_slot(row)
        zone = ZoneInfo(self.segments[0].timezone)
        where = f"{row.starts_at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"
        return Explanation("moved", f"{self._label()}: this slot was moved to {where}", key)

    def _stored(self, key: SlotKey) -> SlotMixin | None:
        cls = self.models.Slot
        query = select(cls).where(cls.series_id == key.series_id, cls.original_start == key.original_start)
        return self.session.scalars(query).one_or_none()

    def _of_nothing(self, specs: list[TemplateSpec]) -> Explanation:
        rules = [planning.recurrence_of(spec) for spec in specs]
        firsts = [first.starts_at for rule in rules if (first := rule.first())]
        if firsts and self.moment < min(firsts):
            return Explanation("before_start", f"{self._label()}: the series begins later")
        if all(self._is_over(spec) for spec in specs):
            return Explanation("past_end", f"{self._label()}: the series has ended by then")
        words = " and ".join(rule.describe(times=True) for rule in rules)
        return Explanation("not_in_rule", f"{self._label()}: not in the rule ({words})")

    def _is_over(self, spec: TemplateSpec) -> bool:
        if spec.ends_before is not None and self._local(spec) >= spec.ends_before + spec.shift:
            return True
        last = planning.recurrence_of(spec).last()
        is_forever = planning.recurrence_of(spec).is_forever
        return not is_forever and (last is None or self.moment > last.starts_at)

    def _local(self, spec: TemplateSpec) -> datetime:
        return self.moment.astimezone(ZoneInfo(spec.timezone)).replace(tzinfo=None)
