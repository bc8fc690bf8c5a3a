"""``flask slots generate``: fill now, with a progress bar, several tries, and a clean stop."""

from __future__ import annotations

import json
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from zoneinfo import ZoneInfo

import click
from flask import current_app

from .errors import InvalidRequest, TemplateNotFound
from .queue import Distributor
from .settings import MAX_DAYS
from .statements import sentence
from .topup import Interrupted, TopUpRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .extension import AppState
    from .values import Report

#: The exit code of a command that ran out of time, as of timeout(1).
TIMED_OUT = 124
_LONGEST_PAUSE = 30.0
_TODAY = "today"
#: What another try cannot mend.
_WRONG = (InvalidRequest, TemplateNotFound, Interrupted)


class Stop:
    """Whether the command is to end, and why: a signal, or no time left."""

    def __init__(self) -> None:
        """Begin without a reason."""
        self.event, self.code = threading.Event(), 0

    def ask(self, code: int) -> None:
        """Let the command end after what it writes just now."""
        self.code = self.code or code
        self.event.set()


@contextmanager
def stopping_cleanly(seconds: float | None = None) -> Iterator[Stop]:
    """Let SIGTERM, Ctrl-C and a time limit end a top-up after its chunk; a second signal ends it at once."""
    stop = Stop()
    timer = threading.Timer(seconds, stop.ask, [TIMED_OUT]) if seconds is not None else None
    before: dict[int, Any] = {}

    def on_signal(number: int, _frame: Any) -> None:
        signal.signal(number, before[number])
        stop.ask(128 + number)

    if timer is not None:
        timer.daemon = True
        timer.start()
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        if timer is not None:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


#: What somebody sees who has not added an offer yet.
NO_TEMPLATE = "There is no active template: slots.create_template(...) and a commit add one."


class _Day(click.ParamType):  # type: ignore[type-arg]
    """A day, or ``today``: which day that is depends on the app's zone."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date | str:
        """Read ``YYYY-MM-DD``."""
        if value == _TODAY or isinstance(value, date):
            return value  # type: ignore[no-any-return]
        try:
            return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 (a day has no zone)
        except ValueError:
            self.fail(f"{value!r}: expected a day as YYYY-MM-DD", param, ctx)


def _day(value: date | str | None, state: AppState) -> date | None:
    if isinstance(value, str):
        return state.clock().astimezone(ZoneInfo(state.settings.timezone)).date()
    return value


@click.option(
    "--days", type=int, help=f"Local days from today, 1 to {MAX_DAYS}; else each template's window."
)
@click.option("--weeks", type=int, help="The same in weeks.")
@click.option(
    "--week",
    is_flag=False,
    flag_value=_TODAY,
    type=_Day(),
    metavar="[DATE]",
    help="The week of a day (this week without one): Monday to Sunday, past days too.",
)
@click.option("--since", type=_Day(), metavar="DATE", help="From this day to today, past days too.")
@click.option("--template", type=int, help="Only the series of this template (id).")
@click.option("--group", help="Only the templates of this group.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option(
    "--distributed", is_flag=True, help="Let the workers of the queue do it, and show how far they are."
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Try again so often after a failure.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 86_400, min_open=True),
    help="Stop after so many seconds, with exit code 124; what is written stays.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def generate(
    days: int | None,
    weeks: int | None,
    week: date | str | None,
    since: date | str | None,
    template: int | None,
    group: str | None,
    dry_run: bool,
    distributed: bool,
    retries: int,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Create the missing slots now; SIGTERM and Ctrl-C stop it after what is committed."""
    spans = {"--days": days, "--weeks": weeks, "--week": week, "--since": since}
    given = [name for name, value in spans.items() if value is not None]
    if len(given) > 1:
        _fail(f"{' and '.join(given)}: give one of them", 2)
    if dry_run and distributed:
        _fail("--dry-run and --distributed: give one of them", 2)
    if weeks is not None:
        if not 1 <= weeks <= MAX_DAYS // 7:
            _fail(f"weeks = {weeks}: expected a whole number from 1 to {MAX_DAYS // 7}", 2)
        days = weeks * 7
    state: AppState = current_app.extensions["rollingslots"]
    with stopping_cleanly(timeout) as stop, _Bar(hidden=as_json) as bar:
        options: dict[str, Any] = {
            "template_id": template,
            "group": group,
            "dry_run": dry_run,
            "progress": bar.move,
        }
        monday = _day(week, state)
        if monday is not None:
            request = TopUpRequest.for_week(monday, **options)
        else:
            request = TopUpRequest("manual", days=days, first_day=_day(since, state), **options)
        worker = Distributor(state.topup) if distributed else state.topup.runner
        report = _try(partial(worker.generate, request, stop.event), retries, stop, bar)
    _print(report, request, as_json)
    if any(tally.error for tally in report.templates.values()):
        sys.exit(1)


def _try(fill: Callable[[], Report], retries: int, stop: Stop, bar: _Bar) -> Report:
    """Fill, and try again after a failure; the pauses grow."""
    state: AppState = current_app.extensions["rollingslots"]
    for left in reversed(range(retries + 1)):
        try:
            return fill()
        except Interrupted:
            _stopped(stop, bar)
        except Exception as error:
            if not left or isinstance(error, _WRONG):
                raise
            pause = min(_LONGEST_PAUSE, 2.0 ** (retries - left))
            click.echo(f"Failed: {sentence(error)}; next try in {pause:.0f} s, {left} left", err=True)
            state.db.session.rollback()
            if stop.event.wait(pause):
                _stopped(stop, bar)
    raise AssertionError  # the last try returned or raised


def _stopped(stop: Stop, bar: _Bar) -> NoReturn:
    why = "out of time" if stop.code == TIMED_OUT else "stopped"
    _fail(
        f"{why} after {bar.done} of {bar.total} slots; what is written stays, the next run does the rest",
        stop.code,
    )


def _fail(text: str, code: int) -> NoReturn:
    click.echo(f"Error: {text}", err=True)
    sys.exit(code)


class _Bar:
    """A progress bar on standard error that learns its length with the first step."""

    def __init__(self, hidden: bool) -> None:
        self._hidden = hidden
        self._bar: Any = None
        self.done = self.total = 0

    def __enter__(self) -> _Bar:
        return self

    def move(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` slots are written."""
        if self._bar is None:
            self._bar = click.progressbar(
                length=total, label="Slots", file=sys.stderr, hidden=self._hidden, show_pos=True
            )
            self._bar.__enter__()
        self._bar.length = total
        self._bar.update(done - self.done)
        self.done, self.total = done, total

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(*exception)


def _print(report: Report, request: TopUpRequest, as_json: bool) -> None:
    first, end = request.first_day, request.end_day
    if as_json:
        found = report.to_dict()
        if first is not None and end is not None:
            week = {"week_start": first.isoformat(), "week_end": (end - timedelta(days=1)).isoformat()}
            found |= {**week, "templates_processed": len(report.templates)}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if first is not None and end is not None:
        click.echo(f"Week {first.isoformat()} to {(end - timedelta(days=1)).isoformat()}:")
    _print_report(report)


def _print_report(report: Report) -> None:
    verb = "would be created" if report.dry_run else "created"
    click.echo(f"{report.created} slots {verb}, {report.existing} there already.")
    for name, text in (("updated", "moved to the right time"), ("removed", "no longer in a rule, removed")):
        if getattr(report, name):
            click.echo(f"{getattr(report, name)} {text}.")
    if report.kept_booked:
        click.echo(f"{report.kept_booked} no longer in a rule, kept because booked or changed.")
    if report.skipped:
        click.echo("Left out: " + ", ".join(f"{n} {reason}" for reason, n in sorted(report.skipped.items())))
    for key, tally in report.templates.items():
        note = f"  error: {tally.error}" if tally.error else ""
        click.echo(f"  {key:>5}  {tally.created:>6}  {tally.name}{note}")
    if not report.templates:
        click.echo(NO_TEMPLATE)
