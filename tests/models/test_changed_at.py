"""When something was last changed: what feeds tell calendar programs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "1@20260106T1000"


def edit_row(site: Site) -> None:
    """Change a stored slot as an app may do it."""
    site.slots.get(KEY).data = {"coach": "Ada"}


DECISIONS: dict[str, Callable[[Site], Any]] = {
    "cancel": lambda site: site.slots.cancel(KEY),
    "cancel from here on": lambda site: site.slots.cancel(KEY, "this_and_future"),
    "delete": lambda site: site.slots.delete(KEY),
    "move": lambda site: site.slots.edit(KEY, "this", start=datetime(2026, 1, 6, 19)),
    "complete": lambda site: site.slots.complete(KEY),
    "through the ORM": edit_row,
}


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Site:
    """A site with a filled week."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        site.add()
        site.slots.generate()
    return site


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_about_a_slot_is_dated(site: Site, name: str) -> None:
    """Whatever somebody decides about a slot, its row says when."""
    with site.app.app_context():
        assert site.slots.get(KEY).changed_at is None
        now = site.clock.turn(hours=1)
        DECISIONS[name](site)
        site.session.commit()
        row = next(row for row in site.rows() if row.key == KEY)
        assert row.changed_at == now


def test_restoring_what_is_there_and_booking_change_nothing(site: Site) -> None:
    """Places that are taken are no change of the slot, nor is a restore that finds nothing to do."""
    with site.app.app_context():
        site.clock.turn(hours=1)
        site.slots.restore(KEY)
        site.slots.book(KEY)
        site.session.commit()
        assert site.slots.get(KEY).changed_at is None


def test_a_template_says_when_it_was_changed(site: Site) -> None:
    """A changed template is dated, one that is only touched is not; the later part of a cut series begins anew."""
    with site.app.app_context():
        template = site.session.get(site.slots.Template, 1)
        template.name = str(template.name)
        site.session.commit()
        assert (template.created_at, template.changed_at, template.revision) == (MONDAY, None, 1)
        template.name = "Big hall"
        site.session.commit()
        assert (template.changed_at, template.revision) == (MONDAY, 2)
        now = site.clock.turn(hours=1)
        site.slots.edit("1@20260108T1000", "this_and_future", duration=timedelta(minutes=30))
        site.session.commit()
        assert template.changed_at == now
        assert site.session.get(site.slots.Template, 2).changed_at is None
