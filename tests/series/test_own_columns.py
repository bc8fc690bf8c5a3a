"""Columns of the app's own: what template and slot both have goes from one to the other, and every door takes it."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from helpers import HALL, Clock, patient
from sqlalchemy import Date, Numeric, String
from sqlalchemy.orm import Mapped, mapped_column

from flask_rollingslots import RollingSlots, SlotMixin
from flask_rollingslots.errors import ConfigError, InvalidRequest, InvalidTemplate
from flask_rollingslots.models import TemplateMixin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "w" * 40
FIRST, TOUCHED, LATER, VIRTUAL = "1@20260105T1000", "1@20260106T1000", "1@20260109T1000", "1@20260301T1000"


class OwnSite:
    """An app whose templates and slots have columns of its own."""

    def __init__(self, url: str, folder: Path, **config: Any) -> None:
        self.clock = Clock()
        self.app = Flask("own", instance_path=str(folder))
        self.app.config.update(
            SQLALCHEMY_DATABASE_URI=url,
            SQLALCHEMY_ENGINE_OPTIONS=patient(url),
            ROLLINGSLOTS_ENABLED=False,
            ROLLINGSLOTS_API_PREFIX="/api",
            ROLLINGSLOTS_API_TOKEN=TOKEN,
            **config,
        )
        self.db = db = SQLAlchemy(self.app)

        class Offer(TemplateMixin, db.Model):  # type: ignore[name-defined,misc]
            price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
            level: Mapped[str] = mapped_column(String(20), server_default="all")
            since: Mapped[date | None] = mapped_column(Date())

        class Lesson(SlotMixin, db.Model):  # type: ignore[name-defined,misc]
            price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
            level: Mapped[str | None] = mapped_column(String(20))
            dj: Mapped[str | None] = mapped_column(String(20))

        models = {"Template": Offer, "Slot": Lesson}
        self.slots = RollingSlots(self.app, db=db, models=models, clock=self.clock)
        with self.app.app_context():
            db.create_all()

    @property
    def session(self) -> Any:
        """The app's session."""
        return self.db.session

    def add(self, **fields: Any) -> Any:
        """Add a hall for ten, and fill its week."""
        template = self.slots.create_template(**{**HALL, "price": Decimal("10"), **fields})
        self.session.commit()
        self.slots.generate()
        return template

    def prices(self, *keys: str) -> list[str]:
        """Return what some slots cost, read again."""
        self.session.commit()
        self.session.expire_all()
        return [str(self.slots.get(key).price) for key in keys]

    def call(self, method: str, path: str, body: Any = None, token: str | None = TOKEN) -> Any:
        """Make one request."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.app.test_client().open(f"/api{path}", method=method, json=body, headers=headers)


@pytest.fixture
def own(database_url: str, tmp_path: Path) -> Iterator[OwnSite]:
    """A site on each database."""
    site = OwnSite(database_url, tmp_path)
    with site.app.app_context():
        yield site


@pytest.fixture
def lite(sqlite_url: str, tmp_path: Path) -> Iterator[OwnSite]:
    """A site where the database makes no difference."""
    site = OwnSite(sqlite_url, tmp_path)
    with site.app.app_context():
        yield site


def test_slots_have_what_their_template_has(own: OwnSite) -> None:
    """A top-up, a virtual slot and one that is made from it have the template's values, by Python type."""
    own.add(level="pro", since=date(2026, 1, 1))
    assert own.prices(FIRST, VIRTUAL) == ["10.00", "10.00"]
    assert own.slots.get(VIRTUAL).is_virtual
    made = own.slots.materialize(VIRTUAL)
    own.session.commit()
    assert (made.price, made.level, made.dj, made.customised) == (Decimal(10), "pro", None, [])
    assert isinstance(own.slots.get(FIRST).price, Decimal)


def change_by_http(site: OwnSite) -> None:
    """Change all slots of a series over HTTP."""
    answer = site.call("PATCH", "/templates/1", {"price": "12.50"})
    assert answer.status_code == 200, answer.text


WIDE: dict[str, Callable[[OwnSite], Any]] = {
    "edit": lambda site: site.slots.edit(LATER, "all", price=Decimal("12.50")),
    "HTTP": change_by_http,
    "change_template": lambda site: site.slots.change_template(1, price=Decimal("12.50")),
}


@pytest.mark.parametrize("door", WIDE)
def test_slots_follow_and_what_a_person_changed_stays(own: OwnSite, door: str) -> None:
    """A new price reaches untouched slots, stored or not; one that a person gave to a slot stays."""
    own.add()
    own.slots.edit(TOUCHED, "this", price=Decimal(1), dj="Ann")
    own.slots.book(FIRST)
    own.session.commit()
    WIDE[door](own)
    assert own.prices(FIRST, TOUCHED, LATER, VIRTUAL) == ["12.50", "1.00", "12.50", "12.50"]
    assert (own.slots.get(TOUCHED).customised, own.slots.get(TOUCHED).dj) == (["dj", "price"], "Ann")


def test_a_price_from_a_day_on(own: OwnSite) -> None:
    """``this_and_future`` cuts the series: no dummy edit is needed; the preview shows it and changes nothing."""
    own.add()
    preview = own.slots.preview_edit(LATER, "this_and_future", price=Decimal(15), level="pro", since=None)
    found = preview.to_dict()
    assert (found["cuts"], found["counts"]["changed"], found["counts"]["created"]) == (True, 24, 0)
    assert own.prices(LATER) == ["10.00"]
    own.slots.apply_edit(own.slots.preview_edit(LATER, "this_and_future", price=Decimal(15)))
    assert own.prices(FIRST, LATER, VIRTUAL) == ["10.00", "15.00", "15.00"]
    assert own.session.get(own.slots.Template, 1).price == Decimal(10)


def test_the_orm_decides_too(lite: OwnSite) -> None:
    """What an app writes on a slot by itself is a person's, and a template's own values are checked."""
    template = lite.add()
    lite.slots.get(TOUCHED).price = Decimal(3)
    lite.session.commit()
    assert lite.slots.get(TOUCHED).customised == ["price"]
    template.price = "dear"
    with pytest.raises(InvalidTemplate, match="price = 'dear': expected a Decimal"):
        lite.session.commit()
    lite.session.rollback()


def test_what_comes_back_costs_what_the_others_do(lite: OwnSite) -> None:
    """A cancelled slot that is restored has the price of its series by now."""
    lite.add()
    lite.slots.cancel(LATER)
    lite.session.commit()
    lite.slots.edit(FIRST, "all", price=Decimal(20))
    assert lite.prices(LATER) == ["10.00"]
    lite.slots.restore(LATER)
    assert lite.prices(LATER) == ["20.00"]


@pytest.mark.parametrize(
    ("scope", "changes", "expected"),
    [
        ("this", {"since": date(2026, 1, 1)}, "since can be edited with this_and_future or all"),
        ("all", {"dj": "Ann"}, "dj can be edited with this: only slots have it"),
        ("all", {"price": "dear"}, "price = 'dear': expected a Decimal"),
        ("this", {"level": "x" * 21}, "level = 'xxxx.*at most 20 characters"),
        ("all", {"level": None, "pirce": 1}, "Did you mean price"),
    ],
)
def test_what_is_refused(lite: OwnSite, scope: str, changes: dict[str, Any], expected: str) -> None:
    """A refusal names the column, its value and what is expected, or which scope takes it."""
    lite.add()
    with pytest.raises((InvalidRequest, InvalidTemplate), match=expected):
        lite.slots.edit(LATER, scope, **changes)


def test_a_slot_must_be_able_to_hold_it(tmp_path: Path) -> None:
    """A slot's column that cannot be empty is refused where the template's can: a top-up could not fill it."""
    db = SQLAlchemy()

    class Offer(TemplateMixin, db.Model):  # type: ignore[name-defined,misc]
        price: Mapped[int | None]

    class Lesson(SlotMixin, db.Model):  # type: ignore[name-defined,misc]
        price: Mapped[int] = mapped_column(server_default="0")

    with pytest.raises(ConfigError, match=r"Lesson.price is not nullable, and is copied from Offer.price"):
        RollingSlots(db=db, models={"Template": Offer, "Slot": Lesson})


def test_the_past_may_be_corrected(lite: OwnSite) -> None:
    """With ``this`` a person may say what a slot that is over has cost."""
    lite.add()
    lite.clock.turn(days=1)
    lite.slots.edit(FIRST, "this", price=Decimal(4))
    lite.slots.edit(LATER, "all", price=Decimal(5), duration=timedelta(minutes=30))
    assert lite.prices(FIRST, LATER) == ["4.00", "5.00"]


def test_the_public_sees_those_that_are_named(sqlite_url: str, tmp_path: Path) -> None:
    """Where reads are public, a column is told only if PUBLIC_DATA names it; with a token all are."""
    config = {"ROLLINGSLOTS_PUBLIC_READS": True, "ROLLINGSLOTS_PUBLIC_DATA": ("level",)}
    site = OwnSite(sqlite_url, tmp_path, **config)
    with site.app.app_context():
        site.add(level="pro")
        site.slots.edit(FIRST, "this", price=Decimal(5))
        site.session.commit()
    paths = ("/templates/1", f"/slots/{FIRST}", "/feed.json?start=2026-01-05&end=2026-01-06")
    public = [site.call("GET", path, token=None).text for path in paths]
    assert [("level" in each, "price" in each) for each in public] == [(True, False)] * 3
    assert all("price" in site.call("GET", path).text for path in paths)


def test_http_has_them_beside_all_other_fields(lite: OwnSite) -> None:
    """Answers, bodies, the feed and the OpenAPI document carry them by name and in the form of their Python type."""
    body = {
        "name": "Yoga",
        "dtstart": "2026-01-05T19:00",
        "duration_minutes": 60,
        "price": "7.50",
        "since": "2026-01-01",
    }
    made = lite.call("POST", "/templates", body)
    assert made.status_code == 201, made.text
    assert {key: made.json[key] for key in ("price", "level", "since")} == {
        "price": "7.50",
        "level": "all",
        "since": "2026-01-01",
    }
    key = "1@20260105T1900"
    slot = lite.call("PATCH", f"/slots/{key}", {"price": 8, "dj": "Ann"}).json["slot"]
    assert (slot["price"], slot["dj"], slot["customised"]) == ("8.00", "Ann", ["dj", "price"])
    (event,) = lite.call("GET", "/feed.json?start=2026-01-05T00:00Z&end=2026-01-06T00:00Z").json
    assert (event["extendedProps"]["price"], event["extendedProps"]["dj"]) == ("8.00", "Ann")
    schemas = lite.call("GET", "/openapi.json").json["components"]["schemas"]
    for name in ("TemplateBody", "TemplateChange", "SlotChange", "TemplateAnswer", "SlotAnswer"):
        assert "price" in schemas[name]["properties"]
        assert "own" not in schemas[name]["properties"]
    assert ("dj" in schemas["TemplateAnswer"]["properties"], "dj" in schemas["SlotChange"]["properties"]) == (
        False,
        True,
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"price": "dear"}, "price"),
        ({"level": 3}, "level"),
        ({"pirce": 3}, "pirce"),
        ({"dj": "x" * 21}, "dj"),
    ],
)
def test_http_refuses_what_is_not_right(lite: OwnSite, body: dict[str, Any], field: str) -> None:
    """A wrong value of an own column is 422 and names it."""
    lite.add()
    answer = lite.call("PATCH", f"/slots/{LATER}", body)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field), answer.text


def test_http_edits_every_field_from_a_slot_on(lite: OwnSite) -> None:
    """``PATCH /slots/<key>`` takes the settings of a template in wide scopes, and refuses them of one slot."""
    lite.add()
    path = f"/slots/{LATER}?scope=this_and_future"
    answer = lite.call(
        "PATCH", path, {"holidays": None, "until_time": "12:00", "closes_before_minutes": 30, "price": "3"}
    )
    assert (answer.status_code, answer.json["counts"]["removed"]) == (200, 18), answer.text
    assert lite.call("PATCH", f"/slots/{FIRST}", {"until_time": "12:00"}).status_code == 422


def test_files_carry_them(lite: OwnSite) -> None:
    """An export has them by name, also what a person gave to one slot; an import brings all of it back."""
    lite.add(since=date(2026, 1, 1))
    lite.slots.edit(TOUCHED, "this", price=Decimal("1.5"), dj="Ann")
    lite.slots.cancel(LATER)
    lite.session.commit()
    content = lite.slots.export().content
    (template,) = json.loads(content)["templates"]
    assert (template["price"], template["level"], template["since"]) == ("10.00", "all", "2026-01-01")
    assert [(each.get("price"), each.get("dj")) for each in template["overrides"]] == [
        ("1.50", "Ann"),
        (None, None),
    ]
    lite.slots.import_templates(content)
    assert lite.prices("2@20260106T1000", "2@20260109T1000", "2@20260301T1000") == ["1.50", "10.00", "10.00"]
    again = lite.slots.get("2@20260106T1000")
    assert (again.dj, again.customised, again.template.since) == ("Ann", ["dj", "price"], date(2026, 1, 1))
    with pytest.raises(InvalidRequest, match="price = 'dear'; expected a decimal number"):
        lite.slots.import_templates(content.replace(b'"price": "10.00"', b'"price": "dear"'))
