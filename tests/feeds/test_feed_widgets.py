"""FullCalendar and EventCalendar, from npm, in a real browser: what people see of feed.json."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from feed_site import FeedSite
from flask import send_from_directory
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Response

pytestmark = pytest.mark.browser
WEB = Path(__file__).parent / "web"
FULLCALENDAR, EVENTCALENDAR = ("fullcalendar", "7.1.0"), ("@event-calendar/build", "5.10.1")


class Silent(WSGIRequestHandler):
    """Writes no log."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


class Seen(NamedTuple):
    """An event as it stands on the page.

    :param day: the heading of its column.
    :param text: what it says.
    :param classes: what marks it.
    """

    day: str
    text: str
    classes: frozenset[str]


class Widget:
    """A page with a calendar, in a browser somewhere."""

    def __init__(self, page: Any) -> None:
        self.page = page
        page.set_default_timeout(100_000)  # a deadline for slow machines, not a measure
        self.problems: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, address: str) -> list[Seen]:
        """Open a page and return what it shows."""
        with self.page.expect_response(lambda response: "/feed.json" in response.url):
            self.page.goto(address)
        return self.seen()

    def click(self, name: str) -> list[Seen]:
        """Press a button that shows another week and return what it shows then."""
        before = self.seen()
        with self.page.expect_response(lambda response: "/feed.json" in response.url):
            self.page.get_by_role("button", name=name).click()
        for _ in range(2000):  # the page shows the answer a moment after it came
            after = self.seen()
            self.page.wait_for_timeout(25)
            if after != before and after == self.seen():
                return after
        raise AssertionError(f"nothing else was shown after {name!r}")

    def seen(self) -> list[Seen]:
        """Return the events of the week, by their place on the page, once they are there."""
        self.page.locator(".rollingslots-slot").nth(5).wait_for(state="attached")
        found = self.page.evaluate(
            """() => {
                const isHead = (e) => !e.children.length && /\\b\\d+\\b/.test(e.innerText || "")
                    && /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test((e.parentElement.innerText || e.innerText).trim());
                const heads = [...document.querySelectorAll("*")].filter(isHead).map((e) => {
                    const box = e.getBoundingClientRect();
                    return [(box.left + box.right) / 2, e.innerText.match(/\\d+/g).pop()];
                });
                return [...document.querySelectorAll(".rollingslots-slot, .rollingslots-reminder")].map((e) => {
                    const box = e.getBoundingClientRect();
                    const middle = (box.left + box.right) / 2;
                    heads.sort((a, b) => Math.abs(a[0] - middle) - Math.abs(b[0] - middle));
                    return [middle, box.top, heads[0][1], e.innerText, e.className];
                });
            }"""
        )
        return [
            Seen(
                day,
                " ".join(text.replace("\u2013", "to").split()),
                frozenset(c for c in classes.split() if "rollingslots" in c),
            )
            for _, _, day, text, classes in sorted(found)
        ]


def slots(seen: list[Seen]) -> list[tuple[str, str]]:
    """Return day and text of the slots."""
    return [(each.day, each.text) for each in seen if "rollingslots-slot" in each.classes]


@pytest.fixture
def address(sqlite_url: str, tmp_path: Path, npm: Callable[[str, str], Path]) -> Iterator[str]:
    """The address of a site with a slot every evening in Madrid, one of them cancelled, and pages with widgets.

    They are served under a strict Content Security Policy: nothing inline, nothing from elsewhere.
    """
    site = FeedSite(sqlite_url, tmp_path)
    folders = {"fullcalendar": npm(*FULLCALENDAR).parent, "eventcalendar": npm(*EVENTCALENDAR).parent.parent}

    @site.app.get("/<any(fullcalendar, eventcalendar):widget>/<path:path>")
    def package(widget: str, path: str) -> Response:
        return send_from_directory(folders[widget], path)

    @site.app.get("/<any(fullcalendar, eventcalendar):widget>")
    def page(widget: str) -> Response:
        return send_from_directory(WEB, f"{widget}.html")

    @site.app.get("/web/<path:path>")
    def script(path: str) -> Response:
        return send_from_directory(WEB, path)

    @site.app.get("/favicon.ico")
    def nothing() -> tuple[str, int]:
        return "", 204

    @site.app.after_request
    def strict(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = "default-src 'self'"
        return response

    with site.app.app_context():
        site.evening(reminder_before=timedelta(hours=26))
        site.slots.cancel("1@20261126T1900", reason="no heating")
        site.session.commit()
    server = make_server("127.0.0.1", 0, site.app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def in_new_york(browser: Any) -> Widget:
    """A browser in New York, where the clocks change a week later than in Europe."""
    return Widget(
        browser.new_page(
            timezone_id="America/New_York", locale="en-US", viewport={"width": 1400, "height": 1600}
        )
    )


def test_fullcalendar_in_the_viewers_zone_and_in_the_venues(in_new_york: Widget, address: str) -> None:
    """A week, the next, the one before: each evening at its local time, also where only one side changed clocks."""
    week = in_new_york.open(f"{address}/fullcalendar?zone=local&date=2026-11-25")
    assert slots(week) == [(str(day), "1:00 to 2:30 Evening") for day in range(23, 30)]
    (cancelled,) = [each for each in week if "rollingslots-cancelled" in each.classes]
    assert cancelled.day == "26"
    reminders = [each for each in week if "rollingslots-reminder" in each.classes]
    assert [(each.day, each.text) for each in reminders] == [
        (day, "11:00 Reminder: Evening") for day in ("23", "24", "26", "27", "28", "29")
    ]
    following = in_new_york.click("Next")
    assert slots(following)[0] == ("30", "1:00 to 2:30 Evening")
    assert slots(in_new_york.click("Prev")) == slots(week)
    # Between the 14th and the 28th of March 2027 New York is an hour nearer to Madrid.
    spring = in_new_york.open(f"{address}/fullcalendar?zone=local&date=2027-03-24")
    assert slots(spring) == [(str(day), "2:00 to 3:30 Evening") for day in range(22, 28)] + [
        ("28", "1:00 to 2:30 Evening")
    ]
    venue = in_new_york.open(f"{address}/fullcalendar?zone=Europe/Madrid&date=2027-03-24")
    assert slots(venue) == [(str(day), "7:00 to 8:30 Evening") for day in range(22, 29)]
    far = in_new_york.open(f"{address}/fullcalendar?zone=UTC&date=2039-10-26")
    assert slots(far) == [(str(day), "5:00 to 6:30 Evening") for day in range(24, 30)] + [
        ("30", "6:00 to 7:30 Evening")
    ]
    assert in_new_york.problems == []


def test_eventcalendar_in_the_viewers_zone_and_in_the_venues(in_new_york: Widget, address: str) -> None:
    """The same in EventCalendar, by clock times without offset; no evening at the edge of a week is missing."""
    week = in_new_york.open(f"{address}/eventcalendar?zone=viewer&date=2026-11-25")
    assert slots(week) == [(str(day), "1:00 to 2:30 PM Evening") for day in range(23, 30)]
    assert [each.day for each in week if "rollingslots-cancelled" in each.classes] == ["26"]
    assert slots(in_new_york.click("Next"))[0] == ("30", "1:00 to 2:30 PM Evening")
    assert slots(in_new_york.click("Prev")) == slots(week)
    spring = in_new_york.open(f"{address}/eventcalendar?zone=viewer&date=2027-03-24")
    later = [(str(day), "2:00 to 3:30 PM Evening") for day in range(22, 28)]
    assert slots(spring) == [*later, ("28", "1:00 to 2:30 PM Evening")]
    far = in_new_york.open(f"{address}/eventcalendar?zone=venue&date=2039-10-26")
    assert slots(far) == [(str(day), "7:00 to 8:30 PM Evening") for day in range(24, 31)]
    assert in_new_york.problems == []
