"""Cut a series in two for export: COUNT, UNTIL, RDATE, EXDATE and the day grid divided, the phase kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from .clamp import minus, plus
from .series import Series
from .zones import instant_of

_TICK = timedelta(microseconds=1)

Fields = dict[str, Any]


def split_fields(series: Series, cut: datetime) -> tuple[Fields | None, Fields | None]:
    """Return the parameters of the series before ``cut`` and from it on; ``None`` for a side without starts.

    The new COUNT is the old one less what the rule yields before the cut, excluded starts included (COUNT counts
    before EXDATE, RFC 5545 section 3.8.5.1). The second DTSTART is a start of the rule, so that INTERVAL keeps step.

    :param cut: naive wall clock.
    """
    last = _last_rule_start(series, cut)
    following = next(series.rule_starts(cut, datetime.max), None)
    torn = _torn_day(series, last, cut)
    if torn:
        last = _last_rule_start(series, last) if last else None
    before, after = _dates(series, cut, torn)
    first_side = _before(series, last, before)
    second_side = _after(series, following, after, last, torn)
    return _unless_empty(series, first_side), _unless_empty(series, second_side)


def _last_rule_start(series: Series, cut: datetime) -> datetime | None:
    """Return the last start of the rule before the cut, searched backward in growing windows."""
    upper, length = min(cut, series.latest), timedelta(days=40)
    while upper > series.dtstart:
        lower = upper - length if upper - series.dtstart > length else series.dtstart
        found = list(series.rule_starts(lower, upper))
        if found:
            return found[-1]
        upper, length = lower, length * 2
    return None


def _torn_day(series: Series, last: datetime | None, cut: datetime) -> list[datetime]:
    """Return all starts of the grid day that the cut goes through: they become single dates."""
    if last is None or series.grid is None or plus(last, series.grid.span) < cut:
        return []
    return [plus(last, offset) for offset in series.grid.offsets]


def _dates(series: Series, cut: datetime, torn: list[datetime]) -> tuple[Fields, Fields]:
    rdates = sorted({*series.rdates, *torn})
    before = {
        "rdates": tuple(moment for moment in rdates if moment < cut),
        "exdates": tuple(value for value in series.exdates if _starts_before(value, cut)),
    }
    after = {
        "rdates": tuple(moment for moment in rdates if moment >= cut),
        "exdates": tuple(value for value in series.exdates if not _ends_before(value, cut)),
    }
    return before, after


def _starts_before(value: datetime | date, cut: datetime) -> bool:
    return value < cut if isinstance(value, datetime) else value <= minus(cut, _TICK).date()


def _ends_before(value: datetime | date, cut: datetime) -> bool:
    return value < cut if isinstance(value, datetime) else value < cut.date()


def _before(series: Series, last: datetime | None, dates: Fields) -> Fields | None:
    if last is None:
        return _only_dates(series, dates)
    fields = _fields(series, dates)
    if series.rule is None:
        return fields
    if series.rule.count is not None:
        return {**fields, "rrule": str(replace(series.rule, count=series.count_before(plus(last, _TICK))))}
    fields["rrule"] = str(replace(series.rule, until=_until(series, last)))
    # Around a gap an instant can let one start too many in.
    spill = type(series)(**fields).rule_starts(plus(last, _TICK), plus(last, timedelta(days=3)))
    fields["exdates"] = (*fields["exdates"], *spill)
    return fields


def _until(series: Series, last: datetime) -> datetime:
    """Return the last start as an instant: beside a zone RFC 5545 section 3.3.10 wants UNTIL in UTC."""
    try:
        return instant_of(last, series.zone)
    except OverflowError:
        return last


def _after(
    series: Series, following: datetime | None, dates: Fields, last: datetime | None, torn: list[datetime]
) -> Fields | None:
    if following is None:
        return _only_dates(series, dates)
    fields = {**_fields(series, dates), "dtstart": following}
    rule = series.rule
    if rule is not None:
        fields["rrule"] = str(replace(rule, count=_left(series, following)))
    return fields


def _left(series: Series, following: datetime) -> int | None:
    """Return how much of COUNT is left from a start of the rule on."""
    if series.rule is None or series.rule.count is None:
        return None
    return series.rule.count - series.count_before(following)


def _only_dates(series: Series, dates: Fields) -> Fields | None:
    """Return a series of single dates: the first is the start, the others are extra."""
    if not dates["rdates"]:
        return None
    first, *others = dates["rdates"]
    fields = _fields(series, {"rdates": tuple(others), "exdates": dates["exdates"]})
    return {**fields, "rrule": None, "dtstart": first, "every": None, "until_time": None}


def _fields(series: Series, dates: Fields) -> Fields:
    names = ("rrule", "dtstart", "gap", "duration", "every", "until_time", "shift")
    return {**{name: getattr(series, name) for name in names}, "timezone": series.zone, **dates}


def _unless_empty(series: Series, fields: Fields | None) -> Fields | None:
    if fields is None or next(_starts(type(series)(**fields)), None) is None:
        return None
    return fields


def _starts(series: Series) -> Iterator[datetime]:
    return series.originals(series.earliest, datetime.max)
