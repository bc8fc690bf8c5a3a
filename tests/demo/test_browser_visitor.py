"""A visitor in a real browser, on a phone and at a desk, with scripts and without."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from demo_browser import DESK, PHONE, Visits, far, follow, text_of
from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

BUBBLE = "button.cell.open[aria-label*='Bubble football']:visible"


def test_the_first_page_leads_to_the_week_of_each_of_five_venues(visit: Visits) -> None:
    """Five names, each a link, each with its rules and its next free time."""
    page = visit()
    assert page.locator("main h2 a").all_inner_texts() == [
        "Galata Game Hall", "Noche Clubs", "Lakeside Tool Rental", "Casa do Bairro", "Escuela Palabra",
    ]  # fmt: skip
    assert text_of(page).count("Next free:") == 5
    follow(page, "text=Casa do Bairro")
    assert page.inner_text("h1") == "Casa do Bairro"


@pytest.mark.slow
def test_a_desk_shows_seven_days_as_columns_and_a_phone_one_at_a_time(visit: Visits) -> None:
    """On the phone a row of days chooses; the page never has to be scrolled sideways."""
    address = f"/venues/game-hall?week={far(0)}"
    desk = visit(address)
    assert desk.locator("table.week").first.locator("tbody tr").first.locator("td:visible").count() == 7
    assert desk.locator(".daytabs").is_hidden()
    phone = visit(address, PHONE)
    assert phone.locator("table.week").first.locator("tbody tr").first.locator("td:visible").count() == 1
    tabs = phone.locator(".daytabs a")
    assert tabs.count() == 7
    for number in (0, 3, 6):
        follow(phone, tabs.nth(number))
        wanted = far(number)
        assert phone.inner_text(".daytabs [aria-current=date] b") == str(wanted.day)
        labels = {cell.get_attribute("aria-label") for cell in phone.locator(BUBBLE).all()}
        assert len(labels) == 12
        assert all(f" {wanted:%A} {wanted.day} {wanted:%B} " in str(label) for label in labels)


@pytest.mark.slow
def test_a_cell_says_how_many_places_are_left_or_why_there_are_none(visit: Visits) -> None:
    """Left, full, not open yet, closed: in words, on one page each, and in what a screen reader says."""
    page = visit(f"/venues/game-hall?week={far(10)}")
    first = page.locator(BUBBLE).first
    assert text_of(page, BUBBLE) == "2 of 2 left"
    label = first.get_attribute("aria-label").removesuffix(". Book")
    _book(page, first, party=2)
    page.goto(f"/venues/game-hall?week={far(10)}")
    full = page.locator(f"[aria-label='{label.replace('2 of 2 left', 'full')}']")
    assert (full.inner_text(), full.evaluate("e => e.tagName")) == ("full", "A")
    page.goto("/venues/community")
    assert page.locator(".cell.upcoming").first.inner_text() == "not open yet"
    page.goto("/owner/templates/3/limits")
    page.fill("#closes", "999999")  # nearly two years
    follow(page, "text=Save")
    page.goto(f"/venues/game-hall?week={far(10)}")
    assert page.locator(".cell.closed[aria-label*='Archery']").first.inner_text() == "closed"
    page.goto("/owner/templates/3/limits")
    page.fill("#closes", "60")
    follow(page, "text=Save")


@pytest.mark.slow
def test_weeks_go_on_for_ever_in_both_directions_and_far_ones_book_the_same(visit: Visits) -> None:
    """Next week by link, a week in a hundred years by its date, last week by link."""
    page = visit("/venues/game-hall")
    for _ in range(3):
        follow(page, "text=Next week >> nth=0")
        assert page.locator(BUBBLE).count() >= 70
    follow(page, "text=This week")
    follow(page, "text=Previous week >> nth=0")
    assert page.locator("button.cell").count() == 0
    assert "past" in text_of(page)
    page.fill("#week", "2126-03-10")
    follow(page, "text=Show")
    assert page.inner_text("h2.span") == "10 – 16 March 2126"  # noqa: RUF001 (a span)
    assert page.locator(BUBBLE).count() == 84
    _book(page, page.locator(BUBBLE).first)
    assert page.inner_text("h1") == "Booked: Bubble football"


@pytest.mark.parametrize(
    ("size", "script"),
    [
        (PHONE, True),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in ((DESK, False), (PHONE, False), (DESK, True))),
    ],
)
def test_a_visitor_books_in_two_clicks_and_cancels_with_or_without_javascript(
    visit: Visits, size: tuple[int, int], script: bool, tmp_path: Path
) -> None:
    """The place is kept while the name is typed; then confirmation, calendar file, list; then it is free again."""
    day = far(20 + size[0] // 100 + script)
    week = f"/venues/game-hall?week={day}"
    page, other = visit(week, size, script=script), visit(week, size)
    cell = page.locator(BUBBLE).first
    label = cell.get_attribute("aria-label")
    assert label.startswith("2 of 2 left, Bubble football, ")
    follow(page, cell)  # the first click
    one_left = f"[aria-label='{label.replace('2 of 2', '1 of 2')}']"
    other.reload()
    assert other.locator(one_left).count() == 1
    page.fill("text=Your name", "Ada Lovelace")
    follow(page, "text=Book it")  # the second
    assert page.inner_text("h1") == "Booked: Bubble football"
    assert "For Ada Lovelace: 1 team" in text_of(page)
    with page.expect_download() as waiting:
        page.click("text=Put it into your calendar")
    file = tmp_path / "booking.ics"
    waiting.value.save_as(file)
    assert f"DTSTART:{day:%Y%m%d}T070000Z" in file.read_text()  # 10:00 in Istanbul
    follow(page, "nav >> text=My bookings")
    assert "For Ada Lovelace: 1 team" in text_of(page)
    follow(page, "main button")
    assert "You have no bookings." in text_of(page)
    other.reload()
    assert other.locator(f"[aria-label='{label}']").count() == 1


def test_the_page_counts_down_how_long_a_place_is_kept(visit: Visits) -> None:
    """Minutes and seconds while it lasts, then that it is over; the site's own clock decides."""
    page = visit(f"/venues/game-hall?week={far(30)}")
    page.clock.install(time=datetime.fromtimestamp(page.evaluate("Date.now()") / 1000, UTC))
    follow(page, BUBBLE)
    kept = page.locator("#kept")
    expect(kept).to_contain_text("more")
    # How far the browser's clock is behind the server's, a busy machine decides.
    until = datetime.fromisoformat(str(kept.get_attribute("data-until")))
    page.clock.pause_at(until - timedelta(minutes=5))
    expect(kept).to_have_text("Kept for you for 5:00 more.")
    page.clock.fast_forward("06:00")
    expect(kept).to_contain_text("No longer")
    follow(page, "text=Let go and choose another time")
    assert "Let go." in text_of(page)


@pytest.mark.parametrize(("zone", "script", "shown"), [
    ("America/New_York", True, True), ("Asia/Riyadh", True, False),
    *(pytest.param(*c, marks=pytest.mark.slow) for c in (
        ("Europe/Istanbul", True, False), ("America/New_York", False, False),
    )),
])  # fmt: skip
def test_the_visitors_own_time_stands_beside_the_venues_where_they_differ(
    visit: Visits, zone: str, script: bool, shown: bool
) -> None:
    """The same clock under another name is no difference; without scripts there is the venue's time only."""
    page = visit("/venues/game-hall?week=2126-01-14", zone=zone, script=script)
    row = "table.week tbody tr >> nth=0 >> th"
    assert text_of(page, row) == ("10:00 02:00" if shown else "10:00")
    assert ("the time on your own clock" in text_of(page)) is shown
    page.goto("/venues/rental?week=2126-01-18", wait_until="load")
    follow(page, "button.cell")
    told = {"America/New_York": "10:00 on your clock", "Europe/Istanbul": "18:00 on your clock"}
    if script and zone in told:
        assert f"09:00–17:00, Chicago time {told[zone]}" in text_of(page)  # noqa: RUF001 (a span)
    elif not script:
        assert "on your clock" not in text_of(page)
    follow(page, "text=Let go and choose another time")


def test_zones_that_differ_in_another_season_only_are_no_difference_in_this_one(visit: Visits) -> None:
    """New York's winter clock is Bogotá's; in summer it is not."""
    winter = visit("/venues/school?week=2126-01-14", zone="America/New_York")
    assert "on your own clock" not in text_of(winter)
    assert text_of(winter, "table.week tbody th") == "16:00"
    winter.goto("/venues/school?week=2126-07-08")
    assert "on your own clock" in text_of(winter)
    assert text_of(winter, "table.week tbody th") == "16:00 17:00"


def test_a_weekday_that_differs_on_the_visitors_clock_is_told(visit: Visits) -> None:
    """Friday night in Madrid is Saturday morning in Tokyo."""
    page = visit("/venues/clubs?week=2126-01-18", zone="Asia/Tokyo")
    follow(page, "button.cell")
    assert "22:00–02:00 (next day), Madrid time Sat 19 Jan, 06:00 on your clock" in text_of(page)  # noqa: RUF001


@pytest.mark.slow
def test_who_comes_second_is_told_so_and_books_the_next_free_time(visit: Visits) -> None:
    """Two people see the same free slot; the slower one reads a sentence and has one more button to press."""
    day = far(40)
    fast, slow = visit(f"/venues/game-hall?week={day}"), visit(f"/venues/game-hall?week={day}")
    _book(fast, fast.locator(BUBBLE).first, party=2)
    follow(slow, BUBBLE)
    assert f"Just taken. The next free one is {day:%a} {day.day} {day:%b} {day.year}, 11:00." in text_of(slow)
    follow(slow, "main button")
    slow.fill("#name", "Grace Hopper")
    with slow.expect_navigation(wait_until="load"):
        slow.keyboard.press("Enter")
    assert slow.inner_text("h1") == "Booked: Bubble football"
    assert "11:00–12:00" in text_of(slow)  # noqa: RUF001 (a span of time)


def _book(page: Any, cell: Any, party: int = 1) -> None:
    follow(page, cell)
    page.fill("#name", "Ada Lovelace")
    page.fill("#party", str(party))
    follow(page, "text=Book it")
