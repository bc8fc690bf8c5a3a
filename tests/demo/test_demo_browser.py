"""A real browser: booking without JavaScript, and the owner's progress bar with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.browser


@pytest.fixture
def base(gunicorn: Callable[..., Any], tmp_path: Path) -> str:
    """The address of a new site under gunicorn with two workers."""
    outside = {"DEMO_INSTANCE_PATH": str(tmp_path / "instance"), "DATABASE_URL": "", "SECRET_KEY": ""}
    url: str = gunicorn("demo_app:create_app()", workers=2, env=outside).url
    return url


@pytest.mark.parametrize("width", [390, 1280])
def test_a_visitor_books_and_cancels_without_javascript(browser: Any, base: str, width: int) -> None:
    """From the list of venues to the booking and back, with scripts switched off, on a phone and on a desk."""
    page = browser.new_page(java_script_enabled=False, viewport={"width": width, "height": 844})
    page.goto(base)
    page.click("text=Galata Game Hall")
    page.click("text=Later week")
    free = page.locator("a.cell.open").first
    label = free.get_attribute("aria-label")
    assert label.startswith("2 of 2 left, Bubble football, ")
    free.click()
    page.fill("label:has-text('Your name') + input", "Ada Lovelace")
    page.click("text=Book it")
    assert "For Ada Lovelace: 1 team" in page.inner_text("main")
    page.go_back()
    page.go_back()
    page.reload()
    assert page.locator("a.cell.open").first.get_attribute("aria-label") == label.replace("2 of 2", "1 of 2")
    page.click("text=My bookings")
    page.click("main button")
    assert "There are none." in page.inner_text("main")


def test_the_owner_watches_the_progress_bar_fill(browser: Any, base: str) -> None:
    """The bar starts below its end, reaches it, and the page then says how many slots are ready."""
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{base}/owner/new")
    page.fill("label:has-text('Name') + input", "Table tennis")
    page.fill("#length", "10")
    page.fill("#start_time", "00:00")
    page.fill("#grid_every", "10")
    page.fill("#grid_until", "00:00")
    page.click("main button")
    page.wait_for_selector("text=/\\d+ slots ready/")
    assert page.get_attribute("#progress", "value") == page.get_attribute("#progress", "max")
    ready = int(page.inner_text("#said").split()[0])
    assert 6 * 144 <= ready <= 7 * 144
    assert page.locator(".rows li").count() == 5
    assert problems == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_its_window(browser: Any, base: str, width: int) -> None:
    """Nothing has to be scrolled sideways, down to the narrowest phone."""
    page = browser.new_page(viewport={"width": width, "height": 700})
    venues = ("/venues/game-hall", "/venues/community", "/venues/clubs")
    for address in ("/", *venues, "/owner/", "/owner/new", "/bookings"):
        page.goto(base + address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
