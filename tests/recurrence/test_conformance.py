"""The settled facts of RFC 5545 and of other projects' suites, as data."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flask_rollingslots.errors import InvalidRule
from flask_rollingslots.recurrence import Recurrence
from flask_rollingslots.values import Occurrence

DATA = Path(__file__).parent / "data"
SECOND = timedelta(seconds=1)


def load() -> list[dict[str, Any]]:
    """Read all cases of all files."""
    lines = [line for path in sorted(DATA.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


CASES = load()
VALID = [case for case in CASES if not case.get("must_reject") and None not in case.get("cases", {}).values()]


def build(case: dict[str, Any]) -> Recurrence:
    """Make the Recurrence of a case."""
    rdates, exdates = ([any_date(text) for text in case.get(name, [])] for name in ("rdates", "exdates"))
    start = datetime.fromisoformat(case["dtstart"].rstrip("Z"))
    return Recurrence(case.get("rrule"), start, case.get("tzid", "UTC"), rdates, exdates)


def any_date(text: str) -> datetime | date:
    """Read a date or a time, naive or aware."""
    return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)


def instants(case: dict[str, Any], texts: list[str] | None) -> list[datetime] | None:
    """Read expected values as instants."""
    if texts is None:
        return None
    zone = ZoneInfo(case.get("tzid", "UTC"))
    moments = [datetime.fromisoformat(text) for text in texts]
    return [(m if m.tzinfo else m.replace(tzinfo=zone)).astimezone(UTC) for m in moments]


def admissible(case: dict[str, Any]) -> list[list[datetime] | None]:
    """Return every right answer; None stands for a refusal."""
    if case.get("must_reject"):
        return [None]
    answers = [case.get("expected", [])] if "cases" not in case else list(case["cases"].values())
    return [instants(case, answer) for answer in answers]


def ask(case: dict[str, Any], recurrence: Recurrence) -> list[datetime]:
    """Return the first occurrences, a few more than expected, or what the case's query asks for."""
    if "query" in case:
        return _query(recurrence, case["query"], ZoneInfo(case.get("tzid", "UTC")))
    more = 3 if case["complete"] else 0
    found = recurrence.after(datetime(1, 1, 3, tzinfo=UTC), len(case.get("expected", [])) + more)
    return [occurrence.starts_at for occurrence in found]


def _query(recurrence: Recurrence, query: list[Any], zone: ZoneInfo) -> list[datetime]:
    name, texts, options = query
    bounds = [datetime.fromisoformat(text).replace(tzinfo=zone) for text in texts]
    edge = SECOND if options.get("inc") else timedelta(0)
    if name == "after":
        return [each.starts_at for each in recurrence.after(bounds[0] - edge, 1)]
    if name == "before":
        found = recurrence.between(datetime(1990, 1, 1, tzinfo=zone), bounds[0] + edge)
        return [each.starts_at for each in found][-1:]
    lower = bounds[0] if options.get("inc") else bounds[0] + SECOND
    return [each.starts_at for each in recurrence.between(lower, bounds[1] + edge)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_gives_an_admissible_answer(case: dict[str, Any]) -> None:
    """Each case gives one of its right answers: the occurrences, or a refusal."""
    try:
        found: list[datetime] | None = ask(case, build(case))
    except InvalidRule:
        found = None
    assert found in admissible(case)


@pytest.mark.parametrize("case", [c for c in VALID if "query" not in c], ids=lambda case: case["id"])
def test_any_window_gives_the_same(case: dict[str, Any]) -> None:
    """What small windows give, joined, is the whole set, so no window changes COUNT, phase or position."""
    recurrence = build(case)
    whole = recurrence.after(datetime(1, 1, 3, tzinfo=UTC), 40)[:25]
    if not whole:
        return
    found: list[Occurrence] = []
    lower = whole[0].starts_at - timedelta(days=15)
    width = max(timedelta(days=11), (whole[-1].starts_at - lower) / 300)
    while lower <= whole[-1].starts_at:
        found += recurrence.between(lower, lower + width)
        lower += width
    assert found[: len(whole)] == whole


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
def test_survives_json_and_its_own_text(case: dict[str, Any]) -> None:
    """Written as JSON or as canonical RRULE text and read again, the rule gives the same set."""
    recurrence = build(case)
    first = ask(case, recurrence)
    start, zone = recurrence.dtstart, recurrence.timezone
    assert ask(case, Recurrence.from_json(recurrence.to_json(), dtstart=start, timezone=zone)) == first
    text = None if recurrence.rule is None else str(recurrence.rule)
    again = Recurrence(text, start, zone, recurrence.rdates, recurrence.exdates)
    assert ask(case, again) == first


def test_enough_cases_are_there() -> None:
    """The data files hold the number of cases that they were written with."""
    assert len(CASES) == 248
