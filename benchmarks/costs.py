"""What the costliest templates that the limits allow take at every public address, in processor time.

Each beside an ordinary hall. An answer is refused with 422 where it would look at, or hold, more than one may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from time import process_time
from typing import Any, NamedTuple

from .frame import Bench, Row, Side, benchmark, ours_at_most
from .site import Site

#: Seconds of processor time that an answer may take; and what of a first look is worth a measurement.
MOST, NEAR = 0.25, 0.125
TOKEN = "r" * 20 + "-for-reading-" + "r" * 20
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_FAR = "start=2031-01-05&end=2031-04-05"
_WINDOW = "start=2026-03-02&end=2026-04-02"
#: Every address that the public may read, of one template and of all; asked with a token but for the first.
ADDRESSES = (
    "/health",
    "/health?",
    f"/slots?{_FAR}",
    f"/slots?{_FAR}&template=1",
    f"/slots?{_FAR}&limit=50",
    f"/slots?{_WINDOW}",
    "/slots/1@20310106T1000",
    "/templates?limit=500",
    "/templates/1",
    "/templates?q=o",
    "/templates?from=2031-01-01&to=2035-01-01",
    "/templates/1/preview?count=200",
    "/feed.json?start=2031-01-01&end=2031-02-01",
    "/feed.json?start=2031-01-06&end=2031-01-08",
    "/feed.json?start=2026-03-02&end=2026-03-04",
    "/feed.ics",
)
#: As dense as a day grid of this length may be, around the clock.
DENSE: dict[str, Any] = {
    "rrule": "FREQ=DAILY",
    "dtstart": datetime(2026, 1, 1),  # noqa: DTZ001 (wall clock)
    "every": timedelta(minutes=3),
    "duration": timedelta(minutes=3),
    "until_time": time(0),
    "timezone": "Europe/Madrid",
    "window_days": 100,
}
MINUTELY = {**DENSE, "every": _MINUTE, "duration": _MINUTE, "window_days": 34}
_BY_RULE = {**DENSE, "every": None, "until_time": None, "duration": _MINUTE}
_ALL_MINUTES = f"BYHOUR={','.join(map(str, range(24)))};BYMINUTE={','.join(map(str, range(60)))}"
_ODD = [date(2031, 1, 2) + 2 * number * _DAY for number in range(1000)]


def _nested(size: int) -> dict[str, Any]:
    """Return data of about so many bytes as JSON, of many small parts."""
    return {"parts": [{"name": str(number), "price": number} for number in range(size // 34)]}


class Worst(NamedTuple):
    """Templates that are known to be costly, so many of them.

    :param stored: whether a top-up filled their window.
    :param then: what people decided, inside an app context.
    """

    fields: Mapping[str, Any]
    number: int = 1
    stored: bool = False
    then: Callable[[Site], object] = lambda site: None


def _decide(site: Site) -> None:
    """Let somebody have given each of 4,000 stored slots a length of its own."""
    rows = site.db.session.query(site.slots.Slot).limit(4000)
    for row in rows:
        row.ends_at, row.customised = row.ends_at - timedelta(seconds=60), ["ends_at"]
    site.db.session.commit()


WORST: dict[str, Worst] = {
    "a slot each 3 minutes": Worst(DENSE),
    "a slot each 3 minutes, stored": Worst(DENSE, stored=True),
    "a slot each minute": Worst(MINUTELY),
    "a slot each minute, stored": Worst(MINUTELY, stored=True),
    "1,000 days off": Worst({**DENSE, "blackouts": [(day - _DAY,) * 2 for day in _ODD]}),
    "1,900 excluded days": Worst({**DENSE, "exdates": [date(2031, 1, 2) + n * _DAY for n in range(1900)]}),
    "day 31, counted": Worst({**DENSE, "rrule": "FREQ=MONTHLY;BYMONTHDAY=31;COUNT=60000000"}),
    "all minutes by rule": Worst({**_BY_RULE, "rrule": f"FREQ=DAILY;{_ALL_MINUTES}", "window_days": 30}),
    "picked of all minutes": Worst(
        {**_BY_RULE, "rrule": f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;{_ALL_MINUTES};BYSETPOS=1,-1,366,-366"}
    ),
    "all minutes by rule, 1,900 excluded days": Worst(
        {
            **_BY_RULE,
            "rrule": f"FREQ=MONTHLY;INTERVAL=7;BYDAY=MO,TU,WE,TH,FR,SA,SU;{_ALL_MINUTES};UNTIL=99901231",
            "exdates": [date(2031, 1, 2) + n * _DAY for n in range(1900)],
            "blackouts": [(day - _DAY,) * 2 for day in _ODD],
        }
    ),
    "64 KB of data": Worst({**DENSE, "data": _nested(64_000)}),
    "16 KB of data, stored": Worst({**DENSE, "data": _nested(16_000), "window_days": 8}, stored=True),
    "500 templates": Worst({}, 500),
    "500 templates, stored": Worst({}, 500, True),
    "500 with 16 KB of data": Worst({"data": _nested(16_000)}, 500),
    "500, a slot each 3 minutes": Worst({**DENSE, "window_days": 7}, 500),
    "4,000 slots of their own": Worst({"window_days": 340}, stored=True, then=_decide),
}


def make(bench: Bench, worst: Worst) -> Site:
    """Return a site with some templates, which anybody may read."""
    config = {
        "API_PREFIX": "/api",
        "PUBLIC_READS": True,
        "API_READ_TOKEN": TOKEN,
    }
    site = Site(bench.database("sqlite"), **{f"ROLLINGSLOTS_{name}": value for name, value in config.items()})
    bench.closing(site.close)
    with site.app.app_context():
        site.add(worst.number, **worst.fields)
        if worst.stored:
            site.slots.generate()
        worst.then(site)
        site.db.session.remove()
    return site


@benchmark("costs")
def costs(bench: Bench) -> Iterator[Row]:
    """What the costliest templates take at public addresses, beside an ordinary hall: all near the bound."""
    hall = make(bench, Worst({}, stored=True))
    for name, worst in WORST.items():
        site = make(bench, worst)
        first = [(asking(site, path).measure().amount, path) for path in ADDRESSES]
        for path in [path for seconds, path in first if seconds > NEAR or seconds == max(first)[0]]:
            ours, other = asking(site, path), asking(hall, path)
            what = f"{name}, {path} ({ours.run()})"
            yield bench.compare(what, ours, other, ours_at_most(MOST), check=None)


def asking(site: Site, path: str) -> Side:
    """Return a side that asks for an address, and says with what status it was answered."""
    client = site.app.test_client()
    headers = {} if path == "/health" else {"Authorization": f"Bearer {TOKEN}"}

    def run() -> int:
        return client.get(f"/api{path}", headers=headers).status_code

    return Side("an ordinary hall", run, clock=process_time)
