"""New rows hold what planning says, to the microsecond, though no value of them goes through SQLAlchemy one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from helpers import MONDAY, Clock, Site, statements
from sqlalchemy import DateTime, TypeDecorator

from flask_rollingslots import planning
from flask_rollingslots.filling.bulk import array_text
from flask_rollingslots.filling.chunks import Rows
from flask_rollingslots.filling.expansion import expand, micros_of
from flask_rollingslots.models import table_of
from flask_rollingslots.topup import run
from flask_rollingslots.values import TemplateSpec, Window

if TYPE_CHECKING:
    from pathlib import Path

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: Over the change of the clocks in Madrid on 29 March 2026.
CHANGE = datetime(2026, 3, 26, 12, tzinfo=UTC)
#: No two have the times of their slots in common.
OWN_TIMES: tuple[dict[str, Any], ...] = (
    {"opens_before": 2 * DAY, "closes_before": HOUR},
    {"opens_days_before": 3, "opens_time": time(10), "closes_days_before": 1, "closes_time": time(18)},
    {"rrule": "FREQ=HOURLY", "every": None, "until_time": None, "duration": HOUR},
    {"dtstart": datetime(2026, 1, 1, 20), "until_time": time(4), "ends_by": "elapsed", "closes_before": -HOUR / 2},
    {"dtstart": datetime(1998, 1, 1, 9, 7), "opens_before": timedelta(microseconds=3), "shift": timedelta(minutes=1)},
    {"timezone": "Asia/Kathmandu", "dtstart": datetime(2026, 1, 1, 0, 3), "until_time": time(12)},
)  # fmt: skip


def add_templates(site: Site) -> list[TemplateSpec]:
    """Add the templates, and return them as plain data."""
    made = []
    for number, fields in enumerate(OWN_TIMES):
        shift = fields.get("shift")
        template = site.add(
            name=f"{number}", overlapping=True, **{k: v for k, v in fields.items() if k != "shift"}
        )
        if shift:
            template.shift = shift
            site.session.commit()
        made.append(TemplateSpec.of(template))
    return made


@pytest.mark.parametrize("chunk", [37, 20_000])
def test_rows_are_as_planned(
    database_url: str, tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time of each row is planned, over a change of the clocks, cut by chunks too; the next look misses none."""
    monkeypatch.setattr(run, "_FIRST_CHUNK", chunk)
    monkeypatch.setattr(run, "_LARGEST_CHUNK", chunk)
    site = Site(database_url, tmp_path, Clock(CHANGE))
    with site.app.app_context():
        specs = add_templates(site)
        report = site.slots.generate()
        site.session.rollback()
        windows = [planning.window_of(spec, CHANGE, 7, "day") for spec in specs]
        planned = [
            slot
            for spec, window in zip(specs, windows, strict=True)
            for slot in planning.planned(spec, window)
        ]
        expected = [(slot.key, *slot.times) for slot in planned if slot.starts_at > CHANGE]
        rows = site.rows()
        stored = [
            ((row.series_id, row.original_start), *(getattr(row, name) for name in TIMES)) for row in rows
        ]
        assert report.created == len(rows) > 200
        assert stored == sorted(expected)
        assert (site.slots.generate().created, site.slots.generate().existing) == (0, len(rows))


TIMES = ("original_start", "starts_at", "ends_at", "opens_at", "closes_at")


def test_a_later_fill_asks_once_for_what_stands_elsewhere(database_url: str, tmp_path: Path) -> None:
    """A new day of templates with their own times takes as many statements as one of a few templates."""
    counts = []
    site = Site(database_url, tmp_path, Clock(MONDAY))
    with site.app.app_context():
        for day, more in enumerate((1, 1, 11)):
            for number in range(more):
                site.add(name=f"{day} {number}", dtstart=datetime(2026, 1, 1, 9, day + number))
            site.slots.generate()
            site.clock.turn(days=1)
            with statements(site.db.engine) as found:
                assert site.slots.generate().created
            counts.append(
                len([each for each in found if "rolling_slot" in each and "count(*)" in each.lower()])
            )
    assert counts[1] == counts[2] > 0  # both with templates that were looked at before, and new ones


def test_a_column_of_the_app_s_own_kind_is_asked(sqlite_url: str, tmp_path: Path) -> None:
    """Where a column's type writes times otherwise, new rows get them as the type has them."""

    class Reversed(TypeDecorator[datetime]):
        impl, cache_ok = DateTime, True

        def process_bind_param(self, value: datetime | None, dialect: object) -> Any:
            return value and value.replace(tzinfo=None) + DAY

    site = Site(sqlite_url, tmp_path, Clock(MONDAY))
    with site.app.app_context():
        table, dialect = table_of(site.slots.Slot).to_metadata(site.db.MetaData()), site.db.engine.dialect
        table.c.closes_at.type = Reversed()
        rows = Rows(table, dialect)
        assert (rows.way_of("starts_at"), rows.way_of("closes_at")) == (True, "closes_at")


def test_arrays_are_text() -> None:
    """PostgreSQL gets a column of times as one text, with NULL for what is empty."""
    assert array_text(["2026-01-05 09:00:00", None, "2026-01-05 10:00:00"]) == (
        "{2026-01-05 09:00:00,NULL,2026-01-05 10:00:00}"
    )


@pytest.mark.parametrize("count", [1, 24])
def test_an_expansion_is_of_whole_numbers(count: int) -> None:
    """What has started, and between which starts all lie, is told without a datetime for each slot."""
    rule = f"FREQ=HOURLY;COUNT={count}"
    spec = TemplateSpec(1, 1, 1, "", None, True, rule, datetime(2026, 1, 5), "UTC", HOUR)
    found = expand(replace(spec, closes_before=MINUTE), Window(MONDAY - DAY, MONDAY + 7 * DAY))
    assert len(found) == count
    assert found.bounds()[1] - found.bounds()[0] == (count - 1) * HOUR
    assert "times" not in found.forms
    assert found.columns.closes_at[0] == micros_of(found.times[0].starts_at) - 60_000_000
