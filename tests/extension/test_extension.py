"""Setting up: every way in which an app may bring its database, its cache, its models, or none of them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask_caching import Cache
from flask_sqlalchemy import SQLAlchemy
from helpers import A_WEEK, HALL, MONDAY, Clock, Site
from marks import quick_on
from sqlalchemy import String, inspect, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Mapped, mapped_column

from flask_rollingslots import ConfigError, RollingSlots, RollingSlotsError, SlotMixin, TemplateMixin
from flask_rollingslots.errors import (
    InvalidRule,
    InvalidTemplate,
    NotRegistered,
    UncommittedChanges,
    UnreadableRow,
)

if TYPE_CHECKING:
    pass


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """An app without anything."""
    return Flask("bare", instance_path=str(tmp_path / "instance"))


def test_alone_it_brings_its_own_database(app: Flask) -> None:
    """``RollingSlots(app)`` on a bare app works, with a SQLite file in the instance folder."""
    slots = RollingSlots(app)
    with app.app_context():
        slots.create_template(**{**HALL, "dtstart": datetime(2026, 1, 1, 10)})
        app.extensions["sqlalchemy"].session.commit()
        app.extensions["rollingslots"].topup.executor.join(60)
        now = datetime.now(UTC)
        assert len(slots.between(now, now + timedelta(days=7))) > 6 * 8
    assert (
        app.instance_path and list(__import__("pathlib").Path(app.instance_path).glob("rollingslots.db*"))
    ) != []


def test_it_finds_the_app_s_sqlalchemy(app: Flask, sqlite_url: str) -> None:
    """An app's own SQLAlchemy is used, and no table is created behind its back."""
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite_url
    db = SQLAlchemy(app)
    slots = RollingSlots(app)
    assert issubclass(slots.Template, db.Model)
    with app.app_context():
        assert inspect(db.engine).get_table_names() == []
        db.create_all()
        assert [name for name in inspect(db.engine).get_table_names() if "slot" in name] == ["rolling_slot"]


def test_wrong_order_says_which_line_to_move(app: Flask, sqlite_url: str) -> None:
    """With a database configured but no SQLAlchemy yet, the error names the line to move."""
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite_url
    with pytest.raises(ConfigError, match=r"move the line RollingSlots\(app\) .* below SQLAlchemy\(app\)"):
        RollingSlots(app)
    assert "rollingslots" not in app.extensions


def test_factory_with_db_and_cache(app: Flask, sqlite_url: str) -> None:
    """In a factory the objects are passed, and the models exist before any app does."""
    db, cache = SQLAlchemy(), Cache()
    slots = RollingSlots(db=db, cache=cache, clock=Clock())
    assert "rolling_slot" in db.metadata.tables
    app.config.update(SQLALCHEMY_DATABASE_URI=sqlite_url, CACHE_TYPE="SimpleCache")
    slots.init_app(app)  # before the others: the order does not matter when db is passed
    db.init_app(app)
    cache.init_app(app)
    with app.app_context():
        db.create_all()
        slots.create_template(**HALL)
        db.session.commit()
        assert slots.generate().expected == A_WEEK


def test_two_apps_on_one_instance(tmp_path: Path) -> None:
    """Two apps with different settings and databases on one instance do not mix."""
    db = SQLAlchemy()
    slots = RollingSlots(db=db, clock=Clock())
    apps = []
    for name, days in (("one", 2), ("two", 5)):
        app = Flask(name, instance_path=str(tmp_path))
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / name}.db"
        app.config["ROLLINGSLOTS_WINDOW_DAYS"] = days
        app.config["ROLLINGSLOTS_TIMEZONE"] = {"one": "Asia/Tokyo", "two": "Europe/Madrid"}[name]
        app.config["ROLLINGSLOTS_ENABLED"] = False
        db.init_app(app)
        slots.init_app(app)
        apps.append(app)
    created = {}
    for app in apps:
        with app.app_context():
            db.create_all()
            template = slots.create_template(
                **{k: v for k, v in HALL.items() if k != "timezone"}, group=app.name
            )
            db.session.commit()
            created[app.name] = (template.timezone, slots.generate().expected // 8)
    # At 08:00 UTC it is 17:00 in Tokyo, where the last slot of today has begun.
    assert created == {"one": ("Asia/Tokyo", 1), "two": ("Europe/Madrid", 5)}
    with apps[0].app_context():
        assert [t.group for t in db.session.scalars(db.select(slots.Template))] == ["one"]


def test_one_app_cannot_be_set_up_twice(app: Flask) -> None:
    """A second registration is an error, not a second hook."""
    slots = RollingSlots(app)
    with pytest.raises(ConfigError, match="already"):
        slots.init_app(app)


def test_without_a_context_the_error_teaches(app: Flask, sqlite_url: str) -> None:
    """Outside an app, and in an app without the extension, the error says what to do."""
    slots = RollingSlots(db=SQLAlchemy())
    with pytest.raises(NotRegistered, match="app_context"):
        slots.health()
    with app.app_context(), pytest.raises(NotRegistered, match="init_app"):
        slots.health()


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("WINDOW_DAY", 7, "Did you mean ROLLINGSLOTS_WINDOW_DAYS"),
        ("QQQ", 7, "Known: ROLLINGSLOTS_ALIGN"),
        ("WINDOW_DAYS", 0, "from 1 to 3660"),
        ("WINDOW_DAYS", "7", "whole number"),
        ("CHECK_INTERVAL", 0, "from 1 to 86400"),
        ("LEASE_SECONDS", 0.5, "whole number"),
        ("TIMEZONE", "Europe/Nowhere", "IANA"),
        ("TIMEZONE", None, "IANA"),
        ("ALIGN", "month", "day, week"),
        ("ENABLED", "yes", "True or False"),
        ("EXECUTOR", "threads", "auto, thread, inline, after_response"),
        ("EXECUTOR", "no_such_module:Executor", "no_such_module"),
        ("EXECUTOR", "collections:OrderedDict", "subclass of Executor"),
        ("PREVIEW_MAX", 0, "from 1"),
        ("NAME", "", "1 to 64"),
    ],
)
def test_wrong_settings_are_refused(app: Flask, key: str, value: object, text: str) -> None:
    """A setting that is unknown or out of range is refused at start with its name and what is expected."""
    app.config[f"ROLLINGSLOTS_{key}"] = value
    with pytest.raises(ConfigError, match=text) as caught:
        RollingSlots(app)
    assert f"ROLLINGSLOTS_{key}" in str(caught.value)
    assert isinstance(caught.value, RollingSlotsError)


def own_models(db: SQLAlchemy) -> dict[str, type[Any]]:
    """Return classes of the app's own, with columns of their own."""

    class Offer(TemplateMixin, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "offer"
        poster: Mapped[str | None] = mapped_column(String(200))

    class PartySlot(SlotMixin, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "party_slot"
        dj: Mapped[str | None] = mapped_column(String(100))
        price: Mapped[int] = mapped_column(server_default="12")

    return {"Template": Offer, "Slot": PartySlot}


def test_own_models_with_own_columns(app: Flask, sqlite_url: str) -> None:
    """Classes made from the mixins keep their columns through filling, reading and booking."""
    app.config.update(SQLALCHEMY_DATABASE_URI=sqlite_url, ROLLINGSLOTS_ENABLED=False)
    db = SQLAlchemy(app)
    slots = RollingSlots(app, models=own_models(db), clock=Clock())
    with app.app_context():
        db.create_all()
        template = slots.create_template(**HALL, poster="friday.png")
        db.session.commit()
        assert slots.generate().created == A_WEEK
        slot = db.session.scalars(db.select(slots.Slot)).first()
        assert (slot.price, slot.dj, slot.template.poster) == (12, None, "friday.png")
        slot.dj = "Ada"
        booking = slots.book(slot.key)
        db.session.commit()
        assert (booking.slot.dj, template.id) == ("Ada", slot.template_id)
        assert slots.Slot.__tablename__ == "party_slot"


def test_own_models_that_cannot_work_are_refused(sqlite_url: str) -> None:
    """A column that a top-up could not fill, a class without its mixin, an unknown name: each is told."""
    db = SQLAlchemy()

    class Strict(SlotMixin, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "strict_slot"
        dj: Mapped[str] = mapped_column(String(100))

    class Stranger(db.Model):  # type: ignore[name-defined, misc]
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(ConfigError, match=r"Strict\.dj"):
        RollingSlots(db=db, models={"Slot": Strict})
    with pytest.raises(ConfigError, match="Stranger"):
        RollingSlots(db=SQLAlchemy(), models={"Slot": Stranger})
    with pytest.raises(ConfigError, match="Slots"):
        RollingSlots(db=SQLAlchemy(), models={"Slots": Strict})


def test_a_factory_called_twice_shares_the_models(tmp_path: Path) -> None:
    """``RollingSlots(app)`` in a factory may run for several apps on one module-level db."""
    db = SQLAlchemy()
    apps, made = [], []
    for name in ("a", "b"):
        app = Flask(name, instance_path=str(tmp_path))
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / name}.db"
        db.init_app(app)
        apps.append(app)  # a facade does not keep its app alive
        made.append(RollingSlots(app))
    assert made[0].Slot is made[1].Slot


MIGRATING = """
import sys
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from flask_migrate import Migrate, init, migrate, upgrade
from flask_sqlalchemy import SQLAlchemy
from flask_rollingslots import RollingSlots
from helpers import HALL

app = Flask("migrated")
app.config.update(SQLALCHEMY_DATABASE_URI=sys.argv[1], ROLLINGSLOTS_ENABLED=False)
db = SQLAlchemy(app)
slots = RollingSlots(app)
Migrate(app, db, directory=sys.argv[2])
with app.app_context():
    init(), migrate(), upgrade()
    with db.engine.connect() as connection:
        rest = compare_metadata(MigrationContext.configure(connection), db.metadata)
    slots.create_template(**HALL)
    db.session.commit()
    print("left:", rest, "filled:", slots.generate().expected > 0)
"""


@quick_on("postgresql")  # what all databases are asked for is the same metadata
def test_flask_migrate_writes_and_runs_our_tables(database_url: str, tmp_path: Path) -> None:
    """``flask db migrate`` finds the tables, its script runs as it is, and nothing is left to migrate."""
    script = tmp_path / "migrating.py"
    script.write_text(MIGRATING)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(script), database_url, str(tmp_path / "migrations")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root.parent)])},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "left: [] filled: True" in done.stdout, done.stdout + done.stderr
    (version,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert "uq_rolling_slot_series_id_original_start" in version.read_text()
    assert "flask_rollingslots" not in version.read_text()


def test_every_constraint_has_a_name(sqlite_url: str, app: Flask) -> None:
    """Constraints without a name could not be changed by a later migration."""
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite_url
    SQLAlchemy(app)
    for table in RollingSlots(app).models.tables:
        assert [c for c in table.constraints if c.name is None and c is not table.primary_key] == []


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("name", "", InvalidTemplate),
        ("name", None, InvalidTemplate),
        ("dtstart", "2026-01-01", InvalidTemplate),
        ("dtstart", datetime(2026, 1, 1, tzinfo=UTC), InvalidTemplate),
        ("dtstart", datetime(2026, 1, 1, 10, 0, 30), InvalidTemplate),
        ("duration", timedelta(0), InvalidTemplate),
        ("duration", 60, InvalidTemplate),
        ("capacity", 0, InvalidTemplate),
        ("capacity", True, InvalidTemplate),
        ("window_days", 4000, InvalidTemplate),
        ("every", timedelta(seconds=90), InvalidTemplate),
        ("until_time", "22:00", InvalidTemplate),
        ("opens_before", timedelta(-1), InvalidTemplate),
        ("opens_before", timedelta(days=10**6), InvalidTemplate),
        ("duration", timedelta(days=10**4), InvalidTemplate),
        ("active", "yes", InvalidTemplate),
        ("rrule", "FREQ=DAILY;BYSECOND=30", InvalidRule),
        ("data", ["x"], InvalidTemplate),
        ("data", {"x": object()}, InvalidTemplate),
        ("exdates", [datetime(2026, 1, 1, tzinfo=UTC)], InvalidTemplate),
        ("blackouts", [(datetime(2026, 1, 1), datetime(2026, 1, 2))], InvalidTemplate),
        ("timezone", "Europe/Nowhere", InvalidRule),
        ("rrule", "FREQ=DAILY;INTERVAL=0", InvalidRule),
        ("rrule", "daily", InvalidRule),
    ],
)
def test_bad_templates_are_refused(site: Site, field: str, value: object, error: type[Exception]) -> None:
    """A wrong field is refused by name, whether through the facade or the ORM; other work is not lost."""
    site.session.add(site.slots.Template(**{**HALL, "name": "Other"}))
    with pytest.raises(error) as caught:
        site.slots.create_template(**{**HALL, field: value})
    if error is InvalidTemplate:
        assert caught.value.field == field  # type: ignore[attr-defined]
        assert str(caught.value).startswith(field)
    site.session.commit()
    assert [t.name for t in site.session.scalars(site.db.select(site.slots.Template))] == ["Other"]
    if value == ["x"]:
        return  # SQLAlchemy itself refuses this one when it is set
    site.session.add(site.slots.Template(**{**HALL, field: value}))
    with pytest.raises(error):
        site.session.commit()
    site.session.rollback()


def test_seconds_in_a_rule_are_refused(site: Site) -> None:
    """A rule with seconds would give slots whose keys cannot name them."""
    with pytest.raises(InvalidTemplate, match="BYSECOND"):
        site.add(rrule="FREQ=DAILY;BYSECOND=30", every=None, until_time=None)


def test_unknown_and_missing_fields_are_told(site: Site) -> None:
    """A misspelt field names its neighbour; a missing one is named."""
    with pytest.raises(InvalidTemplate, match="Did you mean capacity"):
        site.slots.create_template(**HALL, capcity=3)
    with pytest.raises(InvalidTemplate, match="duration is missing"):
        site.slots.create_template(name="x", dtstart=datetime(2026, 1, 1))
    with pytest.raises(InvalidTemplate, match="series_id"):
        site.slots.create_template(**HALL, series_id=3)


def test_a_template_through_the_orm_is_as_good(site: Site) -> None:
    """A template added with ``session.add`` gets its series, its zone and its slots."""
    site.app.config["X"] = 1
    template = site.slots.Template(**{k: v for k, v in HALL.items() if k != "timezone"})
    site.session.add(template)
    site.session.commit()
    assert (template.series_id, template.timezone, template.revision) == (template.id, "UTC", 1)
    assert len(site.week(template=template)) == A_WEEK
    template.capacity = 2
    site.session.commit()
    assert template.revision == 2


def test_ids_are_never_reused(site: Site) -> None:
    """After the newest template is deleted, its id is not given to another: keys stay unambiguous."""
    first = site.add()
    number = first.id
    site.session.delete(first)
    site.session.commit()
    assert site.add().id > number


def test_one_log_line_for_a_run(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A run writes one line with its counts as fields, not one a slot."""
    site.add()
    with caplog.at_level(logging.INFO, logger="flask_rollingslots"):
        site.slots.generate()
    (line,) = [record for record in caplog.records if record.name.startswith("flask_rollingslots")]
    assert (line.levelname, line.action, line.slots_created) == ("INFO", "topup", A_WEEK)  # type: ignore[attr-defined]


def test_importing_touches_no_global_state() -> None:
    """Importing the package changes neither logging nor the zone of the process."""
    assert logging.getLogger("flask_rollingslots").handlers == []
    assert logging.getLogger("flask_rollingslots").level == logging.NOTSET


def test_the_pure_rooms_need_neither_flask_nor_sqlalchemy() -> None:
    """Importing the recurrence engine loads neither Flask nor SQLAlchemy."""
    code = (
        "import sys, flask_rollingslots.recurrence, flask_rollingslots.planning; "
        "print([name for name in ('flask', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_replaced_session_is_used(sqlite_url: str, tmp_path: Path) -> None:
    """A test suite that puts a session of its own in place of db.session gets its top-ups all the same."""
    site = Site(sqlite_url, tmp_path, Clock(), own_models=True, ROLLINGSLOTS_ENABLED=True)
    site.db.session = site.db._make_scoped_session({"expire_on_commit": False})
    with site.app.app_context():
        template = site.add()
        site.settle()
        assert [run.trigger for run in site.slots.runs(template)] == ["edit"]
        site.session.add(site.slots.Template(**HALL))
        site.session.flush()
        with pytest.raises(UncommittedChanges):
            site.slots.generate()
        site.session.rollback()


def test_missing_tables_are_named(database_url: str, app: Flask) -> None:
    """An app whose tables were never made is told how to make them, by whatever it calls; any other error stays."""
    app.config |= {"SQLALCHEMY_DATABASE_URI": database_url, "ROLLINGSLOTS_ENABLED": False}
    db = SQLAlchemy(app)
    slots = RollingSlots(app, clock=Clock())
    with app.app_context():
        for call in (
            lambda: slots.between(MONDAY, MONDAY + timedelta(days=1)),
            lambda: slots.book("1@20260105T1000"),
            lambda: slots.create_template(**HALL),
            slots.generate,
            slots.health,
        ):
            with pytest.raises(ConfigError, match=r"no table rolling_\w+: .*flask slots init-db"):
                call()
            db.session.rollback()
        db.create_all()
        db.session.add(slots.Booking(party=0, status="released", slot_id=1))
        with pytest.raises(DatabaseError):
            slots.upcoming(1)
        db.session.rollback()


def test_a_row_that_cannot_be_read_is_named(site: Site) -> None:
    """Text that is no JSON, such as after an edit by hand, is found in its table, row and column."""
    site.add()
    assert site.slots.generate().created == A_WEEK
    table = site.slots.Slot.__tablename__
    site.session.execute(text(f"UPDATE {table} SET data = 'oops' WHERE id = 5"))  # noqa: S608 (a name of ours)
    site.session.commit()
    with pytest.raises(UnreadableRow, match=f"{table}, row 5: data holds text that is no JSON"):
        site.week()
    told = site.app.test_cli_runner().invoke(args=["slots", "preview", "1"])
    assert (told.exit_code, told.stderr.count("row 5: data")) == (1, 1)
    site.session.execute(text(f"UPDATE {table} SET data = '{{}}' WHERE id = 5"))  # noqa: S608
    assert len(site.week()) == A_WEEK
