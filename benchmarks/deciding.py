"""What a wide edit costs over its own statements: 84 stored slots of a series, this and future.

The bare side sends the same statements with the same values through the driver. Both are taken back, so that each
run finds the same; a commit would add the same to both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from time import perf_counter, process_time
from types import FrameType
from typing import Any

from sqlalchemy import event, text

from .frame import Bench, DifferentWork, Row, Side, Skip, benchmark, extra_at_most
from .reading import fill
from .site import Site

DATABASES = ("sqlite", "postgresql", "mariadb")
#: Over the bare statements, at most.
EXTRA = extra_at_most(5e-3)
PAIRS = 21
_NEXT_ID = {
    "postgresql": "SELECT setval(pg_get_serial_sequence('rolling_template', 'id'), max(id)) FROM rolling_template",
    "mysql": "ALTER TABLE rolling_template AUTO_INCREMENT = 1",
    "mariadb": "ALTER TABLE rolling_template AUTO_INCREMENT = 1",
}
#: A statement, its values, and whether they are of many rows.
Sent = tuple[str, Any, bool]

CHANGES: dict[str, dict[str, Any]] = {
    "other capacity": {"capacity": 3},
    "half an hour later": {"start": timedelta(minutes=30)},
}


class Desk:
    """A series of 84 stored slots, which is edited and taken back."""

    def __init__(self, bench: Bench, kind: str) -> None:
        """Make it, and find the first slot that can be edited."""
        self.site = Site(bench.database(kind))
        bench.closing(self.site.close)
        with self.site.app.app_context():
            (template,) = self.site.add(1)
            fill(self.site, 6)
            found = self.site.slots.upcoming(template, 1)[0]
            self.key, self.start = found.key, found.original_start
            self.site.db.session.remove()

    def edit(self, changes: dict[str, Any]) -> int:
        """Edit the series from its first slot on, and send what is left to send; return how many slots change."""
        plan = self.site.slots.edit(self.key, scope="this_and_future", **self._meant(changes))
        self.site.db.session.flush()
        return len(plan.changed) + len(plan.created) + len(plan.removed)

    def _meant(self, changes: dict[str, Any]) -> dict[str, Any]:
        later = {"start": self.start + changes["start"]} if "start" in changes else {}
        return {**changes, **later}

    def back(self) -> None:
        """Take everything back, the next id of a template too: what was sent names it."""
        session = self.site.db.session
        session.rollback()
        again = _NEXT_ID.get(session.get_bind().dialect.name)
        if again is not None:
            session.execute(text(again))
            session.commit()
        session.remove()

    def replay(self, sent: list[Sent]) -> None:
        """Send the same statements through the driver, and read what they answer."""
        raw = self.site.db.session.connection().connection
        cursor = raw.cursor()
        for statement, values, is_many in sent:
            if is_many:
                cursor.executemany(statement, values)
            else:
                cursor.execute(statement, values)
            if cursor.description is not None:
                cursor.fetchall()
        cursor.close()

    @contextmanager
    def recording(self) -> Iterator[list[Sent]]:
        """Gather what is sent meanwhile. Inside an app context."""
        found: list[Sent] = []

        def note(_c: Any, _cursor: Any, statement: str, values: Any, _context: Any, is_many: bool) -> None:
            found.append((statement, values, is_many))

        engine = self.site.db.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield found
        finally:
            event.remove(engine, "before_cursor_execute", note)


@benchmark("deciding")
def deciding(bench: Bench) -> Iterator[Row]:
    """edit() of this and future, 84 stored slots, beside its own statements sent by the driver alone."""
    for kind in DATABASES:
        try:
            desk = Desk(bench, kind)
        except Skip as reason:
            bench.skip(kind, reason)
            continue
        with desk.site.app.app_context():
            for what, changes in CHANGES.items():
                yield from edits(bench, desk, f"{kind}, edit of this and future, {what}", changes)


def edits(bench: Bench, desk: Desk, what: str, changes: dict[str, Any]) -> Iterator[Row]:
    """Compare one edit with its statements; count its calls."""
    with desk.recording() as sent:
        count = desk.edit(changes)
    desk.back()
    if not count:
        raise DifferentWork(f"{what}: nothing changed")
    is_lite = desk.site.db.engine.dialect.name == "sqlite"
    clock: Callable[[], float] = process_time if is_lite else perf_counter
    ours = Side("edit()", partial(desk.edit, changes), desk.back, clock=clock)
    bare = Side(f"its {len(sent)} statements", partial(desk.replay, sent), desk.back, clock=clock)
    yield bench.compare(f"{what}, {count} slots", ours, bare, EXTRA, check=None, pairs=PAIRS)
    desk.back()
    if desk.edit(changes) != count:
        raise DifferentWork(f"{what}: something was left behind")
    desk.back()
    if is_lite:
        called = calls(partial(desk.edit, changes))
        desk.back()
        yield bench.count(f"{what}: calls of Python functions", called, count, "slots that change")


def calls(act: Callable[[], object]) -> int:
    """Return how many Python functions are called meanwhile, in this thread."""
    found = 0

    def note(_frame: FrameType, what: str, _argument: object) -> None:
        nonlocal found
        found += what == "call"

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return found
