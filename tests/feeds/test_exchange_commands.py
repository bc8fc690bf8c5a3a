"""``flask slots export`` and ``import``: files, options, and all or nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from exchange_site import Desk, events
from sqlalchemy import event

from flask_rollingslots.errors import InvalidRequest
from flask_rollingslots.feeds import export_templates, import_templates

if TYPE_CHECKING:
    from pathlib import Path

YOGA = "UID:yoga\nSUMMARY:Yoga\nDTSTART:20260105T090000\nDURATION:PT1H\nRRULE:FREQ=DAILY\n"
CANCELLED = "UID:yoga\nRECURRENCE-ID:20260106T090000\nSTATUS:CANCELLED\nCOMMENT:ill\n"
MOVED = "UID:yoga\nRECURRENCE-ID:20260107T090000\nDTSTART:20260107T150000\nDURATION:PT2H\n"


def test_files_in_and_out_on_each_database(database_url: str, tmp_path: Path) -> None:
    """An .ics file becomes a template with its decisions, which go out to a file again."""
    desk = Desk(database_url, tmp_path, ROLLINGSLOTS_TIMEZONE="Europe/Madrid")
    source, target = tmp_path / "in.ics", tmp_path / "out.json"
    source.write_text(events(YOGA, CANCELLED, MOVED))
    result = desk.run("import", str(source), "--group", "north")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Imported templates: 1, decisions about slots: 2.\n")
    with desk.app.app_context():
        found = desk.slots.between(
            datetime(2026, 1, 6, tzinfo=UTC), datetime(2026, 1, 8, tzinfo=UTC), group="north"
        )
        assert [(slot.state, slot.starts_at.hour) for slot in found] == [("cancelled", 8), ("open", 14)]
        assert found[0].cancel_reason == "ill"
        assert found[1].ends_at - found[1].starts_at == timedelta(hours=2)
        desk.slots.generate()
        assert [slot.status for slot in desk.rows()].count("cancelled") == 1
    assert desk.run("export", "--output", str(target)).stdout == ""
    (template,) = json.loads(target.read_text())["templates"]
    assert [each["status"] for each in template["overrides"]] == ["cancelled", "scheduled"]
    assert template["timezone"] == "Europe/Madrid"


def test_ics_out_and_in(desk: Desk) -> None:
    """What was exported as .ics is imported with the same slots; inactive templates are counted on stderr."""
    with desk.app.app_context():
        desk.add(timezone="Europe/Madrid")
        desk.add(name="Off", active=False)
        desk.slots.generate()
        desk.slots.cancel(desk.rows()[0].key)
        desk.session.commit()
        before = [(slot.starts_at, slot.state) for slot in desk.week()]
    out = desk.run("export", "--format", "ics")
    assert "1 inactive templates left out." in out.stderr
    assert "\r\n" in out.stdout_bytes.decode()
    assert desk.run("import", "-", "--json", given=out.stdout_bytes).exit_code == 0
    with desk.app.app_context():
        after = [slot for slot in desk.week() if slot.series_id > 2]
        assert [(slot.starts_at, slot.state) for slot in after] == before


def test_another_form_is_refused(desk: Desk) -> None:
    """Whoever calls the functions themselves is told which forms there are."""
    with desk.app.app_context():
        work = desk.app.extensions["rollingslots"].writing()
        with pytest.raises(InvalidRequest, match="form = 'xml': expected one of json, ics"):
            export_templates(work, form="xml")
        with pytest.raises(InvalidRequest, match="form = 'xml': expected one of auto, json, ics"):
            import_templates(work, b"{}", form="xml")


def test_a_dry_run_writes_nothing(desk: Desk) -> None:
    """It checks everything, and says what an import would do."""
    plain = desk.bring(events(YOGA, CANCELLED), "--dry-run")
    assert plain.stdout.startswith("Would import templates: 1, decisions about slots: 1.\n")
    found = json.loads(desk.bring(events(YOGA, CANCELLED), "--dry-run", "--json").stdout)
    assert found == {"templates": [{"id": None, "name": "Yoga"}], "decisions": 1, "dry_run": True}
    assert desk.bring(events(YOGA, "UID:x"), "--dry-run").exit_code == 2
    with desk.app.app_context():
        work = desk.app.extensions["rollingslots"].writing(dry_run=True)
        assert import_templates(work, events(YOGA, CANCELLED, MOVED).encode()).decisions == 2
        assert not list(work.session.new)
        assert (desk.templates(), desk.rows()) == ([], [])


def test_all_or_nothing(desk: Desk) -> None:
    """If the database fails on a decision, the templates before it are not there either."""

    def fail(*_: Any) -> None:
        raise RuntimeError("disk full")

    with desk.app.app_context():
        slot = desk.slots.Slot
    event.listen(slot, "before_insert", fail)
    try:
        result = desk.bring(events(YOGA, CANCELLED))
    finally:
        event.remove(slot, "before_insert", fail)
    assert isinstance(result.exception, RuntimeError)
    with desk.app.app_context():
        assert desk.templates() == []
    assert json.loads(desk.bring(events(YOGA, CANCELLED), "--json").stdout)["decisions"] == 1


def test_only_some_templates(desk: Desk) -> None:
    """One series or one group; a number or group without templates is wrong input."""
    with desk.app.app_context():
        desk.add(name="North", group="north")
        desk.add(name="South", group="south")
    assert [each["name"] for each in desk.export("--template", "2")] == ["South"]
    assert [each["name"] for each in desk.export("--group", "north")] == ["North"]
    for args in (["--template", "9"], ["--group", "west"]):
        result = desk.run("export", *args)
        assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("args", "given", "said"),
    [
        (["import", "nowhere.ics"], None, "'nowhere.ics' does not exist"),
        (["import", "-", "--timezone", "Mars"], "{}", "--timezone: timezone: 'Mars' is not a known zone"),
        (["import", "-", "--format", "ics"], "{}", "expected BEGIN:VCALENDAR"),
        (["import", "-", "--format", "json"], events(YOGA), "the file is not JSON"),
        (["import", "-", "--group", "x" * 201], events(YOGA), "VEVENT 1 ('yoga'): group"),
        (["export", "--format", "xml"], None, "'xml' is not one of"),
        (["export", "--output", "no/such/folder/x"], None, "No such file or directory"),
    ],
)
def test_wrong_input_ends_with_2(desk: Desk, args: list[str], given: str | None, said: str) -> None:
    """A clear line on standard error, exit code 2."""
    result = desk.run(*args, given=given)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_the_zone_of_floating_times(desk: Desk) -> None:
    """--timezone holds for times without a zone, else the app's zone."""
    desk.bring(events(YOGA), "--timezone", "Asia/Tokyo")
    desk.bring(events(YOGA))
    with desk.app.app_context():
        assert [each.timezone for each in desk.templates()] == ["Asia/Tokyo", "UTC"]


def test_a_name_cannot_command_the_terminal(desk: Desk) -> None:
    """A name with control characters is refused, and printed with escapes."""
    value = {"name": "a\x1b[2J\nb", "dtstart": "2026-01-05T09:00", "duration_minutes": 60}
    result = desk.bring(value)
    assert result.exit_code == 2
    assert r"name = 'a\x1b[2J\nb': expected a text of 1 to 200 characters on one line" in result.stderr
    assert "\x1b" not in result.output


def test_many_entries(desk: Desk) -> None:
    """Two thousand templates go in and out within seconds."""
    value = [
        {
            "name": f"T{n}",
            "dtstart": "2026-01-05T09:00",
            "duration_minutes": 60,
            "recurrence": {"type": "daily"},
        }
        for n in range(2_000)
    ]
    assert json.loads(desk.bring(value, "--json").stdout)["decisions"] == 0
    assert len(desk.export()) == 2_000
