"""A new zone table: stored slots follow the wall clock, and none of them exists twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

FILLING = """
import json, sys
from pathlib import Path
from helpers import HALL, Site
site = Site(sys.argv[1], Path(sys.argv[2]))
with site.app.app_context():
    if not site.session.query(site.slots.Template).count():
        site.add(timezone="Test/Town")
    report = site.slots.generate()
    if sys.argv[3] == "book":
        site.slots.book("1@20260106T1000")
        site.session.commit()
    rows = [[row.key, row.starts_at.hour, row.booked] for row in site.rows()]
    shown = [slot.key for slot in site.week()]
print(json.dumps({"created": report.created, "updated": report.updated, "rows": rows, "shown": shown}))
"""


def zone_table(folder: Path, zone: str) -> Path:
    """Make a folder of zone tables in which Test/Town has the rules of another zone."""
    source = files("tzdata").joinpath("zoneinfo", *zone.split("/"))
    (folder / "Test").mkdir(parents=True)
    (folder / "Test" / "Town").write_bytes(source.read_bytes())
    return folder


def fill(url: str, tmp_path: Path, tables: Path, book: str = "") -> Any:
    """Fill the window in a process of its own that reads these zone tables."""
    here = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FILLING, url, str(tmp_path), book],
        env={**os.environ, "PYTHONTZPATH": str(tables), "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_new_zone_table_moves_rows_and_doubles_none(sqlite_url: str, tmp_path: Path) -> None:
    """When a town leaves Madrid's time for Lisbon's, its unbooked slots move by an hour; keys stay, none is added."""
    old = fill(sqlite_url, tmp_path, zone_table(tmp_path / "old", "Europe/Madrid"), "book")
    new = fill(sqlite_url, tmp_path, zone_table(tmp_path / "new", "Europe/Lisbon"))
    assert (old["created"], new["created"], new["updated"]) == (56, 0, 55)
    assert [row[0] for row in new["rows"]] == [row[0] for row in old["rows"]]
    moved = {key: (hour, {k: h for k, h, _ in new["rows"]}[key]) for key, hour, _ in old["rows"]}
    assert moved.pop("1@20260106T1000") == (9, 9), "a booked slot stays where it was sold"
    assert all(after == before + 1 for before, after in moved.values())
    assert sorted(new["shown"]) == sorted(old["shown"])
