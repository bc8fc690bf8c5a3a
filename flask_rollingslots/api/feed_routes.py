"""Feeds: calendars of slots for widgets and calendar programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Blueprint


def add_feeds(blueprint: Blueprint) -> None:
    """Add the feeds to the blueprint."""
