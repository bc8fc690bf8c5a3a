"""Pages of the demo: how much other offers, which a page does not show, slow it down."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial

from flask import Flask

from .frame import Bench, Row, Side, at_most, benchmark
from .site import HALL

OTHERS = 1_000
VENUE = "/venues/game-hall"


@benchmark("pages")
def pages(bench: Bench) -> Iterator[Row]:
    """A venue's page of the demo among 1,000 other templates, beside the same page without them."""
    few, many = make_demo(bench, 0), make_demo(bench, OTHERS)
    for address in ("/", VENUE):
        ours = Side(f"{OTHERS:,} more templates", answer(many, address))
        other = Side("without them", answer(few, address))
        yield bench.compare(f"demo, GET {address}, {OTHERS:,} more templates", ours, other, at_most(1.5))


def make_demo(bench: Bench, others: int) -> Flask:
    """Return the demo, its week stored, with so many more templates of another venue."""
    from demo_app import create_app, db, slots

    app = create_app({"INSTANCE_PATH": tempfile.mkdtemp(dir=bench.folder), "ROLLINGSLOTS_ENABLED": False})
    with app.app_context():
        for number in range(others):
            slots.create_template(**{**HALL, "name": f"Offer {number}", "group": "elsewhere"})
        db.session.commit()
        slots.generate()
        db.session.remove()
    bench.closing(partial(dispose, app))
    return app


def dispose(app: Flask) -> None:
    """Give the connections back."""
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def answer(app: Flask, address: str) -> Callable[[], tuple[int, int]]:
    """Return a function that asks for a page, and returns the status and how many slots there are on it."""
    client = app.test_client()

    def run() -> tuple[int, int]:
        found = client.get(address)
        return found.status_code, found.text.count("/slots/")

    return run
