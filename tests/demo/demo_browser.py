"""Somebody with a browser, in front of the demo."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

#: A Tuesday: 11:30 in Istanbul, 09:30 in Madrid, 03:30 in Chicago, 08:30 in Lisbon, 03:30 in Bogotá.
NOW = datetime(2026, 3, 10, 8, 30, tzinfo=UTC)

#: The two sizes for which the pages are made.
PHONE, DESK = (390, 844), (1280, 900)
#: A deadline for slow machines, not a measure.
PATIENCE_MS = 100_000

#: Notes what a page does wrong while it loads: what its policy forbids, and what moves after it was painted.
OBSERVE = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} forbids ${event.blockedURI}`));
window.moved = 0;
new PerformanceObserver((list) => {
  for (const shift of list.getEntries()) if (!shift.hadRecentInput) window.moved += shift.value;
}).observe({ type: "layout-shift", buffered: true });
"""

#: What the browser itself says of an answer that is not 200: the tests ask for those on purpose.
_ANSWERED = "Failed to load resource"


@dataclass
class Visits:
    """Opens pages, each for a person of their own with cookies of their own, and notes what goes wrong there."""

    browser: Any
    base: str
    observe: str
    problems: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def __call__(
        self,
        address: str = "/",
        size: tuple[int, int] = DESK,
        zone: str = "Europe/Istanbul",
        script: bool = True,
        **context: Any,
    ) -> Any:
        """Return a page at an address of the site.

        :param zone: where this person's clock is.
        :param script: whether scripts run.
        """
        made = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            timezone_id=zone,
            java_script_enabled=script,
            base_url=self.base,
            **context,
        )
        made.set_default_timeout(PATIENCE_MS)
        self.contexts.append(made)
        if script:
            made.add_init_script(self.observe)
        page = made.new_page()
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        page.goto(address)
        return page

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith(_ANSWERED):
            self.problems.append(text)

    def leave(self) -> None:
        """Close all."""
        for context in self.contexts:
            context.close()


def follow(page: Any, place: Any) -> None:
    """Press what leads to another page, and wait until that is there.

    :param place: a locator, or its selector.
    """
    found = page.locator(place).first if isinstance(place, str) else place
    with page.expect_navigation(wait_until="load"):
        found.click()


def far(days: int) -> date:
    """Return a day that lies so far ahead that no top-up and no sample reaches it.

    :param days: a number of its own for each test, so that none is in the way of another.
    """
    return NOW.date() + timedelta(days=400 + days)


def text_of(page: Any, selector: str = "main") -> str:
    """Return what can be read in a part of a page, with single spaces."""
    return " ".join(page.inner_text(selector).split())
