"""The first start: seeded once, by however many processes; the same numbers in a dry run as in the real one."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from demo_site import ROOT, VENUES, book, read, send, template_id

from demo_app import db, slots
from demo_app.venues import find_venue, load_venues

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

_START = """
import sys
from demo_app import create_app
print("ready", flush=True)
sys.stdin.readline()
print(create_app().config["SECRET_KEY"])
"""


def test_every_document_has_its_venue_in_its_own_shape() -> None:
    """Five data files, each with the one list that names its shape, and a zone of its own."""
    shapes = ("games", "events", "jobs", "sessions", "students")
    assert {venue.slug for venue in load_venues()} == set(VENUES)
    assert sorted(s for v in load_venues() for s in shapes if s in v.content) == sorted(shapes)
    assert len({venue.timezone for venue in load_venues()}) == 5
    assert find_venue("moon") is None


def test_the_first_start_makes_all_templates_and_starts_no_top_up(site: Flask) -> None:
    """Eighteen templates in five groups, and neither a slot nor a run."""
    with site.app_context():
        groups = [group for (group,) in db.session.query(slots.Template.group)]
        assert {group: groups.count(group) for group in VENUES} == {
            "game-hall": 3, "clubs": 3, "rental": 2, "community": 3, "school": 7,
        }  # fmt: skip
        assert db.session.query(slots.Slot).count() == db.session.query(slots.Run).count() == 0


def test_a_second_start_adds_nothing(site: Flask, make_site: Callable[..., Flask]) -> None:
    """The same folder again: the same templates, the same key."""
    again = make_site()
    assert again.config["SECRET_KEY"] == site.config["SECRET_KEY"]
    with again.app_context():
        assert db.session.query(slots.Template).count() == 18


@pytest.mark.slow
def test_processes_that_start_at_once_seed_once_and_share_one_key(
    tmp_path: Path, make_site: Callable[..., Flask]
) -> None:
    """Four processes begin on an empty folder in the same moment."""
    folder = tmp_path / "instance"
    outside = {k: v for k, v in os.environ.items() if k not in ("SECRET_KEY", "DATABASE_URL")}
    env = {**outside, "DEMO_INSTANCE_PATH": str(folder), "PYTHONPATH": str(ROOT)}
    starts = [
        subprocess.Popen(
            (sys.executable, "-c", _START), env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for process in starts:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starts:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0].strip() for process in starts}
    assert [process.returncode for process in starts] == [0, 0, 0, 0]
    assert len(keys) == 1
    assert re.fullmatch(r"[0-9a-f]{64}", keys.pop())
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
    site = make_site()
    with site.app_context():
        assert db.session.query(slots.Template).count() == 18


def test_the_environment_names_database_and_key(
    tmp_path: Path, make_site: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATABASE_URL and SECRET_KEY win over the folder, and no key is written then."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    monkeypatch.setenv("SECRET_KEY", "from the environment")
    assert make_site().config["SECRET_KEY"] == os.environ["SECRET_KEY"]
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "instance" / "secret_key").exists()


def test_the_site_works_on_postgresql(
    clock: object, make_site: Callable[..., Flask], postgres_url: str
) -> None:
    """Seeded, shown, booked and cancelled on another database than SQLite."""
    site = make_site(SQLALCHEMY_DATABASE_URI=postgres_url)
    client = site.test_client()
    address = f"/slots/{template_id(site, 'Laser tag')}@20260311T1000"
    week = "/venues/game-hall"
    assert book(client, address).status_code == 302
    assert "3 of 4 left, Laser tag, Wednesday 11 March 10:00" in read(client.get(week)).links
    assert send(client, "/bookings", read(client.get("/bookings"))).status_code == 302
    assert "4 of 4 left, Laser tag, Wednesday 11 March 10:00" in read(client.get(week)).links


def test_a_dry_run_says_what_the_real_run_creates_and_a_second_one_creates_nothing(site: Flask) -> None:
    """Fourteen days: the same number in total and for each template, then zero."""
    runner = site.test_cli_runner()

    def generate(*options: str) -> dict[str, object]:
        result = runner.invoke(args=["slots", "generate", "--days", "14", "--json", *options])
        assert result.exit_code == 0, result.output
        report: dict[str, object] = json.loads(result.stdout)
        return report

    dry = generate("--dry-run")
    with site.app_context():
        assert db.session.query(slots.Slot).count() == 0
    real = generate()
    with site.app_context():
        assert db.session.query(slots.Slot).count() == real["created"]
    assert dry["created"] == real["created"]
    assert isinstance(dry["templates"], dict)
    assert isinstance(real["templates"], dict)
    assert {k: t["created"] for k, t in dry["templates"].items()} == {
        k: t["created"] for k, t in real["templates"].items()
    }
    # Both hourly games from 12:00 on, the lane from 13:00 on (11:30 starts now), Lisbon's choir from tomorrow on.
    bubble, laser, archery = (t["created"] for t in list(real["templates"].values())[:3])
    assert (bubble, laser, archery) == (10 + 13 * 12, 10 + 13 * 12, 6 + 13 * 8)
    assert generate()["created"] == 0


def test_the_site_starts_from_the_command_line(tmp_path: Path) -> None:
    """`flask --app demo_app` finds the factory, and the command prints a sentence."""
    env = {**os.environ, "DEMO_INSTANCE_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = (
        sys.executable,
        "-m",
        "flask",
        "--app",
        "demo_app",
        "slots",
        "generate",
        "--days",
        "14",
        "--dry-run",
    )
    done = subprocess.run(command, env=env, cwd=ROOT, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d{3} slots would be created, 0 there already\.", done.stdout)
