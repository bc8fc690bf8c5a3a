"""``flask slots status``, ``templates``, ``bookings``, ``explain``, ``doctor`` …: what is there, and how it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from ..errors import refusal
from ..facade import HealthReport, current_slots
from ..models import BookingMixin, TemplateMixin
from ..values import Health, local_midnight
from .group import json_option, print_json, say, slots_group

#: What somebody sees who has not added an offer yet.
NO_TEMPLATE = "There is no active template: slots.create_template(...) and a commit add one."
_OF_RUN = ("id", "trigger", "status", "created", "error", "started_at")
_OF_BOOKING = (
    "id",
    "who",
    "name",
    "contact",
    "note",
    "party",
    "status",
    "attendance",
    "created_at",
    "expires_at",
)
#: So many bookings are read at once.
_PAGE = 1000
_MOMENTS = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"])
_OF_SLOT = ("key", "starts_at", "ends_at", "state", "left", "is_virtual")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@slots_group.command()
@json_option
def status(as_json: bool) -> None:
    """Show the coverage of the window; exit code 1 if promised slots are missing, or the database takes no writes."""
    slots = current_slots()
    slots.read_primary()  # a replica that lags would tell of runs that are long over
    report, runs = slots.health(probe=True), slots.runs(limit=5)
    if as_json:
        last = [{name: getattr(r, name) for name in _OF_RUN} | {"template": r.template_id} for r in runs]
        print_json({**report.to_dict(), "runs": last})
    else:
        confirmed = f"{report.confirmed_at:%Y-%m-%d %H:%M} UTC" if report.confirmed_at else "never"
        say(f"{report.status}: {report.stored} of {report.promised} promised slots are stored")
        say(f"confirmed: {confirmed}; lease: {report.lease_owner or 'free'}")
        for text in filter(
            None, (report.trouble, report.retention and f"nothing old goes: {report.retention}")
        ):
            say(text)
        if report.horizon:
            say(f"complete until {report.horizon:%Y-%m-%d %H:%M} UTC")
        if report.last_error:
            retry = f"; next try {report.next_try:%H:%M:%S} UTC" if report.next_try else ""
            say(f"last error ({report.failures} in a row): {report.last_error}{retry}")
        for row in report.templates:
            if row.missing or row.due or row.error:
                say(f"  {row.id:>5}  {row.missing} missing, {row.due} due  {row.name}  {row.error or ''}")
        if advice := _advice(report):
            say(advice)
        for run in runs:
            started = f"{run.started_at:%Y-%m-%d %H:%M:%S}"
            say(f"run {run.id}: {run.status}, {run.created} created, {run.trigger}, {started} UTC")
    if report.status is Health.MISSING:
        click.get_current_context().exit(1)


def _advice(report: HealthReport) -> str | None:
    """Return what somebody may do who sees the report for the first time."""
    if not report.templates:
        return NO_TEMPLATE
    if report.missing or report.due:
        return "Requests of visitors fill it; `flask slots generate` does so now."
    return None


@slots_group.command()
@click.option("--group", help="Only the templates of this group.")
@json_option
def templates(group: str | None, as_json: bool) -> None:
    """List the templates."""
    rows = current_slots().templates(group=group)
    if as_json:
        print_json([_template_dict(row) for row in rows])
        return
    for row in rows:
        rule, off = row.recurrence.describe(times=True), "" if row.active else "  (inactive)"
        say(f"{row.id:>5}  {row.name}  [{row.group or '-'}]  {rule}  {row.timezone}{_bounds(row)}{off}")


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
@json_option
def preview(template: int, count: int, as_json: bool) -> None:
    """Show the next slots of a template, stored or not."""
    slots = current_slots()
    now, most = slots.now(), slots.settings.preview_max
    if not 1 <= count <= most:
        raise refusal("count", count, f"a whole number from 1 to {most}")
    found = slots.upcoming(template, count)
    if as_json:
        print_json([{name: getattr(slot, name) for name in _OF_SLOT} for slot in found])
        return
    for slot in found:
        kind = "virtual" if slot.is_virtual else "stored"
        say(f"{slot.local_start:%a %Y-%m-%d %H:%M %Z}  {slot.state_at(now)}  {kind}  {slot.key}")


@slots_group.command()
@click.option("--who", help="Only those of this person.")
@click.option("--slot", help="Only those in the slot at this key.")
@click.option("--template", type=int, help="Only those of the series of this template (id).")
@click.option("--group", help="Only those of this group.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only this day, in the zone of the settings.")
@click.option("--start", type=_MOMENTS, help="From this day or time on, in the zone of the settings.")
@click.option("--end", type=_MOMENTS, help="Before this day or time.")
@click.option("--all", "dead", is_flag=True, help="Those that were released or have expired, too.")
@json_option
def bookings(as_json: bool, dead: bool, day: datetime | None, **asked: Any) -> None:
    """List bookings, by the start of their slots: a person's, who comes to a slot, a day's list for the door."""
    slots = current_slots()
    zone = ZoneInfo(slots.settings.timezone)
    if day is not None:
        if asked["start"] or asked["end"]:
            raise refusal("day", f"{day:%Y-%m-%d}", "either --day, or --start and --end")
        asked["start"], asked["end"] = day, day + timedelta(days=1)
    asked |= {name: asked[name] and asked[name].replace(tzinfo=zone) for name in ("start", "end")}
    found = _all_bookings(live=not dead, **asked)
    if as_json:
        print_json([_booking_dict(booking) for booking in found])
        return
    for each in found:
        slot, about = each.slot, "  ".join(filter(None, (each.name, each.contact, each.attendance)))
        note = " ".join((each.note or "").split())
        line = f"{slot.local_start:%a %Y-%m-%d %H:%M %Z}  {slot.name}  {each.party:>2}  {each.who or '-'}  {about}"
        say(f"{line.rstrip()}  {_status(each)}  {each.id}{f'  {note}' if note else ''}")


def _all_bookings(**asked: Any) -> Iterator[BookingMixin]:
    after = None
    while page := current_slots().bookings(limit=_PAGE, after=after, **asked):
        yield from page
        after = page[-1]


def _status(booking: BookingMixin) -> str:
    return booking.status_at(current_slots().now()).value


def _booking_dict(booking: BookingMixin) -> dict[str, Any]:
    slot = booking.slot
    of_slot = {"key": slot.key, "slot": slot.name, "starts_at": slot.starts_at, "ends_at": slot.ends_at}
    shown = {name: getattr(booking, name) for name in _OF_BOOKING}
    return {**shown, "status": _status(booking), **of_slot}


@slots_group.command()
@click.argument("template", type=int)
@click.argument("moment", type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]))
@json_option
def explain(template: int, moment: datetime, as_json: bool) -> None:
    """Say why there is, or is not, a slot at MOMENT, a wall-clock time of the template's zone."""
    slots = current_slots()
    zone = ZoneInfo(slots.get_template(template).timezone)
    found = slots.explain(template, moment.replace(tzinfo=zone))
    if as_json:
        print_json(asdict(found))
    else:
        say(f"{found.code}: {found.sentence}")


@slots_group.command()
@json_option
def doctor(as_json: bool) -> None:
    """Look for faults of the deployment; exit code 1 if something must change."""
    found = current_slots().doctor()
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            say(f"{finding.level}: {finding.sentence}. {finding.advice}")
        if not found:
            say("nothing to complain of")
    if any(finding.level == "error" for finding in found):
        click.get_current_context().exit(1)


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
        say(
            f"{part.id:>5}  {part.slots:>6} slots, {part.booked_share:>4.0%} booked, {part.cancelled} cancelled, "
            f"{span}  {part.name}"
        )
    total = found.total
    say(f"total  {total.slots:>6} slots, {total.booked_share:>4.0%} booked, {total.cancelled} cancelled")
    days = ((_WEEKDAYS[key], total.weekdays[key]) for key in sorted(total.weekdays))
    hours = ((f"{key:02}:00", total.hours[key]) for key in sorted(total.hours))
    for title, parts in (("by weekday", days), ("by hour", hours)):
        words = ", ".join(f"{name} {part.booked_share:.0%}" for name, part in parts)
        if words:
            say(f"booked {title}: {words}")
