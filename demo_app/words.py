"""What the pages say: dates, times, states and rules in plain English."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask_rollingslots.values import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from flask_rollingslots import SlotMixin, TemplateMixin

#: A slot's state as one word for a cell of the week; with the places left where it is open.
_CELLS = {
    State.CANCELLED: "cancelled",
    State.COMPLETED: "past",
    State.ENDED: "past",
    State.RUNNING: "running",
    State.UPCOMING: "not open yet",
    State.CLOSED: "closed",
    State.BLOCKED: "taken",
    State.FULL: "full",
}
#: The same as a sentence for the page of one slot.
_SENTENCES = {
    State.CANCELLED: "This date was cancelled by the venue.",
    State.COMPLETED: "This date is over.",
    State.ENDED: "This date is over.",
    State.RUNNING: "This has started already.",
    State.UPCOMING: "Booking is not open yet.",
    State.CLOSED: "It is too late to book this one.",
    State.BLOCKED: "The room is taken at that time.",
    State.FULL: "All places are taken.",
}
ERRORS = {
    400: (
        "That did not work",
        "The form was too old or incomplete. Go back, load the page again, send it once more.",
    ),
    404: ("Nothing here", "There is no such page, or no such date in the calendar."),
    405: ("That did not work", "This address does not take that kind of request."),
    413: ("Too much", "That was more than this site reads at once."),
    500: (
        "Something broke",
        "The fault is on our side. Nothing was booked or changed. Try again in a moment.",
    ),
}


def day_words(day: date) -> str:
    """Return for example ``Friday 2 January 2026``."""
    return f"{day:%A} {day.day} {day:%B} {day.year}"


def short_day(day: date) -> str:
    """Return for example ``Fri 2 Jan``."""
    return f"{day:%a} {day.day} {day:%b}"


def span_words(first: date, last: date) -> str:
    """Return two days as a span, without saying month or year twice."""
    start = str(first.day)
    if (first.month, first.year) != (last.month, last.year):
        start += f" {first:%B}"
    if first.year != last.year:
        start += f" {first.year}"
    return f"{start} \N{EN DASH} {last.day} {last:%B} {last.year}"


def moment_words(moment: datetime) -> str:
    """Return for example ``Fri 2 Jan, 22:00``, with the year if it is not this one."""
    year = "" if moment.year == datetime.now(moment.tzinfo).year else f" {moment.year}"
    return f"{short_day(moment)}{year}, {moment:%H:%M}"


def instant_words(moment: datetime) -> str:
    """Return an instant for scripts, in UTC: ``2026-01-02T22:00Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def minutes_words(length: timedelta) -> str:
    """Return for example ``90 minutes``, ``3 hours``, ``2 days``."""
    minutes = int(length.total_seconds() // 60)
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes % size == 0:
            number = minutes // size
            return f"{number} {unit}{'' if number == 1 else 's'}"
    raise AssertionError("every whole number of minutes is a number of minutes")


def hours_words(slot: SlotMixin) -> str:
    """Return from when to when, and whether that is the next day."""
    start, end = slot.local_start, slot.local_end
    days = (end.date() - start.date()).days
    note = "" if days == 0 else " (next day)" if days == 1 else f" ({days} days later)"
    return f"{start:%H:%M}\N{EN DASH}{end:%H:%M}{note}"


def cell_word(state: State) -> str:
    """Return what a cell says about a slot that is not open."""
    return _CELLS[state]


def state_sentence(slot: SlotMixin) -> str:
    """Return why a slot cannot be booked, or how many places it has."""
    if slot.state == State.OPEN:
        return f"{slot.left} of {slot.capacity} {unit_of(slot)} left."
    return _SENTENCES[slot.state]


def unit_of(item: SlotMixin | TemplateMixin) -> str:
    """Return what a slot has a number of: places, teams, seats, …"""
    return str((item.data or {}).get("unit", "places"))


def amount_words(number: int, item: SlotMixin | TemplateMixin) -> str:
    """Return for example ``1 team``, ``2 teams``."""
    unit = unit_of(item)
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def rule_words(template: TemplateMixin) -> str:
    """Return when a template happens, in words, with the bounds that a split of its series gave it."""
    words, spec = template.recurrence.describe(times=True), template.spec()
    if spec.active_from is not None:
        words += f", from {_day_of(spec.active_from + spec.shift)} on"
    if spec.ends_before is not None:
        words += f", until {_last_day(template, spec.ends_before, spec.shift)}"
    return words[:1].upper() + words[1:]


def _last_day(template: TemplateMixin, end: datetime, shift: timedelta) -> str:
    """Return the last day before a bound, which may cut a day in two; then with the time of the cut."""
    zone = ZoneInfo(template.timezone)
    cut = (end + shift).replace(tzinfo=zone)
    if any(True for _ in template.recurrence.between(datetime.combine(cut.date(), time(), zone), cut)):
        return f"{_day_of(cut)}, {cut:%H:%M}"
    return _day_of(cut - timedelta(days=1))


def _day_of(wall: datetime) -> str:
    return f"{wall.day} {wall:%B} {wall.year}"


def is_endless(template: TemplateMixin) -> bool:
    """Return whether a template goes on for ever: its rule has no end, and nobody ended it."""
    return template.recurrence.is_forever and template.spec().ends_before is None


def is_current(template: TemplateMixin) -> bool:
    """Return whether a template still has something to offer: an earlier part of a split series has not."""
    end = template.spec().ends_before
    return end is None or end.replace(tzinfo=ZoneInfo(template.timezone)) > datetime.now(UTC)


def next_start(template: TemplateMixin, moment: datetime) -> datetime | None:
    """Return the first start after a moment (aware) by the rule alone, within the bounds of its part of the series."""
    spec, zone = template.spec(), ZoneInfo(template.timezone)
    if spec.active_from is not None:
        moment = max(moment, (spec.active_from + spec.shift).replace(tzinfo=zone) - timedelta(minutes=1))
    for original_start, starts_at in template.recurrence.after(moment, 1):
        if spec.ends_before is None or original_start < spec.ends_before:
            return starts_at
    return None


def distinct(words: Iterable[str]) -> list[str]:
    """Return each text once, in order."""
    return list(dict.fromkeys(words))


FILTERS: dict[str, Callable[..., Any]] = {
    "amount": amount_words,
    "day": day_words,
    "short_day": short_day,
    "moment": moment_words,
    "hours": hours_words,
    "sentence": state_sentence,
    "unit": unit_of,
    "rule": rule_words,
    "endless": is_endless,
    "instant": instant_words,
    "instant_exact": lambda moment: moment.astimezone(UTC).isoformat(timespec="seconds"),
    "minutes": minutes_words,
}
