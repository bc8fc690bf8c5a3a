"""What a wide edit works out: its rule once, each of its stored slots once, whatever it changes."""

from __future__ import annotations

from datetime import time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import statements
from sqlalchemy import text

from flask_rollingslots import planning
from flask_rollingslots.context import Work, load_slots
from flask_rollingslots.series.storage import RowChange
from flask_rollingslots.series.writing import _write_rows

if TYPE_CHECKING:
    from helpers import Site

#: Stored slots of the week, twelve a day; the first day stays before the edit.
A_WEEK, A_DAY = 84, 12
KEY = "1@20260106T1000"
EDITS: dict[str, dict[str, Any]] = {
    "capacity": {"capacity": 5},
    "start": {"start": time(10, 30)},
    "length": {"duration": timedelta(minutes=30)},
    "rule": {"rrule": "FREQ=WEEKLY;BYDAY=MO,WE,FR"},
}


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a rule was expanded, how many starts that gave, and what was worked out of slots, stored or not."""
    found = {"expanded": 0, "starts": 0, "settled": 0, "times_of": 0}
    expand = planning.promised_starts

    def promised_starts(*given: Any, **more: Any) -> Any:
        found["expanded"] += 1
        for each in expand(*given, **more):
            found["starts"] += 1
            yield each

    def count(name: str) -> None:
        act = getattr(planning, name)

        def counted(*given: Any, **more: Any) -> Any:
            found[name] += 1
            return act(*given, **more)

        monkeypatch.setattr(planning, name, counted)

    monkeypatch.setattr(planning, "promised_starts", promised_starts)
    for name in ("settled", "times_of"):
        count(name)
    return found


def stored(site: Site) -> None:
    """Add a template of twelve slots a day, and store its week."""
    site.add(every=timedelta(hours=1), until_time=time(22))
    site.slots.generate(days=7)
    site.session.commit()
    assert site.session.scalar(text("SELECT count(*) FROM rolling_slot")) >= A_WEEK - A_DAY
    site.session.remove()


@pytest.mark.parametrize("scope", ["this_and_future", "all"])
@pytest.mark.parametrize("what", EDITS)
def test_an_edit_expands_its_rule_once(site: Site, costs: dict[str, int], what: str, scope: str) -> None:
    """The window and what lies near its edges are expanded once; each stored slot is brought in line at most once."""
    stored(site)
    costs.update(dict.fromkeys(costs, 0))
    changes = {name: value for name, value in EDITS[what].items() if name != "rrule" or scope != "all"}
    plan = site.slots.edit(KEY, scope, **(changes or {"start": time(11)}))
    assert len(plan.changed) + len(plan.removed) >= A_WEEK - 3 * A_DAY
    assert costs["expanded"] == (0 if what == "capacity" else 1)
    assert costs["starts"] <= 2 * A_WEEK
    assert costs["settled"] <= A_WEEK + A_DAY
    assert costs["times_of"] <= (0 if what == "capacity" else A_WEEK + A_DAY)


def test_more_rows_take_no_more_statements(site: Site) -> None:
    """An edit of one stored day and one of a month send the same number of statements."""
    found: list[int] = []
    for days in (2, 30):
        stored(site)
        site.slots.generate(days=days)
        number = site.session.scalar(text("SELECT max(id) FROM rolling_template"))
        site.session.commit()
        with statements(site.db.engine) as sent:
            site.slots.edit(KEY.replace("1@", f"{number}@"), "this_and_future", start=time(10, 30))
        found.append(len(sent))
    assert found[0] == found[1]


@pytest.mark.parametrize("changes", [{"capacity": 7}, {"start": time(10, 5)}, {"data": {"room": 2}}])
def test_an_edit_of_one_slot_expands_its_rule_once(
    site: Site, costs: dict[str, int], changes: dict[str, Any]
) -> None:
    """What was foreseen of its start holds while it is locked, decided again, and brought in line."""
    stored(site)
    costs.update(dict.fromkeys(costs, 0))
    site.slots.edit(KEY, "this", **changes)
    assert costs["expanded"] == 1


def test_what_is_alike_is_written_at_once(site: Site) -> None:
    """Slots that all get the same capacity are named in one UPDATE; the notes on both segments are one, too."""
    stored(site)
    with statements(site.db.engine) as sent:
        plan = site.slots.edit(KEY, "this_and_future", capacity=5)
    assert len(plan.changed) >= A_WEEK - 3 * A_DAY
    written = [each for each in sent if each.startswith("UPDATE rolling_slot SET capacity")]
    assert len(written) == 1
    assert "rolling_slot.id IN (" in written[0]
    assert (
        len([each for each in sent if each.startswith("UPDATE rolling_template SET settled_revision")]) == 1
    )
    assert not [each for each in sent if each.startswith("SELECT rolling_template.revision")]


def test_what_is_not_alike_is_written_apart(site: Site) -> None:
    """Slots of which the same columns change get each its own values, also where those of two are equal."""
    stored(site)
    state = site.app.extensions["rollingslots"]
    with site.app.app_context():
        work = Work.writing(site.db.session(), state.models, state.settings, site.clock())
        rows = load_slots(work, wholly=True)[:3]
        changes = [
            RowChange(row, {"withdrawn": mark}) for row, mark in zip(rows, (True, True, None), strict=True)
        ]
        changes += [RowChange(row, {"data": {"n": n}}) for row, n in zip(rows[1:], (1, True), strict=True)]
        _write_rows(work, changes, [])
        by_id = {row.id: row for row in load_slots(work, wholly=True)}
    found = [by_id[row.id] for row in rows]
    assert [each.withdrawn for each in found] == [True, True, None]
    assert [repr(each.data["n"]) for each in found[1:]] == ["1", "True"]
