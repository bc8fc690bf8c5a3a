"""feed.ics: what other programs find in the calendar is what the library shows, now and in 2039."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from feed_site import NOW, FeedSite, expanded, local, unfolded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MADRID = "Europe/Madrid"
WEB = Path(__file__).parent / "web"
#: Around both changes of the clocks of a year, and of one that 32 bits of seconds no longer hold.
SPANS = {
    "now": (NOW, NOW + timedelta(days=14)),
    "spring": (datetime(2027, 3, 24, tzinfo=UTC), datetime(2027, 4, 2, tzinfo=UTC)),
    "autumn": (datetime(2027, 10, 28, tzinfo=UTC), datetime(2027, 11, 4, tzinfo=UTC)),
    "2039 spring": (datetime(2039, 3, 24, tzinfo=UTC), datetime(2039, 4, 2, tzinfo=UTC)),
    "2039 autumn": (datetime(2039, 10, 28, tzinfo=UTC), datetime(2039, 11, 4, tzinfo=UTC)),
}


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[FeedSite]:
    """A site with the HTTP API."""
    site = FeedSite(sqlite_url, tmp_path)
    with site.app.app_context():
        yield site


def weekly(site: FeedSite) -> None:
    """Every second Tuesday and Friday in New York, counted."""
    site.evening(rrule="FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,FR;COUNT=700", timezone="America/New_York")


def monthly(site: FeedSite) -> None:
    """The last Sunday of each month: the days on which the clocks of Europe change."""
    site.evening(rrule="FREQ=MONTHLY;BYDAY=-1SU", dtstart=datetime(2026, 11, 1, 12))


def grid(site: FeedSite) -> None:
    """A day in hours, past midnight, excluded days and all."""
    site.evening(
        dtstart=datetime(2026, 11, 1, 20),
        duration=timedelta(hours=1),
        every=timedelta(hours=1),
        until_time=time(2),
        exdates=[datetime(2026, 11, 25, 22), datetime(2026, 11, 27).date()],
        blackouts=[(datetime(2026, 11, 28).date(), datetime(2026, 11, 28).date())],
    )


def utc(site: FeedSite) -> None:
    """A zone without summer time."""
    site.evening(timezone="UTC")


def lord_howe(site: FeedSite) -> None:
    """Summer time of half an hour, on the other half of the globe."""
    site.evening(timezone="Australia/Lord_Howe")


def old(site: FeedSite) -> None:
    """A series of long ago that still goes on, counted."""
    site.evening(dtstart=datetime(2019, 5, 6, 19), rrule="FREQ=DAILY;INTERVAL=3;COUNT=3000")


def cut(site: FeedSite) -> None:
    """Cut in two: earlier from some day on, and cut again for another length."""
    site.evening()
    site.slots.generate()
    site.slots.edit("1@20261124T1900", "this_and_future", start=time(17, 30))
    site.slots.edit("1@20261130T1900", "this_and_future", duration=timedelta(hours=3))
    site.session.commit()


def decided(site: FeedSite) -> None:
    """One moved, one longer, one cancelled, one deleted, one cancelled and restored, one moved past another."""
    site.evening()
    site.slots.generate()
    edit, future = site.slots.edit, "1@20270330T1900"
    edit("1@20261121T1900", "this", start=datetime(2026, 11, 21, 21))
    edit("1@20261122T1900", "this", duration=timedelta(hours=4))
    site.slots.cancel("1@20261123T1900")
    site.slots.delete("1@20261124T1900", "this")
    site.slots.cancel("1@20261125T1900")
    site.slots.restore("1@20261125T1900")
    edit("1@20261126T1900", "this", start=datetime(2026, 11, 28, 9))
    edit(future, "this", start=datetime(2027, 3, 27, 6))
    site.slots.cancel("1@20391030T1900")
    site.session.commit()


def ended(site: FeedSite) -> None:
    """Cancelled from some day on: what is stored shows as cancelled, what a booking kept goes on."""
    site.evening()
    site.slots.generate()
    site.slots.book("1@20270401T1900")
    site.slots.delete("1@20261124T1900", "this_and_future")
    site.session.commit()
    site.evening(name="Morning", dtstart=datetime(2026, 11, 1, 9))
    site.slots.generate()
    site.slots.materialize("2@20270325T0900")
    site.slots.cancel("2@20261125T0900", "this_and_future")
    site.session.commit()


def come_back(site: FeedSite) -> None:
    """Cancelled from some day on, and brought back."""
    ended(site)
    site.slots.restore("2@20261125T0900", "this_and_future")
    site.session.commit()


def kept(site: FeedSite) -> None:
    """An hour later, but for a booked slot, which stays, in the place of another one."""
    site.evening(every=timedelta(minutes=90), until_time=time(23))
    site.slots.generate()
    site.slots.book("1@20261123T2030")
    site.slots.book("1@20391030T1900")
    site.slots.edit("1@20261121T1900", "all", start=time(20, 30))
    site.session.commit()


def another_rule(site: FeedSite) -> None:
    """Mondays instead of each day: what is booked on other days stays."""
    site.evening()
    site.slots.generate()
    site.slots.book("1@20261124T1900")
    site.slots.edit("1@20261121T1900", "all", rrule="FREQ=WEEKLY;BYDAY=MO")
    site.session.commit()


def night(site: FeedSite) -> None:
    """At an hour that one night of the year does not have, and one has twice: no rule says that for ever."""
    site.evening(dtstart=datetime(2026, 11, 1, 2, 30), duration=timedelta(minutes=30))


STORIES = [
    weekly, monthly, grid, utc, lord_howe, old, cut, decided, ended, come_back, kept, another_rule,
    night,
]  # fmt: skip
#: ical.js takes a time that a night leaves out for an hour earlier (RFC 5545 section 3.3.5: the offset before holds).
STORIES_FOR_ICAL_JS = [story for story in STORIES if story is not night]


@pytest.mark.parametrize("tell", STORIES, ids=lambda story: story.__name__)
def test_recurring_ical_events_finds_what_the_library_shows(
    site: FeedSite, tell: Callable[[FeedSite], None]
) -> None:
    """Start, end, cancelled or not: the same in icalendar with recurring-ical-events, also beyond 2038."""
    tell(site)
    text = site.ics()
    # What a clock change does to single slots is written for two years.
    spans = {name: span for name, span in SPANS.items() if tell is not night or "2039" not in name}
    found = {name: expanded(text, *span) for name, span in spans.items()}
    assert found == {name: site.shown(*span) for name, span in spans.items()}
    assert any(found.values())


def test_ical_js_finds_what_the_library_shows(tmp_path: Path, npm: Callable[[str, str], Path]) -> None:
    """The same in ical.js, which Thunderbird and Nextcloud read calendars with, by the VTIMEZONE of the feed."""
    module = npm("ical.js", "2.2.1") / "dist" / "ical.js"
    texts, shown = [], []
    for tell in STORIES_FOR_ICAL_JS:
        site = FeedSite(f"sqlite:///{tmp_path / tell.__name__}.db", tmp_path)
        with site.app.app_context():
            tell(site)
            texts.append(site.ics())
            shown.append({span: site.shown(*span) for span in SPANS.values()})
    start, end = SPANS["now"][0], SPANS["2039 autumn"][1]
    given = {"module": str(module), "texts": texts, "start": _ms(start), "end": _ms(end)}
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        (node, WEB / "occurrences.mjs"), input=json.dumps(given), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    for tell, occurrences, expected in zip(STORIES_FOR_ICAL_JS, json.loads(done.stdout), shown, strict=True):
        found = [(_moment(a), _moment(b), cancelled) for a, b, cancelled in occurrences]
        for (first, last), slots in expected.items():
            assert sorted(each for each in found if first <= each[0] < last) == slots, tell.__name__


def test_a_slot_that_was_moved_before_the_calendar_begins_does_not_come_back(site: FeedSite) -> None:
    """A slot of December that took place in November is not in December's place two months later."""
    site.evening()
    site.slots.edit("1@20261205T1900", "this", start=datetime(2026, 11, 25, 8))
    site.session.commit()
    site.clock.turn(days=45)
    text = site.ics()
    days = [datetime(2026, 12, day, tzinfo=UTC) for day in (4, 5, 6, 7)]
    assert [len(expanded(text, *span)) for span in pairwise(days)] == [1, 0, 1]


def test_the_calendar_is_the_same_on_each_database(database_url: str, tmp_path: Path) -> None:
    """What somebody decided, what is kept and what is withdrawn is found on SQLite, PostgreSQL and MariaDB alike."""
    site = FeedSite(database_url, tmp_path, TRUSTED_HOSTS=["localhost"])
    with site.app.app_context():
        decided(site)
        site.slots.book("1@20261127T1900")
        site.slots.edit("1@20261130T1900", "all", start=time(20, 30))
        site.session.commit()
        text = site.ics()
        for span in (SPANS["now"], SPANS["spring"]):
            assert expanded(text, *span) == site.shown(*span)
        with site.app.test_request_context():
            old = site.slots.feed_url("club").removeprefix("http://localhost/api")
            site.get(old)
            for _ in range(2):
                site.slots.revoke_feed_url("club")
                site.session.commit()
            site.get(old, 404)
            site.get(site.slots.feed_url("club").removeprefix("http://localhost/api"))


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def crowded(url: str, folder: Path, days: int) -> FeedSite:
    """Return a site with an hourly template, of which so many days were cancelled; calendars hold 50 of those."""
    site = FeedSite(url, folder, ROLLINGSLOTS_EVENTS_MAX=100)
    with site.app.app_context():
        site.add(dtstart=datetime(2026, 9, 1, 10), timezone="Europe/Madrid", window_days=40)
        site.slots.generate()
        for day in range(days):
            site.slots.cancel_date(None, date(2026, 11, 21) + timedelta(days=day))
        site.session.commit()
    return site


def test_a_calendar_with_too_much_to_tell_ends_before_it_would_be_wrong(
    sqlite_url: str, tmp_path: Path
) -> None:
    """It has the next days, says up to when, and then nothing: what is cancelled is never shown as offered."""
    site = crowded(sqlite_url, tmp_path, 20)
    with site.app.app_context():
        text, end = site.ics(), local("Europe/Madrid", 2026, 11, 27, 12)
        assert expanded(text, NOW, end) == site.shown(NOW, end)
        assert expanded(text, end, end + timedelta(days=400)) == []
        said = next(line for line in unfolded(text) if line.startswith("X-WR-CALDESC:"))
        assert "Only up to 2026-11-27 11:00 UTC" in said
        assert "one group or template" in said
        few = FeedSite(sqlite_url, tmp_path)
        assert "X-WR-CALDESC" not in few.ics()


def test_a_calendar_whose_past_is_crowded_leaves_that_out(sqlite_url: str, tmp_path: Path) -> None:
    """What is to come stays whole, without an end; the days before today are not in it, and it says so."""
    site = crowded(sqlite_url, tmp_path, 8)
    with site.app.app_context():
        site.clock.turn(days=6)
        text, today = site.ics(), site.clock.now.replace(hour=0)
        later = today + timedelta(days=30)
        assert expanded(text, today, later) == site.shown(today, later)
        assert expanded(text, NOW, today) == []
        assert "Past days are left out" in text.replace("\r\n ", "")


def test_what_is_booked_where_its_rule_has_it_is_not_read(site: FeedSite) -> None:
    """A booked slot costs a calendar nothing, until its rule lacks it: then it is an event of its own."""
    site.evening()
    site.slots.book("1@20261125T1900")
    site.slots.book("1@20270325T1900")
    site.session.commit()
    assert site.ics().count("BEGIN:VEVENT") == 1
    site.slots.edit("1@20261120T1900", "all", rrule="FREQ=WEEKLY;BYDAY=SA")
    site.session.commit()
    found = expanded(site.ics(), NOW, NOW + timedelta(days=200))
    assert {start.date() for start, *_ in found if start.weekday() != 5} == {
        date(2026, 11, 25),
        date(2027, 3, 25),
    }
