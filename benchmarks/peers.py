"""What a user might pick instead, at the same job: the week of a venue, computed for one request, in Python.

Five offers with twelve slots a day, which began a year before. The others know rules only: neither bookings nor
capacities, nothing that a person decided, no state of a slot. Ours is ``slots.view()`` on stored slots: all of it.
Each of them works as its manual says: recurring-ical-events reads the calendar's text and asks it for a span;
django-recurrence and django-scheduler ask the database for the offers, and the offers for their slots. Processor time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any

from .frame import Bench, DifferentWork, Row, Side, Skip, Taken, at_most, benchmark
from .reading import fill
from .site import MIDNIGHT, WEEK, Site

OFFERS, HOURS = 5, list(range(10, 22))
SLOTS = OFFERS * len(HOURS) * 7
BEGAN = MIDNIGHT - timedelta(days=364)
PACKAGES = ("Django==5.2.*", "django-recurrence==1.14", "django-scheduler==0.12.0")
#: Where the environment of the Django packages is kept between runs.
ENVIRONMENT = Path(__file__).resolve().parent.parent / "build" / "benchmark-peers"
_PROGRAM = Path(__file__).with_name("rivals_django.py")
_SECONDS = 180
#: No slower than a package that knows only rules.
BOUND = at_most(1)


class Venue:
    """The venue, its slots stored."""

    def __init__(self, bench: Bench) -> None:
        """Make it."""
        self.site = Site(bench.database("sqlite"))
        bench.closing(self.site.close)
        with self.site.app.app_context():
            began = BEGAN.replace(tzinfo=None, hour=HOURS[0])
            self.site.add(OFFERS, dtstart=began, timezone="UTC", group="venue", opens_days_before=None)
            fill(self.site, 7)

    def week(self) -> int:
        """Return how many slots the venue's week has, read as a new request would."""
        with self.site.app.app_context():
            return len(self.site.slots.view(MIDNIGHT, MIDNIGHT + WEEK, group="venue"))


@benchmark("peers")
def peers(bench: Bench) -> Iterator[Row]:
    """A venue's week for one request, beside recurring-ical-events, django-recurrence and django-scheduler."""
    venue = Venue(bench)
    ours = Side("view()", venue.week, clock=process_time)
    text = f"a venue's week for one request, {SLOTS} slots"
    try:
        yield bench.compare(text, ours, with_ical(), BOUND)
    except Skip as reason:
        bench.skip("recurring-ical-events", reason)
    try:
        django = Django(bench)
    except Skip as reason:
        bench.skip("django-recurrence and django-scheduler", reason)
        return
    for what in ("recurrence", "scheduler"):
        yield bench.compare(text, ours, django.side(what), BOUND)


def with_ical() -> Side:
    """Return the side of recurring-ical-events.

    :raises Skip: if it is not installed.
    """
    try:
        import recurring_ical_events as engine
        from icalendar import Calendar
    except ImportError as error:
        raise Skip(f"{error.name} is not installed: the extra [bench] brings it") from error
    hours = ",".join(map(str, HOURS))
    event = (
        "BEGIN:VEVENT\r\nUID:{0}\r\nSUMMARY:Hall {0}\r\nDTSTART:{1:%Y%m%dT%H%M%SZ}\r\nDURATION:PT1H\r\n"
        f"RRULE:FREQ=DAILY;BYHOUR={hours}\r\nEND:VEVENT\r\n"
    )
    events = "".join(event.format(number, BEGAN.replace(hour=HOURS[0])) for number in range(OFFERS))
    text = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//benchmark//EN\r\n{events}END:VCALENDAR\r\n"

    def week() -> int:
        return len(engine.of(Calendar.from_ical(text)).between(MIDNIGHT, MIDNIGHT + WEEK))

    return Side("recurring-ical-events", week, clock=process_time)


class Django:
    """The Django packages in one process of their own environment, which measures itself."""

    def __init__(self, bench: Bench) -> None:
        """Start it.

        :raises Skip: if the environment cannot be made.
        """
        self._process = subprocess.Popen(  # noqa: S603 (our own script)
            [str(environment()), str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        bench.closing(self._process.communicate)  # the end of its input ends it

    def side(self, what: str, calls: int = 2) -> Side:
        """Return the side of one package."""
        wish: dict[str, Any] = {"what": what, "templates": OFFERS, "hours": HOURS, "calls": calls}
        moments: dict[str, datetime] = {"began": BEGAN, "start": MIDNIGHT, "end": MIDNIGHT + WEEK}
        line = json.dumps(wish | {name: moment.isoformat() for name, moment in moments.items()}) + "\n"

        def week() -> Taken:
            stdin: Any = self._process.stdin
            stdout: Any = self._process.stdout
            stdin.write(line)
            stdin.flush()
            answer = stdout.readline()
            if not answer:
                raise DifferentWork(f"django-{what} ended; its own words are above")
            found = json.loads(answer)
            return Taken(found["seconds"], found["slots"])

        return Side(f"django-{what}", week, calls=calls)


def environment() -> Path:
    """Return the interpreter of an environment with the Django packages, made when there is none.

    :raises Skip: if the packages cannot be had.
    """
    folder, words = ENVIRONMENT, " ".join(PACKAGES)
    python, ready = folder / "bin" / "python", folder / "packages.txt"
    if python.exists() and ready.is_file() and ready.read_text(encoding="utf-8") == words:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    commands = (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES],
    )
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise Skip(f"the environment for {words} was not ready in {_SECONDS} s") from None
        if done.returncode:
            raise Skip(f"{words} cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    ready.write_text(words, encoding="utf-8")
    return python
