"""PgBouncer in transaction mode: a connection belongs to its client for one transaction only."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from helpers import A_WEEK, Site
from servers import Unavailable
from servers.pooler import PgBouncer
from sqlalchemy import func, select, text

from flask_rollingslots import SlotFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Postgres

#: Connections of the pool, and people who want one.
POOL, CLIENTS = 3, 6


@pytest.fixture
def pooled(postgres: Postgres, postgres_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site whose connections are lent for a transaction each, three for all; its context is pushed."""
    if postgres.folder is None:
        pytest.skip("a server that is not ours has no pooler of ours")
    try:
        bouncer = PgBouncer(postgres.folder, POOL)
    except Unavailable as reason:
        pytest.skip(str(reason))
    # Prepared statements belong to a server's session: with an older PgBouncer psycopg must not make any.
    options = {"connect_args": {"prepare_threshold": None}, "pool_size": 10}
    site = Site(bouncer.url(postgres_url), tmp_path, SQLALCHEMY_ENGINE_OPTIONS=options)
    with site.app.app_context():
        yield site
        site.session.remove()
        site.db.engine.dispose()
    bouncer.stop()


def test_top_ups_edits_and_bookings_through_the_pooler(pooled: Site) -> None:
    """Six threads book 56 slots of one place while top-ups run: each is booked once, and all slots are there."""
    site = pooled
    template = site.add(capacity=1).id
    site.slots.generate()
    keys = [slot.key for slot in site.week()]
    site.session.remove()
    outcomes: Counter[str] = Counter()
    together = threading.Barrier(CLIENTS)

    def book(number: int) -> None:
        with site.app.app_context():
            together.wait()
            for key in keys[number:] + keys[:number]:
                try:
                    site.slots.book(key, who=str(number))
                    site.session.commit()
                    outcomes["booked"] += 1
                except SlotFull:
                    site.session.rollback()
                    outcomes["full"] += 1

    threads = [threading.Thread(target=book, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        site.slots.generate(days=14)
    for thread in threads:
        thread.join()
    assert outcomes == {"booked": A_WEEK, "full": (CLIENTS - 1) * A_WEEK}
    cls = site.slots.Slot
    site.session.rollback()
    assert site.session.scalar(select(func.sum(cls.booked))) == A_WEEK
    assert site.session.scalar(select(func.count()).where(cls.template_id == template)) == 2 * A_WEEK


def test_no_session_state_is_left_behind(pooled: Site) -> None:
    """The limits of a top-up's transactions end with them: no server connection keeps one, whoever gets it next."""
    site = pooled
    site.add()
    site.slots.generate()
    site.slots.book(site.week()[0].key)
    site.session.commit()
    found: set[tuple[Any, ...]] = set()
    servers: set[int] = set()
    sessions = [site.db.session.session_factory() for _ in range(POOL)]
    for session in sessions:  # open at the same time, so each has another server connection
        names = ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout")
        found.add(tuple(session.scalar(text(f"SHOW {name}")) for name in names))
        servers.add(session.scalar(text("SELECT pg_backend_pid()")))
    for session in sessions:
        session.close()
    assert len(servers) == POOL
    assert found == {("0", "0", "0")}
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert site.session.scalar(text(locks)) == 0
