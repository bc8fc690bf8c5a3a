"""A database that an older version of the library made: what it lacks is named, with what to do about it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from flask import Flask

from flask_rollingslots import ConfigError, RollingSlots

if TYPE_CHECKING:
    from pathlib import Path


def make_app(folder: Path) -> Flask:
    """Return an app that has no database of its own, so that the library brings one."""
    return Flask("small", instance_path=str(folder))


def make_older(folder: Path, *changes: str) -> None:
    """Let the library make its file, and take from it what newer versions added."""
    RollingSlots(make_app(folder))
    with closing(sqlite3.connect(folder / "rollingslots.db")) as connection:
        for change in changes:
            connection.execute(change)
        connection.commit()


def test_the_librarys_own_file_of_an_older_version(tmp_path: Path) -> None:
    """The app does not start; the error names the columns, and the statements that add them, which are enough."""
    drop = "ALTER TABLE rolling_slot DROP COLUMN displaced"
    make_older(tmp_path, "DROP INDEX ix_rolling_slot_displaced", drop)
    with pytest.raises(ConfigError, match="rolling_slot has no column displaced") as refused:
        RollingSlots(make_app(tmp_path))
    assert "flask db" not in str(refused.value)  # nobody migrates the library's own file
    statement = str(refused.value).split("run: ")[1]
    with closing(sqlite3.connect(tmp_path / "rollingslots.db")) as connection:
        connection.executescript(statement)
    RollingSlots(make_app(tmp_path))


def test_a_column_without_an_index(tmp_path: Path) -> None:
    """What no index needs is named at start too, not by the first visitor's error."""
    make_older(tmp_path, "ALTER TABLE rolling_template DROP COLUMN keep_history")
    with pytest.raises(ConfigError, match=r"ADD COLUMN keep_history BOOLEAN DEFAULT \(?0\)? NOT NULL"):
        RollingSlots(make_app(tmp_path))
