"""What is stored is compared as a whole: every difference is noticed, and the result is that of planning by rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from helpers import A_WEEK, HALL, MONDAY, Clock, Site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.orm import Mapped, mapped_column

from flask_rollingslots import RollingSlots, SlotMixin, planning
from flask_rollingslots.context import Work, load_stored, row_of
from flask_rollingslots.filling import chunks, screening
from flask_rollingslots.filling.expansion import Expansion, expand, pattern_of, stored_part
from flask_rollingslots.filling.screening import Unit, screen
from flask_rollingslots.topup import run
from flask_rollingslots.values import PlannedSlot, TemplateSpec, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOUR = timedelta(hours=1)
#: What may happen to one row of a full week, and what the next top-up does about it: (created, updated, removed).
DAMAGES: dict[str, tuple[Callable[[Site, Any], None], tuple[int, int, int]]] = {
    "one missing": (lambda site, row: site.session.delete(row), (1, 0, 0)),
    "one too many": (lambda site, row: add_row(site, row, timedelta(minutes=7)), (0, 0, 1)),
    "one too many at night": (lambda site, row: add_row(site, row, timedelta(hours=11)), (0, 0, 1)),
    "one missing and one too many": (
        lambda site, row: (add_row(site, row, timedelta(minutes=7)), site.session.delete(row))[0],
        (1, 0, 1),
    ),
    "one at a wrong time": (
        lambda site, row: change(site, row, starts_at=row.starts_at + HOUR / 2),
        (0, 1, 0),
    ),
    "one moved out of the window": (
        lambda site, row: change(site, row, starts_at=row.starts_at + timedelta(days=30)),
        (0, 1, 0),
    ),
    "one with a wrong end": (lambda site, row: change(site, row, ends_at=row.ends_at + HOUR), (0, 1, 0)),
    "one with another identity": (
        lambda site, row: change(site, row, original_start=row.original_start + timedelta(minutes=1)),
        (1, 0, 1),
    ),
}


def test_the_first_of_the_future_is_missing(sqlite_url: str, tmp_path: Path) -> None:
    """What lacks before all stored slots is noticed if it has not started; only the past may be missing."""
    site = Site(sqlite_url, tmp_path, Clock(MONDAY.replace(hour=11, minute=30)))
    with site.app.app_context():
        site.add()
        site.slots.generate()
        site.session.delete(site.rows()[0])
        site.session.commit()
        assert site.slots.generate().created == 1


def test_a_slot_of_the_new_day_that_was_moved_away(database_url: str, tmp_path: Path) -> None:
    """When the day of a slot enters the window that somebody moved to another day, it is there already."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.add()
        site.slots.generate()
        site.slots.edit("1@20260112T1000", "this", start=datetime(2026, 1, 14, 9, 30))
        site.session.commit()
        site.clock.turn(days=1)
        report = site.slots.generate()
    assert (report.created, report.existing, report.expected) == (7, A_WEEK - 8 + 1, A_WEEK)


def change(site: Site, row: Any, **values: Any) -> None:
    """Change a row behind everybody's back."""
    table = type(row).__table__
    site.session.execute(table.update().where(table.c.id == row.id).values(**values))


def add_row(site: Site, like: Any, later: timedelta) -> None:
    """Add a row that no rule yields, as a top-up would have made it."""
    names = [column.name for column in type(like).__table__.columns if column.name != "id"]
    values = {name: getattr(like, name) for name in names}
    for name in ("original_start", "starts_at", "ends_at", "closes_at"):
        values[name] += later
    site.session.execute(type(like).__table__.insert().values(**values))


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The templates whose rows were read."""
    seen: list[int] = []

    def note(*args: Any, **options: Any) -> Any:
        known, found = screen(*args, **options)
        seen.extend(unit.spec.id for unit in found)
        return known, found

    monkeypatch.setattr(run, "screen", note)
    return seen


def test_every_damage_is_noticed(database_url: str, tmp_path: Path, odd: list[int]) -> None:
    """Among twelve full templates each kind of damage to one row is found and repaired; no other row is read."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        ids = [site.add(name=f"{number}").id for number in range(12)]
        assert site.slots.generate().created == 12 * A_WEEK
        site.session.rollback()
        whole = [(row.key, row.starts_at, row.ends_at) for row in site.rows()]
        odd.clear()
        assert (site.slots.generate().existing, odd) == (12 * A_WEEK, [])
        for number, (name, (damage, expected)) in enumerate(DAMAGES.items()):
            hurt = ids[number]
            site.session.rollback()  # MariaDB would go on reading from the old snapshot
            row = next(row for row in site.rows()[20:] if row.template_id == hurt and row.starts_at > MONDAY)
            damage(site, row)
            site.session.commit()
            report = site.slots.generate(full=True)
            assert (report.created, report.updated, report.removed) == expected, name
            assert odd == [hurt], name
            odd.clear()
            site.session.rollback()
            assert [(row.key, row.starts_at, row.ends_at) for row in site.rows()] == whole, name
        assert (site.slots.generate().existing, odd) == (12 * A_WEEK, [])


def test_what_people_decided_is_counted_alike(database_url: str, tmp_path: Path, odd: list[int]) -> None:
    """Booked and cancelled slots are known without reading rows; a moved one is read, and stays where it was put."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        for name in ("booked", "cancelled", "moved"):
            site.add(name=name, capacity=3)
        site.slots.generate()
        site.slots.book("1@20260106T1000")
        site.slots.cancel("2@20260106T1000", "this")
        site.slots.delete("2@20260106T1100", "this")
        site.slots.edit("3@20260106T1000", "this", start=datetime(2026, 1, 6, 9, 30))
        site.session.commit()
        odd.clear()
        report = site.slots.generate()
    assert (report.created, report.updated, report.existing) == (0, 0, 3 * A_WEEK)
    assert report.skipped == {"cancelled": 1, "deleted": 1}
    assert set(odd) == {3}


def test_rules_that_changed(database_url: str, tmp_path: Path) -> None:
    """A longer duration, a holiday added and lifted, a removed exclusion: the stored week follows at once."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        template = site.add(holidays="ES", exdates=[date(2026, 1, 8)])
        first = site.slots.generate()
        assert (first.created, first.skipped) == (5 * 8, {"holiday": 8, "excluded": 8})
        template.holidays, template.exdates = None, []
        site.session.commit()
        assert site.slots.generate().created == 2 * 8
        template.holidays = "ES"
        site.session.commit()
        assert site.slots.generate().removed == 8
        template.duration = timedelta(minutes=45)
        site.session.commit()
        report = site.slots.generate()
        # 17:15 ends at 18:00 now? No: the grid is every hour, so the same starts with other ends.
        assert (report.created, report.updated) == (0, 6 * 8)
        assert {row.ends_at - row.starts_at for row in site.rows()} == {timedelta(minutes=45)}


def test_the_day_that_entered_the_window(database_url: str, tmp_path: Path, odd: list[int]) -> None:
    """A new day, and a template that began in the middle of a day, are filled without reading a row."""
    site = Site(database_url, tmp_path, Clock(MONDAY.replace(hour=12, minute=30)))
    with site.app.app_context():
        for number in range(3):
            site.add(name=f"{number}")
        first = site.slots.generate()
        assert (first.created, first.skipped) == (3 * (A_WEEK - 3), {"in_the_past": 9})
        again = site.slots.generate()
        assert (again.created, again.existing, again.skipped) == (0, first.created, {"in_the_past": 9})
        site.clock.turn(days=1)
        second = site.slots.generate()
        assert (second.created, second.existing) == (3 * 8, 3 * 6 * 8)
    assert odd == []


def test_segments_do_not_collide(database_url: str, tmp_path: Path) -> None:
    """After a cut the old and the new segment are counted right, whatever is missing of either."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        site.add()
        site.slots.generate()
        site.slots.edit("1@20260108T1200", "this_and_future", start=datetime(2026, 1, 8, 12, 20))
        site.session.commit()
        site.slots.generate()
        assert (len(site.rows()), site.slots.generate().existing) == (A_WEEK, A_WEEK)
        for row in site.rows()[-9:]:
            site.session.delete(row)
        site.session.commit()
        assert (site.slots.generate().created, len(site.rows())) == (9, A_WEEK)


# -- the same result as planning by rows -----------------------------------------------------------------------

RULES: list[dict[str, Any]] = [
    HALL,
    {**HALL, "timezone": "Europe/Madrid", "dtstart": datetime(2026, 1, 1, 0), "until_time": time(5)},
    {**HALL, "rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SA", "holidays": "ES", "timezone": "Europe/Madrid"},
    {**HALL, "rrule": "FREQ=HOURLY", "every": None, "until_time": None, "timezone": "America/New_York"},
    {**HALL, "shift": timedelta(days=1, minutes=15), "blackouts": [(date(2026, 3, 30), date(2026, 3, 30))]},
    {**HALL, "rdates": [datetime(2026, 3, 28, 3)], "exdates": [date(2026, 3, 31)], "opens_days_before": 3},
]


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with one template of each rule."""
    folder = tmp_path_factory.mktemp("screening")
    site = Site(f"sqlite:///{folder}/test.db", folder)
    with site.app.app_context():
        for number, fields in enumerate(RULES):
            shift = fields.get("shift", timedelta(0))
            plain = {name: value for name, value in fields.items() if name not in ("shift", "name")}
            site.add(**plain, name=f"{number}").shift = shift
        site.session.commit()
    # No context stays open: the facades of other sites would find this app in it.
    return site


def spoil(stored: list[dict[str, Any]], data: st.DataObject) -> None:
    """Change up to two rows in ways in which people and accidents do."""
    for row in data.draw(st.lists(st.sampled_from(stored), max_size=2, unique_by=id)) if stored else ():
        kind = data.draw(st.sampled_from(["status", "moved", "customised", "original", "booked"]))
        if kind == "status":
            row["status"] = data.draw(st.sampled_from(["cancelled", "deleted", "completed"]))
        elif kind == "original":
            row["original_start"] += timedelta(minutes=1)
        elif kind == "booked":
            row["booked"] = 1
        else:
            row["starts_at"] += timedelta(hours=data.draw(st.integers(-200, 200)))
            row["customised"] = ["starts_at"] if kind == "customised" else []


def part_of(times: list[Any], now: datetime, data: st.DataObject) -> list[Any]:
    """Choose what is stored."""
    kept = data.draw(st.sampled_from(["all", "none", "late", "some"]))
    if kept == "late":
        return [each for each in times if each.starts_at > now]
    if kept == "some":
        return [each for each in times if data.draw(st.integers(0, 30))]
    return times if kept == "all" else []


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_screening_equals_planning(hall: Site, data: st.DataObject) -> None:
    """Whatever part of a week is stored, and however rows were changed, both ways come to the same plan."""
    with hall.app.app_context():
        compare(hall, data)


@pytest.mark.slow
@settings(max_examples=1000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_screening_equals_planning_in_very_many_weeks(hall: Site, data: st.DataObject) -> None:
    """The same with very many weeks."""
    with hall.app.app_context():
        compare(hall, data)


def compare(hall: Site, data: st.DataObject) -> None:
    """Store something, and compare what screening knows with what planning says."""
    state = hall.app.extensions["rollingslots"]
    models = state.models
    now = datetime(2026, 3, 27, 22, tzinfo=UTC) + timedelta(minutes=data.draw(st.integers(0, 3 * 24 * 60)))
    backfill = data.draw(st.booleans())
    hall.session.execute(models.Slot.__table__.delete())
    units = []
    for template in hall.session.query(models.Template).order_by(models.Template.id):
        spec = TemplateSpec.of(template)
        window = planning.window_of(spec, now, 5, "day")
        units.append(Unit(spec, window, expand(spec, window)))
        wide = Window(
            window.start - timedelta(days=2), window.end + timedelta(days=data.draw(st.integers(-2, 1)))
        )
        times = part_of(list(expand(spec, wide).times), now, data)
        stored = [row_of(PlannedSlot(spec, *each), now, 1) for each in times]
        spoil(stored, data)
        if stored:
            hall.session.execute(models.Slot.__table__.insert(), stored)
    work = Work.reading(hall.session(), models, state.settings, now)
    known, odd = screen(work, units, backfill=backfill)
    assert len(known) + len(odd) == len(units)
    for one in known:
        there = load_stored(work, [(one.spec, one.window)])
        plan = planning.plan(one.spec, one.window, there, now, backfill=backfill)
        counts, (first, end) = one.counts(backfill), one.missing(backfill)
        assert [slot.times for slot in plan.create] == list(one.expansion.times[first:end])
        assert (plan.update, plan.remove, plan.kept_booked) == ([], [], [])
        assert (counts.existing, counts.expected) == (plan.existing, plan.expected)
        assert counts.skipped == plan.skipped
    hall.session.rollback()


@given(days=st.integers(0, 400), other=st.integers(0, 400), rule=st.sampled_from(range(len(RULES))))
def test_templates_of_one_pattern_offer_the_same(hall: Site, days: int, other: int, rule: int) -> None:
    """Templates that began on different days share an expansion only if it is the same."""
    models = hall.app.extensions["rollingslots"].models
    with hall.app.app_context():
        spec = TemplateSpec.of(hall.session.query(models.Template).order_by(models.Template.id)[rule])
    specs = [
        replace(spec, dtstart=spec.dtstart - timedelta(days=n), rdates=(), exdates=()) for n in (days, other)
    ]
    for weeks in (0, 1, 12):
        start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(weeks=weeks)
        window = Window(start, start + timedelta(days=8))
        if pattern_of(specs[0], window) == pattern_of(specs[1], window):
            assert expand(specs[0], window).times == expand(specs[1], window).times


def test_pattern_is_shared_in_the_common_case() -> None:
    """Daily templates that began on different days long ago share one expansion; a counted one does not."""
    spec = TemplateSpec(1, 1, 1, "", None, True, "FREQ=DAILY", datetime(2025, 1, 1, 9), "UTC", HOUR)
    window = Window(MONDAY, MONDAY + timedelta(days=7))
    later = replace(spec, id=2, series_id=2, dtstart=datetime(2025, 5, 3, 9))
    assert pattern_of(spec, window) == pattern_of(later, window)
    counted = [replace(each, rrule="FREQ=DAILY;COUNT=900") for each in (spec, later)]
    assert pattern_of(counted[0], window) != pattern_of(counted[1], window)


@pytest.mark.parametrize(
    ("stored", "part"),
    [
        (("aabbcc", "112233"), (0, 3)),
        (("bbcc", "2233"), (1, 3)),
        (("aa", "11"), (0, 1)),
        ((None, None), (0, 0)),
        (("ccbb", "3322"), (1, 3)),
        (("aacc", "1133"), None),
        (("bbcc", "2234"), None),
        (("abbc", "1223"), None),
        (("bb", "2233"), None),
        (("b", "2"), None),
        (("aabbccdd", "11223344"), None),
    ],
)
def test_stored_part(stored: tuple[Any, Any], part: tuple[int, int] | None) -> None:
    """One unbroken part is found, whatever the order of the rows; a row in between, or beyond, is not overlooked."""
    assert stored_part(("aabbcc", "112233"), stored, 3) == part


# -- writing ---------------------------------------------------------------------------------------------------


def test_bare_rows_are_what_sqlalchemy_writes(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows handed to the driver hold the same as those through SQLAlchemy: texts with quotes, marks and all."""
    site = Site(database_url, tmp_path)
    data = {"name": """O'Neil "100 %" \\ :x %s ? ñ €""", "list": [1, None, 2.5], "deep": {"a": []}}
    columns = [
        column for column in site.slots.Slot.__table__.columns if column.name not in ("id", "series_id")
    ]
    found = []
    with site.app.app_context():
        for plain in (True, False):
            monkeypatch.setattr(chunks, "is_plain", lambda _table, plain=plain: plain)
            site.app.extensions["rollingslots"].models._built.clear()
            template = site.add(data=data, opens_before=HOUR, closes_before=HOUR, timezone="America/New_York")
            assert site.slots.generate(template=template).created == A_WEEK
            query = site.db.select(*columns).where(site.slots.Slot.template_id == template.id)
            order = query.order_by(site.slots.Slot.original_start)
            found.append(
                [{**row, "template_id": 0, "run_id": 0} for row in site.session.execute(order).mappings()]
            )
    assert len(found[0]) == A_WEEK
    assert found[0] == found[1]
    assert found[0][0]["data"] == data


def test_somebody_was_faster(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that appear between planning and writing are left alone and not counted as created."""
    site = Site(database_url, tmp_path)
    with site.app.app_context():
        for number in range(3):
            site.add(name=f"{number}", capacity=2)
        original = run.write_chunk

        def late(*args: Any) -> Any:
            monkeypatch.setattr(run, "write_chunk", original)
            session, models = args[0].session, args[0].models
            spec = args[1].specs[2]
            window = planning.window_of(spec, site.clock.now, 7, "day")
            slots = planning.planned(spec, window)[10:15]
            session.execute(models.Slot.__table__.insert(), [row_of(s, site.clock.now) for s in slots])
            return original(*args)

        monkeypatch.setattr(run, "write_chunk", late)
        report = site.slots.generate()
        assert report.created == 3 * A_WEEK - 5
        assert [report.templates[key].created for key in (1, 2, 3)] == [A_WEEK, A_WEEK - 5, A_WEEK]
        assert len(site.rows()) == 3 * A_WEEK


def test_tables_of_a_tenant(sqlite_url: str, tmp_path: Path) -> None:
    """An engine that translates schemas, as apps with a schema for each tenant do, fills the translated table."""
    translated = {"execution_options": {"schema_translate_map": {None: "main"}}}
    site = Site(sqlite_url, tmp_path, SQLALCHEMY_ENGINE_OPTIONS=translated)
    with site.app.app_context():
        seen: list[str] = []
        event.listen(site.db.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
        site.add()
        assert site.slots.generate().created == A_WEEK
    assert all(
        "main.rolling_slot" in each for each in seen if each.startswith("INSERT INTO") and "original" in each
    )


def test_a_model_with_defaults_of_its_own(database_url: str, tmp_path: Path) -> None:
    """A column that Python fills in is filled in top-ups too."""
    app = Flask("own", instance_path=str(tmp_path))
    app.config.update(SQLALCHEMY_DATABASE_URI=database_url, ROLLINGSLOTS_ENABLED=False)
    db = SQLAlchemy(app)

    class PricedSlot(SlotMixin, db.Model):  # type: ignore[name-defined, misc]
        price: Mapped[int | None] = mapped_column(default=12)

    slots = RollingSlots(app, models={"Slot": PricedSlot}, clock=Clock())
    with app.app_context():
        db.create_all()
        slots.create_template(**HALL)
        db.session.commit()
        assert slots.generate().created == A_WEEK
        assert set(db.session.scalars(db.select(PricedSlot.price))) == {12}
        db.session.remove()
        db.engine.dispose()


def test_an_expansion_is_never_older_than_its_top_up() -> None:
    """Nothing of a top-up is kept for the next one: an expansion is made anew each time."""
    assert not hasattr(expand, "cache_info")
    assert not [value for value in vars(screening).values() if isinstance(value, Expansion)]


def test_batches_name_so_many_templates_at_most(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few slots templates have, a statement names no more of them than a database takes."""
    site = Site(sqlite_url, tmp_path)
    monkeypatch.setattr(screening, "_TEMPLATES_AT_ONCE", 3)
    with site.app.app_context():
        specs = [TemplateSpec.of(site.add(rrule="FREQ=MONTHLY;BYMONTHDAY=20")) for _ in range(7)]
        groups = {"all": [(spec, Window(MONDAY, MONDAY + timedelta(days=7))) for spec in specs]}
        assert [len(batch) for batch in screening.batches(groups)] == [3, 3, 1]
        assert site.slots.health().status == "ok"
        assert site.slots.generate().expected == 0
