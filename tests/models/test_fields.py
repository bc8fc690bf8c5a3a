"""A new field of a template is one entry in a table: every door, the database, files and the documentation follow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from api.api_site import ApiSite
from helpers import HALL, Site

from flask_rollingslots.api.answers import TemplateAnswer
from flask_rollingslots.api.bodies import SlotChange, TemplateBody, TemplateChange
from flask_rollingslots.errors import InvalidTemplate
from flask_rollingslots.models import FIELDS, Change, check_template, tables
from flask_rollingslots.values import TemplateSpec

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
HELPERS = (ROOT / "tests", ROOT / "tests" / "api")
#: The entry, and the line of the table before which it stands.
ENTRY = """\
    warm_up: Mapped[timedelta | None] = _field(
        Length(1, whole=True), "how long before its start a slot is prepared"
    )
"""
PLACE = "    active_from: Mapped[datetime | None]"
#: One field more of what HTTP answers, by the model: something that its object knows and no answer tells.
ANSWERS = {
    "SlotAnswer": "hold_until: Instant | None",
    "BookingAnswer": "replaces_id: int | None",
    "RunAnswer": "owner: str | None",
    "WeekTemplate": "active: bool",
    "EditAnswer": "move_booked: bool",
    "EndAnswer": "segments: list[int]",
    "HealthAnswer": "lease_owner: str | None",
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What new_field.py found with a copy of the package: its table has one entry more, its answers a field."""
    folder = tmp_path_factory.mktemp("new")
    shutil.copytree(ROOT / "flask_rollingslots", folder / "flask_rollingslots")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("images", "generated"))
    table = folder / "flask_rollingslots" / "models" / "fields.py"
    before, place, after = table.read_text("utf-8").partition(PLACE)
    assert place
    table.write_text(f"{before}{ENTRY}{place}{after}", "utf-8")
    answers = folder / "flask_rollingslots" / "api" / "answers.py"
    text = answers.read_text("utf-8")
    for model, line in ANSWERS.items():
        text, count = re.subn(rf'(class {model}\(.*\n    """.*"""\n)', rf"\1\n    {line}", text)
        assert count == 1
    answers.write_text(text, "utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *map(str, HELPERS)])}
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("new_field.py")), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "where",
    [
        "column", "create", "check", "change", "cut", "decision", "http create", "http answer", "http check",
        "http change", "http clear", "http dry run", "openapi", "export", "import", "foreign import", "docs",
    ],
)  # fmt: skip
def test_one_entry_is_enough(seen: str, where: str) -> None:
    """One more entry in the table, and nothing else, is seen everywhere."""
    assert f"{where}: yes" in seen.splitlines()


@pytest.mark.parametrize("model", ANSWERS)
def test_an_answer_is_said_once(seen: str, model: str) -> None:
    """One more field of a model, and nothing else, is in the answer and in its description."""
    assert f"{model}: yes" in seen.splitlines()


def test_everything_in_a_spec_is_a_field() -> None:
    """What planning knows of a template is read from its fields by name, and both agree on defaults."""
    for each in fields(TemplateSpec):
        if each.name == "own":  # the app's own columns, which only its classes have
            continue
        field = FIELDS[each.name]
        if isinstance(each.default, str | int | bool):
            assert each.default == field.initial
        assert field.nullable or "None" not in str(each.type) or each.name == "rrule"


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or field.serialization_alias or name for name, field in model.model_fields.items()}


def test_bodies_have_the_fields_that_may_be_said_there() -> None:
    """A new template takes all that a person may give, a change what may change, an answer everything."""
    keys = {change: {f.key for f in FIELDS.values() if f.change is change} for change in Change}
    assert _keys(TemplateBody) == keys[Change.ONCE] | keys[Change.SETTING] | keys[Change.EDIT] | {
        "end",
        "recurrence",
        "dry_run",
    }
    changes = {"recurrence", "move_booked", "dry_run"}
    every = keys[Change.ONCE] | keys[Change.SETTING] | keys[Change.EDIT]
    assert _keys(TemplateChange) == every | changes
    assert _keys(SlotChange) == every | changes | {"scope", "start"}
    said_of_the_rule = {"recurrence", "description", "is_forever", "own"}
    assert _keys(TemplateAnswer) == {f.key for f in FIELDS.values()} | said_of_the_rule


WRONG: dict[str, Any] = {
    "name": " ",
    "group": "",
    "active": 1,
    "rrule": 5,
    "dtstart": "2026-01-05T10:00",
    "timezone": 1,
    "duration": 60,
    "every": 60,
    "until_time": "18:00",
    "capacity": True,
    "rdates": ["2026-01-05T10:00"],
    "exdates": ["2026-01-05"],
    "holidays": 7,
    "blackouts": [("2026-01-05", "2026-01-06")],
    "window_days": 0,
    "opens_before": -1,
    "opens_days_before": -1,
    "opens_time": "18:00",
    "closes_before": 15,
    "closes_days_before": -1,
    "closes_time": "18:00",
    "cancel_before": 15,
    "ends_by": "clock",
    "overlapping": "yes",
    "keep_history": 1,
    "reminder_before": "1 h",
    "max_party": 0,
    "max_per_person": 0,
    "max_per_person_day": "2",
    "max_per_person_week": True,
    "waiting": -1,
    "waiting_auto": "yes",
    "pool": 0,
    "setup": 15,
    "cleanup": "15 min",
    "resource": 4,
    "exclusive": "yes",
    "resource_shared": "yes",
    "data": [],
}


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if not field.is_kept])
def test_each_field_refuses_what_it_cannot_hold(site: Site, name: str) -> None:
    """The error names the field, and nothing is stored."""
    with pytest.raises(InvalidTemplate, match=f"^{name} = .*: expected ") as refused:
        site.slots.create_template(**{**HALL, name: WRONG[name]})
    assert refused.value.details["field"] == name
    assert not list(site.session.new)


@pytest.mark.parametrize(("name", "meant"), [("gruop", "Did you mean group?"), ("shift", "is not a field")])
def test_a_change_refuses_what_nobody_may_give(site: Site, name: str, meant: str) -> None:
    """A name that is no field, or that the library keeps up, is not silently set on the segments."""
    template = site.add()
    with pytest.raises(InvalidTemplate, match=f"^{name} is not a field of a template.*") as refused:
        site.slots.change_template(template, **{name: "x"})
    assert meant in str(refused.value)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the templates that were checked, in order."""
    found: list[str] = []

    def count(template: Any) -> None:
        found.append(template.name)
        check_template(template)

    monkeypatch.setattr(tables, "check_template", count)
    return found


def test_a_template_is_checked_once_unless_it_changes(site: Site, checked: list[str]) -> None:
    """Creating, adding and storing check it once together; a change, also one inside a list, is checked anew."""
    template = site.add(data={"tags": ["a"]})
    assert checked == ["Hall"]
    template.name = "Court"
    site.session.commit()
    assert checked == ["Hall", "Court"]
    template.exdates.append("tomorrow")
    with pytest.raises(InvalidTemplate, match="exdates"):
        site.session.commit()
    site.session.rollback()


def test_http_checks_a_template_once(sqlite_url: str, tmp_path: Path, checked: list[str]) -> None:
    """From the request to the row one check is enough, and a dry run needs no other."""
    site = ApiSite(sqlite_url, tmp_path)
    body = {"name": "Hour", "dtstart": "2026-01-05T10:00", "duration_minutes": 60}
    assert site.call("POST", "/templates", body).status_code == 201
    assert site.call("POST", "/templates", {**body, "name": "Tried", "dry_run": True}).status_code == 200
    assert checked == ["Hour", "Tried"]
