"""The commands that end a series and bring it back."""

from __future__ import annotations

import json

from helpers import A_WEEK, Site


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
