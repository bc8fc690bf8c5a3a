"""Other engines for recurrence rules, as functions that return the naive starts of a window."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dateutil.rrule import rrulestr

from .frame import Bench, Skip, Taken

RRULE_JS = "2.8.1"
_SECOND = timedelta(seconds=1)
_HELPER = Path(__file__).parent / "rivals.mjs"
#: Where npm packages are kept between runs: outside of the repository.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollingslots-benchmarks"

#: (start, end) of a window, naive -> the starts in it, naive.
Expand = Callable[[datetime, datetime], list[datetime]]


def dateutil(rrule: str, dtstart: datetime) -> Expand:
    """Return python-dateutil's way; the rule is parsed once."""
    rule = rrulestr(rrule, dtstart=dtstart)
    return lambda start, end: rule.between(start, end - _SECOND, inc=True)


def recurring_ical_events(rrule: str, dtstart: datetime) -> Expand:
    """Return the way of recurring-ical-events; the calendar is parsed once.

    :raises Skip: if it is not installed.
    """
    try:
        import recurring_ical_events as engine
        from icalendar import Calendar
    except ImportError as error:
        raise Skip(f"{error.name} is not installed: the extra [bench] brings it") from error
    text = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//benchmark//EN\r\nBEGIN:VEVENT\r\nUID:1\r\n"
        f"DTSTART:{dtstart:%Y%m%dT%H%M%S}\r\nDURATION:PT1H\r\nRRULE:{rrule}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    query = engine.of(Calendar.from_ical(text))
    # It finds what overlaps: an event that began an hour before the window would count.
    return lambda start, end: sorted(
        found for event in query.between(start, end) if (found := event["DTSTART"].dt) >= start
    )


class RRuleJs:
    """rrule.js in one node process, which measures itself: no time is spent between the processes."""

    def __init__(self, bench: Bench) -> None:
        """Start it.

        :raises Skip: if node or npm is missing, or the package cannot be had.
        """
        node = shutil.which("node")
        if node is None:
            raise Skip("no node: rrule.js is not measured")
        folder = _install()
        (folder / _HELPER.name).write_text(_HELPER.read_text(encoding="utf-8"), encoding="utf-8")
        self._process = subprocess.Popen(  # noqa: S603 (our own script)
            [node, str(folder / _HELPER.name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        bench.closing(self._stop)

    def __call__(self, rrule: str, dtstart: datetime, start: datetime, end: datetime, calls: int) -> Taken:
        """Expand a window so many times; return the seconds of all and the starts (naive)."""
        wish = {"rrule": rrule, "dtstart": _ms(dtstart), "start": _ms(start), "end": _ms(end), "calls": calls}
        stdin: Any = self._process.stdin
        stdout: Any = self._process.stdout
        stdin.write(json.dumps(wish) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        starts = [datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None) for ms in answer["starts"]]
        return Taken(answer["seconds"], starts)

    def _stop(self) -> None:
        self._process.communicate()  # the end of its input ends it


def _install() -> Path:
    """Put the package into the cache folder, once; return the folder."""
    folder = CACHE / f"rrule-{RRULE_JS}"
    if (folder / "node_modules" / "rrule" / "package.json").is_file():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise Skip("no npm: rrule.js is not measured")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"rrule@{RRULE_JS}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)  # noqa: S603
    if done.returncode:
        raise Skip(f"npm could not bring rrule {RRULE_JS}: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def _ms(moment: datetime) -> int:
    return round(moment.replace(tzinfo=UTC).timestamp() * 1000)
