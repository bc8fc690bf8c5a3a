"""What ``between()`` and ``view()`` cost over the queries that an app would write itself for the same slots.

``between()`` returns instances, so its other side is a query that makes instances. ``view()`` returns values, so its
other side is a query for plain rows of all columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta
from functools import partial
from time import perf_counter, process_time
from typing import Any

from sqlalchemy import inspect

from .frame import Bench, Bound, Row, Side, Skip, at_most, benchmark, ours_at_most
from .site import MIDNIGHT, WEEK, Site, statements

DATABASES = ("sqlite", "postgresql", "mariadb")
#: What ``between()`` may cost over the instances, and ``view()`` over plain rows.
INSTANCES, PLAIN = at_most(1.25), at_most(1.5)
WEEKS = 3
VENUE = 5
#: Measured turns: these are short, and a turn that the machine disturbs must not count.
PAIRS = 21
#: A slot each hour, day and night: 168 a week.
HOURLY: dict[str, Any] = {
    "dtstart": datetime(2026, 1, 1),  # noqa: DTZ001 (wall clock)
    "until_time": time(0),
    "timezone": "UTC",
}


@benchmark("reading")
def reading(bench: Bench) -> Iterator[Row]:
    """between() and view() beside the bare queries: the weeks of a template and of a venue, stored and virtual."""
    for kind in DATABASES:
        try:
            yield from weeks(bench, kind)
        except Skip as reason:
            bench.skip(kind, reason)


class Reader:
    """Reads the same slots in several ways, each time as a new request would: with a new session."""

    def __init__(
        self, site: Site, ids: list[int], start: datetime = MIDNIGHT, end: datetime = MIDNIGHT + WEEK
    ):
        """Choose templates (the group ``venue``) and a window."""
        self.site, self.ids, self.start, self.end = site, ids, start, end

    def between(self, **filters: Any) -> list[str]:
        """Return the keys by ``between``."""
        self.site.db.session.remove()
        return ends(self.site.slots.between(self.start, self.end, **filters))

    def view(self, **filters: Any) -> list[str]:
        """Return the keys by ``view``."""
        self.site.db.session.remove()
        return ends(self.site.slots.view(self.start, self.end, **filters))

    def shown(self, **filters: Any) -> list[str]:
        """Return the keys by ``view``, and ask each slot for what a page shows of it."""
        self.site.db.session.remove()
        found = self.site.slots.view(self.start, self.end, **filters)
        for slot in found:
            _ = slot.key, slot.name, slot.starts_at, slot.ends_at, slot.state, slot.is_bookable, slot.left
        return ends(found)

    def _query(self, *what: Any) -> Any:
        slot = self.site.slots.Slot
        query = self.site.db.select(*what).where(
            slot.template_id.in_(self.ids), slot.starts_at >= self.start, slot.starts_at < self.end
        )
        return query.where(slot.status != "deleted").order_by(slot.starts_at, slot.series_id)

    def instances(self) -> list[str]:
        """Return the keys by one query for the same rows, as instances."""
        session = self.site.db.session
        session.remove()
        return ends(list(session.scalars(self._query(self.site.slots.Slot))))

    def plain(self) -> int:
        """Return the number of the same rows, as plain tuples."""
        session = self.site.db.session
        session.remove()
        return len(list(session.execute(self._query(*inspect(self.site.slots.Slot).columns))))


def ends(found: list[Any]) -> list[str]:
    """Return the first and the last key of some slots, and how many there are."""
    return [found[0].key, found[-1].key, str(len(found))]


def fill(site: Site, days: int) -> None:
    """Store all slots of so many days, those before the site's hour too. Inside an app context."""
    now, site.now = site.now, MIDNIGHT - timedelta(minutes=1)
    site.slots.generate(days=days + 1)
    site.now = now
    site.db.session.remove()


def filled(bench: Bench, kind: str) -> tuple[Site, list[int]]:
    """Return an app with 50 templates and three weeks of slots, and the templates of a venue."""
    site = Site(bench.database(kind))
    bench.closing(site.close)
    with site.app.app_context():
        venue = site.add(VENUE, group="venue", **HOURLY)
        site.add(50 - VENUE, group="others")
        fill(site, days=7 * WEEKS)
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
            yield from both(bench, f"{kind}, {what}", reader, filters)
        for name, read in (("between()", all_of_it.between), ("view()", all_of_it.view)):
            with statements(site.db) as found:
                read(group="venue")
            yield bench.count(
                f"{kind}, queries of {name}, a venue's week", len(found), 1, "bare query", ours_at_most(2)
            )
        if kind == "sqlite":
            yield from virtual_week(bench, site, venue[0])
        site.db.session.remove()


def both(bench: Bench, what: str, reader: Reader, filters: dict[str, Any]) -> Iterator[Row]:
    """Compare ``between()`` with instances and ``view()`` with plain rows; figures are for each slot."""
    count = len(reader.site.slots.view(reader.start, reader.end, **filters))
    clock = clock_of(reader.site)
    instances = reading_side("bare query, instances", reader.instances, count, clock)
    plain = reading_side("bare query, plain rows", reader.plain, count, clock)
    same = lambda mine, theirs: mine[-1] == str(theirs)  # noqa: E731

    def row(name: str, read: Callable[..., list[str]], other: Side, bound: Bound | None, **how: Any) -> Row:
        ours = reading_side(name, partial(read, **filters), count, clock)
        return bench.compare(f"{name}, {what}, each of {count} slots", ours, other, bound, pairs=PAIRS, **how)

    yield row("between()", reader.between, instances, INSTANCES)
    yield row("view()", reader.view, plain, PLAIN, check=same)
    yield row("view() and what a page shows", reader.shown, plain, None, check=same)


def clock_of(site: Site) -> Callable[[], float]:
    """Return the clock for a site's database: SQLite works in this process, so its processor time says all."""
    return process_time if site.db.engine.dialect.name == "sqlite" else perf_counter


def reading_side(name: str, read: Callable[[], Any], count: int, clock: Callable[[], float]) -> Side:
    """Return a side that reads so many slots twice, for figures of one slot."""

    def run() -> Any:
        read()
        return read()

    return Side(name, run, calls=2 * count, clock=clock)


def virtual_week(bench: Bench, site: Site, template: int) -> Iterator[Row]:
    """Compare a week beyond the window, of which nothing is stored, with one that is stored."""
    week = timedelta(days=7 * WEEKS)
    stored = Reader(site, [template])
    virtual = Reader(site, [template], MIDNIGHT + week, MIDNIGHT + week + WEEK)
    count = int(virtual.view(template=template)[-1])
    same = lambda mine, theirs: mine[-1] == theirs[-1]  # noqa: E731
    for name in ("between()", "view()"):
        way = name.removesuffix("()")
        ours, other = (
            reading_side(
                f"{name}, {what}", partial(getattr(reader, way), template=template), count, process_time
            )
            for what, reader in (("virtual", virtual), ("stored", stored))
        )
        text = f"{name}, a template's week, all of it virtual, each of {count} slots"
        yield bench.compare(text, ours, other, at_most(2), check=same, pairs=PAIRS)
