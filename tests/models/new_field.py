"""Looks everywhere for a field of a template that was added to the table alone, and for one of each answer's model.

Run by tests/models/test_fields.py.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click.testing
from api_site import ApiSite
from flask.testing import FlaskCliRunner

import flask_rollingslots
from flask_rollingslots.errors import InvalidTemplate

NAME, KEY = "warm_up", "warm_up_minutes"
QUARTER = timedelta(minutes=15)
HALL = {"name": "Hall", "dtstart": "2026-01-05T10:00", "duration_minutes": 60, "rrule": "FREQ=DAILY"}


def say(where: str, found: object) -> None:
    """Print whether the field was found somewhere."""
    sys.stdout.write(f"{where}: {'yes' if found else 'no'}\n")


def refuses(act: Any) -> bool:
    """Return whether something is refused because of the field."""
    try:
        act()
    except InvalidTemplate as error:
        return bool(error.details["field"] == NAME)
    return False


def look_at_models(site: ApiSite) -> None:
    """The column, creating, checking, cutting a series, and what counts as a decision."""
    slots = site.slots
    column = slots.Template.__table__.c[NAME]
    say("column", column.nullable and "BIGINT" in str(column.type))
    template = site.add(warm_up=QUARTER)
    site.session.expire_all()
    say("create", template.warm_up == QUARTER)
    say(
        "check",
        refuses(lambda: slots.create_template(dry_run=True, **{**hall(), NAME: timedelta(seconds=90)})),
    )
    before = template.revision
    slots.change_template(template, warm_up=2 * QUARTER)
    site.session.commit()
    say("change", template.warm_up == 2 * QUARTER)
    say("decision", template.revision > before and template.changed_at is not None)
    slots.edit(f"{template.id}@20260110T1000", "this_and_future", name="Later")
    site.session.commit()
    later = site.session.get(slots.Template, template.id + 1)
    say("cut", later is not None and later.warm_up == 2 * QUARTER)


def hall() -> dict[str, Any]:
    """Return the fields of a template in Python."""
    return {"name": "Hall", "dtstart": datetime(2026, 1, 5, 10), "duration": timedelta(hours=1)}


def look_at_http(site: ApiSite) -> None:
    """Bodies, answers, refusals and their description."""
    made = site.call("POST", "/templates", {**HALL, KEY: 15})
    number = made.json["id"]
    say("http create", made.status_code == 201)
    say("http answer", site.get(f"/templates/{number}").get(KEY) == 15)
    wrong = site.call("POST", "/templates", {**HALL, KEY: 0})
    say("http check", wrong.status_code == 422 and wrong.json["errors"][0]["field"] == KEY)
    changed = site.call("PATCH", f"/templates/{number}", {KEY: 30})
    say("http change", changed.json["template"][KEY] == 30)
    say("http clear", site.call("PATCH", f"/templates/{number}", {KEY: None}).json["template"][KEY] is None)
    tried = site.call("POST", "/templates", {**HALL, KEY: 15, "dry_run": True})
    say("http dry run", tried.json["items"][0][KEY] == 15)
    schemas = site.get("/openapi.json")["components"]["schemas"]
    models = ("TemplateBody", "TemplateChange", "TemplateAnswer")
    about = [schemas[model]["properties"].get(KEY, {}).get("description", "") for model in models]
    say("openapi", all("prepared" in text for text in about))


def look_at_answers(site: ApiSite) -> None:
    """The fields that were added to the models of answers."""
    number = site.call("POST", "/templates", HALL).json["id"]
    slot = f"/slots/{number}@20260110T1000"
    run = site.call("POST", "/topups", {}).json
    site.settle()
    booking = site.call("POST", f"{slot}/bookings", {}).json
    week = site.get(f"/topups?week=2026-01-10&template={number}")["week"]
    tried = {"scope": "all", "dry_run": True}
    schemas = site.get("/openapi.json")["components"]["schemas"]
    for model, name, answer in (
        ("SlotAnswer", "hold_until", site.get(slot)),
        ("BookingAnswer", "replaces_id", booking),
        ("RunAnswer", "owner", run),
        ("WeekTemplate", "active", week["templates"][0]),
        ("EditAnswer", "move_booked", site.call("PATCH", slot, {"capacity": 2, **tried}).json),
        ("EndAnswer", "segments", site.call("POST", f"{slot}/cancel", tried).json),
        ("HealthAnswer", "lease_owner", site.get("/health")),
    ):
        say(model, name in answer and name in schemas[model]["properties"])


def look_at_files(site: ApiSite) -> None:
    """Export and import, of our own format and of entries of other apps."""
    runner = FlaskCliRunner(site.app)

    def run(*args: str, given: str = "") -> click.testing.Result:
        return runner.invoke(args=["slots", *args], input=given)

    with site.app.app_context():
        site.add(name="Out", group="out", warm_up=QUARTER)
    text = run("export", "--group", "out").stdout
    say("export", json.loads(text)["templates"][0].get(KEY) == 15)
    run("import", "-", "--group", "in", given=text)
    entry = {"title": "A", "start": "2026-01-05T09:00", "end": "2026-01-05T10:00", KEY: 15}
    run("import", "-", "--group", "other", given=json.dumps(entry))
    with site.app.app_context():
        found = {each.group: each.warm_up for each in site.session.query(site.slots.Template)}
    say("import", found.get("in") == QUARTER)
    say("foreign import", found.get("other") == QUARTER)


def look_at_docs(folder: Path) -> None:
    """The generated table."""
    spec = importlib.util.spec_from_file_location("generate", folder / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    say("docs", f"| `{NAME}` | `{KEY}` | `timedelta` | how long before" in generate.filled("templates.md"))


def main(folder: Path) -> None:
    """Look everywhere."""
    assert Path(flask_rollingslots.__file__).is_relative_to(folder)
    site = ApiSite(f"sqlite:///{folder / 'site.db'}", folder)
    with site.app.app_context():
        look_at_models(site)
    look_at_http(site)
    look_at_answers(site)
    look_at_files(site)
    look_at_docs(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
