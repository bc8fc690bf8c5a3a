"""Pictures of numbers: where each bar and each square stands. The pages draw them as SVG, with a table beside."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from flask_rollingslots import TemplateMixin
    from flask_rollingslots.facade import SlotView

_BAR, _LINE, _WIDE = 10, 34, 330


@dataclass(frozen=True)
class Bar:
    """One bar, lying: its place in the picture, and what is written above it, left and right."""

    label: str
    value: str
    y: int
    width: int


@dataclass(frozen=True)
class Bars:
    """A chart of lying bars, as wide as a small phone, so that its letters are readable there.

    :param summary: the whole of it in a sentence, for people who do not see it.
    """

    title: str
    summary: str
    bars: list[Bar]
    width: int = _WIDE
    thickness: int = _BAR

    @property
    def height(self) -> int:
        """How high the picture is."""
        return len(self.bars) * _LINE


def make_bars(title: str, summary: str, values: Sequence[tuple[str, float, str]], most: float = 0) -> Bars:
    """Return a chart.

    :param values: label, number, and the number in words.
    :param most: what the longest bar stands for; the greatest number by default.
    """
    most = most or max((number for _, number, _ in values), default=0) or 1
    bars = [
        Bar(label, text, place * _LINE, max(round(_WIDE * number / most), 1 if number else 0))
        for place, (label, number, text) in enumerate(values)
    ]
    return Bars(title, summary, bars)


@dataclass(frozen=True)
class Square:
    """One template on one day.

    :param kind: ``full`` (all promised slots are stored), ``part``, ``none`` (not one is) or ``free`` (none promised).
    :param text: the numbers in words.
    """

    kind: str
    promised: int
    stored: int
    text: str


@dataclass(frozen=True)
class Coverage:
    """The window as a picture: a line for each template, a square for each day.

    :param days: the first zone's.
    :param is_one_day: whether it is the same day everywhere.
    """

    days: list[date]
    rows: list[tuple[TemplateMixin, list[Square]]]
    is_one_day: bool = True

    @property
    def heads(self) -> list[tuple[str, str]]:
        """What stands above the squares: weekday and day, or how far from today while the venues' todays differ."""
        if not self.is_one_day:
            return [("", "today" if number == 0 else f"+{number}") for number in range(len(self.days))]
        return [(f"{day:%a}", str(day.day)) for day in self.days]

    @property
    def missing(self) -> int:
        """How many promised slots are not stored."""
        return sum(square.promised - square.stored for _, squares in self.rows for square in squares)


def make_coverage(
    templates: Iterable[TemplateMixin], slots: Iterable[SlotView], days: Mapping[str, list[date]]
) -> Coverage:
    """Return how much of each template's days is stored.

    :param slots: of the window, stored and virtual ones, none that has started.
    :param days: time zone -> the window's local days.
    """
    promised: Counter[tuple[int, date]] = Counter()
    stored: Counter[tuple[int, date]] = Counter()
    for slot in slots:
        place = (slot.template_id, slot.local_start.date())
        promised[place] += 1
        stored[place] += not slot.is_virtual
    rows = [
        (t, [_square(promised[t.id, day], stored[t.id, day]) for day in days[t.timezone]]) for t in templates
    ]
    firsts = {zone_days[0] for zone_days in days.values() if zone_days}
    return Coverage(next(iter(days.values()), []), rows, len(firsts) < 2)


def _square(promised: int, stored: int) -> Square:
    if not promised:
        return Square("free", 0, 0, "nothing promised")
    kind = "full" if stored == promised else "part" if stored else "none"
    return Square(kind, promised, stored, f"{stored} of {promised} stored")
