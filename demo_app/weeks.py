"""A week as a grid: seven local days across, times down, one group of rows for each offer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from flask_rollingslots.values import State

from . import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from zoneinfo import ZoneInfo

    from flask_rollingslots import SlotMixin, TemplateMixin

DAYS = 7
_LAST = date(9990, 12, 31)
_OVER = {State.ENDED, State.COMPLETED, State.RUNNING}


@dataclass(frozen=True)
class Week:
    """Seven days of a zone.

    :param first: the first of them.
    :param today: the zone's current day: the earliest week begins with it.
    """

    first: date
    today: date
    zone: ZoneInfo

    @classmethod
    def asked_for(cls, text: str | None, zone: ZoneInfo) -> Week | None:
        """Return the week that begins with a day, today by default; ``None`` if the text is no day from today on."""
        today = datetime.now(zone).date()
        try:
            first = date.fromisoformat(text) if text else today
        except ValueError:
            return None
        return cls(first, today, zone) if today <= first <= _LAST else None

    @property
    def days(self) -> list[date]:
        """The seven days."""
        return [self.first + timedelta(days=number) for number in range(DAYS)]

    @property
    def start(self) -> datetime:
        """The first midnight, aware."""
        return datetime.combine(self.first, time(), self.zone)

    @property
    def end(self) -> datetime:
        """The midnight after the last day, aware."""
        return datetime.combine(self.first + timedelta(days=DAYS), time(), self.zone)

    @property
    def words(self) -> str:
        """The week in words."""
        return words.span_words(self.first, self.days[-1])

    @property
    def previous(self) -> date | None:
        """The first day of the week before, or ``None`` in the first week."""
        return max(self.today, self.first - timedelta(days=DAYS)) if self.first > self.today else None

    @property
    def next(self) -> date | None:
        """The first day of the week after."""
        following = self.first + timedelta(days=DAYS)
        return following if following <= _LAST else None


@dataclass(frozen=True)
class Cell:
    """One slot in the grid.

    :param text: what it says, when there is no number of places to show.
    :param label: the whole of it for people who hear the page.
    """

    key: str
    state: State
    text: str
    label: str
    left: int
    capacity: int

    @property
    def is_open(self) -> bool:
        """Whether it can be booked."""
        return self.state == State.OPEN

    @property
    def is_over(self) -> bool:
        """Whether it has started: nothing to do there any more."""
        return self.state in _OVER


@dataclass(frozen=True)
class Row:
    """One time of day: a list of cells for each of the seven days."""

    time: str
    cells: list[list[Cell]]


@dataclass(frozen=True)
class Section:
    """One offer: its rows, or when it happens next if it has none in this week."""

    name: str
    rules: list[str]
    note: str
    rows: list[Row]
    next: datetime | None


def make_sections(
    templates: Sequence[TemplateMixin], slots: Iterable[SlotMixin], week: Week
) -> list[Section]:
    """Return the grid of a week, offer by offer; templates of one name are one offer. Asks no database."""
    offers: dict[str, list[TemplateMixin]] = {}
    for template in templates:
        offers.setdefault(template.name, []).append(template)
    found: dict[str, list[SlotMixin]] = {}
    for slot in slots:
        found.setdefault(slot.template.name, []).append(slot)
    return [_section(name, group, found.get(name, []), week) for name, group in offers.items()]


def _section(name: str, templates: list[TemplateMixin], slots: list[SlotMixin], week: Week) -> Section:
    rules = words.distinct(words.rule_words(template) for template in templates)
    note = str((templates[0].data or {}).get("note", ""))
    return Section(name, rules, note, _rows(slots, week), None if slots else _next_start(templates, week))


def _rows(slots: list[SlotMixin], week: Week) -> list[Row]:
    times = sorted({f"{slot.local_start:%H:%M}" for slot in slots})
    rows = {at: Row(at, [[] for _ in range(DAYS)]) for at in times}
    for slot in slots:
        start = slot.local_start
        column = (start.date() - week.first).days
        if 0 <= column < DAYS:
            rows[f"{start:%H:%M}"].cells[column].append(_cell(slot))
    return list(rows.values())


def _cell(slot: SlotMixin) -> Cell:
    state, start = slot.state, slot.local_start
    text = f"{slot.left} of {slot.capacity} left" if state == State.OPEN else words.cell_word(state)
    plain = text.replace("\N{SOFT HYPHEN}", "")
    label = f"{plain}, {slot.template.name}, {start:%A} {start.day} {start:%B} {start:%H:%M}"
    return Cell(slot.key, state, text, label, slot.left, slot.capacity)


def _next_start(templates: list[TemplateMixin], week: Week) -> datetime | None:
    """Return when an offer happens next after a week, by its rules alone."""
    moment = week.end.astimezone(UTC) - timedelta(microseconds=1)
    starts = [o.starts_at for template in templates for o in template.recurrence.after(moment, 1)]
    return min(starts).astimezone(week.zone) if starts else None
