"""``flask slots init-db``, ``prune``, ``forget``, ``import`` …: what changes what is stored; and ``export``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ..errors import InvalidRequest, InvalidRule
from ..facade import ClosingReport, RollingSlots, current_slots
from ..models import BookingMixin
from ..settings import MAX_FILE_BYTES, MAX_RETENTION_DAYS
from .group import (
    WRONG_INPUT,
    Failure,
    decide,
    dry_run_option,
    json_option,
    print_json,
    say,
    say_all,
    slots_group,
)


@slots_group.command("init-db")
def init_db() -> None:
    """Create the library's tables where they are missing."""
    for name in current_slots().create_tables():
        say(name)


@slots_group.command()
@click.option(
    "--older-than",
    type=int,
    required=True,
    help=f"Days since the end of a slot, 0 to {MAX_RETENTION_DAYS:,}.",
)
@click.option("--include-booked", is_flag=True, help="Booked and completed slots too, with their bookings.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@json_option
def prune(older_than: int, include_booked: bool, dry_run: bool, as_json: bool) -> None:
    """Delete unbooked slots that ended long ago, and old runs of the log."""
    report = current_slots().prune(older_than, include_booked=include_booked, dry_run=dry_run)
    if as_json:
        print_json(report.to_dict())
    else:
        verb = "would be deleted" if dry_run else "deleted"
        say(
            f"{report.slots} slots, {report.bookings} bookings and {report.runs} runs from before "
            f"{report.before:%Y-%m-%d %H:%M} UTC {verb}; {report.kept} past slots stay."
        )
    if report.held_back:
        say(f"Held back: {report.held_back}", err=True)
        click.get_current_context().exit(1)


# -- series ----------------------------------------------------------------------------------------------------


@slots_group.command()
@click.argument("who")
@json_option
def forget(who: str, as_json: bool) -> None:
    """Take a person out of all bookings: name, contact and note go, the bookings stay under a random name."""
    count = decide(lambda slots: slots.forget(who))
    if as_json:
        print_json({"bookings": count})
    else:
        say(f"Forgotten in {_count(range(count), 'booking')}.")


@slots_group.command("cancel-future")
@click.argument("template", type=int)
@click.argument("from_date", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--reason", help="Shown with each cancelled slot.")
@dry_run_option
@json_option
def cancel_future(
    template: int, from_date: datetime, reason: str | None, dry_run: bool, as_json: bool
) -> None:
    """Cancel all slots of TEMPLATE's series from FROM_DATE on, a day of its zone; restore-series takes it back."""
    day = from_date.date()
    told = decide(lambda s: s.cancel_future(template, day, reason, dry_run=dry_run).to_dict(), dry_run)
    _show(told, "cancelled", dry_run, as_json)


@slots_group.command("restore-series")
@click.argument("template", type=int)
@dry_run_option
@json_option
def restore_series(template: int, dry_run: bool, as_json: bool) -> None:
    """Take back that TEMPLATE's series was cancelled or deleted."""
    told = decide(lambda slots: slots.restore_series(template, dry_run=dry_run).to_dict(), dry_run)
    _show(told, "restored", dry_run, as_json)


def _show(told: dict[str, Any], word: str, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, **told})
        return
    verb = f"would be {word}" if dry_run else word
    say(f"{len(told['changed'])} stored slots {verb}, {len(told['booked'])} of them booked.")
    for key in told["booked"]:
        say(f"  booked: {key}")
    if told["kept_booked"]:
        say(f"{len(told['kept_booked'])} stay as they are: another slot is at their time.")
    if told["overbooked"]:
        say(f"{len(told['overbooked'])} have fewer places by now than are booked in them.")
    if told["kept_completed"]:
        say(f"{len(told['kept_completed'])} completed ones stay.")


@slots_group.command("close")
@click.argument("first", type=click.DateTime(["%Y-%m-%d"]))
@click.argument("last", type=click.DateTime(["%Y-%m-%d"]), required=False)
@click.option("--group", help="Only the templates of this group.")
@click.option("--template", type=int, help="Only the series of this template (id).")
@click.option("--reason", help="Told to whoever listens; not stored.")
@click.option("--reopen", is_flag=True, help="Open the days again.")
@dry_run_option
@json_option
def close(
    first: datetime,
    last: datetime | None,
    group: str | None,
    template: int | None,
    reason: str | None,
    reopen: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Close the days from FIRST to LAST (by default one day), and say whom to call.

    Without --group and --template all templates there are. Of a grid the day on which it begins is meant.
    """
    if reopen and reason is not None:
        raise click.UsageError("--reason goes with days that are closed, not with --reopen")
    what: dict[str, Any] = {"last": last and last.date(), "group": group, "template": template}

    def act(slots: RollingSlots) -> tuple[dict[str, Any], list[str]]:
        if reopen:
            report = slots.reopen(first.date(), **what, dry_run=dry_run)
        else:
            report = slots.close(first.date(), **what, reason=reason, dry_run=dry_run)
        return {"dry_run": dry_run, **report.to_dict()}, list(_closing(report, dry_run))

    told, lines = decide(act, dry_run)
    print_json(told) if as_json else say_all(lines)


@slots_group.command("cancel-date")
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--group", help="Only the templates of this group.")
@click.option("--reason", help="Shown with each cancelled slot.")
@dry_run_option
@json_option
def cancel_date(day: datetime, group: str | None, reason: str | None, dry_run: bool, as_json: bool) -> None:
    """Cancel all slots of a DAY, and say whom to call; they stay visible as cancelled.

    Without --group of all templates there are. Of a grid the day on which it begins is meant.
    """

    def act(slots: RollingSlots) -> tuple[dict[str, Any], list[str]]:
        keys = slots.cancel_date(group, day.date(), reason, dry_run)
        verb = f"{'would be ' if dry_run else ''}cancelled"
        lines = [f"{day:%Y-%m-%d}: {_count(keys, 'slot')} {verb}.", *_people(keys.bookings)]
        return {"dry_run": dry_run, "slots": keys, "bookings": [b.id for b in keys.bookings]}, lines

    told, lines = decide(act, dry_run)
    print_json(told) if as_json else say_all(lines)


def _closing(report: ClosingReport, dry_run: bool) -> Iterator[str]:
    """Say what was closed or opened, and whom to call: within the transaction, for bookings end with it."""
    span = f"{report.first}" if report.first == report.last else f"{report.first} to {report.last}"
    verb = ("would be " if dry_run else "") + ("reopened" if report.reopened else "closed")
    before = (
        f", {len(report.unchanged)} already {'open' if report.reopened else 'closed'}"
        if report.unchanged
        else ""
    )
    yield f"{span}: {_count(report.templates, 'template')} {verb}{before}."
    yield f"{_count(report.slots, 'stored slot')}, {len(report.booked)} of them booked."
    for key in report.moved:
        yield f"  moved to these days, still takes place: {key}"
    yield from _people(report.bookings)


def _people(bookings: Sequence[BookingMixin]) -> Iterator[str]:
    if bookings:
        yield "Call:"
    for booking in bookings:
        slot = booking.slot
        who = f"{slot.template.name}  {booking.who or 'nobody in particular'}"
        places = _count(range(booking.party), "place")
        yield f"  {slot.local_start:%a %Y-%m-%d %H:%M %Z}  {who}  {places}  booking {booking.id}"


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


# -- files -----------------------------------------------------------------------------------------------------


@slots_group.command("export")
@click.option("--format", "form", type=click.Choice(["json", "ics"]), default="json", show_default=True)
@click.option("--template", type=int, help="Only the series of this template (id).")
@click.option("--group", help="Only the templates of this group.")
@click.option(
    "--output", type=click.Path(dir_okay=False), help="Write to this file; else to standard output."
)
def export_templates(form: str, template: int | None, group: str | None, output: str | None) -> None:
    """Write templates, with what people decided about their slots, as JSON or as an .ics file.

    JSON holds everything that import needs to restore them. In an .ics file inactive templates are left out, and
    public holidays, blackouts and what changes of the clocks do are written for the next two years.
    """
    found = current_slots().export(template, group, form)
    if output is None:
        click.echo(found.content, nl=False)
    else:
        try:
            Path(output).write_bytes(found.content)
        except OSError as error:
            raise InvalidRequest(f"output = {output!r}: {error.strerror or error}") from error
    if found.left_out:
        say(f"{found.left_out} inactive templates left out.", err=True)


@slots_group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--format", "form", type=click.Choice(["auto", "json", "ics"]), default="auto", show_default=True
)
@click.option("--group", help="Put all templates into this group.")
@click.option("--timezone", help="IANA name of the zone of times without one; else ROLLINGSLOTS_TIMEZONE.")
@click.option("--dry-run", is_flag=True, help="Check everything, and write nothing.")
@json_option
def import_templates(
    file: str, form: str, group: str | None, timezone: str | None, dry_run: bool, as_json: bool
) -> None:
    """Add the templates of a JSON or .ics FILE (- for standard input): all of them, or none.

    JSON may come from export, or from another app: an object or a list with a title, a first start and end, and
    a rule; or a rule alone, which gets the name of the file. Importing a file twice adds its templates twice.
    What has a time in an .ics FILE keeps its exact length over changes of the clocks: its ends_by is elapsed.
    """
    file_name = (Path(file).stem.strip() or None) if file != "-" else None
    with click.open_file(file, "rb") as stream:
        content: bytes = stream.read(MAX_FILE_BYTES + 1)  # a little more than allowed, so that it is refused

    def act(slots: RollingSlots) -> tuple[list[tuple[int | None, str, str]], int]:
        try:
            done = slots.import_templates(content, form, group, timezone, file_name, dry_run)
        except InvalidRule as error:  # what is wrong in the file is told otherwise
            raise Failure(f"--timezone: {error}", WRONG_INPUT) from error
        # A dry run gives no ids: they would not be those of the import.
        return [
            (None if dry_run else each.id, each.name, each.recurrence.describe(times=True))
            for each in done.templates
        ], done.decisions

    found, decisions = decide(act, dry_run)
    if as_json:
        templates = [{"id": number, "name": name} for number, name, _ in found]
        print_json({"templates": templates, "decisions": decisions, "dry_run": dry_run})
        return
    verb = "Would import" if dry_run else "Imported"
    say(f"{verb} templates: {len(found)}, decisions about slots: {decisions}.")
    for number, name, rule in found:
        say(f"  {number or '':>5}  {name}  {rule}")
