"""What a template would promise before it is stored, and what the doctor tells an app."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import HALL, Clock, Site

from flask_rollingslots.errors import InvalidRequest, InvalidRule, InvalidTemplate

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 10, 8, 30, tzinfo=UTC)
PARTY: dict[str, Any] = {
    "name": "Party",
    "rrule": "FREQ=WEEKLY;BYDAY=FR",
    "dtstart": datetime(2026, 1, 2, 22, 0),
    "timezone": "Europe/Madrid",
    "duration": timedelta(hours=4),
}


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Site:
    """An app at the moment ``NOW``."""
    return Site(sqlite_url, tmp_path, Clock(NOW))


def starts(site: Site, n: int = 5, **fields: Any) -> list[str]:
    """Return the local starts of what a template with these fields would have."""
    return [f"{slot.local_start:%m-%d %H:%M}" for slot in site.slots.preview_template(n, **fields)]


def test_a_template_is_previewed_without_being_stored(site: Site) -> None:
    """Five virtual slots with state and places; the session stays empty, and so does the database."""
    with site.app.app_context():
        found = site.slots.preview_template(**PARTY, capacity=3)
        assert [f"{slot.local_start:%m-%d %H:%M}" for slot in found] == [
            "03-13 22:00", "03-20 22:00", "03-27 22:00", "04-03 22:00", "04-10 22:00",
        ]  # fmt: skip
        assert {(slot.is_virtual, slot.state, slot.left, slot.template.name) for slot in found} == {
            (True, "open", 3, "Party")
        }
        assert not site.session.new
        site.session.commit()
        assert site.session.query(site.slots.Template).count() == 0


def test_a_preview_is_what_the_stored_template_then_has(site: Site) -> None:
    """Day grid, days off and notice: the same starts and states as `upcoming` gives afterwards."""
    fields = {
        **HALL,
        "timezone": "Europe/Lisbon",
        "holidays": "PT",
        "blackouts": [(date(2026, 3, 12), date(2026, 3, 13))],
        "exdates": [datetime(2026, 3, 11, 11, 0)],
        "opens_days_before": 2,
        "closes_before": timedelta(minutes=90),
    }
    with site.app.app_context():
        before = [(slot.starts_at, slot.state) for slot in site.slots.preview_template(200, **fields)]
        template = site.add(**fields)
        assert [(slot.starts_at, slot.state) for slot in site.slots.upcoming(template, 200)] == before


def test_rules_with_an_end_or_without_any_date_give_what_there_is(site: Site) -> None:
    """Two dates of a count, none of the past, and none of a rule that never matches."""
    with site.app.app_context():
        assert (
            len(starts(site, **{**PARTY, "rrule": "FREQ=DAILY;COUNT=2", "dtstart": datetime(2026, 4, 1, 9)}))
            == 2
        )
        assert starts(site, **{**PARTY, "rrule": "FREQ=DAILY;COUNT=2"}) == []
        assert starts(site, **{**PARTY, "rrule": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"}) == []
        after = datetime(2126, 1, 1, tzinfo=UTC)
        [slot] = site.slots.preview_template(1, after=after, **PARTY)
        assert slot.starts_at == datetime(2126, 1, 4, 21, 0, tzinfo=UTC)


def test_what_is_no_template_is_refused_as_when_it_is_created(site: Site) -> None:
    """The same errors, and the same bounds as `upcoming`."""
    with site.app.app_context():
        with pytest.raises(InvalidTemplate, match="nam is not a field of a template"):
            site.slots.preview_template(nam="Party")
        with pytest.raises(InvalidRule):
            site.slots.preview_template(**{**PARTY, "rrule": "FREQ=NEVER"})
        with pytest.raises(InvalidRequest, match="n = 201: expected a whole number from 1 to 200"):
            site.slots.preview_template(201, **PARTY)
        with pytest.raises(InvalidRequest, match="after"):
            site.slots.preview_template(5, after=datetime(2026, 1, 1), **PARTY)


def test_the_doctor_leaves_the_apps_session_alone(site: Site) -> None:
    """It finds what the command finds, and what the app has not committed yet is still there."""
    with site.app.app_context():
        template = site.slots.create_template(**PARTY)
        codes = {finding.code for finding in site.slots.doctor()}
        assert {"disabled", "cache_per_process"} <= codes
        assert template in site.session
        site.session.commit()
        assert site.session.query(site.slots.Template).count() == 1
