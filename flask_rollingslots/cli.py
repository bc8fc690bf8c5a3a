"""``flask slots …``: the same things as the facade, for people at a terminal.

Results go to standard output, progress and errors to standard error. Wrong input ends with exit code 2.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

import click
from flask import current_app
from flask.cli import AppGroup

from . import browsing
from .cli_exchange import export_templates, import_templates
from .cli_filling import NO_TEMPLATE, generate
from .cli_keeping import prune_slots, show_stats
from .errors import InvalidRequest, RollingSlotsError, TemplateNotFound
from .extension import create_tables, missing_tables, unreadable_row
from .health import Level
from .values import Health

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .extension import AppState
    from .facade import RollingSlots
    from .health import HealthReport
    from .models import SlotMixin, TemplateMixin
    from .series import SeriesReport

P = ParamSpec("P")
R = TypeVar("R")

slots_group = AppGroup("slots", help="Keep bookable slots filled, and look at them.")

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _state() -> AppState:
    state: AppState = current_app.extensions["rollingslots"]
    return state


def _teaching(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the library's errors into one clear line and exit code 2 for wrong input, 1 for the rest."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except RollingSlotsError as error:
            _fail(str(error), 2 if isinstance(error, InvalidRequest | TemplateNotFound) else 1)
        except Exception as error:
            state = _state()
            missing = missing_tables(state.db, state.models)
            if missing:
                _fail(f"the database has no table {missing[0]}: migrate it, or run `flask slots init-db`", 1)
            found = (
                unreadable_row(state.db.session(), state.models) if isinstance(error, ValueError) else None
            )
            if found is None:
                raise
            _fail(str(found), 1)

    return wrapper


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"Error: {text}", err=True)
    sys.exit(code)


@slots_group.command()
@_json_option
@_teaching
def status(as_json: bool) -> None:
    """Show the coverage of the window; exit code 1 if promised slots are missing."""
    state = _state()
    report, runs = state.facade.health(), state.facade.runs(limit=5)
    if as_json:
        last = [
            {"id": r.id, "trigger": r.trigger, "status": r.status, "created": r.created, "error": r.error,
             "started_at": r.started_at.isoformat(), "template": r.template_id}
            for r in runs
        ]  # fmt: skip
        _print_json({**report.to_dict(), "runs": last})
    else:
        confirmed = f"{report.confirmed_at:%Y-%m-%d %H:%M} UTC" if report.confirmed_at else "never"
        click.echo(f"{report.status}: {report.stored} of {report.promised} promised slots are stored")
        click.echo(f"confirmed: {confirmed}; lease: {report.lease_owner or 'free'}")
        if report.horizon:
            click.echo(f"complete until {report.horizon:%Y-%m-%d %H:%M} UTC")
        if report.last_error:
            retry = f"; next try {report.next_try:%H:%M:%S} UTC" if report.next_try else ""
            click.echo(f"last error ({report.failures} in a row): {report.last_error}{retry}")
        for row in report.templates:
            if row.missing or row.due or row.error:
                click.echo(
                    f"  {row.id:>5}  {row.missing} missing, {row.due} due  {row.name}  {row.error or ''}"
                )
        if advice := _advice(report):
            click.echo(advice)
        for run in runs:
            started = f"{run.started_at:%Y-%m-%d %H:%M:%S}"
            click.echo(f"run {run.id}: {run.status}, {run.created} created, {run.trigger}, {started} UTC")
    sys.exit(1 if report.status is Health.MISSING else 0)


def _advice(report: HealthReport) -> str | None:
    """Return what somebody may do who sees the report for the first time."""
    if not report.templates:
        return NO_TEMPLATE
    if report.missing or report.due:
        return "Requests of visitors fill it; `flask slots generate` does so now."
    return None


@slots_group.command()
@click.option("--group", help="Only the templates of this group.")
@_json_option
@_teaching
def templates(group: str | None, as_json: bool) -> None:
    """List the templates."""
    rows = browsing.search(_state().reading(), group=group)
    if as_json:
        _print_json([_template_dict(row) for row in rows])
        return
    for row in rows:
        rule, off = row.recurrence.describe(times=True), "" if row.active else "  (inactive)"
        click.echo(
            f"{row.id:>5}  {row.name}  [{row.group or '-'}]  {rule}  {row.timezone}{_bounds(row)}{off}"
        )


def _bounds(row: TemplateMixin) -> str:
    """Return the days between which a segment of a series holds: two of them look alike without."""
    bounds = (("from", row.active_from), ("before", row.active_until), ("cancelled from", row.cancelled_from))
    return "".join(f"  {word} {day:%Y-%m-%d}" for word, day in bounds if day is not None)


def _template_dict(row: TemplateMixin) -> dict[str, Any]:
    return {
        "id": row.id,
        "series_id": row.series_id,
        "name": row.name,
        "group": row.group,
        "active": row.active,
        "rule": row.recurrence.describe(times=True),
        "rrule": row.rrule,
        "dtstart": row.dtstart.isoformat(),
        "timezone": row.timezone,
        "duration_minutes": int(row.duration.total_seconds() // 60),
        "capacity": row.capacity,
        "revision": row.revision,
    }


@slots_group.command()
@click.argument("template", type=int)
@click.option("--count", type=int, default=5, show_default=True, help="How many slots, at most PREVIEW_MAX.")
@_json_option
@_teaching
def preview(template: int, count: int, as_json: bool) -> None:
    """Show the next slots of a template, stored or not."""
    state = _state()
    if not 1 <= count <= state.settings.preview_max:
        _fail(f"count = {count}: expected a whole number from 1 to {state.settings.preview_max}", 2)
    found = browsing.upcoming(state.reading(), template, count)
    if as_json:
        _print_json([_slot_dict(slot, slot.state_at(state.clock())) for slot in found])
        return
    for slot in found:
        kind = "virtual" if slot.is_virtual else "stored"
        click.echo(
            f"{slot.local_start:%a %Y-%m-%d %H:%M %Z}  {slot.state_at(state.clock())}  {kind}  {slot.key}"
        )


def _slot_dict(slot: SlotMixin, state: str) -> dict[str, Any]:
    return {
        "key": slot.key,
        "starts_at": slot.starts_at.isoformat(),
        "ends_at": slot.ends_at.isoformat(),
        "state": str(state),
        "left": slot.left,
        "is_virtual": slot.is_virtual,
    }


@slots_group.command("explain")
@click.argument("template", type=int)
@click.argument("moment", type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]))
@_json_option
@_teaching
def explain_command(template: int, moment: datetime, as_json: bool) -> None:
    """Say why there is, or is not, a slot at MOMENT, a wall-clock time of the template's zone."""
    state = _state()
    zone = ZoneInfo(browsing.find_template(state.reading(), template).timezone)
    local = moment.replace(tzinfo=zone)
    found = state.facade.explain(template, local)
    if as_json:
        _print_json({"code": found.code, "sentence": found.sentence, "key": found.key})
    else:
        click.echo(f"{found.code}: {found.sentence}")


@slots_group.command()
@_json_option
@_teaching
def doctor(as_json: bool) -> None:
    """Look for faults of the deployment; exit code 1 if something must change."""
    found = _state().examine()
    if as_json:
        _print_json(
            [{"level": f.level, "code": f.code, "sentence": f.sentence, "advice": f.advice} for f in found]
        )
    else:
        for finding in found:
            click.echo(f"{finding.level}: {finding.sentence}. {finding.advice}")
        if not found:
            click.echo("nothing to complain of")
    sys.exit(1 if any(finding.level is Level.ERROR for finding in found) else 0)


@slots_group.command("init-db")
@_teaching
def init_db() -> None:
    """Create the library's tables where they are missing."""
    state = _state()
    for name in create_tables(state.app, state.db, state.models):
        click.echo(name)


@slots_group.command("cancel-future")
@click.argument("template", type=int)
@click.argument("from_date", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--reason", help="Shown with each cancelled slot.")
@_json_option
@_teaching
def cancel_future(template: int, from_date: datetime, reason: str | None, as_json: bool) -> None:
    """Cancel all slots of TEMPLATE's series from FROM_DATE on, a day of its zone; restore-series takes it back."""
    _decide(lambda slots: slots.cancel_future(template, from_date.date(), reason), "cancelled", as_json)


@slots_group.command("restore-series")
@click.argument("template", type=int)
@_json_option
@_teaching
def restore_series(template: int, as_json: bool) -> None:
    """Take back that TEMPLATE's series was cancelled or deleted."""
    _decide(lambda slots: slots.restore_series(template), "restored", as_json)


def _decide(act: Callable[[RollingSlots], SeriesReport], word: str, as_json: bool) -> None:
    report = act(_state().facade)
    _state().db.session.commit()
    if as_json:
        _print_json(report.to_dict())
        return
    click.echo(f"{len(report.changed)} stored slots {word}, {len(report.booked)} of them booked.")
    for key in report.booked:
        click.echo(f"  booked: {key}")
    if report.kept_booked:
        click.echo(f"{len(report.kept_booked)} stay as they are: another slot is at their time.")
    if report.kept_completed:
        click.echo(f"{len(report.kept_completed)} completed ones stay.")


slots_group.command("generate")(_teaching(generate))
slots_group.command("export")(_teaching(export_templates))
slots_group.command("import")(_teaching(import_templates))
slots_group.command("prune")(_teaching(prune_slots))
slots_group.command("stats")(_teaching(show_stats))


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
