"""Values say what rows say, belong to no session, and understand only what somebody asks for."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from helpers import A_WEEK, MONDAY, Clock, Site, statements
from same_views import differences, plain
from sqlalchemy.orm import Mapped, ORMExecuteState, mapped_column, with_loader_criteria

from flask_rollingslots import RollingSlots, SlotMixin, TemplateMixin
from flask_rollingslots.facade import SlotView, TemplateView

if TYPE_CHECKING:
    from pathlib import Path

WEEK, HALF = timedelta(days=7), timedelta(minutes=30)
TUESDAY = "1@20260106T"
DATA = {"coach": "Ana", "levels": [1, {"of": [2]}]}


def booked(site: Site, key: str, **more: Any) -> Any:
    """Book and commit."""
    found = site.slots.book(key, **more)
    site.session.commit()
    return found


def everything(site: Site) -> None:
    """Let there be a slot of each kind: booked, held, moved, crowded, cancelled, deleted, withdrawn, waited for."""
    slots, clock = site.slots, site.clock
    site.add(
        capacity=2, data=DATA, waiting=3, cancel_before=timedelta(hours=3), opens_before=timedelta(days=4)
    )
    pool: dict[str, Any] = {"resource": "machines", "pool": 3, "capacity": 3, "setup": timedelta(minutes=20)}
    site.add(name="Pool", **pool)
    site.add(name="Shared pool", dtstart=datetime(2026, 1, 1, 10, 30), until_time=time(17, 30), **pool)
    site.add(name="Court", resource="court", exclusive=True)
    site.add(name="Court too", resource="court", exclusive=True, group="club")
    slots.generate()
    booked(site, f"{TUESDAY}1000", who="a", party=2)
    slots.wait(f"{TUESDAY}1000", who="b")
    slots.hold(f"{TUESDAY}1100", who="c", minutes=10)
    slots.edit(
        f"{TUESDAY}1200", "this", start=datetime(2026, 1, 6, 13, 30), name="Later", data={"coach": "Bo"}
    )
    booked(site, f"{TUESDAY}1500", who="d")
    row = next(each for each in site.rows() if each.key == f"{TUESDAY}1400")
    row.starts_at, row.ends_at = row.starts_at + HALF, row.ends_at + HALF  # onto the one that is booked
    site.session.commit()
    slots.cancel(f"{TUESDAY}1600", reason="rain")
    slots.delete(f"{TUESDAY}1700")
    booked(site, "2@20260106T1000", party=3)
    booked(site, "4@20260106T1000")
    booked(site, "1@20260107T1000", who="e")
    slots.close(date(2026, 1, 7), template=1)
    slots.edit("1@20260108T1000", "this_and_future", start=datetime(2026, 1, 8, 10, 30))
    site.session.commit()
    booked(site, "1@20260115T1000", override=True)
    clock.turn(minutes=30)


def test_criteria_for_all_templates_hold_for_values(sqlite_url: str, tmp_path: Path) -> None:
    """Where an app asks each query for one tenant's templates, values and feeds show no other's slots."""
    site = Site(sqlite_url, tmp_path, ROLLINGSLOTS_API_PREFIX="/s", ROLLINGSLOTS_PUBLIC_READS=True)
    with site.app.app_context():
        for group in ("mine", "theirs"):
            site.add(group=group)
        site.slots.generate()
        template = site.slots.Template

        def keep_apart(state: ORMExecuteState) -> None:
            mine = with_loader_criteria(template, template.group == "mine")
            state.statement = state.statement.options(mine) if state.is_select else state.statement

        sa.event.listen(site.session, "do_orm_execute", keep_apart)
        try:
            days = MONDAY, MONDAY + 2 * WEEK
            assert {each.group for each in site.slots.view(*days)} == {"mine"}
            asked = {"start": "2026-01-05", "end": "2026-01-08"}
            events = site.app.test_client().get("/s/feed.json", query_string=asked).json
            assert {each["extendedProps"]["group"] for each in events or ()} == {"mine"}
        finally:
            sa.event.remove(site.session, "do_orm_execute", keep_apart)


def test_values_say_what_rows_say(any_site: Site) -> None:
    """Each attribute of each slot and template, whatever happened to it, stored and virtual, on each database."""
    site = any_site
    everything(site)
    end = MONDAY + 2 * WEEK
    for asked in ({}, {"template": 1}, {"group": "club"}, {"overlapping": True}, {"limit": 10}):
        site.session.rollback()
        assert differences(site.slots, MONDAY, end, **asked) == []
    found = site.slots.view(MONDAY, end)
    assert next(each.state for each in found if each.key == f"{TUESDAY}1400") == "blocked"
    assert {each.state.value for each in found} >= {
        "open",
        "full",
        "blocked",
        "cancelled",
        "withdrawn",
        "upcoming",
    }
    assert any(each.waits_for for each in found)
    assert any(each.holds for each in found)


def test_values_follow_what_an_app_changed_through_the_orm(site: Site) -> None:
    """Before any top-up has followed, values show what the template says by now: times, capacity, data, withdrawn."""
    template = site.add(data=DATA)
    site.slots.generate()
    booked(site, f"{TUESDAY}1000")
    template = site.session.get(site.slots.Template, template.id)
    template.duration, template.capacity, template.data = timedelta(minutes=30), 5, {"coach": "Bo"}
    template.exdates = [date(2026, 1, 8)]
    site.session.commit()
    assert differences(site.slots, MONDAY, MONDAY + WEEK) == []
    free = next(each for each in site.slots.view(MONDAY, MONDAY + WEEK) if each.key == f"{TUESDAY}1100")
    assert (free.ends_at - free.starts_at, free.left, free.data) == (
        timedelta(minutes=30),
        5,
        {"coach": "Bo"},
    )


def test_a_value_belongs_to_no_session(site: Site) -> None:
    """It keeps what it was when its session is gone, whatever is asked of it; nothing is loaded, nothing written."""
    everything(site)
    with statements(site.db.engine) as found:
        views = site.slots.view(MONDAY, MONDAY + WEEK)
        assert not list(site.session)
        site.session.remove()
        taken = len(found)
        for each in views:
            assert json.dumps(each.to_dict())
            assert each.template.recurrence.describe()
            assert each.local_end > each.local_start
        assert len(found) == taken
    assert isinstance(views[0].template, TemplateView)
    assert json.dumps(views[0].template.to_dict())


def test_nobody_changes_a_value(site: Site) -> None:
    """No attribute can be set or deleted, of the slot or its template; `data` is read only, deep within too."""
    site.add(data=DATA)
    for found in (site.slots.view(MONDAY, MONDAY + WEEK)[0], SlotView.of(site.week()[0], MONDAY)):
        for value in (found, found.template):
            with pytest.raises(AttributeError):
                value.capacity = 5
            with pytest.raises(AttributeError):
                del value.capacity
            with pytest.raises(TypeError):
                value.data["coach"] = "Bo"  # type: ignore[index]
            assert plain(value.data) == DATA
            assert isinstance(value.data["levels"], tuple)


def test_values_are_equal_by_what_they_say(site: Site) -> None:
    """The same slot read twice is one key of a dict; after a booking it is another value."""
    site.add()
    site.slots.generate()
    first, again = (site.slots.view(MONDAY, MONDAY + WEEK)[3] for _ in range(2))
    assert first == again
    assert len({first, again}) == 1
    booked(site, first.key)
    assert site.slots.view(MONDAY, MONDAY + WEEK)[3] != first
    assert repr(first) == f"<SlotView {first.key}>"


def test_two_queries_whatever_is_there(site: Site) -> None:
    """One for the templates, one for the slots: not more for many templates, for virtual slots, or what pages ask."""
    for number in range(12):
        site.add(name=f"Hall {number}")
    for _ in range(2):
        site.session.remove()
        with statements(site.db.engine) as found:
            views = site.slots.view(MONDAY, MONDAY + WEEK)
            assert {each.state.value for each in views} == {"open"}
        assert len(views) == 12 * A_WEEK
        assert len(found) == 2, found
        site.slots.generate()


@pytest.mark.parametrize("read", ["view", "between"])
def test_many_moved_slots_take_one_query_together(site: Site, read: str) -> None:
    """Slots that people moved do not each ask for their neighbours: three queries for one of them or for twenty."""
    site.add(duration=timedelta(minutes=30))
    site.slots.generate()
    taken = []
    for hours in (range(10, 11), range(11, 18)):
        for day in (6, 7, 8):
            for hour in hours:
                start = datetime(2026, 1, day, hour, 10)
                site.slots.edit(f"1@202601{day:02}T{hour}00", "this", start=start)
        site.session.commit()
        site.session.remove()
        with statements(site.db.engine) as found:
            slots = getattr(site.slots, read)(MONDAY, MONDAY + WEEK)
            assert {each.state.value for each in slots} == {"open"}
        taken.append(len(found))
    assert taken == [3, 3]


def test_data_that_nobody_asks_for_is_not_understood(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of `data` stays a text, of slots and of templates, until somebody reads it."""
    site.add(data=DATA)
    site.slots.generate()
    site.session.remove()
    read: list[Any] = []
    monkeypatch.setattr("flask_rollingslots.views.json.loads", lambda text: read.append(text) or DATA)
    found = site.slots.view(MONDAY, MONDAY + 2 * WEEK)
    assert {each.state.value for each in found} == {"open"}
    assert read == []
    assert found[0].data["coach"] == found[-1].data["coach"] == "Ana"
    assert len(read) == 2


def test_a_template_that_is_a_value_is_as_good_as_its_row(site: Site) -> None:
    """Calls that take a template take its value, and `sees` gets one."""
    site.add()
    site.add(name="Other")
    asked: list[Any] = []
    found = site.slots.view(
        MONDAY, MONDAY + WEEK, sees=lambda each: not asked.append(each) and each.name == "Hall"
    )
    assert [type(each) for each in asked] == [TemplateView, TemplateView]
    template = found[0].template
    assert {each.template for each in found} == {template}
    assert len(site.slots.upcoming(template, 3)) == 3
    assert len(site.slots.view(MONDAY, MONDAY + WEEK, template=template)) == A_WEEK


def test_columns_of_the_app_are_there(sqlite_url: str, tmp_path: Path) -> None:
    """An app's own columns are attributes of both values, shared ones of virtual slots too; unknown names are none."""
    app, clock = Flask("own", instance_path=str(tmp_path)), Clock()
    app.config |= {"SQLALCHEMY_DATABASE_URI": sqlite_url, "ROLLINGSLOTS_ENABLED": False}
    db = SQLAlchemy(app)

    class Offer(TemplateMixin, db.Model):  # type: ignore[name-defined, misc]
        price: Mapped[int | None] = mapped_column(sa.Integer)
        tags: Mapped[Any] = mapped_column(sa.JSON, nullable=True)

    class Lesson(SlotMixin, db.Model):  # type: ignore[name-defined, misc]
        price: Mapped[int | None] = mapped_column(sa.Integer)
        tags: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
        remark: Mapped[str | None] = mapped_column(sa.String(20))

    slots = RollingSlots(app, models={"Template": Offer, "Slot": Lesson}, clock=clock)
    with app.app_context():
        db.create_all()
        site = {"rrule": "FREQ=DAILY", "dtstart": datetime(2026, 1, 1, 10), "timezone": "UTC"}
        slots.create_template(name="Yoga", duration=timedelta(hours=1), price=12, tags=["new"], **site)
        db.session.commit()
        slots.generate(days=3)
        slots.edit("1@20260106T1000", "this", price=15, remark="full moon")
        db.session.commit()
        found = slots.view(MONDAY, MONDAY + WEEK)
        assert [(each.price, each.tags, each.remark) for each in found[:2]] == [
            (12, ["new"], None), (15, ["new"], "full moon"),
        ]  # fmt: skip
        assert (found[-1].is_virtual, found[-1].price, found[-1].tags, found[-1].remark) == (
            True,
            12,
            ["new"],
            None,
        )
        found[-1].tags.append("odd")
        assert found[-2].tags == found[-1].template.tags == ["new"]
        assert differences(slots, MONDAY, MONDAY + WEEK, template=1) == []
        for value in (found[0], found[0].template):
            with pytest.raises(AttributeError, match="nothing"):
                _ = value.nothing
