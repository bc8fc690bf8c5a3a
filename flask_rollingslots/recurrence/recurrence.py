"""The public class: a recurrence rule at home in a time zone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Self, overload

from ..errors import refusal
from ..values import Occurrence
from .describe import describe
from .dialects import read_object, read_schedule, write_object
from .export import ical_rrule, split_fields
from .periods import minus
from .recurrence_set import RecurrenceSet, last_of
from .zones import shown, walls_around


class Recurrence(RecurrenceSet):
    """The occurrences that a rule promises, in the wall clock of a zone.

    Immutable and reusable; no clock, no database. Costs the same at any distance from ``dtstart``. One kind falls
    back: where periods hold different numbers of starts (day 31, weekdays of a month, BYMONTH in a daily rule …), the
    end of a COUNT is searched once by walking from ``dtstart``, about a microsecond a start, when it is needed.

    :param rrule: an RFC 5545 RRULE value, or ``None`` for the single start ``dtstart``.
    :param dtstart: naive wall clock in ``timezone``: lower bound and anchor, itself an occurrence only if the rule
        yields it. Microseconds are dropped.
    :param timezone: an IANA name, or a tzinfo.
    :param rdates: extra single starts: naive wall clock, aware (converted), or dates (at the time of ``dtstart``).
    :param exdates: excluded starts: naive wall clock, aware (converted), or dates for whole local days.
    :param gap: what to do with a wall clock time that a change to summer time leaves out: ``"shift"`` shows it later
        by the gap (RFC 5545 section 3.3.5), ``"skip"`` leaves it out.
    :param duration: elapsed length of a slot; needed with a day grid.
    :param every: day grid: distance between starts, at least a minute.
    :param until_time: day grid: naive time by which the last slot of a day ends.
    :param shift: added to the wall clock of each original start before it is shown.
    :raises InvalidRule: with ``part``, ``value`` and ``expected``.
    """

    def between(self, start: datetime, end: datetime) -> Iterator[Occurrence]:
        """Yield the occurrences with ``start <= starts_at < end``, sorted by ``starts_at``.

        :param start: aware.
        :param end: aware.
        :raises InvalidRequest: if one of them is naive.
        """
        start, end = _aware("start", start), _aware("end", end)
        if start >= end:
            return iter(())
        lower = minus(walls_around(start, self.zone)[0], self.shift)
        upper = minus(walls_around(end, self.zone)[1], self.shift)
        found = self._shown(lower, upper)
        return (occurrence for occurrence in found if start <= occurrence.starts_at < end)

    def after(self, moment: datetime, limit: int) -> list[Occurrence]:
        """Return the next occurrences with ``starts_at > moment``, at most ``limit``.

        A rule that never matches is given up after 4,800 months without a match (10 to 40 ms).

        :param moment: aware.
        :param limit: 0 or more.
        :raises InvalidRequest: if ``moment`` is naive or ``limit`` negative.
        """
        moment = _aware("moment", moment)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise refusal("limit", limit, "a whole number, 0 or more")
        lower = minus(walls_around(moment, self.zone)[0], self.shift)
        found = self._shown(lower, datetime.max)
        return list(islice((each for each in found if each.starts_at > moment), limit))

    def first(self) -> Occurrence | None:
        """Return the first occurrence, or ``None`` if there is none."""
        return next(self._shown(self.earliest, datetime.max), None)

    def last(self) -> Occurrence | None:
        """Return the last occurrence, or ``None`` if there is none or the rule has no end."""
        if self.is_forever:
            return None
        return last_of(self._shown, self.earliest, self.latest)

    def split(self, original_start: datetime) -> tuple[Recurrence | None, Recurrence | None]:
        """Cut the recurrence in two: the starts before ``original_start``, and those from it on.

        COUNT, UNTIL, RDATE and EXDATE are divided, the phase of INTERVAL is kept. A side without starts is ``None``.

        :param original_start: naive wall clock.
        """
        if not isinstance(original_start, datetime) or original_start.tzinfo is not None:
            raise refusal("original_start", original_start, "a naive datetime: the wall clock of the zone")
        before, after = split_fields(self, original_start)
        return (
            None if before is None else Recurrence(**before),
            None if after is None else Recurrence(**after),
        )

    def describe(self, *, times: bool = False) -> str:
        """Say in English when it happens, as shown; exact for what it covers, else the RRULE text.

        :param times: name the time of day also where it is simply that of ``dtstart``:
            ``every 2 weeks on Friday at 22:00``.
        """
        return describe(self, times)

    def ical_rrule(self) -> str | None:
        """Return the RRULE for a feed: UNTIL in UTC, ambiguous parts written out; ``None`` without a rule."""
        return ical_rrule(self)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON dialect object for :meth:`from_json`; ``{"type": "rrule", ...}`` if no other can say it."""
        return write_object(self)

    @overload
    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], dtstart: datetime, timezone: str, **options: Any
    ) -> Self: ...

    @overload
    @classmethod
    def from_json(
        cls, value: list[Mapping[str, Any]], dtstart: datetime, timezone: str, **options: Any
    ) -> list[Self]: ...

    @classmethod
    def from_json(cls, value: Any, dtstart: datetime, timezone: str, **options: Any) -> Self | list[Self]:
        """Read a JSON dialect.

        :param value: for example ``{"type": "weekly", "weekday": 4}`` (0 = Monday); or a fixed schedule, a list of
            such entries, which gives a list.
        :param dtstart: naive wall clock; ``start_time`` in the object replaces its time.
        :param options: further arguments of the class, such as ``exdates`` and ``gap``.
        :raises InvalidRule: naming the field, the value and what is expected.
        """
        if isinstance(value, list | tuple):
            return [cls(**fields, **options) for fields in read_schedule(value, dtstart, timezone)]
        return cls(**read_object(value, dtstart, timezone), **options)

    def _shown(self, lower: datetime, upper: datetime) -> Iterator[Occurrence]:
        return shown(self.originals(lower, upper), self.zone, self.shift, self.gap)


def _aware(name: str, moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise refusal(name, moment, "an aware datetime")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        edge = datetime.min if moment.year < 5000 else datetime.max
        return edge.replace(tzinfo=UTC)
