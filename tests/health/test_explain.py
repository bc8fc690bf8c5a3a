"""Why is there (no) slot? Every reason has its code and its sentence."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest
from helpers import MONDAY, Site

from flask_rollingslots.errors import InvalidRequest, TemplateNotFound

if TYPE_CHECKING:
    pass


TEN = MONDAY.replace(hour=10)


def code(site: Site, moment: datetime = TEN, template: int = 1) -> str:
    """Return the reason's code, after a look at its sentence."""
    found = site.slots.explain(template, moment)
    assert found.sentence.startswith("Hall, ")
    assert str(found) == found.sentence
    return found.code


def test_reasons_of_the_rule(site: Site) -> None:
    """A time outside the grid, before the first and after the last start, and excluded days."""
    site.add(
        rrule="FREQ=DAILY;UNTIL=20260120",
        dtstart=datetime(2026, 1, 5, 10),
        exdates=[date(2026, 1, 6)],
        blackouts=[(date(2026, 1, 7), date(2026, 1, 7))],
    )
    assert code(site) == "available"
    assert code(site, TEN.replace(minute=30)) == "not_in_rule"
    assert code(site, TEN - timedelta(days=1)) == "before_start"
    assert code(site, TEN + timedelta(days=1)) == "excluded"
    assert code(site, TEN + timedelta(days=2)) == "blackout"
    assert code(site, TEN + timedelta(days=20)) == "past_end"


def test_a_public_holiday_is_named(site: Site) -> None:
    """A day that a template leaves out as a public holiday has a reason of its own."""
    pytest.importorskip("holidays")
    site.add(holidays="DE")
    assert code(site, datetime(2026, 12, 25, 10, tzinfo=UTC)) == "holiday"
    assert code(site, datetime(2026, 12, 24, 10, tzinfo=UTC)) == "available"


def test_reasons_of_the_slot(site: Site) -> None:
    """Cancelled with its reason, full, not open yet, too late, running, over."""
    site.add(opens_before=timedelta(days=2), closes_before=timedelta(hours=1))
    site.slots.cancel("1@20260105T1100", reason="Floor is wet")
    site.slots.book("1@20260105T1200")
    assert code(site, TEN.replace(hour=11)) == "cancelled"
    assert "Floor is wet" in site.slots.explain(1, TEN.replace(hour=11)).sentence
    assert code(site, TEN.replace(hour=12)) == "full"
    assert code(site, TEN + timedelta(days=5)) == "not_open_yet"
    site.clock.now = TEN - timedelta(minutes=30)
    assert code(site) == "too_late"
    site.session.commit()
    site.slots.generate()
    site.clock.now = TEN
    assert code(site) == "running"
    site.clock.now = TEN + timedelta(hours=1)
    assert code(site) == "in_the_past"


def test_never_stored_and_over(site: Site) -> None:
    """A slot that nobody stored before it began is explained by the past."""
    site.add()
    assert code(site, TEN - timedelta(days=3)) == "in_the_past"


def test_moved_deleted_and_inactive(site: Site) -> None:
    """A moved slot tells where it went; a deleted one that it is gone; a template that is off comes first."""
    template = site.add()
    moved, gone = site.slots.materialize("1@20260105T1000"), site.slots.materialize("1@20260105T1100")
    moved.starts_at += timedelta(minutes=15)
    gone.status = "deleted"
    site.session.commit()
    assert code(site) == "moved"
    assert "10:15" in site.slots.explain(1, TEN).sentence
    assert code(site, TEN.replace(minute=15)) == "available"
    assert code(site, TEN.replace(hour=11)) == "deleted"
    template.active = False
    site.session.commit()
    assert code(site) == "template_inactive"


def test_what_can_be_booked_comes_before_what_was_left_behind(site: Site) -> None:
    """A cancelled slot stays where it was when its series moves on: the moment is that of the slot that came there."""
    site.add()
    site.slots.cancel("1@20260105T1100", reason="Floor is wet")
    site.slots.delete("1@20260105T1200")
    site.slots.edit("1@20260105T1000", "all", start=time(11))
    site.session.commit()
    for _ in range(2):  # with virtual slots, then with rows
        at = [site.slots.explain(1, TEN.replace(hour=hour)) for hour in (11, 12, 13, 14)]
        assert [found.code for found in at] == ["available", "deleted", "deleted", "available"]
        assert [found.key for found in at][::3] == ["1@20260105T1000", "1@20260105T1300"]
        site.slots.generate()
    site.slots.cancel("1@20260105T1000")
    site.session.commit()
    assert code(site, TEN.replace(hour=11)) == "cancelled"


def test_a_slot_is_explained_where_it_is_by_now(site: Site) -> None:
    """One that a hold kept at its old time, and one of a template that the ORM changed, before any top-up."""
    template = site.add()
    site.slots.generate()
    site.slots.hold("1@20260105T1000", minutes=5)
    site.slots.edit("1@20260105T1000", "all", start=time(10, 30))
    site.session.commit()
    assert (code(site), code(site, TEN.replace(minute=30))) == ("full", "moved")
    site.clock.turn(minutes=6)
    assert site.slots.get("1@20260105T1000").starts_at == TEN.replace(minute=30)
    assert (code(site), code(site, TEN.replace(minute=30))) == ("not_in_rule", "available")
    template.blackouts = [(date(2026, 1, 5), date(2026, 1, 5))]
    site.session.commit()
    assert code(site, TEN.replace(hour=11, minute=30)) == "withdrawn"


def test_a_virtual_slot_that_has_begun_is_running(site: Site) -> None:
    """As long as pages show it, it is explained as they show it."""
    site.add()
    site.clock.now = TEN + timedelta(minutes=30)
    assert [s.state for s in site.week() if s.starts_at == TEN] == ["running"]
    assert code(site) == "running"


def test_wrong_questions(site: Site) -> None:
    """A naive moment and an unknown template are told."""
    site.add()
    with pytest.raises(InvalidRequest, match="moment"):
        site.slots.explain(1, datetime(2026, 1, 5))
    with pytest.raises(TemplateNotFound):
        site.slots.explain(9, datetime(2026, 1, 5, tzinfo=UTC))


def test_the_command_takes_the_zone_s_wall_clock(site: Site) -> None:
    """``flask slots explain`` reads a wall-clock time of the template's zone."""
    site.add(timezone="Europe/Madrid")
    runner = site.app.test_cli_runner()
    result = runner.invoke(args=["slots", "explain", "1", "2026-01-05T10:00"])
    assert (result.exit_code, result.stdout.split(":")[0]) == (0, "available")
    assert "10:00 CET" in result.stdout
    assert runner.invoke(args=["slots", "explain", "9", "2026-01-05T10:00"]).exit_code == 2
    assert runner.invoke(args=["slots", "explain", "1", "tomorrow"]).exit_code == 2
