"""A week as a grid: seven local days across, times down, a table for each offer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from flask_rollingslots.values import State

from . import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from zoneinfo import ZoneInfo

    from flask_rollingslots import TemplateMixin
    from flask_rollingslots.facade import SlotView

DAYS = 7
_FIRST, _LAST = date(2000, 1, 1), date(9990, 12, 31)
_OVER = {State.ENDED, State.COMPLETED, State.RUNNING}


@dataclass(frozen=True)
class Week:
    """Seven days of a zone.

    :param first: the first of them.
    :param today: the zone's current day.
    :param asked: the day that a small screen shows, if somebody chose one.
    """

    first: date
    today: date
    zone: ZoneInfo
    asked: date | None = None

    @classmethod
    def asked_for(cls, text: str | None, zone: ZoneInfo, day: str | None = None) -> Week | None:
        """Return the week that begins with a day, today by default; ``None`` if the text is no day of the calendar."""
        today = datetime.now(zone).date()
        try:
            first = date.fromisoformat(text) if text else today
            asked = date.fromisoformat(day) if day else None
        except ValueError:
            return None
        return cls(first, today, zone, asked) if _FIRST <= first <= _LAST else None

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
        """The first day of the week before; ``None`` where the calendar begins."""
        before = self.first - timedelta(days=DAYS)
        return before if before >= _FIRST else None

    @property
    def next(self) -> date | None:
        """The first day of the week after; ``None`` where the calendar ends."""
        following = self.first + timedelta(days=DAYS)
        return following if following <= _LAST else None

    def address(self, first: date | None) -> str | None:
        """Return how a week is written in an address: the current one not at all."""
        return None if first is None or first == self.today else first.isoformat()

    def shown_day(self, slots: Iterable[SlotView]) -> int:
        """Return the day (0 to 6) that a small screen shows: the one asked for, else the first with a free slot."""
        if self.asked in self.days:
            return self.days.index(self.asked)
        found = sorted(
            slots, key=lambda slot: (slot.state != State.OPEN, slot.state in _OVER, slot.starts_at)
        )
        return self.column(found[0]) or 0 if found else 0

    def column(self, slot: SlotView) -> int | None:
        """Return the day (0 to 6) in which a slot begins, or ``None``."""
        number = (slot.local_start.date() - self.first).days
        return number if 0 <= number < DAYS else None


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
    """One time of day: a list of cells for each of the seven days.

    :param starts: the instants at which its slots begin, for visitors in other zones.
    """

    time: str
    cells: list[list[Cell]]
    starts: list[str]


@dataclass(frozen=True)
class Section:
    """One offer: its rows, or when it happens next if it has none in this week."""

    name: str
    rules: list[str]
    note: str
    rows: list[Row]
    next: datetime | None

    def has_day(self, number: int) -> bool:
        """Whether there is a slot on one of the seven days."""
        return any(row.cells[number] for row in self.rows)


def make_sections(templates: Sequence[TemplateMixin], slots: Iterable[SlotView], week: Week) -> list[Section]:
    """Return the grid of a week, offer by offer; templates of one name are one offer. Asks no database."""
    offers: dict[str, list[TemplateMixin]] = {}
    for template in templates:
        offers.setdefault(template.name, []).append(template)
    found: dict[str, list[SlotView]] = {}
    for slot in slots:
        found.setdefault(slot.name, []).append(slot)
    return [_section(name, group, found.get(name, []), week) for name, group in offers.items()]


def _section(name: str, templates: list[TemplateMixin], slots: list[SlotView], week: Week) -> Section:
    rules = words.distinct(words.rule_words(template) for template in templates if words.is_current(template))
    note = str((templates[-1].data or {}).get("note", ""))
    return Section(name, rules, note, _rows(slots, week), None if slots else _next_start(templates, week))


def _rows(slots: list[SlotView], week: Week) -> list[Row]:
    times = sorted({f"{slot.local_start:%H:%M}" for slot in slots})
    rows = {at: Row(at, [[] for _ in range(DAYS)], []) for at in times}
    for slot in slots:
        column, row = week.column(slot), rows[f"{slot.local_start:%H:%M}"]
        if column is not None:
            row.cells[column].append(_cell(slot))
            row.starts.append(f"{slot.starts_at:%Y-%m-%dT%H:%MZ}")
    return list(rows.values())


def _cell(slot: SlotView) -> Cell:
    state, start = slot.state, slot.local_start
    text = f"{slot.left} of {slot.capacity} left" if state == State.OPEN else words.cell_word(state)
    label = f"{text}, {slot.name}, {start:%A} {start.day} {start:%B} {start:%H:%M}"
    return Cell(slot.key, state, text, label, slot.left, slot.capacity)


def _next_start(templates: list[TemplateMixin], week: Week) -> datetime | None:
    """Return when an offer happens next after a week, by its rules alone."""
    moment = max(week.end, datetime.now(week.zone)).astimezone(UTC) - timedelta(microseconds=1)
    starts = [first for template in templates if (first := words.next_start(template, moment))]
    return min(starts).astimezone(week.zone) if starts else None
