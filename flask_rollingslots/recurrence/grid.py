"""The day grid: on each day that a rule yields, a start each ``every`` while it ends by ``until_time``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from .rule import MISSING, Rule, refuse

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Grid:
    """A checked day grid.

    :param offsets: distances of the day's starts from its first one, nominal; the first is zero.
    """

    offsets: tuple[timedelta, ...]

    @property
    def span(self) -> timedelta:
        """Return the distance from the first to the last start of a day."""
        return self.offsets[-1]


def make_grid(
    rule: Rule | None,
    dtstart: datetime,
    duration: timedelta | None,
    every: timedelta | None,
    until_time: time | None,
) -> Grid | None:
    """Check the grid's parameters; ``None`` if there is no grid.

    :param duration: elapsed time of one slot; counted nominally here.
    :param until_time: wall clock by which the last slot ends; not later than the start means the next day.
    :raises InvalidRule: if they do not fit each other.
    """
    _check_types(duration, every, until_time)
    if every is None and until_time is None:
        return None
    if every is None:
        raise refuse("every", every, "the distance between two starts, because until_time is given", MISSING)
    if until_time is None:
        raise refuse(
            "until_time", until_time, "the time by which the last slot ends, because every is given", MISSING
        )
    if duration is None:
        raise refuse("duration", duration, "the length of a slot, because every is given", MISSING)
    _check_rule(rule)
    start = timedelta(hours=dtstart.hour, minutes=dtstart.minute, seconds=dtstart.second)
    end = timedelta(hours=until_time.hour, minutes=until_time.minute, seconds=until_time.second)
    length = end - start if end > start else end + _DAY - start
    if duration > length:
        raise refuse(
            "duration", duration, f"at most the {length} from the start to until_time", "does not fit"
        )
    return Grid(tuple(every * step for step in range((length - duration) // every + 1)))


def _check_types(duration: timedelta | None, every: timedelta | None, until_time: time | None) -> None:
    for name, value in (("duration", duration), ("every", every)):
        if value is not None and not isinstance(value, timedelta):
            raise refuse(name, value, "a timedelta")
    if duration is not None and duration <= timedelta(0):
        raise refuse("duration", duration, "more than nothing")
    if every is not None and every < _MINUTE:
        raise refuse("every", every, "at least one minute")
    if until_time is not None and (not isinstance(until_time, time) or until_time.tzinfo is not None):
        raise refuse("until_time", until_time, "a naive time of day")


def _check_rule(rule: Rule | None) -> None:
    if rule is None:
        return
    if rule.freq == "HOURLY":
        raise refuse("FREQ", rule.freq, "DAILY or coarser beside a day grid")
    for name in ("BYHOUR", "BYMINUTE", "BYSECOND"):
        if values := getattr(rule, name.lower()):
            raise refuse(
                name, ",".join(map(str, values)), f"no {name} beside a day grid: the grid gives the times"
            )
