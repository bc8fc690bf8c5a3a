"""`flask slots bookings` and `forget`: lists for the desk, and a person who leaves them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from helpers import Site

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

KEYS = ("1@20260106T1100", "1@20260106T1000", "2@20260107T1000")


class Terminal(Site):
    """A site with a terminal."""

    def run(self, *args: str) -> Result:
        """Run ``flask slots …``."""
        return self.app.test_cli_runner().invoke(args=["slots", *args])


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Terminal:
    """A site on whose first day two people come, and on whose second one does."""
    site = Terminal(sqlite_url, tmp_path, ROLLINGSLOTS_TIMEZONE="Europe/Madrid")
    with site.app.app_context():
        site.add(name="Hall", capacity=3)
        site.add(name="Court", group="courts")
        for key, who in zip(KEYS, ("ada", "bea", "ada"), strict=True):
            site.slots.book(
                key, who=who, name=who.title(), contact=f"{who}@example.org", note="by\nthe window"
            )
        site.slots.release(site.slots.book(KEYS[0], who="eve"))
        site.session.commit()
    return site


def test_a_days_list_for_the_door(site: Terminal) -> None:
    """By start; one line for each, whatever people wrote."""
    lines = site.run("bookings", "--day", "2026-01-06").output.splitlines()
    assert lines == [
        "Tue 2026-01-06 10:00 UTC  Hall   1  bea  Bea  bea@example.org  confirmed  2  by the window",
        "Tue 2026-01-06 11:00 UTC  Hall   1  ada  Ada  ada@example.org  confirmed  1  by the window",
    ]


@pytest.mark.parametrize(
    ("args", "ids"),
    [
        ((), [2, 1, 3]),
        (("--who", "ada"), [1, 3]),
        (("--slot", KEYS[0]), [1]),
        (("--slot", KEYS[0], "--all"), [1, 4]),
        (("--template", "2"), [3]),
        (("--group", "courts"), [3]),
        (("--start", "2026-01-07"), [3]),
        (("--end", "2026-01-06T12:00"), [2]),
        (("--start", "2026-01-06T11:30", "--end", "2026-01-06T12:30"), [1]),
        (("--day", "2026-01-09"), []),
    ],
)
def test_what_is_asked_for(site: Terminal, args: tuple[str, ...], ids: list[int]) -> None:
    """Each option narrows the list; days and times are those of the zone of the settings."""
    found = json.loads(site.run("bookings", "--json", *args).output)
    assert [each["id"] for each in found] == ids


def test_a_long_list_is_whole(site: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read in pages, and nothing is cut off."""
    from flask_rollingslots.cli import looking

    monkeypatch.setattr(looking, "_PAGE", 1)
    assert len(site.run("bookings", "--all").output.splitlines()) == 4


def test_as_json(site: Terminal) -> None:
    """With what a desk needs; the token, which opens a booking, is not printed."""
    (found,) = json.loads(site.run("bookings", "--json", "--who", "bea").output)
    assert found == {
        "id": 2, "who": "bea", "name": "Bea", "contact": "bea@example.org", "note": "by\nthe window", "party": 1,
        "status": "confirmed", "attendance": None, "created_at": "2026-01-05T08:00:00+00:00", "expires_at": None,
        "key": KEYS[1], "slot": "Hall", "starts_at": "2026-01-06T10:00:00+00:00",
        "ends_at": "2026-01-06T11:00:00+00:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (
            ("--day", "2026-01-06", "--end", "2026-01-07"),
            2,
            "day = '2026-01-06': expected either --day, or --start",
        ),
        (("--slot", "nonsense"), 2, "'nonsense' is not a slot key"),
        (("--slot", "9@20260106T1000"), 1, "there is no such slot"),
        (("--template", "9"), 2, "there is no such template"),
        (("--day", "tomorrow"), 2, "does not match the format"),
    ],
)
def test_wrong_input(site: Terminal, args: tuple[str, ...], code: int, said: str) -> None:
    """One line, and an exit code."""
    found = site.run("bookings", *args)
    assert found.exit_code == code
    assert said in found.output


def test_forget(site: Terminal) -> None:
    """The bookings stay, nobody's any more; who is unknown is in none."""
    assert site.run("forget", "ada").output == "Forgotten in 2 bookings.\n"
    assert json.loads(site.run("forget", "ada", "--json").output) == {"bookings": 0}
    lines = site.run("bookings", "--all").output
    assert "ada" not in lines.lower()
    assert len(lines.splitlines()) == 4
    assert site.run("forget", "").exit_code == 2
