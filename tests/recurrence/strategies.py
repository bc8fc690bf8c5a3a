"""Hypothesis strategies: valid rules, DTSTARTs and windows."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import strategies as st

WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
INTERVALS = [1, 1, 2, 3, 4, 5, 7, 12, 18, 25, 40]
LIKELY = st.integers(0, 3).map(lambda n: n == 0)


def numbers(highest: int, *, lowest: int = 1, negative: bool = False) -> st.SearchStrategy[str]:
    """One to three different values of a BY part, as text."""
    values = st.integers(lowest, highest)
    if negative:
        values = st.one_of(values, st.integers(-highest, -1))
    return st.sets(values, min_size=1, max_size=3).map(lambda found: ",".join(map(str, sorted(found))))


@st.composite
def weekdays(draw: st.DrawFn, highest: int = 0, *, plain: bool = True) -> str:
    """A BYDAY value; numbered up to ``highest``, mixed with plain days only if both are allowed."""
    days = draw(st.sets(st.sampled_from(WEEKDAYS), min_size=1, max_size=4).map(sorted))
    if not highest:
        return ",".join(days)
    number = st.integers(1, highest).flatmap(lambda n: st.sampled_from([str(n), str(-n)]))
    if plain:
        number = st.one_of(number, st.just(""))
    return ",".join(draw(number) + day for day in days)


@st.composite
def rules(draw: st.DrawFn, freqs: str = "YEARLY MONTHLY WEEKLY DAILY HOURLY", *, setpos: bool = True) -> str:
    """A rule of the kinds that python-dateutil expands rightly (without BYWEEKNO and mixed weekdays)."""
    freq = draw(st.sampled_from(freqs.split()))
    parts = {"FREQ": freq, "INTERVAL": str(draw(st.sampled_from(INTERVALS)))}
    if draw(LIKELY):
        parts["BYMONTH"] = draw(numbers(12))
    if freq != "WEEKLY" and draw(LIKELY):
        parts["BYMONTHDAY"] = draw(numbers(31, negative=True))
    if freq in ("YEARLY", "HOURLY") and draw(LIKELY):
        parts["BYYEARDAY"] = draw(numbers(366, negative=True))
    if draw(st.booleans()):
        in_month = freq == "MONTHLY" or "BYMONTH" in parts
        highest = (5 if in_month else 53) if freq in ("YEARLY", "MONTHLY") and draw(st.booleans()) else 0
        parts["BYDAY"] = draw(weekdays(highest, plain=False))
    _add_times(draw, parts)
    if setpos and freq != "WEEKLY" and draw(LIKELY) and any(name.startswith("BY") for name in parts):
        parts["BYSETPOS"] = draw(numbers(6, negative=True))
    return as_text(parts)


@st.composite
def difficult_rules(draw: st.DrawFn) -> str:
    """A rule of the kinds that python-dateutil gets wrong: the oracle decides."""
    kind = draw(st.sampled_from(["mixed", "weeks", "week positions"]))
    parts = {"INTERVAL": str(draw(st.sampled_from([1, 2, 3, 5])))}
    if kind == "mixed":
        parts["FREQ"] = draw(st.sampled_from(["MONTHLY", "YEARLY"]))
        parts["BYDAY"] = draw(weekdays(5))
    elif kind == "weeks":
        parts |= {"FREQ": "YEARLY", "BYWEEKNO": draw(numbers(53, negative=True))}
        if draw(st.booleans()):
            parts["BYDAY"] = draw(weekdays())
    else:
        parts |= {"FREQ": "WEEKLY", "BYDAY": draw(weekdays())}
    if draw(LIKELY):
        parts["BYMONTH"] = draw(numbers(12))
    _add_times(draw, parts)
    if kind == "week positions" or draw(LIKELY):
        parts["BYSETPOS"] = draw(numbers(5, negative=True))
    return as_text(parts)


def _add_times(draw: st.DrawFn, parts: dict[str, str]) -> None:
    if draw(LIKELY):
        parts["BYHOUR"] = draw(numbers(23, lowest=0))
    if draw(LIKELY):
        parts["BYMINUTE"] = draw(numbers(59, lowest=0))
    if draw(LIKELY):
        parts["WKST"] = draw(st.sampled_from(WEEKDAYS))


def as_text(parts: dict[str, str]) -> str:
    """Join parts to an RRULE."""
    return ";".join(f"{name}={value}" for name, value in parts.items())


def starts(first_year: int, last_year: int, first_month: int = 1) -> st.SearchStrategy[datetime]:
    """Naive DTSTARTs at whole half hours, up to October of the last year."""
    return st.builds(
        lambda day, half: day.replace(hour=half // 2, minute=half % 2 * 30, second=0, microsecond=0),
        st.datetimes(datetime(first_year, first_month, 1), datetime(last_year, 10, 1)),
        st.integers(0, 47),
    )


def lengths(most: int) -> st.SearchStrategy[timedelta]:
    """Lengths of time in whole half hours, up to ``most`` days."""
    return st.integers(1, most * 48).map(lambda halves: timedelta(minutes=30 * halves))
