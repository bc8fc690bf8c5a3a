"""The page about feeds is true: its Python runs, and its JavaScript is what the browser tests load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import time_machine
from flask import Flask

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "feeds.md").read_text("utf-8")
WEB = Path(__file__).parent / "web"


def blocks(language: str) -> list[str]:
    """Return the code blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@time_machine.travel("2026-01-05T06:00:00Z", tick=True)
def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    """All blocks one after the other, as a reader would paste them."""
    names: dict[str, Any] = {"__name__": "page"}

    def in_folder(name: str) -> Flask:
        return Flask(name, instance_path=str(tmp_path))

    for block in blocks("python"):
        names["Flask"] = in_folder
        exec(compile(block.replace("from flask import Flask\n", ""), "feeds.md", "exec"), names)  # noqa: S102 (ours)
    assert names["app"].extensions["rollingslots"].topup.executor.join(60)


def test_the_pages_javascript_is_what_the_browser_tests_load() -> None:
    """What connects a widget to the feed stands in the pages that the tests open."""
    viewer = "Intl.DateTimeFormat().resolvedOptions().timeZone"
    for name, block, words in (
        ("fullcalendar", blocks("js")[0], ("new FullCalendar.Calendar", 'events: "/api/feed.json"')),
        (
            "eventcalendar",
            blocks("js")[1],
            ("EventCalendar.create", 'url: "/api/feed.json"', "floating: true", viewer),
        ),
    ):
        page = (WEB / f"{name}.js").read_text("utf-8")
        assert all(word in block and word in page for word in words)
