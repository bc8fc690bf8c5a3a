"""A person's series: the same slot every week, or every n-th, as bookings that know of each other.

Whoever books several slots of a series has its templates alone until the app commits, with their resources locked
before: two such calls follow one another, and neither can hold what the other one waits for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.orm.attributes import set_committed_value

from .. import browsing
from ..context import Work, segments
from ..errors import (
    IdempotencyConflict,
    LimitReached,
    LostRace,
    RollingSlotsError,
    SlotClosed,
    SlotFull,
    SlotNotFound,
    TooCostly,
    no_slot,
    refusal,
)
from ..models import BookingMixin, SlotMixin, TemplateMixin, left_in_pool_at, table_of
from ..signals import Outbox
from ..statements import MARIADB, atomic, exclusive, newest, take_write_lock
from ..values import LIVE, MICROSECOND, YEARS, SlotKey, State, Steps, key_of
from .resources import lock_exclusive
from .taking import book, lock_first
from .wanted import FIRST, BookingRequest

#: The most weeks that one call tries, and the longest step between two of them.
MOST_WEEKS, LONGEST_STEP = 104, 52
_WEEK = timedelta(days=7)
#: So many free slots are named in place of one that was refused, looked for so far around it, one after the other.
_NEAREST = 3
_AROUND = (timedelta(days=1), timedelta(days=7), timedelta(days=28))
#: So many starts are looked at for all of them together: who asks has the series alone meanwhile.
_LOOKED_AT = 5_000
#: What keeps one week from being booked, and none of the others.
_REFUSALS = (SlotFull, SlotClosed, SlotNotFound, LimitReached)


class FreeSlot(NamedTuple):
    """A slot that has places for somebody, in place of one that was refused.

    :param starts_at: aware, UTC.
    """

    key: str
    starts_at: datetime
    left: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return {**self._asdict(), "starts_at": self.starts_at.isoformat()}


class RefusedWeek(NamedTuple):
    """A week of a series that was not booked.

    :param starts_at: when it starts or, where the rule has no such start, would: aware, UTC.
    :param code: for machines, as over HTTP: ``slot_full``, ``slot_closed``, ``slot_blocked``, ``slot_not_found``.
    :param text: why, for people.
    :param nearest: the nearest free slots of the same offer, the nearest first.
    """

    key: str
    starts_at: datetime
    code: str
    text: str
    nearest: tuple[FreeSlot, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        nearest = [each.to_dict() for each in self.nearest]
        return {**self._asdict(), "starts_at": self.starts_at.isoformat(), "nearest": nearest}


@dataclass(frozen=True, slots=True)
class RepeatReport:
    """What became of a person's series.

    :param keys: all that were tried, by start.
    :param bookings: what was booked, by start; empty if all was refused.
    :param refused: what was not, and why.
    """

    key: str
    every: int
    party: int
    keys: tuple[str, ...]
    bookings: tuple[BookingMixin, ...] = ()
    refused: tuple[RefusedWeek, ...] = ()

    @property
    def booked(self) -> list[str]:
        """The keys of the slots in which was booked."""
        return [booking.slot.key for booking in self.bookings]

    @property
    def repeats_id(self) -> int | None:
        """The id of the series: that of its first booking."""
        return self.bookings[0].repeats_id if self.bookings else None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON; bookings as their ids, instants as ISO 8601 with offset."""
        return {
            "key": self.key,
            "every": self.every,
            "party": self.party,
            "keys": list(self.keys),
            "repeats_id": self.repeats_id,
            "booked": self.booked,
            "bookings": [booking.id for booking in self.bookings],
            "refused": [each.to_dict() for each in self.refused],
        }


@dataclass(frozen=True, slots=True)
class Repeats:
    """Which weeks somebody wants: so many, or until a day.

    :param until: included, by the clock of the template.
    :param every: 2: every second week.
    """

    count: int | None = None
    until: date | None = None
    every: int = 1
    conflicts: str = "refuse"

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises InvalidRequest: names field, value and expectation.
        """
        if (self.count is None) is (self.until is None):
            given = "neither" if self.count is None else "both"
            raise refusal("count", self.count, f"either count or until, and {given} was given")
        for name, most in (("count", MOST_WEEKS), ("every", LONGEST_STEP)):
            value: Any = getattr(self, name)
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_number and 1 <= value <= most):
                raise refusal(name, value, f"a whole number of weeks, from 1 to {most}")
        if self.every is None:
            raise refusal("every", None, f"a whole number of weeks, from 1 to {LONGEST_STEP}")
        is_day = isinstance(self.until, date) and not isinstance(self.until, datetime)
        if self.until is not None and not (is_day and self.until.year in YEARS):
            raise refusal("until", self.until, f"a date, years {YEARS.start} to {YEARS.stop - 1}")
        if self.conflicts not in ("refuse", "skip"):
            raise refusal("conflicts", self.conflicts, "'refuse' or 'skip'")

    def starts(self, first: datetime, templates: Sequence[TemplateMixin]) -> list[datetime]:
        """Return the original starts (naive) that are meant, the first one included.

        :raises InvalidRequest: if the last day is before the first start, or too far behind it.
        """
        step, found = self.every * _WEEK, list[datetime]()
        field, given = ("count", self.count) if self.until is None else ("until", self.until)
        start = first
        while len(found) < (self.count or MOST_WEEKS + 1):
            if self.until is not None and shown_start(start, templates).date() > self.until:
                break
            found.append(start)
            if start.year not in YEARS or (start + step).year not in YEARS:
                raise refusal(field, given, f"a last start before the year {YEARS.stop}")
            start += step
        if not found:
            shown = shown_start(first, templates)
            raise refusal("until", self.until, f"a day not before the first start, {shown:%Y-%m-%d}")
        if len(found) > MOST_WEEKS:
            raise refusal(
                "until", self.until, f"a day before {found[-1]:%Y-%m-%d}: at most {MOST_WEEKS} starts"
            )
        return found


def shown_start(start: datetime, templates: Sequence[TemplateMixin]) -> datetime:
    """Return at which wall-clock time (naive) an original start of a series is shown."""
    return start + (segment_at(start, templates).shift or timedelta(0))


def segment_at(start: datetime, templates: Sequence[TemplateMixin]) -> TemplateMixin:
    """Return the segment of a series to which an original start belongs."""
    return next((each for each in templates if _has(each, start)), templates[-1])


def _has(template: TemplateMixin, start: datetime) -> bool:
    first, end = template.active_from, template.active_until
    return (first is None or first <= start) and (end is None or start < end)


def book_series(work: Work, key: str | SlotMixin, repeats: Repeats, request: BookingRequest) -> RepeatReport:
    """Book the same slot every week, or every n-th; see ``RollingSlots.book_series``."""
    first = key_of(key)
    request.check()
    repeats.check()
    templates = lock_series(work, first, lock_first(work, request))
    starts = repeats.starts(first.original_start, templates)
    wanted = _Wanted(work, templates, [SlotKey(first.series_id, start) for start in starts], request)
    report = RepeatReport(str(first), repeats.every, request.party, tuple(map(str, wanted.keys)))
    known = wanted.known()
    if known is not None:
        return wanted.answer_again(report, known, repeats.conflicts == "refuse")
    refused: dict[SlotKey, RollingSlotsError] = {}
    try:
        with atomic(work.session, work.models.classes):
            made = wanted.book(refused)
            if refused and repeats.conflicts == "refuse":
                raise _Refused
    except (
        IdempotencyConflict
    ) as conflict:  # of a request that was committed since this transaction began to read
        known = wanted.first_of(conflict.details["booking_id"])
        if known is None:
            raise
        return wanted.answer_again(report, known, repeats.conflicts == "refuse")
    except _Refused:
        report = replace(report, refused=tuple(wanted.told(refused)))
        raise _refusal(report, next(iter(refused.values()))) from None
    return replace(report, bookings=tuple(made), refused=tuple(wanted.told(refused)))


class _Refused(Exception):
    """Something was refused, so all of it is."""


def _refusal(report: RepeatReport, error: RollingSlotsError) -> RollingSlotsError:
    """Return (not raise) what keeps the first week that was refused from being booked, for all."""
    text = f"{len(report.refused)} of {len(report.keys)} starts cannot be booked, so none was: {error}"
    return type(error)(text, **{**error.details, "report": report})


def lock_series(
    work: Work, key: SlotKey, lock_person: Callable[[TemplateMixin], None]
) -> list[TemplateMixin]:
    """Have a series alone until the app commits; return its segments as they are now.

    The person is locked before, if the series has limits for each, and then its resources.

    :raises SlotNotFound: if there is no such series.
    :raises LostRace: if it was cut, or got another resource, meanwhile.
    """
    session, cls = work.session, work.models.Template
    take_write_lock(session, table_of(work.models.Slot))
    seen = segments(work, [key.series_id])
    if not seen:
        raise no_slot(key)
    before = {each.id: each.revision for each in seen}
    for template in seen:
        lock_person(template)
    for template in sorted(seen, key=lambda each: each.resource or ""):
        lock_exclusive(work, template)
    # The first segment stands for the series: whoever waited for it also sees the segments that were cut meanwhile.
    session.execute(exclusive(select(cls.id).where(cls.id == key.series_id), work.dialect))
    query: Any = select(cls).where(cls.series_id == key.series_id).order_by(cls.id)
    query = exclusive(query, work.dialect).execution_options(populate_existing=True)
    templates: list[TemplateMixin] = list(session.scalars(query))
    if any(each.resource and before.get(each.id) != each.revision for each in templates):
        raise LostRace
    # What this transaction sees by reading alone may be older there: without the segments that were cut meanwhile.
    if work.dialect in MARIADB and len(segments(work, [key.series_id])) != len(templates):
        raise LostRace
    return templates


class _Wanted:
    """The slots that somebody wants, of a series that is locked."""

    def __init__(
        self, work: Work, templates: list[TemplateMixin], keys: list[SlotKey], request: BookingRequest
    ) -> None:
        self.work, self.templates, self.keys, self.request = work, templates, keys, request

    def book(self, refused: dict[SlotKey, RollingSlotsError]) -> list[BookingMixin]:
        """Book each, one after the other; why one was not is written down."""
        made: list[BookingMixin] = []
        request = replace(self.request, repeats_id=FIRST)
        for key in self.keys:
            try:
                found = book(self.work, str(key), request)
            except _REFUSALS as error:
                refused[key] = error
                continue
            if not made:
                self._begin(found)
                request = replace(request, idempotency_key=None, repeats_id=found.id)
            made.append(found)
        return made

    def _begin(self, first: BookingMixin) -> None:
        """Let the first booking name itself as that of the series."""
        table = table_of(self.work.models.Booking)
        self.work.session.execute(update(table).where(table.c.id == first.id).values(repeats_id=first.id))
        set_committed_value(first, "repeats_id", first.id)

    def told(self, refused: dict[SlotKey, RollingSlotsError]) -> Iterable[RefusedWeek]:
        """Yield what was refused, with the nearest free slots."""
        work = replace(self.work, steps=Steps(_LOOKED_AT))
        for key, error in refused.items():
            starts_at = self._starts_at(key)
            nearest = self._nearest(work, starts_at)
            yield RefusedWeek(str(key), starts_at, code_of(error), str(error), nearest)

    def _starts_at(self, key: SlotKey) -> datetime:
        row = browsing.row_at(self.work, key)
        if row is not None:
            return row.starts_at
        template = segment_at(key.original_start, self.templates)
        wall = shown_start(key.original_start, self.templates)
        return wall.replace(tzinfo=ZoneInfo(template.timezone)).astimezone(UTC)

    def _nearest(self, work: Work, moment: datetime) -> tuple[FreeSlot, ...]:
        """Return the nearest slots that have the places, by distance; none of those that were tried."""
        found: list[SlotMixin] = []
        for span in _AROUND:
            start, end = max(moment - span, work.now), moment + span + MICROSECOND
            try:
                around = browsing.between(work, start, end, self.templates[0].id) if start < end else []
            except TooCostly:
                break
            found = [slot for slot in around if self._is_free(slot)]
            if len(found) >= _NEAREST:
                break
        found.sort(key=lambda slot: (abs(slot.starts_at - moment), slot.starts_at, slot.key))
        return tuple(FreeSlot(slot.key, slot.starts_at, slot.left) for slot in found[:_NEAREST])

    def _is_free(self, slot: SlotMixin) -> bool:
        now, party = self.work.now, self.request.party
        if SlotKey(slot.series_id, slot.original_start) in self.keys or not slot.is_bookable_at(now):
            return False
        in_pool = left_in_pool_at(slot, now)
        return slot.left >= party and (in_pool is None or in_pool >= party)

    # -- the same request again

    def known(self) -> BookingMixin | None:
        """Return the first booking of an earlier request with the same key.

        :raises IdempotencyConflict: if the key was used for something else.
        """
        if self.request.request_key is None:
            return None
        cls = self.work.models.Booking
        query = select(cls.id).where(cls.request_key == self.request.request_key)
        number = self.work.session.scalar(query)
        known = None if number is None else self.first_of(number)
        if number is not None and known is None:
            raise self._conflict("was used for another booking", number)
        return known

    def first_of(self, number: int) -> BookingMixin | None:
        """Return a booking if it is the first one of a series."""
        cls = self.work.models.Booking
        query: Any = select(cls).where(cls.id == number, cls.repeats_id == number)
        found: BookingMixin | None = self.work.session.scalars(newest(query, self.work.dialect)).one_or_none()
        return found

    def _conflict(self, fault: str, number: int) -> IdempotencyConflict:
        text = f"idempotency_key = {self.request.idempotency_key!r} {fault}"
        return IdempotencyConflict(text, booking_id=number)

    def answer_again(self, report: RepeatReport, first: BookingMixin, is_whole: bool) -> RepeatReport:
        """Answer with what an earlier, equal request was given, as it is by now: who moved is found where that was.

        :param is_whole: whether all or nothing was asked for.
        :raises IdempotencyConflict: if it was another request, or all of it was given back.
        """
        work, cls = self.work, self.work.models.Booking
        query: Any = select(cls).where(cls.repeats_id == first.id).order_by(cls.id)
        mine = list(work.session.scalars(newest(query, work.dialect)))
        follower = {each.replaces_id: each for each in mine if each.replaces_id is not None}
        begun = {_key(each): each for each in mine if each.replaces_id is None}
        parties = {each.asked_party or each.party for each in begun.values()}
        is_other = parties != {self.request.party} or not begun.keys() <= {*self.keys}
        if is_other or (is_whole and len(begun) < len(self.keys)):
            raise self._conflict("was used for other bookings", first.id)
        now: dict[SlotKey, BookingMixin] = {}
        for key, booking in begun.items():
            while booking.id in follower:
                booking = follower[booking.id]
            now[key] = booking
        live = [booking for booking in now.values() if booking.status_at(work.now) in LIVE]
        if not live:
            fault = (
                f"belongs to the bookings that began with {first.id}, of which none is left: use another key"
            )
            raise self._conflict(fault, first.id)
        refused = {key: self._why_not(key, now.get(key)) for key in self.keys if now.get(key) not in live}
        live.sort(key=lambda booking: (booking.slot.starts_at, booking.id))
        return replace(report, bookings=tuple(live), refused=tuple(self.told(refused)))

    def _why_not(self, key: SlotKey, gone: BookingMixin | None) -> RollingSlotsError:
        """Return why there is no booking in a slot: why there was none is not kept, so it is tried again."""
        if gone is not None:
            status = gone.status_at(self.work.now).value
            return SlotClosed(f"booking {gone.id} in slot {key} is {status}", key=str(key), state=status)
        try:
            with atomic(self.work.session, self.work.models.classes):
                quiet = replace(self.work, outbox=Outbox())
                book(quiet, str(key), replace(self.request, idempotency_key=None))
                raise _Refused
        except _REFUSALS as error:
            return error
        except _Refused:
            text = f"slot {key} could not be booked when this was asked for first; by now it could"
            return SlotClosed(text, key=str(key), state=State.OPEN.value)


def _key(booking: BookingMixin) -> SlotKey:
    slot = booking.slot
    return SlotKey(slot.series_id, slot.original_start)


def code_of(error: RollingSlotsError) -> str:
    """Return what a refusal is called for machines, as over HTTP."""
    if getattr(error, "state", None) == State.BLOCKED:
        return "slot_blocked"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
