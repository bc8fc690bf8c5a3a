"""``flask slots init-db``, ``prune`` and ``stats``: the tables, forgetting what is old, counting what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from flask_rollingslots.facade import current_slots
from flask_rollingslots.settings import MAX_RETENTION_DAYS
from flask_rollingslots.values import local_midnight

from .group import json_option, print_json, slots_group

if TYPE_CHECKING:
    from datetime import datetime

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@slots_group.command("init-db")
def init_db() -> None:
    """Create the library's tables where they are missing."""
    for name in current_slots().create_tables():
        click.echo(name)


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
        return
    verb = "would be deleted" if dry_run else "deleted"
    click.echo(
        f"{report.slots} slots, {report.bookings} bookings and {report.runs} runs from before "
        f"{report.before:%Y-%m-%d %H:%M} UTC {verb}; {report.kept} past slots stay."
    )


@slots_group.command()
@click.option("--template", type=int, help="Only the series of this template (id).")
@click.option("--group", help="Only the templates of this group.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, in the zone of the settings.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Day after the last one.")
@json_option
def stats(
    template: int | None, group: str | None, since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """Count the stored slots: how many, booked, cancelled; by template, weekday and hour."""
    slots = current_slots()
    zone = ZoneInfo(slots.settings.timezone)
    start, end = (day and local_midnight(day.date(), zone) for day in (since, until))
    found = slots.stats(template, group, start, end)
    if as_json:
        print_json(found.to_dict())
        return
    for part in found.templates.values():
        span = f"{part.earliest:%Y-%m-%d} to {part.latest:%Y-%m-%d}" if part.earliest and part.latest else "-"
        click.echo(
            f"{part.id:>5}  {part.slots:>6} slots, {part.booked_share:>4.0%} booked, {part.cancelled} cancelled, "
            f"{span}  {part.name}"
        )
    total = found.total
    click.echo(
        f"total  {total.slots:>6} slots, {total.booked_share:>4.0%} booked, {total.cancelled} cancelled"
    )
    days = ((_WEEKDAYS[key], total.weekdays[key]) for key in sorted(total.weekdays))
    hours = ((f"{key:02}:00", total.hours[key]) for key in sorted(total.hours))
    for title, parts in (("by weekday", days), ("by hour", hours)):
        words = ", ".join(f"{name} {part.booked_share:.0%}" for name, part in parts)
        if words:
            click.echo(f"booked {title}: {words}")
