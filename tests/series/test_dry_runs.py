"""A dry run returns what the decision would, and leaves everything alone; an edit expands its rule once."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site
from sqlalchemy import event

from flask_rollingslots import planning
from flask_rollingslots.errors import RollingSlotsError
from flask_rollingslots.series import closing, edits, endings, templates
from flask_rollingslots.values import Scope, SlotKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask_rollingslots.context import Work

TEN, ELEVEN, NOON, FAR, NONE = map(
    SlotKey.parse,
    ["1@20260106T1000", "1@20260106T1100", "1@20260106T1200", "1@20260301T1000", "1@20260106T1001"],
)
THIS, LATER, ALL = Scope.THIS, Scope.THIS_AND_FUTURE, Scope.ALL
#: Each decision, by name; `1` is the template, TEN is booked, NOON cancelled.
DECISIONS: dict[str, Callable[[Work], Any]] = {
    "cancel": lambda work: endings.cancel(work, TEN, THIS, "rain"),
    "cancel what is virtual": lambda work: endings.cancel(work, FAR, THIS),
    "cancel this and future": lambda work: endings.cancel(work, TEN, LATER, "rain"),
    "delete": lambda work: endings.delete(work, ELEVEN, THIS),
    "delete what is booked": lambda work: endings.delete(work, TEN, THIS),
    "delete all": lambda work: endings.delete(work, TEN, ALL),
    "restore": lambda work: endings.restore(work, NOON, THIS),
    "restore all": lambda work: endings.restore(work, NOON, ALL),
    "complete": lambda work: endings.complete(work, TEN),
    "complete what is cancelled": lambda work: endings.complete(work, NOON),
    "cancel the future": lambda work: endings.cancel_future(work, 1, date(2026, 1, 7)),
    "delete the series": lambda work: endings.delete_series(work, 1),
    "restore the series": lambda work: endings.restore_series(work, 1),
    "switch off": lambda work: templates.set_active(work, False, 1, None),
    "close a day": lambda work: closing.close(work, date(2026, 1, 6)),
    "cancel a day": lambda work: closing.cancel_date(work, "hall", date(2026, 1, 6), "rain"),
    "create": lambda work: templates.create(
        work, {"name": "More", "dtstart": datetime(2026, 1, 5, 9), "duration": timedelta(hours=1)}
    ),
    "change": lambda work: templates.change_template(work, 1, {"holidays": "ES", "capacity": 7}),
    "edit": lambda work: edits.edit(work, TEN, THIS, {"capacity": 5}),
    "edit this and future": lambda work: edits.edit(work, TEN, LATER, {"start": time(10, 30)}),
    "edit what is not there": lambda work: edits.edit(work, NONE, ALL, {"capacity": 5}),
}


def shown(result: Any) -> Any:
    """Return what a person sees of a result."""
    if isinstance(result, (list, tuple)) and result and not isinstance(result[0], str):
        return [shown(each) for each in result]
    if isinstance(result, endings.SeriesReport):
        return {name: value for name, value in result.to_dict().items() if name != "segments"}
    if hasattr(result, "to_dict"):
        return result.to_dict()
    names = ("key", "status", "starts_at", "capacity", "cancel_reason", "name", "holidays", "active")
    return {name: getattr(result, name) for name in names if hasattr(result, name)} or list(result)


def outcome(decide: Callable[[Work], Any], work: Work) -> tuple[Any, list[str]]:
    """Return what comes of a decision, and the names of the signals that it has for its listeners."""
    names: list[str] = []
    work.outbox.add = lambda signal, *late, **facts: names.append(signal.name)  # type: ignore[method-assign]
    try:
        return shown(decide(work)), names
    except RollingSlotsError as error:
        return (type(error), str(error)), names


@pytest.fixture
def hall(site: Site) -> Site:
    """A hall with a booked and a cancelled slot."""
    site.add(group="hall", capacity=2)
    site.slots.generate()
    site.slots.book(str(TEN), who="Ann")
    site.slots.cancel(str(NOON))
    site.session.commit()
    return site


@pytest.fixture
def writes(hall: Site) -> Iterator[list[str]]:
    """What is written from now on."""
    found: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if not statement.startswith("SELECT"):
            found.append(statement)

    engine = hall.session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("name", DECISIONS)
def test_a_dry_run_shows_what_happens(hall: Site, writes: list[str], name: str) -> None:
    """It takes no lock, writes nothing, and its result, signals and errors are those of the decision."""
    state = hall.app.extensions["rollingslots"]
    tried = outcome(DECISIONS[name], state.writing(dry_run=True))
    hall.session.flush()
    assert writes == []
    hall.session.rollback()
    done = outcome(DECISIONS[name], state.writing())
    assert tried == done


@pytest.mark.parametrize(
    ("changes", "times"),
    [({"start": time(11, 30)}, 1), ({"duration": timedelta(minutes=50)}, 1), ({"capacity": 9}, 0)],
)
def test_an_edit_expands_its_rule_once(
    hall: Site, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], times: int
) -> None:
    """However many slots are stored: each is looked up in the same expansion."""
    calls = []
    promised = planning.promised_starts
    monkeypatch.setattr(planning, "promised_starts", lambda *given: calls.append(given) or promised(*given))
    plan = hall.slots.edit("1@20260106T1100", "this_and_future", **changes)
    assert len(plan.changed) > 30
    assert len(calls) == times
