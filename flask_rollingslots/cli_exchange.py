"""``flask slots import`` and ``export``: templates and people's decisions, to and from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flask import current_app

from . import feeds
from .errors import InvalidRequest
from .recurrence.zones import find_zone

if TYPE_CHECKING:
    from .extension import AppState


def _state() -> AppState:
    state: AppState = current_app.extensions["rollingslots"]
    return state


@click.option("--format", "form", type=click.Choice(feeds.FORMATS[1:]), default="json", show_default=True)
@click.option("--template", type=int, help="Only the series of this template (id).")
@click.option("--group", help="Only the templates of this group.")
@click.option(
    "--output", type=click.Path(dir_okay=False), help="Write to this file; else to standard output."
)
def export_templates(form: str, template: int | None, group: str | None, output: str | None) -> None:
    """Write templates, with what people decided about their slots, as JSON or as an .ics file.

    JSON holds everything that import needs to restore them. In an .ics file inactive templates are left out, and
    public holidays and blackouts are written for the next two years.
    """
    found = feeds.export_templates(_state().reading(), template, group, form)
    if output is None:
        click.echo(found.content, nl=False)
    else:
        try:
            Path(output).write_bytes(found.content)
        except OSError as error:
            raise InvalidRequest(f"output = {output!r}: {error.strerror or error}") from error
    if form == "ics" and found.inactive:
        click.echo(f"{found.inactive} inactive templates left out.", err=True)


@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--format", "form", type=click.Choice(feeds.FORMATS), default="auto", show_default=True)
@click.option("--group", help="Put all templates into this group.")
@click.option("--timezone", help="IANA name of the zone of times without one; else ROLLINGSLOTS_TIMEZONE.")
@click.option("--dry-run", is_flag=True, help="Check everything, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_templates(
    file: str, form: str, group: str | None, timezone: str | None, dry_run: bool, as_json: bool
) -> None:
    """Add the templates of a JSON or .ics FILE (- for standard input): all of them, or none.

    JSON may come from export, or from another app: an object or a list with a title, a first start and end, and
    a rule; or a rule alone, which gets the name of the file. Importing a file twice adds its templates twice.
    """
    if timezone is not None:
        with feeds.naming("--timezone"):
            find_zone(timezone)
    work = _state().writing(dry_run)
    try:
        done = feeds.import_templates(work, _content(file), form, group, timezone, _name(file))
        text = _report(done, dry_run, as_json)
        if not dry_run:
            work.session.commit()
    finally:
        work.session.rollback()
    click.echo(text)


def _name(file: str) -> str | None:
    """Return the name of a template that has none: the file's, without its ending."""
    return (Path(file).stem.strip() or None) if file != "-" else None


def _content(file: str) -> bytes:
    """Return what the file holds, or a little more than allowed of it."""
    with click.open_file(file, "rb") as stream:
        content: bytes = stream.read(feeds.MAX_BYTES + 1)
    return content


def _report(done: feeds.Imported, dry_run: bool, as_json: bool) -> str:
    if as_json:
        found = {
            # A dry run gives no ids: they would not be those of the import.
            "templates": [{"id": None if dry_run else each.id, "name": each.name} for each in done.templates],
            "decisions": done.decisions,
            "dry_run": dry_run,
        }
        return json.dumps(found, indent=2, ensure_ascii=False)
    verb = "Would import" if dry_run else "Imported"
    lines = [f"{verb} templates: {len(done.templates)}, decisions about slots: {done.decisions}."]
    for each in done.templates:
        lines.append(
            f"  {'' if dry_run else each.id:>5}  {_plain(each.name)}  {each.recurrence.describe(times=True)}"
        )
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Return a text from a file without what a terminal could obey."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
