"""``flask slots prune`` and ``stats``: forgetting what is old, and counting what is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
from flask import current_app

from .retention import PruneRequest
from .settings import MAX_RETENTION_DAYS
from .topup import prune
from .values import local_midnight

if TYPE_CHECKING:
    from datetime import datetime

    from .extension import AppState

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def _state() -> AppState:
    state: AppState = current_app.extensions["rollingslots"]
    return state


@click.option(
    "--older-than",
    type=int,
    required=True,
    help=f"Days since the end of a slot, 0 to {MAX_RETENTION_DAYS:,}.",
)
@click.option("--include-booked", is_flag=True, help="Booked and completed slots too, with their bookings.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@_json_option
def prune_slots(older_than: int, include_booked: bool, dry_run: bool, as_json: bool) -> None:
    """Delete unbooked slots that ended long ago, and old runs of the log."""
    state = _state()
    runner = state.topup.runner
    request = PruneRequest.make(
        older_than, state.clock(), runner.archive, include_booked=include_booked, dry_run=dry_run
    )
    report = prune(runner, request)
    if as_json:
        _print_json(report.to_dict())
        return
    verb = "would be deleted" if dry_run else "deleted"
    click.echo(
        f"{report.slots} slots, {report.bookings} bookings and {report.runs} runs from before "
        f"{report.before:%Y-%m-%d %H:%M} UTC {verb}; {report.kept} past slots stay."
    )


@click.option("--template", type=int, help="Only the series of this template (id).")
@click.option("--group", help="Only the templates of this group.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, in the zone of the settings.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Day after the last one.")
@_json_option
def show_stats(
    template: int | None, group: str | None, since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """Count the stored slots: how many, booked, cancelled; by template, weekday and hour."""
    state = _state()
    zone = ZoneInfo(state.settings.timezone)
    start, end = (day and local_midnight(day.date(), zone) for day in (since, until))
    stats = state.facade.stats(template, group, start, end)
    if as_json:
        _print_json(stats.to_dict())
        return
    for part in stats.templates.values():
        span = f"{part.earliest:%Y-%m-%d} to {part.latest:%Y-%m-%d}" if part.earliest and part.latest else "-"
        click.echo(
            f"{part.id:>5}  {part.slots:>6} slots, {part.booked_share:>4.0%} booked, {part.cancelled} cancelled, "
            f"{span}  {part.name}"
        )
    total = stats.total
    click.echo(
        f"total  {total.slots:>6} slots, {total.booked_share:>4.0%} booked, {total.cancelled} cancelled"
    )
    days = ((_WEEKDAYS[key], total.weekdays[key]) for key in sorted(total.weekdays))
    hours = ((f"{key:02}:00", total.hours[key]) for key in sorted(total.hours))
    for title, parts in (("by weekday", days), ("by hour", hours)):
        words = ", ".join(f"{name} {part.booked_share:.0%}" for name, part in parts)
        if words:
            click.echo(f"booked {title}: {words}")


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
