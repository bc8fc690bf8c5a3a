"""Times too far away to be read are refused where they come in, and what is stored breaks nobody else's feed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import HALL, MONDAY, Site
from sqlalchemy import update

from flask_rollingslots.errors import RollingSlotsError
from flask_rollingslots.models import table_of

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "1@20260106T1000"
END = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)


def stored(site: Site, **values: Any) -> None:
    """Change a stored slot as an app does."""
    slot = site.slots.materialize(KEY)
    for name, value in values.items():
        setattr(slot, name, value)
    site.session.flush()


def imported(site: Site, **override: Any) -> None:
    """Import a template with one decided slot."""
    entry = {
        "name": "X", "dtstart": "2026-01-05T10:00", "duration_minutes": 60,
        "recurrence": {"type": "rrule", "rrule": "FREQ=DAILY"},
        "overrides": [{"original_start": "2026-01-06T10:00", "status": "scheduled", **override}],
    }  # fmt: skip
    site.slots.import_templates(json.dumps({"templates": [entry]}).encode())


TOO_FAR: dict[str, tuple[Callable[[Site], Any], str]] = {
    "all of a series": (lambda s: s.slots.edit(KEY, "all", start=datetime(4060, 1, 6, 10)), "start = 4060"),
    "back to year 1": (lambda s: s.slots.edit(KEY, "all", start=datetime(1, 1, 1)), "start = 0001"),
    "a preview": (lambda s: s.slots.preview_edit(KEY, "all", start=datetime(4060, 1, 6)), "start = 4060"),
    "one slot": (lambda s: s.slots.edit(KEY, "this", start=datetime(9999, 12, 31, 10)), "start = 9999"),
    "its last hour": (lambda s: s.slots.edit(KEY, "this", start=datetime(9999, 12, 31, 23, 30)), "start = 9999"),
    "created": (lambda s: s.slots.create_template(**HALL | {"dtstart": datetime(9999, 12, 30)}), "dtstart = 9999"),
    "created early": (lambda s: s.slots.create_template(**HALL | {"dtstart": datetime(1, 1, 1)}), "dtstart = 0001"),
    "an extra date": (lambda s: s.slots.change_template(1, rdates=[datetime(9999, 12, 31)]), "rdates = "),
    "an excluded date": (lambda s: s.slots.change_template(1, exdates=[date(1, 1, 1)]), "exdates = "),
    "notice": (lambda s: s.slots.change_template(1, closes_before=timedelta(days=-9999)), "closes_before = "),
    "through the ORM": (lambda s: stored(s, starts_at=END), "starts_at = 9999"),
    "an end through the ORM": (lambda s: stored(s, ends_at=END), "ends_at = 9999"),
    "from a file": (lambda s: imported(s, starts_at="9999-12-31T23:30:00-11:00"), "starts_at = 9999"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_FAR)
def test_what_lies_too_far_away_is_refused(site: Site, name: str) -> None:
    """The field, the value and what is expected are named, whichever way it comes, and feeds are as they were."""
    site.add(timezone="Europe/Madrid")
    before = site.slots.calendar().content
    act, text = TOO_FAR[name]
    with pytest.raises(RollingSlotsError, match=text) as refused:
        act(site)
    assert "expected" in str(refused.value)
    site.session.rollback()
    assert site.slots.calendar().content == before


def test_the_farthest_that_may_be_said_is_read_everywhere(site: Site) -> None:
    """A slot in 9990, opening and notice of ten years and a window at the end of the calendar take no page down."""
    year = timedelta(days=3660)
    site.add(timezone="Europe/Madrid", opens_before=year, closes_before=-year, cancel_before=year)
    site.add(name="Far", dtstart=datetime(9990, 12, 1, 10), timezone="America/New_York")
    site.slots.edit(KEY, "this", start=datetime(9990, 12, 30, 10))
    site.slots.edit("1@20260107T1000", "all", start=datetime(2035, 12, 1, 11))
    site.session.commit()
    site.slots.generate()
    end = datetime(9992, 12, 31, 23, tzinfo=UTC)
    assert site.slots.between(datetime(9990, 12, 30, tzinfo=UTC), end)[0].starts_at.year == 9990
    site.slots.cancel("2@99981201T1000")
    site.session.commit()
    assert site.slots.events("9990-12-01", "9990-12-31")
    assert b"99901230T100000" in site.slots.calendar().content
    assert site.slots.stats().total.slots == len(site.rows())
    for form in ("json", "ics"):
        assert site.slots.export(form=form).content


def test_a_stored_time_beyond_all_bounds_breaks_only_its_own_template(site: Site) -> None:
    """A shift of two thousand years, stored before that was refused, leaves everybody else in the calendar."""
    site.add(name="Odd")
    site.add(name="Other")
    site.slots.edit(KEY, "this", start=datetime(2026, 1, 6, 9))
    site.session.commit()
    table = table_of(site.slots.Template)
    far = {"shift": timedelta(days=2034 * 365)}
    site.session.execute(update(table).where(table.c.id == 1).values(**far))
    site.session.commit()
    assert b"SUMMARY:Other" in site.slots.calendar().content
    assert len(site.slots.between(MONDAY, MONDAY + timedelta(days=7), template=2)) == 56
    assert site.slots.events("2026-01-05", "2026-01-12")


def test_figures_leave_out_the_centuries_without_slots(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One slot in the year 4060 adds the changes of clocks of its own years to a query, not those of all between."""
    from flask_rollingslots import statistics

    cut: list[Any] = []
    count = statistics._count
    monkeypatch.setattr(statistics, "_count", lambda work, stats, spells, *more: cut.append(spells) or count(
        work, stats, spells, *more))  # fmt: skip
    site.add(timezone="Europe/Madrid")
    site.slots.cancel("1@40600706T1000")
    site.slots.cancel(KEY)
    site.session.commit()
    stats = site.slots.stats()
    assert stats.total.cancelled == 2
    assert sorted(stats.total.hours) == [10]
    assert len(cut[0]) <= 20
