"""What one template may cost is limited by settings, through every door; what there was before stays usable."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from api_site import ApiSite
from helpers import HALL

from flask_rollingslots.errors import ConfigError, InvalidTemplate, RollingSlotsError
from flask_rollingslots.models import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMITS = {
    "ROLLINGSLOTS_SLOTS_PER_DAY_MAX": 24,
    "ROLLINGSLOTS_SLOTS_PER_WINDOW_MAX": 100,
    "ROLLINGSLOTS_DATA_BYTES_MAX": 200,
    "ROLLINGSLOTS_BLACKOUTS_MAX": 2,
    "ROLLINGSLOTS_DATES_MAX": 5,
}
MINUTES = timedelta(minutes=10)
DAYS = [date(2026, 3, number) for number in (1, 3, 5)]
MOMENTS = [datetime(2026, 2, number, 9) for number in range(1, 7)]
#: Field -> what is too much of it, and how the refusal begins and ends.
TOO_MUCH: dict[str, tuple[dict[str, Any], str]] = {
    "day": (
        {"every": MINUTES, "duration": MINUTES},
        "every = 0:10:00: expected at most 24 slots a day, not 48",
    ),
    "window": (
        {"window_days": 30},
        "window_days = 30: expected at most 100 slots in a window of 30 days, not 240",
    ),
    "data": ({"data": {"note": "é" * 100}}, "data = 212: expected at most 200 bytes as JSON"),
    "blackouts": (
        {"blackouts": [(day, day) for day in DAYS]},
        "blackouts = 3: expected at most 2 ranges of days",
    ),
    "dates": (
        {"rdates": MOMENTS[:4], "exdates": MOMENTS[4:]},
        "rdates = 6: expected at most 5 single dates, rdates and exdates together",
    ),
}
KEY = "1@20260106T1000"


def in_json(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a template as HTTP and files have them."""
    return {FIELDS[name].key: FIELDS[name].kind.write(value) for name, value in fields.items()}


def file_of(fields: dict[str, Any]) -> bytes:
    """Return a JSON file with one template."""
    told = {name: value for name, value in (HALL | fields).items() if name != "rrule"}
    rule = {"type": "rrule", "rrule": HALL["rrule"]}
    return json.dumps({"templates": [{**in_json(told), "recurrence": rule}]}).encode()


def orm_change(site: ApiSite, fields: dict[str, Any]) -> None:
    """Change a template as an app does."""
    template = site.slots.get_template(1)
    for name, value in fields.items():
        setattr(template, name, value)
    site.session.commit()


def orm_add(site: ApiSite, fields: dict[str, Any]) -> None:
    """Add a template as an app does."""
    site.session.add(site.slots.Template(**HALL | fields))
    site.session.commit()


FACADE: dict[str, Callable[[ApiSite, dict[str, Any]], Any]] = {
    "create": lambda site, fields: site.slots.create_template(**HALL | fields),
    "create, dry": lambda site, fields: site.slots.create_template(dry_run=True, **HALL | fields),
    "preview": lambda site, fields: site.slots.preview_template(**HALL | fields),
    "change": lambda site, fields: site.slots.change_template(1, **fields),
    "change, dry": lambda site, fields: site.slots.change_template(1, dry_run=True, **fields),
    "edit all": lambda site, fields: site.slots.edit(KEY, "all", **fields),
    "edit later": lambda site, fields: site.slots.edit(KEY, "this_and_future", **fields),
    "preview of an edit": lambda site, fields: site.slots.preview_edit(KEY, "all", **fields),
    "orm, added": orm_add,
    "orm, changed": orm_change,
    "file": lambda site, fields: site.slots.import_templates(file_of(fields)),
    "file, dry": lambda site, fields: site.slots.import_templates(file_of(fields), dry_run=True),
}
HTTP: dict[str, tuple[str, str, bool]] = {
    "POST": ("POST", "/templates", True),
    "POST, dry": ("POST", "/templates?", True),
    "PATCH template": ("PATCH", "/templates/1", False),
    "PATCH slots": ("PATCH", f"/slots/{KEY}?scope=all", False),
}


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> ApiSite:
    """A site with low limits and one template that keeps them."""
    site = ApiSite(sqlite_url, tmp_path, **LIMITS)
    site.fill("Hall")
    return site


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_what_is_too_much_is_refused_at_every_door(site: ApiSite, kind: str) -> None:
    """Field, value, limit and setting are named; nothing is stored, through facade, ORM, files, HTTP and commands."""
    fields, text = TOO_MUCH[kind]
    for name, door in FACADE.items():
        with site.app.app_context():
            with pytest.raises(RollingSlotsError) as refused:
                door(site, fields)
            assert text in str(refused.value), name
            assert "ROLLINGSLOTS_" in str(refused.value), name
            site.session.rollback()
    for name, (method, path, is_whole) in HTTP.items():
        body = in_json(HALL | fields if is_whole else fields) | ({"dry_run": True} if "dry" in name else {})
        answer = site.call(method, path.rstrip("?"), body)
        assert answer.status_code == 422, (name, answer.json)
        assert text in answer.json["detail"], name
    result = site.app.test_cli_runner().invoke(args=["slots", "import", "-"], input=file_of(fields))
    assert result.exit_code == 2
    assert text in result.output
    with site.app.app_context():
        (template,) = site.slots.templates()
        assert all(getattr(template, name) == HALL.get(name, FIELDS[name].initial) for name in fields)
        assert template.revision == 1


def calendar_of(body: str) -> bytes:
    """Return a calendar with one event of five minutes."""
    event = f"BEGIN:VEVENT\nUID:x\nDTSTART:20260105T090000\nDURATION:PT5M\n{body}END:VEVENT\n"
    return f"BEGIN:VCALENDAR\n{event}END:VCALENDAR\n".encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            "".join(f"RDATE:2026030{day}T090000\n" for day in range(1, 7)),
            "rdates = 6: expected at most 5 single",
        ),
        (
            "EXDATE:20260301,20260302,20260303\nEXDATE:20260304,20260305,20260306\n",
            "rdates = 6: expected at most 5 single dates",
        ),
        (f"DESCRIPTION:{'x' * 200}\n", "expected at most 200 bytes as JSON"),
        ("RRULE:FREQ=DAILY;BYHOUR=8,9,10,11,12;BYMINUTE=0,10,20,30,40\n", "at most 24 slots a day, not 25"),
        ("RRULE:FREQ=HOURLY;BYMINUTE=0,30\n", "at most 24 slots a day, not 48"),
    ],
)
def test_limits_hold_for_calendars_too(site: ApiSite, body: str, text: str) -> None:
    """Nobody gets past a limit by many lines of one property, or by a rule that a grid would be refused for."""
    with site.app.app_context(), pytest.raises(RollingSlotsError) as refused:
        site.slots.import_templates(calendar_of(body))
    assert "VEVENT 1 ('x')" in str(refused.value)
    assert text in str(refused.value)


def test_many_lines_of_one_property_are_not_even_read(site: ApiSite) -> None:
    """A calendar with 60 lines of a thousand dates each is refused before its dates are read."""
    line = f"RDATE:{','.join(['20260301T090000'] * 1000)}\n"
    with site.app.app_context(), pytest.raises(RollingSlotsError, match=r"RDATE = .*at most 10000 dates"):
        site.slots.import_templates(calendar_of(line * 60))


def test_data_of_one_slot_is_limited_too(site: ApiSite) -> None:
    """Data that is merged into a slot, set through the ORM or brought by a file cannot grow beyond the limit."""
    with site.app.app_context():
        site.slots.edit(KEY, "this", data={"a": "x" * 100})
        site.session.commit()
        with pytest.raises(InvalidTemplate, match="DATA_BYTES_MAX"):
            site.slots.edit(KEY, "this", data={"b": "x" * 100})
        site.session.rollback()
        slot = site.slots.materialize(KEY)
        slot.data["b"] = "x" * 100
        with pytest.raises(InvalidTemplate, match="DATA_BYTES_MAX"):
            site.session.commit()
        site.session.rollback()
        assert site.slots.get(KEY).data == {"a": "x" * 100}
        content = json.loads(file_of({}))
        content["templates"][0]["overrides"] = [
            {"original_start": "2026-01-07T10:00", "status": "scheduled", "data": {"a": "x" * 300}}
        ]
        with pytest.raises(RollingSlotsError, match="DATA_BYTES_MAX"):
            site.slots.import_templates(json.dumps(content).encode())
        assert len(site.slots.templates()) == 1


def test_days_are_closed_up_to_the_limit(site: ApiSite) -> None:
    """Closing one day too many is refused with the limit, and the days that are closed stay so."""
    with site.app.app_context():
        site.slots.close(DAYS[0])
        site.slots.close(DAYS[1])
        with pytest.raises(InvalidTemplate, match=r"blackouts = 3: .*BLACKOUTS_MAX"):
            site.slots.close(DAYS[2])
        site.session.rollback()
        site.slots.close(date(2026, 3, 4), date(2026, 3, 9))  # beside those that are there
        site.session.commit()


def test_what_was_there_before_a_limit_stays_usable(sqlite_url: str, tmp_path: Path) -> None:
    """A template beyond a limit that was lowered is still read, cancelled, closed and renamed; only more is refused."""
    (tmp_path / "other").mkdir()
    generous = ApiSite(sqlite_url, tmp_path / "other")
    generous.fill("Hall", data={"note": "x" * 300}, every=MINUTES, duration=MINUTES, rdates=MOMENTS)
    site = ApiSite(sqlite_url, tmp_path, **LIMITS)
    with site.app.app_context():
        assert len(site.week()) == 7 * 48
        site.slots.cancel(KEY)
        site.slots.close(date(2026, 1, 7))
        site.slots.change_template(1, group="north", dry_run=True)
        site.slots.change_template(1, group="north")
        site.slots.edit("1@20260108T1000", "this_and_future", name="Court", capacity=3)
        site.session.commit()
        with pytest.raises(InvalidTemplate, match="DATA_BYTES_MAX"):
            site.slots.change_template(1, data={"more": 1})
        site.session.rollback()
        site.slots.cancel_future(1, date(2026, 1, 9))
        site.slots.delete_series(1)
        site.session.commit()


@pytest.mark.parametrize("key", LIMITS)
def test_limits_are_checked_as_settings(sqlite_url: str, tmp_path: Path, key: str) -> None:
    """A limit that is no number of at least one is a ConfigError that names it."""
    for value in (0, -1, "many", True, 10**9):
        with pytest.raises(ConfigError, match=f"{key} = "):
            ApiSite(sqlite_url, tmp_path, **{key: value})


def test_a_rule_counts_as_many_slots_as_it_has(site: ApiSite) -> None:
    """A long window is no reason to refuse what has few slots in it: once a week, in one month, ten times at all."""
    few = {"every": None, "until_time": None, "window_days": 3660}
    with site.app.app_context():
        for rrule in (
            "FREQ=MONTHLY;BYDAY=1MO;COUNT=99",
            "FREQ=DAILY;COUNT=10",
            "FREQ=YEARLY;BYMONTH=5;BYDAY=1MO",
        ):
            site.add(**few, rrule=rrule)
        site.add(**few, rrule=None, rdates=MOMENTS[:5])
        with pytest.raises(InvalidTemplate, match="not 523 "):
            site.add(**few, rrule="FREQ=WEEKLY;BYDAY=MO")
