"""``python -m benchmarks.soak [--days 30] [--requests 2000] [--json]``: does the memory of a process stay flat?

One process lives through days of traffic on a clock of its own: plain pages, a page that lists a week, the HTTP
list, both feeds, bookings that are made and given back, the gate each hour, and each midnight's top-up. After each
day its memory is read. The days of the first third fill caches that are bounded; then nothing may grow. The exit code
is 1 if something does.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from flask import render_template_string

from flask_rollingslots.errors import RollingSlotsError

from .site import MIDNIGHT, WEEK, Site

HALLS = 3
#: What may come in a day beyond the noise: so many objects that the collector knows, and blocks of Python's memory.
OBJECTS_A_DAY, BLOCKS_A_DAY = 40.0, 100.0
#: What resident memory may grow by between the halves of the later days. It comes in steps of the allocator's, so it
#: says little of a day; what Python itself keeps shows in the blocks first.
RESIDENT = 2_000_000
PAGE = """<table>{% for slot in slots %}<tr><td>{{ slot.key }}<td>{{ slot.name }}<td>{{ slot.starts_at }}
<td>{{ slot.state.value }}<td>{{ slot.left }}</tr>{% endfor %}</table>"""


class Sample(NamedTuple):
    """A process at the end of a day: the collector's objects, blocks of Python's memory, resident memory in bytes."""

    objects: int
    blocks: int
    resident: int


@dataclass(frozen=True)
class Found:
    """What came of a soak; growth is that after the first third of the days.

    :param resident_mb: at the end of each day.
    """

    days: int
    requests: int
    answers: dict[str, int]
    objects_a_day: float
    blocks_a_day: float
    resident: float
    resident_mb: list[float]

    @property
    def is_flat(self) -> bool:
        """Whether nothing grew."""
        few = self.objects_a_day <= OBJECTS_A_DAY and self.blocks_a_day <= BLOCKS_A_DAY
        return few and self.resident <= RESIDENT


class Traffic:
    """An app and its visitors, in this process."""

    def __init__(self, url: str) -> None:
        """Make the app, with everything that a visitor may ask for."""
        self.site = Site(
            url,
            ROLLINGSLOTS_ENABLED=True,
            ROLLINGSLOTS_EXECUTOR="thread",
            ROLLINGSLOTS_API_PREFIX="/api",
            ROLLINGSLOTS_PUBLIC_READS=True,
            ROLLINGSLOTS_RETENTION_DAYS=2,
            ROLLINGSLOTS_FEED_HOST="slots.example",
        )
        app, slots = self.site.app, self.site.slots
        self.site.now = MIDNIGHT
        with app.app_context():
            self.site.add(HALLS, group="venue", capacity=50)
            self.site.db.session.remove()
        app.add_url_rule("/", "plain", lambda: "plain")
        app.add_url_rule(
            "/week",
            "week",
            lambda: render_template_string(
                PAGE, slots=slots.view(self.site.now, self.site.now + WEEK, template=1)
            ),
        )
        self.client = app.test_client()
        self.answers: dict[str, int] = {}

    def hour(self, day: int, hour: int, requests: int) -> None:
        """Let so many requests come in an hour of a day; the gate finds it time to look."""
        self.site.now = MIDNIGHT + timedelta(days=day, hours=hour)
        topup = self.site.app.extensions["rollingslots"].topup
        topup.memory.next_check = 0.0
        for number in range(requests):
            self._visit(number)
        if not topup.executor.join(60):
            raise RuntimeError("a top-up does not end")

    def _visit(self, number: int) -> None:
        start, end = self.site.now, self.site.now + timedelta(days=1)
        span = f"start={start:%Y-%m-%dT%H:%M:%SZ}&end={end:%Y-%m-%dT%H:%M:%SZ}"
        pages: tuple[str | Callable[[int], str], ...] = (
            "/", "/", "/week", f"/api/slots?{span}", "/", f"/api/feed.json?{span}", self._book, "/week",
            "/api/feed.ics", "/api/health",
        )  # fmt: skip
        page = pages[number % len(pages)]
        if isinstance(page, str):
            answer = f"{page.partition('?')[0]} {self.client.get(page).status_code}"
        else:
            answer = page(number)
        self.answers[answer] = self.answers.get(answer, 0) + 1

    def _book(self, number: int) -> str:
        """Book a place on a free slot; give half of them back."""
        with self.site.app.app_context():
            slots, session = self.site.slots, self.site.db.session
            try:
                free = [slot for slot in slots.upcoming(1 + number % HALLS, 20) if slot.is_bookable]
                booking = slots.book(free[number % len(free)].key, who=f"visitor {number}")
                session.commit()
                if number % 20 < 10:
                    slots.release(booking.id)
                    session.commit()
            except RollingSlotsError as error:
                session.rollback()
                return f"booking refused: {type(error).__name__}"
            finally:
                session.remove()
        return "booked"


def sample() -> Sample:
    """Look at this process (Linux)."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    resident = 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return Sample(len(gc.get_objects()), sys.getallocatedblocks(), resident)


def growth(figures: Sequence[float]) -> tuple[float, float]:
    """Return by how much figures of days grow after the first third, between two medians; and that for a day."""
    later = figures[len(figures) // 3 :]
    half = len(later) // 2
    grown = statistics.median(later[-half:]) - statistics.median(later[:half])
    return grown, grown / (len(later) - half)


def soak(url: str, days: int, requests: int, kept: int = 0) -> Found:
    """Let days of traffic come; return how the memory of this process grew.

    :param requests: of each day.
    :param kept: bytes that each request leaves behind, to see that this is noticed.
    """
    traffic, samples, leak = Traffic(url), list[Sample](), list[list[bytes]]()
    for day in range(days):
        for hour in range(24):
            traffic.hour(day, hour, requests // 24)
            leak.extend([bytes(kept)] for _ in range(requests // 24 if kept else 0))
        samples.append(sample())
    traffic.site.close()
    return Found(
        days=days,
        requests=requests // 24 * 24 * days,
        answers=traffic.answers,
        objects_a_day=growth([each.objects for each in samples])[1],
        blocks_a_day=growth([each.blocks for each in samples])[1],
        resident=growth([each.resident for each in samples])[0],
        resident_mb=[round(each.resident / 1e6, 2) for each in samples],
    )


def main() -> int:
    """Run one soak, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument(
        "--days", type=int, default=30, help="simulated days, at least 6 (default: %(default)s)"
    )
    parser.add_argument("--requests", type=int, default=2_000, help="of each day (default: %(default)s)")
    parser.add_argument(
        "--kept", type=int, default=0, help="bytes that each request leaves behind, on purpose"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    logging.getLogger("flask_rollingslots").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        url = f"sqlite:///{Path(folder) / 'soak.db'}"
        found = soak(url, max(6, options.days), options.requests, options.kept)
    shown: dict[str, Any] = {**asdict(found), "is_flat": found.is_flat}
    text = (
        json.dumps(shown) if options.json else "\n".join(f"{name}: {value}" for name, value in shown.items())
    )
    sys.stdout.write(text + "\n")
    return int(not found.is_flat)


if __name__ == "__main__":
    sys.exit(main())
