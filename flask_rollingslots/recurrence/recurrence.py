"""The public class: a recurrence rule at home in a time zone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Self, overload

from ..errors import InvalidRequest
from ..values import Occurrence
from .clamp import minus
from .describe import describe
from .dialects import read_object, template_fields
from .export import ical_rrule
from .series import Series
from .split import split_fields
from .writing import write_object
from .zones import shown, walls_around


class Recurrence(Series):
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
        found = shown(self.originals(lower, upper), self.zone, self.shift, self.gap)
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
            raise _invalid("limit", limit, "a whole number, 0 or more")
        lower = minus(walls_around(moment, self.zone)[0], self.shift)
        found = shown(self.originals(lower, datetime.max), self.zone, self.shift, self.gap)
        return list(islice((each for each in found if each.starts_at > moment), limit))

    def first(self) -> Occurrence | None:
        """Return the first occurrence, or ``None`` if there is none."""
        return next(shown(self.originals(self.earliest, datetime.max), self.zone, self.shift, self.gap), None)

    def last(self) -> Occurrence | None:
        """Return the last occurrence, or ``None`` if there is none or the rule has no end."""
        if self.is_forever:
            return None
        for lower, upper in self._windows_backward():
            found = list(shown(self.originals(lower, upper), self.zone, self.shift, self.gap))
            if found:
                return found[-1]
        return None

    def split(self, original_start: datetime) -> tuple[Recurrence | None, Recurrence | None]:
        """Cut the series in two: the starts before ``original_start``, and those from it on.

        COUNT, UNTIL, RDATE and EXDATE are divided, the phase of INTERVAL is kept. A side without starts is ``None``.

        :param original_start: naive wall clock.
        """
        if not isinstance(original_start, datetime) or original_start.tzinfo is not None:
            raise _invalid("original_start", original_start, "a naive datetime: the wall clock of the zone")
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
            entries = template_fields(value, dtstart=dtstart, timezone=timezone)
            return [cls(**_without_active(fields), **options) for fields in entries]
        return cls(**read_object(value, dtstart=dtstart, timezone=timezone), **options)

    def _windows_backward(self) -> Iterator[tuple[datetime, datetime]]:
        """Yield windows from the end of the series back to its start, each twice as long as the one before."""
        upper, length = self.latest, timedelta(days=40)
        while upper > self.earliest:
            start = upper - length if upper - self.earliest > length else self.earliest
            yield start, upper
            upper, length = start, length * 2


def _without_active(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in fields.items() if name != "active"}


def _aware(name: str, moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise _invalid(name, moment, "an aware datetime")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        edge = datetime.min if moment.year < 5000 else datetime.max
        return edge.replace(tzinfo=UTC)


def _invalid(name: str, value: object, expected: str) -> InvalidRequest:
    message = f"{name}: {value!r} is not valid; expected {expected}"
    return InvalidRequest(message, field=name, value=value, expected=expected)
