"""What a slot is called: its template's name, the name that history had, or the name that a person gave it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from each_database import site, sqlite_site
from helpers import Site

from flask_rollingslots.errors import StatusConflict

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["site", "sqlite_site"]

PAST, DONE, GONE, LATER = (f"1@202601{day:02d}T1000" for day in (5, 7, 8, 9))
CHRISTMAS, VIRTUAL = "1@20260106T1100", "1@20260301T1000"


def lived(site: Site) -> None:
    """Fill a week, let its first day begin, complete one later slot and cancel another."""
    site.add()
    site.slots.generate()
    site.clock.turn(hours=5)
    site.slots.complete(DONE)
    site.slots.cancel(GONE)
    site.session.commit()


def names(site: Site, *keys: str) -> list[str]:
    """Return what some slots are called, read again, in Python; the database must say the same."""
    site.session.expire_all()
    slots = [site.slots.get(key) for key in keys]
    cls = site.slots.Slot
    said = dict(site.session.execute(site.db.select(cls.id, cls.name)).all())
    assert all(said[slot.id] == slot.name for slot in slots if not slot.is_virtual)
    return [slot.name for slot in slots]


def rename_by_orm(site: Site) -> None:
    """Rename as an app, or an admin page, may do it."""
    site.session.get(site.slots.Template, 1).name = "Arena"


RENAMES: dict[str, Callable[[Site], Any]] = {
    "all": lambda site: site.slots.edit(LATER, "all", name="Arena"),
    "from the first slot on": lambda site: site.slots.edit(
        "1@20260101T1000", "this_and_future", name="Arena"
    ),
    "change_template": lambda site: site.slots.change_template(1, name="Arena"),
    "ORM": rename_by_orm,
}


@pytest.mark.parametrize("door", RENAMES)
def test_history_keeps_its_name(site: Site, door: str) -> None:
    """What has started, was completed or cancelled is called as it was; what is to come has the new name."""
    lived(site)
    RENAMES[door](site)
    site.session.commit()
    assert names(site, PAST, DONE, GONE, LATER, VIRTUAL) == ["Hall", "Hall", "Hall", "Arena", "Arena"]


def test_each_name_had_its_time(sqlite_site: Site) -> None:
    """A second new name does not change what the first one, or the one before, left behind."""
    site = sqlite_site
    lived(site)
    rename_by_orm(site)
    site.session.commit()
    site.clock.turn(days=4)
    site.slots.edit("1@20260110T1000", "all", name="Dome")
    site.session.commit()
    assert names(site, PAST, LATER, "1@20260110T1000") == ["Hall", "Arena", "Dome"]


def test_what_is_in_memory_is_called_right_at_once(sqlite_site: Site) -> None:
    """A slot that the session holds knows its name before the commit, too."""
    site = sqlite_site
    lived(site)
    done, later = site.slots.get(DONE), site.slots.get(LATER)
    assert (done.name, later.name) == ("Hall", "Hall")
    rename_by_orm(site)
    site.session.flush()
    assert (done.name, later.name) == ("Hall", "Arena")


def test_a_cut_hands_history_over_with_its_name(site: Site) -> None:
    """What was completed or cancelled behind a cut with a new name keeps the old one; the part before keeps it all."""
    lived(site)
    site.slots.edit("1@20260106T1000", "this_and_future", name="Arena")
    site.session.commit()
    found = names(site, PAST, CHRISTMAS, DONE, GONE, LATER)
    assert found == ["Hall", "Arena", "Hall", "Hall", "Arena"]
    assert site.slots.get(DONE).template.name == "Arena"


@pytest.mark.parametrize("key", [CHRISTMAS, VIRTUAL])
def test_one_date_is_renamed(site: Site, key: str) -> None:
    """A name that a person gave to one date stays whatever its series is called; others follow the series."""
    lived(site)
    site.slots.edit(key, "this", name="Christmas special")
    site.session.commit()
    site.slots.edit(LATER, "all", name="Arena")
    site.session.commit()
    assert names(site, key, LATER) == ["Christmas special", "Arena"]
    assert site.slots.get(key).customised == ["name"]
    preview = site.slots.preview_edit(key, "this", name="Other")
    assert preview.to_dict()["counts"]["changed"] == 1
    assert names(site, key) == ["Christmas special"]


@pytest.mark.parametrize("key", [PAST, DONE])
def test_the_name_of_history_may_be_corrected(sqlite_site: Site, key: str) -> None:
    """With ``this`` a person may say what a slot that is over, or completed, was called; a cancelled one not."""
    site = sqlite_site
    lived(site)
    site.clock.turn(days=0 if key == DONE else 1)
    site.slots.edit(key, "this", name="Trial")
    site.session.commit()
    assert names(site, key) == ["Trial"]
    with pytest.raises(StatusConflict, match="cancelled: it cannot be changed"):
        site.slots.edit(GONE, "this", name="Trial")


def test_the_orm_may_rename_one_date(sqlite_site: Site) -> None:
    """``own_name`` is a decision like any other."""
    site = sqlite_site
    lived(site)
    site.slots.get(LATER).own_name = "Late"
    site.session.commit()
    rename_by_orm(site)
    site.session.commit()
    assert names(site, LATER) == ["Late"]
    assert site.slots.get(LATER).customised == ["name"]


def test_what_comes_back_has_the_name_of_its_series(sqlite_site: Site) -> None:
    """A cancelled or completed slot that is scheduled again before its start is no history; a renamed one keeps it."""
    site = sqlite_site
    lived(site)
    site.slots.edit(LATER, "this", name="Mine")
    site.slots.cancel(LATER)
    site.session.commit()
    rename_by_orm(site)
    site.session.commit()
    site.slots.restore(GONE)
    site.slots.complete(DONE, undo=True)
    site.slots.restore(LATER)
    site.slots.complete(PAST)
    site.slots.complete(PAST, undo=True)
    site.session.commit()
    assert names(site, GONE, DONE, LATER, PAST) == ["Arena", "Arena", "Mine", "Hall"]


def test_every_door_shows_the_name_of_the_slot(sqlite_site: Site) -> None:
    """``explain``, files and calendars say what the slot is called, and a file brings it back."""
    site = sqlite_site
    lived(site)
    site.slots.edit(CHRISTMAS, "this", name="Christmas special")
    rename_by_orm(site)
    site.session.commit()
    moment = datetime(2026, 1, 6, 11, tzinfo=UTC)
    assert str(site.slots.explain(1, moment)).startswith("Christmas special, ")
    events = site.slots.events("2026-01-05T00:00Z", "2026-01-10T00:00Z")
    titles = {event["id"]: event["title"] for event in events}
    assert [titles[key] for key in (PAST, CHRISTMAS, LATER)] == ["Hall", "Christmas special", "Arena"]
    calendar = site.slots.calendar(host="hall.example").content.decode()
    assert [calendar.count(f"SUMMARY:{name}\r\n") for name in ("Christmas special", "Arena")] == [1, 8]
    assert "RECURRENCE-ID:20260105T100000Z\r\n" in calendar  # it has another name than its series by now
    exported = json.loads(site.slots.export().content)
    overrides = {each["original_start"]: each.get("name") for each in exported["templates"][0]["overrides"]}
    assert overrides == {
        "2026-01-06T11:00": "Christmas special",
        "2026-01-07T10:00": "Hall",
        "2026-01-08T10:00": "Hall",
    }
    site.slots.import_templates(json.dumps(exported).encode())
    site.session.commit()
    assert [site.slots.get(f"2@{key[2:]}").name for key in (CHRISTMAS, DONE)] == ["Christmas special", "Hall"]
    assert site.slots.get(f"2@{CHRISTMAS[2:]}").customised == ["name"]
