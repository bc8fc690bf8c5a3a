"""Exclusions that come and go: dates, blackouts, public holidays; each with a reason, none of them for ever."""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from helpers import A_WEEK, MONDAY, Clock, Site

from flask_rollingslots import ConfigError, InvalidRule, planning
from flask_rollingslots.values import TemplateSpec, Window

if TYPE_CHECKING:
    from pathlib import Path

needs_holidays = pytest.mark.skipif(
    importlib.util.find_spec("holidays") is None, reason="the package holidays is not installed"
)


def test_a_blackout_takes_slots_away_and_gives_them_back(site: Site) -> None:
    """While a blackout lasts its slots are gone, booked ones stay; after it is lifted all are back."""
    template = site.add()
    site.slots.generate()
    site.slots.book("1@20260107T1000")
    template.blackouts = [(date(2026, 1, 7), date(2026, 1, 8))]
    site.session.commit()
    report = site.slots.generate()
    assert (report.removed, report.kept_booked, report.skipped) == (15, 1, {"blackout": 16})
    assert len(site.week()) == A_WEEK - 15
    template.blackouts = []
    site.session.commit()
    assert len(site.week()) == A_WEEK
    assert site.slots.generate().created == 15


def test_a_person_s_own_exclusion_does_not_come_back(site: Site) -> None:
    """A slot that was cancelled before a blackout is still cancelled after it."""
    template = site.add()
    site.slots.cancel("1@20260107T1000")
    template.blackouts = [(date(2026, 1, 7), date(2026, 1, 7))]
    site.session.commit()
    site.slots.generate()
    template.blackouts = []
    site.session.commit()
    assert site.slots.generate().skipped == {"cancelled": 1}
    assert site.slots.get("1@20260107T1000").state == "cancelled"


def test_excluded_dates_have_a_reason(site: Site) -> None:
    """An excluded start and an excluded day are counted as excluded, and are not shown."""
    site.add(exdates=[datetime(2026, 1, 6, 12), date(2026, 1, 8)])
    assert site.slots.generate(dry_run=True).skipped == {"excluded": 9}
    assert len(site.week()) == A_WEEK - 9


@needs_holidays
def test_public_holidays_are_left_out_and_return(site: Site) -> None:
    """On 6 January Spain is closed; without the code the day is open again."""
    template = site.add(holidays="ES")
    report = site.slots.generate()
    assert report.skipped == {"holiday": 8}
    assert {slot.starts_at.day for slot in site.week()} == {5, 7, 8, 9, 10, 11}
    template.holidays = None
    site.session.commit()
    assert site.slots.generate().created == 8


@needs_holidays
def test_subdivisions_have_their_own_holidays(sqlite_url: str, tmp_path: Path) -> None:
    """Bavaria rests on Corpus Christi, Berlin does not."""
    site = Site(sqlite_url, tmp_path, Clock(datetime(2026, 6, 1, 6, tzinfo=UTC)))
    with site.app.app_context():
        bavaria, berlin = site.add(holidays="DE-BY"), site.add(holidays="DE-BE")
        corpus_christi = datetime(2026, 6, 4, tzinfo=UTC)
        for template, number in ((bavaria, 0), (berlin, 8)):
            found = site.slots.between(corpus_christi, corpus_christi + timedelta(days=1), template=template)
            assert len(found) == number


@needs_holidays
@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("XX", "ISO country code"),
        ("es", "Did you mean ES|ISO"),
        ("ES-ZZ", "subdivision of ES"),
        ("Spain", "ISO"),
    ],
)
def test_unknown_codes_are_refused(site: Site, code: str, hint: str) -> None:
    """A country or subdivision that does not exist is refused when the template is made."""
    with pytest.raises(InvalidRule, match=hint) as caught:
        site.add(holidays=code)
    assert caught.value.part == "holidays"  # type: ignore[attr-defined]


def test_without_the_package_the_error_names_the_extra(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that has no ``holidays`` installed is told which extra brings it."""
    monkeypatch.setitem(sys.modules, "holidays", None)
    with pytest.raises(ConfigError, match=r"Flask-RollingSlots\[holidays\]"):
        site.add(holidays="ES")


def test_the_window_is_planned_over_an_exclusion_at_its_edge(site: Site) -> None:
    """A blackout of the whole window leaves nothing to do and nothing to complain of."""
    site.add(blackouts=[(MONDAY.date(), MONDAY.date() + timedelta(days=30))])
    report = site.slots.generate()
    assert (report.created, report.expected, report.skipped) == (0, 0, {"blackout": A_WEEK})
    assert site.slots.health().status == "ok"


class CountedDay(date):
    """A day that counts how often days are compared."""

    compared = 0

    def __le__(self, other: date) -> bool:
        CountedDay.compared += 1
        return super().__le__(other)

    def __lt__(self, other: date) -> bool:
        CountedDay.compared += 1
        return super().__lt__(other)

    def __gt__(self, other: date) -> bool:
        CountedDay.compared += 1
        return super().__gt__(other)

    def __ge__(self, other: date) -> bool:
        CountedDay.compared += 1
        return super().__ge__(other)


def test_a_thousand_blackouts_are_not_looked_through_for_each_slot() -> None:
    """What a slot costs does not grow with the blackouts: they are sorted once, and a day is looked up once."""
    days = [CountedDay(2026, 1, 1) + timedelta(days=3 * number) for number in range(1000)]
    spec = TemplateSpec(
        1, 1, 1, "Hall", None, True, "FREQ=DAILY", datetime(2026, 1, 1), "UTC", timedelta(minutes=5),
        timedelta(minutes=5), time(0), blackouts=tuple((day, day) for day in days),
    )  # fmt: skip
    window = Window.rolling(MONDAY, 30, ZoneInfo("UTC"))
    CountedDay.compared = 0
    found = list(planning.promised_starts(spec, window))
    assert len(found) == 30 * 288
    assert sum(reason == "blackout" for _, _, reason in found) == 10 * 288
    assert CountedDay.compared < 20_000
