"""Fixtures of the demo: a new site in a folder of its own, at a moment that is always the same; and a browser."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import time_machine

from demo_app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask
    from flask.testing import FlaskClient

#: A Tuesday: 11:30 in Istanbul, 09:30 in Madrid, 03:30 in Chicago, 08:30 in Lisbon, 03:30 in Bogotá.
NOW = datetime(2026, 3, 10, 8, 30, tzinfo=UTC)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """The time stands still; ``clock.move_to`` moves it."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Flask]:
    """Make a site without sample bookings, whose slots nothing fills by itself, unless told otherwise."""

    def make(folder: str = "instance", **config: Any) -> Flask:
        settings = {
            "TESTING": True,
            "ROLLINGSLOTS_ENABLED": False,
            "DEMO_SAMPLES": False,
            "INSTANCE_PATH": tmp_path / folder,
        }
        return create_app(settings | config)

    return make


@pytest.fixture
def site(clock: time_machine.Traveller, make_site: Callable[..., Flask]) -> Flask:
    """A new site at the moment ``NOW``."""
    return make_site()


@pytest.fixture
def client(site: Flask) -> FlaskClient:
    """A visitor."""
    return site.test_client()
