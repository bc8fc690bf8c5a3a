"""A hold keeps its slot where it is while it lasts, and no longer: the slot follows its series afterwards."""

from __future__ import annotations

from datetime import datetime, time
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site, meanwhile
from marks import DATABASES, quick_databases, quick_on

from flask_rollingslots.errors import HoldExpired

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "1@20260107T1000"

# What is only counted is the same on the third; what two do at once is tried there, too.
database_url = quick_databases("sqlite", "postgresql")


@pytest.fixture
def held(database_url: str, tmp_path: Path) -> Iterator[tuple[Site, Any]]:
    """A daily series on each database, with a hold of ten minutes that kept its slot at 10 when the others moved."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.add(dtstart=datetime(2026, 1, 5, 10), every=None, until_time=None, capacity=3)
        site.slots.generate()
        hold = site.slots.hold(KEY, party=2)
        site.session.commit()
        plan = site.slots.edit("1@20260106T1000", "all", start=time(12))
        assert [str(row.key) for row in plan.kept_booked] == [KEY]
        site.session.commit()
        yield site, hold.id


def state(site: Site, hold: int) -> tuple[int, int, int, str]:
    """Return hour, booked places and remembered holds of the slot, and the status of the hold as it is stored."""
    site.session.rollback()
    slot = site.slots.get(KEY)
    return (
        slot.local_start.hour,
        slot.booked,
        len(slot.holds or ()),
        site.session.get(site.slots.Booking, hold).status,
    )


def test_a_slot_follows_its_series_once_its_hold_has_expired(held: tuple[Site, int]) -> None:
    """It is shown where it will be; a top-up moves it and releases the hold. While the hold lasts nothing moves."""
    site, hold = held
    assert site.slots.generate().updated == 0
    assert state(site, hold) == (10, 2, 1, "held")
    site.clock.turn(minutes=10)
    assert site.slots.generate(dry_run=True).updated == 1
    assert state(site, hold) == (12, 2, 1, "held")
    report = site.slots.generate()
    assert (report.updated, report.kept_booked) == (1, 0)
    assert state(site, hold) == (12, 0, 0, "expired")
    assert site.slots.generate().updated == 0


def test_one_of_two_holds_is_enough_to_stay(held: tuple[Site, int]) -> None:
    """A slot with another hold that lasts stays, and loses nothing."""
    site, hold = held
    later = site.slots.hold(KEY, minutes=30)
    site.session.commit()
    site.clock.turn(minutes=10)
    assert site.slots.generate().updated == 0
    assert state(site, hold) == (10, 3, 2, "held")
    site.slots.edit(KEY, "this", data={"a": 1})
    site.session.commit()
    assert state(site, hold) == (10, 1, 1, "expired")
    assert site.slots.confirm(later).status == "confirmed"
    site.session.commit()
    assert site.slots.generate().updated == 0
    assert state(site, hold)[0] == 10


def test_a_slot_whose_rule_is_gone_is_not_told_as_booked(held: tuple[Site, int]) -> None:
    """Like one whose booking was released: it stays, with its history, and no top-up reports it as booked."""
    site, hold = held
    site.slots.edit("1@20260106T1000", "all", rrule="FREQ=WEEKLY")
    site.session.commit()
    site.clock.turn(minutes=9)
    assert site.slots.generate().kept_booked == 1
    site.clock.turn(minutes=1)
    assert site.slots.generate().kept_booked == 0
    assert state(site, hold)[0] == 10


@pytest.mark.parametrize("act", ["this", "all"])
def test_an_edit_releases_what_has_expired(held: tuple[Site, int], act: str) -> None:
    """Also an edit moves the slot then, and whoever confirms with a slow clock finds the hold expired."""
    site, hold = held
    site.clock.turn(minutes=10)
    site.slots.edit(KEY, act, start=time(15), capacity=1)
    site.session.commit()
    assert state(site, hold) == (15, 0, 0, "expired")
    site.clock.turn(minutes=-5)
    with pytest.raises(HoldExpired):
        site.slots.confirm(hold)


@quick_on(*DATABASES)
def test_a_confirmation_at_the_same_moment(held: tuple[Site, int]) -> None:
    """A slow clock confirms while the top-up waits: the slot stays. If it comes second the hold has expired."""
    site, hold = held
    site.session.rollback()
    site.slots.confirm(hold)  # on time, and not committed yet
    site.clock.turn(minutes=10)
    thread, outcome = meanwhile(site, site.slots.generate)
    site.session.commit()
    thread.join(60)
    assert (outcome[0].updated, state(site, hold)) == (0, (10, 2, 0, "confirmed"))
