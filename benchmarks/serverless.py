"""What a request pays in which a top-up is due and the executor is ``inline``: it works before it answers.

Everything is stored, so the work is the comparison. Its cost for one request must not grow with the templates: a
request does a part, and the next ones go on, until all of it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from time import process_time
from typing import Any

from sqlalchemy import text

from flask_rollingslots.models import table_of

from .filling import add_templates
from .frame import Bench, DifferentWork, Row, Side, at_most, benchmark
from .hook import answer
from .site import MIDNIGHT, Site

FEW, MANY = 500, 4_000
#: Slots a day: what is measured is the templates.
HOURS = 2
REQUESTS = 400


class Visited:
    """An app whose requests do the top-ups themselves, with everything stored."""

    def __init__(self, bench: Bench, templates: int) -> None:
        """Make and fill it."""
        self.site = Site(bench.database("sqlite"), ROLLINGSLOTS_ENABLED=True, ROLLINGSLOTS_EXECUTOR="inline")
        bench.closing(self.site.close)
        self.site.app.add_url_rule("/", "plain", lambda: "plain")
        self.site.now = MIDNIGHT - timedelta(minutes=1)
        with self.site.app.app_context():
            add_templates(self.site, templates)
            times = table_of(self.site.slots.Template).update()
            until = (MIDNIGHT + timedelta(hours=HOURS)).time()
            self.site.db.session.execute(times.values(until_time=until))
            self.site.db.session.commit()
            self.site.slots.generate(days=8)
            self.site.db.session.remove()
        self.site.now = MIDNIGHT
        self.visit()

    @property
    def memory(self) -> Any:
        """What the process remembers."""
        return self.site.app.extensions["rollingslots"].topup.memory

    def make_due(self) -> None:
        """Let everything be looked at again, from the beginning."""
        with self.site.app.app_context():
            session = self.site.db.session
            session.execute(text("UPDATE rolling_lease SET confirmed_ms = 0, fingerprint = NULL"))
            session.commit()
            session.remove()
        self.memory.reset()

    def visit(self) -> bytes:
        """Make one request as a server would."""
        return answer(self.site.app)

    def is_confirmed(self) -> bool:
        """Whether everything was looked at."""
        with self.site.app.app_context():
            found = self.site.db.session.scalar(text("SELECT confirmed_ms FROM rolling_lease"))
            self.site.db.session.remove()
        return bool(found)

    def requests_until_done(self) -> int:
        """Return how many due requests it takes until everything was looked at."""
        self.make_due()
        for number in range(1, REQUESTS):
            self.memory.next_check = 0.0
            self.visit()
            if self.is_confirmed():
                return number
        raise DifferentWork(f"{REQUESTS} requests did not do the work")


@benchmark("serverless")
def serverless(bench: Bench) -> Iterator[Row]:
    """A due request of the executor inline, with few and with many templates; how many requests it takes."""
    few, many = Visited(bench, FEW), Visited(bench, MANY)
    yield bench.compare(
        f"inline, a due request, {MANY:,} templates, nothing missing",
        Side("a due request", many.visit, many.make_due, clock=process_time),
        Side(f"{FEW:,} templates", few.visit, few.make_due, clock=process_time),
        at_most(1.5),
    )
    found = many.requests_until_done(), few.requests_until_done()
    yield bench.count(
        f"inline, due requests until {MANY:,} templates are looked at",
        found[0],
        found[1],
        f"{FEW:,} templates",
    )
