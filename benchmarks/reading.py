"""What ``between()`` costs over the query that an app would write itself, and how pages and feeds grow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import inspect

from flask_rollingslots.feeds import Span, events

from .frame import Bench, DifferentWork, Row, Side, Skip, at_most, benchmark, ours_at_most
from .site import MIDNIGHT, WEEK, Site, statements

TWICE = at_most(2)
WEEKS = 3
VENUE = 5
FEED = 10_000


@benchmark("reading")
def reading(bench: Bench) -> Iterator[Row]:
    """between() beside the bare query, the demo's page with 1 and 1,000 templates, a feed of 10,000 events."""
    for kind in ("sqlite", "postgresql", "mariadb"):
        try:
            yield from weeks(bench, kind)
        except Skip as reason:
            bench.skip(kind, reason)
    yield from many_events(bench)


class Reader:
    """Reads the same slots in several ways, each time as a new request would: with a new session."""

    def __init__(
        self, site: Site, ids: list[int], start: datetime = MIDNIGHT, end: datetime = MIDNIGHT + WEEK
    ):
        """Choose templates (the group ``venue``) and a window."""
        self.site, self.ids, self.start, self.end = site, ids, start, end

    def ours(self, **filters: Any) -> list[str]:
        """Return the keys by ``between``."""
        self.site.db.session.remove()
        found = self.site.slots.between(self.start, self.end, **filters)
        return [slot.key for slot in found[:: len(found) - 1]] + [str(len(found))]

    def _query(self, *what: Any) -> Any:
        slot = self.site.slots.Slot
        query = self.site.db.select(*what).where(
            slot.template_id.in_(self.ids), slot.starts_at >= self.start, slot.starts_at < self.end
        )
        return query.where(slot.status != "deleted").order_by(slot.starts_at, slot.series_id)

    def bare(self) -> list[str]:
        """Return the keys by one query for the same rows, as instances."""
        session = self.site.db.session
        session.remove()
        found = list(session.scalars(self._query(self.site.slots.Slot)))
        return [slot.key for slot in found[:: len(found) - 1]] + [str(len(found))]

    def plain(self) -> int:
        """Return the number of the same rows, as plain tuples."""
        session = self.site.db.session
        session.remove()
        return len(list(session.execute(self._query(*inspect(self.site.slots.Slot).columns))))


def filled(bench: Bench, kind: str) -> tuple[Site, list[int]]:
    """Return an app with 50 templates and three weeks of slots, and the templates of a venue."""
    site = Site(bench.database(kind))
    bench.closing(site.close)
    with site.app.app_context():
        venue = site.add(VENUE, group="venue")
        site.add(50 - VENUE, group="others")
        site.slots.generate(days=7 * WEEKS)
    return site, venue


def weeks(bench: Bench, kind: str) -> Iterator[Row]:
    """Compare the week of one template and of a venue."""
    site, venue = filled(bench, kind)
    with site.app.app_context():
        one, all_of_it = Reader(site, venue[:1]), Reader(site, venue)
        for what, reader, filters in (
            ("a template's week", one, {"template": venue[0]}),
            (f"a venue's week, {VENUE} templates", all_of_it, {"group": "venue"}),
        ):
            ours = Side("between()", repeated(partial(reader.ours, **filters)), calls=2)
            bare = Side("bare query, instances", repeated(reader.bare), calls=2)
            yield bench.compare(
                f"{kind}, {what}, {reader.ours(**filters)[-1]} slots", ours, bare, TWICE, pairs=21
            )
            plain = Side("bare query, plain rows", repeated(reader.plain), calls=2)
            same = lambda mine, theirs: mine[-1] == str(theirs)  # noqa: E731
            yield bench.compare(f"{kind}, {what}", ours, plain, check=same)
        with statements(site.db) as found:
            all_of_it.ours(group="venue")
        yield bench.count(f"{kind}, queries for a venue's week", len(found), 1, "bare query", ours_at_most(2))
        if kind == "sqlite":
            yield virtual_week(bench, site, venue[0])
        site.db.session.remove()


def virtual_week(bench: Bench, site: Site, template: int) -> Row:
    """Compare a week beyond the window, of which nothing is stored, with one that is stored."""
    week = timedelta(days=7 * WEEKS)
    stored, virtual = (
        Reader(site, [template]),
        Reader(site, [template], MIDNIGHT + week, MIDNIGHT + week + WEEK),
    )
    ours = Side("between(), virtual", repeated(partial(virtual.ours, template=template)), calls=2)
    other = Side("between(), stored", repeated(partial(stored.ours, template=template)), calls=2)
    same = lambda mine, theirs: mine[-1] == theirs[-1]  # noqa: E731
    return bench.compare("a template's week, all of it virtual", ours, other, TWICE, check=same)


def repeated(call: Callable[[], Any], times: int = 2) -> Callable[[], Any]:
    """Return a function that calls another one several times and returns its last answer."""

    def run() -> Any:
        for _ in range(times - 1):
            call()
        return call()

    return run


def many_events(bench: Bench) -> Iterator[Row]:
    """Compare the feed of a calendar widget, 10,000 events, with the same from the bare query."""
    site = Site(bench.database("sqlite"))
    bench.closing(site.close)
    days = FEED // (VENUE * 12) + 1
    with site.app.app_context():
        venue = site.add(VENUE, group="venue")
        site.slots.generate(days=days)
        site.db.session.remove()
        reader = Reader(site, venue, MIDNIGHT, MIDNIGHT + timedelta(days=days))
        span = Span(reader.start, reader.end)

        def instances() -> list[Any]:
            site.db.session.remove()
            return list(site.db.session.scalars(reader._query(site.slots.Slot)))

        def feed(slots: list[Any]) -> int:
            return len(json.dumps(list(events(slots[:FEED], span, reader.start))))

        def ours() -> int:
            site.db.session.remove()
            return feed(site.slots.between(reader.start, reader.end, group="venue"))

        if len(instances()) < FEED:
            raise DifferentWork(f"too few events for {FEED}")
        other = Side("bare query, same feed", lambda: feed(instances()))
        yield bench.compare(f"calendar feed of {FEED:,} events", Side("between(), feed", ours), other, TWICE)
        site.db.session.remove()
