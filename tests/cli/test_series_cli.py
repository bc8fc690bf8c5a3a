"""The commands that end a series and bring it back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from helpers import A_WEEK, Site, lose_races
from sqlalchemy.exc import OperationalError

DAY = datetime(2026, 1, 6, tzinfo=UTC), datetime(2026, 1, 7, tzinfo=UTC)


def run(site: Site, *words: str) -> tuple[int, str]:
    result = site.app.test_cli_runner().invoke(args=["slots", *words])
    return result.exit_code, result.output


def test_cancel_future_and_restore(site: Site) -> None:
    """The command commits, counts, names booked slots, and the other one takes it back."""
    site.add()
    site.slots.generate()
    site.slots.book("1@20260110T1000")
    site.session.commit()
    code, text = run(site, "cancel-future", "1", "2026-01-09", "--reason", "Sold")
    assert (code, text.splitlines()) == (
        0,
        ["24 stored slots cancelled, 1 of them booked.", "  booked: 1@20260110T1000"],
    )
    site.session.rollback()
    assert site.slots.get("1@20260110T1000").cancel_reason == "Sold"
    code, text = run(site, "restore-series", "1", "--json")
    assert (code, json.loads(text)["counts"]["changed"]) == (0, 24)
    site.session.rollback()
    assert [slot.state for slot in site.week()].count("open") == A_WEEK - 1


def test_wrong_input_ends_with_code_two(site: Site) -> None:
    """An unknown template or a date that is none is told in one line."""
    code, text = run(site, "cancel-future", "9", "2026-01-09")
    assert (code, text) == (2, "Error: template 9: there is no such template\n")
    assert run(site, "cancel-future", "9", "soon")[0] == 2
    assert run(site, "restore-series", "9")[0] == 2


def test_close_says_whom_to_call(site: Site) -> None:
    """Days of a group, of all, tried first and taken back; names are printed, and nothing that a terminal obeys."""
    site.add(group="north", capacity=3)
    site.add(name="Tokyo", group="south", timezone="Asia/Tokyo")
    site.slots.generate()
    old = site.slots.book("1@20260106T1000", party=2, who="ada")
    site.slots.book("2@20260107T1000")
    old.who = "ada\x1b[2J"  # as it could be stored once
    site.session.commit()
    code, text = run(site, "close", "2026-01-06", "--group", "north", "--dry-run")
    assert (code, text.splitlines()) == (
        0,
        [
            "2026-01-06: 1 template would be closed.",
            "8 stored slots, 1 of them booked.",
            "Call:",
            "  Tue 2026-01-06 10:00 UTC  Hall  ada\\x1b[2J  2 places  booking 1",
        ],
    )
    code, text = run(site, "close", "2026-01-06", "2026-01-07", "--reason", "Paint")
    assert (code, text.splitlines()[::2]) == (
        0,
        [
            "2026-01-06 to 2026-01-07: 2 templates closed.",
            "Call:",
            "  Wed 2026-01-07 10:00 JST  Tokyo  nobody in particular  1 place  booking 2",
        ],
    )
    code, text = run(site, "close", "2026-01-06", "--template", "1", "--json")
    found = json.loads(text)
    assert (code, found["templates"], found["unchanged"], found["dry_run"]) == (0, [], [1], False)
    assert [(each["id"], each["key"], each["party"]) for each in found["bookings"]] == [
        (1, "1@20260106T1000", 2)
    ]
    code, text = run(site, "close", "2026-01-06", "2026-01-07", "--reopen")
    assert (code, text.splitlines()[0]) == (0, "2026-01-06 to 2026-01-07: 2 templates reopened.")
    site.session.rollback()
    assert [template.blackouts for template in site.slots.templates()] == [[], []]


def test_what_cannot_be_closed_ends_with_code_two(site: Site) -> None:
    """Wrong days, an unknown group, and a reason for opening are told in one line."""
    site.add(group="north")
    for words in (
        ["2026-01-06", "2026-01-05"],
        ["soon"],
        ["2026-01-06", "--group", "nowhere"],
        ["2026-01-06", "--group", "north", "--template", "1"],
        ["2026-01-06", "--reopen", "--reason", "Paint"],
    ):
        code, text = run(site, "close", *words)
        assert (code, "Error: " in text) == (2, True), text
    site.session.rollback()
    assert site.slots.get_template(1).blackouts == []


def test_cancel_date_says_whom_to_call(site: Site) -> None:
    """Of a group or of all, tried first; an unknown group is wrong input."""
    site.add(group="north")
    site.add(group="south")
    site.slots.generate()
    site.slots.book("1@20260106T1000", who="ada")
    site.session.commit()
    code, text = run(site, "cancel-date", "2026-01-06", "--dry-run")
    assert (code, text.splitlines()[0]) == (0, "2026-01-06: 16 slots would be cancelled.")
    code, text = run(site, "cancel-date", "2026-01-06", "--group", "north", "--reason", "Snow")
    assert (code, text.splitlines()) == (
        0,
        [
            "2026-01-06: 8 slots cancelled.",
            "Call:",
            "  Tue 2026-01-06 10:00 UTC  Hall  ada  1 place  booking 1",
        ],
    )
    code, text = run(site, "cancel-date", "2026-01-06", "--json")
    assert (code, len(json.loads(text)["slots"]), json.loads(text)["bookings"]) == (0, 8, [])
    assert run(site, "cancel-date", "2026-01-06", "--group", "nowhere")[0] == 2
    site.session.rollback()
    assert site.slots.get("1@20260106T1000").cancel_reason == "Snow"


@pytest.mark.parametrize("times", [1, 9])
def test_a_command_tries_a_lost_race_again(site: Site, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """It is done and told once, after its commit; one that loses again and again ends with a line."""
    site.add()
    lose_races(monkeypatch, site.slots, "close", times)
    code, text = run(site, "close", "2026-01-06")
    site.session.rollback()
    if times == 1:
        assert (code, text.splitlines()[0]) == (0, "2026-01-06: 1 template closed.")
        assert text.count("closed") == 1
        assert not site.slots.between(*DAY)
    else:
        assert (code, text.count("\n")) == (1, 1)
        assert text.startswith("Error: Somebody else was faster")
        assert site.slots.between(*DAY)


def test_nothing_is_told_that_was_not_committed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails is no closed day, and nobody reads of one."""
    site.add()

    def commit(session: Any) -> None:
        raise OperationalError("COMMIT", {}, Exception("disk full"))

    monkeypatch.setattr(type(site.session()), "commit", commit)
    code, text = run(site, "close", "2026-01-06")
    assert (code, "closed" in text) == (1, False)
