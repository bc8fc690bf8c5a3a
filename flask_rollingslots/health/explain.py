"""Why is there (no) slot at a time? One reason code and one sentence, from the same planning code as everything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select

from .. import planning
from ..browsing import check_aware, find_template, show_by_now
from ..context import Work, segments, virtual_slot
from ..models import SlotMixin, TemplateMixin
from ..recurrence.days_off import BLACKOUT, HOLIDAY
from ..values import MICROSECOND, OCCUPYING, PlannedSlot, SlotKey, State, TemplateSpec, Window

#: Code of each state, and what it means for somebody who wants to book.
_STATES = {
    State.DELETED: ("deleted", "it was deleted"),
    State.CANCELLED: ("cancelled", "it was cancelled"),
    State.COMPLETED: ("completed", "it is completed"),
    State.ENDED: ("in_the_past", "it is over"),
    State.RUNNING: ("running", "it has begun"),
    State.UPCOMING: ("not_open_yet", "booking is not open yet"),
    State.WITHDRAWN: ("withdrawn", "it is not offered any more, and stays for those who booked before"),
    State.CLOSED: ("too_late", "it is too late to book"),
    State.BLOCKED: ("blocked", "its resource is taken"),
    State.FULL: ("full", "all places are taken"),
    State.OPEN: ("available", "it can be booked"),
}
_LEFT_OUT = {
    planning.EXCLUDED: "the template excludes this date",
    HOLIDAY: "it is a public holiday",
    BLACKOUT: "it lies in a blackout of the template",
    planning.CLOCK_CHANGE: "the clocks are put forward, and this slot's time is left out that day",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why there is, or is not, a slot.

    :param code: ``available``, or the reason: ``not_in_rule``, ``excluded``, ``holiday``, ``blackout``,
        ``clock_change``, ``cancelled``, ``deleted``, ``completed``, ``moved``, ``template_inactive``, ``before_start``,
        ``past_end``, ``in_the_past``, ``running``, ``not_open_yet``, ``withdrawn``, ``too_late``, ``blocked``,
        ``full``.
    :param sentence: the same for people.
    :param key: the slot's key, if there is a slot or was one.
    """

    code: str
    sentence: str
    key: str | None = None

    def __str__(self) -> str:
        return self.sentence


def explain(work: Work, template_id: int, moment: datetime) -> Explanation:
    """Say why there is, or is not, a slot of a template's series at a moment.

    :param moment: aware; the start of the slot in question.
    :raises InvalidRequest: if the moment is naive.
    :raises TemplateNotFound: if there is no such template.
    """
    check_aware(moment=moment)
    series_id = find_template(work, template_id).series_id or template_id
    return _Case(work, segments(work, [series_id]), moment.astimezone(UTC)).explain()


@dataclass(frozen=True)
class _Case:
    work: Work
    segments: list[TemplateMixin]
    moment: datetime

    def explain(self) -> Explanation:
        row = self._row()
        active = [template for template in self.segments if template.active]
        if not active:
            return self._said("template_inactive", "the template is inactive", row.key if row else None)
        if row is not None and row.status in OCCUPYING:
            return self._of_slot(row)
        window = Window(self.moment, self.moment + MICROSECOND)
        # A template, what it promises, and why it is left out, if it is.
        promises = [
            (each, *found) for each in active for found in planning.promised(TemplateSpec.of(each), window)
        ]
        # A start that the clocks left out may be shown where another slot really is.
        promises.sort(key=lambda found: found[2] is not None)
        # What can be booked comes first: a cancelled slot may have been left behind by a series that moved.
        for template, slot, reason in promises:
            stored = self._stored(slot.key)
            if reason is None and slot.ends_at > self.work.now and stored is None:
                return self._of_slot(virtual_slot(self.work.models, slot, template, self.work.now))
            if stored is not None and stored.status in OCCUPYING and stored.starts_at == self.moment:
                return self._of_slot(stored)  # the next top-up writes that it is here by now
        if row is not None:
            return self._of_slot(row)
        if promises:
            return self._of_promise(*promises[0][1:])
        return self._of_nothing([TemplateSpec.of(template) for template in active])

    def _said(self, code: str, words: str, key: str | None = None, name: str | None = None) -> Explanation:
        said = f"{name or self.segments[0].name}, {self._shown(self.moment)}: {words}"
        return Explanation(code, said, key)

    def _shown(self, moment: datetime) -> str:
        return f"{moment.astimezone(ZoneInfo(self.segments[0].timezone)):%a %Y-%m-%d %H:%M %Z}"

    def _row(self) -> SlotMixin | None:
        cls = self.work.models.Slot
        query = select(cls).where(cls.series_id == self.segments[0].series_id, cls.starts_at == self.moment)
        found = list(self.work.session.scalars(query.order_by(cls.status)))  # cancelled before deleted
        for row in found:
            show_by_now(row, self.work.now)
        rows = [row for row in found if row.starts_at == self.moment]
        return next((row for row in rows if row.status in OCCUPYING), next(iter(rows), None))

    def _stored(self, key: SlotKey) -> SlotMixin | None:
        cls = self.work.models.Slot
        query = select(cls).where(cls.series_id == key.series_id, cls.original_start == key.original_start)
        row = self.work.session.scalars(query).one_or_none()
        if row is not None:
            show_by_now(row, self.work.now)
        return row

    def _of_slot(self, slot: SlotMixin) -> Explanation:
        code, words = _STATES[slot.state_at(self.work.now)]
        if code == "cancelled" and slot.cancel_reason:
            words = f"{words}: {slot.cancel_reason}"
        if code == "available":
            words = f"{words}, {slot.left} of {slot.capacity} places left"
        return self._said(code, words, slot.key, slot.name)

    def _of_promise(self, slot: PlannedSlot, reason: str | None) -> Explanation:
        row, key = self._stored(slot.key), str(slot.key)
        if reason is not None:
            return self._said(reason, _LEFT_OUT[reason], key)
        if row is None:
            return self._said("in_the_past", "it is in the past, and no slot was stored", key)
        if row.status not in OCCUPYING:
            return self._of_slot(row)
        return self._said("moved", f"this slot was moved to {self._shown(row.starts_at)}", key)

    def _of_nothing(self, specs: list[TemplateSpec]) -> Explanation:
        rules = [planning.recurrence_of(spec) for spec in specs]
        firsts = [first.starts_at for rule in rules if (first := rule.first())]
        if firsts and self.moment < min(firsts):
            return self._said("before_start", "the series begins later")
        if all(self._is_over(spec) for spec in specs):
            return self._said("past_end", "the series has ended by then")
        words = " and ".join(rule.describe(times=True) for rule in rules)
        return self._said("not_in_rule", f"not in the rule ({words})")

    def _is_over(self, spec: TemplateSpec) -> bool:
        local = self.moment.astimezone(ZoneInfo(spec.timezone)).replace(tzinfo=None)
        if spec.ends_before is not None and local >= spec.ends_before + spec.shift:
            return True
        rule = planning.recurrence_of(spec)
        last = rule.last()
        return not rule.is_forever and (last is None or self.moment > last.starts_at)
