"""What the pages say: dates, times, states and rules in plain English."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flask_rollingslots.errors import InvalidRule, SlotClosed
from flask_rollingslots.values import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from flask_rollingslots import SlotMixin, TemplateMixin
    from flask_rollingslots.facade import SlotView

#: A slot's state as one word for a cell of the week; with the places left where it is open.
_CELLS = {
    State.CANCELLED: "cancelled",
    State.COMPLETED: "past",
    State.ENDED: "past",
    State.RUNNING: "started",
    State.UPCOMING: "not open yet",
    State.CLOSED: "closed",
    State.BLOCKED: "taken",
    State.FULL: "full",
}
#: A moment as the library writes it in its sentences.
_ISO = re.compile(
    r"(?:\b[A-Z][a-z]{2} )?\b(\d{4}-\d\d-\d\d \d\d:\d\d)\b(?: (?:[+-]\d\d(?:\d\d)?|[A-Z]{2,5})\b)?"
)
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
    405: ("That did not work", "This page cannot be opened like that. Begin at the venues once more."),
    409: (
        "Somebody else was faster",
        "Others changed the same just now. Nothing was booked or changed. Go back, and send it once more.",
    ),
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
    return f"{_near_day(moment)}, {moment:%H:%M}"


def _near_day(moment: datetime) -> str:
    year = "" if moment.year == datetime.now(moment.tzinfo).year else f" {moment.year}"
    return f"{short_day(moment)}{year}"


def slot_words(slot: SlotMixin | SlotView) -> str:
    """Return day and hours of a slot, for example ``Fri 2 Jan, 22:00-02:00 (next day)``."""
    return f"{_near_day(slot.local_start)}, {hours_words(slot)}"


def move_words(before: datetime, after: datetime, link: str) -> str:
    """Return two moments with a word between them; the day only once if it is the same."""
    same = before.date() == after.date()
    return f"{moment_words(before)} {link} {f'{after:%H:%M}' if same else moment_words(after)}"


def plain_sentence(sentence: str) -> str:
    """Return a sentence of the library with its moments written as people write them, and a capital."""
    text = _ISO.sub(lambda found: moment_words(datetime.fromisoformat(found[1])), sentence)
    return text[:1].upper() + text[1:]


def days_words(first: date, last: date) -> str:
    """Return a day or a span of days in words."""
    return span_words(first, last) if first != last else f"{first.day} {first:%B} {first.year}"


def instant_words(moment: datetime) -> str:
    """Return an instant for scripts, in UTC: ``2026-01-02T22:00Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def minutes_words(length: timedelta) -> str:
    """Return for example ``90 minutes``, ``3 hours``, ``2 days``."""
    minutes = int(length.total_seconds() // 60)
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes % size == 0:
            return count_words(minutes // size, unit)
    raise AssertionError("every whole number of minutes is a number of minutes")


def hours_words(slot: SlotMixin | SlotView) -> str:
    """Return from when to when, and whether that is the next day."""
    start, end = slot.local_start, slot.local_end
    days = (end.date() - start.date()).days
    note = "" if days == 0 else " (next day)" if days == 1 else f" ({days} days later)"
    return f"{start:%H:%M}\N{EN DASH}{end:%H:%M}{note}"


def cell_word(state: State) -> str:
    """Return what a cell says about a slot that is not open."""
    return _CELLS[state]


def state_sentence(slot: SlotMixin | SlotView) -> str:
    """Return why a slot cannot be booked, or how many places it has."""
    zone = ZoneInfo(slot.template.timezone)
    if slot.state == State.OPEN:
        return f"{slot.left} of {amount_words(slot.capacity, slot)} left."
    if slot.state == State.UPCOMING and slot.opens_at is not None:
        return f"{_SENTENCES[State.UPCOMING]} It opens on {moment_words(slot.opens_at.astimezone(zone))}."
    if slot.state == State.CLOSED and slot.closes_at is not None:
        return (
            f"{_SENTENCES[State.CLOSED]} Booking closed on {moment_words(slot.closes_at.astimezone(zone))}."
        )
    return _SENTENCES[slot.state]


def too_late_sentence(slot: SlotMixin | SlotView, error: SlotClosed) -> str:
    """Return why a booking can no longer be cancelled."""
    if error.state == State.RUNNING:  # type: ignore[attr-defined]
        return "It has started, so it can no longer be cancelled."
    if slot.starts_at <= datetime.now(UTC) or slot.status == State.COMPLETED:
        return "It is over, so it can no longer be cancelled."
    return f"It can no longer be cancelled: that was possible until {cancel_words(slot)}."


def cancel_words(slot: SlotMixin | SlotView) -> str:
    """Return until when a booking may be cancelled, by the clock of the place."""
    return moment_words(slot.cancel_until.astimezone(ZoneInfo(slot.template.timezone)))


def unit_of(item: SlotMixin | SlotView | TemplateMixin) -> str:
    """Return what a slot has a number of: places, teams, seats, …"""
    return str((item.data or {}).get("unit", "places"))


def amount_words(number: int, item: SlotMixin | SlotView | TemplateMixin) -> str:
    """Return for example ``1 team``, ``2 teams``."""
    unit = unit_of(item)
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def count_words(number: int, word: str) -> str:
    """Return for example ``1 date``, ``2 dates``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """Return what somebody typed into a field of several lines as one line."""
    return " ".join(line.strip() for line in text.splitlines())


def rule_words(template: TemplateMixin) -> str:
    """Return when a template happens, in words, with the bounds that a split of its series gave it."""
    try:
        words, spec = template.recurrence.describe(times=True), template.spec()
    except InvalidRule:
        return "Its rule cannot be read"
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
    if template.spec().ends_before is not None:
        return False
    with suppress(InvalidRule):
        return template.recurrence.is_forever
    return False


def is_current(template: TemplateMixin) -> bool:
    """Return whether a template still has something to offer: an earlier part of a split series has not."""
    end = template.spec().ends_before
    return end is None or end.replace(tzinfo=ZoneInfo(template.timezone)) > datetime.now(UTC)


def next_start(template: TemplateMixin, moment: datetime) -> datetime | None:
    """Return the first start after a moment (aware) by the rule alone, within the bounds of its part of the series."""
    spec, zone = template.spec(), ZoneInfo(template.timezone)
    if spec.active_from is not None:
        moment = max(moment, (spec.active_from + spec.shift).replace(tzinfo=zone) - timedelta(minutes=1))
    with suppress(InvalidRule):
        for original_start, starts_at in template.recurrence.after(moment, 1):
            if spec.ends_before is None or original_start < spec.ends_before:
                return starts_at
    return None


def rule_fault(template: TemplateMixin) -> str:
    """Return why a rule cannot be read: somebody wrote it past the library. Nearly always nothing."""
    try:
        template.recurrence  # noqa: B018 (parses the rule)
    except InvalidRule as error:
        return f"{plain_sentence(str(error))}."
    return ""


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
    "cancel_until": cancel_words,
    "slot_words": slot_words,
    "days": days_words,
}
