"""An edit in a wide scope takes every field of a template, of all or from a slot on; stored slots follow at once."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from each_database import site, sqlite_site
from helpers import Site

from flask_rollingslots.errors import InvalidRequest, InvalidRule, InvalidTemplate
from flask_rollingslots.models import FIELDS
from flask_rollingslots.series.changes import EDITED

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["site", "sqlite_site"]

BEFORE, FROM, LATER = "1@20260106T1700", "1@20260107T1000", "1@20260108T1000"

#: What is given, and what must be there from the cut on and not before.
GIVEN: dict[str, Any] = {
    "group": "gym",
    "active": False,
    "timezone": "Europe/Madrid",
    "ends_by": "elapsed",
    "every": timedelta(hours=2),
    "until_time": time(14),
    "rdates": [datetime(2026, 1, 9, 20)],
    "exdates": [date(2026, 1, 9)],
    "holidays": "ES",
    "blackouts": [(date(2026, 1, 9), date(2026, 1, 10))],
    "window_days": 9,
    "opens_before": timedelta(days=1),
    "opens_days_before": 2,
    "closes_before": timedelta(hours=2),
    "closes_days_before": 1,
    "cancel_before": timedelta(hours=6),
    "reminder_before": timedelta(hours=1),
    "resource": "court",
    "overlapping": True,
    "keep_history": True,
    "dtstart": datetime(2026, 1, 7, 9),
    "opens_time": time(8),
    "closes_time": time(18),
    "exclusive": True,
    "resource_shared": True,
    "max_party": 2,
    "max_per_person": 2,
    "max_per_person_day": 3,
    "max_per_person_week": 4,
    "waiting": 5,
    "waiting_auto": True,
    "pool": 3,
    "setup": timedelta(minutes=15),
    "cleanup": timedelta(minutes=10),
}
#: What goes only with something else.
WITH: dict[str, dict[str, Any]] = {
    "opens_time": {"opens_days_before": 2},
    "closes_time": {"closes_days_before": 1},
    "exclusive": {"resource": "court"},
    "pool": {"resource": "court"},
}


def test_no_field_is_forgotten() -> None:
    """Every field that a person may give to a new template is tried here, or has a meaning of its own in an edit."""
    assert set(GIVEN) == {name for name, field in FIELDS.items() if not field.is_kept} - set(EDITED)


@pytest.mark.parametrize("name", GIVEN)
def test_a_field_from_a_slot_on(sqlite_site: Site, name: str) -> None:
    """The cut segment gets the value, the part before keeps its own; a preview writes nothing."""
    site = sqlite_site
    template = site.add()
    site.slots.generate()
    before = getattr(template, name)
    changes = {name: GIVEN[name], **WITH.get(name, {})}
    assert site.slots.preview_edit(FROM, "this_and_future", **changes).to_dict()["cuts"]
    assert site.session.get(site.slots.Template, 2) is None
    site.slots.edit(FROM, "this_and_future", **changes)
    site.session.commit()
    later = site.session.get(site.slots.Template, 2)
    assert (getattr(template, name), getattr(later, name)) == (before, GIVEN[name])


@pytest.mark.parametrize("name", sorted(GIVEN.keys() - {"dtstart"}))
def test_a_field_of_all(sqlite_site: Site, name: str) -> None:
    """All segments of a series that was cut get it."""
    site = sqlite_site
    site.add()
    site.slots.edit(FROM, "this_and_future", capacity=4)
    site.session.commit()
    site.slots.edit(FROM, "all", **{name: GIVEN[name], **WITH.get(name, {})})
    site.session.commit()
    found = site.session.scalars(site.db.select(site.slots.Template)).all()
    assert [getattr(each, name) for each in found] == [GIVEN[name]] * 2


def starts(site: Site) -> list[str]:
    """Return the stored slots by their shown start."""
    site.session.expire_all()
    return sorted(f"{row.starts_at:%d %H}" for row in site.rows())


def test_stored_slots_follow_at_once(site: Site) -> None:
    """What the rule does not have any more goes with the edit, not only with the next top-up; the preview says so."""
    site.add()
    site.slots.generate()
    preview = site.slots.preview_edit(
        FROM, "this_and_future", blackouts=[(date(2026, 1, 9), date(2026, 1, 9))]
    )
    assert preview.to_dict()["counts"]["removed"] == 8
    site.slots.apply_edit(preview)
    site.session.commit()
    assert not any(start.startswith("09") for start in starts(site))
    back = site.slots.preview_edit(LATER, "all", blackouts=[])
    assert back.to_dict()["counts"]["created"] == 8
    site.slots.edit(LATER, "this_and_future", until_time=time(12), exdates=[date(2026, 1, 10)])
    site.session.commit()
    assert [start for start in starts(site) if start[:2] in ("07", "08", "10")] == [
        *(f"07 {hour}" for hour in range(10, 18)),
        "08 10",
        "08 11",
    ]


def test_opening_and_notice_of_stored_slots_follow(site: Site) -> None:
    """Also of a booked one: its times stay, and what can be booked of it goes by the new notice."""
    site.add()
    site.slots.generate()
    site.slots.book(LATER)
    site.session.commit()
    site.slots.edit(FROM, "this_and_future", opens_before=timedelta(days=2), closes_before=timedelta(hours=3))
    site.session.commit()
    slot, earlier = site.slots.get(LATER), site.slots.get(BEFORE)
    assert (slot.starts_at - slot.opens_at, slot.starts_at - slot.closes_at) == (
        timedelta(days=2),
        timedelta(hours=3),
    )
    assert (earlier.opens_at, earlier.closes_at) == (None, earlier.starts_at)


REFUSED: dict[str, Callable[[Site], Any]] = {
    "holidays = 'ES': expected holidays only with this_and_future or all": lambda site: site.slots.edit(
        LATER, "this", holidays="ES"
    ),
    "window_days = 0: expected": lambda site: site.slots.edit(LATER, "all", window_days=0),
    "exclusive = True: expected a resource too": lambda site: site.slots.preview_edit(
        LATER, "all", exclusive=True
    ),
    "opens_time": lambda site: site.slots.preview_edit(LATER, "this_and_future", opens_time=time(8)),
    "timezone": lambda site: site.slots.preview_edit(LATER, "all", timezone="Nowhere/City"),
    "holydays cannot be edited. Did you mean holidays": lambda site: site.slots.edit(
        LATER, "all", holydays="ES"
    ),
    "either start or dtstart": lambda site: site.slots.edit(
        LATER, "all", start=time(9), dtstart=datetime(2026, 1, 1, 9)
    ),
}


@pytest.mark.parametrize("expected", REFUSED)
def test_what_is_refused(sqlite_site: Site, expected: str) -> None:
    """A refusal names the field, also of a preview, and nothing was written."""
    site = sqlite_site
    site.add()
    site.slots.generate()
    with pytest.raises((InvalidRequest, InvalidTemplate, InvalidRule), match=expected):
        REFUSED[expected](site)
    site.session.commit()
    assert site.session.get(site.slots.Template, 1).revision == 1


def test_both_doors_to_all_do_the_same(sqlite_site: Site) -> None:
    """``change_template`` settles stored slots as ``edit`` does, and says what it did; what is empty is empty again."""
    site = sqlite_site
    site.add(holidays="ES")
    site.slots.generate()
    assert len(site.rows()) == 6 * 8  # without Epiphany
    change = site.slots.change_template(1, holidays=None, group="gym", exdates=[date(2026, 1, 9)])
    site.session.commit()
    assert change.plan is not None
    counts = change.plan.to_dict()["counts"]
    assert (counts["created"], counts["removed"]) == (8, 8)
    assert (change.segments[0].holidays, change.segments[0].group) == (None, "gym")
