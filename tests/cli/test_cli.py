"""The command line: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, HALL, Site
from sqlalchemy import inspect

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


class Terminal(Site):
    """A site with a terminal."""

    def run(self, *args: str) -> Result:
        """Run ``flask slots …``."""
        return self.app.test_cli_runner().invoke(args=["slots", *args])

    def json(self, *args: str) -> Any:
        """Run a command with --json and return what it printed."""
        result = self.run(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def fill(self, *names: str, **fields: Any) -> list[int]:
        """Add templates and return their ids."""
        with self.app.app_context():
            return [self.add(name=name, group=name.lower(), **fields).id for name in names]

    def count(self) -> int:
        """Return the number of rows."""
        with self.app.app_context():
            return len(self.rows())


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Terminal:
    """A site with a terminal, outside any app context."""
    return Terminal(sqlite_url, tmp_path)


def test_generate_days_dry_run_and_again(site: Terminal) -> None:
    """A dry run says what the run creates; a second run creates nothing."""
    site.fill("North", "South")
    said = site.run("generate", "--days", "14", "--dry-run")
    assert said.exit_code == 0
    assert "224 slots would be created" in said.stdout
    assert site.count() == 0
    assert "224 slots created, 0 there already" in site.run("generate", "--days", "14").stdout
    assert site.count() == 224
    assert "0 slots created, 224 there already" in site.run("generate", "--days", "14").stdout


def test_generate_weeks_template_and_group(site: Terminal) -> None:
    """Weeks are seven days each; one template or one group can be filled alone."""
    north, south = site.fill("North", "South")
    assert site.json("generate", "--weeks", "2", "--template", str(north))["created"] == 2 * A_WEEK
    report = site.json("generate", "--group", "south")
    assert report["created"] == A_WEEK
    assert report["templates"][str(south)]["created"] == A_WEEK
    assert report["groups"]["south"]["expected"] == A_WEEK


def test_json_is_all_that_is_on_stdout(site: Terminal) -> None:
    """Standard output holds JSON and nothing else; the progress bar is on standard error."""
    site.fill("North")
    assert set(site.json("generate")) >= {"created", "existing", "window", "seconds", "run_id", "dry_run"}
    site.fill("South")
    result = site.run("generate")
    assert "Slots" in result.stderr
    assert "Slots" not in result.stdout.replace("slots", "")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--days", "-1"], "days = -1: expected a whole number from 1 to 3,660"),
        (["--days", "0"], "days = 0"),
        (["--days", "3661"], "days = 3661"),
        (["--weeks", "0"], "weeks = 0"),
        (["--weeks", "523"], "weeks = 523"),
        (["--days", "1", "--weeks", "1"], "--days and --weeks"),
        (["--template", "99"], "template 99: there is no such template"),
        (["--group", "nowhere"], "group 'nowhere'"),
        (["--days", "x"], "'x' is not a valid integer"),
    ],
)
def test_wrong_input_ends_with_2(site: Terminal, args: list[str], text: str) -> None:
    """Wrong input: a clear line on standard error, exit code 2, nothing written."""
    site.fill("North")
    result = site.run("generate", *args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""
    assert site.count() == 0


def test_a_failed_template_ends_with_1(site: Terminal) -> None:
    """If a template cannot be filled the others are, and the exit code says so."""
    north, _ = site.fill("North", "South")
    with site.app.app_context():
        table = site.slots.Template.__table__
        site.session.execute(table.update().where(table.c.id == north).values(rrule="FREQ=NEVER"))
        site.session.commit()
    result = site.run("generate")
    assert result.exit_code == 1
    assert "InvalidRule" in result.stdout
    assert site.count() == A_WEEK


def test_status_tells_due_ok_and_missing(site: Terminal) -> None:
    """Before the first run slots are due, afterwards all is well, and a lost row is missing: exit code 1."""
    site.fill("North")
    due = site.run("status")
    assert (due.exit_code, due.stdout.split(":")[0]) == (0, "due")
    site.run("generate")
    fine = site.json("status")
    assert (fine["status"], fine["promised"], fine["stored"], fine["missing"]) == ("ok", A_WEEK, A_WEEK, 0)
    assert fine["runs"][0]["status"] == "confirmed"
    with site.app.app_context():
        site.session.delete(site.rows()[10])
        site.session.commit()
    result = site.run("status")
    assert result.exit_code == 1
    assert "1 missing" in result.stdout
    site.run("generate")
    site.clock.turn(days=2)
    assert site.json("status")["status"] == "due"


def test_templates_and_preview(site: Terminal) -> None:
    """The list names every template with its rule; the preview shows its next slots."""
    (north,) = site.fill("North")
    listed = site.json("templates")
    assert [(t["id"], t["name"], t["active"]) for t in listed] == [(north, "North", True)]
    assert "North" in site.run("templates", "--group", "north").stdout
    assert site.run("templates", "--group", "x").stdout == ""
    shown = site.json("preview", str(north), "--count", "3")
    assert [slot["starts_at"] for slot in shown] == [f"2026-01-05T{h}:00:00+00:00" for h in (10, 11, 12)]
    assert "virtual" in site.run("preview", str(north)).stdout
    assert site.run("preview", str(north), "--count", "201").exit_code == 2
    assert site.run("preview", "99").exit_code == 2


def test_init_db_creates_our_tables_only(site: Terminal) -> None:
    """init-db makes the eight tables, and may be run again."""
    with site.app.app_context():
        site.db.drop_all()
    for _ in range(2):
        assert site.run("init-db").exit_code == 0
    with site.app.app_context():
        assert len(inspect(site.db.engine).get_table_names()) == 9
        site.slots.create_template(**HALL)


def test_without_tables_the_error_is_one_line(site: Terminal) -> None:
    """On a database without the tables the command says how to make them."""
    with site.app.app_context():
        site.db.drop_all()
    result = site.run("generate")
    assert result.exit_code == 1
    assert "flask slots init-db" in result.stderr
    assert "Traceback" not in result.output
