"""Every page in both sizes and both colour schemes: accessible, valid, inside its window, still, and free of faults."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from demo_browser import DESK, PHONE, Visits, far, follow
from servers import Unavailable, npm_package

import demo_app

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.browser

AXE = ("axe-core", "4.14.1")
CHECKER = ("vnu-jar", "26.9.27")

PAGES = {
    "venues": "/",
    "a full week": "/venues/game-hall",
    "a week with few dates": "/venues/clubs",
    "not open yet": "/venues/community",
    "a week long ago": "/venues/school?week=2020-01-01",
    "no bookings": "/bookings",
    "a slot": "/slots/2@{day}T1000",
    "a cancelled slot": "{cancelled}",
    "templates": "/owner/",
    "new template": "/owner/new",
    "a template": "/owner/templates/2?show=20",
    "a split series": "/owner/templates/11",
    "change a template": "/owner/templates/2/edit",
    "days off of a template": "/owner/templates/2/limits",
    "calendar": "/owner/calendar",
    "a date": "/owner/slots/2@{day}T1000",
    "day off": "/owner/day",
    "operations": "/owner/operations?template=2&day=2026-11-20&time=09%3A00",
    "nothing here": "/nowhere",
}

SERIOUS = """async (rules) => {
  const options = rules ? { runOnly: { type: "rule", values: rules } } : {};
  const { violations } = await axe.run(document, { ...options, resultTypes: ["violations"] });
  return violations.filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html + n.failureSummary).join(" | ")}`);
}"""


#: What a finger would miss: less than 44 pixels high where something is done, less than 24 where a link stands alone.
SMALL = """() => [...document.querySelectorAll("a, button, input, select, textarea, summary")].filter((e) => {
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  if (!box.height || e.classList.contains("skip") || ["checkbox", "radio"].includes(e.type)) return false;
  const link = ["A", "SUMMARY"].includes(e.tagName) && !e.classList.contains("button");
  return link ? style.display !== "inline" && box.height < 23.5 : box.height < 43.5;
}).map((e) => `${e.tagName} ${e.id || e.textContent.trim()}`)"""


#: Pages that are only there after something was pressed.
BEHIND_FORMS = 8


@dataclass
class Walk:
    """What was seen on a walk over every page of the site, at one size.

    :param examined: whether axe-core was there.
    :param pages: name -> the markup as it stands in the browser.
    :param wide: pages that have to be scrolled sideways.
    :param small: what is too small for a finger, on a phone.
    :param moved: pages of which something moved after it was painted.
    :param findings: what axe-core calls serious or critical.
    :param problems: what the console said: faults of scripts, and what the policy forbade.
    """

    examined: bool = False
    pages: dict[str, str] = field(default_factory=dict)
    wide: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def look(self, page: Any, name: str, axe: str | None) -> None:
        """Note what is to be said of a page."""
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.pages[name] = f"<!doctype html>{page.evaluate('document.documentElement.outerHTML')}"
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            self.wide.append(name)
        if page.viewport_size["width"] < 500:
            self.small += [f"{name}: {text}" for text in page.evaluate(SMALL)]
        if page.evaluate("window.moved"):
            self.moved.append(f"{name}: {page.evaluate('window.moved')}")
        if axe is None:
            return
        page.evaluate(axe)
        schemes: list[tuple[str, list[str] | None]] = [("light", None)]
        if page.viewport_size["width"] >= 500:  # colours do not depend on the size: once is enough
            schemes.append(("dark", ["color-contrast", "link-in-text-block"]))
        for scheme, rules in schemes:
            page.emulate_media(color_scheme=scheme)
            self.findings += [f"{name}, {scheme}: {text}" for text in page.evaluate(SERIOUS, rules)]


@pytest.fixture(scope="module")
def axe() -> str | None:
    """The source of axe-core; ``None`` where there is no npm to get it from."""
    try:
        return (npm_package(*AXE) / "axe.min.js").read_text("utf-8")
    except Unavailable:
        return None


@pytest.fixture(scope="module")
def walk(browser: Any, base: str, observe: str) -> Callable[..., Walk]:
    """Walk over all pages at a size, once; axe-core comes along for those who want its findings."""
    walks: dict[tuple[int, int], Walk] = {}

    def go(size: tuple[int, int], axe: str | None = None) -> Walk:
        if size not in walks or (axe and not walks[size].examined):
            visit, walks[size] = Visits(browser, base, observe), Walk(examined=axe is not None)
            # Somewhere else, so that the visitor's own times are written beside the venue's.
            page = visit(size=size, zone="America/New_York")
            _walk(page, lambda name: walks[size].look(page, name, axe))
            visit.leave()
            walks[size].problems = visit.problems
        return walks[size]

    return go


def _walk(page: Any, shown: Callable[[str], None]) -> None:
    """Go to every page of the site and say which one it is: those with an address, then those behind a form."""
    page.goto("/owner/calendar?venue=community")
    while page.locator("a.event.cancelled").count() == 0:
        follow(page, "text=Next week")
    cancelled = page.locator("a.event.cancelled").first.get_attribute("href").removeprefix("/owner")
    for name, address in PAGES.items():
        page.goto(address.format(day=f"{far(90):%Y%m%d}", cancelled=cancelled))
        shown(name)
    week = f"/venues/game-hall?week={far(100 + page.viewport_size['width'] // 100)}"
    page.goto(week)
    follow(page, "button.cell:visible")
    shown("held")
    page.evaluate("document.querySelector('form').noValidate = true")
    follow(page, "text=Book it")
    shown("a booking that is typed wrongly")
    page.fill("#name", "Ada Lovelace")
    page.fill("#party", "2")
    follow(page, "text=Book it")
    shown("booked")
    page.goto("/bookings")
    shown("my bookings")
    page.goto(week)
    follow(page, "a.cell.full:visible")
    shown("a full slot")
    _walk_owner(page, shown)


def _walk_owner(page: Any, shown: Callable[[str], None]) -> None:
    date = f"/owner/slots/1@{far(91):%Y%m%d}T1000"
    page.goto(date)
    page.fill("#start_time", "10:20")
    follow(page, "text=See what changes")
    shown("which dates")
    page.goto(date)
    page.check("text=This and all following dates")
    follow(page, "button:text-is('Cancel dates')")
    shown("cancel, are you sure")
    page.goto("/owner/new")
    follow(page, "text=Create and fill the first week")
    shown("a template that is typed wrongly")


@pytest.mark.parametrize("size", [PHONE, pytest.param(DESK, marks=pytest.mark.slow)])
def test_no_page_has_a_serious_fault_of_accessibility(
    walk: Callable[..., Walk],
    axe: str | None,
    npm: Callable[[str, str], Path],
    size: tuple[int, int],
) -> None:
    """axe-core finds nothing serious or critical on any page, at a desk in dark colours neither."""
    npm(*AXE)  # skips with the reason where there is none
    found = walk(size, axe)
    assert found.findings == []
    assert len(found.pages) == len(PAGES) + BEHIND_FORMS


@pytest.mark.parametrize(
    "size", [PHONE, *(pytest.param(s, marks=pytest.mark.slow) for s in ((320, 640), DESK))]
)
def test_no_page_is_wider_than_its_window_too_small_moves_or_breaks_its_policy(
    walk: Callable[..., Walk], size: tuple[int, int]
) -> None:
    """Nothing to scroll sideways, nothing that shifts or that a finger misses, and not a word in the console."""
    found = walk(size)
    assert (found.wide, found.small, found.moved, found.problems) == ([], [], [], [])


def test_every_page_is_valid_html(
    walk: Callable[..., Walk], npm: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """The checker of the standard's own people has nothing to say, not even a warning."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("java is not installed; the HTML checker is written in it")
    checker = npm(*CHECKER) / "build" / "dist" / "vnu.jar"
    for name, markup in walk(PHONE).pages.items():
        (tmp_path / f"{name}.html").write_text(markup, "utf-8")
    styles = Path(demo_app.__file__).parent / "static" / "demo.css"
    # One compiler and one collector: most of the time goes into the start. The stack is for what that leaves out.
    machine = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xss4m")
    command = (java, *machine, "-jar", str(checker), "--stdout", "--exit-zero-always", "--also-check-css")
    files = (*sorted(tmp_path.glob("*.html")), styles)
    done = subprocess.run((*command, *files), capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.replace(f"{tmp_path}/", "").splitlines() == []


def test_a_place_is_booked_with_the_keyboard_alone(visit: Visits) -> None:
    """From the top of the week to the confirmation with Tab and Enter; where the focus is, can be seen."""
    page = visit(f"/venues/clubs?week={far(110)}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().width") > 50
    page.keyboard.press("Enter")
    _tab_to(page, "button", "Friday Night Party")
    with page.expect_navigation(wait_until="load"):
        page.keyboard.press("Enter")
    # Ready to type. The browser sets the focus with the first picture, which may come after the load.
    page.wait_for_function("document.activeElement.id === 'name'")
    page.keyboard.type("Ada Lovelace")
    _tab_to(page, "button", "Book it")
    with page.expect_navigation(wait_until="load"):
        page.keyboard.press("Enter")
    assert page.inner_text("h1") == "Booked: Friday Night Party"


def _tab_to(page: Any, tag: str, text: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate("""() => {
            const e = document.activeElement, style = getComputedStyle(e);
            return [e.tagName.toLowerCase(), `${e.textContent} ${e.getAttribute("aria-label")}`,
                    style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
        }""")
        assert at[2], f"no focus can be seen on {at}"
        if at[0] == tag and text in at[1]:
            return
    pytest.fail(f"no {tag} with {text} within sixty steps")
