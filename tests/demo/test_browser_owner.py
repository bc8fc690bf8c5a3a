"""The owner in a real browser: templates, their first week, the calendar, days off, and the operations page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from demo_browser import DESK, PHONE, Visits, far, follow, text_of

if TYPE_CHECKING:
    from datetime import date

pytestmark = pytest.mark.browser

CHANGE, LEAVE = "text=Change these dates", "text=Leave it as it is"


def make(visit: Visits, name: str, start: str, size: tuple[int, int] = DESK, **typed: str) -> Any:
    """Create a template by its form, and return its page once its first week is filled."""
    page = visit("/owner/new", size)
    page.fill("#name", name)
    page.fill("#start_time", start)
    for field, value in typed.items():
        page.fill(f"#{field}", value)
    follow(page, "text=Create and fill the first week")
    page.wait_for_selector("#said:has-text(' ready.')")
    return page


def wide(page: Any) -> bool:
    """Whether a page has to be scrolled sideways."""
    found: bool = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    return found


def test_templates_are_listed_with_their_rules_in_words_and_a_badge_for_endless_ones(visit: Visits) -> None:
    """The endless ones have an ∞, which is read as "for ever"; the split series shows both of its parts."""
    page = visit("/owner/")
    row = page.locator("li:has-text('Friday Night Party')")
    assert (
        " ".join(row.inner_text().split())
        == "Friday Night Party Every week on Friday at 22:00 ∞ for ever active"
    )
    assert page.locator("li:has-text('Mobile crane') .badge").all_inner_texts() == ["has an end", "active"]
    parts = page.locator("li:has-text('Morning choir')").all_inner_texts()
    assert len(parts) == 2
    assert "Then: Every day at 09:00" in parts[1]


def test_the_next_dates_are_shown_while_the_form_is_filled_in(visit: Visits) -> None:
    """No button is needed with scripts: each key asks, and the last answer stands."""
    page = visit("/owner/new")
    assert page.locator("#show-preview").is_hidden()
    assert page.locator("#preview li").count() == 5
    page.select_option("#unit", "weekly")
    page.check("text=Friday")
    page.fill("#start_time", "21:15")
    page.wait_for_selector("#preview:has-text('Every week on Friday at 21:15.')")
    lines = page.locator("#preview li").all_inner_texts()
    assert len(lines) == 5
    assert all(line.startswith("Friday ") and "21:15" in line for line in lines)
    page.fill("#interval", "0")
    page.wait_for_selector("#preview:has-text('Not complete yet. Repeat every: Expected a whole number')")


def test_the_next_dates_are_shown_by_a_button_without_scripts(visit: Visits) -> None:
    """What was typed is kept, and nothing is saved."""
    page = visit("/owner/new", script=False)
    page.fill("#start_time", "21:15")
    follow(page, "text=Show the next dates")
    assert page.locator("#preview li").count() == 5
    assert "21:15" in text_of(page, "#preview")
    assert page.input_value("#start_time") == "21:15"


@pytest.mark.parametrize("size", [PHONE, pytest.param(DESK, marks=pytest.mark.slow)])
def test_the_first_week_is_filled_while_a_bar_shows_how_far_it_is(
    visit: Visits, size: tuple[int, int]
) -> None:
    """The bar reaches its end, and the page says how many dates are ready; then their next five."""
    page = make(visit, "Table tennis", "00:00", size, length="10", grid_every="10", grid_until="00:00")
    assert page.get_attribute("#progress", "value") == page.get_attribute("#progress", "max")
    ready = int(page.inner_text("#said").split()[0])
    assert 6 * 144 <= ready <= 7 * 144
    assert page.locator("ol.rows li").count() == 5
    assert not wide(page)
    follow(page, "text=Switch off")


@pytest.mark.slow
def test_upcoming_dates_come_five_at_a_time_up_to_two_hundred(visit: Visits) -> None:
    """Each press shows five more, where the eye is; at two hundred the button is gone."""
    page = visit("/owner/templates/2")
    for number in (5, 10, 15):
        assert page.locator("ol.rows li").count() == number
        follow(page, "text=Show five more")
    assert page.url.endswith("?show=20#coming")
    page.goto("/owner/templates/2?show=195")
    follow(page, "text=Show five more")
    assert page.locator("ol.rows li").count() == 200
    assert page.locator("text=Show five more").count() == 0


def test_a_date_of_the_calendar_is_changed_after_its_consequences_were_shown(visit: Visits) -> None:
    """Which dates? This one, this and all following, all: each says what it would do, and only the chosen is done."""
    make(visit, "Darts", "15:00")
    page = visit("/owner/calendar?venue=game-hall")
    follow(page, "text=Next week")
    event = page.locator("a.event:has-text('15:00 Darts')").first
    before = event.get_attribute("href")
    follow(page, event)
    page.fill("#start_time", "15:30")
    follow(page, "text=See what changes")
    assert page.inner_text("h1") == "Which dates?"
    only, following, everything = (
        text_of(page, f"#does-{scope}") for scope in ("this", "this_and_future", "all")
    )
    assert only.startswith("Changed: 1 ")
    assert "The series is split here: earlier dates stay as they are." in following
    assert "Changed: " in everything  # after "Created: ", if today's has begun and would now be later
    assert "Later dates, which are not stored yet, follow the same rule." in everything
    follow(page, LEAVE)
    assert page.input_value("#start_time") == "15:00"
    page.fill("#start_time", "15:30")
    follow(page, "text=See what changes")
    page.check("text=This and all following dates")
    follow(page, CHANGE)
    assert page.url.endswith(before)
    assert "Changed: this and all following dates." in text_of(page)
    page.goto("/owner/calendar?venue=game-hall")
    assert "15:30 Darts" not in text_of(page)
    assert "15:00 Darts" in text_of(page)
    follow(page, "text=Next week")
    follow(page, "text=Next week")
    assert text_of(page).count("15:30 Darts") == 7


@pytest.mark.slow
def test_a_booked_date_is_kept_unless_that_is_ticked(visit: Visits) -> None:
    """The answer "only this date" cannot be chosen, with the reason; ticked, it can."""
    day = far(60)
    page = visit(f"/venues/game-hall?week={day}")
    cell = page.locator("button[aria-label*='Laser tag']:visible").first
    key = cell.get_attribute("formaction").split("/")[2]
    follow(page, cell)
    page.fill("#name", "Ada Lovelace")
    follow(page, "text=Book it")
    page.goto(f"/owner/slots/{key}")
    assert "Ada Lovelace (1 team)" in text_of(page)
    page.fill("#start_time", "10:20")
    follow(page, "text=See what changes")
    assert page.locator("#scope-this").is_disabled()
    assert "It is booked." in text_of(page, "#does-this")
    follow(page, LEAVE)
    page.fill("#start_time", "10:20")
    page.check("text=Move booked dates too")
    follow(page, "text=See what changes")
    follow(page, CHANGE)
    assert f"{day:%a} {day.day} {day:%b} {day.year}, 10:20" in page.inner_text("h1")
    page.goto("/bookings")
    assert "10:20" in text_of(page)


@pytest.mark.slow
def test_a_template_is_changed_from_its_next_date_on_or_as_a_whole(visit: Visits) -> None:
    """The form knows the rule, shows the next dates as they will be, and asks before it changes any."""
    page = make(visit, "Chess evening", "20:00")
    follow(page, "text=Change >> nth=0")
    assert (page.input_value("#name"), page.input_value("#unit")) == ("Chess evening", "daily")
    page.select_option("#unit", "weekly")
    page.check("text=Monday")
    page.fill("#capacity", "12")
    page.wait_for_selector("#preview:has-text('Every week on Monday at 20:00.')")
    follow(page, "text=See what changes")
    said = "Rule: Every week on Monday at 20:00. Places: 12 instead of 2. Nothing has happened yet."
    assert said in text_of(page)
    assert "Removed, for nobody booked them:" in text_of(page, "#does-all")
    page.check("text=All dates of the series")
    follow(page, CHANGE)
    page.goto("/owner/")
    assert "Chess evening Every week on Monday at 20:00" in text_of(page)


@pytest.mark.slow
def test_a_day_is_cancelled_for_all_and_brought_back(visit: Visits) -> None:
    """Choose venue and day, see what lies on it, give a reason; visitors read it, and it can be taken back."""
    day = far(70)
    page = visit("/owner/day")
    page.select_option("#venue", "school")
    page.fill("#day", str(_with_lessons(day)))
    follow(page, "text=Show")
    page.fill("#reason", "The roof leaks")
    follow(page, "text=Cancel the whole day")
    assert "Cancelled: " in text_of(page)
    guest = visit(f"/venues/school?week={_with_lessons(day)}")
    follow(guest, "a.cell.cancelled")
    assert "This date was cancelled by the venue." in text_of(guest)
    assert "Reason: The roof leaks" in text_of(guest)
    follow(page, "text=Restore the day")
    assert "Restored: " in text_of(page)
    guest.goto(f"/venues/school?week={_with_lessons(day)}")
    assert guest.locator("a.cell.cancelled").count() == 0


def _with_lessons(day: date) -> date:
    """Return the first Monday from a day on: then two students have a lesson."""
    return day.fromordinal(day.toordinal() + (7 - day.weekday()) % 7)


@pytest.mark.slow
def test_public_holidays_close_an_offer(visit: Visits) -> None:
    """A country's code leaves its holidays out: no choir on Christmas Day; without the code it sings."""
    christmas = far(0).replace(month=12, day=25)
    page = visit("/owner/templates/11/limits")
    for code, number in (("PT", 0), ("", 1)):
        page.fill("#holidays", code)
        follow(page, "text=Save")
        assert ("public holidays of PT" in text_of(page)) is bool(code)
        page.goto(f"/venues/community?week={christmas}")
        assert page.locator("[aria-label*='Morning choir'][aria-label*='25 December']").count() == number
        page.goto("/owner/templates/11/limits")


@pytest.mark.slow
def test_one_date_and_a_whole_series_are_cancelled_and_restored(visit: Visits) -> None:
    """Wide cancellations are asked for once more; both are taken back by a button."""
    page = make(visit, "Billiards", "16:00")
    address = page.url
    follow(page, "ol.rows li a")
    follow(page, "button:text-is('Cancel dates')")
    assert "Cancelled. It stays visible as cancelled" in text_of(page)
    follow(page, "button:text-is('Restore')")
    assert "Restored." in text_of(page)
    page.check("text=All dates of the series")
    follow(page, "button:text-is('Cancel dates')")
    assert page.inner_text("h1") == "Cancel all dates of the series?"
    assert "None of them is booked." in text_of(page)
    follow(page, "text=Cancel all dates of the series >> nth=-1")
    assert text_of(page).count("This date was cancelled by the venue.") == 5
    follow(page, "text=Restore the series")
    assert "Restored: " in text_of(page)
    page.goto(address)
    assert text_of(page).count("2 of 2 places left.") == 5


def test_the_operations_page_shows_pictures_numbers_and_answers(visit: Visits) -> None:
    """Coverage and figures are drawn, with words beside; the question why there is no slot has an answer."""
    page = visit("/owner/operations")
    assert page.locator("svg[role=img]").count() == 4
    assert page.locator("svg.coverage rect").count() >= 18 * 7
    names = page.evaluate(
        """[...document.querySelectorAll("svg")].map((svg) => svg.getAttribute("aria-labelledby").split(" ")
        .map((id) => document.getElementById(id).textContent).join(": "))"""
    )
    assert names[0].startswith("Coverage of the window: ")
    assert names[1].startswith("Booked places by weekday: Mon ")
    assert "a template changed done" in text_of(page, "section[aria-labelledby=runs-title]")
    page.click("text=The same as a table")
    assert " of " in text_of(page, "details table")
    page.select_option("#template", label="Bubble football")
    page.fill("#day", str(far(80)))
    page.fill("#time", "09:00")
    follow(page, "text=Explain")
    assert "not in rule: Bubble football" in text_of(page, ".notice")
    page.fill("#time", "11:00")
    follow(page, "text=Explain")
    assert "available: Bubble football" in text_of(page, ".notice")
