"""A preview that would no longer do what it showed is refused, and nothing is written."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Site

from flask_rollingslots.errors import StaleEdit

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "1@20260106T1000"


def refuse(site: Site, preview: Any) -> None:
    """Apply a preview, which is stale by now."""
    with pytest.raises(StaleEdit):
        site.slots.apply_edit(preview)
    site.session.commit()


def test_a_preview_whose_new_slots_are_others_by_now(site: Site) -> None:
    """A day later the window has another first and last day: five new slots are not the six that were shown."""
    site.add(rrule="FREQ=WEEKLY", dtstart=datetime(2026, 1, 5, 10), every=None, until_time=None)
    site.slots.generate(days=7)
    preview = site.slots.preview_edit("1@20260105T1000", "this_and_future", rrule="FREQ=DAILY")
    assert len(preview.created) == 6
    site.clock.turn(days=1, hours=4)
    refuse(site, preview)
    assert site.session.get(site.slots.Template, 1).rrule == "FREQ=WEEKLY"


@pytest.mark.parametrize(
    ("scope", "changes"),
    [
        ("this", {"capacity": 4}),
        ("this", {"data": {"a": 1}}),
        ("all", {"data": {"a": 1}}),
        ("all", {"capacity": 4}),
    ],
)
@pytest.mark.parametrize("act", ["book", "hold", "complete"])
def test_a_booking_or_a_decision_in_between(
    site: Site, scope: str, changes: dict[str, Any], act: str
) -> None:
    """Whoever looked has not seen it: the preview is refused also where the change would be the same."""
    site.add(capacity=2)
    site.slots.generate()
    preview = site.slots.preview_edit(KEY, scope, **changes)
    getattr(site.slots, act)(KEY)
    site.session.commit()
    if (scope, act) == ("this", "complete"):
        with pytest.raises(Exception, match=r"completed|stale"):
            site.slots.apply_edit(preview)
        return
    refuse(site, preview)
    assert (site.slots.get(KEY).capacity, site.slots.get(KEY).data) == (2, {})


@pytest.mark.parametrize(
    "between",
    [
        lambda slots: slots.edit(KEY, "this", capacity=7),
        lambda slots: slots.edit("1@20260107T1000", "all", data={"a": 1}),
    ],
)
def test_a_preview_without_changes_is_looked_at_too(site: Site, between: Callable[[Any], Any]) -> None:
    """Nothing was to be done when it was shown; by now it would be, or the series is another one."""
    site.add(capacity=2)
    site.slots.generate()
    site.slots.edit(KEY, "this", capacity=4)
    site.session.commit()
    preview = site.slots.preview_edit(KEY, "this", capacity=4)
    assert preview.changed == ()
    assert site.slots.apply_edit(preview).changed == ()
    between(site.slots)
    site.session.commit()
    refuse(site, preview)
