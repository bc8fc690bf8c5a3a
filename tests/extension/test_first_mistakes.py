"""What a newcomer gets wrong in the first hour: each refusal says what to do instead."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from helpers import HALL, Clock, Site

from flask_rollingslots import ConfigError, RollingSlots
from flask_rollingslots.errors import InvalidRequest, InvalidRule, InvalidTemplate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"timezone": ZoneInfo("Europe/Vienna")}, InvalidTemplate, "IANA zone as text, such as 'Europe/Madrid'"),
        ({"exdates": date(2026, 12, 24)}, InvalidTemplate, "exdates = datetime.date(2026, 12, 24): expected a list"),
        ({"exdates": "2026-12-24"}, InvalidTemplate, "exdates = '2026-12-24': expected a list"),
        ({"blackouts": 5}, InvalidTemplate, "blackouts = 5: expected a list"),
        ({"rrule": "FREQ=WEEKLY; BYDAY=MO, TU"}, InvalidRule, "BYDAY: 'MO, TU' has spaces; expected no spaces"),
        ({"price": 38}, InvalidTemplate, "price is not a field of a template. The nearest of "),
        ({"price": 38}, InvalidTemplate, "Fields of your own go into data."),
        ({"holidays": "Austria"}, InvalidRule, "an ISO country code such as ES, or a subdivision such as ES-MD."),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_template_that_is_nearly_right(
    site: Site, fields: dict[str, Any], error: type[Exception], says: str
) -> None:
    """The error of a wrong field names the field, the value and what is expected, in a few lines."""
    with pytest.raises(error) as refused:
        site.slots.create_template(**{**HALL, **fields})
    assert says in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["name", "dtstart", "duration"])
def test_a_field_that_is_forgotten(site: Site, name: str) -> None:
    """A field without which there is no template is explained, not only named."""
    fields = {key: value for key, value in HALL.items() if key != name}
    with pytest.raises(InvalidTemplate, match=f"^{name} is missing: expected .{{20}}"):
        site.slots.create_template(**fields)


@pytest.mark.parametrize(
    ("call", "args", "field"),
    [
        ("upcoming", [None], "template"),
        ("cancel_future", [None, date(2026, 1, 6)], "template"),
        ("delete_series", [None], "template"),
        ("explain", [None, datetime(2026, 1, 6)], "template"),
        ("change_template", [None], "template"),
        ("get", [None], "key"),
        ("materialize", [None], "key"),
        ("cancel", [None], "key"),
        ("edit", [None, "this"], "key"),
    ],
)
def test_nothing_where_something_is_needed(site: Site, call: str, args: list[Any], field: str) -> None:
    """``None`` is refused by the name of the argument: what was looked up before is not there."""
    with pytest.raises(InvalidRequest, match=f"^{field} = None: expected a ") as refused:
        getattr(site.slots, call)(*args)
    assert (refused.value.field, refused.value.value) == (field, None)  # type: ignore[attr-defined]


def test_a_user_id_as_who(site: Site) -> None:
    """Who books with a number reads that it was a number, and how to give it."""
    slot = site.slots.upcoming(site.add(), n=1)[0]
    with pytest.raises(InvalidRequest) as refused:
        site.slots.book(slot.key, who=7)  # type: ignore[arg-type]
    assert str(refused.value).startswith("who = 7: expected a text")
    assert str(refused.value).endswith("an id as str(user.id)")


@pytest.mark.parametrize(("call", "more"), [("confirm", ()), ("release", ()), ("move", ("1@20260105T1000",))])
def test_a_booking_that_was_not_found(site: Site, call: str, more: tuple[str, ...]) -> None:
    """Who hands in ``None``, the result of a query without a row, reads which argument it was."""
    with pytest.raises(InvalidRequest, match=r"^booking = None: expected a booking or its id$"):
        getattr(site.slots, call)(None, *more)


def test_a_page_that_asks_with_a_naive_time(site: Site) -> None:
    """``datetime.now()`` is refused with the call that is right."""
    now = datetime.now()  # noqa: DTZ005 (that is the mistake)
    with pytest.raises(InvalidRequest, match=r"such as datetime\.now\(UTC\)"):
        site.slots.between(now, now + timedelta(days=7))


@pytest.mark.parametrize("prefix", ["ROLLING_SLOTS_", "ROLLINGSLOT_", "ROLLING_SLOT_"])
def test_a_setting_whose_prefix_is_nearly_right(prefix: str, tmp_path: Path) -> None:
    """A setting is not ignored because an underscore or an S is wrong."""
    app = Flask("wrong", instance_path=str(tmp_path))
    app.config[f"{prefix}WINDOW_DAYS"] = 14
    with pytest.raises(ConfigError, match=rf"^{prefix}WINDOW_DAYS is not .* mean ROLLINGSLOTS_WINDOW_DAYS\?"):
        RollingSlots(app)


def test_settings_of_others_are_left_alone(tmp_path: Path) -> None:
    """What only begins like our prefix is somebody else's."""
    app = Flask("fine", instance_path=str(tmp_path))
    app.config.update(ROLLING_STOCK=3, ROLLINGSLOTSX=1)
    RollingSlots(app)


def test_commands_before_the_first_offer(sqlite_url: str, tmp_path: Path) -> None:
    """Without a template ``status`` and ``generate`` say what is lacking instead of praising an empty window."""
    app = Site(sqlite_url, tmp_path).app
    for command in ("status", "generate"):
        result = app.test_cli_runner().invoke(args=["slots", command])
        assert result.exit_code == 0
        assert "There is no active template: slots.create_template(...)" in result.stdout


def test_status_says_how_to_fill(sqlite_url: str, tmp_path: Path) -> None:
    """What is not stored yet is nothing to worry about: visitors fill it, or a command that is named."""
    site = Site(sqlite_url, tmp_path)
    with site.app.app_context():
        site.add()
    shown = site.app.test_cli_runner().invoke(args=["slots", "status"])
    assert "`flask slots generate` does so now" in shown.stdout
    site.app.test_cli_runner().invoke(args=["slots", "generate"])
    assert "flask slots generate" not in site.app.test_cli_runner().invoke(args=["slots", "status"]).stdout


def test_the_list_of_templates_tells_segments_apart(sqlite_url: str, tmp_path: Path) -> None:
    """After an edit of "this and following" both rows of a series say from when, or before when, they hold."""
    site = Site(sqlite_url, tmp_path, clock=Clock())
    with site.app.app_context():
        slot = site.slots.upcoming(site.add(), n=20)[-1]
        site.slots.edit(slot.key, "this_and_future", capacity=5)
        site.slots.db.session.commit()
        day = slot.original_start.date()
    lines = site.app.test_cli_runner().invoke(args=["slots", "templates"]).stdout.splitlines()
    assert [f"before {day}" in lines[0], f"from {day}" in lines[1]] == [True, True]


def test_the_doctor_gives_a_command_that_works(sqlite_url: str, tmp_path: Path) -> None:
    """The advice for SQLite can be pasted: afterwards the doctor has nothing to say about it."""
    app = Site(sqlite_url, tmp_path).app

    def advice() -> list[str]:
        found = json.loads(app.test_cli_runner().invoke(args=["slots", "doctor", "--json"]).stdout)
        return [each["advice"] for each in found if each["code"] == "sqlite_wal"]

    (text,) = advice()
    command = text.splitlines()[-1].strip().replace("python ", f"{shlex.quote(sys.executable)} ", 1)
    subprocess.run(command, shell=True, check=True)  # noqa: S602 (what a reader does)
    assert advice() == []
