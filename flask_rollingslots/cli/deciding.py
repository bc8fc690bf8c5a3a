"""``flask slots cancel-future`` and ``restore-series``: decisions about whole series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flask_rollingslots.facade import current_slots

from .group import json_option, print_json, slots_group

if TYPE_CHECKING:
    from datetime import datetime

    from flask_rollingslots.facade import SeriesReport

_dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")


@slots_group.command("cancel-future")
@click.argument("template", type=int)
@click.argument("from_date", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--reason", help="Shown with each cancelled slot.")
@_dry_run_option
@json_option
def cancel_future(
    template: int, from_date: datetime, reason: str | None, dry_run: bool, as_json: bool
) -> None:
    """Cancel all slots of TEMPLATE's series from FROM_DATE on, a day of its zone; restore-series takes it back."""
    with current_slots().transaction(dry_run) as slots:
        report = slots.cancel_future(template, from_date.date(), reason, dry_run=dry_run)
    _show(report, "cancelled", dry_run, as_json)


@slots_group.command("restore-series")
@click.argument("template", type=int)
@_dry_run_option
@json_option
def restore_series(template: int, dry_run: bool, as_json: bool) -> None:
    """Take back that TEMPLATE's series was cancelled or deleted."""
    with current_slots().transaction(dry_run) as slots:
        report = slots.restore_series(template, dry_run=dry_run)
    _show(report, "restored", dry_run, as_json)


def _show(report: SeriesReport, word: str, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, **report.to_dict()})
        return
    verb = f"would be {word}" if dry_run else word
    click.echo(f"{len(report.changed)} stored slots {verb}, {len(report.booked)} of them booked.")
    for key in report.booked:
        click.echo(f"  booked: {key}")
    if report.kept_booked:
        click.echo(f"{len(report.kept_booked)} stay as they are: another slot is at their time.")
    if report.kept_completed:
        click.echo(f"{len(report.kept_completed)} completed ones stay.")
