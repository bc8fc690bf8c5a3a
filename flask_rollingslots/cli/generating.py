"""``flask slots generate``: fill now, with a progress bar, several tries, and a clean stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import click

from ..errors import Interrupted, InvalidRequest, TemplateNotFound, refusal, sentence
from ..facade import current_slots
from ..settings import MAX_DAYS
from ..values import Report
from .group import WRONG_INPUT, Failure, dry_run_option, json_option, print_json, say, slots_group
from .looking import NO_TEMPLATE

#: The exit code of a command that ran out of time, as of timeout(1).
TIMED_OUT = 124
_LONGEST_PAUSE = 30.0
_TODAY = "today"
#: What another try cannot mend.
_WRONG = (InvalidRequest, TemplateNotFound, Interrupted)


class Stop(threading.Event):
    """Whether the command is to end, and why: a signal, or no time left."""

    code = 0

    def ask(self, code: int) -> None:
        """Let the command end after what it writes just now."""
        self.code = self.code or code
        self.set()


@contextmanager
def stopping_cleanly(seconds: float | None = None) -> Iterator[Stop]:
    """Let SIGTERM, Ctrl-C and a time limit end a top-up after its chunk; a second signal ends it at once."""
    stop = Stop()
    timer = threading.Timer(seconds or 0.0, stop.ask, [TIMED_OUT])
    timer.daemon = True
    before: dict[int, Any] = {}

    def on_signal(number: int, _frame: Any) -> None:
        signal.signal(number, before[number])
        stop.ask(128 + number)

    if seconds is not None:
        timer.start()
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _day(text: str) -> date | str:
    """Read a day, or ``today``: which day that is depends on the app's zone."""
    if text == _TODAY:
        return text
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 (a day has no zone)
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected a day as YYYY-MM-DD") from None


@slots_group.command()
@click.option(
    "--days", type=int, help=f"Local days from today, 1 to {MAX_DAYS}; else each template's window."
)
@click.option("--weeks", type=int, help="The same in weeks.")
@click.option(
    "--week",
    is_flag=False,
    flag_value=_TODAY,
    type=_day,
    metavar="[DATE]",
    help="The week of a day (this week without one): Monday to Sunday, past days too.",
)
@click.option("--since", type=_day, metavar="DATE", help="From this day to today, past days too.")
@click.option("--template", type=int, help="Only the series of this template (id).")
@click.option("--group", help="Only the templates of this group.")
@dry_run_option
@click.option(
    "--distributed", is_flag=True, help="Let the workers of the queue do it, and show how far they are."
)
@click.option("--full", is_flag=True, help="Compare each slot with its rule: after a repair by hand, in SQL.")
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
@json_option
def generate(
    days: int | None,
    weeks: int | None,
    week: date | str | None,
    since: date | str | None,
    template: int | None,
    group: str | None,
    dry_run: bool,
    distributed: bool,
    full: bool,
    retries: int,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Create the missing slots now; SIGTERM and Ctrl-C stop it after what is committed."""
    spans = {"--days": days, "--weeks": weeks, "--week": week, "--since": since}
    given = [name for name, value in spans.items() if value is not None]
    if len(given) > 1:
        raise Failure(f"{' and '.join(given)}: give one of them", WRONG_INPUT)
    if dry_run and distributed:
        raise Failure("--dry-run and --distributed: give one of them", WRONG_INPUT)
    if weeks is not None:
        if not 1 <= weeks <= MAX_DAYS // 7:
            raise refusal("weeks", weeks, f"a whole number from 1 to {MAX_DAYS // 7}")
        days = weeks * 7
    slots = current_slots()
    today = slots.now().astimezone(ZoneInfo(slots.settings.timezone)).date()
    week_of, first = (today if isinstance(day, str) else day for day in (week, since))
    with stopping_cleanly(timeout) as stop, _Bar(hidden=as_json) as bar:
        fill = partial(
            slots.generate, days, template=template, group=group, dry_run=dry_run, progress=bar.move,
            week=week_of, since=first, distributed=distributed, full=full, stop=stop,
        )  # fmt: skip
        report = _try(fill, retries, stop, bar)
    _print(report, week_of, as_json)
    if any(tally.error for tally in report.templates.values()):
        click.get_current_context().exit(1)


def _try(fill: Callable[[], Report], retries: int, stop: Stop, bar: _Bar) -> Report:
    """Fill, and try again after a failure; the pauses grow."""
    for left in reversed(range(retries + 1)):
        try:
            return fill()
        except Interrupted:
            _stopped(stop, bar)
        except Exception as error:
            if not left or isinstance(error, _WRONG):
                raise
            pause = min(_LONGEST_PAUSE, 2.0 ** (retries - left))
            say(f"Failed: {sentence(error)}; next try in {pause:.0f} s, {left} left", err=True)
            current_slots().db.session.rollback()
            if stop.wait(pause):
                _stopped(stop, bar)
    raise AssertionError  # the last try returned or raised


def _stopped(stop: Stop, bar: _Bar) -> NoReturn:
    why = "out of time" if stop.code == TIMED_OUT else "stopped"
    text = f"{why} after {bar.done} of {bar.total} slots; what is written stays, the next run does the rest"
    raise Failure(text, stop.code)


class _Bar(ExitStack):
    """A progress bar on standard error that learns its length with the first step."""

    def __init__(self, hidden: bool) -> None:
        super().__init__()
        self._hidden = hidden
        self._bar: Any = None
        self.done = self.total = 0

    def move(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` slots are written."""
        if self._bar is None:
            self._bar = self.enter_context(
                click.progressbar(
                    length=total, label="Slots", file=sys.stderr, hidden=self._hidden, show_pos=True
                )
            )
        self._bar.length = total
        self._bar.update(done - self.done)
        self.done, self.total = done, total


def _print(report: Report, week: date | None, as_json: bool) -> None:
    about: dict[str, Any] = {}
    if week is not None:
        monday = week - timedelta(days=week.weekday())
        about = {"week_start": monday.isoformat(), "week_end": (monday + timedelta(days=6)).isoformat()}
        about["templates_processed"] = len(report.templates) + report.unnamed
    if as_json:
        print_json({**report.to_dict(), **about})
        return
    if about:
        say(f"Week {about['week_start']} to {about['week_end']}:")
    _print_report(report)


def _print_report(report: Report) -> None:
    verb = "would be created" if report.dry_run else "created"
    say(f"{report.created} slots {verb}, {report.existing} there already.")
    for name, text in (("updated", "moved to the right time"), ("removed", "no longer in a rule, removed")):
        if getattr(report, name):
            say(f"{getattr(report, name)} {text}.")
    if report.kept_booked:
        say(f"{report.kept_booked} no longer in a rule, kept because booked or changed.")
    if report.skipped:
        say("Left out: " + ", ".join(f"{n} {reason}" for reason, n in sorted(report.skipped.items())))
    for key, tally in report.templates.items():
        note = f"  error: {tally.error}" if tally.error else ""
        say(f"  {key:>5}  {tally.created:>6}  {tally.name}{note}")
    if report.unnamed:
        say(f"  and {report.unnamed} more templates.")
    elif not report.templates:
        say(NO_TEMPLATE)
