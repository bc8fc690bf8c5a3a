"""The first start: seeded once, by however many processes; the same numbers in a dry run as in the real one."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from demo_site import ROOT, VENUES, book, read, send, template_id

from demo_app import db, services, slots
from demo_app.venues import find_venue, load_venues
from flask_rollingslots import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import time_machine
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
    keys = {process.communicate(timeout=200)[0].strip() for process in starts}
    assert [process.returncode for process in starts] == [0, 0, 0, 0]
    assert len(keys) == 1
    assert re.fullmatch(r"[0-9a-f]{64}", keys.pop())
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
    site = make_site()
    with site.app_context():
        assert db.session.query(slots.Template).count() == 19  # the story splits one
        assert db.session.query(slots.Slot).filter_by(status="cancelled").count() == 1


def test_the_environment_names_database_and_key(
    tmp_path: Path, make_site: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DATABASE_URL and SECRET_KEY win over the folder, and no key is written then."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    monkeypatch.setenv("SECRET_KEY", "from the environment")
    assert make_site().config["SECRET_KEY"] == os.environ["SECRET_KEY"]
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "instance" / "secret_key").exists()


def test_the_first_start_tells_a_story_around_today(clock: object, make_site: Callable[..., Flask]) -> None:
    """Bookings of three weeks and of the coming one, a cancelled date, a moved one, and a series that was split."""
    site = make_site(DEMO_SAMPLES=True)
    now = datetime.now(UTC)
    with site.app_context():
        slot, booking = slots.Slot, slots.Booking
        starts = [
            start for (start,) in db.session.query(slot.starts_at).join(booking, booking.slot_id == slot.id)
        ]
        assert 100 < sum(start < now for start in starts) < 1000
        assert 20 < sum(start > now for start in starts) < 200
        assert now - min(starts) < timedelta(days=22)
        assert max(starts) - now < timedelta(days=15)
        named = db.session.query(booking).filter(booking.name.is_not(None)).count()
        assert named == len(starts)
        [cancelled] = db.session.query(slot).filter_by(status="cancelled")
        assert (cancelled.template.name, cancelled.booked) == ("Yoga for beginners", 2)
        assert "The teacher is ill" in cancelled.cancel_reason
        [moved] = [each for each in db.session.query(slot) if each.customised]
        assert (moved.template.name, f"{moved.local_start:%H:%M}") == ("Laser tag", "19:30")
        first, second = (
            db.session.query(slots.Template).filter_by(name="Morning choir").order_by(slots.Template.id)
        )
        assert second.continues_id == first.id
        assert db.session.query(slot).filter(slot.starts_at > now, slot.booked == slot.capacity).count() > 0
        assert slots.stats().total.booked > 200
        health = slots.health()
    client = site.test_client()
    for venue in VENUES:
        assert client.get(f"/venues/{venue}").status_code == 200
    assert "full" in client.get("/venues/game-hall").text
    assert health.status == "due"  # the first visitor starts the top-up, not the seeding
    again = make_site(DEMO_SAMPLES=True)
    with again.app_context():
        assert db.session.query(slots.Booking).filter(slots.Booking.name.is_not(None)).count() == named


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-29T00:30",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("2026-07-01T12:00", "2026-12-31T23:30")),
    ],
)
def test_the_story_can_be_told_at_any_time(
    clock: time_machine.Traveller, make_site: Callable[..., Flask], moment: str
) -> None:
    """Also at midnight, on a day on which clocks change, and at the end of a year."""
    clock.move_to(datetime.fromisoformat(f"{moment}+00:00"), tick=False)
    site = make_site(DEMO_SAMPLES=True)
    with site.app_context():
        assert db.session.query(slots.Slot).filter_by(status="cancelled").count() == 1


@pytest.mark.slow
def test_the_first_page_needs_no_second_start(tmp_path: Path) -> None:
    """From nothing to the list of venues in one new process; the deadline is for a machine that stands still."""
    env = {**os.environ, "DEMO_INSTANCE_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    first = "from demo_app import create_app; print(create_app().test_client().get('/').status_code)"
    done = subprocess.run((sys.executable, "-c", first), env=env, text=True, capture_output=True, timeout=200)
    assert (done.returncode, done.stdout.strip()) == (0, "200"), done.stderr


@pytest.mark.parametrize(("given", "used"), [
    ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
    ("postgresql://u:p@h/d?sslmode=require", "postgresql+psycopg://u:p@h/d?sslmode=require"),
    ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
    ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ("", "sqlite:///demo.db"),
])  # fmt: skip
def test_addresses_of_databases_are_read_as_hosts_write_them(
    monkeypatch: pytest.MonkeyPatch, given: str, used: str
) -> None:
    """The short schemes of hosting companies mean the driver that the extra brings."""
    monkeypatch.setenv("DATABASE_URL", given)
    assert services.database_url() == used


@pytest.mark.parametrize(("name", "value", "package", "words"), [
    ("DATABASE_URL", "postgresql://u:p@h/d", "psycopg", "make demo EXTRAS=postgres"),
    ("REDIS_URL", "redis://h/0", "redis", "make demo EXTRAS=redis"),
    ("DATABASE_URL", "mysql+pymysql://u:p@h/d", "pymysql", "the package pymysql is not installed"),
    ("DATABASE_URL", "my database", "", "expected an address such as postgresql://"),
    ("DATABASE_URL", "oops://h/d", "", "expected an address such as postgresql://"),
])  # fmt: skip
def test_what_the_environment_names_and_is_not_there_is_said_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, package: str, words: str
) -> None:
    """A missing package names its extra, and no password is repeated."""
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(services, "find_spec", lambda wanted: None if wanted == package else object())
    with pytest.raises(ConfigError) as error:
        services.cache_settings() if name == "REDIS_URL" else services.database_url()
    assert words in str(error.value)
    assert ":p@" not in str(error.value)


def test_a_redis_that_the_environment_names_is_the_cache(
    clock: object, make_site: Callable[..., Flask], valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's marks lie in it, and a silent server holds nobody for long."""
    monkeypatch.setenv("REDIS_URL", valkey.url)
    limits = f"{'&' if '?' in valkey.url else '?'}socket_timeout=1&socket_connect_timeout=1"
    assert (services.cache_settings() or {})["CACHE_REDIS_URL"] == f"{valkey.url}{limits}"
    patient = limits.replace("=1", "=30")  # the machine of a test may be busy
    monkeypatch.setenv("REDIS_URL", f"{valkey.url}{patient}")
    site = make_site(ROLLINGSLOTS_ENABLED=True, CACHE_KEY_PREFIX="demo-test:")
    site.test_client().get("/")
    assert site.extensions["rollingslots"].topup.executor.join(60)
    client = redis.Redis.from_url(valkey.url)
    try:
        assert list(client.scan_iter("demo-test:*"))
    finally:
        client.close()
    with site.app_context():
        assert "cache_timeout" not in {finding.code for finding in slots.doctor()}
        assert "cache_per_process" not in {finding.code for finding in slots.doctor()}


def test_the_site_works_on_postgresql(
    clock: object, make_site: Callable[..., Flask], postgres_url: str
) -> None:
    """Seeded with its story, shown, booked and cancelled on another database than SQLite."""
    site = make_site(SQLALCHEMY_DATABASE_URI=postgres_url, DEMO_SAMPLES=True)
    client = site.test_client()
    address = f"/slots/{template_id(site, 'Laser tag')}@20260311T1000"
    week = "/venues/game-hall"
    assert book(client, address).status_code == 303
    assert "3 of 4 left, Laser tag, Wednesday 11 March 10:00" in read(client.get(week)).cells
    assert send(client, "/bookings", read(client.get("/bookings"))).status_code == 303
    assert "4 of 4 left, Laser tag, Wednesday 11 March 10:00" in read(client.get(week)).cells


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
    env = {**os.environ, "DEMO_INSTANCE_PATH": str(tmp_path), "DEMO_SAMPLES": "0", "PYTHONPATH": str(ROOT)}
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
    done = subprocess.run(command, env=env, cwd=ROOT, text=True, capture_output=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d{3} slots would be created, 0 there already\.", done.stdout)
