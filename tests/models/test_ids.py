"""Ids of templates, bookings and runs are never used again, whatever was deleted and whoever made the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from each_database import site
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from helpers import Site
from sqlalchemy import UniqueConstraint, delete, text
from sqlalchemy.orm import Mapped, mapped_column

from flask_rollingslots import RollingSlots
from flask_rollingslots.errors import ConfigError
from flask_rollingslots.models import BookingMixin, RunMixin, TemplateMixin

if TYPE_CHECKING:
    pass

__all__ = ["site"]


def add_row(site: Site, model: str, slot_key: str) -> int:
    """Add one template, booking or run as people do, and return its id."""
    if model == "Template":
        return int(site.add().id)
    if model == "Booking":
        booking = site.slots.book(slot_key)
        site.session.commit()
        return int(booking.id)
    site.session.rollback()
    return int(site.slots.generate(days=1).run_id or 0)


@pytest.mark.parametrize("model", ["Template", "Booking", "Run"])
def test_an_id_is_never_used_again(site: Site, model: str) -> None:
    """When the newest row is gone, the next one gets a new id: an old link leads to nothing, not to somebody else."""
    key = f"{site.add(capacity=9).id}@20260105T1000"
    first, second = add_row(site, model, key), add_row(site, model, key)
    cls: Any = getattr(site.slots.models, model)
    site.session.execute(delete(cls.__table__).where(cls.id == second))
    site.session.commit()
    assert add_row(site, model, key) > second > first


def test_pruned_bookings_leave_their_ids_behind(site: Site) -> None:
    """Retention deletes the highest booking of all; what is booked next is another one, also by its number."""
    site.add(capacity=9)
    site.slots.generate(days=1)
    old = site.slots.book("1@20260105T1000")
    site.session.commit()
    old_id = old.id
    site.clock.turn(days=30)
    assert site.slots.prune(7, include_booked=True).bookings == 1
    new = site.slots.book(site.week()[-1].key)
    site.session.commit()
    assert new.id > old_id


def test_an_apps_own_classes_keep_ids_too(sqlite_url: str) -> None:
    """An app's own classes get it as well, although their own table arguments leave ours out."""
    app = Flask("own")
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite_url
    db = SQLAlchemy(app)
    own: dict[str, Any] = {}
    for name, mixin in {"Template": TemplateMixin, "Booking": BookingMixin, "Run": RunMixin}.items():
        columns = [("slot_id", "active_key"), ("request_key",), ("replaces_id",)] if name == "Booking" else []
        body = {
            "__tablename__": f"own_{name.lower()}",
            "__annotations__": {"code": Mapped[int | None]},
            "code": mapped_column(),
            "__table_args__": tuple(UniqueConstraint(*each, name=f"uq_{name}_{each[0]}") for each in columns),
        }
        own[name] = type(f"Own{name}", (mixin, db.Model), body)
    RollingSlots(app, models=own)
    with app.app_context():
        db.create_all()
        query = text("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name LIKE 'own_%'")
        found = {name: "AUTOINCREMENT" in sql for name, sql in db.session.execute(query)}
    assert found == {"own_template": True, "own_booking": True, "own_run": True}


def test_own_classes_must_keep_what_the_promises_rest_on(sqlite_url: str) -> None:
    """A booking class whose own table arguments lose a unique constraint is refused at start, by name."""
    app = Flask("careless")
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite_url
    db = SQLAlchemy(app)
    careless: Any = type("Careless", (BookingMixin, db.Model), {"__table_args__": ()})
    with pytest.raises(ConfigError, match=r"Careless lacks the unique constraint on \(slot_id, active_key\)"):
        RollingSlots(app, models={"Booking": careless})
