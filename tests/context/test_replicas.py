"""An app that reads from replicas: maintenance and decisions read where they write."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from helpers import A_WEEK, HALL
from routed_site import RoutedSite
from sqlalchemy import func, select

from flask_rollingslots import RollingSlots, SlotFull
from flask_rollingslots.statements import use_primary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgresql"])
def routed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RoutedSite]:
    """A site with a primary and a replica; its context is pushed."""
    if request.param == "sqlite":
        urls = [f"sqlite:///{tmp_path / name}.db" for name in ("primary", "replica")]
        yield from _pushed(RoutedSite(*urls, tmp_path))
    else:
        server = request.getfixturevalue("postgres")
        with server.database() as primary, server.database() as replica:
            yield from _pushed(RoutedSite(primary, replica, tmp_path))


def _pushed(site: RoutedSite) -> Iterator[RoutedSite]:
    with site.app.app_context():
        yield site
        site.settle()
        site.db.session.remove()
    site.replica.dispose()
    site.writer.dispose()


def test_a_top_up_reads_from_the_primary(routed: RoutedSite) -> None:
    """While the replica knows nothing yet, everything is filled once, and the second look finds nothing to do."""
    routed.slots.create_template(**HALL)
    routed.db.session.commit()
    routed.settle()
    assert (routed.stored(routed.writer), routed.stored(routed.replica)) == (A_WEEK, 0)
    report = routed.slots.generate()
    assert (report.created, report.existing) == (0, A_WEEK)
    assert routed.slots.health().status == "ok"
    assert routed.stored(routed.replica) == 0


def test_a_booking_reads_from_the_primary(routed: RoutedSite) -> None:
    """Places that the replica still shows as free are not given twice, and an own booking is seen at once."""
    template = routed.slots.create_template(**HALL)
    routed.db.session.commit()
    routed.settle()
    routed.catch_up()
    first = HALL["dtstart"].replace(year=2026, month=1, day=6)
    key = f"{template.series_id}@{first:%Y%m%dT%H%M}"
    assert routed.slots.get(key).left == 1
    routed.slots.book(key, who="Ann")
    routed.db.session.commit()
    with pytest.raises(SlotFull):
        routed.slots.book(key, who="Bob")
    routed.db.session.rollback()
    start = first.replace(tzinfo=routed.clock().tzinfo)
    (seen,) = routed.slots.between(start, start + timedelta(minutes=1))
    assert (seen.left, seen.state) == (0, "full")
    routed.slots.edit(key, "this_and_future", capacity=3)
    routed.db.session.commit()
    routed.settle()
    assert routed.slots.get(key).capacity == 3


def test_the_app_keeps_its_routing(routed: RoutedSite) -> None:
    """After a booking the app's own tables are read where the app wants it, ours where they are written."""
    session = routed.db.session()
    session.add(routed.note())
    session.commit()
    use_primary(session, routed.app.extensions["rollingslots"].models.classes)
    assert session.scalar(select(func.count()).select_from(routed.note)) == 0
    assert session.get_bind(mapper=routed.slots.Slot.__mapper__) is routed.writer
    assert session.get_bind(mapper=routed.note.__mapper__) is routed.replica
    other = routed.db.session.session_factory()
    assert other.get_bind(mapper=routed.slots.Slot.__mapper__) is routed.replica
    other.close()


def test_a_session_that_routes_nothing_stays_as_it_is(sqlite_url: str, tmp_path: Path) -> None:
    """Of an ordinary app no object changes."""
    app = Flask("plain", instance_path=str(tmp_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite_url
    db = SQLAlchemy(app)
    slots = RollingSlots(app)
    with app.app_context():
        db.create_all()
        session = db.session()
        slots.create_template(**HALL)
        assert "get_bind" not in vars(session)
        session.rollback()
